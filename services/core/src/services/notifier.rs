//! What notifiers report.

use stoker_domain::machine::Input;
use stoker_domain::model::NotificationId;
use stoker_proto::convert;
use stoker_proto::core::v1::notifier_service_client::NotifierServiceClient;
use stoker_proto::core::v1::notifier_service_server::NotifierService;
use stoker_proto::core::v1::{ReportAttemptReply, ReportAttemptRequest};
use tonic::{Request, Response, Status};

use super::slot_status;
use crate::cluster::Routes;
use crate::slots::Slots;

/// Serves notifiers.
pub struct Notifiers {
    pub(crate) slots: Slots,
    pub(crate) routes: Routes,
}

impl Notifiers {
    async fn report(&self, request: ReportAttemptRequest) -> Result<ReportAttemptReply, Status> {
        let notification: NotificationId = convert::id("notification", &request.notification)?;
        let input = Input::Attempt {
            notification,
            attempt: request.attempt,
            result: convert::attempt_result_from_wire(request.result)?,
            detail: request.detail,
        };
        self.slots.apply(notification.slot(), input).await.map_err(slot_status)?;
        Ok(ReportAttemptReply {})
    }
}

#[tonic::async_trait]
impl NotifierService for Notifiers {
    async fn report_attempt(
        &self,
        request: Request<ReportAttemptRequest>,
    ) -> Result<Response<ReportAttemptReply>, Status> {
        let there = |channel, request| async move {
            NotifierServiceClient::new(channel).report_attempt(request).await
        };
        self.routes.place(request, |request| self.report(request), there).await
    }
}
