//! A message's headers as the file keeps them: text with a header a line, made once when they were sent or
//! came, and read again only by a page. The names that nearly every message has are two characters there:
//! an attempt's row would otherwise be mostly the same names, over and over.

use rusqlite::types::{FromSql, FromSqlResult, ToSql, ToSqlOutput, ValueRef};

/// An attempt's text for its headers rarely needs more bytes than this.
const TEXT_BYTES: usize = 256;

/// What stands for a name, behind a `:`, with which no name begins. Never changed: files hold them.
const SIGNS: [(char, &str); 10] = [
    ('h', "host"),
    ('t', "content-type"),
    ('l', "content-length"),
    ('u', "user-agent"),
    ('i', "webhook-id"),
    ('s', "webhook-timestamp"),
    ('g', "webhook-signature"),
    ('d', "date"),
    ('v', "server"),
    ('c', "connection"),
];

/// What a text begins with that is a JSON array of `[name, value]`, as earlier versions kept them; no name does.
const JSON: char = '[';

/// A message's headers: `name:value` in a line, or `:`, a sign and the value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeadersText(String);

impl HeadersText {
    /// The text of these headers, in their order. Bytes that are not UTF-8 are replaced; so is a line break,
    /// which HTTP allows in no value.
    pub fn new<'a>(headers: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Self {
        let mut text = String::with_capacity(TEXT_BYTES);
        for (name, value) in headers {
            match SIGNS.iter().find(|(_, known)| *known == name) {
                Some((sign, _)) => text.extend([':', *sign]),
                None => {
                    text.push_str(name);
                    text.push(':');
                }
            }
            let value = String::from_utf8_lossy(value);
            if value.contains('\n') {
                text.push_str(&value.replace('\n', " "));
            } else {
                text.push_str(&value);
            }
            text.push('\n');
        }
        Self(text)
    }

    /// Names and values.
    pub fn pairs(&self) -> Vec<(String, String)> {
        if self.0.starts_with(JSON) {
            return serde_json::from_str(&self.0).unwrap_or_default();
        }
        self.0.split_terminator('\n').filter_map(pair).collect()
    }
}

/// The header of a line; `None` for what [`HeadersText::new`] does not write.
fn pair(line: &str) -> Option<(String, String)> {
    let (name, value) = line.split_once(':')?;
    if !name.is_empty() {
        return Some((name.to_owned(), value.to_owned()));
    }
    let sign = value.chars().next()?;
    let (_, name) = SIGNS.iter().find(|(known, _)| *known == sign)?;
    Some(((*name).to_owned(), value[sign.len_utf8()..].to_owned()))
}

impl ToSql for HeadersText {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        self.0.to_sql()
    }
}

impl FromSql for HeadersText {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        String::column_result(value).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(headers: &[(&str, &[u8])]) -> Vec<(String, String)> {
        HeadersText::new(headers.iter().copied()).pairs()
    }

    fn expect(found: &[(String, String)], expected: &[(&str, &str)]) {
        let found: Vec<(&str, &str)> = found.iter().map(|(n, v)| (&**n, &**v)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn headers_read_back_whatever_their_values_hold() {
        let headers: [(&str, &[u8]); 7] = [
            ("webhook-id", b"msg_1"),
            ("x-quote", b"a \"b\" \\ c"),
            ("x-colons", b": ::h"),
            ("x-bytes", b"\xff"),
            ("x-lines", b"a\nwebhook-id:b"),
            ("x-empty", b""),
            ("host", b""),
        ];
        expect(
            &read(&headers),
            &[
                ("webhook-id", "msg_1"),
                ("x-quote", "a \"b\" \\ c"),
                ("x-colons", ": ::h"),
                ("x-bytes", "\u{fffd}"),
                ("x-lines", "a webhook-id:b"),
                ("x-empty", ""),
                ("host", ""),
            ],
        );
        assert!(read(&[]).is_empty());
    }

    #[test]
    fn what_earlier_versions_kept_is_read() {
        let kept = |text: &str| HeadersText(text.to_owned()).pairs();
        assert!(kept("[]").is_empty());
        let old = kept(r#"[["host","127.0.0.1:9"],["x-quote","a \"b\"\n"]]"#);
        expect(&old, &[("host", "127.0.0.1:9"), ("x-quote", "a \"b\"\n")]);
    }

    #[test]
    fn a_sign_stands_for_one_name() {
        for (n, (sign, name)) in SIGNS.iter().enumerate() {
            let others = &SIGNS[n + 1..];
            assert!(others.iter().all(|(s, n)| s != sign && n != name), "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_headers_read_back_in_their_order(
            headers in prop::collection::vec(
                ("[!#$%&'*+.^_`|~0-9a-z-]{1,12}|host|date|webhook-signature", "[\t -~\u{80}-\u{24f}]{0,20}"),
                0..8,
            ),
        ) {
            let text = HeadersText::new(headers.iter().map(|(n, v)| (&**n, v.as_bytes())));
            prop_assert_eq!(text.pairs(), headers);
        }
    }
}
