//! Every task has a name and is joined; one that dies takes its process to "unhealthy".

use std::collections::BTreeMap;
use std::fmt::Display;
use std::future::Future;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

/// What is known of the process as a whole.
#[derive(Debug, Clone, Default)]
pub struct Health {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    died: Option<String>,
    waiting_for: BTreeMap<String, String>,
    degraded: BTreeMap<String, String>,
}

impl Health {
    /// Healthy, and ready as long as nobody says what is waited for.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Something died that should not have. The first reason stays; it never becomes healthy again.
    pub fn mark_dead(&self, reason: impl Into<String>) {
        self.inner.lock().died.get_or_insert(reason.into());
    }

    /// Not ready until [`Health::ready`] is said of the same thing.
    pub fn waiting(&self, thing: &str, why: impl Into<String>) {
        self.inner.lock().waiting_for.insert(thing.to_owned(), why.into());
    }

    /// Ready nevertheless: it does less than it could until [`Health::ready`] is said of the same thing.
    pub fn degraded(&self, thing: &str, why: impl Into<String>) {
        self.inner.lock().degraded.insert(thing.to_owned(), why.into());
    }

    /// That thing is there now.
    pub fn ready(&self, thing: &str) {
        let mut inner = self.inner.lock();
        inner.waiting_for.remove(thing);
        inner.degraded.remove(thing);
    }

    /// What it does without, one line for each thing; empty when all is there.
    #[must_use]
    pub fn degradations(&self) -> String {
        let inner = self.inner.lock();
        inner.degraded.iter().map(|(thing, why)| format!("degraded: {thing}: {why}\n")).collect()
    }

    /// `Err` with the reason when something died.
    ///
    /// # Errors
    /// The reason, for a person.
    pub fn check_alive(&self) -> Result<(), String> {
        self.inner.lock().died.clone().map_or(Ok(()), Err)
    }

    /// `Err` with what is waited for.
    ///
    /// # Errors
    /// One line for each thing.
    pub fn check_ready(&self) -> Result<(), String> {
        let inner = self.inner.lock();
        if let Some(reason) = &inner.died {
            return Err(reason.clone());
        }
        if inner.waiting_for.is_empty() {
            return Ok(());
        }
        Err(inner.waiting_for.iter().map(|(thing, why)| format!("{thing}: {why}\n")).collect())
    }
}

/// A task ended before it was told to, with an error or a panic.
#[derive(Debug, thiserror::Error)]
#[error("the task \"{task}\" died: {reason}")]
pub struct TaskDied {
    /// Its name.
    pub task: String,
    /// Why.
    pub reason: String,
    /// By a panic, which tells of itself.
    pub panicked: bool,
}

/// Runs named tasks and joins them all.
#[derive(Debug)]
pub struct Supervisor {
    tasks: JoinSet<Result<(), String>>,
    names: BTreeMap<String, String>,
    health: Health,
    shutdown: CancellationToken,
}

impl Supervisor {
    /// Runs nothing yet. `shutdown` ends it all; the supervisor pulls it itself when a task dies.
    #[must_use]
    pub fn new(health: Health, shutdown: CancellationToken) -> Self {
        Self { tasks: JoinSet::new(), names: BTreeMap::new(), health, shutdown }
    }

    /// Starts a task that runs until shutdown.
    pub fn run<E: Display>(
        &mut self,
        name: &str,
        task: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        // Boxed, so that the tasks' sizes do not add up in the caller's.
        let task = Box::pin(task);
        let handle = self.tasks.spawn(async move { task.await.map_err(|error| format!("{error:#}")) });
        self.names.insert(handle.id().to_string(), name.to_owned());
    }

    fn name(&self, id: Id) -> String {
        self.names.get(&id.to_string()).cloned().unwrap_or_default()
    }

    /// Waits for shutdown and then for every task, or for the first task to die, which begins the shutdown.
    ///
    /// # Errors
    /// The first task that died.
    pub async fn join(mut self) -> Result<(), TaskDied> {
        let mut first = None;
        while let Some(ended) = self.tasks.join_next_with_id().await {
            let panicked = ended.as_ref().is_err_and(JoinError::is_panic);
            let (task, reason) = match ended {
                Ok((id, Ok(()))) if self.shutdown.is_cancelled() => {
                    tracing::debug!(task = self.name(id), "ended");
                    continue;
                }
                Ok((id, Ok(()))) => (self.name(id), "it ended before it was told to".to_owned()),
                Ok((id, Err(reason))) => (self.name(id), reason),
                Err(error) => (self.name(error.id()), error.to_string()),
            };
            tracing::error!(task, reason, "a task died; shutting down");
            self.health.mark_dead(format!("{task}: {reason}"));
            self.shutdown.cancel();
            first.get_or_insert(TaskDied { task, reason, panicked });
        }
        first.map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panicking_task_makes_the_process_unhealthy_and_ends_the_others() {
        let (health, shutdown) = (Health::new(), CancellationToken::new());
        let mut supervisor = Supervisor::new(health.clone(), shutdown.clone());
        let other = shutdown.clone();
        supervisor.run("patient", async move {
            other.cancelled().await;
            Ok::<(), String>(())
        });
        supervisor.run("fragile", async { if true { panic!("on purpose") } else { Ok::<(), String>(()) } });
        let died = supervisor.join().await.unwrap_err();
        assert_eq!(died.task, "fragile");
        assert!(health.check_alive().unwrap_err().starts_with("fragile"));
        assert!(shutdown.is_cancelled());
    }

    #[tokio::test]
    async fn tasks_that_end_after_shutdown_are_well() {
        let (health, shutdown) = (Health::new(), CancellationToken::new());
        let mut supervisor = Supervisor::new(health.clone(), shutdown.clone());
        let other = shutdown.clone();
        supervisor.run("patient", async move {
            other.cancelled().await;
            Ok::<(), String>(())
        });
        shutdown.cancel();
        supervisor.join().await.unwrap();
        assert_eq!(health.check_alive(), Ok(()));
    }

    #[test]
    fn readiness_names_what_is_waited_for() {
        let health = Health::new();
        health.waiting("slots", "12 of 256 taken over");
        assert_eq!(health.check_ready().unwrap_err(), "slots: 12 of 256 taken over\n");
        health.ready("slots");
        assert_eq!(health.check_ready(), Ok(()));
    }

    #[test]
    fn what_can_be_done_without_is_said_and_leaves_the_process_ready() {
        let health = Health::new();
        health.degraded("bus", "the broker is away");
        assert_eq!(health.check_ready(), Ok(()));
        assert_eq!(health.degradations(), "degraded: bus: the broker is away\n");
        health.ready("bus");
        assert_eq!(health.degradations(), "");
    }
}
