//! The keys that sign access tokens: published for whoever verifies tokens without asking the vault, and rotated.

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};

use super::{
    Surface, body::OptionalPayload, caller::Caller, error::ApiError, query::Params, wire::*,
};

/// How long others may keep the keys. A token that a new key signed may be unknown to them for as long.
const CACHE: &str = "public, max-age=300";

/// The public keys of access tokens, as RFC 7517 has them. What is revoked is known to the vault alone.
#[utoipa::path(get, path = "/.well-known/jwks.json", tag = "tokens", security(()),
    responses((status = 200, body = JwksBody), (status = 503, body = Failure)))]
pub(super) async fn publish(
    State(surface): State<Surface>,
    params: Params,
) -> Result<Response, ApiError> {
    params.finish()?;
    let now = surface.engine().now();
    let keys = surface.0.authenticator.public_keys(now).await?;
    let headers = [
        (header::CACHE_CONTROL, CACHE),
        (header::CONTENT_TYPE, "application/jwk-set+json"),
    ];
    Ok((headers, Json(JwksBody::from(keys))).into_response())
}

/// Makes a new key sign tokens. Those before it verify until the last of their tokens has ended.
#[utoipa::path(post, path = "/v1/sys/signing-keys/rotate", tag = "tokens", request_body = EmptyBody,
    responses((status = 200, body = Success<SigningKeyBody>), (status = "4XX", body = Failure), (status = 503, body = Failure)))]
pub(super) async fn rotate(
    State(surface): State<Surface>,
    caller: Caller,
    OptionalPayload(EmptyBody {}): OptionalPayload<EmptyBody>,
) -> Result<Json<Success<SigningKeyBody>>, ApiError> {
    let rotated = surface.engine().rotate_signing_key(&caller.call()).await?;
    Ok(Success::of(rotated.into()))
}
