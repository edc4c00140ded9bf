//! ARRIVE: the ways in. One route table; each dialect is one file that turns bytes into a
//! [`RawEvent`](crate::event::RawEvent) and decides nothing.

mod browser;
mod churnkey;
mod collect;
mod fields;
mod jimo;
mod native;
mod request;
mod snippet;

pub use request::{Bodies, Limits};

use crate::http::method_not_allowed;
use actix_web::http::Method;
use actix_web::middleware::Compress;
use actix_web::{guard, web};

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
        .configure(churnkey::configure)
        .service(
            web::resource("/collect")
                .route(web::post().to(collect::receive))
                .route(web::method(Method::OPTIONS).to(browser::preflight))
                .default_service(web::to(|| async { method_not_allowed("POST") })),
        )
        .service(
            web::resource("/pillarbox.js")
                .wrap(Compress::default())
                .route(
                    web::route()
                        .guard(guard::Any(guard::Get()).or(guard::Head()))
                        .to(snippet::serve),
                )
                .default_service(web::to(|| async { method_not_allowed("GET") })),
        );
}
