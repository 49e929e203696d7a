use serde_json::{Value, json};

use super::*;

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(1_760_000_000_000 + seconds * 1000)
}

fn rules() -> IssuerRules {
    IssuerRules {
        kind: IssuerKind::Oidc(Oidc {
            iss: "https://ci.example.com".to_owned(),
            keys: IssuerKeys::Url("https://ci.example.com/jwks".to_owned()),
            audiences: vec!["vault".to_owned(), "other".to_owned()],
            algorithms: SignatureAlgorithm::DEFAULT.to_vec(),
            require_jti: false,
            leeway: DEFAULT_LEEWAY,
        }),
        conditions: [("repository".to_owned(), vec!["acme/*".to_owned()])].into(),
        identity: Mapping {
            name: "ci-{repository_id}".to_owned(),
            kind: IdentityType::Service,
            role: Role::Agent,
            scopes: None,
            auto_create: false,
        },
        token_ttl: DEFAULT_TOKEN_TTL,
    }
}

fn oidc(rules: &mut IssuerRules) -> &mut Oidc {
    match &mut rules.kind {
        IssuerKind::Oidc(oidc) => oidc,
        IssuerKind::Certificate => panic!("of another kind"),
    }
}

fn issuer(rules: IssuerRules) -> Issuer {
    Issuer {
        id: IssuerId::from_bytes([1; 16]),
        workspace: WorkspaceId::from_bytes([2; 16]),
        name: IssuerName::parse("ci", "name").unwrap(),
        rules,
        created_at: at(0),
        updated_at: at(0),
    }
}

/// Claims that are accepted, some of them replaced; null takes away.
fn claims(changes: Value) -> Claims {
    let mut claims = json!({
        "iss": "https://ci.example.com", "sub": "repo:acme/app", "aud": "vault", "exp": 1_760_000_300u64,
        "iat": 1_760_000_000u64, "repository": "acme/app", "repository_id": 42, "jti": "j-1",
    });
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
            value => claims[name] = value.clone(),
        }
    }
    claims.as_object().unwrap().clone()
}

#[test]
fn an_assertion_that_fits_becomes_an_identity() {
    let accepted = issuer(rules()).accept(&claims(json!({})), at(0)).unwrap();
    assert_eq!(accepted.name.as_str(), "ci-42");
    assert_eq!(accepted.subject.as_deref(), Some("repo:acme/app"));
    assert_eq!(accepted.once, None);
    let mut once = rules();
    oidc(&mut once).require_jti = true;
    let accepted = issuer(once).accept(&claims(json!({})), at(0)).unwrap();
    assert_eq!(accepted.once, Some(("j-1".to_owned(), at(330))));
}

#[test]
fn each_claim_that_does_not_fit_is_named() {
    let mut once = rules();
    oidc(&mut once).require_jti = true;
    let issuer = issuer(once);
    for (changes, code, claim) in [
        (
            json!({"iss": "https://ci.example.com/"}),
            Code::ClaimMismatch,
            "iss",
        ),
        (json!({"iss": null}), Code::ClaimMismatch, "iss"),
        (json!({"exp": null}), Code::ClaimMismatch, "exp"),
        (json!({"exp": "1760000300"}), Code::ClaimMismatch, "exp"),
        (json!({"exp": -5}), Code::ClaimMismatch, "exp"),
        (json!({"exp": 1e300}), Code::ClaimMismatch, "exp"),
        (json!({"exp": 1_759_999_970u64}), Code::AssertionExpired, ""),
        (json!({"nbf": 1_760_000_031u64}), Code::ClaimMismatch, "nbf"),
        (json!({"iat": 1_760_000_031u64}), Code::ClaimMismatch, "iat"),
        (json!({"aud": null}), Code::AudienceMismatch, ""),
        (json!({"aud": "Vault"}), Code::AudienceMismatch, ""),
        (json!({"aud": []}), Code::AudienceMismatch, ""),
        (json!({"aud": [["vault"]]}), Code::AudienceMismatch, ""),
        (
            json!({"repository": "acme-evil/app"}),
            Code::ClaimMismatch,
            "repository",
        ),
        (
            json!({"repository": null}),
            Code::ClaimMismatch,
            "repository",
        ),
        (
            json!({"repository": {"acme/": 1}}),
            Code::ClaimMismatch,
            "repository",
        ),
        (json!({"jti": null}), Code::ClaimMismatch, "jti"),
        (json!({"jti": ""}), Code::ClaimMismatch, "jti"),
        (json!({"jti": 7}), Code::ClaimMismatch, "jti"),
        (
            json!({"repository_id": null}),
            Code::ClaimMismatch,
            "repository_id",
        ),
        (
            json!({"repository_id": ""}),
            Code::ClaimMismatch,
            "repository_id",
        ),
        (
            json!({"repository_id": "A"}),
            Code::ClaimMismatch,
            "repository_id",
        ),
        (
            json!({"repository_id": "a/b"}),
            Code::ClaimMismatch,
            "repository_id",
        ),
        (
            json!({"repository_id": "ａ"}),
            Code::ClaimMismatch,
            "repository_id",
        ),
        (
            json!({"repository_id": ["42"]}),
            Code::ClaimMismatch,
            "repository_id",
        ),
    ] {
        let refused = issuer.accept(&claims(changes.clone()), at(0)).unwrap_err();
        assert_eq!(refused.code(), code, "{changes}");
        let told = refused.details().iter().any(|(name, told)| {
            *name == "claim" && *told == crate::domain::error::Detail::from(claim)
        });
        assert_eq!(told, code == Code::ClaimMismatch, "{changes}");
    }
    for fits in [
        json!({"aud": ["x", "other"]}),
        json!({"exp": 1_759_999_971u64}),
        json!({"exp": 1_760_000_300.5}),
        json!({"repository": ["x", "acme/app"]}),
        json!({"iat": null}),
    ] {
        issuer.accept(&claims(fits), at(0)).unwrap();
    }
}

#[test]
fn nested_claims_are_reached_by_pointer_alone() {
    let mut rules = rules();
    let name = "/kubernetes.io/serviceaccount/name";
    rules.conditions = [(name.to_owned(), vec!["builder".to_owned()])].into();
    rules.identity.name = format!("k8s-{{{name}}}");
    rules.check().unwrap();
    let nested = json!({"kubernetes.io": {"serviceaccount": {"name": "builder"}}});
    let accepted = issuer(rules.clone())
        .accept(&claims(nested), at(0))
        .unwrap();
    assert_eq!(accepted.name.as_str(), "k8s-builder");
    let flat = json!({"/kubernetes.io/serviceaccount/name": "builder"});
    assert!(issuer(rules).accept(&claims(flat), at(0)).is_err());
}

#[test]
fn rules_that_let_in_the_world_or_nobody_are_refused() {
    rules().check().unwrap();
    let bad = |change: fn(&mut IssuerRules), field: &str| {
        let mut rules = rules();
        change(&mut rules);
        let refused = rules.check().unwrap_err();
        assert_eq!(refused.code(), Code::InvalidParameter);
        assert!(
            refused.message().contains(field) || field == "conditions",
            "{refused}"
        );
    };
    bad(|rules| rules.conditions.clear(), "conditions");
    bad(
        |rules| drop(rules.conditions.insert("sub".into(), vec!["*".into()])),
        "conditions",
    );
    bad(
        |rules| drop(rules.conditions.insert("sub".into(), vec![])),
        "conditions",
    );
    bad(|rules| oidc(rules).audiences.clear(), "audiences");
    bad(|rules| oidc(rules).algorithms.clear(), "algorithms");
    bad(|rules| oidc(rules).iss.clear(), "iss");
    bad(|rules| oidc(rules).leeway = Span::from_secs(121), "leeway");
    bad(|rules| rules.token_ttl = Ttl::from_secs(3601), "token_ttl");
    bad(
        |rules| rules.identity.scopes = Some(ScopeSet::EMPTY),
        "identity.scopes",
    );
    for url in [
        "http://ci.example.com/jwks",
        "http://localhost.example.com/",
        "ftp://ci.example.com",
        "https://user@ci.example.com",
        "https://",
        "file:///etc/passwd",
        "jwks",
    ] {
        let mut rules = rules();
        oidc(&mut rules).keys = IssuerKeys::Url(url.to_owned());
        assert!(rules.check().is_err(), "{url}");
    }
    for name in [
        "{a}{b}", "{a}-{b}", "{", "}", "{}", "x{a", "A{a}", "", "-{a}", "a/{b}",
    ] {
        let mut rules = rules();
        rules.identity.name = name.to_owned();
        assert!(rules.check().is_err(), "{name}");
    }
}
