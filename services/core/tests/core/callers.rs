//! Who may call which service.

use std::io;
use std::sync::Arc;

use stoker_bus::InProcessBus;
use stoker_core::{Core, CoreConfig, Membership};
use stoker_domain::{MemberId, Settings};
use stoker_link::{Accepted, Caller, Channel, Link, Role, Wire};
use stoker_proto::core::v1::gateway_service_client::GatewayServiceClient;
use stoker_proto::core::v1::member_service_client::MemberServiceClient;
use stoker_proto::core::v1::notifier_service_client::NotifierServiceClient;
use stoker_proto::core::v1::peer_service_client::PeerServiceClient;
use stoker_proto::core::v1::portal_service_client::PortalServiceClient;
use stoker_proto::core::v1::{
    BeatRequest, GetStatusRequest, HoldsTokenRequest, OpenSessionRequest, ReportAttemptRequest,
};
use stoker_telemetry::{Clock, Health};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::{Code, Status};

use super::platform::Disk;

type Door = mpsc::Sender<Accepted>;

/// A channel of somebody to a core.
fn channel(door: &Door, caller: Caller) -> Channel {
    let door = door.clone();
    let link = Link::new(Arc::new(move |_| {
        let door = door.clone();
        Box::pin(async move {
            let (client, server) = tokio::io::duplex(64 * 1024);
            let refused = |_| io::Error::from(io::ErrorKind::ConnectionRefused);
            door.send(Accepted::new(Box::new(server), caller)).await.map_err(refused)?;
            Ok(Box::new(client) as Box<dyn Wire>)
        })
    }));
    link.to("core:1")
}

/// One call of each service; all of them are answered somehow.
async fn calls(channel: Channel) -> [(&'static str, Option<Status>); 5] {
    let gateway =
        GatewayServiceClient::new(channel.clone()).open_session(OpenSessionRequest::default()).await;
    let portal =
        PortalServiceClient::new(channel.clone()).get_status(GetStatusRequest { here_only: true }).await;
    let notifier =
        NotifierServiceClient::new(channel.clone()).report_attempt(ReportAttemptRequest::default()).await;
    let peer = PeerServiceClient::new(channel.clone()).holds_token(HoldsTokenRequest::default()).await;
    let member = MemberServiceClient::new(channel).beat(BeatRequest::default()).await;
    [
        ("GatewayService", gateway.err()),
        ("PortalService", portal.err()),
        ("NotifierService", notifier.err()),
        ("PeerService", peer.err()),
        ("MemberService", member.err()),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_is_closed_to_roles_that_have_no_business_with_it() {
    let (disk, end) = (Disk::new(), CancellationToken::new());
    let config = CoreConfig {
        store: disk.store.clone(),
        bus: Arc::new(InProcessBus::default()),
        clock: Clock::start(),
        settings: Settings::default(),
        member: MemberId::new("m0000000000000001").unwrap(),
        membership: Membership::Alone,
        health: Health::new(),
        stats: Arc::default(),
    };
    let core = Core::start(config, end.clone()).await.unwrap();
    let (door, incoming) = mpsc::channel(16);
    let server = Server::builder().add_routes(core.services().by_role());
    let mut tasks = JoinSet::new();
    let served = end.clone();
    tasks.spawn(async move {
        let incoming = ReceiverStream::new(incoming).map(Ok::<_, io::Error>);
        server.serve_with_incoming_shutdown(incoming, served.cancelled_owned()).await.unwrap();
    });
    tasks.spawn(async move { core.run().await.unwrap() });

    let all = ["GatewayService", "PortalService", "NotifierService", "PeerService", "MemberService"];
    let table: [(Caller, &[&str]); 5] = [
        (Caller::Anybody, &all),
        (Caller::Service(Role::Core), &all),
        (Caller::Service(Role::Gateway), &["GatewayService", "MemberService"]),
        (Caller::Service(Role::Notifier), &["NotifierService", "MemberService"]),
        (Caller::Service(Role::Portal), &["PortalService", "MemberService"]),
    ];
    for (caller, open) in table {
        let channel = channel(&door, caller);
        for (service, answer) in calls(channel).await {
            let refused = answer.filter(|status| status.code() == Code::PermissionDenied);
            assert_eq!(refused.is_none(), open.contains(&service), "{caller:?} {service}");
            if let (Some(status), Caller::Service(role)) = (refused, caller) {
                assert_eq!(status.message(), format!("a {role} has no business with {service}"));
            }
        }
    }
    end.cancel();
    while let Some(over) = tasks.join_next().await {
        over.unwrap();
    }
}
