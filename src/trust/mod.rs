//! Who may talk to us about what: a decision about a verified peer, which may take its time.

mod decision;
#[cfg(feature = "std")]
mod file;
mod function;
mod pinned;
#[cfg(feature = "x509")]
mod x509;

pub use decision::{Decision, DecisionFuture, Denial, Direction, Grant, Request, Trust, Watcher};
#[cfg(feature = "std")]
pub use file::{TrustFile, TrustFileError};
pub use function::{AsyncFunction, Function, from_async_fn, from_fn};
pub use pinned::Pinned;
#[cfg(feature = "x509")]
pub use x509::{Authority, AuthorityError, MAX_SUCCESSION_DAYS, SUCCESSION, StaleCrl};
