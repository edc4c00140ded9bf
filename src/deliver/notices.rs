//! What webhooks are told of other webhooks that fail (webhooks.md, "Event types"), in the transaction that
//! finds it out. A webhook never hears of itself, and nobody hears of a notice that did not arrive.

use super::attempt::Made;
use crate::error::Result;
use crate::id::IdGenerator;
use crate::message::Notice;
use crate::owe;
use crate::store::catalog::Catalog;
use crate::store::deliveries::{self, OwedDelivery};
use crate::time::rfc3339;
use crate::webhook::Webhook;
use rusqlite::Connection;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// The family of what the box has to say of itself.
const SYSTEM: &str = "system.";
const FAILING: &str = "system.webhook_failing";
const DISABLED: &str = "system.webhook_disabled";
const EXHAUSTED: &str = "system.delivery_exhausted";

/// Why a webhook is disabled.
#[derive(Debug, Clone, Copy)]
pub(super) enum Disabled {
    /// Its receiver answered 410.
    Gone,
    /// Nothing has succeeded since then, Unix milliseconds.
    FailedSince { since_ms: i64 },
}

impl Disabled {
    /// In plain words, for the webhook's page and for other webhooks.
    pub(super) fn reason(self, now_ms: i64) -> String {
        match self {
            Self::Gone => {
                "The receiver answered 410 Gone: it wants no more deliveries. Activate the webhook \
                if that was a mistake."
                    .to_owned()
            }
            Self::FailedSince { since_ms } => {
                let seconds = u64::try_from((now_ms - since_ms) / 1_000).unwrap_or_default();
                // Whole hours, unless it is less than one.
                let plain = if seconds < 3_600 {
                    seconds
                } else {
                    seconds / 3_600 * 3_600
                };
                let time = humantime::format_duration(Duration::from_secs(plain));
                format!(
                    "Every attempt has failed for {time}, since {}. Activate the webhook once its receiver answers.",
                    rfc3339(since_ms)
                )
            }
        }
    }
}

/// Whether an attempt was of something that the box itself had to say.
pub(super) fn is_about_notice(connection: &Connection, made: &Made) -> Result<bool> {
    let subject = deliveries::subject(connection, made.attempt.delivery)?;
    Ok(subject.is_some_and(|subject| subject.event_type.starts_with(SYSTEM)))
}

/// Tells the webhooks of one transaction's findings.
pub(super) struct Teller<'a> {
    connection: &'a Connection,
    catalog: &'a Catalog,
    ids: &'a IdGenerator,
    fresh: Vec<OwedDelivery>,
}

impl<'a> Teller<'a> {
    pub(super) fn new(
        connection: &'a Connection,
        catalog: &'a Catalog,
        ids: &'a IdGenerator,
    ) -> Self {
        Self {
            connection,
            catalog,
            ids,
            fresh: Vec::new(),
        }
    }

    /// What is owed now and due.
    pub(super) fn into_fresh(self) -> Vec<OwedDelivery> {
        self.fresh
    }

    /// A webhook's attempts have come to fail.
    pub(super) fn failing(
        &mut self,
        made: &Made,
        failures: u32,
        since_ms: Option<i64>,
    ) -> Result<()> {
        let say = |webhook: &Webhook| {
            json!({
                "webhook": named(webhook),
                "failures": failures,
                "failingSince": since_ms.map(rfc3339),
                "lastAttempt": last_attempt(made),
            })
        };
        self.tell(made, FAILING, say)
    }

    /// A webhook was disabled, and `held` of its deliveries are held.
    pub(super) fn disabled(&mut self, made: &Made, reason: &str, held: usize) -> Result<()> {
        let say = |webhook: &Webhook| {
            json!({
                "webhook": named(webhook),
                "reason": reason,
                "held": held,
                "lastAttempt": last_attempt(made),
            })
        };
        self.tell(made, DISABLED, say)
    }

    /// A delivery's schedule is used up.
    pub(super) fn exhausted(&mut self, made: &Made) -> Result<()> {
        if self.listeners(made, EXHAUSTED).is_none() {
            return Ok(());
        }
        let Some(subject) = deliveries::subject(self.connection, made.attempt.delivery)? else {
            return Ok(());
        };
        if subject.event_type.starts_with(SYSTEM) {
            return Ok(());
        }
        let say = |webhook: &Webhook| {
            let mut data = json!({
                "webhook": named(webhook),
                "delivery": {"id": made.attempt.delivery.to_string(), "type": subject.event_type},
                "lastAttempt": last_attempt(made),
            });
            if let (Some(event), Some(members)) = (subject.event, data.as_object_mut()) {
                members.insert("event".to_owned(), json!({"id": event.to_string()}));
            }
            data
        };
        self.tell(made, EXHAUSTED, say)
    }

    /// The webhook that it is about, if another one wants to hear of it.
    fn listeners(&self, made: &Made, event_type: &str) -> Option<Arc<Webhook>> {
        let about = self.catalog.webhook(made.webhook)?;
        let others = self.catalog.webhooks_of(about.workspace).iter();
        let mut others = others.filter(|webhook| webhook.id != about.id);
        others
            .any(|webhook| webhook.wants(event_type))
            .then(|| Arc::clone(about))
    }

    fn tell(
        &mut self,
        made: &Made,
        event_type: &'static str,
        say: impl FnOnce(&Webhook) -> Value,
    ) -> Result<()> {
        let Some(about) = self.listeners(made, event_type) else {
            return Ok(());
        };
        let notice = Notice {
            event_type,
            at_ms: made.ended_at_ms,
            data: say(&about),
        };
        let fresh =
            owe::announce_to_others(self.connection, self.catalog, self.ids, &about, &notice)?;
        self.fresh.extend(fresh);
        Ok(())
    }
}

/// Which webhook it is, and whose host it sends to. The rest of its URL is often a secret, and whoever has asked
/// for `*` hears of this.
fn named(webhook: &Webhook) -> Value {
    let host = webhook.settings.url.origin().ascii_serialization();
    json!({"id": webhook.id.to_string(), "name": &*webhook.settings.name, "url": host})
}

/// What came of an attempt: its status where there was an answer, and why it failed.
fn last_attempt(made: &Made) -> Value {
    let attempt = &made.attempt;
    let mut data = json!({"id": attempt.id.to_string(), "at": rfc3339(attempt.started_at_ms)});
    if let Some(members) = data.as_object_mut() {
        if let Some(response) = &attempt.response {
            members.insert("status".to_owned(), response.status.into());
        }
        if let Some((class, detail)) = &attempt.error {
            members.insert("error".to_owned(), class.as_str().into());
            members.insert("detail".to_owned(), detail.as_str().into());
        }
    }
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_says_for_how_long_in_whole_hours() {
        let five_days_ms = 5 * 86_400_000;
        let reason = |ms| Disabled::FailedSince { since_ms: 0 }.reason(ms);
        assert!(
            reason(five_days_ms + 61_000)
                .starts_with("Every attempt has failed for 5days, since 1970-")
        );
        assert!(reason(2_500).starts_with("Every attempt has failed for 2s, since"));
        assert!(Disabled::Gone.reason(0).contains("410 Gone"));
    }
}
