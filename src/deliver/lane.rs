//! One webhook's lane: what of its backlog is in memory, what is on its way, and whether the file
//! holds more. Pure bookkeeping, so that no webhook can delay another or fill the memory.

use super::restraint::{Breaker, Rate};
use super::share::{Class, OfEach};
use crate::id::DeliveryId;
use crate::store::deliveries::{DuePlace, OwedDelivery};
use std::cell::Cell;
use std::collections::{HashSet, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant};
use url::Origin;

/// At most this many deliveries of one webhook wait in memory; the rest of a backlog is in the file.
const READY_LIMIT: usize = 4_096;
/// While all lanes together hold as many bytes as they may, each has room for this many all the same.
pub(super) const READY_AT_LEAST: usize = 16;
/// The file is read this much at a time.
pub(super) const READ_LIMIT: usize = 512;
/// A receiver that has answered nothing for this long while attempts are on their way keeps silent.
pub(super) const SILENCE: Duration = Duration::from_secs(1);

/// What waits in memory in all lanes together, in bytes.
#[derive(Debug, Clone)]
pub(super) struct Room {
    limit: usize,
    used: Rc<Cell<usize>>,
}

impl Room {
    /// Room for `limit` bytes.
    pub(super) fn new(limit: usize) -> Self {
        let used = Rc::default();
        Self { limit, used }
    }

    /// Bytes that are free.
    pub(super) fn free(&self) -> usize {
        self.limit.saturating_sub(self.used.get())
    }

    fn is_full(&self) -> bool {
        self.free() == 0
    }

    fn take(&self, owed: &OwedDelivery) {
        self.used.set(self.used.get() + weight(owed));
    }

    fn give_back(&self, owed: &OwedDelivery) {
        self.used.set(self.used.get().saturating_sub(weight(owed)));
    }
}

fn weight(owed: &OwedDelivery) -> usize {
    size_of::<OwedDelivery>() + owed.body.len()
}

/// How much a lane wants to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// When others are.
    Soon,
    /// Without waiting for others.
    Now,
}

/// What to read for a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reading {
    /// From there on, or from the start.
    pub(super) after: Option<DuePlace>,
    /// How many of the first rows are known already.
    pub(super) known: usize,
    /// How many more it has use for.
    pub(super) enough: usize,
    /// Whether in the order of the events.
    pub(super) is_ordered: bool,
}

/// How a webhook wants to be sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Terms {
    /// Whether it sends at all.
    pub(super) is_active: bool,
    /// Attempts on their way at once.
    pub(super) concurrency: usize,
    /// Attempts a second, at most.
    pub(super) rate: Option<u32>,
    /// Whether it gets one delivery after the other, in the order of the events.
    pub(super) is_ordered: bool,
    /// When the webhook was changed last.
    pub(super) changed_at_ms: i64,
}

/// What a lane does with its turn.
#[derive(Debug)]
pub(super) enum Turn {
    /// It sends.
    Send(OwedDelivery),
    /// It is held back until then.
    At(Instant),
    /// It has nothing to send, or waits for an answer.
    Idle,
}

/// One webhook's lane.
#[derive(Debug)]
pub(super) struct Lane {
    room: Room,
    terms: Terms,
    breaker: Breaker,
    rate: Rate,
    ready: VecDeque<OwedDelivery>,
    /// Ids that are ready, on their way or being recorded, so that none is sent twice at once.
    known: HashSet<DeliveryId>,
    /// Attempts without an answer so far: what the receiver has to deal with at once.
    on_their_way: usize,
    /// Since when the receiver has answered nothing, if attempts are on their way.
    waiting_since: Instant,
    /// Whether its last attempt succeeded, or failed without keeping one waiting; `None` before the first.
    is_prompt: Option<bool>,
    /// Whether the file may hold due deliveries that are not known here.
    has_more: bool,
    /// Where on the due list the last reading ended, if what it left is all that there is to read.
    place: Option<DuePlace>,
    /// In the order of the events: whether the first that is owed must wait for its next attempt's time.
    is_blocked: bool,
    /// Ids settled while the file is being read: the reading may be older than their outcome.
    settled_meanwhile: Option<HashSet<DeliveryId>>,
    /// Whether that reading may be older than what became of all that was owed.
    is_reading_stale: bool,
    /// In which of the queues of turns its place counts.
    pub(super) turn: Option<Class>,
    /// In which of them it has a place, at most one in each.
    pub(super) places: OfEach<bool>,
    /// As what, and with how many attempts on their way, it is counted.
    pub(super) counted: (Class, usize),
    /// Where its receiver is.
    pub(super) origin: Origin,
    /// Whether it waits for an attempt at its origin to end.
    pub(super) waits_at_origin: bool,
    /// Whether it stands in the dispatcher's queue of lanes to be read.
    pub(super) is_unread: bool,
}

impl Lane {
    /// A lane that was just opened: whatever is due is in the file. The receiver has failed `failures` times
    /// in a row.
    pub(super) fn open(room: Room, terms: Terms, failures: u32, now: Instant) -> Self {
        let mut rate = Rate::default();
        rate.set(terms.rate);
        Self {
            room,
            terms,
            breaker: Breaker::after(failures),
            rate,
            ready: VecDeque::new(),
            known: HashSet::new(),
            on_their_way: 0,
            waiting_since: now,
            is_prompt: None,
            has_more: terms.is_active,
            place: None,
            is_blocked: false,
            settled_meanwhile: None,
            is_reading_stale: false,
            turn: None,
            places: OfEach::default(),
            counted: (Class::Unknown, 0),
            origin: Origin::new_opaque(),
            waits_at_origin: false,
            is_unread: false,
        }
    }

    /// How many deliveries it has use for. While a receiver is only probed, and while there is no room, a few.
    fn enough(&self, limit: usize) -> usize {
        if self.room.is_full() || self.breaker.is_open() {
            READY_AT_LEAST
        } else {
            limit
        }
    }

    fn is_full(&self) -> bool {
        self.ready.len() >= self.enough(READY_LIMIT)
    }

    fn add(&mut self, owed: OwedDelivery) {
        self.room.take(&owed);
        self.ready.push_back(owed);
    }

    /// Forgets what is ready, but for the first `rest`: the file has it.
    fn forget(&mut self, rest: usize) {
        while self.ready.len() > rest {
            if let Some(forgotten) = self.ready.pop_back() {
                self.room.give_back(&forgotten);
                self.known.remove(&forgotten.id);
            }
        }
    }

    fn read_anew(&mut self) {
        self.forget(0);
        self.is_reading_stale = self.settled_meanwhile.is_some();
        self.look_again();
    }

    /// Follows the webhook. After a change of it nothing in memory holds any more: what it is owed may have been
    /// held, given up, released and queued anew.
    pub(super) fn follow(&mut self, terms: Terms) {
        let is_woken = terms.is_active && !self.terms.is_active;
        let is_changed = terms != self.terms;
        self.terms = terms;
        self.rate.set(terms.rate);
        if is_woken {
            self.breaker = Breaker::default();
        }
        if is_changed {
            self.read_anew();
        }
    }

    /// What waits in memory for long is read again after whatever change: somebody may have given some of it up.
    /// Says whether that is so.
    pub(super) fn distrust(&mut self) -> bool {
        let is_held_back = self.is_held_back();
        if is_held_back {
            self.read_anew();
        }
        is_held_back
    }

    /// Whether deliveries may wait here for long.
    pub(super) fn is_held_back(&self) -> bool {
        self.breaker.is_open() || self.rate.is_limited() || self.terms.is_ordered
    }

    /// What is known of the receiver.
    pub(super) fn class(&self, now: Instant) -> Class {
        let is_silent = self.on_their_way > 0 && now - self.waiting_since > SILENCE;
        match self.is_prompt {
            _ if is_silent => Class::Ailing,
            None if !self.breaker.has_failures() => Class::Unknown,
            Some(true) => Class::Steady,
            None | Some(false) => Class::Ailing,
        }
    }

    /// Attempts without an answer so far.
    pub(super) fn on_their_way(&self) -> usize {
        self.on_their_way
    }

    /// Takes a delivery that was just committed, if there is room before what the file holds. Says
    /// whether it is taken care of; one that is not must be found in the file.
    pub(super) fn push(&mut self, owed: OwedDelivery) -> bool {
        if self.known.contains(&owed.id) {
            return true;
        }
        if !self.terms.is_active {
            // Paused a moment ago, and then it is held in the file; or activated a moment ago.
            return false;
        }
        if self.terms.is_ordered {
            // Who comes first is in the file alone: what others commit may get here sooner or later.
            self.has_more = true;
            return true;
        }
        if self.has_more || self.is_full() {
            self.has_more = true;
            return false;
        }
        self.known.insert(owed.id);
        self.add(owed);
        true
    }

    /// Whether a delivery is ready, on its way or being recorded.
    pub(super) fn knows(&self, id: DeliveryId) -> bool {
        self.known.contains(&id)
    }

    /// The file must be looked at again, from the first that is due on.
    pub(super) fn look_again(&mut self) {
        self.has_more = self.terms.is_active;
        self.place = None;
        self.is_blocked = false;
    }

    /// Whether to read the file, if it is read anyway, or even because of this lane: so that many lanes are
    /// read together, and sending does not wait for the reading.
    pub(super) fn wants_reading(&self) -> Option<Wish> {
        let may_read = self.terms.is_active && self.has_more && self.settled_meanwhile.is_none();
        if self.terms.is_ordered {
            // Not before the last one's outcome is in the file.
            let is_next = !self.is_blocked && self.known.is_empty();
            return (may_read && is_next).then_some(Wish::Now);
        }
        let enough = self.enough(READ_LIMIT);
        match self.ready.len() {
            ready if may_read && ready <= enough / 4 => Some(Wish::Now),
            ready if may_read && ready <= enough / 2 => Some(Wish::Soon),
            _ => None,
        }
    }

    /// What to read now, if it still wants anything; if so, the reading has begun.
    pub(super) fn begin_reading(&mut self) -> Option<Reading> {
        self.wants_reading()?;
        self.has_more = false;
        self.settled_meanwhile = Some(HashSet::new());
        self.is_reading_stale = false;
        let after = self.place.take();
        Some(Reading {
            after,
            // From the start on, what is known is still due in the file and comes first there.
            known: if after.is_none() { self.known.len() } else { 0 },
            enough: self.enough(READ_LIMIT),
            is_ordered: self.terms.is_ordered,
        })
    }

    /// Takes what the file said. `is_full` says that there was more than fitted, and `is_waiting` that there
    /// is something that is not due yet.
    pub(super) fn finish_reading(
        &mut self,
        found: Vec<OwedDelivery>,
        is_full: bool,
        is_waiting: bool,
    ) {
        let settled = self.settled_meanwhile.take().unwrap_or_default();
        if !self.terms.is_active {
            return;
        }
        if std::mem::take(&mut self.is_reading_stale) {
            self.look_again();
            return;
        }
        // Somebody may have asked for another look meanwhile, and that one begins at the start.
        let goes_on = !self.has_more;
        self.is_blocked = goes_on && found.is_empty() && is_waiting;
        self.has_more |= is_full;
        let mut place = None;
        for owed in found {
            if self.is_full() {
                self.has_more = true;
                break;
            }
            place = owed.due_place();
            if !settled.contains(&owed.id) && self.known.insert(owed.id) {
                self.add(owed);
            }
        }
        if goes_on && self.has_more {
            self.place = place;
        }
    }

    /// What it does with its turn.
    pub(super) fn take(&mut self, now: Instant) -> Turn {
        let is_single = self.terms.is_ordered || self.breaker.is_open();
        let concurrency = if is_single { 1 } else { self.terms.concurrency };
        if !self.terms.is_active || self.on_their_way >= concurrency || self.ready.is_empty() {
            return Turn::Idle;
        }
        if self.terms.is_ordered && self.known.len() > self.ready.len() {
            // The last one's outcome is not in the file yet.
            return Turn::Idle;
        }
        // Those that keep the order send nothing before the first one's own time, so there is no storm to hold.
        let probe_at = self.breaker.probe_at().filter(|_| !self.terms.is_ordered);
        let may_begin = probe_at.max(self.rate.next());
        if let Some(at) = may_begin.filter(|at| *at > now) {
            return Turn::At(at);
        }
        let Some(owed) = self.ready.pop_front() else {
            return Turn::Idle;
        };
        self.room.give_back(&owed);
        if self.on_their_way == 0 {
            self.waiting_since = now;
        }
        self.on_their_way += 1;
        self.rate.begin(now);
        Turn::Send(owed)
    }

    /// An automatic attempt has ended; its delivery stays known until it is recorded. `dice` is uniform in
    /// 0..1.
    pub(super) fn answered(&mut self, succeeded: bool, now: Instant, dice: f64) {
        self.on_their_way = self.on_their_way.saturating_sub(1);
        let kept_waiting = now - self.waiting_since > SILENCE;
        self.waiting_since = now;
        if succeeded {
            self.succeeded();
            return;
        }
        self.is_prompt = Some(!kept_waiting);
        self.breaker.failed(self.on_their_way == 0, now, dice);
        if self.breaker.is_open() && self.ready.len() > READY_AT_LEAST {
            self.forget(READY_AT_LEAST);
            self.look_again();
        }
    }

    /// An attempt succeeded, whoever asked for it.
    pub(super) fn succeeded(&mut self) {
        self.is_prompt = Some(true);
        self.breaker.succeeded();
    }

    /// An automatic attempt was not made, because its webhook is gone.
    pub(super) fn not_made(&mut self, id: DeliveryId) {
        self.on_their_way = self.on_their_way.saturating_sub(1);
        self.recorded(id, true);
    }

    /// An automatic attempt was recorded. One that is not settled by it waits for its next attempt's time, and
    /// in the order of the events so do all behind it.
    pub(super) fn recorded(&mut self, id: DeliveryId, is_settled: bool) {
        self.known.remove(&id);
        if let Some(settled) = &mut self.settled_meanwhile {
            settled.insert(id);
        }
        if self.terms.is_ordered && !is_settled {
            self.forget(0);
            self.has_more = self.terms.is_active;
            self.is_blocked = true;
        }
    }

    /// A delivery that may be waiting here needs no attempt now: a person saw to that.
    pub(super) fn settle(&mut self, id: DeliveryId) {
        let before = self.ready.len();
        self.ready.retain(|owed| {
            let stays = owed.id != id;
            if !stays {
                self.room.give_back(owed);
            }
            stays
        });
        if self.ready.len() < before {
            self.known.remove(&id);
        }
        if let Some(settled) = &mut self.settled_meanwhile {
            settled.insert(id);
        }
        if self.terms.is_ordered {
            self.look_again();
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.ready.iter().for_each(|owed| self.room.give_back(owed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::Standing;
    use bytes::Bytes;

    fn owed(id: i64) -> OwedDelivery {
        OwedDelivery::bare(id)
    }

    const TERMS: Terms = Terms {
        is_active: true,
        concurrency: 8,
        rate: None,
        is_ordered: false,
        changed_at_ms: 1,
    };

    fn in_room(room: Room) -> Lane {
        Lane::open(room, TERMS, 0, Instant::now())
    }

    fn lane() -> Lane {
        in_room(Room::new(usize::MAX))
    }

    fn lane_of(concurrency: usize) -> Lane {
        let terms = Terms {
            concurrency,
            ..TERMS
        };
        Lane::open(Room::new(usize::MAX), terms, 0, Instant::now())
    }

    fn ordered() -> Lane {
        let terms = Terms {
            is_ordered: true,
            ..TERMS
        };
        Lane::open(Room::new(usize::MAX), terms, 0, Instant::now())
    }

    fn paused(terms: Terms) -> Terms {
        Terms {
            is_active: false,
            ..terms
        }
    }

    /// What it sends now, if anything.
    fn take(lane: &mut Lane) -> Option<OwedDelivery> {
        match lane.take(Instant::now()) {
            Turn::Send(owed) => Some(owed),
            Turn::At(_) | Turn::Idle => None,
        }
    }

    fn take_id(lane: &mut Lane) -> Option<i64> {
        take(lane).map(|owed| owed.id.as_i64())
    }

    fn succeed(lane: &mut Lane) {
        lane.answered(true, Instant::now(), 0.5);
    }

    fn id(id: i64) -> DeliveryId {
        DeliveryId::from_i64(id)
    }

    fn begin(lane: &mut Lane) -> Option<(Option<DuePlace>, usize)> {
        let reading = lane.begin_reading()?;
        Some((reading.after, reading.known))
    }

    fn read_once(lane: &mut Lane, found: &[i64]) {
        assert!(lane.begin_reading().is_some());
        lane.finish_reading(found.iter().map(|id| owed(*id)).collect(), false, false);
    }

    #[test]
    fn concurrency_bounds_what_is_on_its_way() {
        let mut lane = lane_of(2);
        read_once(&mut lane, &[1, 2, 3, 4]);
        assert_eq!(take_id(&mut lane), Some(1));
        assert_eq!(take_id(&mut lane), Some(2));
        assert_eq!(take_id(&mut lane), None);
        succeed(&mut lane);
        assert_eq!(take_id(&mut lane), Some(3));
        assert_eq!(take_id(&mut lane), None);
    }

    #[test]
    fn nothing_is_sent_twice_when_memory_and_file_both_have_it() {
        let mut lane = lane();
        read_once(&mut lane, &[]);
        lane.push(owed(1));
        assert!(take(&mut lane).is_some());
        lane.look_again();
        read_once(&mut lane, &[1]);
        assert!(take(&mut lane).is_none(), "on its way already");
        lane.push(owed(1));
        assert!(take(&mut lane).is_none());
    }

    #[test]
    fn a_reading_older_than_the_outcome_is_not_believed() {
        let mut lane = lane();
        read_once(&mut lane, &[1]);
        assert!(take(&mut lane).is_some());
        lane.look_again();
        assert!(lane.begin_reading().is_some());
        succeed(&mut lane);
        lane.recorded(id(1), true);
        lane.finish_reading(vec![owed(1)], false, false);
        assert!(take(&mut lane).is_none());
    }

    #[test]
    fn what_is_being_recorded_is_not_sent_again_and_hides_nothing() {
        let mut lane = lane_of(1);
        read_once(&mut lane, &[1]);
        assert!(take(&mut lane).is_some());
        succeed(&mut lane);
        lane.look_again();
        // The file still says that it is due, so a reading must reach past it.
        assert_eq!(begin(&mut lane), Some((None, 1)));
        lane.finish_reading(vec![owed(1), owed(2)], false, false);
        assert_eq!(take_id(&mut lane), Some(2));
        succeed(&mut lane);
        assert!(take(&mut lane).is_none());
    }

    #[test]
    fn a_backlog_stays_in_the_file() {
        let mut lane = lane();
        read_once(&mut lane, &[]);
        for id in 0..5_000 {
            lane.push(owed(id));
        }
        assert_eq!(lane.ready.len(), READY_LIMIT);
        assert!(
            lane.begin_reading().is_none(),
            "not before memory is empty, so that order holds"
        );
        while let Some(taken) = take(&mut lane) {
            succeed(&mut lane);
            lane.recorded(taken.id, true);
        }
        assert!(lane.begin_reading().is_some());
    }

    #[test]
    fn lanes_share_the_memory_and_each_has_a_little() {
        let heavy = |id| OwedDelivery {
            body: Bytes::from(vec![0; 1_000]),
            ..owed(id)
        };
        let room = Room::new(100_000);
        let (mut dead, mut other) = (in_room(room.clone()), in_room(room.clone()));
        read_once(&mut dead, &[]);
        read_once(&mut other, &[]);
        let taken = (0..500).take_while(|id| dead.push(heavy(*id))).count();
        assert!((80..=100).contains(&taken), "{taken}");
        let taken = (500..600).take_while(|id| other.push(heavy(*id))).count();
        assert_eq!(taken, READY_AT_LEAST);
        assert_eq!(
            other.wants_reading(),
            None,
            "not while there is enough to send"
        );
        dead.follow(paused(TERMS));
        drop(other);
        assert_eq!(room.used.get(), 0);
    }

    #[test]
    fn a_long_due_list_is_read_on_from_where_the_last_reading_ended() {
        let listed = |id| OwedDelivery {
            standing: Standing {
                next_attempt_at_ms: Some(id / 10),
                ..Standing::NEW
            },
            ..owed(id)
        };
        let mut lane = lane_of(usize::MAX);
        assert_eq!(begin(&mut lane), Some((None, 0)));
        lane.finish_reading((0..100).map(listed).collect(), true, false);
        assert_eq!(lane.wants_reading(), Some(Wish::Now));
        let end = listed(99).due_place();
        assert_eq!(begin(&mut lane), Some((end, 0)));
        lane.finish_reading((100..200).map(listed).collect(), true, false);
        assert_eq!(lane.wants_reading(), Some(Wish::Soon));
        lane.look_again();
        assert_eq!(begin(&mut lane), Some((None, 200)), "something new is due");
        lane.look_again();
        lane.finish_reading((0..300).map(listed).collect(), true, false);
        while take(&mut lane).is_some() {}
        assert_eq!(
            begin(&mut lane).unwrap().0,
            None,
            "also when it came up while reading"
        );
    }

    #[test]
    fn a_paused_lane_sends_nothing_and_looks_again_when_it_wakes() {
        let mut lane = lane();
        read_once(&mut lane, &[1, 2]);
        lane.follow(paused(TERMS));
        assert!(take(&mut lane).is_none());
        lane.push(owed(3));
        assert!(lane.begin_reading().is_none());
        lane.follow(TERMS);
        read_once(&mut lane, &[1, 2, 3]);
        assert_eq!(take_id(&mut lane), Some(1));
    }

    #[test]
    fn a_manual_success_takes_it_out_of_the_queue() {
        let mut lane = lane();
        read_once(&mut lane, &[1, 2]);
        lane.settle(id(1));
        assert_eq!(take_id(&mut lane), Some(2));
    }

    #[test]
    fn a_pause_that_was_over_before_anybody_looked_leaves_nothing_in_memory() {
        let mut lane = lane();
        read_once(&mut lane, &[1, 2, 3]);
        assert_eq!(take_id(&mut lane), Some(1));
        lane.look_again();
        for n in 10..600 {
            lane.push(owed(n));
        }
        // Paused, discarded and activated again; what is being read is older than that.
        assert!(lane.begin_reading().is_some());
        let woken = Terms {
            changed_at_ms: 2,
            ..TERMS
        };
        lane.follow(woken);
        lane.finish_reading(vec![owed(2), owed(3)], false, false);
        assert_eq!(take_id(&mut lane), None);
        read_once(&mut lane, &[1, 4]);
        assert_eq!(take_id(&mut lane), Some(4), "1 is on its way still");
    }

    #[test]
    fn a_rate_and_a_probe_hold_a_lane_back_until_their_time() {
        let terms = Terms {
            rate: Some(10),
            ..TERMS
        };
        let now = Instant::now();
        let mut limited = Lane::open(Room::new(usize::MAX), terms, 0, now);
        read_once(&mut limited, &[1, 2]);
        assert!(matches!(limited.take(now), Turn::Send(_)));
        let next = now + Duration::from_millis(100);
        assert!(matches!(limited.take(now), Turn::At(at) if at == next));
        limited.follow(TERMS);
        read_once(&mut limited, &[2]);
        assert!(matches!(limited.take(now), Turn::Send(_)), "at once");

        let mut dead = lane();
        let ids: Vec<_> = (0..100).collect();
        read_once(&mut dead, &ids);
        while dead.breaker.probe_at().is_none() {
            assert!(matches!(dead.take(now), Turn::Send(_)));
            dead.answered(false, now, 0.5);
        }
        assert_eq!(dead.ready.len(), READY_AT_LEAST, "the rest is in the file");
        let probe = now + Duration::from_secs(1);
        assert!(matches!(dead.take(now), Turn::At(at) if at == probe));
        assert!(matches!(dead.take(probe), Turn::Send(_)));
        assert!(matches!(dead.take(probe), Turn::Idle), "one at a time");
        dead.answered(true, probe, 0.5);
        for _ in 0..TERMS.concurrency {
            assert!(matches!(dead.take(probe), Turn::Send(_)));
        }
    }

    #[test]
    fn a_receiver_is_known_by_its_last_answer_and_by_its_silence() {
        let now = Instant::now();
        let later = now + SILENCE + Duration::from_millis(1);
        let mut lane = lane();
        assert_eq!(lane.class(later), Class::Unknown);
        read_once(&mut lane, &[1, 2, 3]);
        assert!(matches!(lane.take(now), Turn::Send(_)));
        assert_eq!(
            (lane.class(now), lane.class(later)),
            (Class::Unknown, Class::Ailing)
        );
        lane.answered(true, later, 0.5);
        assert_eq!(lane.class(later), Class::Steady);
        assert!(matches!(lane.take(later), Turn::Send(_)));
        lane.answered(false, later, 0.5);
        assert_eq!(lane.class(later), Class::Steady, "it answers at once");
        let at_last = later + SILENCE + Duration::from_millis(1);
        assert!(matches!(lane.take(later), Turn::Send(_)));
        lane.answered(false, at_last, 0.5);
        assert_eq!(lane.class(at_last), Class::Ailing, "after a silence");
        let failed_before = Lane::open(Room::new(1), TERMS, 1, now);
        assert_eq!(failed_before.class(now), Class::Ailing);
    }

    #[test]
    fn in_order_the_next_one_waits_for_the_last_ones_record() {
        let mut lane = ordered();
        read_once(&mut lane, &[1, 2, 3]);
        assert_eq!(take_id(&mut lane), Some(1));
        assert_eq!(take_id(&mut lane), None);
        succeed(&mut lane);
        assert_eq!(take_id(&mut lane), None, "not recorded yet");
        lane.recorded(id(1), true);
        assert_eq!(take_id(&mut lane), Some(2));
        lane.answered(false, Instant::now(), 0.5);
        lane.recorded(id(2), false);
        assert!(lane.push(owed(4)));
        assert_eq!(take_id(&mut lane), None, "2 must be tried again first");
        assert_eq!(lane.wants_reading(), None, "not before its time");
        lane.settle(id(2));
        read_once(&mut lane, &[3, 4]);
        assert_eq!(take_id(&mut lane), Some(3), "a person saw to 2");
    }

    /// A file that owes, as far as a lane can tell: each delivery's id, and whether it must wait.
    #[derive(Debug, Default)]
    struct Owing {
        pending: std::collections::BTreeMap<i64, bool>,
        last: i64,
    }

    impl Owing {
        fn read(&self) -> (Vec<OwedDelivery>, bool) {
            let due = self.pending.iter().take_while(|(_, waits)| !**waits);
            let due: Vec<_> = due.map(|(id, _)| owed(*id)).take(4).collect();
            let is_waiting = due.is_empty() && !self.pending.is_empty();
            (due, is_waiting)
        }
    }

    proptest::proptest! {
        /// Whatever comes in between, what is sent is the first that is owed, and never beside another.
        #[test]
        fn in_order_nothing_overtakes(steps in proptest::collection::vec(0u8..10, 1..300)) {
            let (mut file, mut lane) = (Owing::default(), ordered());
            let (mut read, mut on_its_way, mut ended) = (None, None, None);
            let mut version = 1;
            for step in steps {
                match step {
                    0 | 1 => {
                        file.last += 1;
                        file.pending.insert(file.last, false);
                        lane.push(owed(file.last));
                    }
                    2 if read.is_none() => {
                        read = lane.begin_reading().map(|_| file.read());
                    }
                    3 => if let Some((found, is_waiting)) = read.take() {
                        lane.finish_reading(found, false, is_waiting);
                    },
                    4 => if let Some(sent) = take_id(&mut lane) {
                        proptest::prop_assert!(on_its_way.is_none() && ended.is_none());
                        let first = file.pending.first_key_value();
                        proptest::prop_assert_eq!(first, Some((&sent, &false)));
                        on_its_way = Some(sent);
                    },
                    5 | 6 => if let Some(sent) = on_its_way.take() {
                        lane.answered(step == 5, Instant::now(), 0.5);
                        ended = Some((sent, step == 5));
                    },
                    7 => if let Some((sent, did_succeed)) = ended.take() {
                        let is_there = file.pending.contains_key(&sent);
                        if did_succeed {
                            file.pending.remove(&sent);
                        } else if is_there {
                            file.pending.insert(sent, true);
                        }
                        lane.recorded(id(sent), did_succeed || !is_there);
                    },
                    8 => {
                        // Its time has come.
                        file.pending.values_mut().for_each(|waits| *waits = false);
                        lane.look_again();
                    }
                    // A person retried the first one with success, or gave it up.
                    _ => if let Some((first, _)) = file.pending.pop_first() {
                        if version % 2 == 0 {
                            lane.settle(id(first));
                        } else {
                            lane.distrust();
                        }
                        version += 1;
                    },
                }
            }
            // Whatever is left goes out, too.
            if let Some(sent) = on_its_way.take() {
                lane.answered(true, Instant::now(), 0.5);
                file.pending.remove(&sent);
                lane.recorded(id(sent), true);
            }
            if let Some((sent, _)) = ended.take() {
                file.pending.remove(&sent);
                lane.recorded(id(sent), true);
            }
            if let Some((found, is_waiting)) = read.take() {
                lane.finish_reading(found, false, is_waiting);
            }
            file.pending.values_mut().for_each(|waits| *waits = false);
            lane.look_again();
            while let Some((first, _)) = file.pending.first_key_value() {
                let first = *first;
                if lane.begin_reading().is_some() {
                    let (found, is_waiting) = file.read();
                    let is_full = found.len() >= 4;
                    lane.finish_reading(found, is_full, is_waiting);
                }
                proptest::prop_assert_eq!(take_id(&mut lane), Some(first));
                lane.answered(true, Instant::now(), 0.5);
                file.pending.remove(&first);
                lane.recorded(id(first), true);
            }
        }
    }
}
