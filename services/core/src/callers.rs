//! Which service of core who may call: a gateway only what a gateway needs.

use stoker_link::{Caller, Role};
use stoker_proto::problem::ProblemKind;
use tonic::service::interceptor::InterceptedService;
use tonic::service::{Interceptor, Routes};
use tonic::{Request, Status};

use crate::CoreServices;

/// A service of core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Service {
    Gateway,
    Portal,
    Notifier,
    Peer,
    Member,
}

impl Service {
    fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "GatewayService",
            Self::Portal => "PortalService",
            Self::Notifier => "NotifierService",
            Self::Peer => "PeerService",
            Self::Member => "MemberService",
        }
    }

    /// Cores pass on to each other whatever comes.
    fn is_for(self, role: Role) -> bool {
        match role {
            Role::Core => true,
            Role::Gateway => matches!(self, Self::Gateway | Self::Member),
            Role::Notifier => matches!(self, Self::Notifier | Self::Member),
            Role::Portal => matches!(self, Self::Portal | Self::Member),
        }
    }
}

impl Interceptor for Service {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        match request.extensions().get::<Caller>() {
            Some(Caller::Anybody) => Ok(request),
            Some(Caller::Service(role)) if self.is_for(*role) => Ok(request),
            Some(Caller::Service(role)) => {
                Err(Status::permission_denied(format!("a {role} has no business with {}", self.as_str())))
            }
            None => {
                tracing::error!("a connection came without word of who calls");
                Err(ProblemKind::Internal.status("core does not know who calls"))
            }
        }
    }
}

impl CoreServices {
    /// All of them for connections that tell who calls ([`Caller`]), each closed to those that have no business with it.
    #[must_use]
    pub fn by_role(self) -> Routes {
        let Self { gateway, portal, notifier, peer, member } = self;
        Routes::new(InterceptedService::new(gateway, Service::Gateway))
            .add_service(InterceptedService::new(portal, Service::Portal))
            .add_service(InterceptedService::new(notifier, Service::Notifier))
            .add_service(InterceptedService::new(peer, Service::Peer))
            .add_service(InterceptedService::new(member, Service::Member))
    }
}
