//! Who may talk to us about what: a decision about a verified peer, which may take its time.

#[cfg(feature = "std")]
mod address;
mod combine;
mod conditions;
mod date;
mod decision;
#[cfg(feature = "std")]
mod file;
mod function;
#[cfg(feature = "std")]
mod known;
mod known_as;
#[cfg(feature = "std")]
mod load;
#[cfg(feature = "std")]
mod notifier;
#[cfg(feature = "std")]
mod options;
mod pattern;
mod pinned;
#[cfg(feature = "x509")]
mod x509;

#[cfg(feature = "std")]
pub use address::{AddressList, IpRange, ParseAddressError};
pub use combine::{AllOf, AnyOf, Except, TrustExt, When, all_of, any_of};
pub use conditions::Conditions;
pub use date::{ParseTimeError, parse_time};
pub use decision::{Decision, DecisionFuture, Denial, Direction, Grant, Request, Trust, Watcher};
#[cfg(feature = "std")]
pub use file::TrustFile;
pub use function::{AsyncFunction, Function, from_async_fn, from_fn};
#[cfg(feature = "std")]
pub use known::{FirstUse, Known, KnownPeers};
#[cfg(feature = "std")]
pub use load::{TrustFileError, TrustLineError};
#[cfg(feature = "std")]
pub use notifier::{Notified, Notifier};
pub use pattern::{ParsePatternError, Pattern, PatternList};
pub use pinned::Pinned;
#[cfg(feature = "x509")]
pub use x509::{Authority, AuthorityError, MAX_SUCCESSION_DAYS, StaleCrl};
