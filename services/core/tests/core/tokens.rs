//! Tokens that are remembered with whose they were.

use std::sync::Arc;

use stoker_bus::InProcessBus;
use stoker_domain::ports::bus::Bus;
use stoker_proto::core::v1::{ConnectionState, CreateDeviceRequest, RemoveDeviceRequest};
use stoker_protocol::codec::ReasonCode;

use crate::device::{Device, Heard, Login};
use crate::eventually::eventually;
use crate::moving::{Portal, state};
use crate::platform::{Disk, device_ref};
use crate::several::{Gateway, Network, One, settle};

async fn make(portal: &Portal, device: &str, token: &str) {
    let request = CreateDeviceRequest {
        key: device_ref(device),
        token: Some(token.to_owned()),
        ..CreateDeviceRequest::default()
    };
    portal.clone().create_device(request).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_becomes_another_devices_is_that_ones_at_once_at_every_core() {
    let (disk, network) = (Disk::new(), Network::default());
    let bus: Arc<dyn Bus> = Arc::new(InProcessBus::default());
    let a = One::start_on("a", &network, disk.store.clone(), bus.clone(), Default::default()).await;
    let b = One::start_on("b", &network, disk.store.clone(), bus.clone(), Default::default()).await;
    settle(&[&a, &b]).await;
    let gateways =
        [Gateway::start(&network, bus.clone(), &["a"]).await, Gateway::start(&network, bus, &["b"]).await];
    // So many that each core owns old and new ones, of every pairing.
    let tokens: Vec<String> = (0..12).map(|n| format!("token-number-{n}-long-enough")).collect();
    for (owner, portal) in [("old", &a.portal), ("new", &b.portal), ("last", &a.portal)] {
        for (n, token) in tokens.iter().enumerate() {
            make(portal, &format!("{owner}-{n}"), token).await;
        }
        for gateway in &gateways {
            for (n, token) in tokens.iter().enumerate() {
                let mut device = Device::dial(gateway.mqtt, Login::token(token)).await;
                assert_eq!(device.hear().await, Some(Heard::ConnAck(ReasonCode::Success)), "{owner}-{n}");
                eventually("it is the one that has the token now", || async {
                    let state = state(portal, &format!("{owner}-{n}")).await;
                    (state == ConnectionState::Online).then_some(())
                })
                .await;
            }
        }
        for n in 0..tokens.len() {
            let request = RemoveDeviceRequest { key: device_ref(&format!("{owner}-{n}")) };
            portal.clone().remove_device(request).await.unwrap();
        }
    }
    // Of those that nobody has, nobody gets in.
    let mut device = Device::dial(gateways[0].mqtt, Login::token(&tokens[0])).await;
    assert_eq!(device.hear().await, Some(Heard::ConnAck(ReasonCode::NotAuthorized)));
}
