//! Who may talk to us about what: a decision about a verified peer, which may take its time.

mod decision;
#[cfg(feature = "std")]
mod file;
mod function;
mod pinned;

pub use decision::{Decision, DecisionFuture, Denial, Direction, Grant, Request, Trust, Watcher};
#[cfg(feature = "std")]
pub use file::{TrustFile, TrustFileError};
pub use function::{AsyncFunction, Function, from_async_fn, from_fn};
pub use pinned::Pinned;
