//! One attempt, made and recorded: sends with the webhook's own key, and has the writer keep what
//! happened together with where the delivery stands now.

use super::connect::HttpClient;
use super::sender::{self, AttemptLimits, Outgoing};
use crate::delivery::{RetrySchedule, Standing, Trigger};
use crate::error::{Error, Result};
use crate::id::IdGenerator;
use crate::signature::Signer;
use crate::store::Readers;
use crate::store::attempts::{self, NewAttempt};
use crate::store::catalog::CatalogHandle;
use crate::store::deliveries::{self, OwedDelivery};
use crate::store::writer::Writer;
use crate::time::now_ms;
use crate::webhook::Webhook;
use std::sync::Arc;
use std::time::Duration;

/// The bounds of sending.
#[derive(Debug, Clone)]
pub struct DispatchLimits {
    /// Attempts on their way, in all.
    pub concurrency: usize,
    /// Attempts on their way to one webhook.
    pub webhook_concurrency: usize,
    /// When to try again.
    pub schedule: RetrySchedule,
    /// The bounds of one attempt.
    pub attempt: AttemptLimits,
    /// How long attempts on their way may take to end when the box stops.
    pub drain_timeout: Duration,
}

/// What the dispatcher works with.
#[derive(Debug)]
pub struct Tools {
    /// The one HTTP client.
    pub client: HttpClient,
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

/// A webhook with its key expanded, made anew when the webhook changes.
pub(super) struct Target {
    pub(super) webhook: Arc<Webhook>,
    pub(super) signer: Signer,
}

/// Makes one attempt and records it; says where the delivery stands now.
pub(super) async fn attempt(
    tools: &Tools,
    target: &Target,
    owed: &OwedDelivery,
    trigger: Trigger,
) -> Result<Standing> {
    let started_at_ms = now_ms();
    let outgoing = Outgoing {
        url: &target.webhook.url,
        signer: &target.signer,
        message: owed.message,
        body: &owed.body,
        now_ms: started_at_ms,
    };
    let outcome = sender::attempt(&tools.client, outgoing, tools.limits.attempt).await;
    let ended_at_ms = now_ms();
    let attempt = NewAttempt {
        id: tools.ids.next(started_at_ms),
        delivery: owed.id,
        trigger,
        started_at_ms,
        duration_us: i64::try_from(outcome.duration.as_micros()).unwrap_or(i64::MAX),
        url: target.webhook.url.to_string(),
        address: outcome.address,
        request_headers: outcome.request_headers,
        response: outcome.response,
        error: outcome.error,
    };
    let schedule = tools.limits.schedule.clone();
    let dice = fastrand::f64();
    tools
        .writer
        .record(move |connection| {
            let Some(before) = deliveries::standing(connection, attempt.delivery)? else {
                // Swept while it was on its way: there is nothing left to record it on.
                return Err(Error::not_found("delivery"));
            };
            let succeeded = attempt.error.is_none();
            let after = before.after_attempt(trigger, succeeded, &schedule, ended_at_ms, dice);
            attempts::record(connection, &attempt, &after)?;
            Ok(after)
        })
        .await
}
