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

/// An ML-KEM-768 encapsulation key.
pub const MLKEM_KEY_LEN: usize = 1_184;
/// An ML-KEM-768 ciphertext.
pub const MLKEM_CIPHERTEXT_LEN: usize = 1_088;
/// A network key, and its tag in HELLO.
pub const NETWORK_KEY_LEN: usize = 32;

/// Body of HELLO and of HELLO_REPLY.
pub const MAX_HELLO_LEN: usize = 2_048;
/// Body of AUTH_R and of AUTH_I.
pub const MAX_AUTH_LEN: usize = 17_408;
/// Data of a credential.
pub const MAX_CREDENTIAL_LEN: usize = 16_384;
/// Certificates in a chain.
pub const MAX_CERTIFICATES: usize = 8;
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
/// Records sealed under one key of ChaCha20-Poly1305.
pub const MAX_RECORDS: u64 = 1 << 48;
/// Records sealed under one key of AES-256-GCM.
pub const MAX_RECORDS_AES: u64 = 1 << 32;
/// Bytes of plaintext sealed under one key of AES-256-GCM.
pub const MAX_KEY_BYTES_AES: u64 = 1 << 38;
/// REKEY records of a direction that need no other records between them.
pub const REKEY_BURST: u64 = 16;
/// Other records of a direction that each further REKEY needs.
pub const REKEY_SPACING: u64 = 4;
/// Content of a REKEY record.
pub const REKEY_LEN: usize = 40;
/// Bytes of one export.
pub const MAX_EXPORT_LEN: usize = 8_160;
/// Context of an export.
pub const MAX_EXPORT_CONTEXT_LEN: usize = 65_535;

/// Default deadline of a whole handshake, in seconds.
pub const HANDSHAKE_SECONDS: u64 = 10;
/// Default bound on unfinished handshakes of a listener.
pub const MAX_HANDSHAKES: usize = 1_024;
/// Default bound on unfinished handshakes from one address.
pub const MAX_HANDSHAKES_PER_ADDRESS: usize = 64;

/// Default block to which the plaintexts of AUTH_R and AUTH_I are padded.
pub const AUTH_PADDING_BLOCK: usize = 1_024;
/// Default number of bytes after which a direction gets a new key.
pub const REKEY_BYTES: u64 = 1 << 36;
/// Default age at which a direction gets a new key, in seconds.
pub const REKEY_SECONDS: u64 = 900;
/// The most that small writes are gathered to before they are sealed, in bytes.
pub const MAX_WRITE_BUFFER: usize = 131_072;
