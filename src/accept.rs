//! ACCEPT: one event, one place in the log. Hands a normalized event to the writer together with a
//! message and a delivery for every webhook that wants it, and after the commit tells those who
//! follow the log. Knows no dialect and no HTTP.

use crate::error::{Error, Result};
use crate::event::{Event, StoredEvent};
use crate::id::{EventId, IdGenerator, MessageId};
use crate::message::{self, MessageSource};
use crate::store::catalog::{Catalog, CatalogHandle};
use crate::store::deliveries::{self, NewDelivery, NewMessage, OwedDelivery};
use crate::store::events;
use crate::store::writer::Writer;
use crate::webhook::{Format, WebhookState};
use bytes::Bytes;
use rusqlite::Connection;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc as blocking;
use tokio::sync::mpsc;

/// Those who follow the log: told after a commit, and never waited for.
#[derive(Debug, Clone)]
pub struct Followers {
    fresh: mpsc::Sender<OwedDelivery>,
    overflowed: Arc<AtomicBool>,
    log_grew: blocking::SyncSender<()>,
}

/// The dispatcher's end of [`Followers`].
#[derive(Debug)]
pub struct FreshDeliveries {
    /// What was committed as due at once.
    pub queue: mpsc::Receiver<OwedDelivery>,
    overflowed: Arc<AtomicBool>,
}

impl FreshDeliveries {
    /// Whether something did not fit since the last call and must be read from the file.
    pub fn take_overflow(&self) -> bool {
        self.overflowed.swap(false, Ordering::AcqRel)
    }
}

/// The projector's end of [`Followers`]: a message means that the log grew.
pub type LogGrew = blocking::Receiver<()>;

/// The two ends; `room` deliveries may wait in memory.
pub fn followers(room: usize) -> (Followers, FreshDeliveries, LogGrew) {
    let (fresh, queue) = mpsc::channel(room);
    // One token is enough: it says "look again", not how much there is.
    let (log_grew, grown) = blocking::sync_channel(1);
    let overflowed = Arc::new(AtomicBool::new(false));
    let followers = Followers {
        fresh,
        overflowed: Arc::clone(&overflowed),
        log_grew,
    };
    (followers, FreshDeliveries { queue, overflowed }, grown)
}

impl Followers {
    fn tell(&self, fresh: &[OwedDelivery]) {
        for delivery in fresh {
            if self.fresh.try_send(delivery.clone()).is_err() {
                // Its pending row is on disk, so the dispatcher finds it there.
                self.overflowed.store(true, Ordering::Release);
            }
        }
        // An error means that a token lies there already, or that the box stops.
        let _ = self.log_grew.try_send(());
    }
}

/// Takes events into the log.
#[derive(Debug, Clone)]
pub struct Acceptor {
    writer: Writer,
    catalog: CatalogHandle,
    ids: Arc<IdGenerator>,
    followers: Followers,
}

struct Accepted {
    id: EventId,
    fresh: Vec<OwedDelivery>,
}

impl Acceptor {
    /// An acceptor that writes with `writer` and tells `followers`.
    pub fn new(
        writer: Writer,
        catalog: CatalogHandle,
        ids: Arc<IdGenerator>,
        followers: Followers,
    ) -> Self {
        Self {
            writer,
            catalog,
            ids,
            followers,
        }
    }

    /// Appends `event` to the log. When this returns its id, the event and everything that is owed
    /// because of it are on disk (promise 1).
    ///
    /// # Errors
    /// As [`Writer::append`]; nothing is stored then.
    pub async fn accept(&self, event: Event) -> Result<EventId> {
        let catalog = self.catalog.clone();
        let ids = Arc::clone(&self.ids);
        let followers = self.followers.clone();
        let mut stored = StoredEvent {
            id: EventId::from_i64(0),
            event,
        };
        let accepted = self
            .writer
            .append(
                move |connection| {
                    // Here, on the one writer, so that the log's order is the order of commits and
                    // the projector's cursor never passes an id that is still to come.
                    stored.id = ids.next(stored.event.received_at_ms);
                    append(connection, &catalog.current(), &ids, &stored)
                },
                move |accepted: &Accepted| followers.tell(&accepted.fresh),
            )
            .await?;
        Ok(accepted.id)
    }
}

fn append(
    connection: &Connection,
    catalog: &Catalog,
    ids: &IdGenerator,
    stored: &StoredEvent,
) -> Result<Accepted> {
    let event = &stored.event;
    events::insert(connection, stored)?;
    let mut fresh = Vec::new();
    let mut messages: Vec<(Format, MessageId, Bytes)> = Vec::new();
    let wanting = catalog
        .webhooks_of(event.workspace)
        .iter()
        .filter(|webhook| webhook.wants(&event.name));
    for webhook in wanting {
        let known = messages
            .iter()
            .find(|(format, ..)| *format == webhook.format);
        let (message, body) = match known {
            Some((_, message, body)) => (*message, body.clone()),
            None => {
                let (message, body) =
                    insert_message(connection, catalog, ids, stored, webhook.format)?;
                messages.push((webhook.format, message, body.clone()));
                (message, body)
            }
        };
        let is_due = webhook.state == WebhookState::Active;
        let delivery = NewDelivery {
            id: ids.next(event.received_at_ms),
            workspace: event.workspace,
            webhook: webhook.id,
            message,
            event: Some(stored.id),
            due_at_ms: is_due.then_some(event.received_at_ms),
        };
        deliveries::insert_delivery(connection, &delivery)?;
        if is_due {
            fresh.push(OwedDelivery {
                id: delivery.id,
                webhook: webhook.id,
                message,
                body,
            });
        }
    }
    Ok(Accepted {
        id: stored.id,
        fresh,
    })
}

fn insert_message(
    connection: &Connection,
    catalog: &Catalog,
    ids: &IdGenerator,
    stored: &StoredEvent,
    format: Format,
) -> Result<(MessageId, Bytes)> {
    let event = &stored.event;
    let source = event.source.and_then(|id| {
        let name = catalog.source_name(id)?;
        Some(MessageSource { id, name })
    });
    let body = Bytes::from(message::body(format, stored, source).map_err(Error::internal)?);
    let id = ids.next(event.received_at_ms);
    let message = NewMessage {
        id,
        workspace: event.workspace,
        event: Some(stored.id),
        event_type: &event.name,
        body: &body,
    };
    deliveries::insert_message(connection, &message)?;
    Ok((id, body))
}
