//! Pillarbox: a webhook and event box in one binary and one SQLite file.
//!
//! The modules stand in the order of an event's way, and each imports only from those below it:
//! arrive, accept, log, then project and deliver, then be looked at. `tests/tidy.rs` holds to it.

// START
pub mod cli;
pub mod config;
pub mod server;

// ARRIVE
pub mod ingest;

// BE LOOKED AT
pub mod http;

// DELIVER
pub mod deliver;

// PROJECT
pub mod project;

// ACCEPT
pub mod accept;

// MANAGE
pub mod manage;

// LOG
pub mod store;

// RULES: pure, no SQL, no HTTP, no I/O; `now` is an argument
pub mod access;
pub mod address;
pub mod delivery;
pub mod error;
pub mod event;
pub mod id;
pub mod identity;
pub mod json;
pub mod message;
pub mod normalize;
pub mod password;
pub mod profile;
pub mod secret;
pub mod signature;
pub mod time;
pub mod webhook;
