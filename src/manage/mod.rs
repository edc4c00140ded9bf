//! MANAGE: every change that a person makes, once for the pages and the command line. Each function
//! checks, writes and leaves its audit entry inside the caller's transaction. Knows no HTTP.

mod actor;
mod event_types;
mod people;
mod senders;
mod webhooks;

pub use actor::Actor;
pub use event_types::{declare_event_type, remove_event_type};
pub use people::{NewUser, add_member, create_user, create_workspace, rename_workspace};
pub use senders::{CreatedApiKey, CreatedSource, create_api_key, create_source, revoke_api_key};
pub use webhooks::{
    CreatedWebhook, Held, WebhookInput, activate_webhook, create_webhook, delete_webhook,
    edit_webhook, note_retry, pause_webhook,
};
