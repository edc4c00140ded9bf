//! An answer: read within the bounds, and judged. Decides nothing about the next attempt; what the receiver
//! asked for is only taken down.

use super::secrets::{REDACTED, Secrets};
use crate::delivery::{ErrorClass, MAX_RETRY_AFTER};
use crate::store::attempts::Response;
use crate::store::headers::HeadersText;
use http_body_util::BodyExt as _;
use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER};
use std::borrow::Cow;
use std::time::{Duration, SystemTime};

/// At most this many characters of where a redirect points to are told.
const LOCATION_CHARS: usize = 500;

/// What an answer says, as far as it was read.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) response: Option<Response>,
    /// Why it is a failure.
    pub(super) error: Option<(ErrorClass, String)>,
    /// How long the receiver asked to be left alone.
    pub(super) retry_after: Option<Duration>,
}

impl Answer {
    /// Takes down what is answered, at most `cap` bytes of its body; says whether all of it was read.
    pub(super) async fn receive(
        &mut self,
        answer: hyper::Response<Incoming>,
        cap: usize,
        secrets: &Secrets,
    ) -> bool {
        let (head, body) = answer.into_parts();
        self.error = status_error(head.status, &head.headers);
        if matches!(
            head.status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
        ) {
            let asked = head.headers.get(RETRY_AFTER);
            self.retry_after = asked.and_then(|value| retry_after(value, SystemTime::now()));
        }
        let length = head.headers.get(CONTENT_LENGTH);
        let response = self.response.insert(Response {
            status: head.status.as_u16(),
            headers: said_back(&head.headers, secrets),
            body: Vec::new(),
            truncated: false,
            length: length.and_then(|value| value.to_str().ok()?.parse().ok()),
        });
        if let Err(e) = read_body(body, cap, response).await {
            let detail = format!("the answer's body broke off: {e}");
            self.error = Some((ErrorClass::Protocol, detail));
            return false;
        }
        !response.truncated
    }

    /// Leaves out what the receiver said back of the request's secrets, whatever ended the answer. No more than
    /// `cap` bytes of the body are kept then either.
    pub(super) fn mask(&mut self, secrets: &Secrets, cap: usize) {
        if let Some(response) = &mut self.response
            && let Cow::Owned(mut masked) = secrets.masked(&response.body)
        {
            response.truncated |= masked.len() > cap;
            masked.truncate(cap);
            response.body = masked;
        }
        if let Some((_, detail)) = &mut self.error
            && let Cow::Owned(masked) = secrets.masked(detail.as_bytes())
        {
            *detail = String::from_utf8_lossy(&masked).into_owned();
        }
    }
}

/// Fills `response` as the body comes in, so that what was read before a timeout is kept. The body stays
/// as it came: what is compressed is not unpacked.
async fn read_body(mut body: Incoming, cap: usize, response: &mut Response) -> hyper::Result<()> {
    while let Some(frame) = body.frame().await {
        let Ok(chunk) = frame?.into_data() else {
            continue;
        };
        let room = cap - response.body.len();
        let kept = chunk.get(..room.min(chunk.len())).unwrap_or(&chunk);
        response.body.extend_from_slice(kept);
        if chunk.len() > room {
            // Dropping the body closes the connection, whatever else was to come.
            response.truncated = true;
            return Ok(());
        }
    }
    response.length = i64::try_from(response.body.len()).ok();
    Ok(())
}

/// Success is 2xx only (webhooks.md, "On the wire").
fn status_error(status: StatusCode, headers: &HeaderMap) -> Option<(ErrorClass, String)> {
    if status.is_success() {
        return None;
    }
    let class = match status.as_u16() {
        300..=399 => ErrorClass::Redirect,
        400..=499 => ErrorClass::Http4xx,
        100..=199 => ErrorClass::Protocol,
        _ => ErrorClass::Http5xx,
    };
    let detail = match (class, headers.get(LOCATION)) {
        (ErrorClass::Redirect, Some(location)) => {
            let location = String::from_utf8_lossy(location.as_bytes());
            let location: String = location.chars().take(LOCATION_CHARS).collect();
            format!("answered {status}, which points to {location}")
        }
        _ => format!("answered {status}"),
    };
    Some((class, detail))
}

/// How long a `Retry-After` asks for: seconds, or until a date (RFC 9110, 10.2.3). At most
/// [`MAX_RETRY_AFTER`]; what is neither, or is over, asks for nothing.
fn retry_after(value: &HeaderValue, now: SystemTime) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    let asked = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than a number has are a number all the same.
        Duration::from_secs(text.parse().unwrap_or(u64::MAX))
    } else {
        httpdate::parse_http_date(text)
            .ok()?
            .duration_since(now)
            .ok()?
    };
    (!asked.is_zero()).then(|| asked.min(MAX_RETRY_AFTER))
}

/// An answer's headers as they are kept.
fn said_back(headers: &HeaderMap, secrets: &Secrets) -> HeadersText {
    if secrets.is_empty() {
        return readable(headers);
    }
    let masked: Vec<_> = headers
        .iter()
        .map(|(name, value)| (name.as_str(), secrets.masked(value.as_bytes())))
        .collect();
    HeadersText::new(masked.iter().map(|(name, value)| (*name, &**value)))
}

/// Headers as they are kept. Values that are marked as secret are not.
pub(super) fn readable(headers: &HeaderMap) -> HeadersText {
    HeadersText::new(headers.iter().map(|(name, value)| {
        let kept = if value.is_sensitive() {
            REDACTED.as_bytes()
        } else {
            value.as_bytes()
        };
        (name.as_str(), kept)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_S: u64 = 1_700_000_000;

    fn asked(text: &str) -> Option<u64> {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(NOW_S);
        let asked = retry_after(&HeaderValue::from_str(text).unwrap(), now);
        asked.map(|asked| asked.as_secs())
    }

    #[test]
    fn a_receiver_asks_for_seconds_or_for_a_date_and_for_a_day_at_most() {
        const DAY_S: u64 = 86_400;
        assert_eq!(asked("120"), Some(120));
        assert_eq!(asked(" 7 "), Some(7));
        assert_eq!(asked("86401"), Some(DAY_S));
        assert_eq!(asked(&"9".repeat(40)), Some(DAY_S));
        let at = |s| SystemTime::UNIX_EPOCH + Duration::from_secs(s);
        assert_eq!(asked(&httpdate::fmt_http_date(at(NOW_S + 90))), Some(90));
        let next_week = httpdate::fmt_http_date(at(NOW_S + 7 * DAY_S));
        assert_eq!(asked(&next_week), Some(DAY_S));
    }

    #[test]
    fn nonsense_and_the_past_ask_for_nothing() {
        for nonsense in [
            "",
            "0",
            "-5",
            "+5",
            "1.5",
            "soon",
            "5s",
            "0x10",
            "Tue, 14 Nov 2023 22:13:19 GMT",
            "Tue, 99 Nov 2099 22:13:19 GMT",
            "2099-01-01T00:00:00Z",
        ] {
            assert_eq!(asked(nonsense), None, "{nonsense:?}");
        }
    }

    #[test]
    fn a_redirect_says_where_it_points_to_within_bounds() {
        let mut headers = HeaderMap::new();
        let told = |headers: &HeaderMap| status_error(StatusCode::FOUND, headers).unwrap().1;
        assert_eq!(told(&headers), "answered 302 Found");
        headers.insert(LOCATION, HeaderValue::from_bytes(b"/caf\xe9").unwrap());
        assert_eq!(
            told(&headers),
            "answered 302 Found, which points to /caf\u{fffd}"
        );
        headers.insert(LOCATION, "x".repeat(9_000).parse().unwrap());
        assert!(told(&headers).len() < 600);
    }
}
