//! Authenticated, encrypted streams for programs without an asynchronous runtime: over [`std::io::Read`] and
//! [`std::io::Write`], on the same core and with the same bytes on the wire as `Config::connect` and its kin, so that
//! each can talk to the other.
//!
//! ```
//! use std::io::{Read, Write};
//! use std::net::TcpListener;
//! use std::thread;
//!
//! use countersign::blocking;
//! use countersign::handshake::Target;
//! use countersign::identity::PeerId;
//! use countersign::trust::Pinned;
//! use countersign::{Config, Identity};
//!
//! let (alice, bob) = (Identity::generate()?, Identity::generate()?);
//! let (alice_id, bob_id) = (PeerId::Key(alice.public_key()), PeerId::Key(bob.public_key()));
//!
//! let listener = TcpListener::bind("127.0.0.1:0")?;
//! let address = listener.local_addr()?;
//! let config = Config::new(bob, Pinned::new([alice_id]));
//! let server = thread::spawn(move || -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//!     let (socket, _) = listener.accept()?;
//!     let mut stream = blocking::accept(&config, socket)?; // the peer is proven and trusted
//!     let mut text = String::new();
//!     stream.read_to_string(&mut text)?; // up to the authenticated end
//!     stream.write_all(text.to_uppercase().as_bytes())?;
//!     Ok(stream.shutdown()?)
//! });
//!
//! let config = Config::new(alice, Pinned::new([bob_id.clone()]));
//! let target = Target { peer: Some(bob_id), service: "shout".into(), ..Target::default() };
//! let mut stream = blocking::connect(&config, address, target)?; // both sides are proven, and we were accepted
//! stream.write_all(b"hello")?;
//! stream.shutdown()?;
//! let mut answer = String::new();
//! stream.read_to_string(&mut answer)?; // a cut connection is an error, never a short answer
//! assert_eq!(answer, "HELLO");
//! # server.join().unwrap().unwrap();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! **Deadlines.** A handshake keeps within [`Config::handshake_timeout`] over a socket of the standard library, as
//! exactly as the system keeps the timeouts of sockets (Linux may take an eighth more); the socket's own timeouts are
//! as they were before afterwards. Looking up a name is left to the system. Over any other [`Transport`] the deadline
//! is looked at between its calls. Signers and trusts are asynchronous: they are waited for in the calling thread, so
//! one that needs a runtime needs it around that thread.
//!
//! **Many peers.** [`accept`] keeps its thread until the peer is proven, or the deadline: call it in a thread of each
//! connection, and bound their number.

mod common;
mod establish;
mod halves;
mod read;
mod stream;
mod supervise;
mod transport;
mod wait;
mod write;

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::thread;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use getrandom::SysRng;

use crate::config::Config;
use crate::error::{Alert, Error, Failure};
use crate::handshake::{Target, initiate, respond};
use establish::Establish;
use wait::left;

pub use crate::failure::{ConnectError, protocol_error};
pub use halves::{ReadHalf, WriteHalf};
pub use stream::Stream;
pub use transport::{Plain, Timeouts, Transport, TryClone};

/// Calls the peer at a TCP address, and returns when it has accepted us. A responder that is too busy to begin a
/// handshake is called again until the deadline.
///
/// # Errors
/// [`ConnectError`]; the peer has been told as much of it as it may know.
pub fn connect(
    config: &Config,
    address: impl ToSocketAddrs,
    target: Target,
) -> Result<Stream<TcpStream>, ConnectError> {
    call(config, address, &target, false)
}

/// As [`connect`], but returns one round trip earlier: the peer has proved who it is, but has not said yet whether it
/// accepts us. What we write before it does is delivered only if it does; a refusal shows, with its reason, at the
/// first read, and once it has come at the first write or flush, at [`Stream::shutdown`], which waits for the verdict,
/// and at [`Stream::accepted`]. After [`Stream::into_split`] it is the reading half that finds it; then the writing
/// half knows too.
///
/// # Errors
/// As [`connect`].
pub fn connect_eager(
    config: &Config,
    address: impl ToSocketAddrs,
    target: Target,
) -> Result<Stream<TcpStream>, ConnectError> {
    call(config, address, &target, true)
}

/// Calls the peer at the other end of `io`.
///
/// # Errors
/// As [`connect`].
pub fn connect_over<T: Transport>(config: &Config, io: T, target: Target) -> Result<Stream<T>, ConnectError> {
    shake(config, io, None, &target, false, Instant::now() + config.handshake_timeout)
}

/// As [`connect_over`], returning as early as [`connect_eager`]. Over a transport that can't look without waiting
/// ([`Transport::read_ready`]), a refusal shows at the first read, at `shutdown` and at `accepted` only.
///
/// # Errors
/// As [`connect`].
pub fn connect_eager_over<T: Transport>(config: &Config, io: T, target: Target) -> Result<Stream<T>, ConnectError> {
    shake(config, io, None, &target, true, Instant::now() + config.handshake_timeout)
}

/// Answers the peer at the other end of a TCP connection. It is the thread's only work until the handshake is over.
///
/// # Errors
/// [`ConnectError`]; the peer has been told as much of it as it may know.
pub fn accept(config: &Config, socket: TcpStream) -> Result<Stream<TcpStream>, ConnectError> {
    socket.set_nodelay(true).map_err(lost)?;
    let address = socket.peer_addr().map_err(lost)?;
    accept_over(config, socket, Some(address))
}

/// Answers the peer at the other end of `io`. `address` is only told to the trust decision.
///
/// # Errors
/// As [`accept`].
pub fn accept_over<T: Transport>(
    config: &Config,
    io: T,
    address: Option<SocketAddr>,
) -> Result<Stream<T>, ConnectError> {
    let deadline = Instant::now() + config.handshake_timeout;
    let step = respond(config, &mut SysRng)?;
    Establish { address, ..Establish::new(io, config, deadline) }.run(step, BytesMut::new())
}

fn call(
    config: &Config,
    address: impl ToSocketAddrs,
    target: &Target,
    eager: bool,
) -> Result<Stream<TcpStream>, ConnectError> {
    let deadline = Instant::now() + config.handshake_timeout;
    let addresses: Vec<SocketAddr> = address.to_socket_addrs().map_err(lost)?.collect();
    let mut pause = FIRST_PAUSE;
    loop {
        let io = dial(&addresses, deadline)?;
        // Flights are written whole; waiting for more would only add a delay.
        io.set_nodelay(true).map_err(lost)?;
        let address = io.peer_addr().ok();
        match shake(config, io, address, target, eager, deadline) {
            Err(error) if is_busy(&error) && left(deadline).is_some_and(|left| left > pause) => thread::sleep(pause),
            result => return result,
        }
        pause = (pause * 2).min(LAST_PAUSE);
    }
}

/// Connects to the first address that answers.
fn dial(addresses: &[SocketAddr], deadline: Instant) -> Result<TcpStream, ConnectError> {
    let late = || ConnectError::Timeout { stage: None };
    let mut last = io::Error::new(ErrorKind::InvalidInput, "the name has no address");
    for address in addresses {
        match TcpStream::connect_timeout(address, left(deadline).ok_or_else(late)?) {
            Ok(io) => return Ok(io),
            Err(error) => last = error,
        }
    }
    Err(if left(deadline).is_none() { late() } else { lost(last) })
}

fn shake<T: Transport>(
    config: &Config,
    io: T,
    address: Option<SocketAddr>,
    target: &Target,
    eager: bool,
    deadline: Instant,
) -> Result<Stream<T>, ConnectError> {
    let mut output = BytesMut::new();
    let step = initiate(config, target.clone(), &mut SysRng, &mut output)?;
    Establish { address, eager, ..Establish::new(io, config, deadline) }.run(step, output)
}

fn lost(error: io::Error) -> ConnectError {
    ConnectError::Io { stage: None, error }
}

/// Whether the responder had no place for our handshake. It has not decided about us, so we may simply call again.
fn is_busy(error: &ConnectError) -> bool {
    matches!(error, ConnectError::Protocol(Failure { error: Error::AlertReceived(alert), .. })
        if alert.alert == Alert::Busy && !alert.authenticated)
}

/// Pauses between calls to a responder that is busy.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LAST_PAUSE: Duration = Duration::from_secs(1);
