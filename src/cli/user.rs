//! `pillarbox user create`.

use super::beside::{change, print};
use crate::config::BoxOptions;
use crate::manage::{self, NewUser};
use crate::password;
use clap::{Args, Subcommand};
use serde_json::json;
use std::io::Read as _;
use std::process::ExitCode;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a user who can sign in
    Create(Create),
}

#[derive(Debug, Args)]
pub(super) struct Create {
    /// What one signs in with
    #[arg(long)]
    email: String,
    /// What pages call the person [default: what stands before the @]
    #[arg(long)]
    name: Option<String>,
    /// May create workspaces and see the instance
    #[arg(long)]
    operator: bool,
    /// Read the password from standard input, to its first line end
    #[arg(long, required = true)]
    password_stdin: bool,
    /// Print one JSON object: {"id","email"}
    #[arg(long)]
    json: bool,
}

pub(super) fn run(
    which: &BoxOptions,
    Command::Create(create): Command,
) -> anyhow::Result<ExitCode> {
    let mut input = String::new();
    // A password is short; whatever is piped in by mistake is not read to its end.
    let limit = u64::try_from(password::MAX_BYTES)? + 2;
    std::io::stdin().take(limit).read_to_string(&mut input)?;
    let password = input.lines().next().unwrap_or("");
    password::check(password)?;
    let new = NewUser {
        email: create.email,
        name: create.name.unwrap_or_default(),
        password_hash: password::hash(password)?,
        is_operator: create.operator,
    };
    let user = change(which, |connection, actor, _| {
        manage::create_user(connection, actor, &new)
    })?;
    let object = json!({"id": user.id, "email": user.email});
    print(
        create.json,
        &object,
        &[format!("User {} made: {}", user.email, user.id)],
    )
}
