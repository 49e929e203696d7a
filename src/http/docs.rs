//! The OpenAPI document, made from the handlers, and the explorer that shows it. Both are served without the
//! internet.

use axum::Router;
use utoipa::{
    Modify, OpenApi,
    openapi::{
        OpenApi as Document,
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
        (name = "audit", description = "History"),
        (name = "auth", description = "Who the caller is"),
        (name = "system", description = "The vault as a whole"),
        (name = "operation", description = "Health and metrics"),
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

/// `/api-docs` and `/api-docs/openapi.json`.
pub(super) fn explorer(document: Document) -> Router<Surface> {
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
