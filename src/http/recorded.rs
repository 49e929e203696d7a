//! Every request of an authenticated caller is in history before it is answered: here those that left no record of
//! their own.

use axum::{
    http::{Request, header, uri::PathAndQuery},
    response::{IntoResponse, Response},
};

use super::{
    Surface, context,
    error::ApiError,
    trace::{self, Untold},
};
use crate::{
    domain::{error::Code, event::AnsweredRequest, mask::is_harmless_name},
    engine::{Served, Stranger},
};

/// A request, as far as history tells of it.
pub(super) struct Asked<'a> {
    method: &'static str,
    route: &'a str,
    path: Option<PathAndQuery>,
    user_agent: Option<header::HeaderValue>,
}

impl<'a> Asked<'a> {
    /// The request. Costs no copy of its texts.
    pub(super) fn of<B>(request: &Request<B>, method: &'static str, route: &'a str) -> Self {
        Self {
            method,
            route,
            path: request.uri().path_and_query().cloned(),
            user_agent: request.headers().get(header::USER_AGENT).cloned(),
        }
    }

    /// What stands in the path where the route has parameters. Of what was not found only what is an id or looks like a
    /// name: somebody may have put a secret there.
    fn about(&self, found: bool) -> Option<String> {
        if !self.route.contains('{') {
            return None;
        }
        let path = self.path.as_ref()?.path();
        let mut about = String::new();
        for (template, part) in self.route.split('/').zip(path.split('/')) {
            if !template.starts_with('{') {
                continue;
            }
            if part.contains('%') || !found && !is_harmless_name(part) {
                return None;
            }
            if !about.is_empty() {
                about.push('/');
            }
            about.push_str(part);
        }
        Some(about)
    }

    fn user_agent(&self) -> Option<String> {
        let agent = self.user_agent.as_ref()?;
        agent.to_str().ok().map(context::user_agent)
    }

    fn answered(&self, surface: &Surface, status: u16) -> AnsweredRequest {
        AnsweredRequest {
            time: surface.engine().now(),
            id: context::request_id(),
            method: self.method.into(),
            route: self.route.to_owned(),
            about: self.about(status < 400),
            status,
        }
    }
}

/// Holds the answer back until history has its request. Where the store takes no writes, what only shows what is no
/// secret goes out all the same, and so does a refusal.
pub(super) async fn recorded(surface: &Surface, asked: &Asked<'_>, response: Response) -> Response {
    let status = response.status();
    let (admitted, code) = match trace::untold() {
        Untold::Nothing => return response,
        Untold::Of(admitted, code) => (admitted, code),
        Untold::Stranger(code) => {
            surface.engine().note_stranger(Stranger {
                source_ip: context::source(),
                user_agent: asked.user_agent(),
                code: code.unwrap_or(Code::Unauthorized.as_str()),
                request: asked.answered(surface, status.as_u16()),
            });
            return response;
        }
    };
    let read = matches!(asked.method, "GET" | "HEAD");
    let recording = surface.engine().record_request(Served {
        workspace: admitted.workspace,
        actor: admitted.actor,
        source_ip: context::source(),
        user_agent: asked.user_agent(),
        code,
        essential: status.is_success() && !read,
        request: asked.answered(surface, status.as_u16()),
    });
    match recording.await {
        Ok(()) => response,
        Err(error)
            if error.code() == Code::StorageUnavailable && (read || !status.is_success()) =>
        {
            response
        }
        Err(error) => ApiError(error).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about(route: &str, uri: &str, found: bool) -> Option<String> {
        let request = Request::get(uri).body(()).unwrap();
        Asked::of(&request, "GET", route).about(found)
    }

    #[test]
    fn a_request_is_about_what_its_path_names() {
        let one = "/v1/identities/{type}/{name}";
        let named = about(one, "/v1/identities/agent/ci-bot?x=secret", true);
        assert_eq!(named.as_deref(), Some("agent/ci-bot"));
        assert_eq!(about("/v1/leases", "/v1/leases?x=secret", true), None);
        let key = "/v1/api-keys/{id}/usage";
        let id = "key_0123456789abcdef0123456789abcdef";
        let path = format!("/v1/api-keys/{id}/usage");
        assert_eq!(about(key, &path, false).as_deref(), Some(id));
    }

    // INVARIANT (no-side-door)
    #[test]
    fn what_was_not_found_may_be_a_secret() {
        let route = "/v1/credentials/{name}";
        for secret in ["sk-AbCdEf", "lhk_0", "a%20b", "ghp-0123456789abcdefghij"] {
            let path = format!("/v1/credentials/{secret}");
            let named = about(route, &path, false);
            assert_eq!(named.is_some(), secret == "lhk_0", "{secret}");
        }
        let missing = about(route, "/v1/credentials/missing", false);
        assert_eq!(missing.as_deref(), Some("missing"));
    }
}
