//! Countersign, by its public API, with the backend that this program was built with.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use countersign::crypto::suite::Suite;
use countersign::trust::Pinned;
use countersign::{Config, Identity, Listener, PublicKey, Stream};
use tokio::net::{TcpListener, TcpStream};

use crate::conn::{Lent, Peer, Side, are_steady, complain, tcp};
use crate::id::{Agreement, Cipher, Id, Variant};

/// A side that calls and one that answers, who know each other.
#[derive(Clone)]
pub struct Countersign {
    client: Config,
    server: Config,
    server_key: PublicKey,
    settings: Settings,
}

#[derive(Clone, Copy)]
struct Settings {
    suite: Suite,
    variant: Variant,
}

impl Countersign {
    /// As the id says.
    pub fn new(id: &Id) -> Result<Self> {
        let suite = match (id.agreement, id.cipher) {
            (Agreement::X25519, Cipher::ChaCha20) => Suite::X25519ChaCha20Poly1305Sha256,
            (Agreement::X25519, Cipher::Aes256) => Suite::X25519Aes256GcmSha256,
            (Agreement::Hybrid, Cipher::ChaCha20) => Suite::X25519MlKem768ChaCha20Poly1305Sha256,
            (Agreement::Hybrid, Cipher::Aes256) => Suite::X25519MlKem768Aes256GcmSha256,
            (_, Cipher::Aes128) => anyhow::bail!("Countersign has no AES-128"),
        };
        let (client, server) = (Identity::generate()?, Identity::generate()?);
        let (client_key, server_key) = (client.public_key(), server.public_key());
        let settings = Settings { suite, variant: id.variant };
        Ok(Countersign {
            client: settings.config(client, server_key),
            server: settings.config(server, client_key),
            server_key,
            settings,
        })
    }
}

impl Settings {
    fn config(self, identity: Identity, peer: PublicKey) -> Config {
        let config =
            Config::new(identity, Pinned::new([peer.into()])).suites([self.suite]).max_handshakes_per_address(1_024);
        match self.variant {
            Variant::Timers => config.keep_alive(KEEP_ALIVE).idle_timeout(IDLE_TIMEOUT),
            Variant::Unpadded => config.auth_padding(0),
            Variant::Buffered => config.write_buffer(WRITE_BUFFER),
            _ => config,
        }
    }

    fn check(self, stream: Stream<TcpStream>) -> Result<Lent<Stream<TcpStream>>> {
        ensure!(stream.info().suite == self.suite, "another suite: {}", stream.info().suite);
        Ok(Lent(stream))
    }
}

impl Peer for Countersign {
    type Conn = Lent<Stream<TcpStream>>;

    async fn connect(&self, address: SocketAddr) -> Result<Self::Conn> {
        if are_steady() {
            // The socket has to be set before it is connected.
            let call = self.client.connect_over(tcp(address).await?).peer(self.server_key);
            let call = if self.settings.variant == Variant::Eager { call.eager() } else { call };
            return self.settings.check(call.await?);
        }
        let call = self.client.connect(address).peer(self.server_key);
        let call = if self.settings.variant == Variant::Eager { call.eager() } else { call };
        self.settings.check(call.await?)
    }

    async fn accept(&self, io: TcpStream) -> Result<Self::Conn> {
        self.settings.check(self.server.accept_over(io, None).await?)
    }

    fn imposter(&self, side: Side) -> Result<Self> {
        let mut imposter = self.clone();
        let stranger = Identity::generate()?;
        match side {
            Side::Client => imposter.client = self.settings.config(stranger, self.server_key),
            Side::Server => imposter.server = self.settings.config(stranger, self.client.public_key()),
        }
        Ok(imposter)
    }

    /// The listener of the library instead of a loop of ours.
    async fn serve<F, Fut>(self, listener: TcpListener, each: F) -> Result<()>
    where
        F: Fn(Self::Conn) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<()>> + Send + 'static,
    {
        let listener = Listener::from_tcp(listener, self.server.clone(), |failure| {
            complain(Err(anyhow::Error::msg(failure.error.to_string())));
        })?;
        loop {
            let stream = listener.accept().await.context("can't accept")?;
            let conn = self.settings.check(stream)?;
            let each = each.clone();
            tokio::spawn(async move { complain(each(conn).await) });
        }
    }
}

/// Once in each window of the idle measure.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// As much as tokio's `BufWriter` gets elsewhere.
const WRITE_BUFFER: usize = 64 << 10;
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);
