//! The pages in a real browser: Chromium, driven over WebDriver, does what an admin does first.

use crate::support::server::Process;
use crate::support::{Answer, Data, Receiver, wait_at_most};
use fantoccini::{Client, ClientBuilder, Locator};
use serde_json::{Value, json};
use std::io::Write as _;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

/// How long a browser may take for one thing.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A program on the search path; the test fails without it, since a skipped test proves nothing.
pub(crate) fn program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
        .unwrap_or_else(|| {
            panic!(
                "{name} is not installed; `make test` installs what the tests need, then runs them"
            )
        })
}

/// A driver and a browser with an empty profile; both end with it.
pub(crate) struct Browser {
    driver: Process,
    driver_url: String,
    /// Its profile and whatever else it leaves behind.
    folder: tempfile::TempDir,
}

/// The driver starts Chromium apart from itself, so it is asked to end it, also after a failure.
impl Drop for Browser {
    fn drop(&mut self) {
        let address = self.driver_url.trim_start_matches("http://");
        let Ok(mut stream) = TcpStream::connect(address) else {
            return;
        };
        let request = format!("GET /shutdown HTTP/1.1\r\nhost: {address}\r\n\r\n");
        if stream.write_all(request.as_bytes()).is_err() {
            return;
        }
        let started = Instant::now();
        while self.driver.exit_status().is_none() && started.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(10));
        }
        // Chromium writes to its folder until the end of its last process.
        while std::fs::remove_dir_all(self.folder.path()).is_err()
            && self.folder.path().exists()
            && started.elapsed() < PATIENCE
        {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Browser {
    /// Starts both.
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let driver = Process::start(
            "chromedriver",
            Command::new(program("chromedriver"))
                .arg("--port=0")
                .env("TMPDIR", folder.path()),
        );
        let port = wait_at_most(PATIENCE, "chromedriver to say its port", || {
            let written = driver.log.text();
            let (_, after) = written.split_once("started successfully on port ")?;
            let port: String = after.chars().take_while(char::is_ascii_digit).collect();
            port.parse::<u16>().ok()
        });
        Self {
            driver,
            driver_url: format!("http://127.0.0.1:{port}"),
            folder,
        }
    }

    /// A window of it.
    pub(crate) async fn client(&self) -> Client {
        let profile = format!(
            "--user-data-dir={}",
            self.folder.path().join("profile").display()
        );
        let capabilities = json!({
            "goog:chromeOptions": {
                "binary": program("chromium"),
                "args": [
                    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
                    "--disable-component-update", "--disable-sync", "--no-first-run",
                    "--window-size=1280,900", profile
                ]
            },
            "goog:loggingPrefs": {"browser": "ALL"},
            // A dialog would be a script that ran; it must not be waved through.
            "unhandledPromptBehavior": "ignore"
        });
        let capabilities = capabilities.as_object().unwrap().clone();
        let mut builder =
            ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new());
        builder.capabilities(capabilities);
        match builder.connect(&self.driver_url).await {
            Ok(client) => client,
            Err(e) => panic!("starting Chromium: {e}\n{}", self.driver.log.text()),
        }
    }

    /// What the browser's console said since it was last asked.
    pub(crate) async fn console(&self, client: &Client) -> Vec<String> {
        let session = client.session_id().await.unwrap().unwrap();
        let url = format!("{}/session/{session}/se/log", self.driver_url);
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let answer: Value = http
            .post(url)
            .json(&json!({"type": "browser"}))
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        let entries = answer["value"].as_array().expect("a list of log entries");
        entries
            .iter()
            .filter(|entry| matches!(entry["level"].as_str(), Some("SEVERE" | "WARNING")))
            .map(ToString::to_string)
            .collect()
    }
}

async fn body_text(client: &Client) -> String {
    let body = client.find(Locator::Css("body")).await.unwrap();
    body.text().await.unwrap()
}

/// Loads the page again until its text has this.
async fn reload_until(client: &Client, wanted: &str) {
    let started = Instant::now();
    loop {
        let text = body_text(client).await;
        if text.contains(wanted) {
            return;
        }
        assert!(
            started.elapsed() < PATIENCE,
            "{wanted:?} never appeared:\n{text}"
        );
        client.refresh().await.unwrap();
    }
}

/// Types into the field of this name, and the Enter key sends the form.
async fn type_into(client: &Client, selector: &str, text: &str) {
    let field = client.find(Locator::Css(selector)).await;
    field
        .unwrap_or_else(|e| panic!("no {selector} on the page: {e}"))
        .send_keys(text)
        .await
        .unwrap();
}

/// Runs an asynchronous test to its end.
pub(crate) fn run<F: Future>(test: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(test)
}

#[test]
fn an_admin_signs_in_makes_a_webhook_and_sees_a_delivery() {
    let receiver = Receiver::always(Answer::Whole(
        200,
        vec![("content-type", "text/plain".to_owned())],
        b"<b>thanks, receiver 4711</b>".to_vec(),
    ));
    let data = Data::new();
    let tenant = data.tenant("Acme");
    data.member(&tenant.id, "ann@example.com", "owner");
    let server = data.serve();
    let browser = Browser::start();
    let post = |event: &str| {
        let body = format!(
            r#"{{"userId":"jane","type":"track","timestamp":"2026-11-22T10:00:00Z","event":"{event}","properties":{{"plan":"pro-9000","big":9007199254740993}}}}"#
        );
        server.accept(&tenant.key, body)
    };
    run(async {
        let client = browser.client().await;
        client.goto(&server.at("/login")).await.unwrap();
        type_into(&client, "input[name=email]", "ann@example.com").await;
        type_into(
            &client,
            "input[name=password]",
            crate::support::data::PASSWORD,
        )
        .await;
        type_into(&client, "input[name=password]", "\u{e007}").await;
        client
            .wait()
            .at_most(PATIENCE)
            .for_element(Locator::Css(&format!("a[href*='/w/{}']", tenant.slug)))
            .await
            .expect("a link into the workspace after signing in");

        client
            .goto(&server.at(&format!("/w/{}/webhooks/new", tenant.slug)))
            .await
            .unwrap();
        type_into(&client, "input[name=name]", "Browser Made").await;
        type_into(&client, "input[name=url]", &receiver.url("/hooks")).await;
        client
            .find(Locator::Css(
                "input[type=text][name=event], input:not([type])[name=event]",
            ))
            .await
            .expect("a field for an event type")
            .send_keys("Post Created")
            .await
            .unwrap();
        type_into(&client, "input[name=name]", "\u{e007}").await;
        let started = Instant::now();
        while client.current_url().await.unwrap().path().ends_with("/new") {
            assert!(
                started.elapsed() < PATIENCE,
                "the form was not sent: {}",
                body_text(&client).await
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(body_text(&client).await.contains("Browser Made"));

        // The plain client blocks, which needs a thread without a runtime.
        let event =
            std::thread::scope(|scope| scope.spawn(|| post("Post Created")).join().unwrap());
        receiver.wait_for_type("Post Created");

        client
            .goto(&server.at(&format!("/w/{}/webhooks", tenant.slug)))
            .await
            .unwrap();
        client
            .find(Locator::LinkText("Browser Made"))
            .await
            .expect("a link to the webhook")
            .click()
            .await
            .unwrap();
        reload_until(&client, "Succeeded").await;
        assert!(body_text(&client).await.contains("Post Created"));
        client
            .find(Locator::Css("a[href*='/deliveries/dlv_']"))
            .await
            .expect("a link to the delivery")
            .click()
            .await
            .unwrap();
        client
            .wait()
            .at_most(PATIENCE)
            .for_element(Locator::Css("h1"))
            .await
            .unwrap();
        reload_until(&client, "thanks, receiver 4711").await;
        let page = body_text(&client).await;
        for shown in [
            "pro-9000",
            "9007199254740993",
            "<b>thanks, receiver 4711</b>",
            "200",
        ] {
            assert!(page.contains(shown), "no {shown}:\n{page}");
        }
        assert!(
            client
                .current_url()
                .await
                .unwrap()
                .path()
                .contains("/deliveries/dlv_")
        );

        client
            .goto(&server.at(&format!("/w/{}/events/{event}", tenant.slug)))
            .await
            .unwrap();
        assert!(body_text(&client).await.contains("Post Created"));
        let console = browser.console(&client).await;
        assert!(
            console.is_empty(),
            "the console says:\n{}",
            console.join("\n")
        );
        client.close().await.unwrap();
    });
}

/// One field as a query.
fn as_query(name: &str, value: &str) -> String {
    let mut url = reqwest::Url::parse("http://a/").unwrap();
    url.query_pairs_mut().append_pair(name, value);
    url.query().unwrap_or_default().to_owned()
}

#[test]
fn hostile_text_runs_nothing_in_the_browser() {
    const HOSTILE: &str = r#"'"><script>alert(1)</script><img src=x onerror=alert(2)>"#;
    let receiver = Receiver::always(Answer::Whole(
        500,
        vec![("content-type", "text/html".to_owned())],
        HOSTILE.as_bytes().to_vec(),
    ));
    let data = Data::new();
    let tenant = data.tenant("Acme");
    data.member(&tenant.id, "ann@example.com", "owner");
    let webhook = data.webhook(&tenant.id, HOSTILE, &receiver.url("/"), &["*"]);
    let server = data.serve();
    let body = json!({
        "userId": HOSTILE, "type": "identify", "timestamp": "2026-11-22T10:00:00Z",
        "traits": {HOSTILE: HOSTILE, "url": "javascript:alert(3)"}
    });
    server.accept(&tenant.key, body.to_string());
    let body = json!({
        "userId": HOSTILE, "type": "track", "timestamp": "2026-11-22T10:00:00Z",
        "event": HOSTILE, "properties": {HOSTILE: HOSTILE}
    });
    let event = server.accept(&tenant.key, body.to_string());
    crate::support::wait_until("the delivery to fail and the profile to be there", || {
        let failed = data.deliveries(&event)[0].state == "failed";
        (failed && data.rows("trait") == 2).then_some(())
    });
    let delivery = data.delivery_ids(&event).remove(0);
    let profile = data
        .open()
        .query_row("SELECT id FROM profile", [], |row| row.get(0))
        .map(pillarbox::id::ProfileId::from_i64)
        .unwrap();
    let ann = crate::support::Visitor::signed_in(&server, "ann@example.com");
    let base = format!("/w/{}/", tenant.slug);
    let made = ann.submit(&format!("{base}replays"), &[("type", HOSTILE)]);
    let replay = made.location().replace(&base, "");
    let hostile_filter = as_query("type", HOSTILE);
    let browser = Browser::start();
    run(async {
        let client = browser.client().await;
        client.goto(&server.at("/login")).await.unwrap();
        type_into(&client, "input[name=email]", "ann@example.com").await;
        type_into(
            &client,
            "input[name=password]",
            crate::support::data::PASSWORD,
        )
        .await;
        type_into(&client, "input[name=password]", "\u{e007}").await;
        client
            .wait()
            .at_most(PATIENCE)
            .for_element(Locator::Css(&format!("a[href*='/w/{}']", tenant.slug)))
            .await
            .expect("signed in");
        for path in [
            "events".to_owned(),
            format!("events/{event}"),
            "profiles".to_owned(),
            format!("profiles/{profile}"),
            "webhooks".to_owned(),
            "webhooks/new".to_owned(),
            format!("webhooks/{}", webhook.id),
            format!("webhooks/{}/delete", webhook.id),
            "deliveries".to_owned(),
            format!("deliveries/{delivery}"),
            format!("deliveries/{delivery}?attempt=2&with=1"),
            format!("deliveries/{delivery}/expunge"),
            format!("deliveries?{hostile_filter}"),
            format!("events/{event}/expunge"),
            replay.clone(),
            "replays".to_owned(),
        ] {
            client
                .goto(&server.at(&format!("/w/{}/{path}", tenant.slug)))
                .await
                .unwrap();
            // With a dialog open this fails, since nobody answers it.
            let page = body_text(&client).await;
            let images = client.find_all(Locator::Css("img[src=x]")).await.unwrap();
            assert!(images.is_empty(), "{path} made the image");
            assert!(
                path.ends_with("new") || page.contains("alert(1)"),
                "{path} does not show the hostile text:\n{page}"
            );
            let console = browser.console(&client).await;
            assert!(
                console.is_empty(),
                "{path}: the console says:\n{}",
                console.join("\n")
            );
        }
        client.close().await.unwrap();
    });
}
