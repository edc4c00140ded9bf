//! The connector: resolves, judges every address, dials the vetted ones. All connections are made by
//! it, so that nothing leaves the box by another way (promise 16). Honours no proxy variables.

use crate::address::{allowing_flag, may_dial};
use crate::delivery::ErrorClass;
use hyper::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use ipnet::IpNet;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

/// Names that are looked up at once. A lookup holds a thread until the system's resolver gives up,
/// and the rest of the threads are for reading backlogs.
const LOOKUPS_AT_ONCE: usize = 64;

/// Reads that one connection gets in a row before others have their turn: a receiver that talks faster
/// than it is read (interim answers without end, say) would otherwise hold up all of them, and its own
/// timeout too.
const READS_AT_ONCE: usize = 8;

/// What a connection may cost, and where it may go.
#[derive(Debug, Clone)]
pub struct ConnectRules {
    /// Resolving, dialling: all of it within this.
    pub timeout: Duration,
    /// Networks that the operator opened with `--allow-target`.
    pub allowed: Arc<[IpNet]>,
}

/// Dials, and speaks TLS where the URL says https.
pub(super) type TlsConnector = HttpsConnector<Connector>;

/// Builds the connector.
///
/// # Errors
/// When the TLS library refuses its own defaults.
pub(super) fn connector(rules: ConnectRules) -> anyhow::Result<TlsConnector> {
    let mut roots = rustls::RootCertStore::empty();
    // The system's store comes first for those who run a CA of their own; the bundled roots are
    // there for containers that have no store at all.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .wrap_connector(Connector {
            rules: Arc::new(rules),
            lookups: Arc::new(Semaphore::new(LOOKUPS_AT_ONCE)),
        }))
}

/// Why no connection came about.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{detail}")]
pub struct ConnectError {
    /// The class.
    pub class: ErrorClass,
    /// What exactly was met.
    pub detail: String,
    /// The address that was dialled, or refused to be.
    pub address: Option<SocketAddr>,
}

/// The address that a connection was made to, as the connection tells it through its TLS layer.
#[derive(Debug, Clone, Copy)]
pub struct DialledAddress(pub SocketAddr);

/// Dials what may be dialled.
#[derive(Debug, Clone)]
pub struct Connector {
    rules: Arc<ConnectRules>,
    lookups: Arc<Semaphore>,
}

impl tower_service::Service<Uri> for Connector {
    type Response = Dialled;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Dialled, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let rules = Arc::clone(&self.rules);
        let lookups = Arc::clone(&self.lookups);
        Box::pin(async move {
            let host = uri.host().unwrap_or("").to_owned();
            let default_port = if uri.scheme_str() == Some("https") {
                443
            } else {
                80
            };
            let port = uri.port_u16().unwrap_or(default_port);
            match tokio::time::timeout(rules.timeout, connect(&host, port, &rules, lookups)).await {
                Ok(outcome) => outcome,
                Err(_) => Err(ConnectError {
                    class: ErrorClass::ConnectTimeout,
                    detail: format!("no connection to {host}:{port} within {:?}", rules.timeout),
                    address: None,
                }),
            }
        })
    }
}

async fn connect(
    host: &str,
    port: u16,
    rules: &ConnectRules,
    lookups: Arc<Semaphore>,
) -> Result<Dialled, ConnectError> {
    let started = Instant::now();
    let addresses = resolve(host, port, lookups).await?;
    // If any answer is forbidden, all are: a name that points inside and outside is rebinding.
    if let Some(forbidden) = addresses.iter().find(|a| !may_dial(a.ip(), &rules.allowed)) {
        let address = forbidden.ip().to_canonical();
        return Err(ConnectError {
            class: ErrorClass::BlockedAddress,
            detail: format!(
                "{address} is private or reserved; {} would allow it",
                allowing_flag(address)
            ),
            address: Some(*forbidden),
        });
    }
    let mut refusal = ConnectError {
        class: ErrorClass::Dns,
        detail: format!("{host} has no address"),
        address: None,
    };
    let mut untried = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
    for address in addresses {
        // Each address gets its share of what time is left, so that one that never answers (an IPv6
        // address without a route, say) leaves the others a chance.
        let share = rules.timeout.saturating_sub(started.elapsed()) / untried.max(1);
        untried = untried.saturating_sub(1);
        match tokio::time::timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Requests are small and written whole: waiting to fill a segment only delays them.
                let _ = stream.set_nodelay(true);
                return Ok(Dialled {
                    io: TokioIo::new(stream),
                    address,
                    reads: 0,
                });
            }
            Ok(Err(e)) => refusal = refused(address, &e),
            Err(_) => {
                refusal = ConnectError {
                    class: ErrorClass::ConnectTimeout,
                    detail: format!("no connection to {address} in time"),
                    address: Some(address),
                }
            }
        }
    }
    Err(refusal)
}

fn refused(address: SocketAddr, e: &io::Error) -> ConnectError {
    let class = match e.kind() {
        io::ErrorKind::ConnectionRefused => ErrorClass::ConnectRefused,
        _ => ErrorClass::Connect,
    };
    ConnectError {
        class,
        detail: format!("{address}: {e}"),
        address: Some(address),
    }
}

/// What a host resolves to; an address resolves to itself.
///
/// # Errors
/// [`ErrorClass::Dns`].
pub(super) async fn resolve(
    host: &str,
    port: u16,
    lookups: Arc<Semaphore>,
) -> Result<Vec<SocketAddr>, ConnectError> {
    let bare = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(host);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let failed = |e: &dyn std::fmt::Display| ConnectError {
        class: ErrorClass::Dns,
        detail: format!("{host}: {e}"),
        address: None,
    };
    let permit = lookups.acquire_owned().await.map_err(|e| failed(&e))?;
    let name = bare.to_owned();
    let lookup = tokio::task::spawn_blocking(move || {
        // Held by the thread itself: whoever asked may have given up long before it comes back.
        let _permit = permit;
        (name.as_str(), port).to_socket_addrs().map(Vec::from_iter)
    });
    match lookup.await {
        Ok(Ok(addresses)) => Ok(addresses),
        Ok(Err(e)) => Err(failed(&e)),
        Err(e) => Err(failed(&e)),
    }
}

/// An open connection that knows its address.
#[derive(Debug)]
pub struct Dialled {
    io: TokioIo<TcpStream>,
    address: SocketAddr,
    /// Reads that found something, since the last that did not.
    reads: usize,
}

impl Connection for Dialled {
    fn connected(&self) -> Connected {
        Connected::new().extra(DialledAddress(self.address))
    }
}

impl Read for Dialled {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if self.reads >= READS_AT_ONCE {
            self.reads = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        self.reads = if read.is_ready() { self.reads + 1 } else { 0 };
        read
    }
}

impl Write for Dialled {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn a_connection_that_always_has_something_to_read_lets_others_have_their_turn() {
        const BYTES: usize = 1_000;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stream = TcpStream::connect(address).await.unwrap();
        let (mut talker, _) = listener.accept().await.unwrap();
        talker.write_all(&[b'x'; BYTES]).await.unwrap();
        let mut dialled = Dialled {
            io: TokioIo::new(stream),
            address,
            reads: 0,
        };
        let mut turns = Vec::new();
        let all_read = poll_fn(|context| {
            let mut reads = 0;
            loop {
                let mut byte = [0];
                let mut buffer = hyper::rt::ReadBuf::new(&mut byte);
                let read = Pin::new(&mut dialled).poll_read(context, buffer.unfilled());
                match read {
                    Poll::Ready(read) => read.unwrap(),
                    Poll::Pending => break,
                }
                reads += 1;
            }
            turns.push(reads);
            if turns.iter().sum::<usize>() == BYTES {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        });
        // It hangs where a turn that was given up is never asked for again.
        let timeout = Duration::from_secs(10);
        tokio::time::timeout(timeout, all_read).await.unwrap();
        // Fewer than tokio itself allows a task that is not bound otherwise.
        assert!(turns.iter().all(|reads| *reads <= 32), "{turns:?}");
    }
}
