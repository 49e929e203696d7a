//! `/v1/issuers` and `/v1/auth/exchange`.

use axum::{
    extract::{FromRequestParts, State},
    http::{StatusCode, request::Parts},
};

use super::{
    Surface,
    body::Payload,
    caller::{Caller, origin},
    error::ApiError,
    query::{Paging, Params, Segments},
    serve::PeerCertificate,
    trace,
    wire::*,
};
use crate::{
    domain::event::Origin,
    engine::{NotExchanged, Told},
};

type Answer<T> = Result<T, ApiError>;

/// Registers an issuer whose assertions are exchanged for access tokens.
///
/// Presets, each with an `audiences` of your own choice:
/// GitHub Actions: `iss` `https://token.actions.githubusercontent.com`, `jwks_url` that and `/.well-known/jwks`,
/// `conditions` `{"repository": "acme/app", "ref": "refs/heads/main"}`, `identity.name` `gh-{repository_id}`.
/// GitLab: `iss` `https://gitlab.com`, `jwks_url` `https://gitlab.com/oauth/discovery/keys`, `conditions`
/// `{"project_path": "acme/app", "ref_protected": "true"}`, `identity.name` `gl-{project_id}`.
/// Kubernetes: `iss` as `--service-account-issuer` says, `jwks_url` its `/openid/v1/jwks` or `jwks` by value,
/// `conditions` `{"sub": "system:serviceaccount:prod:*"}`, `identity.name`
/// `k8s-{/kubernetes.io/serviceaccount/name}`.
/// SPIFFE JWT-SVID: `iss` and `jwks_url` of the trust domain's OIDC provider, `conditions`
/// `{"sub": "spiffe://acme.example/billing"}`, `identity.name` `billing`.
/// Client certificates, such as SPIFFE X.509-SVIDs: `kind` `certificate`, `conditions`
/// `{"san_uri": "spiffe://acme.example/ns/prod/sa/*"}`, `identity.name` `{san_uri_path_last}`.
#[utoipa::path(post, path = "/v1/issuers", tag = "issuers", request_body = CreateIssuerBody,
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes a retry safe for 24 hours")),
    responses((status = 201, body = Success<IssuerBody>), (status = "4XX", body = Failure), (status = 503, body = Failure)))]
pub(super) async fn create(
    State(surface): State<Surface>,
    caller: Caller,
    payload: Payload<CreateIssuerBody>,
) -> Answer<(StatusCode, Json<Success<IssuerBody>>)> {
    let call = caller.creating(&surface, &payload.bytes)?;
    let issuer = surface
        .engine()
        .create_issuer(&call, payload.value.command()?)
        .await?;
    Ok(Success::created(issuer.into()))
}

/// Lists the issuers of the workspace, and those of the organisation for who reaches all of it.
#[utoipa::path(get, path = "/v1/issuers", tag = "issuers",
    params(("since" = Option<String>, Query, description = "Made at or after this time"), ("until" = Option<String>, Query, description = "Made before this time"),
        Paging, ("sort" = Option<String>, Query, description = "`created_at` or `-created_at`")),
    responses((status = 200, body = Listing<IssuerBody>), (status = "4XX", body = Failure), (status = 503, body = Failure)))]
pub(super) async fn list(
    State(surface): State<Surface>,
    caller: Caller,
    mut params: Params,
) -> Answer<Json<Listing<IssuerBody>>> {
    let (request, made) = (params.page()?, params.range()?);
    params.finish()?;
    let page = surface
        .engine()
        .issuers(&caller.call(), made, &request)
        .await?;
    Ok(Listing::of(page, IssuerBody::from))
}

/// Shows an issuer, by its id or name.
#[utoipa::path(get, path = "/v1/issuers/{issuer}", tag = "issuers", params(("issuer" = String, Path)),
    responses((status = 200, body = Success<IssuerBody>), (status = "4XX", body = Failure), (status = 503, body = Failure)))]
pub(super) async fn show(
    State(surface): State<Surface>,
    caller: Caller,
    Segments(at): Segments<String>,
    params: Params,
) -> Answer<Json<Success<IssuerBody>>> {
    params.finish()?;
    let issuer = surface.engine().issuer(&caller.call(), &at).await?;
    Ok(Success::of(issuer.into()))
}

/// Changes what an issuer's assertions must say and whom they stand for. Tokens that were given out shrink with it.
#[utoipa::path(patch, path = "/v1/issuers/{issuer}", tag = "issuers", params(("issuer" = String, Path)),
    request_body = UpdateIssuerBody,
    responses((status = 200, body = Success<IssuerBody>), (status = "4XX", body = Failure), (status = 503, body = Failure)))]
pub(super) async fn update(
    State(surface): State<Surface>,
    caller: Caller,
    Segments(at): Segments<String>,
    payload: Payload<UpdateIssuerBody>,
) -> Answer<Json<Success<IssuerBody>>> {
    let issuer = surface
        .engine()
        .update_issuer(&caller.call(), &at, payload.value.command()?)
        .await?;
    Ok(Success::of(issuer.into()))
}

/// Forgets an issuer; the tokens that its assertions were exchanged for end at once.
#[utoipa::path(delete, path = "/v1/issuers/{issuer}", tag = "issuers", params(("issuer" = String, Path)),
    responses((status = 200, body = Success<IssuerBody>), (status = "4XX", body = Failure), (status = 503, body = Failure)))]
pub(super) async fn delete(
    State(surface): State<Surface>,
    caller: Caller,
    Segments(at): Segments<String>,
    params: Params,
) -> Answer<Json<Success<IssuerBody>>> {
    params.finish()?;
    let issuer = surface.engine().delete_issuer(&caller.call(), &at).await?;
    Ok(Success::of(issuer.into()))
}

/// Where a request came from that nobody proved, within the limit of its source, and the certificate of its connection.
pub(super) struct Stranger(Origin, Option<PeerCertificate>);

impl FromRequestParts<Surface> for Stranger {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, surface: &Surface) -> Result<Self, ApiError> {
        let origin = origin(parts);
        if let Some(source) = origin.source_ip {
            surface.0.limits.check_exchange(source)?;
        }
        let certificate = parts.extensions.get::<PeerCertificate>().cloned();
        Ok(Self(origin, certificate))
    }
}

/// Exchanges an assertion of a registered issuer, or the connection's client certificate, for a short access token of
/// the identity that it stands for.
#[utoipa::path(post, path = "/v1/auth/exchange", tag = "auth", request_body = ExchangeBody, security(()),
    responses((status = 201, body = Success<IssuedTokenBody>), (status = "4XX", body = Failure),
        (status = 502, body = Failure, description = "`UPSTREAM_FAILED`: the issuer's keys cannot be had"), (status = 503, body = Failure)))]
pub(super) async fn exchange(
    State(surface): State<Surface>,
    Stranger(origin, certificate): Stranger,
    payload: Payload<ExchangeBody>,
) -> Answer<(StatusCode, Json<Success<IssuedTokenBody>>)> {
    let source = origin.source_ip;
    let asked = async {
        let command = payload.value.command();
        let command = command.map_err(|error| NotExchanged {
            error,
            told: Told::Together,
        })?;
        let certificate = certificate.as_ref().map(PeerCertificate::der);
        let engine = surface.engine();
        engine.exchange(origin, certificate, command).await
    };
    let NotExchanged { error, told } = match asked.await {
        Ok(issued) => return Ok(Success::created(issued.into())),
        Err(refused) => refused,
    };
    let limits = &surface.0.limits;
    match told {
        Told::Nothing => {}
        Told::Together => {
            trace::stranger();
            limits.check_failure(source)?;
        }
        Told::Alone(refusal) => {
            if let Err(over) = limits.check_failure(source) {
                trace::stranger();
                return Err(over.into());
            }
            let engine = surface.engine();
            engine.record_exchange_refusal(*refusal, &error).await?;
        }
    }
    Err(error.into())
}
