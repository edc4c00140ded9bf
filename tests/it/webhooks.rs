//! The pages of webhooks: what can be said of one comes back as it was said, what is wrong is refused at its
//! place, what is secret is shown to nobody but who may see it, and what the box says about verifying is so.

use crate::browser::{Browser, PATIENCE, program, run};
use crate::support::data::PASSWORD;
use crate::support::page::{Page, attribute};
use crate::support::receiver::Request;
use crate::support::tls::Authority;
use crate::support::{Options, Receiver, Sending, Visitor, wait_for_value, wait_until};
use fantoccini::Locator;
use rusqlite::Connection;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

impl Sending {
    /// The page of the webhook that was made last, below `rest`.
    fn newest(&self, rest: &str) -> String {
        let id = self.data.number("SELECT max(id) FROM webhook");
        let id = pillarbox::id::WebhookId::from_i64(id);
        self.path(&format!("webhooks/{id}{rest}"))
    }

    /// How often something was written into the audit.
    fn audited(&self, action: &str) -> i64 {
        let sql = format!("SELECT count(*) FROM audit WHERE action = '{action}'");
        self.data.number(&sql)
    }
}

/// Everything that can be said of a webhook.
const EVERYTHING: [(&str, &str); 19] = [
    ("name", "All of It"),
    ("url", "https://example.com/hooks?a=1"),
    ("event", "tour.*"),
    ("event", "post.liked"),
    ("event", "Order Paid"),
    ("event", ""),
    ("format", "standard"),
    ("filter", "properties.plan = \"pro\""),
    ("filter", ""),
    ("filter", "properties.seats > 3"),
    ("header_name", "X-Team"),
    ("header_value", "blue"),
    ("header_name", "X-Api-Key"),
    ("header_value", "canary-key"),
    ("schedule", "0s,5s,5m"),
    ("concurrency", "3"),
    ("rate", "20"),
    ("ordered", "1"),
    ("signing", "ed25519"),
];

/// The fields of a page's form as a browser would send them: what is not ticked is not sent.
fn filled(page: &Page, action: &str) -> Vec<(String, String)> {
    page.tags("input")
        .iter()
        .filter_map(|tag| {
            let name = attribute(tag, "name")?;
            let kind = attribute(tag, "type").unwrap_or_default();
            let is_choice = matches!(kind.as_str(), "checkbox" | "radio");
            let is_sent = !is_choice || attribute(tag, "checked").is_some();
            let value = attribute(tag, "value").unwrap_or_default();
            (is_sent && name != "csrf").then_some((name, value))
        })
        .chain((action == "check").then(|| ("check".to_owned(), "1".to_owned())))
        .collect()
}

fn borrowed(fields: &[(String, String)]) -> Vec<(&str, &str)> {
    fields
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect()
}

/// The values of a field, blanks left out, in their order.
fn values(fields: &[(String, String)], name: &str) -> Vec<String> {
    fields
        .iter()
        .filter(|(field, value)| field == name && !value.is_empty())
        .map(|(_, value)| value.clone())
        .collect()
}

/// `fields` with one of them replaced.
fn with<'f>(
    fields: &[(&'f str, &'f str)],
    name: &'f str,
    value: &'f str,
) -> Vec<(&'f str, &'f str)> {
    let mut fields: Vec<_> = fields
        .iter()
        .copied()
        .filter(|(field, _)| *field != name)
        .collect();
    fields.push((name, value));
    fields
}

// THE FORM ----------------------------------------------------------------------------------

#[test]
fn everything_that_is_said_in_the_form_comes_back() {
    let the = Sending::to("http://127.0.0.1:1/");
    let ann = the.ann();
    let made = ann.post(&the.path("webhooks"), &EVERYTHING);
    assert_eq!(made.status, 201, "{}", made.text());
    let sql =
        "SELECT count(*) FROM webhook WHERE signing = 'ed25519' AND is_ordered = 1 AND rate = 20
        AND concurrency = 3 AND schedule = '0s,5s,5m'";
    assert_eq!(the.data.number(sql), 1);

    let edit = ann.see(&the.newest("/edit"));
    let first = filled(&edit, "save");
    for (name, wanted) in [
        ("name", vec!["All of It"]),
        ("url", vec!["https://example.com/hooks?a=1"]),
        // What is offered is ticked where it stands, and the rest is written below.
        ("event", vec!["tour.*", "post.liked", "Order Paid"]),
        ("format", vec!["standard"]),
        (
            "filter",
            vec!["properties.plan = \"pro\"", "properties.seats > 3"],
        ),
        ("header_name", vec!["x-team", "x-api-key"]),
        ("header_value", vec!["blue", pillarbox::webhook::KEPT]),
        ("schedule", vec!["0s,5s,5m"]),
        ("concurrency", vec!["3"]),
        ("rate", vec!["20"]),
        ("ordered", vec!["1"]),
        ("signing", vec![]),
    ] {
        assert_eq!(values(&first, name), wanted, "{name}");
    }
    // Sent as it stands, nothing changes, the secret value neither.
    ann.submit(&the.newest(""), &borrowed(&first));
    let again = ann.see(&the.newest("/edit"));
    let what_is_said = |mut fields: Vec<(String, String)>| {
        fields.retain(|(name, _)| name != "as_of");
        fields
    };
    assert_eq!(
        what_is_said(filled(&again, "save")),
        what_is_said(first.clone())
    );

    let page = ann.see(&the.newest("")).text();
    for words in [
        "Order Paid",
        "Standard",
        "Ed25519",
        "properties.seats > 3",
        "x-team: blue",
        "0s,5s,5m",
        "in the order of the events",
        "at most 20 a second",
    ] {
        assert!(page.contains(words), "{words:?} is not in {page}");
    }
    assert!(!page.contains("canary-key"));

    // How it signs is changed elsewhere, and a new one has nothing to forget.
    let signing = with(&borrowed(&first), "signing", "hmac");
    assert_eq!(ann.post(&the.newest(""), &signing).status, 422);
    let forgetting = with(&EVERYTHING, "drop_credentials", "1");
    assert_eq!(ann.post(&the.path("webhooks"), &forgetting).status, 422);

    // And what was set can be taken away again.
    let bare = [
        ("name", "Less of It"),
        ("url", "https://example.com/hooks?a=1"),
        ("event", "*"),
    ];
    ann.submit(&the.newest(""), &bare);
    let less = filled(&ann.see(&the.newest("/edit")), "save");
    for name in [
        "filter",
        "header_name",
        "schedule",
        "concurrency",
        "rate",
        "ordered",
    ] {
        assert_eq!(values(&less, name), [""; 0], "{name}");
    }
    assert_eq!(values(&less, "event"), ["*"]);
}

#[test]
fn the_command_takes_everything_that_the_form_takes() {
    let the = Sending::to("http://127.0.0.1:1/");
    let arguments = [
        "webhook",
        "create",
        "All of It",
        "--workspace",
        &the.tenant.id,
        "--url",
        "https://ann:s3cret@example.com/hooks",
        "--event",
        "*",
        "--filter",
        "properties.plan = pro",
        "--filter",
        "userId exists",
        "--header",
        "X-Team: blue: sky",
        "--schedule",
        "0s,1m",
        "--concurrency",
        "2",
        "--rate",
        "9",
        "--ordered",
        "--signing",
        "ed25519",
        "--json",
    ];
    the.data.json(&arguments);
    let form = filled(&the.ann().see(&the.newest("/edit")), "save");
    for (name, wanted) in [
        ("url", vec!["https://example.com/hooks"]),
        ("filter", vec!["properties.plan = \"pro\"", "userId exists"]),
        ("header_name", vec!["x-team"]),
        ("header_value", vec!["blue: sky"]),
        ("schedule", vec!["0s,1m"]),
        ("concurrency", vec!["2"]),
        ("rate", vec!["9"]),
        ("ordered", vec!["1"]),
    ] {
        assert_eq!(values(&form, name), wanted, "{name}");
    }
    let sql =
        "SELECT count(*) FROM webhook WHERE signing = 'ed25519' AND credentials_sealed IS NOT NULL";
    assert_eq!(the.data.number(sql), 1);

    let before = the.data.rows("webhook");
    for (flag, value, code, said) in [
        ("--header", "no colon", 2, "a colon"),
        ("--header", "Host: x", 1, "host is set by the box"),
        ("--header", "X-A: b\r\nX-C: d", 1, "line break"),
        ("--filter", "plan", 1, "Write a field"),
        ("--schedule", "soon", 1, "write delays"),
        ("--concurrency", "65", 1, "from 1 to 64"),
        ("--rate", "0", 1, "from 1 to"),
        ("--signing", "rsa", 2, "hmac, ed25519"),
    ] {
        let mut arguments = vec!["webhook", "create", "X", "--workspace", &the.tenant.id];
        arguments.extend(["--url", "https://example.com/", "--event", "*", flag, value]);
        let output = the.data.run(&arguments);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{flag} {value}: {errors}");
        assert!(errors.contains(said), "{flag} {value}: {errors}");
    }
    assert_eq!(the.data.rows("webhook"), before);
    let help = the.data.run(&["webhook", "create", "--help"]);
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    for flag in ["--filter", "--header", "--schedule", "--concurrency"] {
        assert!(help.contains(flag), "{flag} is not in {help}");
    }
}

#[test]
fn what_is_wrong_is_refused_at_its_field_and_stays_written() {
    let the = Sending::to("http://127.0.0.1:1/");
    let ann = the.ann();
    let before = (the.data.rows("webhook"), the.data.rows("audit"));
    let bare = [
        ("name", "Kept Name"),
        ("url", "https://kept.example/"),
        ("event", "*"),
    ];
    let header = |name, value| vec![("header_name", name), ("header_value", value)];
    let long = "x".repeat(4_097);
    for (fields, place, said) in [
        (header("X-A", "b\r\nX-C: d"), "header-0", "line break"),
        (header("X-A", "b\nc"), "header-0", "line break"),
        (header("X-A", "b\0"), "header-0", "control character"),
        (header("X-A", &long), "header-0", "more than 4096 bytes"),
        (header("X A", "b"), "header-0", "letters, digits"),
        (header("", "b"), "header-0", "a name"),
        (header("Host", "b"), "header-0", "another name"),
        (header("Content-Length", "1"), "header-0", "another name"),
        (header("transfer-encoding", "b"), "header-0", "another name"),
        (header("Connection", "b"), "header-0", "another name"),
        (header("Webhook-Id", "b"), "header-0", "another name"),
        (
            [header("X-A", "1"), header("x-a", "2")].concat(),
            "header-1",
            "twice",
        ),
        (
            vec![("filter", "userId exists"), ("filter", "plan")],
            "filter-1",
            "Write a field",
        ),
        (vec![("filter", "a =")], "filter-0", "value to compare"),
        (vec![("schedule", "soon")], "schedule", "write delays"),
        (vec![("schedule", "8days")], "schedule", "at most 7 days"),
        (vec![("concurrency", "65")], "concurrency", "from 1 to 64"),
        (vec![("rate", "1.5")], "rate", "from 1 to 10000"),
        (vec![("format", "xml")], "format", "none of the choices"),
        (vec![("signing", "rsa")], "signing", "none of the choices"),
    ] {
        let fields = [bare.to_vec(), fields].concat();
        let page = ann.post(&the.path("webhooks"), &fields);
        assert_eq!(page.status, 422, "{fields:?}");
        let id = format!("{place}-problem");
        let problem = page.tags("p").into_iter().find(|tag| {
            attribute(tag, "id").as_deref() == Some(&id)
                && attribute(tag, "role").as_deref() == Some("alert")
        });
        let problem = problem.unwrap_or_else(|| panic!("nothing is said at {id}: {fields:?}"));
        let (_, after) = page.html.split_once(&problem).unwrap();
        let (text, _) = after.split_once("</p>").unwrap();
        assert!(text.contains(said), "{id}: {text}");
        // The field says itself that it is wrong, and where that is described.
        let is_described = page.html.matches(&*id).count() > 1;
        assert!(is_described, "{id} describes no field");
        let kept = filled(&page, "save");
        for (name, value) in fields
            .iter()
            .filter(|(name, _)| !matches!(*name, "format" | "signing"))
        {
            // Browsers have no line breaks in an input; what stands there else is what was written.
            let is_kept = kept
                .iter()
                .any(|(field, now)| field == name && now == value);
            assert!(is_kept, "{name} = {value:?} is gone");
        }
        let is_folded = page.tags("details").iter().any(|tag| {
            attribute(tag, "class").as_deref() == Some("more") && attribute(tag, "open").is_none()
        });
        let is_advanced = !matches!(place, "format" | "signing");
        assert_eq!(is_folded, !is_advanced, "{id} stands in what is folded");
    }
    let filters: Vec<String> = (0..21).map(|n| format!("a = {n}")).collect();
    let mut too_many = bare.to_vec();
    too_many.extend(filters.iter().map(|filter| ("filter", filter.as_str())));
    let page = ann.post(&the.path("webhooks"), &too_many);
    assert!(page.status == 422 && page.text().contains("at most 20 filters"));
    let unknown = with(&bare, "state", "active");
    assert_eq!(ann.post(&the.path("webhooks"), &unknown).status, 422);
    assert_eq!(
        (the.data.rows("webhook"), the.data.rows("audit")),
        before,
        "something was kept all the same"
    );
}

#[test]
fn the_catalog_has_the_families_and_what_came_with_how_often() {
    let the = Sending::to("http://127.0.0.1:1/");
    for name in ["Order Paid", "Order Paid", "tour.started"] {
        the.server.track(&the.tenant.key, "u", name);
    }
    let ann = the.ann();
    let own = "SELECT coalesce(max(events), 0) FROM event_type WHERE name = 'Order Paid'";
    wait_for_value("the count of the type", &2, || the.data.number(own));
    let page = ann.see(&the.path("webhooks/new"));
    let offered: Vec<_> = page
        .tags("input")
        .iter()
        .filter(|tag| attribute(tag, "type").as_deref() == Some("checkbox"))
        .filter_map(|tag| attribute(tag, "value"))
        .collect();
    for name in [
        "*",
        "Order Paid",
        "tour.*",
        "tour.started",
        "checklist.task.skipped",
        "identify",
        "profile.*",
        "system.*",
    ] {
        let times = offered.iter().filter(|offer| *offer == name).count();
        assert_eq!(times, 1, "{name} in {offered:?}");
    }
    assert!(page.text().contains("Order Paid 2"), "{}", page.text());
}

#[test]
fn the_script_adds_rows_and_finds_events_and_the_console_stays_empty() {
    let the = Sending::to("http://127.0.0.1:1/");
    the.server.track(&the.tenant.key, "u", "Order Paid");
    let seen = "SELECT count(*) FROM event_type WHERE name = 'Order Paid'";
    wait_for_value("the type", &1, || the.data.number(seen));
    let browser = Browser::start();
    run(async {
        let client = browser.client().await;
        let at = |path: &str| the.server.at(path);
        client.goto(&at("/login")).await.unwrap();
        for (field, text) in [("email", "ann@example.com"), ("password", PASSWORD)] {
            let field = format!("[name={field}]");
            let field = client.find(Locator::Css(&field)).await.unwrap();
            field.send_keys(text).await.unwrap();
        }
        let submit = client.find(Locator::Css("form button")).await.unwrap();
        submit.click().await.unwrap();
        let inside = format!("a[href*='/w/{}']", the.tenant.slug);
        let patience = client.wait().at_most(PATIENCE);
        patience.for_element(Locator::Css(&inside)).await.unwrap();

        client.goto(&at(&the.path("webhooks/new"))).await.unwrap();
        let number = async |script: &str| {
            let value = client.execute(&format!("return {script}"), vec![]).await;
            value.unwrap().as_i64().unwrap()
        };
        let open = "document.querySelector('.more').open = true";
        client.execute(open, vec![]).await.unwrap();
        for (rows, inputs) in [("event", 1), ("filter", 1), ("header", 2)] {
            let count = format!("document.querySelectorAll('#{rows}-rows input').length");
            let before = number(&count).await;
            let first = format!("#{rows}-rows > :last-child");
            let last = client.find(Locator::Css(&first)).await.unwrap();
            if rows == "event" {
                last.send_keys("written").await.unwrap();
            }
            let add = format!("[data-add={rows}-rows]");
            let add = client.find(Locator::Css(&add)).await.unwrap();
            add.click().await.unwrap();
            assert_eq!(number(&count).await, before + inputs, "{rows}");
            let blank = format!(
                "[...document.querySelectorAll('#{rows}-rows > :last-child, #{rows}-rows > :last-child input')]\
                 .filter((input) => input.value).length"
            );
            assert_eq!(number(&blank).await, 0, "a new row is blank");
        }
        let shown = "[...document.querySelectorAll('#catalog label')]\
             .filter((label) => label.offsetParent).length";
        let find = client.find(Locator::Css("[data-find]")).await.unwrap();
        find.send_keys("order p\u{e007}").await.unwrap();
        assert_eq!(number(shown).await, 1);
        let url = client.current_url().await.unwrap();
        assert!(url.path().ends_with("/new"), "Enter has sent the form");
        client
            .goto(&at(&the.webhook_path("/secret")))
            .await
            .unwrap();
        client.goto(&at(&the.webhook_path(""))).await.unwrap();
        let said = browser.console(&client).await;
        assert!(said.is_empty(), "{said:?}");
        client.close().await.unwrap();
    });
}

// STATES ------------------------------------------------------------------------------------

#[test]
fn a_webhook_in_trouble_says_why_on_its_page_and_in_the_list() {
    let mut the = Sending::to("http://127.0.0.1:1/");
    let disabled = the
        .data
        .webhook(&the.tenant.id, "Stopped", "http://127.0.0.1:1/", &["*"]);
    the.server.terminate();
    let connection = Connection::open(the.data.file()).unwrap();
    let number = |id: &str| id.parse::<pillarbox::id::WebhookId>().unwrap().as_i64();
    let since_ms = now_ms() - 7_200_000;
    for made in [&the.webhook, &disabled] {
        connection
            .execute(
                "INSERT INTO webhook_health (webhook_id, failures, failing_since_ms) VALUES (?1, 12, ?2)",
                [number(&made.id), since_ms],
            )
            .unwrap();
    }
    let sql = "UPDATE webhook SET state = 'disabled', state_reason = 'The receiver answered 410 Gone.' WHERE id = ?1";
    connection.execute(sql, [number(&disabled.id)]).unwrap();
    drop(connection);
    the.server = the.data.serve();
    let ann = the.ann();
    let failing = ann.see(&the.webhook_path("")).text();
    assert!(
        failing.contains("12 attempts in a row have failed."),
        "{failing}"
    );
    assert!(
        failing.contains("No attempt has succeeded since 2 h ago"),
        "{failing}"
    );
    assert!(
        failing.contains("probed with one delivery at a time"),
        "{failing}"
    );
    let path = the.path(&format!("webhooks/{}", disabled.id));
    let stopped = ann.see(&path).text();
    assert!(
        stopped.contains("The receiver answered 410 Gone."),
        "{stopped}"
    );
    assert!(
        stopped.contains("No attempt has succeeded since 2 h ago"),
        "{stopped}"
    );
    let list = ann.see(&the.path("webhooks"));
    let said = list.text();
    assert!(
        said.contains("Failing 12 attempts in a row failed"),
        "{said}"
    );
    assert!(
        said.contains("Disabled The receiver answered 410 Gone."),
        "{said}"
    );
    // From the row: what sends can be paused, and what does not can be activated.
    let pause = the.webhook_path("/pause");
    assert!(list.forms().iter().any(|form| form.action == pause));
    assert!(list.links().contains(&format!("{path}/activate")));
    ann.submit(&pause, &[]);
    let list = ann.see(&the.path("webhooks"));
    assert!(list.links().contains(&the.webhook_path("/activate")));
    assert!(list.text().contains("Paused"));

    the.data.member(&the.tenant.id, "vic@example.com", "viewer");
    let vic = Visitor::signed_in(&the.server, "vic@example.com");
    for path in [the.path("webhooks"), the.webhook_path("")] {
        let page = vic.see(&path);
        let is_offered = page
            .forms()
            .iter()
            .any(|form| form.action.contains("/webhooks/"));
        assert!(!is_offered, "a viewer is offered a change on {path}");
        let leads = page.links().into_iter().find(|link| {
            ["/activate", "/edit", "/secret", "/delete", "/new"]
                .iter()
                .any(|end| link.ends_with(end))
        });
        assert_eq!(leads, None, "a viewer is led to a change on {path}");
    }
}

// SECRETS -----------------------------------------------------------------------------------

/// Whether a file of the folder holds these bytes.
fn files_with(folder: &Path, canary: &[u8]) -> Vec<String> {
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .filter(|path| {
            let bytes = std::fs::read(path).unwrap();
            bytes.windows(canary.len()).any(|window| window == canary)
        })
        .map(|path| path.display().to_string())
        .collect()
}

#[test]
fn what_is_secret_is_in_no_page_no_audit_row_and_not_in_the_file() {
    let receiver = Receiver::healthy();
    let the = Sending::to("http://127.0.0.1:1/");
    let ann = the.ann();
    let address = receiver.address();
    let url = format!("http://canary-user:canary-pass@{address}/hooks");
    let fields = [
        ("name", "Secretive"),
        ("url", url.as_str()),
        ("event", "*"),
        ("header_name", "Authorization"),
        ("header_value", "Bearer canary-token"),
        ("header_name", "X-Api-Key"),
        ("header_value", "canary-key"),
    ];
    let made = ann.post(&the.path("webhooks"), &fields);
    assert_eq!(made.status, 201, "{}", made.text());
    let secret = secret_in(&made);
    // It works as it stands, and goes through a change and a sweep of pages.
    let event = the.server.track(&the.tenant.key, "u", "Told");
    receiver.wait_for(1);
    wait_until("the delivery to be written down", || {
        let states = the.data.deliveries(&event);
        states.iter().any(|d| d.state == "succeeded").then_some(())
    });
    let edit = ann.see(&the.newest("/edit"));
    assert!(edit.text().contains("A user name and password are kept"));
    ann.submit(&the.newest(""), &borrowed(&filled(&edit, "save")));
    ann.submit(&the.newest("/secret/end-overlap"), &[]);
    ann.submit(&the.newest("/pause"), &[]);

    use base64::Engine as _;
    let raw = base64::engine::general_purpose::STANDARD
        .decode(secret.trim_start_matches("whsec_"))
        .unwrap();
    let basic = base64::engine::general_purpose::STANDARD.encode("canary-user:canary-pass");
    let canaries = [
        "canary-pass",
        "canary-user",
        "canary-token",
        "canary-key",
        basic.as_str(),
        secret.trim_start_matches("whsec_"),
    ];
    let mut pages = vec![
        the.path(""),
        the.path("webhooks"),
        the.path("deliveries"),
        the.path(&format!("events/{event}")),
    ];
    for rest in ["", "/edit", "/secret", "/activate", "/delete"] {
        pages.push(the.newest(rest));
    }
    for id in the.data.delivery_ids(&event) {
        pages.push(the.path(&format!("deliveries/{id}")));
    }
    for path in &pages {
        let page = ann.see(path.trim_end_matches('/'));
        for canary in canaries {
            assert!(!page.html.contains(canary), "{canary} is on {path}");
        }
    }
    let connection = the.data.open();
    let mut audit = connection
        .prepare("SELECT coalesce(before, '') || coalesce(after, '') FROM audit")
        .unwrap();
    let rows: Vec<String> = audit
        .query_map([], |row| row.get(0))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    assert!(rows.iter().any(|row| row.contains("has_credentials")));
    for canary in canaries {
        assert!(rows.iter().all(|row| !row.contains(canary)), "{canary}");
        assert!(!the.server.process.log.text().contains(canary), "{canary}");
        let found = files_with(the.data.path(), canary.as_bytes());
        assert!(found.is_empty(), "{canary} is in {found:?}");
    }
    assert!(files_with(the.data.path(), &raw).is_empty());
}

/// The secret that a page shows to be copied.
#[track_caller]
fn secret_in(page: &Page) -> String {
    page.tags("button")
        .iter()
        .filter_map(|tag| attribute(tag, "data-copy"))
        .find(|text| text.starts_with("whsec_") || text.starts_with("whpk_"))
        .unwrap_or_else(|| panic!("no secret on {}", page.text()))
}

/// Whether a page shows a secret to be copied.
fn shows_secret(page: &Page) -> bool {
    page.tags("button").iter().any(|tag| {
        attribute(tag, "data-copy")
            .is_some_and(|text| text.starts_with("whsec_") && text.len() > 40)
    })
}

#[test]
fn another_server_gets_neither_the_credentials_nor_the_secrets_of_the_first() {
    let the = Sending::to("http://127.0.0.1:1/");
    let ann = the.ann();
    let fields = [
        ("name", "Moving"),
        ("url", "https://ann:pass@first.example/hooks"),
        ("event", "*"),
        ("header_name", "X-Api-Key"),
        ("header_value", "key-of-the-first"),
    ];
    assert_eq!(ann.post(&the.path("webhooks"), &fields).status, 201);
    let kept = "SELECT count(*) FROM webhook WHERE credentials_sealed IS NOT NULL";
    assert_eq!(the.data.number(kept), 1);
    // On the same server, another path keeps both.
    let mut form = filled(&ann.see(&the.newest("/edit")), "save");
    // It is sent several times below.
    form.retain(|(name, _)| name != "as_of");
    let same = with(&borrowed(&form), "url", "https://first.example/other");
    ann.submit(&the.newest(""), &same);
    assert_eq!(the.data.number(kept), 1);

    let moved = with(&borrowed(&form), "url", "https://second.example/hooks");
    let page = ann.post(&the.newest(""), &moved);
    assert_eq!(page.status, 422);
    assert!(page.html.contains("id=\"header-0-problem\""));
    assert!(page.text().contains("Write the value of x-api-key again"));
    assert_eq!(the.data.number(kept), 1, "nothing was changed");

    let written = with(&moved, "header_value", "key-of-the-second");
    ann.submit(&the.newest(""), &written);
    assert_eq!(the.data.number(kept), 0, "the credentials went along");

    // And they can be dropped where they are.
    let again = with(&written, "url", "https://ann:pass@second.example/hooks");
    ann.submit(&the.newest(""), &again);
    assert_eq!(the.data.number(kept), 1);
    let mut dropped = with(&written, "drop_credentials", "1");
    ann.submit(&the.newest(""), &dropped);
    assert_eq!(the.data.number(kept), 0);
    dropped.retain(|(name, _)| !name.starts_with("header"));
    ann.submit(&the.newest(""), &dropped);
    let headers = "SELECT count(*) FROM webhook WHERE headers_sealed IS NOT NULL";
    assert_eq!(the.data.number(headers), 0);
}

#[test]
fn the_secret_is_shown_to_who_types_the_password_and_guessing_is_slow() {
    let the = Sending::to("http://127.0.0.1:1/");
    let ann = the.ann();
    let path = the.webhook_path("/secret");
    assert!(!shows_secret(&ann.see(&path)));
    let wrong = ann.post(&path, &[("password", "wrong")]);
    assert_eq!(wrong.status, 422);
    assert!(wrong.html.contains("id=\"password-problem\"") && !shows_secret(&wrong));
    assert_eq!(the.audited("webhook.secret_revealed"), 0);

    let right = ann.post(&path, &[("password", PASSWORD)]);
    assert_eq!(right.status, 200, "{}", right.text());
    assert_eq!(secret_in(&right), the.webhook.secret);
    assert_eq!(right.header("cache-control"), "no-store");
    assert_eq!(the.audited("webhook.secret_revealed"), 1);
    assert!(!shows_secret(&ann.see(&path)), "the page itself shows it");

    // Wrong ones count as they do at the door, here and there together.
    let slowed = (0..12).find_map(|_| {
        let page = ann.post(&path, &[("password", "wrong")]);
        assert!(!shows_secret(&page));
        (page.status == 429).then_some(page)
    });
    let slowed = slowed.expect("guessing is not slowed");
    let wait_s: u64 = slowed.header("retry-after").parse().unwrap();
    assert!(wait_s > 0 && slowed.text().contains("too many wrong tries"));
    let page = ann.post(&path, &[("password", PASSWORD)]);
    assert!(page.status == 429 && !shows_secret(&page));
    let door = Visitor::new(&the.server);
    assert_eq!(door.sign_in("ann@example.com", PASSWORD).status, 429);
    assert_eq!(the.audited("webhook.secret_revealed"), 1);
}

// CHANGING THE KEY --------------------------------------------------------------------------

/// What the file holds of a key before: its kind and until when it signs.
fn retired(the: &Sending) -> Option<(String, i64)> {
    let connection = the.data.open();
    let sql = "SELECT previous_signing, previous_until_ms FROM webhook WHERE previous_secret_sealed IS NOT NULL";
    let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
    connection.query_row(sql, [], row).ok()
}

#[test]
fn a_new_secret_is_shown_once_and_the_one_before_signs_for_a_while() {
    let receiver = Receiver::healthy();
    let the = Sending::to(&receiver.url("/"));
    let ann = the.ann();
    let rotate = the.webhook_path("/secret/rotate");
    let started_ms = now_ms();
    let page = ann.post(&rotate, &[]);
    assert_eq!(page.status, 200, "{}", page.text());
    let fresh = secret_in(&page);
    assert_ne!(fresh, the.webhook.secret);
    assert!(page.text().contains("Two keys sign"));
    let (kind, until_ms) = retired(&the).unwrap();
    let hours = (until_ms - started_ms) / 3_600_000;
    assert!(kind == "hmac" && (23..=24).contains(&hours), "{hours} h");
    assert!(!shows_secret(&ann.see(&the.webhook_path("/secret"))));
    assert!(
        ann.see(&the.webhook_path(""))
            .text()
            .contains("and the key before")
    );

    the.server.track(&the.tenant.key, "u", "Signed Anew");
    let request = receiver.wait_for_type("Signed Anew");
    assert!(verifies(&fresh, &request), "{request:?}");
    assert!(verifies(&the.webhook.secret, &request), "{request:?}");

    // A key that was changed earlier signs no more.
    let page = ann.post(&rotate, &[("overlap", "168"), ("signing", "ed25519")]);
    let (kind, until_ms) = retired(&the).unwrap();
    let hours = (until_ms - started_ms) / 3_600_000;
    assert!(kind == "hmac" && hours == 168, "{kind} {hours} h");
    let public_key = secret_in(&page);
    assert!(public_key.starts_with("whpk_"));
    // With it nobody can sign, so that it need not be asked for.
    assert_eq!(
        secret_in(&ann.see(&the.webhook_path("/secret"))),
        public_key
    );
    the.server.track(&the.tenant.key, "u", "Signed Both Ways");
    let request = receiver.wait_for_type("Signed Both Ways");
    assert!(request.header("webhook-signature").contains("v1a,"));
    assert!(verifies(&fresh, &request), "{request:?}");
    assert!(!verifies(&the.webhook.secret, &request), "{request:?}");

    ann.submit(&the.webhook_path("/secret/end-overlap"), &[]);
    assert_eq!(retired(&the), None);
    the.server.track(&the.tenant.key, "u", "Signed One Way");
    let request = receiver.wait_for_type("Signed One Way");
    assert!(!verifies(&fresh, &request), "{request:?}");
    assert!(
        !ann.see(&the.webhook_path("/secret"))
            .text()
            .contains("Two keys sign")
    );
    // Where none is left, nothing is written down.
    ann.submit(&the.webhook_path("/secret/end-overlap"), &[]);
    assert_eq!(the.audited("webhook.overlap_ended"), 1);

    ann.post(&rotate, &[("overlap", "0"), ("signing", "hmac")]);
    assert_eq!(
        retired(&the),
        None,
        "without an overlap the old one is gone"
    );
    assert_eq!(the.audited("webhook.key_rotated"), 3);

    for (fields, place) in [
        (vec![("overlap", "169")], "overlap"),
        (vec![("overlap", "-1")], "overlap"),
        (vec![("overlap", "a day")], "overlap"),
        (vec![("signing", "rsa")], "signing"),
    ] {
        let page = ann.post(&rotate, &fields);
        assert_eq!(page.status, 422, "{fields:?}");
        assert!(page.html.contains(&format!("id=\"{place}-problem\"")));
        assert!(!shows_secret(&page));
    }
    assert_eq!(the.audited("webhook.key_rotated"), 3);
}

#[test]
fn a_form_sent_twice_makes_one_key_and_the_receivers_own_goes_on_signing() {
    let receiver = Receiver::healthy();
    let the = Sending::to(&receiver.url("/"));
    let ann = the.ann();
    let rotate = the.webhook_path("/secret/rotate");
    let page = ann.see(&the.webhook_path("/secret"));
    let as_of = page.tags("input").iter().find_map(|tag| {
        let is_it = attribute(tag, "name").as_deref() == Some("as_of");
        is_it.then(|| attribute(tag, "value").unwrap())
    });
    let fields = [("overlap", "24"), ("as_of", &*as_of.unwrap())];
    let first = ann.post(&rotate, &fields);
    assert_eq!(first.status, 200, "{}", first.text());
    let second = ann.post(&rotate, &fields);
    assert_eq!(second.status, 422);
    assert!(second.html.contains("id=\"as_of-problem\"") && !shows_secret(&second));
    assert_eq!(the.audited("webhook.key_rotated"), 1);
    the.server.track(&the.tenant.key, "u", "Signed By Both");
    let request = receiver.wait_for_type("Signed By Both");
    for secret in [&secret_in(&first), &the.webhook.secret] {
        assert!(verifies(secret, &request), "{request:?}");
    }
    assert_eq!(ann.post(&rotate, &[("as_of", "now")]).status, 422);
}

#[test]
fn who_edits_what_somebody_else_has_changed_meanwhile_is_told_and_loses_nothing() {
    let the = Sending::to("http://127.0.0.1:1/");
    let ann = the.ann();
    let form = filled(&ann.see(&the.webhook_path("/edit")), "save");
    let form = borrowed(&form);
    let name = || -> String {
        let connection = the.data.open();
        let name = connection.query_row("SELECT name FROM webhook", [], |row| row.get(0));
        name.unwrap()
    };
    ann.submit(&the.webhook_path(""), &with(&form, "name", "By the other"));
    let mine = with(&form, "name", "Mine");
    // What is wrong besides does not let it through the next time.
    let wrong = ann.post(&the.webhook_path(""), &with(&mine, "rate", "fast"));
    assert_eq!(wrong.status, 422);
    let again = filled(&wrong, "save");
    let told = ann.post(&the.webhook_path(""), &with(&borrowed(&again), "rate", ""));
    assert_eq!(told.status, 422, "{}", told.text());
    assert!(told.html.contains("id=\"as_of-problem\""));
    assert_eq!(name(), "By the other");
    // Told of it, and with what was written still there, they may save it.
    let known = filled(&told, "save");
    assert_eq!(values(&known, "name"), ["Mine"]);
    ann.submit(&the.webhook_path(""), &borrowed(&known));
    assert_eq!(name(), "Mine");
}

fn now_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(now.unwrap().as_millis()).unwrap()
}

fn verifies(secret: &str, request: &Request) -> bool {
    let verifier = standardwebhooks::Webhook::new(secret).unwrap();
    verifier.verify(&request.body, &request.headers()).is_ok()
}

#[test]
fn a_key_whose_time_is_over_does_not_stay_in_the_file() {
    let mut the = Sending::to("http://127.0.0.1:1/");
    the.ann().post(&the.webhook_path("/secret/rotate"), &[]);
    assert!(retired(&the).is_some());
    the.server.terminate();
    let connection = Connection::open(the.data.file()).unwrap();
    connection
        .execute("UPDATE webhook SET previous_until_ms = 1", [])
        .unwrap();
    drop(connection);
    the.server = the.data.serve();
    wait_for_value("the key before", &None, || retired(&the));
    let deleted = "SELECT count(*) FROM webhook WHERE length(secret_sealed) > 0";
    assert_eq!(the.data.number(deleted), 1);
    the.ann()
        .submit(&the.webhook_path("/delete"), &[("confirm", "Everything")]);
    assert_eq!(
        the.data.number(deleted),
        0,
        "the secret outlives its webhook"
    );
}

// VERIFYING ---------------------------------------------------------------------------------

/// The code on the signature page, by language.
#[track_caller]
fn snippet(page: &Page, language: &str) -> String {
    let (_, after) = page
        .html
        .split_once(&format!("<summary>{language}</summary>"))
        .unwrap_or_else(|| panic!("no {language} on {}", page.text()));
    let (guide, _) = after.split_once("</details>").unwrap();
    let (_, button) = guide.split_once("<button").unwrap();
    attribute(&format!("<button{button}"), "data-copy").unwrap()
}

/// What a receiver has: a request's headers and its body to the byte.
#[derive(Debug, Clone)]
struct Delivered {
    id: String,
    timestamp: String,
    signature: String,
    body: Vec<u8>,
}

impl Delivered {
    fn of(request: &Request) -> Self {
        Self {
            id: request.message_id(),
            timestamp: request.header("webhook-timestamp"),
            signature: request.header("webhook-signature"),
            body: request.body.clone(),
        }
    }

    /// As it is, and in every way in which it must be refused.
    fn refused(&self) -> Vec<(&'static str, Self)> {
        let mut changed = self.clone();
        let last = changed.body.last_mut().unwrap();
        *last = if *last == b' ' { b'}' } else { b' ' };
        let mut longer = self.clone();
        longer.body.push(b'\n');
        let other_id = Self {
            id: "msg_0000000000001".to_owned(),
            ..self.clone()
        };
        let unsigned = Self {
            signature: "v1,AAAA v1a,AAAA".to_owned(),
            ..self.clone()
        };
        let no_time = Self {
            timestamp: "soon".to_owned(),
            ..self.clone()
        };
        vec![
            ("a changed byte", changed),
            ("a byte more", longer),
            ("another id", other_id),
            ("another signature", unsigned),
            ("no time", no_time),
        ]
    }
}

/// What is behind the snippet: it reads the headers from the environment and the body from stdin.
const NODE_TAIL: &str = r"
import { readFileSync } from 'node:fs';
const { ID, TIMESTAMP, SIGNATURE } = process.env;
const headers = { 'webhook-id': ID, 'webhook-timestamp': TIMESTAMP, 'webhook-signature': SIGNATURE };
console.log(JSON.stringify(verify(headers, readFileSync(0))));
";
const PYTHON_TAIL: &str = r"
import sys
headers = {'webhook-id': os.environ['ID'], 'webhook-timestamp': os.environ['TIMESTAMP'],
           'webhook-signature': os.environ['SIGNATURE']}
print(json.dumps(verify(headers, sys.stdin.buffer.read())))
";

/// Runs a snippet on what a receiver has; what it printed where it succeeded, and its complaint where not.
fn run_snippet(
    language: &str,
    code: &str,
    key: (&str, &str),
    delivered: &Delivered,
) -> Result<String, String> {
    let folder = tempfile::tempdir().unwrap();
    let (interpreter, file, code) = match language {
        "Node" => ("node", "verify.mjs", format!("{code}{NODE_TAIL}")),
        "Python" => ("python3", "verify.py", format!("{code}{PYTHON_TAIL}")),
        "Shell" => ("sh", "verify.sh", code.to_owned()),
        other => panic!("{other} is not run here"),
    };
    let (file, body) = (folder.path().join(file), folder.path().join("body"));
    std::fs::write(&file, code).unwrap();
    std::fs::write(&body, &delivered.body).unwrap();
    let libraries = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/sdk/python");
    let mut child = Command::new(program(interpreter))
        .arg(&file)
        .env(key.0, key.1)
        .env("ID", &delivered.id)
        .env("TIMESTAMP", &delivered.timestamp)
        .env("SIGNATURE", &delivered.signature)
        .env("BODY", &body)
        .env("PYTHONPATH", libraries)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A script that refuses early may be gone before it is written to.
    let _ = child.stdin.take().unwrap().write_all(&delivered.body);
    let output = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(text(&output.stdout) + &text(&output.stderr))
    }
}

const RUN_HERE: [&str; 3] = ["Node", "Python", "Shell"];

#[test]
fn the_code_on_the_page_verifies_what_the_webhook_sends_and_nothing_else() {
    let receiver = Receiver::healthy();
    let the = Sending::to(&receiver.url("/"));
    the.server.track(&the.tenant.key, "ü", "Verified");
    let delivered = Delivered::of(&receiver.wait_for_type("Verified"));
    let page = the.ann().see(&the.webhook_path("/secret"));
    let key = ("WEBHOOK_SECRET", the.webhook.secret.as_str());
    // Signed rightly, but six minutes ago.
    let old_s = delivered.timestamp.parse::<i64>().unwrap() - 360;
    let signer = standardwebhooks::Webhook::new(&the.webhook.secret).unwrap();
    let old = Delivered {
        timestamp: old_s.to_string(),
        signature: signer.sign(&delivered.id, old_s, &delivered.body).unwrap(),
        ..delivered.clone()
    };
    let other = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    for language in RUN_HERE {
        let code = snippet(&page, language);
        let run = |key, delivered: &Delivered| run_snippet(language, &code, key, delivered);
        let printed = run(key, &delivered).unwrap_or_else(|e| panic!("{language}: {e}"));
        assert!(
            printed.contains("Verified") || printed.contains("the signature is right"),
            "{language}: {printed}"
        );
        // While the secret is being changed there are two signatures; one of them is enough.
        let both = Delivered {
            signature: format!("v1,{} {}", "A".repeat(44), delivered.signature),
            ..delivered.clone()
        };
        run(key, &both).unwrap_or_else(|e| panic!("{language}, two signatures: {e}"));
        for (what, wrong) in delivered.refused() {
            assert!(run(key, &wrong).is_err(), "{language} takes {what}");
        }
        let said = run(key, &old).unwrap_err();
        assert!(
            said.contains("the timestamp is not of"),
            "{language}: {said}"
        );
        assert!(
            run(("WEBHOOK_SECRET", other), &delivered).is_err(),
            "{language} takes another secret"
        );
        // A variable that was never set: with an empty key anybody can sign.
        let nobodys = standardwebhooks::Webhook::from_bytes(Vec::new()).unwrap();
        let now_s = delivered.timestamp.parse().unwrap();
        let forged = Delivered {
            signature: nobodys.sign(&delivered.id, now_s, &delivered.body).unwrap(),
            ..delivered.clone()
        };
        let said = run(("WEBHOOK_SECRET", ""), &forged).unwrap_err();
        assert!(said.contains("is no secret"), "{language}: {said}");
    }
    for language in ["Go", "PHP"] {
        let code = snippet(&page, language);
        assert!(code.contains("WEBHOOK_SECRET is no secret"), "{language}");
    }
}

/// A key pair made by openssl, and what it signs.
struct Pair(tempfile::TempDir);

impl Pair {
    fn new() -> Self {
        let pair = Self(tempfile::tempdir().unwrap());
        let key = pair.file("key.pem");
        openssl(&["genpkey", "-algorithm", "ed25519", "-out", &key]);
        pair
    }

    fn file(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    /// `whpk_…`
    fn public_key(&self) -> String {
        let (key, der) = (self.file("key.pem"), self.file("public.der"));
        openssl(&[
            "pkey", "-in", &key, "-pubout", "-outform", "DER", "-out", &der,
        ]);
        let der = std::fs::read(der).unwrap();
        format!("whpk_{}", base64_of(&der[der.len() - 32..]))
    }

    fn sign(&self, id: &str, timestamp_s: i64, body: &[u8]) -> Delivered {
        let (key, signed, signature) = (
            self.file("key.pem"),
            self.file("signed"),
            self.file("signature"),
        );
        let head = format!("{id}.{timestamp_s}.");
        std::fs::write(&signed, [head.as_bytes(), body].concat()).unwrap();
        let input = ["pkeyutl", "-sign", "-inkey", &key, "-rawin", "-in", &signed];
        openssl(&[&input[..], &["-out", &signature]].concat());
        Delivered {
            id: id.to_owned(),
            timestamp: timestamp_s.to_string(),
            signature: format!("v1a,{}", base64_of(&std::fs::read(signature).unwrap())),
            body: body.to_vec(),
        }
    }
}

fn base64_of(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[track_caller]
fn openssl(arguments: &[&str]) {
    let output = Command::new(program("openssl"))
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "openssl {arguments:?}: {output:?}");
}

#[test]
fn the_code_for_public_keys_verifies_what_the_private_one_has_signed() {
    let receiver = Receiver::healthy();
    let the = Sending::to(&receiver.url("/"));
    let ann = the.ann();
    let rotated = ann.post(
        &the.webhook_path("/secret/rotate"),
        &[("signing", "ed25519")],
    );
    let of_webhook = secret_in(&rotated);
    let page = ann.see(&the.webhook_path("/secret"));
    the.server.track(&the.tenant.key, "ü", "Verified");
    let sent = Delivered::of(&receiver.wait_for_type("Verified"));
    let pair = Pair::new();
    let (public_key, other) = (pair.public_key(), Pair::new().public_key());
    let key = ("WEBHOOK_PUBLIC_KEY", public_key.as_str());
    let now_s = now_ms() / 1_000;
    let body = "{\"type\":\"Verified\",\"name\":\"ü\"}".as_bytes();
    let delivered = pair.sign("msg_1", now_s, body);
    let old = pair.sign("msg_1", now_s - 360, body);
    for language in RUN_HERE {
        let code = snippet(&page, language);
        let run = |key, delivered: &Delivered| run_snippet(language, &code, key, delivered);
        let own = ("WEBHOOK_PUBLIC_KEY", of_webhook.as_str());
        run(own, &sent).unwrap_or_else(|e| panic!("{language}: {e}"));
        for (what, wrong) in sent.refused() {
            assert!(run(own, &wrong).is_err(), "{language} takes {what}");
        }
        assert!(run(key, &sent).is_err(), "{language} takes another key");
        run(key, &delivered).unwrap_or_else(|e| panic!("{language}: {e}"));
        let both = Delivered {
            signature: format!("v1,{} {}", "A".repeat(44), delivered.signature),
            ..delivered.clone()
        };
        run(key, &both).unwrap_or_else(|e| panic!("{language}, two signatures: {e}"));
        for (what, wrong) in delivered.refused() {
            assert!(run(key, &wrong).is_err(), "{language} takes {what}");
        }
        let said = run(key, &old).unwrap_err();
        assert!(
            said.contains("the timestamp is not of"),
            "{language}: {said}"
        );
        assert!(
            run(("WEBHOOK_PUBLIC_KEY", &other), &delivered).is_err(),
            "{language} takes another key"
        );
    }
    for language in ["Go", "PHP"] {
        assert!(snippet(&page, language).contains("WEBHOOK_PUBLIC_KEY"));
    }
}

// CHECKING A URL ----------------------------------------------------------------------------

/// Presses the button that checks the URL.
fn check_url(the: &Sending, url: &str) -> Page {
    let fields = [("name", "Not Yet"), ("url", url), ("check", "1")];
    the.ann().post(&the.path("webhooks"), &fields)
}

#[test]
fn a_url_is_checked_without_a_request_and_without_being_kept() {
    let receiver = Receiver::healthy();
    let the = Sending::to("http://127.0.0.1:1/");
    let before = (the.data.rows("webhook"), the.data.rows("audit"));
    let page = check_url(&the, &receiver.url("/hooks"));
    assert_eq!(page.status, 200, "{}", page.text());
    let said = page.text();
    let address = receiver.address();
    assert!(said.contains("It resolves to 127.0.0.1."), "{said}");
    let connected = format!("A connection to {address} came about.");
    assert!(
        said.contains(&connected) && said.contains("not encrypted"),
        "{said}"
    );
    // The form has kept what was written, and complains of nothing that is not written yet.
    let kept = filled(&page, "check");
    assert_eq!(values(&kept, "name"), ["Not Yet"]);
    assert!(!page.html.contains("role=\"alert\""));
    // The receiver notes a connection in its own time.
    wait_for_value("the connections", &1, || receiver.connections());
    assert_eq!(receiver.count(), 0, "a request was sent");
    assert_eq!((the.data.rows("webhook"), the.data.rows("audit")), before);

    // Of a known webhook, too.
    let fields = filled(&the.ann().see(&the.webhook_path("/edit")), "check");
    let other = receiver.url("/other");
    let fields = borrowed(&fields);
    let fields = with(&fields, "url", &other);
    let page = the.ann().post(&the.webhook_path(""), &fields);
    assert!(page.text().contains(&connected), "{}", page.text());
    let sql = "SELECT count(*) FROM webhook WHERE url LIKE '%/other'";
    assert_eq!(the.data.number(sql), 0);

    // Saving looks, too, and saves all the same.
    let url = receiver.url("/");
    let fields = [("name", "Reached"), ("url", url.as_str()), ("event", "*")];
    let made = the.ann().post(&the.path("webhooks"), &fields);
    assert!(made.text().contains(&connected), "{}", made.text());

    // Nobody listens there any more once this is dropped.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    let fields = with(&fields, "url", &gone);
    let made = the.ann().post(&the.path("webhooks"), &fields);
    assert_eq!(made.status, 201);
    assert!(made.text().contains("Nothing is listening"));
    let elsewhere = with(&fields, "url", "http://127.0.0.1:1/");
    let saved = the.ann().submit(&the.newest(""), &elsewhere);
    let said = the.ann().see(saved.location()).text();
    assert!(
        said.contains("was saved, but its URL could not be reached"),
        "{said}"
    );
    let saved = the.ann().submit(&the.newest(""), &elsewhere);
    let said = the.ann().see(saved.location()).text();
    assert!(
        said.contains("The webhook was saved."),
        "an URL that stays is not tried"
    );

    let page = check_url(&the, &gone);
    let said = page.text();
    assert!(said.contains("Nothing is listening"), "{said}");
    for url in ["ftp://example.com/", "nonsense", ""] {
        let page = check_url(&the, url);
        assert_eq!(page.status, 422, "{url}");
        assert!(page.html.contains("id=\"url-problem\""), "{url}");
    }
}

#[test]
fn a_forbidden_address_is_not_dialled_and_nothing_more_is_said_of_it() {
    let receiver = Receiver::healthy();
    let options = Options {
        allows_loopback: false,
        ..Options::default()
    };
    let the = Sending::with("http://127.0.0.1:1/", &options);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = listener.local_addr().unwrap();
    drop(listener);
    let listening = receiver.address();
    let of = |host: &str, port: u16| {
        let page = check_url(&the, &format!("http://{host}:{port}/"));
        assert_eq!(page.status, 422, "{host}");
        let text = page.text().replace(&port.to_string(), "PORT");
        assert!(text.contains("--allow-target 127.0.0.1/32"), "{text}");
        text
    };
    for host in ["127.0.0.1", "2130706433", "0x7f.1", "localhost"] {
        assert_eq!(
            of(host, listening.port()),
            of(host, nobody.port()),
            "whether something listens there can be told"
        );
    }
    assert_eq!(receiver.connections(), 0);
    let before = the.data.rows("webhook");
    let url = receiver.url("/");
    let fields = [("name", "Inside"), ("url", url.as_str()), ("event", "*")];
    let page = the.ann().post(&the.path("webhooks"), &fields);
    assert_eq!(page.status, 422);
    assert!(page.html.contains("id=\"url-problem\""));
    assert_eq!(the.data.rows("webhook"), before);
}

#[test]
fn a_certificate_is_judged_and_its_end_is_said() {
    let authority = Authority::new("Own CA");
    let receiver = authority.receiver("localhost");
    let url = receiver.url("localhost");
    let targets = ["--allow-target", "::1/128"].map(str::to_owned).to_vec();
    let options = Options {
        arguments: targets,
        ..Options::default()
    };
    let stranger = Sending::with("http://127.0.0.1:1/", &options);
    let said = check_url(&stranger, &url).text();
    assert!(said.contains("Check the certificate"), "{said}");
    assert!(said.contains("nobody whom this machine trusts"), "{said}");
    assert!(!said.contains("is trusted."), "{said}");

    let trusted = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(trusted.path(), &authority.pem).unwrap();
    let options = Options {
        environment: vec![("SSL_CERT_FILE", trusted.path().display().to_string())],
        ..options
    };
    let the = Sending::with("http://127.0.0.1:1/", &options);
    let said = check_url(&the, &url).text();
    assert!(
        said.contains("its certificate is trusted. It ends in"),
        "{said}"
    );
    // Where the certificates of these tests end.
    assert!(said.contains("4096-01-01 00:00:00 UTC"), "{said}");
    assert_eq!(receiver.count(), 0, "a request was sent");
}
