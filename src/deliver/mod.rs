//! DELIVER: from what is owed to what was answered. The dispatcher decides who sends next, a lane
//! keeps one webhook's backlog, the sender makes one attempt over a kept connection, the connector
//! decides which addresses may be dialled, and records are written many at once. All of it runs on one
//! thread of its own, but for the looks at the file.

pub mod attempt;
mod backlog;
pub mod connect;
pub mod connections;
mod dispatcher;
mod lane;
mod listing;
mod record;
pub mod sender;
mod tasks;
mod timers;

use crate::error::{Error, Kind, Result};
use crate::followers::FreshDeliveries;
use crate::id::DeliveryId;
use attempt::Tools;
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio::sync::{mpsc, watch};

/// Retries that people asked for and that have not begun.
const RETRY_REQUESTS: usize = 1_024;

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

/// Starts the dispatcher's thread; it ends some time after `stop` turns true.
///
/// # Errors
/// When the thread or its runtime cannot be started.
pub fn start(
    tools: Tools,
    fresh: FreshDeliveries,
    stop: watch::Receiver<bool>,
) -> std::io::Result<(RetryRequests, JoinHandle<()>)> {
    let (requests, retries) = mpsc::channel(RETRY_REQUESTS);
    // One thread: with two, an attempt costs half as much again in handing over.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let thread = std::thread::Builder::new()
        .name("dispatcher".to_owned())
        .spawn(move || {
            runtime.block_on(tokio::task::unconstrained(dispatcher::run(
                Arc::new(tools),
                fresh,
                retries,
                stop,
            )));
            // A resolver that hangs would keep the box from stopping (promise 13).
            runtime.shutdown_background();
        })?;
    Ok((RetryRequests(requests), thread))
}
