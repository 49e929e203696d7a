//! `/v1/policies`.

use axum::extract::State;

use super::{
    Surface,
    body::Payload,
    caller::Caller,
    error::ApiError,
    query::{Paging, Params, Segments},
    wire::*,
};
use crate::domain::{error::Error, policy_set::PolicyScope};

type Answer<T> = Result<T, ApiError>;

/// The scope that is meant where none is named is the workspace.
fn scope(params: &mut Params) -> Result<PolicyScope, Error> {
    let scope = params.read("scope", "`organisation` or `workspace`", PolicyScope::parse)?;
    Ok(scope.unwrap_or(PolicyScope::Workspace))
}

fn number(text: &str) -> Result<u32, Error> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse()
        .ok()
        .filter(|number| digits && *number > 0)
        .ok_or_else(|| Error::invalid("version", "`version` must be a whole number from 1"))
}

/// Shows the set in force: version 0 and no sources where none was ever put in force.
#[utoipa::path(get, path = "/v1/policies", tag = "policies",
    params(("scope" = Option<String>, Query, description = "`workspace` (the default) or `organisation`")),
    responses((status = 200, body = Success<PolicySetBody>), (status = "4XX", body = Failure), (status = 503, body = Failure)))]
pub(super) async fn show(
    State(surface): State<Surface>,
    caller: Caller,
    mut params: Params,
) -> Answer<Json<Success<PolicySetBody>>> {
    let scope = scope(&mut params)?;
    params.finish()?;
    let found = surface
        .engine()
        .policies_in_force(&caller.call(), scope)
        .await?;
    Ok(Success::of(found.into()))
}

/// Replaces the set in force as a whole; the answer comes when every decision is made over the new one. A set that is
/// not valid changes nothing: `VALIDATION_FAILED`, with each fault's file, line, column and reason in `details.errors`.
#[utoipa::path(put, path = "/v1/policies", tag = "policies", request_body = ApplyPoliciesBody,
    responses((status = 200, body = Success<PolicySetBody>), (status = 422, body = Failure, description = "`VALIDATION_FAILED`"),
        (status = "4XX", body = Failure), (status = 503, body = Failure)))]
pub(super) async fn replace(
    State(surface): State<Surface>,
    caller: Caller,
    payload: Payload<ApplyPoliciesBody>,
) -> Answer<Json<Success<PolicySetBody>>> {
    let command = payload.value.command()?;
    let found = surface
        .0
        .engine
        .apply_policies(caller.call(), command)
        .await?;
    Ok(Success::of(found.into()))
}

/// Says what is wrong with a set. Changes nothing.
#[utoipa::path(post, path = "/v1/policies/validate", tag = "policies", request_body = PoliciesBody,
    responses((status = 200, body = Success<TriedBody>), (status = "4XX", body = Failure), (status = 503, body = Failure)))]
pub(super) async fn validate(
    State(surface): State<Surface>,
    caller: Caller,
    payload: Payload<PoliciesBody>,
) -> Answer<Json<Success<TriedBody>>> {
    let (scope, sources) = payload.value.read()?;
    let tried = surface
        .engine()
        .validate_policies(&caller.call(), scope, sources)
        .await?;
    Ok(Success::of(tried.into()))
}

/// Lists the sets that are or were in force, newest first, without their texts.
#[utoipa::path(get, path = "/v1/policies/history", tag = "policies",
    params(("scope" = Option<String>, Query, description = "`workspace` (the default) or `organisation`"),
        Paging, ("sort" = Option<String>, Query, description = "`version` or `-version`")),
    responses((status = 200, body = Listing<PolicyVersionBody>), (status = "4XX", body = Failure), (status = 503, body = Failure)))]
pub(super) async fn history(
    State(surface): State<Surface>,
    caller: Caller,
    mut params: Params,
) -> Answer<Json<Listing<PolicyVersionBody>>> {
    let request = params.page()?;
    let scope = scope(&mut params)?;
    params.finish()?;
    let page = surface
        .engine()
        .policy_history(&caller.call(), scope, &request)
        .await?;
    Ok(Listing::of(page, PolicyVersionBody::from))
}

/// Shows a set that is or was in force.
#[utoipa::path(get, path = "/v1/policies/history/{version}", tag = "policies",
    params(("version" = u32, Path), ("scope" = Option<String>, Query, description = "`workspace` (the default) or `organisation`")),
    responses((status = 200, body = Success<PolicySetBody>), (status = "4XX", body = Failure), (status = 503, body = Failure)))]
pub(super) async fn version(
    State(surface): State<Surface>,
    caller: Caller,
    Segments(version): Segments<String>,
    mut params: Params,
) -> Answer<Json<Success<PolicySetBody>>> {
    let scope = scope(&mut params)?;
    params.finish()?;
    let found = surface
        .engine()
        .policy_version(&caller.call(), scope, number(&version)?)
        .await?;
    Ok(Success::of(PolicySetBody::new(scope, Some(found))))
}

/// Brings an earlier set back, as a new version. Version 0 is the empty set that everything begins with. No set that is
/// kept here can keep an owner of the organisation from it.
#[utoipa::path(post, path = "/v1/policies/rollback", tag = "policies", request_body = RollbackBody,
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes a retry safe for 24 hours")),
    responses((status = 200, body = Success<PolicySetBody>), (status = 422, body = Failure, description = "`VALIDATION_FAILED`"),
        (status = "4XX", body = Failure), (status = 503, body = Failure)))]
pub(super) async fn rollback(
    State(surface): State<Surface>,
    caller: Caller,
    payload: Payload<RollbackBody>,
) -> Answer<Json<Success<PolicySetBody>>> {
    let call = caller.creating(&surface, &payload.bytes)?;
    let command = payload.value.command()?;
    let found = surface.0.engine.roll_back_policies(call, command).await?;
    Ok(Success::of(found.into()))
}

/// Compares a set with the one in force, text by text. Neither has to be valid.
#[utoipa::path(post, path = "/v1/policies/diff", tag = "policies", request_body = PoliciesBody,
    responses((status = 200, body = Success<PolicyDiffBody>), (status = "4XX", body = Failure), (status = 503, body = Failure)))]
pub(super) async fn diff(
    State(surface): State<Surface>,
    caller: Caller,
    payload: Payload<PoliciesBody>,
) -> Answer<Json<Success<PolicyDiffBody>>> {
    let (scope, sources) = payload.value.read()?;
    let found = surface
        .engine()
        .diff_policies(&caller.call(), scope, sources)
        .await?;
    Ok(Success::of(found.into()))
}

/// Replays the workspace's recorded decisions, oldest first, under a set that is not in force, and lists those that
/// would change. It takes `audit:read` besides, and the reading becomes part of history.
#[utoipa::path(post, path = "/v1/policies/dry-run", tag = "policies", request_body = DryRunBody,
    responses((status = 200, body = Success<ReplayedBody>), (status = 422, body = Failure, description = "`VALIDATION_FAILED`"),
        (status = "4XX", body = Failure), (status = 503, body = Failure)))]
pub(super) async fn dry_run(
    State(surface): State<Surface>,
    caller: Caller,
    payload: Payload<DryRunBody>,
) -> Answer<Json<Success<ReplayedBody>>> {
    let command = payload.value.command()?;
    let found = surface
        .engine()
        .dry_run_policies(&caller.call(), command)
        .await?;
    Ok(Success::of(found.into()))
}
