//! DELIVER: what a receiver gets, how it can be sure of it, and what the box does with receivers
//! that fail, stall, redirect, or answer without end.

use crate::support::data::DeliveryState;
use crate::support::receiver::Request;
use crate::support::server::track_body;
use crate::support::{
    Answer, Data, Options, Receiver, Sending, Server, Visitor, wait_at_most, wait_for_value,
    wait_until,
};
use serde_json::json;
use standardwebhooks::Webhook as Verifier;
use std::time::{Duration, Instant};

impl Sending {
    #[track_caller]
    fn track(&self, event: &str) -> String {
        self.server.track(&self.tenant.key, "u", event)
    }

    /// The event's only delivery.
    fn delivery(&self, event: &str) -> DeliveryState {
        let deliveries = self.data.deliveries(event);
        assert_eq!(deliveries.len(), 1, "{deliveries:?}");
        deliveries[0].clone()
    }

    /// Waits until the event's only delivery is in this state.
    #[track_caller]
    fn wait_for_state(&self, event: &str, state: &str) -> DeliveryState {
        wait_for_value("the delivery's state", &state.to_owned(), || {
            self.delivery(event).state
        });
        self.delivery(event)
    }
}

fn schedule(text: &str) -> Options {
    Options {
        retry_schedule: text.to_owned(),
        ..Options::default()
    }
}

#[track_caller]
fn verify(secret: &str, request: &Request) {
    Verifier::new(secret)
        .unwrap()
        .verify(&request.body, &request.headers())
        .unwrap_or_else(|e| panic!("{e}: {request:?}"));
}

#[test]
fn a_delivery_is_a_signed_post_of_the_event() {
    let receiver = Receiver::healthy();
    let sending = Sending::to(&receiver.url("/hooks?from=box"));
    let id = sending.track("Post Created");
    let request = receiver.wait_for(1).remove(0);
    assert_eq!(request.line(), "POST /hooks?from=box HTTP/1.1");
    assert_eq!(request.header("host"), receiver.address().to_string());
    assert_eq!(request.header("content-type"), "application/json");
    assert_eq!(
        request.header("content-length"),
        request.body.len().to_string()
    );
    assert!(request.header("user-agent").starts_with("Pillarbox/"));
    assert!(request.message_id().starts_with("msg_"));
    let message = request.json();
    let members: Vec<_> = message.as_object().unwrap().keys().collect();
    assert_eq!(members, ["data", "timestamp", "type"]);
    assert_eq!(message["type"], "Post Created");
    assert_eq!(message["timestamp"], "2026-11-22T10:00:00.000Z");
    let data = &message["data"];
    assert_eq!(data["id"], id.as_str());
    assert_eq!(data["kind"], "track");
    assert_eq!(data["event"], "Post Created");
    assert_eq!(data["userId"], "u");
    assert_eq!(data["verification"], "server");
    let received_at = data["receivedAt"].as_str().unwrap();
    assert!(
        received_at.len() == 24 && received_at.ends_with('Z'),
        "{received_at}"
    );
    let members: Vec<_> = data.as_object().unwrap().keys().collect();
    assert_eq!(
        members,
        [
            "event",
            "id",
            "kind",
            "receivedAt",
            "userId",
            "verification"
        ],
        "absent fields are left out"
    );
    let done = sending.wait_for_state(&id, "succeeded");
    assert_eq!((done.attempts, done.last_error), (1, None));
}

#[test]
fn an_independent_verifier_accepts_the_signature_and_nothing_else() {
    let receiver = Receiver::healthy();
    let sending = Sending::to(&receiver.url("/"));
    sending.track("Signed");
    let request = receiver.wait_for(1).remove(0);
    assert!(sending.webhook.secret.starts_with("whsec_"));
    verify(&sending.webhook.secret, &request);

    let verifier = Verifier::new(&sending.webhook.secret).unwrap();
    let mut changed = request.body.clone();
    *changed.last_mut().unwrap() = b' ';
    assert!(
        verifier.verify(&changed, &request.headers()).is_err(),
        "another body"
    );
    let mut longer = request.body.clone();
    longer.push(b'\n');
    assert!(
        verifier.verify(&longer, &request.headers()).is_err(),
        "a longer body"
    );
    for (header, value) in [
        ("webhook-id", "msg_0000000000000".to_owned()),
        (
            "webhook-timestamp",
            (request.header("webhook-timestamp").parse::<i64>().unwrap() - 1).to_string(),
        ),
    ] {
        let mut headers = request.headers();
        headers.insert(header, value.parse().unwrap());
        assert!(
            verifier.verify(&request.body, &headers).is_err(),
            "another {header}"
        );
    }
    let other = Verifier::new("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").unwrap();
    assert!(
        other.verify(&request.body, &request.headers()).is_err(),
        "another secret"
    );
}

#[test]
fn each_webhook_has_a_secret_of_its_own_and_one_message_id() {
    let receiver = Receiver::healthy();
    let sending = Sending::to(&receiver.url("/first"));
    let second = sending.data.webhook(
        &sending.tenant.id,
        "Second",
        &receiver.url("/second"),
        &["*"],
    );
    assert_ne!(sending.webhook.secret, second.secret);
    // A webhook made beside the server is known within a second, so post until both got one event.
    let (first_request, second_request) = wait_until("one event at both webhooks", || {
        let id = sending.track("For Both");
        wait_until("its deliveries to succeed", || {
            sending
                .data
                .deliveries(&id)
                .iter()
                .all(|d| d.state == "succeeded")
                .then_some(())
        });
        let requests = receiver.requests();
        let of = |path: &str| {
            requests
                .iter()
                .find(|r| r.json()["data"]["id"] == id.as_str() && r.line().contains(path))
                .cloned()
        };
        of("/first").zip(of("/second"))
    });
    verify(&sending.webhook.secret, &first_request);
    verify(&second.secret, &second_request);
    assert_eq!(first_request.message_id(), second_request.message_id());
    assert_eq!(first_request.body, second_request.body);
    let crossed = Verifier::new(&second.secret).unwrap();
    assert!(
        crossed
            .verify(&first_request.body, &first_request.headers())
            .is_err()
    );
}

#[test]
fn a_failed_attempt_is_repeated_with_the_same_id_and_signed_anew() {
    let receiver = Receiver::statuses(&[500, 503, 204]);
    // More than a second apart, so that the attempts' timestamps must differ.
    let sending = Sending::with(&receiver.url("/"), &schedule("0s,1500ms,1500ms,1500ms"));
    let id = sending.track("Retried");
    let requests = receiver.wait_for(3);
    let done = sending.wait_for_state(&id, "succeeded");
    assert_eq!((done.attempts, done.last_error), (3, None));
    for request in &requests {
        verify(&sending.webhook.secret, request);
        assert_eq!(request.message_id(), requests[0].message_id());
        assert_eq!(request.body, requests[0].body);
    }
    for pair in requests.windows(2) {
        let at = |r: &Request| r.header("webhook-timestamp").parse::<i64>().unwrap();
        assert!(
            at(&pair[0]) < at(&pair[1]),
            "the timestamp is the attempt's"
        );
        assert_ne!(
            pair[0].header("webhook-signature"),
            pair[1].header("webhook-signature")
        );
    }
    assert_eq!(receiver.count(), 3, "nothing is sent after a success");
}

#[test]
fn every_2xx_is_a_success_and_nothing_else_is() {
    let receiver = Receiver::new(|request| {
        let status = request.json()["type"].as_str().unwrap().parse().unwrap();
        Answer::Status(status)
    });
    let sending = Sending::with(&receiver.url("/"), &schedule("0s"));
    for (status, state, class) in [
        (200, "succeeded", None),
        (201, "succeeded", None),
        (202, "succeeded", None),
        (204, "succeeded", None),
        (299, "succeeded", None),
        (302, "failed", Some("redirect")),
        (304, "failed", Some("redirect")),
        (400, "failed", Some("http_4xx")),
        (404, "failed", Some("http_4xx")),
        (500, "failed", Some("http_5xx")),
        (599, "failed", Some("http_5xx")),
    ] {
        let id = sending.track(&status.to_string());
        let done = sending.wait_for_state(&id, state);
        assert_eq!(
            (done.attempts, done.last_error.as_deref()),
            (1, class),
            "{status}"
        );
    }
}

#[test]
fn an_exhausted_schedule_is_a_failure() {
    let receiver = Receiver::statuses(&[500]);
    let sending = Sending::to(&receiver.url("/"));
    let id = sending.track("Never Taken");
    let done = sending.wait_for_state(&id, "failed");
    assert_eq!(
        (done.attempts, done.last_error.as_deref()),
        (3, Some("http_5xx"))
    );
    assert_eq!(receiver.count(), 3);
    assert_eq!(sending.data.rows("attempt"), 3);
}

#[test]
fn retries_wait_for_their_time() {
    let receiver = Receiver::statuses(&[500, 200]);
    let sending = Sending::with(&receiver.url("/"), &schedule("0s,1s"));
    let started = Instant::now();
    let id = sending.track("Patience");
    sending.wait_for_state(&id, "succeeded");
    // A second, less a fifth of jitter, less what a clock may be off by.
    assert!(
        started.elapsed() >= Duration::from_millis(750),
        "{:?}",
        started.elapsed()
    );
}

#[test]
fn a_receiver_that_is_not_there_or_hangs_up_is_a_failure() {
    let gone = Receiver::healthy();
    let nowhere = gone.url("/");
    drop(gone);
    let rude = Receiver::always(Answer::Close);
    let data = Data::new();
    let tenant = data.tenant("Acme");
    let webhook = data.webhook(&tenant.id, "Rude", &rude.url("/"), &["*"]);
    data.webhook(&tenant.id, "Nobody", &nowhere, &["To Nobody"]);
    let server = Server::start(&data, &schedule("0s"));
    let sending = Sending {
        data,
        tenant,
        webhook,
        server,
    };
    let hung_up = sending.track("Hung Up");
    let done = sending.wait_for_state(&hung_up, "failed");
    assert_eq!(done.last_error.as_deref(), Some("protocol"));

    let id = sending.track("To Nobody");
    let states = wait_until("both to fail", || {
        let deliveries = sending.data.deliveries(&id);
        deliveries
            .iter()
            .all(|d| d.state == "failed")
            .then_some(deliveries)
    });
    let mut classes: Vec<_> = states.into_iter().filter_map(|d| d.last_error).collect();
    classes.sort();
    assert_eq!(classes, ["connect_refused", "protocol"]);
}

#[test]
fn patterns_choose_by_name_by_family_or_all() {
    let receiver = Receiver::healthy();
    let data = Data::new();
    let tenant = data.tenant("Acme");
    for (path, patterns) in [
        ("/exact", vec!["Post Created"]),
        ("/all", vec!["*"]),
        ("/family", vec!["tour.*"]),
        ("/several", vec!["Post Created", "tour.completed"]),
        ("/identify", vec!["identify"]),
    ] {
        data.webhook(&tenant.id, path, &receiver.url(path), &patterns);
    }
    let server = data.serve();
    for (event, wanted) in [
        ("Post Created", vec!["/all", "/exact", "/several"]),
        ("post created", vec!["/all"]),
        ("Post Created Again", vec!["/all"]),
        ("tour.completed", vec!["/all", "/family", "/several"]),
        ("tour.step.seen", vec!["/all", "/family"]),
        ("tour", vec!["/all"]),
        ("tourist.arrived", vec!["/all"]),
    ] {
        let id = server.track(&tenant.key, "u", event);
        // The deliveries are written with the event, so their number is final.
        assert_eq!(data.deliveries(&id).len(), wanted.len(), "{event}");
        let mut paths: Vec<_> = wait_until(&format!("{event} to arrive"), || {
            let paths: Vec<_> = receiver
                .requests()
                .iter()
                .filter(|request| request.json()["data"]["id"] == id.as_str())
                .map(|request| request.line().split(' ').nth(1).unwrap().to_owned())
                .collect();
            (paths.len() >= wanted.len()).then_some(paths)
        });
        paths.sort();
        assert_eq!(paths, wanted, "{event}");
    }
    let identify = crate::support::server::identify_body("u", "{}");
    let id = server.accept(&tenant.key, identify);
    assert_eq!(
        data.deliveries(&id).len(),
        2,
        "identify is a type of its own"
    );
}

#[test]
fn an_event_that_nobody_wants_is_stored_without_deliveries() {
    let receiver = Receiver::healthy();
    let data = Data::new();
    let tenant = data.tenant("Acme");
    data.webhook(&tenant.id, "Tours", &receiver.url("/"), &["tour.*"]);
    let server = data.serve();
    let unwanted = server.track(&tenant.key, "u", "Unwanted");
    server.track(&tenant.key, "u", "tour.completed");
    receiver.wait_for_type("tour.completed");
    assert!(data.deliveries(&unwanted).is_empty());
    assert_eq!((data.rows("event"), receiver.count()), (2, 1));
}

#[test]
fn an_event_goes_where_all_filters_hold_and_its_page_says_which_one_did_not() {
    let receiver = Receiver::healthy();
    let data = Data::new();
    let tenant = data.tenant("Acme");
    data.member(&tenant.id, "ann@example.com", "owner");
    let large = data.webhook(&tenant.id, "Large", &receiver.url("/large"), &["Paid"]);
    data.change_webhook(&tenant, &large, |webhook| {
        let filters = [
            r#"properties.plan = "pro""#,
            "properties.seats > 3",
            "properties.coupon exists",
            r#"properties.note contains "ur""#,
        ];
        webhook.settings.filters = filters.map(|filter| filter.parse().unwrap()).to_vec();
    });
    let others = data.webhook(&tenant.id, "Others", &receiver.url("/others"), &["Paid"]);
    data.change_webhook(&tenant, &others, |webhook| {
        let filters = [r#"properties.plan != "pro""#, "properties.seats < 10"];
        webhook.settings.filters = filters.map(|filter| filter.parse().unwrap()).to_vec();
    });
    let server = data.serve();
    let ann = Visitor::signed_in(&server, "ann@example.com");
    for (properties, got, unmet) in [
        (
            json!({"plan": "pro", "seats": 4, "coupon": null, "note": "urgent"}),
            Some("/large"),
            r#"Its filter properties.plan != "pro" did not match."#,
        ),
        (
            json!({"plan": "pro", "seats": 3, "coupon": "x", "note": "urgent"}),
            None,
            "Its filter properties.seats > 3 did not match.",
        ),
        (
            json!({"plan": "pro", "seats": 40, "note": "urgent"}),
            None,
            "Its filter properties.coupon exists did not match.",
        ),
        (
            json!({"plan": "free", "seats": 9.5}),
            Some("/others"),
            r#"Its filter properties.plan = "pro" did not match."#,
        ),
        (
            json!({"plan": "free", "seats": "9"}),
            None,
            "Its filter properties.seats < 10 did not match.",
        ),
    ] {
        let body = json!({"event": "Paid", "userId": "u", "properties": properties});
        let (status, answer) = server.post_native(&tenant.key, body.to_string());
        assert_eq!(status, 200, "{answer}");
        let id = answer["id"].as_str().unwrap();
        assert_eq!(
            data.deliveries(id).len(),
            usize::from(got.is_some()),
            "{body}"
        );
        if let Some(path) = got {
            let line = wait_until("what it gets", || {
                let requests = receiver.requests().into_iter();
                let mut of_it = requests.filter(|request| request.json()["data"]["id"] == id);
                of_it.next().map(|request| request.line())
            });
            assert_eq!(line, format!("POST {path} HTTP/1.1"), "{body}");
        }
        let page = ann.see(&format!("/w/{}/events/{id}", tenant.slug)).text();
        assert!(page.contains(unmet), "{body}: {page}");
    }
}

#[test]
fn a_paused_webhook_holds_and_sends_when_activated() {
    let receiver = Receiver::healthy();
    let witness = Receiver::healthy();
    let sending = Sending::to(&receiver.url("/"));
    sending.track("Before");
    receiver.wait_for(1);
    sending
        .data
        .webhook(&sending.tenant.id, "Witness", &witness.url("/"), &["*"]);
    let ann = sending.ann();
    ann.submit(&sending.webhook_path("/pause"), &[]);

    let held: Vec<_> = (0..3)
        .map(|n| sending.track(&format!("Held {n}")))
        .collect();
    // Another webhook gets an event of the same moment, so this one's is kept back, not slow.
    wait_until("the witness to hear of an event", || {
        if witness.count() > 0 {
            return Some(());
        }
        sending.track("For The Witness");
        None
    });
    for id in &held {
        let deliveries = sending.data.deliveries(id);
        assert!(
            deliveries
                .iter()
                .any(|d| d.state == "held" && d.attempts == 0),
            "{deliveries:?}"
        );
    }
    assert_eq!(receiver.count(), 1, "a paused webhook sends nothing");

    let page = ann.see(&sending.webhook_path("/activate"));
    let owed = sending
        .data
        .number("SELECT count(*) FROM delivery WHERE state = 'held'");
    assert!(
        page.text().contains(&owed.to_string()),
        "it asks with the count: {}",
        page.text()
    );
    ann.submit(&sending.webhook_path("/activate"), &[("held", "send")]);
    for n in 0..3 {
        receiver.wait_for_type(&format!("Held {n}"));
    }
    sending.track("After");
    receiver.wait_for_type("After");
    wait_for_value("what is held", &0, || {
        sending
            .data
            .number("SELECT count(*) FROM delivery WHERE state = 'held'")
    });
}

#[test]
fn what_was_held_can_be_discarded() {
    let receiver = Receiver::healthy();
    let sending = Sending::to(&receiver.url("/"));
    let ann = sending.ann();
    ann.submit(&sending.webhook_path("/pause"), &[]);
    let id = sending.track("Discarded");
    assert_eq!(sending.delivery(&id).state, "held");
    ann.submit(&sending.webhook_path("/activate"), &[("held", "discard")]);
    assert_eq!(sending.delivery(&id).state, "cancelled");
    sending.track("After");
    receiver.wait_for_type("After");
    assert_eq!(receiver.count(), 1, "what was discarded is not sent");
}

#[test]
fn pausing_holds_what_waits_for_its_next_attempt() {
    let receiver = Receiver::statuses(&[500]);
    let sending = Sending::with(&receiver.url("/"), &schedule("0s,1h"));
    let id = sending.track("Waiting");
    wait_for_value("attempts", &1, || sending.delivery(&id).attempts);
    assert_eq!(sending.delivery(&id).state, "pending");
    let ann = sending.ann();
    ann.submit(&sending.webhook_path("/pause"), &[]);
    sending.wait_for_state(&id, "held");
    receiver.answer(Answer::Status(200));
    ann.submit(&sending.webhook_path("/activate"), &[("held", "send")]);
    sending.wait_for_state(&id, "succeeded");
    assert_eq!(receiver.count(), 2);
}

#[test]
fn a_deleted_webhook_gets_nothing_more() {
    let receiver = Receiver::statuses(&[500]);
    let sending = Sending::with(&receiver.url("/"), &schedule("0s,1h"));
    let id = sending.track("Owed");
    wait_for_value("attempts", &1, || sending.delivery(&id).attempts);
    let ann = sending.ann();
    let refused = ann.post(
        &sending.webhook_path("/delete"),
        &[("confirm", "something else")],
    );
    assert_ne!(refused.status, 303, "deleting takes the webhook's name");
    assert_eq!(sending.delivery(&id).state, "pending");
    ann.submit(
        &sending.webhook_path("/delete"),
        &[("confirm", "Everything")],
    );
    assert_eq!(sending.delivery(&id).state, "cancelled");
    let after = sending.track("After");
    assert!(
        sending.data.deliveries(&after).is_empty(),
        "no delivery to what is gone"
    );
    assert_eq!(ann.get(&sending.webhook_path("")).status, 404);
    assert_eq!(receiver.count(), 1);
}

#[test]
fn a_loopback_address_is_blocked_unless_allowed() {
    let receiver = Receiver::healthy();
    let port = receiver.address().port();
    let options = Options {
        allows_loopback: false,
        retry_schedule: "0s".to_owned(),
        ..Options::default()
    };
    let data = Data::new();
    let tenant = data.tenant("Acme");
    data.member(&tenant.id, "ann@example.com", "owner");
    // Made before the start, and for this one event: what fails again and again is probed only.
    let webhook = |name: &str, host: &str| {
        let url = format!("http://{host}:{port}/");
        data.webhook(&tenant.id, name, &url, &["Blocked"])
    };
    for (n, host) in [
        "localhost",
        "0.0.0.0",
        "2130706433",
        "0x7f.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
    ]
    .iter()
    .enumerate()
    {
        webhook(&format!("Disguise {n}"), host);
    }
    let webhook = webhook("Plain", "127.0.0.1");
    let server = Server::start(&data, &options);
    let sending = Sending {
        data,
        tenant,
        webhook,
        server,
    };
    let id = sending.track("Blocked");
    assert_eq!(sending.data.deliveries(&id).len(), 7);
    let deliveries = wait_until("all seven to fail", || {
        let deliveries = sending.data.deliveries(&id);
        deliveries
            .iter()
            .all(|d| d.state == "failed")
            .then_some(deliveries)
    });
    for delivery in deliveries {
        assert_eq!(delivery.last_error.as_deref(), Some("blocked_address"));
    }
    assert_eq!(
        receiver.connections(),
        0,
        "a blocked address is never dialled"
    );
    // The page says which flag would allow it.
    let delivery = sending.data.delivery_ids(&id).remove(0);
    let page = sending
        .ann()
        .see(&sending.path(&format!("deliveries/{delivery}")));
    assert!(page.text().contains("--allow-target"), "{}", page.text());
}

#[test]
fn a_redirect_is_a_failure_and_is_not_followed() {
    let target = Receiver::healthy();
    let receiver = Receiver::always(Answer::Redirect(target.url("/elsewhere")));
    let sending = Sending::to(&receiver.url("/"));
    let id = sending.track("Redirected");
    let done = sending.wait_for_state(&id, "failed");
    assert_eq!(
        (done.attempts, done.last_error.as_deref()),
        (3, Some("redirect"))
    );
    assert_eq!((receiver.count(), target.connections()), (3, 0));
}

#[test]
fn a_stalled_endpoint_does_not_delay_a_healthy_one() {
    let stalled = Receiver::always(Answer::Stall);
    let healthy = Receiver::healthy();
    let data = Data::new();
    let tenant = data.tenant("Acme");
    data.webhook(&tenant.id, "Stalled", &stalled.url("/"), &["*"]);
    data.webhook(&tenant.id, "Healthy", &healthy.url("/"), &["*"]);
    let server = data.serve();
    for n in 0..60 {
        server.track(&tenant.key, "u", &format!("Event {n}"));
    }
    // Well within the 20 s that one stalled attempt lasts.
    let started = Instant::now();
    healthy.wait_for(60);
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    // One endpoint never has more than eight attempts open.
    stalled.wait_for(1);
    assert!(stalled.count() <= 8, "{} at once", stalled.count());
}

#[test]
fn interim_answers_without_end_hold_up_no_other_webhook() {
    let chatty = Receiver::always(Answer::EndlessInterim);
    let healthy = Receiver::healthy();
    let data = Data::new();
    let tenant = data.tenant("Acme");
    data.webhook(&tenant.id, "Chatty", &chatty.url("/"), &["First"]);
    data.webhook(&tenant.id, "Healthy", &healthy.url("/"), &["*"]);
    let server = data.serve();
    let first = server.track(&tenant.key, "u", "First");
    chatty.wait_for(1);
    for n in 0..20 {
        server.track(&tenant.key, "u", &format!("Event {n}"));
    }
    healthy.wait_for(21);
    // Its own timeout ends it, as that of any other.
    wait_at_most(
        Duration::from_secs(40),
        "the chatty one's attempt to end",
        || {
            let deliveries = data.deliveries(&first);
            let ended =
                |delivery: &DeliveryState| delivery.last_error.as_deref() == Some("timeout");
            deliveries.iter().any(ended).then_some(())
        },
    );
}

#[test]
fn an_endless_answer_is_cut() {
    let receiver = Receiver::always(Answer::EndlessBody);
    let sending = Sending::with(&receiver.url("/"), &schedule("0s"));
    let started = Instant::now();
    let id = sending.track("Endless");
    let done = wait_until("the attempt to end", || {
        let delivery = sending.delivery(&id);
        (delivery.attempts == 1).then_some(delivery)
    });
    assert_eq!(done.state, "succeeded", "{done:?}");
    assert!(started.elapsed() < Duration::from_secs(10));
    // What was not read stands in the sockets' buffers; more than those hold was never asked for.
    let let_through = receiver.body_bytes();
    assert!(
        let_through < 16 * 1024 * 1024,
        "{let_through} bytes were taken"
    );
    let kept = sending
        .data
        .number("SELECT length(response_body) FROM attempt");
    assert_eq!(kept, 64 * 1024);
    assert_eq!(
        sending
            .data
            .number("SELECT response_body_truncated FROM attempt"),
        1
    );
}

#[test]
fn an_answer_is_kept_whole_up_to_64_kib() {
    let body = "k".repeat(64 * 1024);
    let receiver = Receiver::always(Answer::Whole(
        200,
        vec![("x-receiver", "seen".to_owned())],
        body.clone().into_bytes(),
    ));
    let sending = Sending::with(&receiver.url("/"), &schedule("0s"));
    let id = sending.track("Whole");
    sending.wait_for_state(&id, "succeeded");
    let connection = sending.data.open();
    let (kept, is_cut, headers): (Vec<u8>, bool, String) = connection
        .query_row(
            "SELECT response_body, response_body_truncated, response_headers FROM attempt",
            [],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )
        .unwrap();
    assert!(kept == body.as_bytes(), "{} bytes were kept", kept.len());
    assert!(!is_cut);
    assert!(
        headers.contains("x-receiver") && headers.contains("seen"),
        "{headers}"
    );
}

#[test]
fn a_slow_answer_is_read_to_its_end() {
    let receiver = Receiver::always(Answer::Slow(b"at last".to_vec(), Duration::from_millis(50)));
    let sending = Sending::with(&receiver.url("/"), &schedule("0s"));
    let id = sending.track("Slow");
    sending.wait_for_state(&id, "succeeded");
    let kept: Vec<u8> = sending
        .data
        .open()
        .query_row("SELECT response_body FROM attempt", [], |row| row.get(0))
        .unwrap();
    assert_eq!(kept, b"at last");
}

#[test]
fn an_answer_that_is_not_whole_in_20_s_is_a_timeout() {
    let silent = Receiver::always(Answer::Stall);
    let trickling = Receiver::always(Answer::Slow(vec![b'.'; 300], Duration::from_millis(500)));
    let data = Data::new();
    let tenant = data.tenant("Acme");
    data.webhook(&tenant.id, "Silent", &silent.url("/"), &["*"]);
    data.webhook(&tenant.id, "Trickling", &trickling.url("/"), &["*"]);
    let server = Server::start(&data, &schedule("0s"));
    let started = Instant::now();
    let id = server.track(&tenant.key, "u", "Waited For");
    let deliveries = wait_at_most(Duration::from_secs(30), "both attempts to end", || {
        let deliveries = data.deliveries(&id);
        deliveries
            .iter()
            .all(|delivery| delivery.state == "failed")
            .then_some(deliveries)
    });
    assert!(
        started.elapsed() > Duration::from_secs(15),
        "{:?}",
        started.elapsed()
    );
    for delivery in &deliveries {
        assert_eq!(delivery.last_error.as_deref(), Some("timeout"));
    }
    assert_eq!(deliveries.len(), 2);
    let kept = data.number("SELECT max(length(response_body)) FROM attempt");
    assert!(
        (10..300).contains(&kept),
        "what came until then is kept: {kept} bytes"
    );
}

#[test]
fn a_person_can_retry_what_has_failed() {
    let receiver = Receiver::statuses(&[500]);
    let sending = Sending::with(&receiver.url("/"), &schedule("0s"));
    let id = sending.track("Second Chance");
    sending.wait_for_state(&id, "failed");
    receiver.answer(Answer::Status(200));
    let delivery = sending.data.delivery_ids(&id).remove(0);
    let ann = sending.ann();
    let page = sending.path(&format!("deliveries/{delivery}"));
    assert!(ann.see(&page).text().contains("Retry now"));
    ann.submit(&format!("{page}/retry"), &[]);
    let done = sending.wait_for_state(&id, "succeeded");
    assert_eq!(done.attempts, 2);
    let after = ann.see(&page).text();
    assert!(after.contains("Send again") && !after.contains("Retry now"));
    let requests = receiver.wait_for(2);
    assert_eq!(requests[0].message_id(), requests[1].message_id());
    verify(&sending.webhook.secret, &requests[1]);
    let triggers = sending
        .data
        .number("SELECT count(*) FROM attempt WHERE trigger = 'manual' AND number = 2");
    assert_eq!(triggers, 1);
}

#[test]
fn a_manual_retry_leaves_the_schedule_alone() {
    let receiver = Receiver::statuses(&[500]);
    let sending = Sending::with(&receiver.url("/"), &schedule("0s,1h"));
    let id = sending.track("Scheduled");
    wait_for_value("attempts", &1, || sending.delivery(&id).attempts);
    let next = || {
        sending
            .data
            .number("SELECT next_attempt_at_ms FROM delivery")
    };
    let before = next();
    let delivery = sending.data.delivery_ids(&id).remove(0);
    sending
        .ann()
        .submit(&sending.path(&format!("deliveries/{delivery}/retry")), &[]);
    wait_for_value("attempts", &2, || sending.delivery(&id).attempts);
    assert_eq!(sending.delivery(&id).state, "pending");
    assert_eq!(next(), before);
}

#[test]
fn what_is_owed_at_a_stop_is_sent_after_the_next_start() {
    let receiver = Receiver::statuses(&[500, 200]);
    let options = schedule("0s,1500ms");
    let mut sending = Sending::with(&receiver.url("/"), &options);
    let id = sending.track("Over The Stop");
    wait_for_value("attempts", &1, || sending.delivery(&id).attempts);
    assert!(sending.server.terminate().success());
    sending.server = Server::start(&sending.data, &options);
    let done = sending.wait_for_state(&id, "succeeded");
    assert_eq!(done.attempts, 2);
    let requests = receiver.requests();
    assert_eq!(requests[0].message_id(), requests[1].message_id());
}

#[test]
fn a_name_cannot_smuggle_anything_into_the_request() {
    let receiver = Receiver::healthy();
    let sending = Sending::to(&receiver.url("/"));
    let hostile = "é \"quoted\" \\ , {}";
    sending
        .server
        .accept(&sending.tenant.key, track_body("u\r\nx-evil: 1", hostile));
    let request = receiver.wait_for(1).remove(0);
    assert!(request.all("x-evil").is_empty());
    assert_eq!(request.json()["type"], hostile);
    assert_eq!(request.json()["data"]["userId"], "u\r\nx-evil: 1");
    verify(&sending.webhook.secret, &request);
}

#[test]
fn an_attempt_that_cannot_be_recorded_yet_is_not_made_again() {
    let (answer, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let receiver = Receiver::new(move |_| {
        let _ = wait.lock().unwrap().recv_timeout(Duration::from_secs(15));
        Answer::Status(200)
    });
    let sending = Sending::to(&receiver.url("/"));
    let event = sending.track("Post Created");
    receiver.wait_for(1);
    let lock = sending.data.lock_file();
    answer.send(()).unwrap();
    // Meanwhile the receiver has been asked, and the box can write nothing down.
    wait_until("the box to meet the locked file", || {
        let log = sending.server.process.log.text();
        log.contains("could not be recorded yet").then_some(())
    });
    drop(lock);
    let delivery = sending.wait_for_state(&event, "succeeded");
    assert_eq!((delivery.attempts, receiver.count()), (1, 1));
}

#[test]
fn a_webhook_has_no_more_than_8_attempts_to_answer_at_once() {
    const BACKLOG: usize = 60;
    // An attempt has its connection to itself, and connections are kept: so as many are made as
    // there ever were attempts at once.
    let receiver = Receiver::always(Answer::Slow(b"done".to_vec(), Duration::from_millis(10)));
    let sending = Sending::to(&receiver.url("/"));
    for n in 0..BACKLOG {
        sending.track(&format!("Event {n}"));
    }
    wait_for_value("attempts in the file", &60, || sending.data.rows("attempt"));
    assert_eq!(receiver.count(), BACKLOG, "each came once");
    let most = receiver.connections();
    assert!((2..=8).contains(&most), "{most} at once");
}

#[test]
fn a_connection_is_used_again_and_a_closed_one_is_not() {
    let receiver = Receiver::healthy();
    let sending = Sending::to(&receiver.url("/"));
    for n in 0..5 {
        let id = sending.track(&format!("Event {n}"));
        sending.wait_for_state(&id, "succeeded");
    }
    assert_eq!(receiver.connections(), 1);
    // The receiver hangs up after this one; the next event must not be lost to a dead connection.
    receiver.answer(Answer::Whole(
        200,
        vec![("connection", "close".to_owned())],
        Vec::new(),
    ));
    let id = sending.track("Last One Here");
    sending.wait_for_state(&id, "succeeded");
    receiver.answer(Answer::Status(200));
    let id = sending.track("First One There");
    let done = sending.wait_for_state(&id, "succeeded");
    assert_eq!((done.attempts, receiver.connections()), (1, 2));
}

/// Events in batches of the native dialect, each with a name of its own.
fn track_many(sending: &Sending, batches: usize, batch: usize) {
    for n in 0..batches {
        let events: Vec<_> = (0..batch)
            .map(|m| json!({"event": format!("Event {}", n * batch + m), "userId": "u"}))
            .collect();
        let body = json!({ "events": events }).to_string();
        let (status, answer) = sending.server.post_native(&sending.tenant.key, body);
        assert_eq!(status, 200, "{answer}");
    }
}

#[test]
fn what_memory_has_no_room_for_waits_on_the_due_list_and_is_sent_once() {
    /// More than one webhook's deliveries that wait in memory.
    const EVENTS: usize = 5_000;
    let (open, closed) = std::sync::mpsc::channel::<()>();
    let closed = std::sync::Mutex::new(closed);
    let receiver = Receiver::new(move |_| {
        // Until the sender is dropped, nobody gets an answer.
        let _ = closed.lock().unwrap().recv_timeout(Duration::from_secs(15));
        Answer::Status(200)
    });
    let sending = Sending::to(&receiver.url("/"));
    track_many(&sending, 5, EVENTS / 5);
    let owed = i64::try_from(EVENTS).unwrap();
    wait_for_value("deliveries on the due list", &owed, || {
        sending
            .data
            .number("SELECT count(*) FROM delivery WHERE next_attempt_at_ms IS NOT NULL")
    });
    drop(open);
    wait_at_most(Duration::from_secs(60), "all to be sent", || {
        (sending.data.rows("attempt") == owed).then_some(())
    });
    let succeeded = "SELECT count(*) FROM delivery WHERE state = 'succeeded'";
    assert_eq!(sending.data.number(succeeded), owed);
    let ids: std::collections::BTreeSet<_> = receiver
        .requests()
        .iter()
        .map(|request| request.message_id())
        .collect();
    assert_eq!((ids.len(), receiver.count()), (EVENTS, EVENTS));
}

#[test]
fn a_persons_failed_retry_beside_the_first_attempt_does_not_double_it() {
    let (answer, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let receiver = Receiver::new(move |_| {
        let _ = wait.lock().unwrap().recv_timeout(Duration::from_secs(15));
        Answer::Status(500)
    });
    let sending = Sending::with(&receiver.url("/"), &schedule("0s,1h"));
    let id = sending.track("Asked For Twice");
    receiver.wait_for(1);
    let delivery = sending.data.delivery_ids(&id).remove(0);
    let retry = sending.path(&format!("deliveries/{delivery}/retry"));
    sending.ann().submit(&retry, &[]);
    wait_for_value("requests", &2, || receiver.count());
    drop(answer);
    wait_for_value("attempts", &2, || sending.delivery(&id).attempts);
    // Whatever was still to be listed is listed by now.
    wait_for_value("the next attempt's time", &true, || {
        sending
            .data
            .number("SELECT coalesce(max(next_attempt_at_ms), 0) FROM delivery")
            > 0
    });
    let automatic = sending
        .data
        .number("SELECT automatic_attempts FROM delivery");
    assert_eq!((automatic, receiver.count()), (1, 2));
}
