//! DELIVER: from what is owed to what was answered. The dispatcher decides who sends next, a lane
//! keeps one webhook's backlog, the sender makes one attempt over a kept connection, the connector
//! decides which addresses may be dialled, and records are written many at once. All of it runs on one
//! thread of its own, but for the looks at the file and for replays, which only ask for attempts.

mod answer;
pub mod attempt;
mod backlog;
mod books;
pub mod check;
pub mod connect;
pub mod connections;
mod dispatcher;
mod health;
mod lane;
mod listing;
mod notices;
mod origins;
mod record;
pub mod replays;
mod request;
mod restraint;
mod secrets;
pub mod sender;
mod share;
mod tasks;
mod timers;

pub use request::AttemptRequests;
pub use restraint::BREAKER_FAILURES;

use crate::followers::FreshDeliveries;
use attempt::Tools;
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio::sync::watch;

/// Starts the dispatcher's thread; it ends some time after `stop` turns true.
///
/// # Errors
/// When the thread or its runtime cannot be started.
pub fn start(
    tools: Tools,
    fresh: FreshDeliveries,
    stop: watch::Receiver<bool>,
) -> std::io::Result<(AttemptRequests, JoinHandle<()>)> {
    let (requests, asked_for) = request::channel();
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
                asked_for,
                stop,
            )));
            // A resolver that hangs would keep the box from stopping (promise 13).
            runtime.shutdown_background();
        })?;
    Ok((requests, thread))
}
