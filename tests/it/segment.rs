//! ARRIVE: the Segment-compatible dialect, by every path and with every kind of write key, each refusal by
//! status, code and place, and requests as the libraries write them (tests/fixtures/segment).

use crate::ingest::HARD_PROPERTIES;
use crate::support::data::text;
use crate::support::{Data, Problem, Server, Tenant, gzip};
use pillarbox::id::SourceId;
use reqwest::Method;
use reqwest::blocking::{RequestBuilder, Response};
use rusqlite::Connection;
use serde_json::{Value, json};
use std::io::Write as _;
use std::net::TcpStream;

const MAX_MESSAGE_BYTES: usize = 32 * 1024;
const MAX_BATCH_BYTES: usize = 500 * 1024;
const ORIGIN: &str = "https://shop.example.com";

/// A POST with the key as Basic's user name, as most libraries send it.
fn call(server: &Server, path: &str, key: &str) -> RequestBuilder {
    server.http.post(server.at(path)).basic_auth(key, Some(""))
}

/// An answer that must be the one that says success.
#[track_caller]
fn assert_success(response: Response) {
    let status = response.status().as_u16();
    let content_type = response.headers()["content-type"].clone();
    let body = response.text().unwrap();
    assert_eq!((status, body.as_str()), (200, r#"{"success":true}"#));
    assert_eq!(content_type, "application/json");
}

#[track_caller]
fn accept(server: &Server, tenant: &Tenant, path: &str, body: &Value) {
    let request = call(server, path, &tenant.key).body(body.to_string());
    assert_success(request.send().unwrap());
}

/// A refusal in the shape that the libraries read: its status, code, message and `pointer code`s.
#[derive(Debug)]
struct Refusal {
    status: u16,
    code: String,
    message: String,
    errors: Vec<String>,
}

impl Refusal {
    #[track_caller]
    fn read(response: Response) -> Self {
        let status = response.status().as_u16();
        assert_eq!(response.headers()["content-type"], "application/json");
        let body: Value = serde_json::from_str(&response.text().unwrap()).unwrap();
        assert_eq!(body["success"], false, "{body}");
        let errors = body["errors"].as_array().into_iter().flatten();
        Self {
            status,
            code: text(&body, "code"),
            message: text(&body, "message"),
            errors: errors
                .map(|error| format!("{} {}", text(error, "pointer"), text(error, "code")))
                .collect(),
        }
    }

    fn said(&self) -> (u16, &str) {
        (self.status, &self.code)
    }
}

#[track_caller]
fn refuse(server: &Server, tenant: &Tenant, path: &str, body: impl Into<Vec<u8>>) -> Refusal {
    let request = call(server, path, &tenant.key).body(body.into());
    Refusal::read(request.send().unwrap())
}

/// `object` with `change` made to it.
fn with(mut object: Value, change: &Value) -> Value {
    for (name, value) in change.as_object().unwrap() {
        object[name] = value.clone();
    }
    object
}

/// A track message that is right, with `change` made to it.
fn track_with(change: &Value) -> Value {
    let track = json!({"type": "track", "event": "Order Completed", "userId": "u-1"});
    with(track, change)
}

/// What is in the log, in its order: the columns of a query, as text.
pub(crate) fn log(data: &Data, columns: &str) -> Vec<String> {
    let connection = data.open();
    let mut statement = connection
        .prepare(&format!("SELECT {columns} FROM event ORDER BY id"))
        .unwrap();
    let names = statement.column_count();
    statement
        .query_map([], |row| {
            let cells: rusqlite::Result<Vec<_>> = (0..names)
                .map(|at| {
                    let cell: rusqlite::types::Value = row.get(at)?;
                    Ok(match cell {
                        rusqlite::types::Value::Null => "-".to_owned(),
                        rusqlite::types::Value::Text(text) => text,
                        rusqlite::types::Value::Integer(number) => number.to_string(),
                        other => format!("{other:?}"),
                    })
                })
                .collect();
            Ok(cells?.join(" "))
        })
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap()
}

/// Makes a source that these origins may post as; its public id.
pub(crate) fn source(data: &Data, tenant: &Tenant, origins: &[&str]) -> String {
    let made = data.json(&[
        "source",
        "create",
        "Shop",
        "--workspace",
        &tenant.id,
        "--json",
    ]);
    let id = text(&made, "id");
    let number = id.parse::<SourceId>().unwrap().as_i64();
    let changed = Connection::open(data.file())
        .unwrap()
        .execute(
            "UPDATE source SET origins = ?1 WHERE id = ?2",
            (json!(origins).to_string(), number),
        )
        .unwrap();
    assert_eq!(changed, 1);
    id
}

// WHAT IS TAKEN -----------------------------------------------------------------------------

#[test]
fn every_call_is_taken_by_its_long_and_its_short_path() {
    let (data, tenant, server) = Data::served();
    let messages = [
        (
            "track",
            "t",
            json!({"event": "Signed Up", "properties": {"plan": "pro"}}),
        ),
        (
            "identify",
            "i",
            json!({"traits": {"email": "Jane@example.com"}}),
        ),
        (
            "page",
            "p",
            json!({"name": "Home", "properties": {"path": "/"}}),
        ),
        (
            "screen",
            "s",
            json!({"name": "Home", "properties": {"build": 7}}),
        ),
        (
            "group",
            "g",
            json!({"groupId": "g-1", "traits": {"name": "Initech"}}),
        ),
        ("alias", "a", json!({"previousId": "old"})),
    ];
    for (long, short, message) in &messages {
        let message = with(message.clone(), &json!({"userId": "u-1"}));
        accept(&server, &tenant, &format!("/v1/{long}"), &message);
        accept(&server, &tenant, &format!("/v1/{short}"), &message);
    }
    let batch: Vec<_> = messages
        .iter()
        .map(|(kind, _, message)| with(message.clone(), &json!({"type": kind, "userId": "u-1"})))
        .collect();
    for path in ["/v1/batch", "/v1/b", "/v1/import"] {
        accept(&server, &tenant, path, &json!({ "batch": batch }));
    }
    let rows = [
        r#"track Signed Up u-1 - - - {"plan":"pro"} - server"#,
        r#"identify identify u-1 - Jane@example.com - - {"email":"Jane@example.com"} server"#,
        r#"page page u-1 - - - {"name":"Home","path":"/"} - server"#,
        r#"screen screen u-1 - - - {"name":"Home","build":7} - server"#,
        r#"group group u-1 - - g-1 - {"name":"Initech"} server"#,
        "alias alias u-1 old - - - - server",
    ];
    let mut wanted: Vec<_> = rows.iter().flat_map(|row| [*row, *row]).collect();
    for _ in 0..3 {
        wanted.extend(rows);
    }
    let columns =
        "kind, name, user_id, visitor_id, email, group_id, properties, traits, verification";
    assert_eq!(log(&data, columns), wanted);
}

#[test]
fn objects_keep_their_bytes_and_null_is_left_out() {
    let (data, tenant, server) = Data::served();
    let body = format!(
        r#"{{"type":"track","event":"Hard","userId":null,"anonymousId":"a-1","properties": {HARD_PROPERTIES} ,"context":{HARD_PROPERTIES},
            "traits":7,"messageId":null,"timestamp":null,"sentAt":null,"integrations":{{"All":true}},"_metadata":[],"channel":"web"}}"#
    );
    assert_success(
        call(&server, "/v1/track", &tenant.key)
            .body(body.clone())
            .send()
            .unwrap(),
    );
    let batch = format!(r#"{{"batch":[{body}],"context":null,"sentAt":null}}"#);
    assert_success(
        call(&server, "/v1/batch", &tenant.key)
            .body(batch)
            .send()
            .unwrap(),
    );
    let row = format!("- a-1 {HARD_PROPERTIES} {HARD_PROPERTIES} - 1");
    let columns =
        "user_id, visitor_id, properties, context, dedup_key, occurred_at_ms = received_at_ms";
    assert_eq!(log(&data, columns), [row.clone(), row]);
}

#[test]
fn ids_may_be_numbers_and_keep_their_digits() {
    let (data, tenant, server) = Data::served();
    let body = r#"{"event":"A","userId":9007199254740993,"anonymousId":12.50,"messageId":-7}"#;
    assert_success(
        call(&server, "/v1/track", &tenant.key)
            .body(body)
            .send()
            .unwrap(),
    );
    let body = json!({"userId": "", "anonymousId": "a-1", "groupId": 42});
    accept(&server, &tenant, "/v1/group", &body);
    let body = json!({"userId": 1, "previousId": 2, "anonymousId": "a-1"});
    accept(&server, &tenant, "/v1/alias", &body);
    // analytics.js leaves previousId out where the visitor is the one that it knows anyway.
    let body = json!({"userId": "u-1", "previousId": null, "anonymousId": "a-1"});
    accept(&server, &tenant, "/v1/alias", &body);
    assert_eq!(
        log(&data, "user_id, visitor_id, group_id, dedup_key"),
        [
            "9007199254740993 12.50 - -7",
            "- a-1 42 -",
            "1 2 - -",
            "u-1 a-1 - -"
        ]
    );
}

#[test]
fn an_email_among_the_traits_is_an_identifier_where_it_can_be_one() {
    let (data, tenant, server) = Data::served();
    let long = "x".repeat(513);
    for traits in [
        json!({"email": " A@b.c "}),
        json!({"email": ""}),
        json!({"email": 7}),
        json!({"email": long}),
        json!({"mail": "a@b.c"}),
        Value::Null,
    ] {
        accept(
            &server,
            &tenant,
            "/v1/identify",
            &json!({"userId": "u", "traits": traits}),
        );
    }
    // RudderStack's libraries put the traits into the context.
    let body = json!({"userId": "u", "context": {"traits": {"email": "ctx@b.c"}}});
    accept(&server, &tenant, "/v1/identify", &body);
    let both = with(body, &json!({"traits": {"email": "own@b.c"}}));
    accept(&server, &tenant, "/v1/identify", &both);
    // What a group or a track says of an email is not the person's.
    let group = json!({"userId": "u", "groupId": "g", "traits": {"email": "info@b.c"}});
    accept(&server, &tenant, "/v1/group", &group);
    accept(
        &server,
        &tenant,
        "/v1/track",
        &track_with(&json!({"traits": {"email": "t@b.c"}})),
    );
    let emails = [
        " A@b.c ", "-", "-", "-", "-", "-", "ctx@b.c", "own@b.c", "-", "-",
    ];
    assert_eq!(log(&data, "email"), emails);
    assert_eq!(
        log(&data, "traits").get(6..).unwrap(),
        [
            r#"{"email":"ctx@b.c"}"#,
            r#"{"email":"own@b.c"}"#,
            r#"{"email":"info@b.c"}"#,
            "-"
        ]
    );
}

#[test]
fn a_batchs_context_is_added_to_its_messages_without_changing_theirs() {
    let (data, tenant, server) = Data::served();
    let body = r#"{"context":{"ip":"1.2.3.4","os":{"name":"batch", "n":1.0},"a\"b":[ 1 ]},"batch":[
        {"type":"track","event":"A","userId":"u","context":{ "os" : {"v":2.50} }},
        {"type":"track","event":"A","userId":"u","context":{}},
        {"type":"track","event":"A","userId":"u","context":null},
        {"type":"track","event":"A","userId":"u"},
        {"type":"track","event":"A","userId":"u","context":{"a\u0022b":null,"ip":null,"os":null}}]}"#;
    assert_success(
        call(&server, "/v1/batch", &tenant.key)
            .body(body)
            .send()
            .unwrap(),
    );
    let whole = r#"{"ip":"1.2.3.4","os":{"name":"batch", "n":1.0},"a\"b":[ 1 ]}"#;
    assert_eq!(
        log(&data, "context"),
        [
            r#"{ "os" : {"v":2.50},"ip":"1.2.3.4","a\"b":[ 1 ]}"#,
            whole,
            whole,
            whole,
            r#"{"a\u0022b":null,"ip":null,"os":null}"#,
        ]
    );
}

#[test]
fn a_time_is_corrected_by_what_the_senders_clock_is_wrong() {
    let (data, tenant, server) = Data::served();
    let at = |second: u8| format!("2020-01-01T00:00:{second:02}.000Z");
    // Five seconds passed between the event and its sending, whatever the clock said.
    let bodies = [
        json!({"timestamp": at(10), "sentAt": at(15)}),
        json!({"originalTimestamp": at(10), "timestamp": at(59), "sentAt": at(15)}),
        json!({"timestamp": "2020-01-01T02:00:10+02:00", "sentAt": at(15)}),
        json!({"timestamp": at(10)}),
        json!({"originalTimestamp": at(10)}),
        json!({"sentAt": at(15)}),
        json!({}),
        // A clock that is centuries off corrects nothing.
        json!({"timestamp": at(10), "sentAt": "9999-01-01T00:00:00Z"}),
    ];
    for body in &bodies {
        accept(&server, &tenant, "/v1/track", &track_with(body));
    }
    accept(
        &server,
        &tenant,
        "/v1/batch",
        &json!({"sentAt": at(15), "batch": [
            track_with(&json!({"timestamp": at(10)})),
            track_with(&json!({"timestamp": at(10), "sentAt": at(13)})),
        ]}),
    );
    let as_sent = 1_577_836_810_000_i64.to_string();
    let ago = |s: u8| format!("{s}000 ago");
    let found = log(
        &data,
        "CASE WHEN occurred_at_ms < 1600000000000 THEN occurred_at_ms
         ELSE (received_at_ms - occurred_at_ms) || ' ago' END",
    );
    assert_eq!(
        found,
        [
            ago(5),
            ago(5),
            ago(5),
            as_sent.clone(),
            as_sent.clone(),
            "0 ago".to_owned(),
            "0 ago".to_owned(),
            as_sent,
            ago(5),
            ago(3),
        ]
    );
}

#[test]
fn a_message_id_is_stored_once_and_success_every_time() {
    let (data, tenant, server) = Data::served();
    let message = track_with(&json!({"messageId": "m-1", "timestamp": "2026-01-01T00:00:00Z"}));
    let again = with(message.clone(), &json!({"sentAt": "2026-01-01T00:00:09Z"}));
    for message in [&message, &message, &again] {
        accept(&server, &tenant, "/v1/track", message);
    }
    let other = with(message.clone(), &json!({"event": "Another"}));
    accept(&server, &tenant, "/v1/track", &other);
    let batch = json!({"batch": [message, other, track_with(&json!({"messageId": "m-2"}))]});
    accept(&server, &tenant, "/v1/batch", &batch);
    assert_eq!(
        log(&data, "name, dedup_key"),
        ["Order Completed m-1", "Order Completed m-2"]
    );
}

#[test]
fn the_largest_of_everything_is_taken() {
    let (data, tenant, server) = Data::served();
    let message = |len: usize| {
        let empty = track_with(&json!({"messageId": "", "properties": {"fill": ""}})).to_string();
        let fill = format!("\"fill\":\"{}\"", "x".repeat(len - empty.len()));
        empty.replace("\"fill\":\"\"", &fill)
    };
    let send =
        |path: &str, body: String| call(&server, path, &tenant.key).body(body).send().unwrap();
    assert_success(send("/v1/track", message(MAX_MESSAGE_BYTES)));
    let refusal = Refusal::read(send("/v1/track", message(MAX_MESSAGE_BYTES + 1)));
    assert_eq!(refusal.said(), (413, "body_too_large"));

    let batch = |messages: &[String]| format!(r#"{{"batch":[{}]}}"#, messages.join(","));
    assert_success(send("/v1/batch", batch(&[message(MAX_MESSAGE_BYTES)])));
    let refusal = Refusal::read(send(
        "/v1/batch",
        batch(&[message(200), message(MAX_MESSAGE_BYTES + 1)]),
    ));
    assert_eq!(refusal.said(), (413, "event_too_large"));
    assert_eq!(refusal.errors, ["/batch/1 event_too_large"]);

    let sized = |len: usize| {
        let mut messages = vec![message(30_000); 17];
        let rest = len - batch(&messages).len() - 1;
        messages.push(message(rest));
        batch(&messages)
    };
    assert_eq!(sized(MAX_BATCH_BYTES).len(), MAX_BATCH_BYTES);
    assert_success(send("/v1/batch", sized(MAX_BATCH_BYTES)));
    let refusal = Refusal::read(send("/v1/batch", sized(MAX_BATCH_BYTES + 1)));
    assert_eq!(refusal.said(), (413, "body_too_large"));

    let small = json!({"type": "page", "userId": "u"}).to_string();
    let before = data.rows("event");
    assert_success(send("/v1/batch", batch(&vec![small.clone(); 2_500])));
    assert_eq!(data.rows("event"), before + 2_500);
    let refusal = Refusal::read(send("/v1/batch", batch(&vec![small.clone(); 2_501])));
    assert_eq!(refusal.said(), (413, "too_many_events"));
    assert_eq!(refusal.errors, ["/batch too_many_events"]);

    // The context of a batch is written once for all of it and stored with each message.
    let body = format!(
        r#"{{"context":{{"a":"{}"}},"batch":[{}]}}"#,
        "x".repeat(20_000),
        vec![small; 1_000].join(",")
    );
    let refusal = Refusal::read(send("/v1/batch", body));
    assert_eq!(refusal.said(), (413, "context_too_large"));
    assert_eq!(data.rows("event"), before + 2_500);
}

#[test]
fn gzip_is_read_with_and_without_a_header_that_says_so() {
    let (data, tenant, server) = Data::served();
    let zipped = gzip::stored(
        json!({"batch": [track_with(&json!({}))]})
            .to_string()
            .as_bytes(),
    );
    let send = |body: Vec<u8>, encoding: Option<&str>| {
        let mut request = call(&server, "/v1/batch", &tenant.key).body(body);
        if let Some(encoding) = encoding {
            request = request.header("content-encoding", encoding);
        }
        request.send().unwrap()
    };
    assert_success(send(zipped.clone(), Some("gzip")));
    assert_success(send(zipped.clone(), None));
    assert_eq!(data.rows("event"), 2);
    let mut broken = zipped;
    broken.truncate(broken.len() - 12);
    for encoding in [None, Some("gzip")] {
        let refusal = Refusal::read(send(broken.clone(), encoding));
        assert_eq!(refusal.said(), (400, "invalid_gzip"), "{encoding:?}");
        let bomb = gzip::run_of(b' ', 8_000_000).0;
        let refusal = Refusal::read(send(bomb, encoding));
        assert_eq!(refusal.said(), (413, "body_too_large"), "{encoding:?}");
    }
    let refusal = Refusal::read(send(b"{}".to_vec(), Some("br")));
    assert_eq!(refusal.said(), (415, "unsupported_encoding"));
    assert_eq!(data.rows("event"), 2);
}

#[test]
fn what_the_browsers_library_says_of_itself_is_heard_and_not_kept() {
    let (data, tenant, server) = Data::served();
    let metrics =
        json!({"series": [{"type": "Counter", "metric": "analytics_js.invoke", "value": 1}]});
    let request = server
        .http
        .post(server.at("/v1/m"))
        .body(metrics.to_string());
    assert_success(request.send().unwrap());
    accept(&server, &tenant, "/v1/track", &track_with(&json!({})));
    assert_eq!(data.rows("event"), 1);
}

// WRITE KEYS --------------------------------------------------------------------------------

#[test]
fn a_write_key_stands_in_a_header_or_in_the_body() {
    let (data, tenant, server) = Data::served();
    let post = |body: &Value| {
        server
            .http
            .post(server.at("/v1/track"))
            .header("content-type", "text/plain")
            .body(body.to_string())
    };
    let plain = track_with(&json!({}));
    let keyed = track_with(&json!({"writeKey": tenant.key}));
    let wrong = track_with(&json!({"writeKey": "pbk_wrong"}));
    for request in [
        post(&plain).basic_auth(&tenant.key, Some("")),
        post(&plain).basic_auth(&tenant.key, None::<&str>),
        post(&plain).bearer_auth(&tenant.key),
        post(&keyed),
        // A header that is no write key leaves it to the body; one that is goes first.
        post(&keyed).header("authorization", "Digest x"),
        post(&keyed).basic_auth("", Some("")),
        post(&wrong).bearer_auth(&tenant.key),
    ] {
        assert_success(request.send().unwrap());
    }
    assert_eq!(data.rows("event"), 7);
    for (request, code) in [
        (post(&plain), "missing_api_key"),
        (
            post(&track_with(&json!({"writeKey": 7}))),
            "missing_api_key",
        ),
        (post(&json!([])), "missing_api_key"),
        (post(&wrong), "invalid_api_key"),
        (
            post(&keyed).basic_auth("nonsense", Some("")),
            "invalid_api_key",
        ),
        (post(&keyed).bearer_auth("nonsense"), "invalid_api_key"),
        (
            post(&plain).basic_auth("src_nonsense", Some("")),
            "unknown_source",
        ),
    ] {
        let refusal = Refusal::read(request.send().unwrap());
        assert_eq!(refusal.said(), (401, code), "{refusal:?}");
        assert!(refusal.message.len() > 20);
    }
    assert_eq!(data.rows("event"), 7);
}

#[test]
fn an_api_key_needs_the_scope() {
    let data = Data::new();
    let tenant = data.tenant("Acme");
    let keys: Vec<_> = ["read:events", "write:custom_events", "write:webhooks"]
        .map(|scope| data.key(&tenant.id, scope).1)
        .into();
    let admin = data.key(&tenant.id, "admin:workspace").1;
    let server = data.serve();
    for key in keys {
        let request = call(&server, "/v1/track", &key).body(track_with(&json!({})).to_string());
        assert_eq!(
            Refusal::read(request.send().unwrap()).said(),
            (403, "missing_scope")
        );
    }
    let request = call(&server, "/v1/track", &admin).body(track_with(&json!({})).to_string());
    assert_success(request.send().unwrap());
    assert_eq!(data.rows("event"), 1);
}

#[test]
fn a_key_of_another_workspace_writes_there_and_nowhere_else() {
    let data = Data::new();
    let (ours, theirs) = (data.tenant("Ours"), data.tenant("Theirs"));
    let their_source = source(&data, &theirs, &["*"]);
    let server = data.serve();
    accept(
        &server,
        &ours,
        "/v1/track",
        &track_with(&json!({"messageId": "m", "event": "Ours"})),
    );
    let body = track_with(&json!({"messageId": "m", "event": "Theirs", "workspace": ours.id}));
    let request = call(&server, "/v1/track", &their_source).body(body.to_string());
    assert_success(request.send().unwrap());
    let ids: Vec<_> = [&ours.id, &theirs.id]
        .map(|id| id.parse::<pillarbox::id::WorkspaceId>().unwrap().as_i64())
        .into();
    assert_eq!(
        log(&data, "workspace_id, name"),
        [format!("{} Ours", ids[0]), format!("{} Theirs", ids[1])]
    );
}

#[test]
fn a_browser_posts_as_a_source_from_an_origin_that_it_lists() {
    let data = Data::new();
    let tenant = data.tenant("Acme");
    let listed = source(&data, &tenant, &[ORIGIN]);
    let open = source(&data, &tenant, &["*"]);
    let closed = source(&data, &tenant, &[]);
    let server = data.serve();
    let post = |source: &str, origin: Option<&str>| {
        let body = track_with(&json!({"writeKey": source, "anonymousId": "a"}));
        let mut request = server
            .http
            .post(server.at("/v1/t"))
            .header("content-type", "text/plain")
            .body(body.to_string());
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        request.send().unwrap()
    };
    for (source, origin) in [
        (&listed, Some(ORIGIN)),
        (&listed, None),
        (&open, Some("https://anyone.example")),
        (&closed, None),
    ] {
        let response = post(source, origin);
        let allowed = response
            .headers()
            .get("access-control-allow-origin")
            .cloned();
        assert_eq!(
            allowed.as_ref().map(|value| value.to_str().unwrap()),
            origin
        );
        assert_success(response);
    }
    let wanted: Vec<_> = [&listed, &listed, &open, &closed]
        .map(|id| {
            let number = id.parse::<SourceId>().unwrap().as_i64();
            format!("unverified {number}")
        })
        .into();
    assert_eq!(log(&data, "verification, source_id"), wanted);

    for (source, origin) in [
        (&listed, "https://evil.example"),
        (&listed, "http://shop.example.com"),
        (&listed, "null"),
        (&closed, ORIGIN),
    ] {
        let response = post(source, Some(origin));
        // The page may read why it was refused.
        assert_eq!(response.headers()["access-control-allow-origin"], origin);
        let refusal = Refusal::read(response);
        assert_eq!(refusal.said(), (403, "origin_not_allowed"));
        assert!(refusal.message.contains(origin), "{}", refusal.message);
    }
    assert_eq!(data.rows("event"), 4);
}

#[test]
fn a_browser_that_asks_first_is_let_in() {
    let (_data, _tenant, server) = Data::served();
    for path in ["/v1/t", "/v1/batch", "/v1/projects/src_x/settings"] {
        let response = server
            .http
            .request(reqwest::Method::OPTIONS, server.at(path))
            .header("origin", ORIGIN)
            .header("access-control-request-method", "POST")
            .header(
                "access-control-request-headers",
                "authorization,content-type",
            )
            .send()
            .unwrap();
        assert_eq!(response.status(), 204, "{path}");
        let headers = response.headers();
        assert_eq!(headers["access-control-allow-origin"], ORIGIN);
        assert_eq!(
            headers["access-control-allow-headers"],
            "authorization,content-type"
        );
        assert_eq!(headers["access-control-allow-methods"], "GET, POST");
    }
}

#[test]
fn the_browsers_library_learns_where_events_go() {
    let data = Data::new();
    let tenant = data.tenant("Acme");
    let source = source(&data, &tenant, &[ORIGIN]);
    let server = data.serve();
    let get = |key: &str| {
        let url = server.at(&format!("/v1/projects/{key}/settings"));
        server
            .http
            .get(url)
            .header("origin", ORIGIN)
            .send()
            .unwrap()
    };
    let response = get(&source);
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["access-control-allow-origin"], ORIGIN);
    let settings: Value = response.json().unwrap();
    let segment = &settings["integrations"]["Segment.io"];
    let host = server.url.trim_start_matches("http://");
    assert_eq!(segment["apiHost"], format!("{host}/v1"));
    assert_eq!(segment["protocol"], "http");
    assert_eq!(segment["apiKey"], source);
    // A secret of servers is not for pages, so it is not confirmed to one.
    for key in [tenant.key.as_str(), "src_nonsense", "x"] {
        let response = get(key);
        assert_eq!(response.headers()["access-control-allow-origin"], ORIGIN);
        assert_eq!(Refusal::read(response).said(), (404, "unknown_source"));
    }
}

// WHAT IS REFUSED ---------------------------------------------------------------------------

/// `pointer code` of everything that is wrong with the first bad message of a kind.
fn bad_messages() -> Vec<(&'static str, Value, Vec<&'static str>)> {
    let u = |change: Value| with(json!({"userId": "u"}), &change);
    let track = |change: Value| with(json!({"event": "A", "userId": "u"}), &change);
    let mut rows = vec![
        ("track", json!({"event": "A"}), vec!["/userId required"]),
        (
            "track",
            json!({"event": "A", "userId": null, "anonymousId": " "}),
            vec!["/userId required"],
        ),
        ("identify", json!({"traits": {}}), vec!["/userId required"]),
        ("page", json!({}), vec!["/userId required"]),
        (
            "track",
            track(json!({"userId": true})),
            vec!["/userId wrong_type"],
        ),
        (
            "track",
            track(json!({"userId": {"a": 1}})),
            vec!["/userId wrong_type"],
        ),
        (
            "track",
            track(json!({"anonymousId": []})),
            vec!["/anonymousId wrong_type"],
        ),
        (
            "track",
            track(json!({"userId": "u".repeat(513)})),
            vec!["/userId too_long"],
        ),
        (
            "track",
            track(json!({"anonymousId": "a".repeat(513)})),
            vec!["/anonymousId too_long"],
        ),
        ("track", u(json!({})), vec!["/event required"]),
        (
            "track",
            track(json!({"event": null})),
            vec!["/event required"],
        ),
        (
            "track",
            track(json!({"event": ""})),
            vec!["/event required"],
        ),
        (
            "track",
            track(json!({"event": 7})),
            vec!["/event wrong_type"],
        ),
        (
            "track",
            track(json!({"event": "e".repeat(201)})),
            vec!["/event too_long"],
        ),
        (
            "track",
            track(json!({"event": "system.x"})),
            vec!["/event reserved_name"],
        ),
        (
            "track",
            track(json!({"properties": "text"})),
            vec!["/properties wrong_type"],
        ),
        (
            "page",
            u(json!({"properties": [1]})),
            vec!["/properties wrong_type"],
        ),
        (
            "screen",
            u(json!({"properties": 1})),
            vec!["/properties wrong_type"],
        ),
        (
            "identify",
            u(json!({"traits": "text"})),
            vec!["/traits wrong_type"],
        ),
        (
            "group",
            u(json!({"groupId": "g", "traits": []})),
            vec!["/traits wrong_type"],
        ),
        ("group", u(json!({})), vec!["/groupId required"]),
        ("group", json!({"groupId": "g"}), vec!["/userId required"]),
        (
            "group",
            u(json!({"groupId": {}})),
            vec!["/groupId wrong_type"],
        ),
        ("alias", u(json!({})), vec!["/previousId required"]),
        (
            "alias",
            json!({"previousId": "p"}),
            vec!["/userId required"],
        ),
        (
            "alias",
            u(json!({"previousId": []})),
            vec!["/previousId wrong_type"],
        ),
        (
            "alias",
            u(json!({"previousId": "p".repeat(513)})),
            vec!["/previousId too_long"],
        ),
        (
            "track",
            track(json!({"context": "text"})),
            vec!["/context wrong_type"],
        ),
        (
            "track",
            track(json!({"messageId": ["m"]})),
            vec!["/messageId wrong_type"],
        ),
        (
            "track",
            track(json!({"messageId": "m".repeat(101)})),
            vec!["/messageId too_long"],
        ),
        (
            "track",
            track(json!({"timestamp": 1_704_110_400})),
            vec!["/timestamp wrong_type"],
        ),
        (
            "track",
            track(json!({"sentAt": {}})),
            vec!["/sentAt wrong_type"],
        ),
        (
            "track",
            json!({"userId": "u", "timestamp": "yesterday", "context": 1}),
            vec![
                "/context wrong_type",
                "/timestamp invalid_timestamp",
                "/event required",
            ],
        ),
    ];
    for field in ["timestamp", "originalTimestamp", "sentAt"] {
        let pointer = match field {
            "timestamp" => "/timestamp invalid_timestamp",
            "sentAt" => "/sentAt invalid_timestamp",
            _ => "/originalTimestamp invalid_timestamp",
        };
        for time in [
            "2024-01-01T12:00:00",
            "2024-01-01",
            "noon",
            "2024-02-30T12:00:00Z",
        ] {
            rows.push(("track", track(json!({field: time})), vec![pointer]));
        }
    }
    rows
}

#[test]
fn each_bad_field_is_named_alone_and_by_its_place_in_a_batch() {
    let (data, tenant, server) = Data::served();
    for (kind, message, wanted) in bad_messages() {
        let shown: String = format!("{kind} {message}").chars().take(200).collect();
        let refusal = refuse(
            &server,
            &tenant,
            &format!("/v1/{kind}"),
            message.to_string(),
        );
        let first = wanted[0].split_once(' ').unwrap();
        assert_eq!(refusal.said(), (400, first.1), "{shown}");
        assert_eq!(refusal.errors, wanted, "{shown}");
        assert!(
            refusal.message.ends_with("Nothing was stored."),
            "{}",
            refusal.message
        );

        let right = track_with(&json!({}));
        let bad = with(message, &json!({"type": kind}));
        let body = json!({"batch": [right, right, right, bad, right]}).to_string();
        let refusal = refuse(&server, &tenant, "/v1/batch", body);
        assert_eq!(refusal.said(), (400, first.1), "{shown}");
        let named: Vec<_> = wanted
            .iter()
            .map(|error| format!("/batch/3{error}"))
            .collect();
        assert_eq!(refusal.errors, named, "{shown}");
        let place = format!("batch[3].{}: ", first.0.trim_start_matches('/'));
        assert!(refusal.message.starts_with(&place), "{}", refusal.message);
    }
    assert_eq!(
        data.rows("event"),
        0,
        "something of a bad request was stored"
    );
}

#[test]
fn what_is_wrong_with_a_body_as_a_whole_is_named() {
    let (data, tenant, server) = Data::served();
    let right = track_with(&json!({}));
    for (path, body, code, errors) in [
        (
            "/v1/track",
            "[]".to_owned(),
            "wrong_type",
            vec![" wrong_type"],
        ),
        (
            "/v1/track",
            "null".to_owned(),
            "wrong_type",
            vec![" wrong_type"],
        ),
        (
            "/v1/batch",
            format!("[{right}]"),
            "wrong_type",
            vec![" wrong_type"],
        ),
        (
            "/v1/batch",
            "{}".to_owned(),
            "required",
            vec!["/batch required"],
        ),
        (
            "/v1/batch",
            r#"{"batch":null}"#.to_owned(),
            "required",
            vec!["/batch required"],
        ),
        (
            "/v1/batch",
            r#"{"batch":[]}"#.to_owned(),
            "required",
            vec!["/batch required"],
        ),
        (
            "/v1/batch",
            r#"{"batch":{}}"#.to_owned(),
            "wrong_type",
            vec!["/batch wrong_type"],
        ),
        (
            "/v1/batch",
            json!({"batch": [right, 7]}).to_string(),
            "wrong_type",
            vec!["/batch/1 wrong_type"],
        ),
        (
            "/v1/batch",
            json!({"batch": [["track"]]}).to_string(),
            "wrong_type",
            vec!["/batch/0 wrong_type"],
        ),
        (
            "/v1/batch",
            json!({"batch": [{"userId": "u"}]}).to_string(),
            "required",
            vec!["/batch/0/type required"],
        ),
        (
            "/v1/batch",
            json!({"batch": [{"type": "Track", "userId": "u"}]}).to_string(),
            "invalid_type",
            vec!["/batch/0/type invalid_type"],
        ),
        (
            "/v1/batch",
            json!({"batch": [{"type": 1, "userId": "u"}]}).to_string(),
            "wrong_type",
            vec!["/batch/0/type wrong_type"],
        ),
        (
            "/v1/batch",
            json!({"batch": [right], "context": 7, "sentAt": "noon"}).to_string(),
            "invalid_timestamp",
            vec!["/sentAt invalid_timestamp", "/context wrong_type"],
        ),
        ("/v1/track", String::new(), "invalid_json", vec![]),
        ("/v1/track", "{".to_owned(), "invalid_json", vec![]),
        (
            "/v1/batch",
            format!(r#"{{"batch":[{right},]}}"#),
            "invalid_json",
            vec![],
        ),
        (
            "/v1/track",
            r#"{"event":"\ud800","userId":"u"}"#.to_owned(),
            "lone_surrogate",
            vec![],
        ),
        (
            "/v1/track",
            format!(r#"{{"properties":{}{}}}"#, "[".repeat(64), "]".repeat(64)),
            "too_deep",
            vec![],
        ),
        (
            "/v1/track",
            r#"{"properties":{"n":1e999}}"#.to_owned(),
            "number_out_of_range",
            vec![],
        ),
    ] {
        let refusal = refuse(&server, &tenant, path, body.clone());
        assert_eq!(refusal.said(), (400, code), "{body}");
        assert_eq!(refusal.errors, errors, "{body}");
        assert!(
            refusal.message.contains("othing was stored"),
            "{}",
            refusal.message
        );
    }
    let refusal = refuse(
        &server,
        &tenant,
        "/v1/track",
        b"{\"event\":\"\xff\"}".as_slice(),
    );
    assert_eq!(refusal.said(), (400, "invalid_utf8"));
    assert_eq!(
        data.rows("event"),
        0,
        "something of a bad request was stored"
    );
}

#[test]
fn other_methods_and_paths_are_not_served() {
    let (_data, tenant, server) = Data::served();
    let settings = "/v1/projects/src_x/settings";
    for (method, path, allowed) in [
        (Method::GET, "/v1/track", "POST, OPTIONS"),
        (Method::GET, "/v1/batch", "POST, OPTIONS"),
        (Method::PUT, "/v1/b", "POST, OPTIONS"),
        (Method::POST, settings, "GET, OPTIONS"),
    ] {
        let request = server.http.request(method, server.at(path));
        let request = request.basic_auth(&tenant.key, Some(""));
        let response = request.header("origin", ORIGIN).send().unwrap();
        assert_eq!(response.headers()["allow"], allowed);
        assert_eq!(response.headers()["access-control-allow-origin"], ORIGIN);
        let refusal = Refusal::read(response);
        assert_eq!(refusal.said(), (405, "method_not_allowed"), "{path}");
        assert!(refusal.message.contains(allowed), "{}", refusal.message);
    }
    for path in [
        "/v1/x",
        "/v1/nope",
        "/v1/tracks",
        "/v1/track/more",
        "/v1/Track",
    ] {
        let request = call(&server, path, &tenant.key).header("origin", ORIGIN);
        let response = request.body("{}").send().unwrap();
        assert_eq!(response.headers()["access-control-allow-origin"], ORIGIN);
        let refusal = Refusal::read(response);
        assert_eq!(refusal.said(), (404, "not_found"), "{path}");
        assert!(refusal.message.contains("/v1/track"), "{}", refusal.message);
    }
    // Churnkey's calls live beside them and keep their shape.
    let request = call(&server, "/v1/api/events/nope", &tenant.key);
    let problem = Problem::read(request.send().unwrap());
    assert_eq!((problem.status, &*problem.code), (404, "not_found"));
    let request = server.http.get(server.at("/v1/api/events/new"));
    assert_eq!(Problem::read(request.send().unwrap()).status, 405);
}

#[test]
fn a_box_that_cannot_take_it_now_says_when_to_come_back() {
    let (data, tenant, server) = Data::served();
    let lock = data.lock_file();
    let request = call(&server, "/v1/track", &tenant.key);
    let response = request
        .body(track_with(&json!({})).to_string())
        .send()
        .unwrap();
    assert_eq!(response.headers()["retry-after"], "1");
    assert_eq!(Refusal::read(response).said(), (503, "file_locked"));
    drop(lock);
    assert_eq!(data.rows("event"), 0);
}

// AS THE LIBRARIES WRITE THEM ---------------------------------------------------------------

/// Posts a fixture with this key.
fn replay(server: &Server, fixture: &str, key: &str) -> Response {
    let fixture: Value = serde_json::from_str(fixture).unwrap();
    let body = text(&fixture, "body").replace("WRITE_KEY", key);
    let mut request = server.http.post(server.at(&text(&fixture, "path")));
    let mut is_gzip = false;
    for (name, value) in fixture["headers"].as_object().unwrap() {
        let value = value.as_str().unwrap();
        if name == "authorization" {
            let user = value
                .strip_prefix("Basic ")
                .unwrap()
                .strip_suffix(':')
                .unwrap();
            request = request.basic_auth(user.replace("WRITE_KEY", key), Some(""));
        } else {
            is_gzip |= value == "gzip";
            request = request.header(name, value);
        }
    }
    let body = body.into_bytes();
    request
        .body(if is_gzip { gzip::stored(&body) } else { body })
        .send()
        .unwrap()
}

#[test]
fn recorded_requests_of_the_libraries_are_taken() {
    const SIX: [&str; 6] = [
        "identify identify u-1 - jane@example.com -",
        "track Order Completed - a-1 - -",
        "page page u-1 - - -",
        "screen screen u-1 - - -",
        "group group u-1 - - g-1",
        "alias alias u-1 a-1 - -",
    ];
    let (data, tenant, server) = Data::served();
    let mut wanted: Vec<&str> = Vec::new();
    for (fixture, rows) in [
        (
            include_str!("../fixtures/segment/segment-node.json"),
            &SIX[..],
        ),
        (
            include_str!("../fixtures/segment/segment-python.json"),
            &SIX[..],
        ),
        (
            include_str!("../fixtures/segment/segment-python-gzip.json"),
            &SIX[..],
        ),
        (
            include_str!("../fixtures/segment/segment-rust.json"),
            &SIX[..],
        ),
        (
            include_str!("../fixtures/segment/rudderstack-node.json"),
            &SIX[1..],
        ),
        (
            include_str!("../fixtures/segment/rudderstack-python.json"),
            &SIX[..],
        ),
        (
            include_str!("../fixtures/segment/rudderstack-rust.json"),
            &SIX[..],
        ),
    ] {
        assert_success(replay(&server, fixture, &tenant.key));
        if fixture.contains("messageId") {
            assert_success(replay(&server, fixture, &tenant.key));
        }
        wanted.extend(rows);
    }
    let found = log(&data, "kind, name, user_id, visitor_id, email, group_id");
    assert_eq!(
        found, wanted,
        "each once, though those with a messageId came twice"
    );
    assert_eq!(
        data.number(
            "SELECT count(*) FROM event WHERE kind = 'identify' AND traits NOT LIKE '%\"plan\"%'"
        ),
        0
    );
    // They were sent half a second after they happened, by clocks that are long past.
    assert_eq!(
        data.number("SELECT count(*) FROM event WHERE received_at_ms - occurred_at_ms NOT BETWEEN 0 AND 3000"),
        0
    );
}

#[test]
fn senders_without_a_key_keep_nobodys_bodies_waiting() {
    let (_data, tenant, server) = Data::served();
    let address = server.url.trim_start_matches("http://").to_owned();
    // More than may be in memory at once, each stopping in the middle of a large body.
    let stalled: Vec<TcpStream> = (0..40)
        .map(|_| {
            let mut stream = TcpStream::connect(&address).unwrap();
            let head = format!(
                "POST /v1/batch HTTP/1.1\r\nhost: {address}\r\ncontent-length: 500000\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(&[b' '; 100_000]).unwrap();
            stream
        })
        .collect();
    let padding = "x".repeat(20_000);
    let message =
        json!({"type": "track", "event": "A", "userId": "u", "properties": {"padding": padding}});
    let batch = json!({"batch": vec![message; 10]});
    accept(&server, &tenant, "/v1/batch", &batch);
    drop(stalled);
}
