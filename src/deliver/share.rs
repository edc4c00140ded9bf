//! Whose turn it is, and how the room for attempts is shared: receivers that have proved themselves always
//! find a part of it free, however many others keep silent. Pure bookkeeping.

use crate::id::WebhookId;
use std::collections::VecDeque;

/// What is known of a webhook's receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// It has not been asked yet, and did not fail before the start.
    Unknown,
    /// It has kept silent for longer than [`SILENCE`](super::lane::SILENCE), now or when it failed last; or it
    /// failed before the start.
    Ailing,
    /// Its last answer was a success, or at least a prompt one: what it takes of the room it soon gives back, and
    /// the breaker sees to it that a failing one takes little.
    Steady,
}

impl Class {
    /// In the order in which they get what becomes free; the first two only within their parts.
    pub(super) const ALL: [Self; 3] = [Self::Unknown, Self::Ailing, Self::Steady];
}

/// What there is of each class.
#[derive(Debug, Default)]
pub(super) struct OfEach<T> {
    unknown: T,
    ailing: T,
    steady: T,
}

impl<T> OfEach<T> {
    fn of(&self, class: Class) -> &T {
        match class {
            Class::Unknown => &self.unknown,
            Class::Ailing => &self.ailing,
            Class::Steady => &self.steady,
        }
    }

    /// That of one class.
    pub(super) fn of_mut(&mut self, class: Class) -> &mut T {
        match class {
            Class::Unknown => &mut self.unknown,
            Class::Ailing => &mut self.ailing,
            Class::Steady => &mut self.steady,
        }
    }
}

/// The attempts on their way by class, and the webhooks that wait for a turn.
#[derive(Debug)]
pub(super) struct Share {
    /// Scheduled attempts on their way, in all.
    limit: usize,
    on_their_way: OfEach<usize>,
    turns: OfEach<VecDeque<WebhookId>>,
}

impl Share {
    /// Room for `limit` attempts.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            on_their_way: OfEach::default(),
            turns: OfEach::default(),
        }
    }

    /// Whether the room and its parts let an attempt of this class begin. Ailing receivers have half of it;
    /// together with the unknown ones three quarters, of which a quarter is thus left to be tried for the
    /// first time, and a quarter is for steady ones only. What people ask for takes nothing of it.
    pub(super) fn has_room(&self, class: Class) -> bool {
        let unproved = self.on_their_way.unknown + self.on_their_way.ailing;
        let part = self.limit - self.limit / 4;
        let is_in_part = unproved < part;
        // Steady ones that fell silent keep their places, and cost others not more than that part.
        let has_any = unproved.min(part) + self.on_their_way.steady < self.limit;
        match class {
            Class::Steady => has_any,
            Class::Unknown => has_any && is_in_part,
            Class::Ailing => has_any && is_in_part && self.on_their_way.ailing < self.limit / 2,
        }
    }

    /// A webhook had so many attempts on their way in one class, and has so many in another.
    pub(super) fn recount(&mut self, before: (Class, usize), now: (Class, usize)) {
        let left = self.on_their_way.of_mut(before.0);
        *left = left.saturating_sub(before.1);
        *self.on_their_way.of_mut(now.0) += now.1;
    }

    /// A webhook waits for its turn.
    pub(super) fn wait(&mut self, class: Class, webhook: WebhookId) {
        self.turns.of_mut(class).push_back(webhook);
    }

    /// Whose turn is next.
    pub(super) fn next(&mut self, class: Class) -> Option<WebhookId> {
        self.turns.of_mut(class).pop_front()
    }

    /// How many wait.
    pub(super) fn waiting(&self, class: Class) -> usize {
        self.turns.of(class).len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMIT: usize = 256;

    fn start(share: &mut Share, class: Class) {
        share.recount((class, 0), (class, 1));
    }

    #[test]
    fn ailing_and_unknown_receivers_leave_room_for_the_others() {
        let mut share = Share::new(LIMIT);
        let fill = |share: &mut Share, class| {
            let mut begun = 0;
            while share.has_room(class) && begun < LIMIT {
                start(share, class);
                begun += 1;
            }
            begun
        };
        assert_eq!(fill(&mut share, Class::Ailing), 128);
        assert_eq!(fill(&mut share, Class::Unknown), 64);
        assert!(share.has_room(Class::Steady));
        // Those that were tried keep silent and are ailing now.
        share.recount((Class::Unknown, 64), (Class::Ailing, 64));
        assert!(!share.has_room(Class::Unknown) && !share.has_room(Class::Ailing));
        share.recount((Class::Ailing, 64), (Class::Ailing, 0));
        assert!(share.has_room(Class::Unknown) && !share.has_room(Class::Ailing));
        assert_eq!(fill(&mut share, Class::Steady), 128, "all that is left");
        assert!(!share.has_room(Class::Unknown));
    }

    #[test]
    fn when_many_fall_silent_at_once_the_others_still_have_their_quarter() {
        let mut share = Share::new(LIMIT);
        share.recount((Class::Steady, 0), (Class::Steady, LIMIT));
        assert!(!share.has_room(Class::Steady));
        share.recount((Class::Steady, LIMIT), (Class::Ailing, LIMIT));
        assert!(share.has_room(Class::Steady));
        share.recount((Class::Steady, 0), (Class::Steady, LIMIT / 4));
        assert!(!share.has_room(Class::Steady));
    }

    proptest! {
        #[test]
        fn whoever_begins_a_quarter_stays_for_steady_ones(begins in prop::collection::vec(0usize..3, 0..600)) {
            let mut share = Share::new(LIMIT);
            for class in begins.into_iter().map(|n| Class::ALL[n]) {
                if class != Class::Steady && share.has_room(class) {
                    start(&mut share, class);
                }
            }
            let begun = share.on_their_way.unknown + share.on_their_way.ailing;
            prop_assert!(begun <= LIMIT - LIMIT / 4);
            prop_assert!(share.on_their_way.ailing <= LIMIT / 2);
        }
    }
}
