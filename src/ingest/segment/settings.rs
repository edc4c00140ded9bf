//! What analytics.js asks for before it sends anything (wire.md, "Segment-compatible"): where events go,
//! and that nothing else is to be loaded. Owns that answer; stores nothing.

use crate::error::{Error, Kind, Result};
use crate::ingest::browser;
use crate::store::catalog::{Catalog, CatalogHandle};
use actix_web::http::header::CACHE_CONTROL;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::json;
use url::Url;

/// A page may keep the answer for this long: it changes with the box's address only.
const CACHE: &str = "public, max-age=300";

/// Where browsers and apps reach the box.
#[derive(Debug, Clone)]
pub struct PublicUrl(pub Url);

/// Answers what analytics.js needs in order to load.
pub(super) async fn settings(
    request: HttpRequest,
    catalog: web::Data<CatalogHandle>,
    public_url: web::Data<PublicUrl>,
) -> HttpResponse {
    let write_key = request.match_info().get("write_key").unwrap_or("");
    let answer = of(write_key, &catalog.current(), &public_url.0);
    let answer = answer.unwrap_or_else(|e| super::answers::refusal(&e));
    browser::readable(&request, Ok(answer))
}

fn of(write_key: &str, catalog: &Catalog, public_url: &Url) -> Result<HttpResponse> {
    browser::source(catalog, write_key, "The write key in the address").map_err(|_| {
        Error::new(
            Kind::NotFound,
            "unknown_source",
            "The write key in the address names no source of this box. In a browser the write key is a \
             source's public id, src_…; copy it from the Sources page. An API key is a secret of servers.",
        )
    })?;
    // No plan that blocks events, no destination but the box, and no figures about the library itself.
    let body = json!({
        "integrations": {
            "Segment.io": {
                "apiKey": write_key,
                "apiHost": api_host(public_url),
                "protocol": public_url.scheme(),
                "addBundledMetadata": false
            }
        },
        "plan": {},
        "metrics": {"sampleRate": 0}
    });
    Ok(HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, CACHE))
        .json(body))
}

/// The public URL as the library wants it: without the scheme, with the path that all calls share.
fn api_host(public_url: &Url) -> String {
    let url = public_url.as_str();
    let (_, place) = url.split_once("://").unwrap_or(("", url));
    format!("{}/v1", place.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_api_host_keeps_port_and_path() {
        for (url, host) in [
            ("http://127.0.0.1:8080", "127.0.0.1:8080/v1"),
            ("https://box.example.com/", "box.example.com/v1"),
            ("https://example.com/box/", "example.com/box/v1"),
        ] {
            assert_eq!(api_host(&Url::parse(url).unwrap()), host);
        }
    }
}
