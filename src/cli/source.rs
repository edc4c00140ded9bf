//! `pillarbox source create`.

use super::beside::{change, print};
use crate::config::BoxOptions;
use crate::manage;
use crate::store::workspaces::find_workspace;
use clap::{Args, Subcommand};
use serde_json::json;
use std::process::ExitCode;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a source: a site or app that sends
    Create(Create),
}

#[derive(Debug, Args)]
pub(super) struct Create {
    /// What people call it
    name: String,
    /// The workspace's id or slug
    #[arg(long)]
    workspace: String,
    /// Print one JSON object: {"id","identity_secret"}
    #[arg(long)]
    json: bool,
}

pub(super) fn run(
    which: &BoxOptions,
    Command::Create(create): Command,
) -> anyhow::Result<ExitCode> {
    let source = change(which, |connection, actor, vault| {
        let workspace = find_workspace(connection, &create.workspace)?;
        manage::create_source(connection, actor, vault, workspace, &create.name)
    })?;
    let object = json!({"id": source.id, "identity_secret": source.identity_secret});
    let lines = [
        format!("Source made: {}", source.id),
        format!(
            "Identity secret (signs browser identities): {}",
            source.identity_secret
        ),
    ];
    print(create.json, &object, &lines)
}
