//! The side that accepted the connection (specification, sections 8.1 to 8.3 and 8.5).

use alloc::boxed::Box;

use bytes::BytesMut;
use rand_core::TryCryptoRng;

use crate::config::Config;
use crate::crypto::agreement::{self, Ephemeral};
use crate::crypto::schedule::HandshakeSecret;
use crate::crypto::suite::{ShareKind, Suite};
use crate::error::{Error, Failure, Malformed, Reason, Refusal};
use crate::handshake::auth::{self, AuthKeys, PeerVerified, Proven, SessionKeys, Unsigned};
use crate::handshake::{Awaiting, Deciding, NeedInput, Sign, Signing, Step, VerifyPeer, fail, take};
use crate::identity::{Credential, Peer};
use crate::limits::{NONCE_LEN, SIGNATURE_LEN, X25519_LEN};
use crate::role::{Role, Stage};
use crate::secret::Secret;
use crate::transcript::{Item, Transcript};
use crate::trust::Decision;
use crate::wire::frame::{FrameType, Header};
use crate::wire::message::{Hello, HelloReply};

/// Starts a handshake as the responder. Draws 32 bytes for the nonce, then 32 for the share; nothing is computed
/// from them before HELLO is there.
///
/// # Errors
/// [`Failure`] with [`Error::Misuse`] for a context that is too long, [`Error::Entropy`] if `rng` fails.
pub fn respond(config: &Config, rng: &mut impl TryCryptoRng) -> Result<Step, Failure> {
    start(config, rng).map_err(|error| fail(Role::Responder, Stage::Hello, error, &mut BytesMut::new()))
}

fn start(config: &Config, rng: &mut impl TryCryptoRng) -> Result<Step, Error> {
    config.check().map_err(Error::Misuse)?;
    let nonce = agreement::nonce(rng)?;
    let seed = Secret::fill(|bytes| rng.try_fill_bytes(bytes)).map_err(|_| Error::Entropy)?;
    Ok(await_more(Awaiting::Hello(Box::new(AwaitHello { config: config.clone(), nonce, seed }))))
}

#[derive(Debug)]
pub(super) struct AwaitHello {
    config: Config,
    nonce: [u8; NONCE_LEN],
    seed: Secret<X25519_LEN>,
}

impl AwaitHello {
    pub(super) fn feed(self: Box<Self>, input: &mut BytesMut, output: &mut BytesMut) -> Result<Step, Error> {
        let Some(frame) = take(input, FrameType::Hello, true)? else {
            return Ok(await_more(Awaiting::Hello(self)));
        };
        // [HS-2] [HS-3]
        let hello = Hello::decode(&frame.body)?;
        check_shares(&hello)?;
        // [HS-5]
        let suite = Suite::ALL.into_iter().find(|suite| hello.suites.contains(&suite.code()));
        let suite = suite.ok_or(Error::NoCommonSuite)?;
        let ephemeral = Ephemeral::from_secret(&self.seed);
        let own_share = *ephemeral.share();
        let shared = ephemeral.agree(share(&hello, ShareKind::X25519)?)?;

        let mut body = BytesMut::new();
        HelloReply { suite: suite.code(), nonce: self.nonce, shares: &own_share }.encode(&mut body);
        let header = Header { frame: FrameType::HelloReply, len: body.len() }.encode();
        let mut transcript = Transcript::new(&self.config.context)?;
        transcript.add(Item::Frame, &[&frame.header, &frame.body])?;
        transcript.add(Item::Frame, &[&header, &body])?;
        let keys = AuthKeys::new(HandshakeSecret::new(&shared)?, Role::Responder, &transcript.hash())?;
        let (unsigned, to_sign) = auth::begin(&mut transcript, &self.config, None)?;
        output.extend_from_slice(&header);
        output.extend_from_slice(&body);
        let state = AwaitAuthI { config: self.config, transcript, suite, keys };
        Ok(Step::Sign(Sign { input: to_sign, next: Signing::Responder(Box::new(AwaitSignature { state, unsigned })) }))
    }
}

#[derive(Debug)]
pub(super) struct AwaitSignature {
    state: AwaitAuthI,
    unsigned: Unsigned,
}

impl AwaitSignature {
    pub(super) fn signed(self, signature: &[u8; SIGNATURE_LEN], output: &mut BytesMut) -> Result<Step, Error> {
        let AwaitSignature { mut state, unsigned } = self;
        unsigned.finish(&mut state.transcript, &mut state.keys, signature, output)?;
        Ok(await_more(Awaiting::AuthI(Box::new(state))))
    }
}

#[derive(Debug)]
pub(super) struct AwaitAuthI {
    config: Config,
    transcript: Transcript,
    suite: Suite,
    keys: AuthKeys,
}

impl AwaitAuthI {
    pub(super) fn feed(mut self: Box<Self>, input: &mut BytesMut) -> Result<Step, Error> {
        let Some(frame) = take(input, FrameType::AuthI, false)? else {
            return Ok(await_more(Awaiting::AuthI(self)));
        };
        let proven = auth::check(frame, Role::Responder, &mut self.transcript, &mut self.keys)?;
        let AwaitAuthI { config, transcript, suite, keys } = *self;
        let keys = keys.into_session_keys(Role::Responder, &transcript)?;
        Ok(Step::VerifyPeer(VerifyPeer(Deciding::Responder(Box::new(DecidePeer { config, suite, keys, proven })))))
    }
}

#[derive(Debug)]
pub(super) struct DecidePeer {
    config: Config,
    suite: Suite,
    keys: SessionKeys,
    proven: Proven,
}

impl DecidePeer {
    pub(super) fn credential(&self) -> &Credential {
        &self.proven.credential
    }

    pub(super) fn service(&self) -> &str {
        &self.proven.service
    }

    /// Sends the VERDICT. Our own key and a service that is not offered are refused whatever was decided.
    pub(super) fn decide(self, decision: Decision, output: &mut BytesMut) -> Result<Step, Error> {
        let refusal = self.objection(&decision);
        let DecidePeer { suite, keys, proven, .. } = self;
        if let Some(refusal) = refusal {
            // What the wire does not carry is cut here rather than failing to refuse.
            let refusal = Refusal::new(refusal.reason, &refusal.text);
            keys.into_sealer().seal_verdict(Some(&refusal), output)?;
            return Err(Error::Denied(refusal));
        }
        let name = if let Decision::Accept { name } = decision { name } else { None };
        let peer = PeerVerified(Peer::new(proven.credential, name));
        let mut session = keys.into_session(proven.service, suite, peer, proven.signature, proven.confirmation);
        session.sealer.seal_verdict(None, output)?;
        Ok(Step::Complete(session))
    }

    fn objection(&self, decision: &Decision) -> Option<Refusal> {
        // [ID-3] [HS-26]
        if *self.proven.credential.public_key() == self.config.identity.public_key() && !self.config.allow_own_key {
            return Some(Refusal::new(Reason::OwnIdentity, ""));
        }
        if let Decision::Refuse(refusal) = decision {
            return Some(refusal.clone());
        }
        if !self.config.offers(&self.proven.service) {
            return Some(Refusal::new(Reason::ServiceUnavailable, ""));
        }
        None
    }
}

/// Shares of known kinds have their exact length, and those that the known suites need are there.
fn check_shares(hello: &Hello) -> Result<(), Error> {
    let bad = Err(Error::Malformed(Malformed::Field("shares")));
    for sent in &hello.shares {
        // [HS-3]
        if ShareKind::from_code(sent.kind).is_some_and(|kind| kind.initiator_len() != sent.data.len()) {
            return bad;
        }
    }
    // [HS-4]
    let mut needed =
        hello.suites.iter().filter_map(|code| Suite::from_code(*code)).flat_map(|suite| suite.share_kinds().iter());
    let complete = needed.all(|kind| hello.shares.iter().any(|sent| sent.kind == kind.code()));
    if complete { Ok(()) } else { bad }
}

fn share<const N: usize>(hello: &Hello, kind: ShareKind) -> Result<&[u8; N], Error> {
    let share = hello.shares.iter().find(|share| share.kind == kind.code());
    let data = share.and_then(|share| share.data.as_slice().try_into().ok());
    data.ok_or(Error::Malformed(Malformed::Field("shares")))
}

fn await_more(state: Awaiting) -> Step {
    Step::NeedInput(NeedInput(state))
}
