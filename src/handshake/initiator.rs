//! The side that opened the connection (specification, sections 8.1 to 8.3 and 8.5).

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use bytes::{Buf, BytesMut};
use rand_core::TryCryptoRng;

use crate::config::Config;
use crate::crypto::agreement::{self, Ephemeral};
use crate::crypto::schedule::HandshakeSecret;
use crate::crypto::suite::{ShareKind, Suite};
use crate::error::{Error, Failure, Malformed, Misuse, Untrusted};
use crate::handshake::auth::{self, AuthKeys, PeerVerified, Proven, Unsigned};
use crate::handshake::{Awaiting, Deciding, NeedInput, Sign, Signing, Step, VerifyPeer, fail, take};
use crate::identity::{Credential, Peer, PeerId};
use crate::limits::{NONCE_LEN, SIGNATURE_LEN};
use crate::role::{Role, Stage};
use crate::session::{Event, Progress, Session};
use crate::transcript::{Item, Transcript};
use crate::trust::Decision;
use crate::wire::frame::{FrameType, Header};
use crate::wire::message::{Hello, HelloReply, Share, check_service};

/// Whom an initiator calls, and for what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// The peer that must answer; `None` means any that our trust accepts. Trust is asked in both cases.
    pub peer: Option<PeerId>,
    /// The service, empty or up to 255 visible ASCII characters.
    pub service: String,
}

/// Starts a handshake as the initiator: appends HELLO to `output`. Draws 32 bytes for the nonce, then 32 for the share.
///
/// # Errors
/// [`Failure`] with [`Error::Misuse`] for a service or context that is too long, [`Error::Entropy`] if `rng` fails.
pub fn initiate(
    config: &Config,
    target: Target,
    rng: &mut impl TryCryptoRng,
    output: &mut BytesMut,
) -> Result<Step, Failure> {
    start(config, target, rng, output).map_err(|error| fail(Role::Initiator, Stage::Hello, error, &mut BytesMut::new()))
}

fn start(config: &Config, target: Target, rng: &mut impl TryCryptoRng, output: &mut BytesMut) -> Result<Step, Error> {
    config.check().and_then(|()| check_service(&target.service)).map_err(Error::Misuse)?;
    let nonce = agreement::nonce(rng)?;
    let ephemeral = Ephemeral::generate(rng)?;
    let offer: Vec<Suite> = Suite::ALL.into();
    let share = Share { kind: ShareKind::X25519.code(), data: ephemeral.share().to_vec() };
    let hello = Hello { nonce, suites: offer.iter().map(|suite| suite.code()).collect(), shares: [share].into() };
    let mut body = BytesMut::new();
    hello.encode(&mut body)?;
    let header = Header { frame: FrameType::Hello, len: body.len() }.encode();
    let mut transcript = Transcript::new(&config.context)?;
    transcript.add(Item::Frame, &[&header, &body])?;
    output.extend_from_slice(&header);
    output.extend_from_slice(&body);
    let state = AwaitHelloReply { config: config.clone(), target, transcript, offer, nonce, ephemeral };
    Ok(await_more(Awaiting::HelloReply(Box::new(state))))
}

pub(super) struct AwaitHelloReply {
    config: Config,
    target: Target,
    transcript: Transcript,
    offer: Vec<Suite>,
    nonce: [u8; NONCE_LEN],
    ephemeral: Ephemeral,
}

impl AwaitHelloReply {
    pub(super) fn feed(mut self: Box<Self>, input: &mut BytesMut) -> Result<Step, Error> {
        let Some(frame) = take(input, FrameType::HelloReply, true)? else {
            return Ok(await_more(Awaiting::HelloReply(self)));
        };
        // [HS-7]
        let reply = HelloReply::decode(&frame.body)?;
        // [HS-8]
        let suite = Suite::from_code(reply.suite).filter(|suite| self.offer.contains(suite));
        let suite = suite.ok_or(Error::Malformed(Malformed::Field("suite")))?;
        let share = reply.shares.try_into().map_err(|_| Error::Malformed(Malformed::Field("shares_r")))?;
        // [HS-9]
        if reply.nonce == self.nonce || share == self.ephemeral.share() {
            return Err(Error::Untrusted(Untrusted::Echo));
        }
        let shared = self.ephemeral.agree(share)?;
        self.transcript.add(Item::Frame, &[&frame.header, &frame.body])?;
        let keys = AuthKeys::new(HandshakeSecret::new(&shared)?, Role::Initiator, &self.transcript.hash())?;
        let AwaitHelloReply { config, target, transcript, .. } = *self;
        Ok(await_more(Awaiting::AuthR(Box::new(AwaitAuthR { config, target, transcript, suite, keys }))))
    }
}

#[derive(Debug)]
pub(super) struct AwaitAuthR {
    config: Config,
    target: Target,
    transcript: Transcript,
    suite: Suite,
    keys: AuthKeys,
}

impl AwaitAuthR {
    pub(super) fn feed(mut self: Box<Self>, input: &mut BytesMut) -> Result<Step, Error> {
        let Some(frame) = take(input, FrameType::AuthR, false)? else {
            return Ok(await_more(Awaiting::AuthR(self)));
        };
        let proven = auth::check(frame, Role::Initiator, &mut self.transcript, &mut self.keys)?;
        // [ID-3]
        let key = proven.credential.public_key();
        if *key == self.config.identity.public_key() && !self.config.allow_own_key {
            return Err(Error::Untrusted(Untrusted::OwnKey));
        }
        // [HS-15]
        if let Some(expected) = self.target.peer.filter(|expected| !expected.matches(key)) {
            return Err(Error::Untrusted(Untrusted::NotExpected {
                expected: expected.fingerprint().to_string().into(),
                got: key.fingerprint().to_string().into(),
            }));
        }
        Ok(Step::VerifyPeer(VerifyPeer(Deciding::Initiator(Box::new(DecidePeer { state: *self, proven })))))
    }
}

#[derive(Debug)]
pub(super) struct DecidePeer {
    state: AwaitAuthR,
    proven: Proven,
}

impl DecidePeer {
    pub(super) fn credential(&self) -> &Credential {
        &self.proven.credential
    }

    pub(super) fn service(&self) -> &str {
        &self.state.target.service
    }

    pub(super) fn decide(self, decision: Decision) -> Result<Step, Error> {
        let DecidePeer { mut state, proven } = self;
        let name = match decision {
            Decision::Accept { name } => name,
            Decision::Refuse(refusal) => {
                let got = proven.credential.public_key().fingerprint().to_string().into();
                return Err(Error::Untrusted(Untrusted::NotTrusted { got, refusal }));
            }
        };
        let peer = PeerVerified(Peer::new(proven.credential.clone(), name));
        let (unsigned, input) = auth::begin(&mut state.transcript, &state.config, Some(&state.target.service))?;
        let next = AwaitSignature { state, unsigned, proven, peer };
        Ok(Step::Sign(Sign { input, next: Signing::Initiator(Box::new(next)) }))
    }
}

#[derive(Debug)]
pub(super) struct AwaitSignature {
    state: AwaitAuthR,
    unsigned: Unsigned,
    proven: Proven,
    peer: PeerVerified,
}

impl AwaitSignature {
    pub(super) fn signed(self, signature: &[u8; SIGNATURE_LEN], output: &mut BytesMut) -> Result<Step, Error> {
        let AwaitSignature { state, unsigned, proven, peer } = self;
        let AwaitAuthR { target, mut transcript, suite, mut keys, .. } = state;
        unsigned.finish(&mut transcript, &mut keys, signature, output)?;
        let keys = keys.into_session_keys(Role::Initiator, &transcript)?;
        let session = keys.into_session(target.service, suite, peer, proven.signature, proven.confirmation);
        Ok(await_more(Awaiting::Verdict(Box::new(AwaitVerdict(session)))))
    }
}

#[derive(Debug)]
pub(super) struct AwaitVerdict(Box<Session>);

impl AwaitVerdict {
    /// Our keys are there: what we have to say of a failure goes out sealed.
    pub(super) fn feed(mut self: Box<Self>, input: &mut BytesMut, output: &mut BytesMut) -> Result<Step, Error> {
        let opened = self.0.opener.open(input).inspect_err(|error| {
            if let Some(alert) = error.alert() {
                // Best effort: the failure itself is what is reported.
                let _ = self.0.sealer.seal_alert(alert, "", output);
            }
        });
        match opened? {
            Progress::Need(_) => Ok(await_more(Awaiting::Verdict(self))),
            Progress::Record { consumed, event: Event::Accepted } => {
                input.advance(consumed);
                Ok(Step::Complete(self.0))
            }
            Progress::Record { .. } => Err(Error::Misuse(Misuse::VerdictPending)),
        }
    }

    pub(super) fn into_session(self) -> Box<Session> {
        self.0
    }
}

fn await_more(state: Awaiting) -> Step {
    Step::NeedInput(NeedInput(state))
}

impl fmt::Debug for AwaitHelloReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AwaitHelloReply")
    }
}
