//! Each transition and each refusal of a lease by itself; `domain::model_tests` walks them at random.

use super::*;
use crate::domain::time::Span;

const ISSUED: Timestamp = Timestamp::from_millis(1_000_000);

fn after(secs: u64) -> Timestamp {
    ISSUED.plus(Span::from_secs(secs))
}

fn ttl(secs: u64) -> Option<Ttl> {
    Some(Ttl::from_secs(secs))
}

/// Terms of 60 seconds by default and 100 at most.
fn terms() -> Terms {
    Terms {
        default_lease_ttl: Ttl::from_secs(60),
        max_lease_ttl: Ttl::from_secs(100),
        ..Terms::default()
    }
}

pub(in crate::domain) fn author() -> Author {
    Author {
        identity: IdentityId::from_bytes([2; 16]),
        name: IdentityName::parse("ci-bot", "name").unwrap(),
    }
}

/// What is asked of a lease on version 1.
pub(in crate::domain) fn grant(delivery: Delivery) -> Grant {
    Grant {
        id: LeaseId::from_bytes([1; 16]),
        handle: [9; 32],
        credential: CredentialId::from_bytes([3; 16]),
        credential_name: CredentialName::parse("stripe-key", "name").unwrap(),
        version: 1,
        delivery,
        holder: Holder {
            identity: author().identity,
            kind: IdentityType::Agent,
            name: author().name,
            session: None,
        },
        requested_by: Requester {
            by: author(),
            kind: IdentityType::Agent,
            proof: crate::domain::principal::ProofId::Key(crate::domain::id::KeyId::from_bytes(
                [4; 16],
            )),
        },
        purpose: None,
        requested_ttl: None,
        reveal: false,
    }
}

fn lease() -> Lease {
    Lease::issue(grant(Delivery::Reveal), &terms(), ISSUED)
}

fn closed(ending: Ending) -> Lease {
    let mut lease = lease();
    lease.close(1, ending, after(10)).unwrap();
    lease
}

fn endings() -> [(Ending, LeaseStatus, Code); 3] {
    let revoked = Ending::Revoked {
        by: None,
        reason: Some("leaked".to_owned()),
    };
    [
        (Ending::Expired, LeaseStatus::Expired, Code::LeaseExpired),
        (
            Ending::Released { by: author() },
            LeaseStatus::Released,
            Code::LeaseReleased,
        ),
        (revoked, LeaseStatus::Revoked, Code::LeaseRevoked),
    ]
}

fn code(result: Result<()>) -> Code {
    result.unwrap_err().code()
}

// INVARIANT (ttl)
#[test]
fn a_grant_is_held_to_the_maximum_and_says_so() {
    let issue = |requested_ttl| {
        let grant = Grant {
            requested_ttl,
            ..grant(Delivery::Reveal)
        };
        let lease = Lease::issue(grant, &terms(), ISSUED);
        assert_eq!(lease.max_expires_at, after(100));
        assert_eq!(lease.expires_at, ISSUED.plus(lease.ttl.span()));
        (lease.expires_at, lease.ttl_capped)
    };
    assert_eq!(issue(None), (after(60), false));
    assert_eq!(issue(ttl(1)), (after(1), false));
    assert_eq!(issue(ttl(100)), (after(100), false));
    assert_eq!(issue(ttl(101)), (after(100), true));
}

// INVARIANT (ttl)
#[test]
fn a_lease_ends_at_expires_at_and_not_a_millisecond_later() {
    let last = Timestamp::from_millis(after(60).as_millis() - 1);
    for delivery in [Delivery::Reveal, Delivery::Broker] {
        let lease = Lease::issue(grant(delivery), &terms(), ISSUED);
        assert_eq!(lease.status(last), LeaseStatus::Active);
        lease.check_open(last).unwrap();
        for late in [after(60), after(61), after(1_000_000)] {
            // The reaper is dead: nobody closed it.
            assert!(lease.counted());
            assert_eq!(lease.status(late), LeaseStatus::Expired);
            let error = lease.check_open(late).unwrap_err();
            assert_eq!(error.code(), Code::LeaseExpired);
            let expired_at = after(60).to_string();
            assert_eq!(error.details(), [("expired_at", expired_at.into())]);
            assert_eq!(code(lease.clone().redeem(late)), Code::LeaseExpired);
            assert_eq!(
                code(lease.clone().renew(None, &terms(), late)),
                Code::LeaseExpired
            );
        }
    }
    lease().redeem(last).unwrap();
    lease().renew(None, &terms(), last).unwrap();
}

#[test]
fn a_closed_lease_says_how_it_ended_and_never_reopens() {
    for (ending, status, refusal) in endings() {
        let lease = closed(ending);
        assert!(!lease.counted());
        for at in [after(10), after(59), after(61)] {
            assert_eq!(lease.status(at), status);
            let mut tried = lease.clone();
            assert_eq!(code(tried.check_open(at)), refusal);
            assert_eq!(code(tried.redeem(at)), refusal);
            assert_eq!(code(tried.renew(ttl(50), &terms(), at)), refusal);
            for (again, ..) in endings() {
                assert_eq!(code(tried.close(2, again, at)), Code::Internal);
            }
            assert_eq!(tried, lease, "a refusal changes nothing");
        }
    }
}

#[test]
fn closing_keeps_when_how_and_the_version_used_last() {
    let mut lease = Lease::issue(grant(Delivery::Broker), &terms(), ISSUED);
    lease.close(4, Ending::Expired, after(70)).unwrap();
    assert_eq!(lease.version, 4);
    let state = LeaseState::Closed {
        at: after(70),
        ending: Ending::Expired,
    };
    assert_eq!(lease.state, state);
}

#[test]
fn a_redemption_counts_up_to_the_budget() {
    let budget = Terms {
        max_uses: Some(2),
        ..terms()
    };
    let mut lease = Lease::issue(grant(Delivery::Reveal), &budget, ISSUED);
    assert_eq!((lease.uses, lease.last_used_at), (0, None));
    for (uses, at) in [(1, after(1)), (2, after(2))] {
        lease.redeem(at).unwrap();
        assert_eq!((lease.uses, lease.last_used_at), (uses, Some(at)));
    }
    let before = lease.clone();
    let error = lease.redeem(after(3)).unwrap_err();
    assert_eq!(error.code(), Code::BudgetExhausted);
    assert_eq!(error.details(), [("max_uses", 2.into())]);
    assert_eq!(lease, before);
    // Renewal gives time, not uses.
    lease.renew(None, &terms(), after(4)).unwrap();
    assert_eq!(code(lease.redeem(after(5))), Code::BudgetExhausted);
}

#[test]
fn a_value_shown_in_the_answer_is_a_use() {
    let budget = Terms {
        max_uses: Some(1),
        ..terms()
    };
    let grant = Grant {
        reveal: true,
        ..grant(Delivery::Reveal)
    };
    let mut lease = Lease::issue(grant, &budget, ISSUED);
    assert_eq!((lease.uses, lease.last_used_at), (1, Some(ISSUED)));
    assert_eq!(code(lease.redeem(after(1))), Code::BudgetExhausted);
}

#[test]
fn a_broker_lease_never_shows_its_value() {
    let mut lease = Lease::issue(grant(Delivery::Broker), &terms(), ISSUED);
    assert_eq!(code(lease.redeem(after(1))), Code::InsufficientPermissions);
    assert_eq!(lease.uses, 0);
}

// INVARIANT (ttl)
#[test]
fn renewals_end_where_the_grant_said() {
    let mut lease = lease();
    lease.renew(ttl(50), &terms(), after(30)).unwrap();
    assert_eq!((lease.expires_at, lease.ttl_capped), (after(80), false));
    lease.renew(None, &terms(), after(70)).unwrap();
    assert_eq!((lease.expires_at, lease.ttl_capped), (after(100), true));
    assert_eq!(Some(lease.ttl), ttl(30));
    lease.renew(ttl(500), &terms(), after(99)).unwrap();
    assert_eq!((lease.expires_at, lease.renewals), (after(100), 3));
    // Wider terms than those of the grant do not lengthen it.
    let wider = Terms {
        max_lease_ttl: Ttl::from_secs(1_000),
        ..terms()
    };
    lease.renew(ttl(500), &wider, after(99)).unwrap();
    assert_eq!(lease.expires_at, after(100));
    assert_eq!(code(lease.check_open(after(100))), Code::LeaseExpired);
}

// INVARIANT (ttl)
#[test]
fn terms_that_were_narrowed_since_hold_for_a_renewal() {
    let narrow = |secs| Terms {
        max_lease_ttl: Ttl::from_secs(secs),
        default_lease_ttl: Ttl::from_secs(secs.min(60)),
        ..terms()
    };
    let mut lease = lease();
    lease.renew(None, &narrow(70), after(50)).unwrap();
    assert_eq!((lease.expires_at, lease.ttl_capped), (after(70), true));
    let before = lease.clone();
    let error = lease.renew(None, &narrow(60), after(60)).unwrap_err();
    assert_eq!(error.code(), Code::InvalidState);
    let last = after(60).to_string();
    assert_eq!(error.details(), [("max_expires_at", last.into())]);
    assert_eq!(lease, before);
}

#[test]
fn a_renewal_may_shorten() {
    let mut lease = lease();
    lease.renew(ttl(5), &terms(), after(1)).unwrap();
    assert_eq!(lease.expires_at, after(6));
}

#[test]
fn what_is_not_renewable_is_not_renewed() {
    let fixed = Terms {
        renewable: false,
        ..terms()
    };
    let mut lease = Lease::issue(grant(Delivery::Reveal), &fixed, ISSUED);
    let before = lease.clone();
    assert_eq!(
        code(lease.renew(None, &terms(), after(1))),
        Code::InvalidState
    );
    assert_eq!(lease, before);
}

#[test]
fn a_lease_at_the_end_of_time_is_over_at_once() {
    let end = Timestamp::from_millis(u64::MAX);
    let lease = Lease::issue(grant(Delivery::Reveal), &terms(), end);
    assert_eq!(lease.status(end), LeaseStatus::Expired);
}

#[test]
fn statuses_are_spelled_as_the_contract_says() {
    for (status, text) in [
        (LeaseStatus::Active, "active"),
        (LeaseStatus::Expired, "expired"),
        (LeaseStatus::Released, "released"),
        (LeaseStatus::Revoked, "revoked"),
    ] {
        assert_eq!(status.as_str(), text);
        assert_eq!(serde_json::to_value(status).unwrap(), text);
    }
}
