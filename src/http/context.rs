//! What every request goes through: a request id, a time limit, a guard against panics, a log line, metrics,
//! and headers that keep answers out of caches.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    net::IpAddr,
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures_util::FutureExt;
use metrics::{Counter, Histogram};

use super::{
    Surface,
    error::ApiError,
    identities::{IDENTITY_ROUTE, SUSPEND_ROUTE},
    limits::Standing,
    recorded::{Asked, recorded},
    reports::{EXPOSURE_ROUTE, EXPOSURE_TIMEOUT},
    source,
    system::{BACKUP_ROUTE, BACKUP_TIMEOUT},
    trace::{self, Trace, method_name},
    workspaces::REVOKE_ALL_ROUTE,
};
use crate::{
    domain::error::{Code, Error},
    engine::Turn,
};

/// The longest request id taken from a caller, in bytes.
const MAX_REQUEST_ID_BYTES: usize = 128;
/// The longest user agent that history remembers, in bytes.
pub(super) const MAX_USER_AGENT_BYTES: usize = 256;

/// The routes that tell how the vault is, to whoever watches it: they go on however busy an address is.
const UNCOUNTED: [&str; 3] = ["/health", "/ready", "/metrics"];
/// How long an emergency stop may take: it waits for the requests before it, and closes each lease by itself. It goes
/// on where its client does not wait.
const STOP_TIMEOUT: Duration = Duration::from_secs(10 * 60);

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const RATELIMIT_LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const RATELIMIT_REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RATELIMIT_RESET: HeaderName = HeaderName::from_static("ratelimit-reset");
/// `u32::MAX`: what clients read as no limit.
const NO_LIMIT: HeaderValue = HeaderValue::from_static("4294967295");

/// What is known of the request that a task serves.
struct Serving {
    id: String,
    /// When its body must be there.
    body_deadline: Instant,
    source: Option<IpAddr>,
    standing: Cell<Standing>,
    trace: RefCell<Trace>,
    turn: RefCell<Option<Turn>>,
}

tokio::task_local! {
    static SERVING: Serving;
}

/// When the body of this task's request must be there. It is a tenth before the request's own deadline, so that who
/// sends slowly is told so, and a backup's long deadline is not one for its body.
pub(super) fn body_deadline() -> tokio::time::Instant {
    SERVING
        .try_with(|serving| serving.body_deadline)
        .map_or_else(
            |_| tokio::time::Instant::now(),
            tokio::time::Instant::from_std,
        )
}

/// The id of the request that this task serves.
pub(super) fn request_id() -> String {
    SERVING
        .try_with(|serving| serving.id.clone())
        .unwrap_or_default()
}

/// The address that this task's request is attributed to.
pub(super) fn source() -> Option<IpAddr> {
    SERVING.try_with(|serving| serving.source).ok().flatten()
}

/// Notes the standing of the request's key, else of its source, for the headers of the answer.
pub(super) fn tell_standing(standing: Standing) {
    let _ = SERVING.try_with(|serving| serving.standing.set(standing));
}

/// What this task's request leaves in history.
pub(super) fn with_trace<T>(change: impl FnOnce(&mut Trace) -> T) -> Option<T> {
    SERVING
        .try_with(|serving| change(&mut serving.trace.borrow_mut()))
        .ok()
}

/// Notes the epoch that the request is in: a body that is not there yet does not hold up a stop.
pub(super) fn set_turn(turn: Turn) {
    let _ = SERVING.try_with(|serving| serving.turn.replace(Some(turn)));
}

/// The epoch that this task's request is in.
pub(super) fn turn() -> Option<Turn> {
    SERVING
        .try_with(|serving| serving.turn.borrow().clone())
        .ok()
        .flatten()
}

/// A user agent as history remembers it.
pub(super) fn user_agent(agent: &str) -> String {
    // What is text in a header is ASCII.
    let kept = agent.get(..MAX_USER_AGENT_BYTES);
    kept.unwrap_or(agent).to_owned()
}

fn given_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get(X_REQUEST_ID)?.to_str().ok()?;
    let well_formed = (1..=MAX_REQUEST_ID_BYTES).contains(&id.len())
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':'))
        // A bearer string in the wrong header would end up in logs and history.
        && !["lhk_", "lhh_", "eyJ"].iter().any(|mark| id.contains(mark));
    well_formed.then(|| id.to_owned())
}

/// The outermost layer.
pub(super) async fn wrap(State(surface): State<Surface>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let id = given_id(request.headers())
        .unwrap_or_else(|| surface.engine().request_id().unwrap_or_default());
    let method = method_name(request.method());
    // The route and never the path: a path may hold what somebody put there by mistake.
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let route = matched.as_ref().map_or("none", MatchedPath::as_str);
    let timeout = match route {
        BACKUP_ROUTE => BACKUP_TIMEOUT,
        EXPOSURE_ROUTE => EXPOSURE_TIMEOUT,
        REVOKE_ALL_ROUTE | SUSPEND_ROUTE => STOP_TIMEOUT,
        IDENTITY_ROUTE if method == "DELETE" => STOP_TIMEOUT,
        _ => surface.0.request_timeout,
    };
    let source = source::source(
        request.extensions(),
        request.headers(),
        &surface.0.trusted_proxies,
    );
    let serving = Serving {
        id,
        body_deadline: begun + surface.0.request_timeout * 9 / 10,
        source,
        standing: Cell::new(Standing::UNLIMITED),
        trace: RefCell::default(),
        turn: RefCell::default(),
    };
    let counted = !UNCOUNTED.contains(&route);
    let asked = Asked::of(&request, method, route);
    let served = async {
        let answered = async {
            let allowed = match counted {
                true => surface.0.limits.check_source(source),
                false => Ok(()),
            };
            let response = match allowed {
                Err(error) => {
                    trace::stranger();
                    ApiError(error).into_response()
                }
                Ok(()) => match AssertUnwindSafe(next.run(request)).catch_unwind().await {
                    Ok(response) => response,
                    Err(_) => ApiError(Error::internal("a handler panicked")).into_response(),
                },
            };
            recorded(&surface, &asked, response).await
        };
        match tokio::time::timeout(timeout, answered).await {
            Ok(response) => response,
            Err(_) => {
                let told = recorded(&surface, &asked, too_slow(method, timeout));
                let told = tokio::time::timeout(timeout, told).await;
                told.unwrap_or_else(|_| too_slow(method, timeout))
            }
        }
    };
    let mut served = std::pin::pin!(SERVING.scope(serving, served));
    let mut response = served.as_mut().await;
    // It is there until it is taken, and this takes it.
    let Some(serving) = served.take_value() else {
        return response;
    };
    let status = response.status();
    let took = begun.elapsed();
    tracing::debug!(
        request_id = serving.id,
        method,
        route,
        status = status.as_u16(),
        micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        "request"
    );
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::try_from(serving.id) {
        headers.insert(X_REQUEST_ID, id);
    }
    insert_standing(headers, serving.standing.get(), status.as_u16() == 429);
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    let route = record(method, route, status.as_u16(), took);
    let trace = serving.trace.into_inner();
    trace.note(surface.engine(), method, route, status.as_u16());
    response
}

fn insert_standing(headers: &mut HeaderMap, standing: Standing, limited: bool) {
    if standing == Standing::UNLIMITED {
        headers.insert(RATELIMIT_LIMIT, NO_LIMIT);
        headers.insert(RATELIMIT_REMAINING, NO_LIMIT);
        headers.insert(RATELIMIT_RESET, HeaderValue::from_static("0"));
        return;
    }
    headers.insert(RATELIMIT_LIMIT, standing.limit.into());
    headers.insert(RATELIMIT_REMAINING, standing.remaining.into());
    headers.insert(RATELIMIT_RESET, standing.reset.into());
    if limited && standing.remaining == 0 {
        headers.insert(header::RETRY_AFTER, standing.reset.into());
    }
}

/// What was queued for the disk by then is done all the same, and whoever asked for it has to know.
fn too_slow(method: &str, timeout: Duration) -> Response {
    let within = humantime::format_duration(timeout);
    let mut message = format!("the request was not done within {within}");
    if !matches!(method, "GET" | "HEAD") {
        message.push_str(
            "; what it asked for may be done still: look, or send it again with the same `Idempotency-Key`",
        );
    }
    ApiError(Error::new(Code::StorageUnavailable, message)).into_response()
}

/// The metrics of one method and status of a route.
struct Meters {
    method: &'static str,
    status: u16,
    seconds: Histogram,
    requests: Counter,
}

/// A route with its metrics. A registry look-up hashes every label; these few are kept.
struct Metered {
    route: Arc<str>,
    meters: Vec<Meters>,
}

thread_local! {
    static METERED: RefCell<HashMap<Arc<str>, Metered>> = RefCell::default();
}

/// Counts a request; gives back its route, to be kept.
fn record(method: &'static str, route: &str, status: u16, took: Duration) -> Arc<str> {
    METERED.with_borrow_mut(|all| {
        if let Some(metered) = all.get_mut(route) {
            metered.count(method, status, took);
            return metered.route.clone();
        }
        let route = Arc::<str>::from(route);
        let mut metered = Metered {
            route: route.clone(),
            meters: Vec::new(),
        };
        metered.count(method, status, took);
        all.insert(route.clone(), metered);
        route
    })
}

impl Metered {
    fn count(&mut self, method: &'static str, status: u16, took: Duration) {
        let found = self
            .meters
            .iter()
            .position(|meter| meter.method == method && meter.status == status);
        let at = found.unwrap_or_else(|| {
            self.meters.push(Meters::new(method, &self.route, status));
            self.meters.len() - 1
        });
        if let Some(meter) = self.meters.get(at) {
            meter.seconds.record(took.as_secs_f64());
            meter.requests.increment(1);
        }
    }
}

impl Meters {
    fn new(method: &'static str, route: &str, status: u16) -> Self {
        let route = route.to_owned();
        Self {
            method,
            status,
            seconds: metrics::histogram!(
                "leasehold_http_request_seconds", "method" => method, "route" => route.clone()
            ),
            requests: metrics::counter!(
                "leasehold_http_requests_total",
                "method" => method, "route" => route, "status" => status.to_string()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_is_told_that_a_change_took_too_long_is_told_that_it_may_be_done() {
        for (method, may_be_done) in [("POST", true), ("DELETE", true), ("GET", false)] {
            let answer = too_slow(method, Duration::from_secs(30));
            assert_eq!(answer.status(), 503);
            let body = axum::body::to_bytes(answer.into_body(), usize::MAX).await;
            let text = String::from_utf8(body.unwrap().to_vec()).unwrap();
            assert!(text.contains("within 30s"), "{text}");
            assert_eq!(text.contains("Idempotency-Key"), may_be_done, "{text}");
        }
    }
}
