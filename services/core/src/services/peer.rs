//! What cores ask each other, beside the requests that they pass on.

use std::sync::Arc;

use stoker_proto::convert;
use stoker_proto::core::v1 as wire;
use stoker_proto::core::v1::peer_service_client::PeerServiceClient;
use stoker_proto::core::v1::peer_service_server::PeerService;
use tonic::{Request, Response, Status};

use super::credential_status;
use crate::cluster::Routes;
use crate::credentials::Credentials;
use crate::shared::Shared;

/// Serves other cores.
pub struct PeerCores {
    pub(crate) shared: Arc<Shared>,
    pub(crate) credentials: Arc<Credentials>,
    pub(crate) routes: Routes,
}

#[tonic::async_trait]
impl PeerService for PeerCores {
    async fn holds_token(
        &self,
        request: Request<wire::HoldsTokenRequest>,
    ) -> Result<Response<wire::HoldsTokenReply>, Status> {
        let here = |request: wire::HoldsTokenRequest| async move {
            let device = convert::device_key(request.device.as_ref())?;
            let holds = self.credentials.names_token(&device, &request.hash).await;
            Ok(wire::HoldsTokenReply { holds: holds.map_err(|error| credential_status(&error))? })
        };
        let there =
            |channel, request| async move { PeerServiceClient::new(channel).holds_token(request).await };
        self.routes.place(request, here, there).await
    }

    async fn heard(
        &self,
        request: Request<wire::HeardRequest>,
    ) -> Result<Response<wire::HeardReply>, Status> {
        let now = self.shared.clock.now_ms();
        for heard in request.into_inner().devices {
            let device = convert::device_key(heard.device.as_ref())?;
            self.shared.seen.message(&device, now.saturating_sub(heard.age_ms.max(0)));
        }
        Ok(Response::new(wire::HeardReply {}))
    }
}
