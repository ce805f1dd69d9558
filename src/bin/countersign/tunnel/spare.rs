//! Sessions that are ready before anybody needs them. Each is held by a task of its own, which keeps it alive and sees its end.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use countersign::{PublicKey, Stream};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

use crate::tunnel::book::{Book, Tunnel, Working};
use crate::tunnel::client::Caller;
use crate::tunnel::failures::Failures;

/// Keeps so many ready; they are closed when it is dropped.
pub struct Spares {
    pool: Arc<Pool>,
    caller: Arc<Caller>,
    keeper: JoinHandle<()>,
}

/// How to ask for each that is ready, the newest last.
#[derive(Debug, Default)]
struct Pool(Mutex<VecDeque<Ready>>);

/// How to ask for one, and the key that it was made with.
type Ready = (PublicKey, oneshot::Sender<Wanted>);

type Wanted = oneshot::Sender<Stream<TcpStream>>;

/// What is needed to make more of them.
pub struct Supply {
    pub caller: Arc<Caller>,
    pub service: String,
    pub tunnel: Arc<Tunnel>,
    pub book: Arc<Book>,
    pub count: u16,
    pub age: Duration,
    pub failures: Arc<Failures>,
    /// How many calls and spares have failed since one was of use.
    pub failed: AtomicU32,
}

impl Spares {
    pub fn start(supply: Supply) -> Self {
        let pool = Arc::<Pool>::default();
        let caller = supply.caller.clone();
        let keeper = tokio::spawn(supply.keep(pool.clone()));
        Spares { pool, caller, keeper }
    }

    /// One that is ready and lives, if there is one.
    pub async fn take(&self) -> Option<Stream<TcpStream>> {
        loop {
            let (key, ask) = self.pool.ready().pop_front()?;
            if key != self.caller.key() {
                // We are another one by now; it is closed.
                continue;
            }
            let (wanted, given) = oneshot::channel();
            // If it ended just now, the next is asked.
            if ask.send(wanted).is_ok()
                && let Ok(stream) = given.await
            {
                return Some(stream);
            }
        }
    }
}

impl Drop for Spares {
    fn drop(&mut self) {
        self.keeper.abort();
        self.pool.ready().clear();
    }
}

impl Pool {
    fn ready(&self) -> MutexGuard<'_, VecDeque<Ready>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Supply {
    async fn keep(self, pool: Arc<Pool>) {
        let supply = Arc::new(self);
        let places = Arc::new(Semaphore::new(supply.count.into()));
        let at_a_time = Arc::new(Semaphore::new(CALLS_AT_A_TIME));
        // Ended with this: no call is made for nobody.
        let mut calls = JoinSet::new();
        while let (Ok(place), Ok(turn)) =
            (places.clone().acquire_owned().await, at_a_time.clone().acquire_owned().await)
        {
            let left = {
                let mut ready = pool.ready();
                ready.retain(|(_, ask)| !ask.is_closed());
                ready.len()
            };
            // Whoever has taken the one before goes first: on few cores a handshake would be in his way.
            if left > 0 {
                sleep(AFTER_TAKING).await;
            }
            let (supply, pool) = (supply.clone(), pool.clone());
            calls.spawn(async move {
                supply.make(&pool, place).await;
                drop(turn);
            });
            while calls.try_join_next().is_some() {}
        }
    }

    async fn make(self: Arc<Self>, pool: &Pool, place: OwnedSemaphorePermit) {
        let (started, key) = (Instant::now(), self.caller.key());
        match self.caller.call(&self.service, false).await {
            Ok(stream) => {
                self.tunnel.shook_hands(started.elapsed());
                let (ask, asked) = oneshot::channel();
                pool.ready().push_back((key, ask));
                // A drain waits until it is closed.
                let working = self.book.work();
                tokio::spawn(hold(stream, asked, self.clone(), (place, working)));
            }
            Err(error) => {
                let call = self.caller.describe("spare", &self.service);
                self.failures.of_client(&self.tunnel, &call, &error, started.elapsed());
                self.pause().await;
            }
        }
    }

    /// The longer, the more has failed since a spare was of use.
    async fn pause(&self) {
        // So many are made at a time, and fail together.
        let failed = (self.failed.fetch_add(1, Ordering::Relaxed) / 4).min(16);
        sleep((FIRST_PAUSE * 2_u32.pow(failed)).min(LAST_PAUSE)).await;
    }
}

/// Holds a session until it is asked for, ends, or is too old.
async fn hold(
    mut stream: Stream<TcpStream>,
    asked: oneshot::Receiver<Wanted>,
    supply: Arc<Supply>,
    (place, working): (OwnedSemaphorePermit, Working),
) {
    supply.tunnel.spare.fetch_add(1, Ordering::Relaxed);
    let mut asked = asked;
    let (wanted, broke) = tokio::select! {
        wanted = &mut asked => (wanted.ok(), None),
        why = ended(&mut stream) => (None, Some(why)),
        () = sleep(supply.age) => (None, None),
    };
    drop(asked);
    supply.tunnel.spare.fetch_sub(1, Ordering::Relaxed);
    if let Some(why) = broke {
        // A service that ends them at once, or is down, must not be called in a circle.
        let why = format!("a spare session has ended before anybody needed it: {why}");
        supply.failures.of_plain(&supply.tunnel, "spare", "spare", why);
        drop((stream, working));
        return supply.pause().await;
    }
    supply.failed.store(0, Ordering::Relaxed);
    drop(place);
    match wanted {
        // Ended just now: whoever asked asks the next one.
        Some(_) if is_closed(&stream).await => {}
        // Who asked may have gone: then it is closed as well.
        Some(wanted) => {
            if let Err(stream) = wanted.send(stream) {
                Box::pin(close(stream)).await;
            }
        }
        None => Box::pin(close(stream)).await,
    }
    drop(working);
}

/// Returns when the session has ended, and why. What the service says first stays in it.
async fn ended(stream: &mut Stream<TcpStream>) -> String {
    match stream.fill_buf().await {
        Ok([]) => "the service ended it".to_string(),
        Err(error) => error.to_string(),
        Ok(_) => {
            // With that before it nothing more is read: whether it ends shows at the socket.
            while !is_closed(stream).await {
                if let Ok(Err(error)) = timeout(LOOK, stream.keep_alive()).await {
                    return error.to_string();
                }
            }
            "the other side ended it".to_string()
        }
    }
}

/// Whether the other side has closed the connection, whatever is still to be read.
async fn is_closed(stream: &Stream<TcpStream>) -> bool {
    let ready = timeout(Duration::ZERO, stream.get_ref().ready(Interest::READABLE)).await;
    ready.is_ok_and(|ready| ready.is_ok_and(|ready| ready.is_read_closed()))
}

/// To the service it is a connection that ends without having been used.
async fn close(mut stream: Stream<TcpStream>) {
    let _ = timeout(CLOSE, async {
        stream.shutdown().await?;
        let mut scratch = [0; 1_024];
        while stream.read(&mut scratch).await? > 0 {}
        std::io::Result::Ok(())
    })
    .await;
}

/// How long the keeper waits before it makes another one, while there are some.
const AFTER_TAKING: Duration = Duration::from_millis(10);
/// A network that is far away must not make them scarce.
const CALLS_AT_A_TIME: usize = 4;
/// How long the keeper waits after a call that failed.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(10);
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// How long a session gets to end that nobody used.
const CLOSE: Duration = Duration::from_secs(2);
