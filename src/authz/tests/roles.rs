//! Rules about a role bind whoever has it, however little of it its key or token holds.

use super::*;

const RULES: [&str; 3] = [
    r#"forbid (principal in Role::"operator", action == Action::"credential:read", resource);"#,
    r#"forbid (principal, action == Action::"credential:read", resource) when { principal in Role::"operator" };"#,
    r#"forbid (principal, action == Action::"credential:read", resource)
    when { principal has role && principal.role == Role::"operator" };"#,
];

fn reads(rule: &str, roles: Roles) -> bool {
    let source = Source {
        name: "own.cedar".to_owned(),
        text: rule.to_owned(),
    };
    let set = PolicySet::parse(Layer::Organisation, &[source]).unwrap();
    let rules = Snapshot::default().with_organisation(set);
    let caller = Principal {
        roles,
        ..principal(1, None, ScopeSet::of(&[Scope::CredentialRead]))
    };
    let credential = Resource::Credential(CredentialName::parse("c", "name").unwrap());
    super::super::decide(&rules, ask(&caller, Action::CredentialRead, credential)).is_ok()
}

#[test]
fn nobody_gets_from_under_a_rule_about_its_role_by_narrowing_its_proof() {
    for rule in RULES {
        assert!(!reads(rule, Roles::of(Role::Operator, None)), "{rule}");
        assert!(reads(rule, Roles::of(Role::Viewer, None)), "{rule}");
        // Its key's, which it had when its identity was more than it is now.
        let outgrown = Roles::of(Role::Viewer, Some(Role::Operator));
        assert!(reads(rule, outgrown), "{rule}");
    }
    let by_key = Roles::of(Role::Owner, Some(Role::Operator));
    let [head, condition, attribute] = RULES.map(|rule| reads(rule, by_key));
    assert!(!head && !condition);
    assert!(attribute, "`role` is the identity's");
}
