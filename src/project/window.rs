//! A window of the log and what it changes: gathered per profile off the writer, sorted by profile,
//! and written in chunks, so that every page is touched about once a window. Knows the rules of one
//! window; where it begins and what has been written of it is its caller's.

use crate::error::{Error, Result};
use crate::id::{EventId, IdGenerator, ProfileId, WorkspaceId};
use crate::identity;
use crate::profile::TraitChanges;
use crate::store::events::{self, LoggedEvent};
use crate::store::projection::{
    self, Activity, IdentifierKey, NewPerson, OpenWindow, Place, TimelineEntry,
};
use rusqlite::Connection;
use std::collections::HashMap;
use std::ops::{ControlFlow, Range};

const HOUR_MS: i64 = 3_600_000;

/// The bounds of a window; the first that is reached ends it.
#[derive(Debug, Clone, Copy)]
pub struct WindowLimits {
    /// Events: a longer window costs less an event, and more memory.
    pub events: usize,
    /// Bytes of traits, which are kept until they are written.
    pub trait_bytes: usize,
    /// Event types, all of which are counted in the window's last transaction.
    pub event_types: usize,
}

/// A stretch of the log as what it changes. Sorted throughout, so that writes fall where the last
/// one did.
#[derive(Debug)]
pub(super) struct Window {
    /// Its first event.
    pub(super) first: EventId,
    /// Its last event.
    pub(super) end: EventId,
    /// How many events it has, with those that name nobody.
    pub(super) events: usize,
    /// Whether a bound ended it, so that the log very likely goes on.
    pub(super) is_full: bool,
    people: Vec<Person>,
    entries: Vec<TimelineEntry>,
    event_types: Vec<((WorkspaceId, Box<str>), Activity)>,
    usage: Vec<((WorkspaceId, i64), i64)>,
}

/// What a window changes of one person.
#[derive(Debug)]
struct Person {
    profile: ProfileId,
    /// For a profile that does not exist yet: what it is found by.
    creation: Option<IdentifierKey>,
    /// The first event that names the person.
    event: EventId,
    activity: Activity,
    traits: TraitChanges<EventId>,
    /// Where the person's timeline rows begin in the window's.
    first_entry: usize,
}

/// Reads the window that follows `place` and works out what it changes; `None` at the log's end.
///
/// A window that is partly written is read again to the same end, and comes out the same where it
/// counts. Profiles that it has created already are found by their identifiers. Those that it has
/// not created yet get new ids, which are higher than every profile's in the file, so they sort
/// after what is done. A profile's own changes are written with its first row; so what is done
/// says of each profile whether they were.
///
/// # Errors
/// When the file cannot be read.
pub(super) fn read(
    connection: &Connection,
    ids: &IdGenerator,
    now_ms: i64,
    place: Place,
    limits: &WindowLimits,
) -> Result<Option<Window>> {
    let known_end = place.open.map(|open| open.end);
    let last = known_end.unwrap_or(EventId::from_i64(i64::MAX));
    let mut gathered = Gathered::default();
    events::each_between(connection, place.cursor, last, |event| {
        gathered.add(event)?;
        let is_over = known_end.is_none() && gathered.is_full(limits);
        Ok(if is_over {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        })
    })?;
    let is_full = known_end.is_some() || gathered.is_full(limits);
    let Some((first, last)) = gathered.span.or(known_end.map(|end| (end, end))) else {
        return Ok(None);
    };
    let events = gathered.events;
    let people = identify(connection, ids, now_ms, gathered.known, gathered.people)?;
    let entries = gathered.named.iter().map(|(person, event)| TimelineEntry {
        profile: people[*person].profile,
        event: *event,
    });
    let mut window = Window {
        first,
        end: known_end.unwrap_or(last),
        events,
        is_full,
        entries: entries.collect(),
        people,
        event_types: gathered.event_types.into_iter().collect(),
        usage: gathered.usage.into_iter().collect(),
    };
    window.sort();
    Ok(Some(window))
}

/// Finds the people's profiles, or gives new ones. Both in the order of their identifiers: that is
/// how the identifiers lie in the file, and new ones are then also written in that order.
fn identify(
    connection: &Connection,
    ids: &IdGenerator,
    now_ms: i64,
    known: HashMap<IdentifierKey, usize>,
    mut people: Vec<Person>,
) -> Result<Vec<Person>> {
    let mut known: Vec<(IdentifierKey, usize)> = known.into_iter().collect();
    known.sort_unstable();
    let profiles = projection::profiles_of(connection, known.iter().map(|(key, _)| key))?;
    for ((key, person), profile) in known.into_iter().zip(profiles) {
        let person = &mut people[person];
        match profile {
            Some(profile) => person.profile = profile,
            None => {
                person.profile = ids.next(now_ms);
                person.creation = Some(key);
            }
        }
    }
    Ok(people)
}

impl Window {
    fn sort(&mut self) {
        self.entries.sort_unstable();
        self.people.sort_unstable_by_key(|person| person.profile);
        let mut first_entry = 0;
        for person in &mut self.people {
            person.first_entry = first_entry;
            first_entry += usize::try_from(person.activity.events).unwrap_or(0);
        }
        self.event_types.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        self.usage.sort_unstable();
    }

    /// The timeline rows that the transaction after `place` writes: about `limit`, and fewer where
    /// people's traits make up for it. At least one, if any is left.
    pub(super) fn chunk(&self, place: Place, limit: usize) -> Range<usize> {
        let start = place
            .open
            .map_or(0, |open| self.entries.partition_point(|e| *e <= open.done));
        let mut people = self.people_of(start..self.entries.len()).iter().peekable();
        let (mut end, mut rows) = (start, 0);
        while end < self.entries.len() && rows < limit {
            rows += 1;
            if let Some(person) = people.next_if(|person| person.first_entry == end) {
                rows += person.traits.set.len();
            }
            end += 1;
        }
        start..end
    }

    /// The place behind a chunk.
    pub(super) fn after(&self, place: Place, chunk: &Range<usize>) -> Place {
        let last = chunk.end.checked_sub(1).and_then(|at| self.entries.get(at));
        match last {
            Some(done) if chunk.end < self.entries.len() => Place {
                open: Some(OpenWindow {
                    end: self.end,
                    done: *done,
                }),
                ..place
            },
            _ => Place {
                cursor: self.end,
                timeline_rows: place.timeline_rows
                    + i64::try_from(self.entries.len()).unwrap_or(i64::MAX),
                open: None,
            },
        }
    }

    /// Makes a chunk's changes, in the caller's transaction; the last chunk's counts the events by
    /// type and hour. May run again after a rollback.
    ///
    /// # Errors
    /// When the file refuses.
    pub(super) fn write(
        &self,
        connection: &Connection,
        segment: i64,
        chunk: &Range<usize>,
    ) -> Result<()> {
        let people = self.people_of(chunk.clone());
        if chunk.start == 0 {
            projection::begin_segment(connection, segment, self.first)?;
        }
        projection::insert_people(connection, people.iter().filter_map(Person::created))?;
        projection::add_activity(connection, people.iter().map(|p| (p.profile, p.activity)))?;
        projection::change_traits(connection, people.iter().map(|p| (p.profile, &p.traits)))?;
        let entries = self.entries.get(chunk.clone()).unwrap_or_default();
        projection::insert_timeline(connection, segment, entries)?;
        if chunk.end == self.entries.len() {
            let types = self.event_types.iter();
            let types = types.map(|((workspace, name), seen)| (*workspace, &**name, *seen));
            projection::note_event_types(connection, types)?;
            let usage = self.usage.iter();
            let usage = usage.map(|((workspace, hour), events)| (*workspace, *hour, *events));
            projection::add_usage(connection, usage)?;
        }
        Ok(())
    }

    /// The people whose first timeline row is among these.
    fn people_of(&self, entries: Range<usize>) -> &[Person] {
        let begins_before = |at: usize| self.people.partition_point(|p| p.first_entry < at);
        self.people
            .get(begins_before(entries.start)..begins_before(entries.end))
            .unwrap_or_default()
    }
}

impl Person {
    fn created(&self) -> Option<NewPerson<'_>> {
        self.creation.as_ref().map(|identifier| NewPerson {
            profile: self.profile,
            identifier,
            event: self.event,
        })
    }
}

/// A window as it is read: people are numbered as they come, their profiles not looked up yet.
#[derive(Default)]
struct Gathered {
    events: usize,
    trait_bytes: usize,
    span: Option<(EventId, EventId)>,
    known: HashMap<IdentifierKey, usize>,
    people: Vec<Person>,
    /// In log order: who was named, by number, and by which event.
    named: Vec<(usize, EventId)>,
    event_types: HashMap<(WorkspaceId, Box<str>), Activity>,
    usage: HashMap<(WorkspaceId, i64), i64>,
}

impl Gathered {
    fn is_full(&self, limits: &WindowLimits) -> bool {
        self.events >= limits.events
            || self.trait_bytes >= limits.trait_bytes
            || self.event_types.len() >= limits.event_types
    }

    fn add(&mut self, event: &LoggedEvent<'_>) -> Result<()> {
        self.events += 1;
        let (first, _) = self.span.unwrap_or((event.id, event.id));
        self.span = Some((first, event.id));
        self.count(event);
        let Some((kind, value)) = identity::person(&event.identifiers) else {
            return Ok(());
        };
        let key = IdentifierKey {
            workspace: event.workspace,
            kind,
            value: value.into(),
        };
        let number = *self.known.entry(key).or_insert(self.people.len());
        self.named.push((number, event.id));
        let seen = once(event.occurred_at_ms);
        let person = match self.people.get_mut(number) {
            Some(person) => {
                person.activity = sum(person.activity, seen);
                person
            }
            None => {
                self.people.push(Person {
                    profile: ProfileId::from_i64(0),
                    creation: None,
                    event: event.id,
                    activity: seen,
                    traits: TraitChanges::default(),
                    first_entry: 0,
                });
                &mut self.people[number]
            }
        };
        if let Some(traits) = event.traits {
            self.trait_bytes += traits.len();
            person
                .traits
                .merge(traits, event.replace_traits, event.id)
                .map_err(Error::internal)?;
        }
        Ok(())
    }

    fn count(&mut self, event: &LoggedEvent<'_>) {
        let seen = once(event.received_at_ms);
        self.event_types
            .entry((event.workspace, event.name.into()))
            .and_modify(|activity| *activity = sum(*activity, seen))
            .or_insert(seen);
        let hour = event.received_at_ms.div_euclid(HOUR_MS);
        *self.usage.entry((event.workspace, hour)).or_default() += 1;
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
