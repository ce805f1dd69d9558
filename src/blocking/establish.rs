//! Drives a handshake over a transport that blocks: the loop around [`Step`].

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};

use crate::blocking::common::uninterrupted;
use crate::blocking::stream::Stream;
use crate::blocking::supervise::supervise;
use crate::blocking::transport::{Timeouts, Transport};
use crate::blocking::wait::{left, wait};
use crate::clock;
use crate::config::Config;
use crate::error::{Alert, Reason};
use crate::failure::ConnectError;
use crate::handshake::{NeedInput, Step, VerifyPeer};
use crate::live::Accepted;
use crate::role::Stage;
use crate::session::Session;
use crate::trust::{Decision, Direction};
use crate::wire::frame;

/// A running handshake.
pub(super) struct Establish<'a, T> {
    pub(super) io: T,
    pub(super) config: &'a Config,
    pub(super) address: Option<SocketAddr>,
    /// Return before the verdict.
    pub(super) eager: bool,
    pub(super) deadline: Instant,
    /// From when on an initiator that waits for our decision hears that we are busy.
    pub(super) busy: Instant,
    pub(super) stage: Stage,
    /// The peer may not get a single byte yet [NK-3].
    pub(super) silent: bool,
    /// The transport has time limits; these were set before.
    pub(super) before: Option<Timeouts>,
    /// The transport has taken a part of what was to be sent.
    pub(super) torn: bool,
    /// Bytes that came.
    pub(super) received: usize,
    /// The peer, once our trust has accepted it.
    pub(super) accepted: Option<Accepted>,
}

impl<'a, T: Transport> Establish<'a, T> {
    pub(super) fn new(io: T, config: &'a Config, deadline: Instant) -> Self {
        let busy = deadline.checked_sub(config.handshake_timeout / 10).unwrap_or(deadline);
        let before = io.timeouts().ok();
        let (stage, silent, torn) = (Stage::Hello, false, false);
        let (address, eager, received, accepted) = (None, false, 0, None);
        Establish { io, config, address, eager, deadline, busy, stage, silent, before, torn, received, accepted }
    }

    /// Runs until there is a stream, or a failure, of which the peer has been told, or the deadline.
    pub(super) fn run(mut self, step: Step, mut output: BytesMut) -> Result<Stream<T>, ConnectError> {
        let mut input = BytesMut::new();
        let result = self.drive(step, &mut input, &mut output);
        if let Err(error) = &result {
            self.say_why(error, output);
        }
        let restored = self.before.map_or(Ok(()), |before| self.io.set_timeouts(before));
        let session = result?;
        restored.map_err(|error| self.lost(error))?;
        let mut stream = Stream::new(self.io, *session, input);
        if let Some(accepted) = self.accepted {
            supervise(self.config, accepted, &stream.common);
        }
        stream.set_write_buffer(self.config.write_buffer);
        Ok(stream)
    }

    fn drive(
        &mut self,
        mut step: Step,
        input: &mut BytesMut,
        output: &mut BytesMut,
    ) -> Result<Box<Session>, ConnectError> {
        loop {
            step = match step {
                Step::NeedInput(need) => {
                    self.silent = need.is_silent();
                    self.send(output)?;
                    self.stage = need.stage();
                    match if self.eager { need.into_eager() } else { Err(need) } {
                        Ok(session) => return Ok(session),
                        Err(need) => self.receive(need, input, output)?,
                    }
                }
                Step::VerifyPeer(verify) => {
                    let decision = self.ask(&verify)?;
                    verify.decide(decision, output)?
                }
                Step::Sign(sign) => {
                    self.silent = false;
                    let signature = wait(sign.signer().sign(sign.input()), self.deadline);
                    sign.signed(signature.ok_or_else(|| self.late())?, output)?
                }
                Step::Complete(session) => {
                    self.send(output)?;
                    return Ok(session);
                }
            }
        }
    }

    /// Asks our trust.
    fn ask(&mut self, verify: &VerifyPeer) -> Result<Decision, ConnectError> {
        let request = clock::dated(verify.request(self.address), self.config);
        let changes = self.config.live.changes();
        let decision = self.config.trust.decide(&request);
        let decision = match request.direction {
            Direction::Outbound => wait(decision, self.deadline).ok_or_else(|| self.late())?,
            // The initiator is authenticated by now: it gets a verdict in any case.
            Direction::Inbound => wait(decision, self.busy).unwrap_or_else(too_busy),
        };
        if let Decision::Accept(grant) = &decision {
            self.accepted = Some(Accepted { until: grant.until, request, changes });
        }
        Ok(decision)
    }

    fn send(&mut self, output: &mut BytesMut) -> Result<(), ConnectError> {
        if output.is_empty() {
            return Ok(());
        }
        while !output.is_empty() {
            self.limit()?;
            let written = uninterrupted(|| self.io.write(output)).map_err(|error| self.lost(error))?;
            if written == 0 {
                return Err(self.lost(ErrorKind::WriteZero.into()));
            }
            output.advance(written.min(output.len()));
            self.torn = !output.is_empty();
        }
        uninterrupted(|| self.io.flush()).map_err(|error| self.lost(error))
    }

    /// Feeds what is there, or reads once.
    fn receive(&mut self, need: NeedInput, input: &mut BytesMut, output: &mut BytesMut) -> Result<Step, ConnectError> {
        let before = (input.len(), need.stage());
        let silent = need.is_silent();
        let fed = need.feed(input, output);
        // A failure after the right tag is told [NK-3].
        self.silent = silent && output.is_empty();
        let need = match fed? {
            Step::NeedInput(need) if before == (input.len(), need.stage()) => need,
            step => return Ok(step),
        };
        self.limit()?;
        let mut chunk = [0; READ_LEN];
        match uninterrupted(|| self.io.read(&mut chunk)).map_err(|error| self.lost(error))? {
            0 => Err(need.truncated().into()),
            count => {
                self.received += count;
                input.extend_from_slice(chunk.get(..count).unwrap_or_default());
                Ok(Step::NeedInput(need))
            }
        }
    }

    /// Lets the next call of the transport take no longer than what is left.
    fn limit(&mut self) -> Result<(), ConnectError> {
        let left = left(self.deadline).ok_or_else(|| self.late())?;
        if self.before.is_some() {
            let timeouts = Timeouts { read: Some(left), write: Some(left) };
            self.io.set_timeouts(timeouts).map_err(|error| self.lost(error))?;
        }
        Ok(())
    }

    fn late(&self) -> ConnectError {
        ConnectError::Timeout { stage: Some(self.stage) }
    }

    fn lost(&self, error: io::Error) -> ConnectError {
        let out_of_time = matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
        if out_of_time && left(self.deadline).is_none_or(|left| left < CLOCK) {
            return self.late();
        }
        ConnectError::Io { stage: Some(self.stage), error }
    }

    /// Tells the peer as much of a failure as it may know.
    fn say_why(&mut self, error: &ConnectError, mut output: BytesMut) {
        if self.silent {
            return self.swallow();
        }
        match error {
            // The alert, if there is one, is in the output.
            ConnectError::Protocol(_) => {}
            // An initiator that waits for the verdict would have to seal its alert, with keys that are gone now.
            ConnectError::Timeout { .. } if self.stage != Stage::Verdict && !self.torn => {
                output = BytesMut::from(frame::alert(Alert::Timeout.code()).as_slice());
            }
            _ => output.clear(),
        }
        if self.before.is_some() {
            let limited = self.io.set_timeouts(Timeouts { read: Some(LAST_WORDS), write: Some(LAST_WORDS) });
            if limited.is_err() {
                return;
            }
        }
        // The peer may not listen any more; that changes nothing.
        let said = self.io.write_all(&output).and_then(|()| self.io.flush()).and_then(|()| self.io.shutdown_write());
        if said.is_ok() && self.before.is_some() && !output.is_empty() {
            self.linger();
        }
    }

    /// Discards what the peer still sends, for a short while: closing with bytes unread would reset the connection, and take with it what the
    /// peer was told.
    fn linger(&mut self) {
        let (mut scratch, mut room, end) = ([0; SCRATCH_LEN], LINGER_LEN, Instant::now() + LAST_WORDS);
        while room > 0 && Instant::now() < end {
            match self.io.read(&mut scratch) {
                Ok(0) | Err(_) => return,
                Ok(count) => room = room.saturating_sub(count),
            }
        }
    }

    /// Discards what comes, until the peer closes or the deadline passes; beyond a bound nothing more is read.
    fn swallow(&mut self) {
        // [NK-4]
        let mut scratch = [0; SCRATCH_LEN];
        // What came before the failure counts: all strangers get the same.
        let mut room = SWALLOW_LEN.saturating_sub(self.received);
        while room > 0 {
            if self.limit().is_err() {
                return;
            }
            let (limited, _) = scratch.split_at_mut(room.min(SCRATCH_LEN));
            match uninterrupted(|| self.io.read(limited)) {
                Ok(0) | Err(_) => return,
                Ok(count) => room = room.saturating_sub(count),
            }
        }
        left(self.deadline).into_iter().for_each(thread::sleep);
    }
}

fn too_busy() -> Decision {
    Decision::refuse(Reason::Busy, "")
}

const SCRATCH_LEN: usize = 1_024;
/// How much a peer that was told off may still send, in bytes.
const LINGER_LEN: usize = 128 * 1_024;
/// How much is read at a time before the peer is authenticated, in bytes.
const READ_LEN: usize = 4_096;
/// How much is discarded of a peer that gets no answer, in bytes.
const SWALLOW_LEN: usize = 64 * 1_024;
/// How long the last words to a peer may take.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// How far the socket's clock and ours may be apart.
const CLOCK: Duration = Duration::from_millis(20);
