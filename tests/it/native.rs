//! ARRIVE: what the native endpoint accepts, alone and in batches, every refusal by its code and
//! pointer, and one event for one key whatever happens in between (promise 9).

use crate::ingest::HARD_PROPERTIES;
use crate::support::data::{event_number, text};
use crate::support::{Data, Problem, Receiver, Server, Tenant, duplicates, gzip, wait_at_most};
use reqwest::blocking::Body;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const MAX_EVENTS: usize = 1_000;
const MAX_BODY_BYTES: usize = 4 * 1024 * 1024;
const MAX_EVENT_BYTES: usize = 64 * 1024;

/// The least event there is, with `change` made to it.
fn event_with(change: &Value) -> Value {
    let mut event = json!({"event": "button_clicked", "userId": "u"});
    for (name, value) in change.as_object().unwrap() {
        event[name] = value.clone();
    }
    event
}

fn batch(events: &[Value]) -> String {
    json!({ "events": events }).to_string()
}

#[track_caller]
fn refuse(server: &Server, tenant: &Tenant, body: impl Into<Body>) -> Problem {
    let response = server.native(&tenant.key).body(body).send().unwrap();
    Problem::read(response)
}

/// Posts one event that must be answered like this; its id.
#[track_caller]
fn one(server: &Server, key: &str, event: &Value, status: &str) -> String {
    let (code, answer) = server.post_native(key, event.to_string());
    assert_eq!((code, &answer["status"]), (200, &json!(status)), "{answer}");
    assert_eq!(answer.as_object().unwrap().len(), 2, "{answer}");
    text(&answer, "id")
}

#[track_caller]
fn assert_nothing_was_stored(data: &Data, server: &Server, tenant: &Tenant) {
    assert_eq!(data.rows("event"), 0, "a refused event was stored");
    one(server, &tenant.key, &event_with(&json!({})), "created");
    assert_eq!(data.rows("event"), 1, "an accepted event was not stored");
}

#[test]
fn one_event_is_on_disk_when_answered() {
    let (data, tenant, server) = Data::served();
    let id = one(&server, &tenant.key, &event_with(&json!({})), "created");
    assert!(id.starts_with("evt_"), "{id}");
    assert_eq!(data.rows("event"), 1);
}

#[test]
fn an_event_gets_its_channel_from_its_context() {
    let (data, tenant, server) = Data::served();
    for (context, expected) in [
        (
            json!({"page": {"url": "https://shop.example/?utm_source=google&utm_medium=cpc"}}),
            Some("Paid Search"),
        ),
        (
            json!({"page": {"url": "https://shop.example/", "referrer": "https://www.google.co.uk/"}}),
            Some("Organic Search"),
        ),
        (
            json!({"page": {"url": "https://shop.example/", "referrer": "https://notgoogle.com/"}}),
            Some("Referral"),
        ),
        (
            json!({"page": {"url": "https://shop.example/?gclid=1"}, "campaign": {"source": "fb", "medium": "cpc"}}),
            Some("Paid Social"),
        ),
        (json!({"page": {"referrer": ""}}), Some("Direct")),
        (json!({"page": {"title": "Home"}}), None),
        (json!({}), None),
    ] {
        let id = one(
            &server,
            &tenant.key,
            &event_with(&json!({"context": context})),
            "created",
        );
        let found: Option<String> = data
            .open()
            .query_row(
                "SELECT channel FROM event WHERE id = ?1",
                [event_number(&id)],
                |row| row.get(0),
            )
            .unwrap();
        assert_eq!(found.as_deref(), expected, "{context}");
    }
}

#[test]
fn every_kind_identifier_and_time_is_accepted() {
    let (data, tenant, server) = Data::served();
    let mut rows = Vec::new();
    for kind in ["identify", "page", "screen", "group", "alias"] {
        rows.push(json!({"kind": kind, "userId": "u", "traits": {"plan": {"any": ["shape"]}}}));
    }
    for identifier in ["userId", "visitorId", "email", "customerId", "groupId"] {
        rows.push(json!({"event": "A", identifier: "someone"}));
    }
    for timestamp in [
        "2024-01-01T12:00:00Z",
        "2024-01-01T14:00:00.000+02:00",
        "2024-01-01T06:30:00-05:30",
    ] {
        rows.push(event_with(
            &json!({"event": "Timed", "timestamp": timestamp}),
        ));
    }
    // What is null is left out.
    rows.push(event_with(&json!({
        "kind": null, "visitorId": null, "timestamp": null, "properties": null, "traits": null,
        "context": null, "messageId": null
    })));
    for event in &rows {
        one(&server, &tenant.key, event, "created");
    }
    let (status, answer) = server.post_native(&tenant.key, batch(&rows));
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["results"].as_array().unwrap().len(), rows.len());
    assert_eq!(
        data.number(
            "SELECT count(*) FROM event WHERE name = 'Timed' AND occurred_at_ms = 1704110400000"
        ),
        6
    );
    for kind in ["identify", "page", "screen", "group", "alias"] {
        let sql = format!("SELECT count(*) FROM event WHERE kind = '{kind}' AND name = '{kind}'");
        assert_eq!(data.number(&sql), 2, "{kind}");
    }
}

#[test]
fn each_bad_field_is_named() {
    let (data, tenant, server) = Data::served();
    let mut rows = vec![
        (json!({"event": "A"}), " missing_identifier"),
        (json!({"event": "A", "userId": null}), " missing_identifier"),
        (json!({"userId": "u"}), "/event required"),
        (json!({"kind": "track", "userId": "u"}), "/event required"),
        (event_with(&json!({"event": ""})), "/event required"),
        (event_with(&json!({"event": 5})), "/event wrong_type"),
        (
            event_with(&json!({"event": "e".repeat(201)})),
            "/event too_long",
        ),
        (
            event_with(&json!({"event": "system.x"})),
            "/event reserved_name",
        ),
        (event_with(&json!({"kind": "Track"})), "/kind invalid_kind"),
        (event_with(&json!({"kind": 1})), "/kind wrong_type"),
        (event_with(&json!({"userId": 12345})), "/userId wrong_type"),
        (
            event_with(&json!({"userId": "u".repeat(513)})),
            "/userId too_long",
        ),
        (
            event_with(&json!({"visitorId": []})),
            "/visitorId wrong_type",
        ),
        (event_with(&json!({"email": {}})), "/email wrong_type"),
        (event_with(&json!({"email": ""})), "/email required"),
        (
            event_with(&json!({"customerId": true})),
            "/customerId wrong_type",
        ),
        (event_with(&json!({"groupId": 1})), "/groupId wrong_type"),
        (
            event_with(&json!({"properties": "text"})),
            "/properties wrong_type",
        ),
        (event_with(&json!({"traits": [1]})), "/traits wrong_type"),
        (event_with(&json!({"context": 1})), "/context wrong_type"),
        (
            event_with(&json!({"timestamp": 1704110400})),
            "/timestamp wrong_type",
        ),
        (
            event_with(&json!({"messageId": 7})),
            "/messageId wrong_type",
        ),
        (
            event_with(&json!({"messageId": "m".repeat(256)})),
            "/messageId too_long",
        ),
        (
            event_with(&json!({"user_id": "u"})),
            "/user_id unknown_field",
        ),
        (
            event_with(&json!({"workspace": "ws_1"})),
            "/workspace unknown_field",
        ),
        (event_with(&json!({"a/b~c": 1})), "/a~1b~0c unknown_field"),
        (
            event_with(&json!({"properties": {"a": "x".repeat(MAX_EVENT_BYTES)}})),
            " event_too_large",
        ),
    ];
    for timestamp in [
        "2024-01-01T12:00:00",
        "2024-01-01",
        "yesterday",
        "",
        "2024-02-30T12:00:00Z",
    ] {
        let event = event_with(&json!({ "timestamp": timestamp }));
        rows.push((event, "/timestamp invalid_timestamp"));
    }
    for (event, wanted) in &rows {
        let shown: String = event.to_string().chars().take(200).collect();
        let problem = refuse(&server, &tenant, event.to_string());
        assert_eq!(problem.status, 422, "{shown}");
        assert_eq!(problem.errors, [*wanted], "{shown}");
        assert!(wanted.ends_with(&problem.code), "{shown}: {}", problem.code);
    }
    // The same in a batch: each is refused alone, and its pointers begin with its place.
    let events: Vec<_> = rows.iter().map(|(event, _)| event.clone()).collect();
    let (status, answer) = server.post_native(&tenant.key, batch(&events));
    assert_eq!(status, 422);
    for (index, (event, wanted)) in rows.iter().enumerate() {
        let result = &answer["results"][index];
        assert_eq!(result["status"], "rejected", "{event}");
        let errors = result["error"]["errors"].as_array().unwrap();
        let named: Vec<_> = errors
            .iter()
            .map(|error| format!("{} {}", text(error, "pointer"), text(error, "code")))
            .collect();
        assert_eq!(named, [format!("/events/{index}{wanted}")]);
        assert_eq!(result["error"]["code"], errors[0]["code"]);
        assert!(result["error"]["detail"].is_string() && result.get("id").is_none());
    }
    assert_nothing_was_stored(&data, &server, &tenant);
}

#[test]
fn several_bad_fields_are_all_named_up_to_a_number() {
    let (data, tenant, server) = Data::served();
    let body = r#"{"event":"admin.x","user":1,"timestamp":"yesterday","userId":"u","userId":"u","properties":[]}"#;
    let problem = refuse(&server, &tenant, body);
    assert_eq!(
        problem.errors,
        [
            "/event reserved_name",
            "/properties wrong_type",
            "/timestamp invalid_timestamp",
            "/user unknown_field",
            "/userId duplicate_field",
        ]
    );
    let problem = refuse(&server, &tenant, "{}");
    assert_eq!(problem.errors, [" missing_identifier", "/event required"]);
    let members: Vec<_> = (0..100_000).map(|n| format!("\"f{n}\":1")).collect();
    let problem = refuse(&server, &tenant, format!("{{{}}}", members.join(",")));
    assert_eq!(problem.status, 422);
    assert!(problem.errors.len() <= 25, "{}", problem.errors.len());
    assert_nothing_was_stored(&data, &server, &tenant);
}

#[test]
fn what_is_wrong_with_the_body_as_a_whole_stores_nothing() {
    let (data, tenant, server) = Data::served();
    let right = event_with(&json!({}));
    let many = |count: usize| batch(&vec![right.clone(); count]);
    let deep = format!("{}{}", "[".repeat(64), "]".repeat(64));
    for (body, status, error) in [
        ("[]".to_owned(), 422, " wrong_type"),
        (format!("[{right}]"), 422, " wrong_type"),
        ("12".to_owned(), 422, " wrong_type"),
        ("\"text\"".to_owned(), 422, " wrong_type"),
        ("null".to_owned(), 422, " wrong_type"),
        (r#"{"events":[]}"#.to_owned(), 422, "/events required"),
        (r#"{"events":{}}"#.to_owned(), 422, "/events wrong_type"),
        (r#"{"events":"x"}"#.to_owned(), 422, "/events wrong_type"),
        (r#"{"events":null}"#.to_owned(), 422, "/events wrong_type"),
        (many(MAX_EVENTS + 1), 422, "/events too_many_events"),
        (
            format!(r#"{{"events":[{}]}}"#, vec!["{}"; 500_000].join(",")),
            422,
            "/events too_many_events",
        ),
        (
            format!(r#"{{"events":[{right}],"userId":"u"}}"#),
            422,
            "/events both_shapes",
        ),
        (
            format!(r#"{{"events":[{right}],"batch":1}}"#),
            422,
            "/batch unknown_field",
        ),
        (
            format!(r#"{{"events":[{right}],"events":[{right}]}}"#),
            422,
            "/events duplicate_field",
        ),
        (format!(r#"{{"events":[{right},]}}"#), 400, "invalid_json"),
        (format!(r#"{{"events":[{right}"#), 400, "invalid_json"),
        (format!("{right}\n{right}"), 400, "invalid_json"),
        (String::new(), 400, "invalid_json"),
        (
            format!(
                r#"{{"events":[{right},{{"event":"A","userId":"u","properties":{{"a":{deep}}}}}]}}"#
            ),
            400,
            "too_deep",
        ),
        (
            format!(r#"{{"events":[{right},{{"event":"\ud800","userId":"u"}}]}}"#),
            400,
            "lone_surrogate",
        ),
    ] {
        let shown: String = body.chars().take(120).collect();
        let problem = refuse(&server, &tenant, body);
        assert_eq!(problem.status, status, "{shown}: {}", problem.detail);
        if status == 422 {
            assert_eq!(problem.errors, [error], "{shown}");
        } else {
            assert_eq!(problem.code, error, "{shown}");
            problem.offset();
        }
    }
    assert_nothing_was_stored(&data, &server, &tenant);
}

#[test]
fn a_mixed_batch_says_of_each_event_what_became_of_it() {
    let (data, tenant, server) = Data::served();
    let keyed = event_with(&json!({"messageId": "m-1"}));
    let first = one(&server, &tenant.key, &keyed, "created");
    let body = batch(&[
        event_with(&json!({"event": "New"})),
        json!("no object"),
        event_with(&json!({"timestamp": "2024-01-01T12:00:00"})),
        keyed.clone(),
        event_with(&json!({"messageId": "m-1", "event": "Other"})),
        event_with(&json!({"messageId": "m-2", "event": "Twice"})),
        event_with(&json!({"messageId": "m-2", "event": "Twice"})),
        event_with(&json!({"messageId": "m-2", "event": "Thrice"})),
        json!({"events": [], "event": "A", "userId": "u"}),
    ]);
    let (status, answer) = server.post_native(&tenant.key, body);
    assert_eq!(status, 200, "{answer}");
    let results = answer["results"].as_array().unwrap();
    let new = text(&results[0], "id");
    let twice = text(&results[5], "id");
    assert!(first < new && new < twice, "ids are in order: {answer}");
    let rejected = |index: usize, pointer: &str, code: &str| {
        let error = &results[index]["error"];
        let detail = text(error, "detail");
        let pointer = format!("/events/{index}{pointer}");
        json!({"status": "rejected", "error": {"code": code, "detail": detail,
            "errors": [{"pointer": pointer, "code": code, "detail": detail}]}})
    };
    let wanted = [
        json!({"status": "created", "id": new}),
        rejected(1, "", "wrong_type"),
        rejected(2, "/timestamp", "invalid_timestamp"),
        json!({"status": "duplicate", "id": first}),
        rejected(4, "/messageId", "idempotency_conflict"),
        json!({"status": "created", "id": twice}),
        json!({"status": "duplicate", "id": twice}),
        rejected(7, "/messageId", "idempotency_conflict"),
        rejected(8, "/events", "unknown_field"),
    ];
    assert_eq!(*results, wanted);
    assert_eq!(data.rows("event"), 3);
    // Nothing stored: 422 with the same results. A duplicate is stored.
    let other = event_with(&json!({"messageId": "m-1", "event": "Other"}));
    let (status, answer) = server.post_native(&tenant.key, batch(&[other, json!(1)]));
    assert_eq!(
        (status, answer["results"].as_array().unwrap().len()),
        (422, 2)
    );
    let (status, answer) = server.post_native(&tenant.key, batch(&[keyed, json!(1)]));
    assert_eq!(status, 200);
    assert_eq!(
        answer["results"][0],
        json!({"status": "duplicate", "id": first})
    );
    assert_eq!(data.rows("event"), 3);
}

#[test]
fn a_batch_is_in_the_log_in_its_order() {
    let (data, tenant, server) = Data::served();
    let events: Vec<_> = (0..MAX_EVENTS)
        .map(|n| event_with(&json!({"properties": {"n": n}})))
        .collect();
    let (status, answer) = server.post_native(&tenant.key, batch(&events));
    assert_eq!(status, 200);
    let ids: Vec<_> = answer["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|result| text(result, "id"))
        .collect();
    assert!(ids.is_sorted() && ids.len() == MAX_EVENTS);
    let sql = "SELECT count(*) FROM (SELECT properties, row_number() OVER (ORDER BY id) AS place FROM event)
               WHERE properties = '{\"n\":' || (place - 1) || '}'";
    assert_eq!(data.number(sql), i64::try_from(MAX_EVENTS).unwrap());
}

/// A batch of exactly `len` bytes with the most events that one may have.
fn batch_of_len(len: usize) -> String {
    let event = event_with(&json!({"properties": {"fill": "x".repeat(4_000)}}));
    let mut body = batch(&vec![event; MAX_EVENTS]);
    body.extend(std::iter::repeat_n(' ', len - body.len()));
    body
}

#[test]
fn bodies_over_4_mib_are_refused_however_they_come() {
    let (data, tenant, server) = Data::served();
    let too_large = batch_of_len(MAX_BODY_BYTES + 1);
    let zipped = |file: Vec<u8>| {
        server
            .native(&tenant.key)
            .header("content-encoding", "gzip")
            .body(file)
    };
    let chunked = std::io::Cursor::new(too_large.clone().into_bytes());
    for (what, request) in [
        ("plain", server.native(&tenant.key).body(too_large.clone())),
        (
            "chunked",
            server.native(&tenant.key).body(Body::new(chunked)),
        ),
        ("zipped", zipped(gzip::stored(too_large.as_bytes()))),
        ("a bomb", zipped(gzip::run_of(b' ', 10_000_000).0)),
    ] {
        // A body that is refused by its announced length may break off on the way.
        let Ok(response) = request.send() else {
            assert_eq!(what, "plain");
            continue;
        };
        let problem = Problem::read(response);
        assert_eq!(
            (problem.status, problem.code.as_str()),
            (413, "body_too_large"),
            "{what}"
        );
    }
    assert_eq!(data.rows("event"), 0);
    let largest = batch_of_len(MAX_BODY_BYTES);
    let chunked = std::io::Cursor::new(largest.clone().into_bytes());
    for request in [
        server.native(&tenant.key).body(largest.clone()),
        server.native(&tenant.key).body(Body::new(chunked)),
        zipped(gzip::stored(
            largest.get(..MAX_BODY_BYTES - 1_000).unwrap().as_bytes(),
        )),
    ] {
        let response = request.send().unwrap();
        assert_eq!(response.status(), 200, "{}", response.text().unwrap());
    }
    assert_eq!(data.rows("event"), 3 * i64::try_from(MAX_EVENTS).unwrap());
    let problem = Problem::read(zipped(b"{}".to_vec()).send().unwrap());
    assert_eq!(
        (problem.status, problem.code.as_str()),
        (400, "invalid_gzip")
    );
}

#[test]
fn the_key_may_stand_in_either_header() {
    let (data, tenant, server) = Data::served();
    let body = event_with(&json!({})).to_string();
    let post = |headers: &[(&str, &str)]| {
        let mut request = server
            .http
            .post(server.at("/api/v1/events"))
            .body(body.clone());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().unwrap()
    };
    let bearer = format!("Bearer {}", tenant.key);
    for headers in [
        vec![],
        vec![("authorization", "Basic dTpw")],
        vec![("authorization", tenant.key.as_str())],
    ] {
        let problem = Problem::read(post(&headers));
        assert_eq!(
            (problem.status, problem.code.as_str()),
            (401, "missing_api_key")
        );
        assert!(
            problem
                .detail
                .contains("Authorization: Bearer or x-api-key"),
            "{}",
            problem.detail
        );
    }
    for headers in [
        vec![("authorization", "Bearer nonsense")],
        vec![("x-api-key", "nonsense")],
        vec![
            ("x-api-key", "nonsense"),
            ("authorization", bearer.as_str()),
        ],
    ] {
        let problem = Problem::read(post(&headers));
        assert_eq!(
            (problem.status, problem.code.as_str()),
            (401, "invalid_api_key")
        );
    }
    assert_eq!(data.rows("event"), 0);
    for headers in [
        vec![("authorization", bearer.as_str())],
        vec![(
            "authorization",
            bearer
                .to_lowercase()
                .replace(&tenant.key.to_lowercase(), &tenant.key)
                .as_str(),
        )],
        vec![("x-api-key", tenant.key.as_str())],
        vec![
            ("x-api-key", tenant.key.as_str()),
            ("authorization", "Basic dTpw"),
        ],
    ] {
        assert_eq!(post(&headers).status(), 200, "{headers:?}");
    }
    let jimo = server
        .http
        .post(server.at("/sse/webhook"))
        .bearer_auth(&tenant.key);
    let problem = Problem::read(jimo.body("{}").send().unwrap());
    assert_eq!(
        problem.code, "missing_api_key",
        "Jimo's endpoint takes its own header only"
    );
}

#[test]
fn a_key_needs_a_scope_that_posts_events() {
    let data = Data::new();
    let tenant = data.tenant("Acme");
    let keys = |scopes: &[&str]| -> Vec<String> {
        scopes
            .iter()
            .map(|scope| data.key(&tenant.id, scope).1)
            .collect()
    };
    let right = keys(&["write:events", "write:custom_events", "admin:workspace"]);
    let wrong = keys(&["read:events", "write:webhooks", "read:webhooks"]);
    let server = data.serve();
    for key in &right {
        one(&server, key, &event_with(&json!({})), "created");
    }
    for key in &wrong {
        let response = server
            .native(key)
            .body(event_with(&json!({})).to_string())
            .send();
        let problem = Problem::read(response.unwrap());
        assert_eq!(
            (problem.status, problem.code.as_str()),
            (403, "missing_scope")
        );
        assert!(
            problem
                .detail
                .contains("write:events or write:custom_events")
        );
    }
    assert_eq!(data.rows("event"), 3);
    let response = server.post(&right[1], crate::support::server::track_body("u", "A"));
    assert_eq!(
        response.status(),
        403,
        "custom events do not come in Jimo's dialect"
    );
}

#[test]
fn other_methods_hear_which_one_is_right() {
    let (_data, tenant, server) = Data::served();
    for method in [
        reqwest::Method::GET,
        reqwest::Method::PUT,
        reqwest::Method::DELETE,
    ] {
        let request = server.http.request(method, server.at("/api/v1/events"));
        let response = request.bearer_auth(&tenant.key).send().unwrap();
        assert_eq!(response.headers()["allow"], "POST");
        assert_eq!(Problem::read(response).status, 405);
    }
}

#[test]
fn objects_and_identifiers_reach_the_webhook_byte_for_byte() {
    let receiver = Receiver::healthy();
    let data = Data::new();
    let tenant = data.tenant("Acme");
    data.webhook(&tenant.id, "All", &receiver.url("/"), &["*"]);
    let server = data.serve();
    let event = |name: &str| {
        format!(
            r#"{{ "event" : "{name}", "user\u0049d":"u\"1","visitorId":"v","email":" A@B.c ","customerId":"cus_1","groupId":"g",
                "context":{HARD_PROPERTIES},"traits" : {HARD_PROPERTIES} ,"properties":{HARD_PROPERTIES},"timestamp":"2024-01-01T14:00:00.5+02:00"}}"#
        )
    };
    let (status, answer) = server.post_native(&tenant.key, event("Alone"));
    assert_eq!(status, 200, "{answer}");
    let body = format!("{{\"events\":[ {} ]}}", event("Among"));
    let (status, batch) = server.post_native(&tenant.key, body);
    assert_eq!(status, 200, "{batch}");
    for (name, id) in [
        ("Alone", &answer["id"]),
        ("Among", &batch["results"][0]["id"]),
    ] {
        let id = id.as_str().unwrap();
        let whole = format!(
            r#"{{"type":"{name}","timestamp":"2024-01-01T12:00:00.500Z","data":{{"id":"{id}","kind":"track","event":"{name}","userId":"u\"1","visitorId":"v","email":" A@B.c ","customerId":"cus_1","groupId":"g","properties":{HARD_PROPERTIES},"traits":{HARD_PROPERTIES},"context":{HARD_PROPERTIES},"verification":"server","receivedAt":""#
        );
        let sent = receiver.wait_for_type(name).body_text();
        assert!(
            sent.starts_with(&whole),
            "{sent}\nshould start with\n{whole}"
        );
    }
}

// ONE EVENT A LINE --------------------------------------------------------------------------

/// Posts lines; the status and the JSON that came back.
#[track_caller]
fn post_lines(
    server: &Server,
    key: &str,
    content_type: &str,
    body: impl Into<Vec<u8>>,
) -> (u16, Value) {
    let request = server.native(key).header("content-type", content_type);
    let response = request.body(body.into()).send().unwrap();
    (response.status().as_u16(), response.json().unwrap())
}

#[test]
fn lines_are_events_with_a_result_for_each() {
    let (data, tenant, server) = Data::served();
    let event = |name: &str| event_with(&json!({"event": name})).to_string();
    for (content_type, newline) in [
        ("application/x-ndjson", "\n"),
        ("application/ndjson", "\r\n"),
        ("Application/X-NDJSON; charset=utf-8", "\n\n  \n"),
    ] {
        let before = data.rows("event");
        let body = ["A", "B", "C"].map(event).join(newline);
        for (body, rows) in [(body.clone(), 3), (format!("{newline}{body}{newline}"), 6)] {
            let (status, answer) = post_lines(&server, &tenant.key, content_type, body);
            let results = answer["results"].as_array().unwrap();
            assert_eq!((status, results.len()), (200, 3), "{answer}");
            assert!(
                results.iter().all(|result| result["status"] == "created"),
                "{answer}"
            );
            assert!(results.iter().map(|result| text(result, "id")).is_sorted());
            assert_eq!(data.rows("event"), before + rows);
        }
    }
    // One line is still many: its answer is a list.
    let (status, answer) = post_lines(&server, &tenant.key, "application/x-ndjson", event("A"));
    assert_eq!(
        (status, answer["results"].as_array().unwrap().len()),
        (200, 1)
    );
    // As another type it is a body that does not end where its JSON does.
    let body = [event("A"), event("B")].join("\n");
    assert_eq!(refuse(&server, &tenant, body).code, "invalid_json");
}

#[test]
fn a_bad_line_costs_the_others_nothing_and_is_named_by_number_and_byte() {
    let (data, tenant, server) = Data::served();
    let right = event_with(&json!({})).to_string();
    let deep = format!("{}{}", "[".repeat(65), "]".repeat(65));
    let mut body = Vec::new();
    let mut starts = Vec::new();
    for line in [
        right.as_bytes(),
        b"{\"event\":\"A\",}",
        b"",
        b"{\"event\":\"\xff\"}",
        deep.as_bytes(),
        b"{\"event\":\"\\ud800\"}",
        b"[1]",
        b"{\"event\":\"A\"}",
        b"{\"events\":[]}",
        right.as_bytes(),
    ] {
        starts.push(body.len());
        body.extend(line);
        body.push(b'\n');
    }
    let (status, answer) = post_lines(&server, &tenant.key, "application/x-ndjson", body);
    assert_eq!(status, 200, "{answer}");
    let results = answer["results"].as_array().unwrap();
    assert_eq!(results.len(), 9, "a blank line is no event: {answer}");
    for created in [0, 8] {
        assert_eq!(results[created]["status"], "created");
    }
    assert_eq!(data.rows("event"), 2);
    let error = |index: usize| {
        assert_eq!(results[index]["status"], "rejected", "{answer}");
        let error = &results[index]["error"];
        let errors: Vec<_> = error["errors"].as_array().unwrap().iter().collect();
        let named = format!("{} {}", text(errors[0], "pointer"), text(errors[0], "code"));
        assert_eq!(errors[0]["code"], error["code"]);
        (named, text(error, "detail"))
    };
    // The index is the result's; the line is the file's, where the third is blank.
    for (index, line, code, offset) in [
        (1, 2, "invalid_json", starts[1] + 13),
        (2, 4, "invalid_utf8", starts[3] + 10),
        (3, 5, "too_deep", starts[4] + 64),
        (4, 6, "lone_surrogate", starts[5] + 10),
    ] {
        let (named, detail) = error(index);
        assert_eq!(named, format!("/{index} {code}"));
        let wanted = format!("Line {line} is not acceptable JSON at byte {offset} of the body: ");
        assert!(
            detail.starts_with(&wanted),
            "{detail}\nshould start with\n{wanted}"
        );
    }
    assert_eq!(error(5).0, "/5 wrong_type");
    assert_eq!(error(6).0, "/6 missing_identifier");
    assert_eq!(error(7).0, "/7/events unknown_field");
    // None stored: 422 with the results.
    let (status, answer) = post_lines(&server, &tenant.key, "application/x-ndjson", "{\n[]");
    assert_eq!(
        (status, answer["results"].as_array().unwrap().len()),
        (422, 2)
    );
    assert_eq!(data.rows("event"), 2);
}

#[test]
fn lines_have_the_limits_of_a_batch() {
    let (data, tenant, server) = Data::served();
    let right = event_with(&json!({})).to_string();
    let lines = |count: usize| vec![right.clone(); count].join("\n");
    let refused = |body: String| {
        let request = server
            .native(&tenant.key)
            .header("content-type", "application/x-ndjson");
        Problem::read(request.body(body).send().unwrap())
    };
    for empty in ["", "\n", " \r\n\n"] {
        let problem = refused(empty.to_owned());
        assert_eq!(
            (problem.status, problem.code.as_str()),
            (422, "required"),
            "{empty:?}"
        );
    }
    let problem = refused(lines(MAX_EVENTS + 1));
    assert_eq!(
        (problem.status, problem.code.as_str()),
        (422, "too_many_events")
    );
    let problem = refused(format!("{right}\n{}", " ".repeat(MAX_BODY_BYTES)));
    assert_eq!(
        (problem.status, problem.code.as_str()),
        (413, "body_too_large")
    );
    assert_eq!(data.rows("event"), 0);
    let large = event_with(&json!({"properties": {"a": "x".repeat(MAX_EVENT_BYTES)}}));
    let body = format!("{large}\n{}", lines(MAX_EVENTS - 1));
    let (status, answer) = post_lines(&server, &tenant.key, "application/x-ndjson", body);
    assert_eq!(status, 200);
    assert_eq!(answer["results"][0]["error"]["code"], "event_too_large");
    assert_eq!(data.rows("event"), i64::try_from(MAX_EVENTS).unwrap() - 1);
}

// IDEMPOTENCY-KEY ---------------------------------------------------------------------------

/// Posts under an Idempotency-Key.
fn keyed(
    server: &Server,
    tenant: &Tenant,
    key: &str,
    body: impl Into<Body>,
) -> reqwest::blocking::Response {
    let request = server.native(&tenant.key).header("idempotency-key", key);
    request.body(body).send().unwrap()
}

#[test]
fn an_idempotency_key_is_the_key_of_a_single_event() {
    let (data, tenant, server) = Data::served();
    let longest = "k".repeat(255);
    for key in ["k-1", "\"quoted, with blanks\"", longest.as_str()] {
        let event = event_with(&json!({"properties": {"n": 1}}));
        let post = |event: &Value| keyed(&server, &tenant, key, event.to_string());
        let first: Value = post(&event).json().unwrap();
        assert_eq!(first["status"], "created", "{first}");
        let again: Value = post(&event).json().unwrap();
        assert_eq!(again, json!({"status": "duplicate", "id": first["id"]}));
        // The same key in the body is the same key.
        let named = event_with(&json!({"properties": {"n": 1}, "messageId": key}));
        for again in [
            post(&named),
            server
                .native(&tenant.key)
                .body(named.to_string())
                .send()
                .unwrap(),
        ] {
            assert_eq!(again.json::<Value>().unwrap()["id"], first["id"]);
        }
        let problem = Problem::read(post(&event_with(&json!({"properties": {"n": 2}}))));
        assert_eq!(
            (problem.status, problem.code.as_str()),
            (409, "idempotency_conflict")
        );
        assert_eq!(problem.errors, [" idempotency_conflict"]);
        assert!(
            problem.detail.contains("this Idempotency-Key before"),
            "{}",
            problem.detail
        );
    }
    assert_eq!(data.rows("event"), 3);
    let other = event_with(&json!({"messageId": "m-1"}));
    let problem = Problem::read(keyed(&server, &tenant, "k-2", other.to_string()));
    assert_eq!(
        (problem.status, problem.code.as_str()),
        (422, "idempotency_key_mismatch")
    );
    assert_eq!(problem.errors, ["/messageId idempotency_key_mismatch"]);
    assert_eq!(data.rows("event"), 3);
    // What was refused did not take the key.
    let answer: Value = keyed(&server, &tenant, "k-2", event_with(&json!({})).to_string())
        .json()
        .unwrap();
    assert_eq!(answer["status"], "created");
}

#[test]
fn an_idempotency_key_and_its_place_are_the_key_of_each_event_of_many() {
    let (data, tenant, server) = Data::served();
    let event = |name: &str| event_with(&json!({"event": name}));
    let named = event_with(&json!({"event": "Named", "messageId": "m-1"}));
    let events = [event("A"), json!(1), named.clone(), event("B")];
    let lines = events.each_ref().map(Value::to_string).join("\n");
    let post_lines = |key: &str, body: &str| {
        let request = server
            .native(&tenant.key)
            .header("content-type", "application/ndjson");
        request
            .header("idempotency-key", key)
            .body(body.to_owned())
            .send()
            .unwrap()
    };
    let results = |response: reqwest::blocking::Response| -> Vec<(String, Value)> {
        let answer: Value = response.json().unwrap();
        let results = answer["results"].as_array().unwrap().iter();
        results
            .map(|result| (text(result, "status"), result["id"].clone()))
            .collect()
    };
    let statuses = |results: &[(String, Value)]| {
        results
            .iter()
            .map(|(status, _)| status.clone())
            .collect::<Vec<_>>()
    };
    let first = results(keyed(&server, &tenant, "k", batch(&events)));
    assert_eq!(
        statuses(&first),
        ["created", "rejected", "created", "created"]
    );
    for again in [
        results(keyed(&server, &tenant, "k", batch(&events))),
        results(post_lines("k", &lines)),
    ] {
        assert_eq!(
            statuses(&again),
            ["duplicate", "rejected", "duplicate", "duplicate"]
        );
        assert!(
            first
                .iter()
                .zip(&again)
                .all(|((_, first), (_, again))| first == again)
        );
    }
    assert_eq!(data.rows("event"), 3);
    let keys = data.number("SELECT count(*) FROM event WHERE dedup_key IN ('k:0', 'm-1', 'k:3')");
    assert_eq!(keys, 3);
    // Under another key the events are others, but for the one that has its own.
    let other = results(keyed(&server, &tenant, "other", batch(&events)));
    assert_eq!(
        statuses(&other),
        ["created", "rejected", "duplicate", "created"]
    );
    // Another body under the same key: each event for itself.
    let response = keyed(
        &server,
        &tenant,
        "k",
        batch(&[event("Changed"), event("New"), named, event("B")]),
    );
    let answer: Value = response.json().unwrap();
    let error = &answer["results"][0]["error"];
    assert_eq!(error["code"], "idempotency_conflict");
    assert_eq!(error["errors"][0]["pointer"], "/events/0");
    assert_eq!(answer["results"][1]["status"], "created");
    assert_eq!(answer["results"][3]["status"], "duplicate");
}

#[test]
fn an_idempotency_key_that_is_none_is_refused() {
    let (data, tenant, server) = Data::served();
    let event = event_with(&json!({})).to_string();
    let refused = |response: reqwest::blocking::Response| {
        let problem = Problem::read(response);
        assert_eq!(
            (problem.status, problem.code.as_str()),
            (400, "invalid_idempotency_key")
        );
        assert!(
            problem.detail.contains("nothing was stored"),
            "{}",
            problem.detail
        );
    };
    for key in ["", &"k".repeat(256), "ключ", "tab\there"] {
        refused(keyed(&server, &tenant, key, event.clone()));
    }
    let request = server.native(&tenant.key).header("idempotency-key", "a");
    refused(
        request
            .header("idempotency-key", "b")
            .body(event)
            .send()
            .unwrap(),
    );
    // The place of an event of many needs room.
    let events = batch(&[event_with(&json!({}))]);
    refused(keyed(&server, &tenant, &"k".repeat(252), events.clone()));
    assert_eq!(data.rows("event"), 0);
    assert_eq!(
        keyed(&server, &tenant, &"k".repeat(251), events).status(),
        200
    );
}

// ONE KEY, ONE EVENT ------------------------------------------------------------------------

#[test]
fn a_key_that_came_before_is_the_same_event_or_a_conflict() {
    let receiver = Receiver::healthy();
    let data = Data::new();
    let tenant = data.tenant("Acme");
    data.webhook(&tenant.id, "All", &receiver.url("/"), &["*"]);
    let server = data.serve();
    // Without a timestamp the time of receipt differs, and it is the same event all the same.
    let event = event_with(&json!({"messageId": "m-1", "properties": {"n": 1}}));
    let id = one(&server, &tenant.key, &event, "created");
    assert_eq!(one(&server, &tenant.key, &event, "duplicate"), id);
    for change in [
        json!({"event": "Other"}),
        json!({"userId": "other"}),
        json!({"email": "a@b.c"}),
        json!({"properties": {"n": 2}}),
        json!({"properties": null}),
        json!({"traits": {}}),
        json!({"context": {}}),
        json!({"kind": "page"}),
        json!({"timestamp": "2024-01-01T12:00:00Z"}),
    ] {
        let mut other = event.clone();
        for (name, value) in change.as_object().unwrap() {
            other[name] = value.clone();
        }
        let problem = refuse(&server, &tenant, other.to_string());
        assert_eq!(
            (problem.status, problem.code.as_str()),
            (409, "idempotency_conflict"),
            "{change}"
        );
        assert_eq!(problem.errors, ["/messageId idempotency_conflict"]);
        assert!(problem.detail.contains(&id), "{}", problem.detail);
    }
    assert_eq!(one(&server, &tenant.key, &event, "duplicate"), id);
    assert_eq!((data.rows("event"), data.rows("delivery")), (1, 1));
}

#[test]
fn a_key_belongs_to_its_workspace() {
    let data = Data::new();
    let (ours, theirs) = (data.tenant("Ours"), data.tenant("Theirs"));
    let server = data.serve();
    let event = event_with(&json!({"messageId": "m-1"}));
    let our_event = one(&server, &ours.key, &event, "created");
    let their_event = one(
        &server,
        &theirs.key,
        &event_with(&json!({"messageId": "m-1", "event": "X"})),
        "created",
    );
    assert_ne!(our_event, their_event);
    assert_eq!(one(&server, &ours.key, &event, "duplicate"), our_event);
    assert_eq!(data.rows("event"), 2);
}

#[test]
fn a_retry_that_overtakes_the_commit_is_a_duplicate() {
    let (data, tenant, server) = Data::served();
    let body = event_with(&json!({"messageId": "m-1"})).to_string();
    let lock = data.lock_file();
    let answers: Vec<_> = std::thread::scope(|scope| {
        let posts: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| server.post_native(&tenant.key, body.clone())))
            .collect();
        // Long enough for all of them to be waiting for the writer, or with it.
        std::thread::sleep(Duration::from_millis(500));
        assert!(posts.iter().all(|post| !post.is_finished()));
        drop(lock);
        posts.into_iter().map(|post| post.join().unwrap()).collect()
    });
    let ids: BTreeSet<_> = answers
        .iter()
        .map(|(_, answer)| text(answer, "id"))
        .collect();
    assert_eq!(ids.len(), 1, "{answers:?}");
    let mut said: Vec<_> = answers
        .iter()
        .map(|(_, answer)| text(answer, "status"))
        .collect();
    said.sort();
    assert_eq!(said, ["created", "duplicate", "duplicate", "duplicate"]);
    assert_eq!(data.rows("event"), 1);
}

#[test]
fn a_key_is_known_right_after_a_kill() {
    let (data, tenant, mut server) = Data::served();
    let event = |batch: usize, n: usize| {
        event_with(&json!({"messageId": format!("m-{batch}-{n}"), "properties": {"n": n}}))
    };
    let mut last = String::new();
    for number in 0..20 {
        let events: Vec<_> = (0..MAX_EVENTS).map(|n| event(number, n)).collect();
        let (status, answer) = server.post_native(&tenant.key, batch(&events));
        assert_eq!(status, 200);
        last = text(&answer["results"][MAX_EVENTS - 1], "id");
    }
    for _ in 0..3 {
        server.process.kill();
        server = data.serve();
        let again = event(19, MAX_EVENTS - 1);
        assert_eq!(one(&server, &tenant.key, &again, "duplicate"), last);
    }
    assert_eq!(data.rows("event"), 20_000);
}

/// Apps that send one and the same event as fast as they are answered, wherever the box is.
struct Repeaters<'a> {
    url: Mutex<String>,
    key: &'a str,
    body: String,
    wanted: usize,
    answered: AtomicUsize,
    ids: Mutex<BTreeSet<String>>,
    created: AtomicUsize,
}

impl Repeaters<'_> {
    fn repeat(&self, http: &reqwest::blocking::Client) {
        while self.answered.load(Ordering::SeqCst) < self.wanted {
            let url = format!("{}/api/v1/events", self.url.lock().unwrap());
            let request = http.post(url).bearer_auth(self.key).body(self.body.clone());
            // The box is gone or going: an app tries again.
            let Ok(answer) = request
                .send()
                .and_then(|r| Ok((r.status().as_u16(), r.text()?)))
            else {
                std::thread::sleep(Duration::from_millis(5));
                continue;
            };
            let (status, answer) = answer;
            if status == 503 {
                continue;
            }
            assert_eq!(status, 200, "{answer}");
            let answer: Value = serde_json::from_str(&answer).unwrap();
            self.ids.lock().unwrap().insert(text(&answer, "id"));
            if answer["status"] == "created" {
                self.created.fetch_add(1, Ordering::SeqCst);
            }
            self.answered.fetch_add(1, Ordering::SeqCst);
        }
    }
}

#[test]
fn duplicates_over_50_connections_restarts_and_kills_are_one_event() {
    const CONNECTIONS: usize = 50;
    const RESTARTS: usize = 4;
    let (data, tenant, mut server) = Data::served();
    let event = event_with(&json!({"messageId": "m-1", "properties": {"amount": 1}}));
    let apps = Repeaters {
        url: Mutex::new(server.url.clone()),
        key: &tenant.key,
        body: event.to_string(),
        wanted: duplicates(),
        answered: AtomicUsize::new(0),
        ids: Mutex::default(),
        created: AtomicUsize::new(0),
    };
    let http = server.http.clone();
    std::thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            scope.spawn(|| apps.repeat(&http));
        }
        for restart in 1..=RESTARTS {
            let enough = apps.wanted * restart / (RESTARTS + 1);
            wait_at_most(Duration::from_secs(60), "answers", || {
                (apps.answered.load(Ordering::SeqCst) >= enough).then_some(())
            });
            if restart % 2 == 0 {
                assert!(server.terminate().success());
            } else {
                server.process.kill();
            }
            server = data.serve();
            server.url.clone_into(&mut apps.url.lock().unwrap());
        }
    });
    let ids = apps.ids.into_inner().unwrap();
    println!("{} answers, ids {ids:?}", apps.answered.into_inner());
    assert_eq!(ids.len(), 1, "{ids:?}");
    assert!(apps.created.into_inner() <= 1, "created more than once");
    assert_eq!(data.rows("event"), 1);
    let other = event_with(&json!({"messageId": "m-1", "properties": {"amount": 2}}));
    let problem = refuse(&server, &tenant, other.to_string());
    assert_eq!(
        (problem.status, problem.code.as_str()),
        (409, "idempotency_conflict")
    );
    assert_eq!(data.rows("event"), 1);
}

#[test]
fn the_answer_to_nothing_but_wrong_fields_is_no_flood() {
    let (_data, tenant, server) = Data::served();
    let fields: Vec<_> = (0..20).map(|n| format!(r#""x{n}":1"#)).collect();
    let event = format!("{{{}}}", fields.join(","));
    let batch = format!(r#"{{"events":[{}]}}"#, vec![event; 1_000].join(","));
    let response = server
        .native(&tenant.key)
        .body(batch.clone())
        .send()
        .unwrap();
    assert_eq!(response.status(), 422);
    let answer = response.text().unwrap();
    let bound = 4 * batch.len();
    assert!(
        answer.len() < bound,
        "{} bytes for {}",
        answer.len(),
        batch.len()
    );
    // Each is told why, and of the first all that is.
    assert!(answer.contains("/events/999/x0"));
    assert!(answer.contains("/events/0/x19"));

    let body = format!(
        r#"{{"event":"A","userId":"u","{}/":1,"y":1}}"#,
        "n".repeat(1_000_000)
    );
    let (status, problem) = server.post_native(&tenant.key, body);
    assert_eq!(status, 422);
    let errors = problem["errors"].as_array().unwrap();
    assert_eq!(errors[0]["pointer"], format!("/{}…", "n".repeat(100)));
    assert!(problem.to_string().len() < 2_000, "{problem}");
    let named = problem.to_string().matches("customerId").count();
    // In the detail of the whole, and in that of the first field.
    assert_eq!(named, 2, "{problem}");
}
