//! Event types: what people may declare of one (webhooks.md, "Event types"). The families that every workspace
//! knows beforehand are in `families.rs`, an example of each of their types in `examples.rs`. Pure.

mod examples;
mod families;

pub use examples::example_data;
pub use families::{FAMILIES, Family, admin_type, builtin_description};

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
