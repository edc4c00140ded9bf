//! What browsers on other sites need: which source they post as, whether their origin may, and the headers
//! that let their scripts read the answer. Knows no dialect's fields.

use crate::error::{Error, Kind, Result};
use crate::event::{Credential, Verification};
use crate::id::SourceId;
use crate::source::ANY_ORIGIN;
use crate::store::catalog::{Catalog, KnownSource};
use actix_web::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_MAX_AGE, HeaderValue, ORIGIN, VARY,
};
use actix_web::{HttpRequest, HttpResponse, ResponseError as _};

/// How long a browser may remember that it was let in, seconds.
const PREFLIGHT_MAX_AGE_S: &str = "600";

/// The source with this public id, which the request names in a field or header called `field`.
///
/// # Errors
/// [`Kind::Unauthorized`] when there is none.
pub(super) fn source<'a>(catalog: &'a Catalog, id: &str, field: &str) -> Result<&'a KnownSource> {
    let known = id.parse::<SourceId>().ok().and_then(|id| catalog.source(id));
    known.ok_or_else(|| {
        Error::new(
            Kind::Unauthorized,
            "unknown_source",
            format!("{field} names no source of this box; copy the id from the Sources page."),
        )
    })
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
