//! Sends everything back to whoever is trusted, a thread for each peer; or calls such a server. No asynchronous
//! runtime.
//!
//! `cargo run --no-default-features --features std --example blocking_echo -- serve bob.key trust 127.0.0.1:7000`
//!
//! `echo hello | cargo run --no-default-features --features std --example blocking_echo -- call alice.key trust
//! 127.0.0.1:7000`

use std::io::{self, BufRead, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use countersign::blocking::{self, Stream};
use countersign::handshake::Target;
use countersign::{Config, Identity, TrustFile};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().collect();
    let [_, verb, key, trust, address] = args.as_slice() else {
        return Err("usage: blocking_echo serve|call KEY TRUST ADDRESS".into());
    };
    let config = Config::new(Identity::from_file(key)?, TrustFile::open(trust)?).context("echo example");
    match verb.as_str() {
        "serve" => serve(&config, address),
        "call" => call(&config, address),
        _ => Err("serve or call?".into()),
    }
}

fn serve(config: &Config, address: &str) -> Result<(), Failure> {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    let listener = TcpListener::bind(address)?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        let (socket, address) = listener.accept()?;
        // Whoever can connect could otherwise have as many threads as he likes.
        if THREADS.load(Ordering::Relaxed) == MAX_THREADS {
            continue;
        }
        THREADS.fetch_add(1, Ordering::Relaxed);
        let config = config.clone();
        thread::spawn(move || {
            match blocking::accept(&config, socket) {
                // Whoever comes out here is authenticated and accepted.
                Ok(stream) => {
                    println!("serving {}", stream.peer());
                    if let Err(error) = echo(stream) {
                        eprintln!("{address}: {error}");
                    }
                }
                Err(error) => eprintln!("refused {address}: {error}"),
            }
            THREADS.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

fn echo(mut stream: Stream<TcpStream>) -> io::Result<()> {
    // A peer that says nothing for so long is gone.
    stream.get_ref().set_read_timeout(Some(Duration::from_secs(60)))?;
    loop {
        let data = stream.fill_buf()?.to_vec();
        if data.is_empty() {
            return stream.shutdown();
        }
        stream.write_all(&data)?;
        stream.consume(data.len());
    }
}

fn call(config: &Config, address: &str) -> Result<(), Failure> {
    let stream = blocking::connect(config, address, Target::default())?;
    eprintln!("connected to {}", stream.peer());
    let (mut read, mut write) = stream.into_split()?;
    let sender = thread::spawn(move || {
        io::copy(&mut io::stdin(), &mut write)?;
        write.shutdown()
    });
    io::copy(&mut read, &mut io::stdout())?;
    sender.join().map_err(|_| "the sender panicked")??;
    Ok(())
}

const MAX_THREADS: usize = 100;
