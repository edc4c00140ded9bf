//! What people are shown of the box's own messages is what webhooks get: every type of `admin.` and `system.`
//! is sent for real, and has the members of its example, on every level.

use crate::support::data::{PASSWORD, text};
use crate::support::{Answer, Data, Options, Receiver, Server, Visitor, wait_for_value};
use pillarbox::event_type::{FAMILIES, example_data};
use pillarbox::id::{DeliveryId, ProfileId};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const ADMIN: &str = "ann@example.com";

/// The members of a value on every level, those of an array's elements too.
fn shape(value: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    collect(value, "", &mut found);
    found
}

fn collect(value: &Value, place: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let place = format!("{place}/{name}");
                collect(member, &place, found);
                found.insert(place);
            }
        }
        Value::Array(elements) => {
            for element in elements {
                collect(element, &format!("{place}[]"), found);
            }
        }
        _ => {}
    }
}

/// Compares what came with the examples of all types that begin so.
#[track_caller]
fn assert_as_shown(receiver: &Receiver, prefix: &str) {
    let types = FAMILIES.iter().flat_map(|family| family.types);
    let mut wrong = Vec::new();
    for (event_type, _) in types.filter(|(event_type, _)| event_type.starts_with(prefix)) {
        let sent = receiver.wait_for_type(event_type).json();
        let (sent, shown) = (
            shape(&sent["data"]),
            shape(&example_data(event_type).unwrap()),
        );
        let too_few: Vec<_> = sent.difference(&shown).collect();
        let too_many: Vec<_> = shown.difference(&sent).collect();
        if sent != shown {
            wrong.push(format!(
                "{event_type}: the example lacks {too_few:?} and has {too_many:?} besides"
            ));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn a_change_is_told_in_the_shape_of_its_example() {
    let (receiver, orders) = (Receiver::healthy(), Receiver::healthy());
    let data = Data::new();
    let tenant = data.tenant("Acme");
    data.member(&tenant.id, ADMIN, "owner");
    data.webhook(&tenant.id, "Notices", &receiver.url("/"), &["admin.*"]);
    let server = data.serve();
    let ann = Visitor::signed_in(&server, ADMIN);
    let path = |rest: &str| format!("/w/{}/{rest}", tenant.slug);
    let post = |rest: &str, fields: &[(&str, &str)]| {
        let page = ann.post(&path(rest), fields);
        let is_done = matches!(page.status, 200 | 201 | 303);
        assert!(is_done, "{rest}: {} {}", page.status, page.text());
        page
    };
    let target = |event_type: &str| {
        let sent = receiver.wait_for_type(event_type).json();
        text(&sent["data"]["target"], "id")
    };
    let track = |body: Value| {
        let (status, answer) = server.post_native(&tenant.key, body.to_string());
        assert_eq!(status, 200, "{answer}");
        text(&answer, "id")
    };

    // Webhooks, and what they are sent.
    let url = orders.url("/");
    let fields = [("name", "Orders"), ("url", &*url), ("event", "tour.*")];
    post("webhooks", &fields);
    let id = target("admin.webhook.created");
    let own = |rest: &str| format!("webhooks/{id}{rest}");
    post(&own(""), &fields);
    post(&own("/test"), &[("what", "tour.completed")]);
    post(&own("/secret"), &[("password", PASSWORD)]);
    post(
        &own("/secret/rotate"),
        &[("overlap", "24"), ("signing", "ed25519")],
    );
    post(&own("/secret/end-overlap"), &[]);
    let tour = json!({"event": "tour.completed", "userId": "ada", "properties": {"n": 1}});
    let event = track(tour.clone());
    wait_for_value("what arrived", &1, || {
        data.number(
            "SELECT count(*) FROM delivery WHERE event_id IS NOT NULL AND state = 'succeeded'",
        )
    });
    let delivery = data.delivery_ids(&event).remove(0);
    post(&format!("deliveries/{delivery}/retry"), &[]);
    post(&format!("events/{event}/resend"), &[("webhook", &id)]);
    post(&own("/pause"), &[]);
    let delivery = data.delivery_ids(&track(tour)).remove(0);
    post(&format!("deliveries/{delivery}/cancel"), &[]);
    post(&own("/activate"), &[("held", "send")]);
    let replay = post("replays", &[]).location().to_owned();
    let replay = replay.strip_prefix(&path("")).unwrap();
    post(&format!("{replay}/start"), &[("rate", "1")]);
    post(&format!("{replay}/pause"), &[]);
    post(&format!("{replay}/cancel"), &[]);
    wait_for_value("projected", &1, || {
        data.number("SELECT (SELECT max(id) FROM event) = (SELECT cursor_event_id FROM projector)")
    });
    let expunge = [("confirm", "expunge")];
    post(&format!("events/{event}/expunge"), &expunge);
    let notice = data.number("SELECT min(id) FROM delivery WHERE event_id IS NULL");
    let notice = DeliveryId::from_i64(notice);
    post(&format!("deliveries/{notice}/expunge"), &expunge);
    post(&own("/delete"), &[("confirm", "Orders")]);

    // Who sends, and who may look.
    post("keys", &[("name", "Server"), ("scope", "write:events")]);
    let key = target("admin.api_key.created");
    post(&format!("keys/{key}/revoke"), &[]);
    post("sources", &[("name", "Shop")]);
    let source = format!("sources/{}", target("admin.source.created"));
    post(&source, &[("name", "Shop")]);
    let secret = [("stripe_secret", "whsec_neverToBeSeen")];
    post(&format!("{source}/stripe"), &secret);
    post(&format!("{source}/rotate"), &[]);
    data.member(&tenant.id, "bob@example.com", "viewer");

    // What is made of events.
    let declared = [("description", "New"), ("mode", "observe")];
    post("event-types/order.placed", &declared);
    post("event-types/order.placed", &declared);
    post("event-types/order.placed/remove", &[]);
    let funnel = [
        ("name", "Second"),
        ("consideration", "signup"),
        ("trial", ""),
        ("customer", ""),
    ];
    post("funnels", &funnel);
    let id = target("admin.funnel.created");
    post(&format!("funnels/{id}"), &funnel);
    for body in [
        json!({"event": "A", "visitorId": "v"}),
        json!({"event": "A", "userId": "u"}),
        json!({"event": "A", "visitorId": "v", "userId": "u"}),
    ] {
        track(body);
    }
    wait_for_value("merges", &1, || data.rows("merge"));
    let profile = "SELECT profile_id FROM identifier WHERE kind = 'user_id' AND value = 'u'";
    let profile = ProfileId::from_i64(data.number(profile));
    let page = ann.see(&path(&format!("profiles/{profile}")));
    let forms = page.forms().into_iter();
    let undo = forms.map(|form| form.action).find(|a| a.ends_with("/undo"));
    ann.submit(&undo.expect("a form to undo the merge"), &[]);
    post("rename", &[("name", "Umbrella")]);
    post("settings", &[("mau_limit", "7")]);

    assert_as_shown(&receiver, "admin.");
}

#[test]
fn what_the_box_says_of_itself_is_told_in_the_shape_of_its_example() {
    let (receiver, failing) = (Receiver::healthy(), Receiver::statuses(&[500]));
    let data = Data::new();
    let tenant = data.tenant("Acme");
    data.member(&tenant.id, ADMIN, "owner");
    data.webhook(&tenant.id, "Notices", &receiver.url("/"), &["system.*"]);
    let url = failing.url("/hook?token=neverToBeSeen");
    data.webhook(&tenant.id, "Main", &url, &["tour.*"]);
    let options = Options {
        retry_schedule: "0s,10ms,10ms,10ms".to_owned(),
        arguments: vec!["--low-space".to_owned(), "900000TB".to_owned()],
        ..Options::default()
    };
    let server = Server::start(&data, &options);
    let ann = Visitor::signed_in(&server, ADMIN);
    let settings = format!("/w/{}/settings", tenant.slug);
    ann.submit(&settings, &[("mau_limit", "5")]);
    for n in 1..=4 {
        server.track(&tenant.key, &n.to_string(), "Seen");
    }
    receiver.wait_for_type("system.mau_limit_near");
    server.track(&tenant.key, "5", "tour.completed");
    receiver.wait_for_type("system.delivery_exhausted");
    failing.answer(Answer::Status(410));
    server.track(&tenant.key, "5", "tour.completed");
    assert_as_shown(&receiver, "system.");
    let requests = receiver.requests();
    let mut sent = requests.iter().map(|request| request.body_text());
    assert!(sent.all(|body| !body.contains("neverToBeSeen")));
}
