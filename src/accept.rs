//! ACCEPT: one event, one place in the log. Checks a normalized event by the schema of its type, hands it to
//! the writer with what is owed because of it, and after the commit tells those who follow the log. Knows no
//! dialect and no HTTP.

use crate::dedup::DedupWindow;
use crate::error::{Error, Result};
use crate::event::{Event, StoredEvent};
use crate::event_type::Mode;
use crate::followers::Followers;
use crate::id::{EventId, IdGenerator};
use crate::owe::owe;
use crate::schema::Budget;
use crate::store::catalog::CatalogHandle;
use crate::store::deliveries::OwedDelivery;
use crate::store::prepared::Prepared;
use crate::store::writer::{Weight, Writer};
use crate::store::{events, past};
use crate::violations::{Violation, Violations};
use rusqlite::Connection;
use std::collections::HashMap;
use std::sync::Arc;

/// Takes events into the log.
#[derive(Debug, Clone)]
pub struct Acceptor(Arc<Parts>);

#[derive(Debug, Clone)]
struct Parts {
    writer: Writer,
    catalog: CatalogHandle,
    ids: Arc<IdGenerator>,
    window: Arc<DedupWindow>,
    violations: Arc<Violations>,
    followers: Followers,
}

/// What became of an event that was handed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acceptance {
    /// It is in the log.
    Created(EventId),
    /// The same event was in the log already, under the same key.
    Duplicate(EventId),
    /// Another event is in the log under its key; this one is not.
    Conflict(EventId),
}

impl Acceptance {
    /// The event in the log.
    pub fn id(self) -> EventId {
        match self {
            Self::Created(id) | Self::Duplicate(id) | Self::Conflict(id) => id,
        }
    }
}

/// Why none of several events was taken: the one at `index` says something else than another under its
/// key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contradiction {
    /// Its place among them.
    pub index: usize,
    /// The one in the log; `None` when it stands among them too.
    pub earlier: Option<EventId>,
}

/// The place of an event that is the whole body.
pub fn at_root(_index: usize) -> String {
    String::new()
}

/// What became of events that are taken all together or not at all.
pub type Placed = std::result::Result<Vec<EventId>, Contradiction>;

/// The first event that contradicts one before it.
fn contradiction(events: &[Event]) -> Option<usize> {
    let mut known: HashMap<&str, &Event> = HashMap::new();
    events.iter().position(|event| {
        let Some(key) = event.dedup_key.as_deref() else {
            return false;
        };
        let first = *known.entry(key).or_insert(event);
        !event.says_the_same_as(first)
    })
}

/// What the schema of its type says of an event.
enum Verdict {
    /// Nothing, or there is none.
    Fine,
    /// It does not match, and is stored all the same.
    Observed(Violation),
    /// It does not match, and is refused.
    Refused(Violation, Error),
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
            catalog,
            ids,
            window,
            violations,
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
        let outcomes = self.submit(events, Parts::place_each).await?;
        self.0.note(observed, &outcomes);
        Ok(outcomes)
    }

    /// As [`Acceptor::accept`], but each event for itself: the others are appended without those that do
    /// not match the schema that their type enforces.
    ///
    /// # Errors
    /// As [`Writer::append`]; nothing is stored then.
    pub async fn accept_each(&self, events: Vec<Event>) -> Result<Vec<Result<Acceptance>>> {
        if !events.iter().any(|event| self.0.is_checked(event)) {
            let outcomes = self.submit(events, Parts::place_each).await?;
            return Ok(outcomes.into_iter().map(Ok).collect());
        }
        let mut settled = Vec::new();
        let mut observed = Vec::new();
        let mut kept = Vec::with_capacity(events.len());
        let mut budget = Budget::of_request();
        for (index, event) in events.into_iter().enumerate() {
            match self.0.check(&event, &mut budget) {
                Verdict::Refused(violation, refusal) => match self.known(&event).await? {
                    Some(known) => settled.push((index, Ok(known))),
                    None => {
                        self.0.violations.note(violation, None);
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
            self.submit(kept, Parts::place_each).await?
        };
        self.0.note(observed, &appended);
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
    ) -> Result<Vec<(usize, Violation)>> {
        let mut observed = Vec::new();
        let mut budget = Budget::of_request();
        for (index, event) in events.iter().enumerate() {
            match self.0.check(event, &mut budget) {
                Verdict::Fine => {}
                Verdict::Observed(violation) => observed.push((index, violation)),
                // Its outcome is found once more with the others'.
                Verdict::Refused(..) if self.known(event).await?.is_some() => {}
                Verdict::Refused(violation, refusal) => {
                    self.0.violations.note(violation, None);
                    return Err(refusal.under(&place(index)));
                }
            }
        }
        Ok(observed)
    }

    /// What came before under the key of an event that its type's schema refuses now: sent again, an event
    /// has the same answer as ever (promise 9), whatever was declared meanwhile.
    async fn known(&self, event: &Event) -> Result<Option<Acceptance>> {
        let Some(key) = &event.dedup_key else {
            return Ok(None);
        };
        self.0.window.loaded().await;
        let space = event.verification.key_space();
        let hash = self.0.window.hash(event.workspace, space, key);
        if self.0.window.seen(hash).is_none() {
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
                move |connection| parts.known(connection, &event),
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
        let placed = self.submit(events, Parts::place_all).await?;
        if let Ok(ids) = &placed {
            for (index, violation) in observed {
                self.0.violations.note(violation, ids.get(index).copied());
            }
        }
        Ok(placed)
    }

    /// Hands events to the writer in one piece, and tells who follows the log of what is owed.
    async fn submit<T: Send + 'static>(
        &self,
        events: Vec<Event>,
        place: impl Fn(&Parts, &Prepared<'_>, &mut [StoredEvent], &mut Vec<OwedDelivery>) -> Result<T>
        + Send
        + 'static,
    ) -> Result<T> {
        if events.iter().any(|event| event.dedup_key.is_some()) {
            self.0.window.loaded().await;
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
                    let outcome = place(&parts, connection, &mut waiting, &mut fresh)?;
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
        let observed = match self.0.check(&event, &mut Budget::of_request()) {
            Verdict::Fine => None,
            Verdict::Observed(violation) => Some(violation),
            Verdict::Refused(violation, refusal) => {
                self.0.violations.note(violation, None);
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
                    parts.append(connection, &mut stored, &mut fresh)?;
                    Ok((stored.id, fresh))
                },
                move |(_, fresh)| told.followers.note(fresh),
            )
            .await?;
        if let Some(violation) = observed {
            self.0.violations.note(violation, Some(id));
        }
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

impl Parts {
    /// Whether a schema is declared of an event's type.
    fn is_checked(&self, event: &Event) -> bool {
        let catalog = self.catalog.current();
        catalog.checked_type(event.workspace, &event.name).is_some()
    }

    /// Checks an event by the schema that is declared of its type, where there is one.
    fn check(&self, event: &Event, budget: &mut Budget) -> Verdict {
        let catalog = self.catalog.current();
        let Some(checked) = catalog.checked_type(event.workspace, &event.name) else {
            return Verdict::Fine;
        };
        let fields = checked.violations(event, budget);
        let Some(first) = fields.first() else {
            return Verdict::Fine;
        };
        let violation = Violation::of(event, first.clone());
        match checked.mode {
            Mode::Observe => Verdict::Observed(violation),
            Mode::Enforce => Verdict::Refused(violation, Error::fields(fields)),
        }
    }

    /// Counts what did not match and was stored; each stands beside its place among `outcomes`.
    fn note(&self, observed: Vec<(usize, Violation)>, outcomes: &[Acceptance]) {
        for (index, violation) in observed {
            if let Some(Acceptance::Created(id)) = outcomes.get(index) {
                self.violations.note(violation, Some(*id));
            }
        }
    }

    /// Appends an event, unless its key says that it is in the log already.
    fn place(
        &self,
        connection: &Prepared<'_>,
        stored: &mut StoredEvent,
        fresh: &mut Vec<OwedDelivery>,
    ) -> Result<Acceptance> {
        if let Some(known) = self.known(connection, &stored.event)? {
            return Ok(known);
        }
        self.append(connection, stored, fresh)?;
        if let Some(key) = &stored.event.dedup_key {
            let space = stored.event.verification.key_space();
            let hash = self.window.hash(stored.event.workspace, space, key);
            self.window.remember(hash, stored.id);
        }
        Ok(Acceptance::Created(stored.id))
    }

    /// What is in the log already under an event's key.
    fn known(&self, connection: &Connection, event: &Event) -> Result<Option<Acceptance>> {
        let Some(key) = &event.dedup_key else {
            return Ok(None);
        };
        let space = event.verification.key_space();
        let Some(id) = self
            .window
            .seen(self.window.hash(event.workspace, space, key))
        else {
            return Ok(None);
        };
        let earlier = events::with_key(connection, event.workspace, id, key)?
            .filter(|earlier| earlier.event.verification.key_space() == space);
        let Some(earlier) = earlier else {
            return Ok(None);
        };
        // Of one whose payload was expunged, what is left is compared: whoever sends it again, because an answer
        // got lost, is told that it came, and its payload does not come back.
        let is_known = event.says_the_same_as(&earlier.event)
            || (past::event_expunged(connection, id)?.is_some()
                && event.says_the_same_but_for_payload(&earlier.event));
        Ok(Some(if is_known {
            Acceptance::Duplicate(id)
        } else {
            Acceptance::Conflict(id)
        }))
    }

    /// Appends each event, unless its key says that it is in the log already.
    fn place_each(
        &self,
        connection: &Prepared<'_>,
        waiting: &mut [StoredEvent],
        fresh: &mut Vec<OwedDelivery>,
    ) -> Result<Vec<Acceptance>> {
        waiting
            .iter_mut()
            .map(|stored| self.place(connection, stored, fresh))
            .collect()
    }

    /// As [`Parts::place_each`], but none when one of them contradicts the log. Looks at all of them
    /// first, so that nothing must be taken back.
    fn place_all(
        &self,
        connection: &Prepared<'_>,
        waiting: &mut [StoredEvent],
        fresh: &mut Vec<OwedDelivery>,
    ) -> Result<Placed> {
        for (index, stored) in waiting.iter().enumerate() {
            if let Some(Acceptance::Conflict(id)) = self.known(connection, &stored.event)? {
                let earlier = Some(id);
                return Ok(Err(Contradiction { index, earlier }));
            }
        }
        let placed = self.place_each(connection, waiting, fresh)?;
        Ok(Ok(placed.into_iter().map(Acceptance::id).collect()))
    }

    /// Gives an event its place in the log, here, on the one writer, so that the log's order is the
    /// order of commits and the projector's cursor never passes an id that is still to come.
    fn append(
        &self,
        connection: &Prepared<'_>,
        stored: &mut StoredEvent,
        fresh: &mut Vec<OwedDelivery>,
    ) -> Result<()> {
        stored.id = self.ids.next(stored.event.received_at_ms);
        events::insert(connection, stored)?;
        let catalog = self.catalog.current();
        owe(connection, &catalog, &self.ids, stored, fresh)
    }
}
