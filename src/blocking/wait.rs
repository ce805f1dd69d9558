//! Waits in a thread for a future: signers and trust are asynchronous.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Instant;

/// Polls `future` in this thread until it is ready, or drops it at `deadline` and gives `None`.
pub(super) fn wait<F: Future>(future: F, deadline: Instant) -> Option<F::Output> {
    let alarm = Arc::new(Alarm { rung: AtomicBool::new(false), thread: thread::current() });
    let waker = Waker::from(alarm.clone());
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return Some(output);
        }
        while !alarm.rung.swap(false, Ordering::AcqRel) {
            thread::park_timeout(left(deadline)?);
        }
    }
}

/// How long there is until `deadline`; nothing if it has passed.
pub(super) fn left(deadline: Instant) -> Option<std::time::Duration> {
    deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
}

struct Alarm {
    /// Not left to the thread's own token: a future may park the thread itself.
    rung: AtomicBool,
    thread: Thread,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, poll_fn, ready};
    use std::time::Duration;

    use super::*;

    #[test]
    fn waits_for_whoever_wakes_it_and_no_longer_than_the_deadline() {
        let far = Instant::now() + Duration::from_secs(60);
        assert_eq!(wait(ready(1), far), Some(1));
        assert_eq!(wait(pending::<()>(), Instant::now() + Duration::from_millis(5)), None);
        let mut polls = 0;
        let slow = poll_fn(|cx| {
            polls += 1;
            let waker = cx.waker().clone();
            match polls {
                // From another thread, from this one, and with the thread's own token taken away.
                1 => drop(thread::spawn(move || waker.wake())),
                2 => waker.wake(),
                3 => {
                    waker.wake();
                    thread::park();
                }
                _ => return Poll::Ready(polls),
            }
            Poll::Pending
        });
        assert_eq!(wait(slow, far), Some(4));
    }
}
