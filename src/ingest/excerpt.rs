//! What is shown of a refused body: a part of it, around the byte where reading ended, with what looks like
//! a secret masked. Bodies that are refused are often no JSON, so nothing here needs them to be.

use super::mask::{self, MASK};
use crate::store::rejects::{SNIPPET_BYTES, Snippet};
use std::ops::Range;

/// Bytes that are kept in front of the place where reading ended, when the body is long.
const BYTES_BEFORE: usize = SNIPPET_BYTES / 2;
/// What is read of a body to show its beginning: what follows may say that something in it is a secret.
pub(super) const HEAD_BYTES: usize = 2 * SNIPPET_BYTES;

/// The part of `body` around `offset`, or its first bytes.
pub(super) fn of(body: &[u8], offset: Option<usize>) -> Snippet {
    let window = window(body, offset);
    // From the very beginning: what is masked may begin in front of the window.
    let read = window.end.saturating_add(HEAD_BYTES - SNIPPET_BYTES);
    let secrets = mask::secrets(body.get(..read).unwrap_or(body));
    let mut bytes = Vec::with_capacity(window.len());
    let mut mark = None;
    let mut secrets = secrets.into_iter().peekable();
    let mut at = window.start;
    while at <= window.end {
        while secrets.next_if(|secret| secret.end <= at).is_some() {}
        let masked = secrets.peek().filter(|secret| secret.start <= at);
        let next = masked.map_or(at + 1, |secret| secret.end);
        if offset.is_some_and(|offset| (at..next).contains(&offset)) {
            mark = Some(bytes.len());
        }
        match masked {
            Some(_) => bytes.extend_from_slice(MASK.as_bytes()),
            None => bytes.extend(body.get(at).filter(|_| at < window.end)),
        }
        at = next;
    }
    let is_whole = window.len() == body.len() && bytes == body;
    Snippet {
        body_bytes: body.len(),
        bytes,
        start: window.start,
        mark,
        is_whole,
    }
}

fn window(body: &[u8], offset: Option<usize>) -> Range<usize> {
    let wanted = offset.unwrap_or(0).saturating_sub(BYTES_BEFORE);
    let last = body.len().saturating_sub(SNIPPET_BYTES);
    let mut start = wanted.min(last);
    // A character is not cut in two, where there are characters.
    let is_inside = |at: usize| body.get(at).is_some_and(|byte| byte & 0xC0 == 0x80);
    for _ in 0..3 {
        if start > 0 && is_inside(start) {
            start += 1;
        }
    }
    let mut end = (start + SNIPPET_BYTES).min(body.len());
    for _ in 0..3 {
        if is_inside(end) {
            end -= 1;
        }
    }
    start..end
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(body: &str) -> String {
        String::from_utf8(of(body.as_bytes(), None).bytes).unwrap()
    }

    #[test]
    fn what_is_named_like_a_secret_is_masked_in_any_spelling() {
        for (body, wanted) in [
            (
                r#"{"password":"hunter2","a":1}"#,
                r#"{"password":"***","a":1}"#,
            ),
            (
                r#"{"api_key" : "k\"2", "b":2}"#,
                r#"{"api_key" : "***", "b":2}"#,
            ),
            (
                r#"{"x-Auth-Token":12345,"b":2}"#,
                r#"{"x-Auth-Token":***,"b":2}"#,
            ),
            (r#"{"authHash":"abc"#, r#"{"authHash":"***"#),
            (
                r#"{"pass\u0077ord":"hunter2"}"#,
                r#"{"pass\u0077ord":"***"}"#,
            ),
            (
                r#"{"clientSecret":{"a":["}",1]},"b":2}"#,
                r#"{"clientSecret":***,"b":2}"#,
            ),
            ("{'writeKey':'abc','b':2}", "{'writeKey':'***','b':2}"),
            ("password=hunter2&b=2", "password=***&b=2"),
            ("authorization: Bearer abc\nb", "authorization: ***\nb"),
            (
                r#"{"log":"{\"secret\":\"hunter2\",\"b\":2}"}"#,
                r#"{"log":"{\"secret\":\"***\",\"b\":2}"}"#,
            ),
            (
                r#"{"note":"my key is pbk_abc-DEF_1 ok"}"#,
                r#"{"note":"my key is *** ok"}"#,
            ),
            (
                r#"{"event":"Password Reset","b":2}"#,
                r#"{"event":"Password Reset","b":2}"#,
            ),
            (r#"{"password":"","b":2}"#, r#"{"password":"","b":2}"#),
        ] {
            assert_eq!(shown(body), wanted, "{body}");
        }
        let wide: Vec<u8> = r#"{"password":"hunter2"}"#.bytes().flat_map(|b| [b, 0]).collect();
        let text = String::from_utf8_lossy(&of(&wide, None).bytes).replace('\0', "");
        assert!(!text.contains("hunter2"), "{text}");
    }

    #[test]
    fn the_mark_stands_where_reading_ended() {
        let snippet = of(b"{\"a\" 1}", Some(5));
        assert_eq!(
            (snippet.mark, snippet.start, snippet.is_whole),
            (Some(5), 0, true)
        );
        let end = of(b"{\"a\":", Some(5));
        assert_eq!(end.mark, Some(5));
        let body = format!(r#"{{"password":"hunter2","a" 1}}{}"#, "x".repeat(9_000));
        let snippet = of(body.as_bytes(), body.find(" 1"));
        let mark = snippet.mark.unwrap();
        assert!(snippet.bytes[mark..].starts_with(b" 1}x"));
        assert!(!snippet.is_whole);
    }

    #[test]
    fn a_long_body_is_shown_around_the_mark_and_a_secret_that_began_before_is_masked() {
        let body = format!(
            r#"{{"token":"{}","a" 1}}{}"#,
            "s".repeat(9_000),
            "y".repeat(9_000)
        );
        let offset = body.find(" 1").unwrap();
        let snippet = of(body.as_bytes(), Some(offset));
        assert!(snippet.bytes.starts_with(b"***\",\"a\" 1}y"));
        assert_eq!(snippet.start, offset - BYTES_BEFORE);
        assert_eq!(snippet.body_bytes, body.len());
    }

    proptest! {
        #[test]
        fn any_bytes_have_a_bounded_snippet(
            body in proptest::collection::vec(any::<u8>(), 0..9_000), offset in proptest::option::of(0usize..9_500)
        ) {
            let snippet = of(&body, offset);
            // Every mask is longer than nothing, and stands for at least a byte.
            prop_assert!(snippet.bytes.len() <= 3 * SNIPPET_BYTES);
            prop_assert!(snippet.mark.is_none_or(|mark| mark <= snippet.bytes.len()));
        }

        #[test]
        fn no_secret_is_shown(name in "[a-zA-Z]{0,5}(Password|secret|api_key)", gap in "[ \n\t]{0,3}", fill in "[a-z\"{}:,]{0,40}") {
            let body = format!("{fill}\"{name}\"{gap}:{gap}\"Tr0ub4dor&3\"");
            let shown = shown(&body);
            prop_assert!(!shown.contains("Tr0ub4dor"), "{}", shown);
        }
    }
}
