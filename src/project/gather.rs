//! A window as it is read: its events in order, the identifiers that they name, and what is counted of all
//! of them. Then, who they are about. Writes nothing.

use super::resolve::{Profiles, Resolver, Step, Subject};
use super::seen::{Billing, Happening, Says, Seen};
use crate::billing;
use crate::error::Result;
use crate::event::{EventKind, Verification};
use crate::id::{EventId, IdGenerator, WorkspaceId};
use crate::identity::{self, IdentifierKind, Key, ProfileKind};
use crate::store::catalog::Catalog;
use crate::store::events::LoggedEvent;
use crate::store::projection::{Count, IdentifierKey};
use crate::time::month;
use rusqlite::Connection;
use std::collections::{HashMap, HashSet};
use std::ops::Range;

pub(super) const HOUR_MS: i64 = 3_600_000;

/// The bounds of a window; the first that is reached ends it.
#[derive(Debug, Clone, Copy)]
pub struct WindowLimits {
    /// Events: a longer window costs less an event, and more memory.
    pub events: usize,
    /// Bytes of traits, which are kept until they are written.
    pub trait_bytes: usize,
    /// Event types, all of which are counted in the window's last transaction.
    pub event_types: usize,
}

/// What has been read of a window.
#[derive(Default)]
pub(super) struct Gathered {
    pub(super) events: usize,
    pub(super) span: Option<(EventId, EventId)>,
    pub(super) event_types: HashMap<(WorkspaceId, Box<str>), Count>,
    pub(super) usage: HashMap<(WorkspaceId, i64), i64>,
    trait_bytes: usize,
    /// The last event's hour, and its month: most events are of the same.
    hour: i64,
    month: i64,
    /// The number of each identifier.
    known: HashMap<IdentifierKey, usize>,
    /// The numbers of the events' identifiers, one event's behind the other's.
    keys: Vec<usize>,
    /// The events that name anybody.
    named: Vec<NamedEvent>,
}

/// What a window's events are about. Profiles are named by node.
pub(super) struct Resolved {
    pub(super) profiles: Profiles<Seen>,
    /// Whose timelines the events stand on.
    pub(super) rows: Vec<(usize, EventId)>,
    pub(super) members: Vec<Member>,
}

/// A person that an event named beside an account.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) account: usize,
    pub(super) person: usize,
    pub(super) event: EventId,
}

/// An event and where its identifiers stand.
struct NamedEvent {
    happening: Happening,
    person: Range<usize>,
    account: Range<usize>,
}

impl Gathered {
    pub(super) fn is_full(&self, limits: &WindowLimits) -> bool {
        self.events >= limits.events
            || self.trait_bytes >= limits.trait_bytes
            || self.event_types.len() >= limits.event_types
    }

    pub(super) fn add(&mut self, catalog: &Catalog, event: &LoggedEvent<'_>) {
        self.events += 1;
        let (first, _) = self.span.unwrap_or((event.id, event.id));
        self.span = Some((first, event.id));
        self.count(event);
        let (ids, is_account) = (&event.identifiers, event.customer_is_account);
        let person = identity::person(ids, is_account);
        let person = if event.verification == Verification::Signed {
            let is_signed = identity::signed_person(ids, is_account);
            self.number(event.workspace, person.filter(|(kind, _)| is_signed(*kind)))
        } else {
            self.number(event.workspace, person)
        };
        let is_signed = event.verification == Verification::Signed;
        let account = identity::account(ids, is_account)
            // A signature covers no group.
            .filter(|(kind, _)| !is_signed || *kind != IdentifierKind::GroupId);
        let account = self.number(event.workspace, account);
        if person.is_empty() && account.is_empty() {
            return;
        }
        self.trait_bytes += event.traits.map_or(0, str::len);
        // Without proof, nobody leads another on whose id or address is known: a stage is for good.
        let may_lead = event.verification != Verification::Unverified
            || identity::names_only_a_visitor(ids, is_account);
        self.named.push(NamedEvent {
            happening: Happening {
                id: event.id,
                kind: event.kind,
                verification: event.verification,
                occurred_at_ms: event.occurred_at_ms,
                month: self.month,
                traits: event.traits.map(Into::into),
                replace_traits: event.replace_traits,
                leads_to: if may_lead {
                    catalog.stages(event.workspace, event.name).to_vec()
                } else {
                    Vec::new()
                },
                billing: billing(catalog, event),
            },
            person,
            account,
        });
    }

    /// Numbers identifiers; where their numbers stand.
    fn number<'k>(
        &mut self,
        workspace: WorkspaceId,
        keys: impl Iterator<Item = Key<'k>>,
    ) -> Range<usize> {
        let start = self.keys.len();
        for (kind, value) in keys {
            let key = IdentifierKey {
                workspace,
                kind,
                value: value.into(),
            };
            let next = self.known.len();
            self.keys.push(*self.known.entry(key).or_insert(next));
        }
        start..self.keys.len()
    }

    fn count(&mut self, event: &LoggedEvent<'_>) {
        let seen = Count {
            first_seen_at_ms: event.received_at_ms,
            last_seen_at_ms: event.received_at_ms,
            events: 1,
        };
        self.event_types
            .entry((event.workspace, event.name.into()))
            .and_modify(|count| *count = sum(*count, seen))
            .or_insert(seen);
        let hour = event.received_at_ms.div_euclid(HOUR_MS);
        if hour != self.hour {
            (self.hour, self.month) = (hour, month(event.received_at_ms));
        }
        *self.usage.entry((event.workspace, hour)).or_default() += 1;
    }

    /// Finds out whom the events are about, in the log's order, and gathers what they add to each. An event
    /// that names a person and an account is on both timelines (wire.md, "Churnkey").
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn resolve(
        self,
        connection: &Connection,
        ids: &IdGenerator,
        now_ms: i64,
    ) -> Result<Resolved> {
        let Self {
            known, keys, named, ..
        } = self;
        let mut numbered: Vec<(usize, IdentifierKey)> = known
            .into_iter()
            .map(|(key, number)| (number, key))
            .collect();
        numbered.sort_unstable_by_key(|(number, _)| *number);
        let by_number = numbered.into_iter().map(|(_, key)| key).collect();
        let mut profiles = Profiles::find(connection, by_number)?;
        let mut rows = Vec::with_capacity(named.len());
        let (mut members, mut known_members) = (Vec::new(), HashSet::new());
        for NamedEvent {
            happening,
            person,
            account,
        } in &named
        {
            let mut resolver = Resolver {
                connection,
                ids,
                now_ms,
                profiles: &mut profiles,
            };
            let mut find = |at: &Range<usize>, kind| {
                resolver.resolve(Subject {
                    event: happening.id,
                    is_verified: happening.verification != Verification::Unverified,
                    keys: &keys[at.clone()],
                    kind,
                })
            };
            let person = find(person, ProfileKind::Person)?;
            let account = find(account, ProfileKind::Account)?;
            // Where its customer is a person's after all, and it names nobody else.
            let is_account = |node: &usize| profiles.nodes[*node].kind == ProfileKind::Account;
            let person = person.or(account.filter(|node| !is_account(node)));
            let account = account.filter(is_account);
            // Of an account, where the event is about one or names nobody else.
            let is_accounts = happening.kind == EventKind::Group || person.is_none();
            let main = person.or(account);
            for (node, brings_traits) in [
                (person, !is_accounts || account.is_none()),
                (account, is_accounts),
            ] {
                let Some(node) = node else { continue };
                rows.push((node, happening.id));
                let says = Says {
                    traits: brings_traits,
                    stages: main == Some(node),
                };
                note(&mut profiles.nodes[node].steps, happening, says)?;
            }
            if let (Some(person), Some(account)) = (person, account)
                && happening.verification != Verification::Unverified
                && known_members.insert((account, person))
            {
                members.push(Member {
                    account,
                    person,
                    event: happening.id,
                });
            }
        }
        Ok(Resolved {
            profiles,
            rows,
            members,
        })
    }
}

/// Notes an event at the end of what happened to a profile.
fn note(steps: &mut Vec<Step<Seen>>, happening: &Happening, says: Says) -> Result<()> {
    let begun = match steps.last_mut() {
        Some(Step::Seen(seen)) if seen.takes(happening) => {
            seen.count(happening);
            None
        }
        _ => Some(Seen::begin(happening)),
    };
    if let Some(begun) = begun {
        if steps.is_empty() {
            // Most profiles have one step in a window: left to itself, the list would begin with room for four.
            steps.reserve_exact(1);
        }
        steps.push(Step::Seen(begun));
    }
    match steps.last_mut() {
        Some(Step::Seen(seen)) => seen.add(happening, says),
        _ => Ok(()),
    }
}

/// What the payment provider says by an event, if it is one of the provider's.
fn billing(catalog: &Catalog, event: &LoggedEvent<'_>) -> Option<Box<Billing>> {
    let properties = event.billing_properties?;
    let change = billing::stripe::change(
        event.verification,
        event.name,
        properties,
        event.occurred_at_ms,
    )?;
    let funnels = catalog.funnels_of(event.workspace).to_vec();
    Some(Box::new(Billing { change, funnels }))
}

fn sum(a: Count, b: Count) -> Count {
    Count {
        first_seen_at_ms: a.first_seen_at_ms.min(b.first_seen_at_ms),
        last_seen_at_ms: a.last_seen_at_ms.max(b.last_seen_at_ms),
        events: a.events + b.events,
    }
}
