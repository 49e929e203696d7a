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

/// Every event that is kept as long as an access.
const ACCESS: [&str; 18] = [
    "lease.issued",
    "lease.redeemed",
    "lease.renewed",
    "lease.expired",
    "lease.released",
    "lease.revoked",
    "lease.bulk_revoked",
    "lease.removed",
    "audit.read",
    "audit.exported",
    "audit.export_ended",
    "report.read",
    "token.created",
    "token.revoked",
    "auth.exchanged",
    "request.read",
    "request.unrecorded",
    "auth.failed",
];

#[test]
fn nobody_floods_changes_or_denials_out_of_the_log_by_asking() {
    let refused = Outcome::Refused {
        code: "NOT_FOUND".to_owned(),
    };
    for event in EventName::ALL.iter().copied() {
        let name = event.as_str();
        let class = |outcome| EventClass::of_event(event, outcome);
        let done = match name {
            _ if name.ends_with(".refused") || name.ends_with(".denied") => EventClass::Denial,
            _ if ACCESS.contains(&name) => EventClass::Access,
            _ if name.starts_with("vault.") => EventClass::Vault,
            _ => EventClass::Admin,
        };
        assert_eq!(class(&Outcome::Success), done, "{name}");
        // What anybody can cause without end stays what it is.
        let told = match name {
            "request.read" | "request.unrecorded" | "auth.failed" => EventClass::Access,
            _ => EventClass::Denial,
        };
        assert_eq!(class(&refused), told, "{name}");
    }
    assert_eq!(EventClass::of_family("something.new"), EventClass::Admin);
}

#[test]
fn a_class_goes_that_takes_more_than_it_may_or_the_most_of_a_log_that_does() {
    let bytes = [10, 70, 0, 30];
    let over = |retention: AuditRetention| {
        assert!(retention.removes() || retention == AuditRetention::default());
        let over = |class: &EventClass| retention.is_over(*class, &bytes);
        EventClass::ALL.into_iter().filter(over).collect::<Vec<_>>()
    };
    let all = |max_bytes| AuditRetention {
        max_bytes,
        ..AuditRetention::default()
    };
    assert_eq!(over(all(None)), []);
    assert_eq!(over(all(Some(110))), []);
    assert_eq!(over(all(Some(109))), [EventClass::Admin]);
    let each = |class_max_bytes| AuditRetention {
        class_max_bytes,
        ..AuditRetention::default()
    };
    assert_eq!(over(each([Some(10), None, Some(0), Some(30)])), []);
    assert_eq!(
        over(each([Some(9), Some(70), Some(0), Some(29)])),
        [EventClass::Access, EventClass::Denial]
    );
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
    assert_eq!(
        retention.look_again(&open, now),
        Some(at(11 * DAY)),
        "it may be closed long before it expires"
    );
    open.expires_at = at(10 * DAY + 1000);
    assert_eq!(
        retention.look_again(&open, now),
        Some(at(11 * DAY)),
        "and no sooner than it can be due"
    );
    let short = Retention {
        closed_leases: Span::from_secs(1),
        ..retention
    };
    open.expires_at = at(20 * DAY);
    assert_eq!(
        short.look_again(&open, now),
        Some(at(10 * DAY + 3_600_000)),
        "an hour late at most"
    );
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
