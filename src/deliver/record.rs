//! Records: what was tried goes to the file, as many attempts at once as are there, each with where
//! its delivery stands now, and what they say of their receivers. Decides nothing about who sends next.

use super::attempt::{Made, Told};
use super::books::Books;
use super::health::{self, Changes, Failing, Step};
use crate::delivery::{DeliveryState, Standing, Trigger};
use crate::error::{Error, Kind, Result};
use crate::id::{DeliveryId, WebhookId};
use crate::store::attempts::Recorder;
use crate::store::catalog::Catalog;
use crate::store::{deliveries, past};
use rusqlite::Connection;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// How long to leave the file alone when it could not take a record.
const SETBACK: Duration = Duration::from_secs(1);

/// What became of a group of attempts.
pub(super) struct Records {
    pub(super) recorded: Vec<Recorded>,
    pub(super) changes: Vec<Changes>,
}

/// What became of an attempt's record.
pub(super) struct Recorded {
    pub(super) delivery: DeliveryId,
    pub(super) webhook: WebhookId,
    pub(super) trigger: Trigger,
    pub(super) fate: Fate,
    /// Whether the receiver answered 2xx.
    pub(super) succeeded: bool,
    /// Who asked for it, and waits to hear.
    pub(super) told: Option<Told>,
}

/// What the file says of a delivery after an attempt.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fate {
    /// The attempt is kept, and the delivery stands there.
    Stands(Standing),
    /// Swept while it was on its way: there was nothing left to record the attempt on.
    Gone,
    /// The attempt could not be kept, and the log says why.
    Unrecorded,
}

/// Has attempts kept, in one transaction if all of them can be. `failing` are the webhooks among theirs that
/// are known to fail.
pub(super) async fn record(books: &Books, mut made: Vec<Made>, failing: Failing) -> Records {
    let told: Vec<_> = made.iter_mut().map(|made| made.told.take()).collect();
    let made: Arc<[Made]> = made.into();
    let mut failing = Arc::new(failing);
    let mut changes = Vec::with_capacity(1);
    let fates = match keep(books, &made, &failing, 0..made.len()).await {
        Ok(written) => written.taken(&mut changes),
        Err(_) if made.len() > 1 && books.writer.is_alive() => {
            // One of them is at fault and must not cost the others their records.
            let mut fates = Vec::with_capacity(made.len());
            for n in 0..made.len() {
                match keep(books, &made, &failing, n..n + 1).await {
                    Ok(written) => {
                        // What it said of its receiver, the next one must know.
                        health::learn(Arc::make_mut(&mut failing), &written.changes.health);
                        fates.extend(written.taken(&mut changes));
                    }
                    Err(e) => {
                        say_unrecorded(&e);
                        fates.push(Fate::Unrecorded);
                    }
                }
            }
            fates
        }
        Err(e) => {
            say_unrecorded(&e);
            vec![Fate::Unrecorded; made.len()]
        }
    };
    let with_fate = |((made, fate), told): ((&Made, Fate), Option<Told>)| Recorded {
        delivery: made.attempt.delivery,
        webhook: made.webhook,
        trigger: made.attempt.trigger,
        fate,
        succeeded: made.attempt.error.is_none(),
        told,
    };
    Records {
        recorded: made.iter().zip(fates).zip(told).map(with_fate).collect(),
        changes,
    }
}

fn say_unrecorded(error: &crate::error::Error) {
    tracing::error!(%error, "attempts were made but could not be recorded; they will be made again");
}

/// What a transaction came to.
struct Written {
    fates: Vec<Fate>,
    changes: Changes,
}

impl Written {
    fn taken(self, changes: &mut Vec<Changes>) -> Vec<Fate> {
        changes.push(self.changes);
        self.fates
    }
}

/// Keeps the attempts of a range, and keeps at it while the file is locked or full: the receivers
/// have been asked, and must not be asked again because the box could not write that down. Where a webhook
/// may be disabled by it, what follows in the file must know of that: then it is a change.
async fn keep(
    books: &Books,
    made: &Arc<[Made]>,
    failing: &Arc<Failing>,
    range: Range<usize>,
) -> Result<Written> {
    let group = made.get(range.clone()).unwrap_or(&[]);
    let may_disable = group
        .iter()
        .any(|made| health::may_disable(made, failing, books.disable_after_ms));
    loop {
        let work = {
            let (books, made, range) = (books.clone(), Arc::clone(made), range.clone());
            let failing = Arc::clone(failing);
            move |connection: &Connection| {
                let group = made.get(range.clone()).unwrap_or(&[]);
                write(connection, &books, group, &failing, may_disable)
            }
        };
        let recorded = if may_disable {
            let catalog = books.catalog.clone();
            let publish = move |written: &Written| {
                if let Some(fresh) = &written.changes.catalog {
                    catalog.publish(Arc::clone(fresh));
                }
            };
            books.writer.change(work, publish).await
        } else {
            books.writer.record(work).await
        };
        match recorded {
            Err(e)
                if matches!(e.kind(), Kind::Unavailable | Kind::Full)
                    && books.writer.is_alive() =>
            {
                tracing::warn!(error = %e, "attempts could not be recorded yet");
                tokio::time::sleep(SETBACK).await;
            }
            recorded => return recorded,
        }
    }
}

fn write(
    connection: &Connection,
    books: &Books,
    made: &[Made],
    failing: &Failing,
    may_disable: bool,
) -> Result<Written> {
    let mut recorder = Recorder::new(connection)?;
    let catalog = books.catalog.current();
    let mut fates = Vec::with_capacity(made.len());
    let mut group = Vec::with_capacity(made.len());
    for made in made {
        let (fate, step) = write_one(connection, &mut recorder, &catalog, made)?;
        fates.push(fate);
        group.push((made, step));
    }
    let changes = health::keep(connection, books, &group, failing, may_disable)?;
    Ok(Written { fates, changes })
}

/// Where a delivery stands is worked out from where it stood when it was sent; and, if that has changed
/// meanwhile, from its row as it is now: it was put on the due list, a person held or cancelled it, or
/// asked for an attempt beside this one. Or had its payload expunged, and then the answer is not kept. That
/// cancels what the schedule is about to send, so it is asked of what has changed, and of attempts that
/// people asked for, whose deliveries may stand as they did.
fn write_one(
    connection: &Connection,
    recorder: &mut Recorder<'_>,
    catalog: &Catalog,
    made: &Made,
) -> Result<(Fate, Step)> {
    let attempt = &made.attempt;
    let mut before = made.standing;
    let mut may_be_expunged = attempt.trigger != Trigger::Automatic;
    loop {
        let (after, is_asked_for) = before.after_attempt(&made.tried(), made.pace());
        let bare = (may_be_expunged && past::is_expunged(connection, attempt.delivery)?)
            .then(|| attempt.without_answer());
        let kept = bare.as_ref().unwrap_or(attempt);
        if recorder.record(kept, &before, &after, is_asked_for)? {
            let is_settled = after.state != DeliveryState::Pending;
            if is_settled && (made.is_ordered || keeps_order(catalog, made.webhook)) {
                recorder.leave_queue(attempt.delivery)?;
            }
            let is_exhausted =
                before.state == DeliveryState::Pending && after.state == DeliveryState::Failed;
            let step = if is_exhausted {
                Step::Exhausted
            } else {
                Step::Kept
            };
            return Ok((Fate::Stands(after), step));
        }
        match deliveries::standing(connection, attempt.delivery)? {
            // Nobody else writes between this look and the next round.
            Some(now) if now != before => (before, may_be_expunged) = (now, true),
            Some(_) => {
                return Err(Error::internal(anyhow::anyhow!(
                    "a delivery cannot be moved"
                )));
            }
            None => return Ok((Fate::Gone, Step::Gone)),
        }
    }
}

/// The order may have been asked for after the attempt was sent.
fn keeps_order(catalog: &Catalog, webhook: WebhookId) -> bool {
    catalog
        .webhook(webhook)
        .is_some_and(|webhook| webhook.settings.is_ordered)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::ErrorClass;
    use crate::id::{AttemptId, IdGenerator, MessageId, WorkspaceId};
    use crate::secret::WebhookSecret;
    use crate::store::Files;
    use crate::store::attempts::{self, NewAttempt, Phases};
    use crate::store::catalog::CatalogHandle;
    use crate::store::deliveries::{NewDelivery, NewMessage};
    use crate::store::headers::HeadersText;
    use crate::store::writer::{Writer, WriterLimits};
    use crate::store::{self, webhooks, workspaces};
    use crate::webhook::{Signing, SigningKey, Webhook, WebhookInput, WebhookState};

    const WEBHOOK: i64 = 1;

    fn made(id: i64, delivery: i64) -> Made {
        Made {
            attempt: NewAttempt {
                id: AttemptId::from_i64(id),
                delivery: DeliveryId::from_i64(delivery),
                trigger: Trigger::Automatic,
                started_at_ms: 1,
                duration_us: 1,
                url: "http://example.com/".into(),
                address: None,
                request_headers: HeadersText::default(),
                response: None,
                error: None,
                phases: Phases::default(),
            },
            webhook: WebhookId::from_i64(WEBHOOK),
            standing: Standing::NEW,
            ended_at_ms: 2,
            retry_after: None,
            dice: 0.5,
            schedule: Arc::default(),
            is_ordered: false,
            told: None,
        }
    }

    /// A file that owes the deliveries 1 to `owed`.
    fn owing(files: &Files, owed: i64) -> Connection {
        let connection = files.open_writer().unwrap();
        let message = NewMessage {
            id: MessageId::from_i64(1),
            workspace: WorkspaceId::from_i64(1),
            event: None,
            event_type: "Post Created",
            body: b"{}",
        };
        deliveries::insert_message(&connection, &message).unwrap();
        for id in 1..=owed {
            let delivery = NewDelivery {
                id: DeliveryId::from_i64(id),
                workspace: message.workspace,
                webhook: WebhookId::from_i64(WEBHOOK),
                message: message.id,
                event: None,
                state: DeliveryState::Pending,
                is_ordered: false,
                origin: None,
            };
            deliveries::insert_delivery(&connection, &delivery).unwrap();
        }
        connection
    }

    /// Records `made` on a file that owes `owed` deliveries: what became of each, and which
    /// deliveries have an attempt in the file.
    async fn record_all(owed: i64, made: Vec<Made>) -> (Vec<bool>, Vec<i64>) {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::prepare(folder.path()).unwrap();
        let limits = WriterLimits {
            queue: 8,
            queue_bytes: 8,
            group: 8,
        };
        let (writer, thread) = Writer::start(owing(&files, owed), limits, || ()).unwrap();
        let (catalog, _) =
            CatalogHandle::open(&files.open_beside().unwrap(), files.vault()).unwrap();
        let books = Books {
            writer,
            catalog,
            ids: Arc::new(IdGenerator::new(0, 0)),
            disable_after_ms: i64::MAX,
        };
        let recorded = record(&books, made, Failing::new()).await.recorded;
        drop(books);
        thread.join().unwrap();
        let is_kept = |one: &Recorded| match one.fate {
            Fate::Stands(standing) => standing.state == DeliveryState::Succeeded,
            Fate::Gone | Fate::Unrecorded => false,
        };
        let connection = files.open_beside().unwrap();
        let is_in_file = |id: &i64| {
            let id = DeliveryId::from_i64(*id);
            !attempts::of_delivery(&connection, id, 1)
                .unwrap()
                .is_empty()
        };
        let in_file = (1..=owed).filter(is_in_file).collect();
        (recorded.iter().map(is_kept).collect(), in_file)
    }

    #[tokio::test]
    async fn a_delivery_that_was_swept_meanwhile_costs_no_other_its_record() {
        let made = vec![made(1, 1), made(2, 99), made(3, 2)];
        assert_eq!(
            record_all(2, made).await,
            (vec![true, false, true], vec![1, 2])
        );
    }

    #[tokio::test]
    async fn an_attempt_that_cannot_be_recorded_costs_no_other_its_record() {
        // The second has the first one's id, which the file refuses.
        let made = vec![made(1, 1), made(1, 2), made(3, 3)];
        assert_eq!(
            record_all(3, made).await,
            (vec![true, false, true], vec![1, 3])
        );
    }

    fn ended(id: i64, at_ms: i64, succeeded: bool) -> Made {
        let mut made = made(id, id);
        made.ended_at_ms = at_ms;
        if !succeeded {
            made.attempt.error = Some((ErrorClass::Http5xx, "answered 500".to_owned()));
        }
        made
    }

    /// What is known of the webhook after these groups, and whether the box knows that it fails.
    async fn health_after(groups: Vec<Vec<Made>>) -> (Option<(u32, i64)>, bool) {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::prepare(folder.path()).unwrap();
        let connection = owing(&files, 9);
        let webhook = WebhookId::from_i64(WEBHOOK);
        let settings = WebhookInput {
            name: "Main".to_owned(),
            url: "http://example.com/".to_owned(),
            events: vec!["*".to_owned()],
            ..WebhookInput::default()
        };
        let webhook_row = Webhook {
            id: webhook,
            workspace: WorkspaceId::from_i64(1),
            state: WebhookState::Active,
            changed_at_ms: 0,
            settings: settings.check(None).unwrap(),
            key: SigningKey {
                signing: Signing::Hmac,
                secret: WebhookSecret::generate().unwrap(),
            },
            retired_key: None,
        };
        workspaces::insert_workspace(&connection, webhook_row.workspace, "Acme", "acme", 0)
            .unwrap();
        webhooks::insert(&connection, files.vault(), &webhook_row, 0).unwrap();
        let (catalog, _) = CatalogHandle::open(&connection, files.vault()).unwrap();
        let limits = WriterLimits {
            queue: 8,
            queue_bytes: 8,
            group: 8,
        };
        let (writer, thread) = Writer::start(connection, limits, || ()).unwrap();
        let books = Books {
            writer,
            catalog,
            ids: Arc::new(IdGenerator::new(0, 100)),
            disable_after_ms: i64::MAX,
        };
        let mut failing = Failing::new();
        for group in groups {
            let records = record(&books, group, failing.clone()).await;
            for changes in records.changes {
                health::learn(&mut failing, &changes.health);
            }
        }
        drop(books);
        thread.join().unwrap();
        let known = store::health::of(&files.open_beside().unwrap(), webhook).unwrap();
        let known = known.map(|health| (health.failures, health.failing_since_ms));
        (known, failing.contains_key(&webhook))
    }

    #[tokio::test]
    async fn a_groups_attempts_count_in_the_order_in_which_they_ended() {
        let group = vec![
            ended(1, 10, false),
            ended(2, 20, false),
            ended(3, 30, true),
            ended(4, 40, false),
        ];
        assert_eq!(health_after(vec![group]).await, (Some((1, 40)), true));
        let (first, second) = (vec![ended(1, 10, false)], vec![ended(2, 20, false)]);
        let healed = vec![ended(3, 30, false), ended(4, 40, true)];
        assert_eq!(
            health_after(vec![first, second]).await,
            (Some((2, 10)), true)
        );
        let first = vec![ended(1, 10, false)];
        assert_eq!(health_after(vec![first, healed]).await, (None, false));
    }

    #[tokio::test]
    async fn what_is_recorded_one_by_one_counts_as_what_is_recorded_together() {
        let mut unrecorded = ended(2, 20, false);
        unrecorded.attempt.id = AttemptId::from_i64(1);
        let group = vec![ended(1, 10, false), unrecorded, ended(3, 30, true)];
        assert_eq!(health_after(vec![group]).await, (None, false));
    }

    #[tokio::test]
    async fn what_people_ask_for_heals_and_does_not_harm() {
        let asked_for = |id, succeeded| {
            let mut made = ended(id, 10 * id, succeeded);
            made.attempt.trigger = Trigger::Manual;
            made
        };
        let (first, failed) = (vec![ended(1, 10, false)], vec![asked_for(2, false)]);
        assert_eq!(
            health_after(vec![first, failed]).await,
            (Some((1, 10)), true)
        );
        let (first, arrived) = (vec![ended(1, 10, false)], vec![asked_for(2, true)]);
        assert_eq!(health_after(vec![first, arrived]).await, (None, false));
    }
}
