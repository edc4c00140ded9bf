//! Rejects: requests that were refused, why, and a command to send one again once it is mended.

use super::answer::{Page, ok};
use super::flash::Flash;
use super::format::{bytes, number};
use super::session::Visitor;
use super::view::{CopyBlock, PAGE_ROWS, Section, Shell, When, cut_page};
use crate::error::Error;
use crate::id::RejectId;
use crate::store::rejects::{
    self, Batch, KEPT_REJECTS, KEPT_REJECTS_WITHOUT_KEY, Recipe, Reject, RejectRow, Resend,
    SNIPPET_BYTES, SenderPlace, Snippet,
};
use actix_web::web;
use askama::Template;
use serde::Deserialize;
use url::Url;

/// Characters of a snippet in front of and behind the place that matters, on the list.
const BRIEF_CHARS: usize = 80;
/// What a byte that is no text is shown as, and a control character, which a terminal would obey.
const UNSHOWABLE: char = '\u{FFFD}';

/// What the list is asked for.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Wanted {
    code: Option<String>,
    before: Option<String>,
}

/// A snippet around the place where reading the body ended.
struct Shown {
    before: String,
    /// The character there; empty at the end of the body.
    at: String,
    after: String,
    has_mark: bool,
}

impl Shown {
    fn new(snippet: &Snippet) -> Self {
        let Some(mark) = snippet.mark else {
            return Self {
                before: text(&snippet.bytes),
                at: String::new(),
                after: String::new(),
                has_mark: false,
            };
        };
        let (before, rest) = snippet.bytes.split_at(mark.min(snippet.bytes.len()));
        let rest = text(rest);
        let len = rest.chars().next().map_or(0, char::len_utf8);
        let (at, after) = rest.split_at(len);
        Self {
            before: text(before),
            at: at.to_owned(),
            after: after.to_owned(),
            has_mark: true,
        }
    }

    /// What the list has room for.
    fn brief(mut self) -> Self {
        if self.has_mark {
            let count = self.before.chars().count();
            if count > BRIEF_CHARS {
                let tail: String = self.before.chars().skip(count - BRIEF_CHARS).collect();
                self.before = format!("…{tail}");
            }
            self.after = head(&self.after, BRIEF_CHARS);
        } else {
            self.before = head(&self.before, 2 * BRIEF_CHARS);
        }
        self
    }
}

fn head(text: &str, chars: usize) -> String {
    match text.char_indices().nth(chars) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or("")),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .chars()
        .map(|c| match c {
            '\n' | '\t' => c,
            c if c.is_control() => UNSHOWABLE,
            c => c,
        })
        .collect()
}

struct Line {
    href: String,
    when: When,
    code: String,
    detail: String,
    status: u16,
    /// "2 of 7 events", where it was a batch.
    batch: Option<String>,
    endpoint: String,
    sender: String,
    snippet: Shown,
}

impl Line {
    fn new(row: RejectRow, visitor: &Visitor) -> Self {
        let sender = sender(&row, visitor);
        let reject = row.reject;
        Self {
            href: format!("{}/rejects/{}", visitor.base(), row.id),
            when: When::new(reject.at_ms, visitor.desk().now_ms),
            status: reject.status,
            batch: reject.batch.map(of_events),
            sender,
            snippet: Shown::new(&reject.snippet).brief(),
            code: reject.code,
            detail: reject.detail,
            endpoint: reject.endpoint,
        }
    }
}

fn of_events(batch: Batch) -> String {
    let noun = if batch.events == 1 { "event" } else { "events" };
    format!(
        "{} of {} {noun}",
        number(batch.rejected),
        number(batch.events)
    )
}

/// The source's name, and what its key begins with.
fn sender(row: &RejectRow, visitor: &Visitor) -> String {
    let catalog = visitor.desk().catalog.current();
    let source = row.reject.source.and_then(|id| catalog.source_name(id));
    let key = row.key_prefix.as_deref().map(|prefix| format!("{prefix}…"));
    [source.map(str::to_owned), key]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(" · ")
}

struct Reason {
    code: String,
    count: String,
    href: String,
    is_current: bool,
}

#[derive(Template)]
#[template(path = "rejects.html")]
struct List {
    shell: Shell,
    rows: Vec<Line>,
    reasons: Vec<Reason>,
    code: Option<String>,
    filter: String,
    kept: String,
    kept_without_key: String,
    lost: Option<(String, When)>,
    is_first: bool,
    next: Option<String>,
}

/// The newest refused requests, or those of one reason.
pub(super) async fn list(visitor: Visitor, wanted: web::Query<Wanted>) -> Page {
    let workspace = visitor.membership.workspace;
    let wanted = wanted.into_inner();
    let before: Option<RejectId> = wanted.before.as_deref().and_then(|id| id.parse().ok());
    let code = wanted.code.filter(|code| !code.is_empty());
    let asked = code.clone();
    let (mut rows, counts, loss) = visitor
        .desk()
        .read(move |connection| {
            let code = asked.as_deref();
            Ok((
                rejects::page(connection, workspace, code, before, PAGE_ROWS + 1)?,
                rejects::counts(connection, workspace)?,
                rejects::loss(connection, workspace)?,
            ))
        })
        .await?;
    let next = cut_page(&mut rows, |row| row.id.to_string());
    let now_ms = visitor.desk().now_ms;
    ok(&List {
        shell: Shell::new(&visitor, Section::Rejects, "Rejects", &Flash::default()),
        rows: rows
            .into_iter()
            .map(|row| Line::new(row, &visitor))
            .collect(),
        reasons: reasons(counts, code.as_deref(), &visitor.base()),
        filter: code.as_deref().map_or_else(String::new, by_code),
        code,
        kept: number(KEPT_REJECTS),
        kept_without_key: number(KEPT_REJECTS_WITHOUT_KEY),
        lost: loss.map(|(count, at_ms)| (number(count), When::new(at_ms, now_ms))),
        is_first: before.is_none(),
        next,
    })
}

/// The part of a query that asks for one reason.
fn by_code(code: &str) -> String {
    url::form_urlencoded::Serializer::new(String::new())
        .append_pair("code", code)
        .finish()
}

/// The commonest first.
fn reasons(mut counts: Vec<(String, i64)>, current: Option<&str>, base: &str) -> Vec<Reason> {
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counts
        .into_iter()
        .map(|(code, count)| Reason {
            href: format!("{base}/rejects?{}", by_code(&code)),
            count: number(count),
            is_current: current == Some(code.as_str()),
            code,
        })
        .collect()
}

struct Field {
    pointer: String,
    code: String,
    detail: String,
}

#[derive(Template)]
#[template(path = "reject.html")]
struct Show {
    shell: Shell,
    id: String,
    line: Line,
    offset: Option<String>,
    fields: Vec<Field>,
    has_body: bool,
    body: Shown,
    about_body: String,
    /// What to know before the command is run.
    hints: Vec<String>,
    curl: Option<CopyBlock>,
}

/// One refused request.
pub(super) async fn show(visitor: Visitor, path: web::Path<(String, String)>) -> Page {
    let id: RejectId = path.1.parse().map_err(|_| Error::not_found("reject"))?;
    let workspace = visitor.membership.workspace;
    let row = visitor
        .desk()
        .read(move |connection| rejects::get(connection, workspace, id))
        .await?;
    let reject = &row.reject;
    let public_url = &visitor.desk().settings.public_url;
    ok(&Show {
        shell: Shell::new(
            &visitor,
            Section::Rejects,
            "Refused request",
            &Flash::default(),
        ),
        id: id.to_string(),
        offset: reject
            .offset
            .map(|offset| number(i64::try_from(offset).unwrap_or(i64::MAX))),
        fields: reject
            .errors
            .iter()
            .map(|field| Field {
                pointer: field.pointer.clone(),
                code: field.code.clone(),
                detail: field.detail.clone(),
            })
            .collect(),
        has_body: !reject.snippet.bytes.is_empty(),
        body: Shown::new(&reject.snippet),
        about_body: about_body(&reject.snippet),
        hints: hints(reject),
        curl: curl(public_url, reject, row.key_prefix.as_deref())
            .map(|command| CopyBlock::new("the command", command)),
        line: Line::new(row, &visitor),
    })
}

/// How much of the body there is to see.
fn about_body(snippet: &Snippet) -> String {
    let whole = bytes(snippet.body_bytes);
    let start = number(i64::try_from(snippet.start).unwrap_or(i64::MAX));
    if snippet.is_whole {
        format!("The whole body, {whole}.")
    } else if snippet.body_bytes <= SNIPPET_BYTES {
        format!("The whole body, {whole}, with what looks like a secret masked.")
    } else if snippet.start > 0 {
        format!(
            "A part of the body, from byte {start} on, of {whole} in all. What looks like a secret is masked."
        )
    } else {
        format!("The beginning of the body, of {whole} in all. What looks like a secret is masked.")
    }
}

/// What there is to do before a request is sent again, or why it cannot be.
fn hints(reject: &Reject) -> Vec<String> {
    let recipe = match &reject.resend {
        Resend::Stripe => {
            let why = "Only Stripe can send it again, since it signs what it sends: resend the event from Stripe's dashboard.";
            return vec![why.to_owned()];
        }
        Resend::Session => {
            let why = "No command can send it again: a signed-in member's session let it in, and the page that posts it \
                       names the workspace in the address. Mend the page, or post to /api/v1/events with an API key.";
            return vec![why.to_owned()];
        }
        Resend::Command(recipe) => recipe,
    };
    let mut hints = Vec::new();
    if reject.snippet.bytes.is_empty() {
        return hints;
    }
    hints.push(match recipe.sender {
        SenderPlace::Header(_) | SenderPlace::User => {
            "Mend the body, and put the whole key in.".to_owned()
        }
        SenderPlace::Body | SenderPlace::PublicUser(_) => "Mend the body.".to_owned(),
    });
    if reject.snippet.body_bytes > SNIPPET_BYTES {
        hints.push("Only a part of the body is kept: put the rest back.".to_owned());
    }
    let masked = |text: &[u8]| text.windows(3).any(|part| part == b"***");
    let headers = recipe.headers.iter();
    if masked(&reject.snippet.bytes)
        || headers
            .into_iter()
            .any(|(_, value)| masked(value.as_bytes()))
    {
        hints.push("What is masked as *** must be put back, too.".to_owned());
    }
    hints.extend(reject.batch.and_then(about_stored));
    hints
}

/// What becomes of the events of a batch that were stored when it is sent again.
fn about_stored(batch: Batch) -> Option<String> {
    let stored = batch.events - batch.rejected;
    if stored <= 0 {
        return None;
    }
    Some(if batch.unkeyed > 0 {
        format!(
            "Send the refused events alone: {} of those that were stored had neither a messageId nor an \
             Idempotency-Key, and would be stored a second time.",
            number(batch.unkeyed)
        )
    } else {
        "The events that were stored have keys: sent again as they were, they are not stored a second time."
            .to_owned()
    })
}

/// A command that sends the body again. It is for a shell, and the body is a stranger's: everything in it
/// stands between single quotes, and nothing in it is a control character.
fn curl(public_url: &Url, reject: &Reject, key_prefix: Option<&str>) -> Option<String> {
    let Resend::Command(recipe) = &reject.resend else {
        return None;
    };
    if reject.snippet.bytes.is_empty() {
        return None;
    }
    // The box may be served under a path.
    let base = public_url.as_str().trim_end_matches('/');
    let url = format!("{base}{}", reject.endpoint);
    Some(format!(
        "curl -sS {}{} \\\n  --data-raw {}",
        quoted(&url),
        options(recipe, key_prefix),
        quoted(&text(&reject.snippet.bytes))
    ))
}

/// Who sends it, and the headers.
fn options(recipe: &Recipe, key_prefix: Option<&str>) -> String {
    let key = format!("{}…", key_prefix.unwrap_or(""));
    let sender = match &recipe.sender {
        SenderPlace::Body => None,
        SenderPlace::Header(header) => Some(("-H", format!("{header}: {key}"))),
        SenderPlace::User => Some(("-u", format!("{key}:"))),
        SenderPlace::PublicUser(id) => Some(("-u", format!("{id}:"))),
    };
    let content_type = ("content-type", &*recipe.content_type);
    let others = recipe
        .headers
        .iter()
        .map(|(name, value)| (&**name, &**value));
    let headers = others
        .chain([content_type])
        .map(|(name, value)| ("-H", format!("{name}: {value}")));
    sender
        .into_iter()
        .chain(headers)
        .map(|(option, value)| format!(" \\\n  {option} {}", quoted(&text(value.as_bytes()))))
        .collect()
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strangers_body_stays_between_quotes() {
        let mut reject = Reject {
            workspace: crate::id::WorkspaceId::from_i64(1),
            source: None,
            key: None,
            at_ms: 0,
            endpoint: "/sse/webhook".to_owned(),
            resend: Resend::Command(Recipe {
                content_type: "application/x-ndjson".into(),
                headers: vec![("idempotency-key".into(), "it's".to_owned())],
                sender: SenderPlace::Header("x-api-key".into()),
            }),
            status: 400,
            code: String::new(),
            detail: String::new(),
            errors: Vec::new(),
            batch: None,
            offset: None,
            snippet: Snippet {
                bytes: b"@/etc/passwd'; rm -rf ~; '\x1b[201~\r\xff\n".to_vec(),
                ..Snippet::default()
            },
        };
        let url: Url = "https://example.com/box/".parse().unwrap();
        let command = curl(&url, &reject, Some("pbk_abc")).unwrap();
        let body = "'@/etc/passwd'\\''; rm -rf ~; '\\''\u{FFFD}[201~\u{FFFD}\u{FFFD}\n'";
        assert!(
            command.ends_with(&format!("--data-raw {body}")),
            "{command}"
        );
        assert!(command.starts_with(
            "curl -sS 'https://example.com/box/sse/webhook' \\\n  -H 'x-api-key: pbk_abc…' \\\n  \
             -H 'idempotency-key: it'\\''s' \\\n  -H 'content-type: application/x-ndjson' \\\n"
        ));
        reject.batch = Some(Batch {
            rejected: 2,
            events: 7,
            unkeyed: 3,
        });
        let said = hints(&reject).join(" ");
        assert!(said.contains("3 of those that were stored"), "{said}");
        let whole = Snippet::default();
        let snippet = std::mem::replace(&mut reject.snippet, whole);
        assert!(curl(&url, &reject, None).is_none());
        reject.snippet = snippet;
        reject.resend = Resend::Stripe;
        assert!(curl(&url, &reject, None).is_none());
    }

    #[test]
    fn the_mark_parts_the_text() {
        let snippet = Snippet {
            bytes: "é{\"ü\" ñ1}".as_bytes().to_vec(),
            mark: Some(8),
            ..Snippet::default()
        };
        let shown = Shown::new(&snippet);
        assert_eq!(
            (&*shown.before, &*shown.at, &*shown.after),
            ("é{\"ü\" ", "ñ", "1}")
        );
        let end = Shown::new(&Snippet {
            mark: Some(99),
            ..snippet
        });
        assert_eq!((&*end.at, &*end.after, end.has_mark), ("", "", true));
    }
}
