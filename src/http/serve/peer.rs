//! The certificate that a client proved over TLS. It comes from the connection itself and from nowhere else: no header
//! says it, and a proxy cannot pass it on.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::http::Request;
use axum_server::{
    accept::{Accept, NoDelayAcceptor},
    tls_rustls::RustlsAcceptor,
};
use tokio::net::TcpStream;
use tower_service::Service;

/// The certificate of the connection that a request came over, as DER. The handshake proved that it chains to a CA of
/// the configuration and that the client has its key.
#[derive(Clone)]
pub(in crate::http) struct PeerCertificate(Arc<[u8]>);

impl PeerCertificate {
    pub(in crate::http) fn der(&self) -> &[u8] {
        &self.0
    }
}

type Tls = RustlsAcceptor<NoDelayAcceptor>;

/// Accepts TLS, and tells each request of the connection which certificate its client proved.
#[derive(Clone)]
pub(super) struct Knowing(pub(super) Tls);

impl<S: Send + 'static> Accept<TcpStream, S> for Knowing {
    type Stream = <Tls as Accept<TcpStream, S>>::Stream;
    type Service = Told<S>;
    type Future = Pin<Box<dyn Future<Output = io::Result<(Self::Stream, Told<S>)>> + Send>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let accepting = self.0.accept(stream, service);
        Box::pin(async move {
            let (stream, inner) = accepting.await?;
            let (_, connection) = stream.get_ref();
            let leaf = connection.peer_certificates().and_then(<[_]>::first);
            let certificate = leaf.map(|leaf| PeerCertificate(Arc::from(leaf.as_ref())));
            Ok((stream, Told { inner, certificate }))
        })
    }
}

/// The service of one connection.
#[derive(Clone)]
pub(super) struct Told<S> {
    inner: S,
    certificate: Option<PeerCertificate>,
}

impl<S, B> Service<Request<B>> for Told<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        if let Some(certificate) = &self.certificate {
            request.extensions_mut().insert(certificate.clone());
        }
        self.inner.call(request)
    }
}
