//! Random histories of one credential: the ledger and its leases are walked side by side with a plain model,
//! and after every step both must say the same and every invariant must hold.

use std::collections::BTreeSet;

use proptest::prelude::*;

use self::model::{End, Gone, Life, Model};
use super::{
    error::{Code, Result},
    lease::{self, Ending, Lease, LeaseStatus},
    ledger::{CredentialState, Emptied, Ledger, Stage},
    policy::{Delivery, OnRotate, Terms},
    time::{Span, Timestamp, Ttl},
};

mod model;

#[derive(Debug, Clone)]
enum Step {
    Wait(u64),
    Terms(Terms),
    Grant(Delivery, Option<u64>, bool),
    Redeem(usize),
    Renew(usize, Option<u64>),
    Release(usize),
    RevokeLease(usize),
    /// Closes some of the leases that are due.
    Reap(usize),
    /// Closes some of the leases whose version was stopped.
    Sweep(usize),
    Rotate(OnRotate),
    RevokeVersion(u32),
    Revoke,
    Enable(bool),
}

/// The credential under test, its leases, and the model of both.
struct World {
    model: Model,
    ledger: Ledger,
    leases: Vec<Lease>,
    /// Versions that were emptied, each at most once.
    emptied: BTreeSet<u32>,
}

fn code<T>(result: &Result<T>) -> Result<&T, Code> {
    result.as_ref().map_err(super::error::Error::code)
}

fn gone(emptied: &[Emptied]) -> Vec<Gone> {
    emptied
        .iter()
        .map(|emptied| {
            (
                emptied.number,
                emptied.revealed_at.is_some(),
                emptied.retires,
            )
        })
        .collect()
}

fn ttl(millis: Option<u64>) -> Option<Ttl> {
    millis.and_then(|millis| Ttl::from_span(Span::from_millis(millis)))
}

impl World {
    fn new(terms: Terms) -> Self {
        Self {
            model: Model::new(terms, 1_000),
            ledger: Ledger::new(),
            leases: Vec::new(),
            emptied: BTreeSet::new(),
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.model.now)
    }

    fn pinned(&self, lease: usize) -> u32 {
        let lease = &self.leases[lease];
        self.ledger.pinned(lease.version, lease.delivery)
    }

    /// The lease that a random number means, closed ones too.
    fn pick(&self, number: usize) -> Option<usize> {
        (!self.leases.is_empty()).then(|| number % self.leases.len())
    }

    fn step(&mut self, step: Step) {
        let (before, now) = (self.ledger.clone(), self.now());
        let refused = match step {
            Step::Wait(millis) => {
                self.model.now += millis;
                false
            }
            Step::Terms(terms) => {
                self.model.terms = terms;
                false
            }
            Step::Grant(delivery, ttl, reveal) => self.grant(delivery, ttl, reveal),
            Step::Redeem(number) => self.pick(number).is_some_and(|lease| self.redeem(lease)),
            Step::Renew(number, millis) => self
                .pick(number)
                .is_some_and(|lease| self.renew(lease, millis)),
            Step::Release(number) => {
                if let Some(lease) = self.pick(number) {
                    let open = self.leases[lease].check_open(now);
                    assert_eq!(code(&open).copied(), self.model.check_open(lease));
                    if open.is_ok() {
                        self.close(lease, End::Released);
                    }
                }
                false
            }
            Step::RevokeLease(number) => {
                if let Some(lease) = self.pick(number) {
                    self.close(lease, End::Revoked);
                }
                false
            }
            Step::Reap(most) => {
                let due = |lease: &Lease| lease.expires_at <= now;
                self.close_some(most, End::Expired, |world, lease| due(&world.leases[lease]));
                false
            }
            Step::Sweep(most) => {
                self.close_some(most, End::Revoked, |world, lease| {
                    let version = world.ledger.version(world.pinned(lease)).unwrap();
                    matches!(version.stage, Stage::Cut | Stage::Revoked)
                });
                false
            }
            Step::Rotate(mode) => self.rotate(mode),
            Step::RevokeVersion(number) => {
                let number = 1 + number % (self.model.newest() + 1);
                let leases = self.ledger.revoke_version(number);
                let expected = self.model.revoke_version(number);
                assert_eq!(code(&leases).map(|leases| *leases as usize), expected);
                leases.is_err()
            }
            Step::Revoke => {
                let held = self.ledger.revoke();
                let held: Vec<_> = held.iter().map(|version| version.number).collect();
                assert_eq!(held, self.model.revoke());
                false
            }
            Step::Enable(active) => {
                if self.ledger.state != CredentialState::Revoked {
                    self.ledger.state = match active {
                        true => CredentialState::Active,
                        false => CredentialState::Disabled,
                    };
                    self.model.state = self.ledger.state;
                }
                false
            }
        };
        assert!(!refused || self.ledger == before, "a refusal changed it");
        self.check();
    }

    fn grant(&mut self, delivery: Delivery, millis: Option<u64>, reveal: bool) -> bool {
        let (now, terms) = (self.now(), self.model.terms.clone());
        let version = self.ledger.grant(delivery, terms.max_leases, now);
        assert_eq!(
            code(&version).copied(),
            self.model.grant(delivery, millis, reveal)
        );
        let Ok(version) = version else { return true };
        // INVARIANT (lease-cap)
        assert!(self.ledger.active <= terms.max_leases);
        let grant = lease::Grant {
            version,
            requested_ttl: ttl(millis),
            reveal,
            ..lease::tests::grant(delivery)
        };
        self.leases.push(Lease::issue(grant, &terms, now));
        false
    }

    fn redeem(&mut self, lease: usize) -> bool {
        let (now, version) = (self.now(), self.pinned(lease));
        if self.leases[lease].counted() {
            let usable = self.ledger.check_use(version);
            assert_eq!(code(&usable).copied(), self.model.check_use(version));
            if usable.is_err() {
                return true;
            }
        }
        let redeemed = self.leases[lease].redeem(now);
        assert_eq!(code(&redeemed).copied(), self.model.redeem(lease));
        if redeemed.is_ok() {
            // INVARIANT (ttl)
            assert!(now < self.leases[lease].expires_at);
            self.ledger.mark_revealed(version, now);
        }
        redeemed.is_err()
    }

    fn renew(&mut self, lease: usize, millis: Option<u64>) -> bool {
        let (now, terms) = (self.now(), self.model.terms.clone());
        let before = self.leases[lease].clone();
        let renewed = self.leases[lease].renew(ttl(millis), &terms, now);
        assert_eq!(code(&renewed).copied(), self.model.renew(lease, millis));
        match renewed {
            // INVARIANT (ttl)
            Ok(()) => assert!(now < before.expires_at && now < self.leases[lease].expires_at),
            Err(_) => assert_eq!(self.leases[lease], before, "a refusal changed it"),
        }
        renewed.is_err()
    }

    fn close(&mut self, lease: usize, end: End) {
        let ending = match end {
            End::Expired => Ending::Expired,
            End::Released => Ending::Released {
                by: lease::tests::author(),
            },
            End::Revoked => Ending::Revoked {
                by: None,
                reason: None,
            },
        };
        let (now, version) = (self.now(), self.pinned(lease));
        let before = self.leases[lease].clone();
        if !before.counted() {
            let again = self.leases[lease].close(version, ending, now);
            assert_eq!(code(&again), Err(Code::Internal));
            assert_eq!(self.leases[lease], before, "a closed lease was changed");
            return;
        }
        self.leases[lease].close(version, ending, now).unwrap();
        let emptied = self.ledger.close(version, before.delivery).unwrap();
        let emptied: Vec<_> = emptied.into_iter().collect();
        assert_eq!(gone(&emptied), self.model.close(lease, end));
    }

    fn close_some(&mut self, most: usize, end: End, which: impl Fn(&Self, usize) -> bool) {
        let found: Vec<_> = (0..self.leases.len())
            .filter(|lease| self.leases[*lease].counted() && which(self, *lease))
            .take(most)
            .collect();
        found.into_iter().for_each(|lease| self.close(lease, end));
    }

    fn rotate(&mut self, mode: OnRotate) -> bool {
        let newest = self.ledger.newest;
        let rotation = self.ledger.rotate(mode);
        let expected = self.model.rotate(mode);
        let told = code(&rotation).map(|rotation| model::Rotated {
            new: rotation.new,
            gone: gone(&rotation.emptied),
            to_close: rotation.to_close as usize,
        });
        assert_eq!(told, expected);
        if let Ok(rotation) = &rotation {
            assert_eq!((rotation.old, rotation.new), (newest, newest + 1));
        }
        rotation.is_err()
    }

    fn check(&mut self) {
        let open = |version| self.model.open(version);
        // INVARIANT (lease-cap): the counter is the count of open records.
        let counted = self.leases.iter().filter(|lease| lease.counted()).count();
        let summed: u32 = self.ledger.versions.iter().map(|v| v.leases()).sum();
        assert_eq!(self.ledger.active as usize, counted);
        assert_eq!(self.ledger.active, summed);
        assert_eq!(open(None).count(), counted);
        assert_eq!(self.ledger.state, self.model.state);
        assert_eq!(self.ledger.newest, self.model.newest());
        let numbers = self.ledger.versions.iter().map(|version| version.number);
        assert!(
            numbers.is_sorted_by(|a, b| a < b),
            "numbers are never reused"
        );
        for number in 1..=self.model.newest() {
            let (life, revealed) = self.model.versions[number as usize - 1];
            let stage = match life {
                Life::Current => Stage::Current,
                Life::Rotated => Stage::Rotated,
                Life::Cut => Stage::Cut,
                Life::Revoked => Stage::Revoked,
                // INVARIANT (retire-on-last-close): gone for good, with its last lease.
                Life::Gone => {
                    assert!(self.ledger.version(number).is_none(), "{number} is back");
                    assert_eq!(open(Some(number)).count(), 0);
                    self.emptied.insert(number);
                    continue;
                }
            };
            assert!(!self.emptied.contains(&number));
            let version = self.ledger.version(number).expect("a version in use");
            let of = |delivery| {
                let leases = open(Some(number));
                leases.filter(|lease| lease.delivery == delivery).count()
            };
            assert_eq!(
                (version.stage, version.revealed_at.is_some()),
                (stage, revealed)
            );
            assert_eq!(version.reveal as usize, of(Delivery::Reveal));
            assert_eq!(version.broker as usize, of(Delivery::Broker));
            assert!(stage == Stage::Current || version.leases() > 0);
        }
        for (at, lease) in self.leases.iter().enumerate() {
            let expected = &self.model.leases[at];
            // INVARIANT (ttl)
            assert!(lease.expires_at <= lease.max_expires_at);
            assert_eq!(lease.max_expires_at.as_millis(), expected.last);
            assert_eq!(lease.issued_at.as_millis(), expected.issued);
            assert_eq!(lease.expires_at.as_millis(), expected.expires);
            assert_eq!(lease.counted(), expected.end.is_none());
            let status = match self.model.end(at) {
                None => LeaseStatus::Active,
                Some(End::Expired) => LeaseStatus::Expired,
                Some(End::Released) => LeaseStatus::Released,
                Some(End::Revoked) => LeaseStatus::Revoked,
            };
            assert_eq!(lease.status(self.now()), status);
            if lease.counted() {
                assert_eq!(self.pinned(at), expected.uses);
                assert!(self.ledger.version(expected.uses).is_some());
            } else {
                assert_eq!(lease.version, expected.uses, "the version used last");
            }
        }
    }
}

fn terms() -> impl Strategy<Value = Terms> {
    let uses = prop_oneof![3 => Just(None), 1 => (1..4u32).prop_map(Some)];
    (1..12u32, 1..100u64, 1..200u64, uses, 0..8u8).prop_map(
        |(max, default, longest, uses, dice)| Terms {
            default_lease_ttl: Ttl::from_secs(default.min(longest)),
            max_lease_ttl: Ttl::from_secs(longest),
            max_leases: max,
            max_uses: uses,
            renewable: dice > 0,
            ..Terms::default()
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let delivery = || prop_oneof![Just(Delivery::Broker), Just(Delivery::Reveal)];
    let millis = || prop::option::of(1..250_000u64);
    let mode = prop_oneof![
        2 => Just(OnRotate::Drain),
        3 => Just(OnRotate::Follow),
        1 => Just(OnRotate::Cut),
    ];
    // Whole seconds meet an expiry to the millisecond.
    let wait = prop_oneof![1..40_000u64, (1..40u64).prop_map(|secs| secs * 1_000)];
    prop_oneof![
        8 => wait.prop_map(Step::Wait),
        2 => terms().prop_map(Step::Terms),
        // Only a reveal lease shows its value in the answer.
        16 => (delivery(), millis(), any::<bool>()).prop_map(|(delivery, ttl, reveal)| {
            Step::Grant(delivery, ttl, reveal && delivery == Delivery::Reveal)
        }),
        8 => any::<usize>().prop_map(Step::Redeem),
        6 => (any::<usize>(), millis()).prop_map(|(lease, ttl)| Step::Renew(lease, ttl)),
        5 => any::<usize>().prop_map(Step::Release),
        2 => any::<usize>().prop_map(Step::RevokeLease),
        4 => (1..6usize).prop_map(Step::Reap),
        4 => (1..6usize).prop_map(Step::Sweep),
        8 => mode.prop_map(Step::Rotate),
        2 => any::<u32>().prop_map(Step::RevokeVersion),
        1 => any::<bool>().prop_map(Step::Enable),
        1 => Just(Step::Enable(true)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    // INVARIANT (lease-cap), (ttl), (retire-on-last-close)
    #[test]
    fn every_history_agrees_with_the_model(
        terms in terms(),
        steps in prop::collection::vec(step(), 1..120),
        after_the_end in prop::collection::vec(step(), 0..20),
    ) {
        let mut world = World::new(terms);
        steps.into_iter().for_each(|step| world.step(step));
        world.step(Step::Revoke);
        after_the_end.into_iter().for_each(|step| world.step(step));
        // Once everything is closed, nothing is left.
        world.step(Step::Sweep(usize::MAX));
        assert_eq!((world.ledger.active, world.ledger.versions.len()), (0, 0));
    }
}
