//! What says itself that it is a secret, wherever it stands: keys with a known beginning, tokens, the password of an
//! address. Knows no names.

use super::glyph::{Glyph, Spelling, glyph};
use crate::secret::{API_KEY_PREFIX, WEBHOOK_SECRET_PREFIX};
use std::ops::Range;

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

/// Where the secret ends that begins with this character, if one does.
pub(super) fn token_end(text: &[u8], first: &Glyph) -> Option<usize> {
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
pub(super) fn scheme_token(text: &[u8], name: &str, at: usize) -> Option<Range<usize>> {
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
pub(super) fn user_info(text: &[u8], colon: &Glyph) -> Option<Range<usize>> {
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
