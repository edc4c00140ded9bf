//! The events that a webhook can be told to want: what came here, the families that every workspace knows,
//! and what is written by hand.

use super::format::number;
use crate::event_type::FAMILIES;
use crate::store::profiles::EventTypeRow;
use std::collections::BTreeSet;

/// Seen event types that are read for the form.
pub(super) const MAX_SEEN: usize = 300;
/// Seen event types that are offered as check boxes; the rest is offered while writing.
const MAX_CHOICES: usize = 60;
/// Rows to write in that are there before any is asked for, so that it works without a script.
pub(super) const BLANK_ROWS: usize = 2;

/// One event, or a pattern of some, to tick.
pub(super) struct Choice {
    /// What is sent for it.
    pub(super) name: String,
    /// What it means; may be empty.
    pub(super) about: &'static str,
    /// How often it came, where it did.
    pub(super) events: Option<String>,
    /// Whether it is ticked.
    pub(super) is_chosen: bool,
}

/// Events that belong together.
pub(super) struct Group {
    /// What it is called.
    pub(super) title: &'static str,
    /// What it is about.
    pub(super) about: &'static str,
    /// Whether it stands open: something in it is ticked, or it is the workspace's own.
    pub(super) is_open: bool,
    /// What is in it.
    pub(super) choices: Vec<Choice>,
}

/// Everything that is offered.
pub(super) struct Catalog {
    /// Whether every event is wanted.
    pub(super) wants_all: bool,
    /// What can be ticked.
    pub(super) groups: Vec<Group>,
    /// What was written by hand, and blank rows behind it.
    pub(super) written: Vec<String>,
    /// What is offered while writing.
    pub(super) suggestions: Vec<String>,
}

impl Catalog {
    /// The catalog of a workspace that has `seen` these types, with `wanted` ticked and written.
    pub(super) fn new(seen: &[EventTypeRow], wanted: &[String]) -> Self {
        let is_wanted = |name: &str| wanted.iter().any(|known| known.trim() == name);
        let count = |name: &str| {
            let row = seen.iter().find(|row| row.name == name);
            row.map(|row| number(row.events))
        };
        let choice = |name: &str, about| Choice {
            events: count(name),
            is_chosen: is_wanted(name),
            name: name.to_owned(),
            about,
        };
        let known: BTreeSet<&str> = FAMILIES
            .iter()
            .flat_map(|family| family.types.iter().map(|(name, _)| *name))
            .collect();
        let mut own = seen.iter().filter(|row| !known.contains(&*row.name));
        let mut groups = vec![Group {
            title: "Your own",
            about: "What your apps have sent",
            is_open: true,
            choices: own
                .by_ref()
                .take(MAX_CHOICES)
                .map(|row| choice(&row.name, ""))
                .collect(),
        }];
        groups.extend(FAMILIES.iter().map(|family| {
            let all = family
                .pattern
                .map(|pattern| choice(pattern, "All of them, also those that come later"));
            let types = family.types.iter().map(|(name, about)| choice(name, about));
            let choices: Vec<_> = all.into_iter().chain(types).collect();
            Group {
                title: family.title,
                about: family.about,
                is_open: choices.iter().any(|choice| choice.is_chosen),
                choices,
            }
        }));
        groups.retain(|group| !group.choices.is_empty());
        let is_offered = |name: &str| {
            let mut choices = groups.iter().flat_map(|group| &group.choices);
            choices.any(|choice| choice.name == name)
        };
        let mut written: Vec<String> = wanted
            .iter()
            .filter(|name| !matches!(name.trim(), "" | "*") && !is_offered(name.trim()))
            .cloned()
            .collect();
        written.extend(std::iter::repeat_n(String::new(), BLANK_ROWS));
        Self {
            wants_all: is_wanted("*"),
            suggestions: own.map(|row| row.name.clone()).collect(),
            groups,
            written,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str) -> EventTypeRow {
        EventTypeRow {
            name: name.to_owned(),
            events: 1_234,
            last_seen_at_ms: 0,
        }
    }

    #[test]
    fn what_is_offered_is_ticked_and_the_rest_is_written() {
        let seen = [row("Post Created"), row("tour.started")];
        let wanted = ["Post Created", "tour.*", "order.*", "*", " "].map(str::to_owned);
        let catalog = Catalog::new(&seen, &wanted);
        assert!(catalog.wants_all);
        assert_eq!(catalog.written, ["order.*", "", ""]);
        let own = &catalog.groups[0];
        assert_eq!(
            own.choices.len(),
            1,
            "a family's type stands with its family"
        );
        assert!(own.choices[0].is_chosen);
        assert_eq!(own.choices[0].events.as_deref(), Some("1,234"));
        let tours = catalog.groups.iter().find(|group| group.title == "Tours");
        let tours = tours.unwrap();
        assert!(tours.is_open && tours.choices[0].is_chosen);
        assert_eq!(tours.choices[0].name, "tour.*");
        let started = tours.choices.iter().find(|c| c.name == "tour.started");
        assert!(started.unwrap().events.is_some());
        let hints = catalog.groups.iter().find(|group| group.title == "Hints");
        assert!(!hints.unwrap().is_open);
    }

    #[test]
    fn no_more_than_what_can_be_looked_over_is_ticked() {
        let seen: Vec<_> = (0..100).map(|n| row(&format!("own {n:03}"))).collect();
        let catalog = Catalog::new(&seen, &[]);
        assert_eq!(catalog.groups[0].choices.len(), MAX_CHOICES);
        assert_eq!(catalog.suggestions.len(), 100 - MAX_CHOICES);
        let nothing = Catalog::new(&[], &[]);
        assert_ne!(nothing.groups[0].title, "Your own");
    }
}
