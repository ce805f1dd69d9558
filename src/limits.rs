//! Every size and count of the protocol, as in section 4 of the specification, and the default bounds of the program.
//!
//! Lengths are bytes.

/// Version of the protocol, in HELLO and HELLO_REPLY.
pub const VERSION: u16 = 0x0001;
/// Prefix of every domain string.
pub const PROTOCOL: &str = "countersign/1";

/// Frame header: type and 24-bit length.
pub const HEADER_LEN: usize = 4;
/// A challenge.
pub const NONCE_LEN: usize = 32;
/// The tag of the AEAD.
pub const TAG_LEN: usize = 16;
/// An Ed25519 signature.
pub const SIGNATURE_LEN: usize = 64;
/// An Ed25519 public key.
pub const PUBLIC_KEY_LEN: usize = 32;
/// A confirmation MAC.
pub const CONFIRM_LEN: usize = 32;
/// A session id.
pub const SESSION_ID_LEN: usize = 16;
/// An X25519 public share.
pub const X25519_LEN: usize = 32;

/// Body of HELLO and of HELLO_REPLY.
pub const MAX_HELLO_LEN: usize = 2_048;
/// Body of AUTH_R and of AUTH_I.
pub const MAX_AUTH_LEN: usize = 17_408;
/// Data of a credential.
pub const MAX_CREDENTIAL_LEN: usize = 16_384;
/// Suites in an offer.
pub const MAX_SUITES: usize = 16;
/// Shares in an offer.
pub const MAX_SHARES: usize = 8;
/// Service name.
pub const MAX_SERVICE_LEN: usize = 255;
/// Application context.
pub const MAX_CONTEXT_LEN: usize = 255;
/// Text of a refusal or an alert.
pub const MAX_TEXT_LEN: usize = 255;
/// Content of one record.
pub const MAX_CONTENT_LEN: usize = 65_536;
/// Body of RECORD: kind, content, length of the padding, tag.
pub const MAX_RECORD_LEN: usize = 1 + MAX_CONTENT_LEN + 2 + TAG_LEN;
/// Records sealed under one key.
pub const MAX_RECORDS: u64 = 1 << 48;

/// Default deadline of a whole handshake, in seconds.
pub const HANDSHAKE_SECONDS: u64 = 10;
/// Default bound on unfinished handshakes of a listener.
pub const MAX_HANDSHAKES: usize = 1_024;
/// Default bound on unfinished handshakes from one address.
pub const MAX_HANDSHAKES_PER_ADDRESS: usize = 64;
