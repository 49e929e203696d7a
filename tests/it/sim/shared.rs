//! What the clients, the scheduler and the checks of one run share.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet, HashMap},
    future::Future,
    rc::Rc,
    sync::Arc,
    task::Poll,
};

use leasehold::{
    clock::TimeSource,
    domain::{
        error::{Code, Result},
        event::{EventName, Origin},
        id::{LeaseId, WorkspaceId},
        policy::Delivery,
        principal::ProofId,
        secret::SecretText,
        time::{Span, Timestamp},
    },
    engine::{Call, Engine},
};

use super::{
    base::{Base, FakeTime},
    dice::Dice,
    executor::Doors,
    model::{Asked, Broken, Kept, Model, Requests, What, hold},
};

/// The vault as it runs now. Redemptions have an engine of their own, so that a bug can be planted in theirs.
#[derive(Clone)]
pub struct Vault {
    pub engine: Arc<Engine>,
    pub redeemer: Arc<Engine>,
    pub doors: Doors,
}

/// A lease that somebody was given.
#[derive(Clone)]
pub struct Known {
    pub id: LeaseId,
    pub handle: Rc<SecretText>,
    pub workspace: WorkspaceId,
    pub client: usize,
}

/// A request for a lease, as it is sent again.
#[derive(Clone)]
pub struct Wanted {
    pub credential: &'static str,
    pub ttl: Option<Span>,
    pub delivery: Option<Delivery>,
    pub reveal: bool,
    pub key: Option<String>,
}

/// A value that no history prints.
pub struct Hidden(pub String);

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

/// What an answer means for history.
#[derive(Debug)]
pub enum Expect {
    /// This happened, to this lease, with the value of the version that the record names.
    Event {
        event: EventName,
        lease: Option<LeaseId>,
        value: Option<Hidden>,
    },
    /// The lease exists, whichever request made it.
    Lease(LeaseId),
    /// Something was written down.
    Recorded,
}

/// The first answer to each caller's idempotency keys.
type FirstAnswers = HashMap<(ProofId, String), (LeaseId, Rc<SecretText>)>;

pub struct Shared {
    pub dice: Dice,
    pub time: Arc<FakeTime>,
    pub vault: RefCell<Option<Vault>>,
    pub requests: RefCell<Requests>,
    pub leases: RefCell<Vec<Known>>,
    pub wanted: RefCell<Vec<(ProofId, Wanted)>>,
    pub first_answers: RefCell<FirstAnswers>,
    /// Leases that were said to be closed.
    pub closed: RefCell<BTreeSet<LeaseId>>,
    /// Credentials that a keeper has stored and not deleted, as far as it was told.
    pub names: RefCell<BTreeSet<(usize, &'static str)>>,
    pub stopping: Cell<bool>,
    /// Whether anything was done since the start that may make the store refuse.
    pub troubled: Cell<bool>,
    pub seen: RefCell<BTreeMap<String, u64>>,
    told: RefCell<Vec<(String, Expect)>>,
    history: RefCell<Vec<String>>,
    broken: RefCell<Option<Broken>>,
    latest: Cell<(Timestamp, i64)>,
}

impl Shared {
    pub fn new(dice: Dice) -> Self {
        Self {
            dice,
            time: Arc::new(FakeTime::new()),
            vault: RefCell::default(),
            requests: RefCell::default(),
            leases: RefCell::default(),
            wanted: RefCell::default(),
            first_answers: RefCell::default(),
            closed: RefCell::default(),
            names: RefCell::default(),
            stopping: Cell::new(false),
            troubled: Cell::new(false),
            seen: RefCell::default(),
            told: RefCell::default(),
            history: RefCell::default(),
            broken: RefCell::default(),
            latest: Cell::new((Timestamp::from_millis(0), 0)),
        }
    }

    pub fn vault(&self) -> Vault {
        self.vault.borrow().clone().expect("a vault that runs")
    }

    pub fn note(&self, what: impl std::fmt::Display) {
        self.history
            .borrow_mut()
            .push(format!("{} {what}", self.latest.get().0));
    }

    pub fn history(&self) -> Vec<String> {
        self.history.borrow().clone()
    }

    pub fn count(&self, what: impl Into<String>) {
        *self.seen.borrow_mut().entry(what.into()).or_default() += 1;
    }

    /// Keeps the first promise that was broken.
    pub fn check(&self, kept: Kept) {
        if let Err(broken) = kept {
            self.broken.borrow_mut().get_or_insert(broken);
        }
    }

    pub fn broken(&self) -> Option<Broken> {
        self.broken.borrow().clone()
    }

    /// The vault's time, which may never be behind what it was, nor behind the wall.
    pub fn observe(&self) -> Timestamp {
        let (latest, boot) = self.latest.get();
        let now = self.vault().engine.now();
        let boot_now = self.time.boot_micros();
        let passed = latest.plus(Span::from_millis((boot_now - boot) as u64 / 1_000));
        let least = passed.max(Timestamp::from_millis(
            self.time.wall_micros() as u64 / 1_000,
        ));
        self.check(hold("clock", now >= least, || {
            format!("the vault's time is {now}, and it was {least}")
        }));
        self.latest.set((now.max(least), boot_now));
        now
    }

    /// After a restart: what is durable may not be in the future.
    pub fn restarted(&self, durable: Timestamp) {
        self.latest.set((durable, self.time.boot_micros()));
        self.observe();
    }

    /// A call of this client, known by its id from now on.
    pub fn ask(&self, client: usize, what: What) -> (Call, String) {
        let principal = Base::get().principals[client].clone();
        let at = self.observe();
        let request_id = format!("req_{}", self.requests.borrow().len());
        let asked = Asked {
            workspace: principal.workspace,
            by: principal.proof,
            what,
            at,
        };
        self.requests.borrow_mut().insert(request_id.clone(), asked);
        let origin = Origin {
            request_id: request_id.clone(),
            ..Origin::default()
        };
        (
            Call {
                principal,
                origin,
                idempotency: None,
                entered: self.vault().engine.enter(),
            },
            request_id,
        )
    }

    /// Waits for an answer; some callers hang up before.
    pub async fn answer<T>(&self, work: impl Future<Output = Result<T>>) -> Option<Result<T>> {
        let mut patience = self.dice.one_in(30).then(|| self.dice.below(16));
        let mut work = std::pin::pin!(work);
        std::future::poll_fn(|cx| match (work.as_mut().poll(cx), &mut patience) {
            (Poll::Ready(answer), _) => Poll::Ready(Some(answer)),
            (Poll::Pending, Some(0)) => Poll::Ready(None),
            (Poll::Pending, left) => {
                left.iter_mut().for_each(|left| *left -= 1);
                Poll::Pending
            }
        })
        .await
    }

    /// Whether the store takes at least the clock's mark.
    pub fn keeps_time(&self) -> bool {
        match self.vault().engine.ready() {
            Ok(()) => true,
            Err(error) => error.message().contains("nearly full"),
        }
    }

    /// Takes an answer to the record: what it promises is held against history at the next look.
    pub fn tell<T>(
        &self,
        client: usize,
        (what, request): (&str, String),
        answer: Option<Result<T>>,
        expect: impl FnOnce(&T) -> Option<Expect>,
    ) -> Option<T> {
        let outcome = match &answer {
            None => "hung up",
            Some(Ok(_)) => "ok",
            Some(Err(error)) => error.code().as_str(),
        };
        self.observe();
        self.count(format!(
            "{} {outcome}",
            what.split(' ').next().unwrap_or_default()
        ));
        self.note(format_args!("client {client} {request} {what}: {outcome}"));
        match answer? {
            Ok(done) => {
                let expected = expect(&done).map(|expect| (request, expect));
                self.told.borrow_mut().extend(expected);
                Some(done)
            }
            Err(error) => {
                let message = || {
                    format!(
                        "{request} {what}: {error} {:?}",
                        std::error::Error::source(&error)
                    )
                };
                match error.code() {
                    Code::Internal => self.check(hold("no-internal-error", false, message)),
                    Code::StorageUnavailable => {
                        self.check(hold("available", self.troubled.get(), message))
                    }
                    code if is_recorded(code) => {
                        self.told.borrow_mut().push((request, Expect::Recorded))
                    }
                    _ => {}
                }
                None
            }
        }
    }

    /// INVARIANT (ack-durable), INVARIANT (ack-audited): what was told is in the history that a power cut leaves.
    pub fn check_told(&self, model: &Model) -> Kept {
        for (request, expect) in self.told.borrow_mut().drain(..) {
            let entries = model
                .by_request
                .get(&request)
                .map_or(&[][..], Vec::as_slice);
            let kept = match &expect {
                Expect::Recorded => !entries.is_empty(),
                Expect::Lease(lease) => model.leases.contains_key(lease),
                Expect::Event { event, lease, value } => entries.iter().any(|entry| {
                    let of = (entry.credential, entry.version);
                    let right_value = value.as_ref().is_none_or(|value| {
                        matches!(of, (Some(credential), Some(version)) if model.values.get(&(credential, version)) == Some(&value.0))
                    });
                    entry.event == *event && !entry.refused && lease.is_none_or(|lease| entry.lease == Some(lease)) && right_value
                }),
            };
            hold("ack-durable", kept, || {
                format!("{request} was answered with {expect:?}; history has {entries:?}")
            })?;
        }
        Ok(())
    }
}

/// Refusals that history must tell of.
fn is_recorded(code: Code) -> bool {
    matches!(
        code,
        Code::InsufficientPermissions
            | Code::LeaseLimitReached
            | Code::InvalidState
            | Code::LeaseExpired
            | Code::LeaseRevoked
            | Code::LeaseReleased
            | Code::CredentialRevoked
            | Code::BudgetExhausted
    )
}
