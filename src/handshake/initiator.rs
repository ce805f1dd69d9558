//! The side that opened the connection (specification, sections 8.1 to 8.3 and 8.5).

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use bytes::{Buf, BytesMut};
use rand_core::TryCryptoRng;

use crate::config::Config;
use crate::crypto::agreement::{self, MlKemShare, SharedSecret, X25519Share};
use crate::crypto::schedule::EarlySecret;
use crate::crypto::suite::{ShareKind, Suite};
use crate::error::{Error, Failure, Malformed, Misuse, Untrusted};
use crate::handshake::auth::{self, AuthKeys, PeerVerified, Proven, Unsigned};
use crate::handshake::{Awaiting, Deciding, NeedInput, Sign, Signing, Step, VerifyPeer, fail, take};
use crate::identity::{Credential, Name, PeerId, PublicKey};
use crate::keylog::SessionLog;
use crate::limits::{HEADER_LEN, NETWORK_KEY_LEN, NONCE_LEN, SIGNATURE_LEN};
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
    /// The name that the peer's certificate must have, by a CA that our trust accepts; `None` means that names don't matter.
    pub name: Option<Name>,
    /// The service, empty or up to 255 visible ASCII characters.
    pub service: String,
}

impl Target {
    /// Whether the peer is the one expected, or that one vouches for its key.
    fn check_peer(&self, key: &PublicKey, predecessor: Option<&PublicKey>) -> Result<(), Error> {
        let is = |expected: &PeerId| expected.matches(key) || predecessor.is_some_and(|key| expected.matches(key));
        match &self.peer {
            Some(expected) if !is(expected) => Err(Error::Untrusted(Untrusted::NotExpected {
                expected: expected.fingerprint().to_string().into(),
                got: key.fingerprint().to_string().into(),
            })),
            _ => Ok(()),
        }
    }

    /// Whether the peer has the name that is expected, among those that a CA vouches for.
    fn check_name(&self, key: &PublicKey, names: &[Name]) -> Result<(), Error> {
        match &self.name {
            Some(expected) if !names.iter().any(|name| name.covers(expected)) => {
                let shown: Vec<String> = names.iter().take(MAX_SHOWN).map(Name::to_string).collect();
                let names = if shown.is_empty() { "no name".to_string() } else { shown.join(", ") };
                Err(Error::Untrusted(Untrusted::NotExpected {
                    expected: expected.to_string().into(),
                    got: alloc::format!("{names} ({})", key.fingerprint()).into(),
                }))
            }
            _ => Ok(()),
        }
    }
}

/// Starts a handshake as the initiator: appends HELLO to `output`. Draws 32 bytes for the nonce, 32 for the X25519 share and, if a
/// hybrid suite is offered, 64 for the ML-KEM-768 share.
///
/// # Errors
/// [`Failure`] with [`Error::Misuse`] for a service, context or list of suites that can't be, [`Error::Entropy`] if `rng` fails.
pub fn initiate(
    config: &Config,
    target: Target,
    rng: &mut impl TryCryptoRng,
    output: &mut BytesMut,
) -> Result<Step, Failure> {
    start(config, target, rng, output).map_err(|error| fail(Role::Initiator, Stage::Hello, error, &mut BytesMut::new()))
}

fn start(config: &Config, target: Target, rng: &mut impl TryCryptoRng, output: &mut BytesMut) -> Result<Step, Error> {
    let config = &config.current();
    config.check().and_then(|()| check_service(&target.service)).map_err(Error::Misuse)?;
    let nonce = agreement::nonce(rng)?;
    let x25519 = X25519Share::generate(rng)?;
    let offer = config.offered_suites();
    let mlkem = offer.iter().any(|suite| suite.is_hybrid()).then(|| MlKemShare::generate(rng)).transpose()?;
    let mut shares = Vec::from([Share { kind: ShareKind::X25519.code(), data: x25519.share().to_vec() }]);
    if let Some(mlkem) = &mlkem {
        shares.push(Share { kind: ShareKind::MlKem768.code(), data: mlkem.share().to_vec() });
    }
    let suites = offer.iter().map(|suite| suite.code()).collect();
    let mut body = BytesMut::new();
    Hello { nonce, suites, shares, network_tag: None }.encode(&mut body)?;
    let early = EarlySecret::new(config.network_key.as_ref())?;
    let tag_len = if config.network_key.is_some() { NETWORK_KEY_LEN } else { 0 };
    let header = Header { frame: FrameType::Hello, len: body.len() + tag_len }.encode();
    if config.network_key.is_some() {
        // [NK-1]
        let tag = early.network_tag_key()?.compute(&[&header, &body])?;
        body.extend_from_slice(&tag);
    }
    let mut transcript = Transcript::new(&config.context)?;
    transcript.add(Item::Frame, &[&header, &body])?;
    output.reserve(HEADER_LEN + body.len());
    output.extend_from_slice(&header);
    output.extend_from_slice(&body);
    let state = AwaitHelloReply { config: config.clone(), target, transcript, offer, nonce, early, x25519, mlkem };
    Ok(await_more(Awaiting::HelloReply(Box::new(state))))
}

pub(super) struct AwaitHelloReply {
    config: Config,
    target: Target,
    transcript: Transcript,
    offer: Vec<Suite>,
    nonce: [u8; NONCE_LEN],
    early: EarlySecret,
    x25519: X25519Share,
    mlkem: Option<MlKemShare>,
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
        let bad_shares = Error::Malformed(Malformed::Field("shares_r"));
        if reply.shares.len() != suite.responder_len() {
            return Err(bad_shares);
        }
        let (share, ciphertext) = reply.shares.split_first_chunk().ok_or(bad_shares.clone())?;
        // [HS-9]
        if reply.nonce == self.nonce || share == self.x25519.share() {
            return Err(Error::Untrusted(Untrusted::Echo));
        }
        // [HS-10]
        let dh = self.x25519.agree(share)?;
        let mlkem = match (suite.is_hybrid(), self.mlkem.take()) {
            (false, _) => None,
            (true, Some(mlkem)) => Some(mlkem.decapsulate(ciphertext.try_into().map_err(|_| bad_shares)?)),
            (true, None) => return Err(Error::Internal("a hybrid suite was offered without its share")),
        };
        self.transcript.add(Item::Frame, &[&frame.header, &frame.body])?;
        let log = SessionLog::new(self.config.key_log.as_ref(), &self.nonce, &reply.nonce, suite);
        let secret = self.early.into_handshake(&SharedSecret::new(mlkem, &dh))?;
        let keys = AuthKeys::new(secret, suite, Role::Initiator, &self.transcript.hash(), log)?;
        let AwaitHelloReply { config, target, transcript, .. } = *self;
        Ok(await_more(Awaiting::AuthR(Box::new(AwaitAuthR { config, target, transcript, keys }))))
    }
}

#[derive(Debug)]
pub(super) struct AwaitAuthR {
    config: Config,
    target: Target,
    transcript: Transcript,
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
        if *key == self.config.public_key && !self.config.allow_own_key {
            return Err(Error::Untrusted(Untrusted::OwnKey));
        }
        // [HS-15] A certificate may be one by which the expected key vouches for this one: trust tells.
        if matches!(proven.credential, Credential::RawKey(_)) {
            self.target.check_peer(key, None)?;
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

    pub(super) fn config(&self) -> &Config {
        &self.state.config
    }

    pub(super) fn decide(self, decision: Decision) -> Result<Step, Error> {
        let DecidePeer { mut state, proven } = self;
        let key = proven.credential.public_key();
        let grant = match decision {
            Decision::Accept(grant) => grant,
            Decision::Refuse(denial) => {
                state.target.check_peer(key, None)?;
                let got = key.fingerprint().to_string().into();
                return Err(Error::Untrusted(Untrusted::NotTrusted {
                    got,
                    refusal: denial.refusal,
                    rule: denial.rule.into(),
                }));
            }
        };
        // [HS-15]
        state.target.check_peer(key, grant.predecessor.as_ref())?;
        state.target.check_name(key, &grant.names)?;
        let peer = PeerVerified(auth::peer(proven.credential.clone(), grant));
        let (unsigned, input) = auth::begin(&mut state.transcript, &state.config, Some(&state.target.service))?;
        let next = AwaitSignature { state, unsigned, proven, peer };
        let signer = next.state.config.signer.clone();
        Ok(Step::Sign(Sign { input, signer, next: Signing::Initiator(Box::new(next)) }))
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
        let AwaitAuthR { config, target, mut transcript, mut keys } = state;
        unsigned.finish(&mut transcript, &mut keys, signature, output)?;
        let keys = keys.into_session_keys(Role::Initiator, &config, &transcript)?;
        let session = keys.into_session(target.service, peer, proven.signature, proven.confirmation);
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

    pub(super) fn seal_first(&mut self, mut data: &[u8], output: &mut BytesMut) -> Result<(), Error> {
        while !data.is_empty() {
            let taken = self.0.sealer.seal_data([data].into_iter(), output)?;
            data = data.get(taken..).unwrap_or_default();
        }
        Ok(())
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

/// Names of a peer that are shown when none of them is the expected one.
const MAX_SHOWN: usize = 4;
