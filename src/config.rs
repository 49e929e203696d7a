//! What the operator decided: one file, then `LEASEHOLD__SECTION__KEY` variables over it, then flags over both.
//!
//! A [`Config`] is complete and valid: every key is known, every value is in its bounds, and secrets never cross a
//! network in clear text unless somebody said so. Nothing is ignored: an unknown key or variable is an error that
//! names its place. Errors never repeat a value. Relative paths stay as written, relative to the working directory.
//! Not here: reading the root key, the passphrase or the certificates, and opening the data folder.

mod document;
mod error;
mod facts;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod hostile;
pub mod policies;
mod raw;
mod resolve;
mod value;

use std::{
    ffi::OsString,
    fmt,
    net::{Ipv4Addr, SocketAddr},
    num::NonZeroU32,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use ipnet::IpNet;

use crate::domain::retention::Retention;

pub use self::{
    document::Position,
    error::{ConfigError, Place},
};

/// The resolved configuration of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `[server]`: how clients reach the vault.
    pub server: Server,
    /// `[storage]`: where its records are.
    pub storage: Storage,
    /// `[root]`: where the root key comes from.
    pub root: RootSource,
    /// `[policies]`: the named lease policies.
    pub policies: Policies,
    /// `[reaper]`: the closing of expired leases.
    pub reaper: Reaper,
    /// `[limits]`: how often callers may ask.
    pub limits: Limits,
    /// `[log]`: what is logged, and how it looks.
    pub log: Log,
    /// `[audit]`: the sealing of history, and where its checkpoints go.
    pub audit: Audit,
    /// `[retention]`: how long closed leases and records of the log are kept: by default a lease for 24 hours, and a
    /// record for ever.
    pub retention: Retention,
}

/// How clients reach the vault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// The address to listen on; port 0 takes a free one. Default `127.0.0.1:8200`. Without TLS it is a loopback
    /// address, unless `danger_plain_http` is set.
    pub listen: SocketAddr,
    /// Lets secrets cross the network in clear text, for a proxy in front that ends TLS. Default `false`.
    pub danger_plain_http: bool,
    /// The certificate to serve; `None`, the default, is plain HTTP.
    pub tls: Option<Tls>,
    /// The address that clients know the server by, an http or https URL; its access tokens name it as their issuer.
    /// `None`, the default: they name `leasehold`. Tokens that name another issuer are refused.
    pub public_url: Option<String>,
    /// How long open requests may take to end after SIGTERM: at most 10 minutes. Default 20 seconds.
    pub drain_deadline: Duration,
    /// How long one request may take: 1 second to 10 minutes. Default 30 seconds.
    pub request_timeout: Duration,
    /// How many connections may be open at once: 1 to 1,000,000. Default 10,000.
    pub max_connections: usize,
    /// The proxies whose `X-Forwarded-For` is believed. Default: none.
    pub trusted_proxies: Vec<IpNet>,
}

/// A certificate and its key, and whose certificates clients may show; all PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// The certificate chain, the server's own first.
    pub cert: PathBuf,
    /// The private key.
    pub key: PathBuf,
    /// The CAs of client certificates. `None`, the default: no client is asked for one. A client need not have one;
    /// one that is not of these CAs ends the handshake.
    pub client_ca: Option<PathBuf>,
}

/// Where the vault's records are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storage {
    /// The data folder. Has no default.
    pub data_dir: PathBuf,
    /// Memory for the store's page cache, in bytes: at least 16 MiB. Default 256 MiB.
    pub cache_bytes: u64,
    /// Free disk space, in bytes, below which new writes are refused. Default 128 MiB.
    pub reserve_bytes: u64,
}

/// Where the root key comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RootSource {
    /// `root.key_file`: a file that holds the key itself.
    KeyFile(PathBuf),
    /// `root.passphrase_file`: a file that holds the passphrase.
    PassphraseFile(PathBuf),
    /// Neither, the default: the passphrase is in the environment as `LEASEHOLD_PASSPHRASE`, or is asked for.
    PassphrasePrompt,
}

/// The named lease policies, on which those of credentials build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policies {
    /// The folder to read with [`policies::load`]; `None`, the default, stands for [`policies::built_in`].
    pub dir: Option<PathBuf>,
}

/// The closing of expired leases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reaper {
    /// Whether the reaper runs. Default `true`; `false` is for tests only. Expiry is checked at each use anyway.
    pub enabled: bool,
}

/// How often callers may ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Requests per minute and key; `None`, the default, is no limit.
    pub requests_per_minute: Option<NonZeroU32>,
    /// Requests per minute and source address, counted before authentication; `None`, the default, is no limit.
    pub source_requests_per_minute: Option<NonZeroU32>,
    /// Failed authentications per minute and source address, over which they are answered 429 and leave no further
    /// trace; callers that prove themselves are not touched. Default 60; `None` is no limit, for development.
    pub failed_authentications_per_minute: Option<NonZeroU32>,
}

/// What is logged, and how it looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// How a line looks. Default `human`.
    pub format: LogFormat,
    /// Which lines there are, as an `EnvFilter` of tracing-subscriber: not empty, otherwise unchecked. Default `info`.
    pub filter: String,
}

/// The sealing of history, and where its checkpoints go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    /// Whether the log is sealed in the background. Default `true`; `false` is for measuring what it costs.
    pub sealing: bool,
    /// Whether an index of the log is kept. Always, but under `dev --danger-disable-index`.
    pub indexing: bool,
    /// A file that each checkpoint is appended to. Default: none.
    pub checkpoint_file: Option<PathBuf>,
    /// An http or https URL that checkpoints are posted to. Default: none.
    pub checkpoint_url: Option<String>,
    /// Whether each checkpoint is a line of the log. Default `false`.
    pub checkpoint_log: bool,
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For a person at a terminal.
    Human,
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    /// The format's spelling.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Human => "human",
            Self::Json => "json",
        }
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Text that is not a log format.
#[derive(Debug, thiserror::Error)]
#[error("must be `human` or `json`")]
pub struct NotALogFormat;

impl FromStr for LogFormat {
    type Err = NotALogFormat;

    fn from_str(text: &str) -> Result<Self, NotALogFormat> {
        match text {
            "human" => Ok(Self::Human),
            "json" => Ok(Self::Json),
            _ => Err(NotALogFormat),
        }
    }
}

/// What the command line said. It holds over the file and the environment, and is validated with them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--listen`, for `server.listen`.
    pub listen: Option<SocketAddr>,
    /// `--data-dir`, for `storage.data_dir`.
    pub data_dir: Option<PathBuf>,
    /// `--danger-plain-http`: sets `server.danger_plain_http`; `false` leaves it as it is.
    pub danger_plain_http: bool,
    /// `--log-format`, for `log.format`.
    pub log_format: Option<LogFormat>,
    /// Clears `reaper.enabled`; `false` leaves it as it is.
    pub reaper_disabled: bool,
    /// Clears `audit.sealing`; `false` leaves it as it is.
    pub sealing_disabled: bool,
}

impl Config {
    /// Reads `file`, where there is one, and the process's environment over it.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        Self::load_with(file, Overrides::default())
    }

    /// As [`Config::load`], with the command line's flags over both.
    pub fn load_with(file: Option<&Path>, overrides: Overrides) -> Result<Self, ConfigError> {
        Self::load_from(file, std::env::vars_os(), overrides)
    }

    /// As [`Config::load_with`], with `variables` in place of the process's environment.
    pub fn load_from(
        file: Option<&Path>,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
        overrides: Overrides,
    ) -> Result<Self, ConfigError> {
        let (mut raw, mut origins) = raw::gather(file, variables)?;
        raw::override_with(&mut raw, &mut origins, overrides);
        resolve::resolve(raw, &origins)
    }

    /// The defaults, for `leasehold dev`: no file and no environment is read. The root key lies beside what it
    /// protects, as `root.key` in the data folder, which only a throwaway vault may do.
    pub fn development(data_dir: PathBuf) -> Self {
        let key_file = data_dir.join("root.key");
        let mut config = Self::with_defaults(data_dir, RootSource::KeyFile(key_file));
        // Everyone there is comes from one address.
        config.limits.failed_authentications_per_minute = None;
        config
    }

    /// The default of every key that has one.
    fn with_defaults(data_dir: PathBuf, root: RootSource) -> Self {
        const MIB: u64 = 1024 * 1024;
        Self {
            server: Server {
                listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8200)),
                danger_plain_http: false,
                tls: None,
                public_url: None,
                drain_deadline: Duration::from_secs(20),
                request_timeout: Duration::from_secs(30),
                max_connections: 10_000,
                trusted_proxies: Vec::new(),
            },
            storage: Storage {
                data_dir,
                cache_bytes: 256 * MIB,
                reserve_bytes: 128 * MIB,
            },
            root,
            policies: Policies { dir: None },
            reaper: Reaper { enabled: true },
            limits: Limits {
                requests_per_minute: None,
                source_requests_per_minute: None,
                failed_authentications_per_minute: NonZeroU32::new(60),
            },
            log: Log {
                format: LogFormat::Human,
                filter: "info".to_owned(),
            },
            audit: Audit {
                sealing: true,
                indexing: true,
                checkpoint_file: None,
                checkpoint_url: None,
                checkpoint_log: false,
            },
            retention: Retention::default(),
        }
    }
}

#[cfg(test)]
mod tests;
