//! What a run is asked for: which rows, how long, and which binary. Reads the command line and the
//! environment; knows nothing of how anything is measured.

use super::report;
use std::path::PathBuf;
use std::time::Duration;

/// What a run is asked for.
#[derive(Debug)]
pub(crate) struct Options {
    /// The rows that are wanted; empty means all of them.
    pub(crate) rows: Vec<String>,
    /// The box that is measured.
    pub(crate) binary: PathBuf,
    /// How much of everything.
    pub(crate) scale: Scale,
}

/// How much of everything: enough for medians to stand still, or just enough to see the order.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    /// Whether this is the short run.
    pub(crate) is_fast: bool,
    /// How often each contest is held.
    pub(crate) rounds: usize,
    /// Seconds of one run of wrk, which knows whole seconds only.
    pub(crate) run_s: u64,
    /// Rates that the search for the highest sustained one tries.
    pub(crate) probes: usize,
    /// How long a rate is tried.
    pub(crate) probe: Duration,
    /// How long the highest sustained rate is held.
    pub(crate) hold: Duration,
    /// How long latency is measured at each rate.
    pub(crate) latency: Duration,
    /// Events in the log where rows say "1 M".
    pub(crate) small_log: u64,
    /// Events in the log where rows say "5 M".
    pub(crate) large_log: u64,
    /// Senders' keys that the log holds before keyed ingest begins.
    pub(crate) keys: u64,
    /// Deliveries that wait when delivering begins.
    pub(crate) backlog: u64,
    /// The projector gets this long to follow a log that was written behind its back.
    pub(crate) catch_up: Duration,
    /// Requests for each page.
    pub(crate) page_requests: usize,
    /// How long in all to wait for others to be quiet, and to repeat what they disturbed.
    pub(crate) patience: Duration,
}

const FULL: Scale = Scale {
    is_fast: false,
    rounds: 4,
    run_s: 3,
    probes: 5,
    probe: Duration::from_secs(5),
    hold: Duration::from_secs(60),
    latency: Duration::from_secs(4),
    small_log: 1_000_000,
    large_log: 5_000_000,
    keys: 1_000_000,
    backlog: 300_000,
    catch_up: Duration::from_secs(40),
    page_requests: 200,
    patience: Duration::from_secs(60),
};

const FAST: Scale = Scale {
    is_fast: true,
    rounds: 2,
    run_s: 1,
    probes: 4,
    probe: Duration::from_millis(1_500),
    hold: Duration::from_secs(10),
    latency: Duration::from_millis(1_500),
    small_log: 100_000,
    large_log: 500_000,
    keys: 100_000,
    backlog: 60_000,
    catch_up: Duration::from_secs(3),
    page_requests: 40,
    patience: Duration::from_secs(10),
};

impl Options {
    /// Reads `FAST`, `ROWS` and `PILLARBOX_BIN`; names of rows may also stand on the command line.
    ///
    /// # Errors
    /// When a row of that name does not exist.
    pub(crate) fn read(arguments: &[String]) -> anyhow::Result<Self> {
        let from_environment = std::env::var("ROWS").unwrap_or_default();
        let rows: Vec<String> = arguments
            .iter()
            .filter(|word| !word.starts_with("--")) // cargo bench says --bench
            .map(String::as_str)
            .chain(from_environment.split([',', ' ']))
            .filter(|word| !word.is_empty())
            .map(str::to_owned)
            .collect();
        for name in &rows {
            anyhow::ensure!(
                report::row(name).is_some(),
                "there is no row {name}; there are: {}",
                report::names().collect::<Vec<_>>().join(" ")
            );
        }
        let is_fast = std::env::var("FAST").is_ok_and(|fast| !matches!(&*fast, "" | "0"));
        let binary = std::env::var_os("PILLARBOX_BIN")
            .map_or_else(|| env!("CARGO_BIN_EXE_pillarbox").into(), PathBuf::from);
        anyhow::ensure!(binary.is_file(), "{} is no binary", binary.display());
        Ok(Self {
            rows,
            binary,
            scale: if is_fast { FAST } else { FULL },
        })
    }
}
