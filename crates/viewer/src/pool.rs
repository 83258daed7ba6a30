//! Work that blocks: a bounded number of jobs at once, a bounded number of bytes, and none for clients that
//! have gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{Error, Result};

/// Bytes that one permit of [`Pool::room`] stands for.
const UNIT: usize = 64 << 10;
/// How long a request waits for its turn.
const PATIENCE: Duration = Duration::from_secs(20);
/// Requests that may wait at once.
const QUEUE: usize = 512;

/// The threads and the memory for answers.
#[derive(Debug)]
pub(crate) struct Pool {
    jobs: Arc<Semaphore>,
    room: Arc<Semaphore>,
    queue: Arc<Semaphore>,
    given_up: AtomicU64,
    done: AtomicU64,
}

/// Tells a job that nobody waits for it any more. Looked at between chunks.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// An error once the client has gone.
    pub(crate) fn check(&self) -> Result<()> {
        if self.0.load(Ordering::Relaxed) { Err(Error::GivenUp) } else { Ok(()) }
    }
}

/// Sets the flag when the request's future is dropped, which is what axum does when a client goes.
struct OnDrop(Stop);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

impl Pool {
    pub(crate) fn new(jobs: usize, bytes: usize) -> Self {
        Self {
            jobs: Arc::new(Semaphore::new(jobs.max(1))),
            room: Arc::new(Semaphore::new((bytes / UNIT).max(1))),
            queue: Arc::new(Semaphore::new(QUEUE)),
            given_up: AtomicU64::new(0),
            done: AtomicU64::new(0),
        }
    }

    /// Jobs that ended early because their client had gone, and those that ended.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.given_up.load(Ordering::Relaxed), self.done.load(Ordering::Relaxed))
    }

    /// Does `job` on a thread that may block, once there is one and room for an answer of `bytes`. What comes
    /// back keeps its room until it has been sent.
    pub(crate) async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        bytes: usize,
        job: impl FnOnce(&Stop) -> Result<T> + Send + 'static,
    ) -> Result<(T, OwnedSemaphorePermit)> {
        let _waiting = self.queue.try_acquire().map_err(|_| Error::Busy)?;
        let units = bytes.div_ceil(UNIT).max(1) as u32;
        let wait = async {
            let room = self.room.clone().acquire_many_owned(units).await;
            (room, self.jobs.clone().acquire_owned().await)
        };
        let (Ok(room), Ok(turn)) = tokio::time::timeout(PATIENCE, wait).await.map_err(|_| Error::Busy)?
        else {
            return Err(Error::Busy);
        };
        let stop = Stop::default();
        let guard = OnDrop(stop.clone());
        let pool = self.clone();
        let task = tokio::task::spawn_blocking(move || {
            // Both end with the job, not with the request: a job that goes on for a while still counts.
            let _turn = turn;
            let result = stop.check().and_then(|()| job(&stop));
            let counter = if matches!(result, Err(Error::GivenUp)) { &pool.given_up } else { &pool.done };
            counter.fetch_add(1, Ordering::Relaxed);
            result.map(|value| (value, room))
        });
        let result = task.await.unwrap_or(Err(Error::Busy));
        drop(guard);
        result
    }
}

/// Memory that is sent without a copy, with the permit for its room.
struct Held<T> {
    data: Vec<T>,
    _room: OwnedSemaphorePermit,
}

impl<T: bytemuck::Pod> AsRef<[u8]> for Held<T> {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.data)
    }
}

/// The bytes of `data`, little-endian as in memory; the room is given back when they have been sent.
pub(crate) fn bytes_of<T: bytemuck::Pod + Send>(data: Vec<T>, room: OwnedSemaphorePermit) -> Bytes {
    Bytes::from_owner(Held { data, _room: room })
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use std::io::Write;

    /// A job that ends only when it is told to, or after ten seconds.
    fn endless(stop: &Stop) -> Result<()> {
        for _ in 0..10_000 {
            stop.check()?;
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn work_for_a_client_that_has_gone_ends() {
        let pool = Arc::new(Pool::new(1, 1 << 20));
        let shared = pool.clone();
        let app = axum::Router::new().route(
            "/",
            get(move || async move {
                let answer = shared.run(1, endless).await;
                answer.map(|_| "done")
            }),
        );
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move { axum::serve(listener, app).await });
        let mut client = std::net::TcpStream::connect(address).unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
        while pool.jobs.available_permits() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        drop(client);
        while pool.jobs.available_permits() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(pool.counts(), (1, 0));
        server.abort();
    }

    #[tokio::test]
    async fn answers_keep_their_room_until_they_are_sent() {
        let pool = Arc::new(Pool::new(4, 4 * UNIT));
        let (data, room) = pool.run(3 * UNIT, |_| Ok(vec![1u8; 10])).await.unwrap();
        let answer = bytes_of(data, room);
        assert_eq!(pool.room.available_permits(), 1);
        let copy = answer.slice(2..3);
        drop(answer);
        assert_eq!(pool.room.available_permits(), 1);
        drop(copy);
        assert_eq!(pool.room.available_permits(), 4);
    }
}
