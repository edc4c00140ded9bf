//! What holds a webhook's attempts back: the breaker, while its receiver fails, and its rate. Pure: the time
//! and the dice are arguments.

use crate::delivery::JITTER;
use std::time::{Duration, Instant};

/// After so many automatic attempts in a row that failed, a receiver is probed with one delivery at a time:
/// more than one volley of the eight that are on their way at once.
pub const BREAKER_FAILURES: u32 = 10;
/// How long after the failures the first probe is made; each next one after twice that time, …
const FIRST_GAP: Duration = Duration::from_secs(1);
/// … but after no more than this. Each is moved by up to a fifth either way.
const LONGEST_GAP: Duration = Duration::from_secs(60);
/// An attempt that a busy box makes late by no more than this is made up for by the next ones.
const RATE_SLACK: Duration = Duration::from_millis(20);

/// Whether a receiver fails, and when it is probed next. A probe is an attempt that was due anyway: it costs a
/// delivery no step of its schedule that it would not have used.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: u32,
    gap: Option<Duration>,
    probe_at: Option<Instant>,
}

impl Breaker {
    /// The breaker of a receiver that has failed so often in a row. What was waited before a restart is not
    /// known any more, so the first probe is made at once.
    pub(super) fn after(failures: u32) -> Self {
        Self {
            failures,
            ..Self::default()
        }
    }

    /// Whether the receiver failed last.
    pub(super) fn has_failures(&self) -> bool {
        self.failures > 0
    }

    /// Whether the receiver is only probed.
    pub(super) fn is_open(&self) -> bool {
        self.failures >= BREAKER_FAILURES
    }

    /// An attempt succeeded: all is as ever at once.
    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// An automatic attempt failed. `is_last` says that no other is on its way: what was sent together counts
    /// as one probe. `dice` is uniform in 0..1.
    pub(super) fn failed(&mut self, is_last: bool, now: Instant, dice: f64) {
        self.failures = self.failures.saturating_add(1);
        if self.is_open() && is_last {
            let gap = self.gap.map_or(FIRST_GAP, |gap| (gap * 2).min(LONGEST_GAP));
            self.gap = Some(gap);
            let factor = 1.0 + JITTER * (2.0 * dice.clamp(0.0, 1.0) - 1.0);
            self.probe_at = Some(now + gap.mul_f64(factor));
        }
    }

    /// When the next probe may be made; `None` where nothing must be waited for.
    pub(super) fn probe_at(&self) -> Option<Instant> {
        self.probe_at
    }
}

/// How many attempts a second begin at most.
#[derive(Debug, Default)]
pub(super) struct Rate {
    /// From one to the next.
    interval: Option<Duration>,
    next: Option<Instant>,
}

impl Rate {
    /// So many a second from now on; `None` for no limit.
    pub(super) fn set(&mut self, a_second: Option<u32>) {
        let interval = a_second.map(|count| Duration::from_secs(1) / count.max(1));
        if interval != self.interval {
            self.interval = interval;
            self.next = None;
        }
    }

    /// Whether there is a limit.
    pub(super) fn is_limited(&self) -> bool {
        self.interval.is_some()
    }

    /// When the next attempt may begin; `None` where nothing must be waited for.
    pub(super) fn next(&self) -> Option<Instant> {
        self.next
    }

    /// An attempt begins.
    pub(super) fn begin(&mut self, now: Instant) {
        if let Some(interval) = self.interval {
            let earliest = now.checked_sub(RATE_SLACK).unwrap_or(now);
            let planned = self.next.unwrap_or(now).max(earliest);
            self.next = Some(planned + interval);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_breaker_opens_after_its_failures_and_closes_with_one_success() {
        let now = Instant::now();
        let mut breaker = Breaker::default();
        for _ in 1..BREAKER_FAILURES {
            breaker.failed(true, now, 0.5);
            assert!(breaker.has_failures() && !breaker.is_open());
            assert_eq!(breaker.probe_at(), None);
        }
        breaker.failed(false, now, 0.5);
        assert!(breaker.is_open());
        assert_eq!(breaker.probe_at(), None, "others are still on their way");
        for gap_s in [1, 2, 4, 8, 16, 32, 60, 60] {
            breaker.failed(true, now, 0.5);
            let gap = Duration::from_secs(gap_s);
            assert_eq!(breaker.probe_at(), Some(now + gap));
        }
        breaker.succeeded();
        assert!(!breaker.is_open() && !breaker.has_failures());
        assert_eq!(breaker.probe_at(), None);
    }

    #[test]
    fn after_a_restart_the_first_probe_is_made_at_once() {
        let breaker = Breaker::after(BREAKER_FAILURES);
        assert!(breaker.is_open());
        assert_eq!(breaker.probe_at(), None);
        assert!(!Breaker::after(BREAKER_FAILURES - 1).is_open());
    }

    proptest! {
        #[test]
        fn no_second_has_more_than_the_rate(
            a_second in 1u32..500,
            steps in prop::collection::vec(0u64..200, 1..400),
        ) {
            let start = Instant::now();
            let (mut rate, mut now, mut begun) = (Rate::default(), start, Vec::new());
            rate.set(Some(a_second));
            for step_ms in steps {
                now += Duration::from_millis(step_ms);
                while rate.next().is_none_or(|next| next <= now) {
                    rate.begin(now);
                    begun.push(now);
                }
            }
            // What may be made up for, and one at either end of the second.
            let slack = a_second.div_ceil(50) + 1;
            for (n, at) in begun.iter().enumerate() {
                let within = begun[n..].iter().take_while(|then| **then < *at + Duration::from_secs(1));
                prop_assert!(within.count() <= (a_second + slack) as usize);
            }
        }

        #[test]
        fn gaps_stay_within_a_fifth_of_a_second_to_a_minute(
            dice in prop::collection::vec(0.0f64..1.0, 1..40),
        ) {
            let now = Instant::now();
            let mut breaker = Breaker::after(BREAKER_FAILURES);
            for dice in dice {
                breaker.failed(true, now, dice);
                let gap = breaker.probe_at().unwrap() - now;
                prop_assert!(gap >= Duration::from_millis(799) && gap <= Duration::from_secs(73));
            }
        }
    }
}
