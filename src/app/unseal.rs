//! Where the root key comes from.

use std::{fs, path::Path};

use zeroize::Zeroizing;

use super::process::Failure;
use crate::{
    cli::UnsealArgs,
    config::RootSource,
    crypto::{
        entropy::Entropy,
        root::{ArgonParams, RootKey, check_passphrase},
    },
    domain::secret::SecretText,
    tables::Unseal,
};

/// The environment variable that may hold the passphrase.
const PASSPHRASE_VARIABLE: &str = "LEASEHOLD_PASSPHRASE";
/// The longest passphrase file, in bytes.
const MAX_PASSPHRASE_BYTES: u64 = 4096;

/// The root key of an existing vault, had in the way that the vault wants.
pub(super) fn root_key(source: &RootSource, unseal: &Unseal) -> Result<RootKey, Failure> {
    match (unseal, source) {
        (Unseal::KeyFile, RootSource::KeyFile(path)) => Ok(RootKey::read_file(path)?),
        (Unseal::KeyFile, _) => Err(
            "this vault is unsealed by a key file; set `root.key_file` in the configuration".into(),
        ),
        (Unseal::Passphrase(argon), RootSource::PassphraseFile(path)) => {
            Ok(RootKey::from_passphrase(&passphrase_file(path)?, argon)?)
        }
        (Unseal::Passphrase(argon), RootSource::PassphrasePrompt) => Ok(RootKey::from_passphrase(
            &passphrase("Passphrase: ")?,
            argon,
        )?),
        (Unseal::Passphrase(_), RootSource::KeyFile(_)) => Err(
            "this vault is unsealed by a passphrase; remove `root.key_file` from the configuration"
                .into(),
        ),
    }
}

/// The root key of an existing vault that does not serve, had as the command line says.
pub(super) fn root_key_at_hand(args: UnsealArgs, unseal: &Unseal) -> Result<RootKey, Failure> {
    let source = match (args.key_file, args.passphrase_file) {
        (Some(path), _) => RootSource::KeyFile(path),
        (None, Some(path)) => RootSource::PassphraseFile(path),
        (None, None) => RootSource::PassphrasePrompt,
    };
    match (unseal, &source) {
        (Unseal::KeyFile, RootSource::PassphraseFile(_) | RootSource::PassphrasePrompt) => {
            Err("this vault is unsealed by a key file; name it with --key-file".into())
        }
        (Unseal::Passphrase(_), RootSource::KeyFile(_)) => {
            Err("this vault is unsealed by a passphrase; leave --key-file out".into())
        }
        _ => root_key(&source, unseal),
    }
}

/// The root key of a new vault. A key file that exists is used as it is, else one is made.
pub(super) fn new_root_key(
    source: &RootSource,
    entropy: &dyn Entropy,
) -> Result<(RootKey, Unseal), Failure> {
    let passphrase = match source {
        RootSource::KeyFile(path) => {
            if path.exists() {
                return Ok((RootKey::read_file(path)?, Unseal::KeyFile));
            }
            let root = RootKey::generate(entropy)?;
            root.write_file(path)?;
            return Ok((root, Unseal::KeyFile));
        }
        RootSource::PassphraseFile(path) => passphrase_file(path)?,
        RootSource::PassphrasePrompt => {
            let first = passphrase("New passphrase: ")?;
            check_passphrase(&first)?;
            if std::env::var_os(PASSPHRASE_VARIABLE).is_none() {
                let again = passphrase("The same again: ")?;
                // Comparing needs both texts; nobody but their owner can time it.
                if first.expose() != again.expose() {
                    return Err("the passphrases differ".into());
                }
            }
            first
        }
    };
    check_passphrase(&passphrase)?;
    let argon = ArgonParams::generate(entropy)?;
    Ok((
        RootKey::from_passphrase(&passphrase, &argon)?,
        Unseal::Passphrase(argon),
    ))
}

fn passphrase(prompt: &str) -> Result<SecretText, Failure> {
    if let Some(text) = std::env::var_os(PASSPHRASE_VARIABLE) {
        let text = text
            .into_string()
            .map_err(|_| format!("`{PASSPHRASE_VARIABLE}` is not UTF-8"))?;
        return Ok(SecretText::new(text));
    }
    let text = rpassword::prompt_password(prompt).map_err(|error| {
        format!(
            "no passphrase: set `{PASSPHRASE_VARIABLE}`, a file, or run on a terminal ({error})"
        )
    })?;
    Ok(SecretText::new(text))
}

fn passphrase_file(path: &Path) -> Result<SecretText, Failure> {
    let told = |why: String| format!("passphrase file `{}`: {why}", path.display());
    let length = fs::metadata(path)
        .map_err(|error| told(error.to_string()))?
        .len();
    if length > MAX_PASSPHRASE_BYTES {
        return Err(told(format!("longer than {MAX_PASSPHRASE_BYTES} bytes")).into());
    }
    let text = Zeroizing::new(fs::read_to_string(path).map_err(|error| told(error.to_string()))?);
    Ok(SecretText::new(
        text.trim_end_matches(['\n', '\r']).to_owned(),
    ))
}
