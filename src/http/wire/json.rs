//! JSON in answers, written once into memory that is large enough for most.

use axum::{
    body::Body,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::{domain::error::Error, http::error::ApiError};

/// Bytes that are set aside for an answer: a lease's takes some 800.
const USUAL_BYTES: usize = 1024;
/// Headers of an answer, those included that every answer gets.
const USUAL_HEADERS: usize = 10;

/// An answer's body.
pub(crate) struct Json<T>(pub(crate) T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        let mut body = Vec::with_capacity(USUAL_BYTES);
        if let Err(error) = serde_json::to_writer(&mut body, &self.0) {
            return ApiError(Error::internal(error)).into_response();
        }
        let mut response = Response::new(Body::from(body));
        let headers = response.headers_mut();
        headers.reserve(USUAL_HEADERS);
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        response
    }
}
