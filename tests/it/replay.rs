//! What a person has sent once more: replays with their rate, their place and their ends, resends, tests; and
//! what a person takes back: deliveries that are cancelled, payloads that are expunged.

use crate::support::data::{MadeWebhook, event_number};
use crate::support::owing::set_ordered;
use crate::support::page::Page;
use crate::support::receiver::Request;
use crate::support::server::track_body;
use crate::support::{
    Answer, DEADLINE, Data, Options, Receiver, Server, Tenant, Visitor, wait_at_most,
    wait_for_value, wait_until,
};
use serde_json::json;
use standardwebhooks::Webhook as Verifier;
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// How long a replay of many may take on a busy machine.
const MANY: Duration = Duration::from_secs(60);
/// What can be sent again after a kill: what was on its way, and what was done and not noted.
const MAX_REPEATED: usize = 130;

/// A box with one tenant, its owner Ann, and one webhook to `receiver`.
struct Past {
    data: Data,
    tenant: Tenant,
    webhook: MadeWebhook,
    server: Server,
    options: Options,
}

impl Past {
    #[track_caller]
    fn new(receiver: &Receiver, patterns: &[&str], schedule: &str) -> Self {
        let data = Data::new();
        let tenant = data.tenant("Acme");
        data.member(&tenant.id, "ann@example.com", "owner");
        let webhook = data.webhook(&tenant.id, "Orders", &receiver.url("/"), patterns);
        let options = Options {
            retry_schedule: schedule.to_owned(),
            ..Options::default()
        };
        let server = Server::start(&data, &options);
        Self {
            data,
            tenant,
            webhook,
            server,
            options,
        }
    }

    /// A box that gave up so many deliveries while it was tended by somebody else, and sends again. (By
    /// itself it would take its time: a receiver that fails gets one delivery at a time.)
    #[track_caller]
    fn with_failed(receiver: &Receiver, count: usize) -> Self {
        let past = Self::new(receiver, &["*"], "0s");
        let ann = past.ann();
        ann.submit(&past.webhook_path("pause"), &[]);
        for batch in (0..count).collect::<Vec<_>>().chunks(100) {
            let events: Vec<_> = batch
                .iter()
                .map(|n| json!({"event": format!("Event {n}"), "userId": "u"}))
                .collect();
            let body = json!({ "events": events }).to_string();
            let (status, answer) = past.server.post_native(&past.tenant.key, body);
            assert_eq!(status, 200, "{answer}");
        }
        past.wait_for("held", count);
        let file = rusqlite::Connection::open(past.data.file()).unwrap();
        file.busy_timeout(DEADLINE).unwrap();
        file.execute("UPDATE delivery SET state = 'failed'", [])
            .unwrap();
        ann.submit(&past.webhook_path("activate"), &[("held", "send")]);
        past
    }

    fn in_state(&self, state: &str) -> usize {
        let sql = format!("SELECT count(*) FROM delivery WHERE state = '{state}'");
        usize::try_from(self.data.number(&sql)).unwrap()
    }

    #[track_caller]
    fn wait_for(&self, state: &str, count: usize) {
        let what = format!("{count} to be {state}");
        wait_at_most(MANY, &what, || {
            (self.in_state(state) == count).then_some(())
        });
    }

    #[track_caller]
    fn ann(&self) -> Visitor {
        Visitor::signed_in(&self.server, "ann@example.com")
    }

    fn path(&self, rest: &str) -> String {
        format!("/w/{}/{rest}", self.tenant.slug)
    }

    fn webhook_path(&self, rest: &str) -> String {
        self.path(&format!("webhooks/{}/{rest}", self.webhook.id))
    }

    /// Makes a replay of what failed; its path.
    #[track_caller]
    fn replay(&self, ann: &Visitor) -> String {
        let page = ann.submit(&self.webhook_path("replay"), &[("since", "24h")]);
        page.location().to_owned()
    }

    fn replay_state(&self) -> String {
        self.data
            .open()
            .query_row(
                "SELECT state FROM replay ORDER BY id DESC LIMIT 1",
                [],
                |row| row.get(0),
            )
            .unwrap()
    }

    #[track_caller]
    fn wait_for_replay(&self, state: &str) {
        wait_at_most(MANY, &format!("the replay to be {state}"), || {
            (self.replay_state() == state).then_some(())
        });
    }

    fn count(&self, column: &str) -> i64 {
        self.data.number(&format!(
            "SELECT {column} FROM replay ORDER BY id DESC LIMIT 1"
        ))
    }

    #[track_caller]
    fn track(&self, event: &str) -> String {
        self.server.track(&self.tenant.key, "u", event)
    }

    /// The path of an event's first delivery.
    fn delivery_path(&self, event: &str) -> String {
        let id = self.data.delivery_ids(event).remove(0);
        self.path(&format!("deliveries/{id}"))
    }
}

// REPLAYS -----------------------------------------------------------------------------------

#[test]
fn a_replay_of_a_thousand_failed_deliveries_delivers_each() {
    const COUNT: usize = 1_000;
    let receiver = Receiver::healthy();
    let past = Past::with_failed(&receiver, COUNT);
    let ann = past.ann();
    let replay = past.replay(&ann);
    let page = ann.see(&replay);
    assert!(
        page.text().contains("1,000 deliveries to send"),
        "{}",
        page.text()
    );
    assert_eq!(past.replay_state(), "ready", "it waits for a person");
    ann.submit(&format!("{replay}/start"), &[("rate", "1000")]);
    past.wait_for_replay("done");
    assert_eq!(past.in_state("succeeded"), COUNT);
    let times = receiver.times_by_message();
    assert_eq!(times.len(), COUNT);
    assert!(times.values().all(|times| *times >= 1), "each came");
    assert_eq!(
        (
            past.count("succeeded"),
            past.count("failed"),
            past.count("skipped")
        ),
        (1_000, 0, 0)
    );
    let page = ann.see(&replay);
    assert!(
        page.text().contains("All of it was sent"),
        "{}",
        page.text()
    );
    assert!(
        ann.see(&past.path("replays"))
            .text()
            .contains("Failed deliveries to Orders")
    );
    let sql = "SELECT count(*) FROM attempt WHERE trigger = 'replay'";
    assert_eq!(past.data.number(sql), 1_000);
}

#[test]
fn a_replay_goes_on_after_a_kill() {
    const COUNT: usize = 300;
    let receiver = Receiver::healthy();
    let mut past = Past::with_failed(&receiver, COUNT);
    let ann = past.ann();
    let replay = past.replay(&ann);
    ann.submit(&format!("{replay}/start"), &[("rate", "100")]);
    receiver.wait_for(60);
    past.server.process.kill();
    let done_before = past.count("sent");
    assert_eq!(past.replay_state(), "running");
    past.server = Server::start(&past.data, &past.options);
    past.wait_for_replay("done");
    assert_eq!(past.in_state("succeeded"), COUNT, "each was delivered");
    let repeated: usize = receiver
        .times_by_message()
        .values()
        .map(|times| times - 1)
        .sum();
    assert!(repeated <= MAX_REPEATED, "{repeated} were sent again");
    assert!(
        done_before > 0 && past.count("sent") > done_before,
        "it began anew"
    );
    // Those that succeeded and were not counted before the kill are not sent again.
    let counted = past.count("sent") + past.count("skipped");
    assert_eq!(counted, i64::try_from(COUNT).unwrap(), "the counts add up");
}

#[test]
fn a_stop_notes_where_a_replay_is() {
    const COUNT: usize = 120;
    let receiver = Receiver::healthy();
    let mut past = Past::with_failed(&receiver, COUNT);
    let ann = past.ann();
    let replay = past.replay(&ann);
    ann.submit(&format!("{replay}/start"), &[("rate", "40")]);
    receiver.wait_for(20);
    assert!(past.server.terminate().success());
    assert_eq!(past.replay_state(), "running");
    assert!(past.count("sent") > 0);
    past.server = Server::start(&past.data, &past.options);
    past.wait_for_replay("done");
    assert_eq!(past.in_state("succeeded"), COUNT);
    let times = receiver.times_by_message();
    assert!(times.values().all(|times| *times == 1), "{times:?}");
}

#[test]
fn a_replay_keeps_its_rate() {
    let receiver = Receiver::healthy();
    let past = Past::with_failed(&receiver, 20);
    let ann = past.ann();
    let replay = past.replay(&ann);
    let began = Instant::now();
    ann.submit(&format!("{replay}/start"), &[("rate", "10")]);
    past.wait_for_replay("done");
    // The first goes at once, and what was late is made up for, by a tenth of a second at most.
    assert!(
        began.elapsed() >= Duration::from_millis(1_700),
        "{:?}",
        began.elapsed()
    );
    let sql =
        "SELECT max(started_at_ms) - min(started_at_ms) FROM attempt WHERE trigger = 'replay'";
    assert!(past.data.number(sql) >= 1_700);
}

#[test]
fn a_replay_is_paused_and_goes_on_and_is_cancelled() {
    const COUNT: usize = 200;
    let receiver = Receiver::healthy();
    let past = Past::with_failed(&receiver, COUNT);
    let ann = past.ann();
    let replay = past.replay(&ann);
    ann.submit(&format!("{replay}/start"), &[("rate", "20")]);
    receiver.wait_for(3);
    ann.submit(&format!("{replay}/pause"), &[]);
    assert_eq!(past.replay_state(), "paused");
    assert_eq!(ann.post(&format!("{replay}/pause"), &[]).status, 409);
    // What was on its way is counted; more does not go.
    let sent = "SELECT count(*) FROM attempt WHERE trigger = 'replay'";
    let settled = wait_until("the paused replay to have counted what it sent", || {
        let made = past.data.number(sent);
        (past.count("sent") == made && usize::try_from(made).unwrap() == receiver.count())
            .then_some(made)
    });
    ann.submit(&format!("{replay}/start"), &[("rate", "50")]);
    wait_until("it to go on from its place", || {
        (past.data.number(sent) > settled + 3).then_some(())
    });
    ann.submit(&format!("{replay}/cancel"), &[]);
    assert_eq!(past.replay_state(), "cancelled");
    assert_eq!(ann.post(&format!("{replay}/start"), &[]).status, 409);
    let times = receiver.times_by_message();
    assert!(
        times.values().all(|times| *times == 1),
        "nothing was sent twice"
    );
    assert!(past.in_state("failed") > 0, "the rest is as it was");
    let page = ann.see(&replay);
    assert!(page.text().contains("It was given up"), "{}", page.text());
}

#[test]
fn what_was_settled_since_it_was_read_is_not_sent_again() {
    let receiver = Receiver::healthy();
    let past = Past::with_failed(&receiver, 4);
    let ann = past.ann();
    let last = past
        .data
        .number("SELECT id FROM delivery ORDER BY id DESC LIMIT 1");
    let last = pillarbox::id::DeliveryId::from_i64(last);
    let replay = past.replay(&ann);
    ann.submit(&format!("{replay}/start"), &[("rate", "1")]);
    receiver.wait_for(1);
    ann.submit(&past.path(&format!("deliveries/{last}/retry")), &[]);
    past.wait_for_replay("done");
    let times = receiver.times_by_message();
    assert_eq!(times.len(), 4);
    assert!(times.values().all(|times| *times == 1), "{times:?}");
    assert_eq!((past.count("sent"), past.count("skipped")), (3, 1));
}

#[test]
fn a_replay_to_a_webhook_that_keeps_the_order_sends_one_after_the_other() {
    let at_once = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let most = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let (now, peak) = (at_once.clone(), most.clone());
    let receiver = Receiver::new(move |_| {
        use std::sync::atomic::Ordering::SeqCst;
        peak.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
        std::thread::sleep(Duration::from_millis(20));
        now.fetch_sub(1, SeqCst);
        Answer::Status(200)
    });
    let mut past = Past::with_failed(&receiver, 20);
    set_ordered(&past.data, &past.webhook, true);
    past.server.process.kill();
    past.server = Server::start(&past.data, &past.options);
    let ann = past.ann();
    let replay = past.replay(&ann);
    ann.submit(&format!("{replay}/start"), &[("rate", "1000")]);
    past.wait_for_replay("done");
    let names: Vec<_> = receiver
        .requests()
        .iter()
        .map(|request| request.json()["type"].as_str().unwrap().to_owned())
        .collect();
    let expected: Vec<_> = (0..20).map(|n| format!("Event {n}")).collect();
    assert_eq!(names, expected);
    assert_eq!(most.load(std::sync::atomic::Ordering::SeqCst), 1);
}

#[test]
fn another_workspaces_webhook_is_no_webhook_of_a_replay() {
    let receiver = Receiver::healthy();
    let past = Past::new(&receiver, &["*"], "0s");
    let other = past.data.tenant("Globex");
    let theirs = past
        .data
        .webhook(&other.id, "Secret Plans", &receiver.url("/"), &["*"]);
    let ann = past.ann();
    let page = ann.post(&past.path("replays"), &[("webhook", theirs.id.as_str())]);
    assert!(
        page.status == 422 && page.text().contains("none of the workspace"),
        "{}",
        page.text()
    );
    assert!(!ann.see(&past.path("replays")).html.contains("Secret Plans"));
    assert_eq!(past.data.rows("replay"), 0);
}

#[test]
fn a_failed_replay_leaves_the_schedule_alone() {
    let receiver = Receiver::statuses(&[500]);
    let past = Past::new(&receiver, &["*"], "0s,1h");
    let event = past.track("Scheduled");
    wait_for_value("attempts", &1, || past.data.deliveries(&event)[0].attempts);
    let standing = || {
        past.data
            .number("SELECT next_attempt_at_ms * 10 + automatic_attempts FROM delivery")
    };
    let before = standing();
    let ann = past.ann();
    let made = ann.submit(
        &past.path("replays"),
        &[("state", "pending"), ("type", "Scheduled")],
    );
    let replay = made.location().to_owned();
    ann.submit(&format!("{replay}/start"), &[]);
    past.wait_for_replay("done");
    let delivery = past.data.deliveries(&event).remove(0);
    assert_eq!((delivery.state.as_str(), delivery.attempts), ("pending", 2));
    assert_eq!(standing(), before);
    assert_eq!((past.count("sent"), past.count("failed")), (1, 1));
}

#[test]
fn the_box_pauses_a_replay_whose_webhook_is_paused_and_says_so() {
    let receiver = Receiver::healthy();
    let past = Past::with_failed(&receiver, 3);
    let ann = past.ann();
    let replay = past.replay(&ann);
    ann.submit(&past.webhook_path("pause"), &[]);
    ann.submit(&format!("{replay}/start"), &[]);
    past.wait_for_replay("paused");
    let text = ann.see(&replay).text();
    assert!(text.contains("The webhook is paused."), "{text}");
    assert_eq!(past.in_state("failed"), 3);
    ann.submit(&past.webhook_path("activate"), &[("held", "send")]);
    ann.submit(&format!("{replay}/start"), &[]);
    past.wait_for_replay("done");
    assert_eq!(past.in_state("succeeded"), 3);
}

#[test]
fn a_receiver_that_is_still_down_gets_no_storm() {
    let receiver = Receiver::healthy();
    let past = Past::with_failed(&receiver, 300);
    receiver.answer(Answer::Status(503));
    let ann = past.ann();
    let replay = past.replay(&ann);
    ann.submit(&format!("{replay}/start"), &[("rate", "1000")]);
    past.wait_for_replay("paused");
    let sent = past.count("sent");
    assert!((100..120).contains(&sent), "{sent}");
    assert!(
        ann.see(&replay)
            .text()
            .contains("100 attempts failed one after the other")
    );
    assert_eq!(past.in_state("failed"), 300);
}

#[test]
fn a_replay_to_a_receiver_that_never_answers_delays_no_other_webhook() {
    let stalled = Receiver::healthy();
    let past = Past::with_failed(&stalled, 100);
    stalled.answer(Answer::Stall);
    let healthy = Receiver::healthy();
    let patterns = ["marker"];
    past.data
        .webhook(&past.tenant.id, "Healthy", &healthy.url("/"), &patterns);
    let ann = past.ann();
    let replay = past.replay(&ann);
    ann.submit(&format!("{replay}/start"), &[("rate", "1000")]);
    // It has as many on their way as it may have.
    stalled.wait_for(8);
    wait_until("events to reach the healthy one", || {
        past.track("marker");
        (healthy.count() > 5).then_some(())
    });
    let replayed = |request: &Request| request.body_text().contains("\"Event ");
    let requests = stalled.requests();
    assert_eq!(requests.iter().filter(|one| replayed(one)).count(), 8);
    ann.submit(&format!("{replay}/cancel"), &[]);
}

#[test]
fn what_cannot_be_a_replay_is_said_by_field() {
    let receiver = Receiver::healthy();
    let past = Past::new(&receiver, &["*"], "0s");
    let ann = past.ann();
    let page = ann.post(&past.webhook_path("replay"), &[("since", "yesterday")]);
    assert_eq!(page.status, 422);
    assert!(
        page.text().contains("such as 1h, 24h or 7d"),
        "{}",
        page.text()
    );
    let page = ann.post(&past.path("replays"), &[("rate", "1001")]);
    assert!(
        page.status == 422 && page.text().contains("from 1 to 1000"),
        "{}",
        page.text()
    );
    let page = ann.post(&past.path("replays"), &[("state", "lost")]);
    assert_eq!(page.status, 422);
    assert_eq!(past.data.rows("replay"), 0);
    let replay = past.replay(&ann);
    assert!(ann.see(&replay).text().contains("Nothing matches"));
    ann.submit(&format!("{replay}/start"), &[]);
    past.wait_for_replay("done");
}

#[test]
fn chosen_deliveries_are_replayed_or_cancelled() {
    let receiver = Receiver::healthy();
    let past = Past::with_failed(&receiver, 4);
    let ids: Vec<_> = {
        let connection = past.data.open();
        let mut statement = connection
            .prepare("SELECT id FROM delivery ORDER BY id")
            .unwrap();
        let rows = statement.query_map([], |row| row.get::<_, i64>(0)).unwrap();
        rows.map(|id| pillarbox::id::DeliveryId::from_i64(id.unwrap()).to_string())
            .collect()
    };
    let ann = past.ann();
    let chosen = [
        ("do", "retry"),
        ("delivery", ids[1].as_str()),
        ("delivery", ids[3].as_str()),
        ("delivery", ids[1].as_str()),
    ];
    let replay = ann
        .submit(&past.path("deliveries"), &chosen)
        .location()
        .to_owned();
    ann.submit(&format!("{replay}/start"), &[]);
    past.wait_for_replay("done");
    let states = "SELECT group_concat(state, ' ') FROM (SELECT state FROM delivery ORDER BY id)";
    let states: String = past
        .data
        .open()
        .query_row(states, [], |row| row.get(0))
        .unwrap();
    assert_eq!(states, "failed succeeded failed succeeded");
    assert_eq!((past.count("sent"), past.count("skipped")), (2, 0));
    assert_eq!(
        ann.post(&past.path("deliveries"), &[("do", "retry")])
            .status,
        422
    );

    ann.submit(&past.webhook_path("pause"), &[]);
    let event = past.track("Held");
    wait_for_value("what is held", &1, || past.in_state("held"));
    let held = past.data.delivery_ids(&event).remove(0);
    let fields = [
        ("do", "cancel"),
        ("delivery", held.as_str()),
        ("delivery", ids[0].as_str()),
    ];
    let page = ann.submit(&past.path("deliveries"), &fields);
    assert!(
        ann.see(page.location())
            .text()
            .contains("1 delivery is cancelled")
    );
    assert_eq!(
        (past.in_state("cancelled"), past.in_state("failed")),
        (1, 2)
    );
}

// CANCELLING --------------------------------------------------------------------------------

#[test]
fn a_cancelled_delivery_is_not_sent_from_the_file() {
    let receiver = Receiver::statuses(&[500]);
    let past = Past::new(&receiver, &["*"], "0s,2s");
    let event = past.track("Given Up");
    wait_for_value("attempts", &1, || past.data.deliveries(&event)[0].attempts);
    let ann = past.ann();
    let page = ann.submit(&format!("{}/cancel", past.delivery_path(&event)), &[]);
    assert!(ann.see(page.location()).text().contains("is cancelled"));
    assert_eq!(past.data.deliveries(&event)[0].state, "cancelled");
    let due = "SELECT count(*) FROM delivery WHERE next_attempt_at_ms IS NOT NULL";
    assert_eq!(past.data.number(due), 0, "it is on no list");
    // One that failed at the same time as the marker is due before it.
    let marker = past.track("Marker");
    wait_for_value("attempts", &2, || past.data.deliveries(&marker)[0].attempts);
    assert_eq!(past.data.deliveries(&event)[0].attempts, 1);
}

#[test]
fn a_cancelled_delivery_is_not_sent_from_memory() {
    // The first eight wait for their answers; the rest waits behind them, in memory.
    let (answer, wait) = channel::<()>();
    let wait = Mutex::new(wait);
    let receiver = Receiver::new(move |request| {
        if request.number > 0 {
            let _ = wait.lock().unwrap().recv_timeout(Duration::from_secs(15));
        }
        Answer::Status(200)
    });
    let past = Past::new(&receiver, &["*"], "0s");
    // Once one was sent, what comes is handed over in memory, in its order.
    past.track("First");
    past.wait_for("succeeded", 1);
    let events: Vec<_> = (0..12).map(|n| past.track(&format!("Event {n}"))).collect();
    wait_for_value("requests", &9, || receiver.count());
    let last = &events[11];
    let ann = past.ann();
    ann.submit(&format!("{}/cancel", past.delivery_path(last)), &[]);
    for _ in 0..12 {
        let _ = answer.send(());
    }
    past.wait_for("succeeded", 12);
    assert_eq!(past.data.deliveries(last)[0].state, "cancelled");
    let names: BTreeSet<_> = receiver
        .requests()
        .iter()
        .map(|request| request.json()["type"].as_str().unwrap().to_owned())
        .collect();
    assert!(!names.contains("Event 11"), "{names:?}");
}

#[test]
fn cancelling_what_blocks_a_strict_order_lets_the_next_go() {
    let receiver = Receiver::new(|request| {
        let is_bad = request.body_text().contains("Blocking");
        Answer::Status(if is_bad { 500 } else { 200 })
    });
    let data = Data::new();
    let tenant = data.tenant("Acme");
    data.member(&tenant.id, "ann@example.com", "owner");
    let webhook = data.webhook(&tenant.id, "Orders", &receiver.url("/"), &["*"]);
    set_ordered(&data, &webhook, true);
    let options = Options {
        retry_schedule: "0s,1h".to_owned(),
        ..Options::default()
    };
    let server = Server::start(&data, &options);
    let past = Past {
        data,
        tenant,
        webhook,
        server,
        options,
    };
    let blocking = past.track("Blocking");
    let next = past.track("Next");
    wait_for_value("attempts", &1, || {
        past.data.deliveries(&blocking)[0].attempts
    });
    assert_eq!(past.data.deliveries(&next)[0].attempts, 0);
    let cancel = format!("{}/cancel", past.delivery_path(&blocking));
    past.ann().submit(&cancel, &[]);
    past.wait_for("succeeded", 1);
    assert_eq!(past.data.deliveries(&next)[0].state, "succeeded");
    assert_eq!(past.data.deliveries(&blocking)[0].state, "cancelled");
    // What is sent again to such a webhook goes through its order as well.
    let event = past.track("Next");
    past.wait_for("succeeded", 2);
    let page = past.path(&format!("events/{event}/resend"));
    past.ann()
        .submit(&page, &[("webhook", past.webhook.id.as_str())]);
    wait_for_value("attempts", &2, || past.data.deliveries(&event)[0].attempts);
}

// RESENDING ---------------------------------------------------------------------------------

#[test]
fn a_past_event_is_sent_to_a_chosen_webhook_and_then_again() {
    let receiver = Receiver::healthy();
    let past = Past::new(&receiver, &["order.*"], "0s");
    let event = past.track("user.seen");
    let page = past.path(&format!("events/{event}"));
    let ann = past.ann();
    let text = ann.see(&page).text();
    assert!(
        text.contains("It does not listen for this event type."),
        "{text}"
    );
    let fields = [("webhook", past.webhook.id.as_str())];
    let sent = ann.submit(&format!("{page}/resend"), &fields);
    assert!(
        ann.see(sent.location())
            .text()
            .contains("on its way to 1 webhook")
    );
    let first = receiver.wait_for_type("user.seen");
    assert_eq!(first.json()["data"]["id"], event.as_str());
    past.wait_for("succeeded", 1);
    let text = ann.see(&page).text();
    assert!(
        text.contains("sent again") && text.contains("had it"),
        "{text}"
    );

    ann.submit(&format!("{page}/resend"), &fields);
    let requests = receiver.wait_for(2);
    assert_eq!(requests[1].message_id(), first.message_id());
    wait_for_value("attempts", &2, || past.data.deliveries(&event)[0].attempts);
    assert_eq!(past.data.rows("delivery"), 1, "the one that there was");
    let page = ann.post(&format!("{page}/resend"), &[]);
    assert_eq!(page.status, 422);
}

#[test]
fn a_second_webhook_of_the_format_gets_the_same_message() {
    let receiver = Receiver::healthy();
    let past = Past::new(&receiver, &["order.*"], "0s");
    let other = past.data.webhook(
        &past.tenant.id,
        "Other",
        &receiver.url("/other"),
        &["nothing"],
    );
    let event = past.track("order.placed");
    let first = receiver.wait_for(1).remove(0);
    let ann = past.ann();
    let page = past.path(&format!("events/{event}"));
    wait_until(
        "the box to know the webhook that was made beside it",
        || {
            let page = ann.post(&format!("{page}/resend"), &[("webhook", other.id.as_str())]);
            (page.status == 303).then_some(())
        },
    );
    let second = wait_until("the request to the other", || {
        let requests = receiver.requests();
        requests
            .into_iter()
            .find(|request| request.line().contains("/other"))
    });
    assert_eq!(second.message_id(), first.message_id());
    assert_eq!(past.data.rows("message"), 1);
}

#[test]
fn a_webhook_of_another_format_gets_the_event_in_its_own() {
    let receiver = Receiver::healthy();
    let past = Past::new(&receiver, &["order.*"], "0s");
    let url = receiver.url("/cloud");
    let arguments = [
        "webhook",
        "create",
        "Cloud",
        "--workspace",
        &past.tenant.id,
        "--url",
        &url,
        "--event",
        "nothing",
        "--format",
        "cloudevents",
        "--json",
    ];
    let other = past.data.json(&arguments)["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let event = past.track("order.placed");
    let first = receiver.wait_for(1).remove(0);
    let ann = past.ann();
    let page = past.path(&format!("events/{event}/resend"));
    wait_until(
        "the box to know the webhook that was made beside it",
        || (ann.post(&page, &[("webhook", &other)]).status == 303).then_some(()),
    );
    let second = wait_until("the request to the other", || {
        let requests = receiver.requests();
        requests
            .into_iter()
            .find(|request| request.line().contains("/cloud"))
    });
    assert!(
        second
            .header("content-type")
            .starts_with("application/cloudevents+json")
    );
    assert_eq!(second.json()["type"], "order.placed");
    assert_ne!(
        second.message_id(),
        first.message_id(),
        "other bytes, another message"
    );
    let test = past.path(&format!("webhooks/{other}/test"));
    ann.submit(&test, &[("what", "webhook.test")]);
    let ping = receiver.wait_for_type("webhook.test");
    assert!(
        ping.header("content-type")
            .starts_with("application/cloudevents+json")
    );
    // Each format once: what is sent to this one again is found.
    ann.submit(&page, &[("webhook", &other)]);
    let again = receiver.wait_for(4).remove(3);
    assert_eq!(again.message_id(), second.message_id());
}

#[test]
fn what_is_resent_to_a_paused_webhook_is_held() {
    let receiver = Receiver::healthy();
    let past = Past::new(&receiver, &["order.*"], "0s");
    let event = past.track("user.seen");
    let ann = past.ann();
    ann.submit(&past.webhook_path("pause"), &[]);
    let page = past.path(&format!("events/{event}/resend"));
    ann.submit(&page, &[("webhook", past.webhook.id.as_str())]);
    assert_eq!(past.in_state("held"), 1);
    ann.submit(&past.webhook_path("activate"), &[("held", "send")]);
    receiver.wait_for_type("user.seen");
}

#[test]
fn a_message_that_failed_keeps_its_id_and_is_signed_anew() {
    let receiver = Receiver::statuses(&[500, 200]);
    let past = Past::new(&receiver, &["*"], "0s");
    let event = past.track("Failed Once");
    past.wait_for("failed", 1);
    // The signature has whole seconds.
    let second = || pillarbox::time::now_ms() / 1_000;
    let sent_in = second();
    wait_until("another second", || (second() > sent_in).then_some(()));
    let ann = past.ann();
    ann.submit(&format!("{}/retry", past.delivery_path(&event)), &[]);
    let requests = receiver.wait_for(2);
    assert_eq!(requests[0].message_id(), requests[1].message_id());
    let times = [0, 1].map(|n| {
        requests[n]
            .header("webhook-timestamp")
            .parse::<i64>()
            .unwrap()
    });
    assert!(times[1] > times[0], "{times:?}");
    Verifier::new(&past.webhook.secret)
        .unwrap()
        .verify(&requests[1].body, &requests[1].headers())
        .unwrap();
}

// TESTING -----------------------------------------------------------------------------------

#[test]
fn a_test_is_sent_whatever_the_webhook_listens_for_and_whether_it_sends() {
    let receiver = Receiver::healthy();
    let past = Past::new(&receiver, &["order.*"], "0s");
    let event = past.track("user.seen");
    let ann = past.ann();
    ann.submit(&past.webhook_path("pause"), &[]);
    let test = |what: &str| ann.submit(&past.webhook_path("test"), &[("what", what)]);

    let page = test("webhook.test");
    let shown = ann.see(page.location()).text();
    assert!(shown.contains("webhook.test"), "{shown}");
    let request = receiver.wait_for_type("webhook.test");
    Verifier::new(&past.webhook.secret)
        .unwrap()
        .verify(&request.body, &request.headers())
        .unwrap();

    test("user.seen");
    let newest = receiver.wait_for_type("user.seen");
    assert_eq!(
        newest.json()["data"]["id"],
        event.as_str(),
        "the last real one"
    );
    ann.submit(
        &past.path("event-types/order.placed"),
        &[("description", "Placed"), ("example", r#"{"plan":"pro"}"#)],
    );
    test("order.placed");
    let sample = receiver.wait_for_type("order.placed");
    assert_eq!(sample.json()["data"]["properties"]["plan"], "pro");
    test(&event);
    let requests = receiver.wait_for(4);
    assert_eq!(requests[3].json()["data"]["id"], event.as_str());
    past.wait_for("succeeded", 4);
    let tests = "SELECT count(*) FROM delivery WHERE origin = 'test' AND attempts = 1 AND automatic_attempts = 0";
    assert_eq!(past.data.number(tests), 4);
    assert_eq!(past.data.rows("event"), 1, "a test is no event");
    let trigger = "SELECT count(*) FROM attempt WHERE trigger = 'test'";
    assert_eq!(past.data.number(trigger), 4);
    // Of what never came, and of the box's own families, there are examples.
    for (what, place) in [
        ("tour.completed", "/data/properties/experience"),
        ("identify", "/data/traits/plan"),
        ("profile.merged", "/data/merged/id"),
        ("system.webhook_disabled", "/data/webhook"),
    ] {
        test(what);
        let sample = receiver.wait_for_type(what).json();
        assert!(sample.pointer(place).is_some(), "{what}: {sample}");
    }
    for wrong in ["", "evt_x", "a\u{7}b"] {
        let page = ann.post(&past.webhook_path("test"), &[("what", wrong)]);
        assert_eq!(page.status, 422, "{wrong:?}");
    }
}

#[test]
fn a_test_that_fails_counts_nowhere_and_is_not_repeated() {
    let receiver = Receiver::statuses(&[500]);
    let past = Past::new(&receiver, &["order.*"], "0s,1s");
    let ann = past.ann();
    let page = ann.submit(&past.webhook_path("test"), &[("what", "webhook.test")]);
    wait_for_value("attempts", &1, || {
        past.data.number("SELECT attempts FROM delivery")
    });
    let text = ann.see(page.location().split('?').next().unwrap()).text();
    assert!(
        text.contains("The test did not get a 2xx answer."),
        "{text}"
    );
    let due =
        "SELECT count(*) FROM delivery WHERE next_attempt_at_ms IS NOT NULL OR state = 'pending'";
    assert_eq!(past.data.number(due), 0);
    // Replays of what failed leave tests out, and so does the webhook's success.
    let replay = past.replay(&ann);
    assert!(ann.see(&replay).text().contains("Nothing matches"));
    let webhooks = ann.see(&past.path("webhooks")).text();
    assert!(
        !webhooks.contains("0 %") && !webhooks.contains("0%"),
        "{webhooks}"
    );
}

// EXPUNGING ---------------------------------------------------------------------------------

/// Where `needle` stands in the tables of the file.
fn places(data: &Data, needle: &str) -> Vec<String> {
    let connection = data.open();
    let mut found = Vec::new();
    let mut columns = connection
        .prepare(
            "SELECT m.name, c.name FROM sqlite_schema m, pragma_table_info(m.name) c WHERE m.type = 'table'",
        )
        .unwrap();
    let columns: Vec<(String, String)> = columns
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    for (table, column) in columns {
        let sql = format!(
            "SELECT count(*) FROM \"{table}\" WHERE instr(CAST(\"{column}\" AS BLOB), CAST(?1 AS BLOB)) > 0"
        );
        let count: i64 = connection
            .query_row(&sql, [needle], |row| row.get(0))
            .unwrap();
        if count > 0 {
            found.push(format!("{table}.{column}"));
        }
    }
    found
}

#[test]
fn an_expunged_payload_is_in_no_row_of_the_file() {
    const NEEDLE: &str = "needle-4711";
    let receiver = Receiver::always(Answer::Whole(500, vec![], NEEDLE.as_bytes().to_vec()));
    let past = Past::new(&receiver, &["*"], "0s,1h");
    let body = json!({"event": "order.placed", "userId": "u", "properties": {"card": NEEDLE}});
    let (_, answer) = past.server.post_native(&past.tenant.key, body.to_string());
    let event = answer["id"]
        .as_str()
        .unwrap_or_else(|| panic!("{answer}"))
        .to_owned();
    wait_for_value("attempts", &1, || past.data.deliveries(&event)[0].attempts);
    let before = places(&past.data, NEEDLE);
    assert_eq!(
        before,
        ["event.properties", "message.body", "attempt.response_body"]
    );
    let (ann, page) = (past.ann(), past.path(&format!("events/{event}")));
    wait_until("the event to be projected", || {
        let cursor = past.data.number("SELECT cursor_event_id FROM projector");
        (cursor >= event_number(&event)).then_some(())
    });
    let refused = ann.post(&format!("{page}/expunge"), &[("confirm", "yes")]);
    assert_eq!(refused.status, 422);
    assert_eq!(places(&past.data, NEEDLE), before);

    ann.see(&format!("{page}/expunge"));
    let done = ann.submit(&format!("{page}/expunge"), &[("confirm", "expunge")]);
    assert!(
        places(&past.data, NEEDLE).is_empty(),
        "{:?}",
        places(&past.data, NEEDLE)
    );
    let says_so = |page: &Page| page.text().contains("The payload was expunged by");
    assert!(says_so(&ann.see(done.location())));
    let delivery = past.delivery_path(&event);
    let shown = ann.see(&delivery);
    assert!(
        says_so(&shown) && shown.text().contains("500"),
        "how it went stays"
    );
    assert_eq!(
        past.data.deliveries(&event)[0].state,
        "cancelled",
        "it does not wait any more"
    );

    // There is nothing left to send.
    let fields = [("webhook", past.webhook.id.as_str())];
    assert_eq!(ann.post(&format!("{page}/resend"), &fields).status, 409);
    assert_eq!(ann.post(&format!("{delivery}/retry"), &[]).status, 409);
    assert_eq!(
        ann.post(&format!("{page}/expunge"), &[("confirm", "expunge")])
            .status,
        409
    );
    let audited = "SELECT count(*) FROM audit WHERE action = 'event.expunged'";
    assert_eq!(past.data.number(audited), 1);
}

/// Posts an order with this card and message id; its id.
#[track_caller]
fn post_order(past: &Past, card: &str, message: &str) -> String {
    let body = json!({
        "event": "order.placed", "userId": "u", "messageId": message, "properties": {"card": card}
    });
    let (status, answer) = past.server.post_native(&past.tenant.key, body.to_string());
    assert_eq!(status, 200, "{answer}");
    answer["id"].as_str().unwrap().to_owned()
}

#[track_caller]
fn expunge(past: &Past, event: &str) {
    wait_until("the event to be projected", || {
        let cursor = past.data.number("SELECT cursor_event_id FROM projector");
        (cursor >= event_number(event)).then_some(())
    });
    let path = past.path(&format!("events/{event}/expunge"));
    past.ann().submit(&path, &[("confirm", "expunge")]);
}

#[test]
fn an_answer_that_was_on_its_way_is_not_kept_either() {
    const NEEDLE: &str = "needle-4711";
    let (answer, wait) = channel::<()>();
    let wait = Mutex::new(wait);
    let receiver = Receiver::new(move |_| {
        let _ = wait.lock().unwrap().recv_timeout(Duration::from_secs(15));
        let headers = vec![("x-echo", NEEDLE.to_owned())];
        Answer::Whole(500, headers, NEEDLE.as_bytes().to_vec())
    });
    let past = Past::new(&receiver, &["*"], "0s");
    let nothing_is_left = |event: &str, attempts: i64| {
        answer.send(()).unwrap();
        wait_for_value("attempts", &attempts, || {
            past.data.deliveries(event)[0].attempts
        });
        let left = places(&past.data, NEEDLE);
        assert!(left.is_empty(), "{left:?}");
    };
    // By the schedule.
    let event = post_order(&past, NEEDLE, "m-1");
    receiver.wait_for(1);
    expunge(&past, &event);
    nothing_is_left(&event, 1);
    // Because a person asked for it, of a delivery that waits for nothing.
    let event = post_order(&past, NEEDLE, "m-2");
    answer.send(()).unwrap();
    past.wait_for("failed", 1);
    past.ann()
        .submit(&format!("{}/retry", past.delivery_path(&event)), &[]);
    receiver.wait_for(3);
    expunge(&past, &event);
    nothing_is_left(&event, 2);
    let page = past.ann().see(&past.delivery_path(&event));
    assert!(page.text().contains("500"), "{}", page.text());
}

#[test]
fn an_expunged_event_that_is_sent_again_came_before() {
    const NEEDLE: &str = "needle-4711";
    let receiver = Receiver::healthy();
    let past = Past::new(&receiver, &["*"], "0s");
    let event = post_order(&past, NEEDLE, "m-1");
    past.wait_for("succeeded", 1);
    expunge(&past, &event);
    assert_eq!(post_order(&past, NEEDLE, "m-1"), event);
    let left = places(&past.data, NEEDLE);
    assert!(left.is_empty(), "{left:?}");
    assert_eq!((past.data.rows("event"), receiver.count()), (1, 1));
    // What says something else in what is left is still refused.
    let other = json!({"event": "order.paid", "userId": "u", "messageId": "m-1"});
    let (status, answer) = past.server.post_native(&past.tenant.key, other.to_string());
    assert_eq!(
        (status, answer["code"].as_str()),
        (409, Some("idempotency_conflict")),
        "{answer}"
    );
}

#[test]
fn the_payload_of_a_test_is_expunged_from_its_delivery() {
    let receiver = Receiver::healthy();
    let past = Past::new(&receiver, &["*"], "0s");
    let ann = past.ann();
    let page = ann.submit(&past.webhook_path("test"), &[("what", "webhook.test")]);
    let delivery = page.location().split('?').next().unwrap().to_owned();
    past.wait_for("succeeded", 1);
    assert_eq!(
        places(&past.data, "webhook.test"),
        [
            "audit.action",
            "audit.after",
            "message.type",
            "message.body"
        ]
    );
    ann.submit(&format!("{delivery}/expunge"), &[("confirm", "expunge")]);
    assert_eq!(
        places(&past.data, "webhook.test"),
        ["audit.action", "audit.after", "message.type"]
    );
}

#[test]
fn only_admins_expunge() {
    let receiver = Receiver::healthy();
    let past = Past::new(&receiver, &["*"], "0s");
    past.data
        .member(&past.tenant.id, "max@example.com", "member");
    let event = past.track("order.placed");
    past.wait_for("succeeded", 1);
    let max = Visitor::signed_in(&past.server, "max@example.com");
    for thing in [
        past.path(&format!("events/{event}")),
        past.delivery_path(&event),
    ] {
        assert!(!max.see(&thing).html.contains("/expunge"));
        let path = format!("{thing}/expunge");
        assert_eq!(max.get(&path).status, 404);
        assert_eq!(max.post(&path, &[("confirm", "expunge")]).status, 404);
    }
    let expunged = "SELECT count(*) FROM message WHERE expunged_at_ms IS NOT NULL";
    assert_eq!(past.data.number(expunged), 0);
}

// LOOKING -----------------------------------------------------------------------------------

#[test]
fn the_history_is_narrowed_by_all_that_is_asked() {
    let receiver = Receiver::new(|request| {
        let is_bad = request.body_text().contains("order.");
        Answer::Status(if is_bad { 500 } else { 200 })
    });
    let past = Past::new(&receiver, &["*"], "0s");
    let ann = past.ann();
    assert!(
        ann.see(&past.path("deliveries"))
            .text()
            .contains("Nothing was sent yet")
    );
    past.track("order.placed");
    past.track("user.seen");
    past.wait_for("failed", 1);
    past.wait_for("succeeded", 1);
    let rows = |query: &str| {
        let page = ann.see(&past.path(&format!("deliveries?{query}")));
        let tags = page.tags("input");
        tags.iter()
            .filter(|tag| tag.contains("name=\"delivery\""))
            .count()
    };
    let webhook = format!("webhook={}", past.webhook.id);
    for (query, wanted) in [
        ("", 2),
        ("state=failed", 1),
        ("type=order.*", 1),
        ("state=succeeded&type=user.*", 1),
        ("state=failed&type=user.*", 0),
        ("from=1h", 2),
        ("to=1h", 0),
        (webhook.as_str(), 2),
        (&format!("{webhook}&state=failed&from=1h"), 1),
        ("webhook=whk_0000000000001", 0),
    ] {
        assert_eq!(rows(query), wanted, "{query}");
    }
    let nothing = ann.see(&past.path("deliveries?state=held")).text();
    assert!(
        nothing.contains("Nothing matches") && nothing.contains("State: held"),
        "{nothing}"
    );
    let wrong = ann.get(&past.path("deliveries?from=soon&state=lost"));
    assert_eq!(wrong.status, 422);
    assert!(
        wrong.text().contains("such as 1h, 24h or 7d"),
        "{}",
        wrong.text()
    );
    assert!(wrong.text().contains("cannot be understood"));
}

#[test]
fn a_delivery_shows_what_differs_and_a_command_that_verifies() {
    let answers = Mutex::new(vec![
        Answer::Whole(200, vec![], br#"{"ok":true,"n":1}"#.to_vec()),
        Answer::Whole(500, vec![], br#"{"ok":false,"n":1}"#.to_vec()),
    ]);
    let receiver = Receiver::new(move |_| answers.lock().unwrap().pop().unwrap());
    let past = Past::new(&receiver, &["*"], "0s");
    past.data
        .member(&past.tenant.id, "vic@example.com", "viewer");
    let event = past
        .server
        .accept(&past.tenant.key, track_body("it's me", "order.placed"));
    past.wait_for("failed", 1);
    let (ann, delivery) = (past.ann(), past.delivery_path(&event));
    ann.submit(&format!("{delivery}/retry"), &[]);
    past.wait_for("succeeded", 1);
    // As long as each part takes far away.
    let file = rusqlite::Connection::open(past.data.file()).unwrap();
    file.execute(
        "UPDATE attempt SET dns_us = 9000, connect_us = 30000, first_byte_us = 80000",
        [],
    )
    .unwrap();
    // While the key is being changed both sign, and the receiver knows the one before.
    let rotated = ann.post(&past.webhook_path("secret/rotate"), &[]);
    assert_eq!(rotated.status, 200);
    let page = ann.see(&format!("{delivery}?attempt=2&with=1"));
    let text = page.exact_text();
    for line in [
        "- Status 500",
        "+ Status 200",
        "-   \"ok\": false",
        "+   \"ok\": true",
        "    \"n\": 1",
    ] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
    assert!(
        page.text().contains("Resolving the name 9 ms") && page.text().contains("Connecting 30 ms"),
        "{}",
        page.text()
    );

    let command = page
        .tags("button")
        .iter()
        .find_map(|tag| {
            crate::support::page::attribute(tag, "data-copy")
                .filter(|text| text.starts_with("curl"))
        })
        .expect("a command to copy");
    let words = shell_words(&command);
    let header = |name: &str| {
        let start = format!("{name}: ");
        words
            .iter()
            .find_map(|word| word.strip_prefix(&start))
            .unwrap()
            .to_owned()
    };
    let mut headers = reqwest::header::HeaderMap::new();
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        headers.insert(name, header(name).parse().unwrap());
    }
    let body = words.last().unwrap();
    Verifier::new(&past.webhook.secret)
        .unwrap()
        .verify(body.as_bytes(), &headers)
        .unwrap();
    assert!(body.contains("it's me"), "{body}");
    assert!(!command.contains("whsec_"));
    let vic = Visitor::signed_in(&past.server, "vic@example.com");
    assert!(
        !vic.see(&delivery).html.contains("webhook-signature: v1,"),
        "a viewer signs nothing"
    );
}

/// The words of a command, as a shell reads them: by a shell.
fn shell_words(command: &str) -> Vec<String> {
    let script = format!("curl() {{ printf '%s\\0' \"$@\"; }}\n{command}\n");
    let output = std::process::Command::new("sh")
        .arg("-c")
        .arg(script)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_terminator('\0').map(str::to_owned).collect()
}
