//! What a crash and a stop leave behind: nothing acknowledged is lost, nothing stored goes unsent,
//! and what is sent twice is bounded by what was in flight.

use crate::support::load::Load;
use crate::support::{
    Answer, DEADLINE, Data, Receiver, Server, dice, kills, wait_at_most, wait_for_value, wait_until,
};
use rusqlite::Connection;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const APPS: usize = 4;
/// The most attempts that can be on their way or not yet recorded at one kill.
const MAX_UNFINISHED: usize = 1_024;
/// How long the receiver may take to get the whole backlog on a busy machine.
const DRAIN_DEADLINE: Duration = Duration::from_secs(90);

/// How many times each event came, by its id.
fn times_by_event(receiver: &Receiver) -> BTreeMap<String, usize> {
    let mut times = BTreeMap::new();
    for request in receiver.requests() {
        let id = request.json()["data"]["id"].as_str().unwrap().to_owned();
        *times.entry(id).or_default() += 1;
    }
    times
}

/// Looks without a pause, so that it returns as soon as an app has its answer.
#[track_caller]
fn wait_for_an_answer(load: &Load) {
    let (before, started) = (load.acknowledged(), Instant::now());
    while load.acknowledged() == before {
        assert!(started.elapsed() < DEADLINE, "nothing is acknowledged");
        std::hint::spin_loop();
    }
}

#[test]
fn kills_under_load_lose_nothing_and_repeat_little() {
    let mut dice = dice("kills_under_load_lose_nothing_and_repeat_little");
    let kills = kills();
    let receiver = Receiver::healthy();
    let data = Data::new();
    let tenant = data.tenant("Acme");
    data.webhook(&tenant.id, "Recording", &receiver.url("/"), &["*"]);
    let mut server = data.serve();
    let load = Load::start(&server.url, &tenant.key, APPS, 100);
    let mut slowest_start = Duration::ZERO;
    for kill in 0..kills {
        let before = load.acknowledged();
        wait_until("events to be acknowledged between two kills", || {
            (load.acknowledged() > before).then_some(())
        });
        // The moment is the test: any at all, or the one in which an answer has just come.
        if kill % 2 == 0 {
            std::thread::sleep(Duration::from_millis(dice.u64(0..400)));
        } else {
            wait_for_an_answer(&load);
        }
        server.process.kill();
        let started = Instant::now();
        server = data.serve();
        slowest_start = slowest_start.max(started.elapsed());
        load.moved_to(&server.url);
    }
    let outcome = load.stop();
    let stored = outcome.check_stored(&data);

    wait_at_most(DRAIN_DEADLINE, "every stored event at the receiver", || {
        (receiver.times_by_message().len() >= stored).then_some(())
    });
    wait_at_most(DRAIN_DEADLINE, "every delivery to be recorded", || {
        (data.number("SELECT count(*) FROM delivery WHERE state != 'succeeded'") == 0).then_some(())
    });
    let times = times_by_event(&receiver);
    let delivered: usize = times.values().sum();
    let duplicates = delivered - times.len();
    println!(
        "acknowledged {}, stored {stored}, delivered {delivered}, duplicates {duplicates}; slowest start {slowest_start:?}",
        outcome.acknowledged.len()
    );
    assert_eq!(times.len(), stored, "each stored event comes, and no other");
    assert_eq!(
        receiver.times_by_message().len(),
        stored,
        "one message an event"
    );
    assert!(
        duplicates <= kills * MAX_UNFINISHED,
        "{duplicates} duplicates"
    );
    assert!(
        outcome.acknowledged.len() > kills * APPS,
        "there was load: {}",
        outcome.acknowledged.len()
    );
    assert_eq!(
        data.number("SELECT count(*) FROM event"),
        i64::try_from(stored).unwrap()
    );
    assert!(outcome.refusals.is_empty(), "{:?}", outcome.refusals);
}

#[test]
fn a_sigterm_under_load_drains_and_exits_0() {
    let receiver = Receiver::healthy();
    let data = Data::new();
    let tenant = data.tenant("Acme");
    data.webhook(&tenant.id, "Recording", &receiver.url("/"), &["*"]);
    let mut server = data.serve();
    let load = Load::start(&server.url, &tenant.key, APPS, 100);
    wait_until("load", || (load.acknowledged() > 100).then_some(()));
    let started = Instant::now();
    let status = server.terminate();
    let took = started.elapsed();
    assert!(status.success(), "{status}\n{}", server.process.log.text());
    assert!(took < Duration::from_secs(30), "{took:?}");
    let outcome = load.stop();
    let server = data.serve();
    let stored = outcome.check_stored(&data);
    wait_at_most(DRAIN_DEADLINE, "every stored event at the receiver", || {
        (receiver.times_by_message().len() >= stored).then_some(())
    });
    // A stop that finishes its attempts and writes down how they went repeats none of them.
    let repeated: Vec<_> = receiver
        .times_by_message()
        .into_iter()
        .filter(|(_, times)| *times > 1)
        .collect();
    assert!(
        repeated.is_empty(),
        "sent again after an orderly stop: {repeated:?}"
    );
    for refusal in &outcome.refusals {
        assert!(
            refusal.starts_with("503"),
            "a stop refuses with 503: {refusal}"
        );
    }
    drop(server);
}

#[test]
fn a_stop_lets_attempts_on_their_way_finish_and_writes_them_down() {
    // Twelve pauses: the answer is still coming when the signal does.
    let receiver = Receiver::always(crate::support::Answer::Slow(
        b"on its way".to_vec(),
        Duration::from_millis(120),
    ));
    let data = Data::new();
    let tenant = data.tenant("Acme");
    data.webhook(&tenant.id, "Slow", &receiver.url("/"), &["*"]);
    let mut server = data.serve();
    let id = server.track(&tenant.key, "u", "On Its Way");
    receiver.wait_for(1);
    let status = server.terminate();
    assert!(status.success(), "{status}\n{}", server.process.log.text());
    let delivery = data.deliveries(&id).remove(0);
    assert_eq!(
        (delivery.state.as_str(), delivery.attempts),
        ("succeeded", 1)
    );
    let server = data.serve();
    receiver.answer(crate::support::Answer::Status(200));
    server.track(&tenant.key, "u", "After The Stop");
    receiver.wait_for_type("After The Stop");
    assert_eq!(receiver.count(), 2, "what was finished is not sent again");
}

#[test]
fn a_stop_waits_for_records_that_are_on_their_way() {
    let receiver = Receiver::healthy();
    let data = Data::new();
    let tenant = data.tenant("Acme");
    data.webhook(&tenant.id, "Recording", &receiver.url("/"), &["*"]);
    let mut server = data.serve();
    let mut ids: Vec<_> = Vec::new();
    let lock = loop {
        // The answers are in and their records are not, if the lock comes between the two.
        ids.push(server.track(&tenant.key, "u", "Answered"));
        let lock = data.lock_file();
        let answered = data.number("SELECT count(*) FROM attempt") < ids.len().try_into().unwrap();
        if answered {
            break lock;
        }
    };
    receiver.wait_for(ids.len());
    wait_until("the box to meet the locked file", || {
        let log = server.process.log.text();
        log.contains("could not be recorded yet").then_some(())
    });
    server.process.signal("TERM");
    drop(lock);
    let status = server.wait_for_exit();
    assert!(status.success(), "{status}\n{}", server.process.log.text());
    for id in &ids {
        let delivery = data.deliveries(id).remove(0);
        assert_eq!(
            (delivery.state.as_str(), delivery.attempts),
            ("succeeded", 1)
        );
    }
    assert_eq!(receiver.count(), ids.len(), "none was sent twice");
}

#[test]
fn a_sigterm_does_not_wait_for_a_stalled_receiver_for_ever() {
    let receiver = Receiver::always(crate::support::Answer::Stall);
    let data = Data::new();
    let tenant = data.tenant("Acme");
    data.webhook(&tenant.id, "Stalled", &receiver.url("/"), &["*"]);
    let mut server = data.serve();
    let id = server.track(&tenant.key, "u", "Stuck");
    receiver.wait_for(1);
    let status = server.terminate();
    assert!(status.success(), "{status}\n{}", server.process.log.text());
    receiver.answer(crate::support::Answer::Status(200));
    let server = Server::start(&data, &crate::support::Options::default());
    wait_until("the delivery after the restart", || {
        (data.deliveries(&id)[0].state == "succeeded").then_some(())
    });
    assert_eq!(receiver.times_by_message().len(), 1);
    drop(server);
}

#[test]
fn an_idle_box_stops_at_once() {
    let data = Data::new();
    let mut server = data.serve();
    let started = Instant::now();
    let status = server.terminate();
    assert!(status.success(), "{status}");
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
}

#[test]
fn what_was_on_no_list_yet_at_a_kill_is_sent_after_the_next_start() {
    let receiver = Receiver::always(Answer::Stall);
    let data = Data::new();
    let tenant = data.tenant("Acme");
    data.webhook(&tenant.id, "Recording", &receiver.url("/"), &["*"]);
    let mut server = data.serve();
    let ids: Vec<_> = (0..20)
        .map(|n| server.track(&tenant.key, "u", &format!("Event {n}")))
        .collect();
    receiver.wait_for(8);
    server.process.kill();
    // The box may have listed them in this time, or not; as if it had come to none of them.
    Connection::open(data.file())
        .unwrap()
        .execute_batch(
            "UPDATE delivery SET next_attempt_at_ms = NULL; UPDATE dispatcher SET cursor_delivery_id = 0;",
        )
        .unwrap();
    receiver.answer(Answer::Status(200));
    let _server = data.serve();
    let sent = "SELECT count(*) FROM delivery WHERE state = 'succeeded'";
    wait_for_value("deliveries that are sent", &20, || data.number(sent));
    let times = times_by_event(&receiver);
    assert_eq!(times.keys().cloned().collect::<Vec<_>>(), ids);
    assert!(times.values().all(|times| *times <= 2), "{times:?}");
}
