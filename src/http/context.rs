//! What every request goes through: a request id, a time limit, a guard against panics, a log line, metrics,
//! and headers that keep answers out of caches.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    net::IpAddr,
    panic::AssertUnwindSafe,
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
    limits::{STANDING, Standing},
    source,
    system::{BACKUP_ROUTE, BACKUP_TIMEOUT},
    trace::{TRACE, method_name},
    workspaces::REVOKE_ALL_ROUTE,
};
use crate::domain::error::{Code, Error};

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

tokio::task_local! {
    static REQUEST_ID: String;
    static BODY_DEADLINE: Instant;
    static SOURCE: Option<IpAddr>;
}

/// When the body of this task's request must be there. It is a tenth before the request's own deadline, so that who
/// sends slowly is told so, and a backup's long deadline is not one for its body.
pub(super) fn body_deadline() -> tokio::time::Instant {
    BODY_DEADLINE.try_with(|at| *at).map_or_else(
        |_| tokio::time::Instant::now(),
        tokio::time::Instant::from_std,
    )
}

/// The id of the request that this task serves.
pub(super) fn request_id() -> String {
    REQUEST_ID.try_with(Clone::clone).unwrap_or_default()
}

/// The address that this task's request is attributed to.
pub(super) fn source() -> Option<IpAddr> {
    SOURCE.try_with(|source| *source).ok().flatten()
}

fn given_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get(X_REQUEST_ID)?.to_str().ok()?;
    let well_formed = (1..=MAX_REQUEST_ID_BYTES).contains(&id.len())
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':'))
        // A bearer string in the wrong header would end up in logs and history.
        && !id.contains("lhk_")
        && !id.contains("lhh_");
    well_formed.then(|| id.to_owned())
}

/// The outermost layer.
pub(super) async fn wrap(State(surface): State<Surface>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let id = given_id(request.headers())
        .unwrap_or_else(|| surface.engine().request_id().unwrap_or_default());
    let method = method_name(request.method());
    // The route and never the path: a path may hold what somebody put there by mistake.
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("none", |path| path.as_str())
        .to_owned();
    let timeout = match route.as_str() {
        BACKUP_ROUTE => BACKUP_TIMEOUT,
        REVOKE_ALL_ROUTE | SUSPEND_ROUTE => STOP_TIMEOUT,
        IDENTITY_ROUTE if method == "DELETE" => STOP_TIMEOUT,
        _ => surface.0.request_timeout,
    };
    let (parts, body) = request.into_parts();
    let source = source::source(&parts, &surface.0.trusted_proxies);
    let request = Request::from_parts(parts, body);
    let counted = !UNCOUNTED.contains(&route.as_str());
    let limits = surface.clone();
    let served = async move {
        let allowed = match counted {
            true => limits.0.limits.check_source(source),
            false => Ok(()),
        };
        let response = match allowed {
            Err(error) => ApiError(error).into_response(),
            Ok(()) => {
                let run = AssertUnwindSafe(next.run(request)).catch_unwind();
                match tokio::time::timeout(timeout, run).await {
                    Ok(Ok(response)) => response,
                    Ok(Err(_)) => ApiError(Error::internal("a handler panicked")).into_response(),
                    Err(_) => too_slow(timeout),
                }
            }
        };
        (
            response,
            STANDING.with(Cell::get),
            TRACE.with(RefCell::take),
        )
    };
    let served = TRACE.scope(RefCell::default(), served);
    let served = STANDING.scope(Cell::new(Standing::UNLIMITED), served);
    let served = SOURCE.scope(source, served);
    let served = BODY_DEADLINE.scope(begun + surface.0.request_timeout * 9 / 10, served);
    let (mut response, standing, trace) = REQUEST_ID.scope(id.clone(), served).await;
    let status = response.status();
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert(X_REQUEST_ID, id);
    }
    tell_standing(headers, standing, status.as_u16() == 429);
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    let took = begun.elapsed();
    record(method, &route, status.as_u16(), took);
    tracing::debug!(
        request_id = id,
        method,
        route,
        status = status.as_u16(),
        micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        "request"
    );
    trace.note(surface.engine(), method, route, status.as_u16());
    response
}

fn tell_standing(headers: &mut HeaderMap, standing: Standing, limited: bool) {
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

fn too_slow(timeout: Duration) -> Response {
    let message = format!(
        "the request was not done within {}",
        humantime::format_duration(timeout)
    );
    ApiError(Error::new(Code::StorageUnavailable, message)).into_response()
}

/// The metrics of one route, method and status. A registry look-up hashes every label; these few are kept.
struct Meters {
    method: &'static str,
    status: u16,
    seconds: Histogram,
    requests: Counter,
}

thread_local! {
    static METERS: RefCell<HashMap<String, Vec<Meters>>> = RefCell::default();
}

fn record(method: &'static str, route: &str, status: u16, took: Duration) {
    METERS.with_borrow_mut(|meters| {
        if !meters.contains_key(route) {
            meters.insert(route.to_owned(), Vec::new());
        }
        let Some(of_route) = meters.get_mut(route) else {
            return;
        };
        let found = of_route
            .iter()
            .position(|meter| meter.method == method && meter.status == status);
        let at = found.unwrap_or_else(|| {
            of_route.push(Meters::new(method, route, status));
            of_route.len() - 1
        });
        if let Some(meter) = of_route.get(at) {
            meter.seconds.record(took.as_secs_f64());
            meter.requests.increment(1);
        }
    });
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
