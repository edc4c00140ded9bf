//! The connector: resolves, judges every address, dials the vetted ones, and speaks TLS with them. All
//! connections are made by it, so that nothing leaves the box by another way (promise 16). Honours no
//! proxy variables.

use crate::address::{allowing_flag, may_dial};
use crate::delivery::ErrorClass;
use crate::store::attempts::Phases;
use hyper::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::MaybeHttpsStream;
use hyper_util::rt::TokioIo;
use ipnet::IpNet;
use rustls::pki_types::ServerName;
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsConnector;

/// Names that are looked up at once. A lookup holds a thread until the system's resolver gives up,
/// and the rest of the threads are for reading backlogs.
const LOOKUPS_AT_ONCE: usize = 64;
/// Lookups of one name at once: one whose name servers never answer, to which many deliveries go, leaves the
/// others their turn.
const LOOKUPS_OF_A_NAME: usize = 4;

/// Reads that one connection gets in a row before others have their turn: a receiver that talks faster
/// than it is read (interim answers without end, say) would otherwise hold up all of them, and its own
/// timeout too.
const READS_AT_ONCE: usize = 8;

/// What a connection may cost, and where it may go.
#[derive(Debug, Clone)]
pub struct ConnectRules {
    /// Resolving, dialling, the TLS handshake: all of it within this.
    pub timeout: Duration,
    /// Networks that the operator opened with `--allow-target`.
    pub allowed: Arc<[IpNet]>,
    /// Whether the operator wants nothing to leave readable (`--require-https`).
    pub requires_https: bool,
}

/// Why no connection came about.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{detail}")]
pub struct ConnectError {
    /// The class.
    pub class: ErrorClass,
    /// What exactly was met.
    pub detail: String,
}

impl ConnectError {
    fn new(class: ErrorClass, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self { class, detail }
    }
}

/// How far a connection has come: told while it is made, so that it is known of one that fails, too.
#[derive(Debug, Default)]
pub struct Progress {
    /// The address and port that were dialled last, or refused to be.
    pub address: Option<Arc<str>>,
    /// How long each part took that is done.
    pub phases: Phases,
}

/// A connection, with TLS where the URL says https.
pub(super) type Stream = MaybeHttpsStream<Dialled>;

/// Says what a name resolves to, the port beside each address; blocks while it asks.
type Resolve = dyn Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync;

/// Dials what may be dialled, and speaks TLS where the URL says https.
pub(super) struct Connector {
    rules: ConnectRules,
    tls: TlsConnector,
    resolve: Arc<Resolve>,
    lookups: Lookups,
}

/// Whose turn it is to be looked up.
struct Lookups {
    all: Arc<Semaphore>,
    of_names: Mutex<HashMap<Box<str>, Weak<Semaphore>>>,
}

impl Lookups {
    fn new() -> Self {
        Self {
            all: Arc::new(Semaphore::new(LOOKUPS_AT_ONCE)),
            of_names: Mutex::default(),
        }
    }

    /// Waits for a turn; it ends when what is returned is dropped.
    async fn turn(&self, name: &str) -> Result<[OwnedSemaphorePermit; 2], AcquireError> {
        let own = self.of_name(name).acquire_owned().await?;
        Ok([own, Arc::clone(&self.all).acquire_owned().await?])
    }

    fn of_name(&self, name: &str) -> Arc<Semaphore> {
        let mut of_names = self.of_names.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = of_names.get(name).and_then(Weak::upgrade) {
            return known;
        }
        of_names.retain(|_, known| known.strong_count() > 0);
        let new = Arc::new(Semaphore::new(LOOKUPS_OF_A_NAME));
        of_names.insert(name.into(), Arc::downgrade(&new));
        new
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connector({:?})", self.rules)
    }
}

impl Connector {
    /// A connector that asks the system's resolver.
    ///
    /// # Errors
    /// When the TLS library refuses its own defaults.
    pub(super) fn new(rules: ConnectRules) -> anyhow::Result<Self> {
        let system = |name: &str, port| (name, port).to_socket_addrs().map(Vec::from_iter);
        Self::with_resolver(rules, Arc::new(system))
    }

    fn with_resolver(rules: ConnectRules, resolve: Arc<Resolve>) -> anyhow::Result<Self> {
        let mut roots = rustls::RootCertStore::empty();
        // The system's store comes first for those who run a CA of their own; the bundled roots are
        // there for containers that have no store at all.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            rules,
            tls: Arc::new(config).into(),
            resolve,
            lookups: Lookups::new(),
        })
    }

    /// Makes a connection to a URL's host and port, and tells `progress` how far it came.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) async fn dial(
        &self,
        uri: &Uri,
        progress: &mut Progress,
    ) -> Result<Stream, ConnectError> {
        let is_https = uri.scheme_str() == Some("https");
        if self.rules.requires_https && !is_https {
            return Err(ConnectError::new(
                ErrorClass::InsecureUrl,
                "the URL begins with http:, and this box was started with --require-https",
            ));
        }
        let host = uri.host().unwrap_or("");
        let host = host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(host);
        let port = uri.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        let timeout = self.rules.timeout;
        let connect = self.connect(host, port, is_https, progress);
        match tokio::time::timeout(timeout, connect).await {
            Ok(outcome) => outcome,
            Err(_) => {
                let (class, met) = match (&progress.address, progress.phases.connect_us) {
                    (Some(address), Some(_)) => (
                        ErrorClass::ConnectTimeout,
                        format!("no TLS handshake with {address}"),
                    ),
                    (Some(address), None) => (
                        ErrorClass::ConnectTimeout,
                        format!("no connection to {address}"),
                    ),
                    (None, _) => (ErrorClass::Dns, format!("no address of {host}")),
                };
                Err(ConnectError::new(
                    class,
                    format!("{met} within {timeout:?}"),
                ))
            }
        }
    }

    async fn connect(
        &self,
        host: &str,
        port: u16,
        is_https: bool,
        progress: &mut Progress,
    ) -> Result<Stream, ConnectError> {
        let started = Instant::now();
        let addresses = self.addresses(host, port, progress).await?;
        // If any answer is forbidden, all are: a name that points inside and outside is rebinding.
        let is_forbidden = |address: &&SocketAddr| !may_dial(address.ip(), &self.rules.allowed);
        if let Some(forbidden) = addresses.iter().find(is_forbidden) {
            progress.address = Some(forbidden.to_string().into());
            let address = forbidden.ip().to_canonical();
            let flag = allowing_flag(address);
            let detail = format!("{address} is private or reserved; {flag} would allow it");
            return Err(ConnectError::new(ErrorClass::BlockedAddress, detail));
        }
        if addresses.is_empty() {
            let detail = format!("{host} has no address");
            return Err(ConnectError::new(ErrorClass::Dns, detail));
        }
        let left = self.rules.timeout.saturating_sub(started.elapsed());
        let began = Instant::now();
        let dialled = first_that_answers(&addresses, left, progress).await?;
        progress.phases.connect_us = Some(microseconds_since(began));
        if !is_https {
            return Ok(MaybeHttpsStream::Http(dialled));
        }
        let began = Instant::now();
        let name = ServerName::try_from(host.to_owned())
            .map_err(|e| ConnectError::new(ErrorClass::Tls, format!("{host}: {e}")))?;
        let shaken = self.tls.connect(name, TokioIo::new(dialled)).await;
        let stream = shaken.map_err(|e| ConnectError::new(ErrorClass::Tls, tls_detail(&e)))?;
        progress.phases.tls_us = Some(microseconds_since(began));
        Ok(MaybeHttpsStream::Https(TokioIo::new(stream)))
    }

    /// What the host resolves to, and how long that took; an address is its own answer. They are not judged
    /// yet.
    ///
    /// # Errors
    /// [`ErrorClass::Dns`].
    pub(super) async fn addresses(
        &self,
        host: &str,
        port: u16,
        progress: &mut Progress,
    ) -> Result<Vec<SocketAddr>, ConnectError> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let began = Instant::now();
        let addresses = self.look_up(host, port).await?;
        progress.phases.dns_us = Some(microseconds_since(began));
        Ok(addresses)
    }

    async fn look_up(&self, name: &str, port: u16) -> Result<Vec<SocketAddr>, ConnectError> {
        let failed =
            |e: &dyn fmt::Display| ConnectError::new(ErrorClass::Dns, format!("{name}: {e}"));
        let turn = self.lookups.turn(name).await.map_err(|e| failed(&e))?;
        let (resolve, asked) = (Arc::clone(&self.resolve), name.to_owned());
        let lookup = tokio::task::spawn_blocking(move || {
            // Held by the thread itself: whoever asked may have given up long before it comes back.
            let _turn = turn;
            resolve(&asked, port)
        });
        match lookup.await {
            Ok(Ok(addresses)) => Ok(addresses),
            Ok(Err(e)) => Err(failed(&e)),
            Err(e) => Err(failed(&e)),
        }
    }
}

/// Dials one vetted address after the other, all within `left`. Exactly these: whatever the name says
/// by now.
async fn first_that_answers(
    addresses: &[SocketAddr],
    left: Duration,
    progress: &mut Progress,
) -> Result<Dialled, ConnectError> {
    let began = Instant::now();
    let mut refusal = ConnectError::new(ErrorClass::Dns, "no address");
    let mut untried = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
    for address in addresses {
        progress.address = Some(address.to_string().into());
        // Each address gets its share of what time is left, so that one that never answers (an IPv6
        // address without a route, say) leaves the others a chance.
        let share = left.saturating_sub(began.elapsed()) / untried.max(1);
        untried = untried.saturating_sub(1);
        refusal = match tokio::time::timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Requests are small and written whole: waiting to fill a segment only delays them.
                let _ = stream.set_nodelay(true);
                return Ok(Dialled {
                    io: TokioIo::new(stream),
                    reads: 0,
                });
            }
            Ok(Err(e)) => refused(*address, &e),
            Err(_) => {
                let detail = format!("no connection to {address} in time");
                ConnectError::new(ErrorClass::ConnectTimeout, detail)
            }
        };
    }
    Err(refusal)
}

fn refused(address: SocketAddr, e: &io::Error) -> ConnectError {
    let class = match e.kind() {
        io::ErrorKind::ConnectionRefused => ErrorClass::ConnectRefused,
        _ => ErrorClass::Connect,
    };
    ConnectError::new(class, format!("{address}: {e}"))
}

/// What went wrong with TLS, in words that say where to look.
fn tls_detail(e: &io::Error) -> String {
    use rustls::{CertificateError, Error};
    let inner = e.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    let met = match inner {
        Some(Error::InvalidMessage(_)) => "what listens there does not speak TLS",
        Some(Error::InvalidCertificate(wrong)) => match wrong {
            CertificateError::UnknownIssuer => {
                "nobody whom this machine trusts has issued the certificate"
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "the certificate is for another name"
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "the certificate has expired"
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "the certificate is not valid yet"
            }
            _ => "the certificate is not good",
        },
        None if matches!(
            e.kind(),
            io::ErrorKind::UnexpectedEof
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::BrokenPipe
        ) =>
        {
            "the connection was closed during the handshake"
        }
        _ => return e.to_string(),
    };
    format!("{met} ({e})")
}

/// Microseconds since then, as an attempt's record has them.
pub(super) fn microseconds_since(then: Instant) -> i64 {
    i64::try_from(then.elapsed().as_micros()).unwrap_or(i64::MAX)
}

/// An open connection, not yet with TLS.
#[derive(Debug)]
pub struct Dialled {
    io: TokioIo<TcpStream>,
    /// Reads that found something, since the last that did not.
    reads: usize,
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
    use std::sync::atomic::{AtomicUsize, Ordering};
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

    fn rules(allowed: &[&str]) -> ConnectRules {
        let allowed = allowed.iter().map(|net| net.parse().unwrap());
        ConnectRules {
            timeout: Duration::from_secs(5),
            allowed: allowed.collect(),
            requires_https: false,
        }
    }

    /// A connector to whom a name says these addresses, in turn; and how often it was asked.
    fn told(rules: ConnectRules, answers: Vec<Vec<IpAddr>>) -> (Connector, Arc<AtomicUsize>) {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let resolve = move |_: &str, port| {
            let turn = count.fetch_add(1, Ordering::SeqCst);
            let answer = &answers[turn % answers.len()];
            Ok(answer.iter().map(|ip| SocketAddr::new(*ip, port)).collect())
        };
        let connector = Connector::with_resolver(rules, Arc::new(resolve)).unwrap();
        (connector, asked)
    }

    /// Listeners on one port of two addresses of this machine.
    async fn two_listeners() -> (TcpListener, TcpListener, u16) {
        loop {
            let one = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = one.local_addr().unwrap().port();
            // Somebody else may have it there.
            if let Ok(other) = TcpListener::bind(("127.0.0.2", port)).await {
                return (one, other, port);
            }
        }
    }

    /// Whether somebody has connected by now; whoever did so before this is asked is in the backlog.
    async fn is_hit(listener: &TcpListener) -> bool {
        let accepted = poll_fn(|context| match listener.poll_accept(context) {
            Poll::Ready(accepted) => Poll::Ready(Some(accepted.unwrap())),
            Poll::Pending => Poll::Ready(None),
        });
        accepted.await.is_some()
    }

    fn uri(text: &str) -> Uri {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn a_name_is_resolved_once_and_what_was_vetted_is_dialled() {
        let (good, canary, port) = two_listeners().await;
        let answers = ["127.0.0.1", "127.0.0.2"].map(|ip| vec![ip.parse().unwrap()]);
        let (connector, asked) = told(rules(&["127.0.0.1/32"]), answers.to_vec());
        let to = uri(&format!("http://rebinding.example:{port}"));
        let mut progress = Progress::default();
        connector.dial(&to, &mut progress).await.unwrap();
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        assert_eq!(
            progress.address.as_deref(),
            Some(&*format!("127.0.0.1:{port}"))
        );
        assert!(progress.phases.dns_us.is_some() && progress.phases.connect_us.is_some());
        assert!(progress.phases.tls_us.is_none());
        assert!(is_hit(&good).await);
        // The next time it says another address, and that one is judged anew.
        let mut progress = Progress::default();
        let refusal = connector.dial(&to, &mut progress).await.unwrap_err();
        assert_eq!(refusal.class, ErrorClass::BlockedAddress);
        assert!(
            refusal.detail.contains("--allow-target 127.0.0.2/32"),
            "{refusal}"
        );
        assert_eq!(
            progress.address.as_deref(),
            Some(&*format!("127.0.0.2:{port}"))
        );
        assert!(!is_hit(&canary).await && !is_hit(&good).await);
    }

    #[tokio::test]
    async fn one_forbidden_answer_among_others_forbids_all_of_them() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        for forbidden in [
            "10.0.0.1",
            "169.254.169.254",
            "::1",
            "::ffff:10.0.0.1",
            "fd00::1",
        ] {
            for order in [["127.0.0.1", forbidden], [forbidden, "127.0.0.1"]] {
                let answer = order.map(|ip| ip.parse().unwrap()).to_vec();
                let (connector, _) = told(rules(&["127.0.0.1/32"]), vec![answer]);
                let to = uri(&format!("http://mixed.example:{port}"));
                let refusal = connector.dial(&to, &mut Progress::default()).await;
                assert_eq!(
                    refusal.unwrap_err().class,
                    ErrorClass::BlockedAddress,
                    "{order:?}"
                );
            }
        }
        assert!(!is_hit(&listener).await);
    }

    #[tokio::test]
    async fn the_next_address_is_tried_and_the_last_one_dialled_is_told() {
        let (good, gone, port) = two_listeners().await;
        drop(gone);
        let both = ["127.0.0.2", "127.0.0.1"].map(|ip| ip.parse().unwrap());
        let (connector, _) = told(rules(&["127.0.0.0/8"]), vec![both.to_vec()]);
        let to = uri(&format!("http://two.example:{port}"));
        let mut progress = Progress::default();
        connector.dial(&to, &mut progress).await.unwrap();
        assert_eq!(
            progress.address.as_deref(),
            Some(&*format!("127.0.0.1:{port}"))
        );
        drop(good);
        let mut progress = Progress::default();
        let refusal = connector.dial(&to, &mut progress).await.unwrap_err();
        assert_eq!(refusal.class, ErrorClass::ConnectRefused);
        assert_eq!(
            progress.address.as_deref(),
            Some(&*format!("127.0.0.1:{port}"))
        );
        assert!(progress.phases.dns_us.is_some() && progress.phases.connect_us.is_none());
    }

    #[tokio::test]
    async fn a_resolver_that_says_nothing_in_time_is_a_name_that_did_not_resolve() {
        let rules = ConnectRules {
            timeout: Duration::from_millis(50),
            ..rules(&[])
        };
        let (answer, wait) = std::sync::mpsc::channel::<()>();
        let wait = std::sync::Mutex::new(wait);
        let resolve = move |_: &str, _| {
            // Until the other end is dropped.
            let _ = wait.lock().unwrap().recv();
            Ok(Vec::new())
        };
        let connector = Connector::with_resolver(rules, Arc::new(resolve)).unwrap();
        let mut progress = Progress::default();
        let refusal = connector
            .dial(&uri("http://slow.example"), &mut progress)
            .await;
        drop(answer);
        let refusal = refusal.unwrap_err();
        assert_eq!(refusal.class, ErrorClass::Dns);
        assert_eq!(refusal.detail, "no address of slow.example within 50ms");
        assert!(progress.address.is_none() && progress.phases.dns_us.is_none());
    }

    #[tokio::test]
    async fn a_name_that_nobody_answers_for_leaves_others_their_turn() {
        let (answer, wait) = std::sync::mpsc::channel::<()>();
        let wait = Mutex::new(wait);
        let resolve = move |name: &str, _| {
            if name == "silent.example" {
                // Until the other end is dropped.
                let _ = wait.lock().unwrap().recv();
            }
            Ok(Vec::new())
        };
        let connector = Connector::with_resolver(rules(&[]), Arc::new(resolve)).unwrap();
        let connector = Arc::new(connector);
        let silent: Vec<_> = (0..2 * LOOKUPS_AT_ONCE)
            .map(|_| {
                let connector = Arc::clone(&connector);
                tokio::spawn(async move { connector.look_up("silent.example", 80).await })
            })
            .collect();
        while connector.lookups.all.available_permits() > LOOKUPS_AT_ONCE - LOOKUPS_OF_A_NAME {
            tokio::task::yield_now().await;
        }
        let other = connector.look_up("other.example", 80);
        let other = tokio::time::timeout(Duration::from_secs(10), other).await;
        assert!(other.expect("the other waits for it").is_ok());
        assert_eq!(connector.lookups.of_names.lock().unwrap().len(), 2);
        drop(answer);
        for lookup in silent {
            assert!(lookup.await.unwrap().is_ok());
        }
        // What is over is forgotten with the next name.
        connector.look_up("last.example", 80).await.unwrap();
        assert_eq!(connector.lookups.of_names.lock().unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_name_without_an_address_is_not_dialled() {
        let (connector, _) = told(rules(&[]), vec![Vec::new()]);
        let mut progress = Progress::default();
        let refusal = connector
            .dial(&uri("http://none.example"), &mut progress)
            .await;
        assert_eq!(refusal.unwrap_err().class, ErrorClass::Dns);
        assert_eq!(progress.address, None);
    }

    #[tokio::test]
    async fn a_box_that_requires_https_asks_no_resolver_for_anything_else() {
        let rules = ConnectRules {
            requires_https: true,
            ..rules(&["0.0.0.0/0"])
        };
        let (connector, asked) = told(rules, vec![vec!["127.0.0.1".parse().unwrap()]]);
        let refusal = connector
            .dial(&uri("http://plain.example:1"), &mut Progress::default())
            .await;
        let refusal = refusal.unwrap_err();
        assert_eq!(refusal.class, ErrorClass::InsecureUrl);
        assert!(refusal.detail.contains("--require-https"), "{refusal}");
        assert_eq!(asked.load(Ordering::SeqCst), 0);
        let refusal = connector
            .dial(&uri("https://safe.example:1"), &mut Progress::default())
            .await;
        assert_eq!(refusal.unwrap_err().class, ErrorClass::ConnectRefused);
    }
}
