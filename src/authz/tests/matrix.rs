//! Who may do what to what, in full: `tests/vectors/matrix.txt`, recomputed. After a deliberate change, write it anew
//! with `LEASEHOLD_WRITE_MATRIX=1 cargo test matrix`, and read the difference.

use super::*;

const MATRIX: &str = include_str!("../../../tests/vectors/matrix.txt");

const HEADER: &str = "\
# Who may do what: each action on each kind of resource, and the callers that are allowed. `owner@one` is an owner whose
# key reaches one workspace only; `scope` one whose key has the action's own scope alone. A lease is the caller's `own`,
# one that it `requested` for another, or another's; a key or token proves the caller's own identity, or another.
# Recomputed by a test; after a deliberate change: LEASEHOLD_WRITE_MATRIX=1 cargo test matrix
";

fn callers(action: Action) -> Vec<(&'static str, Principal)> {
    let of = |role: Role| Principal {
        organisation: role.is_organisational(),
        ..of_role(1, role)
    };
    let mut callers: Vec<_> = Role::ALL
        .into_iter()
        .map(|role| (role.as_str(), of(role)))
        .collect();
    callers.push(("owner@one", of_role(1, Role::Owner)));
    callers.push(("scope", principal(1, None, ScopeSet::of(&[action.scope()]))));
    callers.push(("nobody", principal(1, None, ScopeSet::EMPTY)));
    callers
}

fn resources(action: Action) -> Vec<(&'static str, Resource)> {
    let key = |identity| Resource::Key {
        id: KeyId::from_bytes([3; 16]),
        identity: IdentityId::from_bytes([identity; 16]),
    };
    let token = |identity| Resource::Token {
        id: TokenId::from_bytes([3; 16]),
        identity: IdentityId::from_bytes([identity; 16]),
    };
    let identity = Resource::Identity {
        kind: IdentityType::Agent,
        name: IdentityName::parse("another", "name").unwrap(),
    };
    let credential = Resource::Credential(CredentialName::parse("c", "name").unwrap());
    let all = [
        ("vault", Resource::Vault),
        ("workspace", Resource::Workspace),
        ("credential", credential),
        ("lease/own", lease(1, 1)),
        ("lease/requested", lease(2, 1)),
        ("lease/other", lease(2, 2)),
        ("identity", identity),
        ("key/own", key(1)),
        ("key/other", key(2)),
        ("token/own", token(1)),
        ("token/other", token(2)),
    ];
    let concerned = |(_, resource): &(_, Resource)| concerns(action, resource.kind());
    all.into_iter().filter(concerned).collect()
}

#[test]
fn the_matrix_is_as_written() {
    let mut text = HEADER.to_owned();
    for action in Action::ALL.iter().copied() {
        text.push('\n');
        for (at, resource) in resources(action) {
            let allowed: Vec<_> = callers(action)
                .into_iter()
                .filter(|(_, caller)| decide(caller, action, resource.clone()).is_ok())
                .map(|(name, _)| name)
                .collect();
            let line = format!("{} on {at} = {}", action.as_str(), allowed.join(" "));
            text.push_str(line.trim_end());
            text.push('\n');
        }
    }
    if std::env::var_os("LEASEHOLD_WRITE_MATRIX").is_some() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/matrix.txt");
        std::fs::write(file, &text).unwrap();
        return;
    }
    for (computed, written) in text.lines().zip(MATRIX.lines()) {
        assert_eq!(computed, written);
    }
    assert_eq!(text, MATRIX);
}
