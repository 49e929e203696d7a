//! What the tests of this folder share.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use super::{Config, Overrides};

/// A folder of a test's own, gone with it.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("leasehold-config-{}-{number}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.0.join(name), text).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What a file must say, in one line.
pub const MINIMAL: &str = "storage.data_dir = \"data\"\n";

pub fn load(
    text: &str,
    variables: &[(&str, &str)],
    overrides: Overrides,
) -> Result<Config, String> {
    let folder = Folder::new();
    folder.write("c.toml", text);
    let variables = variables
        .iter()
        .map(|(name, value)| (name.into(), value.into()));
    let file = folder.path().join("c.toml");
    Config::load_from(Some(&file), variables, overrides).map_err(|error| {
        error
            .to_string()
            .replace(&format!("{}/", folder.path().display()), "")
    })
}

pub fn from_file(text: &str) -> Result<Config, String> {
    load(text, &[], Overrides::default())
}

pub fn from_variables(variables: &[(&str, &str)]) -> Result<Config, String> {
    load(MINIMAL, variables, Overrides::default())
}

pub fn assert_refused(result: Result<Config, String>, expected: &str) {
    let error = result.unwrap_err();
    assert!(error.starts_with(expected), "{error:?} is not {expected:?}");
    assert!(!error.contains('\n'), "{error:?}");
}
