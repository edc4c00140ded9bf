//! The projector stepped by hand on real files: any windows, any chunks and a stop after any of them
//! lead where projecting the events one by one leads.

mod told;

use super::{PaceLimits, ProjectLimits, Projector, Step, WindowLimits};
use crate::event::{Event, EventKind, Identifiers, StoredEvent, Verification};
use crate::followers;
use crate::funnel::Stage;
use crate::id::{EventId, FunnelId, IdGenerator, ProfileId, WebhookId, WorkspaceId};
use crate::manage::{self, Actor};
use crate::secret::Vault;
use crate::store::catalog::{Catalog, CatalogHandle};
use crate::store::funnels;
use crate::store::journal;
use crate::store::projection::{self, Place, SEGMENT_ROWS};
use crate::store::writer::{Writer, WriterLimits};
use crate::store::{self, Files, Readers, events, profiles, workspaces};
use crate::time::{month, now_ms};
use crate::webhook::{Signing, WebhookInput};
use proptest::prelude::*;
use rusqlite::Connection;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const BEGAN_MS: i64 = 1_790_000_000_000;
const ALL: usize = 10_000;

/// An event as it is made up: small numbers, so that they meet. An identifier of 0 names nobody.
#[derive(Debug, Clone)]
struct Made {
    workspace: i64,
    user: u8,
    visitor: u8,
    email: u8,
    customer: u8,
    group: u8,
    is_b2b: bool,
    is_verified: bool,
    kind: EventKind,
    name: u8,
    traits: Option<BTreeMap<String, Option<u8>>>,
    replaces: bool,
    minutes: i64,
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
    catalog: CatalogHandle,
    ids: Arc<IdGenerator>,
    projector: Projector,
    limits: ProjectLimits,
    /// Wants to know everything of the first workspace's profiles.
    webhook: WebhookId,
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
        make_workspaces(&connection);
        let webhook = make_webhook(&connection, files.vault());
        let (catalog, _) = CatalogHandle::open(&connection, files.vault()).unwrap();
        let readers = files.readers().unwrap();
        let ids = Arc::new(store::id_generator(&connection, 0).unwrap());
        let bounds = WriterLimits {
            queue: 8,
            queue_bytes: 1_000,
            group: 8,
        };
        let (writer, _) = Writer::start(connection, bounds, || ()).unwrap();
        let projector = Projector::new(
            writer.clone(),
            readers.clone(),
            catalog.clone(),
            followers::followers(1).0,
            Arc::clone(&ids),
            limits,
        );
        Self {
            readers,
            writer,
            catalog,
            ids,
            projector,
            limits,
            webhook,
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
            self.catalog.clone(),
            followers::followers(1).0,
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
        for workspace in WORKSPACE_IDS.map(WorkspaceId::from_i64) {
            for row in profiles::page(&reader, workspace, None, ALL).unwrap() {
                let facts = self.facts(workspace, &row);
                let name = format!("{:?}", self.names(row.id));
                assert!(all.insert(name, facts).is_none(), "nobody is two");
            }
            let counts = profiles::event_types(&reader, workspace, ALL).unwrap();
            let usage = profiles::usage(&reader, workspace, 0, i64::MAX).unwrap();
            let population = journal::population(&reader, workspace).unwrap();
            let active = journal::active(&reader, workspace, month(BEGAN_MS)).unwrap();
            let funnel = funnels::of_workspace(&reader, workspace).unwrap()[0].id;
            let mut stages = funnels::stage_counts(&reader, funnel).unwrap();
            stages.retain(|(_, profiles)| *profiles != 0);
            let all_of_it = format!("{counts:?} {usage:?} {population:?} {active} {stages:?}");
            all.insert(workspace.to_string(), vec![all_of_it]);
        }
        all
    }

    /// All that is known of a profile.
    fn facts(&self, workspace: WorkspaceId, row: &profiles::ProfileRow) -> Vec<String> {
        let reader = self.readers.get().unwrap();
        let parts = profiles::parts(&reader, row.id).unwrap();
        let mut facts = vec![format!(
            "{:?} {} {} {} {} {} {}",
            row.kind,
            row.events,
            row.first_seen_at_ms,
            row.last_seen_at_ms,
            row.pageviews,
            row.sessions,
            row.goals
        )];
        for found in profiles::identifiers(&reader, workspace, row.id).unwrap() {
            let number = self.number(found.event);
            facts.push(format!("{} {} by {number}", found.kind, found.value));
        }
        for found in profiles::traits(&reader, row.id).unwrap() {
            let number = self.number(found.event);
            facts.push(format!(
                "{}={} {} by {number}",
                found.name, found.value, found.is_unverified
            ));
        }
        for found in journal::stages(&reader, row.id).unwrap() {
            let number = self.number(found.event);
            facts.push(format!("{:?} by {number}", found.stage));
        }
        for found in journal::members(&reader, &parts).unwrap() {
            let number = self.number(found.event);
            facts.push(format!("{:?} by {number}", self.names(found.profile)));
        }
        for found in journal::merges(&reader, &parts).unwrap() {
            let number = self.number(found.event);
            let (kind, value) = (found.identifier_kind, found.identifier_value);
            facts.push(format!("{} {kind} {value} by {number}", found.is_merged));
        }
        facts[1..].sort_unstable();
        facts.push(format!("{:?}", self.timeline(&parts)));
        facts
    }

    /// What a profile is known by.
    fn names(&self, profile: ProfileId) -> BTreeSet<String> {
        let reader = self.readers.get().unwrap();
        let of = |workspace| {
            let of_workspace = WorkspaceId::from_i64(workspace);
            let found = profiles::identifiers(&reader, of_workspace, profile).unwrap();
            let name = move |found: profiles::IdentifierRow| {
                format!("{workspace}: {} {}", found.kind, found.value)
            };
            found.into_iter().map(name)
        };
        WORKSPACE_IDS.into_iter().flat_map(of).collect()
    }

    /// Who is who: the identifiers, profile by profile.
    fn partition(&self) -> BTreeSet<BTreeSet<String>> {
        let reader = self.readers.get().unwrap();
        let of = |workspace| {
            profiles::page(&reader, WorkspaceId::from_i64(workspace), None, ALL).unwrap()
        };
        let found = WORKSPACE_IDS.into_iter().flat_map(of);
        found.map(|row| self.names(row.id)).collect()
    }

    /// Asks for the newest merge to be taken apart; whether there is one.
    fn undo_newest(&mut self) -> bool {
        let reader = self.readers.get().unwrap();
        let newest = |workspace| {
            let workspace = WorkspaceId::from_i64(workspace);
            let rows = profiles::page(&reader, workspace, None, ALL).unwrap();
            let parts = rows
                .iter()
                .flat_map(|row| profiles::parts(&reader, row.id).unwrap());
            let merges = journal::merges(&reader, &parts.collect::<Vec<_>>()).unwrap();
            let merged = merges
                .into_iter()
                .filter(|merge| merge.is_merged && merge.undone_at_ms.is_none());
            merged.map(|merge| (merge.id, workspace)).max()
        };
        let Some((id, workspace)) = WORKSPACE_IDS.into_iter().filter_map(newest).max() else {
            return false;
        };
        self.writer
            .alone_blocking(move |connection| {
                journal::request_undo(connection, workspace, id, now_ms())
            })
            .unwrap();
        true
    }

    /// The numbers of a profile's events, newest first, read in pages of two.
    fn timeline(&self, parts: &[ProfileId]) -> Vec<usize> {
        let reader = self.readers.get().unwrap();
        let mut found: Vec<EventId> = Vec::new();
        loop {
            let before = found.last().copied();
            let page = profiles::timeline(&reader, parts, before, 2).unwrap();
            found.extend(page.iter().map(|row| row.event));
            if page.len() < 2 {
                break;
            }
        }
        assert!(found.is_sorted_by(|a, b| a > b), "newest first: {found:?}");
        found.into_iter().map(|event| self.number(event)).collect()
    }
}

const WORKSPACE_IDS: [i64; 2] = [1, 2];
/// Two workspaces with a funnel each. In it, two types of events lead somewhere.
fn make_workspaces(connection: &Connection) {
    let rules = [
        [("Type 1", Stage::Consideration), ("Type 2", Stage::Trial)].as_slice(),
        [("Type 2", Stage::Customer)].as_slice(),
    ];
    for (id, rules) in WORKSPACE_IDS.into_iter().zip(rules) {
        let (workspace, funnel) = (WorkspaceId::from_i64(id), FunnelId::from_i64(id));
        workspaces::insert_workspace(connection, workspace, "A", "a", 0).unwrap();
        funnels::insert(connection, funnel, workspace, "Default", 0).unwrap();
        funnels::save(
            connection,
            workspace,
            funnel,
            "Default",
            rules.iter().copied(),
        )
        .unwrap();
    }
}

/// The first workspace's webhook, which wants everything that there is to say of profiles.
fn make_webhook(connection: &Connection, vault: &Vault) -> WebhookId {
    let ids = store::id_generator(connection, 0).unwrap();
    let actor = Actor {
        user: None,
        address: None,
        now_ms: BEGAN_MS,
        ids: &ids,
        catalog: &Catalog::default(),
    };
    let input = WebhookInput {
        name: "Profiles".to_owned(),
        url: "https://example.com/".to_owned(),
        events: vec!["profile.*".to_owned()],
        ..WebhookInput::default()
    };
    let workspace = WorkspaceId::from_i64(WORKSPACE_IDS[0]);
    let made = manage::create_webhook(connection, &actor, vault, workspace, &input, Signing::Hmac);
    made.unwrap().id
}

fn event(made: &Made, received_at_ms: i64) -> Event {
    let id = |number: u8, prefix: &str| {
        let text = if number == 0 {
            "0".to_owned()
        } else {
            format!("{prefix}{number}")
        };
        Some(text.into())
    };
    let name = match made.kind {
        EventKind::Track => format!("Type {}", made.name),
        kind => kind.as_str().to_owned(),
    };
    Event {
        workspace: WorkspaceId::from_i64(made.workspace),
        source: None,
        kind: made.kind,
        name: name.into(),
        identifiers: Identifiers {
            user_id: id(made.user, "u"),
            visitor_id: id(made.visitor, "v"),
            email: id(made.email, "e"),
            customer_id: id(made.customer, "c"),
            group_id: id(made.group, "g"),
        },
        properties: None,
        traits: made
            .traits
            .as_ref()
            .map(|traits| serde_json::to_string(traits).unwrap().into()),
        context: None,
        replace_traits: made.replaces,
        customer_is_account: made.is_b2b,
        occurred_at_ms: received_at_ms + made.minutes * 60_000,
        received_at_ms,
        verification: if made.is_verified {
            Verification::Server
        } else {
            Verification::Unverified
        },
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
        visitor: 0,
        email: 0,
        customer: 0,
        group: 0,
        is_b2b: false,
        is_verified: true,
        kind: EventKind::Track,
        name: 0,
        traits: None,
        replaces: false,
        minutes: 0,
    }
}

fn some_kind() -> impl Strategy<Value = EventKind> {
    prop_oneof![
        4 => Just(EventKind::Track),
        1 => Just(EventKind::Identify),
        1 => Just(EventKind::Page),
        1 => Just(EventKind::Group),
    ]
}

/// Mostly nobody, so that most events name one or two.
fn some_id(highest: u8) -> impl Strategy<Value = u8> {
    prop_oneof![3 => Just(0u8), 2 => 1..=highest]
}

fn some_event() -> impl Strategy<Value = Made> {
    let traits = proptest::collection::btree_map("[a-c]", proptest::option::of(0u8..3), 0..3);
    // User 1 is the hot one: most chunks end in the middle of its rows.
    let user = prop_oneof![2 => Just(1u8), 3 => 0u8..4, 3 => Just(0u8)];
    let ids = (user, some_id(5), some_id(3), some_id(2), some_id(2));
    let flags = (proptest::bool::weighted(0.8), any::<bool>());
    (
        1i64..=2,
        ids,
        flags,
        some_kind(),
        0u8..3,
        proptest::option::of(traits),
        -120i64..120,
    )
        .prop_map(|(workspace, ids, flags, kind, name, traits, minutes)| {
            let (user, visitor, email, customer, group) = ids;
            let (is_verified, replaces) = flags;
            // Each customer is the one or the other.
            let is_b2b = customer == 2;
            Made {
                workspace,
                user,
                visitor,
                email,
                customer,
                group,
                is_b2b,
                is_verified,
                kind,
                name,
                replaces: replaces && traits.is_some(),
                traits,
                minutes,
            }
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
        log.assert_told();
        prop_assert_eq!(log.projected(), one_by_one(&made));
    }
}

/// An event about one of a few people who share nothing.
fn event_of_a_person() -> impl Strategy<Value = Made> {
    (1u8..4, 0u8..3, 0u8..3, any::<bool>(), any::<bool>()).prop_map(
        |(person, email, visitor, has_user, has_customer)| Made {
            user: if has_user { person } else { 0 },
            customer: if has_customer { person } else { 0 },
            // Each has two of these.
            email: if email == 0 { 0 } else { person * 2 + email },
            visitor: if visitor == 0 {
                0
            } else {
                person * 2 + visitor
            },
            ..track(0)
        },
    )
}

fn partition_of(made: &[Made]) -> BTreeSet<BTreeSet<String>> {
    let mut log = Log::new(limits(ALL, ALL));
    log.append(made);
    log.drain();
    log.partition()
}

/// What the verified events name, profile by profile, without what only others name.
fn verified_part(
    partition: BTreeSet<BTreeSet<String>>,
    verified: &BTreeSet<String>,
) -> BTreeSet<BTreeSet<String>> {
    let mut found: BTreeSet<BTreeSet<String>> = partition
        .into_iter()
        .map(|names| names.intersection(verified).cloned().collect())
        .collect();
    found.remove(&BTreeSet::new());
    found
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_order_of_verified_events_does_not_matter_where_nothing_contradicts(
        made in proptest::collection::vec(event_of_a_person(), 1..24).prop_shuffle(),
        keys in proptest::collection::vec(any::<u16>(), 24),
    ) {
        let mut shuffled: Vec<(u16, Made)> = keys.into_iter().zip(made.clone()).collect();
        shuffled.sort_by_key(|(key, _)| *key);
        let shuffled: Vec<Made> = shuffled.into_iter().map(|(_, made)| made).collect();
        prop_assert_eq!(partition_of(&made), partition_of(&shuffled));
    }

    #[test]
    fn an_event_without_proof_makes_nobody_one_with_another(
        made in proptest::collection::vec(some_event(), 1..40),
    ) {
        let verified: Vec<Made> = made.iter().filter(|made| made.is_verified).cloned().collect();
        let alone = partition_of(&verified);
        let known = alone.iter().flatten().cloned().collect();
        prop_assert_eq!(verified_part(partition_of(&made), &known), alone);
    }

    #[test]
    fn taking_apart_restores_who_was_who(
        made in proptest::collection::vec(some_event(), 1..30),
        last in some_event(),
    ) {
        let mut log = Log::new(limits(ALL, ALL));
        log.append(&made);
        log.drain();
        let before = log.partition();
        log.append(&[Made { is_verified: true, ..last }]);
        log.drain();
        let known: BTreeSet<String> = before.iter().flatten().cloned().collect();
        let merged = before.len() - verified_part(log.partition(), &known).len();
        for _ in 0..merged {
            prop_assert!(log.undo_newest());
            log.drain();
        }
        prop_assert_eq!(verified_part(log.partition(), &known), before);
    }
}

#[test]
fn an_anonymous_visitor_becomes_the_user_and_can_be_taken_out_again() {
    let visit = Made {
        kind: EventKind::Page,
        visitor: 1,
        traits: Some(BTreeMap::from([
            ("a".into(), Some(1)),
            ("b".into(), Some(1)),
        ])),
        minutes: -90,
        ..track(0)
    };
    let user = Made {
        traits: Some(BTreeMap::from([("a".into(), Some(2))])),
        name: 1,
        ..track(1)
    };
    let both = Made {
        visitor: 1,
        name: 2,
        ..track(1)
    };
    let mut log = Log::new(limits(100, 100));
    log.append(&[visit, user]);
    log.drain();
    let apart = log.projected();
    assert_eq!(log.partition().len(), 2);
    log.append(&[both]);
    log.drain();
    let one = log.projected();
    let name = |names: &[&str]| format!("{:?}", names.iter().collect::<BTreeSet<_>>());
    let facts = &one[&name(&["1: user_id u1", "1: visitor_id v1"])];
    assert!(
        facts[0].starts_with(&format!("Person 3 {} ", BEGAN_MS - 90 * 60_000)),
        "{facts:?}"
    );
    for fact in [
        "a=2 false by 1",
        "b=1 false by 0",
        "Trial by 2",
        "[2, 1, 0]",
    ] {
        assert!(facts.iter().any(|known| known == fact), "{fact}: {facts:?}");
    }
    assert!(log.undo_newest());
    log.drain();
    let after = log.projected();
    let visitor = name(&["1: visitor_id v1"]);
    let unjournaled = |facts: &[String]| -> Vec<String> {
        facts
            .iter()
            .filter(|fact| !fact.starts_with("true "))
            .cloned()
            .collect()
    };
    assert_eq!(unjournaled(&after[&visitor]), apart[&visitor]);
    // The same event again does not undo what a person has decided.
    log.append(&[Made {
        visitor: 1,
        ..track(1)
    }]);
    log.drain();
    assert_eq!(log.partition().len(), 2);
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
