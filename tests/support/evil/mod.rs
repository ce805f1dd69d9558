//! A peer that misbehaves by script, in both roles. It speaks the protocol with code of its own, written from the
//! specification over the bare primitives, so that it can say anything: a [`Script`](script::Script) replaces any of
//! its steps, before something is hashed and signed (then it is signed well, by whoever it says it is) or when it is
//! on the wire already.
//!
//! [`Peer`] is without sockets: [`duel`] plays it against an honest side in memory, `evil_sockets.rs` over TCP.
//! [`catalogue`] is the list of what is tried.
#![allow(dead_code, missing_docs, unreachable_pub, unused_imports)]

pub mod catalogue;
pub mod crypto;
pub mod duel;
pub mod foreign;
pub mod heap;
pub mod keys;
pub mod leak;
pub mod peer;
pub mod script;
pub mod signing;
pub mod victim;
pub mod wire;

pub use catalogue::{Against, Hears, Misbehaviour, catalogue};
pub use peer::Peer;
