//! Reading the source as the source checks need it: its files, and as much of Rust's grammar as paths
//! and literals take. It knows no law; `tidy.rs` and `plans.rs` do.

use std::collections::BTreeMap;
use std::path::Path;

/// Source files by their path below the folder that was read, with forward slashes.
pub(crate) type Files = BTreeMap<String, String>;

/// As much of Rust's grammar as paths and literals need. Comments are gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Token {
    /// An identifier or keyword.
    Word(String),
    /// `::`
    Path,
    /// What a string literal says, escapes as they stand.
    Text(String),
    /// Any other character.
    Mark(char),
}

/// The tokens of a file.
pub(crate) fn tokens(source: &str) -> Vec<Token> {
    let chars: Vec<char> = source.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    let is = |at: usize, c: char| chars.get(at) == Some(&c);
    while let Some(&c) = chars.get(at) {
        if c == '/' && is(at + 1, '/') {
            while chars.get(at).is_some_and(|c| *c != '\n') {
                at += 1;
            }
        } else if c == '/' && is(at + 1, '*') {
            at = skip_block_comment(&chars, at);
        } else if let Some((text, end)) = string_literal(&chars, at) {
            tokens.push(Token::Text(text));
            at = end;
        } else if c == '\'' {
            at = skip_quote(&chars, at);
        } else if c == '_' || c.is_alphabetic() {
            let start = at;
            while chars
                .get(at)
                .is_some_and(|c| *c == '_' || c.is_alphanumeric())
            {
                at += 1;
            }
            let word: String = chars[start..at].iter().collect();
            // `r#name` is the name.
            if word == "r" && is(at, '#') {
                at += 1;
            } else {
                tokens.push(Token::Word(word));
            }
        } else if c.is_ascii_digit() {
            while chars
                .get(at)
                .is_some_and(|c| *c == '_' || c.is_alphanumeric())
            {
                at += 1;
            }
        } else if c == ':' && is(at + 1, ':') {
            tokens.push(Token::Path);
            at += 2;
        } else {
            if !c.is_whitespace() {
                tokens.push(Token::Mark(c));
            }
            at += 1;
        }
    }
    tokens
}

fn skip_block_comment(chars: &[char], mut at: usize) -> usize {
    let mut depth = 0;
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => {
                depth += 1;
                at += 2;
            }
            ('*', Some('/')) => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    at
}

/// A string of any kind that starts at `at` (with its `b`, `c`, `r` and `#`), and where it ends.
fn string_literal(chars: &[char], at: usize) -> Option<(String, usize)> {
    let mut open = at;
    while open < at + 2
        && chars
            .get(open)
            .is_some_and(|c| matches!(c, 'b' | 'c' | 'r'))
    {
        open += 1;
    }
    let is_raw = chars.get(at..open)?.contains(&'r');
    let hashes = if is_raw {
        chars.get(open..)?.iter().take_while(|c| **c == '#').count()
    } else {
        0
    };
    open += hashes;
    if chars.get(open) != Some(&'"') {
        return None;
    }
    let mut end = open + 1;
    loop {
        match chars.get(end) {
            None => break,
            Some('\\') if !is_raw => end += 2,
            Some('"') if (1..=hashes).all(|hash| chars.get(end + hash) == Some(&'#')) => {
                break;
            }
            Some(_) => end += 1,
        }
    }
    let end = end.min(chars.len());
    Some((chars[open + 1..end].iter().collect(), end + 1 + hashes))
}

/// Past a character literal, or past the quote of a lifetime.
fn skip_quote(chars: &[char], at: usize) -> usize {
    if chars.get(at + 1) == Some(&'\\') {
        let close = chars.iter().skip(at + 3).position(|c| *c == '\'');
        return close.map_or(chars.len(), |close| at + 3 + close + 1);
    }
    if chars.get(at + 2) == Some(&'\'') {
        at + 3
    } else {
        at + 1
    }
}

/// Every Rust file below a folder.
pub(crate) fn read_folder(folder: &Path) -> Files {
    fn read(root: &Path, folder: &Path, files: &mut Files) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                read(root, &path, files);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap();
                files.insert(
                    name.replace('\\', "/"),
                    std::fs::read_to_string(&path).unwrap(),
                );
            }
        }
    }
    let mut files = Files::new();
    read(folder, folder, &mut files);
    files
}
