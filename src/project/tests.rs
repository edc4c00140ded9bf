//! The projector stepped by hand on real files: any windows, any chunks and a stop after any of them
//! lead where projecting the events one by one leads.

use super::{PaceLimits, ProjectLimits, Projector, Step, WindowLimits};
use crate::event::{Event, EventKind, Identifiers, StoredEvent, Verification};
use crate::id::{EventId, IdGenerator, WorkspaceId};
use crate::store::projection::{self, Place, SEGMENT_ROWS};
use crate::store::writer::{Writer, WriterLimits};
use crate::store::{self, Files, Readers, events, profiles};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

const BEGAN_MS: i64 = 1_790_000_000_000;
const ALL: usize = 10_000;

/// An event as it is made up: small numbers, so that they meet.
#[derive(Debug, Clone)]
struct Made {
    workspace: i64,
    /// 0 names nobody.
    user: u8,
    name: u8,
    traits: Option<BTreeMap<String, Option<u8>>>,
    replaces: bool,
    hour: i64,
}

fn limits(window_events: usize, chunk_rows: usize) -> ProjectLimits {
    ProjectLimits {
        window: WindowLimits {
            events: window_events,
            trait_bytes: ALL,
            event_types: ALL,
        },
        gather_ms: 0,
        chunk_rows,
        pace: PaceLimits {
            rest: 0,
            rest_behind: 0,
            rest_limit_ms: 0,
            behind_ms: 0,
            alarm_ms: i64::MAX,
            all_clear_ms: 0,
        },
    }
}

/// A file with a log that is projected by steps.
struct Log {
    readers: Readers,
    writer: Writer,
    ids: Arc<IdGenerator>,
    projector: Projector,
    limits: ProjectLimits,
    /// Of the n-th event.
    events: Vec<EventId>,
    _folder: tempfile::TempDir,
}

impl Log {
    fn new(limits: ProjectLimits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::prepare(folder.path()).unwrap();
        let connection = files.open_writer().unwrap();
        // Nothing here is killed but in the test's own mind, so nothing needs to be on the disk.
        connection.pragma_update(None, "synchronous", 0).unwrap();
        let readers = files.readers().unwrap();
        let ids = Arc::new(store::id_generator(&connection, 0).unwrap());
        let bounds = WriterLimits {
            queue: 8,
            queue_bytes: 1_000,
            group: 8,
        };
        let (writer, _) = Writer::start(connection, bounds).unwrap();
        let projector = Projector::new(writer.clone(), readers.clone(), Arc::clone(&ids), limits);
        Self {
            readers,
            writer,
            ids,
            projector,
            limits,
            events: Vec::new(),
            _folder: folder,
        }
    }

    /// Everything that a process knows is gone; only the file is left.
    fn restart(&mut self) {
        self.ids = Arc::new(store::id_generator(&self.readers.get().unwrap(), 0).unwrap());
        self.projector = Projector::new(
            self.writer.clone(),
            self.readers.clone(),
            Arc::clone(&self.ids),
            self.limits,
        );
    }

    fn append(&mut self, made: &[Made]) {
        let first = self.events.len();
        let stored: Vec<_> = (first..)
            .zip(made)
            .map(|(at, made)| {
                let received_at_ms = BEGAN_MS + i64::try_from(at).unwrap();
                let id = self.ids.next(received_at_ms);
                let event = event(made, received_at_ms);
                StoredEvent { id, event }
            })
            .collect();
        self.events.extend(stored.iter().map(|stored| stored.id));
        self.writer
            .alone_blocking(move |connection| {
                stored
                    .iter()
                    .try_for_each(|e| events::insert(connection, e))
            })
            .unwrap();
    }

    fn place(&self) -> Place {
        projection::place(&self.readers.get().unwrap()).unwrap()
    }

    /// As if so many timeline rows had been written before.
    fn set_timeline_rows(&self, timeline_rows: i64) {
        let from = self.place();
        let to = Place {
            timeline_rows,
            ..from
        };
        self.writer
            .alone_blocking(move |connection| projection::advance(connection, from, to))
            .unwrap();
    }

    fn drain(&mut self) {
        while self.projector.step().unwrap() != Step::Idle {}
    }

    fn number(&self, event: EventId) -> usize {
        self.events.binary_search(&event).unwrap()
    }

    /// Everything that was projected, without the ids that may differ.
    fn projected(&self) -> BTreeMap<String, Vec<String>> {
        let reader = self.readers.get().unwrap();
        let mut all = BTreeMap::new();
        for workspace in [1, 2].map(WorkspaceId::from_i64) {
            for row in profiles::page(&reader, workspace, None, ALL).unwrap() {
                let mut facts = vec![format!(
                    "{} {} {}",
                    row.events, row.first_seen_at_ms, row.last_seen_at_ms
                )];
                for found in profiles::identifiers(&reader, workspace, row.id).unwrap() {
                    let number = self.number(found.event);
                    facts.push(format!("{} {} by {number}", found.kind, found.value));
                }
                for found in profiles::traits(&reader, row.id).unwrap() {
                    let number = self.number(found.event);
                    facts.push(format!("{}={} by {number}", found.name, found.value));
                }
                facts.push(format!("{:?}", self.timeline(row.id)));
                let name = format!("{workspace} {}", row.identifier.unwrap());
                assert!(all.insert(name, facts).is_none(), "one profile a user");
            }
            let counts = profiles::event_types(&reader, workspace, ALL).unwrap();
            let usage = profiles::usage(&reader, workspace, 0, i64::MAX).unwrap();
            all.insert(
                workspace.to_string(),
                vec![format!("{counts:?}"), format!("{usage:?}")],
            );
        }
        all
    }

    /// The numbers of a profile's events, newest first, read in pages of two.
    fn timeline(&self, profile: crate::id::ProfileId) -> Vec<usize> {
        let reader = self.readers.get().unwrap();
        let mut found: Vec<EventId> = Vec::new();
        loop {
            let before = found.last().copied();
            let page = profiles::timeline(&reader, profile, before, 2).unwrap();
            found.extend(page.iter().map(|row| row.event));
            if page.len() < 2 {
                break;
            }
        }
        assert!(found.is_sorted_by(|a, b| a > b), "newest first: {found:?}");
        found.into_iter().map(|event| self.number(event)).collect()
    }
}

fn event(made: &Made, received_at_ms: i64) -> Event {
    Event {
        workspace: WorkspaceId::from_i64(made.workspace),
        source: None,
        kind: EventKind::Track,
        name: format!("Type {}", made.name).into(),
        identifiers: Identifiers {
            user_id: Some(made.user.to_string().into()),
            ..Identifiers::default()
        },
        properties: None,
        traits: made
            .traits
            .as_ref()
            .map(|traits| serde_json::to_string(traits).unwrap().into()),
        context: None,
        replace_traits: made.replaces,
        customer_is_account: false,
        occurred_at_ms: received_at_ms - made.hour * 3_600_000,
        received_at_ms,
        verification: Verification::Server,
        channel: None,
        dedup_key: None,
    }
}

/// Where the events lead when each is a window of its own.
fn one_by_one(made: &[Made]) -> BTreeMap<String, Vec<String>> {
    let mut log = Log::new(limits(1, 1));
    log.append(made);
    log.drain();
    log.projected()
}

fn track(user: u8) -> Made {
    Made {
        workspace: 1,
        user,
        name: 0,
        traits: None,
        replaces: false,
        hour: 0,
    }
}

fn some_event() -> impl Strategy<Value = Made> {
    let traits = proptest::collection::btree_map("[a-c]", proptest::option::of(0u8..3), 0..3);
    // User 1 is the hot one: most chunks end in the middle of its rows.
    let user = prop_oneof![Just(1u8), 0u8..7];
    (
        1i64..=2,
        user,
        0u8..3,
        proptest::option::of(traits),
        any::<bool>(),
        0i64..3,
    )
        .prop_map(|(workspace, user, name, traits, replaces, hour)| Made {
            workspace,
            user,
            name,
            replaces: replaces && traits.is_some(),
            traits,
            hour,
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_windows_chunks_and_stops_lead_to_the_same(
        made in proptest::collection::vec(some_event(), 1..60),
        window_events in 1usize..40,
        chunk_rows in 1usize..12,
        rows_left_in_segment in 0i64..40,
        stops in proptest::collection::vec(any::<bool>(), 1..12),
        // So many events come with each of the first steps.
        arrivals in proptest::collection::vec(1usize..30, 1..8),
    ) {
        let mut log = Log::new(limits(window_events, chunk_rows));
        log.set_timeline_rows(SEGMENT_ROWS - rows_left_in_segment);
        let mut rest = made.as_slice();
        let mut arrivals = arrivals.into_iter();
        let mut stops = stops.into_iter().cycle();
        loop {
            let (now, later) = rest.split_at(arrivals.next().unwrap_or(rest.len()).min(rest.len()));
            log.append(now);
            rest = later;
            if log.projector.step().unwrap() == Step::Idle && rest.is_empty() {
                break;
            }
            if stops.next().unwrap() {
                log.restart();
            }
        }
        prop_assert_eq!(log.projected(), one_by_one(&made));
    }
}

#[test]
fn a_window_goes_on_after_a_stop_at_every_chunk() {
    // Known people, new ones on both sides of a hot one, and one with traits to the end.
    let mut made: Vec<Made> = (1..60)
        .map(|n| track(if n % 3 == 0 { n } else { 7 }))
        .collect();
    for (n, made) in made.iter_mut().enumerate() {
        made.traits = Some(BTreeMap::from([("n".to_owned(), u8::try_from(n).ok())]));
    }
    let (before, window) = made.split_at(10);
    let mut log = Log::new(limits(100, 4));
    log.append(before);
    log.drain();
    log.append(window);
    let mut chunks = 0;
    loop {
        let step = log.projector.step().unwrap();
        chunks += 1;
        if matches!(step, Step::WindowEnd { .. }) {
            break;
        }
        let open = log.place().open.expect("a window that is partly written");
        assert_eq!(open.end, *log.events.last().unwrap());
        log.restart();
    }
    assert!(chunks > 12, "{chunks}");
    assert_eq!(log.place().open, None);
    assert_eq!(log.projected(), one_by_one(&made));
}

#[test]
fn what_arrives_while_a_window_is_written_waits_for_the_next() {
    let mut log = Log::new(limits(100, 4));
    let first: Vec<Made> = (1..11).map(track).collect();
    log.append(&first);
    let end = *log.events.last().unwrap();
    assert!(matches!(log.projector.step().unwrap(), Step::Chunk(_)));
    log.append(&first);
    log.restart();
    while !matches!(log.projector.step().unwrap(), Step::WindowEnd { .. }) {
        assert_eq!(log.place().open.map(|open| open.end), Some(end));
    }
    assert_eq!(log.place().cursor, end);
    log.drain();
    assert_eq!(log.place().cursor, *log.events.last().unwrap());
    assert_eq!(
        log.projected(),
        one_by_one(&[first.clone(), first].concat())
    );
}

#[test]
fn a_step_that_fails_is_taken_again() {
    let mut log = Log::new(limits(100, 4));
    let made: Vec<Made> = (1..11).map(track).collect();
    log.append(&made);
    assert!(matches!(log.projector.step().unwrap(), Step::Chunk(_)));
    // Another has moved the projector's place: what it holds in memory is out of date.
    log.set_timeline_rows(0);
    let place = log.place();
    let elsewhere = Place {
        cursor: EventId::from_i64(1),
        ..place
    };
    let go = |from, to| {
        log.writer
            .alone_blocking(move |connection| projection::advance(connection, from, to))
            .unwrap();
    };
    go(place, elsewhere);
    assert_eq!(log.projector.step().unwrap_err().code(), "cursor_moved");
    go(elsewhere, place);
    log.drain();
    assert_eq!(log.projected(), one_by_one(&made));
}

#[test]
fn a_window_ends_at_each_of_its_bounds() {
    let ends_after = |window: WindowLimits| {
        let mut log = Log::new(ProjectLimits {
            window,
            ..limits(100, 100)
        });
        let made: Vec<Made> = (1..9)
            .map(|n| Made {
                name: n,
                traits: Some(BTreeMap::from([("n".to_owned(), Some(1))])),
                ..track(n)
            })
            .collect();
        log.append(&made);
        log.projector.step().unwrap();
        log.number(log.place().cursor) + 1
    };
    let wide = limits(100, 100).window;
    assert_eq!(ends_after(wide), 8);
    assert_eq!(ends_after(WindowLimits { events: 3, ..wide }), 3);
    let traits = r#"{"n":1}"#.len();
    assert_eq!(
        ends_after(WindowLimits {
            trait_bytes: 4 * traits,
            ..wide
        }),
        4
    );
    assert_eq!(
        ends_after(WindowLimits {
            event_types: 5,
            ..wide
        }),
        5
    );
}
