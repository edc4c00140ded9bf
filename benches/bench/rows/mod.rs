//! The sections of the benchmark: which rows each measures, in the order in which they run.

mod bulk;
mod deliveries;
mod growth;
mod pages;
mod single;
mod sustained;

use super::stage::Stage;

/// Rows that are measured together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Section {
    /// What it is called while it runs.
    pub(crate) name: &'static str,
    /// Its rows.
    pub(crate) rows: &'static [&'static str],
    /// Measures those that are asked for.
    pub(crate) run: fn(&mut Stage) -> anyhow::Result<()>,
}

/// All sections.
pub(crate) const SECTIONS: &[Section] = &[
    single::SECTION,
    bulk::SECTION,
    bulk::KEYED,
    deliveries::SECTION,
    deliveries::LATENCY,
    sustained::SECTION,
    growth::SECTION,
];
