//! Simulation: the real engine over the store in memory, in a world where every order of events, every fault and
//! every jump of the clock is decided by a seed. A model of the promises is fed by the log and held against what
//! a power cut would leave.
//!
//! `LEASEHOLD_SIM_SEEDS=5000` runs that many seeds, `LEASEHOLD_SIM_SEED=7` runs one and tells all that happened.

mod actions;
mod base;
mod clients;
mod dice;
mod ended;
mod events;
mod executor;
mod found;
mod gate;
mod inspect;
mod keepers;
mod model;
mod shared;
mod world;

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{available_parallelism, scope},
};

use gate::Planted;
use model::Broken;
use world::{Outcome, run};

/// Seeds that found something once: always run, and first. A change of the order of events makes them seeds like
/// others, so what they found is in [`found`] as well, where it can be told in a few steps.
const KEPT: &[u64] = &[
    89,  // a retry was answered before the first request was durable
    149, // a lease was shown while its credential was deleted: an internal error
    153, // a grant showed its value after the lease had ended
    973, // a lease was told to have ended by a time that a power cut took back
];

/// Seeds of the short form.
const SEEDS: u64 = 200;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} must be a number")),
    )
}

/// Runs a seed; tells its history where it failed, a panic in the vault included.
fn run_seed(seed: u64) -> Result<Outcome, String> {
    let again = format!("LEASEHOLD_SIM_SEED={seed} runs it again");
    let outcome = catch_unwind(AssertUnwindSafe(|| run(seed, None)));
    let outcome = outcome.map_err(|_| format!("seed {seed} panicked; {again}"))?;
    match &outcome.broken {
        None => Ok(outcome),
        Some(Broken { promise, how }) => {
            let history = outcome.history.join("\n");
            Err(format!(
                "{history}\nseed {seed} broke `{promise}`: {how}\n{again}"
            ))
        }
    }
}

/// Runs seeds on every processor there is, those that were kept first; gives back what happened in them.
fn run_seeds(seeds: u64) -> BTreeMap<String, u64> {
    let next = AtomicUsize::new(0);
    let all: Vec<u64> = KEPT.iter().copied().chain(0..seeds).collect();
    let seen = Mutex::new(BTreeMap::<String, u64>::new());
    let failed = Mutex::new(None);
    let work = || {
        while let Some(seed) = all.get(next.fetch_add(1, Ordering::SeqCst)) {
            match run_seed(*seed) {
                Ok(outcome) => {
                    let mut seen = seen.lock().unwrap();
                    for (what, times) in outcome.seen {
                        *seen.entry(what).or_default() += times;
                    }
                }
                Err(failure) => {
                    failed.lock().unwrap().get_or_insert(failure);
                    next.store(all.len(), Ordering::SeqCst);
                }
            }
        }
    };
    let workers = available_parallelism().map_or(1, |workers| workers.get());
    scope(|scope| (0..workers).for_each(|_| drop(scope.spawn(work))));
    if let Some(failure) = failed.into_inner().unwrap() {
        panic!("{failure}");
    }
    seen.into_inner().unwrap()
}

#[test]
fn every_promise_holds_in_every_seed() {
    if let Some(seed) = number("LEASEHOLD_SIM_SEED") {
        match run_seed(seed) {
            Ok(outcome) => println!("{}", outcome.history.join("\n")),
            Err(failure) => panic!("{failure}"),
        }
        return;
    }
    let seeds = number("LEASEHOLD_SIM_SEEDS").unwrap_or(SEEDS);
    let seen = run_seeds(seeds);
    println!("{seeds} seeds: {seen:#?}");
    if seeds >= SEEDS {
        let missing: Vec<_> = MUST_HAPPEN
            .iter()
            .filter(|what| !seen.contains_key(**what))
            .collect();
        assert!(missing.is_empty(), "never happened: {missing:?}");
    }
}

/// What a simulation that proves anything has seen.
const MUST_HAPPEN: &[&str] = &[
    "issue ok",
    "issue LEASE_LIMIT_REACHED",
    "issue IDEMPOTENCY_CONFLICT",
    "issue INVALID_STATE",
    "issue CREDENTIAL_REVOKED",
    "issue hung up",
    "Redeem ok",
    "Redeem LEASE_EXPIRED",
    "Redeem LEASE_RELEASED",
    "Redeem LEASE_REVOKED",
    "Redeem BUDGET_EXHAUSTED",
    "Redeem INSUFFICIENT_PERMISSIONS",
    "Renew ok",
    "Renew LEASE_EXPIRED",
    "Release ok",
    "Revoke ok",
    "Rotate ok",
    "RevokeVersion ok",
    "Delete ok",
    "Delete INVALID_STATE",
    "Policy ok",
    "State ok",
    "bulk-revoke ok",
    "forbidden INSUFFICIENT_PERMISSIONS",
    "foreign lease",
    "clock jump",
    "slow disk",
    "disk low",
    "fault Apply",
    "fault Torn",
    "fault Sync",
    "fault Unsaid",
    "power cut",
    "stop",
    "reaper",
    "sealer",
    "cascade under way",
];

#[test]
fn a_seed_runs_the_same_way_again() {
    for seed in 0..3 {
        // The reaper's rests are in real time: on a machine that stands still for long one may end within a run.
        let same = (0..5).any(|_| run(seed, None).history == run(seed, None).history);
        assert!(same, "seed {seed}");
    }
}

/// Runs seeds until one breaks the promise that the planted bug is about.
fn is_found(planted: Planted, promise: &str) {
    let mut others = Vec::new();
    for seed in 0..PLANTED_SEEDS {
        match run(seed, Some(planted)).broken {
            Some(broken) if broken.promise == promise => {
                println!(
                    "{planted:?}: seed {seed}: {}; before it: {others:?}",
                    broken.how
                );
                return;
            }
            Some(broken) => others.push(broken.promise),
            None => others.push("nothing"),
        }
    }
    panic!("{planted:?} was not found as `{promise}` in {PLANTED_SEEDS} seeds, but as {others:?}");
}

/// Seeds within which a planted bug must be found.
const PLANTED_SEEDS: u64 = 50;

// INVARIANT (lease-cap)
#[test]
fn a_dropped_counter_update_is_found() {
    is_found(Planted::CounterUpdateDropped, "lease-cap");
}

// INVARIANT (lease-cap)
#[test]
fn a_lock_released_early_is_found() {
    is_found(Planted::LocksReleasedEarly, "lease-cap");
}

// INVARIANT (ttl)
#[test]
fn a_skipped_expiry_check_is_found() {
    is_found(Planted::ExpiryCheckSkipped, "ttl");
}
