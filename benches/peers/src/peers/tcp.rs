//! Plain TCP: what everything else is on top of.

use std::net::SocketAddr;

use anyhow::{Result, bail};
use tokio::net::TcpStream;

use crate::conn::{Peer, Plain, Side, tcp};

/// Nobody is authenticated, and nothing is encrypted.
#[derive(Clone)]
pub struct Tcp;

impl Peer for Tcp {
    type Conn = Plain<TcpStream>;

    const AUTHENTICATES: bool = false;

    async fn connect(&self, address: SocketAddr) -> Result<Self::Conn> {
        tcp(address).await.map(Plain)
    }

    async fn accept(&self, io: TcpStream) -> Result<Self::Conn> {
        Ok(Plain(io))
    }

    fn imposter(&self, _: Side) -> Result<Self> {
        bail!("TCP knows no identities")
    }
}
