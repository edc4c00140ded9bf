//! ARRIVE: the ways in. One route table; each dialect is one file that turns bytes into a
//! [`RawEvent`](crate::event::RawEvent) and decides nothing.

mod browser;
mod fields;
mod jimo;
mod native;
mod request;
mod segment;
mod stripe;

pub use request::{Bodies, Limits};
pub use segment::PublicUrl;

use crate::http::method_not_allowed;
use actix_web::http::Method;
use actix_web::web;

/// The routes of every dialect.
pub fn configure(routes: &mut web::ServiceConfig) {
    routes
        .service(
            web::resource("/api/v1/events")
                .route(web::post().to(native::receive))
                .default_service(web::to(|| async { method_not_allowed("POST") })),
        )
        .service(
            web::resource("/sse/webhook")
                .route(web::post().to(jimo::receive))
                .default_service(web::to(|| async { method_not_allowed("POST") })),
        )
        .service(
            web::resource(segment::CALLS)
                .route(web::post().to(segment::receive))
                .route(web::method(Method::OPTIONS).to(browser::preflight))
                .default_service(web::to(|| async { method_not_allowed("POST, OPTIONS") })),
        )
        .service(
            web::resource("/v1/projects/{write_key}/settings")
                .route(web::get().to(segment::settings))
                .route(web::method(Method::OPTIONS).to(browser::preflight))
                .default_service(web::to(|| async { method_not_allowed("GET, OPTIONS") })),
        )
        .service(
            web::resource("/in/stripe/{source}")
                .route(web::post().to(stripe::receive))
                .default_service(web::to(|| async { method_not_allowed("POST") })),
        );
}
