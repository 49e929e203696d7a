//! A backup of the whole vault, made while it serves. It is written to the store's own disk first, so that a
//! slow reader holds nothing up, and recorded before its first byte is given out.

use std::{
    fs::File,
    io::{BufWriter, Seek, Write},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Call, Engine, Lasting, Note};
use crate::{
    archive::Summary,
    authz::{Action, Resource},
    backup::Sealer,
    domain::{
        error::{Error, Result},
        event::{Change, EventName, Object},
        time::Timestamp,
    },
    store::key,
};

/// A backup on the store's own disk, which nobody may have yet: see [`Engine::back_up`].
pub struct SpooledBackup {
    file: File,
    summary: Summary,
    created_at: Timestamp,
    turn: OwnedSemaphorePermit,
    lasting: Lasting,
}

/// A backup that was made, to be read from its beginning. The next one can be made when this is gone: each
/// takes as much disk as the vault.
pub struct BackupFile {
    pub file: File,
    pub bytes: u64,
    pub created_at: Timestamp,
    /// Who may have it.
    pub lasting: Lasting,
    _turn: OwnedSemaphorePermit,
}

/// The one place for a backup at a time.
pub(super) fn turns() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(1))
}

/// Tells the work on another thread that nobody waits for it any more.
struct GivenUp(Arc<AtomicBool>);

impl Drop for GivenUp {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

type Shared<T> = Arc<Mutex<Option<T>>>;

fn take<T>(shared: &Shared<T>) -> Result<T> {
    let mut held = shared.lock().unwrap_or_else(PoisonError::into_inner);
    held.take()
        .ok_or_else(|| Error::internal("a backup is finished already"))
}

impl Engine {
    /// Makes a backup of every workspace, for [`Self::back_up`]. Stops rather than take the disk's reserve.
    pub async fn spool_backup(&self, call: &Call) -> Result<SpooledBackup> {
        let (action, resource) = (Action::SystemBackup, Resource::Vault);
        self.authorize(call, action, resource.clone()).await?;
        let Ok(turn) = self.backups.clone().try_acquire_owned() else {
            return Err(Error::state(
                "another backup is being made or fetched; try again when it is done",
            ));
        };
        let lasting = Lasting::begin(call, action, resource);
        let created_at = self.now();
        let (file, summary) = self.spool(created_at).await?;
        Ok(SpooledBackup {
            file,
            summary,
            created_at,
            turn,
            lasting,
        })
    }

    /// Records the backup and gives it out, to its caller who was proven anew: making it took long.
    pub async fn back_up(&self, call: &Call, spooled: SpooledBackup) -> Result<BackupFile> {
        let SpooledBackup {
            file,
            summary,
            created_at,
            turn,
            lasting,
        } = spooled;
        let permit = self.permit_again(&lasting, call).await?;
        let mut unit = self.begin(call, &permit, &[]).await?;
        let fact = |field: &str, value: String| Change {
            field: field.into(),
            before: None,
            after: Some(value.into()),
        };
        unit.record(Note {
            changes: vec![
                fact("bytes", summary.bytes.to_string()),
                fact("sha256", summary.checksum.to_string()),
            ],
            ..Note::new(EventName::VaultBackedUp, Object::default())
        })?;
        unit.commit().await?;
        lasting.recorded();
        Ok(BackupFile {
            file,
            bytes: summary.bytes,
            created_at,
            lasting,
            _turn: turn,
        })
    }

    async fn spool(&self, created_at: Timestamp) -> Result<(File, Summary)> {
        let header = self.read().get(&key::header()).await?;
        let header = header.ok_or_else(|| Error::internal("the vault has no header"))?;
        let out = BufWriter::new(self.store.spool()?);
        let sealer = Sealer::new(out, &self.keyring, &header, created_at)?;
        let shared = Arc::new(Mutex::new(Some(sealer)));
        let given_up = GivenUp(Arc::default());
        let (into, nobody_waits, store) = (shared.clone(), given_up.0.clone(), self.store.clone());
        self.store
            .snapshot(Box::new(move |key, value| {
                if nobody_waits.load(Ordering::Relaxed) {
                    return Err(Error::internal("nobody waits for the backup any more"));
                }
                let mut sealer = into.lock().unwrap_or_else(PoisonError::into_inner);
                let sealer = sealer
                    .as_mut()
                    .ok_or_else(|| Error::internal("a backup is finished already"))?;
                if sealer.pair(key, value)? {
                    store.health().check()?;
                }
                Ok(())
            }))
            .await?;
        let finish = move || {
            let (out, summary) = take(&shared)?.finish()?;
            let unwritten =
                |error| Error::storage("the backup could not be written").caused_by(error);
            let mut file = out
                .into_inner()
                .map_err(|error| unwritten(error.into_error()))?;
            file.flush()
                .and_then(|()| file.rewind())
                .map_err(unwritten)?;
            Ok((file, summary))
        };
        tokio::task::spawn_blocking(finish)
            .await
            .map_err(|_| Error::internal("finishing a backup panicked"))?
    }
}
