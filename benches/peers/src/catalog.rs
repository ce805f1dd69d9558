//! Who is measured at what.

use anyhow::Result;

use crate::id::Id;
use crate::measures::Measure;

/// All that a measure makes sense for.
pub fn ids(measure: Measure) -> Result<Vec<Id>> {
    let names = match measure {
        Measure::Handshake => [TCP, SUITES, EAGER, PURE_SUITES, PURE_EAGER, TLS_HANDSHAKES, NOISE].concat(),
        Measure::Bulk => [TCP, CIPHERS, COPYING, PURE_CIPHERS, TLS_CIPHERS, TLS_COPYING, NOISE].concat(),
        Measure::Small => return small(),
        Measure::Echo => [TCP, CIPHERS, PURE_CIPHERS, TLS_CIPHERS, NOISE].concat(),
        Measure::Memory => [TCP, SUITES, PURE_SUITES, TLS_MEMORY, NOISE].concat(),
        Measure::Idle => [TCP, IDLE].concat(),
        Measure::Wire => [SUITES, UNPADDED, EAGER, TLS_HANDSHAKES, NOISE].concat(),
    };
    names.into_iter().map(str::parse).collect()
}

/// Everybody as they are, whoever is a stream once more behind a `BufWriter`, and Countersign with its own buffer.
fn small() -> Result<Vec<Id>> {
    let own = [CIPHERS, PURE_CIPHERS].concat().into_iter().map(|name| format!("{name}/buffered"));
    let streams = [TCP, CIPHERS, PURE_CIPHERS, TLS_CIPHERS, LIBP2P].concat();
    let buffered = streams.iter().map(|name| format!("{name}/bufwriter"));
    let plain = streams.iter().chain(MESSAGES).map(|name| (*name).to_owned());
    plain.chain(buffered).chain(own).map(|name| name.parse()).collect()
}

const TCP: &[&str] = &["tcp"];
const CIPHERS: &[&str] = &["countersign/x25519/chacha20", "countersign/x25519/aes256"];
const COPYING: &[&str] = &["countersign/x25519/chacha20/copying", "countersign/x25519/aes256/copying"];
const PURE_CIPHERS: &[&str] = &["countersign-pure/x25519/chacha20", "countersign-pure/x25519/aes256"];
const SUITES: &[&str] = &[
    "countersign/x25519/chacha20",
    "countersign/x25519/aes256",
    "countersign/x25519mlkem768/chacha20",
    "countersign/x25519mlkem768/aes256",
];
const EAGER: &[&str] = &[
    "countersign/x25519/chacha20/eager",
    "countersign/x25519/aes256/eager",
    "countersign/x25519mlkem768/chacha20/eager",
    "countersign/x25519mlkem768/aes256/eager",
];
const UNPADDED: &[&str] = &[
    "countersign/x25519/chacha20/unpadded",
    "countersign/x25519/aes256/unpadded",
    "countersign/x25519mlkem768/chacha20/unpadded",
    "countersign/x25519mlkem768/aes256/unpadded",
];
const PURE_SUITES: &[&str] = &[
    "countersign-pure/x25519/chacha20",
    "countersign-pure/x25519/aes256",
    "countersign-pure/x25519mlkem768/chacha20",
    "countersign-pure/x25519mlkem768/aes256",
];
const PURE_EAGER: &[&str] =
    &["countersign-pure/x25519/chacha20/eager", "countersign-pure/x25519mlkem768/chacha20/eager"];
const TLS_HANDSHAKES: &[&str] = &[
    "rustls-aws/resumed/x25519/aes128",
    "rustls-aws/raw/x25519/aes128",
    "rustls-aws/raw/x25519mlkem768/aes128",
    "rustls-aws/certs/x25519/aes128",
    "rustls-aws/certs/x25519mlkem768/aes128",
    "rustls-ring/resumed/x25519/aes128",
    "rustls-ring/raw/x25519/aes128",
    "rustls-ring/certs/x25519/aes128",
];
const TLS_CIPHERS: &[&str] = &[
    "rustls-aws/raw/x25519/chacha20",
    "rustls-aws/raw/x25519/aes128",
    "rustls-aws/raw/x25519/aes256",
    "rustls-ring/raw/x25519/chacha20",
    "rustls-ring/raw/x25519/aes128",
    "rustls-ring/raw/x25519/aes256",
];
const TLS_COPYING: &[&str] = &["rustls-aws/raw/x25519/chacha20/copying", "rustls-aws/raw/x25519/aes256/copying"];
const TLS_MEMORY: &[&str] = &[
    "rustls-aws/raw/x25519/chacha20",
    "rustls-aws/raw/x25519/aes256",
    "rustls-aws/raw/x25519mlkem768/aes256",
    "rustls-aws/certs/x25519/aes256",
    "rustls-ring/raw/x25519/chacha20",
    "rustls-ring/raw/x25519/aes256",
];
const NOISE: &[&str] = &["snow-default", "snow-ring", "libp2p-noise", "commonware"];
const LIBP2P: &[&str] = &["libp2p-noise"];
const MESSAGES: &[&str] = &["snow-default", "snow-ring", "commonware"];
const IDLE: &[&str] =
    &["countersign/x25519/chacha20", "countersign/x25519mlkem768/aes256", "countersign/x25519mlkem768/aes256/timers"];
