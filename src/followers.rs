//! Those who follow the log: the dispatcher and the projector. They are told after a commit and never waited
//! for, since what they miss is in the file.

use crate::store::deliveries::OwedDelivery;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc as blocking;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Those who follow the log: told after a commit, and never waited for.
///
/// Of a group that was committed together they hear job by job, and are woken once, at its end: who is woken for
/// the first sleeps again before the second comes, and a waking costs both sides more than the news.
#[derive(Debug, Clone)]
pub struct Followers {
    fresh: Arc<Fresh>,
    log: Arc<Log>,
}

/// What was committed as due at once, on its way to the dispatcher.
#[derive(Debug)]
struct Fresh {
    waiting: Mutex<Vec<OwedDelivery>>,
    /// How many may wait.
    room: usize,
    /// Whether the dispatcher has not been woken for all of it.
    is_news: AtomicBool,
    overflowed: AtomicBool,
    wake: Notify,
}

/// The projector's news.
#[derive(Debug)]
struct Log {
    /// Whether it has grown since the projector was told so.
    is_news: AtomicBool,
    grew: blocking::SyncSender<()>,
}

impl Fresh {
    fn waiting(&self) -> MutexGuard<'_, Vec<OwedDelivery>> {
        // What a panic left behind is a list all the same, and the file has the rest.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The dispatcher's end of [`Followers`].
#[derive(Debug)]
pub struct FreshDeliveries(Arc<Fresh>);

impl FreshDeliveries {
    /// Returns when something may have been committed since the last call: what it is may have been taken already.
    /// May be cancelled.
    pub async fn committed(&self) {
        self.0.wake.notified().await;
    }

    /// What was committed as due at once since the last call.
    pub fn take(&self) -> Vec<OwedDelivery> {
        std::mem::take(&mut *self.0.waiting())
    }

    /// Whether something did not fit since the last call and must be read from the file.
    pub fn take_overflow(&self) -> bool {
        self.0.overflowed.swap(false, Ordering::AcqRel)
    }
}

/// The projector's end of [`Followers`]: a message means that the log grew.
pub type LogGrew = blocking::Receiver<()>;

/// The two ends; `room` deliveries may wait in memory.
pub fn followers(room: usize) -> (Followers, FreshDeliveries, LogGrew) {
    // One token is enough: it says "look again", not how much there is.
    let (grew, grown) = blocking::sync_channel(1);
    let fresh = Arc::new(Fresh {
        waiting: Mutex::default(),
        room,
        is_news: AtomicBool::new(false),
        overflowed: AtomicBool::new(false),
        wake: Notify::new(),
    });
    let log = Log {
        is_news: AtomicBool::new(false),
        grew,
    };
    let followers = Followers {
        fresh: Arc::clone(&fresh),
        log: Arc::new(log),
    };
    (followers, FreshDeliveries(fresh), grown)
}

impl Followers {
    /// Hands the dispatcher what was committed as due, and wakes it.
    pub fn tell_of_due(&self, due: &[OwedDelivery]) {
        self.note_due(due);
        self.wake();
    }

    /// Says that more is due than the dispatcher was handed just now: it looks for it in the file.
    pub fn tell_of_more(&self) {
        self.fresh.overflowed.store(true, Ordering::Release);
        self.fresh.wake.notify_one();
    }

    /// Notes for the projector that the log grew, and for the dispatcher what was committed as due. They hear of
    /// it when they are woken.
    pub fn note(&self, due: &[OwedDelivery]) {
        self.log.is_news.store(true, Ordering::Release);
        self.note_due(due);
    }

    fn note_due(&self, due: &[OwedDelivery]) {
        if due.is_empty() {
            return;
        }
        let mut waiting = self.fresh.waiting();
        let fit = self.fresh.room.saturating_sub(waiting.len());
        if fit < due.len() {
            // Their pending rows are on disk, so the dispatcher finds them there.
            self.fresh.overflowed.store(true, Ordering::Release);
        }
        waiting.extend(due.iter().take(fit).cloned());
        if waiting.len() > self.fresh.room / 2 {
            // Of a group that owes this much the rest would not fit.
            self.fresh.wake.notify_one();
        }
        // Last, so that whoever wakes the dispatcher for it finds it there.
        self.fresh.is_news.store(true, Ordering::Release);
    }

    /// Wakes those for whom something was noted.
    pub fn wake(&self) {
        if self.fresh.is_news.swap(false, Ordering::AcqRel) {
            self.fresh.wake.notify_one();
        }
        if self.log.is_news.swap(false, Ordering::AcqRel) {
            // An error means that a token lies there already, or that the box stops.
            let _ = self.log.grew.try_send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    fn ids(fresh: &FreshDeliveries) -> Vec<i64> {
        let taken = fresh.take();
        taken.iter().map(|owed| owed.id.as_i64()).collect()
    }

    #[tokio::test]
    async fn who_follows_is_woken_once_for_a_group_and_only_for_news() {
        let (followers, fresh, log_grew) = followers(8);
        followers.note(&[OwedDelivery::bare(1)]);
        followers.note(&[]);
        followers.note(&[OwedDelivery::bare(2), OwedDelivery::bare(3)]);
        assert!(fresh.committed().now_or_never().is_none());
        assert!(log_grew.try_recv().is_err());
        followers.wake();
        fresh.committed().await;
        assert_eq!(ids(&fresh), [1, 2, 3]);
        assert!(log_grew.try_recv().is_ok() && log_grew.try_recv().is_err());
        followers.note(&[]);
        followers.wake();
        assert!(fresh.committed().now_or_never().is_none());
        assert!(log_grew.try_recv().is_ok());
        followers.tell_of_due(&[OwedDelivery::bare(4)]);
        fresh.committed().await;
        assert_eq!(ids(&fresh), [4]);
        assert!(log_grew.try_recv().is_err());
    }

    #[test]
    fn what_does_not_fit_is_left_to_the_file_and_said() {
        let (followers, fresh, _log_grew) = followers(2);
        followers.note(&[OwedDelivery::bare(1)]);
        assert!(!fresh.take_overflow());
        followers.note(&[OwedDelivery::bare(2), OwedDelivery::bare(3)]);
        // So much is not left waiting for the end of its group.
        assert!(fresh.committed().now_or_never().is_some());
        assert!(fresh.take_overflow() && !fresh.take_overflow());
        assert_eq!(ids(&fresh), [1, 2]);
        followers.tell_of_more();
        assert!(fresh.committed().now_or_never().is_some() && fresh.take_overflow());
    }
}
