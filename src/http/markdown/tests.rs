use crate::domain::{
    id::{CredentialId, IdentityId, LeaseId},
    name::{CredentialName, IdentityName},
    time::Timestamp,
};
use crate::engine::{
    Agent, Asked, Checkpoint, Damaged, Denied, EarlierReader, ExposedCredential, ExposedLease,
    Handed, RestsOn, Session, Summary, UsedFrom, UsedProof, VersionExposure,
};

use super::{text::MAX_CELL, *};

const GOLDEN: &str = "tests/vectors/exposure.md";

fn at(minutes: u64) -> Timestamp {
    Timestamp::from_millis(1_781_346_600_000 + minutes * 60_000)
}

fn named(byte: u8, name: &str) -> Who {
    Who {
        id: IdentityId::from_bytes([byte; 16]),
        r#type: Some("agent"),
        name: Some(IdentityName::parse(name, "name").unwrap()),
    }
}

fn end(command: &str) -> Option<Remedy> {
    Some(Remedy {
        what: format!("do `{command}`"),
        method: "POST",
        path: "/v1/end".to_owned(),
        body: None,
        command: command.to_owned(),
        workspace: None,
    })
}

fn lease(byte: u8, purpose: &str, user_agent: &str) -> ExposedLease {
    ExposedLease {
        id: LeaseId::from_bytes([byte; 16]),
        credential_id: CredentialId::from_bytes([1; 16]),
        credential_name: CredentialName::parse("stripe_key", "name").unwrap(),
        versions: vec![1, 2],
        holder: named(2, "claude-code"),
        requested_by: Some(named(3, "ci_bot")),
        on_behalf: true,
        session_id: Some("s|`1`".to_owned()),
        purpose: Some(purpose.to_owned()),
        handed: Handed::Revealed,
        issued_at: at(0),
        expires_at: Some(at(30)),
        state: "active",
        open: true,
        ended_at: None,
        ended_by: None,
        end_reason: None,
        first_revealed_at: Some(at(1)),
        redemptions: 2,
        last_redeemed_at: Some(at(5)),
        canary_alarm: true,
        used_from: vec![UsedFrom {
            how: "redeemed",
            source_ip: Some("192.0.2.1".parse().unwrap()),
            user_agent: Some(user_agent.to_owned()),
            further_user_agents: vec![user_agent.to_owned()],
            more_user_agents: 1,
            proof: Some("key_1".to_owned()),
            count: 2,
            earlier: 1,
            first_at: at(1),
            last_at: at(5),
        }],
        more_used_from: 3,
        redeemed_by: vec![named(3, "ci_bot")],
        more_proofs: 1,
        remedy: end("leasehold lease revoke lse_1"),
    }
}

fn report(purpose: &str, user_agent: &str) -> Exposure {
    Exposure {
        format: "f",
        workspace: "default".to_owned(),
        made_at: at(60),
        made_by: "human/ada".to_owned(),
        request_id: "req_1".to_owned(),
        asked: Asked {
            credential: Some("stripe_key".to_owned()),
            version: Some(2),
            identity: None,
            session_id: None,
            source: Some("192.0.2.0/24".to_owned()),
            since: Some(at(0)),
            until: at(60),
            cursor: None,
        },
        found: true,
        rests_on: RestsOn {
            first_sequence: 3,
            last_sequence: 99,
            matching_records: 12,
            leases_from_sequence: 4097,
            denials_from_sequence: 1,
            complete: false,
            missing: vec!["some records are gone"],
            unreadable: vec![
                Damaged { first: 7, last: 7 },
                Damaged {
                    first: 12,
                    last: 20,
                },
            ],
            more_unreadable: true,
            checkpoint: Some(Checkpoint {
                size: 98,
                root: "ab12".to_owned(),
            }),
        },
        summary: Summary {
            agents: 1,
            sessions: 1,
            leases: 1,
            open_leases: 1,
            revealing_leases: 1,
            redemptions: 2,
            tainted_versions: 1,
            earlier_readers: 1,
            denied_attempts: 2,
            canary_alarms: 1,
        },
        actions: end("leasehold lease revoke --credential stripe_key")
            .into_iter()
            .collect(),
        credentials: vec![ExposedCredential {
            id: CredentialId::from_bytes([1; 16]),
            name: CredentialName::parse("stripe_key", "name").unwrap(),
            state: "active",
            canary: true,
            versions: vec![VersionExposure {
                number: 2,
                state: "current",
                revealed: true,
                revealed_at: Some(at(1)),
                created_at: Some(at(0)),
                created_by: Some(named(3, "ci_bot")),
                rotated_at: None,
                erased_at: None,
                fingerprint: None,
                leases: 1,
                open_leases: 1,
                remedy: end("leasehold credential rotate stripe_key --on-open-leases cut"),
            }],
        }],
        agents: vec![Agent {
            who: named(2, "claude-code"),
            roles: vec!["holder", "redeemer"],
            state: "active",
            workspace: None,
            leases: 1,
            open_leases: 1,
            revealed: true,
            redemptions: 2,
            first_lease_at: at(0),
            last_use_at: Some(at(5)),
            remedy: end("leasehold identity suspend agent/claude-code"),
        }],
        sessions: vec![Session {
            session_id: "s|`1`".to_owned(),
            holders: vec!["agent/claude-code".to_owned()],
            leases: 1,
            open_leases: 1,
            remedy: end("leasehold lease revoke --session='s|`1`'"),
        }],
        leases: vec![lease(9, purpose, user_agent)],
        proofs: vec![UsedProof {
            id: "key_1".to_owned(),
            r#type: "api-key",
            identity: Some("agent/claude-code".to_owned()),
            made_with: None,
            state: "active",
            leases: 1,
            remedy: end("leasehold api-key pause key_1"),
        }],
        earlier_readers: vec![EarlierReader {
            who: named(4, "bob"),
            roles: vec!["holder"],
            credential_id: CredentialId::from_bytes([1; 16]),
            credential_name: CredentialName::parse("stripe_key", "name").unwrap(),
            version: 1,
            leases: 4,
            last_lease_ended_at: at(0),
        }],
        denied: vec![Denied {
            sequence: 50,
            time: at(7),
            event: "authz.denied",
            code: "POLICY_DENIED".to_owned(),
            reason: Some(purpose.to_owned()),
            who: Some(named(4, "bob")),
            credential_name: None,
            lease_id: None,
            decided_by: None,
            source_ip: None,
            user_agent: Some(user_agent.to_owned()),
            proof: None,
        }],
        truncated: true,
        next_cursor: Some("lse_2".to_owned()),
        hint: Some("narrow it"),
    }
}

#[test]
fn the_page_is_as_kept() {
    let shown = page(&report("nightly run", "curl/8.5.0"));
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(GOLDEN);
    if std::env::var_os("LEASEHOLD_WRITE_MATRIX").is_some() {
        std::fs::write(&file, &shown).unwrap();
    }
    let kept = std::fs::read_to_string(&file).unwrap();
    assert_eq!(
        shown, kept,
        "after a deliberate change: LEASEHOLD_WRITE_MATRIX=1"
    );
}

#[test]
fn a_page_reassures_nobody_without_having_looked() {
    let never = "No version of these was ever revealed";
    let nothing = "Nothing of this is open, and no value of it was read";
    let mut report = report("x", "x");
    assert!(!page(&report).contains(never));
    report.actions.clear();
    // Open, and read: nothing is said to be over.
    let shown = page(&report);
    assert!(!shown.contains("Nothing of this is open"), "{shown}");
    report.summary.open_leases = 0;
    let shown = page(&report);
    assert!(shown.contains("What was read is known for good"), "{shown}");
    report.credentials[0].versions[0].revealed = false;
    report.summary.tainted_versions = 0;
    let shown = page(&report);
    assert!(shown.contains(never) && shown.contains(nothing), "{shown}");
    report.credentials[0].versions[0].state = "deleted";
    let shown = page(&report);
    assert!(
        !shown.contains(never) && shown.contains("not known"),
        "{shown}"
    );
    report.credentials.clear();
    let shown = page(&report);
    assert!(
        !shown.contains(never) && shown.contains("No version was looked at"),
        "{shown}"
    );
    report.found = false;
    let shown = page(&report);
    assert!(
        !shown.contains(never) && !shown.contains(nothing),
        "{shown}"
    );
    assert!(shown.contains("no such credential"), "{shown}");
}

#[test]
fn two_of_one_name_are_told_apart() {
    let mut report = report("x", "x");
    let mut again = report.agents[0].clone();
    again.who.id = IdentityId::from_bytes([5; 16]);
    report.agents.push(again);
    let shown = page(&report);
    for id in [[2; 16], [5; 16]] {
        let id = IdentityId::from_bytes(id).to_string();
        assert!(shown.contains(&id), "{id}: {shown}");
    }
}

/// Titles and cells of a row, a pipe that is escaped being none.
fn cells(line: &str) -> usize {
    line.replace("\\\\", "")
        .replace("\\|", "")
        .matches('|')
        .count()
}

// INVARIANT (inert)
#[test]
fn nothing_that_a_caller_wrote_becomes_markup() {
    let plain = page(&report("x", "x"));
    let shape = |page: &str| -> Vec<usize> { page.lines().map(cells).collect() };
    for hostile in [
        "a\n# heading",
        "a\n\n| b | c |",
        "a | b \\| c \\\\| d",
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "[x](javascript:alert(1))",
        "![x](http://evil.example/a.png)",
        "https://evil.example www.evil.example",
        "`code` ``` *b* _i_ ~~s~~",
        "\u{202e}txt.exe\u{1b}[2J\u{0}",
        "&lt;b&gt; &#60;b&#62;",
        "$x$ @everyone :smile:",
        "  ",
        "\\",
    ] {
        let shown = page(&report(hostile, hostile));
        assert_eq!(shape(&shown), shape(&plain), "{hostile:?}\n{shown}");
        for live in [
            "<script", "<img", "](", "http://", "https://", "www.e", "\u{202e}", "\u{1b}", "&#60;",
            "&lt;b", " @e", " :s",
        ] {
            assert!(!shown.contains(live), "{live:?} of {hostile:?}\n{shown}");
        }
        assert!(!shown.lines().any(|line| line.starts_with("# heading")));
    }
    let long = "é".repeat(10_000);
    assert!(page(&report(&long, &long)).len() < plain.len() + 5 * 2 * (MAX_CELL + 3));
}

#[test]
fn code_cannot_be_left() {
    for (text, shown) in [
        ("a", "`a`"),
        ("a`b", "`` a`b ``"),
        ("`", "`` ` ``"),
        ("a``b|c", "``` a``b|c ```"),
        ("a\nb", "`a\u{fffd}b`"),
    ] {
        assert_eq!(code(text), shown);
    }
}
