//! What anybody who may read history may ask about its seals: checkpoints, proofs, and whether all of it holds.

use super::{Call, Engine, HistoryOf, Note, Page, PageRequest};
use crate::{
    audit::{
        check::{self, Question, Report},
        checkpoint::Checkpoint,
        proof::{self, Consistency, Inclusion, Numbered},
        removal,
    },
    authz::{Action, Permit, Resource},
    domain::{
        error::{Error, Result},
        event::{EventName, Object},
    },
};

const DEFAULT_SORT: &str = "-size";

impl Engine {
    async fn may_read_history(&self, call: &Call) -> Result<Permit> {
        self.authorize(call, Action::AuditRead, Resource::Workspace)
            .await
    }

    /// Records a reading of the log.
    async fn note_question(&self, call: &Call, permit: &Permit, what: &str) -> Result<()> {
        let mut unit = self.begin(call, permit, &[]).await?;
        let object = Object {
            name: Some(what.to_owned()),
            ..Object::default()
        };
        unit.record(Note::new(EventName::AuditRead, object))?;
        unit.commit().await
    }

    /// A page of the checkpoints. They are over the whole vault's log, and tell how long it is and nothing else of it.
    pub async fn checkpoints(&self, call: &Call, request: &PageRequest) -> Result<Page<Numbered>> {
        self.may_read_history(call).await?;
        let window = request.window(&[("size", ())], DEFAULT_SORT)?;
        if request.offset.is_some() {
            return Err(Error::invalid(
                "offset",
                "this list is paged by `cursor` alone",
            ));
        }
        let refuse = || {
            Error::invalid(
                "cursor",
                "`cursor` is not one that this list gave, in this order",
            )
        };
        let after = match &window.after {
            Some(position) => {
                let position = position.as_slice().try_into().map_err(|_| refuse())?;
                Some(u64::from_be_bytes(position))
            }
            None => None,
        };
        let key = self.keyring.audit_key().public_key();
        let (mut items, total) = proof::page(
            &mut self.read(),
            key,
            window.descending,
            after,
            window.limit + 1,
        )
        .await?;
        let more = items.len() > window.limit;
        items.truncate(window.limit);
        let last = items.last().map(|last| last.checkpoint.statement().size);
        let next_cursor = last
            .filter(|_| more)
            .map(|size| request.cursor_after(DEFAULT_SORT, &size.to_be_bytes()));
        Ok(Page {
            items,
            limit: window.limit,
            next_cursor,
            total,
            unreadable: 0,
        })
    }

    /// The newest checkpoint.
    pub async fn latest_checkpoint(&self, call: &Call) -> Result<Checkpoint> {
        self.may_read_history(call).await?;
        let newest = self.newest_checkpoint().await?;
        newest.ok_or_else(|| Error::not_found("checkpoint"))
    }

    /// A size that is asked for, or all that is sealed.
    async fn size(&self, field: &str, size: Option<u64>) -> Result<u64> {
        let sealed = self.sealed_size().await?;
        match size {
            None => Ok(sealed),
            Some(size) if (1..=sealed).contains(&size) => Ok(size),
            Some(_) => Err(Error::invalid(
                field,
                format!("`{field}` must be 1 to the number of sealed records, {sealed}"),
            )
            .with("limit", sealed)),
        }
    }

    /// The proof that a record is in the tree over the first `size` records, or all that are
    /// sealed. Not found: a record that is not there, not sealed yet, or not of the history that is asked for.
    pub async fn prove_inclusion(
        &self,
        call: &Call,
        sequence: Option<u64>,
        size: Option<u64>,
        of: HistoryOf,
    ) -> Result<Inclusion> {
        let (permit, workspace) = self.authorize_history(call, Action::AuditRead, of).await?;
        let sequence = sequence.ok_or_else(|| Error::missing("sequence"))?;
        let size = self.size("size", size).await?;
        let proof =
            proof::inclusion(&mut self.read(), &self.keyring, workspace, sequence, size).await?;
        let proof = proof.ok_or_else(|| Error::not_found("record"))?;
        self.note_question(call, &permit, &of.named("proof"))
            .await?;
        Ok(proof)
    }

    /// The proof that the tree over the first `to` records, or all that are sealed, begins with that over the first
    /// `from`, or the first one.
    pub async fn prove_consistency(
        &self,
        call: &Call,
        from: Option<u64>,
        to: Option<u64>,
    ) -> Result<Consistency> {
        self.may_read_history(call).await?;
        let from = from.unwrap_or(1);
        let to = self.size("to", to).await?;
        if !(1..=to).contains(&from) {
            return Err(
                Error::invalid("from", format!("`from` must be 1 to {to}")).with("limit", to)
            );
        }
        let key = self.keyring.audit_key().public_key();
        for (field, size) in [("from", from), ("to", to)] {
            removal::divisible(&mut self.read(), key, field, size).await?;
        }
        proof::consistency(&mut self.read(), key, from, to).await
    }

    /// Holds the log, or these records of it, to its checkpoints. Reads it once; one such reading goes on at a time.
    pub async fn verify_log(
        &self,
        call: &Call,
        from: Option<u64>,
        to: Option<u64>,
    ) -> Result<Report> {
        let permit = self.may_read_history(call).await?;
        let from = from.unwrap_or(1);
        if from == 0 || to.is_some_and(|to| to < from) {
            return Err(Error::invalid("from", "`from` must be 1 to `to`"));
        }
        self.note_question(call, &permit, "verification").await?;
        call.entered.leave();
        let _turn = self.turn_to_verify().await?;
        let question = Question {
            from,
            to,
            kept: Vec::new(),
        };
        let key = self.keyring.audit_key().public_key();
        let report = check::log(&mut self.read(), key, question).await?;
        if let Some(fault) = report.faults.first() {
            tracing::error!(
                sequence = fault.sequence,
                what = fault.what,
                faults = report.faults.len(),
                "the audit log does not hold"
            );
        }
        Ok(report)
    }
}
