//! Load at a fixed rate, whether or not the box keeps up (wrk knows only "as fast as it goes"): one
//! thread, a schedule for every connection, times counted from when a request was due.

use super::sink::{find, now_us, request_end};
use super::traffic::{Request, SENT_MARK};
use anyhow::Context as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// Below this rate a connection would hardly ever be used, and be closed as idle.
const LEAST_RATE_A_CONNECTION: f64 = 10.0;
/// A server that pauses for a moment has what was due meanwhile waiting at its door, each on a
/// connection of its own: with too few of them, the load would slow down with the server.
const MAX_CONNECTIONS: usize = 1_024;
/// Connections are made so many at a time, fewer than a server's door holds.
const CONNECTING: usize = 64;
const CONNECTING_PAUSE: Duration = Duration::from_millis(2);

/// What the box does in the first moments, with every connection new, is not counted.
pub(crate) const WARM_UP: Duration = Duration::from_millis(500);

/// Running load.
#[derive(Debug)]
pub(crate) struct Pace {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<anyhow::Result<Paced>>,
}

/// What became of it.
#[derive(Debug, Default)]
pub(crate) struct Paced {
    /// Requests that were due after the warm-up and were answered 2xx.
    pub(crate) answered: u64,
    /// Answers of another kind.
    pub(crate) refused: u64,
    /// How long each of them took, from when it was due, microseconds.
    pub(crate) times_us: Vec<u64>,
    /// How long all of it took after the warm-up.
    pub(crate) elapsed: Duration,
}

impl Paced {
    /// Requests answered a second.
    pub(crate) fn rate(&self) -> f64 {
        self.answered as f64 / self.elapsed.as_secs_f64()
    }
}

impl Pace {
    /// Begins to send `rate` requests a second to `authority`, and goes on until it is ended. When this
    /// returns, all connections are made.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub(crate) fn begin(authority: &str, requests: &[Request], rate: f64) -> anyhow::Result<Self> {
        let authority = authority.to_owned();
        let texts: Arc<[Text]> = requests
            .iter()
            .map(|request| Text::of(request, &authority))
            .collect();
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&stop);
        let (connected, is_connected) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("pace".to_owned())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()?;
                runtime.block_on(pace(&authority, texts, rate, stopping, &connected))
            })?;
        // An error is the thread's to tell when it is ended.
        is_connected.recv().ok();
        Ok(Self { stop, thread })
    }

    /// Ends the load, once what was sent is answered.
    ///
    /// # Errors
    /// When a connection failed.
    pub(crate) fn end(self) -> anyhow::Result<Paced> {
        self.stop.store(true, Ordering::Release);
        let paced = self.thread.join();
        paced.unwrap_or_else(|_| anyhow::bail!("the sending thread panicked"))
    }
}

/// A request as it goes over the wire.
#[derive(Debug)]
struct Text {
    bytes: Vec<u8>,
    /// Where the time of sending goes, if it does.
    sent_at: Option<usize>,
}

impl Text {
    fn of(request: &Request, authority: &str) -> Self {
        let Request { path, key, body } = request;
        let bytes = format!(
            "POST {path} HTTP/1.1\r\nhost: {authority}\r\ncontent-type: application/json\r\nx-api-key: {key}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes();
        let sent_at = find(&bytes, SENT_MARK.as_bytes());
        Self { bytes, sent_at }
    }
}

async fn pace(
    authority: &str,
    texts: Arc<[Text]>,
    rate: f64,
    stop: Arc<AtomicBool>,
    connected: &mpsc::Sender<()>,
) -> anyhow::Result<Paced> {
    let wanted = (rate / LEAST_RATE_A_CONNECTION)
        .ceil()
        .min(MAX_CONNECTIONS as f64);
    let connections = (1..=MAX_CONNECTIONS)
        .rev()
        .find(|n| *n as f64 <= wanted)
        .unwrap_or(1);
    let interval = Duration::from_secs_f64(connections as f64 / rate);
    let mut streams = Vec::new();
    for number in 1..=connections {
        let stream = TcpStream::connect(authority).await?;
        stream.set_nodelay(true)?;
        streams.push(stream);
        if number.is_multiple_of(CONNECTING) {
            tokio::time::sleep(CONNECTING_PAUSE).await;
        }
    }
    connected.send(()).ok();
    let began = Instant::now();
    let mut tasks = Vec::new();
    for (number, stream) in streams.into_iter().enumerate() {
        let first_due = began + interval.mul_f64(number as f64 / connections as f64);
        let connection = Connection {
            stream,
            buffer: Vec::with_capacity(4_096),
            paced: Paced::default(),
        };
        let schedule = Schedule {
            next: number * texts.len() / connections,
            due: first_due,
            counts_from: began + WARM_UP,
            interval,
        };
        let (texts, stop) = (Arc::clone(&texts), Arc::clone(&stop));
        tasks.push(tokio::spawn(connection.send_all(schedule, texts, stop)));
    }
    let mut all = Paced::default();
    for task in tasks {
        let mut paced = task.await??;
        all.answered += paced.answered;
        all.refused += paced.refused;
        all.times_us.append(&mut paced.times_us);
    }
    all.elapsed = began.elapsed().saturating_sub(WARM_UP);
    Ok(all)
}

struct Schedule {
    next: usize,
    due: Instant,
    counts_from: Instant,
    interval: Duration,
}

struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    paced: Paced,
}

impl Connection {
    async fn send_all(
        mut self,
        mut schedule: Schedule,
        texts: Arc<[Text]>,
        stop: Arc<AtomicBool>,
    ) -> anyhow::Result<Paced> {
        let mut own = Vec::new();
        while !stop.load(Ordering::Acquire) {
            // A timer that rings late is ours to bear, an answer that comes late is the box's.
            let due = if schedule.due > Instant::now() {
                tokio::time::sleep_until(schedule.due).await;
                Instant::now()
            } else {
                schedule.due
            };
            let text = &texts[schedule.next % texts.len()];
            match text.sent_at {
                Some(at) => {
                    own.clone_from(&text.bytes);
                    own[at..at + SENT_MARK.len()].copy_from_slice(now_us().to_string().as_bytes());
                    self.stream.write_all(&own).await?;
                }
                None => self.stream.write_all(&text.bytes).await?,
            }
            let is_taken = self.read_answer().await?;
            self.paced.refused += u64::from(!is_taken);
            if is_taken && due >= schedule.counts_from {
                self.paced.answered += 1;
                let time_us = due.elapsed().as_micros();
                self.paced.times_us.push(u64::try_from(time_us)?);
            }
            schedule.due += schedule.interval;
            schedule.next += 1;
        }
        Ok(self.paced)
    }

    /// Whether the answer is 2xx.
    async fn read_answer(&mut self) -> anyhow::Result<bool> {
        let end = loop {
            if let Some(end) = request_end(&self.buffer)? {
                break end;
            }
            let read = self.stream.read_buf(&mut self.buffer).await?;
            anyhow::ensure!(read > 0, "the box closed a connection");
        };
        let status = self.buffer.get(9..12).context("no status")?;
        let is_taken = status.starts_with(b"2");
        self.buffer.drain(..end);
        Ok(is_taken)
    }
}

/// The value that `share` of the values (0 to 1) do not pass, microseconds as milliseconds.
pub(crate) fn percentile_ms(times_us: &mut [u64], share: f64) -> f64 {
    times_us.sort_unstable();
    let passed = times_us.len() as f64 * share;
    let at = (0..times_us.len()).find(|at| *at as f64 >= passed);
    let value = at.map_or_else(|| times_us.last(), |at| times_us.get(at));
    value.map_or(f64::NAN, |us| *us as f64 / 1e3)
}
