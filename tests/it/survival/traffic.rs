//! Several clients at once, each on a connection of its own, entering what they ask and are told in the book.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{
    book::{Book, LeaseFacts, value},
    dice::Dice,
    kit::{Api, millis, now_millis, text},
};

pub const CREDENTIALS: [&str; 3] = ["kept-a", "kept-b", "kept-c"];
/// Small enough to be reached again and again.
pub const MAX_LEASES: u64 = 8;
const WORKERS: usize = 6;
/// The longest that the clients may be without the answers that a test waits for.
const PATIENCE: Duration = Duration::from_secs(60);
/// How much later than promised a lease may be seen to end.
pub const CLOCK_SLACK: i64 = 1_000;

/// What the clients do.
#[derive(Debug, Clone, Copy)]
pub struct Habits {
    /// Some leases live for a second and are left to expire.
    pub short_leases: bool,
    /// The wait between two rotations of a credential.
    pub rotate_every: Duration,
}

impl Default for Habits {
    fn default() -> Self {
        Self {
            short_leases: false,
            rotate_every: Duration::from_millis(50),
        }
    }
}

/// Stores the credentials that the clients use.
pub async fn furnish(admin: &Api, book: &mut Book) {
    for credential in CREDENTIALS {
        let body = json!({"name": credential, "type": "api-key", "value": value(credential, 1),
            "policy": {"max_leases": MAX_LEASES}});
        let (status, body) = admin.post("/v1/credentials", body).await.unwrap();
        assert_eq!(status, 201, "{body}");
        book.of(credential).current = 1;
    }
}

/// The clients at work. Each goes on until an answer does not come, or is that the store failed.
pub struct Traffic {
    tasks: JoinSet<()>,
    book: Arc<Mutex<Book>>,
    done: Arc<AtomicUsize>,
    habits: Habits,
}

impl Traffic {
    pub fn start(agent: &Api, admin: &Api, book: Book, dice: &mut Dice, habits: Habits) -> Self {
        let shared = Arc::new(Mutex::new(book));
        let done = Arc::default();
        let mut tasks = JoinSet::new();
        let client = |api: &Api, dice: &mut Dice| Client {
            api: Api::new(&api.address, &api.key),
            book: shared.clone(),
            dice: dice.split(),
            habits,
            mine: Vec::new(),
        };
        let working = |done: &Arc<AtomicUsize>| {
            let done = done.clone();
            move |more: Option<()>| {
                done.fetch_add(usize::from(more.is_some()), Ordering::SeqCst);
                more.is_some()
            }
        };
        for worker in 0..WORKERS {
            let mut client = client(agent, dice);
            // Each goes on with leases of earlier rounds that are its own.
            client.mine = shared.lock().unwrap().share(worker, WORKERS);
            let on = working(&done);
            tasks.spawn(async move { while on(client.step().await) {} });
        }
        for credential in CREDENTIALS {
            let mut client = client(admin, dice);
            let on = working(&done);
            tasks.spawn(async move {
                while on(client.rotate(credential).await) {
                    tokio::time::sleep(habits.rotate_every).await;
                }
            });
        }
        Self {
            tasks,
            book: shared,
            done,
            habits,
        }
    }

    /// Operations that were answered so far.
    pub fn done(&self) -> usize {
        self.done.load(Ordering::SeqCst)
    }

    /// Waits for so many more answers, and then for a random moment of up to `longest`.
    pub async fn worked(&self, answers: usize, longest: Duration, dice: &mut Dice) {
        let (begun, before) = (Instant::now(), self.done());
        while self.done() < before + answers {
            assert!(begun.elapsed() < PATIENCE, "nobody is answered any more");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(Duration::from_micros(dice.roll(longest.as_micros() as u64))).await;
    }

    /// Looks at the book between two of its entries.
    pub fn look<T>(&self, look: impl FnOnce(&Book) -> T) -> T {
        look(&self.book.lock().unwrap())
    }

    /// The book, once every client was cut off.
    pub async fn ended(mut self) -> Book {
        while let Some(task) = self.tasks.join_next().await {
            task.unwrap();
        }
        let mut book = Arc::into_inner(self.book).unwrap().into_inner().unwrap();
        if self.habits.short_leases {
            book.settled_at = now_millis() + 1000 + CLOCK_SLACK;
        }
        book
    }
}

/// A name for each request of this process.
fn request_id() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("survival-{}-{number}", std::process::id())
}

struct Client {
    api: Api,
    book: Arc<Mutex<Book>>,
    dice: Dice,
    habits: Habits,
    mine: Vec<String>,
}

impl Client {
    fn note<T>(&self, change: impl FnOnce(&mut Book) -> T) -> T {
        change(&mut self.book.lock().unwrap())
    }

    /// `None` where it is not known what became of the request: no answer, or one that the store failed.
    async fn post(&self, path: &str, body: Value) -> Option<(String, u16, Value)> {
        let id = request_id();
        let headers = [("x-request-id", id.as_str())];
        let asked = self
            .api
            .call_with(reqwest::Method::POST, path, Some(body), &headers);
        let (status, body) = asked.await?;
        if status == 503 {
            assert_eq!(body["code"], "STORAGE_UNAVAILABLE", "{body}");
            return None;
        }
        Some((id, status, body))
    }

    /// One operation, entered before it is asked for and when it is acknowledged.
    async fn step(&mut self) -> Option<()> {
        if self.mine.is_empty() || self.dice.once_in(3) {
            return self.grant().await;
        }
        let at = self.dice.roll(self.mine.len() as u64) as usize;
        let id = self.mine[at].clone();
        let (refused, keep) = match self.dice.roll(3) {
            0 => (self.redeem(&id).await?, true),
            1 => (self.renew(&id).await?, true),
            _ => (self.release(&id).await?, false),
        };
        if let Some(refusal) = &refused {
            self.assert_over(&id, refusal);
        }
        if refused.is_some() || !keep {
            self.mine.remove(at);
        }
        Some(())
    }

    async fn grant(&mut self) -> Option<()> {
        let credential = CREDENTIALS[self.dice.roll(3) as usize];
        let short = self.habits.short_leases && self.dice.once_in(2);
        let ttl = if short { "1s" } else { "10m" };
        let body = json!({"credential_name": credential, "ttl": ttl, "purpose": "to survive"});
        self.note(|book| book.of(credential).grants_asked += 1);
        let (request_id, status, body) = self.post("/v1/leases", body).await?;
        let lease = &body["data"];
        let id = text(lease, "id");
        self.note(|book| {
            book.of(credential).grants_asked -= 1;
            if status != 201 {
                assert_eq!(body["code"], "LEASE_LIMIT_REACHED", "{body}");
                return;
            }
            book.acknowledge(&request_id, "lease.issued", &id);
            let facts = LeaseFacts {
                credential: credential.to_owned(),
                version: lease["version"].as_u64().unwrap(),
                handle: text(lease, "handle"),
                expires: millis(lease, "expires_at"),
                ..LeaseFacts::default()
            };
            book.leases.insert(id.clone(), facts);
        });
        // Most of the short ones are left alone.
        if status == 201 && (!short || self.dice.once_in(4)) {
            self.mine.push(id);
        }
        Some(())
    }

    /// Tells of a refusal, as the others do.
    async fn redeem(&self, id: &str) -> Option<Option<String>> {
        let (handle, expected) = self.note(|book| {
            let lease = book.lease(id);
            lease.redeems_asked += 1;
            let expected = value(&lease.credential, lease.version);
            (lease.handle.clone(), expected)
        });
        let body = json!({"handle": handle});
        let (request_id, status, body) = self.post("/v1/handles/redeem", body).await?;
        if status != 200 {
            // The lease may have ended after its use was recorded: still in doubt.
            return Some(Some(body.to_string()));
        }
        assert_eq!(text(&body["data"], "value"), expected, "a wrong value");
        self.note(|book| {
            book.lease(id).redeems += 1;
            book.acknowledge(&request_id, "lease.redeemed", id);
        });
        Some(None)
    }

    async fn renew(&self, id: &str) -> Option<Option<String>> {
        self.note(|book| book.lease(id).renewals_asked += 1);
        let path = format!("/v1/leases/{id}/renew");
        let (request_id, status, body) = self.post(&path, json!({"ttl": "20m"})).await?;
        if status != 200 {
            self.note(|book| book.lease(id).renewals_asked -= 1);
            return Some(Some(body.to_string()));
        }
        self.note(|book| {
            let lease = book.lease(id);
            lease.renewals += 1;
            lease.expires = millis(&body["data"], "expires_at");
            book.acknowledge(&request_id, "lease.renewed", id);
        });
        Some(None)
    }

    async fn release(&self, id: &str) -> Option<Option<String>> {
        self.note(|book| book.lease(id).release_asked = true);
        let path = format!("/v1/leases/{id}/release");
        let (request_id, status, body) = self.post(&path, json!({})).await?;
        if status != 200 {
            self.note(|book| book.lease(id).release_asked = false);
            return Some(Some(body.to_string()));
        }
        self.note(|book| {
            book.lease(id).ended = Some("released");
            book.acknowledge(&request_id, "lease.released", id);
        });
        Some(None)
    }

    /// A refusal is right only for a lease that is over, or may have been cut.
    fn assert_over(&self, id: &str, refusal: &str) {
        self.note(|book| {
            let lease = book.lease(id).clone();
            let cut = book.of(&lease.credential).cut.contains(&lease.version);
            let over = lease.expires <= now_millis() + CLOCK_SLACK;
            assert!(cut || over, "{refusal}: {lease:?}");
        });
    }

    /// Rotates a credential; nobody else does, so its numbers are known.
    async fn rotate(&mut self, credential: &str) -> Option<()> {
        let cut = self.dice.once_in(4);
        let next = self.note(|book| {
            let facts = book.of(credential);
            facts.rotation_asked = Some(cut);
            if cut {
                facts.cut.insert(facts.current);
            }
            facts.current + 1
        });
        let body = json!({"new_value": value(credential, next),
            "on_open_leases": if cut { "cut" } else { "drain" }});
        let path = format!("/v1/credentials/{credential}/rotate");
        let (request_id, status, body) = self.post(&path, body).await?;
        assert_eq!(status, 200, "{body}");
        assert_eq!(body["data"]["current_version"], next);
        self.note(|book| {
            book.acknowledge(&request_id, "credential.rotated", credential);
            let facts = book.of(credential);
            (facts.current, facts.rotation_asked) = (next, None);
        });
        Some(())
    }
}
