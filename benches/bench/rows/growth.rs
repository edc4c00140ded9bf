//! What a long history costs: ingest at an empty log, at a million and at five million events; how
//! fast the projector follows a log when nothing else goes on; what pages take then.

use super::{Section, pages};
use crate::boxes::{Folder, Writing};
use crate::load::Prepared;
use crate::stage::{Contender, Scores, Stage, jimo_of_all, run_box};
use crate::traffic::user;
use std::cell::RefCell;

/// One event in so many is about the first user, who has a long history then. Users whose number it
/// divides have none.
const TO_FIRST_USER: u64 = 16;
/// Deliveries in the file when pages are measured: the thousandth page is full.
const DELIVERIES: u64 = 60_000;
/// Profiles whose pages are read at the large log; all have an odd number.
const READERS: u64 = 40;

pub(super) const SECTION: Section = Section {
    name: "growth",
    rows: &[
        "growth_1m",
        "growth_5m",
        "growth_0_p99_ms",
        "growth_1m_p99_ms",
        "growth_5m_p99_ms",
        "projector_vs_single",
        "bytes_event_all",
        "timeline_ms_5m",
        "page_events_first_idle_p50_ms",
        "page_events_first_idle_p95_ms",
        "page_events_first_load_p50_ms",
        "page_events_first_load_p95_ms",
        "page_events_1000_idle_p50_ms",
        "page_events_1000_idle_p95_ms",
        "page_events_1000_load_p50_ms",
        "page_events_1000_load_p95_ms",
        "page_deliveries_first_idle_p50_ms",
        "page_deliveries_first_idle_p95_ms",
        "page_deliveries_first_load_p50_ms",
        "page_deliveries_first_load_p95_ms",
        "page_deliveries_1000_idle_p50_ms",
        "page_deliveries_1000_idle_p95_ms",
        "page_deliveries_1000_load_p50_ms",
        "page_deliveries_1000_load_p95_ms",
        "page_profile_first_idle_p50_ms",
        "page_profile_first_idle_p95_ms",
        "page_profile_first_load_p50_ms",
        "page_profile_first_load_p95_ms",
        "page_profile_1000_idle_p50_ms",
        "page_profile_1000_idle_p95_ms",
        "page_profile_1000_load_p50_ms",
        "page_profile_1000_load_p95_ms",
    ],
    run,
};

/// A log that grows, and what was seen of the projector while it did.
struct History {
    folder: Folder,
    events: u64,
    /// Events a second that were projected with nothing else going on.
    rates: Vec<f64>,
    /// Bytes of an event and of its projections.
    bytes: Vec<f64>,
}

fn run(stage: &mut Stage) -> anyhow::Result<()> {
    let scale = stage.scale;
    let mut history = History {
        folder: Folder::quiet(stage.root())?,
        events: 0,
        rates: Vec::new(),
        bytes: Vec::new(),
    };
    let key = history.folder.tenant().key.clone();
    let requests = stage.prepare("growth", &jimo_of_all(&key))?;

    history.grow(stage, scale.small_log)?;
    if SECTION
        .rows
        .iter()
        .any(|row| row.starts_with("page_") && stage.wants(row))
    {
        let deliveries = Writing {
            events: DELIVERIES,
            owed: true,
            ..Writing::default()
        };
        history.folder.write(deliveries)?;
        history.folder.settle_deliveries()?;
        history.folder.project(&stage.binary, scale.catch_up)?;
        pages::run(stage, &history.folder)?;
        history.folder.skip_projecting()?;
    }
    if stage.wants_any(&["growth_1m", "growth_1m_p99_ms"]) {
        let (scores, p99s) = compare(stage, &history.folder, &requests)?;
        stage.add("growth_1m", &scores.ratios(1, 0), scores.words(1, 0))?;
        stage.add("growth_1m_p99_ms", &p99s[1], "")?;
    }
    let large = [
        "growth_5m",
        "growth_0_p99_ms",
        "growth_5m_p99_ms",
        "timeline_ms_5m",
        "projector_vs_single",
        "bytes_event_all",
    ];
    if !stage.wants_any(&large) {
        return Ok(());
    }
    history.grow(stage, scale.large_log)?;
    if stage.wants("timeline_ms_5m") {
        let users: Vec<_> = (1..=READERS).map(|n| user((2 * n + 1) * 997)).collect();
        let times_ms = pages::profiles(stage, &history.folder, &users)?;
        stage.add(
            "timeline_ms_5m",
            &times_ms,
            "profile pages of ordinary users, first byte",
        )?;
    }
    stage.add(
        "bytes_event_all",
        &history.bytes,
        "row, index and projections",
    )?;
    let (scores, p99s) = compare(stage, &history.folder, &requests)?;
    stage.add("growth_5m", &scores.ratios(1, 0), scores.words(1, 0))?;
    stage.add("growth_0_p99_ms", &p99s[0], "")?;
    stage.add("growth_5m_p99_ms", &p99s[1], "")?;
    let single = crate::report::median(scores.of(0));
    let ratios: Vec<_> = history.rates.iter().map(|rate| rate / single).collect();
    let of = format!(
        "{:.0} / {single:.0} a second",
        crate::report::median(&history.rates)
    );
    stage.add("projector_vs_single", &ratios, of)
}

impl History {
    /// Writes to the log until it has `events`, and lets the projector follow.
    fn grow(&mut self, stage: &mut Stage, events: u64) -> anyhow::Result<()> {
        let bytes_before = self.folder.bytes()?;
        let missing = events - self.events;
        self.folder.write(Writing {
            events: missing,
            to_first_user: TO_FIRST_USER,
            ..Writing::default()
        })?;
        self.events = events;
        let bytes_log = self.folder.bytes()?;
        let (projected, time) = self.folder.project(&stage.binary, stage.scale.catch_up)?;
        self.rates.push(projected as f64 / time.as_secs_f64());
        self.bytes.push(
            (bytes_log - bytes_before) / missing as f64
                + (self.folder.bytes()? - bytes_log) / projected as f64,
        );
        if projected < missing {
            // What follows is measured all the same, with shorter histories than it should be.
            println!(
                "  the projector followed {projected} of {missing} events in {:.0} s",
                time.as_secs_f64()
            );
            self.folder.skip_projecting()?;
        }
        Ok(())
    }
}

/// Ingest at an empty log (0) and at this one (1), round by round, and the p99 of each.
fn compare(
    stage: &mut Stage,
    folder: &Folder,
    requests: &Prepared,
) -> anyhow::Result<(Scores, [Vec<f64>; 2])> {
    let seeded = stage.seeded()?;
    // The seeded folder has a workspace of its own, with another key.
    let seeded_requests = stage.prepare("growth-empty", &jimo_of_all(&seeded.tenant().key))?;
    let (binary, seconds) = (stage.binary.clone(), stage.scale.run_s);
    let p99s = RefCell::new([Vec::new(), Vec::new()]);
    let mut contenders: Vec<Contender<'_>> = vec![
        Box::new(|| {
            let run = run_box(&seeded.copy()?, &binary, &seeded_requests, 64, seconds)?;
            p99s.borrow_mut()[0].push(run.answered.p99_ms);
            Ok(run.answered.rate)
        }),
        Box::new(|| {
            let run = run_box(folder, &binary, requests, 64, seconds)?;
            // A copy would take longer than the run, so it goes on where the last one ended.
            folder.skip_projecting()?;
            p99s.borrow_mut()[1].push(run.answered.p99_ms);
            Ok(run.answered.rate)
        }),
    ];
    let scores = stage.contest(stage.scale.rounds.min(3), &mut contenders)?;
    drop(contenders);
    Ok((scores, p99s.into_inner()))
}
