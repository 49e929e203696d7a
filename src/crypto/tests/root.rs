//! Key files and passphrases.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use super::*;
use crate::{
    crypto::root::{ArgonParams, MIN_PASSPHRASE_CHARS, check_passphrase},
    domain::secret::SecretText,
};

/// A folder of one test, gone when it ends.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, text: &[u8], mode: u32) -> PathBuf {
        let path = self.0.path().join("root.key");
        let _ = fs::remove_file(&path);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }
}

fn refusal(path: &Path) -> String {
    let error = RootKey::read_file(path).err().expect("it was read");
    assert_eq!(error.code(), Code::Sealed);
    error.message().to_owned()
}

#[test]
fn a_key_file_is_as_frozen_and_its_owners_alone() {
    let folder = Folder::new();
    let path = folder.0.path().join("root.key");
    root_key("root").write_file(&path).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text, format!("{}\n", KEYS.text("key_file")));
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let read = RootKey::read_file(&path).unwrap();
    assert_eq!(**read.bytes(), KEYS.array("root"));
}

#[test]
fn a_key_file_is_never_overwritten() {
    let folder = Folder::new();
    let path = folder.0.path().join("root.key");
    root_key("root").write_file(&path).unwrap();
    let error = root_key("other_root").write_file(&path).unwrap_err();
    assert_eq!(error.code(), Code::Sealed);
    assert_eq!(
        **RootKey::read_file(&path).unwrap().bytes(),
        KEYS.array("root")
    );
    // A link that points nowhere is somebody's wish to have the key elsewhere.
    let link = folder.0.path().join("link.key");
    std::os::unix::fs::symlink(folder.0.path().join("target"), &link).unwrap();
    assert!(root_key("root").write_file(&link).is_err());
    assert!(!folder.0.path().join("target").exists());
}

#[test]
fn a_key_file_that_others_may_read_is_refused() {
    let folder = Folder::new();
    let text = KEYS.text("key_file").as_bytes();
    for mode in [0o644, 0o640, 0o604, 0o660, 0o602, 0o610, 0o777] {
        let message = refusal(&folder.file(text, mode));
        assert!(message.contains(&format!("mode {mode:o}")), "{message}");
        assert!(message.contains("chmod 600"), "{message}");
    }
    for mode in [0o600, 0o400, 0o700] {
        RootKey::read_file(&folder.file(text, mode)).unwrap();
    }
}

#[test]
fn a_malformed_key_file_is_refused_and_not_repeated() {
    let folder = Folder::new();
    let good = KEYS.text("key_file");
    let digits = &good["leasehold-root-v1:".len()..];
    for bad in [
        String::new(),
        digits.to_owned(),
        format!("leasehold-root-v2:{digits}"),
        format!("leasehold-root-v1: {digits}"),
        good[..good.len() - 1].to_owned(),
        format!("{good}0"),
        format!("{good} {good}"),
        good.replace("0c", "0g"),
        good.replace("0c", "+c"),
        good.replace("0c", "é"),
        good.replace("0c0d", " 0c0d"),
        format!("\u{feff}{good}"),
    ] {
        assert_ne!(bad, good);
        let message = refusal(&folder.file(bad.as_bytes(), 0o600));
        assert!(message.contains("not a root key"), "{message}");
        assert!(!message.contains("0a0b"), "{message}");
    }
    let message = refusal(&folder.file(&[0xff, 0xfe], 0o600));
    assert!(message.contains("UTF-8"), "{message}");
    assert!(refusal(&folder.0.path().join("missing")).contains("missing"));
    let with_space = folder.file(format!("  {good}\r\n\n").as_bytes(), 0o600);
    assert!(
        RootKey::read_file(&with_space).is_ok(),
        "an editor's newline"
    );
}

#[test]
fn a_passphrase_gives_the_root_key_it_always_gave() {
    for case in ["argon_1", "argon_2"] {
        let field = |field| format!("{case}.{field}");
        let cost = KEYS.text(&field("cost"));
        let [memory_kib, passes, lanes] = cost
            .split(' ')
            .map(|number| number.parse().unwrap())
            .collect::<Vec<u32>>()[..]
        else {
            panic!("{cost}")
        };
        let argon = ArgonParams {
            memory_kib,
            passes,
            lanes,
            salt: KEYS.array(&field("salt")),
        };
        let passphrase = SecretText::new(KEYS.text(&field("passphrase")).to_owned());
        let root = RootKey::from_passphrase(&passphrase, &argon).unwrap();
        assert_eq!(hex(&**root.bytes()), KEYS.text(&field("root")), "{case}");
    }
}

#[test]
fn new_vaults_get_the_cost_of_rfc_9106_and_a_fresh_salt() {
    let argon = ArgonParams::generate(&*Scripted::new(&[5; 16])).unwrap();
    let ArgonParams {
        memory_kib,
        passes,
        lanes,
        salt,
    } = argon;
    assert_eq!((memory_kib, passes, lanes), (65_536, 3, 4));
    assert_eq!(salt, [5; 16]);
    assert!(ArgonParams::generate(&*Scripted::new(&[5; 15])).is_err());
}

#[test]
fn costs_that_no_vault_writes_are_refused_before_any_memory_is_taken() {
    let passphrase = SecretText::new("a passphrase of some length".to_owned());
    let derive = |memory_kib, passes, lanes| {
        let salt = [0; 16];
        let argon = ArgonParams {
            memory_kib,
            passes,
            lanes,
            salt,
        };
        RootKey::from_passphrase(&passphrase, &argon)
            .map(|_| ())
            .map_err(|error| error.code())
    };
    assert_eq!(derive(u32::MAX, 1, 1), Err(Code::Sealed));
    assert_eq!(derive(4 * 1024 * 1024 + 1, 1, 1), Err(Code::Sealed));
    assert_eq!(derive(0, 1, 1), Err(Code::Internal));
    assert_eq!(derive(64, 0, 1), Err(Code::Internal));
    assert_eq!(derive(64, 1, 0), Err(Code::Internal));
}

#[test]
fn short_passphrases_are_refused_by_characters() {
    let check = |text: String| check_passphrase(&SecretText::new(text));
    assert!(check("é".repeat(MIN_PASSPHRASE_CHARS)).is_ok());
    let error = check("é".repeat(MIN_PASSPHRASE_CHARS - 1)).unwrap_err();
    assert_eq!(error.code(), Code::InvalidParameter);
    assert!(!error.message().contains('é'));
}
