//! Deliveries: what left. The list with its filter, and what is done with several of them at once.

use super::answer::{Page, page, see_other};
use super::flash::{self, Flash, Said};
use super::format::{duration, number};
use super::forms::{Form, Refusals};
use super::history_filter::{FIELDS, HistoryFilter};
use super::session::Visitor;
use super::view::{Cursor, PAGE_ROWS, Section, Shell, State, When, cut_page};
use crate::access::Role;
use crate::deliver::AttemptRequests;
use crate::delivery::{DeliveryState, ErrorClass, Origin};
use crate::error::{Error, Result};
use crate::id::{DeliveryId, WebhookId};
use crate::manage;
use crate::replay::{DEFAULT_RATE, MAX_CHOSEN, MAX_RATE};
use crate::store::history::{self, DeliveryRow};
use crate::store::matching::{self, Order};
use crate::store::webhooks;
use actix_web::web;
use askama::Template;
use std::collections::BTreeMap;

/// Deliveries that one page looks at, where no index says which match.
const LOOK_AT: usize = 5_000;

/// A delivery in a list.
pub(super) struct DeliveryLine {
    /// Its id.
    id: String,
    /// Where it leads.
    pub(super) href: String,
    /// The event type.
    pub(super) event_type: String,
    /// The webhook's name.
    pub(super) webhook: String,
    /// Where it stands.
    pub(super) state: State,
    /// The last answer, or why there was none.
    pub(super) outcome: String,
    /// Attempts made.
    pub(super) attempts: String,
    /// How long the last one took.
    took: String,
    /// When the next one is due.
    pub(super) next: Option<When>,
    /// When the event came.
    pub(super) when: When,
}

impl DeliveryLine {
    /// The line of a row.
    pub(super) fn new(row: DeliveryRow, base: &str, now_ms: i64) -> Self {
        Self {
            href: format!("{base}/deliveries/{}", row.id),
            id: row.id.to_string(),
            state: state(&row),
            took: row.last_duration_us.map(duration).unwrap_or_default(),
            outcome: outcome(row.last_status, row.last_error),
            attempts: number(row.attempts),
            next: row.next_attempt_at_ms.map(|at| When::due(at, now_ms)),
            when: When::new(row.id.unix_ms(), now_ms),
            event_type: row.event_type,
            webhook: row.webhook_name,
        }
    }
}

/// Where a delivery stands. A test that is on its way has not failed yet.
pub(super) fn state(row: &DeliveryRow) -> State {
    if row.origin == Some(Origin::Test) && row.attempts == 0 {
        State::of_delivery(DeliveryState::Pending, 0)
    } else {
        State::of_delivery(row.state, row.attempts)
    }
}

/// The last answer, or why there was none.
pub(super) fn outcome(status: Option<u16>, error: Option<ErrorClass>) -> String {
    match (status, error) {
        (Some(status), _) => status.to_string(),
        (None, Some(class)) => class.as_str().replace('_', " "),
        (None, None) => String::new(),
    }
}

/// A condition that the list is narrowed by, and the list without it.
struct Chip {
    text: String,
    href: String,
}

/// An entry of a list to choose from.
struct Choice {
    value: String,
    label: String,
    is_chosen: bool,
}

#[derive(Template)]
#[template(path = "deliveries.html")]
struct List {
    shell: Shell,
    filter: HistoryFilter,
    refusals: Refusals,
    states: Vec<Choice>,
    webhooks: Vec<Choice>,
    chips: Vec<Chip>,
    query: String,
    rows: Vec<DeliveryLine>,
    is_first: bool,
    next: Option<String>,
    /// How many were looked at, where there may be more that match behind them.
    looked_at: Option<String>,
    may_change: bool,
    rate: u32,
    max_rate: u32,
}

/// The newest deliveries that the filter lets through.
pub(super) async fn list(
    visitor: Visitor,
    filter: web::Query<HistoryFilter>,
    cursor: web::Query<Cursor>,
    flash: web::Query<Flash>,
) -> Page {
    let filter = filter.into_inner();
    let (workspace, now_ms) = (visitor.membership.workspace, visitor.desk().now_ms);
    let before: Option<DeliveryId> = cursor.before();
    let (selection, refusals) = match filter.selection_or_refusals(now_ms)? {
        Ok(selection) => (Some(selection), Refusals::default()),
        Err(refusals) => (None, refusals),
    };
    let (rows, names, found) = visitor
        .desk()
        .read(move |connection| {
            let names = webhooks::names(connection, workspace)?;
            let Some(mut selection) = selection else {
                return Ok((Vec::new(), names, None));
            };
            selection.before = selection.before.min(before.unwrap_or(selection.before));
            let (order, wanted) = (Order::NewestFirst, PAGE_ROWS + 1);
            let found = matching::find(connection, workspace, &selection, order, wanted, LOOK_AT)?;
            let ids: Vec<_> = found.matching.iter().map(|found| found.id).collect();
            let rows = history::of_ids(connection, workspace, &ids)?;
            Ok((rows, names, Some(found)))
        })
        .await?;
    let mut rows = rows;
    let mut next = cut_page(&mut rows, |row| row.id.to_string());
    let ran_out = found.filter(|_| next.is_none());
    let ran_out = ran_out.and_then(|found| Some((found.goes_on_after?, found.looked_at)));
    if let Some((last, _)) = ran_out {
        next = Some(last.to_string());
    }
    let base = visitor.base();
    let mut choices = vec![choice("", "All webhooks", &filter.webhook)];
    choices.extend(
        names
            .iter()
            .map(|known| choice(&known.id.to_string(), &known.name, &filter.webhook)),
    );
    let chips = chips(&filter, &choices, &base);
    let status = refusals.status();
    let list = List {
        shell: Shell::new(&visitor, Section::Deliveries, "Deliveries", &flash),
        refusals,
        states: states(&filter),
        webhooks: choices,
        chips,
        query: filter.query(""),
        rows: lines(&visitor, rows),
        is_first: before.is_none(),
        next,
        looked_at: ran_out
            .map(|(_, looked_at)| number(i64::try_from(looked_at).unwrap_or(i64::MAX))),
        may_change: visitor.is_at_least(Role::Member),
        rate: DEFAULT_RATE,
        max_rate: MAX_RATE,
        filter,
    };
    page(status, &list)
}

/// The rows, with how many of their schedules' attempts are made.
fn lines(visitor: &Visitor, rows: Vec<DeliveryRow>) -> Vec<DeliveryLine> {
    let (base, now_ms) = (visitor.base(), visitor.desk().now_ms);
    let catalog = visitor.desk().catalog.current();
    rows.into_iter()
        .map(|row| {
            let own = catalog.webhook(row.webhook).and_then(|webhook| {
                let schedule = webhook.settings.schedule.as_ref()?;
                Some(schedule.attempts())
            });
            let of = own.unwrap_or(visitor.desk().settings.attempts);
            let made = row.attempts;
            let mut line = DeliveryLine::new(row, &base, now_ms);
            line.attempts = format!("{}/{of}", number(made));
            line
        })
        .collect()
}

fn choice(value: &str, label: &str, chosen: &str) -> Choice {
    Choice {
        value: value.to_owned(),
        label: label.to_owned(),
        is_chosen: value == chosen.trim(),
    }
}

fn states(filter: &HistoryFilter) -> Vec<Choice> {
    [
        ("", "All states"),
        ("pending", "Pending or retrying"),
        ("succeeded", "Succeeded"),
        ("failed", "Failed"),
        ("held", "Held"),
        ("cancelled", "Cancelled"),
    ]
    .map(|(value, label)| choice(value, label, &filter.state))
    .into()
}

fn chips(filter: &HistoryFilter, webhooks: &[Choice], base: &str) -> Vec<Chip> {
    let text = |field: &str, value: &str| match field {
        "state" => format!("State: {value}"),
        "webhook" => {
            let known = webhooks.iter().find(|choice| choice.value == value);
            format!("Webhook: {}", known.map_or(value, |choice| &choice.label))
        }
        "type" => format!("Event type: {value}"),
        "from" => format!("From: {value}"),
        _ => format!("To: {value}"),
    };
    filter
        .pairs()
        .into_iter()
        .map(|(field, value)| Chip {
            text: text(field, value),
            href: format!("{base}/deliveries?{}", filter.query(field)),
        })
        .collect()
}

/// Cancels the deliveries that were chosen, or makes a replay of them.
pub(super) async fn act(
    visitor: Visitor,
    attempts: web::Data<AttemptRequests>,
    form: Form,
) -> Page {
    visitor.must_be(Role::Member)?;
    let mut allowed = FIELDS.to_vec();
    allowed.extend(["do", "delivery"]);
    let fields = form.open_signed(&visitor.person.form_token, &allowed)?;
    let chosen = chosen(&fields.all("delivery"))?;
    let workspace = visitor.membership.workspace;
    if fields.one("do") != "cancel" {
        let replay = visitor
            .desk()
            .change(visitor.user(), move |connection, actor| {
                manage::create_replay_of(connection, actor, workspace, &chosen, DEFAULT_RATE)
            })
            .await?;
        return Ok(see_other(&format!("{}/replays/{replay}", visitor.base())));
    }
    let cancelled = visitor
        .desk()
        .change(visitor.user(), move |connection, actor| {
            manage::cancel_deliveries(connection, actor, workspace, &chosen)
        })
        .await?;
    let count = cancelled.len();
    forget(&attempts, cancelled).await;
    let list = flash::to(
        &format!("{}/deliveries", visitor.base()),
        Said::Cancelled,
        count,
    );
    // The list that they were chosen in.
    Ok(see_other(&match &*HistoryFilter::of(&fields).query("") {
        "" => list,
        query => format!("{list}&{query}"),
    }))
}

fn chosen(texts: &[String]) -> Result<Vec<DeliveryId>> {
    if texts.is_empty() || texts.len() > MAX_CHOSEN {
        let detail =
            format!("Choose at least one delivery in the list, and at most {MAX_CHOSEN} at once.");
        return Err(Error::field("/delivery", "required", detail));
    }
    texts
        .iter()
        .map(|text| text.parse().map_err(|_| Error::not_found("delivery")))
        .collect()
}

/// Has the dispatcher forget what was cancelled.
pub(super) async fn forget(attempts: &AttemptRequests, cancelled: Vec<(WebhookId, DeliveryId)>) {
    let mut by_webhook: BTreeMap<i64, Vec<DeliveryId>> = BTreeMap::new();
    for (webhook, delivery) in cancelled {
        by_webhook
            .entry(webhook.as_i64())
            .or_default()
            .push(delivery);
    }
    for (webhook, deliveries) in by_webhook {
        attempts
            .forget(WebhookId::from_i64(webhook), deliveries)
            .await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_is_a_status_or_a_reason() {
        assert_eq!(outcome(Some(503), Some(ErrorClass::Http5xx)), "503");
        assert_eq!(
            outcome(None, Some(ErrorClass::ConnectRefused)),
            "connect refused"
        );
        assert_eq!(outcome(None, None), "");
    }
}
