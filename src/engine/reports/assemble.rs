//! From the leases that the records told of to the report: what the store knows of them now, by whom, by session and by
//! version, and what ends each.

use std::collections::{BTreeMap, BTreeSet, HashMap, hash_map::Entry};

use super::{
    super::Engine,
    collect::Collected,
    model::{
        Agent, Credential, ExposedLease, Exposure, Handed, Remedy, Session, Summary, UsedProof,
        VersionExposure, Who,
    },
    remedies,
    row::{End, Row},
};
use crate::{
    domain::{
        credential::VersionState,
        error::Result,
        id::{CredentialId, IdentityId, LeaseId},
        lease::{Ending, LeaseState, LeaseStatus},
        name::CredentialName,
        policy::Delivery,
        principal::{Identity, ProofId},
        time::Timestamp,
    },
    tables::Tables,
};

/// Brings what the records tell together with what the store holds now.
pub(super) struct Finisher<'a> {
    engine: &'a Engine,
    tables: &'a Tables,
    now: Timestamp,
    identities: HashMap<IdentityId, Option<Identity>>,
}

impl<'a> Finisher<'a> {
    pub(super) fn new(engine: &'a Engine, tables: &'a Tables, now: Timestamp) -> Self {
        Self {
            engine,
            tables,
            now,
            identities: HashMap::new(),
        }
    }

    /// What became of the leases that no record ends, and of which type their holders are.
    pub(super) async fn settle(&mut self, collected: &mut Collected) -> Result<()> {
        let ids: Vec<LeaseId> = collected.rows.keys().copied().collect();
        let mut ledgers = HashMap::new();
        for id in ids {
            let Some(row) = collected.rows.get_mut(&id) else {
                continue;
            };
            let read = &mut self.engine.read();
            if row.end.is_none()
                && let Some(lease) = self.tables.lease(read, id).await?
            {
                let credential = lease.credential;
                if let Entry::Vacant(entry) = ledgers.entry(credential) {
                    entry.insert(self.tables.find_ledger(read, credential).await?);
                }
                let ledger = ledgers.get(&credential).and_then(Option::as_ref);
                row.versions.insert(match ledger {
                    Some(ledger) if lease.counted() => ledger.pinned(lease.version, lease.delivery),
                    _ => lease.version,
                });
                row.expires_at = Some(lease.expires_at);
                row.holder.r#type = remedies::kind(lease.holder.kind);
                row.end = match (lease.status(self.now), lease.state) {
                    (LeaseStatus::Active, _) => None,
                    (_, LeaseState::Active) => Some(End {
                        at: lease.expires_at,
                        state: "expired",
                        by: None,
                        reason: None,
                    }),
                    // Closed since the last record that was read.
                    (status, LeaseState::Closed { at, ending }) => Some(End {
                        at,
                        state: status.as_str(),
                        by: match &ending {
                            Ending::Released { by } => Some(by.name.to_string()),
                            Ending::Revoked { by, .. } => by.as_ref().map(|by| by.name.to_string()),
                            Ending::Expired => None,
                        },
                        reason: match ending {
                            Ending::Revoked { reason, .. } => reason,
                            _ => None,
                        },
                    }),
                };
            } else if row.end.is_none() {
                // Neither ended in history nor in the store: it can be no longer open, and nobody knows since when.
                row.end = Some(End {
                    at: row.expires_at.unwrap_or(self.now).min(self.now),
                    state: "unknown",
                    by: None,
                    reason: None,
                });
            }
            if row.is_before(collected.wanted.since) {
                collected.leave(id);
                continue;
            }
            let unwanted = collected
                .wanted
                .version
                .is_some_and(|version| !row.versions.contains(&version));
            if unwanted {
                collected.rows.remove(&id);
                continue;
            }
            let mut holder = row.holder.clone();
            self.name(&mut holder).await?;
            if let Some(row) = collected.rows.get_mut(&id) {
                row.holder = holder;
            }
        }
        Ok(())
    }

    async fn identity(&mut self, id: IdentityId) -> Result<Option<&Identity>> {
        if let Entry::Vacant(entry) = self.identities.entry(id) {
            let read = &mut self.engine.read();
            entry.insert(self.tables.identity(read, id).await?);
        }
        Ok(self.identities.get(&id).and_then(Option::as_ref))
    }

    /// Adds what the directory knows of somebody.
    pub(super) async fn name(&mut self, who: &mut Who) -> Result<()> {
        if who.r#type.is_none()
            && let Some(identity) = self.identity(who.id).await?
        {
            who.r#type = remedies::kind(identity.kind);
        }
        Ok(())
    }

    pub(super) async fn agents(&mut self, collected: &Collected) -> Result<Vec<Agent>> {
        let mut agents = BTreeMap::<IdentityId, Agent>::new();
        for row in collected.rows.values() {
            let agent = agents.entry(row.holder.id).or_insert_with(|| Agent {
                who: row.holder.clone(),
                state: "deleted",
                leases: 0,
                open_leases: 0,
                revealed: false,
                redemptions: 0,
                first_lease_at: row.issued_at,
                last_use_at: None,
                remedy: None,
            });
            agent.leases += 1;
            agent.open_leases += u64::from(row.end.is_none());
            agent.revealed |= row.revealed_at.is_some();
            agent.redemptions += row.redemptions;
            agent.first_lease_at = agent.first_lease_at.min(row.issued_at);
            agent.last_use_at = agent.last_use_at.max(row.last_redeemed_at);
        }
        for agent in agents.values_mut() {
            if let Some(identity) = self.identity(agent.who.id).await? {
                agent.state = identity.state.as_str();
                agent.remedy = identity
                    .is_active()
                    .then(|| remedies::suspend(&agent.who))
                    .flatten();
            }
        }
        Ok(agents.into_values().collect())
    }

    pub(super) async fn credentials(&self, collected: &Collected) -> Result<Vec<Credential>> {
        let mut found = BTreeMap::<CredentialId, (CredentialName, BTreeSet<u32>)>::new();
        for row in collected.rows.values() {
            let entry = found
                .entry(row.credential)
                .or_insert_with(|| (row.credential_name.clone(), BTreeSet::new()));
            entry.1.extend(&row.versions);
        }
        for reader in collected.earlier.values() {
            let entry = found
                .entry(reader.credential_id)
                .or_insert_with(|| (reader.credential_name.clone(), BTreeSet::new()));
            entry.1.insert(reader.version);
        }
        let mut credentials = Vec::new();
        for (id, (name, numbers)) in found {
            credentials.push(self.credential(collected, id, name, &numbers).await?);
        }
        Ok(credentials)
    }

    async fn credential(
        &self,
        collected: &Collected,
        id: CredentialId,
        name: CredentialName,
        numbers: &BTreeSet<u32>,
    ) -> Result<Credential> {
        let read = &mut self.engine.read();
        let credential = self.tables.credential(read, id).await?;
        let ledger = self.tables.find_ledger(read, id).await?;
        let mut versions = Vec::new();
        for number in numbers {
            let record = self.tables.version(read, id, *number).await?;
            let open = ledger.as_ref().and_then(|ledger| ledger.version(*number));
            let of_it = || {
                let rows = collected.rows.values();
                rows.filter(|row| row.credential == id && row.versions.contains(number))
            };
            // What is told of a deleted credential is what its leases did.
            let seen = of_it().filter(|row| row.delivery == Delivery::Reveal);
            let seen = seen.filter_map(|row| row.revealed_at).min();
            let revealed_at = record
                .as_ref()
                .and_then(|record| record.revealed_at)
                .or(open.and_then(|open| open.revealed_at))
                .or(seen);
            let read_before = collected
                .earlier
                .keys()
                .any(|(credential, version, _)| (credential, version) == (&id, number));
            let state = record.as_ref().map(|record| &record.state);
            versions.push(VersionExposure {
                number: *number,
                state: state.map_or("deleted", VersionState::as_str),
                revealed: revealed_at.is_some() || read_before,
                revealed_at,
                rotated_at: state.and_then(VersionState::rotated_at),
                erased_at: state.and_then(VersionState::erased_at),
                fingerprint: record.as_ref().map(|record| record.fingerprint.to_string()),
                leases: of_it().count() as u64,
                open_leases: of_it().filter(|row| row.end.is_none()).count() as u64,
                remedy: match state {
                    Some(VersionState::Current) => Some(remedies::rotate(&name)),
                    Some(VersionState::Rotated { .. }) => {
                        Some(remedies::revoke_version(&name, *number))
                    }
                    _ => None,
                },
            });
        }
        Ok(Credential {
            id,
            state: ledger.map_or("deleted", |ledger| ledger.state.as_str()),
            canary: credential.is_some_and(|credential| credential.canary),
            name,
            versions,
        })
    }
}

pub(super) fn sessions(collected: &Collected) -> Vec<Session> {
    let mut sessions = BTreeMap::<&str, (BTreeSet<String>, u64, u64)>::new();
    for row in collected.rows.values() {
        if let Some(session) = &row.session {
            let (holders, leases, open) = sessions.entry(session).or_default();
            holders.insert(spelled(&row.holder));
            *leases += 1;
            *open += u64::from(row.end.is_none());
        }
    }
    let of =
        |(session, (holders, leases, open_leases)): (&str, (BTreeSet<String>, u64, u64))| Session {
            session_id: session.to_owned(),
            holders: holders.into_iter().collect(),
            leases,
            open_leases,
            remedy: (open_leases > 0).then(|| remedies::revoke_session(session)),
        };
    sessions.into_iter().map(of).collect()
}

/// Somebody as text.
fn spelled(who: &Who) -> String {
    match (who.r#type, &who.name) {
        (Some(kind), Some(name)) => format!("{kind}/{name}"),
        (None, Some(name)) => name.to_string(),
        (_, None) => who.id.to_string(),
    }
}

pub(super) fn proofs(collected: &Collected) -> Vec<UsedProof> {
    let mut used = BTreeMap::<&str, UsedProof>::new();
    for row in collected.rows.values() {
        for (id, (proof, identity)) in &row.proofs {
            let entry = used.entry(id).or_insert_with(|| UsedProof {
                id: id.clone(),
                r#type: match proof {
                    ProofId::Key(_) => "api-key",
                    ProofId::Token(_) => "token",
                },
                identity: identity.clone(),
                leases: 0,
                remedy: Some(remedies::end_proof(*proof)),
            });
            entry.leases += 1;
        }
    }
    used.into_values().collect()
}

pub(super) fn summary(collected: &Collected, report: &Exposure) -> Summary {
    let count = |wanted: &dyn Fn(&Row) -> bool| {
        collected.rows.values().filter(|row| wanted(row)).count() as u64
    };
    let versions = report
        .credentials
        .iter()
        .flat_map(|credential| &credential.versions);
    Summary {
        agents: report.agents.len() as u64,
        sessions: report.sessions.len() as u64,
        leases: collected.rows.len() as u64,
        open_leases: count(&|row| row.end.is_none()),
        revealing_leases: count(&|row| row.revealed_at.is_some()),
        redemptions: collected.rows.values().map(|row| row.redemptions).sum(),
        tainted_versions: versions.filter(|version| version.revealed).count() as u64,
        earlier_readers: collected.earlier_readers,
        denied_attempts: collected.denied_attempts,
        canary_alarms: collected.canary_alarms,
    }
}

/// What to do now: first what stops uses here, then what makes the values worthless.
pub(super) fn actions(report: &Exposure) -> Vec<Remedy> {
    let mut actions = Vec::new();
    if report.asked.session_id.is_some() {
        let sessions = report.sessions.iter();
        actions.extend(sessions.filter_map(|session| session.remedy.clone()));
    }
    if report.asked.identity.is_some() {
        let agents = report.agents.iter();
        actions.extend(agents.filter_map(|agent| agent.remedy.clone()));
    }
    for credential in &report.credentials {
        let versions = || {
            let asked = |number| report.asked.version.is_none_or(|version| version == number);
            let versions = credential.versions.iter();
            versions.filter(move |version| asked(version.number))
        };
        let is_current =
            |version: &VersionExposure| version.state == VersionState::Current.as_str();
        // This ends its leases as well. Of the current one only its leases are ended, so that others can go on.
        let replaced = versions().filter(|version| !is_current(version));
        actions.extend(replaced.filter_map(|version| version.remedy.clone()));
        for version in versions().filter(|version| is_current(version)) {
            if version.open_leases > 0 && report.asked.credential.is_some() {
                let number = Some(version.number);
                actions.push(remedies::revoke_leases_of(&credential.name, number));
            }
            actions.extend(version.remedy.clone().filter(|_| version.revealed));
        }
    }
    actions
}

pub(super) fn exposed(row: Row) -> ExposedLease {
    let open = row.end.is_none();
    ExposedLease {
        id: row.id,
        credential_id: row.credential,
        credential_name: row.credential_name,
        versions: row.versions.into_iter().collect(),
        on_behalf: row.holder.id != row.requested_by.id,
        holder: row.holder,
        requested_by: row.requested_by,
        session_id: row.session,
        purpose: row.purpose,
        handed: match (row.delivery, row.revealed_at) {
            (Delivery::Broker, _) => Handed::Brokered,
            (Delivery::Reveal, Some(_)) => Handed::Revealed,
            (Delivery::Reveal, None) => Handed::Redeemable,
        },
        issued_at: row.issued_at,
        expires_at: row.expires_at,
        state: row.end.as_ref().map_or("active", |end| end.state),
        open,
        ended_at: row.end.as_ref().map(|end| end.at),
        ended_by: row.end.as_ref().and_then(|end| end.by.clone()),
        end_reason: row.end.and_then(|end| end.reason),
        first_revealed_at: row.revealed_at,
        redemptions: row.redemptions,
        last_redeemed_at: row.last_redeemed_at,
        canary_alarm: row.canary,
        used_from: row.places,
        more_used_from: row.more_places,
        remedy: open.then(|| remedies::revoke_lease(row.id)),
    }
}
