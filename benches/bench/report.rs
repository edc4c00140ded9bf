//! The rows: their names, units and targets, the table that is printed, and `target/bench.json`.

use super::machine::Machine;
use std::path::Path;
use std::time::Duration;

/// What a row shall hold to.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target {
    /// A floor.
    AtLeast(f64),
    /// A ceiling.
    AtMost(f64),
    /// Printed to be looked at.
    None,
}

/// A row that can be measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    /// Its name in the table, in the file and in `ROWS`.
    pub(crate) name: &'static str,
    /// What it counts.
    pub(crate) unit: &'static str,
    /// What it shall hold to.
    pub(crate) target: Target,
}

const fn at_least(name: &'static str, unit: &'static str, target: f64) -> Row {
    Row {
        name,
        unit,
        target: Target::AtLeast(target),
    }
}

const fn at_most(name: &'static str, unit: &'static str, target: f64) -> Row {
    Row {
        name,
        unit,
        target: Target::AtMost(target),
    }
}

const fn shown(name: &'static str, unit: &'static str) -> Row {
    Row {
        name,
        unit,
        target: Target::None,
    }
}

/// Every row, in the order of the table; docs/performance.md says what each means.
pub(crate) const ROWS: &[Row] = &[
    at_least("single_64", "of no-op", 0.40),
    at_least("single_256", "of no-op", 0.50),
    at_least("single_vs_naive", "of naive", 7.0),
    shown("single_64_p99_ms", "ms"),
    at_most("single_64_lag_ms", "ms", 1_000.0),
    at_least("bulk_vs_raw", "of raw loop", 0.80),
    at_least("keyed_vs_unkeyed", "of unkeyed", 0.85),
    at_most("bytes_event_log", "bytes", 200.0),
    at_most("bytes_event_all", "bytes", 450.0),
    shown("bytes_event_delivered", "bytes"),
    at_least("delivery_vs_sink", "of sink", 0.40),
    at_least("path_vs_noop", "of no-op", 0.22),
    shown("path_32_vs_noop", "of no-op"),
    shown("path_p50_ms_200", "ms"),
    shown("path_p99_ms_200", "ms"),
    at_most("path_p50_ms_600", "ms", 0.5),
    shown("path_p99_ms_600", "ms"),
    shown("path_p50_ms_half", "ms"),
    shown("path_p99_ms_half", "ms"),
    at_most("rss_idle_mb", "MB", 40.0),
    at_most("rss_load_mb", "MB", 400.0),
    at_least("sustained_vs_noop", "of no-op", 0.30),
    shown("sustained_lag_ms", "ms"),
    shown("sustained_p99_ms", "ms"),
    shown("growth_1m", "of empty"),
    at_least("growth_5m", "of empty", 0.90),
    shown("growth_0_p99_ms", "ms"),
    shown("growth_1m_p99_ms", "ms"),
    shown("growth_5m_p99_ms", "ms"),
    at_least("projector_vs_single", "of single", 1.0),
    at_most("timeline_ms_5m", "ms", 20.0),
    shown("page_events_first_idle_p50_ms", "ms"),
    shown("page_events_first_idle_p95_ms", "ms"),
    shown("page_events_first_load_p50_ms", "ms"),
    shown("page_events_first_load_p95_ms", "ms"),
    shown("page_events_1000_idle_p50_ms", "ms"),
    shown("page_events_1000_idle_p95_ms", "ms"),
    shown("page_events_1000_load_p50_ms", "ms"),
    shown("page_events_1000_load_p95_ms", "ms"),
    shown("page_deliveries_first_idle_p50_ms", "ms"),
    shown("page_deliveries_first_idle_p95_ms", "ms"),
    shown("page_deliveries_first_load_p50_ms", "ms"),
    shown("page_deliveries_first_load_p95_ms", "ms"),
    shown("page_deliveries_1000_idle_p50_ms", "ms"),
    shown("page_deliveries_1000_idle_p95_ms", "ms"),
    shown("page_deliveries_1000_load_p50_ms", "ms"),
    shown("page_deliveries_1000_load_p95_ms", "ms"),
    shown("page_profile_first_idle_p50_ms", "ms"),
    shown("page_profile_first_idle_p95_ms", "ms"),
    shown("page_profile_first_load_p50_ms", "ms"),
    shown("page_profile_first_load_p95_ms", "ms"),
    shown("page_profile_1000_idle_p50_ms", "ms"),
    shown("page_profile_1000_idle_p95_ms", "ms"),
    shown("page_profile_1000_load_p50_ms", "ms"),
    shown("page_profile_1000_load_p95_ms", "ms"),
    at_most("wal_mb", "MB", 64.0),
];

/// The row of that name.
pub(crate) fn row(name: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.name == name)
}

/// The names of all rows.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    ROWS.iter().map(|row| row.name)
}

#[derive(Debug)]
struct Measured {
    row: &'static Row,
    value: f64,
    min: f64,
    max: f64,
    /// What was divided by what, in words.
    of: String,
}

/// What was measured so far.
#[derive(Debug, Default)]
pub(crate) struct Report {
    measured: Vec<Measured>,
}

/// The value in the middle; of an even number, the mean of the two.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        len if len % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

impl Report {
    /// Notes what a row came to in each round, and prints it.
    pub(crate) fn add(&mut self, row: &'static Row, values: &[f64], of: String) {
        let measured = Measured {
            row,
            value: median(values),
            min: values.iter().copied().fold(f64::INFINITY, f64::min),
            max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            of,
        };
        println!("{}", measured.line());
        self.measured.push(measured);
    }

    /// Prints the table and writes the file.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn finish(
        &mut self,
        machine: &Machine,
        is_fast: bool,
        elapsed: Duration,
    ) -> anyhow::Result<()> {
        let place = |name| names().position(|known| known == name);
        self.measured
            .sort_by_key(|measured| place(measured.row.name));
        println!("\n{machine}");
        println!(
            "{:<34} {:>9} {:>21} {:>10}  unit",
            "row", "median", "least to most", "target"
        );
        for measured in &self.measured {
            println!("{}", measured.line());
        }
        let seconds = elapsed.as_secs_f64();
        println!("{seconds:.0} s; {}", machine.disturbances());
        let file = serde_json::json!({
            "fast": is_fast,
            "seconds": seconds,
            "machine": machine.json(),
            "rows": self.measured.iter().map(Measured::json).collect::<Vec<_>>(),
        });
        let target = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .parent()
            .map(Path::to_owned);
        let path = target.unwrap_or_default().join("bench.json");
        std::fs::write(&path, serde_json::to_string_pretty(&file)? + "\n")?;
        println!("{}", path.display());
        Ok(())
    }
}

impl Measured {
    fn line(&self) -> String {
        let (target, is_met) = match self.row.target {
            Target::AtLeast(target) => (format!(">= {target}"), self.value >= target),
            Target::AtMost(target) => (format!("<= {target}"), self.value <= target),
            Target::None => (String::new(), true),
        };
        format!(
            "{:<34} {:>9} {:>21} {target:>10}{} {:<11} {}",
            self.row.name,
            short(self.value),
            format!("{} to {}", short(self.min), short(self.max)),
            if is_met { ' ' } else { '!' },
            self.row.unit,
            self.of,
        )
        .trim_end()
        .to_owned()
    }

    fn json(&self) -> serde_json::Value {
        let (target, bound) = match self.row.target {
            Target::AtLeast(target) => (Some(target), Some("at least")),
            Target::AtMost(target) => (Some(target), Some("at most")),
            Target::None => (None, None),
        };
        serde_json::json!({
            "name": self.row.name, "ratio": self.value, "min": self.min, "max": self.max,
            "target": target, "bound": bound, "unit": self.row.unit, "of": self.of,
        })
    }
}

/// Three digits that say something.
fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}
