//! The HTTP surface: parse, call the engine, convert. `/v1` is the contract with clients.

mod audit;
mod auth;
mod body;
mod caller;
mod context;
mod credentials;
mod docs;
mod error;
mod export;
mod holds;
#[cfg(test)]
mod hostile;
mod identities;
mod issuers;
mod keys;
mod leases;
mod limits;
mod markdown;
mod operations;
mod policies;
mod query;
mod recorded;
mod reports;
mod sealing;
pub mod serve;
mod signing_keys;
mod source;
mod system;
mod tokens;
mod trace;
mod wire;
mod workspaces;

use std::{sync::Arc, time::Duration};

use axum::Router;
use ipnet::IpNet;
use metrics_exporter_prometheus::PrometheusHandle;
use utoipa_axum::{router::OpenApiRouter, routes};

use self::limits::Limits;
pub use self::{
    export::{lines as export_lines, readable},
    limits::DefaultLimits,
};
use crate::{
    authn::Authenticator,
    domain::error::{Error, Result},
    engine::Engine,
};

/// What the handlers work with.
#[derive(Clone)]
pub struct Surface(Arc<Inner>);

struct Inner {
    engine: Arc<Engine>,
    authenticator: Authenticator,
    limits: Limits,
    trusted_proxies: Vec<IpNet>,
    metrics: PrometheusHandle,
    request_timeout: Duration,
    tls: bool,
}

/// What the surface is made of.
pub struct SurfaceParts {
    pub engine: Arc<Engine>,
    pub authenticator: Authenticator,
    pub metrics: PrometheusHandle,
    /// The limits of whoever has none of its own.
    pub limits: DefaultLimits,
    /// The proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// How long a request may take before it is given up.
    pub request_timeout: Duration,
    /// Whether clients speak TLS to it.
    pub tls: bool,
}

impl Surface {
    /// The surface over an engine.
    pub fn new(parts: SurfaceParts) -> Self {
        Self(Arc::new(Inner {
            engine: parts.engine,
            authenticator: parts.authenticator,
            limits: Limits::new(parts.limits),
            trusted_proxies: parts.trusted_proxies,
            metrics: parts.metrics,
            request_timeout: parts.request_timeout,
            tls: parts.tls,
        }))
    }

    fn engine(&self) -> &Engine {
        &self.0.engine
    }

    /// Forgets the request counts of keys that are idle; bounds memory.
    pub fn forget_idle_limits(&self) {
        self.0.limits.forget_idle();
    }

    /// Every route, with the middleware that all of them share.
    pub fn router(self) -> Router {
        let (api, openapi) = routes().split_for_parts();
        api.merge(docs::explorer(openapi))
            .fallback(operations::unknown_route)
            .method_not_allowed_fallback(operations::unknown_method)
            .layer(axum::middleware::from_fn_with_state(
                self.clone(),
                context::wrap,
            ))
            .with_state(self)
    }
}

/// Runs to its end, whether or not the client waits for it: what was begun to stop somebody is not given up.
async fn to_the_end<T: Send + 'static, F: Future<Output = Result<T>> + Send + 'static>(
    surface: &Surface,
    work: impl FnOnce(Arc<Engine>) -> F,
) -> Result<T> {
    let work = tokio::spawn(work(surface.0.engine.clone()));
    work.await.map_err(Error::internal)?
}

fn routes() -> OpenApiRouter<Surface> {
    OpenApiRouter::with_openapi(docs::document())
        .routes(routes!(credentials::create, credentials::list))
        .routes(routes!(
            credentials::show,
            credentials::update,
            credentials::delete
        ))
        .routes(routes!(credentials::versions))
        .routes(routes!(credentials::rotate))
        .routes(routes!(credentials::revoke_version))
        .routes(routes!(leases::create, leases::list))
        .routes(routes!(leases::revoke_many))
        .routes(routes!(leases::show))
        .routes(routes!(leases::events))
        .routes(routes!(leases::renew))
        .routes(routes!(leases::release))
        .routes(routes!(leases::revoke))
        .routes(routes!(leases::redeem))
        .routes(routes!(keys::create, keys::list))
        .routes(routes!(keys::show, keys::update, keys::delete))
        .routes(routes!(keys::pause))
        .routes(routes!(keys::resume))
        .routes(routes!(keys::rotate))
        .routes(routes!(keys::test))
        .routes(routes!(keys::usage))
        .routes(routes!(audit::list))
        .routes(routes!(tokens::create, tokens::list))
        .routes(routes!(tokens::show, tokens::revoke))
        .routes(routes!(signing_keys::publish))
        .routes(routes!(issuers::create, issuers::list))
        .routes(routes!(issuers::show, issuers::update, issuers::delete))
        .routes(routes!(issuers::exchange))
        .routes(routes!(signing_keys::rotate))
        .routes(routes!(auth::whoami))
        .routes(routes!(identities::create, identities::list))
        .routes(routes!(
            identities::show,
            identities::update,
            identities::delete
        ))
        .routes(routes!(identities::suspend))
        .routes(routes!(identities::resume))
        .routes(routes!(workspaces::create, workspaces::list))
        .routes(routes!(workspaces::show, workspaces::update))
        .routes(routes!(workspaces::revoke_all))
        .routes(routes!(workspaces::public_keys))
        .routes(routes!(auth::check))
        .routes(routes!(policies::show, policies::replace))
        .routes(routes!(policies::validate))
        .routes(routes!(policies::history))
        .routes(routes!(policies::version))
        .routes(routes!(policies::rollback))
        .routes(routes!(policies::diff))
        .routes(routes!(policies::dry_run))
        .routes(routes!(system::backup))
        .routes(routes!(sealing::list))
        .routes(routes!(sealing::latest))
        .routes(routes!(sealing::inclusion))
        .routes(routes!(sealing::consistency))
        .routes(routes!(sealing::verify))
        .routes(routes!(reports::exposure))
        .routes(routes!(reports::rotation_due))
        .routes(routes!(reports::stale))
        .routes(routes!(audit::stream))
        .routes(routes!(audit::show))
        .routes(routes!(export::export))
        .routes(routes!(holds::show))
        .routes(routes!(holds::list))
        .routes(routes!(holds::set, holds::release))
        .routes(routes!(operations::health))
        .routes(routes!(operations::ready))
        .routes(routes!(operations::metrics))
}
