//! Attempts that somebody asks for, beside the schedule: a retry, a test, a replay.

use super::Dispatcher;
use crate::deliver::backlog::in_background;
use crate::deliver::request::{ATTEMPT_REQUESTS, Asked, AttemptRequest};
use crate::deliver::tasks::Done;
use crate::store::deliveries;
use tokio::sync::mpsc;

impl Dispatcher {
    pub(super) fn hear_all(&mut self, asked_for: &mut mpsc::Receiver<Asked>) {
        while self.asked_for.len() < ATTEMPT_REQUESTS
            && let Ok(asked) = asked_for.try_recv()
        {
            self.hear(asked);
        }
    }

    pub(super) fn hear(&mut self, asked: Asked) {
        match asked {
            Asked::Attempt(request) => self.asked_for.push_back(request),
            Asked::Send(owed) => self.push(owed),
            Asked::Forget(webhook, settled) => {
                if let Some(lane) = self.lanes.get_mut(&webhook) {
                    settled.into_iter().for_each(|id| lane.settle(id));
                    self.give_turn(webhook);
                }
            }
        }
    }

    /// Begins attempts outside the schedule, as many as the schedule has room for itself: without a bound,
    /// receivers that keep silent would take all that may be unfinished, and the schedule would stand still.
    pub(super) fn look_up_asked_for(&mut self) {
        while self.asked_under_way < self.tools.limits.concurrency {
            let Some(request) = self.asked_for.pop_front() else {
                break;
            };
            self.asked_under_way += 1;
            self.look_up(request);
        }
    }

    fn look_up(&mut self, request: AttemptRequest) {
        let (readers, id) = (self.tools.readers.clone(), request.delivery);
        self.tasks.start(async move {
            let found = in_background(move || deliveries::owed(&*readers.get()?, id)).await;
            Done::Lookup { found, request }
        });
    }

    pub(super) fn ended_asked_for(&mut self) {
        self.asked_under_way = self.asked_under_way.saturating_sub(1);
    }
}
