//! `/v1/tokens`.

use axum::{extract::State, http::StatusCode};

use super::{
    Surface,
    body::Payload,
    caller::Caller,
    error::ApiError,
    query::{Paging, Params, Segments},
    wire::*,
};
use crate::{domain::token::TokenStatus, engine::TokenFilter};

type Answer<T> = Result<T, ApiError>;

/// Makes an access token for the caller's own identity. The answer is the only time that it is shown.
#[utoipa::path(post, path = "/v1/tokens", tag = "tokens", request_body = CreateTokenBody,
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes a retry safe for 24 hours")),
    responses((status = 201, body = Success<IssuedTokenBody>), (status = "4XX", body = Failure), (status = 503, body = Failure)))]
pub(super) async fn create(
    State(surface): State<Surface>,
    caller: Caller,
    payload: Payload<CreateTokenBody>,
) -> Answer<(StatusCode, Json<Success<IssuedTokenBody>>)> {
    let call = caller.creating(&surface, &payload.bytes)?;
    let issued = surface
        .engine()
        .create_token(call, payload.value.command()?)
        .await?;
    Ok(Success::created(issued.into()))
}

/// Lists access tokens: the caller's own, or with `token:read` all of the workspace.
#[utoipa::path(get, path = "/v1/tokens", tag = "tokens",
    params(("identity" = Option<String>, Query, description = "The name of the identity that it proves"),
        ("state" = Option<String>, Query, description = "`active`, `expired`, `revoked` or `suspended`"),
        ("since" = Option<String>, Query, description = "Made at or after this time"), ("until" = Option<String>, Query, description = "Made before this time"),
        Paging, ("sort" = Option<String>, Query, description = "`created_at` or `expires_at`, with `-` in front to reverse")),
    responses((status = 200, body = Listing<TokenBody>), (status = "4XX", body = Failure), (status = 503, body = Failure)))]
pub(super) async fn list(
    State(surface): State<Surface>,
    caller: Caller,
    mut params: Params,
) -> Answer<Json<Listing<TokenBody>>> {
    let request = params.page()?;
    let filter = TokenFilter {
        identity: params.text("identity"),
        status: params.read(
            "state",
            "`active`, `expired`, `revoked` or `suspended`",
            |text| {
                TokenStatus::ALL
                    .into_iter()
                    .find(|status| status.as_str() == text)
            },
        )?,
        made: params.range()?,
    };
    params.finish()?;
    let page = surface
        .engine()
        .tokens(&caller.call(), &filter, &request)
        .await?;
    Ok(Listing::of(page, TokenBody::from))
}

/// Shows an access token, never its text.
#[utoipa::path(get, path = "/v1/tokens/{jti}", tag = "tokens", params(("jti" = String, Path)),
    responses((status = 200, body = Success<TokenBody>), (status = "4XX", body = Failure), (status = 503, body = Failure)))]
pub(super) async fn show(
    State(surface): State<Surface>,
    caller: Caller,
    Segments(at): Segments<String>,
    params: Params,
) -> Answer<Json<Success<TokenBody>>> {
    params.finish()?;
    let view = surface
        .engine()
        .token(&caller.call(), token_id(&at)?)
        .await?;
    Ok(Success::of(view.into()))
}

/// Ends an access token at once, with every token that was made with it.
#[utoipa::path(delete, path = "/v1/tokens/{jti}", tag = "tokens", params(("jti" = String, Path)),
    responses((status = 200, body = Success<TokenBody>), (status = "4XX", body = Failure), (status = 503, body = Failure)))]
pub(super) async fn revoke(
    State(surface): State<Surface>,
    caller: Caller,
    Segments(at): Segments<String>,
    params: Params,
) -> Answer<Json<Success<TokenBody>>> {
    params.finish()?;
    let view = surface
        .engine()
        .revoke_token(&caller.call(), token_id(&at)?)
        .await?;
    Ok(Success::of(view.into()))
}
