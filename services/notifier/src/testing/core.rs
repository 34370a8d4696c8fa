//! A core that takes reports, over a connection in memory: it needs no socket, so the clock may be paused.

use std::sync::Arc;

use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use stoker_link::Channel;
use stoker_proto::core::v1::notifier_service_client::NotifierServiceClient;
use stoker_proto::core::v1::notifier_service_server::{NotifierService, NotifierServiceServer};
use stoker_proto::core::v1::{AttemptResult, ReportAttemptReply, ReportAttemptRequest};
use tokio::io::DuplexStream;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Endpoint, Server};
use tonic::{Code, Request, Response, Status};

type Script = dyn Fn(usize) -> Result<(), Code> + Send + Sync;

pub(crate) struct FakeCore {
    pub(crate) client: NotifierServiceClient<Channel>,
    reports: Arc<Mutex<Vec<ReportAttemptRequest>>>,
    gate: Arc<Semaphore>,
    _server: JoinSet<()>,
}

struct Service {
    script: Arc<Script>,
    reports: Arc<Mutex<Vec<ReportAttemptRequest>>>,
    gate: Arc<Semaphore>,
}

#[tonic::async_trait]
impl NotifierService for Service {
    async fn report_attempt(
        &self,
        request: Request<ReportAttemptRequest>,
    ) -> Result<Response<ReportAttemptReply>, Status> {
        let number = {
            let mut reports = self.reports.lock();
            reports.push(request.into_inner());
            reports.len() - 1
        };
        self.gate.acquire().await.unwrap().forget();
        match (self.script)(number) {
            Ok(()) => Ok(Response::new(ReportAttemptReply {})),
            Err(code) => Err(Status::new(code, "as the test wants")),
        }
    }
}

impl FakeCore {
    /// Takes every report.
    pub(crate) fn start() -> Self {
        let core = Self::scripted(|_| Ok(()));
        core.answer(1_000_000);
        core
    }

    /// Answers as `script` says, asked with the number of the report, from 0; and only so many as were
    /// [`answer`](Self::answer)ed.
    pub(crate) fn scripted(script: impl Fn(usize) -> Result<(), Code> + Send + Sync + 'static) -> Self {
        let (reports, gate) = (Arc::<Mutex<Vec<_>>>::default(), Arc::new(Semaphore::new(0)));
        let (connections, incoming) = mpsc::channel::<DuplexStream>(8);
        let service =
            Service { script: Arc::new(script), reports: Arc::clone(&reports), gate: Arc::clone(&gate) };
        let mut server = JoinSet::new();
        server.spawn(async move {
            let incoming = ReceiverStream::new(incoming).map(Ok::<_, std::io::Error>);
            let server = Server::builder().add_service(NotifierServiceServer::new(service));
            server.serve_with_incoming(incoming).await.unwrap();
        });
        let connector = tower::service_fn(move |_| {
            let connections = connections.clone();
            async move {
                let (ours, theirs) = tokio::io::duplex(64 * 1024);
                connections.send(theirs).await.map_err(std::io::Error::other)?;
                Ok::<_, std::io::Error>(TokioIo::new(ours))
            }
        });
        let channel = Endpoint::from_static("http://core.test").connect_with_connector_lazy(connector);
        Self { client: NotifierServiceClient::new(channel.into()), reports, gate, _server: server }
    }

    /// Lets so many more reports be answered.
    pub(crate) fn answer(&self, count: usize) {
        self.gate.add_permits(count);
    }

    pub(crate) fn reports(&self) -> Vec<(String, u32, AttemptResult, String)> {
        let reports = self.reports.lock();
        reports.iter().map(|r| (r.notification.clone(), r.attempt, r.result(), r.detail.clone())).collect()
    }

    /// Waits until so many reports have come, and returns them.
    pub(crate) async fn has_seen(&self, count: usize) -> Vec<(String, u32, AttemptResult, String)> {
        loop {
            let reports = self.reports();
            if reports.len() >= count {
                return reports;
            }
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    }
}
