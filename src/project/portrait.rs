//! How messages show a profile, and what changed of it. Reads what is there and changes nothing.

use crate::error::Result;
use crate::id::{ProfileId, WorkspaceId};
use crate::identity::ProfileKind;
use crate::store::billing::Standing;
use crate::store::profiles;
use crate::time::rfc3339;
use rusqlite::Connection;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Bytes of traits that one message shows; a profile may have gathered any number of them.
const SHOWN_TRAIT_BYTES: usize = 64 * 1_024;
/// Traits that one message shows.
const SHOWN_TRAITS: usize = 500;

/// Traits by name, as many as one message shows.
#[derive(Default)]
pub(super) struct ShownTraits {
    values: Map<String, Value>,
    bytes: usize,
    /// Whether there were more.
    pub(super) is_cut: bool,
}

impl ShownTraits {
    /// Adds one that is written in so many bytes; from the first that finds no room on, none.
    pub(super) fn add(&mut self, name: String, bytes: usize, value: impl FnOnce() -> Value) {
        self.bytes += name.len() + bytes;
        self.is_cut |= self.bytes > SHOWN_TRAIT_BYTES || self.values.len() >= SHOWN_TRAITS;
        if !self.is_cut {
            self.values.insert(name, value());
        }
    }

    /// Whether there was none.
    pub(super) fn is_empty(&self) -> bool {
        self.values.is_empty() && !self.is_cut
    }

    pub(super) fn into_values(self) -> Map<String, Value> {
        self.values
    }
}

/// `null` for a subscription that was not known.
pub(super) fn standing(standing: &Standing) -> Value {
    let Some(subscription) = &standing.subscription else {
        return Value::Null;
    };
    let time = |at_ms: Option<i64>| at_ms.map(rfc3339);
    let price = subscription.terms.price.as_ref().map(|price| {
        json!({
            "amount": price.amount,
            "currency": price.currency,
            "interval": price.interval.as_str(),
            "intervalCount": price.interval_count,
        })
    });
    let plan = &subscription.plan;
    json!({
        "status": subscription.status.as_str(),
        "plan": {"priceId": plan.price_id, "productId": plan.product_id, "nickname": plan.nickname},
        "quantity": subscription.terms.quantity,
        "price": price,
        "cancelAtPeriodEnd": subscription.cancel_at_period_end,
        "currentPeriodEnd": time(subscription.current_period_end_ms),
        "trialEnd": time(subscription.trial_end_ms),
        "canceledAt": time(subscription.canceled_at_ms),
    })
}

/// A trait's value before and after; absent where there was none.
pub(super) fn change([before, after]: [Option<&str>; 2]) -> Value {
    let sides = [("before", before), ("after", after)].into_iter();
    let sides = sides.filter_map(|(side, text)| Some((side.to_owned(), value(text?))));
    Value::Object(sides.collect())
}

/// A trait's value. Its text was checked when it came.
fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}

/// A profile as it is now.
pub(super) fn of(
    connection: &Connection,
    workspace: WorkspaceId,
    profile: ProfileId,
    kind: ProfileKind,
) -> Result<Value> {
    let mut identifiers: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in profiles::identifiers(connection, workspace, profile)? {
        let of_kind = identifiers.entry(word(&row.kind).to_owned());
        of_kind.or_default().push(row.value);
    }
    let mut traits = ShownTraits::default();
    for row in profiles::traits(connection, profile)? {
        traits.add(row.name, row.value.len(), || value(&row.value));
    }
    let is_cut = traits.is_cut;
    let mut shown = json!({
        "id": profile.to_string(),
        "kind": kind.as_str(),
        "identifiers": identifiers,
        "traits": traits.into_values(),
    });
    if is_cut {
        shown["hasMoreTraits"] = json!(true);
    }
    Ok(shown)
}

/// A kind of identifier as messages write it.
pub(super) fn word(kind: &str) -> &str {
    match kind {
        "customer_id" => "customerId",
        "user_id" => "userId",
        "visitor_id" => "visitorId",
        "group_id" => "groupId",
        other => other,
    }
}
