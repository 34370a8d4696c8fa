//! The simulated fleet of `stoker up --demo`.

use std::net::SocketAddr;

use tokio_util::sync::CancellationToken;

/// Makes the devices and runs them until shutdown.
pub(crate) async fn run(
    _devices: u32,
    _http: SocketAddr,
    _mqtt: SocketAddr,
    _token: String,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    shutdown.cancelled().await;
    Ok(())
}
