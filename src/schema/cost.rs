//! What a check by a schema costs: the weight of the schema times the size of what is checked, within what one
//! event and one request may take. Pure.

use serde_json::Value;

/// Checking one event costs at most this much. A unit is some nanoseconds.
const MAX_COST: u64 = 5_000_000;
/// Checking all events of one request costs at most this much.
const MAX_REQUEST_COST: u64 = 5 * MAX_COST;
/// So many bytes of text cost what a value costs.
const BYTES_A_UNIT: u64 = 16;

/// What checking a value costs for what is in the schema.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Weight {
    /// For each value that is checked.
    pub(super) values: u64,
    /// For each value, where all that does not match is collected: what is nested is looked at again for
    /// everything around it.
    pub(super) details: u64,
    /// For each byte of text.
    pub(super) bytes: u64,
}

/// How much may be checked yet because of one request.
#[derive(Debug)]
pub struct Budget {
    left: u64,
}

impl Budget {
    /// What one request may cost.
    pub fn of_request() -> Self {
        Self {
            left: MAX_REQUEST_COST,
        }
    }

    /// Takes `cost`, where it is there and no more than one event's share.
    pub(super) fn spend(&mut self, cost: u64) -> bool {
        let left = self.left.checked_sub(cost).filter(|_| cost <= MAX_COST);
        self.left = left.unwrap_or(self.left);
        left.is_some()
    }
}

/// How much there is to check.
#[derive(Debug, Default)]
pub(super) struct Size {
    pub(super) values: u64,
    pub(super) bytes: u64,
}

impl Size {
    /// Counts `value` and what is in it. Reading JSON has bounded how deep that goes.
    pub(super) fn add(&mut self, value: &Value) {
        self.values += 1;
        match value {
            Value::String(text) => self.add_text(text),
            Value::Array(items) => items.iter().for_each(|item| self.add(item)),
            Value::Object(members) => {
                for (name, value) in members {
                    // A name is checked like a value.
                    self.values += 1;
                    self.add_text(name);
                    self.add(value);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn add_text(&mut self, text: &str) {
        self.bytes = self
            .bytes
            .saturating_add(u64::try_from(text.len()).unwrap_or(u64::MAX));
    }

    /// What it costs where a value costs `values` and a byte of text `bytes`.
    pub(super) fn cost(&self, values: u64, bytes: u64) -> u64 {
        let plain = self.values.saturating_add(self.bytes / BYTES_A_UNIT);
        let scans = self.bytes.saturating_mul(bytes);
        plain.saturating_mul(values).saturating_add(scans)
    }
}
