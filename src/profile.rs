//! How traits are merged into a profile (wire.md, "Jimo" and "Churnkey"). Pure.

use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// What is said of one trait: its new value (JSON text), `None` to delete it, and the event that says so.
pub type Said<E> = (Option<String>, E);

/// The last words on one trait. What an unverified sender says stands only where no verified one has set it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraitChange<E> {
    /// By a verified sender.
    pub verified: Option<Said<E>>,
    /// By one without proof, after that.
    pub unverified: Option<Said<E>>,
}

/// What one or several events change in a profile's traits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraitChanges<E> {
    /// Whether every trait that is not in `set` goes away.
    pub replaces: bool,
    /// By name.
    pub set: BTreeMap<String, TraitChange<E>>,
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
    /// deletes, and `replaces` forgets all that came before. An event that is not verified changes
    /// only what no verified one has set (wire.md, "Churnkey").
    ///
    /// # Errors
    /// When the text is no JSON object, which the way in rules out.
    pub fn merge(
        &mut self,
        traits: &str,
        replaces: bool,
        is_verified: bool,
        event: E,
    ) -> serde_json::Result<()> {
        let named: BTreeMap<String, &RawValue> = serde_json::from_str(traits)?;
        if replaces && is_verified {
            self.replaces = true;
            self.set.clear();
        }
        for (name, value) in named {
            let value = (value.get() != "null").then(|| value.get().to_owned());
            let change = self.set.entry(name).or_insert(TraitChange {
                verified: None,
                unverified: None,
            });
            if is_verified {
                change.verified = Some((value, event));
                change.unverified = None;
            } else if !matches!(change.verified, Some((Some(_), _))) {
                change.unverified = Some((value, event));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Values, and whether a verified sender set them.
    type State = BTreeMap<String, (String, bool)>;

    fn apply(state: &mut State, changes: &TraitChanges<u32>) {
        if changes.replaces {
            state.clear();
        }
        for (name, change) in &changes.set {
            let both = [(&change.verified, true), (&change.unverified, false)];
            for (said, is_verified) in both {
                let Some((value, _)) = said else { continue };
                let is_held = state.get(name).is_some_and(|(_, verified)| *verified);
                if is_held && !is_verified {
                    continue;
                }
                match value {
                    Some(value) => state.insert(name.clone(), (value.clone(), is_verified)),
                    None => state.remove(name),
                };
            }
        }
    }

    #[test]
    fn later_wins_null_deletes_and_values_keep_their_bytes() {
        let mut changes = TraitChanges::default();
        changes
            .merge(
                r#"{"plan":"free","seats":9007199254740993}"#,
                false,
                true,
                1,
            )
            .unwrap();
        changes.merge(r#"{"plan":null}"#, false, true, 2).unwrap();
        assert_eq!(changes.set["plan"].verified, Some((None, 2)));
        let seats = Some("9007199254740993".into());
        assert_eq!(changes.set["seats"].verified, Some((seats, 1)));
    }

    #[test]
    fn without_proof_nobody_overwrites_what_is_proven() {
        let mut changes = TraitChanges::default();
        changes.merge(r#"{"a":1}"#, false, true, 1).unwrap();
        changes.merge(r#"{"a":2,"b":2}"#, false, false, 2).unwrap();
        assert_eq!(changes.set["a"].unverified, None);
        assert_eq!(changes.set["b"].unverified, Some((Some("2".into()), 2)));
        changes.merge(r#"{"b":3}"#, true, false, 3).unwrap();
        assert!(!changes.replaces);
        changes.merge(r#"{"b":null}"#, false, true, 4).unwrap();
        assert_eq!(changes.set["b"].verified, Some((None, 4)));
        assert_eq!(changes.set["b"].unverified, None);
    }

    proptest! {
        /// Coalescing a slice of the log must change nothing about where it leads.
        #[test]
        fn merging_first_is_the_same_as_applying_one_by_one(
            steps in proptest::collection::vec(
                (any::<bool>(), any::<bool>(), proptest::collection::btree_map("[a-c]", proptest::option::of(0u8..3), 0..3)), 0..8),
        ) {
            let (mut one_by_one, mut at_once) = (State::new(), State::new());
            one_by_one.insert("a".into(), ("\"before\"".into(), true));
            one_by_one.insert("b".into(), ("\"before\"".into(), false));
            at_once.clone_from(&one_by_one);
            let mut all = TraitChanges::default();
            for (event, (replaces, is_verified, traits)) in steps.into_iter().enumerate() {
                let text = serde_json::to_string(&traits).unwrap();
                let event = u32::try_from(event).unwrap();
                let mut one = TraitChanges::default();
                one.merge(&text, replaces, is_verified, event).unwrap();
                apply(&mut one_by_one, &one);
                all.merge(&text, replaces, is_verified, event).unwrap();
            }
            apply(&mut at_once, &all);
            prop_assert_eq!(one_by_one, at_once);
        }
    }
}
