//! Alarms: records of high severity, for whoever passes them on. History holds them, and the store how far each
//! listener was told, so that what nobody had taken when the vault stopped or was killed is told after the next start.
//!
//! INVARIANT (alarm-told): a listener's place moves past an alarm only once the listener has said that it is told. One
//! may be told twice, and by its id that shows.

use tokio::sync::watch;

use super::Engine;
use crate::{
    audit::query::{AuditFilter, Numbered},
    domain::{
        error::Result,
        event::{AuditRecord, EventName, Severity},
        id::WorkspaceId,
    },
    store::key,
};

/// Alarms that are given out at a time: bounds memory, and what is told twice after a crash.
const AT_ONCE: usize = 32;

/// Where records of high severity are told of, once they are durable. Clones tell the same listeners.
#[derive(Clone)]
pub(super) struct Alarms(watch::Sender<u64>);

impl Default for Alarms {
    fn default() -> Self {
        Self(watch::Sender::new(0))
    }
}

impl Alarms {
    /// Tells of a record that is durable. Nothing of it is in the log but what names it.
    pub(super) fn raise(&self, record: &AuditRecord) {
        if record.event == EventName::CanaryTouched {
            metrics::counter!("leasehold_canary_alarms_total").increment(1);
        }
        log_alarm(record, "alarm");
        self.0.send_modify(|raised| *raised += 1);
    }
}

/// Tells an alarm to the log, by what names it alone.
pub fn log_alarm(record: &AuditRecord, what: &'static str) {
    tracing::warn!(
        event = record.event.as_str(),
        severity = record.event.severity().as_str(),
        record = %record.id,
        workspace = %record.workspace,
        "{what}"
    );
}

/// Alarms behind a place in the log.
pub struct Untold {
    /// Oldest first.
    pub alarms: Vec<Numbered>,
    /// The first record up to there that cannot be read, and may have been one.
    pub unreadable: Option<u64>,
    /// Up to this record there are no others that can be read.
    pub reached: u64,
    /// Whether more may follow.
    pub more: bool,
}

impl Engine {
    /// Changes with each alarm that is raised from now on, in whatever workspace, once its record is durable.
    pub fn alarms_raised(&self) -> watch::Receiver<u64> {
        self.alarms.0.subscribe()
    }

    /// The number of the newest record of the log; 0 where there is none.
    pub async fn newest_record(&self) -> Result<u64> {
        self.history(WorkspaceId::SYSTEM).newest().await
    }

    /// The record up to which a listener was told of alarms. One that is new begins behind what is there.
    pub async fn alarms_told(&self, listener: &str) -> Result<u64> {
        let newest = self.newest_record().await?;
        let at = key::told(listener);
        let Some(sealed) = self.read().get(&at).await? else {
            self.note_alarms_told(listener, newest).await?;
            return Ok(newest);
        };
        let told = self.tables(WorkspaceId::SYSTEM)?.open_told(&at, &sealed);
        Ok(match told {
            // A log that was cut does not silence what comes.
            Ok(told) => told.min(newest),
            Err(error) => {
                tracing::error!(%error, listener, "nobody knows which alarms were told; all are told again");
                0
            }
        })
    }

    /// Notes that a listener was told of every alarm up to a record.
    pub async fn note_alarms_told(&self, listener: &str, upto: u64) -> Result<()> {
        let mut unit = self
            .begin_own("alarms", WorkspaceId::SYSTEM, &[key::told_lock()])
            .await?;
        let at = key::told(listener);
        unit.tables.put_told(&mut *unit.txn, at, upto)?;
        unit.commit_housekeeping().await
    }

    /// The next alarms behind a record. The index finds them; what it has not reached yet is read.
    pub async fn alarms_behind(&self, place: u64) -> Result<Untold> {
        let severe = |event: &&EventName| event.severity() == Severity::High;
        let filter = AuditFilter {
            events: EventName::ALL.iter().filter(severe).copied().collect(),
            ..AuditFilter::default()
        };
        // Before the workspaces: a new one has nothing up to there.
        let newest = self.newest_record().await?;
        let system = self.tables(WorkspaceId::SYSTEM)?;
        let workspaces = system.workspaces(&mut self.read()).await?;
        let workspaces = workspaces.into_iter().map(|workspace| workspace.id);
        let mut untold = Untold {
            alarms: Vec::new(),
            unreadable: None,
            reached: newest.max(place),
            more: false,
        };
        for workspace in workspaces.chain([WorkspaceId::SYSTEM]) {
            let reader = self.history(workspace);
            let found = reader.follow(&filter, Some(place), AT_ONCE).await?;
            untold.reached = untold.reached.min(found.reached);
            let damaged = found.unreadable.into_iter().chain(untold.unreadable);
            untold.unreadable = damaged.min();
            untold.alarms.extend(found.records);
            untold.alarms.sort_by_key(|alarm| alarm.sequence);
            if untold.alarms.len() > AT_ONCE {
                untold.alarms.truncate(AT_ONCE);
                untold.more = true;
                let last = untold.alarms.last().map_or(place, |alarm| alarm.sequence);
                untold.reached = untold.reached.min(last);
            }
        }
        let reached = untold.reached;
        untold.alarms.retain(|alarm| alarm.sequence <= reached);
        untold.unreadable = untold.unreadable.filter(|sequence| *sequence <= reached);
        // A workspace that had more than its share held the others up.
        untold.more |= untold.alarms.len() == AT_ONCE;
        Ok(untold)
    }
}
