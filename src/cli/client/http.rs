//! Calls to the vault over HTTP.
//!
//! Guaranteed: no proxy is used and no redirect followed, so the key goes to the address that was asked for
//! and nowhere else; a name never changes which route is called; a call is repeated only if it reads or
//! carries an idempotency key; bodies that hold secrets, both ways, are wiped when they are dropped (what
//! the HTTP and TLS layers copy into their own buffers is not).

use std::time::Duration;

use http_body_util::BodyExt;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, TE};
use url::Url;
use zeroize::{Zeroize, Zeroizing};

use super::{
    ClientOptions, DEFAULT_ADDR, KEY_VARIABLE,
    answer::Answer,
    call::{self, Call},
    events::{Event, Parser},
    failure::Failure,
};

/// How long an answer may take; the slowest are grants that wait for a durable write.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a file may take to be made and fetched; one that stops coming is given up before.
const DOWNLOAD_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);
/// How long a connection may take; longer means that nobody is there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a call that may be repeated is, after the first attempt.
const MAX_RETRIES: u32 = 3;
/// The wait before the first repetition; it doubles with each.
const FIRST_BACKOFF: Duration = Duration::from_millis(150);
/// The longest answer that is read: a full page of credentials with all the metadata they may have is 13 MiB.
const MAX_ANSWER_BYTES: usize = 32 * 1024 * 1024;

/// What is said of a file of records beside it.
#[derive(Debug, Default)]
pub(super) struct Fetched {
    /// The last record that it may hold.
    pub(super) end: Option<u64>,
    /// The last of those that the log began with and that retention removed.
    pub(super) removed: Option<u64>,
    /// How many records it holds.
    pub(super) records: Option<u64>,
}

impl Fetched {
    fn read(&mut self, headers: &HeaderMap) {
        let number = |name: &str| headers.get(name)?.to_str().ok()?.parse().ok();
        self.end = self.end.or(number("leasehold-export-end"));
        self.removed = self.removed.or(number("leasehold-export-removed"));
        self.records = self.records.or(number("leasehold-export-records"));
    }
}

/// A vault at an address, and what this process shows to be let in.
pub(super) struct Vault {
    client: reqwest::Client,
    base: Url,
    headers: HeaderMap,
    backoff: Duration,
}

fn client(base: &Url, identity: Option<reqwest::Identity>) -> Result<reqwest::Client, Failure> {
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("leasehold-cli/", env!("CARGO_PKG_VERSION")))
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(CALL_TIMEOUT);
    if base.scheme() == "http" {
        // The system's certificates are not needed, and a container may have none.
        builder = builder.tls_certs_only([]);
    }
    if let Some(identity) = identity {
        builder = builder.identity(identity);
    }
    builder
        .build()
        .map_err(|error| Failure::Local(format!("cannot prepare HTTP: {}", root_cause(&error))))
}

impl Vault {
    /// Reads the options; nothing is sent yet.
    pub(super) fn connect(
        options: &ClientOptions,
        key: Option<Zeroizing<String>>,
    ) -> Result<Self, Failure> {
        let base = base_url(&options.addr)?;
        let mut headers = HeaderMap::new();
        if let Some(key) = key.filter(|key| !key.trim().is_empty()) {
            headers.insert(AUTHORIZATION, authorization(&key)?);
        }
        if let Some(name) = options.workspace.as_deref().filter(|name| !name.is_empty()) {
            let value = HeaderValue::from_str(name)
                .map_err(|_| Failure::Usage("the workspace's name is not a name".into()))?;
            headers.insert("x-workspace", value);
        }
        let client = client(&base, None)?;
        Ok(Self {
            client,
            base,
            headers,
            backoff: FIRST_BACKOFF,
        })
    }

    /// The same vault, to which the certificate and the private key of `pem` are shown.
    pub(super) fn showing(&self, pem: &[u8]) -> Result<Self, Failure> {
        if self.base.scheme() != "https" {
            let message = "a client certificate is shown over TLS alone; use an https address";
            return Err(Failure::Usage(message.into()));
        }
        let identity = reqwest::Identity::from_pem(pem).map_err(|_| {
            let message = "the client certificate and its private key are not PEM";
            Failure::Local(message.into())
        })?;
        Ok(Self {
            client: client(&self.base, Some(identity))?,
            base: self.base.clone(),
            headers: self.headers.clone(),
            backoff: self.backoff,
        })
    }

    /// Fails where no key was given.
    pub(super) fn require_key(&self) -> Result<(), Failure> {
        if self.has_key() {
            return Ok(());
        }
        Err(Failure::Usage(format!(
            "{KEY_VARIABLE} is not set; it holds the API key (`lhk_…`) or an access token"
        )))
    }

    /// Whether calls carry a key.
    pub(super) fn has_key(&self) -> bool {
        self.headers.contains_key(AUTHORIZATION)
    }

    /// The workspace that was asked for.
    pub(super) fn workspace(&self) -> Option<&str> {
        self.headers.get("x-workspace")?.to_str().ok()
    }

    /// The vault's address.
    pub(super) fn address(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// What the user should know about this connection before it is used.
    pub(super) fn warning(&self) -> Option<String> {
        (self.has_key() && self.base.scheme() == "http" && !is_loopback(&self.base)).then(|| {
            format!(
                "warning: the API key is sent unencrypted to `{}`; use https\n",
                self.address()
            )
        })
    }

    /// Makes the call and answers what the vault granted.
    pub(super) async fn call(&self, call: Call) -> Result<Answer, Failure> {
        let answer = self.exchange(&call).await?;
        let status = answer.status();
        match answer.is_json_object() {
            true if status.is_success() => Ok(answer),
            true => Err(Failure::Refused(Box::new(answer))),
            false if status.is_success() && answer.text().is_empty() => Ok(answer),
            false => Err(Failure::Foreign(format!(
                "`{}` answered {status} and no JSON; is a vault listening there?",
                self.address()
            ))),
        }
    }

    /// Makes the call and answers whatever came back.
    pub(super) async fn exchange(&self, call: &Call) -> Result<Answer, Failure> {
        let url = call.url(&self.base)?;
        let mut retries = if call.may_repeat() { MAX_RETRIES } else { 0 };
        let mut pause = self.backoff;
        loop {
            let outcome = self.attempt(call, url.clone()).await;
            if retries == 0 || !worth_repeating(&outcome) {
                return outcome.map_err(|error| self.unreachable(&error));
            }
            retries -= 1;
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    }

    /// Makes the call once and gives out the file that it is answered with, piece by piece as it comes.
    pub(super) async fn download(
        &self,
        call: &Call,
        piece: impl FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let fetched = self.fetch(call, "application/octet-stream", piece).await;
        fetched.map(drop)
    }

    /// The same of a file of this media type; gives back what the headers and trailers say of it.
    pub(super) async fn fetch(
        &self,
        call: &Call,
        media_type: &str,
        mut piece: impl FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<Fetched, Failure> {
        let url = call.url(&self.base)?;
        let request = self.request(call, url).header(TE, "trailers");
        let broken = |error: reqwest::Error| self.unreachable(&error.into());
        let response = request
            .timeout(DOWNLOAD_TIMEOUT)
            .send()
            .await
            .map_err(broken)?;
        let is_file = response
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok()?.split(';').next())
            .is_some_and(|kind| kind == media_type);
        if !response.status().is_success() || !is_file {
            return Err(self.no_file(response, "no file").await);
        }
        let mut fetched = Fetched::default();
        fetched.read(response.headers());
        let mut body = axum::http::Response::<reqwest::Body>::from(response).into_body();
        loop {
            let next = tokio::time::timeout(CALL_TIMEOUT, body.frame()).await;
            let next = next.map_err(|_| Failure::Unreachable {
                message: format!("`{}` stopped sending", self.address()),
                hint: "try again",
            })?;
            let Some(frame) = next.transpose().map_err(broken)? else {
                return Ok(fetched);
            };
            match frame.into_data() {
                Ok(bytes) => piece(&bytes)?,
                Err(frame) => {
                    if let Ok(trailers) = frame.into_trailers() {
                        fetched.read(&trailers);
                    }
                }
            }
        }
    }

    /// Makes the call once and gives out the server-sent events that it is answered with, until `event` has enough.
    pub(super) async fn events(
        &self,
        call: &Call,
        last: Option<&str>,
        mut event: impl FnMut(Event) -> Result<bool, Failure>,
    ) -> Result<(), Failure> {
        let url = call.url(&self.base)?;
        let mut request = self.request(call, url).timeout(DOWNLOAD_TIMEOUT);
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let broken = |error: reqwest::Error| self.unreachable(&error.into());
        let mut response = request.send().await.map_err(broken)?;
        let kind = response.headers().get(CONTENT_TYPE);
        let is_stream = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        if !response.status().is_success() || !is_stream {
            return Err(self.no_file(response, "no events").await);
        }
        let mut parser = Parser::default();
        loop {
            let next = tokio::time::timeout(CALL_TIMEOUT, response.chunk()).await;
            let next = next.map_err(|_| Failure::Unreachable {
                message: format!("`{}` stopped sending", self.address()),
                hint: "try again",
            })?;
            let Some(bytes) = next.map_err(broken)? else {
                return Ok(());
            };
            for one in parser.push(&bytes)? {
                if !event(one)? {
                    return Ok(());
                }
            }
        }
    }

    /// What an answer means that is not what was asked for.
    async fn no_file(&self, response: reqwest::Response, what: &str) -> Failure {
        let answer = match read(response).await {
            Ok(answer) => answer,
            Err(trouble) => return self.unreachable(&trouble),
        };
        match answer.is_json_object() && !answer.status().is_success() {
            true => Failure::Refused(Box::new(answer)),
            false => Failure::Foreign(format!(
                "`{}` answered {} and {what}; is a vault listening there?",
                self.address(),
                answer.status()
            )),
        }
    }

    fn request(&self, call: &Call, url: Url) -> reqwest::RequestBuilder {
        let mut request = self
            .client
            .request(call.method().clone(), url)
            .headers(self.headers.clone());
        if let Some(key) = call.idempotency_key() {
            request = request.header("idempotency-key", key.clone());
        }
        if let Some(body) = call.body() {
            request = request
                .header(CONTENT_TYPE, "application/json")
                .body(body.clone());
        }
        request
    }

    async fn attempt(&self, call: &Call, url: Url) -> Result<Answer, Trouble> {
        read(self.request(call, url).send().await?).await
    }

    fn unreachable(&self, trouble: &Trouble) -> Failure {
        let address = self.address();
        match trouble {
            Trouble::TooLong => Failure::Foreign(format!(
                "`{address}` answered more than {MAX_ANSWER_BYTES} bytes; ask for less with --limit"
            )),
            Trouble::Transport(error) if error.is_connect() => Failure::Unreachable {
                message: format!(
                    "cannot connect to the vault at `{address}`: {}",
                    root_cause(error)
                ),
                hint: "set LEASEHOLD_ADDR or --addr to its address, e.g. LEASEHOLD_ADDR=https://vault.example.com",
            },
            Trouble::Transport(error) if error.is_timeout() => Failure::Unreachable {
                message: format!(
                    "the vault at `{address}` did not answer within {} s",
                    CALL_TIMEOUT.as_secs()
                ),
                hint: "the call may still have taken effect; look before you repeat it",
            },
            Trouble::Transport(error) => Failure::Unreachable {
                message: format!("the connection to `{address}` broke: {}", root_cause(error)),
                hint: "the call may still have taken effect; look before you repeat it",
            },
        }
    }
}

async fn read(mut response: reqwest::Response) -> Result<Answer, Trouble> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(
        response
            .content_length()
            .map_or(0, |length| (length as usize).min(1 << 20)),
    ));
    while let Some(chunk) = response.chunk().await? {
        if bytes.len() + chunk.len() > MAX_ANSWER_BYTES {
            return Err(Trouble::TooLong);
        }
        bytes.extend_from_slice(&chunk);
        // Ours alone by now, so the plaintext of a value can go with it.
        if let Ok(mut chunk) = chunk.try_into_mut() {
            chunk.as_mut().zeroize();
        }
    }
    Ok(Answer::new(response.status(), response.headers(), bytes))
}

enum Trouble {
    Transport(reqwest::Error),
    TooLong,
}

impl From<reqwest::Error> for Trouble {
    fn from(error: reqwest::Error) -> Self {
        Self::Transport(error)
    }
}

fn worth_repeating(outcome: &Result<Answer, Trouble>) -> bool {
    match outcome {
        Ok(answer) => matches!(answer.status().as_u16(), 502..=504),
        // Somebody who waited a minute is better told than kept waiting for three more.
        Err(Trouble::Transport(error)) => error.is_connect() || !error.is_timeout(),
        Err(Trouble::TooLong) => false,
    }
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

fn base_url(text: &str) -> Result<Url, Failure> {
    let text = if text.trim().is_empty() {
        DEFAULT_ADDR
    } else {
        text.trim()
    };
    let usage = |what: &str| Err(Failure::Usage(format!("the vault's address {what}")));
    let Ok(url) = Url::parse(text) else {
        return usage("is not a URL; write it as http://host:port or https://host");
    };
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return usage("must start with http:// or https://");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return usage("must not hold a user or password; the key belongs in LEASEHOLD_KEY");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return usage("must not hold a query or a fragment");
    }
    Ok(url)
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn authorization(key: &str) -> Result<HeaderValue, Failure> {
    // `Bearer` takes an access token as well as an API key.
    let text = Zeroizing::new(format!("Bearer {}", key.trim()).into_bytes());
    let mut value = HeaderValue::from_maybe_shared(call::wiped_bytes(text))
        .ok()
        .filter(|value| value.to_str().is_ok())
        .ok_or_else(|| {
            Failure::Usage(format!("{KEY_VARIABLE} holds characters that no key has"))
        })?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
