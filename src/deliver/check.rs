//! The check of an endpoint's URL while somebody writes it: what its name resolves to, whether that may be
//! dialled, and whether a connection and TLS come about. Over the connector that deliveries use, so that it
//! reaches nothing that they do not; sends no request, and dials nothing where any address is forbidden.

use super::connect::{self, ConnectRules, Dialled, DialledAddress, TlsConnector};
use super::sender;
use crate::address::{allowing_flag, may_dial};
use crate::delivery::ErrorClass;
use crate::error::{Error, Kind, Result};
use hyper::Uri;
use hyper_rustls::MaybeHttpsStream;
use hyper_util::client::legacy::connect::Connection as _;
use ipnet::IpNet;
use rustls::pki_types::CertificateDer;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tower_service::Service as _;
use url::{Position, Url};
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

/// Checks on their way at once; one more is refused.
const CHECKS_AT_ONCE: usize = 8;
/// All of a check, from looking up to the TLS handshake.
const CHECK_TIMEOUT: Duration = Duration::from_secs(8);
/// Addresses of a name that are told.
pub const MAX_ADDRESSES: usize = 8;

/// Checks URLs.
#[derive(Debug)]
pub struct UrlChecker {
    connector: TlsConnector,
    allowed: Arc<[IpNet]>,
    /// Names that are looked up at once; whoever asked may have given up long before one comes back.
    lookups: Arc<Semaphore>,
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
    pub address: Option<SocketAddr>,
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

impl UrlChecker {
    /// A checker with the rules of deliveries.
    ///
    /// # Errors
    /// When the TLS library refuses its own defaults.
    pub fn new(rules: ConnectRules) -> anyhow::Result<Self> {
        Ok(Self {
            allowed: Arc::clone(&rules.allowed),
            connector: connect::connector(rules)?,
            lookups: Arc::new(Semaphore::new(CHECKS_AT_ONCE)),
            checks: Semaphore::new(CHECKS_AT_ONCE),
        })
    }

    /// Checks a URL.
    ///
    /// # Errors
    /// [`Kind::Unavailable`] when too many are on their way.
    pub async fn check(&self, url: &Url) -> Result<Verdict> {
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
                detail: format!("no answer within {CHECK_TIMEOUT:?}"),
            }),
        };
        let looking = self.look(url, port, &mut verdict);
        // What was found until then stays.
        let _ = tokio::time::timeout(CHECK_TIMEOUT, looking).await;
        Ok(verdict)
    }

    async fn look(&self, url: &Url, port: u16, verdict: &mut Verdict) {
        let host = url.host_str().unwrap_or("");
        match connect::resolve(host, port, Arc::clone(&self.lookups)).await {
            Ok(addresses) => verdict.addresses = self.judge(&addresses),
            Err(e) => {
                verdict.connection = Err(Unreached {
                    class: e.class,
                    detail: e.detail,
                });
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
        let uri: Uri = url[..Position::BeforePath].parse().map_err(|e| Unreached {
            class: ErrorClass::Request,
            detail: format!("{e}"),
        })?;
        match self.connector.clone().call(uri).await {
            Ok(stream) => Ok(reached(&stream)),
            Err(e) => {
                let (class, detail, _) = sender::classify(&*e);
                Err(Unreached { class, detail })
            }
        }
    }
}

fn reached(stream: &MaybeHttpsStream<Dialled>) -> Reached {
    let mut told = hyper::http::Extensions::new();
    stream.connected().get_extras(&mut told);
    let certificate = match stream {
        MaybeHttpsStream::Http(_) => None,
        MaybeHttpsStream::Https(stream) => {
            let (_, session) = stream.inner().get_ref();
            let own = session.peer_certificates().and_then(<[_]>::first);
            Some(KnownCertificate {
                expires_at_ms: own.and_then(expires_at_ms),
            })
        }
    };
    Reached {
        address: told.get().map(|DialledAddress(address)| *address),
        certificate,
    }
}

fn expires_at_ms(certificate: &CertificateDer<'_>) -> Option<i64> {
    let certificate = Certificate::from_der(certificate.as_ref()).ok()?;
    let ends = certificate.tbs_certificate().validity().not_after;
    i64::try_from(ends.to_unix_duration().as_millis()).ok()
}
