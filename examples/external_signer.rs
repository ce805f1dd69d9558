//! The private key lives in another process, which signs handshakes and nothing else: this program starts itself once
//! more as the holder of the key, and calls a listener of its own with it.
//!
//! `cargo run --example external_signer`
//!
//! Requests and answers on the holder's stdin and stdout are a length of four bytes, big-endian, and so many bytes. The
//! holder first says its public key. To a request that it does not sign it answers with nothing (length 0).

use std::env;
use std::error::Error;
use std::process::Stdio;

use countersign::crypto::signature::{SIGNATURE_INPUT_LEN, SignatureInput};
use countersign::identity::{SignFuture, Signer, SignerError};
use countersign::trust::Pinned;
use countersign::{Config, Identity, Listener, PublicKey};
use ed25519_dalek::{Signer as _, SigningKey};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, stdin, stdout};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::Mutex;

/// What a key of this protocol may sign: 64 spaces, one of these, a zero byte, a hash of 32 bytes.
const DOMAINS: [&[u8]; 2] = [b"countersign/1 initiator signature", b"countersign/1 responder signature"];
const MAX_LEN: u32 = 1_024;

/// The key in the other process. One request at a time: what it answers is told apart by the order only.
struct OtherProcess {
    public: PublicKey,
    pipes: Mutex<Pipes>,
    /// Killed when this is dropped.
    _child: Child,
}

struct Pipes {
    to: ChildStdin,
    from: ChildStdout,
    /// A request was dropped half-way, as when a handshake's deadline passes: the next answer would be the last one's.
    broken: bool,
}

impl OtherProcess {
    async fn start() -> Result<Self, Box<dyn Error>> {
        let mut command = Command::new(env::current_exe()?);
        command.arg("hold-the-key").stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn()?;
        let to = child.stdin.take().ok_or("no stdin")?;
        let mut from = child.stdout.take().ok_or("no stdout")?;
        let public = PublicKey::from_bytes(read(&mut from).await?.as_slice().try_into()?)?;
        Ok(OtherProcess { public, pipes: Mutex::new(Pipes { to, from, broken: false }), _child: child })
    }

    async fn ask(&self, input: &[u8]) -> Result<[u8; 64], SignerError> {
        let mut pipes = self.pipes.lock().await;
        if pipes.broken {
            return Err(SignerError::new("an earlier request to the holder of the key was cut off"));
        }
        pipes.broken = true;
        let Pipes { to, from, .. } = &mut *pipes;
        write(to, input).await.map_err(SignerError::new)?;
        let signature = read(from).await.map_err(SignerError::new)?;
        pipes.broken = false;
        signature.as_slice().try_into().map_err(|_| SignerError::new("the holder of the key does not sign this"))
    }
}

impl Signer for OtherProcess {
    fn public_key(&self) -> PublicKey {
        self.public
    }

    fn sign<'a>(&'a self, input: &'a SignatureInput) -> SignFuture<'a> {
        Box::pin(self.ask(input.as_bytes()))
    }
}

/// The other process: signs what has the form of a handshake's signature input, whoever asks, until nobody does any
/// more.
async fn hold_the_key() -> Result<(), Box<dyn Error>> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed)?;
    let key = SigningKey::from_bytes(&seed);
    let (mut from, mut to) = (stdin(), stdout());
    write(&mut to, key.verifying_key().as_bytes()).await?;
    while let Ok(input) = read(&mut from).await {
        match is_signature_input(&input) {
            true => write(&mut to, &key.sign(&input).to_bytes()).await?,
            false => write(&mut to, &[]).await?,
        }
    }
    Ok(())
}

fn is_signature_input(input: &[u8]) -> bool {
    let Some((spaces, rest)) = input.split_at_checked(64).filter(|_| input.len() == SIGNATURE_INPUT_LEN) else {
        return false;
    };
    let domain = DOMAINS.iter().find_map(|domain| rest.strip_prefix(*domain));
    spaces.iter().all(|byte| *byte == b' ') && domain.is_some_and(|rest| rest.first() == Some(&0))
}

async fn write(to: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> std::io::Result<()> {
    to.write_u32(u32::try_from(bytes.len()).map_err(std::io::Error::other)?).await?;
    to.write_all(bytes).await?;
    to.flush().await
}

async fn read(from: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Vec<u8>> {
    let len = from.read_u32().await?;
    if len > MAX_LEN {
        return Err(std::io::Error::other("too long"));
    }
    let mut bytes = Vec::new();
    from.take(len.into()).read_to_end(&mut bytes).await?;
    Ok(bytes)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    if env::args().nth(1).as_deref() == Some("hold-the-key") {
        return hold_the_key().await;
    }
    let signer = OtherProcess::start().await?;
    println!("the key {} is in another process", signer.public_key().fingerprint());
    let refused = signer.ask(b"anything else").await;
    println!("asked to sign something else: {}", refused.err().ok_or("it signed")?);

    let server = Identity::generate()?;
    let servers_key = server.public_key();
    let trust = Pinned::new([signer.public_key().into()]);
    let listener = Listener::bind("127.0.0.1:0", Config::new(server, trust).context("signer example")).await?;
    let config = Config::new(signer, Pinned::new([servers_key.into()])).context("signer example");

    let call = async { config.connect(listener.local_addr()).peer(servers_key).await.map_err(Box::<dyn Error>::from) };
    let accept = async { listener.accept().await.map_err(Box::<dyn Error>::from) };
    let (mut caller, mut callee) = tokio::try_join!(call, accept)?;
    caller.write_all(b"hello").await?;
    caller.shutdown().await?;
    let mut heard = String::new();
    callee.read_to_string(&mut heard).await?;
    println!("{} says {heard}", callee.peer());
    Ok(())
}
