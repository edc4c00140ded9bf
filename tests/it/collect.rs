//! ARRIVE: what the browser script posts, without a browser: what is taken, every refusal by its code and
//! pointer, and one event for one messageId.

use crate::support::data::MadeSource;
use crate::support::{Data, Problem, Server, Tenant};
use reqwest::Method;
use reqwest::blocking::Response;
use serde_json::{Value, json};

const SITE: &str = "https://www.example.com";
const VISITOR: &str = "5f0c8a6e-4a68-4c4e-9b0a-0d3c5c1b7e55";
const MAX_BODY_BYTES: usize = 64 * 1024;

/// A box with a tenant and one source of it.
struct Setting {
    data: Data,
    tenant: Tenant,
    source: MadeSource,
    server: Server,
}

impl Setting {
    fn new() -> Self {
        let data = Data::new();
        let tenant = data.tenant("Acme");
        let source = data.site(&tenant.id, &["https://elsewhere.example.com", SITE]);
        let server = data.serve();
        Self {
            data,
            tenant,
            source,
            server,
        }
    }

    /// Posts a body as a beacon of a page does.
    fn send(&self, body: impl Into<Vec<u8>>) -> Response {
        self.server
            .http
            .post(self.server.at("/collect"))
            .header("origin", SITE)
            .header("content-type", "text/plain;charset=UTF-8")
            .body(body.into())
            .send()
            .unwrap()
    }

    fn body(&self, events: &Value) -> Value {
        json!({"source": self.source.id, "events": events})
    }

    fn post(&self, events: &Value) -> Response {
        self.send(self.body(events).to_string())
    }

    /// Posts events that must be taken.
    #[track_caller]
    fn accept(&self, events: &Value) {
        let response = self.post(events);
        let status = response.status();
        let text = response.text().unwrap();
        assert_eq!(status, 200, "{text}");
        let answer: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            answer,
            json!({"accepted": events.as_array().unwrap().len()})
        );
    }

    /// Fails when something is stored, or when the box would store nothing at all.
    #[track_caller]
    fn assert_nothing_was_stored(&self) {
        assert_eq!(self.data.rows("event"), 0, "a refused event was stored");
        self.accept(&json!([event(&json!({}))]));
        assert_eq!(
            self.data.rows("event"),
            1,
            "an accepted event was not stored"
        );
    }
}

/// The least event there is, with `change` made to it; what is `null` is left out.
fn event(change: &Value) -> Value {
    let mut event = json!({"kind": "track", "event": "Button Clicked", "visitorId": VISITOR});
    for (name, value) in change.as_object().unwrap() {
        if value.is_null() {
            event.as_object_mut().unwrap().remove(name);
        } else {
            event[name] = value.clone();
        }
    }
    event
}

#[test]
fn events_of_every_kind_are_kept_as_they_came() {
    let setting = Setting::new();
    let id = &setting.source.id;
    let body = format!(
        r#"{{"source":"{id}","events":[
            {{"kind":"page","visitorId":"{VISITOR}","context":{{ "page": {{"url":"https://www.example.com/?utm_source=x"}} }}}},
            {{"kind":"track","event":"Plan Chosen","visitorId":"{VISITOR}","userId":"u","properties":{{"seats":9007199254740993}},"messageId":"m1"}},
            {{"kind":"identify","visitorId":"{VISITOR}","userId":"u","email":"u@example.com","customerId":"cus_1","traits":{{"plan":"pro"}},"event":null}}
        ]}}"#
    );
    let response = setting.send(body);
    assert_eq!(response.status(), 200, "{}", response.text().unwrap());
    assert_eq!(response.text().unwrap(), r#"{"accepted":3}"#);
    let mut stored = setting.data.events();
    for event in &mut stored {
        let event = event.as_object_mut().unwrap();
        assert_eq!(
            event.remove("occurred_at_ms"),
            event.remove("received_at_ms")
        );
        assert_eq!(event.remove("visitor_id"), Some(json!(VISITOR)));
        assert_eq!(event.remove("verification"), Some(json!("unverified")));
    }
    assert_eq!(
        stored,
        [
            json!({"kind": "page", "name": "page", "context": r#"{ "page": {"url":"https://www.example.com/?utm_source=x"} }"#}),
            json!({"kind": "track", "name": "Plan Chosen", "user_id": "u", "properties": r#"{"seats":9007199254740993}"#, "dedup_key": "m1"}),
            json!({"kind": "identify", "name": "identify", "user_id": "u", "email": "u@example.com", "customer_id": "cus_1", "traits": r#"{"plan":"pro"}"#}),
        ]
    );
    let sources = setting
        .data
        .number("SELECT count(*) FROM event WHERE source_id IS NOT NULL");
    assert_eq!(sources, 3);
}

#[test]
fn a_signature_is_of_the_strongest_id() {
    let setting = Setting::new();
    let sign = |id: &str| setting.source.sign(id);
    setting.accept(&json!([
        event(&json!({"customerId": "c", "userId": "u", "email": "e", "authHash": sign("c")})),
        event(&json!({"userId": "u", "email": "e", "authHash": sign("u")})),
        event(&json!({"email": "e", "authHash": sign("e")})),
        event(&json!({"userId": "u"})),
    ]));
    let verifications: Vec<_> = setting
        .data
        .events()
        .iter()
        .map(|event| event["verification"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(verifications, ["signed", "signed", "signed", "unverified"]);

    let other = setting.data.site(&setting.tenant.id, &[SITE]);
    for wrong in [
        json!({"customerId": "c", "userId": "u", "authHash": sign("u")}),
        json!({"userId": "u", "email": "e", "authHash": sign("e")}),
        json!({"userId": "u", "authHash": sign("v")}),
        json!({"userId": "u", "authHash": sign("u").to_uppercase()}),
        json!({"userId": "u", "authHash": ""}),
        json!({"userId": "u", "authHash": other.sign("u")}),
        // A visitor's id proves nothing.
        json!({"authHash": sign(VISITOR)}),
    ] {
        let events = json!([event(&json!({})), event(&wrong)]);
        let problem = Problem::read(setting.post(&events));
        assert_eq!(
            (problem.status, &*problem.code),
            (401, "invalid_auth_hash"),
            "{wrong}"
        );
        assert_eq!(problem.errors, ["/events/1/authHash invalid_auth_hash"]);
        assert!(
            problem.detail.contains("Nothing was stored"),
            "{}",
            problem.detail
        );
    }
    assert_eq!(setting.data.rows("event"), 4);
}

#[test]
fn a_wrong_clock_in_the_browser_moves_nothing() {
    let setting = Setting::new();
    let mut body = setting.body(&json!([
        event(&json!({"timestamp": "2031-01-01T00:00:00.000Z"})),
        event(&json!({"timestamp": "2031-01-01T00:00:59.500Z"})),
        event(&json!({})),
    ]));
    body["sentAt"] = json!("2031-01-01T00:01:00.000Z");
    assert_eq!(setting.send(body.to_string()).status(), 200);
    // Without sentAt nothing is known of the clock.
    setting.accept(&json!([event(
        &json!({"timestamp": "2026-01-01T01:00:00+01:00"})
    )]));
    let stored = setting.data.events();
    let number = |event: &Value, name: &str| event[name].as_i64().unwrap();
    let ages: Vec<_> = stored
        .iter()
        .take(3)
        .map(|event| number(event, "received_at_ms") - number(event, "occurred_at_ms"))
        .collect();
    assert_eq!(ages, [60_000, 500, 0]);
    assert_eq!(number(&stored[3], "occurred_at_ms"), 1_767_225_600_000);
}

#[test]
fn a_beacon_that_is_sent_again_is_one_event() {
    let setting = Setting::new();
    let of = |sent_at: &str| {
        let mut body = setting.body(&json!([
            event(&json!({"messageId": "m1", "timestamp": "2026-01-01T00:00:00.000Z"})),
            event(&json!({"messageId": "m2"})),
        ]));
        body["sentAt"] = json!(sent_at);
        body.to_string()
    };
    for sent_at in ["2026-01-01T00:00:01.000Z", "2026-01-01T00:00:09.000Z"] {
        let response = setting.send(of(sent_at));
        assert_eq!(response.status(), 200);
        assert_eq!(response.text().unwrap(), r#"{"accepted":2}"#, "{sent_at}");
    }
    assert_eq!(setting.data.rows("event"), 2);
}

#[test]
fn events_are_refused_by_name_and_place() {
    let setting = Setting::new();
    #[rustfmt::skip]
    let cases = [
        (json!({"kind": null}), "/kind required"),
        (json!({"kind": 7}), "/kind wrong_type"),
        (json!({"kind": "alias"}), "/kind invalid_kind"),
        (json!({"kind": "Track"}), "/kind invalid_kind"),
        (json!({"event": null}), "/event required"),
        (json!({"event": {}}), "/event wrong_type"),
        (json!({"event": "x".repeat(201)}), "/event too_long"),
        (json!({"event": "system.started"}), "/event reserved_name"),
        (json!({"visitorId": null}), "/visitorId required"),
        (json!({"visitorId": null, "userId": "u"}), "/visitorId required"),
        (json!({"visitorId": ""}), "/visitorId required"),
        (json!({"visitorId": 7}), "/visitorId wrong_type"),
        (json!({"userId": 7}), "/userId wrong_type"),
        (json!({"userId": "x".repeat(513)}), "/userId too_long"),
        (json!({"email": true}), "/email wrong_type"),
        (json!({"customerId": []}), "/customerId wrong_type"),
        (json!({"traits": "x"}), "/traits wrong_type"),
        (json!({"properties": []}), "/properties wrong_type"),
        (json!({"context": 7}), "/context wrong_type"),
        (json!({"timestamp": "2026-01-01"}), "/timestamp invalid_timestamp"),
        (json!({"timestamp": "2026-01-01T00:00:00"}), "/timestamp invalid_timestamp"),
        (json!({"timestamp": 7}), "/timestamp wrong_type"),
        (json!({"messageId": 7}), "/messageId wrong_type"),
        (json!({"messageId": "x".repeat(256)}), "/messageId too_long"),
        (json!({"authHash": 7}), "/authHash wrong_type"),
        (json!({"groupId": "g"}), "/groupId unknown_field"),
        (json!({"a/b~": "g"}), "/a~1b~0 unknown_field"),
    ];
    for (change, wanted) in cases {
        let events = json!([event(&json!({})), event(&change)]);
        let problem = Problem::read(setting.post(&events));
        assert_eq!(problem.status, 422, "{change}");
        assert_eq!(problem.errors, [format!("/events/1{wanted}")], "{change}");
    }
    let several = json!([{"kind": "x"}, event(&json!({})), 7, [], {"visitorId": VISITOR}]);
    assert_eq!(
        Problem::read(setting.post(&several)).errors,
        [
            "/events/0/kind invalid_kind",
            "/events/0/visitorId required",
            "/events/2 wrong_type",
            "/events/3 wrong_type",
            "/events/4/kind required",
        ]
    );
    let id = &setting.source.id;
    let twice = format!(
        r#"{{"source":"{id}","events":[{{"kind":"page","visitorId":"v","visitorI\u0064":"w"}}]}}"#
    );
    let problem = Problem::read(setting.send(twice));
    assert_eq!(problem.errors, ["/events/0/visitorId duplicate_field"]);
    setting.assert_nothing_was_stored();
}

#[test]
fn bodies_are_refused_by_name() {
    let setting = Setting::new();
    let id = &setting.source.id;
    let page = r#"{"kind":"page","visitorId":"v"}"#;
    #[rustfmt::skip]
    let cases = [
        ("[]".to_owned(), "422 wrong_type", " wrong_type"),
        ("7".to_owned(), "422 wrong_type", " wrong_type"),
        (format!(r#"{{"events":[{page}]}}"#), "401 required", "/source required"),
        (format!(r#"{{"source":null,"events":[{page}]}}"#), "401 required", "/source required"),
        (format!(r#"{{"source":7,"events":[{page}]}}"#), "401 wrong_type", "/source wrong_type"),
        (format!(r#"{{"source":"src_0000000000000","events":[{page}]}}"#), "401 unknown_source", ""),
        (format!(r#"{{"source":"","events":[{page}]}}"#), "401 unknown_source", ""),
        (format!(r#"{{"source":"{id}"}}"#), "422 required", "/events required"),
        (format!(r#"{{"source":"{id}","events":null}}"#), "422 required", "/events required"),
        (format!(r#"{{"source":"{id}","events":[]}}"#), "422 required", "/events required"),
        (format!(r#"{{"source":"{id}","events":{page}}}"#), "422 wrong_type", "/events wrong_type"),
        (format!(r#"{{"source":"{id}","events":[{page}],"sentAt":"now"}}"#), "422 invalid_timestamp", "/sentAt invalid_timestamp"),
        (format!(r#"{{"source":"{id}","events":[{page}],"sentAt":7}}"#), "422 wrong_type", "/sentAt wrong_type"),
        (format!(r#"{{"source":"{id}","events":[{page}],"writeKey":"x"}}"#), "422 unknown_field", "/writeKey unknown_field"),
        (format!(r#"{{"source":"{id}","events":[{page}],"events":[]}}"#), "422 duplicate_field", "/events duplicate_field"),
        (format!(r#"{{"source":"{id}","events":[{}]}}"#, [page; 51].join(",")), "422 too_many_events", "/events too_many_events"),
    ];
    for (body, wanted, error) in cases {
        let problem = Problem::read(setting.send(body.clone()));
        assert_eq!(
            format!("{} {}", problem.status, problem.code),
            wanted,
            "{body}"
        );
        assert_eq!(problem.errors.join(", "), error, "{body}");
    }
    for (body, code) in [
        (b"".to_vec(), "invalid_json"),
        (b"{\"source\":}".to_vec(), "invalid_json"),
        (b"{\"source\":\"\xff\"}".to_vec(), "invalid_utf8"),
        (br#"{"source":"\udc00"}"#.to_vec(), "lone_surrogate"),
    ] {
        let problem = Problem::read(setting.send(body));
        assert_eq!((problem.status, &*problem.code), (400, code));
        problem.offset();
    }
    let large = " ".repeat(MAX_BODY_BYTES + 1);
    assert_eq!(Problem::read(setting.send(large)).status, 413);
    setting.assert_nothing_was_stored();
}

#[test]
fn fifty_events_and_64_kib_are_taken() {
    let setting = Setting::new();
    setting.accept(&Value::Array(vec![event(&json!({})); 50]));
    let body = |fill: usize| {
        let fill = "x".repeat(fill);
        setting
            .body(&json!([event(&json!({"properties": {"fill": fill}}))]))
            .to_string()
    };
    let frame = body(0).len();
    let response = setting.send(body(MAX_BODY_BYTES - frame));
    assert_eq!(response.status(), 200, "{}", response.text().unwrap());
    assert_eq!(setting.data.rows("event"), 51);
}

#[test]
fn only_pages_of_listed_sites_may_post() {
    let setting = Setting::new();
    let body = setting.body(&json!([event(&json!({}))])).to_string();
    let post = |origin: &str| {
        let request = setting.server.http.post(setting.server.at("/collect"));
        request
            .header("origin", origin)
            .body(body.clone())
            .send()
            .unwrap()
    };
    for origin in ["https://example.com", "http://www.example.com", "null", ""] {
        let response = post(origin);
        assert_eq!(response.headers()["access-control-allow-origin"], origin);
        let problem = Problem::read(response);
        assert_eq!(
            (problem.status, &*problem.code),
            (403, "origin_not_allowed"),
            "{origin}"
        );
    }
    setting.assert_nothing_was_stored();
    // Whoever lists every origin, or none, is taken at the word at once.
    for (origins, status) in [(r#"["*"]"#, 200), ("[]", 403)] {
        setting
            .data
            .set_source(&setting.source, "origins", &origins);
        crate::support::wait_until("the changed list to be followed", || {
            (post("https://example.org").status() == status).then_some(())
        });
    }
}

#[test]
fn a_page_may_ask_and_other_methods_are_named() {
    let setting = Setting::new();
    let url = setting.server.at("/collect");
    let preflight = setting
        .server
        .http
        .request(Method::OPTIONS, &url)
        .header("origin", SITE)
        .header("access-control-request-method", "POST")
        .send()
        .unwrap();
    assert_eq!(preflight.status(), 204);
    assert_eq!(preflight.headers()["access-control-allow-origin"], SITE);
    let refusal = setting.send("{}");
    assert_eq!(refusal.headers()["access-control-allow-origin"], SITE);
    assert_eq!(refusal.headers()["vary"], "Origin");
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        let response = setting.server.http.request(method, &url).send().unwrap();
        assert_eq!(response.headers()["allow"], "POST, OPTIONS");
        assert_eq!(Problem::read(response).status, 405);
    }
}
