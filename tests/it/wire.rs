//! What goes over the wire: formats, signatures, headers, and what is kept of an attempt.

use crate::support::data::{DeliveryState, MadeWebhook};
use crate::support::receiver::Request;
use crate::support::{
    Answer, Data, Options, Receiver, Server, Tenant, Visitor, wait_for_value, wait_until,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pillarbox::time::now_ms;
use pillarbox::webhook::{Credentials, CustomHeader, RetiredKey, Signing, SigningKey};
use serde_json::{Value, json};
use standardwebhooks::Webhook as Verifier;

/// A box that is not served yet, with one webhook that takes everything.
struct Made {
    data: Data,
    tenant: Tenant,
    webhook: MadeWebhook,
}

impl Made {
    #[track_caller]
    fn to(url: &str) -> Self {
        let data = Data::new();
        let tenant = data.tenant("Acme");
        data.member(&tenant.id, "ann@example.com", "owner");
        let webhook = data.webhook(&tenant.id, "Everything", url, &["*"]);
        Self {
            data,
            tenant,
            webhook,
        }
    }

    fn serve(&self, schedule: &str) -> Server {
        let options = Options {
            retry_schedule: schedule.to_owned(),
            ..Options::default()
        };
        Server::start(&self.data, &options)
    }

    #[track_caller]
    fn wait_for_attempts(&self, event: &str, attempts: i64) -> DeliveryState {
        wait_for_value("attempts", &attempts, || {
            self.data.deliveries(event)[0].attempts
        });
        self.data.deliveries(event).remove(0)
    }

    fn number(&self, what: &str) -> Option<i64> {
        let sql = format!("SELECT {what} FROM attempt ORDER BY id DESC LIMIT 1");
        self.data
            .open()
            .query_row(&sql, [], |row| row.get(0))
            .unwrap()
    }

    fn text(&self, what: &str) -> Option<String> {
        let sql = format!("SELECT {what} FROM attempt ORDER BY id DESC LIMIT 1");
        self.data
            .open()
            .query_row(&sql, [], |row| row.get(0))
            .unwrap()
    }
}

/// Makes a webhook with the command, in this format.
#[track_caller]
fn formatted(data: &Data, tenant: &Tenant, url: &str, format: &str) -> MadeWebhook {
    let made = data.json(&[
        "webhook",
        "create",
        format,
        "--workspace",
        &tenant.id,
        "--url",
        url,
        "--event",
        "*",
        "--format",
        format,
        "--json",
    ]);
    MadeWebhook {
        id: made["id"].as_str().unwrap().to_owned(),
        secret: made["secret"].as_str().unwrap().to_owned(),
    }
}

fn verifies(secret: &str, request: &Request) -> bool {
    let verifier = Verifier::new(secret).unwrap();
    verifier.verify(&request.body, &request.headers()).is_ok()
}

#[test]
fn each_format_says_the_same_event_in_its_own_shape_and_is_signed() {
    /// What a JSON library would not write back as it came.
    const PROPERTIES: &str = r#"{"n":9007199254740993, "big":1.0e2,"z":"\u0000"}"#;
    let receiver = Receiver::healthy();
    let data = Data::new();
    let tenant = data.tenant("Acme");
    let [standard, jimo, cloud] = ["standard", "jimo", "cloudevents"]
        .map(|format| formatted(&data, &tenant, &receiver.url(&format!("/{format}")), format));
    let server = data.serve();
    let id = server.accept(
        &tenant.key,
        format!(
            r#"{{"userId":"u","type":"track","timestamp":"2026-11-22T10:00:00Z","event":"tour.completed","properties":{PROPERTIES}}}"#
        ),
    );
    let requests = receiver.wait_for(3);
    let of = |format: &str| {
        let line = format!("POST /{format} HTTP/1.1");
        requests.iter().find(|r| r.line() == line).unwrap().clone()
    };
    for (format, made) in [
        ("standard", &standard),
        ("jimo", &jimo),
        ("cloudevents", &cloud),
    ] {
        let request = of(format);
        assert!(verifies(&made.secret, &request), "{format}");
        let whole = format!(r#""properties":{PROPERTIES}"#);
        assert!(
            request.body_text().contains(&whole),
            "{}",
            request.body_text()
        );
    }
    let (standard, jimo, cloud) = (of("standard"), of("jimo"), of("cloudevents"));
    assert_eq!(standard.header("content-type"), "application/json");
    assert_eq!(jimo.header("content-type"), "application/json");
    assert_eq!(cloud.header("content-type"), "application/cloudevents+json");
    let (body, workspace) = (cloud.json(), &tenant.id);
    assert_eq!(body["specversion"], "1.0");
    assert_eq!(body["id"], id.as_str());
    assert_eq!(body["type"], "tour.completed");
    assert_eq!(body["time"], "2026-11-22T10:00:00.000Z");
    assert_eq!(body["source"], format!("/w/{workspace}"));
    assert_eq!(body["data"], standard.json()["data"]);
    let body = jimo.json();
    assert_eq!(
        (&body["event"], &body["version"]),
        (&json!("tour.completed"), &json!("0"))
    );
    assert_eq!(body["time"], 1_795_341_600_000_i64);
    assert_eq!(
        (&body["jimer"]["uid"], body.get("user")),
        (&json!("u"), None)
    );
}

#[test]
fn a_notice_goes_out_in_the_webhooks_format() {
    let receiver = Receiver::healthy();
    let made = Made::to(&receiver.url("/standard"));
    for format in ["jimo", "cloudevents"] {
        formatted(
            &made.data,
            &made.tenant,
            &receiver.url(&format!("/{format}")),
            format,
        );
    }
    let server = made.serve("0s");
    let ann = Visitor::signed_in(&server, "ann@example.com");
    let settings = format!("/w/{}/settings", made.tenant.slug);
    ann.submit(&settings, &[("mau_limit", "1")]);
    server.track(&made.tenant.key, "u", "A");
    let near = |request: &Request| {
        let body = request.json();
        let name = body.get("type").or(body.get("event")).unwrap().clone();
        name == "system.mau_limit_reached"
    };
    let notices = wait_until("the notice in three formats", || {
        let notices: Vec<_> = receiver.requests().into_iter().filter(near).collect();
        (notices.len() == 3).then_some(notices)
    });
    let of = |path: &str| -> (Request, Value) {
        let request = notices.iter().find(|r| r.line().contains(path)).unwrap();
        (request.clone(), request.json())
    };
    let (_, standard) = of("/standard");
    let (request, cloud) = of("/cloudevents");
    let (_, jimo) = of("/jimo");
    assert_eq!(standard["data"]["limit"], 1);
    assert_eq!(cloud["data"], standard["data"]);
    assert_eq!(cloud["id"], request.message_id());
    assert_eq!(jimo["data"], standard["data"]);
    assert_eq!(jimo["version"], "0");
}

#[test]
fn an_unknown_format_is_refused_with_those_that_there_are() {
    let data = Data::new();
    let tenant = data.tenant("Acme");
    let output = data.run(&[
        "webhook",
        "create",
        "X",
        "--workspace",
        &tenant.id,
        "--url",
        "https://example.com/",
        "--event",
        "*",
        "--format",
        "xml",
    ]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("standard, jimo, cloudevents"), "{said}");
}

#[test]
fn an_ed25519_key_signs_so_that_its_public_half_verifies() {
    let receiver = Receiver::healthy();
    let made = Made::to(&receiver.url("/"));
    let mut public = String::new();
    made.data
        .change_webhook(&made.tenant, &made.webhook, |webhook| {
            webhook.key.signing = Signing::Ed25519;
            public = webhook.key.reveal().unwrap();
        });
    let server = made.serve("0s");
    server.track(&made.tenant.key, "u", "A");
    let request = receiver.wait_for(1).remove(0);
    let public = STANDARD
        .decode(public.strip_prefix("whpk_").unwrap())
        .unwrap();
    let signature = request.header("webhook-signature");
    let signature = STANDARD
        .decode(signature.strip_prefix("v1a,").unwrap())
        .unwrap();
    let signed = [
        request.message_id().as_bytes(),
        b".",
        request.header("webhook-timestamp").as_bytes(),
        b".",
        &request.body,
    ]
    .concat();
    let key = ring::signature::UnparsedPublicKey::new(&ring::signature::ED25519, public);
    assert!(key.verify(&signed, &signature).is_ok());
    assert!(key.verify(&signed[1..], &signature).is_err());
}

#[test]
fn both_secrets_verify_during_a_rotation_and_only_the_new_one_after_it() {
    let receiver = Receiver::healthy();
    let made = Made::to(&receiver.url("/"));
    let old = made.webhook.secret.clone();
    let mut new = String::new();
    let in_an_hour_ms = now_ms() + 3_600_000;
    made.data
        .change_webhook(&made.tenant, &made.webhook, |webhook| {
            let fresh = SigningKey {
                signing: Signing::Hmac,
                secret: pillarbox::secret::WebhookSecret::generate().unwrap(),
            };
            new = fresh.reveal().unwrap();
            let key = std::mem::replace(&mut webhook.key, fresh);
            webhook.retired_key = Some(RetiredKey {
                key,
                until_ms: in_an_hour_ms,
            });
        });
    let server = made.serve("0s");
    server.track(&made.tenant.key, "u", "During");
    let during = receiver.wait_for(1).remove(0);
    let signatures = during.header("webhook-signature");
    let signatures: Vec<_> = signatures.split(' ').collect();
    assert_eq!(signatures.len(), 2, "{signatures:?}");
    assert!(verifies(&old, &during) && verifies(&new, &during));
    // The current one stands first.
    let alone = |signature: &str| {
        let mut headers = during.headers();
        headers.insert("webhook-signature", signature.parse().unwrap());
        let verifier = Verifier::new(&new).unwrap();
        verifier.verify(&during.body, &headers).is_ok()
    };
    assert!(alone(signatures[0]) && !alone(signatures[1]));
    let until_ms = now_ms() + 1_500;
    made.data
        .change_webhook(&made.tenant, &made.webhook, |webhook| {
            webhook.retired_key.as_mut().unwrap().until_ms = until_ms;
        });
    let after = wait_until("an attempt after the overlap", || {
        let sent = receiver.count();
        server.track(&made.tenant.key, "u", "After");
        let request = receiver.wait_for(sent + 1).remove(sent);
        let is_alone = !request.header("webhook-signature").contains(' ');
        is_alone.then_some(request)
    });
    assert!(now_ms() >= until_ms);
    assert!(verifies(&new, &after) && !verifies(&old, &after));
}

#[test]
fn headers_and_credentials_go_out_and_their_secrets_stay_out_of_the_history() {
    // It says back all that it was sent, as people's first receivers do.
    let receiver = Receiver::new(|request| {
        let said_back = request.header("x-api-key");
        Answer::Whole(200, vec![("x-echo", said_back)], request.head.clone())
    });
    let url = receiver.url("/hook");
    let made = Made::to(&url.replace("http://", "http://ann:canary-password@"));
    made.data
        .change_webhook(&made.tenant, &made.webhook, |webhook| {
            let header = |name: &str, value: &str| CustomHeader {
                name: name.to_owned(),
                value: value.to_owned(),
            };
            webhook.settings.headers = vec![
                header("x-team", "payments"),
                header("x-api-key", "canary-api-key"),
            ];
        });
    let server = made.serve("0s");
    let event = server.track(&made.tenant.key, "u", "A");
    let request = receiver.wait_for(1).remove(0);
    let basic = STANDARD.encode("ann:canary-password");
    assert_eq!(request.header("authorization"), format!("Basic {basic}"));
    assert_eq!(request.header("x-team"), "payments");
    assert_eq!(request.header("x-api-key"), "canary-api-key");
    assert_eq!(request.line(), "POST /hook HTTP/1.1");
    made.wait_for_attempts(&event, 1);
    let kept = made.text("request_headers").unwrap();
    assert!(kept.contains("authorization:(redacted)\n"), "{kept}");
    assert!(kept.contains("x-api-key:(redacted)\n"), "{kept}");
    assert!(kept.contains("x-team:payments\n"), "{kept}");
    let said_back = made.text("response_headers").unwrap();
    assert!(said_back.contains("x-echo:(redacted)\n"), "{said_back}");
    let said_back = made.text("CAST(response_body AS TEXT)").unwrap();
    assert!(
        said_back.contains("authorization: Basic (redacted)\r\n"),
        "{said_back}"
    );
    assert!(said_back.contains("x-team: payments"), "{said_back}");
    assert_eq!(made.text("url").as_deref(), Some(&*url));
    // Neither a page nor the file shows them.
    let ann = Visitor::signed_in(&server, "ann@example.com");
    let delivery = made.data.delivery_ids(&event).remove(0);
    let slug = &made.tenant.slug;
    for page in [
        format!("/w/{slug}/deliveries/{delivery}"),
        format!("/w/{slug}/webhooks/{}", made.webhook.id),
        format!("/w/{slug}/webhooks"),
    ] {
        let html = ann.see(&page).html;
        assert!(!html.contains("canary") && !html.contains(&basic), "{page}");
    }
    for entry in std::fs::read_dir(made.data.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        for secret in ["canary", &*basic] {
            let is_there = bytes.windows(secret.len()).any(|w| w == secret.as_bytes());
            assert!(!is_there, "{secret} lies in a file");
        }
    }
}

#[test]
fn a_written_authorization_wins_over_the_urls_credentials() {
    let receiver = Receiver::healthy();
    let made = Made::to(&receiver.url("/"));
    made.data
        .change_webhook(&made.tenant, &made.webhook, |webhook| {
            webhook.settings.credentials = Some(Credentials::from_text("ann:secret".to_owned()));
            webhook.settings.headers = vec![CustomHeader {
                name: "authorization".to_owned(),
                value: "Bearer mine".to_owned(),
            }];
        });
    let server = made.serve("0s");
    server.track(&made.tenant.key, "u", "A");
    let request = receiver.wait_for(1).remove(0);
    assert_eq!(request.header("authorization"), "Bearer mine");
}

#[test]
fn the_phases_of_an_attempt_are_kept_and_those_that_did_not_happen_are_not() {
    let receiver = Receiver::healthy();
    let named = receiver.url("/").replace("127.0.0.1", "localhost");
    let made = Made::to(&named);
    let server = made.serve("0s");
    let event = server.track(&made.tenant.key, "u", "First");
    made.wait_for_attempts(&event, 1);
    for (phase, happened) in [
        ("dns_us", true),
        ("connect_us", true),
        ("tls_us", false),
        ("first_byte_us", true),
    ] {
        assert_eq!(made.number(phase).is_some(), happened, "{phase}");
    }
    let parts = made.number("dns_us + connect_us + first_byte_us").unwrap();
    assert!((1..=made.number("duration_us").unwrap()).contains(&parts));
    // Over the connection that is kept.
    let event = server.track(&made.tenant.key, "u", "Second");
    made.wait_for_attempts(&event, 1);
    for phase in ["dns_us", "connect_us", "tls_us"] {
        assert_eq!(made.number(phase), None, "{phase}");
    }
    assert!(made.number("first_byte_us").is_some());
    assert_eq!(receiver.connections(), 1);
    let address = receiver.address().to_string();
    assert_eq!(made.text("address").as_deref(), Some(&*address));
}

#[test]
fn the_address_is_kept_of_a_connection_that_was_refused() {
    let gone = Receiver::healthy();
    let (url, address) = (gone.url("/"), gone.address().to_string());
    drop(gone);
    let made = Made::to(&url);
    let server = made.serve("0s");
    let event = server.track(&made.tenant.key, "u", "A");
    let done = made.wait_for_attempts(&event, 1);
    assert_eq!(done.last_error.as_deref(), Some("connect_refused"));
    assert_eq!(made.text("address").as_deref(), Some(&*address));
    for phase in ["dns_us", "connect_us", "tls_us", "first_byte_us"] {
        assert_eq!(made.number(phase), None, "{phase}");
    }
}

#[test]
fn retry_after_pushes_the_next_attempt_later_on_429_and_503_only() {
    const HOUR_MS: i64 = 3_600_000;
    let answer = |request: &Request| {
        let name = request.json()["type"].as_str().unwrap().to_owned();
        let (status, value) = name.split_once(' ').unwrap();
        let headers = vec![("retry-after", value.to_owned())];
        Answer::Whole(status.parse().unwrap(), headers, Vec::new())
    };
    let receiver = Receiver::new(answer);
    let made = Made::to(&receiver.url("/"));
    let server = made.serve("0s,1h");
    let in_two_hours = std::time::SystemTime::now() + std::time::Duration::from_secs(7_200);
    let date = format!("503 {}", httpdate::fmt_http_date(in_two_hours));
    // The schedule says an hour, moved by up to a fifth.
    let planned = (HOUR_MS * 7 / 10, HOUR_MS * 13 / 10);
    let minute = 60_000;
    for (event, (earliest, latest), is_asked_for) in [
        (
            "429 7200",
            (2 * HOUR_MS - minute, 2 * HOUR_MS + minute),
            true,
        ),
        (&*date, (2 * HOUR_MS - minute, 2 * HOUR_MS + minute), true),
        (
            "503 864000",
            (24 * HOUR_MS - minute, 24 * HOUR_MS + minute),
            true,
        ),
        ("503 5", planned, false),
        ("503 soon", planned, false),
        ("503 -1", planned, false),
        ("500 7200", planned, false),
        ("404 7200", planned, false),
        ("302 7200", planned, false),
    ] {
        let id = server.track(&made.tenant.key, "u", event);
        made.wait_for_attempts(&id, 1);
        let wait_ms = made.number("next_attempt_at_ms").unwrap() - now_ms();
        assert!((earliest..=latest).contains(&wait_ms), "{event}: {wait_ms}");
        let why = is_asked_for.then_some("retry_after");
        assert_eq!(made.text("next_attempt_why").as_deref(), why, "{event}");
    }
}

#[test]
fn a_failure_says_what_was_met_and_what_to_try() {
    let receiver = Receiver::new(|request| {
        let name = request.json()["type"].as_str().unwrap().to_owned();
        match name.as_str() {
            "moved" => Answer::Redirect("https://example.com/new-place".to_owned()),
            status => Answer::Status(status.parse().unwrap()),
        }
    });
    let made = Made::to(&receiver.url("/"));
    let server = made.serve("0s");
    let ann = Visitor::signed_in(&server, "ann@example.com");
    for (event, class, said) in [
        (
            "moved",
            "redirect",
            "points to https://example.com/new-place",
        ),
        ("moved", "redirect", "Put the final URL in the webhook."),
        ("401", "http_4xx", "does not let this request in"),
        ("429", "http_4xx", "Give the webhook a rate"),
        ("400", "http_4xx", "refused the request"),
        // The last one: it disables the webhook.
        ("410", "http_4xx", "gone for good"),
    ] {
        let id = server.track(&made.tenant.key, "u", event);
        let done = made.wait_for_attempts(&id, 1);
        assert_eq!(done.last_error.as_deref(), Some(class), "{event}");
        let delivery = made.data.delivery_ids(&id).remove(0);
        let page = ann.see(&format!("/w/{}/deliveries/{delivery}", made.tenant.slug));
        assert!(page.text().contains(said), "{event}: {}", page.text());
    }
}
