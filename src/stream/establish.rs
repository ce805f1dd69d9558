//! Drives a handshake over a transport: the loop around [`Step`].

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

use crate::clock;
use crate::config::Config;
use crate::error::{Alert, Error, Failure, Reason};
use crate::handshake::{NeedInput, Step};
use crate::identity::PublicKey;
use crate::live::Accepted;
use crate::role::{Role, Stage};
use crate::session::Session;
use crate::stream::supervise::supervise;
use crate::stream::{ConnectError, Stream};
use crate::trust::{Decision, Direction, Request};
use crate::wire::frame;

/// How far a handshake has come; for logs, also when it was dropped halfway.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) stage: Stage,
    pub(crate) peer: Option<PublicKey>,
    pub(crate) service: Option<String>,
    /// The peer may not get a single byte yet [NK-3].
    pub(crate) silent: bool,
    /// A flight is being sent: part of it may be out.
    pub(crate) sending: bool,
    /// Our own signer is awaited, not the peer.
    pub(crate) signing: bool,
    /// Bytes that came.
    pub(crate) received: usize,
    /// The rule by which our trust decided, for people.
    pub(crate) rule: Option<String>,
}

/// How a handshake gets on, for people who want to watch it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Milestone {
    /// The name was looked up.
    Resolved {
        /// The addresses, in the order in which they will be tried.
        addresses: Vec<SocketAddr>,
    },
    /// The transport is there.
    Connected {
        /// The peer's address.
        address: Option<SocketAddr>,
    },
    /// The peer is too busy to begin; it will be called again.
    Busy,
    /// Bytes were sent.
    Sent {
        /// How many.
        bytes: usize,
    },
    /// A message of the peer is awaited.
    Waiting {
        /// Which.
        stage: Stage,
    },
    /// Bytes came.
    Received {
        /// How many.
        bytes: usize,
    },
    /// The peer has proved who it is.
    Proved {
        /// Its key.
        peer: PublicKey,
        /// The service that is asked for.
        service: String,
    },
    /// Our trust has decided about the peer.
    Decided {
        /// Whether it accepts it.
        accepted: bool,
        /// The rule that decided, for people; may be empty.
        rule: String,
    },
    /// Our signer has answered.
    Signed,
}

/// Everything a running handshake needs.
pub(crate) struct Establish<'a, T> {
    pub(crate) io: T,
    pub(crate) config: &'a Config,
    pub(crate) address: Option<SocketAddr>,
    /// Return before the verdict.
    pub(crate) eager: bool,
    /// Data that goes with our proof.
    pub(crate) first: &'a [u8],
    /// Room where accepted streams wait for the application; taken before the initiator is told that it is accepted.
    pub(crate) room: Option<Arc<Semaphore>>,
    /// Tells this handshake that it is the oldest of too many.
    pub(crate) give_way: Option<&'a mut oneshot::Receiver<()>>,
    pub(crate) seen: &'a mut Seen,
    /// Told how it gets on.
    pub(crate) observer: &'a (dyn Fn(&Milestone) + Send + Sync),
}

/// A stream and the room that was taken for it.
pub(crate) type Established<T> = (Stream<T>, Option<OwnedSemaphorePermit>);

impl Seen {
    pub(crate) fn new(stage: Stage) -> Self {
        Seen {
            stage,
            peer: None,
            service: None,
            silent: false,
            sending: false,
            signing: false,
            received: 0,
            rule: None,
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Establish<'_, T> {
    /// Runs until there is a stream, or a failure, of which the peer has been told, or the deadline. Gives the transport
    /// back with a failure, so that the caller may linger on it.
    pub(crate) async fn run(
        mut self,
        step: Step,
        mut output: BytesMut,
        deadline: Duration,
    ) -> Result<Established<T>, (ConnectError, T)> {
        let started = Instant::now();
        let mut input = BytesMut::new();
        let mut permit = None;
        let mut accepted = None;
        let busy = started + deadline.mul_f32(0.9);
        let driven = self.drive(step, &mut input, &mut output, &mut permit, &mut accepted, busy);
        let result = match timeout_at(started + deadline, driven).await {
            Ok(result) => result,
            Err(_) if self.seen.signing => Err(self.signer_is_late(&mut output)),
            Err(_) => Err(ConnectError::Timeout { stage: Some(self.seen.stage) }),
        };
        let error = match result {
            Ok(session) => {
                let mut stream = Stream::new(self.io, *session, input);
                if let Some(accepted) = accepted {
                    supervise(self.config, accepted, &stream.latch);
                }
                stream.set_keep_alive(self.config.keep_alive);
                stream.set_idle_timeout(self.config.idle_timeout);
                stream.set_write_buffer(self.config.write_buffer);
                return Ok((stream, permit));
            }
            Err(error) => error,
        };
        if self.seen.silent {
            let gave_way = matches!(error, ConnectError::GaveWay { .. });
            if !gave_way {
                let _ = timeout_at(started + deadline, self.swallow()).await;
            }
            return Err((error, self.io));
        }
        match &error {
            ConnectError::GaveWay { .. } => {
                output.clear();
                if !self.seen.sending {
                    output.extend_from_slice(&frame::alert(Alert::Busy.code()));
                }
            }
            ConnectError::Timeout { .. } => {
                // An initiator that waits for the verdict would have to seal its alert, with keys that are gone now.
                output.clear();
                // Behind part of a frame an alert would be noise.
                if self.seen.stage != Stage::Verdict && !self.seen.sending {
                    output.extend_from_slice(&frame::alert(Alert::Timeout.code()));
                }
            }
            ConnectError::Io { .. } | ConnectError::OverRate | ConnectError::Protocol(_) => {}
        }
        let last_words = async {
            self.io.write_all(&output).await?;
            self.io.shutdown().await
        };
        // The peer may not listen any more; that changes nothing.
        let _ = timeout(LAST_WORDS, last_words).await;
        Err((error, self.io))
    }

    /// The deadline has passed while our own signer was awaited: that is not the peer's fault.
    fn signer_is_late(&self, output: &mut BytesMut) -> ConnectError {
        let error = Error::Signer("no signature came within the deadline of the handshake".into());
        output.clear();
        output.extend(error.alert().map(|alert| frame::alert(alert.code())).into_iter().flatten());
        let (role, stage) = match self.seen.stage {
            Stage::Hello => (Role::Responder, Stage::AuthR),
            _ => (Role::Initiator, Stage::AuthI),
        };
        ConnectError::Protocol(Failure { role, stage, error })
    }

    /// Discards what comes, until the peer closes; beyond a bound nothing more is read. Ends also when others need the place.
    async fn swallow(&mut self) {
        // [NK-4]
        let mut scratch = [0; 1_024];
        // What came before the failure counts: all strangers get the same.
        let mut left = SWALLOW_LEN.saturating_sub(self.seen.received);
        loop {
            let read = async {
                if left == 0 {
                    return std::future::pending().await;
                }
                let (limited, _) = scratch.split_at_mut(left.min(1_024));
                self.io.read(limited).await
            };
            match tokio::select! {
                read = read => read,
                () = told(&mut self.give_way) => return,
            } {
                Ok(0) | Err(_) => return,
                Ok(count) => left = left.saturating_sub(count),
            }
        }
    }

    async fn drive(
        &mut self,
        mut step: Step,
        input: &mut BytesMut,
        output: &mut BytesMut,
        permit: &mut Option<OwnedSemaphorePermit>,
        accepted: &mut Option<Accepted>,
        busy: Instant,
    ) -> Result<Box<Session>, ConnectError> {
        loop {
            step = match step {
                Step::NeedInput(mut need) => {
                    if need.stage() == Stage::Verdict && !self.first.is_empty() {
                        let sealed = need.seal_first(std::mem::take(&mut self.first), output);
                        // Our proof alone would be accepted.
                        sealed.inspect_err(|_| output.clear())?;
                    }
                    self.seen.silent = need.is_silent();
                    let begins = !output.is_empty() || self.seen.stage != need.stage();
                    self.send(output).await?;
                    self.seen.stage = need.stage();
                    if begins {
                        (self.observer)(&Milestone::Waiting { stage: need.stage() });
                    }
                    match if self.eager { need.into_eager() } else { Err(need) } {
                        Ok(session) => return Ok(session),
                        Err(need) => self.receive(need, input, output).await?,
                    }
                }
                Step::VerifyPeer(verify) => {
                    let request = clock::dated(verify.request(self.address), self.config);
                    let changes = self.config.live.changes();
                    let mut give_way = self.give_way.take();
                    let decision = self.ask(&request, permit);
                    let decision = match request.direction {
                        Direction::Outbound => decision.await,
                        // The initiator is authenticated by now: it gets a verdict in any case.
                        Direction::Inbound => tokio::select! {
                            biased;
                            decision = timeout_at(busy, decision) => decision.unwrap_or_else(|_| too_busy()),
                            () = told(&mut give_way) => too_busy(),
                        },
                    };
                    let rule = decision.rule().to_owned();
                    (self.observer)(&Milestone::Decided { accepted: decision.is_accept(), rule });
                    self.seen.rule = Some(decision.rule().to_owned()).filter(|rule| !rule.is_empty());
                    if let Decision::Accept(grant) = &decision {
                        *accepted = Some(Accepted { request, until: grant.until, changes });
                    }
                    verify.decide(decision, output)?
                }
                Step::Sign(sign) => {
                    self.seen.silent = false;
                    self.seen.signing = true;
                    let signature = {
                        let mut give_way = self.give_way.as_deref_mut();
                        tokio::select! {
                            biased;
                            signature = sign.signer().sign(sign.input()) => signature,
                            () = told(&mut give_way) => return Err(ConnectError::GaveWay { stage: self.seen.stage }),
                        }
                    };
                    self.seen.signing = false;
                    (self.observer)(&Milestone::Signed);
                    sign.signed(signature, output)?
                }
                Step::Complete(session) => {
                    self.send(output).await?;
                    return Ok(session);
                }
            }
        }
    }

    /// Asks our trust, and if it accepts, for room.
    async fn ask(&mut self, request: &Request, permit: &mut Option<OwnedSemaphorePermit>) -> Decision {
        self.seen.peer = Some(*request.public_key());
        self.seen.service = Some(request.service.clone());
        let proved = Milestone::Proved { peer: *request.public_key(), service: request.service.clone() };
        (self.observer)(&proved);
        let decision = self.config.trust.decide(request).await;
        if let (Decision::Accept(_), Some(room)) = (&decision, self.room.take()) {
            match room.acquire_owned().await {
                Ok(taken) => *permit = Some(taken),
                Err(_) => return too_busy(),
            }
        }
        decision
    }

    async fn send(&mut self, output: &mut BytesMut) -> Result<(), ConnectError> {
        if output.is_empty() {
            return Ok(());
        }
        let stage = Some(self.seen.stage);
        let bytes = output.len();
        self.seen.sending = true;
        let mut give_way = self.give_way.as_deref_mut();
        let write = async {
            self.io.write_all(output).await?;
            self.io.flush().await
        };
        let sent = tokio::select! {
            biased;
            sent = write => sent,
            () = told(&mut give_way) => return Err(ConnectError::GaveWay { stage: self.seen.stage }),
        };
        self.seen.sending = false;
        output.clear();
        sent.map_err(|error| ConnectError::Io { stage, error })?;
        (self.observer)(&Milestone::Sent { bytes });
        Ok(())
    }

    /// Feeds what is there, or reads once.
    async fn receive(
        &mut self,
        need: NeedInput,
        input: &mut BytesMut,
        output: &mut BytesMut,
    ) -> Result<Step, ConnectError> {
        let before = (input.len(), need.stage());
        let silent = need.is_silent();
        let fed = need.feed(input, output);
        // A failure after the right tag is told [NK-3].
        self.seen.silent = silent && output.is_empty();
        let need = match fed? {
            Step::NeedInput(need) if before == (input.len(), need.stage()) => need,
            step => return Ok(step),
        };
        input.reserve(READ_LEN);
        let mut limited = input.limit(READ_LEN);
        let read = tokio::select! {
            biased;
            read = self.io.read_buf(&mut limited) => read,
            () = told(&mut self.give_way) => return Err(ConnectError::GaveWay { stage: before.1 }),
        };
        match read {
            Ok(0) => Err(need.truncated().into()),
            Ok(bytes) => {
                self.seen.received += bytes;
                (self.observer)(&Milestone::Received { bytes });
                Ok(Step::NeedInput(need))
            }
            Err(error) => Err(ConnectError::Io { stage: Some(before.1), error }),
        }
    }
}

/// Says in clear that we are busy, as to a handshake that gives way.
pub(crate) async fn say_busy(io: &mut (impl AsyncWrite + Unpin)) {
    let last_words = async {
        io.write_all(&frame::alert(Alert::Busy.code())).await?;
        io.shutdown().await
    };
    let _ = timeout(LAST_WORDS, last_words).await;
}

fn too_busy() -> Decision {
    Decision::refuse(Reason::Busy, "")
}

/// Returns when the sender has said so; never, if there is none.
pub(crate) async fn told(receiver: &mut Option<&mut oneshot::Receiver<()>>) {
    if let Some(waiting) = receiver
        && (waiting.is_terminated() || (&mut **waiting).await.is_ok())
    {
        return;
    }
    std::future::pending().await
}

/// Discards what the peer still sends, for a short while: closing with bytes unread would reset the connection and take
/// with it what the peer was told.
pub(crate) async fn linger(mut io: impl AsyncRead + Unpin) {
    let discard = async {
        let mut scratch = [0; 1_024];
        let mut left = LINGER_LEN;
        while left > 0 {
            match io.read(&mut scratch).await {
                Ok(0) | Err(_) => return,
                Ok(count) => left = left.saturating_sub(count),
            }
        }
    };
    let _ = timeout(LINGER, discard).await;
}

/// How long a peer is listened to that has been told off, and how much.
pub(crate) const LINGER: Duration = Duration::from_secs(1);
pub(crate) const LINGER_LEN: usize = 128 * 1_024;
/// How much is read at a time before the peer is authenticated, in bytes.
const READ_LEN: usize = 4_096;
/// How much is discarded of a peer that gets no answer, in bytes.
const SWALLOW_LEN: usize = 64 * 1_024;
/// How long the last words to a peer may take.
const LAST_WORDS: Duration = Duration::from_millis(500);
