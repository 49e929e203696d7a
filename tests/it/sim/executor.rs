//! Runs tasks one step at a time, in an order that the dice decide. A task stops at every door it comes to
//! (the store has them, before and after each operation), and the doors are opened one by one as well: those of
//! tasks that the engine itself spawned included.

use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use super::dice::Dice;

/// Doors that somebody waits at; clones are the same doors.
#[derive(Clone)]
pub struct Doors {
    inner: Arc<Mutex<Inner>>,
    dice: Dice,
}

#[derive(Default)]
struct Inner {
    tickets: u64,
    waiting: BTreeMap<u64, Waker>,
    scheduler: Option<Waker>,
}

impl Doors {
    pub fn new(dice: Dice) -> Self {
        Self {
            inner: Arc::default(),
            dice,
        }
    }

    /// Waits until the scheduler opens the door; some doors stand open.
    pub async fn pass(&self) {
        if self.dice.one_in(2) {
            return;
        }
        let mut turn = Turn {
            doors: self.inner.clone(),
            ticket: None,
        };
        std::future::poll_fn(|cx| turn.poll(cx)).await;
    }
}

struct Turn {
    doors: Arc<Mutex<Inner>>,
    ticket: Option<u64>,
}

impl Turn {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut doors = self.doors.lock().unwrap();
        let ticket = match self.ticket {
            Some(ticket) if !doors.waiting.contains_key(&ticket) => return Poll::Ready(()),
            Some(ticket) => ticket,
            None => {
                doors.tickets += 1;
                doors.tickets
            }
        };
        self.ticket = Some(ticket);
        doors.waiting.insert(ticket, cx.waker().clone());
        if let Some(scheduler) = &doors.scheduler {
            scheduler.wake_by_ref();
        }
        Poll::Pending
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.doors.lock().unwrap().waiting.remove(&ticket);
        }
    }
}

struct Flag {
    ready: AtomicBool,
    doors: Arc<Mutex<Inner>>,
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.ready.store(true, Ordering::SeqCst);
        if let Some(scheduler) = &self.doors.lock().unwrap().scheduler {
            scheduler.wake_by_ref();
        }
    }
}

/// What a task does.
pub type Work = Pin<Box<dyn Future<Output = ()>>>;

struct Task {
    name: &'static str,
    work: Work,
    flag: Arc<Flag>,
}

/// The tasks of one run of the vault, by the order in which they were started.
pub struct Tasks {
    tasks: BTreeMap<u64, Task>,
    started: u64,
    doors: Doors,
    dice: Dice,
}

impl Tasks {
    pub fn new(dice: Dice) -> Self {
        Self {
            tasks: BTreeMap::new(),
            started: 0,
            doors: Doors::new(dice.clone()),
            dice,
        }
    }

    pub fn doors(&self) -> Doors {
        self.doors.clone()
    }

    pub fn spawn(&mut self, name: &'static str, work: impl Future<Output = ()> + 'static) {
        self.started += 1;
        let flag = Arc::new(Flag {
            ready: AtomicBool::new(true),
            doors: self.doors.inner.clone(),
        });
        let work = Box::pin(work);
        self.tasks.insert(self.started, Task { name, work, flag });
    }

    /// Whether a task of that name goes on.
    pub fn runs(&self, name: &str) -> bool {
        self.tasks.values().any(|task| task.name == name)
    }

    /// Lets one task or one door go on, and then whatever the engine spawned. Tasks named `held` stand still;
    /// when they alone could go on, nothing does.
    pub async fn step(&mut self, held: Option<&str>) {
        std::future::poll_fn(|cx| self.poll_step(held, cx)).await;
        tokio::task::yield_now().await;
    }

    fn poll_step(&mut self, held: Option<&str>, cx: &mut Context<'_>) -> Poll<()> {
        let waiting: Vec<u64> = {
            let mut doors = self.doors.inner.lock().unwrap();
            doors.scheduler = Some(cx.waker().clone());
            doors.waiting.keys().copied().collect()
        };
        let is_ready = |task: &&Task| task.flag.ready.load(Ordering::SeqCst);
        let is_held = |task: &Task| held == Some(task.name);
        let some_held = self.tasks.values().filter(is_ready).any(is_held);
        let ready: Vec<u64> = self
            .tasks
            .iter()
            .filter(|(_, task)| is_ready(task) && !is_held(task))
            .map(|(id, _)| *id)
            .collect();
        let choices = ready.len() + waiting.len();
        if choices == 0 {
            return if some_held {
                Poll::Ready(())
            } else {
                Poll::Pending
            };
        }
        let choice = self.dice.below(choices as u64) as usize;
        let Some(id) = ready.get(choice) else {
            let ticket = waiting[choice - ready.len()];
            let opened = self.doors.inner.lock().unwrap().waiting.remove(&ticket);
            opened.expect("a door that is waited at").wake();
            return Poll::Ready(());
        };
        let task = self.tasks.get_mut(id).expect("a task that is ready");
        task.flag.ready.store(false, Ordering::SeqCst);
        let waker = Waker::from(task.flag.clone());
        if task
            .work
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_ready()
        {
            self.tasks.remove(id);
        }
        Poll::Ready(())
    }
}
