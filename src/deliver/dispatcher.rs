//! The dispatcher: decides which webhook sends next, within its bounds, and has every attempt
//! recorded before it forgets it. Runs alone on one thread; woken by commits, never polling.

mod asked;
mod ended;
mod turns;

use super::attempt::{self, Made, Target, Told, Tools};
use super::backlog::{self, Readings, in_background};
use super::books::Books;
use super::health::Failing;
use super::lane::{Lane, Room, Terms};
use super::listing::{self, Listing};
use super::origins::Origins;
use super::record;
use super::request::{ATTEMPT_REQUESTS, Asked, AttemptRequest};
use super::share::{Class, Share};
use super::tasks::{Done, Tasks};
use super::timers::Timers;
use crate::delivery::Trigger;
use crate::followers::FreshDeliveries;
use crate::id::WebhookId;
use crate::store::deliveries::OwedDelivery;
use crate::store::health::{self, Health};
use crate::time::now_ms;
use crate::webhook::{Webhook, WebhookState};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

/// After a failure of the box itself (not of a receiver), a webhook is left alone for this long.
const SETBACK_MS: i64 = 1_000;
/// The dispatcher looks around at least this often: the clock may jump (promise 12), and connections
/// that nobody uses are to be closed.
const LOOK: Duration = Duration::from_secs(15);
/// Between two looks at what changes may have owed there is at least this time. Each costs every webhook a look
/// at the file, and one that is held back a reading that has begun: of changes without an end it would starve.
const CHANGES_APART: Duration = Duration::from_millis(100);
/// Receivers that keep silent are looked for this often, while any attempt is on its way.
const SILENCE_LOOK: Duration = Duration::from_millis(250);

/// Sends until `stop` says so, then lets what is on its way end.
pub(super) async fn run(
    tools: Arc<Tools>,
    fresh: FreshDeliveries,
    mut asked_for: mpsc::Receiver<Asked>,
    mut stop: watch::Receiver<bool>,
) {
    let Some(health) = failing_at_start(&tools, &mut stop).await else {
        return;
    };
    let mut dispatcher = Dispatcher::new(tools, &health);
    // What was made before the start may be on no list yet: following the catalog looks for it.
    dispatcher.follow_catalog(&health);
    loop {
        dispatcher.ring_timers();
        dispatcher.look_at_changes();
        dispatcher.notice_silence();
        // What was given up must not be sent because an answer came in together with that.
        dispatcher.hear_all(&mut asked_for);
        dispatcher.launch(&fresh);
        dispatcher.look_up_asked_for();
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
                dispatcher.take_committed(&fresh);
                dispatcher.finish(done);
                // What has ended together is taken together, and one look around serves all of it.
                while let Some(done) = dispatcher.tasks.next_ready() {
                    dispatcher.finish(done);
                }
            }
            () = fresh.committed() => dispatcher.take_committed(&fresh),
            Some(asked) = asked_for.recv(), if dispatcher.asked_for.len() < ATTEMPT_REQUESTS => {
                dispatcher.hear(asked);
            }
            () = dispatcher.tools.catalog.changed() => {
                // What was committed before the change comes before it.
                dispatcher.take_committed(&fresh);
                dispatcher.follow_catalog(&HashMap::new());
            }
            () = tokio::time::sleep(sleep) => {}
        }
    }
    dispatcher.drain().await;
}

/// Which receivers failed before the start; `None` when the box stops before the file says so.
async fn failing_at_start(
    tools: &Tools,
    stop: &mut watch::Receiver<bool>,
) -> Option<HashMap<WebhookId, Health>> {
    loop {
        let readers = tools.readers.clone();
        match in_background(move || health::all(&*readers.get()?)).await {
            Ok(health) => return Some(health.into_iter().collect()),
            Err(e) => tracing::error!(error = %e, "which webhooks fail could not be read yet"),
        }
        let setback = Duration::from_millis(SETBACK_MS.unsigned_abs());
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return None,
            () = tokio::time::sleep(setback) => {}
        }
    }
}

struct Dispatcher {
    tools: Arc<Tools>,
    books: Books,
    lanes: HashMap<WebhookId, Lane>,
    /// What the file says of receivers that fail.
    failing: Failing,
    room: Room,
    targets: HashMap<WebhookId, Arc<Target>>,
    /// Lanes that may have something to send or to read, taken in turn.
    share: Share,
    /// What receivers that are not steady take of it at each origin.
    origins: Origins,
    readings: Readings,
    listing: Listing,
    /// When a lane's file must be looked at again.
    timers: Timers<i64>,
    /// When a lane that is held back gets a turn.
    turn_timers: Timers<Instant>,
    tasks: Tasks,
    /// Attempts outside the schedule that have not begun.
    asked_for: VecDeque<AttemptRequest>,
    /// Attempts outside the schedule that have begun and have no answer so far.
    asked_under_way: usize,
    /// Attempts without an answer so far.
    on_their_way: usize,
    /// Attempts on their way or not yet recorded.
    unfinished: usize,
    /// Attempts that gather here while the last ones are being recorded.
    unrecorded: Vec<Made>,
    is_recording: bool,
    looked_at: Instant,
    /// When what changes may have owed was looked for.
    looked_at_changes: Option<Instant>,
    /// Whether something was changed since then.
    is_changed: bool,
    looked_for_silence_at: Instant,
}

impl Dispatcher {
    fn new(tools: Arc<Tools>, health: &HashMap<WebhookId, Health>) -> Self {
        let since = |(id, health): (&WebhookId, &Health)| (*id, health.failing_since_ms);
        Self {
            room: Room::new(tools.limits.ready_bytes),
            books: Books::of(&tools),
            share: Share::new(tools.limits.concurrency),
            origins: Origins::new(tools.limits.concurrency.div_ceil(4)),
            failing: health.iter().map(since).collect(),
            tools,
            lanes: HashMap::new(),
            targets: HashMap::new(),
            readings: Readings::default(),
            listing: Listing::new(Instant::now()),
            timers: Timers::new(),
            turn_timers: Timers::new(),
            tasks: Tasks::default(),
            asked_for: VecDeque::new(),
            asked_under_way: 0,
            on_their_way: 0,
            unfinished: 0,
            unrecorded: Vec::new(),
            is_recording: false,
            looked_at: Instant::now(),
            looked_at_changes: None,
            is_changed: false,
            looked_for_silence_at: Instant::now(),
        }
    }

    /// Opens lanes for new webhooks, closes those of deleted ones, follows pauses and edits at once, and has what
    /// the change owes to webhooks looked for. `health` says which receivers failed before the start.
    fn follow_catalog(&mut self, health: &HashMap<WebhookId, Health>) {
        let (catalog, now) = (self.tools.catalog.current(), Instant::now());
        let (share, origins) = (&mut self.share, &mut self.origins);
        let mut left = Vec::new();
        self.lanes.retain(|id, lane| {
            let stays = catalog.webhook(*id).is_some();
            if !stays {
                share.recount(lane.counted, (Class::Unknown, 0));
                origins.recount(&lane.origin, lane.counted, (Class::Unknown, 0));
                left.push(lane.origin.clone());
            }
            stays
        });
        self.failing.retain(|id, _| catalog.webhook(*id).is_some());
        self.targets.retain(|id, target| {
            catalog
                .webhook(*id)
                .is_some_and(|webhook| Arc::ptr_eq(webhook, &target.webhook))
        });
        for webhook in catalog.webhooks() {
            let terms = terms(webhook, self.tools.limits.webhook_concurrency);
            let failures = || health.get(&webhook.id).map_or(0, |health| health.failures);
            let open = || Lane::open(self.room.clone(), terms, failures(), now);
            let lane = self.lanes.entry(webhook.id).or_insert_with(open);
            lane.follow(terms);
            let origin = webhook.settings.url.origin();
            if lane.origin != origin {
                let nothing = (Class::Unknown, 0);
                self.origins.recount(&lane.origin, lane.counted, nothing);
                self.origins.recount(&origin, nothing, lane.counted);
                left.push(std::mem::replace(&mut lane.origin, origin));
            }
            self.give_turn(webhook.id);
        }
        drop(catalog);
        left.iter().for_each(|origin| self.let_in(origin));
        self.is_changed = true;
        self.look_at_changes();
    }

    /// Looks, in good time, for what changes may have owed or given up without changing a webhook.
    fn look_at_changes(&mut self) {
        if !self.is_changed || self.until_look_at_changes() > Duration::ZERO {
            return;
        }
        self.is_changed = false;
        self.looked_at_changes = Some(Instant::now());
        let lanes = self.lanes.iter_mut();
        let read_anew =
            |(webhook, lane): (&WebhookId, &mut Lane)| lane.distrust().then_some(*webhook);
        let held_back: Vec<_> = lanes.filter_map(read_anew).collect();
        held_back
            .into_iter()
            .for_each(|webhook| self.give_turn(webhook));
        self.turn_all_away();
    }

    fn until_look_at_changes(&self) -> Duration {
        let looked_at = self.looked_at_changes;
        looked_at.map_or(Duration::ZERO, |at| {
            CHANGES_APART.saturating_sub(at.elapsed())
        })
    }

    /// Takes what has been committed by now.
    fn take_committed(&mut self, fresh: &FreshDeliveries) {
        fresh.take().into_iter().for_each(|owed| self.push(owed));
    }

    fn push(&mut self, owed: OwedDelivery) {
        let webhook = owed.webhook;
        if self.listing.has_looked_at(owed.id) {
            // Who commits may tell of it late. It was found in the file meanwhile, and perhaps sent.
            return;
        }
        self.listing.committed(Instant::now());
        let lane = self.lanes.get_mut(&webhook);
        // What is held back has time until all that was committed is looked at.
        let has_time = lane.is_some_and(|lane| lane.push(owed) || lane.is_held_back());
        if !has_time {
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
            if trigger != Trigger::Automatic {
                self.ended_asked_for();
            } else if let Some(lane) = self.lanes.get_mut(&owed.webhook) {
                lane.not_made(owed.id);
            }
            self.give_turn(owed.webhook);
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
        let mut failing = Failing::new();
        if !self.failing.is_empty() {
            let known = |made: &Made| Some((made.webhook, *self.failing.get(&made.webhook)?));
            failing.extend(made.iter().filter_map(known));
        }
        let books = self.books.clone();
        self.tasks
            .start(async move { Done::Recorded(record::record(&books, made, failing).await) });
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
        let now = Instant::now();
        let mut wait = self.listing.wait(now).unwrap_or(LOOK);
        if let Some(at_ms) = self.timers.next() {
            let wait_ms = u64::try_from(at_ms - now_ms()).unwrap_or(0);
            wait = wait.min(Duration::from_millis(wait_ms));
        }
        if let Some(at) = self.turn_timers.next() {
            wait = wait.min(at.saturating_duration_since(now));
        }
        if self.is_changed {
            wait = wait.min(self.until_look_at_changes());
        }
        if self.on_their_way > 0 {
            wait = wait.min(SILENCE_LOOK);
        }
        if self.is_anyones_turn() {
            wait = Duration::ZERO;
        }
        wait
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
        let now = Instant::now();
        while let Some(webhook) = self.turn_timers.ring(now) {
            self.give_turn(webhook);
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

fn terms(webhook: &Webhook, concurrency: usize) -> Terms {
    let own = webhook.settings.concurrency;
    let own = own.and_then(|concurrency| usize::try_from(concurrency).ok());
    Terms {
        is_active: webhook.state == WebhookState::Active,
        concurrency: own.unwrap_or(concurrency),
        rate: webhook.settings.rate,
        is_ordered: webhook.settings.is_ordered,
        changed_at_ms: webhook.changed_at_ms,
    }
}
