//! The example that people are shown: one event, and the command that posts it. One place, so that
//! what pages and the command line print is what the tests have posted.

use crate::time::rfc3339;
use url::Url;

/// An event in Jimo's dialect that happens at `now_ms` (Unix milliseconds), as one line of JSON.
pub fn event(now_ms: i64) -> String {
    let timestamp = rfc3339(now_ms);
    format!(
        r#"{{"userId":"user_1","type":"track","event":"Post Created","timestamp":"{timestamp}","properties":{{"postType":"image"}}}}"#
    )
}

/// A shell command that posts [`event`] to the box at `public_url`.
pub fn curl(public_url: &Url, key: &str, now_ms: i64) -> String {
    let endpoint = public_url
        .join("sse/webhook")
        .unwrap_or_else(|_| public_url.clone());
    format!(
        "curl -sS {endpoint} \\\n  -H 'x-api-key: {key}' \\\n  -H 'content-type: application/json' \\\n  -d '{}'",
        event(now_ms)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_one_shell_command() {
        let url = "https://box.example.com/".parse().unwrap();
        let curl = curl(&url, "pbk_x", 1_704_110_400_000);
        assert!(curl.starts_with("curl -sS https://box.example.com/sse/webhook \\\n"));
        assert!(curl.contains("'x-api-key: pbk_x'") && curl.contains("2024-01-01T12:00:00.000Z"));
        assert!(curl.matches('\'').count().is_multiple_of(2));
    }
}
