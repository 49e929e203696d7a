//! Who may give and stop what, held to the engine over the store in memory: callers that no route makes yet, and
//! crashes between the steps of a stop.

mod deletions;
mod elsewhere;
mod given_up;
mod lasting;
mod requests;
mod roles;
mod stops;
mod timing;
mod weaker;

use std::sync::Arc;

use leasehold::{
    authn::Refusal,
    clock::SystemTime,
    crypto::keyring::Keyring,
    domain::{
        error::{Code, Error, Result},
        event::Origin,
        id::{IdentityId, KeyId, LeaseId, TokenId, WorkspaceId},
        kind::CredentialType,
        lease::LeaseStatus,
        name::{CredentialName, IdentityName, Metadata, WorkspaceName},
        policy::{LeasePolicy, NamedPolicies},
        principal::{IdentityType, Principal, ProofId, RateLimit, Reach},
        scope::Role,
        secret::SecretText,
    },
    engine::{
        Call, CreateCredential, CreateIdentity, CreateToken, Engine, IssueLease, Issued,
        NewIdentity, NewKey, PageRequest, UpdateIdentity, WantedHolder,
    },
    store::{memory::Memory, port::Store},
    tables::Tables,
};

use crate::support::memory::set_up;

/// A vault in memory with the workspaces `default` and `other`.
struct House {
    engine: Engine,
    store: Arc<dyn Store>,
    memory: Memory,
    keyring: Arc<Keyring>,
    default: WorkspaceId,
    other: WorkspaceId,
}

fn name(text: &str) -> IdentityName {
    IdentityName::parse(text, "name").unwrap()
}

fn workspace_name(text: &str) -> WorkspaceName {
    WorkspaceName::parse(text, "name").unwrap()
}

fn code<T>(result: Result<T>) -> Option<Code> {
    result.err().map(|error| error.code())
}

impl House {
    async fn build() -> Self {
        let (memory, unsealed) = set_up(Arc::new(SystemTime));
        let keyring = unsealed.keyring().clone();
        let mut kept = None;
        let engine = unsealed
            .serve(
                |log| {
                    let store: Arc<dyn Store> = Arc::new(memory.clone().serve(log));
                    kept = Some(store.clone());
                    Ok(store)
                },
                NamedPolicies::default(),
            )
            .await
            .unwrap();
        let default = workspace_name("default");
        let default = engine.create_workspace(&default).await.unwrap();
        let other = workspace_name("other");
        let other = engine.create_workspace(&other).await.unwrap();
        Self {
            engine,
            store: kept.unwrap(),
            memory,
            keyring,
            default,
            other,
        }
    }

    async fn identity(&self, home: WorkspaceId, text: &str, role: Role) -> IdentityId {
        let new = NewIdentity {
            name: name(text),
            kind: IdentityType::Agent,
            role,
        };
        self.engine.create_identity(home, new).await.unwrap()
    }

    /// A key for an identity of `home`, as it is presented.
    async fn key(
        &self,
        home: WorkspaceId,
        identity: IdentityId,
        role: Role,
        reach: Reach,
    ) -> String {
        let key = NewKey {
            name: "key".to_owned(),
            identity,
            home,
            role,
            reach,
            rate_limit: RateLimit::Unlimited,
            expires_in: None,
        };
        let key = self.engine.create_key(key).await.unwrap();
        format!("Bearer {}", key.expose())
    }

    /// An identity of `default` with a key of its role.
    async fn person(&self, text: &str, role: Role, reach: Reach) -> String {
        let identity = self.identity(self.default, text, role).await;
        self.key(self.default, identity, role, reach).await
    }

    async fn prove(&self, key: &str, workspace: Option<&str>) -> Result<Principal> {
        let authenticator = self.engine.authenticator().unwrap();
        let now = self.engine.now();
        let proven = authenticator.authenticate(Some(key), workspace, now).await;
        proven.map_err(|Refusal { error, .. }: Refusal| error)
    }

    async fn call(&self, key: &str) -> Call {
        let entered = self.engine.enter();
        Call {
            principal: self.prove(key, None).await.unwrap(),
            origin: Origin::default(),
            idempotency: None,
            entered,
        }
    }

    async fn token(&self, call: Call) -> String {
        let command = CreateToken {
            name: None,
            expires_in: None,
            scopes: None,
            workspace: None,
        };
        let made = self.engine.create_token(call, command).await.unwrap();
        format!("Bearer {}", made.text.expose())
    }

    async fn give(&self, key: &str, text: &str, role: Role) -> Result<()> {
        let command = CreateIdentity {
            name: name(text),
            kind: IdentityType::Agent,
            role,
            description: None,
            labels: Metadata::default(),
        };
        let call = self.call(key).await;
        self.engine.add_identity(&call, command).await.map(drop)
    }

    async fn update(&self, key: &str, text: &str, patch: UpdateIdentity) -> Result<()> {
        let (call, name) = (self.call(key).await, name(text));
        let kind = IdentityType::Agent;
        let updated = self.engine.update_identity(&call, kind, &name, patch);
        updated.await.map(drop)
    }

    async fn suspend(&self, key: &str, text: &str) -> Result<u64> {
        let call = self.call(key).await;
        let stopped = self
            .engine
            .suspend_identity(call, IdentityType::Agent, &name(text), None)
            .await;
        stopped.map(|(_, stopped)| stopped.counts.leases)
    }

    async fn delete(&self, key: &str, text: &str) -> Result<u64> {
        let call = self.call(key).await;
        let stopped = self
            .engine
            .delete_identity(call, IdentityType::Agent, &name(text))
            .await;
        stopped.map(|stopped| stopped.counts.leases)
    }

    async fn store_credential(&self, key: &str) {
        self.store_credential_in(&self.call(key).await).await;
    }

    async fn store_credential_in(&self, call: &Call) {
        let command = CreateCredential {
            name: CredentialName::parse("c", "name").unwrap(),
            kind: CredentialType::ApiKey,
            value: SecretText::new("v".to_owned()),
            description: None,
            metadata: Metadata::default(),
            policy: LeasePolicy::default(),
            canary: false,
        };
        self.engine.create_credential(call, command).await.unwrap();
    }

    async fn lease(&self, key: &str) -> Result<Issued> {
        self.lease_in(&self.call(key).await).await
    }

    async fn lease_in(&self, call: &Call) -> Result<Issued> {
        let command = IssueLease {
            credential_name: CredentialName::parse("c", "name").unwrap(),
            ttl: None,
            delivery: None,
            holder: WantedHolder::default(),
            purpose: None,
            reveal: false,
        };
        self.engine.issue_lease(call, command).await
    }

    /// Leases that are open in `default`.
    async fn open(&self, key: &str) -> u64 {
        let filter = leasehold::engine::LeaseFilter {
            status: Some(LeaseStatus::Active),
            ..Default::default()
        };
        let call = self.call(key).await;
        let page = self
            .engine
            .leases(&call, &filter, &PageRequest::default())
            .await;
        page.unwrap().total
    }

    fn tables(&self, workspace: WorkspaceId) -> Tables {
        Tables::of(&self.keyring, workspace).unwrap()
    }
}

/// An error that is the same to whoever must not know the difference.
fn told(error: Error) -> (Code, String) {
    (error.code(), error.message().to_owned())
}
