//! What every dialect does with a field: reads its text or its object out of the raw JSON, and refuses
//! it by name, alone or in an array of events. Knows no dialect's fields.

use crate::error::{Error, FieldError, Kind, Result};
use crate::event::Event;
use crate::json::{self, FromContainer, Place};
use serde::Deserialize;
use serde::de::{MapAccess, SeqAccess};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// So many refusals of one event are named; a body of nothing but wrong fields gets no endless answer.
const MAX_REFUSALS: usize = 20;
/// Characters of a member's name in a pointer: what has a longer one is no field, and hears not all of it.
const MAX_NAME_CHARS: usize = 100;
/// Characters of a member's name in a sentence, enough to recognise it by.
const MAX_SAID_CHARS: usize = 40;

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

/// A member's name inside a pointer, where two characters are escaped (RFC 6901); of a long one, its
/// beginning and an ellipsis.
pub(super) fn escaped(name: &str) -> String {
    start_of(name, MAX_NAME_CHARS)
        .replace('~', "~0")
        .replace('/', "~1")
}

/// What is said of a member that is no field; the first time, `known` says which there are.
pub(super) fn no_such_field(name: &str, known: Option<&str>) -> String {
    let name = start_of(name, MAX_SAID_CHARS);
    match known {
        Some(known) => format!("There is no field {name}; {known}."),
        None => format!("There is no field {name}."),
    }
}

fn start_of(name: &str, chars: usize) -> Cow<'_, str> {
    match name.char_indices().nth(chars) {
        None => Cow::Borrowed(name),
        Some((end, _)) => Cow::Owned(format!("{}…", name.get(..end).unwrap_or(""))),
    }
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

// WHOLE BODIES ------------------------------------------------------------------------------

/// The name of a member, borrowed where it has no escapes.
#[derive(Deserialize)]
pub(super) struct Name<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

/// Reads an object whose fields `T` names; `what` says what the object is.
///
/// # Errors
/// What is no JSON, and what is no object.
pub(super) fn object<'a, T: Deserialize<'a>>(text: &'a str, what: &str) -> Result<T> {
    // A struct would be read from an array as well.
    if !text.trim_start().starts_with('{') {
        json::read::<&RawValue>(text)?;
        let detail = format!("{what} must be a JSON object.");
        return Err(Error::field("", "wrong_type", detail));
    }
    json::read(text)
}

/// The members of an object, for dialects that refuse those that they do not know.
pub(super) struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> FromContainer<'de> for Members<'de> {
    fn from_object<A: MapAccess<'de>>(mut object: A) -> Result<Option<Self>, A::Error> {
        let mut members = Vec::new();
        while let Some((Name(name), value)) = object.next_entry()? {
            members.push((name, value));
        }
        Ok(Some(Self(members)))
    }
}

impl<'a> Members<'a> {
    /// All of them, in order, those with the same name too.
    pub(super) fn all(self) -> impl Iterator<Item = (Cow<'a, str>, &'a RawValue)> {
        self.0.into_iter()
    }

    /// The values of the fields `names`, in that order; other members, and repeated ones, are refused.
    pub(super) fn fields<const N: usize>(
        self,
        names: &[&str; N],
    ) -> ([Option<&'a RawValue>; N], Refused) {
        let mut values = [None; N];
        let mut refused = Refused::default();
        // The fields are named once.
        let mut known = Some(format!("the fields are {}", names.join(", ")));
        for (name, value) in self.0 {
            match names.iter().position(|known| *known == name) {
                Some(at) if values[at].is_none() => values[at] = Some(value),
                Some(_) => {
                    let detail = format!("{name} is given more than once.");
                    refused.add(&name, "duplicate_field", detail);
                }
                None => {
                    let detail = no_such_field(&name, known.take().as_deref());
                    refused.add(&escaped(&name), "unknown_field", detail);
                }
            }
        }
        (values, refused)
    }
}

/// The items of an array. Of more than `MAX`, one too many is kept, to tell; the rest would only cost
/// memory.
#[derive(Debug)]
pub(super) struct Items<'a, const MAX: usize>(pub(super) Vec<&'a RawValue>);

impl<'de, const MAX: usize> FromContainer<'de> for Items<'de, MAX> {
    fn from_array<A: SeqAccess<'de>>(mut array: A) -> Result<Option<Self>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = array.next_element()? {
            if items.len() <= MAX {
                items.push(item);
            }
        }
        Ok(Some(Self(items)))
    }
}

/// The 1 to `MAX` events of an array that stands at `pointer` in the body.
///
/// # Errors
/// What is no JSON, no array, empty, or longer.
pub(super) fn events<'a, const MAX: usize>(
    text: &'a str,
    pointer: &str,
) -> Result<Vec<&'a RawValue>> {
    let refuse = |code, detail: String| Err(Error::field(pointer, code, detail));
    match json::read::<Place<Items<'a, MAX>>>(text)? {
        Place(None) => refuse(
            "wrong_type",
            format!("An array of 1 to {MAX} events belongs here."),
        ),
        Place(Some(Items(items))) if items.is_empty() => refuse(
            "required",
            "The array of events is empty; send at least one.".to_owned(),
        ),
        Place(Some(Items(items))) if items.len() > MAX => refuse(
            "too_many_events",
            format!(
                "There are more than {MAX} events; nothing was stored. Send the rest in another request."
            ),
        ),
        Place(Some(Items(items))) => Ok(items),
    }
}

/// All events of an array that stands at `pointer` in the body; or, where any is refused, what is wrong
/// with each, so that nothing is stored.
///
/// # Errors
/// The refusals with their places in the array. One of another kind, such as a signature that is wrong, is
/// told alone.
pub(super) fn all_or_none(
    pointer: &str,
    events: impl Iterator<Item = Result<Event>>,
) -> Result<Vec<Event>> {
    let mut taken = Vec::with_capacity(events.size_hint().0);
    let mut refused = Vec::new();
    for (index, event) in events.enumerate() {
        match event {
            Ok(event) => taken.push(event),
            Err(error) if error.field_errors().is_empty() => return Err(error),
            Err(error) => {
                let placed = error.field_errors().iter().map(|field| {
                    let pointer = format!("{pointer}/{index}{}", field.pointer);
                    FieldError {
                        detail: format!("{pointer}: {} Nothing was stored.", field.detail),
                        pointer,
                        code: field.code,
                    }
                });
                if error.kind() != Kind::Invalid {
                    return Err(Error::fields(placed.collect()).with_kind(error.kind()));
                }
                refused.extend(placed);
            }
        }
        if refused.len() >= MAX_REFUSALS {
            break;
        }
    }
    if refused.is_empty() {
        Ok(taken)
    } else {
        Err(Error::fields(refused))
    }
}
