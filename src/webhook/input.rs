//! What a person says of a webhook, unchecked, and the check of all of it.

use super::headers::{self, CustomHeader, is_secret_header};
use super::settings::{Format, WebhookSettings};
use super::{filter, pattern, target};
use crate::delivery::RetrySchedule;
use crate::error::{Error, FieldError, Result};
use std::sync::Arc;

/// A name has at most this many characters.
const MAX_NAME_CHARS: usize = 100;
/// A webhook has at most this many attempts on their way at once.
pub const MAX_CONCURRENCY: u32 = 64;
/// A webhook's rate is at most this many attempts a second; without one there is no limit.
pub const MAX_RATE: u32 = 10_000;
/// Where a secret header's value stands in a form: it is not shown, and stays as it is.
pub const KEPT: &str = "••••••••";

/// What a person says of a webhook, unchecked. What is empty is as the box says.
#[derive(Debug, Clone, Default)]
pub struct WebhookInput {
    /// What to call it.
    pub name: String,
    /// Where it sends, with credentials or without.
    pub url: String,
    /// Event-type patterns.
    pub events: Vec<String>,
    /// The shape of its bodies.
    pub format: Format,
    /// Conditions on what is sent.
    pub filters: Vec<String>,
    /// Names and values of headers; [`KEPT`] is the value that it has.
    pub headers: Vec<(String, String)>,
    /// The delays of its attempts, such as `0s,5s,5m`.
    pub schedule: String,
    /// Attempts on their way at once.
    pub concurrency: String,
    /// Attempts a second.
    pub rate: String,
    /// Whether it gets one delivery at a time, in the order of the events.
    pub is_ordered: bool,
    /// Whether the credentials that it has are to go.
    pub drops_credentials: bool,
}

impl WebhookInput {
    /// The form of what is known, without what is secret.
    pub fn of(settings: &WebhookSettings) -> Self {
        let shown = |header: &CustomHeader| {
            let is_secret = is_secret_header(&header.name);
            let value = if is_secret { KEPT } else { &header.value };
            (header.name.clone(), value.to_owned())
        };
        Self {
            name: settings.name.to_string(),
            url: settings.url.to_string(),
            events: settings.patterns.iter().map(ToString::to_string).collect(),
            format: settings.format,
            filters: settings.filters.iter().map(ToString::to_string).collect(),
            headers: settings.headers.iter().map(shown).collect(),
            schedule: settings
                .schedule
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            concurrency: settings
                .concurrency
                .map(|n| n.to_string())
                .unwrap_or_default(),
            rate: settings.rate.map(|n| n.to_string()).unwrap_or_default(),
            is_ordered: settings.is_ordered,
            drops_credentials: false,
        }
    }

    /// Checks every field, and says all that is wrong at once. What is kept is taken from `before`, but goes
    /// to no other origin than it was meant for.
    ///
    /// # Errors
    /// Names the fields `name`, `url`, `event`, `filter`, `header`, `schedule`, `concurrency` and `rate`.
    pub fn check(&self, before: Option<&WebhookSettings>) -> Result<WebhookSettings> {
        let name = check_name(&self.name);
        let target = target::check(&self.url);
        let patterns = pattern::check_patterns(&self.events);
        let filters = filter::check(&self.filters);
        let before = before.filter(|before| {
            target
                .as_ref()
                .is_ok_and(|(url, _)| url.origin() == before.url.origin())
        });
        let headers = self
            .known_headers(before)
            .and_then(|pairs| headers::check(&pairs));
        let schedule = self.check_schedule();
        let concurrency = check_number(&self.concurrency, "/concurrency", MAX_CONCURRENCY);
        let rate = check_number(&self.rate, "/rate", MAX_RATE);
        let mut refused: Vec<FieldError> = Vec::new();
        let mut refuse = |e: &Error| refused.extend(e.field_errors().to_vec());
        let _ = name.as_ref().map_err(&mut refuse);
        let _ = target.as_ref().map_err(&mut refuse);
        let _ = patterns.as_ref().map_err(&mut refuse);
        let _ = filters.as_ref().map_err(&mut refuse);
        let _ = headers.as_ref().map_err(&mut refuse);
        let _ = schedule.as_ref().map_err(&mut refuse);
        let _ = concurrency.as_ref().map_err(&mut refuse);
        let _ = rate.as_ref().map_err(&mut refuse);
        if !refused.is_empty() {
            return Err(Error::fields(refused));
        }
        let (url, written) = target?;
        let known = before.filter(|_| !self.drops_credentials);
        Ok(WebhookSettings {
            name: name?.into(),
            url,
            credentials: written.or_else(|| known?.credentials.clone()),
            format: self.format,
            patterns: patterns?,
            filters: filters?,
            headers: headers?,
            schedule: schedule?.map(Arc::new),
            concurrency: concurrency?,
            rate: rate?,
            is_ordered: self.is_ordered,
        })
    }

    /// The headers as written, with the values that are kept.
    fn known_headers(&self, before: Option<&WebhookSettings>) -> Result<Vec<(String, String)>> {
        let known = |(index, (name, value)): (usize, &(String, String))| {
            if value.trim() != KEPT {
                return Ok((name.clone(), value.clone()));
            }
            let name = name.trim().to_ascii_lowercase();
            let headers = before.map_or(&[][..], |before| &before.headers);
            match headers.iter().find(|header| header.name == name) {
                Some(header) => Ok((name, header.value.clone())),
                None => Err(Error::field(
                    format!("/header/{index}"),
                    "required",
                    format!(
                        "Write the value of {name} again: it is not known here, or was meant for another server."
                    ),
                )),
            }
        };
        self.headers.iter().enumerate().map(known).collect()
    }

    fn check_schedule(&self) -> Result<Option<RetrySchedule>> {
        match self.schedule.trim() {
            "" => Ok(None),
            text => text
                .parse()
                .map(Some)
                .map_err(|detail: String| Error::field("/schedule", "invalid_schedule", detail)),
        }
    }
}

/// A webhook's name, trimmed.
fn check_name(name: &str) -> Result<String> {
    let name = name.trim();
    if name.is_empty() {
        return Err(Error::field(
            "/name",
            "required",
            "Give the webhook a name to recognise it by.",
        ));
    }
    if name.chars().count() > MAX_NAME_CHARS || name.chars().any(char::is_control) {
        let detail = format!("A name has at most {MAX_NAME_CHARS} characters on one line.");
        return Err(Error::field("/name", "too_long", detail));
    }
    Ok(name.to_owned())
}

fn check_number(text: &str, pointer: &'static str, most: u32) -> Result<Option<u32>> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    match text.parse() {
        Ok(number) if (1..=most).contains(&number) => Ok(Some(number)),
        _ => Err(Error::field(
            pointer,
            "out_of_range",
            format!("Write a whole number from 1 to {most}, or nothing for the box's own."),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input() -> WebhookInput {
        WebhookInput {
            name: "CRM".to_owned(),
            url: "https://u:p@example.com/hook".to_owned(),
            events: vec!["*".to_owned()],
            headers: vec![("X-Api-Key".to_owned(), "k1".to_owned())],
            ..WebhookInput::default()
        }
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once() {
        let wrong = WebhookInput {
            filters: vec!["nothing".to_owned()],
            headers: vec![("host".to_owned(), "x".to_owned())],
            schedule: "soon".to_owned(),
            concurrency: "0".to_owned(),
            rate: "many".to_owned(),
            ..WebhookInput::default()
        };
        let refusal = wrong.check(None).unwrap_err();
        let pointers: Vec<_> = refusal.field_errors().iter().map(|e| &*e.pointer).collect();
        let all = [
            "/name",
            "/url",
            "/event",
            "/filter/0",
            "/header/0",
            "/schedule",
            "/concurrency",
            "/rate",
        ];
        assert_eq!(pointers, all);
    }

    #[test]
    fn secrets_are_kept_for_the_origin_that_they_were_meant_for() {
        let before = input().check(None).unwrap();
        let shown = WebhookInput::of(&before);
        assert_eq!(shown.headers, [("x-api-key".to_owned(), KEPT.to_owned())]);
        assert_eq!(shown.url, "https://example.com/hook");
        let after = shown.check(Some(&before)).unwrap();
        assert_eq!(
            (&after.credentials, &after.headers),
            (&before.credentials, &before.headers)
        );
        let elsewhere = WebhookInput {
            url: "https://example.net/hook".to_owned(),
            ..shown.clone()
        };
        assert_eq!(
            elsewhere.check(Some(&before)).unwrap_err().code(),
            "required"
        );
        let bare = WebhookInput {
            headers: Vec::new(),
            ..elsewhere
        };
        assert_eq!(bare.check(Some(&before)).unwrap().credentials, None);
        let dropped = WebhookInput {
            drops_credentials: true,
            ..shown
        };
        assert_eq!(dropped.check(Some(&before)).unwrap().credentials, None);
    }
}
