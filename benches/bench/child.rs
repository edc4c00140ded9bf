//! Child processes: the box, and this program again as whatever the box is compared with. Each says
//! on its first lines where it serves, and dies with its handle.

use super::{naive, noop, raw, sink};
use anyhow::Context as _;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

/// What this program can be besides the benchmark itself.
const PROGRAMS: [(&str, Program); 4] = [
    ("--noop", noop::run),
    ("--naive", naive::run),
    ("--raw", raw::run),
    ("--sink", sink::run),
];

type Program = fn(&[String]) -> anyhow::Result<()>;

/// Whether the first argument asks for one of the programs.
pub(crate) fn is_program(name: &str) -> bool {
    PROGRAMS.iter().any(|(known, _)| *known == name)
}

/// Is one of the programs until it ends.
///
/// # Errors
/// The program's own.
pub(crate) fn run(name: &str, arguments: &[String]) -> anyhow::Result<()> {
    let program = PROGRAMS.iter().find(|(known, _)| *known == name);
    let (_, program) = program.with_context(|| format!("there is no program {name}"))?;
    program(arguments)
}

/// This program again, as one of the programs.
///
/// # Errors
/// When the path of this program cannot be found.
pub(crate) fn program(name: &str) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(name);
    Ok(command)
}

/// A child that serves; killed when dropped.
#[derive(Debug)]
pub(crate) struct Served {
    child: Child,
    /// Where it serves, with a slash at the end.
    pub(crate) url: String,
    /// Kept open, so that what it prints later does not fail.
    _stdout: BufReader<ChildStdout>,
}

impl Served {
    /// Starts a program that prints the URL it serves.
    ///
    /// # Errors
    /// When it does not start, or ends without saying where it serves.
    pub(crate) fn start(command: &mut Command) -> anyhow::Result<Self> {
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let mut stdout = BufReader::new(child.stdout.take().context("no standard output")?);
        let mut line = String::new();
        loop {
            line.clear();
            if stdout.read_line(&mut line)? == 0 {
                let _ = child.wait();
                anyhow::bail!("{command:?} ended without saying where it serves");
            }
            if let Some(at) = line.find("http://") {
                let url = line[at..].trim().to_owned();
                return Ok(Self {
                    child,
                    url,
                    _stdout: stdout,
                });
            }
        }
    }

    /// Host and port.
    pub(crate) fn authority(&self) -> &str {
        self.url.trim_start_matches("http://").trim_end_matches('/')
    }

    /// A line of `/proc/PID/status` in KiB, such as `VmHWM`, as MB.
    ///
    /// # Errors
    /// When the child is gone.
    pub(crate) fn memory_mb(&self, name: &str) -> anyhow::Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let kib: f64 = status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
            .with_context(|| format!("no {name}"))?;
        Ok(kib * 1_024.0 / 1e6)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
