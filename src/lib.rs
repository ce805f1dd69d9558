#![cfg_attr(feature = "tokio", doc = include_str!("../README.md"))]
#![cfg_attr(
    not(feature = "tokio"),
    doc = "The core of Countersign: handshake and session without sockets. See README.md."
)]
#![cfg_attr(not(feature = "std"), no_std)]
#![forbid(unsafe_code)]
#![deny(missing_docs, unreachable_pub, unnameable_types)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::as_conversions)]
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::as_conversions)
)]

extern crate alloc;
#[cfg(all(test, not(feature = "std")))]
extern crate std;

/// The Rust code of the guide, so that it is compiled.
#[cfg(all(doctest, feature = "x509", feature = "tokio"))]
#[doc = include_str!("../docs/trust.md")]
mod guide {}

#[cfg(feature = "std")]
pub mod blocking;
#[cfg(feature = "std")]
mod buffers;
#[cfg(feature = "std")]
mod clock;
pub mod config;
pub mod crypto;
pub mod error;
#[cfg(feature = "std")]
pub mod failure;
#[cfg(feature = "std")]
mod halves;
pub mod handshake;
pub mod identity;
pub mod keylog;
pub mod limits;
#[cfg(feature = "std")]
mod live;
#[cfg(feature = "tokio")]
pub mod net;
#[cfg(feature = "std")]
pub mod reload;
pub mod role;
pub mod secret;
pub mod session;
#[cfg(feature = "tokio")]
pub mod stream;
pub mod transcript;
pub mod trust;
pub mod wire;

pub use config::Config;
pub use identity::{Identity, PeerId, PublicKey};
#[cfg(feature = "tokio")]
pub use net::Listener;
#[cfg(feature = "std")]
pub use reload::Reload;
#[cfg(feature = "tokio")]
pub use stream::Stream;
#[cfg(feature = "std")]
pub use trust::TrustFile;
