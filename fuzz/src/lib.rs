//! The properties that the fuzz targets check. Each takes the bytes of one input, and panics if the property fails.
//!
//! `fuzz_targets/` hands them to libFuzzer; `tests/fuzz_corpus.rs` of the main crate runs them over the committed
//! corpora. They are functions of the input alone: no clock, no ambient randomness, no threads. Only the streams that
//! rekey draw their shares from the operating system, on which no outcome depends; and only `known_peers` writes files, for
//! a moment.

#[cfg(feature = "x509")]
mod chains;
mod frames;
mod identities;
mod lists;
mod machines;
mod messages;
mod middle;
mod pairs;
pub mod parties;
#[cfg(feature = "proxy-protocol")]
mod proxies;
mod reader;
mod rules;
mod sessions;
mod shares;
mod streams;

#[cfg(feature = "x509")]
pub use chains::certificate_chain;
pub use frames::frame_chunks;
pub use identities::{identity_presented, key_text};
pub use lists::{known_peers, match_lists, trust_lines};
pub use machines::{initiator_feed, responder_feed};
pub use messages::cursor_message;
pub use middle::man_in_middle;
pub use pairs::rekey_pair;
#[cfg(feature = "proxy-protocol")]
pub use proxies::proxy_header;
pub use sessions::session_ops;
pub use streams::stream_schedule;

/// A property: it panics if an input breaks it.
pub type Property = fn(&[u8]);

/// A build without certificates has none to look at.
#[cfg(not(feature = "x509"))]
pub fn certificate_chain(_: &[u8]) {}

/// A build without PROXY headers reads none.
#[cfg(not(feature = "proxy-protocol"))]
pub fn proxy_header(_: &[u8]) {}

/// Every target by its name, which is also the name of its corpus.
pub const TARGETS: [(&str, Property); 15] = [
    ("certificate_chain", certificate_chain),
    ("cursor_message", cursor_message),
    ("frame_chunks", frame_chunks),
    ("identity_presented", identity_presented),
    ("initiator_feed", initiator_feed),
    ("key_text", key_text),
    ("known_peers", known_peers),
    ("man_in_middle", man_in_middle),
    ("match_lists", match_lists),
    ("proxy_header", proxy_header),
    ("rekey_pair", rekey_pair),
    ("responder_feed", responder_feed),
    ("session_ops", session_ops),
    ("stream_schedule", stream_schedule),
    ("trust_lines", trust_lines),
];
