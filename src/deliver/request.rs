//! Attempts that somebody asks for, on their way to the dispatcher.

use super::attempt::Told;
use crate::delivery::Trigger;
use crate::error::{Error, Kind, Result};
use crate::id::DeliveryId;
use tokio::sync::mpsc;

/// Attempts that people asked for and that have not begun.
const ATTEMPT_REQUESTS: usize = 1_024;

/// An attempt outside the schedule.
#[derive(Debug)]
pub(super) struct AttemptRequest {
    pub(super) delivery: DeliveryId,
    pub(super) trigger: Trigger,
    /// Hears whether it succeeded; dropped unheard where it could not be made or recorded.
    pub(super) told: Option<Told>,
}

/// Asks the dispatcher for attempts outside the schedule.
#[derive(Debug, Clone)]
pub struct AttemptRequests(mpsc::Sender<AttemptRequest>);

impl AttemptRequests {
    /// Asks for one attempt of a delivery now; the schedule stays as it is. `told` hears whether it succeeded,
    /// once it is recorded, and is dropped where it could not be made or recorded.
    ///
    /// # Errors
    /// [`Kind::Unavailable`] when too many are asked for at once.
    pub fn request(
        &self,
        delivery: DeliveryId,
        trigger: Trigger,
        told: Option<Told>,
    ) -> Result<()> {
        let request = AttemptRequest {
            delivery,
            trigger,
            told,
        };
        self.0.try_send(request).map_err(|_| {
            Error::new(
                Kind::Unavailable,
                "retries_busy",
                "Too many retries are waiting already; try again in a moment.",
            )
        })
    }
}

/// Where attempts are asked for, and where the dispatcher hears of it.
pub(super) fn channel() -> (AttemptRequests, mpsc::Receiver<AttemptRequest>) {
    let (requests, asked_for) = mpsc::channel(ATTEMPT_REQUESTS);
    (AttemptRequests(requests), asked_for)
}
