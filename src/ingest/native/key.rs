//! The `Idempotency-Key` header of the native dialect: what it may be, and which events it names. Knows
//! nothing of what became of a key before.

use crate::error::{Error, FieldError, Kind, Result};
use crate::event::RawEvent;
use crate::normalize::MAX_DEDUP_KEY_BYTES;
use actix_web::HttpRequest;
use std::borrow::Cow;

pub(super) const HEADER: &str = "idempotency-key";
/// With many events a key is at most this long, since `:999` is added to it.
const MAX_SHARED_BYTES: usize = MAX_DEDUP_KEY_BYTES - 4;

/// What a sender calls its request.
#[derive(Debug)]
pub(super) struct Key(String);

impl Key {
    /// The request's key, where it has one.
    ///
    /// # Errors
    /// When it is empty, too long, no printable ASCII, or given twice.
    pub(super) fn of(request: &HttpRequest) -> Result<Option<Self>> {
        let mut values = request.headers().get_all(HEADER);
        let Some(value) = values.next() else {
            return Ok(None);
        };
        if values.next().is_some() {
            return Err(refused("Idempotency-Key was sent more than once"));
        }
        let bytes = value.as_bytes();
        let is_printable = bytes.iter().all(|b| (b' '..=b'~').contains(b));
        match std::str::from_utf8(bytes) {
            Ok(key) if is_printable && (1..=MAX_DEDUP_KEY_BYTES).contains(&key.len()) => {
                Ok(Some(Self(key.to_owned())))
            }
            _ => Err(refused(&format!(
                "Idempotency-Key must have 1 to {MAX_DEDUP_KEY_BYTES} characters of printable ASCII"
            ))),
        }
    }

    /// The key as it was sent.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Refuses a key that has no room for the places of many events.
    ///
    /// # Errors
    /// When it is too long for that.
    pub(super) fn check_shared(&self) -> Result<()> {
        if self.0.len() > MAX_SHARED_BYTES {
            return Err(refused(&format!(
                "With more than one event, Idempotency-Key has at most {MAX_SHARED_BYTES} characters, since \
                 each event's place is added to it"
            )));
        }
        Ok(())
    }

    /// Makes this the key of the request's only event; one that has another key already is refused.
    /// Whether it is the header's.
    pub(super) fn name_only(&self, raw: &mut RawEvent<'_>) -> bool {
        match &raw.dedup_key {
            None => {
                raw.dedup_key = Some(Cow::Owned(self.0.clone()));
                true
            }
            Some(own) if *own == self.0 => false,
            Some(_) => {
                raw.refused.push(FieldError {
                    pointer: "/messageId".to_owned(),
                    code: "idempotency_key_mismatch",
                    detail: "messageId and Idempotency-Key differ; send one of them, or the same in both."
                        .to_owned(),
                });
                false
            }
        }
    }

    /// Makes this with its place the key of one event of many, where it has none of its own. Whether it
    /// is the header's.
    pub(super) fn name_one_of_many(&self, raw: &mut RawEvent<'_>, index: usize) -> bool {
        let has_none = raw.dedup_key.is_none();
        if has_none {
            raw.dedup_key = Some(Cow::Owned(format!("{}:{index}", self.0)));
        }
        has_none
    }
}

fn refused(what: &str) -> Error {
    Error::new(
        Kind::Malformed,
        "invalid_idempotency_key",
        format!("{what}; nothing was stored."),
    )
}
