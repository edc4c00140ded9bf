//! The receiver of deliveries: reads a request, answers 200, and costs as little as it can. Asked to,
//! it notes how long each event took to get here.

use super::traffic::SENT_NAME;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
/// Requests are far smaller; more than this without an end is not a request.
const MAX_REQUEST_BYTES: usize = 1 << 20;

/// The times of events on their way, microseconds; `None` where nobody asked for them.
type Times = Option<Arc<Mutex<Vec<u64>>>>;

/// Serves until killed, on every address of loopback. With the argument `timed` it notes times,
/// which `GET /` answers and forgets.
///
/// # Errors
/// When it cannot listen.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let times: Times = arguments
        .iter()
        .any(|argument| argument == "timed")
        .then(Arc::default);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("0.0.0.0:0").await?;
        println!("http://127.0.0.1:{}/", listener.local_addr()?.port());
        loop {
            let (stream, _) = listener.accept().await?;
            let times = times.clone();
            // A sender that goes away ends its connection and nothing else.
            tokio::spawn(async move { serve(stream, times).await.ok() });
        }
    })
}

async fn serve(mut stream: TcpStream, times: Times) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(16 * 1_024);
    while stream.read_buf(&mut buffer).await? > 0 {
        while let Some(end) = request_end(&buffer)? {
            let request = &buffer[..end];
            match &times {
                Some(times) if request.starts_with(b"GET") => {
                    let taken = std::mem::take(&mut *lock(times));
                    let words: Vec<_> = taken.iter().map(ToString::to_string).collect();
                    let body = words.join(" ");
                    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
                    stream.write_all((head + &body).as_bytes()).await?;
                }
                Some(times) => {
                    if let Some(sent_us) = sent_us(request) {
                        lock(times).push(now_us().saturating_sub(sent_us));
                    }
                    stream.write_all(ANSWER).await?;
                }
                None => stream.write_all(ANSWER).await?,
            }
            buffer.drain(..end);
        }
        anyhow::ensure!(buffer.len() < MAX_REQUEST_BYTES, "too long a request");
    }
    Ok(())
}

fn lock(times: &Mutex<Vec<u64>>) -> std::sync::MutexGuard<'_, Vec<u64>> {
    times
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Where the message at the front of `buffer` ends, once all of it is there. Works for requests and
/// for answers.
///
/// # Errors
/// When its length is not a number.
pub(crate) fn request_end(buffer: &[u8]) -> anyhow::Result<Option<usize>> {
    let Some(head_end) = find(buffer, b"\r\n\r\n") else {
        return Ok(None);
    };
    let mut length = 0;
    for line in buffer[..head_end].split(|byte| *byte == b'\n') {
        if line.len() > 15 && line[..15].eq_ignore_ascii_case(b"content-length:") {
            length = std::str::from_utf8(&line[15..])?.trim().parse()?;
        }
    }
    let end = head_end + 4 + length;
    Ok((buffer.len() >= end).then_some(end))
}

fn sent_us(request: &[u8]) -> Option<u64> {
    let rest = &request[find(request, SENT_NAME.as_bytes())? + SENT_NAME.len()..];
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()
}

/// Where `needle` begins.
pub(crate) fn find(text: &[u8], needle: &[u8]) -> Option<usize> {
    text.windows(needle.len())
        .position(|window| window == needle)
}

/// Microseconds since 1970: the sender's clock and the receiver's are the same.
pub(crate) fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since.map_or(0, |since| since.as_micros())).unwrap_or(u64::MAX)
}
