//! What stands in the form of a webhook: read from what was posted, and laid out in rows again, with what is
//! wrong at each. Which of it is right is the webhook's own rule.

use super::forms::{Fields, Refusals};
use super::webhook_catalog::BLANK_ROWS;
use crate::error::FieldError;
use crate::webhook::{Format, KEPT, Signing, WebhookInput};

/// The fields of the form of a new webhook. `check` is its second button.
pub(super) const NEW_FIELDS: [&str; 13] = [
    "name",
    "url",
    "event",
    "format",
    "filter",
    "header_name",
    "header_value",
    "schedule",
    "concurrency",
    "rate",
    "ordered",
    "check",
    "signing",
];

/// The fields of the form of a known one: how it signs is changed elsewhere.
pub(super) const KNOWN_FIELDS: [&str; 14] = [
    "name",
    "url",
    "event",
    "format",
    "filter",
    "header_name",
    "header_value",
    "schedule",
    "concurrency",
    "rate",
    "ordered",
    "check",
    "drop_credentials",
    "as_of",
];

/// When what the form was made from had been changed last, Unix milliseconds, as the form says it; `None` where
/// it says nothing. What is no time is none that ever was.
pub(super) fn as_of(fields: &Fields) -> Option<i64> {
    match fields.one("as_of") {
        "" => None,
        text => Some(text.parse().unwrap_or(i64::MIN)),
    }
}

/// What stands in the form.
#[derive(Debug, Clone, Default)]
pub(super) struct Draft {
    /// What is said of the webhook.
    pub(super) input: WebhookInput,
    /// How it is to sign; asked of a new one only.
    pub(super) signing: Signing,
    /// When the webhook had been changed last that the form was made from; asked of a known one only.
    pub(super) as_of: Option<i64>,
    /// Choices that are none of those offered.
    pub(super) wrong: Vec<FieldError>,
}

impl Draft {
    /// What was posted.
    pub(super) fn read(fields: &Fields) -> Self {
        let mut wrong = Vec::new();
        let format = chosen(fields, "format", Format::parse, &mut wrong);
        let signing = chosen(fields, "signing", Signing::parse, &mut wrong);
        let (names, values) = (fields.all("header_name"), fields.all("header_value"));
        let text = |texts: &[String], at: usize| texts.get(at).cloned().unwrap_or_default();
        let headers = 0..names.len().max(values.len());
        let input = WebhookInput {
            name: fields.one("name").to_owned(),
            url: fields.one("url").to_owned(),
            events: fields.all("event"),
            format,
            filters: fields.all("filter"),
            headers: headers
                .map(|at| (text(&names, at), text(&values, at)))
                .collect(),
            schedule: fields.one("schedule").to_owned(),
            concurrency: fields.one("concurrency").to_owned(),
            rate: fields.one("rate").to_owned(),
            is_ordered: fields.has("ordered"),
            drops_credentials: fields.has("drop_credentials"),
        };
        Self {
            input,
            signing,
            as_of: as_of(fields),
            wrong,
        }
    }

    /// Whether one of the settings that few need is set.
    pub(super) fn has_advanced(&self) -> bool {
        let input = &self.input;
        let is_blank = |text: &String| text.trim().is_empty();
        let is_blank_pair = |(name, value): &(String, String)| is_blank(name) && is_blank(value);
        !(input.filters.iter().all(is_blank)
            && input.headers.iter().all(is_blank_pair)
            && [&input.schedule, &input.concurrency, &input.rate]
                .into_iter()
                .all(is_blank)
            && !input.is_ordered)
    }
}

/// The choice of a field; what is missing is the usual one.
fn chosen<T: Default>(
    fields: &Fields,
    name: &str,
    parse: impl Fn(&str) -> Option<T>,
    wrong: &mut Vec<FieldError>,
) -> T {
    let word = fields.one(name);
    match parse(word) {
        Some(choice) => choice,
        None => {
            if !word.is_empty() {
                wrong.push(FieldError {
                    pointer: format!("/{name}"),
                    code: "unknown_choice",
                    detail: "This is none of the choices; choose one of those below.".to_owned(),
                });
            }
            T::default()
        }
    }
}

/// One of several inputs of a kind, with what is wrong with it.
pub(super) struct Row {
    /// What stands in it; a header's name.
    pub(super) text: String,
    /// A header's value.
    pub(super) value: String,
    /// What is wrong.
    pub(super) problem: Option<String>,
    /// The id of what says so.
    pub(super) problem_id: String,
}

/// The rows of `kind`, each with what is wrong at its place, and blank ones behind them.
fn rows(
    kind: &str,
    texts: impl Iterator<Item = (String, String)>,
    refusals: &Refusals,
) -> Vec<Row> {
    let mut rows: Vec<Row> = texts
        .enumerate()
        .map(|(place, (text, value))| Row {
            text,
            value,
            problem: refusals
                .of_field(&format!("{kind}/{place}"))
                .map(str::to_owned),
            problem_id: format!("{kind}-{place}-problem"),
        })
        .collect();
    rows.retain(|row| {
        row.problem.is_some() || !(row.text.trim().is_empty() && row.value.trim().is_empty())
    });
    rows.extend((0..BLANK_ROWS).map(|_| Row {
        text: String::new(),
        value: String::new(),
        problem: None,
        problem_id: String::new(),
    }));
    rows
}

/// The rows of filters.
pub(super) fn filter_rows(input: &WebhookInput, refusals: &Refusals) -> Vec<Row> {
    let texts = input
        .filters
        .iter()
        .map(|text| (text.clone(), String::new()));
    rows("filter", texts, refusals)
}

/// The rows of headers.
pub(super) fn header_rows(input: &WebhookInput, refusals: &Refusals) -> Vec<Row> {
    rows("header", input.headers.iter().cloned(), refusals)
}

/// Whether a value stands in the form that is kept and not shown.
pub(super) fn keeps_values(input: &WebhookInput) -> bool {
    input.headers.iter().any(|(_, value)| value.trim() == KEPT)
}

/// Something to choose, with what it means.
pub(super) struct Alternative {
    /// What is sent.
    pub(super) value: &'static str,
    /// What it is called.
    pub(super) title: &'static str,
    /// What it means.
    pub(super) about: &'static str,
    /// Whether it is chosen.
    pub(super) is_chosen: bool,
}

/// The formats.
pub(super) fn formats(chosen: Format) -> Vec<Alternative> {
    Format::ALL
        .into_iter()
        .map(|format| {
            let (title, about) = format_words(format);
            Alternative {
                value: format.as_str(),
                title,
                about,
                is_chosen: format == chosen,
            }
        })
        .collect()
}

/// What a format is called, and what it looks like.
pub(super) fn format_words(format: Format) -> (&'static str, &'static str) {
    match format.as_str() {
        "jimo" => (
            "Jimo",
            "{\"event\", \"version\", \"time\", …}, as Jimo’s own webhooks send it",
        ),
        "cloudevents" => (
            "CloudEvents",
            "CloudEvents 1.0, structured: {\"specversion\", \"id\", \"source\", \"type\", \"data\"}",
        ),
        _ => (
            "Standard",
            "{\"type\", \"timestamp\", \"data\"}, as Standard Webhooks suggests",
        ),
    }
}

/// The ways to sign.
pub(super) fn signings(chosen: Signing) -> Vec<Alternative> {
    Signing::ALL
        .into_iter()
        .map(|signing| {
            let (title, about) = signing_words(signing);
            Alternative {
                value: signing.as_str(),
                title,
                about,
                is_chosen: signing == chosen,
            }
        })
        .collect()
}

/// What a way to sign is called, and when to take it.
pub(super) fn signing_words(signing: Signing) -> (&'static str, &'static str) {
    match signing {
        Signing::Hmac => (
            "HMAC-SHA256",
            "a secret that box and receiver share; every library of Standard Webhooks verifies it",
        ),
        Signing::Ed25519 => (
            "Ed25519",
            "the receiver knows a public key only, with which nobody can sign",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    fn refusals(pointer: &str) -> Refusals {
        Refusals::of(Error::field(pointer.to_owned(), "x", "This is wrong.")).unwrap()
    }

    #[test]
    fn what_is_wrong_stands_at_its_row() {
        let input = WebhookInput {
            filters: ["", "plan", "a = 1"].map(str::to_owned).to_vec(),
            ..WebhookInput::default()
        };
        let found: Vec<_> = filter_rows(&input, &refusals("/filter/1"))
            .into_iter()
            .map(|row| (row.text, row.problem.is_some()))
            .collect();
        let row = |text: &str, is_wrong| (text.to_owned(), is_wrong);
        let wanted = [
            row("plan", true),
            row("a = 1", false),
            row("", false),
            row("", false),
        ];
        assert_eq!(found, wanted);
    }

    #[test]
    fn what_few_need_is_folded_until_it_is_set() {
        let mut draft = Draft::default();
        draft.input.filters = vec![" ".to_owned()];
        draft.input.headers = vec![(String::new(), String::new())];
        assert!(!draft.has_advanced());
        draft.input.rate = "5".to_owned();
        assert!(draft.has_advanced());
    }
}
