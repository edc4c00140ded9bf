//! One webhook's lane: what of its backlog is in memory, what is on its way, and whether the file
//! holds more. Pure bookkeeping, so that no webhook can delay another or fill the memory.

use crate::id::DeliveryId;
use crate::store::deliveries::{DuePlace, OwedDelivery};
use std::cell::Cell;
use std::collections::{HashSet, VecDeque};
use std::rc::Rc;

/// At most this many deliveries of one webhook wait in memory; the rest of a backlog is in the file.
pub(super) const READY_LIMIT: usize = 4_096;
/// While all lanes together hold as many bytes as they may, each has room for this many all the same.
pub(super) const READY_AT_LEAST: usize = 16;
/// The file is read this much at a time.
pub(super) const READ_LIMIT: usize = 512;

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

/// One webhook's lane.
#[derive(Debug)]
pub(super) struct Lane {
    room: Room,
    ready: VecDeque<OwedDelivery>,
    /// Ids that are ready, on their way or being recorded, so that none is sent twice at once.
    known: HashSet<DeliveryId>,
    /// Attempts without an answer so far: what the receiver has to deal with at once.
    on_their_way: usize,
    /// Whether the file may hold due deliveries that are not known here.
    has_more: bool,
    /// Where on the due list the last reading ended, if what it left is all that there is to read.
    place: Option<DuePlace>,
    /// Ids settled while the file is being read: the reading may be older than their outcome.
    settled_meanwhile: Option<HashSet<DeliveryId>>,
    /// Whether the webhook sends at all.
    is_active: bool,
    /// Whether it stands in the dispatcher's queue of turns.
    pub(super) has_turn: bool,
    /// Whether it stands in the dispatcher's queue of lanes to be read.
    pub(super) is_unread: bool,
}

impl Lane {
    /// A lane that was just opened: whatever is due is in the file.
    pub(super) fn open(room: Room) -> Self {
        Self {
            room,
            ready: VecDeque::new(),
            known: HashSet::new(),
            on_their_way: 0,
            has_more: true,
            place: None,
            settled_meanwhile: None,
            is_active: true,
            has_turn: false,
            is_unread: false,
        }
    }

    fn is_full(&self) -> bool {
        let limit = if self.room.is_full() {
            READY_AT_LEAST
        } else {
            READY_LIMIT
        };
        self.ready.len() >= limit
    }

    fn add(&mut self, owed: OwedDelivery) {
        self.room.take(&owed);
        self.ready.push_back(owed);
    }

    /// Follows the webhook's state. What waited in memory is forgotten: the file has it.
    pub(super) fn set_active(&mut self, is_active: bool) {
        if is_active == self.is_active {
            return;
        }
        self.is_active = is_active;
        self.look_again();
        for forgotten in self.ready.drain(..) {
            self.room.give_back(&forgotten);
            self.known.remove(&forgotten.id);
        }
    }

    /// Takes a delivery that was just committed, if there is room before what the file holds. Says
    /// whether it is taken care of; one that is not must be found in the file.
    pub(super) fn push(&mut self, owed: OwedDelivery) -> bool {
        if self.known.contains(&owed.id) {
            return true;
        }
        if !self.is_active {
            // Paused a moment ago, and then it is held in the file; or activated a moment ago.
            return false;
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
        self.has_more = self.is_active;
        self.place = None;
    }

    /// Whether to read the file, if it is read anyway, or even because of this lane: so that many lanes are
    /// read together, and sending does not wait for the reading.
    pub(super) fn wants_reading(&self) -> Option<Wish> {
        let may_read = self.is_active && self.has_more && self.settled_meanwhile.is_none();
        let enough = if self.room.is_full() {
            READY_AT_LEAST
        } else {
            READ_LIMIT
        };
        match self.ready.len() {
            ready if may_read && ready <= enough / 4 => Some(Wish::Now),
            ready if may_read && ready <= enough / 2 => Some(Wish::Soon),
            _ => None,
        }
    }

    /// From where on the due list to read now, and how many of the first rows are known already, if it
    /// still wants any; if so, the reading has begun.
    pub(super) fn begin_reading(&mut self) -> Option<(Option<DuePlace>, usize)> {
        self.wants_reading()?;
        self.has_more = false;
        self.settled_meanwhile = Some(HashSet::new());
        let place = self.place.take();
        // From the start on, what is known is still due in the file and comes first there.
        let known = if place.is_none() { self.known.len() } else { 0 };
        Some((place, known))
    }

    /// Takes what the file said. `is_full` says that there was more than fitted.
    pub(super) fn finish_reading(&mut self, found: Vec<OwedDelivery>, is_full: bool) {
        let settled = self.settled_meanwhile.take().unwrap_or_default();
        if !self.is_active {
            return;
        }
        // Somebody may have asked for another look meanwhile, and that one begins at the start.
        let goes_on = !self.has_more;
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

    /// The next delivery to send, while fewer than `concurrency` are on their way.
    pub(super) fn take(&mut self, concurrency: usize) -> Option<OwedDelivery> {
        if !self.is_active || self.on_their_way >= concurrency {
            return None;
        }
        let owed = self.ready.pop_front()?;
        self.room.give_back(&owed);
        self.on_their_way += 1;
        Some(owed)
    }

    /// An automatic attempt has ended; its delivery stays known until it is recorded.
    pub(super) fn answered(&mut self) {
        self.on_their_way = self.on_their_way.saturating_sub(1);
    }

    /// An automatic attempt was recorded.
    pub(super) fn recorded(&mut self, id: DeliveryId) {
        self.known.remove(&id);
        if let Some(settled) = &mut self.settled_meanwhile {
            settled.insert(id);
        }
    }

    /// A delivery that may be waiting here needs no attempt now: a person saw to that.
    pub(super) fn settle(&mut self, id: DeliveryId) {
        self.ready.retain(|owed| {
            let stays = owed.id != id;
            if !stays {
                self.room.give_back(owed);
            }
            stays
        });
        self.recorded(id);
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
    use crate::id::{MessageId, WebhookId};
    use bytes::Bytes;

    fn owed(id: i64) -> OwedDelivery {
        OwedDelivery {
            id: DeliveryId::from_i64(id),
            webhook: WebhookId::from_i64(1),
            message: MessageId::from_i64(id),
            body: Bytes::new(),
            standing: Standing::NEW,
        }
    }

    fn lane() -> Lane {
        Lane::open(Room::new(usize::MAX))
    }

    fn read_once(lane: &mut Lane, found: &[i64]) {
        assert!(lane.begin_reading().is_some());
        lane.finish_reading(found.iter().map(|id| owed(*id)).collect(), false);
    }

    #[test]
    fn concurrency_bounds_what_is_on_its_way() {
        let mut lane = lane();
        read_once(&mut lane, &[1, 2, 3]);
        assert_eq!(lane.take(2).unwrap().id.as_i64(), 1);
        assert_eq!(lane.take(2).unwrap().id.as_i64(), 2);
        assert!(lane.take(2).is_none());
        lane.answered();
        assert_eq!(lane.take(2).unwrap().id.as_i64(), 3);
    }

    #[test]
    fn nothing_is_sent_twice_when_memory_and_file_both_have_it() {
        let mut lane = lane();
        read_once(&mut lane, &[]);
        lane.push(owed(1));
        assert!(lane.take(8).is_some());
        lane.look_again();
        read_once(&mut lane, &[1]);
        assert!(lane.take(8).is_none(), "on its way already");
        lane.push(owed(1));
        assert!(lane.take(8).is_none());
    }

    #[test]
    fn a_reading_older_than_the_outcome_is_not_believed() {
        let mut lane = lane();
        read_once(&mut lane, &[1]);
        assert!(lane.take(8).is_some());
        lane.look_again();
        assert!(lane.begin_reading().is_some());
        lane.answered();
        lane.recorded(DeliveryId::from_i64(1));
        lane.finish_reading(vec![owed(1)], false);
        assert!(lane.take(8).is_none());
    }

    #[test]
    fn what_is_being_recorded_is_not_sent_again_and_hides_nothing() {
        let mut lane = lane();
        read_once(&mut lane, &[1]);
        assert!(lane.take(1).is_some());
        lane.answered();
        lane.look_again();
        // The file still says that it is due, so a reading must reach past it.
        assert_eq!(lane.begin_reading(), Some((None, 1)));
        lane.finish_reading(vec![owed(1), owed(2)], false);
        assert_eq!(lane.take(1).unwrap().id.as_i64(), 2);
        lane.answered();
        assert!(lane.take(1).is_none());
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
        while let Some(taken) = lane.take(usize::MAX) {
            lane.answered();
            lane.recorded(taken.id);
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
        let (mut dead, mut other) = (Lane::open(room.clone()), Lane::open(room.clone()));
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
        dead.set_active(false);
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
        let mut lane = lane();
        assert_eq!(lane.begin_reading(), Some((None, 0)));
        lane.finish_reading((0..100).map(listed).collect(), true);
        assert_eq!(lane.wants_reading(), Some(Wish::Now));
        let end = listed(99).due_place();
        assert_eq!(lane.begin_reading(), Some((end, 0)));
        lane.finish_reading((100..200).map(listed).collect(), true);
        assert_eq!(lane.wants_reading(), Some(Wish::Soon));
        lane.look_again();
        assert_eq!(
            lane.begin_reading(),
            Some((None, 200)),
            "something new is due"
        );
        lane.look_again();
        lane.finish_reading((0..300).map(listed).collect(), true);
        while lane.take(usize::MAX).is_some() {}
        assert_eq!(
            lane.begin_reading().unwrap().0,
            None,
            "also when it came up while reading"
        );
    }

    #[test]
    fn a_paused_lane_sends_nothing_and_looks_again_when_it_wakes() {
        let mut lane = lane();
        read_once(&mut lane, &[1, 2]);
        lane.set_active(false);
        assert!(lane.take(8).is_none());
        lane.push(owed(3));
        assert!(lane.begin_reading().is_none());
        lane.set_active(true);
        read_once(&mut lane, &[1, 2, 3]);
        assert_eq!(lane.take(8).unwrap().id.as_i64(), 1);
    }

    #[test]
    fn a_manual_success_takes_it_out_of_the_queue() {
        let mut lane = lane();
        read_once(&mut lane, &[1, 2]);
        lane.settle(DeliveryId::from_i64(1));
        assert_eq!(lane.take(8).unwrap().id.as_i64(), 2);
    }
}
