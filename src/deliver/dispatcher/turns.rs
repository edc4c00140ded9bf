//! Whose turn it is to send: as what each receiver is known, what holds it up, and who goes next.

use super::{Dispatcher, SILENCE_LOOK};
use crate::deliver::lane::{Lane, Turn};
use crate::deliver::share::Class;
use crate::delivery::Trigger;
use crate::followers::FreshDeliveries;
use crate::id::WebhookId;
use std::time::Instant;
use url::Origin;

impl Dispatcher {
    /// A lane may have something to do, as what its receiver is known as now.
    pub(super) fn give_turn(&mut self, webhook: WebhookId) {
        let Some(lane) = self.lanes.get_mut(&webhook) else {
            return;
        };
        let now = (lane.class(Instant::now()), lane.on_their_way());
        let before = std::mem::replace(&mut lane.counted, now);
        if before != now {
            self.share.recount(before, now);
            self.origins.recount(&lane.origin, before, now);
        }
        // A place that it has left behind in another queue is passed over there, or taken again.
        lane.turn = Some(now.0);
        if !std::mem::replace(lane.places.of_mut(now.0), true) {
            self.share.wait(now.0, webhook);
        }
        if before != now && self.origins.is_anyone_waiting() {
            let origin = lane.origin.clone();
            self.let_in(&origin);
        }
    }

    /// Gives the next one a turn of those that wait for attempts at their origin to end.
    pub(super) fn let_in(&mut self, origin: &Origin) {
        while let Some(webhook) = self.origins.next(origin) {
            if let Some(lane) = self.lanes.get_mut(&webhook) {
                lane.waits_at_origin = false;
                self.give_turn(webhook);
                return;
            }
        }
    }

    /// Whoever keeps silent is counted as ailing from now on.
    pub(super) fn notice_silence(&mut self) {
        if self.on_their_way == 0 || self.looked_for_silence_at.elapsed() < SILENCE_LOOK {
            return;
        }
        let now = Instant::now();
        self.looked_for_silence_at = now;
        let changed = |lane: &Lane| lane.on_their_way() > 0 && lane.class(now) != lane.counted.0;
        let lanes = self.lanes.iter().filter(|(_, lane)| changed(lane));
        let silent: Vec<_> = lanes.map(|(webhook, _)| *webhook).collect();
        silent
            .into_iter()
            .for_each(|webhook| self.give_turn(webhook));
    }

    /// Starts all that the bounds allow, one delivery of each webhook in turn.
    pub(super) fn launch(&mut self, fresh: &FreshDeliveries) {
        if fresh.take_overflow() {
            self.turn_all_away();
        }
        let now = Instant::now();
        for class in Class::ALL {
            while self.has_room(class)
                && let Some(webhook) = self.share.next(class)
            {
                self.take_turn(webhook, class, now);
            }
        }
    }

    /// Lets a lane send one delivery, or ask to be read.
    fn take_turn(&mut self, webhook: WebhookId, class: Class, now: Instant) {
        let Some(lane) = self.lanes.get_mut(&webhook) else {
            return;
        };
        *lane.places.of_mut(class) = false;
        if lane.turn != Some(class) {
            return;
        }
        lane.turn = None;
        if !self.origins.has_room(&lane.origin, class) {
            self.readings.ask(webhook, lane);
            if !std::mem::replace(&mut lane.waits_at_origin, true) {
                self.origins.wait(&lane.origin, webhook);
            }
            return;
        }
        let is_anyone_waiting = self.origins.is_anyone_waiting();
        let origin = is_anyone_waiting.then(|| lane.origin.clone());
        let turn = lane.take(now);
        self.readings.ask(webhook, lane);
        match turn {
            Turn::Send(owed) => {
                self.give_turn(webhook);
                self.send(owed, Trigger::Automatic, None);
            }
            Turn::At(at) => self.turn_timers.set(webhook, at),
            Turn::Idle => {}
        }
        // It was let in alone, and perhaps there is room for more, or it had no use for it.
        if let Some(origin) = origin {
            self.let_in(&origin);
        }
    }

    fn has_room(&self, class: Class) -> bool {
        self.unfinished < self.tools.limits.unfinished && self.share.has_room(class)
    }

    /// Whether somebody who has room was given a turn after those of its class had theirs.
    pub(super) fn is_anyones_turn(&self) -> bool {
        let is_next = |class: &Class| self.share.waiting(*class) > 0 && self.has_room(*class);
        Class::ALL.iter().any(is_next)
    }
}
