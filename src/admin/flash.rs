//! What a page says after a change, once: a word from a closed list and a count, in the address
//! that the change redirects to. Nothing that a stranger writes can be put on a page this way.

use super::format::number;

use serde::Deserialize;

/// What can be said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    /// A workspace has another name.
    Renamed,
    /// A webhook was changed.
    Saved,
    /// A webhook was changed, and its URL cannot be reached.
    SavedOutOfReach,
    /// A webhook signs with its newest key alone.
    OverlapEnded,
    /// A webhook was paused.
    Paused,
    /// A webhook sends again, and what was held is on its way.
    ActivatedSent,
    /// A webhook sends again, and what was held is given up.
    ActivatedDiscarded,
    /// A webhook is gone.
    Deleted,
    /// A source was changed.
    SourceSaved,
    /// What Stripe signs with is kept.
    StripeSecretKept,
    /// A key does not work any more.
    Revoked,
    /// An attempt was asked for.
    Retrying,
    /// A webhook is being tried.
    Tested,
    /// Deliveries were given up.
    Cancelled,
    /// A past event is on its way once more.
    Resent,
    /// A payload is gone.
    Expunged,
    /// Two profiles are about to be taken apart.
    Undoing,
    /// A funnel was made or changed.
    FunnelSaved,
    /// The limit of active people was set or taken away.
    LimitSet,
    /// An event type was declared, or what is declared of it was changed.
    Declared,
    /// What was declared of an event type is gone.
    Undeclared,
}

const ALL: [(Said, &str); 21] = [
    (Said::Tested, "tested"),
    (Said::Cancelled, "cancelled"),
    (Said::Resent, "resent"),
    (Said::Expunged, "expunged"),
    (Said::Undoing, "undoing"),
    (Said::FunnelSaved, "funnel-saved"),
    (Said::LimitSet, "limit-set"),
    (Said::Renamed, "renamed"),
    (Said::Saved, "saved"),
    (Said::SavedOutOfReach, "saved-out-of-reach"),
    (Said::OverlapEnded, "overlap-ended"),
    (Said::Paused, "paused"),
    (Said::ActivatedSent, "activated-sent"),
    (Said::ActivatedDiscarded, "activated-discarded"),
    (Said::Deleted, "deleted"),
    (Said::SourceSaved, "source-saved"),
    (Said::StripeSecretKept, "stripe-secret-kept"),
    (Said::Revoked, "revoked"),
    (Said::Retrying, "retrying"),
    (Said::Declared, "declared"),
    (Said::Undeclared, "undeclared"),
];

/// The part of a query that carries it.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Flash {
    said: Option<String>,
    n: Option<u32>,
}

/// `path` with what its page is to say.
pub(super) fn to(path: &str, said: Said, count: usize) -> String {
    let word = ALL
        .iter()
        .find(|(known, _)| *known == said)
        .map_or("", |(_, word)| *word);
    format!("{path}?said={word}&n={count}")
}

impl Flash {
    /// The count that was said with a retry or a test: the attempts there were when it was asked for.
    pub(super) fn attempts_before_retry(&self) -> Option<i64> {
        let is_retry = matches!(self.said.as_deref(), Some("retrying" | "tested"));
        is_retry.then(|| i64::from(self.n.unwrap_or(0)))
    }

    /// The sentence, if the address carries one.
    pub(super) fn text(&self) -> Option<String> {
        let word = self.said.as_deref()?;
        let (said, _) = ALL.iter().find(|(_, known)| *known == word)?;
        let n = self.n.unwrap_or(0);
        let deliveries = match n {
            1 => "1 delivery".to_owned(),
            n => format!("{} deliveries", number(i64::from(n))),
        };
        Some(match (said, n) {
            (Said::Renamed, _) => "The workspace has its new name.".to_owned(),
            (Said::Saved, _) => "The webhook was saved.".to_owned(),
            (Said::SavedOutOfReach, _) => {
                "The webhook was saved, but its URL could not be reached just now. Edit it and check the URL to see why."
                    .to_owned()
            }
            (Said::OverlapEnded, _) => {
                "The webhook signs with its newest key alone from now on.".to_owned()
            }
            (Said::Paused, 0) => "The webhook is paused. New events are held for it.".to_owned(),
            (Said::Paused, _) => {
                format!(
                    "The webhook is paused. {deliveries} that waited are held, and new events will be."
                )
            }
            (Said::ActivatedSent | Said::ActivatedDiscarded, 0) => {
                "The webhook is active.".to_owned()
            }
            (Said::ActivatedSent, _) => {
                format!("The webhook is active, and {deliveries} that were held are being sent.")
            }
            (Said::ActivatedDiscarded, _) => {
                format!("The webhook is active; {deliveries} that were held are cancelled.")
            }
            (Said::Deleted, 0) => "The webhook is deleted.".to_owned(),
            (Said::Deleted, _) => {
                format!("The webhook is deleted; {deliveries} that were owed are cancelled.")
            }
            (Said::SourceSaved, _) => "The source was saved.".to_owned(),
            (Said::StripeSecretKept, _) => {
                "Stripe's signing secret is kept. Events that it signs are taken from now on."
                    .to_owned()
            }
            (Said::Revoked, _) => {
                "The key is revoked. The next request with it is refused.".to_owned()
            }
            (Said::Undoing, _) => {
                "The two profiles are being taken apart. Reload the page in a moment.".to_owned()
            }
            (Said::FunnelSaved, _) => {
                "The funnel was saved. Events from now on follow it.".to_owned()
            }
            (Said::LimitSet, _) => "The limit was saved.".to_owned(),
            (Said::Declared, _) => {
                "The event type was saved. The next event of it is checked by its schema."
                    .to_owned()
            }
            (Said::Undeclared, _) => "What was declared of the event type is gone.".to_owned(),
            (Said::Tested, _) => {
                "The test is on its way. Its answer shows up here by itself.".to_owned()
            }
            (Said::Cancelled, 0) => "Nothing was cancelled: it does not wait any more.".to_owned(),
            (Said::Cancelled, 1) => {
                "1 delivery is cancelled. It is not sent by itself any more.".to_owned()
            }
            (Said::Cancelled, _) => {
                format!("{deliveries} are cancelled. They are not sent by themselves any more.")
            }
            (Said::Resent, 1) => "The event is on its way to 1 webhook.".to_owned(),
            (Said::Resent, n) => {
                format!(
                    "The event is on its way to {} webhooks.",
                    number(i64::from(n))
                )
            }
            (Said::Expunged, _) => {
                "The payload is expunged. What stays is that it was, when, and how it went."
                    .to_owned()
            }
            (Said::Retrying, _) => {
                "An attempt was asked for. It shows up here as soon as it is made.".to_owned()
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_closed_list_is_said() {
        let flash = |said: &str, n| Flash {
            said: Some(said.to_owned()),
            n,
        };
        assert!(
            flash("paused", Some(2))
                .text()
                .unwrap()
                .contains("2 deliveries")
        );
        assert!(flash("<b>", None).text().is_none());
        assert!(Flash::default().text().is_none());
        assert_eq!(to("/w/a", Said::Paused, 3), "/w/a?said=paused&n=3");
        for (said, word) in ALL {
            assert!(to("/", said, 0).contains(word));
        }
    }
}
