//! Listing: what was not sent from memory is put on its webhook's due list, where the lanes find it. Most
//! deliveries are sent before anybody looks, and cost no list an entry. Decides nothing about who sends.

use super::backlog::in_background;
use crate::error::Result;
use crate::id::{DeliveryId, WebhookId};
use crate::store::Readers;
use crate::store::deliveries::{self, Unlisted};
use crate::store::writer::Writer;
use crate::time::now_ms;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Deliveries that are looked at in one go: few enough to be listed in milliseconds of the writer.
const AT_ONCE: usize = 2_048;
/// What was committed is looked at after this time, so that after a crash there is little to look through.
const EVERY: Duration = Duration::from_millis(500);
/// How long to leave the file alone when it could not be read or written.
const SETBACK: Duration = Duration::from_secs(1);

/// When to look next, and whose lanes wait for that.
#[derive(Debug)]
pub(super) struct Listing {
    /// Whether something was committed that was not looked at yet.
    is_needed: bool,
    /// Up to this one all that the server made was looked at.
    looked_to: Option<DeliveryId>,
    /// Lanes that had no room for what was committed, since the last look began.
    turned_away: HashSet<WebhookId>,
    is_running: bool,
    next: Instant,
}

impl Listing {
    /// Nothing is known to be unlisted.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            is_needed: false,
            looked_to: None,
            turned_away: HashSet::new(),
            is_running: false,
            next: now,
        }
    }

    /// Whether a delivery was looked at already: then its lane was told of it, or it waits no more.
    pub(super) fn has_looked_at(&self, id: DeliveryId) -> bool {
        self.looked_to.is_some_and(|looked_to| id <= looked_to)
    }

    /// Something was committed, and is sent from memory as far as anybody knows.
    pub(super) fn committed(&mut self, now: Instant) {
        if !self.is_needed {
            self.is_needed = true;
            self.next = now + EVERY;
        }
    }

    /// Something was committed that these lanes had no room for, or may not have heard of: it is looked
    /// for at once.
    pub(super) fn turned_away(
        &mut self,
        webhooks: impl IntoIterator<Item = WebhookId>,
        now: Instant,
    ) {
        self.is_needed = true;
        self.next = now;
        self.turned_away.extend(webhooks);
    }

    /// Whether to look now, and for which lanes above all; if so, the look has begun.
    pub(super) fn begin(&mut self, now: Instant) -> Option<HashSet<WebhookId>> {
        if self.is_running || !self.is_needed || now < self.next {
            return None;
        }
        self.is_running = true;
        self.is_needed = false;
        Some(std::mem::take(&mut self.turned_away))
    }

    /// Takes what a look came to, and says whose lanes have something to read: those that were turned away,
    /// and those that do not know what was listed.
    pub(super) fn end(
        &mut self,
        listed: Option<Listed>,
        turned_away: HashSet<WebhookId>,
        is_known: impl Fn(DeliveryId, WebhookId) -> bool,
        now: Instant,
    ) -> HashSet<WebhookId> {
        self.is_running = false;
        let Some(listed) = listed else {
            return HashSet::new();
        };
        self.looked_to = listed.last.max(self.looked_to);
        let unknown = listed.waiting.into_iter();
        let unknown = unknown.filter(|(id, webhook)| !is_known(*id, *webhook));
        let mut readers: HashSet<_> = unknown.map(|(_, webhook)| webhook).collect();
        readers.extend(turned_away);
        if listed.is_full {
            self.turned_away(readers.iter().copied(), now);
        }
        readers
    }

    /// How long until it is time to look, if it ever is.
    pub(super) fn wait(&self, now: Instant) -> Option<Duration> {
        let waits = self.is_needed && !self.is_running;
        waits.then(|| self.next.saturating_duration_since(now))
    }
}

/// What one look came to.
pub(super) struct Listed {
    /// The last delivery that was looked at, if there was any.
    pub(super) last: Option<DeliveryId>,
    /// What was put on the lists, and whose it is.
    pub(super) waiting: Vec<(DeliveryId, WebhookId)>,
    /// Whether there may be more that was not looked at.
    pub(super) is_full: bool,
}

/// Looks at the deliveries after the last one that was looked at, and lists those that wait. Keeps at it
/// while the file is locked or full; `None` when the box stops.
pub(super) async fn list_as_due(readers: &Readers, writer: &Writer) -> Option<Listed> {
    loop {
        match look(readers, writer).await {
            Ok(listed) => return Some(listed),
            Err(e) if writer.is_alive() => {
                tracing::error!(error = %e, "deliveries could not be put on the due lists yet");
                tokio::time::sleep(SETBACK).await;
            }
            Err(_) => return None,
        }
    }
}

async fn look(readers: &Readers, writer: &Writer) -> Result<Listed> {
    let readers = readers.clone();
    let found = in_background(move || deliveries::unlisted(&*readers.get()?, AT_ONCE)).await?;
    let Some(unlisted) = found.map(Arc::new) else {
        return Ok(Listed {
            last: None,
            waiting: Vec::new(),
            is_full: false,
        });
    };
    let written = Arc::<Unlisted>::clone(&unlisted);
    writer
        .record(move |connection| deliveries::list_as_due(connection, &written, now_ms()))
        .await?;
    Ok(Listed {
        last: Some(unlisted.last),
        waiting: unlisted.waiting.clone(),
        is_full: unlisted.is_full,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: WebhookId = WebhookId::from_i64(1);
    const B: WebhookId = WebhookId::from_i64(2);

    /// A look that has listed the deliveries 1, 2, … of these webhooks.
    fn listed(webhooks: &[WebhookId], is_full: bool) -> Option<Listed> {
        let ids = (1..).map(DeliveryId::from_i64);
        let waiting: Vec<_> = ids.zip(webhooks.iter().copied()).collect();
        Some(Listed {
            last: waiting.last().map(|(id, _)| *id),
            waiting,
            is_full,
        })
    }

    fn nothing_known(_: DeliveryId, _: WebhookId) -> bool {
        false
    }

    #[test]
    fn what_is_sent_from_memory_is_looked_at_after_a_while() {
        let start = Instant::now();
        let mut listing = Listing::new(start);
        assert_eq!((listing.wait(start), listing.begin(start)), (None, None));
        listing.committed(start);
        let soon = start + EVERY / 2;
        listing.committed(soon);
        assert_eq!(
            (listing.wait(soon), listing.begin(soon)),
            (Some(EVERY / 2), None)
        );
        let then = start + EVERY;
        assert_eq!(listing.begin(then), Some(HashSet::new()));
        listing.committed(then);
        let later = then + EVERY;
        assert_eq!(
            (listing.wait(later), listing.begin(later)),
            (None, None),
            "one at a time"
        );
        let readers = listing.end(listed(&[A], false), HashSet::new(), nothing_known, later);
        assert_eq!(readers, HashSet::from([A]));
        assert!(listing.begin(later).is_some());
    }

    #[test]
    fn a_lane_that_was_full_is_looked_for_at_once_and_until_all_is_listed() {
        let start = Instant::now();
        let mut listing = Listing::new(start);
        listing.committed(start);
        let nobody = listing.begin(start + EVERY).unwrap();
        listing.turned_away([A], start);
        listing.end(listed(&[], false), nobody, nothing_known, start);
        let waiting = listing.begin(start).unwrap();
        assert_eq!(waiting, HashSet::from([A]));
        let readers = listing.end(listed(&[B], true), waiting, nothing_known, start);
        assert_eq!(readers, HashSet::from([A, B]));
        let waiting = listing.begin(start).unwrap();
        assert_eq!(waiting, HashSet::from([A, B]), "there was more");
        listing.end(listed(&[], false), waiting, nothing_known, start);
        assert_eq!(listing.begin(start + EVERY), None, "that was all");
    }

    #[test]
    fn what_was_looked_at_is_known_for_good() {
        let start = Instant::now();
        let mut listing = Listing::new(start);
        let has_looked_at =
            |listing: &Listing| [1, 2, 3].map(|id| listing.has_looked_at(DeliveryId::from_i64(id)));
        assert_eq!(has_looked_at(&listing), [false; 3]);
        for found in [listed(&[A, B], true), listed(&[], false), None] {
            listing.end(found, HashSet::new(), nothing_known, start);
            assert_eq!(has_looked_at(&listing), [true, true, false]);
        }
    }

    #[test]
    fn a_lane_that_has_what_was_listed_in_memory_reads_nothing() {
        let start = Instant::now();
        let mut listing = Listing::new(start);
        listing.committed(start);
        let nobody = listing.begin(start + EVERY).unwrap();
        let is_known = |id: DeliveryId, _| id == DeliveryId::from_i64(1);
        let readers = listing.end(listed(&[A, B], false), nobody, is_known, start);
        assert_eq!(readers, HashSet::from([B]));
    }
}
