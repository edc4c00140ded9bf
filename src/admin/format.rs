//! Numbers as people read them. Knows nothing but numbers.

/// A number with thousands apart.
pub(super) fn number(n: i64) -> String {
    let digits = n.unsigned_abs().to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if n < 0 { format!("-{text}") } else { text }
}

/// A number that was counted up to `limit` only.
pub(super) fn bounded_number(n: i64, limit: i64) -> String {
    if n > limit {
        format!("more than {}", number(limit))
    } else {
        number(n)
    }
}

/// A number of bytes.
pub(super) fn bytes(n: usize) -> String {
    let n = i64::try_from(n).unwrap_or(i64::MAX);
    match n {
        0..1_024 => format!("{n} B"),
        1_024..1_048_576 => format!("{}.{} KiB", n / 1_024, n % 1_024 * 10 / 1_024),
        _ => format!("{} MiB", number(n / 1_048_576)),
    }
}

/// How long something took, from microseconds.
pub(super) fn duration(us: i64) -> String {
    match us {
        ..100 => "< 0.1 ms".to_owned(),
        100..10_000 => format!("{}.{} ms", us / 1_000, us % 1_000 / 100),
        10_000..1_000_000 => format!("{} ms", us / 1_000),
        _ => format!("{}.{:02} s", us / 1_000_000, us % 1_000_000 / 10_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!(number(0), "0");
        assert_eq!(number(999), "999");
        assert_eq!(number(1_000), "1,000");
        assert_eq!(number(-1_234_567), "-1,234,567");
        assert_eq!(bounded_number(1_001, 1_000), "more than 1,000");
        assert_eq!(bytes(1_536), "1.5 KiB");
        assert_eq!(duration(99), "< 0.1 ms");
        assert_eq!(duration(999), "0.9 ms");
        assert_eq!(duration(9_999), "9.9 ms");
        assert_eq!(duration(12_345), "12 ms");
        assert_eq!(duration(1_234_567), "1.23 s");
    }
}
