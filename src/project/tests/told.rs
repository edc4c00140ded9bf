//! What webhooks were told, compared with what is in the file: everything once, and as it is.

use super::{ALL, BEGAN_MS, Log, Made, limits, track};
use crate::event::EventKind;
use crate::id::WorkspaceId;
use crate::store::deliveries::{self, ReadLimit};
use crate::store::{journal, profiles};
use crate::time::now_ms;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

impl Log {
    /// Every message that the webhook is owed, in order.
    pub(super) fn told(&self) -> Vec<Value> {
        let mut bodies = Vec::new();
        let list = |connection: &rusqlite::Connection| {
            let Some(unlisted) = deliveries::unlisted(connection, ALL)? else {
                return Ok(false);
            };
            // At a time that is the same for all: so they stay in the order of their ids.
            deliveries::list_as_due(connection, &unlisted, BEGAN_MS)?;
            Ok(true)
        };
        while self.writer.alone_blocking(list).unwrap() {}
        let limit = ReadLimit {
            rows: ALL,
            bytes: usize::MAX,
            rows_at_least: ALL,
        };
        let reader = self.readers.get().unwrap();
        let (due, is_full) = deliveries::due(&reader, self.webhook, None, now_ms(), limit).unwrap();
        assert!(!is_full);
        for owed in due {
            bodies.push(serde_json::from_slice(&owed.body).unwrap());
        }
        bodies
    }

    fn of_type<'m>(told: &'m [Value], event_type: &str) -> Vec<&'m Value> {
        let of_type = told.iter().filter(|message| message["type"] == event_type);
        of_type.map(|message| &message["data"]).collect()
    }

    /// Compares what was told with what is in the file.
    pub(super) fn assert_told(&self) {
        let told = self.told();
        let reader = self.readers.get().unwrap();
        let workspace = WorkspaceId::from_i64(1);
        let mut created = BTreeSet::new();
        for data in Self::of_type(&told, "profile.created") {
            assert!(
                created.insert(text(&data["profile"]["id"])),
                "created twice: {data}"
            );
        }
        let rows = profiles::page(&reader, workspace, None, ALL).unwrap();
        let (mut all, mut merges) = (BTreeSet::new(), BTreeSet::new());
        for row in &rows {
            let parts = profiles::parts(&reader, row.id).unwrap();
            all.extend(parts.iter().map(ToString::to_string));
            let merged = journal::merges(&reader, &parts).unwrap().into_iter();
            let merged = merged.filter(|merge| merge.is_merged);
            merges.extend(
                merged.map(|merge| (merge.profile.to_string(), merge.other.unwrap().to_string())),
            );
        }
        assert_eq!(
            created, all,
            "everybody is told of once, and nobody of another workspace"
        );
        let mut told_merges = BTreeSet::new();
        for data in Self::of_type(&told, "profile.merged") {
            let pair = (text(&data["profile"]["id"]), text(&data["merged"]["id"]));
            assert!(told_merges.insert(pair), "merged twice: {data}");
        }
        assert_eq!(told_merges, merges);
        let mut stages: BTreeMap<String, String> = BTreeMap::new();
        for data in Self::of_type(&told, "profile.stage_changed") {
            let before = stages.insert(text(&data["profile"]["id"]), text(&data["to"]));
            let before = before.unwrap_or_else(|| "awareness".to_owned());
            assert_eq!(
                text(&data["from"]),
                before,
                "one step after the other: {data}"
            );
        }
        for row in &rows {
            let id = row.id.to_string();
            let reached = journal::stages(&reader, row.id)
                .unwrap()
                .last()
                .map(|row| row.stage.as_str().to_owned());
            assert_eq!(stages.get(&id), reached.as_ref());
            let last = told
                .iter()
                .rfind(|message| message["data"]["profile"]["id"] == id.as_str());
            let shown = &last.unwrap()["data"]["profile"];
            let traits = profiles::traits(&reader, row.id).unwrap().into_iter();
            let traits: BTreeMap<_, Value> = traits
                .map(|row| (row.name, serde_json::from_str(&row.value).unwrap()))
                .collect();
            assert_eq!(
                shown["traits"],
                json!(traits),
                "the last message says how it is"
            );
            let identifiers = profiles::identifiers(&reader, workspace, row.id).unwrap();
            let shown = shown["identifiers"].as_object().unwrap().values();
            assert_eq!(
                shown
                    .map(|values| values.as_array().unwrap().len())
                    .sum::<usize>(),
                identifiers.len()
            );
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn identify(user: u8, plan: u8) -> Made {
    Made {
        kind: EventKind::Identify,
        traits: Some(BTreeMap::from([("plan".to_owned(), Some(plan))])),
        ..track(user)
    }
}

#[test]
fn changes_of_one_window_are_told_together() {
    let mut log = Log::new(limits(ALL, ALL));
    log.append(&[identify(1, 1), identify(1, 2)]);
    log.drain();
    log.append(&[identify(1, 3), identify(1, 4), track(1), identify(1, 5)]);
    log.drain();
    // There and back again is no change.
    log.append(&[identify(1, 6), identify(1, 5)]);
    log.drain();
    log.append(&[Made {
        replaces: true,
        traits: Some(BTreeMap::new()),
        ..identify(1, 0)
    }]);
    log.drain();
    let told = log.told();
    let types: Vec<_> = told.iter().map(|message| text(&message["type"])).collect();
    assert_eq!(
        types,
        ["profile.created", "profile.updated", "profile.updated"]
    );
    assert_eq!(told[0]["data"]["profile"]["traits"], json!({"plan": 2}));
    let updated = &told[1]["data"];
    assert_eq!(
        updated["changed"]["traits"],
        json!({"plan": {"before": 2, "after": 5}})
    );
    assert_eq!(updated["eventId"], log.events[5].to_string());
    let emptied = &told[2]["data"];
    assert_eq!(emptied["changed"]["traits"], json!({"plan": {"before": 5}}));
    assert_eq!(emptied["eventId"], log.events[8].to_string());
}

#[test]
fn very_many_traits_are_shown_in_part() {
    let mut log = Log::new(limits(ALL, ALL));
    let traits = (0..12_000).map(|n| (format!("a trait with a long name {n}"), Some(1)));
    log.append(&[Made {
        traits: Some(traits.collect()),
        ..track(1)
    }]);
    log.drain();
    let told = log.told();
    let profile = &told[0]["data"]["profile"];
    assert_eq!(profile["hasMoreTraits"], true);
    let shown = profile["traits"].as_object().unwrap().len();
    assert!((100..=500).contains(&shown), "{shown}");
    // All of them change at once.
    let traits = (0..12_000).map(|n| (format!("a trait with a long name {n}"), Some(2)));
    log.append(&[Made {
        traits: Some(traits.collect()),
        ..track(1)
    }]);
    log.drain();
    let changed = &log.told()[1]["data"]["changed"];
    assert_eq!(changed["hasMoreTraits"], true);
    let shown = changed["traits"].as_object().unwrap().len();
    assert!((100..=500).contains(&shown), "{shown}");
}
