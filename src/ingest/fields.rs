//! What every dialect does with a field: reads its text or its object out of the raw JSON, and refuses
//! it by name. Knows no dialect's fields.

use crate::error::FieldError;
use crate::json;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// So many refusals of one event are named; a body of nothing but wrong fields gets no endless answer.
const MAX_REFUSALS: usize = 20;

/// What is wrong with an event, field by field.
#[derive(Debug, Default)]
pub(super) struct Refused(pub(super) Vec<FieldError>);

impl Refused {
    /// Refuses `field`, a pointer without its first slash.
    pub(super) fn add(&mut self, field: &str, code: &'static str, detail: impl Into<String>) {
        self.push(format!("/{field}"), code, detail.into());
    }

    /// Refuses the event as a whole.
    pub(super) fn add_whole(&mut self, code: &'static str, detail: impl Into<String>) {
        self.push(String::new(), code, detail.into());
    }

    fn push(&mut self, pointer: String, code: &'static str, detail: String) {
        if self.0.len() < MAX_REFUSALS {
            self.0.push(FieldError {
                pointer,
                code,
                detail,
            });
        }
    }

    /// The text of a field that must be there; `what` says what it is for.
    pub(super) fn required_string<'a>(
        &mut self,
        field: &str,
        raw: Option<&'a RawValue>,
        what: &str,
    ) -> Option<Cow<'a, str>> {
        if given(raw).is_none() {
            self.add(field, "required", format!("{field} is required: {what}."));
        }
        self.optional_string(field, raw, what)
    }

    /// The text of a field, where it is there.
    pub(super) fn optional_string<'a>(
        &mut self,
        field: &str,
        raw: Option<&'a RawValue>,
        what: &str,
    ) -> Option<Cow<'a, str>> {
        let text = string(given(raw)?);
        if text.is_none() {
            self.add(
                field,
                "wrong_type",
                format!("{field} must be a string: {what}."),
            );
        }
        text
    }

    /// The text of an object, byte for byte, where it is there.
    pub(super) fn optional_object<'a>(
        &mut self,
        field: &str,
        raw: Option<&'a RawValue>,
    ) -> Option<&'a str> {
        let text = given(raw)?.get();
        if text.starts_with('{') {
            return Some(text);
        }
        self.add(field, "wrong_type", format!("{field} must be an object."));
        None
    }
}

/// What was given: `null` says as much as leaving the field out.
pub(super) fn given(raw: Option<&RawValue>) -> Option<&RawValue> {
    raw.filter(|raw| raw.get() != "null")
}

/// A member's name inside a pointer, where two characters are escaped (RFC 6901).
pub(super) fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// The text of a JSON string, borrowed where it has no escapes.
pub(super) fn string(raw: &RawValue) -> Option<Cow<'_, str>> {
    let inner = raw.get().strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        json::value(raw).map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(inner))
    }
}
