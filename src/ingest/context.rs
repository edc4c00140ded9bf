//! How a visitor came, as an event's `context` tells it in the shape that libraries of browsers send:
//! `page.url`, `page.referrer` and `campaign`. Knows no dialect; what it cannot read says nothing, since a
//! context is the sender's own.

use super::fields::string;
use crate::channel::Touch;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

#[derive(Deserialize)]
struct Context<'a> {
    #[serde(borrow)]
    page: Option<&'a RawValue>,
    #[serde(borrow)]
    campaign: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Page<'a> {
    #[serde(borrow)]
    url: Option<&'a RawValue>,
    #[serde(borrow)]
    referrer: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Campaign<'a> {
    #[serde(borrow)]
    source: Option<&'a RawValue>,
    #[serde(borrow)]
    medium: Option<&'a RawValue>,
    #[serde(borrow)]
    name: Option<&'a RawValue>,
}

/// What `context`, a JSON object, says of how the visitor came; `None` when it says nothing of that.
pub(super) fn touch(context: &str) -> Option<Touch<'_>> {
    let context: Context<'_> = serde_json::from_str(context).ok()?;
    let page: Page<'_> = object(context.page);
    let campaign: Campaign<'_> = object(context.campaign);
    let [url, referrer] = [page.url, page.referrer].map(text);
    let [source, medium, name] = [campaign.source, campaign.medium, campaign.name].map(text);
    let says_something = [&url, &referrer, &source, &medium, &name]
        .into_iter()
        .any(Option::is_some);
    says_something.then(|| Touch::of_page(url, referrer).with_utm(source, medium, name))
}

fn object<'a, T: Default + Deserialize<'a>>(raw: Option<&'a RawValue>) -> T {
    raw.filter(|raw| raw.get().starts_with('{'))
        .and_then(|raw| serde_json::from_str(raw.get()).ok())
        .unwrap_or_default()
}

fn text(raw: Option<&RawValue>) -> Option<Cow<'_, str>> {
    raw.and_then(string)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::channel;

    fn said(context: &str) -> Option<&'static str> {
        touch(context).map(|touch| channel(&touch).as_str())
    }

    #[test]
    fn a_page_and_a_campaign_are_read() {
        for (context, expected) in [
            (
                r#"{"page":{"url":"https://a.example/?utm_source=fb&utm_medium=cpc"}}"#,
                Some("Paid Social"),
            ),
            (
                r#"{"page":{"referrer":"https:\/\/www.google.com\/","url":null}}"#,
                Some("Organic Search"),
            ),
            (
                r#"{"page":{"url":"https://a.example/?gclid=1"},"campaign":{"source":"x","medium":"email"}}"#,
                Some("Email"),
            ),
            (
                r#"{"campaign":{"name":"cross-network"}}"#,
                Some("Cross-network"),
            ),
            (
                r#"{"page":{"url":"https://a.example/","referrer":""}}"#,
                Some("Direct"),
            ),
            (r#"{"page":{"title":"Home"},"ip":"10.0.0.1"}"#, None),
            (
                r#"{"page":["https://a.example/?gclid=1"],"campaign":"x"}"#,
                None,
            ),
            (r#"{"page":{"url":7},"campaign":{"source":["x"]}}"#, None),
            ("{}", None),
        ] {
            assert_eq!(said(context), expected, "{context}");
        }
    }
}
