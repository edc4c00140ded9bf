//! Guessing is slow here (promise 24): how many passwords are checked at once, and how long one
//! waits after too many wrong ones. Knows no request and no table; the clock is an argument.

use crate::error::{Error, Kind, Result};
use crate::password;
use actix_web::web;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use tokio::sync::Semaphore;

/// Password checks that run at once; each takes 19 MiB and a core.
const CHECKS_AT_ONCE: usize = 2;
/// Failures are counted over this long.
const WINDOW_MS: i64 = 15 * 60 * 1_000;
/// Failures of one account that cost nothing.
const FREE_ACCOUNT_FAILURES: u32 = 10;
/// Failures from one address that cost nothing.
const FREE_ADDRESS_FAILURES: u32 = 50;
/// The first delay; each further failure doubles it.
const FIRST_DELAY_MS: i64 = 1_000;
/// No delay is longer, so that nobody can lock another out for good.
const LONGEST_DELAY_MS: i64 = WINDOW_MS;
/// Before any time that requests carry, so that two of them at once never wait for each other.
const NO_WAIT: i64 = 0;
/// No email has more characters.
const MAX_EMAIL_CHARS: usize = 254;
/// Accounts and addresses that are remembered.
const MAX_REMEMBERED: usize = 10_000;
/// What an unknown email is checked against, so that it takes as long as a known one (promise 25).
const NOBODYS_HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$cGlsbGFyYm94LW5vYm9keQ$\
    KkmVmYrJ0mF3b0QKzqzq3L0kRk1mYz0r5bG4k6r3m9A";

/// What failures are counted for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Guesser {
    /// An email, known or not.
    Account(String),
    /// A peer address.
    Address(IpAddr),
}

/// Whom a try at `email`'s password is counted for; an email is cut at the length that none has.
pub(super) fn guessers(email: &str, address: Option<IpAddr>) -> Vec<Guesser> {
    let account = Guesser::Account(email.chars().take(MAX_EMAIL_CHARS).collect());
    let address = address.map(Guesser::Address);
    [account].into_iter().chain(address).collect()
}

impl Guesser {
    fn free_failures(&self) -> u32 {
        match self {
            Self::Account(_) => FREE_ACCOUNT_FAILURES,
            Self::Address(_) => FREE_ADDRESS_FAILURES,
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    first_at_ms: i64,
    wait_until_ms: i64,
}

/// Slows down guessing. One for the whole app, shared by its workers.
#[derive(Debug)]
pub struct Gate {
    checks: Semaphore,
    failures: Mutex<HashMap<Guesser, Failures>>,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            checks: Semaphore::new(CHECKS_AT_ONCE),
            failures: Mutex::default(),
        }
    }
}

impl Gate {
    /// Counts a try before it is judged, so that many at once are counted too. What turns out right
    /// is forgiven.
    ///
    /// # Errors
    /// [`Kind::TooMany`] with the seconds to wait, when there were too many wrong ones.
    pub(super) fn admit(&self, guessers: &[Guesser], now_ms: i64) -> Result<(), TooMany> {
        let mut failures = self.lock();
        let wait_ms = guessers
            .iter()
            .filter_map(|guesser| failures.get(guesser))
            .map(|known| known.wait_until_ms - now_ms)
            .max()
            .unwrap_or(0)
            // A clock that was set back must not make a delay longer than any delay is.
            .min(LONGEST_DELAY_MS);
        if wait_ms > 0 {
            return Err(TooMany {
                retry_after_s: wait_ms.div_ceil_s(),
            });
        }
        for guesser in guessers {
            if failures.len() >= MAX_REMEMBERED && !failures.contains_key(guesser) {
                make_room(&mut failures, now_ms);
            }
            let known = failures.entry(guesser.clone()).or_insert(Failures {
                count: 0,
                first_at_ms: now_ms,
                wait_until_ms: NO_WAIT,
            });
            if now_ms - known.first_at_ms.max(known.wait_until_ms) >= WINDOW_MS {
                (known.count, known.first_at_ms) = (0, now_ms);
            }
            known.count = known.count.saturating_add(1);
            known.wait_until_ms = match delay_ms(known.count, guesser.free_failures()) {
                0 => NO_WAIT,
                delay_ms => now_ms + delay_ms,
            };
        }
        Ok(())
    }

    /// Takes a try back: it was right. The account starts afresh, the address loses one failure.
    pub(super) fn forgive(&self, guessers: &[Guesser]) {
        let mut failures = self.lock();
        for guesser in guessers {
            match guesser {
                Guesser::Account(_) => {
                    failures.remove(guesser);
                }
                Guesser::Address(_) => {
                    if let Some(known) = failures.get_mut(guesser) {
                        known.count = known.count.saturating_sub(1);
                        known.wait_until_ms = NO_WAIT;
                    }
                }
            }
        }
    }

    /// Whether `password` is the one behind `hash`; without a hash it takes as long and is wrong.
    ///
    /// # Errors
    /// When the app stops.
    pub(super) async fn verify(&self, password: String, hash: Option<String>) -> Result<bool> {
        let _permit = self.checks.acquire().await.map_err(Error::internal)?;
        web::block(move || {
            let is_right = password::verify(&password, hash.as_deref().unwrap_or(NOBODYS_HASH));
            is_right && hash.is_some()
        })
        .await
        .map_err(Error::internal)
    }

    /// Hashes a new password, under the same bound.
    ///
    /// # Errors
    /// When the system has no randomness to give.
    pub(super) async fn hash(&self, password: String) -> Result<String> {
        let _permit = self.checks.acquire().await.map_err(Error::internal)?;
        web::block(move || password::hash(&password))
            .await
            .map_err(Error::internal)?
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Guesser, Failures>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Too many wrong tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooMany {
    /// Seconds after which another try is judged.
    pub(super) retry_after_s: i64,
}

impl From<TooMany> for Error {
    fn from(too_many: TooMany) -> Self {
        let message = format!(
            "There were too many wrong tries. Wait {} s and try again.",
            too_many.retry_after_s
        );
        Self::new(Kind::TooMany, "too_many_tries", message)
    }
}

trait DivCeilSeconds {
    fn div_ceil_s(self) -> i64;
}

impl DivCeilSeconds for i64 {
    fn div_ceil_s(self) -> i64 {
        (self + 999) / 1_000
    }
}

fn delay_ms(failures: u32, free: u32) -> i64 {
    match failures.checked_sub(free + 1) {
        None => 0,
        Some(doublings) => FIRST_DELAY_MS
            .checked_shl(doublings)
            .filter(|delay| (1..LONGEST_DELAY_MS).contains(delay))
            .unwrap_or(LONGEST_DELAY_MS),
    }
}

/// Forgets what is over, and if that is not enough, whoever has the fewest failures: to be
/// remembered is what slows a guesser down.
fn make_room(failures: &mut HashMap<Guesser, Failures>, now_ms: i64) {
    failures.retain(|_, known| now_ms - known.first_at_ms.max(known.wait_until_ms) < WINDOW_MS);
    if failures.len() >= MAX_REMEMBERED
        && let Some(fewest) = failures
            .iter()
            .min_by_key(|(_, known)| known.count)
            .map(|(guesser, _)| guesser.clone())
    {
        failures.remove(&fewest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(name: &str) -> [Guesser; 1] {
        [Guesser::Account(name.to_owned())]
    }

    #[test]
    fn the_delay_doubles_and_ends() {
        let gate = Gate::default();
        for _ in 0..11 {
            assert_eq!(gate.admit(&account("a"), 0), Ok(()));
        }
        assert_eq!(
            gate.admit(&account("a"), 0),
            Err(TooMany { retry_after_s: 1 })
        );
        assert_eq!(gate.admit(&account("b"), 0), Ok(()));
        assert_eq!(gate.admit(&account("a"), 1_000), Ok(()));
        assert_eq!(
            gate.admit(&account("a"), 1_500),
            Err(TooMany { retry_after_s: 2 })
        );
        gate.forgive(&account("a"));
        assert_eq!(gate.admit(&account("a"), 1_500), Ok(()));
    }

    #[test]
    fn an_address_may_fail_more_often_than_an_account() {
        let gate = Gate::default();
        let address = [Guesser::Address([127, 0, 0, 1].into())];
        for _ in 0..51 {
            assert_eq!(gate.admit(&address, 0), Ok(()));
        }
        assert!(gate.admit(&address, 0).is_err());
        assert_eq!(delay_ms(u32::MAX, 50), LONGEST_DELAY_MS);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let gate = Gate::default();
        for i in 0..MAX_REMEMBERED + 100 {
            let _ = gate.admit(&account(&i.to_string()), 0);
        }
        assert!(gate.lock().len() <= MAX_REMEMBERED);
    }

    #[test]
    fn nobodys_hash_is_a_hash() {
        use argon2::password_hash::phc::PasswordHash;
        let parsed = PasswordHash::new(NOBODYS_HASH).unwrap();
        assert!(parsed.hash.is_some());
    }
}
