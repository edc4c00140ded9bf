//! Newline-delimited JSON: one event a line. Owns what a line is, and where in the body it stands; a line
//! that is no JSON costs the others nothing. Knows no field of an event.

use super::wire::{MAX_EVENTS, Wire};
use crate::error::{Error, Result};
use crate::json::{self, Fault, Place};
use actix_web::{HttpMessage as _, HttpRequest};

/// The type of such a body.
pub(super) const CONTENT_TYPE: &str = "application/x-ndjson";

/// Whether the request says that its body has an event a line.
pub(super) fn announced(request: &HttpRequest) -> bool {
    matches!(
        request.content_type().to_ascii_lowercase().as_str(),
        CONTENT_TYPE | "application/ndjson"
    )
}

/// The event of each line of a body; what is no object is `None`. Blank lines are numbered with the others
/// and are nothing else.
///
/// # Errors
/// When there is none, or there are too many.
pub(super) fn read(body: &[u8]) -> Result<Vec<Result<Place<Wire<'_>>>>> {
    let mut lines = Vec::new();
    let mut start = 0;
    for (index, line) in body.split(|byte| *byte == b'\n').enumerate() {
        if !line.trim_ascii().is_empty() {
            if lines.len() == MAX_EVENTS {
                let detail =
                    "The body has more than 1,000 events; send the rest in another request.";
                return Err(Error::field("", "too_many_events", detail));
            }
            lines.push(event(line).map_err(|fault| malformed(index + 1, start, &fault)));
        }
        start += line.len() + 1;
    }
    if lines.is_empty() {
        return Err(Error::field(
            "",
            "required",
            "The body has no events; send one a line.",
        ));
    }
    Ok(lines)
}

fn event(line: &[u8]) -> std::result::Result<Place<Wire<'_>>, Fault> {
    json::parse(json::scan(line)?)
}

/// `start` is the line's first byte in the body.
fn malformed(number: usize, start: usize, fault: &Fault) -> Error {
    let offset = start + fault.offset;
    let detail = format!(
        "Line {number} is not acceptable JSON at byte {offset} of the body: {}.",
        fault.what
    );
    Error::field("", fault.code, detail)
}
