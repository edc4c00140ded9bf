//! ARRIVE: Churnkey's endpoints. Recorded requests and what the log holds of them, and every refusal by its
//! code and pointer.

use crate::support::data::{MadeSource, text};
use crate::support::{Data, Problem, Server, Tenant};
use reqwest::Method;
use reqwest::blocking::{RequestBuilder, Response};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::path::Path;

const SITE: &str = "https://app.example.com";
const MAX_EVENT_BODY_BYTES: usize = 64 * 1024;

/// A box with a tenant and one source of it.
struct Setting {
    data: Data,
    tenant: Tenant,
    source: MadeSource,
    server: Server,
}

impl Setting {
    fn new() -> Self {
        Self::with(false)
    }

    /// `customers_are_accounts` is the source's setting.
    fn with(customers_are_accounts: bool) -> Self {
        let data = Data::new();
        let tenant = data.tenant("Acme");
        let source = data.site(&tenant.id, &[SITE]);
        data.set_source(&source, "customers_are_accounts", &customers_are_accounts);
        let server = data.serve();
        Self {
            data,
            tenant,
            source,
            server,
        }
    }

    /// A request to one of the endpoints with both headers, still without a body.
    fn to(&self, endpoint: &str) -> RequestBuilder {
        self.server
            .http
            .post(self.server.at(&format!("/v1/api/events/{endpoint}")))
            .header("x-ck-api-key", &self.tenant.key)
            .header("x-ck-app", &self.source.id)
            .header("content-type", "application/json")
    }

    fn post(&self, endpoint: &str, body: &Value) -> Response {
        self.to(endpoint).body(body.to_string()).send().unwrap()
    }

    /// `status code`, and `pointer code` of each field that is refused.
    #[track_caller]
    fn refuse(&self, endpoint: &str, body: &Value) -> (String, Vec<String>) {
        let problem = Problem::read(self.post(endpoint, body));
        (
            format!("{} {}", problem.status, problem.code),
            problem.errors,
        )
    }

    /// A request of a page of [`SITE`].
    fn of_a_page(&self, body: &Value) -> Response {
        self.server
            .http
            .post(self.server.at("/v1/api/events/client"))
            .header("origin", SITE)
            .body(body.to_string())
            .send()
            .unwrap()
    }

    /// Fails when something is stored, or when the box would store nothing at all.
    #[track_caller]
    fn assert_nothing_was_stored(&self) {
        assert_eq!(self.data.rows("event"), 0, "a refused event was stored");
        let response = self.post("new", &json!({"event": "After", "uid": "u"}));
        assert_eq!(response.status(), 200);
        assert_eq!(
            self.data.rows("event"),
            1,
            "an accepted event was not stored"
        );
    }
}

/// A recorded request and what is to come of it.
#[derive(Deserialize)]
struct Recorded {
    path: String,
    body: Box<RawValue>,
    answer: Value,
    stored: Vec<Value>,
}

impl Recorded {
    #[track_caller]
    fn read(name: &str) -> Self {
        let file = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/fixtures/churnkey")
            .join(format!("{name}.json"));
        let text = std::fs::read_to_string(&file).unwrap();
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
    }

    /// The body as it was sent, the source's id and signatures put in.
    fn body_for(&self, source: &MadeSource) -> String {
        let mut body = self.body.get().replace("$SOURCE", &source.id);
        while let Some((before, after)) = body.split_once("$HASH(") {
            let (id, rest) = after.split_once(')').unwrap();
            body = format!("{before}{}{rest}", source.sign(id));
        }
        body
    }

    /// Sends it to a new box, which must answer and keep what the recording says.
    #[track_caller]
    fn replay(name: &str) {
        let recorded = Self::read(name);
        let setting = Setting::new();
        let endpoint = recorded.path.rsplit('/').next().unwrap();
        let request = setting.to(endpoint).header("origin", SITE);
        let body = recorded.body_for(&setting.source);
        let response = request.body(body).send().unwrap();
        let status = response.status();
        let mut answer: Value = serde_json::from_str(&response.text().unwrap()).unwrap();
        assert_eq!(status, 200, "{name}: {answer}");
        let id = answer.as_object_mut().unwrap().remove("id");
        assert_eq!(answer, recorded.answer, "{name}");
        assert_eq!(id.is_some(), endpoint != "bulk", "{name}");

        let mut stored = setting.data.events();
        assert_eq!(stored.len(), recorded.stored.len(), "{name}: {stored:#?}");
        for (event, wanted) in stored.iter_mut().zip(&recorded.stored) {
            let event = event.as_object_mut().unwrap();
            let received = event.remove("received_at_ms");
            if wanted.get("occurred_at_ms").is_none() {
                assert_eq!(event.remove("occurred_at_ms"), received, "{name}");
            }
            assert_eq!(Value::Object(event.clone()), *wanted, "{name}");
        }
        let source = setting
            .data
            .number("SELECT count(DISTINCT source_id) FROM event");
        assert_eq!(source, 1, "{name}: events without their source");
        if let Some(Value::String(id)) = id {
            let last = setting.data.number("SELECT max(id) FROM event");
            assert_eq!(crate::support::data::event_number(&id), last, "{name}");
        }
    }
}

#[test]
fn events_are_kept_as_they_came() {
    Recorded::replay("event");
    Recorded::replay("event_with_customer_data");
}

#[test]
fn an_event_of_an_accounts_user_is_about_both() {
    Recorded::replay("event_of_a_user");
    Recorded::replay("event_of_a_user_with_data");
}

#[test]
fn bulk_events_are_kept_in_order() {
    Recorded::replay("bulk");
}

#[test]
fn updates_say_what_is_known_of_customers_and_users() {
    Recorded::replay("customer_update");
    Recorded::replay("customer_and_user_update");
    Recorded::replay("user_joins");
}

#[test]
fn events_of_pages_are_as_sure_as_their_signature() {
    Recorded::replay("client");
    Recorded::replay("client_signed");
    Recorded::replay("client_signed_email");
}

#[test]
fn where_customers_are_accounts_no_user_is_needed() {
    let setting = Setting::with(true);
    let customer = json!({"customerId": "cus_1", "uid": "acme", "customerData": {"seats": 7}});
    let mut event = customer.clone();
    event["event"] = json!("Post Created");
    assert_eq!(setting.post("new", &event).status(), 200);
    assert_eq!(setting.post("customer-update", &customer).status(), 200);
    let bulk = json!([{"event": "In Bulk", "uid": "acme"}]);
    assert_eq!(setting.post("bulk", &bulk).status(), 200);
    let page = json!({"appId": setting.source.id, "event": "On A Page", "customerId": "cus_1"});
    assert_eq!(setting.of_a_page(&page).status(), 200);
    let stored: Vec<_> = setting
        .data
        .events()
        .iter()
        .map(|event| {
            assert_eq!(event["customer_is_account"], 1, "{event}");
            assert_eq!(event.get("user_id"), None, "{event}");
            let part = |name| {
                event
                    .get(name)
                    .and_then(Value::as_str)
                    .unwrap_or("-")
                    .to_owned()
            };
            [
                part("name"),
                part("customer_id"),
                part("group_id"),
                part("traits"),
            ]
            .join(" ")
        })
        .collect();
    assert_eq!(
        stored,
        [
            r#"group cus_1 acme {"seats":7}"#,
            "Post Created cus_1 acme -",
            r#"group cus_1 acme {"seats":7}"#,
            "In Bulk - acme -",
            "On A Page cus_1 - -",
        ]
    );
}

#[test]
fn dates_are_read_with_and_without_time_and_offset() {
    let setting = Setting::new();
    let taken = [
        (json!("2022-05-01"), 1_651_363_200_000_i64),
        (json!("2022-05-01T12:00:00Z"), 1_651_406_400_000),
        (json!("2022-05-01T14:00:00.5+02:00"), 1_651_406_400_500),
        (json!("2022-05-01T12:00:00"), 1_651_406_400_000),
        (json!("2022-05-01 12:00:00.250"), 1_651_406_400_250),
        (json!(1_651_406_400_000_i64), 1_651_406_400_000),
        (json!(0), 0),
    ];
    for (date, _) in &taken {
        let body = json!({"event": "Dated", "uid": "u", "eventDate": date});
        let response = setting.post("new", &body);
        assert_eq!(
            response.status(),
            200,
            "{date}: {}",
            response.text().unwrap()
        );
    }
    let stored: Vec<_> = setting
        .data
        .events()
        .iter()
        .map(|event| event["occurred_at_ms"].as_i64().unwrap())
        .collect();
    assert_eq!(stored, taken.map(|(_, unix_ms)| unix_ms));
    for date in [
        json!("yesterday"),
        json!("01.05.2022"),
        json!("2022-02-30"),
        json!("1651406400000"),
        json!(-1),
        json!(1_651_406_400_000.5),
        json!(253_402_300_800_000_i64),
        json!(true),
        json!({}),
        json!(""),
    ] {
        let body = json!({"event": "Dated", "uid": "u", "eventDate": date});
        let (what, errors) = setting.refuse("new", &body);
        assert_eq!(what, "422 invalid_timestamp", "{date}");
        assert_eq!(errors, ["/eventDate invalid_timestamp"], "{date}");
    }
}

#[test]
fn fields_are_refused_by_name() {
    let setting = Setting::new();
    let long = "x".repeat(600);
    #[rustfmt::skip]
    let cases = [
        ("new", json!({"uid": "u"}), vec!["/event required"]),
        ("new", json!({"event": null, "uid": "u"}), vec!["/event required"]),
        ("new", json!({"event": "  ", "uid": "u"}), vec!["/event required"]),
        ("new", json!({"event": 7, "uid": "u"}), vec!["/event wrong_type"]),
        ("new", json!({"event": "profile.merged", "uid": "u"}), vec!["/event reserved_name"]),
        ("new", json!({"event": long, "uid": "u"}), vec!["/event too_long"]),
        ("new", json!({"event": "A"}), vec![" missing_identifier"]),
        ("new", json!({"event": "A", "uid": null, "user": {"uid": "u"}}), vec![" missing_identifier"]),
        ("new", json!({"event": "A", "uid": 7}), vec!["/uid wrong_type"]),
        ("new", json!({"event": "A", "uid": ""}), vec!["/uid required"]),
        ("new", json!({"event": "A", "uid": long}), vec!["/uid too_long"]),
        ("new", json!({"event": "A", "customerId": ["c"]}), vec!["/customerId wrong_type"]),
        ("new", json!({"event": "A", "uid": "u", "eventData": []}), vec!["/eventData wrong_type"]),
        ("new", json!({"event": "A", "uid": "u", "customerData": "x"}), vec!["/customerData wrong_type"]),
        ("new", json!({"event": "A", "uid": "u", "user": "x"}), vec!["/user wrong_type"]),
        ("new", json!({"event": "A", "uid": "u", "user": {}}), vec!["/user/uid required"]),
        ("new", json!({"event": "A", "uid": "u", "user": {"uid": 7, "data": 7}}), vec!["/user/data wrong_type", "/user/uid wrong_type"]),
        ("new", json!({"event": "A", "uid": "u", "user": {"uid": long}}), vec!["/user/uid too_long"]),
        ("new", json!({"event": "A", "uid": long, "user": {"uid": "u"}}), vec!["/uid too_long"]),
        ("new", json!({"eventDate": "soon", "customerData": {"a": 1}, "user": {}}),
            vec![" missing_identifier", "/event required", "/eventDate invalid_timestamp", "/user/uid required"]),
        ("new", json!([{"event": "A", "uid": "u"}]), vec![" wrong_type"]),
        ("new", json!("event"), vec![" wrong_type"]),
        ("customer-update", json!({"uid": "u"}), vec!["/customerData required"]),
        ("customer-update", json!({"uid": "u", "customerData": null}), vec!["/customerData required"]),
        ("customer-update", json!({"uid": "u", "customerData": 7}), vec!["/customerData wrong_type"]),
        ("customer-update", json!({"customerData": {}}), vec![" missing_identifier"]),
        ("customer-update", json!({"uid": "u", "user": {"data": {}}}), vec!["/user/uid required"]),
        ("customer-update", json!({"uid": "u", "customerData": {}, "user": {"uid": "v", "data": []}}), vec!["/user/data wrong_type"]),
        ("customer-update", json!([]), vec![" wrong_type"]),
    ];
    for (endpoint, body, wanted) in cases {
        let (what, errors) = setting.refuse(endpoint, &body);
        assert!(what.starts_with("422 "), "{body}: {what}");
        assert_eq!(errors, wanted, "{endpoint} {body}");
    }
    setting.assert_nothing_was_stored();
}

#[test]
fn one_wrong_event_refuses_the_whole_bulk_and_says_which() {
    let setting = Setting::new();
    let right = json!({"event": "A", "uid": "u"});
    let wrong = json!([
        right,
        {"event": "A", "uid": "u", "customerData": {}},
        {"event": "A", "uid": "u", "user": {"uid": "v"}},
        {"uid": "u"},
        7,
        [right],
        {"event": "A", "eventDate": "soon"},
        right,
    ]);
    let problem = Problem::read(setting.post("bulk", &wrong));
    assert_eq!(
        (problem.status, &*problem.code),
        (422, "not_allowed_in_bulk")
    );
    assert_eq!(
        problem.errors,
        [
            "/1/customerData not_allowed_in_bulk",
            "/2/user not_allowed_in_bulk",
            "/3/event required",
            "/4 wrong_type",
            "/5 wrong_type",
            "/6 missing_identifier",
            "/6/eventDate invalid_timestamp",
        ]
    );
    assert!(
        problem.detail.contains("/1/customerData"),
        "{}",
        problem.detail
    );
    assert!(
        problem.detail.contains("Nothing was stored"),
        "{}",
        problem.detail
    );
    let many = Value::Array(vec![json!({}); 100]);
    assert_eq!(
        setting.refuse("bulk", &many).1.len(),
        20,
        "an endless answer"
    );
    setting.assert_nothing_was_stored();
}

#[test]
fn a_bulk_has_one_to_a_hundred_events() {
    let setting = Setting::new();
    let of = |count| Value::Array(vec![json!({"event": "A", "uid": "u"}); count]);
    let refused = |body| setting.refuse("bulk", &body);
    assert_eq!(refused(of(0)).0, "422 required");
    assert_eq!(refused(of(101)).0, "422 too_many_events");
    assert_eq!(refused(json!({"events": of(1)})).0, "422 wrong_type");
    assert_eq!(
        refused(json!({"event": "A", "uid": "u"})).0,
        "422 wrong_type"
    );
    assert_eq!(refused(json!("A")).0, "422 wrong_type");
    assert_eq!(setting.data.rows("event"), 0);
    let answer: Value =
        serde_json::from_str(&setting.post("bulk", &of(100)).text().unwrap()).unwrap();
    assert_eq!(
        answer,
        json!({"status": "success", "event_count": 100, "verified": true})
    );
    assert_eq!(setting.data.rows("event"), 100);
}

#[test]
fn a_bulk_may_be_larger_than_an_event() {
    let setting = Setting::new();
    let fill = "x".repeat(MAX_EVENT_BODY_BYTES / 2);
    let event = json!({"event": "A", "uid": "u", "eventData": {"fill": fill}});
    let bulk = Value::Array(vec![event; 20]);
    assert_eq!(setting.post("bulk", &bulk).status(), 200);
    let large =
        json!({"event": "A", "uid": "u", "eventData": {"fill": "x".repeat(MAX_EVENT_BODY_BYTES)}});
    assert_eq!(setting.refuse("new", &large).0, "413 body_too_large");
    assert_eq!(
        setting.refuse("customer-update", &large).0,
        "413 body_too_large"
    );
    let (what, errors) = setting.refuse("bulk", &json!([large]));
    assert_eq!(what, "422 event_too_large");
    assert_eq!(errors, ["/0 event_too_large"]);
    assert_eq!(setting.data.rows("event"), 20);
}

#[test]
fn key_and_app_must_belong_together() {
    let setting = Setting::new();
    let data = &setting.data;
    let sibling = data.site(&setting.tenant.id, &[]);
    let stranger = data.tenant("Other");
    let theirs = data.site(&stranger.id, &[]);
    let made = data.json(&[
        "key",
        "create",
        "site",
        "--workspace",
        &setting.tenant.id,
        "--source",
        &setting.source.id,
        "--scope",
        "write:events",
        "--json",
    ]);
    let bound = text(&made, "key");
    let (_, reader) = data.key(&setting.tenant.id, "read:events");
    let key = setting.tenant.key.as_str();
    let id = setting.source.id.as_str();
    crate::support::wait_until("the new key to be known", || {
        let response = setting
            .server
            .native(&bound)
            .body(r#"{"userId":"u","event":"A"}"#);
        (response.send().unwrap().status() == 200).then_some(())
    });
    let before = data.rows("event");
    #[rustfmt::skip]
    let cases = [
        (None, Some(id), "401 missing_api_key"),
        (Some("pbk_nonsense"), Some(id), "401 invalid_api_key"),
        (Some(""), Some(id), "401 invalid_api_key"),
        (Some(reader.as_str()), Some(id), "403 missing_scope"),
        (Some(key), None, "401 missing_app_id"),
        (Some(key), Some(""), "401 unknown_source"),
        (Some(key), Some("nonsense"), "401 unknown_source"),
        (Some(key), Some("src_0000000000000"), "401 unknown_source"),
        (Some(key), Some(theirs.id.as_str()), "401 unknown_source"),
        (Some(stranger.key.as_str()), Some(id), "401 unknown_source"),
        (Some(bound.as_str()), Some(sibling.id.as_str()), "401 app_mismatch"),
    ];
    for endpoint in ["new", "bulk", "customer-update"] {
        let event = json!({"event": "A", "uid": "u", "customerData": {}}).to_string();
        for (key, app, wanted) in cases {
            let url = setting.server.at(&format!("/v1/api/events/{endpoint}"));
            let mut request = setting.server.http.post(url).body(event.clone());
            if let Some(key) = key {
                request = request.header("x-ck-api-key", key);
            }
            if let Some(app) = app {
                request = request.header("x-ck-app", app);
            }
            // Another dialect's header is no key here.
            let request = request.header("x-api-key", &setting.tenant.key);
            let problem = Problem::read(request.send().unwrap());
            let what = format!("{} {}", problem.status, problem.code);
            assert_eq!(what, wanted, "{endpoint} {key:?} {app:?}");
        }
    }
    assert_eq!(data.rows("event"), before, "a refused event was stored");
    for (key, app) in [(bound.as_str(), id), (key, sibling.id.as_str())] {
        let response = setting
            .server
            .http
            .post(setting.server.at("/v1/api/events/new"))
            .header("x-ck-api-key", key)
            .header("x-ck-app", app)
            .body(r#"{"event":"A","uid":"u"}"#);
        assert_eq!(response.send().unwrap().status(), 200, "{app}");
    }
}

#[test]
fn bodies_that_are_not_acceptable_json_are_refused_with_the_byte() {
    let setting = Setting::new();
    for endpoint in ["new", "bulk", "customer-update", "client"] {
        for (body, code) in [
            (b"".to_vec(), "invalid_json"),
            (b"{\"event\":".to_vec(), "invalid_json"),
            (b"[{\"event\":\"A\"},]".to_vec(), "invalid_json"),
            (b"[\"\xff\"]".to_vec(), "invalid_utf8"),
            (br#"{"event":"\ud800"}"#.to_vec(), "lone_surrogate"),
            (b"[".repeat(65), "too_deep"),
            (br#"[{"eventDate":1e999}]"#.to_vec(), "number_out_of_range"),
        ] {
            let response = setting.to(endpoint).body(body.clone()).send().unwrap();
            let problem = Problem::read(response);
            let shown = String::from_utf8_lossy(&body).into_owned();
            assert_eq!(
                (problem.status, &*problem.code),
                (400, code),
                "{endpoint} {shown}"
            );
            problem.offset();
        }
    }
    setting.assert_nothing_was_stored();
}

#[test]
fn other_methods_are_named() {
    let setting = Setting::new();
    for endpoint in ["new", "bulk", "customer-update", "client"] {
        let url = setting.server.at(&format!("/v1/api/events/{endpoint}"));
        for method in [Method::GET, Method::PUT, Method::DELETE] {
            let response = setting.server.http.request(method, &url).send().unwrap();
            assert_eq!(response.headers()["allow"], "POST");
            assert_eq!(Problem::read(response).status, 405, "{endpoint}");
        }
    }
}

// BROWSERS ----------------------------------------------------------------------------------

#[test]
fn a_page_may_ask_and_read_the_answer() {
    let setting = Setting::new();
    let preflight = setting
        .server
        .http
        .request(Method::OPTIONS, setting.server.at("/v1/api/events/client"))
        .header("origin", SITE)
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "content-type")
        .send()
        .unwrap();
    assert_eq!(preflight.status(), 204);
    assert_eq!(preflight.headers()["access-control-allow-origin"], SITE);
    assert_eq!(
        preflight.headers()["access-control-allow-headers"],
        "content-type"
    );
    let methods = preflight.headers()["access-control-allow-methods"]
        .to_str()
        .unwrap();
    assert!(methods.contains("POST"), "{methods}");
    let answer =
        setting.of_a_page(&json!({"appId": setting.source.id, "event": "A", "customerId": "c"}));
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["access-control-allow-origin"], SITE);
    let refusal = setting.of_a_page(&json!({"appId": setting.source.id}));
    assert_eq!(refusal.headers()["access-control-allow-origin"], SITE);
    assert_eq!(Problem::read(refusal).status, 422);
}

#[test]
fn only_pages_of_listed_sites_may_post() {
    let setting = Setting::new();
    let body = json!({"appId": setting.source.id, "event": "A", "customerId": "c"}).to_string();
    let post = |origin: Option<&str>| {
        let mut request = setting
            .server
            .http
            .post(setting.server.at("/v1/api/events/client"))
            .body(body.clone());
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        request.send().unwrap()
    };
    for origin in [
        "https://evil.example.com",
        "http://app.example.com",
        "https://app.example.com:8443",
        "https://app.example.com.evil.com",
        "null",
    ] {
        let response = post(Some(origin));
        assert_eq!(response.headers()["access-control-allow-origin"], origin);
        let problem = Problem::read(response);
        assert_eq!(
            (problem.status, &*problem.code),
            (403, "origin_not_allowed")
        );
        assert!(
            origin == "null" || problem.detail.contains(origin),
            "{}",
            problem.detail
        );
    }
    assert_eq!(setting.data.rows("event"), 0);
    assert_eq!(post(Some(SITE)).status(), 200);
    assert_eq!(post(None).status(), 200, "no page made this one");
    let unverified = "SELECT count(*) FROM event WHERE verification = 'unverified'";
    assert_eq!(setting.data.number(unverified), 2);
}

#[test]
fn what_pages_send_is_refused_by_name() {
    let setting = Setting::new();
    let id = setting.source.id.as_str();
    let other = setting.data.site(&setting.tenant.id, &[SITE]);
    let of_customer = setting.source.sign("c");
    let of_email = setting.source.sign("e@example.com");
    let of_other_secret = other.sign("c");
    let upper = of_customer.to_uppercase();
    #[rustfmt::skip]
    let cases = [
        (json!({"event": "A", "customerId": "c"}), "401 required", "/appId required"),
        (json!({"appId": 7, "event": "A", "customerId": "c"}), "401 wrong_type", "/appId wrong_type"),
        (json!({"appId": "src_0000000000000", "event": "A", "customerId": "c"}), "401 unknown_source", ""),
        (json!({"appId": id, "customerId": "c"}), "422 required", "/event required"),
        (json!({"appId": id, "event": "A"}), "422 missing_identifier", " missing_identifier"),
        (json!({"appId": id, "event": "A", "uid": "u"}), "422 missing_identifier", " missing_identifier"),
        (json!({"appId": id, "event": "A", "customerId": 7}), "422 wrong_type", "/customerId wrong_type"),
        (json!({"appId": id, "event": "A", "customerEmail": ""}), "422 required", "/customerEmail required"),
        (json!({"appId": id, "event": "A", "customerId": "c", "eventData": 7}), "422 wrong_type", "/eventData wrong_type"),
        (json!({"appId": id, "event": "A", "customerId": "c", "eventDate": "x"}), "422 invalid_timestamp", "/eventDate invalid_timestamp"),
        (json!({"appId": id, "event": "A", "customerId": "c", "authHash": 7}), "422 wrong_type", "/authHash wrong_type"),
        (json!({"appId": id, "event": "A", "customerId": "c", "authHash": ""}), "401 invalid_auth_hash", "/authHash invalid_auth_hash"),
        (json!({"appId": id, "event": "A", "customerId": "c", "authHash": upper}), "401 invalid_auth_hash", "/authHash invalid_auth_hash"),
        (json!({"appId": id, "event": "A", "customerId": "d", "authHash": of_customer}), "401 invalid_auth_hash", "/authHash invalid_auth_hash"),
        (json!({"appId": id, "event": "A", "customerId": "c", "authHash": of_other_secret}), "401 invalid_auth_hash", "/authHash invalid_auth_hash"),
        // The email address is signed only where there is no customerId.
        (json!({"appId": id, "event": "A", "customerId": "c", "customerEmail": "e@example.com", "authHash": of_email}), "401 invalid_auth_hash", "/authHash invalid_auth_hash"),
        (json!([]), "422 wrong_type", " wrong_type"),
    ];
    for (body, wanted, error) in cases {
        let problem = Problem::read(setting.of_a_page(&body));
        assert_eq!(
            format!("{} {}", problem.status, problem.code),
            wanted,
            "{body}"
        );
        assert_eq!(problem.errors.join(", "), error, "{body}");
    }
    setting.assert_nothing_was_stored();
}
