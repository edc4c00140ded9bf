//! How webhooks stand: what failures come to, who is told of them, what is held and what becomes of it.

use crate::support::data::MadeWebhook;
use crate::support::owing::{count, failures, set_webhook, state, told};
use crate::support::{
    Answer, Data, Options, Receiver, Server, Tenant, Visitor, wait_at_most, wait_for_value,
    wait_until,
};
use std::time::{Duration, Instant};

const FAILING: &str = "system.webhook_failing";
const DISABLED: &str = "system.webhook_disabled";
const EXHAUSTED: &str = "system.delivery_exhausted";

fn options(schedule: &str, arguments: &[&str]) -> Options {
    Options {
        retry_schedule: schedule.to_owned(),
        arguments: arguments.iter().map(|&text| text.to_owned()).collect(),
        ..Options::default()
    }
}

/// A tenant with an owner, and one webhook for everything that apps send.
fn one_webhook(receiver: &Receiver) -> (Data, Tenant, MadeWebhook) {
    let data = Data::new();
    let tenant = data.tenant("Acme");
    data.member(&tenant.id, "ann@example.com", "owner");
    let webhook = data.webhook(&tenant.id, "Main", &receiver.url("/"), &["tour.*"]);
    (data, tenant, webhook)
}

fn path(tenant: &Tenant, webhook: &MadeWebhook, rest: &str) -> String {
    format!("/w/{}/webhooks/{}{rest}", tenant.slug, webhook.id)
}

#[track_caller]
fn wait_for_state(data: &Data, webhook: &MadeWebhook, wanted: &str) -> Option<String> {
    wait_for_value("the webhook's state", &wanted.to_owned(), || {
        state(data, webhook).0
    });
    state(data, webhook).1
}

#[test]
fn a_webhook_that_only_fails_is_disabled_in_time_and_one_success_begins_anew() {
    let receiver = Receiver::statuses(&[500]);
    let (data, tenant, webhook) = one_webhook(&receiver);
    let schedule = ["400ms"; 30].join(",");
    let server = Server::start(&data, &options(&schedule, &["--disable-after", "3s"]));
    server.track(&tenant.key, "u", "tour.first");
    wait_until("two failures", || {
        (failures(&data, &webhook) >= 2).then_some(())
    });
    receiver.answer(Answer::Status(200));
    wait_for_value("failures after a success", &0, || failures(&data, &webhook));

    receiver.answer(Answer::Status(500));
    let failing_since = Instant::now();
    server.track(&tenant.key, "u", "tour.second");
    let reason = wait_for_state(&data, &webhook, "disabled").unwrap();
    assert!(
        failing_since.elapsed() >= Duration::from_secs(3),
        "what failed before the success is over: {:?}",
        failing_since.elapsed()
    );
    assert!(
        reason.starts_with("Every attempt has failed for 3s, since 20"),
        "{reason}"
    );
    wait_for_value("what is held", &1, || count(&data, &webhook, "held"));
    server.track(&tenant.key, "u", "tour.third");
    assert_eq!(
        count(&data, &webhook, "held"),
        2,
        "what comes is held as well"
    );
    assert_eq!(count(&data, &webhook, "pending"), 0);

    let ann = Visitor::signed_in(&server, "ann@example.com");
    let page = ann.see(&path(&tenant, &webhook, "")).text();
    assert!(page.contains("Every attempt has failed for"), "{page}");
    receiver.answer(Answer::Status(200));
    ann.submit(&path(&tenant, &webhook, "/activate"), &[("held", "send")]);
    assert_eq!(
        (state(&data, &webhook).0.as_str(), failures(&data, &webhook)),
        ("active", 0)
    );
    wait_for_value("what arrived", &3, || count(&data, &webhook, "succeeded"));
}

#[test]
fn a_receiver_that_is_gone_disables_its_webhook_at_once() {
    let receiver = Receiver::statuses(&[200, 410]);
    let witness = Receiver::healthy();
    let (data, tenant, webhook) = one_webhook(&receiver);
    let watching = data.webhook(&tenant.id, "Watching", &witness.url("/"), &["system.*"]);
    let server = Server::start(
        &data,
        &options("0s,100ms,100ms", &["--disable-after", "never"]),
    );
    server.track(&tenant.key, "u", "tour.taken");
    receiver.wait_for(1);
    let event = server.track(&tenant.key, "u", "tour.refused");
    let reason = wait_for_state(&data, &webhook, "disabled").unwrap();
    assert!(reason.contains("410 Gone"), "{reason}");
    let delivery = data.deliveries(&event).remove(0);
    assert_eq!((delivery.state.as_str(), delivery.attempts), ("held", 1));
    server.track(&tenant.key, "u", "tour.after");
    assert_eq!(count(&data, &webhook, "held"), 2);

    let notice = witness.wait_for_type(DISABLED).json();
    assert_eq!(notice["data"]["webhook"]["id"], webhook.id.as_str());
    assert_eq!(notice["data"]["reason"], reason.as_str());
    assert_eq!(notice["data"]["held"], 1);
    assert_eq!(notice["data"]["lastAttempt"]["status"], 410);
    assert_eq!(told(&data, &watching, DISABLED), 1);
    assert_eq!(told(&data, &webhook, DISABLED), 0);
    assert_eq!(receiver.count(), 2, "nothing more is sent there");
}

#[test]
fn a_retry_that_fails_adds_one_attempt_and_no_new_series() {
    let receiver = Receiver::statuses(&[500]);
    let (data, tenant, webhook) = one_webhook(&receiver);
    let server = Server::start(&data, &options("0s,50ms", &[]));
    let event = server.track(&tenant.key, "u", "tour.first");
    let standing = || {
        let delivery = data.deliveries(&event).remove(0);
        (delivery.state, delivery.attempts)
    };
    wait_for_value("the delivery", &("failed".to_owned(), 2), standing);
    let ann = Visitor::signed_in(&server, "ann@example.com");
    let delivery = data.delivery_ids(&event).remove(0);
    let retry = format!("/w/{}/deliveries/{delivery}/retry", tenant.slug);
    ann.submit(&retry, &[]);
    wait_for_value("the delivery", &("failed".to_owned(), 3), standing);
    receiver.answer(Answer::Status(200));
    // Another delivery goes its whole way, so a series of the first one would show.
    server.track(&tenant.key, "u", "tour.second");
    wait_for_value("the second", &1, || count(&data, &webhook, "succeeded"));
    assert_eq!(standing(), ("failed".to_owned(), 3));
    let next =
        "SELECT count(*) FROM delivery WHERE next_attempt_at_ms IS NOT NULL AND state = 'failed'";
    assert_eq!(data.number(next), 0);
    ann.submit(&retry, &[]);
    wait_for_value("the delivery", &("succeeded".to_owned(), 4), standing);
}

#[test]
fn a_webhooks_own_schedule_of_one_delay_is_one_attempt() {
    let receiver = Receiver::statuses(&[500]);
    let (data, tenant, webhook) = one_webhook(&receiver);
    set_webhook(&data, &webhook, "schedule = '0s'");
    let server = Server::start(&data, &options("0s,10ms,10ms", &[]));
    for n in 0..3 {
        server.track(&tenant.key, "u", &format!("tour.{n}"));
    }
    wait_for_value("failed deliveries", &3, || count(&data, &webhook, "failed"));
    assert_eq!(receiver.count(), 3);
    assert_eq!(data.number("SELECT max(attempts) FROM delivery"), 1);
}

#[test]
fn others_hear_once_of_a_webhook_that_fails_and_it_never_hears_of_itself() {
    let receiver = Receiver::statuses(&[500]);
    let witness = Receiver::healthy();
    let data = Data::new();
    let tenant = data.tenant("Acme");
    let failing = data.webhook(
        &tenant.id,
        "Failing",
        &receiver.url("/"),
        &["*", "system.*"],
    );
    let watching = data.webhook(&tenant.id, "Watching", &witness.url("/"), &["system.*"]);
    let options = options("0s,50ms,50ms", &[]);
    let server = Server::start(&data, &options);
    let events: Vec<_> = (0..3)
        .map(|n| server.track(&tenant.key, "u", &format!("tour.{n}")))
        .collect();
    wait_for_value("exhausted deliveries", &3, || {
        count(&data, &failing, "failed")
    });
    wait_for_value("what arrived", &4, || count(&data, &watching, "succeeded"));
    assert_eq!(failures(&data, &failing), 9);
    let heard = |event_type| {
        (
            told(&data, &watching, event_type),
            told(&data, &failing, event_type),
        )
    };
    assert_eq!(heard(FAILING), (1, 0));
    assert_eq!(heard(EXHAUSTED), (3, 0));

    let notice = witness.wait_for_type(FAILING).json();
    assert_eq!(notice["data"]["webhook"]["name"], "Failing");
    assert_eq!(notice["data"]["failures"], 4);
    assert_eq!(notice["data"]["lastAttempt"]["error"], "http_5xx");
    let mut about: Vec<_> = witness
        .requests()
        .iter()
        .map(crate::support::receiver::Request::json)
        .filter(|message| message["type"] == EXHAUSTED)
        .map(|message| message["data"]["event"]["id"].as_str().unwrap().to_owned())
        .collect();
    about.sort();
    assert_eq!(about, events);

    // A success and four more failures are another series, and only then it is said again.
    drop(server);
    let server = Server::start(&data, &options);
    server.track(&tenant.key, "u", "tour.3");
    wait_for_value("exhausted deliveries", &4, || {
        count(&data, &failing, "failed")
    });
    assert_eq!(heard(FAILING), (1, 0), "the series goes on over a restart");
    receiver.answer(Answer::Status(200));
    server.track(&tenant.key, "u", "tour.4");
    // By now it is probed only, with a second between.
    wait_for_value("failures", &0, || failures(&data, &failing));
    receiver.answer(Answer::Status(500));
    server.track(&tenant.key, "u", "tour.5");
    server.track(&tenant.key, "u", "tour.6");
    wait_for_value("who heard of another series", &(2, 0), || heard(FAILING));
}

#[test]
fn two_webhooks_that_fail_and_want_everything_come_to_rest() {
    let (first, second) = (Receiver::statuses(&[500]), Receiver::statuses(&[500]));
    let data = Data::new();
    let tenant = data.tenant("Acme");
    let one = data.webhook(&tenant.id, "One", &first.url("/"), &["*", "system.*"]);
    let two = data.webhook(&tenant.id, "Two", &second.url("/"), &["*", "system.*"]);
    let server = Server::start(&data, &options("0s,20ms", &["--disable-after", "never"]));
    for n in 0..2 {
        server.track(&tenant.key, "u", &format!("tour.{n}"));
    }
    // Two events, of which two webhooks are told, and two deliveries each of which the other is told; the
    // breaker holds them back a little.
    wait_at_most(Duration::from_secs(60), "everything to be settled", || {
        let settled = "SELECT count(*) FROM delivery WHERE state = 'failed'";
        let open = "SELECT count(*) FROM delivery WHERE state = 'pending'";
        (data.number(settled) >= 8 && data.number(open) == 0).then_some(())
    });
    for webhook in [&one, &two] {
        assert_eq!(told(&data, webhook, EXHAUSTED), 2);
        assert!(told(&data, webhook, FAILING) <= 1);
    }
    let system = "SELECT count(*) FROM message WHERE type LIKE 'system.%'";
    assert!(data.number(system) <= 6, "{} notices", data.number(system));
}

#[test]
fn what_a_paused_webhook_is_owed_is_held_over_a_restart_and_sent_once() {
    let receiver = Receiver::healthy();
    let (data, tenant, webhook) = one_webhook(&receiver);
    let mut server = data.serve();
    let ann = Visitor::signed_in(&server, "ann@example.com");
    ann.submit(&path(&tenant, &webhook, "/pause"), &[]);
    for n in 0..3 {
        server.track(&tenant.key, "u", &format!("tour.before.{n}"));
    }
    server.process.kill();
    let server = data.serve();
    for n in 0..2 {
        server.track(&tenant.key, "u", &format!("tour.after.{n}"));
    }
    assert_eq!(count(&data, &webhook, "held"), 5);
    assert_eq!(receiver.count(), 0);
    let ann = Visitor::signed_in(&server, "ann@example.com");
    ann.submit(&path(&tenant, &webhook, "/activate"), &[("held", "send")]);
    wait_for_value("what arrived", &5, || count(&data, &webhook, "succeeded"));
    assert_eq!(
        (receiver.count(), receiver.times_by_message().len()),
        (5, 5)
    );
}

#[test]
fn pauses_under_load_lose_and_double_nothing() {
    const EVENTS: usize = 300;
    let receiver = Receiver::healthy();
    let (data, tenant, webhook) = one_webhook(&receiver);
    let server = data.serve();
    let ann = Visitor::signed_in(&server, "ann@example.com");
    std::thread::scope(|scope| {
        let posting = scope.spawn(|| {
            for n in 0..EVENTS {
                server.track(&tenant.key, "u", &format!("tour.{n}"));
            }
        });
        while !posting.is_finished() {
            ann.submit(&path(&tenant, &webhook, "/pause"), &[]);
            ann.submit(&path(&tenant, &webhook, "/activate"), &[("held", "send")]);
        }
        posting.join().unwrap();
    });
    wait_at_most(Duration::from_secs(30), "all to arrive", || {
        (count(&data, &webhook, "succeeded") == 300).then_some(())
    });
    assert_eq!(
        (receiver.count(), receiver.times_by_message().len()),
        (EVENTS, EVENTS)
    );
}

#[test]
fn pauses_and_kills_under_load_lose_nothing() {
    const ROUNDS: usize = 3;
    const EVENTS: usize = 150;
    let receiver =
        Receiver::new(|request| Answer::Status(if request.number % 5 == 3 { 500 } else { 200 }));
    let (data, tenant, webhook) = one_webhook(&receiver);
    for round in 1..=ROUNDS {
        let mut server = Server::start(&data, &options(&["10ms"; 30].join(","), &[]));
        let ann = Visitor::signed_in(&server, "ann@example.com");
        std::thread::scope(|scope| {
            let posting = scope.spawn(|| {
                for n in 0..EVENTS {
                    server.track(&tenant.key, "u", &format!("tour.{round}.{n}"));
                }
            });
            while !posting.is_finished() {
                ann.submit(&path(&tenant, &webhook, "/pause"), &[]);
                ann.submit(&path(&tenant, &webhook, "/activate"), &[("held", "send")]);
            }
            posting.join().unwrap();
        });
        if round < ROUNDS {
            server.process.kill();
            continue;
        }
        wait_at_most(Duration::from_secs(60), "all to arrive", || {
            (count(&data, &webhook, "succeeded") == 450).then_some(())
        });
    }
    assert_eq!(receiver.times_by_message().len(), ROUNDS * EVENTS);
    assert_eq!(data.rows("delivery"), 450);
    // Every request has its record, but for what was on its way at a kill.
    let unrecorded = receiver.count() - usize::try_from(data.rows("attempt")).unwrap();
    assert!(unrecorded <= (ROUNDS - 1) * 32, "{unrecorded}");
}

#[test]
fn what_is_on_its_way_when_its_webhook_is_paused_or_deleted_ends_and_is_recorded() {
    let (answer, wait) = std::sync::mpsc::channel::<u16>();
    let wait = std::sync::Mutex::new(wait);
    let receiver = Receiver::new(move |_| {
        let status = wait.lock().unwrap().recv_timeout(Duration::from_secs(15));
        Answer::Status(status.unwrap_or(500))
    });
    let (data, tenant, webhook) = one_webhook(&receiver);
    let server = data.serve();
    let ann = Visitor::signed_in(&server, "ann@example.com");
    let standing = |event: &str| {
        let delivery = data.deliveries(event).remove(0);
        (delivery.state, delivery.attempts)
    };
    let failed = server.track(&tenant.key, "u", "tour.fails");
    receiver.wait_for(1);
    ann.submit(&path(&tenant, &webhook, "/pause"), &[]);
    answer.send(500).unwrap();
    wait_for_value(
        "what failed while it was held",
        &("held".to_owned(), 1),
        || standing(&failed),
    );

    ann.submit(
        &path(&tenant, &webhook, "/activate"),
        &[("held", "discard")],
    );
    assert_eq!(standing(&failed), ("cancelled".to_owned(), 1));
    let arrived = server.track(&tenant.key, "u", "tour.arrives");
    receiver.wait_for(2);
    ann.submit(&path(&tenant, &webhook, "/delete"), &[("confirm", "Main")]);
    assert_eq!(standing(&arrived), ("cancelled".to_owned(), 0));
    answer.send(200).unwrap();
    wait_for_value(
        "what arrived all the same",
        &("succeeded".to_owned(), 1),
        || standing(&arrived),
    );
    assert_eq!(receiver.count(), 2);
}

#[test]
fn a_receiver_can_ask_to_be_left_alone_for_longer_and_not_for_less() {
    let asks = |status: u16, seconds: &str| {
        let headers = vec![("retry-after", seconds.to_owned())];
        Receiver::always(Answer::Whole(status, headers, Vec::new()))
    };
    for (receiver, next_s, is_asked_for) in [
        (asks(429, "7200"), 7_200..7_210, 1),
        (asks(503, "1"), 45..75, 0),
        (asks(500, "7200"), 45..75, 0),
        (asks(503, "999999999"), 86_400..86_410, 1),
    ] {
        let (data, tenant, webhook) = one_webhook(&receiver);
        let server = Server::start(&data, &options("0s,1m", &[]));
        server.track(&tenant.key, "u", "tour.first");
        wait_for_value("attempts", &1, || data.rows("attempt"));
        let wait_ms = data.number(
            "SELECT d.next_attempt_at_ms - a.started_at_ms FROM delivery d JOIN attempt a ON a.delivery_id = d.id",
        );
        assert!(
            next_s.contains(&(wait_ms / 1_000)),
            "{wait_ms} ms, not {next_s:?}"
        );
        let asked_for = "SELECT count(*) FROM attempt WHERE next_attempt_why = 'retry_after'";
        assert_eq!(data.number(asked_for), is_asked_for);
        assert_eq!(count(&data, &webhook, "pending"), 1);
    }
}

#[test]
fn kills_neither_swallow_nor_repeat_what_others_are_told() {
    const EVENTS: i64 = 240;
    let receiver = Receiver::new(|request| {
        let is_good = request.json()["type"] == "tour.good";
        Answer::Status(if is_good { 200 } else { 500 })
    });
    let witness = Receiver::healthy();
    let (data, tenant, webhook) = one_webhook(&receiver);
    let watching = data.webhook(&tenant.id, "Watching", &witness.url("/"), &[EXHAUSTED]);
    let options = options("0s", &[]);
    let mut server = Server::start(&data, &options);
    for n in 0..EVENTS {
        let event = if n % 2 == 0 { "tour.good" } else { "tour.bad" };
        server.track(&tenant.key, "u", event);
        if n % 80 == 79 {
            server.process.kill();
            server = Server::start(&data, &options);
        }
    }
    wait_at_most(Duration::from_secs(60), "everything to be settled", || {
        let open = "SELECT count(*) FROM delivery WHERE state = 'pending'";
        (data.number(open) == 0).then_some(())
    });
    assert_eq!(count(&data, &webhook, "failed"), EVENTS / 2);
    assert_eq!(told(&data, &watching, EXHAUSTED), EVENTS / 2);
    let about = "SELECT count(DISTINCT json_extract(CAST(m.body AS TEXT), '$.data.delivery.id')) FROM message m
        WHERE m.type = 'system.delivery_exhausted'";
    assert_eq!(data.number(about), EVENTS / 2);
}
