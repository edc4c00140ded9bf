//! A, what everything is measured against: an actix handler that checks the key and parses the body,
//! as any handler must, and stores nothing.

use super::traffic::Parsed;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use anyhow::Context as _;

/// Serves until killed. Its one argument is the key that it accepts.
///
/// # Errors
/// When it cannot listen.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let key = arguments.first().context("--noop KEY")?.clone();
    actix_web::rt::System::new().block_on(serve(key))
}

async fn serve(key: String) -> anyhow::Result<()> {
    let key = web::Data::new(key);
    let app = move || {
        App::new()
            .app_data(key.clone())
            .route("/sse/webhook", web::post().to(accept_nothing))
    };
    let server = HttpServer::new(app).bind("127.0.0.1:0")?;
    for address in server.addrs() {
        println!("http://{address}/");
    }
    server.run().await?;
    Ok(())
}

async fn accept_nothing(
    request: HttpRequest,
    body: web::Bytes,
    key: web::Data<String>,
) -> HttpResponse {
    if !has_key(&request, &key) {
        return HttpResponse::Unauthorized().finish();
    }
    match serde_json::from_slice::<Parsed<'_>>(&body) {
        Ok(event) if !event.user_id.is_empty() => {
            std::hint::black_box((event.event, event.timestamp, event.properties));
            HttpResponse::Ok()
                .content_type("application/json")
                .body(r#"{"success":true}"#)
        }
        _ => HttpResponse::BadRequest().finish(),
    }
}

/// Whether the request shows the key.
pub(crate) fn has_key(request: &HttpRequest, key: &str) -> bool {
    request
        .headers()
        .get("x-api-key")
        .is_some_and(|shown| shown.as_bytes() == key.as_bytes())
}
