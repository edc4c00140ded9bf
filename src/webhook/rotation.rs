//! How long a key that was replaced signs as well, so that receivers can change over (webhooks.md, "On the
//! wire").

use crate::error::{Error, Result};
use std::time::Duration;

/// Unless told otherwise, in hours.
pub const DEFAULT_OVERLAP_HOURS: u32 = 24;
/// At most, in hours; at least it is none.
pub const MAX_OVERLAP_HOURS: u32 = 7 * 24;

/// An overlap as a person writes it, in whole hours; empty is [`DEFAULT_OVERLAP_HOURS`].
///
/// # Errors
/// Names the field `overlap`.
pub fn check_overlap(text: &str) -> Result<Duration> {
    let hours = match text.trim() {
        "" => Some(DEFAULT_OVERLAP_HOURS),
        text => text.parse().ok(),
    };
    match hours {
        Some(hours) if hours <= MAX_OVERLAP_HOURS => {
            Ok(Duration::from_secs(u64::from(hours) * 3_600))
        }
        _ => Err(Error::field(
            "/overlap",
            "out_of_range",
            format!("Write a whole number of hours from 0 to {MAX_OVERLAP_HOURS}."),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overlap_is_from_none_to_seven_days() {
        let hours = |text: &str| check_overlap(text).map(|overlap| overlap.as_secs() / 3_600);
        assert_eq!(hours("").unwrap(), 24);
        assert_eq!(hours(" 0 ").unwrap(), 0);
        assert_eq!(hours("168").unwrap(), 168);
        for wrong in ["169", "-1", "1.5", "a day"] {
            let refusal = hours(wrong).unwrap_err();
            assert_eq!(refusal.field_errors()[0].pointer, "/overlap", "{wrong}");
        }
    }
}
