//! The OpenAPI document, made from the handlers, and the explorer that shows it. Both are served without the
//! internet.

use axum::Router;
use utoipa::{
    Modify, OpenApi,
    openapi::{
        OpenApi as Document, RefOr,
        path::{Operation, ParameterBuilder, ParameterIn},
        schema::{Object, Type},
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::Surface;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Leasehold",
        description = "A credential leasing vault for AI agents. Every answer is an envelope: \
            `{\"status\":\"success\",\"data\":…}` or `{\"status\":\"error\",\"code\":…,\"message\":…,\"request_id\":…}`."
    ),
    security(("api_key" = [])),
    modifiers(&Security),
    tags(
        (name = "credentials", description = "Stored keys, their policies and versions"),
        (name = "leases", description = "The right of one identity to use one version until it expires"),
        (name = "tokens", description = "Short-lived access tokens, and the keys that verify them"),
        (name = "api-keys", description = "What callers prove themselves with, what for, and how it was used"),
        (name = "issuers", description = "Whose assertions are exchanged for access tokens"),
        (name = "identities", description = "Named agents, people and services, their roles and labels, and how they are stopped"),
        (name = "workspaces", description = "The unit of isolation, what it sets for all that is in it, and how all of it is stopped"),
        (name = "audit", description = "History: every change, use and denial"),
        (name = "reports", description = "Who could have used a key, what should be rotated, what nobody uses"),
        (name = "policies", description = "Cedar policies of the organisation and of workspaces"),
        (name = "auth", description = "Who the caller is, what it may do, and the exchange of another system's assertion for a token"),
        (name = "system", description = "The vault as a whole"),
        (name = "operation", description = "Health, metrics, and the keys that check what the vault signed"),
    )
)]
struct Base;

struct Security;

impl Modify for Security {
    fn modify(&self, document: &mut Document) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("lhk_…")
            .build();
        document
            .components
            .get_or_insert_default()
            .add_security_scheme("api_key", SecurityScheme::Http(scheme));
    }
}

/// The document before the routes are added.
pub(super) fn document() -> Document {
    Base::openapi()
}

/// Lets whoever reaches several workspaces say which one is meant.
fn choose_workspace(operation: &mut Operation) {
    // What needs no key belongs to no workspace.
    if operation.security.is_some() {
        return;
    }
    let chosen = ParameterBuilder::new()
        .name("X-Workspace")
        .parameter_in(ParameterIn::Header)
        .description(Some(
            "The workspace to act in, for a key that reaches several; `default` where it is missing",
        ))
        .schema(Some(Object::with_type(Type::String)));
    operation
        .parameters
        .get_or_insert_default()
        .push(chosen.build().into());
}

/// What any request with a key may be refused with.
const REFUSALS: [(&str, &str); 6] = [
    (
        "400",
        "`INVALID_REQUEST`, `MISSING_PARAMETER` or `INVALID_PARAMETER`",
    ),
    (
        "401",
        "`UNAUTHORIZED`, `KEY_EXPIRED`, `KEY_PAUSED` or `TOKEN_EXPIRED`; for an exchange `ISSUER_UNKNOWN`, `SIGNATURE_INVALID`, \
         `ASSERTION_EXPIRED`, `AUDIENCE_MISMATCH`, `CLAIM_MISMATCH` or `ASSERTION_REPLAYED`",
    ),
    (
        "403",
        "`INSUFFICIENT_PERMISSIONS`, `POLICY_DENIED` or `IDENTITY_SUSPENDED`; for an exchange `ISSUER_STOPPED`",
    ),
    ("404", "`NOT_FOUND`"),
    (
        "429",
        "`RATE_LIMITED`, with `Retry-After`; `QUOTA_EXCEEDED` for one thing too many, `BUDGET_EXHAUSTED` for one use too many",
    ),
    ("500", "`INTERNAL`"),
];
/// What a request that changes something may be refused with as well.
const REFUSED_CHANGES: [(&str, &str); 2] = [
    (
        "409",
        "`ALREADY_EXISTS`, `IDEMPOTENCY_CONFLICT`, `VERSION_CONFLICT`, `LEASE_LIMIT_REACHED` or `INVALID_STATE`",
    ),
    (
        "410",
        "`LEASE_EXPIRED`, `LEASE_REVOKED`, `LEASE_RELEASED` or `CREDENTIAL_REVOKED`",
    ),
];
/// What a request with a body may be refused with as well.
const REFUSED_BODIES: [(&str, &str); 3] = [
    ("413", "`PAYLOAD_TOO_LARGE`"),
    ("415", "`UNSUPPORTED_MEDIA_TYPE`"),
    ("422", "`VALIDATION_FAILED`: a policy refuses the value"),
];

/// Writes each refusal down where the handlers say `4XX`.
fn tell_refusals(operation: &mut Operation, changes: bool) {
    let responses = &mut operation.responses.responses;
    let Some(RefOr::T(refusal)) = responses.remove("4XX") else {
        return;
    };
    let mut tell = |refusals: &[(&str, &str)]| {
        for (status, codes) in refusals {
            let mut told = refusal.clone();
            told.description = (*codes).to_owned();
            responses.insert((*status).to_owned(), RefOr::T(told));
        }
    };
    tell(&REFUSALS);
    if changes {
        tell(&REFUSED_CHANGES);
    }
    if operation.request_body.is_some() {
        tell(&REFUSED_BODIES);
    }
    if let Some(RefOr::T(unavailable)) = responses.get_mut("503") {
        unavailable.description = "`STORAGE_UNAVAILABLE` or `SEALED`".to_owned();
    }
}

/// `/api-docs` and `/api-docs/openapi.json`.
pub(super) fn explorer(mut document: Document) -> Router<Surface> {
    for path in document.paths.paths.values_mut() {
        let changing = [
            &mut path.post,
            &mut path.patch,
            &mut path.put,
            &mut path.delete,
        ];
        for operation in changing.into_iter().flatten() {
            tell_refusals(operation, true);
            choose_workspace(operation);
        }
        if let Some(operation) = &mut path.get {
            tell_refusals(operation, false);
            choose_workspace(operation);
        }
    }
    let config = Config::default()
        .try_it_out_enabled(true)
        .request_snippets_enabled(true)
        .display_request_duration(true)
        .deep_linking(true)
        .validator_url("none");
    SwaggerUi::new("/api-docs")
        .url("/api-docs/openapi.json", document)
        .config(config)
        .into()
}
