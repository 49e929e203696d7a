//! The use cases. Each one authorises, decides (in the domain), and commits state and audit record together;
//! nothing else changes anything.

mod alarms;
mod ask;
mod authorize;
mod backup;
mod bulk;
mod canary;
mod cascade;
mod close;
mod credential;
mod directory;
mod epoch;
mod exchange;
mod expire;
mod export;
mod history;
mod idempotency;
mod identities;
mod issue;
mod issuer;
mod issuer_keys;
mod keys;
mod lasting;
mod lease;
mod leases;
mod page;
mod policies;
mod policy_diff;
mod policy_dry_run;
mod proofs;
mod raise;
mod redeem;
mod reports;
mod requests;
mod retention;
mod rotate;
mod schedule;
mod sealing;
mod signing_key;
mod standing;
mod start;
mod stop;
mod terms;
mod token;
mod tokens;
mod unit;
mod unreadable;
mod update;
mod usage;
mod vault_history;
mod versions;
mod views;
mod workspaces;

use std::sync::{Arc, Mutex};

pub use self::{
    alarms::log_alarm,
    ask::{Answered, Ask, AskedResource},
    backup::{BackupFile, SpooledBackup},
    bulk::BulkFilter,
    cascade::check_sweep,
    credential::{CreateCredential, CredentialFilter},
    directory::{NewIdentity, NewKey},
    epoch::{Entered, Turn, Witness},
    exchange::{Exchange, ExchangeRefusal, NotExchanged, Told},
    expire::BATCH as REAPER_BATCH,
    export::{Export, ExportEnd, ExportHistory, PreparedExport},
    history::{LiveStream, Skipped, WhichRecord},
    idempotency::{Idempotency, check_first_answer},
    identities::{CreateIdentity, IdentityFilter, UpdateIdentity},
    issue::{IssueLease, Issued, WantedHolder},
    issuer::{CreateIssuer, UpdateIssuer},
    issuer_keys::{FetchKeys, Fetched},
    keys::{
        CreateApiKey, KeyFilter, KeyGrant, KeyTest, KeyView, MadeKey, RotateApiKey, UpdateApiKey,
        WantedIdentity,
    },
    lasting::Lasting,
    leases::LeaseFilter,
    page::{Page, PageRequest},
    policies::{ApplyPolicies, InForce, PolicyFault, Rollback, Tried},
    policy_diff::{PolicyDiff, SourceChange, SourceDiff},
    policy_dry_run::{ChangedDecision, DryRun, Replayed},
    redeem::Redeemed,
    reports::*,
    requests::{Admitted, Served, Stranger},
    retention::{Kept as KeptHistory, Removed},
    rotate::{RotateCredential, Rotated},
    schedule::Place,
    signing_key::RotatedSigningKey,
    start::{Closed, NewVault, Opened, Unlocked, Unsealed},
    stop::{PublicKey, Receipt, Stopped},
    token::{CreateToken, IssuedToken, TokenView, TokenWorkspace},
    tokens::TokenFilter,
    update::{StateChange, UpdateCredential},
    vault_history::HistoryOf,
    versions::VersionFilter,
    views::{CredentialView, LeaseView, VersionView},
    workspaces::{CreateWorkspace, UpdateWorkspace},
};
use tokio::sync::Semaphore;

use self::{
    epoch::Epochs, issuer_keys::IssuerKeyCache, schedule::Schedule, terms::TermsCache, unit::Unit,
};
use crate::{
    audit::{index::Index, log},
    authn::{Authenticator, Generation},
    authz::{self, Permit},
    clock::Clock,
    crypto::keyring::Keyring,
    domain::{
        error::{Code, Error, Result},
        event::{Actor, AuditRecord, Change, EventName, Object, Origin, Outcome},
        id::{EventId, WorkspaceId},
        policy::NamedPolicies,
        principal::{Identity, Principal, ProofId},
        retention::Retention,
        time::Timestamp,
    },
    store::port::{Health, Store},
    tables::{Recent, Tables},
};

/// The vault's use cases over a store that serves.
pub struct Engine {
    store: Arc<dyn Store>,
    keyring: Arc<Keyring>,
    clock: Arc<Clock>,
    policies: NamedPolicies,
    access: authz::Policies,
    schedule: Schedule,
    terms: TermsCache,
    recent: Arc<Recent>,
    generation: Generation,
    token_issuer: String,
    uses: usage::Uses,
    issuer_keys: IssuerKeyCache,
    epochs: Epochs,
    requests: requests::Requests,
    strangers: requests::Strangers,
    backups: Arc<Semaphore>,
    alarms: alarms::Alarms,
    own: canary::Own,
    /// Those who touched a canary and are suspended, and whose leases a failure left open.
    unswept: Mutex<Vec<(WorkspaceId, Identity)>>,
    index: Arc<Index>,
    streams: Arc<history::Streams>,
    held_tokens: token::HeldTokens,
    /// Held from reading the newest policy set until the next one is in force.
    policy_turn: tokio::sync::Mutex<()>,
    sealing: sealing::Sealing,
    exports: Arc<lasting::Places>,
    retention: Retention,
    retention_turn: retention::RetentionTurn,
    /// How often keys without a limit of their own are let through in a minute.
    default_rate: Option<std::num::NonZeroU32>,
    sweep_batch: usize,
    sweep_turn: cascade::SweepTurn,
    unreadable: unreadable::Unreadable,
    lists: Semaphore,
}

/// One request: who asks, from where, and whether it may be a retry.
pub struct Call {
    pub principal: Principal,
    pub origin: Origin,
    pub idempotency: Option<Idempotency>,
    /// Since before the principal was proven.
    pub entered: Entered,
}

/// What an audit record says beyond who, when and from where.
pub(crate) struct Note {
    event: EventName,
    object: Object,
    purpose: Option<String>,
    reason: Option<String>,
    changes: Vec<Change>,
}

impl Note {
    fn new(event: EventName, object: Object) -> Self {
        Self {
            event,
            object,
            purpose: None,
            reason: None,
            changes: Vec::new(),
        }
    }
}

impl Engine {
    /// The engine over an open vault.
    pub fn new(
        store: Arc<dyn Store>,
        keyring: Arc<Keyring>,
        clock: Arc<Clock>,
        policies: NamedPolicies,
    ) -> Self {
        Self {
            requests: requests::Requests::new(&store, &keyring, &clock),
            strangers: requests::Strangers::default(),
            index: Index::new(keyring.clone(), Default::default()),
            streams: Arc::default(),
            store,
            keyring,
            clock,
            policies,
            access: authz::Policies::default(),
            schedule: Schedule::default(),
            terms: TermsCache::default(),
            recent: Arc::default(),
            generation: Generation::default(),
            token_issuer: token::DEFAULT_ISSUER.to_owned(),
            uses: usage::Uses::default(),
            issuer_keys: IssuerKeyCache::default(),
            epochs: Epochs::default(),
            backups: backup::turns(),
            alarms: alarms::Alarms::default(),
            own: canary::Own::default(),
            unswept: Mutex::default(),
            held_tokens: token::HeldTokens::default(),
            policy_turn: tokio::sync::Mutex::default(),
            sealing: sealing::Sealing::default(),
            exports: export::places(),
            retention: Retention::default(),
            retention_turn: tokio::sync::Mutex::default(),
            default_rate: None,
            sweep_batch: cascade::BATCH,
            sweep_turn: cascade::SweepTurn::default(),
            unreadable: unreadable::Unreadable::default(),
            lists: leases::turns(),
        }
    }

    /// The engine with this `iss` in the access tokens that it issues, and in those that it takes.
    #[must_use]
    pub fn issuing_tokens_as(mut self, issuer: impl Into<String>) -> Self {
        self.token_issuer = issuer.into();
        self
    }

    /// Where a request begins, before its caller is proven: an emergency stop waits for those that began before it.
    pub fn enter(&self) -> Entered {
        self.epochs.enter()
    }

    /// The vault's time.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Whether changes are taken; where a write failed, with the reason for whoever runs the vault.
    pub fn ready(&self) -> Result<()> {
        let health = self.store.health();
        health.check().map_err(|error| match health {
            Health::Failed { reason } => error.with("reason", reason),
            _ => error,
        })
    }

    /// The authenticator over this engine's store and keys.
    pub fn authenticator(&self) -> Result<Authenticator> {
        Authenticator::new(
            self.store.clone(),
            self.keyring.clone(),
            self.generation.clone(),
            self.token_issuer.clone(),
        )
    }

    /// A fresh id for a request.
    pub fn request_id(&self) -> Result<String> {
        let id = EventId::new(self.now(), &self.keyring.entropy().bytes()?);
        let mut text = String::with_capacity(36);
        text.push_str("req_");
        id.push_hex(&mut text);
        Ok(text)
    }

    fn tables(&self, workspace: WorkspaceId) -> Result<Tables> {
        Tables::remembering(&self.keyring, workspace, &self.recent)
    }

    fn read(&self) -> &dyn Store {
        &*self.store
    }

    /// Passes a result on; where it is a refusal of something that was authorised, its record comes first.
    async fn recorded<T>(
        &self,
        call: &Call,
        event: EventName,
        object: Object,
        result: Result<T>,
    ) -> Result<T> {
        if let Err(error) = &result
            && is_refusal(error.code())
        {
            let note = Note {
                reason: Some(error.message().to_owned()),
                ..Note::new(event, object)
            };
            Box::pin(self.record_refusal(call, note, error.code(), None)).await?;
        }
        result
    }

    async fn record_refusal(
        &self,
        call: &Call,
        note: Note,
        code: Code,
        policy: Option<String>,
    ) -> Result<()> {
        let mut record = self.record(
            call.principal.workspace,
            Actor::of(&call.principal),
            Some(call.origin.clone()),
            policy,
            self.now(),
            note,
        )?;
        record.outcome = Outcome::Refused {
            code: code.as_str().to_owned(),
        };
        self.store
            .begin(&[])
            .await?
            .commit(vec![log::entry(&record)?])
            .await?;
        call.entered.witness().attest();
        Ok(())
    }

    fn record(
        &self,
        workspace: WorkspaceId,
        actor: Actor,
        origin: Option<Origin>,
        policy: Option<String>,
        time: Timestamp,
        note: Note,
    ) -> Result<AuditRecord> {
        let record = AuditRecord {
            id: EventId::new(time, &self.keyring.entropy().bytes()?),
            time,
            workspace,
            event: note.event,
            actor,
            object: note.object,
            outcome: Outcome::Success,
            policy,
            origin,
            purpose: note.purpose,
            reason: note.reason,
            changes: note.changes,
            requests: Vec::new(),
        };
        Ok(record.masked())
    }

    /// Records that a proven key or token was turned away.
    pub async fn record_proof_refusal(
        &self,
        (proof, home): (ProofId, WorkspaceId),
        origin: Origin,
        error: &Error,
    ) -> Result<()> {
        let object = Object {
            name: Some(proof.to_string()),
            ..Object::default()
        };
        let note = Note {
            reason: Some(error.message().to_owned()),
            ..Note::new(
                match proof {
                    ProofId::Key(_) => EventName::KeyRefused,
                    ProofId::Token(_) => EventName::TokenRefused,
                },
                object,
            )
        };
        let actor = Actor::vault("authentication");
        let mut record = self.record(home, actor, Some(origin), None, self.now(), note)?;
        record.outcome = Outcome::Refused {
            code: error.code().as_str().to_owned(),
        };
        let txn = self.store.begin(&[]).await?;
        txn.commit(vec![log::entry(&record)?]).await
    }

    async fn begin<'a>(
        &'a self,
        call: &Call,
        permit: &Permit,
        locks: &[crate::store::port::LockKey],
    ) -> Result<Unit<'a>> {
        let decided_by = Some(permit.decided_by().to_owned());
        let actor = Actor::of(&call.principal);
        let unit = Unit::begin(
            self,
            call.principal.workspace,
            actor,
            Some(call.origin.clone()),
            decided_by,
            locks,
        );
        Ok(unit.await?.witnessed_by(Some(call.entered.witness())))
    }

    /// A unit of the vault's own work.
    async fn begin_own<'a>(
        &'a self,
        part: &str,
        workspace: WorkspaceId,
        locks: &[crate::store::port::LockKey],
    ) -> Result<Unit<'a>> {
        Unit::begin(self, workspace, Actor::vault(part), None, None, locks).await
    }
}

/// Whether an error refuses what the caller was entitled to ask, and so belongs into history.
fn is_refusal(code: Code) -> bool {
    matches!(
        code,
        Code::InsufficientPermissions
            | Code::IdentitySuspended
            | Code::LeaseLimitReached
            | Code::InvalidState
            | Code::LeaseExpired
            | Code::LeaseRevoked
            | Code::LeaseReleased
            | Code::CredentialRevoked
            | Code::BudgetExhausted
            | Code::QuotaExceeded
    )
}
