//! Errors as HTTP: the one place where a code meets a status.

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};

use super::{
    context, trace,
    wire::{Failure, Json},
};
use crate::domain::error::{Code, Error};

/// An error on its way out.
pub(super) struct ApiError(pub(super) Error);

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

/// The status of a code, which clients rely on.
pub(super) const fn status(code: Code) -> StatusCode {
    match code {
        Code::InvalidRequest | Code::MissingParameter | Code::InvalidParameter => {
            StatusCode::BAD_REQUEST
        }
        Code::Unauthorized
        | Code::KeyExpired
        | Code::KeyPaused
        | Code::TokenExpired
        | Code::IssuerUnknown
        | Code::AudienceMismatch
        | Code::ClaimMismatch
        | Code::SignatureInvalid
        | Code::AssertionExpired
        | Code::AssertionReplayed => StatusCode::UNAUTHORIZED,
        Code::InsufficientPermissions
        | Code::PolicyDenied
        | Code::IdentitySuspended
        | Code::IssuerStopped => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        Code::AlreadyExists
        | Code::IdempotencyConflict
        | Code::VersionConflict
        | Code::LeaseLimitReached
        | Code::InvalidState => StatusCode::CONFLICT,
        Code::LeaseExpired | Code::LeaseRevoked | Code::LeaseReleased | Code::CredentialRevoked => {
            StatusCode::GONE
        }
        Code::PayloadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Code::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Code::ValidationFailed => StatusCode::UNPROCESSABLE_ENTITY,
        Code::RateLimited | Code::QuotaExceeded | Code::BudgetExhausted => {
            StatusCode::TOO_MANY_REQUESTS
        }
        Code::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        Code::Sealed | Code::StorageUnavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::UpstreamFailed => StatusCode::BAD_GATEWAY,
        Code::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let Self(error) = self;
        let status = status(error.code());
        let request_id = context::request_id();
        trace::refused(&error);
        if status.is_server_error() {
            // Logged once, with its private source; the caller gets the public text only.
            let source = std::error::Error::source(&error).map(ToString::to_string);
            tracing::error!(request_id, code = error.code().as_str(), message = %error, source, "a request failed");
        }
        let body = Failure::new(&error, request_id);
        let mut response = (status, Json(body)).into_response();
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(
                axum::http::header::WWW_AUTHENTICATE,
                axum::http::HeaderValue::from_static("Bearer realm=\"leasehold\""),
            );
        }
        response
    }
}
