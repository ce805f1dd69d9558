//! The models of the blocking API.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use countersign::error::{Error, Sealed};
use countersign::session::Shares;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;

use super::common::{Common, Stop};
use super::wait::wait;
use crate::crypto::schedule::Exporter;
use crate::session::SessionInfo;

/// Of two failures in two threads one is the first, and both threads report it.
pub(crate) fn first_failure() {
    let common = Arc::new(Common::new(SessionInfo, Exporter, Shares::new()));
    let note = |common: &Common, error| common.note::<()>(Err(Stop::from(error))).unwrap_err().to_string();
    let reader = {
        let common = common.clone();
        thread::spawn(move || note(&common, Error::Tampered(Sealed::Record)))
    };
    let written = note(&common, Error::Exhausted);
    assert_eq!(common.check().unwrap_err().to_string(), written);
    assert_eq!(reader.join().unwrap(), written);
}

/// A thread that waits for a future hears of it whenever it is woken: before it parks, while it does, and by two threads at once.
pub(crate) fn alarms() {
    let ready = Arc::new([AtomicBool::new(false), AtomicBool::new(false)]);
    let mut spawned = false;
    let future = poll_fn(|cx| {
        for number in (0..2).filter(|_| !spawned) {
            let (ready, waker) = (ready.clone(), cx.waker().clone());
            thread::spawn(move || {
                ready[number].store(true, Ordering::Relaxed);
                waker.wake();
            });
        }
        spawned = true;
        match ready.iter().all(|ready| ready.load(Ordering::Relaxed)) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    });
    // The threads are not joined: loom takes a late `unpark` for the end of one.
    assert_eq!(wait(future, far()), Some(()));
}

fn far() -> Instant {
    Instant::now() + Duration::from_secs(3_600)
}
