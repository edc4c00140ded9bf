//! What the projector writes of one profile after another: that it is there, what it is known by, what it
//! did, its traits, whose member it is, and how far it has come. Each function is called inside the
//! projector's transaction. Merging is in `merges.rs`; the projector's place in the log in `projection.rs`.

use super::projection::IdentifierKey;
use crate::error::Result;
use crate::funnel::Stage;
use crate::id::{EventId, FunnelId, ProfileId, WorkspaceId};
use crate::identity::{Holdings, IdentifierKind, ProfileKind};
use crate::profile::TraitChanges;
use rusqlite::{CachedStatement, Connection, OptionalExtension as _, params};
use std::collections::BTreeMap;

/// Without an event for so long, the next one begins a session (wire.md, "FunnelFizz").
pub const SESSION_GAP_MS: i64 = 30 * 60 * 1_000;

/// Writes one profile after another: what every profile of a chunk needs is prepared once, and what is
/// counted of all of them is written once, by [`Scribe::finish`].
pub struct Scribe<'c> {
    connection: &'c Connection,
    profile: CachedStatement<'c>,
    identifier: CachedStatement<'c>,
    one_event: CachedStatement<'c>,
    activity: CachedStatement<'c>,
    first_activity: CachedStatement<'c>,
    population: BTreeMap<(WorkspaceId, ProfileKind), i64>,
    active: BTreeMap<(WorkspaceId, i64), i64>,
}

impl<'c> Scribe<'c> {
    /// Prepares, in the projector's transaction.
    ///
    /// # Errors
    /// When the file refuses.
    pub fn new(connection: &'c Connection) -> Result<Self> {
        Ok(Self {
            connection,
            profile: connection.prepare_cached(
                "INSERT INTO profile (id, workspace_id, kind) VALUES (?1, ?2, ?3)",
            )?,
            identifier: connection.prepare_cached(
                "INSERT INTO identifier (workspace_id, kind, value, profile_id, event_id) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?,
            one_event: connection.prepare_cached(
                "UPDATE profile_activity SET
                    sessions = sessions + (?2 > last_seen_at_ms + ?4),
                    first_seen_at_ms = min(first_seen_at_ms, ?2), last_seen_at_ms = max(last_seen_at_ms, ?2),
                    events = events + 1
                 WHERE profile_id = ?1 AND active_month >= ?3",
            )?,
            activity: connection.prepare_cached(
                "UPDATE profile_activity SET
                    sessions = sessions + (?7 > last_seen_at_ms + ?8) + ?9,
                    first_seen_at_ms = min(first_seen_at_ms, ?2), last_seen_at_ms = max(last_seen_at_ms, ?3),
                    events = events + ?4, pageviews = pageviews + ?5, goals = goals + ?6
                 WHERE profile_id = ?1 AND active_month >= ?10",
            )?,
            first_activity: connection.prepare_cached(
                "INSERT INTO profile_activity (profile_id, first_seen_at_ms, last_seen_at_ms, events, pageviews, goals, sessions, active_month)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, 1 + ?9, ?10)
                 ON CONFLICT (profile_id) DO UPDATE SET
                    sessions = sessions + (?7 > last_seen_at_ms + ?8) + ?9,
                    first_seen_at_ms = min(first_seen_at_ms, ?2), last_seen_at_ms = max(last_seen_at_ms, ?3),
                    events = events + ?4, pageviews = pageviews + ?5, goals = goals + ?6, active_month = ?10",
            )?,
            population: BTreeMap::new(),
            active: BTreeMap::new(),
        })
    }

    /// The connection, for what few profiles need.
    pub fn connection(&self) -> &'c Connection {
        self.connection
    }

    /// Keeps a new profile.
    ///
    /// # Errors
    /// When the file refuses.
    pub fn insert_profile(
        &mut self,
        workspace: WorkspaceId,
        profile: ProfileId,
        kind: ProfileKind,
    ) -> Result<()> {
        self.profile
            .execute(params![profile, workspace, kind.as_str()])?;
        *self.population.entry((workspace, kind)).or_default() += 1;
        Ok(())
    }

    /// Keeps what a profile is known by from `event` on.
    ///
    /// # Errors
    /// When the file refuses, also when another profile holds the identifier.
    pub fn attach(
        &mut self,
        profile: ProfileId,
        key: &IdentifierKey,
        event: EventId,
    ) -> Result<()> {
        self.identifier.execute(params![
            key.workspace,
            key.kind.as_str(),
            key.value,
            profile,
            event
        ])?;
        Ok(())
    }

    /// Adds one event that is neither a pageview nor a goal to what a profile did; `false` where that does
    /// not do: the profile is new to this month, and [`Scribe::add_activity`] counts it.
    ///
    /// # Errors
    /// When the file refuses.
    pub fn add_plain_event(&mut self, profile: ProfileId, at_ms: i64, month: i64) -> Result<bool> {
        let changed = self
            .one_event
            .execute(params![profile, at_ms, month, SESSION_GAP_MS])?;
        Ok(changed > 0)
    }

    /// Adds to what a profile did; a person who was not active in that month before is counted in it.
    ///
    /// # Errors
    /// When the file refuses.
    pub fn add_activity(
        &mut self,
        workspace: WorkspaceId,
        profile: ProfileId,
        kind: ProfileKind,
        activity: &Activity,
    ) -> Result<()> {
        let resumed = resumed(self.connection, profile, activity)?;
        // Nearly always the profile is there and was active this month.
        let changed = self.activity.execute(params![
            profile,
            activity.first_seen_at_ms,
            activity.last_seen_at_ms,
            activity.events,
            activity.pageviews,
            activity.goals,
            activity.begun_at_ms,
            SESSION_GAP_MS,
            resumed,
            activity.month,
        ])?;
        if changed > 0 {
            return Ok(());
        }
        self.first_activity.execute(params![
            profile,
            activity.first_seen_at_ms,
            activity.last_seen_at_ms,
            activity.events,
            activity.pageviews,
            activity.goals,
            activity.begun_at_ms,
            SESSION_GAP_MS,
            resumed,
            activity.month,
        ])?;
        if kind == ProfileKind::Person {
            *self.active.entry((workspace, activity.month)).or_default() += 1;
        }
        Ok(())
    }

    /// Writes what was counted.
    ///
    /// # Errors
    /// When the file refuses.
    pub fn finish(self) -> Result<()> {
        for ((workspace, kind), change) in self.population {
            add_population(self.connection, workspace, kind, change)?;
        }
        for ((workspace, month), change) in self.active {
            add_active(self.connection, workspace, month, change)?;
        }
        Ok(())
    }
}

/// Counts a workspace's profiles.
pub(super) fn add_population(
    connection: &Connection,
    workspace: WorkspaceId,
    kind: ProfileKind,
    change: i64,
) -> Result<()> {
    let (people, accounts) = match kind {
        ProfileKind::Person => (change, 0),
        ProfileKind::Account => (0, change),
    };
    connection
        .prepare_cached(
            "INSERT INTO population (workspace_id, people, accounts) VALUES (?1, ?2, ?3)
             ON CONFLICT (workspace_id) DO UPDATE SET people = people + excluded.people, accounts = accounts + excluded.accounts",
        )?
        .execute(params![workspace, people, accounts])?;
    Ok(())
}

/// What a profile stands for.
///
/// # Errors
/// When the file cannot be read.
pub fn kind(connection: &Connection, profile: ProfileId) -> Result<ProfileKind> {
    let word: Option<String> = connection
        .prepare_cached("SELECT kind FROM profile WHERE id = ?1")?
        .query_row([profile], |row| row.get(0))
        .optional()?;
    Ok(word
        .and_then(|word| ProfileKind::parse(&word))
        .unwrap_or(ProfileKind::Person))
}

/// What a profile holds, as far as merging asks.
///
/// # Errors
/// When the file cannot be read.
pub fn holdings(connection: &Connection, profile: ProfileId) -> Result<Holdings> {
    let mut holdings = Holdings::default();
    let mut statement = connection.prepare_cached(
        "SELECT kind, count(*) FROM identifier WHERE profile_id = ?1 GROUP BY kind",
    )?;
    let mut rows = statement.query([profile])?;
    while let Some(row) = rows.next()? {
        if let Some(kind) = IdentifierKind::parse(row.get_ref(0)?.as_str().unwrap_or("")) {
            holdings.add(kind, row.get(1)?);
        }
    }
    holdings.parts = connection
        .prepare_cached("SELECT count(*) FROM profile WHERE merged_into = ?1")?
        .query_row([profile], |row| row.get(0))?;
    Ok(holdings)
}

/// What events add to what a profile did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activity {
    /// The oldest event's time, Unix milliseconds.
    pub first_seen_at_ms: i64,
    /// The newest event's time, Unix milliseconds.
    pub last_seen_at_ms: i64,
    /// How many events.
    pub events: i64,
    /// How many of them say that a page or screen was seen.
    pub pageviews: i64,
    /// How many of them a funnel names.
    pub goals: i64,
    /// The time of the first of them, in the log's order, Unix milliseconds.
    pub begun_at_ms: i64,
    /// The times of those that came more than [`SESSION_GAP_MS`] after all before them here.
    pub resumed_at_ms: Vec<i64>,
    /// The month in which they were received ([`crate::time::month`]).
    pub month: i64,
}

impl Activity {
    /// Of one event that happened at `at_ms` and was received in `month`.
    pub fn once(at_ms: i64, month: i64) -> Self {
        Self {
            first_seen_at_ms: at_ms,
            last_seen_at_ms: at_ms,
            events: 1,
            pageviews: 0,
            goals: 0,
            begun_at_ms: at_ms,
            resumed_at_ms: Vec::new(),
            month,
        }
    }

    /// Whether it is one event that is neither a pageview nor a goal.
    pub fn is_one_plain_event(&self) -> bool {
        self.events == 1 && self.pageviews == 0 && self.goals == 0
    }

    /// Adds the next event, of the same month.
    pub fn add(&mut self, at_ms: i64) {
        if at_ms > self.last_seen_at_ms + SESSION_GAP_MS {
            self.resumed_at_ms.push(at_ms);
        }
        self.first_seen_at_ms = self.first_seen_at_ms.min(at_ms);
        self.last_seen_at_ms = self.last_seen_at_ms.max(at_ms);
        self.events += 1;
    }
}

/// How many sessions begin within what is added; whether one begins with it, the statement finds out.
fn resumed(connection: &Connection, profile: ProfileId, activity: &Activity) -> Result<i64> {
    if activity.resumed_at_ms.is_empty() {
        return Ok(0);
    }
    let last_seen_at_ms: Option<i64> = connection
        .prepare_cached("SELECT last_seen_at_ms FROM profile_activity WHERE profile_id = ?1")?
        .query_row([profile], |row| row.get(0))
        .optional()?;
    let begins = |at_ms: &&i64| last_seen_at_ms.is_none_or(|last| **at_ms > last + SESSION_GAP_MS);
    let resumed = activity.resumed_at_ms.iter().filter(begins).count();
    Ok(i64::try_from(resumed).unwrap_or(i64::MAX))
}

/// Counts people who were active in a month.
pub(super) fn add_active(
    connection: &Connection,
    workspace: WorkspaceId,
    month: i64,
    change: i64,
) -> Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO active_month (workspace_id, month, profiles) VALUES (?1, ?2, ?3)
             ON CONFLICT (workspace_id, month) DO UPDATE SET profiles = profiles + excluded.profiles",
        )?
        .execute(params![workspace, month, change])?;
    Ok(())
}

/// Notes that so much of a month's limit was reached; whether that is new.
///
/// # Errors
/// When the file refuses.
pub fn note_mau(
    connection: &Connection,
    workspace: WorkspaceId,
    month: i64,
    percent: i64,
    at_ms: i64,
) -> Result<bool> {
    let changed = connection
        .prepare_cached(
            "INSERT OR IGNORE INTO mau_notice (workspace_id, month, percent, at_ms) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![workspace, month, percent, at_ms])?;
    Ok(changed == 1)
}

/// Changes a profile's traits.
///
/// # Errors
/// When the file refuses.
pub fn change_traits(
    connection: &Connection,
    profile: ProfileId,
    changes: &TraitChanges<EventId>,
) -> Result<()> {
    if changes.replaces {
        connection
            .prepare_cached("DELETE FROM trait WHERE profile_id = ?1")?
            .execute([profile])?;
    }
    for (name, change) in &changes.set {
        match &change.verified {
            Some((Some(value), event)) => connection
                .prepare_cached(
                    "INSERT INTO trait (profile_id, name, value, event_id) VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT (profile_id, name) DO UPDATE SET value = excluded.value, event_id = excluded.event_id, is_unverified = NULL",
                )?
                .execute(params![profile, name, value, event])?,
            Some((None, _)) => connection
                .prepare_cached("DELETE FROM trait WHERE profile_id = ?1 AND name = ?2")?
                .execute(params![profile, name])?,
            None => 0,
        };
        match &change.unverified {
            Some((Some(value), event)) => connection
                .prepare_cached(
                    "INSERT INTO trait (profile_id, name, value, event_id, is_unverified) VALUES (?1, ?2, ?3, ?4, 1)
                     ON CONFLICT (profile_id, name) DO UPDATE SET value = excluded.value, event_id = excluded.event_id
                     WHERE is_unverified IS NOT NULL",
                )?
                .execute(params![profile, name, value, event])?,
            Some((None, _)) => connection
                .prepare_cached(
                    "DELETE FROM trait WHERE profile_id = ?1 AND name = ?2 AND is_unverified IS NOT NULL",
                )?
                .execute(params![profile, name])?,
            None => 0,
        };
    }
    Ok(())
}

/// The value of a profile's trait, JSON text.
///
/// # Errors
/// When the file cannot be read.
pub fn trait_value(
    connection: &Connection,
    profile: ProfileId,
    name: &str,
) -> Result<Option<String>> {
    Ok(connection
        .prepare_cached("SELECT value FROM trait WHERE profile_id = ?1 AND name = ?2")?
        .query_row(params![profile, name], |row| row.get(0))
        .optional()?)
}

/// Keeps that a person is a member of an account since `event`.
///
/// # Errors
/// When the file refuses.
pub fn insert_member(
    connection: &Connection,
    account: ProfileId,
    person: ProfileId,
    event: EventId,
) -> Result<()> {
    connection
        .prepare_cached(
            "INSERT OR IGNORE INTO account_member (account_id, person_id, event_id) VALUES (?1, ?2, ?3)",
        )?
        .execute(params![account, person, event])?;
    Ok(())
}

/// An event that brings its person to a stage, unless the person is there or further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advance {
    /// In which funnel.
    pub funnel: FunnelId,
    /// To which stage.
    pub stage: Stage,
    /// By which event.
    pub event: EventId,
    /// When that happened, Unix milliseconds.
    pub at_ms: i64,
}

/// The place of the stage that a profile has reached in a funnel.
pub(super) fn rank(connection: &Connection, profile: ProfileId, funnel: FunnelId) -> Result<i64> {
    Ok(connection
        .prepare_cached(
            "SELECT rank FROM stage_reached WHERE profile_id = ?1 AND funnel_id = ?2 ORDER BY rank DESC LIMIT 1",
        )?
        .query_row(params![profile, funnel], |row| row.get(0))
        .optional()?
        .unwrap_or(Stage::Awareness.rank()))
}

/// How far a profile has come in each funnel, where it has left the first stage.
pub(super) fn furthest(
    connection: &Connection,
    profile: ProfileId,
) -> Result<Vec<(FunnelId, i64)>> {
    Ok(connection
        .prepare_cached(
            "SELECT funnel_id, max(rank) FROM stage_reached WHERE profile_id = ?1 GROUP BY funnel_id",
        )?
        .query_map([profile], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?)
}

/// Brings a profile to a stage, and says from which; `None` where it was there or further: nobody goes back
/// (wire.md, "FunnelFizz"). People are counted, accounts are not: a funnel is the way of people.
///
/// # Errors
/// When the file refuses.
pub fn advance(
    connection: &Connection,
    profile: ProfileId,
    kind: ProfileKind,
    advance: &Advance,
) -> Result<Option<Stage>> {
    let before = rank(connection, profile, advance.funnel)?;
    let after = advance.stage.rank();
    if after <= before {
        return Ok(None);
    }
    connection
        .prepare_cached(
            "INSERT INTO stage_reached (profile_id, funnel_id, rank, event_id, at_ms) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![profile, advance.funnel, after, advance.event, advance.at_ms])?;
    if kind == ProfileKind::Person {
        count_move(connection, advance.funnel, before, after)?;
    }
    Ok(Stage::at(before))
}

/// The stage that a profile has reached in each funnel in which it has left the first one.
///
/// # Errors
/// When the file cannot be read.
pub fn stages(connection: &Connection, profile: ProfileId) -> Result<Vec<(FunnelId, Stage)>> {
    let furthest = furthest(connection, profile)?;
    let stage = |(funnel, rank)| Some((funnel, Stage::at(rank)?));
    Ok(furthest.into_iter().filter_map(stage).collect())
}

/// Counts a profile that stood at one place at another one. Nobody counts at the first: there is who has
/// reached nothing else.
pub(super) fn count_move(
    connection: &Connection,
    funnel: FunnelId,
    from: i64,
    to: i64,
) -> Result<()> {
    let mut count = connection.prepare_cached(
        "INSERT INTO stage_count (funnel_id, rank, profiles) VALUES (?1, ?2, ?3)
         ON CONFLICT (funnel_id, rank) DO UPDATE SET profiles = profiles + excluded.profiles",
    )?;
    for (rank, change) in [(from, -1), (to, 1)] {
        if rank > Stage::Awareness.rank() && from != to {
            count.execute(params![funnel, rank, change])?;
        }
    }
    Ok(())
}
