//! Certificates: whom a CA vouches for (specification, section 7.1; RFC 5280). Paths, signatures, names and revocation lists are checked by
//! rustls-webpki.

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
pub(in crate::trust) use succession::predecessor;
pub use succession::{MAX_SUCCESSION_DAYS, SUCCESSION};
