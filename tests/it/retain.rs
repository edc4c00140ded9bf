//! RETAIN: what is older than the box keeps goes by itself, what is still owed stays, and every page
//! goes on working with what is left.

use crate::support::data::event_number;
use crate::support::{Data, Receiver, Visitor, wait_for_value, wait_until};
use rusqlite::Connection;

/// Makes everything that came or left so many days older. Ids are times, so all of them move.
fn age(data: &Data, days: i64) {
    let connection = Connection::open(data.file()).unwrap();
    let shift = (days * 86_400_000) << 22;
    let statements = [
        "UPDATE event SET id = id - ?1",
        "UPDATE message SET id = id - ?1, event_id = event_id - ?1",
        "UPDATE delivery SET id = id - ?1, message_id = message_id - ?1, event_id = event_id - ?1, last_attempt_id = last_attempt_id - ?1",
        "UPDATE attempt SET id = id - ?1, delivery_id = delivery_id - ?1, previous_attempt_id = previous_attempt_id - ?1",
        "UPDATE dispatcher SET cursor_delivery_id = cursor_delivery_id - ?1",
        "UPDATE timeline SET event_id = event_id - ?1",
        "UPDATE projector SET cursor_event_id = cursor_event_id - ?1",
    ];
    for statement in statements {
        connection.execute(statement, [shift]).unwrap();
    }
}

fn aged(event: &str, days: i64) -> String {
    let number = event_number(event) - ((days * 86_400_000) << 22);
    pillarbox::id::EventId::from_i64(number).to_string()
}

#[test]
fn settled_deliveries_go_after_a_month_and_everything_after_three() {
    let receiver = Receiver::healthy();
    let data = Data::new();
    let tenant = data.tenant("Acme");
    data.member(&tenant.id, "ann@example.com", "owner");
    let sending = data.webhook(&tenant.id, "Sending", &receiver.url("/"), &["*"]);
    let paused = data.webhook(&tenant.id, "Paused", &receiver.url("/"), &["Held"]);
    let path = |rest: &str| format!("/w/{}/{rest}", tenant.slug);
    let mut server = data.serve();
    let ann = Visitor::signed_in(&server, "ann@example.com");
    ann.submit(&path(&format!("webhooks/{}/pause", paused.id)), &[]);
    let (told, held) = (
        server.track(&tenant.key, "u", "Told"),
        server.track(&tenant.key, "u", "Held"),
    );
    wait_for_value("the attempts", &2, || data.rows("attempt"));
    wait_for_value("the timeline", &2, || data.rows("timeline"));

    server.process.kill();
    age(&data, 40);
    let (told, held) = (aged(&told, 40), aged(&held, 40));
    let gone = data.delivery_ids(&told).remove(0);
    let mut server = data.serve();
    wait_for_value("the attempts", &0, || data.rows("attempt"));
    wait_for_value("the messages", &1, || data.rows("message"));
    let states: Vec<_> = data
        .deliveries(&held)
        .into_iter()
        .map(|d| d.state)
        .collect();
    assert_eq!(states, ["held"]);
    assert_eq!((data.rows("event"), data.rows("timeline")), (2, 2));
    let ann = Visitor::signed_in(&server, "ann@example.com");
    let text = ann.see(&path(&format!("events/{told}"))).text();
    assert!(
        text.contains("older than the box keeps deliveries"),
        "{text}"
    );
    let text = ann.see(&path(&format!("events/{held}"))).text();
    assert!(text.contains("Held"), "{text}");
    let kept = data.delivery_ids(&held).remove(0);
    let shown = ann.see(&path(&format!("deliveries/{kept}")));
    assert!(shown.links().contains(&path(&format!("events/{held}"))));
    assert_eq!(ann.get(&path(&format!("deliveries/{gone}"))).status, 404);
    let retry = path(&format!("deliveries/{gone}/retry"));
    assert_eq!(ann.post(&retry, &[]).status, 404);

    server.process.kill();
    age(&data, 60);
    let (told, held) = (aged(&told, 60), aged(&held, 60));
    let server = data.serve();
    wait_for_value("the timeline", &0, || data.rows("timeline"));
    for table in ["event", "message", "delivery", "attempt"] {
        assert_eq!(data.rows(table), 0, "{table}");
    }
    let ann = Visitor::signed_in(&server, "ann@example.com");
    for event in [told, held] {
        let page = ann.get(&path(&format!("events/{event}")));
        assert_eq!(page.status, 404);
        assert!(page.text().contains("older than the box keeps"));
    }
    let profile = ann.see(&path("profiles?q=u")).links();
    let profile = profile.iter().find(|link| link.contains("/profiles/prf_"));
    assert!(
        ann.see(profile.unwrap()).text().contains('2'),
        "its counter stays"
    );
    ann.see(&format!("/w/{}", tenant.slug));
    for page in [
        "events",
        "deliveries",
        "deliveries?state=failed",
        "webhooks",
    ] {
        ann.see(&path(page));
    }
    ann.see(&path(&format!("webhooks/{}", sending.id)));
    ann.submit(
        &path(&format!("webhooks/{}/activate", paused.id)),
        &[("held", "send")],
    );
    server.track(&tenant.key, "u", "Held");
    wait_until("the new event's deliveries", || {
        (data.rows("attempt") == 2).then_some(())
    });
}
