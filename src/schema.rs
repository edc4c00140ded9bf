//! A declared JSON Schema: what may be one, and whether an object matches it. Pure. A schema is written by
//! one person and checked with every event of its type, so its cost is bounded: it refers to nothing
//! outside of itself and never to itself, and its patterns run in linear time.

use crate::error::{Error, Result};
use jsonschema::error::ValidationErrorKind;
use jsonschema::{PatternOptions, ValidationError, Validator};
use serde_json::{Map, Value};
use std::fmt;

/// A schema has at most this many bytes.
pub const MAX_SCHEMA_BYTES: usize = 32 * 1_024;
/// A schema has at most this many parts, each counted as often as it is referred to.
const MAX_PARTS: usize = 2_000;
/// A schema has at most this many patterns.
const MAX_PATTERNS: usize = 50;
/// A compiled pattern has at most this many bytes, roughly.
const MAX_PATTERN_BYTES: usize = 256 * 1_024;
/// So many violations of one object are named.
const MAX_VIOLATIONS: usize = 20;

/// The dialects of JSON Schema that are read; the first is the one of a schema that names none.
const DIALECTS: [&str; 4] = [
    "json-schema.org/draft/2020-12/schema",
    "json-schema.org/draft/2019-09/schema",
    "json-schema.org/draft-07/schema",
    "json-schema.org/draft-06/schema",
];
/// Keywords whose members are schemas by name.
const NAMED_PARTS: [&str; 6] = [
    "properties",
    "patternProperties",
    "$defs",
    "definitions",
    "dependentSchemas",
    "dependencies",
];
/// Keywords that hold values and no schemas.
const VALUES: [&str; 4] = ["enum", "const", "default", "examples"];

/// A schema that was compiled.
pub struct Schema {
    text: Box<str>,
    validator: Validator,
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Schema").field(&self.text).finish()
    }
}

/// Where an object does not match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// JSON pointer from the object's root.
    pub pointer: String,
    /// What is wrong, without the value.
    pub detail: String,
}

impl Schema {
    /// Compiles a schema.
    ///
    /// # Errors
    /// A refusal of the field `schema` that names the place in it.
    pub fn compile(text: &str) -> Result<Self> {
        if text.len() > MAX_SCHEMA_BYTES {
            let detail = format!("A schema has at most {MAX_SCHEMA_BYTES} bytes.");
            return Err(refused("schema_too_large", detail));
        }
        let schema: Value = serde_json::from_str(text)
            .map_err(|e| refused("invalid_json", format!("The schema is not JSON: {e}.")))?;
        let Value::Object(root) = &schema else {
            let detail = "A schema is a JSON object, such as {\"type\": \"object\"}.";
            return Err(refused("wrong_type", detail));
        };
        check_dialect(root)?;
        Walk {
            root: &schema,
            parts: 0,
            patterns: 0,
            path: Vec::new(),
            followed: Vec::new(),
        }
        .part(&schema)?;
        let validator = jsonschema::options()
            .offline()
            .should_validate_formats(true)
            // Compiling what a stranger sends as a pattern could cost anything.
            .with_format("regex", |_: &str| true)
            .with_pattern_options(PatternOptions::regex().size_limit(MAX_PATTERN_BYTES))
            .build(&schema)
            .map_err(|e| invalid(&e))?;
        Ok(Self {
            text: text.into(),
            validator,
        })
    }

    /// The schema as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Where `object`, JSON text, does not match.
    pub fn violations(&self, object: &str) -> Vec<Violation> {
        let Ok(value) = serde_json::from_str::<Value>(object) else {
            return vec![Violation {
                pointer: String::new(),
                detail: "It cannot be read as JSON".to_owned(),
            }];
        };
        if self.validator.is_valid(&value) {
            return Vec::new();
        }
        self.validator
            .iter_errors(&value)
            .take(MAX_VIOLATIONS)
            .map(|error| violation(&error))
            .collect()
    }
}

fn violation(error: &ValidationError<'_>) -> Violation {
    let pointer = error.instance_path().to_string();
    if let ValidationErrorKind::Required { property } = error.kind()
        && let Some(property) = property.as_str()
    {
        return Violation {
            pointer: format!("{pointer}/{}", escaped(property)),
            detail: format!("{property} is required"),
        };
    }
    let name = pointer.rsplit('/').next().unwrap_or("");
    let name = name.replace("~1", "/").replace("~0", "~");
    let what = if name.is_empty() { "it" } else { &*name };
    Violation {
        detail: error.masked_with(what).to_string(),
        pointer,
    }
}

fn refused(code: &'static str, detail: impl Into<String>) -> Error {
    Error::field("/schema", code, detail)
}

fn refused_at(code: &'static str, place: &str, what: &str) -> Error {
    let place = if place.is_empty() { "the root" } else { place };
    refused(code, format!("At {place}: {what}"))
}

fn invalid(error: &ValidationError<'_>) -> Error {
    let (instance, schema) = (error.instance_path().to_string(), error.schema_path());
    let place = if instance.is_empty() {
        schema.to_string()
    } else {
        instance
    };
    refused_at(
        "invalid_schema",
        &place,
        &format!("this is no valid JSON Schema: {error}."),
    )
}

fn check_dialect(root: &Map<String, Value>) -> Result<()> {
    let Some(dialect) = root.get("$schema") else {
        return Ok(());
    };
    let named = dialect.as_str().unwrap_or("").trim_end_matches('#');
    let is_known = ["https://", "http://"].iter().any(|scheme| {
        named
            .strip_prefix(scheme)
            .is_some_and(|rest| DIALECTS.contains(&rest))
    });
    if is_known {
        return Ok(());
    }
    let what = "this dialect is not read; use https://json-schema.org/draft/2020-12/schema, 2019-09, draft-07 or draft-06.";
    Err(refused_at("unknown_dialect", "/$schema", what))
}

/// A walk over a schema that goes where a check of an object would go.
struct Walk<'s> {
    root: &'s Value,
    parts: usize,
    patterns: usize,
    /// Where it is, in the members' own names.
    path: Vec<String>,
    /// The references that lead here.
    followed: Vec<&'s str>,
}

impl<'s> Walk<'s> {
    /// A schema, or an array of them.
    fn part(&mut self, value: &'s Value) -> Result<()> {
        match value {
            Value::Object(members) => self.schema(members),
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.inside(index.to_string(), |walk| walk.part(item))?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn schema(&mut self, members: &'s Map<String, Value>) -> Result<()> {
        self.parts += 1;
        if self.parts > MAX_PARTS {
            let what = format!(
                "the schema has more than {MAX_PARTS} parts, counting each as often as it is referred to."
            );
            return Err(self.refused("schema_too_large", &what));
        }
        for (name, value) in members {
            self.inside(name.clone(), |walk| walk.member(name, value))?;
        }
        Ok(())
    }

    fn member(&mut self, name: &'s str, value: &'s Value) -> Result<()> {
        match (name, value) {
            ("$ref", Value::String(reference)) => self.follow(reference),
            ("$dynamicRef" | "$recursiveRef", Value::String(_)) => {
                let what = "references that depend on where they are met are not followed; use $ref with #/$defs/….";
                Err(self.refused("unsupported_ref", what))
            }
            ("$id" | "$schema", Value::String(_)) if self.path.len() > 1 => {
                let what = format!("{name} may stand at the root only.");
                Err(self.refused("unsupported_ref", &what))
            }
            ("pattern", Value::String(_)) => self.pattern(),
            (name, Value::Object(parts)) if NAMED_PARTS.contains(&name) => {
                for (part_name, part) in parts {
                    if name == "patternProperties" {
                        self.pattern()?;
                    }
                    self.inside(part_name.clone(), |walk| walk.part(part))?;
                }
                Ok(())
            }
            (name, _) if VALUES.contains(&name) => Ok(()),
            (_, part) => self.part(part),
        }
    }

    fn pattern(&mut self) -> Result<()> {
        self.patterns += 1;
        if self.patterns > MAX_PATTERNS {
            let what = format!("the schema has more than {MAX_PATTERNS} patterns.");
            return Err(self.refused("schema_too_large", &what));
        }
        Ok(())
    }

    fn follow(&mut self, reference: &'s str) -> Result<()> {
        let Some(pointer) = reference.strip_prefix('#') else {
            let what = format!(
                "{reference} is outside of the schema, and nothing is fetched; put it under $defs and refer to #/$defs/…."
            );
            return Err(self.refused("remote_ref", &what));
        };
        if self.followed.contains(&reference) || pointer.is_empty() {
            let what = format!(
                "{reference} leads back to itself; a schema that contains itself is not taken."
            );
            return Err(self.refused("recursive_schema", &what));
        }
        let Some(target) = self.root.pointer(pointer) else {
            let what = format!("there is nothing at {reference}.");
            return Err(self.refused("unknown_ref", &what));
        };
        self.followed.push(reference);
        self.part(target)?;
        self.followed.pop();
        Ok(())
    }

    fn inside(&mut self, name: String, go: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        self.path.push(name);
        go(self)?;
        self.path.pop();
        Ok(())
    }

    fn refused(&self, code: &'static str, what: &str) -> Error {
        let place: String = self
            .path
            .iter()
            .map(|name| format!("/{}", escaped(name)))
            .collect();
        refused_at(code, &place, what)
    }
}

/// A member's name inside a pointer, where two characters are escaped (RFC 6901).
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn refusal(schema: &Value) -> (&'static str, String) {
        let error = Schema::compile(&schema.to_string()).unwrap_err();
        assert_eq!(error.field_errors()[0].pointer, "/schema");
        (error.code(), error.message().to_owned())
    }

    #[test]
    fn what_does_not_match_is_named_without_its_value() {
        let schema = Schema::compile(
            &json!({
                "type": "object", "required": ["plan"], "additionalProperties": false,
                "properties": {
                    "plan": {"enum": ["free", "pro"]}, "seats": {"type": "integer"}, "email": {"format": "email"},
                    "a/b": {"$ref": "#/$defs/short"}, "c": {"$ref": "#/$defs/short"}
                },
                "$defs": {"short": {"type": "string", "maxLength": 2, "pattern": "^[a-z]+$"}}
            })
            .to_string(),
        )
        .unwrap();
        assert_eq!(
            schema.violations(r#"{"plan":"pro","seats":3,"a/b":"x","email":"a@b.c"}"#),
            []
        );
        let found: Vec<_> = schema
            .violations(r#"{"seats":"canary","a/b":"canary","email":"canary","extra":"canary"}"#)
            .into_iter()
            .map(|violation| {
                assert!(!violation.detail.contains("canary"), "{}", violation.detail);
                violation.pointer
            })
            .collect();
        for pointer in ["/plan", "/seats", "/a~1b", "/email", ""] {
            assert!(
                found.iter().any(|found| found == pointer),
                "{pointer} in {found:?}"
            );
        }
    }

    #[test]
    fn what_is_no_schema_is_refused_with_its_place() {
        assert_eq!(Schema::compile("{").unwrap_err().code(), "invalid_json");
        assert_eq!(Schema::compile("[]").unwrap_err().code(), "wrong_type");
        let (code, detail) = refusal(&json!({"properties": {"plan": {"type": "text"}}}));
        assert_eq!(code, "invalid_schema");
        assert!(detail.contains("/properties/plan/type"), "{detail}");
        let (code, detail) = refusal(&json!({"properties": {"plan": {"pattern": "("}}}));
        assert_eq!(code, "invalid_schema");
        assert!(detail.contains("/properties/plan/pattern"), "{detail}");
        // Looking behind needs an engine that can be made to run for ever.
        assert_eq!(refusal(&json!({"pattern": "(?<=a)b"})).0, "invalid_schema");
        assert_eq!(
            refusal(&json!({"pattern": "(a{1000}){1000}"})).0,
            "invalid_schema"
        );
        let old = json!({"$schema": "http://json-schema.org/draft-04/schema#"});
        assert_eq!(refusal(&old).0, "unknown_dialect");
        let seven = json!({"$schema": "http://json-schema.org/draft-07/schema#"});
        assert!(Schema::compile(&seven.to_string()).is_ok());
    }

    #[test]
    fn a_schema_refers_to_itself_only_and_never_in_a_circle() {
        for (reference, wanted) in [
            ("https://example.com/schema.json", "remote_ref"),
            ("other.json#/a", "remote_ref"),
            ("file:///etc/passwd", "remote_ref"),
            ("http://json-schema.org/draft-07/schema#", "remote_ref"),
            ("#", "recursive_schema"),
            ("#/properties/a~1b", "recursive_schema"),
            ("#/nowhere", "unknown_ref"),
            ("#anchor", "unknown_ref"),
        ] {
            let (code, detail) = refusal(&json!({"properties": {"a/b": {"$ref": reference}}}));
            assert_eq!(code, wanted, "{reference}: {detail}");
            assert!(detail.contains("At /properties/a~1b/$ref"), "{detail}");
        }
        assert_eq!(refusal(&json!({"$dynamicRef": "#x"})).0, "unsupported_ref");
        let inner = json!({"properties": {"a": {"$id": "https://example.com/"}}});
        assert_eq!(refusal(&inner).0, "unsupported_ref");
        // Members and values may have the keywords' names.
        let named = json!({
            "properties": {"$ref": {"type": "string"}, "pattern": {}, "enum": {"enum": [{"$ref": "https://x"}]}}
        });
        assert!(Schema::compile(&named.to_string()).is_ok());
    }

    #[test]
    fn parts_and_patterns_are_counted_as_often_as_they_are_met() {
        let mut definitions = Map::new();
        for n in 0..30 {
            let next = json!({"$ref": format!("#/$defs/d{}", n + 1)});
            definitions.insert(format!("d{n}"), json!({"allOf": [next, next]}));
        }
        definitions.insert("d30".to_owned(), json!({}));
        let doubling = json!({"$ref": "#/$defs/d0", "$defs": definitions});
        assert_eq!(refusal(&doubling).0, "schema_too_large");
        let many: Vec<_> = (0..51).map(|_| json!({"pattern": "a"})).collect();
        assert_eq!(refusal(&json!({ "anyOf": many })).0, "schema_too_large");
        let long = json!({"description": "x".repeat(MAX_SCHEMA_BYTES)});
        assert_eq!(refusal(&long).0, "schema_too_large");
    }
}
