//! What the simulation found, one step after the other: a seed finds it again only as long as nothing else
//! changes the order of events.

use std::{cell::RefCell, collections::BTreeMap, future::Future, rc::Rc, sync::Arc};

use leasehold::{
    domain::{
        error::Result,
        event::Origin,
        id::LeaseId,
        kind::CredentialType,
        name::{CredentialName, Metadata},
        policy::{LeasePolicy, NamedPolicies},
        secret::SecretText,
        time::Ttl,
    },
    engine::{
        BulkFilter, Call, CreateCredential, Engine, IssueLease, RotateCredential, Unsealed,
        WantedHolder,
    },
    store::{local::LocalStore, memory::Memory},
};

use super::{
    base::{Base, FakeTime},
    dice::Dice,
    executor::{Tasks, Work},
};

pub const COMMITTER: &str = "committer";
/// Steps in which a task that waits for nothing ends.
const MANY: usize = 200;

/// What an answer tells: a lease and whether its value was shown, a version, or how many leases were revoked.
#[derive(Debug, PartialEq)]
pub enum Told {
    Lease(LeaseId, bool),
    Version(u32),
    Revoked(u64),
}

pub type Slot<T> = Rc<RefCell<Option<T>>>;

pub fn spawn<T: 'static>(tasks: &mut Tasks, work: impl Future<Output = T> + 'static) -> Slot<T> {
    let slot = Slot::default();
    let keep = slot.clone();
    tasks.spawn("request", async move {
        let outcome = work.await;
        keep.replace(Some(outcome));
    });
    slot
}

pub async fn run(tasks: &mut Tasks, held: Option<&str>) {
    for _ in 0..MANY {
        if tasks.runs("request") {
            tasks.step(held).await;
        }
    }
}

async fn ask(engine: Arc<Engine>, operation: &'static str) -> Result<Told> {
    let principal = Base::get().principals[0].clone();
    let idempotency =
        Some(engine.idempotency(principal.workspace, operation, operation.as_bytes())?);
    let call = Call {
        principal,
        origin: Origin::default(),
        idempotency,
        entered: engine.enter(),
    };
    let name = CredentialName::parse("alpha", "name")?;
    let value = SecretText::new(format!("value-{operation}"));
    match operation {
        "create" => {
            let command = CreateCredential {
                name,
                kind: CredentialType::GenericSecret,
                value,
                description: None,
                metadata: Metadata::new(BTreeMap::new())?,
                policy: LeasePolicy::default(),
                canary: false,
            };
            engine
                .create_credential(&call, command)
                .await
                .map(|view| Told::Version(view.current_version))
        }
        "rotate" => {
            let command = RotateCredential {
                new_value: value,
                metadata: BTreeMap::new(),
                on_open_leases: None,
                expected_version: None,
            };
            engine
                .rotate_credential(&call, &name, command)
                .await
                .map(|done| Told::Version(done.view.current_version))
        }
        "revoke" => {
            let all = BulkFilter {
                all: true,
                ..BulkFilter::default()
            };
            let revoked = engine.revoke_leases(&call, &all, None).await;
            revoked.map(|done| Told::Revoked(done.counts.leases))
        }
        _ => {
            let command = IssueLease {
                credential_name: name,
                ttl: Some(Ttl::from_secs(1)),
                delivery: None,
                holder: WantedHolder::default(),
                purpose: None,
                reveal: operation == "reveal",
            };
            engine
                .issue_lease(&call, command)
                .await
                .map(|issued| Told::Lease(issued.view.lease.id, issued.value.is_some()))
        }
    }
}

/// A vault with one credential, whose committer can be made to stand still.
pub struct Bench {
    pub tasks: Tasks,
    pub memory: Memory,
    pub time: Arc<FakeTime>,
    pub engine: Arc<Engine>,
}

impl Bench {
    pub async fn new() -> Self {
        let memory = Base::get().memory.after_power_cut();
        Self::over(memory, Arc::new(FakeTime::new())).await
    }

    /// A vault over what is durable already.
    pub async fn over(memory: Memory, time: Arc<FakeTime>) -> Self {
        let base = Base::get();
        let mut tasks = Tasks::new(Dice::of(1));
        let dice = Arc::new(Dice::of(1));
        let unsealed =
            Unsealed::read(&memory, &base.header, &base.root, dice, time.clone()).unwrap();
        let committer: Slot<Work> = Slot::default();
        let keep = committer.clone();
        let backend = memory.clone();
        let serve = unsealed.serve(
            move |log| {
                let (store, work) = LocalStore::new(backend, log);
                keep.replace(Some(Box::pin(work.run())));
                Ok(Arc::new(store))
            },
            NamedPolicies::default(),
        );
        let engine = spawn(&mut tasks, serve);
        tasks.step(None).await;
        tasks.spawn(COMMITTER, committer.take().unwrap());
        run(&mut tasks, None).await;
        let engine = Arc::new(engine.take().unwrap().unwrap());
        Self {
            tasks,
            memory,
            time,
            engine,
        }
    }

    /// Asks while nothing becomes durable.
    pub async fn ask(&mut self, operation: &'static str) -> Slot<Result<Told>> {
        let answer = spawn(&mut self.tasks, ask(self.engine.clone(), operation));
        run(&mut self.tasks, Some(COMMITTER)).await;
        assert!(answer.borrow().is_none(), "{operation}: told too early");
        answer
    }

    /// Asks while nothing becomes durable, and hangs up when all is queued.
    async fn ask_and_hang_up(&mut self, operation: &'static str) {
        let hung_up = Rc::new(tokio::sync::Notify::new());
        let (engine, told) = (self.engine.clone(), hung_up.clone());
        let given_up = spawn(&mut self.tasks, async move {
            tokio::select! {
                _ = ask(engine, operation) => false,
                () = told.notified() => true,
            }
        });
        run(&mut self.tasks, Some(COMMITTER)).await;
        hung_up.notify_one();
        run(&mut self.tasks, Some(COMMITTER)).await;
        assert_eq!(given_up.take(), Some(true), "{operation}: told too early");
    }

    pub async fn told(&mut self, answer: Slot<Result<Told>>) -> Told {
        run(&mut self.tasks, None).await;
        answer.take().unwrap().unwrap()
    }
}

// INVARIANT (ack-durable)
#[tokio::test]
async fn a_retry_is_answered_only_when_the_first_request_is_durable() {
    let mut bench = Bench::new().await;
    for operation in ["create", "rotate", "issue", "reveal"] {
        let first = bench.ask(operation).await;
        let again = bench.ask(operation).await;
        let first = bench.told(first).await;
        assert_eq!(first, bench.told(again).await, "{operation}");
    }
}

// INVARIANT (stop-is-complete)
#[tokio::test]
async fn a_bulk_revocation_waits_for_leases_that_nobody_waits_for_any_more() {
    let mut bench = Bench::new().await;
    let created = bench.ask("create").await;
    bench.told(created).await;
    bench.ask_and_hang_up("issue").await;
    let revoked = bench.ask("revoke").await;
    assert_eq!(bench.told(revoked).await, Told::Revoked(1));
}

// INVARIANT (ttl)
#[tokio::test]
async fn a_grant_that_is_durable_after_its_end_shows_no_value() {
    let mut bench = Bench::new().await;
    let created = bench.ask("create").await;
    bench.told(created).await;
    for (millis, shown) in [(999, true), (1_000, false)] {
        let answer = bench.ask("reveal").await;
        bench.time.pass(millis);
        let Told::Lease(_, value) = bench.told(answer).await else {
            panic!("a lease was asked for");
        };
        assert_eq!(value, shown, "after {millis} ms");
        // The next grant is no retry of this one.
        bench = Bench::new().await;
        let created = bench.ask("create").await;
        bench.told(created).await;
    }
}
