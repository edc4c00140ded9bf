//! One attempt as people read it: the strip that it stands in, where its time went, what was asked and
//! answered, and how it differs from another one.

use super::deliveries::outcome;
use super::format::{bytes, duration, number};
use super::json_view::BodyView;
use super::view::{State, When};
use crate::delivery::ErrorClass;
use crate::store::attempts::{AttemptRow, Phases, Response};

/// The waterfall's width, in its own units.
pub(super) const CHART_WIDTH: i64 = 1_000;
/// A part that took any time is at least this wide.
const MIN_WIDTH: i64 = 4;
/// Lines of two bodies that are compared.
const MAX_DIFF_LINES: usize = 400;

/// One attempt in the strip.
pub(super) struct Dot {
    /// Where it is shown in full.
    pub(super) href: String,
    /// Counted from 1.
    pub(super) number: String,
    /// How it ended.
    pub(super) state: State,
    /// The answer, or why there was none.
    pub(super) outcome: String,
    /// Why it was made.
    pub(super) trigger: String,
    /// When it began.
    pub(super) when: When,
    /// How long it took.
    pub(super) took: String,
    /// Whether it is the one that is shown in full.
    pub(super) is_shown: bool,
}

impl Dot {
    /// The attempt in the strip of the delivery's page at `href`; `newest` is what that shows by itself.
    pub(super) fn new(
        attempt: &AttemptRow,
        href: &str,
        now_ms: i64,
        is_shown: bool,
        newest: Option<i64>,
    ) -> Self {
        let status = attempt.response.as_ref().map(|response| response.status);
        Self {
            href: if newest == Some(attempt.number) {
                href.to_owned()
            } else {
                format!("{href}?attempt={}", attempt.number)
            },
            number: number(attempt.number),
            state: State::of_attempt(attempt.error.is_none()),
            outcome: outcome(status, attempt.error.as_ref().map(|(class, _)| *class)),
            trigger: attempt.trigger.clone(),
            when: When::new(attempt.started_at_ms, now_ms),
            took: duration(attempt.duration_us),
            is_shown,
        }
    }
}

/// A part of the time that an attempt took.
pub(super) struct Phase {
    /// What was waited for.
    pub(super) name: &'static str,
    /// How long.
    pub(super) took: String,
    /// Where its bar begins.
    pub(super) x: i64,
    /// How wide its bar is.
    pub(super) width: i64,
}

/// What was answered.
pub(super) struct ResponseView {
    /// HTTP status.
    pub(super) status: u16,
    /// As they came.
    pub(super) headers: Vec<(String, String)>,
    /// As far as it is kept.
    pub(super) body: BodyView,
    /// How much is kept.
    pub(super) size: String,
    /// What is to be said of it.
    pub(super) note: Option<String>,
}

/// The attempt that the page shows in full.
pub(super) struct AttemptView {
    /// Counted from 1.
    pub(super) number: String,
    /// How it ended.
    pub(super) state: State,
    /// When it began.
    pub(super) when: When,
    /// How long it took.
    pub(super) took: String,
    /// Where it went.
    pub(super) url: String,
    /// The address that was dialled.
    pub(super) address: String,
    /// Why it was made.
    pub(super) trigger: String,
    /// What its failure means, and what was met.
    pub(super) cause: Option<(&'static str, String)>,
    /// Where its time went.
    pub(super) phases: Vec<Phase>,
    /// As sent.
    pub(super) headers: Vec<(String, String)>,
    /// What was answered.
    pub(super) response: Option<ResponseView>,
}

impl AttemptView {
    /// The attempt in full; of one whose payload `is_expunged`, the answer's body is gone as well.
    pub(super) fn new(attempt: AttemptRow, now_ms: i64, is_expunged: bool) -> Self {
        Self {
            number: number(attempt.number),
            state: State::of_attempt(attempt.error.is_none()),
            when: When::new(attempt.started_at_ms, now_ms),
            took: duration(attempt.duration_us),
            phases: waterfall(&attempt.phases, attempt.duration_us),
            url: attempt.url,
            address: attempt
                .address
                .unwrap_or_else(|| "none was dialled".to_owned()),
            trigger: attempt.trigger,
            cause: attempt.error.map(|(class, detail): (ErrorClass, String)| {
                let status = attempt.response.as_ref().map(|response| response.status);
                (class.explain(status), detail)
            }),
            headers: attempt.request_headers.pairs(),
            response: attempt
                .response
                .map(|response| ResponseView::new(&response, is_expunged)),
        }
    }
}

impl ResponseView {
    fn new(response: &Response, is_expunged: bool) -> Self {
        let kept = bytes(response.body.len());
        let note = match response.length {
            _ if is_expunged => Some("What was answered is expunged with the payload.".to_owned()),
            Some(length) if response.truncated => Some(format!(
                "Cut off: the first {kept} of {} are kept.",
                bytes(usize::try_from(length).unwrap_or(usize::MAX))
            )),
            None if response.truncated => Some(format!("Cut off: the first {kept} are kept.")),
            _ => None,
        };
        Self {
            status: response.status,
            headers: response.headers.pairs(),
            // An answer that was on its way when the payload was expunged is not shown either.
            body: BodyView::of(if is_expunged { b"" } else { &response.body }),
            size: kept,
            note,
        }
    }
}

/// Where the time went, one part after the other; nothing when it is not known.
fn waterfall(phases: &Phases, whole_us: i64) -> Vec<Phase> {
    let known = [
        ("Resolving the name", phases.dns_us),
        ("Connecting", phases.connect_us),
        ("TLS handshake", phases.tls_us),
        ("Waiting for the answer", phases.first_byte_us),
    ];
    let sum: i64 = known.iter().filter_map(|(_, us)| *us).sum();
    if sum == 0 {
        return Vec::new();
    }
    let whole = whole_us.max(sum);
    let rest = (whole > sum).then_some(whole - sum);
    let parts = known
        .into_iter()
        .chain([("Reading it, and the rest", rest)]);
    let mut at = 0;
    parts
        .filter_map(|(name, us)| {
            let us = us?;
            let x = (at * CHART_WIDTH / whole).min(CHART_WIDTH - MIN_WIDTH);
            at += us;
            Some(Phase {
                name,
                took: duration(us),
                x,
                width: (us * CHART_WIDTH / whole).clamp(MIN_WIDTH, CHART_WIDTH - x),
            })
        })
        .collect()
}

/// A line of two texts that are compared.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct DiffLine {
    /// ` ` in both, `-` in the other one only, `+` in the shown one only.
    pub(super) mark: char,
    /// Its class: `same`, `gone` or `new`.
    pub(super) class: &'static str,
    /// The line.
    pub(super) text: String,
}

/// How the attempt that is shown differs from another one.
pub(super) struct Difference {
    /// The other one's number.
    pub(super) with: String,
    /// What it is shown without.
    pub(super) href: String,
    /// What was sent: the address and the headers.
    pub(super) request: Vec<DiffLine>,
    /// What was answered: the status and the headers.
    pub(super) answer: Vec<DiffLine>,
    /// The answer's body.
    pub(super) body: Vec<DiffLine>,
    /// Whether there was more than is compared.
    pub(super) is_cut: bool,
}

impl Difference {
    /// From `other` to `shown`; `href` shows the latter alone.
    pub(super) fn new(other: &AttemptRow, shown: &AttemptRow, href: String) -> Self {
        let (other_body, shown_body) = (body_lines(other), body_lines(shown));
        let is_cut = other_body.len().max(shown_body.len()) > MAX_DIFF_LINES;
        Self {
            with: number(other.number),
            href,
            request: compare(&request_lines(other), &request_lines(shown)),
            answer: compare(&answer_lines(other), &answer_lines(shown)),
            body: compare(cut(&other_body), cut(&shown_body)),
            is_cut,
        }
    }
}

fn cut(lines: &[String]) -> &[String] {
    lines.get(..MAX_DIFF_LINES).unwrap_or(lines)
}

fn request_lines(attempt: &AttemptRow) -> Vec<String> {
    let mut lines = vec![format!("POST {}", attempt.url)];
    lines.extend(header_lines(attempt.request_headers.pairs()));
    lines
}

fn answer_lines(attempt: &AttemptRow) -> Vec<String> {
    let Some(response) = &attempt.response else {
        return vec!["No answer came.".to_owned()];
    };
    let mut lines = vec![format!("Status {}", response.status)];
    lines.extend(header_lines(response.headers.pairs()));
    lines
}

fn header_lines(pairs: Vec<(String, String)>) -> impl Iterator<Item = String> {
    pairs
        .into_iter()
        .map(|(name, value)| format!("{name}: {value}"))
}

/// A body's lines; JSON is laid out first, so that its members are compared.
fn body_lines(attempt: &AttemptRow) -> Vec<String> {
    let body = attempt
        .response
        .as_ref()
        .map_or(&[][..], |response| &response.body);
    let text = match serde_json::from_slice::<serde_json::Value>(body) {
        Ok(value) => serde_json::to_string_pretty(&value).unwrap_or_default(),
        Err(_) => String::from_utf8_lossy(body).into_owned(),
    };
    text.lines().map(str::to_owned).collect()
}

/// The longest common lines of both, with what is in one of them only in between.
fn compare(old: &[String], new: &[String]) -> Vec<DiffLine> {
    let (rows, columns) = (old.len(), new.len());
    // common[r][c]: common lines of what follows row r and column c.
    let mut common = vec![vec![0_u32; columns + 1]; rows + 1];
    for r in (0..rows).rev() {
        for c in (0..columns).rev() {
            common[r][c] = if old[r] == new[c] {
                common[r + 1][c + 1] + 1
            } else {
                common[r + 1][c].max(common[r][c + 1])
            };
        }
    }
    let line = |mark, class, text: &String| DiffLine {
        mark,
        class,
        text: text.clone(),
    };
    let (mut r, mut c, mut lines) = (0, 0, Vec::new());
    while r < rows || c < columns {
        match (old.get(r), new.get(c)) {
            (Some(gone), Some(came)) if gone == came => {
                lines.push(line(' ', "same", came));
                r += 1;
                c += 1;
            }
            (Some(gone), came) if came.is_none() || common[r + 1][c] >= common[r][c + 1] => {
                lines.push(line('-', "gone", gone));
                r += 1;
            }
            (_, Some(came)) => {
                lines.push(line('+', "new", came));
                c += 1;
            }
            (_, None) => break,
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn texts(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn what_differs_is_marked_by_the_line() {
        let marks = |old: &str, new: &str| {
            let lines = compare(&texts(old), &texts(new));
            lines
                .iter()
                .map(|line| format!("{}{}", line.mark, line.text))
                .collect::<Vec<_>>()
        };
        assert_eq!(marks("a b c", "a x c"), [" a", "-b", "+x", " c"]);
        assert_eq!(marks("", "a"), ["+a"]);
        assert_eq!(marks("a", ""), ["-a"]);
    }

    proptest! {
        #[test]
        fn both_texts_can_be_read_from_what_differs(old in "([abc] ){0,12}", new in "([abc] ){0,12}") {
            let (old, new) = (texts(&old), texts(&new));
            let lines = compare(&old, &new);
            let without = |mark: char| lines.iter().filter(|l| l.mark != mark).map(|l| l.text.clone()).collect::<Vec<_>>();
            prop_assert_eq!(without('+'), old);
            prop_assert_eq!(without('-'), new);
        }
    }

    #[test]
    fn the_waterfall_has_every_part_in_its_place() {
        let phases = Phases {
            dns_us: Some(1_000),
            connect_us: Some(2_000),
            tls_us: None,
            first_byte_us: Some(5_000),
        };
        let parts = waterfall(&phases, 10_000);
        let places: Vec<_> = parts.iter().map(|part| (part.x, part.width)).collect();
        assert_eq!(places, [(0, 100), (100, 200), (300, 500), (800, 200)]);
        assert!(waterfall(&Phases::default(), 10_000).is_empty());
        let tiny = Phases {
            first_byte_us: Some(1),
            ..Phases::default()
        };
        assert!(
            waterfall(&tiny, 1_000_000)
                .iter()
                .all(|part| part.x + part.width <= CHART_WIDTH && part.width > 0)
        );
    }
}
