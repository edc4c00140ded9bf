//! The black-box suite: the built binary over real sockets, with real files and real receivers.
//! It knows the contract (HTTP, command line, pages, the file's tables), never the code's insides.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a helper that fails fails the test that called it"
)]

mod admin;
mod browser;
mod churnkey;
mod cli;
mod collect;
mod crash;
mod delivery;
mod event_types;
mod examples;
mod fairness;
mod funnelfizz;
mod hostile;
mod ingest;
mod native;
mod notices;
mod ordered;
mod people;
mod project;
mod rejects;
mod replay;
mod retain;
mod segment;
mod segment_sdk;
mod snippet;
mod sources;
mod standing;
mod stripe;
mod support;
mod targets;
mod webhooks;
mod wire;
