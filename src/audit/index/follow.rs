//! The follower: reads the log behind the commit, keeps the index, and remembers in the store how far it is.
//!
//! Every step does a bounded amount of work and leaves the index whole: a run is there from the commit that names it
//! in the state, and pages that no run named there has are removed at the next start.

mod sweep;

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;

use super::{
    Index, RunMeta, Shared, State,
    format::Page,
    memory::{Batch, Memory},
    merge::Merge,
    open_state,
    run::{Run, Shelf, seal_page},
    seal_state, terms,
};
use crate::{
    audit::query::blocks::{self, Each},
    domain::error::{Error, Result},
    store::{
        key,
        port::{Scan, Store},
    },
};

/// Blocks of the log that are read in one step.
const BLOCKS_PER_STEP: usize = if cfg!(test) { 2 } else { 16 };
/// Pages that a merge writes in one commit.
const PAGES_PER_STEP: usize = 64;
/// How long the follower rests once it is at the end of the log.
const REST: Duration = Duration::from_millis(250);
/// How long it rests after a failure.
const REST_AFTER_FAILURE: Duration = Duration::from_secs(5);

/// What keeps the index, one for each vault.
pub struct Follower {
    index: Arc<Index>,
    store: Arc<dyn Store>,
    next_run: u64,
    opened: bool,
    /// The first run that was not looked at for pages that belong to none.
    swept: Option<u64>,
    merge: Option<Merge>,
    /// Runs that others took the place of.
    gone: Vec<Arc<Run>>,
}

impl Follower {
    pub fn new(index: Arc<Index>, store: Arc<dyn Store>) -> Self {
        Self {
            index,
            store,
            next_run: 0,
            opened: false,
            swept: Some(0),
            merge: None,
            gone: Vec::new(),
        }
    }

    /// Follows the log until `stop` says so, or nobody is left to say it. What fails is tried again.
    pub async fn follow(mut self, mut stop: watch::Receiver<bool>) {
        while !*stop.borrow() && stop.has_changed().is_ok() {
            let rest = match self.step().await {
                Ok(true) => {
                    tokio::task::yield_now().await;
                    continue;
                }
                Ok(false) => REST,
                Err(error) => {
                    let source = std::error::Error::source(&error).map(ToString::to_string);
                    tracing::warn!(%error, source, "the audit index cannot be kept up; trying again");
                    // What was half done is done anew, and its pages are nobody's.
                    self.merge = None;
                    self.swept = Some(0);
                    REST_AFTER_FAILURE
                }
            };
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
        }
    }

    /// Does some of what there is to do; tells whether more is left.
    pub async fn step(&mut self) -> Result<bool> {
        if self
            .index
            .distrusted
            .swap(false, std::sync::atomic::Ordering::Relaxed)
        {
            tracing::warn!("the audit index is damaged and is made anew");
            self.forget().await?;
        }
        if !self.opened {
            self.open().await?;
            self.opened = true;
        }
        if let Some(from) = self.swept {
            self.swept = self.sweep(from).await?;
            return Ok(true);
        }
        let read = self.ingest().await?;
        let merged = self.merge().await?;
        let removed = self.remove().await?;
        Ok(read || merged || removed)
    }

    fn shelf(&self) -> Shelf<'_> {
        Shelf {
            store: &*self.store,
            keyring: &self.index.keyring,
        }
    }

    /// Takes up what the store remembers. A state that cannot be read is as good as none.
    async fn open(&mut self) -> Result<()> {
        let found = self.store.get(&key::audit_index_state()).await?;
        let opened = found.map(|sealed| open_state(&self.index.keyring, &sealed));
        let state = match opened {
            Some(Ok(state)) => state,
            Some(Err(error)) => {
                tracing::warn!(%error, "the audit index cannot be read and is made anew");
                State::default()
            }
            None => State::default(),
        };
        let end = blocks::newest(&*self.store).await? + 1;
        let state = if state.next > end {
            // What came under the numbers of what is gone would not be found.
            tracing::warn!("the audit index is ahead of the log and is made anew");
            State {
                // A run of it is not mistaken for one that is made now.
                next_run: state.next_run,
                ..State::default()
            }
        } else {
            state
        };
        self.next_run = state.next_run;
        self.index.change(|shared| {
            *shared = Shared {
                runs: state.runs.into_iter().map(Run::new).collect(),
                memory: Memory::from(state.next),
            };
        });
        Ok(())
    }

    /// Drops the whole index; its pages are swept.
    async fn forget(&mut self) -> Result<()> {
        let mut txn = self.store.begin(&[key::audit_index_lock()]).await?;
        txn.delete(key::audit_index_state());
        txn.commit(Vec::new()).await?;
        self.merge = None;
        self.gone.clear();
        self.opened = false;
        self.swept = Some(0);
        Ok(())
    }

    /// Reads some of the log; tells whether there may be more.
    async fn ingest(&mut self) -> Result<bool> {
        let next = self.index.look(|shared| shared.memory.end());
        let scan = Scan {
            limit: BLOCKS_PER_STEP,
            ..key::audits(next)
        };
        let found = self.store.scan(&scan).await?;
        let Some((first, _)) = found.first() else {
            return Ok(false);
        };
        let first =
            key::parse_audit(first).ok_or_else(|| Error::internal("malformed audit key"))?;
        if first > next {
            self.skip_to(first).await?;
        }
        let mut batch = Batch::default();
        let mut whole = true;
        for (at, block) in &found {
            // Behind a hole the next step begins.
            if key::parse_audit(at) != Some(first + batch.len()) {
                whole = false;
                break;
            }
            let key = self.index.keyring.terms();
            blocks::each(&self.index.keyring, at, block, |each| match each {
                Each::Record(record) => {
                    batch.record(Some(record.time));
                    terms::of_record(key, record, &mut |term| batch.term(term));
                }
                Each::Gone => batch.record(None),
                Each::Unreadable(workspace) => {
                    batch.record(None);
                    batch.term(terms::of_unreadable(key, workspace));
                }
                Each::Lost => {
                    batch.record(None);
                    batch.term(terms::of_lost(key));
                }
            })?;
        }
        if batch.is_empty() {
            return Ok(false);
        }
        let records = self.index.change(|shared| {
            shared.memory.add(&batch);
            shared.memory.records()
        });
        let end = self.index.look(|shared| shared.memory.end());
        metrics::gauge!("leasehold_audit_index_sequence").set(end.saturating_sub(1) as f64);
        if records >= self.index.limits.run_records {
            self.flush().await?;
        }
        Ok(!whole || found.len() == BLOCKS_PER_STEP)
    }

    /// Goes on behind records that were removed before anybody indexed them, or that are missing. Runs on both sides of
    /// such a hole do not touch each other, and stay apart: that tells of it.
    async fn skip_to(&mut self, first: u64) -> Result<()> {
        if self.index.look(|shared| shared.memory.records()) > 0 {
            self.flush().await?;
        }
        self.index
            .change(|shared| shared.memory = Memory::from(first));
        Ok(())
    }

    /// Makes a run of what is in memory.
    async fn flush(&mut self) -> Result<()> {
        let number = self.next_run;
        let (meta, pages) = self.index.look(|shared| {
            let meta = RunMeta {
                number,
                level: 0,
                start: shared.memory.start(),
                end: shared.memory.end(),
            };
            (meta, shared.memory.pages())
        });
        let mut runs = self.kept().await?;
        runs.push(Run::new(meta));
        self.write(number, pages, Some((&runs, meta.end, number + 1)))
            .await?;
        self.next_run = number + 1;
        self.swap(runs, Some(Memory::from(meta.end)));
        Ok(())
    }

    /// The runs but for those whose records have all been removed from the log. While a merge reads them, all.
    async fn kept(&self) -> Result<Vec<Arc<Run>>> {
        let runs = self.index.look(|shared| shared.runs.clone());
        if self.merge.is_some() {
            return Ok(runs);
        }
        let oldest = Scan {
            limit: 1,
            ..key::audits(0)
        };
        let oldest = self.store.scan(&oldest).await?.pop();
        let oldest = oldest.and_then(|(at, _)| key::parse_audit(&at));
        let first = oldest.unwrap_or_default();
        Ok(runs
            .into_iter()
            .filter(|run| run.meta.end > first)
            .collect())
    }

    /// Puts these runs in the place of those before.
    fn swap(&mut self, runs: Vec<Arc<Run>>, memory: Option<Memory>) {
        let before = self.index.change(|shared| {
            if let Some(memory) = memory {
                shared.memory = memory;
            }
            std::mem::replace(&mut shared.runs, runs.clone())
        });
        let left = |run: &Arc<Run>| !runs.iter().any(|kept| kept.meta.number == run.meta.number);
        self.gone.extend(before.into_iter().filter(left));
    }

    /// Writes pages of a run, and with the last ones the state that names it.
    async fn write(
        &self,
        number: u64,
        pages: Vec<Page>,
        state: Option<(&[Arc<Run>], u64, u64)>,
    ) -> Result<()> {
        let mut txn = self.store.begin(&[key::audit_index_lock()]).await?;
        for (layer, at, page) in pages {
            let sealed = seal_page(&self.index.keyring, (number, layer, at), &page)?;
            txn.put(key::audit_index_page(number, layer, at), sealed)?;
        }
        if let Some((runs, next, next_run)) = state {
            let state = State {
                next,
                next_run,
                runs: runs.iter().map(|run| run.meta).collect(),
            };
            txn.put(
                key::audit_index_state(),
                seal_state(&self.index.keyring, &state)?,
            )?;
        }
        txn.commit(Vec::new()).await
    }

    /// Goes on with a merge, or begins one where enough runs of a level follow each other.
    async fn merge(&mut self) -> Result<bool> {
        if self.merge.is_none() {
            let Some(due) = self.due() else {
                return Ok(false);
            };
            let number = self.next_run;
            self.next_run += 1;
            self.merge = Some(Merge::new(&due, number)?);
        }
        let Some(mut merge) = self.merge.take() else {
            return Ok(false);
        };
        let (pages, done) = match merge.step(&self.shelf(), PAGES_PER_STEP).await {
            Ok(stepped) => stepped,
            // A run that cannot be read would stand in the way for ever.
            Err(error) if self.store.health().check().is_ok() => {
                tracing::warn!(%error, "a run of the audit index cannot be merged");
                self.index.distrust();
                return Ok(true);
            }
            Err(error) => return Err(error),
        };
        if !done {
            self.write(merge.into.number, pages, None).await?;
            self.merge = Some(merge);
            return Ok(true);
        }
        let merged = |run: &Arc<Run>| merge.inputs().any(|one| one.meta.number == run.meta.number);
        let (mut runs, next) = self
            .index
            .look(|shared| (shared.runs.clone(), shared.memory.start()));
        let at = runs.iter().position(merged).unwrap_or(runs.len());
        runs.retain(|run| !merged(run));
        runs.insert(at.min(runs.len()), Run::new(merge.into));
        self.write(merge.into.number, pages, Some((&runs, next, self.next_run)))
            .await?;
        self.swap(runs, None);
        Ok(true)
    }

    /// The oldest runs that are to become one.
    fn due(&self) -> Option<Vec<Arc<Run>>> {
        let limits = self.index.limits;
        let mergeable = |runs: &[Arc<Run>]| {
            let level = runs.first().map_or(limits.max_level, |run| run.meta.level);
            let touch = |pair: &[Arc<Run>]| match pair {
                [before, behind] => before.meta.end == behind.meta.start,
                _ => true,
            };
            level < limits.max_level
                && runs.iter().all(|run| run.meta.level == level)
                && runs.windows(2).all(touch)
        };
        self.index.look(|shared| {
            let mut windows = shared.runs.windows(limits.fan.max(2));
            windows.find(|runs| mergeable(runs)).map(<[_]>::to_vec)
        })
    }
}
