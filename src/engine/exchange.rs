//! Federation: an assertion of a registered issuer, or a client certificate, is exchanged for a short access token.
//! Whoever asks is nobody yet, so before a signature is proven an answer tells nothing but whether the issuer is known.

mod admit;

use std::sync::Arc;

use super::{Engine, IssuedToken, Note, issuer_keys::FetchKeys};
use crate::{
    authn::DEFAULT_WORKSPACE,
    crypto::assertion::{self, KeySet, Unproven},
    domain::{
        error::{Code, Error, Result},
        event::{Actor, Change, EventName, Object, Origin, Outcome},
        id::{IssuerId, WorkspaceId},
        issuer::{ClientCertificate, Issuer, IssuerKeys, Oidc, malformed_certificate},
        name::WorkspaceName,
        secret::SecretText,
    },
};

/// What to exchange.
pub struct Exchange {
    /// The issuer's id or name; found by the assertion's `iss` where absent.
    pub issuer: Option<String>,
    /// The assertion; where absent, the client certificate of the connection.
    pub token: Option<SecretText>,
    /// The workspace whose identity it is to stand for; `default` where absent.
    pub workspace: Option<WorkspaceName>,
}

/// What a refused exchange showed, as far as it is known.
#[derive(Debug, Default)]
struct Met {
    issuer: Option<IssuerId>,
    /// The SHA-256 of the connection's certificate, where that was to be exchanged.
    certificate: Option<String>,
}

/// Why an exchange let nobody in.
#[derive(Debug)]
pub struct NotExchanged {
    pub error: Error,
    pub told: Told,
}

/// What history is to have of an exchange that let nobody in.
#[derive(Debug)]
pub enum Told {
    /// Whoever asked proved nothing: it is one of many, which are told of together.
    Together,
    /// A record of its own: see [`Engine::record_exchange_refusal`].
    Alone(Box<ExchangeRefusal>),
    /// Nothing: the vault could not answer.
    Nothing,
}

/// A refused exchange, for its record.
#[derive(Debug)]
pub struct ExchangeRefusal {
    workspace: WorkspaceId,
    origin: Origin,
    met: Met,
}

/// What was shown, before any of it is proven to be an issuer's.
enum Shown<'a> {
    Assertion(&'a SecretText, Unproven),
    /// The issuer that was named, and the connection's certificate as DER.
    Certificate(&'a str, Option<&'a [u8]>),
}

impl Engine {
    /// The engine with a way to fetch the keys of issuers.
    #[must_use]
    pub fn fetching_keys_with(mut self, source: Arc<dyn FetchKeys>) -> Self {
        self.issuer_keys = super::issuer_keys::IssuerKeyCache::over(source);
        self
    }

    /// Exchanges an assertion, or `certificate`, which the connection's client proved, for an access token of the
    /// identity that it stands for.
    pub async fn exchange(
        &self,
        origin: Origin,
        certificate: Option<&[u8]>,
        command: Exchange,
    ) -> Result<IssuedToken, NotExchanged> {
        let mut met = Met::default();
        let mut home = WorkspaceId::SYSTEM;
        let exchanged = self.exchanged(&origin, certificate, command, (&mut home, &mut met));
        let error = match exchanged.await {
            Ok(issued) => return Ok(issued),
            Err(error) => error,
        };
        let told = if proves_nothing(error.code(), &met) {
            Told::Together
        } else if is_refusal(error.code()) {
            Told::Alone(Box::new(ExchangeRefusal {
                workspace: home,
                origin,
                met,
            }))
        } else {
            Told::Nothing
        };
        if is_refusal(error.code()) {
            metrics::counter!("leasehold_authentication_failures_total", "code" => error.code().as_str())
                .increment(1);
        }
        Err(NotExchanged { error, told })
    }

    async fn exchanged(
        &self,
        origin: &Origin,
        certificate: Option<&[u8]>,
        command: Exchange,
        (home, met): (&mut WorkspaceId, &mut Met),
    ) -> Result<IssuedToken> {
        let shown = match (&command.token, &command.issuer) {
            (Some(token), _) => {
                let unproven = assertion::read(token.expose()).ok_or_else(|| {
                    Error::invalid("token", "`token` is not a signed JWT with an `iss`")
                })?;
                Shown::Assertion(token, unproven)
            }
            (None, Some(issuer)) => Shown::Certificate(issuer, certificate),
            (None, None) => return Err(nothing_shown()),
        };
        let name = match command.workspace.clone() {
            Some(name) => name,
            None => WorkspaceName::parse(DEFAULT_WORKSPACE, "workspace")?,
        };
        let id = self.find_workspace(&name).await?;
        let id = id.ok_or_else(unknown_issuer)?;
        *home = id;
        match shown {
            Shown::Assertion(token, unproven) => {
                let issuer = command.issuer.as_deref();
                self.exchange_assertion((id, &name), origin, (issuer, token), &unproven, met)
                    .await
            }
            Shown::Certificate(issuer, certificate) => {
                self.exchange_certificate((id, &name), origin, (issuer, certificate), met)
                    .await
            }
        }
    }

    /// Records that an exchange was refused.
    pub async fn record_exchange_refusal(
        &self,
        refusal: ExchangeRefusal,
        error: &Error,
    ) -> Result<()> {
        let ExchangeRefusal {
            workspace,
            origin,
            met,
        } = refusal;
        let object = Object {
            name: met.issuer.map(|id| id.to_string()),
            ..Object::default()
        };
        let note = Note {
            reason: Some(error.message().to_owned()),
            changes: met.certificate.map(shown_certificate).into_iter().collect(),
            ..Note::new(EventName::AuthRefused, object)
        };
        let actor = Actor::vault("federation");
        let mut record = self.record(workspace, actor, Some(origin), None, self.now(), note)?;
        record.outcome = Outcome::Refused {
            code: error.code().as_str().to_owned(),
        };
        let txn = self.store.begin(&[]).await?;
        txn.commit(vec![crate::audit::log::entry(&record)?]).await
    }

    async fn exchange_assertion(
        &self,
        workspace: (WorkspaceId, &WorkspaceName),
        origin: &Origin,
        (named, token): (Option<&str>, &SecretText),
        unproven: &Unproven,
        met: &mut Met,
    ) -> Result<IssuedToken> {
        let issuer = self
            .issuer_of(workspace.0, named, Some(&unproven.iss))
            .await?;
        met.issuer = Some(issuer.id);
        let oidc = issuer.rules.oidc().ok_or_else(unknown_issuer)?;
        let algorithm = unproven.algorithm;
        let algorithm = algorithm.filter(|algorithm| oidc.algorithms.contains(algorithm));
        let algorithm = algorithm.ok_or_else(not_proven)?;
        let keys = self.keys_of(oidc, unproven.kid.as_deref()).await?;
        let claims = keys
            .prove(token.expose(), algorithm)
            .ok_or_else(not_proven)?;
        // Now that it is proven, its bearer may be told what is wrong with it.
        let accepted = issuer.accept(&claims, self.now())?;
        self.admit_federated(workspace, origin, &issuer, accepted)
            .await
    }

    /// The handshake proved the certificate before; what it says may be told of.
    async fn exchange_certificate(
        &self,
        workspace: (WorkspaceId, &WorkspaceName),
        origin: &Origin,
        (named, der): (&str, Option<&[u8]>),
        met: &mut Met,
    ) -> Result<IssuedToken> {
        let der = der.ok_or_else(no_certificate)?;
        met.certificate = Some(ClientCertificate::fingerprint(der));
        let issuer = self.issuer_of(workspace.0, Some(named), None).await?;
        met.issuer = Some(issuer.id);
        let certificate = ClientCertificate::read(der).ok_or_else(malformed_certificate)?;
        let accepted = issuer.accept_certificate(&certificate, self.now())?;
        self.admit_federated(workspace, origin, &issuer, accepted)
            .await
    }

    /// The issuer of that id or name; or else the one that an assertion names, where there is only one. Without `iss`
    /// it is one of certificates.
    async fn issuer_of(
        &self,
        workspace: WorkspaceId,
        named: Option<&str>,
        iss: Option<&str>,
    ) -> Result<Issuer> {
        let read = &mut self.read();
        let mut all = self.tables(workspace)?.issuers(read).await?;
        all.extend(self.tables(WorkspaceId::SYSTEM)?.issuers(read).await?);
        let id = named.and_then(IssuerId::parse);
        let mut found = all.into_iter().filter(|issuer| {
            let known = issuer.rules.oidc().map(|oidc| oidc.iss.as_str());
            known.is_some() == iss.is_some()
                && match (id, named) {
                    (Some(id), _) => issuer.id == id,
                    (None, Some(name)) => issuer.name.as_str() == name,
                    (None, None) => known == iss,
                }
        });
        let first = found.next().ok_or_else(unknown_issuer)?;
        // A workspace's own issuer stands before one of the organisation with its name.
        if named.is_none() && found.next().is_some() {
            let message = "several issuers are registered for this assertion; name one as `issuer`";
            return Err(Error::invalid("issuer", message));
        }
        Ok(first)
    }

    async fn keys_of(&self, oidc: &Oidc, kid: Option<&str>) -> Result<Arc<KeySet>> {
        let held = match &oidc.keys {
            IssuerKeys::Url(url) => return self.issuer_keys.keys(url, kid).await,
            IssuerKeys::Jwks(text) => KeySet::of_jwks(text.as_bytes()),
            IssuerKeys::Pem(all) => KeySet::of_pem(all),
        };
        held.map(Arc::new)
            .ok_or_else(|| Error::internal("an issuer's keys cannot be read"))
    }
}

/// What history tells of a certificate.
fn shown_certificate(fingerprint: String) -> Change {
    Change {
        field: "certificate_sha256".into(),
        before: None,
        after: Some(fingerprint.into()),
    }
}

fn nothing_shown() -> Error {
    let message = "`token` is required, or over a connection with a client certificate `issuer`";
    Error::new(Code::MissingParameter, message).with("field", "token")
}

fn no_certificate() -> Error {
    let message = "there is no `token`, and the connection has no client certificate";
    Error::new(Code::Unauthorized, message)
}

fn unknown_issuer() -> Error {
    Error::new(Code::IssuerUnknown, "no such issuer is registered")
}

fn not_proven() -> Error {
    Error::new(
        Code::SignatureInvalid,
        "the assertion's signature is not one of its issuer's",
    )
}

/// Whether anybody at all may have asked so. Who has shown a certificate has proven to have its key.
fn proves_nothing(code: Code, met: &Met) -> bool {
    match code {
        Code::InvalidRequest | Code::InvalidParameter | Code::MissingParameter => true,
        Code::IssuerUnknown | Code::SignatureInvalid => met.certificate.is_none(),
        _ => false,
    }
}

/// Whether an exchange that failed so belongs into history.
fn is_refusal(code: Code) -> bool {
    matches!(
        code,
        Code::Unauthorized
            | Code::IssuerUnknown
            | Code::SignatureInvalid
            | Code::UpstreamFailed
            | Code::AssertionExpired
            | Code::AudienceMismatch
            | Code::ClaimMismatch
            | Code::AssertionReplayed
            | Code::IdentitySuspended
            | Code::IssuerStopped
            | Code::InsufficientPermissions
    )
}
