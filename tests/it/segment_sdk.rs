//! ARRIVE: the vendors' own libraries post to the box with nothing changed but the host. What they are and
//! how they are installed is in tests/sdk; without them these tests fail, since a skipped test proves nothing.

use crate::browser::{Browser, program, run};
use crate::segment::{log, source};
use crate::support::{Answer, Data, Receiver, wait_for_value};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What each script of tests/sdk sends, one of each kind.
const SENT: [&str; 6] = [
    "identify identify u-1 - jane@example.com -",
    "track Order Completed - a-1 - -",
    "page page u-1 - - -",
    "screen screen u-1 - - -",
    "group group u-1 - - g-1",
    "alias alias u-1 a-1 - -",
];

/// Where the libraries are.
fn libraries() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/sdk");
    assert!(
        folder.join("installed").is_file(),
        "the vendors' libraries are not in {}; `make test` installs what the tests need, then runs them",
        folder.display()
    );
    folder
}

/// Runs a script of tests/sdk to its end; it must succeed and complain of nothing.
#[track_caller]
fn run_script(interpreter: &str, script: &str, arguments: &[&str]) {
    let libraries = libraries();
    let output = Command::new(program(interpreter))
        .arg(
            Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("tests/sdk")
                .join(script),
        )
        .args(arguments)
        .env("NODE_PATH", libraries.join("node_modules"))
        .env("PYTHONPATH", libraries.join("python"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("PYTHONWARNINGS", "ignore")
        .env("NODE_NO_WARNINGS", "1")
        .env("NO_PROXY", "127.0.0.1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.is_empty(),
        "{script}: {said}"
    );
}

/// Runs a script against a box; each message must be in the log once, as it was sent.
#[track_caller]
fn assert_all_arrive(interpreter: &str, script: &str, before: &[&str]) {
    let (data, tenant, server) = Data::served();
    let mut arguments = before.to_vec();
    arguments.extend([server.url.as_str(), tenant.key.as_str()]);
    run_script(interpreter, script, &arguments);
    let mut found = log(&data, "kind, name, user_id, visitor_id, email, group_id");
    // A library may send what was said first while it still gathers the rest.
    found.sort();
    let mut wanted = SENT;
    wanted.sort();
    assert_eq!(found, wanted);
    let number =
        |condition: &str| data.number(&format!("SELECT count(*) FROM event WHERE {condition}"));
    assert_eq!(
        number("verification = 'server' AND length(dedup_key) > 20"),
        6
    );
    assert_eq!(
        number("received_at_ms - occurred_at_ms BETWEEN 0 AND 60000"),
        6
    );
    assert_eq!(
        number("json_extract(context, '$.library.name') LIKE '%analytics-%'"),
        6
    );
    assert_eq!(
        number("kind = 'track' AND json_extract(properties, '$.revenue') = 39.95"),
        1
    );
    assert_eq!(
        number("kind = 'identify' AND json_extract(traits, '$.plan') = 'pro'"),
        1
    );
    assert_eq!(
        number("kind = 'group' AND json_extract(traits, '$.name') = 'Initech'"),
        1
    );
}

#[test]
fn segments_library_for_node_posts_with_its_host_changed() {
    assert_all_arrive("node", "segment.cjs", &[]);
}

#[test]
fn rudderstacks_library_for_node_posts_with_its_host_changed() {
    assert_all_arrive("node", "rudderstack.cjs", &[]);
}

#[test]
fn segments_library_for_python_posts_with_its_host_changed() {
    assert_all_arrive("python3", "send.py", &["segment"]);
}

#[test]
fn rudderstacks_library_for_python_posts_with_its_host_changed() {
    assert_all_arrive("python3", "send.py", &["rudderstack"]);
}

#[test]
fn a_library_shows_why_it_was_refused() {
    let (data, _tenant, server) = Data::served();
    for vendor in ["segment", "rudderstack"] {
        let output = Command::new(program("python3"))
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sdk/send.py"))
            .args([vendor, &server.url, "pbk_nonsense"])
            .env("PYTHONPATH", libraries().join("python"))
            .env("NO_PROXY", "127.0.0.1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{said}");
        assert!(said.contains("invalid_api_key: The API key in"), "{said}");
    }
    assert_eq!(data.rows("event"), 0);
}

/// The page of a shop that uses analytics.js as its documentation says, but for the host.
fn shop(write_key: &str, host: &str) -> String {
    let library = libraries().join("node_modules/@segment/analytics-next/dist/umd/index.js");
    let library = std::fs::read_to_string(library).unwrap();
    format!(
        r#"<!doctype html><title>Shop</title><script>{library}</script><script>
        const analytics = AnalyticsNext.AnalyticsBrowser.load({{writeKey: '{write_key}', cdnURL: '{host}'}});
        analytics.identify('u-1', {{email: 'jane@example.com'}});
        analytics.page('Home');
        analytics.track('Product Viewed', {{price: 39.95}});
        analytics.group('g-1', {{name: 'Initech'}});
        </script>"#
    )
}

#[test]
fn segments_library_for_browsers_posts_from_another_site_with_its_host_changed() {
    let data = Data::new();
    let tenant = data.tenant("Acme");
    let site = Receiver::healthy();
    let origin = site.url("").trim_end_matches('/').to_owned();
    let key = source(&data, &tenant, &[&origin]);
    let server = data.serve();
    let page = shop(&key, &server.url);
    let html = ("content-type", "text/html; charset=utf-8".to_owned());
    site.answer(Answer::Whole(200, vec![html], page.into_bytes()));
    let browser = Browser::start();
    run(async {
        let client = browser.client().await;
        client.goto(&site.url("/")).await.unwrap();
        let events = "kind, name, user_id, email, group_id, verification, visitor_id IS NOT NULL";
        let wanted = [
            "group group u-1 - g-1 unverified 1",
            "identify identify u-1 jane@example.com - unverified 1",
            "page page u-1 - - unverified 1",
            "track Product Viewed u-1 - - unverified 1",
        ];
        wait_for_value(
            "four events of a browser",
            &wanted.map(str::to_owned).to_vec(),
            || {
                let mut found = log(&data, events);
                found.sort();
                found
            },
        );
        client.close().await.unwrap();
    });
    let number =
        |condition: &str| data.number(&format!("SELECT count(*) FROM event WHERE {condition}"));
    assert_eq!(number("json_extract(properties, '$.price') = 39.95"), 1);
    assert_eq!(
        number("kind = 'page' AND json_extract(properties, '$.name') = 'Home'"),
        1
    );
    assert_eq!(number("json_extract(context, '$.page.title') = 'Shop'"), 4);
    assert_eq!(
        data.number("SELECT count(DISTINCT visitor_id) FROM event"),
        1
    );
    assert_eq!(
        data.number("SELECT count(DISTINCT dedup_key) FROM event"),
        4
    );
}
