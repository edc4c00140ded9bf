//! What pages are made of: the frame around every signed-in page, times, states, ids and numbers in
//! the form in which people read them. Small templates of their own, so that each looks the same
//! everywhere; askama has escaped what is in them.

use super::assets;
use super::flash::Flash;
use super::session::{Person, Visitor, base};
use super::settings::Settings;
use crate::access::Role;
use crate::delivery::DeliveryState;
use crate::event_type::Mode;
use crate::replay::ReplayState;
use crate::store::access::Membership;
use crate::time::rfc3339;
use crate::webhook::WebhookState;
use askama::Template;
use askama::filters::HtmlSafe;

/// Rows on one page of a list.
pub(super) const PAGE_ROWS: usize = 50;
/// Characters of an id that are shown in front of and behind the dots.
const ID_HEAD_CHARS: usize = 8;
const ID_TAIL_CHARS: usize = 4;
/// What is said of a moment that something waits for, once it is past.
const DUE_NOW: &str = "due now";

/// The part of the rail that a page belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    /// None of them.
    None,
    /// Is it working?
    Overview,
    /// What came.
    Events,
    /// What was refused.
    Rejects,
    /// What may come.
    EventTypes,
    /// Whom it is about.
    Profiles,
    /// How far they have come.
    Funnels,
    /// Who is told.
    Webhooks,
    /// What left.
    Deliveries,
    /// Who sends.
    Sources,
    /// Who may send.
    Keys,
    /// What holds for the whole workspace.
    Settings,
}

/// An entry of the rail or of the workspace switcher.
#[derive(Debug)]
pub(super) struct Entry {
    /// Where it leads.
    pub(super) href: String,
    /// What it is called.
    pub(super) label: String,
    /// Its icon, by the id of its symbol.
    pub(super) icon: &'static str,
    /// Whether this is where we are.
    pub(super) is_current: bool,
}

/// The frame around a signed-in page.
#[derive(Debug)]
pub(super) struct Shell {
    /// What the browser's tab says.
    pub(super) title: String,
    /// Said at the top, once.
    pub(super) flash: Option<String>,
    /// The person's name.
    pub(super) person: String,
    /// The person's email.
    pub(super) email: String,
    /// The token of this session's forms.
    pub(super) csrf: String,
    /// The workspace's name; empty outside of one.
    pub(super) workspace: String,
    /// The workspace's path; empty outside of one.
    pub(super) base: String,
    /// The rail; empty outside of a workspace.
    pub(super) rail: Vec<Entry>,
    /// The person's workspaces.
    pub(super) workspaces: Vec<Entry>,
    /// Whether to warn that passwords travel in the clear.
    pub(super) is_insecure: bool,
}

impl Shell {
    /// The frame of a page in a workspace.
    pub(super) fn new(visitor: &Visitor, section: Section, title: &str, flash: &Flash) -> Self {
        let membership = &visitor.membership;
        let mut shell = Self::outside(&visitor.person, title);
        shell.title = format!("{title} · {}", membership.name);
        shell.flash = flash.text();
        shell.workspace.clone_from(&membership.name);
        shell.base = visitor.base();
        shell.rail = rail(membership, section);
        for entry in &mut shell.workspaces {
            entry.is_current = entry.href == shell.base;
        }
        shell
    }

    /// The frame of a page outside of any workspace.
    pub(super) fn outside(person: &Person, title: &str) -> Self {
        let workspaces = person
            .workspaces
            .iter()
            .map(|membership| Entry {
                href: base(membership),
                label: membership.name.clone(),
                icon: "box",
                is_current: false,
            })
            .collect();
        Self {
            title: title.to_owned(),
            flash: None,
            person: person.user.name.clone(),
            email: person.user.email.clone(),
            csrf: person.form_token.clone(),
            workspace: String::new(),
            base: String::new(),
            rail: Vec::new(),
            workspaces,
            is_insecure: person.desk.settings.exposes_passwords(),
        }
    }

    /// The address of a static file.
    pub(super) fn asset(&self, name: &str) -> String {
        assets::url(name)
    }
}

fn rail(membership: &Membership, section: Section) -> Vec<Entry> {
    let mut sections = vec![
        (Section::Overview, "", "Overview", "gauge"),
        (Section::Events, "/events", "Events", "bolt"),
        (Section::Rejects, "/rejects", "Rejects", "slash"),
        (Section::EventTypes, "/event-types", "Event types", "box"),
        (Section::Profiles, "/profiles", "Profiles", "person"),
        (Section::Funnels, "/funnels", "Funnels", "funnel"),
        (Section::Webhooks, "/webhooks", "Webhooks", "hook"),
        (Section::Deliveries, "/deliveries", "Deliveries", "send"),
    ];
    if membership.role >= Role::Admin {
        sections.push((Section::Sources, "/sources", "Sources", "globe"));
        sections.push((Section::Keys, "/keys", "API keys", "key"));
        sections.push((Section::Settings, "/settings", "Settings", "sliders"));
    }
    let base = base(membership);
    sections
        .into_iter()
        .map(|(entry, path, label, icon)| Entry {
            href: format!("{base}{path}"),
            label: label.to_owned(),
            icon,
            is_current: entry == section,
        })
        .collect()
}

/// The frame of a page that anyone may see.
#[derive(Debug)]
pub(super) struct Door {
    /// What the browser's tab says.
    pub(super) title: &'static str,
    /// Whether to warn that passwords travel in the clear.
    pub(super) is_insecure: bool,
}

impl Door {
    /// The frame of a page with this title.
    pub(super) fn new(settings: &Settings, title: &'static str) -> Self {
        Self {
            title,
            is_insecure: settings.exposes_passwords(),
        }
    }

    /// The address of a static file.
    pub(super) fn asset(&self, name: &str) -> String {
        assets::url(name)
    }
}

/// A moment: relative text, the absolute one beside it; the script puts it in the person's zone.
#[derive(Debug, Clone, Template)]
#[template(path = "parts/time.html")]
pub(super) struct When {
    iso: String,
    absolute: String,
    relative: String,
    is_due: bool,
}

impl HtmlSafe for When {}

impl When {
    /// A moment as seen at `now_ms`.
    pub(super) fn new(at_ms: i64, now_ms: i64) -> Self {
        let iso = rfc3339(at_ms);
        Self {
            absolute: absolute(&iso),
            relative: relative(at_ms, now_ms),
            is_due: false,
            iso,
        }
    }

    /// A moment at which something is to happen: once it is past, it is due.
    pub(super) fn due(at_ms: i64, now_ms: i64) -> Self {
        let mut when = Self::new(at_ms, now_ms);
        when.is_due = true;
        if at_ms <= now_ms {
            DUE_NOW.clone_into(&mut when.relative);
        }
        when
    }

    /// The moment in full, UTC.
    pub(super) fn absolute(&self) -> &str {
        &self.absolute
    }
}

fn absolute(iso: &str) -> String {
    match (iso.get(..10), iso.get(11..19)) {
        (Some(date), Some(time)) => format!("{date} {time} UTC"),
        _ => iso.to_owned(),
    }
}

fn relative(at_ms: i64, now_ms: i64) -> String {
    let distance_s = (now_ms - at_ms).abs() / 1_000;
    let span = match distance_s {
        0..5 => return "now".to_owned(),
        5..60 => format!("{distance_s} s"),
        60..3_600 => format!("{} min", distance_s / 60),
        3_600..86_400 => format!("{} h", distance_s / 3_600),
        _ => format!("{} d", distance_s / 86_400),
    };
    if at_ms > now_ms {
        format!("in {span}")
    } else {
        format!("{span} ago")
    }
}

/// A state: an icon and a word, and a colour that says nothing alone.
#[derive(Debug, Clone, Template)]
#[template(path = "parts/state.html")]
pub(super) struct State {
    class: &'static str,
    icon: &'static str,
    word: &'static str,
}

impl HtmlSafe for State {}

impl State {
    /// Where a delivery stands. One that failed and will be tried again reads "Retrying".
    pub(super) fn of_delivery(state: DeliveryState, attempts: i64) -> Self {
        let (class, icon, word) = match state {
            DeliveryState::Succeeded => ("ok", "check", "Succeeded"),
            DeliveryState::Pending if attempts > 0 => ("warn", "retry", "Retrying"),
            DeliveryState::Pending => ("info", "clock", "Pending"),
            DeliveryState::Failed => ("bad", "cross", "Failed"),
            DeliveryState::Held => ("held", "pause", "Held"),
            DeliveryState::Cancelled => ("held", "slash", "Cancelled"),
        };
        Self { class, icon, word }
    }

    /// How one attempt ended.
    pub(super) fn of_attempt(succeeded: bool) -> Self {
        let state = if succeeded {
            DeliveryState::Succeeded
        } else {
            DeliveryState::Failed
        };
        Self::of_delivery(state, 1)
    }

    /// Where a replay stands.
    pub(super) fn of_replay(state: ReplayState) -> Self {
        let (class, icon, word) = match state {
            ReplayState::Ready => ("info", "clock", "Ready"),
            ReplayState::Running => ("warn", "retry", "Running"),
            ReplayState::Paused => ("held", "pause", "Paused"),
            ReplayState::Done => ("ok", "check", "Done"),
            ReplayState::Cancelled => ("held", "slash", "Cancelled"),
        };
        Self { class, icon, word }
    }

    /// Whether a webhook sends.
    pub(super) fn of_webhook(state: WebhookState) -> Self {
        let (class, icon, word) = match state {
            WebhookState::Active => ("ok", "check", "Active"),
            WebhookState::Paused => ("held", "pause", "Paused"),
            WebhookState::Disabled => ("bad", "cross", "Disabled"),
        };
        Self { class, icon, word }
    }

    /// A webhook that sends, and whose receiver does not answer as it should.
    pub(super) fn failing() -> Self {
        Self {
            class: "warn",
            icon: "warn",
            word: "Failing",
        }
    }

    /// What becomes of events that do not match their type's schema.
    pub(super) fn of_mode(mode: Mode) -> Self {
        let (class, icon, word) = match mode {
            Mode::Observe => ("info", "search", "Observed"),
            Mode::Enforce => ("ok", "check", "Enforced"),
        };
        Self { class, icon, word }
    }

    /// Whether an API key works.
    pub(super) fn of_key(works: bool) -> Self {
        let (class, icon, word) = if works {
            ("ok", "check", "Works")
        } else {
            ("held", "slash", "Revoked")
        };
        Self { class, icon, word }
    }
}

/// An id: shortened in the middle, whole for the copy button and in its title.
#[derive(Debug, Clone, Template)]
#[template(path = "parts/id.html")]
pub(super) struct IdText {
    whole: String,
    short: String,
}

impl HtmlSafe for IdText {}

impl IdText {
    /// An id or any other long word.
    pub(super) fn new(id: impl ToString) -> Self {
        let whole = id.to_string();
        Self {
            short: shorten(&whole),
            whole,
        }
    }
}

fn shorten(text: &str) -> String {
    let count = text.chars().count();
    if count <= ID_HEAD_CHARS + ID_TAIL_CHARS + 3 {
        return text.to_owned();
    }
    let head: String = text.chars().take(ID_HEAD_CHARS).collect();
    let tail: String = text.chars().skip(count - ID_TAIL_CHARS).collect();
    format!("{head}…{tail}")
}

/// Text to copy, with its button.
#[derive(Debug, Clone, Template)]
#[template(path = "parts/copy.html")]
pub(super) struct CopyBlock {
    text: String,
    what: &'static str,
}

impl HtmlSafe for CopyBlock {}

impl CopyBlock {
    /// `text`, which is `what`.
    pub(super) fn new(what: &'static str, text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            what,
        }
    }
}

/// The query's place in a list.
#[derive(Debug, Default, serde::Deserialize)]
pub(super) struct Cursor {
    before: Option<String>,
}

impl Cursor {
    /// The id before which the page begins; what is no id is the beginning.
    pub(super) fn before<T: std::str::FromStr>(&self) -> Option<T> {
        self.before.as_deref()?.parse().ok()
    }
}

/// Takes the row that was read beyond a page away, and says where the next page begins.
pub(super) fn cut_page<T>(rows: &mut Vec<T>, id: impl Fn(&T) -> String) -> Option<String> {
    let has_more = rows.len() > PAGE_ROWS;
    rows.truncate(PAGE_ROWS);
    has_more.then(|| rows.last().map(id)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_read_from_both_sides() {
        for (distance_s, past, future) in [
            (0, "now", "now"),
            (12, "12 s ago", "in 12 s"),
            (3_599, "59 min ago", "in 59 min"),
            (7_200, "2 h ago", "in 2 h"),
            (200_000, "2 d ago", "in 2 d"),
        ] {
            assert_eq!(relative(0, distance_s * 1_000), past);
            assert_eq!(relative(distance_s * 1_000, 0), future);
        }
        assert_eq!(
            absolute("2024-01-01T12:00:00.005Z"),
            "2024-01-01 12:00:00 UTC"
        );
    }

    #[test]
    fn long_ids_lose_their_middle() {
        assert_eq!(shorten("evt_0abcdefghijkl"), "evt_0abc…ijkl");
        assert_eq!(shorten("user_1"), "user_1");
        assert_eq!(shorten(&"ü".repeat(30)).chars().count(), 13);
    }

    #[test]
    fn parts_are_escaped() {
        let html = IdText::new("<b>").to_string();
        assert!(!html.contains("<b>"), "{html}");
    }

    #[test]
    fn a_page_says_where_the_next_begins() {
        let mut rows: Vec<usize> = (0..=PAGE_ROWS).collect();
        assert_eq!(
            cut_page(&mut rows, ToString::to_string),
            Some("49".to_owned())
        );
        assert_eq!(cut_page(&mut rows, ToString::to_string), None);
    }
}
