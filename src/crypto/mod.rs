//! The cryptography that the protocol uses, in the profiles of section 2 of the specification. No primitive is ours.

pub mod aead;
pub mod agreement;
pub mod backend;
pub mod network;
pub mod schedule;
pub mod signature;
pub mod suite;
#[cfg(test)]
mod wycheproof;
