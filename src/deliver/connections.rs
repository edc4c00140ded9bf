//! Connections: one exchange at a time over each, kept open between two. An exchange drives its own
//! connection, so an answer wakes one task and nothing is handed from task to task. Knows no webhook
//! and does not repeat a request: that would be an attempt that nobody recorded.

use super::connect::{ConnectError, ConnectRules, Connector, Progress, Stream};
use crate::delivery::ErrorClass;
use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper::{Request, Response, Uri};
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

/// The body of a request.
pub type Body = Full<Bytes>;

/// How connections are made and kept.
#[derive(Debug, Clone)]
pub struct ConnectionRules {
    /// Where they may go, and how long dialling may take.
    pub connect: ConnectRules,
    /// Idle connections kept open, in all.
    pub idle: usize,
    /// An idle connection is used again within this time or not at all.
    pub idle_timeout: Duration,
    /// An answer's head has at most this many bytes.
    pub response_head_bytes: usize,
}

/// Makes connections and keeps the idle ones.
#[derive(Debug)]
pub struct Connections {
    connector: Connector,
    protocol: http1::Builder,
    idle_limit: usize,
    idle_timeout: Duration,
    idle: Mutex<Idle>,
}

/// By scheme, host and port, the one that was used last at the end.
#[derive(Debug, Default)]
struct Idle {
    by_origin: HashMap<Arc<str>, Vec<Connection>>,
    count: usize,
}

/// An open connection to one origin.
#[derive(Debug)]
pub struct Connection {
    requests: http1::SendRequest<Body>,
    driver: Pin<Box<http1::Connection<Stream, Body>>>,
    /// The address and port that were dialled.
    address: Option<Arc<str>>,
    idle_since: Instant,
}

impl Connections {
    /// None is open yet.
    ///
    /// # Errors
    /// When the TLS library refuses its own defaults.
    pub fn new(rules: ConnectionRules) -> anyhow::Result<Self> {
        let mut protocol = http1::Builder::new();
        protocol.max_buf_size(rules.response_head_bytes);
        // A request is small: put together it goes out at less cost than in two parts.
        protocol.writev(false);
        Ok(Self {
            connector: Connector::new(rules.connect)?,
            protocol,
            idle_limit: rules.idle,
            idle_timeout: rules.idle_timeout,
            idle: Mutex::default(),
        })
    }

    /// A connection to an origin that is still open, or a new one to it; tells `progress` of it.
    ///
    /// # Errors
    /// When none can be made.
    pub async fn open(
        &self,
        origin: &Arc<str>,
        uri: &Uri,
        progress: &mut Progress,
    ) -> Result<Connection, ConnectError> {
        while let Some(mut kept) = self.take_idle(origin) {
            if kept.is_open() {
                progress.address.clone_from(&kept.address);
                return Ok(kept);
            }
        }
        // Boxed: most attempts find a kept connection and need not carry this about.
        let stream = Box::pin(self.connector.dial(uri, progress)).await?;
        let (requests, driver) =
            self.protocol
                .handshake(stream)
                .await
                .map_err(|e| ConnectError {
                    class: ErrorClass::Protocol,
                    detail: e.to_string(),
                })?;
        Ok(Connection {
            requests,
            driver: Box::pin(driver),
            address: progress.address.clone(),
            idle_since: Instant::now(),
        })
    }

    /// Keeps a connection for the next exchange, if it can have one and there is room.
    pub fn keep(&self, origin: &Arc<str>, mut connection: Connection) {
        if !connection.is_open() || !connection.requests.is_ready() {
            return;
        }
        connection.idle_since = Instant::now();
        let mut idle = self.lock();
        if idle.count < self.idle_limit {
            idle.count += 1;
            match idle.by_origin.get_mut(origin) {
                Some(kept) => kept.push(connection),
                None => {
                    idle.by_origin.insert(Arc::clone(origin), vec![connection]);
                }
            }
        }
    }

    /// Closes what was idle for too long.
    pub fn close_idle(&self) {
        let timeout = self.idle_timeout;
        let mut idle = self.lock();
        idle.by_origin.retain(|_, kept| {
            kept.retain(|connection| connection.idle_since.elapsed() < timeout);
            !kept.is_empty()
        });
        idle.count = idle.by_origin.values().map(Vec::len).sum();
    }

    fn take_idle(&self, origin: &Arc<str>) -> Option<Connection> {
        let mut idle = self.lock();
        let kept = idle.by_origin.get_mut(origin)?.pop()?;
        idle.count -= 1;
        Some(kept).filter(|kept| kept.idle_since.elapsed() < self.idle_timeout)
    }

    fn lock(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    /// Sends a request and gives the answer to `read`, all of it while driving the connection.
    ///
    /// # Errors
    /// When the connection breaks before an answer's head is there.
    pub async fn exchange<T, R: Future<Output = T>>(
        &mut self,
        request: Request<Body>,
        read: impl FnOnce(Response<hyper::body::Incoming>) -> R,
    ) -> hyper::Result<T> {
        let answer = self.requests.send_request(request);
        let mut exchange = pin!(async move { Ok(read(answer.await?).await) });
        let driver = &mut self.driver;
        let mut has_ended = false;
        poll_fn(|context| {
            // The connection comes first: what it reads is then found by the exchange at once. Its
            // own error reaches the exchange as well, which knows what it was waiting for.
            if !has_ended {
                has_ended = driver.as_mut().poll(context).is_ready();
            }
            exchange.as_mut().poll(context)
        })
        .await
    }

    /// Whether the other end has neither closed it nor said anything unasked.
    fn is_open(&mut self) -> bool {
        let mut nobody = Context::from_waker(Waker::noop());
        !self.requests.is_closed() && self.driver.as_mut().poll(&mut nobody).is_pending()
    }
}
