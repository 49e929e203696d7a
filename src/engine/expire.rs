//! The reaper: closes leases that have expired, in bounded batches, one credential at a time. It is
//! housekeeping: every use checks the expiry itself.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::{sync::watch, task::JoinSet, time::Instant};

use super::{Engine, schedule::Place};
use crate::{
    domain::{
        error::{Code, Error, Result},
        id::CredentialId,
        lease::Ending,
        ledger::Ledger,
        time::{Span, Timestamp},
    },
    store::{key, port::after_prefix},
};

/// Leases closed in one transaction: bounds how long a grant on the same credential waits.
pub const BATCH: usize = 32;
/// Leases closed before requests get their turn on the processor.
const CLOSED_PER_TURN: usize = 4;
/// Due leases looked at in one transaction behind the first ones, where some of those do not open: so many, so often.
const LOOKED_AT: usize = 128;
const LOOKS: usize = 8;
/// When leases that do not open are looked at again: a restart may help, and waiting hardly does.
const LOOK_AGAIN: Span = Span::from_secs(300);
/// Credentials worked on at a time; their batches share commit groups.
const AT_ONCE: usize = 6;
/// How long the reaper rests in a backlog, by the time that it worked, in percent.
const REST_PERCENT: u32 = 42;
/// The longest rest between two rounds of a backlog.
const LONGEST_REST: Duration = Duration::from_millis(100);
/// The shortest one: what is less is added to the next. The most that a rest may have been too long counts for later ones.
const SHORTEST_REST: Duration = Duration::from_millis(1);
const MOST_RESTED: Duration = Duration::from_millis(10);
/// The longest sleep: a clock that jumps ahead is noticed within it, and a clock that is set back while the
/// vault is down can win back no more than it.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);
/// How often the clock's mark is written while leases are open.
const MARK_EVERY: Span = Span::from_secs(1);
/// The first and the longest wait before a failed credential is tried again.
const BACKOFF: Span = Span::from_millis(250);
const LONGEST_BACKOFF: Span = Span::from_secs(30);

/// What became of a credential's due leases.
#[derive(Default)]
pub(super) struct Due {
    pub(super) closed: usize,
    /// Entries whose lease does not open, or is none.
    passed_over: usize,
    /// Whether there may be more, at which nobody looked.
    more: bool,
}

impl super::Unit<'_> {
    /// Closes up to `limit` leases of the credential that are due, and passes over those that do not open; the caller
    /// writes the ledger.
    pub(super) async fn close_due(
        &mut self,
        credential: CredentialId,
        ledger: &mut Ledger,
        limit: usize,
    ) -> Result<Due> {
        let mut scan = key::due_leases(self.tables.workspace, credential, self.now);
        let mut done = Due::default();
        scan.limit = limit;
        for _ in 0..=LOOKS {
            let due = self.txn.scan(&scan).await?;
            done.more = due.len() == scan.limit;
            for (entry, _) in &due {
                if done.closed >= limit {
                    return Ok(done);
                }
                match self.indexed(entry).await?.open() {
                    Some(lease) => {
                        self.close_lease(ledger, lease, Ending::Expired).await?;
                        done.closed += 1;
                        if done.closed.is_multiple_of(CLOSED_PER_TURN) {
                            tokio::task::yield_now().await;
                        }
                    }
                    None => done.passed_over += 1,
                }
            }
            match due.last() {
                Some((last, _)) if done.more && done.closed < limit => {
                    scan = scan.after(last);
                    scan.limit = LOOKED_AT;
                }
                _ => break,
            }
        }
        Ok(done)
    }
}

impl Engine {
    /// Closes a batch of a credential's due leases, at most [`BATCH`]; gives back when to look again, which is a
    /// time past where more are due that it could close. The reaper does nothing else.
    pub async fn expire(&self, (workspace, credential): Place) -> Result<Option<Timestamp>> {
        let mut unit = self
            .begin_own("reaper", workspace, &[key::credential_lock(credential)])
            .await?;
        let mut scan = key::open_leases(workspace, credential);
        scan.limit = 1;
        // The first open lease tells what there is to do, and usually it is nothing any more.
        let Some((first, _)) = unit.txn.scan(&scan).await?.pop() else {
            return Ok(None);
        };
        let open = key::parse_open_lease(&first)
            .ok_or_else(|| Error::internal("malformed open-lease key"))?;
        if open.expiry > unit.now {
            return Ok(Some(open.expiry));
        }
        let mut ledger = unit.tables.ledger(&mut unit.txn, credential).await?;
        let due = unit.close_due(credential, &mut ledger, BATCH).await?;
        let mut again = None;
        let may_open = due.more && due.closed > 0;
        if due.passed_over > 0 && due.closed < BATCH && !may_open {
            // Whatever is due and still open does not open, as far as one looks.
            again = Some(unit.now.plus(LOOK_AGAIN));
            scan.start = key::due_leases(workspace, credential, unit.now).end;
        }
        let next = unit
            .txn
            .scan(&scan)
            .await?
            .pop()
            .and_then(|(at, _)| key::parse_open_lease(&at))
            .map(|open| open.expiry);
        if due.closed > 0 {
            unit.tables
                .put_ledger(&mut *unit.txn, credential, &ledger)?;
            unit.commit().await?;
            metrics::counter!("leasehold_reaper_closed_total").increment(due.closed as u64);
        }
        Ok(next.into_iter().chain(again).min())
    }

    /// Fills the schedule from the index of open leases: one seek for each credential, however many its leases.
    async fn load_schedule(&self) -> Result<()> {
        let mut scan = key::all_open_leases();
        scan.limit = 1;
        while let Some((at, _)) = self.read().scan(&scan).await?.pop() {
            let open = key::parse_open_lease(&at)
                .ok_or_else(|| Error::internal("malformed open-lease key"))?;
            self.schedule
                .add((open.workspace, open.credential), open.expiry);
            scan.start = after_prefix(&key::open_leases(open.workspace, open.credential).start);
        }
        Ok(())
    }

    /// Writes the clock's high-water mark. INVARIANT (clock): while leases are open it is never much older
    /// than a second, so that a clock set back during a stop cannot reopen them.
    pub(super) async fn mark_clock(&self) -> Result<()> {
        let now = self.now();
        self.store.keep_time().await?;
        self.clock.keep(now);
        Ok(())
    }

    /// Comes before an answer that tells that something ended then, where time alone says so and no record does.
    /// INVARIANT (closed-for-good): a time that was told to have passed has passed after every restart, whatever
    /// the wall clock says. The exception is a store that takes not even the clock's mark: what shows no secret is
    /// answered then.
    pub(super) async fn stays_over(&self, ended: Option<Timestamp>) -> Result<()> {
        if ended.is_none_or(|ended| ended <= self.clock.kept()) {
            return Ok(());
        }
        match self.mark_clock().await {
            Err(error) if error.code() == Code::StorageUnavailable => Ok(()),
            marked => marked,
        }
    }

    /// Runs the reaper until `stop` says so. What fails is tried again, later each time, and holds up nothing
    /// else.
    pub async fn reap(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        while let Err(error) = self.load_schedule().await {
            report(&error, "the reaper cannot read the open leases");
            if sleep_or_stop(LONGEST_SLEEP, &mut stop).await {
                return;
            }
        }
        let mut failures = Failures::default();
        let mut marked = self.now();
        let mut rest = Rest::default();
        while !*stop.borrow() {
            let now = self.now();
            if self.schedule.len() > 0 && now.since(marked) >= MARK_EVERY {
                match self.mark_clock().await {
                    Ok(()) => marked = now,
                    Err(error) => report(&error, "the clock's mark cannot be written"),
                }
            }
            let due = self.schedule.take_due(now, AT_ONCE);
            if !due.is_empty() {
                let begun = Instant::now();
                self.expire_all(due, &mut failures).await;
                // A backlog must not take the disk and the processors from grants.
                if let Some(due) = rest.after(begun.elapsed()) {
                    let begun = Instant::now();
                    if sleep_or_stop(due, &mut stop).await {
                        return;
                    }
                    rest.rested(begun.elapsed());
                }
                continue;
            }
            let next = self
                .schedule
                .next()
                .map_or(LONGEST_SLEEP, |next| next.since(now).into());
            tokio::select! {
                _ = sleep_or_stop(next.min(LONGEST_SLEEP), &mut stop) => {}
                () = self.schedule.sooner() => {}
            }
        }
    }

    /// One batch of each of these credentials, side by side.
    async fn expire_all(self: &Arc<Self>, due: Vec<Place>, failures: &mut Failures) {
        let mut batches = JoinSet::new();
        let mut places = HashMap::new();
        for place in due {
            let engine = self.clone();
            let task = batches.spawn(async move { engine.expire(place).await });
            places.insert(task.id(), place);
        }
        while let Some(joined) = batches.join_next_with_id().await {
            let (task, outcome) = match joined {
                Ok((task, outcome)) => (task, outcome),
                Err(error) => (error.id(), Err(Error::internal(error))),
            };
            let Some(place) = places.get(&task).copied() else {
                continue;
            };
            let again = match outcome {
                Ok(next) => {
                    failures.0.remove(&place);
                    next
                }
                Err(error) => {
                    metrics::counter!("leasehold_reaper_failures_total").increment(1);
                    report(
                        &error,
                        "expired leases could not be closed; trying again later",
                    );
                    Some(self.now().plus(failures.next_wait(place)))
                }
            };
            if let Some(again) = again {
                self.schedule.add(place, again);
            }
        }
        metrics::gauge!("leasehold_reaper_failing_credentials").set(failures.0.len() as f64);
    }
}

/// How long the reaper still has to rest for what it did. Sleeping takes up to two milliseconds longer than it is asked to,
/// as long as a round takes.
#[derive(Default)]
struct Rest {
    owed: Duration,
    /// What was rested too long.
    spare: Duration,
}

impl Rest {
    /// How long to sleep now, after work that took so long.
    fn after(&mut self, worked: Duration) -> Option<Duration> {
        self.owed += worked * REST_PERCENT / 100;
        let spare = self.spare.min(self.owed);
        self.owed -= spare;
        self.spare -= spare;
        (self.owed >= SHORTEST_REST).then(|| self.owed.min(LONGEST_REST))
    }

    fn rested(&mut self, slept: Duration) {
        self.spare = slept.saturating_sub(self.owed).min(MOST_RESTED);
        // Of a very long round no more is owed than the longest rest.
        self.owed = Duration::ZERO;
    }
}

/// How often each credential failed in a row.
#[derive(Default)]
struct Failures(HashMap<Place, u32>);

impl Failures {
    /// Counts a failure; gives back how long to wait, twice as long each time.
    fn next_wait(&mut self, place: Place) -> Span {
        let tries = self.0.entry(place).or_default();
        let wait = BACKOFF.as_millis().saturating_mul(1 << (*tries).min(10));
        *tries = tries.saturating_add(1);
        Span::from_millis(wait.min(LONGEST_BACKOFF.as_millis()))
    }
}

pub(super) fn report(error: &Error, what: &str) {
    let source = std::error::Error::source(error).map(ToString::to_string);
    tracing::warn!(code = error.code().as_str(), error = %error, source, "{what}");
}

/// Sleeps; tells whether it was stopped instead.
pub(super) async fn sleep_or_stop(time: Duration, stop: &mut watch::Receiver<bool>) -> bool {
    tokio::select! {
        () = tokio::time::sleep(time) => false,
        _ = stop.wait_for(|stop| *stop) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reaper_rests_its_share_however_long_it_sleeps() {
        let (work, longer) = (Duration::from_millis(4), Duration::from_millis(1));
        let mut rest = Rest::default();
        let (mut worked, mut rested) = (Duration::ZERO, Duration::ZERO);
        for _ in 0..1000 {
            worked += work;
            if let Some(due) = rest.after(work) {
                rest.rested(due + longer);
                rested += due + longer;
            }
        }
        let share = rested.as_millis() * 100 / worked.as_millis();
        assert!((40..=44).contains(&share), "{share} %");
        // A round that took very long, and a sleep from which it woke late, are no reason to rest for ever, or never.
        assert_eq!(rest.after(Duration::from_secs(60)), Some(LONGEST_REST));
        rest.rested(Duration::from_secs(60));
        assert_eq!(rest.after(Duration::from_millis(10)), None);
        assert!(rest.after(Duration::from_millis(100)).is_some());
    }
}
