//! Funnels: the four stages of a person's way, and which events lead to them (wire.md, "FunnelFizz"). Pure.

use crate::error::{Error, Result};
use crate::normalize::MAX_NAME_CHARS;

/// How far a person has come. Nobody goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Where everybody begins.
    Awareness,
    /// Signed up, or said who it is.
    Consideration,
    /// Tries it out.
    Trial,
    /// Pays, or did.
    Customer,
}

impl Stage {
    /// Every stage, in order.
    pub const ALL: [Self; 4] = [
        Self::Awareness,
        Self::Consideration,
        Self::Trial,
        Self::Customer,
    ];

    /// The word in the file, in forms and in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Awareness => "awareness",
            Self::Consideration => "consideration",
            Self::Trial => "trial",
            Self::Customer => "customer",
        }
    }

    /// The stage of that name, in any case.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|stage| stage.as_str().eq_ignore_ascii_case(text))
    }

    /// Its place, from 0.
    pub fn rank(self) -> i64 {
        match self {
            Self::Awareness => 0,
            Self::Consideration => 1,
            Self::Trial => 2,
            Self::Customer => 3,
        }
    }

    /// The stage at a place.
    pub fn at(rank: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.rank() == rank)
    }

    /// As pages name it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Awareness => "Awareness",
            Self::Consideration => "Consideration",
            Self::Trial => "Trial",
            Self::Customer => "Customer",
        }
    }
}

/// A workspace's first funnel.
pub const DEFAULT_NAME: &str = "Default";

/// The event types that lead to a stage in a new funnel (wire.md, "FunnelFizz").
pub const DEFAULT_RULES: [(&str, Stage); 4] = [
    ("signup", Stage::Consideration),
    ("identify", Stage::Consideration),
    ("trial_signup", Stage::Trial),
    ("trial_start", Stage::Trial),
];

/// Event types that one funnel names, at most.
pub const MAX_RULES: usize = 200;

/// What a person writes of a funnel's stages: for each, the event types that lead there, one a line.
///
/// # Errors
/// Names the stage's field where a type is too long, or leads to two stages.
pub fn check_rules(lines: &[(Stage, String)]) -> Result<Vec<(String, Stage)>> {
    let mut rules: Vec<(String, Stage)> = Vec::new();
    for (stage, text) in lines {
        let refuse =
            |code, detail: String| Err(Error::field(format!("/{}", stage.as_str()), code, detail));
        for name in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            if name.chars().count() > MAX_NAME_CHARS {
                let detail = format!("An event type has at most {MAX_NAME_CHARS} characters.");
                return refuse("too_long", detail);
            }
            if let Some((_, other)) = rules.iter().find(|(known, _)| known == name) {
                let detail = format!(
                    "{name} leads to {} already; an event leads to one stage.",
                    other.label()
                );
                return refuse("two_stages", detail);
            }
            if rules.len() >= MAX_RULES {
                let detail = format!("A funnel names at most {MAX_RULES} event types.");
                return refuse("too_many", detail);
            }
            rules.push((name.to_owned(), *stage));
        }
    }
    Ok(rules)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_a_type_and_leads_to_one_stage() {
        let rules = |consideration: &str, trial: &str| {
            check_rules(&[
                (Stage::Consideration, consideration.to_owned()),
                (Stage::Trial, trial.to_owned()),
            ])
        };
        assert_eq!(
            rules(" signup \r\n\nAccount Created", "trial_start").unwrap(),
            [
                ("signup".to_owned(), Stage::Consideration),
                ("Account Created".to_owned(), Stage::Consideration),
                ("trial_start".to_owned(), Stage::Trial),
            ]
        );
        let refused = rules("signup", "signup").unwrap_err();
        assert_eq!(refused.field_errors()[0].pointer, "/trial");
        assert_eq!(rules(&"x".repeat(201), "").unwrap_err().code(), "too_long");
        let many = (0..201).map(|n| format!("e{n}\n")).collect::<String>();
        assert_eq!(rules(&many, "").unwrap_err().code(), "too_many");
    }

    #[test]
    fn every_stage_is_found_by_its_word_and_its_place() {
        for stage in Stage::ALL {
            assert_eq!(Stage::parse(&stage.as_str().to_uppercase()), Some(stage));
            assert_eq!(Stage::at(stage.rank()), Some(stage));
        }
        assert!(Stage::ALL.is_sorted_by_key(|stage| stage.rank()));
        assert_eq!(Stage::parse("churned"), None);
        assert_eq!(Stage::at(4), None);
    }
}
