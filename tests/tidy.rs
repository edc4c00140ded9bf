//! The layout's laws, read from the source: imports go downward only and never in a circle, every
//! file says what it owns, SQL stands in `store` alone, and the environment in `config/options.rs` alone.
//! It knows Rust's tokens and paths, no more; the unit checks below show that each law can fail.
#![expect(
    clippy::unwrap_used,
    reason = "a helper that fails fails the test that called it"
)]

mod source;

use source::{Files, Token, read_folder, tokens};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The crate's name as the binary writes it: `pillarbox::x` is `crate::x`.
const CRATE: &str = "pillarbox";

#[test]
fn the_source_is_tidy() {
    let files = read_folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    assert!(files.len() > 20, "only {} files were found", files.len());
    let found = check(&files);
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

/// Webhooks are told of a change only where its action is among the types of the families.
#[test]
fn every_change_that_is_noted_has_a_message() {
    let files = read_folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    let manage = files.iter().filter(|(file, _)| file.starts_with("manage/"));
    let texts = manage.flat_map(|(_, text)| tokens(text));
    let is_word = |word: &str| word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    let actions: BTreeSet<String> = texts
        .filter_map(|token| match token {
            Token::Text(text) => Some(text),
            _ => None,
        })
        .filter(|text| {
            text.split_once('.')
                .is_some_and(|(a, b)| is_word(a) && is_word(b))
        })
        .collect();
    assert!(actions.len() > 20, "{actions:?}");
    let without: Vec<&String> = actions
        .iter()
        .filter(|action| *action != pillarbox::normalize::TEST_NAME)
        .filter(|action| pillarbox::event_type::admin_type(action).is_none())
        .collect();
    // The one is of no workspace, and the other comes before any webhook.
    assert_eq!(without, ["user.created", "workspace.created"]);
}

/// Everything that breaks a law, one line each.
fn check(files: &Files) -> Vec<String> {
    let tree = Tree::new(files);
    let mut found = tree.upward();
    found.extend(tree.circles());
    for (file, text) in files {
        if !text.starts_with("//!") {
            found.push(format!(
                "{file}: the first line is not //!, which says what the file owns"
            ));
        }
        let tokens = tokens(text);
        if !file.starts_with("store/") {
            found.extend(sql(&tokens).map(|sql| format!("{file}: SQL outside store: {sql:?}")));
        }
        if file != "config/options.rs" {
            found.extend(environment(&tokens).map(|what| {
                format!("{file}: {what} reads the environment, which config/options.rs alone may")
            }));
        }
    }
    found
}

// PATHS -------------------------------------------------------------------------------------

/// Which files there are, as modules, and who imports whom.
struct Tree {
    /// Module path (`store`, `writer`) to file.
    modules: BTreeMap<Vec<String>, String>,
    /// The library's modules in the order of `lib.rs`: the top first. Those without a blank line
    /// or a comment between them are one level, since rustfmt sorts them by name.
    levels: Vec<BTreeSet<String>>,
    /// File to what it names: module paths and items behind them.
    imports: BTreeMap<String, BTreeSet<Vec<String>>>,
}

impl Tree {
    fn new(files: &Files) -> Self {
        let modules: BTreeMap<_, _> = files
            .keys()
            .filter(|file| !is_root(file))
            .map(|file| (module_of(file), file.clone()))
            .collect();
        let lib = files.get("lib.rs").map_or("", String::as_str);
        let imports = files
            .iter()
            .map(|(file, text)| (file.clone(), imports(file, text, &modules)))
            .collect();
        Self {
            levels: levels(lib),
            modules,
            imports,
        }
    }

    /// The file that a path leads into, if it leads into the crate at all.
    fn file_of(&self, path: &[String]) -> Option<&String> {
        (1..=path.len())
            .rev()
            .find_map(|len| self.modules.get(path.get(..len)?))
    }

    fn rank(&self, module: &str) -> Option<usize> {
        self.levels.iter().position(|level| level.contains(module))
    }

    /// Law 1: nobody imports from a module that stands above its own.
    fn upward(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (file, imports) in &self.imports {
            if is_root(file) {
                continue;
            }
            let module = module_of(file);
            let Some(own) = module.first() else { continue };
            for path in imports {
                let Some(other) = path.first().filter(|other| *other != own) else {
                    continue;
                };
                // What `lib.rs` does not list belongs to the binary, which stands above it all.
                let is_module = self.rank(other).is_some() || self.file_of(path).is_some();
                let goes_up = match (self.rank(own), self.rank(other)) {
                    (Some(own), Some(other)) => other < own,
                    (Some(_), None) => is_module,
                    (None, _) => false,
                };
                if goes_up {
                    found.push(format!(
                        "{file}: crate::{} stands above {own}; imports go downward",
                        path.join("::")
                    ));
                }
            }
        }
        found
    }

    /// Law 2: no file reaches itself through what it imports, and no module does.
    fn circles(&self) -> Vec<String> {
        let between_files = self.imports.iter().map(|(file, paths)| {
            let to = paths.iter().filter_map(|path| self.file_of(path));
            (file.clone(), to.cloned().collect())
        });
        let mut found = circles_in(between_files.collect());
        let mut between_modules: Edges = Edges::new();
        for (file, paths) in self.imports.iter().filter(|(file, _)| !is_root(file)) {
            let module = module_of(file).swap_remove(0);
            let to = paths.iter().filter(|path| self.file_of(path).is_some());
            between_modules
                .entry(module)
                .or_default()
                .extend(to.filter_map(|path| path.first().cloned()));
        }
        found.extend(circles_in(between_modules));
        found
    }
}

/// Who imports whom.
type Edges = BTreeMap<String, BTreeSet<String>>;

fn circles_in(edges: Edges) -> Vec<String> {
    let edges: BTreeMap<&String, BTreeSet<&String>> = edges
        .iter()
        .map(|(from, to)| (from, to.iter().filter(|to| *to != from).collect()))
        .collect();
    let mut found = BTreeSet::new();
    for start in edges.keys() {
        if let Some(circle) = shortest_circle(start, &edges) {
            found.insert(turn_to_smallest(&circle));
        }
    }
    found
        .into_iter()
        .map(|circle| {
            let first = circle.first().cloned().unwrap_or_default();
            format!("a circle of imports: {} -> {first}", circle.join(" -> "))
        })
        .collect()
}

/// The shortest way from `start` over edges back to it, breadth first.
fn shortest_circle<'a>(
    start: &'a String,
    edges: &BTreeMap<&'a String, BTreeSet<&'a String>>,
) -> Option<Vec<String>> {
    let mut came_from: BTreeMap<&String, &String> = BTreeMap::new();
    let mut front = vec![start];
    while !front.is_empty() {
        let mut next = Vec::new();
        for at in front {
            for to in edges.get(at).into_iter().flatten() {
                if *to == start {
                    let mut way = vec![at.clone()];
                    let mut step = at;
                    while let Some(before) = came_from.get(step) {
                        way.push((*before).clone());
                        step = before;
                    }
                    way.reverse();
                    return Some(way);
                }
                if !came_from.contains_key(to) {
                    came_from.insert(to, at);
                    next.push(*to);
                }
            }
        }
        front = next;
    }
    None
}

/// The same circle from its smallest file on, so that it is named once.
fn turn_to_smallest(circle: &[String]) -> Vec<String> {
    let at = (0..circle.len()).min_by_key(|at| &circle[*at]).unwrap_or(0);
    let mut turned = circle.to_vec();
    turned.rotate_left(at);
    turned
}

fn is_root(file: &str) -> bool {
    matches!(file, "lib.rs" | "main.rs")
}

/// `store/writer.rs` is `store::writer`; `store/mod.rs` is `store`.
fn module_of(file: &str) -> Vec<String> {
    let path = file.trim_end_matches(".rs");
    let path = path.strip_suffix("/mod").unwrap_or(path);
    path.split('/').map(str::to_owned).collect()
}

/// The names behind `pub mod`, level by level.
fn levels(lib: &str) -> Vec<BTreeSet<String>> {
    let mut levels: Vec<BTreeSet<String>> = Vec::new();
    let mut is_in_block = false;
    for line in lib.lines() {
        let name = line
            .trim()
            .strip_prefix("pub mod ")
            .and_then(|rest| rest.strip_suffix(';'));
        match (name, levels.last_mut()) {
            (Some(name), Some(level)) if is_in_block => {
                level.insert(name.to_owned());
            }
            (Some(name), _) => levels.push(BTreeSet::from([name.to_owned()])),
            (None, _) => {}
        }
        is_in_block = name.is_some();
    }
    levels
}

/// Every path of the crate that a file names, from the crate's root on.
fn imports(
    file: &str,
    text: &str,
    modules: &BTreeMap<Vec<String>, String>,
) -> BTreeSet<Vec<String>> {
    let tokens = tokens(text);
    let own = if is_root(file) {
        Vec::new()
    } else {
        module_of(file)
    };
    let mut found = BTreeSet::new();
    // Modules that are written inside the file, by the depth of their brace.
    let mut inline: Vec<(usize, String)> = Vec::new();
    let mut depth = 0;
    let mut at = 0;
    while at < tokens.len() {
        match &tokens[at] {
            Token::Mark('{') => depth += 1,
            Token::Mark('}') => {
                depth -= 1;
                inline.retain(|(at_depth, _)| *at_depth <= depth);
            }
            Token::Word(keyword) if keyword == "mod" => {
                if let (Some(Token::Word(name)), Some(Token::Mark('{'))) =
                    (tokens.get(at + 1), tokens.get(at + 2))
                {
                    inline.push((depth + 1, name.clone()));
                }
            }
            Token::Word(word) if starts_path(&tokens, at) => {
                let here: Vec<String> = own
                    .iter()
                    .cloned()
                    .chain(inline.iter().map(|(_, name)| name.clone()))
                    .collect();
                let is_use = at > 0 && matches!(&tokens[at - 1], Token::Word(w) if w == "use");
                let base = match word.as_str() {
                    "crate" => Some(Vec::new()),
                    CRATE if !own.is_empty() || file == "main.rs" => Some(Vec::new()),
                    "self" | "super" => Some(here.clone()),
                    // A child module by its bare name, as `mod.rs` files write it.
                    child => {
                        let mut path = own.clone();
                        path.push(child.to_owned());
                        (is_use || !own.is_empty())
                            .then_some(own.clone())
                            .filter(|_| !own.is_empty() && modules.contains_key(&path))
                    }
                };
                if let Some(base) = base {
                    let skips_first = matches!(word.as_str(), "crate" | CRATE);
                    let start = if skips_first { at + 2 } else { at };
                    for path in path_tree(&tokens, start).0 {
                        found.extend(resolve(&base, &path));
                    }
                }
            }
            _ => {}
        }
        at += 1;
    }
    found.retain(|path| !path.is_empty());
    found
}

/// Whether the word at `at` is a path's first and more follows.
fn starts_path(tokens: &[Token], at: usize) -> bool {
    let follows = matches!(tokens.get(at + 1), Some(Token::Path));
    let is_first = at == 0 || !matches!(tokens.get(at - 1), Some(Token::Path | Token::Mark('$')));
    follows && is_first
}

/// The paths of a use tree (or of a plain path) that starts at `at`, and where it ends.
fn path_tree(tokens: &[Token], mut at: usize) -> (Vec<Vec<String>>, usize) {
    let mut stem: Vec<String> = Vec::new();
    loop {
        match tokens.get(at) {
            Some(Token::Word(word)) => {
                stem.push(word.clone());
                at += 1;
                if matches!(tokens.get(at), Some(Token::Path)) {
                    at += 1;
                    continue;
                }
                return (vec![stem], at);
            }
            Some(Token::Mark('*')) => return (vec![stem], at + 1),
            Some(Token::Mark('{')) => {
                let mut paths = Vec::new();
                at += 1;
                while !matches!(tokens.get(at), Some(Token::Mark('}')) | None) {
                    let (inner, end) = path_tree(tokens, at);
                    for path in inner {
                        paths.push(stem.iter().cloned().chain(path).collect());
                    }
                    // To the comma, past an `as` and its name.
                    at = end.max(at + 1);
                    while !matches!(tokens.get(at), Some(Token::Mark(',' | '}')) | None) {
                        at += 1;
                    }
                    if matches!(tokens.get(at), Some(Token::Mark(','))) {
                        at += 1;
                    }
                }
                return (paths, at + 1);
            }
            // A turbofish or the like: the path has ended.
            _ => return (vec![stem], at),
        }
    }
}

/// `path` seen from the module `base`: `self` stays, `super` climbs. `None` when it climbs out.
fn resolve(base: &[String], path: &[String]) -> Option<Vec<String>> {
    let mut whole = base.to_vec();
    for word in path {
        match word.as_str() {
            "self" => {}
            "super" => {
                whole.pop()?;
            }
            word => whole.push(word.to_owned()),
        }
    }
    Some(whole)
}

// LITERALS ----------------------------------------------------------------------------------

/// Law 4: text that is a statement of SQL.
fn sql(tokens: &[Token]) -> impl Iterator<Item = String> {
    tokens.iter().filter_map(|token| match token {
        Token::Text(text) if is_sql(text) => {
            Some(text.split_whitespace().collect::<Vec<_>>().join(" "))
        }
        _ => None,
    })
}

fn is_sql(text: &str) -> bool {
    let words: Vec<&str> = text
        .split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '*' | '?')))
        .filter(|word| !word.is_empty())
        .collect();
    let is = |at: usize, wanted: &[&str]| {
        words
            .get(at)
            .is_some_and(|word| wanted.iter().any(|w| w.eq_ignore_ascii_case(word)))
    };
    let starts_statement = |at: usize| {
        (is(at, &["INSERT"]) && is(at + 1, &["INTO", "OR"]))
            || (is(at, &["DELETE"]) && is(at + 1, &["FROM"]))
            || (is(at, &["UPDATE"]) && is(at + 2, &["SET"]))
    };
    // Anywhere in capitals; in small letters only where the text begins, since prose selects too.
    let has_capitals = (0..words.len()).any(|at| {
        words[at].chars().all(|c| c.is_ascii_uppercase())
            && (starts_statement(at) || (words[at] == "SELECT" && at + 1 < words.len()))
    });
    let begins_small =
        starts_statement(0) || (is(0, &["SELECT"]) && (2..words.len()).any(|at| is(at, &["FROM"])));
    has_capitals || begins_small
}

/// Law 5: what reads the environment at run time, and clap's `env`, which does so too.
fn environment(tokens: &[Token]) -> impl Iterator<Item = String> {
    let mut found = Vec::new();
    for at in 0..tokens.len() {
        let Token::Word(word) = &tokens[at] else {
            continue;
        };
        if word == "env" && matches!(tokens.get(at + 1), Some(Token::Path)) {
            for path in path_tree(tokens, at + 2).0 {
                let reads = ["var", "var_os", "vars", "vars_os", "set_var", "remove_var"];
                found.extend(
                    path.first()
                        .filter(|name| reads.contains(&name.as_str()))
                        .map(|name| format!("env::{name}")),
                );
            }
        }
        if word == "arg"
            && matches!(tokens.get(at.wrapping_sub(1)), Some(Token::Mark('[')))
            && matches!(tokens.get(at + 1), Some(Token::Mark('(')))
        {
            let inside = tokens
                .iter()
                .skip(at + 2)
                .take_while(|t| **t != Token::Mark(']'));
            if inside.into_iter().any(|t| *t == Token::Word("env".into())) {
                found.push("#[arg(env)]".to_owned());
            }
        }
    }
    found.into_iter()
}

// THE LAWS CAN FAIL -------------------------------------------------------------------------

/// A small tidy crate, with some files replaced or added.
fn crate_with(changes: &[(&str, &str)]) -> Files {
    let mut files: Files = [
        (
            "lib.rs",
            "//! Lib.\npub mod server;\n\npub mod store;\n\n// RULES\npub mod event;\n",
        ),
        (
            "main.rs",
            "//! Main.\nfn main() { pillarbox::server::run() }\n",
        ),
        (
            "server.rs",
            "//! Server.\nuse crate::store::{self, writer::Writer};\nuse crate::event::Event;\n",
        ),
        (
            "store/mod.rs",
            "//! Store.\npub mod writer;\npub mod rows;\npub fn word() {}\n",
        ),
        (
            "store/writer.rs",
            "//! Writer.\nuse super::rows::insert;\nuse crate::event::Event;\n",
        ),
        (
            "store/rows.rs",
            "//! Rows.\nuse super::word;\nconst SQL: &str = \"SELECT a FROM b\";\n",
        ),
        (
            "event.rs",
            "//! Event.\n/// Not crate::server::run, that is prose.\npub struct Event;\n",
        ),
    ]
    .map(|(file, text)| (file.to_owned(), text.to_owned()))
    .into();
    for (file, text) in changes {
        files.insert((*file).to_owned(), (*text).to_owned());
    }
    files
}

#[track_caller]
fn assert_found(changes: &[(&str, &str)], wanted: &[&str]) {
    let found = check(&crate_with(changes));
    assert_eq!(found.len(), wanted.len(), "{found:#?}");
    for (found, wanted) in found.iter().zip(wanted) {
        assert!(found.contains(wanted), "{wanted:?} is not in {found:?}");
    }
}

#[test]
fn a_tidy_crate_passes() {
    assert_found(&[], &[]);
}

#[test]
fn an_import_that_goes_up_is_found() {
    let up = "event.rs: crate::store::";
    for text in [
        "//! E.\nuse crate::store::rows;\n",
        "//! E.\nuse crate::{store::rows as r, event};\n",
        "//! E.\nuse crate::{\n    event::Event,\n    store::{self, rows},\n};\n",
        "//! E.\nfn f() { crate::store::word(); }\n",
        "//! E.\nfn f() -> Vec<crate::store::Row> { vec![] }\n",
        "//! E.\n#[cfg(test)]\nmod tests {\n    use crate::store::word;\n}\n",
        "//! E.\nuse super::store::word;\n",
        "//! E.\nmod tests { mod deep { use super::super::super::store::word; } }\n",
        "//! E.\nuse pillarbox::store::word;\n",
    ] {
        let found = check(&crate_with(&[("event.rs", text)]));
        assert!(
            found
                .iter()
                .any(|line| line.starts_with(up) || line.starts_with("event.rs: crate::store ")),
            "{text}: {found:?}"
        );
    }
    let from_folder = "//! R.\nuse crate::server::run;\n";
    let found = check(&crate_with(&[("store/rows.rs", from_folder)]));
    assert!(
        found
            .iter()
            .any(|line| line.starts_with("store/rows.rs: crate::server::run")),
        "{found:?}"
    );
    let of_binary = crate_with(&[
        ("cli/mod.rs", "//! C.\n"),
        ("event.rs", "//! E.\nuse crate::cli::run;\n"),
    ]);
    assert_eq!(
        check(&of_binary).len(),
        1,
        "what lib.rs does not list stands above it"
    );
}

#[test]
fn a_circle_between_files_is_found() {
    assert_found(
        &[("store/rows.rs", "//! R.\nuse super::writer::Writer;\n")],
        &["a circle of imports: store/rows.rs -> store/writer.rs -> store/rows.rs"],
    );
    assert_found(
        &[(
            "store/mod.rs",
            "//! S.\npub mod writer;\npub mod rows;\nuse rows::insert;\npub fn word() {}\n",
        )],
        &["a circle of imports: store/mod.rs -> store/rows.rs -> store/mod.rs"],
    );
    assert_found(
        &[
            ("store/a.rs", "//! A.\nuse crate::store::b;\n"),
            ("store/b.rs", "//! B.\nuse crate::store::c::x;\n"),
            ("store/c.rs", "//! C.\nfn f() { crate::store::a::y(); }\n"),
        ],
        &["store/a.rs -> store/b.rs -> store/c.rs -> store/a.rs"],
    );
}

#[test]
fn modules_of_one_level_may_import_each_other_but_not_in_a_circle() {
    let lib = "//! L.\npub mod server;\n\npub mod store;\n\npub mod event;\npub mod name;\npub mod zone;\n";
    let name = (
        "name.rs",
        "//! N.\nuse crate::zone;\nuse crate::event::Event;\n",
    );
    assert_found(&[("lib.rs", lib), name, ("zone.rs", "//! Z.\n")], &[]);
    let back = "//! Z.\nuse crate::event;\nfn f() { crate::name::f() }\n";
    assert_found(
        &[("lib.rs", lib), name, ("zone.rs", back)],
        &[
            "a circle of imports: name.rs -> zone.rs -> name.rs",
            "a circle of imports: name -> zone -> name",
        ],
    );
    // No file is in a circle here, the folders are.
    assert_found(
        &[
            ("lib.rs", lib),
            ("name/mod.rs", "//! N.\n"),
            ("name/a.rs", "//! A.\nuse crate::zone;\n"),
            ("zone.rs", "//! Z.\nuse crate::name;\n"),
        ],
        &["a circle of imports: name -> zone -> name"],
    );
}

#[test]
fn super_in_a_tests_module_is_the_file_itself() {
    assert_found(
        &[(
            "store/rows.rs",
            "//! R.\nuse super::word;\n#[cfg(test)]\nmod tests {\n    use super::*;\n    use super::super::word;\n}\n",
        )],
        &[],
    );
}

#[test]
fn a_file_that_does_not_say_what_it_owns_is_found() {
    assert_found(
        &[("event.rs", "// Event.\npub struct Event;\n")],
        &["event.rs: the first line is not //!"],
    );
    assert_found(
        &[("event.rs", "\n//! Late.\n")],
        &["event.rs: the first line"],
    );
}

#[test]
fn sql_outside_the_store_is_found() {
    for literal in [
        "\"SELECT 1\"",
        "\"PRAGMA x; DELETE FROM event\"",
        "r#\"INSERT INTO event VALUES (1)\"#",
        "\"\n   UPDATE event SET a = 1\"",
        "\"insert or ignore into event values (1)\"",
        "\"select a, b from event\"",
        "b\"DELETE FROM event\"",
    ] {
        let text = format!("//! E.\nconst X: &str = {literal};\n");
        assert_found(&[("event.rs", &text)], &["event.rs: SQL outside store"]);
        assert_found(&[("store/more.rs", &text)], &[]);
    }
    assert_found(
        &[(
            "event.rs",
            "//! E.\n// SELECT a FROM b\nconst A: [&str; 5] = [\"DELETE\", \"Select one of these\", \"UPDATE\", \"Delete the webhook from the list\", \"SELECT\"];\n",
        )],
        &[],
    );
}

#[test]
fn reading_the_environment_elsewhere_is_found() {
    for code in [
        "fn f() { std::env::var(\"A\"); }",
        "use std::env;\nfn f() { env::var_os(\"A\"); }",
        "use std::env::{self, vars};",
        "struct A { #[arg(long, env = \"A\")] a: u8 }",
        "struct A { #[arg(long, env)] a: u8 }",
    ] {
        let text = format!("//! E.\n{code}\n");
        let found = check(&crate_with(&[("event.rs", &text)]));
        assert_eq!(found.len(), 1, "{code}: {found:?}");
        assert!(found[0].starts_with("event.rs:"), "{found:?}");
        assert_found(
            &[
                ("config/options.rs", &text),
                (
                    "lib.rs",
                    "//! L.\npub mod server;\n\npub mod store;\n\npub mod event;\npub mod config;\n",
                ),
            ],
            &[],
        );
    }
    assert_found(
        &[(
            "event.rs",
            "//! E.\nconst V: &str = env!(\"CARGO_PKG_VERSION\");\nfn f() { std::env::args(); }\n",
        )],
        &[],
    );
}

#[test]
fn the_reader_of_rust_is_not_fooled() {
    let text = concat!(
        "//! E.\n/* crate::store::a /* nested */ crate::store::b */\n",
        "const A: &str = \"crate::store::c\"; const B: &str = r##\"\"# crate::store::d\"##;\n",
        "const C: char = '\"'; const D: char = '\\''; fn f<'a>(x: &'a str) -> &'a str { x }\n",
        "const E: &str = \"\\\" crate::store::e\"; const F: u8 = b'\"';\n",
    );
    assert_found(&[("event.rs", text)], &[]);
    let after = format!("{text}use crate::store::word;\n");
    let found = check(&crate_with(&[("event.rs", &after)]));
    assert!(
        found.iter().any(|line| line.contains("crate::store::word")),
        "{found:?}"
    );
}
