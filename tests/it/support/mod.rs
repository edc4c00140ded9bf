//! What every test stands on: a box in a folder of its own, a recording receiver, a signed-in
//! visitor, counts from the file, and waiting with a deadline instead of sleeping.

pub(crate) mod data;
pub(crate) mod gzip;
pub(crate) mod load;
pub(crate) mod owing;
pub(crate) mod page;
mod problem;
pub(crate) mod receiver;
pub(crate) mod sending;
pub(crate) mod server;
pub(crate) mod tls;

pub(crate) use data::{Data, Tenant};
pub(crate) use page::Visitor;
pub(crate) use problem::Problem;
pub(crate) use receiver::{Answer, Receiver};
pub(crate) use sending::Sending;
pub(crate) use server::{Options, Server};

use std::time::{Duration, Instant};

/// How long [`wait_until`] waits.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);
const POLL_EVERY: Duration = Duration::from_millis(10);

/// Asks `probe` until it has an answer; fails after [`DEADLINE`], saying what it waited for.
#[track_caller]
pub(crate) fn wait_until<T>(what: &str, probe: impl FnMut() -> Option<T>) -> T {
    wait_at_most(DEADLINE, what, probe)
}

/// [`wait_until`] with a deadline of its own.
#[track_caller]
pub(crate) fn wait_at_most<T>(
    deadline: Duration,
    what: &str,
    mut probe: impl FnMut() -> Option<T>,
) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(
            started.elapsed() < deadline,
            "gave up after {deadline:?} waiting for: {what}"
        );
        std::thread::sleep(POLL_EVERY);
    }
}

/// Waits until `probe` says `wanted`; the failure says what it last was.
#[track_caller]
pub(crate) fn wait_for_value<T: PartialEq + std::fmt::Debug>(
    what: &str,
    wanted: &T,
    mut probe: impl FnMut() -> T,
) {
    let started = Instant::now();
    loop {
        let found = probe();
        if found == *wanted {
            return;
        }
        assert!(
            started.elapsed() < DEADLINE,
            "gave up after {DEADLINE:?} waiting for {what} to be {wanted:?}; it is {found:?}"
        );
        std::thread::sleep(POLL_EVERY);
    }
}

/// Dice whose seed is printed; `PILLARBOX_TEST_SEED` throws the same ones again.
pub(crate) fn dice(test: &str) -> fastrand::Rng {
    let seed = std::env::var("PILLARBOX_TEST_SEED")
        .ok()
        .map_or_else(|| fastrand::u64(..), |text| text.parse().unwrap());
    println!("{test}: seed {seed}; run again with PILLARBOX_TEST_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}

/// How many times a test kills the box; `PILLARBOX_TEST_KILLS` makes a soak of it.
pub(crate) fn kills() -> usize {
    std::env::var("PILLARBOX_TEST_KILLS")
        .ok()
        .map_or(10, |text| text.parse().unwrap())
}

/// How many times a test sends one event; `PILLARBOX_TEST_DUPLICATES` makes a soak of it.
pub(crate) fn duplicates() -> usize {
    std::env::var("PILLARBOX_TEST_DUPLICATES")
        .ok()
        .map_or(1_000, |text| text.parse().unwrap())
}
