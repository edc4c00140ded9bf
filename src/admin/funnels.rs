//! Funnels: how many people stand at each stage, how many went on, and which events lead there.

use super::answer::{Page, page, see_other};
use super::flash::{self, Flash, Said};
use super::format::number;
use super::forms::{Fields, Form, Refusals};
use super::session::Visitor;
use super::view::{Section, Shell};
use crate::access::Role;
use crate::error::{Error, Result};
use crate::funnel::Stage;
use crate::id::{FunnelId, WorkspaceId};
use crate::manage::{self, FunnelInput};
use crate::store::{funnels, journal};
use actix_web::web;
use askama::Template;
use rusqlite::Connection;

/// The stages that events lead to: all but the first, where everybody begins.
const LED_TO: [Stage; 3] = [Stage::Consideration, Stage::Trial, Stage::Customer];

struct Step {
    stage: &'static str,
    /// Who stands here now.
    here: String,
    /// Who came here or further.
    reached: String,
    /// Of those who came to the stage before, in percent.
    conversion: String,
    /// Of all, in percent, for the bar.
    share: i64,
}

struct Map {
    field: &'static str,
    label: &'static str,
    events: String,
}

struct Funnel {
    id: String,
    name: String,
    steps: Vec<Step>,
    map: Vec<Map>,
    refusals: Refusals,
    is_open: bool,
}

#[derive(Template)]
#[template(path = "funnels.html")]
struct List {
    shell: Shell,
    funnels: Vec<Funnel>,
    new: Funnel,
    may_change: bool,
}

/// What was refused, of which funnel; `None` of a new one.
type Refused = (Option<FunnelId>, FunnelInput, Refusals);

fn read(connection: &Connection, workspace: WorkspaceId) -> Result<Vec<Funnel>> {
    let (people, _) = journal::population(connection, workspace)?;
    funnels::of_workspace(connection, workspace)?
        .into_iter()
        .map(|funnel| {
            let counts = funnels::stage_counts(connection, funnel.id)?;
            let rules = funnels::rules(connection, funnel.id)?;
            let of_stage = |stage: Stage| {
                let events = rules.iter().filter(|(_, at)| *at == stage);
                let events: Vec<&str> = events.map(|(event, _)| event.as_str()).collect();
                events.join("\n")
            };
            Ok(Funnel {
                id: funnel.id.to_string(),
                name: funnel.name,
                steps: steps(people, &counts),
                map: map(of_stage),
                refusals: Refusals::default(),
                is_open: false,
            })
        })
        .collect()
}

fn map(events: impl Fn(Stage) -> String) -> Vec<Map> {
    LED_TO
        .into_iter()
        .map(|stage| Map {
            field: stage.as_str(),
            label: stage.label(),
            events: events(stage),
        })
        .collect()
}

fn steps(all: i64, counts: &[(Stage, i64)]) -> Vec<Step> {
    let at = |stage: Stage| {
        let found = counts.iter().find(|(known, _)| *known == stage);
        found.map_or(0, |(_, count)| *count)
    };
    let beyond: i64 = LED_TO.into_iter().map(at).sum();
    let mut reached_before = None;
    Stage::ALL
        .into_iter()
        .map(|stage| {
            let (here, reached) = if stage == Stage::Awareness {
                ((all - beyond).max(0), all.max(beyond))
            } else {
                let reached = LED_TO.into_iter().filter(|later| *later >= stage);
                (at(stage), reached.map(at).sum())
            };
            let conversion = match reached_before {
                Some(before) if before > 0 => format!("{} %", reached * 100 / before),
                Some(_) | None => String::new(),
            };
            reached_before = Some(reached);
            Step {
                stage: stage.label(),
                here: number(here),
                reached: number(reached),
                conversion,
                share: reached * 100 / all.max(1),
            }
        })
        .collect()
}

async fn render(visitor: &Visitor, flash: &Flash, refused: Option<Refused>) -> Page {
    let workspace = visitor.membership.workspace;
    let mut funnels = visitor
        .desk()
        .read(move |connection| read(connection, workspace))
        .await?;
    let mut new = Funnel {
        id: String::new(),
        name: String::new(),
        steps: Vec::new(),
        map: map(|_| String::new()),
        refusals: Refusals::default(),
        is_open: false,
    };
    let mut status = Refusals::default().status();
    if let Some((id, input, refusals)) = refused {
        status = refusals.status();
        let of_stage = |stage: Stage| {
            let found = input.stages.iter().find(|(known, _)| *known == stage);
            found.map_or(String::new(), |(_, events)| events.clone())
        };
        let id = id.map(|id| id.to_string());
        let shown = funnels
            .iter_mut()
            .find(|funnel| Some(&funnel.id) == id.as_ref());
        let shown = shown.unwrap_or(&mut new);
        shown.map = map(of_stage);
        shown.name = input.name;
        shown.refusals = refusals;
        shown.is_open = true;
    }
    let list = List {
        shell: Shell::new(visitor, Section::Funnels, "Funnels", flash),
        funnels,
        new,
        may_change: visitor.membership.role >= Role::Member,
    };
    page(status, &list)
}

/// The funnels of the workspace.
pub(super) async fn list(visitor: Visitor, flash: web::Query<Flash>) -> Page {
    render(&visitor, &flash, None).await
}

/// Makes a funnel.
pub(super) async fn create(visitor: Visitor, form: Form) -> Page {
    store(visitor, None, form).await
}

/// Changes a funnel.
pub(super) async fn save(visitor: Visitor, path: web::Path<(String, String)>, form: Form) -> Page {
    let id: FunnelId = path.1.parse().map_err(|_| Error::not_found("funnel"))?;
    store(visitor, Some(id), form).await
}

async fn store(visitor: Visitor, id: Option<FunnelId>, form: Form) -> Page {
    visitor.must_be(Role::Member)?;
    let allowed = ["name", "consideration", "trial", "customer"];
    let fields = form.open_signed(&visitor.person.form_token, &allowed)?;
    let input = input(&fields);
    let (workspace, wanted) = (visitor.membership.workspace, input.clone());
    let saved = visitor
        .desk()
        .change_catalog(visitor.user(), move |connection, actor| {
            manage::save_funnel(connection, actor, workspace, id, &wanted)
        })
        .await;
    match saved {
        Ok(_) => {
            let list = format!("{}/funnels", visitor.base());
            Ok(see_other(&flash::to(&list, Said::FunnelSaved, 0)))
        }
        Err(error) => {
            let refusals = Refusals::of(error)?;
            render(&visitor, &Flash::default(), Some((id, input, refusals))).await
        }
    }
}

fn input(fields: &Fields) -> FunnelInput {
    FunnelInput {
        name: fields.one("name").to_owned(),
        stages: LED_TO
            .into_iter()
            .map(|stage| (stage, fields.one(stage.as_str()).to_owned()))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_went_further_has_come_by_all_that_is_before() {
        let steps = steps(10, &[(Stage::Consideration, 2), (Stage::Customer, 3)]);
        let said: Vec<_> = steps
            .iter()
            .map(|step| (&*step.here, &*step.reached, &*step.conversion))
            .collect();
        assert_eq!(
            said,
            [
                ("5", "10", ""),
                ("2", "5", "50 %"),
                ("0", "3", "60 %"),
                ("3", "3", "100 %")
            ]
        );
    }
}
