//! `pillarbox key create`.

use super::beside::{change, print};
use crate::access::Scope;
use crate::config::BoxOptions;
use crate::id::SourceId;
use crate::manage;
use crate::store::workspaces::find_workspace;
use clap::{Args, Subcommand};
use serde_json::json;
use std::process::ExitCode;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make an API key; it is printed once
    Create(Create),
}

#[derive(Debug, Args)]
pub(super) struct Create {
    /// What people call it
    name: String,
    /// The workspace's id or slug
    #[arg(long)]
    workspace: String,
    /// The source that the key stands for
    #[arg(long)]
    source: Option<SourceId>,
    /// What the key may do, such as write:events; may be repeated
    #[arg(long = "scope", required = true, num_args = 1.., value_parser = parse_scope)]
    scopes: Vec<Scope>,
    /// Print one JSON object: {"id","key"}
    #[arg(long)]
    json: bool,
}

fn parse_scope(text: &str) -> Result<Scope, String> {
    Scope::parse(text).ok_or_else(|| {
        let known: Vec<_> = Scope::ALL.iter().map(|scope| scope.as_str()).collect();
        format!("a scope is one of {}", known.join(", "))
    })
}

pub(super) fn run(
    which: &BoxOptions,
    Command::Create(create): Command,
) -> anyhow::Result<ExitCode> {
    let key = change(which, |connection, actor, _| {
        let workspace = find_workspace(connection, &create.workspace)?;
        manage::create_api_key(
            connection,
            actor,
            workspace,
            &create.name,
            create.source,
            &create.scopes,
        )
    })?;
    let lines = [
        format!("API key made: {}", key.id),
        format!("Shown this once: {}", key.key),
    ];
    print(create.json, &json!({"id": key.id, "key": key.key}), &lines)
}
