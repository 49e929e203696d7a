//! `/v1/audit/…`: checkpoints, proofs, verification.

use axum::extract::State;

use super::{
    Surface, audit,
    caller::{Caller, Presented},
    error::ApiError,
    query::Params,
    wire::*,
};
use crate::engine::HistoryOf;

type Answer<T> = Result<T, ApiError>;

/// Lists the checkpoints, newest first: signed statements over the whole log of the vault.
#[utoipa::path(get, path = "/v1/audit/checkpoints", tag = "audit", operation_id = "list_checkpoints",
    params(("limit" = Option<u64>, Query, minimum = 1, maximum = 200), ("cursor" = Option<String>, Query),
        ("sort" = Option<String>, Query, description = "`size` or `-size`")),
    responses((status = 200, body = Listing<CheckpointBody>), (status = "4XX", body = Failure), (status = 503, body = Failure)))]
pub(super) async fn list(
    State(surface): State<Surface>,
    caller: Caller,
    mut params: Params,
) -> Answer<Json<Listing<CheckpointBody>>> {
    let request = params.page()?;
    params.finish()?;
    let page = surface
        .engine()
        .checkpoints(&caller.call(), &request)
        .await?;
    Ok(Listing::of(page, |numbered| (&numbered.checkpoint).into()))
}

/// Shows the newest checkpoint.
#[utoipa::path(get, path = "/v1/audit/checkpoints/latest", tag = "audit", operation_id = "latest_checkpoint",
    responses((status = 200, body = Success<CheckpointBody>), (status = "4XX", body = Failure), (status = 503, body = Failure)))]
pub(super) async fn latest(
    State(surface): State<Surface>,
    caller: Caller,
    params: Params,
) -> Answer<Json<Success<CheckpointBody>>> {
    params.finish()?;
    let newest = surface.engine().latest_checkpoint(&caller.call()).await?;
    Ok(Success::of((&newest).into()))
}

/// Proves that a record is in the sealed log (RFC 9162, section 2.1.3). The reading becomes part of
/// history.
#[utoipa::path(get, path = "/v1/audit/proof", tag = "audit", operation_id = "prove_inclusion",
    params(("sequence" = u64, Query, description = "The record's number"),
        ("size" = Option<u64>, Query, description = "In the tree over so many records; all that are sealed by default"),
        ("scope" = Option<String>, Query, description = "`workspace` (the default), or `organisation`: what happened to the vault itself")),
    responses((status = 200, body = Success<InclusionBody>), (status = "4XX", body = Failure), (status = 503, body = Failure)))]
pub(super) async fn inclusion(
    State(surface): State<Surface>,
    caller: Caller,
    mut params: Params,
) -> Answer<Json<Success<InclusionBody>>> {
    let (sequence, size) = (params.number("sequence")?, params.number("size")?);
    let of = audit::scope(&mut params)?;
    params.finish()?;
    let proof = surface
        .engine()
        .prove_inclusion(&caller.call(), sequence, size, of)
        .await?;
    Ok(Success::of(proof.into()))
}

/// Proves that the log over `to` records begins with the log over `from` records (RFC 9162, section 2.1.4).
#[utoipa::path(get, path = "/v1/audit/consistency", tag = "audit", operation_id = "prove_consistency",
    params(("from" = Option<u64>, Query, minimum = 1, description = "1 by default"),
        ("to" = Option<u64>, Query, description = "All that are sealed by default")),
    responses((status = 200, body = Success<ConsistencyBody>), (status = "4XX", body = Failure), (status = 503, body = Failure)))]
pub(super) async fn consistency(
    State(surface): State<Surface>,
    caller: Caller,
    mut params: Params,
) -> Answer<Json<Success<ConsistencyBody>>> {
    let (from, to) = (params.number("from")?, params.number("to")?);
    params.finish()?;
    let proof = surface
        .engine()
        .prove_consistency(&caller.call(), from, to)
        .await?;
    Ok(Success::of(proof.into()))
}

/// Holds the log, or a range of it, to its checkpoints, and names the first bad record. It is read once, so a long log
/// takes a while: ask for ranges of it. The reading becomes part of history.
#[utoipa::path(get, path = "/v1/audit/verify", tag = "audit", operation_id = "verify_log",
    params(("from" = Option<u64>, Query, minimum = 1, description = "The first record; reading begins at a checkpoint before it"),
        ("to" = Option<u64>, Query, description = "The last record; all by default")),
    responses((status = 200, body = Success<VerificationBody>), (status = "4XX", body = Failure), (status = 503, body = Failure)))]
pub(super) async fn verify(
    State(surface): State<Surface>,
    presented: Presented,
    caller: Caller,
    mut params: Params,
) -> Answer<Json<Success<VerificationBody>>> {
    let (from, to) = (params.number("from")?, params.number("to")?);
    params.finish()?;
    let call = caller.call();
    let report = surface.engine().verify_log(&call, from, to).await?;
    audit::still(&surface, &presented, &call, HistoryOf::Workspace).await?;
    Ok(Success::of(report.into()))
}
