//! What the box itself says to webhooks: of changes that people make, of profiles, and of itself. Each once,
//! to those who want to know, and to nobody of another workspace.

use crate::support::page::Page;
use crate::support::receiver::Request;
use crate::support::{
    Answer, Data, Options, Receiver, Server, Tenant, Visitor, wait_for_value, wait_until,
};
use pillarbox::event_type::example_data;
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const ADMIN: &str = "ann@example.com";

/// Submits a form; what is made shows its secret at once.
#[track_caller]
fn change(visitor: &Visitor, path: &str, fields: &[(&str, &str)]) -> Page {
    let page = visitor.post(path, fields);
    assert!(
        matches!(page.status, 200 | 201 | 303),
        "{path}: {} {}",
        page.status,
        page.text()
    );
    page
}

/// A workspace with an admin, and a webhook that wants `patterns`.
struct Told {
    data: Data,
    tenant: Tenant,
    receiver: Receiver,
    webhook: String,
}

impl Told {
    fn of(patterns: &[&str]) -> Self {
        let receiver = Receiver::healthy();
        let data = Data::new();
        let tenant = data.tenant("Acme");
        data.member(&tenant.id, ADMIN, "admin");
        let webhook = data.webhook(&tenant.id, "Notices", &receiver.url("/"), patterns);
        Self {
            data,
            tenant,
            receiver,
            webhook: webhook.id,
        }
    }

    fn path(&self, rest: &str) -> String {
        format!("/w/{}/{rest}", self.tenant.slug)
    }

    /// The `data` of the message of this type, once it came.
    #[track_caller]
    fn wait_for(&self, event_type: &str) -> Value {
        let data = self.receiver.wait_for_type(event_type).json()["data"].take();
        let shown = example_data(event_type).unwrap();
        assert_eq!(
            members(&shown),
            members(&data),
            "{event_type} is as people are shown"
        );
        for part in ["profile", "target", "changed"] {
            if data[part].is_object() {
                let (shown, sent) = (members(&shown[part]), members(&data[part]));
                assert!(sent.is_superset(&shown), "{event_type}: {part} is {sent:?}");
            }
        }
        data
    }

    /// The messages of a type that came so far.
    fn of_type(&self, event_type: &str) -> Vec<Value> {
        let messages = self.receiver.requests().into_iter().map(|r| r.json());
        messages.filter(|m| m["type"] == event_type).collect()
    }

    #[track_caller]
    fn post(&self, server: &Server, event: &Value) -> String {
        let (status, answer) = server.post_native(&self.tenant.key, event.to_string());
        assert_eq!(status, 200, "{answer}");
        answer["id"].as_str().unwrap().to_owned()
    }

    /// Waits until everything that is owed was sent.
    #[track_caller]
    fn wait_until_sent(&self) {
        let owed = "SELECT count(*) FROM delivery WHERE state = 'pending'";
        wait_for_value("deliveries that wait", &0, || self.data.number(owed));
    }

    #[track_caller]
    fn wait_until_projected(&self, events: i64) {
        let projected =
            "SELECT count(*) FROM event WHERE id <= (SELECT cursor_event_id FROM projector)";
        wait_for_value("projected events", &events, || self.data.number(projected));
    }
}

fn members(object: &Value) -> BTreeSet<String> {
    object.as_object().unwrap().keys().cloned().collect()
}

fn type_of(request: &Request) -> String {
    request.json()["type"].as_str().unwrap().to_owned()
}

#[test]
fn what_people_change_on_pages_is_told_with_what_it_was_and_became() {
    let told = Told::of(&["admin.*"]);
    let server = told.data.serve();
    let ann = Visitor::signed_in(&server, ADMIN);
    let user: i64 = told.data.number("SELECT id FROM user");
    let user = pillarbox::id::UserId::from_i64(user).to_string();

    change(&ann, &told.path("sources"), &[("name", "Shop")]);
    let created = told.wait_for("admin.source.created");
    assert_eq!(created["by"], json!({"kind": "user", "id": user}));
    assert_eq!(created["target"]["name"], "Shop");
    assert_eq!(created["after"]["origins"], json!([]));
    assert!(created.get("before").is_none(), "{created}");
    let source = created["target"]["id"].as_str().unwrap().to_owned();

    change(
        &ann,
        &told.path(&format!("sources/{source}")),
        &[("name", "Store"), ("origin", "https://shop.example")],
    );
    let updated = told.wait_for("admin.source.updated");
    assert_eq!(
        (&updated["before"]["name"], &updated["after"]["name"]),
        (&json!("Shop"), &json!("Store"))
    );
    assert_eq!(updated["target"], json!({"id": source, "name": "Store"}));

    change(
        &ann,
        &told.path(&format!("sources/{source}/stripe")),
        &[("stripe_secret", "whsec_neverToBeSeen")],
    );
    let set = told.wait_for("admin.source.stripe_secret_set");
    assert_eq!(
        set["before"],
        json!({"name": "Store", "stripe_secret": false})
    );
    change(&ann, &told.path(&format!("sources/{source}/rotate")), &[]);
    told.wait_for("admin.source.identity_secret_rotated");

    let page = change(
        &ann,
        &told.path("keys"),
        &[("name", "Server"), ("scope", "write:events")],
    );
    let key = told.wait_for("admin.api_key.created");
    assert_eq!(key["after"]["scopes"], json!(["write:events"]));
    let prefix = key["after"]["prefix"].as_str().unwrap().to_owned();
    let words = page.text();
    let whole = words
        .split_whitespace()
        .find(|word| word.starts_with(&prefix) && word.len() > prefix.len());
    let id = key["target"]["id"].as_str().unwrap().to_owned();
    change(&ann, &told.path(&format!("keys/{id}/revoke")), &[]);
    let revoked = told.wait_for("admin.api_key.revoked");
    assert_eq!(revoked["target"], json!({"id": id, "name": "Server"}));

    change(
        &ann,
        &told.path("event-types/order.placed"),
        &[("description", "New"), ("mode", "observe")],
    );
    assert_eq!(
        told.wait_for("admin.event_type.declared")["target"],
        json!({"id": "order.placed"})
    );
    change(&ann, &told.path("settings"), &[("mau_limit", "7")]);
    assert_eq!(
        told.wait_for("admin.workspace.mau_limit_set")["after"],
        json!({"limit": 7})
    );
    change(&ann, &told.path("rename"), &[("name", "Umbrella")]);
    let renamed = told.wait_for("admin.workspace.renamed");
    assert_eq!(
        (&renamed["before"]["name"], &renamed["after"]["name"]),
        (&json!("Acme"), &json!("Umbrella"))
    );

    told.wait_until_sent();
    let audited = told.data.number(
        "SELECT count(*) FROM audit WHERE user_id IS NOT NULL AND workspace_id IS NOT NULL",
    );
    assert_eq!(
        i64::try_from(told.receiver.count()).unwrap(),
        audited,
        "one message a change"
    );
    let sent: String = told
        .receiver
        .requests()
        .iter()
        .map(Request::body_text)
        .collect();
    assert!(!sent.contains("neverToBeSeen"), "{sent}");
    assert!(
        !sent.contains(whole.expect("the page shows the whole key")),
        "{sent}"
    );
}

#[test]
fn a_webhook_hears_of_others_and_of_its_own_edits_but_not_of_what_silences_it() {
    let told = Told::of(&["admin.webhook.*"]);
    let server = told.data.serve();
    let ann = Visitor::signed_in(&server, ADMIN);
    let other = Receiver::healthy();
    let fields = |name| {
        [
            ("name", name),
            ("url", "https://example.com/"),
            ("event", "tour.*"),
        ]
    };
    change(&ann, &told.path("webhooks"), &fields("Second"));
    let created = told.wait_for("admin.webhook.created");
    assert_eq!(created["target"]["name"], "Second");
    assert_eq!(created["after"]["events"], json!(["tour.*"]));
    let second = format!("webhooks/{}", created["target"]["id"].as_str().unwrap());
    change(&ann, &told.path(&second), &fields("Other"));
    assert_eq!(
        told.wait_for("admin.webhook.updated")["before"]["name"],
        "Second"
    );
    change(&ann, &told.path(&format!("{second}/pause")), &[]);
    assert_eq!(
        told.wait_for("admin.webhook.paused")["target"]["name"],
        "Other"
    );
    change(
        &ann,
        &told.path(&format!("{second}/activate")),
        &[("held", "discard")],
    );
    told.wait_for("admin.webhook.activated");
    change(
        &ann,
        &told.path(&format!("{second}/delete")),
        &[("confirm", "Other")],
    );
    told.wait_for("admin.webhook.deleted");
    told.wait_until_sent();
    assert_eq!(told.receiver.count(), 5);

    let own = format!("webhooks/{}", told.webhook);
    let edited = [
        ("name", "Notices"),
        ("url", &*told.receiver.url("/")),
        ("event", "admin.*"),
    ];
    change(&ann, &told.path(&own), &edited);
    told.receiver.wait_for(6);
    change(&ann, &told.path(&format!("{own}/pause")), &[]);
    change(
        &ann,
        &told.path(&format!("{own}/activate")),
        &[("held", "send")],
    );
    // A webhook that is made is told of what comes after it.
    told.data
        .webhook(&told.tenant.id, "Third", &other.url("/"), &["admin.*"]);
    told.receiver.wait_for(7);
    change(
        &ann,
        &told.path(&format!("{own}/delete")),
        &[("confirm", "Notices")],
    );
    assert_eq!(
        other.wait_for_type("admin.webhook.deleted").json()["data"]["target"]["name"],
        "Notices"
    );
    told.wait_until_sent();
    let types: Vec<_> = told
        .receiver
        .requests()
        .iter()
        .map(type_of)
        .skip(5)
        .collect();
    assert_eq!(types, ["admin.webhook.updated", "admin.webhook.created"]);
    assert_eq!(other.count(), 1);
    let held = "SELECT count(*) FROM delivery WHERE state != 'succeeded'";
    assert_eq!(told.data.number(held), 0, "nothing is left over");
}

#[test]
fn a_webhook_that_begins_or_ceases_to_keep_the_order_is_told_of_that_too() {
    let told = Told::of(&["admin.webhook.*"]);
    let server = told.data.serve();
    let ann = Visitor::signed_in(&server, ADMIN);
    let own = told.path(&format!("webhooks/{}", told.webhook));
    let url = told.receiver.url("/");
    let fields = [
        ("name", "Notices"),
        ("url", &*url),
        ("event", "admin.webhook.*"),
    ];
    let ordered = [&fields[..], &[("ordered", "1")]].concat();
    for (heard, fields) in [&ordered[..], &fields, &ordered].into_iter().enumerate() {
        change(&ann, &own, fields);
        told.receiver.wait_for(heard + 1);
    }
    told.wait_until_sent();
}

#[test]
fn an_event_type_that_is_called_like_anothers_webhook_does_not_say_what_that_is_called() {
    let told = Told::of(&["admin.event_type.*"]);
    let other = told.data.tenant("Other");
    let theirs = told.data.webhook(
        &other.id,
        "Merger with Initech",
        "http://127.0.0.1:9/",
        &["never.sent"],
    );
    let server = told.data.serve();
    let ann = Visitor::signed_in(&server, ADMIN);
    change(
        &ann,
        &told.path(&format!("event-types/{}", theirs.id)),
        &[("description", "Mine"), ("mode", "observe")],
    );
    let declared = told.wait_for("admin.event_type.declared");
    assert_eq!(declared["target"], json!({"id": theirs.id}));
}

#[test]
fn what_commands_change_is_told_while_the_box_runs_and_after_it_did_not() {
    let told = Told::of(&["admin.*"]);
    let data = &told.data;
    // Before the box ever ran.
    data.source(&told.tenant.id, "First");
    let mut server = data.serve();
    let first = told.wait_for("admin.source.created");
    assert_eq!(first["by"], json!({"kind": "command_line"}));
    assert_eq!(first["target"]["name"], "First");
    // Beside it.
    data.key(&told.tenant.id, "write:events");
    told.wait_for("admin.api_key.created");
    data.member(&told.tenant.id, "bob@example.com", "viewer");
    let added = told.wait_for("admin.member.added");
    assert_eq!(added["target"]["name"], "bob@example.com");
    assert_eq!(added["after"]["role"], "viewer");
    // With events before and after, whose ids another process made.
    told.post(&server, &json!({"event": "A", "userId": "u"}));
    data.webhook(
        &told.tenant.id,
        "Other",
        "http://127.0.0.1:9/",
        &["never.sent"],
    );
    told.wait_for("admin.webhook.created");
    // While it is dead.
    server.process.kill();
    data.source(&told.tenant.id, "Second");
    let _server = data.serve();
    wait_until("the second source's message", || {
        (told.of_type("admin.source.created").len() == 2).then_some(())
    });
    told.wait_until_sent();
    assert!(
        told.receiver
            .times_by_message()
            .values()
            .all(|times| *times == 1)
    );
    assert_eq!(told.receiver.count(), 5);
}

#[test]
fn what_a_command_is_about_to_write_hides_nothing_that_the_box_wrote() {
    let told = Told::of(&["admin.*", "A"]);
    let mut server = told.data.serve();
    told.receiver.answer(Answer::Stall);
    // Commands' ids may run ahead of the box's: neither side's cursor may pass over the other's.
    let events: Vec<String> = (0..10)
        .map(|n| {
            told.data.source(&told.tenant.id, &format!("S{n}"));
            told.post(&server, &json!({"event": "A", "userId": "u"}))
        })
        .collect();
    server.process.kill();
    told.receiver.answer(Answer::Status(200));
    let _server = told.data.serve();
    told.wait_until_sent();
    let all = told.receiver.requests();
    let ids: BTreeSet<String> = all
        .iter()
        .filter_map(|r| Some(r.json()["data"]["id"].as_str()?.to_owned()))
        .collect();
    assert_eq!(ids, events.into_iter().collect());
    let sources: BTreeSet<String> = all
        .iter()
        .filter(|r| type_of(r) == "admin.source.created")
        .map(|r| r.json()["data"]["target"]["name"].to_string())
        .collect();
    assert_eq!(sources.len(), 10, "{sources:?}");
}

#[test]
fn what_becomes_of_a_profile_is_told_once_and_as_it_is_then() {
    let told = Told::of(&["profile.*"]);
    let server = told.data.serve();
    let created_by = told.post(&server, &json!({"kind": "identify", "event": "identify", "userId": "ada", "traits": {"plan": "free", "seats": 3}}));
    let created = told.wait_for("profile.created");
    assert_eq!(created["eventId"], created_by);
    let profile = &created["profile"];
    assert_eq!(profile["kind"], "person");
    assert_eq!(profile["identifiers"], json!({"userId": ["ada"]}));
    assert_eq!(profile["traits"], json!({"plan": "free", "seats": 3}));
    let id = profile["id"].clone();
    // The first funnel's rule: who says who it is considers.
    let stage = told.wait_for("profile.stage_changed");
    assert_eq!(stage["profile"]["id"], id);
    assert_eq!(stage["funnel"]["name"], "Default");
    assert_eq!(
        (&stage["from"], &stage["to"], &stage["eventId"]),
        (
            &json!("awareness"),
            &json!("consideration"),
            &json!(created_by)
        )
    );

    // What says nothing new changes nothing.
    told.post(&server, &json!({"kind": "identify", "event": "identify", "userId": "ada", "traits": {"plan": "free"}}));
    told.post(&server, &json!({"event": "A", "userId": "ada"}));
    told.wait_until_projected(3);
    let changed_by = told.post(&server, &json!({"kind": "identify", "event": "identify", "userId": "ada", "email": "ada@example.com",
        "traits": {"plan": "pro", "seats": null}}));
    let updated = told.wait_for("profile.updated");
    assert_eq!(updated["eventId"], changed_by);
    assert_eq!(
        updated["changed"],
        json!({
            "identifiers": {"email": ["ada@example.com"]},
            "traits": {"plan": {"before": "free", "after": "pro"}, "seats": {"before": 3}},
        })
    );
    assert_eq!(updated["profile"]["traits"], json!({"plan": "pro"}));
    assert_eq!(
        updated["profile"]["identifiers"],
        json!({"userId": ["ada"], "email": ["ada@example.com"]})
    );

    told.post(&server, &json!({"event": "A", "visitorId": "v-1"}));
    wait_until("the visitor's profile", || {
        (told.of_type("profile.created").len() == 2).then_some(())
    });
    let merged_by = told.post(
        &server,
        &json!({"event": "A", "userId": "ada", "visitorId": "v-1"}),
    );
    let merged = told.wait_for("profile.merged");
    let visitor = told.of_type("profile.created")[1]["data"]["profile"]["id"].clone();
    assert_eq!(
        (&merged["profile"]["id"], &merged["merged"]["id"]),
        (&id, &visitor)
    );
    assert_eq!(merged["by"], json!({"kind": "visitorId", "value": "v-1"}));
    assert_eq!(merged["eventId"], merged_by);
    assert_eq!(
        merged["profile"]["identifiers"]["visitorId"],
        json!(["v-1"])
    );

    told.post(
        &server,
        &json!({"kind": "group", "event": "group", "groupId": "acme", "traits": {"name": "Acme"}}),
    );
    wait_until("the account's profile", || {
        told.of_type("profile.created")
            .into_iter()
            .find(|m| m["data"]["profile"]["kind"] == "account")
    });
    told.wait_until_projected(7);
    told.wait_until_sent();
    let mut count: BTreeMap<String, usize> = BTreeMap::new();
    for request in told.receiver.requests() {
        *count.entry(type_of(&request)).or_default() += 1;
    }
    let count: Vec<_> = count
        .iter()
        .map(|(name, times)| (name.as_str(), *times))
        .collect();
    assert_eq!(
        count,
        [
            ("profile.created", 3),
            ("profile.merged", 1),
            ("profile.stage_changed", 1),
            ("profile.updated", 1)
        ]
    );
}

#[test]
fn a_webhook_gets_only_the_types_that_it_names() {
    let told = Told::of(&["profile.stage_changed"]);
    let everything = Receiver::healthy();
    told.data
        .webhook(&told.tenant.id, "Everything", &everything.url("/"), &["*"]);
    let server = told.data.serve();
    told.post(&server, &json!({"event": "A", "userId": "ada"}));
    told.post(&server, &json!({"event": "signup", "userId": "ada"}));
    told.post(&server, &json!({"event": "trial_start", "userId": "ada"}));
    wait_until("both steps", || (told.receiver.count() == 2).then_some(()));
    told.wait_until_sent();
    let steps = told.of_type("profile.stage_changed");
    let steps = steps.iter().map(|message| {
        let data = &message["data"];
        format!("{} to {}", data["from"], data["to"])
    });
    assert_eq!(
        steps.collect::<BTreeSet<_>>(),
        BTreeSet::from([
            r#""awareness" to "consideration""#.to_owned(),
            r#""consideration" to "trial""#.to_owned(),
        ])
    );
    // Who asked for everything that apps send has not asked who people are.
    let types: BTreeSet<_> = everything.requests().iter().map(type_of).collect();
    assert_eq!(
        types,
        ["A", "signup", "trial_start"].map(str::to_owned).into()
    );
}

#[test]
fn nothing_is_told_to_another_workspace() {
    let told = Told::of(&["admin.*", "profile.*", "customer.*", "system.*"]);
    let theirs = Receiver::healthy();
    let other = told.data.tenant("Other");
    told.data.webhook(
        &other.id,
        "Theirs",
        &theirs.url("/"),
        &["admin.*", "profile.*", "customer.*", "system.*", "*"],
    );
    let server = told.data.serve();
    told.data.source(&told.tenant.id, "Ours");
    told.post(&server, &json!({"event": "signup", "userId": "ada"}));
    told.post(&server, &json!({"event": "A", "visitorId": "v"}));
    told.post(
        &server,
        &json!({"event": "A", "visitorId": "v", "userId": "ada"}),
    );
    for event_type in [
        "admin.source.created",
        "profile.created",
        "profile.merged",
        "profile.stage_changed",
    ] {
        told.wait_for(event_type);
    }
    told.wait_until_sent();
    assert_eq!(theirs.count(), 0);
    assert!(
        told.data
            .number("SELECT count(DISTINCT workspace_id) FROM message")
            == 1
    );
}

#[test]
fn a_kill_in_the_middle_of_a_window_repeats_and_loses_no_message() {
    const PEOPLE: usize = 3_000;
    const AT_ONCE: usize = 300;
    /// Every third one comes as a visitor, too, and turns out to be the same.
    const MERGED: usize = PEOPLE / 3;
    let told = Told::of(&["profile.*"]);
    let data = &told.data;
    let mut server = data.serve();
    for start in (0..PEOPLE).step_by(AT_ONCE) {
        let mut events = Vec::new();
        for n in start..start + AT_ONCE {
            let (user, visitor) = (format!("u{n}"), format!("v{n}"));
            events.push(json!({"kind": "identify", "event": "identify", "userId": user, "traits": {"n": n}}));
            if n % 3 == 0 {
                events.push(json!({"event": "A", "visitorId": visitor}));
                events.push(json!({"event": "A", "visitorId": visitor, "userId": user}));
            }
        }
        let batch = json!({"events": events}).to_string();
        let (status, answer) = server.post_native(&told.tenant.key, batch);
        assert_eq!(status, 200, "{answer}");
    }
    let is_open = "SELECT count(*) FROM projector WHERE window_end_event_id IS NOT NULL";
    let is_done = "SELECT (SELECT cursor_event_id FROM projector) = (SELECT max(id) FROM event)";
    let mut kills = 0;
    while data.number(is_done) == 0 {
        if kills < 5 && data.number(is_open) == 1 {
            server.process.kill();
            kills += 1;
            server = data.serve();
        }
    }
    assert!(kills > 0, "no window was seen half written");
    let count = |event_type: &str| {
        let of_type = format!("FROM message WHERE type = '{event_type}'");
        let profiles = "count(DISTINCT json_extract(CAST(body AS TEXT), '$.data.profile.id'))";
        let one_each = data.number(&format!("SELECT count(*) = {profiles} {of_type}"));
        assert_eq!(one_each, 1, "{event_type} of one profile twice");
        usize::try_from(data.number(&format!("SELECT count(*) {of_type}"))).unwrap()
    };
    assert_eq!(
        data.number("SELECT people FROM population"),
        i64::try_from(PEOPLE).unwrap()
    );
    assert_eq!(count("profile.created"), PEOPLE + MERGED);
    assert_eq!(count("profile.merged"), MERGED);
    assert_eq!(count("profile.stage_changed"), PEOPLE);
    told.wait_until_sent();
    let times = told.receiver.times_by_message();
    assert_eq!(i64::try_from(times.len()).unwrap(), data.rows("message"));
    drop(server);
}

#[test]
fn no_app_forges_what_the_box_says_in_any_dialect_or_spelling() {
    const SITE: &str = "https://shop.example";
    let data = Data::new();
    let tenant = data.tenant("Acme");
    data.member(&tenant.id, ADMIN, "member");
    let site = data.site(&tenant.id, &[SITE]);
    let server = data.serve();
    let ann = Visitor::signed_in(&server, ADMIN);
    let key = &tenant.key;
    let post = |path: &str| {
        server
            .http
            .post(server.at(path))
            .header("content-type", "application/json")
    };
    let names = [
        "system.storage_low",
        "profile.created",
        "customer.subscription_changed",
        "admin.webhook.created",
        "stripe.invoice.paid",
        "webhook.test",
        "System.Storage_Low",
        " profile.created",
        "ADMIN.x",
        "cust\u{200b}omer.x",
        "\u{17f}ystem.storage_low",
        "pro\u{fb01}le.created",
        "\u{ff41}dmin\u{ff0e}x",
        "Stripe .invoice",
        "WEBHOOK.TEST",
    ];
    for name in names {
        let requests = [
            server.native(key).body(json!({"event": name, "userId": "u"}).to_string()),
            server.native(key).body(json!({"events": [{"event": name, "userId": "u"}]}).to_string()),
            server.native(key).header("content-type", "application/x-ndjson").body(json!({"event": name, "userId": "u"}).to_string()),
            server.jimo(key).body(json!({"event": name, "userId": "u", "type": "track", "timestamp": "2026-11-22T10:00:00Z"}).to_string()),
            ann.request(Method::POST, &format!("/api/tracking/server-events?workspaceId={}", tenant.id)).header("origin", &ann.origin)
            .header("sec-fetch-site", "same-origin")
            .header("content-type", "application/json")
                .body(json!({"siteId": site.id, "events": [{"type": name, "visitorId": "v"}]}).to_string()),
            post("/v1/api/events/new").header("x-ck-api-key", key).header("x-ck-app", &site.id)
                .body(json!({"event": name, "uid": "u"}).to_string()),
            post("/v1/api/events/bulk").header("x-ck-api-key", key).header("x-ck-app", &site.id)
                .body(json!([{"event": name, "uid": "u"}]).to_string()),
            post("/v1/track").basic_auth(key, Some("")).body(json!({"event": name, "userId": "u"}).to_string()),
            post("/v1/batch").basic_auth(key, Some("")).body(json!({"batch": [{"type": "track", "event": name, "userId": "u"}]}).to_string()),
            post("/collect").header("origin", SITE)
                .body(json!({"source": site.id, "events": [{"kind": "track", "event": name, "visitorId": "v"}]}).to_string()),
        ];
        for (number, request) in requests.into_iter().enumerate() {
            let response = request.send().unwrap();
            let status = response.status().as_u16();
            let answer = response.text().unwrap();
            // Segment's libraries know no other status for what is not to be sent again.
            let expected = if matches!(number, 7 | 8) { 400 } else { 422 };
            assert_eq!(status, expected, "{name:?} by request {number}: {answer}");
            assert!(
                answer.contains("reserved_name"),
                "{name:?} by request {number}: {status} {answer}"
            );
        }
    }
    assert_eq!(data.rows("event"), 0);
}

#[test]
fn a_disk_with_little_room_is_told_once_and_again_after_there_was_enough() {
    let told = Told::of(&["system.*"]);
    let with = |low_space: &str| Options {
        arguments: vec!["--low-space".to_owned(), low_space.to_owned()],
        ..Options::default()
    };
    let start = |low_space| Server::start(&told.data, &with(low_space));
    let is_low = || {
        told.data
            .number("SELECT low_at_ms IS NOT NULL FROM space_notice")
            == 1
    };
    let mut server = start("900000TB");
    let low = told.wait_for("system.storage_low");
    assert_eq!(low["limitBytes"], 900_000_000_000_000_000_u64);
    let free = low["freeBytes"].as_u64().unwrap();
    assert!(free > 0 && free < 900_000_000_000_000_000, "{low}");
    // It is as low as it was, which is known already.
    told.wait_until_sent();
    server.process.kill();
    server = start("900000TB");
    told.post(&server, &json!({"event": "A", "userId": "u"}));
    assert!(server.terminate().success());
    assert_eq!(told.data.rows("message"), 1);
    server = start("1MB");
    wait_until("the room to be enough", || (!is_low()).then_some(()));
    assert!(server.terminate().success());
    let _server = start("900000TB");
    told.receiver.wait_for(2);
    told.wait_until_sent();
    assert_eq!(told.of_type("system.storage_low").len(), 2);
}
