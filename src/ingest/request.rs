//! What every dialect asks of a request: its body within a cap, and the credential behind its key.
//! Touches no disk.

use crate::access::Scope;
use crate::error::{Error, Kind, Result};
use crate::event::{Credential, Verification};
use crate::secret::hash_token;
use crate::store::catalog::Catalog;
use actix_web::HttpRequest;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use actix_web::web::{BytesMut, Payload};
use bytes::Bytes;
use futures_util::StreamExt as _;
use std::io::Read as _;
use std::time::Duration;

/// What a request may cost.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// A body with one event has at most this many bytes, decoded.
    pub event_body_bytes: usize,
    /// A body must be here within this time, milliseconds.
    pub body_timeout_ms: u64,
}

/// The whole body, decoded, of at most `cap` bytes.
///
/// # Errors
/// [`Kind::TooLarge`], [`Kind::Unsupported`] for an encoding other than gzip, [`Kind::TimedOut`],
/// and [`Kind::Malformed`] for a body that breaks off or is no gzip.
pub(super) async fn body(
    request: &HttpRequest,
    payload: Payload,
    cap: usize,
    limits: &Limits,
) -> Result<Bytes> {
    let encoding = request
        .headers()
        .get(CONTENT_ENCODING)
        .map(|value| value.to_str().unwrap_or(""));
    let is_gzip = match encoding.map(str::trim) {
        None | Some("" | "identity") => false,
        Some(name) if name.eq_ignore_ascii_case("gzip") => true,
        Some(_) => {
            return Err(Error::new(
                Kind::Unsupported,
                "unsupported_encoding",
                "The body may be sent plain or with Content-Encoding: gzip, in no other encoding.",
            ));
        }
    };
    let announced = request
        .headers()
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > cap) {
        return Err(too_large(cap));
    }
    let timeout = Duration::from_millis(limits.body_timeout_ms);
    let read = read_capped(payload, cap, announced.unwrap_or(0));
    let bytes = tokio::time::timeout(timeout, read).await.map_err(|_| {
        Error::new(
            Kind::TimedOut,
            "body_timeout",
            "The body did not arrive in time; nothing was stored. Send it whole and at once.",
        )
    })??;
    if is_gzip {
        gunzip(&bytes, cap)
    } else {
        Ok(bytes)
    }
}

async fn read_capped(mut payload: Payload, cap: usize, announced: usize) -> Result<Bytes> {
    let mut body = BytesMut::with_capacity(announced);
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|e| {
            Error::new(
                Kind::Malformed,
                "incomplete_body",
                "The body broke off before its end; nothing was stored. Send it again.",
            )
            .with_source(anyhow::anyhow!("{e}"))
        })?;
        if body.len() + chunk.len() > cap {
            return Err(too_large(cap));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// Decodes at most one byte more than `cap`, so that a bomb costs no more than an honest body.
fn gunzip(bytes: &[u8], cap: usize) -> Result<Bytes> {
    let mut decoded = Vec::new();
    let limit = u64::try_from(cap).unwrap_or(u64::MAX).saturating_add(1);
    flate2::read::MultiGzDecoder::new(bytes)
        .take(limit)
        .read_to_end(&mut decoded)
        .map_err(|e| {
            Error::new(
                Kind::Malformed,
                "invalid_gzip",
                "The body says Content-Encoding: gzip but is not gzip; nothing was stored.",
            )
            .with_source(e)
        })?;
    if decoded.len() > cap {
        Err(too_large(cap))
    } else {
        Ok(decoded.into())
    }
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

/// The workspace behind the `x-api-key` header.
///
/// # Errors
/// [`Kind::Unauthorized`] without a working key, [`Kind::Forbidden`] when it may not post events.
pub(super) fn credential(request: &HttpRequest, catalog: &Catalog) -> Result<Credential> {
    let Some(key) = request.headers().get("x-api-key") else {
        return Err(Error::new(
            Kind::Unauthorized,
            "missing_api_key",
            "Send an API key of the workspace in the x-api-key header.",
        ));
    };
    let known = key.to_str().ok().and_then(|key| catalog.key(&hash_token(key.trim()))).ok_or_else(|| {
        Error::new(
            Kind::Unauthorized,
            "invalid_api_key",
            "The API key in x-api-key is not known, or was revoked. Make a new one on the Keys page.",
        )
    })?;
    let may_write = known
        .scopes
        .iter()
        .any(|scope| matches!(scope, Scope::WriteEvents | Scope::AdminWorkspace));
    if !may_write {
        return Err(Error::new(
            Kind::Forbidden,
            "missing_scope",
            "This API key may not post events; use one with the scope write:events.",
        ));
    }
    Ok(Credential {
        workspace: known.workspace,
        source: known.source,
        key: known.id,
        verification: Verification::Server,
    })
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
}
