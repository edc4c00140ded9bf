//! What somebody asks of the dispatcher: attempts outside the schedule, and that it hears of deliveries
//! that were made or settled beside it.

use super::attempt::Told;
use crate::delivery::Trigger;
use crate::error::{Error, Kind, Result};
use crate::id::{DeliveryId, WebhookId};
use crate::store::deliveries::OwedDelivery;
use tokio::sync::mpsc;

/// Attempts that were asked for and that have not begun.
pub(super) const ATTEMPT_REQUESTS: usize = 1_024;

/// An attempt outside the schedule.
#[derive(Debug)]
pub(super) struct AttemptRequest {
    pub(super) delivery: DeliveryId,
    pub(super) trigger: Trigger,
    /// Hears whether it succeeded; dropped unheard where it could not be made or recorded.
    pub(super) told: Option<Told>,
}

/// What the dispatcher is asked.
#[derive(Debug)]
pub(super) enum Asked {
    /// For one attempt.
    Attempt(AttemptRequest),
    /// To forget what needs no attempt any more.
    Forget(WebhookId, Vec<DeliveryId>),
    /// To send, by the schedule, what was made beside the log.
    Send(OwedDelivery),
}

/// Asks the dispatcher for attempts outside the schedule.
#[derive(Debug, Clone)]
pub struct AttemptRequests(mpsc::Sender<Asked>);

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
        self.0.try_send(Asked::Attempt(request)).map_err(|_| {
            Error::new(
                Kind::Unavailable,
                "retries_busy",
                "Too many retries are waiting already; try again in a moment.",
            )
        })
    }

    /// As [`AttemptRequests::request`], but waits for room; for who is in no hurry.
    pub async fn request_in_turn(
        &self,
        delivery: DeliveryId,
        trigger: Trigger,
        told: Option<Told>,
    ) {
        let request = AttemptRequest {
            delivery,
            trigger,
            told,
        };
        // When the dispatcher has stopped, `told` is dropped with what is sent to nobody.
        let _ = self.0.send(Asked::Attempt(request)).await;
    }

    /// Says that deliveries of a webhook were settled in the file, so that none waits in memory to be sent.
    pub async fn forget(&self, webhook: WebhookId, settled: Vec<DeliveryId>) {
        // A dispatcher that has stopped holds nothing in memory.
        let _ = self.0.send(Asked::Forget(webhook, settled)).await;
    }

    /// Hands over a pending delivery that was committed beside the log.
    pub async fn send(&self, owed: OwedDelivery) {
        // It is pending in the file, where it is found after the next start.
        let _ = self.0.send(Asked::Send(owed)).await;
    }
}

/// Where attempts are asked for, and where the dispatcher hears of it.
pub(super) fn channel() -> (AttemptRequests, mpsc::Receiver<Asked>) {
    let (requests, asked_for) = mpsc::channel(ATTEMPT_REQUESTS);
    (AttemptRequests(requests), asked_for)
}
