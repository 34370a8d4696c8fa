//! The private port: `/healthz`, `/readyz`, `/metrics`.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::Health;

/// Why the private port cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum PrivatePortError {
    /// Accepting failed.
    #[error("the private port failed: {0}")]
    Serve(#[from] std::io::Error),
}

/// What the private port shows.
#[derive(Debug)]
pub struct PrivatePort {
    /// The process's health.
    pub health: Health,
    /// The process's metrics.
    pub registry: Registry,
}

impl PrivatePort {
    /// Serves until shutdown.
    ///
    /// # Errors
    /// When the listener fails.
    pub async fn run(
        self,
        listener: TcpListener,
        shutdown: CancellationToken,
    ) -> Result<(), PrivatePortError> {
        let address: Option<SocketAddr> = listener.local_addr().ok();
        tracing::debug!(?address, "private port open");
        let router = axum::Router::new()
            .route("/healthz", get(healthz))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .with_state(Arc::new(self));
        axum::serve(listener, router)
            .with_graceful_shutdown(async move { shutdown.cancelled().await })
            .await?;
        Ok(())
    }
}

fn verdict(result: Result<(), String>) -> (StatusCode, String) {
    match result {
        Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", reason.trim_end())),
    }
}

async fn healthz(State(port): State<Arc<PrivatePort>>) -> impl IntoResponse {
    verdict(port.health.check_alive())
}

async fn readyz(State(port): State<Arc<PrivatePort>>) -> impl IntoResponse {
    let (code, said) = verdict(port.health.check_ready());
    (code, format!("{said}{}", port.health.degradations()))
}

async fn metrics(State(port): State<Arc<PrivatePort>>) -> impl IntoResponse {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &port.registry) {
        Ok(()) => (
            StatusCode::OK,
            [(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")],
            text,
        )
            .into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
