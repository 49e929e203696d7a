//! The clients: keepers and agents who ask at random, send requests again, hang up, and try what is not theirs.

use std::rc::Rc;

use leasehold::{
    domain::{
        error::{Code, Error, Result},
        event::EventName,
        lease::LeaseStatus,
        name::CredentialName,
        policy::Delivery,
        principal::Principal,
        scope::Role,
        time::{Span, Ttl},
    },
    engine::{IssueLease, Issued, LeaseFilter, LeaseView, PageRequest, WantedHolder},
};

use super::{
    actions::{ACTIONS, Action},
    base::Base,
    model::{What, hold},
    shared::{Expect, Hidden, Known, Shared, Wanted},
};

/// Both workspaces have credentials of these names.
const NAMES: [&str; 2] = ["alpha", "beta"];

/// One client, until everybody stops.
pub async fn run(shared: Rc<Shared>, client: usize) {
    let is_keeper = Base::get().principals[client].role == Some(Role::Owner);
    let client = Client { shared, client };
    let weights = ACTIONS.map(|(_, keeper, agent)| if is_keeper { keeper } else { agent });
    if is_keeper && !client.shared.stopping.get() {
        for credential in NAMES {
            if !client
                .shared
                .names
                .borrow()
                .contains(&(client.client, credential))
            {
                client.keep(Action::Create, credential).await;
            }
        }
    }
    while !client.shared.stopping.get() {
        let (action, ..) = ACTIONS[client.shared.dice.weighed(&weights)];
        client.act(action).await;
        client.shared.vault().doors.pass().await;
    }
}

pub fn name(name: &str) -> CredentialName {
    CredentialName::parse(name, "name").unwrap()
}

pub fn ttl(span: Span) -> Ttl {
    Ttl::from_span(span).unwrap()
}

pub struct Client {
    pub shared: Rc<Shared>,
    pub client: usize,
}

impl Client {
    pub fn principal(&self) -> &'static Principal {
        &Base::get().principals[self.client]
    }

    async fn act(&self, action: Action) {
        let credential = self.shared.dice.pick(&NAMES);
        match action {
            Action::Issue => self.issue(self.wanted(credential)).await,
            Action::IssueAgain => {
                if let Some(mut wanted) = self.sent() {
                    if self.shared.dice.one_in(8) {
                        // Not the same request any more.
                        wanted.ttl = Some(Span::from_secs(7));
                    }
                    self.issue(wanted).await;
                }
            }
            Action::Redeem | Action::Renew | Action::Release | Action::Revoke | Action::Show => {
                if let Some(lease) = self.lease() {
                    self.with_lease(action, lease).await;
                }
            }
            Action::List => self.list().await,
            Action::Forbidden => {
                let (call, id) = self.shared.ask(self.client, What::Other);
                let work = self.shared.vault().engine;
                let answer = self
                    .shared
                    .answer(work.credential(&call, &name(credential)))
                    .await;
                let told = self
                    .shared
                    .tell(self.client, ("forbidden", id), answer, |_| None);
                self.shared.check(hold("isolation", told.is_none(), || {
                    "an agent read a credential".to_owned()
                }));
            }
            Action::Credentials => self.credentials(credential).await,
            Action::Audit => self.audit().await,
            Action::BulkRevoke => self.bulk_revoke(credential).await,
            action => self.keep(action, credential).await,
        }
    }

    fn wanted(&self, credential: &'static str) -> Wanted {
        let dice = &self.shared.dice;
        let delivery = dice.pick(&[None, None, Some(Delivery::Reveal), Some(Delivery::Broker)]);
        let key = dice.one_in(2).then(|| format!("key-{}", dice.next()));
        let wanted = Wanted {
            credential,
            ttl: dice
                .one_in(2)
                .then(|| Span::from_millis(500 + dice.below(60_000))),
            delivery,
            reveal: delivery != Some(Delivery::Broker) && dice.one_in(5),
            key,
        };
        if wanted.key.is_some() {
            self.shared
                .wanted
                .borrow_mut()
                .push((self.principal().proof, wanted.clone()));
        }
        wanted
    }

    /// A request that was sent with this client's key before, answered or not.
    fn sent(&self) -> Option<Wanted> {
        let wanted = self.shared.wanted.borrow();
        let own: Vec<_> = wanted
            .iter()
            .filter(|(by, _)| *by == self.principal().proof)
            .collect();
        own.get(self.shared.dice.below(own.len() as u64) as usize)
            .map(|(_, wanted)| wanted.clone())
    }

    async fn issue(&self, wanted: Wanted) {
        let what = What::Issue {
            ttl: wanted.ttl,
            reveal: wanted.reveal,
            key: wanted.key.clone(),
        };
        let (mut call, id) = self.shared.ask(self.client, what);
        let engine = self.shared.vault().engine;
        if let Some(key) = &wanted.key {
            let body = format!(
                "{} {:?} {:?} {}",
                wanted.credential, wanted.ttl, wanted.delivery, wanted.reveal
            );
            let mark = engine.idempotency(call.principal.workspace, key, body.as_bytes());
            call.idempotency = Some(mark.unwrap());
        }
        let command = IssueLease {
            credential_name: name(wanted.credential),
            ttl: wanted.ttl.map(ttl),
            delivery: wanted.delivery,
            holder: WantedHolder::default(),
            purpose: None,
            reveal: wanted.reveal,
        };
        let answer = self.shared.answer(engine.issue_lease(&call, command)).await;
        let what = format!("issue {} key {}", wanted.credential, wanted.key.is_some());
        let issued = self
            .shared
            .tell(self.client, (&what, id), answer, |issued| {
                // Exposed to be compared with what was stored.
                let value = issued
                    .value
                    .as_ref()
                    .map(|value| Hidden(value.expose().to_owned()));
                let lease = Some(issued.view.lease.id);
                Some(match value {
                    Some(_) => Expect::Event {
                        event: EventName::LeaseRedeemed,
                        lease,
                        value,
                    },
                    None if wanted.key.is_some() => Expect::Lease(issued.view.lease.id),
                    None => Expect::Event {
                        event: EventName::LeaseIssued,
                        lease,
                        value,
                    },
                })
            });
        if let Some(issued) = issued {
            // Sent again, it answers with the lease as it was first, which may have been renewed since.
            let shown = issued.value.is_some() && wanted.key.is_none();
            let in_time = self.shared.observe() < issued.view.lease.expires_at;
            let how = || format!("{} was shown after its end", issued.view.lease.id);
            self.shared.check(hold("ttl", in_time || !shown, how));
            self.take(issued, wanted.key);
        }
    }

    /// The same request gets the same lease and handle.
    fn take(&self, issued: Issued, key: Option<String>) {
        let id = issued.view.lease.id;
        let handle = Rc::new(issued.handle);
        self.mine("isolation", &issued.view);
        if let Some(key) = key {
            let mut first_answers = self.shared.first_answers.borrow_mut();
            let at = (self.principal().proof, key);
            let (first, first_handle) = first_answers.entry(at).or_insert((id, handle.clone()));
            let same = *first == id && first_handle.expose() == handle.expose();
            self.shared.check(hold("idempotency", same, || {
                format!("{id} is the answer after {first}")
            }));
        }
        self.shared.note(format_args!(
            "  got {id} until {}",
            issued.view.lease.expires_at
        ));
        let (workspace, client) = (self.principal().workspace, self.client);
        self.shared.leases.borrow_mut().push(Known {
            id,
            handle,
            workspace,
            client,
        });
    }

    /// A lease of the client's own mostly, and now and then any.
    fn lease(&self) -> Option<Known> {
        let leases = self.shared.leases.borrow();
        let any = self.shared.dice.one_in(10);
        let own: Vec<_> = leases
            .iter()
            .filter(|lease| any || lease.client == self.client)
            .collect();
        // Mostly a late one: the others are closed by now.
        let from = own.len().saturating_sub(if any { 12 } else { 4 });
        own.get(from + self.shared.dice.below((own.len() - from) as u64) as usize)
            .map(|lease| (*lease).clone())
    }

    async fn with_lease(&self, action: Action, lease: Known) {
        let shared = &self.shared;
        let renewed =
            (shared.dice.one_in(2)).then(|| Span::from_millis(500 + shared.dice.below(60_000)));
        let what = match action {
            Action::Renew => What::Renew { ttl: renewed },
            _ => What::Other,
        };
        let was_closed = shared.closed.borrow().contains(&lease.id);
        let foreign = lease.workspace != self.principal().workspace;
        let (call, request) = shared.ask(self.client, what);
        let vault = shared.vault();
        let line = format!("{action:?} {}", lease.id);
        let about = (line.as_str(), request);
        let event = |event, value| {
            Some(Expect::Event {
                event,
                lease: Some(lease.id),
                value,
            })
        };
        let view: Option<LeaseView> = match action {
            Action::Redeem => {
                let answer = shared
                    .answer(vault.redeemer.redeem(&call, &lease.handle))
                    .await;
                self.foreign_is_missing(foreign, &answer);
                self.expires(&lease, &answer);
                let redeemed = shared.tell(self.client, about, answer, |done| {
                    // Exposed to be compared with what was stored.
                    event(
                        EventName::LeaseRedeemed,
                        Some(Hidden(done.value.expose().to_owned())),
                    )
                });
                redeemed.map(|done| done.view)
            }
            Action::Renew => {
                let answer = shared
                    .answer(vault.engine.renew_lease(&call, lease.id, renewed.map(ttl)))
                    .await;
                self.foreign_is_missing(foreign, &answer);
                self.expires(&lease, &answer);
                shared.tell(self.client, about, answer, |_| {
                    event(EventName::LeaseRenewed, None)
                })
            }
            Action::Release => {
                let answer = shared
                    .answer(vault.engine.release_lease(&call, lease.id))
                    .await;
                self.foreign_is_missing(foreign, &answer);
                self.expires(&lease, &answer);
                shared.tell(self.client, about, answer, |_| {
                    event(EventName::LeaseReleased, None)
                })
            }
            Action::Revoke => {
                let answer = shared
                    .answer(vault.engine.revoke_lease(&call, lease.id, None))
                    .await;
                self.foreign_is_missing(foreign, &answer);
                self.expires(&lease, &answer);
                shared.tell(self.client, about, answer, |_| {
                    event(EventName::LeaseRevoked, None)
                })
            }
            _ => {
                let answer = shared.answer(vault.engine.lease(&call, lease.id)).await;
                self.foreign_is_missing(foreign, &answer);
                self.expires(&lease, &answer);
                shared.tell(self.client, about, answer, |_| None)
            }
        };
        let Some(view) = view else { return };
        self.closes(&view);
        let (now, is_active) = (shared.observe(), view.status == LeaseStatus::Active);
        shared.check(hold("closed-for-good", !(is_active && was_closed), || {
            format!("{line} after it was closed")
        }));
        let in_time = now < view.lease.expires_at || !matches!(action, Action::Redeem);
        shared.check(hold("ttl", in_time, || {
            format!("{line} at {now}, {:?}", view.lease.expires_at)
        }));
    }

    /// Remembers what was told to be closed. By time alone it is so for good unless the store takes no writes at all.
    fn closes(&self, view: &LeaseView) {
        let is_active = view.status == LeaseStatus::Active;
        if !is_active && (!view.lease.counted() || self.shared.keeps_time()) {
            self.shared.closed.borrow_mut().insert(view.lease.id);
        }
    }

    /// The same of a refusal.
    fn expires<T>(&self, lease: &Known, answer: &Option<Result<T>>) {
        let expired = matches!(answer, Some(Err(error)) if error.code() == Code::LeaseExpired);
        if expired && self.shared.keeps_time() {
            self.shared.closed.borrow_mut().insert(lease.id);
        }
    }

    /// INVARIANT (isolation)
    fn foreign_is_missing<T>(&self, foreign: bool, answer: &Option<Result<T>>) {
        let missing = match answer {
            Some(Ok(_)) => false,
            Some(Err(error)) => {
                let like_missing = ["no such lease", "no such handle"].contains(&error.message());
                (error.code() == Code::NotFound && like_missing)
                    || error.code() == Code::StorageUnavailable
            }
            None => true,
        };
        if foreign {
            self.shared.count("foreign lease");
        }
        let how = || {
            format!(
                "client {} and a foreign lease: {:?}",
                self.client,
                answer.as_ref().map(|a| a.as_ref().err().map(Error::code))
            )
        };
        self.shared
            .check(hold("isolation", missing || !foreign, how));
    }

    /// INVARIANT (isolation): whoever is shown a lease shares its workspace.
    fn mine(&self, promise: &'static str, view: &LeaseView) {
        let holder = view.lease.holder.identity;
        let peers = Base::get()
            .principals
            .iter()
            .filter(|peer| peer.workspace == self.principal().workspace);
        let own = peers.clone().any(|peer| peer.identity == holder);
        let allowed =
            self.principal().role == Some(Role::Owner) || holder == self.principal().identity;
        self.shared.check(hold(promise, own && allowed, || {
            format!("client {} was shown {}", self.client, view.lease.id)
        }));
    }

    async fn list(&self) {
        let (call, id) = self.shared.ask(self.client, What::Other);
        let (engine, filter) = (self.shared.vault().engine, LeaseFilter::default());
        let closed = self.shared.closed.borrow().clone();
        let answer = self
            .shared
            .answer(engine.leases(&call, &filter, &PageRequest::default()))
            .await;
        let page = self
            .shared
            .tell(self.client, ("list", id), answer, |_| None);
        for view in page.into_iter().flat_map(|page| page.items) {
            self.mine("isolation", &view);
            let reopened = view.status == LeaseStatus::Active && closed.contains(&view.lease.id);
            self.shared.check(hold("closed-for-good", !reopened, || {
                format!("{} is listed as active", view.lease.id)
            }));
            self.closes(&view);
        }
    }
}
