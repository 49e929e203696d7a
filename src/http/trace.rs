//! What a request leaves in its key's usage history, and in history where it made no record of its own: gathered where
//! it becomes known, noted when it is answered.

use std::{cell::RefCell, net::IpAddr, sync::Arc};

use super::context::with_trace;
use crate::{
    domain::{
        error::{Detail, Error},
        event::Origin,
        principal::ProofId,
        scope::ScopeSet,
        time::Timestamp,
        usage::Use,
    },
    engine::{Admitted, Engine},
};

/// Methods by their name; whatever else a caller sends is folded into one.
const METHODS: [&str; 7] = ["GET", "POST", "PATCH", "PUT", "DELETE", "HEAD", "OPTIONS"];

/// A method's name, one of few.
pub(super) fn method_name(method: &axum::http::Method) -> &'static str {
    METHODS
        .into_iter()
        .find(|known| method.as_str() == *known)
        .unwrap_or("other")
}

/// Who made the request, once that is proven.
struct Proven {
    proof: ProofId,
    /// What that goes back to, as far as it is known.
    root: ProofId,
    admitted: bool,
    at: Timestamp,
    source_ip: Option<IpAddr>,
    user_agent: Option<Arc<str>>,
}

/// What is known of the request that a task serves.
#[derive(Default)]
pub(super) struct Trace {
    proven: Option<Proven>,
    code: Option<&'static str>,
    missing: ScopeSet,
    admitted: Option<Admitted>,
    stranger: bool,
}

thread_local! {
    /// The user agent seen last: most requests come from the same few.
    static AGENT: RefCell<Option<Arc<str>>> = const { RefCell::new(None) };
}

/// A user agent to be kept.
fn kept(agent: &str) -> Arc<str> {
    AGENT.with_borrow_mut(|last| match last {
        Some(last) if **last == *agent => last.clone(),
        _ => last.insert(agent.into()).clone(),
    })
}

/// Notes which key or token the request came with and what that goes back to, and whether it was let in.
pub(super) fn proven(
    (proof, root): (ProofId, ProofId),
    admitted: bool,
    at: Timestamp,
    origin: &Origin,
) {
    with_trace(|trace| {
        trace.proven = Some(Proven {
            proof,
            root,
            admitted,
            at,
            source_ip: origin.source_ip,
            user_agent: origin.user_agent.as_deref().map(kept),
        });
    });
}

/// Notes the caller of the request, once it is let in.
pub(super) fn admitted(caller: Admitted) {
    with_trace(|trace| trace.admitted = Some(caller));
}

/// Notes that the request is refused before its caller is proven.
pub(super) fn stranger() {
    with_trace(|trace| trace.stranger = true);
}

/// What history is to have of the request, where it has nothing yet: its caller, or none where nobody was proven. It is
/// given out once.
pub(super) enum Untold {
    Nothing,
    Of(Admitted, Option<&'static str>),
    Stranger(Option<&'static str>),
}

pub(super) fn untold() -> Untold {
    let untold = with_trace(|trace| match trace.admitted.take() {
        Some(caller) if caller.witness.attested() => Untold::Nothing,
        Some(caller) => Untold::Of(caller, trace.code),
        None if std::mem::take(&mut trace.stranger) => Untold::Stranger(trace.code),
        None => Untold::Nothing,
    });
    untold.unwrap_or(Untold::Nothing)
}

/// Notes why the request is refused.
pub(super) fn refused(error: &Error) {
    with_trace(|trace| {
        trace.code = Some(error.code().as_str());
        for (name, detail) in error.details() {
            let texts = match (*name, detail) {
                ("missing_scope", Detail::Text(text)) => std::slice::from_ref(text),
                ("missing_scopes", Detail::List(texts)) => texts,
                _ => continue,
            };
            let known = texts.iter().filter_map(|text| ScopeSet::parse(text));
            trace.missing = known.fold(trace.missing, ScopeSet::union);
        }
    });
}

impl Trace {
    /// Notes the request with its key, if it came with one.
    pub(super) fn note(self, engine: &Engine, method: &'static str, route: Arc<str>, status: u16) {
        let Some(proven) = self.proven else { return };
        let one = Use {
            at: proven.at,
            method: method.into(),
            route,
            status,
            code: self.code.map(Into::into),
            source_ip: proven.source_ip,
            user_agent: proven.user_agent,
            missing: self.missing,
        };
        engine.note_use((proven.proof, proven.root), proven.admitted, one);
    }
}
