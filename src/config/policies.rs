//! The named lease policies: one TOML file each, named after its stem.
//!
//! Loaded policies are complete or there are none: each has a valid name and passed [`LeasePolicy::check`], and one
//! bad file refuses the set. Cedar policies lie in the same folder; here they are text. Not here: what a policy means.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
};

use super::document::{self, Position};
use crate::domain::{
    error::{Detail, Error},
    name::PolicyName,
    policy::{LeasePolicy, NamedPolicies},
};

/// The most policies in a folder: more than anybody can keep apart.
const MAX_FILES: usize = 256;
/// The largest lease policy, in bytes: the longest egress lists fit.
const MAX_FILE_BYTES: u64 = 64 * 1024;
/// The largest file of Cedar policies, in bytes.
const MAX_CEDAR_BYTES: u64 = 512 * 1024;

/// The built-in policies, where a folder shows them.
const ROLES_FILE: &str = "roles.cedar";

/// Why named policies can't be used. One line each; causes are part of the message, and hence not sources.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The folder can't be listed.
    #[error("cannot read the policy folder {}: {cause}; leave `policies.dir` out for the built-in policies", .dir.display())]
    Folder {
        /// The folder, as it was named.
        dir: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// The folder has too many policies.
    #[error("the policy folder {} has more than {MAX_FILES} policies", .dir.display())]
    TooMany {
        /// The folder, as it was named.
        dir: PathBuf,
    },
    /// A file can't be read.
    #[error("cannot read the policy file {}: {cause}", .file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// A file is not a policy that can be used.
    #[error("{}{}: {reason}", .file.display(), .position.map(|at| format!(":{at}")).unwrap_or_default())]
    Invalid {
        /// The file.
        file: PathBuf,
        /// Where in the file, if the fault has a place.
        position: Option<Position>,
        /// What is wrong, with the key in backticks.
        reason: String,
    },
}

/// Reads every `*.toml` directly in `dir`, through symlinks too. Other and hidden files are not policies.
pub fn load(dir: &Path) -> Result<NamedPolicies, PolicyError> {
    let mut policies = BTreeMap::new();
    for (file, text) in texts(dir, "toml", MAX_FILE_BYTES)? {
        let (name, policy) = read(&file, &text)?;
        policies.insert(name, policy);
    }
    Ok(NamedPolicies::new(policies))
}

/// Every `*.cedar` directly in `dir`, by its file name, in order. Folders below, such as the examples, are not read.
pub fn load_cedar(dir: &Path) -> Result<Vec<(String, String)>, PolicyError> {
    let texts = texts(dir, "cedar", MAX_CEDAR_BYTES)?;
    let named = texts.into_iter().map(|(file, text)| {
        let name = file.file_name().unwrap_or_default();
        (name.to_string_lossy().into_owned(), text)
    });
    Ok(named.collect())
}

/// Every file that [`load`] and [`load_cedar`] read, by its name, as it is.
pub fn load_texts(dir: &Path) -> Result<Vec<(String, String)>, PolicyError> {
    let leases = texts(dir, "toml", MAX_FILE_BYTES)?.into_iter();
    let leases = leases.map(|(file, text)| {
        let name = file.file_name().unwrap_or_default();
        (name.to_string_lossy().into_owned(), text)
    });
    Ok(leases.chain(load_cedar(dir)?).collect())
}

/// Cedar policies by file name, of files and folders in the order they are named: of a folder, every `*.cedar` directly in
/// it but the built-in `roles.cedar`.
pub fn load_sources(paths: &[PathBuf]) -> Result<Vec<(String, String)>, PolicyError> {
    let mut sources = Vec::new();
    for path in paths {
        if path.is_dir() {
            let found = load_cedar(path)?.into_iter();
            sources.extend(found.filter(|(name, _)| name != ROLES_FILE));
            continue;
        }
        let file = path.clone();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let text = document::read(path, MAX_CEDAR_BYTES)
            .map_err(|cause| PolicyError::Unreadable { file, cause })?;
        sources.push((name.into_owned(), text));
    }
    Ok(sources)
}

/// Every test case file: of a folder, every `*.toml` and `*.json` directly in it.
pub fn load_cases(path: &Path) -> Result<Vec<(PathBuf, String)>, PolicyError> {
    if !path.is_dir() {
        let text = document::read(path, MAX_FILE_BYTES);
        let text = text.map_err(|cause| PolicyError::Unreadable {
            file: path.to_owned(),
            cause,
        })?;
        return Ok(vec![(path.to_owned(), text)]);
    }
    let mut found = texts(path, "toml", MAX_FILE_BYTES)?;
    found.extend(texts(path, "json", MAX_FILE_BYTES)?);
    Ok(found)
}

fn texts(dir: &Path, ending: &str, max_bytes: u64) -> Result<Vec<(PathBuf, String)>, PolicyError> {
    let texts = list(dir, ending)?
        .into_iter()
        .map(|file| match document::read(&file, max_bytes) {
            Ok(text) => Ok((file, text)),
            Err(cause) => Err(PolicyError::Unreadable { file, cause }),
        });
    texts.collect()
}

/// The policies that come with the binary: `production`, `staging` and `development`.
pub fn built_in() -> Result<NamedPolicies, PolicyError> {
    let files = [
        (
            "policies/development.toml",
            include_str!("../../policies/development.toml"),
        ),
        (
            "policies/production.toml",
            include_str!("../../policies/production.toml"),
        ),
        (
            "policies/staging.toml",
            include_str!("../../policies/staging.toml"),
        ),
    ];
    let policies = files
        .into_iter()
        .map(|(file, text)| read(Path::new(file), text))
        .collect::<Result<_, _>>()?;
    Ok(NamedPolicies::new(policies))
}

/// The policy files of a folder in order, so that the first fault is always the same one.
fn list(dir: &Path, ending: &str) -> Result<Vec<PathBuf>, PolicyError> {
    let failed = |cause| PolicyError::Folder {
        dir: dir.to_owned(),
        cause,
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        // As for the shell's `*`; editors keep their locks and backups under such names.
        let hidden = name.as_encoded_bytes().starts_with(b".");
        if hidden || Path::new(&name).extension() != Some(OsStr::new(ending)) {
            continue;
        }
        if files.len() == MAX_FILES {
            return Err(PolicyError::TooMany {
                dir: dir.to_owned(),
            });
        }
        files.push(dir.join(name));
    }
    files.sort();
    Ok(files)
}

/// Reads one policy; its name is the file's stem.
fn read(file: &Path, text: &str) -> Result<(PolicyName, LeasePolicy), PolicyError> {
    let refuse = |position, reason| PolicyError::Invalid {
        file: file.to_owned(),
        position,
        reason,
    };
    // A stem that is not UTF-8 is no name either.
    let stem = file.file_stem().and_then(OsStr::to_str).unwrap_or("?");
    let name = PolicyName::parse(stem, "name").map_err(|error| {
        refuse(
            None,
            format!("the file's stem is the policy's name; {}", error.message()),
        )
    })?;
    let policy: LeasePolicy =
        document::parse(text).map_err(|fault| refuse(fault.position, fault.reason))?;
    if policy.extends.is_some() {
        let reason =
            "`extends` is for credentials; a named policy builds on the workspace's defaults alone";
        return Err(refuse(document::find(text, "extends"), reason.to_owned()));
    }
    policy.check().map_err(|error| {
        let position = field(&error).and_then(|path| document::find(text, path));
        refuse(position, error.message().replace("`policy.", "`"))
    })?;
    Ok((name, policy))
}

/// The path of the key that a check refused, as the file spells it.
fn field(error: &Error) -> Option<&str> {
    error
        .details()
        .iter()
        .find_map(|(name, detail)| match detail {
            Detail::Text(path) if *name == "field" => path.strip_prefix("policy."),
            _ => None,
        })
}

#[cfg(test)]
mod tests {
    use super::{super::fixture::Folder, *};
    use crate::domain::policy::{Delivery, OnRotate};

    fn refusal(file: &str, text: &str) -> String {
        let folder = Folder::new();
        folder.write(file, text);
        let error = load(folder.path()).unwrap_err().to_string();
        error.replace(&format!("{}/", folder.path().display()), "")
    }

    #[test]
    fn the_built_in_policies_are_valid() {
        let policies = built_in().unwrap();
        let names: Vec<_> = policies.names().map(PolicyName::as_str).collect();
        assert_eq!(names, ["development", "production", "staging"]);
        let production = policies
            .get(&PolicyName::parse("production", "name").unwrap())
            .unwrap();
        assert_eq!(production.default_lease_ttl.unwrap().to_string(), "15m");
        assert_eq!(production.max_lease_ttl.unwrap().to_string(), "1h");
        assert_eq!(production.max_leases, Some(10));
        assert_eq!(
            production.delivery,
            Some(vec![Delivery::Broker, Delivery::Reveal])
        );
        assert_eq!(
            (production.renewable, production.require_purpose),
            (Some(true), Some(true))
        );
        assert_eq!(production.on_rotate, Some(OnRotate::Drain));
    }

    #[test]
    fn the_shipped_folder_is_what_is_built_in() {
        let shipped = load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("policies")).unwrap();
        let built_in = built_in().unwrap();
        assert_eq!(
            shipped.names().collect::<Vec<_>>(),
            built_in.names().collect::<Vec<_>>()
        );
        for name in shipped.names() {
            assert_eq!(shipped.get(name), built_in.get(name));
        }
    }

    #[test]
    fn only_toml_files_are_policies_and_symlinks_are_followed() {
        let folder = Folder::new();
        folder.write("a.toml", "max_leases = 1");
        folder.write("agents.cedar", "permit(principal, action, resource);");
        folder.write(".#a.toml", "not toml");
        fs::create_dir(folder.path().join("sub")).unwrap();
        std::os::unix::fs::symlink("a.toml", folder.path().join("b.toml")).unwrap();
        let policies = load(folder.path()).unwrap();
        assert_eq!(
            policies.names().map(PolicyName::as_str).collect::<Vec<_>>(),
            ["a", "b"]
        );
    }

    #[test]
    fn a_fault_has_its_file_line_and_column() {
        for (text, expected) in [
            (
                "# why\n\nmax_leases = 0\n",
                "x.toml:3:1: `max_leases` must be 1 to 1000000",
            ),
            (
                "max_leases = \"ten\"",
                "x.toml:1:14: `max_leases` must be a whole number from 0 to 4294967295",
            ),
            (
                "max_leases = 1\nmax_lease = 2",
                "x.toml:2:1: unknown key `max_lease`, expected one of `extends`",
            ),
            (
                "max_lease_ttl = \"soon\"",
                "x.toml:1:17: `max_lease_ttl` is not a readable, positive duration",
            ),
            (
                "\ndelivery = [\"broker\", \"post\"]",
                "x.toml:2:23: `delivery[1]` must be `broker` or `reveal`",
            ),
            (
                "\n  delivery = []",
                "x.toml:2:3: `delivery` must name `broker`, `reveal` or both",
            ),
            (
                "max_leases = 1\nextends = \"production\"",
                "x.toml:2:1: `extends` is for credentials",
            ),
            (
                "max_lease_ttl = \"1m\"\ndefault_lease_ttl = \"1h\"",
                "x.toml:2:1: `default_lease_ttl` is longer than",
            ),
            (
                "[egress]\nhosts = [\"a.com\",\n  \"A.com\"]",
                "x.toml:3:3: `egress.hosts[1]` is not a host name",
            ),
            (
                "egress = { hosts = [] }",
                "x.toml:1:12: `egress.hosts` must name at least one host",
            ),
            (
                "max_uses = 1\n[egress]\nmethods = [\"GET\"]",
                "x.toml:2:1: missing key `hosts`",
            ),
            (
                "max_leases = 1\nmax_leases = 2",
                "x.toml:2:1: duplicate key",
            ),
            ("renewable = true\nmax_leases 5", "x.toml:2:12: "),
        ] {
            let error = refusal("x.toml", text);
            assert!(error.starts_with(expected), "{text:?}: {error:?}");
            assert!(!error.contains('\n'), "{error:?}");
        }
    }

    #[test]
    fn the_first_fault_is_always_the_same_one() {
        let folder = Folder::new();
        for name in ["c", "e", "a", "d", "b", "f"] {
            folder.write(&format!("{name}.toml"), "max_leases = 0");
        }
        let PolicyError::Invalid { file, .. } = load(folder.path()).unwrap_err() else {
            panic!("not refused for its content");
        };
        assert_eq!(file, folder.path().join("a.toml"));
    }

    #[test]
    fn a_stem_that_is_not_a_name_is_refused() {
        let error = refusal("Prod.toml", "");
        assert!(
            error.starts_with("Prod.toml: the file's stem is the policy's name; `name` must match"),
            "{error}"
        );
    }

    #[test]
    fn the_folder_is_there_and_bounded() {
        let folder = Folder::new();
        assert!(load(folder.path()).unwrap().names().next().is_none());
        let error = load(&folder.path().join("gone")).unwrap_err();
        assert!(matches!(error, PolicyError::Folder { .. }), "{error}");

        folder.write("big.toml", &format!("#{}", "x".repeat(64 * 1024)));
        assert!(
            load(folder.path())
                .unwrap_err()
                .to_string()
                .contains("larger than 65536 bytes")
        );
        folder.write("big.toml", &format!("#{}", "x".repeat(64 * 1024 - 1)));
        (1..MAX_FILES).for_each(|n| folder.write(&format!("p{n}.toml"), ""));
        assert_eq!(load(folder.path()).unwrap().names().count(), MAX_FILES);
        folder.write("more.toml", "");
        assert!(matches!(
            load(folder.path()).unwrap_err(),
            PolicyError::TooMany { .. }
        ));

        let folder = Folder::new();
        fs::create_dir(folder.path().join("x.toml")).unwrap();
        assert!(
            load(folder.path())
                .unwrap_err()
                .to_string()
                .ends_with("not a regular file")
        );
    }
}
