//! What the dispatcher waits for: attempts, records, looks at the file. All of it is polled as a part of
//! the dispatcher's own task: spawned, each attempt would cost a task of its own and a way back from it.

use super::attempt::Made;
use super::backlog::Backlog;
use super::listing::Listed;
use super::record::Records;
use super::request::AttemptRequest;
use crate::error::Result;
use crate::id::WebhookId;
use crate::store::deliveries::OwedDelivery;
use futures_util::FutureExt as _;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use std::collections::HashSet;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;

/// What came of something that was waited for.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are attempts, and a box would cost each an allocation"
)]
pub(super) enum Done {
    /// An attempt was made.
    Attempt(Made),
    /// Attempts were recorded, or recording them failed.
    Recorded(Records),
    /// The backlogs of these webhooks were read.
    Reading {
        webhooks: Vec<WebhookId>,
        backlogs: Result<Vec<Backlog>>,
    },
    /// Deliveries were looked at for the due lists; `None` when the box stops.
    Listing {
        listed: Option<Listed>,
        turned_away: HashSet<WebhookId>,
    },
    /// A delivery that a person asked for was looked up.
    Lookup {
        found: Result<Option<OwedDelivery>>,
        request: AttemptRequest,
    },
}

type Task = Pin<Box<dyn Future<Output = std::thread::Result<Done>>>>;

/// What is being waited for.
#[derive(Default)]
pub(super) struct Tasks(FuturesUnordered<Task>);

impl Tasks {
    /// Begins to wait for something as well. One that panics ends alone.
    pub(super) fn start(&mut self, work: impl Future<Output = Done> + 'static) {
        self.0.push(Box::pin(AssertUnwindSafe(work).catch_unwind()));
    }

    /// What is done next; `None` when nothing is waited for.
    pub(super) async fn next(&mut self) -> Option<Done> {
        loop {
            match self.0.next().await? {
                Ok(done) => return Some(done),
                Err(_) => tracing::error!("a task of the dispatcher panicked; see above"),
            }
        }
    }

    /// What is done already.
    pub(super) fn next_ready(&mut self) -> Option<Done> {
        self.next().now_or_never().flatten()
    }
}
