//! Funnels: the four stages of a person's way, and which events lead to them (wire.md, "FunnelFizz"). Pure.

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

#[cfg(test)]
mod tests {
    use super::*;

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
