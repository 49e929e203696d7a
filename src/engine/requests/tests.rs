use std::net::{IpAddr, Ipv4Addr};

use super::{strangers::Stranger, *};
use crate::domain::{
    id::{IdentityId, KeyId},
    name::IdentityName,
    principal::IdentityType,
    time::Timestamp,
};

fn entry(millis: u64) -> AnsweredRequest {
    AnsweredRequest {
        time: Timestamp::from_millis(millis),
        id: format!("req_{millis}"),
        method: "GET".into(),
        route: "/v1/leases".to_owned(),
        about: None,
        status: 200,
    }
}

fn by(key: u8, millis: u64) -> Served {
    Served {
        workspace: WorkspaceId::from_bytes([9; 16]),
        actor: Actor::Identity {
            identity: IdentityId::from_bytes([key; 16]),
            name: IdentityName::parse("a", "name").unwrap(),
            kind: IdentityType::Agent,
            proof: ProofId::Key(KeyId::from_bytes([key; 16])),
        },
        source_ip: None,
        user_agent: None,
        code: None,
        essential: false,
        request: entry(millis),
    }
}

fn times(batch: &Together) -> Vec<u64> {
    let times = batch.requests.iter().map(|one| one.time.as_millis());
    times.collect()
}

#[test]
fn only_requests_of_one_caller_source_and_outcome_share_a_record() {
    let source = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let agent = Some("agent/1".to_owned());
    let requests = vec![
        by(1, 1),
        Served {
            source_ip: source,
            ..by(1, 2)
        },
        by(2, 3),
        Served {
            user_agent: agent,
            ..by(1, 4)
        },
        by(1, 5),
        Served {
            code: Some("NOT_FOUND"),
            ..by(1, 6)
        },
        Served {
            workspace: WorkspaceId::SYSTEM,
            ..by(1, 7)
        },
        Served {
            essential: true,
            ..by(1, 8)
        },
    ];
    let mut found: Vec<_> = together(requests).iter().map(times).collect();
    found.sort();
    let expected: [&[u64]; 7] = [&[1, 5], &[2], &[3], &[4], &[6], &[7], &[8]];
    assert_eq!(found, expected);
}

#[test]
fn a_record_is_bounded_and_loses_none() {
    let found = together((0..100).map(|millis| by(1, millis)).collect());
    assert!(
        found
            .iter()
            .all(|batch| batch.requests.len() <= MAX_TOGETHER)
    );
    let all: Vec<_> = found.iter().flat_map(times).collect();
    assert!(all.into_iter().eq(0..100));
}

#[test]
fn a_flood_of_strangers_is_a_few_records_and_a_count() {
    let strangers = Strangers::default();
    for number in 0..100_000u32 {
        strangers.note(Stranger {
            source_ip: Some(IpAddr::V4(Ipv4Addr::from_bits(number % 1_000))),
            user_agent: None,
            code: "UNAUTHORIZED",
            request: entry(u64::from(number)),
        });
    }
    let taken = strangers.take();
    assert_eq!(taken.len(), 257);
    let counts = taken.values().map(|seen| seen.count);
    assert_eq!(counts.sum::<u64>(), 100_000);
    assert!(taken.values().all(|seen| seen.listed.len() <= 16));
    let others = &taken[&(None, "UNAUTHORIZED")];
    assert_eq!(
        (others.first.as_millis(), others.last.as_millis()),
        (256, 99_999)
    );
    // What could not be written comes back.
    strangers.put_back(taken);
    let again = strangers.take();
    assert_eq!(again.values().map(|seen| seen.count).sum::<u64>(), 100_000);
}
