//! PROJECT: profiles follow the log within a second, traits merge as the contract says, and each
//! event counts exactly once, whatever dies in between.

use crate::support::load::Load;
use crate::support::server::{identify_body, track_body};
use crate::support::{Data, Server, Visitor, dice, kills, wait_for_value, wait_until};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Traits as `name: JSON text`.
fn traits(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn sum_of_activity(data: &Data) -> i64 {
    data.number("SELECT coalesce(sum(events), 0) FROM profile_activity")
}

/// Waits until the projector has reached the end of the log.
#[track_caller]
fn wait_for_projector(data: &Data) {
    wait_until("the projector to reach the end of the log", || {
        let behind = data.number(
            "SELECT (SELECT coalesce(max(id), 0) FROM event) - cursor_event_id FROM projector",
        );
        (behind == 0).then_some(())
    });
}

#[test]
fn a_profile_is_found_by_its_user_id() {
    let data = Data::new();
    let tenant = data.tenant("Acme");
    data.member(&tenant.id, "ann@example.com", "viewer");
    let server = data.serve();
    let ann = Visitor::signed_in(&server, "ann@example.com");
    let search = |query: &str| {
        let page = ann.see(&format!("/w/{}/profiles?q={query}", tenant.slug));
        let links: Vec<_> = page
            .links()
            .into_iter()
            .filter(|link| link.contains("/profiles/prf_"))
            .collect();
        (page, links)
    };
    assert!(search("user-42").1.is_empty(), "nobody was there before");
    server.accept(
        &tenant.key,
        identify_body("user-42", r#"{"plan":"premium","seats":7}"#),
    );
    server.track(&tenant.key, "somebody-else", "Other");
    let link = wait_until("the profile to be found", || search("user-42").1.pop());
    let page = ann.see(&link);
    for shown in ["user-42", "plan", "premium", "seats", "7"] {
        assert!(page.text().contains(shown), "no {shown}: {}", page.text());
    }
    wait_until("the other profile to be found", || {
        search("somebody-else").1.pop()
    });
    assert!(search("user-4").1.is_empty(), "half an id is no id");
}

#[test]
fn traits_merge_and_the_later_event_wins() {
    let (data, tenant, server) = Data::served();
    let identify = |traits: &str| {
        server.accept(&tenant.key, identify_body("u", traits));
    };
    identify(r#"{"plan":"free","seats":9007199254740993,"tags":["a","b"]}"#);
    identify(r#"{"plan":"premium","active":true}"#);
    let expected = traits(&[
        ("active", "true"),
        ("plan", "\"premium\""),
        ("seats", "9007199254740993"),
        ("tags", r#"["a","b"]"#),
    ]);
    wait_for_value("the traits", &expected, || data.traits("u"));
    assert_eq!(data.rows("profile"), 1);
}

#[test]
fn null_deletes_a_trait() {
    let (data, tenant, server) = Data::served();
    server.accept(
        &tenant.key,
        identify_body("u", r#"{"plan":"free","seats":7}"#),
    );
    let both = traits(&[("plan", "\"free\""), ("seats", "7")]);
    wait_for_value("the traits", &both, || data.traits("u"));
    server.accept(
        &tenant.key,
        identify_body("u", r#"{"plan":null,"never":null}"#),
    );
    wait_for_value("the traits", &traits(&[("seats", "7")]), || {
        data.traits("u")
    });
}

#[test]
fn remove_unspecified_deletes_what_is_not_named() {
    let (data, tenant, server) = Data::served();
    server.accept(
        &tenant.key,
        identify_body("u", r#"{"plan":"free","seats":7}"#),
    );
    server.accept(&tenant.key, identify_body("other", r#"{"plan":"free"}"#));
    let both = traits(&[("plan", "\"free\""), ("seats", "7")]);
    wait_for_value("the traits", &both, || data.traits("u"));
    let replace = json!({
        "userId": "u", "type": "identify", "timestamp": "2026-11-22T10:00:00Z",
        "traits": {"plan": "premium"}, "removeUnspecified": true
    });
    server.accept(&tenant.key, replace.to_string());
    wait_for_value("the traits", &traits(&[("plan", "\"premium\"")]), || {
        data.traits("u")
    });
    assert_eq!(data.traits("other"), traits(&[("plan", "\"free\"")]));
    // And false is what it says.
    let keep = json!({
        "userId": "u", "type": "identify", "timestamp": "2026-11-22T10:00:00Z",
        "traits": {"seats": 8}, "removeUnspecified": false
    });
    server.accept(&tenant.key, keep.to_string());
    let both = traits(&[("plan", "\"premium\""), ("seats", "8")]);
    wait_for_value("the traits", &both, || data.traits("u"));
}

#[test]
fn placeholder_ids_make_no_profile() {
    let (data, tenant, server) = Data::served();
    let placeholders = [
        "anonymous",
        "Anonymous",
        "null",
        "undefined",
        "guest",
        "-1",
        "0",
        "000",
    ];
    for placeholder in placeholders {
        server.accept(
            &tenant.key,
            identify_body(placeholder, r#"{"plan":"free"}"#),
        );
        server.accept(&tenant.key, track_body(placeholder, "Seen"));
    }
    server.track(&tenant.key, "somebody", "Seen");
    wait_for_projector(&data);
    let events = i64::try_from(placeholders.len() * 2 + 1).unwrap();
    assert_eq!(data.rows("event"), events);
    assert_eq!(data.rows("profile"), 1, "only somebody is somebody");
    assert_eq!((data.rows("timeline"), data.rows("trait")), (1, 0));
}

#[test]
fn the_same_user_id_in_two_workspaces_is_two_people() {
    let data = Data::new();
    let (ours, theirs) = (data.tenant("Ours"), data.tenant("Theirs"));
    let server = data.serve();
    server.accept(&ours.key, identify_body("u", r#"{"plan":"ours"}"#));
    server.accept(&theirs.key, identify_body("u", r#"{"plan":"theirs"}"#));
    wait_for_projector(&data);
    assert_eq!((data.rows("profile"), data.rows("trait")), (2, 2));
}

#[test]
fn every_event_is_on_its_profiles_timeline() {
    let data = Data::new();
    let tenant = data.tenant("Acme");
    data.member(&tenant.id, "ann@example.com", "viewer");
    let server = data.serve();
    for n in 0..5 {
        server.track(&tenant.key, "u", &format!("Step {n}"));
    }
    wait_for_projector(&data);
    assert_eq!((data.rows("timeline"), sum_of_activity(&data)), (5, 5));
    let ann = Visitor::signed_in(&server, "ann@example.com");
    let found = ann.see(&format!("/w/{}/profiles?q=u", tenant.slug));
    let link = found
        .links()
        .into_iter()
        .find(|link| link.contains("/profiles/prf_"))
        .expect("a link to the profile");
    let page = ann.see(&link).text();
    for n in 0..5 {
        assert!(page.contains(&format!("Step {n}")), "{page}");
    }
}

#[test]
fn each_event_is_projected_exactly_once_over_kills() {
    let mut dice = dice("each_event_is_projected_exactly_once_over_kills");
    let data = Data::new();
    let tenant = data.tenant("Acme");
    let mut server = data.serve();
    let load = Load::start(&server.url, &tenant.key, 4, USERS);
    let mut inside = 0;
    for kill in 0..kills() {
        let before = load.acknowledged();
        wait_until("some events to be acknowledged", || {
            (load.acknowledged() > before + 20).then_some(())
        });
        // The moment is the test: any at all, or one in the middle of a window.
        if kill % 2 == 0 {
            std::thread::sleep(Duration::from_millis(dice.u64(0..300)));
        } else {
            wait_for_the_middle_of_a_window(&data);
        }
        server.process.kill();
        inside +=
            data.number("SELECT count(*) FROM projector WHERE window_end_event_id IS NOT NULL");
        append_backlog(&data);
        server = data.serve();
        load.moved_to(&server.url);
        println!("kill {kill}: {} acknowledged", load.acknowledged());
    }
    println!("{inside} of {} kills were inside a window", kills());
    assert!(inside > 0, "no kill was inside a window");
    let outcome = load.stop();
    let posted = i64::try_from(outcome.check_stored(&data)).unwrap();
    wait_for_projector(&data);
    let stored = posted + BACKLOG * i64::try_from(kills()).unwrap();
    assert_eq!(data.rows("event"), stored);
    assert_eq!(data.rows("timeline"), stored, "timeline rows are events");
    assert_eq!(sum_of_activity(&data), stored, "counters are events");
    assert_eq!(data.number("SELECT sum(events) FROM event_type"), stored);
    assert_eq!(data.number("SELECT sum(events) FROM usage_hour"), stored);
    assert_eq!(
        data.rows("profile"),
        i64::try_from(USERS).unwrap() + BACKLOG_USERS
    );
    check_counters_by_profile(&data);
    check_latest_traits(&data);
    keep(&server);
}

/// The users of the load, which are users of the backlog, too.
const USERS: u64 = 25;
/// Events that the box finds in its log after each kill: a window of many chunks.
const BACKLOG: i64 = 9_000;
/// Users that only the backlog names.
const BACKLOG_USERS: i64 = 3_000;

/// Puts events straight into the log of a box that is down: a third of them are one hot user's, a
/// third the load's users', and a third others'; each says in a trait which one it is.
fn append_backlog(data: &Data) {
    let mut connection = rusqlite::Connection::open(data.file()).unwrap();
    let transaction = connection.transaction().unwrap();
    let last = "SELECT coalesce(max(id), 0) FROM event";
    let last: i64 = transaction.query_row(last, [], |row| row.get(0)).unwrap();
    let workspace = "SELECT id FROM workspace";
    let workspace: i64 = transaction
        .query_row(workspace, [], |row| row.get(0))
        .unwrap();
    for n in 0..BACKLOG {
        let id = last + 1 + n;
        let user = match n % 3 {
            0 => 0,
            1 => n % i64::try_from(USERS).unwrap(),
            _ => i64::try_from(USERS).unwrap() + n / 3,
        };
        transaction
            .prepare_cached(
                "INSERT INTO event (id, workspace_id, kind, name, user_id, traits, replace_traits,
                    occurred_at_ms, received_at_ms, verification)
                 VALUES (?1, ?2, 'identify', 'identify', ?3, ?4, 0, 1790000000000, 1790000000000, 'server')",
            )
            .unwrap()
            .execute((
                id,
                workspace,
                format!("user-{user}"),
                format!(r#"{{"event":{id}}}"#),
            ))
            .unwrap();
    }
    transaction.commit().unwrap();
}

/// Looks without a pause, so that it returns within the same millisecond.
#[track_caller]
fn wait_for_the_middle_of_a_window(data: &Data) {
    let connection = data.open();
    let mut statement = connection
        .prepare("SELECT window_end_event_id IS NOT NULL FROM projector")
        .unwrap();
    let mut is_inside = || {
        statement
            .query_row([], |row| row.get::<_, bool>(0))
            .unwrap()
    };
    let started = Instant::now();
    while !is_inside() {
        if started.elapsed() > PATIENCE {
            println!("the window was over before it could be seen");
            return;
        }
    }
}

/// A box that has caught up has no long window any more, so the wait for one must end.
const PATIENCE: Duration = Duration::from_secs(1);

/// Each profile's trait is what its last event said.
#[track_caller]
fn check_latest_traits(data: &Data) {
    let wrong = data.number(
        "WITH latest AS (
            SELECT t.profile_id, max(t.event_id) AS event_id FROM timeline t
            JOIN event e ON e.id = t.event_id AND e.kind = 'identify' GROUP BY t.profile_id)
         SELECT count(*) FROM latest LEFT JOIN trait USING (profile_id)
         WHERE trait.event_id IS NOT latest.event_id OR trait.value != trait.event_id",
    );
    assert_eq!(wrong, 0, "profiles whose trait is not the last event's");
}

/// Each profile's counter is the number of its own timeline rows.
#[track_caller]
fn check_counters_by_profile(data: &Data) {
    let wrong = data.number(
        "WITH counted AS (SELECT profile_id, count(*) AS events FROM timeline GROUP BY profile_id)
         SELECT count(*) FROM profile_activity a LEFT JOIN counted c USING (profile_id)
         WHERE a.events IS NOT c.events",
    );
    assert_eq!(wrong, 0, "profiles whose counter is not their timeline");
}

/// The server must live until here: its end would close the file under the counts.
fn keep(server: &Server) {
    assert_eq!(server.get("/healthz/live").status(), 200);
}
