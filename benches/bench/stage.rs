//! What every section works with: what was asked for, the machine, the report, a place for files,
//! and the contest: runs of several contenders in turn, so that each round's ratio is of neighbours.

use super::boxes::{Folder, Writing};
use super::child::{Served, program};
use super::file::{Watch, Watched};
use super::load::{Answered, Prepared};
use super::machine::Machine;
use super::options::{Options, Scale};
use super::report::{self, Report};
use super::traffic::{self, Request, USERS};
use anyhow::Context as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// Profiles of all users are made within this time, or the box cannot be measured.
const SEEDING_PATIENCE: Duration = Duration::from_secs(60);

/// What every section works with.
#[derive(Debug)]
pub(crate) struct Stage {
    rows: Vec<String>,
    /// The box that is measured.
    pub(crate) binary: PathBuf,
    /// How much of everything.
    pub(crate) scale: Scale,
    /// The machine.
    pub(crate) machine: Machine,
    report: Report,
    root: TempDir,
    seeded: Option<std::rc::Rc<Folder>>,
    wal_bytes: u64,
}

/// One of those that are compared: runs once, and says what it came to.
pub(crate) type Contender<'a> = Box<dyn FnMut() -> anyhow::Result<f64> + 'a>;

/// What the contenders came to, round by round.
#[derive(Debug)]
pub(crate) struct Scores(Vec<Vec<f64>>);

impl Scores {
    /// One contender's scores.
    pub(crate) fn of(&self, contender: usize) -> &[f64] {
        &self.0[contender]
    }

    /// One contender's scores divided by another's, round by round.
    pub(crate) fn ratios(&self, contender: usize, base: usize) -> Vec<f64> {
        let pairs = self.0[contender].iter().zip(&self.0[base]);
        pairs.map(|(score, base)| score / base).collect()
    }

    /// The medians of both, in words.
    pub(crate) fn words(&self, contender: usize, base: usize) -> String {
        let median = |contender: usize| report::median(&self.0[contender]);
        format!("{:.0} / {:.0} a second", median(contender), median(base))
    }
}

/// What a run against a box came to.
#[derive(Debug)]
pub(crate) struct BoxRun {
    /// What wrk says.
    pub(crate) answered: Answered,
    /// What the file says.
    pub(crate) watched: Watched,
}

impl Stage {
    /// Looks at the machine and makes a place for files, on the disk that the build is on: a
    /// temporary folder may be in memory, where an fsync costs nothing.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn set(options: Options) -> anyhow::Result<Self> {
        let root = tempfile::Builder::new()
            .prefix("bench-")
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        Ok(Self {
            machine: Machine::look(root.path(), options.scale.patience)?,
            rows: options.rows,
            binary: options.binary,
            scale: options.scale,
            report: Report::default(),
            root,
            seeded: None,
            wal_bytes: 0,
        })
    }

    /// Whether a row is asked for.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.rows.is_empty() || self.rows.iter().any(|row| row == name)
    }

    /// Whether any of the rows is asked for.
    pub(crate) fn wants_any(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.wants(name))
    }

    /// Where files go.
    pub(crate) fn root(&self) -> &Path {
        self.root.path()
    }

    /// Notes what a row came to, if it is asked for.
    ///
    /// # Errors
    /// When there is no such row.
    pub(crate) fn add(
        &mut self,
        name: &str,
        values: &[f64],
        of: impl Into<String>,
    ) -> anyhow::Result<()> {
        let row = report::row(name).with_context(|| format!("there is no row {name}"))?;
        if self.wants(name) {
            self.report.add(row, values, of.into());
        }
        Ok(())
    }

    /// Requests in a file, ready for wrk.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn prepare(&self, name: &str, requests: &[Request]) -> anyhow::Result<Prepared> {
        Prepared::write(self.root(), name, requests)
    }

    /// A folder whose 100,000 users all have their profiles, to be copied.
    ///
    /// # Errors
    /// When the box does not project them.
    pub(crate) fn seeded(&mut self) -> anyhow::Result<std::rc::Rc<Folder>> {
        if let Some(folder) = &self.seeded {
            return Ok(std::rc::Rc::clone(folder));
        }
        let folder = Folder::quiet(self.root())?;
        folder.write(Writing {
            events: USERS,
            ..Writing::default()
        })?;
        let (projected, _) = folder.project(&self.binary, SEEDING_PATIENCE)?;
        anyhow::ensure!(projected == USERS, "only {projected} events were projected");
        let folder = std::rc::Rc::new(folder);
        self.seeded = Some(std::rc::Rc::clone(&folder));
        Ok(folder)
    }

    /// A child of ours that does nothing but check `key` and parse.
    ///
    /// # Errors
    /// When it does not start.
    pub(crate) fn noop(&self, key: &str) -> anyhow::Result<Served> {
        Served::start(program("--noop")?.arg(key))
    }

    /// Holds a contest of `rounds` rounds, every run on a quiet machine.
    ///
    /// # Errors
    /// What a contender fails with.
    pub(crate) fn contest(
        &mut self,
        rounds: usize,
        contenders: &mut [Contender<'_>],
    ) -> anyhow::Result<Scores> {
        let mut scores = vec![Vec::new(); contenders.len()];
        for _ in 0..rounds {
            for (contender, scores) in contenders.iter_mut().zip(&mut scores) {
                scores.push(self.machine.undisturbed(contender)?);
            }
        }
        Ok(Scores(scores))
    }

    /// Keeps the largest WAL that was seen.
    pub(crate) fn note_wal(&mut self, bytes: u64) {
        self.wal_bytes = self.wal_bytes.max(bytes);
    }

    /// Prints the table and writes the file.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn finish(mut self, elapsed: Duration) -> anyhow::Result<()> {
        if self.wal_bytes > 0 {
            let mb = self.wal_bytes as f64 / 1e6;
            self.add("wal_mb", &[mb], "the largest that was seen in any run")?;
        }
        self.report
            .finish(&self.machine, self.scale.is_fast, elapsed)
    }
}

/// Starts a box on `folder` and loads it for `seconds`; what it has not projected then is left.
///
/// # Errors
/// When the box does not start, or does not answer 2xx.
pub(crate) fn run_box(
    folder: &Folder,
    binary: &Path,
    requests: &Prepared,
    connections: u32,
    seconds: u64,
) -> anyhow::Result<BoxRun> {
    let served = folder.serve(binary)?;
    let watch = Watch::begin(folder.path())?;
    let answered = requests.wrk(&served.url, connections, seconds)?;
    let watched = watch.end()?;
    Ok(BoxRun { answered, watched })
}

/// A contender that runs wrk against a server that keeps nothing.
pub(crate) fn against<'a>(
    served: &'a Served,
    requests: &'a Prepared,
    connections: u32,
    seconds: u64,
) -> Contender<'a> {
    Box::new(move || Ok(requests.wrk(&served.url, connections, seconds)?.rate))
}

/// Every user's event once, in Jimo's dialect.
pub(crate) fn jimo_of_all(key: &str) -> Vec<Request> {
    traffic::jimo(&[key.to_owned()], USERS)
}
