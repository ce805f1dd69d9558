//! What the halves of a stream share, in every interleaving: `cargo run --manifest-path tests/loom/Cargo.toml`.
//!
//! The code is that of the crate: `build.rs` takes `src/halves.rs`, `src/buffers/{mod,outbox}.rs`, `src/stream/{failure,link,write}.rs` and `src/blocking/{common,wait}.rs`
//! as they are, and puts loom's primitives in the place of `std::sync` and `std::thread`. What is below them (the cryptography, the session)
//! shares nothing and is the crate's own.
//!
//! A lost wake-up is a deadlock here, which loom reports, as it does a data race; `park_timeout` never wakes by itself. What loom can't see: memory
//! orders of the alarm, since it takes every `unpark` for synchronisation.

mod models;
mod sync;
mod thread;

mod buffers {
    #![allow(dead_code)]
    include!(concat!(env!("OUT_DIR"), "/buffers_mod.rs"));
    mod outbox {
        include!(concat!(env!("OUT_DIR"), "/buffers_outbox.rs"));
    }
    /// The pool is shared too, by a lock around each shelf; here buffers come from the heap.
    mod pool {
        pub(super) fn take(capacity: usize, _: super::Supply) -> bytes::BytesMut {
            bytes::BytesMut::with_capacity(capacity)
        }

        pub(super) fn give(_: bytes::BytesMut, _: super::Supply) {}
    }
    pub(crate) use outbox::Outbox;
}

mod config {
    pub(crate) const MAX_IDLE: std::time::Duration = std::time::Duration::from_secs(60);
}

mod crypto {
    pub(crate) mod schedule {
        /// Facts that are not touched here.
        #[derive(Debug)]
        pub(crate) struct Exporter;
    }
}

mod error {
    pub(crate) use countersign::error::*;
}

mod limits {
    pub(crate) use countersign::limits::*;
}

mod role {
    pub(crate) use countersign::role::*;
}

mod session {
    pub(crate) use countersign::session::{Opener, Sealer, Shares};

    /// Facts that are not touched here.
    #[derive(Debug)]
    pub(crate) struct SessionInfo;
}

mod failure {
    #![allow(dead_code, unreachable_patterns)]
    include!(concat!(env!("OUT_DIR"), "/failure.rs"));
}

mod halves {
    #![allow(dead_code, unreachable_patterns)]
    include!(concat!(env!("OUT_DIR"), "/halves.rs"));
}

mod stream {
    pub(crate) mod failure {
        #![allow(dead_code, unreachable_patterns)]
        include!(concat!(env!("OUT_DIR"), "/stream_failure.rs"));
    }

    pub(crate) mod link {
        #![allow(dead_code, unreachable_patterns)]
        include!(concat!(env!("OUT_DIR"), "/stream_link.rs"));
    }

    pub(crate) mod write {
        #![allow(dead_code, unreachable_patterns)]
        include!(concat!(env!("OUT_DIR"), "/stream_write.rs"));
    }
}

mod blocking {
    pub(crate) mod common {
        #![allow(dead_code, unreachable_patterns)]
        include!(concat!(env!("OUT_DIR"), "/blocking_common.rs"));
    }

    pub(crate) mod wait {
        #![allow(dead_code, unreachable_patterns)]
        include!(concat!(env!("OUT_DIR"), "/blocking_wait.rs"));
    }

    pub(crate) mod models;
}

fn main() {
    let models: [(&str, fn()); 7] = [
        ("a rekey mixes the share that it was made for", models::rekeys),
        ("rekeys of both directions that cross open at the peer", models::rekeys_cross),
        ("a failure wakes a writer that sleeps", models::failure_wakes_writer),
        ("a failure wakes whoever keeps the session alive", models::failure_wakes_keeper),
        ("both halves see the same first failure", models::first_failure),
        ("both blocking halves see the same first failure", blocking::models::first_failure),
        ("an alarm is never lost", blocking::models::alarms),
    ];
    for (name, model) in models {
        let started = std::time::Instant::now();
        println!("{name}");
        let iterations = models::check(model);
        println!("    {iterations} executions, {:?}", started.elapsed());
        assert!(iterations > 1, "nothing is interleaved there");
    }
}
