//! A grant that is asked for again: the first answer once more, with the same lease and handle.

use super::{
    super::{Call, Engine, Note, Unit, close::object, credential::change, idempotency::Slot},
    Issued,
};
use crate::{
    domain::{
        error::{Code, Result},
        event::EventName,
        lease::{Lease, LeaseStatus},
        name::Metadata,
        secret::SecretText,
        time::Timestamp,
    },
    engine::views::LeaseView,
};

/// The value of a lease that showed it in its first answer.
enum Again {
    /// It is shown until then, and that is a use like any other.
    Shown(SecretText, Timestamp),
    /// The lease has been used as often as it may be.
    Spent,
    /// The lease may not show it any more; since then, where time alone says so.
    Over(Option<Timestamp>),
}

impl Engine {
    /// The first answer again. INVARIANT (ack-audited): a value that is shown again is counted and recorded again.
    pub(super) async fn issue_again(
        &self,
        call: &Call,
        mut unit: Unit<'_>,
        slot: &Slot<'_>,
        (lease, metadata): (Lease, Metadata),
        reveal: bool,
    ) -> Result<Issued> {
        let minted = self.keyring.mint_repeatable(
            unit.tables.workspace,
            lease.id,
            slot.key().unwrap_or_default(),
        );
        let again = match reveal {
            true => unit.show_again(&lease).await?,
            false => Again::Over(None),
        };
        // A retry of what a crash cut off may be the first that anybody hears of it.
        let touch = unit
            .touch(&lease, "a lease of it was asked for again")
            .await?;
        let withheld = matches!(again, Again::Spent);
        let (mut shown, mut ended) = match again {
            Again::Shown(value, ends) => (Some((value, ends)), None),
            Again::Spent => (None, None),
            Again::Over(ended) => (None, ended),
        };
        if shown.is_some() || touch.is_some() {
            unit.commit_touched(call, touch).await?;
            // INVARIANT (ttl): as after a grant.
            let now = self.now();
            if let Some((_, ends)) = shown.take_if(|(_, ends)| now >= *ends) {
                ended = Some(ends);
            }
        } else {
            let workspace = unit.tables.workspace;
            drop(unit);
            slot.durable(self, workspace).await?;
        }
        self.stays_over(ended).await?;
        let view = LeaseView {
            status: LeaseStatus::Active,
            version: lease.version,
            metadata,
            lease,
        };
        Ok(Issued {
            view,
            handle: minted.text,
            value: shown.map(|(value, _)| value),
            withheld,
        })
    }
}

impl Unit<'_> {
    /// Shows a value again, where the lease as it is now lets it.
    async fn show_again(&mut self, lease: &Lease) -> Result<Again> {
        let tables = self.tables.clone();
        let Some(before) = tables.lease(&mut self.txn, lease.id).await? else {
            return Ok(Again::Over(None));
        };
        let mut used = before.clone();
        if let Err(error) = used.redeem(self.now) {
            return Ok(match error.code() {
                Code::BudgetExhausted => Again::Spent,
                _ => Again::Over(before.ran_out(self.now)),
            });
        }
        let ledger = tables.ledger(&mut self.txn, used.credential).await?;
        if ledger.check_use(used.version).is_err() {
            return Ok(Again::Over(None));
        }
        let value = tables
            .value(&mut self.txn, used.credential, used.version)
            .await?;
        tables.put_lease(&mut *self.txn, &used)?;
        let uses = change(
            "uses",
            Some(before.uses.to_string()),
            Some(used.uses.to_string()),
        );
        self.record(Note {
            purpose: used.purpose.clone(),
            reason: Some("the same request was sent again".to_owned()),
            changes: vec![uses],
            ..Note::new(EventName::LeaseRedeemed, object(&used))
        })?;
        Ok(Again::Shown(value, used.expires_at))
    }
}
