//! Refusals: every one is a problem document.

use reqwest::blocking::Response;
use serde_json::Value;

/// A refusal that has the shape of RFC 9457.
#[derive(Debug)]
pub(crate) struct Problem {
    /// The answer's status.
    pub(crate) status: u16,
    /// The machine's word.
    pub(crate) code: String,
    /// The person's.
    pub(crate) detail: String,
    /// `pointer code`, sorted.
    pub(crate) errors: Vec<String>,
}

impl Problem {
    /// Reads an answer that must be one.
    #[track_caller]
    pub(crate) fn read(response: Response) -> Self {
        let status = response.status().as_u16();
        let content_type = response
            .headers()
            .get("content-type")
            .map(|value| value.to_str().unwrap().to_owned());
        let text = response.text().unwrap();
        assert_eq!(
            content_type.as_deref(),
            Some("application/problem+json"),
            "{status} {text}"
        );
        let body: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(body["status"], status, "{text}");
        for member in ["type", "title", "detail", "code"] {
            assert!(
                body[member].as_str().is_some_and(|text| !text.is_empty()),
                "no {member} in {text}"
            );
        }
        let mut errors: Vec<_> = body["errors"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|error| {
                assert!(error["detail"].is_string(), "{text}");
                let (pointer, code) = (error["pointer"].as_str(), error["code"].as_str());
                format!("{} {}", pointer.unwrap(), code.unwrap())
            })
            .collect();
        errors.sort();
        Self {
            status,
            code: body["code"].as_str().unwrap().to_owned(),
            detail: body["detail"].as_str().unwrap().to_owned(),
            errors,
        }
    }

    /// The number behind "byte".
    #[track_caller]
    pub(crate) fn offset(&self) -> usize {
        let (_, after) = self
            .detail
            .split_once("byte ")
            .unwrap_or_else(|| panic!("no byte offset in {:?}", self.detail));
        let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().unwrap()
    }
}
