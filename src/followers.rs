//! Those who follow the log: the dispatcher and the projector. They are told after a commit and never waited
//! for, since what they miss is in the file.

use crate::store::deliveries::OwedDelivery;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc as blocking;
use tokio::sync::mpsc;

/// Those who follow the log: told after a commit, and never waited for.
#[derive(Debug, Clone)]
pub struct Followers {
    fresh: mpsc::Sender<OwedDelivery>,
    overflowed: Arc<AtomicBool>,
    log_grew: blocking::SyncSender<()>,
}

/// The dispatcher's end of [`Followers`].
#[derive(Debug)]
pub struct FreshDeliveries {
    /// What was committed as due at once.
    pub queue: mpsc::Receiver<OwedDelivery>,
    overflowed: Arc<AtomicBool>,
}

impl FreshDeliveries {
    /// Whether something did not fit since the last call and must be read from the file.
    pub fn take_overflow(&self) -> bool {
        self.overflowed.swap(false, Ordering::AcqRel)
    }
}

/// The projector's end of [`Followers`]: a message means that the log grew.
pub type LogGrew = blocking::Receiver<()>;

/// The two ends; `room` deliveries may wait in memory.
pub fn followers(room: usize) -> (Followers, FreshDeliveries, LogGrew) {
    let (fresh, queue) = mpsc::channel(room);
    // One token is enough: it says "look again", not how much there is.
    let (log_grew, grown) = blocking::sync_channel(1);
    let overflowed = Arc::new(AtomicBool::new(false));
    let followers = Followers {
        fresh,
        overflowed: Arc::clone(&overflowed),
        log_grew,
    };
    (followers, FreshDeliveries { queue, overflowed }, grown)
}

impl Followers {
    /// Hands the dispatcher what was committed as due.
    pub fn tell_of_due(&self, fresh: &[OwedDelivery]) {
        for delivery in fresh {
            if self.fresh.try_send(delivery.clone()).is_err() {
                // Its pending row is on disk, so the dispatcher finds it there.
                self.overflowed.store(true, Ordering::Release);
            }
        }
    }

    /// Says that more is due than the dispatcher was handed just now: it looks for it in the file.
    pub fn tell_of_more(&self) {
        self.overflowed.store(true, Ordering::Release);
    }

    /// Says that the log grew, and hands the dispatcher what was committed as due.
    pub fn tell(&self, fresh: &[OwedDelivery]) {
        self.tell_of_due(fresh);
        // An error means that a token lies there already, or that the box stops.
        let _ = self.log_grew.try_send(());
    }
}
