//! What a record is found by, and which terms a filter asks for. [`of_record`] is the one place that says what of a
//! record is indexed; [`Plan::of`] must ask for nothing else.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::{
    audit::query::{AuditFilter, Whose},
    crypto::terms::TermKey,
    domain::{
        event::{Actor, AuditRecord, Outcome},
        id::WorkspaceId,
    },
};

/// What a term is about. Stored in no other form than hashed; never reuse a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Field {
    /// Every record of the workspace.
    Any = 0,
    Event = 1,
    Outcome = 2,
    Code = 3,
    Actor = 4,
    IdentityName = 5,
    Identity = 6,
    Proof = 7,
    Session = 8,
    CredentialName = 9,
    Credential = 10,
    Version = 11,
    VersionOfName = 12,
    VersionOf = 13,
    Lease = 14,
    Source = 15,
    Request = 16,
    Object = 17,
    Record = 18,
    /// A record of the workspace that could not be read.
    Unreadable = 19,
    /// A block of which nobody knows what it holds.
    Lost = 20,
}

/// The networks that an address is found by. A wider or a crooked range is looked for in the next wider one of them.
const V4_NETWORKS: [u8; 4] = [32, 24, 16, 8];
const V6_NETWORKS: [u8; 4] = [128, 64, 48, 32];

fn networks(address: IpAddr) -> [u8; 4] {
    match address {
        IpAddr::V4(_) => V4_NETWORKS,
        IpAddr::V6(_) => V6_NETWORKS,
    }
}

/// Makes the terms of one workspace.
#[derive(Clone, Copy)]
struct Terms<'a> {
    key: &'a TermKey,
    workspace: WorkspaceId,
}

impl Terms<'_> {
    fn of(&self, field: Field, parts: &[&[u8]]) -> u64 {
        self.key.term(self.workspace, field as u8, parts)
    }

    fn network(&self, network: IpNet) -> u64 {
        let prefix = [network.prefix_len()];
        match network.network() {
            IpAddr::V4(address) => self.of(Field::Source, &[&prefix, &address.octets()]),
            IpAddr::V6(address) => self.of(Field::Source, &[&prefix, &address.octets()]),
        }
    }

    fn outcome(&self, refused: bool) -> u64 {
        self.of(Field::Outcome, &[&[u8::from(refused)]])
    }
}

/// The terms of a record, some of them perhaps twice.
pub fn of_record(key: &TermKey, record: &AuditRecord, emit: &mut impl FnMut(u64)) {
    let terms = Terms {
        key,
        workspace: record.workspace,
    };
    emit(terms.of(Field::Any, &[]));
    emit(terms.of(Field::Event, &[record.event.as_str().as_bytes()]));
    emit(terms.of(Field::Record, &[record.id.as_bytes()]));
    match &record.outcome {
        Outcome::Success => emit(terms.outcome(false)),
        Outcome::Refused { code } => {
            emit(terms.outcome(true));
            emit(terms.of(Field::Code, &[code.as_bytes()]));
        }
    }
    match &record.actor {
        Actor::Identity {
            identity,
            name,
            proof,
            ..
        } => {
            emit(terms.of(Field::Actor, &[name.as_str().as_bytes()]));
            emit(terms.of(Field::IdentityName, &[name.as_str().as_bytes()]));
            emit(terms.of(Field::Identity, &[identity.as_bytes()]));
            emit(terms.of(Field::Proof, &[proof.as_bytes()]));
        }
        Actor::Vault { part } => emit(terms.of(Field::Actor, &[part.as_bytes()])),
    }
    let object = &record.object;
    if let Some(name) = &object.holder_name {
        emit(terms.of(Field::IdentityName, &[name.as_str().as_bytes()]));
    }
    if let Some(holder) = &object.holder {
        emit(terms.of(Field::Identity, &[holder.as_bytes()]));
    }
    if let Some(session) = &object.session {
        emit(terms.of(Field::Session, &[session.as_bytes()]));
    }
    let version = object.version.map(u32::to_be_bytes);
    if let Some(version) = &version {
        emit(terms.of(Field::Version, &[version]));
    }
    if let Some(name) = &object.credential_name {
        let name = name.as_str().as_bytes();
        emit(terms.of(Field::CredentialName, &[name]));
        if let Some(version) = &version {
            emit(terms.of(Field::VersionOfName, &[version, name]));
        }
    }
    if let Some(id) = &object.credential {
        emit(terms.of(Field::Credential, &[id.as_bytes()]));
        if let Some(version) = &version {
            emit(terms.of(Field::VersionOf, &[version, id.as_bytes()]));
        }
    }
    if let Some(lease) = &object.lease {
        emit(terms.of(Field::Lease, &[lease.as_bytes()]));
    }
    if let Some(name) = &object.name {
        emit(terms.of(Field::Object, &[name.as_bytes()]));
    }
    for id in record.request_ids() {
        emit(terms.of(Field::Request, &[id.as_bytes()]));
    }
    let source = record.origin.as_ref().and_then(|origin| origin.source_ip);
    if let Some(address) = source.map(|ip| ip.to_canonical()) {
        let of = |prefix| IpNet::new(address, prefix).ok();
        networks(address)
            .into_iter()
            .filter_map(of)
            .for_each(|network| emit(terms.network(network)));
    }
}

/// The term of a record that cannot be read: whose it is stands outside of it.
pub(super) fn of_unreadable(key: &TermKey, workspace: WorkspaceId) -> u64 {
    Terms { key, workspace }.of(Field::Unreadable, &[])
}

/// The term of a block that cannot be taken apart, and may hold anybody's records.
pub(super) fn of_lost(key: &TermKey) -> u64 {
    let terms = Terms {
        key,
        workspace: WorkspaceId::SYSTEM,
    };
    terms.of(Field::Lost, &[])
}

/// Which terms a record must have: one of each group.
pub struct Plan {
    pub(super) groups: Vec<Vec<u64>>,
    /// The terms of those of which nobody knows what they have.
    unreadable: [u64; 2],
    /// Whether every record with these terms matches the filter, its times aside. Two terms in one hash would be an
    /// exception, at a chance of about 1 in 2^64 for each term there is: records that are shown are checked, a total
    /// that is read from the index alone is not.
    pub(in crate::audit) exact: bool,
}

impl Plan {
    /// The plan of a filter over a workspace's records.
    pub fn of(key: &TermKey, workspace: WorkspaceId, filter: &AuditFilter) -> Self {
        let terms = Terms { key, workspace };
        let mut groups: Vec<Vec<u64>> = Vec::new();
        let mut one = |field, parts: &[&[u8]]| groups.push(vec![terms.of(field, parts)]);
        let text = |text: &Option<String>| text.clone().map(String::into_bytes);
        if let Some(id) = &filter.id {
            one(Field::Record, &[id.as_bytes()]);
        }
        if let Some(code) = text(&filter.code) {
            one(Field::Code, &[&code]);
        }
        if let Some(name) = text(&filter.actor) {
            one(Field::Actor, &[&name]);
        }
        match &filter.identity {
            None => {}
            Some(Whose::Name(name)) => one(Field::IdentityName, &[name.as_bytes()]),
            Some(Whose::Id(id)) => one(Field::Identity, &[id.as_bytes()]),
        }
        if let Some(proof) = &filter.proof {
            one(Field::Proof, &[proof.as_bytes()]);
        }
        if let Some(session) = text(&filter.session) {
            one(Field::Session, &[&session]);
        }
        let version = filter.version.map(u32::to_be_bytes);
        match (text(&filter.credential_name), &filter.credential, &version) {
            (Some(name), None, Some(version)) => one(Field::VersionOfName, &[version, &name]),
            (name, Some(id), version) => {
                if let Some(name) = name {
                    one(Field::CredentialName, &[&name]);
                }
                match version {
                    Some(version) => one(Field::VersionOf, &[version, id.as_bytes()]),
                    None => one(Field::Credential, &[id.as_bytes()]),
                }
            }
            (Some(name), None, None) => one(Field::CredentialName, &[&name]),
            (None, None, Some(version)) => one(Field::Version, &[version]),
            (None, None, None) => {}
        }
        if let Some(lease) = &filter.lease {
            one(Field::Lease, &[lease.as_bytes()]);
        }
        if let Some(id) = text(&filter.request_id) {
            one(Field::Request, &[&id]);
        }
        if let Some(name) = text(&filter.object) {
            one(Field::Object, &[&name]);
        }
        if let Some(refused) = filter.refused {
            groups.push(vec![terms.outcome(refused)]);
        }
        if !filter.events.is_empty() {
            let event = |event: &crate::domain::event::EventName| {
                terms.of(Field::Event, &[event.as_str().as_bytes()])
            };
            let mut events: Vec<_> = filter.events.iter().map(event).collect();
            events.sort_unstable();
            events.dedup();
            groups.push(events);
        }
        let mut exact = true;
        if let Some(range) = filter.source {
            let length = range.prefix_len();
            let wider = networks(range.addr())
                .into_iter()
                .find(|one| *one <= length);
            exact = wider == Some(length);
            let network = wider.and_then(|wider| IpNet::new(range.addr(), wider).ok());
            groups.extend(network.map(|network| vec![terms.network(network)]));
        }
        if groups.is_empty() {
            groups.push(vec![terms.of(Field::Any, &[])]);
        }
        Self {
            groups,
            unreadable: [of_unreadable(key, workspace), of_lost(key)],
            exact,
        }
    }

    /// The terms, where one of them is all that a record must have.
    pub(in crate::audit) fn only_group(&self) -> Option<&[u64]> {
        match self.groups.as_slice() {
            [only] => Some(only),
            _ => None,
        }
    }

    /// The plan of the workspace's records that could not be read.
    pub(in crate::audit) fn unreadable(&self) -> Self {
        Self {
            groups: vec![self.unreadable.to_vec()],
            unreadable: self.unreadable,
            exact: true,
        }
    }

    /// Every term it asks for.
    pub(super) fn terms(&self) -> impl Iterator<Item = u64> {
        let groups = self.groups.iter().flatten().copied();
        groups.chain(self.unreadable)
    }
}
