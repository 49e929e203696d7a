//! Removing pages: of runs that nobody knows, and of such as others took the place of.

use std::{collections::BTreeSet, sync::Arc};

use super::{super::run::Run, Follower};
use crate::{
    domain::error::{Error, Result},
    store::{key, port::Scan},
};

/// Pages that are removed in one commit.
const REMOVED_PER_STEP: usize = 256;

impl Follower {
    /// Removes pages of runs that nobody knows; gives back where to go on.
    pub(super) async fn sweep(&mut self, from: u64) -> Result<Option<u64>> {
        let runs = self.index.look(|shared| shared.runs.clone());
        // What is gone may still be read.
        let known: BTreeSet<u64> = runs
            .iter()
            .chain(&self.gone)
            .map(|run| run.meta.number)
            .collect();
        let mut next = from;
        loop {
            let first = Scan {
                limit: 1,
                ..key::audit_index_runs(next)
            };
            let Some((at, _)) = self.store.scan(&first).await?.pop() else {
                return Ok(None);
            };
            let (run, ..) = key::parse_audit_index_page(&at)
                .ok_or_else(|| Error::internal("malformed key of the audit index"))?;
            // A number is never used twice, so that no query reads a page of another run by mistake.
            self.next_run = self.next_run.max(run.saturating_add(1));
            if !known.contains(&run) {
                self.remove_some(run).await?;
                return Ok(Some(run));
            }
            next = run.saturating_add(1);
        }
    }

    /// Removes some pages of a run; tells whether that were all.
    async fn remove_some(&self, run: u64) -> Result<bool> {
        let scan = Scan {
            limit: REMOVED_PER_STEP,
            ..key::audit_index_run(run)
        };
        let pages = self.store.scan(&scan).await?;
        let last = pages.len() < REMOVED_PER_STEP;
        let mut txn = self.store.begin(&[key::audit_index_lock()]).await?;
        pages.into_iter().for_each(|(at, _)| txn.delete(at));
        txn.commit(Vec::new()).await?;
        Ok(last)
    }

    /// Removes pages of runs that are gone and that no query reads any more.
    pub(super) async fn remove(&mut self) -> Result<bool> {
        let unread = |run: &Arc<Run>| Arc::strong_count(run) == 1;
        let Some(at) = self.gone.iter().position(unread) else {
            return Ok(false);
        };
        let number = self.gone.get(at).map_or(0, |run| run.meta.number);
        if self.remove_some(number).await? {
            self.gone.remove(at);
        }
        Ok(true)
    }
}
