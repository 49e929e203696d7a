//! `/v1/audit`.

mod stream;

use axum::extract::State;
use ipnet::IpNet;

pub(super) use self::stream::{__path_stream, stream};
use super::{
    Surface,
    caller::{Caller, Presented},
    error::ApiError,
    query::{Paging, Params, Segments},
    wire::*,
};
use crate::{
    audit::query::{AuditFilter, AuditPage, Whose, Window},
    domain::{
        error::{Error, Result},
        event::EventName,
        id::{CredentialId, EventId, KeyId, LeaseId, TokenId},
        policy_set::PolicyScope,
        principal::ProofId,
    },
    engine::{Call, HistoryOf, Page, PageRequest, WhichRecord},
};

const SORTS: [(&str, ()); 1] = [("time", ())];
const DEFAULT_SORT: &str = "-time";

/// A page request over the log, whose positions are sequence numbers.
pub(super) struct Asked {
    pub(super) window: Window,
    request: PageRequest,
    default: &'static str,
}

/// Reads a page request over the log.
pub(super) fn window(request: PageRequest, default: &'static str) -> Result<Asked> {
    let asked = request.window(&SORTS, default)?;
    let after = match &asked.after {
        None => None,
        Some(position) => {
            let position: [u8; 8] = position.as_slice().try_into().map_err(|_| {
                Error::invalid(
                    "cursor",
                    "`cursor` is not one that this list gave, in this order",
                )
            })?;
            Some(u64::from_be_bytes(position))
        }
    };
    let window = Window {
        newest_first: asked.descending,
        after,
        offset: asked.offset(),
        limit: asked.limit,
    };
    Ok(Asked {
        window,
        request,
        default,
    })
}

impl Asked {
    /// The page as an answer.
    pub(super) fn listing(self, page: AuditPage) -> Json<Listing<AuditBody>> {
        let last = page.records.last().map(|last| last.sequence.to_be_bytes());
        let next_cursor = last
            .filter(|_| page.more)
            .map(|last| self.request.cursor_after(self.default, &last));
        let (total, items, unreadable) = (page.total, page.records, page.unreadable);
        let page = Page {
            items,
            limit: self.window.limit,
            next_cursor,
            total: total.unwrap_or(0),
            unreadable: 0,
        };
        Listing::counting(page, total, unreadable, AuditBody::from)
    }
}

/// Reads what records are looked for by; the bounds of time are the caller's to read.
pub(super) fn filter(params: &mut Params) -> Result<AuditFilter> {
    let key = params.read("key_id", "the id of an API key, `key_…`", KeyId::parse)?;
    let token = params.read("token_id", "the id of a token, `tok_…`", TokenId::parse)?;
    if key.is_some() && token.is_some() {
        let why = "`key_id` and `token_id` exclude each other";
        return Err(Error::invalid("token_id", why));
    }
    let events = params.read(
        "event",
        "the name of an event such as `lease.issued`, or several with commas between them",
        |text| text.split(',').map(EventName::parse).collect(),
    )?;
    Ok(AuditFilter {
        id: None,
        events: events.unwrap_or_default(),
        actor: params.text("actor"),
        identity: params.text("identity").map(Whose::parse),
        proof: key.map(ProofId::Key).or(token.map(ProofId::Token)),
        session: params.text("session_id"),
        credential_name: params.text("credential_name"),
        credential: params.read(
            "credential_id",
            "a credential's id, `crd_…`",
            CredentialId::parse,
        )?,
        version: params.number("version")?,
        lease: params.read("lease_id", "a lease id such as `lse_…`", LeaseId::parse)?,
        refused: params.read("outcome", "`success` or `refused`", |text| match text {
            "success" => Some(false),
            "refused" => Some(true),
            _ => None,
        })?,
        code: params.text("code"),
        source: params.read(
            "source_ip",
            "an IP address, or a network such as `192.0.2.0/24`",
            network,
        )?,
        request_id: params.text("request_id"),
        object: params.text("object"),
        since: None,
        until: None,
    })
}

/// Whose history is asked for.
pub(super) fn scope(params: &mut Params) -> Result<HistoryOf> {
    let scope = params.read("scope", "`workspace` or `organisation`", PolicyScope::parse)?;
    Ok(match scope {
        Some(PolicyScope::Organisation) => HistoryOf::Vault,
        Some(PolicyScope::Workspace) | None => HistoryOf::Workspace,
    })
}

/// Proves whoever asked once more before the answer to what may have taken long: a stop did not wait for it.
pub(super) async fn still(
    surface: &Surface,
    presented: &Presented,
    asked: &Call,
    of: HistoryOf,
) -> Result<()> {
    let now = presented.prove(surface).await?;
    surface.engine().may_still_read(asked, &now, of).await
}

/// An address, or a network in CIDR notation. An IPv4 address in IPv6's clothes is that address.
fn network(text: &str) -> Option<IpNet> {
    if let Ok(address) = text.parse::<std::net::IpAddr>() {
        return Some(address.to_canonical().into());
    }
    let network: IpNet = text.parse().ok()?;
    let canonical = network.addr().to_canonical();
    match canonical == network.addr() {
        true => Some(network.trunc()),
        false => IpNet::new(canonical, network.prefix_len().checked_sub(96)?).ok(),
    }
    .map(|network| network.trunc())
}

/// Reads the workspace's history, newest first. The reading becomes part of it.
#[utoipa::path(get, path = "/v1/audit", tag = "audit",
    params(("event" = Option<String>, Query, description = "One event, or several with commas between them", example = "lease.issued"),
        ("actor" = Option<String>, Query, description = "The name of who acted: an identity, or a part of the vault"),
        ("identity" = Option<String>, Query, description = "Who acted, or who held the lease: a name or an id"),
        ("key_id" = Option<String>, Query, description = "The API key that the actor came with"), ("token_id" = Option<String>, Query),
        ("credential_name" = Option<String>, Query), ("credential_id" = Option<String>, Query), ("version" = Option<u32>, Query),
        ("lease_id" = Option<String>, Query), ("session_id" = Option<String>, Query),
        ("request_id" = Option<String>, Query), ("outcome" = Option<String>, Query, description = "`success` or `refused`"),
        ("code" = Option<String>, Query, description = "The code of a refusal", example = "POLICY_DENIED"),
        ("source_ip" = Option<String>, Query, description = "An address, or a network such as `192.0.2.0/24`"),
        ("object" = Option<String>, Query, description = "The name of anything else that it was done to"),
        ("since" = Option<String>, Query), ("until" = Option<String>, Query),
        ("scope" = Option<String>, Query, description = "`workspace` (the default), or `organisation`: what happened to the vault itself"),
        Paging, ("sort" = Option<String>, Query, description = "`time` or `-time`")),
    responses((status = 200, body = Listing<AuditBody>), (status = "4XX", body = Failure), (status = 503, body = Failure)))]
pub(super) async fn list(
    State(surface): State<Surface>,
    presented: Presented,
    caller: Caller,
    mut params: Params,
) -> Result<Json<Listing<AuditBody>>, ApiError> {
    let asked = window(params.page()?, DEFAULT_SORT)?;
    let filter = AuditFilter {
        since: params.time("since")?,
        until: params.time("until")?,
        ..filter(&mut params)?
    };
    let of = scope(&mut params)?;
    params.finish()?;
    let (engine, call) = (surface.engine(), caller.call());
    let page = match of {
        HistoryOf::Vault => engine.vault_audit(&call, &filter, asked.window).await?,
        HistoryOf::Workspace => engine.audit(&call, &filter, asked.window).await?,
    };
    still(&surface, &presented, &call, of).await?;
    Ok(asked.listing(page))
}

/// Shows one record, by its sequence number or by its id. The reading becomes part of history.
#[utoipa::path(get, path = "/v1/audit/{sequence}", tag = "audit",
    params(("sequence" = String, Path, description = "The record's sequence number, or its id, `evt_…`"),
        ("scope" = Option<String>, Query, description = "`workspace` (the default), or `organisation`: what happened to the vault itself")),
    responses((status = 200, body = Success<AuditBody>), (status = "4XX", body = Failure), (status = 503, body = Failure)))]
pub(super) async fn show(
    State(surface): State<Surface>,
    caller: Caller,
    Segments(which): Segments<String>,
    mut params: Params,
) -> Result<Json<Success<AuditBody>>, ApiError> {
    let of = scope(&mut params)?;
    params.finish()?;
    let number = || {
        let digits = which.bytes().all(|byte| byte.is_ascii_digit());
        which.parse().ok().filter(|_| digits)
    };
    let which = EventId::parse(&which)
        .map(WhichRecord::Id)
        .or_else(|| number().map(WhichRecord::Sequence))
        .ok_or_else(|| {
            let why = "`sequence` must be a sequence number, or a record's id, `evt_…`";
            Error::invalid("sequence", why)
        })?;
    let call = caller.call();
    let found = surface.engine().audit_record(&call, which, of).await?;
    Ok(Success::of(found.into()))
}
