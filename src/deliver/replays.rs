//! Replays at work: each sends its deliveries once more, at its rate, a few at a time, and notes its place
//! as it goes. What to send is read from the file a little ahead; attempts are the dispatcher's to make.

use super::backlog::in_background;
use super::request::AttemptRequests;
use crate::delivery::Trigger;
use crate::error::Result;
use crate::id::{DeliveryId, ReplayId};
use crate::replay::{
    Candidate, MAX_FAILURES_IN_ROW, MAX_RUNNING, Outcome, Progress, ReplayState, Selection,
};
use crate::store::Readers;
use crate::store::catalog::CatalogHandle;
use crate::store::deliveries;
use crate::store::matching::{self, Order};
use crate::store::replays::{self, ReplayRow};
use crate::store::writer::Writer;
use crate::time::now_ms;
use crate::webhook::WebhookState;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use std::collections::{HashSet, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::time::Instant;

/// Attempts of one replay that are on their way at once.
const IN_FLIGHT: usize = 8;
/// All replays together have one part in so many of the attempts that the box makes at once: the rest is
/// for what is due by the schedule.
const SHARE: usize = 4;
/// Deliveries that a replay has read ahead.
const READ_AHEAD: usize = 64;
/// Deliveries that are sent while the answer of the first of them is awaited: its place stays there, so that
/// no more are sent again after a crash.
const BEYOND_PLACE: usize = 100;
/// Deliveries that are looked at for them in one go.
const LOOK_AT: usize = 2_000;
/// A replay's place is noted at least after so many answers.
const NOTE_AFTER: u32 = 16;
/// And at least this long after an answer, so that its page is up to date.
const NOTE_EVERY: Duration = Duration::from_millis(500);
/// What could not be sent in time is made up for, up to this much time.
const MAKE_UP: Duration = Duration::from_millis(100);
/// After a failure of the box itself a replay is left alone for this long.
const SETBACK: Duration = Duration::from_secs(5);

/// Tells the replays at work that a person changed one of them.
#[derive(Debug, Clone)]
pub struct Replays(Arc<watch::Sender<()>>);

impl Default for Replays {
    fn default() -> Self {
        Self(Arc::new(watch::channel(()).0))
    }
}

impl Replays {
    /// One of them was started, paused, cancelled or told another rate.
    pub fn changed(&self) {
        self.0.send_replace(());
    }
}

/// What replays work with.
#[derive(Debug, Clone)]
pub struct ReplayTools {
    /// Makes the attempts.
    pub attempts: AttemptRequests,
    /// Knows which webhooks send.
    pub catalog: CatalogHandle,
    /// Reads what to send.
    pub readers: Readers,
    /// Notes how far they have come.
    pub writer: Writer,
    /// Attempts that the box makes at once, in all.
    pub concurrency: usize,
}

/// Works until `stop` says so. What is on its way then is sent again after the next start.
pub async fn run(tools: ReplayTools, replays: Replays, mut stop: watch::Receiver<bool>) {
    let room = Arc::new(Semaphore::new((tools.concurrency / SHARE).max(1)));
    let mut changes = replays.0.subscribe();
    let mut at_work: HashSet<ReplayId> = HashSet::new();
    let mut jobs = FuturesUnordered::new();
    loop {
        changes.mark_unchanged();
        match read(&tools, |connection| {
            replays::running(connection, MAX_RUNNING)
        })
        .await
        {
            Ok(running) => {
                for id in running {
                    if at_work.insert(id) {
                        let room = Arc::clone(&room);
                        let job = Job::new(tools.clone(), &replays, room, stop.clone(), id);
                        jobs.push(job.run());
                    }
                }
            }
            Err(e) => tracing::error!(error = %e, "the running replays could not be read"),
        }
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            // It fails only when nobody is left who could change anything.
            _ = changes.changed() => {}
            // One that was started again just when it ended begins anew.
            Some(ended) = jobs.next() => {
                at_work.remove(&ended);
            }
        }
    }
    while jobs.next().await.is_some() {}
}

async fn read<T: Send + 'static>(
    tools: &ReplayTools,
    work: impl FnOnce(&rusqlite::Connection) -> Result<T> + Send + 'static,
) -> Result<T> {
    let readers = tools.readers.clone();
    in_background(move || work(&*readers.get()?)).await
}

type Answer = Pin<Box<dyn Future<Output = (DeliveryId, Outcome)>>>;

/// One replay at work.
struct Job {
    id: ReplayId,
    tools: ReplayTools,
    changes: watch::Receiver<()>,
    stop: watch::Receiver<bool>,
    /// The room that all replays share.
    room: Arc<Semaphore>,
    /// What is to be sent next, in order.
    ahead: VecDeque<Candidate>,
    /// Up to where it was read.
    read_to: DeliveryId,
    /// Whether there is nothing behind that.
    is_read: bool,
    on_their_way: FuturesUnordered<Answer>,
    /// Answers since the place was noted.
    unnoted: u32,
    note_at: Instant,
    send_at: Instant,
}

/// What a job waits for.
enum Met {
    /// The box stops.
    Stop,
    /// A person changed a replay, perhaps this one.
    Change,
    /// An attempt was made, or could not be.
    Answer(DeliveryId, Outcome),
    /// The next delivery may go.
    Turn(OwnedSemaphorePermit),
    /// The place is to be noted.
    TimeToNote,
}

/// How a job ends.
enum End {
    /// All of it is done.
    Done,
    /// The box stops it and says why.
    Paused(String),
    /// A person stopped it.
    Stopped,
    /// The box stops.
    Interrupted,
}

impl Job {
    fn new(
        tools: ReplayTools,
        replays: &Replays,
        room: Arc<Semaphore>,
        stop: watch::Receiver<bool>,
        id: ReplayId,
    ) -> Self {
        let now = Instant::now();
        Self {
            id,
            tools,
            changes: replays.0.subscribe(),
            stop,
            room,
            ahead: VecDeque::new(),
            read_to: DeliveryId::from_i64(0),
            is_read: false,
            on_their_way: FuturesUnordered::new(),
            unnoted: 0,
            note_at: now,
            send_at: now,
        }
    }

    async fn run(mut self) -> ReplayId {
        if let Err(e) = self.work().await {
            tracing::error!(error = %e, replay = %self.id, "a replay could not go on; it is tried again");
            tokio::select! {
                () = tokio::time::sleep(SETBACK) => {}
                _ = self.stop.wait_for(|stop| *stop) => {}
            }
        }
        self.id
    }

    async fn work(&mut self) -> Result<()> {
        let Some(mut row) = self.look().await? else {
            return Ok(());
        };
        let mut progress = Progress::new(row.place, row.counts);
        self.read_to = row.place.max(row.selection.after);
        let end = self.send_all(&mut row, &mut progress).await?;
        // What is on its way is waited for, so that it is counted, unless the box stops.
        let mut is_stopping = matches!(end, End::Interrupted);
        while !is_stopping {
            tokio::select! {
                biased;
                _ = self.stop.wait_for(|stop| *stop) => is_stopping = true,
                answer = self.on_their_way.next() => match answer {
                    Some((delivery, outcome)) => progress.end(delivery, outcome),
                    None => break,
                },
            }
        }
        if matches!(end, End::Done) && !row.is_more {
            progress.finish(row.estimate);
        }
        let end = match end {
            End::Stopped | End::Interrupted => None,
            End::Done => Some((ReplayState::Done, None)),
            End::Paused(why) => Some((ReplayState::Paused, Some(why))),
        };
        self.note(&progress, end).await
    }

    /// The replay as it is now, if it still runs.
    async fn look(&mut self) -> Result<Option<ReplayRow>> {
        let id = self.id;
        self.changes.mark_unchanged();
        let row = read(&self.tools, move |connection| replays::find(connection, id)).await?;
        Ok(row.filter(|row| row.state == ReplayState::Running))
    }

    async fn send_all(&mut self, row: &mut ReplayRow, progress: &mut Progress) -> Result<End> {
        loop {
            if self.ahead.is_empty() && !self.is_read {
                self.read_ahead(row, progress).await?;
            }
            let is_idle = self.ahead.is_empty() && self.on_their_way.is_empty();
            if is_idle && self.is_read {
                return Ok(End::Done);
            }
            if progress.is_hopeless() {
                return Ok(End::Paused(format!(
                    "{MAX_FAILURES_IN_ROW} attempts failed one after the other. See why one of them did, mend the receiver, then start the replay again."
                )));
            }
            if self.unnoted >= NOTE_AFTER {
                self.note(progress, None).await?;
            }
            let may_send = self.has_room_for_next() && progress.open() < BEYOND_PLACE;
            let (send_at, note_at) = (self.send_at, self.note_at);
            let met = tokio::select! {
                biased;
                _ = self.stop.wait_for(|stop| *stop) => Met::Stop,
                _ = self.changes.changed() => Met::Change,
                Some((delivery, outcome)) = self.on_their_way.next() => {
                    Met::Answer(delivery, outcome)
                }
                permit = room_at(&self.room, send_at), if may_send => Met::Turn(permit),
                () = tokio::time::sleep_until(note_at), if self.unnoted > 0 => Met::TimeToNote,
                // Nothing that was looked at is meant, and there is more to look at.
                () = std::future::ready(()), if is_idle => continue,
            };
            match met {
                Met::Stop => return Ok(End::Interrupted),
                Met::Change => match self.look().await? {
                    Some(now) => *row = now,
                    None => return Ok(End::Stopped),
                },
                Met::Answer(delivery, outcome) => {
                    progress.end(delivery, outcome);
                    self.is_to_be_noted();
                }
                Met::Turn(permit) => {
                    if let Some(why) = self.why_not(row) {
                        return Ok(End::Paused(why));
                    }
                    self.send_next(row, permit, progress);
                }
                Met::TimeToNote => self.note(progress, None).await?,
            }
        }
    }

    fn is_to_be_noted(&mut self) {
        if self.unnoted == 0 {
            self.note_at = Instant::now() + NOTE_EVERY;
        }
        self.unnoted += 1;
    }

    /// Reads what comes next, and passes over what is not meant.
    async fn read_ahead(&mut self, row: &ReplayRow, progress: &mut Progress) -> Result<()> {
        let mut selection = row.selection.clone();
        selection.after = self.read_to;
        let (id, workspace, is_chosen) = (self.id, row.workspace, row.is_chosen);
        let (ahead, goes_on_after) = read(&self.tools, move |connection| {
            if is_chosen {
                let after = selection.after;
                let chosen = matching::chosen(connection, workspace, id, after, READ_AHEAD)?;
                let last = chosen.last().map(|last| last.id);
                return Ok((chosen, last));
            }
            let order = Order::OldestFirst;
            let found = matching::find(
                connection, workspace, &selection, order, READ_AHEAD, LOOK_AT,
            )?;
            Ok((found.matching, found.goes_on_after))
        })
        .await?;
        self.ahead.extend(ahead);
        match goes_on_after {
            Some(last) => self.read_to = last,
            None => self.is_read = true,
        }
        // What was looked at in vain is not looked at again after a crash.
        if self.ahead.is_empty() {
            progress.pass(self.read_to);
            self.is_to_be_noted();
        }
        Ok(())
    }

    /// Whether the next delivery can go beside those on their way: its webhook may want fewer at once, and one
    /// after the other where it keeps the order.
    fn has_room_for_next(&self) -> bool {
        let Some(next) = self.ahead.front() else {
            return false;
        };
        let catalog = self.tools.catalog.current();
        let settings = catalog
            .webhook(next.webhook)
            .map(|webhook| &webhook.settings);
        let own = settings.and_then(|settings| match settings.is_ordered {
            true => Some(1),
            false => usize::try_from(settings.concurrency?).ok(),
        });
        self.on_their_way.len() < own.unwrap_or(IN_FLIGHT).clamp(1, IN_FLIGHT)
    }

    /// Why a replay of one webhook cannot go on.
    fn why_not(&self, row: &ReplayRow) -> Option<String> {
        let catalog = self.tools.catalog.current();
        let webhook = catalog.webhook(row.selection.webhook?)?;
        let (what, how) = match webhook.state {
            WebhookState::Active => return None,
            WebhookState::Paused => ("paused", "Activate it"),
            WebhookState::Disabled => ("disabled", "See why on its page, activate it"),
        };
        Some(format!(
            "The webhook is {what}. {how}, then start the replay again."
        ))
    }

    /// Sends the next delivery, or passes it over, and says when the one after it may go.
    fn send_next(
        &mut self,
        row: &ReplayRow,
        permit: OwnedSemaphorePermit,
        progress: &mut Progress,
    ) {
        let Some(next) = self.ahead.pop_front() else {
            return;
        };
        progress.begin(next.id);
        let catalog = self.tools.catalog.current();
        let webhook = catalog.webhook(next.webhook);
        let sends = webhook.is_some_and(|webhook| webhook.state == WebhookState::Active);
        if !sends || row.selection.passes_over(&next) {
            progress.end(next.id, Outcome::Skipped);
            self.is_to_be_noted();
            return;
        }
        let own_rate = webhook.and_then(|webhook| webhook.settings.rate);
        let rate = row.rate.min(own_rate.unwrap_or(row.rate));
        let spacing = Duration::from_secs(1) / rate.max(1);
        let earliest = Instant::now().checked_sub(MAKE_UP).unwrap_or(self.send_at);
        self.send_at = self.send_at.max(earliest) + spacing;
        let (tools, selection) = (self.tools.clone(), row.selection.clone());
        self.on_their_way.push(Box::pin(async move {
            if !is_still_meant(&tools, &selection, &next).await {
                return (next.id, Outcome::Skipped);
            }
            let (told, hears) = oneshot::channel();
            tools
                .attempts
                .request_in_turn(next.id, Trigger::Replay, Some(told))
                .await;
            let outcome = match hears.await {
                Ok(true) => Outcome::Succeeded,
                Ok(false) => Outcome::Failed,
                // Swept, expunged, or its webhook deleted, between the look and the attempt.
                Err(_) => Outcome::Skipped,
            };
            drop(permit);
            (next.id, outcome)
        }));
    }

    /// Writes down how far it has come and, at its end, where it stands, unless a person was faster.
    async fn note(
        &mut self,
        progress: &Progress,
        end: Option<(ReplayState, Option<String>)>,
    ) -> Result<()> {
        let (place, counts) = progress.reached();
        self.unnoted = 0;
        let id = self.id;
        self.tools
            .writer
            .record(move |connection| {
                replays::advance(connection, id, place, &counts)?;
                if let Some((to, reason)) = &end {
                    let states = (ReplayState::Running, *to);
                    replays::set_state(connection, id, states, reason.as_deref(), now_ms())?;
                }
                Ok(())
            })
            .await
    }
}

/// Whether a delivery is still to be sent: it was read a while ago, and may have been settled or given up since.
async fn is_still_meant(tools: &ReplayTools, selection: &Selection, next: &Candidate) -> bool {
    let id = next.id;
    match read(tools, move |connection| {
        deliveries::standing(connection, id)
    })
    .await
    {
        Ok(Some(standing)) => {
            let now = Candidate {
                state: standing.state,
                ..next.clone()
            };
            selection.matches(&now) && !selection.passes_over(&now)
        }
        Ok(None) => false,
        Err(e) => {
            tracing::error!(error = %e, delivery = %id, "a delivery could not be looked at again before it was sent");
            true
        }
    }
}

/// A place in the room that all replays share, not before a time.
async fn room_at(room: &Arc<Semaphore>, at: Instant) -> OwnedSemaphorePermit {
    tokio::time::sleep_until(at).await;
    match Arc::clone(room).acquire_owned().await {
        Ok(permit) => permit,
        // It is never closed.
        Err(_) => std::future::pending().await,
    }
}
