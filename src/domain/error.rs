//! The one error type of the vault: a stable code, a public text, a private source.
//!
//! Knows no HTTP: `http::error` maps a [`Code`] to a status. A message never holds a value, a handle or a
//! key; what a dependency said is kept in the private source, which is logged once and never shown.

use std::{collections::BTreeMap, error::Error as StdError, fmt};

use serde::Serialize;

/// A stable error code, as clients see it: none is taken away or changes its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    InvalidRequest,
    MissingParameter,
    InvalidParameter,
    Unauthorized,
    KeyExpired,
    KeyPaused,
    TokenExpired,
    IssuerUnknown,
    AudienceMismatch,
    ClaimMismatch,
    SignatureInvalid,
    AssertionExpired,
    AssertionReplayed,
    IssuerStopped,
    InsufficientPermissions,
    PolicyDenied,
    IdentitySuspended,
    NotFound,
    MethodNotAllowed,
    AlreadyExists,
    IdempotencyConflict,
    VersionConflict,
    LeaseLimitReached,
    InvalidState,
    LeaseExpired,
    LeaseRevoked,
    LeaseReleased,
    CredentialRevoked,
    PayloadTooLarge,
    UnsupportedMediaType,
    ValidationFailed,
    RateLimited,
    BudgetExhausted,
    QuotaExceeded,
    Internal,
    Sealed,
    StorageUnavailable,
    UpstreamFailed,
    UpstreamTimeout,
}

impl Code {
    /// The code's spelling on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "INVALID_REQUEST",
            Self::MissingParameter => "MISSING_PARAMETER",
            Self::InvalidParameter => "INVALID_PARAMETER",
            Self::Unauthorized => "UNAUTHORIZED",
            Self::KeyExpired => "KEY_EXPIRED",
            Self::KeyPaused => "KEY_PAUSED",
            Self::TokenExpired => "TOKEN_EXPIRED",
            Self::IssuerUnknown => "ISSUER_UNKNOWN",
            Self::AudienceMismatch => "AUDIENCE_MISMATCH",
            Self::ClaimMismatch => "CLAIM_MISMATCH",
            Self::SignatureInvalid => "SIGNATURE_INVALID",
            Self::AssertionExpired => "ASSERTION_EXPIRED",
            Self::AssertionReplayed => "ASSERTION_REPLAYED",
            Self::IssuerStopped => "ISSUER_STOPPED",
            Self::InsufficientPermissions => "INSUFFICIENT_PERMISSIONS",
            Self::PolicyDenied => "POLICY_DENIED",
            Self::IdentitySuspended => "IDENTITY_SUSPENDED",
            Self::NotFound => "NOT_FOUND",
            Self::MethodNotAllowed => "METHOD_NOT_ALLOWED",
            Self::AlreadyExists => "ALREADY_EXISTS",
            Self::IdempotencyConflict => "IDEMPOTENCY_CONFLICT",
            Self::VersionConflict => "VERSION_CONFLICT",
            Self::LeaseLimitReached => "LEASE_LIMIT_REACHED",
            Self::InvalidState => "INVALID_STATE",
            Self::LeaseExpired => "LEASE_EXPIRED",
            Self::LeaseRevoked => "LEASE_REVOKED",
            Self::LeaseReleased => "LEASE_RELEASED",
            Self::CredentialRevoked => "CREDENTIAL_REVOKED",
            Self::PayloadTooLarge => "PAYLOAD_TOO_LARGE",
            Self::UnsupportedMediaType => "UNSUPPORTED_MEDIA_TYPE",
            Self::ValidationFailed => "VALIDATION_FAILED",
            Self::RateLimited => "RATE_LIMITED",
            Self::BudgetExhausted => "BUDGET_EXHAUSTED",
            Self::QuotaExceeded => "QUOTA_EXCEEDED",
            Self::Internal => "INTERNAL",
            Self::Sealed => "SEALED",
            Self::StorageUnavailable => "STORAGE_UNAVAILABLE",
            Self::UpstreamFailed => "UPSTREAM_FAILED",
            Self::UpstreamTimeout => "UPSTREAM_TIMEOUT",
        }
    }
}

/// One machine-readable fact beside a message: a field, a limit, a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Detail {
    Text(String),
    Number(u64),
    List(Vec<String>),
    /// Several of a kind, each with facts of its own.
    Items(Vec<BTreeMap<&'static str, Detail>>),
}

impl From<&str> for Detail {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Detail {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Vec<String>> for Detail {
    fn from(list: Vec<String>) -> Self {
        Self::List(list)
    }
}

impl From<u64> for Detail {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<Vec<BTreeMap<&'static str, Detail>>> for Detail {
    fn from(list: Vec<BTreeMap<&'static str, Detail>>) -> Self {
        Self::Items(list)
    }
}

/// The failure of an operation.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    code: Code,
    message: String,
    details: Vec<(&'static str, Detail)>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// `Result` with the vault's own error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error with a public message: lowercase, no final period, no secret.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            code,
            message: message.into(),
            details: Vec::new(),
            source: None,
        }))
    }

    /// A parameter that was given and is wrong; `field` is its path in the request.
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Code::InvalidParameter, message).with("field", field.into())
    }

    /// A parameter that must be given and was not.
    pub fn missing(field: impl Into<String>) -> Self {
        let field = field.into();
        Self::new(Code::MissingParameter, format!("`{field}` is required")).with("field", field)
    }

    /// A thing that is missing, or that the caller may not know of.
    pub fn not_found(what: &'static str) -> Self {
        Self::new(Code::NotFound, format!("no such {what}")).with("resource", what)
    }

    /// An action that the thing's present state forbids.
    pub fn state(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidState, message)
    }

    /// A failure inside the vault; `source` is logged and never shown.
    pub fn internal(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::new(Code::Internal, "the vault failed to carry out the request").caused_by(source)
    }

    /// A failure of the store; `message` may be shown to the caller.
    pub fn storage(message: impl Into<String>) -> Self {
        Self::new(Code::StorageUnavailable, message)
    }

    /// Adds a machine-readable detail.
    #[must_use]
    pub fn with(mut self, name: &'static str, detail: impl Into<Detail>) -> Self {
        self.0.details.push((name, detail.into()));
        self
    }

    /// Adds the private source.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// The stable code.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// The public text.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The public details, in the order they were added.
    pub fn details(&self) -> &[(&'static str, Detail)] {
        &self.0.details
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}
