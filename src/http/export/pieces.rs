//! An answer that is made while it is read: a few pieces ahead of its reader and no more, whatever its length.

use std::{io, time::Duration};

use axum::{
    body::{Body, Bytes},
    http::HeaderMap,
};
use http_body_util::StreamBody;
use hyper::body::Frame;
use tokio::sync::mpsc;

use crate::domain::error::{Error, Result};

/// Bytes that are sent at a time, about.
const PIECE_BYTES: usize = 64 * 1024;
/// Pieces that wait for the reader.
const PIECES_AHEAD: usize = 2;
/// How long a reader may take nothing before it is cut off.
const STALLED_AFTER: Duration = Duration::from_secs(60);

/// Where the bytes come from.
pub(super) trait Source: Send + 'static {
    /// Appends some more; false at the end.
    fn fill(&mut self, out: &mut Vec<u8>) -> impl Future<Output = Result<bool>> + Send;
    /// What is said behind the last byte.
    fn trailers(&self) -> HeaderMap;
    /// Told once: whether the reader was given all of it.
    fn done(self, whole: bool) -> impl Future<Output = ()> + Send;
}

/// Who may have them.
pub(super) trait Reader: Send + Sync + 'static {
    /// Whether the next piece may go out.
    fn may_go_on(&self) -> impl Future<Output = Result<()>> + Send;
}

enum Piece {
    Bytes(Bytes),
    End(HeaderMap),
}

/// The answer, whose reader is asked for before each piece. One that is not whole ends in an error, which cuts the
/// transfer: it never looks as if it were complete.
pub(super) fn streamed(source: impl Source, reader: impl Reader) -> Body {
    let (pieces, ready) = mpsc::channel(PIECES_AHEAD);
    tokio::spawn(produce(source, pieces));
    let frames = futures_util::stream::unfold(Some((ready, reader)), async |state| {
        let (mut ready, reader) = state?;
        match ready.recv().await {
            Some(Piece::Bytes(bytes)) => match reader.may_go_on().await {
                Ok(()) => Some((Ok(Frame::data(bytes)), Some((ready, reader)))),
                Err(error) => {
                    tracing::warn!(%error, "an export broke off: its caller is let in no more");
                    Some((Err(error), None))
                }
            },
            Some(Piece::End(trailers)) => Some((Ok(Frame::trailers(trailers)), None)),
            None => {
                let broken = io::Error::from(io::ErrorKind::UnexpectedEof);
                Some((Err(Error::internal(broken)), None))
            }
        }
    });
    Body::new(StreamBody::new(Box::pin(frames)))
}

async fn produce(mut source: impl Source, pieces: mpsc::Sender<Piece>) {
    let sent = send_all(&mut source, &pieces).await;
    if let Err(error) = &sent {
        let cause = std::error::Error::source(error).map(ToString::to_string);
        tracing::error!(%error, cause, "an export broke off");
    }
    let whole = sent.unwrap_or(false);
    let trailers = source.trailers();
    // Recorded before its reader sees the end of it.
    source.done(whole).await;
    if whole {
        let _ = pieces.send(Piece::End(trailers)).await;
    }
}

/// Whether the reader took all of it.
async fn send_all(source: &mut impl Source, pieces: &mpsc::Sender<Piece>) -> Result<bool> {
    let mut out = Vec::with_capacity(PIECE_BYTES);
    loop {
        let more = tokio::select! {
            more = source.fill(&mut out) => more?,
            () = pieces.closed() => return Ok(false),
        };
        if out.len() < PIECE_BYTES && more {
            continue;
        }
        let filled = std::mem::replace(&mut out, Vec::with_capacity(PIECE_BYTES));
        let sent = pieces.send(Piece::Bytes(filled.into()));
        if !matches!(tokio::time::timeout(STALLED_AFTER, sent).await, Ok(Ok(()))) {
            return Ok(false);
        }
        if !more {
            return Ok(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    };

    use http_body_util::BodyExt;

    use super::*;

    /// Gives a piece's bytes at a time, so many times, and then fails or ends.
    struct Counted {
        left: usize,
        fails: bool,
        filled: Arc<AtomicUsize>,
        done: Option<tokio::sync::oneshot::Sender<bool>>,
    }

    impl Source for Counted {
        async fn fill(&mut self, out: &mut Vec<u8>) -> Result<bool> {
            self.filled.fetch_add(1, SeqCst);
            self.left -= 1;
            out.extend_from_slice(&[b'x'; PIECE_BYTES]);
            if self.left == 0 && self.fails {
                return Err(Error::internal("damaged"));
            }
            Ok(self.left > 0)
        }

        fn trailers(&self) -> HeaderMap {
            HeaderMap::from_iter([(super::super::RECORDS, 7.into())])
        }

        async fn done(mut self, whole: bool) {
            let _ = self.done.take().unwrap().send(whole);
        }
    }

    /// May have so many pieces.
    struct Few(AtomicUsize);

    impl Reader for Few {
        async fn may_go_on(&self) -> Result<()> {
            let left = self
                .0
                .fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1));
            left.map(drop).map_err(|_| Error::internal("stopped"))
        }
    }

    type Begun = (Body, Arc<AtomicUsize>, tokio::sync::oneshot::Receiver<bool>);

    fn begun(left: usize, fails: bool) -> Begun {
        begun_for(Few(AtomicUsize::new(usize::MAX)), left, fails)
    }

    fn begun_for(reader: Few, left: usize, fails: bool) -> Begun {
        let filled = Arc::new(AtomicUsize::new(0));
        let (done, told) = tokio::sync::oneshot::channel();
        let source = Counted {
            left,
            fails,
            filled: filled.clone(),
            done: Some(done),
        };
        (streamed(source, reader), filled, told)
    }

    #[tokio::test]
    async fn no_more_is_made_than_a_slow_reader_leaves_room_for() {
        let (mut body, filled, told) = begun(1000, false);
        for taken in 0..20 {
            // Every task has its turns until nothing goes on any more.
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            // Those that wait, and the one that waits for its place.
            assert_eq!(filled.load(SeqCst), taken + PIECES_AHEAD + 1);
            let piece = body.frame().await.unwrap().unwrap().into_data().unwrap();
            assert!(piece.len() <= 2 * PIECE_BYTES);
        }
        drop(body);
        assert!(!told.await.unwrap(), "its reader went away");
        assert!(filled.load(SeqCst) < 30);
    }

    #[tokio::test]
    async fn an_answer_ends_in_its_trailers_or_in_an_error() {
        let (body, _, told) = begun(5, false);
        let whole = body.collect().await.unwrap();
        assert_eq!(whole.trailers().unwrap()[super::super::RECORDS], "7");
        assert_eq!(whole.to_bytes().len(), 5 * PIECE_BYTES);
        assert!(told.await.unwrap());
        let (body, _, told) = begun(5, true);
        assert!(body.collect().await.is_err());
        assert!(!told.await.unwrap());
    }

    // INVARIANT (stop-is-complete)
    #[tokio::test]
    async fn whoever_is_stopped_gets_no_further_piece_and_sees_that() {
        let reader = Few(AtomicUsize::new(3));
        let (mut body, filled, told) = begun_for(reader, 1000, false);
        for _ in 0..3 {
            assert!(body.frame().await.unwrap().unwrap().is_data());
        }
        assert!(body.frame().await.unwrap().is_err());
        drop(body);
        assert!(!told.await.unwrap(), "it was not whole");
        assert!(filled.load(SeqCst) < 10);
    }
}
