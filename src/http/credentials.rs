//! `/v1/credentials`.

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
    domain::{credential::VersionState, kind::CredentialType, ledger::CredentialState},
    engine::{CredentialFilter, VersionFilter},
};

type Answer<T> = Result<T, ApiError>;

/// Stores a credential.
#[utoipa::path(post, path = "/v1/credentials", tag = "credentials", request_body = CreateCredentialBody,
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes a retry safe for 24 hours")),
    responses((status = 201, body = Success<CredentialBody>), (status = "4XX", body = Failure), (status = 503, body = Failure)))]
pub(super) async fn create(
    State(surface): State<Surface>,
    caller: Caller,
    payload: Payload<CreateCredentialBody>,
) -> Answer<(StatusCode, Json<Success<CredentialBody>>)> {
    let call = caller.creating(&surface, &payload.bytes)?;
    let view = surface
        .engine()
        .create_credential(&call, payload.value.command()?)
        .await?;
    Ok(Success::created(view.into()))
}

/// Lists credentials.
#[utoipa::path(get, path = "/v1/credentials", tag = "credentials",
    params(("name" = Option<String>, Query), ("type" = Option<String>, Query), ("state" = Option<String>, Query),
        ("metadata.service" = Option<String>, Query, description = "Any `metadata.<key>` filters by that key"),
        ("since" = Option<String>, Query, description = "Made at or after this time"), ("until" = Option<String>, Query, description = "Made before this time"),
        Paging, ("sort" = Option<String>, Query, description = "`created_at`, `updated_at` or `name`, with `-` in front to reverse")),
    responses((status = 200, body = Listing<CredentialBody>), (status = "4XX", body = Failure), (status = 503, body = Failure)))]
pub(super) async fn list(
    State(surface): State<Surface>,
    caller: Caller,
    mut params: Params,
) -> Answer<Json<Listing<CredentialBody>>> {
    let request = params.page()?;
    let filter = CredentialFilter {
        name: params.text("name"),
        kind: params.read(
            "type",
            "a credential type such as `api-key`",
            CredentialType::parse,
        )?,
        state: params.read("state", "`active`, `disabled` or `revoked`", |text| {
            [
                CredentialState::Active,
                CredentialState::Disabled,
                CredentialState::Revoked,
            ]
            .into_iter()
            .find(|state| state.as_str() == text)
        })?,
        metadata: params.prefixed("metadata."),
        made: params.range()?,
    };
    params.finish()?;
    let page = surface
        .engine()
        .credentials(&caller.call(), &filter, &request)
        .await?;
    Ok(Listing::of(page, CredentialBody::from))
}

/// Shows a credential, never its value.
#[utoipa::path(get, path = "/v1/credentials/{name}", tag = "credentials", params(("name" = String, Path)),
    responses((status = 200, body = Success<CredentialBody>), (status = "4XX", body = Failure), (status = 503, body = Failure)))]
pub(super) async fn show(
    State(surface): State<Surface>,
    caller: Caller,
    Segments(at): Segments<String>,
    params: Params,
) -> Answer<Json<Success<CredentialBody>>> {
    params.finish()?;
    let view = surface
        .engine()
        .credential(&caller.call(), &name(&at)?)
        .await?;
    Ok(Success::of(view.into()))
}

/// Changes a credential's description, metadata, policy or state.
#[utoipa::path(patch, path = "/v1/credentials/{name}", tag = "credentials", params(("name" = String, Path)),
    request_body = UpdateCredentialBody,
    responses((status = 200, body = Success<CredentialBody>), (status = "4XX", body = Failure), (status = 503, body = Failure)))]
pub(super) async fn update(
    State(surface): State<Surface>,
    caller: Caller,
    Segments(at): Segments<String>,
    payload: Payload<UpdateCredentialBody>,
) -> Answer<Json<Success<CredentialBody>>> {
    let (name, command) = (name(&at)?, payload.value.command()?);
    let view = to_the_end(&surface, async move |engine| {
        let call = caller.call();
        engine.update_credential(&call, &name, command).await
    })
    .await?;
    Ok(Success::of(view.into()))
}

/// Deletes a credential; refused while leases are active, unless `force=true`, which revokes them first.
#[utoipa::path(delete, path = "/v1/credentials/{name}", tag = "credentials",
    params(("name" = String, Path), ("force" = Option<bool>, Query)),
    responses((status = 200, body = Success<RevokedBody>), (status = "4XX", body = Failure), (status = 503, body = Failure)))]
pub(super) async fn delete(
    State(surface): State<Surface>,
    caller: Caller,
    Segments(at): Segments<String>,
    mut params: Params,
) -> Answer<Json<Success<RevokedBody>>> {
    let force = params.flag("force")?;
    params.finish()?;
    let name = name(&at)?;
    let revoked = to_the_end(&surface, async move |engine| {
        let call = caller.call();
        engine.delete_credential(&call, &name, force).await
    })
    .await?;
    Ok(Success::of(RevokedBody {
        revoked_leases: revoked.into(),
    }))
}

/// Lists the versions of a credential, newest first.
#[utoipa::path(get, path = "/v1/credentials/{name}/versions", tag = "credentials",
    params(("name" = String, Path),
        ("state" = Option<String>, Query, description = "`current`, `rotated`, `retired` or `revoked`"),
        ("since" = Option<String>, Query, description = "Made at or after this time"), ("until" = Option<String>, Query, description = "Made before this time"),
        Paging, ("sort" = Option<String>, Query, description = "`number` or `created_at`, with `-` in front to reverse")),
    responses((status = 200, body = Listing<VersionBody>), (status = "4XX", body = Failure), (status = 503, body = Failure)))]
pub(super) async fn versions(
    State(surface): State<Surface>,
    caller: Caller,
    Segments(at): Segments<String>,
    mut params: Params,
) -> Answer<Json<Listing<VersionBody>>> {
    let request = params.page()?;
    let filter = VersionFilter {
        state: params.read(
            "state",
            "`current`, `rotated`, `retired` or `revoked`",
            |text| {
                VersionState::SPELLINGS
                    .into_iter()
                    .find(|state| *state == text)
            },
        )?,
        made: params.range()?,
    };
    params.finish()?;
    let page = surface
        .engine()
        .versions(&caller.call(), &name(&at)?, &filter, &request)
        .await?;
    Ok(Listing::of(page, VersionBody::from))
}

/// Makes a new value current.
#[utoipa::path(post, path = "/v1/credentials/{name}/rotate", tag = "credentials",
    params(("name" = String, Path), ("Idempotency-Key" = Option<String>, Header, description = "Makes a retry safe for 24 hours")),
    request_body = RotateBody,
    responses((status = 200, body = Success<RotatedBody>), (status = "4XX", body = Failure), (status = 503, body = Failure)))]
pub(super) async fn rotate(
    State(surface): State<Surface>,
    caller: Caller,
    Segments(at): Segments<String>,
    payload: Payload<RotateBody>,
) -> Answer<Json<Success<RotatedBody>>> {
    let call = caller.creating(&surface, &payload.bytes)?;
    let (name, command) = (name(&at)?, payload.value.command());
    let rotated = to_the_end(&surface, async move |engine| {
        engine.rotate_credential(&call, &name, command).await
    })
    .await?;
    Ok(Success::of(rotated.into()))
}

/// Stops a version in an emergency: its leases are revoked and its value is destroyed.
#[utoipa::path(post, path = "/v1/credentials/{name}/versions/{number}/revoke", tag = "credentials",
    params(("name" = String, Path), ("number" = u32, Path)), request_body = ReasonBody,
    responses((status = 200, body = Success<RevokedBody>), (status = "4XX", body = Failure), (status = 503, body = Failure)))]
pub(super) async fn revoke_version(
    State(surface): State<Surface>,
    caller: Caller,
    Segments((at, number)): Segments<(String, String)>,
    OptionalPayload(body): OptionalPayload<ReasonBody>,
) -> Answer<Json<Success<RevokedBody>>> {
    // `parse` alone would take a plus sign.
    let digits = number.bytes().all(|byte| byte.is_ascii_digit());
    let number = number.parse::<u32>().ok().filter(|_| digits);
    let number = number.ok_or_else(|| {
        crate::domain::error::Error::invalid("number", "`number` must be the number of a version")
    })?;
    let name = name(&at)?;
    let revoked = to_the_end(&surface, async move |engine| {
        let call = caller.call();
        engine
            .revoke_version(&call, &name, number, body.reason)
            .await
    })
    .await?;
    Ok(Success::of(RevokedBody {
        revoked_leases: revoked.into(),
    }))
}
