//! Listening: plain on loopback, TLS elsewhere; bounded connections, slow clients cut off, and a drain that
//! ends.

mod gate;
mod patient;
mod peer;

use std::{
    io,
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use axum::{Router, extract::ConnectInfo, http::Request, middleware::AddExtension};
use axum_server::{
    Handle,
    accept::{Accept, NoDelayAcceptor},
    service::SendService,
    tls_rustls::{RustlsAcceptor, RustlsConfig},
};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

pub(super) use self::peer::PeerCertificate;
use self::{
    gate::{Gate, Places},
    peer::Knowing,
};

/// How long a client may take to send a request's head, or take nothing of an answer; an idle connection is
/// closed after it as well.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// The largest request head, in bytes.
const MAX_HEAD_BYTES: usize = 32 * 1024;
/// The most headers in a request.
const MAX_HEADERS: usize = 64;
/// Concurrent HTTP/2 streams of one connection.
const MAX_STREAMS: u32 = 128;

/// How to listen.
pub struct ServeOptions {
    pub tls: Option<RustlsConfig>,
    /// Connections open at a time; further ones wait to be accepted.
    pub max_connections: usize,
    /// How long a client may keep the server waiting; [`PATIENCE`] outside tests.
    pub patience: Duration,
}

/// Serves until `handle` says to stop and every open request is done, or the drain's deadline is over.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    options: ServeOptions,
    handle: Handle<SocketAddr>,
) -> io::Result<()> {
    let places = Places::new(options.max_connections, options.patience);
    let service = Gate::new(
        places.clone(),
        router.into_make_service_with_connect_info::<SocketAddr>(),
    );
    let plain = NoDelayAcceptor::new();
    let mut server = axum_server::from_tcp(listener)?.handle(handle);
    configure(server.http_builder(), options.patience);
    match options.tls {
        None => run(server.acceptor(places.acceptor(plain)), service).await,
        Some(tls) => {
            let tls = Knowing(RustlsAcceptor::new(tls).acceptor(plain));
            run(server.acceptor(places.acceptor(tls)), service).await
        }
    }
}

type Service = AddExtension<Router, ConnectInfo<SocketAddr>>;

async fn run<A>(
    server: axum_server::Server<SocketAddr, A>,
    service: Gate<axum::extract::connect_info::IntoMakeServiceWithConnectInfo<Router, SocketAddr>>,
) -> io::Result<()>
where
    A: Accept<TcpStream, Service> + Clone + Send + Sync + 'static,
    A::Service: SendService<Request<Incoming>> + Send,
    A::Stream: AsyncRead + AsyncWrite + Unpin + Send,
    A::Future: Send,
{
    server.serve(service).await
}

fn configure(
    builder: &mut hyper_util::server::conn::auto::Builder<TokioExecutor>,
    patience: Duration,
) {
    builder
        .http1()
        .timer(TokioTimer::new())
        // A client that closes its side once it has asked still gets its answer.
        .half_close(true)
        // Answers are short: one buffer costs the kernel less than head and body in two.
        .writev(false)
        .header_read_timeout(patience)
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEAD_BYTES as u32)
        .keep_alive_interval(patience)
        .keep_alive_timeout(patience);
}

#[cfg(test)]
mod tests;
