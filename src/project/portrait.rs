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
pub(super) fn change(before: Option<&str>, after: Option<&str>) -> Value {
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
    let (mut traits, mut bytes, mut is_cut) = (Map::new(), 0, false);
    for row in profiles::traits(connection, profile)? {
        bytes += row.name.len() + row.value.len();
        if bytes > SHOWN_TRAIT_BYTES {
            is_cut = true;
            break;
        }
        traits.insert(row.name, value(&row.value));
    }
    let mut shown = json!({
        "id": profile.to_string(),
        "kind": kind.as_str(),
        "identifiers": identifiers,
        "traits": traits,
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
