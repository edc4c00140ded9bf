//! `pillarbox workspace create`.

use super::beside::{change, print};
use crate::config::BoxOptions;
use crate::manage;
use clap::{Args, Subcommand};
use serde_json::json;
use std::process::ExitCode;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a workspace
    Create(Create),
}

#[derive(Debug, Args)]
pub(super) struct Create {
    /// What people call it
    name: String,
    /// Print one JSON object: {"id","slug"}
    #[arg(long)]
    json: bool,
}

pub(super) fn run(
    which: &BoxOptions,
    Command::Create(create): Command,
) -> anyhow::Result<ExitCode> {
    let (id, slug) = change(which, |connection, actor, _| {
        manage::create_workspace(connection, actor, &create.name, None)
    })?;
    let lines = [
        format!("Workspace {slug} made: {id}"),
        format!("Let someone in: pillarbox member add --workspace {slug} --email … --role owner"),
    ];
    print(create.json, &json!({"id": id, "slug": slug}), &lines)
}
