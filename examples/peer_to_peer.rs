//! Two nodes that call each other at the same moment, and end up with one session.
//!
//! `cargo run --example peer_to_peer`

use std::error::Error;

use countersign::net::{Dialed, SimultaneousDial};
use countersign::trust::Pinned;
use countersign::{Config, Identity, Listener, PublicKey, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A peer: it listens, and it calls.
struct Node {
    name: &'static str,
    config: Config,
    dialing: SimultaneousDial,
    listener: Listener,
}

impl Node {
    async fn new(name: &'static str, own: Identity, peer: PublicKey) -> Result<Self, Box<dyn Error>> {
        let config = Config::new(own, Pinned::new([peer.into()])).context("peer-to-peer example");
        let dialing = SimultaneousDial::new();
        let listener = dialing.bind("127.0.0.1:0", config.clone()).await?;
        Ok(Node { name, config, dialing, listener })
    }

    /// The one session with the peer, whoever's call it was.
    async fn meet(&self, peer: &Node) -> Result<Stream<TcpStream>, Box<dyn Error>> {
        let call = self.config.connect(peer.listener.local_addr());
        match self.dialing.connect(call, peer.config.public_key()).await? {
            Dialed::Stream(stream) => {
                println!("{}: my call was kept: session {}", self.name, stream.session_id());
                Ok(stream)
            }
            Dialed::TheyCalled => {
                let stream = self.listener.accept().await?;
                println!("{}: they called me: session {}", self.name, stream.session_id());
                Ok(stream)
            }
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (alice, bob) = (Identity::generate()?, Identity::generate()?);
    let (alices_key, bobs_key) = (alice.public_key(), bob.public_key());
    let alice = Node::new("alice", alice, bobs_key).await?;
    let bob = Node::new("bob", bob, alices_key).await?;

    let (mut at_alice, mut at_bob) = tokio::try_join!(alice.meet(&bob), bob.meet(&alice))?;

    at_alice.write_all(b"hello, bob").await?;
    at_alice.shutdown().await?;
    let mut heard = String::new();
    at_bob.read_to_string(&mut heard).await?;
    println!("bob heard: {heard}");

    at_bob.write_all(b"hello, alice").await?;
    at_bob.shutdown().await?;
    heard.clear();
    at_alice.read_to_string(&mut heard).await?;
    println!("alice heard: {heard}");
    Ok(())
}
