//! Assertions of other issuers: JWTs whose signature is proven with an issuer's public keys. What a token says
//! before that is [`Unproven`], and good for finding the issuer only.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{
    Algorithm, AlgorithmFamily, DecodingKey, Validation, decode, decode_header,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse},
};
use serde_json::Value;

use crate::domain::issuer::{Claims, SignatureAlgorithm};

/// The longest assertion, in bytes.
pub const MAX_ASSERTION_BYTES: usize = 16 * 1024;
/// The most keys of one set that are looked at.
const MAX_KEYS: usize = 64;
/// What a token says of itself before anything is proven.
pub struct Unproven {
    pub iss: String,
    pub kid: Option<String>,
    /// `None` for an algorithm that no issuer may use.
    pub algorithm: Option<SignatureAlgorithm>,
}

/// Reads what an assertion claims; `None` where it is no signed JWT.
pub fn read(text: &str) -> Option<Unproven> {
    if text.len() > MAX_ASSERTION_BYTES {
        return None;
    }
    let mut parts = text.split('.');
    let header: Value = part(parts.next()?)?;
    let claims: Value = part(parts.next()?)?;
    let (_signature, None) = (parts.next()?, parts.next()) else {
        return None;
    };
    // An algorithm that is not known at all is one that nobody may use.
    let algorithm = header.get("alg")?.as_str()?;
    let critical = header.get("crit").is_some();
    Some(Unproven {
        iss: claims.get("iss")?.as_str()?.to_owned(),
        kid: match header.get("kid") {
            None => None,
            Some(kid) => Some(kid.as_str()?.to_owned()),
        },
        algorithm: SignatureAlgorithm::parse(algorithm).filter(|_| !critical),
    })
}

fn part(text: &str) -> Option<Value> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()
}

/// A public key and what it may be used for.
struct IssuerKey {
    kid: Option<String>,
    /// The one algorithm that its set names for it.
    algorithm: Option<Algorithm>,
    curve: Option<EllipticCurve>,
    public: DecodingKey,
}

/// The public keys of an issuer.
#[derive(Default)]
pub struct KeySet(Vec<IssuerKey>);

impl KeySet {
    /// Reads a JWKS. Keys of unknown kinds are passed over, as RFC 7517 asks; `None` where it is no set at all.
    pub fn of_jwks(text: &[u8]) -> Option<Self> {
        let set: Value = serde_json::from_slice(text).ok()?;
        let keys = set.get("keys")?.as_array()?;
        let readable = keys
            .iter()
            .take(MAX_KEYS)
            .filter_map(|key| IssuerKey::of_jwk(serde_json::from_value(key.clone()).ok()?));
        Some(Self(readable.collect()))
    }

    /// Reads public keys as PEM; `None` where one is none.
    pub fn of_pem(keys: &[String]) -> Option<Self> {
        let read = |pem: &String| {
            let pem = pem.as_bytes();
            let public = DecodingKey::from_rsa_pem(pem)
                .or_else(|_| DecodingKey::from_ec_pem(pem))
                .or_else(|_| DecodingKey::from_ed_pem(pem))
                .ok()?;
            Some(IssuerKey {
                kid: None,
                algorithm: None,
                curve: None,
                public,
            })
        };
        keys.iter().map(read).collect::<Option<_>>().map(Self)
    }

    /// Whether there is no key in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of the keys is called so.
    pub fn knows(&self, kid: &str) -> bool {
        self.0.iter().any(|key| key.kid.as_deref() == Some(kid))
    }

    /// The claims of an assertion that one of the keys signed, with the algorithm that its header names. A key with
    /// an id proves what names that id; what names none is proven by any key that fits.
    pub fn prove(&self, text: &str, algorithm: SignatureAlgorithm) -> Option<Claims> {
        let header = decode_header(text).ok()?;
        let algorithm = native(algorithm);
        if header.alg != algorithm || header.crit.is_some() {
            return None;
        }
        let mut validation = Validation::new(algorithm);
        // The issuer's rules judge every claim, by the vault's own clock.
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        let fits = |key: &&IssuerKey| {
            let named = match (&key.kid, &header.kid) {
                (Some(own), Some(named)) => own == named,
                _ => true,
            };
            named && key.fits(algorithm)
        };
        // The signature is verified before any claim is read.
        self.0.iter().filter(fits).find_map(|key| {
            let proven = decode::<Claims>(text, &key.public, &validation).ok()?;
            Some(proven.claims)
        })
    }
}

impl IssuerKey {
    fn of_jwk(jwk: Jwk) -> Option<Self> {
        let common = &jwk.common;
        if !matches!(common.public_key_use, None | Some(PublicKeyUse::Signature)) {
            return None;
        }
        let curve = match &jwk.algorithm {
            AlgorithmParameters::EllipticCurve(key) => Some(key.curve.clone()),
            AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
                Some(EllipticCurve::Ed25519)
            }
            // The verifier takes 2048 to 8192 bits.
            AlgorithmParameters::RSA(_) => None,
            // Symmetric keys among them: a published secret proves nothing.
            _ => return None,
        };
        let algorithm = match common.key_algorithm {
            None => None,
            Some(named) => Some(named.to_string().parse().ok()?),
        };
        Some(Self {
            kid: common.key_id.clone(),
            algorithm,
            curve,
            public: DecodingKey::from_jwk(&jwk).ok()?,
        })
    }

    fn fits(&self, algorithm: Algorithm) -> bool {
        let curve = match &self.curve {
            None => true,
            Some(EllipticCurve::P256) => algorithm == Algorithm::ES256,
            Some(EllipticCurve::P384) => algorithm == Algorithm::ES384,
            Some(EllipticCurve::Ed25519) => algorithm == Algorithm::EdDSA,
            Some(_) => false,
        };
        curve
            && self.algorithm.is_none_or(|own| own == algorithm)
            && self.public.family() == algorithm.family()
            && self.public.family() != AlgorithmFamily::Hmac
    }
}

const fn native(algorithm: SignatureAlgorithm) -> Algorithm {
    match algorithm {
        SignatureAlgorithm::RS256 => Algorithm::RS256,
        SignatureAlgorithm::RS384 => Algorithm::RS384,
        SignatureAlgorithm::RS512 => Algorithm::RS512,
        SignatureAlgorithm::PS256 => Algorithm::PS256,
        SignatureAlgorithm::PS384 => Algorithm::PS384,
        SignatureAlgorithm::PS512 => Algorithm::PS512,
        SignatureAlgorithm::ES256 => Algorithm::ES256,
        SignatureAlgorithm::ES384 => Algorithm::ES384,
        SignatureAlgorithm::EdDSA => Algorithm::EdDSA,
    }
}
