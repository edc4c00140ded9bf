//! A box with one tenant, its owner and one webhook that takes everything: what most tests of sending and of
//! webhooks' pages begin with.

use super::data::{Data, MadeWebhook, Tenant};
use super::page::Visitor;
use super::server::{Options, Server};

/// The box and what was made in it.
pub(crate) struct Sending {
    pub(crate) data: Data,
    pub(crate) tenant: Tenant,
    pub(crate) webhook: MadeWebhook,
    pub(crate) server: Server,
}

impl Sending {
    /// A box that sends to `url`.
    #[track_caller]
    pub(crate) fn to(url: &str) -> Self {
        Self::with(url, &Options::default())
    }

    /// A box that sends to `url`, started with `options`.
    #[track_caller]
    pub(crate) fn with(url: &str, options: &Options) -> Self {
        let data = Data::new();
        let tenant = data.tenant("Acme");
        data.member(&tenant.id, "ann@example.com", "owner");
        let webhook = data.webhook(&tenant.id, "Everything", url, &["*"]);
        let server = Server::start(&data, options);
        Self {
            data,
            tenant,
            webhook,
            server,
        }
    }

    /// The owner, signed in.
    #[track_caller]
    pub(crate) fn ann(&self) -> Visitor {
        Visitor::signed_in(&self.server, "ann@example.com")
    }

    /// A path of the tenant's.
    pub(crate) fn path(&self, rest: &str) -> String {
        format!("/w/{}/{rest}", self.tenant.slug)
    }

    /// A path of the webhook's.
    pub(crate) fn webhook_path(&self, rest: &str) -> String {
        self.path(&format!("webhooks/{}{rest}", self.webhook.id))
    }
}
