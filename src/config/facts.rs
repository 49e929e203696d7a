//! The effective configuration as facts, for history. Secrets are not among them: a configuration names files that hold
//! some, and never holds one. Of files that decide who may do what, the digest is a fact.

use std::{collections::BTreeMap, fmt::Display, path::Path};

use sha2::{Digest, Sha256};

use super::{Config, RootSource, policies};
use crate::domain::retention::{EventClass, Retention};

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Config {
    /// Every key with its value, as one would write it, and a digest of each policy file.
    pub fn facts(&self) -> Result<BTreeMap<String, String>, policies::PolicyError> {
        let mut facts = BTreeMap::new();
        let mut tell = |key: &str, value: Option<&dyn Display>| {
            if let Some(value) = value {
                facts.insert(key.to_owned(), value.to_string());
            }
        };
        let span = |time| humantime::format_duration(time).to_string();
        let (server, storage, limits) = (&self.server, &self.storage, &self.limits);
        tell("server.listen", Some(&server.listen));
        tell("server.danger_plain_http", Some(&server.danger_plain_http));
        tell("server.drain_deadline", Some(&span(server.drain_deadline)));
        tell(
            "server.request_timeout",
            Some(&span(server.request_timeout)),
        );
        tell("server.max_connections", Some(&server.max_connections));
        if let Some(url) = &server.public_url {
            tell("server.public_url", Some(url));
        }
        if !server.trusted_proxies.is_empty() {
            let all: Vec<_> = server
                .trusted_proxies
                .iter()
                .map(ToString::to_string)
                .collect();
            tell("server.trusted_proxies", Some(&all.join(", ")));
        }
        if let Some(tls) = &server.tls {
            tell("server.tls.cert", Some(&tls.cert.display()));
            tell("server.tls.key", Some(&tls.key.display()));
            if let Some(ca) = &tls.client_ca {
                tell("server.tls.client_ca", Some(&ca.display()));
            }
        }
        tell("storage.data_dir", Some(&storage.data_dir.display()));
        tell("storage.cache_bytes", Some(&storage.cache_bytes));
        tell("storage.reserve_bytes", Some(&storage.reserve_bytes));
        match &self.root {
            RootSource::KeyFile(path) => tell("root.key_file", Some(&path.display())),
            RootSource::PassphraseFile(path) => tell("root.passphrase_file", Some(&path.display())),
            RootSource::PassphrasePrompt => {}
        }
        for (key, limit) in [
            ("limits.requests_per_minute", limits.requests_per_minute),
            (
                "limits.source_requests_per_minute",
                limits.source_requests_per_minute,
            ),
            (
                "limits.failed_authentications_per_minute",
                limits.failed_authentications_per_minute,
            ),
        ] {
            tell(key, limit.as_ref().map(|limit| limit as &dyn Display));
        }
        tell("reaper.enabled", Some(&self.reaper.enabled));
        let audit = &self.audit;
        tell("audit.sealing", Some(&audit.sealing));
        if let Some(file) = &audit.checkpoint_file {
            tell("audit.checkpoint_file", Some(&file.display()));
        }
        if let Some(url) = &audit.checkpoint_url {
            // What is behind the `?` may be a token.
            let (url, query) = url
                .split_once('?')
                .map_or((&**url, ""), |(url, _)| (url, "?…"));
            tell("audit.checkpoint_url", Some(&format_args!("{url}{query}")));
        }
        tell("audit.checkpoint_log", Some(&audit.checkpoint_log));
        let Retention {
            closed_leases,
            audit: kept,
        } = &self.retention;
        tell("retention.closed_leases", Some(closed_leases));
        let limits = kept.ages.iter().zip(&kept.class_max_bytes);
        for (class, (age, bytes)) in EventClass::ALL.iter().zip(limits) {
            let key = format!("retention.audit_{}", class.as_str());
            tell(&key, age.as_ref().map(|age| age as &dyn Display));
            let key = format!("{key}_max_bytes");
            tell(&key, bytes.as_ref().map(|bytes| bytes as &dyn Display));
        }
        let all = kept.max_bytes.as_ref();
        tell(
            "retention.audit_max_bytes",
            all.map(|bytes| bytes as &dyn Display),
        );
        tell("log.format", Some(&self.log.format));
        tell("log.filter", Some(&self.log.filter));
        if let Some(dir) = &self.policies.dir {
            tell("policies.dir", Some(&dir.display()));
            facts.extend(files(dir)?);
        }
        Ok(facts)
    }
}

/// The digest of each policy file in a folder.
fn files(dir: &Path) -> Result<Vec<(String, String)>, policies::PolicyError> {
    let texts = policies::load_texts(dir)?.into_iter();
    let named = texts.map(|(name, text)| {
        let digest = hex(&Sha256::digest(text.as_bytes()));
        (format!("policies.file.{name}"), format!("sha256:{digest}"))
    });
    Ok(named.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_that_is_set_is_a_fact() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.cedar"), "// none").unwrap();
        let mut config = Config::development("data".into());
        let before = config.facts().unwrap();
        assert_eq!(before["server.listen"], "127.0.0.1:8200");
        assert_eq!(before["root.key_file"], "data/root.key");
        assert!(!before.contains_key("limits.requests_per_minute"));
        config.policies.dir = Some(dir.path().to_owned());
        config.limits.requests_per_minute = std::num::NonZeroU32::new(5);
        config.audit.checkpoint_url = Some("https://w.example.com/a?t=hush".to_owned());
        config.retention.audit.ages[3] = Some(crate::domain::time::Span::from_secs(86_400));
        config.retention.audit.class_max_bytes[0] = Some(1 << 30);
        let after = config.facts().unwrap();
        assert_eq!(after["limits.requests_per_minute"], "5");
        assert_eq!(after["audit.checkpoint_url"], "https://w.example.com/a?…");
        assert_eq!(after["retention.audit_denial"], "1d");
        assert_eq!(after["retention.audit_access_max_bytes"], "1073741824");
        assert_eq!(before["retention.closed_leases"], "1d");
        assert!(after["policies.file.a.cedar"].starts_with("sha256:"));
        assert_eq!(after.len(), before.len() + 6);
    }
}
