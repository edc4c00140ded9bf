//! `pillarbox webhook create`.

use super::beside::{change, print};
use crate::config::{BoxOptions, Config, ServeOptions};
use crate::manage;
use crate::store::workspaces::find_workspace;
use crate::webhook::{Format, Signing, WebhookInput, must_be_https};
use clap::{Args, Subcommand};
use serde_json::json;
use std::process::ExitCode;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a webhook; its secret is printed once
    Create(Create),
}

#[derive(Debug, Args)]
pub(super) struct Create {
    /// What people call it
    name: String,
    /// The workspace's id or slug
    #[arg(long)]
    workspace: String,
    /// The endpoint that is to receive the events
    #[arg(long)]
    url: String,
    /// Event types: whole names, families such as tour.*, or * for all that apps send and system.*; may be repeated
    #[arg(long = "event", required = true, num_args = 1.., value_name = "PATTERN")]
    events: Vec<String>,
    /// The shape of the bodies: standard, jimo or cloudevents
    #[arg(long, default_value = "standard", value_parser = parse_format)]
    format: Format,
    /// A condition on what is sent, such as 'properties.plan = "pro"'; may be repeated, and all of them must hold
    #[arg(long = "filter", value_name = "FILTER")]
    filters: Vec<String>,
    /// A header of your own that goes with each request, such as "X-Api-Key: abc"; may be repeated
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = parse_header)]
    headers: Vec<(String, String)>,
    /// The delay before each attempt, such as 0s,5s,5m; without it, the box's own
    #[arg(long, value_name = "DELAYS")]
    schedule: Option<String>,
    /// Requests on their way at the same time, 1 to 64; without it, the box's own
    #[arg(long, value_name = "N")]
    concurrency: Option<String>,
    /// Requests a second at most; without it, there is no limit
    #[arg(long, value_name = "N")]
    rate: Option<String>,
    /// One request at a time, in the order of the events
    #[arg(long)]
    ordered: bool,
    /// How requests are signed: hmac (a shared secret) or ed25519 (the receiver knows a public key only)
    #[arg(long, default_value = "hmac", value_parser = parse_signing)]
    signing: Signing,
    /// Print one JSON object: {"id","secret"}; of ed25519, the secret is the public key
    #[arg(long)]
    json: bool,
}

fn parse_format(text: &str) -> Result<Format, String> {
    Format::parse(text).ok_or_else(|| {
        let known: Vec<_> = Format::ALL.iter().map(|format| format.as_str()).collect();
        format!("a format is one of {}", known.join(", "))
    })
}

fn parse_signing(text: &str) -> Result<Signing, String> {
    Signing::parse(text).ok_or_else(|| {
        let known = Signing::ALL.map(Signing::as_str);
        format!("a way to sign is one of {}", known.join(", "))
    })
}

fn parse_header(text: &str) -> Result<(String, String), String> {
    match text.split_once(':') {
        Some((name, value)) => Ok((name.trim().to_owned(), value.trim_matches(' ').to_owned())),
        None => Err("write the header's name, a colon and its value".to_owned()),
    }
}

pub(super) fn run(
    which: &BoxOptions,
    serve: ServeOptions,
    Command::Create(create): Command,
) -> anyhow::Result<ExitCode> {
    // As the server beside it would refuse it.
    if Config::load(which, serve)?.require_https {
        must_be_https(&create.url)?;
    }
    let input = WebhookInput {
        name: create.name,
        url: create.url,
        events: create.events,
        format: create.format,
        filters: create.filters,
        headers: create.headers,
        schedule: create.schedule.unwrap_or_default(),
        concurrency: create.concurrency.unwrap_or_default(),
        rate: create.rate.unwrap_or_default(),
        is_ordered: create.ordered,
        drops_credentials: false,
    };
    let signing = create.signing;
    let webhook = change(which, |connection, actor, vault| {
        let workspace = find_workspace(connection, &create.workspace)?;
        manage::create_webhook(connection, actor, vault, workspace, &input, signing)
    })?;
    let lines = [
        format!("Webhook made: {}", webhook.id),
        match signing {
            Signing::Hmac => format!("Its signing secret: {}", webhook.secret),
            Signing::Ed25519 => format!("Its public key: {}", webhook.secret),
        },
    ];
    print(
        create.json,
        &json!({"id": webhook.id, "secret": webhook.secret}),
        &lines,
    )
}
