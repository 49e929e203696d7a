//! Reports over the real engine, on a clock that the test moves: what lies longer ago than a test can wait.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use super::*;
use crate::{
    audit::{
        log,
        query::AuditFilter,
        removal::{RANGE, first_of},
    },
    clock::TimeSource,
    crypto::{entropy::OsEntropy, keyring::Keyring, root::RootKey},
    domain::{
        event::{Actor, Origin},
        id::{LeaseId, WorkspaceId},
        kind::CredentialType,
        name::{CredentialName, IdentityName, Metadata, WorkspaceName},
        policy::{LeasePolicy, NamedPolicies},
        principal::{IdentityType, Principal, RateLimit, Reach},
        retention::{AuditRetention, CLASSES, EventClass, Retention},
        scope::{Role, Scope, ScopeSet},
        secret::SecretText,
        time::{Span, Timestamp, Ttl},
    },
    engine::{
        CreateCredential, CreateToken, IssueLease, Issued, NewIdentity, NewKey, PageRequest,
        TokenWorkspace, Unsealed, WantedHolder,
    },
    store::{local::Backend, memory::Memory, port::Store},
    tables::{self, Header, Unseal},
};

const DAY: u64 = 24 * 3_600_000;

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

/// A vault in memory, with two workspaces.
struct World {
    clocks: Arc<Clocks>,
    engine: Engine,
    workspace: WorkspaceId,
    /// `service/keeper` of the first workspace, an owner who reaches both.
    owner: Principal,
    owners_key: String,
}

impl World {
    async fn new() -> Self {
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
        let entropy = Arc::new(OsEntropy);
        let unsealed = Unsealed::read(&memory, &header, &root, entropy, clocks.clone()).unwrap();
        let serve = |log| -> Result<Arc<dyn Store>> { Ok(Arc::new(memory.serve(log))) };
        let engine = unsealed.serve(serve, NamedPolicies::default()).await;
        let mut ages = [None; CLASSES];
        ages[EventClass::Access as usize] = Some(Span::from_millis(DAY));
        let engine = engine.unwrap().retaining(Retention {
            closed_leases: Span::from_millis(1_000 * DAY),
            audit: AuditRetention {
                ages,
                class_max_bytes: [None; CLASSES],
                max_bytes: None,
            },
        });
        let workspace = engine.create_workspace(&name("default")).await.unwrap();
        engine.create_workspace(&name("other")).await.unwrap();
        let key = made(
            &engine,
            workspace,
            "keeper",
            IdentityType::Service,
            Role::Owner,
        )
        .await;
        Self {
            owner: proven(&engine, &key, None).await,
            owners_key: key,
            clocks,
            engine,
            workspace,
        }
    }

    fn pass(&self, millis: u64) {
        self.clocks.0.fetch_add(millis as i64, Ordering::SeqCst);
    }

    fn call(&self, principal: &Principal) -> Call {
        Call {
            principal: principal.clone(),
            origin: Origin {
                request_id: "r".to_owned(),
                source_ip: Some("192.0.2.1".parse().unwrap()),
                user_agent: None,
            },
            idempotency: None,
            entered: self.engine.enter(),
        }
    }

    /// An agent of the first workspace.
    async fn agent(&self, name: &str) -> Principal {
        // Ids are in the order of time.
        self.pass(1);
        let (kind, role) = (IdentityType::Agent, Role::Agent);
        let key = made(&self.engine, self.workspace, name, kind, role).await;
        proven(&self.engine, &key, None).await
    }

    /// The owner's key in another workspace.
    async fn owner_in(&self, workspace: &str) -> Principal {
        proven(&self.engine, &self.owners_key, Some(workspace)).await
    }

    async fn store(&self, owner: &Principal, name: &str, canary: bool) -> CredentialName {
        let name = CredentialName::parse(name, "name").unwrap();
        let command = CreateCredential {
            name: name.clone(),
            kind: CredentialType::GenericSecret,
            value: SecretText::new("v".to_owned()),
            description: None,
            metadata: Metadata::new(BTreeMap::new()).unwrap(),
            policy: LeasePolicy {
                max_lease_ttl: Some(Ttl::from_secs(60 * 86_400)),
                canary_suspends: canary.then_some(true),
                ..LeasePolicy::default()
            },
            canary,
        };
        let call = self.call(owner);
        let made = self.engine.create_credential(&call, command).await;
        made.unwrap();
        name
    }

    async fn lease(
        &self,
        who: &Principal,
        name: &CredentialName,
        days: u64,
        wish: impl FnOnce(&mut IssueLease),
    ) -> Issued {
        self.pass(1);
        let mut command = IssueLease {
            credential_name: name.clone(),
            ttl: Some(Ttl::from_secs(days * 86_400)),
            delivery: None,
            holder: WantedHolder::default(),
            purpose: Some("deploy".to_owned()),
            reveal: false,
        };
        wish(&mut command);
        let issued = self.engine.issue_lease(&self.call(who), command).await;
        issued.unwrap()
    }

    async fn redeem(&self, who: &Principal, issued: &Issued) {
        let redeemed = self.engine.redeem(&self.call(who), &issued.handle).await;
        drop(redeemed.unwrap());
    }

    async fn release(&self, who: &Principal, issued: &Issued) {
        let id = issued.view.lease.id;
        self.engine
            .release_lease(&self.call(who), id)
            .await
            .unwrap();
    }

    async fn report(&self, who: &Principal, query: &ExposureQuery) -> Exposure {
        let report = self.engine.exposure(&self.call(who), query).await;
        report.unwrap()
    }

    /// Seals so much history that retention removes what is older than a day of it.
    async fn forget(&self) {
        while self.engine.seal_next().await.unwrap() {}
        let begun = self.engine.sealed_size().await.unwrap();
        let upto = first_of(begun / RANGE + 2);
        for begin in (begun..upto).step_by(512) {
            let entries = (begin..upto.min(begin + 512)).map(|_| {
                let note = Note::new(EventName::CredentialUpdated, Object::default());
                let actor = Actor::vault("test");
                let now = self.engine.now();
                let record = self
                    .engine
                    .record(self.workspace, actor, None, None, now, note);
                log::entry(&record.unwrap()).unwrap()
            });
            let entries = entries.collect();
            let txn = self.engine.store.begin(&[]).await.unwrap();
            txn.commit(entries).await.unwrap();
            while self.engine.seal_next().await.unwrap() {}
        }
        self.pass(2 * DAY);
        while self.engine.retain().await.unwrap().records > 0 {
            while self.engine.seal_next().await.unwrap() {}
        }
        let filter = AuditFilter {
            events: vec![EventName::LeaseIssued],
            ..AuditFilter::default()
        };
        let left = self.engine.history(self.workspace).last(&filter).await;
        assert!(left.unwrap().is_none(), "no grant is left in history");
    }
}

fn name(text: &str) -> WorkspaceName {
    WorkspaceName::parse(text, "name").unwrap()
}

/// An identity with a key, which is given back.
async fn made(
    engine: &Engine,
    home: WorkspaceId,
    name: &str,
    kind: IdentityType,
    role: Role,
) -> String {
    let new = NewIdentity {
        name: IdentityName::parse(name, "name").unwrap(),
        kind,
        role,
    };
    let identity = engine.create_identity(home, new).await.unwrap();
    let key = engine.create_key(NewKey {
        name: "k".to_owned(),
        identity,
        home,
        role,
        reach: match role {
            Role::Owner => Reach::Organisation,
            _ => Reach::Workspace(home),
        },
        rate_limit: RateLimit::Unlimited,
        expires_in: None,
    });
    key.await.unwrap().expose().to_owned()
}

async fn proven(engine: &Engine, bearer: &str, workspace: Option<&str>) -> Principal {
    let header = format!("Bearer {bearer}");
    let authenticator = engine.authenticator().unwrap();
    let proven = authenticator
        .authenticate(Some(&header), workspace, engine.now())
        .await;
    proven.unwrap_or_else(|refusal| panic!("{}", refusal.error))
}

fn about(name: &CredentialName) -> ExposureQuery {
    ExposureQuery {
        credential: Some(ChosenCredential::Name(name.clone())),
        ..ExposureQuery::default()
    }
}

fn leases(report: &Exposure) -> Vec<LeaseId> {
    report.leases.iter().map(|lease| lease.id).collect()
}

fn paths(report: &Exposure) -> Vec<&str> {
    report.actions.iter().map(|one| one.path.as_str()).collect()
}

#[tokio::test]
async fn what_retention_removed_of_history_is_told_from_the_store() {
    let world = World::new().await;
    let alice = world.agent("alice").await;
    let name = world.store(&world.owner, "a", false).await;
    let open = world.lease(&alice, &name, 60, |_| {}).await;
    world.redeem(&alice, &open).await;
    let closed = world.lease(&alice, &name, 60, |_| {}).await;
    world.redeem(&alice, &closed).await;
    world.release(&alice, &closed).await;
    // The report has nothing but its end.
    let late = world.lease(&alice, &name, 60, |_| {}).await;
    let complete = world.report(&world.owner, &about(&name)).await;
    assert!(complete.rests_on.complete, "{:?}", complete.rests_on);
    world.forget().await;
    world.release(&alice, &late).await;

    let ids = [&open, &closed, &late].map(|issued| issued.view.lease.id);
    let report = world.report(&world.owner, &about(&name)).await;
    assert_eq!(leases(&report), ids);
    let [first, second, third] = &report.leases[..] else {
        panic!("{report:?}");
    };
    assert!(first.open && !second.open && !third.open);
    assert_eq!(
        (first.handed, second.handed),
        (Handed::Revealed, Handed::Revealed)
    );
    assert_eq!((second.state, third.state), ("released", "released"));
    assert_eq!((first.redemptions, third.redemptions), (1, 0));
    for lease in &report.leases {
        assert_eq!(lease.requested_by.as_ref(), Some(&lease.holder));
        assert_eq!(lease.purpose.as_deref(), Some("deploy"));
        assert_eq!(lease.used_from[0].proof, Some(alice.proof.to_string()));
    }
    assert_eq!(report.proofs[0].id, alice.proof.to_string());
    assert_eq!(report.summary.tainted_versions, 1);
    assert!(!report.actions.is_empty());
    // And it says so.
    let rests = &report.rests_on;
    assert!(!rests.complete && !rests.missing.is_empty(), "{rests:?}");
    assert!(rests.leases_from_sequence > RANGE, "{rests:?}");

    // Of a window behind all that, earlier readers alone may be missing.
    world.pass(DAY);
    let since = Some(world.engine.now());
    world.pass(1_000);
    let later = ExposureQuery {
        since,
        ..about(&name)
    };
    let report = world.report(&world.owner, &later).await;
    assert_eq!(leases(&report), [open.view.lease.id]);
    assert_eq!(report.earlier_readers[0].who.id, alice.identity);
    assert_eq!(report.rests_on.missing.len(), 1);
    // Whoever is asked for is found there as well.
    let alices = ExposureQuery {
        identity: Some(ChosenIdentity::Id(alice.identity)),
        ..ExposureQuery::default()
    };
    assert_eq!(leases(&world.report(&world.owner, &alices).await), ids);
}

#[tokio::test]
async fn who_read_a_value_that_is_still_in_use_is_told_however_long_ago_it_was() {
    let world = World::new().await;
    let alice = world.agent("alice").await;
    let name = world.store(&world.owner, "a", false).await;
    let lease = world.lease(&alice, &name, 1, |_| {}).await;
    world.redeem(&alice, &lease).await;
    world.release(&alice, &lease).await;
    world.pass(540 * DAY);
    let since = Some(world.engine.now());
    world.pass(DAY);
    let query = ExposureQuery {
        since,
        ..about(&name)
    };
    let report = world.report(&world.owner, &query).await;
    assert!(report.leases.is_empty() && report.found);
    let version = &report.credentials[0].versions[0];
    assert!(version.revealed && version.revealed_at.is_some());
    assert_eq!(
        version.created_by.as_ref().unwrap().id,
        world.owner.identity
    );
    assert_eq!(report.earlier_readers.len(), 1);
    assert_eq!(report.earlier_readers[0].who.id, alice.identity);
    assert_eq!(paths(&report), ["/v1/credentials/a/rotate"]);
    assert!(report.rests_on.complete, "{:?}", report.rests_on);

    let mistyped = CredentialName::parse("b", "name").unwrap();
    let report = world.report(&world.owner, &about(&mistyped)).await;
    assert!(!report.found && report.credentials.is_empty());
}

#[tokio::test]
async fn the_actions_end_all_that_is_open_and_stop_who_was_asked_for() {
    let world = World::new().await;
    let alice = world.agent("alice").await;
    let name = world.store(&world.owner, "a", false).await;
    let own = world.lease(&alice, &name, 1, |_| {}).await;
    let of_alice = |command: &mut IssueLease| {
        command.holder.name = Some(alice.name.clone());
        command.reveal = true;
    };
    let taken = world.lease(&world.owner, &name, 1, of_alice).await;
    let keeper = ExposureQuery {
        identity: Some(ChosenIdentity::Id(world.owner.identity)),
        ..ExposureQuery::default()
    };
    let report = world.report(&world.owner, &keeper).await;
    assert_eq!(leases(&report), [taken.view.lease.id]);
    let lease = &report.leases[0];
    assert!(lease.on_behalf && lease.redeemed_by[0].id == world.owner.identity);
    let roles: Vec<_> = report
        .agents
        .iter()
        .map(|one| (one.who.id, &one.roles[..]))
        .collect();
    let takers: &[&str] = &["requester", "redeemer"];
    assert_eq!(
        roles,
        [
            (world.owner.identity, takers),
            (alice.identity, &["holder"][..])
        ]
    );
    assert!(report.agents[0].revealed && report.agents[0].redemptions == 1);
    // Not the one in whose name it was.
    assert_eq!(paths(&report)[0], "/v1/identities/service/keeper/suspend");
    assert!(!paths(&report).contains(&"/v1/identities/agent/alice/suspend"));

    // A value that nobody read, from an address: neither a version nor a session ends it.
    let quiet = world.store(&world.owner, "quiet", false).await;
    let bob = world.agent("bob").await;
    let lease = world.lease(&bob, &quiet, 1, |_| {}).await;
    let there = ExposureQuery {
        source: Some("192.0.2.0/24".parse().unwrap()),
        ..about(&quiet)
    };
    let report = world.report(&world.owner, &there).await;
    let key = format!("/v1/api-keys/{}/pause", bob.proof);
    assert_eq!(paths(&report), [key.as_str(), "/v1/leases/revoke"]);
    let there = ExposureQuery {
        credential: None,
        ..there
    };
    let report = world.report(&world.owner, &there).await;
    let revoke = format!("/v1/leases/{}/revoke", lease.view.lease.id);
    assert!(
        paths(&report).contains(&revoke.as_str()),
        "{:?}",
        paths(&report)
    );
    // Those whose value was read are ended with their version.
    let revoke = format!("/v1/leases/{}/revoke", own.view.lease.id);
    assert!(
        !paths(&report).contains(&revoke.as_str()),
        "{:?}",
        paths(&report)
    );
}

#[tokio::test]
async fn the_key_behind_a_token_is_told_though_the_token_is_forgotten() {
    let world = World::new().await;
    let name = world.store(&world.owner, "a", false).await;
    let token = |scopes| CreateToken {
        name: None,
        expires_in: None,
        scopes,
        workspace: None,
    };
    let made = world
        .engine
        .create_token(world.call(&world.owner), token(None));
    let made = made.await.unwrap();
    let first = proven(&world.engine, made.text.expose(), None).await;
    let made = world.engine.create_token(world.call(&first), token(None));
    let made = made.await.unwrap();
    let second = proven(&world.engine, made.text.expose(), None).await;
    world.lease(&second, &name, 1, |_| {}).await;
    for forgotten in [false, true] {
        if forgotten {
            world.pass(DAY);
            assert_eq!(world.engine.forget_tokens().await.unwrap(), 2);
        }
        let report = world.report(&world.owner, &about(&name)).await;
        let chain = [world.owner.proof, first.proof, second.proof].map(|proof| proof.to_string());
        let told: Vec<_> = report.proofs.iter().map(|one| one.id.clone()).collect();
        assert_eq!(told, chain);
        let makers: Vec<_> = report
            .proofs
            .iter()
            .map(|one| one.made_with.clone())
            .collect();
        assert_eq!(
            makers,
            [None, Some(chain[0].clone()), Some(chain[1].clone())]
        );
        let states: Vec<_> = report.proofs.iter().map(|one| one.state).collect();
        let tokens = if forgotten { "deleted" } else { "active" };
        assert_eq!(states, ["active", tokens, tokens]);
        assert!(report.proofs[0].remedy.is_some());
        assert_eq!(report.proofs[2].remedy.is_none(), forgotten);
    }
}

#[tokio::test]
async fn whoever_comes_from_another_workspace_is_told_and_stopped_there() {
    let world = World::new().await;
    let there = world.owner_in("other").await;
    let name = world.store(&there, "a", false).await;
    world.lease(&there, &name, 1, |_| {}).await;
    let report = world.report(&there, &about(&name)).await;
    let agent = &report.agents[0];
    assert_eq!(
        (agent.state, agent.workspace.as_deref()),
        ("active", Some("default"))
    );
    let remedy = agent.remedy.as_ref().unwrap();
    assert_eq!(remedy.workspace.as_deref(), Some("default"));
    assert!(
        remedy
            .command
            .starts_with("leasehold --workspace default identity suspend ")
    );
    // INVARIANT (isolation)
    let (kind, role) = (IdentityType::Human, Role::WorkspaceAdmin);
    let key = made(&world.engine, there.workspace, "ada", kind, role).await;
    let ada = proven(&world.engine, &key, None).await;
    let report = world.report(&ada, &about(&name)).await;
    let agent = &report.agents[0];
    assert_eq!(
        (agent.state, &agent.workspace, &agent.remedy),
        ("foreign", &None, &None)
    );

    // A token of few scopes that reaches every workspace touches a canary there.
    let bait = world.store(&there, "bait", true).await;
    let scopes = ScopeSet::of(&[Scope::LeaseCreate, Scope::HandleRedeem]);
    let key = made(
        &world.engine,
        world.workspace,
        "wide",
        IdentityType::Service,
        Role::Owner,
    )
    .await;
    let wide = proven(&world.engine, &key, None).await;
    let command = CreateToken {
        name: None,
        expires_in: None,
        scopes: Some(scopes),
        workspace: Some(TokenWorkspace::Every),
    };
    let token = world
        .engine
        .create_token(world.call(&wide), command)
        .await
        .unwrap();
    let token = proven(&world.engine, token.text.expose(), Some("other")).await;
    let lease = world.lease(&token, &bait, 1, |_| {}).await;
    let tables = world.engine.tables(world.workspace).unwrap();
    let found = tables
        .identity(&mut world.engine.read(), wide.identity)
        .await;
    assert!(!found.unwrap().unwrap().is_active());
    let id = lease.view.lease.id;
    let now = world.engine.lease(&world.call(&there), id).await.unwrap();
    assert_eq!(now.status.as_str(), "revoked");
}

#[tokio::test]
async fn a_credential_whose_lease_was_used_to_its_end_is_not_stale() {
    let world = World::new().await;
    let alice = world.agent("alice").await;
    let name = world.store(&world.owner, "a", false).await;
    let lease = world.lease(&alice, &name, 32, |_| {}).await;
    world.pass(31 * DAY);
    world.redeem(&alice, &lease).await;
    world.release(&alice, &lease).await;
    world.pass(10 * DAY);
    let stale = async |days: u64| {
        let (call, page) = (world.call(&world.owner), PageRequest::default());
        let unused = Ttl::from_secs(days * 86_400);
        let kind = Some(StaleKind::Credential);
        let found = world.engine.stale(&call, unused, kind, &page).await;
        found.unwrap().items.len()
    };
    assert_eq!((stale(20).await, stale(9).await), (0, 1));
}
