//! `/v1/identities`: each by its type and name.

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
use crate::{
    domain::{principal::IdentityType, scope::Role},
    engine::IdentityFilter,
};

/// The routes of emergency stops, which may take longer than other requests.
pub(super) const SUSPEND_ROUTE: &str = "/v1/identities/{type}/{name}/suspend";
pub(super) const IDENTITY_ROUTE: &str = "/v1/identities/{type}/{name}";

type Answer<T> = Result<T, ApiError>;
type At = Segments<(String, String)>;

/// Makes an identity. Nobody gives a role that may do more than itself.
#[utoipa::path(post, path = "/v1/identities", tag = "identities", request_body = CreateIdentityBody,
    operation_id = "create_identity",
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes a retry safe for 24 hours")),
    responses((status = 201, body = Success<IdentityRecordBody>), (status = "4XX", body = Failure), (status = 503, body = Failure)))]
pub(super) async fn create(
    State(surface): State<Surface>,
    caller: Caller,
    payload: Payload<CreateIdentityBody>,
) -> Answer<(StatusCode, Json<Success<IdentityRecordBody>>)> {
    let call = caller.creating(&surface, &payload.bytes)?;
    let identity = surface
        .engine()
        .add_identity(&call, payload.value.command()?)
        .await?;
    Ok(Success::created(identity.into()))
}

/// Lists identities.
#[utoipa::path(get, path = "/v1/identities", tag = "identities", operation_id = "list_identities",
    params(("name" = Option<String>, Query), ("type" = Option<String>, Query, description = "`agent`, `human` or `service`"),
        ("role" = Option<String>, Query), ("state" = Option<String>, Query, description = "`active` or `suspended`"),
        ("labels.team" = Option<String>, Query, description = "Any `labels.<key>` filters by that key"),
        ("since" = Option<String>, Query, description = "Made at or after this time"), ("until" = Option<String>, Query, description = "Made before this time"),
        Paging, ("sort" = Option<String>, Query, description = "`created_at`, `updated_at` or `name`, with `-` in front to reverse")),
    responses((status = 200, body = Listing<IdentityRecordBody>), (status = "4XX", body = Failure), (status = 503, body = Failure)))]
pub(super) async fn list(
    State(surface): State<Surface>,
    caller: Caller,
    mut params: Params,
) -> Answer<Json<Listing<IdentityRecordBody>>> {
    let request = params.page()?;
    let filter = IdentityFilter {
        name: params.text("name"),
        kind: params.read("type", "`agent`, `human` or `service`", IdentityType::parse)?,
        role: params.read("role", "a role such as `agent`", Role::parse)?,
        suspended: params.read("state", "`active` or `suspended`", |text| match text {
            "active" => Some(false),
            "suspended" => Some(true),
            _ => None,
        })?,
        labels: params.prefixed("labels."),
        made: params.range()?,
    };
    params.finish()?;
    let page = surface
        .engine()
        .identities(&caller.call(), &filter, &request)
        .await?;
    Ok(Listing::of(page, IdentityRecordBody::from))
}

/// Shows an identity.
#[utoipa::path(get, path = "/v1/identities/{type}/{name}", tag = "identities", operation_id = "show_identity",
    params(("type" = String, Path, description = "`agent`, `human` or `service`"), ("name" = String, Path)),
    responses((status = 200, body = Success<IdentityRecordBody>), (status = "4XX", body = Failure), (status = 503, body = Failure)))]
pub(super) async fn show(
    State(surface): State<Surface>,
    caller: Caller,
    Segments(at): At,
    params: Params,
) -> Answer<Json<Success<IdentityRecordBody>>> {
    params.finish()?;
    let (kind, name) = identity_at(&at)?;
    let identity = surface
        .engine()
        .identity(&caller.call(), kind, &name)
        .await?;
    Ok(Success::of(identity.into()))
}

/// Changes an identity's role, description or labels; of itself a caller changes the description only. A lower role
/// counts at once for every key and token that the identity has.
#[utoipa::path(patch, path = "/v1/identities/{type}/{name}", tag = "identities", operation_id = "update_identity",
    params(("type" = String, Path, description = "`agent`, `human` or `service`"), ("name" = String, Path)),
    request_body = UpdateIdentityBody,
    responses((status = 200, body = Success<IdentityRecordBody>), (status = "4XX", body = Failure), (status = 503, body = Failure)))]
pub(super) async fn update(
    State(surface): State<Surface>,
    caller: Caller,
    Segments(at): At,
    payload: Payload<UpdateIdentityBody>,
) -> Answer<Json<Success<IdentityRecordBody>>> {
    let (kind, name) = identity_at(&at)?;
    let identity = surface
        .engine()
        .update_identity(&caller.call(), kind, &name, payload.value.command())
        .await?;
    Ok(Success::of(identity.into()))
}

/// Deletes an identity: its keys, tokens and leases end first, as by a suspension. Its name is free then: an issuer with
/// `auto_create` makes it anew. Suspending keeps it out.
#[utoipa::path(delete, path = "/v1/identities/{type}/{name}", tag = "identities", operation_id = "delete_identity",
    params(("type" = String, Path, description = "`agent`, `human` or `service`"), ("name" = String, Path)),
    responses((status = 200, body = Success<StoppedBody>), (status = "4XX", body = Failure), (status = 503, body = Failure)))]
pub(super) async fn delete(
    State(surface): State<Surface>,
    caller: Caller,
    Segments(at): At,
    params: Params,
) -> Answer<Json<Success<StoppedBody>>> {
    params.finish()?;
    let (kind, name) = identity_at(&at)?;
    let stopped = to_the_end(&surface, async move |engine| {
        engine.delete_identity(caller.call(), kind, &name).await
    })
    .await?;
    Ok(Success::of(stopped.into()))
}

/// Suspends an identity: its keys and tokens stop, and its leases are revoked, before this is answered. A use that
/// raced it either finished before or is refused. The receipt is signed.
#[utoipa::path(post, path = "/v1/identities/{type}/{name}/suspend", tag = "identities", operation_id = "suspend_identity",
    params(("type" = String, Path, description = "`agent`, `human` or `service`"), ("name" = String, Path)),
    request_body = ReasonBody,
    responses((status = 200, body = Success<SuspendedBody>), (status = "4XX", body = Failure), (status = 503, body = Failure)))]
pub(super) async fn suspend(
    State(surface): State<Surface>,
    caller: Caller,
    Segments(at): At,
    OptionalPayload(body): OptionalPayload<ReasonBody>,
) -> Answer<Json<Success<SuspendedBody>>> {
    let (kind, name) = identity_at(&at)?;
    let suspended = to_the_end(&surface, async move |engine| {
        engine
            .suspend_identity(caller.call(), kind, &name, body.reason)
            .await
    })
    .await?;
    Ok(Success::of(suspended.into()))
}

/// Lets a suspended identity act again. Its leases stay revoked.
#[utoipa::path(post, path = "/v1/identities/{type}/{name}/resume", tag = "identities", operation_id = "resume_identity",
    params(("type" = String, Path, description = "`agent`, `human` or `service`"), ("name" = String, Path)),
    request_body = EmptyBody,
    responses((status = 200, body = Success<IdentityRecordBody>), (status = "4XX", body = Failure), (status = 503, body = Failure)))]
pub(super) async fn resume(
    State(surface): State<Surface>,
    caller: Caller,
    Segments(at): At,
    OptionalPayload(EmptyBody {}): OptionalPayload<EmptyBody>,
) -> Answer<Json<Success<IdentityRecordBody>>> {
    let (kind, name) = identity_at(&at)?;
    let identity = surface
        .engine()
        .resume_identity(&caller.call(), kind, &name)
        .await?;
    Ok(Success::of(identity.into()))
}
