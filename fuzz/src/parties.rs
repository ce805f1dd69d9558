//! Two honest parties, and a machine that takes either through a handshake and its session, on bytes alone.

use std::pin::pin;
use std::sync::LazyLock;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, BytesMut};
use countersign::config::Config;
use countersign::crypto::network::NetworkKey;
use countersign::crypto::suite::{Aead, Suite};
use countersign::error::Error;
use countersign::handshake::{NeedInput, Step, Target, initiate, respond};
use countersign::identity::{Identity, PeerId, PublicKey};
use countersign::role::{Role, Stage};
use countersign::session::{Event, Progress, Session, SessionId};
use countersign::trust::Pinned;
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;

/// The service that the initiator asks for, and the only one that the responder offers.
pub const SERVICE: &str = "echo";

/// The AEAD of the parties' suite.
pub const AEAD: Aead = Aead::ChaCha20Poly1305;

/// The long-term identity of an honest party.
pub fn identity(role: Role) -> Identity {
    match role {
        Role::Initiator => Identity::from_seed(&mut [0x11; 32]).expect("a backend"),
        Role::Responder => Identity::from_seed(&mut [0x22; 32]).expect("a backend"),
    }
}

/// An identity that nobody trusts.
pub fn stranger() -> Identity {
    Identity::from_seed(&mut [0x33; 32]).expect("a backend")
}

/// The public key of an honest party.
pub fn key(role: Role) -> PublicKey {
    config(role).public_key()
}

/// Each party trusts the other, and nobody else.
pub fn config(role: Role) -> &'static Config {
    static CONFIGS: LazyLock<[Config; 2]> = LazyLock::new(|| {
        [Role::Initiator, Role::Responder].map(|role| {
            let peer = PeerId::Key(identity(role.peer()).public_key());
            let config = Config::new(identity(role), Pinned::new([peer])).context("fuzz").services([SERVICE]);
            // The smallest handshake: what an input edits is then seldom a share or padding.
            config.suites([Suite::X25519ChaCha20Poly1305Sha256]).auth_padding(0)
        })
    });
    match role {
        Role::Initiator => &CONFIGS[0],
        Role::Responder => &CONFIGS[1],
    }
}

/// The network key of those that have one.
pub fn network_key() -> NetworkKey {
    NetworkKey::take(&mut [0x44; 32]).expect("a key")
}

/// As [`config`], with all suites, in this order, and with a network key or without.
pub fn wide_config(role: Role, network: bool) -> &'static Config {
    static CONFIGS: LazyLock<[[Config; 2]; 2]> = LazyLock::new(|| {
        [Role::Initiator, Role::Responder].map(|role| {
            let wide = config(role).clone().suites(WIDE);
            [wide.clone(), wide.network_key(network_key())]
        })
    });
    match role {
        Role::Initiator => &CONFIGS[0][usize::from(network)],
        Role::Responder => &CONFIGS[1][usize::from(network)],
    }
}

/// The suites of a wide party, most preferred first: numbers 2, 1, 4, 3.
const WIDE: [Suite; 4] = [
    Suite::X25519MlKem768ChaCha20Poly1305Sha256,
    Suite::X25519ChaCha20Poly1305Sha256,
    Suite::X25519MlKem768Aes256GcmSha256,
    Suite::X25519Aes256GcmSha256,
];

/// A generator that depends on all of `data` (FNV-1a) and on `stream`.
pub fn rng(data: &[u8], stream: u64) -> ChaCha8Rng {
    let digest = data.iter().fold(0xCBF2_9CE4_8422_2325_u64 ^ stream, |digest, byte| {
        (digest ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3)
    });
    ChaCha8Rng::seed_from_u64(digest)
}

/// One side of a connection.
pub struct Machine {
    config: &'static Config,
    state: State,
    eager: bool,
    input: BytesMut,
    /// What is to be sent.
    pub output: BytesMut,
    /// The peer's key, once it was proved and our trust was asked about it.
    pub asked: Option<PublicKey>,
    /// Our signature has been sent.
    pub signed: bool,
    /// The handshake is complete: for the initiator, the verdict has come.
    pub accepted: bool,
    /// The session, from when its keys are there.
    pub session_id: Option<SessionId>,
    /// The peer that the session names.
    pub peer: Option<PublicKey>,
    /// The service that the session names.
    pub service: String,
    /// Data of the peer.
    pub received: Vec<u8>,
    /// The peer's END has come.
    pub ended: bool,
    /// What ended it.
    pub error: Option<Error>,
}

enum State {
    Waiting(NeedInput),
    Session(Box<Session>),
    Over,
}

impl Machine {
    /// An honest party whose randomness is that of `data` and `stream`; an eager initiator does not wait for the
    /// verdict.
    pub fn new(role: Role, data: &[u8], stream: u64, eager: bool) -> Self {
        Self::with(config(role), role, data, stream, eager)
    }

    /// The same, with another configuration.
    pub fn with(config: &'static Config, role: Role, data: &[u8], stream: u64, eager: bool) -> Self {
        let mut rng = rng(data, stream);
        let mut output = BytesMut::new();
        let step = match role {
            Role::Initiator => {
                let target = Target {
                    peer: Some(PeerId::Key(key(Role::Responder))),
                    service: SERVICE.into(),
                    ..Target::default()
                };
                initiate(config, target, &mut rng, &mut output)
            }
            Role::Responder => respond(config, &mut rng),
        };
        let mut machine = Machine {
            config,
            state: State::Over,
            eager,
            input: BytesMut::new(),
            output,
            asked: None,
            signed: false,
            accepted: false,
            session_id: None,
            peer: None,
            service: String::new(),
            received: Vec::new(),
            ended: false,
            error: None,
        };
        machine.state = machine.settle(step.expect("an honest start")).expect("an honest start");
        machine
    }

    /// Gives it bytes of the peer. What it says to them is in `output`.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        loop {
            let before = (self.input.len(), self.stage());
            self.state = match std::mem::replace(&mut self.state, State::Over) {
                State::Waiting(need) => {
                    let stepped = need.feed(&mut self.input, &mut self.output).map_err(|failure| failure.error);
                    stepped.and_then(|step| self.settle(step)).unwrap_or_else(|error| self.fail(error))
                }
                State::Session(mut session) => {
                    let opened = session.open(&mut self.input);
                    self.heard(session, opened)
                }
                State::Over => return,
            };
            if before == (self.input.len(), self.stage()) {
                return;
            }
        }
    }

    /// The transport has ended.
    pub fn finish(&mut self) {
        self.state = match std::mem::replace(&mut self.state, State::Over) {
            State::Waiting(need) => self.fail(need.truncated().error),
            State::Session(mut session) => match session.opener.finish() {
                Ok(()) => State::Session(session),
                Err(error) => self.fail(error),
            },
            State::Over => State::Over,
        }
    }

    /// The session, to send with.
    pub fn session(&mut self) -> Option<&mut Session> {
        match &mut self.state {
            State::Session(session) => Some(session),
            _ => None,
        }
    }

    /// What it waits for in the handshake.
    pub fn stage(&self) -> Option<Stage> {
        match &self.state {
            State::Waiting(need) => Some(need.stage()),
            _ => None,
        }
    }

    /// Decides and signs until bytes are needed.
    fn settle(&mut self, mut step: Step) -> Result<State, Error> {
        loop {
            step = match step {
                Step::NeedInput(need) if self.eager => match need.into_eager() {
                    Ok(session) => return Ok(self.begin(session)),
                    Err(need) => return Ok(State::Waiting(need)),
                },
                Step::NeedInput(need) => return Ok(State::Waiting(need)),
                Step::VerifyPeer(verify) => {
                    let request = verify.request(None);
                    self.asked = Some(*request.public_key());
                    let decision = now(self.config.trust().decide(&request));
                    verify.decide(decision, &mut self.output).map_err(|failure| failure.error)?
                }
                Step::Sign(sign) => {
                    self.signed = true;
                    let signature = now(self.config.signer().sign(sign.input()));
                    sign.signed(signature, &mut self.output).map_err(|failure| failure.error)?
                }
                Step::Complete(session) => {
                    self.accepted = true;
                    return Ok(self.begin(session));
                }
            }
        }
    }

    fn begin(&mut self, session: Box<Session>) -> State {
        self.session_id = Some(session.info.session_id);
        self.peer = Some(*session.info.peer.public_key());
        self.service.clone_from(&session.info.service);
        State::Session(session)
    }

    fn heard(&mut self, mut session: Box<Session>, opened: Result<Progress, Error>) -> State {
        match opened {
            Ok(Progress::Need(missing)) => {
                assert!(missing > 0, "nothing is missing and nothing comes");
                State::Session(session)
            }
            Ok(Progress::Record { consumed, event }) => {
                match event {
                    Event::Accepted => self.accepted = true,
                    Event::Data(range) => self.received.extend_from_slice(&self.input[range]),
                    Event::End => self.ended = true,
                    Event::Rekey | Event::KeepAlive => {}
                }
                self.input.advance(consumed);
                State::Session(session)
            }
            Err(error) => {
                assert_eq!(session.opener.open(&mut self.input), Err(error.clone()), "the error is not latched");
                if let Some(alert) = error.alert() {
                    // Not possible after our END.
                    let _ = session.sealer.seal_alert(alert, "", &mut self.output);
                }
                self.fail(error)
            }
        }
    }

    fn fail(&mut self, error: Error) -> State {
        self.error = Some(error);
        State::Over
    }
}

/// Cuts what an honest party sends into its frames.
pub fn split(mut output: &[u8]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    while let [_, a, b, c, ..] = *output {
        let len = 4 + usize::from(a) * 65_536 + usize::from(b) * 256 + usize::from(c);
        let (frame, rest) = output.split_at(len);
        frames.push(frame.to_vec());
        output = rest;
    }
    assert!(output.is_empty(), "an honest party sends whole frames");
    frames
}

/// The result of a future that is ready.
pub fn now<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("not ready"),
    }
}
