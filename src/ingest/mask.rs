//! Where secrets stand in a text that may be anything: JSON or what was meant to be, a form, a log line, an
//! address, one of them written inside another. Knows neither bodies nor windows, and prefers to take a word
//! too many for a secret.

mod glyph;
mod names;
mod tokens;
mod values;

use glyph::{Glyph, glyph, is_quote};
use names::{Follows, is_secret, read_name, what_follows};
use std::borrow::Cow;
use std::ops::Range;
use tokens::{scheme_token, token_end, user_info};
use values::{item, quoted, value};

/// What stands for a secret.
pub(super) const MASK: &str = "***";
/// Members whose text names what another member of the same object holds.
const NAMING: [&str; 8] = [
    "name", "key", "field", "header", "id", "param", "label", "k",
];
/// That other member.
const NAMED: [&str; 5] = ["value", "val", "v", "content", "data"];
/// Objects inside each other that are told apart.
const MAX_DEPTH: usize = 32;

/// The text with its secrets masked.
pub(super) fn masked(text: &str) -> Cow<'_, str> {
    let secrets = secrets(text.as_bytes());
    if secrets.is_empty() {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    let mut at = 0;
    for secret in secrets {
        shown.push_str(text.get(at..secret.start).unwrap_or_default());
        shown.push_str(MASK);
        at = secret.end;
    }
    shown.push_str(text.get(at..).unwrap_or_default());
    Cow::Owned(shown)
}

/// A sentence with its secrets masked. One that begins with the path of a field and a colon says what is
/// wrong with that field, whatever its name, and not what it holds.
pub(super) fn masked_sentence(text: &str) -> Cow<'_, str> {
    match text.split_once(": ") {
        Some((path, rest)) if !path.contains(char::is_whitespace) => {
            Cow::Owned(format!("{}: {}", masked(path), masked(rest)))
        }
        _ => masked(text),
    }
}

/// Where secrets stand, in order.
pub(super) fn secrets(text: &[u8]) -> Vec<Range<usize>> {
    let mut finder = Finder {
        text,
        found: Vec::new(),
        objects: vec![Object::default()],
        deeper: 0,
    };
    finder.run();
    let mut found = finder.found;
    found.sort_by_key(|secret| secret.start);
    let mut merged: Vec<Range<usize>> = Vec::with_capacity(found.len());
    for secret in found.into_iter().filter(|secret| !secret.is_empty()) {
        match merged.last_mut() {
            Some(last) if secret.start < last.end => last.end = last.end.max(secret.end),
            _ => merged.push(secret),
        }
    }
    merged
}

/// What is known of an object while it is read.
#[derive(Debug, Default)]
struct Object {
    /// A member of it names a secret.
    names_secret: bool,
    /// The sign in front of what would be that secret.
    value: Option<Glyph>,
}

struct Finder<'a> {
    text: &'a [u8],
    found: Vec<Range<usize>>,
    objects: Vec<Object>,
    /// Objects inside the innermost one that is known.
    deeper: usize,
}

impl Finder<'_> {
    fn run(&mut self) {
        let mut name = String::new();
        let mut before = 0;
        let mut at = 0;
        while let Some(glyph) = glyph(self.text, at) {
            at = match glyph.byte {
                byte if byte.is_ascii_alphanumeric() => {
                    let end = read_name(self.text, glyph.start, &mut name);
                    let end = self.take_tokens(glyph.start, end);
                    let next = self.take_named(&name, end, is_quote(before));
                    before = b'a';
                    at = next;
                    continue;
                }
                b'{' => {
                    self.open();
                    glyph.end
                }
                b'}' => {
                    self.close();
                    glyph.end
                }
                b':' => match user_info(self.text, &glyph) {
                    Some(secret) => {
                        let end = secret.end;
                        self.found.push(secret);
                        end
                    }
                    None => glyph.end,
                },
                _ => glyph.end,
            };
            before = glyph.byte;
        }
    }

    fn open(&mut self) {
        if self.objects.len() < MAX_DEPTH {
            self.objects.push(Object::default());
        } else {
            self.deeper += 1;
        }
    }

    fn close(&mut self) {
        if self.deeper > 0 {
            self.deeper -= 1;
        } else if self.objects.len() > 1 {
            self.objects.pop();
        }
    }

    /// The object that is being read, where it is known.
    fn object(&mut self) -> Option<&mut Object> {
        if self.deeper > 0 {
            return None;
        }
        self.objects.last_mut()
    }

    /// Takes what says itself that it is a secret, anywhere between `start` and `end`. Says where the last
    /// one ends, or `end`.
    fn take_tokens(&mut self, start: usize, end: usize) -> usize {
        let mut at = start;
        while at < end {
            let Some(glyph) = glyph(self.text, at) else {
                break;
            };
            at = match token_end(self.text, &glyph) {
                Some(token_end) => {
                    self.found.push(glyph.start..token_end);
                    token_end
                }
                None => glyph.end,
            };
        }
        at.max(end)
    }

    /// Takes what the name that ends at `end` says is a secret; says where to read on.
    fn take_named(&mut self, name: &str, end: usize, after_quote: bool) -> usize {
        match what_follows(self.text, end) {
            Follows::Sign(sign) => self.take_member(name, end, &sign),
            Follows::Item(at) if after_quote && is_secret(name) => match item(self.text, at) {
                Some(secret) => self.take(secret),
                None => end,
            },
            Follows::Gap(at) => match scheme_token(self.text, name, at) {
                Some(secret) => self.take(secret),
                None => end,
            },
            Follows::Item(_) | Follows::Nothing => end,
        }
    }

    fn take(&mut self, secret: Range<usize>) -> usize {
        let end = secret.end;
        self.found.push(secret);
        end
    }

    fn take_member(&mut self, name: &str, end: usize, sign: &Glyph) -> usize {
        let is_one_of = |names: &[&str]| names.iter().any(|known| name.eq_ignore_ascii_case(known));
        if is_one_of(&NAMING) {
            self.note_naming(sign);
        }
        let mut is_secret = is_secret(name);
        if !is_secret
            && is_one_of(&NAMED)
            && let Some(object) = self.object()
        {
            is_secret = object.names_secret;
            object.value = Some(*sign);
        }
        if !is_secret {
            return end;
        }
        match value(self.text, sign) {
            Some(value) => self.take(value),
            None => end,
        }
    }

    /// Looks whether a member names a secret that another member of its object holds.
    fn note_naming(&mut self, sign: &Glyph) {
        let text = self.text;
        let Some(named) = quoted(text, sign) else {
            return;
        };
        if !is_secret(&named) {
            return;
        }
        if let Some(object) = self.object() {
            object.names_secret = true;
            let earlier = object.value.take();
            if let Some(value) = earlier.and_then(|sign| value(text, &sign)) {
                self.found.push(value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Of each text, what is shown of it.
    fn check(cases: &[(&str, &str)]) {
        for (text, wanted) in cases {
            assert_eq!(masked(text), *wanted, "{text}");
        }
    }

    #[test]
    fn members_are_secret_by_the_words_of_their_names() {
        for name in [
            "key",
            "privateKey",
            "accessKey",
            "access_key",
            "signing_key",
            "encryptionKey",
            "stripeKey",
            "api key",
            "secret key",
            "pwd",
            "pass",
            "cookie",
            "Set-Cookie",
            "session",
            "session_id",
            "jwt",
            "bearer",
            "auth",
            "basicAuth",
            "OAuth2",
            "otp",
            "OTPCode",
            "cvc",
            "API_KEY",
            "APIKey",
            "privatekey",
            "x.auth.y",
            "my secret of today",
            "k\\u0065y",
            "\\u006bey",
        ] {
            let body = format!(r#"{{"{name}" : "canary", "b":"c"}}"#);
            let wanted = format!(r#"{{"{name}" : "***", "b":"c"}}"#);
            assert_eq!(masked(&body), wanted);
            let body = format!(r#"{{"{name}":[1,"canary"],"b":"c"}}"#);
            assert_eq!(masked(&body), format!(r#"{{"{name}":***,"b":"c"}}"#));
        }
        for name in [
            "userId",
            "email",
            "properties",
            "keyboard",
            "monkey",
            "passenger",
            "authored",
            "author",
            "sessions",
            "compass",
            "jwtx",
            "event",
            "messageId",
            "bypassed",
            "name",
            "value",
        ] {
            let body = format!(r#"{{"{name}":"canary","b":"c"}}"#);
            assert_eq!(masked(&body), body);
        }
    }

    #[test]
    fn what_says_itself_that_it_is_a_secret_is_masked_inside_a_word() {
        check(&[
            ("a=%22pbk_abc-D%22&b=2", "a=%22***%22&b=2"),
            ("xpbk_abc y", "x*** y"),
            (r#"{"pbk_abc":1}"#, r#"{"***":1}"#),
            ("/properties/pbk_abc", "/properties/***"),
            (
                r#"["sk_live_a1","rk_live_b2","whsec_c+/="]"#,
                r#"["***","***","***"]"#,
            ),
            (r#"{"a":"\u0070bk_abc"}"#, r#"{"a":"***"}"#),
            ("p%62k_abc", "***"),
            (
                r#"{"a":"x-eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln ok"}"#,
                r#"{"a":"x-*** ok"}"#,
            ),
            ("heyJude", "heyJude"),
            (r#"{"a":"Bearer abcdef"}"#, r#"{"a":"Bearer ***"}"#),
            (r#"{"a":"Basic dXNlcjpwYXNz"}"#, r#"{"a":"Basic ***"}"#),
            (r#"{"plan":"Basic Monthly"}"#, r#"{"plan":"Basic Monthly"}"#),
        ]);
    }

    #[test]
    fn a_name_may_be_told_beside_the_value() {
        check(&[
            (
                r#"["Authorization","Bearer abc"]"#,
                r#"["Authorization","***"]"#,
            ),
            (
                r#"["a","b","Cookie" , "c=d","e"]"#,
                r#"["a","b","Cookie" , "***","e"]"#,
            ),
            (r#"["otp",123456]"#, r#"["otp",***]"#),
            (
                r#"{"name":"password","value":"x"}"#,
                r#"{"name":"password","value":"***"}"#,
            ),
            (
                r#"{"name":"api key","at":{"b":1},"value":{"x":1}}"#,
                r#"{"name":"api key","at":{"b":1},"value":***}"#,
            ),
            (
                r#"{"value":"x","name":"password"}"#,
                r#"{"value":"***","name":"password"}"#,
            ),
            (
                r#"{"key":"password","value":"x"}"#,
                r#"{"key":"***","value":"***"}"#,
            ),
            (
                r#"{"event":"session","b":"c"}"#,
                r#"{"event":"session","b":"c"}"#,
            ),
            (
                r#"[{"name":"plan","value":"x"},{"name":"pwd","value":"x"}]"#,
                r#"[{"name":"plan","value":"x"},{"name":"pwd","value":"***"}]"#,
            ),
        ]);
    }

    #[test]
    fn addresses_lose_user_and_password() {
        check(&[
            ("https://user:pass@host/a", "https://***@host/a"),
            (
                r#"{"a":"https:\/\/user:pass@host\/a"}"#,
                r#"{"a":"https:\/\/***@host\/a"}"#,
            ),
            (
                "a=https%3A%2F%2Fuser%3Apa%40ss%40host%2Fb",
                "a=https%3A%2F%2F***%40host%2Fb",
            ),
            ("https://user:p%2Fa@host", "https://***@host"),
            ("https://user:p?a@host", "https://***@host"),
            ("https://user:pa", "https://***"),
            ("https://host:8080", "https://host:8080"),
            ("https://host/a@b", "https://host/a@b"),
            ("https://host?mail=a@b", "https://host?mail=a@b"),
        ]);
    }

    #[test]
    fn a_text_may_be_written_inside_another() {
        check(&[
            (
                r#"{"log":"{\"a\":\"{\\\"pwd\\\":\\\"x\\\\\\\"y\\\",\\\"b\\\":1}\"}"}"#,
                r#"{"log":"{\"a\":\"{\\\"pwd\\\":\\\"***\\\",\\\"b\\\":1}\"}"}"#,
            ),
            (r#"{"pwd":"x\\","b":"c"}"#, r#"{"pwd":"***","b":"c"}"#),
            (
                r#"{"a":"\u0022pwd\u0022:\u0022x\u0022,1"}"#,
                r#"{"a":"\u0022pwd\u0022:\u0022***\u0022,1"}"#,
            ),
            (
                "d=%7B%22pwd%22%3A+%22x%5C%22y%22%2C%22b%22%3A1%7D&e=1",
                "d=%7B%22pwd%22%3A+%22***%22%2C%22b%22%3A1%7D&e=1",
            ),
            (
                "user%5Bpassword%5D=a%22%2Cb&c=1",
                "user%5Bpassword%5D=***&c=1",
            ),
            ("pass%77ord=a,b&c=1", "pass%77ord=***&c=1"),
            (
                r#"{"password":"a%22b","c":1}"#,
                r#"{"password":"***","c":1}"#,
            ),
            (r#"{"a":"first\nkey: x"}"#, r#"{"a":"first\nkey: ***"}"#),
        ]);
    }

    #[test]
    fn a_sentence_about_a_field_is_kept() {
        let sentence = "batch[0].traits.apiKey: A trait must be a text.";
        assert_eq!(masked_sentence(sentence), sentence);
        assert_eq!(
            masked_sentence("There is no field pbk_abc; the fields are a, b."),
            "There is no field ***; the fields are a, b."
        );
    }

    #[test]
    fn hostile_texts_cost_little() {
        for part in [
            r#"{"value":"#,
            r#"{"key","#,
            "://a:",
            "key ",
            "%25",
            "\\",
            r#""name":"pwd","#,
            "eyJ",
        ] {
            let text = part.repeat(200_000 / part.len());
            let started = std::time::Instant::now();
            secrets(text.as_bytes());
            assert!(started.elapsed().as_secs() < 5, "{part}");
        }
    }

    proptest! {
        #[test]
        fn secrets_are_ordered_parts(text in proptest::collection::vec(any::<u8>(), 0..600)) {
            let mut end = 0;
            for secret in secrets(&text) {
                prop_assert!(secret.start >= end && secret.end > secret.start && secret.end <= text.len());
                end = secret.end;
            }
        }

        #[test]
        fn texts_stay_texts(text in "([a-z\"':=\\\\{},%@/ é\u{0}]|key|pbk_|://|\\\\u0022|%22){0,60}") {
            let shown = masked(&text);
            prop_assert!(shown.len() <= text.len() * 3 + 3);
        }
    }
}
