//! What to do now: first what stops uses here, then what makes the values worthless. After it nothing that the report
//! names is open.

use std::collections::BTreeSet;

use super::{
    collect::Collected,
    model::{Agent, Exposure, Remedy, VersionExposure},
    remedies,
    row::Row,
    source::is_at,
};
use crate::domain::{credential::VersionState, id::CredentialId};

/// The report's actions, and what they end.
struct Actions<'a> {
    report: &'a Exposure,
    collected: &'a Collected,
    list: Vec<Remedy>,
    suspended: Vec<&'a Agent>,
    versions: BTreeSet<(CredentialId, u32)>,
}

pub(super) fn actions(report: &Exposure, collected: &Collected) -> Vec<Remedy> {
    let mut actions = Actions {
        report,
        collected,
        list: Vec::new(),
        suspended: Vec::new(),
        versions: BTreeSet::new(),
    };
    if report.asked.session_id.is_some() {
        let sessions = report.sessions.iter();
        let remedies = sessions.filter_map(|session| session.remedy.clone());
        actions.list.extend(remedies);
    }
    actions.of_identity();
    actions.of_source();
    actions.of_versions();
    let open = collected.rows.values().filter(|row| row.end.is_none());
    let left = open.filter(|row| !actions.ends(row));
    let left: Vec<_> = left.map(|row| remedies::revoke_lease(row.id)).collect();
    actions.list.extend(left);
    actions.list
}

impl Actions<'_> {
    /// Of those that had to do with its leases only the one that was asked for.
    fn of_identity(&mut self) {
        let wanted = &self.collected.wanted;
        if !wanted.names_somebody() {
            return;
        }
        for agent in &self.report.agents {
            if let Some(remedy) = agent
                .remedy
                .clone()
                .filter(|_| wanted.is_wanted(&agent.who))
            {
                self.list.push(remedy);
                self.suspended.push(agent);
            }
        }
    }

    /// What was shown at the source proves somebody still: what made it first.
    fn of_source(&mut self) {
        let Some(net) = self.collected.wanted.source else {
            return;
        };
        let rows = self.collected.rows.values();
        let places = rows.flat_map(|row| &row.places.told);
        let there = places.filter(|place| is_at(place.source_ip, net));
        let mut shown: BTreeSet<&str> = there.filter_map(|place| place.proof.as_deref()).collect();
        // Makers stand before what they made.
        for proof in self.report.proofs.iter().rev() {
            if shown.contains(proof.id.as_str()) {
                shown.extend(proof.made_with.as_deref());
            }
        }
        let proofs = self.report.proofs.iter();
        let proofs = proofs.filter(|proof| shown.contains(proof.id.as_str()));
        self.list
            .extend(proofs.filter_map(|proof| proof.remedy.clone()));
    }

    fn of_versions(&mut self) {
        let asked = &self.report.asked;
        for credential in &self.report.credentials {
            let versions = || {
                let asked = |number| asked.version.is_none_or(|version| version == number);
                let versions = credential.versions.iter();
                versions.filter(move |version| asked(version.number))
            };
            let is_current =
                |version: &VersionExposure| version.state == VersionState::Current.as_str();
            // This ends its leases as well. Of the current one only its leases are ended, so that others can go on.
            for version in versions().filter(|version| !is_current(version)) {
                if let Some(remedy) = version.remedy.clone() {
                    self.list.push(remedy);
                    self.versions.insert((credential.id, version.number));
                }
            }
            for version in versions().filter(|version| is_current(version)) {
                if version.open_leases > 0 && asked.credential.is_some() {
                    let number = Some(version.number);
                    let remedy = remedies::revoke_leases_of(&credential.name, number);
                    self.list.push(remedy);
                    self.versions.insert((credential.id, version.number));
                }
                if let Some(remedy) = version.remedy.clone().filter(|_| version.revealed) {
                    self.list.push(remedy);
                    self.versions.insert((credential.id, version.number));
                }
            }
        }
    }

    /// Whether one of the actions so far ends an open lease.
    fn ends(&self, row: &Row) -> bool {
        let of = |agent: &&Agent| {
            // Elsewhere it ends leases of that workspace.
            agent.workspace.is_none()
                && (row.holder.id == agent.who.id
                    || row.requested_by.as_ref().map(|who| who.id) == Some(agent.who.id))
        };
        let used = row
            .versions
            .last()
            .map(|version| (row.credential, *version));
        self.report.asked.session_id.is_some()
            || self.suspended.iter().any(of)
            || used.is_some_and(|used| self.versions.contains(&used))
    }
}
