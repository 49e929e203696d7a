//! Holds a vault to a client's book, through the API alone, after it was killed or cut off.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{
    book::{Book, LeaseFacts, value},
    kit::{Api, millis, now_millis, text},
    traffic::{CLOCK_SLACK, MAX_LEASES},
};

/// The longest that the reaper may take to close what is over.
const REAPED_WITHIN: Duration = Duration::from_secs(60);
/// Records of one commit group may be in another order than their times.
const DISORDER: i64 = 5000;

type Listed = BTreeMap<String, Value>;

/// Holds the vault to the book, and enters what turned out to have happened.
pub async fn compare(agent: &Api, admin: &Api, book: &mut Book) {
    let wait = book.settled_at - now_millis();
    if wait > 0 {
        tokio::time::sleep(Duration::from_millis(wait as u64)).await;
    }
    let from = book.history.last.max(1);
    let records = reaped(admin, book).await;
    // INVARIANT (audit-tamper): a kill leaves no log that looks tampered with.
    let verified = admin.get(&format!("/v1/audit/verify?from={from}")).await;
    assert_eq!(verified["data"]["intact"], true, "{verified}");
    let leases = admin.all("/v1/leases").await;
    let listed: Listed = leases
        .into_iter()
        .map(|lease| (text(&lease, "id"), lease))
        .collect();
    compare_credentials(admin, book, &listed).await;
    compare_leases(book, &listed);
    let own = admin.all("/v1/audit?scope=organisation&sort=time").await;
    compare_history(book, &listed, &records, &own);
    redeem_all(agent, admin, book).await;
}

/// Reads on in history until what is over was closed.
async fn reaped(admin: &Api, book: &mut Book) -> Vec<Value> {
    let begun = Instant::now();
    let mut records = Vec::new();
    loop {
        records.extend(read_history(admin, book).await);
        let listed = admin.all("/v1/leases?state=expired").await;
        let open = listed
            .iter()
            .find(|lease| book.history.count("lease.expired", &text(lease, "id")) == 0);
        let Some(open) = open else {
            return records;
        };
        assert!(begun.elapsed() < REAPED_WITHIN, "never closed: {open}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The records since the last reading, in order and without gaps but for the vault's own, which are read apart.
async fn read_history(admin: &Api, book: &mut Book) -> Vec<Value> {
    let now = now_millis();
    let since = jiff::Timestamp::from_millisecond(book.history.read_at - DISORDER).unwrap();
    let path = match book.history.last {
        0 => "/v1/audit?sort=time".to_owned(),
        _ => format!("/v1/audit?sort=time&since={since}"),
    };
    let mut records = admin.all(&path).await;
    let history = &mut book.history;
    let numbers: Vec<u64> = records.iter().map(sequence).collect();
    assert!(numbers.is_sorted_by(|before, after| before < after));
    records.retain(|record| sequence(record) > history.last);
    for record in &records {
        let event = text(record, "event");
        let subject = subject(record);
        if event == "credential.version_retired" {
            let retired = (subject.clone(), record["version"].as_u64().unwrap());
            assert!(history.retired.insert(retired), "retired twice: {record}");
        }
        *history.counts.entry((event, subject)).or_default() += 1;
    }
    history.records += records.len() as u64;
    history.last = records.last().map_or(history.last, sequence);
    history.read_at = now;
    records
}

fn sequence(record: &Value) -> u64 {
    record["sequence"].as_u64().unwrap()
}

/// The lease of a record, else its credential.
fn subject(record: &Value) -> String {
    let lease = text(record, "event").starts_with("lease.") && record["lease_id"].is_string();
    text(record, if lease { "lease_id" } else { "credential_name" })
}

async fn compare_credentials(admin: &Api, book: &mut Book, listed: &Listed) {
    for (name, facts) in &mut book.credentials {
        let shown = admin.credential(name).await;
        let current = shown["current_version"].as_u64().unwrap();
        let most = facts.current + u64::from(facts.rotation_asked.is_some());
        assert!(
            (facts.current..=most).contains(&current),
            "a rotation was acknowledged and is lost, or nobody asked for it: {shown} {facts:?}"
        );
        if current == facts.current && facts.rotation_asked == Some(true) {
            // It was not cut after all.
            facts.cut.remove(&current);
        }
        (facts.current, facts.rotation_asked) = (current, None);
        let open = |version: Option<u64>| {
            let of = listed.values().filter(|lease| {
                lease["credential_name"] == *name
                    && lease["state"] == "active"
                    && version.is_none_or(|version| lease["version"] == version)
            });
            of.count() as u64
        };
        assert_eq!(
            shown["active_leases"],
            open(None),
            "the counter is not the count of records: {shown}"
        );
        assert!(open(None) <= MAX_LEASES, "{shown}");
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

fn compare_leases(book: &mut Book, listed: &Listed) {
    let cuts: BTreeSet<(String, u64)> = book
        .credentials
        .iter()
        .flat_map(|(name, facts)| facts.cut.iter().map(|version| (name.clone(), *version)))
        .collect();
    let was_cut = |facts: &LeaseFacts| cuts.contains(&(facts.credential.clone(), facts.version));
    for (id, facts) in &mut book.leases {
        let lease = listed
            .get(id)
            .unwrap_or_else(|| panic!("lease {id} was acknowledged and is lost: {facts:?}"));
        compare_lease(facts, lease, was_cut(facts));
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
        let mut found = LeaseFacts {
            credential,
            version: lease["version"].as_u64().unwrap(),
            expires: millis(lease, "expires_at"),
            ..LeaseFacts::default()
        };
        let cut = was_cut(&found);
        compare_lease(&mut found, lease, cut);
        book.leases.insert(id.clone(), found);
    }
    for facts in book.credentials.values_mut() {
        facts.grants_asked = 0;
    }
}

/// The states that a lease may be in, by what was asked and acknowledged; then its counts and its end.
fn compare_lease(facts: &mut LeaseFacts, lease: &Value, cut: bool) {
    assert_eq!(lease["version"], facts.version, "{lease}");
    assert_eq!(text(lease, "credential_name"), facts.credential);
    let state = text(lease, "state");
    let expires = millis(lease, "expires_at");
    let (over, long_over) = (
        expires <= now_millis() + CLOCK_SLACK,
        expires <= now_millis() - CLOCK_SLACK,
    );
    let allowed = match (facts.ended, state.as_str()) {
        (Some(ended), state) => ended == state,
        (None, "released") => facts.release_asked,
        (None, "revoked") => cut,
        (None, "expired") => over,
        (None, "active") => !cut && !long_over,
        _ => false,
    };
    assert!(allowed, "cut: {cut}, {lease} {facts:?}");
    facts.release_asked = false;
    facts.ended = ["released", "revoked", "expired"]
        .into_iter()
        .find(|ended| *ended == state);
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
    if renewals == facts.renewals {
        assert_eq!(expires, facts.expires, "{lease} {facts:?}");
    } else {
        assert!(expires >= facts.expires, "{lease} {facts:?}");
    }
    (facts.renewals, facts.renewals_asked) = (renewals, renewals);
    (facts.redeems, facts.redeems_asked) = (uses, uses);
    facts.expires = expires;
}

/// Every acknowledged operation has its record, every state has its records, and every record its state.
fn compare_history(book: &mut Book, listed: &Listed, records: &[Value], own: &[Value]) {
    let by_request: BTreeSet<(String, String, String)> = records
        .iter()
        .filter(|record| record["outcome"] == "success")
        .map(|record| {
            let request = text(record, "request_id");
            (request, text(record, "event"), subject(record))
        })
        .collect();
    for done in book.acknowledged.drain(..) {
        let key = (done.request_id, done.event.to_owned(), done.subject);
        assert!(by_request.contains(&key), "no record of {key:?}");
    }
    let history = &book.history;
    let own = own.iter().filter(|record| sequence(record) <= history.last);
    let missing = history.last - history.records;
    assert_eq!(
        missing,
        own.clone().count() as u64,
        "records that are not the vault's own are not in history"
    );
    let lives = own.filter(|record| {
        let event = text(record, "event");
        event.starts_with("vault.") && event != "vault.configured" || event == "workspace.created"
    });
    let (lives, expected) = (
        lives.count() as u64,
        book.own_records..=book.own_records + book.own_records_in_doubt,
    );
    assert!(
        expected.contains(&lives),
        "{lives} records of starts and stops, {expected:?} are known of"
    );
    (book.own_records, book.own_records_in_doubt) = (lives, 0);

    for (id, lease) in listed {
        assert_eq!(history.count("lease.issued", id), 1, "{lease}");
        for state in ["released", "revoked", "expired"] {
            let ended = u64::from(lease["state"] == state);
            let told = history.count(&format!("lease.{state}"), id);
            assert_eq!(told, ended, "{state}: {lease}");
        }
        let renewals = lease["renewals"].as_u64().unwrap();
        assert_eq!(history.count("lease.renewed", id), renewals, "{lease}");
        let uses = lease["uses"].as_u64().unwrap();
        assert_eq!(history.count("lease.redeemed", id), uses, "{lease}");
    }
    let issued = history
        .counts
        .keys()
        .filter(|(event, _)| event == "lease.issued");
    assert_eq!(
        issued.count(),
        listed.len(),
        "records of leases that are not"
    );
    for (name, facts) in &book.credentials {
        let rotations = history.count("credential.rotated", name);
        assert_eq!(rotations, facts.current - 1, "{name}");
        let open: BTreeSet<u64> = book
            .leases
            .values()
            .filter(|lease| lease.credential == *name && lease.ended.is_none())
            .map(|lease| lease.version)
            .collect();
        for version in 1..facts.current {
            let retired = history.retired.contains(&(name.clone(), version));
            assert_eq!(retired, !open.contains(&version), "{name} {version}");
        }
    }
}

/// Open leases have the value of their version still, and ended ones have none; those without a known handle are
/// ended.
async fn redeem_all(agent: &Api, admin: &Api, book: &mut Book) {
    let mut tasks = JoinSet::new();
    for (id, facts) in &mut book.leases {
        if std::mem::replace(&mut facts.tried, facts.ended.is_some()) {
            continue;
        }
        let (agent, admin, id, facts) = (agent.clone(), admin.clone(), id.clone(), facts.clone());
        tasks.spawn(async move {
            if facts.ended.is_some() {
                if !facts.handle.is_empty() {
                    let refused = agent.redeem(&facts.handle).await.unwrap_err();
                    assert!(refused.starts_with("410 "), "{refused}: {facts:?}");
                }
            } else if facts.handle.is_empty() {
                let path = format!("/v1/leases/{id}/revoke");
                let reason = json!({"reason": "its grant was never answered"});
                let (status, body) = admin.post(&path, reason).await.unwrap();
                assert_eq!(status, 200, "{body}");
            } else {
                let found = agent.redeem(&facts.handle).await.unwrap();
                assert_eq!(found, value(&facts.credential, facts.version));
            }
            id
        });
    }
    while let Some(tried) = tasks.join_next().await {
        let facts = book.lease(&tried.unwrap());
        if facts.ended.is_some() {
            continue;
        }
        if facts.handle.is_empty() {
            facts.ended = Some("revoked");
        } else {
            facts.redeems += 1;
            facts.redeems_asked += 1;
        }
    }
}
