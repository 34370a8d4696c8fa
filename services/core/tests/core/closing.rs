//! Sessions that are to be closed at a gateway that the bus does not reach.

use std::sync::Arc;

use stoker_proto::core::v1::ConnectionState;

use crate::device::{Device, Login};
use crate::moving::{alarms, make, state, token};
use crate::platform::Disk;
use crate::refusing::Refusing;
use crate::several::{Gateway, Network, One, settle};
use stoker_domain::Settings;
use stoker_domain::ports::bus::Bus;

#[tokio::test(flavor = "multi_thread")]
async fn the_older_of_two_sessions_is_closed_while_no_order_comes_by_the_bus() {
    let (disk, network, bus) = (Disk::new(), Network::default(), Arc::new(Refusing::held()));
    let bus: Arc<dyn Bus> = bus;
    let core = One::start_on("a", &network, disk.store.clone(), bus.clone(), Settings::default()).await;
    settle(&[&core]).await;
    let gateways = [
        Gateway::start(&network, bus.clone(), &["a"]).await,
        Gateway::start(&network, bus.clone(), &["a"]).await,
    ];
    make(&core.portal, "boiler-1").await;
    let token = token("boiler-1");
    let mut sessions = vec![Device::ready(gateways[0].mqtt, Login::token(&token)).await];
    // Each goes to the other gateway, and the one before it is told to go.
    for gateway in [&gateways[1], &gateways[0], &gateways[1]] {
        let newer = Device::ready(gateway.mqtt, Login::token(&token)).await;
        sessions.pop().unwrap().closed().await;
        sessions.push(newer);
    }
    assert_eq!(state(&core.portal, "boiler-1").await, ConnectionState::Online);
    assert_eq!(alarms(&core.portal).await, [""; 0]);
}
