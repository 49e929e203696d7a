//! The one step from what was said to what holds: values are read, bounded and held against one another.

use std::{
    net::{IpAddr, SocketAddr},
    num::NonZeroU32,
    ops::RangeInclusive,
    path::PathBuf,
    time::Duration,
};

use ipnet::IpNet;

use super::{
    Audit, Config, ConfigError, Limits, Log, LogFormat, Policies, Reaper, RootSource, Server,
    Storage, Tls,
    raw::{
        Origins, RawAudit, RawConfig, RawLimits, RawLog, RawRetention, RawRoot, RawServer, RawTls,
        variable,
    },
    value::{Switch, Whole},
};
use crate::domain::{
    retention::{AuditRetention, Retention},
    time::Span,
};

/// A drain longer than this outlives every supervisor's patience and ends in SIGKILL.
const DRAIN_DEADLINE: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(600);
/// Shorter than a second and a durable write on a busy disk times out; longer and a stuck client is never let go.
const REQUEST_TIMEOUT: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(600);
/// Each connection is a file descriptor, and systems allow about a million.
const CONNECTIONS: RangeInclusive<u64> = 1..=1_000_000;
/// Below 16 MiB the store reads a page from disk for almost every record.
const CACHE_BYTES: RangeInclusive<u64> = 16 * 1024 * 1024..=u64::MAX;
/// Any amount; 0 keeps no reserve.
const RESERVE_BYTES: RangeInclusive<u64> = 0..=u64::MAX;
/// A retention below a second cannot be told from none; above a hundred years it is for ever.
const RETENTION: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(36_525 * 86_400);
/// A log is held to its bound by whole ranges, which are some megabytes each.
const AUDIT_BYTES: RangeInclusive<u64> = 64 * 1024 * 1024..=u64::MAX;
/// The records of one class are a part of each range.
const CLASS_BYTES: RangeInclusive<u64> = 16 * 1024 * 1024..=u64::MAX;
/// What the limiter counts with.
const PER_MINUTE: RangeInclusive<u64> = 1..=u32::MAX as u64;

/// Makes a valid configuration, or says where and why there is none.
pub fn resolve(raw: RawConfig, origins: &Origins) -> Result<Config, ConfigError> {
    let step = Step { origins };
    let data_dir = step
        .path("storage.data_dir", raw.storage.data_dir)?
        .ok_or_else(|| ConfigError::Missing {
            key: "storage.data_dir",
            variable: variable("storage.data_dir"),
            flag: "--data-dir",
        })?;
    let default = Config::with_defaults(data_dir, step.root(raw.root)?);
    let cache_bytes = step.whole("storage.cache_bytes", raw.storage.cache_bytes, CACHE_BYTES)?;
    let reserve_bytes = step.whole(
        "storage.reserve_bytes",
        raw.storage.reserve_bytes,
        RESERVE_BYTES,
    )?;
    let limits = step.limits(raw.limits, default.limits)?;
    Ok(Config {
        server: step.server(raw.server, default.server)?,
        storage: Storage {
            data_dir: default.storage.data_dir,
            cache_bytes: cache_bytes.unwrap_or(default.storage.cache_bytes),
            reserve_bytes: reserve_bytes.unwrap_or(default.storage.reserve_bytes),
        },
        root: default.root,
        policies: Policies {
            dir: step.path("policies.dir", raw.policies.dir)?,
        },
        reaper: Reaper {
            enabled: raw
                .reaper
                .enabled
                .map_or(default.reaper.enabled, |Switch(on)| on),
        },
        limits,
        log: step.log(raw.log, default.log)?,
        audit: step.audit(raw.audit, default.audit)?,
        retention: step.retention(raw.retention, default.retention)?,
    })
}

struct Step<'a> {
    origins: &'a Origins,
}

impl Step<'_> {
    fn server(&self, raw: RawServer, default: Server) -> Result<Server, ConfigError> {
        let max_connections =
            self.whole("server.max_connections", raw.max_connections, CONNECTIONS)?;
        let server = Server {
            listen: self.listen(raw.listen)?.unwrap_or(default.listen),
            danger_plain_http: raw
                .danger_plain_http
                .map_or(default.danger_plain_http, |Switch(on)| on),
            tls: self.tls(raw.tls)?,
            public_url: self.public_url(raw.public_url)?,
            drain_deadline: self
                .duration("server.drain_deadline", raw.drain_deadline, DRAIN_DEADLINE)?
                .unwrap_or(default.drain_deadline),
            request_timeout: self
                .duration(
                    "server.request_timeout",
                    raw.request_timeout,
                    REQUEST_TIMEOUT,
                )?
                .unwrap_or(default.request_timeout),
            max_connections: max_connections
                .and_then(|most| usize::try_from(most).ok())
                .unwrap_or(default.max_connections),
            trusted_proxies: self.proxies(raw.trusted_proxies)?,
        };
        if server.tls.is_none()
            && !server.danger_plain_http
            && !server.listen.ip().to_canonical().is_loopback()
        {
            return Err(self.refuse(
                "server.listen",
                "is not a loopback address, and without TLS every secret would cross the network in clear text: set \
                 `server.tls.cert` and `server.tls.key`, or listen on 127.0.0.1, or, where a proxy in front ends TLS, \
                 set `server.danger_plain_http` (--danger-plain-http)",
            ));
        }
        Ok(server)
    }

    fn limits(&self, raw: RawLimits, default: Limits) -> Result<Limits, ConfigError> {
        let number = |key, value| -> Result<Option<NonZeroU32>, ConfigError> {
            let value = self.whole(key, value, PER_MINUTE)?;
            Ok(value
                .and_then(|value| u32::try_from(value).ok())
                .and_then(NonZeroU32::new))
        };
        let failures = number(
            "limits.failed_authentications_per_minute",
            raw.failed_authentications_per_minute,
        )?;
        Ok(Limits {
            requests_per_minute: number("limits.requests_per_minute", raw.requests_per_minute)?,
            source_requests_per_minute: number(
                "limits.source_requests_per_minute",
                raw.source_requests_per_minute,
            )?,
            failed_authentications_per_minute: failures
                .or(default.failed_authentications_per_minute),
        })
    }

    fn proxies(&self, text: Option<String>) -> Result<Vec<IpNet>, ConfigError> {
        let read = |one: &str| {
            let address = || one.parse::<IpAddr>().map(IpNet::from);
            one.parse::<IpNet>().or_else(|_| address()).map_err(|_| {
                self.refuse(
                    "server.trusted_proxies",
                    "must be addresses or networks with commas between them, such as `10.0.0.0/8, ::1`",
                )
            })
        };
        let text = text.unwrap_or_default();
        text.split(',')
            .map(str::trim)
            .filter(|one| !one.is_empty())
            .map(read)
            .collect()
    }

    fn listen(&self, text: Option<String>) -> Result<Option<SocketAddr>, ConfigError> {
        let read = |text: String| {
            text.parse().map_err(|_| {
                self.refuse(
                    "server.listen",
                    "must be an IP address and a port, such as `127.0.0.1:8200` or `[::]:8200`",
                )
            })
        };
        text.map(read).transpose()
    }

    /// The text as it was given, so that `iss` is what the operator wrote.
    fn public_url(&self, text: Option<String>) -> Result<Option<String>, ConfigError> {
        let plain = |text: &String| {
            url::Url::parse(text).is_ok_and(|url| {
                matches!(url.scheme(), "http" | "https")
                    && url.has_host()
                    && url.username().is_empty()
                    && url.password().is_none()
                    && url.query().is_none()
                    && url.fragment().is_none()
            })
        };
        match text {
            Some(text) if !plain(&text) => Err(self.refuse(
                "server.public_url",
                "must be an http or https URL without user, query and fragment, such as `https://vault.example.com`",
            )),
            text => Ok(text),
        }
    }

    fn tls(&self, raw: RawTls) -> Result<Option<Tls>, ConfigError> {
        let cert = self.path("server.tls.cert", raw.cert)?;
        let key = self.path("server.tls.key", raw.key)?;
        let client_ca = self.path("server.tls.client_ca", raw.client_ca)?;
        match (cert, key) {
            (Some(cert), Some(key)) => Ok(Some(Tls {
                cert,
                key,
                client_ca,
            })),
            (None, None) if client_ca.is_some() => Err(self.refuse(
                "server.tls.client_ca",
                "is set without `server.tls.cert` and `server.tls.key`: clients show certificates over TLS alone",
            )),
            (None, None) => Ok(None),
            (Some(_), None) => Err(self.refuse(
                "server.tls.cert",
                "is set without `server.tls.key`: set both or neither",
            )),
            (None, Some(_)) => Err(self.refuse(
                "server.tls.key",
                "is set without `server.tls.cert`: set both or neither",
            )),
        }
    }

    fn root(&self, raw: RawRoot) -> Result<RootSource, ConfigError> {
        let key_file = self.path("root.key_file", raw.key_file)?;
        let passphrase_file = self.path("root.passphrase_file", raw.passphrase_file)?;
        match (key_file, passphrase_file) {
            (Some(_), Some(_)) => Err(self.refuse(
                "root.passphrase_file",
                format!(
                    "is set beside `root.key_file` ({}), and a vault has one root key: remove one of them",
                    self.origins.place("root.key_file")
                ),
            )),
            (Some(file), None) => Ok(RootSource::KeyFile(file)),
            (None, Some(file)) => Ok(RootSource::PassphraseFile(file)),
            (None, None) => Ok(RootSource::PassphrasePrompt),
        }
    }

    fn log(&self, raw: RawLog, default: Log) -> Result<Log, ConfigError> {
        let format = match raw.format {
            Some(text) => text
                .parse::<LogFormat>()
                .map_err(|error| self.refuse("log.format", error.to_string()))?,
            None => default.format,
        };
        let filter = raw.filter.unwrap_or(default.filter);
        if filter.trim().is_empty() {
            return Err(self.refuse("log.filter", "is empty: use `info`, or `off` for no log"));
        }
        Ok(Log { format, filter })
    }

    fn audit(&self, raw: RawAudit, default: Audit) -> Result<Audit, ConfigError> {
        let plain = |text: &String| {
            url::Url::parse(text).is_ok_and(|url| {
                matches!(url.scheme(), "http" | "https")
                    && url.has_host()
                    && url.username().is_empty()
                    && url.password().is_none()
                    && url.fragment().is_none()
            })
        };
        if raw.checkpoint_url.as_ref().is_some_and(|text| !plain(text)) {
            return Err(self.refuse(
                "audit.checkpoint_url",
                "must be an http or https URL without user and fragment, such as `https://witness.example.com/leasehold`",
            ));
        }
        let switch = |set: Option<Switch>, default| set.map_or(default, |Switch(on)| on);
        Ok(Audit {
            sealing: switch(raw.sealing, default.sealing),
            indexing: default.indexing,
            checkpoint_file: self.path("audit.checkpoint_file", raw.checkpoint_file)?,
            checkpoint_url: raw.checkpoint_url,
            checkpoint_log: switch(raw.checkpoint_log, default.checkpoint_log),
        })
    }

    fn retention(&self, raw: RawRetention, default: Retention) -> Result<Retention, ConfigError> {
        let span = |key, text| -> Result<Option<Span>, ConfigError> {
            let kept = self.duration(key, text, RETENTION)?;
            let millis = kept.and_then(|kept| u64::try_from(kept.as_millis()).ok());
            Ok(millis.map(Span::from_millis))
        };
        let bytes = |key, value| self.whole(key, value, CLASS_BYTES);
        let closed_leases = span("retention.closed_leases", raw.closed_leases)?;
        Ok(Retention {
            closed_leases: closed_leases.unwrap_or(default.closed_leases),
            audit: AuditRetention {
                ages: [
                    span("retention.audit_access", raw.audit_access)?,
                    span("retention.audit_admin", raw.audit_admin)?,
                    span("retention.audit_vault", raw.audit_vault)?,
                    span("retention.audit_denial", raw.audit_denial)?,
                ],
                class_max_bytes: [
                    bytes(
                        "retention.audit_access_max_bytes",
                        raw.audit_access_max_bytes,
                    )?,
                    bytes("retention.audit_admin_max_bytes", raw.audit_admin_max_bytes)?,
                    bytes("retention.audit_vault_max_bytes", raw.audit_vault_max_bytes)?,
                    bytes(
                        "retention.audit_denial_max_bytes",
                        raw.audit_denial_max_bytes,
                    )?,
                ],
                max_bytes: self.whole(
                    "retention.audit_max_bytes",
                    raw.audit_max_bytes,
                    AUDIT_BYTES,
                )?,
            },
        })
    }

    fn duration(
        &self,
        key: &str,
        text: Option<String>,
        range: RangeInclusive<Duration>,
    ) -> Result<Option<Duration>, ConfigError> {
        let Some(text) = text else { return Ok(None) };
        let shown = |bound: &Duration| humantime::format_duration(*bound).to_string();
        match humantime::parse_duration(&text) {
            Ok(duration) if range.contains(&duration) => Ok(Some(duration)),
            Ok(_) => Err(self.refuse(
                key,
                format!(
                    "must be between {} and {}",
                    shown(range.start()),
                    shown(range.end())
                ),
            )),
            Err(_) => {
                Err(self.refuse(key, "must be a duration with a unit, such as `30s` or `5m`"))
            }
        }
    }

    fn whole(
        &self,
        key: &str,
        value: Option<Whole>,
        range: RangeInclusive<u64>,
    ) -> Result<Option<u64>, ConfigError> {
        match value {
            Some(Whole(value)) if range.contains(&value) => Ok(Some(value)),
            Some(_) if *range.end() == u64::MAX => {
                Err(self.refuse(key, format!("must be at least {}", range.start())))
            }
            Some(_) => {
                Err(self.refuse(key, format!("must be {} to {}", range.start(), range.end())))
            }
            None => Ok(None),
        }
    }

    fn path(&self, key: &str, path: Option<PathBuf>) -> Result<Option<PathBuf>, ConfigError> {
        match path {
            Some(path) if path.as_os_str().is_empty() => {
                Err(self.refuse(key, "is empty: name a path, or leave it out"))
            }
            path => Ok(path),
        }
    }

    fn refuse(&self, key: &str, reason: impl AsRef<str>) -> ConfigError {
        ConfigError::Invalid {
            place: self.origins.place(key),
            reason: format!("`{key}` {}", reason.as_ref()),
        }
    }
}

#[cfg(test)]
mod tests;
