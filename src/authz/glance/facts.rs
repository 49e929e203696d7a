//! What a glance at policies can see of a question, by the names that the schema gives it.

use std::{borrow::Cow, cell::OnceCell};

use serde_json::Value;

use super::{Is, entity};
use crate::{
    authz::{
        Question, Resource,
        entities::{hour_and_weekday, identity_name, whole_seconds},
    },
    domain::name::Metadata,
};

/// Something that a question says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fact {
    Context(String),
    HasContext(String),
    /// An attribute of the context's `holder`.
    Holder(String),
    /// Whether a scope is among the caller's.
    HoldsScope(String),
    Caller,
    OfCaller(String),
    HasRole,
    Label(String),
    HasLabel(String),
    /// Whether the caller is, or is in, an entity.
    CallerIn(String, String),
    OfResource(String),
    ResourceIs(String),
    Tag(String),
    HasTag(String),
}

/// What a fact is.
#[derive(Debug)]
enum Found<'a> {
    Bool(bool),
    Long(i64),
    Text(Cow<'a, str>),
    Entity(&'static str, Cow<'a, str>),
}

impl Fact {
    /// The fact that an operator asks for; none where it is nothing that is seen here.
    pub(super) fn of(operator: &str, operand: &Value) -> Option<Self> {
        let left = operand.get("left");
        let variable = |of: Option<&Value>| of?.get("Var")?.as_str().map(str::to_owned);
        let named = |field: &str| operand.get(field)?.as_str().map(str::to_owned);
        let literal = || {
            let right = operand.get("right")?.get("Value")?.as_str();
            right.map(str::to_owned)
        };
        let of = variable(left);
        Some(match (operator, of.as_deref()) {
            ("Var", _) if operand.as_str() == Some("principal") => Self::Caller,
            (".", Some("context")) => Self::Context(named("attr")?),
            (".", Some("principal")) => Self::OfCaller(named("attr")?),
            (".", Some("resource")) => Self::OfResource(named("attr")?),
            (".", None) => {
                let inner = left?.get(".")?;
                let holder = variable(inner.get("left")).as_deref() == Some("context")
                    && inner.get("attr")?.as_str() == Some("holder");
                holder.then_some(Self::Holder(named("attr")?))?
            }
            ("has", Some("context")) => Self::HasContext(named("attr")?),
            ("has", Some("principal")) if named("attr").as_deref() == Some("role") => Self::HasRole,
            ("hasTag", Some("principal")) => Self::HasLabel(literal()?),
            ("getTag", Some("principal")) => Self::Label(literal()?),
            ("hasTag", Some("resource")) => Self::HasTag(literal()?),
            ("getTag", Some("resource")) => Self::Tag(literal()?),
            ("is", Some("resource")) if operand.get("in").is_none() => {
                Self::ResourceIs(named("entity_type")?)
            }
            ("in", Some("principal")) => {
                let (kind, id) = entity(operand.get("right")?.get("Value")?)?;
                Self::CallerIn(kind.to_owned(), id.to_owned())
            }
            ("contains", None) => {
                let inner = left?.get(".")?;
                let scopes = variable(inner.get("left")).as_deref() == Some("context")
                    && inner.get("attr")?.as_str() == Some("scopes");
                scopes.then_some(Self::HoldsScope(literal()?))?
            }
            _ => return None,
        })
    }

    /// What it is in a question; none where that is not seen, or the question does not say it.
    fn look<'a>(&self, question: &'a Question<'_>) -> Option<Found<'a>> {
        let principal = question.principal;
        let text = |text: &'a str| Some(Found::Text(Cow::Borrowed(text)));
        let bool = |is| Some(Found::Bool(is));
        match self {
            Self::Context(name) => context(question, name),
            Self::HasContext(name) => has(question, name).map(Found::Bool),
            Self::Holder(attribute) => {
                let holder = question.facts.lease?.holder;
                match attribute.as_str() {
                    "name" => text(holder.name.as_str()),
                    "type" => text(holder.kind.as_str()),
                    _ => None,
                }
            }
            Self::HoldsScope(name) => bool(principal.scopes.iter().any(|one| one.as_str() == name)),
            Self::Caller => {
                let name = identity_name(principal.kind, &principal.name);
                Some(Found::Entity("Identity", Cow::Owned(name)))
            }
            Self::OfCaller(attribute) => match attribute.as_str() {
                "name" => text(principal.name.as_str()),
                "type" => text(principal.kind.as_str()),
                "role" => {
                    let role = principal.roles.identity.as_str();
                    Some(Found::Entity("Role", Cow::Borrowed(role)))
                }
                _ => None,
            },
            Self::HasRole => bool(true),
            Self::Label(key) => text(principal.labels.get(key)?),
            Self::HasLabel(key) => bool(principal.labels.get(key).is_some()),
            Self::CallerIn(kind, id) => match kind.as_str() {
                "Role" => bool(principal.roles.iter().any(|role| role.as_str() == id)),
                "Identity" => bool(identity_name(principal.kind, &principal.name) == *id),
                _ => None,
            },
            Self::OfResource(attribute) => match (&question.resource, attribute.as_str()) {
                (Resource::Credential(name), "name") => text(name.as_str()),
                (Resource::Credential(_), "type") => {
                    text(question.facts.credential.map_or("", |of| of.kind.as_str()))
                }
                _ => None,
            },
            Self::ResourceIs(kind) => bool(question.resource.kind() == kind),
            Self::Tag(key) => text(tags(question)??.get(key)?),
            Self::HasTag(key) => bool(tags(question)?.is_some_and(|tags| tags.get(key).is_some())),
        }
    }
}

/// The tags of the resource, where it may have some and they are known.
fn tags<'a>(question: &'a Question<'_>) -> Option<Option<&'a Metadata>> {
    match question.resource {
        Resource::Credential(_) | Resource::Lease { .. } => {
            Some(question.facts.credential.map(|of| of.metadata))
        }
        _ => None,
    }
}

/// Whether the context has an attribute.
fn has(question: &Question<'_>, name: &str) -> Option<bool> {
    let facts = &question.facts;
    Some(match name {
        "scope" | "scopes" | "organisation" | "hour" | "weekday" => true,
        "source_ip" => question.source_ip.is_some(),
        "holder" | "delivery" => facts.lease.is_some(),
        "purpose" => facts.lease.is_some_and(|lease| lease.purpose.is_some()),
        "session" => facts.lease.is_some_and(|of| of.holder.session.is_some()),
        "ttl_seconds" | "lifetime_seconds" | "reveal" => facts.terms.is_some(),
        "value" => facts.value.is_some(),
        _ => return None,
    })
}

fn context<'a>(question: &'a Question<'_>, name: &str) -> Option<Found<'a>> {
    let facts = &question.facts;
    let text = |text: &'a str| Found::Text(Cow::Borrowed(text));
    Some(match name {
        "scope" => Found::Text(Cow::Borrowed(question.action.scope().as_str())),
        "organisation" => Found::Bool(question.principal.organisation),
        "hour" => Found::Long(hour_and_weekday(question.now).0),
        "weekday" => Found::Long(hour_and_weekday(question.now).1),
        "delivery" => text(facts.lease?.delivery.as_str()),
        "purpose" => text(facts.lease?.purpose?),
        "session" => text(facts.lease?.holder.session.as_deref()?),
        "ttl_seconds" => Found::Long(whole_seconds(facts.terms?.ttl)),
        "lifetime_seconds" => Found::Long(whole_seconds(facts.terms?.lifetime)),
        "reveal" => Found::Bool(facts.terms?.reveal),
        _ => return None,
    })
}

/// A question, as the policies of a part look at it: each fact is looked for once.
pub(in crate::authz) struct Seen<'a> {
    question: &'a Question<'a>,
    facts: &'a [Fact],
    found: Vec<OnceCell<Option<Found<'a>>>>,
}

impl<'a> Seen<'a> {
    pub(in crate::authz) fn new(question: &'a Question<'a>, facts: &'a super::Facts) -> Self {
        let mut found = Vec::new();
        found.resize_with(facts.0.len(), OnceCell::new);
        Self {
            question,
            facts: &facts.0,
            found,
        }
    }

    /// The fact at that place.
    pub(super) fn fact(&self, place: usize) -> Option<Is<'_>> {
        let found = self.found.get(place)?;
        let look = || self.facts.get(place)?.look(self.question);
        Some(match found.get_or_init(look).as_ref()? {
            Found::Bool(is) => Is::Bool(*is),
            Found::Long(is) => Is::Long(*is),
            Found::Text(is) => Is::Text(is),
            Found::Entity(kind, id) => Is::Entity(kind, id),
        })
    }
}
