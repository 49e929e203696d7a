//! A client's own book of what it asked for and what was acknowledged, and its comparison with the vault.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::Method;
use serde_json::{Value, json};

use super::kit::{Api, millis, text};
use crate::support::Vault;

/// What is known of a lease. Where more was asked for than acknowledged, both are right.
#[derive(Debug, Clone, Default)]
pub struct LeaseFacts {
    pub credential: String,
    pub version: u64,
    pub handle: String,
    pub expires: i64,
    pub renewals: u64,
    pub renewals_asked: u64,
    pub redeems: u64,
    pub redeems_asked: u64,
    pub release_asked: bool,
    pub released: bool,
    pub revoked: bool,
}

/// What is known of a credential.
#[derive(Debug, Default)]
pub struct CredentialFacts {
    pub current: u64,
    pub rotation_asked: bool,
    /// Grants whose answer never came.
    pub grants_asked: usize,
}

#[derive(Debug, Default)]
pub struct Book {
    credentials: BTreeMap<String, CredentialFacts>,
    pub leases: BTreeMap<String, LeaseFacts>,
}

impl Book {
    pub fn of(&mut self, credential: &str) -> &mut CredentialFacts {
        self.credentials.entry(credential.to_owned()).or_default()
    }

    /// The open leases that one of `of` workers goes on with.
    pub fn share(&self, worker: usize, of: usize) -> Vec<String> {
        let open = self
            .leases
            .iter()
            .filter(|(_, lease)| !lease.released && !lease.revoked);
        open.skip(worker)
            .step_by(of)
            .map(|(id, _)| id.clone())
            .collect()
    }

    /// Leases and rotations so far.
    pub fn totals(&self) -> (u64, u64) {
        let rotations = self.credentials.values().map(|facts| facts.current - 1);
        (self.leases.len() as u64, rotations.sum())
    }
}

/// Holds the vault to the book after the `kills`th kill, and enters what turned out to have happened.
pub async fn compare(vault: &Vault, book: &mut Book, kills: u64) {
    let admin = Api::admin(vault);
    let history = admin.all("/v1/audit?sort=time").await;
    let listed: BTreeMap<String, Value> = admin
        .all("/v1/leases")
        .await
        .into_iter()
        .map(|lease| (text(&lease, "id"), lease))
        .collect();
    compare_leases(book, &listed);
    compare_credentials(&admin, book, &listed).await;
    compare_history(book, &listed, &history, kills);
    redeem_open(vault, book).await;
}

fn compare_leases(book: &mut Book, listed: &BTreeMap<String, Value>) {
    for (id, facts) in &mut book.leases {
        let lease = listed
            .get(id)
            .unwrap_or_else(|| panic!("lease {id} was acknowledged and is lost: {facts:?}"));
        assert_eq!(lease["version"], facts.version, "{lease}");
        assert_eq!(text(lease, "credential_name"), facts.credential);
        let state = text(lease, "state");
        let allowed: &[&str] = match (facts.revoked, facts.released, facts.release_asked) {
            (true, ..) => &["revoked"],
            (_, true, _) => &["released"],
            (.., true) => &["active", "released"],
            _ => &["active"],
        };
        assert!(allowed.contains(&state.as_str()), "{lease} {facts:?}");
        (facts.released, facts.release_asked) = (state == "released", state == "released");
        let (renewals, uses) = (
            lease["renewals"].as_u64().unwrap(),
            lease["uses"].as_u64().unwrap(),
        );
        assert!(
            (facts.renewals..=facts.renewals_asked).contains(&renewals),
            "{lease} {facts:?}"
        );
        assert!(
            (facts.redeems..=facts.redeems_asked).contains(&uses),
            "{lease} {facts:?}"
        );
        let expires = millis(lease, "expires_at");
        if renewals == facts.renewals {
            assert_eq!(expires, facts.expires, "{lease} {facts:?}");
        } else {
            assert!(expires >= facts.expires, "{lease} {facts:?}");
        }
        (facts.renewals, facts.renewals_asked) = (renewals, renewals);
        (facts.redeems, facts.redeems_asked) = (uses, uses);
        facts.expires = expires;
    }
    // Leases of which nobody was told: no more than were asked for.
    for (id, lease) in listed {
        if book.leases.contains_key(id) {
            continue;
        }
        let credential = text(lease, "credential_name");
        let facts = book.of(&credential);
        assert!(facts.grants_asked > 0, "nobody asked for {lease}");
        facts.grants_asked -= 1;
        assert_eq!(lease["state"], "active");
        let found = LeaseFacts {
            credential,
            version: lease["version"].as_u64().unwrap(),
            expires: millis(lease, "expires_at"),
            ..LeaseFacts::default()
        };
        book.leases.insert(id.clone(), found);
    }
    for facts in book.credentials.values_mut() {
        facts.grants_asked = 0;
    }
}

async fn compare_credentials(admin: &Api, book: &mut Book, listed: &BTreeMap<String, Value>) {
    for (name, facts) in &mut book.credentials {
        let shown = admin.credential(name).await;
        let current = shown["current_version"].as_u64().unwrap();
        let most = facts.current + u64::from(facts.rotation_asked);
        assert!(
            (facts.current..=most).contains(&current),
            "{shown} {facts:?}"
        );
        (facts.current, facts.rotation_asked) = (current, false);
        let open = |version: Option<u64>| {
            let of = listed.values().filter(|lease| {
                lease["credential_name"] == *name
                    && lease["state"] == "active"
                    && version.is_none_or(|version| lease["version"] == version)
            });
            of.count() as u64
        };
        assert_eq!(shown["active_leases"], open(None), "{shown}");
        assert!(open(None) <= 8, "{shown}");
        let versions = admin.versions(name).await;
        assert_eq!(versions.len() as u64, current);
        for version in versions {
            let number = version["number"].as_u64().unwrap();
            let leases = open(Some(number));
            assert_eq!(version["active_leases"], leases, "{version}");
            let state = match (number == current, leases) {
                (true, _) => "current",
                (false, 0) => "retired",
                (false, _) => "rotated",
            };
            assert_eq!(version["state"], state, "{version}");
        }
    }
}

/// Every state has its record, and every record its state; sequence numbers have no gap but the vault's own records,
/// which belong to no workspace: three at the first start and one at each other.
fn compare_history(book: &Book, listed: &BTreeMap<String, Value>, history: &[Value], kills: u64) {
    let numbers: Vec<u64> = history
        .iter()
        .map(|event| event["sequence"].as_u64().unwrap())
        .collect();
    assert!(numbers.is_sorted_by(|before, after| before < after));
    let missing = numbers.last().unwrap() - numbers.len() as u64;
    assert_eq!(missing, 3 + kills, "records are missing from history");

    let mut counts: BTreeMap<(String, String), u64> = BTreeMap::new();
    let mut retired = BTreeSet::new();
    for event in history {
        let name = text(event, "event");
        let subject = match name.split_once('.').unwrap() {
            ("lease", _) if event["lease_id"].is_string() => text(event, "lease_id"),
            _ => text(event, "credential_name"),
        };
        if name == "credential.version_retired" {
            let version = event["version"].as_u64().unwrap();
            assert!(retired.insert((subject.clone(), version)), "retired twice");
        }
        *counts.entry((name, subject)).or_default() += 1;
    }
    let count = |event: &str, subject: &str| {
        let key = (event.to_owned(), subject.to_owned());
        counts.get(&key).copied().unwrap_or(0)
    };
    for (id, lease) in listed {
        assert_eq!(count("lease.issued", id), 1, "{lease}");
        let closed = |state: &str| u64::from(lease["state"] == state);
        assert_eq!(count("lease.released", id), closed("released"), "{lease}");
        assert_eq!(count("lease.revoked", id), closed("revoked"), "{lease}");
        assert_eq!(
            count("lease.renewed", id),
            lease["renewals"].as_u64().unwrap()
        );
        assert_eq!(count("lease.redeemed", id), lease["uses"].as_u64().unwrap());
    }
    let issued = history
        .iter()
        .filter(|event| event["event"] == "lease.issued");
    assert_eq!(
        issued.count(),
        listed.len(),
        "records of leases that are not"
    );
    for (name, facts) in &book.credentials {
        assert_eq!(count("credential.rotated", name), facts.current - 1);
        let open: BTreeSet<u64> = book
            .leases
            .values()
            .filter(|lease| lease.credential == *name && !lease.released && !lease.revoked)
            .map(|lease| lease.version)
            .collect();
        for version in 1..facts.current {
            let expected = !open.contains(&version);
            assert_eq!(retired.contains(&(name.clone(), version)), expected);
        }
    }
}

/// Open leases have the value of their version still; those without a known handle are ended.
async fn redeem_open(vault: &Vault, book: &mut Book) {
    let agent = Api::agent(vault);
    for (id, facts) in &mut book.leases {
        if facts.released || facts.revoked {
            if !facts.handle.is_empty() {
                let refused = agent.redeem(&facts.handle).await.unwrap_err();
                assert!(refused.starts_with("410 "), "{refused}");
            }
        } else if facts.handle.is_empty() {
            let path = format!("/v1/leases/{id}/revoke");
            let reason = json!({"reason": "its grant was never answered"});
            vault
                .admin(Method::POST, &path, Some(reason))
                .await
                .data(200);
            facts.revoked = true;
        } else {
            let value = agent.redeem(&facts.handle).await.unwrap();
            assert_eq!(
                value,
                format!("{}-value-{}", facts.credential, facts.version)
            );
            facts.redeems += 1;
            facts.redeems_asked += 1;
        }
    }
}
