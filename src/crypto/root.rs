//! The root key and how a vault is unsealed: a key file, or a passphrase through Argon2id (RFC 9106).

use std::{
    fs,
    io::Write,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};

use argon2::{Algorithm, Argon2, Params, Version};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{aead::KeyBytes, entropy::Entropy};
use crate::domain::{
    error::{Code, Error, Result},
    secret::SecretText,
};

/// The shortest passphrase, in characters.
pub const MIN_PASSPHRASE_CHARS: usize = 12;
/// The first word of a key file.
const FILE_TAG: &str = "leasehold-root-v1:";
/// The largest Argon2 memory that a data folder may ask for, in KiB: 4 GiB.
const MAX_MEMORY_KIB: u32 = 4 * 1024 * 1024;

/// The key that everything else hangs on. Never stored in the data folder of a production vault.
pub struct RootKey(KeyBytes);

impl RootKey {
    /// A fresh key.
    pub fn generate(entropy: &dyn Entropy) -> Result<Self> {
        let mut key = Zeroizing::new([0; 32]);
        entropy.fill(&mut *key)?;
        Ok(Self(key))
    }

    pub(super) fn bytes(&self) -> &KeyBytes {
        &self.0
    }

    /// Reads a key file: `leasehold-root-v1:` and 64 hexadecimal digits. Refuses one that others may read.
    pub fn read_file(path: &Path) -> Result<Self> {
        let shown = path.display();
        let refuse =
            |why: String| Error::new(Code::Sealed, format!("root key file `{shown}`: {why}"));
        let mode = fs::metadata(path)
            .map_err(|error| refuse(error.to_string()))?
            .permissions()
            .mode();
        if mode & 0o077 != 0 {
            return Err(refuse(format!(
                "mode {:o} lets others read it; run `chmod 600 {shown}`",
                mode & 0o777
            )));
        }
        let text =
            Zeroizing::new(fs::read_to_string(path).map_err(|error| refuse(error.to_string()))?);
        let malformed = || {
            refuse(format!(
                "not a root key; expected `{FILE_TAG}` and 64 hexadecimal digits"
            ))
        };
        let digits = text
            .trim()
            .strip_prefix(FILE_TAG)
            .filter(|hex| hex.len() == 64)
            .ok_or_else(malformed)?;
        let mut key = Zeroizing::new([0u8; 32]);
        for (byte, pair) in key.iter_mut().zip(digits.as_bytes().chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| malformed())?;
            if !pair.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(malformed());
            }
            *byte = u8::from_str_radix(pair, 16).map_err(|_| malformed())?;
        }
        Ok(Self(key))
    }

    /// Writes a new key file, readable by its owner alone. Never overwrites.
    pub fn write_file(&self, path: &Path) -> Result<()> {
        let refuse = |error: std::io::Error| {
            Error::new(
                Code::Sealed,
                format!("root key file `{}`: {error}", path.display()),
            )
        };
        let mut text = Zeroizing::new(String::with_capacity(FILE_TAG.len() + 65));
        text.push_str(FILE_TAG);
        for byte in self.0.iter() {
            text.extend(
                [byte >> 4, byte & 15]
                    .iter()
                    .filter_map(|digit| char::from_digit(u32::from(*digit), 16)),
            );
        }
        text.push('\n');
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(refuse)?;
        file.write_all(text.as_bytes())
            .and_then(|()| file.sync_all())
            .map_err(refuse)?;
        sync_folder(path).map_err(refuse)
    }

    /// The key that Argon2id makes of a passphrase.
    pub fn from_passphrase(passphrase: &SecretText, argon: &ArgonParams) -> Result<Self> {
        if argon.memory_kib > MAX_MEMORY_KIB {
            return Err(Error::new(
                Code::Sealed,
                "the vault's header asks for too much Argon2 memory",
            ));
        }
        let params = Params::new(argon.memory_kib, argon.passes, argon.lanes, Some(32))
            .map_err(|error| Error::internal(error.to_string()))?;
        let mut key = Zeroizing::new([0; 32]);
        // The derivation must see the passphrase.
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(passphrase.expose().as_bytes(), &argon.salt, &mut *key)
            .map_err(|error| Error::internal(error.to_string()))?;
        Ok(Self(key))
    }
}

/// Makes the name of a new file durable.
fn sync_folder(path: &Path) -> std::io::Result<()> {
    match path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        Some(parent) => fs::File::open(parent)?.sync_all(),
        None => fs::File::open(".")?.sync_all(),
    }
}

/// Argon2id's cost and salt. Not secret; kept in the vault's header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArgonParams {
    pub memory_kib: u32,
    pub passes: u32,
    pub lanes: u32,
    pub salt: [u8; 16],
}

impl ArgonParams {
    /// RFC 9106's second recommended option: 64 MiB, 3 passes, 4 lanes, and a fresh salt.
    pub fn generate(entropy: &dyn Entropy) -> Result<Self> {
        Ok(Self {
            memory_kib: 64 * 1024,
            passes: 3,
            lanes: 4,
            salt: entropy.bytes()?,
        })
    }
}

/// Refuses passphrases that Argon2id cannot make strong.
pub fn check_passphrase(passphrase: &SecretText) -> Result<()> {
    // Counting characters needs the text.
    if passphrase.expose().chars().count() < MIN_PASSPHRASE_CHARS {
        return Err(Error::invalid(
            "passphrase",
            format!("the passphrase must have at least {MIN_PASSPHRASE_CHARS} characters"),
        ));
    }
    Ok(())
}
