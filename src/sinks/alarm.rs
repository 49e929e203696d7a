//! Alarms on their way out, oldest first: each until the sink has taken it. What it had not taken when the vault stopped
//! or was killed is sent after the next start, for history has it and the store knows how far the sink was told.

use std::{sync::Arc, time::Duration};

use serde_json::json;
use tokio::sync::watch;

use super::{Delivery, Failure, LONGEST_PAUSE, PAUSE, Sink};
use crate::{
    audit::query::Numbered,
    domain::event::Actor,
    engine::{Engine, log_alarm},
};

/// How long until history is looked at where no alarm is raised: so far back a start may have to look.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// Records without an alarm that a start may go over again, so that a vault with little to do writes nothing down.
const WORTH_NOTING: u64 = 1024;

/// What a sink is told: enough to know whom to stop, and where to read on.
fn line(Numbered { sequence, record }: &Numbered) -> String {
    let (actor, identity) = match &record.actor {
        Actor::Identity { name, identity, .. } => (name.to_string(), Some(identity.to_string())),
        Actor::Vault { part } => (part.clone(), None),
    };
    let object = &record.object;
    let origin = record.origin.clone().unwrap_or_default();
    let body = json!({
        "type": "alarm",
        "id": record.id.to_string(),
        "sequence": sequence,
        "time": record.time.to_string(),
        "event": record.event.as_str(),
        "severity": record.event.severity().as_str(),
        "workspace_id": record.workspace.to_string(),
        "actor": actor,
        "identity_id": identity,
        "credential_name": object.credential_name.as_ref().map(ToString::to_string),
        "version": object.version,
        "object": object.name,
        "holder": object.holder_name.as_ref().map(ToString::to_string),
        "session_id": object.session,
        "purpose": record.purpose,
        "reason": record.reason,
        "source_ip": origin.source_ip.map(|ip| ip.to_string()),
        "request_id": origin.request_id,
    });
    body.to_string()
}

/// One sink, and how far it was told.
pub(super) struct Shipping {
    sink: Sink,
    engine: Arc<Engine>,
    delivery: Delivery,
    told: u64,
    /// What of it is stored.
    noted: u64,
    /// The newest record of the runs before: the log was told of later alarms where they were raised.
    before: u64,
}

impl Shipping {
    /// Goes on where an earlier run ended. Run before anybody is served.
    pub(super) async fn open(sink: Sink, engine: &Arc<Engine>) -> Result<Self, Failure> {
        let told = engine.alarms_told(sink.name()).await?;
        Ok(Self {
            delivery: Delivery::new(&sink),
            before: engine.newest_record().await?,
            engine: engine.clone(),
            sink,
            told,
            noted: told,
        })
    }

    pub(super) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut raised = self.engine.alarms_raised();
        let mut pause = PAUSE;
        loop {
            let stopping = *stop.borrow();
            raised.mark_unchanged();
            match self.next(stopping).await {
                Ok(true) => pause = PAUSE,
                Ok(false) if stopping => return,
                Ok(false) => {
                    pause = PAUSE;
                    tokio::select! {
                        // The sender is in the engine, which this holds.
                        _ = raised.changed() => {}
                        _ = stop.wait_for(|stop| *stop) => {}
                        () = tokio::time::sleep(LOOK_AGAIN) => {}
                    }
                }
                Err(error) => {
                    tracing::warn!(sink = self.sink.name(), %error, "an alarm could not be delivered; it is tried again");
                    if stopping {
                        return;
                    }
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        _ = stop.wait_for(|stop| *stop) => {}
                    }
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// Sends the next alarms; tells whether more may be left.
    async fn next(&mut self, stopping: bool) -> Result<bool, Failure> {
        let untold = self.engine.alarms_behind(self.told).await?;
        let some = !untold.alarms.is_empty();
        let mut outcome = Ok(());
        for alarm in &untold.alarms {
            outcome = self.send(alarm).await;
            if outcome.is_err() {
                break;
            }
            self.told = alarm.sequence;
        }
        if outcome.is_ok() {
            if let Some(sequence) = untold.unreadable {
                tracing::error!(
                    sink = self.sink.name(),
                    sequence,
                    "what cannot be read of history from here on may have been an alarm, and is not sent"
                );
            }
            self.told = self.told.max(untold.reached);
        }
        let gone_over = self.told.saturating_sub(self.noted);
        if gone_over > 0 && (some || stopping || gone_over >= WORTH_NOTING) {
            // INVARIANT (alarm-told)
            self.engine
                .note_alarms_told(self.sink.name(), self.told)
                .await?;
            self.noted = self.told;
        }
        outcome.map(|()| untold.more)
    }

    async fn send(&mut self, alarm: &Numbered) -> Result<(), Failure> {
        if self.sink == Sink::Log {
            if alarm.sequence <= self.before {
                // The log may or may not have it: the run that raised it ended before it was sure.
                log_alarm(&alarm.record, "alarm of an earlier run");
            }
            return Ok(());
        }
        let sent = self.delivery.send(&self.sink, line(alarm)).await;
        let counter = match &sent {
            Ok(()) => "leasehold_audit_sink_deliveries_total",
            Err(_) => "leasehold_audit_sink_failures_total",
        };
        metrics::counter!(counter, "sink" => self.sink.name()).increment(1);
        sent
    }
}
