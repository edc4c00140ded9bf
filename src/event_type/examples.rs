//! An example of what a webhook gets of each type of the families: the `data` of a message in the standard
//! format. People see them, and tests are sent with them. Pure.

use super::families::builtin_description;
use serde_json::{Value, json};

/// The `data` of an example message of a type; `None` for a type that no family has.
pub fn example_data(event_type: &str) -> Option<Value> {
    builtin_description(event_type)?;
    let (family, act) = event_type.split_once('.').unwrap_or((event_type, ""));
    Some(match family {
        "identify" | "page" | "screen" | "group" | "alias" => kind(family),
        "profile" => profile(act),
        "customer" => subscription(),
        "admin" => admin(act),
        "system" => system(act),
        _ => experience(event_type, family, act),
    })
}

/// An event of one of the kinds that have no name of their own.
fn kind(kind: &str) -> Value {
    let mut data = event(kind, kind);
    match kind {
        "identify" => data["traits"] = json!({"name": "Ada Lovelace", "plan": "pro"}),
        "group" => {
            data["groupId"] = json!("acme");
            data["traits"] = json!({"name": "Acme", "seats": 12});
        }
        "page" => {
            data["properties"] =
                json!({"url": "https://app.example.com/pricing", "title": "Pricing"});
        }
        "screen" => data["properties"] = json!({"name": "Pricing"}),
        // The visitor of before is the user from now on.
        _ => {}
    }
    data
}

/// One of Jimo's experience events, its objects among the properties.
fn experience(event_type: &str, family: &str, act: &str) -> Value {
    let experience = json!({"id": format!("{family}_1"), "type": family, "name": "Welcome"});
    let mut properties = json!({"experience": experience});
    match act {
        "status-changed" => properties["status"] = json!("published"),
        "step.answered" => {
            properties["step"] = json!({"id": "step_1", "question": "How do you like it?"});
            properties["answer"] = json!({"value": 9});
        }
        "task.completed" | "task.skipped" => {
            properties["task"] = json!({"id": "task_1", "name": "Invite a colleague"});
        }
        "commented" => properties["comment"] = json!({"id": "comment_1", "text": "Well done!"}),
        _ => {}
    }
    let mut data = event("track", event_type);
    data["properties"] = properties;
    data
}

fn event(kind: &str, event_type: &str) -> Value {
    json!({
        "id": EVENT,
        "kind": kind,
        "event": event_type,
        "userId": "user_1",
        "visitorId": "visitor_1",
        "email": "ada@example.com",
        "verification": "server",
        "source": {"id": "src_0e5c1v80000g0", "name": "Shop"},
        "receivedAt": TIME,
    })
}

fn profile(act: &str) -> Value {
    let mut data = json!({
        "profile": {
            "id": PROFILE,
            "kind": "person",
            "identifiers": {"userId": ["user_1"], "email": ["ada@example.com"]},
            "traits": {"name": "Ada Lovelace", "plan": "pro"},
        },
        "eventId": EVENT,
    });
    match act {
        "updated" => {
            data["changed"] = json!({
                "identifiers": {"email": ["ada@example.com"]},
                "traits": {"plan": {"before": "free", "after": "pro"}},
            });
        }
        "merged" => {
            data["merged"] = json!({"id": "prf_0e5c1v7z00002", "kind": "person"});
            data["by"] = json!({"kind": "visitorId", "value": "visitor_1"});
        }
        "stage_changed" => {
            data["funnel"] = json!({"id": "fnl_0e5c1v80000g1", "name": "Default"});
            data["from"] = json!("consideration");
            data["to"] = json!("trial");
            data["occurredAt"] = json!(TIME);
        }
        _ => {}
    }
    data
}

fn subscription() -> Value {
    let standing = |status: &str, quantity: i64| {
        json!({
            "status": status,
            "plan": {"priceId": "price_1", "productId": "prod_1", "nickname": "Team"},
            "quantity": quantity,
            "price": {"amount": 4_900, "currency": "eur", "interval": "month", "intervalCount": 1},
            "cancelAtPeriodEnd": false,
            "currentPeriodEnd": "2026-02-01T12:00:00.000Z",
            "trialEnd": "2026-01-01T12:00:00.000Z",
            "canceledAt": null,
        })
    };
    json!({
        "profile": {
            "id": PROFILE,
            "kind": "person",
            "identifiers": {"customerId": ["cus_1"], "email": ["ada@example.com"]},
            "traits": {},
        },
        "subscription": {"id": "sub_1", "customerId": "cus_1"},
        "before": standing("trialing", 3),
        "after": standing("active", 5),
        "bucket": {"before": null, "after": "upgraded"},
        "eventId": EVENT,
    })
}

fn admin(action: &str) -> Value {
    let (target, name) = match action.split_once('.').map_or("", |(target, _)| target) {
        "api_key" => ("key_0e5c1v80000g2", "Shop's server"),
        "source" => ("src_0e5c1v80000g0", "Shop"),
        "member" => ("usr_0e5c1v80000g3", "grace@example.com"),
        "funnel" => ("fnl_0e5c1v80000g1", "Default"),
        "workspace" => ("ws_0e5c1v80000g4", "Acme"),
        "event_type" => ("Order Paid", ""),
        "delivery" => ("dlv_0e5c1v80000g5", ""),
        "event" => (EVENT, ""),
        "replay" => ("rpl_0e5c1v80000gb", ""),
        "profile" => ("mrg_0e5c1v80000g6", ""),
        _ => ("whk_0e5c1v80000g7", "Billing"),
    };
    // There is a command for it and no page.
    let by = match action {
        "member.added" => json!({"kind": "command_line"}),
        _ => json!({"kind": "user", "id": "usr_0e5c1v80000g8"}),
    };
    let mut data = json!({"by": by, "target": {"id": target}});
    let is_named = !name.is_empty() && action != "workspace.mau_limit_set";
    if is_named {
        data["target"]["name"] = json!(name);
    }
    let (before, after) = admin_change(action, name);
    for (word, said) in [("before", before), ("after", after)] {
        if !said.is_null() {
            data[word] = said;
        }
    }
    data
}

/// What the target was, and what it became, as the audit has it.
fn admin_change(action: &str, name: &str) -> (Value, Value) {
    let webhook = |events: &[&str]| {
        json!({
            "name": name,
            "url": WEBHOOK_URL,
            "events": events,
            "format": "standard",
            "filters": [],
            "headers": [["x-team", "billing"]],
            "has_credentials": false,
            "schedule": "",
            "concurrency": null,
            "rate": null,
            "ordered": false,
        })
    };
    let source = |origins: &[&str]| json!({"name": name, "origins": origins, "customers_are_accounts": false});
    let declared = |mode: &str| {
        json!({
            "description": "An order was paid",
            "schema": r#"{"required":["total"]}"#,
            "mode": mode,
            "example": r#"{"total":4900}"#,
        })
    };
    let funnel = |event: &str| json!({"name": name, "rules": [{"event": event, "stage": "trial"}]});
    let key = json!({"name": name, "prefix": "pbk_4f2a"});
    let none = Value::Null;
    match action {
        "webhook.created" => (none, webhook(&["tour.*"])),
        "webhook.updated" => (webhook(&["tour.*"]), webhook(&["tour.*", "survey.*"])),
        "webhook.paused" => (none, json!({"held": 3})),
        "webhook.activated" => (none, json!({"sent": 3})),
        "webhook.deleted" => (
            json!({"name": name, "url": WEBHOOK_URL}),
            json!({"cancelled": 0}),
        ),
        "webhook.tested" => (
            none,
            json!({"what": "tour.completed", "delivery": "dlv_0e5c1v80000g5"}),
        ),
        "webhook.key_rotated" => (
            json!({"signing": "hmac"}),
            json!({"signing": "ed25519", "key_before_signs_until": "2026-01-02T12:00:00.000Z"}),
        ),
        "webhook.overlap_ended" => (
            json!({"key_before_signs_until": "2026-01-02T12:00:00.000Z"}),
            none,
        ),
        "delivery.cancelled" => (none, json!({"webhook": "whk_0e5c1v80000g7"})),
        "delivery.expunged" => (none, json!({"messages": 1, "cancelled": 0})),
        "event.resent" => (none, json!({"webhooks": ["whk_0e5c1v80000g7"], "new": 1})),
        "event.expunged" => (none, json!({"messages": 1, "cancelled": 0})),
        "replay.created" => (none, json!({"estimate": 240, "more": false, "rate": 10})),
        "replay.started" => (none, json!({"rate": 10})),
        "replay.paused" | "replay.cancelled" => (none, json!({"sent": 120})),
        "delivery.retried" => (none, json!({"attempts": 2, "webhook": "whk_0e5c1v80000g7"})),
        "api_key.created" => (
            none,
            json!({"name": name, "prefix": "pbk_4f2a", "scopes": ["write:events"]}),
        ),
        "api_key.revoked" => (key, none),
        "source.created" => (none, source(&[])),
        "source.updated" => (source(&[]), source(&["https://shop.example.com"])),
        "source.stripe_secret_set" => (
            json!({"name": name, "stripe_secret": false}),
            json!({"name": name, "stripe_secret": true}),
        ),
        "source.identity_secret_rotated" => (json!({"name": name}), json!({"name": name})),
        "member.added" => (none, json!({"email": name, "role": "member"})),
        "event_type.declared" => (none, declared("observe")),
        "event_type.updated" => (declared("observe"), declared("enforce")),
        "event_type.removed" => (declared("enforce"), none),
        "funnel.created" => (none, funnel("trial_start")),
        "funnel.updated" => (funnel("trial_start"), funnel("Trial Started")),
        "profile.merge_undo_requested" => (
            json!({"profile": PROFILE, "merged": "prf_0e5c1v7z00002"}),
            none,
        ),
        "workspace.renamed" => (json!({"name": "Acme Inc."}), json!({"name": name})),
        "workspace.mau_limit_set" => (json!({"limit": none}), json!({"limit": 10_000})),
        _ => (Value::Null, none),
    }
}

fn system(act: &str) -> Value {
    let webhook =
        json!({"id": "whk_0e5c1v80000g7", "name": "Billing", "url": "https://example.com"});
    let attempt = json!({
        "id": "att_0e5c1v80000gc",
        "at": TIME,
        "status": 503,
        "error": "http_5xx",
        "detail": "The receiver answered 503.",
    });
    match act {
        "mau_limit_near" => json!({"month": "2026-01", "active": 8_000, "limit": 10_000}),
        "mau_limit_reached" => json!({"month": "2026-01", "active": 10_000, "limit": 10_000}),
        "webhook_failing" => json!({
            "webhook": webhook, "failures": 4, "failingSince": TIME, "lastAttempt": attempt,
        }),
        "webhook_disabled" => json!({
            "webhook": webhook,
            "reason": "Every attempt has failed for 5days, since 2025-12-27T12:00:00.000Z.",
            "held": 12,
            "lastAttempt": attempt,
        }),
        "delivery_exhausted" => json!({
            "webhook": webhook,
            "delivery": {"id": "dlv_0e5c1v80000g5", "type": "tour.completed"},
            "event": {"id": EVENT},
            "lastAttempt": attempt,
        }),
        _ => json!({"freeBytes": 536_870_912, "limitBytes": 1_073_741_824}),
    }
}

const EVENT: &str = "evt_0e5c1v80000g9";
const PROFILE: &str = "prf_0e5c1v80000ga";
const WEBHOOK_URL: &str = "https://example.com/hook";
const TIME: &str = "2026-01-01T12:00:00.000Z";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_type::families::FAMILIES;

    fn types() -> impl Iterator<Item = &'static str> {
        let types = FAMILIES.iter().flat_map(|family| family.types);
        types.map(|(event_type, _)| *event_type)
    }

    #[test]
    fn every_type_of_every_family_has_an_example_of_its_own_kind() {
        for event_type in types() {
            let data = example_data(event_type).unwrap();
            let needed: &[&str] = match event_type.split('.').next().unwrap() {
                "profile" => &["profile", "eventId"],
                "customer" => &["profile", "subscription", "before", "after", "eventId"],
                "admin" => &["by", "target"],
                "system" => &[],
                "identify" | "page" | "screen" | "group" | "alias" => {
                    assert_eq!(data["kind"], event_type);
                    &["id", "userId", "receivedAt"]
                }
                family => {
                    assert_eq!(
                        (&data["kind"], &data["event"]),
                        (&json!("track"), &json!(event_type))
                    );
                    assert_eq!(data["properties"]["experience"]["type"], family);
                    &["id", "userId", "properties", "receivedAt"]
                }
            };
            assert!(!data.as_object().unwrap().is_empty(), "{event_type}");
            for field in needed {
                assert!(
                    !data[field].is_null(),
                    "{event_type} has no {field}: {data}"
                );
            }
        }
    }

    #[test]
    fn no_two_changes_of_one_target_have_the_same_example() {
        // Of these the type alone tells.
        let told_by_type = ["secret_revealed", "expunged", "replay.paused"];
        let is_told_by_its_type = |event_type: &&str| {
            let mut told = told_by_type.iter();
            told.any(|act| event_type.ends_with(act))
        };
        let mut changes: Vec<String> = types()
            .filter(|event_type| event_type.starts_with("admin."))
            .filter(|event_type| !is_told_by_its_type(event_type))
            .map(|event_type| example_data(event_type).unwrap().to_string())
            .collect();
        let count = changes.len();
        changes.sort_unstable();
        changes.dedup();
        assert_eq!(changes.len(), count);
    }

    #[test]
    fn what_no_family_has_has_no_example() {
        for unknown in [
            "Order Paid",
            "tour",
            "tour.*",
            "admin.",
            "system.unknown",
            "",
        ] {
            assert_eq!(example_data(unknown), None, "{unknown}");
        }
    }
}
