//! ARRIVE: the ways in. One route table; each dialect is one file that turns bytes into a
//! [`RawEvent`](crate::event::RawEvent) and decides nothing.

mod jimo;
mod request;

use actix_web::web;

/// What a request may cost.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// A body with one event has at most this many bytes, decoded.
    pub event_body_bytes: usize,
    /// A body must be here within this time, milliseconds.
    pub body_timeout_ms: u64,
}

/// The routes of every dialect.
pub fn configure(routes: &mut web::ServiceConfig) {
    routes.service(web::resource("/sse/webhook").route(web::post().to(jimo::receive)));
}
