//! What the parts cost, each by itself: `cargo bench --bench micro`. What the whole does is `leasehold bench`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU32, Ordering},
    },
};

use divan::{Bencher, black_box, counter::BytesCount, counter::ItemsCount};
use futures_util::future::join_all;
use leasehold::{
    audit::log::{self, Log},
    authz::{
        self, Action, Allowed, CredentialFacts, Facts, Layer, LeaseFacts, PolicySet, Question,
        Resource, Snapshot, Source, TermsFacts,
    },
    clock::{Clock, SystemTime, TimeSource},
    config::policies,
    crypto::{
        entropy::{Entropy, OsEntropy},
        envelope::{RecordType, Slot},
        keyring::{Keyring, WorkspaceKeys},
        root::RootKey,
    },
    domain::{
        credential::Author,
        event::{Actor, AuditRecord, EventName, Object, Outcome},
        id::{CredentialId, EventId, IdentityId, KeyId, LeaseId, WorkspaceId},
        kind::CredentialType,
        lease::{Grant, Holder, Lease, Requester},
        name::{CredentialName, IdentityName, Metadata, WorkspaceName},
        policy::{Delivery, LeasePolicy, Terms},
        principal::{IdentityType, Principal, ProofId, RateLimit, Reach, Roles},
        scope::Role,
        secret::SecretText,
        time::Ttl,
    },
    engine::{
        Call, CreateCredential, Engine, IssueLease, NewIdentity, NewKey, Opened, REAPER_BATCH,
        Unlocked, WantedHolder,
    },
    store::{
        codec, key,
        local::LocalStore,
        port::{Key, Store},
        sled::{Sled, SledOptions},
    },
    tables::{self, Unseal},
};
use tokio::runtime::Runtime;

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Commits in one group.
const GROUP: usize = 64;
/// Leases that are due at once: two batches of the reaper.
const DUE: usize = 2 * REAPER_BATCH;

fn main() {
    divan::main();
}

/// A folder that is removed in the end.
struct Folder(PathBuf);

impl Folder {
    fn make() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("leasehold-micro-{}-{number}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    fn open(&self) -> Sled {
        let options = SledOptions {
            cache_bytes: 256 << 20,
            reserve_bytes: 0,
        };
        Sled::open(&self.0, &options).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const WORKSPACE: WorkspaceId = WorkspaceId::from_bytes([1; 16]);

fn keyring() -> (Arc<Keyring>, Arc<WorkspaceKeys>) {
    let entropy = Arc::new(OsEntropy);
    let root = RootKey::generate(&*entropy).unwrap();
    let keyring = Keyring::new(&root, entropy).unwrap();
    tables::unlock_new(&keyring, WorkspaceId::SYSTEM).unwrap();
    let (_, keys) = tables::unlock_new(&keyring, WORKSPACE).unwrap();
    (Arc::new(keyring), keys)
}

fn lease() -> Lease {
    let by = Author {
        identity: IdentityId::from_bytes([2; 16]),
        name: IdentityName::parse("claude-code", "name").unwrap(),
    };
    let entropy: &dyn Entropy = &OsEntropy;
    let now = Clock::new(Arc::new(SystemTime), None).now();
    let grant = Grant {
        id: LeaseId::new(now, &entropy.bytes().unwrap()),
        handle: [9; 32],
        credential: CredentialId::from_bytes([3; 16]),
        credential_name: CredentialName::parse("openai-api-key-prod", "name").unwrap(),
        version: 1,
        delivery: Delivery::Reveal,
        holder: Holder {
            identity: by.identity,
            kind: IdentityType::Agent,
            name: by.name.clone(),
            session: None,
        },
        requested_by: Requester {
            by,
            kind: IdentityType::Agent,
            proof: ProofId::Key(KeyId::from_bytes([4; 16])),
        },
        purpose: Some("summarise the open pull requests".to_owned()),
        requested_ttl: None,
        reveal: false,
    };
    Lease::issue(grant, &Terms::default(), now)
}

const LEASE_SLOT: Slot<'static> = Slot {
    kind: RecordType::Lease,
    id: &[7; 32],
    version: 0,
};

#[divan::bench(args = [64, 300, 4096])]
fn aead_seal(bencher: Bencher, bytes: usize) {
    let (_keyring, keys) = keyring();
    let plain = vec![b'x'; bytes];
    bencher
        .counter(BytesCount::new(bytes))
        .bench(|| keys.seal(LEASE_SLOT, &[], black_box(&plain)).unwrap());
}

#[divan::bench(args = [64, 300, 4096])]
fn aead_open(bencher: Bencher, bytes: usize) {
    let (_keyring, keys) = keyring();
    let sealed = keys.seal(LEASE_SLOT, &[], &vec![b'x'; bytes]).unwrap();
    bencher
        .counter(BytesCount::new(bytes))
        .bench(|| keys.open(LEASE_SLOT, black_box(&sealed)).unwrap());
}

#[divan::bench]
fn lease_record_encode_and_seal(bencher: Bencher) {
    let ((_keyring, keys), lease) = (keyring(), lease());
    bencher.bench(|| {
        let encoded = codec::encode(black_box(&lease)).unwrap();
        keys.seal(LEASE_SLOT, lease.credential.as_bytes(), &encoded)
            .unwrap()
    });
}

#[divan::bench]
fn lease_record_open_and_decode(bencher: Bencher) {
    let ((_keyring, keys), lease) = (keyring(), lease());
    let sealed = keys
        .seal(LEASE_SLOT, &[], &codec::encode(&lease).unwrap())
        .unwrap();
    bencher.bench(|| {
        let plain = keys.open(LEASE_SLOT, black_box(&sealed)).unwrap();
        codec::decode::<Lease>(&plain).unwrap()
    });
}

fn principal(workspace: WorkspaceId, role: Role) -> Principal {
    Principal {
        workspace,
        workspace_name: WorkspaceName::parse("default", "name").unwrap(),
        identity: IdentityId::from_bytes([2; 16]),
        name: IdentityName::parse("claude-code", "name").unwrap(),
        kind: IdentityType::Agent,
        proof: ProofId::Key(KeyId::from_bytes([4; 16])),
        root: ProofId::Key(KeyId::from_bytes([4; 16])),
        value_until: None,
        proof_name: "claude-code".to_owned(),
        role: Some(role),
        roles: Roles::of(role, None),
        scopes: role.scopes(),
        labels: Default::default(),
        organisation: false,
        rate_limit: RateLimit::Unlimited,
    }
}

/// Policies of an organisation: eight rules about every grant, and the others about one credential, one identity or
/// one other action each.
fn policies_of(count: usize) -> PolicySet {
    let general = (0..count.min(8)).map(|n| {
        format!(
            r#"@id("general-{n}") forbid (principal, action in [Action::"lease:create", Action::"lease:renew"], resource)
            when {{ resource.hasTag("environment") && resource.getTag("environment") == "environment-{n}" }}
            when {{ context.ttl_seconds > 3600 }};"#
        )
    });
    let named = (8..count).map(|n| {
        let scope = match n % 4 {
            0 => format!(r#"principal == Identity::"agent/agent-{n}", action == Action::"lease:create", resource"#),
            1 => r#"principal, action in Action::"identity:*", resource"#.to_owned(),
            _ => format!(r#"principal, action, resource in Credential::"credential-{n}""#),
        };
        format!(r#"@id("named-{n}") forbid ({scope}) when {{ context.hour > 24 }};"#)
    });
    set_of(general.chain(named).collect())
}

/// As many rules about every grant.
fn general_policies(count: usize) -> PolicySet {
    let rules = (0..count).map(|n| {
        format!(
            r#"@id("general-{n}") forbid (principal, action == Action::"lease:create", resource)
            when {{ resource.hasTag("team") && resource.getTag("team") == "team-{n}" && context.ttl_seconds > 3600 }};"#
        )
    });
    set_of(rules.collect())
}

fn set_of(policies: Vec<String>) -> PolicySet {
    let source = Source {
        name: "bench".to_owned(),
        text: policies.join("\n"),
    };
    PolicySet::parse(Layer::Organisation, &[source]).unwrap()
}

/// The decision on a grant, with the facts that a grant gives.
fn decide_grant(bencher: Bencher, policies: PolicySet, allowed: Option<&Allowed>) {
    let rules = Snapshot::default().with_organisation(policies);
    let principal = principal(WORKSPACE, Role::Agent);
    let name = CredentialName::parse("openai-api-key-prod", "name").unwrap();
    let tags = [
        ("environment", "production"),
        ("service", "openai"),
        ("team", "ml"),
    ];
    let tags = tags.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let metadata = Metadata::new(tags.into()).unwrap();
    let holder = lease().holder;
    let now = Clock::new(Arc::new(SystemTime), None).now();
    let ttl = Ttl::from_secs(600).span();
    bencher.bench(|| {
        let facts = Facts {
            credential: Some(CredentialFacts {
                kind: CredentialType::ApiKey,
                metadata: &metadata,
            }),
            lease: Some(LeaseFacts {
                holder: &holder,
                requested_by: (principal.kind, &principal.name),
                delivery: Delivery::Reveal,
                purpose: Some("summarise the open pull requests"),
            }),
            terms: Some(TermsFacts {
                ttl,
                lifetime: ttl,
                reveal: false,
            }),
            value: None,
            allowed,
        };
        let question = Question {
            principal: black_box(&principal),
            action: Action::LeaseCreate,
            resource: Resource::Credential(name.clone()),
            now,
            source_ip: Some(std::net::IpAddr::from([10, 1, 2, 3])),
            facts,
        };
        authz::decide(&rules, question).unwrap()
    });
}

#[divan::bench(args = [0, 100, 1_000])]
fn authorisation_decision(bencher: Bencher, policies: usize) {
    decide_grant(bencher, policies_of(policies), None);
}

/// Where every policy is about every grant, slicing helps nothing; a glance at the conditions does.
#[divan::bench(args = [1, 10, 100, 1_000])]
fn authorisation_decision_unsliced(bencher: Bencher, policies: usize) {
    decide_grant(bencher, general_policies(policies), None);
}

#[divan::bench]
fn authorisation_decision_allowed_identities(bencher: Bencher) {
    let allowed = Allowed::compile(&["agent/claude-*".to_owned()]).unwrap();
    decide_grant(bencher, PolicySet::default(), Some(&allowed));
}

/// An action that none of the policies is about.
#[divan::bench(args = [0, 100, 1_000])]
fn authorisation_decision_common(bencher: Bencher, policies: usize) {
    let rules = Snapshot::default().with_organisation(policies_of(policies));
    let principal = principal(WORKSPACE, Role::Owner);
    let now = Clock::new(Arc::new(SystemTime), None).now();
    bencher.bench(|| {
        let question = Question {
            principal: black_box(&principal),
            action: Action::CredentialRead,
            resource: Resource::Credential(Vault::name()),
            now,
            source_ip: None,
            facts: Facts::default(),
        };
        authz::decide(&rules, question).unwrap()
    });
}

#[divan::bench]
fn authentication(bencher: Bencher) {
    let folder = Folder::make();
    let runtime = Runtime::new().unwrap();
    let vault = runtime.block_on(Vault::make(&folder));
    let home = vault.call.principal.workspace;
    let key = runtime.block_on(async {
        let identity = NewIdentity {
            name: IdentityName::parse("claude-code", "name").unwrap(),
            kind: IdentityType::Agent,
            role: Role::Agent,
        };
        let identity = vault.engine.create_identity(home, identity).await.unwrap();
        let key = NewKey {
            name: "claude-code".to_owned(),
            identity,
            home,
            role: Role::Agent,
            reach: Reach::Workspace(home),
            rate_limit: RateLimit::Unlimited,
            expires_in: None,
        };
        vault.engine.create_key(key).await.unwrap()
    });
    // The header is what the benchmark is about.
    let header = format!("Bearer {}", key.expose());
    let authenticator = vault.engine.authenticator().unwrap();
    let now = vault.engine.now();
    bencher.bench(|| {
        let proven = authenticator.authenticate(Some(black_box(&header)), None, now);
        runtime
            .block_on(proven)
            .unwrap_or_else(|_| panic!("not proven"))
    });
    runtime.block_on(vault.engine.shut_down()).unwrap();
}

/// As many commits at once as are in flight at 64 connections: a lease, its open-lease key and an audit record
/// each, on credentials of their own.
#[divan::bench(sample_count = 200, sample_size = 1)]
fn sled_commit_group(bencher: Bencher) {
    let folder = Folder::make();
    let runtime = Runtime::new().unwrap();
    let (keyring, keys) = keyring();
    let clock = Arc::new(Clock::new(Arc::new(SystemTime), None));
    let log = Log::after(keyring, clock, None).unwrap();
    let store = runtime.block_on(async { folder.open().serve(Box::new(log)) });
    let store = store.unwrap();
    let commits = || {
        (0..GROUP)
            .map(|n| {
                let lease = lease();
                let credential = CredentialId::from_bytes([u8::try_from(n).unwrap(); 16]);
                let record = keys
                    .seal(LEASE_SLOT, &[], &codec::encode(&lease).unwrap())
                    .unwrap();
                let open = key::open_lease(WORKSPACE, credential, lease.expires_at, lease.id);
                (credential, lease, record, open)
            })
            .collect::<Vec<_>>()
    };
    bencher
        .counter(ItemsCount::new(GROUP))
        .with_inputs(commits)
        .bench_values(|commits| {
            runtime.block_on(join_all(commits.into_iter().map(
                async |(credential, lease, record, open)| {
                    commit(&store, credential, &lease, record, open).await
                },
            )))
        });
    runtime.block_on(store.close()).unwrap();
}

async fn commit(
    store: &LocalStore<Sled>,
    credential: CredentialId,
    lease: &Lease,
    record: Vec<u8>,
    open: Key,
) {
    let locks = [key::credential_lock(credential)];
    let mut txn = store.begin(&locks).await.unwrap();
    txn.put(key::lease(WORKSPACE, lease.id), record).unwrap();
    txn.put(open, Vec::new()).unwrap();
    let audit = AuditRecord {
        id: EventId::from_bytes(*lease.id.as_bytes()),
        time: lease.issued_at,
        workspace: WORKSPACE,
        event: EventName::LeaseIssued,
        actor: Actor::of(&principal(WORKSPACE, Role::Agent)),
        object: Object {
            credential: Some(credential),
            lease: Some(lease.id),
            ..Object::default()
        },
        outcome: Outcome::Success,
        policy: None,
        origin: None,
        purpose: lease.purpose.clone(),
        reason: None,
        changes: Vec::new(),
        requests: Vec::new(),
    };
    txn.commit(vec![log::entry(&audit).unwrap()]).await.unwrap();
}

/// A clock that the benchmark sets.
struct SetTime(AtomicI64);

impl TimeSource for SetTime {
    fn wall_micros(&self) -> i64 {
        self.0.load(Ordering::SeqCst) * 1_000
    }

    fn boot_micros(&self) -> i64 {
        self.0.load(Ordering::SeqCst) * 1_000
    }
}

/// A vault with one credential, on a clock of its own.
struct Vault {
    engine: Engine,
    time: Arc<SetTime>,
    call: Call,
    credential: CredentialId,
}

impl Vault {
    async fn make(folder: &Folder) -> Self {
        let root = RootKey::generate(&OsEntropy).unwrap();
        let Opened::Empty(empty) = Opened::read(folder.open()).unwrap() else {
            panic!("the folder is not empty")
        };
        let unlocked: Unlocked = empty
            .initialise(&root, Unseal::KeyFile, Arc::new(OsEntropy), &SystemTime)
            .unwrap();
        let time = Arc::new(SetTime(AtomicI64::new(SystemTime.wall_micros() / 1_000)));
        let policies = policies::built_in().unwrap();
        let engine = unlocked
            .serve(&root, Arc::new(OsEntropy), time.clone(), policies)
            .await
            .unwrap();
        let name = WorkspaceName::parse("default", "name").unwrap();
        let workspace = engine.create_workspace(&name).await.unwrap();
        let call = Call {
            principal: principal(workspace, Role::Owner),
            origin: Default::default(),
            idempotency: None,
            entered: engine.enter(),
        };
        let command = CreateCredential {
            name: Self::name(),
            kind: CredentialType::ApiKey,
            value: SecretText::new("x".repeat(300)),
            description: None,
            metadata: Metadata::new(Default::default()).unwrap(),
            policy: LeasePolicy {
                max_leases: Some(1_000_000),
                ..LeasePolicy::default()
            },
            canary: false,
        };
        let made = engine.create_credential(&call, command).await.unwrap();
        let credential = made.credential.id;
        Self {
            engine,
            time,
            call,
            credential,
        }
    }

    fn name() -> CredentialName {
        CredentialName::parse("openai-api-key-prod", "name").unwrap()
    }

    /// Issues leases of a minute, and lets two minutes pass.
    async fn let_expire(&self, leases: usize) {
        let command = || IssueLease {
            credential_name: Self::name(),
            ttl: Some(Ttl::from_secs(60)),
            delivery: None,
            holder: WantedHolder::default(),
            purpose: None,
            reveal: false,
        };
        let issue = async |_| self.engine.issue_lease(&self.call, command()).await;
        for issued in join_all((0..leases).map(issue)).await {
            issued.unwrap();
        }
        self.time.0.fetch_add(120_000, Ordering::SeqCst);
    }
}

#[divan::bench(sample_count = 50, sample_size = 1)]
fn reaper_closes_due_leases(bencher: Bencher) {
    let folder = Folder::make();
    let runtime = Runtime::new().unwrap();
    let vault = runtime.block_on(Vault::make(&folder));
    let place = (vault.call.principal.workspace, vault.credential);
    bencher
        .counter(ItemsCount::new(DUE))
        .with_inputs(|| runtime.block_on(vault.let_expire(DUE)))
        .bench_values(|()| {
            runtime.block_on(async {
                for _ in 0..DUE / REAPER_BATCH {
                    vault.engine.expire(place).await.unwrap();
                }
            });
        });
    let next = runtime.block_on(vault.engine.expire(place)).unwrap();
    assert_eq!(next, None, "leases are left that were due");
    runtime.block_on(vault.engine.shut_down()).unwrap();
}
