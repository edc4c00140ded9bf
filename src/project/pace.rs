//! How fast the projector goes and how far it is behind: its share of the writer while events arrive,
//! and what it shows of itself. Knows no file; the time is an argument.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

/// The bounds of the projector's share of the writer, and of its lag.
#[derive(Debug, Clone, Copy)]
pub struct PaceLimits {
    /// After a transaction the writer is left alone for this many times as long as it took, while
    /// events arrive: 3 is a share of 25 %.
    pub rest: u32,
    /// The same when the lag is over [`PaceLimits::behind_ms`]: 1 is a share of 50 %.
    pub rest_behind: u32,
    /// The longest rest, milliseconds.
    pub rest_limit_ms: u64,
    /// The lag from which on the share is the larger one, milliseconds.
    pub behind_ms: i64,
    /// The lag from which on the log warns, milliseconds.
    pub alarm_ms: i64,
    /// The lag at which the warning is taken back, milliseconds.
    pub all_clear_ms: i64,
}

impl PaceLimits {
    /// How long to leave the writer alone after it was `held`, at a lag in milliseconds.
    pub(super) fn rest(&self, held: Duration, lag_ms: i64) -> Duration {
        let times = if lag_ms > self.behind_ms {
            self.rest_behind
        } else {
            self.rest
        };
        (held * times).min(Duration::from_millis(self.rest_limit_ms))
    }
}

/// What the projector shows of itself; written by its thread, read by anyone.
#[derive(Debug, Default)]
pub struct ProjectorStatus {
    /// When the oldest event that is known to wait was received, Unix milliseconds; 0 for none.
    waiting_since_ms: AtomicI64,
    events: AtomicU64,
    window_events: AtomicU64,
}

impl ProjectorStatus {
    /// How old the oldest event is that is not projected yet, milliseconds; 0 when none waits.
    pub fn lag_ms(&self, now_ms: i64) -> i64 {
        match self.waiting_since_ms.load(Ordering::Relaxed) {
            0 => 0,
            since => (now_ms - since).max(0),
        }
    }

    /// How many events were projected since the box started.
    pub fn events(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }

    /// How many events the last window had.
    pub fn window_events(&self) -> u64 {
        self.window_events.load(Ordering::Relaxed)
    }

    /// The oldest event that waits was received at `since_ms`; `None` when nothing waits.
    pub(super) fn set_waiting(&self, since_ms: Option<i64>) {
        self.waiting_since_ms
            .store(since_ms.unwrap_or(0), Ordering::Relaxed);
    }

    pub(super) fn add_window(&self, events: usize) {
        let events = u64::try_from(events).unwrap_or(u64::MAX);
        self.events.fetch_add(events, Ordering::Relaxed);
        self.window_events.store(events, Ordering::Relaxed);
    }
}

/// Says once when the lag passes its bound, and once when it is over.
#[derive(Debug, Default)]
pub(super) struct LagAlarm {
    is_raised: bool,
}

/// What there is to say of the lag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LagNews {
    /// It has passed the bound.
    Behind,
    /// It is small again.
    CaughtUp,
}

impl LagAlarm {
    pub(super) fn look(&mut self, lag_ms: i64, limits: &PaceLimits) -> Option<LagNews> {
        if !self.is_raised && lag_ms > limits.alarm_ms {
            self.is_raised = true;
            Some(LagNews::Behind)
        } else if self.is_raised && lag_ms <= limits.all_clear_ms {
            self.is_raised = false;
            Some(LagNews::CaughtUp)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: PaceLimits = PaceLimits {
        rest: 3,
        rest_behind: 1,
        rest_limit_ms: 100,
        behind_ms: 700,
        alarm_ms: 5_000,
        all_clear_ms: 1_000,
    };

    #[test]
    fn the_writer_is_left_alone_for_its_share() {
        let ms = Duration::from_millis;
        assert_eq!(LIMITS.rest(ms(8), 0), ms(24));
        assert_eq!(LIMITS.rest(ms(8), 700), ms(24));
        assert_eq!(LIMITS.rest(ms(8), 701), ms(8));
        assert_eq!(LIMITS.rest(ms(1_000), 0), ms(100), "no longer than this");
    }

    #[test]
    fn a_lag_is_said_once_and_taken_back_once() {
        let mut alarm = LagAlarm::default();
        let lags = [0, 5_000, 5_001, 9_000, 1_001, 5_001, 1_000, 0, 6_000];
        let news = lags.map(|lag| alarm.look(lag, &LIMITS));
        let (behind, over) = (Some(LagNews::Behind), Some(LagNews::CaughtUp));
        assert_eq!(
            news,
            [None, None, behind, None, None, None, over, None, behind]
        );
    }

    #[test]
    fn the_lag_is_the_age_of_the_oldest_event_that_waits() {
        let status = ProjectorStatus::default();
        assert_eq!(status.lag_ms(5_000), 0);
        status.set_waiting(Some(4_000));
        assert_eq!((status.lag_ms(5_000), status.lag_ms(3_000)), (1_000, 0));
        status.set_waiting(None);
        assert_eq!(status.lag_ms(5_000), 0);
    }
}
