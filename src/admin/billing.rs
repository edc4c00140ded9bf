//! What a profile's page shows of billing: subscriptions beside the events, and what was paid.

use super::view::When;
use crate::billing::{Bucket, Price, Status, Subscription, SubscriptionState};
use crate::store::billing::ProfileBilling;

/// Currencies whose amounts the provider gives in whole units.
const WITHOUT_CENTS: [&str; 15] = [
    "bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "vnd", "vuv", "xaf",
    "xof", "xpf",
];
/// Currencies with a thousand smallest units in a whole one.
const WITH_MILLS: [&str; 5] = ["bhd", "jod", "kwd", "omr", "tnd"];

/// A subscription.
pub(super) struct SubscriptionLine {
    /// The provider's id.
    pub(super) id: String,
    /// The plan, by the best name that is known.
    pub(super) plan: String,
    /// In the provider's word.
    pub(super) status: &'static str,
    /// Seats.
    pub(super) quantity: String,
    /// A period's price.
    pub(super) price: String,
    /// What comes next: the trial's end, the period's end, or the end.
    pub(super) next: Option<(&'static str, When)>,
}

/// A payment.
pub(super) struct PaymentLine {
    /// The invoice's id.
    pub(super) invoice: String,
    /// How much.
    pub(super) amount: String,
    /// When.
    pub(super) when: When,
}

/// All of it.
pub(super) struct Billing {
    /// Those that changed last first.
    pub(super) subscriptions: Vec<SubscriptionLine>,
    /// In all, by currency.
    pub(super) spent: Vec<String>,
    /// The newest.
    pub(super) payments: Vec<PaymentLine>,
    /// Which sort of customer.
    pub(super) bucket: Option<&'static str>,
    /// When an invoice could last not be paid.
    pub(super) failed: Option<When>,
    /// When the provider dropped the customer.
    pub(super) deleted: Option<When>,
}

impl Billing {
    /// As it is seen at `now_ms`; `None` when nothing is known.
    pub(super) fn of(billing: ProfileBilling, now_ms: i64) -> Option<Self> {
        if billing.is_empty() {
            return None;
        }
        let when = |at_ms| When::new(at_ms, now_ms);
        Some(Self {
            bucket: billing.bucket.map(|bucket| match bucket {
                Bucket::Churned => "Churned",
                Bucket::Retained => "Retained",
                Bucket::Upgraded => "Upgraded",
            }),
            failed: billing.payment_failed_at_ms.map(when),
            deleted: billing.customer_deleted_at_ms.map(when),
            spent: billing
                .spent
                .into_iter()
                .map(|(currency, amount)| money(amount, &currency))
                .collect(),
            subscriptions: billing
                .subscriptions
                .into_iter()
                .map(|state| line(state, now_ms))
                .collect(),
            payments: billing
                .payments
                .into_iter()
                .map(|payment| PaymentLine {
                    amount: money(payment.amount, &payment.currency),
                    invoice: payment.id,
                    when: when(payment.at_ms),
                })
                .collect(),
        })
    }
}

fn line(state: SubscriptionState, now_ms: i64) -> SubscriptionLine {
    let subscription = state.subscription;
    let next = next(&subscription, now_ms);
    let plan = subscription.plan;
    SubscriptionLine {
        plan: plan
            .nickname
            .or(plan.product_id)
            .or(plan.price_id)
            .unwrap_or_else(|| "unknown".to_owned()),
        status: subscription.status.as_str(),
        quantity: subscription
            .terms
            .quantity
            .map_or(String::new(), |quantity| quantity.to_string()),
        price: subscription
            .terms
            .price
            .as_ref()
            .map_or(String::new(), price),
        next: next.map(|(word, at_ms)| (word, When::new(at_ms, now_ms))),
        id: subscription.id,
    }
}

/// What comes next, by where the subscription stands.
fn next(subscription: &Subscription, now_ms: i64) -> Option<(&'static str, i64)> {
    let ended = subscription.canceled_at_ms;
    let period_end = subscription.current_period_end_ms;
    match subscription.status {
        Status::Canceled | Status::Unpaid | Status::IncompleteExpired => {
            ended.map(|at_ms| ("Cancelled", at_ms))
        }
        _ if subscription.cancel_at_period_end => period_end.map(|at_ms| ("Ends", at_ms)),
        Status::Trialing => subscription.trial_end_ms.map(|at_ms| ("Trial ends", at_ms)),
        // The provider has not said yet what came of a time that is past.
        _ => period_end.map(|at_ms| match at_ms > now_ms {
            true => ("Renews", at_ms),
            false => ("Was to renew", at_ms),
        }),
    }
}

fn price(price: &Price) -> String {
    let amount = money(price.amount, &price.currency);
    let interval = price.interval.as_str();
    match price.interval_count {
        1 => format!("{amount} a {interval}"),
        count => format!("{amount} every {count} {interval}s"),
    }
}

/// An amount in a currency's smallest unit as people write it.
fn money(amount: i64, currency: &str) -> String {
    let code = currency.to_uppercase();
    let sign = if amount < 0 { "-" } else { "" };
    let amount = amount.unsigned_abs();
    if WITHOUT_CENTS.contains(&currency) {
        format!("{sign}{amount} {code}")
    } else if WITH_MILLS.contains(&currency) {
        format!("{sign}{}.{:03} {code}", amount / 1_000, amount % 1_000)
    } else {
        format!("{sign}{}.{:02} {code}", amount / 100, amount % 100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_written_in_whole_units() {
        assert_eq!(money(4_900, "eur"), "49.00 EUR");
        assert_eq!(money(5, "usd"), "0.05 USD");
        assert_eq!(money(-1_250, "usd"), "-12.50 USD");
        assert_eq!(money(500, "jpy"), "500 JPY");
        assert_eq!(money(5_120, "kwd"), "5.120 KWD");
    }
}
