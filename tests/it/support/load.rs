//! Load: a few apps that post as fast as they are answered, through kills and restarts, and
//! remember what was acknowledged.

use super::data::{Data, event_number};
use super::server::client;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long an app waits after a failure before it posts its next event.
const AFTER_FAILURE: Duration = Duration::from_millis(5);

/// How each of an app's events is named: `{user}` and `{n}` are unlike in every request.
#[derive(Debug, Clone)]
struct Goal {
    key: String,
    users: u64,
}

struct Shared {
    goal: Goal,
    url: Mutex<String>,
    is_over: AtomicBool,
    next: AtomicU64,
    acknowledged: Mutex<BTreeMap<u64, String>>,
    refusals: Mutex<Vec<String>>,
}

/// Running load.
pub(crate) struct Load {
    shared: Arc<Shared>,
    apps: Vec<JoinHandle<()>>,
}

/// What became of it.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// By the number in its properties, the id of every event that got a 2xx.
    pub(crate) acknowledged: BTreeMap<u64, String>,
    /// Whatever was answered otherwise, with its status.
    pub(crate) refusals: Vec<String>,
}

impl Load {
    /// Starts `apps` apps that post events of `users` users to a server.
    pub(crate) fn start(url: &str, key: &str, apps: usize, users: u64) -> Self {
        let shared = Arc::new(Shared {
            goal: Goal {
                key: key.to_owned(),
                users,
            },
            url: Mutex::new(url.to_owned()),
            is_over: AtomicBool::new(false),
            next: AtomicU64::new(0),
            acknowledged: Mutex::default(),
            refusals: Mutex::default(),
        });
        let apps = (0..apps)
            .map(|_| {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || shared.post())
            })
            .collect();
        Self { shared, apps }
    }

    /// Tells the apps where the box is now.
    pub(crate) fn moved_to(&self, url: &str) {
        url.clone_into(&mut self.shared.url.lock().unwrap());
    }

    /// How many events were acknowledged so far.
    pub(crate) fn acknowledged(&self) -> usize {
        self.shared.acknowledged.lock().unwrap().len()
    }

    /// Stops the apps and says what became of it.
    pub(crate) fn stop(mut self) -> Outcome {
        self.shared.is_over.store(true, Ordering::SeqCst);
        for app in self.apps.drain(..) {
            app.join().unwrap();
        }
        Outcome {
            acknowledged: std::mem::take(&mut *self.shared.acknowledged.lock().unwrap()),
            refusals: std::mem::take(&mut *self.shared.refusals.lock().unwrap()),
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
    }
}

impl Shared {
    fn post(&self) {
        let http = client();
        while !self.is_over.load(Ordering::SeqCst) {
            let n = self.next.fetch_add(1, Ordering::SeqCst);
            let url = self.url.lock().unwrap().clone();
            let body = format!(
                r#"{{"userId":"user-{}","type":"track","timestamp":"2026-11-22T10:00:00Z","event":"Load Posted","properties":{{"n":{n}}}}}"#,
                n % self.goal.users
            );
            let answer = http
                .post(format!("{url}/sse/webhook"))
                .header("x-api-key", &self.goal.key)
                .body(body)
                .send()
                .and_then(|response| Ok((response.status().as_u16(), response.text()?)));
            match answer {
                Ok((200, text)) => {
                    let answer: serde_json::Value = serde_json::from_str(&text).unwrap();
                    let id = answer["id"].as_str().unwrap().to_owned();
                    self.acknowledged.lock().unwrap().insert(n, id);
                }
                Ok((status, text)) => {
                    let refusal = format!("{status} {text}");
                    self.refusals.lock().unwrap().push(refusal);
                    std::thread::sleep(AFTER_FAILURE);
                }
                // The box is gone or going: the event is not acknowledged, and that is all.
                Err(_) => std::thread::sleep(AFTER_FAILURE),
            }
        }
    }
}

impl Outcome {
    /// Fails unless every acknowledged event is stored exactly once, under the id and with the
    /// number that were acknowledged. How many are stored in all.
    #[track_caller]
    pub(crate) fn check_stored(&self, data: &Data) -> usize {
        let connection = data.open();
        let mut statement = connection
            .prepare("SELECT id, properties FROM event WHERE name = 'Load Posted'")
            .unwrap();
        let rows: Vec<(i64, String)> = statement
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        let mut stored: BTreeMap<u64, Vec<i64>> = BTreeMap::new();
        for (id, properties) in &rows {
            let properties: serde_json::Value = serde_json::from_str(properties).unwrap();
            stored
                .entry(properties["n"].as_u64().unwrap())
                .or_default()
                .push(*id);
        }
        let ids: BTreeSet<_> = self.acknowledged.values().collect();
        assert_eq!(
            ids.len(),
            self.acknowledged.len(),
            "two events were acknowledged under one id"
        );
        for (n, id) in &self.acknowledged {
            assert_eq!(
                stored.get(n).map(Vec::as_slice),
                Some([event_number(id)].as_slice()),
                "event number {n} was acknowledged as {id}"
            );
        }
        let twice: Vec<_> = stored.iter().filter(|(_, ids)| ids.len() > 1).collect();
        assert!(twice.is_empty(), "stored more than once: {twice:?}");
        rows.len()
    }
}
