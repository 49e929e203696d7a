//! A credential's lease policy on the command line: a file, and flags over it. What it means is the vault's
//! to say; here it only takes its JSON form.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use clap::ValueEnum;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::failure::Failure;

/// The longest policy file, in bytes: as long as the longest body that the vault reads.
const MAX_POLICY_BYTES: usize = 1 << 20;

/// How a lease lets its holder use the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Delivery {
    /// The vault puts the value into the holder's requests; the holder never sees it
    Broker,
    /// The holder is given the value
    Reveal,
}

/// What a rotation does with open leases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum OnOpenLeases {
    /// They keep the old value until they close
    Drain,
    /// Broker leases move to the new value at once
    Follow,
    /// They are revoked
    Cut,
}

/// A limit that may be lifted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limit(Option<u32>);

fn parse_limit(text: &str) -> Result<Limit, String> {
    match text {
        "none" => Ok(Limit(None)),
        _ => text
            .parse()
            .map(|n| Limit(Some(n)))
            .map_err(|_| "expected a number or `none`".to_owned()),
    }
}

/// The fields of a policy, as `--unset-policy` takes them.
pub(super) const FIELDS: [&str; 13] = [
    "extends",
    "default_lease_ttl",
    "max_lease_ttl",
    "max_leases",
    "delivery",
    "renewable",
    "require_purpose",
    "max_uses",
    "on_rotate",
    "egress",
    "allowed_identities",
    "rotate_after_reveal",
    "canary_suspends",
];

/// The flags of a lease policy.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Lease policy")]
pub(super) struct PolicyArgs {
    /// Read the policy from a JSON file; flags go over it
    #[arg(long, value_name = "FILE.json")]
    policy_file: Option<PathBuf>,
    /// Build on a named policy of the vault
    #[arg(long, value_name = "POLICY")]
    extends: Option<String>,
    /// The TTL of a lease that asks for none, for example 30m
    #[arg(long, value_name = "DURATION")]
    default_lease_ttl: Option<String>,
    /// The longest life of a lease, renewals included, for example 4h
    #[arg(long, value_name = "DURATION")]
    max_lease_ttl: Option<String>,
    /// The most leases that are active at once
    #[arg(long, value_name = "N")]
    max_leases: Option<u32>,
    /// How leases may be used, the default first: broker, reveal or both
    #[arg(long, value_enum, value_delimiter = ',', value_name = "HOW[,HOW]")]
    delivery: Vec<Delivery>,
    /// Whether leases can be renewed
    #[arg(long, value_name = "BOOL")]
    renewable: Option<bool>,
    /// Whether a lease must state its purpose
    #[arg(long, value_name = "BOOL")]
    require_purpose: Option<bool>,
    /// How often one lease may be used, or `none` for no limit
    #[arg(long, value_name = "N", value_parser = parse_limit)]
    max_uses: Option<Limit>,
    /// What a rotation does with open leases
    #[arg(long, value_enum, value_name = "WHAT")]
    on_rotate: Option<OnOpenLeases>,
    /// A host that broker leases may reach, for example api.openai.com; repeatable
    #[arg(long, value_name = "HOST")]
    egress_host: Vec<String>,
    /// A method that broker leases may use; repeatable
    #[arg(long, value_name = "METHOD")]
    egress_method: Vec<String>,
    /// A path that broker leases may reach, for example /v1/*; repeatable
    #[arg(long, value_name = "PATH")]
    egress_path: Vec<String>,
    /// Who may hold leases: a name or a glob, for example agent/ci-*; repeatable
    #[arg(long, value_name = "IDENTITY")]
    allow_identity: Vec<String>,
    /// Whether a version is due for rotation once a lease that had shown its value closes
    #[arg(long, value_name = "BOOL")]
    rotate_after_reveal: Option<bool>,
    /// Whether an identity that touches the credential is suspended, where it is a canary
    #[arg(long, value_name = "BOOL")]
    canary_suspends: Option<bool>,
}

impl PolicyArgs {
    /// The policy's JSON; none where nothing was said.
    pub(super) fn to_json(&self) -> Result<Option<Map<String, Value>>, Failure> {
        let mut policy = match &self.policy_file {
            Some(path) => Some(read_file(path)?),
            None => None,
        };
        for (field, value) in self.flags() {
            policy
                .get_or_insert_default()
                .insert(field.to_owned(), value);
        }
        let egress = [
            ("hosts", &self.egress_host),
            ("methods", &self.egress_method),
            ("paths", &self.egress_path),
        ];
        for (field, entries) in egress
            .into_iter()
            .filter(|(_, entries)| !entries.is_empty())
        {
            let egress = policy
                .get_or_insert_default()
                .entry("egress")
                .or_insert(Value::Null);
            if !egress.is_object() {
                *egress = json!({});
            }
            if let Some(egress) = egress.as_object_mut() {
                egress.insert(field.to_owned(), json!(entries));
            }
        }
        Ok(policy)
    }

    fn flags(&self) -> impl Iterator<Item = (&'static str, Value)> {
        let text = |text: &Option<String>| text.as_ref().map(|text| json!(text));
        let delivery = (!self.delivery.is_empty()).then(|| json!(self.delivery));
        let allowed = (!self.allow_identity.is_empty()).then(|| json!(self.allow_identity));
        [
            ("extends", text(&self.extends)),
            ("default_lease_ttl", text(&self.default_lease_ttl)),
            ("max_lease_ttl", text(&self.max_lease_ttl)),
            ("max_leases", self.max_leases.map(|n| json!(n))),
            ("delivery", delivery),
            ("renewable", self.renewable.map(|yes| json!(yes))),
            (
                "require_purpose",
                self.require_purpose.map(|yes| json!(yes)),
            ),
            ("max_uses", self.max_uses.map(|limit| json!(limit.0))),
            ("on_rotate", self.on_rotate.map(|what| json!(what))),
            ("allowed_identities", allowed),
            (
                "rotate_after_reveal",
                self.rotate_after_reveal.map(|yes| json!(yes)),
            ),
            (
                "canary_suspends",
                self.canary_suspends.map(|yes| json!(yes)),
            ),
        ]
        .into_iter()
        .filter_map(|(field, value)| Some((field, value?)))
    }
}

fn read_file(path: &Path) -> Result<Map<String, Value>, Failure> {
    let failed = |error: &dyn std::fmt::Display| {
        Failure::Local(format!(
            "cannot read the policy from `{}`: {error}",
            path.display()
        ))
    };
    let text = File::open(path)
        .and_then(|file| io::read_to_string(file.take(MAX_POLICY_BYTES as u64 + 1)))
        .map_err(|error| failed(&error))?;
    if text.len() > MAX_POLICY_BYTES {
        return Err(failed(&format!(
            "it is longer than {MAX_POLICY_BYTES} bytes"
        )));
    }
    serde_json::from_str(&text).map_err(|error| failed(&format!("it is no JSON object: {error}")))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::test_vault::TempFile;
    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        policy: PolicyArgs,
    }

    fn policy(line: &[&str]) -> Result<Option<Value>, Failure> {
        let cli = Cli::parse_from(std::iter::once("x").chain(line.iter().copied()));
        Ok(cli.policy.to_json()?.map(Value::Object))
    }

    #[test]
    fn every_flag_has_its_place() {
        let line = "--extends production --default-lease-ttl 30m --max-lease-ttl 4h --max-leases 5 \
            --delivery broker,reveal --renewable true --require-purpose false --max-uses none \
            --on-rotate cut --egress-host a.com --egress-host b.com --egress-method GET --egress-path /v1/* \
            --allow-identity claude-code --allow-identity agent/ci-* \
            --rotate-after-reveal true --canary-suspends false";
        let policy = policy(&line.split_whitespace().collect::<Vec<_>>())
            .unwrap()
            .unwrap();
        assert_eq!(
            policy,
            json!({
                "extends": "production", "default_lease_ttl": "30m", "max_lease_ttl": "4h",
                "max_leases": 5, "delivery": ["broker", "reveal"], "renewable": true,
                "require_purpose": false, "max_uses": null, "on_rotate": "cut",
                "egress": { "hosts": ["a.com", "b.com"], "methods": ["GET"], "paths": ["/v1/*"] },
                "allowed_identities": ["claude-code", "agent/ci-*"],
                "rotate_after_reveal": true, "canary_suspends": false
            })
        );
        assert!(
            policy
                .as_object()
                .unwrap()
                .keys()
                .all(|field| FIELDS.contains(&field.as_str()))
        );
        assert_eq!(policy.as_object().unwrap().len(), FIELDS.len());
    }

    #[test]
    fn nothing_said_is_nothing_sent() {
        assert!(policy(&[]).unwrap().is_none());
    }

    #[test]
    fn flags_go_over_the_file() {
        let file = TempFile::new(br#"{"max_leases":9,"max_uses":2,"egress":{"hosts":["a.com"]}}"#);
        let path = file.path().to_str().unwrap();
        let line = [
            "--policy-file",
            path,
            "--max-leases",
            "1",
            "--egress-method",
            "GET",
        ];
        assert_eq!(
            policy(&line).unwrap().unwrap(),
            json!({ "max_leases": 1, "max_uses": 2, "egress": { "hosts": ["a.com"], "methods": ["GET"] } })
        );
    }

    #[test]
    fn a_file_that_is_no_policy_is_named() {
        for content in [&b"[]"[..], b"{", b"\xff"] {
            let file = TempFile::new(content);
            let path = file.path().to_str().unwrap();
            let Err(Failure::Local(message)) = policy(&["--policy-file", path]) else {
                panic!()
            };
            assert!(message.contains(path), "{message}");
        }
    }
}
