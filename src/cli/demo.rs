//! `pillarbox demo`: a throw-away box with sample traffic, a receiver and a printed login. The box
//! is a real one: its traffic is posted over HTTP and its webhooks are sent to a real receiver.

use super::beside::change;
use super::serve;
use crate::access::{Role, Scope};
use crate::config::{BoxOptions, Config, ServeOptions};
use crate::manage::{self, NewUser};
use crate::password;
use crate::secret::random_token;
use crate::server;
use crate::webhook::{Signing, WebhookInput};
use actix_web::{App, HttpResponse, HttpServer, web};
use bytes::Bytes;
use clap::Args;
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::json;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const EMAIL: &str = "demo@pillarbox.example";
/// Characters of the printed password: random, and short enough to type.
const PASSWORD_CHARS: usize = 16;
/// Short, so that retries can be watched.
const RETRY_SCHEDULE_S: [u64; 6] = [0, 3, 10, 30, 60, 120];
/// The receiver that sometimes fails does so once in this many requests.
const FAILS_ONCE_IN: u64 = 3;
const TRAFFIC_PAUSE_MS: std::ops::Range<u64> = 250..1_500;
/// Somebody of the sample: first a browser, then a user, and of an account.
struct Person {
    user: &'static str,
    visitor: &'static str,
    email: &'static str,
    name: &'static str,
    account: &'static str,
    /// Where the first visit came from.
    referrer: &'static str,
    /// The page that was seen first.
    landing: &'static str,
}

const PEOPLE: [Person; 6] = [
    Person {
        user: "user_ada",
        visitor: "0b54e3a6-9c43-4e0e-8f0a-6f6d4c1e0a01",
        email: "ada@analytical.example",
        name: "Ada",
        account: "analytical",
        referrer: "https://www.google.com/",
        landing: "https://shop.example/pricing",
    },
    Person {
        user: "user_grace",
        visitor: "0b54e3a6-9c43-4e0e-8f0a-6f6d4c1e0a02",
        email: "grace@compilers.example",
        name: "Grace",
        account: "compilers",
        referrer: "https://news.ycombinator.com/item?id=1",
        landing: "https://shop.example/",
    },
    Person {
        user: "user_edsger",
        visitor: "0b54e3a6-9c43-4e0e-8f0a-6f6d4c1e0a03",
        email: "edsger@structured.example",
        name: "Edsger",
        account: "structured",
        referrer: "",
        landing: "https://shop.example/?utm_source=newsletter&utm_medium=email&utm_campaign=spring",
    },
    Person {
        user: "user_barbara",
        visitor: "0b54e3a6-9c43-4e0e-8f0a-6f6d4c1e0a04",
        email: "barbara@compilers.example",
        name: "Barbara",
        account: "compilers",
        referrer: "https://chatgpt.com/",
        landing: "https://shop.example/docs",
    },
    Person {
        user: "user_alan",
        visitor: "0b54e3a6-9c43-4e0e-8f0a-6f6d4c1e0a05",
        email: "alan@analytical.example",
        name: "Alan",
        account: "analytical",
        referrer: "https://www.google.com/",
        landing: "https://shop.example/?gclid=sample&utm_source=google&utm_medium=cpc",
    },
    Person {
        user: "user_radia",
        visitor: "0b54e3a6-9c43-4e0e-8f0a-6f6d4c1e0a06",
        email: "radia@bridges.example",
        name: "Radia",
        account: "bridges",
        referrer: "https://www.linkedin.com/feed/",
        landing: "https://shop.example/",
    },
];
const EVENTS: [(&str, &str); 8] = [
    ("Post Created", r#"{"postType":"image","words":120}"#),
    ("Post Created", r#"{"postType":"text","words":1800}"#),
    ("tour.started", r#"{"tour":"welcome"}"#),
    (
        "tour.completed",
        r#"{"tour":"welcome","steps":5,"seconds":74}"#,
    ),
    (
        "survey.step.answered",
        r#"{"survey":"onboarding","step":2,"answer":"A friend told me"}"#,
    ),
    ("hint.seen", r#"{"hint":"export-button"}"#),
    (
        "Invoice Paid",
        r#"{"amount":49.00,"currency":"EUR","number":"2026-0117"}"#,
    ),
    ("Teammate Invited", r#"{"role":"editor"}"#),
];

#[derive(Debug, Args)]
pub(super) struct Options {
    /// Address and port to listen on [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
}

pub(super) fn run(options: Options) -> anyhow::Result<ExitCode> {
    let folder = Folder::make()?;
    let which = BoxOptions {
        data_dir: Some(folder.0.clone()),
        config: None,
    };
    let mut config = Config::load(
        &which,
        ServeOptions {
            listen: options.listen,
            ..ServeOptions::default()
        },
    )?;
    config.allow_target = vec!["127.0.0.0/8".parse()?];
    config.retry_schedule =
        crate::delivery::RetrySchedule::new(RETRY_SCHEDULE_S.map(Duration::from_secs).to_vec());
    serve::start_log("warn")?;
    actix_web::rt::System::new().block_on(demo(&which, &config, &folder.0))
}

async fn demo(which: &BoxOptions, config: &Config, folder: &Path) -> anyhow::Result<ExitCode> {
    let stop = serve::stop_signal()?;
    let receiver = start_receiver()?;
    let password: String = random_token()?.chars().take(PASSWORD_CHARS).collect();
    let key = furnish(which, receiver, &password)?;
    let server = server::start(config)?;
    println!("Pillarbox demo: a throw-away box with sample traffic");
    println!("  open      {}", server.public_url);
    println!("  email     {EMAIL}");
    println!("  password  {password}");
    println!(
        "  file      {} (deleted when the demo ends)",
        folder.display()
    );
    println!("Stop it with Ctrl-C.");
    let client = Client::builder(TokioExecutor::new()).build_http();
    let traffic = actix_web::rt::spawn(traffic(
        client,
        server.public_url.join("api/v1/events")?.to_string(),
        key,
    ));
    let code = serve::wait(server, stop).await;
    traffic.abort();
    code
}

/// The demo's own folder, deleted with it.
struct Folder(PathBuf);

impl Folder {
    fn make() -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("pillarbox-demo-{}", random_token()?));
        std::fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(e) = std::fs::remove_dir_all(&self.0) {
            eprintln!(
                "the demo's folder {} could not be deleted: {e}",
                self.0.display()
            );
        }
    }
}

/// Makes the user, the workspace and the webhooks; returns the API key.
fn furnish(which: &BoxOptions, receiver: SocketAddr, password: &str) -> anyhow::Result<String> {
    let user = NewUser {
        email: EMAIL.to_owned(),
        name: "Demo".to_owned(),
        password_hash: password::hash(password)?,
        is_operator: true,
    };
    let webhooks: [(&str, &str, &[&str]); 3] = [
        ("Everything to the warehouse", "works", &["*"]),
        (
            "Onboarding to the CRM",
            "sometimes",
            &["tour.*", "survey.*"],
        ),
        ("Invoices to the old ledger", "gone", &["Invoice Paid"]),
    ];
    change(which, |connection, actor, vault| {
        let user = manage::create_user(connection, actor, &user)?;
        let (workspace, _) = manage::create_workspace(connection, actor, "Demo", Some(user.id))?;
        manage::add_member(connection, actor, workspace, EMAIL, Role::Owner)?;
        for (name, path, events) in webhooks {
            let input = WebhookInput {
                name: name.to_owned(),
                url: format!("http://{receiver}/{path}"),
                events: events.iter().map(|event| (*event).to_owned()).collect(),
                ..WebhookInput::default()
            };
            manage::create_webhook(connection, actor, vault, workspace, &input, Signing::Hmac)?;
        }
        let key = manage::create_api_key(
            connection,
            actor,
            workspace,
            "Sample traffic",
            None,
            &[Scope::WriteEvents],
        )?;
        Ok(key.key)
    })
}

/// A receiver with an endpoint that works, one that sometimes fails and one that is gone.
fn start_receiver() -> anyhow::Result<SocketAddr> {
    let requests = Arc::new(AtomicU64::new(0));
    let app = move || {
        let requests = Arc::clone(&requests);
        let sometimes = move || {
            let is_failure = requests
                .fetch_add(1, Ordering::Relaxed)
                .is_multiple_of(FAILS_ONCE_IN);
            async move {
                if is_failure {
                    HttpResponse::InternalServerError().body("the CRM is having a moment\n")
                } else {
                    HttpResponse::Ok().json(json!({"stored": true}))
                }
            }
        };
        App::new()
            .route(
                "/works",
                web::post().to(|| async { HttpResponse::Ok().json(json!({"ok": true})) }),
            )
            .route("/sometimes", web::post().to(sometimes))
    };
    let server = HttpServer::new(app)
        .workers(1)
        .disable_signals()
        .bind("127.0.0.1:0")?;
    let address = *server
        .addrs()
        .first()
        .ok_or_else(|| anyhow::anyhow!("the receiver has no address"))?;
    actix_web::rt::spawn(server.run());
    Ok(address)
}

/// Posts to the demo's own box, and nowhere else.
type AppClient = Client<HttpConnector, Full<Bytes>>;

async fn traffic(client: AppClient, url: String, key: String) {
    for (nth, person) in PEOPLE.iter().enumerate() {
        for event in arrival(person, nth) {
            post(&client, &url, &key, &event).await;
        }
    }
    loop {
        let person = &PEOPLE[fastrand::usize(..PEOPLE.len())];
        let (event, properties) = EVENTS[fastrand::usize(..EVENTS.len())];
        let properties: serde_json::Value = serde_json::from_str(properties).unwrap_or_default();
        let track = json!({"event": event, "userId": person.user, "groupId": person.account,
            "properties": properties});
        post(&client, &url, &key, &track).await;
        tokio::time::sleep(Duration::from_millis(fastrand::u64(TRAFFIC_PAUSE_MS))).await;
    }
}

/// How somebody comes: a page is seen, then somebody signs up, and tries it out or not.
fn arrival(person: &Person, nth: usize) -> Vec<serde_json::Value> {
    let (user, visitor) = (person.user, person.visitor);
    let page = json!({"url": person.landing, "referrer": person.referrer});
    let mut events = vec![
        json!({"kind": "page", "visitorId": visitor, "context": {"page": page}}),
        json!({"event": "signup", "userId": user, "visitorId": visitor, "email": person.email}),
        json!({"kind": "identify", "userId": user, "traits": {"name": person.name, "plan": "free"}}),
        json!({"kind": "group", "userId": user, "groupId": person.account,
            "traits": {"name": person.account, "seats": 2 + nth}}),
    ];
    if nth.is_multiple_of(2) {
        events.push(json!({"event": "trial_start", "userId": user}));
    }
    events
}

async fn post(client: &AppClient, url: &str, key: &str, event: &serde_json::Value) {
    let body = event.to_string();
    let request = hyper::Request::post(url)
        .header("x-api-key", key)
        .body(Full::new(body.into()));
    let outcome = match request {
        Ok(request) => client
            .request(request)
            .await
            .map_err(|e| e.to_string())
            .and_then(|answer| {
                if answer.status().is_success() {
                    Ok(())
                } else {
                    Err(format!("answered {}", answer.status()))
                }
            }),
        Err(e) => Err(e.to_string()),
    };
    if let Err(e) = outcome {
        tracing::warn!(error = %e, "a sample event was not taken");
    }
}
