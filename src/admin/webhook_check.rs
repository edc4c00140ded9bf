//! The check of an endpoint's URL as the form shows it: what is refused at once, and what dialling has found,
//! in plain words.

use super::settings::Settings;
use super::view::When;
use crate::address;
use crate::deliver::check::{
    GLANCE_TIMEOUT, Judged, KnownCertificate, MAX_ADDRESSES, Reached, Unreached, UrlChecker,
    Verdict,
};
use crate::error::{Error, FieldError, Result};
use crate::webhook::{WebhookInput, WebhookSettings, must_be_https};
use askama::Template;
use askama::filters::HtmlSafe;

/// Checks what was written, and the address as far as it can be judged without asking a resolver:
/// a webhook that could never be sent to is better refused now than found out later.
///
/// # Errors
/// Names every field that is wrong.
pub(super) fn check(
    input: &WebhookInput,
    before: Option<&WebhookSettings>,
    settings: &Settings,
) -> Result<WebhookSettings> {
    let checked = input.check(before);
    let mut refused: Vec<FieldError> = match &checked {
        Ok(_) => Vec::new(),
        Err(e) if e.field_errors().is_empty() => return checked,
        Err(e) => e.field_errors().to_vec(),
    };
    refused.extend(blocked_literal(&input.url, settings));
    if settings.requires_https
        && let Err(e) = must_be_https(&input.url)
    {
        refused.extend(e.field_errors().to_vec());
    }
    if refused.is_empty() {
        checked
    } else {
        Err(Error::fields(refused))
    }
}

/// The refusal of a URL that says itself that it may not be dialled.
fn blocked_literal(url: &str, settings: &Settings) -> Option<FieldError> {
    let url = url::Url::parse(url.trim()).ok()?;
    let address = address::literal(&url.host()?)?;
    if address::may_dial(address, &settings.allowed_targets) {
        return None;
    }
    Some(FieldError {
        pointer: "/url".to_owned(),
        code: "blocked_address",
        detail: format!(
            "{address} is a private or reserved address, which the box does not dial. If it is meant to, start it with {}.",
            address::allowing_flag(address)
        ),
    })
}

/// What a finding means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// It is as it should be.
    Good,
    /// It works, but could be better.
    Warning,
    /// Deliveries will fail.
    Bad,
}

impl Mark {
    /// The class that gives it its colour.
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Warning => "warn",
            Self::Bad => "bad",
        }
    }

    /// Its icon, by the id of its symbol.
    pub(super) fn icon(self) -> &'static str {
        match self {
            Self::Good => "check",
            Self::Warning => "warn",
            Self::Bad => "cross",
        }
    }
}

/// One thing that was found.
pub(super) struct Finding {
    /// What it means.
    pub(super) mark: Mark,
    /// The sentence.
    pub(super) text: String,
    /// The moment that the sentence ends with.
    pub(super) when: Option<When>,
}

/// What a check has found, as it stands on a page.
#[derive(Template)]
#[template(path = "parts/found.html")]
pub(super) struct Findings {
    /// Host and port.
    pub(super) host: String,
    /// One after the other, as far as it came.
    pub(super) findings: Vec<Finding>,
    /// What is so of the webhook.
    pub(super) note: &'static str,
}

impl HtmlSafe for Findings {}

impl Findings {
    /// A glance at the URL of a webhook that is saved; `None` where there is no time for it.
    pub(super) async fn of_saved(checker: &UrlChecker, url: &str, now_ms: i64) -> Option<Self> {
        let url = url::Url::parse(url.trim()).ok()?;
        let verdict = checker.check(&url, GLANCE_TIMEOUT).await.ok()?;
        let mut findings = Self::new(&verdict, now_ms);
        findings.note = "No request was sent. The webhook is saved all the same.";
        Some(findings)
    }

    /// Whether deliveries will fail, as things are.
    pub(super) fn are_bad(&self) -> bool {
        let mut findings = self.findings.iter();
        findings.any(|finding| finding.mark == Mark::Bad)
    }

    /// A verdict in words.
    pub(super) fn new(verdict: &Verdict, now_ms: i64) -> Self {
        let mut findings = Vec::new();
        if !verdict.addresses.is_empty() {
            findings.push(good(resolved(&verdict.addresses)));
        }
        findings.extend(verdict.addresses.iter().filter_map(forbidden));
        let is_forbidden = findings.iter().any(|finding| finding.mark == Mark::Bad);
        match &verdict.connection {
            Ok(reached) => findings.extend(of_connection(reached, now_ms)),
            // The addresses have said it.
            Err(_) if is_forbidden => {}
            Err(unreached) => findings.push(bad(why(unreached))),
        }
        Self {
            host: verdict.host.clone(),
            findings,
            note: "No request was sent, and nothing is saved yet.",
        }
    }
}

fn good(text: String) -> Finding {
    Finding {
        mark: Mark::Good,
        text,
        when: None,
    }
}

fn bad(text: String) -> Finding {
    Finding {
        mark: Mark::Bad,
        ..good(text)
    }
}

fn resolved(addresses: &[Judged]) -> String {
    let shown: Vec<_> = addresses
        .iter()
        .map(|judged| judged.address.to_string())
        .collect();
    let more = if addresses.len() == MAX_ADDRESSES {
        " and perhaps more"
    } else {
        ""
    };
    format!("It resolves to {}{more}.", shown.join(", "))
}

fn forbidden(judged: &Judged) -> Option<Finding> {
    let flag = judged.allowing_flag.as_ref()?;
    Some(bad(format!(
        "{} is private or reserved, so the box dials none of its addresses. Starting it with {flag} would allow this one.",
        judged.address
    )))
}

fn of_connection(reached: &Reached, now_ms: i64) -> Vec<Finding> {
    let address = reached
        .address
        .as_ref()
        .map(|address| format!(" to {address}"));
    let connected = good(format!(
        "A connection{} came about.",
        address.unwrap_or_default()
    ));
    let encryption = match reached.certificate {
        None => Finding {
            mark: Mark::Warning,
            ..good(
                "It is not encrypted: whoever is on the way can read what is sent. Use https where the receiver offers it."
                    .to_owned(),
            )
        },
        Some(KnownCertificate {
            expires_at_ms: None,
        }) => good("TLS came about, and its certificate is trusted.".to_owned()),
        Some(KnownCertificate {
            expires_at_ms: Some(at_ms),
        }) => Finding {
            when: Some(When::new(at_ms, now_ms)),
            ..good("TLS came about, and its certificate is trusted. It ends".to_owned())
        },
    };
    vec![connected, encryption]
}

fn why(unreached: &Unreached) -> String {
    format!("{} ({})", unreached.class.explanation(), unreached.detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::ErrorClass;

    fn input_to(url: &str) -> WebhookInput {
        WebhookInput {
            name: "CRM".to_owned(),
            url: url.to_owned(),
            events: vec!["*".to_owned()],
            ..WebhookInput::default()
        }
    }

    #[test]
    fn an_address_that_is_never_dialled_is_refused_at_once() {
        let mut settings = Settings {
            public_url: "http://localhost:8080/".parse().unwrap(),
            insecure_http: false,
            listens_on_network: false,
            trusted_proxies: Vec::new(),
            allowed_targets: Vec::new(),
            requires_https: false,
            attempts: 10,
            keep_deliveries_ms: 1,
        };
        for url in [
            "http://127.0.0.1:9000/hook",
            "http://localhost:9000/hook",
            "http://[::1]/",
            "http://0x7f.1/",
        ] {
            let refusal = check(&input_to(url), None, &settings).unwrap_err();
            assert_eq!(refusal.code(), "blocked_address", "{url}");
            assert!(refusal.message().contains("--allow-target"), "{url}");
        }
        let both = check(
            &WebhookInput {
                name: String::new(),
                ..input_to("http://127.0.0.1/")
            },
            None,
            &settings,
        );
        assert_eq!(both.unwrap_err().field_errors().len(), 2);
        assert!(check(&input_to("https://example.com/hook"), None, &settings).is_ok());
        settings.allowed_targets = vec!["127.0.0.0/8".parse().unwrap()];
        assert!(check(&input_to("http://localhost:9000/hook"), None, &settings).is_ok());
        settings.requires_https = true;
        let refusal = check(&input_to("http://example.com/hook"), None, &settings).unwrap_err();
        assert_eq!(refusal.code(), "insecure_url");
        assert!(refusal.message().contains("--require-https"));
        assert!(check(&input_to("https://example.com/hook"), None, &settings).is_ok());
    }

    fn said(verdict: &Verdict) -> Vec<(bool, String)> {
        Findings::new(verdict, 0)
            .findings
            .into_iter()
            .map(|finding| (finding.mark == Mark::Good, finding.text))
            .collect()
    }

    #[test]
    fn of_a_forbidden_address_it_is_said_that_it_is_forbidden_and_no_more() {
        let verdict = Verdict {
            host: "inside.example:443".to_owned(),
            addresses: vec![Judged {
                address: [10, 0, 0, 7].into(),
                allowing_flag: Some("--allow-target 10.0.0.7/32".to_owned()),
            }],
            connection: Err(Unreached {
                class: ErrorClass::BlockedAddress,
                detail: "10.0.0.7 is private or reserved".to_owned(),
            }),
        };
        let said = said(&verdict);
        assert_eq!(said.len(), 2, "{said:?}");
        assert_eq!(said[0], (true, "It resolves to 10.0.0.7.".to_owned()));
        assert!(!said[1].0 && said[1].1.contains("--allow-target 10.0.0.7/32"));
    }

    #[test]
    fn a_name_that_is_not_known_is_said_with_what_to_try() {
        let verdict = Verdict {
            host: "nowhere.example:443".to_owned(),
            addresses: Vec::new(),
            connection: Err(Unreached {
                class: ErrorClass::Dns,
                detail: "no such name".to_owned(),
            }),
        };
        let said = said(&verdict);
        assert_eq!(said.len(), 1);
        assert!(!said[0].0 && said[0].1.contains("Check its spelling"));
        assert!(said[0].1.ends_with("(no such name)"));
    }
}
