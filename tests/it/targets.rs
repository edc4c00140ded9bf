//! Where the box connects, and where it does not: canaries on addresses that are not allowed, in every
//! spelling and by every way that leads to a connection; plain http for a box that does without.

use crate::support::page::Page;
use crate::support::{
    Answer, Data, Options, Receiver, Server, Tenant, Visitor, wait_for_value, wait_until,
};
use std::net::Ipv4Addr;

/// 127.0.0.1 in spellings that a URL can have, and names of this machine.
const SPELLINGS: [&str; 18] = [
    "127.0.0.1",
    "127.0.0.1.",
    "127.1",
    "127.0.1",
    "2130706433",
    "0x7f000001",
    "0x7f.0.0.0x1",
    "0177.0.0.1",
    "017700000001",
    "0.0.0.0",
    "0",
    "localhost",
    "example.com@127.0.0.1",
    "[::1]",
    "[::ffff:127.0.0.1]",
    "[::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]",
];

/// A box that is not served yet, and a person in it.
fn opened() -> (Data, Tenant) {
    let data = Data::new();
    let tenant = data.tenant("Acme");
    data.member(&tenant.id, "ann@example.com", "owner");
    (data, tenant)
}

fn ann(server: &Server) -> Visitor {
    Visitor::signed_in(server, "ann@example.com")
}

fn serve(data: &Data, arguments: &[&str]) -> Server {
    let options = Options {
        allows_loopback: false,
        retry_schedule: "0s".to_owned(),
        arguments: arguments.iter().map(|a| (*a).to_owned()).collect(),
        ..Options::default()
    };
    Server::start(data, &options)
}

/// What the form for a new webhook answers.
fn create(ann: &Visitor, tenant: &Tenant, url: &str) -> Page {
    let fields = [("name", "Canary"), ("url", url), ("event", "*")];
    ann.post(&format!("/w/{}/webhooks", tenant.slug), &fields)
}

/// Waits until all deliveries of an event have had this many attempts, and gives their error classes.
#[track_caller]
fn classes(data: &Data, event: &str, attempts: i64) -> Vec<Option<String>> {
    let deliveries = wait_until("the attempts to be made", || {
        let deliveries = data.deliveries(event);
        let are_made = deliveries.iter().all(|d| d.attempts == attempts);
        are_made.then_some(deliveries)
    });
    deliveries.into_iter().map(|d| d.last_error).collect()
}

#[test]
fn a_canary_is_not_hit_on_creating_on_delivery_or_on_a_retry() {
    let canary = Receiver::healthy();
    let port = canary.address().port();
    let (data, tenant) = opened();
    for host in SPELLINGS {
        data.webhook(&tenant.id, host, &format!("http://{host}:{port}/"), &["*"]);
        data.webhook(&tenant.id, host, &format!("https://{host}:{port}/"), &["*"]);
    }
    let server = serve(&data, &[]);
    let ann = ann(&server);
    // The dot at the end some resolvers do not know; nothing may be reached by it either.
    for host in SPELLINGS
        .into_iter()
        .chain(["localhost.", "box.localhost."])
    {
        let page = create(&ann, &tenant, &format!("http://{host}:{port}/"));
        assert_eq!(page.status, 422, "{host}");
        assert!(
            page.text().contains("--allow-target"),
            "{host}: {}",
            page.text()
        );
    }
    let event = server.track(&tenant.key, "u", "A");
    let all = vec![Some("blocked_address".to_owned()); 2 * SPELLINGS.len()];
    assert_eq!(classes(&data, &event, 1), all);
    for delivery in data.delivery_ids(&event) {
        ann.submit(
            &format!("/w/{}/deliveries/{delivery}/retry", tenant.slug),
            &[],
        );
    }
    assert_eq!(classes(&data, &event, 2), all);
    assert_eq!(canary.connections(), 0);
    // What was refused to be dialled is kept with the attempt.
    let untold = data.number("SELECT count(*) FROM attempt WHERE address IS NULL");
    assert_eq!(untold, 0);
}

#[test]
fn an_address_beside_an_allowed_one_is_not_reached_by_a_redirect() {
    let canary = Receiver::on(Ipv4Addr::new(127, 0, 0, 2).into(), |_| Answer::Status(200));
    let moved = Receiver::always(Answer::Redirect(canary.url("/")));
    let (data, tenant) = opened();
    data.webhook(&tenant.id, "Moved", &moved.url("/"), &["A"]);
    data.webhook(&tenant.id, "Direct", &canary.url("/"), &["A"]);
    let server = serve(&data, &["--allow-target", "127.0.0.1/32"]);
    let event = server.track(&tenant.key, "u", "A");
    let met = classes(&data, &event, 1);
    assert_eq!(
        met,
        ["redirect", "blocked_address"].map(|class| Some(class.to_owned()))
    );
    assert_eq!((moved.count(), canary.connections()), (1, 0));
}

#[test]
fn proxy_variables_of_the_environment_are_not_honoured() {
    let proxy = Receiver::healthy();
    let receiver = Receiver::healthy();
    let (data, tenant) = opened();
    data.webhook(&tenant.id, "Direct", &receiver.url("/"), &["*"]);
    let names = [
        "HTTP_PROXY",
        "http_proxy",
        "HTTPS_PROXY",
        "https_proxy",
        "ALL_PROXY",
        "all_proxy",
    ];
    let options = Options {
        environment: names.map(|name| (name, proxy.url(""))).to_vec(),
        ..Options::default()
    };
    let server = Server::start(&data, &options);
    server.track(&tenant.key, "u", "A");
    let request = receiver.wait_for(1).remove(0);
    assert_eq!(request.line(), "POST / HTTP/1.1");
    assert_eq!(proxy.connections(), 0);
}

#[test]
fn a_box_that_requires_https_refuses_and_sends_nothing_in_the_clear() {
    let receiver = Receiver::healthy();
    let (data, tenant) = opened();
    data.webhook(&tenant.id, "Saved Before", &receiver.url("/"), &["*"]);
    let server = serve(&data, &["--allow-target", "127.0.0.0/8", "--require-https"]);
    let ann = ann(&server);
    let page = create(&ann, &tenant, &receiver.url("/"));
    assert_eq!(page.status, 422);
    assert!(page.text().contains("--require-https"), "{}", page.text());
    let page = create(&ann, &tenant, "https://127.0.0.1:1/");
    assert_eq!(page.status, 201, "{}", page.text());

    let event = server.track(&tenant.key, "u", "A");
    let delivery = data.delivery_ids(&event).remove(0);
    let state = || data.deliveries(&event)[0].last_error.clone();
    wait_for_value("the cause", &Some("insecure_url".to_owned()), state);
    let page = ann.see(&format!("/w/{}/deliveries/{delivery}", tenant.slug));
    assert!(page.text().contains("--require-https"), "{}", page.text());
    ann.submit(
        &format!("/w/{}/deliveries/{delivery}/retry", tenant.slug),
        &[],
    );
    wait_for_value("attempts", &2, || data.deliveries(&event)[0].attempts);
    assert_eq!(receiver.connections(), 0);
}

#[test]
fn the_command_refuses_plain_http_where_the_box_requires_https() {
    let (data, tenant) = opened();
    let file = data.path().join("box.toml");
    std::fs::write(&file, "require-https = true\n").unwrap();
    let file = file.to_str().unwrap();
    let create = |url: &str| {
        data.run(&[
            "webhook",
            "create",
            "CRM",
            "--workspace",
            &tenant.id,
            "--url",
            url,
            "--event",
            "*",
            "--config",
            file,
        ])
    };
    let refused = create("http://example.com/");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("--require-https"), "{said}");
    assert_eq!(data.rows("webhook"), 0);
    let made = create("https://example.com/");
    assert!(made.status.success(), "{made:?}");
}
