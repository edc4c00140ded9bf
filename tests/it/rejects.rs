//! ARRIVE and BE LOOKED AT: what was refused is kept, bounded, without its secrets, and shown to the
//! members of the workspace whose key was used, and to nobody else.

use crate::support::data::text;
use crate::support::page::Page;
use crate::support::server::track_body;
use crate::support::{Data, Server, Tenant, Visitor, wait_for_value, wait_until};
use serde_json::{Value, json};

/// So many refused requests of a workspace are kept.
const KEPT: i64 = 1_000;
/// And so many of those without a key.
const KEPT_WITHOUT_KEY: i64 = 200;
const PAGE_ROWS: usize = 50;
const SITE: &str = "https://shop.example.com";

struct Box {
    data: Data,
    tenant: Tenant,
    server: Server,
}

impl Box {
    #[track_caller]
    fn new() -> Self {
        let data = Data::new();
        let tenant = data.tenant("Acme");
        data.member(&tenant.id, "ann@example.com", "viewer");
        let server = data.serve();
        Self {
            data,
            tenant,
            server,
        }
    }

    #[track_caller]
    fn ann(&self) -> Visitor {
        Visitor::signed_in(&self.server, "ann@example.com")
    }

    fn list(&self) -> String {
        format!("/w/{}/rejects", self.tenant.slug)
    }

    #[track_caller]
    fn refuse(&self, body: impl Into<Vec<u8>>, status: u16) -> Value {
        let (found, answer) = self.server.post_native(&self.tenant.key, body);
        assert_eq!(found, status, "{answer}");
        answer
    }

    #[track_caller]
    fn wait_for_rows(&self, rows: i64) {
        wait_for_value("rejects in the file", &rows, || self.data.rows("reject"));
    }

    /// The page of the newest refused request.
    #[track_caller]
    fn newest(&self, ann: &Visitor) -> Page {
        let list = ann.see(&self.list());
        let prefix = format!("{}/rej_", self.list());
        let link = list
            .links()
            .into_iter()
            .find(|link| link.starts_with(&prefix))
            .unwrap_or_else(|| panic!("no reject on {}", list.text()));
        ann.see(&link)
    }
}

#[test]
fn a_refused_request_is_shown_with_its_reason_its_body_and_a_command() {
    let the = Box::new();
    let ann = the.ann();
    let page = ann.see(&the.list());
    assert!(
        page.text().contains("Nothing was refused"),
        "{}",
        page.text()
    );

    let body = r#"{"userId":"u","event":"It's <b>here</b>","timestamp":"yesterday"}"#;
    let answer = the.refuse(body, 422);
    the.wait_for_rows(1);
    let page = ann.see(&the.list());
    let shown = page.text();
    for wanted in [
        "invalid_timestamp",
        text(&answer, "detail").as_str(),
        "/api/v1/events",
        "422",
        &the.tenant.key[..10],
    ] {
        assert!(shown.contains(wanted), "no {wanted} in {shown}");
    }
    assert!(page.exact_text().contains(body), "{}", page.exact_text());
    assert!(!page.html.contains("<b>here"), "the body is not escaped");

    let page = the.newest(&ann);
    let shown = page.exact_text();
    assert!(shown.contains(body), "{shown}");
    assert!(shown.contains("/timestamp"), "{shown}");
    let command = format!(
        "curl -sS '{}/api/v1/events' \\\n  -H 'x-api-key: {}…'",
        the.server.url,
        &the.tenant.key[..10]
    );
    assert!(shown.contains(&command), "{shown}");
    assert!(
        shown.contains(r"It'\''s <b>here"),
        "the quote is not escaped: {shown}"
    );
    assert_eq!(the.data.rows("event"), 0);
}

#[test]
fn the_command_sends_the_mended_body() {
    let the = Box::new();
    the.refuse(
        r#"{"userId":"it's","event":"A","timestamp":"yesterday"}"#,
        422,
    );
    the.wait_for_rows(1);
    let page = the.newest(&the.ann());
    let copied = page
        .tags("button")
        .iter()
        .filter_map(|tag| crate::support::page::attribute(tag, "data-copy"))
        .find(|text| text.starts_with("curl"))
        .unwrap();
    let mended = copied
        .replace("yesterday", "2026-01-01T00:00:00Z")
        .replace(&format!("{}…", &the.tenant.key[..10]), &the.tenant.key);
    let output = std::process::Command::new("sh")
        .args(["-c", &mended])
        .env("no_proxy", "*")
        .output()
        .unwrap();
    let answer = String::from_utf8_lossy(&output.stdout);
    assert!(answer.contains("created"), "{mended}\n{answer}\n{output:?}");
    assert_eq!(
        the.data
            .number("SELECT count(*) FROM event WHERE user_id = 'it''s'"),
        1
    );
}

#[test]
fn the_byte_where_reading_ended_is_marked() {
    let the = Box::new();
    let ann = the.ann();
    let filler = "x".repeat(20_000);
    let body = format!(r#"{{"event":"{filler}","userId" "u"}}"#);
    the.refuse(body.clone(), 400);
    the.wait_for_rows(1);
    let offset = body.find(r#""u""#).unwrap();
    let found = the.data.number("SELECT error_offset FROM reject");
    assert_eq!(usize::try_from(found), Ok(offset));
    let page = the.newest(&ann);
    assert!(page.text().contains("At byte 20,0"), "{}", page.text());
    let marked = r#"&#34;userId&#34; <mark title="Reading ended here">&#34;</mark>u&#34;}"#;
    assert!(page.html.contains(marked), "{}", page.text());
    let kept = the.data.number("SELECT length(snippet) FROM reject");
    assert!(kept <= 4_096, "{kept} bytes of snippet");

    // Not even text.
    the.refuse(b"{\"userId\":\"\xff\xfe\"}".to_vec(), 400);
    the.wait_for_rows(2);
    let page = the.newest(&ann);
    assert!(page.text().contains("invalid_utf8"), "{}", page.text());
    assert!(
        page.html
            .contains("<mark title=\"Reading ended here\">\u{FFFD}</mark>")
    );

    // A body that breaks off is marked at its last byte, and no body has none.
    the.refuse(r#"{"userId":"#, 400);
    the.wait_for_rows(3);
    assert!(
        the.newest(&ann)
            .html
            .contains("<mark title=\"Reading ended here\">:</mark>")
    );
    the.refuse("", 400);
    the.wait_for_rows(4);
    assert!(
        the.newest(&ann)
            .text()
            .contains("Nothing of the body is kept")
    );
}

#[test]
fn secrets_are_not_kept() {
    let the = Box::new();
    let body = json!({
        "userId": "u", "event": "A", "password": "canary-1",
        "properties": {"api_key": "canary-2", "nested": [{"clientSecret": {"deep": "canary-3"}}]},
        "context": {"headers": {"Authorization": "Bearer canary-4"}}, "note": the.tenant.key,
    });
    the.refuse(body.to_string(), 422);
    let jimo = r#"{"authHash":"canary-5","userId":7,"type":"track"#;
    assert_eq!(the.server.post(&the.tenant.key, jimo).status(), 400);
    the.wait_for_rows(2);
    let mut kept = Vec::new();
    for entry in std::fs::read_dir(the.data.path()).unwrap() {
        kept.extend(std::fs::read(entry.unwrap().path()).unwrap());
    }
    let kept = String::from_utf8_lossy(&kept);
    assert!(!kept.contains("canary-"), "a secret is in the file");
    assert!(!kept.contains(&the.tenant.key), "the key is in the file");
    let page = the.newest(&the.ann());
    assert!(page.exact_text().contains(r#""authHash":"***","userId":7"#));
}

#[test]
fn no_part_of_a_refused_request_keeps_a_secret() {
    let mut the = Box::new();
    let key = the.tenant.key.clone();
    let body = json!({
        "privateKey": "canary-1", "secret key": "canary-2", "cookie": ["canary-3"], "userId": 7, "event": "A",
        "headers": ["Authorization", "Bearer canary-4"], "keyboard": "qwerty", "sessions": 12,
        "fields": [{"name": "password", "value": "canary-5"}], "at": "https://ann:canary-6@example.com/x",
        "jwt inside": "a-eyJhbGciOiJIUzI1NiJ9.eyJjYW5hcnktNyI6MX0.canary-7",
    });
    the.refuse(body.to_string(), 422);
    the.wait_for_rows(1);
    let shown = the.newest(&the.ann()).exact_text();
    for wanted in [
        r#""keyboard":"qwerty""#,
        r#""sessions":12"#,
        r#""userId":7"#,
        "@example.com/x",
    ] {
        assert!(shown.contains(wanted), "no {wanted} in {shown}");
    }
    // A whole key as a member's name, in a form, and as a trait's.
    the.refuse(
        json!({"event": "A", "userId": "u", (key.as_str()): 1}).to_string(),
        422,
    );
    the.refuse(format!("event=A&note=%22{key}%22&pwd=canary-8"), 400);
    let traits = json!({"userId": "u", "type": "identify", "timestamp": "2024-01-01T12:00:00Z",
        "traits": {(format!("x{key}")): {"a": {}}}});
    let answer = the.server.post(&key, traits.to_string());
    assert_eq!(answer.status(), 422);
    the.wait_for_rows(4);
    the.server.process.kill();
    let mut kept = Vec::new();
    for entry in std::fs::read_dir(the.data.path()).unwrap() {
        kept.extend(std::fs::read(entry.unwrap().path()).unwrap());
    }
    let kept = String::from_utf8_lossy(&kept);
    assert!(!kept.contains("canary-"), "a secret is in the file");
    assert!(!kept.contains(&key[4..]), "the key is in the file");
}

#[test]
fn a_batch_is_one_row_with_its_refused_events() {
    let the = Box::new();
    let good = json!({"event": "A", "userId": "u"});
    let bad = json!({"event": "A", "userId": 7});
    let batch = json!({"events": [good, bad, {"event": "B", "userId": "u", "timestamp": "x"}]});
    the.refuse(batch.to_string(), 200);
    the.wait_for_rows(1);
    let page = the.newest(&the.ann());
    let shown = page.text();
    for wanted in [
        "200",
        "/events/1/userId",
        "/events/2/timestamp",
        "wrong_type",
        "200, 2 of 3 events refused",
        "1 of those that were stored had neither",
    ] {
        assert!(shown.contains(wanted), "no {wanted} in {shown}");
    }
    // Of a long batch the first refused event is shown.
    let mut events = vec![json!({"event": "Filler", "userId": "u"}); 500];
    events[300] = json!({"event": "Needle", "userId": "u", "timestamp": "x"});
    the.refuse(json!({ "events": events }).to_string(), 200);
    the.wait_for_rows(2);
    let shown = the.newest(&the.ann()).exact_text();
    assert!(
        shown.contains("Needle") && !shown.contains(r#"{"events""#),
        "{shown}"
    );
    // A whole batch that is right leaves none.
    the.refuse(json!({"events": [good]}).to_string(), 200);
    the.refuse(json!({"events": [bad]}).to_string(), 422);
    the.wait_for_rows(3);
    assert_eq!(
        the.data
            .number("SELECT count(*) FROM reject WHERE status = 422 AND rejected = 1"),
        1
    );
}

#[test]
fn every_refusal_of_a_known_sender_is_kept_and_no_other() {
    let the = Box::new();
    let key = &the.tenant.key;
    let post = |body: &'static str| the.server.post(key, body).status().as_u16();
    assert_eq!(post("[]"), 422);
    assert_eq!(post("{"), 400);
    assert_eq!(the.server.post(key, vec![b' '; 70_000]).status(), 413);
    let unread = the
        .server
        .jimo(key)
        .header("content-encoding", "br")
        .body("{}");
    assert_eq!(unread.send().unwrap().status(), 415);
    let first = json!({"event": "A", "userId": "u", "messageId": "m"});
    the.refuse(first.to_string(), 200);
    let mut other = first;
    other["userId"] = json!("v");
    the.refuse(other.to_string(), 409);
    // Nobody knows whose these are.
    assert_eq!(the.server.post("pbk_unknown", "{").status(), 401);
    assert_eq!(the.server.post("", "{").status(), 401);
    // And this is none.
    the.server.accept(key, track_body("u", "A"));
    the.wait_for_rows(5);
    let mut codes = Vec::new();
    let connection = the.data.open();
    let mut statement = connection
        .prepare("SELECT endpoint || ' ' || status || ' ' || code FROM reject ORDER BY id")
        .unwrap();
    for row in statement
        .query_map([], |row| row.get::<_, String>(0))
        .unwrap()
    {
        codes.push(row.unwrap());
    }
    assert_eq!(
        codes,
        [
            "/sse/webhook 422 wrong_type",
            "/sse/webhook 400 invalid_json",
            "/sse/webhook 413 body_too_large",
            "/sse/webhook 415 unsupported_encoding",
            "/api/v1/events 409 idempotency_conflict",
        ]
    );
    let conflict = the.newest(&the.ann()).exact_text();
    assert!(conflict.contains(r#""messageId":"m""#), "{conflict}");
}

#[test]
fn lists_are_by_reason_and_page_by_page() {
    let the = Box::new();
    let ann = the.ann();
    for n in 0..PAGE_ROWS + 10 {
        the.refuse(
            format!(r#"{{"event":"Numbered","userId":"u","x{n:03}":1}}"#),
            422,
        );
        the.wait_for_rows(i64::try_from(n).unwrap() + 1);
    }
    the.refuse("{", 400);
    the.wait_for_rows(i64::try_from(PAGE_ROWS).unwrap() + 11);
    let first = ann.see(&the.list());
    assert!(
        first.text().contains("unknown_field 60"),
        "{}",
        first.text()
    );
    assert!(first.text().contains("invalid_json 1"), "{}", first.text());
    let numbers = |page: &Page| -> Vec<String> {
        page.exact_text()
            .split("\"x")
            .skip(1)
            .map(|rest| rest[..3].to_owned())
            .collect()
    };
    let wanted: Vec<_> = (0..PAGE_ROWS + 10)
        .rev()
        .map(|n| format!("{n:03}"))
        .collect();
    let by_code = format!("{}?code=unknown_field", the.list());
    let page = ann.see(&by_code);
    assert_eq!(numbers(&page), wanted[..PAGE_ROWS]);
    let older = page
        .links()
        .into_iter()
        .find(|link| link.contains("before="))
        .unwrap();
    assert!(older.contains("code=unknown_field"), "{older}");
    let last = ann.see(&older);
    assert_eq!(numbers(&last), wanted[PAGE_ROWS..]);
    let none = ann.see(&format!("{}?code=%3Cb%3E", the.list()));
    assert!(none.text().contains("Nothing matches"), "{}", none.text());
}

#[test]
fn rejects_are_their_workspaces_own() {
    let the = Box::new();
    let other = the.data.tenant("Other");
    the.data.member(&other.id, "eve@example.com", "owner");
    the.refuse("{", 400);
    the.wait_for_rows(1);
    let eve = Visitor::signed_in(&the.server, "eve@example.com");
    assert_eq!(eve.get(&the.list()).status, 404);
    let list = the.ann().see(&the.list());
    let id = list
        .links()
        .into_iter()
        .find_map(|link| link.rsplit_once("/rej_").map(|(_, id)| format!("rej_{id}")))
        .unwrap();
    assert_eq!(eve.get(&format!("{}/{id}", the.list())).status, 404);
    assert_eq!(
        eve.get(&format!("/w/{}/rejects/{id}", other.slug)).status,
        404
    );
    let own = eve.see(&format!("/w/{}/rejects", other.slug));
    assert!(own.text().contains("Nothing was refused"), "{}", own.text());
}

#[test]
fn a_flood_is_bounded_and_what_is_not_kept_is_counted() {
    let the = Box::new();
    let flood = 4 * 400;
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..400 {
                    assert_eq!(the.server.post(&the.tenant.key, "{").status(), 400);
                }
            });
        }
    });
    // Once what waited is written, there is room again; what comes before that may be lost as well.
    let ann = the.ann();
    let mut sent = flood;
    wait_until("another one to be kept", || {
        sent += 1;
        the.server.post(&the.tenant.key, r#"{"last""#);
        let list = ann.see(&the.list());
        list.exact_text().contains(r#"{"last""#).then_some(())
    });
    let settled = || {
        let written = the.data.rows("reject");
        let lost = the
            .data
            .number("SELECT coalesce(sum(rejects), 0) FROM reject_loss");
        (written == KEPT || written + lost == sent).then_some((written, lost))
    };
    let (written, lost) = wait_until("each to be kept or counted", settled);
    assert!(written <= KEPT, "{written} rows");
    if lost > 0 {
        let page = ann.see(&the.list());
        assert!(
            page.text().contains("came faster than they could be kept"),
            "{}",
            page.text()
        );
    }
}

#[test]
fn strangers_do_not_displace_what_came_with_a_key() {
    let data = Data::new();
    let tenant = data.tenant("Acme");
    let source = data.site(&tenant.id, &[SITE]);
    let server = data.serve();
    for n in 0..3 {
        assert_eq!(server.post(&tenant.key, "{").status(), 400, "{n}");
    }
    wait_for_value("rejects in the file", &3, || data.rows("reject"));
    let body = json!({"source": source.id, "events": []}).to_string();
    let with_key = "SELECT count(*) FROM reject WHERE key_id IS NOT NULL";
    let without_key = "SELECT count(*) FROM reject WHERE key_id IS NULL";
    let posted = std::cell::Cell::new(0);
    wait_until("strangers to fill their ring", || {
        for _ in 0..300 {
            let stranger = server.http.post(server.at("/collect"));
            let stranger = stranger.header("origin", "https://evil.example.com");
            assert_eq!(stranger.body(body.clone()).send().unwrap().status(), 403);
        }
        posted.set(posted.get() + 300);
        let all =
            "SELECT count(*) + coalesce((SELECT sum(rejects) FROM reject_loss), 0) FROM reject";
        (posted.get() > 1_000 && data.number(all) >= KEPT_WITHOUT_KEY).then_some(())
    });
    wait_for_value("rejects without a key", &KEPT_WITHOUT_KEY, || {
        data.number(without_key)
    });
    assert_eq!(data.number(with_key), 3);
    // And in the memory they take no place of those with one.
    assert_eq!(server.post(&tenant.key, "{").status(), 400);
    wait_for_value("rejects with a key", &4, || data.number(with_key));
}

/// The command that the newest refused request's page shows.
fn command(page: &Page) -> Option<String> {
    page.tags("button")
        .iter()
        .filter_map(|tag| crate::support::page::attribute(tag, "data-copy"))
        .find(|text| text.starts_with("curl"))
}

#[test]
fn each_dialect_has_the_command_that_it_needs() {
    let data = Data::new();
    let tenant = data.tenant("Acme");
    data.member(&tenant.id, "ann@example.com", "viewer");
    let source = data.site(&tenant.id, &[SITE]);
    let server = data.serve();
    let the = Box {
        data,
        tenant,
        server,
    };
    let ann = the.ann();
    let (key, http) = (&the.tenant.key, &the.server.http);
    let prefix = format!("{}…", &key[..10]);
    let at = |path: &str| http.post(the.server.at(path));
    let track = r#"{"userId":7,"event":"A"}"#;
    let nameless = r#"{"userId":"u"}"#;
    let cases = [
        (
            at("/v1/api/events/new")
                .header("x-ck-api-key", key)
                .header("x-ck-app", &source.id)
                .body("{"),
            400,
            vec![
                format!("-H 'x-ck-api-key: {prefix}'"),
                format!("-H 'x-ck-app: {}'", source.id),
            ],
        ),
        (
            the.server
                .native(key)
                .header("content-type", "application/x-ndjson")
                .header("idempotency-key", "import 7")
                .body("{}\n{"),
            422,
            vec![
                "-H 'content-type: application/x-ndjson'".to_owned(),
                "-H 'idempotency-key: import 7'".to_owned(),
            ],
        ),
        (
            the.server
                .native(key)
                .header("idempotency-key", key)
                .body(track),
            422,
            vec![
                "-H 'idempotency-key: ***'".to_owned(),
                "masked as ***".to_owned(),
            ],
        ),
        (
            at("/v1/track").basic_auth(key, Some("")).body(nameless),
            400,
            vec![format!("-u '{prefix}:'"), "400, refused".to_owned()],
        ),
        (
            at("/v1/track")
                .basic_auth(&source.id, Some(""))
                .body(nameless),
            400,
            vec![format!("-u '{}:'", source.id)],
        ),
        (
            at("/collect").body(format!(r#"{{"source":"{}","events":[]}}"#, source.id)),
            422,
            vec![format!(r#"'{{"source":"{}","events":[]}}'"#, source.id)],
        ),
    ];
    let mut rows = 0;
    for (request, status, wanted) in cases {
        let response = request.send().unwrap();
        assert_eq!(response.status(), status, "{wanted:?}");
        rows += 1;
        the.wait_for_rows(rows);
        let found = the
            .data
            .number("SELECT status FROM reject ORDER BY id DESC LIMIT 1");
        assert_eq!(found, i64::from(status), "{wanted:?}");
        let page = the.newest(&ann);
        let shown = page.exact_text();
        assert!(command(&page).is_some(), "{shown}");
        for part in wanted {
            assert!(
                shown.contains(&part) || page.text().contains(&part),
                "no {part} in {shown}"
            );
        }
    }
}

#[test]
fn what_was_refused_just_before_the_end_is_kept() {
    let mut the = Box::new();
    the.refuse("{", 400);
    assert!(the.server.terminate().success());
    assert_eq!(the.data.rows("reject"), 1);
}

#[test]
fn refused_requests_go_with_the_events_of_their_time() {
    let mut the = Box::new();
    the.refuse("{", 400);
    the.refuse("[", 400);
    the.wait_for_rows(2);
    the.server.process.kill();
    let connection = rusqlite::Connection::open(the.data.file()).unwrap();
    let days_91 = (91 * 86_400_000_i64) << 22;
    let older = "UPDATE reject SET id = id - ?1 WHERE id = (SELECT min(id) FROM reject)";
    connection.execute(older, [days_91]).unwrap();
    drop(connection);
    the.server = the.data.serve();
    the.wait_for_rows(1);
}
