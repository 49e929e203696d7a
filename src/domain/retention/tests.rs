use super::*;
use crate::domain::{
    lease::{Ending, tests::grant},
    policy::{Delivery, Terms},
};

const DAY: u64 = 86_400_000;

fn lease() -> Lease {
    Lease::issue(grant(Delivery::Reveal), &Terms::default(), at(0))
}

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

#[test]
fn every_event_has_the_class_of_its_family() {
    let class = |name: &str| EventClass::of_family(name);
    for (name, expected) in [
        ("lease.issued", EventClass::Access),
        ("audit.read", EventClass::Access),
        ("token.created", EventClass::Access),
        ("credential.rotated", EventClass::Admin),
        ("key.created", EventClass::Admin),
        ("policy.applied", EventClass::Admin),
        ("vault.started", EventClass::Vault),
        ("authz.denied", EventClass::Denial),
        ("lease.refused", EventClass::Denial),
        ("something.new", EventClass::Admin),
    ] {
        assert_eq!(class(name), expected, "{name}");
    }
}

#[test]
fn a_class_is_past_its_own_age_and_for_ever_without_one() {
    let mut audit = AuditRetention::default();
    assert!(!audit.removes());
    audit.ages[EventClass::Access as usize] = Some(Span::from_millis(DAY));
    assert!(audit.removes());
    assert!(!audit.past(EventClass::Access, at(5), at(4 + DAY)));
    assert!(audit.past(EventClass::Access, at(5), at(5 + DAY)));
    assert!(!audit.past(EventClass::Admin, at(5), at(5 + 9 * DAY)));
}

#[test]
fn a_lease_goes_once_its_retention_is_over_and_never_while_it_is_open() {
    let retention = Retention::default();
    let now = at(10 * DAY);
    let mut open = lease();
    open.expires_at = at(DAY);
    let again = retention.look_again(&open, now).unwrap();
    assert!(again > now, "the reaper has not come to it");
    open.expires_at = at(20 * DAY);
    assert_eq!(retention.look_again(&open, now), Some(at(21 * DAY)));
    let mut closed = lease();
    closed.state = LeaseState::Closed {
        at: at(9 * DAY),
        ending: Ending::Expired,
    };
    assert_eq!(retention.look_again(&closed, at(10 * DAY - 1)), Some(now));
    assert_eq!(retention.look_again(&closed, now), None);
    // An hour late at most, whatever the retention.
    assert_eq!(retention.first_look(now), at(9 * DAY - 3_600_000));
}
