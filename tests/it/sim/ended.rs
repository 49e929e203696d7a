//! INVARIANT (closed-for-good): what an answer tells to be over because its time has passed stays over, after a power cut
//! and with the clock set back.

use std::sync::Arc;

use leasehold::{
    domain::{
        error::{Code, Result},
        event::Origin,
        id::LeaseId,
        lease::LeaseStatus,
        name::CredentialName,
        secret::SecretText,
        time::Ttl,
    },
    engine::{
        Call, ChosenCredential, CredentialFilter, Engine, ExposureQuery, IssueLease, Issued,
        LeaseFilter, PageRequest, UpdateCredential, VersionFilter, WantedHolder,
    },
    store::memory::Fault,
};

use super::{
    base::Base,
    found::{Bench, COMMITTER, Slot, run, spawn},
};

const TTL: u64 = 1_000;
const SEALER: &str = "sealer";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Question {
    Show,
    List,
    ListActive,
    Credential,
    Credentials,
    Versions,
    Exposure,
    Update,
    Redeem,
    Reveal,
}

const READS: [Question; 6] = [
    Question::Show,
    Question::List,
    Question::ListActive,
    Question::Credential,
    Question::Credentials,
    Question::Versions,
];
/// Those that judge by the time once more after a commit of their own.
const COMMITS: [Question; 4] = [
    Question::Exposure,
    Question::Update,
    Question::Redeem,
    Question::Reveal,
];

fn call(engine: &Engine) -> Call {
    Call {
        principal: Base::get().principals[0].clone(),
        origin: Origin::default(),
        idempotency: None,
        entered: engine.enter(),
    }
}

async fn issue(engine: Arc<Engine>, reveal: bool) -> Result<Issued> {
    let command = IssueLease {
        credential_name: CredentialName::parse("alpha", "name")?,
        ttl: Ttl::from_secs(TTL / 1_000).into(),
        delivery: None,
        holder: WantedHolder::default(),
        purpose: None,
        reveal,
    };
    engine.issue_lease(&call(&engine), command).await
}

/// The lease that the answer tells has ended, if it does.
async fn ask(
    engine: Arc<Engine>,
    question: Question,
    lease: LeaseId,
    handle: SecretText,
) -> Option<LeaseId> {
    let (call, page) = (call(&engine), PageRequest::default());
    let name = CredentialName::parse("alpha", "name").unwrap();
    let list = async |status| {
        let filter = LeaseFilter {
            status,
            ..LeaseFilter::default()
        };
        engine.leases(&call, &filter, &page).await.unwrap().items
    };
    let ended = match question {
        Question::Show => {
            let view = engine.lease(&call, lease).await.unwrap();
            view.status == LeaseStatus::Expired
        }
        Question::List => list(None).await[0].status == LeaseStatus::Expired,
        Question::ListActive => list(Some(LeaseStatus::Active)).await.is_empty(),
        Question::Credential => {
            let view = engine.credential(&call, &name).await.unwrap();
            view.active_leases == 0
        }
        Question::Credentials => {
            let all = CredentialFilter::default();
            let views = engine.credentials(&call, &all, &page).await.unwrap();
            views.items[0].active_leases == 0
        }
        Question::Versions => {
            let views = engine
                .versions(&call, &name, &VersionFilter::default(), &page)
                .await
                .unwrap();
            views.items[0].active_leases == 0
        }
        Question::Exposure => {
            let query = ExposureQuery {
                credential: Some(ChosenCredential::Name(name)),
                ..ExposureQuery::default()
            };
            let report = engine.exposure(&call, &query).await.unwrap();
            report.leases[0].state == "expired"
        }
        Question::Update => {
            let patch = UpdateCredential {
                description: Some(Some("changed".to_owned())),
                ..UpdateCredential::default()
            };
            let view = engine.update_credential(&call, &name, patch).await.unwrap();
            view.active_leases == 0
        }
        Question::Redeem => {
            let refused = engine.redeem(&call, &handle).await.err();
            refused.is_some_and(|error| error.code() == Code::LeaseExpired)
        }
        Question::Reveal => {
            let issued = issue(engine.clone(), true).await.unwrap();
            return issued.value.is_none().then_some(issued.view.lease.id);
        }
    };
    ended.then_some(lease)
}

/// A vault with one open lease.
async fn bench() -> (Bench, LeaseId, SecretText) {
    let mut bench = Bench::new().await;
    let created = bench.ask("create").await;
    bench.told(created).await;
    let issued = spawn(&mut bench.tasks, issue(bench.engine.clone(), false));
    run(&mut bench.tasks, None).await;
    let issued = issued.take().unwrap().unwrap();
    (bench, issued.view.lease.id, issued.handle)
}

/// Lets the answer come, cuts the power, and sets the clock back; tells what is wrong with it.
async fn reopened(mut bench: Bench, answer: Slot<Option<LeaseId>>) -> Option<&'static str> {
    run(&mut bench.tasks, Some(COMMITTER)).await;
    if answer.borrow().is_some() {
        return Some("told before the time was durable");
    }
    run(&mut bench.tasks, None).await;
    let Some(ended) = answer.take().unwrap() else {
        return Some("told of no end");
    };
    bench.time.jump(-3_600_000);
    bench.time.reboot();
    let mut after = Bench::over(bench.memory.after_power_cut(), bench.time.clone()).await;
    let shown = spawn(&mut after.tasks, {
        let engine = after.engine.clone();
        async move { engine.lease(&call(&engine), ended).await }
    });
    run(&mut after.tasks, None).await;
    let shown = shown.take().unwrap().unwrap();
    (shown.status != LeaseStatus::Expired).then_some("open again")
}

#[tokio::test]
async fn a_lease_that_was_told_to_have_ended_does_not_open_again() {
    let mut wrong = Vec::new();
    for (question, disk_low) in READS
        .into_iter()
        .flat_map(|read| [(read, false), (read, true)])
    {
        let (mut bench, lease, handle) = bench().await;
        bench.memory.set_disk_low(disk_low);
        bench.time.pass(TTL);
        let asked = ask(bench.engine.clone(), question, lease, handle);
        let answer = spawn(&mut bench.tasks, asked);
        wrong.extend(reopened(bench, answer).await.map(|how| (question, how)));
    }
    assert_eq!(wrong, []);
}

#[tokio::test]
async fn nor_does_one_that_ended_after_the_record_of_the_request() {
    let mut wrong = Vec::new();
    for question in COMMITS {
        let (mut bench, lease, handle) = bench().await;
        let asked = ask(bench.engine.clone(), question, lease, handle);
        let answer = spawn(&mut bench.tasks, asked);
        run(&mut bench.tasks, Some(COMMITTER)).await;
        bench.tasks.step(Some("request")).await;
        // A report seals what is not sealed yet, and that has the time in it.
        let engine = bench.engine.clone();
        let seal = async move { while engine.seal_next().await.unwrap_or(false) {} };
        bench.tasks.spawn(SEALER, seal);
        while bench.tasks.runs(SEALER) {
            bench.tasks.step(Some("request")).await;
        }
        bench.time.pass(TTL);
        wrong.extend(reopened(bench, answer).await.map(|how| (question, how)));
    }
    assert_eq!(wrong, []);
}

/// The exception: nothing can be kept, and what shows no secret is answered.
#[tokio::test]
async fn a_store_that_failed_still_shows_leases() {
    for question in READS {
        let (mut bench, lease, handle) = bench().await;
        bench.memory.inject(Fault::Apply);
        bench.time.pass(TTL);
        let asked = ask(bench.engine.clone(), question, lease, handle);
        let answer = spawn(&mut bench.tasks, asked);
        run(&mut bench.tasks, None).await;
        assert_eq!(answer.take(), Some(Some(lease)), "{question:?}");
    }
}
