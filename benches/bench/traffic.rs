//! What is sent and stored: the one event of the benchmark, as Jimo's body, as a native item, and as
//! the row that both become. All rows use it, so that their figures are of the same thing.

use pillarbox::event::{Event, EventKind, Identifiers, StoredEvent, Verification};
use pillarbox::id::{EventId, WorkspaceId};
use serde::Deserialize;
use serde_json::value::RawValue;

/// How many people the events are about.
pub(crate) const USERS: u64 = 100_000;
/// Neighbours in time are strangers in the file: events that come one after another must not be
/// about people whose rows lie side by side. Prime to [`USERS`].
const STRIDE: u64 = 61_803;
/// Where a request gets something that no other has; as long as a UUID without two of its hyphens.
pub(crate) const MARK: &str = "@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@";
/// Where a request gets the time at which it was sent, in microseconds since 1970.
pub(crate) const SENT_MARK: &str = "1000000000000000";
/// The property that carries it.
pub(crate) const SENT_NAME: &str = "\"sent_us\":";
/// Where Jimo's events go.
const JIMO: &str = "/sse/webhook";
/// Where native events go.
const NATIVE: &str = "/api/v1/events";
const NAME: &str = "button_clicked";
const TIME: &str = "2026-01-01T12:05:00Z";
const TIME_MS: i64 = 1_767_269_100_000;
const PROPERTIES: &str = r#"{"button_name":"Subscribe","page":"pricing"}"#;

/// One prepared request.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// Where it goes.
    pub(crate) path: &'static str,
    /// Its API key.
    pub(crate) key: String,
    /// Its body, without line breaks.
    pub(crate) body: String,
}

/// The `n`th user.
pub(crate) fn user(n: u64) -> String {
    format!("user_{:05}", n % USERS)
}

fn spread(n: u64) -> u64 {
    n * STRIDE % USERS
}

/// `count` requests of one event each in Jimo's dialect, the keys in turn.
pub(crate) fn jimo(keys: &[String], count: u64) -> Vec<Request> {
    jimo_with(keys, count, PROPERTIES)
}

/// The same with the time of sending.
pub(crate) fn jimo_timed(keys: &[String], count: u64) -> Vec<Request> {
    let properties = format!(r#"{{{SENT_NAME}{SENT_MARK},"page":"pricing"}}"#);
    jimo_with(keys, count, &properties)
}

fn jimo_with(keys: &[String], count: u64, properties: &str) -> Vec<Request> {
    (0..count)
        .zip(keys.iter().cycle())
        .map(|(n, key)| Request {
            path: JIMO,
            key: key.clone(),
            body: format!(
                r#"{{"userId":"{}","type":"track","timestamp":"{TIME}","event":"{NAME}","properties":{properties}}}"#,
                user(spread(n))
            ),
        })
        .collect()
}

fn native_item(n: u64) -> String {
    format!(
        r#"{{"event":"{NAME}","userId":"{}","timestamp":"{TIME}","properties":{PROPERTIES}}}"#,
        user(spread(n))
    )
}

/// `count` requests of `batch` events each in the native dialect.
pub(crate) fn native_batches(key: &str, count: u64, batch: u64) -> Vec<Request> {
    (0..count)
        .map(|request| {
            let items: Vec<_> = (0..batch)
                .map(|n| native_item(request * batch + n))
                .collect();
            Request {
                path: NATIVE,
                key: key.to_owned(),
                body: format!(r#"{{"events":[{}]}}"#, items.join(",")),
            }
        })
        .collect()
}

/// `count` requests of one native event each that no other is like: by its key, or by a property of
/// the same length, so that both kinds cost their sender and the log the same.
pub(crate) fn native_unlike(key: &str, count: u64, is_keyed: bool) -> Vec<Request> {
    (0..count)
        .map(|n| {
            let user = user(spread(n));
            let own = if is_keyed {
                format!(r#""messageId":"{MARK}","properties":{PROPERTIES}"#)
            } else {
                let rest = PROPERTIES.trim_start_matches('{');
                format!(r#""properties":{{"request":"{MARK}",{rest}"#)
            };
            Request {
                path: NATIVE,
                key: key.to_owned(),
                body: format!(
                    r#"{{"event":"{NAME}","userId":"{user}","timestamp":"{TIME}",{own}}}"#
                ),
            }
        })
        .collect()
}

/// The row that the `n`th such event of a log becomes. The first of each user come in order, so that
/// all later ones are out of the order in which profiles were made.
pub(crate) fn row(id: EventId, workspace: WorkspaceId, n: u64, received_at_ms: i64) -> StoredEvent {
    let event = Event {
        workspace,
        source: None,
        kind: EventKind::Track,
        name: NAME.into(),
        identifiers: Identifiers {
            user_id: Some(user(if n < USERS { n } else { spread(n) }).into()),
            ..Identifiers::default()
        },
        properties: Some(PROPERTIES.into()),
        traits: None,
        context: None,
        replace_traits: false,
        customer_is_account: false,
        occurred_at_ms: TIME_MS,
        received_at_ms,
        verification: Verification::Server,
        channel: None,
        dedup_key: None,
    };
    StoredEvent { id, event }
}

/// The fields that any server must read of Jimo's body.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Parsed<'a> {
    /// The person.
    pub(crate) user_id: &'a str,
    /// The event's name.
    pub(crate) event: &'a str,
    /// When it happened.
    pub(crate) timestamp: &'a str,
    /// JSON object.
    #[serde(borrow)]
    pub(crate) properties: &'a RawValue,
}
