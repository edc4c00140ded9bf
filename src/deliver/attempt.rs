//! One attempt, made with the webhook's own key, with all its evidence. Also what attempts share:
//! their tools and the bounds of sending.

use super::connections::Connections;
use super::sender::{self, AttemptLimits, Endpoint, Outcome, Outgoing};
use crate::delivery::{Pace, RetrySchedule, Standing, Tried, Trigger};
use crate::id::{IdGenerator, WebhookId};
use crate::store::Readers;
use crate::store::attempts::NewAttempt;
use crate::store::catalog::CatalogHandle;
use crate::store::deliveries::OwedDelivery;
use crate::store::writer::Writer;
use crate::time::now_ms;
use crate::webhook::Webhook;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// The bounds of sending.
#[derive(Debug, Clone)]
pub struct DispatchLimits {
    /// Attempts on their way, in all, but for those that people ask for, of which there may be as many again.
    pub concurrency: usize,
    /// Attempts on their way or not yet recorded, in all: as many at most are made again after a
    /// crash (promise 10).
    pub unfinished: usize,
    /// Bytes of deliveries that wait in memory, in all; a webhook has a little room whatever others hold.
    pub ready_bytes: usize,
    /// Attempts on their way to one webhook.
    pub webhook_concurrency: usize,
    /// When to try again.
    pub schedule: Arc<RetrySchedule>,
    /// A webhook whose every attempt has failed for this long is disabled, milliseconds.
    pub disable_after_ms: i64,
    /// The bounds of one attempt.
    pub attempt: AttemptLimits,
    /// How long attempts on their way may take to end when the box stops.
    pub drain_timeout: Duration,
}

/// What the dispatcher works with.
#[derive(Debug)]
pub struct Tools {
    /// All connections are made and kept here.
    pub connections: Connections,
    /// Records attempts.
    pub writer: Writer,
    /// Reads backlogs.
    pub readers: Readers,
    /// Knows the webhooks.
    pub catalog: CatalogHandle,
    /// Makes attempts' ids.
    pub ids: Arc<IdGenerator>,
    /// The bounds.
    pub limits: DispatchLimits,
}

/// A webhook with all that its requests share, made anew when the webhook changes.
pub(super) struct Target {
    pub(super) webhook: Arc<Webhook>,
    /// The webhook's own, or the box's.
    schedule: Arc<RetrySchedule>,
    url: Arc<str>,
    /// Or why its settings cannot be sent.
    endpoint: Result<Endpoint, String>,
}

impl Target {
    pub(super) fn new(webhook: Arc<Webhook>, limits: &DispatchLimits) -> Self {
        let own = webhook.settings.schedule.as_ref();
        Self {
            schedule: Arc::clone(own.unwrap_or(&limits.schedule)),
            url: webhook.settings.url.as_str().into(),
            endpoint: Endpoint::new(&webhook).map_err(|e| e.to_string()),
            webhook,
        }
    }
}

/// An attempt that was made and is not recorded yet.
pub(super) struct Made {
    pub(super) attempt: NewAttempt,
    pub(super) webhook: WebhookId,
    /// Where the delivery stood when it was sent.
    pub(super) standing: Standing,
    pub(super) ended_at_ms: i64,
    /// How long the receiver asked to be left alone.
    pub(super) retry_after: Option<Duration>,
    /// Moves the next attempt's time; thrown once, so that a repeated job says the same.
    pub(super) dice: f64,
    pub(super) schedule: Arc<RetrySchedule>,
    pub(super) is_ordered: bool,
    /// Who asked for it, and waits to hear.
    pub(super) told: Option<Told>,
}

/// Hears whether an attempt that somebody asked for succeeded, once it is recorded.
pub type Told = oneshot::Sender<bool>;

impl Made {
    pub(super) fn tried(&self) -> Tried {
        Tried {
            attempt: self.attempt.id,
            trigger: self.attempt.trigger,
            succeeded: self.attempt.error.is_none(),
            ended_at_ms: self.ended_at_ms,
            retry_after: self.retry_after,
            dice: self.dice,
        }
    }

    pub(super) fn pace(&self) -> Pace<'_> {
        Pace {
            schedule: &self.schedule,
            is_ordered: self.is_ordered,
        }
    }
}

/// Makes one attempt.
pub(super) async fn attempt(
    tools: &Tools,
    target: &Target,
    owed: OwedDelivery,
    trigger: Trigger,
    told: Option<Told>,
) -> Made {
    let started_at_ms = now_ms();
    let outgoing = Outgoing {
        message: owed.message,
        body: &owed.body,
        now_ms: started_at_ms,
    };
    let limits = tools.limits.attempt;
    let outcome = match &target.endpoint {
        Ok(endpoint) => sender::attempt(&tools.connections, endpoint, outgoing, limits).await,
        Err(why) => Outcome::not_sent(why.clone()),
    };
    Made {
        attempt: NewAttempt {
            id: tools.ids.next(started_at_ms),
            delivery: owed.id,
            trigger,
            started_at_ms,
            duration_us: i64::try_from(outcome.duration.as_micros()).unwrap_or(i64::MAX),
            url: Arc::clone(&target.url),
            address: outcome.address,
            request_headers: outcome.request_headers,
            response: outcome.response,
            error: outcome.error,
            phases: outcome.phases,
        },
        webhook: owed.webhook,
        standing: owed.standing,
        ended_at_ms: now_ms(),
        retry_after: outcome.retry_after,
        dice: fastrand::f64(),
        schedule: Arc::clone(&target.schedule),
        is_ordered: target.webhook.settings.is_ordered,
        told,
    }
}
