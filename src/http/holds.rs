//! `/v1/audit/retention`: how long what has ended is kept; and `/v1/audit/holds`: legal holds, while any of which is in
//! force nothing is removed.

use axum::extract::State;

use super::{
    Surface,
    body::Payload,
    caller::Caller,
    error::ApiError,
    query::{Paging, Params, Segments},
    wire::*,
};
use crate::domain::name::HoldName;

type Answer<T> = Result<Json<T>, ApiError>;

/// Tells how long closed leases and records of the audit log are kept, where the log begins, and what was removed of it.
/// Only callers that reach every workspace may see it.
#[utoipa::path(get, path = "/v1/audit/retention", tag = "audit", operation_id = "show_retention",
    responses((status = 200, body = Success<RetentionBody>), (status = "4XX", body = Failure), (status = 503, body = Failure)))]
pub(super) async fn show(
    State(surface): State<Surface>,
    caller: Caller,
    params: Params,
) -> Answer<Success<RetentionBody>> {
    params.finish()?;
    let kept = surface.engine().retention(&caller.call()).await?;
    Ok(Success::of(kept.into()))
}

/// Lists the legal holds in force. Only callers that reach every workspace may see them.
#[utoipa::path(get, path = "/v1/audit/holds", tag = "audit", operation_id = "list_holds",
    params(Paging, ("sort" = Option<String>, Query, description = "`name` or `-name`")),
    responses((status = 200, body = Listing<HoldBody>), (status = "4XX", body = Failure), (status = 503, body = Failure)))]
pub(super) async fn list(
    State(surface): State<Surface>,
    caller: Caller,
    mut params: Params,
) -> Answer<Listing<HoldBody>> {
    let request = params.page()?;
    params.finish()?;
    let page = surface.engine().holds(&caller.call(), &request).await?;
    Ok(Listing::of(page, HoldBody::from))
}

/// Sets a legal hold on the whole vault, or changes its reason. Once this is answered, no record of the audit log and no
/// closed lease is removed until every hold is released.
#[utoipa::path(put, path = "/v1/audit/holds/{name}", tag = "audit", operation_id = "set_hold",
    params(("name" = String, Path)), request_body = HoldRequest,
    responses((status = 200, body = Success<HoldBody>), (status = "4XX", body = Failure), (status = 503, body = Failure)))]
pub(super) async fn set(
    State(surface): State<Surface>,
    caller: Caller,
    Segments(at): Segments<String>,
    payload: Payload<HoldRequest>,
) -> Answer<Success<HoldBody>> {
    let name = HoldName::parse(&at, "name")?;
    let reason = payload.value.reason;
    let hold = surface
        .engine()
        .set_hold(&caller.call(), name, reason)
        .await?;
    Ok(Success::of(hold.into()))
}

/// Releases a legal hold. What is past its retention is removed again once none is left.
#[utoipa::path(delete, path = "/v1/audit/holds/{name}", tag = "audit", operation_id = "release_hold",
    params(("name" = String, Path)),
    responses((status = 200, body = Success<HoldBody>), (status = "4XX", body = Failure), (status = 503, body = Failure)))]
pub(super) async fn release(
    State(surface): State<Surface>,
    caller: Caller,
    Segments(at): Segments<String>,
    params: Params,
) -> Answer<Success<HoldBody>> {
    params.finish()?;
    let name = HoldName::parse(&at, "name")?;
    let hold = surface.engine().release_hold(&caller.call(), &name).await?;
    Ok(Success::of(hold.into()))
}
