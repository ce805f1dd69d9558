//! `demo`: two peers on this machine over real TCP. Nothing is set up, nothing is left behind.

mod attacks;
mod capture;
mod tap;
mod transfer;

use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use countersign::identity::Identity;
use countersign::trust::Pinned;
use countersign::wire::frame::FrameType;
use countersign::{Config, Listener, Stream};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::args::DemoArgs;
use crate::connect::interrupt;
use crate::report::{INTERRUPTED, IO, Report};
use capture::Capture;
use tap::{Mischief, Seen, Tap};

/// Runs the demonstration; its exit code says whether everything went as it says.
pub async fn run(args: DemoArgs) -> Result<u8, Report> {
    tokio::select! {
        result = show(&args) => result.map(|()| 0),
        () = interrupt() => Ok(INTERRUPTED),
    }
}

/// The two peers, and what each trusts: the other.
struct Peers {
    alice: Config,
    bob: Config,
    alice_identity: Arc<Identity>,
    bob_identity: Arc<Identity>,
}

async fn show(args: &DemoArgs) -> Result<(), Report> {
    let paint = Paint { colour: std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() };
    let peers = Peers::new()?;
    say(paint.bold("Countersign: two services that know who is at the other end"));
    say("");
    say(format!("  alice  {}", peers.alice_identity.public_key().fingerprint()));
    say(format!("  bob    {}", peers.bob_identity.public_key().fingerprint()));
    say("");
    say(paint.bold("1. The handshake, over 127.0.0.1"));
    say("");
    handshake(&peers, &paint, args.capture.as_deref()).await?;
    say("");
    say(paint.bold("2. A transfer, both ways at once"));
    say("");
    transfer::show(&peers, args.bytes).await?;
    say("");
    say(paint.bold("3. Three attacks"));
    say("");
    attacks::show(&peers, &paint).await?;
    say("");
    say(paint.good("Everything went as it should."));
    Ok(())
}

async fn handshake(peers: &Peers, paint: &Paint, capture: Option<&Path>) -> Result<(), Report> {
    let capture = capture.map(Capture::new).transpose()?;
    let set_up = |config: &Config| capture.as_ref().map_or_else(|| config.clone(), |capture| capture.set_up(config));
    let (alice, bob) = (set_up(&peers.alice), set_up(&peers.bob));
    let listener = Listener::bind("127.0.0.1:0", bob).await.map_err(failed)?;
    let tap = Tap::start(listener.local_addr(), Mischief::None).await.map_err(failed)?;
    let started = Instant::now();
    let (alice, bob) = tokio::join!(alice.connect(tap.address).into_future(), listener.accept());
    let took = started.elapsed();
    let (mut alice, mut bob) = (alice.map_err(failed)?, bob.map_err(failed)?);
    let seen: Vec<Seen> = tap.seen();
    say("     alice (initiator)                                      bob (responder)");
    for (index, frame) in seen.iter().enumerate() {
        say(rung(index, frame));
    }
    let total: usize = seen.iter().map(|frame| frame.bytes.len()).sum();
    say("");
    say(format!(
        "     {} messages, {total} bytes, {:.2} ms until alice knew that bob accepts her",
        seen.len(),
        ms(took)
    ));
    say(format!("     AUTH_R   {} to alice: bob signed her challenge", paint.good("bob proved himself")));
    say(format!("     AUTH_I   {} to bob: alice signed his", paint.good("alice proved herself")));
    say(format!("     VERDICT  {}", paint.good("bob told alice that she is accepted")));
    say(format!("     session  {} on both sides", alice.session_id()));
    if alice.session_id() != bob.session_id() {
        return Err(failed("the two sides have different session ids"));
    }
    if let Some(capture) = capture {
        return capture.finish(alice, bob, &tap).await;
    }
    tokio::try_join!(alice.shutdown(), bob.shutdown()).map_err(failed)?;
    Ok(())
}

/// One rung of the ladder.
fn rung(index: usize, frame: &Seen) -> String {
    let verdict = index > 3 && frame.frame == Some(FrameType::Record);
    let name = if verdict { "VERDICT" } else { frame.frame.map_or("?", FrameType::name) };
    let what = format!("{name}, {} bytes", frame.bytes.len());
    let at = ms(frame.at);
    if frame.from_initiator {
        format!("     {what:<24} ------------------------------->{:24} {at:>8.2} ms", "")
    } else {
        format!("     {:<24} <-------------------------------  {what:<22} {at:>8.2} ms", "")
    }
}

impl Peers {
    fn new() -> Result<Self, Report> {
        let make = || Identity::generate().map(Arc::new).map_err(failed);
        let (alice_identity, bob_identity) = (make()?, make()?);
        let alice = Config::new(alice_identity.clone(), Pinned::new([bob_identity.public_key().into()]));
        let bob = Config::new(bob_identity.clone(), Pinned::new([alice_identity.public_key().into()]));
        Ok(Peers { alice, bob, alice_identity, bob_identity })
    }

    async fn listen(&self) -> Result<Listener, Report> {
        Listener::bind("127.0.0.1:0", self.bob.clone()).await.map_err(failed)
    }

    /// Both ends of a session, with somebody in between who does what he likes.
    async fn connect(&self, mischief: Mischief) -> Result<(Stream<TcpStream>, Stream<TcpStream>, Tap), Report> {
        let listener = self.listen().await?;
        let tap = Tap::start(listener.local_addr(), mischief).await.map_err(failed)?;
        let (alice, bob) = tokio::join!(self.alice.connect(tap.address).into_future(), listener.accept());
        Ok((alice.map_err(failed)?, bob.map_err(failed)?, tap))
    }
}

/// Colour, on a terminal only.
struct Paint {
    colour: bool,
}

impl Paint {
    fn bold(&self, text: &str) -> String {
        self.wrap("1", text)
    }

    fn good(&self, text: &str) -> String {
        self.wrap("32", text)
    }

    fn wrap(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
    }
}

/// Prints one line; a closed standard output is no reason to stop.
fn say(text: impl std::fmt::Display) {
    use std::io::Write;
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

fn failed(error: impl std::fmt::Display) -> Report {
    Report::new(
        IO,
        format!("the demonstration failed: {error}"),
        Some("127.0.0.1 has to be reachable; if it is, please report this"),
    )
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
