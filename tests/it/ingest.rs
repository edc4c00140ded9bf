//! ARRIVE: what Jimo's endpoint accepts, every refusal by its code and pointer, and what comes
//! through to the byte.

use crate::support::server::{identify_body, track_body};
use crate::support::{Data, Problem, Receiver, Server, Tenant, Visitor, dice, gzip, wait_until};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// The endpoint takes at most this many bytes, decoded.
const MAX_BODY_BYTES: usize = 64 * 1024;

#[track_caller]
fn refuse(server: &Server, tenant: &Tenant, body: impl Into<Vec<u8>>) -> Problem {
    Problem::read(server.post(&tenant.key, body))
}

/// Fails when something is stored, or when the box would store nothing at all.
#[track_caller]
fn assert_nothing_was_stored(data: &Data, server: &Server, tenant: &Tenant) {
    assert_eq!(data.rows("event"), 0, "a refused event was stored");
    server.track(&tenant.key, "u", "After The Refusals");
    assert_eq!(data.rows("event"), 1, "an accepted event was not stored");
}

/// A track event with `change` made to it.
fn track_with(change: impl FnOnce(&mut serde_json::Map<String, Value>)) -> String {
    let mut body: Value = serde_json::from_str(&track_body("12345", "button_clicked")).unwrap();
    change(body.as_object_mut().unwrap());
    body.to_string()
}

/// A body of exactly `len` bytes that is a right event.
fn body_of_len(len: usize) -> String {
    let frame = r#"{"userId":"u","type":"track","timestamp":"2026-11-22T10:00:00Z","event":"Large","properties":{"fill":""}}"#;
    let fill = "x".repeat(len - frame.len());
    frame.replace("\"fill\":\"\"", &format!("\"fill\":\"{fill}\""))
}

#[test]
fn the_documented_examples_are_accepted_and_on_disk_when_answered() {
    let (data, tenant, server) = Data::served();
    let identify = r#"{
  "userId": "12345",
  "type": "identify",
  "timestamp": "2024-01-01T12:00:00Z",
  "traits": {
    "plan": "premium",
    "signup_date": "2023-06-15"
  }
}"#;
    let track = r#"{
  "userId": "12345",
  "type": "track",
  "timestamp": "2024-01-01T12:05:00Z",
  "event": "button_clicked",
  "properties": {
    "button_name": "Subscribe",
    "page": "pricing"
  }
}"#;
    let first = server.accept(&tenant.key, identify);
    assert_eq!(data.rows("event"), 1, "the 200 came before the row");
    let second = server.accept(&tenant.key, track);
    assert_eq!(data.rows("event"), 2, "the 200 came before the row");
    assert!(first < second, "ids are in time order: {first} {second}");
}

#[test]
fn the_answer_is_exactly_success_and_an_id() {
    let (_data, tenant, server) = Data::served();
    let response = server.post(&tenant.key, track_body("u", "A"));
    assert_eq!(response.status(), 200);
    let content_type = response.headers()["content-type"].to_str().unwrap();
    assert!(content_type.starts_with("application/json"));
    let answer: Value = serde_json::from_str(&response.text().unwrap()).unwrap();
    let members: Vec<_> = answer.as_object().unwrap().keys().collect();
    assert_eq!(members, ["id", "success"], "{answer}");
    assert_eq!(answer["success"], true);
}

#[test]
fn unusual_but_right_events_are_accepted() {
    let (data, tenant, server) = Data::served();
    let mut nested = "1".to_owned();
    for _ in 0..62 {
        nested = format!("[{nested}]");
    }
    let bodies = [
        track_with(|_| ()),
        track_with(|event| {
            event.insert("unknown".into(), json!({"a": [1]}));
        }),
        track_with(|event| {
            event.insert("timestamp".into(), json!("2024-02-29T23:59:59.123Z"));
        }),
        track_with(|event| {
            event.insert("timestamp".into(), json!("2024-01-01T12:00:00+00:00"));
        }),
        track_with(|event| {
            event.insert("event".into(), json!("é".repeat(200)));
        }),
        track_with(|event| {
            event.insert("event".into(), json!("administrator.arrived"));
        }),
        track_with(|event| {
            event.insert("userId".into(), json!("u".repeat(512)));
        }),
        identify_body("u", &json!({"bio": "é".repeat(700)}).to_string()),
        identify_body("u", r#"{"s":"t","n":-1.5,"b":false,"a":["x",1],"gone":null}"#),
        identify_body("u", "{}"),
        // Whatever order the members come in.
        r#"{"properties":{},"event":"A","timestamp":"2024-01-01T12:00:00Z","type":"track","userId":"u"}"#.to_owned(),
        // 64 levels, the outermost object and properties included.
        format!(
            r#"{{"userId":"u","type":"track","timestamp":"2024-01-01T12:00:00Z","event":"Deep","properties":{{"a":{nested}}}}}"#
        ),
        r#"{"userId":"u","type":"track","timestamp":"2024-01-01T12:00:00Z","event":"Emoji \ud83d\ude00"}"#.to_owned(),
        body_of_len(MAX_BODY_BYTES),
    ];
    for (stored, body) in bodies.iter().enumerate() {
        let shown: String = body.chars().take(200).collect();
        let response = server.post(&tenant.key, body.clone());
        let status = response.status();
        assert_eq!(status, 200, "{shown}: {}", response.text().unwrap());
        assert_eq!(data.rows("event"), i64::try_from(stored + 1).unwrap());
    }
}

#[test]
fn a_content_type_is_not_asked_for() {
    let (_data, tenant, server) = Data::served();
    for content_type in [
        None,
        Some("text/plain"),
        Some("application/json; charset=utf-8"),
    ] {
        let mut request = server
            .http
            .post(server.at("/sse/webhook"))
            .header("x-api-key", &tenant.key)
            .body(track_body("u", "A"));
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        let status = request.send().unwrap().status();
        assert_eq!(status, 200, "{content_type:?}");
    }
}

#[test]
fn a_request_without_a_right_key_is_refused() {
    let (data, tenant, server) = Data::served();
    let post = |key: Option<&str>| {
        let mut request = server
            .http
            .post(server.at("/sse/webhook"))
            .body(track_body("u", "A"));
        if let Some(key) = key {
            request = request.header("x-api-key", key);
        }
        let problem = Problem::read(request.send().unwrap());
        (problem.status, problem.code)
    };
    let invalid = || (401, "invalid_api_key".to_owned());
    assert_eq!(post(None), (401, "missing_api_key".to_owned()));
    assert_eq!(post(Some("nonsense")), invalid());
    let mut last_changed = tenant.key.clone();
    let last = last_changed.pop().unwrap();
    last_changed.push(if last == 'a' { 'b' } else { 'a' });
    assert_eq!(post(Some(&last_changed)), invalid());
    let prefix: String = tenant.key.chars().take(12).collect();
    assert_eq!(post(Some(&prefix)), invalid());
    assert_nothing_was_stored(&data, &server, &tenant);
}

#[test]
fn a_key_without_the_scope_is_refused() {
    let data = Data::new();
    let tenant = data.tenant("Acme");
    let keys: Vec<_> = ["read:events", "write:webhooks", "read:webhooks"]
        .map(|scope| data.key(&tenant.id, scope).1)
        .into();
    let server = data.serve();
    for key in keys {
        let problem = Problem::read(server.post(&key, track_body("u", "A")));
        assert_eq!(
            (problem.status, problem.code.as_str()),
            (403, "missing_scope")
        );
    }
    assert_nothing_was_stored(&data, &server, &tenant);
}

#[test]
fn bodies_that_are_not_acceptable_json_are_refused_with_the_byte() {
    let (data, tenant, server) = Data::served();
    let start = r#"{"userId":"u","type":"track","timestamp":"2024-01-01T12:00:00Z","event":"A","properties":{"a":"#;
    let with = |value: &[u8]| [start.as_bytes(), value, b"}}"].concat();
    let at = start.len();
    let deep = format!("{}{}", "[".repeat(63), "]".repeat(63));
    let huge = format!("1{}", "0".repeat(400));
    for (what, body, code, offset) in [
        (
            "a byte that is no UTF-8",
            with(b"\"\xff\""),
            "invalid_utf8",
            at + 1,
        ),
        ("65 levels", with(deep.as_bytes()), "too_deep", at + 62),
        (
            "half a pair",
            with(br#""\ud800""#),
            "lone_surrogate",
            at + 1,
        ),
        (
            "the other half",
            with(br#""x\udc00""#),
            "lone_surrogate",
            at + 2,
        ),
        (
            "halves that do not pair",
            with(br#""\ud800\u0041""#),
            "lone_surrogate",
            at + 1,
        ),
        ("a huge exponent", with(b"1e999"), "number_out_of_range", at),
        (
            "a huge negative one",
            with(b"-1e999"),
            "number_out_of_range",
            at,
        ),
        (
            "a huge number",
            with(huge.as_bytes()),
            "number_out_of_range",
            at,
        ),
    ] {
        let problem = refuse(&server, &tenant, body);
        assert_eq!(
            (problem.status, problem.code.as_str()),
            (400, code),
            "{what}"
        );
        assert_eq!(problem.offset(), offset, "{what}: {}", problem.detail);
    }
    for (what, body, offset) in [
        ("nothing", Vec::new(), 0),
        ("a word", with(b"nope"), at),
        ("a comma too many", with(b"[1,]"), at + 3),
        ("an end too early", start.as_bytes().to_vec(), at),
        ("something behind the end", with(b"1}}x"), at + 3),
        ("a control character in text", with(b"\"\x01\""), at + 1),
        ("NaN", with(b"NaN"), at),
    ] {
        let problem = refuse(&server, &tenant, body);
        assert_eq!(
            (problem.status, problem.code.as_str()),
            (400, "invalid_json"),
            "{what}"
        );
        // Parsers differ by a byte on whether they name the last good one or the first bad one.
        let found = problem.offset();
        assert!(
            found.abs_diff(offset) <= 1,
            "{what}: not at {offset}: {}",
            problem.detail
        );
    }
    assert_nothing_was_stored(&data, &server, &tenant);
}

#[test]
fn bodies_over_64_kib_are_refused() {
    let (data, tenant, server) = Data::served();
    for len in [MAX_BODY_BYTES + 1, 200_000] {
        let problem = refuse(&server, &tenant, body_of_len(len));
        assert_eq!(
            (problem.status, problem.code.as_str()),
            (413, "body_too_large"),
            "{len}"
        );
    }
    // Without a Content-Length, so that the box has to count.
    let chunked = std::io::Cursor::new(body_of_len(MAX_BODY_BYTES + 1).into_bytes());
    let response = server
        .jimo(&tenant.key)
        .body(reqwest::blocking::Body::new(chunked))
        .send()
        .unwrap();
    let problem = Problem::read(response);
    assert_eq!(
        (problem.status, problem.code.as_str()),
        (413, "body_too_large"),
        "chunked"
    );
    assert_nothing_was_stored(&data, &server, &tenant);
}

#[test]
fn gzip_bodies_are_read_and_bounded_by_what_they_decode_to() {
    let (data, tenant, server) = Data::served();
    let post = |encoding: &str, body: Vec<u8>| {
        server
            .jimo(&tenant.key)
            .header("content-encoding", encoding)
            .body(body)
            .send()
            .unwrap()
    };
    let bomb = gzip::run_of(b' ', 8_000_000).0;
    assert!(bomb.len() < MAX_BODY_BYTES, "the file itself would pass");
    for (file, what) in [
        (gzip::run_of(b' ', MAX_BODY_BYTES + 1).0, "just over"),
        (bomb, "a bomb"),
        (
            gzip::stored(body_of_len(MAX_BODY_BYTES + 1).as_bytes()),
            "stored",
        ),
    ] {
        let problem = Problem::read(post("gzip", file));
        assert_eq!(
            (problem.status, problem.code.as_str()),
            (413, "body_too_large"),
            "{what}"
        );
    }
    for encoding in ["br", "deflate", "zstd", "gzip, gzip", "rot13"] {
        let problem = Problem::read(post(encoding, track_body("u", "A").into_bytes()));
        let found = (problem.status, problem.code.as_str());
        assert_eq!(found, (415, "unsupported_encoding"), "{encoding}");
    }
    for (first, second) in [
        ("identity", "br"),
        ("identity", "gzip"),
        ("gzip", "gzip"),
        ("", "br"),
    ] {
        let request = server
            .jimo(&tenant.key)
            .header("content-encoding", first)
            .header("content-encoding", second);
        let problem = Problem::read(request.body(track_body("u", "A")).send().unwrap());
        let found = (problem.status, problem.code.as_str());
        assert_eq!(found, (415, "unsupported_encoding"), "{first}, {second}");
    }
    let mut many = gzip::stored(b"").repeat(16);
    many.extend(gzip::stored(track_body("u", "A").as_bytes()));
    let problem = Problem::read(post("gzip", many));
    let found = (problem.status, problem.code.as_str());
    assert_eq!(found, (400, "invalid_gzip"), "many files in a row");
    let mut broken = gzip::stored(track_body("u", "A").as_bytes());
    broken.truncate(broken.len() - 12);
    let status = post("gzip", broken).status();
    assert_eq!(status, 400, "a gzip file that ends too early");
    assert_eq!(data.rows("event"), 0, "a refused event was stored");

    let response = post("gzip", gzip::stored(track_body("u", "Zipped").as_bytes()));
    assert_eq!(response.status(), 200, "{}", response.text().unwrap());
    assert_eq!(
        data.number("SELECT count(*) FROM event WHERE name = 'Zipped'"),
        1
    );
}

#[test]
fn each_missing_field_is_named() {
    let (data, tenant, server) = Data::served();
    let without = |body: &str, member: &str| {
        let mut body: Value = serde_json::from_str(body).unwrap();
        body.as_object_mut().unwrap().remove(member).unwrap();
        body.to_string()
    };
    let track = track_body("u", "A");
    let identify = identify_body("u", "{}");
    for (body, member) in [
        (&track, "userId"),
        (&track, "type"),
        (&track, "timestamp"),
        (&track, "event"),
        (&identify, "userId"),
        (&identify, "timestamp"),
        (&identify, "traits"),
    ] {
        let problem = refuse(&server, &tenant, without(body, member));
        assert_eq!(
            (problem.status, problem.code.as_str()),
            (422, "required"),
            "{member}"
        );
        assert_eq!(problem.errors, [format!("/{member} required")], "{member}");
    }
    assert_nothing_was_stored(&data, &server, &tenant);
}

#[test]
fn each_bad_field_is_named() {
    let (data, tenant, server) = Data::served();
    let set = |member: &str, value: Value| {
        track_with(|event| {
            event.insert(member.to_owned(), value);
        })
    };
    let traits = |traits: Value| identify_body("u", &traits.to_string());
    let mut rows = vec![
        ("[]".to_owned(), " wrong_type"),
        ("\"text\"".to_owned(), " wrong_type"),
        ("null".to_owned(), " wrong_type"),
        ("12".to_owned(), " wrong_type"),
        (set("userId", json!(12345)), "/userId wrong_type"),
        (set("userId", json!(["u"])), "/userId wrong_type"),
        (set("properties", json!("text")), "/properties wrong_type"),
        (set("properties", json!([1])), "/properties wrong_type"),
        (identify_body("u", "[]"), "/traits wrong_type"),
        (identify_body("u", "\"text\""), "/traits wrong_type"),
        (set("type", json!("page")), "/type invalid_type"),
        (set("type", json!("Track")), "/type invalid_type"),
        (set("type", json!("")), "/type invalid_type"),
        (
            traits(json!({"address": {"city": "Oslo"}})),
            "/traits/address invalid_trait",
        ),
        (
            traits(json!({"ok": 1, "a/b": {}})),
            "/traits/a~1b invalid_trait",
        ),
        (
            traits(json!({"bio": "é".repeat(701)})),
            "/traits/bio too_long",
        ),
        (set("event", json!("e".repeat(201))), "/event too_long"),
        (set("userId", json!("u".repeat(513))), "/userId too_long"),
        (set("userId", json!("é".repeat(257))), "/userId too_long"),
        (
            set("event", json!("profile.updated")),
            "/event reserved_name",
        ),
        (
            set("event", json!("customer.subscription_changed")),
            "/event reserved_name",
        ),
        (
            set("event", json!("admin.webhook.created")),
            "/event reserved_name",
        ),
        (
            set("event", json!("system.storage_low")),
            "/event reserved_name",
        ),
    ];
    for timestamp in [
        "2024-01-01T12:00:00",
        "2024-01-01T12:00:00+02:00",
        "2024-01-01T12:00:00-00:30",
        "2024-01-01",
        "2024-13-01T12:00:00Z",
        "2024-02-30T12:00:00Z",
        "yesterday",
        "",
        "1704110400",
    ] {
        rows.push((
            set("timestamp", json!(timestamp)),
            "/timestamp invalid_timestamp",
        ));
    }
    for (body, error) in rows {
        let problem = refuse(&server, &tenant, body.clone());
        assert_eq!(problem.status, 422, "{body}");
        assert_eq!(problem.errors, [error], "{body}");
        assert!(error.ends_with(&problem.code), "{body}: {}", problem.code);
    }
    assert_nothing_was_stored(&data, &server, &tenant);
}

#[test]
fn several_bad_fields_are_all_named() {
    let (data, tenant, server) = Data::served();
    for (body, errors) in [
        (
            r#"{"userId":5,"type":"track","timestamp":"yesterday"}"#,
            vec![
                "/event required",
                "/timestamp invalid_timestamp",
                "/userId wrong_type",
            ],
        ),
        (
            r#"{"type":"identify","timestamp":"2024-01-01T12:00:00+01:00","traits":{"a":{},"b":1,"c":{}}}"#,
            vec![
                "/timestamp invalid_timestamp",
                "/traits/a invalid_trait",
                "/traits/c invalid_trait",
                "/userId required",
            ],
        ),
        (
            r#"{"userId":"","type":"track","timestamp":"yesterday","event":"admin.x","properties":[]}"#,
            vec![
                "/event reserved_name",
                "/properties wrong_type",
                "/timestamp invalid_timestamp",
                "/userId required",
            ],
        ),
    ] {
        let problem = refuse(&server, &tenant, body);
        assert_eq!(
            (problem.status, problem.errors),
            (422, errors.iter().map(ToString::to_string).collect()),
            "{body}"
        );
    }
    assert_nothing_was_stored(&data, &server, &tenant);
}

#[test]
fn other_methods_hear_which_one_is_right() {
    let (_data, tenant, server) = Data::served();
    for method in [
        reqwest::Method::GET,
        reqwest::Method::PUT,
        reqwest::Method::DELETE,
    ] {
        let response = server
            .http
            .request(method.clone(), server.at("/sse/webhook"))
            .header("x-api-key", &tenant.key)
            .send()
            .unwrap();
        assert_eq!(response.status(), 405, "{method}");
        let allow = response.headers().get("allow").expect("an Allow header");
        assert!(allow.to_str().unwrap().contains("POST"), "{allow:?}");
    }
}

/// Nothing of this survives a parser that reads numbers as doubles, sorts keys or folds blanks.
pub(crate) const HARD_PROPERTIES: &str = r#"{ "z": 9007199254740993,"a" :"\u0000 \u00e9 é \/ \ud83d\ude00", "n":1.10,"e":1E5 ,"big":123456789012345678901234567890, "k":{"b":1,"a":[ 2,-0.0]},"<b>":"&amp;" }"#;

#[test]
fn properties_reach_webhook_and_page_byte_for_byte() {
    let receiver = Receiver::healthy();
    let data = Data::new();
    let tenant = data.tenant("Acme");
    data.member(&tenant.id, "ann@example.com", "viewer");
    data.webhook(&tenant.id, "All", &receiver.url("/"), &["*"]);
    let server = data.serve();
    let body = format!(
        r#"{{"event":"Exact","userId":"u\"1","properties":{HARD_PROPERTIES},"type":"track","timestamp":"2024-01-01T12:00:00.5Z"}}"#
    );
    let id = server.accept(&tenant.key, body);
    let request = receiver.wait_for_type("Exact");
    let whole = format!(
        r#"{{"type":"Exact","timestamp":"2024-01-01T12:00:00.500Z","data":{{"id":"{id}","kind":"track","event":"Exact","userId":"u\"1","properties":{HARD_PROPERTIES},"verification":"server","receivedAt":""#
    );
    let sent = request.body_text();
    assert!(
        sent.starts_with(&whole),
        "{sent}\nshould start with\n{whole}"
    );
    let page = Visitor::signed_in(&server, "ann@example.com")
        .see(&format!("/w/{}/events/{id}", tenant.slug));
    assert!(
        page.exact_text().contains(HARD_PROPERTIES),
        "the event's page shows other bytes:\n{}",
        page.text()
    );
}

/// JSON text that no two writers would write alike.
fn random_json(dice: &mut fastrand::Rng, levels: usize) -> String {
    const BLANKS: [&str; 5] = ["", " ", "\n", "\t ", "\r\n"];
    const TEXTS: [&str; 10] = [
        r"\u0000",
        r"\/",
        r"\ud83d\ude00",
        "é",
        r#"\""#,
        r"\\",
        "</script>",
        "\u{7f}",
        "日本",
        "a",
    ];
    const NUMBERS: [&str; 9] = [
        "0",
        "-0.0",
        "1.10",
        "1e5",
        "1E+05",
        "9007199254740993",
        "123456789012345678901234567890",
        "0.1000000000000000055511151231257827",
        "-1e-7",
    ];
    let blank = |dice: &mut fastrand::Rng| BLANKS[dice.usize(..BLANKS.len())];
    let text = |dice: &mut fastrand::Rng| {
        let parts: String = (0..dice.usize(..4))
            .map(|_| TEXTS[dice.usize(..TEXTS.len())])
            .collect();
        format!("\"{parts}\"")
    };
    let value = match dice.u8(..if levels == 0 { 4 } else { 8 }) {
        0 => "null".to_owned(),
        1 => ["true", "false"][dice.usize(..2)].to_owned(),
        2 => NUMBERS[dice.usize(..NUMBERS.len())].to_owned(),
        3 => text(dice),
        4 | 5 => {
            let items: Vec<_> = (0..dice.usize(..4))
                .map(|_| random_json(dice, levels - 1))
                .collect();
            format!("[{}{}]", blank(dice), items.join(","))
        }
        _ => random_object(dice, levels - 1),
    };
    format!("{}{value}{}", blank(dice), blank(dice))
}

/// An object of such values, whose keys may differ in nothing but their number.
fn random_object(dice: &mut fastrand::Rng, levels: usize) -> String {
    let members: Vec<_> = (0..dice.usize(..4))
        .map(|n| {
            let blanks = " ".repeat(dice.usize(..3));
            format!(
                "{blanks}\"{}{n}\"{blanks}:{}",
                ["z", "a", "é"][dice.usize(..3)],
                random_json(dice, levels)
            )
        })
        .collect();
    format!("{{{}}}", members.join(","))
}

#[test]
fn random_payloads_reach_the_webhook_byte_for_byte() {
    let mut dice = dice("random_payloads_reach_the_webhook_byte_for_byte");
    let receiver = Receiver::healthy();
    let data = Data::new();
    let tenant = data.tenant("Acme");
    data.webhook(&tenant.id, "All", &receiver.url("/"), &["*"]);
    let server = data.serve();
    let mut sent = std::collections::BTreeMap::new();
    for n in 0..100 {
        let properties = random_object(&mut dice, 5);
        let body = format!(
            r#"{{"userId":"u","type":"track","timestamp":"2026-11-22T10:00:00Z","event":"Random {n}","properties":{properties}}}"#
        );
        let id = server.accept(&tenant.key, body);
        sent.insert(id, properties);
    }
    for request in receiver.wait_for(sent.len()) {
        let id = request.json()["data"]["id"].as_str().unwrap().to_owned();
        let properties = sent.remove(&id).expect("an event that was sent, once");
        let whole = format!("\"properties\":{properties},\"verification\"");
        let body = request.body_text();
        assert!(body.contains(&whole), "{properties}\nis not in\n{body}");
    }
    assert!(sent.is_empty(), "{} never came", sent.len());
}

#[test]
fn traits_reach_webhook_byte_for_byte() {
    let receiver = Receiver::healthy();
    let data = Data::new();
    let tenant = data.tenant("Acme");
    data.webhook(&tenant.id, "All", &receiver.url("/"), &["*"]);
    let server = data.serve();
    let traits = r#"{ "seats": 9007199254740993,"plan" :"\u0000", "list":[ 1.0 ,2], "gone":null }"#;
    server.accept(&tenant.key, identify_body("u", traits));
    let request = receiver.wait_for_type("identify");
    let sent = request.body_text();
    assert!(sent.contains(&format!("\"traits\":{traits},")), "{sent}");
    assert_eq!(request.json()["data"]["kind"], "identify");
    assert!(request.json()["data"]["properties"].is_null(), "{sent}");
}

#[test]
fn a_key_of_a_source_names_it_in_the_message() {
    let receiver = Receiver::healthy();
    let data = Data::new();
    let tenant = data.tenant("Acme");
    let source = data.json(&[
        "source",
        "create",
        "Shop",
        "--workspace",
        &tenant.id,
        "--json",
    ]);
    let source = source["id"].as_str().unwrap();
    let arguments = [
        "key",
        "create",
        "shop",
        "--workspace",
        &tenant.id,
        "--source",
        source,
        "--scope",
        "write:events",
        "--json",
    ];
    let key = data.json(&arguments)["key"].as_str().unwrap().to_owned();
    data.webhook(&tenant.id, "All", &receiver.url("/"), &["*"]);
    let server = data.serve();
    server.track(&key, "u", "From The Shop");
    let message = receiver.wait_for_type("From The Shop").json();
    assert_eq!(
        message["data"]["source"],
        json!({"id": source, "name": "Shop"})
    );
}

#[test]
fn a_key_writes_into_its_own_workspace_only() {
    let data = Data::new();
    let (ours, theirs) = (data.tenant("Ours"), data.tenant("Theirs"));
    let (our_receiver, their_receiver) = (Receiver::healthy(), Receiver::healthy());
    data.webhook(&ours.id, "All", &our_receiver.url("/"), &["*"]);
    data.webhook(&theirs.id, "All", &their_receiver.url("/"), &["*"]);
    let server = data.serve();
    server.track(&ours.key, "u", "Ours");
    server.track(&theirs.key, "u", "Theirs");
    our_receiver.wait_for_type("Ours");
    their_receiver.wait_for_type("Theirs");
    assert_eq!(data.rows("delivery"), 2);
    wait_until("both to be delivered", || {
        (data.number("SELECT count(*) FROM delivery WHERE state = 'succeeded'") == 2).then_some(())
    });
    assert_eq!((our_receiver.count(), their_receiver.count()), (1, 1));
}

#[test]
fn a_file_that_another_process_holds_is_said_within_six_seconds() {
    let (data, tenant, server) = Data::served();
    let lock = data.lock_file();
    let started = Instant::now();
    // Several at once: none of them may wait for another's waiting.
    let answers: Vec<_> = std::thread::scope(|scope| {
        let posts: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| server.post(&tenant.key, track_body("u", "Late"))))
            .collect();
        posts.into_iter().map(|post| post.join().unwrap()).collect()
    });
    assert!(
        started.elapsed() < Duration::from_secs(6),
        "{:?}",
        started.elapsed()
    );
    for answer in answers {
        assert_eq!(answer.status(), 503);
        assert_eq!(answer.headers()["retry-after"], "1");
        assert_eq!(answer.json::<Value>().unwrap()["code"], "file_locked");
    }
    drop(lock);
    wait_until("the box to recover by itself", || {
        (server.post(&tenant.key, track_body("u", "Later")).status() == 200).then_some(())
    });
    assert_eq!(
        data.number("SELECT count(*) FROM event WHERE name = 'Late'"),
        0
    );
}
