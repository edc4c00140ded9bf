//! wrk, the load generator: as many requests as are answered, over a fixed number of connections.
//! Knows how to prepare them and what wrk says, and not whom it loads.

use super::traffic::{MARK, Request};
use anyhow::Context as _;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Patient with a server that answers late: the naive one is slow, not wrong.
const TIMEOUT: &str = "30s";
const THREADS: &str = "-t2";

/// Requests in a file, ready for wrk.
#[derive(Debug)]
pub(crate) struct Prepared {
    script: PathBuf,
    requests: PathBuf,
}

/// What a run of wrk came to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answered {
    /// Requests answered 2xx, a second.
    pub(crate) rate: f64,
    /// The time that 99 of 100 were answered within, milliseconds.
    pub(crate) p99_ms: f64,
}

impl Prepared {
    /// Writes requests to `folder` under a name of their own.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub(crate) fn write(folder: &Path, name: &str, requests: &[Request]) -> anyhow::Result<Self> {
        let script = folder.join("load.lua");
        std::fs::write(&script, include_str!("load.lua"))?;
        let path = folder.join(format!("{name}.requests"));
        let mut out = BufWriter::new(std::fs::File::create(&path)?);
        for Request { path, key, body } in requests {
            writeln!(out, "{path}\t{key}\t{body}")?;
        }
        out.flush()?;
        Ok(Self {
            script,
            requests: path,
        })
    }

    /// Sends the requests over and over for `seconds`.
    ///
    /// # Errors
    /// When a request was not answered 2xx.
    pub(crate) fn wrk(
        &self,
        url: &str,
        connections: u32,
        seconds: u64,
    ) -> anyhow::Result<Answered> {
        let output = Command::new("wrk")
            .args([THREADS, "--timeout", TIMEOUT, "-s"])
            .arg(&self.script)
            .arg(format!("-c{connections}"))
            .arg(format!("-d{seconds}s"))
            .arg(url)
            .arg("--")
            .arg(&self.requests)
            .arg(MARK)
            .output()
            .context("wrk; `make bench` installs it")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let complaint = String::from_utf8_lossy(&output.stderr);
        let result = text.lines().find_map(|line| line.strip_prefix("RESULT "));
        let numbers: Vec<f64> = result
            .with_context(|| format!("wrk said: {text}{complaint}"))?
            .split(' ')
            .map(str::parse)
            .collect::<Result<_, _>>()?;
        let [rate, bad, p99_us] = numbers[..] else {
            anyhow::bail!("wrk said: {text}")
        };
        anyhow::ensure!(bad == 0.0, "{bad} requests were not answered 2xx");
        Ok(Answered {
            rate,
            p99_ms: p99_us / 1e3,
        })
    }
}
