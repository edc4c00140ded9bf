//! BE LOOKED AT: who gets in, who may do what, who may not even know that something exists, and
//! what the pages say of events, profiles, webhooks and deliveries, however hostile their names.

use crate::support::data::{PASSWORD, text};
use crate::support::page::{Form, Page};
use crate::support::server::track_body;
use crate::support::{
    Answer, Data, Options, Receiver, Server, Tenant, Visitor, wait_for_value, wait_until,
};
use reqwest::Method;
use std::collections::BTreeSet;

/// The policy of every page, to the letter (promises.md, "Access").
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// A path and the fields to post to it.
type Change = (String, Vec<(&'static str, &'static str)>);

/// A box with one tenant, its owner Ann, and a webhook that goes nowhere.
struct Box {
    data: Data,
    tenant: Tenant,
    webhook: String,
    source: String,
    server: Server,
}

impl Box {
    #[track_caller]
    fn new() -> Self {
        let data = Data::new();
        let tenant = data.tenant("Acme");
        data.member(&tenant.id, "ann@example.com", "owner");
        let webhook = data.webhook(&tenant.id, "Orders", "http://127.0.0.1:1/", &["order.*"]);
        let source = data.source(&tenant.id, "Shop");
        let server = data.serve();
        Self {
            data,
            tenant,
            webhook: webhook.id,
            source,
            server,
        }
    }

    #[track_caller]
    fn ann(&self) -> Visitor {
        Visitor::signed_in(&self.server, "ann@example.com")
    }

    fn path(&self, rest: &str) -> String {
        format!("/w/{}/{rest}", self.tenant.slug)
    }

    /// The numbers of events named "Numbered 007", as a list shows them from its first page to its last.
    #[track_caller]
    fn numbers_page_by_page(&self, list: &str) -> Vec<String> {
        let ann = self.ann();
        let mut seen = Vec::new();
        let mut next = Some(self.path(list));
        let mut visited = BTreeSet::new();
        while let Some(path) = next.take() {
            assert!(visited.len() < 20, "it does not end: {visited:?}");
            let page = ann.see(&path);
            visited.insert(path);
            let text = page.text();
            let mut words = text.split_whitespace().peekable();
            while let Some(word) = words.next() {
                if let Some(number) = words.peek().filter(|_| word == "Numbered") {
                    seen.push((*number).to_owned());
                }
            }
            next = page
                .links()
                .into_iter()
                .map(|link| {
                    if link.starts_with('?') {
                        self.path(list) + &link
                    } else {
                        link
                    }
                })
                .find(|link| link.contains("before=") && !visited.contains(link));
        }
        seen
    }

    /// What every change leaves a row or another number in.
    fn changes(&self) -> Vec<i64> {
        [
            "audit",
            "webhook",
            "api_key",
            "source",
            "workspace",
            "user",
            "member",
            "attempt",
            "declared_event_type",
        ]
        .map(|table| self.data.rows(table))
        .into()
    }

    /// Puts what no request makes at once into the file: an event with a held delivery, a replay that runs
    /// and one that does not.
    fn add_past(&self) {
        let connection = rusqlite::Connection::open(self.data.file()).unwrap();
        connection.busy_timeout(crate::support::DEADLINE).unwrap();
        connection
            .execute_batch(&format!(
                "CREATE TEMP TABLE acme AS SELECT id FROM workspace WHERE slug = '{}';
                 CREATE TEMP TABLE hook AS SELECT id FROM webhook WHERE workspace_id = (SELECT id FROM acme) LIMIT 1;
                 INSERT OR IGNORE INTO event (id, workspace_id, kind, name, replace_traits, occurred_at_ms, received_at_ms, verification)
                    SELECT {PAST}, id, 'track', 'order.past', 0, 0, 0, 'server' FROM acme;
                 INSERT OR IGNORE INTO message (id, workspace_id, event_id, type, body)
                    SELECT {PAST} + 1, id, {PAST}, 'order.past', x'7b7d' FROM acme;
                 INSERT OR IGNORE INTO delivery (id, workspace_id, webhook_id, message_id, event_id, state, attempts, automatic_attempts)
                    SELECT {PAST} + 2, acme.id, hook.id, {PAST} + 1, {PAST}, 'held', 0, 0 FROM acme, hook;
                 INSERT OR IGNORE INTO replay (id, workspace_id, state, is_chosen, after_id, before_id, estimate, is_more, rate,
                    cursor_delivery_id, sent, succeeded, failed, skipped, created_at_ms)
                    SELECT {PAST} + n, id, iif(n = 3, 'running', 'ready'), 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0
                    FROM acme, (SELECT 3 AS n UNION SELECT 4);",
                self.tenant.slug
            ))
            .unwrap();
    }

    /// What is done with the past: first, what needs it as it is.
    fn routes_of_the_past(&self) -> Vec<Change> {
        let webhook = format!("webhooks/{}", self.webhook);
        let routes = vec![
            (format!("deliveries/{}/cancel", past_delivery()), vec![]),
            (
                "replays".to_owned(),
                vec![("state", "failed"), ("rate", "5")],
            ),
            (format!("replays/{}/pause", past_replay(3)), vec![]),
            (
                format!("replays/{}/start", past_replay(3)),
                vec![("rate", "7")],
            ),
            (format!("replays/{}/cancel", past_replay(4)), vec![]),
            (format!("{webhook}/replay"), vec![("since", "24h")]),
            (format!("{webhook}/test"), vec![("what", "webhook.test")]),
        ];
        routes
            .into_iter()
            .map(|(path, fields)| (self.path(&path), fields))
            .collect()
    }

    /// The routes that change something, with fields that are right but for the csrf token.
    fn unsafe_routes(&self, delivery: &str) -> Vec<Change> {
        self.add_past();
        let mut routes = self.routes_of_the_past();
        routes.extend(self.other_unsafe_routes(delivery));
        routes
    }

    fn other_unsafe_routes(&self, delivery: &str) -> Vec<Change> {
        let webhook = format!("webhooks/{}", self.webhook);
        let source = format!("sources/{}", self.source);
        vec![
            (
                self.path("deliveries"),
                vec![("do", "retry"), ("delivery", PAST_DELIVERY)],
            ),
            (
                self.path(&format!("events/{}/resend", past_event())),
                vec![("webhook", self.webhook.clone().leak())],
            ),
            (
                self.path(&format!("events/{}/expunge", past_event())),
                vec![("confirm", "expunge")],
            ),
            (self.path("sources"), vec![("name", "New")]),
            (
                self.path(&source),
                vec![("name", "Shop"), ("origin", "https://shop.example")],
            ),
            (
                self.path(&format!("{source}/stripe")),
                vec![("stripe_secret", "whsec_abc")],
            ),
            (self.path(&format!("{source}/rotate")), vec![]),
            (
                self.path("webhooks"),
                vec![
                    ("name", "New"),
                    ("url", "https://example.com/"),
                    ("event", "*"),
                ],
            ),
            (
                self.path(&webhook),
                vec![
                    ("name", "Orders"),
                    ("url", "https://example.com/"),
                    ("event", "*"),
                ],
            ),
            (self.path(&format!("{webhook}/pause")), vec![]),
            (
                self.path(&format!("{webhook}/activate")),
                vec![("held", "send")],
            ),
            (
                self.path(&format!("{webhook}/secret")),
                vec![("password", PASSWORD)],
            ),
            (
                self.path(&format!("{webhook}/secret/rotate")),
                vec![("signing", "hmac"), ("overlap", "24")],
            ),
            (self.path(&format!("{webhook}/secret/end-overlap")), vec![]),
            (self.path(&format!("deliveries/{delivery}/retry")), vec![]),
            (
                self.path("keys"),
                vec![("name", "new"), ("scope", "write:events")],
            ),
            (
                self.path(&format!("keys/{}/revoke", self.tenant.key_id)),
                vec![],
            ),
            (
                self.path("event-types/order.placed"),
                vec![("description", "New"), ("mode", "observe")],
            ),
            (self.path("event-types/order.placed/remove"), vec![]),
            (self.path("rename"), vec![("name", "Renamed")]),
            (self.path("settings"), vec![("mau_limit", "7")]),
            (self.path("funnels"), vec![("name", "New")]),
            (
                // A workspace's first funnel has its number.
                self.path(&format!(
                    "funnels/{}",
                    self.tenant.id.replace("ws_", "fnl_")
                )),
                vec![("name", "Renamed")],
            ),
            (
                self.path(&format!("deliveries/{delivery}/expunge")),
                vec![("confirm", "expunge")],
            ),
            (
                self.path(&format!("{webhook}/delete")),
                vec![("confirm", "Orders")],
            ),
        ]
    }
}

/// The numbers of what [`Box::add_past`] adds begin here.
const PAST: i64 = 1_000;
/// The delivery among it.
const PAST_DELIVERY: &str = "dlv_00000000000za";

fn past_event() -> String {
    pillarbox::id::EventId::from_i64(PAST).to_string()
}

fn past_delivery() -> String {
    let id = pillarbox::id::DeliveryId::from_i64(PAST + 2).to_string();
    assert_eq!(id, PAST_DELIVERY);
    id
}

fn past_replay(n: i64) -> String {
    pillarbox::id::ReplayId::from_i64(PAST + n).to_string()
}

/// A form that made something answers with the page that shows it once, or sends one on.
#[track_caller]
fn made(page: &Page) {
    assert!(
        matches!(page.status, 200 | 201 | 303),
        "{} {}",
        page.status,
        page.text()
    );
}

// GETTING IN --------------------------------------------------------------------------------

/// Fills the form by its fields' names, as a person would.
fn fill(form: &Form, answers: &[(&str, &str)]) -> Vec<(String, String)> {
    form.inputs
        .iter()
        .map(|input| {
            let answer = answers.iter().find(|(name, _)| *name == input.name);
            let value = answer.map_or(input.value.as_str(), |(_, value)| value);
            (input.name.clone(), value.to_owned())
        })
        .collect()
}

#[test]
fn the_printed_link_sets_the_box_up_once() {
    let data = Data::new();
    let server = data.serve();
    let link = server.setup_link();
    assert!(link.starts_with(&server.url), "{link}");
    let visitor = Visitor::new(&server);

    let (path, token) = link.split_once("token=").expect("a token in the link");
    let wrong = format!("{path}token={}", token.chars().rev().collect::<String>());
    for wrong in [wrong.as_str(), path, "/setup"] {
        let page = visitor.get(wrong);
        assert!(
            (400..500).contains(&page.status),
            "{wrong}: {}",
            page.status
        );
        assert!(page.forms().iter().all(|form| form.inputs.len() < 2));
    }

    let page = visitor.see(&link);
    let form = page
        .forms()
        .into_iter()
        .find(|form| form.inputs.iter().any(|input| input.name == "password"))
        .expect("a form that asks for a password");
    let answers = [
        ("email", "ann@example.com"),
        ("name", "Ann"),
        ("password", PASSWORD),
        ("workspace", "First Workspace"),
    ];
    let fields = fill(&form, &answers);
    let fields: Vec<_> = fields
        .iter()
        .map(|(n, v)| (n.as_str(), v.as_str()))
        .collect();
    let foreign = visitor.send(
        Method::POST,
        &form.action,
        &[("origin", "http://evil.example")],
        Some(&fields),
    );
    assert_eq!((foreign.status, data.rows("user")), (403, 0));
    let forged: Vec<_> = fields
        .iter()
        .map(|(name, value)| (*name, if *name == "token" { "forged" } else { value }))
        .collect();
    let page = visitor.post_as_is(&form.action, &forged);
    assert_eq!((page.status, data.rows("user")), (403, 0), "a forged token");

    made(&visitor.post_as_is(&form.action, &fields));
    assert_eq!((data.rows("user"), data.rows("workspace")), (1, 1));
    assert!(
        visitor
            .see("/workspaces")
            .text()
            .contains("First Workspace"),
        "signed in"
    );
    Visitor::signed_in(&server, "ann@example.com");

    // The link is spent, for the form and for the one who kept it open.
    let stranger = Visitor::new(&server);
    let page = stranger.get(&link);
    assert!(
        page.csrf().is_none() && page.status != 200,
        "{}",
        page.status
    );
    let again: Vec<_> = fields
        .iter()
        .map(|(name, value)| {
            (
                *name,
                if *name == "email" {
                    "eve@example.com"
                } else {
                    value
                },
            )
        })
        .collect();
    let page = stranger.post_as_is(&form.action, &again);
    assert_ne!(page.status, 200);
    assert_eq!((data.rows("user"), data.rows("workspace")), (1, 1));
    drop(server);

    let server = data.serve();
    let written = server.process.log.text();
    assert!(
        !written.contains("/setup"),
        "a box with users needs no link: {written}"
    );
}

#[test]
fn signing_in_sets_a_cookie_that_scripts_and_other_sites_cannot_use() {
    let the = Box::new();
    let visitor = Visitor::new(&the.server);
    let form = visitor.see("/login");
    assert_eq!(
        form.tags("input")
            .iter()
            .filter(|tag| tag.contains("password"))
            .count(),
        1
    );
    let page = visitor.sign_in("ann@example.com", PASSWORD);
    assert_eq!(page.status, 303);
    let cookie = page.header("set-cookie").to_ascii_lowercase();
    let attributes: BTreeSet<_> = cookie.split(';').skip(1).map(str::trim).collect();
    for wanted in ["httponly", "samesite=lax", "path=/"] {
        assert!(attributes.contains(wanted), "no {wanted}: {cookie}");
    }
    assert!(!cookie.contains("domain="), "{cookie}");
    assert!(visitor.see("/workspaces").text().contains("Acme"));
    // Emails are compared as people type them.
    let page = Visitor::new(&the.server).sign_in(" Ann@Example.COM ", PASSWORD);
    assert_eq!(page.status, 303);
}

#[test]
fn behind_https_the_cookie_is_bound_to_host_and_tls() {
    let data = Data::new();
    data.user("ann@example.com", "Ann");
    let options = Options {
        arguments: vec![
            "--public-url".to_owned(),
            "https://box.example.com".to_owned(),
        ],
        ..Options::default()
    };
    let server = Server::start(&data, &options);
    let headers = [("origin", "https://box.example.com")];
    let fields = [("email", "ann@example.com"), ("password", PASSWORD)];
    let page = Visitor::new(&server).send(Method::POST, "/login", &headers, Some(&fields));
    assert_eq!(page.status, 303, "{}", page.text());
    let cookie = page.header("set-cookie").to_owned();
    assert!(cookie.starts_with("__Host-"), "{cookie}");
    assert!(cookie.to_ascii_lowercase().contains("; secure"), "{cookie}");
}

#[test]
fn a_wrong_password_and_an_unknown_email_get_the_same_bytes() {
    let the = Box::new();
    let answer = |email: &str, password: &str| {
        let visitor = Visitor::new(&the.server);
        let page = visitor.sign_in(email, password);
        assert!(visitor.get("/workspaces").status != 200, "{email} got in");
        let mut headers: Vec<_> = page
            .headers
            .iter()
            .filter(|(name, _)| *name != "date")
            .map(|(name, value)| format!("{name}: {value:?}"))
            .collect();
        headers.sort();
        // The form keeps what was typed; the emails are equally long.
        (page.status, headers, page.html.replace(email, "EMAIL"))
    };
    let wrong = answer("ann@example.com", "not the password");
    let unknown = answer("eve@example.com", "not the password");
    assert!((400..500).contains(&wrong.0), "{}", wrong.0);
    assert_eq!(wrong, unknown);
    assert_ne!(wrong.2, "", "it says something");
}

#[test]
fn signing_in_makes_a_new_session_and_signing_out_ends_it() {
    let the = Box::new();
    let token = |page: &Page| {
        let cookie = page.header("set-cookie");
        cookie.split(';').next().unwrap_or_default().to_owned()
    };
    let first = token(&Visitor::new(&the.server).sign_in("ann@example.com", PASSWORD));
    let second = token(&Visitor::new(&the.server).sign_in("ann@example.com", PASSWORD));
    assert_ne!(first, second);
    let stranger = Visitor::new(&the.server);
    let with =
        |cookie: &str| stranger.send(Method::GET, "/workspaces", &[("cookie", cookie)], None);
    let page = with(&first);
    assert_eq!((page.status, with(&second).status), (200, 200));
    let csrf = page.csrf().expect("a csrf field");
    let headers = [
        ("origin", the.server.url.as_str()),
        ("cookie", first.as_str()),
    ];
    let page = stranger.send(Method::POST, "/logout", &headers, Some(&[("csrf", &csrf)]));
    assert_eq!(page.status, 303, "{}", page.text());
    assert_ne!(
        with(&first).status,
        200,
        "the session is over on the server too"
    );
    assert_eq!(with(&second).status, 200, "the other one is not");
}

#[test]
fn guessing_is_slowed_for_the_account_that_is_guessed() {
    let the = Box::new();
    the.data.member(&the.tenant.id, "bob@example.com", "viewer");
    let visitor = Visitor::new(&the.server);
    let slowed = (0..15)
        .map(|_| visitor.sign_in("ann@example.com", "not the password"))
        .find(|page| page.status == 429)
        .expect("an answer 429 within 15 wrong passwords");
    let wait_s: u64 = slowed
        .header("retry-after")
        .parse()
        .expect("a Retry-After in seconds");
    assert!((1..=900).contains(&wait_s), "{wait_s}");
    let page = visitor.sign_in("ann@example.com", PASSWORD);
    assert_eq!(
        page.status, 429,
        "the right password is no way around the wait"
    );
    // A made-up address in a header is not believed.
    let headers = [
        ("origin", the.server.url.as_str()),
        ("x-forwarded-for", "198.51.100.7"),
    ];
    let fields = [
        ("email", "ann@example.com"),
        ("password", "not the password"),
    ];
    let page = visitor.send(Method::POST, "/login", &headers, Some(&fields));
    assert_eq!(page.status, 429);
    Visitor::signed_in(&the.server, "bob@example.com");
}

#[test]
fn who_is_not_signed_in_sees_the_sign_in_page_and_nothing_else() {
    let the = Box::new();
    let stranger = Visitor::new(&the.server);
    for path in [
        "/workspaces".to_owned(),
        the.path("events"),
        the.path("keys"),
    ] {
        let page = stranger.get(&path);
        assert_eq!(page.status, 303, "{path}");
        assert!(
            page.location().starts_with("/login"),
            "{path}: {}",
            page.location()
        );
    }
    let before = the.changes();
    for (path, fields) in the.unsafe_routes("dlv_0000000000000") {
        let page = stranger.post_as_is(&path, &fields);
        assert!(
            matches!(page.status, 303 | 401 | 403 | 404),
            "{path}: {}",
            page.status
        );
        assert!(
            page.status != 303 || page.location().starts_with("/login"),
            "{path}"
        );
    }
    assert_eq!(the.changes(), before);
    let page = stranger.post_as_is(
        "/login",
        &[
            ("email", "ann@example.com"),
            ("password", PASSWORD),
            ("next", "//evil.example/"),
        ],
    );
    assert!(
        page.location().starts_with('/') && !page.location().starts_with("//"),
        "signing in leads elsewhere: {:?}",
        page.location()
    );
}

// FOREIGN REQUESTS --------------------------------------------------------------------------

#[test]
fn every_change_must_come_from_the_boxs_own_pages() {
    let the = Box::new();
    let event = the.server.track(&the.tenant.key, "u", "order.placed");
    wait_until("the delivery to fail", || {
        (the.data.deliveries(&event)[0].state == "failed").then_some(())
    });
    let delivery = the.data.delivery_ids(&event).remove(0);
    let ann = the.ann();
    let csrf = ann.csrf();
    let other_csrf = the.ann().csrf();
    assert_ne!(csrf, other_csrf, "each session has a token of its own");
    let own = the.server.url.clone();
    let same_port_elsewhere = own.replace("127.0.0.1", "evil.example");
    let other_port = format!("{own}0");
    let foreign: Vec<(&str, Vec<(&str, &str)>)> = vec![
        ("no Origin", vec![]),
        ("no Origin, but a Referer", vec![("referer", own.as_str())]),
        ("a null Origin", vec![("origin", "null")]),
        ("an empty Origin", vec![("origin", "")]),
        ("another site", vec![("origin", "https://evil.example")]),
        ("another host", vec![("origin", &same_port_elsewhere)]),
        ("another port", vec![("origin", &other_port)]),
        (
            "our Origin across sites",
            vec![("origin", &own), ("sec-fetch-site", "cross-site")],
        ),
        (
            "our Origin from a sibling site",
            vec![("origin", &own), ("sec-fetch-site", "same-site")],
        ),
    ];
    let before = the.changes();
    let routes = the.unsafe_routes(&delivery);
    for (path, fields) in &routes {
        let mut right = fields.clone();
        right.push(("csrf", &csrf));
        for (what, headers) in &foreign {
            let page = ann.send(Method::POST, path, headers, Some(&right));
            assert_eq!(page.status, 403, "POST {path} with {what}");
        }
        let headers = [("origin", own.as_str())];
        for (what, token) in [
            ("no token", None),
            ("an empty token", Some("")),
            (
                "a made-up token",
                Some("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
            ),
            ("another session's token", Some(other_csrf.as_str())),
        ] {
            let mut fields = fields.clone();
            fields.extend(token.map(|token| ("csrf", token)));
            let page = ann.send(Method::POST, path, &headers, Some(&fields));
            assert_eq!(page.status, 403, "POST {path} with {what}");
        }
        // Reading never changes anything, whatever is asked for.
        let query = serde_urlencoded(&right);
        ann.send(Method::GET, &format!("{path}?{query}"), &headers, None);
        ann.send(Method::HEAD, &format!("{path}?{query}"), &headers, None);
    }
    assert_eq!(the.changes(), before, "a foreign request changed something");
    // And all of them are good requests but for that.
    for (path, fields) in &routes {
        let before = the.changes();
        let mut right = fields.clone();
        right.push(("csrf", &csrf));
        let page = ann.send(
            Method::POST,
            path,
            &[("origin", own.as_str())],
            Some(&right),
        );
        made(&page);
        wait_until(&format!("POST {path} to change something"), || {
            (the.changes() != before).then_some(())
        });
    }
}

#[test]
fn a_foreign_site_cannot_sign_anybody_in() {
    let the = Box::new();
    let fields = [("email", "ann@example.com"), ("password", PASSWORD)];
    let own = the.server.url.as_str();
    for headers in [
        vec![],
        vec![("origin", "null")],
        vec![("origin", "https://evil.example")],
        vec![("origin", own), ("sec-fetch-site", "cross-site")],
    ] {
        let visitor = Visitor::new(&the.server);
        let page = visitor.send(Method::POST, "/login", &headers, Some(&fields));
        assert_eq!(page.status, 403, "{headers:?}");
        assert_eq!(page.header("set-cookie"), "", "{headers:?}");
    }
    assert_eq!(the.data.rows("session"), 0);
}

/// Fields as a query.
fn serde_urlencoded(fields: &[(&str, &str)]) -> String {
    let mut url = reqwest::Url::parse("http://a/").unwrap();
    url.query_pairs_mut().extend_pairs(fields);
    url.query().unwrap_or_default().to_owned()
}

// OTHER TENANTS -----------------------------------------------------------------------------

/// Pages of a workspace that show no thing of their own.
const LISTS: [&str; 15] = [
    "",
    "events",
    "rejects",
    "event-types",
    "event-types/order.placed",
    "profiles",
    "webhooks",
    "webhooks/new",
    "deliveries",
    "replays",
    "sources",
    "funnels",
    "keys",
    "settings",
    "rename",
];
/// Pages outside every workspace; who is in none sees them too.
const DOORS: [&str; 5] = ["/", "/login", "/logout", "/setup", "/workspaces"];

/// A box with two tenants; Bob belongs to the second only.
struct Neighbours {
    the: Box,
    theirs: Tenant,
    bob: Visitor,
    /// Acme's event, its delivery, and its profile.
    event: String,
    delivery: String,
    profile: String,
    /// A request of Acme that was refused.
    reject: String,
}

impl Neighbours {
    #[track_caller]
    fn new() -> Self {
        let the = Box::new();
        let theirs = the.data.tenant("Bobs");
        the.data.member(&theirs.id, "bob@example.com", "owner");
        let event = the
            .server
            .track(&the.tenant.key, "jane-of-acme", "order.placed");
        // To its end, so that nothing but a request can change anything any more.
        wait_until("the delivery to fail", || {
            (the.data.deliveries(&event)[0].state == "failed").then_some(())
        });
        let delivery = the.data.delivery_ids(&event).remove(0);
        let profile = wait_until("the profile", || {
            let id = the
                .data
                .open()
                .query_row("SELECT id FROM profile", [], |row| row.get(0))
                .ok()?;
            Some(pillarbox::id::ProfileId::from_i64(id).to_string())
        });
        the.server.post(&the.tenant.key, "{");
        let reject = wait_until("the refused request", || {
            let id = the
                .data
                .open()
                .query_row("SELECT id FROM reject", [], |row| row.get(0))
                .ok()?;
            Some(pillarbox::id::RejectId::from_i64(id).to_string())
        });
        the.ann().submit(
            &the.path("event-types/order.placed"),
            &[("description", "Placed")],
        );
        let bob = Visitor::signed_in(&the.server, "bob@example.com");
        Self {
            the,
            theirs,
            bob,
            event,
            delivery,
            profile,
            reject,
        }
    }

    /// Pages of one thing: the path with its id, and with the id of nothing.
    fn things(&self) -> Vec<(String, String)> {
        let webhook = &self.the.webhook;
        let key = &self.the.tenant.key_id;
        let source = &self.the.source;
        let event_type = "order.placed".to_owned();
        self.the.add_past();
        let replay = past_replay(4);
        [
            ("replays/{}", &replay, "rpl_0000000000001"),
            ("events/{}/expunge", &self.event, "evt_0000000000001"),
            ("deliveries/{}/expunge", &self.delivery, "dlv_0000000000001"),
            ("events/{}", &self.event, "evt_0000000000001"),
            ("rejects/{}", &self.reject, "rej_0000000000001"),
            ("event-types/{}/remove", &event_type, "order.lost"),
            ("profiles/{}", &self.profile, "prf_0000000000001"),
            ("deliveries/{}", &self.delivery, "dlv_0000000000001"),
            ("webhooks/{}", webhook, "whk_0000000000001"),
            ("webhooks/{}/edit", webhook, "whk_0000000000001"),
            ("webhooks/{}/activate", webhook, "whk_0000000000001"),
            ("webhooks/{}/secret", webhook, "whk_0000000000001"),
            ("webhooks/{}/delete", webhook, "whk_0000000000001"),
            ("sources/{}", source, "src_0000000000001"),
            ("sources/{}/rotate", source, "src_0000000000001"),
            ("keys/{}/revoke", key, "key_0000000000001"),
        ]
        .into_iter()
        .map(|(path, id, nothing)| (path.replace("{}", id), path.replace("{}", nothing)))
        .collect()
    }
}

#[test]
fn another_tenants_pages_look_like_pages_that_do_not_exist() {
    let n = Neighbours::new();
    let ann = n.the.ann();
    let nowhere = n.bob.get("/w/nowhere/events");
    assert_eq!(nowhere.status, 404);
    for list in LISTS {
        let path = |workspace: &str| {
            format!("/w/{workspace}/{list}")
                .trim_end_matches('/')
                .to_owned()
        };
        ann.see(&path(&n.the.tenant.slug));
        n.bob.see(&path(&n.theirs.id));
        for workspace in [
            &n.the.tenant.slug,
            &n.the.tenant.id,
            "nowhere",
            "ws_0000000000001",
        ] {
            let page = n.bob.get(&path(workspace));
            assert_eq!(page.status, 404, "{workspace}/{list}");
            assert!(
                page.html == nowhere.html,
                "{workspace}/{list} has other bytes"
            );
        }
    }
    for (real, nothing) in n.things() {
        ann.see(&n.the.path(&real));
        let theirs = |rest: &str| n.bob.get(&format!("/w/{}/{rest}", n.theirs.slug));
        let (real_of_other, nothing_at_all) = (theirs(&real), theirs(&nothing));
        assert_eq!(
            (real_of_other.status, nothing_at_all.status),
            (404, 404),
            "{real}"
        );
        assert!(
            real_of_other.html == nothing_at_all.html,
            "{real} says that it is there:\n{}\n{}",
            real_of_other.text(),
            nothing_at_all.text()
        );
        let as_stranger = n.bob.get(&n.the.path(&real));
        assert_eq!(as_stranger.status, 404, "{real}");
        assert!(
            as_stranger.html == nowhere.html,
            "{real} has other bytes for a stranger"
        );
    }
}

/// The routes of the pages as the code lists them, method and path.
fn routes_of_the_code() -> BTreeSet<String> {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/admin/mod.rs");
    let code = std::fs::read_to_string(file).unwrap();
    let mut routes = BTreeSet::new();
    let mut path = "";
    for line in code.lines().map(str::trim) {
        if line.starts_with("//") {
            continue;
        }
        if let Some((_, after)) = line.split_once("at(\"/") {
            path = after.split('"').next().unwrap();
        }
        for (call, method) in [("get().to(", "GET"), ("post().to(", "POST")] {
            if line.contains(call) && !line.contains("resource(\"/static") {
                routes.insert(format!("{method} /{path}"));
            }
        }
    }
    routes
}

#[test]
fn every_route_of_the_pages_is_tried_by_strangers() {
    let n = Neighbours::new();
    let general = |path: &str| {
        let parts: Vec<_> = path
            .split('/')
            .map(|part| match part {
                part if part == n.the.tenant.slug => "{workspace}",
                "order.placed" => "{name}",
                part if part.contains('_') => "{id}",
                part => part,
            })
            .collect();
        parts.join("/").trim_end_matches('/').to_owned()
    };
    let lists = LISTS.iter().map(|list| n.the.path(list));
    let things = n.things().into_iter().map(|(real, _)| n.the.path(&real));
    let mut tried: BTreeSet<String> = lists
        .chain(things)
        .map(|path| format!("GET {}", general(&path)))
        .collect();
    let changes = n.the.unsafe_routes(&n.delivery).into_iter();
    tried.extend(changes.map(|(path, _)| format!("POST {}", general(&path))));
    // With a merge of another tenant, in people.rs.
    tried.insert("POST /w/{workspace}/profiles/{id}/merges/{merge}/undo".to_owned());
    let untried: Vec<_> = routes_of_the_code()
        .into_iter()
        .filter(|route| {
            let is_door = DOORS
                .iter()
                .any(|door| route.ends_with(&format!(" {door}")));
            !is_door && !tried.contains(route)
        })
        .collect();
    assert!(
        untried.is_empty(),
        "add these to the isolation tests: {untried:?}"
    );
    assert!(tried.len() > 20 && routes_of_the_code().len() > 20);
}

#[test]
fn only_an_operator_makes_workspaces() {
    let the = Box::new();
    let arguments = [
        "user",
        "create",
        "--email",
        "root@example.com",
        "--name",
        "Root",
        "--operator",
        "--password-stdin",
        "--json",
    ];
    let output = the.data.run_with_input(&arguments, PASSWORD);
    assert!(output.status.success(), "{output:?}");
    let before = the.changes();
    let fields = [("name", "Second Workspace")];
    let page = the.ann().post("/workspaces", &fields);
    assert!(matches!(page.status, 403 | 404), "{}", page.status);
    let root = Visitor::signed_in(&the.server, "root@example.com");
    let csrf = root.csrf();
    let signed = [("name", "Second Workspace"), ("csrf", csrf.as_str())];
    for headers in [
        vec![],
        vec![("origin", "null")],
        vec![("origin", "https://evil.example")],
    ] {
        let page = root.send(Method::POST, "/workspaces", &headers, Some(&signed));
        assert_eq!(page.status, 403, "{headers:?}");
    }
    assert_eq!(
        root.post_as_is("/workspaces", &fields).status,
        403,
        "without a token"
    );
    assert_eq!(the.changes(), before);
    root.submit("/workspaces", &fields);
    root.see("/w/second-workspace/events");
    assert_eq!(
        root.get(&the.path("events")).status,
        404,
        "an operator is no member of all"
    );
    assert_eq!(the.ann().get("/w/second-workspace").status, 404);
}

#[test]
fn another_tenants_things_cannot_be_changed() {
    let n = Neighbours::new();
    let before = n.the.changes();
    for (path, fields) in n.the.unsafe_routes(&n.delivery) {
        let page = n.bob.post(&path, &fields);
        assert_eq!(page.status, 404, "as a stranger: {path}");
        // The other tenant's thing, named under one's own workspace.
        let Some((_, rest)) = path
            .split_once(&format!("/w/{}/", n.the.tenant.slug))
            .filter(|(_, rest)| rest.contains('_'))
        else {
            continue;
        };
        let page = n.bob.post(&format!("/w/{}/{rest}", n.theirs.slug), &fields);
        assert_eq!(page.status, 404, "under one's own workspace: {rest}");
    }
    assert_eq!(n.the.changes(), before);
    n.the.server.track(&n.the.tenant.key, "u", "Still Works");
}

#[test]
fn another_tenants_profiles_and_events_are_not_found() {
    let n = Neighbours::new();
    let ann = n.the.ann();
    let search = "profiles?q=jane-of-acme";
    assert!(ann.see(&n.the.path(search)).html.contains(&n.profile));
    assert!(
        !n.bob
            .see(&format!("/w/{}/{search}", n.theirs.slug))
            .html
            .contains(&n.profile)
    );
    let events = n.bob.see(&format!("/w/{}/events", n.theirs.slug));
    assert!(!events.text().contains("order.placed"));
    assert!(
        ann.see(&n.the.path("events"))
            .text()
            .contains("order.placed")
    );
    assert!(!n.bob.see("/workspaces").text().contains("Acme"));
}

// ROLES -------------------------------------------------------------------------------------

#[test]
fn each_role_does_what_it_may_and_no_more() {
    let the = Box::new();
    let webhook = [
        ("name", "New"),
        ("url", "https://example.com/"),
        ("event", "*"),
    ];
    let pause = the.path(&format!("webhooks/{}/pause", the.webhook));
    let secret = the.path(&format!("webhooks/{}/secret", the.webhook));
    let routes: Vec<(Change, &[&str])> = vec![
        (
            (the.path("webhooks"), webhook.to_vec()),
            &["member", "admin", "owner"],
        ),
        ((pause, vec![]), &["member", "admin", "owner"]),
        (
            (secret.clone(), vec![("password", PASSWORD)]),
            &["member", "admin", "owner"],
        ),
        (
            (format!("{secret}/rotate"), vec![]),
            &["member", "admin", "owner"],
        ),
        (
            (format!("{secret}/end-overlap"), vec![]),
            &["member", "admin", "owner"],
        ),
        (
            (
                the.path("keys"),
                vec![("name", "new"), ("scope", "write:events")],
            ),
            &["admin", "owner"],
        ),
        (
            (the.path("sources"), vec![("name", "new")]),
            &["admin", "owner"],
        ),
        (
            (the.path(&format!("sources/{}/rotate", the.source)), vec![]),
            &["admin", "owner"],
        ),
        (
            (the.path("rename"), vec![("name", "Renamed")]),
            &["admin", "owner"],
        ),
        (
            (
                the.path("funnels"),
                vec![("name", "New"), ("trial", "Tried")],
            ),
            &["member", "admin", "owner"],
        ),
        (
            (the.path("settings"), vec![("mau_limit", "7")]),
            &["admin", "owner"],
        ),
        (
            (the.path("replays"), vec![("state", "failed")]),
            &["member", "admin", "owner"],
        ),
        (
            (
                the.path(&format!("webhooks/{}/test", the.webhook)),
                vec![("what", "webhook.test")],
            ),
            &["member", "admin", "owner"],
        ),
        (
            (
                the.path(&format!("webhooks/{}/replay", the.webhook)),
                vec![("since", "7d")],
            ),
            &["member", "admin", "owner"],
        ),
    ];
    for role in ["viewer", "member", "admin"] {
        the.data
            .member(&the.tenant.id, &format!("{role}@example.com"), role);
    }
    for role in ["viewer", "member", "admin", "owner"] {
        let email = if role == "owner" {
            "ann@example.com".to_owned()
        } else {
            format!("{role}@example.com")
        };
        let visitor = Visitor::signed_in(&the.server, &email);
        for looking in ["events", "profiles", "webhooks", "deliveries"] {
            visitor.see(&the.path(looking));
        }
        for ((path, fields), allowed) in &routes {
            let before = the.changes();
            let page = visitor.post(path, fields);
            if allowed.contains(&role) {
                made(&page);
                assert_ne!(the.changes(), before, "{role} POST {path}");
            } else {
                assert!(
                    matches!(page.status, 403 | 404),
                    "{role} POST {path}: {}",
                    page.status
                );
                assert_eq!(the.changes(), before, "{role} POST {path}");
            }
        }
    }
    let viewer = Visitor::signed_in(&the.server, "viewer@example.com");
    for admins in [
        "keys",
        "sources",
        &format!("sources/{}", the.source),
        "webhooks/new",
        &format!("webhooks/{}/edit", the.webhook),
        &format!("webhooks/{}/secret", the.webhook),
    ] {
        let page = viewer.get(&the.path(admins));
        assert!(
            matches!(page.status, 403 | 404),
            "a viewer sees {admins}: {}",
            page.status
        );
    }
}

#[test]
fn a_removed_member_is_a_stranger_at_once() {
    let n = Neighbours::new();
    let ann = n.the.ann();
    ann.see(&n.the.path("events"));
    // There is no page for it yet, so the file is changed as a command would.
    let connection = rusqlite::Connection::open(n.the.data.file()).unwrap();
    connection.busy_timeout(crate::support::DEADLINE).unwrap();
    let removed = connection
        .execute("DELETE FROM member WHERE workspace_id = (SELECT id FROM workspace WHERE slug = 'acme')", [])
        .unwrap();
    assert_eq!(removed, 1);
    wait_for_value("the status of a page", &404, || {
        ann.get(&n.the.path("events")).status
    });
    assert_eq!(
        ann.get(&n.the.path("events")).html,
        n.bob.get("/w/nowhere/events").html
    );
}

// KEYS --------------------------------------------------------------------------------------

/// A whole key somewhere on a page.
fn key_in(page: &Page) -> Option<String> {
    page.html
        .split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-')))
        .find(|word| word.starts_with("pbk_") && word.len() > 30)
        .map(str::to_owned)
}

#[test]
fn a_key_made_on_the_page_is_shown_once_and_works_at_once() {
    let the = Box::new();
    let ann = the.ann();
    let fields = [
        ("name", "backend"),
        ("scope", "write:events"),
        ("scope", "read:events"),
    ];
    let mut page = ann.post(&the.path("keys"), &fields);
    made(&page);
    if page.status == 303 {
        page = ann.see(page.location());
    }
    let key = key_in(&page).expect("the key on the page");
    assert!(
        page.header("cache-control").contains("no-store"),
        "a page with a secret"
    );
    the.server.track(&key, "u", "With The New Key");
    let list = ann.see(&the.path("keys"));
    assert!(list.text().contains("backend"));
    assert!(
        key_in(&list).is_none() && !list.html.contains(&key),
        "it is shown once"
    );

    for fields in [
        vec![("name", "no scope")],
        vec![("name", ""), ("scope", "write:events")],
        vec![("name", "unknown"), ("scope", "write:everything")],
    ] {
        let before = the.changes();
        let page = ann.post(&the.path("keys"), &fields);
        assert!(
            (400..500).contains(&page.status),
            "{fields:?}: {}",
            page.status
        );
        assert_eq!(the.changes(), before, "{fields:?}");
    }
}

#[test]
fn a_key_does_only_what_its_scopes_say() {
    let the = Box::new();
    let ann = the.ann();
    let make = |scope: &str| {
        let mut page = ann.post(&the.path("keys"), &[("name", scope), ("scope", scope)]);
        if page.status == 303 {
            page = ann.see(page.location());
        }
        key_in(&page).expect("the key on the page")
    };
    let (reads, writes) = (make("read:events"), make("write:events"));
    assert_eq!(the.server.post(&reads, track_body("u", "A")).status(), 403);
    assert_eq!(the.server.post(&writes, track_body("u", "A")).status(), 200);
    // A key is no person: it opens no page.
    let headers = [
        ("x-api-key", writes.as_str()),
        ("authorization", &format!("Bearer {writes}")),
    ];
    let page = Visitor::new(&the.server).send(Method::GET, &the.path("events"), &headers, None);
    assert_eq!(page.status, 303);
}

#[test]
fn a_revoked_key_is_refused_from_the_next_request_on() {
    let the = Box::new();
    the.server.track(&the.tenant.key, "u", "Before");
    let ann = the.ann();
    assert!(ann.see(&the.path("keys")).html.contains(&the.tenant.key_id));
    ann.submit(
        &the.path(&format!("keys/{}/revoke", the.tenant.key_id)),
        &[],
    );
    let response = the.server.post(&the.tenant.key, track_body("u", "After"));
    assert_eq!(response.status(), 401);
    let problem: serde_json::Value = serde_json::from_str(&response.text().unwrap()).unwrap();
    assert_eq!(problem["code"], "invalid_api_key");
    assert_eq!(the.data.rows("event"), 1);
}

// WEBHOOKS AND THEIR HISTORY ----------------------------------------------------------------

#[test]
fn a_webhook_made_in_the_form_gets_the_next_event() {
    let receiver = Receiver::healthy();
    let the = Box::new();
    let ann = the.ann();
    let url = receiver.url("/from-the-form");
    let fields = [
        ("name", "Made Here"),
        ("url", &url),
        ("event", "tour.*"),
        ("event", "Post Created"),
    ];
    let page = ann.post(&the.path("webhooks"), &fields);
    made(&page);
    the.server.track(&the.tenant.key, "u", "Unwanted");
    the.server.track(&the.tenant.key, "u", "tour.completed");
    the.server.track(&the.tenant.key, "u", "Post Created");
    receiver.wait_for(2);
    receiver.wait_for_type("tour.completed");
    receiver.wait_for_type("Post Created");
    let list = ann.see(&the.path("webhooks"));
    assert!(list.text().contains("Made Here") && list.text().contains("Orders"));
}

#[test]
fn a_form_that_is_refused_says_why_and_keeps_what_was_typed() {
    let the = Box::new();
    let ann = the.ann();
    let before = the.changes();
    for (fields, typed) in [
        (
            vec![
                ("name", "Kept Name"),
                ("url", "ftp://kept.example/"),
                ("event", "*"),
            ],
            vec!["Kept Name", "ftp://kept.example/"],
        ),
        (
            vec![
                ("name", ""),
                ("url", "https://kept.example/"),
                ("event", "*"),
            ],
            vec!["https://kept.example/"],
        ),
        (
            vec![("name", "Kept Name"), ("url", "https://kept.example/")],
            vec!["Kept Name", "https://kept.example/"],
        ),
        (
            vec![
                ("name", "Kept Name"),
                ("url", "https://kept.example/"),
                ("event", "a*b"),
            ],
            vec!["Kept Name", "a*b"],
        ),
    ] {
        let page = ann.post(&the.path("webhooks"), &fields);
        assert_eq!(page.status, 422, "{fields:?}");
        for typed in typed {
            let values = page
                .forms()
                .into_iter()
                .flat_map(|form| form.inputs)
                .map(|input| input.value);
            assert!(
                values.collect::<Vec<_>>().contains(&typed.to_owned()),
                "{typed} is gone"
            );
        }
        assert!(
            page.html.contains("role=\"alert\""),
            "{fields:?}: nothing is said"
        );
    }
    assert_eq!(the.changes(), before);
}

#[test]
fn a_form_takes_no_field_that_it_does_not_have() {
    let the = Box::new();
    let ann = the.ann();
    let before = the.changes();
    let webhook = [
        ("name", "New"),
        ("url", "https://example.com/"),
        ("event", "*"),
    ];
    for (path, fields, extra) in [
        (
            the.path("webhooks"),
            webhook.to_vec(),
            ("workspace_id", "ws_0000000000001"),
        ),
        (the.path("webhooks"), webhook.to_vec(), ("state", "active")),
        (
            the.path("keys"),
            vec![("name", "new"), ("scope", "write:events")],
            ("role", "owner"),
        ),
        (
            the.path("rename"),
            vec![("name", "Renamed")],
            ("slug", "other"),
        ),
    ] {
        let mut fields = fields;
        fields.push(extra);
        let page = ann.post(&path, &fields);
        assert!(
            (400..500).contains(&page.status),
            "{path} with {extra:?}: {}",
            page.status
        );
    }
    assert_eq!(the.changes(), before);
}

#[test]
fn the_history_shows_payload_and_answer_of_each_delivery() {
    let receiver = Receiver::new(|request| {
        let succeeds = request.json()["type"] == "order.placed";
        let status = if succeeds { 200 } else { 500 };
        Answer::Whole(
            status,
            vec![("x-receiver", "answered-by-test".to_owned())],
            format!("body with status {status}").into_bytes(),
        )
    });
    let the = Box::new();
    let made = the
        .data
        .webhook(&the.tenant.id, "Shown", &receiver.url("/"), &["*"]);
    wait_until("the webhook to be served", || {
        the.server.track(&the.tenant.key, "u", "Warming");
        (receiver.count() > 0).then_some(())
    });
    let good = the.server.accept(
        &the.tenant.key,
        r#"{"userId":"u","type":"track","timestamp":"2026-11-22T10:00:00Z","event":"order.placed","properties":{"cart":"c-4711"}}"#,
    );
    let bad = the.server.track(&the.tenant.key, "u", "order.lost");
    let state_of_shown = |event: &str| {
        let sql = format!(
            "SELECT count(*) FROM delivery WHERE event_id = {} AND webhook_id = {} AND state IN ('succeeded', 'failed')",
            crate::support::data::event_number(event),
            made.id
                .parse::<pillarbox::id::WebhookId>()
                .unwrap()
                .as_i64(),
        );
        the.data.number(&sql)
    };
    wait_for_value("finished deliveries", &2, || {
        state_of_shown(&good) + state_of_shown(&bad)
    });

    let ann = the.ann();
    let webhook = ann.see(&the.path(&format!("webhooks/{}", made.id)));
    for shown in ["Shown", "order.placed", "order.lost", "Succeeded", "Failed"] {
        assert!(
            webhook.text().contains(shown),
            "no {shown}: {}",
            webhook.text()
        );
    }
    let delivery_of = |event: &str| {
        let ids = the.data.delivery_ids(event);
        let links = webhook.links();
        ids.into_iter()
            .find(|id| {
                links
                    .iter()
                    .any(|link| link.ends_with(&format!("/deliveries/{id}")))
            })
            .expect("a link from the webhook to its delivery")
    };
    let page = ann.see(&the.path(&format!("deliveries/{}", delivery_of(&good))));
    let message = receiver.wait_for_type("order.placed").message_id();
    for shown in [
        "Succeeded",
        "body with status 200",
        "x-receiver",
        "answered-by-test",
        "c-4711",
        &message,
        "webhook-signature",
        "200",
    ] {
        assert!(page.text().contains(shown), "no {shown}: {}", page.text());
    }
    let page = ann.see(&the.path(&format!("deliveries/{}", delivery_of(&bad))));
    for shown in ["Failed", "body with status 500", "500"] {
        assert!(page.text().contains(shown), "no {shown}: {}", page.text());
    }
    let attempts = receiver
        .requests()
        .iter()
        .filter(|r| r.json()["type"] == "order.lost")
        .count();
    assert_eq!(attempts, 3, "as many as the schedule has");

    let all = ann.see(&the.path("deliveries"));
    assert!(all.text().contains("order.lost") && all.text().contains("order.placed"));
    let event = ann.see(&the.path(&format!("events/{good}")));
    for shown in ["order.placed", "c-4711", "Shown"] {
        assert!(event.text().contains(shown), "no {shown}: {}", event.text());
    }
}

#[test]
fn an_event_that_matched_no_webhook_says_so() {
    let the = Box::new();
    let id = the.server.track(&the.tenant.key, "u", "Unwanted By All");
    let page = the.ann().see(&the.path(&format!("events/{id}"))).text();
    assert!(page.to_lowercase().contains("no webhook"), "{page}");
}

#[test]
fn a_workspace_is_renamed_and_keeps_its_address() {
    let the = Box::new();
    let ann = the.ann();
    ann.submit(&the.path("rename"), &[("name", "Better Name")]);
    assert!(ann.see("/workspaces").text().contains("Better Name"));
    ann.see(&the.path("events"));
    ann.see(&format!("/w/{}/events", the.tenant.id));
}

#[test]
fn the_list_of_events_goes_back_page_by_page() {
    const EVENTS: usize = 120;
    let the = Box::new();
    for n in 0..EVENTS {
        the.server
            .track(&the.tenant.key, "u", &format!("Numbered {n:03}"));
    }
    let expected: Vec<_> = (0..EVENTS).rev().map(|n| format!("{n:03}")).collect();
    let mut seen = the.numbers_page_by_page("events");
    seen.dedup();
    assert_eq!(seen, expected, "newest first, each once");
}

#[test]
fn the_list_of_deliveries_goes_back_page_by_page_over_all_webhooks() {
    const EVENTS: usize = 120;
    let data = Data::new();
    let tenant = data.tenant("Acme");
    data.member(&tenant.id, "ann@example.com", "owner");
    let webhook = |name, patterns: &[&str]| {
        data.webhook(&tenant.id, name, "http://127.0.0.1:1/", patterns)
            .id
    };
    let gone = webhook("Gone", &["*"]);
    webhook("First Two", &["Numbered 000", "Numbered 001"]);
    webhook("None", &["Never"]);
    let all = webhook("All", &["*"]);
    let source = data.source(&tenant.id, "Shop");
    // Nothing is settled while this runs, however long it takes.
    let options = Options {
        retry_schedule: "0s,1h".to_owned(),
        ..Options::default()
    };
    let server = Server::start(&data, &options);
    let the = Box {
        data,
        tenant,
        webhook: all,
        source,
        server,
    };
    for n in 0..EVENTS {
        the.server
            .track(&the.tenant.key, "u", &format!("Numbered {n:03}"));
    }
    // Two webhooks fail, and each is told so of the other.
    let notices = "SELECT count(*) FROM message WHERE type = 'system.webhook_failing'";
    wait_for_value("the notices of failing", &2, || the.data.number(notices));
    let delete = the.path(&format!("webhooks/{gone}/delete"));
    let text = the.ann().see(&delete).text();
    assert!(
        text.contains("121 deliveries that it is still owed"),
        "{text}"
    );
    the.ann().submit(&delete, &[("confirm", "Gone")]);
    let expected: Vec<_> = (0..EVENTS)
        .rev()
        .flat_map(|n| vec![format!("{n:03}"); if n < 2 { 3 } else { 2 }])
        .collect();
    assert_eq!(
        the.numbers_page_by_page("deliveries"),
        expected,
        "newest first"
    );
}

// HOSTILE NAMES -----------------------------------------------------------------------------

/// Tries to end an attribute, a tag, a script and a comment.
const HOSTILE: &str = r#"x'"><script>alert(1)</script><img src=x onerror=alert(2)>--&lt;b&gt;"#;

#[track_caller]
fn assert_page_is_inert(path: &str, page: &Page) {
    for raw in ["<script>alert", "<img src=x", "onerror=alert(2)>"] {
        assert!(!page.html.contains(raw), "{path} has {raw} as it came");
    }
    assert_eq!(page.header("content-security-policy"), POLICY, "{path}");
    assert_eq!(page.header("x-content-type-options"), "nosniff", "{path}");
    assert_eq!(page.header("referrer-policy"), "same-origin", "{path}");
    assert_eq!(
        page.header("cross-origin-opener-policy"),
        "same-origin",
        "{path}"
    );
    for script in page.tags("script") {
        assert!(
            script.contains("src="),
            "{path} has a script of its own: {script}"
        );
    }
    for link in page.links() {
        assert!(
            !link.contains("evil.example"),
            "{path} links what an event said: {link}"
        );
        assert!(
            !link.to_lowercase().starts_with("javascript:"),
            "{path}: {link}"
        );
    }
}

#[test]
fn hostile_names_are_shown_and_do_nothing() {
    let receiver = Receiver::always(Answer::Whole(
        500,
        vec![
            ("x-hostile", HOSTILE.to_owned()),
            ("content-type", "text/html".to_owned()),
        ],
        HOSTILE.as_bytes().to_vec(),
    ));
    let the = Box::new();
    let ann = the.ann();
    ann.submit(&the.path("rename"), &[("name", HOSTILE)]);
    made(&ann.post(
        &the.path("keys"),
        &[("name", HOSTILE), ("scope", "write:events")],
    ));
    let url = receiver.url("/?q=%22%3E%3Cscript%3Ealert(1)");
    made(&ann.post(
        &the.path("webhooks"),
        &[
            ("name", HOSTILE),
            ("url", &url),
            ("event", "*"),
            ("event", HOSTILE),
        ],
    ));
    the.data.member(&the.tenant.id, "eve@example.com", "viewer");
    let hostile = serde_json::json!({
        HOSTILE: HOSTILE, "link": "https://evil.example/click", "script": "javascript:alert(3)"
    });
    let track = serde_json::json!({
        "userId": HOSTILE, "type": "track", "timestamp": "2026-11-22T10:00:00Z", "event": HOSTILE,
        "properties": hostile
    });
    let identify = serde_json::json!({
        "userId": HOSTILE, "type": "identify", "timestamp": "2026-11-22T10:00:00Z", "traits": hostile
    });
    the.server.accept(&the.tenant.key, track.to_string());
    the.server.accept(&the.tenant.key, identify.to_string());
    wait_until(
        "both deliveries to fail and both events to be projected",
        || {
            let failed = the
                .data
                .number("SELECT count(*) FROM delivery WHERE state = 'failed'");
            (failed == 2 && the.data.rows("timeline") == 2).then_some(())
        },
    );

    // Every page that can be reached by links, and the ones that a form asks for.
    let query = serde_urlencoded(&[("q", HOSTILE)]);
    let mut waiting = vec![
        the.path(&format!("profiles?{query}")),
        the.path("nothing-here"),
        format!("/w/{}", the.tenant.slug),
        "/workspaces".to_owned(),
    ];
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let mut shown = BTreeSet::new();
    while let Some(path) = waiting.pop() {
        if !seen.insert(path.clone()) || seen.len() > 120 {
            continue;
        }
        let page = ann.get(&path);
        assert_ne!(page.status, 500, "{path}: {}", page.text());
        if page.status == 303 || !page.header("content-type").starts_with("text/html") {
            continue;
        }
        assert_page_is_inert(&path, &page);
        if page.exact_text().contains("<script>alert(1)</script>") {
            let kind = path
                .split('/')
                .nth(3)
                .unwrap_or("")
                .split('?')
                .next()
                .unwrap_or("");
            shown.insert(kind.to_owned());
        }
        waiting.extend(page.links().into_iter().filter_map(|link| {
            let link = link.split('#').next().unwrap_or("").to_owned();
            let is_ours = link.starts_with('/') && !link.starts_with("//");
            if is_ours {
                Some(link)
            } else if link.starts_with('?') {
                Some(format!("{}{link}", path.split('?').next().unwrap_or("")))
            } else {
                None
            }
        }));
    }
    for kind in [
        "events",
        "profiles",
        "webhooks",
        "deliveries",
        "keys",
        "workspaces",
    ] {
        let is_shown = shown.contains(kind) || (kind == "workspaces" && shown.contains(""));
        assert!(
            is_shown,
            "{kind} never showed the hostile text; shown on {shown:?}, seen {seen:?}"
        );
    }
}

#[test]
fn what_a_form_gives_back_is_escaped() {
    let the = Box::new();
    let ann = the.ann();
    let page = ann.post(
        &the.path("webhooks"),
        &[("name", HOSTILE), ("url", HOSTILE), ("event", HOSTILE)],
    );
    assert_eq!(page.status, 422);
    assert_page_is_inert("the refused form", &page);
    let page = Visitor::new(&the.server).sign_in(HOSTILE, HOSTILE);
    assert_page_is_inert("the refused sign-in", &page);
}

#[test]
fn every_answer_for_people_has_the_policy() {
    let the = Box::new();
    let stranger = Visitor::new(&the.server);
    let ann = the.ann();
    for (visitor, path) in [
        (&stranger, "/login".to_owned()),
        (&stranger, "/workspaces".to_owned()),
        (&stranger, "/setup".to_owned()),
        (&ann, "/workspaces".to_owned()),
        (&ann, the.path("events")),
        (&ann, the.path("events/evt_0000000000001")),
        (&ann, "/w/nowhere".to_owned()),
        (&ann, the.path("no/such/page")),
    ] {
        let page = visitor.get(&path);
        assert_eq!(
            page.header("content-security-policy"),
            POLICY,
            "{path} ({})",
            page.status
        );
    }
    let foreign = ann.send(Method::POST, &the.path("webhooks"), &[], Some(&[]));
    assert_eq!(
        (foreign.status, foreign.header("content-security-policy")),
        (403, POLICY)
    );
}

#[test]
fn a_secret_is_in_no_page_that_can_be_come_back_to() {
    let the = Box::new();
    let made = the
        .data
        .webhook(&the.tenant.id, "Secretive", "https://example.com/", &["*"]);
    let source = the.data.json(&[
        "source",
        "create",
        "Shop",
        "--workspace",
        &the.tenant.id,
        "--json",
    ]);
    let ann = the.ann();
    let secrets = [
        made.secret.as_str(),
        the.tenant.key.as_str(),
        &text(&source, "identity_secret"),
    ];
    for path in [
        "webhooks".to_owned(),
        format!("webhooks/{}", made.id),
        format!("webhooks/{}/edit", made.id),
        format!("webhooks/{}/secret", made.id),
        "keys".to_owned(),
    ] {
        let page = ann.see(&the.path(&path));
        for secret in secrets {
            assert!(!page.html.contains(secret), "{path} holds a secret");
        }
        assert!(!page.header("cache-control").contains("public"), "{path}");
    }
}

#[test]
fn a_form_that_drips_in_is_closed() {
    use std::io::{Read as _, Write as _};
    let (_data, _tenant, server) = Data::served();
    let address = server.url.strip_prefix("http://").unwrap();
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    let head = format!(
        "POST /login HTTP/1.1\r\nhost: {address}\r\norigin: {}\r\ncontent-type: application/x-www-form-urlencoded\r\n\
         content-length: 100\r\n\r\nemail=",
        server.url
    );
    stream.write_all(head.as_bytes()).unwrap();
    // The rest never comes; the box gives it twenty seconds.
    stream
        .set_read_timeout(Some(std::time::Duration::from_secs(28)))
        .unwrap();
    let mut start = [0; 12];
    stream.read_exact(&mut start).unwrap();
    assert_eq!(&start, b"HTTP/1.1 408");
}
