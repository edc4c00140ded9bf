//! The machine: what it is, whether others use it now, and whether they used it during a run. A run
//! that others disturbed is repeated, for as long as the patience of the whole benchmark lasts.

use anyhow::Context as _;
use std::fmt;
use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

/// The most of the machine that others may use, processes and stolen time together.
const MAX_OTHERS: f64 = 0.06;
/// How long the machine must have been quiet before a run. The kernel counts in hundredths of a
/// second, so a shorter look says little.
const LOOK: Duration = Duration::from_millis(300);
/// The least patience that is spent on a disturbed run, so that repeating always ends.
const LEAST_COST: Duration = Duration::from_millis(500);
const SYNCS: usize = 201;

/// What the benchmark runs on.
#[derive(Debug)]
pub(crate) struct Machine {
    model: String,
    cores: usize,
    kernel: String,
    /// The median time of writing 4 KiB and having it on disk, milliseconds.
    sync_ms: f64,
    patience: Duration,
    dropped: usize,
    kept: usize,
}

impl Machine {
    /// Looks at the machine, and at the disk that `folder` is on.
    ///
    /// # Errors
    /// When this is no Linux, or the folder cannot be written.
    pub(crate) fn look(folder: &Path, patience: Duration) -> anyhow::Result<Self> {
        let cpus = std::fs::read_to_string("/proc/cpuinfo")?;
        let model = cpus
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
            .map_or("unknown CPU", |(_, model)| model.trim());
        Ok(Self {
            model: model.to_owned(),
            cores: std::thread::available_parallelism()?.get(),
            kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease")?
                .trim()
                .to_owned(),
            sync_ms: sync_ms(folder)?,
            patience,
            dropped: 0,
            kept: 0,
        })
    }

    /// Runs something on a quiet machine, again when others disturbed it.
    ///
    /// # Errors
    /// What the run fails with.
    pub(crate) fn undisturbed<T>(
        &mut self,
        mut run: impl FnMut() -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        loop {
            // What the run before has left to be written is not written in this one's time.
            rustix::fs::sync();
            self.wait_until_quiet()?;
            let before = Usage::now()?;
            let outcome = run()?;
            if Usage::now()?.others_since(&before) <= MAX_OTHERS {
                return Ok(outcome);
            }
            if self.patience.is_zero() {
                self.kept += 1;
                return Ok(outcome);
            }
            self.dropped += 1;
            self.patience = self
                .patience
                .saturating_sub(before.at.elapsed().max(LEAST_COST));
        }
    }

    fn wait_until_quiet(&mut self) -> anyhow::Result<()> {
        loop {
            let before = Usage::now()?;
            std::thread::sleep(LOOK);
            if Usage::now()?.others_since(&before) <= MAX_OTHERS || self.patience.is_zero() {
                return Ok(());
            }
            self.patience = self.patience.saturating_sub(LOOK);
        }
    }

    /// The same as JSON, with how many runs were repeated and how many disturbed ones were kept.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "cpu": self.model, "cores": self.cores, "kernel": self.kernel,
            "fdatasync_ms": self.sync_ms, "runs_repeated": self.dropped, "disturbed_runs_kept": self.kept,
        })
    }

    /// What became of runs that others disturbed.
    pub(crate) fn disturbances(&self) -> String {
        format!(
            "{} disturbed runs were repeated, {} were kept",
            self.dropped, self.kept
        )
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}, {} cores, Linux {}; 4 KiB on disk in {:.2} ms (median)",
            self.model, self.cores, self.kernel, self.sync_ms
        )
    }
}

/// What a commit costs at least here.
fn sync_ms(folder: &Path) -> anyhow::Result<f64> {
    let path = folder.join("sync");
    let mut file = File::create(&path)?;
    let mut times = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        let began = Instant::now();
        // The same place again, as a WAL that was checkpointed is written from its start.
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&[1; 4_096])?;
        file.sync_data()?;
        times.push(began.elapsed().as_secs_f64() * 1e3);
    }
    drop(file);
    std::fs::remove_file(path)?;
    times.sort_by(f64::total_cmp);
    Ok(times[SYNCS / 2])
}

/// CPU time used so far, in the kernel's ticks.
struct Usage {
    at: Instant,
    /// By all processes, and stolen by the host.
    all: u64,
    /// By this program, its children, and the kernel's own threads, which work for whoever wrote.
    ours: u64,
    cores: usize,
}

impl Usage {
    fn now() -> anyhow::Result<Self> {
        let stat = std::fs::read_to_string("/proc/stat")?;
        let cpu = stat.lines().next().context("/proc/stat is empty")?;
        let ticks: Vec<u64> = cpu
            .split_whitespace()
            .filter_map(|word| word.parse().ok())
            .collect();
        let [user, nice, system, _idle, _wait, _irq, _softirq, steal, ..] = ticks[..] else {
            anyhow::bail!("/proc/stat has another shape: {cpu}")
        };
        Ok(Self {
            at: Instant::now(),
            all: user + nice + system + steal,
            ours: our_ticks()?,
            cores: std::thread::available_parallelism()?.get(),
        })
    }

    /// The share of the machine that went to others between two looks.
    fn others_since(&self, before: &Self) -> f64 {
        const TICKS_A_SECOND: f64 = 100.0;
        let all = self.all.saturating_sub(before.all);
        let ours = self.ours.saturating_sub(before.ours);
        let possible = (self.at - before.at).as_secs_f64() * TICKS_A_SECOND * self.cores as f64;
        all.saturating_sub(ours) as f64 / possible.max(1.0)
    }
}

fn our_ticks() -> anyhow::Result<u64> {
    const KTHREADD: u32 = 2;
    let us = std::process::id();
    let mut ticks = 0;
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // A process that ended meanwhile has no file any more.
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
            continue;
        };
        // The name in parentheses may hold anything, so the fields are counted from its end.
        let fields: Vec<u64> = stat
            .rsplit(')')
            .next()
            .unwrap_or("")
            .split_whitespace()
            .skip(1) // the state is a letter
            .map(|word| word.parse().unwrap_or(0))
            .collect();
        let parent = fields.first().copied().unwrap_or(0);
        if pid == us || parent == u64::from(us) || parent == u64::from(KTHREADD) {
            // User and system time, its own and of the children that it has seen end.
            ticks += fields.iter().skip(10).take(4).sum::<u64>();
        }
    }
    Ok(ticks)
}
