//! What Stripe's objects say of subscriptions and payments, in both shapes of its API: before and since
//! version 2025-03-31, which moved periods to the items and an invoice's subscription under its
//! parent. Reads stored events; what it cannot understand changes nothing. Knows no signatures.

use super::{
    BillingChange, Interval, Invoice, Phase, Plan, Price, SaidSubscription, Status, Subscription,
    Terms,
};
use crate::event::Verification;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

/// What stands before Stripe's own type in an event's name. Without it `customer.created` would be in a
/// family that only the box itself sends.
pub const PREFIX: &str = "stripe.";
/// More than this, either way, is no amount that anybody pays.
const MAX_AMOUNT: i64 = 1_000_000_000_000_000;
/// The first second that is no time.
const END_OF_9999_S: i64 = 253_402_300_800;
/// Longer text is no id or name that anything is found by.
const MAX_TEXT_BYTES: usize = 255;
/// An event holds the first ten of a list's items; a subscription has twenty at most.
const MAX_ITEMS: usize = 20;
/// The members that are read below, wherever they stand, and what says what an object is.
const ESSENTIALS: [&str; 29] = [
    "amount",
    "amount_due",
    "amount_paid",
    "cancel_at_period_end",
    "canceled_at",
    "created",
    "currency",
    "current_period_end",
    "customer",
    "data",
    "id",
    "interval",
    "interval_count",
    "items",
    "nickname",
    "object",
    "parent",
    "plan",
    "price",
    "product",
    "quantity",
    "recurring",
    "status",
    "subscription",
    "subscription_details",
    "trial_end",
    "truncated",
    "type",
    "unit_amount",
];

/// What a stored event changes, if it is one that Stripe signed and that changes anything: its name, its
/// properties (the object as Stripe sent it) and when Stripe made it.
pub fn change(
    verification: Verification,
    name: &str,
    properties: &str,
    occurred_at_ms: i64,
) -> Option<BillingChange> {
    // Anybody with a key may send an event of this name; nobody else can sign it.
    if verification != Verification::Billing {
        return None;
    }
    let what = name.strip_prefix(PREFIX)?;
    if let Some(step) = what.strip_prefix("customer.subscription.") {
        let phase = match step {
            "created" => Phase::Created,
            "deleted" => Phase::Ended,
            _ => Phase::Changed,
        };
        return Some(BillingChange::Subscription(SaidSubscription {
            subscription: subscription(properties)?,
            at_ms: occurred_at_ms,
            phase,
        }));
    }
    match what {
        // Stripe also sends `invoice.payment_succeeded`, but not where an invoice was paid outside of
        // Stripe; this one comes for every paid invoice.
        "invoice.paid" => {
            let wire: WireInvoice<'_> = serde_json::from_str(properties).ok()?;
            let amount = wire.amount_paid;
            let invoice = invoice(&wire, amount, occurred_at_ms)?;
            // One for nothing, as a trial begins with, is paid too.
            (invoice.amount > 0).then_some(BillingChange::Payment(invoice))
        }
        "invoice.payment_failed" => {
            let wire: WireInvoice<'_> = serde_json::from_str(properties).ok()?;
            let amount = wire.amount_due;
            invoice(&wire, amount, occurred_at_ms).map(BillingChange::PaymentFailed)
        }
        "customer.deleted" => Some(BillingChange::CustomerDeleted {
            at_ms: occurred_at_ms,
        }),
        _ => None,
    }
}

/// What [`change`] reads of an object, as an object that says that it is not whole: for one that is too
/// large to be kept.
pub fn essentials(object: &str) -> String {
    let mut kept = serde_json::from_str(object).map_or(Value::Null, pruned);
    if !kept.is_object() {
        kept = Value::Object(serde_json::Map::new());
    }
    kept["truncated"] = Value::Bool(true);
    kept.to_string()
}

fn pruned(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let kept = members
                .into_iter()
                .filter(|(name, _)| ESSENTIALS.contains(&name.as_str()));
            Value::Object(kept.map(|(name, value)| (name, pruned(value))).collect())
        }
        Value::Array(items) => items.into_iter().take(MAX_ITEMS).map(pruned).collect(),
        Value::String(text) if text.len() > MAX_TEXT_BYTES => Value::Null,
        scalar => scalar,
    }
}

// OBJECTS -----------------------------------------------------------------------------------
// Members are read as raw JSON, so that one of another type than expected is not there, and the rest is.

#[derive(Deserialize)]
struct WireSubscription<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    customer: Option<&'a RawValue>,
    status: Option<&'a RawValue>,
    currency: Option<&'a RawValue>,
    items: Option<&'a RawValue>,
    current_period_end: Option<&'a RawValue>,
    trial_end: Option<&'a RawValue>,
    cancel_at_period_end: Option<&'a RawValue>,
    canceled_at: Option<&'a RawValue>,
    created: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct WireList<'a> {
    #[serde(borrow)]
    data: Vec<WireItem<'a>>,
}

#[derive(Deserialize)]
struct WireItem<'a> {
    #[serde(borrow)]
    price: Option<&'a RawValue>,
    plan: Option<&'a RawValue>,
    quantity: Option<&'a RawValue>,
    current_period_end: Option<&'a RawValue>,
}

/// A price, or a plan: what prices were before, and what items still hold beside them.
#[derive(Deserialize, Clone, Copy)]
struct WirePrice<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    nickname: Option<&'a RawValue>,
    product: Option<&'a RawValue>,
    currency: Option<&'a RawValue>,
    unit_amount: Option<&'a RawValue>,
    amount: Option<&'a RawValue>,
    recurring: Option<&'a RawValue>,
    interval: Option<&'a RawValue>,
    interval_count: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct WireRecurring<'a> {
    #[serde(borrow)]
    interval: Option<&'a RawValue>,
    interval_count: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct WireInvoice<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    currency: Option<&'a RawValue>,
    amount_paid: Option<&'a RawValue>,
    amount_due: Option<&'a RawValue>,
    subscription: Option<&'a RawValue>,
    parent: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct WireParent<'a> {
    #[serde(borrow)]
    subscription_details: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct WireSubscriptionDetails<'a> {
    #[serde(borrow)]
    subscription: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct WireExpanded<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
}

// MEMBERS -----------------------------------------------------------------------------------

fn value<T: DeserializeOwned>(raw: Option<&RawValue>) -> Option<T> {
    serde_json::from_str(raw?.get()).ok()
}

fn object<'a, T: Deserialize<'a>>(raw: Option<&'a RawValue>) -> Option<T> {
    serde_json::from_str(raw?.get()).ok()
}

fn text(raw: Option<&RawValue>) -> Option<String> {
    value(raw).filter(|text: &String| !text.is_empty() && text.len() <= MAX_TEXT_BYTES)
}

/// The id of another object: as such, or of the whole object where Stripe was asked to put it there.
pub fn reference(raw: Option<&RawValue>) -> Option<String> {
    text(raw).or_else(|| text(object::<WireExpanded<'_>>(raw)?.id))
}

fn amount(raw: Option<&RawValue>) -> Option<i64> {
    value(raw).filter(|amount| (-MAX_AMOUNT..=MAX_AMOUNT).contains(amount))
}

/// Stripe's seconds as milliseconds.
fn time_ms(raw: Option<&RawValue>) -> Option<i64> {
    let seconds: i64 = value(raw)?;
    (0..END_OF_9999_S)
        .contains(&seconds)
        .then(|| seconds.saturating_mul(1_000))
}

// MEANINGS ----------------------------------------------------------------------------------

fn invoice(wire: &WireInvoice<'_>, raw_amount: Option<&RawValue>, at_ms: i64) -> Option<Invoice> {
    let under_parent = || {
        let parent: WireParent<'_> = object(wire.parent)?;
        let details: WireSubscriptionDetails<'_> = object(parent.subscription_details)?;
        reference(details.subscription)
    };
    Some(Invoice {
        id: text(wire.id)?,
        subscription_id: reference(wire.subscription).or_else(under_parent),
        amount: amount(raw_amount)?,
        currency: text(wire.currency)?,
        at_ms,
    })
}

fn subscription(properties: &str) -> Option<Subscription> {
    let wire: WireSubscription<'_> = serde_json::from_str(properties).ok()?;
    let items = object(wire.items).map_or_else(Vec::new, |list: WireList<'_>| list.data);
    let first = items.first().and_then(price);
    let period_ends = items
        .iter()
        .filter_map(|item| time_ms(item.current_period_end));
    Some(Subscription {
        id: text(wire.id)?,
        customer_id: reference(wire.customer),
        status: Status::parse(&text(wire.status)?)?,
        plan: first.map_or_else(Plan::default, |price| Plan {
            price_id: text(price.id),
            product_id: reference(price.product),
            nickname: text(price.nickname),
        }),
        terms: terms(&items, wire.currency),
        current_period_end_ms: time_ms(wire.current_period_end).or_else(|| period_ends.min()),
        trial_end_ms: time_ms(wire.trial_end),
        cancel_at_period_end: value(wire.cancel_at_period_end).unwrap_or(false),
        canceled_at_ms: time_ms(wire.canceled_at),
        created_at_ms: time_ms(wire.created),
    })
}

fn price<'a>(item: &WireItem<'a>) -> Option<WirePrice<'a>> {
    object(item.price).or_else(|| object(item.plan))
}

/// All items together, where all of them can be counted, or have a price for the same period.
fn terms(items: &[WireItem<'_>], currency: Option<&RawValue>) -> Terms {
    let quantities = items
        .iter()
        .map(|item| value(item.quantity).filter(|quantity| *quantity >= 0));
    let quantity = quantities
        .reduce(|sum: Option<i64>, next| sum?.checked_add(next?))
        .flatten();
    let prices = items.iter().map(|item| item_price(item, currency));
    let price = prices
        .reduce(|sum, next| {
            let (sum, next) = (sum?, next?);
            let is_alike = (&sum.currency, sum.interval, sum.interval_count)
                == (&next.currency, next.interval, next.interval_count);
            let amount = sum.amount.checked_add(next.amount)?;
            is_alike.then_some(Price { amount, ..sum })
        })
        .flatten();
    Terms { quantity, price }
}

fn item_price(item: &WireItem<'_>, currency: Option<&RawValue>) -> Option<Price> {
    let wire = price(item)?;
    let recurring: Option<WireRecurring<'_>> = object(wire.recurring);
    let (interval, count) = recurring.map_or((wire.interval, wire.interval_count), |recurring| {
        (recurring.interval, recurring.interval_count)
    });
    let each = amount(wire.unit_amount).or_else(|| amount(wire.amount))?;
    let quantity: i64 = value(item.quantity)?;
    let total = each.checked_mul(quantity)?;
    Some(Price {
        amount: (-MAX_AMOUNT..=MAX_AMOUNT)
            .contains(&total)
            .then_some(total)?,
        currency: text(wire.currency).or_else(|| text(currency))?,
        interval: Interval::parse(&text(interval)?)?,
        interval_count: value(count).filter(|count| *count >= 1).unwrap_or(1),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const BEGAN_S: i64 = 1_767_225_600;
    const DAY_S: i64 = 86_400;

    /// The events of one customer's life, in both shapes.
    macro_rules! both_shapes {
        ($name:literal) => {
            [
                include_str!(concat!("../../tests/fixtures/stripe/", $name, ".2024.json")),
                include_str!(concat!("../../tests/fixtures/stripe/", $name, ".2025.json")),
            ]
        };
    }

    fn read(event: &Value, object: &str) -> Option<BillingChange> {
        let name = format!("{PREFIX}{}", event["type"].as_str().unwrap());
        let at_ms = event["created"].as_i64().unwrap() * 1_000;
        change(Verification::Billing, &name, object, at_ms)
    }

    /// What both shapes of an event say, whole and with nothing but the essentials.
    #[track_caller]
    fn said(shapes: [&str; 2]) -> Option<BillingChange> {
        let [old, new] = shapes.map(|text| {
            let event: Value = serde_json::from_str(text).unwrap();
            let object = event["data"]["object"].to_string();
            let whole = read(&event, &object);
            let kept = essentials(&object);
            assert!(kept.len() < object.len() && kept.contains(r#""truncated":true"#));
            assert_eq!(read(&event, &kept), whole, "{kept}");
            whole
        });
        assert_eq!(old, new);
        new
    }

    #[track_caller]
    fn subscription_said(shapes: [&str; 2]) -> SaidSubscription {
        match said(shapes) {
            Some(BillingChange::Subscription(said)) => said,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_subscription_is_read_in_both_shapes() {
        let trial_end_s = BEGAN_S + 60 + 14 * DAY_S;
        let made = subscription_said(both_shapes!("customer.subscription.created"));
        let month = |amount| Price {
            amount,
            currency: "eur".to_owned(),
            interval: Interval::Month,
            interval_count: 1,
        };
        let wanted = Subscription {
            id: "sub_1SkHarbourAnn0001".to_owned(),
            customer_id: Some("cus_TgHarbour01ann".to_owned()),
            status: Status::Trialing,
            plan: Plan {
                price_id: Some("price_1SkHarbourTeam01".to_owned()),
                product_id: Some("prod_TgHarbourTeam".to_owned()),
                nickname: Some("Team monthly".to_owned()),
            },
            terms: Terms {
                quantity: Some(1),
                price: Some(month(1_200)),
            },
            current_period_end_ms: Some(trial_end_s * 1_000),
            trial_end_ms: Some(trial_end_s * 1_000),
            cancel_at_period_end: false,
            canceled_at_ms: None,
            created_at_ms: Some((BEGAN_S + 60) * 1_000),
        };
        assert_eq!(made.subscription, wanted);
        assert_eq!(
            (made.at_ms, made.phase),
            ((BEGAN_S + 61) * 1_000, Phase::Created)
        );

        let changed = subscription_said(both_shapes!("customer.subscription.updated"));
        assert_eq!(changed.phase, Phase::Changed);
        let next_end_ms = (trial_end_s + 30 * DAY_S) * 1_000;
        let wanted = Subscription {
            status: Status::Active,
            terms: Terms {
                quantity: Some(3),
                price: Some(month(3_600)),
            },
            current_period_end_ms: Some(next_end_ms),
            ..wanted
        };
        assert_eq!(changed.subscription, wanted);

        let ended = subscription_said(both_shapes!("customer.subscription.deleted"));
        assert_eq!(ended.phase, Phase::Ended);
        assert_eq!(ended.subscription.status, Status::Canceled);
        assert_eq!(ended.subscription.canceled_at_ms, Some(ended.at_ms));
    }

    #[test]
    fn an_invoice_is_read_in_both_shapes() {
        let trial_end_s = BEGAN_S + 60 + 14 * DAY_S;
        let paid = Invoice {
            id: "in_1SkHarbourSecond2".to_owned(),
            subscription_id: Some("sub_1SkHarbourAnn0001".to_owned()),
            amount: 3_600,
            currency: "eur".to_owned(),
            at_ms: (trial_end_s + 3_602) * 1_000,
        };
        assert_eq!(
            said(both_shapes!("invoice.paid")),
            Some(BillingChange::Payment(paid.clone()))
        );
        let failed = Invoice {
            id: "in_1SkHarbourThird03".to_owned(),
            at_ms: (trial_end_s + 30 * DAY_S + 3_602) * 1_000,
            ..paid
        };
        assert_eq!(
            said(both_shapes!("invoice.payment_failed")),
            Some(BillingChange::PaymentFailed(failed))
        );
        // The same payment, told a second time.
        assert_eq!(said(both_shapes!("invoice.payment_succeeded")), None);
    }

    #[test]
    fn of_customers_only_their_end_is_read() {
        assert_eq!(said(both_shapes!("customer.created")), None);
        assert_eq!(said(both_shapes!("customer.updated")), None);
        assert_eq!(said(both_shapes!("checkout.session.completed")), None);
        assert!(matches!(
            said(both_shapes!("customer.deleted")),
            Some(BillingChange::CustomerDeleted { .. })
        ));
    }

    #[test]
    fn what_stripe_did_not_sign_changes_nothing() {
        let object = r#"{"id":"in_1","amount_paid":5,"currency":"eur"}"#;
        let paid = |verification, name| change(verification, name, object, 1);
        assert!(paid(Verification::Billing, "stripe.invoice.paid").is_some());
        assert_eq!(paid(Verification::Billing, "invoice.paid"), None);
        let nothing = object.replace('5', "0");
        let for_nothing = change(Verification::Billing, "stripe.invoice.paid", &nothing, 1);
        assert_eq!(for_nothing, None);
        for verification in [
            Verification::Server,
            Verification::Signed,
            Verification::Unverified,
            Verification::Session,
        ] {
            assert_eq!(paid(verification, "stripe.invoice.paid"), None);
        }
    }

    #[track_caller]
    fn read_subscription(object: &Value) -> Option<Subscription> {
        subscription(&object.to_string())
    }

    #[test]
    fn items_count_together_where_they_can() {
        let item = |amount: i64, quantity: i64, interval: &str, end: i64| {
            json!({"quantity": quantity, "current_period_end": end,
                "price": {"id": "p", "unit_amount": amount, "currency": "usd", "recurring": {"interval": interval, "interval_count": 1}}})
        };
        let with = |items: Vec<Value>| {
            let object = json!({"id": "sub_1", "status": "active", "items": {"data": items}});
            read_subscription(&object).unwrap()
        };
        let both = with(vec![item(500, 2, "month", 20), item(700, 1, "month", 10)]);
        assert_eq!(both.terms.quantity, Some(3));
        assert_eq!(both.terms.price.unwrap().amount, 1_700);
        assert_eq!(both.current_period_end_ms, Some(10_000));
        let mixed = with(vec![item(500, 2, "month", 20), item(700, 1, "year", 10)]);
        assert_eq!((mixed.terms.quantity, mixed.terms.price), (Some(3), None));
        let metered = json!({"price": {"id": "m", "unit_amount": 4, "currency": "usd", "recurring": {"interval": "month"}}});
        let with_usage = with(vec![item(500, 2, "month", 20), metered]);
        assert_eq!(with_usage.terms, Terms::default());
        assert_eq!(with(vec![]).terms, Terms::default());
    }

    #[test]
    fn objects_of_before_prices_and_expanded_ones_are_read() {
        let object = json!({"id": "sub_1", "status": "past_due", "customer": {"id": "cus_1", "email": "x"},
            "items": {"data": [{"quantity": 1, "plan":
                {"id": "gold", "amount": 4200, "currency": "usd", "interval": "month", "interval_count": 3, "product": {"id": "prod_1"}}}]}});
        let found = read_subscription(&object).unwrap();
        assert_eq!(found.customer_id.as_deref(), Some("cus_1"));
        assert_eq!(found.plan.price_id.as_deref(), Some("gold"));
        assert_eq!(found.plan.product_id.as_deref(), Some("prod_1"));
        let price = found.terms.price.unwrap();
        assert_eq!((price.amount, price.interval_count), (4_200, 3));
    }

    #[test]
    fn what_makes_no_sense_is_not_there_and_the_rest_is() {
        let object = json!({"id": "sub_1", "status": "active", "customer": 7, "items": "none", "trial_end": "soon",
            "canceled_at": -1, "created": i64::MAX, "cancel_at_period_end": "yes", "current_period_end": 1e300});
        let found = read_subscription(&object).unwrap();
        assert_eq!(found.customer_id, None);
        assert_eq!(found.terms, Terms::default());
        assert_eq!(
            (
                found.trial_end_ms,
                found.canceled_at_ms,
                found.created_at_ms
            ),
            (None, None, None)
        );
        for nothing in [
            json!({"status": "active"}),
            json!({"id": "", "status": "active"}),
            json!({"id": "sub_1"}),
            json!({"id": "sub_1", "status": "asleep"}),
            json!([]),
        ] {
            assert_eq!(read_subscription(&nothing), None, "{nothing}");
        }
        let huge = json!({"id": "in_1", "amount_paid": i64::MAX, "currency": "eur"}).to_string();
        let paid = change(Verification::Billing, "stripe.invoice.paid", &huge, 1);
        assert_eq!(paid, None);
    }

    #[test]
    fn essentials_are_small_whatever_the_object() {
        let items: Vec<_> = (0..500)
            .map(|n| json!({"id": format!("si_{n}"), "quantity": 1, "metadata": {"a": "x".repeat(500)}}))
            .collect();
        let object = json!({"id": "sub_1", "status": "active", "description": "x".repeat(60_000),
            "customer": "c".repeat(300), "items": {"data": items}});
        let kept = essentials(&object.to_string());
        assert!(kept.len() < 2_000, "{}", kept.len());
        assert!(subscription(&kept).is_some());
        assert_eq!(essentials("[]"), r#"{"truncated":true}"#);
    }
}
