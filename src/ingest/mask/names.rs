//! The names of members: which say that their value is a secret, and what follows one. Knows no values.

use super::glyph::{Glyph, glyph};
use super::values::MAX_NAME_REST_CHARS;

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
/// Characters of a name that are looked at.
const MAX_NAME_CHARS: usize = 4_096;

/// Whether what has this name is a secret.
pub(super) fn is_secret(name: &str) -> bool {
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
pub(super) fn read_name(text: &[u8], start: usize, name: &mut String) -> usize {
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
pub(super) enum Follows {
    /// This colon or equals sign: the word is the name of a member, or in it.
    Sign(Glyph),
    /// A comma behind the quote: the word is a whole text of an array, or a member's.
    Item(usize),
    /// A gap.
    Gap(usize),
    /// None of these.
    Nothing,
}

pub(super) fn what_follows(text: &[u8], end: usize) -> Follows {
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
