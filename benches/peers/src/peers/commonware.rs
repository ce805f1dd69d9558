//! commonware-stream: SAKE handshake, CUPS records with ChaCha20-Poly1305. Its own runtime is replaced by the traits
//! that it asks for, over tokio's halves of a socket: the same buffered reads and whole writes as in its runtime for
//! tokio, without its timeouts for each call.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use anyhow::{Result, ensure};
use commonware_cryptography::ed25519::{PrivateKey, PublicKey};
use commonware_cryptography::{ChaCha20Poly1305, Signer};
use commonware_runtime::{BufMut, Clock, Error, IoBuf, IoBufMut, IoBufs, Sink as RawSink, Stream as RawStream};
use commonware_stream::cups::{self, Cups};
use commonware_stream::sake::{self, Sake};
use commonware_stream::{Receiver, Sender, Upgrader};
use getrandom::SysRng;
use rand_core::{Rng, TryCryptoRng, TryRng, UnwrapErr};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::conn::{Conn, Peer, Side, Sink, tcp};

/// A side that calls and one that answers, who know each other.
#[derive(Clone)]
pub struct Commonware {
    client: Upgrade,
    server: Upgrade,
    client_key: PublicKey,
    server_key: PublicKey,
}

type Upgrade = Cups<Sake<PrivateKey>, ChaCha20Poly1305>;

/// A connection whose peer is who we expect.
pub struct CommonwareConn {
    sender: <Upgrade as Upgrader>::Sender<Reading, Writing>,
    receiver: <Upgrade as Upgrader>::Receiver<Reading, Writing>,
}

impl Commonware {
    /// With new identities.
    pub fn new() -> Self {
        let (client, server) = (key(), key());
        Commonware {
            client_key: client.public_key(),
            server_key: server.public_key(),
            client: upgrade(client),
            server: upgrade(server),
        }
    }
}

impl Peer for Commonware {
    type Conn = CommonwareConn;

    async fn connect(&self, address: SocketAddr) -> Result<CommonwareConn> {
        let (reading, writing) = halves(tcp(address).await?);
        let peer = self.server_key.clone();
        let (sender, receiver) =
            self.client.clone().dial(Surroundings, NAMESPACE, MAX_MESSAGE, peer, reading, writing).await?;
        Ok(CommonwareConn { sender, receiver })
    }

    async fn accept(&self, io: TcpStream) -> Result<CommonwareConn> {
        let (reading, writing) = halves(io);
        let expected = self.client_key.clone();
        let bouncer = |peer: PublicKey| async move { peer == expected };
        let (peer, sender, receiver) =
            self.server.clone().listen(Surroundings, NAMESPACE, MAX_MESSAGE, bouncer, reading, writing).await?;
        ensure!(peer == self.client_key, "the peer is not who we expect");
        Ok(CommonwareConn { sender, receiver })
    }

    fn imposter(&self, side: Side) -> Result<Self> {
        let mut imposter = self.clone();
        match side {
            Side::Client => imposter.client = upgrade(key()),
            Side::Server => imposter.server = upgrade(key()),
        }
        Ok(imposter)
    }
}

impl Conn for CommonwareConn {
    /// Its own shared buffer, which it takes without copying.
    type Message = IoBuf;

    fn message(data: &[u8]) -> IoBuf {
        IoBuf::from(data.to_vec())
    }

    async fn send(&mut self, message: &IoBuf) -> Result<()> {
        Ok(Sender::send(&mut self.sender, message.clone()).await?)
    }

    async fn flush(&mut self) -> Result<()> {
        Ok(())
    }

    async fn receive(&mut self, _: &mut [u8], sink: Sink<'_>) -> Result<usize> {
        let message = Receiver::recv(&mut self.receiver).await?;
        message.for_each_chunk(|chunk| sink(chunk));
        Ok(message.len())
    }
}

/// A new one; enough for a measurement.
fn key() -> PrivateKey {
    PrivateKey::from_seed(UnwrapErr(SysRng).next_u64())
}

fn upgrade(signer: PrivateKey) -> Upgrade {
    let handshake = Sake {
        signer,
        synchrony_bound: Duration::from_secs(5),
        max_handshake_age: Duration::from_secs(10),
        version: sake::Version::V1,
    };
    Cups::new(handshake, cups::Version::V1)
}

fn halves(io: TcpStream) -> (Reading, Writing) {
    let (reading, writing) = io.into_split();
    (Reading(BufReader::with_capacity(READ_BUFFER, reading)), Writing(writing))
}

/// What it reads from.
pub struct Reading(BufReader<OwnedReadHalf>);

impl RawStream for Reading {
    async fn recv(&mut self, len: usize) -> Result<IoBufs, Error> {
        let mut buffer = IoBufMut::with_capacity(len);
        while buffer.len() < len {
            let left = len - buffer.len();
            let mut rest = (&mut buffer).limit(left);
            if self.0.read_buf(&mut rest).await.map_err(|_| Error::RecvFailed)? == 0 {
                return Err(Error::RecvFailed);
            }
        }
        Ok(buffer.freeze().into())
    }

    fn peek(&self, max_len: usize) -> &[u8] {
        let buffered = self.0.buffer();
        buffered.get(..max_len).unwrap_or(buffered)
    }
}

/// What it writes to.
pub struct Writing(OwnedWriteHalf);

impl RawSink for Writing {
    async fn send(&mut self, bufs: impl Into<IoBufs> + Send) -> Result<(), Error> {
        let sent = match bufs.into().try_into_single() {
            Ok(buf) => self.0.write_all(buf.as_ref()).await,
            Err(mut bufs) => self.0.write_all_buf(&mut bufs).await,
        };
        sent.map_err(|_| Error::SendFailed)
    }
}

/// Time and randomness.
struct Surroundings;

impl governor::clock::Clock for Surroundings {
    type Instant = SystemTime;

    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}

impl governor::clock::ReasonablyRealtime for Surroundings {}

impl Clock for Surroundings {
    fn current(&self) -> SystemTime {
        SystemTime::now()
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + 'static + use<> {
        tokio::time::sleep(duration)
    }

    fn sleep_until(&self, deadline: SystemTime) -> impl Future<Output = ()> + Send + 'static + use<> {
        tokio::time::sleep(deadline.duration_since(SystemTime::now()).unwrap_or_default())
    }
}

impl TryRng for Surroundings {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(UnwrapErr(SysRng).next_u32())
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(UnwrapErr(SysRng).next_u64())
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        UnwrapErr(SysRng).fill_bytes(out);
        Ok(())
    }
}

impl TryCryptoRng for Surroundings {}

const NAMESPACE: &[u8] = b"peers";
const MAX_MESSAGE: u32 = 1 << 20;
/// As its runtime has it by default.
const READ_BUFFER: usize = 64 << 10;
