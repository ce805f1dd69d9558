//! libp2p's Noise, straight over TCP: without its negotiation of protocols and its multiplexer.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use libp2p_core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade};
use libp2p_identity::{Keypair, PeerId};
use libp2p_noise::{Config, Output};
use tokio::net::TcpStream;
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt, TokioAsyncReadCompatExt};

use crate::conn::{Peer, Plain, Side, tcp};

/// A side that calls and one that answers, who know each other.
#[derive(Clone)]
pub struct Libp2p {
    client: Config,
    server: Config,
    client_id: PeerId,
    server_id: PeerId,
}

type Stream = Compat<Output<Compat<TcpStream>>>;

impl Libp2p {
    /// With new identities.
    pub fn new() -> Result<Self> {
        let (client, server) = (Keypair::generate_ed25519(), Keypair::generate_ed25519());
        Ok(Libp2p {
            client: Config::new(&client)?,
            server: Config::new(&server)?,
            client_id: client.public().to_peer_id(),
            server_id: server.public().to_peer_id(),
        })
    }
}

impl Peer for Libp2p {
    type Conn = Plain<Stream>;

    async fn connect(&self, address: SocketAddr) -> Result<Self::Conn> {
        let io = tcp(address).await?.compat();
        let (peer, stream) = self.client.clone().upgrade_outbound(io, PROTOCOL).await?;
        ensure!(peer == self.server_id, "the peer is not who we expect");
        Ok(Plain(stream.compat()))
    }

    async fn accept(&self, io: TcpStream) -> Result<Self::Conn> {
        let (peer, stream) = self.server.clone().upgrade_inbound(io.compat(), PROTOCOL).await?;
        ensure!(peer == self.client_id, "the peer is not who we expect");
        Ok(Plain(stream.compat()))
    }

    fn imposter(&self, side: Side) -> Result<Self> {
        let mut imposter = self.clone();
        let stranger = Config::new(&Keypair::generate_ed25519())?;
        match side {
            Side::Client => imposter.client = stranger,
            Side::Server => imposter.server = stranger,
        }
        Ok(imposter)
    }
}

const PROTOCOL: &str = "/noise";
