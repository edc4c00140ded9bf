//! Requests that change something must come from our own pages (promise 23). The middleware judges
//! where a request comes from; the token in every signed-in form is judged by `forms.rs`.

use super::answer::error_page;
use super::settings::Settings;
use crate::error::{Error, Kind};
use crate::secret;
use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{HOST, HeaderMap, ORIGIN};
use actix_web::middleware::Next;
use actix_web::{HttpRequest, web};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq as _;

/// Keeps the form token apart from every other use of the session's token.
const LABEL: &str = "pillarbox form token: ";

/// Lets a request pass when it is safe, or comes from our own pages.
pub(super) async fn guard(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let is_safe = matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS
    );
    if is_safe || comes_from_our_pages(request.request()) {
        return Ok(next.call(request).await?.map_into_left_body());
    }
    let refusal = Error::new(
        Kind::Forbidden,
        "foreign_request",
        "This request did not come from this site's own pages, so nothing was changed. Open the page here and send the \
         form again; if a proxy stands in front, let it keep the Host header, or give the box its --public-url.",
    );
    Ok(request
        .into_response(error_page(&refusal))
        .map_into_right_body())
}

/// Whether a browser says that one of our own pages sent the request.
pub fn comes_from_our_pages(request: &HttpRequest) -> bool {
    let public_origin = request
        .app_data::<web::Data<Settings>>()
        .map(|settings| settings.public_url.origin().ascii_serialization());
    is_our_own(request.headers(), public_origin.as_deref())
}

fn is_our_own(headers: &HeaderMap, public_origin: Option<&str>) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if headers.contains_key("sec-fetch-site") && text("sec-fetch-site") != Some("same-origin") {
        return false;
    }
    let Some(origin) = text(ORIGIN.as_str()) else {
        return false;
    };
    let authority = origin
        .strip_prefix("http://")
        .or_else(|| origin.strip_prefix("https://"));
    let is_this_host = match (authority, text(HOST.as_str())) {
        (Some(authority), Some(host)) => {
            !authority.is_empty() && authority.eq_ignore_ascii_case(host)
        }
        _ => false,
    };
    is_this_host || public_origin.is_some_and(|public| public == origin)
}

/// The token that stands in the forms of a session.
pub(super) fn form_token(session_token: &str) -> String {
    URL_SAFE_NO_PAD.encode(secret::hash_token(&format!("{LABEL}{session_token}")))
}

/// Whether a form carries the token of its session.
pub(super) fn is_form_token(expected: &str, given: &str) -> bool {
    expected.as_bytes().ct_eq(given.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::{HeaderName, HeaderValue};

    fn passes(pairs: &[(&'static str, &'static str)]) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        is_our_own(&headers, Some("https://box.example.com"))
    }

    #[test]
    fn only_our_own_pages_change_anything() {
        let host = ("host", "127.0.0.1:8080");
        let own = ("origin", "http://127.0.0.1:8080");
        assert!(passes(&[host, own]));
        assert!(passes(&[host, own, ("sec-fetch-site", "same-origin")]));
        assert!(passes(&[host, ("origin", "https://box.example.com")]));
        for site in ["cross-site", "same-site", "none", ""] {
            assert!(!passes(&[host, own, ("sec-fetch-site", site)]), "{site}");
        }
        for origin in [
            "null",
            "",
            "http://",
            "http://127.0.0.1:8081",
            "http://evil.example",
            "http://127.0.0.1:8080.evil",
            "ftp://127.0.0.1:8080",
        ] {
            assert!(!passes(&[host, ("origin", origin)]), "{origin}");
        }
        assert!(!passes(&[host]));
    }

    #[test]
    fn a_form_token_belongs_to_one_session() {
        let token = form_token("a");
        assert!(is_form_token(&token, &form_token("a")));
        assert!(!is_form_token(&token, &form_token("b")));
        assert!(!is_form_token(&token, ""));
    }
}
