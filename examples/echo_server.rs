//! Sends everything back to whoever is trusted.
//!
//! `cargo run --example echo_server -- bob.key trust 127.0.0.1:7000`

use countersign::{Config, Identity, Listener, TrustFile};
use tokio::io::{AsyncWriteExt, copy, split};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().collect();
    let [_, key, trust, address] = args.as_slice() else {
        return Err("usage: echo_server KEY TRUST ADDRESS".into());
    };
    let config = Config::new(Identity::from_file(key)?, TrustFile::open(trust)?).context("echo example");
    let socket = TcpListener::bind(address).await?;
    let listener =
        Listener::from_tcp(socket, config, |failed| eprintln!("refused {}: {}", failed.address, failed.error))?;
    println!("listening on {}", listener.local_addr());
    loop {
        // Whoever comes out here is authenticated and accepted.
        let stream = listener.accept().await?;
        println!("serving {}", stream.peer());
        tokio::spawn(async move {
            let (mut read, mut write) = split(stream);
            copy(&mut read, &mut write).await?;
            write.shutdown().await
        });
    }
}
