//! An agent in Rust: leases a credential, calls an upstream with it, renews the lease and gives it back.
//!
//! ```text
//! LEASEHOLD_KEY=lhk_… CREDENTIAL=sample-api-key UPSTREAM=http://127.0.0.1:9000/ cargo run --example agent
//!
//! LEASEHOLD_ADDR  the vault's address; http://127.0.0.1:8200 where it is not set
//! LEASEHOLD_KEY   the agent's API key
//! CREDENTIAL      the credential to lease; its policy must allow `reveal`
//! UPSTREAM        the URL to call with `Authorization: Bearer <value>`
//! ```
//!
//! What to take from it: the lease is released whether the work goes well, fails or is interrupted; the value is
//! fetched where it is used and kept nowhere; neither it nor the handle is ever printed; redirects are not followed.

use std::{
    env,
    error::Error,
    io::{Write, stderr, stdout},
    process::ExitCode,
    time::Duration,
};

use reqwest::{Client, StatusCode, redirect};
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

type Failure = Box<dyn Error>;

/// How long any one call may take.
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::main]
async fn main() -> ExitCode {
    let told = match run().await {
        Ok(status) => writeln!(
            stdout(),
            "upstream said {}, lease released",
            status.as_u16()
        ),
        Err(failure) => {
            let _ = writeln!(stderr(), "agent: {failure}");
            return ExitCode::FAILURE;
        }
    };
    told.map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
}

async fn run() -> Result<StatusCode, Failure> {
    // reqwest is built without a provider of its own, so one is chosen here.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let http = Client::builder()
        .timeout(PATIENCE)
        .redirect(redirect::Policy::none())
        .build()?;
    let vault = Vault {
        http: http.clone(),
        address: env::var("LEASEHOLD_ADDR").unwrap_or_else(|_| "http://127.0.0.1:8200".to_owned()),
        key: setting("LEASEHOLD_KEY")?,
    };
    let (credential, upstream) = (setting("CREDENTIAL")?, setting("UPSTREAM")?);
    let (mut interrupted, mut terminated) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    let lease = Lease::take(&vault, &credential).await?;
    let outcome = tokio::select! {
        outcome = work(&http, &upstream, &vault, &lease) => outcome,
        _ = interrupted.recv() => Err("interrupted".into()),
        _ = terminated.recv() => Err("told to stop".into()),
    };
    // There is no asynchronous `Drop`, so the lease is given back here, whatever came of the work.
    let released = lease.release(&vault).await;
    let status = outcome?;
    released?;
    Ok(status)
}

/// What the lease is for.
async fn work(
    http: &Client,
    upstream: &str,
    vault: &Vault,
    lease: &Lease,
) -> Result<StatusCode, Failure> {
    let response = http
        .get(upstream)
        .bearer_auth(lease.value(vault).await?)
        .send()
        .await
        .map_err(|error| format!("the upstream did not answer: {error}"))?;
    let status = response.status();
    if !status.is_success() {
        return Err(format!("upstream said {}", status.as_u16()).into());
    }
    // Work that takes longer than the TTL renews in time: here once, to show it.
    lease.renew(vault, "5m").await?;
    Ok(status)
}

/// An environment variable that must be there.
fn setting(name: &str) -> Result<String, Failure> {
    env::var(name)
        .ok()
        .filter(|text| !text.is_empty())
        .ok_or_else(|| format!("{name} is not set").into())
}

/// A vault and the key of the caller.
struct Vault {
    http: Client,
    address: String,
    key: String,
}

impl Vault {
    /// The `data` of the answer; a refusal as the vault's code and message, which hold no secret.
    async fn post(&self, path: &str, body: Value) -> Result<Value, Failure> {
        let response = self
            .http
            .post(format!("{}{path}", self.address))
            .bearer_auth(&self.key)
            .json(&body)
            .send()
            .await
            .map_err(|error| format!("no answer from the vault: {error}"))?;
        let status = response.status();
        let mut answer: Value = response
            .json()
            .await
            .map_err(|_| format!("{} is no vault: {status} without JSON", self.address))?;
        if !status.is_success() {
            let text = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or("?");
            return Err(format!(
                "the vault refused {path}: {} {}: {}",
                status.as_u16(),
                text("code"),
                text("message")
            )
            .into());
        }
        Ok(answer
            .get_mut("data")
            .map(Value::take)
            .unwrap_or(Value::Null))
    }
}

/// An open lease.
struct Lease {
    id: String,
    handle: String,
}

impl Lease {
    async fn take(vault: &Vault, credential: &str) -> Result<Self, Failure> {
        let wanted = json!({
            "credential_name": credential, "ttl": "5m", "delivery": "reveal", "purpose": "the Rust example",
        });
        let issued = vault.post("/v1/leases", wanted).await?;
        Ok(Self {
            id: text(&issued, "id")?,
            handle: text(&issued, "handle")?,
        })
    }

    /// The credential's value. Each call is one use, and one record in the audit log.
    async fn value(&self, vault: &Vault) -> Result<String, Failure> {
        let redeemed = vault
            .post("/v1/handles/redeem", json!({"handle": self.handle}))
            .await?;
        text(&redeemed, "value")
    }

    /// Moves the expiry to `ttl` from now, or to the maximum lifetime where that is sooner.
    async fn renew(&self, vault: &Vault, ttl: &str) -> Result<(), Failure> {
        let path = format!("/v1/leases/{}/renew", self.id);
        vault.post(&path, json!({"ttl": ttl})).await.map(drop)
    }

    async fn release(self, vault: &Vault) -> Result<(), Failure> {
        let path = format!("/v1/leases/{}/release", self.id);
        vault.post(&path, json!({})).await.map(drop)
    }
}

fn text(answer: &Value, name: &str) -> Result<String, Failure> {
    let text = answer.get(name).and_then(Value::as_str);
    text.map(str::to_owned)
        .ok_or_else(|| format!("the vault's answer has no `{name}`").into())
}
