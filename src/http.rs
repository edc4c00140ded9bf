//! The only map from an error's kind to an HTTP status, and the problem document (RFC 9457) that
//! machines read. Pages make their own documents from the same map.

use crate::error::{Error, Kind};
use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};
use actix_web::{HttpResponse, HttpResponseBuilder};
use serde::Serialize;

/// What a caller who was turned away for now should wait.
pub const RETRY_AFTER_S: i64 = 1;

/// The status of a kind of error.
pub fn status(kind: Kind) -> StatusCode {
    match kind {
        Kind::Malformed => StatusCode::BAD_REQUEST,
        Kind::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
        Kind::Unauthorized => StatusCode::UNAUTHORIZED,
        Kind::Forbidden => StatusCode::FORBIDDEN,
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::Conflict => StatusCode::CONFLICT,
        Kind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Kind::Unsupported => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Kind::TimedOut => StatusCode::REQUEST_TIMEOUT,
        Kind::TooMany => StatusCode::TOO_MANY_REQUESTS,
        Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Kind::Full => StatusCode::INSUFFICIENT_STORAGE,
        Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Starts the answer to an error: its status, and when to come back if that helps.
pub fn begin(error: &Error) -> HttpResponseBuilder {
    let status = status(error.kind());
    if status.is_server_error() {
        tracing::error!(code = error.code(), error = %error, "answered {status}");
    }
    let mut response = HttpResponse::build(status);
    if matches!(error.kind(), Kind::Unavailable | Kind::Full | Kind::TooMany) {
        let seconds = error.retry_after_s().unwrap_or(RETRY_AFTER_S);
        response.insert_header((RETRY_AFTER, seconds.to_string()));
    }
    response
}

#[derive(Serialize)]
struct Problem<'a> {
    r#type: &'static str,
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [crate::error::FieldError],
}

/// The error as `application/problem+json`.
pub fn problem(error: &Error) -> HttpResponse {
    let status = status(error.kind());
    begin(error)
        .insert_header((CONTENT_TYPE, "application/problem+json"))
        .json(Problem {
            r#type: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: error.message(),
            code: error.code(),
            errors: error.field_errors(),
        })
}

/// The answer where nothing is served.
pub async fn no_such_route() -> HttpResponse {
    problem(&Error::new(
        Kind::NotFound,
        "not_found",
        "Nothing is served at this address; events go to POST /api/v1/events, and in other dialects to the addresses that a source's page shows.",
    ))
}

/// The code of a method that an endpoint does not take.
pub const METHOD_NOT_ALLOWED: &str = "method_not_allowed";

/// Starts the answer to a method that an endpoint does not take, with what to say there; `allowed` names
/// those that it does.
pub fn begin_method_not_allowed(allowed: &'static str) -> (HttpResponseBuilder, String) {
    let mut response = HttpResponse::build(StatusCode::METHOD_NOT_ALLOWED);
    response.insert_header((ALLOW, allowed));
    (response, format!("This endpoint takes {allowed} only."))
}

/// The answer to a method that an endpoint does not take, as `application/problem+json`.
pub fn method_not_allowed(allowed: &'static str) -> HttpResponse {
    let (mut response, detail) = begin_method_not_allowed(allowed);
    let status = StatusCode::METHOD_NOT_ALLOWED;
    response
        .insert_header((CONTENT_TYPE, "application/problem+json"))
        .json(Problem {
            r#type: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: &detail,
            code: METHOD_NOT_ALLOWED,
            errors: &[],
        })
}

impl actix_web::ResponseError for Error {
    fn status_code(&self) -> StatusCode {
        status(self.kind())
    }

    fn error_response(&self) -> HttpResponse {
        problem(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::body::to_bytes;

    #[actix_web::test]
    async fn a_problem_names_its_fields() {
        let response = problem(&Error::field("/timestamp", "invalid_timestamp", "Say UTC."));
        assert_eq!(response.status(), 422);
        assert_eq!(
            response.headers().get("content-type").unwrap(),
            "application/problem+json"
        );
        let body = to_bytes(response.into_body()).await.unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["code"], "invalid_timestamp");
        assert_eq!(body["errors"][0]["pointer"], "/timestamp");
    }

    #[test]
    fn who_should_come_back_hears_when() {
        let response = problem(&Error::new(Kind::Unavailable, "queue_full", "Try again."));
        assert_eq!(response.headers().get("retry-after").unwrap(), "1");
        let later = Error::new(Kind::TooMany, "too_many", "Wait.").with_retry_after_s(60);
        assert_eq!(problem(&later).headers().get("retry-after").unwrap(), "60");
    }
}
