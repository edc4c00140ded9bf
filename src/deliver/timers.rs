//! Timers: when which webhook's file must be looked at again, and when one that is held back may send. One a
//! webhook, at the earliest time that is known: what it causes finds the next one. The time is an argument.

use crate::id::WebhookId;
use std::collections::{BTreeSet, HashMap};

/// At most one time a webhook: of the wall clock in Unix milliseconds, or of the steady one.
#[derive(Debug)]
pub(super) struct Timers<T> {
    by_time: BTreeSet<(T, WebhookId)>,
    by_webhook: HashMap<WebhookId, T>,
}

impl<T: Copy + Ord> Timers<T> {
    /// None is set.
    pub(super) fn new() -> Self {
        Self {
            by_time: BTreeSet::new(),
            by_webhook: HashMap::new(),
        }
    }

    /// Sets a webhook's timer, unless it rings before that anyway.
    pub(super) fn set(&mut self, webhook: WebhookId, at: T) {
        if let Some(known) = self.by_webhook.get(&webhook) {
            if *known <= at {
                return;
            }
            self.by_time.remove(&(*known, webhook));
        }
        self.by_webhook.insert(webhook, at);
        self.by_time.insert((at, webhook));
    }

    /// When the next one rings.
    pub(super) fn next(&self) -> Option<T> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Takes one whose time has come.
    pub(super) fn ring(&mut self, now: T) -> Option<WebhookId> {
        let (at, webhook) = *self.by_time.first()?;
        if at > now {
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
        let mut timers = Timers::new();
        timers.set(A, 50);
        timers.set(A, 70);
        timers.set(B, 60);
        timers.set(A, 40);
        assert_eq!(timers.next(), Some(40));
        assert_eq!(timers.ring(39), None);
        assert_eq!(timers.ring(100), Some(A));
        assert_eq!(timers.ring(100), Some(B));
        assert_eq!((timers.ring(100), timers.next()), (None, None));
        timers.set(A, 90);
        assert_eq!(timers.next(), Some(90));
    }
}
