//! A server with TLS and a CA of clients, and the certificates that a test needs.

use std::{fs, path::PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    SanType,
};
use reqwest::{Certificate, Identity};
use serde_json::Value;

use crate::{
    api::GET,
    support::{Answer, TempDir, client},
    survival::kit::{Production, Server},
};

pub(super) struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pub(super) pem: String,
}

impl Ca {
    pub(super) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// A certificate and its key, as PEM.
    pub(super) fn sign(&self, mut params: CertificateParams) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ClientAuth,
            ExtendedKeyUsagePurpose::ServerAuth,
        ];
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    pub(super) fn client(&self, uris: &[&str]) -> (String, String) {
        self.sign(named(uris))
    }
}

pub(super) fn named(uris: &[&str]) -> CertificateParams {
    let mut params = CertificateParams::default();
    let uris = uris.iter();
    params.subject_alt_names = uris
        .map(|uri| SanType::URI((*uri).try_into().unwrap()))
        .collect();
    params
}

/// `leasehold server` with TLS and a CA of clients.
pub(super) struct Site {
    pub(super) server: Server,
    vault: Production,
    pub(super) ca: Ca,
    pub(super) folder: TempDir,
}

impl Site {
    pub(super) fn start() -> Self {
        let folder = TempDir::new();
        let ca = Ca::new("clients");
        let vault = Production::init(folder.path());
        let server = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        let (cert, key) = ca.sign(server);
        let file = |name: &str, text: &str| write(&folder, name, text);
        let (cert, key) = (file("server.crt", &cert), file("server.key", &key));
        // Another CA is in the file as well: all of them count.
        let roots = file("ca.pem", &format!("{}{}", Ca::new("other").pem, ca.pem));
        let environment = [
            ("LEASEHOLD__SERVER__TLS__CERT", cert.to_str().unwrap()),
            ("LEASEHOLD__SERVER__TLS__KEY", key.to_str().unwrap()),
            ("LEASEHOLD__SERVER__TLS__CLIENT_CA", roots.to_str().unwrap()),
        ];
        let config = vault.config.to_str().unwrap();
        let server = Server::start(&["--config", config], &environment).unwrap();
        Self {
            server,
            vault,
            ca,
            folder,
        }
    }

    /// A client that shows this certificate, or none.
    pub(super) fn client(&self, shown: Option<&(String, String)>) -> reqwest::Client {
        let _ = client();
        let root = Certificate::from_pem(self.ca.pem.as_bytes()).unwrap();
        let mut builder = reqwest::Client::builder().no_proxy().tls_certs_only([root]);
        if let Some((certificate, key)) = shown {
            let pem = format!("{certificate}{key}");
            builder = builder.identity(Identity::from_pem(pem.as_bytes()).unwrap());
        }
        builder.build().unwrap()
    }

    pub(super) async fn ask(
        &self,
        method: reqwest::Method,
        path: &str,
        key: &str,
        body: Option<Value>,
    ) -> Answer {
        let address = format!("{}{path}", self.server.address);
        let mut request = self.client(None).request(method, address).bearer_auth(key);
        if let Some(body) = body {
            request = request.json(&body);
        }
        Answer::of(request.send().await.unwrap()).await
    }

    pub(super) async fn admin(
        &self,
        method: reqwest::Method,
        path: &str,
        body: Option<Value>,
    ) -> Answer {
        self.ask(method, path, &self.vault.admin_key, body).await
    }

    pub(super) async fn exchange(&self, shown: Option<&(String, String)>, body: Value) -> Answer {
        exchange(&self.client(shown), &self.server, body, &[]).await
    }

    /// The newest record of a refused exchange.
    pub(super) async fn refusal(&self) -> Value {
        let path = "/v1/audit?event=auth.refused&limit=1";
        self.admin(GET, path, None).await.data(200)[0].clone()
    }
}

pub(super) async fn exchange(
    client: &reqwest::Client,
    server: &Server,
    body: Value,
    headers: &[(&str, &str)],
) -> Answer {
    let mut request = client
        .post(format!("{}/v1/auth/exchange", server.address))
        .json(&body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Answer::of(request.send().await.unwrap()).await
}

pub(super) fn write(folder: &TempDir, name: &str, text: &str) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, text).unwrap();
    path
}
