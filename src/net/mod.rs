//! TCP: calling a peer, and listening for them.

mod admission;
mod connect;
mod listener;

pub use connect::{Connect, OverIo, ToAddress};
pub use listener::{HandshakeFailure, HandshakeStats, Listener};
