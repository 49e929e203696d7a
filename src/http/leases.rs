//! `/v1/leases` and `/v1/handles`.

use axum::{extract::State, http::StatusCode};

use super::{
    Surface,
    audit::window,
    body::{OptionalPayload, Payload},
    caller::Caller,
    error::ApiError,
    query::{Paging, Params, Segments},
    to_the_end,
    wire::*,
};
use crate::{domain::lease::LeaseStatus, engine::LeaseFilter};

type Answer<T> = Result<T, ApiError>;

/// Issues a lease.
#[utoipa::path(post, path = "/v1/leases", tag = "leases", request_body = CreateLeaseBody,
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes a retry safe for 24 hours")),
    responses((status = 201, body = Success<IssuedBody>), (status = "4XX", body = Failure), (status = 503, body = Failure)))]
pub(super) async fn create(
    State(surface): State<Surface>,
    caller: Caller,
    payload: Payload<CreateLeaseBody>,
) -> Answer<(StatusCode, Json<Success<IssuedBody>>)> {
    let address = caller.address().to_owned();
    let call = caller.creating(&surface, &payload.bytes)?;
    let issued = surface
        .engine()
        .issue_lease(&call, payload.value.command()?)
        .await?;
    Ok(Success::created(IssuedBody::new(issued, &address)))
}

/// Lists leases: all of the workspace with `lease:read`, else the caller's own.
#[utoipa::path(get, path = "/v1/leases", tag = "leases",
    params(("credential_name" = Option<String>, Query), ("identity" = Option<String>, Query), ("session_id" = Option<String>, Query),
        ("state" = Option<String>, Query, description = "`active`, `expired`, `released` or `revoked`"), ("version" = Option<u32>, Query),
        ("since" = Option<String>, Query, description = "Issued at or after this time"), ("until" = Option<String>, Query, description = "Issued before this time"),
        ("limit" = Option<u64>, Query, minimum = 1, maximum = 200), ("cursor" = Option<String>, Query), ("offset" = Option<u64>, Query, maximum = 100000),
        ("sort" = Option<String>, Query, description = "`created_at` or `expires_at`, with `-` in front to reverse")),
    responses((status = 200, body = Listing<LeaseBody>), (status = "4XX", body = Failure), (status = 503, body = Failure)))]
pub(super) async fn list(
    State(surface): State<Surface>,
    caller: Caller,
    mut params: Params,
) -> Answer<Json<Listing<LeaseBody>>> {
    let request = params.page()?;
    let filter = LeaseFilter {
        credential_name: params.text("credential_name"),
        identity: params.text("identity"),
        session: params.text("session_id"),
        status: params.read(
            "state",
            "`active`, `expired`, `released` or `revoked`",
            |text| {
                [
                    LeaseStatus::Active,
                    LeaseStatus::Expired,
                    LeaseStatus::Released,
                    LeaseStatus::Revoked,
                ]
                .into_iter()
                .find(|status| status.as_str() == text)
            },
        )?,
        version: params.number("version")?,
        since: params.time("since")?,
        until: params.time("until")?,
    };
    params.finish()?;
    let page = surface
        .engine()
        .leases(&caller.call(), &filter, &request)
        .await?;
    Ok(Listing::of(page, LeaseBody::from))
}

/// Shows a lease.
#[utoipa::path(get, path = "/v1/leases/{id}", tag = "leases", params(("id" = String, Path)),
    responses((status = 200, body = Success<LeaseBody>), (status = "4XX", body = Failure), (status = 503, body = Failure)))]
pub(super) async fn show(
    State(surface): State<Surface>,
    caller: Caller,
    Segments(id): Segments<String>,
    params: Params,
) -> Answer<Json<Success<LeaseBody>>> {
    params.finish()?;
    let view = surface
        .engine()
        .lease(&caller.call(), lease_id(&id)?)
        .await?;
    Ok(Success::of(view.into()))
}

/// Shows the history of a lease, oldest first.
#[utoipa::path(get, path = "/v1/leases/{id}/events", tag = "leases",
    params(("id" = String, Path), Paging, ("sort" = Option<String>, Query, description = "`time` or `-time`")),
    responses((status = 200, body = Listing<AuditBody>), (status = "4XX", body = Failure), (status = 503, body = Failure)))]
pub(super) async fn events(
    State(surface): State<Surface>,
    caller: Caller,
    Segments(id): Segments<String>,
    mut params: Params,
) -> Answer<Json<Listing<AuditBody>>> {
    let asked = window(params.page()?, "time")?;
    params.finish()?;
    let page = surface
        .engine()
        .lease_events(&caller.call(), lease_id(&id)?, asked.window)
        .await?;
    Ok(asked.listing(page))
}

/// Extends a lease.
#[utoipa::path(post, path = "/v1/leases/{id}/renew", tag = "leases", params(("id" = String, Path)), request_body = RenewBody,
    responses((status = 200, body = Success<LeaseBody>), (status = "4XX", body = Failure), (status = 503, body = Failure)))]
pub(super) async fn renew(
    State(surface): State<Surface>,
    caller: Caller,
    Segments(id): Segments<String>,
    OptionalPayload(body): OptionalPayload<RenewBody>,
) -> Answer<Json<Success<LeaseBody>>> {
    let view = surface
        .engine()
        .renew_lease(&caller.call(), lease_id(&id)?, body.ttl()?)
        .await?;
    Ok(Success::of(view.into()))
}

/// Gives a lease back: its holder is done.
#[utoipa::path(post, path = "/v1/leases/{id}/release", tag = "leases", params(("id" = String, Path)), request_body = EmptyBody,
    responses((status = 200, body = Success<LeaseBody>), (status = "4XX", body = Failure), (status = 503, body = Failure)))]
pub(super) async fn release(
    State(surface): State<Surface>,
    caller: Caller,
    Segments(id): Segments<String>,
    OptionalPayload(EmptyBody {}): OptionalPayload<EmptyBody>,
) -> Answer<Json<Success<LeaseBody>>> {
    let view = surface
        .engine()
        .release_lease(&caller.call(), lease_id(&id)?)
        .await?;
    Ok(Success::of(view.into()))
}

/// Ends somebody's lease.
#[utoipa::path(post, path = "/v1/leases/{id}/revoke", tag = "leases", params(("id" = String, Path)), request_body = ReasonBody,
    responses((status = 200, body = Success<LeaseBody>), (status = "4XX", body = Failure), (status = 503, body = Failure)))]
pub(super) async fn revoke(
    State(surface): State<Surface>,
    caller: Caller,
    Segments(id): Segments<String>,
    OptionalPayload(body): OptionalPayload<ReasonBody>,
) -> Answer<Json<Success<LeaseBody>>> {
    let view = surface
        .engine()
        .revoke_lease(&caller.call(), lease_id(&id)?, body.reason)
        .await?;
    Ok(Success::of(view.into()))
}

/// Revokes every lease that matches, before this is answered. A grant or a use that raced it either finished before or
/// is refused. The receipt is signed.
#[utoipa::path(post, path = "/v1/leases/revoke", tag = "leases", request_body = BulkRevokeBody,
    responses((status = 200, body = Success<StoppedBody>), (status = "4XX", body = Failure), (status = 503, body = Failure)))]
pub(super) async fn revoke_many(
    State(surface): State<Surface>,
    caller: Caller,
    payload: Payload<BulkRevokeBody>,
) -> Answer<Json<Success<StoppedBody>>> {
    let (filter, reason) = payload.value.command()?;
    let stopped = to_the_end(&surface, async move |engine| {
        let call = caller.call();
        engine.revoke_leases(&call, &filter, reason).await
    })
    .await?;
    Ok(Success::of(stopped.into()))
}

/// Exchanges a handle for the credential's value.
#[utoipa::path(post, path = "/v1/handles/redeem", tag = "leases", request_body = RedeemBody,
    responses((status = 200, body = Success<RedeemedBody>), (status = "4XX", body = Failure), (status = 503, body = Failure)))]
pub(super) async fn redeem(
    State(surface): State<Surface>,
    caller: Caller,
    payload: Payload<RedeemBody>,
) -> Answer<Json<Success<RedeemedBody>>> {
    let redeemed = surface
        .engine()
        .redeem(&caller.call(), &payload.value.handle)
        .await?;
    Ok(Success::of(redeemed.into()))
}
