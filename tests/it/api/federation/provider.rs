//! An issuer of the test's own, with keys and an endpoint that publishes them.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    rand::SystemRandom,
    rsa::KeySize,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair},
};
use axum::{Router, http::StatusCode, response::IntoResponse, routing::get};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, jwk::Jwk};
use serde_json::{Value, json};

pub(in crate::api) struct SigningKey {
    kid: &'static str,
    algorithm: Algorithm,
    secret: EncodingKey,
    public: Value,
}

impl SigningKey {
    pub(in crate::api) fn new(kid: &'static str, algorithm: Algorithm) -> Self {
        let random = SystemRandom::new();
        let published = |secret: &EncodingKey| {
            let jwk = Jwk::from_encoding_key(secret, algorithm).unwrap();
            serde_json::to_value(jwk).unwrap()
        };
        let (secret, mut public) = match algorithm {
            Algorithm::EdDSA => {
                let der = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
                let pair = Ed25519KeyPair::from_pkcs8(der.as_ref()).unwrap();
                let x = URL_SAFE_NO_PAD.encode(pair.public_key());
                let public = json!({"kty": "OKP", "crv": "Ed25519", "x": x});
                (EncodingKey::from_ed_der(der.as_ref()), public)
            }
            Algorithm::ES256 => {
                let kind = &ECDSA_P256_SHA256_FIXED_SIGNING;
                let pair = EcdsaKeyPair::generate_pkcs8(kind, &random).unwrap();
                let secret = EncodingKey::from_ec_der(pair.as_ref());
                let public = published(&secret);
                (secret, public)
            }
            _ => {
                let pair = aws_lc_rs::rsa::KeyPair::generate(KeySize::Rsa2048).unwrap();
                let wrapped = AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).unwrap();
                // The PKCS #1 key lies behind a header of 26 bytes.
                let secret = EncodingKey::from_rsa_der(&wrapped.as_ref()[26..]);
                let public = published(&secret);
                (secret, public)
            }
        };
        public["kid"] = json!(kid);
        Self {
            kid,
            algorithm,
            secret,
            public,
        }
    }

    pub(in crate::api) fn public(&self) -> Value {
        self.public.clone()
    }

    pub(in crate::api) fn sign(&self, claims: &Value) -> String {
        let header = Header {
            kid: Some(self.kid.to_owned()),
            ..Header::new(self.algorithm)
        };
        encode(&header, claims, &self.secret).unwrap()
    }
}

/// An issuer with a JWKS endpoint.
pub(in crate::api) struct Provider {
    iss: String,
    answer: Arc<Mutex<(u16, String)>>,
    pub(in crate::api) asked: Arc<AtomicUsize>,
}

impl Provider {
    pub(in crate::api) async fn publishing(keys: &[&SigningKey]) -> Self {
        let answer = Arc::new(Mutex::new((200, String::new())));
        let asked = Arc::new(AtomicUsize::new(0));
        let (told, count) = (answer.clone(), asked.clone());
        let jwks = move || {
            count.fetch_add(1, Ordering::SeqCst);
            let (status, body) = told.lock().unwrap().clone();
            let status = StatusCode::from_u16(status).unwrap();
            async move { (status, [("location", "/elsewhere")], body).into_response() }
        };
        let elsewhere = || async { json!({"keys": []}).to_string() };
        let router = Router::new()
            .route("/jwks", get(jwks))
            .route("/elsewhere", get(elsewhere));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let iss = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let provider = Self { iss, answer, asked };
        provider.publish(keys);
        provider
    }

    pub(in crate::api) fn publish(&self, keys: &[&SigningKey]) {
        let mut keys: Vec<_> = keys.iter().map(|key| key.public()).collect();
        keys.push(json!({"kty": "of the future", "kid": "x"}));
        self.answers(200, &json!({"keys": keys}).to_string());
    }

    pub(in crate::api) fn answers(&self, status: u16, body: &str) {
        *self.answer.lock().unwrap() = (status, body.to_owned());
    }

    /// What is registered at the vault, some of it replaced.
    pub(in crate::api) fn issuer(&self, changes: Value) -> Value {
        let mut issuer = json!({
            "name": "ci", "iss": self.iss, "jwks_url": format!("{}/jwks", self.iss), "audiences": ["vault"],
            "conditions": {"repository": "acme/*"},
            "identity": {"name": "ci-{repository_id}", "auto_create": true},
        });
        for (name, value) in changes.as_object().unwrap() {
            issuer[name] = value.clone();
        }
        issuer
    }

    /// Claims that are accepted, some of them replaced; null takes away.
    pub(in crate::api) fn claims(&self, changes: Value) -> Value {
        let now = std::time::SystemTime::now();
        let now = now.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let mut claims = json!({
            "iss": self.iss, "sub": "repo:acme/app", "aud": "vault", "iat": now, "exp": now + 300,
            "repository": "acme/app", "repository_id": "42",
        });
        for (name, value) in changes.as_object().unwrap() {
            match value {
                Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
                value => claims[name] = value.clone(),
            }
        }
        claims
    }
}
