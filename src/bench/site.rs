//! What is measured against: an address, the keys, the credentials stored there, and the requests about them.

use std::sync::{Arc, atomic::AtomicI64};

use serde_json::json;
use zeroize::Zeroizing;

use super::{
    Failure,
    client::{Connection, Peer},
    drive,
    source::Source,
};

/// Connections that leases are prepared on: many, so that they share the disk's syncs.
const PREPARING_CONNECTIONS: usize = 64;
/// The TTL of a lease: none ends while it is measured.
const TTL: &str = "2h";

/// An open lease.
#[derive(Clone)]
pub(super) struct Lease {
    pub(super) id: String,
    pub(super) handle: String,
}

impl Lease {
    /// Finds both in the answer to a grant, without reading all of it.
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(body).ok()?;
        let field = |name: &str| {
            let (_, rest) = text.split_once(name)?;
            rest.split_once('"').map(|(value, _)| value.to_owned())
        };
        Some(Self {
            id: field("\"id\":\"")?,
            handle: field("\"handle\":\"")?,
        })
    }
}

/// An API key. The requests that are built beforehand hold it too, unwiped, as the network's buffers do.
pub(super) type Key = Arc<Zeroizing<String>>;

/// A server with credentials in it. It has no `Debug`, since it holds keys.
#[derive(Clone)]
pub(super) struct Site {
    pub(super) peer: Peer,
    /// Stores credentials and lists leases.
    pub(super) admin: Key,
    /// Takes leases.
    pub(super) agent: Key,
    /// The process, where it is one of ours.
    pub(super) pid: Option<u32>,
    /// The names' common beginning and their number.
    pub(super) prefix: Arc<str>,
    pub(super) credentials: u32,
}

impl Site {
    fn name(&self, n: u32) -> String {
        // As many digits for each, so that every answer is as long.
        format!("{}-{n:06}", self.prefix)
    }

    /// The first credential's name.
    pub(super) fn first_name(&self) -> String {
        self.name(0)
    }

    /// Stores the credentials.
    pub(super) async fn store_credentials(&self, value_bytes: u32) -> Result<(), Failure> {
        let value = "x".repeat(value_bytes as usize);
        let requests = (0..self.credentials).map(|n| {
            let body = json!({"name": self.name(n), "type": "api-key", "value": value, "policy": {
                "max_leases": 1_000_000, "default_lease_ttl": TTL, "max_lease_ttl": "7d", "delivery": ["reveal"]}});
            self.peer.post("/v1/credentials", &self.admin, &body.to_string())
        });
        let sources = Source::stock(requests.collect(), 201, PREPARING_CONNECTIONS);
        let clients = drive::connect(&self.peer, sources).await?;
        let (_, run) = drive::to_the_end(clients).await?;
        run.tally.check("preparing credentials")
    }

    /// Deletes the credentials and whatever leases are open on them; those that are gone already are passed over.
    pub(super) async fn delete_credentials(&self) -> Result<(), Failure> {
        let mut connection = Connection::open(&self.peer).await?;
        for n in 0..self.credentials {
            let path = format!("/v1/credentials/{}?force=true", self.name(n));
            let answer = connection
                .ask(&self.peer.delete(&path, &self.admin))
                .await?;
            if !matches!(answer.status, 200 | 204 | 404) {
                let text = String::from_utf8_lossy(answer.body).into_owned();
                return Err(format!("`{}` could not be deleted: {text}", self.name(n)).into());
            }
        }
        Ok(())
    }

    /// Issues so many leases, unmeasured.
    pub(super) async fn prepare(&self, leases: u64) -> Result<Vec<Lease>, Failure> {
        let made = self
            .grant(leases, Arc::new(self.issues(false)), true)
            .await?;
        if made.len() as u64 != leases {
            return Err("the leases to measure with could not all be prepared".into());
        }
        Ok(made)
    }

    /// Issues so many leases with these requests by turns; gives them back where they are wanted.
    pub(super) async fn grant(
        &self,
        leases: u64,
        requests: Arc<Vec<Vec<u8>>>,
        keep: bool,
    ) -> Result<Vec<Lease>, Failure> {
        if leases == 0 {
            return Ok(Vec::new());
        }
        let left = Arc::new(AtomicI64::new(i64::try_from(leases)?));
        let sources = (0..PREPARING_CONNECTIONS).map(|n| Source::Grants {
            requests: requests.clone(),
            at: n * requests.len() / PREPARING_CONNECTIONS,
            left: left.clone(),
            made: keep.then(Vec::new),
        });
        let clients = drive::connect(&self.peer, sources.collect()).await?;
        let (clients, run) = drive::to_the_end(clients).await?;
        run.tally.check("preparing leases")?;
        Ok(clients
            .into_iter()
            .flat_map(|client| client.source.into_made())
            .collect())
    }

    /// A grant on each credential.
    pub(super) fn issues(&self, reveal: bool) -> Vec<Vec<u8>> {
        self.issues_for(TTL, reveal)
    }

    /// A grant on each credential, for so long.
    pub(super) fn issues_for(&self, ttl: &str, reveal: bool) -> Vec<Vec<u8>> {
        let issue = |n| {
            let mut body =
                json!({"credential_name": self.name(n), "ttl": ttl, "purpose": "measure"});
            if reveal && let Some(body) = body.as_object_mut() {
                body.insert("reveal".to_owned(), true.into());
            }
            self.peer.post("/v1/leases", &self.agent, &body.to_string())
        };
        (0..self.credentials).map(issue).collect()
    }

    pub(super) fn redeem(&self, lease: &Lease) -> Vec<u8> {
        let body = format!("{{\"handle\":\"{}\"}}", lease.handle);
        self.peer.post("/v1/handles/redeem", &self.agent, &body)
    }

    pub(super) fn renew(&self, lease: &Lease) -> Vec<u8> {
        let body = format!("{{\"ttl\":\"{TTL}\"}}");
        let path = format!("/v1/leases/{}/renew", lease.id);
        self.peer.post(&path, &self.agent, &body)
    }

    pub(super) fn release(&self, lease: &Lease) -> Vec<u8> {
        let path = format!("/v1/leases/{}/release", lease.id);
        self.peer.post(&path, &self.agent, "{}")
    }

    pub(super) fn read(&self, lease: &Lease) -> Vec<u8> {
        self.peer
            .get(&format!("/v1/leases/{}", lease.id), &self.agent)
    }

    pub(super) fn list(&self) -> Vec<u8> {
        self.peer.get("/v1/leases", &self.admin)
    }

    /// The same requests, to the bare handlers.
    pub(super) fn at(&self, address: &str, pid: u32) -> Self {
        let mut site = self.clone();
        site.peer.address = address.to_owned();
        site.pid = Some(pid);
        site
    }
}

#[cfg(test)]
impl Site {
    /// A site that nobody serves.
    pub(super) fn sample() -> Self {
        Self {
            peer: Peer {
                address: "127.0.0.1:1".to_owned(),
                workspace: None,
            },
            admin: Arc::new("lhk_admin".to_owned().into()),
            agent: Arc::new("lhk_agent".to_owned().into()),
            pid: None,
            prefix: "c".into(),
            credentials: 2,
        }
    }
}
