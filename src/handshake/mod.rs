//! The handshake, without sockets (specification, section 8). Two functions start it, [`initiate`] and [`respond`]; each
//! state says what it needs next as a [`Step`], and is consumed by what it gets.
//!
//! ```text
//!  Initiator                                                     Responder
//!    HELLO         version, suites, nonce_i, shares_i         ->
//!                                                             <-  HELLO_REPLY  version, suite, nonce_r, shares_r
//!                                                             <-  AUTH_R  { credential_r, signature_r, confirm_r }
//!    AUTH_I  { service, credential_i, signature_i, confirm_i } ->
//!                                                             <-  VERDICT { accept | refuse(code, text) }
//! ```
//!
//! Whatever a call appends to `output` is to be sent, also when it fails: then it is the one byte that the peer is told.

mod auth;
mod initiator;
mod responder;

use core::fmt;
use core::net::SocketAddr;

use alloc::boxed::Box;
use alloc::string::ToString;
use alloc::sync::Arc;

use bytes::BytesMut;

use crate::config::Clock;
use crate::crypto::signature::SignatureInput;
use crate::error::{Alert, Error, Failure, Misuse, ReceivedAlert};
use crate::identity::{Credential, Signer, SignerError};
use crate::limits::SIGNATURE_LEN;
use crate::role::{Role, Stage};
use crate::session::Session;
use crate::trust::{Decision, Direction, Request};
use crate::wire::frame::{self, Frame, FrameType};

pub use initiator::{Target, initiate};
pub use responder::respond;

/// What a handshake needs next.
#[derive(Debug)]
pub enum Step {
    /// Bytes from the peer.
    NeedInput(NeedInput),
    /// A decision about the peer, which has proved its identity.
    VerifyPeer(VerifyPeer),
    /// A signature by our identity.
    Sign(Sign),
    /// Nothing: both sides are proved, and the responder has accepted the initiator.
    Complete(Box<Session>),
}

/// Waits for bytes from the peer.
#[derive(Debug)]
pub struct NeedInput(Awaiting);

/// Waits for a decision about the peer.
#[derive(Debug)]
pub struct VerifyPeer(Deciding);

/// Waits for a signature by our identity.
#[derive(Debug)]
pub struct Sign {
    input: SignatureInput,
    signer: Arc<dyn Signer>,
    next: Signing,
}

#[derive(Debug)]
enum Awaiting {
    HelloReply(Box<initiator::AwaitHelloReply>),
    AuthR(Box<initiator::AwaitAuthR>),
    Verdict(Box<initiator::AwaitVerdict>),
    Hello(Box<responder::AwaitHello>),
    AuthI(Box<responder::AwaitAuthI>),
}

#[derive(Debug)]
enum Deciding {
    Initiator(Box<initiator::DecidePeer>),
    Responder(Box<responder::DecidePeer>),
}

#[derive(Debug)]
enum Signing {
    Initiator(Box<initiator::AwaitSignature>),
    Responder(Box<responder::AwaitSignature>),
}

impl NeedInput {
    /// Looks at the front of `input`, consumes the frame that it waits for once it is complete, and leaves what follows.
    /// If it is not complete the same state comes back: append more bytes and feed again.
    ///
    /// # Errors
    /// [`Failure`]; the handshake is over.
    pub fn feed(self, input: &mut BytesMut, output: &mut BytesMut) -> Result<Step, Failure> {
        let (role, stage) = (self.role(), self.stage());
        let step = match self.0 {
            Awaiting::HelloReply(state) => state.feed(input),
            Awaiting::AuthR(state) => state.feed(input),
            Awaiting::Verdict(state) => {
                return state.feed(input, output).map_err(|error| Failure { role, stage, error });
            }
            Awaiting::Hello(state) => return state.feed(input, output),
            Awaiting::AuthI(state) => state.feed(input),
        };
        step.map_err(|error| fail(role, stage, error, output))
    }

    /// Whether the peer has not shown yet that it knows our network key. Until then nothing may be sent, not even when this handshake fails: what
    /// comes is to be discarded until the peer closes or the deadline passes (specification, section 8.6).
    pub fn is_silent(&self) -> bool {
        matches!(&self.0, Awaiting::Hello(state) if state.is_silent())
    }

    /// The message that it waits for.
    pub fn stage(&self) -> Stage {
        match &self.0 {
            Awaiting::HelloReply(_) => Stage::HelloReply,
            Awaiting::AuthR(_) => Stage::AuthR,
            Awaiting::Verdict(_) => Stage::Verdict,
            Awaiting::Hello(_) => Stage::Hello,
            Awaiting::AuthI(_) => Stage::AuthI,
        }
    }

    /// For an initiator that waits for the verdict only: the session, one round trip before it is known that the responder
    /// accepts us. Its opener reports [`Event::Accepted`](crate::session::Event::Accepted) or the refusal.
    ///
    /// # Errors
    /// Gives the state back if it waits for anything else.
    pub fn into_eager(self) -> Result<Box<Session>, Self> {
        match self.0 {
            Awaiting::Verdict(state) => Ok(state.into_session()),
            other => Err(NeedInput(other)),
        }
    }

    /// For an initiator that waits for the verdict only: seals data to be sent with AUTH_I, in `output`. The responder reads it if it accepts us.
    ///
    /// # Errors
    /// Those of sealing; a state that waits for anything else takes no data.
    pub fn seal_first(&mut self, data: &[u8], output: &mut BytesMut) -> Result<(), Failure> {
        let (role, stage) = (self.role(), self.stage());
        let sealed = match &mut self.0 {
            Awaiting::Verdict(state) => state.seal_first(data, output),
            _ => Err(Error::Misuse(Misuse::VerdictPending)),
        };
        sealed.map_err(|error| Failure { role, stage, error })
    }

    /// To be called when the transport has ended.
    pub fn truncated(self) -> Failure {
        Failure { role: self.role(), stage: self.stage(), error: Error::Truncated }
    }

    fn role(&self) -> Role {
        match &self.0 {
            Awaiting::HelloReply(_) | Awaiting::AuthR(_) | Awaiting::Verdict(_) => Role::Initiator,
            Awaiting::Hello(_) | Awaiting::AuthI(_) => Role::Responder,
        }
    }
}

impl VerifyPeer {
    /// What the peer has proved.
    pub fn credential(&self) -> &Credential {
        match &self.0 {
            Deciding::Initiator(state) => state.credential(),
            Deciding::Responder(state) => state.credential(),
        }
    }

    /// The service that the initiator named.
    pub fn service(&self) -> &str {
        match &self.0 {
            Deciding::Initiator(state) => state.service(),
            Deciding::Responder(state) => state.service(),
        }
    }

    fn clock(&self) -> Option<&dyn Clock> {
        match &self.0 {
            Deciding::Initiator(state) => state.config().clock.as_deref(),
            Deciding::Responder(state) => state.config().clock.as_deref(),
        }
    }

    /// The question for a [`Trust`](crate::trust::Trust); its time is by the clock of the [`Config`](crate::Config), if that has one. Others add it with [`Request::at`].
    pub fn request(&self, address: Option<SocketAddr>) -> Request {
        let direction = match &self.0 {
            Deciding::Initiator(_) => Direction::Outbound,
            Deciding::Responder(_) => Direction::Inbound,
        };
        let request = Request::new(self.credential().clone(), self.service().to_string(), address, direction);
        match self.clock() {
            Some(clock) => request.at(clock.now()),
            None => request,
        }
    }

    /// Goes on with the decision. A responder tells the initiator, which is authenticated, a refusal and its text;
    /// an initiator tells the responder no more than `refused`.
    ///
    /// # Errors
    /// [`Failure`] if the decision is a refusal.
    pub fn decide(self, decision: Decision, output: &mut BytesMut) -> Result<Step, Failure> {
        match self.0 {
            Deciding::Initiator(state) => {
                state.decide(decision).map_err(|error| fail(Role::Initiator, Stage::AuthR, error, output))
            }
            Deciding::Responder(state) => {
                state.decide(decision, output).map_err(|error| fail(Role::Responder, Stage::AuthI, error, output))
            }
        }
    }
}

impl Sign {
    /// What is to be signed.
    pub fn input(&self) -> &SignatureInput {
        &self.input
    }

    /// Whose signature it is: with signers that change, the one that this handshake began with.
    pub fn signer(&self) -> &dyn Signer {
        &*self.signer
    }

    /// Goes on with the signature, or with the reason why there is none.
    ///
    /// # Errors
    /// [`Failure`] if there is none, or for a fault of our own.
    pub fn signed(
        self,
        signature: Result<[u8; SIGNATURE_LEN], SignerError>,
        output: &mut BytesMut,
    ) -> Result<Step, Failure> {
        let (role, stage) = match &self.next {
            Signing::Initiator(_) => (Role::Initiator, Stage::AuthI),
            Signing::Responder(_) => (Role::Responder, Stage::AuthR),
        };
        let signature = match signature {
            Ok(signature) => &signature.clone(),
            Err(error) => {
                // HELLO_REPLY waits there; without AUTH_R it is of no use to anybody.
                output.clear();
                return Err(fail(role, stage, Error::Signer(error.into_text()), output));
            }
        };
        match self.next {
            Signing::Initiator(state) => {
                state.signed(signature, output).map_err(|error| fail(Role::Initiator, Stage::AuthI, error, output))
            }
            Signing::Responder(state) => {
                state.signed(signature, output).map_err(|error| fail(Role::Responder, Stage::AuthR, error, output))
            }
        }
    }
}

/// Tells the peer what it may know: one ALERT frame, or nothing.
fn fail(role: Role, stage: Stage, error: Error, output: &mut BytesMut) -> Failure {
    // [AL-1] [AL-3]
    if let Some(alert) = error.alert() {
        output.extend_from_slice(&frame::alert(alert.code()));
    }
    Failure { role, stage, error }
}

/// Takes the frame that a state waits for. An ALERT frame is an error.
fn take(input: &mut BytesMut, legal: FrameType, first: bool) -> Result<Option<Frame>, Error> {
    let Some(frame) = frame::take(input, &[legal, FrameType::Alert], first)? else { return Ok(None) };
    if frame.frame != FrameType::Alert {
        return Ok(Some(frame));
    }
    // [AL-2]
    let alert = Alert::from_code(frame.body.first().copied().unwrap_or_default());
    Err(Error::AlertReceived(ReceivedAlert { alert, text: Default::default(), authenticated: false }))
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::NeedInput(need) => write!(f, "waiting for {}", need.stage()),
            Step::VerifyPeer(_) => f.write_str("deciding about the peer"),
            Step::Sign(_) => f.write_str("signing"),
            Step::Complete(_) => f.write_str("complete"),
        }
    }
}
