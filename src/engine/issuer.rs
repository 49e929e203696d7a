//! Registering issuers of federated identities. Nobody registers one that gives out more than they hold.

mod rules;

use super::{
    Call, Engine, Note,
    credential::change,
    idempotency::{Answer, Slot},
    page::{Page, PageRequest},
};
use crate::{
    authz::{Action, Permit, Resource},
    domain::{
        error::{Code, Error, Result},
        event::{Change, EventName, Object},
        id::{IssuerId, WorkspaceId},
        issuer::{
            ClientCertificate, Issuer, IssuerKeys, IssuerKind, IssuerRules, MAX_ISSUERS, Mapping,
            Oidc, SignatureAlgorithm, of_oidc,
        },
        name::IssuerName,
        scope::Scope,
        time::{Span, TimeRange, Ttl},
    },
    store::key,
};

const SORTS: [(&str, ()); 1] = [("created_at", ())];
const DEFAULT_SORT: &str = "-created_at";

/// An issuer to register.
pub struct CreateIssuer {
    pub name: IssuerName,
    /// Whether it serves every workspace, and not the caller's alone.
    pub organisation: bool,
    pub rules: IssuerRules,
}

/// What to change of an issuer; what is absent stays.
#[derive(Default)]
pub struct UpdateIssuer {
    pub iss: Option<String>,
    pub keys: Option<IssuerKeys>,
    pub audiences: Option<Vec<String>>,
    pub algorithms: Option<Vec<SignatureAlgorithm>>,
    pub conditions: Option<std::collections::BTreeMap<String, Vec<String>>>,
    pub identity: Option<Mapping>,
    pub token_ttl: Option<Ttl>,
    pub require_jti: Option<bool>,
    pub leeway: Option<Span>,
}

impl UpdateIssuer {
    fn over(self, rules: IssuerRules) -> Result<IssuerRules> {
        let kind = match rules.kind {
            IssuerKind::Oidc(old) => IssuerKind::Oidc(Oidc {
                iss: self.iss.unwrap_or(old.iss),
                keys: self.keys.unwrap_or(old.keys),
                audiences: self.audiences.unwrap_or(old.audiences),
                algorithms: self.algorithms.unwrap_or(old.algorithms),
                require_jti: self.require_jti.unwrap_or(old.require_jti),
                leeway: self.leeway.unwrap_or(old.leeway),
            }),
            IssuerKind::Certificate => {
                for (field, given) in [
                    ("iss", self.iss.is_some()),
                    ("jwks_url", self.keys.is_some()),
                    ("audiences", self.audiences.is_some()),
                    ("algorithms", self.algorithms.is_some()),
                    ("require_jti", self.require_jti.is_some()),
                    ("leeway", self.leeway.is_some()),
                ] {
                    if given {
                        return Err(of_oidc(field));
                    }
                }
                IssuerKind::Certificate
            }
        };
        Ok(IssuerRules {
            kind,
            conditions: self.conditions.unwrap_or(rules.conditions),
            identity: self.identity.unwrap_or(rules.identity),
            token_ttl: self.token_ttl.unwrap_or(rules.token_ttl),
        })
    }
}

fn no_issuer() -> Error {
    Error::not_found("issuer")
}

fn object(issuer: &Issuer) -> Object {
    Object {
        name: Some(issuer.id.to_string()),
        ..Object::default()
    }
}

/// What history tells of an issuer's rules.
fn facts(issuer: &Issuer) -> Vec<(&'static str, String)> {
    let rules = &issuer.rules;
    let identity = &rules.identity;
    let scopes: Vec<_> = identity.ceiling().iter().map(Scope::as_str).collect();
    let conditions = rules.conditions.iter();
    let conditions = conditions.map(|(claim, any)| format!("{claim}={}", any.join("|")));
    let mut facts = vec![
        ("name", issuer.name.to_string()),
        ("conditions", conditions.collect::<Vec<_>>().join(" ")),
        (
            "identity",
            format!("{}/{}", identity.kind.as_str(), identity.name),
        ),
        ("role", identity.role.as_str().to_owned()),
        ("scopes", scopes.join(" ")),
        ("auto_create", identity.auto_create.to_string()),
        ("token_ttl", rules.token_ttl.to_string()),
    ];
    match &rules.kind {
        IssuerKind::Oidc(oidc) => {
            let algorithms: Vec<_> = oidc.algorithms.iter().map(|one| one.as_str()).collect();
            facts.extend([
                ("iss", oidc.iss.clone()),
                ("keys", described(&oidc.keys)),
                ("audiences", oidc.audiences.join(" ")),
                ("algorithms", algorithms.join(" ")),
                ("require_jti", oidc.require_jti.to_string()),
                ("leeway", oidc.leeway.to_string()),
            ]);
        }
        IssuerKind::Certificate => facts.push(("kind", "certificate".to_owned())),
    }
    facts
}

/// Where an issuer's keys come from; those that are given by value, by their SHA-256.
fn described(keys: &IssuerKeys) -> String {
    let sha256 = |bytes: &[u8]| format!("sha256:{}", ClientCertificate::fingerprint(bytes));
    match keys {
        IssuerKeys::Url(url) => place(url),
        IssuerKeys::Jwks(text) => sha256(text.as_bytes()),
        IssuerKeys::Pem(all) => sha256(all.join("\n").as_bytes()),
    }
}

/// A URL without what may be secret in it: a user with a password, and the query.
fn place(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = authority.rsplit('@').next().unwrap_or_default();
            format!("{scheme}://{host}{path}")
        }
        None => url.to_owned(),
    }
}

/// What differs between an issuer before and after: all of it where it was made or is gone.
fn changes(before: Option<&Issuer>, after: Option<&Issuer>) -> Vec<Change> {
    let (mut had, has) = (
        before.map(facts).unwrap_or_default(),
        after.map(facts).unwrap_or_default(),
    );
    let mut changes = Vec::new();
    for (field, now) in has {
        let at = had.iter().position(|(known, _)| *known == field);
        let then = at.map(|at| had.remove(at).1);
        if then.as_ref() != Some(&now) {
            changes.push(change(field, then, Some(now)));
        }
    }
    let gone = had.into_iter();
    changes.extend(gone.map(|(field, then)| change(field, Some(then), None)));
    changes
}

impl Engine {
    /// Registers an issuer.
    pub async fn create_issuer(&self, call: &Call, command: CreateIssuer) -> Result<Issuer> {
        let level = match command.organisation {
            true => WorkspaceId::SYSTEM,
            false => call.principal.workspace,
        };
        let permit = self.may_write_issuers(call, level).await?;
        self.check_rules(call, &permit, level, &command.rules)
            .await?;
        let slot = Slot::of(self, call, "issuer:create")?;
        let tables = self.tables(level)?;
        let mut locks = vec![key::issuers_lock(level)];
        locks.extend(slot.lock());
        let mut unit = self.begin(call, &permit, &locks).await?;
        match slot.first(&mut unit).await? {
            Some(Answer::Issuer(issuer)) => {
                drop(unit);
                slot.durable(self, call.principal.workspace).await?;
                return Ok(*issuer);
            }
            Some(_) => return Err(Error::internal("a first answer of another operation")),
            None => {}
        }
        let known = tables.issuers(&mut unit.txn).await?;
        if known.iter().any(|issuer| issuer.name == command.name) {
            return Err(
                Error::new(Code::AlreadyExists, "an issuer of that name exists")
                    .with("field", "name"),
            );
        }
        if known.len() >= MAX_ISSUERS {
            return Err(Error::new(
                Code::QuotaExceeded,
                format!("there are {MAX_ISSUERS} issuers already"),
            ));
        }
        let issuer = Issuer {
            id: IssuerId::new(unit.now, &self.keyring.entropy().bytes()?),
            workspace: level,
            name: command.name,
            rules: command.rules,
            created_at: unit.now,
            updated_at: unit.now,
        };
        tables.put_issuer(&mut *unit.txn, &issuer)?;
        unit.record(Note {
            changes: changes(None, Some(&issuer)),
            ..Note::new(EventName::IssuerCreated, object(&issuer))
        })?;
        slot.keep(&mut unit, || Answer::Issuer(Box::new(issuer.clone())))?;
        unit.commit().await?;
        Ok(issuer)
    }

    /// The permit to write the issuers of a workspace; those of the organisation take a decision on the vault as well.
    async fn may_write_issuers(&self, call: &Call, level: WorkspaceId) -> Result<Permit> {
        let action = Action::IssuerWrite;
        let permit = self.authorize(call, action, Resource::Workspace).await?;
        match level == WorkspaceId::SYSTEM {
            true => self.authorize(call, action, Resource::Vault).await,
            false => Ok(permit),
        }
    }

    /// An issuer of that id or name, and the permit to write it.
    async fn writable_issuer(&self, call: &Call, named: &str) -> Result<(Permit, Issuer)> {
        self.may_write_issuers(call, call.principal.workspace)
            .await?;
        let issuer = self.visible_issuer(call, named).await?;
        let permit = self.may_write_issuers(call, issuer.workspace).await?;
        Ok((permit, issuer))
    }

    /// The issuers that the caller may see: its workspace's, and the organisation's for who reaches all of it.
    async fn visible_issuers(&self, call: &Call) -> Result<Vec<Issuer>> {
        let read = &mut self.read();
        let mut all = self.tables(call.principal.workspace)?.issuers(read).await?;
        if call.principal.organisation {
            all.extend(self.tables(WorkspaceId::SYSTEM)?.issuers(read).await?);
        }
        Ok(all)
    }

    /// The issuer of that id or name.
    async fn visible_issuer(&self, call: &Call, named: &str) -> Result<Issuer> {
        let id = IssuerId::parse(named);
        let all = self.visible_issuers(call).await?;
        all.into_iter()
            .find(|issuer| id.map_or(issuer.name.as_str() == named, |id| issuer.id == id))
            .ok_or_else(no_issuer)
    }

    /// One issuer.
    pub async fn issuer(&self, call: &Call, named: &str) -> Result<Issuer> {
        self.authorize(call, Action::IssuerRead, Resource::Workspace)
            .await?;
        self.visible_issuer(call, named).await
    }

    /// A page of the issuers that were made within a range.
    pub async fn issuers(
        &self,
        call: &Call,
        made: TimeRange,
        request: &PageRequest,
    ) -> Result<Page<Issuer>> {
        self.authorize(call, Action::IssuerRead, Resource::Workspace)
            .await?;
        let window = request.window(&SORTS, DEFAULT_SORT)?;
        let all = self.visible_issuers(call).await?;
        let found = all
            .into_iter()
            .filter(|issuer| made.holds(issuer.created_at));
        let placed = found.map(|issuer| {
            let created = issuer.created_at.as_millis().to_be_bytes();
            ([&created[..], issuer.id.as_bytes()].concat(), issuer)
        });
        Ok(request.cut(&window, DEFAULT_SORT, placed.collect()))
    }

    /// Changes an issuer's rules. Tokens that were given out hold from now on what the new ones allow.
    pub async fn update_issuer(
        &self,
        call: &Call,
        named: &str,
        update: UpdateIssuer,
    ) -> Result<Issuer> {
        let (permit, seen) = self.writable_issuer(call, named).await?;
        let tables = self.tables(seen.workspace)?;
        let locks = [key::issuers_lock(seen.workspace)];
        let mut unit = self.begin(call, &permit, &locks).await?;
        let before = tables.issuer(&mut unit.txn, seen.id).await?;
        let before = before.ok_or_else(no_issuer)?;
        self.check_reach(call, &permit, before.workspace, &before.rules)
            .await?;
        let mut after = before.clone();
        after.rules = update.over(after.rules)?;
        after.updated_at = unit.now;
        self.check_rules(call, &permit, after.workspace, &after.rules)
            .await?;
        let changes = changes(Some(&before), Some(&after));
        tables.put_issuer(&mut *unit.txn, &after)?;
        unit.record(Note {
            changes,
            ..Note::new(EventName::IssuerUpdated, object(&after))
        })?;
        unit.commit_access().await?;
        Ok(after)
    }

    /// Forgets an issuer. Every token that its assertions were exchanged for ends at once.
    pub async fn delete_issuer(&self, call: &Call, named: &str) -> Result<Issuer> {
        let (permit, issuer) = self.writable_issuer(call, named).await?;
        let tables = self.tables(issuer.workspace)?;
        let locks = [key::issuers_lock(issuer.workspace)];
        let mut unit = self.begin(call, &permit, &locks).await?;
        let found = tables.issuer(&mut unit.txn, issuer.id).await?;
        let issuer = found.ok_or_else(no_issuer)?;
        self.check_reach(call, &permit, issuer.workspace, &issuer.rules)
            .await?;
        tables.delete_issuer(&mut *unit.txn, issuer.id);
        unit.record(Note {
            changes: changes(Some(&issuer), None),
            ..Note::new(EventName::IssuerDeleted, object(&issuer))
        })?;
        unit.commit_access().await?;
        Ok(issuer)
    }
}
