//! A connection that is given up where its client holds it and does nothing: says nothing to begin with, which the
//! choice between HTTP/1 and HTTP/2 would wait for without end, or takes nothing of what is sent to it.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// The first bytes tell HTTP/2 from HTTP/1. With them HTTP's own time limits begin.
const OPENING_BYTES: usize = 24;

pub(super) struct Patient<S, P> {
    stream: S,
    patience: Duration,
    /// Runs until the opening is there or an answer begins.
    opening: Option<Pin<Box<Sleep>>>,
    missing: usize,
    /// Runs while the client takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
    _place: P,
}

impl<S, P> Patient<S, P> {
    pub(super) fn new(stream: S, place: P, patience: Duration) -> Self {
        Self {
            stream,
            patience,
            opening: Some(Box::pin(sleep(patience))),
            missing: OPENING_BYTES,
            stalled: None,
            _place: place,
        }
    }

    /// Passes on what a write came to, and gives up on one that has waited for too long.
    fn patiently<T>(
        &mut self,
        cx: &mut Context<'_>,
        polled: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.stalled = None;
            return polled;
        }
        let patience = self.patience;
        let stalled = self
            .stalled
            .get_or_insert_with(|| Box::pin(sleep(patience)));
        stalled.as_mut().poll(cx).map(|()| Err(too_long()))
    }
}

fn too_long() -> io::Error {
    io::ErrorKind::TimedOut.into()
}

impl<S: AsyncRead + Unpin, P: Unpin> AsyncRead for Patient<S, P> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.missing = self
            .missing
            .saturating_sub(buf.filled().len().saturating_sub(before));
        if self.missing == 0 {
            self.opening = None;
        }
        match &mut self.opening {
            Some(opening) if polled.is_pending() => {
                opening.as_mut().poll(cx).map(|()| Err(too_long()))
            }
            _ => polled,
        }
    }
}

impl<S: AsyncWrite + Unpin, P: Unpin> AsyncWrite for Patient<S, P> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.opening = None;
        let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.patiently(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.opening = None;
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.patiently(cx, polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(cx);
        self.patiently(cx, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.patiently(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
