//! From the leases of a report to what it says of them: by credential and version, by session, in all.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    collect::Collected,
    model::{Credential, ExposedLease, Exposure, Handed, Session, Summary, VersionExposure, Who},
    remedies,
    row::Row,
    stored::Stored,
};
use crate::domain::{
    credential::VersionState, error::Result, id::CredentialId, ledger::Ledger,
    name::CredentialName, policy::Delivery,
};

/// The credential that was asked for, where the store has it, and those of its versions that are in the report whether
/// or not anybody held a lease of them.
pub(super) struct AskedVersions {
    pub(super) id: CredentialId,
    pub(super) name: CredentialName,
    pub(super) numbers: BTreeSet<u32>,
}

impl Stored<'_> {
    pub(super) async fn credentials(
        &mut self,
        collected: &Collected,
        asked: Option<&AskedVersions>,
    ) -> Result<Vec<Credential>> {
        let mut found = BTreeMap::<CredentialId, (CredentialName, BTreeSet<u32>)>::new();
        let mut add = |id: CredentialId, name: &CredentialName, numbers: &BTreeSet<u32>| {
            let entry = found
                .entry(id)
                .or_insert_with(|| (name.clone(), BTreeSet::new()));
            entry.1.extend(numbers);
        };
        for row in collected.rows.values() {
            add(row.credential, &row.credential_name, &row.versions);
        }
        for (id, name, version) in collected.earlier.versions() {
            add(id, name, &BTreeSet::from([version]));
        }
        if let Some(asked) = asked {
            add(asked.id, &asked.name, &asked.numbers);
        }
        let mut credentials = Vec::new();
        for (id, (name, numbers)) in found {
            credentials.push(self.of_credential(collected, id, name, &numbers).await?);
        }
        Ok(credentials)
    }

    async fn of_credential(
        &mut self,
        collected: &Collected,
        id: CredentialId,
        name: CredentialName,
        numbers: &BTreeSet<u32>,
    ) -> Result<Credential> {
        let read = &mut self.engine.read();
        let credential = self.tables.credential(read, id).await?;
        let ledger = self.ledger(id).await?.cloned();
        let mut versions = Vec::new();
        for number in numbers {
            let version = self.of_version(collected, (id, &name, *number), ledger.as_ref());
            versions.push(version.await?);
        }
        Ok(Credential {
            id,
            state: ledger.map_or("deleted", |ledger| ledger.state.as_str()),
            canary: credential.is_some_and(|credential| credential.canary),
            name,
            versions,
        })
    }

    async fn of_version(
        &mut self,
        collected: &Collected,
        (id, name, number): (CredentialId, &CredentialName, u32),
        ledger: Option<&Ledger>,
    ) -> Result<VersionExposure> {
        let record = self
            .tables
            .version(&mut self.engine.read(), id, number)
            .await?;
        let open = ledger.and_then(|ledger| ledger.version(number));
        let of_it = || {
            let rows = collected.rows.values();
            rows.filter(move |row| row.credential == id && row.versions.contains(&number))
        };
        // What is told of a deleted credential is what its leases did.
        let seen = of_it().filter(|row| row.delivery == Delivery::Reveal);
        let seen = seen.filter_map(|row| row.revealed_at).min();
        let revealed_at = record
            .as_ref()
            .and_then(|record| record.revealed_at)
            .or(open.and_then(|open| open.revealed_at))
            .or(seen);
        let mut created_by = record.as_ref().map(|record| Who {
            id: record.created_by.identity,
            r#type: None,
            name: Some(record.created_by.name.clone()),
        });
        if let Some(who) = &mut created_by {
            self.name(who).await?;
        }
        let state = record.as_ref().map(|record| &record.state);
        Ok(VersionExposure {
            number,
            state: state.map_or("deleted", VersionState::as_str),
            revealed: revealed_at.is_some() || collected.earlier.has_read(id, number),
            revealed_at,
            created_at: record.as_ref().map(|record| record.created_at),
            created_by,
            rotated_at: state.and_then(VersionState::rotated_at),
            erased_at: state.and_then(VersionState::erased_at),
            fingerprint: record.as_ref().map(|record| record.fingerprint.to_string()),
            leases: of_it().count() as u64,
            open_leases: of_it().filter(|row| row.end.is_none()).count() as u64,
            remedy: match state {
                Some(VersionState::Current) => Some(remedies::rotate(name)),
                Some(VersionState::Rotated { .. }) => Some(remedies::revoke_version(name, number)),
                _ => None,
            },
        })
    }
}

pub(super) fn sessions(collected: &Collected) -> Vec<Session> {
    let mut sessions = BTreeMap::<&str, (BTreeSet<String>, u64, u64)>::new();
    for row in collected.rows.values() {
        if let Some(session) = &row.session {
            let (holders, leases, open) = sessions.entry(session).or_default();
            holders.insert(row.holder.spelled());
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
        earlier_readers: collected.earlier.len() as u64,
        denied_attempts: collected.denied_attempts,
        canary_alarms: collected.canary_alarms,
    }
}

pub(super) fn exposed(row: Row) -> ExposedLease {
    let open = row.end.is_none();
    let requester = row.requested_by.as_ref();
    ExposedLease {
        id: row.id,
        credential_id: row.credential,
        credential_name: row.credential_name,
        versions: row.versions.into_iter().collect(),
        on_behalf: requester.is_some_and(|requester| requester.id != row.holder.id),
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
        redeemed_by: row.redeemers.into_values().map(|one| one.who).collect(),
        canary_alarm: row.canary,
        used_from: row.places.told,
        more_used_from: row.places.more,
        more_proofs: row.more_proofs,
        remedy: open.then(|| remedies::revoke_lease(row.id)),
    }
}
