//! The keys in use: those derived from the root, and the KEKs of each workspace.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use zeroize::Zeroizing;

use super::{
    aead::{Cipher, KeyBytes, NONCE_BYTES},
    backup::{BackupKey, SALT_BYTES},
    entropy::Entropy,
    envelope::{FORMAT, HEADER_BYTES, OpenError, RecordType, Slot, WRAPPED_BYTES, header},
    hourly::Hour,
    kdf::{Branch, Expander, Label, MacKey, from_root},
    recent::RecentCiphers,
    root::RootKey,
    sign::SigningKey,
    terms::TermKey,
};
use crate::domain::{
    credential::Fingerprint,
    error::{Error, Result},
    id::WorkspaceId,
    secret::SecretText,
};

/// Audit records that share a subkey: 2^20, far below the 2^32 messages a key may seal.
const AUDIT_EPOCH_BITS: u32 = 20;

/// What is sealed under the root key itself to prove it at the next start.
const CHECK: &[u8] = b"leasehold root key";

/// What an index key stands for.
#[derive(Debug, Clone, Copy)]
pub enum IndexOf {
    Workspace = 1,
    Identity = 2,
    Credential = 3,
    IdempotencyKey = 4,
    Assertion = 17,
    Hold = 32,
}

/// Every key of an unsealed vault. Lives as long as the process serves.
pub struct Keyring {
    kek_wrap: Cipher,
    check: Cipher,
    index: MacKey,
    pub(super) pepper: MacKey,
    fingerprint: MacKey,
    pub(super) idempotency: MacKey,
    backup: Expander,
    pub(super) tokens: Expander,
    audit_sign: SigningKey,
    terms: TermKey,
    workspaces: RwLock<HashMap<WorkspaceId, Arc<WorkspaceKeys>>>,
    recent: Arc<RecentCiphers>,
    hour: Arc<Hour>,
    entropy: Arc<dyn Entropy>,
}

impl Keyring {
    /// The keys derived from `root`; workspaces are added as their wrapped KEKs are read.
    pub fn new(root: &RootKey, entropy: Arc<dyn Entropy>) -> Result<Self> {
        let key = |label| from_root(root.bytes(), label);
        Ok(Self {
            kek_wrap: Cipher::new(&key(Label::KekWrap)?),
            check: Cipher::new(&key(Label::Check)?),
            index: MacKey::new(&key(Label::Index)?)?,
            pepper: MacKey::new(&key(Label::DigestPepper)?)?,
            fingerprint: MacKey::new(&key(Label::Fingerprint)?)?,
            idempotency: MacKey::new(&key(Label::Idempotency)?)?,
            backup: Expander::new(&key(Label::Backup)?)?,
            tokens: Expander::new(&key(Label::TokenSign)?)?,
            audit_sign: SigningKey::new(&key(Label::AuditSign)?)?,
            terms: TermKey::new(&key(Label::AuditIndex)?),
            workspaces: RwLock::default(),
            recent: Arc::default(),
            hour: Arc::default(),
            entropy,
        })
    }

    /// A ciphertext that only this root key opens.
    pub fn seal_check(&self) -> Result<Vec<u8>> {
        let mut sealed = vec![FORMAT];
        let slot = Slot {
            kind: RecordType::Check,
            id: &[],
            version: 0,
        };
        let nonce = self.entropy.bytes()?;
        self.check.seal_into(
            &mut sealed,
            &nonce,
            &slot.aad(WorkspaceId::SYSTEM, 0),
            CHECK,
        )?;
        Ok(sealed)
    }

    /// Whether `sealed` was made under this root key.
    pub fn opens_check(&self, sealed: &[u8]) -> bool {
        let slot = Slot {
            kind: RecordType::Check,
            id: &[],
            version: 0,
        };
        let Some((&FORMAT, body)) = sealed.split_first() else {
            return false;
        };
        self.check
            .open(&slot.aad(WorkspaceId::SYSTEM, 0), body)
            .is_ok_and(|plaintext| *plaintext == CHECK)
    }

    /// Makes a new KEK, number `number`, and gives it back wrapped, to be stored before it is used.
    pub fn new_kek(&self, workspace: WorkspaceId, number: u32) -> Result<Vec<u8>> {
        let mut kek: KeyBytes = Zeroizing::new([0; 32]);
        self.entropy.fill(&mut *kek)?;
        let slot = Slot {
            kind: RecordType::Kek,
            id: &[],
            version: number,
        };
        let mut wrapped = vec![FORMAT];
        self.kek_wrap.seal_into(
            &mut wrapped,
            &self.entropy.bytes()?,
            &slot.aad(workspace, number),
            &*kek,
        )?;
        Ok(wrapped)
    }

    /// Unwraps the KEKs of a workspace, by number, and keeps them for [`Keyring::workspace`]. The highest
    /// number seals; all of them open.
    pub fn unlock(
        &self,
        workspace: WorkspaceId,
        wrapped: &[(u32, Vec<u8>)],
    ) -> Result<Arc<WorkspaceKeys>> {
        let mut keks = Vec::with_capacity(wrapped.len());
        for (number, wrapped) in wrapped {
            let slot = Slot {
                kind: RecordType::Kek,
                id: &[],
                version: *number,
            };
            let (format, body) = wrapped
                .split_first()
                .ok_or_else(|| Error::internal(OpenError::Truncated(RecordType::Kek)))?;
            if *format != FORMAT {
                return Err(Error::internal(OpenError::UnknownFormat(
                    *format,
                    RecordType::Kek,
                )));
            }
            let plain = self
                .kek_wrap
                .open(&slot.aad(workspace, *number), body)
                .map_err(|_| Error::internal(OpenError::NotAuthentic(RecordType::Kek)))?;
            keks.push(Kek {
                number: *number,
                expander: Expander::new(&key_bytes(&plain)?)?,
            });
        }
        keks.sort_by_key(|kek| kek.number);
        if keks.is_empty() {
            return Err(Error::internal("a workspace has no key-encryption key"));
        }
        let keys = Arc::new(WorkspaceKeys {
            workspace,
            keks,
            audit: Mutex::new(None),
            recent: self.recent.clone(),
            hour: self.hour.clone(),
            entropy: self.entropy.clone(),
        });
        self.workspaces
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(workspace, keys.clone());
        Ok(keys)
    }

    /// The keys of a workspace that was unlocked.
    pub fn workspace(&self, workspace: WorkspaceId) -> Result<Arc<WorkspaceKeys>> {
        self.workspaces
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&workspace)
            .cloned()
            .ok_or_else(|| Error::internal("the keys of the workspace are not unlocked"))
    }

    /// The opaque index key of a name: equal names give equal keys, and nothing else can be told from them.
    pub fn index(&self, of: IndexOf, workspace: WorkspaceId, parts: &[&[u8]]) -> [u8; 32] {
        self.index.digest(workspace, of as u8, parts)
    }

    /// The fingerprint of a value, comparable within its workspace only.
    pub fn fingerprint(&self, workspace: WorkspaceId, value: &SecretText) -> Fingerprint {
        // The digest must see the value; half of it is kept, which is enough to compare by.
        let digest = self
            .fingerprint
            .digest(workspace, 0, &[value.expose().as_bytes()]);
        let mut half = [0; 16];
        half.iter_mut()
            .zip(digest)
            .for_each(|(half, byte)| *half = byte);
        Fingerprint(half)
    }

    /// The key of the backup with this salt, and with no other.
    pub fn backup(&self, salt: &[u8; SALT_BYTES]) -> Result<BackupKey> {
        BackupKey::new(&self.backup, salt, self.entropy.clone())
    }

    /// The key that signs what others are to believe about history.
    pub fn audit_key(&self) -> &SigningKey {
        &self.audit_sign
    }

    /// The key of the terms that history is searched by.
    pub fn terms(&self) -> &TermKey {
        &self.terms
    }

    /// The source of randomness that the keyring was made with.
    pub fn entropy(&self) -> &dyn Entropy {
        &*self.entropy
    }
}

struct Kek {
    number: u32,
    expander: Expander,
}

/// The keys of one workspace.
pub struct WorkspaceKeys {
    workspace: WorkspaceId,
    /// Ascending by number, never empty; the last one seals.
    keks: Vec<Kek>,
    /// The audit cipher used last: (key number, epoch, cipher).
    audit: Mutex<Option<(u32, u64, Arc<Cipher>)>>,
    recent: Arc<RecentCiphers>,
    pub(super) hour: Arc<Hour>,
    entropy: Arc<dyn Entropy>,
}

impl WorkspaceKeys {
    /// The workspace these keys belong to.
    pub fn workspace(&self) -> WorkspaceId {
        self.workspace
    }

    fn newest(&self) -> Result<&Kek> {
        self.keks
            .last()
            .ok_or_else(|| Error::internal("a workspace has no key-encryption key"))
    }

    fn kek(&self, number: u32, kind: RecordType) -> Result<&Kek> {
        self.keks
            .iter()
            .find(|kek| kek.number == number)
            .ok_or_else(|| Error::internal(OpenError::UnknownKey(number, kind)))
    }

    /// Seals the body of a record into its slot, behind `prefix`, which stays readable.
    pub fn seal(&self, slot: Slot<'_>, prefix: &[u8], plaintext: &[u8]) -> Result<Vec<u8>> {
        let kek = self.newest()?;
        let mut sealed = Vec::with_capacity(prefix.len() + HEADER_BYTES + 28 + plaintext.len());
        sealed.extend_from_slice(prefix);
        sealed.push(FORMAT);
        sealed.extend_from_slice(&kek.number.to_be_bytes());
        let nonce = self.entropy.bytes::<NONCE_BYTES>()?;
        self.record_cipher(kek, &slot)?.seal_into(
            &mut sealed,
            &nonce,
            &slot.aad(self.workspace, kek.number),
            plaintext,
        )?;
        Ok(sealed)
    }

    /// Opens the body of a record from its slot.
    pub fn open(&self, slot: Slot<'_>, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        let (number, body) = header(slot.kind, sealed).map_err(Error::internal)?;
        self.record_cipher(self.kek(number, slot.kind)?, &slot)?
            .open(&slot.aad(self.workspace, number), body)
            .map_err(|_| Error::internal(OpenError::NotAuthentic(slot.kind)))
    }

    /// Seals a credential's value under a fresh DEK, and the DEK under the KEK.
    pub fn seal_value(&self, slot: Slot<'_>, value: &SecretText) -> Result<Vec<u8>> {
        let kek = self.newest()?;
        let mut dek: KeyBytes = Zeroizing::new([0; 32]);
        self.entropy.fill(&mut *dek)?;
        let mut sealed = Vec::with_capacity(HEADER_BYTES + WRAPPED_BYTES + 28 + value.len());
        sealed.push(FORMAT);
        sealed.extend_from_slice(&kek.number.to_be_bytes());
        let wrap = Slot {
            kind: RecordType::Dek,
            ..slot
        };
        self.dek_cipher(kek, &wrap)?.seal_into(
            &mut sealed,
            &self.entropy.bytes()?,
            &wrap.aad(self.workspace, kek.number),
            &*dek,
        )?;
        // This is where a value becomes ciphertext.
        Cipher::new(&dek).seal_into(
            &mut sealed,
            &self.entropy.bytes()?,
            &slot.aad(self.workspace, kek.number),
            value.expose().as_bytes(),
        )?;
        Ok(sealed)
    }

    /// Opens a credential's value.
    pub fn open_value(&self, slot: Slot<'_>, sealed: &[u8]) -> Result<SecretText> {
        let broken = || Error::internal(OpenError::NotAuthentic(slot.kind));
        let (number, body) = header(slot.kind, sealed).map_err(Error::internal)?;
        let (wrapped, value) = body
            .split_at_checked(WRAPPED_BYTES)
            .ok_or_else(|| Error::internal(OpenError::Truncated(slot.kind)))?;
        let wrap = Slot {
            kind: RecordType::Dek,
            ..slot
        };
        let dek = self
            .dek_cipher(self.kek(number, slot.kind)?, &wrap)?
            .open(&wrap.aad(self.workspace, number), wrapped)
            .map_err(|_| broken())?;
        let mut plain = Cipher::new(&key_bytes(&dek)?)
            .open(&slot.aad(self.workspace, number), value)
            .map_err(|_| broken())?;
        String::from_utf8(std::mem::take(&mut *plain))
            .map(SecretText::new)
            .map_err(|_| broken())
    }

    /// Seals an audit record into its place in the log. One subkey serves 2^20 records, so that the committer,
    /// which calls this for each record of a group, derives none on the way.
    pub fn seal_audit(&self, sequence: u64, plaintext: &[u8]) -> Result<Vec<u8>> {
        let number = self.newest()?.number;
        let mut sealed = Vec::with_capacity(HEADER_BYTES + 28 + plaintext.len());
        sealed.push(FORMAT);
        sealed.extend_from_slice(&number.to_be_bytes());
        let aad = Slot {
            kind: RecordType::Audit,
            id: &sequence.to_be_bytes(),
            version: 0,
        }
        .aad(self.workspace, number);
        self.audit_cipher(number, sequence)?.seal_into(
            &mut sealed,
            &self.entropy.bytes()?,
            &aad,
            plaintext,
        )?;
        Ok(sealed)
    }

    /// Opens an audit record from its place in the log.
    pub fn open_audit(&self, sequence: u64, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        let kind = RecordType::Audit;
        let (number, body) = header(kind, sealed).map_err(Error::internal)?;
        let aad = Slot {
            kind,
            id: &sequence.to_be_bytes(),
            version: 0,
        }
        .aad(self.workspace, number);
        self.audit_cipher(number, sequence)?
            .open(&aad, body)
            .map_err(|_| Error::internal(OpenError::NotAuthentic(kind)))
    }

    fn record_cipher(&self, kek: &Kek, slot: &Slot<'_>) -> Result<Arc<Cipher>> {
        let version = slot.version.to_be_bytes();
        let parts: [&[u8]; 3] = [&[slot.kind as u8], &version, slot.id];
        self.cipher(kek, slot, Branch::Record, &parts)
    }

    fn dek_cipher(&self, kek: &Kek, wrap: &Slot<'_>) -> Result<Arc<Cipher>> {
        let version = wrap.version.to_be_bytes();
        self.cipher(kek, wrap, Branch::DekWrap, &[&version, wrap.id])
    }

    fn cipher(
        &self,
        kek: &Kek,
        slot: &Slot<'_>,
        branch: Branch,
        parts: &[&[u8]],
    ) -> Result<Arc<Cipher>> {
        self.recent.get_or(self.workspace, kek.number, slot, || {
            let key = kek.expander.subkey(branch, parts)?;
            Ok(Cipher::new(&key))
        })
    }

    fn audit_cipher(&self, number: u32, sequence: u64) -> Result<Arc<Cipher>> {
        let epoch = sequence >> AUDIT_EPOCH_BITS;
        let mut cached = self.audit.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, of, cipher)) = &*cached
            && (*at, *of) == (number, epoch)
        {
            return Ok(cipher.clone());
        }
        let kek = self.kek(number, RecordType::Audit)?;
        let cipher = Arc::new(Cipher::new(
            &kek.expander
                .subkey(Branch::Audit, &[&epoch.to_be_bytes()])?,
        ));
        *cached = Some((number, epoch, cipher.clone()));
        Ok(cipher)
    }
}

fn key_bytes(plain: &[u8]) -> Result<KeyBytes> {
    let bytes: [u8; 32] = plain
        .try_into()
        .map_err(|_| Error::internal("an unwrapped key has the wrong length"))?;
    Ok(Zeroizing::new(bytes))
}
