//! ACCEPT: one event, one place in the log. Checks a normalized event by the schema of its type
//! (`accept/verdict.rs`), hands it to the writer with what is owed because of it (`accept/place.rs`), and after the
//! commit tells those who follow the log. Knows no dialect and no HTTP.

mod place;
mod verdict;

pub use place::{Acceptance, Contradiction, Placed};

use crate::dedup::DedupWindow;
use crate::error::Result;
use crate::event::{Event, StoredEvent};
use crate::followers::Followers;
use crate::id::{EventId, IdGenerator};
use crate::schema::Budget;
use crate::store::catalog::CatalogHandle;
use crate::store::deliveries::OwedDelivery;
use crate::store::prepared::Prepared;
use crate::store::writer::{Weight, Writer};
use crate::violations::Violations;
use place::{Placer, contradiction};
use std::sync::Arc;
use verdict::{Judge, Observed, Verdict};

/// Takes events into the log.
#[derive(Debug, Clone)]
pub struct Acceptor(Arc<Parts>);

#[derive(Debug, Clone)]
struct Parts {
    writer: Writer,
    judge: Judge,
    placer: Placer,
    followers: Followers,
}

/// The place of an event that is the whole body.
pub fn at_root(_index: usize) -> String {
    String::new()
}

impl Acceptor {
    /// An acceptor that writes with `writer` and tells `followers`.
    pub fn new(
        writer: Writer,
        catalog: CatalogHandle,
        ids: Arc<IdGenerator>,
        window: Arc<DedupWindow>,
        violations: Arc<Violations>,
        followers: Followers,
    ) -> Self {
        Self(Arc::new(Parts {
            writer,
            judge: Judge::new(catalog.clone(), violations),
            placer: Placer::new(catalog, ids, window),
            followers,
        }))
    }

    /// The same acceptor for another thread, which then counts its references to it alone: a count goes from
    /// core to core with each change where several share it. With it comes what gives its callers their answers
    /// (see [`Writer::for_thread`]).
    pub fn for_thread(&self) -> (Self, impl Future<Output = ()> + use<>) {
        let (writer, answering) = self.0.writer.for_thread();
        let parts = Parts {
            writer,
            ..Parts::clone(&self.0)
        };
        (Self(Arc::new(parts)), answering)
    }

    /// Appends `events` to the log, in order and in one transaction. When this returns, they and
    /// everything that is owed because of them are on disk (promise 1); so is, of a duplicate, the
    /// event that was there before.
    ///
    /// All of them or none: one that does not match the schema that its type enforces refuses the others.
    ///
    /// # Errors
    /// As [`Writer::append`], and [`crate::error::Kind::Invalid`] with pointers into the body, in which the
    /// event with an index stands at `place`; nothing is stored then.
    pub async fn accept(
        &self,
        events: Vec<Event>,
        place: fn(usize) -> String,
    ) -> Result<Vec<Acceptance>> {
        let observed = self.check_all(&events, place).await?;
        let outcomes = self.submit(events, Placer::place_each).await?;
        self.note(observed, &outcomes);
        Ok(outcomes)
    }

    /// As [`Acceptor::accept`], but each event for itself: the others are appended without those that do
    /// not match the schema that their type enforces.
    ///
    /// # Errors
    /// As [`Writer::append`]; nothing is stored then.
    pub async fn accept_each(&self, events: Vec<Event>) -> Result<Vec<Result<Acceptance>>> {
        if !events.iter().any(|event| self.0.judge.is_checked(event)) {
            let outcomes = self.submit(events, Placer::place_each).await?;
            return Ok(outcomes.into_iter().map(Ok).collect());
        }
        let mut settled = Vec::new();
        let mut observed = Vec::new();
        let mut kept = Vec::with_capacity(events.len());
        let mut budget = Budget::of_request();
        for (index, event) in events.into_iter().enumerate() {
            match self.0.judge.check(&event, &mut budget) {
                Verdict::Refused(violation, refusal) => match self.known(&event).await? {
                    Some(known) => settled.push((index, Ok(known))),
                    None => {
                        self.0.judge.note_refused(violation);
                        settled.push((index, Err(refusal)));
                    }
                },
                verdict => {
                    if let Verdict::Observed(violation) = verdict {
                        observed.push((kept.len(), violation));
                    }
                    kept.push(event);
                }
            }
        }
        let appended = if kept.is_empty() {
            Vec::new()
        } else {
            self.submit(kept, Placer::place_each).await?
        };
        self.note(observed, &appended);
        let mut outcomes: Vec<_> = appended.into_iter().map(Ok).collect();
        // From the front on, so that each finds its place among those before it.
        for (index, outcome) in settled {
            outcomes.insert(index.min(outcomes.len()), outcome);
        }
        Ok(outcomes)
    }

    /// The schemas' verdicts on events of which one that is refused refuses the others: those that are to
    /// be noted, with their places.
    async fn check_all(
        &self,
        events: &[Event],
        place: fn(usize) -> String,
    ) -> Result<Vec<Observed>> {
        let mut observed = Vec::new();
        let mut budget = Budget::of_request();
        for (index, event) in events.iter().enumerate() {
            match self.0.judge.check(event, &mut budget) {
                Verdict::Fine => {}
                Verdict::Observed(violation) => observed.push((index, violation)),
                // Its outcome is found once more with the others'.
                Verdict::Refused(..) if self.known(event).await?.is_some() => {}
                Verdict::Refused(violation, refusal) => {
                    self.0.judge.note_refused(violation);
                    return Err(refusal.under(&place(index)));
                }
            }
        }
        Ok(observed)
    }

    /// Counts what did not match and was stored all the same.
    fn note(&self, observed: Vec<Observed>, outcomes: &[Acceptance]) {
        let stored = |index: usize| match outcomes.get(index) {
            Some(Acceptance::Created(id)) => Some(*id),
            _ => None,
        };
        self.0.judge.note_observed(observed, stored);
    }

    /// What came before under the key of an event that its type's schema refuses now: sent again, an event
    /// has the same answer as ever (promise 9), whatever was declared meanwhile.
    async fn known(&self, event: &Event) -> Result<Option<Acceptance>> {
        if event.dedup_key.is_none() {
            return Ok(None);
        }
        self.0.placer.loaded().await;
        if !self.0.placer.may_know(event) {
            return Ok(None);
        }
        let (parts, event) = (Arc::clone(&self.0), event.clone());
        let weight = Weight {
            rows: 1,
            bytes: weigh(&event),
        };
        self.0
            .writer
            .append(
                weight,
                move |connection| parts.placer.known(connection, &event),
                |_| (),
            )
            .await
    }

    /// [`Acceptor::accept`] for events of which either all are in the log afterwards or none of these:
    /// their ids in order, of a duplicate the first one's.
    ///
    /// # Errors
    /// As [`Acceptor::accept`]; and what stands in the way, within the result.
    pub async fn accept_all(
        &self,
        events: Vec<Event>,
        place: fn(usize) -> String,
    ) -> Result<Placed> {
        if let Some(index) = contradiction(&events) {
            return Ok(Err(Contradiction {
                index,
                earlier: None,
            }));
        }
        let observed = self.check_all(&events, place).await?;
        let placed = self.submit(events, Placer::place_all).await?;
        if let Ok(ids) = &placed {
            let stored = |index: usize| ids.get(index).copied();
            self.0.judge.note_observed(observed, stored);
        }
        Ok(placed)
    }

    /// Hands events to the writer in one piece, and tells who follows the log of what is owed.
    async fn submit<T: Send + 'static>(
        &self,
        events: Vec<Event>,
        place: impl Fn(&Placer, &Prepared<'_>, &mut [StoredEvent], &mut Vec<OwedDelivery>) -> Result<T>
        + Send
        + 'static,
    ) -> Result<T> {
        if events.iter().any(|event| event.dedup_key.is_some()) {
            self.0.placer.loaded().await;
        }
        let weight = Weight {
            rows: events.len(),
            bytes: events.iter().map(weigh).sum(),
        };
        let (parts, told) = (Arc::clone(&self.0), Arc::clone(&self.0));
        let mut waiting: Vec<_> = events.into_iter().map(unplaced).collect();
        let (outcome, _) = self
            .0
            .writer
            .append(
                weight,
                move |connection| {
                    let mut fresh = Vec::new();
                    let outcome = place(&parts.placer, connection, &mut waiting, &mut fresh)?;
                    Ok((outcome, fresh))
                },
                move |(_, fresh)| told.followers.note(fresh),
            )
            .await?;
        Ok(outcome)
    }

    /// [`Acceptor::accept`] for an event without a key, which is always new.
    ///
    /// # Errors
    /// As [`Acceptor::accept`].
    pub async fn accept_one(&self, event: Event) -> Result<EventId> {
        let observed = match self.0.judge.check(&event, &mut Budget::of_request()) {
            Verdict::Fine => Vec::new(),
            Verdict::Observed(violation) => vec![(0, violation)],
            Verdict::Refused(violation, refusal) => {
                self.0.judge.note_refused(violation);
                return Err(refusal);
            }
        };
        let (parts, told) = (Arc::clone(&self.0), Arc::clone(&self.0));
        let weight = Weight {
            rows: 1,
            bytes: weigh(&event),
        };
        let mut stored = unplaced(event);
        let (id, _) = self
            .0
            .writer
            .append(
                weight,
                move |connection| {
                    let mut fresh = Vec::new();
                    parts.placer.append(connection, &mut stored, &mut fresh)?;
                    Ok((stored.id, fresh))
                },
                move |(_, fresh)| told.followers.note(fresh),
            )
            .await?;
        self.0.judge.note_observed(observed, |_| Some(id));
        Ok(id)
    }
}

/// What an event holds in memory.
fn weigh(event: &Event) -> usize {
    size_of::<StoredEvent>() + event.text_bytes()
}

/// Before the writer gives it its place.
fn unplaced(event: Event) -> StoredEvent {
    StoredEvent {
        id: EventId::from_i64(0),
        event,
    }
}
