//! The people behind the events: who is one, who stays two, who is taken apart again, how far they have
//! come, and who hears of it. Through HTTP and the pages.

use crate::support::receiver::Receiver;
use crate::support::{Data, Server, Tenant, Visitor, wait_until};
use serde_json::{Value, json};

const ADMIN: &str = "admin@example.com";

/// A box with a workspace and its admin.
fn opened() -> (Data, Tenant, Server, Visitor) {
    let data = Data::new();
    let tenant = data.tenant("Acme");
    data.member(&tenant.id, ADMIN, "admin");
    let server = data.serve();
    let admin = Visitor::signed_in(&server, ADMIN);
    (data, tenant, server, admin)
}

fn post(server: &Server, tenant: &Tenant, event: &Value) {
    let (status, answer) = server.post_native(&tenant.key, event.to_string());
    assert_eq!(status, 200, "{answer}");
}

/// The pages of the profiles that hold an identifier.
fn found(visitor: &Visitor, tenant: &Tenant, identifier: &str) -> Vec<String> {
    let page = visitor.see(&format!("/w/{}/profiles?q={identifier}", tenant.slug));
    let links = page.links().into_iter();
    links
        .filter(|link| link.contains("/profiles/prf_"))
        .collect()
}

/// Waits for the one profile that holds both identifiers.
#[track_caller]
fn wait_for_one(visitor: &Visitor, tenant: &Tenant, identifiers: [&str; 2]) -> String {
    wait_until("the two to be one profile", || {
        let [one, other] = identifiers.map(|id| found(visitor, tenant, id));
        (!one.is_empty() && one == other).then(|| one[0].clone())
    })
}

#[test]
fn a_visitor_who_signs_up_keeps_what_was_done_before_and_can_be_taken_out_again() {
    let (_data, tenant, server, admin) = opened();
    post(
        &server,
        &tenant,
        &json!({"event": "page", "kind": "page", "visitorId": "v-1"}),
    );
    post(
        &server,
        &tenant,
        &json!({"event": "Looked Around", "visitorId": "v-1",
        "timestamp": "2024-01-01T10:00:00Z", "traits": {"plan": "free", "theme": "dark"}}),
    );
    post(
        &server,
        &tenant,
        &json!({"event": "identify", "kind": "identify", "userId": "ada",
        "traits": {"plan": "premium"}}),
    );
    let visitor = wait_until("the visitor's profile", || {
        found(&admin, &tenant, "v-1").pop()
    });
    wait_until("the user's profile", || found(&admin, &tenant, "ada").pop());
    post(
        &server,
        &tenant,
        &json!({"event": "signup", "userId": "ada", "visitorId": "v-1", "email": "Ada@Example.com"}),
    );
    let one = wait_for_one(&admin, &tenant, ["ada", "v-1"]);
    assert_eq!(
        found(&admin, &tenant, "ada@example.COM"),
        std::slice::from_ref(&one)
    );
    let page = admin.see(&one);
    for shown in [
        "Looked Around",
        "signup",
        "identify",
        "\"premium\"",
        "\"dark\"",
        "Consideration",
        "Another profile became part of this one",
        "visitor_id v-1",
    ] {
        assert!(page.text().contains(shown), "no {shown}: {}", page.text());
    }
    assert!(page.html.contains("2024-01-01T10:00:00.000Z"));
    assert!(
        !page.text().contains("\"free\""),
        "the user's own plan stands: {}",
        page.text()
    );
    // The old address leads to the whole.
    let moved = admin.get(&visitor);
    assert_eq!((moved.status, moved.location()), (303, one.as_str()));

    let undo = page
        .forms()
        .into_iter()
        .find(|form| form.action.ends_with("/undo"));
    let undo = undo.expect("a form to undo the merge").action;
    admin.submit(&undo, &[]);
    wait_until("the two to be two again", || {
        (found(&admin, &tenant, "v-1") == [visitor.clone()]).then_some(())
    });
    let visitors = admin.see(&visitor).text();
    assert!(
        visitors.contains("Looked Around") && visitors.contains("\"free\""),
        "{visitors}"
    );
    let users = admin.see(&one).text();
    assert!(
        !users.contains("Looked Around") && !users.contains("dark"),
        "{users}"
    );
    assert!(users.contains("Taken apart again"), "{users}");
    // Nothing merges again what a person has taken apart, and nothing is undone twice.
    post(
        &server,
        &tenant,
        &json!({"event": "Came Back", "userId": "ada", "visitorId": "v-1"}),
    );
    wait_until("the next event to be the user's", || {
        admin.see(&one).text().contains("Came Back").then_some(())
    });
    assert!(admin.see(&one).text().contains("Kept apart"));
    assert_eq!(found(&admin, &tenant, "v-1"), [visitor]);
    let again = admin.post(&undo, &[]);
    assert_eq!(again.status, 409, "{}", again.text());
}

#[test]
fn two_users_stay_two_and_the_page_says_so() {
    let (_data, tenant, server, admin) = opened();
    post(
        &server,
        &tenant,
        &json!({"event": "A", "userId": "ada", "email": "shared@example.com"}),
    );
    post(
        &server,
        &tenant,
        &json!({"event": "B", "userId": "bob", "email": "shared@example.com"}),
    );
    let bob = wait_until("bob's profile", || found(&admin, &tenant, "bob").pop());
    let ada = found(&admin, &tenant, "ada").pop().unwrap();
    assert_ne!(ada, bob);
    assert_eq!(
        found(&admin, &tenant, "shared@example.com"),
        std::slice::from_ref(&ada)
    );
    let page = admin.see(&bob);
    assert!(
        page.text()
            .contains("Kept apart: it belongs to another profile"),
        "{}",
        page.text()
    );
    assert!(page.links().contains(&ada), "{:?}", page.links());
}

#[test]
fn placeholders_are_nobody_and_emails_have_no_case() {
    let (data, tenant, server, admin) = opened();
    for value in [
        "null",
        "undefined",
        "Anonymous",
        "guest",
        "-1",
        "0",
        "00000000-0000-0000-0000-000000000000",
    ] {
        post(
            &server,
            &tenant,
            &json!({"event": "A", "userId": value, "email": "one@example.com"}),
        );
    }
    post(
        &server,
        &tenant,
        &json!({"event": "Last", "email": " ONE@Example.com "}),
    );
    let one = wait_until("the profile", || {
        found(&admin, &tenant, "one@example.com").pop()
    });
    wait_until("all eight events to be counted", || {
        (data.number("SELECT coalesce(sum(events), 0) FROM profile_activity") == 8).then_some(())
    });
    assert!(admin.see(&one).text().contains("Last"));
    assert_eq!(data.number("SELECT count(*) FROM identifier"), 1);
}

#[test]
fn an_account_and_its_member_both_show_the_event() {
    let (_data, tenant, server, admin) = opened();
    post(
        &server,
        &tenant,
        &json!({"event": "Seat Added", "userId": "ada", "groupId": "acme-inc"}),
    );
    post(
        &server,
        &tenant,
        &json!({"event": "group", "kind": "group", "userId": "ada", "groupId": "acme-inc",
        "traits": {"seats": 7}}),
    );
    let account = wait_until("the account", || found(&admin, &tenant, "acme-inc").pop());
    let person = found(&admin, &tenant, "ada").pop().unwrap();
    wait_until("the account's trait", || {
        admin.see(&account).text().contains("seats").then_some(())
    });
    let (of_account, of_person) = (admin.see(&account), admin.see(&person));
    assert!(of_account.text().contains("Seat Added") && of_person.text().contains("Seat Added"));
    assert!(of_account.links().contains(&person) && of_person.links().contains(&account));
    assert!(
        !of_person.text().contains("seats"),
        "a group's traits are the account's"
    );
}

#[test]
fn counts_follow_pages_sessions_and_goals() {
    let (data, tenant, server, _admin) = opened();
    let at = |minute: u32| format!("2026-01-01T10:{minute:02}:00Z");
    for (event, kind, minute) in [
        ("page", "page", 0),
        ("page", "page", 20),
        ("signup", "track", 51),
    ] {
        post(
            &server,
            &tenant,
            &json!({"event": event, "kind": kind, "userId": "ada", "timestamp": at(minute)}),
        );
    }
    wait_until("three events to be counted", || {
        (data.number("SELECT coalesce(sum(events), 0) FROM profile_activity") == 3).then_some(())
    });
    // 31 minutes without an event make a second session.
    assert_eq!(
        data.number("SELECT pageviews * 100 + sessions * 10 + goals FROM profile_activity"),
        221
    );
    assert_eq!(data.number("SELECT profiles FROM active_month"), 1);
}

#[test]
fn a_funnel_is_edited_and_events_follow_it_from_then_on() {
    let (data, tenant, server, admin) = opened();
    let funnels = format!("/w/{}/funnels", tenant.slug);
    post(
        &server,
        &tenant,
        &json!({"event": "signup", "userId": "ada"}),
    );
    post(
        &server,
        &tenant,
        &json!({"event": "trial_start", "userId": "bob"}),
    );
    wait_until("two people in the funnel", || {
        (data.number("SELECT coalesce(sum(profiles), 0) FROM stage_count") == 2).then_some(())
    });
    let page = admin.see(&funnels);
    assert!(page.text().contains("signup"), "{}", page.text());
    let forms = page.forms().into_iter().map(|form| form.action);
    let of_default = forms
        .into_iter()
        .find(|action| action.contains("/funnels/fnl_"))
        .unwrap();
    let refused = admin.post(
        &of_default,
        &[
            ("name", "Default"),
            ("consideration", "signup"),
            ("trial", "signup"),
            ("customer", ""),
        ],
    );
    assert_eq!(refused.status, 422);
    assert!(
        refused
            .text()
            .contains("signup leads to Consideration already"),
        "{}",
        refused.text()
    );
    admin.submit(
        &of_default,
        &[
            ("name", "Main"),
            ("consideration", "Account Created"),
            ("trial", ""),
            ("customer", "Paid"),
        ],
    );
    post(
        &server,
        &tenant,
        &json!({"event": "signup", "userId": "eve"}),
    );
    post(&server, &tenant, &json!({"event": "Paid", "userId": "ada"}));
    // Nobody goes back.
    post(
        &server,
        &tenant,
        &json!({"event": "Account Created", "userId": "ada"}),
    );
    post(
        &server,
        &tenant,
        &json!({"event": "Account Created", "userId": "kim"}),
    );
    wait_until("all six events", || {
        (data.number("SELECT coalesce(sum(events), 0) FROM profile_activity") == 6).then_some(())
    });
    let counts = "SELECT group_concat(rank || ':' || profiles, ' ') FROM (SELECT * FROM stage_count WHERE profiles > 0 ORDER BY rank)";
    let counts: String = data.open().query_row(counts, [], |row| row.get(0)).unwrap();
    assert_eq!(counts, "1:1 2:1 3:1");
    admin.submit(
        &funnels,
        &[
            ("name", "Second"),
            ("consideration", "signup"),
            ("trial", ""),
            ("customer", ""),
        ],
    );
    assert!(admin.see(&funnels).text().contains("Second"));
}

#[test]
fn a_month_with_more_people_than_wanted_is_announced_once() {
    let receiver = Receiver::healthy();
    let data = Data::new();
    let tenant = data.tenant("Acme");
    data.member(&tenant.id, ADMIN, "admin");
    data.webhook(&tenant.id, "Notices", &receiver.url("/"), &["system.*"]);
    let server = data.serve();
    let admin = Visitor::signed_in(&server, ADMIN);
    let settings = format!("/w/{}/settings", tenant.slug);
    assert_eq!(admin.post(&settings, &[("mau_limit", "many")]).status, 422);
    admin.submit(&settings, &[("mau_limit", "5")]);
    let people = |from: u32, to: u32| {
        for person in from..=to {
            post(
                &server,
                &tenant,
                &json!({"event": "A", "userId": format!("u{person}")}),
            );
        }
    };
    people(1, 4);
    let near = receiver.wait_for_type("system.mau_limit_near");
    assert_eq!(near.json()["data"]["active"], 4);
    people(1, 5);
    let reached = receiver.wait_for_type("system.mau_limit_reached");
    assert_eq!(reached.json()["data"]["limit"], 5);
    people(6, 9);
    wait_until("nine people to be counted", || {
        (data.number("SELECT profiles FROM active_month") == 9).then_some(())
    });
    assert_eq!(data.rows("message"), 2, "once a month each");
    assert!(admin.see(&settings).text().contains("9 in "));
}

#[test]
fn nobody_takes_apart_another_tenants_profiles() {
    let (data, tenant, server, admin) = opened();
    let theirs = data.tenant("Other");
    data.member(&theirs.id, "bob@example.com", "owner");
    data.member(&tenant.id, "viewer@example.com", "viewer");
    post(&server, &tenant, &json!({"event": "A", "userId": "ada"}));
    post(&server, &tenant, &json!({"event": "A", "visitorId": "v-1"}));
    post(
        &server,
        &tenant,
        &json!({"event": "A", "userId": "ada", "visitorId": "v-1"}),
    );
    let one = wait_for_one(&admin, &tenant, ["ada", "v-1"]);
    let page = admin.see(&one);
    let undo = page
        .forms()
        .into_iter()
        .find(|form| form.action.ends_with("/undo"));
    let undo = undo.expect("a form to undo the merge").action;
    let bob = Visitor::signed_in(&server, "bob@example.com");
    let under_his_own = undo.replace(
        &format!("/w/{}/", tenant.slug),
        &format!("/w/{}/", theirs.slug),
    );
    for path in [&undo, &under_his_own] {
        assert_eq!(bob.post(path, &[]).status, 404, "{path}");
    }
    let viewer = Visitor::signed_in(&server, "viewer@example.com");
    assert!(
        !viewer
            .see(&one)
            .forms()
            .iter()
            .any(|form| form.action.ends_with("/undo"))
    );
    assert!(matches!(viewer.post(&undo, &[]).status, 403 | 404));
    assert_eq!(
        data.number("SELECT count(*) FROM merge WHERE undo_requested_at_ms IS NOT NULL"),
        0
    );
}

#[test]
fn what_was_taken_apart_stays_apart_whatever_else_is_merged_with_it() {
    let (data, tenant, server, admin) = opened();
    post(&server, &tenant, &json!({"event": "A", "userId": "u1"}));
    post(&server, &tenant, &json!({"event": "A", "visitorId": "v1"}));
    post(
        &server,
        &tenant,
        &json!({"event": "A", "userId": "u1", "visitorId": "v1"}),
    );
    let one = wait_for_one(&admin, &tenant, ["u1", "v1"]);
    let page = admin.see(&one);
    let undo = page
        .forms()
        .into_iter()
        .find(|form| form.action.ends_with("/undo"));
    admin.submit(&undo.expect("a form to undo the merge").action, &[]);
    wait_until("the two to be two", || {
        (found(&admin, &tenant, "u1") != found(&admin, &tenant, "v1")).then_some(())
    });
    // In one request, so that they are projected together: the user becomes part of a customer first.
    let events = json!({"events": [
        {"event": "A", "customerId": "c1"},
        {"event": "A", "customerId": "c1", "userId": "u1"},
        {"event": "A", "userId": "u1", "visitorId": "v1"},
    ]});
    post(&server, &tenant, &events);
    wait_until("six events to be counted", || {
        (data.number(
            "SELECT events_of_all FROM (SELECT sum(events) AS events_of_all FROM usage_hour)",
        ) == 6
            && data.number("SELECT (SELECT max(id) FROM event) = cursor_event_id FROM projector")
                == 1)
            .then_some(())
    });
    assert_eq!(found(&admin, &tenant, "u1"), found(&admin, &tenant, "c1"));
    assert_ne!(found(&admin, &tenant, "u1"), found(&admin, &tenant, "v1"));
}

#[test]
fn a_merge_keeps_what_is_proven() {
    let (data, tenant, server, admin) = opened();
    let source = data.site(&tenant.id, &["https://shop.example"]);
    let said = json!({"source": source.id, "events": [{"kind": "identify", "visitorId": "v1", "userId": "u1",
        "traits": {"plan": "enterprise", "theme": "dark"}}]});
    wait_until("the box to know the source", || {
        let request = server
            .http
            .post(server.at("/collect"))
            .body(said.to_string());
        (request.send().unwrap().status() == 200).then_some(())
    });
    post(
        &server,
        &tenant,
        &json!({"kind": "identify", "email": "a@example.com", "traits": {"plan": "free"}}),
    );
    post(
        &server,
        &tenant,
        &json!({"event": "Signed Up", "userId": "u1", "email": "a@example.com"}),
    );
    let one = wait_for_one(&admin, &tenant, ["u1", "a@example.com"]);
    let text = admin.see(&one).text();
    assert!(
        text.contains("\"free\"") && !text.contains("enterprise"),
        "{text}"
    );
    assert!(text.contains("theme unverified"), "{text}");
}

#[test]
fn without_proof_nobody_leads_another_on() {
    let (data, tenant, server, _admin) = opened();
    let source = data.site(&tenant.id, &["https://shop.example"]);
    post(&server, &tenant, &json!({"event": "A", "userId": "u1"}));
    let said = |user: Option<&str>| {
        json!({"source": source.id, "events": [
            {"kind": "track", "event": "trial_start", "visitorId": "v1", "userId": user}]})
    };
    let collect = |body: &Value| {
        wait_until("the box to know the source", || {
            let request = server
                .http
                .post(server.at("/collect"))
                .body(body.to_string());
            (request.send().unwrap().status() == 200).then_some(())
        });
    };
    collect(&said(Some("u1")));
    collect(&said(None));
    wait_until("three events to be counted", || {
        (data.number("SELECT coalesce(sum(events), 0) FROM profile_activity") == 3).then_some(())
    });
    // The browser's own visitor has moved, and the user has not.
    assert_eq!(data.rows("stage_reached"), 1);
    let of_visitor =
        "SELECT count(*) FROM stage_reached s JOIN identifier i ON i.profile_id = s.profile_id
        WHERE i.kind = 'visitor_id'";
    assert_eq!(data.number(of_visitor), 1);
}

#[test]
fn customers_of_a_source_are_accounts_in_every_dialect() {
    let (data, tenant, server, admin) = opened();
    let source = data.site(&tenant.id, &["https://shop.example"]);
    data.set_source(&source, "customers_are_accounts", &true);
    let said = json!({"source": source.id, "events": [{"kind": "track", "event": "A", "visitorId": "v1", "customerId": "big"}]});
    wait_until("the box to know the source", || {
        let request = server
            .http
            .post(server.at("/collect"))
            .body(said.to_string());
        (request.send().unwrap().status() == 200).then_some(())
    });
    let customer = wait_until("the customer's profile", || {
        found(&admin, &tenant, "big").pop()
    });
    assert!(admin.see(&customer).text().contains("account"));
    wait_until("the visitor's profile", || {
        found(&admin, &tenant, "v1").pop()
    });
}

#[test]
fn a_browsers_message_id_does_not_stand_in_an_apps_way() {
    let (data, tenant, server, _admin) = opened();
    let source = data.site(&tenant.id, &["https://shop.example"]);
    let said = json!({"source": source.id, "events": [
        {"kind": "track", "event": "Forged", "visitorId": "v1", "messageId": "order-1"}]});
    wait_until("the box to know the source", || {
        let request = server
            .http
            .post(server.at("/collect"))
            .body(said.to_string());
        (request.send().unwrap().status() == 200).then_some(())
    });
    let event = json!({"event": "Ordered", "userId": "u1", "messageId": "order-1"}).to_string();
    let (status, first) = server.post_native(&tenant.key, event.clone());
    assert_eq!(
        (status, &first["status"]),
        (200, &json!("created")),
        "{first}"
    );
    drop(server);
    // Also after the keys are read from the log again.
    let server = data.serve();
    let (_, again) = server.post_native(&tenant.key, event);
    assert_eq!(
        (&again["status"], &again["id"]),
        (&json!("duplicate"), &first["id"])
    );
}
