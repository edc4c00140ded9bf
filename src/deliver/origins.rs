//! How much of the room the receivers behind one origin (scheme, host and port) have before they prove
//! themselves: a host that accepts and says nothing is met by a few of its webhooks, not by all of them, and so
//! leaves the others' first attempts their part. Pure bookkeeping.

use super::share::Class;
use crate::id::WebhookId;
use std::collections::{HashMap, VecDeque};
use url::Origin;

/// The attempts on their way to receivers that are not steady, and the webhooks that wait for one of them to
/// end, by origin.
#[derive(Debug)]
pub(super) struct Origins {
    /// Such attempts at one origin.
    limit: usize,
    of: HashMap<Origin, Behind>,
    /// Webhooks that wait, at all of them together.
    waiting: usize,
}

/// What there is behind one origin.
#[derive(Debug, Default)]
struct Behind {
    on_their_way: usize,
    waiting: VecDeque<WebhookId>,
}

impl Origins {
    /// `limit` attempts at each origin.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            of: HashMap::new(),
            waiting: 0,
        }
    }

    /// Whether an attempt of this class may begin. Steady receivers are not held up by their neighbours.
    pub(super) fn has_room(&self, origin: &Origin, class: Class) -> bool {
        let on_their_way = |behind: &Behind| behind.on_their_way;
        class == Class::Steady || self.of.get(origin).map_or(0, on_their_way) < self.limit
    }

    /// A webhook had so many attempts on their way in one class, and has so many in another.
    pub(super) fn recount(&mut self, origin: &Origin, before: (Class, usize), now: (Class, usize)) {
        let (before, now) = (unproved(before), unproved(now));
        if before == now {
            return;
        }
        if !self.of.contains_key(origin) {
            self.of.insert(origin.clone(), Behind::default());
        }
        if let Some(behind) = self.of.get_mut(origin) {
            behind.on_their_way = behind.on_their_way.saturating_sub(before) + now;
            self.forget_if_empty(origin);
        }
    }

    /// A webhook waits until one of the attempts ends.
    pub(super) fn wait(&mut self, origin: &Origin, webhook: WebhookId) {
        if let Some(behind) = self.of.get_mut(origin) {
            behind.waiting.push_back(webhook);
            self.waiting += 1;
        }
    }

    /// Whether any webhook waits at any origin, which is seldom.
    pub(super) fn is_anyone_waiting(&self) -> bool {
        self.waiting > 0
    }

    /// Who waits no more, if there is room again: one at a time, and again when that one has made its choice.
    pub(super) fn next(&mut self, origin: &Origin) -> Option<WebhookId> {
        let behind = self.of.get_mut(origin)?;
        if behind.on_their_way >= self.limit {
            return None;
        }
        let next = behind.waiting.pop_front()?;
        self.waiting -= 1;
        self.forget_if_empty(origin);
        Some(next)
    }

    fn forget_if_empty(&mut self, origin: &Origin) {
        let is_empty = |behind: &Behind| behind.on_their_way == 0 && behind.waiting.is_empty();
        if self.of.get(origin).is_some_and(is_empty) {
            self.of.remove(origin);
        }
    }
}

fn unproved((class, on_their_way): (Class, usize)) -> usize {
    match class {
        Class::Unknown | Class::Ailing => on_their_way,
        Class::Steady => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use url::Url;

    fn origin(url: &str) -> Origin {
        Url::parse(url).unwrap().origin()
    }

    #[test]
    fn one_origin_is_met_by_a_few_and_the_next_by_others() {
        let (one, other) = (origin("http://a.example/x"), origin("http://b.example/x"));
        assert_eq!(one, origin("http://a.example:80/y"));
        let mut origins = Origins::new(2);
        for n in 0..2 {
            assert!(origins.has_room(&one, Class::Unknown), "{n}");
            origins.recount(&one, (Class::Unknown, n), (Class::Unknown, n + 1));
        }
        assert!(!origins.has_room(&one, Class::Unknown) && !origins.has_room(&one, Class::Ailing));
        assert!(origins.has_room(&one, Class::Steady) && origins.has_room(&other, Class::Unknown));
        origins.wait(&one, WebhookId::from_i64(7));
        assert_eq!(origins.next(&one), None, "there is no room yet");
        // They fell silent, and one of them is given up.
        origins.recount(&one, (Class::Unknown, 2), (Class::Ailing, 2));
        assert_eq!(origins.next(&one), None);
        origins.recount(&one, (Class::Ailing, 2), (Class::Ailing, 1));
        assert_eq!(origins.next(&one), Some(WebhookId::from_i64(7)));
        assert_eq!(origins.next(&one), None, "nobody else waits");
        // The other one has answered at last: what it sends is its own affair.
        origins.recount(&one, (Class::Ailing, 1), (Class::Steady, 8));
        assert!(origins.of.is_empty(), "nothing is remembered for ever");
    }
}
