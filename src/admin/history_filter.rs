//! The filter of the history of deliveries: what a query or a form says, as a selection, and as a query again.

use super::forms::{Fields, Refusals};
use crate::delivery::DeliveryState;
use crate::error::{Error, FieldError, Result};
use crate::id::DeliveryId;
use crate::replay::{Selection, moment};
use serde::Deserialize;

/// The fields of the filter, as its forms name them.
pub(super) const FIELDS: [&str; 5] = ["state", "webhook", "type", "from", "to"];

/// What is asked for; empty is all.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct HistoryFilter {
    /// A state's word.
    #[serde(default)]
    pub(super) state: String,
    /// A webhook's id.
    #[serde(default)]
    pub(super) webhook: String,
    /// A pattern of event types.
    #[serde(default, rename = "type")]
    pub(super) event_type: String,
    /// From this moment on.
    #[serde(default)]
    pub(super) from: String,
    /// Up to this moment.
    #[serde(default)]
    pub(super) to: String,
}

impl HistoryFilter {
    /// What a form says.
    pub(super) fn of(fields: &Fields) -> Self {
        let one = |name| fields.one(name).to_owned();
        Self {
            state: one("state"),
            webhook: one("webhook"),
            event_type: one("type"),
            from: one("from"),
            to: one("to"),
        }
    }

    /// Names and values of what is asked for.
    pub(super) fn pairs(&self) -> Vec<(&'static str, &str)> {
        let values = [
            &self.state,
            &self.webhook,
            &self.event_type,
            &self.from,
            &self.to,
        ];
        FIELDS
            .into_iter()
            .zip(values.map(|value| value.trim()))
            .filter(|(_, value)| !value.is_empty())
            .collect()
    }

    /// The query that asks for the same, less the field `without`.
    pub(super) fn query(&self, without: &str) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(self.pairs().iter().filter(|(name, _)| *name != without));
        query.finish()
    }

    /// The deliveries that are meant.
    ///
    /// # Errors
    /// Names every field that cannot be understood.
    pub(super) fn selection(&self, now_ms: i64) -> Result<Selection> {
        let mut selection = Selection::default();
        let mut refused: Vec<FieldError> = Vec::new();
        let mut refuse = |e: Error| refused.extend(e.field_errors().to_vec());
        for (field, value) in self.pairs() {
            let read = match field {
                "state" => DeliveryState::parse(value)
                    .map(|state| selection.state = Some(state))
                    .ok_or_else(|| {
                        let detail = "Choose pending, succeeded, failed, held or cancelled.";
                        Error::field("/state", "invalid_state", detail)
                    }),
                "webhook" => value
                    .parse()
                    .map(|webhook| selection.webhook = Some(webhook))
                    .map_err(|_| {
                        let detail = "Choose one of the webhooks, or give its id (whk_…).";
                        Error::field("/webhook", "invalid_webhook", detail)
                    }),
                "type" => value
                    .parse()
                    .map(|pattern| selection.event_type = Some(pattern))
                    .map_err(|why: Error| {
                        let detail = why.field_errors().first().map(|field| field.detail.clone());
                        Error::field("/type", "invalid_pattern", detail.unwrap_or_default())
                    }),
                "from" => moment("from", value, now_ms).map(|ms| {
                    let first = DeliveryId::first_at(ms).as_i64();
                    selection.after = DeliveryId::from_i64(first - 1);
                }),
                _ => moment("to", value, now_ms)
                    .map(|ms| selection.before = DeliveryId::first_at(ms.saturating_add(1))),
            };
            if let Err(e) = read {
                refuse(e);
            }
        }
        if refused.is_empty() {
            Ok(selection)
        } else {
            Err(Error::fields(refused))
        }
    }

    /// The deliveries that are meant, or what is wrong with the filter.
    ///
    /// # Errors
    /// Hands back an error that is not about fields.
    pub(super) fn selection_or_refusals(
        &self,
        now_ms: i64,
    ) -> Result<std::result::Result<Selection, Refusals>> {
        match self.selection(now_ms) {
            Ok(selection) => Ok(Ok(selection)),
            Err(e) => Ok(Err(Refusals::of(e)?)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 1_764_060_000_000;

    #[test]
    fn a_filter_reads_back_as_its_query() {
        let filter = HistoryFilter {
            state: "failed".to_owned(),
            event_type: "order.* &".to_owned(),
            ..HistoryFilter::default()
        };
        assert_eq!(filter.query(""), "state=failed&type=order.*+%26");
        assert_eq!(filter.query("type"), "state=failed");
        let read: HistoryFilter =
            actix_web::web::Query::<HistoryFilter>::from_query(&filter.query(""))
                .unwrap()
                .into_inner();
        assert_eq!(read.pairs(), filter.pairs());
    }

    #[test]
    fn what_cannot_be_understood_is_named() {
        let wrong = |text: &str| HistoryFilter {
            state: text.to_owned(),
            webhook: text.to_owned(),
            from: text.to_owned(),
            to: text.to_owned(),
            ..HistoryFilter::default()
        };
        let error = wrong("x").selection(NOW_MS).unwrap_err();
        let pointers: Vec<_> = error
            .field_errors()
            .iter()
            .map(|field| &*field.pointer)
            .collect();
        assert_eq!(pointers, ["/state", "/webhook", "/from", "/to"]);
        assert!(wrong(" ").selection(NOW_MS).unwrap().is_everything());
    }

    #[test]
    fn a_span_of_time_is_a_span_of_ids() {
        let filter = HistoryFilter {
            from: "2h".to_owned(),
            to: "1h".to_owned(),
            ..HistoryFilter::default()
        };
        let selection = filter.selection(NOW_MS).unwrap();
        let first = DeliveryId::first_at(NOW_MS - 7_200_000);
        let after = DeliveryId::first_at(NOW_MS - 3_600_000 + 1);
        assert!(selection.after < first && selection.before == after);
    }
}
