//! The webhook's rules: which event types it wants, where and how it sends, how it is signed. Pure: where
//! an address may not be dialled is `address.rs`, dialling is `deliver`.

mod filter;
mod headers;
mod input;
mod pattern;
mod rotation;
mod settings;
mod target;

pub use filter::{Filter, MAX_FILTERS};
pub use headers::{CustomHeader, MAX_HEADERS, is_secret_header};
pub use input::{KEPT, MAX_CONCURRENCY, MAX_RATE, WebhookInput};
pub use pattern::{MAX_PATTERNS, Pattern};
pub use rotation::{DEFAULT_OVERLAP_HOURS, MAX_OVERLAP_HOURS, check_overlap};
pub use settings::{Format, RetiredKey, Signing, SigningKey, WebhookSettings, WebhookState};
pub use target::{Credentials, MAX_URL_BYTES, must_be_https};

use crate::id::{WebhookId, WorkspaceId};

/// A webhook as the box works with it.
#[derive(Debug, Clone)]
pub struct Webhook {
    /// Its id.
    pub id: WebhookId,
    /// The tenant.
    pub workspace: WorkspaceId,
    /// Whether it sends.
    pub state: WebhookState,
    /// When its state or its settings were changed last, Unix milliseconds.
    pub changed_at_ms: i64,
    /// What people say of it.
    pub settings: WebhookSettings,
    /// What it signs with.
    pub key: SigningKey,
    /// What it signs with as well.
    pub retired_key: Option<RetiredKey>,
}

impl Webhook {
    /// Whether events of this type are for this webhook, if its filters agree.
    pub fn wants(&self, event_type: &str) -> bool {
        self.settings
            .patterns
            .iter()
            .any(|pattern| pattern.matches(event_type))
    }

    /// Whether what is to be sent passes its filters; `data` is made only where there are any.
    pub fn lets_pass<'d>(&self, data: impl FnOnce() -> Option<&'d serde_json::Value>) -> bool {
        let filters = &self.settings.filters;
        filters.is_empty()
            || data().is_some_and(|data| filters.iter().all(|filter| filter.matches(data)))
    }
}
