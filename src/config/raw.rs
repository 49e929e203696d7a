//! What the file, the environment and the flags say, before it means anything: every key optional, none unknown.
//!
//! The file and each variable are read alone first, and strictly, so that a fault has one place; then the `config`
//! crate lays one over the other. What remains to be refused is up to `resolve`.

use std::{
    collections::{BTreeMap, HashMap},
    ffi::OsString,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::{
    Overrides,
    document::{self, reason},
    error::{ConfigError, Place},
    value::{Switch, Whole, table},
};

/// The largest configuration file, in bytes: a written one has a few thousand.
const MAX_FILE_BYTES: u64 = 256 * 1024;
/// Two underscores, so that `LEASEHOLD_ADDR` and the CLI's other variables are not configuration.
const PREFIX: &str = "LEASEHOLD__";

/// The file's model.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawConfig {
    #[serde(deserialize_with = "table")]
    pub server: RawServer,
    #[serde(deserialize_with = "table")]
    pub storage: RawStorage,
    #[serde(deserialize_with = "table")]
    pub root: RawRoot,
    #[serde(deserialize_with = "table")]
    pub policies: RawPolicies,
    #[serde(deserialize_with = "table")]
    pub reaper: RawReaper,
    #[serde(deserialize_with = "table")]
    pub limits: RawLimits,
    #[serde(deserialize_with = "table")]
    pub log: RawLog,
    #[serde(deserialize_with = "table")]
    pub audit: RawAudit,
    #[serde(deserialize_with = "table")]
    pub retention: RawRetention,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawServer {
    pub listen: Option<String>,
    pub danger_plain_http: Option<Switch>,
    #[serde(deserialize_with = "table")]
    pub tls: RawTls,
    pub public_url: Option<String>,
    pub drain_deadline: Option<String>,
    pub request_timeout: Option<String>,
    pub max_connections: Option<Whole>,
    pub trusted_proxies: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawTls {
    pub cert: Option<PathBuf>,
    pub key: Option<PathBuf>,
    pub client_ca: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawStorage {
    pub data_dir: Option<PathBuf>,
    pub cache_bytes: Option<Whole>,
    pub reserve_bytes: Option<Whole>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawRoot {
    pub key_file: Option<PathBuf>,
    pub passphrase_file: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawPolicies {
    pub dir: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawReaper {
    pub enabled: Option<Switch>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawLimits {
    pub requests_per_minute: Option<Whole>,
    pub source_requests_per_minute: Option<Whole>,
    pub failed_authentications_per_minute: Option<Whole>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawLog {
    pub format: Option<String>,
    pub filter: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawAudit {
    pub sealing: Option<Switch>,
    pub checkpoint_file: Option<PathBuf>,
    pub checkpoint_url: Option<String>,
    pub checkpoint_log: Option<Switch>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawRetention {
    pub closed_leases: Option<String>,
    pub audit_access: Option<String>,
    pub audit_admin: Option<String>,
    pub audit_vault: Option<String>,
    pub audit_denial: Option<String>,
    pub audit_access_max_bytes: Option<Whole>,
    pub audit_admin_max_bytes: Option<Whole>,
    pub audit_vault_max_bytes: Option<Whole>,
    pub audit_denial_max_bytes: Option<Whole>,
    pub audit_max_bytes: Option<Whole>,
}

/// Who set which key.
#[derive(Debug, Default)]
pub struct Origins {
    file: Option<(PathBuf, String)>,
    variables: HashMap<String, String>,
    flags: BTreeMap<&'static str, &'static str>,
}

impl Origins {
    /// Where `key` was set last.
    pub fn place(&self, key: &str) -> Place {
        let name = variable(key);
        if let Some(flag) = self.flags.get(key) {
            return Place::Flag(flag);
        }
        if self.variables.contains_key(&name) {
            return Place::Variable(name);
        }
        match &self.file {
            Some((file, text)) => Place::File(file.clone(), document::find(text, key)),
            None => Place::Default,
        }
    }
}

/// The variable that sets `key`.
pub fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "__").to_uppercase())
}

/// Reads the file and lays the variables over it.
pub fn gather(
    file: Option<&Path>,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<(RawConfig, Origins), ConfigError> {
    let mut origins = Origins::default();
    if let Some(file) = file {
        let unreadable = |cause| ConfigError::Unreadable {
            file: file.to_owned(),
            cause,
        };
        let text = document::read(file, MAX_FILE_BYTES).map_err(unreadable)?;
        document::parse::<RawConfig>(&text).map_err(|fault| ConfigError::Invalid {
            place: Place::File(file.to_owned(), fault.position),
            reason: fault.reason,
        })?;
        origins.file = Some((file.to_owned(), text));
    }
    for (name, value) in variables {
        let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else {
            continue;
        };
        let value = check_variable(name, value)?;
        origins.variables.insert(name.to_owned(), value);
    }
    let text = origins.file.as_ref().map(|(_, text)| text.as_str());
    let raw = merge(text, origins.variables.clone()).map_err(|error| ConfigError::Invalid {
        place: file.map_or(Place::Default, |file| Place::File(file.to_owned(), None)),
        reason: told(&error),
    })?;
    Ok((raw, origins))
}

/// Lays the flags over all else. Those that carry free values are remembered as their origin.
pub fn override_with(raw: &mut RawConfig, origins: &mut Origins, overrides: Overrides) {
    if let Some(listen) = overrides.listen {
        raw.server.listen = Some(listen.to_string());
        origins.flags.insert("server.listen", "--listen");
    }
    if let Some(data_dir) = overrides.data_dir {
        raw.storage.data_dir = Some(data_dir);
        origins.flags.insert("storage.data_dir", "--data-dir");
    }
    if let Some(format) = overrides.log_format {
        raw.log.format = Some(format.to_string());
    }
    if overrides.danger_plain_http {
        raw.server.danger_plain_http = Some(Switch(true));
    }
    if overrides.reaper_disabled {
        raw.reaper.enabled = Some(Switch(false));
    }
    if overrides.sealing_disabled {
        raw.audit.sealing = Some(Switch(false));
    }
}

/// Reads one variable as if it were alone, so that a fault is its own.
fn check_variable(name: &str, value: OsString) -> Result<String, ConfigError> {
    let refuse = |reason: String| ConfigError::Invalid {
        place: Place::Variable(name.to_owned()),
        reason,
    };
    // `config` folds case and reads `.` and `[0]` as paths: one key would have many spellings, and no certain winner.
    if !name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_') {
        return Err(refuse(format!("must be {PREFIX}SECTION__KEY in capitals")));
    }
    let value = value
        .into_string()
        .map_err(|_| refuse("must be UTF-8 text".to_owned()))?;
    let alone = HashMap::from([(name.to_owned(), value.clone())]);
    merge(None, alone).map_err(|error| refuse(told(&error)))?;
    Ok(value)
}

fn merge(
    file: Option<&str>,
    variables: HashMap<String, String>,
) -> Result<RawConfig, config::ConfigError> {
    // No `try_parsing`: it would turn the path `007` into `7`. `Switch` and `Whole` read text themselves.
    let environment = config::Environment::with_prefix(PREFIX.trim_end_matches('_'))
        .prefix_separator("__")
        .separator("__")
        .source(Some(variables));
    let mut builder = config::Config::builder();
    if let Some(text) = file {
        builder = builder.add_source(config::File::from_str(text, config::FileFormat::Toml));
    }
    builder.add_source(environment).build()?.try_deserialize()
}

/// What the `config` crate said, without the value, which its own text repeats.
fn told(error: &config::ConfigError) -> String {
    match error {
        config::ConfigError::At { error, .. } => told(error),
        config::ConfigError::Type { expected, .. } => format!("must be {expected}"),
        config::ConfigError::Message(message) => reason("", message),
        _ => "cannot be understood".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{
        super::{
            Config,
            fixture::{Folder, assert_refused, from_file, from_variables},
        },
        *,
    };

    #[test]
    fn unknown_keys_are_refused_with_their_place() {
        assert_refused(
            from_file("[server]\n\nlisen = \"x\""),
            "c.toml:3:1: unknown key `lisen`, expected one of `listen`",
        );
        assert_refused(
            from_file("server = [\"127.0.0.1:1\"]"),
            "c.toml:1:10: `server` must be a table",
        );
        assert_refused(
            from_file("[[server]]"),
            "c.toml:1:1: `server` must be a table",
        );
        assert_refused(
            from_file("[sever]"),
            "c.toml:1:2: unknown key `sever`, expected one of `server`",
        );
        assert_refused(
            from_variables(&[("LEASEHOLD__SERVER__LISEN", "127.0.0.1:1")]),
            "environment variable LEASEHOLD__SERVER__LISEN: unknown key `lisen`, expected one of `listen`",
        );
        assert_refused(
            from_variables(&[("LEASEHOLD__ADDR", "x")]),
            "environment variable LEASEHOLD__ADDR: unknown key `addr`",
        );
        for name in [
            "LEASEHOLD__",
            "LEASEHOLD__server__listen",
            "LEASEHOLD__SERVER.LISTEN",
            "LEASEHOLD__SERVER____LISTEN",
        ] {
            assert_refused(
                from_variables(&[(name, "127.0.0.1:1")]),
                &format!("environment variable {name}: "),
            );
        }
        // The command line's variables are none of the server's.
        assert!(
            from_variables(&[
                ("LEASEHOLD_ADDR", "x"),
                ("LEASEHOLD_KEY", "x"),
                ("LEASEHOLD_PASSPHRASE", "x")
            ])
            .is_ok()
        );
    }

    #[test]
    fn what_is_missing_or_unreadable_says_what_to_do() {
        let load = |file: &Path| {
            Config::load_from(Some(file), [], Overrides::default())
                .map_err(|error| error.to_string())
        };
        let folder = Folder::new();
        assert_refused(
            from_file(""),
            "`storage.data_dir` is not set: set it in the configuration file, as LEASEHOLD__STORAGE__DATA_DIR, or with --data-dir",
        );
        assert!(
            Config::load_from(
                None,
                [],
                Overrides {
                    data_dir: Some("d".into()),
                    ..Overrides::default()
                }
            )
            .is_ok()
        );
        assert_refused(
            load(&folder.path().join("gone")),
            "cannot read the configuration file ",
        );
        assert_refused(load(folder.path()), "cannot read the configuration file ");
        assert_refused(from_file("[server\nlisten"), "c.toml:1:8: ");
        assert!(from_file("\u{feff}[storage]\r\ndata_dir = \"d\"\r\n").is_ok());
        fs::write(folder.path().join("latin"), b"# caf\xe9").unwrap();
        assert!(
            load(&folder.path().join("latin"))
                .unwrap_err()
                .contains("not UTF-8 text")
        );
    }

    #[test]
    fn no_error_repeats_a_value() {
        let canary = "hunter2-canary";
        for text in [
            format!("root = \"{canary}\""),
            format!("server.danger_plain_http = \"{canary}\""),
            format!("server.listen = [\"{canary}\"]"),
            format!("server.listen = \"{canary}\""),
            format!("server.drain_deadline = \"{canary}\""),
            format!("server.max_connections = \"{canary}, expected no\""),
            format!("log.format = \"{canary}\""),
            format!("root.passphrase = \"{canary}\""),
            format!("root.key_file = \"{canary}"),
            format!("root.key_file = {canary}"),
            format!("storage = [\"{canary}\"]"),
        ] {
            let error = from_file(&format!("{text}\n[policies]")).unwrap_err();
            assert!(!error.contains(canary), "{error}");
        }
        for name in [
            "ROOT",
            "ROOT__PASSPHRASE",
            "SERVER__LISTEN",
            "SERVER__MAX_CONNECTIONS",
            "REAPER__ENABLED",
            "LOG__FORMAT",
            "LOG__FORMAT__X",
        ] {
            let error = from_variables(&[(&format!("LEASEHOLD__{name}"), canary)]).unwrap_err();
            assert!(!error.contains(canary), "{error}");
        }
        let value =
            <OsString as std::os::unix::ffi::OsStringExt>::from_vec(b"hunter2-canary\xff".to_vec());
        let error = Config::load_from(
            None,
            [("LEASEHOLD__LOG__FILTER".into(), value)],
            Overrides::default(),
        )
        .unwrap_err();
        assert_eq!(
            error.to_string(),
            "environment variable LEASEHOLD__LOG__FILTER: must be UTF-8 text"
        );
    }
}
