//! What callers of the Segment-compatible dialect hear: their libraries look for these members and for
//! nothing else. Knows no call.

use crate::error::{Error, FieldError, Kind};
use crate::http;
use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use serde::Serialize;

#[derive(Serialize)]
struct Success {
    success: bool,
}

#[derive(Serialize)]
struct Refusal<'a> {
    success: bool,
    code: &'a str,
    message: String,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldError],
}

/// Everything that came is in the log.
pub(super) fn success() -> HttpResponse {
    HttpResponse::Ok().json(Success { success: true })
}

/// The refusal of a method that an endpoint does not take; `allowed` names those that it does.
pub(super) fn method_not_allowed(allowed: &'static str) -> HttpResponse {
    let (mut response, message) = http::begin_method_not_allowed(allowed);
    response.json(Refusal {
        success: false,
        code: http::METHOD_NOT_ALLOWED,
        message,
        errors: &[],
    })
}

/// The status of a refusal. A field that a rule refuses is a bad body here, 400, as the libraries' senders
/// expect.
pub(super) fn status(kind: Kind) -> StatusCode {
    match kind {
        Kind::Invalid => http::status(Kind::Malformed),
        kind => http::status(kind),
    }
}

/// The refusal with the `code` and `message` that the libraries show.
pub(super) fn refusal(error: &Error) -> HttpResponse {
    let message = match error.kind() {
        Kind::Invalid => format!("{} Nothing was stored.", error.message()),
        _ => error.message().to_owned(),
    };
    http::begin(error)
        .status(status(error.kind()))
        .json(Refusal {
            success: false,
            code: error.code(),
            message,
            errors: error.field_errors(),
        })
}
