//! `pillarbox demo`: a throw-away box with sample traffic, a receiver and a printed login.

use clap::Args;
use std::process::ExitCode;

#[derive(Debug, Args)]
pub(super) struct Options {}

pub(super) fn run(_: Options) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not yet")
}
