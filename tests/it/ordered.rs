//! Strict order: one delivery at a time, in the order of the events, whatever fails and whoever interferes.

use crate::support::data::MadeWebhook;
use crate::support::owing::{count, set_ordered, set_webhook, webhook_number, writing};
use crate::support::{
    Answer, Data, Options, Receiver, Server, Tenant, Visitor, wait_at_most, wait_for_value,
    wait_until,
};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A tenant with an owner, and one webhook that keeps the order.
fn ordered(receiver: &Receiver) -> (Data, Tenant, MadeWebhook) {
    let data = Data::new();
    let tenant = data.tenant("Acme");
    data.member(&tenant.id, "ann@example.com", "owner");
    let webhook = data.webhook(&tenant.id, "Main", &receiver.url("/"), &["*"]);
    set_ordered(&data, &webhook, true);
    (data, tenant, webhook)
}

fn schedule(text: &str) -> Options {
    Options {
        retry_schedule: text.to_owned(),
        ..Options::default()
    }
}

/// The types that came, in the order in which they came.
fn types(receiver: &Receiver) -> Vec<String> {
    let requests = receiver.requests();
    let of = |request: &crate::support::receiver::Request| {
        request.json()["type"].as_str().unwrap().to_owned()
    };
    requests.iter().map(of).collect()
}

#[track_caller]
fn track(server: &Server, tenant: &Tenant, names: impl IntoIterator<Item = i32>) {
    for n in names {
        server.track(&tenant.key, "u", &n.to_string());
    }
}

/// Posts `1`, which fails, and `2` to `4` behind it.
fn blocked(server: &Server, tenant: &Tenant, receiver: &Receiver) {
    track(server, tenant, [1]);
    receiver.wait_for(1);
    track(server, tenant, 2..=4);
}

#[track_caller]
fn wait_for_types(receiver: &Receiver, wanted: &[&str]) {
    let wanted: Vec<_> = wanted.iter().map(|&text| text.to_owned()).collect();
    wait_for_value("what came", &wanted, || types(receiver));
}

/// No delivery that is settled stands in the queue.
fn assert_queue_holds_what_is_pending(data: &Data) {
    let wrong =
        "SELECT count(*) FROM delivery WHERE (state = 'pending') != (queue_webhook_id IS NOT NULL)";
    assert_eq!(data.number(wrong), 0);
}

#[test]
fn a_failure_holds_up_what_comes_after_it_and_nothing_is_sent_side_by_side() {
    let failures = AtomicUsize::new(0);
    let receiver = Receiver::new(move |request| {
        let fails = request.json()["type"] == "3" && failures.fetch_add(1, Ordering::SeqCst) < 4;
        Answer::Status(if fails { 500 } else { 200 })
    });
    let (data, tenant, webhook) = ordered(&receiver);
    // The schedule is used up after two attempts, but the third event is not given up: others wait for it.
    set_webhook(&data, &webhook, "schedule = '0s,10ms'");
    let server = data.serve();
    let started = Instant::now();
    track(&server, &tenant, 1..=10);
    wait_at_most(Duration::from_secs(40), "all to arrive", || {
        (count(&data, &webhook, "succeeded") == 10).then_some(())
    });
    let wanted = "1 2 3 3 3 3 3 4 5 6 7 8 9 10";
    assert_eq!(types(&receiver).join(" "), wanted);
    assert_eq!(receiver.connections(), 1, "an attempt has one to itself");
    // Three times the last delay, which is no less than 5 s for them, less a fifth.
    assert!(
        started.elapsed() >= Duration::from_secs(12),
        "{:?}",
        started.elapsed()
    );
    assert_queue_holds_what_is_pending(&data);
}

#[test]
fn a_receiver_that_asks_to_be_left_alone_holds_up_all_that_it_is_owed() {
    let receiver = Receiver::new(|request| match request.number {
        0 => Answer::Whole(503, vec![("retry-after", "2".to_owned())], Vec::new()),
        _ => Answer::Status(200),
    });
    let (data, tenant, webhook) = ordered(&receiver);
    let server = Server::start(&data, &schedule("0s,10ms"));
    let started = Instant::now();
    blocked(&server, &tenant, &receiver);
    wait_for_types(&receiver, &["1", "1", "2", "3", "4"]);
    assert!(
        started.elapsed() >= Duration::from_secs(2),
        "{:?}",
        started.elapsed()
    );
    wait_for_value("what arrived", &4, || count(&data, &webhook, "succeeded"));
}

#[test]
fn the_order_holds_over_a_kill() {
    let receiver = Receiver::statuses(&[500, 200]);
    let (data, tenant, webhook) = ordered(&receiver);
    let mut server = Server::start(&data, &schedule("0s,2s"));
    blocked(&server, &tenant, &receiver);
    wait_for_value("the failure's record", &1, || data.rows("attempt"));
    server.process.kill();
    let server = Server::start(&data, &schedule("0s,2s"));
    track(&server, &tenant, [5]);
    wait_for_types(&receiver, &["1", "1", "2", "3", "4", "5"]);
    wait_for_value("what arrived", &5, || count(&data, &webhook, "succeeded"));
    assert_queue_holds_what_is_pending(&data);
}

#[test]
fn a_persons_success_lets_the_others_go_at_once() {
    let receiver = Receiver::statuses(&[500, 503, 200]);
    let (data, tenant, webhook) = ordered(&receiver);
    let server = Server::start(&data, &schedule("0s,1h"));
    blocked(&server, &tenant, &receiver);
    let ann = Visitor::signed_in(&server, "ann@example.com");
    let first = "SELECT min(id) FROM delivery";
    let first = pillarbox::id::DeliveryId::from_i64(data.number(first));
    let retry = format!("/w/{}/deliveries/{first}/retry", tenant.slug);
    wait_for_value("the failure's record", &1, || data.rows("attempt"));
    ann.submit(&retry, &[]);
    wait_for_value("the retry's record", &2, || data.rows("attempt"));
    assert_eq!(
        types(&receiver),
        ["1", "1"],
        "one that fails lets nothing go"
    );
    ann.submit(&retry, &[]);
    wait_for_types(&receiver, &["1", "1", "1", "2", "3", "4"]);
    wait_for_value("what arrived", &4, || count(&data, &webhook, "succeeded"));
    assert_queue_holds_what_is_pending(&data);
}

#[test]
fn giving_up_the_first_lets_the_others_go() {
    let receiver = Receiver::statuses(&[500, 200]);
    let (data, tenant, webhook) = ordered(&receiver);
    let server = Server::start(&data, &schedule("0s,1h"));
    blocked(&server, &tenant, &receiver);
    wait_for_value("the failure's record", &1, || data.rows("attempt"));
    // As another process gives it up.
    writing(&data)
        .execute(
            "UPDATE delivery SET state = 'cancelled', next_attempt_at_ms = NULL, queue_webhook_id = NULL
             WHERE id = (SELECT min(id) FROM delivery)",
            [],
        )
        .unwrap();
    wait_for_types(&receiver, &["1", "2", "3", "4"]);
    wait_for_value("what arrived", &3, || count(&data, &webhook, "succeeded"));
    assert_eq!(count(&data, &webhook, "cancelled"), 1);
}

#[test]
fn what_was_held_comes_back_in_its_order() {
    let receiver = Receiver::statuses(&[500, 200]);
    let (data, tenant, webhook) = ordered(&receiver);
    let server = Server::start(&data, &schedule("0s,1h"));
    blocked(&server, &tenant, &receiver);
    wait_for_value("the failure's record", &1, || data.rows("attempt"));
    let ann = Visitor::signed_in(&server, "ann@example.com");
    let path = |rest: &str| format!("/w/{}/webhooks/{}{rest}", tenant.slug, webhook.id);
    ann.submit(&path("/pause"), &[]);
    assert_queue_holds_what_is_pending(&data);
    track(&server, &tenant, 5..=6);
    assert_eq!(count(&data, &webhook, "held"), 6);
    ann.submit(&path("/activate"), &[("held", "send")]);
    track(&server, &tenant, [7]);
    wait_for_types(&receiver, &["1", "1", "2", "3", "4", "5", "6", "7"]);
    wait_for_value("what arrived", &7, || count(&data, &webhook, "succeeded"));
    assert_queue_holds_what_is_pending(&data);
}

#[test]
fn the_order_can_be_asked_for_and_given_up_while_deliveries_wait() {
    let receiver = Receiver::statuses(&[500]);
    let (data, tenant, webhook) = ordered(&receiver);
    set_ordered(&data, &webhook, false);
    // A second and a half apart, so that the other setting is known when they are due again.
    let server = Server::start(&data, &schedule("0s,1500ms,1h"));
    track(&server, &tenant, 1..=3);
    wait_for_value("their first failures", &3, || data.rows("attempt"));
    set_ordered(&data, &webhook, true);
    assert_queue_holds_what_is_pending(&data);
    receiver.wait_for(4);
    track(&server, &tenant, [4]);
    wait_for_value("the record", &4, || data.rows("attempt"));
    assert_eq!(
        types(&receiver)[3],
        "1",
        "the first one, and the others behind it"
    );

    receiver.answer(Answer::Status(200));
    set_ordered(&data, &webhook, false);
    assert_eq!(
        data.number("SELECT count(*) FROM delivery WHERE queue_webhook_id IS NOT NULL"),
        0
    );
    // 2 and 3 are due and 4 is new, so they go whatever becomes of 1.
    wait_for_value("what arrived", &3, || count(&data, &webhook, "succeeded"));
    assert_eq!(count(&data, &webhook, "pending"), 1);
    let waiting = format!(
        "SELECT count(*) FROM delivery WHERE webhook_id = {} AND next_attempt_at_ms IS NOT NULL",
        webhook_number(&webhook)
    );
    assert_eq!(data.number(&waiting), 1);
    wait_until("the receiver to have them", || {
        (receiver.count() == 7).then_some(())
    });
}

#[test]
fn the_order_holds_under_load_and_kills() {
    const EVENTS: i32 = 400;
    let receiver = Receiver::healthy();
    let (data, tenant, webhook) = ordered(&receiver);
    let mut server = data.serve();
    for n in 0..EVENTS {
        track(&server, &tenant, [n]);
        if n % 150 == 149 {
            server.process.kill();
            server = data.serve();
        }
    }
    wait_at_most(Duration::from_secs(60), "all to arrive", || {
        (count(&data, &webhook, "succeeded") == i64::from(EVENTS)).then_some(())
    });
    // What was on its way at a kill may come twice, right after itself.
    let mut came = types(&receiver);
    came.dedup();
    let wanted: Vec<_> = (0..EVENTS).map(|n| n.to_string()).collect();
    assert_eq!(came, wanted);
    assert!(receiver.count() <= 400 + 2);
    assert_queue_holds_what_is_pending(&data);
}

#[test]
fn the_order_holds_through_failures_pauses_edits_and_kills() {
    const ROUNDS: i32 = 3;
    const EVENTS: i32 = 60;
    let receiver =
        Receiver::new(|request| Answer::Status(if request.number % 7 == 3 { 503 } else { 200 }));
    let (data, tenant, webhook) = ordered(&receiver);
    let path = |rest: &str| format!("/w/{}/webhooks/{}{rest}", tenant.slug, webhook.id);
    for round in 0..ROUNDS {
        let mut server = Server::start(&data, &schedule(&["10ms"; 30].join(",")));
        let ann = Visitor::signed_in(&server, "ann@example.com");
        std::thread::scope(|scope| {
            let posting = scope.spawn(|| {
                let first = round * EVENTS;
                track(&server, &tenant, first..first + EVENTS);
            });
            while !posting.is_finished() {
                ann.submit(&path("/pause"), &[]);
                ann.submit(&path("/activate"), &[("held", "send")]);
                set_webhook(&data, &webhook, &format!("concurrency = {}", 1 + round));
            }
            posting.join().unwrap();
        });
        if round + 1 < ROUNDS {
            server.process.kill();
            continue;
        }
        wait_at_most(Duration::from_secs(60), "all to arrive", || {
            (count(&data, &webhook, "succeeded") == i64::from(ROUNDS * EVENTS)).then_some(())
        });
    }
    // What failed, and what was on its way at a kill, comes again right after itself.
    let mut came = types(&receiver);
    came.dedup();
    let wanted: Vec<_> = (0..ROUNDS * EVENTS).map(|n| n.to_string()).collect();
    assert_eq!(came, wanted);
    assert_queue_holds_what_is_pending(&data);
}
