//! Time as the box keeps it: UTC, Unix milliseconds in an `i64`. Owns the reading and writing of
//! timestamps; only [`now_ms`] reads the clock, and only the edges call it.

use chrono::{DateTime, Datelike as _, SecondsFormat, Utc};

/// The first Unix millisecond that RFC 3339 cannot write.
const END_OF_9999_MS: i64 = 253_402_300_800_000;

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

/// The month of a time in UTC, as the number of months since the beginning of the year 0.
pub fn month(unix_ms: i64) -> i64 {
    DateTime::<Utc>::from_timestamp_millis(unix_ms).map_or(0, |time| {
        i64::from(time.year()) * 12 + i64::from(time.month0())
    })
}

/// A month as people write it: `2026-11`.
pub fn month_text(month: i64) -> String {
    format!(
        "{:04}-{:02}",
        month.div_euclid(12),
        month.rem_euclid(12) + 1
    )
}

/// Reads an ISO 8601 date-time with any offset, as RFC 3339 writes it, to Unix milliseconds.
///
/// Without an offset, or outside the years 1970 to 9999, it is `None`.
pub fn parse_with_offset(text: &str) -> Option<i64> {
    in_range(DateTime::parse_from_rfc3339(text).ok()?.timestamp_millis())
}

/// A time, Unix milliseconds, within the years 1970 to 9999.
pub fn in_range(unix_ms: i64) -> Option<i64> {
    (0..END_OF_9999_MS).contains(&unix_ms).then_some(unix_ms)
}

/// As [`parse_with_offset`], and also without an offset or as a date alone, which then is UTC: for a
/// contract that shows a bare date (wire.md, "Churnkey"). Seconds may be left out where the offset is.
pub fn parse_or_utc(text: &str) -> Option<i64> {
    const DATE_LEN: usize = "2022-05-01".len();
    const MINUTE_LEN: usize = "2022-05-01T12:00".len();
    parse_with_offset(text).or_else(|| {
        let missing = match text.len() {
            DATE_LEN => "T00:00:00Z",
            MINUTE_LEN => ":00Z",
            _ => "Z",
        };
        parse_with_offset(&format!("{text}{missing}"))
    })
}

/// When something happened by the box's clock, which a sender says happened at `occurred_ms` and sent at
/// `sent_ms`, both by its own: so a clock that is wrong there, or a long wait, moves nothing.
pub fn without_skew(received_ms: i64, sent_ms: i64, occurred_ms: i64) -> i64 {
    received_ms
        .saturating_sub(sent_ms.saturating_sub(occurred_ms))
        .clamp(0, END_OF_9999_MS - 1)
}

/// As [`parse_with_offset`], for a text that must say that it is UTC (`Z` or a zero offset): Jimo's
/// contract says UTC, and guessing would shift somebody's events (wire.md).
pub fn parse_utc(text: &str) -> Option<i64> {
    // `-00:00` is RFC 3339's "offset unknown", which is not UTC.
    let says_utc = text.ends_with(['Z', 'z']) || text.ends_with("+00:00");
    parse_with_offset(text).filter(|_| says_utc)
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
    fn any_offset_is_converted_and_none_is_refused() {
        for same in [
            "2024-01-01T12:00:00Z",
            "2024-01-01T12:00:00+00:00",
            "2024-01-01T14:00:00.000+02:00",
            "2024-01-01T06:30:00-05:30",
            "2024-01-02T02:00:00.0009+14:00",
        ] {
            assert_eq!(parse_with_offset(same), Some(1_704_110_400_000), "{same}");
        }
        for wrong in [
            "2024-01-01T12:00:00",
            "2024-01-01",
            "2024-01-01T12:00:00+25:00",
            "1970-01-01T00:00:00+00:01",
            "9999-12-31T23:59:59-00:01",
            "1704110400",
            "",
        ] {
            assert_eq!(parse_with_offset(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_date_alone_or_without_an_offset_is_utc() {
        for same in [
            "2022-05-01",
            "2022-05-01T00:00",
            "2022-05-01T00:00:00",
            "2022-05-01 00:00:00",
            "2022-05-01T00:00:00.000",
            "2022-05-01T00:00:00Z",
            "2022-05-01T02:00:00+02:00",
        ] {
            assert_eq!(parse_or_utc(same), Some(1_651_363_200_000), "{same}");
        }
        for wrong in [
            "2022-5-1",
            "2022-05-1",
            "05/01/2022",
            "2022-02-30",
            "2022-05-01T24:01:00",
            "1969-12-31",
            "20220501",
            "1651363200000",
            "yesterday!",
            "",
        ] {
            assert_eq!(parse_or_utc(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_wrong_clock_moves_nothing() {
        // A minute old when it was sent, by a clock that is an hour ahead.
        let received = 1_704_110_400_000;
        let sent = received + 3_600_000;
        assert_eq!(
            without_skew(received, sent, sent - 60_000),
            received - 60_000
        );
        assert_eq!(without_skew(1_000, END_OF_9999_MS, 0), 0);
        assert_eq!(
            without_skew(received, 0, END_OF_9999_MS - 1),
            END_OF_9999_MS - 1
        );
    }

    #[test]
    fn writing_keeps_milliseconds() {
        assert_eq!(rfc3339(1_704_110_400_005), "2024-01-01T12:00:00.005Z");
    }

    #[test]
    fn months_count_on_over_the_years() {
        let at = |text| month(parse_utc(text).unwrap());
        assert_eq!(at("2025-01-01T00:00:00Z"), 2_025 * 12);
        assert_eq!(at("2024-12-31T23:59:59.999Z"), 2_025 * 12 - 1);
        assert_eq!(at("2025-03-31T12:00:00Z"), 2_025 * 12 + 2);
        assert_eq!(month_text(at("2025-03-31T12:00:00Z")), "2025-03");
    }
}
