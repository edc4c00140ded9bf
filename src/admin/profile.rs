//! One profile: what it is known by and since which event, its traits, how far it has come, who belongs to
//! it, what it did, and which profiles became one in it.

use super::answer::{Page, ok, see_other};
use super::billing::Billing;
use super::flash::{self, Flash, Said};
use super::format::number;
use super::forms::Form;
use super::session::Visitor;
use super::view::{Cursor, PAGE_ROWS, Section, Shell, When, cut_page};
use crate::access::Role;
use crate::error::{Error, Result};
use crate::event::Verification;
use crate::id::{EventId, MergeId, ProfileId, WorkspaceId};
use crate::identity::ProfileKind;
use crate::manage;
use crate::store::billing::{self, ProfileBilling};
use crate::store::journal::{self, MemberRow, MergeRow, StageRow};
use crate::store::profiles::{self, IdentifierRow, ProfileRow, TimelineRow, TraitRow};
use crate::store::projection;
use actix_web::web;
use askama::Template;
use rusqlite::Connection;

struct Fact {
    name: String,
    value: String,
    is_unverified: bool,
    event: String,
    since: When,
}

struct Moment {
    href: String,
    name: String,
    is_unverified: bool,
    when: When,
}

struct Reached {
    funnel: String,
    stage: &'static str,
    event: String,
    when: When,
}

struct Member {
    href: String,
    name: String,
    event: String,
    since: When,
}

struct Merge {
    id: String,
    is_merged: bool,
    kind: String,
    value: String,
    /// The profile that was merged, or that the identifier belongs to.
    other: Option<String>,
    /// Whether the identifier has come to this profile since.
    is_own_now: bool,
    event: String,
    when: When,
    undone: Option<When>,
    is_undo_requested: bool,
    may_undo: bool,
}

#[derive(Template)]
#[template(path = "profile.html")]
struct Show {
    shell: Shell,
    id: String,
    href: String,
    name: String,
    kind: &'static str,
    is_account: bool,
    counts: Vec<(&'static str, String)>,
    first: When,
    last: When,
    identifiers: Vec<Fact>,
    traits: Vec<Fact>,
    stages: Vec<Reached>,
    billing: Option<Billing>,
    members: Vec<Member>,
    timeline: Vec<Moment>,
    merges: Vec<Merge>,
    max_shown: usize,
    is_first: bool,
    next: Option<String>,
}

/// All that the page is made of, as it was read.
struct Read {
    row: ProfileRow,
    identifiers: Vec<IdentifierRow>,
    traits: Vec<TraitRow>,
    stages: Vec<StageRow>,
    billing: ProfileBilling,
    members: Vec<(MemberRow, String)>,
    merges: Vec<(MergeRow, Option<ProfileId>)>,
    timeline: Vec<TimelineRow>,
}

fn read(
    connection: &Connection,
    workspace: WorkspaceId,
    id: ProfileId,
    before: Option<EventId>,
) -> Result<Read> {
    let row = profiles::get(connection, workspace, id)?;
    let parts = profiles::parts(connection, id)?;
    let named = |member: MemberRow| {
        let name = profiles::get(connection, workspace, member.profile)?.identifier;
        let id = member.profile.to_string();
        Ok((member, name.unwrap_or(id)))
    };
    let members = journal::members(connection, &parts)?;
    let whose = |merge: MergeRow| {
        let other = match merge.other {
            // From the page of the one that was taken out, the other is the one that it was in.
            Some(other) if parts.contains(&other) => Some(merge.profile),
            Some(other) => Some(other),
            None => crate::identity::IdentifierKind::parse(&merge.identifier_kind)
                .map(|kind| {
                    projection::profile_of(connection, workspace, kind, &merge.identifier_value)
                })
                .transpose()?
                .flatten(),
        };
        Ok((merge, other))
    };
    let merges = journal::merges(connection, &parts)?;
    Ok(Read {
        identifiers: profiles::identifiers(connection, workspace, id)?,
        traits: profiles::traits(connection, id)?,
        stages: journal::stages(connection, id)?,
        billing: billing::of_profile(connection, workspace, &parts)?,
        members: members.into_iter().map(named).collect::<Result<_>>()?,
        merges: merges.into_iter().map(whose).collect::<Result<_>>()?,
        timeline: profiles::timeline(connection, &parts, before, PAGE_ROWS + 1)?,
        row,
    })
}

/// One profile. The address of one that is part of another leads to the other.
pub(super) async fn show(
    visitor: Visitor,
    path: web::Path<(String, String)>,
    cursor: web::Query<Cursor>,
    flash: web::Query<Flash>,
) -> Page {
    let id: ProfileId = path.1.parse().map_err(|_| Error::not_found("profile"))?;
    let workspace = visitor.membership.workspace;
    let before: Option<EventId> = cursor.before();
    let found = visitor
        .desk()
        .read(
            move |connection| match profiles::whole(connection, workspace, id)? {
                Some(whole) if whole != id => Ok(Err(whole)),
                Some(_) => read(connection, workspace, id, before).map(Ok),
                None => Err(Error::not_found("profile")),
            },
        )
        .await?;
    let base = visitor.base();
    match found {
        Ok(read) => render(&visitor, &flash, before.is_none(), read),
        Err(whole) => Ok(see_other(&format!("{base}/profiles/{whole}"))),
    }
}

fn render(visitor: &Visitor, flash: &Flash, is_first: bool, mut read: Read) -> Page {
    let next = cut_page(&mut read.timeline, |row| row.event.to_string());
    let about = About {
        base: visitor.base(),
        id: read.row.id,
        now_ms: visitor.desk().now_ms,
        may_change: visitor.membership.role >= Role::Member,
    };
    let row = read.row;
    let name = row.identifier.unwrap_or_else(|| row.id.to_string());
    let about = &about;
    ok(&Show {
        shell: Shell::new(visitor, Section::Profiles, &name, flash),
        id: row.id.to_string(),
        href: about.profile(row.id),
        kind: row.kind.as_str(),
        is_account: row.kind == ProfileKind::Account,
        counts: vec![
            ("Events", number(row.events)),
            ("Pageviews", number(row.pageviews)),
            ("Sessions", number(row.sessions)),
            ("Goals", number(row.goals)),
        ],
        first: about.when(row.first_seen_at_ms),
        last: about.when(row.last_seen_at_ms),
        identifiers: read
            .identifiers
            .into_iter()
            .map(|row| about.fact(row.kind, row.value, false, row.event))
            .collect(),
        traits: read
            .traits
            .into_iter()
            .map(|row| about.fact(row.name, row.value, row.is_unverified, row.event))
            .collect(),
        stages: read
            .stages
            .into_iter()
            .map(|row| about.stage(row))
            .collect(),
        billing: Billing::of(read.billing, about.now_ms),
        members: read
            .members
            .into_iter()
            .map(|(row, name)| about.member(&row, name))
            .collect(),
        timeline: read
            .timeline
            .into_iter()
            .map(|row| about.moment(row))
            .collect(),
        merges: read
            .merges
            .into_iter()
            .map(|(row, other)| about.merge(row, other))
            .collect(),
        max_shown: journal::MAX_SHOWN,
        is_first,
        next,
        name,
    })
}

/// Where and when the page is seen, of which profile, and by whom.
struct About {
    base: String,
    id: ProfileId,
    now_ms: i64,
    may_change: bool,
}

impl About {
    fn when(&self, at_ms: i64) -> When {
        When::new(at_ms, self.now_ms)
    }

    fn profile(&self, id: ProfileId) -> String {
        format!("{}/profiles/{id}", self.base)
    }

    fn event(&self, id: EventId) -> String {
        format!("{}/events/{id}", self.base)
    }

    fn fact(&self, name: String, value: String, is_unverified: bool, event: EventId) -> Fact {
        Fact {
            name,
            value,
            is_unverified,
            event: self.event(event),
            since: self.when(event.unix_ms()),
        }
    }

    fn stage(&self, row: StageRow) -> Reached {
        Reached {
            funnel: row.funnel_name,
            stage: row.stage.label(),
            event: self.event(row.event),
            when: self.when(row.at_ms),
        }
    }

    fn member(&self, row: &MemberRow, name: String) -> Member {
        Member {
            href: self.profile(row.profile),
            name,
            event: self.event(row.event),
            since: self.when(row.event.unix_ms()),
        }
    }

    fn moment(&self, row: TimelineRow) -> Moment {
        Moment {
            href: self.event(row.event),
            name: row.name,
            is_unverified: row.verification == Verification::Unverified,
            when: self.when(row.occurred_at_ms),
        }
    }

    fn merge(&self, row: MergeRow, other: Option<ProfileId>) -> Merge {
        let is_one = row.is_merged && row.undone_at_ms.is_none();
        Merge {
            id: row.id.to_string(),
            is_merged: row.is_merged,
            kind: row.identifier_kind,
            value: row.identifier_value,
            // One that is a part of this profile has no page of its own.
            is_own_now: !row.is_merged && other == Some(self.id),
            other: other
                .filter(|other| !is_one && *other != self.id)
                .map(|other| self.profile(other)),
            event: self.event(row.event),
            when: self.when(row.event.unix_ms()),
            undone: row.undone_at_ms.map(|at_ms| self.when(at_ms)),
            is_undo_requested: row.is_undo_requested,
            may_undo: is_one && !row.is_undo_requested && self.may_change,
        }
    }
}

/// Asks for a merge to be undone.
pub(super) async fn undo_merge(
    visitor: Visitor,
    path: web::Path<(String, String, String)>,
    form: Form,
) -> Page {
    visitor.must_be(Role::Member)?;
    let (_, profile, merge) = path.into_inner();
    let profile: ProfileId = profile.parse().map_err(|_| Error::not_found("profile"))?;
    let merge: MergeId = merge.parse().map_err(|_| Error::not_found("merge"))?;
    let workspace = visitor.membership.workspace;
    form.open_signed(&visitor.person.form_token, &[])?;
    visitor
        .desk()
        .change(visitor.user(), move |connection, actor| {
            manage::undo_merge(connection, actor, workspace, merge)
        })
        .await?;
    let page = format!("{}/profiles/{profile}", visitor.base());
    Ok(see_other(&flash::to(&page, Said::Undoing, 0)))
}
