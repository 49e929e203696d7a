//! A log in memory, its index, and what a test knows of both.

use std::{collections::BTreeSet, sync::Arc};

use super::super::{Follower, Index, Limits};
use crate::{
    audit::{
        log::{self, Log},
        query::{AuditFilter, Numbered, Reader, Whose},
    },
    clock::{Clock, SystemTime},
    crypto::{entropy::OsEntropy, keyring::Keyring},
    domain::{
        event::{Actor, AuditRecord, EventName, Object, Origin, Outcome},
        id::{CredentialId, EventId, IdentityId, KeyId, LeaseId, WorkspaceId},
        name::{CredentialName, IdentityName},
        principal::{IdentityType, ProofId},
        time::Timestamp,
    },
    store::{
        key::{self, Table},
        local::{Backend, LocalStore},
        memory::Memory,
        port::{Scan, Store},
    },
};

/// splitmix64.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub(super) fn of<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize].clone()
    }

    fn maybe<T>(&mut self, value: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.below(2) == 0).then(|| value(self))
    }
}

pub(super) struct World {
    pub(super) keyring: Arc<Keyring>,
    pub(super) memory: Memory,
    pub(super) store: Arc<LocalStore<Memory>>,
    pub(super) index: Arc<Index>,
    pub(super) follower: Follower,
    /// The last one has no records.
    pub(super) workspaces: Vec<WorkspaceId>,
    records: Vec<Numbered>,
    now: u64,
}

const LIMITS: Limits = Limits {
    run_records: 20,
    fan: 3,
    max_level: 3,
};

impl World {
    pub(super) async fn new() -> Self {
        let keyring = Arc::new(crate::crypto::tests::keyring(Arc::new(OsEntropy)));
        let workspaces: Vec<_> = (1..4).map(|n| WorkspaceId::from_bytes([n; 16])).collect();
        for workspace in workspaces.iter().chain([&WorkspaceId::SYSTEM]) {
            let wrapped = keyring.new_kek(*workspace, 1).unwrap();
            keyring.unlock(*workspace, &[(1, wrapped)]).unwrap();
        }
        let memory = Memory::default();
        let (store, index, follower) = open(&memory, &keyring);
        Self {
            keyring,
            memory,
            store,
            index,
            follower,
            workspaces,
            records: Vec::new(),
            now: 1_000_000,
        }
    }

    /// The power fails and comes back.
    pub(super) async fn crash(&mut self) {
        self.memory = self.memory.after_power_cut();
        (self.store, self.index, self.follower) = open(&self.memory, &self.keyring);
    }

    pub(super) async fn step(&mut self) -> bool {
        self.follower.step().await.unwrap()
    }

    /// Lets the follower do all there is to do.
    pub(super) async fn settle(&mut self) {
        for _ in 0..10_000 {
            if !self.step().await {
                return;
            }
        }
        panic!("the follower never comes to an end");
    }

    pub(super) fn reader(&self, workspace: WorkspaceId) -> Reader<'_> {
        Reader {
            store: &*self.store,
            keyring: &self.keyring,
            workspace,
            index: Some(&self.index),
        }
    }

    /// Adds up to so many records, in groups.
    pub(super) async fn add(&mut self, dice: &mut Dice, most: u64) {
        let mut left = if most > 100 { most } else { dice.below(most) };
        while left > 0 {
            let group = (1 + dice.below(25)).min(left);
            left -= group;
            let mut entries = Vec::new();
            for _ in 0..group {
                let record = self.record(dice);
                entries.push(log::entry(&record).unwrap());
                let sequence = self.records.last().map_or(1, |last| last.sequence + 1);
                self.records.push(Numbered { sequence, record });
            }
            self.store
                .begin(&[])
                .await
                .unwrap()
                .commit(entries)
                .await
                .unwrap();
        }
    }

    /// Removes whole blocks from the beginning of the log.
    pub(super) async fn trim(&mut self, dice: &mut Dice) {
        let blocks = self.store.scan(&Table::Audit.scan()).await.unwrap();
        let gone = dice.below(blocks.len().max(1) as u64) as usize;
        let Some((first, _)) = blocks.get(gone) else {
            return;
        };
        let first = key::parse_audit(first).unwrap();
        let mut txn = self.store.begin(&[]).await.unwrap();
        let removed = blocks.iter().take(gone);
        removed.for_each(|(at, _)| txn.delete(at.clone()));
        txn.commit(Vec::new()).await.unwrap();
        self.records.retain(|record| record.sequence >= first);
    }

    /// Takes the newest blocks away, from the one that holds this record on, as a folder of yesterday would be.
    pub(super) async fn rewind(&mut self, last: u64) {
        let blocks = self.store.scan(&Table::Audit.scan()).await.unwrap();
        let first = |at: &[u8]| key::parse_audit(at).unwrap();
        let keep = blocks.iter().rfind(|(at, _)| first(at) <= last).unwrap();
        let end = first(&keep.0);
        let mut txn = self.store.begin(&[]).await.unwrap();
        let gone = blocks.iter().filter(|(at, _)| first(at) >= end);
        gone.for_each(|(at, _)| txn.delete(at.clone()));
        txn.commit(Vec::new()).await.unwrap();
        self.records.retain(|record| record.sequence < end);
    }

    pub(super) fn naive(
        &self,
        workspace: WorkspaceId,
        filter: &AuditFilter,
        newest_first: bool,
    ) -> Vec<u64> {
        let own = |found: &&Numbered| {
            found.record.workspace == workspace && filter.matches(&found.record)
        };
        let mut found: Vec<_> = self
            .records
            .iter()
            .filter(own)
            .map(|found| found.sequence)
            .collect();
        if newest_first {
            found.reverse();
        }
        found
    }

    /// Every page in the store is of a run that the state names.
    pub(super) async fn assert_tidy(&self) {
        let state = self.store.get(&key::audit_index_state()).await.unwrap();
        let state = state.map(|sealed| super::super::open_state(&self.keyring, &sealed).unwrap());
        let known: BTreeSet<_> = state
            .iter()
            .flat_map(|state| state.runs.iter().map(|run| run.number))
            .collect();
        let mut scan = Table::AuditIndexPage.scan();
        loop {
            let pages = self.store.scan(&scan).await.unwrap();
            let Some((last, _)) = pages.last() else { break };
            scan = scan.after(last);
            for (at, _) in pages {
                let (run, ..) = key::parse_audit_index_page(&at).unwrap();
                assert!(known.contains(&run), "a page of run {run}");
            }
        }
    }

    fn record(&mut self, dice: &mut Dice) -> AuditRecord {
        self.now += dice.below(40);
        // Records of one group are not in the order of their times.
        let time = Timestamp::from_millis(self.now - dice.below(60));
        let name = |dice: &mut Dice| IdentityName::parse(&dice.of(&NAMES), "").unwrap();
        let identity = |dice: &mut Dice| IdentityId::from_bytes([dice.below(4) as u8; 16]);
        let workspace = dice.of(&self.workspaces[..2]);
        AuditRecord {
            id: EventId::new(
                time,
                &dice.next().to_be_bytes().repeat(2)[..10]
                    .try_into()
                    .unwrap(),
            ),
            time,
            workspace,
            event: dice.of(&EVENTS),
            actor: match dice.below(4) {
                0 => Actor::vault("reaper"),
                _ => Actor::Identity {
                    identity: identity(dice),
                    name: name(dice),
                    kind: IdentityType::Agent,
                    proof: ProofId::Key(KeyId::from_bytes([dice.below(3) as u8; 16])),
                },
            },
            object: Object {
                credential: dice.maybe(|dice| CredentialId::from_bytes([dice.below(3) as u8; 16])),
                credential_name: dice
                    .maybe(|dice| CredentialName::parse(&dice.of(&NAMES), "").unwrap()),
                version: dice.maybe(|dice| dice.below(3) as u32),
                lease: dice.maybe(|dice| LeaseId::from_bytes([dice.below(40) as u8; 16])),
                holder: dice.maybe(identity),
                holder_name: dice.maybe(name),
                session: dice.maybe(|dice| format!("s-{}", dice.below(5))),
                name: dice.maybe(|dice| format!("o-{}", dice.below(5))),
            },
            outcome: match dice.below(3) {
                0 => Outcome::Refused {
                    code: dice.of(&["POLICY_DENIED", "INVALID_STATE"]).to_owned(),
                },
                _ => Outcome::Success,
            },
            policy: None,
            origin: dice.maybe(|dice| Origin {
                request_id: format!("req_{}", dice.below(60)),
                source_ip: dice.maybe(|dice| dice.of(&ADDRESSES).parse().unwrap()),
                user_agent: None,
            }),
            purpose: None,
            reason: None,
            changes: Vec::new(),
            requests: Vec::new(),
        }
    }

    /// A filter of up to three things that a record has, or might have.
    pub(super) fn filter(&self, dice: &mut Dice) -> AuditFilter {
        let mut filter = AuditFilter::default();
        for _ in 0..dice.below(4) {
            self.narrow(&mut filter, dice);
        }
        let time = |dice: &mut Dice| {
            let span = self.now - 999_000;
            Timestamp::from_millis(999_000 + dice.below(span + 2_000))
        };
        if dice.below(3) == 0 {
            filter.since = Some(time(dice));
        }
        if dice.below(3) == 0 {
            filter.until = Some(time(dice));
        }
        filter
    }

    fn narrow(&self, filter: &mut AuditFilter, dice: &mut Dice) {
        let name = |dice: &mut Dice| dice.of(&NAMES);
        match dice.below(16) {
            0 => filter.events = (0..1 + dice.below(3)).map(|_| dice.of(&EVENTS)).collect(),
            1 => filter.actor = Some(dice.of(&["ann", "reaper", "nobody"]).to_owned()),
            2 => filter.identity = Some(Whose::Name(name(dice))),
            3 => {
                let id = IdentityId::from_bytes([dice.below(5) as u8; 16]);
                filter.identity = Some(Whose::Id(id));
            }
            4 => filter.proof = Some(ProofId::Key(KeyId::from_bytes([dice.below(4) as u8; 16]))),
            5 => filter.session = Some(format!("s-{}", dice.below(6))),
            6 => filter.credential_name = Some(name(dice)),
            7 => filter.credential = Some(CredentialId::from_bytes([dice.below(4) as u8; 16])),
            8 => filter.version = Some(dice.below(4) as u32),
            9 => filter.lease = Some(LeaseId::from_bytes([dice.below(41) as u8; 16])),
            10 => filter.refused = Some(dice.below(2) == 0),
            11 => filter.code = Some("POLICY_DENIED".to_owned()),
            12 => filter.source = dice.of(&RANGES).parse().ok(),
            13 => filter.request_id = Some(format!("req_{}", dice.below(62))),
            14 => filter.object = Some(format!("o-{}", dice.below(6))),
            _ => filter.id = self.records.last().map(|last| last.record.id),
        }
    }
}

const EVENTS: [EventName; 5] = [
    EventName::LeaseIssued,
    EventName::LeaseRedeemed,
    EventName::LeaseRevoked,
    EventName::AuthzDenied,
    EventName::AuditRead,
];
const ADDRESSES: [&str; 6] = [
    "192.0.2.1",
    "192.0.2.77",
    "192.0.9.1",
    "10.1.2.3",
    "2001:db8::1",
    "::ffff:192.0.2.1",
];
const RANGES: [&str; 9] = [
    "192.0.2.1/32",
    "192.0.2.0/24",
    "192.0.2.64/26",
    "192.0.0.0/20",
    "192.0.0.0/8",
    "0.0.0.0/0",
    "2001:db8::/32",
    "2001:db8::/41",
    "::/0",
];
static NAMES: std::sync::LazyLock<Vec<String>> =
    std::sync::LazyLock::new(|| ["ann", "bob", "cid", "dot"].map(str::to_owned).to_vec());

type Opened = (Arc<LocalStore<Memory>>, Arc<Index>, Follower);

fn open(memory: &Memory, keyring: &Arc<Keyring>) -> Opened {
    let newest = Scan {
        reverse: true,
        limit: 1,
        ..key::audits(0)
    };
    let last = memory.scan(&newest, 1).unwrap().pop();
    let last = last.as_ref().map(|(at, block)| (at.as_slice(), &**block));
    let clock = Arc::new(Clock::new(Arc::new(SystemTime), None));
    let log = Log::after(keyring.clone(), clock, last).unwrap();
    let store = Arc::new(memory.clone().serve(Box::new(log)));
    let index = Index::new(keyring.clone(), LIMITS);
    let follower = Follower::new(index.clone(), store.clone());
    (store, index, follower)
}
