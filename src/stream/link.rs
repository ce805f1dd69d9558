//! What the halves of a stream have in common, and the timers of each.

use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker, ready};
use std::time::Duration;

use bytes::BytesMut;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::config::MAX_IDLE;
use crate::crypto::schedule::Exporter;
use crate::error::Error;
use crate::halves::Halves;
use crate::session::{Sealer, SessionInfo, Shares};

/// What the halves share, on tokio's clock.
#[derive(Debug)]
pub(crate) struct Link {
    halves: Halves,
    started: Instant,
}

impl Link {
    pub(crate) fn new(info: SessionInfo, exporter: Exporter, shares: Shares) -> Self {
        Link { halves: Halves::new(info, exporter, shares), started: Instant::now() }
    }

    /// Rekeys our direction if it is time to.
    pub(crate) fn rekey_if_due(&self, sealer: &mut Sealer, output: &mut BytesMut) -> Result<(), Error> {
        self.halves.rekey_if_due(self.started.elapsed(), sealer, output)
    }
}

impl Deref for Link {
    type Target = Halves;

    fn deref(&self) -> &Halves {
        &self.halves
    }
}

/// Who waits for something to happen within a time: a timer that is made when it is first needed.
#[derive(Debug)]
pub(crate) struct Patience {
    span: Duration,
    since: Instant,
    timer: Option<Pin<Box<Sleep>>>,
    /// It is over, and was not looked at in time: it has been put off once.
    put_off: bool,
}

impl Patience {
    pub(crate) fn new(span: Duration) -> Self {
        let span = span.clamp(Duration::from_millis(1), MAX_IDLE);
        Patience { span, since: Instant::now(), timer: None, put_off: false }
    }

    /// It happened.
    pub(crate) fn restart(&mut self) {
        self.since = Instant::now();
        self.put_off = false;
    }

    /// Ready when it has not happened for the whole span. The timer moves only when it fires: an event costs no timer operation.
    pub(crate) fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let end = self.since + self.span;
            // A task that has computed for long looks at the transport once more before it gives up.
            let at_least = Instant::now() + GRACE;
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(end.max(at_least))));
            ready!(timer.as_mut().poll(cx));
            let now = Instant::now();
            if now < end {
                timer.as_mut().reset(end);
            } else if now > end + GRACE && !self.put_off {
                self.put_off = true;
                timer.as_mut().reset(at_least);
            } else {
                self.timer = None;
                return Poll::Ready(());
            }
        }
    }
}

/// A waker that wakes two tasks; the second alone if there is no first.
pub(crate) fn join(first: Option<&Waker>, second: &Waker) -> Waker {
    match first {
        Some(first) if !first.will_wake(second) => Waker::from(Arc::new(Both(first.clone(), second.clone()))),
        _ => second.clone(),
    }
}

struct Both(Waker, Waker);

impl Wake for Both {
    fn wake(self: Arc<Self>) {
        self.0.wake_by_ref();
        self.1.wake_by_ref();
    }
}

const GRACE: Duration = Duration::from_millis(20);
