//! `stoker-operator`: parses, wires, and ends when it is told to.

use anyhow::{Context, Result, anyhow};
use clap::Parser;
use stoker_operator::{Flags, check, run};
use stoker_telemetry::{Health, LogFormat, init_logs, init_logs_and_traces};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// What is said in the log, unless RUST_LOG says otherwise. The libraries tell at `warn` and `error` of each try what the
/// operator tells once.
const LOGGED: &str = "info,kube_runtime=off,kube_client=off,kube_lease_manager=off,tower=off";

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<()> {
    let flags = Flags::parse();
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| anyhow!("TLS was set up twice"))?;
    if flags.only_checks() {
        let client = Flags::client().await?;
        return check(&client, &flags.settings(&client)?).await;
    }
    let traces = match flags.otlp() {
        None => {
            init_logs(LogFormat::Auto, LOGGED);
            None
        }
        Some(otlp) => Some(init_logs_and_traces(LogFormat::Auto, LOGGED, &otlp, env!("CARGO_PKG_VERSION"))?),
    };
    let health = Health::new();
    watch_panics(health.clone());
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let client = Flags::client().await?;
    let settings = flags.settings(&client)?;
    let listener = TcpListener::bind(flags.admin())
        .await
        .with_context(|| format!("failed to listen on {}: give another --admin", flags.admin()))?;
    tracing::info!(?settings, admin = %listener.local_addr()?, "begins");
    let (shutdown, traces_end) = (CancellationToken::new(), CancellationToken::new());
    let exporting = traces.map(|traces| tokio::spawn(traces.run(traces_end.clone())));
    let mut running = Box::pin(run(client, settings, Some(listener), health, shutdown.clone()));
    let result = loop {
        let signal = tokio::select! {
            result = &mut running => break result,
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        if shutdown.is_cancelled() {
            break Err(anyhow!("{signal} again: ended at once"));
        }
        tracing::info!("{signal}: ending; the Lease is given back");
        shutdown.cancel();
    };
    traces_end.cancel();
    if let Some(exporting) = exporting {
        exporting.await??;
    }
    result
}

/// A panic anywhere is an error that nobody has handled: the process says that it is not healthy.
fn watch_panics(health: Health) {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let place = panic.location().map_or_else(String::new, |place| format!(" at {place}"));
        health.mark_dead(format!("a panic{place}"));
        before(panic);
    }));
}
