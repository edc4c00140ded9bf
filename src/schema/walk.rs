//! What a schema may say: it refers to nothing outside of itself and never to itself, its patterns run in
//! linear time, and what it weighs is bounded. Pure.

use super::cost::{Size, Weight};
use crate::error::{Error, Result};
use serde_json::{Map, Value};

/// A schema has at most this many parts, each counted as often as it is referred to.
const MAX_PARTS: usize = 2_000;
/// A schema weighs at most this much: a unit for each value in it, as often as it is referred to.
const MAX_WEIGHT: u64 = 10_000;
/// A schema has at most this many patterns.
const MAX_PATTERNS: usize = 50;
/// A pattern has at most this many bytes.
const MAX_PATTERN_BYTES: usize = 256;
/// What a value that holds many others weighs where all of them are compared.
const HEAVY: u64 = 16;
/// What a byte of text costs where a pattern looks at it: some patterns take a microsecond for each.
const PATTERN_COST: u64 = 100;
/// What a byte of text costs where a format or an encoding looks at it.
const FORMAT_COST: u64 = 5;

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
/// Keywords that give a part a name or an address of its own, so that references could lead elsewhere
/// than their pointers say.
const NAMES: [&str; 5] = [
    "$id",
    "$anchor",
    "$dynamicAnchor",
    "$recursiveAnchor",
    "$vocabulary",
];

pub(super) fn refused(code: &'static str, detail: impl Into<String>) -> Error {
    Error::field("/schema", code, detail)
}

pub(super) fn refused_at(code: &'static str, place: &str, what: &str) -> Error {
    let place = if place.is_empty() { "the root" } else { place };
    refused(code, format!("At {place}: {what}"))
}

/// Refuses a schema of a dialect that is not read.
pub(super) fn check_dialect(root: &Map<String, Value>) -> Result<()> {
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

/// Goes over a schema and refuses what it may not say; what checking by it weighs.
pub(super) fn weigh(schema: &Value) -> Result<Weight> {
    let mut walk = Walk {
        root: schema,
        parts: 0,
        patterns: 0,
        depth: 0,
        weight: Weight::default(),
        path: Vec::new(),
        followed: Vec::new(),
    };
    walk.unnamed(schema)?;
    walk.part(schema)?;
    Ok(walk.weight)
}

/// A walk over a schema that goes where a check of an object would go.
struct Walk<'s> {
    root: &'s Value,
    parts: usize,
    patterns: usize,
    /// How many schemas are around the one that is walked over.
    depth: u64,
    weight: Weight,
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
            // A name in `required`, a bound and the like.
            _ => self.weigh(1),
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
        self.weigh(1)?;
        self.depth += 1;
        for (name, value) in members {
            self.inside(name.clone(), |walk| walk.member(name, value))?;
        }
        self.depth -= 1;
        Ok(())
    }

    /// Counts what every value that is checked costs more.
    fn weigh(&mut self, values: u64) -> Result<()> {
        self.weight.values += values;
        self.weight.details += values * (self.depth + 1);
        if self.weight.values > MAX_WEIGHT {
            let what = format!(
                "the schema has more than {MAX_WEIGHT} values, counting each as often as it is referred to."
            );
            return Err(self.refused("schema_too_large", &what));
        }
        Ok(())
    }

    /// Refuses names and addresses anywhere, also where no check would come by.
    fn unnamed(&mut self, value: &'s Value) -> Result<()> {
        match value {
            Value::Object(members) => members.iter().try_for_each(|(name, value)| {
                self.inside(name.clone(), |walk| {
                    // A member of an event may have such a name; what is said of it is an object.
                    let is_said = value.is_string() || name == "$vocabulary";
                    if NAMES.contains(&&**name) && (is_said || name == "$recursiveAnchor") {
                        let what = format!("{name} is not taken; refer to parts as #/$defs/….");
                        return Err(walk.refused("unsupported_ref", &what));
                    }
                    if name == "$schema" && value.is_string() && walk.path.len() > 1 {
                        let what = "$schema may stand at the root only.";
                        return Err(walk.refused("unsupported_ref", what));
                    }
                    walk.unnamed(value)
                })
            }),
            Value::Array(items) => items.iter().enumerate().try_for_each(|(index, item)| {
                self.inside(index.to_string(), |walk| walk.unnamed(item))
            }),
            _ => Ok(()),
        }
    }

    fn member(&mut self, name: &'s str, value: &'s Value) -> Result<()> {
        self.weigh(1)?;
        match (name, value) {
            ("$ref", Value::String(reference)) => self.follow(reference),
            ("$dynamicRef" | "$recursiveRef", Value::String(_)) => {
                let what = "references that depend on where they are met are not followed; use $ref with #/$defs/….";
                Err(self.refused("unsupported_ref", what))
            }
            ("unevaluatedProperties" | "unevaluatedItems", _) => {
                let what = format!(
                    "{name} is not taken, because what it costs is not bounded; use additionalProperties or items."
                );
                Err(self.refused("unsupported_keyword", &what))
            }
            ("uniqueItems", Value::Bool(true)) => self.weigh(HEAVY),
            ("contains", part) => {
                self.weigh(HEAVY)?;
                self.part(part)
            }
            ("format" | "contentEncoding" | "contentMediaType", Value::String(_)) => {
                self.weight.bytes += FORMAT_COST;
                Ok(())
            }
            ("pattern", Value::String(pattern)) => self.pattern(pattern),
            (name, Value::Object(parts)) if NAMED_PARTS.contains(&name) => {
                for (part_name, part) in parts {
                    self.inside(part_name.clone(), |walk| {
                        if name == "patternProperties" {
                            walk.pattern(part_name)?;
                        }
                        walk.weigh(1)?;
                        walk.part(part)
                    })?;
                }
                Ok(())
            }
            ("enum" | "const", compared) => {
                let mut size = Size::default();
                size.add(compared);
                self.weigh(size.cost(1, 0))
            }
            (name, _) if VALUES.contains(&name) => Ok(()),
            (_, part) => self.part(part),
        }
    }

    fn pattern(&mut self, pattern: &str) -> Result<()> {
        self.patterns += 1;
        self.weight.bytes += PATTERN_COST;
        if self.patterns > MAX_PATTERNS {
            let what = format!("the schema has more than {MAX_PATTERNS} patterns.");
            return Err(self.refused("schema_too_large", &what));
        }
        if pattern.len() > MAX_PATTERN_BYTES {
            let what = format!("a pattern has at most {MAX_PATTERN_BYTES} bytes.");
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
        if !is_plain(pointer) {
            let what = format!(
                "{reference} is no plain pointer; refer to #/$defs/…, with letters, digits and no %."
            );
            return Err(self.refused("unsupported_ref", &what));
        }
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

/// Whether every reader finds the same at a pointer in a fragment: nothing in it is decoded but `~0` and
/// `~1`.
fn is_plain(pointer: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/$._-~".contains(c);
    let is_escape = |rest: &str| rest.starts_with(['0', '1']);
    (pointer.is_empty() || pointer.starts_with('/'))
        && pointer.chars().all(is_plain)
        && pointer.split('~').skip(1).all(is_escape)
}

/// A member's name inside a pointer, where two characters are escaped (RFC 6901).
pub(super) fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}
