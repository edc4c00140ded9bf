//! Event types: what people may declare of one, and the families that every workspace knows beforehand
//! (webhooks.md, "Event types"). Pure.

use crate::error::{Error, FieldError, Result};
use crate::event::{Event, EventKind};
use crate::normalize;
pub use crate::schema::SCHEMA_VIOLATION;
use crate::schema::{Budget, Schema};
use serde_json::value::RawValue;

/// A description has at most this many characters.
pub const MAX_DESCRIPTION_CHARS: usize = 500;
/// An example has at most this many bytes.
pub const MAX_EXAMPLE_BYTES: usize = 16 * 1_024;
/// A workspace declares at most this many types.
pub const MAX_DECLARED: usize = 500;

/// What becomes of an event that does not match its type's schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It is stored and counted.
    Observe,
    /// It is refused.
    Enforce,
}

impl Mode {
    /// The word in the file and in forms.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Enforce => "enforce",
        }
    }

    /// The mode of that name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Observe, Self::Enforce]
            .into_iter()
            .find(|mode| mode.as_str() == text)
    }
}

/// A declared type that has a schema.
#[derive(Debug)]
pub struct CheckedType {
    /// What becomes of what does not match.
    pub mode: Mode,
    /// What its properties, or traits, are to be.
    pub schema: Schema,
}

impl CheckedType {
    /// Which fields of `event`, which is of this type, do not match; pointers are from the event's root.
    /// The events of one request share a budget.
    pub fn violations(&self, event: &Event, budget: &mut Budget) -> Vec<FieldError> {
        let (part, object) = match event.kind {
            EventKind::Identify | EventKind::Group => ("traits", &event.traits),
            EventKind::Track | EventKind::Page | EventKind::Screen | EventKind::Alias => {
                ("properties", &event.properties)
            }
        };
        self.schema
            .violations(object.as_deref().unwrap_or("{}"), budget)
            .into_iter()
            .map(|violation| FieldError {
                pointer: format!("/{part}{}", violation.pointer),
                code: violation.code,
                detail: format!(
                    "{}; see the schema of {} on the Event types page.",
                    violation.detail, event.name
                ),
            })
            .collect()
    }
}

/// What a person says of an event type, unchecked.
#[derive(Debug, Clone, Default)]
pub struct Declaration {
    /// The type.
    pub name: String,
    /// What it means.
    pub description: String,
    /// JSON Schema; empty is none.
    pub schema: String,
    /// `observe` or `enforce`; empty is the first.
    pub mode: String,
    /// JSON object; empty is none.
    pub example: String,
}

/// What a person says of an event type, every rule applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    /// The type.
    pub name: String,
    /// What it means; may be empty.
    pub description: String,
    /// JSON Schema.
    pub schema: Option<String>,
    /// What becomes of what does not match.
    pub mode: Mode,
    /// JSON object.
    pub example: Option<String>,
}

impl Declaration {
    /// Checks every field, and says all that is wrong at once.
    ///
    /// # Errors
    /// Names the fields `name`, `description`, `schema`, `mode` and `example`.
    pub fn check(&self) -> Result<Declared> {
        let mut refused = Vec::new();
        let mut refuse = |result: Result<()>| {
            if let Err(e) = result {
                refused.extend(e.field_errors().to_vec());
            }
        };
        refuse(normalize::check_name(&self.name, "name"));
        let description = self.description.trim();
        if description.chars().count() > MAX_DESCRIPTION_CHARS {
            let detail = format!("A description has at most {MAX_DESCRIPTION_CHARS} characters.");
            refuse(Err(Error::field("/description", "too_long", detail)));
        }
        let schema = match self.schema.trim() {
            "" => None,
            text => match Schema::compile(text) {
                Ok(schema) => Some(schema),
                Err(e) => {
                    refuse(Err(e));
                    None
                }
            },
        };
        let mode = match self.mode.as_str() {
            "" => Some(Mode::Observe),
            word => Mode::parse(word),
        };
        let needs_schema = mode == Some(Mode::Enforce) && self.schema.trim().is_empty();
        if mode.is_none() || needs_schema {
            let detail =
                "Choose whether to observe or to enforce; to enforce, there must be a schema.";
            refuse(Err(Error::field("/mode", "required", detail)));
        }
        let example = match self.example.trim() {
            "" => None,
            text => {
                refuse(check_example(text, schema.as_ref()));
                Some(text.to_owned())
            }
        };
        if !refused.is_empty() {
            return Err(Error::fields(refused));
        }
        Ok(Declared {
            name: self.name.clone(),
            description: description.to_owned(),
            schema: schema.map(|schema| schema.text().to_owned()),
            mode: mode.unwrap_or(Mode::Observe),
            example,
        })
    }
}

fn check_example(text: &str, schema: Option<&Schema>) -> Result<()> {
    let refused = |code, detail: String| Err(Error::field("/example", code, detail));
    if text.len() > MAX_EXAMPLE_BYTES {
        let detail = format!("An example has at most {MAX_EXAMPLE_BYTES} bytes.");
        return refused("too_long", detail);
    }
    if let Err(e) = serde_json::from_str::<&RawValue>(text) {
        return refused("invalid_json", format!("The example is not JSON: {e}."));
    }
    if !text.starts_with('{') {
        let detail = "The example is a JSON object, as the event's properties or traits are.";
        return refused("wrong_type", detail.to_owned());
    }
    let mut budget = Budget::of_request();
    let violation =
        schema.and_then(|schema| schema.violations(text, &mut budget).into_iter().next());
    match violation {
        None => Ok(()),
        Some(violation) => {
            let place = match violation.pointer.as_str() {
                "" => "its root",
                pointer => pointer,
            };
            let detail = format!(
                "The example does not match the schema: at {place}, {}.",
                violation.detail
            );
            refused(violation.code, detail)
        }
    }
}

// FAMILIES ----------------------------------------------------------------------------------

/// Types that belong together.
#[derive(Debug)]
pub struct Family {
    /// What it is called.
    pub title: &'static str,
    /// The pattern with which a webhook gets all of it, where there is one.
    pub pattern: Option<&'static str>,
    /// What it is about.
    pub about: &'static str,
    /// The types and what each means.
    pub types: &'static [(&'static str, &'static str)],
}

/// The families that every workspace knows.
pub const FAMILIES: [Family; 11] = [
    Family {
        title: "Kinds without a name",
        pattern: None,
        about: "Events that are not tracked under a name of their own",
        types: &[
            ("identify", "Something is known of a person"),
            ("page", "A page was seen"),
            ("screen", "A screen was seen"),
            ("group", "Something is known of an account"),
            ("alias", "Two ids are one"),
        ],
    },
    Family {
        title: "Tours",
        pattern: Some("tour.*"),
        about: "Product tours",
        types: &[
            ("tour.created", "A tour was created"),
            ("tour.published", "A tour was published"),
            ("tour.deleted", "A tour was deleted"),
            ("tour.status-changed", "A tour has another status"),
            ("tour.started", "Somebody began a tour"),
            ("tour.completed", "Somebody finished a tour"),
        ],
    },
    Family {
        title: "Surveys",
        pattern: Some("survey.*"),
        about: "Surveys and their answers",
        types: &[
            ("survey.created", "A survey was created"),
            ("survey.published", "A survey was published"),
            ("survey.deleted", "A survey was deleted"),
            ("survey.status-changed", "A survey has another status"),
            ("survey.started", "Somebody began a survey"),
            ("survey.completed", "Somebody finished a survey"),
            (
                "survey.step.answered",
                "Somebody answered a step of a survey",
            ),
        ],
    },
    Family {
        title: "Checklists",
        pattern: Some("checklist.*"),
        about: "Checklists and their tasks",
        types: &[
            ("checklist.created", "A checklist was created"),
            ("checklist.published", "A checklist was published"),
            ("checklist.deleted", "A checklist was deleted"),
            ("checklist.status-changed", "A checklist has another status"),
            ("checklist.started", "Somebody began a checklist"),
            ("checklist.completed", "Somebody finished a checklist"),
            ("checklist.dismissed", "Somebody dismissed a checklist"),
            (
                "checklist.task.completed",
                "Somebody finished a task of a checklist",
            ),
            (
                "checklist.task.skipped",
                "Somebody skipped a task of a checklist",
            ),
        ],
    },
    Family {
        title: "Hints",
        pattern: Some("hint.*"),
        about: "Hints beside a product's own elements",
        types: &[
            ("hint.created", "A hint was created"),
            ("hint.published", "A hint was published"),
            ("hint.deleted", "A hint was deleted"),
            ("hint.status-changed", "A hint has another status"),
            ("hint.seen", "Somebody saw a hint"),
        ],
    },
    Family {
        title: "Banners",
        pattern: Some("banner.*"),
        about: "Banners on a product's pages",
        types: &[
            ("banner.created", "A banner was created"),
            ("banner.published", "A banner was published"),
            ("banner.deleted", "A banner was deleted"),
            ("banner.status-changed", "A banner has another status"),
            ("banner.seen", "Somebody saw a banner"),
        ],
    },
    Family {
        title: "Posts",
        pattern: Some("post.*"),
        about: "Posts and what readers do with them",
        types: &[
            ("post.created", "A post was created"),
            ("post.published", "A post was published"),
            ("post.deleted", "A post was deleted"),
            ("post.liked", "Somebody liked a post"),
            ("post.commented", "Somebody commented on a post"),
        ],
    },
    Family {
        title: "Profiles",
        pattern: Some("profile.*"),
        about: "What the box finds out about people and accounts; sent by the box alone",
        types: &[
            (
                "profile.created",
                "A person or account was seen for the first time",
            ),
            ("profile.updated", "A profile's traits changed"),
            ("profile.merged", "Two profiles turned out to be one"),
            ("profile.stage_changed", "A profile advanced in a funnel"),
        ],
    },
    Family {
        title: "Customers",
        pattern: Some("customer.*"),
        about: "Billing; sent by the box alone",
        types: &[(
            "customer.subscription_changed",
            "A customer's subscription began, changed or ended",
        )],
    },
    Family {
        title: "Management",
        pattern: Some("admin.*"),
        about: "What people change in the workspace; sent by the box alone",
        types: &[
            ("admin.webhook.created", "A webhook was created"),
            ("admin.webhook.updated", "A webhook was changed"),
            ("admin.webhook.paused", "A webhook was paused"),
            ("admin.webhook.activated", "A webhook sends again"),
            ("admin.webhook.deleted", "A webhook was deleted"),
            ("admin.api_key.created", "An API key was created"),
            ("admin.api_key.revoked", "An API key was revoked"),
            ("admin.source.*", "A source was created or changed"),
            ("admin.member.*", "A member came, went or has another role"),
        ],
    },
    Family {
        title: "System",
        pattern: Some("system.*"),
        about: "What the box itself has to say; sent by the box alone",
        types: &[
            (
                "system.mau_limit_near",
                "Four fifths of the month's active users are reached",
            ),
            (
                "system.mau_limit_reached",
                "The month's active users are reached",
            ),
            (
                "system.webhook_failing",
                "A webhook's fourth attempt in a row failed",
            ),
            ("system.webhook_disabled", "The box stopped a webhook"),
            ("system.delivery_exhausted", "A delivery failed for good"),
            ("system.storage_low", "The disk is nearly full"),
        ],
    },
];

/// What a type of the families means.
pub fn builtin_description(name: &str) -> Option<&'static str> {
    FAMILIES
        .iter()
        .flat_map(|family| family.types)
        .find(|(known, _)| *known == name)
        .map(|(_, about)| *about)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declaration(schema: &str, mode: &str, example: &str) -> Declaration {
        Declaration {
            name: "Order Paid".to_owned(),
            schema: schema.to_owned(),
            mode: mode.to_owned(),
            example: example.to_owned(),
            ..Declaration::default()
        }
    }

    fn refusals(declaration: &Declaration) -> Vec<String> {
        match declaration.check() {
            Ok(_) => Vec::new(),
            Err(e) => e
                .field_errors()
                .iter()
                .map(|field| format!("{} {}", field.pointer, field.code))
                .collect(),
        }
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once() {
        let all = Declaration {
            name: "system.x".to_owned(),
            description: "d".repeat(501),
            schema: "{".to_owned(),
            mode: "maybe".to_owned(),
            example: "[]".to_owned(),
        };
        assert_eq!(
            refusals(&all),
            [
                "/name reserved_name",
                "/description too_long",
                "/schema invalid_json",
                "/mode required",
                "/example wrong_type"
            ]
        );
        assert_eq!(refusals(&declaration("", "", "")), [""; 0]);
        assert_eq!(
            refusals(&declaration("", "enforce", "")),
            ["/mode required"]
        );
        assert_eq!(
            refusals(&declaration("", "", "{x}")),
            ["/example invalid_json"]
        );
        let long = format!("{{\"a\":\"{}\"}}", "x".repeat(MAX_EXAMPLE_BYTES));
        assert_eq!(refusals(&declaration("", "", &long)), ["/example too_long"]);
    }

    #[test]
    fn an_example_matches_its_schema() {
        let schema = r#"{"required":["plan"]}"#;
        assert_eq!(
            refusals(&declaration(schema, "enforce", "{}")),
            ["/example schema_violation"]
        );
        assert_eq!(
            refusals(&declaration(schema, "enforce", r#"{"plan":1}"#)),
            [""; 0]
        );
    }

    #[test]
    fn families_hold_each_type_once_and_say_what_it_means() {
        let mut names: Vec<_> = FAMILIES
            .iter()
            .flat_map(|family| {
                let prefix = family
                    .pattern
                    .map_or("", |pattern| pattern.trim_end_matches('*'));
                family.types.iter().map(move |(name, about)| {
                    assert!(name.starts_with(prefix) && !about.is_empty(), "{name}");
                    *name
                })
            })
            .collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        assert_eq!(
            builtin_description("post.liked"),
            Some("Somebody liked a post")
        );
    }
}
