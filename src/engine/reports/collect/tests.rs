use super::*;
use crate::domain::{
    event::{Change, Origin},
    id::{EventId, KeyId, WorkspaceId},
    name::{CredentialName, IdentityName},
    principal::{IdentityType, ProofId},
};

const CREDENTIAL: CredentialId = CredentialId::from_bytes([1; 16]);

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn lease(number: u16) -> LeaseId {
    let mut bytes = [0; 16];
    bytes[..2].copy_from_slice(&number.to_be_bytes());
    LeaseId::from_bytes(bytes)
}

fn wanted(since: Option<u64>, until: u64) -> Wanted {
    Wanted {
        credential: None,
        credential_name: Some(CredentialName::parse("a", "name").unwrap()),
        version: None,
        identity: None,
        identity_name: None,
        kind: None,
        session: None,
        source: None,
        since: since.map(at),
        until: at(until),
        from: None,
    }
}

/// A record of a lease at a time, from an address.
fn record(event: EventName, number: u16, time: u64, from: &str) -> Numbered {
    let changes = match event {
        EventName::LeaseIssued => vec![Change {
            field: "expires_at".to_owned(),
            before: None,
            after: Some(at(1_000_000).to_string()),
        }],
        _ => Vec::new(),
    };
    Numbered {
        sequence: time,
        record: AuditRecord {
            id: EventId::from_bytes([0; 16]),
            time: at(time),
            workspace: WorkspaceId::from_bytes([8; 16]),
            event,
            actor: Actor::Identity {
                identity: IdentityId::from_bytes([2; 16]),
                name: IdentityName::parse("alice", "name").unwrap(),
                kind: IdentityType::Agent,
                proof: ProofId::Key(KeyId::from_bytes([6; 16])),
            },
            object: Object {
                credential: Some(CREDENTIAL),
                credential_name: Some(CredentialName::parse("a", "name").unwrap()),
                version: Some(1),
                lease: Some(lease(number)),
                holder: Some(IdentityId::from_bytes([2; 16])),
                holder_name: Some(IdentityName::parse("alice", "name").unwrap()),
                session: None,
                name: None,
            },
            outcome: Outcome::Success,
            policy: None,
            origin: Some(Origin {
                request_id: "r".to_owned(),
                source_ip: Some(from.parse().unwrap()),
                user_agent: None,
            }),
            purpose: None,
            reason: None,
            changes,
            requests: Vec::new(),
        },
    }
}

use EventName::{LeaseIssued, LeaseRedeemed, LeaseReleased};

fn collected(wanted: Wanted, records: &[Numbered]) -> Collected {
    let from_source = wanted.source.map(|net| {
        let mut found = FromSource::new(net, &wanted);
        records.iter().for_each(|one| found.take(&one.record));
        found
    });
    let mut collected = Collected::new(wanted, from_source);
    for one in records {
        collected.take(one.clone());
    }
    collected
}

fn rows(collected: &Collected) -> Vec<LeaseId> {
    collected.rows.keys().copied().collect()
}

#[test]
fn a_lease_counts_that_was_open_at_any_moment_of_the_window() {
    let mut records = Vec::new();
    // Issued and released: the window is from 100 to 200.
    for (number, (issued, released)) in [
        (50, None),
        (50, Some(100)),
        (50, Some(101)),
        (50, Some(250)),
        (100, Some(150)),
        (199, Some(300)),
        (200, None),
    ]
    .into_iter()
    .enumerate()
    {
        let number = u16::try_from(number).unwrap();
        records.push(record(LeaseIssued, number, issued, "192.0.2.1"));
        records.extend(released.map(|at| record(LeaseReleased, number, at, "192.0.2.1")));
    }
    records.sort_by_key(|one| one.sequence);
    let found = collected(wanted(Some(100), 200), &records);
    assert_eq!(rows(&found), [0, 2, 3, 4, 5].map(lease));
    let whole = collected(wanted(None, 1_000), &records);
    assert_eq!(rows(&whole), [0, 1, 2, 3, 4, 5, 6].map(lease));
}

#[test]
fn of_too_many_leases_each_is_on_exactly_one_page() {
    let many = u16::try_from(2 * MAX_LEASES + 3).unwrap();
    // The log is not in the order of ids.
    let mut numbers: Vec<u16> = (0..many).collect();
    numbers.reverse();
    let records: Vec<_> = (1..)
        .zip(&numbers)
        .map(|(time, number)| record(LeaseIssued, *number, time, "192.0.2.1"))
        .collect();
    for source in [None, Some("192.0.2.0/24".parse().unwrap())] {
        let (mut seen, mut from) = (Vec::new(), None);
        loop {
            let page = collected(
                Wanted {
                    from,
                    source,
                    ..wanted(None, 1_000_000)
                },
                &records,
            );
            assert!(page.rows.len() <= MAX_LEASES);
            seen.extend(rows(&page));
            from = page.next_page();
            if from.is_none() {
                break;
            }
        }
        assert_eq!(seen, (0..many).map(lease).collect::<Vec<_>>());
    }
}

#[test]
fn a_source_is_where_a_lease_was_taken_or_used() {
    let records = [
        record(LeaseIssued, 1, 10, "192.0.2.1"),
        record(LeaseIssued, 2, 11, "198.51.100.1"),
        record(LeaseIssued, 3, 12, "198.51.100.1"),
        record(LeaseRedeemed, 2, 20, "192.0.2.7"),
        record(LeaseRedeemed, 3, 900, "192.0.2.7"),
        record(LeaseIssued, 4, 21, "::ffff:192.0.2.9"),
    ];
    let found = collected(
        Wanted {
            source: Some("192.0.2.0/24".parse().unwrap()),
            ..wanted(Some(5), 100)
        },
        &records,
    );
    // The third was used from there after the window only; a mapped address is the address.
    assert_eq!(rows(&found), [1, 2, 4].map(lease));
    let second = &found.rows[&lease(2)];
    assert_eq!((second.redemptions, second.places.len()), (1, 2));
}

#[test]
fn who_read_a_value_before_the_window_is_remembered_apart() {
    let records = [
        record(LeaseIssued, 1, 10, "192.0.2.1"),
        record(LeaseRedeemed, 1, 11, "192.0.2.1"),
        record(LeaseIssued, 2, 12, "192.0.2.1"),
        record(LeaseReleased, 1, 20, "192.0.2.1"),
        record(LeaseReleased, 2, 21, "192.0.2.1"),
    ];
    let found = collected(wanted(Some(50), 100), &records);
    assert!(found.rows.is_empty());
    let earlier: Vec<_> = found.earlier.values().collect();
    assert_eq!((earlier.len(), earlier[0].leases), (1, 1));
    assert_eq!(earlier[0].last_lease_ended_at, at(20));
}

#[test]
fn places_are_bounded_and_none_is_lost_from_the_count() {
    let mut records = vec![record(LeaseIssued, 1, 1, "192.0.2.1")];
    for number in 0..100u64 {
        let from = format!("198.51.100.{number}");
        records.push(record(LeaseRedeemed, 1, 2 + number, &from));
    }
    let found = collected(wanted(None, 1_000), &records);
    let row = &found.rows[&lease(1)];
    assert_eq!(row.redemptions, 100);
    assert_eq!(row.places.len() as u64 + row.more_places, 101);
}
