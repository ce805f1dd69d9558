//! Who may talk to us about what: a decision about a verified peer, which may take its time.

mod decision;
mod file;
mod function;
mod pinned;

pub use decision::{Decision, DecisionFuture, Direction, Request, Trust};
pub use file::{TrustFile, TrustFileError};
pub use function::{AsyncFunction, Function, from_async_fn, from_fn};
pub use pinned::Pinned;
