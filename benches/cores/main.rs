//! Many cores: one stream's records sealed and opened on several cores, in order; and handshakes accepted by several loops.
//!
//! `cargo bench --bench cores` measures on one core and on two, three rounds each, interleaved, and says by a model what 16 and 64 would do
//! (`docs/many-cores.md`). `-- --test` makes one quick pass and only checks that everything arrives, in order and unaltered.
#![allow(missing_docs)]

mod accept;
mod model;
mod records;

use countersign::crypto::suite::Aead;

const AEADS: [(&str, Aead); 2] = [("ChaCha20-Poly1305", Aead::ChaCha20Poly1305), ("AES-256-GCM", Aead::Aes256Gcm)];

fn main() {
    let quick = std::env::args().any(|arg| arg == "--test");
    let cores = std::thread::available_parallelism().map_or(1, usize::from).min(2);
    let rounds = if quick { 1 } else { 3 };
    for (name, aead) in AEADS {
        let records = if quick { 64 } else { 16_384 };
        let sealing = |workers| records::seal(aead, workers, records);
        let opening = |workers| records::open(aead, workers, records);
        model::report(&format!("seal, {name}, 64 KiB records, GB/s"), cores, rounds, sealing);
        model::report(&format!("open, {name}, 64 KiB records, GB/s"), cores, rounds, opening);
    }
    let count = if quick { 32 } else { 4_000 };
    model::report("handshakes/s, a loop and its caller on each core", cores, rounds, |loops| {
        accept::loops(loops, count)
    });
    model::report("handshakes/s, one loop in a runtime of so many threads", cores, rounds, |threads| {
        accept::one_loop(threads, count)
    });
}
