use super::*;
use crate::domain::{
    event::{Change, Object, Origin},
    id::{EventId, IdentityId, KeyId, WorkspaceId},
    name::{CredentialName, IdentityName},
    principal::{IdentityType, ProofId},
};

const CREDENTIAL: CredentialId = CredentialId::from_bytes([1; 16]);

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn lease(number: u16) -> LeaseId {
    let mut bytes = [0; 16];
    bytes[14..].copy_from_slice(&number.to_be_bytes());
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
        namesakes: BTreeSet::new(),
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
            field: "expires_at".into(),
            before: None,
            after: Some(at(1_000_000).to_string().into()),
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
    assert_eq!((second.redemptions, second.places.told.len()), (1, 2));
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
    let earlier = found.earlier.into_readers();
    assert_eq!((earlier.len(), earlier[0].leases), (1, 1));
    assert_eq!(earlier[0].last_lease_ended_at, at(20));
    assert_eq!(earlier[0].roles, ["holder", "redeemer"]);
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
    assert_eq!(row.places.told.len() as u64 + row.places.more, 101);
}

/// Changes a record before it is taken.
fn with(mut one: Numbered, change: impl FnOnce(&mut AuditRecord)) -> Numbered {
    change(&mut one.record);
    one
}

/// Somebody else acts, with another key.
fn by(one: Numbered, id: u8, name: &str, kind: IdentityType) -> Numbered {
    with(one, |record| {
        record.actor = Actor::Identity {
            identity: IdentityId::from_bytes([id; 16]),
            name: IdentityName::parse(name, "name").unwrap(),
            kind,
            proof: ProofId::Key(KeyId::from_bytes([id; 16])),
        };
    })
}

#[test]
fn a_client_cannot_push_out_where_others_were_by_what_it_calls_itself() {
    let mut records = vec![record(LeaseIssued, 1, 1, "192.0.2.1")];
    for number in 0..500u64 {
        let one = record(LeaseRedeemed, 1, 2 + number, "192.0.2.1");
        records.push(with(one, |record| {
            record.origin.as_mut().unwrap().user_agent = Some(format!("agent/{number}"));
        }));
    }
    let thief = record(LeaseRedeemed, 1, 900, "198.51.100.66");
    records.push(by(thief, 9, "mallory", IdentityType::Agent));
    let found = collected(wanted(None, 1_000), &records);
    let row = &found.rows[&lease(1)];
    let addresses: Vec<_> = row.places.told.iter().map(|one| one.source_ip).collect();
    assert_eq!(addresses.len(), 3, "{addresses:?}");
    assert_eq!(addresses[2], Some("198.51.100.66".parse().unwrap()));
    let place = &row.places.told[1];
    assert_eq!(place.count, 500);
    assert_eq!(
        place.further_user_agents.len() as u64 + place.more_user_agents + 1,
        500
    );
    // Its key as well, and what no key is told of is counted.
    assert_eq!((row.proofs.len(), row.more_proofs), (2, 0));
    let mut records = vec![record(LeaseIssued, 1, 1, "192.0.2.1")];
    for id in 0..=255u8 {
        let one = record(LeaseRedeemed, 1, 2 + u64::from(id), "192.0.2.1");
        records.push(by(one, id, "alice", IdentityType::Agent));
    }
    let found = collected(wanted(None, 1_000), &records);
    let row = &found.rows[&lease(1)];
    assert!(row.more_proofs > 0);
    assert_eq!(row.proofs.len() as u64 + row.more_proofs, 256);
}

#[test]
fn who_took_the_value_before_the_window_by_an_open_lease_is_told() {
    let records = [
        record(LeaseIssued, 1, 10, "192.0.2.1"),
        record(LeaseRedeemed, 1, 11, "198.51.100.7"),
        record(LeaseRedeemed, 1, 60, "192.0.2.1"),
    ];
    let found = collected(wanted(Some(50), 100), &records);
    let row = &found.rows[&lease(1)];
    assert_eq!((row.redemptions, row.revealed_at), (1, Some(at(11))));
    let place = &row.places.told[1];
    assert_eq!(place.source_ip, Some("198.51.100.7".parse().unwrap()));
    assert_eq!((place.count, place.earlier), (0, 1));
    assert_eq!(
        (row.places.told[2].count, row.places.told[2].earlier),
        (1, 0)
    );
}

#[test]
fn a_lease_is_told_of_whatever_record_of_it_is_left() {
    let records = [
        record(LeaseRedeemed, 1, 60, "192.0.2.1"),
        record(LeaseReleased, 2, 70, "192.0.2.1"),
        record(EventName::LeaseRenewed, 3, 71, "192.0.2.1"),
        record(LeaseReleased, 4, 40, "192.0.2.1"),
    ];
    let found = collected(wanted(Some(50), 100), &records);
    assert_eq!(rows(&found), [1, 2, 3].map(lease));
    let first = &found.rows[&lease(1)];
    assert!(!first.told && first.requested_by.is_none());
    assert_eq!((first.redemptions, first.revealed_at), (1, Some(at(60))));
    // A version that it may have begun with is not ruled out, one that it showed is.
    let of = |version| {
        let wanted = Wanted {
            version: Some(version),
            ..wanted(Some(50), 100)
        };
        rows(&collected(wanted, &records))
    };
    assert_eq!(
        of(2),
        [1, 2, 3].map(lease),
        "until the store and rotations tell"
    );
}

#[test]
fn whoever_asks_in_anothers_name_and_takes_the_value_is_told_with_the_holder() {
    let ops = |one| by(one, 7, "ops", IdentityType::Human);
    let records = [
        ops(record(LeaseIssued, 1, 10, "192.0.2.1")),
        ops(record(LeaseRedeemed, 1, 10, "192.0.2.1")),
        ops(record(LeaseIssued, 2, 11, "192.0.2.1")),
        ops(record(LeaseRedeemed, 2, 12, "192.0.2.1")),
        record(LeaseReleased, 2, 20, "192.0.2.1"),
    ];
    let found = collected(wanted(Some(15), 100), &records);
    let row = &found.rows[&lease(1)];
    let people: Vec<_> = row
        .people()
        .map(|(who, role)| (who.spelled(), role.as_str()))
        .collect();
    assert_eq!(
        people,
        [
            ("alice".to_owned(), "holder"),
            ("human/ops".to_owned(), "requester"),
            ("human/ops".to_owned(), "redeemer")
        ]
    );
    let found = collected(wanted(Some(50), 100), &records);
    let readers = found.earlier.into_readers();
    let readers: Vec<_> = readers
        .iter()
        .map(|one| (one.who.spelled(), one.roles.clone()))
        .collect();
    assert_eq!(
        readers,
        [
            ("alice".to_owned(), vec!["holder"]),
            ("human/ops".to_owned(), vec!["requester", "redeemer"])
        ]
    );
}

#[test]
fn a_name_is_everybodys_who_had_it_and_a_type_takes_out_no_record() {
    let alice = |typed: Option<IdentityType>| Wanted {
        identity_name: Some(IdentityName::parse("alice", "name").unwrap()),
        kind: typed,
        ..wanted(None, 100)
    };
    let held_by = |one: Numbered, id: u8| {
        with(one, |record| {
            record.object.holder = Some(IdentityId::from_bytes([id; 16]))
        })
    };
    let records = [
        // By a namesake of another type, for the agent.
        by(
            record(LeaseIssued, 1, 10, "192.0.2.1"),
            7,
            "alice",
            IdentityType::Human,
        ),
        // By one that was deleted and had the name before.
        held_by(
            by(
                record(LeaseIssued, 2, 11, "192.0.2.1"),
                3,
                "alice",
                IdentityType::Agent,
            ),
            3,
        ),
        // The namesake's own.
        held_by(
            by(
                record(LeaseIssued, 3, 12, "192.0.2.1"),
                7,
                "alice",
                IdentityType::Human,
            ),
            7,
        ),
    ];
    let mut wanted = alice(Some(IdentityType::Agent));
    wanted.namesakes.insert(IdentityId::from_bytes([7; 16]));
    assert_eq!(rows(&collected(wanted, &records)), [1, 2].map(lease));
    assert_eq!(
        rows(&collected(alice(None), &records)),
        [1, 2, 3].map(lease)
    );
    let one = Wanted {
        identity: Some(IdentityId::from_bytes([3; 16])),
        ..self::wanted(None, 100)
    };
    assert_eq!(rows(&collected(one, &records)), [2].map(lease));
}

#[test]
fn of_too_many_earlier_readers_each_is_named_on_a_page() {
    let many = 3 * u16::try_from(super::super::earlier::MAX_EARLIER).unwrap();
    let mut records = Vec::new();
    for (time, number) in (1..).zip((0..many).rev()) {
        let mut id = [0; 16];
        id[..2].copy_from_slice(&(number / 2).to_be_bytes());
        for event in [LeaseIssued, LeaseRedeemed, LeaseReleased] {
            let one = record(event, number, time, "192.0.2.1");
            records.push(with(one, |record| {
                record.object.holder = Some(IdentityId::from_bytes(id));
                record.actor = Actor::vault("test");
                if event == LeaseIssued {
                    record.actor = Actor::Identity {
                        identity: IdentityId::from_bytes(id),
                        name: IdentityName::parse("x", "name").unwrap(),
                        kind: IdentityType::Agent,
                        proof: ProofId::Key(KeyId::from_bytes([6; 16])),
                    };
                }
            }));
        }
    }
    for source in [None, Some("192.0.2.0/24".parse().unwrap())] {
        let (mut seen, mut from, mut pages) = (BTreeSet::new(), None, 0);
        loop {
            let page = collected(
                Wanted {
                    from,
                    source,
                    ..wanted(Some(100_000), 1_000_000)
                },
                &records,
            );
            from = page.next_page();
            let readers = page.earlier.into_readers();
            assert!(readers.len() <= super::super::earlier::MAX_EARLIER);
            seen.extend(readers.iter().map(|one| one.who.id));
            pages += 1;
            if from.is_none() {
                break;
            }
        }
        assert_eq!((seen.len(), pages), (usize::from(many) / 2, 2));
    }
}

#[test]
fn a_rotation_that_leases_follow_is_seen_whatever_was_asked_for() {
    let broker = |number| {
        with(record(LeaseIssued, number, 10, "192.0.2.1"), |record| {
            record.changes.push(Change {
                field: "delivery".into(),
                before: None,
                after: Some("broker".into()),
            });
            record.object.session = Some("s".to_owned());
        })
    };
    let rotation = |time, version| {
        with(
            record(EventName::CredentialRotated, 0, time, "192.0.2.1"),
            |record| {
                record.object = Object {
                    credential: Some(CREDENTIAL),
                    version: Some(version),
                    ..Object::default()
                };
                record.changes = vec![Change {
                    field: "on_open_leases".into(),
                    before: None,
                    after: Some("follow".into()),
                }];
            },
        )
    };
    let ended = with(record(LeaseReleased, 2, 15, "192.0.2.1"), |record| {
        record.object.session = Some("s".to_owned());
    });
    let wanted = Wanted {
        session: Some("s".to_owned()),
        ..wanted(None, 100)
    };
    let mut found = collected(wanted, &[broker(1), broker(2), ended]);
    assert_eq!(found.followers(), BTreeMap::from([(CREDENTIAL, at(10))]));
    for (time, version) in [(5, 9), (20, 2), (30, 3), (100, 4)] {
        found.rotated(&rotation(time, version).record);
    }
    assert_eq!(found.rows[&lease(1)].versions, BTreeSet::from([1, 2, 3]));
    assert_eq!(found.rows[&lease(2)].versions, BTreeSet::from([1]));
}
