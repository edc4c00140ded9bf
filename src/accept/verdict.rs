//! What the schemas that people declare say of events on their way in: checked off the writer's thread, counted
//! once it is known what became of the event. Knows no log.

use crate::error::Error;
use crate::event::Event;
use crate::event_type::Mode;
use crate::id::EventId;
use crate::schema::Budget;
use crate::store::catalog::CatalogHandle;
use crate::violations::{Violation, Violations};
use std::sync::Arc;

/// What the schema of its type says of an event.
pub(super) enum Verdict {
    /// Nothing, or there is none.
    Fine,
    /// It does not match, and is stored all the same.
    Observed(Violation),
    /// It does not match, and is refused.
    Refused(Violation, Error),
}

/// An event that is stored although it does not match, by its place among those that came with it.
pub(super) type Observed = (usize, Violation);

/// Judges events by the schemas of their types.
#[derive(Debug, Clone)]
pub(super) struct Judge {
    catalog: CatalogHandle,
    violations: Arc<Violations>,
}

impl Judge {
    pub(super) fn new(catalog: CatalogHandle, violations: Arc<Violations>) -> Self {
        Self {
            catalog,
            violations,
        }
    }

    /// Whether a schema is declared of an event's type.
    pub(super) fn is_checked(&self, event: &Event) -> bool {
        let catalog = self.catalog.current();
        catalog.checked_type(event.workspace, &event.name).is_some()
    }

    /// Checks an event by the schema that is declared of its type, where there is one.
    pub(super) fn check(&self, event: &Event, budget: &mut Budget) -> Verdict {
        let catalog = self.catalog.current();
        let Some(checked) = catalog.checked_type(event.workspace, &event.name) else {
            return Verdict::Fine;
        };
        let fields = checked.violations(event, budget);
        let Some(first) = fields.first() else {
            return Verdict::Fine;
        };
        let violation = Violation::of(event, first.clone());
        match checked.mode {
            Mode::Observe => Verdict::Observed(violation),
            Mode::Enforce => Verdict::Refused(violation, Error::fields(fields)),
        }
    }

    /// Counts an event that is refused.
    pub(super) fn note_refused(&self, violation: Violation) {
        self.violations.note(violation, None);
    }

    /// Counts what did not match and is in the log; `stored` says as which event, or that it is not to be counted.
    pub(super) fn note_observed(
        &self,
        observed: Vec<Observed>,
        stored: impl Fn(usize) -> Option<EventId>,
    ) {
        for (index, violation) in observed {
            if let Some(id) = stored(index) {
                self.violations.note(violation, Some(id));
            }
        }
    }
}
