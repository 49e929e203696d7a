//! `/v1/api-keys`.

use axum::{extract::State, http::StatusCode};

use super::{
    Surface,
    body::{OptionalPayload, Payload, SparsePayload},
    caller::Caller,
    error::ApiError,
    query::{Paging, Params, Segments},
    to_the_end,
    wire::*,
};
use crate::{
    domain::{principal::KeyStatus, scope::Role, time::Ttl},
    engine::KeyFilter,
};

type Answer<T> = Result<T, ApiError>;

/// Makes an API key. Its value is shown this once.
#[utoipa::path(post, path = "/v1/api-keys", tag = "api-keys", request_body = CreateKeyBody,
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes a retry safe for 24 hours: it gets the same key")),
    responses((status = 201, body = Success<MadeKeyBody>), (status = "4XX", body = Failure), (status = 503, body = Failure)))]
pub(super) async fn create(
    State(surface): State<Surface>,
    caller: Caller,
    payload: Payload<CreateKeyBody>,
) -> Answer<(StatusCode, Json<Success<MadeKeyBody>>)> {
    let call = caller.creating(&surface, &payload.bytes)?;
    let made = surface
        .engine()
        .create_api_key(&call, payload.value.command()?)
        .await?;
    Ok(Success::created(made.into()))
}

/// Lists the API keys of the workspace's identities.
#[utoipa::path(get, path = "/v1/api-keys", tag = "api-keys",
    params(("name" = Option<String>, Query), ("identity" = Option<String>, Query, description = "The name of the identity"),
        ("state" = Option<String>, Query, description = "`active`, `paused`, `expired`, `suspended` or `revoked`"), ("role" = Option<String>, Query),
        ("unused_for" = Option<String>, Query, description = "Never used, or not used for so long, such as `30d`"),
        ("since" = Option<String>, Query, description = "Made at or after this time"), ("until" = Option<String>, Query, description = "Made before this time"),
        Paging, ("sort" = Option<String>, Query, description = "`created_at`, `expires_at`, `last_used_at` or `name`, with `-` in front to reverse")),
    responses((status = 200, body = Listing<KeyBody>), (status = "4XX", body = Failure), (status = 503, body = Failure)))]
pub(super) async fn list(
    State(surface): State<Surface>,
    caller: Caller,
    mut params: Params,
) -> Answer<Json<Listing<KeyBody>>> {
    let request = params.page()?;
    let filter = KeyFilter {
        name: params.text("name"),
        identity: params.text("identity"),
        status: params.read(
            "state",
            "`active`, `paused`, `expired`, `suspended` or `revoked`",
            KeyStatus::parse,
        )?,
        role: params.read("role", "the name of a role", Role::parse)?,
        unused_for: params
            .text("unused_for")
            .map(|text| Ttl::parse(&text, "unused_for"))
            .transpose()?,
        made: params.range()?,
    };
    params.finish()?;
    let page = surface
        .engine()
        .api_keys(&caller.call(), &filter, &request)
        .await?;
    Ok(Listing::of(page, KeyBody::from))
}

/// Shows an API key, never its value.
#[utoipa::path(get, path = "/v1/api-keys/{id}", tag = "api-keys", params(("id" = String, Path)),
    responses((status = 200, body = Success<KeyBody>), (status = "4XX", body = Failure), (status = 503, body = Failure)))]
pub(super) async fn show(
    State(surface): State<Surface>,
    caller: Caller,
    Segments(id): Segments<String>,
    params: Params,
) -> Answer<Json<Success<KeyBody>>> {
    params.finish()?;
    let view = surface
        .engine()
        .api_key(&caller.call(), key_id(&id)?)
        .await?;
    Ok(Success::of(view.into()))
}

/// Changes an API key's name, description, scopes or role, or rate limit. Nobody widens the key that it is using.
#[utoipa::path(patch, path = "/v1/api-keys/{id}", tag = "api-keys", params(("id" = String, Path)), request_body = UpdateKeyBody,
    responses((status = 200, body = Success<KeyBody>), (status = "4XX", body = Failure), (status = 503, body = Failure)))]
pub(super) async fn update(
    State(surface): State<Surface>,
    caller: Caller,
    Segments(id): Segments<String>,
    payload: Payload<UpdateKeyBody>,
) -> Answer<Json<Success<KeyBody>>> {
    let view = surface
        .engine()
        .update_api_key(&caller.call(), key_id(&id)?, payload.value.command()?)
        .await?;
    Ok(Success::of(view.into()))
}

/// Deletes an API key: it stops at once.
#[utoipa::path(delete, path = "/v1/api-keys/{id}", tag = "api-keys", params(("id" = String, Path)),
    responses((status = 200, body = Success<DeletedKeyBody>), (status = "4XX", body = Failure), (status = 503, body = Failure)))]
pub(super) async fn delete(
    State(surface): State<Surface>,
    caller: Caller,
    Segments(id): Segments<String>,
    params: Params,
) -> Answer<Json<Success<DeletedKeyBody>>> {
    params.finish()?;
    let id = key_id(&id)?;
    surface.engine().delete_api_key(&caller.call(), id).await?;
    Ok(Success::of(DeletedKeyBody {
        id: id.to_string(),
        deleted: true,
    }))
}

/// Takes an API key out of use until it is resumed.
#[utoipa::path(post, path = "/v1/api-keys/{id}/pause", tag = "api-keys", params(("id" = String, Path)), request_body = EmptyBody,
    responses((status = 200, body = Success<KeyBody>), (status = "4XX", body = Failure), (status = 503, body = Failure)))]
pub(super) async fn pause(
    State(surface): State<Surface>,
    caller: Caller,
    Segments(id): Segments<String>,
    OptionalPayload(EmptyBody {}): OptionalPayload<EmptyBody>,
) -> Answer<Json<Success<KeyBody>>> {
    let view = surface
        .engine()
        .pause_api_key(&caller.call(), key_id(&id)?)
        .await?;
    Ok(Success::of(view.into()))
}

/// Puts a paused API key into use again.
#[utoipa::path(post, path = "/v1/api-keys/{id}/resume", tag = "api-keys", params(("id" = String, Path)), request_body = EmptyBody,
    responses((status = 200, body = Success<KeyBody>), (status = "4XX", body = Failure), (status = 503, body = Failure)))]
pub(super) async fn resume(
    State(surface): State<Surface>,
    caller: Caller,
    Segments(id): Segments<String>,
    OptionalPayload(EmptyBody {}): OptionalPayload<EmptyBody>,
) -> Answer<Json<Success<KeyBody>>> {
    let view = surface
        .engine()
        .resume_api_key(&caller.call(), key_id(&id)?)
        .await?;
    Ok(Success::of(view.into()))
}

/// Gives an API key a new value, shown this once. The old value stops at once, with the tokens made with it, or after
/// `grace`; an expired key lives again.
#[utoipa::path(post, path = "/v1/api-keys/{id}/rotate", tag = "api-keys", request_body = RotateKeyBody,
    params(("id" = String, Path), ("Idempotency-Key" = Option<String>, Header, description = "Makes a retry safe for 24 hours: it gets the same value")),
    responses((status = 200, body = Success<MadeKeyBody>), (status = "4XX", body = Failure), (status = 503, body = Failure)))]
pub(super) async fn rotate(
    State(surface): State<Surface>,
    caller: Caller,
    Segments(id): Segments<String>,
    SparsePayload(payload): SparsePayload<RotateKeyBody>,
) -> Answer<Json<Success<MadeKeyBody>>> {
    let call = caller.creating(&surface, &payload.bytes)?;
    let (id, command) = (key_id(&id)?, payload.value.command()?);
    let made = to_the_end(&surface, async move |engine| {
        engine.rotate_api_key(&call, id, command).await
    })
    .await?;
    Ok(Success::of(made.into()))
}

/// Tells whether an API key would be let in now, and whether it may do one thing. Nothing is done.
#[utoipa::path(post, path = "/v1/api-keys/{id}/test", tag = "api-keys", params(("id" = String, Path)), request_body = TestKeyBody,
    responses((status = 200, body = Success<KeyTestBody>), (status = "4XX", body = Failure), (status = 503, body = Failure)))]
pub(super) async fn test(
    State(surface): State<Surface>,
    caller: Caller,
    Segments(id): Segments<String>,
    OptionalPayload(body): OptionalPayload<TestKeyBody>,
) -> Answer<Json<Success<KeyTestBody>>> {
    let found = surface
        .engine()
        .test_api_key(&caller.call(), key_id(&id)?, body.wanted()?)
        .await?;
    Ok(Success::of(found.into()))
}

/// Lists the newest thousand requests that an API key made, newest first.
#[utoipa::path(get, path = "/v1/api-keys/{id}/usage", tag = "api-keys",
    params(("id" = String, Path), ("since" = Option<String>, Query, description = "At or after this time"),
        ("until" = Option<String>, Query, description = "Before this time"), Paging, ("sort" = Option<String>, Query, description = "`time` or `-time`")),
    responses((status = 200, body = Listing<UseBody>), (status = "4XX", body = Failure), (status = 503, body = Failure)))]
pub(super) async fn usage(
    State(surface): State<Surface>,
    caller: Caller,
    Segments(id): Segments<String>,
    mut params: Params,
) -> Answer<Json<Listing<UseBody>>> {
    let (request, within) = (params.page()?, params.range()?);
    params.finish()?;
    let page = surface
        .engine()
        .key_usage(&caller.call(), key_id(&id)?, within, &request)
        .await?;
    Ok(Listing::of(page, UseBody::from))
}
