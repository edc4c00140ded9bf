//! Which messages about profiles the webhooks of a workspace want: nearly always none. Decides nothing else.

use crate::id::WorkspaceId;
use crate::store::catalog::Catalog;
use crate::webhook::Webhook;
use std::collections::HashMap;
use std::sync::Arc;

/// Messages about profiles.
const TYPES: [&str; 5] = [
    "profile.created",
    "profile.updated",
    "profile.merged",
    "profile.stage_changed",
    "customer.subscription_changed",
];

/// What the webhooks of a workspace want to know of its profiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wishes {
    pub(super) created: bool,
    pub(super) updated: bool,
    pub(super) merged: bool,
    pub(super) stage_changed: bool,
    pub(super) subscription_changed: bool,
    /// How many webhooks want any of it.
    pub(super) listeners: usize,
}

impl Wishes {
    fn of(catalog: &Catalog, workspace: WorkspaceId) -> Self {
        let webhooks = catalog.webhooks_of(workspace);
        let is_wanted = |event_type| webhooks.iter().any(|webhook| webhook.wants(event_type));
        let is_listening = |webhook: &&Arc<Webhook>| TYPES.iter().any(|name| webhook.wants(name));
        let [
            created,
            updated,
            merged,
            stage_changed,
            subscription_changed,
        ] = TYPES.map(is_wanted);
        Self {
            created,
            updated,
            merged,
            stage_changed,
            subscription_changed,
            listeners: webhooks.iter().filter(is_listening).count(),
        }
    }
}

/// Finds out what each workspace's webhooks want, once.
pub(super) struct Wishing<'a> {
    catalog: &'a Catalog,
    known: HashMap<WorkspaceId, Wishes>,
    /// Most profiles are of the same workspace as the one before.
    last: Option<(WorkspaceId, Wishes)>,
}

impl<'a> Wishing<'a> {
    pub(super) fn new(catalog: &'a Catalog) -> Self {
        Self {
            catalog,
            known: HashMap::new(),
            last: None,
        }
    }

    pub(super) fn of(&mut self, workspace: WorkspaceId) -> Wishes {
        if let Some((last, wishes)) = self.last
            && last == workspace
        {
            return wishes;
        }
        let wishes = self.known.entry(workspace);
        let wishes = *wishes.or_insert_with(|| Wishes::of(self.catalog, workspace));
        self.last = Some((workspace, wishes));
        wishes
    }
}
