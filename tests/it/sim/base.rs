//! The vault that every simulated run begins with, made once: two workspaces, and in each a keeper and agents.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicI64, Ordering},
};

use leasehold::{
    clock::TimeSource,
    crypto::{keyring::Keyring, root::RootKey},
    domain::{
        id::WorkspaceId,
        name::{IdentityName, WorkspaceName},
        policy::NamedPolicies,
        principal::{IdentityType, Principal, RateLimit, Reach},
        scope::Role,
        time::Timestamp,
    },
    engine::{Engine, NewIdentity, NewKey, Unsealed},
    store::{local::Backend, memory::Memory},
    tables::{self, Header, Unseal},
};

use super::dice::Dice;

/// The machine's clocks, in the hand of the simulation.
pub struct FakeTime {
    wall: AtomicI64,
    boot: AtomicI64,
}

impl FakeTime {
    pub fn new() -> Self {
        Self {
            wall: AtomicI64::new(1_800_000_000_000),
            boot: AtomicI64::new(5_000),
        }
    }

    /// Both clocks go on.
    pub fn pass(&self, millis: u64) {
        self.boot.fetch_add(millis as i64, Ordering::SeqCst);
        self.jump(millis as i64);
    }

    /// Somebody sets the wall clock.
    pub fn jump(&self, millis: i64) {
        self.wall.fetch_add(millis, Ordering::SeqCst);
    }

    /// The machine starts anew.
    pub fn reboot(&self) {
        self.boot.store(1, Ordering::SeqCst);
    }
}

impl TimeSource for FakeTime {
    fn wall_micros(&self) -> i64 {
        self.wall.load(Ordering::SeqCst) * 1_000
    }

    fn boot_micros(&self) -> i64 {
        self.boot.load(Ordering::SeqCst) * 1_000
    }
}

pub struct Base {
    pub memory: Memory,
    pub header: Header,
    pub root: RootKey,
    /// The vault's own workspace, and those of the clients.
    pub workspaces: Vec<WorkspaceId>,
    pub principals: Vec<Principal>,
}

/// Each client's workspace, name and role. Two of them are the same agent.
const CLIENTS: [(usize, &str, Role); 6] = [
    (0, "keeper", Role::Owner),
    (0, "builder", Role::Agent),
    (0, "builder", Role::Agent),
    (0, "tester", Role::Agent),
    (1, "keeper", Role::Owner),
    (1, "builder", Role::Agent),
];

impl Base {
    pub fn get() -> &'static Self {
        static BASE: OnceLock<Base> = OnceLock::new();
        // On a thread of its own: whoever asks first may be in a runtime.
        let make = || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .build()
                .unwrap();
            runtime.block_on(Self::make())
        };
        BASE.get_or_init(|| std::thread::spawn(make).join().unwrap())
    }

    async fn make() -> Self {
        let dice = Dice::of(0);
        let root = RootKey::generate(&dice).unwrap();
        let keyring = Keyring::new(&root, Arc::new(dice.clone())).unwrap();
        let header = Header {
            created_at: Timestamp::from_millis(1_800_000_000_000),
            unseal: Unseal::KeyFile,
            check: keyring.seal_check().unwrap(),
        };
        let memory = Memory::default();
        let first = tables::first_writes(&header, &keyring).unwrap().into_iter();
        memory
            .apply(
                &first
                    .map(|(key, value)| (key, Some(value.into())))
                    .collect(),
            )
            .unwrap();
        memory.sync().unwrap();
        let unsealed = Unsealed::read(
            &memory,
            &header,
            &root,
            Arc::new(dice),
            Arc::new(FakeTime::new()),
        )
        .unwrap();
        let store = memory.clone();
        let engine = unsealed
            .serve(
                |log| Ok(Arc::new(store.serve(log))),
                NamedPolicies::default(),
            )
            .await
            .unwrap();
        let mut workspaces = vec![WorkspaceId::SYSTEM];
        for name in ["default", "other"] {
            let name = WorkspaceName::parse(name, "name").unwrap();
            workspaces.push(engine.create_workspace(&name).await.unwrap());
        }
        let mut principals: Vec<Principal> = Vec::new();
        for (at, name, role) in CLIENTS {
            let home = workspaces[at + 1];
            let same = principals
                .iter()
                .find(|known| known.workspace == home && known.name.as_str() == name);
            let principal = match same {
                Some(known) => known.clone(),
                None => admit(&engine, home, name, role).await,
            };
            principals.push(principal);
        }
        engine.shut_down().await.unwrap();
        Self {
            memory: memory.after_power_cut(),
            header,
            root,
            workspaces,
            principals,
        }
    }
}

async fn admit(engine: &Engine, home: WorkspaceId, name: &str, role: Role) -> Principal {
    let new = NewIdentity {
        name: IdentityName::parse(name, "name").unwrap(),
        kind: IdentityType::Agent,
        role,
    };
    let identity = engine.create_identity(home, new).await.unwrap();
    let key = NewKey {
        name: name.to_owned(),
        identity,
        home,
        role,
        reach: Reach::Workspace(home),
        rate_limit: RateLimit::Unlimited,
        expires_in: None,
    };
    let key = engine.create_key(key).await.unwrap();
    let header = format!("Bearer {}", key.expose());
    let proven = engine
        .authenticator()
        .unwrap()
        .authenticate(Some(&header), None, engine.now())
        .await;
    proven.unwrap_or_else(|refusal| panic!("{}", refusal.error))
}
