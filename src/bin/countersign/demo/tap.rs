//! Somebody on the path: forwards frames over real TCP, notes their kinds and sizes, and may alter or cut.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use countersign::limits::HEADER_LEN;
use countersign::wire::frame::FrameType;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What the man in the middle does to the first record of data that the initiator sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mischief {
    None,
    /// Changes one bit.
    Tamper,
    /// Closes the connection instead of forwarding it.
    Cut,
}

/// A frame that went by.
#[derive(Clone, Debug)]
pub struct Seen {
    pub from_initiator: bool,
    pub frame: Option<FrameType>,
    /// The frame with its header.
    pub bytes: Vec<u8>,
    pub at: Duration,
}

/// A running tap. Dropping it closes its connections.
pub struct Tap {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: JoinHandle<io::Result<()>>,
}

impl Tap {
    /// Waits for one connection and forwards it to `target`.
    pub async fn start(target: SocketAddr, mischief: Mischief) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let notes = seen.clone();
        let task = tokio::spawn(async move {
            let (near, _) = listener.accept().await?;
            let far = TcpStream::connect(target).await?;
            near.set_nodelay(true)?;
            far.set_nodelay(true)?;
            let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
            let start = Instant::now();
            let there = Forward { from_initiator: true, mischief, notes: notes.clone(), start };
            let back = Forward { from_initiator: false, mischief: Mischief::None, notes, start };
            // Whoever ends first with an error, or by cutting, takes the other with him.
            tokio::try_join!(there.run(near_read, far_write), back.run(far_read, near_write)).map(|_| ())
        });
        Ok(Tap { address, seen, task })
    }

    /// The frames that went by until now.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Forward {
    from_initiator: bool,
    mischief: Mischief,
    notes: Arc<Mutex<Vec<Seen>>>,
    start: Instant,
}

impl Forward {
    async fn run(self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) -> io::Result<()> {
        loop {
            let mut frame = vec![0; HEADER_LEN];
            if from.read_exact(&mut frame).await.is_err() {
                return to.shutdown().await;
            }
            let [code, a, b, c] = <[u8; HEADER_LEN]>::try_from(frame.as_slice()).unwrap_or_default();
            let len = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
            frame.resize(HEADER_LEN + len, 0);
            if let Some(body) = frame.get_mut(HEADER_LEN..) {
                from.read_exact(body).await?;
            }
            let kind = FrameType::from_code(code);
            let (from_initiator, at) = (self.from_initiator, self.start.elapsed());
            let seen = Seen { from_initiator, frame: kind, bytes: frame.clone(), at };
            self.notes.lock().unwrap_or_else(PoisonError::into_inner).push(seen);
            if kind == Some(FrameType::Record) {
                match self.mischief {
                    Mischief::None => {}
                    Mischief::Tamper => frame.iter_mut().skip(HEADER_LEN).take(1).for_each(|byte| *byte ^= 1),
                    Mischief::Cut => return Err(io::Error::other("cut")),
                }
            }
            to.write_all(&frame).await?;
        }
    }
}
