//! JSON bodies, read strictly: known fields, each once, of the right type, and nothing behind them. What is
//! wrong is told by its place; what was sent is never repeated, since it may be a secret.

use axum::{
    body::{Body, Bytes, to_bytes},
    extract::{FromRequest, FromRequestParts, Request},
    http::{HeaderMap, header},
};
use serde::de::DeserializeOwned;

use super::{context, error::ApiError, query::Params};
use crate::domain::{
    error::{Code, Error},
    strict::{Object, expected},
};

/// The longest body: 1 MiB.
pub(super) const MAX_BODY_BYTES: usize = 1024 * 1024;
/// The longest field name that an error repeats, in characters.
const MAX_NAME_CHARS: usize = 64;
/// The most parts of a path that an error repeats.
const MAX_NAME_PARTS: usize = 8;

/// A body that was read, and its bytes.
pub(super) struct Payload<T> {
    pub(super) value: T,
    pub(super) bytes: Bytes,
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Payload<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let (headers, bytes) = received(request, state).await?;
        if bytes.is_empty() {
            return Err(Error::new(Code::InvalidRequest, "a JSON body is required").into());
        }
        check_type(&headers)?;
        Ok(Self {
            value: parse(&bytes)?,
            bytes,
        })
    }
}

/// A body that may be missing: every field has a default then.
pub(super) struct OptionalPayload<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Default> FromRequest<S> for OptionalPayload<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let SparsePayload(payload) = SparsePayload::from_request(request, state).await?;
        Ok(Self(payload.value))
    }
}

/// The same, with its bytes.
pub(super) struct SparsePayload<T>(pub(super) Payload<T>);

impl<S: Send + Sync, T: DeserializeOwned + Default> FromRequest<S> for SparsePayload<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let (headers, bytes) = received(request, state).await?;
        if bytes.is_empty() {
            let value = T::default();
            return Ok(Self(Payload { value, bytes }));
        }
        check_type(&headers)?;
        let value = parse(&bytes)?;
        Ok(Self(Payload { value, bytes }))
    }
}

/// The headers and the body of a request whose parameters are all in its body: in its address it has none.
async fn received<S: Send + Sync>(
    request: Request,
    state: &S,
) -> Result<(HeaderMap, Bytes), ApiError> {
    let (mut parts, body) = request.into_parts();
    Params::from_request_parts(&mut parts, state)
        .await?
        .finish()?;
    Ok((parts.headers, read(body).await?))
}

async fn read(body: Body) -> Result<Bytes, Error> {
    let whole = to_bytes(body, MAX_BODY_BYTES);
    let turn = context::turn();
    let stopped = async {
        match turn {
            Some(turn) => turn.over().await,
            None => std::future::pending().await,
        }
    };
    let read = tokio::select! {
        biased;
        read = tokio::time::timeout_at(context::body_deadline(), whole) => read,
        // Whoever sends slowly was let in before the stop, and it would have to wait.
        () = stopped => return Err(Error::storage(
            "somebody was stopped while the body was on its way; send the request again",
        )),
    };
    let read = read.map_err(|_| {
        Error::new(
            Code::InvalidRequest,
            "the body did not arrive within the time for a request",
        )
    })?;
    read.map_err(|error| {
        let source = std::error::Error::source(&error);
        if source.is_some_and(|source| source.is::<http_body_util::LengthLimitError>()) {
            Error::new(
                Code::PayloadTooLarge,
                format!("the body is longer than {MAX_BODY_BYTES} bytes"),
            )
            .with("limit", MAX_BODY_BYTES as u64)
        } else {
            Error::new(
                Code::InvalidRequest,
                "the body could not be read to its end",
            )
        }
    })
}

fn check_type(headers: &HeaderMap) -> Result<(), Error> {
    let essence = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .map(|essence| essence.trim().to_ascii_lowercase());
    match essence.as_deref() {
        Some("application/json") => Ok(()),
        Some(essence) if essence.starts_with("application/") && essence.ends_with("+json") => {
            Ok(())
        }
        _ => Err(Error::new(
            Code::UnsupportedMediaType,
            "the body must be JSON; send `Content-Type: application/json`",
        )),
    }
}

/// Reads a body; on failure reads it once more to learn where it went wrong.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    let failed = match serde_json::from_slice::<Object<T>>(bytes) {
        Ok(Object(value)) => return Ok(value),
        Err(error) => error,
    };
    // An enum that is given a number is a syntax error to serde_json, although the JSON is sound.
    let mistyped = failed.to_string().starts_with("expected ")
        && serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_ok();
    if !failed.is_data() && !mistyped {
        let message = if std::str::from_utf8(bytes).is_err() {
            "the body is not UTF-8".to_owned()
        } else {
            format!(
                "the body is not valid JSON at line {}, column {}",
                failed.line(),
                failed.column()
            )
        };
        return Err(Error::new(Code::InvalidRequest, message));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    match serde_path_to_error::deserialize::<_, Object<T>>(&mut deserializer) {
        // Whatever the second reading says, the first one failed.
        Ok(_) => Err(Error::new(
            Code::InvalidRequest,
            "the body is not what this request takes",
        )),
        Err(error) => Err(explain(
            &error.path().to_string(),
            &error.inner().to_string(),
        )),
    }
}

/// Turns serde's message into ours. Serde repeats values: only its names of fields and of expected types are
/// taken over, and the caller's text never.
fn explain(path: &str, message: &str) -> Error {
    let message = message
        .rsplit_once(" at line ")
        .map_or(message, |(message, _)| message);
    let path = path.trim_start_matches('.');
    let parts: Vec<_> = path.split('.').take(MAX_NAME_PARTS).map(harmless).collect();
    let path = parts.join(".");
    let path = path.as_str();
    let within = |field: &str| match path {
        "" => field.to_owned(),
        _ if path == field || path.ends_with(&format!(".{field}")) => path.to_owned(),
        _ => format!("{path}.{field}"),
    };
    if let Some(field) = quoted(message, "missing field `") {
        return Error::missing(within(&field));
    }
    if let Some(field) = quoted(message, "unknown field `") {
        let field = within(&field);
        return Error::invalid(&field, format!("`{field}` is not a field of this request"));
    }
    if let Some(field) = quoted(message, "duplicate field `") {
        let field = within(&field);
        return Error::invalid(&field, format!("`{field}` is given twice"));
    }
    let field = match path {
        "" => "body",
        path => path,
    };
    if let Some((_, what)) = message.rsplit_once(", expected ") {
        return Error::invalid(field, format!("`{field}` must be {}", expected(what)));
    }
    if message.starts_with("invalid ") || message.starts_with("expected ") {
        return Error::invalid(field, format!("`{field}` is of the wrong type"));
    }
    // Our own readers' messages, which hold nothing of what was sent.
    Error::invalid(field, format!("`{field}`: {message}"))
}

/// The name behind a prefix, up to the closing backtick, made harmless.
fn quoted(message: &str, prefix: &str) -> Option<String> {
    let rest = message.strip_prefix(prefix)?;
    rest.split('`').next().map(harmless)
}

/// A caller's name for a thing as an error may repeat it: bounded, printable, and no bearer string.
pub(super) fn harmless(name: &str) -> String {
    if name.contains("lhk_") || name.contains("lhh_") {
        return "?".to_owned();
    }
    let harmless = name
        .chars()
        .map(|c| if c.is_ascii_graphic() { c } else { '?' });
    harmless.take(MAX_NAME_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::domain::{secret::SecretText, strict::UniqueMap};

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its reading is tested")]
    struct Sample {
        name: String,
        value: SecretText,
        count: Option<u32>,
        metadata: Option<UniqueMap<String>>,
        kind: Option<crate::domain::ledger::CredentialState>,
        kinds: Option<Vec<String>>,
    }

    fn refusal(body: &[u8]) -> (Code, String) {
        let error = parse::<Sample>(body).err().unwrap();
        (error.code(), error.message().to_owned())
    }

    #[test]
    fn what_is_wrong_is_told_by_its_place() {
        let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
        for (body, code, message) in [
            (
                r#"{"name":"a"}"#,
                Code::MissingParameter,
                "`value` is required",
            ),
            (
                r#"{"name":"a","value":"b","x":1}"#,
                Code::InvalidParameter,
                "`x` is not a field of this request",
            ),
            (
                r#"{"name":"a","name":"a","value":"b"}"#,
                Code::InvalidParameter,
                "`name` is given twice",
            ),
            (
                r#"{"name":"a","value":5}"#,
                Code::InvalidParameter,
                "`value` must be a string",
            ),
            (
                r#"{"name":"a","value":"b","count":-1}"#,
                Code::InvalidParameter,
                "`count` must be a whole number from 0 to 4294967295",
            ),
            (
                r#"{"name":"a","value":"b","metadata":{"k":"1","k":"2"}}"#,
                Code::InvalidParameter,
                "`metadata`: a key is given twice",
            ),
            (
                r#"{"name":"a","value":"b","kinds":{}}"#,
                Code::InvalidParameter,
                "`kinds` must be an array",
            ),
            (
                r#"["a","b",1,{}]"#,
                Code::InvalidParameter,
                "`body` must be an object",
            ),
            (
                r#"{"name":"a","value":"b"} x"#,
                Code::InvalidRequest,
                "the body is not valid JSON at line 1, column 26",
            ),
            (
                r#"{"name":"a""#,
                Code::InvalidRequest,
                "the body is not valid JSON at line 1, column 11",
            ),
            (&deep, Code::InvalidParameter, "`body` must be an object"),
        ] {
            assert_eq!(
                refusal(body.as_bytes()),
                (code, message.to_owned()),
                "{body:.60}"
            );
        }
        let (code, _) = refusal(format!(r#"{{"name":{deep},"value":"b"}}"#).as_bytes());
        assert!(matches!(
            code,
            Code::InvalidRequest | Code::InvalidParameter
        ));
        assert_eq!(refusal(b"{\"name\":\"\xff\"}").0, Code::InvalidRequest);
    }

    #[test]
    fn no_refusal_repeats_a_value() {
        for body in [
            r#"{"name":"a","value":["CANARY"]}"#,
            r#"{"name":"a","value":{"CANARY":1}}"#,
            r#"{"name":"a","value":"x","count":"CANARY"}"#,
            r#"{"name":"a","value":"x","count":"CANARY, expected no more"}"#,
            r#"{"name":"a","value":"x","metadata":"CANARY"}"#,
            r#"{"name":"a","value":"x","metadata":{"k":{"CANARY":1}}}"#,
            r#"{"name":"a","value":"CANARY"#,
            r#""CANARY""#,
        ] {
            let (_, message) = refusal(body.as_bytes());
            assert!(!message.contains("CANARY"), "{body}: {message}");
        }
    }
}
