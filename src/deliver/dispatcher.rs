//! The dispatcher: decides which webhook sends next, within its bounds, and has every attempt
//! recorded before it forgets it. Runs alone on one thread; woken by commits, never polling.

use super::attempt::{self, Made, Target, Told, Tools};
use super::backlog::{self, Backlog, Readings, in_background};
use super::lane::{Lane, READY_LIMIT, Room};
use super::listing::{self, Listing};
use super::record::{self, Fate, Recorded};
use super::request::AttemptRequest;
use super::tasks::{Done, Tasks};
use super::timers::Timers;
use crate::delivery::{DeliveryState, Trigger};
use crate::error::Result;
use crate::followers::FreshDeliveries;
use crate::id::WebhookId;
use crate::store::deliveries::{self, OwedDelivery};
use crate::time::now_ms;
use crate::webhook::WebhookState;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

/// After a failure of the box itself (not of a receiver), a webhook is left alone for this long.
const SETBACK_MS: i64 = 1_000;
/// The dispatcher looks around at least this often: the clock may jump (promise 12), and connections
/// that nobody uses are to be closed.
const LOOK: Duration = Duration::from_secs(15);

/// Sends until `stop` says so, then lets what is on its way end.
pub(super) async fn run(
    tools: Arc<Tools>,
    mut fresh: FreshDeliveries,
    mut asked_for: mpsc::Receiver<AttemptRequest>,
    mut stop: watch::Receiver<bool>,
) {
    let mut dispatcher = Dispatcher::new(tools);
    dispatcher.follow_catalog();
    // What was made before the start may be on no list yet.
    dispatcher.turn_all_away();
    loop {
        dispatcher.ring_timers();
        dispatcher.launch(&fresh);
        dispatcher.list_as_due();
        dispatcher.read();
        dispatcher.record();
        dispatcher.close_idle_connections();
        let sleep = dispatcher.until_next_timer();
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            Some(done) = dispatcher.tasks.next() => {
                // What was committed comes before what was recorded: a delivery that the file and the
                // queue both have is then still known when its second copy is met. (It was in the queue
                // before it could be listed, read, sent and recorded, rounds ago.)
                dispatcher.take_committed(&mut fresh);
                dispatcher.finish(done);
                // What has ended together is taken together, and one look around serves all of it.
                while let Some(done) = dispatcher.tasks.next_ready() {
                    dispatcher.finish(done);
                }
            }
            committed = fresh.queue.recv() => match committed {
                Some(owed) => {
                    dispatcher.push(owed);
                    dispatcher.take_committed(&mut fresh);
                }
                None => break,
            },
            Some(request) = asked_for.recv() => dispatcher.look_up(request),
            () = dispatcher.tools.catalog.changed() => {
                dispatcher.follow_catalog();
                // A change, and what webhooks are told of it, may have been made by another process.
                dispatcher.turn_all_away();
            }
            () = tokio::time::sleep(sleep) => {}
        }
    }
    dispatcher.drain().await;
}

struct Dispatcher {
    tools: Arc<Tools>,
    lanes: HashMap<WebhookId, Lane>,
    room: Room,
    targets: HashMap<WebhookId, Arc<Target>>,
    /// Lanes that may have something to send or to read, each at most once, taken in turn.
    turns: VecDeque<WebhookId>,
    readings: Readings,
    listing: Listing,
    /// When a lane's file must be looked at again.
    timers: Timers,
    tasks: Tasks,
    /// Attempts without an answer so far.
    on_their_way: usize,
    /// Attempts on their way or not yet recorded.
    unfinished: usize,
    /// Attempts that gather here while the last ones are being recorded.
    unrecorded: Vec<Made>,
    is_recording: bool,
    looked_at: Instant,
}

impl Dispatcher {
    fn new(tools: Arc<Tools>) -> Self {
        Self {
            room: Room::new(tools.limits.ready_bytes),
            tools,
            lanes: HashMap::new(),
            targets: HashMap::new(),
            turns: VecDeque::new(),
            readings: Readings::default(),
            listing: Listing::new(Instant::now()),
            timers: Timers::default(),
            tasks: Tasks::default(),
            on_their_way: 0,
            unfinished: 0,
            unrecorded: Vec::new(),
            is_recording: false,
            looked_at: Instant::now(),
        }
    }

    /// Opens lanes for new webhooks, closes those of deleted ones, follows pauses and edits.
    fn follow_catalog(&mut self) {
        let catalog = self.tools.catalog.current();
        self.lanes.retain(|id, _| catalog.webhook(*id).is_some());
        self.targets.retain(|id, target| {
            catalog
                .webhook(*id)
                .is_some_and(|webhook| Arc::ptr_eq(webhook, &target.webhook))
        });
        for webhook in catalog.webhooks() {
            let open = || Lane::open(self.room.clone());
            let lane = self.lanes.entry(webhook.id).or_insert_with(open);
            lane.set_active(webhook.state == WebhookState::Active);
            self.give_turn(webhook.id);
        }
    }

    fn give_turn(&mut self, webhook: WebhookId) {
        if let Some(lane) = self.lanes.get_mut(&webhook)
            && !lane.has_turn
        {
            lane.has_turn = true;
            self.turns.push_back(webhook);
        }
    }

    /// Takes what has been committed by now.
    fn take_committed(&mut self, fresh: &mut FreshDeliveries) {
        for _ in 0..READY_LIMIT {
            match fresh.queue.try_recv() {
                Ok(owed) => self.push(owed),
                Err(_) => break,
            }
        }
    }

    fn push(&mut self, owed: OwedDelivery) {
        let webhook = owed.webhook;
        self.listing.committed(Instant::now());
        let has_room = self
            .lanes
            .get_mut(&webhook)
            .is_some_and(|lane| lane.push(owed));
        if !has_room {
            // Without a lane the webhook was made or deleted a moment ago; what it is owed is found, or
            // cancelled, in the file.
            self.listing.turned_away([webhook], Instant::now());
        }
        self.give_turn(webhook);
    }

    /// Something may be due that no lane has heard of.
    fn turn_all_away(&mut self) {
        self.listing
            .turned_away(self.lanes.keys().copied(), Instant::now());
    }

    /// Starts all that the bounds allow, one delivery of each webhook in turn.
    fn launch(&mut self, fresh: &FreshDeliveries) {
        if fresh.take_overflow() {
            self.turn_all_away();
        }
        let mut rest = self.turns.len();
        while rest > 0 && self.has_room() {
            rest -= 1;
            let Some(webhook) = self.turns.pop_front() else {
                break;
            };
            let Some(lane) = self.lanes.get_mut(&webhook) else {
                continue;
            };
            lane.has_turn = false;
            if let Some(owed) = lane.take(self.tools.limits.webhook_concurrency) {
                self.give_turn(webhook);
                rest += 1;
                self.send(owed, Trigger::Automatic, None);
            } else {
                self.readings.ask(webhook, lane);
            }
        }
    }

    fn has_room(&self) -> bool {
        let limits = &self.tools.limits;
        self.on_their_way < limits.concurrency && self.unfinished < limits.unfinished
    }

    fn target(&mut self, webhook: WebhookId) -> Option<Arc<Target>> {
        if let Some(target) = self.targets.get(&webhook) {
            return Some(Arc::clone(target));
        }
        let webhook = Arc::clone(self.tools.catalog.current().webhook(webhook)?);
        let target = Arc::new(Target::new(webhook, &self.tools.limits));
        self.targets.insert(target.webhook.id, Arc::clone(&target));
        Some(target)
    }

    fn send(&mut self, owed: OwedDelivery, trigger: Trigger, told: Option<Told>) {
        let Some(target) = self.target(owed.webhook) else {
            // Deleted a moment ago; its deliveries are cancelled in the file.
            if let (Trigger::Automatic, Some(lane)) = (trigger, self.lanes.get_mut(&owed.webhook)) {
                lane.answered();
                lane.recorded(owed.id);
            }
            return;
        };
        self.on_their_way += 1;
        self.unfinished += 1;
        let tools = Arc::clone(&self.tools);
        self.tasks.start(async move {
            Done::Attempt(attempt::attempt(&tools, &target, owed, trigger, told).await)
        });
    }

    /// Has recorded what has gathered while the last records were on their way to the disk.
    fn record(&mut self) {
        if self.is_recording || self.unrecorded.is_empty() {
            return;
        }
        self.is_recording = true;
        let made = std::mem::take(&mut self.unrecorded);
        let tools = Arc::clone(&self.tools);
        self.tasks
            .start(async move { Done::Recorded(record::record(&tools.writer, made).await) });
    }

    /// Reads the backlogs that are wanted.
    fn read(&mut self) {
        let wanted = self.readings.begin(&mut self.lanes);
        if wanted.is_empty() {
            return;
        }
        let bytes = self.room.free();
        let readers = self.tools.readers.clone();
        self.tasks.start(async move {
            let webhooks = wanted.iter().map(|wanted| wanted.webhook).collect();
            let read = move || backlog::read(&*readers.get()?, &wanted, bytes);
            let backlogs = in_background(read).await;
            Done::Reading { webhooks, backlogs }
        });
    }

    /// Has what was not sent from memory put on the due lists.
    fn list_as_due(&mut self) {
        let Some(turned_away) = self.listing.begin(Instant::now()) else {
            return;
        };
        let tools = Arc::clone(&self.tools);
        self.tasks.start(async move {
            let listed = listing::list_as_due(&tools.readers, &tools.writer).await;
            Done::Listing {
                listed,
                turned_away,
            }
        });
    }

    /// Makes one attempt outside the schedule and its bounds; there are few, and a person waits.
    fn look_up(&mut self, request: AttemptRequest) {
        let (readers, id) = (self.tools.readers.clone(), request.delivery);
        self.tasks.start(async move {
            let found = in_background(move || deliveries::owed(&*readers.get()?, id)).await;
            Done::Lookup { found, request }
        });
    }

    fn finish(&mut self, done: Done) {
        match done {
            Done::Attempt(made) => self.finish_attempt(made),
            Done::Recorded(recorded) => {
                self.is_recording = false;
                recorded.into_iter().for_each(|one| self.finish_record(one));
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
                Ok(None) => {}
                Err(e) => tracing::error!(error = %e, "a delivery could not be looked up"),
            },
        }
    }

    /// The receiver is free for the next one, while this one's record goes to the disk.
    fn finish_attempt(&mut self, made: Made) {
        self.on_their_way = self.on_their_way.saturating_sub(1);
        if let (Trigger::Automatic, Some(lane)) =
            (made.attempt.trigger, self.lanes.get_mut(&made.webhook))
        {
            lane.answered();
            self.give_turn(made.webhook);
        }
        self.unrecorded.push(made);
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
            Fate::Stands(standing) => (
                standing.state != DeliveryState::Pending,
                standing.next_attempt_at_ms,
            ),
            Fate::Gone => (true, None),
            Fate::Unrecorded => (false, Some(now_ms() + SETBACK_MS)),
        };
        if let Some(lane) = self.lanes.get_mut(&webhook) {
            match trigger {
                Trigger::Automatic => lane.recorded(delivery),
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
                        lane.finish_reading(Vec::new(), false);
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
        lane.finish_reading(backlog.due, backlog.is_full);
        self.give_turn(webhook);
        if let Some(next_ms) = backlog.next_due_ms {
            self.set_timer(webhook, next_ms);
        }
    }

    fn look_again(&mut self, webhook: WebhookId) {
        if let Some(lane) = self.lanes.get_mut(&webhook) {
            lane.look_again();
            self.give_turn(webhook);
        }
    }

    fn set_timer(&mut self, webhook: WebhookId, at_ms: i64) {
        if self.lanes.contains_key(&webhook) {
            self.timers.set(webhook, at_ms);
        }
    }

    fn until_next_timer(&self) -> Duration {
        let listing = self.listing.wait(Instant::now()).unwrap_or(LOOK);
        let Some(at_ms) = self.timers.next_ms() else {
            return listing;
        };
        let wait_ms = u64::try_from(at_ms - now_ms()).unwrap_or(0);
        Duration::from_millis(wait_ms).min(listing)
    }

    fn close_idle_connections(&mut self) {
        if self.looked_at.elapsed() >= LOOK {
            self.looked_at = Instant::now();
            self.tools.connections.close_idle();
        }
    }

    fn ring_timers(&mut self) {
        let now_ms = now_ms();
        while let Some(webhook) = self.timers.ring(now_ms) {
            self.look_again(webhook);
        }
    }

    /// Lets what is on its way end and be recorded; what does not is pending on disk and goes out
    /// after the start.
    async fn drain(mut self) {
        let timeout = self.tools.limits.drain_timeout;
        let drained = async {
            loop {
                self.record();
                match self.tasks.next().await {
                    Some(Done::Attempt(made)) => self.unrecorded.push(made),
                    Some(Done::Recorded(_)) => self.is_recording = false,
                    Some(_) => {}
                    None => break,
                }
            }
        };
        if tokio::time::timeout(timeout, drained).await.is_err() {
            tracing::warn!(
                "attempts were still on their way; they are made again after the next start"
            );
        }
    }
}
