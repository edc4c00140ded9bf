//! Refused requests on their way to the file: built when a handler that knows its workspace refuses, held
//! in memory within bounds, and written in small groups. Costs an accepted request a copy of the first
//! bytes of its body; a flood of refused ones grows neither the memory nor the writer's queue.

use super::{excerpt, mask};
use crate::error::{Error, FieldError, Kind, Result};
use crate::event::Credential;
use crate::http;
use crate::id::{IdGenerator, WorkspaceId};
use crate::store::rejects::{
    self, Batch, Recipe, RefusedField, Reject, Resend, SenderPlace, Snippet,
};
use crate::store::writer::Writer;
use crate::time::now_ms;
use actix_web::HttpResponse;
use actix_web::http::StatusCode;
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
    /// Those of one workspace with a key, and those without.
    pub waiting_of_workspace: usize,
    /// Rows in one transaction.
    pub group: usize,
    /// Refused requests gather for this long before a group is written, milliseconds.
    pub gather_ms: u64,
}

impl RejectLimits {
    /// Whether there is room for one more of this ring.
    fn allow(&self, waiting: &Waiting, ring: Ring) -> bool {
        let of_ring = waiting.taken_of_ring.get(&ring).copied().unwrap_or(0);
        // Strangers leave half of the places to those with a key.
        let has_place = ring.has_key || waiting.taken_without_key < self.waiting / 2;
        has_place && waiting.taken < self.waiting && of_ring < self.waiting_of_workspace
    }
}

/// Takes refused requests; what does not fit is counted and given up. Clones take them together.
#[derive(Debug, Clone)]
pub struct Rejects(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limits: RejectLimits,
    waiting: Mutex<Waiting>,
    grew: Notify,
}

/// Those that displace each other, and no others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Ring {
    workspace: WorkspaceId,
    has_key: bool,
}

impl Ring {
    fn of(credential: &Credential) -> Self {
        Self {
            workspace: credential.workspace,
            has_key: credential.key.is_some(),
        }
    }

    fn of_reject(reject: &Reject) -> Self {
        Self {
            workspace: reject.workspace,
            has_key: reject.key.is_some(),
        }
    }
}

#[derive(Debug, Default)]
struct Waiting {
    /// Places that are taken, some of them for requests that are still being looked at.
    taken: usize,
    /// Those of them without a key.
    taken_without_key: usize,
    taken_of_ring: HashMap<Ring, usize>,
    queue: VecDeque<Reject>,
    lost: HashMap<WorkspaceId, i64>,
}

/// Where a dialect is posted to.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    /// The path, as the caller wrote it where it has parts that differ.
    pub(super) path: Cow<'static, str>,
    /// How what was posted can be posted again.
    resend: Resend,
}

impl Endpoint {
    /// A path to which JSON is posted that says who sends it.
    pub(super) fn new(path: impl Into<Cow<'static, str>>) -> Self {
        Self::sent_by(path, SenderPlace::Body)
    }

    /// A path to which JSON is posted with an API key in a header.
    pub(super) fn with_key_in(path: &'static str, header: &'static str) -> Self {
        Self::sent_by(path, SenderPlace::Header(Cow::Borrowed(header)))
    }

    /// A path to which JSON is posted by who stands in that place.
    pub(super) fn sent_by(path: impl Into<Cow<'static, str>>, sender: SenderPlace) -> Self {
        Self {
            path: path.into(),
            resend: Resend::Command(Recipe {
                content_type: Cow::Borrowed("application/json"),
                headers: Vec::new(),
                sender,
            }),
        }
    }

    /// A path to which nobody can post the same again by hand.
    pub(super) fn without_command(path: impl Into<Cow<'static, str>>, resend: Resend) -> Self {
        Self {
            path: path.into(),
            resend,
        }
    }

    /// The same for a body of another type.
    pub(super) fn of_type(mut self, content_type: &'static str) -> Self {
        if let Resend::Command(recipe) = &mut self.resend {
            recipe.content_type = Cow::Borrowed(content_type);
        }
        self
    }

    /// The same with one more header.
    pub(super) fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        if let Resend::Command(recipe) = &mut self.resend {
            recipe.headers.push((Cow::Borrowed(name), value.into()));
        }
        self
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
    batch: Option<Batch>,
    status: u16,
    code: &'static str,
    detail: String,
    errors: Vec<RefusedField>,
}

impl Rejects {
    /// Holds nothing yet.
    pub fn new(limits: RejectLimits) -> Self {
        Self(Arc::new(Shared {
            limits,
            waiting: Mutex::default(),
            grew: Notify::new(),
        }))
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
        let gather = Duration::from_millis(self.0.limits.gather_ms);
        let mut stopping = false;
        while !stopping {
            tokio::select! {
                () = self.0.grew.notified() => {}
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
        self.0
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn has_room(&self, ring: Ring) -> bool {
        self.0.limits.allow(&self.lock(), ring)
    }

    /// Takes a place, or counts what has none.
    fn take_place(&self, ring: Ring) -> bool {
        let mut waiting = self.lock();
        let has_room = self.0.limits.allow(&waiting, ring);
        if has_room {
            waiting.taken += 1;
            waiting.taken_without_key += usize::from(!ring.has_key);
            *waiting.taken_of_ring.entry(ring).or_default() += 1;
        } else {
            *waiting.lost.entry(ring.workspace).or_default() += 1;
        }
        has_room
    }

    fn put(&self, reject: Reject) {
        self.lock().queue.push_back(reject);
        self.0.grew.notify_one();
    }

    fn take_group(&self) -> (Vec<Reject>, Vec<(WorkspaceId, i64)>) {
        let mut waiting = self.lock();
        let len = waiting.queue.len().min(self.0.limits.group);
        let group: Vec<_> = waiting.queue.drain(..len).collect();
        waiting.taken -= group.len();
        for reject in &group {
            let ring = Ring::of_reject(reject);
            waiting.taken_without_key -= usize::from(!ring.has_key);
            if let Some(taken) = waiting.taken_of_ring.get_mut(&ring) {
                *taken -= 1;
            }
        }
        waiting.taken_of_ring.retain(|_, taken| *taken > 0);
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
    let rings: HashSet<_> = group.iter().map(Ring::of_reject).collect();
    for ring in rings {
        rejects::trim(connection, ring.workspace, ring.has_key, group.len())?;
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
        if self.rejects.has_room(Ring::of(&self.credential)) {
            Seen::Refused(excerpt::of(body, offset))
        } else {
            Seen::Nothing
        }
    }

    /// Notes the events of a batch that were refused, in order, each with its place in the body; `status`
    /// is that of the answer, and of the batch's events `unkeyed` were stored without a key.
    pub(super) fn reject_events<'e>(
        &mut self,
        status: u16,
        events: usize,
        unkeyed: usize,
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
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.rejected = Some(RejectedEvents {
            batch: Some(Batch {
                rejected: count,
                events: number(events),
                unkeyed: number(unkeyed),
            }),
            status,
            code,
            detail,
            errors,
        });
    }

    /// Hears the answer, and keeps the request if it refuses it, or some of its events. What the box itself
    /// could not do is no fault of the request.
    pub(super) fn finish(self, answer: &Result<HttpResponse>) {
        self.finish_as(answer, http::status);
    }

    /// As [`Watch::finish`], in a dialect with statuses of its own.
    pub(super) fn finish_as(
        self,
        answer: &Result<HttpResponse>,
        status: impl Fn(Kind) -> StatusCode,
    ) {
        match answer {
            Err(error) if is_refusal(error) => {
                let fields = error.field_errors().iter().take(MAX_FIELDS);
                let rejected = RejectedEvents {
                    batch: None,
                    status: status(error.kind()).as_u16(),
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
        if !self.rejects.take_place(Ring::of(&self.credential)) {
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
            resend: without_secrets(self.endpoint.resend),
            status: rejected.status,
            code: cut(&mask::masked(rejected.code)),
            detail: cut(&mask::masked_sentence(&rejected.detail)),
            errors: rejected.errors,
            batch: rejected.batch,
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

/// The headers of a command, as anybody may see them.
fn without_secrets(mut resend: Resend) -> Resend {
    if let Resend::Command(recipe) = &mut resend {
        for (_, value) in &mut recipe.headers {
            *value = mask::masked(value).into_owned();
        }
    }
    resend
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
