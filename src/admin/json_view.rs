//! Bodies as people read them: JSON indented and coloured without changing a byte of its values,
//! other text as it is, and bytes that are no text as a hex dump.

use askama::Template;
use askama::filters::HtmlSafe;
use serde::de::IgnoredAny;

/// Bytes of a body that a hex dump shows.
const HEX_BYTES: usize = 4_096;
const HEX_ROW_BYTES: usize = 16;

/// A piece of coloured text.
#[derive(Debug, PartialEq, Eq)]
struct Piece {
    class: &'static str,
    text: String,
}

/// A body, ready to be read.
#[derive(Debug, Template)]
#[template(path = "parts/body.html")]
pub(super) struct BodyView {
    pieces: Vec<Piece>,
    raw: Option<String>,
    note: Option<String>,
}

impl HtmlSafe for BodyView {}

impl BodyView {
    /// The view of some bytes.
    pub(super) fn of(bytes: &[u8]) -> Self {
        let Ok(text) = std::str::from_utf8(bytes) else {
            return Self::of_binary(bytes);
        };
        if text.is_empty() {
            return Self {
                pieces: Vec::new(),
                raw: None,
                note: Some("Empty.".to_owned()),
            };
        }
        if serde_json::from_str::<IgnoredAny>(text).is_err() {
            return Self::plain(text, None);
        }
        Self {
            pieces: pretty(text),
            raw: Some(text.to_owned()),
            note: None,
        }
    }

    fn of_binary(bytes: &[u8]) -> Self {
        let shown = bytes.get(..HEX_BYTES).unwrap_or(bytes);
        let note = format!(
            "Not UTF-8 text: the first {} of {} bytes, in hexadecimal.",
            shown.len(),
            bytes.len()
        );
        Self::plain(&hex_dump(shown), Some(note))
    }

    fn plain(text: &str, note: Option<String>) -> Self {
        let pieces = vec![Piece {
            class: "",
            text: text.to_owned(),
        }];
        Self {
            pieces,
            raw: None,
            note,
        }
    }
}

fn hex_dump(bytes: &[u8]) -> String {
    let mut dump = String::new();
    for (row, chunk) in bytes.chunks(HEX_ROW_BYTES).enumerate() {
        dump.push_str(&format!("{:06x}  ", row * HEX_ROW_BYTES));
        for place in 0..HEX_ROW_BYTES {
            match chunk.get(place) {
                Some(byte) => dump.push_str(&format!("{byte:02x} ")),
                None => dump.push_str("   "),
            }
        }
        dump.push(' ');
        dump.extend(chunk.iter().map(|byte| match byte {
            0x20..=0x7e => char::from(*byte),
            _ => '.',
        }));
        dump.push('\n');
    }
    dump
}

/// Indents and colours text that is known to be JSON. Strings and numbers are copied as they came.
fn pretty(text: &str) -> Vec<Piece> {
    let mut out = Printer::default();
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let length = token_len(rest);
        let token = rest.get(..length).unwrap_or(rest);
        at += token.len();
        let follows = text.get(at..).unwrap_or("").trim_start();
        match token.chars().next() {
            Some('{' | '[') => out.open(token, follows.starts_with(['}', ']'])),
            Some('}' | ']') => out.close(token),
            Some(',') => {
                out.push("", ",");
                out.new_line();
            }
            Some(':') => out.push("", ": "),
            Some('"') if follows.starts_with(':') => out.push("k", token),
            Some('"') => out.push("s", token),
            Some('-' | '0'..='9') => out.push("n", token),
            Some('t' | 'f' | 'n') => out.push("l", token),
            _ => {}
        }
    }
    out.pieces
}

/// How many bytes the token at the beginning of `rest` has.
fn token_len(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    match bytes.first() {
        Some(b'"') => {
            let mut at = 1;
            while let Some(byte) = bytes.get(at) {
                match byte {
                    b'\\' => at += 2,
                    b'"' => return at + 1,
                    _ => at += 1,
                }
            }
            bytes.len()
        }
        Some(b'{' | b'}' | b'[' | b']' | b',' | b':') => 1,
        Some(b' ' | b'\t' | b'\n' | b'\r') => 1,
        _ => bytes
            .iter()
            .position(|byte| {
                matches!(
                    byte,
                    b',' | b':' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r'
                )
            })
            .filter(|length| *length > 0)
            .unwrap_or(bytes.len()),
    }
}

#[derive(Default)]
struct Printer {
    pieces: Vec<Piece>,
    depth: usize,
    /// Whether the value just opened holds nothing.
    is_empty_inside: bool,
}

impl Printer {
    fn push(&mut self, class: &'static str, text: &str) {
        match self.pieces.last_mut() {
            Some(last) if last.class == class => last.text.push_str(text),
            _ => self.pieces.push(Piece {
                class,
                text: text.to_owned(),
            }),
        }
    }

    fn new_line(&mut self) {
        let line = format!("\n{}", "  ".repeat(self.depth));
        self.push("", &line);
    }

    fn open(&mut self, token: &str, is_empty: bool) {
        self.push("", token);
        self.is_empty_inside = is_empty;
        self.depth += 1;
        if !is_empty {
            self.new_line();
        }
    }

    fn close(&mut self, token: &str) {
        self.depth = self.depth.saturating_sub(1);
        if !self.is_empty_inside {
            self.new_line();
        }
        self.is_empty_inside = false;
        self.push("", token);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text_of(text: &str) -> String {
        pretty(text).into_iter().map(|piece| piece.text).collect()
    }

    #[test]
    fn json_is_indented_and_its_values_stay() {
        assert_eq!(
            text_of(r#"{"a":[1.0e400,"\"}",{}],"b" : null}"#),
            "{\n  \"a\": [\n    1.0e400,\n    \"\\\"}\",\n    {}\n  ],\n  \"b\": null\n}"
        );
        let pieces = pretty(r#"{"k":"v"}"#);
        assert!(pieces.iter().any(|p| p.class == "k" && p.text == "\"k\""));
        assert!(pieces.iter().any(|p| p.class == "s" && p.text == "\"v\""));
    }

    #[test]
    fn bytes_that_are_no_text_are_dumped() {
        let view = BodyView::of(&[0xff, b'A', 0]);
        assert!(view.note.is_some());
        assert!(view.pieces[0].text.starts_with("000000  ff 41 00"));
    }

    #[test]
    fn hostile_text_is_escaped() {
        let html = BodyView::of(br#"{"<script>":"</script><img src=x>"}"#).to_string();
        assert!(
            !html.contains("<script>") && !html.contains("<img"),
            "{html}"
        );
    }

    proptest! {
        #[test]
        fn no_body_breaks_it(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = BodyView::of(&bytes).to_string();
        }

        #[test]
        fn pretty_json_means_the_same(text in r#"(\{"a":(\[1,2\]|"x\\"y"|null)\}|\[\{\},\[\],-0\.5\])"#) {
            let before: serde_json::Value = serde_json::from_str(&text).unwrap();
            let after: serde_json::Value = serde_json::from_str(&text_of(&text)).unwrap();
            prop_assert_eq!(before, after);
        }
    }
}
