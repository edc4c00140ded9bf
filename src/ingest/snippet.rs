//! `GET /pillarbox.js`: the script that pages of other sites load (wire.md, "Browser snippet"). Owns how it
//! is served; what it sends is `collect.rs`'s.

use actix_web::http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH,
    X_CONTENT_TYPE_OPTIONS,
};
use actix_web::{HttpRequest, HttpResponse};
use sha2::{Digest as _, Sha256};

const SCRIPT: &str = include_str!("../../static/pillarbox.js");
/// Its address never changes, so pages must see a new version soon.
const CACHING: &str = "public, max-age=300";
/// Bytes of the hash that tell versions apart.
const HASH_BYTES: usize = 8;

/// Serves the script, to any site.
pub(super) async fn serve(request: HttpRequest) -> HttpResponse {
    let script = script();
    let etag = etag(&script);
    let is_known = request
        .headers()
        .get(IF_NONE_MATCH)
        .and_then(|value| value.to_str().ok())
        // A proxy that compresses makes the mark a weak one.
        .is_some_and(|known| known.split(',').any(|mark| mark.trim().ends_with(&etag)));
    let mut response = if is_known {
        HttpResponse::NotModified()
    } else {
        HttpResponse::Ok()
    };
    response
        .insert_header((ETAG, etag))
        .insert_header((CACHE_CONTROL, CACHING))
        .insert_header((ACCESS_CONTROL_ALLOW_ORIGIN, "*"))
        .insert_header(("Cross-Origin-Resource-Policy", "cross-origin"))
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"));
    if is_known {
        return response.finish();
    }
    response
        .insert_header((CONTENT_TYPE, "text/javascript; charset=utf-8"))
        .body(script)
}

/// The script without what only its readers need: the indentation, and lines that are comments.
fn script() -> String {
    let mut script = String::with_capacity(SCRIPT.len());
    let lines = SCRIPT.lines().map(str::trim_start);
    for line in lines.filter(|line| !line.is_empty() && !line.starts_with("//")) {
        script.push_str(line);
        script.push('\n');
    }
    script
}

fn etag(script: &str) -> String {
    let hash = Sha256::digest(script.as_bytes());
    let short: String = hash
        .iter()
        .take(HASH_BYTES)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("\"{short}\"")
}
