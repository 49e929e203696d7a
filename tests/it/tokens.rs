//! Access tokens over the real engine and the store in memory, under a clock and records in the hand of the test.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use leasehold::{
    authn::Authenticator,
    clock::TimeSource,
    crypto::keyring::Keyring,
    domain::{
        credential::Author,
        error::{Code, Error, Result},
        id::{IdentityId, KeyId, TokenId, WorkspaceId},
        issuer::{IssuerKind, IssuerRules, Mapping},
        name::{IdentityName, IssuerName, WorkspaceName},
        policy::NamedPolicies,
        principal::{
            ApiKey, Identity, IdentityState, IdentityType, KeyState, Principal, ProofId, RateLimit,
            Reach, Suspension,
        },
        scope::{Role, Scope, ScopeSet},
        time::{Timestamp, Ttl},
        token::{MAX_TOKENS_OF_IDENTITY, Parent, Token, TokenStatus},
    },
    engine::{
        Call, CreateIssuer, CreateToken, Engine, Exchange, IssuedToken, NewIdentity, NewKey,
        TokenFilter,
    },
    store::{
        key,
        memory::Memory,
        port::{AuditEntry, AuditLog, Key, Store, Value},
    },
    tables::Tables,
};

use crate::support::memory::set_up;

struct Hands {
    wall: AtomicI64,
    boot: AtomicI64,
}

impl TimeSource for Hands {
    fn wall_micros(&self) -> i64 {
        self.wall.load(Ordering::SeqCst) * 1_000
    }

    fn boot_micros(&self) -> i64 {
        self.boot.load(Ordering::SeqCst) * 1_000
    }
}

struct NoLog;

impl AuditLog for NoLog {
    fn place(&mut self, _: &[AuditEntry]) -> Result<Vec<(Key, Value)>> {
        Ok(Vec::new())
    }
}

/// A vault with one administrator, whose key is of the whole organisation.
struct World {
    memory: Memory,
    time: Arc<Hands>,
    keyring: Arc<Keyring>,
    engine: Engine,
    /// Told of every change, as the one of the HTTP surface is.
    authenticator: Authenticator,
    identity: IdentityId,
    workspace: WorkspaceId,
    admin: Principal,
    key: KeyId,
}

impl World {
    async fn new() -> Self {
        Self::with_key_for(None).await
    }

    async fn with_key_for(expires_in: Option<Ttl>) -> Self {
        let time = Arc::new(Hands {
            wall: AtomicI64::new(1_800_000_000_000),
            boot: AtomicI64::new(5_000),
        });
        let (memory, unsealed) = set_up(time.clone());
        let keyring = unsealed.keyring().clone();
        let store = memory.clone();
        let engine = unsealed
            .serve(
                |log| Ok(Arc::new(store.serve(log))),
                NamedPolicies::default(),
            )
            .await
            .unwrap();
        let name = WorkspaceName::parse("default", "name").unwrap();
        let workspace = engine.create_workspace(&name).await.unwrap();
        let new = NewIdentity {
            name: IdentityName::parse("ada", "name").unwrap(),
            kind: IdentityType::Human,
            role: Role::Owner,
        };
        let identity = engine.create_identity(workspace, new).await.unwrap();
        let new = NewKey {
            name: "ada's".to_owned(),
            identity,
            home: workspace,
            role: Role::Owner,
            reach: Reach::Organisation,
            rate_limit: RateLimit::Unlimited,
            expires_in,
        };
        let text = engine.create_key(new).await.unwrap();
        let authenticator = engine.authenticator().unwrap();
        let header = format!("Bearer {}", text.expose());
        let admin = authenticator
            .authenticate(Some(&header), None, engine.now())
            .await
            .unwrap_or_else(|refusal| panic!("{}", refusal.error));
        let ProofId::Key(key) = admin.proof else {
            panic!("a key proved it")
        };
        Self {
            memory,
            time,
            keyring,
            engine,
            authenticator,
            identity,
            workspace,
            admin,
            key,
        }
    }

    fn pass(&self, millis: i64) {
        self.time.boot.fetch_add(millis, Ordering::SeqCst);
        self.time.wall.fetch_add(millis, Ordering::SeqCst);
    }

    async fn make(&self, principal: &Principal, expires_in: &str) -> Result<IssuedToken> {
        self.make_with(principal, expires_in, None).await
    }

    async fn make_with(
        &self,
        principal: &Principal,
        expires_in: &str,
        scopes: Option<ScopeSet>,
    ) -> Result<IssuedToken> {
        let command = CreateToken {
            name: None,
            expires_in: Some(Ttl::parse(expires_in, "expires_in").unwrap()),
            scopes,
            workspace: None,
        };
        self.engine
            .create_token(call(&self.engine, principal), command)
            .await
    }

    async fn prove(&self, token: &IssuedToken) -> Result<Principal> {
        let header = format!("Bearer {}", token.text.expose());
        let now = self.engine.now();
        let proven = self.authenticator.authenticate(Some(&header), None, now);
        let known = proven.await.map_err(|refusal| refusal.error);
        // Whoever never saw the token before says the same.
        let fresh = self.engine.authenticator().unwrap();
        let fresh = fresh.authenticate(Some(&header), None, now).await;
        let fresh = fresh.map_err(|refusal| refusal.error);
        assert_eq!(code(&known), code(&fresh));
        // It is shown as what it is: active exactly where it is let in.
        let asker = call(&self.engine, &self.admin);
        if let Ok(shown) = self.engine.token(&asker, token.view.token.id).await {
            let active = shown.status == TokenStatus::Active;
            assert_eq!(active, known.is_ok(), "{:?}", shown.status);
        }
        known
    }

    /// Changes records behind the engine's back, as the engine's own use cases do before its eyes; the
    /// authenticators made from here on see them.
    async fn change(&mut self, change: impl FnOnce(&mut Txn, &Tables, &Tables)) {
        let store = self.memory.clone().serve(Box::new(NoLog));
        let system = Tables::of(&self.keyring, WorkspaceId::SYSTEM).unwrap();
        let own = Tables::of(&self.keyring, self.workspace).unwrap();
        let mut txn = store.begin(&[]).await.unwrap();
        change(&mut txn, &system, &own);
        txn.commit(Vec::new()).await.unwrap();
        store.close().await.unwrap();
        self.authenticator = self.engine.authenticator().unwrap();
    }

    async fn key(&self) -> ApiKey {
        let store: Arc<dyn Store> = Arc::new(self.memory.clone().serve(Box::new(NoLog)));
        let system = Tables::of(&self.keyring, WorkspaceId::SYSTEM).unwrap();
        let found = system.api_key(&mut &*store, self.key).await.unwrap();
        store.close().await.unwrap();
        found.unwrap()
    }

    async fn identity(&self) -> Identity {
        let store: Arc<dyn Store> = Arc::new(self.memory.clone().serve(Box::new(NoLog)));
        let own = Tables::of(&self.keyring, self.workspace).unwrap();
        let found = own.identity(&mut &*store, self.identity).await.unwrap();
        store.close().await.unwrap();
        found.unwrap()
    }
}

type Txn = Box<dyn leasehold::store::port::Txn>;

fn call(engine: &Engine, principal: &Principal) -> Call {
    Call {
        entered: engine.enter(),
        principal: principal.clone(),
        origin: Default::default(),
        idempotency: None,
    }
}

fn code<T>(result: &Result<T, Error>) -> Option<Code> {
    result.as_ref().err().map(Error::code)
}

#[tokio::test]
async fn a_token_ends_by_the_vaults_own_clock_and_its_record_goes_later() {
    let world = World::new().await;
    let token = world.make(&world.admin, "1m").await.unwrap();
    assert!(!token.ttl_capped);
    let id = token.view.token.id;
    let proven = world.prove(&token).await.unwrap();
    assert_eq!(proven.proof, ProofId::Token(id));
    assert_eq!(
        (proven.root, proven.role),
        (world.admin.root, world.admin.role)
    );
    assert!(!proven.organisation, "it was made for one workspace");
    world.pass(59_999);
    world.prove(&token).await.unwrap();
    assert_eq!(world.engine.forget_tokens().await.unwrap(), 0);
    world.pass(1);
    let refused = world.prove(&token).await;
    assert_eq!(code(&refused), Some(Code::TokenExpired));
    // Nobody gets time back by setting the machine's clock back.
    world.time.wall.fetch_sub(3_600_000, Ordering::SeqCst);
    assert_eq!(code(&world.prove(&token).await), Some(Code::TokenExpired));
    assert_eq!(world.engine.forget_tokens().await.unwrap(), 1);
    assert_eq!(world.engine.forget_tokens().await.unwrap(), 0);
    let gone = world
        .engine
        .token(&call(&world.engine, &world.admin), id)
        .await;
    assert_eq!(code(&gone), Some(Code::NotFound));
    assert_eq!(code(&world.prove(&token).await), Some(Code::TokenExpired));
}

// INVARIANT (offspring)
#[tokio::test]
async fn no_token_outlives_what_made_it() {
    let world = World::with_key_for(Some(Ttl::from_secs(600))).await;
    let parent = world.make(&world.admin, "5m").await.unwrap();
    let capped = world.make(&world.admin, "1h").await.unwrap();
    assert!(capped.ttl_capped);
    let key_ends = world.key().await.expires_at.unwrap();
    assert_eq!(capped.view.token.expires_at, key_ends);
    let maker = world.prove(&parent).await.unwrap();
    let child = world.make(&maker, "30d").await.unwrap();
    assert!(child.ttl_capped);
    assert_eq!(child.view.token.expires_at, parent.view.token.expires_at);
    let short = world.make(&maker, "1m").await.unwrap();
    assert!(!short.ttl_capped);
    let maker = world.prove(&child).await.unwrap();
    let grandchild = world.make(&maker, "5m").await.unwrap();
    world.prove(&grandchild).await.unwrap();
    // The parent is revoked: its whole line ends, and nobody else's.
    let id = parent.view.token.id;
    world
        .engine
        .revoke_token(&call(&world.engine, &world.admin), id)
        .await
        .unwrap();
    for token in [&parent, &child, &grandchild, &short] {
        assert_eq!(code(&world.prove(token).await), Some(Code::Unauthorized));
    }
    world.prove(&capped).await.unwrap();
    world.pass(600_000);
    assert_eq!(code(&world.prove(&capped).await), Some(Code::TokenExpired));
}

#[tokio::test]
async fn a_line_of_tokens_is_bounded() {
    let world = World::new().await;
    let mut maker = world.admin.clone();
    for _ in 0..=4 {
        let token = world.make(&maker, "1h").await.unwrap();
        maker = world.prove(&token).await.unwrap();
    }
    let refused = world.make(&maker, "1h").await;
    assert_eq!(code(&refused), Some(Code::InvalidState));
}

// INVARIANT (offspring)
#[tokio::test]
async fn a_token_dies_with_its_key_and_its_identity_and_shrinks_with_them() {
    let mut world = World::new().await;
    let token = world.make(&world.admin, "1h").await.unwrap();
    let (key, identity) = (world.key().await, world.identity().await);
    let key = |state, scopes, expires_at| ApiKey {
        id: key.id,
        digest: key.digest,
        name: key.name.clone(),
        home: key.home,
        identity: key.identity,
        scopes,
        role: key.role,
        reach: key.reach,
        state,
        rate_limit: key.rate_limit,
        created_at: key.created_at,
        expires_at,
        description: None,
        created_by: None,
        updated_at: key.updated_at,
        rotated_at: None,
        previous: None,
        tokens_until: None,
    };
    let all = Role::Owner.scopes();
    let paused = key(KeyState::Paused, all, None);
    world
        .change(|txn, system, _| system.put_api_key(&mut **txn, &paused).unwrap())
        .await;
    assert_eq!(code(&world.prove(&token).await), Some(Code::KeyPaused));
    let expired = key(KeyState::Active, all, Some(world.engine.now()));
    world
        .change(|txn, system, _| system.put_api_key(&mut **txn, &expired).unwrap())
        .await;
    assert_eq!(code(&world.prove(&token).await), Some(Code::KeyExpired));
    let less = ScopeSet::of(&[Scope::LeaseRead]);
    let reduced = key(KeyState::Active, less, None);
    world
        .change(|txn, system, _| system.put_api_key(&mut **txn, &reduced).unwrap())
        .await;
    assert_eq!(world.prove(&token).await.unwrap().scopes, less);
    let suspended = Identity {
        state: IdentityState::Suspended(Suspension {
            since: world.engine.now(),
            by: Some(Author {
                identity: identity.id,
                name: identity.name.clone(),
            }),
            reason: None,
            unfinished: None,
        }),
        ..identity.clone()
    };
    world
        .change(|txn, _, own| own.put_identity(&mut **txn, &suspended).unwrap())
        .await;
    let refused = world.prove(&token).await;
    assert_eq!(code(&refused), Some(Code::IdentitySuspended));
    let (at, workspace) = (world.identity, world.workspace);
    world
        .change(|txn, _, _| txn.delete(key::identity(workspace, at)))
        .await;
    assert_eq!(code(&world.prove(&token).await), Some(Code::Unauthorized));
    world
        .change(|txn, _, own| own.put_identity(&mut **txn, &identity).unwrap())
        .await;
    world.prove(&token).await.unwrap();
    let id = world.key;
    world.change(|txn, _, _| txn.delete(key::api_key(id))).await;
    assert_eq!(code(&world.prove(&token).await), Some(Code::Unauthorized));
}

#[tokio::test]
async fn a_token_made_by_a_token_never_holds_more() {
    let world = World::new().await;
    let few = ScopeSet::of(&[Scope::TokenCreate, Scope::LeaseRead]);
    let token = world
        .make_with(&world.admin, "1h", Some(few))
        .await
        .unwrap();
    let maker = world.prove(&token).await.unwrap();
    assert_eq!((maker.scopes, maker.role), (few, None));
    let more = ScopeSet::of(&[Scope::LeaseRead, Scope::LeaseRevoke]);
    let refused = world.make_with(&maker, "1h", Some(more)).await;
    assert_eq!(code(&refused), Some(Code::InsufficientPermissions));
    let same = world.make(&maker, "1h").await.unwrap();
    assert_eq!(world.prove(&same).await.unwrap().scopes, few);
}

#[tokio::test]
async fn a_retired_signing_key_verifies_until_its_tokens_have_ended() {
    let world = World::new().await;
    let old = world.make(&world.admin, "30d").await.unwrap();
    let first = world.kids().await;
    assert_eq!(first.len(), 1);
    let call_admin = call(&world.engine, &world.admin);
    let rotated = world.engine.rotate_signing_key(&call_admin).await.unwrap();
    assert_eq!(rotated.verifying, 2);
    assert_eq!(world.kids().await, [first[0].clone(), rotated.kid.clone()]);
    let new = world.make(&world.admin, "30d").await.unwrap();
    world.prove(&old).await.unwrap();
    world.prove(&new).await.unwrap();
    const DAY: i64 = 24 * 60 * 60 * 1000;
    world.pass(30 * DAY + DAY / 2);
    // The ring is read anew where something changed.
    let rotated_again = world.engine.rotate_signing_key(&call_admin).await.unwrap();
    assert_eq!(world.kids().await, [rotated.kid, rotated_again.kid]);
    // Its key is gone, so that nothing proves it was ever issued here.
    assert_eq!(code(&world.prove(&old).await), Some(Code::Unauthorized));
    assert_eq!(code(&world.prove(&new).await), Some(Code::TokenExpired));
}

impl World {
    async fn kids(&self) -> Vec<String> {
        let keys = self.authenticator.public_keys(self.engine.now()).await;
        keys.unwrap().into_iter().map(|key| key.kid).collect()
    }
}

#[tokio::test]
async fn whoever_may_not_see_all_tokens_sees_its_own() {
    let world = World::new().await;
    world.make(&world.admin, "1h").await.unwrap();
    let other = Principal {
        identity: IdentityId::from_bytes([9; 16]),
        scopes: ScopeSet::EMPTY,
        role: None,
        ..world.admin.clone()
    };
    let own = Principal {
        scopes: ScopeSet::EMPTY,
        role: None,
        ..world.admin.clone()
    };
    for (who, count) in [(&world.admin, 1), (&own, 1), (&other, 0)] {
        let (filter, page) = (TokenFilter::default(), Default::default());
        let page = world
            .engine
            .tokens(&call(&world.engine, who), &filter, &page)
            .await;
        assert_eq!(page.unwrap().total, count);
    }
    let token = world.make(&world.admin, "1h").await.unwrap();
    let id = token.view.token.id;
    let refused = world
        .engine
        .revoke_token(&call(&world.engine, &other), id)
        .await;
    assert_eq!(code(&refused), Some(Code::InsufficientPermissions));
    world
        .engine
        .revoke_token(&call(&world.engine, &own), id)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_client_certificate_counts_by_the_vaults_own_clock() {
    use rcgen::{CertificateParams, KeyPair, SanType, date_time_ymd};

    let world = World::new().await;
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::DnsName("billing.acme.example".try_into().unwrap())];
    // The clock stands at 2027-01-15 08:00.
    params.not_before = date_time_ymd(2027, 1, 15);
    params.not_after = date_time_ymd(2027, 1, 15) + std::time::Duration::from_secs(8 * 3600 + 90);
    let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
    let rules = IssuerRules {
        kind: IssuerKind::Certificate,
        conditions: [("san_dns".to_owned(), vec!["*.acme.example".to_owned()])].into(),
        identity: Mapping {
            name: "{san_dns}".to_owned(),
            kind: IdentityType::Service,
            role: Role::Agent,
            scopes: None,
            auto_create: true,
        },
        token_ttl: Ttl::from_secs(600),
    };
    let command = CreateIssuer {
        name: IssuerName::parse("mesh", "name").unwrap(),
        organisation: false,
        rules,
    };
    let engine = &world.engine;
    engine
        .create_issuer(&call(engine, &world.admin), command)
        .await
        .unwrap();
    let exchange = async || {
        let command = Exchange {
            issuer: Some("mesh".to_owned()),
            token: None,
            workspace: None,
        };
        let der = Some(certificate.der().as_ref());
        let exchanged = engine.exchange(Default::default(), der, command).await;
        exchanged.map_err(|refused| refused.error)
    };
    let token = exchange().await.unwrap();
    assert!(token.ttl_capped);
    let end = Timestamp::from_millis(1_800_000_090_000);
    assert_eq!(token.view.token.expires_at, end);
    assert_eq!(
        world.prove(&token).await.unwrap().name.as_str(),
        "billing.acme.example"
    );
    world.pass(89_999);
    exchange().await.unwrap();
    world.prove(&token).await.unwrap();
    // The handshake may be long over: an open connection is worth no more than its certificate.
    world.pass(1);
    assert_eq!(code(&exchange().await), Some(Code::AssertionExpired));
    assert_eq!(code(&world.prove(&token).await), Some(Code::TokenExpired));
}

#[tokio::test]
async fn an_identity_has_so_many_tokens_and_no_more() {
    let (mut world, other) = (World::new().await, World::new().await);
    let like = other.make(&other.admin, "1d").await.unwrap().view.token;
    let (identity, home, key) = (world.identity, world.workspace, world.key);
    // All but one are from before the start.
    world
        .change(|txn, system, _| {
            for number in 1..u128::try_from(MAX_TOKENS_OF_IDENTITY).unwrap() {
                let token = Token {
                    id: TokenId::from_bytes(number.to_be_bytes()),
                    identity,
                    home,
                    reach: Reach::Workspace(home),
                    parent: Parent::Key(key),
                    ..like.clone()
                };
                system.put_token(&mut **txn, &token).unwrap();
            }
        })
        .await;
    let make = || world.make(&world.admin, "1m");
    let last = make().await.unwrap().view.token.id;
    assert_eq!(code(&make().await), Some(Code::QuotaExceeded));
    // One that is revoked leaves room for another, and so does one that has ended.
    let asker = call(&world.engine, &world.admin);
    world.engine.revoke_token(&asker, last).await.unwrap();
    make().await.unwrap();
    assert_eq!(code(&make().await), Some(Code::QuotaExceeded));
    world.pass(60_000);
    make().await.unwrap();
    assert_eq!(code(&make().await), Some(Code::QuotaExceeded));
}
