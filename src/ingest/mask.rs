//! Where secrets stand in a text that may be anything: JSON or what was meant to be, a form, a log line, an
//! address, one of them written inside another. Knows neither bodies nor windows, and prefers to take a word
//! too many for a secret.

use crate::secret::{API_KEY_PREFIX, WEBHOOK_SECRET_PREFIX};
use std::borrow::Cow;
use std::ops::Range;

/// What stands for a secret.
pub(super) const MASK: &str = "***";
/// A member whose name holds one of these, in any case and spelling, has its value masked.
const SECRET_PARTS: [&str; 19] = [
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "secret",
    "token",
    "authorization",
    "authhash",
    "credential",
    "writekey",
    "apikey",
    "privatekey",
    "accesskey",
    "signingkey",
    "encryptionkey",
    "stripekey",
    "masterkey",
    "sharedkey",
    "sshkey",
];
/// So has one of whose name's words one of these is.
const SECRET_WORDS: [&str; 15] = [
    "key", "keys", "pwd", "pass", "cookie", "cookies", "session", "jwt", "bearer", "auth", "oauth",
    "otp", "totp", "cvc", "cvv",
];
/// What secrets begin with that say so themselves, wherever they stand.
const SECRET_PREFIXES: [&str; 6] = [
    API_KEY_PREFIX,
    WEBHOOK_SECRET_PREFIX,
    "sk_live_",
    "sk_test_",
    "rk_live_",
    "rk_test_",
];
/// A JSON Web Token's: `{"` in base64.
const JWT_PREFIX: &str = "eyJ";
/// A text that begins like a JSON Web Token and is shorter than this is none.
const MIN_JWT_CHARS: usize = 19;
/// Members whose text names what another member of the same object holds.
const NAMING: [&str; 8] = [
    "name", "key", "field", "header", "id", "param", "label", "k",
];
/// That other member.
const NAMED: [&str; 5] = ["value", "val", "v", "content", "data"];
/// Objects inside each other that are told apart.
const MAX_DEPTH: usize = 32;
/// Characters of a name that are looked at.
const MAX_NAME_CHARS: usize = 4_096;
/// Characters between a word of a name and the name's end.
const MAX_NAME_REST_CHARS: usize = 40;

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

// NAMES -------------------------------------------------------------------------------------

/// Whether what has this name is a secret.
fn is_secret(name: &str) -> bool {
    let mut joined = String::with_capacity(name.len());
    joined.extend(
        name.chars()
            .filter(char::is_ascii_alphanumeric)
            .map(|c| c.to_ascii_lowercase()),
    );
    SECRET_PARTS.iter().any(|part| joined.contains(part)) || has_secret_word(name)
}

fn has_secret_word(name: &str) -> bool {
    let is_secret = |word: &str| {
        SECRET_WORDS
            .iter()
            .any(|secret| word.eq_ignore_ascii_case(secret))
    };
    let bytes = name.as_bytes();
    let mut start = 0;
    for at in 1..=bytes.len() {
        if begins_word(bytes, at) {
            if name.get(start..at).is_some_and(is_secret) {
                return true;
            }
            start = at;
        }
    }
    false
}

/// Whether a word of camelCase, snake_case, SCREAMING_CASE or plain text begins, or ended, at `at`.
fn begins_word(name: &[u8], at: usize) -> bool {
    let (Some(before), Some(byte)) = (name.get(at - 1), name.get(at)) else {
        return true;
    };
    if !before.is_ascii_alphabetic() || !byte.is_ascii_alphabetic() {
        return !(before.is_ascii_digit() && byte.is_ascii_digit());
    }
    let starts_small = name.get(at + 1).is_some_and(u8::is_ascii_lowercase);
    byte.is_ascii_uppercase() && (before.is_ascii_lowercase() || starts_small)
}

/// Reads a run of letters and digits and what joins them, in quotes or not, its escapes undone. Says where
/// it ends.
fn read_name(text: &[u8], start: usize, name: &mut String) -> usize {
    name.clear();
    let mut end = start;
    while let Some(glyph) = glyph(text, end) {
        if !is_name(glyph.byte) {
            break;
        }
        if name.len() < MAX_NAME_CHARS {
            name.push(char::from(glyph.byte));
        }
        end = glyph.end;
    }
    end
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'$')
}

/// What follows a word.
enum Follows {
    /// This colon or equals sign: the word is the name of a member, or in it.
    Sign(Glyph),
    /// A comma behind the quote: the word is a whole text of an array, or a member's.
    Item(usize),
    /// A gap.
    Gap(usize),
    /// None of these.
    Nothing,
}

fn what_follows(text: &[u8], end: usize) -> Follows {
    let mut at = end;
    let mut gap = None;
    let mut has_more_words = false;
    let mut is_closed = false;
    let mut chars = 0;
    while chars < MAX_NAME_REST_CHARS
        && let Some(glyph) = glyph(text, at)
    {
        chars += usize::from(!glyph.byte.is_ascii_whitespace());
        match glyph.byte {
            b':' | b'=' if is_closed || !has_more_words => return Follows::Sign(glyph),
            b',' if is_closed && gap.is_none() => return Follows::Item(glyph.end),
            b'"' | b'\'' | b'`' => is_closed = true,
            b']' => {}
            byte if byte.is_ascii_whitespace() => {
                if !is_closed {
                    gap = gap.or(Some(glyph.end));
                }
            }
            byte if is_name(byte) && !is_closed => has_more_words = gap.is_some(),
            _ => break,
        }
        at = glyph.end;
    }
    gap.map_or(Follows::Nothing, Follows::Gap)
}

// VALUES ------------------------------------------------------------------------------------

/// What stands behind a colon or an equals sign, quoted or not.
fn value(text: &[u8], sign: &Glyph) -> Option<Range<usize>> {
    let first = behind(text, sign)?;
    Some(match first.byte {
        byte if is_quote(byte) => first.end..quoted_end(text, &first),
        b'{' | b'[' => first.start..nested_end(text, first.start),
        _ => first.start..bare_end(text, first.start, sign),
    })
}

/// The first character behind a sign that is no gap.
fn behind(text: &[u8], sign: &Glyph) -> Option<Glyph> {
    let mut at = sign.end;
    loop {
        let glyph = glyph(text, at)?;
        let is_gap = glyph.byte.is_ascii_whitespace()
            || glyph.byte == b'>'
            || glyph.byte == b'+' && sign.spelling == Spelling::Percent;
        if !is_gap {
            return Some(glyph);
        }
        at = glyph.end;
    }
}

/// The beginning of the quoted text behind a sign.
fn quoted(text: &[u8], sign: &Glyph) -> Option<String> {
    let first = behind(text, sign).filter(|first| is_quote(first.byte))?;
    let mut named = String::new();
    let mut at = first.end;
    while named.len() < MAX_NAME_REST_CHARS
        && let Some(glyph) = glyph(text, at)
        && glyph.byte != first.byte
    {
        named.push(char::from(glyph.byte));
        at = glyph.end;
    }
    Some(named)
}

/// The next item of an array, a text or a number, that begins behind `at`. A text with a colon behind it is
/// a member's name.
fn item(text: &[u8], at: usize) -> Option<Range<usize>> {
    let comma = Glyph {
        byte: b',',
        start: at,
        end: at,
        spelling: Spelling::Plain(0),
    };
    let first = behind(text, &comma)?.byte;
    if !is_quote(first) && !first.is_ascii_digit() && !matches!(first, b'-' | b'[') {
        return None;
    }
    let value = value(text, &comma)?;
    if !is_quote(first) {
        return Some(value);
    }
    let closing = glyph(text, value.end).map_or(text.len(), |quote| quote.end);
    let mut at = closing;
    while let Some(glyph) = glyph(text, at) {
        match glyph.byte {
            b':' => return None,
            byte if byte.is_ascii_whitespace() => at = glyph.end,
            _ => break,
        }
    }
    Some(value)
}

/// Where an unquoted value ends. What is escaped in some way is of it, unless its sign was, too.
fn bare_end(text: &[u8], start: usize, sign: &Glyph) -> usize {
    let ends: &[u8] = if sign.byte == b'=' {
        b"&\r\n\"'"
    } else {
        b",}]&\r\n\"'"
    };
    let mut at = start;
    while let Some(glyph) = glyph(text, at) {
        let is_its_own = match glyph.spelling {
            Spelling::Plain(0) => true,
            Spelling::Plain(_) => is_quote(glyph.byte),
            spelling => spelling == sign.spelling,
        };
        if is_its_own && ends.contains(&glyph.byte) {
            return glyph.start;
        }
        at = glyph.end;
    }
    text.len()
}

/// Where a text ends that begins behind the quote `open`: at its quote, or with everything.
fn quoted_end(text: &[u8], open: &Glyph) -> usize {
    let mut at = open.end;
    while let Some(glyph) = glyph(text, at) {
        at = glyph.end;
        if glyph.byte == open.byte && closes(open.spelling, glyph.spelling) {
            // Of the backslashes in front of it, only as many as its beginning has are its own.
            return match (open.spelling, glyph.spelling) {
                (Spelling::Plain(own), Spelling::Plain(_)) => {
                    glyph.start.max((glyph.end - 1).saturating_sub(own))
                }
                _ => glyph.start,
            };
        }
        if glyph.byte == b'\\'
            && (glyph.spelling, open.spelling) == (Spelling::Percent, Spelling::Percent)
        {
            at = self::glyph(text, at).map_or(text.len(), |escaped| escaped.end);
        }
    }
    text.len()
}

/// Whether a quote ends what one began.
fn closes(open: Spelling, quote: Spelling) -> bool {
    match (open, quote) {
        (Spelling::Plain(open), Spelling::Plain(mut slashes)) => {
            // A text in a text in a text: each reading takes the half of the backslashes.
            let mut depth = open;
            while depth > 0 {
                if slashes % 2 == 0 {
                    return true;
                }
                slashes /= 2;
                depth /= 2;
            }
            slashes % 2 == 0
        }
        (_, Spelling::Plain(slashes)) => slashes % 2 == 0,
        (open, quote) => open == quote,
    }
}

/// Where an object or array ends: behind its bracket, or with everything.
fn nested_end(text: &[u8], start: usize) -> usize {
    let mut depth = 0usize;
    let mut at = start;
    while let Some(glyph) = glyph(text, at) {
        at = glyph.end;
        match glyph.byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at;
                }
            }
            b'"' => {
                let end = quoted_end(text, &glyph);
                at = self::glyph(text, end).map_or(text.len(), |quote| quote.end);
            }
            _ => {}
        }
    }
    text.len()
}

// WHAT SAYS ITSELF THAT IT IS A SECRET ------------------------------------------------------

/// Where the secret ends that begins with this character, if one does.
fn token_end(text: &[u8], first: &Glyph) -> Option<usize> {
    if !matches!(first.byte, b'p' | b'w' | b's' | b'r' | b'e') {
        return None;
    }
    if let Some(end) = SECRET_PREFIXES
        .iter()
        .find_map(|prefix| behind_prefix(text, first.start, prefix))
    {
        return Some(run_end(text, end, b"_-+/=").0);
    }
    let end = behind_prefix(text, first.start, JWT_PREFIX)?;
    let (end, chars) = run_end(text, end, b"_-+/=.");
    (chars + JWT_PREFIX.len() >= MIN_JWT_CHARS).then_some(end)
}

fn behind_prefix(text: &[u8], start: usize, prefix: &str) -> Option<usize> {
    let mut at = start;
    for byte in prefix.bytes() {
        at = glyph(text, at).filter(|glyph| glyph.byte == byte)?.end;
    }
    Some(at)
}

/// Where a run of letters, digits and `more` ends, and how many they are.
fn run_end(text: &[u8], start: usize, more: &[u8]) -> (usize, usize) {
    let mut end = start;
    let mut count = 0;
    while let Some(glyph) = glyph(text, end)
        && (glyph.byte.is_ascii_alphanumeric() || more.contains(&glyph.byte))
    {
        end = glyph.end;
        count += 1;
    }
    (end, count)
}

/// What stands behind `Bearer` or `Basic`, a gap between them.
fn scheme_token(text: &[u8], name: &str, at: usize) -> Option<Range<usize>> {
    let is_bearer = name.eq_ignore_ascii_case("bearer");
    if !is_bearer && !name.eq_ignore_ascii_case("basic") {
        return None;
    }
    let mut start = at;
    while let Some(glyph) = glyph(text, start)
        && glyph.byte.is_ascii_whitespace()
    {
        start = glyph.end;
    }
    let (end, chars) = run_end(text, start, b"_-+/=.~");
    let token = start..end;
    let is_no_word = text
        .get(start + 1..end)?
        .iter()
        .any(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase() || *byte == b'=');
    (is_bearer || chars >= 8 && is_no_word).then_some(token)
}

/// The user and the password of an address of which this is the scheme's colon.
fn user_info(text: &[u8], colon: &Glyph) -> Option<Range<usize>> {
    let start = behind_prefix(text, colon.end, "//")?;
    let is_its_own = |glyph: &Glyph| {
        matches!(glyph.spelling, Spelling::Plain(_)) || glyph.spelling == colon.spelling
    };
    let mut last_at = None;
    let mut after_colon = None;
    let mut is_port = true;
    let mut at = start;
    while let Some(glyph) = glyph(text, at) {
        match glyph.byte {
            b'@' => last_at = Some(glyph.start),
            b':' if after_colon.is_none() => after_colon = Some(glyph.end),
            // A password may hold these, though it should not.
            b'?' | b'#' if after_colon.is_some() => is_port = false,
            b'/' | b'?' | b'#' | b'<' | b'>' | b'"' | b'\'' | b'`' if is_its_own(&glyph) => {
                return last_at.map(|end| start..end);
            }
            byte if byte.is_ascii_whitespace() && is_its_own(&glyph) => {
                return last_at.map(|end| start..end);
            }
            byte => is_port &= after_colon.is_none() || byte.is_ascii_digit(),
        }
        at = glyph.end;
    }
    // The text breaks off before the host.
    last_at
        .or_else(|| (after_colon.is_some() && !is_port).then_some(text.len()))
        .map(|end| start..end)
}

// CHARACTERS --------------------------------------------------------------------------------

/// A character, whatever it is written as; of more than ASCII, a byte of one.
#[derive(Debug, Clone, Copy)]
struct Glyph {
    byte: u8,
    start: usize,
    end: usize,
    spelling: Spelling,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spelling {
    /// As itself, behind so many backslashes.
    Plain(usize),
    /// `\u0041`.
    Unicode,
    /// `%41`.
    Percent,
}

/// The character at `at`. Zeros are passed over: a text of two bytes a character has them between its
/// letters.
fn glyph(text: &[u8], at: usize) -> Option<Glyph> {
    let start = behind_zeros(text, at);
    let (byte, end, spelling) = match text.get(start)? {
        b'%' => percent(text, start),
        b'\\' => escaped(text, start),
        byte => (*byte, start + 1, Spelling::Plain(0)),
    };
    Some(Glyph {
        byte,
        start,
        end,
        spelling,
    })
}

fn behind_zeros(text: &[u8], mut at: usize) -> usize {
    while text.get(at) == Some(&0) {
        at += 1;
    }
    at
}

fn percent(text: &[u8], start: usize) -> (u8, usize, Spelling) {
    let mut digits = start + 1;
    // Encoded more than once.
    while text.get(digits..digits + 2) == Some(b"25".as_slice()) {
        digits += 2;
    }
    let byte = hex(text, digits, 2).and_then(|(code, end)| Some((u8::try_from(code).ok()?, end)));
    match byte {
        Some((byte, end)) => (byte, end, Spelling::Percent),
        None => (b'%', start + 1, Spelling::Plain(0)),
    }
}

fn escaped(text: &[u8], start: usize) -> (u8, usize, Spelling) {
    let mut slashes = 0;
    let mut at = start;
    while text.get(at) == Some(&b'\\') {
        slashes += 1;
        at = behind_zeros(text, at + 1);
    }
    match text.get(at) {
        None => (b'\\', at, Spelling::Plain(0)),
        Some(b'u') => match hex(text, at + 1, 4) {
            Some((code, end)) => (
                u8::try_from(code).unwrap_or(u8::MAX),
                end,
                Spelling::Unicode,
            ),
            None => (b'u', at + 1, Spelling::Plain(slashes)),
        },
        Some(b'n' | b'r' | b't' | b'b' | b'f') => (b' ', at + 1, Spelling::Plain(slashes)),
        Some(byte) => (*byte, at + 1, Spelling::Plain(slashes)),
    }
}

/// The number that `count` hexadecimal digits are, and where they end.
fn hex(text: &[u8], start: usize, count: usize) -> Option<(u32, usize)> {
    let mut at = start;
    let mut code = 0;
    for _ in 0..count {
        at = behind_zeros(text, at);
        code = code * 16 + char::from(*text.get(at)?).to_digit(16)?;
        at += 1;
    }
    Some((code, at))
}

fn is_quote(byte: u8) -> bool {
    matches!(byte, b'"' | b'\'' | b'`')
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
