//! A damaged folder: an error in words or the right data; never a wrong value, a panic or a hang.

use std::{
    fs,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use super::{
    dice::{Dice, amount},
    kit::files,
    specimen::{Outcome, Specimen, specimen},
};

fn log_of(folder: &Path) -> PathBuf {
    folder.join("store").join("db")
}

/// Changes some bytes of a file, and says how.
fn change(file: &Path, dice: &mut Dice) -> String {
    let bytes = fs::read(file).unwrap();
    let writable = fs::File::options().write(true).open(file).unwrap();
    // Mostly where something is: sled's file has long empty stretches.
    let used: Vec<u64> = (0..bytes.len() as u64)
        .filter(|at| bytes[*at as usize] != 0)
        .collect();
    let place = |dice: &mut Dice| match used.len() as u64 {
        0 => dice.roll(bytes.len().max(1) as u64),
        _ if dice.once_in(8) => dice.roll(bytes.len() as u64),
        count => used[dice.roll(count) as usize],
    };
    let at = place(dice);
    let old = bytes.get(at as usize).copied().unwrap_or(0);
    let longest = if dice.once_in(4) { 8192 } else { 64 };
    let length = 1 + dice.roll(longest);
    let written = length.min((bytes.len() as u64).saturating_sub(at)) as usize;
    match dice.roll(10) {
        0..4 => {
            writable
                .write_all_at(&[old ^ 1 << dice.roll(8)], at)
                .unwrap();
            format!("a bit of byte {at}")
        }
        4..6 => {
            writable
                .write_all_at(&[old ^ (1 + dice.roll(255)) as u8], at)
                .unwrap();
            format!("byte {at}")
        }
        6 => {
            writable.write_all_at(&vec![0; written], at).unwrap();
            format!("{written} zeros at {at}")
        }
        7 => {
            let noise: Vec<u8> = (0..written).map(|_| dice.roll(256) as u8).collect();
            writable.write_all_at(&noise, at).unwrap();
            format!("{written} random bytes at {at}")
        }
        8 => {
            // As a block that went to another block's place.
            let from = place(dice) as usize;
            let moved = &bytes[from..bytes.len().min(from + written)];
            writable.write_all_at(moved, at).unwrap();
            format!("{} bytes from {from} to {at}", moved.len())
        }
        _ => {
            writable.set_len(at).unwrap();
            format!("cut to {at} bytes")
        }
    }
}

/// Damages many copies, each in one place of one file.
async fn damage(specimen: &Specimen, count: u64, dice: &mut Dice) {
    let mut outcome = Outcome::default();
    specimen.with("untouched", |_| {}, &mut outcome).await;
    assert_eq!((outcome.served, outcome.failed), (1, 0), "{outcome:?}");
    for sample in 0..count {
        let all = files(&specimen.vault.data_dir);
        let mut all: Vec<&Path> = all
            .iter()
            .map(|file| file.strip_prefix(&specimen.vault.data_dir).unwrap())
            .collect();
        all.sort_unstable();
        // Most of it is in the largest one.
        let largest = all.iter().max_by_key(|file| {
            fs::metadata(specimen.vault.data_dir.join(file))
                .unwrap()
                .len()
        });
        let file = match dice.roll(2) {
            0 => largest.unwrap(),
            _ => all[dice.roll(all.len() as u64) as usize],
        };
        let mut own = dice.split();
        let mut what = String::new();
        let before = specimen.vault.data_dir.join(file);
        {
            // Only to name it.
            let named = specimen.folder.join("named");
            fs::copy(&before, &named).unwrap();
            what.push_str(&change(&named, &mut own.clone()));
        }
        let what = format!("{sample}: {}: {what}", file.display());
        let damaged = |folder: &Path| drop(change(&folder.join(file), &mut own));
        specimen.with(&what, damaged, &mut outcome).await;
    }
    println!("{outcome:?}");
    assert_eq!((outcome.refused + outcome.served) as u64, count + 1);
    assert!(outcome.refused > 0, "{outcome:?}");
}

// INVARIANT (sealed-at-rest)
#[tokio::test]
async fn damage_to_a_stopped_vault_never_gives_a_wrong_answer() {
    damage(&specimen(false).await, amount(24, 600), &mut Dice::seeded()).await;
}

/// The next start must recover as well.
#[tokio::test]
async fn damage_to_a_killed_vault_never_gives_a_wrong_answer() {
    damage(&specimen(true).await, amount(16, 400), &mut Dice::seeded()).await;
}

/// sled takes a record that it cannot read for the torn end of its log and drops all that comes after it: the vault
/// then serves an older state as if nothing had happened.
#[tokio::test]
async fn a_log_that_lost_its_end_is_not_served_as_if_it_had_not() {
    let specimen = specimen(false).await;
    let whole = fs::metadata(log_of(&specimen.vault.data_dir))
        .unwrap()
        .len();
    for tenths in 1..10 {
        let mut outcome = Outcome::default();
        let cut = |folder: &Path| {
            let file = fs::File::options().write(true).open(log_of(folder));
            file.unwrap().set_len(whole * tenths / 10).unwrap();
        };
        let what = format!("{tenths} tenths");
        specimen.with(&what, cut, &mut outcome).await;
        assert_eq!(outcome.failed, 0, "{what} are served with losses");
    }
}

#[tokio::test]
async fn a_half_copied_folder_is_refused_or_right() {
    let specimen = specimen(false).await;
    let mut outcome = Outcome::default();
    specimen.with("untouched", |_| {}, &mut outcome).await;
    assert_eq!((outcome.served, outcome.failed), (1, 0));
    let remove = |name: &'static str| {
        move |folder: &Path| {
            let path = folder.join("store").join(name);
            assert!(path.exists(), "{}", path.display());
            fs::remove_file(path).unwrap();
        }
    };
    let whole = fs::metadata(log_of(&specimen.vault.data_dir))
        .unwrap()
        .len();
    let truncate = |length: u64| {
        move |folder: &Path| {
            let file = fs::File::options()
                .write(true)
                .open(log_of(folder))
                .unwrap();
            file.set_len(length).unwrap();
        }
    };
    let mut lost = Outcome::default();
    let nothing = |folder: &Path| fs::remove_dir_all(folder.join("store")).unwrap();
    specimen.with("no store", nothing, &mut lost).await;
    specimen.with("no db", remove("db"), &mut lost).await;
    specimen.with("empty db", truncate(0), &mut lost).await;
    assert_eq!((lost.refused, lost.served), (3, 0), "{lost:?}");

    let mut partly = Outcome::default();
    specimen.with("no conf", remove("conf"), &mut partly).await;
    let snapshots = |folder: &Path| {
        for entry in fs::read_dir(folder.join("store")).unwrap() {
            let path = entry.unwrap().path();
            if path
                .file_name()
                .unwrap()
                .to_string_lossy()
                .starts_with("snap.")
            {
                fs::remove_file(path).unwrap();
            }
        }
    };
    specimen.with("no snapshot", snapshots, &mut partly).await;
    for part in [1, 5, 9] {
        let length = whole * part / 10;
        specimen
            .with(
                &format!("{length} of {whole} bytes"),
                truncate(length),
                &mut partly,
            )
            .await;
    }
    specimen
        .with("one byte short", truncate(whole - 1), &mut partly)
        .await;
    let empty_conf = |folder: &Path| fs::write(folder.join("store").join("conf"), "").unwrap();
    specimen.with("empty conf", empty_conf, &mut partly).await;
    println!("{partly:?}");
    assert_eq!(partly.refused + partly.served, 7);
}
