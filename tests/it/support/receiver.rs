//! A webhook receiver written by hand: it records every request to the byte, and answers as it is
//! told, also in the ways that no well-behaved server would.

use super::wait_until;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How often a thread that waits looks whether the receiver is gone.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What to answer to one request.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// A status with a short body.
    Status(u16),
    /// A status, more headers and a body.
    Whole(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// A 302 to somewhere.
    Redirect(String),
    /// Nothing, with the connection kept open.
    Stall,
    /// Nothing, and the connection closed.
    Close,
    /// 200 with a body that does not end.
    EndlessBody,
    /// 200 with this length and a body of it.
    Long(u64),
    /// These bytes from the status line on, one at a time, this long between two.
    Dribble(Vec<u8>, Duration),
    /// 200 with headers that do not end.
    EndlessHead,
    /// These bytes, and the connection closed.
    Raw(Vec<u8>),
    /// Interim answers (100), as fast as they are read, and never the answer itself.
    EndlessInterim,
    /// 200 with this body, one byte at a time, this long between two.
    Slow(Vec<u8>, Duration),
}

/// One request, as it came.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// Counted from 0 over the receiver's life.
    pub(crate) number: usize,
    /// Request line and headers, to the byte.
    pub(crate) head: Vec<u8>,
    /// The body, to the byte.
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// The request line.
    pub(crate) fn line(&self) -> String {
        self.lines().next().unwrap_or_default()
    }

    fn lines(&self) -> impl Iterator<Item = String> {
        let head = String::from_utf8_lossy(&self.head).into_owned();
        head.split("\r\n")
            .map(str::to_owned)
            .collect::<Vec<_>>()
            .into_iter()
    }

    /// Every value of a header.
    pub(crate) fn all(&self, name: &str) -> Vec<String> {
        self.lines()
            .skip(1)
            .filter_map(|line| {
                let (found, value) = line.split_once(':')?;
                found
                    .eq_ignore_ascii_case(name)
                    .then(|| value.trim().to_owned())
            })
            .collect()
    }

    /// A header that must be there once.
    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> String {
        let all = self.all(name);
        match all.as_slice() {
            [one] => one.clone(),
            _ => panic!("{name} is there {} times in {:?}", all.len(), self.text()),
        }
    }

    /// The headers as a verifier takes them.
    pub(crate) fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in self.lines().skip(1) {
            if let Some((name, value)) = line.split_once(':') {
                headers.append(
                    HeaderName::from_bytes(name.as_bytes()).unwrap(),
                    HeaderValue::from_str(value.trim()).unwrap(),
                );
            }
        }
        headers
    }

    /// `webhook-id`.
    #[track_caller]
    pub(crate) fn message_id(&self) -> String {
        self.header("webhook-id")
    }

    /// The body as text.
    pub(crate) fn body_text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("no JSON ({e}): {}", self.body_text()))
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.head).into_owned()
    }
}

type Script = Box<dyn Fn(&Request) -> Answer + Send + Sync>;

struct Shared {
    requests: Mutex<Vec<Request>>,
    script: Mutex<Script>,
    is_gone: AtomicBool,
    /// Bytes of endless and slow bodies that were written.
    body_bytes: AtomicU64,
    connections: AtomicU64,
}

/// A listening receiver; it stops when it is dropped.
pub(crate) struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Receiver {
    /// A receiver that decides by the request.
    pub(crate) fn new(script: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        Self::on(Ipv4Addr::LOCALHOST.into(), script)
    }

    /// A receiver on another address of this machine.
    pub(crate) fn on(
        ip: IpAddr,
        script: impl Fn(&Request) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind((ip, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            requests: Mutex::default(),
            script: Mutex::new(Box::new(script)),
            is_gone: AtomicBool::new(false),
            body_bytes: AtomicU64::new(0),
            connections: AtomicU64::new(0),
        });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if accepting.is_gone.load(Ordering::SeqCst) {
                    break;
                }
                let Ok(stream) = stream else { continue };
                accepting.connections.fetch_add(1, Ordering::SeqCst);
                let shared = Arc::clone(&accepting);
                // A sender that goes away in the middle is normal.
                std::thread::spawn(move || {
                    let _ = shared.converse(stream);
                });
            }
        });
        Self { address, shared }
    }

    /// A receiver that always gives this answer.
    pub(crate) fn always(answer: Answer) -> Self {
        Self::new(move |_| answer.clone())
    }

    /// A receiver that answers 200.
    pub(crate) fn healthy() -> Self {
        Self::always(Answer::Status(200))
    }

    /// A receiver that answers these statuses in turn, and the last one ever after.
    pub(crate) fn statuses(statuses: &[u16]) -> Self {
        let statuses = statuses.to_vec();
        Self::new(move |request| {
            let last = statuses.len() - 1;
            Answer::Status(statuses[request.number.min(last)])
        })
    }

    /// Answers otherwise from now on.
    pub(crate) fn answer(&self, answer: Answer) {
        *self.shared.script.lock().unwrap() = Box::new(move |_| answer.clone());
    }

    /// The URL of a path on it.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Everything that came so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// How many requests came so far.
    pub(crate) fn count(&self) -> usize {
        self.shared.requests.lock().unwrap().len()
    }

    /// How many connections were made so far, with or without a request.
    pub(crate) fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// How many times each message came, by its `webhook-id`.
    pub(crate) fn times_by_message(&self) -> BTreeMap<String, usize> {
        let mut times = BTreeMap::new();
        for request in self.shared.requests.lock().unwrap().iter() {
            *times.entry(request.message_id()).or_default() += 1;
        }
        times
    }

    /// Bytes of endless and slow bodies that the other side let it write.
    pub(crate) fn body_bytes(&self) -> u64 {
        self.shared.body_bytes.load(Ordering::SeqCst)
    }

    /// Waits until this many requests came, and gives them.
    #[track_caller]
    pub(crate) fn wait_for(&self, count: usize) -> Vec<Request> {
        wait_until(&format!("{count} requests at the receiver"), || {
            (self.count() >= count).then(|| self.requests())
        })
    }

    /// Waits until a request comes whose body's `type` is this.
    #[track_caller]
    pub(crate) fn wait_for_type(&self, event_type: &str) -> Request {
        wait_until(&format!("a request about {event_type:?}"), || {
            self.requests()
                .into_iter()
                .find(|request| request.json()["type"] == event_type)
        })
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.shared.is_gone.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts; if this fails it has ended.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn is_gone(&self) -> bool {
        self.is_gone.load(Ordering::SeqCst)
    }

    fn converse(&self, mut stream: TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let mut buffer = Vec::new();
        loop {
            let Some((head, body)) = read_request(&mut stream, &mut buffer)? else {
                return Ok(());
            };
            let request = {
                let mut requests = self.requests.lock().unwrap();
                let request = Request {
                    number: requests.len(),
                    head,
                    body,
                };
                requests.push(request.clone());
                request
            };
            let answer = (self.script.lock().unwrap())(&request);
            match answer {
                Answer::Status(status) => respond(&mut stream, status, &[], b"noted")?,
                Answer::Whole(status, headers, body) => {
                    respond(&mut stream, status, &headers, &body)?;
                }
                Answer::Redirect(to) => respond(&mut stream, 302, &[("location", to)], b"")?,
                Answer::Stall => return self.stall(&mut stream),
                Answer::Close => return Ok(()),
                Answer::Long(length) => return self.write_long(&mut stream, length),
                Answer::Dribble(bytes, pause) => {
                    self.write_bytes_slowly(&mut stream, &bytes, pause)?;
                }
                Answer::EndlessHead => return self.write_head_without_end(&mut stream),
                Answer::Raw(bytes) => return stream.write_all(&bytes),
                Answer::EndlessBody => return self.write_without_end(&mut stream),
                Answer::EndlessInterim => return self.write_interim_answers(&mut stream),
                Answer::Slow(body, pause) => self.write_slowly(&mut stream, &body, pause)?,
            }
        }
    }

    /// Until the other side gives up.
    fn stall(&self, stream: &mut TcpStream) -> std::io::Result<()> {
        stream.set_read_timeout(Some(LOOK_EVERY))?;
        let mut byte = [0];
        while !self.is_gone() {
            match stream.read(&mut byte) {
                Ok(0) => break,
                Ok(_) => {}
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn write_without_end(&self, stream: &mut TcpStream) -> std::io::Result<()> {
        stream.set_write_timeout(Some(Duration::from_secs(30)))?;
        write!(
            stream,
            "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n"
        )?;
        let mut chunk = b"4000\r\n".to_vec();
        chunk.extend([b'x'; 0x4000]);
        chunk.extend(b"\r\n");
        while !self.is_gone() {
            stream.write_all(&chunk)?;
            self.body_bytes.fetch_add(0x4000, Ordering::SeqCst);
        }
        Ok(())
    }

    fn write_long(&self, stream: &mut TcpStream, length: u64) -> std::io::Result<()> {
        stream.set_write_timeout(Some(Duration::from_secs(30)))?;
        write!(
            stream,
            "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n"
        )?;
        let mut left = length;
        let chunk = [b'x'; 0x4000];
        while left > 0 && !self.is_gone() {
            let next = left.min(0x4000);
            stream.write_all(&chunk[..usize::try_from(next).unwrap()])?;
            self.body_bytes.fetch_add(next, Ordering::SeqCst);
            left -= next;
        }
        Ok(())
    }

    fn write_head_without_end(&self, stream: &mut TcpStream) -> std::io::Result<()> {
        stream.set_write_timeout(Some(Duration::from_secs(30)))?;
        write!(stream, "HTTP/1.1 200 OK\r\n")?;
        let line = format!("x-more: {}\r\n", "y".repeat(1_000));
        while !self.is_gone() {
            stream.write_all(line.as_bytes())?;
            self.body_bytes.fetch_add(1_000, Ordering::SeqCst);
        }
        Ok(())
    }

    fn write_interim_answers(&self, stream: &mut TcpStream) -> std::io::Result<()> {
        stream.set_write_timeout(Some(Duration::from_secs(30)))?;
        let many = b"HTTP/1.1 100 Continue\r\n\r\n".repeat(1_000);
        while !self.is_gone() {
            stream.write_all(&many)?;
        }
        Ok(())
    }

    fn write_slowly(
        &self,
        stream: &mut TcpStream,
        body: &[u8],
        pause: Duration,
    ) -> std::io::Result<()> {
        write!(
            stream,
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n",
            body.len()
        )?;
        self.write_bytes_slowly(stream, body, pause)
    }

    fn write_bytes_slowly(
        &self,
        stream: &mut TcpStream,
        bytes: &[u8],
        pause: Duration,
    ) -> std::io::Result<()> {
        for byte in bytes {
            if self.is_gone() {
                break;
            }
            std::thread::sleep(pause);
            stream.write_all(std::slice::from_ref(byte))?;
            self.body_bytes.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    }
}

/// The next request's head and body; `None` when the connection ended between two.
fn read_request(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
) -> std::io::Result<Option<(Vec<u8>, Vec<u8>)>> {
    let head_len = loop {
        if let Some(at) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        if !read_more(stream, buffer)? {
            return Ok(None);
        }
    };
    let head: Vec<u8> = buffer.drain(..head_len).collect();
    let text = String::from_utf8_lossy(&head).to_ascii_lowercase();
    let body_len = text
        .split("\r\n")
        .find_map(|line| line.strip_prefix("content-length:"))
        .map_or(0, |len| len.trim().parse().unwrap());
    while buffer.len() < body_len {
        if !read_more(stream, buffer)? {
            return Ok(None);
        }
    }
    let body = buffer.drain(..body_len).collect();
    Ok(Some((head, body)))
}

fn read_more(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> std::io::Result<bool> {
    let mut more = [0; 16_384];
    let len = stream.read(&mut more)?;
    buffer.extend(more.iter().take(len));
    Ok(len > 0)
}

fn respond(
    stream: &mut TcpStream,
    status: u16,
    headers: &[(&str, String)],
    body: &[u8],
) -> std::io::Result<()> {
    // These have no body by definition.
    let body = if matches!(status, 204 | 304) {
        &[]
    } else {
        body
    };
    let mut answer = format!("HTTP/1.1 {status} Scripted\r\n");
    if status != 204 && status != 304 {
        answer.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    for (name, value) in headers {
        answer.push_str(&format!("{name}: {value}\r\n"));
    }
    answer.push_str("\r\n");
    let mut answer = answer.into_bytes();
    answer.extend(body);
    stream.write_all(&answer)
}
