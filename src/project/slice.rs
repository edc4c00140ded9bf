//! What a slice of the log changes, worked out off the writer and gathered per profile, so that the
//! transaction holds one write where the slice had many.

use crate::error::{Error, Result};
use crate::event::StoredEvent;
use crate::id::{EventId, IdGenerator, ProfileId, WorkspaceId};
use crate::identity::{self, IdentifierKind};
use crate::profile::TraitChanges;
use crate::store::projection::{self, Activity};
use rusqlite::Connection;
use std::collections::{BTreeMap, HashMap};

const HOUR_MS: i64 = 3_600_000;

/// What a slice changes. Ordered by key throughout, so that writes fall where the last one did.
#[derive(Debug, Default)]
pub(super) struct Changes {
    profiles: BTreeMap<ProfileId, ProfileChange>,
    event_types: BTreeMap<(WorkspaceId, Box<str>), Activity>,
    usage: BTreeMap<(WorkspaceId, i64), i64>,
}

#[derive(Debug)]
struct ProfileChange {
    /// For a profile that did not exist before.
    creation: Option<Creation>,
    traits: TraitChanges<EventId>,
    activity: Activity,
    events: Vec<EventId>,
}

#[derive(Debug)]
struct Creation {
    workspace: WorkspaceId,
    identifier: (IdentifierKind, String),
    event: EventId,
}

/// Works out what `events`, in log order, change.
///
/// # Errors
/// When the file cannot be read.
pub(super) fn resolve(
    connection: &Connection,
    ids: &IdGenerator,
    now_ms: i64,
    events: &[StoredEvent],
) -> Result<Changes> {
    let mut changes = Changes::default();
    let mut known: HashMap<(WorkspaceId, IdentifierKind, String), ProfileId> = HashMap::new();
    for stored in events {
        changes.count(stored);
        let event = &stored.event;
        let Some((kind, value)) = identity::person(&event.identifiers) else {
            continue;
        };
        let key = (event.workspace, kind, value.into_owned());
        let (profile, creation) = match known.get(&key) {
            Some(profile) => (*profile, None),
            None => match projection::profile_of(connection, key.0, kind, &key.2)? {
                Some(profile) => (profile, None),
                None => {
                    let identifier = (kind, key.2.clone());
                    (
                        ids.next(now_ms),
                        Some(Creation {
                            workspace: key.0,
                            identifier,
                            event: stored.id,
                        }),
                    )
                }
            },
        };
        known.insert(key, profile);
        changes.add(profile, creation, stored)?;
    }
    Ok(changes)
}

impl Changes {
    fn count(&mut self, stored: &StoredEvent) {
        let event = &stored.event;
        let seen = once(event.received_at_ms);
        self.event_types
            .entry((event.workspace, event.name.clone()))
            .and_modify(|activity| *activity = sum(*activity, seen))
            .or_insert(seen);
        *self
            .usage
            .entry((event.workspace, event.received_at_ms.div_euclid(HOUR_MS)))
            .or_default() += 1;
    }

    fn add(
        &mut self,
        profile: ProfileId,
        creation: Option<Creation>,
        stored: &StoredEvent,
    ) -> Result<()> {
        let seen = once(stored.event.occurred_at_ms);
        let change = self
            .profiles
            .entry(profile)
            .or_insert_with(|| ProfileChange {
                creation: None,
                traits: TraitChanges::default(),
                activity: Activity { events: 0, ..seen },
                events: Vec::new(),
            });
        change.creation = change.creation.take().or(creation);
        change.activity = sum(change.activity, seen);
        change.events.push(stored.id);
        if let Some(traits) = &stored.event.traits {
            change
                .traits
                .merge(traits, stored.event.replace_traits, stored.id)
                .map_err(Error::internal)?;
        }
        Ok(())
    }

    /// Rows that this adds to timelines.
    pub(super) fn timeline_rows(&self) -> i64 {
        self.profiles
            .values()
            .map(|change| change.activity.events)
            .sum()
    }

    /// Makes the changes, in the caller's transaction. May run again after a rollback.
    ///
    /// # Errors
    /// When the file refuses.
    pub(super) fn write(&self, connection: &Connection, segment: i64) -> Result<()> {
        for (profile, change) in &self.profiles {
            if let Some(creation) = &change.creation {
                let (kind, value) = &creation.identifier;
                projection::insert_person(connection, creation.workspace, *profile)?;
                projection::insert_identifier(
                    connection,
                    creation.workspace,
                    (*kind, value),
                    *profile,
                    creation.event,
                )?;
            }
            projection::add_activity(connection, *profile, change.activity)?;
            projection::change_traits(connection, *profile, &change.traits)?;
            for event in &change.events {
                projection::insert_timeline(connection, segment, *profile, *event)?;
            }
        }
        for ((workspace, name), seen) in &self.event_types {
            projection::note_event_type(connection, *workspace, name, *seen)?;
        }
        for ((workspace, hour), events) in &self.usage {
            projection::add_usage(connection, *workspace, *hour, *events)?;
        }
        Ok(())
    }
}

fn once(at_ms: i64) -> Activity {
    Activity {
        first_seen_at_ms: at_ms,
        last_seen_at_ms: at_ms,
        events: 1,
    }
}

fn sum(a: Activity, b: Activity) -> Activity {
    Activity {
        first_seen_at_ms: a.first_seen_at_ms.min(b.first_seen_at_ms),
        last_seen_at_ms: a.last_seen_at_ms.max(b.last_seen_at_ms),
        events: a.events + b.events,
    }
}
