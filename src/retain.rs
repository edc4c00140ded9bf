//! RETAIN: what is older than the box keeps goes, in slices too short for ingest to feel, and so does
//! the oldest when the file holds more than it may. What is still owed stays, and so does what is not
//! yet projected. Knows no table; `store::retention` does.

use crate::error::Result;
use crate::id::EventId;
use crate::space::SpaceWatch;
use crate::store::Readers;
use crate::store::retention::{self, Bite, Range};
use crate::store::webhooks;
use crate::store::writer::Writer;
use crate::time::now_ms;
use rusqlite::Connection;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long things are kept.
#[derive(Debug, Clone, Copy)]
pub struct Keep {
    /// Events, milliseconds.
    pub events_ms: i64,
    /// Settled deliveries with their attempts, milliseconds.
    pub deliveries_ms: i64,
    /// Bytes that the file may hold.
    pub bytes: i64,
}

/// The bounds of sweeping.
#[derive(Debug, Clone, Copy)]
pub struct SweepLimits {
    /// How long things are kept.
    pub keep: Keep,
    /// A slice ends after this long on the writer.
    pub slice: Duration,
    /// After a slice the sweeper rests this many times as long as the slice took: 9 leaves it a tenth
    /// of the writer.
    pub rests: u32,
    /// How long from the end of a sweep to the next.
    pub every: Duration,
}

/// The disk is looked at this often: sweeps are too far apart for one that fills up.
const LOOK_AT_DISK: Duration = Duration::from_secs(60);

/// Events that go at once when the file holds too much.
const STEP_EVENTS: i64 = 1_000;

/// Takes away what is too old.
#[derive(Debug, Clone)]
pub struct Sweeper {
    writer: Writer,
    readers: Readers,
    limits: SweepLimits,
    space: Option<SpaceWatch>,
}

/// Where a sweep is: the last id that was looked at in each table. Old rows that stay are passed once
/// in a sweep, however many they are.
#[derive(Debug, Default, Clone, Copy)]
struct Places {
    delivery: i64,
    message: i64,
    replay: i64,
    event: i64,
    reject: i64,
    /// The newest event of the timeline's oldest segment, as it was when last looked at.
    segment_end: i64,
    /// Rows that went so far.
    rows: usize,
}

/// How far a sweep goes: the first ids that stay.
#[derive(Debug, Clone, Copy)]
struct Horizon {
    events: i64,
    deliveries: i64,
}

/// Waits for as long as it is told, and says whether to go on.
type Rest<'a> = &'a mut dyn FnMut(Duration) -> bool;

fn look_at_disk(space: Option<&mut SpaceWatch>, writer: &Writer) {
    let Some(space) = space else { return };
    if let Err(e) = space.look(now_ms())
        && writer.is_alive()
    {
        tracing::error!(error = %e, "the disk's room could not be looked at and will be again");
    }
}

impl Sweeper {
    /// A sweeper that has not begun.
    pub fn new(writer: Writer, readers: Readers, limits: SweepLimits) -> Self {
        Self {
            writer,
            readers,
            limits,
            space: None,
        }
    }

    /// The same sweeper, which looks at the disk between two sweeps as well.
    #[must_use]
    pub fn watching(self, space: SpaceWatch) -> Self {
        Self {
            space: Some(space),
            ..self
        }
    }

    /// Starts its thread, which sweeps at once and then every so often, until the sender is dropped.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(self) -> std::io::Result<(Sender<()>, JoinHandle<()>)> {
        let (stop, stopped) = channel();
        let thread = std::thread::Builder::new()
            .name("sweeper".to_owned())
            .spawn(move || self.run(&stopped))?;
        Ok((stop, thread))
    }

    fn run(mut self, stopped: &Receiver<()>) {
        let (mut space, writer) = (self.space.take(), self.writer.clone());
        let mut looked: Option<Instant> = None;
        // Also between the slices of a sweep, which may take hours.
        let mut rest = |pause| {
            if looked.is_none_or(|at| at.elapsed() >= LOOK_AT_DISK) {
                looked = Some(Instant::now());
                look_at_disk(space.as_mut(), &writer);
            }
            matches!(stopped.recv_timeout(pause), Err(RecvTimeoutError::Timeout))
        };
        if !rest(Duration::ZERO) {
            return;
        }
        loop {
            match self.sweep(now_ms(), &mut rest) {
                Ok(0) => {}
                Ok(rows) => tracing::info!(rows, "what is older than the box keeps was taken away"),
                Err(e) if self.writer.is_alive() => {
                    tracing::error!(error = %e, "taking away what is old failed and will be tried again");
                }
                Err(_) => return,
            }
            let mut left = self.limits.every;
            while !left.is_zero() {
                let pause = left.min(LOOK_AT_DISK);
                if !rest(pause) {
                    return;
                }
                left -= pause;
            }
        }
    }

    /// Takes away all that is too old at `now_ms` (Unix milliseconds), resting between slices; says
    /// how many rows went. Ends early when `rest` says so.
    ///
    /// # Errors
    /// When the file refuses; the slices before stay swept.
    pub fn sweep(&self, now_ms: i64, rest: Rest<'_>) -> Result<usize> {
        self.writer
            .alone_blocking(move |connection| webhooks::forget_retired_keys(connection, now_ms))?;
        let keep = self.limits.keep;
        let first_at = |ms: i64| EventId::first_at(ms).as_i64();
        let mut horizon = Horizon {
            events: first_at(now_ms - keep.events_ms),
            deliveries: first_at(now_ms - keep.deliveries_ms),
        };
        let mut places = Places::default();
        let mut goes_on = self.sweep_to(horizon, &mut places, rest)?;
        while goes_on && retention::used_bytes(&*self.readers.get()?)? > keep.bytes {
            let rest_of_log = Range {
                after: places.event,
                before: i64::MAX,
            };
            let next = retention::end_of_events(&*self.readers.get()?, rest_of_log, STEP_EVENTS)?;
            let Some(last) = next else {
                tracing::warn!(
                    "the file holds more than --keep-bytes without any event that may go"
                );
                break;
            };
            horizon = Horizon {
                events: last + 1,
                deliveries: horizon.deliveries.max(last + 1),
            };
            goes_on = self.sweep_to(horizon, &mut places, rest)?;
        }
        Ok(places.rows)
    }

    /// What is owed first, so that what it needs can follow; says whether to go on.
    fn sweep_to(&self, horizon: Horizon, places: &mut Places, rest: Rest<'_>) -> Result<bool> {
        let (rows, held_before) = (&mut places.rows, horizon.events);
        Ok(self.sweep_table(
            (&mut places.delivery, horizon.deliveries),
            move |connection, range| retention::take_deliveries(connection, range, held_before),
            rows,
            rest,
        )? && self.sweep_table(
            (&mut places.message, horizon.deliveries),
            retention::take_messages,
            rows,
            rest,
        )? && self.sweep_table(
            (&mut places.replay, horizon.deliveries),
            retention::take_replays,
            rows,
            rest,
        )? && self.sweep_table(
            (&mut places.event, horizon.events),
            retention::take_events,
            rows,
            rest,
        )? && self.sweep_table(
            (&mut places.reject, horizon.events),
            retention::take_rejects,
            rows,
            rest,
        )? && self.sweep_timeline(places, rest)?)
    }

    /// Takes a table's rows from a place on to a horizon.
    fn sweep_table(
        &self,
        (place, before): (&mut i64, i64),
        take: impl Fn(&Connection, Range) -> Result<Option<Bite>> + Copy + Send + 'static,
        rows: &mut usize,
        rest: Rest<'_>,
    ) -> Result<bool> {
        loop {
            let from = *place;
            let work = move |connection: &Connection, is_over: &dyn Fn() -> bool| {
                let (mut after, mut taken) = (from, 0);
                while let Some(bite) = take(connection, Range { after, before })? {
                    after = bite.last;
                    taken += bite.taken;
                    if is_over() {
                        return Ok((after, taken, false));
                    }
                }
                Ok((after, taken, true))
            };
            let ((last, taken, is_done), goes_on) = self.slice(work, rest)?;
            *place = last;
            *rows += taken;
            if is_done || !goes_on {
                return Ok(goes_on);
            }
        }
    }

    /// Takes the timeline's segments whose events were all looked at: one that is partly old stays
    /// whole, since what is left of a swept event shows nothing.
    fn sweep_timeline(&self, places: &mut Places, rest: Rest<'_>) -> Result<bool> {
        while places.segment_end <= places.event {
            let oldest = retention::oldest_segment(&*self.readers.get()?)?;
            let Some((segment, end)) = oldest else {
                return Ok(true);
            };
            places.segment_end = end;
            let mut is_done = end > places.event;
            while !is_done {
                let work = move |connection: &Connection, is_over: &dyn Fn() -> bool| {
                    let mut taken = 0;
                    loop {
                        match retention::take_timeline(connection, segment)? {
                            0 => {
                                retention::forget_segment(connection, segment)?;
                                return Ok((taken, true));
                            }
                            more => taken += more,
                        }
                        if is_over() {
                            return Ok((taken, false));
                        }
                    }
                };
                let ((taken, ended), goes_on) = self.slice(work, rest)?;
                places.rows += taken;
                is_done = ended;
                if !goes_on {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Runs `work` in a transaction of its own, tells it when its time is over, and rests; says whether
    /// to go on. The longer the writer's queue, the longer the rest: under load ingest comes first.
    fn slice<T: Send + 'static>(
        &self,
        work: impl Fn(&Connection, &dyn Fn() -> bool) -> Result<T> + Send + 'static,
        rest: Rest<'_>,
    ) -> Result<(T, bool)> {
        let slice = self.limits.slice;
        let asked = Instant::now();
        let value = self.writer.alone_blocking(move |connection| {
            let began = Instant::now();
            work(connection, &|| began.elapsed() >= slice)
        })?;
        Ok((value, rest(asked.elapsed() * self.limits.rests)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::DeliveryState;
    use crate::event::{Event, EventKind, Identifiers, StoredEvent, Verification};
    use crate::id::{DeliveryId, IdGenerator, MessageId, WebhookId, WorkspaceId};
    use crate::store::deliveries::{NewDelivery, NewMessage};
    use crate::store::writer::WriterLimits;
    use crate::store::{Files, deliveries, events, projection};
    use std::sync::Arc;

    const DAY_MS: i64 = 86_400_000;
    const NOW_MS: i64 = crate::id::EPOCH_MS + 1_000 * DAY_MS;
    const WORKSPACE: WorkspaceId = WorkspaceId::from_i64(1);
    /// What it is owed is held until [`Log::cancel`].
    const CANCELLED: WebhookId = WebhookId::from_i64(1);
    /// What it is owed stays held.
    const PAUSED: WebhookId = WebhookId::from_i64(2);
    /// What it is owed is pending.
    const ACTIVE: WebhookId = WebhookId::from_i64(3);

    /// A log of one's own making, without a server.
    struct Log {
        _folder: tempfile::TempDir,
        writer: Writer,
        readers: Readers,
        ids: Arc<IdGenerator>,
    }

    impl Log {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let files = Files::prepare(folder.path()).unwrap();
            let limits = WriterLimits {
                queue: 8,
                queue_bytes: 1_000,
                group: 8,
            };
            let (writer, _thread) =
                Writer::start(files.open_writer().unwrap(), limits, || ()).unwrap();
            Self {
                _folder: folder,
                writer,
                readers: files.readers().unwrap(),
                ids: Arc::new(IdGenerator::new(0, 0)),
            }
        }

        /// An event of so many days ago and a delivery of it. Ids only grow, so the oldest comes first.
        fn add(&self, days: i64, webhook: WebhookId, bytes: usize) -> (EventId, DeliveryId) {
            let ids = Arc::clone(&self.ids);
            let at_ms = NOW_MS - days * DAY_MS;
            let work = move |connection: &Connection| {
                let event = stored(ids.next(at_ms), at_ms, bytes);
                let message: MessageId = ids.next(at_ms);
                let delivery = NewDelivery {
                    id: ids.next(at_ms),
                    workspace: WORKSPACE,
                    webhook,
                    message,
                    event: Some(event.id),
                    state: if webhook == ACTIVE {
                        DeliveryState::Pending
                    } else {
                        DeliveryState::Held
                    },
                    is_ordered: false,
                    origin: None,
                };
                events::insert(connection, &event)?;
                deliveries::insert_message(
                    connection,
                    &NewMessage {
                        id: message,
                        workspace: WORKSPACE,
                        event: Some(event.id),
                        event_type: "Seen",
                        body: b"{}",
                    },
                )?;
                deliveries::insert_delivery(connection, &delivery)?;
                Ok((event.id, delivery.id))
            };
            self.writer.alone_blocking(work).unwrap()
        }

        /// Puts the projector at the end of the log.
        fn project(&self) {
            let work = |connection: &Connection| {
                let from = projection::place(connection)?;
                let cursor = events::last_id(connection)?;
                projection::advance(connection, from, projection::Place { cursor, ..from })
            };
            self.writer.alone_blocking(work).unwrap();
        }

        fn cancel(&self) {
            self.writer
                .alone_blocking(|connection| deliveries::cancel_held(connection, CANCELLED))
                .unwrap();
        }

        fn sweep(&self, bytes: i64) -> usize {
            self.sweeper(bytes).sweep(NOW_MS, &mut |_| true).unwrap()
        }

        fn sweeper(&self, bytes: i64) -> Sweeper {
            let limits = SweepLimits {
                keep: Keep {
                    events_ms: 90 * DAY_MS,
                    deliveries_ms: 30 * DAY_MS,
                    bytes,
                },
                slice: Duration::ZERO,
                rests: 9,
                every: Duration::MAX,
            };
            Sweeper::new(self.writer.clone(), self.readers.clone(), limits)
        }

        fn has(&self, (event, delivery): (EventId, DeliveryId)) -> (bool, bool) {
            let reader = self.readers.get().unwrap();
            let event = events::find(&reader, WORKSPACE, event).unwrap();
            let delivery = deliveries::owed(&reader, delivery).unwrap();
            (event.is_some(), delivery.is_some())
        }

        fn used_bytes(&self) -> i64 {
            retention::used_bytes(&self.readers.get().unwrap()).unwrap()
        }
    }

    fn stored(id: EventId, at_ms: i64, bytes: usize) -> StoredEvent {
        let event = Event {
            workspace: WORKSPACE,
            source: None,
            kind: EventKind::Track,
            name: "Seen".into(),
            identifiers: Identifiers {
                user_id: Some("u".into()),
                ..Identifiers::default()
            },
            properties: Some(format!("{{\"p\":\"{}\"}}", "x".repeat(bytes)).into()),
            traits: None,
            context: None,
            replace_traits: false,
            customer_is_account: false,
            occurred_at_ms: at_ms,
            received_at_ms: at_ms,
            verification: Verification::Server,
            channel: None,
            dedup_key: None,
        };
        StoredEvent { id, event }
    }

    #[test]
    fn deliveries_go_before_events_and_what_is_owed_stays() {
        let log = Log::new();
        let oldest = log.add(100, CANCELLED, 9);
        let pending = log.add(99, ACTIVE, 9);
        let held_long = log.add(98, PAUSED, 9);
        let old = log.add(40, CANCELLED, 9);
        let held = log.add(39, PAUSED, 9);
        let new = log.add(1, CANCELLED, 9);
        log.cancel();
        log.project();
        log.sweep(i64::MAX);
        assert_eq!(log.has(oldest), (false, false));
        assert_eq!(log.has(old), (true, false), "settled for 40 days");
        assert_eq!(log.has(pending), (true, true), "pending is owed");
        assert_eq!(
            log.has(held_long),
            (false, false),
            "held as long as events are kept"
        );
        assert_eq!(log.has(held), (true, true));
        assert_eq!(log.has(new), (true, true));
        assert_eq!(log.sweep(i64::MAX), 0, "nothing is left to take");
    }

    #[test]
    fn what_the_box_has_said_goes_when_it_is_settled_however_much_it_said() {
        let log = Log::new();
        let at_ms = NOW_MS - 40 * DAY_MS;
        let ids = Arc::clone(&log.ids);
        let say = move |connection: &Connection| -> Result<Vec<(MessageId, DeliveryId)>> {
            let mut said = Vec::new();
            for n in 0..3_000 {
                let message: MessageId = ids.next(at_ms);
                let new = NewMessage {
                    id: message,
                    workspace: WORKSPACE,
                    event: None,
                    event_type: "profile.created",
                    body: b"{}",
                };
                deliveries::insert_message(connection, &new)?;
                for webhook in [CANCELLED, PAUSED] {
                    let delivery = NewDelivery {
                        id: ids.next(at_ms),
                        workspace: WORKSPACE,
                        webhook: if n % 1_000 == 0 { webhook } else { CANCELLED },
                        message,
                        event: None,
                        state: DeliveryState::Held,
                        is_ordered: false,
                        origin: None,
                    };
                    deliveries::insert_delivery(connection, &delivery)?;
                    said.push((message, delivery.id));
                }
            }
            Ok(said)
        };
        let said = log.writer.alone_blocking(say).unwrap();
        log.cancel();
        assert_eq!(
            log.sweep(i64::MAX),
            5_997 + 2_997,
            "deliveries and messages"
        );
        let reader = log.readers.get().unwrap();
        let kept = said.iter().filter_map(|(message, delivery)| {
            let owed = deliveries::owed(&reader, *delivery).unwrap()?;
            assert_eq!(owed.message, *message);
            Some(owed.webhook)
        });
        assert_eq!(
            kept.collect::<Vec<_>>(),
            [PAUSED; 3],
            "each with its message"
        );
        assert_eq!(log.sweep(i64::MAX), 0);
    }

    #[test]
    fn what_is_not_projected_stays() {
        let log = Log::new();
        let event = log.add(100, CANCELLED, 9);
        log.sweep(i64::MAX);
        assert_eq!(log.has(event), (true, false));
        log.project();
        log.sweep(i64::MAX);
        assert_eq!(log.has(event), (false, false));
    }

    #[test]
    fn the_oldest_goes_until_the_file_holds_little_enough() {
        let log = Log::new();
        let all: Vec<_> = (0..1_500)
            .map(|n| log.add(20 - n / 150, CANCELLED, 1_000))
            .collect();
        log.cancel();
        log.project();
        let full = log.used_bytes();
        assert_eq!(log.sweep(full), 0);
        log.sweep(full * 3 / 4);
        assert!(log.used_bytes() <= full * 3 / 4);
        assert_eq!(log.has(all[0]), (false, false));
        assert_eq!(log.has(all[1_499]), (true, true));
        log.sweep(0);
        assert!(!log.has(all[1_499]).0, "nothing may stay");
    }

    #[test]
    fn a_sweep_rests_after_every_slice_and_ends_when_told() {
        let log = Log::new();
        let all: Vec<_> = (0..100).map(|_| log.add(100, CANCELLED, 9)).collect();
        log.cancel();
        let mut rests = 0;
        let mut twice = |_| {
            rests += 1;
            rests < 2
        };
        log.sweeper(i64::MAX).sweep(NOW_MS, &mut twice).unwrap();
        let gone = all.iter().filter(|one| !log.has(**one).1).count();
        assert_eq!((rests, gone), (2, 64), "two slices of a bite each");
    }
}
