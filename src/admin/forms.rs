//! Forms as browsers post them: `x-www-form-urlencoded`, with repeated fields, bounded, and
//! refused when a field is there that the page did not have (promise 22).

use super::answer::PageError;
use super::csrf;
use crate::error::{Error, FieldError, Kind};
use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::{FromRequest, HttpRequest, web};
use askama::Template;
use askama::filters::HtmlSafe;
use futures_util::future::LocalBoxFuture;
use std::time::Duration;

/// A form has at most this many bytes.
pub(super) const MAX_FORM_BYTES: usize = 64 * 1_024;
/// A form must be here within this time (promise 17).
const FORM_TIMEOUT: Duration = Duration::from_secs(20);
/// A form has at most this many fields.
const MAX_FIELDS: usize = 500;
/// The field that carries the session's form token.
const TOKEN_FIELD: &str = "csrf";

/// A form as it came. What is wrong with it is said only when it is opened, so that who may not
/// send it at all hears that first.
pub(super) struct Form(Result<Vec<(String, String)>, Error>);

/// The fields of a form that were asked for.
pub(super) struct Fields(Vec<(String, String)>);

impl FromRequest for Form {
    type Error = PageError;
    type Future = LocalBoxFuture<'static, Result<Self, PageError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let content_type = request
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or("")
            .to_owned();
        let bytes = web::Bytes::from_request(request, payload);
        Box::pin(async move {
            let Ok(bytes) = tokio::time::timeout(FORM_TIMEOUT, bytes).await else {
                return Err(Error::new(
                    Kind::TimedOut,
                    "form_timeout",
                    "The form did not arrive in time; nothing was changed. Send it again.",
                )
                .into());
            };
            let bytes = bytes.map_err(|_| {
                Error::new(
                    Kind::TooLarge,
                    "form_too_large",
                    format!("A form has at most {MAX_FORM_BYTES} bytes; nothing was changed."),
                )
            });
            Ok(Self(bytes.and_then(|bytes| parse(&content_type, &bytes))))
        })
    }
}

impl Form {
    /// The fields, all of them among `allowed`.
    ///
    /// # Errors
    /// When the form cannot be read or holds another field.
    pub(super) fn open(self, allowed: &[&str]) -> Result<Fields, Error> {
        let fields = self.0?;
        match fields
            .iter()
            .find(|(name, _)| !allowed.contains(&name.as_str()))
        {
            Some((name, _)) => Err(Error::field(
                format!("/{name}"),
                "unknown_field",
                "The form holds a field that this page does not have, so nothing was changed.",
            )),
            None => Ok(Fields(fields)),
        }
    }

    /// As [`Form::open`], for a form of a signed-in page: it must carry that session's token.
    ///
    /// # Errors
    /// As [`Form::open`], and when the token is not that of the session.
    pub(super) fn open_signed(
        mut self,
        expected_token: &str,
        allowed: &[&str],
    ) -> Result<Fields, Error> {
        let fields = self.0?;
        let given = fields
            .iter()
            .find(|(name, _)| name == TOKEN_FIELD)
            .map_or("", |(_, value)| value.as_str());
        if !csrf::is_form_token(expected_token, given) {
            return Err(Error::new(
                Kind::Forbidden,
                "stale_form",
                "This form belongs to an earlier sign-in, so nothing was changed. Go back, load the page again and send it once more.",
            ));
        }
        let rest = fields
            .into_iter()
            .filter(|(name, _)| name != TOKEN_FIELD)
            .collect();
        self.0 = Ok(rest);
        self.open(allowed)
    }
}

impl Fields {
    /// The first value of a field, empty when it is missing.
    pub(super) fn one(&self, name: &str) -> &str {
        self.0
            .iter()
            .find(|(field, _)| field == name)
            .map_or("", |(_, value)| value)
    }

    /// Whether a field is there at all, such as a check box that is ticked.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(field, _)| field == name)
    }

    /// Every value of a repeated field.
    pub(super) fn all(&self, name: &str) -> Vec<String> {
        self.0
            .iter()
            .filter(|(field, _)| field == name)
            .map(|(_, value)| value.clone())
            .collect()
    }
}

fn parse(content_type: &str, bytes: &[u8]) -> Result<Vec<(String, String)>, Error> {
    let media_type = content_type.split(';').next().unwrap_or("").trim();
    if !bytes.is_empty() && !media_type.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Err(Error::new(
            Kind::Unsupported,
            "not_a_form",
            "Send the form as application/x-www-form-urlencoded.",
        ));
    }
    let fields: Vec<(String, String)> = url::form_urlencoded::parse(bytes)
        .take(MAX_FIELDS + 1)
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect();
    if fields.len() > MAX_FIELDS {
        return Err(Error::new(
            Kind::TooLarge,
            "too_many_fields",
            format!("A form has at most {MAX_FIELDS} fields; nothing was changed."),
        ));
    }
    Ok(fields)
}

/// What was refused, by field, for the page that shows the form again.
#[derive(Debug, Default)]
pub(super) struct Refusals(Vec<FieldError>);

impl Refusals {
    /// The fields of a refusal; any other error is the whole page's.
    ///
    /// # Errors
    /// Hands back an error that is not about fields.
    pub(super) fn of(error: Error) -> Result<Self, Error> {
        if error.kind() == Kind::Invalid && !error.field_errors().is_empty() {
            Ok(Self(error.field_errors().to_vec()))
        } else {
            Err(error)
        }
    }

    /// The status of the page that shows the form: 422 once something was refused.
    pub(super) fn status(&self) -> StatusCode {
        if self.0.is_empty() {
            StatusCode::OK
        } else {
            StatusCode::UNPROCESSABLE_ENTITY
        }
    }

    /// Whether something is wrong with a field.
    pub(super) fn has(&self, name: &str) -> bool {
        self.of_field(name).is_some()
    }

    /// What is wrong with a field, to stand below it; nothing when it is right.
    pub(super) fn say(&self, name: &'static str) -> Problem<'_> {
        Problem {
            name,
            text: self.of_field(name),
        }
    }

    /// The text of what is wrong with a field, for one of several of a kind (`filter/1`).
    pub(super) fn of_field(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|field| field.pointer.strip_prefix('/') == Some(name))
            .map(|field| field.detail.as_str())
    }
}

/// What is wrong with a field, with the id that the field is described by.
#[derive(Debug, Template)]
#[template(path = "parts/problem.html")]
pub(super) struct Problem<'a> {
    name: &'static str,
    text: Option<&'a str>,
}

impl HtmlSafe for Problem<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    const FORM: &str = "application/x-www-form-urlencoded";

    fn form(body: &str) -> Form {
        Form(parse(FORM, body.as_bytes()))
    }

    #[test]
    fn repeated_fields_keep_their_order() {
        let fields = form("event=a&name=x+y&event=b%26c")
            .open(&["name", "event"])
            .unwrap();
        assert_eq!(fields.one("name"), "x y");
        assert_eq!(fields.all("event"), ["a", "b&c"]);
        assert_eq!(fields.one("url"), "");
    }

    #[test]
    fn fields_that_the_page_does_not_have_are_refused() {
        let refusal = form("name=x&role=owner").open(&["name"]).err().unwrap();
        assert_eq!(
            (refusal.kind(), refusal.code()),
            (Kind::Invalid, "unknown_field")
        );
    }

    #[test]
    fn a_signed_form_needs_the_token_of_its_session() {
        assert_eq!(
            form("name=x")
                .open_signed("t", &["name"])
                .err()
                .unwrap()
                .code(),
            "stale_form"
        );
        let fields = form("csrf=t&name=x").open_signed("t", &["name"]).unwrap();
        assert_eq!(fields.one("name"), "x");
    }

    #[test]
    fn only_forms_are_read_as_forms() {
        assert!(parse("application/json", b"{}").is_err());
        assert!(parse("", b"").is_ok());
        assert!(parse("application/x-www-form-urlencoded; charset=utf-8", b"a=b").is_ok());
        assert!(parse(FORM, "a=b&".repeat(501).as_bytes()).is_err());
    }
}
