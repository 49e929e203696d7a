//! Alarms on their way out, oldest first: each until a sink has taken it, or the vault stops.

use serde_json::json;
use tokio::sync::{broadcast::error::RecvError, watch};

use super::{Alarms, Delivery, LONGEST_PAUSE, PAUSE, Sink};
use crate::domain::event::{Actor, AuditRecord};

/// What a sink is told: enough to know whom to stop, and where to read on.
fn line(record: &AuditRecord) -> String {
    let (actor, identity) = match &record.actor {
        Actor::Identity { name, identity, .. } => (name.to_string(), Some(identity.to_string())),
        Actor::Vault { part } => (part.clone(), None),
    };
    let object = &record.object;
    let origin = record.origin.clone().unwrap_or_default();
    let body = json!({
        "type": "alarm",
        "id": record.id.to_string(),
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

pub(super) async fn ship(sink: Sink, mut alarms: Alarms, mut stop: watch::Receiver<bool>) {
    let mut delivery = Delivery::new(&sink);
    loop {
        let record = match alarms.try_recv() {
            Ok(record) => record,
            Err(_) if *stop.borrow() => return,
            Err(_) => {
                let received = tokio::select! {
                    received = alarms.recv() => received,
                    _ = stop.wait_for(|stop| *stop) => continue,
                };
                match received {
                    Ok(record) => record,
                    Err(RecvError::Lagged(lost)) => {
                        tracing::warn!(
                            sink = sink.name(),
                            lost,
                            "alarms were lost; history has them"
                        );
                        continue;
                    }
                    Err(RecvError::Closed) => return,
                }
            }
        };
        let line = line(&record);
        let mut pause = PAUSE;
        while let Err(error) = delivery.send(&sink, line.clone()).await {
            metrics::counter!("leasehold_audit_sink_failures_total", "sink" => sink.name())
                .increment(1);
            tracing::warn!(sink = sink.name(), record = %record.id, %error, "an alarm could not be delivered");
            if *stop.borrow() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        metrics::counter!("leasehold_audit_sink_deliveries_total", "sink" => sink.name())
            .increment(1);
    }
}
