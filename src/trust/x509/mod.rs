//! Certificates: whom a CA vouches for (specification, section 7.1; RFC 5280). Paths, signatures and names are checked by rustls-webpki,
//! which reads revocation lists as well; here they are verified once, when they are loaded or first met.

mod algorithms;
mod anchor;
mod authority;
mod cache;
mod crl;
mod fault;
mod load;
mod path;
mod succession;

pub use authority::{Authority, StaleCrl};
pub use load::AuthorityError;
pub(in crate::trust) use path::verify_with_key;
pub use succession::MAX_SUCCESSION_DAYS;
pub(in crate::trust) use succession::predecessor;
