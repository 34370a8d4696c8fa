//! What every process has, whatever services are in it: its name, its health, and the order in which it ends.

use std::fmt::Display;
use std::future::Future;

use anyhow::{Result, bail};
use stoker_domain::model::MemberId;
use stoker_telemetry::{Clock, Health, Supervisor, TaskDied};
use tokio_util::sync::CancellationToken;

use crate::signals;

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
}

impl Process {
    pub(crate) fn new() -> Result<Self> {
        let (front_end, back_end) = (CancellationToken::new(), CancellationToken::new());
        let health = Health::new();
        Ok(Self {
            member: crate::parts::member()?,
            clock: Clock::start(),
            front: Supervisor::new(health.clone(), front_end.clone()),
            back: Supervisor::new(health.clone(), back_end.clone()),
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
        let Self { front, front_end, back, back_end, health, .. } = self;
        let mut back = Box::pin(back.join());
        let mut front = Box::pin(front.join());
        let mut died: Option<TaskDied> = None;
        let (mut front_over, mut back_over) = (false, false);
        tokio::select! {
            name = signals::ended() => tracing::info!("{name}: ending; what is held is handed on"),
            result = &mut front => { died = result.err(); front_over = true; }
            result = &mut back => { died = result.err(); back_over = true; }
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
