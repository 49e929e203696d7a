//! `/v1/auth`.

use axum::extract::State;

use super::{Surface, body::Payload, caller::Caller, error::ApiError, query::Params, wire::*};
use crate::domain::{
    principal::ProofId,
    scope::{Role, Scope},
};

/// Tells the caller who it is.
#[utoipa::path(get, path = "/v1/auth/whoami", tag = "auth",
    responses((status = 200, body = Success<WhoamiBody>), (status = "4XX", body = Failure), (status = 503, body = Failure)))]
pub(super) async fn whoami(
    caller: Caller,
    params: Params,
) -> Result<Json<Success<WhoamiBody>>, ApiError> {
    params.finish()?;
    let principal = caller.call().principal;
    let proof = || ProofBody {
        id: principal.proof.to_string(),
        name: principal.proof_name.clone(),
    };
    Ok(Success::of(WhoamiBody {
        identity: WhoBody {
            id: principal.identity.to_string(),
            r#type: principal.kind.as_str(),
            name: principal.name.to_string(),
        },
        key: matches!(principal.proof, ProofId::Key(_)).then(proof),
        token: matches!(principal.proof, ProofId::Token(_)).then(proof),
        workspace: principal.workspace_name.to_string(),
        role: principal.role.map(Role::as_str),
        scopes: principal.scopes.iter().map(Scope::as_str).collect(),
    }))
}

/// Says whether the caller might do something, and what decides. Nothing is done, changed or recorded.
#[utoipa::path(post, path = "/v1/auth/check", tag = "auth", request_body = CheckBody,
    responses((status = 200, body = Success<CheckedBody>), (status = "4XX", body = Failure), (status = 503, body = Failure)))]
pub(super) async fn check(
    State(surface): State<Surface>,
    caller: Caller,
    payload: Payload<CheckBody>,
) -> Result<Json<Success<CheckedBody>>, ApiError> {
    let ask = payload.value.command()?;
    let answered = surface.engine().ask(&caller.call(), &ask).await?;
    Ok(Success::of(CheckedBody::new(answered)))
}
