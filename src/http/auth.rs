//! `/v1/auth`.

use axum::Json;

use super::{caller::Caller, error::ApiError, query::Params, wire::*};
use crate::domain::scope::{Role, Scope};

/// Tells the caller who it is.
#[utoipa::path(get, path = "/v1/auth/whoami", tag = "auth",
    responses((status = 200, body = Success<WhoamiBody>), (status = "4XX", body = Failure), (status = 503, body = Failure)))]
pub(super) async fn whoami(
    caller: Caller,
    params: Params,
) -> Result<Json<Success<WhoamiBody>>, ApiError> {
    params.finish()?;
    let principal = caller.call().principal;
    Ok(Success::of(WhoamiBody {
        identity: WhoBody {
            id: principal.identity.to_string(),
            r#type: principal.kind.as_str(),
            name: principal.name.to_string(),
        },
        key: KeyBody {
            id: principal.key.to_string(),
            name: principal.key_name,
        },
        workspace: principal.workspace_name.to_string(),
        role: principal.role.map(Role::as_str),
        scopes: principal.scopes.iter().map(Scope::as_str).collect(),
    }))
}
