//! A glance against the whole evaluation by Cedar, of any conditions over any question.

use cedar_policy::{Policy, PolicySet as CedarSet};
use proptest::prelude::*;

use super::*;
use crate::{
    authz::{
        Action, CredentialFacts, Facts as Given, LeaseFacts, Question, Resource, TermsFacts,
        ValueFacts,
        needs::Needs,
        part::{Part, Single},
        policies::Said,
    },
    domain::{
        id::{IdentityId, KeyId, LeaseId, WorkspaceId},
        kind::CredentialType,
        lease::Holder,
        name::{CredentialName, IdentityName, Metadata, WorkspaceName},
        policy::Delivery,
        principal::{IdentityType, Principal, ProofId, RateLimit, Roles},
        scope::Role,
        secret::SecretText,
        time::{Span, Timestamp},
    },
};

fn named(text: &str) -> IdentityName {
    IdentityName::parse(text, "name").unwrap()
}

fn pairs(pairs: &[(&str, &str)]) -> Metadata {
    let owned = pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    Metadata::new(owned.collect()).unwrap()
}

/// What makes one question differ from another.
#[derive(Debug, Clone)]
struct Case {
    action: usize,
    resource: usize,
    role: Option<usize>,
    key_role: Option<usize>,
    label: Option<&'static str>,
    tag: Option<&'static str>,
    purpose: Option<&'static str>,
    session: Option<&'static str>,
    own: bool,
    lease: bool,
    terms: Option<u64>,
    value: bool,
    /// Whether the credential is known.
    known: bool,
    source: bool,
    hour: u64,
}

const ACTIONS: [Action; 5] = [
    Action::LeaseCreate,
    Action::LeaseRenew,
    Action::CredentialRead,
    Action::CredentialCreate,
    Action::IdentityRead,
];

fn any_case() -> impl Strategy<Value = Case> {
    let text = || prop::option::of(prop::sample::select(vec!["a", "b", "a*b", "OPS-12"]));
    let first = (
        0..ACTIONS.len(),
        0..7_usize,
        prop::option::of(0..Role::ALL.len()),
        prop::option::of(0..Role::ALL.len()),
        text(),
        text(),
    );
    let second = (
        text(),
        text(),
        any::<bool>(),
        any::<bool>(),
        prop::option::of(0..4_u64),
    );
    let third = (any::<bool>(), any::<bool>(), any::<bool>(), 0..24_u64);
    (first, second, third).prop_map(|(first, second, third)| {
        let (action, resource, role, key_role, label, tag) = first;
        let (purpose, session, own, lease, terms) = second;
        let (value, known, source, hour) = third;
        Case {
            action,
            resource,
            role,
            key_role,
            label,
            tag,
            purpose,
            session,
            own,
            lease,
            terms,
            value,
            known,
            source,
            hour,
        }
    })
}

impl Case {
    /// Puts the question.
    fn ask<T>(&self, answer: impl FnOnce(&Question<'_>) -> T) -> T {
        let (me, other) = (
            IdentityId::from_bytes([1; 16]),
            IdentityId::from_bytes([2; 16]),
        );
        let role = self.role.map(|role| Role::ALL[role]);
        let labels = self.label.map(|label| pairs(&[("team", label)]));
        let principal = Principal {
            workspace: WorkspaceId::from_bytes([1; 16]),
            workspace_name: WorkspaceName::parse("default", "workspace").unwrap(),
            identity: me,
            name: named("a"),
            kind: IdentityType::Agent,
            proof: ProofId::Key(KeyId::from_bytes([2; 16])),
            root: ProofId::Key(KeyId::from_bytes([2; 16])),
            value_until: None,
            proof_name: String::new(),
            role,
            roles: Roles::of(
                role.unwrap_or(Role::Owner),
                self.key_role.map(|role| Role::ALL[role]),
            ),
            scopes: role.unwrap_or(Role::Viewer).scopes(),
            labels: std::sync::Arc::new(labels.unwrap_or_default()),
            organisation: self.own,
            rate_limit: RateLimit::Unlimited,
        };
        let metadata = self
            .tag
            .map(|tag| pairs(&[("team", tag)]))
            .unwrap_or_default();
        let holder = Holder {
            identity: if self.own { me } else { other },
            kind: IdentityType::Agent,
            name: named(if self.own { "a" } else { "b" }),
            session: self.session.map(str::to_owned),
        };
        let credential = || CredentialName::parse("a", "name").unwrap();
        let resource = match self.resource {
            0 => Resource::Vault,
            1 => Resource::Workspace,
            2 | 3 => Resource::Credential(credential()),
            4 => Resource::Lease {
                id: LeaseId::from_bytes([9; 16]),
                credential: credential(),
                holder: holder.identity,
                requested_by: me,
            },
            5 => Resource::Identity {
                kind: IdentityType::Agent,
                name: holder.name.clone(),
            },
            _ => Resource::Key {
                id: KeyId::from_bytes([3; 16]),
                identity: holder.identity,
            },
        };
        let value = SecretText::new("sk_live_0123456789abcdef01234567".to_owned());
        let value = ValueFacts::of(&value, CredentialType::ApiKey, &metadata);
        let facts = Given {
            credential: self.known.then_some(CredentialFacts {
                kind: CredentialType::ApiKey,
                metadata: &metadata,
            }),
            lease: self.lease.then_some(LeaseFacts {
                holder: &holder,
                requested_by: (principal.kind, &principal.name),
                delivery: if self.own {
                    Delivery::Broker
                } else {
                    Delivery::Reveal
                },
                purpose: self.purpose,
            }),
            terms: self.terms.map(|ttl| TermsFacts {
                ttl: Span::from_millis(ttl * 1000 + ttl % 2),
                lifetime: Span::from_secs(ttl + 1),
                reveal: self.own,
            }),
            value: self.value.then_some(&value),
            allowed: None,
        };
        answer(&Question {
            principal: &principal,
            action: ACTIONS[self.action],
            resource,
            now: Timestamp::from_millis(1_767_787_200_000 + self.hour * 3_600_000),
            source_ip: self.source.then(|| "10.1.2.3".parse().unwrap()),
            facts,
        })
    }
}

/// Conditions of every operator, some of which err, and some of which mean nothing.
fn any_condition() -> impl Strategy<Value = String> {
    let atom = prop::sample::select(vec![
        "true",
        "false",
        "1 == 1",
        "context.hour + 9223372036854775807 > 0",
        "context.hour < 3",
        "context.hour >= 3",
        "5 > context.weekday",
        "context.weekday != 3",
        "context has purpose",
        "context.purpose == \"a\"",
        "context.purpose like \"OPS-*\"",
        "context.purpose like \"a\\*b\"",
        "context has session && context.session like \"*a*\"",
        "context has holder && context.holder.name == \"a\"",
        "context.holder[\"type\"] == \"agent\"",
        "context.holder.name == principal.name",
        "context.holder has name",
        "[\"a\", \"b\"].contains(context.holder.name)",
        "[\"a\", context.delivery].contains(\"a\")",
        "[].contains(context.delivery)",
        "context.delivery == \"broker\"",
        "context has ttl_seconds && context.ttl_seconds <= 2",
        "context.ttl_seconds > 1",
        "context.lifetime_seconds == 3",
        "context.reveal",
        "context has value && context.value.length > 5",
        "context.value.prefix like \"sk*\"",
        "context has source_ip && context.source_ip.isInRange(ip(\"10.0.0.0/8\"))",
        "context.source_ip.isLoopback()",
        "context.scopes.contains(\"lease:create\")",
        "context.scopes.containsAny([\"lease:create\"])",
        "context.scope == \"lease:create\"",
        "context.organisation",
        "context.missing",
        "context has missing",
        "context == {}",
        "principal.hasTag(\"team\") && principal.getTag(\"team\") == \"a\"",
        "principal.getTag(\"team\") == \"b\"",
        "principal.hasTag(\"team\")",
        "resource.hasTag(\"team\")",
        "resource.getTag(\"team\") == principal.getTag(\"team\")",
        "resource.getTag(\"team\") like \"*\"",
        "resource.hasTag(principal.name)",
        "principal == Identity::\"agent/a\"",
        "principal == resource",
        "principal in Identity::\"agent/a\"",
        "principal in Role::\"agent\"",
        "principal in [Role::\"agent\", Role::\"owner\"]",
        "principal in Workspace::\"default\"",
        "principal is Identity",
        "principal has role",
        "principal has role && principal.role == Role::\"owner\"",
        "principal.role == Role::\"agent\"",
        "principal[\"type\"] == \"agent\"",
        "principal.name like \"a\"",
        "resource.name == \"a\"",
        "resource[\"type\"] == \"api-key\"",
        "resource is Lease",
        "resource is Lease && resource.holder == principal",
        "resource is Lease && resource.requested_by.name == \"a\"",
        "resource is Credential in Workspace::\"default\"",
        "resource == Credential::\"a\"",
        "resource.own",
        "action == Action::\"lease:create\"",
        "1 == \"a\"",
        "\"a\" < 1",
        "if context.organisation then 1 else true",
    ]);
    let leaf = atom.prop_map(str::to_owned);
    leaf.prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|one| format!("!({one})")),
            (inner.clone(), inner.clone()).prop_map(|(l, r)| format!("(({l}) && ({r}))")),
            (inner.clone(), inner.clone()).prop_map(|(l, r)| format!("(({l}) || ({r}))")),
            (inner.clone(), inner.clone()).prop_map(|(l, r)| format!("(({l}) == ({r}))")),
            (inner.clone(), inner.clone(), inner)
                .prop_map(|(i, t, e)| format!("(if ({i}) then ({t}) else ({e}))")),
        ]
    })
}

fn any_policy() -> impl Strategy<Value = String> {
    let clause = (any::<bool>(), any_condition()).prop_map(|(when, condition)| {
        let word = if when { "when" } else { "unless" };
        format!("{word} {{ {condition} }}")
    });
    let scope = prop::sample::select(vec![
        "principal, action, resource",
        "principal, action, resource is Credential",
        "principal == Identity::\"agent/b\", action, resource",
        "principal in Role::\"agent\", action == Action::\"lease:create\", resource",
    ]);
    let effect = prop::sample::select(vec!["forbid", "permit"]);
    let clauses = prop::collection::vec(clause, 0..4);
    (effect, scope, clauses)
        .prop_map(|(effect, scope, clauses)| format!("{effect} ({scope}) {};", clauses.join(" ")))
}

fn part(policies: &[String]) -> Part {
    let mut part = Part::default();
    for (number, text) in policies.iter().enumerate() {
        let id = cedar_policy::PolicyId::new(format!("p{number:02}"));
        let policy =
            Policy::parse(Some(id), text).unwrap_or_else(|fault| panic!("{text}: {fault}"));
        part.add(&Single::of(&policy).unwrap().into()).unwrap();
    }
    part
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    // INVARIANT (glance)
    #[test]
    fn what_is_left_says_what_all_would_say(
        policies in prop::collection::vec(any_policy(), 1..6),
        case in any_case(),
    ) {
        let part = part(&policies);
        case.ask(|question| {
            let whole: [(&CedarSet, Needs); 1] = [part.whole()];
            let all = Said::evaluate(question, &whole).unwrap();
            let everything = Said::evaluate(question, &[(whole[0].0, Needs::everything())]).unwrap();
            let mut left = Vec::new();
            part.left(question, &mut left);
            let left = Said::evaluate(question, &left).unwrap();
            prop_assert_eq!(&left, &all, "{:?}", policies);
            prop_assert_eq!(&all, &everything, "{:?}", policies);
            Ok(())
        })?;
    }
}

#[test]
fn plain_comparisons_are_told_at_a_glance() {
    let case = Case {
        action: 0,
        resource: 2,
        role: Some(0),
        key_role: Some(5),
        label: Some("a"),
        tag: Some("b"),
        purpose: Some("OPS-12"),
        session: None,
        own: true,
        lease: true,
        terms: Some(2),
        value: false,
        known: true,
        source: false,
        hour: 1,
    };
    for condition in [
        r#"resource.hasTag("team") && resource.getTag("team") == "c" && context.ttl_seconds > 3600"#,
        r#"resource.hasTag("environment")"#,
        r#"principal.hasTag("team") && principal.getTag("team") == resource.getTag("team")"#,
        r#"context has purpose && !(context.purpose like "OPS-*")"#,
        r#"context.holder["type"] == "human" || ["b"].contains(context.holder.name)"#,
        r#"context.hour < 8 || context.hour >= 18"#,
        r#"context.delivery == "reveal""#,
        r#"!context.scopes.contains("lease:create")"#,
        r#"principal in Role::"viewer""#,
        r#"context has source_ip && context.source_ip.isLoopback()"#,
    ] {
        let part = part(&[format!(
            "forbid (principal, action, resource) when {{ {condition} }};"
        )]);
        let ruled_out = case.ask(|question| {
            let mut left = Vec::new();
            part.left(question, &mut left);
            left.is_empty()
        });
        assert!(ruled_out, "{condition}");
    }
}

#[test]
fn pieces_match_as_wildcards_do() {
    let pieces = |pattern: &str| pattern.split('*').map(str::to_owned).collect::<Vec<_>>();
    for (text, pattern, expected) in [
        ("", "", true),
        ("a", "", false),
        ("", "*", true),
        ("abc", "a*", true),
        ("abc", "*c", true),
        ("abc", "*b*", true),
        ("a", "a*a", false),
        ("aa", "a*a", true),
        ("abab", "*ab", true),
        ("abxab", "ab*ab*ab", false),
        ("äöü", "ä*ü", true),
        ("abc", "**c", true),
    ] {
        assert_eq!(
            matches(text, &pieces(pattern)),
            expected,
            "{text} {pattern}"
        );
    }
}
