//! ARRIVE: the ways in. One route table; each dialect is one file or folder that turns bytes into a
//! [`RawEvent`](crate::event::RawEvent) and decides nothing.

mod browser;
mod churnkey;
mod collect;
mod context;
mod excerpt;
mod fields;
mod funnelfizz;
mod jimo;
mod mask;
mod native;
mod quota;
mod rejects;
mod request;
mod segment;
mod snippet;
mod stripe;

pub use quota::EventQuota;
pub use rejects::{RejectLimits, Rejects};
pub use request::{Bodies, Limits};
pub use segment::PublicUrl;

use crate::http::method_not_allowed;
use actix_web::http::Method;
use actix_web::middleware::Compress;
use actix_web::{Resource, guard, web};

/// The routes of every dialect.
pub fn configure(routes: &mut web::ServiceConfig) {
    routes
        .service(
            takes("POST", web::resource("/api/v1/events")).route(web::post().to(native::receive)),
        )
        .service(takes("POST", web::resource("/sse/webhook")).route(web::post().to(jimo::receive)))
        .service(
            takes("POST", web::resource("/in/stripe/{source}"))
                .route(web::post().to(stripe::receive)),
        )
        .configure(churnkey::configure)
        .configure(segment::configure)
        .service(
            takes("POST, OPTIONS", web::resource("/collect"))
                .route(web::post().to(collect::receive))
                .route(web::method(Method::OPTIONS).to(browser::preflight)),
        )
        .service(
            web::resource("/pillarbox.js")
                .wrap(Compress::default())
                .route(
                    web::route()
                        .guard(guard::Any(guard::Get()).or(guard::Head()))
                        .to(snippet::serve),
                )
                .default_service(web::to(|| async { method_not_allowed("GET, HEAD") })),
        )
        .service(
            takes("POST", web::resource("/api/tracking/server-events"))
                .route(web::post().to(funnelfizz::receive)),
        );
}

/// An endpoint that refuses every method but those that are named.
fn takes(methods: &'static str, endpoint: Resource) -> Resource {
    endpoint.default_service(web::to(move || async move { method_not_allowed(methods) }))
}
