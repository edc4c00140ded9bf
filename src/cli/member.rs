//! `pillarbox member add`.

use super::beside::{change, print};
use crate::access::Role;
use crate::config::BoxOptions;
use crate::manage;
use crate::store::workspaces::find_workspace;
use clap::{Args, Subcommand};
use serde_json::json;
use std::process::ExitCode;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a user a member of a workspace, or change the role
    Add(Add),
}

#[derive(Debug, Args)]
pub(super) struct Add {
    /// The workspace's id or slug
    #[arg(long)]
    workspace: String,
    /// The user's email
    #[arg(long)]
    email: String,
    /// owner, admin, member or viewer
    #[arg(long, value_parser = parse_role)]
    role: Role,
    /// Print one JSON object: {"workspace","user","role"}
    #[arg(long)]
    json: bool,
}

fn parse_role(text: &str) -> Result<Role, String> {
    Role::parse(text).ok_or_else(|| "a role is owner, admin, member or viewer".to_owned())
}

pub(super) fn run(which: &BoxOptions, Command::Add(add): Command) -> anyhow::Result<ExitCode> {
    let (workspace, user) = change(which, |connection, actor, _| {
        let workspace = find_workspace(connection, &add.workspace)?;
        let user = manage::add_member(connection, actor, workspace, &add.email, add.role)?;
        Ok((workspace, user))
    })?;
    let role = add.role.as_str();
    let object = json!({"workspace": workspace, "user": user, "role": role});
    print(
        add.json,
        &object,
        &[format!("{} is now {role} of {}", add.email, add.workspace)],
    )
}
