//! TCP: calling a peer, and listening for them.

mod admission;
mod calls;
mod connect;
mod dial;
mod listener;
#[cfg(feature = "proxy-protocol")]
mod proxy;
mod rate;

pub use connect::{Connect, OverIo, ToAddress};
pub use dial::{Dialed, SimultaneousDial};
pub use listener::{Arrival, HandshakeFailure, HandshakeStats, Listener};
#[cfg(feature = "proxy-protocol")]
pub use proxy::{proxy_header_v1, proxy_header_v2, read_proxy_header};
