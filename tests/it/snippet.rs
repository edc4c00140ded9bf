//! The browser script in a real browser: a page of another origin loads it from the box, and the log says
//! what it sent.

use crate::browser::{Browser, PATIENCE, run};
use crate::support::data::MadeSource;
use crate::support::{Answer, Data, Receiver, Server, wait_at_most, wait_until};
use fantoccini::Client;
use reqwest::Method;
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::sync::{Arc, OnceLock};

/// What the script may weigh on its way to a browser (wire.md, "Browser snippet").
const MAX_GZIPPED_BYTES: usize = 3 * 1024;
const YEAR_S: u64 = 365 * 24 * 3600;

// SERVED ------------------------------------------------------------------------------------

#[test]
fn the_script_is_small_and_any_site_may_load_it() {
    let data = Data::new();
    let server = data.serve();
    let response = server.get("/pillarbox.js");
    assert_eq!(response.status(), 200);
    let headers = response.headers().clone();
    assert_eq!(headers["content-type"], "text/javascript; charset=utf-8");
    assert_eq!(headers["access-control-allow-origin"], "*");
    assert_eq!(headers["cross-origin-resource-policy"], "cross-origin");
    assert_eq!(headers["cache-control"], "public, max-age=300");
    let script = response.bytes().unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&script).unwrap();
    let len = gzip.finish().unwrap().len();
    assert!(len < MAX_GZIPPED_BYTES, "{len} bytes gzipped");

    let request = |method| server.http.request(method, server.at("/pillarbox.js"));
    let compressed = request(Method::GET)
        .header("accept-encoding", "gzip")
        .send()
        .unwrap();
    assert_eq!(compressed.headers()["content-encoding"], "gzip");
    let body = compressed.bytes().unwrap();
    assert!(body.len() < MAX_GZIPPED_BYTES, "{} bytes", body.len());
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(&*body)
        .read_to_end(&mut plain)
        .unwrap();
    assert_eq!(plain, script);

    let known = request(Method::GET)
        .header("if-none-match", headers["etag"].clone())
        .send()
        .unwrap();
    assert_eq!(known.status(), 304);
    assert_eq!(request(Method::HEAD).send().unwrap().status(), 200);
    assert_eq!(request(Method::POST).send().unwrap().status(), 405);
}

// IN A BROWSER ------------------------------------------------------------------------------

/// A box, and a site of another origin whose every page loads the script from it.
struct Setting {
    data: Data,
    source: MadeSource,
    site: Receiver,
    _server: Server,
}

impl Setting {
    fn new() -> Self {
        let tags = Arc::new(OnceLock::<String>::new());
        let known = Arc::clone(&tags);
        let site = Receiver::new(move |request| {
            let line = request.line();
            let path = line.split(' ').nth(1).unwrap_or_default();
            let tag = known.get().map_or("", String::as_str);
            page(path, tag)
        });
        let data = Data::new();
        let tenant = data.tenant("Shop");
        let source = data.site(&tenant.id, &[&site.url("")]);
        let server = data.serve();
        let id = &source.id;
        let tag = format!(
            r#"<script async src="{}/pillarbox.js" data-source="{id}" REFUSAL></script>"#,
            server.url
        );
        tags.set(tag).unwrap();
        Self {
            data,
            source,
            site,
            _server: server,
        }
    }

    /// The events of these names once all of them are there, in the order of the log.
    #[track_caller]
    fn wait_for(&self, names: &[&str]) -> Vec<Value> {
        let what = format!("the events {names:?}");
        wait_at_most(PATIENCE, &what, || {
            let events = self.data.events();
            let found: Vec<_> = events.iter().map(|event| text(event, "name")).collect();
            if found.len() >= names.len() {
                assert_eq!(found, names);
                return Some(events);
            }
            None
        })
    }
}

/// The site's page at `path`; what the path names is there before the script.
fn page(path: &str, tag: &str) -> Answer {
    const STUB: &str = "window.pillarbox = window.pillarbox || function () { (pillarbox.q = pillarbox.q || []).push(arguments) };
         pillarbox('event', 'Called Early', { path: location.pathname });";
    let says = |place: &str, name: &str, value: &str| {
        format!("Object.defineProperty({place}, '{name}', {{value: '{value}'}}); {STUB}")
    };
    let tag = match path {
        "/gpc-unheeded" => tag.replace("REFUSAL", r#"data-respect-dnt="false""#),
        "/module" => tag.replace("REFUSAL", r#"type="module""#),
        "/no-source" => tag.replace("data-source", "data-other"),
        _ => tag.replace("REFUSAL", ""),
    };
    let before = match path {
        "/favicon.ico" => return Answer::Status(200),
        "/gpc" | "/gpc-unheeded" => says("navigator", "globalPrivacyControl", "1"),
        "/dnt" => says("navigator", "doNotTrack", "1"),
        "/dnt-yes" => says("navigator", "doNotTrack", "yes"),
        "/dnt-ms" => says("navigator", "msDoNotTrack", "1"),
        "/dnt-window" => says("window", "doNotTrack", "yes"),
        "/array" => "window.pillarbox = ['x', null];".to_owned(),
        "/no-queue" => "window.pillarbox = { q: {} };".to_owned(),
        "/odd-calls" => {
            "window.pillarbox = { q: [null, undefined, 7, [Symbol('s')], ['identify', null],
            ['event', 'Called Early']] };"
                .to_owned()
        }
        "/churnkey" => {
            format!("window.churnkey = {{ event: () => Promise.resolve('theirs') }}; {STUB}")
        }
        _ => STUB.to_owned(),
    };
    let html = format!("<!doctype html><title>Shop</title><script>{before}</script>{tag}");
    let headers = vec![("content-type", "text/html; charset=utf-8".to_owned())];
    Answer::Whole(200, headers, html.into_bytes())
}

fn text(event: &Value, member: &str) -> String {
    event[member].as_str().unwrap_or_default().to_owned()
}

/// The page that an event says it happened on.
fn page_of(event: &Value) -> Value {
    let context: Value = serde_json::from_str(event["context"].as_str().unwrap()).unwrap();
    context["page"].clone()
}

async fn open(client: &Client, url: &str) {
    client.goto(url).await.unwrap();
    let started = std::time::Instant::now();
    while execute(client, "return Boolean(window.pillarbox.loaded)").await != json!(true) {
        assert!(
            started.elapsed() < PATIENCE,
            "{url} never loaded the script"
        );
        tokio::task::yield_now().await;
    }
}

async fn execute(client: &Client, script: &str) -> Value {
    client
        .execute(script, vec![])
        .await
        .unwrap_or_else(|e| panic!("{script}: {e}"))
}

#[test]
fn a_page_is_followed_from_its_first_view_to_the_last() {
    let setting = Setting::new();
    let browser = Browser::start();
    let home = setting.site.url("/?utm_source=newsletter");
    let hash = setting.source.sign("cus_1");
    run(async {
        let client = browser.client().await;
        open(&client, &home).await;
        let events = setting.wait_for(&["page", "Called Early"]);
        let visitor = execute(&client, "return pillarbox('visitorId')").await;
        let visitor = visitor.as_str().unwrap().to_owned();
        assert_eq!(visitor.len(), 36, "{visitor}");
        for event in &events {
            assert_eq!(text(event, "visitor_id"), visitor);
            assert_eq!(text(event, "verification"), "unverified");
            assert_eq!(text(event, "dedup_key").len(), 36, "{event}");
        }
        let shown = page_of(&events[0]);
        assert_eq!(
            (&shown["url"], &shown["title"]),
            (&json!(home), &json!("Shop"))
        );
        assert_eq!(text(&events[1], "properties"), r#"{"path":"/"}"#);

        let cookie = client.get_named_cookie("_pb_vid").await.unwrap();
        assert_eq!(cookie.value(), visitor);
        assert_eq!(cookie.path(), Some("/"));
        assert_eq!(
            cookie
                .same_site()
                .map(|policy| policy.to_string())
                .as_deref(),
            Some("Lax")
        );
        let left = cookie.expires_datetime().unwrap() - std::time::SystemTime::now();
        let left = u64::try_from(left.whole_seconds()).unwrap();
        assert!((YEAR_S - 600..=YEAR_S).contains(&left), "{left} s");

        // Navigation without a load, and a change of the address that shows no other page.
        execute(
            &client,
            "history.pushState({}, '', '/pricing');
             history.replaceState({}, '', '/pricing#plans');
             history.replaceState({}, '', '/pricing?period=year');
             history.back();",
        )
        .await;
        let events = setting.wait_for(&["page", "Called Early", "page", "page", "page"]);
        let pages: Vec<_> = events[2..]
            .iter()
            .map(|event| {
                let page = page_of(event);
                [page["url"].clone(), page["referrer"].clone()]
            })
            .collect();
        let at = |path: &str| json!(setting.site.url(path));
        assert_eq!(
            pages,
            [
                [at("/pricing"), json!(home)],
                [at("/pricing?period=year"), at("/pricing")],
                [json!(home), at("/pricing?period=year")],
            ]
        );

        let script = format!(
            "pillarbox('identify', {{ userId: 7, email: 'u@example.com', customerId: 'cus_1', authHash: '{hash}', plan: 'pro' }});
             pillarbox('event', 'Plan Chosen', {{ seats: 3 }});
             pillarbox('page', {{ step: 2 }});"
        );
        execute(&client, &script).await;
        let names = [
            "page",
            "Called Early",
            "page",
            "page",
            "page",
            "identify",
            "Plan Chosen",
            "page",
        ];
        let events = setting.wait_for(&names);
        for event in &events[5..] {
            assert_eq!(text(event, "user_id"), "7");
            assert_eq!(text(event, "email"), "u@example.com");
            assert_eq!(text(event, "customer_id"), "cus_1");
            assert_eq!(text(event, "visitor_id"), visitor);
            assert_eq!(text(event, "verification"), "signed");
        }
        assert_eq!(text(&events[5], "traits"), r#"{"plan":"pro"}"#);
        assert_eq!(text(&events[6], "properties"), r#"{"seats":3}"#);
        assert_eq!(text(&events[7], "properties"), r#"{"step":2}"#);

        // The next page is the same visitor's.
        open(&client, &setting.site.url("/next")).await;
        let same = execute(&client, "return pillarbox('visitorId')").await;
        assert_eq!(same, json!(visitor));
        assert_eq!(browser.console(&client).await, Vec::<String>::new());
        client.close().await.unwrap();
    });
}

#[test]
fn what_could_not_be_sent_is_sent_again_or_when_the_page_goes() {
    let setting = Setting::new();
    let browser = Browser::start();
    run(async {
        let client = browser.client().await;
        open(&client, &setting.site.url("/")).await;
        setting.wait_for(&["page", "Called Early"]);
        execute(
            &client,
            "const real = window.fetch;
             window.fetch = () => { window.fetch = real; return Promise.reject(new Error('no network')); };
             pillarbox('event', 'Tried Again');",
        )
        .await;
        setting.wait_for(&["page", "Called Early", "Tried Again"]);

        // One that the box refuses takes no other with it, and one that cannot be written breaks nothing.
        execute(
            &client,
            "const circle = {}; circle.circle = circle;
             pillarbox('event', 'Unwritten', circle);
             pillarbox('nonsense');
             pillarbox('event', 'system.forged');
             pillarbox('event', 'Beside It');",
        )
        .await;
        setting.wait_for(&["page", "Called Early", "Tried Again", "Beside It"]);
        let console = browser.console(&client).await.join("\n");
        for said in ["circular", "nonsense", "system."] {
            assert!(console.contains(said), "no {said} in\n{console}");
        }

        // Without fetch, only a beacon brings this one, and not together with what is refused.
        execute(
            &client,
            "window.fetch = () => Promise.reject(new Error('no network'));
             pillarbox('event', 'system.forged');
             pillarbox('event', 'Left');
             pillarbox('event', 'system.forged');
             location.href = '/gpc';",
        )
        .await;
        let events =
            setting.wait_for(&["page", "Called Early", "Tried Again", "Beside It", "Left"]);
        assert_eq!(text(&events[4], "verification"), "unverified");
        client.close().await.unwrap();
    });
}

#[test]
fn half_an_emoji_costs_nothing_and_what_is_no_event_costs_only_itself() {
    let setting = Setting::new();
    let browser = Browser::start();
    run(async {
        let client = browser.client().await;
        open(&client, &setting.site.url("/")).await;
        setting.wait_for(&["page", "Called Early"]);
        execute(
            &client,
            r"document.title = 'Cut \ud83d';
              pillarbox('event', 'Said', { '\udc00': '\ud83d|\\ud83d|\ud83d\ude00|\n' });
              pillarbox('event', 'Beside It');",
        )
        .await;
        let events = setting.wait_for(&["page", "Called Early", "Said", "Beside It"]);
        assert_eq!(page_of(&events[2])["title"], json!("Cut \u{fffd}"));
        let properties: Value = serde_json::from_str(&text(&events[2], "properties")).unwrap();
        let said = json!({"\u{fffd}": "\u{fffd}|\\ud83d|\u{1f600}|\n"});
        assert_eq!(properties, said);

        // The whole body is refused, 400, for one that nests too deep.
        execute(
            &client,
            "let deep = {};
             for (let at = 0; at < 70; at++) deep = { deep };
             pillarbox('event', 'Before It');
             pillarbox('event', 'Too Deep', deep);
             pillarbox('event', 'After It');",
        )
        .await;
        setting.wait_for(&[
            "page",
            "Called Early",
            "Said",
            "Beside It",
            "Before It",
            "After It",
        ]);
        client.close().await.unwrap();
    });
}

#[test]
fn a_page_goes_on_whatever_stands_where_the_script_looks() {
    let setting = Setting::new();
    let browser = Browser::start();
    run(async {
        let client = browser.client().await;
        let mut names = Vec::new();
        for (path, came) in [
            ("/module", vec!["page", "Called Early"]),
            ("/array", vec!["page"]),
            ("/no-queue", vec!["page"]),
            ("/odd-calls", vec!["page", "Called Early"]),
        ] {
            open(&client, &setting.site.url(path)).await;
            names.extend(came);
            setting.wait_for(&names);
            let console = browser.console(&client).await.join("\n");
            assert!(!console.contains("Uncaught"), "{path}: {console}");
        }
        // One that does not know its source does nothing but say so.
        client.goto(&setting.site.url("/no-source")).await.unwrap();
        let started = std::time::Instant::now();
        let mut console = String::new();
        while !console.contains("data-source") {
            assert!(started.elapsed() < PATIENCE, "the console says:\n{console}");
            console += &browser.console(&client).await.join("\n");
        }
        assert!(!console.contains("Uncaught"), "{console}");
        let said = execute(
            &client,
            "return [pillarbox.loaded, window.churnkey, pillarbox.q.length]",
        );
        assert_eq!(said.await, json!([null, null, 1]));
        setting.wait_for(&names);
        client.close().await.unwrap();
    });
}

#[test]
fn churnkeys_call_is_tried_again_and_another_ones_is_left_alone() {
    let setting = Setting::new();
    let browser = Browser::start();
    run(async {
        let client = browser.client().await;
        open(&client, &setting.site.url("/churnkey")).await;
        setting.wait_for(&["page", "Called Early"]);
        let script = "return window.churnkey.event({ customerId: 'c', event: 'Theirs' })";
        assert_eq!(execute(&client, script).await, json!("theirs"));

        open(&client, &setting.site.url("/")).await;
        let names = ["page", "Called Early", "page", "Called Early"];
        setting.wait_for(&names);
        // The first is stored and its answer lost; it is stored once.
        let answer = execute(
            &client,
            "const real = window.fetch;
             window.fetch = (...request) => {
               window.fetch = real;
               return real(...request).then(() => { throw new Error('no answer'); });
             };
             return window.churnkey.event({ customerId: 'cus_1', event: 'Tried Again' })",
        )
        .await;
        assert_eq!(answer["status"], json!("success"));
        let names = [&names[..], &["Tried Again"]].concat();
        setting.wait_for(&names);
        execute(
            &client,
            "window.fetch = () => Promise.reject(new Error('no network'));
             window.churnkey.event({ customerId: 'cus_1', event: 'Left' });
             location.href = '/gpc';",
        )
        .await;
        setting.wait_for(&[&names[..], &["Left"]].concat());
        client.close().await.unwrap();
    });
}

#[test]
fn churnkeys_call_posts_to_churnkeys_endpoint() {
    let setting = Setting::new();
    let browser = Browser::start();
    let hash = setting.source.sign("cus_a23");
    let id = &setting.source.id;
    run(async {
        let client = browser.client().await;
        open(&client, &setting.site.url("/")).await;
        setting.wait_for(&["page", "Called Early"]);
        let script = format!(
            "return window.churnkey.event({{
               customerId: 'cus_a23', customerEmail: 'jane@example.com', appId: '{id}', authHash: '{hash}',
               event: 'Post Created', eventData: {{ postType: 'image' }} }})"
        );
        let answer = execute(&client, &script).await;
        assert_eq!(
            (&answer["status"], &answer["verified"]),
            (&json!("success"), &json!(true))
        );
        // The source of the tag, where none is named.
        let script = "return window.churnkey.event({ customerId: 'cus_a23', event: 'Unsigned' })";
        assert_eq!(execute(&client, script).await["verified"], json!(false));
        let events = setting.wait_for(&["page", "Called Early", "Post Created", "Unsigned"]);
        assert_eq!(text(&events[2], "customer_id"), "cus_a23");
        assert_eq!(text(&events[2], "email"), "jane@example.com");
        assert_eq!(text(&events[2], "verification"), "signed");
        assert_eq!(text(&events[2], "properties"), r#"{"postType":"image"}"#);
        assert_eq!(text(&events[3], "verification"), "unverified");
        client.close().await.unwrap();
    });
}

#[test]
fn a_site_that_is_not_listed_gets_nothing_stored_and_is_told() {
    let setting = Setting::new();
    let browser = Browser::start();
    let port = setting.site.address().port();
    run(async {
        let client = browser.client().await;
        open(&client, &format!("http://localhost:{port}/")).await;
        let script = "return window.churnkey.event({ customerId: 'c', event: 'A' })";
        assert_eq!(execute(&client, script).await, Value::Null);
        let mut console = String::new();
        let started = std::time::Instant::now();
        let told = format!("Pages of http://localhost:{port} may not post as this source");
        // Once for each endpoint: the page could read both answers.
        while console.matches(&told).count() < 2 {
            assert!(started.elapsed() < PATIENCE, "the console says:\n{console}");
            console += &browser.console(&client).await.join("\n");
        }
        assert_eq!(setting.data.rows("event"), 0);
        open(&client, &setting.site.url("/")).await;
        setting.wait_for(&["page", "Called Early"]);
        client.close().await.unwrap();
    });
}

#[test]
fn who_asks_not_to_be_tracked_is_not() {
    let setting = Setting::new();
    let browser = Browser::start();
    run(async {
        let client = browser.client().await;
        for path in ["/gpc", "/dnt", "/dnt-yes", "/dnt-ms", "/dnt-window"] {
            open(&client, &setting.site.url(path)).await;
            let said = execute(
                &client,
                "pillarbox('event', 'Seen'); pillarbox('page'); pillarbox('identify', { userId: 'u' });
                 history.pushState({}, '', '/elsewhere');
                 return window.churnkey.event({ customerId: 'c', event: 'Seen' })
                   .then((answer) => [answer, pillarbox('visitorId'), document.cookie]);",
            )
            .await;
            assert_eq!(said, json!([null, null, ""]), "{path}");
        }
        // Leaving these pages sends nothing either: this one's events are the first.
        open(&client, &setting.site.url("/gpc-unheeded")).await;
        let events = setting.wait_for(&["page", "Called Early"]);
        assert_eq!(
            text(&events[1], "properties"),
            r#"{"path":"/gpc-unheeded"}"#
        );
        let requests = wait_until("the pages to be there", || {
            let requests = setting.site.requests();
            (requests.len() >= 6).then_some(requests)
        });
        assert!(
            requests
                .iter()
                .any(|request| request.line().contains("/dnt"))
        );
        client.close().await.unwrap();
    });
}
