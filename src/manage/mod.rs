//! MANAGE: every change that a person makes, once for the pages and the command line. Each function
//! checks, writes, leaves its audit entry and tells the webhooks that want to know, inside the caller's
//! transaction. Knows no HTTP.

mod actor;
mod deliveries;
mod event_types;
mod expunge;
mod notices;
mod people;
mod profiles;
mod replays;
mod resend;
mod senders;
mod testing;
mod webhooks;

pub use actor::Actor;
pub use deliveries::{cancel_deliveries, note_retry};
pub use event_types::{declare_event_type, remove_event_type};
pub use expunge::{EXPUNGE_WORD, expunge_delivery, expunge_event};
pub use people::{NewUser, add_member, create_user, create_workspace, rename_workspace};
pub use profiles::{FunnelInput, MAX_FUNNELS, save_funnel, set_mau_limit, undo_merge};
pub use replays::{
    Estimate, cancel_replay, create_replay, create_replay_of, estimate, pause_replay, start_replay,
};
pub use resend::{Resent, resend_event};
pub use senders::{
    CreatedApiKey, CreatedSource, SourceInput, create_api_key, create_source, edit_source,
    revoke_api_key, rotate_identity_secret, set_stripe_secret,
};
pub use testing::{TEST_TYPE, test_webhook};
pub use webhooks::{
    CreatedWebhook, Held, KeyChange, activate_webhook, create_webhook, delete_webhook,
    edit_webhook, end_overlap, note_reveal, pause_webhook, rotate_key,
};
