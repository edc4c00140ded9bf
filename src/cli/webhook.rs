//! `pillarbox webhook create`.

use super::beside::{change, print};
use crate::config::BoxOptions;
use crate::manage;
use crate::store::workspaces::find_workspace;
use crate::webhook::{Format, Signing, WebhookInput};
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
    /// Event types: whole names, families such as tour.*, or * for all that apps send; may be repeated
    #[arg(long = "event", required = true, num_args = 1.., value_name = "PATTERN")]
    events: Vec<String>,
    /// The shape of the bodies: standard
    #[arg(long, default_value = "standard", value_parser = parse_format)]
    format: Format,
    /// Print one JSON object: {"id","secret"}
    #[arg(long)]
    json: bool,
}

fn parse_format(text: &str) -> Result<Format, String> {
    Format::parse(text).ok_or_else(|| {
        let known: Vec<_> = Format::ALL.iter().map(|format| format.as_str()).collect();
        format!("a format is one of {}", known.join(", "))
    })
}

pub(super) fn run(
    which: &BoxOptions,
    Command::Create(create): Command,
) -> anyhow::Result<ExitCode> {
    let input = WebhookInput {
        name: create.name,
        url: create.url,
        events: create.events,
        format: create.format,
        ..WebhookInput::default()
    };
    let webhook = change(which, |connection, actor, vault| {
        let workspace = find_workspace(connection, &create.workspace)?;
        manage::create_webhook(connection, actor, vault, workspace, &input, Signing::Hmac)
    })?;
    let lines = [
        format!("Webhook made: {}", webhook.id),
        format!("Its signing secret: {}", webhook.secret),
    ];
    print(
        create.json,
        &json!({"id": webhook.id, "secret": webhook.secret}),
        &lines,
    )
}
