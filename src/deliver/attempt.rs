//! One attempt, made and recorded: sends with the webhook's own key, and has the writer keep what
//! happened together with where the delivery stands now.

use super::connect::HttpClient;
use super::sender::{self, AttemptLimits, Outgoing};
use crate::delivery::{RetrySchedule, Standing, Trigger};
use crate::error::{Error, Kind, Result};
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

/// How long to leave the file alone when it could not take a record.
const SETBACK: Duration = Duration::from_secs(1);

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
    record(tools, Arc::new(attempt), ended_at_ms).await
}

/// Has the attempt kept, and keeps at it while the file is locked or full: the receiver has been
/// asked, and must not be asked again because the box could not write that down.
async fn record(tools: &Tools, attempt: Arc<NewAttempt>, ended_at_ms: i64) -> Result<Standing> {
    let dice = fastrand::f64();
    loop {
        let attempt = Arc::clone(&attempt);
        let schedule = tools.limits.schedule.clone();
        let recorded = tools
            .writer
            .record(move |connection| {
                let Some(before) = deliveries::standing(connection, attempt.delivery)? else {
                    // Swept while it was on its way: there is nothing left to record it on.
                    return Err(Error::not_found("delivery"));
                };
                let after = before.after_attempt(
                    attempt.trigger,
                    attempt.error.is_none(),
                    &schedule,
                    ended_at_ms,
                    dice,
                );
                attempts::record(connection, &attempt, &after)?;
                Ok(after)
            })
            .await;
        match recorded {
            Err(e)
                if matches!(e.kind(), Kind::Unavailable | Kind::Full)
                    && tools.writer.is_alive() =>
            {
                tracing::warn!(error = %e, "an attempt could not be recorded yet");
                tokio::time::sleep(SETBACK).await;
            }
            recorded => return recorded,
        }
    }
}
