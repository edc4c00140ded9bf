//! Pillarbox: a webhook and event box in one binary and one SQLite file.
//!
//! The modules stand in the order of an event's way, and each imports only from those below it;
//! `tests/tidy.rs` holds to it. The blank lines keep rustfmt from sorting them.

// START: the command line, what it is told, and the parts put together
pub mod cli;

pub mod server;

pub mod config;

// ARRIVE: bytes from an app become an event, or a refusal
pub mod ingest;

// BE LOOKED AT: pages for people; errors as answers
pub mod admin;

pub mod http;

// DELIVER: what is owed goes out, and what came back is kept
pub mod deliver;

// PROJECT: profiles follow the log
pub mod project;

// RETAIN: what is old enough goes
pub mod retain;

// SPACE: whether the disk has room left
pub mod space;

// ACCEPT: one event, one place in the log
pub mod accept;

pub mod followers;

pub mod violations;

pub mod dedup;

// MANAGE: what people change, once for pages and commands
pub mod manage;

// OWE: what is owed because of an event or of what the box itself has to say
pub mod owe;

// LOG: the file, its one writer and its readers
pub mod store;

// RULES: pure, no SQL, no HTTP, no I/O; `now` is an argument
pub mod snippets;

pub mod sample;

pub mod billing;

pub mod funnel;

pub mod event_type;

pub mod schema;

pub mod normalize;

pub mod message;

pub mod source;

pub mod replay;

pub mod webhook;

pub mod delivery;

pub mod failure;

pub mod signature;

pub mod address;

pub mod identity;

pub mod profile;

pub mod access;

pub mod password;

pub mod secret;

pub mod event;

pub mod channel;

pub mod json;

pub mod id;

pub mod time;

pub mod error;
