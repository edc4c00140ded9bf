//! The characters of a text that may be escaped in several ways at once. Knows nothing of secrets.

/// A character, whatever it is written as; of more than ASCII, a byte of one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Glyph {
    pub(super) byte: u8,
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) spelling: Spelling,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spelling {
    /// As itself, behind so many backslashes.
    Plain(usize),
    /// `\u0041`.
    Unicode,
    /// `%41`.
    Percent,
}

/// The character at `at`. Zeros are passed over: a text of two bytes a character has them between its
/// letters.
pub(super) fn glyph(text: &[u8], at: usize) -> Option<Glyph> {
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

pub(super) fn is_quote(byte: u8) -> bool {
    matches!(byte, b'"' | b'\'' | b'`')
}
