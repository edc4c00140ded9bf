//! An event's place in the log: what the writer's transaction does for it, and what a sender's key says of one that
//! came before. Knows no queue and nobody who waits.

use crate::dedup::{DedupWindow, KeyHash};
use crate::error::Result;
use crate::event::{Event, StoredEvent};
use crate::id::{EventId, IdGenerator};
use crate::owe::owe;
use crate::store::catalog::CatalogHandle;
use crate::store::deliveries::OwedDelivery;
use crate::store::prepared::Prepared;
use crate::store::{events, past};
use rusqlite::Connection;
use std::collections::HashMap;
use std::sync::Arc;

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

/// What became of events that are taken all together or not at all.
pub type Placed = std::result::Result<Vec<EventId>, Contradiction>;

/// The first event that contradicts one before it.
pub(super) fn contradiction(events: &[Event]) -> Option<usize> {
    let mut known: HashMap<&str, &Event> = HashMap::new();
    events.iter().position(|event| {
        let Some(key) = event.dedup_key.as_deref() else {
            return false;
        };
        let first = *known.entry(key).or_insert(event);
        !event.says_the_same_as(first)
    })
}

/// Gives events their places in the log.
#[derive(Debug, Clone)]
pub(super) struct Placer {
    catalog: CatalogHandle,
    ids: Arc<IdGenerator>,
    window: Arc<DedupWindow>,
}

impl Placer {
    pub(super) fn new(
        catalog: CatalogHandle,
        ids: Arc<IdGenerator>,
        window: Arc<DedupWindow>,
    ) -> Self {
        Self {
            catalog,
            ids,
            window,
        }
    }

    /// Returns when the keys of the log are known.
    pub(super) async fn loaded(&self) {
        self.window.loaded().await;
    }

    /// An event's key, and what it is remembered as.
    fn key<'e>(&self, event: &'e Event) -> Option<(&'e str, KeyHash)> {
        let key = event.dedup_key.as_deref()?;
        let space = event.verification.key_space();
        Some((key, self.window.hash(event.workspace, space, key)))
    }

    /// Whether an event may have come before under its key; the log says whether it did.
    pub(super) fn may_know(&self, event: &Event) -> bool {
        let key = self.key(event);
        key.is_some_and(|(_, hash)| self.window.seen(hash).is_some())
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
        if let Some((_, hash)) = self.key(&stored.event) {
            self.window.remember(hash, stored.id);
        }
        Ok(Acceptance::Created(stored.id))
    }

    /// What is in the log already under an event's key.
    pub(super) fn known(
        &self,
        connection: &Connection,
        event: &Event,
    ) -> Result<Option<Acceptance>> {
        let seen = |(key, hash)| Some((key, self.window.seen(hash)?));
        let Some((key, id)) = self.key(event).and_then(seen) else {
            return Ok(None);
        };
        let space = event.verification.key_space();
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
    pub(super) fn place_each(
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

    /// As [`Placer::place_each`], but none when one of them contradicts the log. Looks at all of them
    /// first, so that nothing must be taken back.
    pub(super) fn place_all(
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
    pub(super) fn append(
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
