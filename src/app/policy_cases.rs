//! Test cases of Cedar policies: who does what to what, in which circumstances, and what should be decided.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::process::Failure;
use crate::{
    authz::{
        self, Action, CredentialFacts, Facts, LeaseFacts, Question, Resource, Snapshot, TermsFacts,
        ValueFacts,
    },
    domain::{
        id::{IdentityId, KeyId, LeaseId, TokenId, WorkspaceId},
        kind::CredentialType,
        lease::Holder,
        name::{CredentialName, IdentityName, Metadata, WorkspaceName},
        policy::Delivery,
        principal::{IdentityType, Principal, ProofId, RateLimit, Roles},
        scope::{Role, ScopeSet},
        secret::SecretText,
        time::{Timestamp, Ttl},
    },
};

/// When a case happens that does not say: a Wednesday, 12 o'clock UTC.
const WEDNESDAY_NOON: Timestamp = Timestamp::from_millis(1_767_787_200_000);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases {
    #[serde(default)]
    case: Vec<Case>,
}

/// What should be decided.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Expected {
    Allow,
    Deny,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    principal: Who,
    action: String,
    /// `workspace`, `vault`, `credential/NAME`, `lease/CREDENTIAL` (a lease of it), `identity/TYPE/NAME`, and
    /// `api-key/TYPE/NAME` or `token/TYPE/NAME` (one of that identity's).
    resource: String,
    #[serde(default)]
    context: Circumstances,
    expect: Expected,
    /// A policy that must be among those that decide; with or without whose it is in front.
    policy: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Who {
    /// `TYPE/NAME`.
    identity: String,
    /// The identity's.
    role: String,
    /// What its key holds of the role; all where absent.
    scopes: Option<Vec<String>>,
    /// Whether the key reaches every workspace; as roles of the organisation do where it is not said.
    organisation: Option<bool>,
    #[serde(default = "default_workspace")]
    workspace: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

fn default_workspace() -> String {
    "default".to_owned()
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Circumstances {
    time: Option<String>,
    source_ip: Option<IpAddr>,
    /// The type and metadata of the credential that the resource is or belongs to.
    r#type: Option<String>,
    metadata: BTreeMap<String, String>,
    ttl: Option<String>,
    lifetime: Option<String>,
    delivery: Option<String>,
    reveal: bool,
    purpose: Option<String>,
    session: Option<String>,
    /// `TYPE/NAME`; the principal where absent.
    holder: Option<String>,
    requested_by: Option<String>,
    /// The value that would be stored.
    value: Option<String>,
}

/// How a case ended.
pub(super) struct Outcome {
    /// What was decided.
    pub(super) found: String,
    /// Why that is not what was expected.
    pub(super) fault: Option<String>,
}

/// Runs the cases of a file, in their order.
pub(super) fn run(
    rules: &Snapshot,
    file: &str,
    text: &str,
) -> Result<Vec<(String, Outcome)>, Failure> {
    let cases: Result<Cases, String> = match file.ends_with(".json") {
        true => serde_json::from_str(text).map_err(|error| error.to_string()),
        false => toml::from_str(text).map_err(|error| error.to_string()),
    };
    let cases = cases.map_err(|error| format!("{file}: {error}"))?;
    let outcomes = cases.case.into_iter().map(|case| {
        let outcome = case.run(rules);
        let outcome = outcome.map_err(|error| format!("{file}: {}: {error}", case.name))?;
        Ok((case.name, outcome))
    });
    outcomes.collect()
}

fn parsed<T>(what: &str, text: &str, read: impl FnOnce(&str) -> Option<T>) -> Result<T, Failure> {
    read(text).ok_or_else(|| format!("`{text}` is no {what}").into())
}

fn party(text: &str) -> Result<(IdentityType, IdentityName), Failure> {
    let unnamed = || format!("`{text}` is no `TYPE/NAME`");
    let (kind, name) = text.split_once('/').ok_or_else(unnamed)?;
    Ok((
        parsed("type of identity", kind, IdentityType::parse)?,
        IdentityName::parse(name, "name")?,
    ))
}

/// Ids stand for names: one for each.
fn id_of(text: &str) -> IdentityId {
    let digest = Sha256::digest(text);
    IdentityId::from_bytes(std::array::from_fn(|at| {
        digest.get(at).copied().unwrap_or(0)
    }))
}

impl Who {
    fn principal(&self) -> Result<Principal, Failure> {
        let (kind, name) = party(&self.identity)?;
        let role = parsed("role", &self.role, Role::parse)?;
        let scopes = match &self.scopes {
            None => role.scopes(),
            Some(scopes) => scopes.iter().try_fold(ScopeSet::EMPTY, |all, text| {
                parsed("scope", text, ScopeSet::parse).map(|more| all.union(more))
            })?,
        };
        if let Some(beyond) = scopes.difference(role.scopes()).iter().next() {
            return Err(format!("the role `{}` lacks `{}`", self.role, beyond.as_str()).into());
        }
        Ok(Principal {
            workspace: WorkspaceId::SYSTEM,
            workspace_name: WorkspaceName::parse(&self.workspace, "workspace")?,
            identity: id_of(&self.identity),
            name,
            kind,
            proof: ProofId::Key(KeyId::from_bytes([0; 16])),
            root: ProofId::Key(KeyId::from_bytes([0; 16])),
            value_until: None,
            labels: Arc::new(Metadata::labels(self.labels.clone())?),
            proof_name: String::new(),
            role: Some(role).filter(|role| role.scopes() == scopes),
            roles: Roles::of(role, None),
            scopes,
            organisation: self
                .organisation
                .unwrap_or_else(|| role.is_organisational()),
            rate_limit: RateLimit::Unlimited,
        })
    }
}

impl Case {
    fn run(&self, rules: &Snapshot) -> Result<Outcome, Failure> {
        let action = parsed("action", &self.action, Action::parse)?;
        let principal = self.principal.principal()?;
        let context = &self.context;
        let own = self.principal.identity.as_str();
        let holder_name = context.holder.as_deref().unwrap_or(own);
        let requester_name = context.requested_by.as_deref().unwrap_or(own);
        let (kind, name) = party(holder_name)?;
        let holder = Holder {
            identity: id_of(holder_name),
            kind,
            name,
            session: context.session.clone(),
        };
        let requester = party(requester_name)?;
        let resource = self.resource(id_of(holder_name), id_of(requester_name))?;
        authz::check_concerns(action, resource.kind())?;
        let kind = match context.r#type.as_deref() {
            None => CredentialType::ApiKey,
            Some(kind) => parsed("credential type", kind, CredentialType::parse)?,
        };
        let metadata = Metadata::new(context.metadata.clone())?;
        let value = context.value.clone().map(SecretText::new);
        let value = value
            .as_ref()
            .map(|value| ValueFacts::of(value, kind, &metadata));
        let delivery = match context.delivery.as_deref() {
            None => Delivery::Reveal,
            Some(text) => parsed("delivery", text, |text| {
                [Delivery::Broker, Delivery::Reveal]
                    .into_iter()
                    .find(|delivery| delivery.as_str() == text)
            })?,
        };
        let leasing = matches!(action, Action::LeaseCreate | Action::LeaseDelegate)
            || matches!(resource, Resource::Lease { .. });
        let termed = matches!(
            action,
            Action::LeaseCreate | Action::LeaseDelegate | Action::LeaseRenew
        );
        let about_credential = matches!(resource, Resource::Credential(_) | Resource::Lease { .. });
        let ttl = Ttl::parse(context.ttl.as_deref().unwrap_or("30m"), "ttl")?.span();
        let lifetime = match &context.lifetime {
            None => ttl,
            Some(lifetime) => Ttl::parse(lifetime, "lifetime")?.span(),
        };
        let facts = Facts {
            credential: about_credential.then_some(CredentialFacts {
                kind,
                metadata: &metadata,
            }),
            lease: leasing.then_some(LeaseFacts {
                holder: &holder,
                requested_by: (requester.0, &requester.1),
                delivery,
                purpose: context.purpose.as_deref(),
            }),
            terms: termed.then_some(TermsFacts {
                ttl,
                lifetime,
                reveal: context.reveal,
            }),
            value: value.as_ref(),
            allowed: None,
        };
        let question = Question {
            principal: &principal,
            action,
            resource,
            now: match &context.time {
                None => WEDNESDAY_NOON,
                Some(time) => parsed("RFC 3339 time", time, |time| time.parse().ok())?,
            },
            source_ip: context.source_ip,
            facts,
        };
        let (allowed, policies) = match authz::decide(rules, question) {
            Ok(permit) => (true, vec![permit.decided_by().to_owned()]),
            Err(denial) => (false, denial.policies),
        };
        Ok(self.judge(allowed, &policies))
    }

    fn judge(&self, allowed: bool, policies: &[String]) -> Outcome {
        let by = match policies {
            [] => "no policy that permits it".to_owned(),
            policies => policies.join(", "),
        };
        let found = match allowed {
            true => format!("allowed by {by}"),
            false => format!("denied by {by}"),
        };
        let wanted = self.policy.as_deref();
        let named = wanted.is_none_or(|wanted| {
            policies.iter().any(|id| {
                let bare = id.split_once(':').map(|(_, bare)| bare);
                id == wanted || bare == Some(wanted)
            })
        });
        let as_expected = allowed == (self.expect == Expected::Allow) && named;
        let expected = match self.expect {
            Expected::Allow => "allowed",
            Expected::Deny => "denied",
        };
        let by = wanted
            .map(|wanted| format!(" by {wanted}"))
            .unwrap_or_default();
        Outcome {
            fault: (!as_expected).then(|| format!("expected {expected}{by}, found {found}")),
            found,
        }
    }

    fn resource(&self, holder: IdentityId, requested_by: IdentityId) -> Result<Resource, Failure> {
        let named = |name: &str| CredentialName::parse(name, "resource");
        Ok(match self.resource.split_once('/') {
            None if self.resource == "workspace" => Resource::Workspace,
            None if self.resource == "vault" => Resource::Vault,
            Some(("credential", name)) => Resource::Credential(named(name)?),
            Some(("lease", name)) => Resource::Lease {
                id: LeaseId::from_bytes([0; 16]),
                credential: named(name)?,
                holder,
                requested_by,
            },
            Some(("identity", text)) => {
                let (kind, name) = party(text)?;
                Resource::Identity { kind, name }
            }
            Some(("api-key", whose)) => Resource::Key {
                id: KeyId::from_bytes([0; 16]),
                identity: party(whose).map(|_| id_of(whose))?,
            },
            Some(("token", whose)) => Resource::Token {
                id: TokenId::from_bytes([0; 16]),
                identity: party(whose).map(|_| id_of(whose))?,
            },
            _ => return Err(format!("`{}` is no resource of a case", self.resource).into()),
        })
    }
}
