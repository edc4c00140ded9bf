//! Subscriptions and payments, and what follows from them: which stage a customer has reached and which
//! bucket a customer is in (wire.md, "Stripe"). Owns how events that come in any order, and more than
//! once, lead to one state. Pure: what a provider's event says is read in `stripe.rs`, and what is
//! known so far is the store's to keep.

pub mod stripe;

use crate::funnel::Stage;
use crate::id::EventId;

/// What an event of the payment provider changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BillingChange {
    /// A subscription stands like this now.
    Subscription(SaidSubscription),
    /// An invoice was paid.
    Payment(Invoice),
    /// An invoice could not be paid.
    PaymentFailed(Invoice),
    /// The provider has no such customer any more.
    CustomerDeleted {
        /// When, Unix milliseconds.
        at_ms: i64,
    },
}

/// An invoice that was, or should have been, paid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invoice {
    /// The provider's id: it is paid once, however many events say so.
    pub id: String,
    /// The subscription that it is for; `None` for a single sale.
    pub subscription_id: Option<String>,
    /// In the currency's minor unit: what was paid, or what was due.
    pub amount: i64,
    /// ISO 4217, lower case, as the provider writes it.
    pub currency: String,
    /// When, Unix milliseconds.
    pub at_ms: i64,
}

/// Where a subscription stands, in the provider's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// The first payment is not made yet.
    Incomplete,
    /// The first payment was not made in time; final.
    IncompleteExpired,
    /// In its trial.
    Trialing,
    /// Paid for.
    Active,
    /// A payment is late, and is tried again.
    PastDue,
    /// Ended; final.
    Canceled,
    /// Payments failed for good; nothing is collected any more.
    Unpaid,
    /// The trial ended without a way to pay.
    Paused,
}

impl Status {
    const ALL: [Self; 8] = [
        Self::Incomplete,
        Self::IncompleteExpired,
        Self::Trialing,
        Self::Active,
        Self::PastDue,
        Self::Canceled,
        Self::Unpaid,
        Self::Paused,
    ];

    /// The word in the file, on pages and in the provider's events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Incomplete => "incomplete",
            Self::IncompleteExpired => "incomplete_expired",
            Self::Trialing => "trialing",
            Self::Active => "active",
            Self::PastDue => "past_due",
            Self::Canceled => "canceled",
            Self::Unpaid => "unpaid",
            Self::Paused => "paused",
        }
    }

    /// The status of that name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }

    /// The stage that somebody with such a subscription has reached. It says nothing where the stage stays
    /// what it was: who leaves goes no step back, and a trial that was cancelled makes nobody a customer.
    pub fn stage(self) -> Option<Stage> {
        match self {
            Self::Trialing => Some(Stage::Trial),
            Self::Active => Some(Stage::Customer),
            Self::PastDue
            | Self::Canceled
            | Self::Unpaid
            | Self::Incomplete
            | Self::IncompleteExpired
            | Self::Paused => None,
        }
    }
}

/// What sort of customer somebody is. With several subscriptions the greatest counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bucket {
    /// Has left.
    Churned,
    /// Has stayed.
    Retained,
    /// Has more seats, or pays more, than at first.
    Upgraded,
}

impl Bucket {
    /// The word in the file and on pages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Churned => "churned",
            Self::Retained => "retained",
            Self::Upgraded => "upgraded",
        }
    }

    /// The bucket of that name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Churned, Self::Retained, Self::Upgraded]
            .into_iter()
            .find(|bucket| bucket.as_str() == text)
    }
}

/// What follows from a change, for the profile that it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Consequence {
    /// The stage that has been reached; a funnel never goes back to it from a later one.
    pub stage: Option<Stage>,
    /// The bucket that the customer is in now; `None` before anything was paid for.
    pub bucket: Option<Bucket>,
}

/// How long a period lasts, times [`Price::interval_count`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interval {
    /// A day.
    Day,
    /// A week.
    Week,
    /// A month.
    Month,
    /// A year.
    Year,
}

impl Interval {
    /// The word in the file, on pages and in the provider's events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Year => "year",
        }
    }

    /// The interval of that name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Day, Self::Week, Self::Month, Self::Year]
            .into_iter()
            .find(|interval| interval.as_str() == text)
    }

    fn per_year(self) -> i128 {
        match self {
            Self::Day => 365,
            Self::Week => 52,
            Self::Month => 12,
            Self::Year => 1,
        }
    }
}

/// What a subscription costs a period, all its items together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Price {
    /// In the currency's minor unit.
    pub amount: i64,
    /// ISO 4217, lower case, as the provider writes it.
    pub currency: String,
    /// A period is so many of these.
    pub interval: Interval,
    /// At least 1.
    pub interval_count: i64,
}

impl Price {
    /// Whether it is more money a year, in the same currency.
    fn exceeds(&self, other: &Self) -> bool {
        let a_year = |price: &Self, other: &Self| {
            i128::from(price.amount)
                * price.interval.per_year()
                * i128::from(other.interval_count.max(1))
        };
        self.currency == other.currency && a_year(self, other) > a_year(other, self)
    }
}

/// How much of it somebody has, and for how much.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Terms {
    /// All items' quantities together; `None` where usage is metered.
    pub quantity: Option<i64>,
    /// `None` where the price depends on usage.
    pub price: Option<Price>,
}

impl Terms {
    fn exceed(&self, other: &Self) -> bool {
        let more_seats = self
            .quantity
            .zip(other.quantity)
            .is_some_and(|(a, b)| a > b);
        let both = self.price.as_ref().zip(other.price.as_ref());
        more_seats || both.is_some_and(|(a, b)| a.exceeds(b))
    }
}

/// What is subscribed to: the first of the subscription's items.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// The provider's id of the price.
    pub price_id: Option<String>,
    /// The provider's id of the product.
    pub product_id: Option<String>,
    /// What the seller calls the price.
    pub nickname: Option<String>,
}

/// A subscription as an event says that it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// The provider's id.
    pub id: String,
    /// The provider's id of the customer.
    pub customer_id: Option<String>,
    /// Where it stands.
    pub status: Status,
    /// What is subscribed to.
    pub plan: Plan,
    /// How much, and for how much.
    pub terms: Terms,
    /// What is paid for ends then, Unix milliseconds; of several items, the soonest.
    pub current_period_end_ms: Option<i64>,
    /// The trial ends, or ended, then, Unix milliseconds.
    pub trial_end_ms: Option<i64>,
    /// Whether it ends with the period.
    pub cancel_at_period_end: bool,
    /// When it was cancelled, or told to end, Unix milliseconds.
    pub canceled_at_ms: Option<i64>,
    /// When it began, Unix milliseconds.
    pub created_at_ms: Option<i64>,
}

/// What an event says of a subscription, and when it was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SaidSubscription {
    /// How it stands.
    pub subscription: Subscription,
    /// When the provider said so, Unix milliseconds; the provider counts seconds.
    pub at_ms: i64,
    /// Which part of the subscription's life the event is of.
    pub phase: Phase,
}

/// The part of a subscription's life that an event is of. Several events of one second are common (a
/// subscription is made and paid for) and come in any order, so this tells what the time does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It was made.
    Created,
    /// It was changed.
    Changed,
    /// It was ended.
    Ended,
}

impl Phase {
    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Changed => "changed",
            Self::Ended => "ended",
        }
    }

    /// The phase of that name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Created, Self::Changed, Self::Ended]
            .into_iter()
            .find(|phase| phase.as_str() == text)
    }
}

/// Which of two things that were said is the later one: by the provider's clock, then by the phase, then
/// by the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp {
    /// When it was said, Unix milliseconds.
    pub at_ms: i64,
    /// Which part of the subscription's life it is of.
    pub phase: Phase,
    /// The event in the log.
    pub event: EventId,
}

/// What is kept of a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionState {
    /// As it was last said to stand.
    pub subscription: Subscription,
    /// When that was said.
    pub stamp: Stamp,
    /// The oldest terms that are known.
    pub first_terms: Terms,
    /// When those were said.
    pub first_stamp: Stamp,
}

impl SubscriptionState {
    /// The bucket of a customer who has this subscription only. It is worked out from the first and the
    /// last that is known, and so does not depend on the order in which the two came.
    pub fn bucket(&self) -> Option<Bucket> {
        match self.subscription.status {
            Status::Canceled | Status::Unpaid | Status::IncompleteExpired => Some(Bucket::Churned),
            Status::Active | Status::PastDue => {
                let is_upgraded = self.subscription.terms.exceed(&self.first_terms);
                Some(if is_upgraded {
                    Bucket::Upgraded
                } else {
                    Bucket::Retained
                })
            }
            Status::Trialing | Status::Incomplete | Status::Paused => None,
        }
    }
}

/// The bucket of a customer with these subscriptions.
pub fn bucket<'a>(states: impl IntoIterator<Item = &'a SubscriptionState>) -> Option<Bucket> {
    let buckets = states.into_iter().filter_map(SubscriptionState::bucket);
    buckets.max()
}

/// What is to be kept of a subscription after `event` has said something of it; `None` when that
/// changes nothing: because it is older than what is known, or was taken into account before.
pub fn apply(
    before: Option<&SubscriptionState>,
    said: &SaidSubscription,
    event: EventId,
) -> Option<SubscriptionState> {
    let stamp = Stamp {
        at_ms: said.at_ms,
        phase: said.phase,
        event,
    };
    let alone = || SubscriptionState {
        subscription: said.subscription.clone(),
        stamp,
        first_terms: said.subscription.terms.clone(),
        first_stamp: stamp,
    };
    let Some(before) = before else {
        return Some(alone());
    };
    if stamp > before.stamp {
        Some(SubscriptionState {
            first_terms: before.first_terms.clone(),
            first_stamp: before.first_stamp,
            ..alone()
        })
    } else if stamp < before.first_stamp {
        Some(SubscriptionState {
            subscription: before.subscription.clone(),
            stamp: before.stamp,
            ..alone()
        })
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MONTHLY: i64 = 1;

    fn price(amount: i64, interval: Interval, interval_count: i64) -> Price {
        Price {
            amount,
            currency: "eur".to_owned(),
            interval,
            interval_count,
        }
    }

    fn terms(quantity: i64, amount: i64) -> Terms {
        Terms {
            quantity: Some(quantity),
            price: Some(price(amount, Interval::Month, MONTHLY)),
        }
    }

    fn said(at_ms: i64, phase: Phase, status: Status, terms: Terms) -> SaidSubscription {
        SaidSubscription {
            subscription: Subscription {
                id: "sub_1".to_owned(),
                customer_id: Some("cus_1".to_owned()),
                status,
                plan: Plan::default(),
                terms,
                current_period_end_ms: Some(at_ms),
                trial_end_ms: None,
                cancel_at_period_end: false,
                canceled_at_ms: None,
                created_at_ms: Some(0),
            },
            at_ms,
            phase,
        }
    }

    /// Applies what was said in the order given; the n-th is the n-th event of the log.
    fn all<'a>(
        events: impl IntoIterator<Item = (usize, &'a SaidSubscription)>,
    ) -> SubscriptionState {
        let mut state = None;
        for (event, said) in events {
            let event = EventId::from_i64(i64::try_from(event).unwrap());
            state = apply(state.as_ref(), said, event).or(state);
        }
        state.unwrap()
    }

    fn bucket_after(events: &[SaidSubscription]) -> Option<Bucket> {
        all(events.iter().enumerate()).bucket()
    }

    #[test]
    fn an_older_state_does_not_come_back() {
        let active = said(2_000, Phase::Changed, Status::Active, terms(1, 900));
        let trial = said(1_000, Phase::Created, Status::Trialing, terms(1, 900));
        let state = all([(0, &active), (1, &trial)]);
        assert_eq!(state.subscription.status, Status::Active);
        assert_eq!(state.stamp.at_ms, 2_000);
        assert_eq!(state.first_stamp.at_ms, 1_000);
        assert_eq!(apply(Some(&state), &trial, EventId::from_i64(1)), None);
    }

    #[test]
    fn in_one_second_the_phase_decides_and_then_the_log() {
        let made = said(1_000, Phase::Created, Status::Incomplete, terms(1, 900));
        let paid = said(1_000, Phase::Changed, Status::Active, terms(1, 900));
        let late = said(1_000, Phase::Changed, Status::PastDue, terms(1, 900));
        let ended = said(1_000, Phase::Ended, Status::Canceled, terms(1, 900));
        let last = |order: &[&SaidSubscription]| {
            all(order.iter().copied().enumerate()).subscription.status
        };
        assert_eq!(last(&[&paid, &made]), Status::Active);
        assert_eq!(last(&[&made, &paid]), Status::Active);
        assert_eq!(last(&[&ended, &paid, &made]), Status::Canceled);
        assert_eq!(last(&[&paid, &late]), Status::PastDue);
        assert_eq!(last(&[&late, &paid]), Status::Active);
    }

    #[test]
    fn each_status_has_its_stage_and_bucket() {
        use Status::{
            Active, Canceled, Incomplete, IncompleteExpired, PastDue, Paused, Trialing, Unpaid,
        };
        for (status, stage, bucket) in [
            (Trialing, Some(Stage::Trial), None),
            (Active, Some(Stage::Customer), Some(Bucket::Retained)),
            (PastDue, None, Some(Bucket::Retained)),
            (Canceled, None, Some(Bucket::Churned)),
            (Unpaid, None, Some(Bucket::Churned)),
            (IncompleteExpired, None, Some(Bucket::Churned)),
            (Incomplete, None, None),
            (Paused, None, None),
        ] {
            let event = said(1, Phase::Changed, status, terms(1, 900));
            assert_eq!(status.stage(), stage, "{status:?}");
            assert_eq!(bucket_after(&[event]), bucket, "{status:?}");
            assert_eq!(Status::parse(status.as_str()), Some(status));
        }
        assert_eq!(Status::parse("Active"), None);
    }

    #[test]
    fn more_seats_or_more_money_a_year_is_an_upgrade() {
        let active = |at_ms, terms| said(at_ms, Phase::Changed, Status::Active, terms);
        let after = |then: Terms, now: Terms| bucket_after(&[active(1, then), active(2, now)]);
        let retained = Some(Bucket::Retained);
        let upgraded = Some(Bucket::Upgraded);
        let costs = |amount, interval, count| Terms {
            quantity: Some(1),
            price: Some(price(amount, interval, count)),
        };
        assert_eq!(after(terms(1, 900), terms(1, 900)), retained);
        assert_eq!(after(terms(1, 900), terms(2, 900)), upgraded);
        assert_eq!(after(terms(1, 900), terms(1, 901)), upgraded);
        assert_eq!(after(terms(2, 900), terms(1, 800)), retained);
        // A year for the price of ten months is no upgrade, for thirteen it is.
        let monthly = || costs(900, Interval::Month, 1);
        assert_eq!(after(monthly(), costs(9_000, Interval::Year, 1)), retained);
        assert_eq!(after(monthly(), costs(11_700, Interval::Year, 1)), upgraded);
        assert_eq!(after(monthly(), costs(2_700, Interval::Month, 3)), retained);
        // What cannot be compared is no upgrade.
        let mut dollars = terms(1, 5_000);
        dollars.price.as_mut().unwrap().currency = "usd".to_owned();
        assert_eq!(after(terms(1, 900), dollars), retained);
        assert_eq!(after(Terms::default(), terms(5, 900)), retained);
        assert_eq!(after(terms(5, 900), Terms::default()), retained);
    }

    #[test]
    fn the_best_subscription_makes_the_bucket() {
        let one = |status| {
            let event = said(1, Phase::Changed, status, terms(1, 900));
            all([(0, &event)])
        };
        let (left, stays, tries) = (
            one(Status::Canceled),
            one(Status::Active),
            one(Status::Trialing),
        );
        assert_eq!(bucket([&left, &stays, &tries]), Some(Bucket::Retained));
        assert_eq!(bucket([&left, &tries]), Some(Bucket::Churned));
        assert_eq!(bucket([&tries]), None);
        assert_eq!(bucket([]), None);
        for bucket in [Bucket::Churned, Bucket::Retained, Bucket::Upgraded] {
            assert_eq!(Bucket::parse(bucket.as_str()), Some(bucket));
        }
    }

    fn any_said() -> impl Strategy<Value = SaidSubscription> {
        let phase = prop_oneof![
            Just(Phase::Created),
            Just(Phase::Changed),
            Just(Phase::Ended)
        ];
        let parts = (0..4i64, phase, 0..Status::ALL.len(), 1..4i64, 1..4i64);
        parts.prop_map(|(second, phase, status, quantity, amount)| {
            let status = Status::ALL[status];
            said(second * 1_000, phase, status, terms(quantity, amount))
        })
    }

    proptest! {
        /// Events in any order, some of them several times, lead where the log's order leads.
        #[test]
        fn order_and_duplicates_change_nothing(
            (events, order) in proptest::collection::vec(any_said(), 1..8).prop_flat_map(|events| {
                let again = proptest::collection::vec(0..events.len(), 0..8);
                let once: Vec<_> = (0..events.len()).collect();
                let order = again.prop_map(move |again| [once.clone(), again].concat()).prop_shuffle();
                (Just(events), order)
            }),
        ) {
            let shuffled = all(order.iter().map(|at| (*at, &events[*at])));
            let in_order = all(events.iter().enumerate());
            prop_assert_eq!(&shuffled, &in_order);
            // And that is what was said last, beside the terms that were said first.
            let stamp = |at: usize| (events[at].at_ms, events[at].phase, at);
            let last = (0..events.len()).max_by_key(|at| stamp(*at)).unwrap();
            let first = (0..events.len()).min_by_key(|at| stamp(*at)).unwrap();
            prop_assert_eq!(&shuffled.subscription, &events[last].subscription);
            prop_assert_eq!(&shuffled.first_terms, &events[first].subscription.terms);
        }

        /// Where the provider's times differ, the order of arrival, and so the log's, does not count.
        #[test]
        fn the_log_decides_nothing_that_the_provider_has_decided(
            (events, order) in proptest::collection::vec(any_said(), 1..8).prop_flat_map(|mut events| {
                for (second, event) in (1i64..).zip(&mut events) {
                    event.at_ms = second * 1_000;
                }
                let order: Vec<_> = (0..events.len()).collect();
                (Just(events), Just(order).prop_shuffle())
            }),
        ) {
            let arrived = order.iter().map(|at| &events[*at]).enumerate();
            let shuffled = all(arrived);
            let in_order = all(events.iter().enumerate());
            prop_assert_eq!(&shuffled.subscription, &in_order.subscription);
            prop_assert_eq!(shuffled.bucket(), in_order.bucket());
        }
    }
}
