//! Time as the box keeps it: UTC, Unix milliseconds in an `i64`. Owns the reading and writing of
//! timestamps; only [`now_ms`] reads the clock, and only the edges call it.

use chrono::{DateTime, SecondsFormat, Utc};

/// Now, in Unix milliseconds.
pub fn now_ms() -> i64 {
    Utc::now().timestamp_millis()
}

/// RFC 3339 in UTC with milliseconds and `Z`, as every message and page writes it.
pub fn rfc3339(unix_ms: i64) -> String {
    match DateTime::<Utc>::from_timestamp_millis(unix_ms) {
        Some(time) => time.to_rfc3339_opts(SecondsFormat::Millis, true),
        None => "out of range".to_owned(),
    }
}

/// Reads an ISO 8601 date-time that says it is UTC (`Z` or a zero offset), to Unix milliseconds.
///
/// Without an offset, with another offset, or outside the years 1970 to 9999 it is `None`: Jimo's
/// contract says UTC, and guessing would shift somebody's events (wire.md).
pub fn parse_utc(text: &str) -> Option<i64> {
    let time = DateTime::parse_from_rfc3339(text).ok()?;
    let unix_ms = time.timestamp_millis();
    // `-00:00` is RFC 3339's "offset unknown", which is not UTC.
    let says_utc = time.offset().local_minus_utc() == 0 && !text.ends_with("-00:00");
    (says_utc && (0..253_402_300_800_000).contains(&unix_ms)).then_some(unix_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utc_is_read_and_anything_else_is_not() {
        assert_eq!(parse_utc("2024-01-01T12:00:00Z"), Some(1_704_110_400_000));
        assert_eq!(
            parse_utc("2024-01-01T12:00:00.123Z"),
            Some(1_704_110_400_123)
        );
        assert_eq!(
            parse_utc("2024-01-01T12:00:00+00:00"),
            Some(1_704_110_400_000)
        );
        for wrong in [
            "2024-01-01T12:00:00",
            "2024-01-01T12:00:00+02:00",
            "2024-01-01T12:00:00-00:00",
            "2024-01-01",
            "1704110400",
            "2024-13-01T12:00:00Z",
            "1969-12-31T23:59:59Z",
            "",
        ] {
            assert_eq!(parse_utc(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn writing_keeps_milliseconds() {
        assert_eq!(rfc3339(1_704_110_400_005), "2024-01-01T12:00:00.005Z");
    }
}
