//! What happens to one profile in a window, as far as webhooks want to know of it: that it was created, changed,
//! merged, came to another stage, or that its subscription changed. Where no webhook wants to know, nothing is
//! looked up. Once for all that a window brings, and as things stand then.

use super::herald::Herald;
use super::portrait::{self, ShownTraits};
use super::wishes::Wishes;
use crate::billing::Bucket;
use crate::error::{Kind, Result};
use crate::funnel::Stage;
use crate::id::{EventId, FunnelId, ProfileId, WorkspaceId};
use crate::identity::ProfileKind;
use crate::profile::TraitChanges;
use crate::store::billing::Standing;
use crate::store::people::Advance;
use crate::store::projection::IdentifierKey;
use crate::store::{funnels, people, profiles};
use crate::time::rfc3339;
use rusqlite::Connection;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// News of one profile that wait for one another, so that the profile is looked at once for all of them.
const TOGETHER: usize = 64;

/// What happens to one profile in a window, as far as anybody wants to know.
pub(super) struct News {
    wishes: Wishes,
    workspace: WorkspaceId,
    profile: ProfileId,
    kind: ProfileKind,
    /// The event that created it, until that was told or where nobody is to be told.
    created_by: Option<EventId>,
    /// Whether it has come in this window.
    is_new: bool,
    /// Whether what it was like when it came is still to be told, so that no change of it is.
    is_untold: bool,
    /// What its traits were that events have named.
    traits_before: BTreeMap<String, Option<String>>,
    /// The last event that named any.
    traits_by: Option<EventId>,
    waiting: Vec<Happened>,
}

/// Something that is told.
enum Happened {
    Merged {
        other: ProfileId,
        by: IdentifierKey,
        event: EventId,
    },
    StageChanged {
        funnel: FunnelId,
        from: Stage,
        to: Stage,
        event: EventId,
        /// Unix milliseconds; `None` where it is the other's of a merge.
        at_ms: Option<i64>,
    },
    SubscriptionChanged(Box<SubscriptionChanged>),
}

struct SubscriptionChanged {
    before: Standing,
    after: Standing,
    event: EventId,
}

impl News {
    /// Of a profile; `created_by` is the event that brought a new one.
    pub(super) fn new(
        herald: &mut Herald<'_>,
        (workspace, kind, profile): (WorkspaceId, ProfileKind, ProfileId),
        created_by: Option<EventId>,
    ) -> Self {
        let wishes = herald.wishes(workspace);
        Self {
            wishes,
            workspace,
            profile,
            kind,
            created_by: created_by.filter(|_| wishes.created),
            is_new: created_by.is_some(),
            is_untold: created_by.is_some(),
            traits_before: BTreeMap::new(),
            traits_by: None,
            waiting: Vec::new(),
        }
    }

    /// What is wanted of its workspace.
    pub(super) fn wishes(&self) -> Wishes {
        self.wishes
    }

    /// Remembers what is about to be changed.
    ///
    /// # Errors
    /// When the file refuses.
    pub(super) fn before_traits(
        &mut self,
        connection: &Connection,
        changes: &TraitChanges<EventId>,
        by: Option<EventId>,
    ) -> Result<()> {
        // That a new one has traits is told with it.
        if !self.wishes.updated || self.is_untold {
            return Ok(());
        }
        if changes.replaces {
            for row in profiles::traits(connection, self.profile)? {
                let before = self.traits_before.entry(row.name);
                before.or_insert(Some(row.value));
            }
        }
        self.traits_by = self.traits_by.max(by);
        for name in changes.set.keys() {
            if !self.traits_before.contains_key(name) {
                let before = people::trait_value(connection, self.profile, name)?;
                self.traits_before.insert(name.clone(), before);
            }
        }
        Ok(())
    }

    /// It came to another stage, from the one at the place `from`.
    ///
    /// # Errors
    /// When the file refuses.
    pub(super) fn advanced(
        &mut self,
        herald: &mut Herald<'_>,
        from: Option<Stage>,
        advance: &Advance,
    ) -> Result<()> {
        match from.filter(|_| self.wishes.stage_changed) {
            None => Ok(()),
            Some(from) => self.add(
                herald,
                Happened::StageChanged {
                    funnel: advance.funnel,
                    from,
                    to: advance.stage,
                    event: advance.event,
                    at_ms: Some(advance.at_ms),
                },
            ),
        }
    }

    /// Another one became a part of it; what was furthest in each funnel before.
    ///
    /// # Errors
    /// When the file refuses.
    pub(super) fn merged(
        &mut self,
        herald: &mut Herald<'_>,
        other: ProfileId,
        (by, event): (&IdentifierKey, EventId),
        stages_before: &[(FunnelId, Stage)],
    ) -> Result<()> {
        if self.wishes.merged {
            let by = by.clone();
            self.add(herald, Happened::Merged { other, by, event })?;
        }
        for (funnel, to) in self.stages(herald.connection())? {
            let known = stages_before.iter().find(|(known, _)| *known == funnel);
            let from = known.map_or(Stage::Awareness, |(_, stage)| *stage);
            if to > from {
                let happened = Happened::StageChanged {
                    funnel,
                    from,
                    to,
                    event,
                    at_ms: None,
                };
                self.add(herald, happened)?;
            }
        }
        Ok(())
    }

    /// How far it has come in each funnel, where anybody wants to know.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn stages(&self, connection: &Connection) -> Result<Vec<(FunnelId, Stage)>> {
        if self.wishes.stage_changed {
            people::stages(connection, self.profile)
        } else {
            Ok(Vec::new())
        }
    }

    /// An event said something of a subscription.
    ///
    /// # Errors
    /// When the file refuses.
    pub(super) fn subscription_said(
        &mut self,
        herald: &mut Herald<'_>,
        before: Standing,
        after: Standing,
        event: EventId,
    ) -> Result<()> {
        if before.subscription == after.subscription && before.bucket == after.bucket {
            return Ok(());
        }
        let changed = SubscriptionChanged {
            before,
            after,
            event,
        };
        self.add(herald, Happened::SubscriptionChanged(Box::new(changed)))
    }

    fn add(&mut self, herald: &mut Herald<'_>, happened: Happened) -> Result<()> {
        self.waiting.push(happened);
        if self.waiting.len() < TOGETHER {
            return Ok(());
        }
        self.tell(herald)
    }

    /// Tells what is waiting: first of all that the profile is there.
    fn tell(&mut self, herald: &mut Herald<'_>) -> Result<()> {
        self.is_untold = false;
        if self.created_by.is_none() && self.waiting.is_empty() {
            return Ok(());
        }
        let connection = herald.connection();
        let profile = portrait::of(connection, self.workspace, self.profile, self.kind)?;
        if let Some(event) = self.created_by.take() {
            let data = json!({"profile": profile, "eventId": event.to_string()});
            herald.announce(self.workspace, "profile.created", data)?;
        }
        for happened in std::mem::take(&mut self.waiting) {
            let (event_type, data) = match happened {
                Happened::Merged { other, by, event } => {
                    let merged = json!({"id": other.to_string(), "kind": self.kind.as_str()});
                    let by = json!({"kind": portrait::word(by.kind.as_str()), "value": by.value});
                    let data = json!({
                        "profile": profile, "merged": merged, "by": by, "eventId": event.to_string(),
                    });
                    ("profile.merged", data)
                }
                Happened::StageChanged {
                    funnel,
                    from,
                    to,
                    event,
                    at_ms,
                } => {
                    let name = match funnels::get(connection, self.workspace, funnel) {
                        Ok(funnel) => Some(funnel.name),
                        Err(e) if e.kind() == Kind::NotFound => None,
                        Err(e) => return Err(e),
                    };
                    let mut data = json!({
                        "profile": profile,
                        "funnel": {"id": funnel.to_string(), "name": name},
                        "from": from.as_str(),
                        "to": to.as_str(),
                        "eventId": event.to_string(),
                    });
                    if let Some(at_ms) = at_ms {
                        data["occurredAt"] = json!(rfc3339(at_ms));
                    }
                    ("profile.stage_changed", data)
                }
                Happened::SubscriptionChanged(changed) => (
                    "customer.subscription_changed",
                    self.subscription_changed(connection, &changed, &profile)?,
                ),
            };
            herald.announce(self.workspace, event_type, data)?;
        }
        Ok(())
    }

    /// Tells all that is left: once for all the traits and identifiers that changed.
    ///
    /// # Errors
    /// When the file refuses.
    pub(super) fn finish<'k>(
        mut self,
        herald: &mut Herald<'_>,
        attached: impl Iterator<Item = (&'k IdentifierKey, EventId)>,
    ) -> Result<()> {
        self.tell(herald)?;
        if !self.wishes.updated {
            return Ok(());
        }
        let connection = herald.connection();
        let mut event = None;
        let mut identifiers: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (key, by) in attached.filter(|_| !self.is_new) {
            let of_kind = identifiers
                .entry(portrait::word(key.kind.as_str()))
                .or_default();
            of_kind.push(&key.value);
            event = event.max(Some(by));
        }
        let mut traits = ShownTraits::default();
        for (name, before) in std::mem::take(&mut self.traits_before) {
            let after = people::trait_value(connection, self.profile, &name)?;
            if after != before {
                let sides = [before.as_deref(), after.as_deref()];
                let bytes = sides.into_iter().flatten().map(str::len).sum();
                traits.add(name, bytes, || portrait::change(sides));
            }
        }
        if !traits.is_empty() {
            event = event.max(self.traits_by);
        }
        if identifiers.is_empty() && traits.is_empty() {
            return Ok(());
        }
        let is_cut = traits.is_cut;
        let mut data = json!({
            "profile": portrait::of(connection, self.workspace, self.profile, self.kind)?,
            "changed": {"identifiers": identifiers, "traits": traits.into_values()},
            "eventId": event.map(|event| event.to_string()),
        });
        if is_cut {
            data["changed"]["hasMoreTraits"] = json!(true);
        }
        herald.announce(self.workspace, "profile.updated", data)
    }

    /// The subscription may have come to another profile before: then that is the one it is about.
    fn subscription_changed(
        &self,
        connection: &Connection,
        changed: &SubscriptionChanged,
        own: &Value,
    ) -> Result<Value> {
        let SubscriptionChanged {
            before,
            after,
            event,
        } = changed;
        let profile = if after.profile == self.profile {
            own.clone()
        } else {
            let kind = people::kind(connection, after.profile)?;
            portrait::of(connection, self.workspace, after.profile, kind)?
        };
        let subscription = after.subscription.as_ref();
        let bucket = |standing: &Standing| standing.bucket.map(Bucket::as_str);
        Ok(json!({
            "profile": profile,
            "subscription": {
                "id": subscription.map(|subscription| &subscription.id),
                "customerId": subscription.and_then(|subscription| subscription.customer_id.as_ref()),
            },
            "before": portrait::standing(before),
            "after": portrait::standing(after),
            "bucket": {"before": bucket(before), "after": bucket(after)},
            "eventId": event.to_string(),
        }))
    }
}
