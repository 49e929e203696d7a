//! The TLS that is served: the vault's own certificate, and whose certificates its clients may show.

use std::{path::Path, sync::Arc};

use axum_server::tls_rustls::RustlsConfig;
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, pem::PemObject},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};

use super::process::Failure;
use crate::config::Tls;

/// Reads the files that the configuration names.
pub(super) async fn served(tls: &Tls) -> Result<RustlsConfig, Failure> {
    let own = RustlsConfig::from_pem_file(&tls.cert, &tls.key)
        .await
        .map_err(|error| format!("the TLS certificate and key cannot be used: {error}"))?;
    let Some(file) = &tls.client_ca else {
        return Ok(own);
    };
    let verifier = clients_of(file)
        .map_err(|error| format!("server.tls.client_ca: {}: {error}", file.display()))?;
    let own = own.get_inner();
    let mut config = ServerConfig::builder()
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(own.cert_resolver.clone());
    config.alpn_protocols.clone_from(&own.alpn_protocols);
    Ok(RustlsConfig::from_config(Arc::new(config)))
}

/// Takes clients without a certificate, and certificates that chain to one of the file's.
fn clients_of(file: &Path) -> Result<Arc<dyn ClientCertVerifier>, Failure> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file)? {
        roots.add(certificate?)?;
    }
    if roots.is_empty() {
        return Err("there is no certificate in it".into());
    }
    let verifier = WebPkiClientVerifier::builder(Arc::new(roots));
    Ok(verifier.allow_unauthenticated().build()?)
}
