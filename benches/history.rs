//! Queries over a long history: `cargo bench --bench history -- [records] [folder]`, one million unless said otherwise.
//! Makes a log of synthetic records in sled, lets the follower index it, and asks for each filter many times. A folder
//! that is given is kept, and is queried as it is the next time.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use leasehold::{
    audit::{
        index::{Follower, Index, Limits},
        log::{self, Log},
        query::{AuditFilter, Reader, Whose, Window},
    },
    clock::{Clock, SystemTime},
    crypto::{entropy::OsEntropy, keyring::Keyring, root::RootKey},
    domain::{
        event::{Actor, AuditRecord, EventName, Object, Origin, Outcome},
        id::{CredentialId, EventId, IdentityId, KeyId, LeaseId, WorkspaceId},
        name::{CredentialName, IdentityName},
        principal::{IdentityType, ProofId},
        time::Timestamp,
    },
    store::{
        key,
        local::Backend,
        port::{Scan, Store},
        sled::{Sled, SledOptions},
    },
    tables,
};

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const WORKSPACE: WorkspaceId = WorkspaceId::from_bytes([1; 16]);
const BEGIN: u64 = 1_750_000_000_000;
/// Records of one commit.
const GROUP: u64 = 256;
/// How often each question is asked.
const ASKED: usize = 200;

fn mixed(number: u64) -> u64 {
    let mut z = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn bytes(kind: u8, number: u64) -> [u8; 16] {
    let mut bytes = [kind; 16];
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    bytes
}

/// A lease has four events; there are a thousand credentials, two hundred identities, ten thousand sessions.
fn record(sequence: u64) -> AuditRecord {
    let lease = mixed(sequence / 16 * 4 + sequence % 4);
    let (credential, identity) = (lease % 1000, lease % 200);
    let version = (lease % 7) as u32;
    let event = [
        EventName::LeaseIssued,
        EventName::LeaseRedeemed,
        EventName::LeaseRenewed,
        EventName::LeaseReleased,
    ][(sequence / 4 % 4) as usize];
    let refused = mixed(sequence).is_multiple_of(500);
    let name = IdentityName::parse(&format!("agent-{identity}"), "").unwrap();
    let time = Timestamp::from_millis(BEGIN + sequence * 8);
    AuditRecord {
        id: EventId::from_bytes(bytes(14, sequence)),
        time,
        workspace: WORKSPACE,
        event: if refused {
            EventName::AuthzDenied
        } else {
            event
        },
        actor: Actor::Identity {
            identity: IdentityId::from_bytes(bytes(1, identity)),
            name: name.clone(),
            kind: IdentityType::Agent,
            proof: ProofId::Key(KeyId::from_bytes(bytes(2, identity))),
        },
        object: Object {
            credential: Some(CredentialId::from_bytes(bytes(3, credential))),
            credential_name: CredentialName::parse(&format!("credential-{credential}"), "").ok(),
            version: Some(version),
            lease: Some(LeaseId::from_bytes(bytes(4, lease))),
            holder: Some(IdentityId::from_bytes(bytes(1, identity))),
            holder_name: Some(name),
            session: Some(format!("s-{}", lease % 10_000)),
            name: None,
        },
        outcome: match refused {
            true => Outcome::Refused {
                code: "POLICY_DENIED".to_owned(),
            },
            false => Outcome::Success,
        },
        policy: Some("role:agent".to_owned()),
        origin: Some(Origin {
            request_id: format!("req_{sequence:032x}"),
            source_ip: Some(std::net::Ipv4Addr::from(0x0a00_0000 + (lease % 70_000) as u32).into()),
            user_agent: Some("agent/1.0".to_owned()),
        }),
        purpose: Some("answer the ticket".to_owned()),
        reason: None,
        changes: Vec::new(),
        requests: Vec::new(),
    }
}

fn filters(records: u64) -> Vec<(&'static str, AuditFilter)> {
    let middle = record(records / 2);
    let object = middle.object.clone();
    let all = AuditFilter::default;
    let at = |part: u64| Some(Timestamp::from_millis(BEGIN + records * 8 / 100 * part));
    vec![
        ("none", all()),
        (
            "time, a tenth",
            AuditFilter {
                since: at(40),
                until: at(50),
                ..all()
            },
        ),
        (
            "event",
            AuditFilter {
                events: vec![EventName::LeaseIssued],
                ..all()
            },
        ),
        (
            "two events",
            AuditFilter {
                events: vec![EventName::LeaseIssued, EventName::AuthzDenied],
                ..all()
            },
        ),
        (
            "event, time",
            AuditFilter {
                events: vec![EventName::LeaseIssued],
                since: at(40),
                until: at(50),
                ..all()
            },
        ),
        (
            "outcome",
            AuditFilter {
                refused: Some(true),
                ..all()
            },
        ),
        (
            "code",
            AuditFilter {
                code: Some("POLICY_DENIED".to_owned()),
                ..all()
            },
        ),
        (
            "actor",
            AuditFilter {
                actor: Some("agent-7".to_owned()),
                ..all()
            },
        ),
        (
            "identity",
            AuditFilter {
                identity: Some(Whose::Name("agent-7".to_owned())),
                ..all()
            },
        ),
        (
            "key",
            AuditFilter {
                proof: Some(ProofId::Key(KeyId::from_bytes(bytes(2, 7)))),
                ..all()
            },
        ),
        (
            "session",
            AuditFilter {
                session: object.session.clone(),
                ..all()
            },
        ),
        (
            "credential",
            AuditFilter {
                credential_name: Some("credential-7".to_owned()),
                ..all()
            },
        ),
        (
            "credential, version",
            AuditFilter {
                credential_name: Some("credential-7".to_owned()),
                version: Some(3),
                ..all()
            },
        ),
        (
            "version",
            AuditFilter {
                version: Some(3),
                ..all()
            },
        ),
        (
            "lease",
            AuditFilter {
                lease: object.lease,
                ..all()
            },
        ),
        (
            "source",
            AuditFilter {
                source: "10.0.0.7/32".parse().ok(),
                ..all()
            },
        ),
        (
            "source /24",
            AuditFilter {
                source: "10.0.1.0/24".parse().ok(),
                ..all()
            },
        ),
        (
            "source /28",
            AuditFilter {
                source: "10.0.1.16/28".parse().ok(),
                ..all()
            },
        ),
        (
            "request",
            AuditFilter {
                request_id: Some(format!("req_{:032x}", records / 2)),
                ..all()
            },
        ),
        (
            "record",
            AuditFilter {
                id: Some(middle.id),
                ..all()
            },
        ),
        (
            "nothing there",
            AuditFilter {
                session: Some("s-none".to_owned()),
                ..all()
            },
        ),
        (
            "identity, event",
            AuditFilter {
                identity: Some(Whose::Name("agent-7".to_owned())),
                events: vec![EventName::LeaseIssued],
                ..all()
            },
        ),
        (
            "credential, refused, time",
            AuditFilter {
                credential_name: Some("credential-7".to_owned()),
                refused: Some(true),
                since: at(20),
                until: at(80),
                ..all()
            },
        ),
        (
            "event, success",
            AuditFilter {
                events: vec![EventName::LeaseIssued],
                refused: Some(false),
                ..all()
            },
        ),
    ]
}

struct Vault {
    store: Arc<dyn Store>,
    keyring: Arc<Keyring>,
    index: Arc<Index>,
}

/// Opens the folder; the keys are made anew from a fixed root, and kept in the folder.
async fn open(folder: &Path) -> Vault {
    let options = SledOptions {
        cache_bytes: 256 << 20,
        reserve_bytes: 0,
    };
    let key_file = folder.join("bench-root");
    std::fs::create_dir_all(folder).unwrap();
    let sled = Sled::open(folder, &options).unwrap();
    let fresh = sled.is_empty();
    let root = match fresh {
        true => {
            let root = RootKey::generate(&OsEntropy).unwrap();
            root.write_file(&key_file).unwrap();
            root
        }
        false => RootKey::read_file(&key_file).unwrap(),
    };
    let keyring = Arc::new(Keyring::new(&root, Arc::new(OsEntropy)).unwrap());
    if fresh {
        let mut writes = Vec::new();
        for workspace in [WorkspaceId::SYSTEM, WORKSPACE] {
            let (write, _) = tables::unlock_new(&keyring, workspace).unwrap();
            writes.push(write);
        }
        sled.write_first(writes).unwrap();
    } else {
        let keks = Backend::scan(&sled, &key::keks(), 100).unwrap();
        tables::load_keys(&keyring, &keks).unwrap();
    }
    let newest = Scan {
        reverse: true,
        limit: 1,
        ..key::audits(0)
    };
    let last = sled.read_range(&newest).unwrap().pop();
    let last = last.as_ref().map(|(at, block)| (at.as_slice(), &**block));
    let clock = Arc::new(Clock::new(Arc::new(SystemTime), None));
    let log = Log::after(keyring.clone(), clock, last).unwrap();
    let store: Arc<dyn Store> = Arc::new(sled.serve(Box::new(log)).unwrap());
    let index = Index::new(keyring.clone(), Limits::default());
    Vault {
        store,
        keyring,
        index,
    }
}

impl Vault {
    fn reader(&self) -> Reader<'_> {
        Reader {
            store: &*self.store,
            keyring: &self.keyring,
            workspace: WORKSPACE,
            index: Some(&self.index),
        }
    }
}

fn cpu() -> Duration {
    let usage = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(usage.tv_sec as u64, usage.tv_nsec as u32)
}

async fn fill(vault: &Vault, records: u64) {
    let from = vault.reader().newest().await.unwrap() + 1;
    if from > records {
        return;
    }
    let begun = Instant::now();
    let mut sequence = from;
    let mut pending = std::collections::VecDeque::new();
    while sequence <= records {
        let group = sequence..(sequence + GROUP).min(records + 1);
        sequence = group.end;
        let entries = group.map(|one| log::entry(&record(one)).unwrap()).collect();
        let commit = vault.store.begin(&[]).await.unwrap().commit(entries);
        pending.push_back(tokio::spawn(commit));
        if pending.len() > 16 {
            pending.pop_front().unwrap().await.unwrap().unwrap();
        }
    }
    for commit in pending {
        commit.await.unwrap().unwrap();
    }
    let made = records + 1 - from;
    println!("{made} records written in {:.1?}", begun.elapsed());
}

async fn follow(vault: &Vault, records: u64) {
    let mut follower = Follower::new(vault.index.clone(), vault.store.clone());
    let (begun, used) = (Instant::now(), cpu());
    let mut longest = Duration::ZERO;
    loop {
        let at = Instant::now();
        let more = follower.step().await.unwrap();
        longest = longest.max(at.elapsed());
        if !more {
            break;
        }
    }
    let used = cpu() - used;
    println!(
        "indexed in {:.1?}, {:.1?} of CPU on the follower's thread, {:.2} us a record if all were new; longest step {longest:.1?}",
        begun.elapsed(),
        used,
        used.as_secs_f64() * 1e6 / records as f64
    );
}

async fn ask(vault: &Vault, records: u64) {
    println!("| filter | total | first | p50 | p99 | oldest first, p99 |");
    println!("| --- | --- | --- | --- | --- | --- |");
    for (name, filter) in filters(records) {
        let mut columns = Vec::new();
        let mut total = None;
        for newest_first in [true, false] {
            let window = Window {
                newest_first,
                after: None,
                offset: 0,
                limit: 50,
            };
            let mut times = Vec::new();
            for _ in 0..ASKED {
                let begun = Instant::now();
                let page = vault.reader().query(&filter, window).await.unwrap();
                times.push(begun.elapsed());
                total = page.total;
            }
            let first = times[0];
            times.sort_unstable();
            columns.push((first, times[ASKED / 2], times[ASKED * 99 / 100]));
        }
        let [(first, p50, p99), (_, _, back)] = columns[..] else {
            unreachable!()
        };
        let total = total.map_or("not counted".to_owned(), |total| total.to_string());
        println!("| {name} | {total} | {first:.2?} | {p50:.2?} | {p99:.2?} | {back:.2?} |");
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|one| !one.starts_with('-'));
    let records = arguments
        .next()
        .map_or(1_000_000, |text| text.parse().unwrap());
    let kept = arguments.next().map(PathBuf::from);
    let name = format!("leasehold-history-{}", std::process::id());
    let folder = kept
        .clone()
        .unwrap_or_else(|| std::env::temp_dir().join(name));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let vault = open(&folder).await;
        fill(&vault, records).await;
        follow(&vault, records).await;
        ask(&vault, records).await;
        vault.store.close().await.unwrap();
    });
    if kept.is_none() {
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
