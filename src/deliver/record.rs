//! Records: what was tried goes to the file, as many attempts at once as are there, each with where
//! its delivery stands now. Decides nothing about who sends next.

use super::attempt::{Made, Tools};
use crate::delivery::{RetrySchedule, Standing, Trigger};
use crate::error::{Kind, Result};
use crate::id::{DeliveryId, WebhookId};
use crate::store::attempts::Recorder;
use crate::store::deliveries::Standings;
use rusqlite::Connection;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// How long to leave the file alone when it could not take a record.
const SETBACK: Duration = Duration::from_secs(1);

/// What became of an attempt's record.
pub(super) struct Recorded {
    pub(super) delivery: DeliveryId,
    pub(super) webhook: WebhookId,
    pub(super) trigger: Trigger,
    pub(super) fate: Fate,
}

/// What the file says of a delivery after an attempt.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fate {
    /// The attempt is kept, and the delivery stands there.
    Stands(Standing),
    /// Swept while it was on its way: there was nothing left to record the attempt on.
    Gone,
    /// The attempt could not be kept, and the log says why.
    Unrecorded,
}

/// Has attempts kept, in one transaction if all of them can be.
pub(super) async fn record(tools: &Tools, made: Vec<Made>) -> Vec<Recorded> {
    let made: Arc<[Made]> = made.into();
    let fates = match keep(tools, &made, 0..made.len()).await {
        Ok(fates) => fates,
        Err(_) if made.len() > 1 && tools.writer.is_alive() => {
            // One of them is at fault and must not cost the others their records.
            let mut fates = Vec::with_capacity(made.len());
            for n in 0..made.len() {
                match keep(tools, &made, n..n + 1).await {
                    Ok(fate) => fates.extend(fate),
                    Err(e) => {
                        say_unrecorded(&e);
                        fates.push(Fate::Unrecorded);
                    }
                }
            }
            fates
        }
        Err(e) => {
            say_unrecorded(&e);
            vec![Fate::Unrecorded; made.len()]
        }
    };
    let with_fate = |(made, fate): (&Made, Fate)| Recorded {
        delivery: made.attempt.delivery,
        webhook: made.webhook,
        trigger: made.attempt.trigger,
        fate,
    };
    made.iter().zip(fates).map(with_fate).collect()
}

fn say_unrecorded(error: &crate::error::Error) {
    tracing::error!(%error, "attempts were made but could not be recorded; they will be made again");
}

/// Keeps the attempts of a range, and keeps at it while the file is locked or full: the receivers
/// have been asked, and must not be asked again because the box could not write that down.
async fn keep(tools: &Tools, made: &Arc<[Made]>, range: Range<usize>) -> Result<Vec<Fate>> {
    loop {
        let (made, range) = (Arc::clone(made), range.clone());
        let schedule = tools.limits.schedule.clone();
        let recorded = tools
            .writer
            .record(move |connection| {
                write(
                    connection,
                    made.get(range.clone()).unwrap_or(&[]),
                    &schedule,
                )
            })
            .await;
        match recorded {
            Err(e)
                if matches!(e.kind(), Kind::Unavailable | Kind::Full)
                    && tools.writer.is_alive() =>
            {
                tracing::warn!(error = %e, "attempts could not be recorded yet");
                tokio::time::sleep(SETBACK).await;
            }
            recorded => return recorded,
        }
    }
}

/// Where a delivery stands is worked out here, from its row as it is now: a person may have held or
/// cancelled it meanwhile, or asked for an attempt beside this one.
fn write(connection: &Connection, made: &[Made], schedule: &RetrySchedule) -> Result<Vec<Fate>> {
    let mut standings = Standings::new(connection)?;
    let mut recorder = Recorder::new(connection)?;
    made.iter()
        .map(|made| {
            let attempt = &made.attempt;
            let Some(before) = standings.get(attempt.delivery)? else {
                return Ok(Fate::Gone);
            };
            let after = before.after_attempt(
                attempt.trigger,
                attempt.error.is_none(),
                schedule,
                made.ended_at_ms,
                made.dice,
            );
            recorder.record(attempt, &after)?;
            Ok(Fate::Stands(after))
        })
        .collect()
}
