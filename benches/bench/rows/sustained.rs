//! The highest fixed rate that the box keeps up with: every request answered, and the projector never
//! more than a second behind. Searched by halving, then held.

use super::Section;
use crate::boxes::Folder;
use crate::file::Watch;
use crate::pace::{Pace, WARM_UP, percentile_ms};
use crate::stage::{Contender, Stage, against, jimo_of_all, run_box};
use crate::traffic::Request;
use std::path::Path;
use std::time::{Duration, Instant};

/// The projector may be this far behind.
const MAX_LAG_MS: i64 = 1_000;
/// The least share of the requests that were due that must have been answered in time.
const MIN_ANSWERED: f64 = 0.98;
/// A run that is lost already is not waited for.
const LOOK: Duration = Duration::from_millis(100);
/// A rate that was held for moments is lowered to this much of it before it is held at length, and
/// again when it was not.
const STEP_DOWN: f64 = 0.93;
/// Rates that are tried at length.
const MAX_HOLDS: usize = 4;

pub(super) const SECTION: Section = Section {
    name: "sustained ingest",
    rows: &["sustained_vs_noop", "sustained_lag_ms", "sustained_p99_ms"],
    run,
};

/// What a rate came to.
struct Held {
    is_held: bool,
    rate: f64,
    lag_ms: i64,
    p99_ms: f64,
    wal_bytes: u64,
}

fn run(stage: &mut Stage) -> anyhow::Result<()> {
    let seeded = stage.seeded()?;
    let key = seeded.tenant().key.clone();
    let list = jimo_of_all(&key);
    let requests = stage.prepare("sustained", &list)?;
    let noop = stage.noop(&key)?;
    let scale = stage.scale;
    let binary = stage.binary.clone();
    let mut contenders: Vec<Contender<'_>> = vec![against(&noop, &requests, 64, scale.run_s)];
    let bases = stage.contest(scale.rounds.min(3), &mut contenders)?;
    drop(contenders);

    let mut limit = stage.machine.undisturbed(|| {
        let run = run_box(&seeded.copy()?, &binary, &requests, 64, scale.run_s)?;
        Ok(run.answered.rate)
    })?;
    let mut found = 0.0;
    for _ in 0..scale.probes {
        let rate = f64::midpoint(found, limit);
        let held = stage
            .machine
            .undisturbed(|| hold(&seeded.copy()?, &binary, &list, rate, scale.probe))?;
        if held.is_held {
            found = rate;
        } else {
            limit = rate;
        }
    }
    for _ in 0..MAX_HOLDS {
        found *= STEP_DOWN;
        let held = stage
            .machine
            .undisturbed(|| hold(&seeded.copy()?, &binary, &list, found, scale.hold))?;
        if held.is_held {
            let ratios: Vec<_> = bases.of(0).iter().map(|base| held.rate / base).collect();
            let seconds = scale.hold.as_secs();
            stage.add(
                "sustained_vs_noop",
                &ratios,
                format!("{:.0} a second for {seconds} s", held.rate),
            )?;
            stage.add("sustained_lag_ms", &[held.lag_ms as f64], "at most")?;
            stage.add("sustained_p99_ms", &[held.p99_ms], "")?;
            stage.note_wal(held.wal_bytes);
            return Ok(());
        }
    }
    anyhow::bail!("no rate was held; the last one tried was {found:.0} a second")
}

/// Sends at a rate for a time, or until the projector is too far behind.
fn hold(
    folder: &Folder,
    binary: &Path,
    requests: &[Request],
    rate: f64,
    duration: Duration,
) -> anyhow::Result<Held> {
    let served = folder.serve(binary)?;
    let look = folder.look()?;
    let watch = Watch::begin(folder.path())?;
    let pace = Pace::begin(served.authority(), requests, rate)?;
    let began = Instant::now();
    let mut is_lost = false;
    while began.elapsed() < duration && !is_lost {
        std::thread::sleep(LOOK);
        is_lost = began.elapsed() > WARM_UP && look.lag_ms()? > MAX_LAG_MS;
    }
    let mut paced = pace.end()?;
    let watched = watch.end()?;
    let lag_ms = watched.lag_ms(WARM_UP);
    let is_held = lag_ms <= MAX_LAG_MS && paced.refused == 0 && paced.rate() >= rate * MIN_ANSWERED;
    println!(
        "  {rate:.0} a second: {:.0} answered, {} refused, projector behind by {lag_ms} ms at most, {}",
        paced.rate(),
        paced.refused,
        if is_held { "held" } else { "not held" }
    );
    Ok(Held {
        is_held,
        rate: paced.rate(),
        lag_ms,
        p99_ms: percentile_ms(&mut paced.times_us, 0.99),
        wal_bytes: watched.wal_bytes,
    })
}
