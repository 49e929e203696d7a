//! Power cuts: what was written and not synced is gone, or half there. What was acknowledged is there.
//!
//! The vault runs over the shim, which records what it writes and syncs. At many moments the book is looked at and
//! the disk of that moment is built, without what was not synced or with some of it, and a vault is held to the book
//! on it.

use std::{path::Path, time::Duration};

use super::{
    again::{Keys, callers, dev, start_and_kill},
    book::{Book, STARTED},
    dice::{Dice, amount},
    disk::{Fate, Remains},
    history::compare,
    kit::now_millis,
    shim::{Shim, Sync, Word},
    traffic::{Habits, Traffic, furnish},
};
use crate::support::{TempDir, Vault, signal};

/// Cuts in one run of the vault.
const CUTS_A_RUN: u64 = 4;
/// Runs on one data folder, before the next one begins with a new folder.
const RUNS_A_FOLDER: u64 = 12;
/// Every sync takes so long, in microseconds: a disk that is not fast, so that much is in flight at any moment.
const SYNC_TAKES: i64 = 2000;

/// A vault with its credentials, stopped in good order.
pub async fn made(data_dir: &Path) -> (Keys, Book) {
    let vault = Vault::started_by(dev(data_dir), data_dir.to_owned());
    let keys = Keys::of(&vault);
    let mut book = Book::of_new_vault();
    furnish(&callers(&vault).1, &mut book).await;
    assert_eq!(vault.stop().0, Some(0));
    book.own_records += 1;
    (keys, book)
}

/// A moment in a run: what the clients knew then, and how far the recording had got.
struct Moment {
    book: Book,
    at: u64,
}

/// Lets clients work on a vault over the shim and looks at so many moments; then kills it.
async fn run(
    vault: Vault,
    shim: &Shim,
    mut book: Book,
    looks: u64,
    dice: &mut Dice,
) -> Vec<Moment> {
    book.own_records += STARTED;
    let habits = Habits {
        short_leases: dice.once_in(4),
        ..Habits::default()
    };
    let (agent, admin) = callers(&vault);
    let traffic = Traffic::start(&agent, &admin, book, dice, habits);
    let mut moments = Vec::new();
    for _ in 0..looks {
        traffic.worked(5, Duration::from_millis(150), dice).await;
        // No entry between the two: what is acknowledged here is in the recording by then.
        moments.push(traffic.look(|book| {
            let at = shim.moment();
            let settled_at = if habits.short_leases {
                now_millis() + 2_000
            } else {
                0
            };
            let book = Book {
                settled_at,
                ..book.clone()
            };
            Moment { book, at }
        }));
    }
    signal(vault.pid(), "KILL");
    drop(traffic.ended().await);
    moments
}

/// Holds a vault on this folder to the book.
pub async fn hold(keys: &Keys, folder: &Path, book: &mut Book) -> Vault {
    let vault = keys.open(folder);
    book.own_records += STARTED;
    let (agent, admin) = callers(&vault);
    compare(&agent, &admin, book).await;
    let log = vault.log();
    assert!(!log.contains("panicked at"), "{log}");
    vault
}

// INVARIANT (ack-durable) INVARIANT (ack-audited) INVARIANT (lease-cap) INVARIANT (retire-on-last-close)
#[tokio::test]
async fn nothing_acknowledged_is_lost_by_power_cuts() {
    let mut dice = Dice::seeded();
    let (mut cuts, wanted, mut acknowledged) = (0, amount(12, 1000), 0);
    while cuts < wanted {
        let folder = TempDir::new();
        let mut data_dir = folder.path().join("data");
        let (keys, mut book) = made(&data_dir).await;
        for turn in 0..RUNS_A_FOLDER {
            let shim = Shim::over(&data_dir, Sync::Recorded);
            shim.set(Word::SyncDelay, SYNC_TAKES);
            let vault = keys.open_by(shim.load(dev(&data_dir)), &data_dir);
            let moments = run(vault, &shim, book, CUTS_A_RUN, &mut dice).await;
            let mut last = None;
            for (at, mut moment) in moments.into_iter().enumerate() {
                let fate = Fate::AFTER_CUT[dice.roll(3) as usize];
                let left = folder.path().join(format!("left-{turn}-{at}"));
                shim.cut(moment.at, fate, &mut dice, &left);
                println!("cut {cuts}: {fate:?} at {}", moment.at);
                acknowledged += moment.book.acknowledged.len();
                if dice.once_in(3) {
                    cut_again(&left, &mut moment.book, &mut dice);
                }
                let vault = hold(&keys, &left, &mut moment.book).await;
                assert_eq!(vault.stop().0, Some(0));
                moment.book.own_records += 1;
                cuts += 1;
                last = Some((left, moment.book));
            }
            // The next run goes on from what the last cut left.
            (data_dir, book) = last.unwrap();
            if cuts >= wanted {
                break;
            }
        }
    }
    assert!(acknowledged as u64 > wanted, "{acknowledged}");
}

/// Starts a vault on what a cut has left, and cuts the power again while it opens or recovers.
fn cut_again(left: &Path, book: &mut Book, dice: &mut Dice) {
    let shim = Shim::over(left, Sync::Recorded);
    shim.set(Word::SyncDelay, SYNC_TAKES);
    let after = Duration::from_micros(dice.roll(150_000));
    start_and_kill(shim.load(dev(left)), after);
    let fate = Fate::AFTER_CUT[dice.roll(3) as usize];
    println!("and again after {after:?}: {fate:?}");
    shim.cut(shim.moment(), fate, dice, left);
    book.own_records_in_doubt += STARTED;
}

/// The recording is the folder: nothing that the vault writes passes the shim by.
#[tokio::test]
async fn the_shim_sees_every_write() {
    let mut dice = Dice::seeded();
    let folder = TempDir::new();
    let data_dir = folder.path().join("data");
    // From the very beginning, in order that files are made.
    let shim = Shim::over(&data_dir, Sync::Real);
    let vault = Vault::started_by(shim.load(dev(&data_dir)), data_dir.clone());
    let keys = Keys::of(&vault);
    let mut book = Book::of_new_vault();
    let (agent, admin) = callers(&vault);
    furnish(&admin, &mut book).await;
    let traffic = Traffic::start(&agent, &admin, book, &mut dice, Habits::default());
    traffic
        .worked(50, Duration::from_millis(100), &mut dice)
        .await;
    signal(vault.pid(), "TERM");
    let mut book = traffic.ended().await;
    assert_eq!(vault.stop().0, Some(0));
    book.own_records += 1;

    let disk = shim.disk_at(shim.moment());
    let kept = disk.after_cut(Fate::Kept, &mut dice);
    let real = Remains::of(&data_dir);
    assert_eq!(kept.lengths(), real.lengths());
    assert!(kept == real, "the recording and the folder differ");
    assert!(disk.syncs > 10, "{} syncs", disk.syncs);
    // And what is durable of it is a vault that knows everything.
    let left = folder.path().join("left");
    disk.after_cut(Fate::Dropped, &mut dice).write(&left);
    hold(&keys, &left, &mut book).await;
}

/// The comparison is worth something: without syncs it finds what is lost.
#[tokio::test]
async fn without_fdatasync_the_loss_is_found() {
    let mut dice = Dice::seeded();
    let folder = TempDir::new();
    let data_dir = folder.path().join("data");
    let (keys, book) = made(&data_dir).await;
    let shim = Shim::over(&data_dir, Sync::TakenOut);
    let vault = keys.open_by(shim.load(dev(&data_dir)), &data_dir);
    let moment = run(vault, &shim, book, 2, &mut dice).await.pop().unwrap();
    assert!(!moment.book.acknowledged.is_empty());
    assert!(shim.get(Word::Syncs) > 0, "nobody asked for a sync");

    for (fate, found) in [(Fate::Dropped, true), (Fate::Kept, false)] {
        let left = folder.path().join(format!("left-{fate:?}"));
        shim.cut(moment.at, fate, &mut dice, &left);
        let (keys, mut book) = (keys.clone(), moment.book.clone());
        let held = tokio::spawn(async move { drop(hold(&keys, &left, &mut book).await) }).await;
        assert_eq!(held.is_err(), found, "{fate:?}: {held:?}");
        if let Err(panicked) = held {
            let what = panicked.into_panic();
            let what = what.downcast_ref::<String>().unwrap();
            assert!(
                what.contains("acknowledged and is lost") || what.contains("lost acknowledged"),
                "found something else: {what}"
            );
        }
    }
}
