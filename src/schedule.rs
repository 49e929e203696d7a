//! Jobs by the clock on the wall: housekeeping that takes no input, can run twice, and is bounded. Lease
//! expiry is not among them; the reaper sleeps to the millisecond.

use std::{future::Future, pin::Pin, sync::Arc};

use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};

/// What a job does.
pub type Work = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// A job and when it runs: a cron expression with seconds, in UTC.
pub struct Task {
    pub cron: &'static str,
    pub work: Work,
}

impl Task {
    /// A job of an async function.
    pub fn new<F>(cron: &'static str, work: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self {
            cron,
            work: Arc::new(move || Box::pin(work())),
        }
    }
}

/// Jobs that are running.
pub struct Schedule(JobScheduler);

impl Schedule {
    /// Starts the jobs.
    pub async fn start(tasks: Vec<Task>) -> Result<Self, JobSchedulerError> {
        let scheduler = JobScheduler::new().await?;
        for Task { cron, work } in tasks {
            scheduler
                .add(Job::new_async(cron, move |_, _| work())?)
                .await?;
        }
        scheduler.start().await?;
        Ok(Self(scheduler))
    }

    /// Starts no further run of any job.
    pub async fn stop(mut self) -> Result<(), JobSchedulerError> {
        self.0.shutdown().await
    }
}
