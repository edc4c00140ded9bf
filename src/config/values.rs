//! The values of options that are more than a word: times, sizes, schedules. An error says what to write
//! instead. Knows no option that has them.

use crate::delivery::RetrySchedule;
use std::time::Duration;

/// A webhook may be told to be disabled after this time or a longer one.
const DISABLE_AFTER_AT_LEAST: Duration = Duration::from_secs(1);
/// Nothing is kept for less: a sender's own key of an event is looked up in the event itself.
const KEEP_AT_LEAST: Duration = Duration::from_secs(86_400);
/// A file may be told to hold this many bytes or more; an empty one has a part of a MiB.
const KEEP_BYTES_AT_LEAST: u64 = 16 * 1_024 * 1_024;

pub(super) fn parse_schedule(text: &str) -> Result<RetrySchedule, String> {
    text.parse()
}

pub(super) fn parse_disable_after(text: &str) -> Result<Duration, String> {
    parse_time(text, "never", (DISABLE_AFTER_AT_LEAST, "a second (1s)"))
}

pub(super) fn parse_keep(text: &str) -> Result<Duration, String> {
    parse_time(text, "forever", (KEEP_AT_LEAST, "a day (1d)"))
}

/// A time that is not shorter than `least`, or the word for one without an end.
fn parse_time(
    text: &str,
    endless: &str,
    (least, in_words): (Duration, &str),
) -> Result<Duration, String> {
    if text == endless {
        return Ok(Duration::MAX);
    }
    let time = humantime::parse_duration(text)
        .map_err(|e| format!("\"{text}\": {e}; write a time such as 5d, or {endless}"))?;
    if time < least {
        return Err(format!("\"{text}\": it must be {in_words} at least"));
    }
    Ok(time)
}

/// A size, or `none` for no limit.
pub(super) fn parse_keep_bytes(text: &str) -> Result<u64, String> {
    if text == "none" {
        return Ok(u64::MAX);
    }
    match parse_bytes(text)? {
        Some(bytes) if bytes >= KEEP_BYTES_AT_LEAST => Ok(bytes),
        _ => Err(format!("\"{text}\": it must be 16MiB at least")),
    }
}

/// A size, or `none` for never.
pub(super) fn parse_low_space(text: &str) -> Result<u64, String> {
    if text == "none" {
        return Ok(0);
    }
    parse_bytes(text)?.ok_or_else(|| format!("\"{text}\": that is more than any disk has"))
}

/// Bytes with a unit of thousands (`GB`) or of 1,024s (`GiB`); `None` where they are too many to be counted.
fn parse_bytes(text: &str) -> Result<Option<u64>, String> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "mb" => 1_000_000,
        "mib" => 1 << 20,
        "gb" => 1_000_000_000,
        "gib" => 1 << 30,
        "tb" => 1_000_000_000_000,
        "tib" => 1 << 40,
        _ => {
            return Err(format!(
                "\"{text}\": write a whole number and MB, GB, TB, MiB, GiB or TiB"
            ));
        }
    };
    let number = number.parse().ok();
    Ok(number.and_then(|number: u64| number.checked_mul(unit)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_a_unit_and_a_least() {
        assert_eq!(parse_keep_bytes("16MiB"), Ok(16 << 20));
        assert_eq!(parse_keep_bytes("none"), Ok(u64::MAX));
        for wrong in [
            "",
            "20",
            "GB",
            "-1GB",
            "1.5GB",
            "1KB",
            "15MiB",
            "99999999999TB",
        ] {
            assert!(parse_keep_bytes(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parse_low_space("none"), Ok(0));
        assert_eq!(parse_low_space("5 MB"), Ok(5_000_000));
        assert!(parse_low_space("5").is_err() && parse_low_space("99999999999999TB").is_err());
    }

    #[test]
    fn times_have_a_unit_and_a_least() {
        for wrong in ["", "90", "23h", "0s", "never"] {
            assert!(parse_keep(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "5", "0s", "forever"] {
            assert!(parse_disable_after(wrong).is_err(), "{wrong}");
        }
        assert!(parse_schedule("0s,soon").is_err());
        let what_to_write = |said: Result<Duration, String>, word: &str| {
            let said = said.unwrap_err();
            assert!(said.ends_with(&format!("such as 5d, or {word}")), "{said}");
        };
        what_to_write(parse_keep("never"), "forever");
        what_to_write(parse_disable_after("forever"), "never");
    }
}
