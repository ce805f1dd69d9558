//! TCP: calling a peer, and listening for them.

mod admission;
mod calls;
mod connect;
mod dial;
mod listener;
mod rate;

pub use connect::{Connect, OverIo, ToAddress};
pub use dial::{Dialed, SimultaneousDial};
pub use listener::{Arrival, HandshakeFailure, HandshakeStats, Listener};
