//! Health, readiness, metrics, and what is said where there is no route. Nothing here needs a key, and nothing
//! here names anything that is stored.

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};

use super::{Surface, error::ApiError, wire::*};
use crate::domain::error::{Code, Error};

/// Whether the process lives.
#[utoipa::path(get, path = "/health", tag = "operation", security(()), responses((status = 200, body = Success<HealthBody>)))]
pub(super) async fn health() -> HealthBody {
    HealthBody {
        state: "alive",
        version: env!("CARGO_PKG_VERSION"),
    }
}

/// Whether the vault takes requests: unsealed, and its store takes writes. Where a write failed, `details.reason`
/// says why.
#[utoipa::path(get, path = "/ready", tag = "operation", security(()),
    responses((status = 200, body = Success<HealthBody>), (status = 503, body = Failure)))]
pub(super) async fn ready(State(surface): State<Surface>) -> Result<HealthBody, ApiError> {
    surface.engine().ready()?;
    Ok(HealthBody {
        state: "ready",
        version: env!("CARGO_PKG_VERSION"),
    })
}

/// Metrics in the Prometheus text format.
#[utoipa::path(get, path = "/metrics", tag = "operation", security(()), responses((status = 200, body = String, content_type = "text/plain")))]
pub(super) async fn metrics(State(surface): State<Surface>) -> Response {
    let text = surface.0.metrics.render();
    (
        [(
            header::CONTENT_TYPE,
            "text/plain; version=0.0.4; charset=utf-8",
        )],
        text,
    )
        .into_response()
}

pub(super) async fn unknown_route() -> ApiError {
    ApiError(Error::not_found("route"))
}

pub(super) async fn unknown_method() -> ApiError {
    ApiError(Error::new(
        Code::MethodNotAllowed,
        "the route does not take this method",
    ))
}
