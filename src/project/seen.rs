//! What events add to one profile: counted, its traits merged, its stages. Data and rules of a window's
//! gathering; who the profile is and where it is written are not its business.

use super::herald::Herald;
use super::news::News;
use crate::billing::BillingChange;
use crate::error::{Error, Result};
use crate::event::{EventKind, Verification};
use crate::funnel::Stage;
use crate::id::{EventId, FunnelId, ProfileId, WorkspaceId};
use crate::identity::ProfileKind;
use crate::profile::TraitChanges;
use crate::store::billing::{self, Standing};
use crate::store::people::{self, Activity, Advance, Scribe};

/// An event of a window, as far as its profiles are changed by it.
#[derive(Debug)]
pub(super) struct Happening {
    pub(super) id: EventId,
    pub(super) kind: EventKind,
    pub(super) verification: Verification,
    pub(super) occurred_at_ms: i64,
    /// The month in which it was received.
    pub(super) month: i64,
    pub(super) traits: Option<Box<str>>,
    pub(super) replace_traits: bool,
    /// Where its type leads, in which funnel.
    pub(super) leads_to: Vec<(FunnelId, Stage)>,
    /// What the payment provider says by it.
    pub(super) billing: Option<Box<Billing>>,
}

/// What an event of the payment provider changes, and in which funnels the stage that follows counts.
#[derive(Debug, Clone)]
pub(super) struct Billing {
    pub(super) change: BillingChange,
    pub(super) funnels: Vec<FunnelId>,
}

/// What an event that is about two profiles says of one of them, beyond that it happened.
#[derive(Debug, Clone, Copy)]
pub(super) struct Says {
    /// Its traits are this one's.
    pub(super) traits: bool,
    /// It leads this one to a stage.
    pub(super) stages: bool,
}

/// What a stretch of events adds to a profile.
#[derive(Debug)]
pub(super) struct Seen {
    activity: Activity,
    traits: TraitChanges<EventId>,
    /// The last event that brought any.
    traits_by: Option<EventId>,
    /// What leads on, in the log's order.
    marks: Vec<Mark>,
}

/// What leads a profile on.
#[derive(Debug)]
enum Mark {
    Advance(Advance),
    /// What the payment provider said, by which event and when.
    Billing(EventId, i64, Box<Billing>),
}

impl Seen {
    pub(super) fn begin(happening: &Happening) -> Self {
        Self {
            activity: Activity::once(happening.occurred_at_ms, happening.month),
            traits: TraitChanges::default(),
            traits_by: None,
            marks: Vec::new(),
        }
    }

    /// Whether the next event can be counted here: one stretch is of one month.
    pub(super) fn takes(&self, happening: &Happening) -> bool {
        self.activity.month == happening.month
    }

    pub(super) fn count(&mut self, happening: &Happening) {
        self.activity.add(happening.occurred_at_ms);
    }

    /// What an event says beyond that it happened.
    ///
    /// # Errors
    /// When its traits are no JSON object, which the way in rules out.
    pub(super) fn add(&mut self, happening: &Happening, says: Says) -> Result<()> {
        if matches!(happening.kind, EventKind::Page | EventKind::Screen) {
            self.activity.pageviews += 1;
        }
        let leads_to = happening.leads_to.iter().filter(|_| says.stages);
        if !happening.leads_to.is_empty() && says.stages {
            self.activity.goals += 1;
        }
        for (funnel, stage) in leads_to {
            let is_further = self.marks.iter().all(|mark| match mark {
                Mark::Advance(advance) => advance.funnel != *funnel || advance.stage < *stage,
                Mark::Billing(..) => true,
            });
            if is_further {
                self.marks.push(Mark::Advance(Advance {
                    funnel: *funnel,
                    stage: *stage,
                    event: happening.id,
                    at_ms: happening.occurred_at_ms,
                }));
            }
        }
        if let Some(billing) = happening.billing.as_ref().filter(|_| says.stages) {
            let at_ms = happening.occurred_at_ms;
            let mark = Mark::Billing(happening.id, at_ms, billing.clone());
            self.marks.push(mark);
        }
        let Some(traits) = happening.traits.as_ref().filter(|_| says.traits) else {
            return Ok(());
        };
        self.traits_by = Some(happening.id);
        let is_verified = happening.verification != Verification::Unverified;
        self.traits
            .merge(traits, happening.replace_traits, is_verified, happening.id)
            .map_err(Error::internal)
    }

    /// When the one event happened and in which month it was received, if it is one, and no more is to be
    /// said of it.
    pub(super) fn plain(&self) -> Option<(i64, i64)> {
        let says_nothing =
            self.marks.is_empty() && self.traits.set.is_empty() && !self.traits.replaces;
        let is_plain = says_nothing && self.activity.is_one_plain_event();
        is_plain.then_some((self.activity.begun_at_ms, self.activity.month))
    }

    /// Rows that are written because of it, about.
    pub(super) fn rows(&self) -> usize {
        self.traits.set.len() + 4 * self.marks.len()
    }

    /// # Errors
    /// When the file refuses.
    pub(super) fn write(
        &self,
        scribe: &mut Scribe<'_>,
        herald: &mut Herald<'_>,
        news: &mut News,
        (workspace, kind, profile): (WorkspaceId, ProfileKind, ProfileId),
    ) -> Result<()> {
        scribe.add_activity(workspace, profile, kind, &self.activity)?;
        let connection = scribe.connection();
        news.before_traits(connection, &self.traits, self.traits_by)?;
        people::change_traits(connection, profile, &self.traits)?;
        let advance = |herald: &mut Herald<'_>, news: &mut News, advance: &Advance| {
            let from = people::advance(connection, profile, kind, advance)?;
            news.advanced(herald, from, advance)
        };
        for mark in &self.marks {
            match mark {
                Mark::Advance(mark) => advance(herald, news, mark)?,
                Mark::Billing(event, at_ms, said) => {
                    let watched = match &said.change {
                        BillingChange::Subscription(said) if news.wishes().subscription_changed => {
                            Some(&*said.subscription.id)
                        }
                        _ => None,
                    };
                    let look = || -> Result<Option<Standing>> {
                        let look = |id| billing::standing(connection, workspace, profile, id);
                        watched.map(look).transpose()
                    };
                    let before = look()?;
                    let follows =
                        billing::apply(connection, workspace, profile, *event, &said.change)?;
                    if let Some((before, after)) = before.zip(look()?) {
                        news.subscription_said(herald, before, after, *event)?;
                    }
                    let Some(stage) = follows.stage else { continue };
                    for funnel in &said.funnels {
                        let mark = Advance {
                            funnel: *funnel,
                            stage,
                            event: *event,
                            at_ms: *at_ms,
                        };
                        advance(herald, news, &mark)?;
                    }
                }
            }
        }
        Ok(())
    }
}
