//! `pillarbox source create` and `source list`.

use super::beside::{change, print, read};
use crate::config::BoxOptions;
use crate::manage::{self, SourceInput};
use crate::store::sources;
use crate::store::workspaces::find_workspace;
use clap::{Args, Subcommand};
use serde_json::json;
use std::process::ExitCode;

/// Sources that are listed.
const MAX_SOURCES: usize = 10_000;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a source: a site or app that sends
    Create(Create),
    /// List the sources of a workspace, newest first
    List(List),
}

#[derive(Debug, Args)]
pub(super) struct Create {
    /// What people call it
    name: String,
    /// The workspace's id or slug
    #[arg(long)]
    workspace: String,
    /// A web origin whose pages may post as it, such as https://shop.example, or * for all; may be repeated
    #[arg(long = "origin", num_args = 1.., value_name = "ORIGIN")]
    origins: Vec<String>,
    /// A customer is an account, whose users are people
    #[arg(long)]
    customers_are_accounts: bool,
    /// Print one JSON object: {"id","identity_secret"}
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// The workspace's id or slug
    #[arg(long)]
    workspace: String,
    /// Print one JSON object: {"sources":[{"id","name","origins","customers_are_accounts","has_stripe_secret"}]}
    #[arg(long)]
    json: bool,
}

pub(super) fn run(which: &BoxOptions, command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Create(create) => run_create(which, create),
        Command::List(list) => run_list(which, &list),
    }
}

fn run_create(which: &BoxOptions, create: Create) -> anyhow::Result<ExitCode> {
    let input = SourceInput {
        name: create.name,
        origins: create.origins,
        customers_are_accounts: create.customers_are_accounts,
    };
    let source = change(which, |connection, actor, vault| {
        let workspace = find_workspace(connection, &create.workspace)?;
        manage::create_source(connection, actor, vault, workspace, &input)
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

fn run_list(which: &BoxOptions, list: &List) -> anyhow::Result<ExitCode> {
    let found = read(which, |connection| {
        let workspace = find_workspace(connection, &list.workspace)?;
        sources::list(connection, workspace, MAX_SOURCES)
    })?;
    let lines: Vec<_> = found
        .iter()
        .map(|source| format!("{}  {}", source.id, source.about.name))
        .collect();
    let objects = found.iter().map(|source| {
        json!({
            "id": source.id,
            "name": source.about.name,
            "origins": source.about.origins,
            "customers_are_accounts": source.about.customers_are_accounts,
            "has_stripe_secret": source.has_stripe_secret,
        })
    });
    print(
        list.json,
        &json!({"sources": objects.collect::<Vec<_>>()}),
        &lines,
    )
}
