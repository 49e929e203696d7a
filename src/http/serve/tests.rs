//! Clients that hold a connection: each is cut off in time, whatever it does not do, and gives its place back.

use std::{future::Future, net::SocketAddr};

use axum::{body::Body, routing::get};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::*;

const SHORT: Duration = Duration::from_millis(300);
/// Longer than anything here takes, so that what hangs is a failure and not a wait.
const LONG: Duration = Duration::from_secs(20);

/// A server with so many places, for as long as the test takes.
async fn with<F: Future<Output = ()>>(max_connections: usize, test: impl FnOnce(SocketAddr) -> F) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let options = ServeOptions {
        tls: None,
        max_connections,
        patience: SHORT,
    };
    let endless = || async { Body::from_stream(futures_util::stream::repeat_with(megabyte)) };
    let router = Router::new()
        .route("/", get(|| async { "served" }))
        .route("/endless", get(endless));
    let handle = Handle::new();
    let server = tokio::spawn(serve(listener, router, options, handle.clone()));
    test(handle.listening().await.unwrap()).await;
    handle.graceful_shutdown(Some(SHORT));
    timeout(LONG, server).await.unwrap().unwrap().unwrap();
}

fn megabyte() -> io::Result<Vec<u8>> {
    Ok(vec![0; 1 << 20])
}

/// Reads until the server closes, and gives back how much it was.
async fn cut_off(stream: &mut TcpStream) -> usize {
    let mut read = Vec::new();
    // A reset is an end as well.
    let _ = timeout(LONG, stream.read_to_end(&mut read)).await.unwrap();
    read.len()
}

async fn says(address: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream
}

#[tokio::test]
async fn whoever_does_not_finish_a_head_is_cut_off() {
    with(100, async |address| {
        let http2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        for said in [
            &b""[..],
            b"P",
            &http2[..23],
            b"GET / HTTP/1.1\r\n",
            b"GET / HTTP/1.1\r\nHost: vault\r\nX-Long: ",
        ] {
            let answered = cut_off(&mut says(address, said).await).await;
            assert_eq!(answered, 0, "{said:?}");
        }
        // Idle between requests, and with an HTTP/2 client that answers no ping.
        let mut idle = says(address, b"GET / HTTP/1.1\r\nHost: vault\r\n\r\n").await;
        assert!(cut_off(&mut idle).await > 0);
        assert!(cut_off(&mut says(address, http2).await).await > 0);
    })
    .await;
}

#[tokio::test]
async fn a_byte_now_and_then_does_not_prolong_a_head() {
    with(100, async |address| {
        let mut slow = says(address, b"GET / HTTP/1.1\r\n").await;
        let trickle = async {
            while slow.write_all(b"x").await.is_ok() {
                tokio::time::sleep(SHORT / 10).await;
            }
        };
        timeout(LONG, trickle).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn whoever_takes_no_answer_gives_the_place_back() {
    with(1, async |address| {
        let full = says(address, b"GET /endless HTTP/1.1\r\nHost: vault\r\n\r\n").await;
        let mut next = says(
            address,
            b"GET / HTTP/1.1\r\nHost: vault\r\nConnection: close\r\n\r\n",
        )
        .await;
        assert!(cut_off(&mut next).await > 0, "it waited, and was served");
        drop(full);
    })
    .await;
}

#[tokio::test]
async fn connections_over_the_limit_wait_and_are_served() {
    with(2, async |address| {
        let ask = b"GET / HTTP/1.1\r\nHost: vault\r\nConnection: close\r\n\r\n";
        // Two that hold their places with half a head, and more than there are places behind them.
        let mut holders = [
            says(address, b"GET / HTTP/1.1\r\n").await,
            says(address, b"GET / HTTP/1.1\r\n").await,
        ];
        let mut waiting = Vec::new();
        for _ in 0..20 {
            waiting.push(says(address, ask).await);
        }
        for stream in &mut waiting {
            assert!(cut_off(stream).await > 0);
        }
        for holder in &mut holders {
            assert_eq!(cut_off(holder).await, 0);
        }
    })
    .await;
}

#[tokio::test]
async fn a_full_house_stops_in_time() {
    with(1, async |address| {
        let held = says(address, b"GET /endless HTTP/1.1\r\nHost: vault\r\n\r\n").await;
        let waiting = says(address, b"").await;
        // Both outlive the order to stop.
        tokio::spawn(async move {
            tokio::time::sleep(LONG).await;
            drop((held, waiting));
        });
    })
    .await;
}
