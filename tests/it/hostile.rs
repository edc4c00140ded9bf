//! What comes back from receivers that mean harm or are broken (promise 15): nothing of it costs the box
//! more than its bounds, and no other webhook waits for it.

use crate::support::tls::{Authority, TlsReceiver};
use crate::support::{
    Answer, Data, Options, Receiver, Server, Tenant, gzip, wait_at_most, wait_until,
};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

const KEPT_BYTES: i64 = 64 * 1024;
const GB: u64 = 1024 * 1024 * 1024;
/// The box's memory may grow by this much (promise 15).
const GROWTH_KIB: u64 = 20 * 1024;

/// A listener that says this to everybody who said anything, then closes; or says nothing and never closes.
fn listener_that_says(words: Option<&'static [u8]>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut open = Vec::new();
        for mut stream in listener.incoming().flatten() {
            match words {
                // Whoever was told so goes away, which is what is tested.
                Some(words) => {
                    // What is not read would make a reset of the close.
                    let _ = stream.read(&mut [0; 16_384]);
                    let _ = stream.write_all(words);
                }
                None => open.push(stream),
            }
        }
    });
    address
}

fn once() -> Options {
    Options {
        retry_schedule: "0s".to_owned(),
        ..Options::default()
    }
}

/// A box whose webhooks have a name each, and a pattern of that name.
fn tenant_with(webhooks: &[(&str, String)]) -> (Data, Tenant) {
    let data = Data::new();
    let tenant = data.tenant("Acme");
    for (name, url) in webhooks {
        data.webhook(&tenant.id, name, url, &[name]);
    }
    (data, tenant)
}

/// What is kept of the one attempt of an event.
#[derive(Debug)]
struct Kept {
    class: Option<String>,
    detail: Option<String>,
    body: Option<Vec<u8>>,
    is_cut: bool,
    length: Option<i64>,
    tls_us: Option<i64>,
    duration_us: i64,
}

#[track_caller]
fn kept(data: &Data, event: &str) -> Kept {
    wait_at_most(Duration::from_secs(40), "the attempt to end", || {
        let deliveries = data.deliveries(event);
        (deliveries.len() == 1 && deliveries[0].attempts == 1).then_some(())
    });
    let number = crate::support::data::event_number(event);
    data.open()
        .query_row(
            "SELECT error_class, error_detail, response_body, response_body_truncated, response_length, tls_us, duration_us
             FROM attempt WHERE delivery_id = (SELECT id FROM delivery WHERE event_id = ?1)",
            [number],
            |row| {
                Ok(Kept {
                    class: row.get(0)?,
                    detail: row.get(1)?,
                    body: row.get(2)?,
                    is_cut: row.get(3)?,
                    length: row.get(4)?,
                    tls_us: row.get(5)?,
                    duration_us: row.get(6)?,
                })
            },
        )
        .unwrap()
}

#[test]
fn an_answer_of_a_gigabyte_is_cut_and_its_length_is_known() {
    let receiver = Receiver::always(Answer::Long(GB));
    let (data, tenant) = tenant_with(&[("Long", receiver.url("/"))]);
    let server = Server::start(&data, &once());
    let kept = kept(&data, &server.track(&tenant.key, "u", "Long"));
    assert_eq!((kept.class.as_deref(), kept.is_cut), (None, true));
    assert_eq!(kept.length, i64::try_from(GB).ok());
    assert_eq!(
        kept.body.unwrap().len(),
        usize::try_from(KEPT_BYTES).unwrap()
    );
    // What was not read stands in the sockets' buffers.
    assert!(receiver.body_bytes() < GB / 32, "{}", receiver.body_bytes());
}

#[test]
fn a_head_without_end_is_too_large() {
    let receiver = Receiver::always(Answer::EndlessHead);
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(200));
    let crowded = Receiver::always(Answer::Raw(many.into_bytes()));
    let webhooks = [
        ("Endless", receiver.url("/")),
        ("Crowded", crowded.url("/")),
    ];
    let (data, tenant) = tenant_with(&webhooks);
    let server = Server::start(&data, &once());
    for name in ["Endless", "Crowded"] {
        let kept = kept(&data, &server.track(&tenant.key, "u", name));
        assert_eq!(kept.class.as_deref(), Some("too_large"), "{name}: {kept:?}");
        assert_eq!(kept.body, None);
    }
}

#[test]
fn a_compressed_answer_is_kept_as_it_came() {
    // It would unpack to 32 MB.
    let (bomb, _) = gzip::run_of(b'z', 32 * 1024 * 1024);
    let headers = vec![("content-encoding", "gzip".to_owned())];
    let receiver = Receiver::always(Answer::Whole(200, headers, bomb.clone()));
    let (data, tenant) = tenant_with(&[("Bomb", receiver.url("/"))]);
    let server = Server::start(&data, &once());
    let kept = kept(&data, &server.track(&tenant.key, "u", "Bomb"));
    let body = kept.body.unwrap();
    assert_eq!(
        (kept.class.as_deref(), kept.is_cut),
        (None, bomb.len() > body.len())
    );
    assert!(body.len() <= usize::try_from(KEPT_BYTES).unwrap());
    assert!(bomb.starts_with(&body) && !body.is_empty());
    assert_eq!(kept.length, i64::try_from(bomb.len()).ok());
}

#[test]
fn an_answer_that_breaks_off_or_is_no_http_is_a_failure() {
    let cases: [(&str, &[u8], &str); 5] = [
        (
            "Body",
            b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nbegun",
            "protocol",
        ),
        (
            "Chunk",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nbeg",
            "protocol",
        ),
        ("Head", b"HTTP/1.1 200 OK\r\ncontent-le", "protocol"),
        ("Mail", b"220 mail.example ESMTP\r\n", "protocol"),
        (
            "Switch",
            b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n",
            "protocol",
        ),
    ];
    let receivers =
        cases.map(|(name, bytes, _)| (name, Receiver::always(Answer::Raw(bytes.to_vec()))));
    let webhooks = receivers
        .each_ref()
        .map(|(name, receiver)| (*name, receiver.url("/")));
    let (data, tenant) = tenant_with(&webhooks);
    let server = Server::start(&data, &once());
    for (name, _, class) in cases {
        let kept = kept(&data, &server.track(&tenant.key, "u", name));
        assert_eq!(kept.class.as_deref(), Some(class), "{name}: {kept:?}");
        if name == "Body" {
            assert_eq!(kept.body.as_deref(), Some(&b"begun"[..]));
        }
    }
}

#[test]
fn tls_that_cannot_be_trusted_gets_no_request() {
    let (trusted, stranger) = (Authority::new("Trusted"), Authority::new("Stranger"));
    let good = trusted.receiver("localhost");
    let wrong_name = trusted.receiver("elsewhere.example");
    let expired = trusted.expired_receiver("localhost");
    let unknown = stranger.receiver("localhost");
    let plain = listener_that_says(Some(b"HTTP/1.1 400 Bad Request\r\n\r\n"));
    let hung_up = listener_that_says(Some(b""));
    let at = |address: SocketAddr| format!("https://localhost:{}/", address.port());
    let webhooks = [
        ("Good", good.url("localhost")),
        ("Wrong Name", wrong_name.url("localhost")),
        ("Expired", expired.url("localhost")),
        ("Unknown", unknown.url("localhost")),
        ("By Address", good.url("127.0.0.1")),
        ("Plain", at(plain)),
        ("Hung Up", at(hung_up)),
    ];
    let (data, tenant) = tenant_with(&webhooks);
    let roots = data.path().join("roots.pem");
    std::fs::write(&roots, &trusted.pem).unwrap();
    let options = Options {
        environment: vec![("SSL_CERT_FILE", roots.to_str().unwrap().to_owned())],
        ..once()
    };
    let server = Server::start(&data, &options);
    let taken = kept(&data, &server.track(&tenant.key, "u", "Good"));
    assert_eq!(taken.class, None, "{taken:?}");
    assert!(taken.tls_us.is_some());
    for (name, said) in [
        ("Wrong Name", "for another name"),
        ("Expired", "has expired"),
        ("Unknown", "nobody whom this machine trusts"),
        ("By Address", "for another name"),
        ("Plain", "does not speak TLS"),
        ("Hung Up", "closed during the handshake"),
    ] {
        let kept = kept(&data, &server.track(&tenant.key, "u", name));
        assert_eq!(kept.class.as_deref(), Some("tls"), "{name}: {kept:?}");
        assert!(
            kept.detail.as_ref().unwrap().contains(said),
            "{name}: {kept:?}"
        );
        assert_eq!(kept.tls_us, None, "{name}");
    }
    let counts = [&good, &wrong_name, &expired, &unknown].map(TlsReceiver::count);
    assert_eq!(counts, [1, 0, 0, 0]);
}

#[test]
fn hostile_receivers_cost_little_memory_and_delay_no_healthy_one() {
    /// Of each webhook: as many as it may have on their way at once.
    const EVENTS: usize = 8;
    let second = Duration::from_secs(1);
    let (bomb, _) = gzip::run_of(b'z', 32 * 1024 * 1024);
    let zipped = vec![("content-encoding", "gzip".to_owned())];
    let dribble = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    let hostile = [
        ("Long", Answer::Long(GB)),
        ("Endless Body", Answer::EndlessBody),
        ("Endless Head", Answer::EndlessHead),
        ("Endless Interim", Answer::EndlessInterim),
        ("Bomb", Answer::Whole(200, zipped, bomb)),
        ("Slow Head", Answer::Dribble(dribble.to_vec(), second)),
        ("Slow Body", Answer::Slow(vec![b'.'; 60], second)),
        ("Silent", Answer::Stall),
        ("Early End", Answer::Close),
    ]
    .map(|(name, answer)| (name, Receiver::always(answer)));
    let silent_tls = listener_that_says(None);
    let healthy = Receiver::healthy();
    let mut webhooks: Vec<_> = hostile
        .iter()
        .map(|(name, r)| (*name, r.url("/")))
        .collect();
    webhooks.push(("Silent TLS", format!("https://{silent_tls}/")));
    webhooks.push(("Healthy", healthy.url("/")));
    let (data, tenant) = tenant_with(&webhooks);
    let server = Server::start(&data, &once());
    for n in 0..20 {
        server.track(&tenant.key, "u", "Healthy");
        healthy.wait_for(n + 1);
    }
    let before_kib = server.process.memory_kib("VmRSS");
    let names = webhooks.iter().map(|(name, _)| *name);
    let names: Vec<_> = names.filter(|name| *name != "Healthy").collect();
    let mut events = Vec::new();
    for _ in 0..EVENTS {
        events.extend(
            names
                .iter()
                .map(|name| (*name, server.track(&tenant.key, "u", name))),
        );
    }
    // While all of them are at it: one that waited behind a silent one would take the 20 s of its attempt.
    let started = Instant::now();
    for n in 20..60 {
        server.track(&tenant.key, "u", "Healthy");
        healthy.wait_for(n + 1);
    }
    let took = started.elapsed();
    assert!(took < Duration::from_secs(20), "{took:?}");
    for (name, event) in &events {
        let kept = kept(&data, event);
        let class = match *name {
            "Long" | "Endless Body" | "Bomb" => None,
            "Endless Head" => Some("too_large"),
            "Early End" => Some("protocol"),
            "Silent TLS" => Some("connect_timeout"),
            _ => Some("timeout"),
        };
        assert_eq!(kept.class.as_deref(), class, "{name}: {kept:?}");
        let body = kept.body.unwrap_or_default();
        assert!(body.len() <= usize::try_from(KEPT_BYTES).unwrap(), "{name}");
        if *name == "Slow Body" {
            assert!(
                (10..60).contains(&body.len()),
                "what came is kept: {}",
                body.len()
            );
        }
        // 5 s to connect and 20 s in all, on a machine that is busy.
        let most = Duration::from_secs(if class == Some("connect_timeout") {
            15
        } else {
            30
        });
        let took = Duration::from_micros(u64::try_from(kept.duration_us).unwrap());
        assert!(took < most, "{name} took {took:?}");
    }
    let most_kib = server.process.memory_kib("VmHWM");
    let growth = most_kib.saturating_sub(before_kib);
    println!("memory grew by {growth} KiB");
    assert!(growth <= GROWTH_KIB, "from {before_kib} to {most_kib} KiB");
    wait_until("a healthy one to be as before", || {
        server.track(&tenant.key, "u", "Healthy");
        (healthy.count() > 60).then_some(())
    });
}
