//! The check of an endpoint's URL while somebody writes it: what its name resolves to, whether that may be
//! dialled, and whether a connection and TLS come about. Over the connector that deliveries use, so that it
//! reaches nothing that they do not; sends no request, and dials nothing where any address is forbidden.

use super::connect::{ConnectError, ConnectRules, Connector, Progress, Stream};
use crate::address::{allowing_flag, may_dial};
use crate::delivery::ErrorClass;
use crate::error::{Error, Kind, Result};
use hyper::Uri;
use hyper_rustls::MaybeHttpsStream;
use ipnet::IpNet;
use rustls::pki_types::CertificateDer;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use url::Url;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

/// Checks on their way at once; one more is refused.
const CHECKS_AT_ONCE: usize = 8;
/// All of a check that somebody asked for, from looking up to the TLS handshake.
pub const CHECK_TIMEOUT: Duration = Duration::from_secs(8);
/// All of a check that goes with saving, which must not make people wait.
pub const GLANCE_TIMEOUT: Duration = Duration::from_secs(2);
/// Addresses of a name that are told.
pub const MAX_ADDRESSES: usize = 8;

/// Checks URLs.
#[derive(Debug)]
pub struct UrlChecker {
    connector: Connector,
    allowed: Arc<[IpNet]>,
    checks: Semaphore,
}

/// What a check found.
#[derive(Debug)]
pub struct Verdict {
    /// Host and port.
    pub host: String,
    /// What the host resolves to, at most [`MAX_ADDRESSES`].
    pub addresses: Vec<Judged>,
    /// How the connection came about, or why it did not.
    pub connection: std::result::Result<Reached, Unreached>,
}

/// One address of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// The address.
    pub address: IpAddr,
    /// The flag that would let the box dial it, where it may not.
    pub allowing_flag: Option<String>,
}

/// A connection came about.
#[derive(Debug)]
pub struct Reached {
    /// What was dialled.
    pub address: Option<Arc<str>>,
    /// The certificate, where the URL says https.
    pub certificate: Option<KnownCertificate>,
}

/// A certificate that the box trusts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownCertificate {
    /// When it ends, Unix milliseconds; `None` where that cannot be read.
    pub expires_at_ms: Option<i64>,
}

/// No connection came about.
#[derive(Debug)]
pub struct Unreached {
    /// The class.
    pub class: ErrorClass,
    /// What exactly was met.
    pub detail: String,
}

impl From<ConnectError> for Unreached {
    fn from(e: ConnectError) -> Self {
        Self {
            class: e.class,
            detail: e.detail,
        }
    }
}

impl UrlChecker {
    /// A checker with the rules of deliveries.
    ///
    /// # Errors
    /// When the TLS library refuses its own defaults.
    pub fn new(rules: ConnectRules) -> anyhow::Result<Self> {
        Ok(Self {
            allowed: Arc::clone(&rules.allowed),
            connector: Connector::new(rules)?,
            checks: Semaphore::new(CHECKS_AT_ONCE),
        })
    }

    /// Checks a URL, all of it within a time: what was found until then is told.
    ///
    /// # Errors
    /// [`Kind::Unavailable`] when too many are on their way.
    pub async fn check(&self, url: &Url, within: Duration) -> Result<Verdict> {
        let _permit = self.checks.try_acquire().map_err(|_| {
            Error::new(
                Kind::Unavailable,
                "checks_busy",
                "Too many URLs are being checked already; try again in a moment.",
            )
        })?;
        let port = url.port_or_known_default().unwrap_or(0);
        let mut verdict = Verdict {
            host: format!("{}:{port}", url.host_str().unwrap_or("")),
            addresses: Vec::new(),
            connection: Err(Unreached {
                class: ErrorClass::Timeout,
                detail: format!("no answer within {within:?}"),
            }),
        };
        let looking = self.look(url, port, &mut verdict);
        // What was found until then stays.
        let _ = tokio::time::timeout(within, looking).await;
        Ok(verdict)
    }

    async fn look(&self, url: &Url, port: u16, verdict: &mut Verdict) {
        let host = url.host_str().unwrap_or("");
        let bare = host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(host);
        let mut progress = Progress::default();
        match self.connector.addresses(bare, port, &mut progress).await {
            Ok(addresses) => verdict.addresses = self.judge(&addresses),
            Err(e) => {
                verdict.connection = Err(e.into());
                return;
            }
        }
        // The connector resolves and judges again: what is told above decides nothing.
        verdict.connection = self.dial(url).await;
    }

    /// Each address once; forbidden ones first, since they decide.
    fn judge(&self, addresses: &[SocketAddr]) -> Vec<Judged> {
        let mut judged: Vec<Judged> = Vec::new();
        for address in addresses.iter().map(SocketAddr::ip) {
            if judged.iter().all(|known| known.address != address) {
                let may = may_dial(address, &self.allowed);
                judged.push(Judged {
                    address,
                    allowing_flag: (!may).then(|| allowing_flag(address)),
                });
            }
        }
        judged.sort_by_key(|judged| judged.allowing_flag.is_none());
        judged.truncate(MAX_ADDRESSES);
        judged
    }

    async fn dial(&self, url: &Url) -> std::result::Result<Reached, Unreached> {
        // Without what else stands in it: of a user name and password nothing is needed here.
        let origin = url.origin().ascii_serialization();
        let uri: Uri = origin.parse().map_err(|e| Unreached {
            class: ErrorClass::Request,
            detail: format!("{e}"),
        })?;
        let mut progress = Progress::default();
        let stream = self.connector.dial(&uri, &mut progress).await?;
        Ok(Reached {
            address: progress.address,
            certificate: certificate(&stream),
        })
    }
}

fn certificate(stream: &Stream) -> Option<KnownCertificate> {
    let MaybeHttpsStream::Https(stream) = stream else {
        return None;
    };
    let (_, session) = stream.inner().get_ref();
    let own = session.peer_certificates().and_then(<[_]>::first);
    Some(KnownCertificate {
        expires_at_ms: own.and_then(expires_at_ms),
    })
}

fn expires_at_ms(certificate: &CertificateDer<'_>) -> Option<i64> {
    let certificate = Certificate::from_der(certificate.as_ref()).ok()?;
    let ends = certificate.tbs_certificate().validity().not_after;
    i64::try_from(ends.to_unix_duration().as_millis()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;
    use std::net::TcpListener;
    use std::pin::pin;

    fn checker(allowed: &[&str]) -> UrlChecker {
        let allowed: Vec<IpNet> = allowed.iter().map(|net| net.parse().unwrap()).collect();
        let rules = ConnectRules {
            timeout: Duration::from_secs(5),
            allowed: allowed.into(),
            requires_https: false,
        };
        UrlChecker::new(rules).unwrap()
    }

    fn listening() -> (TcpListener, u16) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        (listener, port)
    }

    #[tokio::test]
    async fn a_name_of_a_forbidden_address_is_told_and_not_dialled() {
        let (listener, port) = listening();
        let url = format!("http://user:pass@localhost:{port}/")
            .parse()
            .unwrap();
        let verdict = checker(&[]).check(&url, CHECK_TIMEOUT).await.unwrap();
        assert_eq!(verdict.host, format!("localhost:{port}"));
        assert!(!verdict.addresses.is_empty());
        let is_flagged = |judged: &Judged| judged.allowing_flag.is_some();
        assert!(verdict.addresses.iter().all(is_flagged));
        let refusal = verdict.connection.unwrap_err();
        assert_eq!(refusal.class, ErrorClass::BlockedAddress);
        let dialled = listener.accept().map(|_| ()).unwrap_err();
        assert_eq!(dialled.kind(), std::io::ErrorKind::WouldBlock);
    }

    #[tokio::test]
    async fn no_more_are_checked_at_once_than_may_be() {
        // It takes connections and never speaks.
        let (_listener, port) = listening();
        let checker = checker(&["127.0.0.0/8"]);
        let url: Url = format!("https://127.0.0.1:{port}/").parse().unwrap();
        let mut checks: Vec<_> = (0..CHECKS_AT_ONCE)
            .map(|_| Box::pin(checker.check(&url, CHECK_TIMEOUT)))
            .collect();
        for check in &mut checks {
            assert!(check.now_or_never().is_none());
        }
        let refusal = checker.check(&url, CHECK_TIMEOUT).await.unwrap_err();
        assert_eq!(refusal.kind(), Kind::Unavailable);
        let refusal = checker.check(&url, Duration::ZERO).await.unwrap_err();
        assert_eq!(refusal.code(), "checks_busy");
        // One that is given up leaves its place.
        drop(checks.pop());
        let mut next = pin!(checker.check(&url, CHECK_TIMEOUT));
        assert!(next.as_mut().now_or_never().is_none());
    }
}
