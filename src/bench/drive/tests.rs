//! Against servers that stall or refuse.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;

/// How long the server stands still, once.
const STALL: Duration = Duration::from_millis(400);

/// Answers every request with `status`; the one numbered `stalled` only after the stall.
async fn server(status: u16, stalled: usize) -> Peer {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = Peer {
        address: listener.local_addr().unwrap().to_string(),
        workspace: None,
    };
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = [0; 1024];
        for n in 0.. {
            if !matches!(stream.read(&mut buffer).await, Ok(1..)) {
                return;
            }
            if n == stalled {
                tokio::time::sleep(STALL).await;
            }
            let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 2\r\n\r\n{{}}");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    peer
}

async fn client(peer: &Peer) -> Vec<Client> {
    let requests = Arc::new(vec![peer.get("/", "")]);
    connect(peer, vec![Source::round(requests, 0, 200)])
        .await
        .unwrap()
}

#[tokio::test]
async fn a_stall_counts_for_every_request_that_was_due_meanwhile() {
    let peer = server(200, 20).await;
    let second = Duration::from_secs(1);
    let (_, run) = at_rate(client(&peer).await, 100.0, Duration::ZERO, second)
        .await
        .unwrap();
    // Every arrival is answered in the end: the schedule was fixed beforehand.
    assert_eq!((run.tally.latencies.count(), run.tally.errors()), (100, 0));
    // Forty of the hundred were due during the stall. A closed loop would have sent and counted one.
    assert!(run.tally.latencies.micros(0.99) >= 380e3);
    assert!(run.tally.latencies.micros(0.80) >= 180e3);
}

#[tokio::test]
async fn what_is_due_while_warming_up_is_not_counted() {
    let peer = server(200, 0).await;
    let half = Duration::from_millis(500);
    let (_, run) = at_rate(client(&peer).await, 100.0, half, half)
        .await
        .unwrap();
    assert_eq!(run.tally.latencies.count(), 50);
}

#[tokio::test]
async fn refusals_are_counted_by_status_and_fail_the_check() {
    let peer = server(503, usize::MAX).await;
    let (_, run) = closed_loop(client(&peer).await, Duration::from_millis(20))
        .await
        .unwrap();
    assert!(run.tally.errors() > 0);
    assert_eq!(run.tally.latencies.count(), 0);
    let error = run.tally.check("redeem").unwrap_err().to_string();
    assert!(
        error.starts_with("redeem: ") && error.contains("with status 503"),
        "{error}"
    );
}

#[tokio::test]
async fn a_server_that_goes_away_is_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = Peer {
        address: listener.local_addr().unwrap().to_string(),
        workspace: None,
    };
    let clients = client(&peer).await;
    drop(listener.accept().await.unwrap());
    drop(listener);
    assert!(closed_loop(clients, Duration::from_secs(5)).await.is_err());
    let nobody = connect(&peer, vec![Source::round(Arc::new(vec![]), 0, 200)]).await;
    assert!(nobody.is_err());
}
