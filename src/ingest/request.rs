//! What every dialect asks of a request: its body within a cap, and the credential behind its key.
//! Owns how many large bodies are in memory. Touches no disk.

use crate::access::Scope;
use crate::error::{Error, Kind, Result};
use crate::event::{Credential, Verification};
use crate::secret::hash_token;
use crate::store::catalog::Catalog;
use actix_web::HttpRequest;
use actix_web::http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH};
use actix_web::web::{BytesMut, Payload};
use bytes::Bytes;
use futures_util::StreamExt as _;
use std::io::Read as _;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};

/// What every gzip file begins with (RFC 1952).
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// A body may be this many gzip files in a row: an empty one costs time and gives nothing.
const MAX_GZIP_MEMBERS: usize = 16;

/// What a request may cost.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// A body with one event has at most this many bytes, decoded.
    pub event_body_bytes: usize,
    /// A body with many events has at most this many bytes, decoded.
    pub batch_body_bytes: usize,
    /// Bodies larger than `event_body_bytes` that are in memory at once.
    pub batch_bodies: usize,
    /// One more than that waits at most this long, milliseconds.
    pub batch_turn_timeout_ms: u64,
    /// A body must be here within this time, milliseconds.
    pub body_timeout_ms: u64,
}

/// Bodies larger than one event's that are in memory at once of senders who have not shown a key yet.
const STRANGERS_BODIES: usize = 2;

/// Whether a request has shown who sends it before its body is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sender {
    /// It has.
    Known,
    /// Only the body will tell.
    Stranger,
}

/// Reads bodies, and knows how many large ones are in memory. Clones know it together.
#[derive(Debug, Clone)]
pub struct Bodies(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limits: Limits,
    turns: Semaphore,
    /// Of those who have not shown a key yet: they must not keep others' bodies waiting.
    strangers_turns: Semaphore,
}

/// A body that was read; while it lives, a large one has its turn.
pub(super) struct Body<'a> {
    bytes: Bytes,
    _turn: Option<SemaphorePermit<'a>>,
}

impl Deref for Body<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Bodies {
    /// A reader within `limits`.
    pub fn new(limits: Limits) -> Self {
        Self(Arc::new(Shared {
            limits,
            turns: Semaphore::new(limits.batch_bodies),
            strangers_turns: Semaphore::new(STRANGERS_BODIES),
        }))
    }

    /// The whole body of one event, decoded.
    ///
    /// # Errors
    /// [`Kind::TooLarge`], [`Kind::Unsupported`] for an encoding other than gzip, [`Kind::TimedOut`],
    /// and [`Kind::Malformed`] for a body that breaks off or is no gzip.
    pub(super) async fn event(&self, request: &HttpRequest, payload: Payload) -> Result<Body<'_>> {
        let cap = self.0.limits.event_body_bytes;
        self.read(request, payload, cap, &self.0.turns).await
    }

    /// The whole body of many events, decoded.
    ///
    /// # Errors
    /// As [`Bodies::event`], and [`Kind::Unavailable`] when too many large bodies are in memory.
    pub(super) async fn batch(&self, request: &HttpRequest, payload: Payload) -> Result<Body<'_>> {
        let cap = self.0.limits.batch_body_bytes;
        self.read(request, payload, cap, &self.0.turns).await
    }

    /// The whole body within `cap` bytes, decoded; also when it is gzip and no header says so, which some
    /// senders forget. No JSON begins as gzip does.
    ///
    /// # Errors
    /// As [`Bodies::batch`].
    pub(super) async fn within(
        &self,
        request: &HttpRequest,
        payload: Payload,
        cap: usize,
        sender: Sender,
    ) -> Result<Body<'_>> {
        let turns = match sender {
            Sender::Known => &self.0.turns,
            Sender::Stranger => &self.0.strangers_turns,
        };
        let body = self.read(request, payload, cap, turns).await?;
        if body.starts_with(&GZIP_MAGIC) {
            let bytes = gunzip(&body, cap)?;
            Ok(Body { bytes, ..body })
        } else {
            Ok(body)
        }
    }

    async fn read<'a>(
        &'a self,
        request: &HttpRequest,
        payload: Payload,
        cap: usize,
        turns: &'a Semaphore,
    ) -> Result<Body<'a>> {
        let is_gzip = is_gzip(request)?;
        let announced = request
            .headers()
            .get(CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
        if announced.is_some_and(|length| length > cap) {
            return Err(too_large(cap));
        }
        let timeout = Duration::from_millis(self.0.limits.body_timeout_ms);
        let read = self.read_capped(payload, cap, announced.unwrap_or(0), turns);
        let body = tokio::time::timeout(timeout, read).await.map_err(|_| {
            Error::new(
                Kind::TimedOut,
                "body_timeout",
                "The body did not arrive in time; nothing was stored. Send it whole and at once.",
            )
        })??;
        if is_gzip {
            // What it grows to needs no turn: from here to the events nothing is waited for, so there
            // is one such body a worker.
            let bytes = gunzip(&body, cap)?;
            Ok(Body { bytes, ..body })
        } else {
            Ok(body)
        }
    }

    async fn read_capped<'a>(
        &'a self,
        mut payload: Payload,
        cap: usize,
        announced: usize,
        turns: &'a Semaphore,
    ) -> Result<Body<'a>> {
        let free = self.0.limits.event_body_bytes;
        let mut turn = None;
        let mut body = BytesMut::with_capacity(announced.min(free));
        while let Some(chunk) = payload.next().await {
            let chunk = chunk.map_err(|e| {
                Error::new(
                    Kind::Malformed,
                    "incomplete_body",
                    "The body broke off before its end; nothing was stored. Send it again.",
                )
                .with_source(anyhow::anyhow!("{e}"))
            })?;
            let len = body.len() + chunk.len();
            if len > cap {
                return Err(too_large(cap));
            }
            // Only what has come counts: an announcement alone takes nobody's turn.
            if len > free && turn.is_none() {
                turn = Some(self.turn(turns).await?);
                body.reserve(announced.saturating_sub(body.len()));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Body {
            bytes: body.freeze(),
            _turn: turn,
        })
    }

    async fn turn<'a>(&'a self, turns: &'a Semaphore) -> Result<SemaphorePermit<'a>> {
        let timeout = Duration::from_millis(self.0.limits.batch_turn_timeout_ms);
        match tokio::time::timeout(timeout, turns.acquire()).await {
            Ok(Ok(turn)) => Ok(turn),
            _ => Err(Error::new(
                Kind::Unavailable,
                "too_many_batches",
                "The box is reading as many large bodies as it takes; nothing was stored. Try again in a second.",
            )),
        }
    }
}

/// Whether the one coding that may be named is gzip. Each header line names another one, on top of those
/// before it.
fn is_gzip(request: &HttpRequest) -> Result<bool> {
    let mut encodings = request.headers().get_all(CONTENT_ENCODING);
    let encoding = match (encodings.next(), encodings.next()) {
        (None, _) => return Ok(false),
        (Some(encoding), None) => encoding.to_str().ok().map(str::trim),
        (Some(_), Some(_)) => None,
    };
    match encoding {
        Some(name) if name.is_empty() || name.eq_ignore_ascii_case("identity") => Ok(false),
        Some(name) if name.eq_ignore_ascii_case("gzip") => Ok(true),
        _ => Err(Error::new(
            Kind::Unsupported,
            "unsupported_encoding",
            "The body may be sent plain or with Content-Encoding: gzip, in no other encoding.",
        )),
    }
}

/// Decodes at most one byte more than `cap`, and at most [`MAX_GZIP_MEMBERS`], so that a bomb costs no more
/// than an honest body.
fn gunzip(bytes: &[u8], cap: usize) -> Result<Bytes> {
    let refuse = |detail| Error::new(Kind::Malformed, "invalid_gzip", detail);
    let mut decoded = Vec::new();
    let mut rest = bytes;
    for _ in 0..MAX_GZIP_MEMBERS {
        let mut member = flate2::bufread::GzDecoder::new(rest);
        let room = cap.saturating_sub(decoded.len()).saturating_add(1);
        member
            .by_ref()
            .take(u64::try_from(room).unwrap_or(u64::MAX))
            .read_to_end(&mut decoded)
            .map_err(|e| {
                refuse(
                    "The body was sent as gzip but cannot be decoded as gzip; nothing was stored.",
                )
                .with_source(e)
            })?;
        if decoded.len() > cap {
            return Err(too_large(cap));
        }
        rest = member.into_inner();
        if rest.is_empty() {
            return Ok(decoded.into());
        }
    }
    Err(refuse(
        "The body is more than 16 gzip files in a row; nothing was stored. Send it as one.",
    ))
}

fn too_large(cap: usize) -> Error {
    Error::new(
        Kind::TooLarge,
        "body_too_large",
        format!(
            "The body has more than the {cap} bytes that this endpoint takes; nothing was stored."
        ),
    )
}

/// Who may post to an endpoint.
#[derive(Debug)]
pub(super) struct Admission {
    /// Whether the key may also stand in `Authorization: Bearer`.
    pub(super) takes_bearer: bool,
    /// Any of these scopes will do; so will `admin:workspace`.
    pub(super) scopes: &'static [Scope],
}

/// The workspace behind the request's API key.
///
/// # Errors
/// [`Kind::Unauthorized`] without a working key, [`Kind::Forbidden`] when it may not post events.
pub(super) fn credential(
    request: &HttpRequest,
    catalog: &Catalog,
    admission: &Admission,
) -> Result<Credential> {
    let headers = if admission.takes_bearer {
        "Authorization: Bearer or x-api-key"
    } else {
        "x-api-key"
    };
    let key = api_key(request, admission).ok_or_else(|| {
        Error::new(
            Kind::Unauthorized,
            "missing_api_key",
            format!("Send an API key of the workspace in the {headers} header."),
        )
    })?;
    admit(catalog, key, headers, admission.scopes)
}

/// The workspace behind an API key that was sent in `place`; any of `scopes` will do, and so will
/// `admin:workspace`.
///
/// # Errors
/// As [`credential`].
pub(super) fn admit(
    catalog: &Catalog,
    key: &str,
    place: &str,
    scopes: &[Scope],
) -> Result<Credential> {
    let known = catalog.key(&hash_token(key)).ok_or_else(|| {
        Error::new(
            Kind::Unauthorized,
            "invalid_api_key",
            format!("The API key in {place} is not known, or was revoked. Make a new one on the Keys page."),
        )
    })?;
    let may_write = known
        .scopes
        .iter()
        .any(|scope| *scope == Scope::AdminWorkspace || scopes.contains(scope));
    if !may_write {
        let scopes: Vec<_> = scopes.iter().map(|s| s.as_str()).collect();
        return Err(Error::new(
            Kind::Forbidden,
            "missing_scope",
            format!(
                "This API key may not post events; use one with the scope {}.",
                scopes.join(" or ")
            ),
        ));
    }
    Ok(Credential {
        workspace: known.workspace,
        source: known.source,
        key: Some(known.id),
        verification: Verification::Server,
        customers_are_accounts: known
            .source
            .and_then(|source| catalog.source(source))
            .is_some_and(|source| source.customers_are_accounts),
    })
}

/// The key as it was sent. `x-api-key` goes first: a proxy may have its own use for `Authorization`.
fn api_key<'a>(request: &'a HttpRequest, admission: &Admission) -> Option<&'a str> {
    let headers = request.headers();
    if let Some(key) = headers.get("x-api-key") {
        // What is no text is no key either, but it was sent.
        return Some(key.to_str().unwrap_or("").trim());
    }
    if !admission.takes_bearer {
        return None;
    }
    let (scheme, key) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_bomb_is_cut_at_the_cap() {
        let bomb = gzip(&vec![b'a'; 10_000_000]);
        assert!(bomb.len() < 65_536);
        assert_eq!(gunzip(&bomb, 65_536).unwrap_err().code(), "body_too_large");
        assert_eq!(gunzip(&gzip(b"{}"), 65_536).unwrap(), "{}");
        assert_eq!(gunzip(b"{}", 65_536).unwrap_err().code(), "invalid_gzip");
    }

    #[test]
    fn a_file_may_have_members_but_not_any_number() {
        let members = |count| [gzip(b"").repeat(count - 1), gzip(b"{}")].concat();
        assert_eq!(gunzip(&members(2), 2).unwrap(), "{}");
        assert_eq!(gunzip(&members(MAX_GZIP_MEMBERS), 2).unwrap(), "{}");
        for bytes in [members(MAX_GZIP_MEMBERS + 1), gzip(b"").repeat(3_000)] {
            assert_eq!(gunzip(&bytes, 2).unwrap_err().code(), "invalid_gzip");
        }
        let halves = [gzip(b"{"), gzip(b"}")].concat();
        assert_eq!(gunzip(&halves, 2).unwrap(), "{}");
        assert_eq!(gunzip(&halves, 1).unwrap_err().code(), "body_too_large");
        let broken = [gzip(b"{}"), b"{}".to_vec()].concat();
        assert_eq!(gunzip(&broken, 9).unwrap_err().code(), "invalid_gzip");
    }
}
