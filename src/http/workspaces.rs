//! `/v1/workspaces`, and the public keys that check the receipts of their stops.

use axum::{extract::State, http::StatusCode};

use super::{
    Surface,
    body::{OptionalPayload, Payload},
    caller::Caller,
    error::ApiError,
    query::{Paging, Params, Segments},
    to_the_end,
    wire::*,
};

/// The route of an emergency stop, which may take longer than other requests.
pub(super) const REVOKE_ALL_ROUTE: &str = "/v1/workspaces/{name}/revoke-all";

type Answer<T> = Result<T, ApiError>;

/// Makes a workspace. Only callers that reach every workspace do.
#[utoipa::path(post, path = "/v1/workspaces", tag = "workspaces", request_body = CreateWorkspaceBody,
    operation_id = "create_workspace",
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes a retry safe for 24 hours")),
    responses((status = 201, body = Success<WorkspaceBody>), (status = "4XX", body = Failure), (status = 503, body = Failure)))]
pub(super) async fn create(
    State(surface): State<Surface>,
    caller: Caller,
    payload: Payload<CreateWorkspaceBody>,
) -> Answer<(StatusCode, Json<Success<WorkspaceBody>>)> {
    let call = caller.creating(&surface, &payload.bytes)?;
    let workspace = surface
        .engine()
        .add_workspace(&call, payload.value.command()?)
        .await?;
    Ok(Success::created(workspace.into()))
}

/// Lists the workspaces that the caller reaches: all of them, or its own.
#[utoipa::path(get, path = "/v1/workspaces", tag = "workspaces", operation_id = "list_workspaces",
    params(("name" = Option<String>, Query),
        ("since" = Option<String>, Query, description = "Made at or after this time"), ("until" = Option<String>, Query, description = "Made before this time"),
        Paging, ("sort" = Option<String>, Query, description = "`name`, `created_at` or `updated_at`, with `-` in front to reverse")),
    responses((status = 200, body = Listing<WorkspaceBody>), (status = "4XX", body = Failure), (status = 503, body = Failure)))]
pub(super) async fn list(
    State(surface): State<Surface>,
    caller: Caller,
    mut params: Params,
) -> Answer<Json<Listing<WorkspaceBody>>> {
    let request = params.page()?;
    let (name, made) = (params.text("name"), params.range()?);
    params.finish()?;
    let page = surface
        .engine()
        .workspaces(&caller.call(), name.as_deref(), made, &request)
        .await?;
    Ok(Listing::of(page, WorkspaceBody::from))
}

/// Shows a workspace.
#[utoipa::path(get, path = "/v1/workspaces/{name}", tag = "workspaces", operation_id = "show_workspace",
    params(("name" = String, Path)),
    responses((status = 200, body = Success<WorkspaceBody>), (status = "4XX", body = Failure), (status = 503, body = Failure)))]
pub(super) async fn show(
    State(surface): State<Surface>,
    caller: Caller,
    Segments(at): Segments<String>,
    params: Params,
) -> Answer<Json<Success<WorkspaceBody>>> {
    params.finish()?;
    let workspace = surface
        .engine()
        .workspace(caller.call(), &workspace_name(&at)?)
        .await?;
    Ok(Success::of(workspace.into()))
}

/// Changes a workspace's description or settings. New settings hold for every new lease and renewal.
#[utoipa::path(patch, path = "/v1/workspaces/{name}", tag = "workspaces", operation_id = "update_workspace",
    params(("name" = String, Path)), request_body = UpdateWorkspaceBody,
    responses((status = 200, body = Success<WorkspaceBody>), (status = "4XX", body = Failure), (status = 503, body = Failure)))]
pub(super) async fn update(
    State(surface): State<Surface>,
    caller: Caller,
    Segments(at): Segments<String>,
    payload: Payload<UpdateWorkspaceBody>,
) -> Answer<Json<Success<WorkspaceBody>>> {
    let workspace = surface
        .engine()
        .update_workspace(
            caller.call(),
            &workspace_name(&at)?,
            payload.value.command()?,
        )
        .await?;
    Ok(Success::of(workspace.into()))
}

/// Stops everything in a workspace before this is answered: every lease is revoked, and every API key and access
/// token but the caller's own stops for good; those that reach every workspace only by a caller that does, too. A use that raced it either finished before or is refused. The receipt
/// is signed. The workspace's issuers let nobody in (`ISSUER_STOPPED`) until each is updated, with an empty body where
/// nothing is to change: look first whether it is yours. Issuers of the organisation go on.
#[utoipa::path(post, path = "/v1/workspaces/{name}/revoke-all", tag = "workspaces", operation_id = "revoke_all",
    params(("name" = String, Path)), request_body = ReasonBody,
    responses((status = 200, body = Success<StoppedBody>), (status = "4XX", body = Failure), (status = 503, body = Failure)))]
pub(super) async fn revoke_all(
    State(surface): State<Surface>,
    caller: Caller,
    Segments(at): Segments<String>,
    OptionalPayload(body): OptionalPayload<ReasonBody>,
) -> Answer<Json<Success<StoppedBody>>> {
    let name = workspace_name(&at)?;
    let stopped = to_the_end(&surface, async move |engine| {
        engine.revoke_all(caller.call(), &name, body.reason).await
    })
    .await?;
    Ok(Success::of(stopped.into()))
}

/// The public keys with which anybody checks what the vault signed, receipts for one. Needs no key.
#[utoipa::path(get, path = "/.well-known/leasehold-keys.json", tag = "operation", security(()), operation_id = "public_keys",
    responses((status = 200, body = Success<PublicKeysBody>)))]
pub(super) async fn public_keys(State(surface): State<Surface>) -> Json<Success<PublicKeysBody>> {
    Success::of(surface.engine().public_keys().into())
}
