//! The command line: one file per command, and the exit codes: 0, 1 (failed), 2 (usage).

mod beside;
mod demo;
mod key;
mod member;
mod serve;
mod source;
mod user;
mod webhook;
mod workspace;

use crate::config::{BoxOptions, Config, ServeOptions};
use crate::error::Error;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// A webhook and event box in one binary and one SQLite file.
#[derive(Debug, Parser)]
#[command(
    name = "pillarbox",
    version,
    about,
    args_conflicts_with_subcommands = false
)]
struct Cli {
    #[command(flatten)]
    which: BoxOptions,
    #[command(flatten)]
    serve: ServeOptions,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the box (what happens without a command)
    Serve(ServeOptions),
    /// Make people who sign in
    #[command(subcommand)]
    User(user::Command),
    /// Make workspaces
    #[command(subcommand)]
    Workspace(workspace::Command),
    /// Let people into workspaces
    #[command(subcommand)]
    Member(member::Command),
    /// Make sources: sites or apps that send
    #[command(subcommand)]
    Source(source::Command),
    /// Make API keys
    #[command(subcommand)]
    Key(key::Command),
    /// Make webhooks
    #[command(subcommand)]
    Webhook(webhook::Command),
    /// Try it out: a throw-away box with sample traffic, a receiver and a printed login
    Demo(demo::Options),
}

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(code) => code,
        Err(e) => {
            match e.downcast_ref::<Error>() {
                Some(error) => eprintln!("error: {error}"),
                None => eprintln!("error: {e:#}"),
            }
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        None => serve::run(&Config::load(&cli.which, cli.serve)?),
        Some(Command::Serve(options)) => {
            serve::run(&Config::load(&cli.which, options.or(cli.serve))?)
        }
        Some(Command::Demo(options)) => demo::run(options),
        Some(Command::User(command)) => user::run(&cli.which, command),
        Some(Command::Workspace(command)) => workspace::run(&cli.which, command),
        Some(Command::Member(command)) => member::run(&cli.which, command),
        Some(Command::Source(command)) => source::run(&cli.which, command),
        Some(Command::Key(command)) => key::run(&cli.which, command),
        Some(Command::Webhook(command)) => webhook::run(&cli.which, cli.serve, command),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_arguments_are_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn serving_is_what_happens_without_a_command() {
        let cli = Cli::try_parse_from(["pillarbox", "--listen", "127.0.0.1:1", "--data-dir", "/x"])
            .unwrap();
        assert!(cli.command.is_none() && cli.serve.listen.is_some());
        let cli = Cli::try_parse_from([
            "pillarbox",
            "serve",
            "--listen",
            "127.0.0.1:1",
            "--data-dir",
            "/x",
        ])
        .unwrap();
        assert!(matches!(
            cli.command,
            Some(Command::Serve(ServeOptions {
                listen: Some(_),
                ..
            }))
        ));
        assert!(cli.which.data_dir.is_some());
    }
}
