//! Fetches the published keys of issuers: one GET over https, or over http from this machine, of a bounded size and
//! time, without redirects, proxies and credentials. Only callers of the organisation register what is on this machine.

use std::{sync::OnceLock, time::Duration};

use crate::{
    domain::error::{Code, Error, Result},
    engine::{FetchKeys, Fetched},
};

/// How long an answer may take, all of it.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The longest body.
const MAX_BYTES: usize = 256 * 1024;

/// Fetches with an HTTP client that is made when it is first needed; the process must have installed a rustls
/// provider by then.
#[derive(Default)]
pub struct HttpKeys {
    secure: OnceLock<reqwest::Client>,
    local: OnceLock<reqwest::Client>,
}

impl HttpKeys {
    fn client(&self, url: &str) -> Result<&reqwest::Client> {
        let local = url.starts_with("http:");
        let place = if local { &self.local } else { &self.secure };
        if let Some(client) = place.get() {
            return Ok(client);
        }
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("leasehold/", env!("CARGO_PKG_VERSION")))
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(TIMEOUT);
        builder = match local {
            // The system's certificates are not needed, and a container may have none.
            true => builder.tls_certs_only([]),
            false => builder.https_only(true),
        };
        let client = builder.build().map_err(unsent)?;
        Ok(place.get_or_init(|| client))
    }

    async fn get(&self, url: &str) -> Result<Vec<u8>> {
        let request = self.client(url)?.get(url).send();
        let mut response = request.await.map_err(unsent)?;
        if !response.status().is_success() {
            return Err(failed(format!("the answer was {}", response.status())));
        }
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(unsent)? {
            if body.len() + piece.len() > MAX_BYTES {
                return Err(failed(format!(
                    "the answer is longer than {MAX_BYTES} bytes"
                )));
            }
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }
}

fn failed(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    let message = "the issuer's keys could not be fetched";
    Error::new(Code::UpstreamFailed, message).caused_by(why)
}

/// Without its address: that of an issuer is nobody's business in a log.
fn unsent(error: reqwest::Error) -> Error {
    failed(error.without_url())
}

impl FetchKeys for HttpKeys {
    fn fetch<'a>(&'a self, url: &'a str) -> Fetched<'a> {
        Box::pin(self.get(url))
    }
}
