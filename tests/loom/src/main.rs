//! What the halves of a stream share, in every interleaving: `cargo run --manifest-path tests/loom/Cargo.toml`.
//!
//! The code is that of the crate: `build.rs` takes `src/{halves,live}.rs`, `src/buffers/{mod,outbox}.rs`, `src/stream/{failure,link,revoke,write}.rs` and `src/blocking/{common,wait}.rs`
//! as they are, and puts loom's primitives in the place of `std::sync` and `std::thread`. What is below them (the cryptography, the session)
//! shares nothing and is the crate's own.
//!
//! A lost wake-up is a deadlock here, which loom reports, as it does a data race; `park_timeout` never wakes by itself. What loom can't see: memory
//! orders of the alarm, since it takes every `unpark` for synchronisation.

mod books;
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

mod trust {
    pub(crate) use countersign::trust::*;
}

mod live {
    #![allow(dead_code)]
    include!(concat!(env!("OUT_DIR"), "/live.rs"));
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

    mod revoke {
        include!(concat!(env!("OUT_DIR"), "/stream_revoke.rs"));
    }

    /// What a supervisor does once trust refuses the peer.
    pub(crate) fn end(latch: &failure::Latch, refusal: crate::error::Refusal) {
        latch.handle().upgrade().expect("the stream is there").revoke(refusal);
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
    let models: [(&str, fn(), Option<usize>); 17] = [
        ("a rekey mixes the share that it was made for", models::rekeys, None),
        ("rekeys of both directions that cross open at the peer", models::rekeys_cross, None),
        ("a failure wakes a writer that sleeps", models::failure_wakes_writer, None),
        ("a failure wakes whoever keeps the session alive", models::failure_wakes_keeper, None),
        ("both halves see the same first failure", models::first_failure, None),
        ("an end from outside wakes a reader that sleeps", models::end_wakes_reader, None),
        ("an end from outside wakes a reader that was woken for nothing", models::end_wakes_reader_again, None),
        ("an end from outside wakes a writer that sleeps", models::end_wakes_writer, None),
        ("an end from outside wakes whoever keeps the session alive", models::end_wakes_keeper, None),
        ("an end from outside wakes both halves", models::end_wakes_both, Some(3)),
        ("of an end from outside and a failure one is the first", models::end_or_failure, None),
        ("an end from outside and a failure at once wake the writer", models::end_and_failure_wake_writer, Some(3)),
        ("a change of trust reaches a session that is being entered", books::change_reaches_session, None),
        ("a change of trust reaches a session that is entered after it", books::change_before_entry, Some(3)),
        ("a decision that runs out sooner wakes who reads the book", books::sooner_wakes_reader, None),
        ("both blocking halves see the same first failure", blocking::models::first_failure, None),
        ("an alarm is never lost", blocking::models::alarms, None),
    ];
    for (name, model, bound) in models {
        let started = std::time::Instant::now();
        println!("{name}");
        let iterations = models::check(model, bound);
        println!("    {iterations} executions, {:?}", started.elapsed());
        assert!(iterations > 1, "nothing is interleaved there");
    }
}
