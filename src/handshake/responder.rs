//! The side that accepted the connection (specification, sections 8.1 to 8.3 and 8.5).

use alloc::boxed::Box;

use bytes::BytesMut;
use rand_core::TryCryptoRng;

use crate::config::Config;
use crate::crypto::agreement::{self, SharedSecret, X25519Share};
use crate::crypto::schedule::EarlySecret;
use crate::crypto::suite::{ShareKind, Suite};
use crate::error::{Error, Failure, Malformed, Reason, Refusal, Untrusted};
use crate::handshake::auth::{self, AuthKeys, PeerVerified, Proven, SessionKeys, Unsigned};
use crate::handshake::{Awaiting, Deciding, NeedInput, Sign, Signing, Step, VerifyPeer, fail, take};
use crate::identity::Credential;
use crate::keylog::SessionLog;
use crate::limits::{NONCE_LEN, SIGNATURE_LEN, X25519_LEN};
use crate::role::{Role, Stage};
use crate::secret::Secret;
use crate::transcript::{Item, Transcript};
use crate::trust::{Decision, Grant};
use crate::wire::frame::{Frame, FrameType, Header};
use crate::wire::message::{Hello, HelloReply};

/// Starts a handshake as the responder. Draws 32 bytes for the nonce, 32 for the X25519 share and 32 for ML-KEM-768, whether or not they will
/// be needed; nothing is computed from them before HELLO is there.
///
/// # Errors
/// [`Failure`] with [`Error::Misuse`] for a context or list of suites that can't be, [`Error::Entropy`] if `rng` fails.
pub fn respond(config: &Config, rng: &mut impl TryCryptoRng) -> Result<Step, Failure> {
    start(config, rng).map_err(|error| fail(Role::Responder, Stage::Hello, error, &mut BytesMut::new()))
}

fn start(config: &Config, rng: &mut impl TryCryptoRng) -> Result<Step, Error> {
    let config = config.current();
    config.check().map_err(Error::Misuse)?;
    let nonce = agreement::nonce(rng)?;
    let mut draw = || Secret::fill(|bytes| rng.try_fill_bytes(bytes)).map_err(|_| Error::Entropy);
    let (x25519, mlkem) = (draw()?, draw()?);
    Ok(await_more(Awaiting::Hello(Box::new(AwaitHello { config, nonce, x25519, mlkem }))))
}

#[derive(Debug)]
pub(super) struct AwaitHello {
    config: Config,
    nonce: [u8; NONCE_LEN],
    x25519: Secret<X25519_LEN>,
    mlkem: Secret<32>,
}

impl AwaitHello {
    /// Whether nothing may be sent, whatever comes [NK-3].
    pub(super) fn is_silent(&self) -> bool {
        self.config.network_key.is_some()
    }

    pub(super) fn feed(self: Box<Self>, input: &mut BytesMut, output: &mut BytesMut) -> Result<Step, Failure> {
        let fail_here = |error, output: &mut BytesMut| fail(Role::Responder, Stage::Hello, error, output);
        let early = match self.check_network(input) {
            Ok(Some((early, frame))) => {
                return self.hello(early, frame, output).map_err(|error| fail_here(error, output));
            }
            Ok(None) => return Ok(await_more(Awaiting::Hello(self))),
            Err(error) => error,
        };
        // [NK-3]
        if self.is_silent() {
            return Err(Failure { role: Role::Responder, stage: Stage::Hello, error: early });
        }
        Err(fail_here(early, output))
    }

    /// Takes HELLO and, with a network key, checks its tag before any field is looked at.
    fn check_network(&self, input: &mut BytesMut) -> Result<Option<(EarlySecret, Frame)>, Error> {
        let Some(frame) = take(input, FrameType::Hello, true)? else { return Ok(None) };
        let early = EarlySecret::new(self.config.network_key.as_ref())?;
        if self.is_silent() {
            // [NK-2]
            let split = frame.body.split_last_chunk().filter(|(fields, _)| fields.len() >= MIN_HELLO_LEN);
            let (fields, tag) = split.ok_or(Error::Untrusted(Untrusted::NetworkKey))?;
            early.network_tag_key()?.check(&[&frame.header, fields], tag)?;
        }
        Ok(Some((early, frame)))
    }

    fn hello(self: Box<Self>, early: EarlySecret, frame: Frame, output: &mut BytesMut) -> Result<Step, Error> {
        // [HS-2] [HS-3]
        let hello = Hello::decode(&frame.body)?;
        check_lengths(&hello)?;
        if hello.network_tag.is_none() && self.is_silent() {
            return Err(Error::Malformed(Malformed::Short("network_tag")));
        }
        // [NK-5]
        if hello.network_tag.is_some() && !self.is_silent() {
            return Err(Error::Untrusted(Untrusted::NetworkKeyUnexpected));
        }
        check_completeness(&hello)?;
        // [HS-5]
        let suite = self.config.choose(&hello.suites).ok_or(Error::NoCommonSuite)?;
        // [HS-27]
        let encapsulated = match suite.is_hybrid() {
            true => Some(agreement::encapsulate(share(&hello, ShareKind::MlKem768)?, &self.mlkem)?),
            false => None,
        };
        let x25519 = X25519Share::from_secret(&self.x25519)?;
        // [HS-6]
        let dh = x25519.agree(share(&hello, ShareKind::X25519)?)?;
        let mut shares = BytesMut::from(x25519.share().as_slice());
        let mlkem = encapsulated.map(|(ciphertext, secret)| {
            shares.extend_from_slice(&ciphertext);
            secret
        });

        let mut body = BytesMut::new();
        HelloReply { suite: suite.code(), nonce: self.nonce, shares: &shares }.encode(&mut body);
        let header = Header { frame: FrameType::HelloReply, len: body.len() }.encode();
        let mut transcript = Transcript::new(&self.config.context)?;
        transcript.add(Item::Frame, &[&frame.header, &frame.body])?;
        transcript.add(Item::Frame, &[&header, &body])?;
        let log = SessionLog::new(self.config.key_log.as_ref(), &hello.nonce, &self.nonce, suite);
        let secret = early.into_handshake(&SharedSecret::new(mlkem, &dh))?;
        let keys = AuthKeys::new(secret, suite, Role::Responder, &transcript.hash(), log)?;
        let (unsigned, to_sign) = auth::begin(&mut transcript, &self.config, None)?;
        output.extend_from_slice(&header);
        output.extend_from_slice(&body);
        let state = AwaitAuthI { config: self.config, transcript, keys };
        let signer = state.config.signer.clone();
        let next = Signing::Responder(Box::new(AwaitSignature { state, unsigned }));
        Ok(Step::Sign(Sign { input: to_sign, signer, next }))
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
    keys: AuthKeys,
}

impl AwaitAuthI {
    pub(super) fn feed(mut self: Box<Self>, input: &mut BytesMut) -> Result<Step, Error> {
        let Some(frame) = take(input, FrameType::AuthI, false)? else {
            return Ok(await_more(Awaiting::AuthI(self)));
        };
        let proven = auth::check(frame, Role::Responder, &mut self.transcript, &mut self.keys)?;
        let AwaitAuthI { config, transcript, keys } = *self;
        let keys = keys.into_session_keys(Role::Responder, &config, &transcript)?;
        Ok(Step::VerifyPeer(VerifyPeer(Deciding::Responder(Box::new(DecidePeer { config, keys, proven })))))
    }
}

#[derive(Debug)]
pub(super) struct DecidePeer {
    config: Config,
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

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// Sends the VERDICT. Our own key and a service that is not offered are refused whatever was decided.
    pub(super) fn decide(self, decision: Decision, output: &mut BytesMut) -> Result<Step, Error> {
        let refusal = self.objection(&decision);
        let DecidePeer { keys, proven, .. } = self;
        if let Some(refusal) = refusal {
            // What the wire does not carry is cut here rather than failing to refuse.
            let refusal = Refusal::new(refusal.reason, &refusal.text);
            keys.into_sealer().seal_verdict(Some(&refusal), output)?;
            return Err(Error::Denied(refusal));
        }
        let grant = if let Decision::Accept(grant) = decision { grant } else { Grant::default() };
        let peer = PeerVerified(auth::peer(proven.credential, grant));
        let mut session = keys.into_session(proven.service, peer, proven.signature, proven.confirmation);
        session.sealer.seal_verdict(None, output)?;
        Ok(Step::Complete(session))
    }

    fn objection(&self, decision: &Decision) -> Option<Refusal> {
        // [ID-3] [HS-26]
        if *self.proven.credential.public_key() == self.config.public_key && !self.config.allow_own_key {
            return Some(Refusal::new(Reason::OwnIdentity, ""));
        }
        if let Decision::Refuse(denial) = decision {
            return Some(denial.refusal.clone());
        }
        if !self.config.offers(&self.proven.service) {
            return Some(Refusal::new(Reason::ServiceUnavailable, ""));
        }
        None
    }
}

/// Shares of known kinds have their exact length.
fn check_lengths(hello: &Hello) -> Result<(), Error> {
    // [HS-3]
    let bad = hello
        .shares
        .iter()
        .any(|sent| ShareKind::from_code(sent.kind).is_some_and(|kind| kind.initiator_len() != sent.data.len()));
    if bad { Err(Error::Malformed(Malformed::Field("shares"))) } else { Ok(()) }
}

/// The shares that the known suites need are there.
fn check_completeness(hello: &Hello) -> Result<(), Error> {
    // [HS-4]
    let mut needed =
        hello.suites.iter().filter_map(|code| Suite::from_code(*code)).flat_map(|suite| suite.share_kinds().iter());
    let complete = needed.all(|kind| hello.shares.iter().any(|sent| sent.kind == kind.code()));
    if complete { Ok(()) } else { Err(Error::Malformed(Malformed::Field("shares"))) }
}

fn share<const N: usize>(hello: &Hello, kind: ShareKind) -> Result<&[u8; N], Error> {
    let share = hello.shares.iter().find(|share| share.kind == kind.code());
    let data = share.and_then(|share| share.data.as_slice().try_into().ok());
    data.ok_or(Error::Malformed(Malformed::Field("shares")))
}

fn await_more(state: Awaiting) -> Step {
    Step::NeedInput(NeedInput(state))
}

/// The fields of section 6.2 at their shortest.
const MIN_HELLO_LEN: usize = 42;
