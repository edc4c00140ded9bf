//! Timers: when which webhook's file must be looked at again. One a webhook, at the earliest time that is
//! known: the reading that it causes finds the next one. The time is an argument.

use crate::id::WebhookId;
use std::collections::{BTreeSet, HashMap};

/// At most one time a webhook, Unix milliseconds.
#[derive(Debug, Default)]
pub(super) struct Timers {
    by_time: BTreeSet<(i64, WebhookId)>,
    by_webhook: HashMap<WebhookId, i64>,
}

impl Timers {
    /// Sets a webhook's timer, unless it rings before that anyway.
    pub(super) fn set(&mut self, webhook: WebhookId, at_ms: i64) {
        let known_ms = self.by_webhook.entry(webhook).or_insert(i64::MAX);
        if *known_ms <= at_ms {
            return;
        }
        self.by_time.remove(&(*known_ms, webhook));
        *known_ms = at_ms;
        self.by_time.insert((at_ms, webhook));
    }

    /// When the next one rings.
    pub(super) fn next_ms(&self) -> Option<i64> {
        self.by_time.first().map(|(at_ms, _)| *at_ms)
    }

    /// Takes one whose time has come.
    pub(super) fn ring(&mut self, now_ms: i64) -> Option<WebhookId> {
        let (at_ms, webhook) = *self.by_time.first()?;
        if at_ms > now_ms {
            return None;
        }
        self.by_time.pop_first();
        self.by_webhook.remove(&webhook);
        Some(webhook)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: WebhookId = WebhookId::from_i64(1);
    const B: WebhookId = WebhookId::from_i64(2);

    #[test]
    fn the_earliest_time_of_a_webhook_holds_and_rings_once() {
        let mut timers = Timers::default();
        timers.set(A, 50);
        timers.set(A, 70);
        timers.set(B, 60);
        timers.set(A, 40);
        assert_eq!(timers.next_ms(), Some(40));
        assert_eq!(timers.ring(39), None);
        assert_eq!(timers.ring(100), Some(A));
        assert_eq!(timers.ring(100), Some(B));
        assert_eq!((timers.ring(100), timers.next_ms()), (None, None));
        timers.set(A, 90);
        assert_eq!(timers.next_ms(), Some(90));
    }
}
