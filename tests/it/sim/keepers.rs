//! What keepers do to credentials.

use std::collections::BTreeMap;

use leasehold::{
    audit::query::{AuditFilter, Window},
    domain::{
        event::EventName,
        kind::CredentialType,
        ledger::CredentialState,
        name::Metadata,
        policy::{LeasePolicy, LeasePolicyPatch, OnRotate},
        secret::SecretText,
        time::Span,
    },
    engine::{
        BulkFilter, CreateCredential, CredentialFilter, PageRequest, RotateCredential,
        UpdateCredential, VersionFilter,
    },
};

use super::{
    actions::Action,
    clients::{Client, name, ttl},
    model::{Policy, What, hold},
    shared::Expect,
};

impl Client {
    pub async fn credentials(&self, credential: &str) {
        let (call, id) = self.shared.ask(self.client, What::Other);
        let engine = self.shared.vault().engine;
        let (page, all, every, credential) = (
            PageRequest::default(),
            CredentialFilter::default(),
            VersionFilter::default(),
            name(credential),
        );
        let what = self.shared.dice.below(4);
        let answer = match what {
            0 => {
                let listed = engine.credentials(&call, &all, &page);
                self.shared
                    .answer(listed)
                    .await
                    .map(|listed| listed.map(drop))
            }
            1 => self
                .shared
                .answer(engine.credential(&call, &credential))
                .await
                .map(|shown| shown.map(drop)),
            2 => self
                .shared
                .answer(engine.forget_answers())
                .await
                .map(|forgotten| forgotten.map(drop)),
            _ => {
                let listed = engine.versions(&call, &credential, &every, &page);
                self.shared
                    .answer(listed)
                    .await
                    .map(|listed| listed.map(drop))
            }
        };
        let line = ["credentials", "credential", "housekeeping", "versions"][what as usize];
        self.shared.tell(self.client, (line, id), answer, |()| None);
    }

    pub async fn audit(&self) {
        let (call, id) = self.shared.ask(self.client, What::Other);
        let engine = self.shared.vault().engine;
        let window = Window {
            newest_first: true,
            after: None,
            offset: 0,
            limit: 20,
        };
        let filter = AuditFilter::default();
        let answer = self
            .shared
            .answer(engine.audit(&call, &filter, window))
            .await;
        let event = |event| {
            Some(Expect::Event {
                event,
                lease: None,
                value: None,
            })
        };
        let page = self.shared.tell(self.client, ("audit", id), answer, |_| {
            event(EventName::AuditRead)
        });
        for found in page.into_iter().flat_map(|page| page.records) {
            let own = found.record.workspace == self.principal().workspace;
            self.shared.check(hold("isolation", own, || {
                format!("{:?} was shown", found.record.event)
            }));
        }
    }

    pub async fn bulk_revoke(&self, credential: &str) {
        let (call, id) = self.shared.ask(self.client, What::Other);
        let engine = self.shared.vault().engine;
        let one = self.shared.dice.one_in(2);
        let filter = BulkFilter {
            credential_name: one.then(|| name(credential)),
            all: !one,
            ..BulkFilter::default()
        };
        let answer = self
            .shared
            .answer(engine.revoke_leases(&call, &filter, None))
            .await;
        let event = |event| {
            Some(Expect::Event {
                event,
                lease: None,
                value: None,
            })
        };
        self.shared
            .tell(self.client, ("bulk-revoke", id), answer, |_| {
                event(EventName::LeaseBulkRevoked)
            });
    }

    fn policy(&self) -> Policy {
        let dice = &self.shared.dice;
        let default_ttl = Span::from_millis(1_000 + dice.below(20_000));
        Policy {
            max_leases: 1 + dice.below(5) as u32,
            default_ttl,
            max_ttl: Span::from_millis(default_ttl.as_millis() + dice.below(40_000)),
            max_uses: dice.one_in(3).then(|| 1 + dice.below(3) as u32),
            on_rotate: dice.pick(&[OnRotate::Drain, OnRotate::Follow, OnRotate::Cut]),
        }
    }

    /// What keepers do to a credential.
    pub async fn keep(&self, action: Action, credential: &'static str) {
        let shared = &self.shared;
        let (engine, dice) = (shared.vault().engine, &shared.dice);
        let value = format!("value-{}", dice.next());
        let policy = self.policy();
        let state = dice.weighed(&[4, 8, 1]);
        let state = [
            CredentialState::Disabled,
            CredentialState::Active,
            CredentialState::Revoked,
        ][state];
        let what = match action {
            Action::Create => What::Create {
                policy,
                value: value.clone(),
            },
            Action::Rotate => What::Rotate {
                value: value.clone(),
            },
            Action::Policy => What::Update {
                policy: Some(policy),
                state: None,
            },
            Action::State => What::Update {
                policy: None,
                state: Some(state),
            },
            _ => What::Other,
        };
        let (call, request) = shared.ask(self.client, what);
        let named = name(credential);
        let line = format!("{action:?} {credential}");
        let about = (line.as_str(), request);
        let event = |event| {
            Some(Expect::Event {
                event,
                lease: None,
                value: None,
            })
        };
        match action {
            Action::Create => {
                let command = CreateCredential {
                    name: named,
                    kind: CredentialType::GenericSecret,
                    value: SecretText::new(value),
                    description: None,
                    metadata: Metadata::new(BTreeMap::new()).unwrap(),
                    policy: LeasePolicy {
                        max_leases: Some(policy.max_leases),
                        default_lease_ttl: Some(ttl(policy.default_ttl)),
                        max_lease_ttl: Some(ttl(policy.max_ttl)),
                        max_uses: policy.max_uses,
                        on_rotate: Some(policy.on_rotate),
                        ..LeasePolicy::default()
                    },
                    canary: false,
                };
                let answer = shared
                    .answer(engine.create_credential(&call, command))
                    .await;
                let made = shared.tell(self.client, about, answer, |_| {
                    event(EventName::CredentialCreated)
                });
                made.map(|_| shared.names.borrow_mut().insert((self.client, credential)));
            }
            Action::Rotate => {
                let command = RotateCredential {
                    new_value: SecretText::new(value),
                    metadata: BTreeMap::new(),
                    on_open_leases: dice.pick(&[
                        None,
                        Some(OnRotate::Drain),
                        Some(OnRotate::Follow),
                        Some(OnRotate::Cut),
                    ]),
                    expected_version: None,
                };
                let answer = shared
                    .answer(engine.rotate_credential(&call, &named, command))
                    .await;
                shared.tell(self.client, about, answer, |_| {
                    event(EventName::CredentialRotated)
                });
            }
            Action::Policy | Action::State => {
                let patch = LeasePolicyPatch {
                    max_leases: Some(Some(policy.max_leases)),
                    default_lease_ttl: Some(Some(ttl(policy.default_ttl))),
                    max_lease_ttl: Some(Some(ttl(policy.max_ttl))),
                    max_uses: Some(policy.max_uses),
                    on_rotate: Some(Some(policy.on_rotate)),
                    ..LeasePolicyPatch::default()
                };
                let update = match action {
                    Action::Policy => UpdateCredential {
                        policy: Some(patch),
                        ..UpdateCredential::default()
                    },
                    _ => UpdateCredential {
                        state: Some(state),
                        ..UpdateCredential::default()
                    },
                };
                let answer = shared
                    .answer(engine.update_credential(&call, &named, update))
                    .await;
                shared.tell(self.client, about, answer, |_| {
                    event(EventName::CredentialUpdated)
                });
            }
            Action::RevokeVersion => {
                let version = 1 + dice.below(4) as u32;
                let answer = shared
                    .answer(engine.revoke_version(&call, &named, version, None))
                    .await;
                shared.tell(self.client, about, answer, |_| {
                    event(EventName::CredentialVersionRevoked)
                });
            }
            _ => {
                let force = dice.one_in(2);
                let answer = shared
                    .answer(engine.delete_credential(&call, &named, force))
                    .await;
                // The last transaction of its cascade may be the vault's own.
                let deleted = shared.tell(self.client, about, answer, |_| Some(Expect::Recorded));
                deleted.map(|_| shared.names.borrow_mut().remove(&(self.client, credential)));
            }
        }
    }
}
