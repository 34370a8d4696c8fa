//! What every process has, whatever services are in it: its name, its health, and the order in which it ends.

use std::fmt::Display;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use stoker_domain::model::MemberId;
use stoker_telemetry::{
    Clock, Crashes, Health, LogFormat, OtlpConfig, Supervisor, TaskDied, TraceExport, TraceStats, init_logs,
    init_logs_and_traces,
};
use tokio_util::sync::CancellationToken;

use crate::config::{Configuration, STANDARD};
use crate::crash;
use crate::crash_mail::CrashMail;
use crate::metrics::Metrics;
use crate::signals::Signals;
use crate::title::Title;

/// How often the title is brought up to date.
const TITLE_EVERY: Duration = Duration::from_secs(1);

/// What is said in the log, unless RUST_LOG says otherwise. The Cassandra driver tells at each connection that nodes are not
/// ScyllaDB, and passes on a warning of theirs that means nothing here. What RabbitMQ's says of a connection that ends stands beside
/// what is said here of the same, and helps nobody.
pub(crate) const LOGGED: &str = "info,scylla=warn,scylla::network::connection=error,lapin=off";

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
    crashes: Option<Arc<Crashes>>,
    title: Title,
    signals: Signals,
}

impl Process {
    /// Begins to log, and to tell of spans where that is configured. To be called within a runtime.
    ///
    /// # Errors
    /// What is configured of it cannot be.
    pub(crate) fn begin(service: &str, configuration: &Configuration) -> Result<Self> {
        let mut process = Self::new(service)?;
        let crashes = crash::watch(service, &process.member, configuration);
        let host = format!("{service} on {}", crate::parts::host());
        let mail = CrashMail::new(configuration, crashes.clone(), host)?;
        process.crashes = Some(crashes);
        if let Some(mail) = mail {
            process.last.run("crash mail", mail.run(process.last_end.clone()));
        }
        let otlp = configuration.telemetry.otlp.config(service, &process.member);
        let Some(otlp) = otlp else {
            init_logs(LogFormat::Auto, LOGGED);
            return Ok(process);
        };
        if let Some(export) = traces(&otlp)? {
            process.traces = Some(export.stats());
            process.last.run("traces", export.run(process.last_end.clone()));
        }
        Ok(process)
    }

    /// With what is counted about the spans.
    pub(crate) fn with_traces(&self, metrics: Metrics) -> Metrics {
        match &self.traces {
            Some(traces) => metrics.traces(traces.clone()),
            None => metrics,
        }
    }

    fn new(service: &str) -> Result<Self> {
        let (front_end, back_end) = (CancellationToken::new(), CancellationToken::new());
        let health = Health::new();
        watch_panics(health.clone());
        let last_end = CancellationToken::new();
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
            crashes: None,
            title: Title::of(service),
            signals: Signals::listen(),
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

    /// Shows so many sessions in its title.
    pub(crate) fn counts(&mut self, sessions: impl Fn() -> u64 + Send + Sync + 'static) {
        self.title.count(Box::new(sessions));
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

    /// Does what comes before anything is served; `None` when a signal has come first.
    ///
    /// # Errors
    /// That of the work.
    pub(crate) async fn prepare<T>(&mut self, work: impl Future<Output = Result<T>>) -> Result<Option<T>> {
        tokio::select! {
            done = work => done.map(Some),
            name = self.signals.ended() => {
                tracing::info!("{name}: ended before it had begun");
                Ok(None)
            }
        }
    }

    /// Ends what has begun by then.
    ///
    /// # Errors
    /// A task has died.
    pub(crate) async fn give_up(self) -> Result<()> {
        let Self { front, front_end, back, back_end, last, last_end, .. } = self;
        for (tasks, end) in [(front, front_end), (back, back_end), (last, last_end)] {
            end.cancel();
            tasks.join().await?;
        }
        Ok(())
    }

    /// Serves until a signal or until a task dies. `close` closes what the back works on; `last` is awaited when nothing
    /// runs any more.
    ///
    /// # Errors
    /// The first task that died.
    pub(crate) async fn run(self, close: impl FnOnce(), last: impl Future<Output = ()>) -> Result<()> {
        let Self {
            front,
            front_end,
            back,
            back_end,
            last: tells,
            last_end,
            crashes,
            health,
            mut title,
            mut signals,
            ..
        } = self;
        let mut back = Box::pin(back.join());
        let mut front = Box::pin(front.join());
        let mut tells = Box::pin(tells.join());
        let mut died: Option<TaskDied> = None;
        let (mut front_over, mut back_over, mut tells_over) = (false, false, false);
        let mut every = tokio::time::interval(TITLE_EVERY);
        loop {
            tokio::select! {
                name = signals.ended() => tracing::info!("{name}: ending; what is held is handed on"),
                result = &mut front => { died = result.err(); front_over = true; }
                result = &mut back => { died = result.err(); back_over = true; }
                result = &mut tells => { died = result.err(); tells_over = true; }
                _ = every.tick() => {
                    title.show();
                    continue;
                }
            }
            break;
        }
        health.waiting("end", "the process is ending");
        let ending = async move {
            front_end.cancel();
            if !front_over {
                died = died.or(front.await.err());
            }
            back_end.cancel();
            close();
            if !back_over {
                died = died.or(back.await.err());
            }
            last.await;
            // Now, so that it can be mailed.
            if let Some(died) = died.as_ref().filter(|died| !died.panicked)
                && let Some(crashes) = crashes
            {
                crashes.task_died(&died.task, &died.reason);
            }
            last_end.cancel();
            if !tells_over {
                died = died.or(tells.await.err());
            }
            died
        };
        let mut ending = Box::pin(ending);
        let died = loop {
            tokio::select! {
                died = &mut ending => break died,
                name = signals.ended() => {
                    bail!("{name} again: ended at once; what was acknowledged is stored")
                }
                // How many sessions are left is what is watched now.
                _ = every.tick() => title.show(),
            }
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

/// Begins to log, and to tell of spans. An address that was not given to us alone may be for programs that can more: then
/// there are no traces.
fn traces(otlp: &OtlpConfig) -> Result<Option<TraceExport>> {
    match init_logs_and_traces(LogFormat::Auto, LOGGED, otlp, env!("CARGO_PKG_VERSION")) {
        Ok(export) => Ok(Some(export)),
        Err(error) if otlp.named == STANDARD => {
            init_logs(LogFormat::Auto, LOGGED);
            tracing::warn!(%error, "there are no traces");
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// A panic anywhere is an error that nobody has handled, whoever joins the task: the process says that it is not healthy.
fn watch_panics(health: Health) {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let place = panic.location().map_or_else(String::new, |place| format!(" at {place}"));
        health.mark_dead(format!("a panic{place}"));
        before(panic);
    }));
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_panic_in_a_task_that_nobody_supervises_makes_the_process_unhealthy() {
        let process = Process::new("test").unwrap();
        assert_eq!(process.health.check_alive(), Ok(()));
        let died = tokio::spawn(async {
            if true {
                panic!("on purpose")
            }
        })
        .await;
        assert!(died.unwrap_err().is_panic());
        let said = process.health.check_alive().unwrap_err();
        assert!(said.contains("a panic at services/stoker/src/process.rs"), "{said}");
        process.give_up().await.unwrap();
    }

    #[tokio::test]
    async fn a_collector_that_was_named_for_all_programs_keeps_none_from_starting() {
        let otlp = |named, endpoint: &str| OtlpConfig {
            endpoint: endpoint.to_owned(),
            named,
            sample_ratio: 0.0,
            service: "stoker-core".to_owned(),
            instance: "m1".to_owned(),
        };
        for endpoint in ["https://collector:4317", "http://no host"] {
            assert!(traces(&otlp(STANDARD, endpoint)).unwrap().is_none());
            let key = "telemetry.otlp.endpoint";
            let Err(error) = traces(&otlp(key, endpoint)) else { panic!("{endpoint} is taken") };
            assert!(error.to_string().starts_with(key), "{error}");
        }
    }

    #[tokio::test]
    async fn the_first_task_that_died_is_the_one_that_is_told() {
        let mut process = Process::new("test").unwrap();
        process.signals = Signals::none();
        let end = process.back_end();
        process.front("first", async { Err::<(), _>("on purpose") });
        process.back("second", async move {
            end.cancelled().await;
            Err::<(), _>("what it needed is gone")
        });
        let died = process.run(|| {}, std::future::ready(())).await.unwrap_err();
        assert_eq!(died.to_string(), "the task \"first\" died: on purpose");
    }

    #[tokio::test]
    async fn the_title_is_brought_up_to_date_until_the_end() {
        let mut process = Process::new("test").unwrap();
        process.signals = Signals::none();
        let shown = Arc::new(AtomicU64::new(0));
        let (count, end) = (Arc::clone(&shown), process.front_end());
        process.counts(move || count.fetch_add(1, Ordering::Relaxed));
        process.back("ends it", async { Err::<(), _>("on purpose") });
        process.front("last session", async move {
            end.cancelled().await;
            let before = shown.load(Ordering::Relaxed);
            let later = async {
                let mut looks = tokio::time::interval(Duration::from_millis(10));
                while shown.load(Ordering::Relaxed) <= before + 1 {
                    looks.tick().await;
                }
            };
            tokio::time::timeout(TITLE_EVERY * 60, later).await.expect("the title stands still");
            Ok::<(), TaskDied>(())
        });
        let died = process.run(|| {}, std::future::ready(())).await.unwrap_err();
        assert_eq!(died.to_string(), "the task \"ends it\" died: on purpose");
    }
}
