//! The command line: what each command prints, its exit codes, with and without a server beside it,
//! and which of flag, environment and file wins.

use crate::support::data::{PASSWORD, text};
use crate::support::server::{Process, pillarbox, track_body};
use crate::support::{Data, Options, Receiver, Server, Visitor, wait_until};
use serde_json::Value;
use std::process::Output;

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

/// Refused with this exit code: a word on stderr, nothing on stdout.
#[track_caller]
fn assert_refused(output: &Output, exit_code: i32) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(code(output), Some(exit_code), "{output:?}");
    assert!(output.stdout.is_empty(), "stdout: {output:?}");
    assert!(!stderr.trim().is_empty(), "nothing on stderr");
    assert!(!stderr.contains("panicked"), "{stderr}");
}

/// Members of an object, sorted.
fn members(object: &Value) -> Vec<&str> {
    let mut members: Vec<_> = object
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    members.sort_unstable();
    members
}

#[test]
fn each_command_prints_its_one_object() {
    let data = Data::new();
    let workspace = data.json(&["workspace", "create", "Acme Inc.", "--json"]);
    assert_eq!(members(&workspace), ["id", "slug"]);
    let id = text(&workspace, "id");
    assert!(id.starts_with("ws_"), "{workspace}");
    assert_eq!(workspace["slug"], "acme-inc");

    let arguments = [
        "user",
        "create",
        "--email",
        "Ann@Example.com",
        "--name",
        "Ann",
        "--operator",
        "--password-stdin",
        "--json",
    ];
    let output = data.run_with_input(&arguments, PASSWORD);
    assert_eq!(code(&output), Some(0), "{output:?}");
    let user: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(members(&user), ["email", "id"]);
    assert_eq!(user["email"], "ann@example.com");
    assert!(text(&user, "id").starts_with("usr_"));

    let output = data.run(&[
        "member",
        "add",
        "--workspace",
        &id,
        "--email",
        "ann@example.com",
        "--role",
        "owner",
    ]);
    assert_eq!(code(&output), Some(0), "{output:?}");

    let source = data.json(&[
        "source",
        "create",
        "Shop",
        "--workspace",
        "acme-inc",
        "--json",
    ]);
    assert_eq!(members(&source), ["id", "identity_secret"]);
    assert!(text(&source, "id").starts_with("src_"));
    assert!(text(&source, "identity_secret").len() >= 32);

    let source_id = text(&source, "id");
    let key = data.json(&[
        "key",
        "create",
        "app",
        "--workspace",
        &id,
        "--source",
        &source_id,
        "--scope",
        "write:events",
        "--scope",
        "read:events",
        "--json",
    ]);
    assert_eq!(members(&key), ["id", "key"]);
    assert!(text(&key, "id").starts_with("key_"));
    assert!(text(&key, "key").len() >= 32);

    let webhook = data.json(&[
        "webhook",
        "create",
        "Orders",
        "--workspace",
        &id,
        "--url",
        "https://example.com/hooks",
        "--event",
        "order.*",
        "--event",
        "Post Created",
        "--json",
    ]);
    assert_eq!(members(&webhook), ["id", "secret"]);
    assert!(text(&webhook, "id").starts_with("whk_"));
    assert!(text(&webhook, "secret").starts_with("whsec_"));
    assert_eq!(data.rows("webhook"), 1);
}

#[test]
fn the_data_folder_stands_before_or_behind_the_command_or_in_the_environment() {
    let data = Data::new();
    let folder = data.path().to_str().unwrap();
    let create = ["workspace", "create"];
    let before = pillarbox()
        .args(["--data-dir", folder])
        .args(create)
        .args(["Before", "--json"])
        .output()
        .unwrap();
    assert_eq!(code(&before), Some(0), "{before:?}");
    let behind = pillarbox()
        .args(create)
        .args(["Behind", "--json", "--data-dir", folder])
        .output()
        .unwrap();
    assert_eq!(code(&behind), Some(0), "{behind:?}");
    let environment = pillarbox()
        .args(create)
        .args(["Environment", "--json"])
        .env("PILLARBOX_DATA_DIR", folder)
        .output()
        .unwrap();
    assert_eq!(code(&environment), Some(0), "{environment:?}");
    assert_eq!(data.rows("workspace"), 3);
}

#[test]
fn a_usage_error_exits_2() {
    let data = Data::new();
    for arguments in [
        vec!["fly"],
        vec!["serve", "--no-such-flag"],
        vec!["workspace", "create"],
        vec!["workspace"],
        vec!["user", "create", "--name", "Ann", "--password-stdin"],
        vec![
            "webhook",
            "create",
            "Orders",
            "--workspace",
            "acme",
            "--url",
            "https://example.com",
        ],
        vec!["serve", "--listen", "nowhere"],
        vec!["serve", "--retry-schedule", "soon"],
        vec!["serve", "--allow-target", "somewhere"],
    ] {
        println!("{arguments:?}");
        assert_refused(&data.run(&arguments), 2);
    }
}

#[test]
fn a_failed_command_exits_1_and_changes_nothing() {
    let data = Data::new();
    let tenant = data.tenant("Acme");
    data.user("ann@example.com", "Ann");
    let other = data.tenant("Other");
    let their_source = data.json(&[
        "source",
        "create",
        "Theirs",
        "--workspace",
        &other.id,
        "--json",
    ]);
    let their_source = text(&their_source, "id");
    let counts = || {
        [
            "user",
            "workspace",
            "member",
            "source",
            "api_key",
            "webhook",
            "audit",
        ]
        .map(|table| data.rows(table))
    };
    let before = counts();
    let ws = tenant.id.as_str();
    for arguments in [
        vec!["workspace", "create", " ", "--json"],
        vec![
            "member",
            "add",
            "--workspace",
            ws,
            "--email",
            "nobody@example.com",
            "--role",
            "owner",
        ],
        vec![
            "member",
            "add",
            "--workspace",
            "nowhere",
            "--email",
            "ann@example.com",
            "--role",
            "owner",
        ],
        vec![
            "source",
            "create",
            "Shop",
            "--workspace",
            "nowhere",
            "--json",
        ],
        vec!["source", "create", "", "--workspace", ws, "--json"],
        vec![
            "source",
            "create",
            "Shop",
            "--workspace",
            ws,
            "--origin",
            "shop.example",
            "--json",
        ],
        vec!["source", "list", "--workspace", "nowhere", "--json"],
        vec![
            "key",
            "create",
            "app",
            "--workspace",
            ws,
            "--source",
            &their_source,
            "--scope",
            "write:events",
            "--json",
        ],
        vec![
            "webhook",
            "create",
            "Orders",
            "--workspace",
            ws,
            "--url",
            "ftp://example.com",
            "--event",
            "*",
            "--json",
        ],
        vec![
            "webhook",
            "create",
            "Orders",
            "--workspace",
            ws,
            "--url",
            "ftp://example.com",
            "--event",
            "*",
            "--json",
        ],
        vec![
            "webhook",
            "create",
            "Orders",
            "--workspace",
            ws,
            "--url",
            "https://example.com",
            "--event",
            "a*b",
            "--json",
        ],
    ] {
        println!("{arguments:?}");
        assert_refused(&data.run(&arguments), 1);
    }
    let user = |email: &str, password: &str| {
        data.run_with_input(
            &[
                "user",
                "create",
                "--email",
                email,
                "--name",
                "X",
                "--password-stdin",
                "--json",
            ],
            password,
        )
    };
    assert_refused(&user("ann@example.com", PASSWORD), 1);
    assert_refused(&user("no email", PASSWORD), 1);
    assert_refused(&user("bob@example.com", "short"), 1);
    assert_refused(&user("bob@example.com", "password1"), 1);
    assert_refused(&user("bob@example.com", ""), 1);
    assert_eq!(counts(), before);
}

#[test]
fn what_commands_make_reaches_a_running_server() {
    let receiver = Receiver::healthy();
    let data = Data::new();
    let server = data.serve();
    let tenant = data.tenant("Beside");
    data.member(&tenant.id, "ann@example.com", "owner");
    data.webhook(&tenant.id, "All", &receiver.url("/"), &["*"]);
    wait_until("the key to work and the webhook to be served", || {
        let answer = server.post(&tenant.key, track_body("u", "Beside"));
        match answer.status().as_u16() {
            200 => (receiver.count() > 0).then_some(()),
            401 => None,
            status => panic!("{status} {}", answer.text().unwrap()),
        }
    });
    let ann = Visitor::signed_in(&server, "ann@example.com");
    assert!(ann.see("/workspaces").text().contains("Beside"));
}

#[test]
fn a_second_server_on_the_same_folder_is_refused() {
    let data = Data::new();
    let server = data.serve();
    let output = data.run(&["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(code(&output), Some(1), "{output:?}");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("already"), "{stderr}");
    assert_eq!(server.get("/healthz/ready").status(), 200);
}

#[test]
fn a_taken_port_is_a_failure() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = Data::new().run(&["serve", "--listen", &address]);
    assert_eq!(code(&output), Some(1), "{output:?}");
    assert!(!output.stderr.is_empty());
}

#[test]
fn health_says_alive_and_ready() {
    let data = Data::new();
    let server = data.serve();
    for path in ["/healthz/live", "/healthz/ready"] {
        assert_eq!(server.get(path).status(), 200, "{path}");
    }
}

/// Starts serve on a folder with these arguments and variables.
#[track_caller]
fn serve(data: &Data, arguments: &[&str], variables: &[(&str, &str)]) -> Server {
    let mut command = pillarbox();
    command
        .arg("serve")
        .arg("--data-dir")
        .arg(data.path())
        .args(arguments)
        .envs(variables.iter().copied());
    Server::from_process(Process::start("pillarbox serve", &mut command))
}

#[test]
fn a_flag_wins_over_the_environment_which_wins_over_the_file() {
    let data = Data::new();
    let config = data.path().join("pillarbox.toml");
    // Addresses that cannot be listened on: whoever reads them fails, and so is told apart.
    let unusable = "192.0.2.1:1";
    let usable = "127.0.0.1:0";
    let file = |listen: &str| std::fs::write(&config, format!("listen = \"{listen}\"\n")).unwrap();
    let config = config.to_str().unwrap();

    file(usable);
    drop(serve(&data, &["--config", config], &[]));
    file(unusable);
    let output = data.run(&["serve", "--config", config]);
    assert_eq!(
        code(&output),
        Some(1),
        "the file's address is used: {output:?}"
    );
    drop(serve(
        &data,
        &["--config", config],
        &[("PILLARBOX_LISTEN", usable)],
    ));
    drop(serve(
        &data,
        &["--config", config, "--listen", usable],
        &[("PILLARBOX_LISTEN", unusable)],
    ));
    let output = pillarbox()
        .args(["serve", "--data-dir", data.path().to_str().unwrap()])
        .env("PILLARBOX_LISTEN", unusable)
        .output()
        .unwrap();
    assert_eq!(
        code(&output),
        Some(1),
        "the variable's address is used: {output:?}"
    );
}

#[test]
fn a_configuration_that_cannot_be_read_is_a_usage_error_or_a_failure() {
    let data = Data::new();
    let config = data.path().join("pillarbox.toml");
    for text in ["listen = ", "no_such_option = 1\n", "listen = 5\n"] {
        std::fs::write(&config, text).unwrap();
        let output = data.run(&[
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--config",
            config.to_str().unwrap(),
        ]);
        assert!(matches!(code(&output), Some(1 | 2)), "{text:?}: {output:?}");
        assert!(!output.stderr.is_empty(), "{text:?}");
    }
    let missing = data.path().join("missing.toml");
    let output = data.run(&[
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--config",
        missing.to_str().unwrap(),
    ]);
    assert!(matches!(code(&output), Some(1 | 2)), "{output:?}");
}

#[test]
fn the_retry_schedule_can_come_from_the_environment() {
    let receiver = Receiver::statuses(&[500]);
    let data = Data::new();
    let tenant = data.tenant("Acme");
    data.webhook(&tenant.id, "All", &receiver.url("/"), &["*"]);
    let variables = [
        ("PILLARBOX_RETRY_SCHEDULE", "0s,50ms"),
        ("PILLARBOX_ALLOW_TARGET", "127.0.0.0/8"),
    ];
    let server = serve(&data, &["--listen", "127.0.0.1:0"], &variables);
    let id = server.track(&tenant.key, "u", "Twice");
    let failed = wait_until("the delivery to fail", || {
        data.deliveries(&id).pop().filter(|d| d.state == "failed")
    });
    assert_eq!(failed.attempts, 2);
}

#[test]
fn the_file_keeps_no_key_and_no_password_and_is_its_owners() {
    use std::os::unix::fs::PermissionsExt as _;
    let data = Data::new();
    let tenant = data.tenant("Acme");
    data.user("ann@example.com", "Ann");
    let webhook = data.webhook(&tenant.id, "All", "https://example.com", &["*"]);
    let server = Server::start(&data, &Options::default());
    server.track(&tenant.key, "u", "Canary Of The File");
    let mut haystack = Vec::new();
    for file in std::fs::read_dir(data.path()).unwrap() {
        let file = file.unwrap();
        let mode = file.metadata().unwrap().permissions().mode();
        let name = file.file_name().into_string().unwrap();
        if name.ends_with(".db") || name.ends_with(".key") {
            assert_eq!(mode & 0o077, 0, "{name} has mode {mode:o}");
        }
        haystack.extend(std::fs::read(file.path()).unwrap());
    }
    let holds = |needle: &str| {
        haystack
            .windows(needle.len())
            .any(|w| w == needle.as_bytes())
    };
    assert!(
        holds("Canary Of The File"),
        "the search finds what is there"
    );
    let secret = webhook.secret.strip_prefix("whsec_").unwrap();
    for (what, needle) in [
        ("key", tenant.key.as_str()),
        ("password", PASSWORD),
        ("secret", secret),
    ] {
        assert!(!holds(needle), "the {what} is in the data folder");
        assert!(
            !server.process.log.text().contains(needle),
            "the {what} is in the log"
        );
    }
}
