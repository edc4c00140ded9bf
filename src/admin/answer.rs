//! How a page answers: a rendered template, a redirect, or an error as a page of its own. Knows no
//! session and no table.

use super::assets;
use crate::error::{Error, Kind};
use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, LOCATION};
use askama::Template;
use std::fmt;

const HTML: &str = "text/html; charset=utf-8";

/// What every handler returns.
pub(super) type Page = Result<HttpResponse, PageError>;

/// Why a page is not what was asked for.
#[derive(Debug)]
pub(super) enum PageError {
    /// Nobody is signed in: to the sign-in form, and back to this path afterwards.
    SignIn(Option<String>),
    /// A refusal or a failure, as a page.
    Refused(Error),
}

impl From<Error> for PageError {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl fmt::Display for PageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SignIn(_) => f.write_str("nobody is signed in"),
            Self::Refused(error) => error.fmt(f),
        }
    }
}

impl actix_web::ResponseError for PageError {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::SignIn(_) => StatusCode::SEE_OTHER,
            Self::Refused(error) => crate::http::status(error.kind()),
        }
    }

    fn error_response(&self) -> HttpResponse {
        match self {
            Self::SignIn(None) => see_other("/login"),
            Self::SignIn(Some(next)) => {
                let next: String = url::form_urlencoded::byte_serialize(next.as_bytes()).collect();
                see_other(&format!("/login?next={next}"))
            }
            Self::Refused(error) => error_page(error),
        }
    }
}

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage<'a> {
    title: &'a str,
    message: &'a str,
    details: Vec<&'a str>,
    /// Whether there is a form with what was refused.
    goes_back: bool,
}

impl ErrorPage<'_> {
    fn asset(&self, name: &str) -> String {
        assets::url(name)
    }
}

/// The error as a page. Every missing thing has the same bytes, whatever was missing (promise 20).
pub(super) fn error_page(error: &Error) -> HttpResponse {
    let (title, message) = match error.kind() {
        Kind::NotFound => (
            "Not found",
            "There is nothing here, or it is older than the box keeps, or it is not yours to see.",
        ),
        Kind::Forbidden => ("Refused", error.message()),
        Kind::Malformed
        | Kind::Invalid
        | Kind::Conflict
        | Kind::Unsupported
        | Kind::TooLarge
        | Kind::TimedOut => ("This could not be accepted", error.message()),
        Kind::TooMany => ("Too many tries", error.message()),
        Kind::Unauthorized => ("Sign in first", error.message()),
        Kind::Unavailable | Kind::Full | Kind::Internal => {
            ("This could not be loaded", error.message())
        }
    };
    let details = match error.field_errors() {
        [] | [_] => Vec::new(),
        several => several.iter().map(|field| &*field.detail).collect(),
    };
    let page = ErrorPage {
        title,
        message,
        details,
        goes_back: !error.field_errors().is_empty(),
    };
    let mut response = crate::http::begin(error);
    match page.render() {
        Ok(html) => response.insert_header((CONTENT_TYPE, HTML)).body(html),
        Err(_) => response.body("The page could not be rendered."),
    }
}

/// A template as a page.
pub(super) fn page(status: StatusCode, template: &impl Template) -> Page {
    let html = template.render().map_err(Error::internal)?;
    Ok(HttpResponse::build(status)
        .insert_header((CONTENT_TYPE, HTML))
        .body(html))
}

/// A template as a page with status 200.
pub(super) fn ok(template: &impl Template) -> Page {
    page(StatusCode::OK, template)
}

/// On to another page, with GET.
pub(super) fn see_other(location: &str) -> HttpResponse {
    HttpResponse::SeeOther()
        .insert_header((LOCATION, location))
        .finish()
}

/// What answers where there is no page.
pub(super) async fn missing() -> Page {
    Err(Error::not_found("page").into())
}

/// For an address whose query cannot be read.
pub(super) fn bad_query() -> PageError {
    let message = "The part of the address behind the question mark cannot be read. Go back and follow the link again.";
    PageError::Refused(Error::new(Kind::Malformed, "invalid_query", message))
}
