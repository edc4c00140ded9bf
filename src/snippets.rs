//! What people paste into their app or site to send events as a source: one snippet for each dialect and
//! language, with the reader's own address and ids filled in. Pure text; what dialects take is theirs to say.

mod verify;

pub use verify::{Verification, verification};

use crate::id::{SourceId, WorkspaceId};
use crate::sample;
use url::Url;

/// Stands where an API key belongs: the box keeps none that it could show.
pub const KEY_PLACEHOLDER: &str = "YOUR_API_KEY";
/// Stands where the identity secret belongs.
const SECRET_PLACEHOLDER: &str = "YOUR_IDENTITY_SECRET";

/// Takes calls on the page until the script is there.
const QUEUE: &str = "<script>window.pillarbox = window.pillarbox || function () { (pillarbox.q = pillarbox.q || []).push(arguments) }</script>";

/// A way in, and how to use it.
#[derive(Debug)]
pub struct Guide {
    /// What people call the way in.
    pub title: &'static str,
    /// When to take it.
    pub about: &'static str,
    /// What to paste, by language.
    pub snippets: Vec<Snippet>,
}

/// Something to paste.
#[derive(Debug)]
pub struct Snippet {
    /// Its language, or where it goes.
    pub language: &'static str,
    /// What it is, in the middle of a sentence.
    pub what: &'static str,
    /// To the letter.
    pub text: String,
}

/// Where the reader sends.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The box's address, with its slash.
    pub public_url: &'a Url,
    /// The tenant.
    pub workspace: WorkspaceId,
    /// The source.
    pub source: SourceId,
    /// Now, Unix milliseconds.
    pub now_ms: i64,
}

/// Every way in for this source, the most usual first.
pub fn guides(place: &Place<'_>) -> Vec<Guide> {
    vec![
        browser(place),
        native(place),
        segment(place),
        churnkey(place),
        jimo(place),
        funnelfizz(place),
        stripe(place),
    ]
}

impl Place<'_> {
    fn url(&self, path: &str) -> String {
        self.public_url
            .join(path)
            .map_or_else(|_| path.to_owned(), String::from)
    }

    /// The address without its last slash, as libraries want it.
    fn host(&self) -> String {
        self.public_url.as_str().trim_end_matches('/').to_owned()
    }
}

fn browser(place: &Place<'_>) -> Guide {
    let (script, source) = (place.url("pillarbox.js"), place.source);
    Guide {
        title: "Browser",
        about: "Page views by themselves, and events from a site. List the site's origin below first.",
        snippets: vec![
            Snippet {
                language: "HTML",
                what: "the script tags",
                text: format!(
                    "{QUEUE}\n<script async src=\"{script}\" data-source=\"{source}\"></script>"
                ),
            },
            Snippet {
                language: "JavaScript",
                what: "the calls in the browser",
                text: "pillarbox('event', 'signup', { plan: 'pro' });\n\
                       pillarbox('identify', { userId: 'user_1', email: 'jane@example.com' });"
                    .to_owned(),
            },
        ],
    }
}

fn native(place: &Place<'_>) -> Guide {
    let url = place.url("api/v1/events");
    let event = r#"{"event":"Post Created","userId":"user_1","properties":{"postType":"image"}}"#;
    Guide {
        title: "Server",
        about: "The box's own endpoint, for any backend. One event, or up to 1,000 at once.",
        snippets: vec![
            Snippet {
                language: "Shell",
                what: "the command for the shell",
                text: format!(
                    "curl -sS {url} \\\n  -H 'authorization: Bearer {KEY_PLACEHOLDER}' \\\n  -d '{event}'"
                ),
            },
            Snippet {
                language: "Node",
                what: "the code for Node",
                text: format!(
                    "await fetch('{url}', {{\n  method: 'POST',\n  headers: {{ authorization: 'Bearer {KEY_PLACEHOLDER}' }},\n  body: JSON.stringify({event}),\n}});"
                ),
            },
            Snippet {
                language: "Python",
                what: "the code for Python",
                text: format!(
                    "import json, urllib.request\n\nevent = {event}\nurllib.request.urlopen(urllib.request.Request(\n    '{url}',\n    data=json.dumps(event).encode(),\n    headers={{'authorization': 'Bearer {KEY_PLACEHOLDER}'}},\n))"
                ),
            },
        ],
    }
}

fn segment(place: &Place<'_>) -> Guide {
    let (host, source) = (place.host(), place.source);
    Guide {
        title: "Segment libraries",
        about: "Keep the library that you have and change its host. The write key is an API key on a server; in a browser it is this source's id, and the site's origin is listed below.",
        snippets: vec![
            Snippet {
                language: "Node",
                what: "Segment's library for Node",
                text: format!(
                    "import {{ Analytics }} from '@segment/analytics-node';\n\nconst analytics = new Analytics({{ writeKey: '{KEY_PLACEHOLDER}', host: '{host}' }});\nanalytics.track({{ userId: 'user_1', event: 'Post Created' }});"
                ),
            },
            Snippet {
                language: "Python",
                what: "Segment's library for Python",
                text: format!(
                    "import segment.analytics as analytics\n\nanalytics.write_key = '{KEY_PLACEHOLDER}'\nanalytics.host = '{host}'\nanalytics.track('user_1', 'Post Created')"
                ),
            },
            Snippet {
                language: "Browser",
                what: "Segment's library for browsers",
                text: format!(
                    "import {{ AnalyticsBrowser }} from '@segment/analytics-next';\n\nconst analytics = AnalyticsBrowser.load({{ writeKey: '{source}', cdnURL: '{host}' }});\nanalytics.track('Post Created');"
                ),
            },
        ],
    }
}

fn churnkey(place: &Place<'_>) -> Guide {
    let (new, client) = (
        place.url("v1/api/events/new"),
        place.url("v1/api/events/client"),
    );
    let source = place.source;
    Guide {
        title: "Churnkey",
        about: "Events of customers. In the browser, the customer's id is signed on your server with the identity secret.",
        snippets: vec![
            Snippet {
                language: "Shell",
                what: "Churnkey's call from a server",
                text: format!(
                    "curl -sS {new} \\\n  -H 'x-ck-api-key: {KEY_PLACEHOLDER}' \\\n  -H 'x-ck-app: {source}' \\\n  -H 'content-type: application/json' \\\n  -d '{{\"event\":\"seats-added\",\"customerId\":\"cus_1\",\"eventData\":{{\"seats\":3}}}}'"
                ),
            },
            Snippet {
                language: "Node",
                what: "the signing of a customer's id",
                text: format!(
                    "import {{ createHmac }} from 'node:crypto';\n\nconst authHash = createHmac('sha256', '{SECRET_PLACEHOLDER}').update(customerId).digest('hex');"
                ),
            },
            Snippet {
                language: "JavaScript",
                what: "Churnkey's call from a browser",
                text: format!(
                    "await fetch('{client}', {{\n  method: 'POST',\n  headers: {{ 'content-type': 'application/json' }},\n  body: JSON.stringify({{ appId: '{source}', event: 'feature-used', customerId, authHash }}),\n}});"
                ),
            },
        ],
    }
}

fn jimo(place: &Place<'_>) -> Guide {
    Guide {
        title: "Jimo",
        about: "Server-side events as Jimo takes them.",
        snippets: vec![Snippet {
            language: "Shell",
            what: "the command in Jimo's dialect",
            text: sample::curl(place.public_url, KEY_PLACEHOLDER, place.now_ms),
        }],
    }
}

fn funnelfizz(place: &Place<'_>) -> Guide {
    let (workspace, source) = (place.workspace, place.source);
    let url = place.url("api/tracking/server-events");
    // The page is at the box's own address, whatever name it was opened under.
    let path = url.parse::<Url>().map_or(url, |url| url.path().to_owned());
    Guide {
        title: "FunnelFizz",
        about: "From a page at this box's own address, in the name of the member who is signed in.",
        snippets: vec![Snippet {
            language: "JavaScript",
            what: "the call in FunnelFizz's dialect",
            text: format!(
                "await fetch('{path}?workspaceId={workspace}', {{\n  method: 'POST',\n  headers: {{ 'content-type': 'application/json' }},\n  body: JSON.stringify({{\n    siteId: '{source}',\n    events: [{{ type: 'signup', visitorId, email: 'jane@example.com', props: {{ plan: 'pro' }} }}],\n  }}),\n}});"
            ),
        }],
    }
}

fn stripe(place: &Place<'_>) -> Guide {
    Guide {
        title: "Stripe",
        about: "Make a webhook endpoint at Stripe with this address, and give its signing secret to the box below.",
        snippets: vec![Snippet {
            language: "Endpoint URL",
            what: "the endpoint URL for Stripe",
            text: place.url(&format!("in/stripe/{}", place.source)),
        }],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_path_of_the_boxs_address_is_kept() {
        let public_url: Url = "https://example.com/box/".parse().unwrap();
        let guides = guides(&Place {
            public_url: &public_url,
            workspace: WorkspaceId::from_i64(1),
            source: SourceId::from_i64(2),
            now_ms: 0,
        });
        for snippet in guides.iter().flat_map(|guide| &guide.snippets) {
            let is_local = snippet.what.contains("signing") || snippet.what.contains("calls in");
            let keeps = snippet.text.contains("https://example.com/box")
                || snippet
                    .text
                    .contains("fetch('/box/api/tracking/server-events?");
            assert_eq!(keeps, !is_local, "{}", snippet.text);
        }
    }

    #[test]
    fn every_snippet_has_the_readers_own_address_or_needs_none() {
        let public_url: Url = "https://box.example.com/".parse().unwrap();
        let place = Place {
            public_url: &public_url,
            workspace: WorkspaceId::from_i64(1),
            source: SourceId::from_i64(2),
            now_ms: 0,
        };
        let guides = guides(&place);
        let snippets: Vec<_> = guides.iter().flat_map(|guide| &guide.snippets).collect();
        for snippet in &snippets {
            let is_local = snippet.what.contains("signing")
                || snippet.what.contains("calls in")
                || snippet.what.contains("FunnelFizz");
            assert_eq!(
                snippet.text.contains("https://box.example.com"),
                !is_local,
                "{}",
                snippet.text
            );
            // What opens is closed, so that it can be pasted as it stands.
            for (open, close) in [('{', '}'), ('(', ')'), ('[', ']')] {
                assert_eq!(
                    snippet.text.matches(open).count(),
                    snippet.text.matches(close).count(),
                    "{}",
                    snippet.text
                );
            }
            assert!(snippet.text.matches('\'').count().is_multiple_of(2));
        }
        let whats: BTreeSet<_> = snippets.iter().map(|snippet| snippet.what).collect();
        assert_eq!(
            whats.len(),
            snippets.len(),
            "two snippets are called the same"
        );
    }
}
