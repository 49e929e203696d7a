//! How many connections are open at a time. While there is no place, nothing is accepted: further clients wait in
//! the listener's queue, where they cost neither memory nor a file.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum_server::accept::Accept;
use tokio::{
    net::TcpStream,
    sync::{AcquireError, OwnedSemaphorePermit, Semaphore},
};
use tower_service::Service;

use super::patient::Patient;

/// The places for connections.
#[derive(Clone)]
pub(super) struct Places {
    free: Arc<Semaphore>,
    patience: Duration,
}

impl Places {
    pub(super) fn new(connections: usize, patience: Duration) -> Self {
        Self {
            free: Arc::new(Semaphore::new(connections)),
            patience,
        }
    }

    /// An acceptor whose connections give their place back when they close.
    pub(super) fn acceptor<A>(&self, inner: A) -> Placed<A> {
        Placed {
            inner,
            places: self.clone(),
        }
    }
}

/// A place that one connection takes up.
pub(super) struct Place(Arc<Semaphore>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.add_permits(1);
    }
}

type Acquiring =
    Pin<Box<dyn Future<Output = Result<OwnedSemaphorePermit, AcquireError>> + Send + Sync>>;

/// Makes the service of each connection, once there is a place for it. The server asks whether it is ready before
/// it makes one, and accepts nothing meanwhile.
pub(super) struct Gate<M> {
    inner: M,
    places: Places,
    acquiring: Option<Acquiring>,
    /// A place was taken for the connection to come.
    taken: bool,
}

impl<M> Gate<M> {
    pub(super) fn new(places: Places, inner: M) -> Self {
        Self {
            inner,
            places,
            acquiring: None,
            taken: false,
        }
    }
}

impl<M, T> Service<T> for Gate<M>
where
    M: Service<T>,
{
    type Response = M::Response;
    type Error = M::Error;
    type Future = M::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), M::Error>> {
        if !self.taken {
            let free = &self.places.free;
            let acquiring = self
                .acquiring
                .get_or_insert_with(|| Box::pin(free.clone().acquire_owned()));
            // The semaphore is never closed. `Placed` gives the permit back.
            if let Ok(permit) = ready!(acquiring.as_mut().poll(cx)) {
                permit.forget();
            }
            self.acquiring = None;
            self.taken = true;
        }
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, target: T) -> M::Future {
        self.taken = false;
        self.inner.call(target)
    }
}

/// Accepts connections into the places that [`Gate`] took for them.
#[derive(Clone)]
pub(super) struct Placed<A> {
    inner: A,
    places: Places,
}

impl<A, S> Accept<TcpStream, S> for Placed<A>
where
    A: Accept<TcpStream, S>,
    A::Future: Send + 'static,
{
    type Stream = Patient<A::Stream, Place>;
    type Service = A::Service;
    type Future = Pin<Box<dyn Future<Output = io::Result<(Self::Stream, A::Service)>> + Send>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let place = Place(self.places.free.clone());
        let patience = self.places.patience;
        let accepting = self.inner.accept(stream, service);
        Box::pin(async move {
            let (stream, service) = accepting.await?;
            Ok((Patient::new(stream, place, patience), service))
        })
    }
}
