//! A running box: the child process, its printed address, its log, and plain requests to it.

use super::data::Data;
use super::{wait_at_most, wait_until};
use reqwest::blocking::{Client, RequestBuilder, Response};
use reqwest::redirect::Policy;
use serde_json::Value;
use std::io::{BufRead as _, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The binary under test, without a variable of the caller's environment but the search path.
pub(crate) fn pillarbox() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pillarbox"));
    command.env_clear();
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    command.env("RUST_BACKTRACE", "1");
    command
}

/// An HTTP client that follows nothing and knows no proxy.
pub(crate) fn client() -> Client {
    Client::builder()
        .redirect(Policy::none())
        .no_proxy()
        .timeout(Duration::from_secs(30))
        .build()
        .unwrap()
}

/// How a server is started.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// Whether webhooks may go to loopback.
    pub(crate) allows_loopback: bool,
    /// `--retry-schedule`.
    pub(crate) retry_schedule: String,
    /// More arguments.
    pub(crate) arguments: Vec<String>,
    /// The box's environment, beside the search path.
    pub(crate) environment: Vec<(&'static str, String)>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            allows_loopback: true,
            retry_schedule: "0s,100ms,100ms".to_owned(),
            arguments: Vec::new(),
            environment: Vec::new(),
        }
    }
}

/// The lines that a child wrote, in the order in which they came.
#[derive(Debug, Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn follow(&self, name: &'static str, stream: impl Read + Send + 'static) {
        let log = self.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                log.0.lock().unwrap().push(format!("{name}: {line}"));
            }
        });
    }

    /// Everything so far.
    pub(crate) fn text(&self) -> String {
        self.0.lock().unwrap().join("\n")
    }

    /// The first thing on stdout that begins with `start`, up to a blank, once its line is whole.
    fn find_on_stdout(&self, start: &str, is_it: impl Fn(&str) -> bool) -> Option<String> {
        self.0
            .lock()
            .unwrap()
            .iter()
            .filter_map(|line| line.strip_prefix("stdout: "))
            .flat_map(str::split_whitespace)
            .filter_map(|word| word.find(start).and_then(|at| word.get(at..)))
            .find(|word| is_it(word))
            .map(str::to_owned)
    }
}

/// A child process that dies with its owner; a failing test shows what it wrote.
#[derive(Debug)]
pub(crate) struct Process {
    name: &'static str,
    child: Child,
    /// What it wrote.
    pub(crate) log: Log,
}

impl Process {
    /// Starts `command` with its output followed.
    pub(crate) fn start(name: &'static str, command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("starting {name}: {e}"));
        let log = Log::default();
        log.follow("stdout", child.stdout.take().unwrap());
        log.follow("stderr", child.stderr.take().unwrap());
        Self { name, child, log }
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its exit status, if it has ended.
    pub(crate) fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// A size of its memory in KiB, such as `VmRSS`.
    pub(crate) fn memory_kib(&self, size: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(size)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Sends a signal by name, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("sh")
            .args(["-c", &format!("kill -{name} {}", self.child.id())])
            .status()
            .unwrap();
        assert!(status.success(), "kill -{name} {}", self.child.id());
    }

    /// SIGKILL, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let ended = self.child.try_wait();
        // Ending a child that has ended already fails, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!(
                "---- {} ({ended:?}) wrote:\n{}\n----",
                self.name,
                self.log.text()
            );
        }
    }
}

/// A server on a data folder.
#[derive(Debug)]
pub(crate) struct Server {
    /// The child.
    pub(crate) process: Process,
    /// `http://127.0.0.1:PORT`.
    pub(crate) url: String,
    /// A client without cookies.
    pub(crate) http: Client,
}

impl Server {
    /// Starts a server and waits until it is ready.
    #[track_caller]
    pub(crate) fn start(data: &Data, options: &Options) -> Self {
        let mut command = pillarbox();
        command
            .arg("serve")
            .arg("--data-dir")
            .arg(data.path())
            .args(["--listen", "127.0.0.1:0"])
            .args(["--retry-schedule", &options.retry_schedule]);
        if options.allows_loopback {
            command.args(["--allow-target", "127.0.0.0/8"]);
        }
        command.args(&options.arguments);
        command.envs(options.environment.iter().cloned());
        Self::from_process(Process::start("pillarbox serve", &mut command))
    }

    /// A server that somebody started: reads its address and waits until it is ready.
    #[track_caller]
    pub(crate) fn from_process(mut process: Process) -> Self {
        let url = wait_until("serve to print its URL", || {
            let ended = process.exit_status();
            assert!(
                ended.is_none(),
                "serve ended before it listened: {ended:?}\n{}",
                process.log.text()
            );
            printed_address(&process.log)
        });
        let server = Self {
            process,
            url,
            http: client(),
        };
        wait_until("GET /healthz/ready to answer 200", || {
            let response = server.http.get(server.at("/healthz/ready")).send().ok()?;
            (response.status() == 200).then_some(())
        });
        server
    }

    /// The URL of a path.
    pub(crate) fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// The one-time setup link that it printed.
    #[track_caller]
    pub(crate) fn setup_link(&self) -> String {
        wait_until("serve to print a setup link", || {
            self.process
                .log
                .find_on_stdout("http", |word| word.contains("/setup"))
        })
    }

    /// GET, without cookies.
    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Response {
        self.http.get(self.at(path)).send().unwrap()
    }

    /// A request to the Jimo endpoint with this key, still without a body.
    pub(crate) fn jimo(&self, key: &str) -> RequestBuilder {
        self.http
            .post(self.at("/sse/webhook"))
            .header("x-api-key", key)
            .header("content-type", "application/json")
    }

    /// Posts a body to the Jimo endpoint.
    #[track_caller]
    pub(crate) fn post(&self, key: &str, body: impl Into<Vec<u8>>) -> Response {
        self.jimo(key).body(body.into()).send().unwrap()
    }

    /// A request to the native endpoint with this key, still without a body.
    pub(crate) fn native(&self, key: &str) -> RequestBuilder {
        self.http.post(self.at("/api/v1/events")).bearer_auth(key)
    }

    /// Posts a body to the native endpoint; the status and the JSON that came back.
    #[track_caller]
    pub(crate) fn post_native(&self, key: &str, body: impl Into<Vec<u8>>) -> (u16, Value) {
        let response = self.native(key).body(body.into()).send().unwrap();
        let status = response.status().as_u16();
        let text = response.text().unwrap();
        let answer = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
        (status, answer)
    }

    /// Posts an event that must be accepted; its id.
    #[track_caller]
    pub(crate) fn accept(&self, key: &str, body: impl Into<Vec<u8>>) -> String {
        let response = self.post(key, body);
        let status = response.status();
        let text = response.text().unwrap();
        assert_eq!(status, 200, "{text}");
        let answer: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(answer["success"], true, "{text}");
        let id = answer["id"].as_str().unwrap();
        assert!(id.starts_with("evt_"), "{text}");
        id.to_owned()
    }

    /// Posts a track event of this name that must be accepted; its id.
    #[track_caller]
    pub(crate) fn track(&self, key: &str, user: &str, event: &str) -> String {
        self.accept(key, track_body(user, event))
    }

    /// SIGTERM; the exit status, within the promised 30 s.
    #[track_caller]
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        self.process.signal("TERM");
        self.wait_for_exit()
    }

    /// The exit status, within the 30 s that draining may take.
    #[track_caller]
    pub(crate) fn wait_for_exit(&mut self) -> ExitStatus {
        wait_at_most(Duration::from_secs(30), "serve to exit", || {
            self.process.exit_status()
        })
    }
}

/// The body of a track event.
pub(crate) fn track_body(user: &str, event: &str) -> String {
    serde_json::json!({
        "userId": user, "type": "track", "timestamp": "2026-11-22T10:00:00Z", "event": event
    })
    .to_string()
}

/// The body of an identify event with these traits (JSON text).
pub(crate) fn identify_body(user: &str, traits: &str) -> String {
    let user = serde_json::to_string(user).unwrap();
    format!(
        r#"{{"userId":{user},"type":"identify","timestamp":"2026-11-22T10:00:00Z","traits":{traits}}}"#
    )
}

/// `http://127.0.0.1:PORT` with a port, however the line goes on.
fn printed_address(log: &Log) -> Option<String> {
    const START: &str = "http://127.0.0.1:";
    let word = log.find_on_stdout(START, |word| {
        word.get(START.len()..)
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    })?;
    let port: String = word
        .get(START.len()..)?
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    (port != "0").then(|| format!("{START}{port}"))
}
