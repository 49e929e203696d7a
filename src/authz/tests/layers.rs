//! Policies of the organisation and of workspaces: they take away, in their place and nowhere else.

use super::*;
use crate::domain::{
    kind::CredentialType, lease::Holder, name::Metadata, policy::Delivery, secret::SecretText,
    time::Span,
};

fn set(layer: Layer, text: &str) -> PolicySet {
    let source = Source {
        name: "own.cedar".to_owned(),
        text: text.to_owned(),
    };
    PolicySet::parse(layer, &[source]).unwrap_or_else(|faults| panic!("{faults:?}"))
}

fn workspace(n: u8) -> WorkspaceId {
    WorkspaceId::from_bytes([n; 16])
}

fn credential(name: &str) -> Resource {
    Resource::Credential(CredentialName::parse(name, "name").unwrap())
}

fn agent() -> Principal {
    of_role(1, Role::Agent)
}

/// The facts of a grant to the caller, and what to ask with them.
struct Asked {
    principal: Principal,
    holder: Holder,
    metadata: Metadata,
    ttl: Span,
    delivery: Delivery,
    purpose: Option<&'static str>,
    source_ip: Option<std::net::IpAddr>,
    now: Timestamp,
}

impl Asked {
    fn of(principal: Principal) -> Self {
        let holder = Holder {
            identity: principal.identity,
            kind: principal.kind,
            name: principal.name.clone(),
            session: None,
        };
        Self {
            principal,
            holder,
            metadata: Metadata::default(),
            ttl: Span::from_secs(600),
            delivery: Delivery::Reveal,
            purpose: None,
            source_ip: None,
            now: MONDAY,
        }
    }

    fn tagged(mut self, key: &str, value: &str) -> Self {
        self.metadata = Metadata::new([(key.to_owned(), value.to_owned())].into()).unwrap();
        self
    }

    fn grant(&self, rules: &Snapshot, name: &str) -> Result<Permit, Box<Denial>> {
        self.decide(rules, Action::LeaseCreate, credential(name))
    }

    fn decide(
        &self,
        rules: &Snapshot,
        action: Action,
        resource: Resource,
    ) -> Result<Permit, Box<Denial>> {
        let facts = Facts {
            credential: Some(CredentialFacts {
                kind: CredentialType::ApiKey,
                metadata: &self.metadata,
            }),
            lease: Some(LeaseFacts {
                holder: &self.holder,
                requested_by: (self.principal.kind, &self.principal.name),
                delivery: self.delivery,
                purpose: self.purpose,
            }),
            terms: Some(TermsFacts {
                ttl: self.ttl,
                lifetime: self.ttl,
                reveal: false,
            }),
            ..Facts::default()
        };
        let question = Question {
            now: self.now,
            source_ip: self.source_ip,
            facts,
            ..ask(&self.principal, action, resource)
        };
        super::super::decide(rules, question)
    }
}

fn organisation(text: &str) -> Snapshot {
    Snapshot::default().with_organisation(set(Layer::Organisation, text))
}

fn by(decided: &Result<Permit, Box<Denial>>) -> String {
    decided
        .as_ref()
        .unwrap_err()
        .decided_by()
        .unwrap_or_default()
}

#[test]
fn a_forbid_takes_away_and_says_so() {
    let rules = organisation(
        r#"@id("short") @message("ask for an hour at most")
        forbid (principal, action == Action::"lease:create", resource) when { context.ttl_seconds > 3600 };"#,
    );
    let mut asked = Asked::of(agent());
    asked.ttl = Span::from_secs(3600);
    assert_eq!(asked.grant(&rules, "c").unwrap().decided_by(), "role:agent");
    asked.ttl = Span::from_millis(3_600_001);
    let denied = asked.grant(&rules, "c");
    assert_eq!(by(&denied), "organisation:short");
    let error = denied.unwrap_err().error();
    assert_eq!(error.code(), Code::PolicyDenied);
    assert_eq!(error.message(), "ask for an hour at most");
    let details = [(
        "policy",
        crate::domain::error::Detail::from("organisation:short"),
    )];
    assert_eq!(error.details(), details);
}

#[test]
fn a_missing_scope_is_told_before_any_policy() {
    let rules = organisation(r#"forbid (principal, action, resource);"#);
    let asked = Asked::of(principal(1, None, ScopeSet::EMPTY));
    let denied = asked.grant(&rules, "c").unwrap_err();
    assert_eq!(missing(&denied), Some(Scope::LeaseCreate));
}

#[test]
fn a_permit_gives_nothing_that_the_guards_forbid() {
    let all = r#"@id("all") permit (principal, action, resource);"#;
    let rules = organisation(all).with_workspace(workspace(1), set(Layer::Workspace, all));
    for action in Action::ALL.iter().copied() {
        for resource in [
            Resource::Vault,
            Resource::Workspace,
            credential("c"),
            lease(2, 2),
        ] {
            for caller in [
                principal(1, None, ScopeSet::EMPTY),
                of_role(1, Role::Viewer),
                agent(),
                of_role(1, Role::WorkspaceAdmin),
            ] {
                let alone = decide(&caller, action, resource.clone()).is_ok();
                let asked = Asked::of(caller);
                let decided = asked.decide(&rules, action, resource.clone()).is_ok();
                assert_eq!(decided, alone, "{action:?} on {resource:?}");
            }
        }
    }
}

#[test]
fn a_policy_that_errs_denies() {
    // The sum overflows: the validator cannot know.
    let rules = organisation(
        r#"@id("broken") forbid (principal, action == Action::"lease:create", resource)
        when { context.ttl_seconds + 9223372036854775807 > 0 };"#,
    );
    let denied = Asked::of(agent()).grant(&rules, "c");
    assert_eq!(by(&denied), "organisation:broken");
    let denial = denied.unwrap_err();
    assert_eq!(denial.refusal, Refusal::Failed);
    assert_eq!(denial.error().code(), Code::PolicyDenied);
    // So does one that would permit, for what else it would have said is not known.
    let rules = organisation(
        r#"permit (principal, action == Action::"lease:create", resource)
        when { context.ttl_seconds + 9223372036854775807 > 0 };"#,
    );
    assert_eq!(
        by(&Asked::of(agent()).grant(&rules, "c")),
        "organisation:own.0"
    );
}

#[test]
fn a_workspaces_policies_hold_there_only() {
    let none = r#"@id("none") forbid (principal, action, resource);"#;
    let rules = Snapshot::default().with_workspace(workspace(2), set(Layer::Workspace, none));
    assert!(Asked::of(agent()).grant(&rules, "c").is_ok());
    let elsewhere = Principal {
        workspace: workspace(2),
        ..agent()
    };
    assert_eq!(
        by(&Asked::of(elsewhere).grant(&rules, "c")),
        "workspace:none"
    );
}

#[test]
fn a_slice_finds_each_policy_by_what_its_scope_names() {
    let mut asked = Asked::of(agent()).tagged("environment", "production");
    asked.source_ip = Some("::ffff:10.1.2.3".parse().unwrap());
    for scope in [
        r#"principal, action, resource"#,
        r#"principal == Identity::"agent/somebody", action, resource"#,
        r#"principal in Role::"agent", action, resource"#,
        r#"principal is Identity in Role::"agent", action, resource"#,
        r#"principal, action == Action::"lease:create", resource"#,
        r#"principal, action in Action::"lease:*", resource"#,
        r#"principal, action in [Action::"lease:renew", Action::"lease:create"], resource"#,
        r#"principal, action, resource == Credential::"c""#,
        r#"principal, action, resource in Credential::"c""#,
        r#"principal, action, resource is Credential"#,
        r#"principal, action, resource in Workspace::"default""#,
        r#"principal, action, resource is Credential in Workspace::"default""#,
        r#"principal in Role::"agent", action, resource in Credential::"c""#,
    ] {
        let rules = organisation(&format!("forbid ({scope});"));
        let denied = asked.grant(&rules, "c");
        assert!(denied.is_err(), "{scope}");
        assert_eq!(by(&denied), "organisation:own.0", "{scope}");
    }
    for scope in [
        r#"principal == Identity::"human/somebody", action, resource"#,
        r#"principal == Identity::"agent/somebody.else", action, resource"#,
        r#"principal in Role::"owner", action, resource"#,
        r#"principal, action == Action::"lease:renew", resource"#,
        r#"principal, action in Action::"credential:*", resource"#,
        r#"principal, action, resource == Credential::"d""#,
        r#"principal, action, resource in Workspace::"other""#,
        r#"principal, action, resource is Lease"#,
    ] {
        let rules = organisation(&format!("forbid ({scope});"));
        assert!(asked.grant(&rules, "c").is_ok(), "{scope}");
    }
    for condition in [
        r#"resource.hasTag("environment") && resource.getTag("environment") == "production""#,
        r#"context.source_ip.isInRange(ip("10.0.0.0/8"))"#,
        r#"context.hour == 10 && context.weekday == 1"#,
        r#"context.holder.name == "somebody" && context.delivery == "reveal" && !(context has purpose)"#,
    ] {
        let guard = if condition.contains("source_ip") {
            "context has source_ip && "
        } else {
            ""
        };
        let text = format!(
            r#"forbid (principal, action == Action::"lease:create", resource) when {{ {guard}{condition} }};"#
        );
        assert_eq!(
            by(&asked.grant(&organisation(&text), "c")),
            "organisation:own.0",
            "{condition}"
        );
    }
}

#[test]
fn a_rule_about_a_credential_holds_for_its_leases() {
    let rules = organisation(
        r#"forbid (principal, action in [Action::"handle:redeem", Action::"lease:read"], resource in Credential::"c")
        when { resource is Lease && resource.holder == principal && resource.hasTag("environment") };"#,
    );
    let asked = Asked::of(agent()).tagged("environment", "production");
    assert!(
        asked
            .decide(&rules, Action::HandleRedeem, lease(1, 1))
            .is_err()
    );
    let plain = Asked::of(agent());
    assert!(
        plain
            .decide(&rules, Action::HandleRedeem, lease(1, 1))
            .is_ok()
    );
}

#[test]
fn a_name_given_anew_owns_nothing_of_who_had_it() {
    // The lease's holder had the caller's name, and another id.
    let rules =
        organisation(r#"forbid (principal, action, resource) when { resource == resource };"#);
    let asked = Asked::of(agent());
    let denied = asked
        .decide(&rules, Action::HandleRedeem, lease(2, 2))
        .unwrap_err();
    assert_eq!(missing(&denied), Some(Scope::LeaseDelegate));
    let rules = organisation(
        r#"forbid (principal, action == Action::"lease:revoke", resource) unless { resource.holder == principal };"#,
    );
    let asked = Asked::of(of_role(1, Role::Operator));
    assert!(
        asked
            .decide(&rules, Action::LeaseRevoke, lease(2, 2))
            .is_err()
    );
    assert!(
        asked
            .decide(&rules, Action::LeaseRevoke, lease(1, 1))
            .is_ok()
    );
}

#[test]
fn a_value_is_judged_by_what_may_be_known_of_it() {
    let rules = organisation(
        r#"@id("stripe") @validation("a Stripe key begins with sk_live_ and has 32 characters")
        forbid (principal, action in [Action::"credential:create", Action::"credential:rotate"], resource)
        when { context.value.hasTag("service") && context.value.getTag("service") == "stripe" }
        unless { context.value.prefix like "sk_live_*" && context.value.length >= 32 };"#,
    );
    let keeper = of_role(1, Role::Operator);
    let metadata = Metadata::new([("service".to_owned(), "stripe".to_owned())].into()).unwrap();
    let store = |rules: &Snapshot, value: &str| {
        let value = SecretText::new(value.to_owned());
        let value = ValueFacts::of(&value, CredentialType::ApiKey, &metadata);
        let facts = Facts {
            value: Some(&value),
            ..Facts::default()
        };
        let question = ask(&keeper, Action::CredentialCreate, credential("c"));
        super::super::decide(rules, Question { facts, ..question })
    };
    assert!(store(&rules, "sk_live_0123456789abcdef01234567").is_ok());
    let denial = store(&rules, "sk_test_0123456789abcdef01234567").unwrap_err();
    let error = denial.error();
    assert_eq!(error.code(), Code::ValidationFailed);
    assert_eq!(
        error.message(),
        "a Stripe key begins with sk_live_ and has 32 characters"
    );
    // A policy without the annotation forbids, whatever the others validate.
    let rules = rules.with_workspace(
        workspace(1),
        set(
            Layer::Workspace,
            r#"@id("none") forbid (principal, action == Action::"credential:create", resource);"#,
        ),
    );
    let denial = store(&rules, "sk_test_").unwrap_err();
    assert_eq!(denial.error().code(), Code::PolicyDenied);
    assert_eq!(
        denial.decided_by().unwrap(),
        "organisation:stripe, workspace:none"
    );
}

#[test]
fn a_swap_holds_from_its_return_and_moves_the_generation() {
    let policies = Policies::default();
    let before = policies.snapshot();
    let asked = Asked::of(agent());
    let none = r#"@id("none") forbid (principal, action == Action::"lease:create", resource);"#;
    assert_eq!(policies.set_organisation(set(Layer::Organisation, none)), 1);
    assert!(asked.grant(&policies.snapshot(), "c").is_err());
    assert!(asked.grant(&before, "c").is_ok(), "a snapshot changed");
    assert!(
        policies
            .snapshot()
            .concern(workspace(1), Action::LeaseCreate)
    );
    assert!(
        !policies
            .snapshot()
            .concern(workspace(1), Action::LeaseRenew)
    );
    assert_eq!(policies.set_organisation(PolicySet::default()), 2);
    assert_eq!(
        policies.set_workspace(workspace(1), set(Layer::Workspace, none)),
        3
    );
    assert!(asked.grant(&policies.snapshot(), "c").is_err());
    assert_eq!(policies.remove_workspace(workspace(1)), 4);
    assert!(asked.grant(&policies.snapshot(), "c").is_ok());
    assert_eq!(policies.set_files(set(Layer::File, none)), 5);
    assert_eq!(by(&asked.grant(&policies.snapshot(), "c")), "file:none");
}

#[test]
fn allowed_identities_forbid_every_other_holder() {
    let allowed = |patterns: &[&str]| {
        let patterns: Vec<_> = patterns.iter().map(ToString::to_string).collect();
        Allowed::compile(&patterns).unwrap()
    };
    let asked = Asked::of(agent());
    let grant = |allowed: &Allowed, action| {
        let facts = Facts {
            lease: Some(LeaseFacts {
                holder: &asked.holder,
                requested_by: (asked.principal.kind, &asked.principal.name),
                delivery: Delivery::Reveal,
                purpose: None,
            }),
            allowed: Some(allowed),
            ..Facts::default()
        };
        let resource = if action == Action::LeaseCreate {
            credential("c")
        } else {
            lease(1, 1)
        };
        let question = ask(&asked.principal, action, resource);
        super::super::decide(&Snapshot::default(), Question { facts, ..question })
    };
    for patterns in [
        &["somebody"][..],
        &["x", "some*"],
        &["*"],
        &["agent/somebody"],
        &["agent/*dy"],
    ] {
        assert!(
            grant(&allowed(patterns), Action::LeaseCreate).is_ok(),
            "{patterns:?}"
        );
    }
    let many: Vec<_> = (0..63)
        .map(|n| format!("other-{n}"))
        .chain(["some*".to_owned()])
        .collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    assert!(grant(&allowed(&many), Action::LeaseCreate).is_ok());
    for patterns in [
        &["somebod"][..],
        &["omebody"],
        &["human/somebody"],
        &["service/*", "x*"],
    ] {
        let allowed = allowed(patterns);
        for action in [
            Action::LeaseCreate,
            Action::LeaseRenew,
            Action::HandleRedeem,
        ] {
            let denied = grant(&allowed, action);
            assert_eq!(by(&denied), "credential:allowed_identities", "{patterns:?}");
            assert_eq!(denied.unwrap_err().error().code(), Code::PolicyDenied);
        }
        // What stops a lease is not held up.
        assert!(grant(&allowed, Action::LeaseRelease).is_ok());
    }
}

#[test]
fn the_examples_of_hours_and_sources_say_what_they_mean() {
    let hours = organisation(include_str!(
        "../../../policies/examples/office-hours.cedar"
    ));
    for (now, open) in [
        ("2026-06-15T08:00:00Z", true),
        ("2026-06-15T07:59:59Z", false),
        ("2026-06-19T17:59:59Z", true),
        ("2026-06-19T18:00:00Z", false),
        ("2026-06-20T12:00:00Z", false),
        ("2026-06-21T12:00:00Z", false),
    ] {
        let mut asked = Asked::of(agent()).tagged("environment", "production");
        asked.now = now.parse().unwrap();
        assert_eq!(asked.grant(&hours, "c").is_ok(), open, "{now}");
        asked.metadata = Metadata::default();
        assert!(asked.grant(&hours, "c").is_ok());
    }
    let sources = organisation(include_str!(
        "../../../policies/examples/source-ranges.cedar"
    ));
    for (source, inside) in [
        (Some("10.1.2.3"), true),
        (Some("::ffff:10.1.2.3"), true),
        (Some("127.0.0.1"), true),
        (Some("fd12::1"), true),
        (Some("11.0.0.1"), false),
        (Some("2001:db8::1"), false),
        (None, false),
    ] {
        let mut asked = Asked::of(agent());
        asked.source_ip = source.map(|source| source.parse().unwrap());
        assert_eq!(asked.grant(&sources, "c").is_ok(), inside, "{source:?}");
    }
}

#[test]
fn every_example_is_valid_and_says_something() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/policies/examples");
    let mut examples = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        // The folder of test cases is no policy.
        if path.is_dir() {
            continue;
        }
        let text = std::fs::read_to_string(path).unwrap();
        let set = set(Layer::Workspace, &text);
        assert!(!set.is_empty() && set.warnings().is_empty(), "{text}");
        examples += 1;
    }
    assert_eq!(examples, 8);
}

#[test]
fn a_policy_at_its_bounds_is_decided_on_a_workers_stack() {
    let decide = |ors: usize| {
        let long = "context.hour > 24 || ".repeat(ors) + "context.hour == 10";
        let deep = format!("{}{long}{}", "(".repeat(60), ")".repeat(60));
        let rules = organisation(&format!(
            r#"forbid (principal, action == Action::"lease:create", resource) when {{ {deep} }};"#
        ));
        Asked::of(agent()).grant(&rules, "c").unwrap_err().refusal
    };
    assert_eq!(decide(24), Refusal::Forbidden { message: None });
    // Where the stack is too short for one, Cedar says so, and the answer is no.
    let refusal = decide(160);
    assert!(matches!(
        refusal,
        Refusal::Forbidden { .. } | Refusal::Failed
    ));
}
