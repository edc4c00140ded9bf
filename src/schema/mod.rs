//! A declared JSON Schema: what may be one, and whether an object matches it. Pure. A schema is written by
//! one person and checked with every event of its type, so its cost is bounded: what it may say is in
//! `walk.rs`, and what checking by it may cost in `cost.rs`.

mod cost;
mod walk;

pub use cost::Budget;

use crate::error::{Error, Result};
use cost::{Size, Weight};
use jsonschema::error::ValidationErrorKind;
use jsonschema::{PatternOptions, ValidationError, Validator};
use serde_json::Value;
use std::fmt;
use walk::{check_dialect, escaped, refused, refused_at, weigh};

/// A schema has at most this many bytes.
pub const MAX_SCHEMA_BYTES: usize = 32 * 1_024;
/// A compiled pattern has at most this many bytes, roughly.
const MAX_COMPILED_PATTERN_BYTES: usize = 16 * 1_024;
/// Up to this much cost it is said which fields do not match: what says so is collected whole, and that
/// takes far longer than to find out that something does not match.
const MAX_DETAILED_COST: u64 = 100_000;
/// The code of what does not match its schema.
pub const SCHEMA_VIOLATION: &str = "schema_violation";
/// The code of what cannot be checked by its schema in a bounded time.
pub const SCHEMA_TOO_COSTLY: &str = "schema_too_costly";
/// So many violations of one object are named.
const MAX_VIOLATIONS: usize = 20;

/// A schema that was compiled.
pub struct Schema {
    text: Box<str>,
    validator: Validator,
    weight: Weight,
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Schema").field(&self.text).finish()
    }
}

/// Where an object does not match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// `schema_violation`, or `schema_too_costly` where nothing was checked.
    pub code: &'static str,
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
        let weight = weigh(&schema)?;
        let validator = jsonschema::options()
            .offline()
            .should_validate_formats(true)
            // Compiling what a stranger sends as a pattern could cost anything.
            .with_format("regex", |_: &str| true)
            .with_pattern_options(PatternOptions::regex().size_limit(MAX_COMPILED_PATTERN_BYTES))
            .build(&schema)
            .map_err(|e| invalid(&e))?;
        Ok(Self {
            text: text.into(),
            validator,
            weight,
        })
    }

    /// The schema as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Where `object`, JSON text, does not match. What costs more than is left of `budget` is not checked,
    /// and is no match.
    pub fn violations(&self, object: &str, budget: &mut Budget) -> Vec<Violation> {
        let at_root = |code, detail: &str| {
            vec![Violation {
                code,
                pointer: String::new(),
                detail: detail.to_owned(),
            }]
        };
        let Ok(value) = serde_json::from_str::<Value>(object) else {
            return at_root(SCHEMA_VIOLATION, "It cannot be read as JSON");
        };
        let mut size = Size::default();
        size.add(&value);
        if !budget.spend(size.cost(self.weight.values, self.weight.bytes)) {
            let detail = "There is too much in it to be checked by this schema; send less at once, or declare a simpler schema";
            return at_root(SCHEMA_TOO_COSTLY, detail);
        }
        if self.validator.is_valid(&value) {
            return Vec::new();
        }
        let details = size.cost(self.weight.details, self.weight.bytes);
        if details > MAX_DETAILED_COST || !budget.spend(details) {
            let detail = "It does not match, and is too large to say which field does not";
            return at_root(SCHEMA_VIOLATION, detail);
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
            code: SCHEMA_VIOLATION,
            pointer: format!("{pointer}/{}", escaped(property)),
            detail: format!("{property} is required"),
        };
    }
    let name = pointer.rsplit('/').next().unwrap_or("");
    let name = name.replace("~1", "/").replace("~0", "~");
    let what = if name.is_empty() { "it" } else { &*name };
    Violation {
        code: SCHEMA_VIOLATION,
        detail: error.masked_with(what).to_string(),
        pointer,
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Map;
    use serde_json::json;

    #[track_caller]
    fn refusal(schema: &Value) -> (&'static str, String) {
        let error = Schema::compile(&schema.to_string()).unwrap_err();
        assert_eq!(error.field_errors()[0].pointer, "/schema");
        (error.code(), error.message().to_owned())
    }

    fn violations(schema: &Schema, object: &str) -> Vec<Violation> {
        schema.violations(object, &mut Budget::of_request())
    }

    #[track_caller]
    fn compiled(schema: &Value) -> Schema {
        Schema::compile(&schema.to_string()).unwrap()
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
            violations(
                &schema,
                r#"{"plan":"pro","seats":3,"a/b":"x","email":"a@b.c"}"#
            ),
            []
        );
        let wrong = r#"{"seats":"canary","a/b":"canary","email":"canary","extra":"canary"}"#;
        let found: Vec<_> = violations(&schema, wrong)
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
            ("#anchor", "unsupported_ref"),
            ("#/properties/%61", "unsupported_ref"),
            ("#/properties/a~2b", "unsupported_ref"),
            ("#/properties/a~", "unsupported_ref"),
            ("#/properties/a b", "unsupported_ref"),
            ("#/properties/ä", "unsupported_ref"),
        ] {
            let (code, detail) = refusal(&json!({"properties": {"a/b": {"$ref": reference}}}));
            assert_eq!(code, wanted, "{reference}: {detail}");
            assert!(detail.contains("At /properties/a~1b/$ref"), "{detail}");
        }
        assert_eq!(refusal(&json!({"$dynamicRef": "#x"})).0, "unsupported_ref");
        let inner = json!({"properties": {"a": {"$id": "https://example.com/"}}});
        assert_eq!(refusal(&inner).0, "unsupported_ref");
        for named in [
            json!({"$id": "https://example.com/"}),
            json!({"$defs": {"a": {"$anchor": "a"}}}),
            json!({"$recursiveAnchor": true}),
            json!({"const": {"$id": "https://example.com/"}}),
            json!({"x": [{"$id": "https://example.com/"}]}),
            json!({"const": {"$schema": "http://json-schema.org/draft-04/schema#"}}),
        ] {
            assert_eq!(refusal(&named).0, "unsupported_ref", "{named}");
        }
        // Read with its escape it leads to the other part, which contains itself.
        let part = json!({"properties": {"x": {"$ref": "#/d/%30"}}});
        let decoded = json!({"d": {"%30": {}, "0": {"allOf": [part, part]}}, "$ref": "#/d/0"});
        let (code, detail) = refusal(&decoded);
        assert_eq!(code, "unsupported_ref");
        assert!(
            detail.contains("At /$ref/allOf/0/properties/x/$ref")
                || detail.contains("At /d/0/allOf/0/properties/x/$ref"),
            "{detail}"
        );
        // Members and values may have the keywords' names.
        let named = json!({
            "properties": {"$ref": {"type": "string"}, "pattern": {}, "enum": {"enum": [{"$ref": "https://x"}]}},
            "examples": [{"id": "u_1"}]
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

    #[test]
    fn what_costs_too_much_is_not_checked() {
        let choices: Vec<_> = (0..1_800).map(|n| json!({ "const": n })).collect();
        let choice = compiled(&json!({"properties": {"a": {"items": {"anyOf": choices}}}}));
        let many = json!({"a": vec!["x"; 10_000]}).to_string();
        let start = std::time::Instant::now();
        assert_eq!(violations(&choice, &many)[0].code, SCHEMA_TOO_COSTLY);
        assert_eq!(violations(&choice, r#"{"a":[1]}"#), []);
        let some = json!({"a": vec!["x"; 100]}).to_string();
        let found = violations(&choice, &some);
        assert_eq!((found.len(), found[0].code), (1, SCHEMA_VIOLATION));

        let patterns: Vec<_> = (0..50)
            .map(|n| json!({"pattern": format!("1[01]{{100}}x{n}")}))
            .collect();
        let patterns = compiled(&json!({"properties": {"a": {"anyOf": patterns}}}));
        let long = json!({"a": "10".repeat(25_000)}).to_string();
        assert_eq!(violations(&patterns, &long)[0].code, SCHEMA_TOO_COSTLY);
        let short = json!({"a": "10".repeat(100)}).to_string();
        assert_eq!(violations(&patterns, &short)[0].code, SCHEMA_VIOLATION);
        assert!(start.elapsed().as_secs() < 10);
    }

    #[test]
    fn the_events_of_a_request_share_a_budget() {
        let choices: Vec<_> = (0..1_800).map(|n| json!({ "const": n })).collect();
        let choice = compiled(&json!({"properties": {"a": {"items": {"anyOf": choices}}}}));
        let fits = json!({"a": vec![1; 300]}).to_string();
        let mut budget = Budget::of_request();
        let checked = (0..20)
            .take_while(|_| choice.violations(&fits, &mut budget).is_empty())
            .count();
        assert!((10..20).contains(&checked), "{checked}");
        assert_eq!(choice.violations(r#"{"a":[1]}"#, &mut budget), []);
    }

    #[test]
    fn what_cannot_be_bounded_is_no_schema() {
        for name in ["unevaluatedProperties", "unevaluatedItems"] {
            let (code, detail) = refusal(&json!({"properties": {"a": {name: false}}}));
            assert_eq!(code, "unsupported_keyword");
            assert!(
                detail.contains(&format!("/properties/a/{name}")),
                "{detail}"
            );
        }
        assert_eq!(
            refusal(&json!({"pattern": "a".repeat(257)})).0,
            "schema_too_large"
        );
        assert_eq!(
            refusal(&json!({"pattern": "1[01]{1000}"})).0,
            "invalid_schema"
        );
        for pattern in [
            "^[^@\\s]+@[^@\\s]+\\.[a-z]{2,}$",
            "^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$",
            "^\\d{4}-\\d{2}-\\d{2}T\\d{2}:\\d{2}$",
        ] {
            compiled(&json!({ "pattern": pattern }));
        }
        let listed: Vec<_> = (0..4_000).collect();
        let again = json!({"$ref": "#/$defs/a"});
        let heavy = json!({"$defs": {"a": {"enum": listed}}, "allOf": [again, again, again]});
        assert_eq!(refusal(&heavy).0, "schema_too_large");
    }
}
