//! ACCEPT: which senders' keys were seen, and of which event. A hash map in memory over the recent log:
//! keys are random, and an index of them in the file would cost more than everything else in the ingest
//! transaction together (performance.md). What it says is a hint; the event's row decides.

use crate::error::Result;
use crate::event::KeySpace;
use crate::id::{EventId, WorkspaceId};
use crate::store::{Readers, events};
use std::collections::HashMap;
use std::hash::{BuildHasher as _, BuildHasherDefault, Hasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// The map is in this many parts, so that none takes long to grow: the writer waits for it.
const PARTS: usize = 256;
/// Events that are read at once. One reading of a whole day would keep the WAL from starting anew for
/// as long as it takes (promise 8).
const SLICE_EVENTS: usize = 65_536;
/// After a failure the log is read again this much later.
const SETBACK: Duration = Duration::from_secs(1);

/// The bounds of remembering.
#[derive(Debug, Clone, Copy)]
pub struct DedupLimits {
    /// Keys that are remembered at most; the oldest are forgotten first.
    pub keys: usize,
    /// How long a key is remembered, milliseconds, unless there are too many.
    pub window_ms: i64,
}

/// A key and its workspace as one number, under a secret of this process: nobody outside can make
/// two keys that fall together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyHash(u64);

/// The keys of the recent log.
#[derive(Debug)]
pub struct DedupWindow {
    limits: DedupLimits,
    hasher: RandomState,
    parts: Mutex<Vec<Part>>,
    loaded: watch::Sender<bool>,
}

impl DedupWindow {
    /// A window that knows nothing yet: [`DedupWindow::start_loading`] fills it.
    pub fn new(limits: DedupLimits) -> Self {
        Self {
            limits,
            hasher: RandomState::new(),
            parts: Mutex::new(vec![Part::default(); PARTS]),
            loaded: watch::Sender::new(false),
        }
    }

    /// Reads the keys of the log in a thread of its own, so that a box with a long day behind it is
    /// ready at once; events with a key wait for the end of it.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start_loading(self: Arc<Self>, readers: Readers, now_ms: i64) -> std::io::Result<()> {
        std::thread::Builder::new()
            .name("dedup".to_owned())
            .spawn(move || {
                while let Err(e) = self.load(&readers, now_ms) {
                    tracing::error!(error = %e, "the keys of the log could not be read; trying again");
                    std::thread::sleep(SETBACK);
                }
            })?;
        Ok(())
    }

    fn load(&self, readers: &Readers, now_ms: i64) -> Result<()> {
        let reader = readers.get()?;
        // What comes meanwhile has no keys: those who bring one wait until this is over.
        let end = events::last_id(&reader)?;
        let mut after = EventId::first_at(now_ms - self.limits.window_ms);
        while after < end {
            let last =
                events::each_key(&reader, after, SLICE_EVENTS, |workspace, space, key, id| {
                    self.remember(self.hash(workspace, space, key), id);
                })?;
            let Some(last) = last else { break };
            after = last;
        }
        self.loaded.send_replace(true);
        Ok(())
    }

    /// Returns when the keys of the log are known.
    pub async fn loaded(&self) {
        if *self.loaded.borrow() {
            return;
        }
        // An error would mean that `self` is gone.
        let _ = self.loaded.subscribe().wait_for(|loaded| *loaded).await;
    }

    /// The key of an event in its workspace, among those of such senders.
    pub fn hash(&self, workspace: WorkspaceId, space: KeySpace, key: &str) -> KeyHash {
        KeyHash(self.hasher.hash_one((workspace, space, key)))
    }

    /// The event that may have come under a key; its row must be looked at.
    pub fn seen(&self, key: KeyHash) -> Option<EventId> {
        self.parts()
            .get(part_of(key))
            .and_then(|part| part.0.get(&key).copied())
    }

    /// Remembers that `event` came under a key. Where the transaction comes to nothing, what was
    /// remembered points to no row and is as good as forgotten.
    pub fn remember(&self, key: KeyHash, event: EventId) {
        let limit = self.limits.keys / PARTS;
        let oldest = EventId::first_at(event.unix_ms() - self.limits.window_ms);
        if let Some(part) = self.parts().get_mut(part_of(key)) {
            part.make_room(limit, oldest);
            part.0.insert(key, event);
        }
    }

    /// How many keys are remembered.
    pub fn keys(&self) -> usize {
        self.parts().iter().map(|part| part.0.len()).sum()
    }

    fn parts(&self) -> MutexGuard<'_, Vec<Part>> {
        // A map that a panic left behind is still a map of hints.
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The map itself looks at the low bits.
fn part_of(key: KeyHash) -> usize {
    usize::from(key.0.to_be_bytes()[1])
}

#[derive(Debug, Clone, Default)]
struct Part(HashMap<KeyHash, EventId, BuildHasherDefault<AsItIs>>);

impl Part {
    /// Forgets what is older than the window, and the oldest quarter of a part that is full all the
    /// same. Only when the part would have to grow, so an entry costs the same however many there are.
    fn make_room(&mut self, limit: usize, oldest: EventId) {
        let len = self.0.len();
        if len < self.0.capacity().min(limit) {
            return;
        }
        self.0.retain(|_, event| *event >= oldest);
        if self.0.len() > limit / 4 * 3 && len >= limit {
            let mut events: Vec<EventId> = self.0.values().copied().collect();
            let quarter = events.len() / 4;
            let (_, last_forgotten, _) = events.select_nth_unstable(quarter);
            let last_forgotten = *last_forgotten;
            self.0.retain(|_, event| *event > last_forgotten);
        } else if self.0.len() > len / 4 * 3 {
            // Too little was old: without room the next key would have everything looked at again.
            self.0.reserve(len.max(1));
        }
    }
}

/// The hash is made already.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 << 8) | u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::EPOCH_MS;

    const WORKSPACE: WorkspaceId = WorkspaceId::from_i64(7);
    const DAY_MS: i64 = 86_400_000;

    fn window(keys: usize) -> DedupWindow {
        DedupWindow::new(DedupLimits {
            keys,
            window_ms: DAY_MS,
        })
    }

    fn remember(window: &DedupWindow, key: &str, at_ms: i64) -> EventId {
        let event = EventId::first_at(EPOCH_MS + at_ms);
        window.remember(window.hash(WORKSPACE, KeySpace::App, key), event);
        event
    }

    #[test]
    fn a_key_is_known_in_its_workspace_only() {
        let window = window(1_000_000);
        let event = remember(&window, "m-1", 5);
        assert_eq!(
            window.seen(window.hash(WORKSPACE, KeySpace::App, "m-1")),
            Some(event)
        );
        assert_eq!(
            window.seen(window.hash(WORKSPACE, KeySpace::App, "m-2")),
            None
        );
        let other = WorkspaceId::from_i64(8);
        assert_eq!(window.seen(window.hash(other, KeySpace::App, "m-1")), None);
        let by_browser = window.hash(WORKSPACE, KeySpace::Browser, "m-1");
        assert_eq!(window.seen(by_browser), None);
    }

    #[test]
    fn the_number_of_keys_is_bounded_and_the_newest_stay() {
        let (limit, all) = (100 * PARTS, 1_000 * PARTS);
        let window = window(limit);
        for n in 0..all {
            remember(&window, &n.to_string(), i64::try_from(n).unwrap());
            assert!(n % 5_000 > 0 || window.keys() <= limit);
        }
        assert!(window.keys() <= limit && window.keys() > limit / 2);
        let known = |n: usize| {
            window
                .seen(window.hash(WORKSPACE, KeySpace::App, &n.to_string()))
                .is_some()
        };
        assert!((all - limit / 3..all).all(known));
        assert!(!(0..all - 2 * limit).any(known));
    }

    #[test]
    fn keys_older_than_the_window_make_room() {
        let window = window(1_000_000);
        for n in 0..20_000 {
            remember(&window, &format!("old-{n}"), n);
        }
        for n in 0..200_000 {
            remember(&window, &format!("new-{n}"), 2 * DAY_MS + n);
        }
        assert_eq!(
            window.seen(window.hash(WORKSPACE, KeySpace::App, "old-1")),
            None
        );
        assert_eq!(window.keys(), 200_000);
    }
}
