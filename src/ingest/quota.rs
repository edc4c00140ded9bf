//! How many events a signed-in person may post: a bucket each, filled at a steady rate. Knows no request
//! and no dialect; the clock is an argument.

use crate::error::{Error, Kind, Result};
use crate::id::UserId;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Events that a person may post in an hour, and at once when none were posted for an hour
/// (wire.md, "FunnelFizz").
pub(super) const EVENTS_PER_HOUR: i64 = 600;
/// An hour's share of one event.
const FILL_MS: i64 = 60 * 60 * 1_000 / EVENTS_PER_HOUR;
/// From empty to full.
const FULL_MS: i64 = FILL_MS * EVENTS_PER_HOUR;
/// So many people are remembered before those are forgotten whose bucket is full again.
const MAX_REMEMBERED: usize = 10_000;

/// A bucket of events for each person. One for the whole app, shared by its workers.
#[derive(Debug, Default)]
pub struct EventQuota {
    /// When a person's bucket is full again, Unix milliseconds; who is not here has a full one.
    full_at_ms: Mutex<HashMap<UserId, i64>>,
}

/// What is in a person's bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Left {
    /// Events that may be posted now.
    pub(super) events: i64,
    /// When it is full again, Unix seconds.
    pub(super) full_at_s: i64,
}

impl EventQuota {
    /// Takes `events` out of the bucket of `user`: all or none.
    ///
    /// # Errors
    /// [`Kind::TooMany`], with the seconds after which so many are there.
    pub(super) fn take(&self, user: UserId, events: usize, now_ms: i64) -> Result<()> {
        let cost_ms = cost_ms(events);
        let mut full_at_ms = self.lock();
        if full_at_ms.len() >= MAX_REMEMBERED {
            full_at_ms.retain(|_, full_at_ms| *full_at_ms > now_ms);
        }
        let bucket = full_at_ms.entry(user).or_insert(now_ms);
        let missing_ms = missing_ms(*bucket, now_ms);
        let after_ms = missing_ms + cost_ms;
        if after_ms <= FULL_MS {
            *bucket = now_ms + after_ms;
            return Ok(());
        }
        // Kept although nothing was taken: after a clock was set back the bucket fills from here.
        *bucket = now_ms + missing_ms;
        let retry_after_s = ceil_s(after_ms - FULL_MS);
        Err(Error::new(
            Kind::TooMany,
            "too_many_events",
            format!(
                "A person may post {EVENTS_PER_HOUR} events an hour; nothing was stored. Try again in {retry_after_s} s."
            ),
        )
        .with_retry_after_s(retry_after_s))
    }

    /// Puts back what was taken for events that came to nothing.
    pub(super) fn give_back(&self, user: UserId, events: usize) {
        if let Some(full_at_ms) = self.lock().get_mut(&user) {
            *full_at_ms -= cost_ms(events);
        }
    }

    /// What is left in the bucket of `user`.
    pub(super) fn left(&self, user: UserId, now_ms: i64) -> Left {
        let full_at_ms = self.lock().get(&user).copied();
        let missing_ms = missing_ms(full_at_ms.unwrap_or(now_ms), now_ms);
        Left {
            events: (FULL_MS - missing_ms) / FILL_MS,
            full_at_s: ceil_s(now_ms + missing_ms),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<UserId, i64>> {
        self.full_at_ms
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a bucket lacks; a clock that was set back makes none emptier than empty.
fn missing_ms(full_at_ms: i64, now_ms: i64) -> i64 {
    (full_at_ms - now_ms).clamp(0, FULL_MS)
}

fn cost_ms(events: usize) -> i64 {
    i64::try_from(events).map_or(i64::MAX / 2, |events| events.saturating_mul(FILL_MS))
}

fn ceil_s(ms: i64) -> i64 {
    (ms + 999) / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: UserId = UserId::from_i64(1);
    const OTHER: UserId = UserId::from_i64(2);

    #[test]
    fn a_bucket_empties_and_fills_steadily() {
        let quota = EventQuota::default();
        assert_eq!(quota.left(ONE, 0).events, 600);
        for _ in 0..12 {
            quota.take(ONE, 50, 0).unwrap();
        }
        assert_eq!(
            quota.left(ONE, 0),
            Left {
                events: 0,
                full_at_s: 3_600
            }
        );
        let refused = quota.take(ONE, 1, 0).unwrap_err();
        assert_eq!(refused.retry_after_s(), Some(6));
        assert_eq!(
            quota.take(ONE, 50, 0).unwrap_err().retry_after_s(),
            Some(300)
        );
        assert!(quota.take(OTHER, 50, 0).is_ok());
        assert!(quota.take(ONE, 1, 5_999).is_err());
        assert!(quota.take(ONE, 1, 6_000).is_ok());
        assert_eq!(quota.left(ONE, 3_606_000).events, 600);
    }

    #[test]
    fn what_came_to_nothing_is_given_back() {
        let quota = EventQuota::default();
        quota.take(ONE, 50, 0).unwrap();
        quota.give_back(ONE, 50);
        quota.give_back(OTHER, 1);
        assert_eq!(quota.left(ONE, 0).events, 600);
        assert_eq!(quota.left(OTHER, 0).events, 600);
    }

    #[test]
    fn a_clock_that_goes_back_makes_nobody_wait_longer() {
        let quota = EventQuota::default();
        quota.take(ONE, 1, 1_000_000_000).unwrap();
        assert_eq!(quota.take(ONE, 1, 0).unwrap_err().retry_after_s(), Some(6));
        assert!(quota.take(ONE, 1, 6_000).is_ok());
    }

    #[test]
    fn whose_bucket_is_full_is_forgotten() {
        let quota = EventQuota::default();
        for user in 0..10_050 {
            quota.take(UserId::from_i64(user), 1, user * 10).unwrap();
        }
        assert!(quota.lock().len() < MAX_REMEMBERED);
    }
}
