//! The baseline: bare axum handlers that parse the same requests as strictly and answer the same JSON, with nothing
//! behind them. No authentication, no storage, no audit: what is left is what HTTP and JSON cost.

use std::{io::Write, sync::Arc};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, State},
    http::StatusCode,
    routing::{get, post},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use tokio::{net::TcpListener, sync::oneshot};

use super::{Failure, args::BaselineArgs};

/// Leases on the vault's first page of a list.
const PAGE: usize = 50;

/// What the answers repeat.
struct Fixed {
    credential: String,
    value: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IssueBody {
    credential_name: String,
    ttl: Option<String>,
    purpose: Option<String>,
    #[serde(default)]
    reveal: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RedeemBody {
    #[serde(rename = "handle")]
    _handle: String,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RenewBody {
    ttl: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct EmptyBody {}

#[derive(Serialize)]
struct Identity {
    r#type: &'static str,
    name: &'static str,
}

#[derive(Serialize)]
struct Lease {
    id: String,
    credential_name: String,
    version: u32,
    metadata: Map<String, Value>,
    identity: Identity,
    requested_by: Identity,
    purpose: Option<String>,
    delivery: &'static str,
    ttl: String,
    ttl_capped: bool,
    issued_at: &'static str,
    expires_at: &'static str,
    max_expires_at: &'static str,
    renewable: bool,
    renewals: u32,
    uses: u32,
    max_uses: Option<u32>,
    last_used_at: Option<&'static str>,
    state: &'static str,
    closed_at: Option<&'static str>,
    closed_by: Option<&'static str>,
    close_reason: Option<&'static str>,
}

#[derive(Serialize)]
struct Issued {
    #[serde(flatten)]
    lease: Lease,
    handle: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
}

#[derive(Serialize)]
struct Redeemed {
    lease_id: &'static str,
    credential_name: String,
    version: u32,
    value: String,
    metadata: Map<String, Value>,
    expires_at: &'static str,
    uses: u32,
    max_uses: Option<u32>,
}

#[derive(Serialize)]
struct Page {
    limit: usize,
    next_cursor: Option<&'static str>,
    total: u64,
}

#[derive(Serialize)]
struct Success<T> {
    status: &'static str,
    data: T,
    #[serde(skip_serializing_if = "Option::is_none")]
    page: Option<Page>,
}

const ID: &str = "lse_01a1fde8001f72eaa4816969ab1313e2";
const HANDLE: &str = "lhh_08grAq9mdRqE7erAtfKQYkAMPU86LvKSBCG7lMAS8DVCEJ6RMwdOCD3Ae2SD91tu3j25Dk91";
const ISSUED_AT: &str = "2026-11-21T11:40:02.463Z";
const EXPIRES_AT: &str = "2026-11-21T13:40:02.463Z";
const MAX_EXPIRES_AT: &str = "2026-11-28T11:40:02.463Z";
/// As long as the vault's cursors are.
const CURSOR: &str = "AAEBn1yWtdlxAZ9clrXZcfKqSBaWmrExPiAAAAGfXJa12Q";

fn lease(id: String, credential_name: String) -> Lease {
    let who = || Identity {
        r#type: "agent",
        name: "claude-code",
    };
    Lease {
        id,
        credential_name,
        version: 1,
        metadata: Map::new(),
        identity: who(),
        requested_by: who(),
        purpose: Some("measure".to_owned()),
        delivery: "reveal",
        ttl: "2h".to_owned(),
        ttl_capped: false,
        issued_at: ISSUED_AT,
        expires_at: EXPIRES_AT,
        max_expires_at: MAX_EXPIRES_AT,
        renewable: true,
        renewals: 0,
        uses: 0,
        max_uses: None,
        last_used_at: None,
        state: "active",
        closed_at: None,
        closed_by: None,
        close_reason: None,
    }
}

fn success<T>(data: T) -> Json<Success<T>> {
    let status = "success";
    Json(Success {
        status,
        data,
        page: None,
    })
}

async fn issue(
    State(fixed): State<Arc<Fixed>>,
    Json(body): Json<IssueBody>,
) -> (StatusCode, Json<Success<Issued>>) {
    let issued = Issued {
        lease: Lease {
            purpose: body.purpose,
            ttl: body.ttl.unwrap_or_default(),
            uses: u32::from(body.reveal),
            last_used_at: body.reveal.then_some(ISSUED_AT),
            ..lease(ID.to_owned(), body.credential_name)
        },
        handle: HANDLE,
        value: body.reveal.then(|| fixed.value.clone()),
    };
    (StatusCode::CREATED, success(issued))
}

async fn redeem(
    State(fixed): State<Arc<Fixed>>,
    Json(_): Json<RedeemBody>,
) -> Json<Success<Redeemed>> {
    success(Redeemed {
        lease_id: ID,
        credential_name: fixed.credential.clone(),
        version: 1,
        value: fixed.value.clone(),
        metadata: Map::new(),
        expires_at: EXPIRES_AT,
        uses: 1,
        max_uses: None,
    })
}

/// As the vault does: no body, or one that is read strictly.
fn optional<T: DeserializeOwned + Default>(body: &Bytes) -> Result<T, StatusCode> {
    if body.is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(body).map_err(|_| StatusCode::BAD_REQUEST)
}

async fn renew(
    State(fixed): State<Arc<Fixed>>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<Success<Lease>>, StatusCode> {
    let RenewBody { ttl } = optional(&body)?;
    Ok(success(Lease {
        ttl: ttl.unwrap_or_default(),
        renewals: 1,
        ..lease(id, fixed.credential.clone())
    }))
}

async fn release(
    State(fixed): State<Arc<Fixed>>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<Success<Lease>>, StatusCode> {
    let EmptyBody {} = optional(&body)?;
    Ok(success(Lease {
        state: "released",
        closed_at: Some(ISSUED_AT),
        closed_by: Some("claude-code"),
        ..lease(id, fixed.credential.clone())
    }))
}

async fn read(State(fixed): State<Arc<Fixed>>, Path(id): Path<String>) -> Json<Success<Lease>> {
    success(lease(id, fixed.credential.clone()))
}

async fn list(State(fixed): State<Arc<Fixed>>) -> Json<Success<Vec<Lease>>> {
    let one = || lease(ID.to_owned(), fixed.credential.clone());
    let data = std::iter::repeat_with(one).take(PAGE).collect();
    let page = Page {
        limit: PAGE,
        next_cursor: Some(CURSOR),
        total: 512,
    };
    let status = "success";
    Json(Success {
        status,
        data,
        page: Some(page),
    })
}

fn router(fixed: Fixed) -> Router {
    Router::new()
        .route("/v1/leases", post(issue).get(list))
        .route("/v1/handles/redeem", post(redeem))
        .route("/v1/leases/{id}", get(read))
        .route("/v1/leases/{id}/renew", post(renew))
        .route("/v1/leases/{id}/release", post(release))
        .with_state(Arc::new(fixed))
}

/// Serves the bare handlers on a free port of loopback, which it prints, until stdin closes: so it never outlives
/// the bench that started it.
pub async fn serve(args: BaselineArgs) -> Result<(), Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{}", listener.local_addr()?)?;
    stdout.flush()?;
    drop(stdout);
    let fixed = Fixed {
        credential: args.credential,
        value: "x".repeat(args.value_bytes as usize),
    };
    let (ended, end) = oneshot::channel();
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        let _ = ended.send(());
    });
    tokio::select! {
        served = axum::serve(listener, router(fixed)) => Ok(served?),
        _ = end => Ok(()),
    }
}
