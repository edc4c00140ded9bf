//! The replay's rules: which deliveries it sends once more, how fast, what may be done with it when, and
//! how far it has come. Pure: the clock is an argument.

use crate::delivery::DeliveryState;
use crate::error::{Error, Kind, Result};
use crate::id::{DeliveryId, WebhookId};
use crate::time::parse_or_utc;
use crate::webhook::Pattern;
use std::collections::VecDeque;

/// Deliveries a second, where nobody says otherwise.
pub const DEFAULT_RATE: u32 = 10;
/// Deliveries a second, at most.
pub const MAX_RATE: u32 = 1_000;
/// Attempts in a row that fail before the box pauses a replay: a receiver that is down gets no storm.
pub const MAX_FAILURES_IN_ROW: u32 = 100;
/// Deliveries that are counted before a replay is started; of more it is said that there are more.
pub const ESTIMATE_LIMIT: usize = 10_000;
/// Replays of a box that run at once.
pub const MAX_RUNNING: usize = 32;
/// Deliveries that can be chosen one by one, at once.
pub const MAX_CHOSEN: usize = 200;

/// Where a replay stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplayState {
    /// Made and counted; it waits for a person to start it.
    Ready,
    /// It sends.
    Running,
    /// Stopped for now, by a person, or by the box, which says why.
    Paused,
    /// All of it was sent or passed over.
    Done,
    /// A person gave it up.
    Cancelled,
}

impl ReplayState {
    /// The word in the file and on pages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
        }
    }

    /// The state of that name.
    pub fn parse(text: &str) -> Option<Self> {
        [
            Self::Ready,
            Self::Running,
            Self::Paused,
            Self::Done,
            Self::Cancelled,
        ]
        .into_iter()
        .find(|state| state.as_str() == text)
    }

    /// Whether it can be started, for the first time or again.
    pub fn may_start(self) -> bool {
        matches!(self, Self::Ready | Self::Paused)
    }

    /// Whether it can be stopped for now.
    pub fn may_pause(self) -> bool {
        self == Self::Running
    }

    /// Whether it can be given up.
    pub fn may_cancel(self) -> bool {
        matches!(self, Self::Ready | Self::Running | Self::Paused)
    }
}

/// Which deliveries of a workspace are meant.
#[derive(Debug, Clone, PartialEq)]
pub struct Selection {
    /// Of one webhook only.
    pub webhook: Option<WebhookId>,
    /// Only those that stand so.
    pub state: Option<DeliveryState>,
    /// Only of types that match.
    pub event_type: Option<Pattern>,
    /// Only later than this one.
    pub after: DeliveryId,
    /// And earlier than this one.
    pub before: DeliveryId,
    /// Whether tests of a webhook are meant as well.
    pub with_tests: bool,
}

impl Default for Selection {
    fn default() -> Self {
        Self {
            webhook: None,
            state: None,
            event_type: None,
            after: DeliveryId::from_i64(0),
            before: DeliveryId::from_i64(i64::MAX),
            with_tests: true,
        }
    }
}

/// A delivery that was looked at, as far as a selection asks.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Its id.
    pub id: DeliveryId,
    /// Owed to.
    pub webhook: WebhookId,
    /// Where it stands.
    pub state: DeliveryState,
    /// Whether it was made to try the webhook.
    pub is_test: bool,
    /// The type of its message.
    pub event_type: String,
}

impl Selection {
    /// Whether a delivery is meant; which webhook's it is and when it was made is looked for by index.
    pub fn matches(&self, candidate: &Candidate) -> bool {
        self.state.is_none_or(|state| state == candidate.state)
            && (self.with_tests || !candidate.is_test)
            && self
                .event_type
                .as_ref()
                .is_none_or(|pattern| pattern.matches(&candidate.event_type))
    }

    /// Whether a delivery is passed over although it matches: somebody gave it up, and nobody asks for just those.
    pub fn passes_over(&self, candidate: &Candidate) -> bool {
        let given_up = DeliveryState::Cancelled;
        candidate.state == given_up && self.state != Some(given_up)
    }

    /// Whether all that is looked at is meant.
    pub fn is_everything(&self) -> bool {
        self.state.is_none() && self.event_type.is_none() && self.with_tests
    }
}

/// A moment that a person wrote into `field`, Unix milliseconds: a span back from `now_ms` (`1h`, `24h`,
/// `7d`), RFC 3339, or a date-time without an offset, which is UTC.
///
/// # Errors
/// Names the field and what can be written.
pub fn moment(field: &'static str, text: &str, now_ms: i64) -> Result<i64> {
    let text = text.trim();
    let span = || {
        // A bare number is no span: humantime would refuse it, and so is said below.
        let span = humantime::parse_duration(text).ok()?;
        let span_ms = i64::try_from(span.as_millis()).ok()?;
        (span_ms <= now_ms).then(|| now_ms - span_ms)
    };
    parse_or_utc(text).or_else(span).ok_or_else(|| {
        let detail = "Write a date and time (UTC) such as 2026-11-25T10:00, with an offset if it is another zone's, or how long ago, such as 1h, 24h or 7d.";
        Error::field(format!("/{field}"), "invalid_time", detail)
    })
}

/// A rate that a person wrote, deliveries a second; nothing is [`DEFAULT_RATE`].
///
/// # Errors
/// Names the field `rate`.
pub fn rate(text: &str) -> Result<u32> {
    match text.trim() {
        "" => Ok(DEFAULT_RATE),
        text => text
            .parse()
            .ok()
            .filter(|rate| (1..=MAX_RATE).contains(rate))
            .ok_or_else(|| {
                let detail =
                    format!("Write a whole number of deliveries a second, from 1 to {MAX_RATE}.");
                Error::field("/rate", "invalid_rate", detail)
            }),
    }
}

/// What a person asked of a replay that it cannot do where it stands.
pub fn not_now(what: &str, state: ReplayState) -> Error {
    let message = format!(
        "This replay is {} by now, so it cannot be {what}; reload its page.",
        state.as_str()
    );
    Error::new(Kind::Conflict, "replay_state", message)
}

/// What became of one delivery of a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver answered 2xx.
    Succeeded,
    /// It did not.
    Failed,
    /// It could not or should not be sent any more.
    Skipped,
}

/// How many deliveries of a replay came to what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Attempts made.
    pub sent: i64,
    /// Of them, those with a 2xx answer.
    pub succeeded: i64,
    /// Of them, those without.
    pub failed: i64,
    /// Deliveries that could not or should not be sent any more.
    pub skipped: i64,
}

impl Counts {
    fn add(&mut self, outcome: Outcome) {
        self.sent += i64::from(outcome != Outcome::Skipped);
        match outcome {
            Outcome::Succeeded => self.succeeded += 1,
            Outcome::Failed => self.failed += 1,
            Outcome::Skipped => self.skipped += 1,
        }
    }

    /// Takes those of `expected` that were not met for skipped: they were swept, or do not match any more.
    fn skip_rest(&mut self, expected: i64) {
        self.skipped += (expected - self.done()).max(0);
    }

    /// Deliveries that it is done with.
    pub fn done(&self) -> i64 {
        self.sent + self.skipped
    }
}

/// How far a replay has come. Answers come in any order, but the place moves over what is done without a
/// gap only, and counts are of what lies behind it: what is written of both is true after a crash, too.
#[derive(Debug)]
pub struct Progress {
    place: DeliveryId,
    counts: Counts,
    open: VecDeque<(DeliveryId, Option<Outcome>)>,
    failures_in_row: u32,
}

impl Progress {
    /// Goes on from what was written.
    pub fn new(place: DeliveryId, counts: Counts) -> Self {
        Self {
            place,
            counts,
            open: VecDeque::new(),
            failures_in_row: 0,
        }
    }

    /// A delivery is sent; later than all before it.
    pub fn begin(&mut self, delivery: DeliveryId) {
        self.open.push_back((delivery, None));
    }

    /// It is known what became of it.
    pub fn end(&mut self, delivery: DeliveryId, outcome: Outcome) {
        match outcome {
            Outcome::Succeeded => self.failures_in_row = 0,
            Outcome::Failed => self.failures_in_row += 1,
            Outcome::Skipped => {}
        }
        if let Some(entry) = self.open.iter_mut().find(|(open, _)| *open == delivery) {
            entry.1 = Some(outcome);
        }
        while let Some((delivery, Some(outcome))) = self.open.front().copied() {
            self.open.pop_front();
            self.place = delivery;
            self.counts.add(outcome);
        }
    }

    /// All of it is done: what was counted and not met is skipped, so that the counts come to `expected`.
    pub fn finish(&mut self, expected: i64) {
        self.counts.skip_rest(expected);
    }

    /// Everything up to there was looked at, and what was not sent is not meant. Only while nothing is open.
    pub fn pass(&mut self, place: DeliveryId) {
        if self.open.is_empty() {
            self.place = self.place.max(place);
        }
    }

    /// Deliveries beyond the place that were begun.
    pub fn open(&self) -> usize {
        self.open.len()
    }

    /// Up to where everything is done, and what it came to.
    pub fn reached(&self) -> (DeliveryId, Counts) {
        (self.place, self.counts)
    }

    /// Whether so many attempts have failed one after the other that it had better stop.
    pub fn is_hopeless(&self) -> bool {
        self.failures_in_row >= MAX_FAILURES_IN_ROW
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW_MS: i64 = 1_764_060_000_000;

    #[test]
    fn a_moment_is_a_time_or_a_span() {
        let read = |text: &str| moment("since", text, NOW_MS).ok();
        assert_eq!(read("1h"), Some(NOW_MS - 3_600_000));
        assert_eq!(read(" 7d "), Some(NOW_MS - 7 * 86_400_000));
        assert_eq!(read("2025-11-25T08:00"), read("2025-11-25T10:00:00+02:00"));
        assert_eq!(read("2025-11-25"), read("2025-11-25T00:00:00Z"));
        for wrong in ["", "yesterday", "-1h", "24", "9999999999h", "2025-13-01"] {
            let error = moment("since", wrong, NOW_MS).unwrap_err();
            assert_eq!(error.field_errors()[0].pointer, "/since", "{wrong}");
        }
    }

    #[test]
    fn a_rate_is_bounded() {
        assert_eq!(rate("").ok(), Some(DEFAULT_RATE));
        assert_eq!(rate(" 1000 ").ok(), Some(1_000));
        for wrong in ["0", "1001", "-1", "1.5", "many"] {
            assert_eq!(rate(wrong).unwrap_err().field_errors()[0].pointer, "/rate");
        }
    }

    #[test]
    fn a_selection_asks_for_all_that_it_names() {
        let candidate = Candidate {
            id: DeliveryId::from_i64(5),
            webhook: WebhookId::from_i64(1),
            state: DeliveryState::Failed,
            is_test: false,
            event_type: "order.placed".to_owned(),
        };
        let failed = Selection {
            state: Some(DeliveryState::Failed),
            with_tests: false,
            ..Selection::default()
        };
        assert!(failed.matches(&candidate) && Selection::default().is_everything());
        let test = Candidate {
            is_test: true,
            ..candidate.clone()
        };
        assert!(!failed.matches(&test) && Selection::default().matches(&test));
        let of = |pattern: &str| Selection {
            event_type: Some(pattern.parse().unwrap()),
            ..failed.clone()
        };
        assert!(of("order.*").matches(&candidate));
        assert!(!of("order").matches(&candidate));
    }

    #[test]
    fn what_can_be_done_depends_on_where_it_stands() {
        let all = ["ready", "running", "paused", "done", "cancelled"];
        let may = |what: fn(ReplayState) -> bool| -> Vec<&str> {
            let state = |text: &str| ReplayState::parse(text).unwrap();
            all.into_iter().filter(|text| what(state(text))).collect()
        };
        assert_eq!(may(ReplayState::may_start), ["ready", "paused"]);
        assert_eq!(may(ReplayState::may_pause), ["running"]);
        assert_eq!(may(ReplayState::may_cancel), ["ready", "running", "paused"]);
    }

    #[test]
    fn a_receiver_that_is_down_stops_a_replay() {
        let mut progress = Progress::new(DeliveryId::from_i64(0), Counts::default());
        for id in (1..).map(DeliveryId::from_i64).take(100) {
            assert!(!progress.is_hopeless());
            progress.begin(id);
            progress.end(id, Outcome::Failed);
        }
        assert!(progress.is_hopeless());
    }

    #[test]
    fn what_was_counted_and_not_met_is_skipped() {
        let mut progress = Progress::new(DeliveryId::from_i64(0), Counts::default());
        progress.begin(DeliveryId::from_i64(1));
        progress.end(DeliveryId::from_i64(1), Outcome::Succeeded);
        progress.finish(3);
        let (_, counts) = progress.reached();
        assert_eq!((counts.sent, counts.skipped, counts.done()), (1, 2, 3));
        progress.finish(0);
        assert_eq!(progress.reached().1, counts, "more than were counted");
    }

    proptest! {
        /// Whatever the order of the answers: the place has nothing open before it, and the counts are of
        /// what lies up to it.
        #[test]
        fn the_place_passes_over_no_gap(order in Just((1..=20i64).collect::<Vec<_>>()).prop_shuffle()) {
            let mut progress = Progress::new(DeliveryId::from_i64(0), Counts::default());
            (1..=20).map(DeliveryId::from_i64).for_each(|id| progress.begin(id));
            let mut ended = std::collections::BTreeSet::new();
            for id in order {
                let outcome = match id % 3 {
                    0 => Outcome::Skipped,
                    1 => Outcome::Failed,
                    _ => Outcome::Succeeded,
                };
                progress.end(DeliveryId::from_i64(id), outcome);
                ended.insert(id);
                progress.pass(DeliveryId::from_i64(99));
                let (place, counts) = progress.reached();
                let whole = (1..=20).take_while(|id| ended.contains(id)).last().unwrap_or(0);
                let expected = if whole == 20 { 99 } else { whole };
                prop_assert_eq!(place.as_i64(), expected);
                prop_assert_eq!(counts.done(), whole);
            }
            let (_, counts) = progress.reached();
            prop_assert_eq!((counts.sent, counts.succeeded, counts.failed, counts.skipped), (14, 7, 7, 6));
        }
    }
}
