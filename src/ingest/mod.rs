//! ARRIVE: the ways in. One route table; each dialect is one file that turns bytes into a
//! [`RawEvent`](crate::event::RawEvent) and decides nothing.

mod context;
mod fields;
mod funnelfizz;
mod jimo;
mod native;
mod quota;
mod request;

pub use quota::EventQuota;
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
        )
        .service(
            web::resource("/api/tracking/server-events")
                .route(web::post().to(funnelfizz::receive))
                .default_service(web::to(|| async { method_not_allowed("POST") })),
        );
}
