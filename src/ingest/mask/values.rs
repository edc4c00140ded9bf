//! Where the value of a member, and an item of an array, begins and ends. Knows no names.

use super::glyph::{Glyph, Spelling, glyph, is_quote};
use std::ops::Range;

/// Characters between a word of a name and the name's end.
pub(super) const MAX_NAME_REST_CHARS: usize = 40;

/// What stands behind a colon or an equals sign, quoted or not.
pub(super) fn value(text: &[u8], sign: &Glyph) -> Option<Range<usize>> {
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
pub(super) fn quoted(text: &[u8], sign: &Glyph) -> Option<String> {
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
pub(super) fn item(text: &[u8], at: usize) -> Option<Range<usize>> {
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
