//! Whom the events of a window are about: in the log's order, each event's identifiers are found, attached,
//! or make two profiles one (wire.md, "Identity"). Owns the profiles of the window, as nodes: what each is
//! known by and which became part of which. Reads the file and changes nothing in it.
//!
//! A window may be read again after a crash when some of its profiles are written and others are not. It
//! comes to the same: which profile an event belongs to depends only on what its identifiers are held by in
//! the end, since they never leave a profile but with all of it, and two that are kept apart stay so. That
//! is also why an event without proof goes by its strongest identifier alone, known or not.

use crate::error::Result;
use crate::id::{EventId, IdGenerator, MergeId, ProfileId, WorkspaceId};
use crate::identity::{Holdings, IdentifierKind, ProfileKind};
use crate::store::projection::IdentifierKey;
use crate::store::{merges, people, projection};
use rusqlite::Connection;
use std::collections::HashMap;

/// A profile of the window.
#[derive(Debug)]
pub(super) struct Node<S> {
    pub(super) workspace: WorkspaceId,
    pub(super) kind: ProfileKind,
    /// Its id; of a new one, once [`Profiles::name_new`] was called.
    pub(super) profile: ProfileId,
    pub(super) is_new: bool,
    /// The node that it became a part of.
    part_of: Option<usize>,
    /// What it holds; looked up when somebody asks.
    holdings: Option<Holdings>,
    /// Identifiers that came to it, by number, and by which event.
    pub(super) attached: Vec<(usize, EventId)>,
    /// What events named beside it that belongs to others or to nobody.
    pub(super) apart: Vec<Named>,
    /// What happened to it, in order.
    pub(super) steps: Vec<Step<S>>,
}

/// What happened to a profile.
#[derive(Debug)]
pub(super) enum Step<S> {
    /// Events that are about it.
    Seen(S),
    /// Another one became a part of it.
    Merged {
        /// The other one.
        node: usize,
        /// How the event named it.
        named: Named,
    },
}

/// An identifier that an event named beside the profile that it is about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Named {
    pub(super) id: MergeId,
    /// The identifier's number.
    pub(super) key: usize,
    pub(super) event: EventId,
}

/// The profiles of a window, and what they are found by.
#[derive(Debug)]
pub(super) struct Profiles<S> {
    pub(super) nodes: Vec<Node<S>>,
    pub(super) keys: Vec<IdentifierKey>,
    /// Which node each identifier belongs to, by number.
    holders: Vec<Option<usize>>,
    /// The nodes of the profiles that are in the file.
    known: HashMap<ProfileId, usize>,
    /// Profiles of a workspace that somebody took apart, as pairs of what they are parts of in the file.
    undone: HashMap<WorkspaceId, Vec<[ProfileId; 2]>>,
}

impl<S> Profiles<S> {
    /// The profiles that hold `keys` now. They are looked up in the order in which they lie in the file.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn find(connection: &Connection, keys: Vec<IdentifierKey>) -> Result<Self> {
        let mut order: Vec<usize> = (0..keys.len()).collect();
        order.sort_unstable_by(|a, b| keys[*a].cmp(&keys[*b]));
        let found = projection::profiles_of(connection, order.iter().map(|key| &keys[*key]))?;
        let mut profiles = Self {
            nodes: Vec::with_capacity(keys.len()),
            holders: vec![None; keys.len()],
            known: HashMap::with_capacity(keys.len()),
            keys,
            undone: HashMap::new(),
        };
        for (key, profile) in order.into_iter().zip(found) {
            let Some(profile) = profile else { continue };
            let node = match profiles.known.get(&profile) {
                Some(node) => *node,
                None => {
                    let IdentifierKey {
                        workspace, kind, ..
                    } = profiles.keys[key];
                    let kind = match kind {
                        IdentifierKind::GroupId => ProfileKind::Account,
                        // The only one that either may have.
                        IdentifierKind::CustomerId => people::kind(connection, profile)?,
                        _ => ProfileKind::Person,
                    };
                    let node = profiles.insert(workspace, kind, Some(profile));
                    profiles.known.insert(profile, node);
                    node
                }
            };
            profiles.holders[key] = Some(node);
        }
        Ok(profiles)
    }

    fn insert(
        &mut self,
        workspace: WorkspaceId,
        kind: ProfileKind,
        profile: Option<ProfileId>,
    ) -> usize {
        self.nodes.push(Node {
            workspace,
            kind,
            profile: profile.unwrap_or(ProfileId::from_i64(0)),
            is_new: profile.is_none(),
            part_of: None,
            holdings: profile.is_none().then(Holdings::default),
            attached: Vec::new(),
            apart: Vec::new(),
            steps: Vec::new(),
        });
        self.nodes.len() - 1
    }

    /// The node that a node is a part of by now: itself, if none.
    pub(super) fn root(&self, mut node: usize) -> usize {
        while let Some(whole) = self.nodes[node].part_of {
            node = whole;
        }
        node
    }

    fn holder(&self, key: usize) -> Option<usize> {
        self.holders[key].map(|node| self.root(node))
    }

    /// Gives the new ones their ids, in the order of their strongest identifiers: so they are also written
    /// in the order in which identifiers lie in the file.
    pub(super) fn name_new(&mut self, ids: &IdGenerator, now_ms: i64) {
        let mut new: Vec<usize> = (0..self.nodes.len())
            .filter(|node| self.nodes[*node].is_new)
            .collect();
        let key = |node: usize| {
            let first = self.nodes[node].attached.first();
            first.map(|(key, _)| &self.keys[*key])
        };
        new.sort_by(|a, b| key(*a).cmp(&key(*b)));
        for node in new {
            self.nodes[node].profile = ids.next(now_ms);
        }
    }
}

/// An event, as far as finding its profiles goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subject<'a> {
    pub(super) event: EventId,
    /// Whether its sender has proven who it is.
    pub(super) is_verified: bool,
    /// The numbers of the identifiers, strongest first.
    pub(super) keys: &'a [usize],
    pub(super) kind: ProfileKind,
}

/// Finds profiles for one event after the other.
pub(super) struct Resolver<'a, S> {
    pub(super) connection: &'a Connection,
    pub(super) ids: &'a IdGenerator,
    pub(super) now_ms: i64,
    pub(super) profiles: &'a mut Profiles<S>,
}

impl<S> Resolver<'_, S> {
    /// The profile that an event is about; `None` when it names nobody.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn resolve(&mut self, subject: Subject<'_>) -> Result<Option<usize>> {
        let Some(strongest) = subject.keys.first() else {
            return Ok(None);
        };
        if subject.keys.len() > 1 && subject.is_verified {
            return self.stitch(subject);
        }
        let node = match self.profiles.holder(*strongest) {
            Some(node) => node,
            None => self.create(&subject, &[*strongest])?,
        };
        Ok(Some(node))
    }

    /// Takes all of an event's identifiers together, strongest first.
    fn stitch(&mut self, subject: Subject<'_>) -> Result<Option<usize>> {
        let mut found: Option<usize> = None;
        let mut unknown: Vec<usize> = Vec::new();
        let mut misfits: Vec<usize> = Vec::new();
        for key in subject.keys {
            match (self.profiles.holder(*key), found) {
                (None, None) => unknown.push(*key),
                (None, Some(node)) => {
                    if self.has_room(node, *key)? {
                        self.attach(node, *key, subject.event)?;
                    } else {
                        self.keep_apart(node, *key, subject.event);
                    }
                }
                // A customer that was a person's before, say. It stays what it is.
                (Some(other), _) if self.profiles.nodes[other].kind != subject.kind => {
                    misfits.push(*key);
                }
                (Some(other), None) => found = Some(self.settle(&subject, &unknown, other, *key)?),
                (Some(other), Some(node)) if other != node => {
                    found = Some(self.join(node, other, *key, subject.event)?);
                }
                (Some(_), Some(_)) => {}
            }
        }
        let node = match found {
            Some(node) => node,
            None if unknown.is_empty() => {
                // Nothing else is named, so it is about whom that is.
                return Ok(misfits.first().and_then(|key| self.profiles.holder(*key)));
            }
            None => self.create(&subject, &unknown)?,
        };
        for key in misfits {
            self.keep_apart(node, key, subject.event);
        }
        Ok(Some(node))
    }

    /// The first identifier that is known, after stronger ones that are not: these come to its holder, or,
    /// where it cannot take all of them (it has another user id), to a profile of their own beside it.
    fn settle(
        &mut self,
        subject: &Subject<'_>,
        unknown: &[usize],
        holder: usize,
        key: usize,
    ) -> Result<usize> {
        for stronger in unknown {
            if !self.has_room(holder, *stronger)? {
                let node = self.create(subject, unknown)?;
                return self.join(node, holder, key, subject.event);
            }
        }
        for stronger in unknown {
            self.attach(holder, *stronger, subject.event)?;
        }
        Ok(holder)
    }

    fn create(&mut self, subject: &Subject<'_>, keys: &[usize]) -> Result<usize> {
        let workspace = self.profiles.keys[keys[0]].workspace;
        let node = self.profiles.insert(workspace, subject.kind, None);
        for key in keys {
            self.attach(node, *key, subject.event)?;
        }
        Ok(node)
    }

    fn attach(&mut self, node: usize, key: usize, event: EventId) -> Result<()> {
        let kind = self.profiles.keys[key].kind;
        let mut holdings = self.holdings(node)?;
        holdings.add(kind, 1);
        let node_at = &mut self.profiles.nodes[node];
        node_at.holdings = Some(holdings);
        node_at.attached.push((key, event));
        self.profiles.holders[key] = Some(node);
        Ok(())
    }

    /// Makes two profiles one, if they may be; the one that stays, or `node` where both do.
    fn join(&mut self, node: usize, other: usize, key: usize, event: EventId) -> Result<usize> {
        let (own, others) = (self.holdings(node)?, self.holdings(other)?);
        let Some(both) = own.joined(&others) else {
            self.keep_apart(node, key, event);
            return Ok(node);
        };
        if self.was_undone(node, other)? {
            self.keep_apart(node, key, event);
            return Ok(node);
        }
        let (stays, goes) = if own.yields_to(&others) {
            (other, node)
        } else {
            (node, other)
        };
        let named = Named {
            id: self.ids.next(self.now_ms),
            key,
            event,
        };
        self.profiles.nodes[goes].part_of = Some(stays);
        let stays_at = &mut self.profiles.nodes[stays];
        stays_at.holdings = Some(both);
        stays_at.steps.push(Step::Merged { node: goes, named });
        Ok(stays)
    }

    /// Whether somebody took apart what the two hold: then no event merges them again.
    fn was_undone(&mut self, node: usize, other: usize) -> Result<bool> {
        let workspace = self.profiles.nodes[node].workspace;
        if !self.profiles.undone.contains_key(&workspace) {
            let pairs = merges::undone(self.connection, workspace)?;
            self.profiles.undone.insert(workspace, pairs);
        }
        let pairs = self.profiles.undone.get(&workspace);
        let here = |profile: &ProfileId| {
            let node = self.profiles.known.get(profile);
            node.map(|node| self.profiles.root(*node))
        };
        Ok(pairs.into_iter().flatten().any(|[one, two]| {
            let pair = (here(one), here(two));
            pair == (Some(node), Some(other)) || pair == (Some(other), Some(node))
        }))
    }

    /// Notes an identifier that the event named beside its profile: another's, or one that finds no room.
    fn keep_apart(&mut self, node: usize, key: usize, event: EventId) {
        let node_at = &mut self.profiles.nodes[node];
        if node_at.apart.iter().any(|named| named.key == key) {
            return;
        }
        node_at.apart.push(Named {
            id: self.ids.next(self.now_ms),
            key,
            event,
        });
    }

    fn has_room(&mut self, node: usize, key: usize) -> Result<bool> {
        let kind = self.profiles.keys[key].kind;
        Ok(self.holdings(node)?.has_room_for(kind))
    }

    fn holdings(&mut self, node: usize) -> Result<Holdings> {
        let node = &mut self.profiles.nodes[node];
        if let Some(holdings) = node.holdings {
            return Ok(holdings);
        }
        let holdings = people::holdings(self.connection, node.profile)?;
        node.holdings = Some(holdings);
        Ok(holdings)
    }
}
