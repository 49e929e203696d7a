//! Each transition and each refusal of a ledger by itself; `domain::model_tests` walks them at random.

use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_000);
const MAX: u32 = 10;

use Delivery::{Broker, Reveal};

/// A ledger with so many reveal and broker leases on version 1.
fn with(reveal: u32, broker: u32) -> Ledger {
    let mut ledger = Ledger::new();
    grant(&mut ledger, Reveal, reveal);
    grant(&mut ledger, Broker, broker);
    ledger
}

fn grant(ledger: &mut Ledger, delivery: Delivery, times: u32) {
    for _ in 0..times {
        ledger.grant(delivery, MAX, NOW).unwrap();
    }
}

fn emptied(number: u32, revealed: bool, retires: bool) -> Emptied {
    Emptied {
        number,
        revealed_at: revealed.then_some(NOW),
        retires,
    }
}

fn code<T: std::fmt::Debug>(result: Result<T>) -> Code {
    result.unwrap_err().code()
}

#[test]
fn a_new_ledger_has_one_version_and_no_lease() {
    let ledger = Ledger::default();
    assert_eq!((ledger.newest, ledger.active, ledger.floor), (1, 0, 0));
    assert_eq!(ledger.current().unwrap().number, 1);
    assert_eq!(ledger.last_leased_at, None);
}

// INVARIANT (lease-cap)
#[test]
fn a_grant_at_the_limit_is_refused_and_changes_nothing() {
    let mut ledger = with(4, 6);
    let before = ledger.clone();
    for max in [10, 9, 1, 0] {
        let error = ledger.grant(Reveal, max, NOW).unwrap_err();
        assert_eq!(error.code(), Code::LeaseLimitReached);
        assert_eq!(error.details(), [("limit", u64::from(max).into())]);
    }
    assert_eq!(ledger, before);
    assert_eq!(ledger.grant(Reveal, 11, NOW).unwrap(), 1);
    assert_eq!(code(ledger.grant(Reveal, 11, NOW)), Code::LeaseLimitReached);
    ledger.close(1, Broker).unwrap();
    ledger.grant(Broker, 11, NOW).unwrap();
}

// INVARIANT (lease-cap)
#[test]
fn leases_on_old_versions_count_until_they_are_closed() {
    for mode in [OnRotate::Drain, OnRotate::Cut] {
        let mut ledger = with(MAX, 0);
        ledger.rotate(mode).unwrap();
        assert_eq!(
            code(ledger.grant(Reveal, MAX, NOW)),
            Code::LeaseLimitReached,
            "{mode:?}"
        );
    }
    let mut ledger = with(MAX, 0);
    ledger.revoke_version(1).unwrap();
    ledger.rotate(OnRotate::Drain).unwrap();
    assert_eq!(
        code(ledger.grant(Reveal, MAX, NOW)),
        Code::LeaseLimitReached
    );
}

#[test]
fn nothing_is_granted_or_used_while_disabled_or_revoked() {
    let mut ledger = with(1, 1);
    ledger.state = CredentialState::Disabled;
    assert_eq!(code(ledger.grant(Reveal, MAX, NOW)), Code::InvalidState);
    assert_eq!(code(ledger.check_use(1)), Code::InvalidState);
    ledger.state = CredentialState::Active;
    ledger.check_use(1).unwrap();
    ledger.revoke();
    assert_eq!(
        code(ledger.grant(Reveal, MAX, NOW)),
        Code::CredentialRevoked
    );
    assert_eq!(code(ledger.check_use(1)), Code::CredentialRevoked);
    assert_eq!(
        code(ledger.rotate(OnRotate::Drain)),
        Code::CredentialRevoked
    );
}

#[test]
fn a_disabled_credential_still_rotates_and_its_leases_still_close() {
    let mut ledger = with(1, 0);
    ledger.state = CredentialState::Disabled;
    ledger.rotate(OnRotate::Drain).unwrap();
    assert_eq!(
        ledger.close(1, Reveal).unwrap(),
        Some(emptied(1, false, true))
    );
}

#[test]
fn a_version_that_was_stopped_is_not_used() {
    let mut ledger = with(1, 0);
    ledger.rotate(OnRotate::Cut).unwrap();
    assert_eq!(code(ledger.check_use(1)), Code::LeaseRevoked);
    ledger.check_use(2).unwrap();
    ledger.revoke_version(2).unwrap();
    assert_eq!(code(ledger.check_use(2)), Code::LeaseRevoked);
    assert_eq!(code(ledger.check_use(3)), Code::LeaseRevoked, "no version");
    assert_eq!(code(ledger.grant(Reveal, MAX, NOW)), Code::InvalidState);
    ledger.rotate(OnRotate::Drain).unwrap();
    assert_eq!(ledger.grant(Reveal, MAX, NOW).unwrap(), 3);
}

// INVARIANT (retire-on-last-close)
#[test]
fn drain_keeps_the_old_version_until_its_last_close() {
    let mut ledger = with(1, 1);
    assert!(ledger.mark_revealed(1, NOW), "news");
    assert!(!ledger.mark_revealed(1, NOW), "known");
    assert!(!ledger.mark_revealed(7, NOW), "no version");
    let rotation = ledger.rotate(OnRotate::Drain).unwrap();
    assert_eq!(
        rotation,
        Rotation {
            new: 2,
            old: 1,
            emptied: vec![],
            to_close: 0
        }
    );
    ledger.check_use(1).unwrap();
    assert_eq!(ledger.grant(Broker, MAX, NOW).unwrap(), 2);
    assert_eq!(ledger.close(1, Reveal).unwrap(), None);
    assert_eq!(
        ledger.close(1, Broker).unwrap(),
        Some(emptied(1, true, true))
    );
    assert_eq!(code(ledger.check_use(1)), Code::LeaseRevoked);
    assert_eq!(ledger.close(2, Broker).unwrap(), None, "current stays");
    assert_eq!(ledger.current().unwrap().number, 2);
}

// INVARIANT (retire-on-last-close)
#[test]
fn a_version_without_leases_retires_as_it_is_rotated() {
    for mode in [OnRotate::Drain, OnRotate::Follow, OnRotate::Cut] {
        let rotation = Ledger::new().rotate(mode).unwrap();
        assert_eq!(rotation.emptied, [emptied(1, false, true)], "{mode:?}");
        assert_eq!(rotation.to_close, 0);
    }
}

#[test]
fn follow_moves_every_open_broker_lease() {
    let mut ledger = with(1, 2);
    ledger.rotate(OnRotate::Drain).unwrap();
    grant(&mut ledger, Broker, 3);
    let rotation = ledger.rotate(OnRotate::Follow).unwrap();
    assert_eq!((rotation.new, rotation.old), (3, 2));
    assert_eq!(rotation.emptied, [emptied(2, false, true)]);
    assert_eq!(
        ledger.version(1).unwrap().leases(),
        1,
        "the reveal lease stays"
    );
    assert_eq!(ledger.version(3).unwrap().broker, 5);
    assert_eq!(ledger.active, 6);
    assert_eq!(ledger.pinned(1, Broker), 3);
    assert_eq!(ledger.pinned(2, Broker), 3);
    assert_eq!(ledger.pinned(1, Reveal), 1);
    // Later rotations that do not follow leave them where they followed to.
    ledger.rotate(OnRotate::Drain).unwrap();
    assert_eq!(ledger.pinned(1, Broker), 3);
    assert_eq!(ledger.pinned(4, Broker), 4);
    ledger.rotate(OnRotate::Follow).unwrap();
    assert_eq!(ledger.pinned(1, Broker), 5);
}

#[test]
fn follow_refuses_reveal_leases_on_the_current_version() {
    let mut ledger = with(2, 1);
    let before = ledger.clone();
    let error = ledger.rotate(OnRotate::Follow).unwrap_err();
    assert_eq!(error.code(), Code::InvalidState);
    assert_eq!(error.details(), [("open_reveal_leases", 2.into())]);
    assert_eq!(ledger, before);
}

#[test]
fn follow_waits_until_stopped_broker_leases_are_closed() {
    type Stop = fn(&mut Ledger);
    let stops: [Stop; 2] = [
        |ledger| assert!(ledger.rotate(OnRotate::Cut).is_ok()),
        |ledger| assert!(ledger.revoke_version(1).is_ok()),
    ];
    for stop in stops {
        let mut ledger = with(1, 1);
        stop(&mut ledger);
        let before = ledger.clone();
        assert_eq!(code(ledger.rotate(OnRotate::Follow)), Code::InvalidState);
        assert_eq!(ledger, before);
        ledger.close(1, Broker).unwrap();
        // The stopped reveal lease does not follow anyway.
        ledger.rotate(OnRotate::Follow).unwrap();
        assert_eq!(
            code(ledger.check_use(ledger.pinned(1, Reveal))),
            Code::LeaseRevoked
        );
    }
}

// INVARIANT (retire-on-last-close)
#[test]
fn cut_stops_the_old_version_and_retires_it_with_the_last_close() {
    let mut ledger = with(1, 1);
    let rotation = ledger.rotate(OnRotate::Cut).unwrap();
    assert_eq!((rotation.to_close, rotation.emptied), (2, vec![]));
    assert_eq!(code(ledger.check_use(1)), Code::LeaseRevoked);
    assert_eq!(ledger.close(1, Broker).unwrap(), None);
    assert_eq!(
        ledger.close(1, Reveal).unwrap(),
        Some(emptied(1, false, true))
    );
}

#[test]
fn cut_leaves_what_drained_before_alone() {
    let mut ledger = with(1, 0);
    ledger.rotate(OnRotate::Drain).unwrap();
    grant(&mut ledger, Reveal, 2);
    assert_eq!(ledger.rotate(OnRotate::Cut).unwrap().to_close, 2);
    ledger.check_use(1).unwrap();
    assert_eq!(code(ledger.check_use(2)), Code::LeaseRevoked);
}

#[test]
fn a_revoked_version_does_not_retire_again() {
    let mut ledger = with(2, 1);
    assert_eq!(ledger.revoke_version(1).unwrap(), 3);
    assert_eq!(code(ledger.revoke_version(1)), Code::InvalidState);
    assert_eq!(code(ledger.revoke_version(2)), Code::InvalidState);
    assert_eq!(ledger.close(1, Reveal).unwrap(), None);
    assert_eq!(ledger.close(1, Broker).unwrap(), None);
    assert_eq!(
        ledger.close(1, Reveal).unwrap(),
        Some(emptied(1, false, false))
    );
    assert_eq!(ledger.versions, []);
    // The number is not used again.
    let rotation = ledger.rotate(OnRotate::Drain).unwrap();
    assert_eq!((rotation.new, rotation.old), (2, 1));
    assert_eq!(rotation.emptied, []);
}

#[test]
fn revoking_the_credential_stops_every_version_once() {
    let mut ledger = with(1, 0);
    ledger.rotate(OnRotate::Drain).unwrap();
    ledger.rotate(OnRotate::Drain).unwrap();
    let held: Vec<_> = ledger.revoke().iter().map(|open| open.number).collect();
    assert_eq!(held, [1, 3], "2 had retired");
    assert_eq!(ledger.revoke(), []);
    assert_eq!(ledger.active, 1, "until it is closed");
    assert_eq!(
        ledger.close(1, Reveal).unwrap(),
        Some(emptied(1, false, false))
    );
    assert_eq!((ledger.active, ledger.versions.len()), (0, 0));
}

#[test]
fn closing_what_is_not_open_is_an_internal_failure() {
    let mut ledger = with(1, 0);
    assert_eq!(code(ledger.close(1, Broker)), Code::Internal);
    assert_eq!(code(ledger.close(2, Reveal)), Code::Internal);
    ledger.close(1, Reveal).unwrap();
    assert_eq!(code(ledger.close(1, Reveal)), Code::Internal);
}

#[test]
fn as_many_versions_as_may_be_open_and_no_more() {
    let mut ledger = Ledger::new();
    for _ in 1..MAX_OPEN_VERSIONS {
        ledger.grant(Reveal, 1_000, NOW).unwrap();
        ledger.rotate(OnRotate::Drain).unwrap();
    }
    ledger.grant(Reveal, 1_000, NOW).unwrap();
    assert_eq!(ledger.versions.len(), MAX_OPEN_VERSIONS);
    let before = ledger.clone();
    for mode in [OnRotate::Drain, OnRotate::Follow, OnRotate::Cut] {
        let error = ledger.rotate(mode).unwrap_err();
        assert_eq!(error.code(), Code::InvalidState);
        assert_eq!(ledger, before);
    }
    // What the message says to do helps.
    ledger.revoke_version(7).unwrap();
    ledger.close(7, Reveal).unwrap();
    ledger.rotate(OnRotate::Cut).unwrap();
}

#[test]
fn numbers_and_counters_that_are_used_up_are_refused() {
    let mut ledger = Ledger {
        newest: u32::MAX,
        ..Ledger::new()
    };
    assert_eq!(code(ledger.rotate(OnRotate::Drain)), Code::Internal);
    let mut ledger = Ledger::new();
    ledger.versions[0].broker = u32::MAX;
    assert_eq!(code(ledger.grant(Broker, MAX, NOW)), Code::Internal);
}

#[test]
fn a_grant_remembers_when() {
    let mut ledger = Ledger::new();
    let later = Timestamp::from_millis(2_000);
    ledger.grant(Reveal, MAX, NOW).unwrap();
    ledger.grant(Reveal, MAX, later).unwrap();
    assert_eq!(ledger.last_leased_at, Some(later));
}

#[test]
fn states_are_spelled_as_the_contract_says() {
    for (state, text) in [
        (CredentialState::Active, "active"),
        (CredentialState::Disabled, "disabled"),
        (CredentialState::Revoked, "revoked"),
    ] {
        assert_eq!(state.as_str(), text);
        assert_eq!(serde_json::to_value(state).unwrap(), text);
    }
}

#[test]
fn a_recount_says_what_the_records_say_and_empties_what_is_due() {
    let mut ledger = Ledger::new();
    for _ in 0..2 {
        ledger
            .grant(Delivery::Reveal, 10, Timestamp::from_millis(1))
            .unwrap();
    }
    ledger.rotate(OnRotate::Drain).unwrap();
    ledger
        .grant(Delivery::Broker, 10, Timestamp::from_millis(1))
        .unwrap();
    let right = ledger.clone();
    let open = |number| match number {
        1 => (2, 0),
        2 => (0, 1),
        _ => (0, 0),
    };
    assert!(ledger.recount(open).is_empty());
    assert_eq!(ledger, right);
    ledger.active = 9;
    ledger.versions[0].reveal = 7;
    assert!(ledger.recount(open).is_empty());
    assert_eq!(ledger, right);
    let emptied = ledger.recount(|_| (0, 0));
    let expected = Emptied {
        number: 1,
        revealed_at: None,
        retires: true,
    };
    assert_eq!(emptied, [expected]);
    assert_eq!((ledger.active, ledger.versions.len()), (0, 1));
}
