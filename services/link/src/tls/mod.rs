//! TLS among the services: each shows a certificate, and each asks for the other's.

mod files;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::AsyncBufReadExt;
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::dial::connect;
use crate::{Caller, Dial, Reread, Role, Wire};
use files::Texts;
pub use files::{TlsError, TlsFiles, pem_certificates, read_pem};

/// Files are looked at again for a new connection, at most so often.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The certificate of this service and those that it believes. Files that are replaced count for the connections made
/// from then on.
#[derive(Clone)]
pub struct Tls(Arc<Inner>);

struct Inner {
    files: TlsFiles,
    /// Of all cores, whatever their addresses are.
    core_name: Option<ServerName<'static>>,
    configs: Reread<Texts, Configs>,
}

/// Both sides of what the files say.
#[derive(Clone)]
struct Configs {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsError`] names the file that cannot be used.
    pub fn open(files: TlsFiles) -> Result<Self, TlsError> {
        Self::looking(files, LOOK_EVERY)
    }

    fn looking(files: TlsFiles, look_every: Duration) -> Result<Self, TlsError> {
        let name =
            |name: &String| ServerName::try_from(name.clone()).map_err(|_| TlsError::Name(name.clone()));
        let core_name = files.core_name.as_ref().map(name).transpose()?;
        let texts = Texts::read(&files)?;
        let configs = texts.configs(&files)?;
        let configs = Reread::new("the certificates among the services", look_every, texts, configs);
        Ok(Self(Arc::new(Inner { files, core_name, configs })))
    }

    /// What holds for a connection that is made now.
    async fn configs(&self) -> Configs {
        let files = self.0.files.clone();
        self.0.configs.now(move || Texts::read(&files), |texts| texts.configs(&self.0.files)).await
    }

    /// By TCP and TLS, to cores: the other end has a certificate with that role, and with the name of all cores, or else
    /// the host of the address.
    #[must_use]
    pub fn dial(&self) -> Dial {
        let tls = self.clone();
        Arc::new(move |address| {
            let tls = tls.clone();
            Box::pin(async move {
                let name = tls.0.core_name.clone().map_or_else(|| host(&address), Ok)?;
                let connector = TlsConnector::from(tls.configs().await.client);
                let mut stream = connector.connect(name, connect(&address).await?).await?;
                // Our certificate is looked at after that. HTTP/2 begins with settings of the server, so that what comes
                // first is either those or why we are not let in.
                if stream.fill_buf().await?.is_empty() {
                    return Err(io::ErrorKind::ConnectionReset.into());
                }
                match role(stream.get_ref().1.peer_certificates())? {
                    Role::Core => Ok(Box::new(stream) as Box<dyn Wire>),
                    other => Err(refused(format!("it shows the certificate of a {other}, not of a core"))),
                }
            })
        })
    }

    /// The handshake of a core with whoever came.
    pub(crate) fn accept(
        &self,
        stream: TcpStream,
    ) -> impl Future<Output = io::Result<(Box<dyn Wire>, Caller)>> + Send + 'static {
        let tls = self.clone();
        async move {
            let acceptor = TlsAcceptor::from(tls.configs().await.server);
            let stream = acceptor.accept(stream).await?;
            let role = role(stream.get_ref().1.peer_certificates())?;
            Ok((Box::new(stream) as Box<dyn Wire>, Caller::Service(role)))
        }
    }
}

fn refused(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, why)
}

/// The role in the certificate of the other end, which was verified.
fn role(chain: Option<&[CertificateDer<'_>]>) -> io::Result<Role> {
    let certificate =
        chain.and_then(<[_]>::first).ok_or_else(|| refused("it shows no certificate".to_owned()))?;
    Role::of(certificate).map_err(|what| refused(format!("it shows {what}")))
}

/// The host of `host:port`, as a certificate has it.
fn host(address: &str) -> io::Result<ServerName<'static>> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    ServerName::try_from(host.to_owned()).map_err(|_| {
        let why = format!("{host:?} is neither a host's name nor an address");
        io::Error::new(io::ErrorKind::InvalidInput, why)
    })
}
