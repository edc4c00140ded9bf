//! DELIVER: from what is owed to what was answered. The dispatcher decides who sends next, the
//! sender makes one attempt, the connector decides which addresses may be dialled.

use crate::error::{Error, Kind, Result};
use crate::id::DeliveryId;
use tokio::sync::mpsc;

/// Asks the dispatcher for attempts outside the schedule.
#[derive(Debug, Clone)]
pub struct RetryRequests(mpsc::Sender<DeliveryId>);

impl RetryRequests {
    /// Asks for one attempt of a delivery now; the schedule stays as it is.
    ///
    /// # Errors
    /// [`Kind::Unavailable`] when too many are asked for at once.
    pub fn request(&self, delivery: DeliveryId) -> Result<()> {
        self.0.try_send(delivery).map_err(|_| {
            Error::new(
                Kind::Unavailable,
                "retries_busy",
                "Too many retries are waiting already; try again in a moment.",
            )
        })
    }
}
