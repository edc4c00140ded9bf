//! What people say of a webhook, every rule applied: the words and their types.

use super::filter::Filter;
use super::headers::CustomHeader;
use super::pattern::Pattern;
use super::target::Credentials;
use crate::delivery::RetrySchedule;
use crate::error::Result;
use crate::secret::WebhookSecret;
use crate::signature::{self, Signer};
use std::sync::Arc;
use url::Url;

/// Whether a webhook sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebhookState {
    /// It sends.
    Active,
    /// A person stopped it; what it is owed is held.
    Paused,
    /// The box stopped it and says why; what it is owed is held.
    Disabled,
}

impl WebhookState {
    /// The word in the file and on pages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Paused => "paused",
            Self::Disabled => "disabled",
        }
    }

    /// The state of that name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Active, Self::Paused, Self::Disabled]
            .into_iter()
            .find(|state| state.as_str() == text)
    }
}

/// The shape of the body that a webhook receives (webhooks.md, "On the wire").
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Format {
    /// `{"type","timestamp","data"}`, as Standard Webhooks suggests.
    #[default]
    Standard,
    /// `{"event","version","time", …}`, as Jimo's own webhooks have it.
    Jimo,
    /// CloudEvents 1.0, structured.
    CloudEvents,
}

impl Format {
    /// Every format there is.
    pub const ALL: [Self; 3] = [Self::Standard, Self::Jimo, Self::CloudEvents];

    /// The word in the file, in flags and on pages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Jimo => "jimo",
            Self::CloudEvents => "cloudevents",
        }
    }

    /// The format of that name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.as_str() == text)
    }
}

/// How a webhook's requests are signed (webhooks.md, "On the wire").
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Signing {
    /// `v1`: HMAC-SHA256 with a secret that both sides know.
    #[default]
    Hmac,
    /// `v1a`: Ed25519; the receiver knows the public key only.
    Ed25519,
}

impl Signing {
    /// Every way there is.
    pub const ALL: [Self; 2] = [Self::Hmac, Self::Ed25519];

    /// The word in the file and in forms.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hmac => "hmac",
            Self::Ed25519 => "ed25519",
        }
    }

    /// The way of that name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|signing| signing.as_str() == text)
    }
}

/// What requests are signed with.
#[derive(Debug, Clone)]
pub struct SigningKey {
    /// How.
    pub signing: Signing,
    /// The HMAC's key, or the seed of the Ed25519 key pair: 32 random bytes.
    pub secret: WebhookSecret,
}

impl SigningKey {
    /// What signs with it.
    ///
    /// # Errors
    /// When it is no key of its kind, which only a damaged file can bring about.
    pub fn signer(&self) -> Result<Signer> {
        match self.signing {
            Signing::Hmac => Signer::hmac(self.secret.as_bytes()),
            Signing::Ed25519 => Signer::ed25519(self.secret.as_bytes()),
        }
    }

    /// What the receiver verifies with, as people copy it: the secret itself (`whsec_…`), or the public key
    /// (`whpk_…`), from which nobody can sign.
    ///
    /// # Errors
    /// As [`SigningKey::signer`].
    pub fn reveal(&self) -> Result<String> {
        match self.signing {
            Signing::Hmac => Ok(self.secret.reveal()),
            Signing::Ed25519 => signature::public_key(self.secret.as_bytes()),
        }
    }
}

/// The key before the last one, which signs as well for a while, so that receivers can change over.
#[derive(Debug, Clone)]
pub struct RetiredKey {
    /// The key.
    pub key: SigningKey,
    /// Until when it signs, Unix milliseconds.
    pub until_ms: i64,
}

/// What people say of a webhook, every rule applied.
#[derive(Debug, Clone)]
pub struct WebhookSettings {
    /// What people call it.
    pub name: Box<str>,
    /// Where it sends; without credentials.
    pub url: Url,
    /// For HTTP basic authentication.
    pub credentials: Option<Credentials>,
    /// The shape of its bodies.
    pub format: Format,
    /// Which event types it wants; at least one.
    pub patterns: Vec<Pattern>,
    /// What must hold of an event, too.
    pub filters: Vec<Filter>,
    /// What goes with each request.
    pub headers: Vec<CustomHeader>,
    /// When failed deliveries are tried again; `None` is as the box says.
    pub schedule: Option<Arc<RetrySchedule>>,
    /// Attempts on their way to it at once; `None` is as the box says.
    pub concurrency: Option<u32>,
    /// Attempts a second, at most.
    pub rate: Option<u32>,
    /// Whether it gets one delivery at a time, in the order of the events.
    pub is_ordered: bool,
}
