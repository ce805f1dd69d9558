//! What is shown while a measure runs, on standard error: one line that changes on a terminal, lines like iperf3's
//! elsewhere.

use std::convert::Infallible;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::bench::measure::{Measure, Progress};
use crate::bench::summary::{float, ms, rate};
use crate::log;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Silent,
    /// One line, written over.
    Terminal,
    Lines,
}

/// The display of one measure.
pub struct Live<'a> {
    mode: Mode,
    measure: Measure,
    progress: &'a Progress,
    start: Instant,
    /// When the last line was shown, and what was done then.
    last: (Duration, u64),
}

impl Mode {
    pub fn new(quiet: bool, json: bool) -> Self {
        match (quiet, std::io::stderr().is_terminal()) {
            (true, _) => Mode::Silent,
            (false, true) => Mode::Terminal,
            (false, false) if json => Mode::Silent,
            (false, false) => Mode::Lines,
        }
    }
}

impl<'a> Live<'a> {
    pub fn start(mode: Mode, measure: Measure, progress: &'a Progress, start: Instant) -> Self {
        Live { mode, measure, progress, start, last: (Duration::ZERO, 0) }
    }

    /// Shows how it gets on, until it is dropped.
    pub async fn run(&mut self) -> Infallible {
        let pause = match self.mode {
            Mode::Silent => return std::future::pending().await,
            Mode::Terminal => Duration::from_millis(500),
            Mode::Lines => LINE,
        };
        for number in 1_u32.. {
            tokio::time::sleep_until((self.start + pause * number).into()).await;
            self.show();
        }
        std::future::pending().await
    }

    /// The rest, if it is worth a line.
    pub fn end(mut self) {
        if self.mode == Mode::Lines && self.start.elapsed().saturating_sub(self.last.0) > LINE / 2 {
            self.show();
        }
    }

    fn show(&mut self) {
        let (from, before) = self.last;
        let (now, done) = (self.start.elapsed(), self.progress.done());
        self.last = (now, done);
        let rate = rate(self.measure, done.saturating_sub(before), now.saturating_sub(from));
        let more = if self.measure.is_transfer() {
            format!("{:9.1} MiB", float(done) / float(1 << 20))
        } else {
            format!("{done:9}  median {} ms", ms(self.progress.times().percentile(50)))
        };
        let name = self.measure.name();
        let line = format!("{name:<12}{:4.1}-{:4.1} s {rate}{more}", from.as_secs_f64(), now.as_secs_f64());
        if self.mode == Mode::Terminal {
            let mut stderr = std::io::stderr().lock();
            let _ = write!(stderr, "\r{line}\x1b[K");
            let _ = stderr.flush();
        } else {
            log::line(line);
        }
    }
}

/// However it ends, what follows begins on a clean line.
impl Drop for Live<'_> {
    fn drop(&mut self) {
        if self.mode == Mode::Terminal {
            let _ = write!(std::io::stderr().lock(), "\r\x1b[K");
        }
    }
}

const LINE: Duration = Duration::from_secs(1);
