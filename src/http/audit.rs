//! `/v1/audit`.

use axum::extract::State;

use super::{Surface, caller::Caller, error::ApiError, query::Params, wire::*};
use crate::{
    audit::query::{AuditFilter, AuditPage, Window},
    domain::{
        error::{Error, Result},
        event::EventName,
        id::LeaseId,
        policy_set::PolicyScope,
    },
    engine::{Page, PageRequest},
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
        let page = Page {
            items: page.records,
            limit: self.window.limit,
            next_cursor,
            total: page.total,
        };
        Listing::of(page, AuditBody::from)
    }
}

/// Reads the workspace's history, newest first. The reading becomes part of it.
#[utoipa::path(get, path = "/v1/audit", tag = "audit",
    params(("event" = Option<String>, Query, example = "lease.issued"), ("identity" = Option<String>, Query, description = "Who acted, or who held the lease"),
        ("credential_name" = Option<String>, Query), ("lease_id" = Option<String>, Query), ("session_id" = Option<String>, Query),
        ("request_id" = Option<String>, Query), ("outcome" = Option<String>, Query, description = "`success` or `refused`"),
        ("since" = Option<String>, Query), ("until" = Option<String>, Query),
        ("scope" = Option<String>, Query, description = "`workspace` (the default), or `organisation`: what happened to the vault itself"),
        ("limit" = Option<u64>, Query, minimum = 1, maximum = 200), ("cursor" = Option<String>, Query), ("offset" = Option<u64>, Query),
        ("sort" = Option<String>, Query, description = "`time` or `-time`")),
    responses((status = 200, body = Listing<AuditBody>), (status = "4XX", body = Failure), (status = 503, body = Failure)))]
pub(super) async fn list(
    State(surface): State<Surface>,
    caller: Caller,
    mut params: Params,
) -> Result<Json<Listing<AuditBody>>, ApiError> {
    let asked = window(params.page()?, DEFAULT_SORT)?;
    let filter = AuditFilter {
        event: params.read(
            "event",
            "the name of an event such as `lease.issued`",
            EventName::parse,
        )?,
        identity: params.text("identity"),
        credential_name: params.text("credential_name"),
        lease: params.read("lease_id", "a lease id such as `lse_…`", LeaseId::parse)?,
        session: params.text("session_id"),
        request_id: params.text("request_id"),
        refused: params.read("outcome", "`success` or `refused`", |text| match text {
            "success" => Some(false),
            "refused" => Some(true),
            _ => None,
        })?,
        since: params.time("since")?,
        until: params.time("until")?,
    };
    let scope = params.read("scope", "`workspace` or `organisation`", PolicyScope::parse)?;
    params.finish()?;
    let (engine, call) = (surface.engine(), caller.call());
    let page = match scope {
        Some(PolicyScope::Organisation) => engine.vault_audit(&call, &filter, asked.window).await?,
        _ => engine.audit(&call, &filter, asked.window).await?,
    };
    Ok(asked.listing(page))
}
