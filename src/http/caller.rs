//! The authenticated caller. It is made before the body is looked at, so that nobody unknown gets anything
//! parsed.

use axum::{
    extract::FromRequestParts,
    http::{HeaderValue, header, request::Parts},
};

use zeroize::Zeroizing;

use super::{Surface, context, error::ApiError, trace};
use crate::{
    domain::{
        error::{Error, Result},
        event::Origin,
        principal::Principal,
    },
    engine::{Admitted, Call, Entered, Lasting},
};

/// A proven caller and where its request came from.
pub(super) struct Caller {
    principal: Principal,
    origin: Origin,
    idempotency_key: Option<String>,
    address: String,
    entered: Entered,
}

impl Caller {
    /// The vault's own address, as the caller reached it.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// The call of an operation that creates nothing.
    pub(super) fn call(self) -> Call {
        Call {
            principal: self.principal,
            origin: self.origin,
            idempotency: None,
            entered: self.entered,
        }
    }

    /// The call of a creating operation, which may be a retry.
    pub(super) fn creating(self, surface: &Surface, body: &[u8]) -> Result<Call> {
        let workspace = self.principal.workspace;
        let idempotency = self
            .idempotency_key
            .as_deref()
            .map(|key| surface.engine().idempotency(workspace, key, body))
            .transpose()?;
        Ok(Call {
            principal: self.principal,
            origin: self.origin,
            idempotency,
            entered: self.entered,
        })
    }
}

/// What a caller came with, for an answer that lasts: whoever gets it is proven again and again.
pub(super) struct Presented {
    authorization: Option<Zeroizing<String>>,
    workspace: Option<String>,
    origin: Origin,
}

impl Presented {
    /// The caller as it is now, or why it is let in no more. Not counted against its limit.
    pub(super) async fn prove(&self, surface: &Surface) -> Result<Call> {
        let entered = surface.engine().enter();
        let authorization = self.authorization.as_ref().map(|text| text.as_str());
        let proven = surface
            .0
            .authenticator
            .authenticate(
                authorization,
                self.workspace.as_deref(),
                surface.engine().now(),
            )
            .await;
        let principal = proven.map_err(|refusal| refusal.error)?;
        Ok(Call {
            principal,
            origin: self.origin.clone(),
            idempotency: None,
            entered,
        })
    }
}

/// A caller that is proven before each piece of what it is given.
pub(super) struct Reader {
    pub(super) surface: Surface,
    pub(super) presented: Presented,
    pub(super) lasting: Lasting,
}

impl Reader {
    /// Whether the next piece may go out.
    pub(super) async fn may_go_on(&self) -> Result<()> {
        let call = self.presented.prove(&self.surface).await?;
        self.surface.engine().may_go_on(&self.lasting, &call).await
    }
}

impl FromRequestParts<Surface> for Presented {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &Surface) -> Result<Self, Self::Rejection> {
        let given = text(parts, header::AUTHORIZATION);
        Ok(Self {
            authorization: given.map(|text| Zeroizing::new(text.to_owned())),
            workspace: text(parts, "x-workspace").map(str::to_owned),
            origin: origin(parts),
        })
    }
}

fn text(parts: &Parts, name: impl header::AsHeaderName) -> Option<&str> {
    parts
        .headers
        .get(name)
        .and_then(|value| value.to_str().ok())
}

/// A header of which the request has one at most: of two, which counts is for nobody to guess.
fn once<'a>(parts: &'a Parts, name: &'static str) -> Result<Option<&'a HeaderValue>> {
    let mut values = parts.headers.get_all(name).iter();
    let first = values.next();
    match values.next() {
        None => Ok(first),
        Some(_) => Err(Error::invalid(
            name,
            format!("`{name}` is sent more than once"),
        )),
    }
}

/// Where a request came from.
pub(super) fn origin(parts: &Parts) -> Origin {
    Origin {
        request_id: context::request_id(),
        source_ip: context::source(),
        user_agent: text(parts, header::USER_AGENT).map(context::user_agent),
    }
}

/// Scheme and authority of the request; the authority is taken only where it is a plain host and port.
fn address(parts: &Parts, surface: &Surface) -> String {
    let scheme = if surface.0.tls { "https" } else { "http" };
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':' | b'[' | b']');
    let host =
        text(parts, header::HOST).or_else(|| parts.uri.authority().map(|host| host.as_str()));
    match host.filter(|host| !host.is_empty() && host.bytes().all(plain)) {
        Some(host) => format!("{scheme}://{host}"),
        None => String::new(),
    }
}

impl FromRequestParts<Surface> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, surface: &Surface) -> Result<Self, ApiError> {
        // Before anything is read that decides whether it may act.
        let entered = surface.engine().enter();
        // A body that is not there yet does not hold up a stop: see `body`.
        context::set_turn(entered.turn());
        let origin = origin(parts);
        // Two prove nobody, whichever of them is good.
        let authorization = once(parts, "Authorization").ok().flatten();
        let authorization = authorization.and_then(|value| value.to_str().ok());
        let workspace = match once(parts, "X-Workspace")? {
            None => None,
            Some(value) => Some(
                value
                    .to_str()
                    .map_err(|_| Error::invalid("X-Workspace", "`X-Workspace` is not text"))?,
            ),
        };
        let now = surface.engine().now();
        let principal = match surface
            .0
            .authenticator
            .authenticate(authorization, workspace, now)
            .await
        {
            Ok(principal) => principal,
            Err(refusal) => {
                metrics::counter!("leasehold_authentication_failures_total", "code" => refusal.error.code().as_str())
                    .increment(1);
                let (limits, source) = (&surface.0.limits, origin.source_ip);
                let Some(proof) = refusal.proven else {
                    trace::stranger();
                    limits.check_failure(source)?;
                    return Err(refusal.error.into());
                };
                trace::proven((proof.0, proof.0), false, now, &origin);
                if let Err(over) = limits.check_refusal(source, proof.0) {
                    // One of many, which history tells of together.
                    trace::stranger();
                    return Err(over.into());
                }
                surface
                    .engine()
                    .record_proof_refusal(proof, origin, &refusal.error)
                    .await?;
                return Err(refusal.error.into());
            }
        };
        trace::proven((principal.proof, principal.root), true, now, &origin);
        trace::admitted(Admitted::of(&principal, entered.witness()));
        surface
            .0
            .limits
            .check(principal.account(), principal.rate_limit)?;
        let idempotency_key = once(parts, "Idempotency-Key")?
            .map(|value| value.to_str().unwrap_or_default().to_owned());
        Ok(Self {
            principal,
            origin,
            idempotency_key,
            address: address(parts, surface),
            entered,
        })
    }
}
