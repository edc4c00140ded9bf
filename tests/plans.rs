//! Cost must not grow with the file: every statement that `store` runs is read from the source and
//! prepared against an empty box, and SQLite says how it would run it. A statement passes when it
//! finds its rows by an index, in the index's order, and stops: at a LIMIT, or because its key has one
//! row. The few that may read more are listed below with the reason.
#![expect(
    clippy::unwrap_used,
    reason = "a helper that fails fails the test that called it"
)]

mod source;

use pillarbox::store::Files;
use rusqlite::Connection;
use source::{Token, read_folder, tokens};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What may read more than a page: a part of the statement, and why it may.
const EXCEPTIONS: &[(&str, &str)] = &[
    (
        "FROM api_key WHERE revoked_at_ms IS NULL",
        "the catalog holds what people made, and is read when they change it",
    ),
    (
        "identity_secret_sealed, stripe_secret_sealed FROM source",
        "as above",
    ),
    ("FROM funnel f JOIN funnel_rule r", "as above"),
    ("SELECT id, workspace_id FROM funnel", "as above"),
    ("FROM workspace WHERE mau_limit IS NOT NULL", "as above"),
    (
        "DELETE FROM mau_notice WHERE workspace_id = ?1",
        "two rows a month at most, when somebody changes the limit",
    ),
    (
        "DELETE FROM funnel_rule WHERE funnel_id = ?1",
        "a funnel names at most 200 event types, and is saved whole",
    ),
    (
        "WHERE undo_requested_at_ms IS NOT NULL AND undone_at_ms IS NULL",
        "an index of what waits to be undone and of nothing else",
    ),
    (
        "FROM identifier WHERE profile_id = ?1 GROUP BY kind",
        "a profile holds at most 223 identifiers (`identity.rs`)",
    ),
    (
        "SELECT count(*) FROM profile WHERE merged_into = ?1",
        "a profile has at most 200 parts (`identity.rs`)",
    ),
    (
        "UPDATE identifier SET",
        "a profile's identifiers move with it",
    ),
    (
        "UPDATE profile SET merged_into = ?1 WHERE merged_into = ?2",
        "and so do its parts",
    ),
    (
        "FROM trait WHERE profile_id = ?2",
        "a merge adds all traits of one profile to the other's",
    ),
    (
        "FROM stage_reached",
        "a profile has at most three rows in each of at most 20 funnels",
    ),
    (
        "FROM declared_event_type WHERE schema IS NOT NULL",
        "as above",
    ),
    (
        "FROM webhook WHERE deleted_at_ms IS NULL ORDER BY id",
        "as above",
    ),
    (
        "WHERE previous_until_ms <= ?1",
        "what people made is little, and this reads it once a sweep",
    ),
    (
        "FROM member m JOIN workspace w",
        "a person's workspaces are few, and listed by name",
    ),
    (
        "FROM webhook WHERE workspace_id = ?1 AND deleted_at_ms IS NULL ORDER BY lower(name)",
        "a workspace's webhooks are few, and listed by name",
    ),
    (
        "ORDER BY k.revoked_at_ms IS NOT NULL",
        "a workspace's keys are few, and those that work come first",
    ),
    (
        "SELECT id FROM webhook WHERE workspace_id = ?1",
        "a workspace's webhooks are few, and its deliveries are found through them",
    ),
    (
        "WITH RECURSIVE chain",
        "the attempts of a bite of deliveries, each found through the one after it",
    ),
    (
        "WHERE event_id = ?2 AND origin IS NOT NULL AND workspace_id = ?1 ORDER BY id",
        "what people sent of an event later, each a click of theirs, and all of its payload is to be taken out",
    ),
    (
        "UPDATE delivery SET state = 'held'",
        "pausing a webhook holds all that it is owed at once",
    ),
    (
        "WHERE webhook_id = ?1 AND state = 'held'",
        "and activating or deleting it settles all of that at once",
    ),
    (
        "UPDATE delivery SET queue_webhook_id",
        "a webhook that begins or ceases to keep the order queues all that it is owed at once",
    ),
    (
        "FROM webhook_health",
        "a row for each webhook that fails, read once at the start",
    ),
    (
        "FROM event WHERE id > ?1 AND id <= ?2 ORDER BY id",
        "a window of the log, whose end was looked for so that it has at most 65,536 events",
    ),
    (
        "FROM timeline_segment s",
        "there is a segment in 262,144 rows; they are read from the newest back, until the page is full",
    ),
    (
        "SELECT segment, max(event_id) FROM timeline",
        "a segment never has more than 262,144 rows; read once a sweep, beside the writer",
    ),
    (
        "DELETE FROM trait WHERE profile_id = ?1",
        "an event may replace all of a profile's traits",
    ),
];

/// The methods of a connection that take SQL as their first argument.
const RUNS_SQL: [&str; 9] = [
    "execute",
    "execute_batch",
    "prepare",
    "prepare_cached",
    "prepare_with_flags",
    "query_one",
    "query_row",
    "query_row_and_then",
    "with_statement",
];

/// What runs the statements that other files name, where they are read.
const RUNS_OTHERS: &str = "prepared.rs";

#[test]
fn no_statement_costs_more_as_the_file_grows() {
    let folder = tempfile::tempdir().unwrap();
    // No box ever runs ANALYZE, so an empty file plans as a full one does.
    let connection = Files::prepare(folder.path())
        .unwrap()
        .open_writer()
        .unwrap();
    let store = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store");
    let mut found = Vec::new();
    let mut excused = BTreeSet::new();
    let mut count = 0;
    let files = read_folder(&store);
    for (file, text) in files
        .iter()
        .filter(|(file, _)| !file.ends_with(RUNS_OTHERS))
    {
        for statement in statements(text) {
            count += 1;
            let complaint = match &statement {
                Err(unreadable) => unreadable.clone(),
                Ok(sql) => match judge(&connection, sql).err() {
                    None => continue,
                    Some(complaint) => match EXCEPTIONS.iter().find(|(part, _)| sql.contains(part))
                    {
                        Some((part, _)) => {
                            excused.insert(part);
                            continue;
                        }
                        None => format!("{complaint}\n    {}", one_line(sql)),
                    },
                },
            };
            found.push(format!("{file}: {complaint}"));
        }
    }
    for (part, _) in EXCEPTIONS
        .iter()
        .filter(|(part, _)| !excused.contains(part))
    {
        found.push(format!("the exception {part:?} excuses nothing any more"));
    }
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
    assert!(count > 60, "only {count} statements were found");
}

fn one_line(sql: &str) -> String {
    sql.split_whitespace().collect::<Vec<_>>().join(" ")
}

// STATEMENTS --------------------------------------------------------------------------------

/// What a file hands to SQLite outside its tests, in order; what cannot be read is said.
fn statements(text: &str) -> Vec<Result<String, String>> {
    let tokens = tokens(text);
    let is_tests = |at: usize| is_word(&tokens, at, "mod") && is_word(&tokens, at + 1, "tests");
    let end = (0..tokens.len())
        .find(|at| is_tests(*at))
        .unwrap_or(tokens.len());
    let names = names(&tokens);
    let mut statements = Vec::new();
    for at in 0..end {
        let Some(Token::Word(method)) = tokens.get(at + 1) else {
            continue;
        };
        let is_call = matches!(tokens[at], Token::Mark('.') | Token::Path)
            && RUNS_SQL.contains(&method.as_str())
            && tokens.get(at + 2) == Some(&Token::Mark('('));
        if !is_call {
            continue;
        }
        let argument = at + 3 + usize::from(tokens.get(at + 3) == Some(&Token::Mark('&')));
        let written = match tokens.get(argument) {
            // The parameters of a statement that was prepared before.
            Some(Token::Mark('[')) if argument == at + 3 => continue,
            Some(Token::Word(word)) if word == "params" => continue,
            Some(Token::Word(name)) if name != "format" => names
                .iter()
                .rfind(|(from, known, _)| *from < at && known == name)
                .map(|(.., text)| text.clone()),
            _ => literal(&tokens, argument),
        };
        let read = written.and_then(|text| expand(&text, &names)).ok_or_else(|| {
            format!("what this {method} runs cannot be read here; write it as a literal, with constants of the same file in braces")
        });
        match read {
            Ok(sql) => statements.extend(sql.split(';').map(|sql| Ok(sql.to_owned()))),
            Err(unreadable) => statements.push(Err(unreadable)),
        }
    }
    statements
}

fn is_word(tokens: &[Token], at: usize, wanted: &str) -> bool {
    matches!(tokens.get(at), Some(Token::Word(word)) if word == wanted)
}

/// Where a name is given to a text, the name and the text: `const NAME: &str = "…"` and
/// `let name = format!("…")`.
fn names(tokens: &[Token]) -> Vec<(usize, String, String)> {
    let named = |at: usize| {
        let Some(Token::Word(name)) = tokens.get(at + 1) else {
            return None;
        };
        let value = if is_word(tokens, at, "let") && tokens.get(at + 2) == Some(&Token::Mark('=')) {
            at + 3
        } else if is_word(tokens, at, "const") && is_word(tokens, at + 4, "str") {
            at + 6
        } else {
            return None;
        };
        Some((at, name.clone(), literal(tokens, value)?))
    };
    (0..tokens.len()).filter_map(named).collect()
}

/// The text of the literal, or of the `format!` of a literal, that stands at `at`.
fn literal(tokens: &[Token], at: usize) -> Option<String> {
    let at = if is_word(tokens, at, "format") {
        at + 3
    } else {
        at
    };
    match tokens.get(at) {
        Some(Token::Text(text)) if !text.contains('\\') => Some(text.clone()),
        _ => None,
    }
}

/// The text with what stands in braces put in.
fn expand(text: &str, names: &[(usize, String, String)]) -> Option<String> {
    let mut whole = text.to_owned();
    for (_, name, value) in names {
        whole = whole.replace(&format!("{{{name}}}"), value);
    }
    (!whole.contains(['{', '}'])).then_some(whole)
}

// PLANS -------------------------------------------------------------------------------------

/// Why a statement's cost may grow with the file, if it may.
fn judge(connection: &Connection, sql: &str) -> Result<(), String> {
    let plan = plan(connection, sql)?;
    let stops = sql.rfind("LIMIT") > sql.rfind("WHERE");
    let keys = unique_keys(connection);
    for step in plan {
        let reads_itself = step.starts_with("SCAN (subquery") || step == "SCAN CONSTANT ROW";
        if step.starts_with("SCAN ") && !reads_itself {
            return Err(format!("reads a whole table: {step}"));
        }
        if step.contains("TEMP B-TREE") || step.contains("AUTOMATIC") {
            return Err(format!("sorts what it has found: {step}"));
        }
        if !stops && step.starts_with("SEARCH ") && !finds_one_row(&step, &keys) {
            return Err(format!("has no LIMIT where its key has many rows: {step}"));
        }
    }
    Ok(())
}

fn plan(connection: &Connection, sql: &str) -> Result<Vec<String>, String> {
    let mut statement = connection
        .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
        .map_err(|e| e.to_string())?;
    // The parameters stay unbound: they are NULL, which changes no plan here.
    let mut rows = statement.raw_query();
    let mut steps = Vec::new();
    while let Some(row) = rows.next().map_err(|e| e.to_string())? {
        steps.push(row.get(3).map_err(|e| e.to_string())?);
    }
    Ok(steps)
}

/// Whether a step compares every column of a unique key, or only looks at an end of an index, as
/// `max(id)` does.
fn finds_one_row(step: &str, keys: &BTreeSet<Vec<String>>) -> bool {
    let Some((_, constraints)) = step.split_once(" (") else {
        return true;
    };
    let (constraints, _) = constraints.split_once(')').unwrap_or((constraints, ""));
    let equal: BTreeSet<&str> = constraints
        .split(" AND ")
        .filter_map(|term| term.strip_suffix("=?"))
        .collect();
    keys.iter()
        .any(|key| key.iter().all(|column| equal.contains(column.as_str())))
}

/// The columns of every unique key there is.
fn unique_keys(connection: &Connection) -> BTreeSet<Vec<String>> {
    let mut statement = connection
        .prepare(
            "SELECT i.name, c.name FROM sqlite_schema t, pragma_index_list(t.name) i, pragma_index_info(i.name) c
             WHERE t.type = 'table' AND i.\"unique\" ORDER BY i.name, c.seqno",
        )
        .unwrap();
    let mut rows = statement.query([]).unwrap();
    let mut keys: BTreeMap<String, Vec<String>> = BTreeMap::new();
    while let Some(row) = rows.next().unwrap() {
        keys.entry(row.get(0).unwrap())
            .or_default()
            .push(row.get(1).unwrap());
    }
    let rowid = ["rowid", "id"].map(|name| vec![name.to_owned()]);
    keys.into_values().chain(rowid).collect()
}

// THE CHECK CAN FAIL ------------------------------------------------------------------------

#[track_caller]
fn assert_read(body: &str, wanted: &[Option<&str>]) {
    let text = format!(
        "const COLUMNS: &str = \"SELECT id FROM event\";\n{body}\nmod tests {{ fn t() {{ c.execute(\"SELECT 9\"); }} }}"
    );
    let read: Vec<_> = statements(&text).into_iter().map(Result::ok).collect();
    let wanted: Vec<_> = wanted.iter().map(|sql| sql.map(str::to_owned)).collect();
    assert_eq!(read, wanted, "{body}");
}

#[test]
fn every_statement_is_found_or_said_to_be_unreadable() {
    assert_read("c.execute(\"SELECT 1\", []);", &[Some("SELECT 1")]);
    assert_read(
        "c.prepare_cached(COLUMNS)?;",
        &[Some("SELECT id FROM event")],
    );
    assert_read(
        "let sql = \"SELECT 1\"; let sql = format!(\"{COLUMNS} LIMIT 1\"); c.prepare(&sql)?.query_row(params![1], f);",
        &[Some("SELECT id FROM event LIMIT 1")],
    );
    assert_read(
        "c.prepare(&format!(\"{COLUMNS} LIMIT 2\"));",
        &[Some("SELECT id FROM event LIMIT 2")],
    );
    assert_read(
        "c.execute_batch(\"SELECT 1;SELECT 2\");",
        &[Some("SELECT 1"), Some("SELECT 2")],
    );
    for unreadable in [
        "fn f(sql: &str) { c.execute(sql, []); }",
        "let sql = format!(\"{COLUMNS} WHERE {condition}\"); c.prepare(&sql);",
        "let sql = format!(\"{COLUMNS} LIMIT {}\", 1); c.prepare(&sql);",
        "let mut sql = String::new(); sql.push_str(\"SELECT 1\"); c.prepare(&sql);",
        "c.execute(&(a + b), []);",
        "c.execute((a + b).as_str(), []);",
        "c.execute(&[a, b].concat(), []);",
        "Connection::execute(c, \"SELECT 1\", []);",
        "c.execute(concat!(\"SELECT\", \" 1\"), []);",
    ] {
        assert_read(unreadable, &[None]);
    }
}

#[test]
fn what_grows_is_found() {
    let connection = Connection::open_in_memory().unwrap();
    connection
        .execute_batch(
            "CREATE TABLE event (id INTEGER PRIMARY KEY, workspace_id INTEGER, name TEXT);
             CREATE INDEX event_by_workspace ON event (workspace_id, id);
             CREATE TABLE trait (profile_id INTEGER, name TEXT, PRIMARY KEY (profile_id, name)) WITHOUT ROWID;",
        )
        .unwrap();
    for bounded in [
        "SELECT name FROM event WHERE workspace_id = ?1 AND id < ?2 ORDER BY id DESC LIMIT ?3",
        "SELECT name FROM event WHERE id = ?1 AND workspace_id = ?2",
        "SELECT max(id) FROM event",
        "SELECT count(*) FROM (SELECT 1 FROM event WHERE workspace_id = ?1 LIMIT ?2)",
        "DELETE FROM event WHERE id IN (SELECT id FROM event WHERE id < ?1 ORDER BY id LIMIT ?2)",
        "DELETE FROM trait WHERE profile_id = ?1 AND name = ?2",
        "INSERT INTO event (id) VALUES (?1)",
        "COMMIT",
    ] {
        assert_eq!(judge(&connection, bounded), Ok(()), "{bounded}");
    }
    for (growing, why) in [
        ("SELECT name FROM event LIMIT 1", "whole table"),
        (
            "SELECT name FROM event WHERE name = ?1 LIMIT 1",
            "whole table",
        ),
        (
            "SELECT name FROM event WHERE workspace_id = ?1 ORDER BY name LIMIT 1",
            "sorts",
        ),
        (
            "SELECT name FROM event WHERE id < ?1 UNION SELECT ?2 LIMIT 1",
            "sorts",
        ),
        (
            "SELECT count(*) FROM event WHERE workspace_id = ?1",
            "no LIMIT",
        ),
        (
            "SELECT (SELECT id FROM event LIMIT 1) FROM event WHERE id = ?1",
            "whole table",
        ),
        ("DELETE FROM trait WHERE profile_id = ?1", "no LIMIT"),
        ("DELETE FROM event WHERE id < ?1", "no LIMIT"),
        ("SELECT elsewhere FROM event", "no such column"),
    ] {
        let complaint = judge(&connection, growing).unwrap_err();
        assert!(complaint.contains(why), "{growing}: {complaint}");
    }
}
