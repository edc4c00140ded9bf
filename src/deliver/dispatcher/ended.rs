//! What has ended, and what follows from it: attempts, records, readings, looks.

use super::{Dispatcher, SETBACK_MS};
use crate::deliver::attempt::Made;
use crate::deliver::backlog::Backlog;
use crate::deliver::health::{Changes, learn};
use crate::deliver::lane::Lane;
use crate::deliver::record::{Fate, Recorded};
use crate::deliver::tasks::Done;
use crate::delivery::{DeliveryState, Trigger};
use crate::error::Result;
use crate::id::WebhookId;
use crate::time::now_ms;
use std::time::Instant;

impl Dispatcher {
    pub(super) fn finish(&mut self, done: Done) {
        match done {
            Done::Attempt(made) => self.finish_attempt(made),
            Done::Recorded(records) => {
                self.is_recording = false;
                for changes in records.changes {
                    self.follow_changes(changes);
                }
                let recorded = records.recorded.into_iter();
                recorded.for_each(|one| self.finish_record(one));
            }
            Done::Reading { webhooks, backlogs } => self.finish_reading(webhooks, backlogs),
            Done::Listing {
                listed,
                turned_away,
            } => {
                let is_known = |id, webhook| {
                    self.lanes
                        .get(&webhook)
                        .is_some_and(|lane: &Lane| lane.knows(id))
                };
                let now = Instant::now();
                let readers = self.listing.end(listed, turned_away, is_known, now);
                readers
                    .into_iter()
                    .for_each(|webhook| self.look_again(webhook));
            }
            Done::Lookup { found, request } => match found {
                Ok(Some(owed)) => self.send(owed, request.trigger, request.told),
                Ok(None) => self.ended_asked_for(),
                Err(e) => {
                    tracing::error!(error = %e, "a delivery could not be looked up");
                    self.ended_asked_for();
                }
            },
        }
    }

    /// The receiver is free for the next one, while this one's record goes to the disk.
    fn finish_attempt(&mut self, made: Made) {
        self.on_their_way = self.on_their_way.saturating_sub(1);
        if made.attempt.trigger != Trigger::Automatic {
            self.ended_asked_for();
        }
        let succeeded = made.attempt.error.is_none();
        if let Some(lane) = self.lanes.get_mut(&made.webhook) {
            match made.attempt.trigger {
                Trigger::Automatic => lane.answered(succeeded, Instant::now(), fastrand::f64()),
                Trigger::Manual | Trigger::Replay | Trigger::Test if succeeded => lane.succeeded(),
                Trigger::Manual | Trigger::Replay | Trigger::Test => {}
            }
            self.give_turn(made.webhook);
        }
        self.unrecorded.push(made);
    }

    /// Takes what recording came to know of receivers, and what is owed to others because of it.
    pub(super) fn follow_changes(&mut self, changes: Changes) {
        learn(&mut self.failing, &changes.health);
        changes.fresh.into_iter().for_each(|owed| self.push(owed));
    }

    fn finish_record(&mut self, recorded: Recorded) {
        self.unfinished = self.unfinished.saturating_sub(1);
        let Recorded {
            delivery,
            webhook,
            trigger,
            fate,
            succeeded,
            told,
        } = recorded;
        if let (Some(told), Fate::Stands(_)) = (told, &fate) {
            // Who asked may have gone away.
            let _ = told.send(succeeded);
        }
        let (is_settled, next_ms) = match fate {
            // Its webhook was paused or disabled, of which this thread hears at once, and may have been
            // activated since: then it is the first again.
            Fate::Stands(standing) if standing.state == DeliveryState::Held => {
                (false, Some(now_ms() + SETBACK_MS))
            }
            Fate::Stands(standing) => (
                standing.state != DeliveryState::Pending,
                standing.next_attempt_at_ms,
            ),
            Fate::Gone => (true, None),
            Fate::Unrecorded => (false, Some(now_ms() + SETBACK_MS)),
        };
        if let Some(lane) = self.lanes.get_mut(&webhook) {
            match trigger {
                Trigger::Automatic => lane.recorded(delivery, is_settled),
                Trigger::Manual | Trigger::Replay | Trigger::Test => {
                    if is_settled {
                        lane.settle(delivery);
                    }
                }
            }
            self.give_turn(webhook);
        }
        if let (Trigger::Automatic, Some(next_ms)) = (trigger, next_ms) {
            self.set_timer(webhook, next_ms);
        }
    }

    fn finish_reading(&mut self, webhooks: Vec<WebhookId>, backlogs: Result<Vec<Backlog>>) {
        self.readings.end();
        match backlogs {
            Ok(backlogs) => {
                for (webhook, backlog) in webhooks.into_iter().zip(backlogs) {
                    self.take_backlog(webhook, backlog);
                }
            }
            Err(e) => {
                tracing::error!(error = %e, "the backlogs of webhooks could not be read");
                for webhook in webhooks {
                    if let Some(lane) = self.lanes.get_mut(&webhook) {
                        lane.finish_reading(Vec::new(), false, false);
                    }
                    self.set_timer(webhook, now_ms() + SETBACK_MS);
                }
            }
        }
    }

    fn take_backlog(&mut self, webhook: WebhookId, backlog: Backlog) {
        let Some(lane) = self.lanes.get_mut(&webhook) else {
            return;
        };
        let is_waiting = backlog.next_due_ms.is_some();
        lane.finish_reading(backlog.due, backlog.is_full, is_waiting);
        self.give_turn(webhook);
        if let Some(next_ms) = backlog.next_due_ms {
            self.set_timer(webhook, next_ms);
        }
    }
}
