//! The one writer: a thread that takes what has arrived, runs it as one transaction, commits with
//! an fsync, and only then answers (promises 1 and 2). It knows no table; jobs do.

use super::answers::{Answers, Sorted, answers};
use super::group::{GroupFailure, Isolation, Job, run_group, take_group};
use super::prepared::Prepared;
use crate::error::{Error, Kind, Result};
use rusqlite::Connection;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use tokio::sync::{mpsc, oneshot, watch};

/// The bounds of the writer.
#[derive(Debug, Clone, Copy)]
pub struct WriterLimits {
    /// Jobs that may wait.
    pub queue: usize,
    /// Bytes that waiting jobs may hold in memory together.
    pub queue_bytes: usize,
    /// Rows in one transaction, as the jobs announce them; one job is never split. There is no
    /// lingering: a group forms while the last one is in fsync.
    pub group: usize,
}

/// What a job weighs, so that neither the queue nor a transaction grows without bound.
#[derive(Debug, Clone, Copy)]
pub struct Weight {
    /// Rows that it appends to the log.
    pub rows: usize,
    /// Bytes that it holds in memory while it waits.
    pub bytes: usize,
}

impl Weight {
    /// What the box itself finds out or is told weighs next to nothing.
    const LIGHT: Self = Self { rows: 1, bytes: 0 };
}

struct Task<F, A, T> {
    isolation: Isolation,
    weight: Weight,
    work: F,
    after_commit: Option<A>,
    /// What it came to; from the commit on, the answer.
    result: Option<Result<T>>,
    answers: Option<Answers<Box<dyn Job>>>,
    reply: oneshot::Sender<Result<T>>,
}

impl<F, A, T> Job for Task<F, A, T>
where
    F: FnMut(&Prepared<'_>) -> Result<T> + Send,
    A: FnOnce(&T) + Send,
    T: Send,
{
    fn isolation(&self) -> Isolation {
        self.isolation
    }

    fn rows(&self) -> usize {
        self.weight.rows
    }

    fn bytes(&self) -> usize {
        self.weight.bytes
    }

    fn run(&mut self, connection: &Prepared<'_>) -> std::result::Result<(), GroupFailure> {
        match (self.work)(connection) {
            Ok(value) => {
                self.result = Some(Ok(value));
                Ok(())
            }
            Err(e) => {
                // The group needs the gist to decide; the caller gets the error itself.
                let gist = GroupFailure::of(&e);
                self.result = Some(Err(e));
                Err(gist)
            }
        }
    }

    fn settle(&mut self, outcome: std::result::Result<(), GroupFailure>) {
        let answer = match (outcome, self.result.take()) {
            (Ok(()), Some(Ok(value))) => {
                if let Some(after_commit) = self.after_commit.take() {
                    after_commit(&value);
                }
                Ok(value)
            }
            (_, Some(Err(e))) => Err(e),
            (Err(failure), _) => Err(failure.to_error()),
            (Ok(()), None) => Err(Error::internal(anyhow::anyhow!(
                "a job was committed without running"
            ))),
        };
        self.result = Some(answer);
    }

    fn answers(&self) -> Option<&Answers<Box<dyn Job>>> {
        self.answers.as_ref()
    }

    fn answer(self: Box<Self>) {
        if let Some(answer) = self.result {
            // A caller that went away is normal: its event is on disk all the same.
            let _ = self.reply.send(answer);
        }
    }
}

/// What waiting jobs may hold in memory together: each takes its part, and the writer gives back what a
/// whole group had, since a number that two threads change by turns costs both of them.
#[derive(Debug)]
struct Room(AtomicUsize);

impl Room {
    /// Takes some bytes, if there are as many.
    fn take(&self, bytes: usize) -> bool {
        let less = |free: usize| free.checked_sub(bytes);
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
            .is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// Hands jobs to the writer thread. Cheap to clone; the thread ends when the last clone is gone.
#[derive(Clone)]
pub struct Writer {
    queue: mpsc::Sender<Box<dyn Job>>,
    room: Arc<Room>,
    failed: watch::Receiver<bool>,
    /// Where the thread of this handle finds its answers.
    answers: Option<Answers<Box<dyn Job>>>,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer")
            .field("free", &self.queue.capacity())
            .finish()
    }
}

impl Writer {
    /// Starts the thread that owns `connection`. `after_group` runs on it once the jobs of a group, committed or
    /// not, have run what follows, and before their answers.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(
        connection: Connection,
        limits: WriterLimits,
        after_group: impl Fn() + Send + 'static,
    ) -> std::io::Result<(Self, JoinHandle<()>)> {
        let (queue, jobs) = mpsc::channel(limits.queue);
        let (fail, failed) = watch::channel(false);
        let room = Arc::new(Room(AtomicUsize::new(limits.queue_bytes)));
        let closing = Closing {
            room: Arc::clone(&room),
            after_group,
        };
        let thread = std::thread::Builder::new()
            .name("writer".to_owned())
            .spawn(move || run(&connection, jobs, limits.group, &fail, &closing))?;
        Ok((
            Self {
                queue,
                room,
                failed,
                answers: None,
            },
            thread,
        ))
    }

    /// A handle for a thread with many callers of [`Writer::append`], and what gives them their answers: to be
    /// spawned on that thread.
    pub fn for_thread(&self) -> (Self, impl Future<Output = ()> + use<>) {
        let (answers, giver) = answers();
        let handle = Self {
            answers: Some(answers),
            ..self.clone()
        };
        (handle, giver.give(Job::answer))
    }

    /// Appends without waiting for room: what the way in uses, so that a full queue is said at once.
    /// `work` must not be expected to fail; `after_commit` runs on the writer thread, before the answer.
    ///
    /// # Errors
    /// [`Kind::Unavailable`] when the queue is full or the box stops; [`Kind::Full`] on a full disk.
    pub async fn append<T: Send + 'static>(
        &self,
        weight: Weight,
        work: impl FnMut(&Prepared<'_>) -> Result<T> + Send + 'static,
        after_commit: impl FnOnce(&T) + Send + 'static,
    ) -> Result<T> {
        if !self.room.take(weight.bytes) {
            return Err(queue_full());
        }
        let (job, answer) = task(
            Isolation::Group,
            weight,
            work,
            after_commit,
            self.answers.clone(),
        );
        match self.queue.try_send(job) {
            Ok(()) => answer.await.unwrap_or_else(|_| Err(stopping())),
            Err(refused) => {
                self.room.give_back(weight.bytes);
                Err(match refused {
                    mpsc::error::TrySendError::Full(_) => queue_full(),
                    mpsc::error::TrySendError::Closed(_) => stopping(),
                })
            }
        }
    }

    /// Keeps something that the box itself found out; as [`Writer::append`], but waits for room.
    ///
    /// # Errors
    /// As [`Writer::append`], without the full queue.
    pub async fn record<T: Send + 'static>(
        &self,
        work: impl FnMut(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (job, answer) = light_task(Isolation::Group, work, |_: &T| ());
        self.queue.send(job).await.map_err(|_| stopping())?;
        answer.await.unwrap_or_else(|_| Err(stopping()))
    }

    /// Changes something that may be refused, in a savepoint of its own; waits for room.
    ///
    /// # Errors
    /// What `work` refuses, and as [`Writer::append`].
    pub async fn change<T: Send + 'static>(
        &self,
        work: impl FnMut(&Connection) -> Result<T> + Send + 'static,
        after_commit: impl FnOnce(&T) + Send + 'static,
    ) -> Result<T> {
        let (job, answer) = light_task(Isolation::Savepoint, work, after_commit);
        self.queue.send(job).await.map_err(|_| stopping())?;
        answer.await.unwrap_or_else(|_| Err(stopping()))
    }

    /// Runs what follows from the log (projecting, sweeping) in a transaction of its own, for a
    /// thread of its own; waits for room. What is waiting to be appended is committed before it.
    ///
    /// # Errors
    /// What `work` refuses, and as [`Writer::append`].
    pub fn alone_blocking<T: Send + 'static>(
        &self,
        work: impl FnMut(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (job, answer) = light_task(Isolation::Alone, work, |_: &T| ());
        self.queue.blocking_send(job).map_err(|_| stopping())?;
        answer.blocking_recv().unwrap_or_else(|_| Err(stopping()))
    }

    /// Whether the writer still takes jobs.
    pub fn is_alive(&self) -> bool {
        !*self.failed.borrow() && !self.queue.is_closed()
    }

    /// Returns when the disk has failed; the process must end then (promise 4).
    pub async fn failed(&self) {
        let mut failed = self.failed.clone();
        // An error means that the thread is gone, which is as final.
        let _ = failed.wait_for(|failed| *failed).await;
    }
}

fn light_task<T: Send + 'static>(
    isolation: Isolation,
    mut work: impl FnMut(&Connection) -> Result<T> + Send + 'static,
    after_commit: impl FnOnce(&T) + Send + 'static,
) -> (Box<dyn Job>, oneshot::Receiver<Result<T>>) {
    let work = move |connection: &Prepared<'_>| work(connection);
    task(isolation, Weight::LIGHT, work, after_commit, None)
}

fn task<T: Send + 'static>(
    isolation: Isolation,
    weight: Weight,
    work: impl FnMut(&Prepared<'_>) -> Result<T> + Send + 'static,
    after_commit: impl FnOnce(&T) + Send + 'static,
    answers: Option<Answers<Box<dyn Job>>>,
) -> (Box<dyn Job>, oneshot::Receiver<Result<T>>) {
    let (reply, answer) = oneshot::channel();
    (
        Box::new(Task {
            isolation,
            weight,
            work,
            after_commit: Some(after_commit),
            result: None,
            answers,
            reply,
        }),
        answer,
    )
}

fn queue_full() -> Error {
    Error::new(
        Kind::Unavailable,
        "queue_full",
        "The box has more waiting than it takes; nothing was stored. Try again in a second.",
    )
}

fn stopping() -> Error {
    Error::new(
        Kind::Unavailable,
        "stopping",
        "The box is stopping; nothing was stored. Try again when it is back.",
    )
}

fn run(
    connection: &Connection,
    mut jobs: mpsc::Receiver<Box<dyn Job>>,
    group: usize,
    fail: &watch::Sender<bool>,
    closing: &Closing<impl Fn()>,
) {
    let connection = Prepared::new(connection);
    let mut waiting: VecDeque<Box<dyn Job>> = VecDeque::with_capacity(group);
    let mut arrived = Vec::with_capacity(group);
    while !waiting.is_empty() || jobs.blocking_recv_many(&mut arrived, group) > 0 {
        waiting.extend(arrived.drain(..));
        let mut together = take_group(&mut waiting, group);
        let outcome = run_group(&connection, &mut together);
        let is_fatal = matches!(outcome, Err(GroupFailure::Fatal(_)));
        if let Err(failure) = &outcome {
            tracing::error!(error = %failure.to_error(), jobs = together.len(), "a group of writes failed");
        }
        if is_fatal {
            // Said before the answers, so that nobody who hears 503 finds the box "ready".
            fail.send_replace(true);
        }
        closing.finish(together, &outcome);
        if is_fatal {
            jobs.close();
        }
        if matches!(outcome, Err(GroupFailure::Fatal(_) | GroupFailure::Locked)) {
            // Those who came meanwhile would only wait for the same thing again (promise 7).
            closing.finish(waiting.drain(..), &outcome);
            while let Ok(job) = jobs.try_recv() {
                closing.finish([job], &outcome);
            }
        }
        if is_fatal {
            return;
        }
    }
}

/// What becomes of jobs once their group's outcome is known.
struct Closing<A> {
    room: Arc<Room>,
    after_group: A,
}

impl<A: Fn()> Closing<A> {
    /// Settles jobs, and only then answers: who waits for answers sleeps on few threads, and each is woken
    /// once when its answers come together, but again and again when they trickle.
    fn finish(
        &self,
        jobs: impl IntoIterator<Item = Box<dyn Job>>,
        outcome: &std::result::Result<(), GroupFailure>,
    ) {
        let mut bytes = 0;
        let settle = |mut job: Box<dyn Job>| {
            bytes += job.bytes();
            job.settle(outcome.clone());
            job
        };
        let settled: Vec<_> = jobs.into_iter().map(settle).collect();
        (self.after_group)();
        // Before the answers, so that whoever hears one finds the room free.
        self.room.give_back(bytes);
        let mut sorted = Sorted::default();
        let others = settled
            .into_iter()
            .filter_map(|job| sorted.keep(job, |job| job.answers()));
        others.for_each(Job::answer);
        // Those of a thread that has ended have no caller any more.
        sorted.leave().into_iter().for_each(Job::answer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: Weight = Weight { rows: 1, bytes: 10 };

    fn limits(queue: usize, group: usize) -> WriterLimits {
        WriterLimits {
            queue,
            queue_bytes: 1_000,
            group,
        }
    }

    fn writer(group: usize) -> (Writer, JoinHandle<()>) {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch("CREATE TABLE t (n INTEGER UNIQUE)")
            .unwrap();
        Writer::start(connection, limits(64, group), || ()).unwrap()
    }

    fn insert(n: i64) -> impl FnMut(&Connection) -> Result<i64> + Send + 'static {
        move |connection| {
            connection.execute("INSERT INTO t (n) VALUES (?1)", [n])?;
            Ok(n)
        }
    }

    fn append(n: i64) -> impl FnMut(&Prepared<'_>) -> Result<i64> + Send + 'static {
        let mut insert = insert(n);
        move |connection| insert(connection)
    }

    fn count(connection: &Connection) -> Result<i64> {
        Ok(connection.query_row("SELECT count(*) FROM t", [], |row| row.get(0))?)
    }

    #[tokio::test]
    async fn a_job_that_fails_harms_no_other_of_its_group() {
        let (writer, thread) = writer(16);
        let jobs = (0..10).map(|n| {
            // 3 and 7 repeat an earlier number, once with and once without a savepoint.
            let value = match n {
                3 | 7 => 1,
                n => n,
            };
            let writer = writer.clone();
            async move {
                if n == 3 {
                    writer.change(insert(value), |_| ()).await
                } else {
                    writer.append(ROW, append(value), |_| ()).await
                }
            }
        });
        let outcomes = futures_util::future::join_all(jobs).await;
        let failed: Vec<usize> = outcomes
            .iter()
            .enumerate()
            .filter(|(_, o)| o.is_err())
            .map(|(n, _)| n)
            .collect();
        assert_eq!(failed, [3, 7]);
        assert_eq!(writer.change(count, |_| ()).await.unwrap(), 8);
        drop(writer);
        thread.join().unwrap();
    }

    #[tokio::test]
    async fn what_follows_a_commit_runs_before_what_follows_a_group_and_both_before_the_answer() {
        let connection = Connection::open_in_memory().unwrap();
        let (say, heard) = std::sync::mpsc::channel();
        let said = say.clone();
        let (writer, _thread) = Writer::start(connection, limits(1, 1), move || {
            said.send("group").unwrap()
        })
        .unwrap();
        let after_commit = move |(): &()| say.send("commit").unwrap();
        writer.append(ROW, |_| Ok(()), after_commit).await.unwrap();
        assert_eq!(heard.try_iter().collect::<Vec<_>>(), ["commit", "group"]);
    }

    #[tokio::test]
    async fn the_writer_ends_although_a_thread_ended_before_its_answers() {
        use futures_util::FutureExt as _;
        let (writer, thread) = writer(4);
        let (handle, answering) = writer.for_thread();
        let (release, gate) = std::sync::mpsc::channel::<()>();
        let wait = move |_: &Prepared<'_>| {
            let _ = gate.recv();
            Ok(())
        };
        // What it does holds a handle, as the way in does.
        let held = handle.clone();
        let appended = handle.append(ROW, wait, move |()| drop(held));
        assert!(appended.now_or_never().is_none());
        drop(answering);
        release.send(()).unwrap();
        drop((writer, handle));
        thread.join().unwrap();
    }

    #[tokio::test]
    async fn answers_come_on_the_thread_that_gives_them() {
        use futures_util::FutureExt as _;
        let (writer, _thread) = writer(64);
        let (handle, answering) = writer.for_thread();
        let appended =
            futures_util::future::join_all((0..10).map(|n| handle.append(ROW, append(n), |_| ())));
        let mut appended = std::pin::pin!(appended);
        assert!(appended.as_mut().now_or_never().is_none());
        // They are in the file, and nobody has given them their answers.
        assert_eq!(writer.change(count, |_| ()).await.unwrap(), 10);
        assert!(appended.as_mut().now_or_never().is_none());
        let answers = tokio::select! {
            answers = appended => answers,
            () = answering => panic!("it gives answers for as long as it is polled"),
        };
        let answers: Vec<i64> = answers.into_iter().map(Result::unwrap).collect();
        assert_eq!(answers, (0..10).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn what_follows_a_group_runs_once() {
        use futures_util::FutureExt as _;
        use std::sync::atomic::AtomicUsize;
        let connection = Connection::open_in_memory().unwrap();
        let rounds = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&rounds);
        let (writer, _thread) = Writer::start(connection, limits(64, 64), move || {
            counted.fetch_add(1, Ordering::SeqCst);
        })
        .unwrap();
        let (release, gate) = std::sync::mpsc::channel::<()>();
        let wait = move |_: &Prepared<'_>| {
            let _ = gate.recv();
            Ok(())
        };
        let blocked = std::pin::pin!(writer.append(ROW, wait, |()| ()));
        let behind = (0..10).map(|_| writer.append(ROW, |_| Ok(()), |()| ()));
        let behind = std::pin::pin!(futures_util::future::join_all(behind));
        let mut all = futures_util::future::join(blocked, behind);
        assert!((&mut all).now_or_never().is_none());
        release.send(()).unwrap();
        let (waited, rest) = all.await;
        assert!(waited.is_ok() && rest.iter().all(Result::is_ok));
        // The one that waited may have had some of the others beside it.
        assert!((1..=2).contains(&rounds.load(Ordering::SeqCst)));
    }

    #[tokio::test]
    async fn what_comes_after_a_change_finds_it_published() {
        use std::sync::atomic::{AtomicI64, Ordering};
        let (writer, _thread) = writer(64);
        let published = Arc::new(AtomicI64::new(0));
        // All are queued behind a job that waits, so that nothing but the change's own rule parts them.
        let (release, gate) = std::sync::mpsc::channel::<()>();
        let gate = tokio::spawn({
            let writer = writer.clone();
            async move {
                writer
                    .append(
                        ROW,
                        move |_| {
                            let _ = gate.recv();
                            Ok(())
                        },
                        |()| (),
                    )
                    .await
            }
        });
        while writer.queue.capacity() < 64 {
            tokio::task::yield_now().await;
        }
        let look = |published: &Arc<AtomicI64>| {
            let published = Arc::clone(published);
            writer.append(ROW, move |_| Ok(published.load(Ordering::SeqCst)), |_| ())
        };
        let publish = Arc::clone(&published);
        let change = writer.change(
            |_| Ok(7),
            move |value| publish.store(*value, Ordering::SeqCst),
        );
        let all = futures_util::future::join3(look(&published), change, look(&published));
        let (before, _, after) = tokio::join!(all, async {
            tokio::task::yield_now().await;
            release.send(()).unwrap();
        })
        .0;
        gate.await.unwrap().unwrap();
        assert_eq!((before.unwrap(), after.unwrap()), (0, 7));
    }

    #[tokio::test]
    async fn a_full_queue_is_said_at_once() {
        let connection = Connection::open_in_memory().unwrap();
        let (writer, _thread) = Writer::start(connection, limits(1, 1), || ()).unwrap();
        let (release, gate) = std::sync::mpsc::channel::<()>();
        let (entered, inside) = oneshot::channel();
        let mut entered = Some(entered);
        let blocked = tokio::spawn({
            let writer = writer.clone();
            async move {
                writer
                    .change(
                        move |_| {
                            if let Some(entered) = entered.take() {
                                let _ = entered.send(());
                            }
                            let _ = gate.recv();
                            Ok(())
                        },
                        |()| (),
                    )
                    .await
            }
        });
        inside.await.unwrap();
        let waiting = tokio::spawn({
            let writer = writer.clone();
            async move { writer.append(ROW, |_| Ok(()), |()| ()).await }
        });
        while writer.queue.capacity() > 0 {
            tokio::task::yield_now().await;
        }
        let refused = writer.append(ROW, |_| Ok(()), |()| ()).await.unwrap_err();
        assert_eq!(
            (refused.kind(), refused.code()),
            (Kind::Unavailable, "queue_full")
        );
        release.send(()).unwrap();
        blocked.await.unwrap().unwrap();
        waiting.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_disk_that_fails_ends_the_writer() {
        let (writer, thread) = writer(4);
        let failing = |connection: &Prepared<'_>| -> Result<()> {
            // Leaves the transaction, as SQLite does after an I/O error.
            connection.execute_batch("ROLLBACK")?;
            Err(Error::internal(anyhow::anyhow!("gone")))
        };
        assert!(writer.append(ROW, failing, |()| ()).await.is_err());
        assert!(writer.is_alive(), "an ordinary failure is not final");
        drop(writer);
        thread.join().unwrap();
        let io = rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR_FSYNC),
            None,
        );
        assert!(matches!(
            GroupFailure::of(&io.into()),
            GroupFailure::Fatal(_)
        ));
    }

    #[tokio::test]
    async fn more_bytes_than_may_wait_are_refused_and_the_room_comes_back() {
        let (writer, _thread) = writer(4);
        let large = Weight {
            rows: 1,
            bytes: 1_001,
        };
        let refused = writer.append(large, append(1), |_| ()).await.unwrap_err();
        assert_eq!(refused.code(), "queue_full");
        let whole = Weight {
            rows: 1,
            bytes: 1_000,
        };
        for n in 0..3 {
            writer.append(whole, append(n), |_| ()).await.unwrap();
        }
    }

    #[test]
    fn a_group_is_bounded_by_its_rows_and_parted_from_what_runs_alone() {
        let job = |isolation, rows| {
            task(
                isolation,
                Weight { rows, bytes: 0 },
                |_| Ok(()),
                |()| (),
                None,
            )
            .0
        };
        let mut waiting: VecDeque<Box<dyn Job>> = [
            job(Isolation::Group, 60),
            job(Isolation::Group, 40),
            job(Isolation::Group, 1),
            job(Isolation::Savepoint, 1),
            job(Isolation::Group, 1),
            job(Isolation::Alone, 1),
            job(Isolation::Group, 500),
            job(Isolation::Group, 1),
        ]
        .into();
        let groups: Vec<usize> =
            std::iter::from_fn(|| Some(take_group(&mut waiting, 100).len()).filter(|n| *n > 0))
                .collect();
        assert_eq!(groups, [2, 2, 1, 1, 1, 1]);
    }
}
