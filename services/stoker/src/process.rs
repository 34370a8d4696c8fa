//! What every process has, whatever services are in it: its name, its health, and the order in which it ends.

use std::fmt::Display;
use std::future::Future;
use std::sync::Arc;

use anyhow::{Result, bail};
use stoker_domain::model::MemberId;
use stoker_telemetry::{
    Clock, Health, LogFormat, Supervisor, TaskDied, TraceStats, init_logs, init_logs_and_traces,
};
use tokio_util::sync::CancellationToken;

use crate::config::Configuration;
use crate::metrics::Metrics;
use crate::signals;

/// What is said in the log, unless RUST_LOG says otherwise.
const LOGGED: &str = "info";

/// What runs in one process.
pub(crate) struct Process {
    pub(crate) member: MemberId,
    pub(crate) health: Health,
    pub(crate) clock: Clock,
    /// What serves others; ends first.
    front: Supervisor,
    front_end: CancellationToken,
    /// What the front needs until it has ended.
    back: Supervisor,
    back_end: CancellationToken,
    /// What tells of all the others, and so outlives them.
    last: Supervisor,
    last_end: CancellationToken,
    traces: Option<Arc<TraceStats>>,
}

impl Process {
    /// Begins to log, and to tell of spans where that is configured. To be called within a runtime.
    ///
    /// # Errors
    /// What is configured of it cannot be.
    pub(crate) fn begin(service: &str, configuration: &Configuration) -> Result<Self> {
        let mut process = Self::new()?;
        let otlp = configuration.telemetry.otlp.config(service, &process.member);
        let Some(otlp) = otlp else {
            init_logs(LogFormat::Auto, LOGGED);
            return Ok(process);
        };
        let export = init_logs_and_traces(LogFormat::Auto, LOGGED, &otlp, env!("CARGO_PKG_VERSION"))?;
        process.traces = Some(export.stats());
        process.last.run("traces", export.run(process.last_end.clone()));
        Ok(process)
    }

    /// With what is counted about the spans.
    pub(crate) fn with_traces(&self, metrics: Metrics) -> Metrics {
        match &self.traces {
            Some(traces) => metrics.traces(traces.clone()),
            None => metrics,
        }
    }

    fn new() -> Result<Self> {
        let (front_end, back_end) = (CancellationToken::new(), CancellationToken::new());
        let (health, last_end) = (Health::new(), CancellationToken::new());
        let mut last = Supervisor::new(health.clone(), last_end.clone());
        let end = last_end.clone();
        last.run("end", async move {
            end.cancelled().await;
            Ok::<(), TaskDied>(())
        });
        Ok(Self {
            member: crate::parts::member()?,
            clock: Clock::start(),
            front: Supervisor::new(health.clone(), front_end.clone()),
            back: Supervisor::new(health.clone(), back_end.clone()),
            last,
            last_end,
            traces: None,
            health,
            front_end,
            back_end,
        })
    }

    pub(crate) fn front_end(&self) -> CancellationToken {
        self.front_end.clone()
    }

    pub(crate) fn back_end(&self) -> CancellationToken {
        self.back_end.clone()
    }

    /// Runs a task until the process is told to end.
    pub(crate) fn front<E: Display>(
        &mut self,
        name: &str,
        task: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        self.front.run(name, task);
    }

    /// Runs a task until the front has ended.
    pub(crate) fn back<E: Display>(
        &mut self,
        name: &str,
        task: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        self.back.run(name, task);
    }

    /// Serves until a signal or until a task dies. `close` closes what the back works on; `last` is awaited when nothing
    /// runs any more.
    ///
    /// # Errors
    /// The first task that died.
    pub(crate) async fn run(self, close: impl FnOnce(), last: impl Future<Output = ()>) -> Result<()> {
        let Self { front, front_end, back, back_end, last: tells, last_end, health, .. } = self;
        let mut tells = Box::pin(tells.join());
        let mut back = Box::pin(back.join());
        let mut front = Box::pin(front.join());
        let mut died: Option<TaskDied> = None;
        let (mut front_over, mut back_over, mut tells_over) = (false, false, false);
        tokio::select! {
            name = signals::ended() => tracing::info!("{name}: ending; what is held is handed on"),
            result = &mut front => { died = result.err(); front_over = true; }
            result = &mut back => { died = result.err(); back_over = true; }
            result = &mut tells => { died = result.err(); tells_over = true; }
        }
        health.waiting("end", "the process is ending");
        let ending = async move {
            front_end.cancel();
            if !front_over {
                died = front.await.err().or(died);
            }
            back_end.cancel();
            close();
            if !back_over {
                died = back.await.err().or(died);
            }
            last.await;
            last_end.cancel();
            if !tells_over {
                died = tells.await.err().or(died);
            }
            died
        };
        let died = tokio::select! {
            died = ending => died,
            name = signals::ended() => bail!("{name} again: ended at once; what was acknowledged is stored"),
        };
        match died {
            None => {
                tracing::info!("ended");
                Ok(())
            }
            Some(died) => Err(died.into()),
        }
    }
}
