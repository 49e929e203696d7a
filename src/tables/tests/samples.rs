//! One sample of each stored record, in each of its states, under its name in `records.txt`.

use std::{collections::BTreeMap, num::NonZeroU32};

use super::frozen;
use crate::{
    audit::survey::{Progress, Survey, UnderWay},
    crypto::root::ArgonParams,
    domain::{
        configuration::Configuration,
        credential::{Author, Credential, Fingerprint, Version, VersionState},
        egress::Egress,
        event::{Actor, AnsweredRequest, AuditRecord, Change, EventName, Object, Origin, Outcome},
        id::{CredentialId, EventId, IdentityId, IssuerId, KeyId, LeaseId, TokenId, WorkspaceId},
        issuer::{Issuer, IssuerKeys, IssuerKind, IssuerRules, Mapping, Oidc, SignatureAlgorithm},
        kind::CredentialType,
        lease::{Ending, Holder, Lease, LeaseState, Requester},
        ledger::{CredentialState, Ledger, OpenVersion, Stage},
        name::{
            CredentialName, HoldName, IdentityName, IssuerName, Metadata, PolicyName, WorkspaceName,
        },
        policy::{Delivery, LeasePolicy, OnRotate},
        policy_set::{PolicySource, StoredPolicies},
        principal::{
            ApiKey, Identity, IdentityState, IdentityType, KeyState, PreviousValue, ProofId,
            RateLimit, Reach, Suspension, Unfinished,
        },
        retention::Hold,
        scope::{Role, Scope, ScopeSet},
        time::{Span, Timestamp, Ttl},
        token::{Parent, SigningKeys, Token, TokenState},
        usage::{LastUse, Use},
        workspace::{Everywhere, Settings, Stop, Workspace},
    },
    tables::{
        Suspect,
        vault::{Header, Unseal},
    },
};

/// Calls `frozen` for each sample, and `tested` with its name.
pub(super) fn each(tested: &mut impl FnMut(&'static str)) {
    macro_rules! frozen {
        ($($name:literal: $sample:expr,)*) => {
            $(frozen($name, &$sample, |read, sample| read == sample); tested($name);)*
        };
    }
    frozen! {
        "policy_empty": LeasePolicy::default(),
        "policy_full": policy(),
        "credential_full": credential(),
        "credential_small": small_credential(),
        "version_current": version(VersionState::Current),
        "version_rotated": version(VersionState::Rotated { at: at(10) }),
        "version_retired": version(VersionState::Retired { rotated_at: at(10), at: at(20) }),
        "version_revoked": version(VersionState::Revoked { rotated_at: None, at: at(30) }),
        "version_rotated_and_revoked":
            version(VersionState::Revoked { rotated_at: Some(at(10)), at: at(30) }),
        "ledger_new": Ledger::new(),
        "ledger_busy": ledger(),
        "ledger_revoked":
            Ledger { state: CredentialState::Revoked, newest: 4, versions: vec![], ..Ledger::new() },
        "lease_active": lease(LeaseState::Active),
        "lease_active_small": small_lease(LeaseState::Active),
        "lease_expired": small_lease(closed(900_001, Ending::Expired)),
        "lease_released": small_lease(closed(6, Ending::Released { by: author(2, "ci-bot") })),
        "lease_revoked": small_lease(closed(6, Ending::Revoked {
            by: Some(author(2, "ci-bot")),
            reason: text("leaked"),
        })),
        "lease_revoked_by_the_vault":
            small_lease(closed(6, Ending::Revoked { by: None, reason: None })),
        "workspace": workspace(),
        "workspace_full": Workspace {
            description: text("payments of all teams"),
            settings: Settings {
                default_lease_ttl: ttl(900_000),
                max_lease_ttl: ttl(3_600_000),
                max_api_keys: 20,
            },
            created_by: Some(author(3, "ada")),
            updated_at: at(7),
            stop: Some(Stop {
                until: at(7),
                spared: [ProofId::Key(KeyId::from_bytes([6; 16])); 2],
                unfinished: true,
                everywhere: Everywhere::Covered,
            }),
            ..workspace()
        },
        "identity_active": identity(2, "ci-bot", IdentityType::Agent, Role::Agent),
        "identity_suspended": suspended(None),
        "identity_being_suspended": suspended(Some(Unfinished::Sweep)),
        "identity_being_deleted": suspended(Some(Unfinished::Removal)),
        "header_key_file":
            Header { created_at: at(0), unseal: Unseal::KeyFile, check: vec![1, 2, 3] },
        "header_passphrase": Header {
            created_at: at(0),
            unseal: Unseal::Passphrase(argon()),
            check: vec![],
        },
        "clock": at(0),
        "token_active": token(),
        "token_revoked": Token {
            name: None,
            parent: Parent::Token(TokenId::from_bytes([6; 16])),
            generation: 1,
            reach: Reach::Organisation,
            state: TokenState::Revoked { at: at(5) },
            ..token()
        },
        "token_federated": Token {
            parent: Parent::Issuer(IssuerId::from_bytes([5; 16]), WorkspaceId::SYSTEM),
            ..token()
        },
        "issuer_full": issuer(),
        "issuer_certificate": certificate_issuer(),
        "issuer_small": small_issuer(IssuerKeys::Jwks("{}".to_owned())),
        "issuer_pem": small_issuer(IssuerKeys::Pem(vec!["a".to_owned(), "b".to_owned()])),
        "seen": at(7),
        "signing_keys_first": SigningKeys::first(at(0)),
        "signing_keys_rotated": {
            let mut keys = SigningKeys::first(at(0));
            keys.rotate(at(9)).unwrap();
            keys
        },
        "last_use_key": LastUse { proof: ProofId::Key(KeyId::from_bytes([6; 16])), at: at(4) },
        "last_use_token": LastUse { proof: ProofId::Token(TokenId::from_bytes([7; 16])), at: at(4) },
        "identity_use": at(4),
        "key_usage": vec![
            Use {
                at: at(0),
                method: "GET".into(),
                route: "/v1/leases/{id}".into(),
                status: 200,
                code: None,
                source_ip: None,
                user_agent: None,
                missing: ScopeSet::EMPTY,
            },
            Use {
                at: at(1),
                method: "POST".into(),
                route: "/v1/api-keys".into(),
                status: 403,
                code: Some("INSUFFICIENT_PERMISSIONS".into()),
                source_ip: Some("192.0.2.1".parse().unwrap()),
                user_agent: Some("curl/8".into()),
                missing: ScopeSet::of(&[Scope::KeyCreate]),
            },
        ],
        "hold": Hold {
            name: HoldName::parse("case-17", "name").unwrap(),
            reason: "subpoena".to_owned(),
            set_at: at(3),
            set_by: author(3, "ada"),
        },
        "suspect": Suspect {
            workspace: WorkspaceId::from_bytes([8; 16]),
            identity: IdentityId::from_bytes([2; 16]),
            home: WorkspaceId::from_bytes([6; 16]),
            since: at(3),
        },
        "survey": Survey { newest: at(8), records: [4000, 90, 5, 1], bytes: [800_000, 30_000, 1_000, 200] },
        "progress_new": Progress::default(),
        "progress": Progress {
            surveyed: 9,
            upto: [7, 2, 2, 3],
            bytes: [1, 2, 3, 4],
            removed: [5, 6, 7, 8],
            under_way: Some(UnderWay::Some(6)),
        },
        "progress_whole": Progress { under_way: Some(UnderWay::Whole(1)), ..Progress::default() },
        "policy_set": StoredPolicies {
            version: 3,
            sources: vec![
                source("10-prod.cedar", "forbid (principal, action, resource);"),
                source("empty.cedar", ""),
            ],
            applied_at: at(0),
            applied_by: author(5, "admin"),
            comment: text("as agreed"),
            digest: [0xd1; 32],
            restores: Some(1),
        },
        "policy_set_small": StoredPolicies {
            version: 1,
            sources: vec![],
            applied_at: at(0),
            applied_by: author(5, "admin"),
            comment: None,
            digest: [0xd1; 32],
            restores: None,
        },
        "audit_full": audit(),
        "audit_small": small_audit(EventName::LeaseExpired, "reaper"),
        "audit_ipv6": AuditRecord {
            outcome: Outcome::Refused { code: "UNAUTHORIZED".to_owned() },
            origin: Some(Origin {
                source_ip: Some("2001:db8::1".parse().unwrap()),
                ..Origin::default()
            }),
            ..small_audit(EventName::KeyRefused, "http")
        },
        "audit_batch": AuditRecord {
            requests: vec![
                AnsweredRequest {
                    time: at(1),
                    id: "req_1".to_owned(),
                    method: "GET".into(),
                    route: "/v1/credentials/{name}".to_owned(),
                    about: text("stripe-key"),
                    status: 200,
                },
                AnsweredRequest {
                    time: at(2),
                    id: "req_2".to_owned(),
                    method: "GET".into(),
                    route: "/v1/leases".to_owned(),
                    about: None,
                    status: 200,
                },
            ],
            ..small_audit(EventName::RequestRead, "")
        },
        "configuration": Configuration(pairs(&[("log.format", "json"), ("server.listen", "127.0.0.1:8200")])),
    }
    // An API key has no equality, since its digest is compared in constant time alone.
    let previous = |key: &ApiKey| key.previous.map(|old| (old.digest, old.until));
    let same = |read: &ApiKey, sample: &ApiKey| {
        read.digest == sample.digest
            && (read.id, read.home, read.identity) == (sample.id, sample.home, sample.identity)
            && (&read.name, read.scopes, read.role) == (&sample.name, sample.scopes, sample.role)
            && (read.reach, read.state, read.rate_limit)
                == (sample.reach, sample.state, sample.rate_limit)
            && (read.created_at, read.expires_at) == (sample.created_at, sample.expires_at)
            && (&read.description, &read.created_by) == (&sample.description, &sample.created_by)
            && (read.updated_at, read.rotated_at) == (sample.updated_at, sample.rotated_at)
            && previous(read) == previous(sample)
            && read.tokens_until == sample.tokens_until
    };
    let samples = [
        ("api_key", api_key()),
        ("api_key_small", small_api_key()),
        (
            "api_key_default_limit",
            ApiKey {
                rate_limit: RateLimit::Default,
                ..small_api_key()
            },
        ),
    ];
    for (name, sample) in samples {
        frozen(name, &sample, same);
        tested(name);
    }
}

/// So many milliseconds after the day of the samples.
fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(1_760_000_000_000 + millis)
}

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn pairs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
    pairs.iter().map(owned).collect()
}

fn ttl(millis: u64) -> Ttl {
    Ttl::from_span(Span::from_millis(millis)).unwrap()
}

fn identity_name(name: &str) -> IdentityName {
    IdentityName::parse(name, "").unwrap()
}

fn author(identity: u8, name: &str) -> Author {
    Author {
        identity: IdentityId::from_bytes([identity; 16]),
        name: identity_name(name),
    }
}

fn policy() -> LeasePolicy {
    LeasePolicy {
        extends: Some(PolicyName::parse("production", "").unwrap()),
        default_lease_ttl: Some(ttl(900_000)),
        max_lease_ttl: Some(ttl(3_600_000)),
        max_leases: Some(25),
        delivery: Some(vec![Delivery::Broker, Delivery::Reveal]),
        renewable: Some(false),
        require_purpose: Some(true),
        require_approval: Some(false),
        max_uses: Some(3),
        on_rotate: Some(OnRotate::Follow),
        allowed_identities: Some(vec!["agent/ci-*".into()]),
        rotate_after_reveal: Some(true),
        canary_suspends: Some(false),
        egress: Some(Egress {
            hosts: vec!["api.stripe.com".to_owned(), "*.stripe.com:8443".to_owned()],
            methods: vec!["GET".to_owned(), "POST".to_owned()],
            paths: vec!["/v1/*".to_owned()],
        }),
    }
}

fn credential() -> Credential {
    Credential {
        id: CredentialId::from_bytes([1; 16]),
        name: CredentialName::parse("stripe-key", "").unwrap(),
        kind: CredentialType::ApiKey,
        description: text("payments"),
        metadata: Metadata::new(pairs(&[("env", "production"), ("rotate_every", "90d")])).unwrap(),
        facts: pairs(&[("prefix", "sk_live")]),
        fingerprint: Fingerprint([0xab; 16]),
        policy: policy(),
        created_at: at(0),
        created_by: author(2, "ci-bot"),
        updated_at: at(2),
        last_rotated_at: Some(at(1)),
        canary: true,
    }
}

fn small_credential() -> Credential {
    Credential {
        name: CredentialName::parse("c", "").unwrap(),
        kind: CredentialType::GenericSecret,
        description: None,
        metadata: Metadata::default(),
        facts: BTreeMap::new(),
        fingerprint: Fingerprint([0; 16]),
        policy: LeasePolicy::default(),
        created_at: Timestamp::from_millis(0),
        updated_at: Timestamp::from_millis(0),
        last_rotated_at: None,
        canary: false,
        ..credential()
    }
}

fn version(state: VersionState) -> Version {
    Version {
        number: 300,
        revealed_at: (state != VersionState::Current).then(|| at(4)),
        state,
        created_at: at(0),
        created_by: author(2, "ci-bot"),
        metadata: Metadata::new(pairs(&[("env", "production")])).unwrap(),
        facts: BTreeMap::new(),
        fingerprint: Fingerprint([0xcd; 16]),
    }
}

fn ledger() -> Ledger {
    let open = |number, stage, reveal, broker, revealed: bool| OpenVersion {
        number,
        stage,
        reveal,
        broker,
        revealed_at: revealed.then(|| at(4)),
        outlived_at: (number == 7).then(|| at(6)),
    };
    Ledger {
        state: CredentialState::Disabled,
        newest: 300,
        floor: 299,
        active: 1011,
        last_leased_at: Some(at(0)),
        versions: vec![
            open(7, Stage::Rotated, 1, 0, true),
            open(298, Stage::Cut, 2, 3, true),
            open(299, Stage::Revoked, 0, 5, false),
            open(300, Stage::Current, 0, 1000, false),
        ],
    }
}

fn closed(after: u64, ending: Ending) -> LeaseState {
    LeaseState::Closed {
        at: at(after),
        ending,
    }
}

fn lease(state: LeaseState) -> Lease {
    Lease {
        id: LeaseId::from_bytes([0x1e; 16]),
        handle: [0xee; 32],
        credential: CredentialId::from_bytes([1; 16]),
        credential_name: CredentialName::parse("stripe-key", "").unwrap(),
        version: 3,
        delivery: Delivery::Reveal,
        holder: Holder {
            identity: IdentityId::from_bytes([2; 16]),
            kind: IdentityType::Agent,
            name: identity_name("ci-bot"),
            session: text("session-1"),
        },
        requested_by: Requester {
            by: author(5, "admin"),
            kind: IdentityType::Human,
            proof: ProofId::Key(KeyId::from_bytes([6; 16])),
        },
        purpose: text("nightly run"),
        ttl: ttl(900_000),
        ttl_capped: true,
        issued_at: at(0),
        expires_at: at(900_000),
        max_expires_at: at(3_600_000),
        renewable: true,
        renewals: 2,
        max_uses: Some(3),
        uses: 1,
        last_used_at: Some(at(5)),
        state,
    }
}

fn small_lease(state: LeaseState) -> Lease {
    let lease = lease(state);
    Lease {
        delivery: Delivery::Broker,
        holder: Holder {
            session: None,
            ..lease.holder
        },
        purpose: None,
        ttl_capped: false,
        max_uses: None,
        uses: 0,
        last_used_at: None,
        ..lease
    }
}

fn identity(id: u8, name: &str, kind: IdentityType, role: Role) -> Identity {
    Identity {
        id: IdentityId::from_bytes([id; 16]),
        name: identity_name(name),
        kind,
        role,
        state: IdentityState::Active,
        description: None,
        labels: Metadata::default(),
        created_at: at(0),
        created_by: None,
        updated_at: at(0),
    }
}

fn suspended(unfinished: Option<Unfinished>) -> Identity {
    Identity {
        state: IdentityState::Suspended(Suspension {
            since: at(8),
            by: (unfinished != Some(Unfinished::Sweep)).then(|| author(2, "ci-bot")),
            reason: text("leaked"),
            unfinished,
        }),
        description: text("on call"),
        labels: Metadata::labels(pairs(&[("team", "payments")])).unwrap(),
        created_by: Some(author(2, "ci-bot")),
        updated_at: at(8),
        ..identity(3, "ada", IdentityType::Human, Role::Owner)
    }
}

fn workspace() -> Workspace {
    Workspace {
        id: WorkspaceId::from_bytes([8; 16]),
        name: WorkspaceName::parse("default", "").unwrap(),
        description: None,
        settings: Settings::default(),
        created_at: at(0),
        created_by: None,
        updated_at: at(0),
        stop: None,
    }
}

fn api_key() -> ApiKey {
    ApiKey {
        id: KeyId::from_bytes([6; 16]),
        digest: [0xdd; 32],
        name: "CI key".to_owned(),
        home: WorkspaceId::from_bytes([8; 16]),
        identity: IdentityId::from_bytes([2; 16]),
        scopes: ScopeSet::of(&[Scope::LeaseCreate, Scope::LeaseRenew, Scope::HandleRedeem]),
        role: Some(Role::Agent),
        reach: Reach::Workspace(WorkspaceId::from_bytes([8; 16])),
        state: KeyState::Active,
        rate_limit: RateLimit::PerMinute(NonZeroU32::new(600).unwrap()),
        created_at: at(0),
        expires_at: Some(at(86_400_000)),
        description: text("nightly builds"),
        created_by: Some(author(5, "admin")),
        updated_at: at(3),
        rotated_at: Some(at(2)),
        previous: Some(PreviousValue {
            digest: [0xcc; 32],
            until: at(3_600_002),
        }),
        tokens_until: Some(at(1)),
    }
}

fn small_api_key() -> ApiKey {
    ApiKey {
        name: String::new(),
        home: WorkspaceId::SYSTEM,
        scopes: ScopeSet::EMPTY,
        role: None,
        reach: Reach::Organisation,
        state: KeyState::Paused,
        rate_limit: RateLimit::Unlimited,
        expires_at: None,
        description: None,
        created_by: None,
        updated_at: at(0),
        rotated_at: None,
        previous: None,
        tokens_until: None,
        ..api_key()
    }
}

fn token() -> Token {
    Token {
        id: TokenId::from_bytes([7; 16]),
        name: text("nightly"),
        home: WorkspaceId::from_bytes([8; 16]),
        identity: IdentityId::from_bytes([2; 16]),
        identity_name: identity_name("ci-bot"),
        identity_kind: IdentityType::Service,
        parent: Parent::Key(KeyId::from_bytes([9; 16])),
        generation: 0,
        scopes: ScopeSet::of(&[Scope::LeaseCreate, Scope::SystemWrite]),
        reach: Reach::Workspace(WorkspaceId::from_bytes([8; 16])),
        state: TokenState::Active,
        signed_by: 300,
        created_at: at(0),
        expires_at: at(60_000),
    }
}

fn issuer() -> Issuer {
    Issuer {
        id: IssuerId::from_bytes([5; 16]),
        workspace: WorkspaceId::from_bytes([8; 16]),
        name: IssuerName::parse("ci", "").unwrap(),
        rules: IssuerRules {
            kind: IssuerKind::Oidc(Oidc {
                iss: "https://ci".to_owned(),
                keys: IssuerKeys::Url("https://ci/k".to_owned()),
                audiences: vec!["v".to_owned()],
                algorithms: SignatureAlgorithm::ALL.to_vec(),
                require_jti: true,
                leeway: Span::from_millis(30_000),
            }),
            conditions: [("sub".to_owned(), vec!["a".to_owned(), "b*".to_owned()])].into(),
            identity: Mapping {
                name: "ci-{id}".to_owned(),
                kind: IdentityType::Service,
                role: Role::Agent,
                scopes: Some(ScopeSet::of(&[Scope::LeaseCreate])),
                auto_create: true,
            },
            token_ttl: ttl(900_000),
        },
        created_at: at(0),
        updated_at: at(3),
    }
}

fn certificate_issuer() -> Issuer {
    let full = issuer();
    Issuer {
        rules: IssuerRules {
            kind: IssuerKind::Certificate,
            ..full.rules
        },
        ..full
    }
}

fn small_issuer(keys: IssuerKeys) -> Issuer {
    let full = issuer();
    Issuer {
        workspace: WorkspaceId::SYSTEM,
        rules: IssuerRules {
            kind: IssuerKind::Oidc(Oidc {
                iss: "https://ci".to_owned(),
                keys,
                audiences: vec![],
                algorithms: vec![],
                require_jti: false,
                leeway: Span::from_millis(0),
            }),
            conditions: BTreeMap::new(),
            identity: Mapping {
                scopes: None,
                auto_create: false,
                ..full.rules.identity
            },
            ..full.rules
        },
        ..full
    }
}

fn source(name: &str, text: &str) -> PolicySource {
    PolicySource {
        name: name.to_owned(),
        text: text.to_owned(),
    }
}

fn argon() -> ArgonParams {
    ArgonParams {
        memory_kib: 65_536,
        passes: 3,
        lanes: 4,
        salt: [0x5a; 16],
    }
}

fn audit() -> AuditRecord {
    let change = |field: &str, before: Option<&str>, after: Option<&str>| Change {
        field: field.into(),
        before: before.map(Into::into),
        after: after.map(Into::into),
    };
    AuditRecord {
        id: EventId::from_bytes([0x0e; 16]),
        time: at(0),
        workspace: WorkspaceId::from_bytes([8; 16]),
        event: EventName::LeaseIssued,
        actor: Actor::Identity {
            identity: IdentityId::from_bytes([5; 16]),
            name: identity_name("admin"),
            kind: IdentityType::Human,
            proof: ProofId::Key(KeyId::from_bytes([6; 16])),
        },
        object: Object {
            credential: Some(CredentialId::from_bytes([1; 16])),
            credential_name: Some(CredentialName::parse("stripe-key", "").unwrap()),
            version: Some(3),
            lease: Some(LeaseId::from_bytes([0x1e; 16])),
            holder: Some(IdentityId::from_bytes([2; 16])),
            holder_name: Some(identity_name("ci-bot")),
            session: text("session-1"),
            name: text("anything"),
        },
        outcome: Outcome::Refused {
            code: "LEASE_LIMIT_REACHED".to_owned(),
        },
        policy: text("role:admin"),
        origin: Some(Origin {
            request_id: "req_1".to_owned(),
            source_ip: Some("192.0.2.1".parse().unwrap()),
            user_agent: text("curl/8"),
        }),
        purpose: text("nightly run"),
        reason: text("because"),
        changes: vec![
            change("max_leases", Some("1"), Some("2")),
            change("description", None, None),
        ],
        requests: vec![],
    }
}

fn small_audit(event: EventName, part: &str) -> AuditRecord {
    AuditRecord {
        id: EventId::from_bytes([0x0e; 16]),
        time: at(0),
        workspace: WorkspaceId::SYSTEM,
        event,
        actor: Actor::vault(part),
        object: Object::default(),
        outcome: Outcome::Success,
        policy: None,
        origin: None,
        purpose: None,
        reason: None,
        changes: vec![],
        requests: vec![],
    }
}
