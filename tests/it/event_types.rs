//! Event types: declared on their pages, checked at ingest, counted where they are only observed, and
//! nobody's business outside of their workspace.

use crate::support::data::text;
use crate::support::page::Page;
use crate::support::server::{identify_body, track_body};
use crate::support::{
    Data, Problem, Receiver, Server, Tenant, Visitor, wait_for_value, wait_until,
};
use pillarbox::event_type::{FAMILIES, example_data};
use serde_json::{Value, json};

const SCHEMA: &str = r#"{"type":"object","required":["plan"],"properties":{"plan":{"enum":["free","pro"]},"seats":{"type":"integer"}}}"#;

struct Box {
    data: Data,
    tenant: Tenant,
    server: Server,
    ann: Visitor,
}

impl Box {
    #[track_caller]
    fn new() -> Self {
        Self::of(Data::new())
    }

    #[track_caller]
    fn of(data: Data) -> Self {
        let tenant = data.tenant("Acme");
        data.member(&tenant.id, "ann@example.com", "member");
        let server = data.serve();
        let ann = Visitor::signed_in(&server, "ann@example.com");
        Self {
            data,
            tenant,
            server,
            ann,
        }
    }

    fn path(&self, name: &str) -> String {
        format!("/w/{}/event-types/{name}", self.tenant.slug)
    }

    fn list(&self) -> String {
        format!("/w/{}/event-types", self.tenant.slug)
    }

    #[track_caller]
    fn declare(&self, name: &str, schema: &str, mode: &str) {
        let fields = [
            ("description", ""),
            ("schema", schema),
            ("mode", mode),
            ("example", ""),
        ];
        self.ann.submit(&self.path(name), &fields);
    }

    #[track_caller]
    fn post(&self, body: &Value) -> (u16, Value) {
        self.server.post_native(&self.tenant.key, body.to_string())
    }

    #[track_caller]
    fn refuse(&self, body: &Value) -> Problem {
        let request = self.server.native(&self.tenant.key).body(body.to_string());
        Problem::read(request.send().unwrap())
    }
}

fn paid(properties: &Value) -> Value {
    json!({"event": "Order Paid", "userId": "u", "properties": properties})
}

#[test]
fn what_does_not_match_an_enforced_schema_is_refused_by_its_fields() {
    let the = Box::new();
    the.declare("Order%20Paid", SCHEMA, "enforce");
    let (status, answer) = the.post(&paid(&json!({"plan": "pro", "seats": 3})));
    assert_eq!(
        (status, &answer["status"]),
        (200, &json!("created")),
        "{answer}"
    );

    let problem = the.refuse(&paid(&json!({"plan": "canary", "seats": "many"})));
    assert_eq!((problem.status, &*problem.code), (422, "schema_violation"));
    assert_eq!(
        problem.errors,
        [
            "/properties/plan schema_violation",
            "/properties/seats schema_violation"
        ]
    );
    assert!(!problem.detail.contains("canary"), "{}", problem.detail);
    for missing in [json!({}), json!(null)] {
        assert_eq!(
            the.refuse(&paid(&missing)).errors,
            ["/properties/plan schema_violation"]
        );
    }

    // In a batch each event is judged for itself, in its place.
    let batch = json!({"events": [
        paid(&json!({"plan": "x"})), paid(&json!({"plan": "free"})), {"event": 7, "userId": "u"},
        paid(&json!({"plan": 1})), {"event": "Other", "userId": "u", "properties": {"plan": 1}},
    ]});
    let (status, answer) = the.post(&batch);
    assert_eq!(status, 200, "{answer}");
    let results: Vec<_> = answer["results"].as_array().unwrap().iter().collect();
    let statuses: Vec<_> = results
        .iter()
        .map(|result| text(result, "status"))
        .collect();
    assert_eq!(
        statuses,
        ["rejected", "created", "rejected", "rejected", "created"]
    );
    assert_eq!(results[0]["error"]["code"], "schema_violation");
    assert_eq!(
        results[0]["error"]["errors"][0]["pointer"],
        "/events/0/properties/plan"
    );
    assert_eq!(
        results[2]["error"]["errors"][0]["pointer"],
        "/events/2/event"
    );
    assert_eq!(
        results[3]["error"]["errors"][0]["pointer"],
        "/events/3/properties/plan"
    );
    let none = json!({"events": [paid(&json!({}))]});
    assert_eq!(the.post(&none).0, 422);

    // The other dialect's too.
    let jimo = r#"{"userId":"u","type":"track","timestamp":"2026-01-01T00:00:00Z","event":"Order Paid","properties":{"plan":2}}"#;
    let problem = Problem::read(the.server.post(&the.tenant.key, jimo));
    assert_eq!(problem.errors, ["/properties/plan schema_violation"]);
    assert_eq!(the.data.rows("event"), 3);

    // People see what was refused.
    wait_for_value("the rejects", &6, || the.data.rows("reject"));
    let rejects = format!("/w/{}/rejects?code=schema_violation", the.tenant.slug);
    assert!(the.ann.see(&rejects).text().contains("schema_violation"));
    wait_until("the count", || {
        let page = the.ann.see(&the.path("Order%20Paid")).text();
        page.contains("7 did not match since").then_some(())
    });
    assert!(
        the.ann
            .see(&the.path("Order%20Paid"))
            .links()
            .contains(&rejects)
    );
}

#[test]
fn an_event_that_is_sent_again_has_the_same_answer_whatever_was_declared_meanwhile() {
    let the = Box::new();
    let mut event = paid(&json!({"plan": "old"}));
    event["messageId"] = json!("m");
    let (_, first) = the.post(&event);
    the.declare("Order%20Paid", SCHEMA, "enforce");
    let (status, again) = the.post(&event);
    assert_eq!(
        (status, &again["status"]),
        (200, &json!("duplicate")),
        "{again}"
    );
    assert_eq!(again["id"], first["id"]);
    let (_, batch) =
        the.post(&json!({"events": [paid(&json!({})), event, paid(&json!({"plan": "pro"}))]}));
    let statuses: Vec<_> = batch["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|result| text(result, "status"))
        .collect();
    assert_eq!(statuses, ["rejected", "duplicate", "created"]);
    event["userId"] = json!("v");
    assert_eq!(the.refuse(&event).status, 409);
    event["messageId"] = json!("another");
    assert_eq!(the.refuse(&event).code, "schema_violation");
    assert_eq!(the.data.rows("event"), 2);
}

#[test]
fn traits_are_checked_where_they_are_what_the_event_says() {
    let the = Box::new();
    the.declare(
        "identify",
        r#"{"properties":{"age":{"type":"number"}}}"#,
        "enforce",
    );
    let problem = the.refuse(&json!({"kind": "identify", "userId": "u", "traits": {"age": "old"}}));
    assert_eq!(problem.errors, ["/traits/age schema_violation"]);
    let jimo = identify_body("u", r#"{"age":"old"}"#);
    let problem = Problem::read(the.server.post(&the.tenant.key, jimo));
    assert_eq!(problem.errors, ["/traits/age schema_violation"]);
    the.server
        .accept(&the.tenant.key, identify_body("u", r#"{"age":7}"#));
    the.declare("page", r#"{"required":["path"]}"#, "enforce");
    let problem = the.refuse(&json!({"kind": "page", "userId": "u", "traits": {"path": "/"}}));
    assert_eq!(problem.errors, ["/properties/path schema_violation"]);
}

#[test]
fn what_is_observed_is_stored_and_counted() {
    let mut the = Box::new();
    the.declare("Order%20Paid", SCHEMA, "observe");
    let (_, good) = the.post(&paid(&json!({"plan": "pro"})));
    assert_eq!(good["status"], "created");
    let wrong = json!({"event": "Order Paid", "userId": "u", "messageId": "m", "properties": {"plan": "pro", "seats": "x"}});
    for status in ["created", "duplicate"] {
        assert_eq!(the.post(&wrong).1["status"], status);
    }
    let jimo = track_body("u", "Order Paid");
    let last = the.server.accept(&the.tenant.key, jimo);
    assert_eq!(the.data.rows("event"), 3);
    let page = wait_until("both to be counted", || {
        let page = the.ann.see(&the.path("Order%20Paid"));
        page.text().contains("2 did not match").then_some(page)
    });
    assert!(page.text().contains("/properties/plan"), "{}", page.text());
    let event = format!("/w/{}/events/{last}", the.tenant.slug);
    assert!(page.links().contains(&event), "{:?}", page.links());

    // What is counted just before the end is kept, and the schema holds after it.
    the.post(&paid(&json!({})));
    assert!(the.server.terminate().success());
    let count = "SELECT events FROM event_type_violation";
    assert_eq!(the.data.number(count), 3);
    the.server = the.data.serve();
    the.ann = Visitor::signed_in(&the.server, "ann@example.com");
    the.post(&paid(&json!({"seats": 1})));
    wait_for_value("the count", &4, || the.data.number(count));

    // With another mode it goes on; with another schema it begins anew.
    the.declare("Order%20Paid", SCHEMA, "enforce");
    assert_eq!(the.data.number(count), 4);
    the.declare("Order%20Paid", r#"{"maxProperties":3}"#, "observe");
    assert_eq!(the.data.rows("event_type_violation"), 0);
}

#[test]
fn what_cannot_be_declared_is_refused_and_stays_in_the_form() {
    let the = Box::new();
    let try_to =
        |fields: &[(&str, &str)]| -> Page { the.ann.post(&the.path("Order%20Paid"), fields) };
    for (schema, wanted) in [
        ("{\"a\":", "The schema is not JSON: EOF while parsing"),
        (
            r#"{"properties":{"plan":{"type":"text"}}}"#,
            "At /properties/plan/type",
        ),
        (
            r#"{"properties":{"plan":{"$ref":"http://127.0.0.1:1/x.json"}}}"#,
            "At /properties/plan/$ref: http://127.0.0.1:1/x.json is outside of the schema",
        ),
        (
            r##"{"properties":{"a":{"$ref":"#"}}}"##,
            "leads back to itself",
        ),
        (r#"{"pattern":"("}"#, "At /pattern"),
    ] {
        let page = try_to(&[
            ("description", "Kept"),
            ("schema", schema),
            ("mode", "enforce"),
            ("example", ""),
        ]);
        assert_eq!(page.status, 422, "{schema}");
        assert!(page.text().contains(wanted), "{schema}: {}", page.text());
        assert!(
            page.exact_text().contains(schema),
            "{schema} is not in the form"
        );
        assert!(page.html.contains("value=\"Kept\""), "{schema}");
    }
    let example = [
        ("description", ""),
        ("schema", SCHEMA),
        ("mode", "observe"),
        ("example", r#"{"plan":"x"}"#),
    ];
    let page = try_to(&example);
    assert!(
        page.text()
            .contains("The example does not match the schema: at /plan"),
        "{}",
        page.text()
    );
    assert_eq!(try_to(&[("mode", "enforce")]).status, 422);
    assert_eq!(try_to(&[("mode", "maybe")]).status, 422);
    assert_eq!(try_to(&[("name", "other")]).status, 422);
    assert_eq!(the.ann.get(&the.path("system.x")).status, 404);
    assert_eq!(the.ann.get(&the.path("a%0Ab")).status, 404);
    assert_eq!(the.data.rows("declared_event_type"), 0);
    assert_eq!(the.post(&paid(&json!({"plan": 7}))).0, 200);
}

#[test]
fn declared_and_seen_types_are_listed_page_by_page() {
    let the = Box::new();
    let page = the.ann.see(&the.list());
    for wanted in [
        "No event types yet",
        "tour.*",
        "survey.step.answered",
        "system.webhook_failing",
    ] {
        assert!(
            page.text().contains(wanted),
            "no {wanted} in {}",
            page.text()
        );
    }
    let fields = [
        ("description", "Money came"),
        ("schema", ""),
        ("mode", "observe"),
        ("example", "{}"),
    ];
    the.ann.submit(&the.path("Order%20Paid"), &fields);
    let events: Vec<_> = (0..60)
        .map(|n| json!({"event": format!("Numbered {n:03}"), "userId": "u"}))
        .collect();
    assert_eq!(the.post(&json!({"events": events})).0, 200);
    assert_eq!(the.post(&paid(&json!({}))).0, 200);
    wait_for_value("the types", &61, || the.data.rows("event_type"));
    let first = the.ann.see(&the.list());
    let names = |page: &Page| -> Vec<String> {
        let prefix = the.path("");
        let links = page.links().into_iter();
        links
            .filter_map(|link| Some(link.strip_prefix(&prefix)?.replace("%20", " ")))
            .collect()
    };
    let next = first
        .links()
        .into_iter()
        .find(|link| link.contains("after="))
        .unwrap();
    let second = the.ann.see(&next);
    let mut wanted: Vec<_> = (0..60).map(|n| format!("Numbered {n:03}")).collect();
    wanted.push("Order Paid".to_owned());
    assert_eq!([names(&first), names(&second)].concat(), wanted);
    assert_eq!(names(&first).len(), 50);
    let last = second.text();
    assert!(last.contains("Order Paid Money came 1"), "{last}");
    assert!(!last.contains("Known beforehand"), "{last}");
}

#[test]
fn a_name_leads_to_its_page_whatever_it_holds() {
    let the = Box::new();
    let hostile = "a/../b?c=\"<img src=x>&é%20 #";
    let page = the.ann.get(&format!(
        "{}?name={}",
        the.list(),
        "a/../b?c=\"<img src=x>&é%20 #"
            .bytes()
            .map(|byte| format!("%{byte:02X}"))
            .collect::<String>()
    ));
    assert_eq!(page.status, 303);
    let path = page.location().to_owned();
    let shown = the.ann.see(&path);
    assert!(
        shown.exact_text().contains(hostile),
        "{}",
        shown.exact_text()
    );
    assert!(!shown.html.contains("<img"), "the name is not escaped");
    the.ann.submit(
        &path,
        &[("schema", r#"{"maxProperties":0}"#), ("mode", "enforce")],
    );
    let problem = the.refuse(&json!({"event": hostile, "userId": "u", "properties": {"a": 1}}));
    assert_eq!(problem.errors, ["/properties schema_violation"]);
    let list = the.ann.see(&the.list());
    assert!(list.links().contains(&path) && !list.html.contains("<img"));
    the.ann.see(&format!("{path}/remove"));

    let refused = the.ann.get(&format!("{}?name=admin.x", the.list()));
    assert_eq!(refused.status, 422);
    assert!(
        refused.text().contains("are the box's own"),
        "{}",
        refused.text()
    );
}

#[test]
fn removing_a_declaration_lets_events_in_again_and_leaves_its_audit_entries() {
    let the = Box::new();
    the.declare("Order%20Paid", SCHEMA, "enforce");
    assert_eq!(the.post(&paid(&json!({}))).0, 422);
    wait_for_value("the count", &1, || the.data.rows("event_type_violation"));
    the.declare("Order%20Paid", SCHEMA, "observe");
    assert_eq!(the.post(&paid(&json!({}))).0, 200);
    let ask = the.ann.see(&the.path("Order%20Paid/remove"));
    assert!(ask.text().contains("Order Paid"), "{}", ask.text());
    let page = the.ann.submit(&the.path("Order%20Paid/remove"), &[]);
    let list = the.ann.see(page.location());
    assert!(
        list.text()
            .contains("What was declared of the event type is gone")
    );
    assert_eq!(the.post(&paid(&json!({"plan": []}))).0, 200);
    assert_eq!(the.ann.get(&the.path("Order%20Paid/remove")).status, 404);
    assert_eq!(
        the.ann.post(&the.path("Order%20Paid/remove"), &[]).status,
        404
    );
    assert_eq!(the.data.rows("declared_event_type"), 0);
    let connection = the.data.open();
    let mut statement = connection
        .prepare("SELECT action FROM audit WHERE target = 'Order Paid' ORDER BY id")
        .unwrap();
    let actions: Vec<String> = statement
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(
        actions,
        [
            "event_type.declared",
            "event_type.updated",
            "event_type.removed"
        ]
    );
}

#[test]
fn a_viewer_looks_and_a_stranger_does_not() {
    let the = Box::new();
    let other = the.data.tenant("Other");
    the.data.member(&other.id, "eve@example.com", "owner");
    the.data.member(&the.tenant.id, "vic@example.com", "viewer");
    the.declare("Order%20Paid", SCHEMA, "enforce");
    let vic = Visitor::signed_in(&the.server, "vic@example.com");
    let eve = Visitor::signed_in(&the.server, "eve@example.com");
    let path = the.path("Order%20Paid");
    let page = vic.see(&path);
    assert!(page.exact_text().contains(SCHEMA), "{}", page.exact_text());
    assert!(page.forms().iter().all(|form| form.action != path));
    vic.see(&the.list());
    let fields = [("schema", ""), ("mode", "observe")];
    for (who, name) in [(&vic, "a viewer"), (&eve, "a stranger")] {
        assert_eq!(who.post(&path, &fields).status, 404, "{name}");
        assert_eq!(
            who.post(&format!("{path}/remove"), &[]).status,
            404,
            "{name}"
        );
        assert_eq!(who.get(&format!("{path}/remove")).status, 404, "{name}");
    }
    assert_eq!(
        (eve.get(&path).status, eve.get(&the.list()).status),
        (404, 404)
    );
    let forged = the
        .ann
        .post_as_is(&path, &[("mode", "observe"), ("csrf", "forged")]);
    assert_eq!(forged.status, 403);
    assert_eq!(
        the.post(&paid(&json!({}))).0,
        422,
        "the schema is as it was"
    );
    // One workspace's schema is not another's.
    let own = paid(&json!({})).to_string();
    assert_eq!(the.server.post_native(&other.key, own).0, 200);
}

#[test]
fn what_costs_too_much_to_check_keeps_nobody_waiting() {
    let data = Data::new();
    let other = data.tenant("Other");
    let the = Box::of(data);
    let choices: Vec<_> = (0..1_800).map(|n| json!({ "const": n })).collect();
    let choices = json!({"properties": {"a": {"items": {"anyOf": choices}}}}).to_string();
    let patterns: Vec<_> = (0..50)
        .map(|n| json!({"pattern": format!("1[01]{{100}}x{n}")}))
        .collect();
    let patterns = json!({"properties": {"a": {"anyOf": patterns}}}).to_string();
    the.declare("Choices", &choices, "enforce");
    the.declare("Patterns", &patterns, "enforce");
    the.declare("Observed", &choices, "observe");
    let none: Vec<_> = (0..300)
        .map(|_| json!({"unevaluatedProperties": false}))
        .collect();
    let none = json!({"properties": {"a": {"items": {"anyOf": none}}}}).to_string();
    let fields = [("schema", &*none), ("mode", "enforce")];
    let page = the.ann.post(&the.path("Unevaluated"), &fields);
    assert_eq!(page.status, 422);
    assert!(
        page.text().contains("unevaluatedProperties is not taken"),
        "{}",
        page.text()
    );

    let start = std::time::Instant::now();
    let array = json!({"a": vec!["x"; 14_000]});
    let long = json!({"a": "10".repeat(25_000)});
    std::thread::scope(|scope| {
        for (name, properties) in [("Choices", &array), ("Patterns", &long)].repeat(3) {
            let (server, key) = (&the.server, &the.tenant.key);
            scope.spawn(move || {
                let event = json!({"event": name, "userId": "u", "properties": properties});
                let request = server.native(key).body(event.to_string());
                let problem = Problem::read(request.send().unwrap());
                assert_eq!((problem.status, &*problem.code), (422, "schema_too_costly"));
                assert_eq!(problem.errors, ["/properties schema_too_costly"]);
            });
        }
        let answer = the
            .server
            .post_native(&other.key, r#"{"event":"Fine","userId":"u"}"#.to_owned());
        assert_eq!(answer.0, 200);
    });
    assert!(start.elapsed().as_secs() < 10, "{:?}", start.elapsed());
    let observed = json!({"event": "Observed", "userId": "u", "properties": array});
    assert_eq!(the.post(&observed).1["status"], "created");
    wait_until("the count", || {
        let page = the.ann.see(&the.path("Observed")).text();
        page.contains("1 did not match").then_some(())
    });
}

#[test]
fn names_of_dots_and_blanks_lead_to_their_pages() {
    let the = Box::new();
    let names = [".", "..", "~", " led", "trailed "];
    for name in names {
        let (status, answer) = the.post(&json!({"event": name, "userId": "u"}));
        assert_eq!(status, 200, "{answer}");
    }
    wait_for_value("the types", &5, || the.data.rows("event_type"));
    let prefix = the.path("");
    let links = the.ann.see(&the.list()).links();
    let links: Vec<_> = links
        .iter()
        .filter(|link| link.starts_with(&prefix))
        .collect();
    assert_eq!(links.len(), names.len(), "{links:?}");
    for link in links {
        assert!(the.ann.see(link).html.contains("name=\"schema\""), "{link}");
        the.ann
            .submit(link, &[("schema", "{}"), ("mode", "observe")]);
    }
    assert_eq!(the.data.rows("declared_event_type"), 5);
}

#[test]
fn a_dialect_hears_of_its_own_fields() {
    let the = Box::new();
    let source = the.data.site(&the.tenant.id, &[]);
    the.declare("Order Paid", SCHEMA, "enforce");
    let event = json!({"event": "Order Paid", "uid": "u", "eventData": {"plan": "gold"}});
    let pointer = |path: &str, body: &Value| {
        wait_until("the box to know the source", || {
            let request = the
                .server
                .http
                .post(the.server.at(path))
                .body(body.to_string());
            let request = request
                .header("x-ck-api-key", &the.tenant.key)
                .header("x-ck-app", &source.id);
            let response = request.send().unwrap();
            (response.status() != 401).then(|| Problem::read(response).errors.join(" "))
        })
    };
    assert_eq!(
        pointer("/v1/api/events/new", &event),
        "/eventData/plan schema_violation"
    );
    let good = json!({"event": "Order Paid", "uid": "u", "eventData": {"plan": "pro"}});
    let bulk = json!([good, event]);
    assert_eq!(
        pointer("/v1/api/events/bulk", &bulk),
        "/1/eventData/plan schema_violation"
    );
}

#[test]
fn every_type_that_is_known_beforehand_stands_there_with_what_a_webhook_gets() {
    let the = Box::new();
    let page = the.ann.see(&the.list()).text();
    for family in &FAMILIES {
        for (name, about) in family.types {
            assert!(page.contains(&format!("{name} {about}")), "{name}: {page}");
            assert!(page.contains(&format!("\"type\": \"{name}\"")), "{name}");
        }
    }
    // As the receiver of such a message sees it.
    let receiver = Receiver::healthy();
    the.data.webhook(
        &the.tenant.id,
        "Notices",
        &receiver.url("/"),
        &["admin.source.*"],
    );
    let made = the.data.source(&the.tenant.id, "Shop");
    let sent = receiver.wait_for_type("admin.source.created").json();
    let shown = example_data("admin.source.created").unwrap();
    let members =
        |object: &Value| -> Vec<String> { object.as_object().unwrap().keys().cloned().collect() };
    assert_eq!(sent["data"]["target"]["id"], made.as_str());
    assert_eq!(members(&sent["data"]), ["after", "by", "target"]);
    assert_eq!(members(&shown), members(&sent["data"]));
    assert_eq!(members(&shown["after"]), members(&sent["data"]["after"]));
}
