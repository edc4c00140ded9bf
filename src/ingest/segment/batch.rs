//! A batch of messages: what it says for all of them, its limits, and that one bad message refuses it
//! whole, by its place. Knows no message's fields.

use super::message::{self, Common, Context};
use crate::error::{Error, FieldError, Kind, Result};
use crate::event::{Credential, Event};
use crate::ingest::fields::{Refused, given};
use crate::json;
use crate::normalize::normalize;
use serde::Deserialize;
use serde_json::value::RawValue;

/// A batch has at most this many messages (wire.md, "Segment-compatible").
const MAX_MESSAGES: usize = 2_500;
/// A message has at most this many bytes (wire.md, "Segment-compatible").
pub(super) const MAX_MESSAGE_BYTES: usize = 32 * 1_024;
/// The batch's context is copied into its messages; the copies have at most this many bytes together.
const MAX_COPIED_CONTEXT_BYTES: usize = 4 * 1_024 * 1_024;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a> {
    #[serde(borrow)]
    batch: Option<&'a RawValue>,
    context: Option<&'a RawValue>,
    sent_at: Option<&'a RawValue>,
}

/// The events of a batch, in order.
///
/// # Errors
/// What is wrong with the batch, or with its first bad message.
pub(super) fn read(text: &str, credential: &Credential, received_at_ms: i64) -> Result<Vec<Event>> {
    if !text.trim_start().starts_with('{') {
        json::read::<&RawValue>(text)?;
        return Err(Error::field(
            "",
            "wrong_type",
            "The body must be a JSON object: {\"batch\": [...]}.",
        ));
    }
    let wire: Wire<'_> = json::read(text)?;
    let messages = messages(wire.batch)?;
    let common = common(&wire, received_at_ms)?;
    let copied = common.context.as_ref().map_or(0, Context::len);
    if copied.saturating_mul(messages.len()) > MAX_COPIED_CONTEXT_BYTES {
        return Err(Error::field(
            "/context",
            "context_too_large",
            "The context is too large to be copied into every message; send fewer messages at once.",
        )
        .with_kind(Kind::TooLarge));
    }
    messages
        .into_iter()
        .enumerate()
        .map(|(index, message)| {
            event(message.get(), credential, &common).map_err(|e| in_batch(index, e))
        })
        .collect()
}

fn messages(batch: Option<&RawValue>) -> Result<Vec<&RawValue>> {
    let refused = |code, detail: &str| Error::field("/batch", code, detail);
    let Some(batch) = given(batch) else {
        return Err(refused(
            "required",
            "batch is required: an array of messages.",
        ));
    };
    let messages: Vec<&RawValue> = serde_json::from_str(batch.get())
        .map_err(|_| refused("wrong_type", "batch must be an array of messages."))?;
    match messages.len() {
        0 => Err(refused(
            "required",
            "batch is empty; send at least one message.",
        )),
        1..=MAX_MESSAGES => Ok(messages),
        _ => Err(refused(
            "too_many_events",
            "batch has more than 2,500 messages; send the rest in another request.",
        )
        .with_kind(Kind::TooLarge)),
    }
}

fn common<'a>(wire: &Wire<'a>, received_at_ms: i64) -> Result<Common<'a>> {
    let mut refused = Refused::default();
    let sent_at_ms = message::timestamp(&mut refused, "sentAt", wire.sent_at);
    let context = refused.optional_object("context", wire.context);
    if !refused.0.is_empty() {
        return Err(Error::fields(refused.0));
    }
    Ok(Common {
        received_at_ms,
        sent_at_ms,
        context: context.map(Context::read).transpose()?,
    })
}

fn event(text: &str, credential: &Credential, common: &Common<'_>) -> Result<Event> {
    if text.len() > MAX_MESSAGE_BYTES {
        let detail = format!("The message has more than {MAX_MESSAGE_BYTES} bytes.");
        return Err(Error::field("", "event_too_large", detail).with_kind(Kind::TooLarge));
    }
    let raw = message::read(text, None, common)?;
    normalize(raw, credential, common.received_at_ms)
}

/// The refusal of the message at `index`, its pointers from the body's root.
fn in_batch(index: usize, error: Error) -> Error {
    let fields = error.field_errors();
    if fields.is_empty() {
        return error;
    }
    let named = fields.iter().map(|field| FieldError {
        pointer: format!("/batch/{index}{}", field.pointer),
        code: field.code,
        detail: format!(
            "batch[{index}]{}: {}",
            field.pointer.replace('/', "."),
            field.detail
        ),
    });
    Error::fields(named.collect()).with_kind(error.kind())
}
