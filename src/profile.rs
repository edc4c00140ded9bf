//! How traits are merged into a profile (wire.md, Jimo). Pure.

use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// What one or several events change in a profile's traits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraitChanges<E> {
    /// Whether every trait that is not in `set` goes away.
    pub replaces: bool,
    /// The new value (JSON text) and the event it came with; `None` deletes the trait.
    pub set: BTreeMap<String, (Option<String>, E)>,
}

impl<E> Default for TraitChanges<E> {
    fn default() -> Self {
        Self {
            replaces: false,
            set: BTreeMap::new(),
        }
    }
}

impl<E: Copy> TraitChanges<E> {
    /// Adds a later event's traits (the text of a JSON object): what it names wins, `null`
    /// deletes, and `replaces` forgets all that came before.
    ///
    /// # Errors
    /// When the text is no JSON object, which the way in rules out.
    pub fn merge(&mut self, traits: &str, replaces: bool, event: E) -> serde_json::Result<()> {
        let named: BTreeMap<String, &RawValue> = serde_json::from_str(traits)?;
        if replaces {
            self.replaces = true;
            self.set.clear();
        }
        for (name, value) in named {
            let value = (value.get() != "null").then(|| value.get().to_owned());
            self.set.insert(name, (value, event));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type State = BTreeMap<String, String>;

    fn apply(state: &mut State, changes: &TraitChanges<u32>) {
        if changes.replaces {
            state.clear();
        }
        for (name, (value, _)) in &changes.set {
            match value {
                Some(value) => state.insert(name.clone(), value.clone()),
                None => state.remove(name),
            };
        }
    }

    #[test]
    fn later_wins_null_deletes_and_values_keep_their_bytes() {
        let mut changes = TraitChanges::default();
        changes
            .merge(r#"{"plan":"free","seats":9007199254740993}"#, false, 1)
            .unwrap();
        changes.merge(r#"{"plan":null}"#, false, 2).unwrap();
        assert_eq!(changes.set["plan"], (None, 2));
        assert_eq!(changes.set["seats"], (Some("9007199254740993".into()), 1));
    }

    proptest! {
        /// Coalescing a slice of the log must change nothing about where it leads.
        #[test]
        fn merging_first_is_the_same_as_applying_one_by_one(
            steps in proptest::collection::vec(
                (any::<bool>(), proptest::collection::btree_map("[a-c]", proptest::option::of(0u8..3), 0..3)), 0..8),
        ) {
            let (mut one_by_one, mut at_once) = (State::new(), State::new());
            one_by_one.insert("a".into(), "\"before\"".into());
            at_once.clone_from(&one_by_one);
            let mut all = TraitChanges::default();
            for (event, (replaces, traits)) in steps.into_iter().enumerate() {
                let text = serde_json::to_string(&traits).unwrap();
                let event = u32::try_from(event).unwrap();
                let mut one = TraitChanges::default();
                one.merge(&text, replaces, event).unwrap();
                apply(&mut one_by_one, &one);
                all.merge(&text, replaces, event).unwrap();
            }
            apply(&mut at_once, &all);
            prop_assert_eq!(one_by_one, at_once);
        }
    }
}
