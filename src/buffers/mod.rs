//! The buffers of a stream, blocking or not: what was received, and what is to be sent. A stream that idles has none.

mod inbox;
mod outbox;
mod pool;

pub(crate) use inbox::Inbox;
pub(crate) use outbox::Outbox;

/// Where buffers come from and go back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Supply {
    /// The thread's pool, and what all threads share beyond it.
    #[cfg(feature = "tokio")]
    Thread,
    /// What all threads share: for those that wait one stream each, and must keep nothing.
    Process,
}

/// Enough for messages and answers.
const SMALL: usize = 4 * 1024;
/// Two records of any length, or all of one and much of the next: what stays in the cache of a core while it is sealed or opened.
const LARGE: usize = 136 * 1024;

/// The least size that holds `len` bytes; a longer buffer is as long as it must be.
fn size_for(len: usize) -> usize {
    [SMALL, LARGE].into_iter().find(|size| *size >= len).unwrap_or(len)
}
