//! Calls the echo server and says hello.
//!
//! `cargo run --example echo_client -- alice.key bob.key.pub 127.0.0.1:7000`

use countersign::trust::Pinned;
use countersign::{Config, Identity, PublicKey};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().collect();
    let [_, key, peer, address] = args.as_slice() else {
        return Err("usage: echo_client KEY PEER.pub ADDRESS".into());
    };
    let peer: PublicKey = std::fs::read_to_string(peer)?.parse()?;
    let config = Config::new(Identity::from_file(key)?, Pinned::new([peer.into()])).context("echo example");

    // Returns when the peer has proved who it is, and has said that it accepts us.
    let mut stream = config.connect(address.clone()).peer(peer).await?;
    println!("session {} with {}", stream.session_id(), stream.peer());
    stream.write_all(b"hello").await?;
    stream.shutdown().await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    println!("{answer}");
    Ok(())
}
