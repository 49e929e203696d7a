//! kill -9 in the middle of everything; what was acknowledged is there, and nothing else but what was asked for.

use std::time::{Duration, Instant};

use super::{
    again::{Keys, callers, dev, start_and_kill},
    book::{Book, STARTED},
    dice::{Dice, amount},
    history::compare,
    kit::run,
    traffic::{Habits, Traffic, furnish},
};
use crate::support::{TempDir, Vault, leasehold, signal};

/// Rounds on one data folder, before the next one begins with a new folder.
const ROUNDS_A_FOLDER: u64 = 50;
/// The longest that clients are let to work before a kill, in microseconds.
const LONGEST_WORK: u64 = 400_000;

/// What happened in all rounds together, so that a run that proved nothing fails.
#[derive(Debug, Default)]
struct Tally {
    rounds: u64,
    acknowledged: usize,
    in_doubt: usize,
    killed_while_opening: u64,
    leases: u64,
    rotations: u64,
    expired: u64,
}

/// Some rounds of killing and comparing on one data folder.
async fn rounds(count: u64, dice: &mut Dice, tally: &mut Tally) {
    let folder = TempDir::new();
    let data_dir = folder.path().join("data");
    let mut vault = Vault::started_by(dev(&data_dir), data_dir.clone());
    let keys = Keys::of(&vault);
    let mut book = Book::of_new_vault();
    furnish(&callers(&vault).1, &mut book).await;
    let mut opening = Duration::from_millis(100);
    for _ in 0..count {
        let habits = Habits {
            short_leases: dice.once_in(3),
            ..Habits::default()
        };
        let (agent, admin) = callers(&vault);
        let traffic = Traffic::start(&agent, &admin, book, dice, habits);
        // Now and then long enough for short leases to end meanwhile.
        let work = dice.roll(LONGEST_WORK) + u64::from(dice.once_in(6)) * 1_000_000;
        tokio::time::sleep(Duration::from_micros(work)).await;
        signal(vault.pid(), "KILL");
        tally.acknowledged += traffic.done();
        book = traffic.ended().await;
        // Waits for the process, so that its lock is gone.
        drop(vault);
        tally.in_doubt += in_doubt(&book);
        if dice.once_in(2) {
            if habits.short_leases && dice.once_in(2) {
                // All of them are due by the next start.
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            for _ in 0..=dice.roll(3) {
                let most = opening.as_micros() as u64 * 5 / 4;
                start_and_kill(dev(&data_dir), Duration::from_micros(dice.roll(most)));
                book.own_records_in_doubt += STARTED;
                tally.killed_while_opening += 1;
            }
        }
        let begun = Instant::now();
        vault = keys.open(&data_dir);
        opening = begun.elapsed();
        book.own_records += STARTED;
        let (agent, admin) = callers(&vault);
        compare(&agent, &admin, &mut book).await;
        let log = vault.log();
        assert!(!log.contains("panicked at"), "{log}");
        tally.rounds += 1;
    }
    let (leases, rotations) = book.totals();
    tally.leases += leases;
    tally.rotations += rotations;
    let expired = book.leases.values();
    tally.expired += expired
        .filter(|lease| lease.ended == Some("expired"))
        .count() as u64;
    // It closes in good order too.
    assert_eq!(vault.stop().0, Some(0));
}

/// Requests that were cut off.
fn in_doubt(book: &Book) -> usize {
    let leases = book.leases.values().map(|lease| {
        usize::from(lease.release_asked && lease.ended.is_none())
            + usize::from(lease.renewals_asked > lease.renewals)
            + usize::from(lease.redeems_asked > lease.redeems)
    });
    let credentials = book
        .credentials
        .values()
        .map(|facts| facts.grants_asked + usize::from(facts.rotation_asked.is_some()));
    leases.sum::<usize>() + credentials.sum::<usize>()
}

// INVARIANT (ack-durable) INVARIANT (ack-audited) INVARIANT (lease-cap) INVARIANT (retire-on-last-close)
#[tokio::test]
async fn nothing_acknowledged_is_lost_by_kill_9() {
    let mut dice = Dice::seeded();
    let mut tally = Tally::default();
    let wanted = amount(12, 1000);
    while tally.rounds < wanted {
        let here = ROUNDS_A_FOLDER.min(wanted - tally.rounds);
        rounds(here, &mut dice, &mut tally).await;
        println!("{tally:?}");
    }
    assert!(tally.acknowledged as u64 > wanted, "{tally:?}");
    assert!(tally.in_doubt as u64 > wanted / 2, "{tally:?}");
    assert!(tally.leases + tally.rotations > wanted, "{tally:?}");
    if wanted >= 100 {
        assert!(tally.killed_while_opening > wanted / 4, "{tally:?}");
        assert!(tally.expired > wanted / 4, "{tally:?}");
    }
}

/// A vault that was killed while it was made can be made again in the same folder, or says what is the matter.
#[tokio::test]
async fn a_first_start_that_was_killed_leaves_no_riddle() {
    let mut dice = Dice::seeded();
    let begun = Instant::now();
    let whole = TempDir::new();
    let first = Vault::started_by(dev(whole.path()), whole.path().to_owned());
    let opening = begun.elapsed().as_micros() as u64;
    drop(first);
    for _ in 0..amount(6, 100) {
        let folder = TempDir::new();
        let data_dir = folder.path().join("data");
        start_and_kill(dev(&data_dir), Duration::from_micros(dice.roll(opening)));
        let vault = Vault::started_by(dev(&data_dir), data_dir.clone());
        let log = vault.log();
        assert!(!log.contains("panicked at"), "{log}");
        assert_eq!(vault.stop().0, Some(0));
        // Nor does it hold up the command that makes a vault for good: it says that there is one.
        let init = run(leasehold()
            .args(["init", "--key-file"])
            .arg(folder.path().join("other.key"))
            .arg("--data-dir")
            .arg(&data_dir));
        init.refused(&["holds a vault already"]);
    }
}
