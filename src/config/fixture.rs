//! What the tests of this folder share.

use std::{fs, path::Path};

use super::{Config, Overrides};

/// A folder of a test's own, gone with it.
pub struct Folder(tempfile::TempDir);

impl Folder {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path().join(name), text).unwrap();
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
