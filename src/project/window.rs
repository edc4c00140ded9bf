//! A window of the log and what it changes: gathered per profile off the writer, sorted by profile,
//! and written in chunks, so that every page is touched about once a window. Knows the rules of one
//! window; where it begins and what has been written of it is its caller's.

use super::gather::{Gathered, HOUR_MS, Member, Resolved, WindowLimits};
use super::herald::Herald;
use super::news::News;
use super::resolve::{Named, Node, Profiles, Step};
use super::seen::Seen;
use super::wishes::Wishing;
use crate::error::Result;
use crate::id::{EventId, IdGenerator, ProfileId, WorkspaceId};
use crate::store::catalog::Catalog;
use crate::store::events;
use crate::store::merges::{self, Naming};
use crate::store::people::{self, Scribe};
use crate::store::projection::{self, Count, OpenWindow, Place, TimelineEntry};
use crate::time::month;
use rusqlite::Connection;
use std::ops::{ControlFlow, Range};

/// What a profile of which webhooks may be told costs in rows, about: messages, and what is looked up for them.
const NEWS_ROWS: usize = 3;
/// And for each of those webhooks: its deliveries.
const LISTENER_ROWS: usize = 3;

/// A stretch of the log as what it changes. Sorted throughout, so that writes fall where the last
/// one did.
#[derive(Debug)]
pub(super) struct Window {
    /// Its first event.
    pub(super) first: EventId,
    /// Its last event.
    pub(super) end: EventId,
    /// How many events it has, with those that name nobody.
    pub(super) events: usize,
    /// Whether a bound ended it, so that the log very likely goes on.
    pub(super) is_full: bool,
    profiles: Profiles<Seen>,
    /// Those that stand for themselves in the end.
    wholes: Vec<Whole>,
    /// In the order of the later of the two.
    members: Vec<(ProfileId, Member)>,
    entries: Vec<Entry>,
    event_types: Vec<((WorkspaceId, Box<str>), Count)>,
    usage: Vec<((WorkspaceId, i64), i64)>,
}

/// A profile that stands for itself when the window ends, with all that became a part of it.
#[derive(Debug)]
struct Whole {
    profile: ProfileId,
    node: usize,
    /// Where its timeline rows begin in the window's.
    first_entry: usize,
    /// Rows that are written with the first of them, about.
    rows: usize,
    /// Whether others become parts of it here. Then all its rows are written together: read again, they could
    /// not be told from those of the parts.
    has_merges: bool,
    /// For one that was there before and has one event of which no more is to be said, as most have: when it
    /// happened, and its month. So the writer need not go to the node.
    plain: Option<(i64, i64)>,
}

impl Node<Seen> {
    /// See [`Whole::plain`].
    fn plain(&self) -> Option<(i64, i64)> {
        let is_as_it_was = !self.is_new && self.attached.is_empty() && self.apart.is_empty();
        match self.steps.as_slice() {
            [Step::Seen(seen)] if is_as_it_was => seen.plain(),
            _ => None,
        }
    }
}

/// A row of a timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    /// In the order in which rows are written: by the profile that it belongs to in the end.
    place: TimelineEntry,
    /// The profile that it belonged to when it came, under which it is kept: so it goes with it should the
    /// two be taken apart.
    profile: ProfileId,
}

/// Reads the window that follows `place` and works out what it changes; `None` at the log's end.
///
/// A window that is partly written is read again to the same end, and comes out the same where it
/// counts. Profiles that it has written already are found by their identifiers, and nothing is left to
/// change in them ([`super::resolve`]). Those that it has not written yet get new ids, which are higher
/// than every profile's in the file, so they sort after what is done. A profile's own changes, and those of
/// all that became a part of it, are written with its first row; so what is done says of each profile
/// whether they were.
///
/// # Errors
/// When the file cannot be read.
pub(super) fn read(
    connection: &Connection,
    catalog: &Catalog,
    ids: &IdGenerator,
    now_ms: i64,
    place: Place,
    limits: &WindowLimits,
) -> Result<Option<Window>> {
    let known_end = place.open.map(|open| open.end);
    let last = known_end.unwrap_or(EventId::from_i64(i64::MAX));
    let mut gathered = Gathered::default();
    events::each_between(connection, place.cursor, last, |event| {
        gathered.add(catalog, event);
        let is_over = known_end.is_none() && gathered.is_full(limits);
        Ok(if is_over {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        })
    })?;
    let is_full = known_end.is_some() || gathered.is_full(limits);
    let Some((first, last)) = gathered.span.or(known_end.map(|end| (end, end))) else {
        return Ok(None);
    };
    let events = gathered.events;
    let event_types = std::mem::take(&mut gathered.event_types);
    let usage = std::mem::take(&mut gathered.usage);
    let Resolved {
        mut profiles,
        rows,
        members,
    } = gathered.resolve(connection, ids, now_ms)?;
    profiles.name_new(ids, now_ms);
    let mut window = Window {
        first,
        end: known_end.unwrap_or(last),
        events,
        is_full,
        entries: entries(&profiles, rows),
        members: by_later(&profiles, members),
        wholes: Vec::new(),
        profiles,
        event_types: event_types.into_iter().collect(),
        usage: usage.into_iter().collect(),
    };
    window
        .event_types
        .sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    window.usage.sort_unstable();
    window.find_wholes(&mut Wishing::new(catalog));
    Ok(Some(window))
}

/// A membership is written with the later of its two profiles: then the other one has its id for good.
fn by_later(profiles: &Profiles<Seen>, members: Vec<Member>) -> Vec<(ProfileId, Member)> {
    let whole = |node| profiles.nodes[profiles.root(node)].profile;
    let mut members: Vec<(ProfileId, Member)> = members
        .into_iter()
        .map(|member| (whole(member.account).max(whole(member.person)), member))
        .collect();
    members.sort_unstable_by_key(|(later, member)| (*later, member.event));
    members
}

/// The timeline rows of `named`, in the order in which they are written.
fn entries(profiles: &Profiles<Seen>, named: Vec<(usize, EventId)>) -> Vec<Entry> {
    let mut entries: Vec<Entry> = named
        .into_iter()
        .map(|(node, event)| Entry {
            place: TimelineEntry {
                profile: profiles.nodes[profiles.root(node)].profile,
                event,
            },
            profile: profiles.nodes[node].profile,
        })
        .collect();
    entries.sort_unstable();
    // An event that named both before they became one is there once.
    entries.dedup_by_key(|entry| entry.place);
    entries
}

/// Rows that go with a profile where so many webhooks listen.
fn news_rows(listeners: usize) -> usize {
    if listeners == 0 {
        0
    } else {
        NEWS_ROWS + listeners * LISTENER_ROWS
    }
}

impl Window {
    /// Whoever changes in a window has a timeline row in it: an event changes only whom it is about, and
    /// what becomes a part of that.
    fn find_wholes(&mut self, wishing: &mut Wishing<'_>) {
        let roots = 0..self.profiles.nodes.len();
        let roots = roots.filter(|node| self.profiles.root(*node) == *node);
        let mut wholes: Vec<Whole> = roots
            .map(|node| Whole {
                profile: self.profiles.nodes[node].profile,
                node,
                first_entry: 0,
                rows: self.rows(node, wishing),
                has_merges: self.has_merges(node),
                plain: self.profiles.nodes[node].plain(),
            })
            .collect();
        wholes.sort_unstable_by_key(|whole| whole.profile);
        let mut at = 0;
        for whole in &mut wholes {
            let is_before = |entry: &Entry| entry.place.profile < whole.profile;
            at += self.entries[at..].partition_point(is_before);
            whole.first_entry = at;
        }
        // Those that were only looked up: the strongest of an event's identifiers led elsewhere.
        let entries = &self.entries;
        wholes.retain(|whole| {
            let entry = entries.get(whole.first_entry);
            entry.is_some_and(|entry| entry.place.profile == whole.profile)
        });
        self.wholes = wholes;
    }

    fn has_merges(&self, node: usize) -> bool {
        let mut steps = self.profiles.nodes[node].steps.iter();
        steps.any(|step| matches!(step, Step::Merged { .. }))
    }

    fn rows(&self, node: usize, wishing: &mut Wishing<'_>) -> usize {
        let node = &self.profiles.nodes[node];
        let news = match node.plain() {
            None => news_rows(wishing.of(node.workspace).listeners),
            Some(_) => 0,
        };
        let steps = node.steps.iter().map(|step| match step {
            Step::Seen(seen) => seen.rows(),
            // A journal's row, and what is counted anew.
            Step::Merged { node, .. } => 8 + self.rows(*node, wishing),
        });
        steps.sum::<usize>() + node.attached.len() + news
    }

    /// The timeline rows that the transaction after `place` writes: about `limit`, and fewer where
    /// people's traits and merges make up for it. At least one, if any is left.
    pub(super) fn chunk(&self, place: Place, limit: usize) -> Range<usize> {
        let start = place.open.map_or(0, |open| {
            self.entries.partition_point(|e| e.place <= open.done)
        });
        let mut wholes = self.wholes_of(start..self.entries.len()).iter().peekable();
        let (mut end, mut rows) = (start, 0);
        while end < self.entries.len() && rows < limit {
            rows += 1;
            let mut after = end + 1;
            if let Some(whole) = wholes.next_if(|whole| whole.first_entry == end) {
                rows += whole.rows;
                if whole.has_merges {
                    let rest = &self.entries[after..];
                    after += rest.partition_point(|e| e.place.profile == whole.profile);
                    rows += after - end - 1;
                }
            }
            end = after;
        }
        start..end
    }

    /// The place behind a chunk.
    pub(super) fn after(&self, place: Place, chunk: &Range<usize>) -> Place {
        let last = chunk.end.checked_sub(1).and_then(|at| self.entries.get(at));
        match last {
            Some(done) if chunk.end < self.entries.len() => Place {
                open: Some(OpenWindow {
                    end: self.end,
                    done: done.place,
                }),
                ..place
            },
            _ => Place {
                cursor: self.end,
                timeline_rows: place.timeline_rows
                    + i64::try_from(self.entries.len()).unwrap_or(i64::MAX),
                open: None,
            },
        }
    }

    /// Makes a chunk's changes, in the caller's transaction; the last chunk's counts the events by
    /// type and hour. May run again after a rollback.
    ///
    /// # Errors
    /// When the file refuses.
    pub(super) fn write(
        &self,
        connection: &Connection,
        herald: &mut Herald<'_>,
        segment: i64,
        chunk: &Range<usize>,
    ) -> Result<()> {
        if chunk.start == 0 {
            projection::begin_segment(connection, segment, self.first)?;
        }
        let mut scribe = Scribe::new(connection)?;
        for whole in self.wholes_of(chunk.clone()) {
            let is_written = match whole.plain {
                Some((at_ms, month)) => scribe.add_plain_event(whole.profile, at_ms, month)?,
                None => false,
            };
            if !is_written {
                self.write_node(&mut scribe, herald, whole.node)?;
            }
            self.write_members(connection, whole.profile)?;
        }
        scribe.finish()?;
        let entries = self.entries.get(chunk.clone()).unwrap_or_default();
        let entries = entries.iter().map(|entry| TimelineEntry {
            profile: entry.profile,
            event: entry.place.event,
        });
        projection::insert_timeline(connection, segment, entries)?;
        if chunk.end == self.entries.len() {
            let types = self.event_types.iter();
            let types = types.map(|((workspace, name), seen)| (*workspace, &**name, *seen));
            projection::note_event_types(connection, types)?;
            let usage = self.usage.iter();
            let usage = usage.map(|((workspace, hour), events)| (*workspace, *hour, *events));
            projection::add_usage(connection, usage)?;
        }
        Ok(())
    }

    /// The workspaces whose events it holds, and the months in which these were received.
    pub(super) fn months(&self) -> impl Iterator<Item = (WorkspaceId, i64)> {
        let mut months: Vec<(WorkspaceId, i64)> = self
            .usage
            .iter()
            .map(|((workspace, hour), _)| (*workspace, month(hour * HOUR_MS)))
            .collect();
        months.dedup();
        months.into_iter()
    }

    /// Those whose first timeline row is among these.
    fn wholes_of(&self, entries: Range<usize>) -> &[Whole] {
        let begins_before = |at: usize| self.wholes.partition_point(|w| w.first_entry < at);
        self.wholes
            .get(begins_before(entries.start)..begins_before(entries.end))
            .unwrap_or_default()
    }

    /// What happened to a profile, one after the other, as if each event had been projected by itself.
    fn write_node(
        &self,
        scribe: &mut Scribe<'_>,
        herald: &mut Herald<'_>,
        node: usize,
    ) -> Result<()> {
        let connection = scribe.connection();
        let node = &self.profiles.nodes[node];
        let Node {
            workspace,
            kind,
            profile,
            ..
        } = *node;
        if node.is_new {
            scribe.insert_profile(workspace, profile, kind)?;
        }
        for (key, event) in &node.attached {
            scribe.attach(profile, &self.profiles.keys[*key], *event)?;
        }
        let created_by = node.attached.first().filter(|_| node.is_new);
        let subject = (workspace, kind, profile);
        let mut news = News::new(herald, subject, created_by.map(|(_, event)| *event));
        for step in &node.steps {
            match step {
                Step::Seen(seen) => seen.write(scribe, herald, &mut news, subject)?,
                Step::Merged { node: other, named } => {
                    self.write_node(scribe, herald, *other)?;
                    let other = self.profiles.nodes[*other].profile;
                    let naming = self.naming(profile, named);
                    let stages = news.stages(connection)?;
                    merges::merge(connection, &naming, other, kind)?;
                    news.merged(herald, other, (naming.key, naming.event), &stages)?;
                }
            }
        }
        let key = |(key, event): &(usize, EventId)| (&self.profiles.keys[*key], *event);
        news.finish(herald, node.attached.iter().map(key))?;
        for named in &node.apart {
            merges::keep_apart(connection, &self.naming(profile, named))?;
        }
        Ok(())
    }

    /// The memberships of which this is the later profile.
    fn write_members(&self, connection: &Connection, later: ProfileId) -> Result<()> {
        let start = self.members.partition_point(|(at, _)| *at < later);
        for (_, member) in self.members[start..]
            .iter()
            .take_while(|(at, _)| *at == later)
        {
            let of = |node: usize| self.profiles.nodes[node].profile;
            people::insert_member(
                connection,
                of(member.account),
                of(member.person),
                member.event,
            )?;
        }
        Ok(())
    }

    fn naming(&self, profile: ProfileId, named: &Named) -> Naming<'_> {
        Naming {
            id: named.id,
            profile,
            key: &self.profiles.keys[named.key],
            event: named.event,
        }
    }
}
