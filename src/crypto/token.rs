//! Access tokens as text: JWTs as RFC 9068 has them, signed with Ed25519 and with nothing else.
//!
//! ```text
//! header = {"typ":"at+jwt","alg":"EdDSA","kid":…}      kid = the RFC 7638 thumbprint of the public key
//! seed   = Expand(token-sign, "leasehold/v1/token-key" ‖ number(4, BE))
//! ```
//!
//! A signature over equal claims is equal, so a token that is shown again is the same text. Time is no matter of
//! this file: whoever verifies judges `exp` by the vault's own clock.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation, decode, decode_header};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

use super::{
    kdf::Branch,
    keyring::Keyring,
    sign::{Ed25519KeyPair, KeyPair, pair},
};
use crate::domain::{
    error::{Error, Result},
    id::WorkspaceId,
    secret::SecretText,
};

/// Whom the vault's own tokens are for: itself.
pub const AUDIENCE: &str = "leasehold";
/// The longest token that is looked at, in bytes: one with every scope there is has a third of it.
pub const MAX_TOKEN_BYTES: usize = 4096;
/// What the header calls an access token.
const TYPE: &str = "at+jwt";

/// What a token says of itself. Times are seconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenClaims {
    pub iss: String,
    pub aud: String,
    pub sub: String,
    /// The workspace's name, or `*` for all of them.
    pub workspace: String,
    pub scopes: Vec<String>,
    pub iat: u64,
    pub exp: u64,
    pub jti: String,
}

/// The public half of a signing key.
pub struct TokenKey {
    /// The key's id in headers and in the published set.
    pub kid: String,
    /// The public key, in base64url.
    pub x: String,
    public: DecodingKey,
}

/// The keyed digest of a whole token, by which one that was verified is known again.
#[derive(Clone, Copy)]
pub struct TokenDigest([u8; 32]);

impl TokenDigest {
    /// The bytes that a memory of tokens is searched by; finding something there proves nothing yet.
    pub fn hint(&self) -> [u8; 16] {
        let mut hint = [0; 16];
        hint.iter_mut()
            .zip(self.0)
            .for_each(|(to, from)| *to = from);
        hint
    }

    /// Whether both are of the same token, in constant time.
    pub fn proves(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

/// The thumbprint of an Ed25519 key (RFC 7638, RFC 8037).
fn thumbprint(x: &str) -> String {
    let canonical = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
    URL_SAFE_NO_PAD.encode(Sha256::digest(canonical.as_bytes()))
}

impl Keyring {
    pub(super) fn token_pair(&self, number: u32) -> Result<Ed25519KeyPair> {
        pair(
            &self
                .tokens
                .subkey(Branch::TokenKey, &[&number.to_be_bytes()])?,
        )
    }

    /// The public half of the signing key of that number.
    pub fn token_key(&self, number: u32) -> Result<TokenKey> {
        let pair = self.token_pair(number)?;
        let public = pair.public_key().as_ref();
        let x = URL_SAFE_NO_PAD.encode(public);
        Ok(TokenKey {
            kid: thumbprint(&x),
            x,
            public: DecodingKey::from_ed_der(public),
        })
    }

    /// The token that makes these claims, signed with the key of that number.
    pub fn sign_token(&self, number: u32, claims: &TokenClaims) -> Result<SecretText> {
        let pair = self.token_pair(number)?;
        let kid = thumbprint(&URL_SAFE_NO_PAD.encode(pair.public_key().as_ref()));
        let header = Header {
            typ: Some(TYPE.to_owned()),
            kid: Some(kid),
            ..Header::new(Algorithm::EdDSA)
        };
        let mut text = String::with_capacity(MAX_TOKEN_BYTES);
        URL_SAFE_NO_PAD.encode_string(
            serde_json::to_vec(&header).map_err(Error::internal)?,
            &mut text,
        );
        text.push('.');
        URL_SAFE_NO_PAD.encode_string(
            serde_json::to_vec(claims).map_err(Error::internal)?,
            &mut text,
        );
        let signature = pair.sign(text.as_bytes());
        text.push('.');
        URL_SAFE_NO_PAD.encode_string(signature.as_ref(), &mut text);
        Ok(SecretText::new(text))
    }

    /// The digest of a token's text.
    pub fn token_digest(&self, text: &str) -> TokenDigest {
        let digest = self
            .pepper
            .digest(WorkspaceId::SYSTEM, 1, &[text.as_bytes()]);
        TokenDigest(digest)
    }
}

/// The claims of a token that one of these keys signed for `issuer`; `None` for anything else. `kid` is compared
/// with the keys' own and leads nowhere else; no algorithm but EdDSA is known, and nothing critical is understood.
pub fn verify(text: &str, keys: &[TokenKey], issuer: &str) -> Option<TokenClaims> {
    if text.len() > MAX_TOKEN_BYTES {
        return None;
    }
    let header = decode_header(text).ok()?;
    let kid = header.kid.as_deref()?;
    let key = keys.iter().find(|key| key.kid == kid)?;
    if header.typ.as_deref() != Some(TYPE) || header.crit.is_some() {
        return None;
    }
    let mut validation = Validation::new(Algorithm::EdDSA);
    // The system's clock may be anything.
    validation.validate_exp = false;
    validation.set_audience(&[AUDIENCE]);
    validation.set_issuer(&[issuer]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    let read = decode::<TokenClaims>(text, &key.public, &validation).ok()?;
    Some(read.claims)
}
