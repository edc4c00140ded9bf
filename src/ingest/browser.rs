//! What browsers on other sites need: which source they post as, whether their origin may, and the headers
//! that let their scripts read the answer. Knows no dialect's fields.

use super::fields::{given, string};
use crate::error::{Error, Kind, Result};
use crate::event::{Credential, Verification};
use crate::id::SourceId;
use crate::signature::is_hex_hmac;
use crate::source::ANY_ORIGIN;
use crate::store::catalog::{Catalog, KnownSource};
use actix_web::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_MAX_AGE, HeaderValue, ORIGIN, VARY,
};
use actix_web::{HttpRequest, HttpResponse, ResponseError as _};
use serde_json::value::RawValue;

/// How long a browser may remember that it was let in, seconds.
const PREFLIGHT_MAX_AGE_S: &str = "600";

/// The source with this public id, which the request names in a field or header called `field`.
///
/// # Errors
/// [`Kind::Unauthorized`] when there is none.
pub(super) fn source<'a>(catalog: &'a Catalog, id: &str, field: &str) -> Result<&'a KnownSource> {
    let known = id
        .parse::<SourceId>()
        .ok()
        .and_then(|id| catalog.source(id));
    known.ok_or_else(|| unknown_source(field))
}

/// The refusal of an id that names no source, or none that this sender may know of.
pub(super) fn unknown_source(field: &str) -> Error {
    Error::new(
        Kind::Unauthorized,
        "unknown_source",
        format!("{field} names no source of this box; copy the id from the Sources page."),
    )
}

/// The source that a body names in its field `field`: all that a browser shows.
///
/// # Errors
/// As [`source`], also where the field is left out.
pub(super) fn named_source<'a>(
    catalog: &'a Catalog,
    raw: Option<&RawValue>,
    field: &str,
) -> Result<&'a KnownSource> {
    let refuse = |code, detail| {
        Err(Error::field(format!("/{field}"), code, detail).with_kind(Kind::Unauthorized))
    };
    match given(raw).map(string) {
        Some(Some(id)) => source(catalog, &id, field),
        Some(None) => refuse(
            "wrong_type",
            format!("{field} must be a string: the source's id."),
        ),
        None => refuse(
            "required",
            format!("{field} is required: the source's id, which stands on the Sources page."),
        ),
    }
}

/// What a browser proves with `hash`, which must be the HMAC of `who` under the source's identity secret.
///
/// # Errors
/// [`Kind::Unauthorized`] for a hash that is not: it claims to be somebody else, or is out of date.
pub(super) fn verification(
    source: &KnownSource,
    who: Option<&str>,
    hash: Option<&str>,
) -> Result<Verification> {
    let Some(hash) = hash else {
        return Ok(Verification::Unverified);
    };
    let key = source.identity_secret.as_bytes();
    if who.is_some_and(|who| is_hex_hmac(key, &[who.as_bytes()], hash)) {
        return Ok(Verification::Signed);
    }
    let detail = "authHash is not the lower-case hex HMAC-SHA256 of the id under this source's identity \
        secret. Sign on your server, or leave authHash out.";
    Err(Error::field("/authHash", "invalid_auth_hash", detail).with_kind(Kind::Unauthorized))
}

/// Refuses a page of a site that the source does not list. A request that no page made has no origin,
/// and proves as little with or without one: what it brings is unverified all the same.
///
/// # Errors
/// [`Kind::Forbidden`], naming the origin and what to do.
pub(super) fn check_origin(request: &HttpRequest, source: &KnownSource) -> Result<()> {
    let Some(origin) = request.headers().get(ORIGIN) else {
        return Ok(());
    };
    let is_listed = source
        .origins
        .iter()
        .any(|listed| &**listed == ANY_ORIGIN || listed.as_bytes() == origin.as_bytes());
    if is_listed {
        return Ok(());
    }
    Err(Error::new(
        Kind::Forbidden,
        "origin_not_allowed",
        format!(
            "Pages of {} may not post as this source; add that origin to the source on the Sources page.",
            origin.to_str().unwrap_or("this origin")
        ),
    ))
}

/// What a browser is let in as.
pub(super) fn credential(source: &KnownSource, verification: Verification) -> Credential {
    Credential {
        workspace: source.workspace,
        source: Some(source.id),
        key: None,
        verification,
        customers_are_accounts: source.customers_are_accounts,
    }
}

/// Lets the page that asked read the answer, refusals too: they say what to mend. No cookies are asked for
/// nor taken, so this gives a page nothing that it could not get by a server of its own.
pub(super) fn readable(request: &HttpRequest, answer: Result<HttpResponse>) -> HttpResponse {
    let mut response = answer.unwrap_or_else(|error| error.error_response());
    if let Some(origin) = request.headers().get(ORIGIN) {
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.append(VARY, HeaderValue::from_static("Origin"));
    }
    response
}

/// The answer to a browser that asks whether it may post. Everybody may ask; the post itself is judged by
/// the source that it names.
pub(super) async fn preflight(request: HttpRequest) -> HttpResponse {
    let asked = request
        .headers()
        .get("access-control-request-headers")
        .cloned()
        .unwrap_or(HeaderValue::from_static("content-type"));
    let response = HttpResponse::NoContent()
        .insert_header((ACCESS_CONTROL_ALLOW_METHODS, "GET, POST"))
        .insert_header((ACCESS_CONTROL_ALLOW_HEADERS, asked))
        .insert_header((ACCESS_CONTROL_MAX_AGE, PREFLIGHT_MAX_AGE_S))
        .finish();
    readable(&request, Ok(response))
}
