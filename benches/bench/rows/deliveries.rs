//! What leaves: how fast a backlog is delivered, how fast events go all the way from a request to a
//! recorded attempt, and how long one takes when there are few. The way of an event is measured in one
//! workspace with one webhook, and in 32 of each: every index that begins with a workspace or a webhook
//! has one right edge for each of them, and a commit writes a page at every edge that it touches.

use super::Section;
use crate::boxes::{Folder, Writing};
use crate::child::{Served, program};
use crate::file::{Look, Watch};
use crate::load::Prepared;
use crate::pace::{Pace, percentile_ms};
use crate::stage::{Contender, Stage, against};
use crate::traffic::{self, Request};
use anyhow::Context as _;
use std::cell::{Cell, RefCell};
use std::path::Path;
use std::time::{Duration, Instant};

/// Workspaces, each with a webhook on an address of its own, where there are many.
const MANY: u8 = 32;
/// Distinct requests, divided between the workspaces.
const REQUESTS: u64 = 16_000;
/// As many connections as the box has attempts on their way at most.
const SINK_CONNECTIONS: u32 = 256;
const LOOK: Duration = Duration::from_millis(20);
/// A box that is still delivering after this time is measured by what it has delivered.
const PATIENCE: Duration = Duration::from_secs(8);
/// After its start a box is left alone for this long before its memory is looked at.
const SETTLING: Duration = Duration::from_millis(500);

pub(super) const SECTION: Section = Section {
    name: "deliveries",
    rows: &[
        "delivery_vs_sink",
        "path_vs_noop",
        "path_32_vs_noop",
        "rss_idle_mb",
        "rss_load_mb",
        "bytes_event_delivered",
    ],
    run,
};

pub(super) const LATENCY: Section = Section {
    name: "latency",
    rows: &[
        "path_p50_ms_200",
        "path_p99_ms_200",
        "path_p50_ms_600",
        "path_p99_ms_600",
        "path_p50_ms_half",
        "path_p99_ms_half",
    ],
    run: run_latency,
};

/// What is measured on the way of events in one workspace.
const PATH: [&str; 4] = [
    "path_vs_noop",
    "rss_idle_mb",
    "rss_load_mb",
    "bytes_event_delivered",
];

fn run(stage: &mut Stage) -> anyhow::Result<()> {
    if stage.wants("delivery_vs_sink") {
        run_backlog(stage)?;
    }
    run_path(stage)
}

fn run_backlog(stage: &mut Stage) -> anyhow::Result<()> {
    let sink = Served::start(&mut program("--sink")?)?;
    let folder = Folder::sending(stage.root(), &sink, MANY)?;
    folder.write(Writing {
        events: stage.scale.backlog,
        owed: true,
        ..Writing::default()
    })?;
    folder.retire_projector()?;
    // About what a delivery's head and body are together, so that the sink reads as much.
    let like_a_delivery = Request {
        path: "/",
        key: "x".repeat(200),
        body: folder.look()?.longest_message()?,
    };
    let requests = stage.prepare("sink", &[like_a_delivery])?;
    let (binary, seconds) = (stage.binary.clone(), stage.scale.run_s);
    let mut contenders: Vec<Contender<'_>> = vec![
        against(&sink, &requests, SINK_CONNECTIONS, seconds),
        Box::new(|| deliver_all(&folder.copy()?, &binary)),
    ];
    let scores = stage.contest(stage.scale.rounds.min(3), &mut contenders)?;
    drop(contenders);
    stage.add("delivery_vs_sink", &scores.ratios(1, 0), scores.words(1, 0))
}

/// Starts a box that owes a backlog; the deliveries a second that it makes and records.
fn deliver_all(folder: &Folder, binary: &Path) -> anyhow::Result<f64> {
    let look = folder.look()?;
    let _served = folder.serve(binary)?;
    let began = Instant::now();
    wait_until_delivered(&look, began)?;
    let took = began.elapsed();
    let rate = look.attempts()? as f64 / took.as_secs_f64();
    check_attempts(&look)?;
    Ok(rate)
}

fn wait_until_delivered(look: &Look, began: Instant) -> anyhow::Result<()> {
    while look.is_owed()? && began.elapsed() < PATIENCE {
        std::thread::sleep(LOOK);
    }
    Ok(())
}

fn check_attempts(look: &Look) -> anyhow::Result<()> {
    let failed = look.failed_attempts()?;
    anyhow::ensure!(failed == 0, "{failed} attempts failed");
    Ok(())
}

/// What the runs of the whole path leave behind besides their rates.
#[derive(Debug, Default)]
struct Marks {
    idle_mb: Vec<f64>,
    load_mb: Vec<f64>,
    bytes: Vec<f64>,
    wal_bytes: u64,
}

fn run_path(stage: &mut Stage) -> anyhow::Result<()> {
    let sink = Served::start(&mut program("--sink")?)?;
    let mut marks = Marks::default();
    if stage.wants_any(&PATH) {
        race(stage, &sink, 1, "path_vs_noop", &mut marks)?;
        stage.add("rss_idle_mb", &marks.idle_mb, "after the start")?;
        stage.add(
            "rss_load_mb",
            &marks.load_mb,
            "the most, taking in, projecting and delivering",
        )?;
        if !marks.bytes.is_empty() {
            let of = "with its projections, message, delivery and attempt";
            stage.add("bytes_event_delivered", &marks.bytes, of)?;
        }
    }
    if stage.wants("path_32_vs_noop") {
        race(stage, &sink, MANY, "path_32_vs_noop", &mut marks)?;
    }
    stage.note_wal(marks.wal_bytes);
    Ok(())
}

/// The whole way of events in a number of workspaces against the no-op handler.
fn race(
    stage: &mut Stage,
    sink: &Served,
    workspaces: u8,
    row: &str,
    marks: &mut Marks,
) -> anyhow::Result<()> {
    let folder = Folder::sending(stage.root(), sink, workspaces)?;
    let list = traffic::jimo(&folder.keys(), REQUESTS);
    let requests = stage.prepare(row, &list)?;
    let own_key: Vec<_> = list
        .iter()
        .filter(|request| request.key == folder.tenant().key)
        .cloned()
        .collect();
    let noop_requests = stage.prepare("path-noop", &own_key)?;
    let noop = stage.noop(&folder.tenant().key)?;
    let (binary, seconds) = (stage.binary.clone(), stage.scale.run_s);
    let met = RefCell::new(marks);
    let mut contenders: Vec<Contender<'_>> = vec![
        against(&noop, &noop_requests, 64, seconds),
        Box::new(|| {
            let folder = folder.copy()?;
            go_the_way(&folder, &binary, &requests, seconds, &mut met.borrow_mut())
        }),
    ];
    let rounds = if workspaces == 1 { 3 } else { 2 };
    let scores = stage.contest(stage.scale.rounds.min(rounds), &mut contenders)?;
    drop(contenders);
    stage.add(row, &scores.ratios(1, 0), scores.words(1, 0))
}

/// Takes events in for a time and waits until all of them are delivered: events that went all the
/// way, by the time that this took from the first request on.
fn go_the_way(
    folder: &Folder,
    binary: &Path,
    requests: &Prepared,
    seconds: u64,
    marks: &mut Marks,
) -> anyhow::Result<f64> {
    let bytes_before = folder.bytes()?;
    let look = folder.look()?;
    let served = folder.serve(binary)?;
    std::thread::sleep(SETTLING);
    marks.idle_mb.push(served.memory_mb("VmRSS")?);
    let watch = Watch::begin(folder.path())?;
    let began = Instant::now();
    requests.wrk(&served.url, 64, seconds)?;
    wait_until_delivered(&look, began)?;
    let took = began.elapsed();
    let attempts = look.attempts()?;
    let rate = attempts as f64 / took.as_secs_f64();
    marks.load_mb.push(served.memory_mb("VmHWM")?);
    check_attempts(&look)?;
    while look.lag_ms()? > 0 && began.elapsed() < PATIENCE {
        std::thread::sleep(LOOK);
    }
    let is_finished = !look.is_owed()? && look.lag_ms()? == 0;
    drop(served);
    marks.wal_bytes = marks.wal_bytes.max(watch.end()?.wal_bytes);
    drop(look);
    // Of a box that has not finished, what an event takes cannot be said.
    if is_finished {
        marks
            .bytes
            .push((folder.bytes()? - bytes_before) / attempts as f64);
    }
    Ok(rate)
}

fn run_latency(stage: &mut Stage) -> anyhow::Result<()> {
    let sink = Served::start(program("--sink")?.arg("timed"))?;
    let folder = Folder::sending(stage.root(), &sink, 1)?;
    let list = traffic::jimo_timed(&folder.keys(), REQUESTS);
    let requests = stage.prepare("timed", &list)?;
    let (binary, scale) = (stage.binary.clone(), stage.scale);
    let mut rates = vec![("200", 200.0), ("600", 600.0)];
    if stage.wants_any(&["path_p50_ms_half", "path_p99_ms_half"]) {
        let max = stage.machine.undisturbed(|| {
            go_the_way(
                &folder.copy()?,
                &binary,
                &requests,
                scale.run_s,
                &mut Marks::default(),
            )
        })?;
        rates.push(("half", max / 2.0));
    }
    for (name, rate) in rates {
        let (p50, p99) = (format!("path_p50_ms_{name}"), format!("path_p99_ms_{name}"));
        if !stage.wants_any(&[&p50, &p99]) {
            continue;
        }
        let times = Cell::new((f64::NAN, f64::NAN));
        let mut contender: [Contender<'_>; 1] = [Box::new(|| {
            let folder = folder.copy()?;
            times.set(latency(
                &folder,
                &binary,
                &sink,
                &list,
                rate,
                scale.latency,
            )?);
            Ok(times.get().0)
        })];
        let (mut p50s, mut p99s) = (Vec::new(), Vec::new());
        for _ in 0..scale.rounds.min(3) {
            stage.contest(1, &mut contender)?;
            p50s.push(times.get().0);
            p99s.push(times.get().1);
        }
        let of = format!("at {rate:.0} a second");
        stage.add(&p50, &p50s, of.clone())?;
        stage.add(&p99, &p99s, of)?;
    }
    Ok(())
}

/// How long events take from their sender to the receiver of the webhook, at a rate: p50 and p99.
fn latency(
    folder: &Folder,
    binary: &Path,
    sink: &Served,
    requests: &[Request],
    rate: f64,
    duration: Duration,
) -> anyhow::Result<(f64, f64)> {
    let look = folder.look()?;
    let served = folder.serve(binary)?;
    // The first requests find cold connections, and are forgotten.
    for part in [duration / 4, duration] {
        taken_times(sink)?;
        let began = Instant::now();
        let pace = Pace::begin(served.authority(), requests, rate)?;
        std::thread::sleep(part);
        let paced = pace.end()?;
        anyhow::ensure!(
            paced.refused == 0,
            "{} requests were refused",
            paced.refused
        );
        wait_until_delivered(&look, began)?;
    }
    let mut times_us = taken_times(sink)?;
    anyhow::ensure!(!times_us.is_empty(), "nothing arrived");
    check_attempts(&look)?;
    Ok((
        percentile_ms(&mut times_us, 0.5),
        percentile_ms(&mut times_us, 0.99),
    ))
}

/// The times that the sink has noted since it was asked last.
fn taken_times(sink: &Served) -> anyhow::Result<Vec<u64>> {
    let text = reqwest::blocking::get(&sink.url)?.text()?;
    let numbers: Result<_, _> = text.split_whitespace().map(str::parse).collect();
    numbers.context("the sink's times")
}
