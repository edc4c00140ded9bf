//! Subscriptions and payments: written by the projector in the log's order, read by pages. Every write
//! may happen again for the same event and changes nothing then. What a change means is `billing`'s.

use super::{profiles, word};
use crate::billing::{
    self, BillingChange, Bucket, Consequence, Interval, Invoice, Phase, Plan, Price,
    SaidSubscription, Stamp, Status, Subscription, SubscriptionState, Terms,
};
use crate::error::Result;
use crate::id::{EventId, ProfileId, WorkspaceId};
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use std::collections::BTreeMap;

/// A profile's bucket is worked out from so many subscriptions, those that changed last.
const MAX_SUBSCRIPTIONS: i64 = 100;
/// A profile's totals are in at most so many currencies.
const MAX_CURRENCIES: i64 = 200;
/// What one profile has paid in one currency counts up to here: SQLite makes a sum that is too large a number
/// of another type, which the table refuses, and one event must not stop the projector.
const MAX_SPENT: i64 = 9_000_000_000_000_000_000;
/// A profile's page shows so many payments, the newest.
const SHOWN_PAYMENTS: usize = 10;

/// A subscription, and the profile that its row belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptSubscription {
    /// The profile that it was first written for.
    pub profile: ProfileId,
    /// What is known of it.
    pub state: SubscriptionState,
}

const COLUMNS: &str = "SELECT profile_id, subscription_id, customer_id, status, price_id, product_id, nickname,
        quantity, amount, currency, interval, interval_count, current_period_end_ms, trial_end_ms, cancel_at_period_end,
        canceled_at_ms, created_at_ms, said_at_ms, said_phase, said_event_id,
        first_quantity, first_amount, first_currency, first_interval, first_interval_count,
        first_said_at_ms, first_said_phase, first_said_event_id FROM subscription";

fn subscription_row(row: &Row<'_>) -> rusqlite::Result<KeptSubscription> {
    Ok(KeptSubscription {
        profile: row.get(0)?,
        state: SubscriptionState {
            subscription: Subscription {
                id: row.get(1)?,
                customer_id: row.get(2)?,
                status: word(row, 3, Status::parse)?,
                plan: Plan {
                    price_id: row.get(4)?,
                    product_id: row.get(5)?,
                    nickname: row.get(6)?,
                },
                terms: terms(row, 7)?,
                current_period_end_ms: row.get(12)?,
                trial_end_ms: row.get(13)?,
                cancel_at_period_end: row.get(14)?,
                canceled_at_ms: row.get(15)?,
                created_at_ms: row.get(16)?,
            },
            stamp: stamp(row, 17)?,
            first_terms: terms(row, 20)?,
            first_stamp: stamp(row, 25)?,
        },
    })
}

/// Quantity, amount, currency, interval and its count, from the column `at` on.
fn terms(row: &Row<'_>, at: usize) -> rusqlite::Result<Terms> {
    let amount: Option<i64> = row.get(at + 1)?;
    let price = |amount| {
        Ok::<_, rusqlite::Error>(Price {
            amount,
            currency: row.get(at + 2)?,
            interval: word(row, at + 3, Interval::parse)?,
            interval_count: row.get(at + 4)?,
        })
    };
    Ok(Terms {
        quantity: row.get(at)?,
        price: amount.map(price).transpose()?,
    })
}

/// Time, phase and event, from the column `at` on.
fn stamp(row: &Row<'_>, at: usize) -> rusqlite::Result<Stamp> {
    Ok(Stamp {
        at_ms: row.get(at)?,
        phase: word(row, at + 1, Phase::parse)?,
        event: row.get(at + 2)?,
    })
}

// WRITING -----------------------------------------------------------------------------------

/// Keeps what `event` changes for `profile`, and says what follows for the profile. For the projector,
/// inside its transaction; the same event again changes nothing and says the same.
///
/// # Errors
/// When the file refuses.
pub fn apply(
    connection: &Connection,
    workspace: WorkspaceId,
    profile: ProfileId,
    event: EventId,
    change: &BillingChange,
) -> Result<Consequence> {
    match change {
        BillingChange::Subscription(said) => {
            return apply_subscription(connection, workspace, profile, event, said);
        }
        BillingChange::Payment(invoice) => {
            add_payment(connection, workspace, profile, event, invoice)?;
        }
        BillingChange::PaymentFailed(invoice) => {
            note_failed_payment(connection, profile, invoice.at_ms)?;
        }
        BillingChange::CustomerDeleted { at_ms } => {
            note_deleted_customer(connection, profile, *at_ms)?;
        }
    }
    Ok(Consequence {
        stage: None,
        bucket: bucket(connection, profile)?,
    })
}

/// The stage is what this event says, also where a later one is known already: it has been reached.
fn apply_subscription(
    connection: &Connection,
    workspace: WorkspaceId,
    profile: ProfileId,
    event: EventId,
    said: &SaidSubscription,
) -> Result<Consequence> {
    let before = subscription(connection, workspace, &said.subscription.id)?;
    let profile = before.as_ref().map_or(profile, |kept| kept.profile);
    if let Some(state) = billing::apply(before.as_ref().map(|kept| &kept.state), said, event) {
        keep_subscription(connection, workspace, &KeptSubscription { profile, state })?;
        let kept = subscriptions(connection, profile)?;
        let bucket = billing::bucket(kept.iter().map(|kept| &kept.state));
        note_bucket(connection, profile, bucket)?;
    }
    Ok(Consequence {
        stage: said.subscription.status.stage(),
        bucket: bucket(connection, profile)?,
    })
}

/// Keeps what is known of a subscription, instead of what was known before.
///
/// # Errors
/// When the file refuses.
pub fn keep_subscription(
    connection: &Connection,
    workspace: WorkspaceId,
    kept: &KeptSubscription,
) -> Result<()> {
    let state = &kept.state;
    let subscription = &state.subscription;
    let (now, first) = (&subscription.terms, &state.first_terms);
    let (price, first_price) = (now.price.as_ref(), first.price.as_ref());
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO subscription (workspace_id, subscription_id, profile_id, customer_id, status, price_id, product_id, nickname,
                quantity, amount, currency, interval, interval_count, current_period_end_ms, trial_end_ms, cancel_at_period_end,
                canceled_at_ms, created_at_ms, said_at_ms, said_phase, said_event_id,
                first_quantity, first_amount, first_currency, first_interval, first_interval_count,
                first_said_at_ms, first_said_phase, first_said_event_id)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21,
                ?22, ?23, ?24, ?25, ?26, ?27, ?28, ?29)",
        )?
        .execute(params![
            workspace,
            subscription.id,
            kept.profile,
            subscription.customer_id,
            subscription.status.as_str(),
            subscription.plan.price_id,
            subscription.plan.product_id,
            subscription.plan.nickname,
            now.quantity,
            price.map(|price| price.amount),
            price.map(|price| &price.currency),
            price.map(|price| price.interval.as_str()),
            price.map(|price| price.interval_count),
            subscription.current_period_end_ms,
            subscription.trial_end_ms,
            subscription.cancel_at_period_end,
            subscription.canceled_at_ms,
            subscription.created_at_ms,
            state.stamp.at_ms,
            state.stamp.phase.as_str(),
            state.stamp.event,
            first.quantity,
            first_price.map(|price| price.amount),
            first_price.map(|price| &price.currency),
            first_price.map(|price| price.interval.as_str()),
            first_price.map(|price| price.interval_count),
            state.first_stamp.at_ms,
            state.first_stamp.phase.as_str(),
            state.first_stamp.event,
        ])?;
    Ok(())
}

/// Adds a paid invoice to what the profile has spent, once.
///
/// # Errors
/// When the file refuses.
pub fn add_payment(
    connection: &Connection,
    workspace: WorkspaceId,
    profile: ProfileId,
    event: EventId,
    invoice: &Invoice,
) -> Result<()> {
    let added = connection
        .prepare_cached(
            "INSERT OR IGNORE INTO paid_invoice (workspace_id, invoice_id, profile_id, subscription_id, amount, currency, paid_at_ms, event_id)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            workspace,
            invoice.id,
            profile,
            invoice.subscription_id,
            invoice.amount,
            invoice.currency,
            invoice.at_ms,
            event,
        ])?;
    if added == 0 {
        return Ok(());
    }
    connection
        .prepare_cached(
            "INSERT INTO profile_spending (profile_id, currency, amount) VALUES (?1, ?2, min(?3, ?4))
             ON CONFLICT (profile_id, currency) DO UPDATE SET amount = iif(amount > ?4 - excluded.amount, ?4, amount + excluded.amount)",
        )?
        .execute(params![profile, invoice.currency, invoice.amount, MAX_SPENT])?;
    Ok(())
}

fn note_bucket(connection: &Connection, profile: ProfileId, bucket: Option<Bucket>) -> Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO profile_billing (profile_id, bucket) VALUES (?1, ?2)
             ON CONFLICT (profile_id) DO UPDATE SET bucket = excluded.bucket",
        )?
        .execute(params![profile, bucket.map(Bucket::as_str)])?;
    Ok(())
}

fn note_failed_payment(connection: &Connection, profile: ProfileId, at_ms: i64) -> Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO profile_billing (profile_id, payment_failed_at_ms) VALUES (?1, ?2)
             ON CONFLICT (profile_id) DO UPDATE SET
                payment_failed_at_ms = max(coalesce(payment_failed_at_ms, 0), excluded.payment_failed_at_ms)",
        )?
        .execute(params![profile, at_ms])?;
    Ok(())
}

fn note_deleted_customer(connection: &Connection, profile: ProfileId, at_ms: i64) -> Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO profile_billing (profile_id, customer_deleted_at_ms) VALUES (?1, ?2)
             ON CONFLICT (profile_id) DO UPDATE SET
                customer_deleted_at_ms = max(coalesce(customer_deleted_at_ms, 0), excluded.customer_deleted_at_ms)",
        )?
        .execute(params![profile, at_ms])?;
    Ok(())
}

// READING -----------------------------------------------------------------------------------

/// What is known of a subscription of a workspace, by the provider's id.
///
/// # Errors
/// When the file cannot be read.
pub fn subscription(
    connection: &Connection,
    workspace: WorkspaceId,
    id: &str,
) -> Result<Option<KeptSubscription>> {
    let sql = format!("{COLUMNS} WHERE workspace_id = ?1 AND subscription_id = ?2");
    Ok(connection
        .prepare_cached(&sql)?
        .query_row(params![workspace, id], subscription_row)
        .optional()?)
}

/// Where a subscription stands, and its customer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Whose it is: of a profile that was merged, the other one.
    pub profile: ProfileId,
    /// As it was last said to stand; `None` where nothing was said of it.
    pub subscription: Option<Subscription>,
    /// What sort of customer the profile is, by all of its subscriptions.
    pub bucket: Option<Bucket>,
}

/// Where a subscription stands, by the provider's id; one that is not known would be `profile`'s.
///
/// # Errors
/// When the file cannot be read.
pub fn standing(
    connection: &Connection,
    workspace: WorkspaceId,
    profile: ProfileId,
    id: &str,
) -> Result<Standing> {
    let kept = subscription(connection, workspace, id)?;
    let holder = kept.as_ref().map_or(profile, |kept| kept.profile);
    let profile = profiles::whole(connection, workspace, holder)?.unwrap_or(holder);
    let mut states = Vec::new();
    for part in profiles::parts(connection, profile)? {
        let kept = subscriptions(connection, part)?;
        states.extend(kept.into_iter().map(|kept| kept.state));
    }
    Ok(Standing {
        profile,
        subscription: kept.map(|kept| kept.state.subscription),
        bucket: billing::bucket(&states),
    })
}

/// The subscriptions whose rows belong to a profile, those that changed last first.
fn subscriptions(connection: &Connection, profile: ProfileId) -> Result<Vec<KeptSubscription>> {
    let sql = format!("{COLUMNS} WHERE profile_id = ?1 ORDER BY said_at_ms DESC LIMIT ?2");
    Ok(connection
        .prepare_cached(&sql)?
        .query_map(params![profile, MAX_SUBSCRIPTIONS], subscription_row)?
        .collect::<rusqlite::Result<_>>()?)
}

/// The bucket that a profile's own rows put it in.
fn bucket(connection: &Connection, profile: ProfileId) -> Result<Option<Bucket>> {
    let found = connection
        .prepare_cached(
            "SELECT bucket FROM profile_billing WHERE profile_id = ?1 AND bucket IS NOT NULL",
        )?
        .query_row([profile], |row| word(row, 0, Bucket::parse))
        .optional()?;
    Ok(found)
}

/// What a profile's page shows of billing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProfileBilling {
    /// Those that changed last first.
    pub subscriptions: Vec<SubscriptionState>,
    /// What was paid in all, by currency, in its minor unit.
    pub spent: BTreeMap<String, i64>,
    /// The newest payments, newest first.
    pub payments: Vec<Invoice>,
    /// What sort of customer it is; `None` before anything was paid for.
    pub bucket: Option<Bucket>,
    /// When an invoice could last not be paid, Unix milliseconds.
    pub payment_failed_at_ms: Option<i64>,
    /// When the provider dropped the customer, Unix milliseconds.
    pub customer_deleted_at_ms: Option<i64>,
}

impl ProfileBilling {
    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What is known of a profile, and of those that were merged into it: `profiles` are all of their ids.
///
/// # Errors
/// When the file cannot be read.
pub fn of_profile(
    connection: &Connection,
    workspace: WorkspaceId,
    profiles: &[ProfileId],
) -> Result<ProfileBilling> {
    let mut all = ProfileBilling::default();
    for profile in profiles {
        if !is_of(connection, workspace, *profile)? {
            continue;
        }
        let kept = subscriptions(connection, *profile)?;
        all.subscriptions
            .extend(kept.into_iter().map(|kept| kept.state));
        for (currency, amount) in spending(connection, *profile)? {
            let sum = all.spent.entry(currency).or_default();
            *sum = sum.saturating_add(amount);
        }
        all.payments.extend(payments(connection, *profile)?);
        let (failed, deleted) = moments(connection, *profile)?;
        all.payment_failed_at_ms = all.payment_failed_at_ms.max(failed);
        all.customer_deleted_at_ms = all.customer_deleted_at_ms.max(deleted);
    }
    all.subscriptions
        .sort_by_key(|state| std::cmp::Reverse(state.stamp));
    all.payments
        .sort_by_key(|payment| std::cmp::Reverse(payment.at_ms));
    all.payments.truncate(SHOWN_PAYMENTS);
    all.bucket = billing::bucket(&all.subscriptions);
    Ok(all)
}

fn is_of(connection: &Connection, workspace: WorkspaceId, profile: ProfileId) -> Result<bool> {
    Ok(connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM profile WHERE id = ?1 AND workspace_id = ?2)",
        )?
        .query_row(params![profile, workspace], |row| row.get(0))?)
}

fn spending(connection: &Connection, profile: ProfileId) -> Result<Vec<(String, i64)>> {
    Ok(connection
        .prepare_cached(
            "SELECT currency, amount FROM profile_spending WHERE profile_id = ?1 ORDER BY currency LIMIT ?2",
        )?
        .query_map(params![profile, MAX_CURRENCIES], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?
        .collect::<rusqlite::Result<_>>()?)
}

fn payments(connection: &Connection, profile: ProfileId) -> Result<Vec<Invoice>> {
    let limit = i64::try_from(SHOWN_PAYMENTS).unwrap_or(i64::MAX);
    let row = |row: &Row<'_>| {
        Ok(Invoice {
            id: row.get(0)?,
            subscription_id: row.get(1)?,
            amount: row.get(2)?,
            currency: row.get(3)?,
            at_ms: row.get(4)?,
        })
    };
    Ok(connection
        .prepare_cached(
            "SELECT invoice_id, subscription_id, amount, currency, paid_at_ms FROM paid_invoice
             WHERE profile_id = ?1 ORDER BY paid_at_ms DESC LIMIT ?2",
        )?
        .query_map(params![profile, limit], row)?
        .collect::<rusqlite::Result<_>>()?)
}

/// When a payment last failed, and when the customer was dropped.
fn moments(connection: &Connection, profile: ProfileId) -> Result<(Option<i64>, Option<i64>)> {
    let found = connection
        .prepare_cached(
            "SELECT payment_failed_at_ms, customer_deleted_at_ms FROM profile_billing WHERE profile_id = ?1",
        )?
        .query_row([profile], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    Ok(found.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::funnel::Stage;
    use crate::store::Files;
    use proptest::prelude::*;

    const ACME: WorkspaceId = WorkspaceId::from_i64(1);
    const OTHER: WorkspaceId = WorkspaceId::from_i64(2);
    const ANN: ProfileId = ProfileId::from_i64(10);
    const BOB: ProfileId = ProfileId::from_i64(11);

    struct File {
        connection: Connection,
        _folder: tempfile::TempDir,
    }

    /// A file with two workspaces and, in the first, two profiles.
    fn opened() -> File {
        let folder = tempfile::tempdir().unwrap();
        let connection = Files::prepare(folder.path())
            .unwrap()
            .open_writer()
            .unwrap();
        connection
            .execute_batch(
                "INSERT INTO workspace (id, slug, name, created_at_ms) VALUES (1, 'acme', 'Acme', 0), (2, 'other', 'Other', 0);
                 INSERT INTO profile (id, workspace_id, kind) VALUES (10, 1, 'person'), (11, 1, 'person'), (20, 2, 'person')",
            )
            .unwrap();
        File {
            connection,
            _folder: folder,
        }
    }

    fn said(id: &str, at_ms: i64, status: Status, quantity: i64) -> BillingChange {
        BillingChange::Subscription(SaidSubscription {
            subscription: Subscription {
                id: id.to_owned(),
                customer_id: Some("cus_1".to_owned()),
                status,
                plan: Plan {
                    price_id: Some("price_1".to_owned()),
                    product_id: None,
                    nickname: Some("Team".to_owned()),
                },
                terms: Terms {
                    quantity: Some(quantity),
                    price: Some(Price {
                        amount: 900 * quantity,
                        currency: "eur".to_owned(),
                        interval: Interval::Year,
                        interval_count: 2,
                    }),
                },
                current_period_end_ms: Some(at_ms + 1),
                trial_end_ms: Some(at_ms + 2),
                cancel_at_period_end: true,
                canceled_at_ms: Some(at_ms + 3),
                created_at_ms: Some(at_ms + 4),
            },
            at_ms,
            phase: Phase::Changed,
        })
    }

    fn paid(id: &str, amount: i64, currency: &str, at_ms: i64) -> BillingChange {
        BillingChange::Payment(Invoice {
            id: id.to_owned(),
            subscription_id: Some("sub_1".to_owned()),
            amount,
            currency: currency.to_owned(),
            at_ms,
        })
    }

    impl File {
        fn apply(&self, profile: ProfileId, event: i64, change: &BillingChange) -> Consequence {
            let event = EventId::from_i64(event);
            apply(&self.connection, ACME, profile, event, change).unwrap()
        }

        fn of(&self, profiles: &[ProfileId]) -> ProfileBilling {
            of_profile(&self.connection, ACME, profiles).unwrap()
        }
    }

    #[test]
    fn a_subscription_is_kept_as_it_was_said() {
        let file = opened();
        let change = said("sub_1", 1_000, Status::Active, 3);
        let BillingChange::Subscription(said) = &change else {
            unreachable!()
        };
        file.apply(ANN, 5, &change);
        let kept = subscription(&file.connection, ACME, "sub_1").unwrap();
        let state = billing::apply(None, said, EventId::from_i64(5)).unwrap();
        let wanted = KeptSubscription {
            profile: ANN,
            state,
        };
        assert_eq!(kept, Some(wanted));
        let elsewhere = subscription(&file.connection, OTHER, "sub_1").unwrap();
        assert_eq!(elsewhere, None);
    }

    #[test]
    fn what_follows_is_said_each_time_and_kept() {
        let file = opened();
        let consequence = |stage, bucket| Consequence { stage, bucket };
        let trial = said("sub_1", 1_000, Status::Trialing, 1);
        let active = said("sub_1", 3_000, Status::Active, 2);
        let late = said("sub_1", 2_000, Status::Active, 1);
        let gone = said("sub_1", 4_000, Status::Canceled, 2);
        assert_eq!(
            file.apply(ANN, 1, &trial),
            consequence(Some(Stage::Trial), None)
        );
        let upgraded = consequence(Some(Stage::Customer), Some(Bucket::Upgraded));
        assert_eq!(file.apply(ANN, 2, &active), upgraded);
        // Older than what is known: nothing changes, and the stage was reached all the same.
        assert_eq!(file.apply(ANN, 3, &late), upgraded);
        assert_eq!(file.apply(ANN, 2, &active), upgraded);
        let churned = consequence(None, Some(Bucket::Churned));
        assert_eq!(file.apply(ANN, 4, &gone), churned);
        assert_eq!(
            file.apply(ANN, 5, &paid("in_1", 900, "eur", 5_000)),
            consequence(None, Some(Bucket::Churned))
        );
        // Another subscription brings the customer back.
        let back = said("sub_2", 9_000, Status::Active, 1);
        let retained = consequence(Some(Stage::Customer), Some(Bucket::Retained));
        assert_eq!(file.apply(ANN, 6, &back), retained);
        assert_eq!(file.of(&[ANN]).bucket, Some(Bucket::Retained));
        assert_eq!(file.of(&[ANN]).subscriptions.len(), 2);
    }

    #[test]
    fn an_invoice_is_paid_once() {
        let file = opened();
        for event in [1, 1, 2] {
            file.apply(ANN, event, &paid("in_1", 900, "eur", 1_000));
        }
        file.apply(ANN, 3, &paid("in_2", 100, "eur", 3_000));
        file.apply(ANN, 4, &paid("in_3", 50, "usd", 2_000));
        let found = file.of(&[ANN]);
        let spent = [("eur".to_owned(), 1_000), ("usd".to_owned(), 50)];
        assert_eq!(found.spent, BTreeMap::from(spent));
        let ids: Vec<_> = found.payments.iter().map(|p| p.id.as_str()).collect();
        assert_eq!(ids, ["in_2", "in_3", "in_1"]);
    }

    #[test]
    fn the_last_failure_and_the_end_are_noted() {
        let file = opened();
        assert!(file.of(&[ANN]).is_empty());
        for (event, at_ms) in [(1, 2_000), (2, 1_000)] {
            let BillingChange::Payment(invoice) = paid("in_1", 900, "eur", at_ms) else {
                unreachable!()
            };
            file.apply(ANN, event, &BillingChange::PaymentFailed(invoice));
        }
        file.apply(ANN, 3, &BillingChange::CustomerDeleted { at_ms: 7_000 });
        let found = file.of(&[ANN]);
        assert_eq!(found.payment_failed_at_ms, Some(2_000));
        assert_eq!(found.customer_deleted_at_ms, Some(7_000));
        assert_eq!((found.spent.len(), found.payments.len()), (0, 0));
    }

    #[test]
    fn merged_profiles_are_read_together_and_rows_stay_where_they_were() {
        let file = opened();
        file.apply(ANN, 1, &said("sub_1", 1_000, Status::Active, 1));
        file.apply(ANN, 2, &paid("in_1", 900, "eur", 1_000));
        // Ann was merged into Bob; then the merge was undone.
        file.apply(BOB, 3, &said("sub_1", 2_000, Status::Active, 2));
        file.apply(BOB, 4, &paid("in_2", 900, "eur", 2_000));
        let both = file.of(&[BOB, ANN]);
        assert_eq!(both.spent["eur"], 1_800);
        assert_eq!(both.bucket, Some(Bucket::Upgraded));
        assert_eq!(both.subscriptions.len(), 1);
        assert_eq!(file.of(&[BOB]).subscriptions, []);
        assert_eq!(file.of(&[ANN]).subscriptions, both.subscriptions);
    }

    #[test]
    fn another_workspace_sees_nothing() {
        let file = opened();
        file.apply(ANN, 1, &said("sub_1", 1_000, Status::Active, 1));
        file.apply(ANN, 2, &paid("in_1", 900, "eur", 1_000));
        let seen = of_profile(&file.connection, OTHER, &[ANN]).unwrap();
        assert!(seen.is_empty());
    }

    fn any_change() -> impl Strategy<Value = BillingChange> {
        let status = proptest::sample::select(vec![
            Status::Trialing,
            Status::Active,
            Status::PastDue,
            Status::Canceled,
        ]);
        prop_oneof![
            (0..2u8, 0..4i64, status, 1..3i64).prop_map(|(sub, at, status, q)| said(
                &format!("sub_{sub}"),
                at,
                status,
                q
            )),
            (0..3u8).prop_map(|n| paid(&format!("in_{n}"), 10 << n, "eur", 1)),
            (0..9i64).prop_map(|at_ms| BillingChange::CustomerDeleted { at_ms }),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// A window that is projected again after a crash, from any event on, leads where it led.
        #[test]
        fn projecting_again_changes_nothing(
            changes in proptest::collection::vec(any_change(), 1..8),
            from in 0..8usize,
        ) {
            let file = opened();
            let project = |from: usize| {
                for (event, change) in (1i64..).zip(&changes).skip(from) {
                    file.apply(ANN, event, change);
                }
            };
            project(0);
            let once = file.of(&[ANN]);
            project(from);
            prop_assert_eq!(file.of(&[ANN]), once);
        }
    }
}
