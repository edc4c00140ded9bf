//! Refused requests on their way to the file: built when a handler that knows its workspace refuses, held
//! in memory within bounds, and written in small groups. Costs an accepted request a copy of the first
//! bytes of its body; a flood of refused ones grows neither the memory nor the writer's queue.

use super::{excerpt, mask};
use crate::error::{Error, FieldError, Kind, Result};
use crate::event::Credential;
use crate::http;
use crate::id::{IdGenerator, WorkspaceId};
use crate::store::rejects::{self, RefusedField, Reject, Snippet};
use crate::store::writer::Writer;
use crate::time::now_ms;
use actix_web::HttpResponse;
use rusqlite::Connection;
use std::borrow::Cow;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// Refused fields that are kept of one request.
const MAX_FIELDS: usize = 5;
/// Characters that are kept of each text that a refusal holds.
const MAX_TEXT_CHARS: usize = 400;

/// The bounds of refused requests in memory.
#[derive(Debug, Clone, Copy)]
pub struct RejectLimits {
    /// Refused requests that may wait to be written, in all.
    pub waiting: usize,
    /// Those of one workspace.
    pub waiting_of_workspace: usize,
    /// Rows in one transaction.
    pub group: usize,
    /// Refused requests gather for this long before a group is written, milliseconds.
    pub gather_ms: u64,
}

impl RejectLimits {
    fn allow(&self, taken: usize, of_workspace: usize) -> bool {
        taken < self.waiting && of_workspace < self.waiting_of_workspace
    }
}

/// Takes refused requests; what does not fit is counted and given up.
#[derive(Debug)]
pub struct Rejects {
    limits: RejectLimits,
    waiting: Mutex<Waiting>,
    grew: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    /// Places that are taken, some of them for requests that are still being looked at.
    taken: usize,
    taken_of_workspace: HashMap<WorkspaceId, usize>,
    queue: VecDeque<Reject>,
    lost: HashMap<WorkspaceId, i64>,
}

/// Where a dialect is posted to.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    /// The path, as the caller wrote it where it has parts that differ.
    pub(super) path: Cow<'static, str>,
    /// The header in which an API key stands alone, where there is one.
    pub(super) key_header: Option<&'static str>,
}

impl Endpoint {
    /// A path to which no API key is sent.
    pub(super) fn without_key(path: impl Into<Cow<'static, str>>) -> Self {
        Self {
            path: path.into(),
            key_header: None,
        }
    }

    /// A path with keys in a header of its own.
    pub(super) fn with_key_in(path: &'static str, header: &'static str) -> Self {
        Self {
            path: Cow::Borrowed(path),
            key_header: Some(header),
        }
    }

    /// A path that is always the same, with keys in `x-api-key`.
    pub(super) const fn with_api_key(path: &'static str) -> Self {
        Self {
            path: Cow::Borrowed(path),
            key_header: Some("x-api-key"),
        }
    }
}

/// A request whose workspace is known, until it is answered.
#[derive(Debug)]
pub(super) struct Watch<'r> {
    rejects: &'r Rejects,
    endpoint: Endpoint,
    credential: Credential,
    received_at_ms: i64,
    body: Seen,
    rejected: Option<RejectedEvents>,
}

/// What is left of the body.
#[derive(Debug)]
enum Seen {
    /// It could not be read.
    Nothing,
    /// It could, and these are its first bytes and its length.
    Head(Vec<u8>, usize),
    /// It was refused as it stands.
    Refused(Snippet),
}

/// Some events of a batch.
#[derive(Debug)]
struct RejectedEvents {
    count: i64,
    status: u16,
    code: &'static str,
    detail: String,
    errors: Vec<RefusedField>,
}

impl Rejects {
    /// Holds nothing yet.
    pub fn new(limits: RejectLimits) -> Self {
        Self {
            limits,
            waiting: Mutex::default(),
            grew: Notify::new(),
        }
    }

    /// Watches a request of a known sender, from here to its answer.
    pub(super) fn watch(
        &self,
        endpoint: Endpoint,
        credential: Credential,
        received_at_ms: i64,
    ) -> Watch<'_> {
        Watch {
            rejects: self,
            endpoint,
            credential,
            received_at_ms,
            body: Seen::Nothing,
            rejected: None,
        }
    }

    /// Writes what comes until `stop` says so, and then what is left.
    pub async fn keep(
        &self,
        writer: Writer,
        ids: Arc<IdGenerator>,
        mut stop: watch::Receiver<bool>,
    ) {
        let gather = Duration::from_millis(self.limits.gather_ms);
        let mut stopping = false;
        while !stopping {
            tokio::select! {
                () = self.grew.notified() => {}
                // An error means that the box is gone, which is as good.
                _ = stop.wait_for(|stop| *stop) => stopping = true,
            }
            loop {
                if !stopping {
                    tokio::time::sleep(gather).await;
                }
                let (group, lost) = self.take_group();
                if group.is_empty() && lost.is_empty() {
                    break;
                }
                let ids = Arc::clone(&ids);
                let written = writer
                    .record(move |connection| write(connection, &ids, &group, &lost))
                    .await;
                if let Err(e) = written {
                    tracing::warn!(error = %e, "refused requests could not be kept");
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_room(&self, workspace: WorkspaceId) -> bool {
        let waiting = self.lock();
        let of_workspace = waiting.taken_of_workspace.get(&workspace);
        self.limits
            .allow(waiting.taken, of_workspace.copied().unwrap_or(0))
    }

    /// Takes a place, or counts what has none.
    fn take_place(&self, workspace: WorkspaceId) -> bool {
        let mut waiting = self.lock();
        let waiting = &mut *waiting;
        let of_workspace = waiting.taken_of_workspace.entry(workspace).or_default();
        let has_room = self.limits.allow(waiting.taken, *of_workspace);
        if has_room {
            waiting.taken += 1;
            *of_workspace += 1;
        } else {
            *waiting.lost.entry(workspace).or_default() += 1;
        }
        has_room
    }

    fn put(&self, reject: Reject) {
        self.lock().queue.push_back(reject);
        self.grew.notify_one();
    }

    fn take_group(&self) -> (Vec<Reject>, Vec<(WorkspaceId, i64)>) {
        let mut waiting = self.lock();
        let len = waiting.queue.len().min(self.limits.group);
        let group: Vec<_> = waiting.queue.drain(..len).collect();
        waiting.taken -= group.len();
        for reject in &group {
            if let Some(taken) = waiting.taken_of_workspace.get_mut(&reject.workspace) {
                *taken -= 1;
            }
        }
        waiting.taken_of_workspace.retain(|_, taken| *taken > 0);
        (group, waiting.lost.drain().collect())
    }
}

fn write(
    connection: &Connection,
    ids: &IdGenerator,
    group: &[Reject],
    lost: &[(WorkspaceId, i64)],
) -> Result<()> {
    for reject in group {
        rejects::insert(connection, ids.next(reject.at_ms), reject)?;
    }
    let workspaces: HashSet<_> = group.iter().map(|reject| reject.workspace).collect();
    for workspace in workspaces {
        rejects::trim(connection, workspace, group.len())?;
    }
    for (workspace, count) in lost {
        rejects::add_loss(connection, *workspace, *count, now_ms())?;
    }
    Ok(())
}

impl Watch<'_> {
    /// Has `parse` read the body. What it refuses is shown around the byte that it names.
    ///
    /// # Errors
    /// What `parse` refuses.
    pub(super) fn read<'b, T>(
        &mut self,
        body: &'b [u8],
        parse: impl FnOnce(&'b [u8]) -> Result<T>,
    ) -> Result<T> {
        let parsed = parse(body);
        self.body = match &parsed {
            Ok(_) => {
                let head = body.get(..excerpt::HEAD_BYTES).unwrap_or(body);
                Seen::Head(head.to_vec(), body.len())
            }
            Err(e) => self.refused(body, e.offset()),
        };
        parsed
    }

    /// Has the body shown around a byte, of an event that is refused though the others are not.
    pub(super) fn turn_to(&mut self, body: &[u8], offset: usize) {
        self.body = match self.refused(body, Some(offset)) {
            Seen::Refused(snippet) => Seen::Refused(Snippet {
                mark: None,
                ..snippet
            }),
            seen => seen,
        };
    }

    /// What is shown of a body, unless there is no room for it: then a flood costs next to nothing.
    fn refused(&self, body: &[u8], offset: Option<usize>) -> Seen {
        if self.rejects.has_room(self.credential.workspace) {
            Seen::Refused(excerpt::of(body, offset))
        } else {
            Seen::Nothing
        }
    }

    /// Notes the events of a batch that were refused, in order, each with its place in the body; `status`
    /// is that of the answer.
    pub(super) fn reject_events<'e>(
        &mut self,
        status: u16,
        refused: impl Iterator<Item = (String, &'e Error)>,
    ) {
        let mut refused = refused.filter(|(_, error)| is_refusal(error)).peekable();
        let Some((_, first)) = refused.peek() else {
            return;
        };
        let (code, detail) = (first.code(), first.message().to_owned());
        let mut count = 0;
        let mut errors = Vec::new();
        for (pointer, error) in refused {
            count += 1;
            let fields = error.field_errors().iter();
            let room = MAX_FIELDS - errors.len();
            errors.extend(
                fields
                    .take(room)
                    .map(|field| refused_field(&pointer, field)),
            );
        }
        self.rejected = Some(RejectedEvents {
            count,
            status,
            code,
            detail,
            errors,
        });
    }

    /// Hears the answer, and keeps the request if it refuses it, or some of its events. What the box itself
    /// could not do is no fault of the request.
    pub(super) fn finish(self, answer: &Result<HttpResponse>) {
        match answer {
            Err(error) if is_refusal(error) => {
                let fields = error.field_errors().iter().take(MAX_FIELDS);
                let rejected = RejectedEvents {
                    count: 0,
                    status: http::status(error.kind()).as_u16(),
                    code: error.code(),
                    detail: error.message().to_owned(),
                    errors: fields.map(|field| refused_field("", field)).collect(),
                };
                self.keep(rejected, error.offset());
            }
            Err(_) => {}
            Ok(_) => {
                let mut watch = self;
                if let Some(rejected) = watch.rejected.take() {
                    watch.keep(rejected, None);
                }
            }
        }
    }

    fn keep(self, rejected: RejectedEvents, offset: Option<usize>) {
        // Before anything is made of it, so that a flood costs next to nothing.
        if !self.rejects.take_place(self.credential.workspace) {
            return;
        }
        let snippet = match self.body {
            Seen::Nothing => Snippet::default(),
            Seen::Refused(snippet) => snippet,
            Seen::Head(head, body_bytes) => {
                let snippet = excerpt::of(&head, None);
                let is_whole = snippet.is_whole && head.len() == body_bytes;
                Snippet {
                    body_bytes,
                    is_whole,
                    ..snippet
                }
            }
        };
        self.rejects.put(Reject {
            workspace: self.credential.workspace,
            source: self.credential.source,
            key: self.credential.key,
            at_ms: self.received_at_ms,
            endpoint: cut(&mask::masked(&self.endpoint.path)),
            key_header: self.endpoint.key_header.map(str::to_owned),
            status: rejected.status,
            code: cut(&mask::masked(rejected.code)),
            detail: cut(&mask::masked_sentence(&rejected.detail)),
            errors: rejected.errors,
            rejected: (rejected.count > 0).then_some(rejected.count),
            offset,
            snippet,
        });
    }
}

/// Whether it is the request that is wrong, and not the box that could not take it.
fn is_refusal(error: &Error) -> bool {
    match error.kind() {
        Kind::Malformed
        | Kind::Invalid
        | Kind::Unauthorized
        | Kind::Forbidden
        | Kind::NotFound
        | Kind::Conflict
        | Kind::TooLarge
        | Kind::Unsupported
        | Kind::TimedOut
        | Kind::TooMany => true,
        Kind::Unavailable | Kind::Full | Kind::Internal => false,
    }
}

fn refused_field(pointer: &str, field: &FieldError) -> RefusedField {
    RefusedField {
        pointer: cut(&mask::masked(&format!("{pointer}{}", field.pointer))),
        code: cut(&mask::masked(field.code)),
        detail: cut(&mask::masked_sentence(&field.detail)),
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(MAX_TEXT_CHARS) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or("")),
    }
}
