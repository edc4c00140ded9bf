//! ARRIVE: what FunnelFizz's endpoint takes from a signed-in member, every refusal by its code and pointer,
//! and what belongs to other workspaces or comes from other sites.

use crate::support::data::event_number;
use crate::support::{Data, Problem, Server, Tenant, Visitor};
use reqwest::Method;
use reqwest::blocking::Response;
use serde_json::{Value, json};

const ENDPOINT: &str = "/api/tracking/server-events";

/// A box with one tenant, its source, and Ann, who may write and is signed in.
struct Desk {
    data: Data,
    tenant: Tenant,
    server: Server,
    site: String,
    user: String,
    ann: Visitor,
}

impl Desk {
    #[track_caller]
    fn new() -> Self {
        let data = Data::new();
        let tenant = data.tenant("Acme");
        let user = member(&data, &tenant, "ann@example.com", "member");
        let site = data.source(&tenant.id, "Shop");
        let server = data.serve();
        let ann = Visitor::signed_in(&server, "ann@example.com");
        Self {
            data,
            tenant,
            server,
            site,
            user,
            ann,
        }
    }

    fn path(&self) -> String {
        format!("{ENDPOINT}?workspaceId={}", self.tenant.id)
    }

    /// Posts events for Ann's site, as her own page would.
    #[track_caller]
    fn post(&self, events: &Value) -> Response {
        let body = json!({"siteId": self.site, "events": events});
        send(&self.ann, &self.path(), &body.to_string())
    }

    /// Posts events that must be taken; their ids.
    #[track_caller]
    fn accept(&self, events: &Value) -> Vec<String> {
        let response = self.post(events);
        let status = response.status();
        let answer: Value = serde_json::from_str(&response.text().unwrap()).unwrap();
        assert_eq!(status, 200, "{answer}");
        let ids: Vec<_> = answer["ids"]
            .as_array()
            .unwrap()
            .iter()
            .map(|id| id.as_str().unwrap().to_owned())
            .collect();
        assert_eq!(answer, json!({"accepted": ids.len(), "ids": ids}));
        ids
    }

    #[track_caller]
    fn refuse(&self, events: &Value) -> Problem {
        Problem::read(self.post(events))
    }

    /// A column of an event, as text.
    #[track_caller]
    fn column(&self, event: &str, column: &str) -> Option<String> {
        self.data
            .open()
            .query_row(
                &format!("SELECT CAST({column} AS TEXT) FROM event WHERE id = ?1"),
                [event_number(event)],
                |row| row.get(0),
            )
            .unwrap()
    }
}

#[track_caller]
fn member(data: &Data, tenant: &Tenant, email: &str, role: &str) -> String {
    let user = data.user(email, role);
    let arguments = [
        "member",
        "add",
        "--workspace",
        &tenant.id,
        "--email",
        email,
        "--role",
        role,
    ];
    let output = data.run(&arguments);
    assert!(output.status.success(), "{output:?}");
    user
}

/// Posts as one of the box's own pages would.
#[track_caller]
fn send(visitor: &Visitor, path: &str, body: &str) -> Response {
    visitor
        .request(Method::POST, path)
        .header("origin", &visitor.origin)
        .header("sec-fetch-site", "same-origin")
        .header("content-type", "application/json")
        .body(body.to_owned())
        .send()
        .unwrap()
}

fn signup() -> Value {
    json!({"type": "signup", "visitorId": "v-1", "email": "jane@example.com", "path": "/api/signup",
           "props": {"plan": "pro"}})
}

// TAKEN -------------------------------------------------------------------------------------

#[test]
fn the_contracts_example_is_on_disk_when_answered() {
    let desk = Desk::new();
    let ids = desk.accept(&json!([signup()]));
    assert_eq!(desk.data.rows("event"), 1);
    let column = |name: &str| desk.column(&ids[0], name);
    let is = |name: &str, value: &str| assert_eq!(column(name).as_deref(), Some(value), "{name}");
    is("kind", "track");
    is("name", "signup");
    is("visitor_id", "v-1");
    is("email", "jane@example.com");
    is("properties", r#"{"plan":"pro"}"#);
    is("verification", "session");
    is("channel", "Direct");
    is(
        "context",
        &format!(
            r#"{{"page":{{"path":"/api/signup"}},"session":{{"userId":"{}"}}}}"#,
            desk.user
        ),
    );
    // Recording on behalf of a visitor does not make the visitor the admin.
    assert_eq!(column("user_id"), None);
}

#[test]
fn every_field_is_taken() {
    let desk = Desk::new();
    let ids = desk.accept(&json!([
        {"type": "trial_start", "visitorId": "v", "referrer": "https://www.google.com/",
         "timestamp": "2024-01-01T14:00:00+02:00", "messageId": "m-1", "unknown": [1]},
        {"type": "invited", "visitorId": "v", "referrer": "https://www.google.com/",
         "utm": {"source": "fb", "medium": "cpc", "campaign": "spring", "term": "t", "content": "c"}},
        {"type": "pageview", "path": "/?utm_source=chatgpt.com"},
        {"type": "page", "userId": desk.user, "visitorId": null, "email": null},
        {"type": "identify", "email": "jane@example.com"},
        {"type": "plain", "visitorId": "v", "props": null, "utm": null, "path": null, "timestamp": null},
    ]));
    let rows: Vec<_> = ids
        .iter()
        .map(|id| ["kind", "name", "channel", "user_id"].map(|column| desk.column(id, column)))
        .collect();
    let row = |kind: &str, name: &str, channel: Option<&str>, user: Option<&str>| {
        [Some(kind), Some(name), channel, user].map(|text| text.map(str::to_owned))
    };
    let user = Some(desk.user.as_str());
    assert_eq!(
        rows,
        [
            row("track", "trial_start", Some("Organic Search"), None),
            row("track", "invited", Some("Paid Social"), None),
            row("page", "page", Some("AI Assistants"), user),
            row("page", "page", None, user),
            row("identify", "identify", None, None),
            row("track", "plain", None, None),
        ]
    );
    let session = format!(r#""session":{{"userId":"{}"}}"#, desk.user);
    assert_eq!(
        desk.column(&ids[1], "context").unwrap(),
        format!(
            r#"{{"page":{{"referrer":"https://www.google.com/"}},"campaign":{{"name":"spring","source":"fb","medium":"cpc","term":"t","content":"c"}},{session}}}"#
        )
    );
    assert_eq!(
        desk.column(&ids[5], "context").unwrap(),
        format!("{{{session}}}")
    );
    assert_eq!(
        desk.column(&ids[0], "occurred_at_ms").as_deref(),
        Some("1704110400000")
    );
    assert_eq!(desk.column(&ids[5], "properties"), None);
}

#[test]
fn props_are_kept_to_the_byte_up_to_their_limit() {
    let desk = Desk::new();
    let props = r#"{ "b":1.50,"a":9007199254740993,"\u0000":"\u00e9" }"#;
    let body = format!(
        r#"{{"siteId":"{}","events":[{{"type":"x","visitorId":"v","props":{props}}}]}}"#,
        desk.site
    );
    let response = send(&desk.ann, &desk.path(), &body);
    assert_eq!(response.status(), 200);
    let sql = format!("SELECT count(*) FROM event WHERE properties = '{props}'");
    assert_eq!(desk.data.number(&sql), 1);
    let sized = |bytes: usize| json!([{"type": "x", "visitorId": "v", "props": {"a": "x".repeat(bytes - r#"{"a":""}"#.len())}}]);
    desk.accept(&sized(8_192));
    let problem = desk.refuse(&sized(8_193));
    assert_eq!(problem.errors, ["/events/0/props props_too_large"]);
}

#[test]
fn the_same_message_is_stored_once_and_another_one_under_its_id_refuses_all() {
    let desk = Desk::new();
    let event = |name: &str, key: &str| json!({"type": name, "visitorId": "v", "messageId": key});
    let first = desk.accept(&json!([event("a", "m-1"), event("b", "m-2")]));
    let again = desk.accept(&json!([
        event("c", "m-3"),
        event("a", "m-1"),
        event("c", "m-3")
    ]));
    assert_eq!(again[1], first[0]);
    assert_eq!(again[2], again[0]);
    assert_eq!(desk.data.rows("event"), 3);

    let problem = desk.refuse(&json!([event("new", "m-4"), event("other", "m-2")]));
    assert_eq!(
        (problem.status, problem.code.as_str()),
        (409, "idempotency_conflict")
    );
    assert_eq!(problem.errors, ["/events/1/messageId idempotency_conflict"]);
    assert!(problem.detail.contains(&first[1]), "{}", problem.detail);
    let problem = desk.refuse(&json!([event("new", "m-5"), event("other", "m-5")]));
    assert_eq!(
        (problem.status, problem.code.as_str()),
        (409, "idempotency_conflict")
    );
    assert_eq!(
        desk.data.rows("event"),
        3,
        "a refused request stored something"
    );
    // The ids of what was refused are free.
    desk.accept(&json!([event("later", "m-4"), event("later", "m-5")]));
}

// REFUSED -----------------------------------------------------------------------------------

#[test]
fn every_wrong_field_is_named_with_its_event_and_nothing_is_stored() {
    let desk = Desk::new();
    let good = signup();
    for (wrong, expected) in [
        (json!(7), "/events/1 wrong_type"),
        (json!({}), "/events/1/type required"),
        (json!({"type": null}), "/events/1/type required"),
        (json!({"type": ""}), "/events/1/type required"),
        (json!({"type": 7}), "/events/1/type wrong_type"),
        (json!({"type": "n".repeat(201)}), "/events/1/type too_long"),
        (json!({"type": "system.x"}), "/events/1/type reserved_name"),
        (
            json!({"type": "a\u{7}"}),
            "/events/1/type control_character",
        ),
        (
            json!({"type": "a", "visitorId": 7}),
            "/events/1/visitorId wrong_type",
        ),
        (
            json!({"type": "a", "visitorId": ""}),
            "/events/1/visitorId required",
        ),
        (
            json!({"type": "a", "email": ["x"]}),
            "/events/1/email wrong_type",
        ),
        (
            json!({"type": "a", "email": "e".repeat(513)}),
            "/events/1/email too_long",
        ),
        (
            json!({"type": "a", "userId": "user_1"}),
            "/events/1/userId foreign_user_id",
        ),
        (
            json!({"type": "a", "userId": 7}),
            "/events/1/userId wrong_type",
        ),
        (json!({"type": "a", "path": 7}), "/events/1/path wrong_type"),
        (
            json!({"type": "a", "referrer": {}}),
            "/events/1/referrer wrong_type",
        ),
        (
            json!({"type": "a", "utm": "fb"}),
            "/events/1/utm wrong_type",
        ),
        (
            json!({"type": "a", "utm": {"medium": 7}}),
            "/events/1/utm/medium wrong_type",
        ),
        (
            json!({"type": "a", "props": []}),
            "/events/1/props wrong_type",
        ),
        (
            json!({"type": "a", "timestamp": "2024-01-01"}),
            "/events/1/timestamp invalid_timestamp",
        ),
        (
            json!({"type": "a", "timestamp": 7}),
            "/events/1/timestamp wrong_type",
        ),
        (
            json!({"type": "a", "messageId": 7}),
            "/events/1/messageId wrong_type",
        ),
        (
            json!({"type": "a", "messageId": "m".repeat(256)}),
            "/events/1/messageId too_long",
        ),
    ] {
        let problem = desk.refuse(&json!([good, wrong, good]));
        assert_eq!(problem.status, 422, "{wrong}");
        assert_eq!(problem.errors, [expected], "{wrong}");
    }
    let problem = desk.refuse(&json!([{}, good, {"type": "a", "userId": "other", "props": 1}]));
    assert_eq!(
        problem.errors,
        [
            "/events/0/type required",
            "/events/2/props wrong_type",
            "/events/2/userId foreign_user_id"
        ]
    );
    assert_eq!(desk.data.rows("event"), 0, "a refused event was stored");
    desk.accept(&json!([good]));
}

#[test]
fn every_wrong_body_is_refused() {
    let desk = Desk::new();
    let post = |body: &str| Problem::read(send(&desk.ann, &desk.path(), body));
    let site = &desk.site;
    let many = json!({"siteId": site, "events": vec![signup(); 51]}).to_string();
    let twice = format!(r#"{{"siteId":"{site}","events":[{{"type":"a","type":"b"}}]}}"#);
    for (body, status, code, errors) in [
        ("[]", 422, "wrong_type", vec![" wrong_type"]),
        ("{", 400, "invalid_json", vec![]),
        ("", 400, "invalid_json", vec![]),
        (
            "{}",
            422,
            "required",
            vec!["/events required", "/siteId required"],
        ),
        (
            r#"{"siteId":7,"events":{}}"#,
            422,
            "wrong_type",
            vec!["/events wrong_type", "/siteId wrong_type"],
        ),
        (
            r#"{"siteId":"x","events":[]}"#,
            422,
            "required",
            vec!["/events required"],
        ),
        (
            &many,
            422,
            "too_many_events",
            vec!["/events too_many_events"],
        ),
        (
            &twice,
            422,
            "duplicate_field",
            vec!["/events/0 duplicate_field"],
        ),
        ("{\"siteId\":\"\\ud800\"}", 400, "lone_surrogate", vec![]),
    ] {
        let problem = post(body);
        assert_eq!(
            (problem.status, problem.code.as_str()),
            (status, code),
            "{body}"
        );
        assert_eq!(problem.errors, errors, "{body}");
    }
    let fifty = json!(vec![signup(); 50]);
    assert_eq!(desk.accept(&fifty).len(), 50);
    assert_eq!(desk.data.rows("event"), 50);
}

#[test]
fn only_the_boxs_own_pages_may_post_and_only_json() {
    let desk = Desk::new();
    let body = json!({"siteId": desk.site, "events": [signup()]}).to_string();
    let origin = desk.ann.origin.as_str();
    let post = |headers: &[(&str, &str)]| {
        let mut request = desk
            .ann
            .request(Method::POST, &desk.path())
            .body(body.clone());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().unwrap()
    };
    let json = ("content-type", "application/json");
    for headers in [
        vec![json],
        vec![json, ("origin", "https://evil.example")],
        vec![json, ("origin", "null")],
        vec![json, ("origin", origin), ("sec-fetch-site", "cross-site")],
        vec![json, ("origin", origin), ("sec-fetch-site", "same-site")],
        vec![json, ("sec-fetch-site", "same-origin")],
    ] {
        let problem = Problem::read(post(&headers));
        assert_eq!(
            (problem.status, problem.code.as_str()),
            (403, "foreign_request"),
            "{headers:?}"
        );
    }
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
    ] {
        let problem = Problem::read(post(&[("content-type", kind), ("origin", origin)]));
        assert_eq!(
            (problem.status, problem.code.as_str()),
            (415, "unsupported_media_type"),
            "{kind}"
        );
    }
    let problem = Problem::read(post(&[("origin", origin)]));
    assert_eq!(problem.status, 415);
    assert_eq!(
        desk.data.rows("event"),
        0,
        "a refused request stored something"
    );
    let kind = ("content-type", "application/json; charset=utf-8");
    assert_eq!(post(&[kind, ("origin", origin)]).status(), 200);
    let response = desk.ann.request(Method::GET, &desk.path()).send().unwrap();
    assert_eq!(response.headers()["allow"], "POST");
    assert_eq!(Problem::read(response).status, 405);
}

#[test]
fn only_a_session_lets_in_and_never_a_key() {
    let desk = Desk::new();
    let body = json!({"siteId": desk.site, "events": [signup()]}).to_string();
    let nobody = Visitor::new(&desk.server);
    let problem = Problem::read(send(&nobody, &desk.path(), &body));
    assert_eq!(
        (problem.status, problem.code.as_str()),
        (401, "not_signed_in")
    );
    let response = nobody
        .request(Method::POST, &desk.path())
        .header("origin", &nobody.origin)
        .header("content-type", "application/json")
        .header("x-api-key", &desk.tenant.key)
        .bearer_auth(&desk.tenant.key)
        .body(body.clone())
        .send()
        .unwrap();
    assert_eq!(Problem::read(response).status, 401);
    let problem = Problem::read(send(&desk.ann, ENDPOINT, &body));
    assert_eq!(problem.errors, ["/workspaceId required"]);
    desk.ann.submit("/logout", &[]);
    assert_eq!(
        Problem::read(send(&desk.ann, &desk.path(), &body)).status,
        401
    );
    assert_eq!(desk.data.rows("event"), 0);
}

#[test]
fn what_is_another_workspaces_is_as_if_it_were_not_there() {
    let desk = Desk::new();
    let theirs = desk.data.tenant("Theirs");
    let their_site = desk.data.source(&theirs.id, "Theirs");
    member(&desk.data, &theirs, "bob@example.com", "owner");
    member(&desk.data, &desk.tenant, "vic@example.com", "viewer");
    let body = |site: &str| json!({"siteId": site, "events": [signup()]}).to_string();
    let answer = |visitor: &Visitor, workspace: &str, site: &str| {
        let path = format!("{ENDPOINT}?workspaceId={workspace}");
        let response = send(visitor, &path, &body(site));
        (response.status().as_u16(), response.text().unwrap())
    };
    let unknown_site = answer(&desk.ann, &desk.tenant.id, "src_0000000000001");
    assert_eq!(unknown_site.0, 404);
    for site in [
        their_site.as_str(),
        "src_",
        "site_456",
        "",
        "ws_0000000000001",
    ] {
        assert_eq!(
            answer(&desk.ann, &desk.tenant.id, site),
            unknown_site,
            "{site}"
        );
    }
    let unknown = answer(&desk.ann, "ws_0000000000001", &desk.site);
    assert_eq!(unknown.0, 404);
    assert_eq!(answer(&desk.ann, &theirs.id, &their_site), unknown);
    assert_eq!(answer(&desk.ann, "", &desk.site), unknown);
    // A viewer hears what a stranger hears, and so does who is no member any more.
    let vic = Visitor::signed_in(&desk.server, "vic@example.com");
    assert_eq!(answer(&vic, &desk.tenant.id, &desk.site), unknown);
    assert_eq!(answer(&desk.ann, &desk.tenant.id, &desk.site).0, 200);
    let file = desk.data.lock_file();
    file.execute_batch(
        "DELETE FROM member WHERE user_id = (SELECT id FROM user WHERE email = 'ann@example.com'); COMMIT",
    )
    .unwrap();
    assert_eq!(answer(&desk.ann, &desk.tenant.id, &desk.site), unknown);
    assert_eq!(desk.data.rows("event"), 1);
}

#[test]
fn a_person_has_an_hourly_share_of_events() {
    let desk = Desk::new();
    let limits = |response: &Response| {
        ["limit", "remaining", "reset"].map(|name| {
            let value = &response.headers()[format!("x-ratelimit-{name}")];
            value.to_str().unwrap().parse::<i64>().unwrap()
        })
    };
    let now_s = || pillarbox::time::now_ms() / 1_000;
    let fifty = json!(vec![signup(); 50]);
    let first = desk.post(&json!([signup()]));
    let [limit, remaining, reset] = limits(&first);
    assert_eq!((limit, remaining), (600, 599));
    assert!((now_s()..=now_s() + 7).contains(&reset), "{reset}");
    // What is refused costs nothing.
    let refused = desk.post(&json!([{}]));
    assert_eq!(refused.status(), 422);
    assert_eq!(limits(&refused)[1], 599);
    // However slow this goes, it goes faster than a bucket fills.
    let mut taken = 1;
    let response = loop {
        let response = desk.post(&fifty);
        if response.status() != 200 {
            break response;
        }
        taken += 50;
        assert!(taken <= 650, "it does not end");
    };
    let [limit, remaining, reset] = limits(&response);
    assert_eq!(limit, 600);
    assert!((0..50).contains(&remaining), "{remaining}");
    assert!(reset > now_s() + 3_000, "{reset}");
    let retry_after = response.headers()["retry-after"].to_str().unwrap();
    let retry_after: i64 = retry_after.parse().unwrap();
    assert!(
        (1..=(50 - remaining) * 6).contains(&retry_after),
        "{retry_after}"
    );
    let problem = Problem::read(response);
    assert_eq!(
        (problem.status, problem.code.as_str()),
        (429, "too_many_events")
    );
    assert!(taken >= 551, "only {taken} were taken");
    assert_eq!(desk.data.rows("event"), taken);
    // The share is a person's own.
    member(&desk.data, &desk.tenant, "bob@example.com", "admin");
    let bob = Visitor::signed_in(&desk.server, "bob@example.com");
    let body = json!({"siteId": desk.site, "events": fifty}).to_string();
    assert_eq!(send(&bob, &desk.path(), &body).status(), 200);
}
