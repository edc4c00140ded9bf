//! Many events a request against a loop that writes the same rows; and what a sender's own key of
//! each event costs. Both in the native dialect.

use super::Section;
use crate::boxes::{Folder, Writing};
use crate::child::program;
use crate::stage::{Contender, Stage, run_box};
use crate::traffic;
use anyhow::Context as _;
use std::cell::RefCell;
use tempfile::TempDir;

/// Events in one request.
const BATCH: u64 = 100;
/// Prepared requests; together about each user once every two.
const BATCHES: u64 = 500;
const UNLIKE: u64 = 20_000;

pub(super) const SECTION: Section = Section {
    name: "bulk ingest",
    rows: &["bulk_vs_raw", "bytes_event_log"],
    run,
};

pub(super) const KEYED: Section = Section {
    name: "keyed ingest",
    rows: &["keyed_vs_unkeyed"],
    run: run_keyed,
};

fn run(stage: &mut Stage) -> anyhow::Result<()> {
    let folder = Folder::quiet(stage.root())?;
    folder.retire_projector()?;
    let batches = traffic::native_batches(&folder.tenant().key, BATCHES, BATCH);
    let requests = stage.prepare("bulk", &batches)?;
    let (binary, seconds) = (stage.binary.clone(), stage.scale.run_s);
    let root = stage.root().to_owned();
    let bytes = RefCell::new(Vec::new());
    let mut contenders: Vec<Contender<'_>> = vec![Box::new(|| {
        let (rate, bytes_a_row) = raw(&root, seconds)?;
        bytes.borrow_mut().push(bytes_a_row);
        Ok(rate)
    })];
    let wants_bulk = stage.wants("bulk_vs_raw");
    if wants_bulk {
        contenders.push(Box::new(|| {
            let run = run_box(&folder.copy()?, &binary, &requests, 64, seconds)?;
            Ok(run.answered.rate * BATCH as f64)
        }));
    }
    let scores = stage.contest(stage.scale.rounds, &mut contenders)?;
    drop(contenders);
    if wants_bulk {
        stage.add("bulk_vs_raw", &scores.ratios(1, 0), scores.words(1, 0))?;
    }
    stage.add(
        "bytes_event_log",
        &bytes.into_inner(),
        "row and index, no projection",
    )
}

/// Runs the raw loop; its rows a second, and the bytes of each.
fn raw(root: &std::path::Path, seconds: u64) -> anyhow::Result<(f64, f64)> {
    let folder = TempDir::new_in(root)?;
    let output = program("--raw")?
        .arg(folder.path())
        .arg(seconds.to_string())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let words = text
        .trim()
        .strip_prefix("RESULT ")
        .and_then(|rest| rest.split_once(' '));
    let (rate, bytes) = words.with_context(|| {
        format!(
            "the raw loop said: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        )
    })?;
    Ok((rate.parse()?, bytes.parse()?))
}

fn run_keyed(stage: &mut Stage) -> anyhow::Result<()> {
    let folder = Folder::quiet(stage.root())?;
    folder.write(Writing {
        events: stage.scale.keys,
        keyed: true,
        ..Writing::default()
    })?;
    // What these events mean to profiles is not the question here.
    folder.skip_projecting()?;
    let key = &folder.tenant().key;
    let keyed = stage.prepare("keyed", &traffic::native_unlike(key, UNLIKE, true))?;
    let unkeyed = stage.prepare("unkeyed", &traffic::native_unlike(key, UNLIKE, false))?;
    let (binary, seconds) = (stage.binary.clone(), stage.scale.run_s);
    let run = |requests| {
        anyhow::Ok(
            run_box(&folder.copy()?, &binary, requests, 64, seconds)?
                .answered
                .rate,
        )
    };
    let mut contenders: Vec<Contender<'_>> =
        vec![Box::new(|| run(&unkeyed)), Box::new(|| run(&keyed))];
    let scores = stage.contest(stage.scale.rounds, &mut contenders)?;
    drop(contenders);
    stage.add("keyed_vs_unkeyed", &scores.ratios(1, 0), scores.words(1, 0))
}
