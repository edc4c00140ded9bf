//! ARRIVE: the ways in. One route table; each dialect is one file that turns bytes into a
//! [`RawEvent`](crate::event::RawEvent) and decides nothing.

mod fields;
mod jimo;
mod native;
mod rejects;
mod request;
mod snippet;

pub use rejects::{RejectLimits, Rejects};
pub use request::{Bodies, Limits};

use crate::http::method_not_allowed;
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
        );
}
