//! The published keys of issuers: fetched by whoever the composition root hands in, kept for a while, and fetched
//! once for all who wait for them.

use std::{
    collections::HashMap,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    crypto::assertion::KeySet,
    domain::error::{Code, Error, Result},
};

/// How long fetched keys are believed.
const KEPT_FOR: Duration = Duration::from_secs(10 * 60);
/// How often keys are fetched again because an assertion names one that is not among them.
const AGAIN_AFTER: Duration = Duration::from_secs(30);
/// How long a failed fetch speaks for the next one.
const FAILED_FOR: Duration = Duration::from_secs(1);
/// The most addresses whose keys are kept; all are forgotten when there are more.
const MAX_ADDRESSES: usize = 1_000;

/// The body that an address answered.
pub type Fetched<'a> = Pin<Box<dyn Future<Output = Result<Vec<u8>>> + Send + 'a>>;

/// Fetches a JWKS from its address.
pub trait FetchKeys: Send + Sync + 'static {
    /// The body behind `url`; `UPSTREAM_FAILED` where there is none.
    fn fetch<'a>(&'a self, url: &'a str) -> Fetched<'a>;
}

/// What is known of an address.
#[derive(Default)]
struct Published {
    keys: Option<(Arc<KeySet>, Instant)>,
    /// When they were fetched again for the sake of an unknown key.
    again: Option<Instant>,
    failed: Option<Instant>,
}

#[derive(Default)]
pub(super) struct IssuerKeyCache {
    source: Option<Arc<dyn FetchKeys>>,
    /// The inner lock is held while its keys are fetched: whoever else wants them waits for that fetch.
    addresses: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Published>>>>,
}

fn within(at: Option<Instant>, time: Duration) -> bool {
    at.is_some_and(|at| at.elapsed() < time)
}

impl IssuerKeyCache {
    pub(super) fn over(source: Arc<dyn FetchKeys>) -> Self {
        Self {
            source: Some(source),
            addresses: Mutex::default(),
        }
    }

    fn place(&self, url: &str) -> Arc<tokio::sync::Mutex<Published>> {
        let mut all = self
            .addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MAX_ADDRESSES && !all.contains_key(url) {
            all.clear();
        }
        all.entry(url.to_owned()).or_default().clone()
    }

    /// The keys behind `url`, with the one called `kid` among them where the address has it.
    pub(super) async fn keys(&self, url: &str, kid: Option<&str>) -> Result<Arc<KeySet>> {
        let place = self.place(url);
        let mut published = place.lock().await;
        let mut again = false;
        if let Some((keys, at)) = &published.keys
            && at.elapsed() < KEPT_FOR
        {
            let known = kid.is_none_or(|kid| keys.knows(kid));
            if known || within(published.again, AGAIN_AFTER) {
                return Ok(keys.clone());
            }
            again = true;
        }
        if within(published.failed, FAILED_FOR) {
            return Err(unavailable());
        }
        let fetched = match &self.source {
            Some(source) => source.fetch(url).await,
            None => Err(unavailable()),
        };
        let keys = fetched.and_then(|body| {
            let keys = KeySet::of_jwks(&body).filter(|keys| !keys.is_empty());
            keys.map(Arc::new).ok_or_else(unavailable)
        });
        // Noted once it is done: whoever breaks off a fetch keeps nobody else from one.
        if again {
            published.again = Some(Instant::now());
        }
        match &keys {
            Ok(keys) => published.keys = Some((keys.clone(), Instant::now())),
            Err(_) => published.failed = Some(Instant::now()),
        }
        keys
    }
}

fn unavailable() -> Error {
    Error::new(
        Code::UpstreamFailed,
        "the issuer's keys could not be fetched",
    )
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Answers a set whose one key is called by the number of the fetch.
    struct Counting(AtomicUsize);

    impl FetchKeys for Counting {
        fn fetch<'a>(&'a self, url: &'a str) -> Fetched<'a> {
            Box::pin(async move {
                let count = self.0.fetch_add(1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                match url {
                    "down" => Err(unavailable()),
                    "empty" => Ok(b"{\"keys\":[]}".to_vec()),
                    "odd" => Ok(b"<html>".to_vec()),
                    _ => Ok(format!(
                        r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","kid":"{count}","x":"{}"}},{{"kty":"new"}}]}}"#,
                        "A".repeat(43)
                    )
                    .into_bytes()),
                }
            })
        }
    }

    fn cache() -> (Arc<Counting>, IssuerKeyCache) {
        let source = Arc::new(Counting(AtomicUsize::new(0)));
        (source.clone(), IssuerKeyCache::over(source))
    }

    #[tokio::test]
    async fn keys_are_fetched_once_for_all_who_wait_and_once_more_for_an_unknown_one() {
        let (source, cache) = cache();
        let all = (0..20).map(|_| cache.keys("up", Some("0")));
        for keys in futures_util::future::join_all(all).await {
            assert!(keys.unwrap().knows("0"));
        }
        assert_eq!(source.0.load(Ordering::SeqCst), 1);
        // An unknown key has them fetched again, and the next unknown one not so soon.
        assert!(cache.keys("up", Some("1")).await.unwrap().knows("1"));
        assert!(!cache.keys("up", Some("2")).await.unwrap().knows("2"));
        cache.keys("up", None).await.unwrap();
        assert_eq!(source.0.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn what_is_no_set_of_keys_is_a_failure_that_is_not_repeated_at_once() {
        let (source, cache) = cache();
        for url in ["down", "empty", "odd"] {
            for _ in 0..3 {
                let refused = cache.keys(url, None).await.err().unwrap();
                assert_eq!(refused.code(), Code::UpstreamFailed);
            }
        }
        assert_eq!(source.0.load(Ordering::SeqCst), 3);
    }
}
