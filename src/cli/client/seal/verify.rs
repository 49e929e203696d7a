//! `leasehold audit verify`: what a running vault, or a folder, is found to be.

use serde_json::{Value, json};

use super::{VerifyArgs, foreign, latest, number, opened, path};
use crate::{
    audit::{
        checkpoint::{self, Checkpoint},
        merkle,
    },
    cli::client::{
        call::Call,
        failure::Failure,
        http::Vault,
        output::{Mode, Report},
        render,
    },
};

/// Records that the vault verifies in one request.
const AT_ONCE: u64 = 250_000;
/// Kept checkpoints that a running vault is held to by a proof each, of those that lead back from one to the next.
const PROVEN: usize = 100;

/// Holds a running vault to its checkpoints, and to those that were kept.
pub(super) async fn verify(
    vault: &Vault,
    arguments: &VerifyArgs,
    mode: Mode,
) -> Result<Report, Failure> {
    let (key, note) = arguments.key.get(vault).await?;
    let pinned = arguments.opened(key).map_err(Failure::Local)?;
    let mut found = Verification::default();
    let answer = vault.call(latest()).await?;
    let newest = opened(answer.data(), &key)?;
    let all = pinned.kept.len();
    let chosen = checkpoint::telling(&pinned.kept, PROVEN);
    for one in &chosen {
        against(vault, one, &newest, &mut found).await?;
    }
    chain(vault, &key, &mut found).await?;
    let end = arguments.to.unwrap_or(u64::MAX);
    let mut from = arguments.from.unwrap_or(1);
    loop {
        let to = end.min(from.saturating_add(AT_ONCE - 1));
        let query =
            [("from", from), ("to", to)].map(|(name, value)| (name.to_owned(), value.to_string()));
        let call = Call::get(&["v1", "audit", "verify"]).query(query.into());
        let answer = vault.call(call).await?;
        let body = answer.data();
        let last = number(body, "last")?;
        found.read(body, from, last)?;
        if last < to || to == end {
            break;
        }
        from = last + 1;
    }
    let mut report = found.report(mode);
    if all > chosen.len() {
        report = report.with_note(&format!(
            "{} of {all} kept checkpoints were held by a proof, the others by what the next one names; --data-dir looks \
             at all",
            chosen.len()
        ));
    }
    let notes = pinned.unread.iter().map(String::as_str).chain(note);
    Ok(notes.fold(report, Report::with_note))
}

/// Holds the running vault to a checkpoint that was kept.
async fn against(
    vault: &Vault,
    kept: &Checkpoint,
    newest: &Checkpoint,
    found: &mut Verification,
) -> Result<(), Failure> {
    let (old, new) = (kept.statement(), newest.statement());
    if old.size > new.size {
        let what = format!(
            "records {} to {} are missing, which the kept checkpoint of {} is over",
            new.size + 1,
            old.size,
            old.time
        );
        found.fault(new.size + 1, what);
        return Ok(());
    }
    let query = [("from", old.size), ("to", new.size)]
        .map(|(name, value)| (name.to_owned(), value.to_string()));
    let call = Call::get(&["v1", "audit", "consistency"]).query(query.into());
    let answer = vault.call(call).await?;
    let path = path(answer.data())?;
    if !merkle::consistent((old.size, &old.root), (new.size, &new.root), &path) {
        let what = format!(
            "records 1 to {} are not those that the kept checkpoint of {} is over",
            old.size, old.time
        );
        found.fault(1, what);
    }
    Ok(())
}

/// The newest checkpoints: each is signed and names the one before.
async fn chain(vault: &Vault, key: &[u8; 32], found: &mut Verification) -> Result<(), Failure> {
    let query = vec![("limit".to_owned(), "200".to_owned())];
    let answer = vault
        .call(Call::get(&["v1", "audit", "checkpoints"]).query(query))
        .await?;
    let mut newer: Option<Checkpoint> = None;
    for body in answer.rows() {
        let checkpoint = opened(body, key)?;
        if let Some(newer) = &newer
            && newer.statement().previous != Some(checkpoint.digest())
        {
            let size = newer.statement().size;
            let what =
                format!("the checkpoint over {size} records does not follow the one before it");
            found.fault(size, what);
        }
        newer = Some(checkpoint);
    }
    Ok(())
}

/// What a verification comes to, of a running vault or of a folder.
#[derive(Debug, Default)]
pub struct Verification {
    pub records: u64,
    pub checkpoints: u64,
    pub last: u64,
    /// Records that retention removed.
    pub removed: u64,
    pub proven: u64,
    /// The first record that each is about, and what is wrong.
    pub faults: Vec<(u64, String)>,
}

impl Verification {
    fn fault(&mut self, sequence: u64, what: String) {
        self.faults.push((sequence, what));
    }

    fn read(&mut self, body: &Value, from: u64, last: u64) -> Result<(), Failure> {
        let first = number(body, "first")?;
        // A range is read from the checkpoint before it.
        let again = from.saturating_sub(first);
        self.records += number(body, "records")?.saturating_sub(again);
        self.checkpoints += number(body, "checkpoints")?;
        self.removed += number(body, "removed")?;
        self.last = self.last.max(last);
        self.proven = self.proven.max(number(body, "proven")?);
        let faults = body.get("faults").and_then(Value::as_array);
        for fault in faults.ok_or_else(|| foreign("it has no `faults`"))? {
            let what = fault
                .get("what")
                .and_then(Value::as_str)
                .unwrap_or_default();
            self.fault(number(fault, "sequence")?, what.to_owned());
        }
        Ok(())
    }

    /// What is said about it: each fault with its record, the first one first. The process fails where there is one.
    fn report(mut self, mode: Mode) -> Report {
        self.faults.sort();
        self.faults.dedup();
        let out = if mode.json {
            mode.layout(&self.json().to_string())
        } else {
            self.text().into()
        };
        Report {
            failed: !self.faults.is_empty(),
            ..Report::new(out)
        }
    }

    /// As JSON.
    pub fn json(&self) -> Value {
        let faults: Vec<_> = self
            .faults
            .iter()
            .map(|(sequence, what)| json!({ "sequence": sequence, "what": what }))
            .collect();
        json!({"status": "success", "data": {
            "intact": self.faults.is_empty(), "records": self.records, "checkpoints": self.checkpoints,
            "last": self.last, "removed": self.removed, "proven": self.proven, "faults": faults,
        }})
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (sequence, what) in &self.faults {
            text.push_str(&format!("record {sequence}: {}\n", render::clean(what)));
        }
        let Self {
            records,
            checkpoints,
            proven,
            last,
            removed,
            ..
        } = self;
        let removed = match removed {
            0 => String::new(),
            removed => format!("; {removed} records were removed by retention"),
        };
        let looked = format!("{records} records, {checkpoints} checkpoints{removed}");
        let waiting = last.saturating_sub(*proven);
        text.push_str(&match self.faults.first() {
            None if waiting > 0 => format!(
                "intact: {looked}; the newest {waiting} records wait for their checkpoint\n"
            ),
            None => format!("intact: {looked}\n"),
            Some((first, _)) => format!("not intact: {looked}; the first bad record is {first}\n"),
        });
        text
    }
}
