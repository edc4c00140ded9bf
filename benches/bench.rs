//! The benchmark: starts what it compares, lets wrk load each in turn, and prints ratios. Absolute
//! numbers move with the machine, so only the ratios of one run are compared with targets.
//!
//! Row so far: `single_64`, durable single-event ingest over HTTP with one webhook that wants nothing
//! of it, against an actix handler that checks the key and parses the same body.

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use pillarbox::access::Scope;
use pillarbox::manage::{self, Actor, WebhookInput};
use pillarbox::store::{self, Files};
use pillarbox::time::now_ms;
use pillarbox::webhook::Format;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const CONNECTIONS: u32 = 64;
/// The least ratio of `single_64` that the project holds itself to.
const SINGLE_64_TARGET: f64 = 0.40;

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().collect();
    if args.iter().any(|arg| arg == "--noop") {
        return actix_web::rt::System::new().block_on(noop());
    }
    let is_fast = std::env::var_os("FAST").is_some();
    let (rounds, seconds) = if is_fast { (3, 4) } else { (7, 10) };
    let folder = tempfile::tempdir()?;
    let key = furnish(folder.path())?;
    let script = folder.path().join("post.lua");
    std::fs::write(&script, wrk_script(&key))?;

    let mut noop = start(Command::new(std::env::current_exe()?).arg("--noop"))?;
    let binary = Path::new(env!("CARGO_BIN_EXE_pillarbox"));
    let data_dir = folder.path().join("data");
    let mut pillarbox = start(
        Command::new(binary)
            .args(["--listen", "127.0.0.1:0", "--log", "error", "--data-dir"])
            .arg(&data_dir),
    )?;
    let mut ratios = Vec::new();
    println!(
        "{:>5} {:>14} {:>14} {:>8}",
        "round", "no-op req/s", "ingest req/s", "ratio"
    );
    for round in 1..=rounds {
        let base = wrk(&noop.url, &script, seconds)?;
        let ingest = wrk(&pillarbox.url, &script, seconds)?;
        println!(
            "{round:>5} {base:>14.0} {ingest:>14.0} {:>8.3}",
            ingest / base
        );
        ratios.push(ingest / base);
    }
    noop.child.kill()?;
    pillarbox.child.kill()?;
    report(&mut ratios)
}

fn report(ratios: &mut [f64]) -> anyhow::Result<()> {
    ratios.sort_by(f64::total_cmp);
    let (Some(min), Some(max)) = (ratios.first(), ratios.last()) else {
        anyhow::bail!("no round was run");
    };
    let median = ratios[ratios.len() / 2];
    println!("single_64: {median:.3} ({min:.3} to {max:.3}), target {SINGLE_64_TARGET}");
    let rows = serde_json::json!({"rows": [{
        "name": "single_64", "ratio": median, "min": min, "max": max, "target": SINGLE_64_TARGET, "unit": "of no-op",
    }]});
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("target");
    std::fs::create_dir_all(&target)?;
    std::fs::write(target.join("bench.json"), rows.to_string())?;
    Ok(())
}

/// A workspace with a key, and a webhook subscribed to what is never sent.
fn furnish(folder: &Path) -> anyhow::Result<String> {
    let files = Files::prepare(&folder.join("data"))?;
    let mut connection = files.open_writer()?;
    let transaction = store::begin(&mut connection)?;
    let ids = store::id_generator(&transaction, 1)?;
    let actor = Actor {
        user: None,
        address: None,
        now_ms: now_ms(),
        ids: &ids,
    };
    let (workspace, _) = manage::create_workspace(&transaction, &actor, "Bench", None)?;
    let key = manage::create_api_key(
        &transaction,
        &actor,
        workspace,
        "bench",
        None,
        &[Scope::WriteEvents],
    )?;
    let webhook = WebhookInput {
        name: "idle".to_owned(),
        url: "http://127.0.0.1:9/".to_owned(),
        events: vec!["never.sent".to_owned()],
    };
    manage::create_webhook(
        &transaction,
        &actor,
        files.vault(),
        workspace,
        &webhook,
        Format::Standard,
    )?;
    transaction.commit()?;
    Ok(key.key)
}

fn wrk_script(key: &str) -> String {
    format!(
        r#"wrk.method = "POST"
wrk.headers["content-type"] = "application/json"
wrk.headers["x-api-key"] = "{key}"
wrk.path = "/sse/webhook"
local n = 0
request = function()
  n = n + 1
  return wrk.format(nil, nil, nil, '{{"userId":"user_' .. (n % 100000) .. '","type":"track","timestamp":"2026-01-01T12:05:00Z","event":"button_clicked","properties":{{"button_name":"Subscribe","page":"pricing"}}}}')
end
done = function(summary, latency, requests)
  local bad = summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.timeout
  print(string.format("RESULT %f %d %d", summary.requests / (summary.duration / 1e6), bad, latency:percentile(99)))
end
"#
    )
}

fn wrk(url: &str, script: &Path, seconds: u32) -> anyhow::Result<f64> {
    let output = Command::new("wrk")
        .args([
            "-t2",
            &format!("-c{CONNECTIONS}"),
            &format!("-d{seconds}s"),
            "-s",
        ])
        .arg(script)
        .arg(url)
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let result = text.lines().find_map(|line| line.strip_prefix("RESULT "));
    let mut words = result
        .ok_or_else(|| anyhow::anyhow!("wrk said: {text}"))?
        .split(' ');
    let rate: f64 = words.next().unwrap_or("").parse()?;
    let bad: u64 = words.next().unwrap_or("").parse()?;
    anyhow::ensure!(bad == 0, "{bad} requests were not answered 200: {text}");
    Ok(rate)
}

struct Running {
    child: Child,
    url: String,
}

/// Starts a program that prints the URL it serves.
fn start(command: &mut Command) -> anyhow::Result<Running> {
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let stdout = child
        .stdout
        .take()
        .ok_or_else(|| anyhow::anyhow!("no standard output"))?;
    for line in BufReader::new(stdout).lines() {
        if let Some(at) = line.as_ref().ok().and_then(|line| line.find("http://")) {
            let url = line?[at..].trim().to_owned();
            std::thread::sleep(Duration::from_millis(200));
            return Ok(Running { child, url });
        }
    }
    anyhow::bail!("the program ended without saying where it serves")
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Parsed<'a> {
    user_id: &'a str,
    event: &'a str,
    timestamp: &'a str,
    #[serde(borrow)]
    properties: &'a RawValue,
}

/// Checks that there is a key and parses the body: what any handler must do at least.
async fn accept_nothing(request: HttpRequest, body: web::Bytes) -> HttpResponse {
    let has_key = request.headers().get("x-api-key").is_some();
    let parsed: Option<Parsed<'_>> = serde_json::from_slice(&body).ok();
    match parsed {
        Some(event) if has_key && !event.user_id.is_empty() => {
            std::hint::black_box((event.event, event.timestamp, event.properties));
            HttpResponse::Ok()
                .content_type("application/json")
                .body(r#"{"success":true}"#)
        }
        _ => HttpResponse::BadRequest().finish(),
    }
}

async fn noop() -> anyhow::Result<()> {
    let app = || App::new().route("/sse/webhook", web::post().to(accept_nothing));
    let server = HttpServer::new(app).bind("127.0.0.1:0")?;
    for address in server.addrs() {
        println!("http://{address}/");
    }
    server.run().await?;
    Ok(())
}
