//! One call before it is sent: method, route, query, body, and whether it may be repeated.

use axum::body::Bytes;
use reqwest::{Method, header::HeaderValue};
use serde::Serialize;
use url::Url;
use zeroize::Zeroizing;

use super::failure::Failure;

/// The bytes of entropy in an idempotency key.
const IDEMPOTENCY_BYTES: usize = 16;

/// A call that has not been sent.
pub(super) struct Call {
    method: Method,
    segments: Vec<String>,
    query: Vec<(String, String)>,
    body: Option<Bytes>,
    idempotency_key: Option<HeaderValue>,
    repeat: bool,
}

impl Call {
    fn new(method: Method, segments: &[impl AsRef<str>]) -> Self {
        Self {
            repeat: method == Method::GET,
            method,
            segments: segments
                .iter()
                .map(|segment| segment.as_ref().to_owned())
                .collect(),
            query: Vec::new(),
            body: None,
            idempotency_key: None,
        }
    }

    /// A reading call, which is repeated when it fails on the way.
    pub(super) fn get(segments: &[impl AsRef<str>]) -> Self {
        Self::new(Method::GET, segments)
    }

    /// A call that takes effect, at most once.
    pub(super) fn post(
        segments: &[impl AsRef<str>],
        body: &impl Serialize,
    ) -> Result<Self, Failure> {
        Self::new(Method::POST, segments).with_body(body)
    }

    /// A call that makes something. Its idempotency key lets it be repeated without making two.
    pub(super) fn create(
        segments: &[impl AsRef<str>],
        body: &impl Serialize,
    ) -> Result<Self, Failure> {
        let mut call = Self::post(segments, body)?;
        call.idempotency_key = Some(idempotency_key()?);
        call.repeat = true;
        Ok(call)
    }

    /// A replacement of a whole.
    pub(super) fn put(
        segments: &[impl AsRef<str>],
        body: &impl Serialize,
    ) -> Result<Self, Failure> {
        Self::new(Method::PUT, segments).with_body(body)
    }

    /// A merge patch.
    pub(super) fn patch(
        segments: &[impl AsRef<str>],
        body: &impl Serialize,
    ) -> Result<Self, Failure> {
        Self::new(Method::PATCH, segments).with_body(body)
    }

    /// A deletion.
    pub(super) fn delete(segments: &[impl AsRef<str>]) -> Self {
        Self::new(Method::DELETE, segments)
    }

    /// The call with these query parameters.
    pub(super) fn query(mut self, query: Vec<(String, String)>) -> Self {
        self.query = query;
        self
    }

    /// The call sent once, whatever comes back.
    pub(super) fn once(mut self) -> Self {
        self.repeat = false;
        self
    }

    fn with_body(mut self, body: &impl Serialize) -> Result<Self, Failure> {
        self.body = Some(wiped_bytes(to_json(body)?));
        Ok(self)
    }

    pub(super) fn method(&self) -> &Method {
        &self.method
    }

    pub(super) fn body(&self) -> Option<&Bytes> {
        self.body.as_ref()
    }

    pub(super) fn idempotency_key(&self) -> Option<&HeaderValue> {
        self.idempotency_key.as_ref()
    }

    pub(super) fn may_repeat(&self) -> bool {
        self.repeat
    }

    /// The URL under `base`, each segment escaped. A segment that a URL would swallow is refused: `..` in
    /// the place of an id would turn the revocation of one lease into that of many.
    pub(super) fn url(&self, base: &Url) -> Result<Url, Failure> {
        if let Some(bad) = self
            .segments
            .iter()
            .find(|part| matches!(part.as_str(), "" | "." | ".."))
        {
            return Err(Failure::Usage(format!("`{bad}` is not a name or an id")));
        }
        let mut url = base.clone();
        url.path_segments_mut()
            .map_err(|()| Failure::Usage("the vault's address can hold no path".into()))?
            .pop_if_empty()
            .extend(&self.segments);
        if !self.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&self.query);
        }
        Ok(url)
    }
}

/// Bytes that are wiped when their last holder drops them. `axum` re-exports the type that reqwest sends.
pub(super) fn wiped_bytes(bytes: Zeroizing<Vec<u8>>) -> Bytes {
    Bytes::from_owner(bytes)
}

/// The body as JSON in a buffer of the right size from the start: one that grew would leave copies behind.
fn to_json(body: &impl Serialize) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let failed = |error| Failure::Local(format!("cannot write the request as JSON: {error}"));
    let mut size = Count(0);
    serde_json::to_writer(&mut size, body).map_err(failed)?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(size.0));
    serde_json::to_writer(&mut *bytes, body).map_err(failed)?;
    Ok(bytes)
}

struct Count(usize);

impl std::io::Write for Count {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn idempotency_key() -> Result<HeaderValue, Failure> {
    let mut bytes = [0; IDEMPOTENCY_BYTES];
    getrandom::fill(&mut bytes)
        .map_err(|error| Failure::Local(format!("the system gives no random bytes: {error}")))?;
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    HeaderValue::try_from(text).map_err(|error| Failure::Local(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(base: &str, segments: &[impl AsRef<str>], query: &[(&str, &str)]) -> String {
        let query = query
            .iter()
            .map(|(k, v)| ((*k).into(), (*v).into()))
            .collect();
        Call::get(segments)
            .query(query)
            .url(&Url::parse(base).unwrap())
            .unwrap()
            .into()
    }

    #[test]
    fn names_are_escaped_into_one_segment() {
        assert_eq!(
            url("http://v", &["v1", "credentials"], &[]),
            "http://v/v1/credentials"
        );
        assert_eq!(
            url("http://v/base/", &["v1", "a/b?c#d e"], &[]),
            "http://v/base/v1/a%2Fb%3Fc%23d%20e"
        );
        assert_eq!(
            url(
                "http://v",
                &["v1", "x"],
                &[("metadata.a&b", "c=d e"), ("sort", "-created_at")]
            ),
            "http://v/v1/x?metadata.a%26b=c%3Dd+e&sort=-created_at"
        );
    }

    #[test]
    fn a_segment_that_changes_the_route_is_refused() {
        let base = Url::parse("http://v").unwrap();
        for id in ["", ".", ".."] {
            let call = Call::post(&["v1", "leases", id, "revoke"], &()).unwrap();
            assert!(matches!(call.url(&base), Err(Failure::Usage(_))), "{id:?}");
        }
    }

    #[test]
    fn only_reads_and_creations_are_repeated() {
        assert!(Call::get(&["a"]).may_repeat());
        assert!(!Call::get(&["a"]).once().may_repeat());
        assert!(Call::create(&["a"], &()).unwrap().may_repeat());
        assert!(!Call::post(&["a"], &()).unwrap().may_repeat());
        assert!(!Call::patch(&["a"], &()).unwrap().may_repeat());
        assert!(!Call::delete(&["a"]).may_repeat());
    }

    #[test]
    fn every_creation_has_its_own_key() {
        let key = || {
            Call::create(&["a"], &())
                .unwrap()
                .idempotency_key()
                .unwrap()
                .clone()
        };
        let (one, two) = (key(), key());
        assert_eq!(one.len(), 2 * IDEMPOTENCY_BYTES);
        assert_ne!(one, two);
    }

    #[test]
    fn a_body_fills_its_buffer_exactly() {
        let bytes = to_json(&serde_json::json!({ "value": "a\n\u{1f600}".repeat(100) })).unwrap();
        assert_eq!(bytes.len(), bytes.capacity());
    }
}
