//! A start: what the disk really holds is read, judged, and carried over, before anything is built upon it.
//!
//! A sync that fails is told once, and Linux then takes what it should have written for written: the pages stay in
//! memory, where every reader finds them, and are on no disk. So after any session that was not closed in order the
//! system's memory of the engine's files is dropped first, and all groups that the journal still holds are carried
//! over again, whatever the tree says. That changes nothing where they are there.

use std::{
    error::Error as StdError,
    fs::{self, File},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    time::{Duration, Instant},
};

use super::{
    checkpoint::Core,
    folder,
    journal::Journal,
    mark::{Before, Mark},
    tree::Tree,
};
use crate::{
    domain::error::{Error, Result},
    store::overlay::WriteSet,
};

/// How long sled may go on holding its log file: after an engine was closed in this very process, sled's
/// threads let go of the file a moment later.
const RELEASED_WITHIN: Duration = Duration::from_secs(5);
/// Keys of the journal that are carried over at once: bounds memory.
const REPLAYED_AT_ONCE: usize = 16 * 1024;
/// sled's log file in its folder.
const LOG_FILE: &str = "db";
/// sled's settings beside it.
const SETTINGS_FILE: &str = "conf";

/// Opens the journal and the tree of a data folder that is held alone, and brings the tree up to the journal.
pub(super) fn open(data_dir: &Path, engine: &Path, cache_bytes: u64) -> Result<Core> {
    let unusable = |error: io::Error| folder::unusable(data_dir, &error);
    let before = Before::read(data_dir).map_err(unusable)?;
    let journal = Journal::open(data_dir).map_err(unusable)?;
    clear_first_start(data_dir, engine, &journal, before)?;
    // First of all: if the sync that follows fails, the next start must know.
    before.take_into_use(data_dir).map_err(unusable)?;
    let log_path = engine.join(LOG_FILE);
    // What a killed process left to the system is built upon from here on: sled's snapshot says where in the
    // log things are, and the journal begins anew. sled syncs it only where its last segment is not full.
    let settled = match File::open(&log_path) {
        Ok(log) => journal
            .files()
            .chain([&log])
            .try_for_each(|file| settle(file, before)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    };
    settled.map_err(unusable)?;
    let db = open_tree(data_dir, engine, cache_bytes)?;
    let log_file = File::options()
        .read(true)
        .write(true)
        .open(&log_path)
        .map_err(unusable)?;
    let tree = Tree::new(db, log_file);
    folder::keep_private(engine).map_err(unusable)?;
    let core = recover(data_dir, tree, journal, before)?;
    // The names of new files are durable only once their folders are: the journal's and the mark's too.
    for path in [engine, data_dir] {
        File::open(path)
            .and_then(|folder| folder.sync_all())
            .map_err(unusable)?;
    }
    Ok(core)
}

/// Writes what waits in the system's memory, and where it may not be what the disk holds, forgets it.
fn settle(file: &File, before: Before) -> io::Result<()> {
    file.sync_data()?;
    if !before.is_closed() {
        // INVARIANT (ack-durable): advice alone, which file systems without a disk need not take.
        let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed);
    }
    Ok(())
}

/// sled makes its settings first and its log after them, and the mark comes last. Settings alone are a first start
/// that was cut short where nothing else was ever written; else the log is missing, and this must not become new.
fn clear_first_start(
    data_dir: &Path,
    engine: &Path,
    journal: &Journal,
    before: Before,
) -> Result<()> {
    let settings = engine.join(SETTINGS_FILE);
    if !settings.exists() || engine.join(LOG_FILE).exists() {
        return Ok(());
    }
    let rows = journal.rows().map_err(|error| told(data_dir, error))?;
    if before != Before::Missing || !rows.is_empty() {
        return Err(damaged(
            data_dir,
            &format!("`{}/{LOG_FILE}` is missing", super::ENGINE_FOLDER),
        ));
    }
    fs::remove_file(settings).map_err(|error| folder::unusable(data_dir, &error))
}

fn open_tree(data_dir: &Path, engine: &Path, cache_bytes: u64) -> Result<sled::Db> {
    let config = sled::Config::new()
        .path(engine)
        .mode(sled::Mode::HighThroughput)
        .cache_capacity(cache_bytes)
        .flush_every_ms(None);
    let asked = Instant::now();
    loop {
        match catch_unwind(AssertUnwindSafe(|| config.open())) {
            Ok(Ok(db)) => return Ok(db),
            Ok(Err(error)) if still_locked(&error) => {
                if asked.elapsed() > RELEASED_WITHIN {
                    return Err(folder::in_use(data_dir, ""));
                }
                std::thread::sleep(RELEASED_WITHIN / 500);
            }
            Ok(Err(error)) => {
                return Err(match told_by_system(&error) {
                    Some(error) => folder::unusable(data_dir, error),
                    None => damaged(data_dir, &error.to_string()),
                });
            }
            Err(_) => return Err(damaged(data_dir, "the storage engine gave up reading it")),
        }
    }
}

/// Whether sled's own lock is held, though the data folder's is ours.
fn still_locked(error: &sled::Error) -> bool {
    matches!(error, sled::Error::Io(error) if error.to_string().starts_with("could not acquire lock"))
}

/// Brings the tree up to what the journal holds, where nothing that was acknowledged is missing.
fn recover(data_dir: &Path, tree: Tree, mut journal: Journal, before: Before) -> Result<Core> {
    let told = |error: Error| told(data_dir, error);
    let applied = tree.group().map_err(told)?;
    let rows = journal.rows().map_err(told)?;
    let from = match before.is_closed() {
        true => applied,
        false => rows.before_all_up_to(applied),
    };
    let reach = rows.reach(from);
    if before == Before::Missing && reach == 0 && !rows.is_empty() {
        return Err(Error::storage(format!(
            "the data folder `{}` is incomplete: its journal begins in the middle; restore the folder from a backup",
            data_dir.display()
        )));
    }
    let mark = Mark::open(data_dir, before, reach)?;
    if reach > from {
        let mut changes = WriteSet::new();
        journal
            .replay(from, |group, some| {
                changes.extend(some);
                if changes.len() < REPLAYED_AT_ONCE && group < reach {
                    return Ok(());
                }
                tree.apply(&std::mem::take(&mut changes), group, || ())?;
                tree.sync()
            })
            .map_err(told)?;
        tracing::info!(
            groups = reach - from,
            "groups of the journal were carried over"
        );
    }
    journal.begin(reach);
    Ok(Core::new(tree, journal, mark))
}

/// What is said of a folder that could not be read: that it is damaged, or that the system would not let it be used.
fn told(data_dir: &Path, error: Error) -> Error {
    match told_by_system(&error) {
        Some(error) => folder::unusable(data_dir, error),
        None => Error::storage(format!(
            "the data folder `{}` is damaged and cannot be read; restore it from a backup",
            data_dir.display()
        ))
        .caused_by(error),
    }
}

fn damaged(data_dir: &Path, what: &str) -> Error {
    Error::storage(format!(
        "the data folder `{}` is damaged or incomplete: {what}; restore it from a backup",
        data_dir.display()
    ))
}

/// The system's own error, where one is the cause: a full disk and one that fails are no damage. sled also dresses
/// torn segments and short files as such errors, of kinds that it makes up.
fn told_by_system<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a io::Error> {
    use io::ErrorKind::{InvalidData, InvalidInput, Other, UnexpectedEof};
    let mut next = Some(error);
    while let Some(error) = next {
        let io = match error.downcast_ref::<sled::Error>() {
            Some(sled::Error::Io(error)) => Some(error),
            _ => error.downcast_ref::<io::Error>(),
        };
        let by_system = |error: &&io::Error| {
            let made_up = matches!(
                error.kind(),
                InvalidData | InvalidInput | Other | UnexpectedEof
            );
            error.raw_os_error().is_some() || !made_up
        };
        if let Some(error) = io.filter(by_system) {
            return Some(error);
        }
        next = error.source();
    }
    None
}
