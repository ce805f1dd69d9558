//! What each side plans, what can have happened to it, and whether what it saw agrees with that.

use std::fmt;
use std::future::Future;
use std::io::{self, ErrorKind};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use countersign::error::{Alert, Error, Reason};
use countersign::stream::protocol_error;
use tokio::time::{Instant, sleep_until};

use crate::sim::Witness;

/// How an application drives its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One task that polls reading and writing together.
    Together,
    /// One task that gives each call a short time, drops it and makes it again.
    Cancelling(Duration),
    /// Two tasks with the halves of `into_split`.
    Owned,
    /// Two tasks with the halves of `tokio::io::split`.
    Borrowed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Shuts down when both have said all and everything is acknowledged.
    Polite,
    /// Shuts down as soon as it has said all, and reads on.
    Half,
    /// Drops the stream after so many bytes.
    Rude(usize),
    /// Aborts with an alert after so many bytes; drops halves.
    Abort(usize),
}

/// What one side does in a session.
#[derive(Clone, Debug)]
pub struct Plan {
    pub mode: Mode,
    pub ending: Ending,
    /// How many messages it sends at most.
    pub messages: u64,
    pub window: u64,
    /// After so many bytes it reads nothing for so long.
    pub stall: Option<(usize, Duration)>,
    /// After so many bytes it has nothing new to say for so long, and reads on.
    pub silence: Option<(usize, Duration)>,
    pub idle: Option<Duration>,
    pub keep_alive: Option<Duration>,
    /// Flushes after writing, where reading would do.
    pub flushes: bool,
    /// Gathers small writes, if it flushes.
    pub write_buffer: usize,
}

/// Messages from one side to another over all their sessions: what outlives a restart.
#[derive(Debug, Default)]
pub struct Flow {
    pub number: u64,
    /// Messages below this are acknowledged.
    pub acked: u64,
    /// Messages below this were received, in order.
    pub received: u64,
}

/// A direction of one session: what was written and how much of it was read.
#[derive(Debug, Default)]
pub struct Direction {
    pub written: Vec<u8>,
    pub read: usize,
    /// Its writer has begun to shut down.
    pub ending: bool,
    pub clean: bool,
}

/// One connection, as those see it who know everything.
pub struct Conn {
    pub name: String,
    pub witness: Witness,
    pub plans: [Plan; 2],
    pub eager: bool,
    /// How long the handshake may take by itself, and whether that is too long.
    pub opens: Duration,
    pub slow: bool,
    /// A side has gone without a clean end, or is about to.
    pub unruly: Mutex<[bool; 2]>,
    /// When a call of a side failed first.
    pub failed: Mutex<[Option<Instant>; 2]>,
    pub directions: Mutex<[Direction; 2]>,
    /// The sides that are not done.
    pub busy: Mutex<[bool; 2]>,
    pub violations: Arc<Mutex<Vec<String>>>,
}

impl fmt::Debug for Conn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Conn { name, witness, plans: [first, second], busy, unruly, .. } = self;
        write!(f, "{name}; {first:?}; {second:?}; {witness:?}; busy {busy:?}, unruly {unruly:?}")
    }
}

impl Conn {
    pub fn violation(&self, side: usize, what: impl fmt::Display) {
        self.violations.lock().unwrap().push(format!("side {side} of {self:?}: {what}"));
    }

    pub fn set_unruly(&self, side: usize) {
        self.unruly.lock().unwrap()[side] = true;
    }

    pub fn is_unruly(&self, side: usize) -> bool {
        self.unruly.lock().unwrap()[side]
    }

    pub fn is_holed(&self) -> bool {
        self.witness.fate(|fate| fate.holed != [false; 2])
    }

    /// Whether a handshake may run into its deadline. An eager caller's application can hold it up by not reading.
    pub fn may_be_late(&self) -> bool {
        self.slow || self.is_holed() || self.eager && (self.plans[0].stall.is_some() || self.is_unruly(0))
    }

    /// Whether the path or the peer has done something for which a side may lose the connection.
    pub fn is_broken_for(&self, side: usize) -> bool {
        self.may_be_late() || self.is_unruly(1 - side) || self.witness.fate(|fate| fate.fired)
    }

    /// Whether the other side may count on hearing of this one within its idle timeout.
    fn is_lively(&self, side: usize) -> bool {
        let plan = &self.plans[side];
        let brisk = !matches!(plan.mode, Mode::Cancelling(span) if span > Duration::from_millis(500));
        // A stream sends keepalives while it is being read.
        let reads = plan.mode == Mode::Owned || self.plans[1 - side].ending != Ending::Half;
        let interval = plan.keep_alive.filter(|_| brisk && reads && plan.stall.is_none());
        self.plans[1 - side].idle.is_none_or(|idle| interval.is_some_and(|interval| interval * 4 + self.opens <= idle))
    }

    /// Judges the error that ended a session for a side.
    pub fn session_failed(&self, side: usize, error: &io::Error) {
        let peer = 1 - side;
        let broken = self.is_broken_for(side);
        let explained = match protocol_error(error) {
            Some(Error::Truncated) => broken,
            Some(Error::Idle) => {
                self.plans[side].idle.is_some() && (self.is_holed() || !self.is_lively(peer) || self.is_unruly(peer))
            }
            Some(Error::AlertReceived(alert)) => {
                let may = match alert.alert {
                    Alert::Timeout => self.plans[peer].idle.is_some() && alert.text.is_empty(),
                    Alert::ShuttingDown => matches!(self.plans[peer].ending, Ending::Abort(_)) && alert.text == BYE,
                    _ => false,
                };
                let late = self.may_be_late() && alert.alert == Alert::Timeout && side == 0;
                may && alert.authenticated && self.is_unruly(peer) || late && !alert.authenticated
            }
            // An eager caller hears late that there was no time for it.
            Some(Error::Refused(refusal)) => refusal.reason == Reason::Busy && self.slow && side == 0,
            Some(_) => false,
            None => broken && is_loss(error),
        };
        if !explained {
            self.violation(side, format_args!("unexplained: {error:?}"));
        }
        self.set_unruly(side);
        self.failed.lock().unwrap()[side] = Some(Instant::now());
    }

    pub fn direction<R>(&self, side: usize, look: impl FnOnce(&mut Direction) -> R) -> R {
        look(&mut self.directions.lock().unwrap()[side])
    }

    /// Waits for a call, but not for longer than it may take.
    pub async fn patient<F: Future>(&self, side: usize, reading: bool, call: F) -> Option<F::Output> {
        let (start, mut call) = (Instant::now(), pin!(call));
        let idle = self.plans[side].idle.filter(|_| reading);
        let bound = || match idle {
            Some(idle) => {
                self.witness.fate(|fate| fate.given[side]).map_or(start, |given| given.max(start)) + idle + SLACK
            }
            None => start + PATIENCE,
        };
        let output = loop {
            tokio::select! {
                biased;
                output = &mut call => break Some(output),
                () = sleep_until(bound()) => if Instant::now() >= bound() {
                    self.set_unruly(side);
                    break None;
                },
            }
        };
        // A call that comes back when our own timer has woken its task was not woken by what it waited for.
        let (now, failed) = (Instant::now(), self.failed.lock().unwrap()[side]);
        if (!reading || output.is_none()) && failed.is_some_and(|failed| failed + SLACK < now) {
            self.violation(side, "a call sleeps through the failure of another");
        } else if now >= bound() && idle.is_some() {
            self.violation(side, "a call outlives the idle timeout");
        } else if now >= bound() && !self.is_holed() {
            self.violation(side, "a call hangs");
        }
        output
    }
}

/// Whether a transport reports its loss so.
pub fn is_loss(error: &io::Error) -> bool {
    [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe, ErrorKind::NotConnected].contains(&error.kind())
}

pub const BYE: &str = "bye";
/// How long a call may take where nothing else bounds it.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// How late an idle timeout may be: the stream's grace, a call that does not read, and the timers' milliseconds.
const SLACK: Duration = Duration::from_millis(600);
