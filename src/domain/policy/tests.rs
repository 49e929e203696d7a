use super::*;

#[test]
fn each_level_overrides_the_one_below_and_the_ceiling_holds() {
    let named = LeasePolicy {
        default_lease_ttl: Some(Ttl::from_secs(900)),
        max_lease_ttl: Some(Ttl::from_secs(3600)),
        max_uses: Some(3),
        ..LeasePolicy::default()
    };
    let own = LeasePolicy {
        max_leases: Some(5),
        max_lease_ttl: Some(Ttl::from_secs(600)),
        ..LeasePolicy::default()
    };
    let over = |policy: &LeasePolicy, base: &Terms| policy.over(base, WORKSPACE_MAX_TTL);
    let terms = over(&own, &over(&named, &Terms::default()));
    assert_eq!((terms.max_leases, terms.max_uses), (5, Some(3)));
    // The own maximum cuts the named default.
    assert_eq!(
        (terms.default_lease_ttl, terms.max_lease_ttl),
        (Ttl::from_secs(600), Ttl::from_secs(600))
    );
    let greedy = LeasePolicy {
        max_lease_ttl: Some(Ttl::from_secs(u64::MAX / 1000)),
        ..LeasePolicy::default()
    };
    assert_eq!(
        over(&greedy, &Terms::default()).max_lease_ttl,
        WORKSPACE_MAX_TTL
    );
    let strict = Settings {
        default_lease_ttl: Ttl::from_secs(60),
        max_lease_ttl: Ttl::from_secs(300),
        ..Settings::default()
    };
    for (policy, default, max) in [
        (LeasePolicy::default(), 60, 300),
        (greedy, 60, 300),
        (own, 60, 300),
    ] {
        let terms = NamedPolicies::default().resolve(&policy, &strict).unwrap();
        assert_eq!(
            (terms.default_lease_ttl, terms.max_lease_ttl),
            (Ttl::from_secs(default), Ttl::from_secs(max)),
            "the workspace's ceiling holds over every policy"
        );
    }
}

#[test]
fn a_request_over_the_maximum_is_capped_and_says_so() {
    let terms = Terms {
        max_lease_ttl: Ttl::from_secs(60),
        default_lease_ttl: Ttl::from_secs(30),
        ..Terms::default()
    };
    assert_eq!(terms.grant_ttl(None), (Ttl::from_secs(30), false));
    assert_eq!(
        terms.grant_ttl(Some(Ttl::from_secs(60))),
        (Ttl::from_secs(60), false)
    );
    assert_eq!(
        terms.grant_ttl(Some(Ttl::from_secs(61))),
        (Ttl::from_secs(60), true)
    );
}

#[test]
fn policies_that_decide_nothing_are_refused() {
    let policy = LeasePolicy::default;
    for bad in [
        LeasePolicy {
            max_leases: Some(0),
            ..policy()
        },
        LeasePolicy {
            max_leases: Some(MAX_LEASES + 1),
            ..policy()
        },
        LeasePolicy {
            max_uses: Some(0),
            ..policy()
        },
        LeasePolicy {
            delivery: Some(vec![]),
            ..policy()
        },
        LeasePolicy {
            delivery: Some(vec![Delivery::Broker; 2]),
            ..policy()
        },
        LeasePolicy {
            default_lease_ttl: Some(Ttl::from_secs(2)),
            max_lease_ttl: Some(Ttl::from_secs(1)),
            ..policy()
        },
    ] {
        assert!(bad.check().is_err(), "{bad:?}");
    }
}
