//! The delivery's rules: its states, the retry schedule, and what each class of failure means.
//! Pure: the clock and the dice are arguments.

use crate::id::AttemptId;
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
}

impl Trigger {
    /// The word in the file and on pages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Automatic => "automatic",
            Self::Manual => "manual",
        }
    }
}

/// Why an attempt failed, as a class that can be counted, with a sentence that helps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// The name did not resolve.
    Dns,
    /// Nothing listens there.
    ConnectRefused,
    /// No connection within the connect timeout.
    ConnectTimeout,
    /// The connection failed in another way.
    Connect,
    /// The TLS handshake failed.
    Tls,
    /// No whole answer within the total timeout.
    Timeout,
    /// The address may not be dialled.
    BlockedAddress,
    /// 3xx.
    Redirect,
    /// 4xx.
    Http4xx,
    /// 5xx, or a status outside the known hundreds.
    Http5xx,
    /// The connection broke, or what came is not HTTP.
    Protocol,
    /// The webhook's own settings cannot be sent.
    Request,
}

impl ErrorClass {
    const ALL: [Self; 12] = [
        Self::Dns,
        Self::ConnectRefused,
        Self::ConnectTimeout,
        Self::Connect,
        Self::Tls,
        Self::Timeout,
        Self::BlockedAddress,
        Self::Redirect,
        Self::Http4xx,
        Self::Http5xx,
        Self::Protocol,
        Self::Request,
    ];

    /// The word in the file and in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::ConnectRefused => "connect_refused",
            Self::ConnectTimeout => "connect_timeout",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::BlockedAddress => "blocked_address",
            Self::Redirect => "redirect",
            Self::Http4xx => "http_4xx",
            Self::Http5xx => "http_5xx",
            Self::Protocol => "protocol",
            Self::Request => "request",
        }
    }

    /// The class of that name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.as_str() == text)
    }

    /// What it means and what to try, in one or two plain sentences.
    pub fn explanation(self) -> &'static str {
        match self {
            Self::Dns => {
                "The host name did not resolve. Check its spelling, and that this machine's resolver knows it."
            }
            Self::ConnectRefused => {
                "Nothing is listening at that address and port. Start the receiver, or correct the port in the URL."
            }
            Self::ConnectTimeout => {
                "The address did not answer the connection in time. A firewall may be dropping it, or the host is down."
            }
            Self::Connect => {
                "The connection could not be made. Check that the address is reachable from this machine."
            }
            Self::Tls => {
                "The TLS handshake failed. Check the certificate's name, its dates and its chain."
            }
            Self::Timeout => {
                "The receiver did not finish its answer in time. Answer first and do the work afterwards."
            }
            Self::BlockedAddress => {
                "This address is private or reserved, so the box refused to dial it. Start it with --allow-target and the network's CIDR if it is meant to."
            }
            Self::Redirect => {
                "The receiver answered with a redirect, and redirects are not followed. Put the final URL in the webhook."
            }
            Self::Http4xx => {
                "The receiver refused the request. Check the path, its authentication, and how it verifies the signature."
            }
            Self::Http5xx => {
                "The receiver failed while handling the request. Its own log will say why."
            }
            Self::Protocol => {
                "The connection broke before a whole answer came, or the answer is not HTTP. Check what listens on that port."
            }
            Self::Request => {
                "The request could not be built from this webhook's settings. Edit the webhook and save it again."
            }
        }
    }
}

/// The delays between attempts: the first before the first attempt, each next one after the
/// attempt before it. As many attempts as there are delays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetrySchedule(Vec<Duration>);

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
        let delay = self.0.get(made)?;
        let factor = 1.0 + JITTER * (2.0 * dice.clamp(0.0, 1.0) - 1.0);
        let delay_ms = i64::try_from(delay.mul_f64(factor).as_millis()).unwrap_or(i64::MAX);
        Some(now_ms.saturating_add(delay_ms))
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

    /// Where the delivery stands after one more attempt, which ended at `now_ms`.
    ///
    /// A success settles it, whoever asked for the attempt. A failure moves only the schedule's own
    /// series along: an attempt that a person asked for leaves it alone, and so does one that was
    /// still on its way when the delivery was held or cancelled.
    #[must_use]
    pub fn after_attempt(
        self,
        attempt: AttemptId,
        trigger: Trigger,
        succeeded: bool,
        schedule: &RetrySchedule,
        now_ms: i64,
        dice: f64,
    ) -> Self {
        let is_automatic = trigger == Trigger::Automatic;
        let counted = Self {
            attempts: self.attempts + 1,
            automatic_attempts: self.automatic_attempts + i64::from(is_automatic),
            last_attempt: Some(attempt),
            ..self
        };
        if succeeded {
            return Self {
                state: DeliveryState::Succeeded,
                next_attempt_at_ms: None,
                ..counted
            };
        }
        if !is_automatic || self.state != DeliveryState::Pending {
            return counted;
        }
        let made = usize::try_from(counted.automatic_attempts).unwrap_or(usize::MAX);
        match schedule.next_attempt_ms(made, now_ms, dice) {
            Some(next) => Self {
                next_attempt_at_ms: Some(next),
                ..counted
            },
            None => Self {
                state: DeliveryState::Failed,
                next_attempt_at_ms: None,
                ..counted
            },
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

    #[test]
    fn every_class_reads_back() {
        for class in ErrorClass::ALL {
            assert_eq!(ErrorClass::parse(class.as_str()), Some(class));
        }
    }

    const ATTEMPT: AttemptId = AttemptId::from_i64(5);

    fn waiting(automatic_attempts: i64) -> Standing {
        Standing {
            state: DeliveryState::Pending,
            attempts: automatic_attempts,
            automatic_attempts,
            next_attempt_at_ms: Some(77),
            last_attempt: None,
        }
    }

    #[test]
    fn the_schedule_ends_in_failed() {
        let schedule = RetrySchedule::new(vec![Duration::ZERO, Duration::from_secs(1)]);
        let once =
            waiting(0).after_attempt(ATTEMPT, Trigger::Automatic, false, &schedule, 1_000, 0.5);
        assert_eq!(
            (once.state, once.next_attempt_at_ms),
            (DeliveryState::Pending, Some(2_000))
        );
        let twice = once.after_attempt(ATTEMPT, Trigger::Automatic, false, &schedule, 2_000, 0.5);
        assert_eq!(
            (twice.state, twice.next_attempt_at_ms),
            (DeliveryState::Failed, None)
        );
    }

    #[test]
    fn a_persons_failed_retry_leaves_the_schedule_alone() {
        let schedule = RetrySchedule::default();
        let after = waiting(2).after_attempt(ATTEMPT, Trigger::Manual, false, &schedule, 9, 0.5);
        assert_eq!((after.automatic_attempts, after.attempts), (2, 3));
        assert_eq!(after.last_attempt, Some(ATTEMPT));
        assert_eq!(
            (after.state, after.next_attempt_at_ms),
            (DeliveryState::Pending, Some(77))
        );
        let failed = Standing {
            state: DeliveryState::Failed,
            next_attempt_at_ms: None,
            ..waiting(10)
        };
        let recovered = failed.after_attempt(ATTEMPT, Trigger::Manual, true, &schedule, 9, 0.5);
        assert_eq!(recovered.state, DeliveryState::Succeeded);
    }

    #[test]
    fn what_was_held_on_its_way_stays_held_unless_it_arrived() {
        let schedule = RetrySchedule::default();
        let held = Standing {
            state: DeliveryState::Held,
            next_attempt_at_ms: None,
            ..waiting(1)
        };
        let failed = held.after_attempt(ATTEMPT, Trigger::Automatic, false, &schedule, 9, 0.5);
        assert_eq!(
            (failed.state, failed.next_attempt_at_ms),
            (DeliveryState::Held, None)
        );
        let arrived = held.after_attempt(ATTEMPT, Trigger::Automatic, true, &schedule, 9, 0.5);
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
