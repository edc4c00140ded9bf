//! `make bench`: starts what it compares, loads each in turn on a quiet machine, and prints ratios
//! beside their targets. Absolute numbers move with the machine, so only ratios of one run are
//! compared. docs/performance.md has the method and what each row means.

mod boxes;
mod child;
mod file;
mod load;
mod machine;
mod naive;
mod noop;
mod options;
mod pace;
mod raw;
mod report;
mod rows;
mod sink;
mod stage;
mod traffic;

use options::Options;
use stage::Stage;
use std::time::Instant;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some((name, rest)) = arguments.split_first()
        && child::is_program(name)
    {
        return child::run(name, rest);
    }
    let options = Options::read(&arguments)?;
    let started = Instant::now();
    let mut stage = Stage::set(options)?;
    println!("{}", stage.machine);
    let mut failures = Vec::new();
    for section in rows::SECTIONS {
        if !stage.wants_any(section.rows) {
            continue;
        }
        let began = Instant::now();
        if let Err(e) = (section.run)(&mut stage) {
            failures.push(format!("{}: {e:#}", section.rows.join(", ")));
        }
        println!(
            "{} took {:.0} s",
            section.name,
            began.elapsed().as_secs_f64()
        );
    }
    stage.finish(started.elapsed())?;
    anyhow::ensure!(
        failures.is_empty(),
        "not measured:\n{}",
        failures.join("\n")
    );
    Ok(())
}
