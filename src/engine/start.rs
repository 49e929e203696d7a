//! From a folder to a vault: read the header, unseal, serve.

use std::sync::Arc;

use super::{Engine, Note, credential::change};
use crate::{
    audit::log::Log,
    clock::{Clock, TimeSource},
    crypto::{entropy::Entropy, keyring::Keyring, root::RootKey},
    domain::{
        configuration::Configuration,
        error::{Code, Error, Result},
        event::{EventName, Object},
        id::WorkspaceId,
        policy::NamedPolicies,
        time::Timestamp,
        token::SigningKeys,
    },
    store::{
        codec, key,
        local::Backend,
        port::{AuditLog, Scan, Store},
        sled::Sled,
    },
    tables::{self, Header, Unseal},
};

/// A data folder that was opened: empty, or a vault that is still sealed.
pub enum Opened {
    Empty(NewVault),
    Sealed(Unlocked),
}

/// An empty store.
pub struct NewVault(Sled);

/// A sealed vault and how it wants to be unsealed.
pub struct Unlocked {
    sled: Sled,
    header: Header,
}

/// An unsealed vault that does not serve.
pub struct Closed {
    pub sled: Sled,
    pub keyring: Arc<Keyring>,
    pub clock: Arc<Clock>,
    /// The clock's mark, where one was written.
    pub mark: Option<Timestamp>,
}

impl Opened {
    /// Looks at what an open store holds.
    pub fn read(sled: Sled) -> Result<Self> {
        match sled.read(&key::header())? {
            Some(header) => {
                let header = codec::decode(&header).map_err(|error| {
                    Error::storage(format!("the vault's header cannot be read: {error}"))
                        .caused_by(error)
                })?;
                Ok(Self::Sealed(Unlocked { sled, header }))
            }
            None if sled.is_empty() => Ok(Self::Empty(NewVault(sled))),
            None => Err(Error::storage(
                "the data folder holds records and no vault header: it is an incomplete copy; restore it from a backup",
            )),
        }
    }
}

impl NewVault {
    /// Makes the store a vault under this root key.
    pub fn initialise(
        self,
        root: &RootKey,
        unseal: Unseal,
        entropy: Arc<dyn Entropy>,
        time: &dyn TimeSource,
    ) -> Result<Unlocked> {
        let keyring = Keyring::new(root, entropy)?;
        let wall = u64::try_from(time.wall_micros() / 1_000).unwrap_or(0);
        let created_at = crate::domain::time::Timestamp::from_millis(wall);
        let header = Header {
            created_at,
            unseal,
            check: keyring.seal_check()?,
        };
        self.0
            .write_first(tables::first_writes(&header, &keyring)?)?;
        Ok(Unlocked {
            sled: self.0,
            header,
        })
    }
}

impl Unlocked {
    /// How the root key is had.
    pub fn unseal(&self) -> &Unseal {
        &self.header.unseal
    }

    /// Unseals and serves. Fails on a wrong root key before anything is written.
    pub async fn serve(
        self,
        root: &RootKey,
        entropy: Arc<dyn Entropy>,
        time: Arc<dyn TimeSource>,
        policies: NamedPolicies,
    ) -> Result<Engine> {
        let unsealed = Unsealed::read(&self.sled, &self.header, root, entropy, time)?;
        unsealed
            .serve(|log| Ok(Arc::new(self.sled.serve(log)?)), policies)
            .await
    }

    /// Unseals and does not serve: nothing is written.
    pub fn unlock(
        self,
        root: &RootKey,
        entropy: Arc<dyn Entropy>,
        time: Arc<dyn TimeSource>,
    ) -> Result<Closed> {
        let (keyring, mark) = open_keys(&self.sled, &self.header, root, entropy)?;
        Ok(Closed {
            sled: self.sled,
            keyring,
            clock: Arc::new(Clock::new(time, mark)),
            mark,
        })
    }
}

impl Closed {
    /// The store over the vault's engine, with its log.
    pub fn serve(self) -> Result<Arc<dyn Store>> {
        let log = log_of(&self.sled, &self.keyring, &self.clock)?;
        Ok(Arc::new(self.sled.serve(Box::new(log))?))
    }
}

/// A vault whose keys are open, over records that nothing serves yet: the part of a start that is the same for
/// every storage engine.
pub struct Unsealed {
    keyring: Arc<Keyring>,
    clock: Arc<Clock>,
    log: Log,
    by: &'static str,
}

impl Unsealed {
    /// Opens the keys, and finds the clock's mark and the end of the log. Writes nothing; fails on a wrong root
    /// key.
    pub fn read(
        records: &impl Backend,
        header: &Header,
        root: &RootKey,
        entropy: Arc<dyn Entropy>,
        time: Arc<dyn TimeSource>,
    ) -> Result<Self> {
        let (keyring, mark) = open_keys(records, header, root, entropy)?;
        let clock = Arc::new(Clock::new(time, mark));
        Ok(Self {
            log: log_of(records, &keyring, &clock)?,
            keyring,
            clock,
            by: match header.unseal {
                Unseal::KeyFile => "key_file",
                Unseal::Passphrase(_) => "passphrase",
            },
        })
    }

    /// Every key of the vault.
    pub fn keyring(&self) -> &Arc<Keyring> {
        &self.keyring
    }

    /// The vault's time.
    pub fn clock(&self) -> &Arc<Clock> {
        &self.clock
    }

    /// The vault over the store that `store` makes with this log, once its start is recorded.
    pub async fn serve(
        self,
        store: impl FnOnce(Box<dyn AuditLog>) -> Result<Arc<dyn Store>>,
        policies: NamedPolicies,
    ) -> Result<Engine> {
        let store = store(Box::new(self.log))?;
        let engine = Engine::new(store, self.keyring, self.clock, policies);
        engine.load_policy_sets().await?;
        engine.start(self.by).await?;
        Ok(engine)
    }
}

/// Every key of the vault, and the clock's mark. Fails on a wrong root key.
fn open_keys(
    records: &impl Backend,
    header: &Header,
    root: &RootKey,
    entropy: Arc<dyn Entropy>,
) -> Result<(Arc<Keyring>, Option<Timestamp>)> {
    let keyring = Arc::new(Keyring::new(root, entropy)?);
    if !keyring.opens_check(&header.check) {
        return Err(Error::new(
            Code::Sealed,
            "the root key is not the one that this vault was made with",
        ));
    }
    let mut pairs = Vec::new();
    let mut scan = key::keks();
    loop {
        let page = records.scan(&scan, scan.limit)?;
        let Some((last, _)) = page.last() else { break };
        scan = scan.after(last);
        pairs.extend(page);
    }
    tables::load_keys(&keyring, &pairs)?;
    let system = keyring.workspace(WorkspaceId::SYSTEM)?;
    let mark = records.get(&key::clock())?;
    let high_water = mark
        .map(|sealed| tables::high_water(&system, &sealed))
        .transpose()?;
    Ok((keyring, high_water))
}

/// The log, behind its last block.
fn log_of(records: &impl Backend, keyring: &Arc<Keyring>, clock: &Arc<Clock>) -> Result<Log> {
    let newest = Scan {
        reverse: true,
        limit: 1,
        ..key::audits(0)
    };
    let last = records.scan(&newest, newest.limit)?.pop();
    let last = last.as_ref().map(|(at, block)| (at.as_slice(), &**block));
    Log::after(keyring.clone(), clock.clone(), last)
}

fn vault_note(event: EventName, name: &str) -> Note {
    Note::new(
        event,
        Object {
            name: Some(name.to_owned()),
            ..Object::default()
        },
    )
}

impl Engine {
    /// Records the start, and how the root key was had. A vault that has no key to sign tokens with gets its first one.
    async fn start(&self, unsealed_by: &str) -> Result<()> {
        let lock = key::signing_keys_lock();
        let mut unit = self
            .begin_own("vault", WorkspaceId::SYSTEM, &[lock])
            .await?;
        if unit.tables.signing_keys(&mut unit.txn).await?.is_none() {
            let first = SigningKeys::first(unit.now);
            unit.tables.put_signing_keys(&mut *unit.txn, &first)?;
        }
        unit.record(Note {
            changes: vec![change("unsealed_by", None, Some(unsealed_by.to_owned()))],
            ..Note::new(EventName::VaultUnsealed, Object::default())
        })?;
        unit.record(vault_note(
            EventName::VaultStarted,
            env!("CARGO_PKG_VERSION"),
        ))?;
        unit.commit().await
    }

    /// Records what of the configuration is not as at the last start.
    pub async fn note_configuration(&self, now: Configuration) -> Result<()> {
        let lock = key::configuration_lock();
        let mut unit = self
            .begin_own("vault", WorkspaceId::SYSTEM, &[lock])
            .await?;
        let last = unit.tables.configuration(&mut unit.txn).await?;
        let changes = last.unwrap_or_default().changes(&now);
        if changes.is_empty() {
            return Ok(());
        }
        unit.tables.put_configuration(&mut *unit.txn, &now)?;
        unit.record(Note {
            changes,
            ..Note::new(EventName::VaultConfigured, Object::default())
        })?;
        unit.commit().await
    }

    /// Records something about the vault itself.
    async fn note(&self, event: EventName, name: &str) -> Result<()> {
        let mut unit = self.begin_own("vault", WorkspaceId::SYSTEM, &[]).await?;
        unit.record(vault_note(event, name))?;
        unit.commit().await
    }

    /// Records that the vault was made.
    pub async fn note_initialised(&self) -> Result<()> {
        self.note(EventName::VaultInitialised, env!("CARGO_PKG_VERSION"))
            .await
    }

    /// Records that the vault was made of a backup of that time.
    pub async fn note_restored(&self, backup: Timestamp) -> Result<()> {
        self.note(EventName::VaultRestored, &backup.to_string())
            .await
    }

    /// Writes down the last uses, records the end, seals what is left, waits for what is queued, and closes the store.
    pub async fn shut_down(&self) -> Result<()> {
        if let Err(error) = self.write_uses(true).await {
            tracing::warn!(%error, "the last uses of keys could not be written down");
        }
        self.finish_requests().await;
        if let Err(error) = self.record_strangers().await {
            tracing::warn!(%error, "failed authentications could not be recorded");
        }
        let noted = self
            .note(EventName::VaultStopped, env!("CARGO_PKG_VERSION"))
            .await;
        self.seal_last().await;
        let closed = self.store.close().await;
        noted.and(closed)
    }
}
