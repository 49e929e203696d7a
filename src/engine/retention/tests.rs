//! Retention over the real engine, on a clock that the test moves.

mod audit;
mod churn;
mod export;
mod independent;
mod leases;
mod readings;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
};

use crate::{
    clock::TimeSource,
    crypto::{entropy::OsEntropy, keyring::Keyring, root::RootKey},
    domain::{
        error::{Code, Error, Result},
        event::Origin,
        id::{LeaseId, WorkspaceId},
        kind::CredentialType,
        name::{CredentialName, HoldName, IdentityName, Metadata, WorkspaceName},
        policy::{LeasePolicy, NamedPolicies},
        principal::{IdentityType, Principal, RateLimit, Reach},
        retention::Retention,
        scope::Role,
        secret::SecretText,
        time::{Span, Timestamp, Ttl},
    },
    engine::{
        Call, CreateCredential, Engine, IssueLease, NewIdentity, NewKey, Unsealed, WantedHolder,
    },
    store::{
        local::Backend,
        memory::Memory,
        port::{Boxed, Health, Key, LockKey, Scan, Store, Txn, Value, Visit},
    },
    tables::{self, Header, Unseal},
};

const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;

/// The machine's clocks, which stand still.
struct Clocks(AtomicI64);

impl TimeSource for Clocks {
    fn wall_micros(&self) -> i64 {
        self.0.load(Ordering::SeqCst) * 1_000
    }

    fn boot_micros(&self) -> i64 {
        (self.0.load(Ordering::SeqCst) - 1_000_000) * 1_000
    }
}

/// A store that goes away before so many more transactions have begun.
struct Fragile {
    store: Arc<dyn Store>,
    left: Arc<AtomicUsize>,
}

impl Store for Fragile {
    fn begin<'a>(&'a self, locks: &'a [LockKey]) -> Boxed<'a, Result<Box<dyn Txn>>> {
        let left = self
            .left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        match left {
            Ok(_) => self.store.begin(locks),
            Err(_) => Box::pin(std::future::ready(Err(Error::storage("gone")))),
        }
    }

    fn get<'a>(&'a self, key: &'a [u8]) -> Boxed<'a, Result<Option<Value>>> {
        self.store.get(key)
    }

    fn scan<'a>(&'a self, scan: &'a Scan) -> Boxed<'a, Result<Vec<(Key, Value)>>> {
        self.store.scan(scan)
    }

    fn snapshot(&self, visit: Visit) -> Boxed<'_, Result<()>> {
        self.store.snapshot(visit)
    }

    fn spool(&self) -> Result<std::fs::File> {
        self.store.spool()
    }

    fn keep_time(&self) -> Boxed<'_, Result<()>> {
        self.store.keep_time()
    }

    fn health(&self) -> Health {
        self.store.health()
    }

    fn close(&self) -> Boxed<'_, Result<()>> {
        self.store.close()
    }
}

/// A vault in memory, with a workspace, and an owner of all of it.
pub(in crate::engine) struct World {
    pub(in crate::engine) memory: Memory,
    clocks: Arc<Clocks>,
    root: RootKey,
    header: Header,
    pub(in crate::engine) engine: Engine,
    /// Transactions that may begin.
    pub(in crate::engine) left: Arc<AtomicUsize>,
    owner: Principal,
    pub(in crate::engine) workspace: WorkspaceId,
}

async fn serve(
    memory: &Memory,
    header: &Header,
    root: &RootKey,
    clocks: &Arc<Clocks>,
) -> (Engine, Arc<AtomicUsize>) {
    let entropy = Arc::new(OsEntropy);
    let unsealed = Unsealed::read(memory, header, root, entropy, clocks.clone()).unwrap();
    let left = Arc::new(AtomicUsize::new(usize::MAX));
    let (store, counted) = (memory.clone(), left.clone());
    let serve = |log| -> Result<Arc<dyn Store>> {
        Ok(Arc::new(Fragile {
            store: Arc::new(store.serve(log)),
            left: counted,
        }))
    };
    let engine = unsealed.serve(serve, NamedPolicies::default()).await;
    (engine.unwrap(), left)
}

impl World {
    pub(in crate::engine) async fn new(retention: Retention) -> Self {
        let root = RootKey::generate(&OsEntropy).unwrap();
        let keyring = Keyring::new(&root, Arc::new(OsEntropy)).unwrap();
        let clocks = Arc::new(Clocks(AtomicI64::new(1_800_000_000_000)));
        let header = Header {
            created_at: Timestamp::from_millis(1_800_000_000_000),
            unseal: Unseal::KeyFile,
            check: keyring.seal_check().unwrap(),
        };
        let memory = Memory::default();
        let first = tables::first_writes(&header, &keyring).unwrap();
        let first = first
            .into_iter()
            .map(|(at, value)| (at, Some(value.into())));
        memory.apply(&first.collect()).unwrap();
        memory.sync().unwrap();
        let (engine, left) = serve(&memory, &header, &root, &clocks).await;
        let engine = engine.retaining(retention);
        let name = WorkspaceName::parse("default", "name").unwrap();
        let workspace = engine.create_workspace(&name).await.unwrap();
        let owner = admitted(&engine, workspace).await;
        Self {
            memory,
            clocks,
            root,
            header,
            engine,
            left,
            owner,
            workspace,
        }
    }

    /// The power is cut, and the vault starts again.
    async fn restart(&mut self) {
        let retention = self.engine.retention;
        self.memory = self.memory.after_power_cut();
        let (engine, left) = serve(&self.memory, &self.header, &self.root, &self.clocks).await;
        self.engine = engine.retaining(retention);
        self.left = left;
    }

    pub(in crate::engine) fn pass(&self, millis: u64) {
        self.clocks.0.fetch_add(millis as i64, Ordering::SeqCst);
    }

    pub(in crate::engine) fn call(&self) -> Call {
        Call {
            principal: self.owner.clone(),
            origin: Origin::default(),
            idempotency: None,
            entered: self.engine.enter(),
        }
    }

    pub(in crate::engine) async fn store(&self, name: &str) -> CredentialName {
        let name = CredentialName::parse(name, "name").unwrap();
        let command = CreateCredential {
            name: name.clone(),
            kind: CredentialType::GenericSecret,
            value: SecretText::new("v".to_owned()),
            description: None,
            metadata: Metadata::new(BTreeMap::new()).unwrap(),
            policy: LeasePolicy {
                max_leases: Some(100_000),
                max_lease_ttl: Some(Ttl::from_secs(7 * 86_400)),
                ..LeasePolicy::default()
            },
            canary: false,
        };
        let made = self.engine.create_credential(&self.call(), command).await;
        made.unwrap();
        name
    }

    pub(in crate::engine) async fn lease(&self, name: &CredentialName, ttl: u64) -> LeaseId {
        let command = IssueLease {
            credential_name: name.clone(),
            ttl: Some(Ttl::from_secs(ttl)),
            delivery: None,
            holder: WantedHolder::default(),
            purpose: None,
            reveal: false,
        };
        let issued = self.engine.issue_lease(&self.call(), command).await;
        issued.unwrap().view.lease.id
    }

    async fn release(&self, id: LeaseId) {
        self.engine.release_lease(&self.call(), id).await.unwrap();
    }

    /// Whether a lease can still be looked at by its id.
    async fn is_there(&self, id: LeaseId) -> bool {
        match self.engine.lease(&self.call(), id).await {
            Ok(_) => true,
            Err(error) => {
                assert_eq!(error.code(), Code::NotFound);
                false
            }
        }
    }

    async fn hold(&self, name: &str) {
        let name = HoldName::parse(name, "name").unwrap();
        let call = self.call();
        let set = self.engine.set_hold(&call, name, "a reason".into());
        set.await.unwrap();
    }

    async fn release_hold(&self, name: &str) {
        let name = HoldName::parse(name, "name").unwrap();
        let released = self.engine.release_hold(&self.call(), &name).await;
        released.unwrap();
    }

    /// What the doctor finds.
    pub(in crate::engine) async fn findings(&self) -> Vec<String> {
        let (store, now) = (&*self.engine.store, self.engine.now());
        crate::doctor::look(store, &self.engine.keyring, now)
            .await
            .unwrap()
    }
}

/// An owner of the whole vault.
async fn admitted(engine: &Engine, workspace: WorkspaceId) -> Principal {
    let new = NewIdentity {
        name: IdentityName::parse("keeper", "name").unwrap(),
        kind: IdentityType::Service,
        role: Role::Owner,
    };
    let identity = engine.create_identity(workspace, new).await.unwrap();
    let key = engine
        .create_key(NewKey {
            name: "k".to_owned(),
            identity,
            home: workspace,
            role: Role::Owner,
            reach: Reach::Organisation,
            rate_limit: RateLimit::Unlimited,
            expires_in: None,
        })
        .await
        .unwrap();
    let header = format!("Bearer {}", key.expose());
    let authenticator = engine.authenticator().unwrap();
    let proven = authenticator
        .authenticate(Some(&header), None, engine.now())
        .await;
    proven.unwrap_or_else(|refusal| panic!("{}", refusal.error))
}

fn hours(hours: u64) -> Span {
    Span::from_millis(hours * HOUR)
}
