//! MANAGE: every change that a person makes, once for the pages and the command line. Each function
//! checks, writes, leaves its audit entry and tells the webhooks that want to know, inside the caller's
//! transaction. Knows no HTTP.

mod actor;
mod event_types;
mod notices;
mod people;
mod profiles;
mod senders;
mod webhooks;

pub use actor::Actor;
pub use event_types::{declare_event_type, remove_event_type};
pub use people::{NewUser, add_member, create_user, create_workspace, rename_workspace};
pub use profiles::{FunnelInput, MAX_FUNNELS, save_funnel, set_mau_limit, undo_merge};
pub use senders::{
    CreatedApiKey, CreatedSource, SourceInput, create_api_key, create_source, edit_source,
    revoke_api_key, rotate_identity_secret, set_stripe_secret,
};
pub use webhooks::{
    CreatedWebhook, Held, activate_webhook, create_webhook, delete_webhook, edit_webhook,
    end_overlap, note_retry, note_reveal, pause_webhook, rotate_key,
};
