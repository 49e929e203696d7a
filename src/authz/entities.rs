//! A question in Cedar's terms: entities, and a request over them. The schema in `policies/` says what they mean.

mod names;

use std::{collections::HashSet, error::Error as StdError};

use cedar_policy::{Context, Entities, Entity, EntityUid, Request, RestrictedExpression};

pub(super) use self::names::{Names, uid};
use super::{Action, Facts, LeaseFacts, Question, Resource, ValueFacts, needs::Needs};
use crate::domain::{
    id::IdentityId,
    name::{IdentityName, Metadata},
    principal::{IdentityType, Principal, Roles},
    scope::{Role, ScopeSet},
    time::{Span, Timestamp},
};

/// Why a question could not be put: a fault of the vault, for which the answer is no.
pub(super) type Unaskable = Box<dyn StdError + Send + Sync>;

/// An identity's name in policies.
pub(super) fn identity_name(kind: IdentityType, name: &IdentityName) -> String {
    format!("{}/{name}", kind.as_str())
}

fn text(text: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(text.to_owned())
}

fn pair(name: &str, value: RestrictedExpression) -> (String, RestrictedExpression) {
    (name.to_owned(), value)
}

fn tags(metadata: &Metadata) -> impl Iterator<Item = (String, RestrictedExpression)> {
    metadata.iter().map(|(key, value)| pair(key, text(value)))
}

fn party(kind: &str, name: &str) -> [(String, RestrictedExpression); 2] {
    [pair("name", text(name)), pair("type", text(kind))]
}

/// The attributes that every context has, as far as they are read.
pub(super) fn plain(
    action: Action,
    scopes: ScopeSet,
    organisation: bool,
    (hour, weekday): (i64, i64),
    needs: &Needs,
) -> Vec<(String, RestrictedExpression)> {
    let held = || scopes.iter().map(|scope| text(scope.as_str()));
    let mut context = Vec::with_capacity(16);
    let mut put = |name, value: &dyn Fn() -> RestrictedExpression| {
        if needs.attribute(name) {
            context.push(pair(name, value()));
        }
    };
    put("scope", &|| text(action.scope().as_str()));
    put("scopes", &|| RestrictedExpression::new_set(held()));
    put("organisation", &|| {
        RestrictedExpression::new_bool(organisation)
    });
    put("hour", &|| RestrictedExpression::new_long(hour));
    put("weekday", &|| RestrictedExpression::new_long(weekday));
    context
}

/// The hour of the day and the day of the week (1 is Monday), in UTC.
pub(super) fn hour_and_weekday(now: Timestamp) -> (i64, i64) {
    let hours = now.as_millis() / 3_600_000;
    // The first day of all was a Thursday.
    let weekday = (hours / 24 + 3) % 7 + 1;
    let small = |n: u64| i64::try_from(n).unwrap_or_default();
    (small(hours % 24), small(weekday))
}

/// Seconds, rounded up: a lease that is longer than a limit by a moment is longer.
pub(super) fn whole_seconds(span: Span) -> i64 {
    i64::try_from(span.as_millis().div_ceil(1000)).unwrap_or(i64::MAX)
}

fn seconds(span: Span) -> RestrictedExpression {
    RestrictedExpression::new_long(whole_seconds(span))
}

/// The caller, in its roles, with what is read of it; its labels are its tags.
pub(super) fn caller(
    names: &Names,
    uid_of: &EntityUid,
    (kind, name): (&str, &str),
    (roles, labels): (Option<Roles>, &Metadata),
    needs: &Needs,
) -> Result<Entity, Unaskable> {
    let role_uid = |role: Role| uid(&names.role, role.as_str());
    let named = roles.map(|roles| RestrictedExpression::new_entity_uid(role_uid(roles.identity)));
    let attributes = party(kind, name)
        .into_iter()
        .chain(named.map(|role| pair("role", role)))
        .filter(|(name, _)| needs.attribute(name));
    let labels = Some(labels).filter(|_| needs.labels());
    Ok(Entity::new_with_tags(
        uid_of.clone(),
        attributes,
        roles.into_iter().flat_map(Roles::iter).map(role_uid),
        labels.into_iter().flat_map(tags),
    )?)
}

/// A question as Cedar takes it.
pub(super) struct Asked {
    pub(super) request: Request,
    pub(super) entities: Entities,
}

/// Collects the entities of a question, each once.
struct Collector<'a> {
    names: &'a Names,
    needs: &'a Needs,
    principal: &'a Principal,
    caller: EntityUid,
    workspace: EntityUid,
    entities: Vec<Entity>,
    seen: HashSet<EntityUid>,
}

impl Collector<'_> {
    fn party(&self, kind: &str, name: &str) -> Vec<(String, RestrictedExpression)> {
        let attributes = party(kind, name).into_iter();
        attributes
            .filter(|(name, _)| self.needs.attribute(name))
            .collect()
    }

    fn tags(&self, metadata: &Metadata) -> Vec<(String, RestrictedExpression)> {
        match self.needs.tags() {
            true => tags(metadata).collect(),
            false => Vec::new(),
        }
    }

    fn add(&mut self, entity: Entity) {
        if self.seen.insert(entity.uid()) {
            self.entities.push(entity);
        }
    }

    /// What an identity is called. INVARIANT (isolation): only what has the caller's own id is called as the caller
    /// is, whatever names were given away and given anew.
    fn identity(&self, id: IdentityId, kind: IdentityType, name: &IdentityName) -> EntityUid {
        if id == self.principal.identity {
            return self.caller.clone();
        }
        let named = uid(&self.names.identity, &identity_name(kind, name));
        if named == self.caller {
            return uid(&self.names.identity, &id.to_string());
        }
        named
    }

    fn other(
        &mut self,
        at: EntityUid,
        kind: IdentityType,
        name: &IdentityName,
    ) -> Result<(), Unaskable> {
        let entity = caller(
            self.names,
            &at,
            (kind.as_str(), name.as_str()),
            (None, &Metadata::default()),
            self.needs,
        )?;
        self.add(entity);
        Ok(())
    }

    fn credential(&mut self, name: &str, facts: &Facts<'_>) -> Result<EntityUid, Unaskable> {
        let at = uid(&self.names.credential, name);
        let nothing = Metadata::default();
        let (kind, metadata) = match &facts.credential {
            Some(credential) => (credential.kind.as_str(), credential.metadata),
            None => ("", &nothing),
        };
        let workspace = [self.workspace.clone()];
        self.add(Entity::new_with_tags(
            at.clone(),
            self.party(kind, name),
            workspace,
            self.tags(metadata),
        )?);
        Ok(at)
    }

    fn resource(&mut self, question: &Question<'_>) -> Result<EntityUid, Unaskable> {
        let facts = &question.facts;
        Ok(match &question.resource {
            Resource::Vault => uid(&self.names.vault, "vault"),
            Resource::Workspace => self.workspace.clone(),
            Resource::Credential(name) => self.credential(name.as_str(), facts)?,
            Resource::Identity { kind, name } => {
                let at = uid(&self.names.identity, &identity_name(*kind, name));
                self.other(at.clone(), *kind, name)?;
                at
            }
            Resource::Key { id, identity } => {
                self.proof(uid(&self.names.key, &id.to_string()), *identity)?
            }
            Resource::Token { id, identity } => {
                self.proof(uid(&self.names.token, &id.to_string()), *identity)?
            }
            Resource::Lease {
                id,
                credential,
                holder,
                requested_by,
            } => {
                let credential = self.credential(credential.as_str(), facts)?;
                let at = uid(&self.names.lease, &id.to_string());
                let mut attributes = vec![pair(
                    "credential",
                    RestrictedExpression::new_entity_uid(credential.clone()),
                )];
                if let Some(lease) = &facts.lease {
                    let parties = [
                        ("holder", *holder, lease.holder.kind, &lease.holder.name),
                        (
                            "requested_by",
                            *requested_by,
                            lease.requested_by.0,
                            lease.requested_by.1,
                        ),
                    ];
                    for (attribute, id, kind, name) in parties {
                        if !self.needs.attribute(attribute) {
                            continue;
                        }
                        let who = self.identity(id, kind, name);
                        self.other(who.clone(), kind, name)?;
                        attributes.push(pair(attribute, RestrictedExpression::new_entity_uid(who)));
                    }
                }
                let nothing = Metadata::default();
                let metadata = facts.credential.map_or(&nothing, |facts| facts.metadata);
                self.add(Entity::new_with_tags(
                    at.clone(),
                    attributes,
                    [credential],
                    self.tags(metadata),
                )?);
                at
            }
        })
    }

    fn proof(&mut self, at: EntityUid, identity: IdentityId) -> Result<EntityUid, Unaskable> {
        let own = RestrictedExpression::new_bool(identity == self.principal.identity);
        let workspace = [self.workspace.clone()];
        self.add(Entity::new_with_tags(
            at.clone(),
            [pair("own", own)],
            workspace,
            [],
        )?);
        Ok(at)
    }

    fn value(&mut self, value: &ValueFacts<'_>) -> Result<EntityUid, Unaskable> {
        let at = uid(&self.names.value, "new");
        let length = |n: u64| RestrictedExpression::new_long(i64::try_from(n).unwrap_or(i64::MAX));
        let attributes = [
            pair("prefix", text(&value.prefix)),
            pair("length", length(value.length as u64)),
            pair("entropy_bits", length(value.entropy_bits)),
            pair("type", text(value.kind.as_str())),
        ];
        self.add(Entity::new_with_tags(
            at.clone(),
            attributes,
            [],
            tags(value.metadata),
        )?);
        Ok(at)
    }
}

fn lease_context(lease: &LeaseFacts<'_>, needs: &Needs) -> Vec<(String, RestrictedExpression)> {
    let mut context = Vec::new();
    if needs.attribute("holder") {
        let holder = party(lease.holder.kind.as_str(), lease.holder.name.as_str());
        // The names differ, so the record can be made; were it not, every policy that needs it errs and denies.
        let holder = RestrictedExpression::new_record(holder).ok();
        context.extend(holder.map(|holder| pair("holder", holder)));
    }
    let facts = [
        ("delivery", Some(lease.delivery.as_str())),
        ("purpose", lease.purpose),
        ("session", lease.holder.session.as_deref()),
    ];
    let read = facts.into_iter().filter(|(name, _)| needs.attribute(name));
    context.extend(read.filter_map(|(name, value)| Some(pair(name, text(value?)))));
    context
}

/// Puts a question as Cedar takes it.
pub(super) fn ask(question: &Question<'_>, needs: &Needs) -> Result<Asked, Unaskable> {
    let names = Names::get()?;
    let principal = question.principal;
    let own_name = identity_name(principal.kind, &principal.name);
    let mut collector = Collector {
        names,
        needs,
        principal,
        caller: uid(&names.identity, &own_name),
        workspace: uid(&names.workspace, principal.workspace_name.as_str()),
        entities: Vec::with_capacity(6),
        seen: HashSet::with_capacity(6),
    };
    let own = (principal.kind.as_str(), principal.name.as_str());
    collector.add(caller(
        names,
        &collector.caller,
        own,
        (Some(principal.roles), &principal.labels),
        needs,
    )?);
    let resource = collector.resource(question)?;
    let (action, family) = names.action_in_family(question.action)?;
    collector.add(Entity::new_no_attrs(
        action.clone(),
        HashSet::from([family.clone()]),
    ));
    let mut context = plain(
        question.action,
        principal.scopes,
        principal.organisation,
        hour_and_weekday(question.now),
        needs,
    );
    if let Some(ip) = question.source_ip
        && needs.attribute("source_ip")
    {
        let ip = RestrictedExpression::new_ip(ip.to_canonical().to_string());
        context.push(pair("source_ip", ip));
    }
    if let Some(lease) = &question.facts.lease {
        context.extend(lease_context(lease, needs));
    }
    if let Some(terms) = &question.facts.terms {
        let facts = [
            ("ttl_seconds", seconds(terms.ttl)),
            ("lifetime_seconds", seconds(terms.lifetime)),
            ("reveal", RestrictedExpression::new_bool(terms.reveal)),
        ];
        let read = facts.into_iter().filter(|(name, _)| needs.attribute(name));
        context.extend(read.map(|(name, value)| pair(name, value)));
    }
    if let Some(value) = question.facts.value
        && needs.attribute("value")
    {
        let value = collector.value(value)?;
        context.push(pair("value", RestrictedExpression::new_entity_uid(value)));
    }
    let request = Request::new(
        collector.caller.clone(),
        action.clone(),
        resource,
        Context::from_pairs(context)?,
        None,
    )?;
    let entities = Entities::from_entities(collector.entities, None)?;
    Ok(Asked { request, entities })
}

#[cfg(test)]
mod tests;
