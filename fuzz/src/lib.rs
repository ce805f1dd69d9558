//! The properties that the fuzz targets check. Each takes the bytes of one input, and panics if the property fails.
//!
//! `fuzz_targets/` hands them to libFuzzer; `tests/fuzz_corpus.rs` of the main crate runs them over the committed
//! corpora. They are functions of the input alone: no clock, no ambient randomness, no threads. Only the streams that
//! rekey draw their shares from the operating system, on which no outcome depends.

mod frames;
mod identities;
mod machines;
mod messages;
mod middle;
mod pairs;
pub mod parties;
mod reader;
mod rules;
mod sessions;
mod shares;
mod streams;

pub use frames::frame_chunks;
pub use identities::{identity_presented, key_text};
pub use machines::{initiator_feed, responder_feed};
pub use messages::cursor_message;
pub use middle::man_in_middle;
pub use pairs::rekey_pair;
pub use sessions::session_ops;
pub use streams::stream_schedule;

/// A property: it panics if an input breaks it.
pub type Property = fn(&[u8]);

/// Every target by its name, which is also the name of its corpus.
pub const TARGETS: [(&str, Property); 10] = [
    ("cursor_message", cursor_message),
    ("frame_chunks", frame_chunks),
    ("identity_presented", identity_presented),
    ("initiator_feed", initiator_feed),
    ("key_text", key_text),
    ("man_in_middle", man_in_middle),
    ("rekey_pair", rekey_pair),
    ("responder_feed", responder_feed),
    ("session_ops", session_ops),
    ("stream_schedule", stream_schedule),
];
