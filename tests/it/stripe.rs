//! ARRIVE: Stripe's events. What Stripe signed is in the log as it came, what it did not sign is not, and
//! an event that comes again is one event.

use crate::support::{Data, Problem, Receiver, Server, Tenant, Visitor, wait_until};
use hmac::{Hmac, KeyInit as _, Mac as _};
use pillarbox::id::SourceId;
use pillarbox::store::Files;
use reqwest::blocking::{RequestBuilder, Response};
use rusqlite::{Connection, params};
use serde_json::{Value, json};
use sha2::Sha256;
use std::fmt::Write as _;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

const SECRET: &str = "whsec_HarbourToolsEndpoint01";
const MAX_BODY_BYTES: usize = 256 * 1024;
const VISITOR: &str = "6f1d0d5e-8a53-4c3b-9b52-0a8d6c1f7e21";

/// A source that takes events from Stripe, and a server.
struct Endpoint {
    data: Data,
    tenant: Tenant,
    server: Server,
    source: String,
}

/// Makes a source, with a signing secret where one is given.
#[track_caller]
fn source(data: &Data, workspace: &str, secret: Option<&str>) -> String {
    let made = data.json(&[
        "source",
        "create",
        "Shop",
        "--workspace",
        workspace,
        "--json",
    ]);
    let id = made["id"].as_str().unwrap().to_owned();
    if let Some(secret) = secret {
        let number = id.parse::<SourceId>().unwrap().as_i64();
        let files = Files::prepare(data.path()).unwrap();
        let sealed = files.vault().seal(number, secret.as_bytes()).unwrap();
        let changed = Connection::open(data.file())
            .unwrap()
            .execute(
                "UPDATE source SET stripe_secret_sealed = ?2 WHERE id = ?1",
                params![number, sealed],
            )
            .unwrap();
        assert_eq!(changed, 1);
    }
    id
}

fn now_s() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

fn hex_hmac(secret: &str, timestamp: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(timestamp.as_bytes());
    mac.update(b".");
    mac.update(body);
    let mut hex = String::new();
    for byte in mac.finalize().into_bytes() {
        write!(hex, "{byte:02x}").unwrap();
    }
    hex
}

/// The header as Stripe sends it.
fn signed(secret: &str, timestamp_s: i64, body: &[u8]) -> String {
    let timestamp = timestamp_s.to_string();
    format!(
        "t={timestamp},v1={},v0=0",
        hex_hmac(secret, &timestamp, body)
    )
}

impl Endpoint {
    #[track_caller]
    fn new() -> Self {
        let data = Data::new();
        let tenant = data.tenant("Acme");
        Self::on(data, tenant)
    }

    #[track_caller]
    fn on(data: Data, tenant: Tenant) -> Self {
        let source = source(&data, &tenant.id, Some(SECRET));
        let server = data.serve();
        Self {
            data,
            tenant,
            server,
            source,
        }
    }

    fn request(&self) -> RequestBuilder {
        let path = format!("/in/stripe/{}", self.source);
        self.server
            .http
            .post(self.server.at(&path))
            .header("content-type", "application/json; charset=utf-8")
    }

    fn send(&self, signature: &str, body: impl Into<Vec<u8>>) -> Response {
        self.request()
            .header("stripe-signature", signature)
            .body(body.into())
            .send()
            .unwrap()
    }

    fn post(&self, body: impl Into<Vec<u8>>) -> Response {
        let body = body.into();
        self.send(&signed(SECRET, now_s(), &body), body)
    }

    /// Posts what must be taken.
    #[track_caller]
    fn accept(&self, body: impl Into<Vec<u8>>) {
        assert_received(self.post(body));
    }

    /// Posts an event that must be taken, and reads it from the file.
    #[track_caller]
    fn stored(&self, event: &Value) -> Stored {
        self.accept(event.to_string());
        Stored::read(&self.data, event["id"].as_str().unwrap())
    }

    /// Fails when something is stored, or when the box would store nothing at all.
    #[track_caller]
    fn assert_nothing_was_stored(&self) {
        assert_eq!(self.data.rows("event"), 0, "a refused event was stored");
        self.accept(paid_event().to_string());
        assert_eq!(
            self.data.rows("event"),
            1,
            "an accepted event was not stored"
        );
    }
}

#[track_caller]
fn assert_received(response: Response) {
    let status = response.status();
    let text = response.text().unwrap();
    assert_eq!(
        (status.as_u16(), text.as_str()),
        (200, r#"{"received":true}"#)
    );
}

/// An event as it is in the file.
#[derive(Debug)]
struct Stored {
    kind: String,
    name: String,
    verification: String,
    occurred_at_ms: i64,
    /// user, visitor, email, customer, group
    identifiers: [Option<String>; 5],
    properties: String,
    context: Value,
    source: i64,
}

impl Stored {
    #[track_caller]
    fn read(data: &Data, key: &str) -> Self {
        data.open()
            .query_row(
                "SELECT kind, name, verification, occurred_at_ms, user_id, visitor_id, email, customer_id, group_id,
                    properties, context, source_id FROM event WHERE dedup_key = ?1",
                [key],
                |row| {
                    Ok(Self {
                        kind: row.get(0)?,
                        name: row.get(1)?,
                        verification: row.get(2)?,
                        occurred_at_ms: row.get(3)?,
                        identifiers: [row.get(4)?, row.get(5)?, row.get(6)?, row.get(7)?, row.get(8)?],
                        properties: row.get(9)?,
                        context: serde_json::from_str(&row.get::<_, String>(10)?).unwrap(),
                        source: row.get(11)?,
                    })
                },
            )
            .unwrap()
    }

    fn identifiers(&self) -> [Option<&str>; 5] {
        self.identifiers.each_ref().map(Option::as_deref)
    }
}

/// Every recorded event: its file's name and its text.
fn recorded() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/stripe");
    let mut found: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, std::fs::read_to_string(entry.path()).unwrap())
        })
        .collect();
    found.sort();
    assert!(found.len() >= 20, "only {} recorded events", found.len());
    found
}

fn paid_event() -> Value {
    let (_, text) = recorded()
        .into_iter()
        .find(|(name, _)| name == "invoice.paid.2025.json")
        .unwrap();
    serde_json::from_str(&text).unwrap()
}

/// An event with this object.
fn event_of(id: &str, kind: &str, object: &Value) -> Value {
    json!({"id": id, "object": "event", "api_version": "2025-03-31.basil", "created": 1_767_225_600,
        "data": {"object": object}, "livemode": false, "pending_webhooks": 1, "type": kind})
}

#[test]
fn recorded_events_of_both_shapes_are_on_disk_when_answered() {
    let endpoint = Endpoint::new();
    for (stored, (name, text)) in (1..).zip(recorded()) {
        endpoint.accept(text.as_str());
        assert_eq!(endpoint.data.rows("event"), stored, "{name}");
        let event: Value = serde_json::from_str(&text).unwrap();
        let found = Stored::read(&endpoint.data, event["id"].as_str().unwrap());
        let kind = event["type"].as_str().unwrap();
        assert_eq!(found.kind, "track");
        assert_eq!(found.name, format!("stripe.{kind}"));
        assert_eq!(found.verification, "billing");
        assert_eq!(
            found.source,
            endpoint.source.parse::<SourceId>().unwrap().as_i64()
        );
        let created = event["created"].as_i64().unwrap();
        assert_eq!(found.occurred_at_ms, created * 1_000);
        // The object is kept to the byte: it stands in the body, spaces and all.
        assert!(text.contains(&found.properties), "{name}");
        let object: Value = serde_json::from_str(&found.properties).unwrap();
        assert_eq!(object, event["data"]["object"], "{name}");
        let mut envelope = json!({"id": event["id"], "type": kind, "created": created,
            "apiVersion": event["api_version"], "livemode": false});
        if let Some(previous) = event["data"].get("previous_attributes") {
            envelope["previousAttributes"] = previous.clone();
        }
        assert_eq!(found.context, json!({ "stripe": envelope }), "{name}");
        assert_eq!(found.identifiers()[3], Some("cus_TgHarbour01ann"), "{name}");
    }
}

#[test]
fn an_object_says_whom_it_is_about() {
    let endpoint = Endpoint::new();
    let none = [None; 5];
    let customer = |id| [None, None, None, Some(id), None];
    let long = "u".repeat(600);
    let rows = [
        // A checkout brings the visitor, the user, the email and the customer together.
        (
            "checkout.session.completed",
            json!({"object": "checkout.session", "id": "cs_1", "customer": "cus_1", "client_reference_id": VISITOR,
                "metadata": {"user_id": "u-1"}, "customer_details": {"email": "a@x.example"}, "customer_email": "b@x.example"}),
            [
                Some("u-1"),
                Some(VISITOR),
                Some("a@x.example"),
                Some("cus_1"),
                None,
            ],
        ),
        // What is no visitor's id is the app's own, and goes before what metadata says.
        (
            "checkout.session.completed",
            json!({"object": "checkout.session", "id": "cs_1", "customer": null, "client_reference_id": "u-2",
                "metadata": {"user_id": "u-1"}, "customer_details": null, "customer_email": "b@x.example"}),
            [Some("u-2"), None, Some("b@x.example"), None, None],
        ),
        (
            "customer.created",
            json!({"object": "customer", "id": "cus_2", "email": "c@x.example", "metadata": {"userId": "u-3"}}),
            [Some("u-3"), None, Some("c@x.example"), Some("cus_2"), None],
        ),
        (
            "customer.deleted",
            json!({"object": "customer", "id": "cus_2", "deleted": true}),
            customer("cus_2"),
        ),
        // Of what belongs to a customer, and of a customer that was put into it whole.
        (
            "customer.subscription.updated",
            json!({"object": "subscription", "id": "sub_1", "customer": "cus_3"}),
            customer("cus_3"),
        ),
        (
            "invoice.paid",
            json!({"object": "invoice", "id": "in_1", "customer": {"id": "cus_4", "object": "customer", "email": "x"}}),
            customer("cus_4"),
        ),
        (
            "charge.succeeded",
            json!({"object": "charge", "id": "ch_1", "customer": "cus_5", "receipt_email": "d@x.example"}),
            [None, None, Some("d@x.example"), Some("cus_5"), None],
        ),
        // Nobody: taken all the same, also a type that the box has no use for.
        (
            "payout.paid",
            json!({"object": "payout", "id": "po_1"}),
            none,
        ),
        (
            "price.created",
            json!({"object": "price", "id": "price_1", "metadata": {}}),
            none,
        ),
        ("made.up.tomorrow", json!({}), none),
        // What cannot identify anybody is left out.
        (
            "checkout.session.completed",
            json!({"object": 1, "id": [], "customer": "", "client_reference_id": " ", "metadata": [], "email": 5,
                "customer_details": "x", "customer_email": {}}),
            none,
        ),
        (
            "checkout.session.completed",
            json!({"client_reference_id": long, "metadata": {"user_id": 5}, "customer": {"id": long}}),
            none,
        ),
    ];
    for (number, (kind, object, identifiers)) in rows.into_iter().enumerate() {
        let event = event_of(&format!("evt_{number}"), kind, &object);
        let found = endpoint.stored(&event);
        assert_eq!(found.identifiers(), identifiers, "{object}");
        assert_eq!(found.name, format!("stripe.{kind}"));
        assert_eq!(found.properties, object.to_string());
    }
}

#[test]
fn an_object_that_is_too_large_is_kept_in_its_essentials() {
    let endpoint = Endpoint::new();
    let mut event = paid_event();
    event["data"]["previous_attributes"] = json!({"status": "open"});
    // What object and previous attributes may have together; the rest is for what is around them.
    let room = 64 * 1024 - 4 * 1024;
    event["data"]["object"]["description"] = json!("");
    let empty = event["data"]["object"].to_string().len() + r#"{"status":"open"}"#.len();
    // To the byte: what fits is whole.
    event["id"] = json!("evt_fits");
    event["data"]["object"]["description"] = json!("x".repeat(room - empty));
    let found = endpoint.stored(&event);
    assert_eq!(found.properties, event["data"]["object"].to_string());
    assert!(found.context["stripe"]["previousAttributes"].is_object());
    for description in ["x".repeat(room - empty + 1), "x".repeat(200_000)] {
        event["id"] = json!(format!("evt_{}", description.len()));
        event["data"]["object"]["description"] = json!(description);
        let found = endpoint.stored(&event);
        let kept: Value = serde_json::from_str(&found.properties).unwrap();
        assert_eq!(kept["truncated"], true);
        for member in ["id", "amount_paid", "currency", "customer"] {
            assert_eq!(kept[member], event["data"]["object"][member], "{member}");
        }
        assert!(kept.get("description").is_none());
        assert_eq!(found.context["stripe"].get("previousAttributes"), None);
        assert_eq!(found.identifiers()[3], Some("cus_TgHarbour01ann"));
    }
}

#[test]
fn what_stripe_did_not_sign_is_refused() {
    let endpoint = Endpoint::new();
    let body = paid_event().to_string();
    let now = now_s();
    let right = hex_hmac(SECRET, &now.to_string(), body.as_bytes());
    let unsigned = endpoint.request().body(body.clone()).send().unwrap();
    let problem = Problem::read(unsigned);
    assert_eq!(
        (problem.status, problem.code.as_str()),
        (401, "missing_signature")
    );
    for header in [
        String::new(),
        "whatever".to_owned(),
        format!("t={now}"),
        format!("v1={right}"),
        format!("t={now},v0={right}"),
        format!("t=,v1={right}"),
        format!("t=+{now},v1={right}"),
        format!("t=-{now},v1={right}"),
        format!("t=now,v1={right}"),
        format!("t=99999999999999999999,v1={right}"),
        format!("t={now},t={now},v1={right}"),
        format!("t={now}{}", format!(",v1={right}").repeat(9)),
    ] {
        let problem = Problem::read(endpoint.send(&header, body.clone()));
        let found = (problem.status, problem.code.as_str());
        assert_eq!(found, (400, "invalid_signature_header"), "{header:?}");
    }
    let bare = SECRET.strip_prefix("whsec_").unwrap();
    let mut changed = body.clone().into_bytes();
    let at = body.find("3600").unwrap();
    changed[at] = b'4';
    for (header, body) in [
        (
            signed("whsec_another", now, body.as_bytes()),
            body.clone().into_bytes(),
        ),
        (
            signed(bare, now, body.as_bytes()),
            body.clone().into_bytes(),
        ),
        (format!("t={now},v1={right}"), changed),
        (
            format!("t={now},v1={right}"),
            format!("{body} ").into_bytes(),
        ),
        (format!("t={now},v1={right}"), Vec::new()),
        (
            format!("t={},v1={right}", now - 1),
            body.clone().into_bytes(),
        ),
        (
            format!("t={now},v1={}", right.to_uppercase()),
            body.clone().into_bytes(),
        ),
        (
            format!("t={now},v1={}", &right[1..]),
            body.clone().into_bytes(),
        ),
        (format!("t={now},v1="), body.clone().into_bytes()),
        // What is wrong and old is wrong first.
        (
            signed("whsec_another", 1, body.as_bytes()),
            body.clone().into_bytes(),
        ),
    ] {
        let problem = Problem::read(endpoint.send(&header, body));
        let found = (problem.status, problem.code.as_str());
        assert_eq!(found, (401, "invalid_signature"), "{header}");
    }
    endpoint.assert_nothing_was_stored();
}

#[test]
fn a_signature_is_good_for_five_minutes() {
    let endpoint = Endpoint::new();
    let body = paid_event().to_string();
    // A request takes less than ten seconds, so these are on their sides of the limit whatever it takes.
    for (age_s, code) in [
        (310, "signature_too_old"),
        (86_400, "signature_too_old"),
        (-320, "signature_in_future"),
        (-86_400, "signature_in_future"),
    ] {
        let header = signed(SECRET, now_s() - age_s, body.as_bytes());
        let problem = Problem::read(endpoint.send(&header, body.clone()));
        assert_eq!(
            (problem.status, problem.code.as_str()),
            (401, code),
            "{age_s}"
        );
        assert!(problem.detail.contains("300 seconds"), "{}", problem.detail);
    }
    assert_eq!(endpoint.data.rows("event"), 0);
    for (id, age_s) in [("evt_old", 285), ("evt_new", -285)] {
        let mut event = paid_event();
        event["id"] = json!(id);
        let body = event.to_string();
        let header = signed(SECRET, now_s() - age_s, body.as_bytes());
        assert_received(endpoint.send(&header, body));
    }
    assert_eq!(endpoint.data.rows("event"), 2);
}

#[test]
fn any_right_signature_among_several_will_do() {
    let endpoint = Endpoint::new();
    for (number, (first, second)) in [("whsec_old", SECRET), (SECRET, "whsec_next")]
        .into_iter()
        .enumerate()
    {
        let mut event = paid_event();
        event["id"] = json!(format!("evt_{number}"));
        let body = event.to_string();
        let timestamp = now_s().to_string();
        let v1 = |secret| hex_hmac(secret, &timestamp, body.as_bytes());
        let header = format!("t={timestamp}, v1={}, v1={}", v1(first), v1(second));
        assert_received(endpoint.send(&header, body));
    }
    assert_eq!(endpoint.data.rows("event"), 2);
}

#[test]
fn parts_of_the_signature_that_say_nothing_are_passed_over() {
    let endpoint = Endpoint::new();
    let body = paid_event().to_string();
    let timestamp = now_s().to_string();
    let v1 = hex_hmac(SECRET, &timestamp, body.as_bytes());
    for header in [
        format!("t={timestamp},v1={v1},"),
        format!(",t={timestamp},,v1={v1}"),
        format!("t={timestamp}, beta, v1={v1}, v2=x=y"),
    ] {
        assert_received(endpoint.send(&header, body.clone()));
    }
    assert_eq!(endpoint.data.rows("event"), 1);
}

#[test]
fn an_unknown_source_and_one_without_a_secret_are_the_same() {
    let data = Data::new();
    let tenant = data.tenant("Acme");
    let without = source(&data, &tenant.id, None);
    let with = source(&data, &tenant.id, Some(SECRET));
    let server = data.serve();
    let body = paid_event().to_string();
    let post = |source: &str, secret: &str| {
        server
            .http
            .post(server.at(&format!("/in/stripe/{source}")))
            .header("stripe-signature", signed(secret, now_s(), body.as_bytes()))
            .body(body.clone())
            .send()
            .unwrap()
    };
    let mut answers = Vec::new();
    for source in [
        without.as_str(),
        "src_0000000000000",
        "nonsense",
        &tenant.id,
    ] {
        for secret in [SECRET, ""] {
            let response = post(source, secret);
            assert_eq!(response.status(), 401, "{source}");
            answers.push(response.text().unwrap());
        }
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert!(answers[0].contains("unknown_endpoint"), "{answers:?}");
    assert_eq!(data.rows("event"), 0);
    assert_received(post(&with, SECRET));
}

#[test]
fn a_secret_of_another_source_does_not_do() {
    let data = Data::new();
    let (acme, other) = (data.tenant("Acme"), data.tenant("Other"));
    let mine = source(&data, &acme.id, Some(SECRET));
    source(&data, &other.id, Some("whsec_other"));
    let server = data.serve();
    let body = paid_event().to_string();
    let response = server
        .http
        .post(server.at(&format!("/in/stripe/{mine}")))
        .header(
            "stripe-signature",
            signed("whsec_other", now_s(), body.as_bytes()),
        )
        .body(body)
        .send()
        .unwrap();
    assert_eq!(Problem::read(response).code, "invalid_signature");
    assert_eq!(data.rows("event"), 0);
}

#[test]
fn each_bad_field_is_named() {
    let endpoint = Endpoint::new();
    let with = |change: &dyn Fn(&mut Value)| {
        let mut event = paid_event();
        change(&mut event);
        event
    };
    let rows = [
        (
            json!({}),
            vec![
                "/created required",
                "/data required",
                "/id required",
                "/type required",
            ],
        ),
        (
            with(&|event| event["id"] = json!(5)),
            vec!["/id wrong_type"],
        ),
        (with(&|event| event["id"] = json!("")), vec!["/id required"]),
        (
            with(&|event| event["id"] = json!("e".repeat(256))),
            vec!["/id too_long"],
        ),
        (
            with(&|event| event["type"] = json!(null)),
            vec!["/type required"],
        ),
        (
            with(&|event| event["type"] = json!(["x"])),
            vec!["/type wrong_type"],
        ),
        (
            with(&|event| event["type"] = json!("t".repeat(200))),
            vec!["/type too_long"],
        ),
        (
            with(&|event| event["created"] = json!("2026-01-01")),
            vec!["/created invalid_timestamp"],
        ),
        (
            with(&|event| event["created"] = json!(1.5)),
            vec!["/created invalid_timestamp"],
        ),
        (
            with(&|event| event["created"] = json!(-1)),
            vec!["/created invalid_timestamp"],
        ),
        (
            with(&|event| event["created"] = json!(253_402_300_800_i64)),
            vec!["/created invalid_timestamp"],
        ),
        (
            with(&|event| event["data"] = json!([])),
            vec!["/data wrong_type"],
        ),
        (
            with(&|event| event["data"] = json!({})),
            vec!["/data/object required"],
        ),
        (
            with(&|event| event["data"] = json!({"object": "in_1"})),
            vec!["/data/object wrong_type"],
        ),
    ];
    for (event, errors) in rows {
        let problem = Problem::read(endpoint.post(event.to_string()));
        assert_eq!(
            (problem.status, problem.errors),
            (422, errors.into_iter().map(str::to_owned).collect()),
            "{event}"
        );
    }
    for body in ["[]", "1", "null", "\"text\""] {
        let problem = Problem::read(endpoint.post(body));
        assert_eq!(
            (problem.status, problem.errors),
            (422, vec![" wrong_type".to_owned()]),
            "{body}"
        );
    }
    for (body, code) in [
        (&b""[..], "invalid_json"),
        (b"{", "invalid_json"),
        (b"id=evt_1", "invalid_json"),
        (b"{\"id\":\"\xff\"}", "invalid_utf8"),
        (br#"{"id":"\ud800"}"#, "lone_surrogate"),
    ] {
        let problem = Problem::read(endpoint.post(body));
        assert_eq!(
            (problem.status, problem.code.as_str()),
            (400, code),
            "{body:?}"
        );
        problem.offset();
    }
    endpoint.assert_nothing_was_stored();
}

#[test]
fn a_body_has_a_largest_size() {
    let endpoint = Endpoint::new();
    let sized = |len: usize| {
        let mut event = paid_event();
        event["padding"] = json!("");
        let frame = event.to_string().len();
        event["padding"] = json!("x".repeat(len - frame));
        event.to_string()
    };
    let problem = Problem::read(endpoint.post(sized(MAX_BODY_BYTES + 1)));
    assert_eq!(
        (problem.status, problem.code.as_str()),
        (413, "body_too_large")
    );
    assert_eq!(endpoint.data.rows("event"), 0);
    endpoint.accept(sized(MAX_BODY_BYTES));
    assert_eq!(endpoint.data.rows("event"), 1);
}

#[test]
fn the_same_event_again_is_one_event_and_another_under_its_id_is_not_stored() {
    let endpoint = Endpoint::new();
    let event = paid_event();
    endpoint.accept(event.to_string());
    // Stripe says how many endpoints are still owed the event, and writes JSON as it likes around the object.
    let mut again = event.clone();
    again["pending_webhooks"] = json!(0);
    endpoint.accept(again.to_string());
    assert_eq!(endpoint.data.rows("event"), 1);
    assert!(
        !endpoint
            .server
            .process
            .log
            .text()
            .contains("says other things")
    );
    let mut other = event.clone();
    other["data"]["object"]["amount_paid"] = json!(1);
    endpoint.accept(other.to_string());
    assert_eq!(endpoint.data.rows("event"), 1);
    let kept = Stored::read(&endpoint.data, event["id"].as_str().unwrap());
    assert_eq!(kept.properties, event["data"]["object"].to_string());
    wait_until("the conflict to be in the log", || {
        let log = endpoint.server.process.log.text();
        log.contains("says other things").then_some(())
    });
}

#[test]
fn an_event_is_sent_on_and_its_key_is_the_workspaces() {
    let data = Data::new();
    let (acme, other) = (data.tenant("Acme"), data.tenant("Other"));
    let sources = [&acme, &other].map(|tenant| source(&data, &tenant.id, Some(SECRET)));
    let receiver = Receiver::healthy();
    data.webhook(
        &acme.id,
        "all of Stripe",
        &receiver.url("/hook"),
        &["stripe.*"],
    );
    let server = data.serve();
    let body = paid_event().to_string();
    for source in &sources {
        let response = server
            .http
            .post(server.at(&format!("/in/stripe/{source}")))
            .header("stripe-signature", signed(SECRET, now_s(), body.as_bytes()))
            .body(body.clone())
            .send()
            .unwrap();
        assert_received(response);
    }
    assert_eq!(data.rows("event"), 2, "one for each workspace");
    let sent = receiver.wait_for_type("stripe.invoice.paid").json();
    assert_eq!(sent["type"], "stripe.invoice.paid");
    assert_eq!(sent["data"]["verification"], "billing");
    assert_eq!(sent["data"]["customerId"], "cus_TgHarbour01ann");
    assert_eq!(sent["data"]["properties"]["amount_paid"], 3_600);
}

#[test]
fn other_methods_are_told_which_one_is_taken() {
    let endpoint = Endpoint::new();
    let path = format!("/in/stripe/{}", endpoint.source);
    let response = endpoint.server.get(&path);
    assert_eq!(response.headers()["allow"], "POST");
    let problem = Problem::read(response);
    assert_eq!(
        (problem.status, problem.code.as_str()),
        (405, "method_not_allowed")
    );
    // An app's key opens nothing here.
    let keyed = endpoint
        .request()
        .bearer_auth(&endpoint.tenant.key)
        .body(paid_event().to_string());
    let problem = Problem::read(keyed.send().unwrap());
    assert_eq!(problem.code, "missing_signature");
    endpoint.assert_nothing_was_stored();
}

/// A recorded event in the newer of both shapes.
fn one_recorded(name: &str) -> String {
    let path = format!(
        "{}/tests/fixtures/stripe/{name}.2025.json",
        env!("CARGO_MANIFEST_DIR")
    );
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn a_purchase_joins_the_visitor_and_stands_beside_the_events() {
    let endpoint = Endpoint::new();
    let (data, tenant, server) = (&endpoint.data, &endpoint.tenant, &endpoint.server);
    data.member(&tenant.id, "ann@example.com", "viewer");
    let ann = Visitor::signed_in(server, "ann@example.com");
    let visit = json!({"event": "Pricing Seen", "visitorId": VISITOR}).to_string();
    assert_eq!(server.post_native(&tenant.key, visit).0, 200);
    // Before the checkout is known, its customer is somebody of whom nothing else is known.
    endpoint.accept(one_recorded("customer.subscription.created"));
    let found = |identifier: &str| {
        let page = ann.see(&format!("/w/{}/profiles?q={identifier}", tenant.slug));
        let links = page.links().into_iter();
        links
            .filter(|link| link.contains("/profiles/prf_"))
            .collect::<Vec<_>>()
    };
    let customer = "cus_TgHarbour01ann";
    let alone = wait_until("the customer's profile", || found(customer).pop());
    assert!(ann.see(&alone).text().contains("trialing"));
    endpoint.accept(one_recorded("checkout.session.completed"));
    // Out of order: the older state that comes last changes nothing.
    endpoint.accept(one_recorded("customer.subscription.updated"));
    endpoint.accept(one_recorded("customer.subscription.created"));
    endpoint.accept(one_recorded("invoice.paid"));
    endpoint.accept(one_recorded("invoice.payment_succeeded"));
    let one = wait_until("visitor and customer to be one", || {
        let both = (found(customer), found(VISITOR));
        (!both.0.is_empty() && both.0 == both.1).then(|| both.0[0].clone())
    });
    let text = wait_until("all of it on the page", || {
        let text = ann.see(&one).text();
        text.contains("36.00 EUR").then_some(text)
    });
    for shown in [
        "Pricing Seen",
        "stripe.checkout.session.completed",
        "active",
        "Customer",
        "Upgraded",
        "in_1SkHarbourSecond2",
        "ann@harbour.example",
    ] {
        assert!(text.contains(shown), "no {shown}: {text}");
    }
    assert!(!text.contains("72.00"), "an invoice is paid once: {text}");
    endpoint.accept(one_recorded("customer.subscription.deleted"));
    let left = wait_until("the customer to have left", || {
        let text = ann.see(&one).text();
        text.contains("Churned").then_some(text)
    });
    assert!(left.contains("canceled"), "{left}");
    let rank = "SELECT max(rank) FROM stage_reached";
    assert_eq!(data.number(rank), 3, "who leaves goes no step back");
}

#[test]
fn a_subscription_that_changes_is_told_to_those_who_want_to_know() {
    let receiver = Receiver::healthy();
    let data = Data::new();
    let tenant = data.tenant("Acme");
    data.webhook(&tenant.id, "Billing", &receiver.url("/"), &["customer.*"]);
    let endpoint = Endpoint::on(data, tenant);
    let data = &endpoint.data;
    endpoint.accept(one_recorded("customer.subscription.created"));
    let message = |number: usize| receiver.wait_for(number).remove(number - 1).json();
    let first = message(1);
    assert_eq!(first["type"], "customer.subscription_changed");
    let told = &first["data"];
    assert_eq!(
        (&told["before"], &told["after"]["status"]),
        (&json!(null), &json!("trialing"))
    );
    assert_eq!(told["bucket"], json!({"before": null, "after": null}));
    assert_eq!(
        told["subscription"],
        json!({"id": "sub_1SkHarbourAnn0001", "customerId": "cus_TgHarbour01ann"})
    );
    assert_eq!(
        told["profile"]["identifiers"]["customerId"],
        json!(["cus_TgHarbour01ann"])
    );
    assert!(told["eventId"].as_str().unwrap().starts_with("evt_"));

    endpoint.accept(one_recorded("customer.subscription.updated"));
    let second = message(2)["data"].take();
    assert_eq!(
        (&second["before"]["status"], &second["after"]["status"]),
        (&json!("trialing"), &json!("active"))
    );
    assert_eq!(
        second["before"]["plan"]["priceId"],
        first["data"]["after"]["plan"]["priceId"]
    );
    assert_eq!(
        second["bucket"],
        json!({"before": null, "after": "upgraded"})
    );

    // What is older, and what only says that something was paid, changes nothing of it.
    endpoint.accept(one_recorded("invoice.paid"));
    endpoint.accept(one_recorded("customer.subscription.deleted"));
    let third = message(3)["data"].take();
    assert_eq!(
        (&third["before"]["status"], &third["after"]["status"]),
        (&json!("active"), &json!("canceled"))
    );
    assert_eq!(
        third["bucket"],
        json!({"before": "upgraded", "after": "churned"})
    );
    assert_eq!(receiver.count(), 3);
    assert_eq!(data.rows("message"), 3);
}
