//! The delivery's rules: its states, the retry schedule, and where it stands after an attempt.
//! Pure: the clock and the dice are arguments.

pub use crate::failure::ErrorClass;

use crate::id::AttemptId;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Where a delivery stands (webhooks.md, "Words").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryState {
    /// Due now, or waiting for its next attempt.
    Pending,
    /// An attempt got a 2xx.
    Succeeded,
    /// The schedule is exhausted.
    Failed,
    /// Its webhook was paused when the event came, or while it waited.
    Held,
    /// A person gave it up, or its webhook is gone.
    Cancelled,
}

impl DeliveryState {
    /// The word in the file and in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Held => "held",
            Self::Cancelled => "cancelled",
        }
    }

    /// The state of that name.
    pub fn parse(text: &str) -> Option<Self> {
        [
            Self::Pending,
            Self::Succeeded,
            Self::Failed,
            Self::Held,
            Self::Cancelled,
        ]
        .into_iter()
        .find(|state| state.as_str() == text)
    }
}

/// Why an attempt was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// By the schedule.
    Automatic,
    /// By a person.
    Manual,
    /// By a replay that a person started.
    Replay,
    /// To see whether the receiver answers.
    Test,
}

impl Trigger {
    /// The word in the file and on pages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Automatic => "automatic",
            Self::Manual => "manual",
            Self::Replay => "replay",
            Self::Test => "test",
        }
    }
}

/// Why a delivery was made, where not with its event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A person sent a past event to one more webhook.
    Resend,
    /// A person tried the webhook. It is on no schedule: it stands as failed until its one attempt succeeds.
    Test,
}

impl Origin {
    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Resend => "resend",
            Self::Test => "test",
        }
    }

    /// The origin of that name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Resend, Self::Test]
            .into_iter()
            .find(|origin| origin.as_str() == text)
    }
}

/// The delays between attempts: the first before the first attempt, each next one after the
/// attempt before it. As many attempts as there are delays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetrySchedule(Vec<Duration>);

/// A schedule has at most this many attempts.
pub const MAX_ATTEMPTS: usize = 30;
/// A delay of a schedule is at most this long.
pub const MAX_DELAY: Duration = Duration::from_hours(7 * 24);
/// A receiver that asks for a pause gets one of at most this long (webhooks.md, "Schedule").
pub const MAX_RETRY_AFTER: Duration = Duration::from_hours(24);
/// A delivery that keeps the order is tried again until it succeeds: when its schedule is used up, with the
/// last delay, and no sooner than after this time.
const REPEAT_AT_LEAST: Duration = Duration::from_secs(5);

/// Each delay is moved by up to this share either way, so that failures do not come back in step.
pub const JITTER: f64 = 0.2;

impl Default for RetrySchedule {
    /// 0, 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h, 24 h (webhooks.md, "Schedule").
    fn default() -> Self {
        const HOUR_S: u64 = 3_600;
        Self(
            [
                0,
                5,
                300,
                1_800,
                2 * HOUR_S,
                5 * HOUR_S,
                10 * HOUR_S,
                14 * HOUR_S,
                20 * HOUR_S,
                24 * HOUR_S,
            ]
            .map(Duration::from_secs)
            .to_vec(),
        )
    }
}

impl RetrySchedule {
    /// A schedule of these delays; an empty one is one attempt at once.
    pub fn new(delays: Vec<Duration>) -> Self {
        Self(delays)
    }

    /// How many automatic attempts a delivery gets; at least one.
    pub fn attempts(&self) -> usize {
        self.0.len().max(1)
    }

    /// When the next automatic attempt is due after `made` of them, the last of which ended at
    /// `now_ms`; `None` when the schedule is exhausted. `dice` is uniform in 0..1.
    pub fn next_attempt_ms(&self, made: usize, now_ms: i64, dice: f64) -> Option<i64> {
        let delay = *self.0.get(made)?;
        Some(Self::after(delay, now_ms, dice))
    }

    fn after(delay: Duration, now_ms: i64, dice: f64) -> i64 {
        let factor = 1.0 + JITTER * (2.0 * dice.clamp(0.0, 1.0) - 1.0);
        let delay_ms = i64::try_from(delay.mul_f64(factor).as_millis()).unwrap_or(i64::MAX);
        now_ms.saturating_add(delay_ms)
    }
}

impl FromStr for RetrySchedule {
    type Err = String;

    /// Delays with commas between them, such as `0s,5s,5m`.
    fn from_str(text: &str) -> Result<Self, String> {
        let delay = |text: &str| {
            let delay = humantime::parse_duration(text.trim()).map_err(|e| {
                format!("\"{}\": {e}; write delays such as 0s,5s,5m,2h", text.trim())
            })?;
            if delay > MAX_DELAY {
                return Err(format!("\"{}\": a delay is at most 7 days", text.trim()));
            }
            Ok(delay)
        };
        let delays = text.split(',').map(delay).collect::<Result<Vec<_>, _>>()?;
        if delays.len() > MAX_ATTEMPTS {
            return Err(format!("a schedule has at most {MAX_ATTEMPTS} attempts"));
        }
        Ok(Self(delays))
    }
}

impl fmt::Display for RetrySchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, delay) in self.0.iter().enumerate() {
            let comma = if n > 0 { "," } else { "" };
            // Without the blanks between hours and minutes.
            let delay = humantime::format_duration(*delay)
                .to_string()
                .replace(' ', "");
            write!(f, "{comma}{delay}")?;
        }
        Ok(())
    }
}

/// What came of an attempt, as far as it matters for the next one.
#[derive(Debug, Clone, Copy)]
pub struct Tried {
    /// Which.
    pub attempt: AttemptId,
    /// Why it was made.
    pub trigger: Trigger,
    /// Whether the receiver answered 2xx.
    pub succeeded: bool,
    /// When it ended, Unix milliseconds.
    pub ended_at_ms: i64,
    /// How long the receiver asked to be left alone.
    pub retry_after: Option<Duration>,
    /// Uniform in 0..1; moves the next attempt's time.
    pub dice: f64,
}

/// When the attempts of one webhook's deliveries are made.
#[derive(Debug, Clone, Copy)]
pub struct Pace<'s> {
    /// The delays.
    pub schedule: &'s RetrySchedule,
    /// Whether a delivery is tried until it succeeds, because others wait behind it.
    pub is_ordered: bool,
}

impl Pace<'_> {
    /// When the next automatic attempt is due after `made` of them, and whether the receiver asked for that
    /// time; `None` when there is no next one.
    fn next(&self, made: usize, tried: &Tried) -> Option<(i64, bool)> {
        let (now_ms, dice) = (tried.ended_at_ms, tried.dice);
        let planned_ms = match self.schedule.next_attempt_ms(made, now_ms, dice) {
            Some(at_ms) => at_ms,
            None if self.is_ordered => {
                let last = self.schedule.0.last().copied().unwrap_or_default();
                RetrySchedule::after(last.max(REPEAT_AT_LEAST), now_ms, dice)
            }
            None => return None,
        };
        let asked = tried.retry_after.unwrap_or_default().min(MAX_RETRY_AFTER);
        let asked_ms = now_ms.saturating_add(i64::try_from(asked.as_millis()).unwrap_or(i64::MAX));
        // It can only push later.
        Some((planned_ms.max(asked_ms), asked_ms > planned_ms))
    }
}

/// Where a delivery stands between two attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Its state.
    pub state: DeliveryState,
    /// Attempts made, of every trigger.
    pub attempts: i64,
    /// Attempts of the schedule.
    pub automatic_attempts: i64,
    /// When the next one is due, Unix milliseconds; `None` unless pending, and while it is new: then
    /// it is due since it was made.
    pub next_attempt_at_ms: Option<i64>,
    /// The newest attempt.
    pub last_attempt: Option<AttemptId>,
}

impl Standing {
    /// Where a delivery stands that was just made, to be sent at once.
    pub const NEW: Self = Self {
        state: DeliveryState::Pending,
        attempts: 0,
        automatic_attempts: 0,
        next_attempt_at_ms: None,
        last_attempt: None,
    };

    /// Where the delivery stands after one more attempt, and whether the receiver asked for the time of
    /// the next one.
    ///
    /// A success settles it, whoever asked for the attempt. A failure moves only the schedule's own
    /// series along: an attempt that a person asked for leaves it alone, and so does one that was
    /// still on its way when the delivery was held or cancelled.
    #[must_use]
    pub fn after_attempt(self, tried: &Tried, pace: Pace<'_>) -> (Self, bool) {
        let is_automatic = tried.trigger == Trigger::Automatic;
        let counted = Self {
            attempts: self.attempts + 1,
            automatic_attempts: self.automatic_attempts + i64::from(is_automatic),
            last_attempt: Some(tried.attempt),
            ..self
        };
        let settled = |state| Self {
            state,
            next_attempt_at_ms: None,
            ..counted
        };
        if tried.succeeded {
            return (settled(DeliveryState::Succeeded), false);
        }
        if !is_automatic || self.state != DeliveryState::Pending {
            return (counted, false);
        }
        let made = usize::try_from(counted.automatic_attempts).unwrap_or(usize::MAX);
        match pace.next(made, tried) {
            Some((next_ms, is_asked_for)) => {
                let next_attempt_at_ms = Some(next_ms);
                let waiting = Self {
                    next_attempt_at_ms,
                    ..counted
                };
                (waiting, is_asked_for)
            }
            None => (settled(DeliveryState::Failed), false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_default_has_ten_attempts_over_three_days() {
        let schedule = RetrySchedule::default();
        assert_eq!(schedule.attempts(), 10);
        assert_eq!(schedule.next_attempt_ms(1, 0, 0.5), Some(5_000));
        assert_eq!(schedule.next_attempt_ms(9, 0, 0.5), Some(86_400_000));
        assert_eq!(schedule.next_attempt_ms(10, 0, 0.5), None);
    }

    #[test]
    fn an_empty_schedule_is_one_attempt() {
        let schedule = RetrySchedule::new(Vec::new());
        assert_eq!(schedule.attempts(), 1);
        assert_eq!(schedule.next_attempt_ms(1, 0, 0.5), None);
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_schedule_reads_back_as_itself_and_has_bounds() {
        for text in ["0s", "0s,5s,5m,30m,2h,1day"] {
            assert_eq!(text.parse::<RetrySchedule>().unwrap().to_string(), text);
        }
        let default = RetrySchedule::default();
        assert_eq!(
            default.to_string().parse::<RetrySchedule>().unwrap(),
            default
        );
        for wrong in ["", "soon", "0s,,5s", "8days", &["1s"; 31].join(",")] {
            assert!(wrong.parse::<RetrySchedule>().is_err(), "{wrong}");
        }
    }

    fn waiting(automatic_attempts: i64) -> Standing {
        Standing {
            state: DeliveryState::Pending,
            attempts: automatic_attempts,
            automatic_attempts,
            next_attempt_at_ms: Some(77),
            last_attempt: None,
        }
    }

    fn failed(trigger: Trigger) -> Tried {
        Tried {
            attempt: AttemptId::from_i64(5),
            trigger,
            succeeded: false,
            ended_at_ms: 1_000,
            retry_after: None,
            dice: 0.5,
        }
    }

    fn succeeded(trigger: Trigger) -> Tried {
        Tried {
            succeeded: true,
            ..failed(trigger)
        }
    }

    fn by(schedule: &RetrySchedule) -> Pace<'_> {
        Pace {
            schedule,
            is_ordered: false,
        }
    }

    #[test]
    fn the_schedule_ends_in_failed_or_goes_on_where_others_wait_behind() {
        let schedule = RetrySchedule::new(vec![Duration::ZERO, SECOND]);
        let tried = failed(Trigger::Automatic);
        let (once, _) = waiting(0).after_attempt(&tried, by(&schedule));
        assert_eq!(
            (once.state, once.next_attempt_at_ms),
            (DeliveryState::Pending, Some(2_000))
        );
        let (twice, _) = once.after_attempt(&tried, by(&schedule));
        assert_eq!(
            (twice.state, twice.next_attempt_at_ms),
            (DeliveryState::Failed, None)
        );
        let ordered = Pace {
            is_ordered: true,
            ..by(&schedule)
        };
        let (again, _) = once.after_attempt(&tried, ordered);
        assert_eq!(
            (again.state, again.next_attempt_at_ms),
            (DeliveryState::Pending, Some(6_000))
        );
    }

    #[test]
    fn a_receiver_can_only_push_the_next_attempt_later_and_not_for_ever() {
        let schedule = RetrySchedule::new(vec![Duration::ZERO, 10 * SECOND]);
        let next = |asked| {
            let tried = Tried {
                retry_after: Some(asked),
                ..failed(Trigger::Automatic)
            };
            let (standing, is_asked_for) = waiting(0).after_attempt(&tried, by(&schedule));
            (standing.next_attempt_at_ms.unwrap(), is_asked_for)
        };
        assert_eq!(next(SECOND), (11_000, false));
        assert_eq!(next(60 * SECOND), (61_000, true));
        assert_eq!(next(Duration::MAX), (86_401_000, true));
    }

    #[test]
    fn a_persons_failed_retry_leaves_the_schedule_alone() {
        let schedule = RetrySchedule::default();
        for trigger in [Trigger::Manual, Trigger::Replay, Trigger::Test] {
            let (after, _) = waiting(2).after_attempt(&failed(trigger), by(&schedule));
            assert_eq!((after.automatic_attempts, after.attempts), (2, 3));
            assert_eq!(after.last_attempt, Some(AttemptId::from_i64(5)));
            assert_eq!(
                (after.state, after.next_attempt_at_ms),
                (DeliveryState::Pending, Some(77))
            );
            let used_up = Standing {
                state: DeliveryState::Failed,
                next_attempt_at_ms: None,
                ..waiting(10)
            };
            let (recovered, _) = used_up.after_attempt(&succeeded(trigger), by(&schedule));
            assert_eq!(recovered.state, DeliveryState::Succeeded);
        }
    }

    #[test]
    fn what_was_held_on_its_way_stays_held_unless_it_arrived() {
        let schedule = RetrySchedule::default();
        let held = Standing {
            state: DeliveryState::Held,
            next_attempt_at_ms: None,
            ..waiting(1)
        };
        let (after, _) = held.after_attempt(&failed(Trigger::Automatic), by(&schedule));
        assert_eq!(
            (after.state, after.next_attempt_at_ms),
            (DeliveryState::Held, None)
        );
        let (arrived, _) = held.after_attempt(&succeeded(Trigger::Automatic), by(&schedule));
        assert_eq!(arrived.state, DeliveryState::Succeeded);
    }

    proptest! {
        #[test]
        fn jitter_stays_within_a_fifth(made in 1usize..10, dice in 0.0f64..1.0) {
            let schedule = RetrySchedule::default();
            let plain = schedule.next_attempt_ms(made, 0, 0.5).unwrap() as f64;
            let jittered = schedule.next_attempt_ms(made, 0, dice).unwrap() as f64;
            prop_assert!(jittered >= plain * 0.8 - 1.0 && jittered <= plain * 1.2 + 1.0);
        }
    }
}
