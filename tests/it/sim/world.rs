//! One run: a seed, a vault over the store in memory, its clients, and everything that goes wrong.

use std::{
    cell::RefCell, collections::BTreeMap, future::Future, rc::Rc, sync::Arc, time::Duration,
};

use leasehold::{
    crypto::keyring::Keyring,
    domain::{policy::NamedPolicies, time::Timestamp},
    engine::{Engine, Unsealed},
    store::{
        local::LocalStore,
        memory::{Fault, Memory},
        port::Store,
    },
};
use tokio::sync::watch;

use super::{
    base::Base,
    clients,
    dice::Dice,
    executor::{Tasks, Work},
    gate::{Gate, Planted},
    inspect::Snapshot,
    model::{Broken, Kept, Model, hold},
    shared::{Shared, Vault},
};

/// Steps of a run, the end apart.
const STEPS: u64 = 600;
/// Steps within which everything that was begun must end, once nothing goes wrong any more.
const PATIENCE: u64 = 20_000;
/// A step that stands still for twice this long has a deadlock. Once is not enough: a process that was stopped meanwhile
/// finds the time over as soon as it goes on.
const DEADLOCK: Duration = Duration::from_secs(30);

const COMMITTER: &str = "committer";
const REAPER: &str = "reaper";
const SEALER: &str = "sealer";
const SWEEPER: &str = "sweeper";
/// Open leases that a cascade looks at in one transaction: so few that most cascades need several.
const SWEPT_AT_ONCE: usize = 2;
const CLIENT: &str = "client";

/// How a run ended.
pub struct Outcome {
    pub broken: Option<Broken>,
    pub history: Vec<String>,
    /// How often each thing happened.
    pub seen: BTreeMap<String, u64>,
}

/// Runs one seed.
pub fn run(seed: u64, planted: Option<Planted>) -> Outcome {
    let base = Base::get();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let dice = Dice::of(seed);
    let shared = Rc::new(Shared::new(dice.clone()));
    let mut world = World {
        base,
        shared: shared.clone(),
        tasks: Tasks::new(dice.clone()),
        dice,
        memory: base.memory.after_power_cut(),
        planted,
        model: Model::default(),
        running: None,
        committer: Rc::default(),
    };
    let ended = runtime.block_on(world.live());
    let broken = ended.map_or_else(Some, |()| shared.broken());
    drop(world);
    Outcome {
        broken,
        history: shared.history(),
        seen: shared.seen.borrow().clone(),
    }
}

struct World {
    base: &'static Base,
    shared: Rc<Shared>,
    dice: Dice,
    tasks: Tasks,
    memory: Memory,
    planted: Option<Planted>,
    model: Model,
    running: Option<Running>,
    /// That of a store which was just made.
    committer: Rc<RefCell<Option<Work>>>,
}

/// What ends with a power cut.
struct Running {
    engine: Arc<Engine>,
    keyring: Arc<Keyring>,
    stop_reaper: watch::Sender<bool>,
    /// Until when the committer stands still.
    slow_until: u64,
    disk_low_until: u64,
}

impl World {
    async fn live(&mut self) -> Kept {
        self.start().await?;
        for step in 0..STEPS {
            self.disturb(step).await?;
            self.step(step).await?;
        }
        self.settle().await?;
        self.stop().await?;
        self.start().await?;
        for _ in 0..PATIENCE {
            if !self.tasks.runs(SWEEPER) {
                break;
            }
            self.step(u64::MAX).await?;
        }
        self.look(true).await?;
        self.model.swept()
    }

    async fn step(&mut self, now: u64) -> Kept {
        let slow = self
            .running
            .as_ref()
            .is_some_and(|running| running.slow_until > now);
        {
            let mut step = std::pin::pin!(self.tasks.step(slow.then_some(COMMITTER)));
            let mut over = true;
            for _ in 0..2 {
                over = over && tokio::time::timeout(DEADLOCK, &mut step).await.is_err();
            }
            hold("liveness", !over, || "nothing can go on".to_owned())?;
        }
        self.shared.time.pass(self.dice.below(25));
        self.shared.broken().map_or(Ok(()), Err)
    }

    /// Runs a task to its end, beside all others.
    async fn finish<T: 'static>(
        &mut self,
        name: &'static str,
        work: impl Future<Output = T> + 'static,
    ) -> Kept<T> {
        let done = Rc::new(RefCell::new(None));
        let keep = done.clone();
        self.tasks.spawn(name, async move {
            let outcome = work.await;
            keep.replace(Some(outcome));
        });
        for _ in 0..PATIENCE {
            if let Some(done) = done.take() {
                return Ok(done);
            }
            self.step(u64::MAX).await?;
            if let Some(committer) = self.committer.take() {
                self.tasks.spawn(COMMITTER, committer);
            }
        }
        Err(Broken {
            promise: "liveness",
            how: format!("{name} does not end"),
        })
    }

    /// Unseals and serves what is durable, as `leasehold server` does, and lets the clients in.
    async fn start(&mut self) -> Kept {
        let (dice, time) = (Arc::new(self.dice.clone()), self.shared.time.clone());
        let unsealed = Unsealed::read(&self.memory, &self.base.header, &self.base.root, dice, time);
        let unsealed = unsealed.map_err(|error| Broken {
            promise: "restart",
            how: error.to_string(),
        })?;
        let (keyring, clock) = (unsealed.keyring().clone(), unsealed.clock().clone());
        let (memory, committer) = (self.memory.clone(), self.committer.clone());
        let gate = {
            let (doors, dice, keyring) = (self.tasks.doors(), self.dice.clone(), keyring.clone());
            move |store: &Arc<dyn Store>, planted| Gate {
                store: store.clone(),
                doors: doors.clone(),
                dice: dice.clone(),
                keyring: keyring.clone(),
                planted,
            }
        };
        let (of_redeemer, of_store) = match self.planted {
            Some(Planted::ExpiryCheckSkipped) => (self.planted, None),
            planted => (None, planted),
        };
        let redeemers_store = Rc::new(RefCell::new(None));
        let keep_store = redeemers_store.clone();
        let serve = unsealed.serve(
            move |log| {
                let (store, work) = LocalStore::new(memory, log);
                committer.replace(Some(Box::pin(work.run())));
                let store: Arc<dyn Store> = Arc::new(store);
                keep_store.replace(of_redeemer.map(|planted| gate(&store, Some(planted))));
                Ok(Arc::new(gate(&store, of_store)))
            },
            NamedPolicies::default(),
        );
        let engine = self.finish("start", serve).await?;
        let engine = engine.map_err(|error| Broken {
            promise: "restart",
            how: error.to_string(),
        })?;
        let engine = Arc::new(engine.sweeping_at_once(SWEPT_AT_ONCE));
        let redeemer = match redeemers_store.take() {
            Some(gate) => Arc::new(Engine::new(
                Arc::new(gate),
                keyring.clone(),
                clock,
                NamedPolicies::default(),
            )),
            None => engine.clone(),
        };
        let (doors, vault_engine) = (self.tasks.doors(), engine.clone());
        self.shared.vault.replace(Some(Vault {
            engine: vault_engine,
            redeemer,
            doors,
        }));
        self.shared
            .restarted(self.model.latest.unwrap_or(Timestamp::from_millis(0)));
        self.shared.troubled.set(false);
        let sweeps = engine.clone();
        self.tasks
            .spawn(SWEEPER, async move { drop(sweeps.finish_sweeps().await) });
        for client in 0..self.base.principals.len() {
            self.tasks
                .spawn(CLIENT, clients::run(self.shared.clone(), client));
        }
        let (stop_reaper, _) = watch::channel(false);
        self.running = Some(Running {
            engine,
            keyring,
            stop_reaper,
            slow_until: 0,
            disk_low_until: 0,
        });
        Ok(())
    }

    /// What goes wrong before this step.
    async fn disturb(&mut self, step: u64) -> Kept {
        let dice = self.dice.clone();
        let Some(running) = &mut self.running else {
            return Ok(());
        };
        let failed =
            matches!(running.engine.ready(), Err(error) if error.message().contains("failed"));
        if running.disk_low_until == step {
            self.memory.set_disk_low(false);
        }
        if dice.one_in(120) {
            // The vault has seen the time before somebody sets the clock.
            self.shared.observe();
            let jump = dice.pick(&[
                300, 2_000, 10_000, 40_000, -500, -5_000, -60_000, -3_600_000,
            ]);
            self.shared.time.jump(jump);
            self.shared
                .note(format_args!("the clock jumps by {jump} ms"));
            self.shared.count("clock jump");
        }
        if dice.one_in(60) {
            running.slow_until = step + 5 + dice.below(60);
            self.shared.note("the disk is slow for a while");
            self.shared.count("slow disk");
        }
        if dice.one_in(500) {
            running.disk_low_until = step + 1 + dice.below(80);
            self.memory.set_disk_low(true);
            self.shared.troubled.set(true);
            self.shared.note("the disk is nearly full for a while");
            self.shared.count("disk low");
        }
        if dice.one_in(400) {
            let fault = dice.pick(&[Fault::Apply, Fault::Torn, Fault::Sync, Fault::Unsaid]);
            self.memory.inject(fault);
            self.shared.troubled.set(true);
            self.shared
                .note(format_args!("the next write fails: {fault:?}"));
            self.shared.count(format!("fault {fault:?}"));
        }
        if dice.one_in(40) {
            self.reaper();
        }
        if dice.one_in(40) {
            self.sealer();
        }
        if dice.one_in(40) {
            self.sweeper();
        }
        if dice.one_in(300) {
            self.inspect().await?;
        }
        if dice.one_in(if failed { 12 } else { 600 }) {
            return self.power_cut().await;
        }
        if dice.one_in(1_200) {
            self.stop().await?;
            return self.start().await;
        }
        Ok(())
    }

    /// Starts a pass of the reaper, or ends it.
    fn reaper(&mut self) {
        let Some(running) = &mut self.running else {
            return;
        };
        if self.tasks.runs(REAPER) {
            running.stop_reaper.send_replace(true);
            return;
        }
        let (stop, stopped) = watch::channel(false);
        running.stop_reaper = stop;
        self.tasks
            .spawn(REAPER, running.engine.clone().reap(stopped));
        self.shared.count("reaper");
    }

    /// Starts a round of the sealer, unless one is under way.
    fn sealer(&mut self) {
        let Some(running) = &self.running else {
            return;
        };
        if !self.tasks.runs(SEALER) {
            let engine = running.engine.clone();
            let round = async move { drop(engine.seal_next().await) };
            self.tasks.spawn(SEALER, round);
            self.shared.count("sealer");
        }
    }

    /// Carries on the cascades whose clients went away, unless that is under way.
    fn sweeper(&mut self) {
        let Some(running) = &self.running else {
            return;
        };
        if !self.tasks.runs(SWEEPER) {
            let engine = running.engine.clone();
            let round = async move { drop(engine.finish_cascades().await) };
            self.tasks.spawn(SWEEPER, round);
        }
    }

    async fn power_cut(&mut self) -> Kept {
        self.shared.note("the power is cut");
        self.shared.count("power cut");
        self.go_down().await?;
        self.start().await
    }

    /// Shuts the vault down in good order, its clients still asking.
    async fn stop(&mut self) -> Kept {
        self.shared.note("the vault is stopped");
        self.shared.count("stop");
        let Some(engine) = self.running.as_ref().map(|running| running.engine.clone()) else {
            return Ok(());
        };
        let well = !self.shared.troubled.replace(true);
        let stopped = self
            .finish("stop", async move { engine.shut_down().await })
            .await?;
        hold("available", stopped.is_ok() || !well, || {
            "a healthy vault did not stop well".to_owned()
        })?;
        self.go_down().await
    }

    /// Nothing runs any more; what was durable is held to every promise, and time goes by.
    async fn go_down(&mut self) -> Kept {
        self.tasks = Tasks::new(self.dice.clone());
        self.inspect().await?;
        self.running = None;
        self.shared.vault.replace(None);
        self.memory = self.memory.after_power_cut();
        let (dice, time) = (&self.dice, &self.shared.time);
        time.pass(dice.below(5_000));
        time.jump(dice.pick(&[0, 0, 0, 20_000, 600_000, -30_000, -7_200_000]));
        if dice.one_in(2) {
            time.reboot();
        }
        Ok(())
    }

    /// Holds what a power cut would leave now to the model.
    async fn inspect(&mut self) -> Kept {
        self.look(false).await
    }

    async fn look(&mut self, whole_log: bool) -> Kept {
        let Some(running) = &self.running else {
            return Ok(());
        };
        let snapshot = Snapshot::of(
            &self.memory,
            running.keyring.clone(),
            &self.model,
            whole_log,
        );
        let workspaces = &self.base.workspaces;
        let (records, total) = snapshot.records(&self.model, workspaces).await;
        {
            let requests = self.shared.requests.borrow();
            let mut records = records.iter();
            records.try_for_each(|found| self.model.apply(found, &requests))?;
        }
        let seen = self.model.records;
        hold("ack-durable", total == seen || !whole_log, || {
            format!("{total} records are in the log, and {seen} were")
        })?;
        self.model.settled()?;
        if self.model.swept().is_err() {
            self.shared.count("cascade under way");
        }
        snapshot.compare(&self.model, workspaces).await?;
        if whole_log {
            snapshot.sealed().await?;
        }
        self.shared.check_told(&self.model)
    }

    /// Nothing goes wrong any more, and everybody comes to an end.
    async fn settle(&mut self) -> Kept {
        self.memory.set_disk_low(false);
        self.shared.stopping.set(true);
        if self.shared.troubled.get() {
            self.power_cut().await?;
        }
        for _ in 0..PATIENCE {
            if !self.tasks.runs(CLIENT) {
                return self.inspect().await;
            }
            self.step(u64::MAX).await?;
        }
        Err(Broken {
            promise: "liveness",
            how: "a client waits for ever".to_owned(),
        })
    }
}
