//! One event a request, on disk before the answer, projecting 100,000 users: against a handler that
//! stores nothing, and against the naive design.

use super::Section;
use crate::child::{Served, program};
use crate::stage::{Contender, Stage, against, jimo_of_all, run_box};
use std::cell::RefCell;
use std::time::Duration;
use tempfile::TempDir;

pub(super) const SECTION: Section = Section {
    name: "single ingest",
    rows: &[
        "single_64",
        "single_256",
        "single_vs_naive",
        "single_64_p99_ms",
        "single_64_lag_ms",
        "wal_mb",
    ],
    run,
};

fn run(stage: &mut Stage) -> anyhow::Result<()> {
    let seeded = stage.seeded()?;
    let key = seeded.tenant().key.clone();
    let requests = stage.prepare("jimo", &jimo_of_all(&key))?;
    let noop = stage.noop(&key)?;
    let (binary, seconds) = (stage.binary.clone(), stage.scale.run_s);
    let runs = RefCell::new([Vec::new(), Vec::new()]);
    let against_box = |kind: usize, connections: u32| -> anyhow::Result<f64> {
        let run = run_box(&seeded.copy()?, &binary, &requests, connections, seconds)?;
        let rate = run.answered.rate;
        runs.borrow_mut()[kind].push(run);
        Ok(rate)
    };
    let mut contenders: Vec<Contender<'_>> = vec![
        against(&noop, &requests, 64, seconds),
        Box::new(|| against_box(0, 64)),
    ];
    let wants_256 = stage.wants("single_256");
    if wants_256 {
        contenders.push(against(&noop, &requests, 256, seconds));
        contenders.push(Box::new(|| against_box(1, 256)));
    }
    let wants_naive = stage.wants("single_vs_naive");
    if wants_naive {
        let root = stage.root().to_owned();
        let (requests, key) = (&requests, &key);
        contenders.push(Box::new(move || {
            let folder = TempDir::new_in(&root)?;
            let naive = Served::start(program("--naive")?.arg(folder.path()).arg(key))?;
            Ok(requests.wrk(&naive.url, 64, seconds)?.rate)
        }));
    }
    let naive_place = contenders.len() - 1;
    let scores = stage.contest(stage.scale.rounds, &mut contenders)?;
    drop(contenders);
    stage.add("single_64", &scores.ratios(1, 0), scores.words(1, 0))?;
    if wants_256 {
        stage.add("single_256", &scores.ratios(3, 2), scores.words(3, 2))?;
    }
    if wants_naive {
        let ratios = scores.ratios(1, naive_place);
        stage.add("single_vs_naive", &ratios, scores.words(1, naive_place))?;
    }
    let [at_64, at_256] = runs.into_inner();
    let p99_ms: Vec<_> = at_64.iter().map(|run| run.answered.p99_ms).collect();
    stage.add("single_64_p99_ms", &p99_ms, "")?;
    let lags_ms: Vec<_> = at_64
        .iter()
        .map(|run| run.watched.lag_ms(Duration::ZERO) as f64)
        .collect();
    stage.add(
        "single_64_lag_ms",
        &lags_ms,
        "the projector's, at most, in each run",
    )?;
    for run in at_64.iter().chain(&at_256) {
        stage.note_wal(run.watched.wal_bytes);
    }
    Ok(())
}
