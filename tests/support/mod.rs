//! What the tests share: both ends of a handshake in memory, and randomness that replays.
#![allow(dead_code, missing_docs, unreachable_pub)]

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, BytesMut};
use countersign::config::Config;
use countersign::crypto::suite::Suite;
use countersign::error::{Error, Failure};
use countersign::handshake::{Step, Target, initiate, respond};
use countersign::identity::{Identity, PeerId};
use countersign::session::{Event, Opener, Progress, Session};
use countersign::trust::{Decision, Pinned, Request, from_fn};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_core::{TryCryptoRng, TryRng};

/// Gives out the bytes that it was made of, and panics when there are no more.
pub struct ReplayRng(pub Vec<u8>);

impl TryRng for ReplayRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes).map(|()| u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes).map(|()| u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        out.copy_from_slice(&self.0[..out.len()]);
        self.0.drain(..out.len());
        Ok(())
    }
}

impl TryCryptoRng for ReplayRng {}

/// A seeded generator; the seed is printed, and shown when the test fails.
pub fn seeded(seed: u64) -> ChaCha8Rng {
    println!("seed {seed}");
    ChaCha8Rng::seed_from_u64(seed)
}

/// For loops, where one line says it for all.
pub fn seeded_quietly(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

pub fn identity(byte: u8) -> Identity {
    Identity::from_seed(&mut [byte; 32]).expect("an identity")
}

pub fn peer_id(byte: u8) -> PeerId {
    identity(byte).public_key().into()
}

/// Identity `own` that trusts identity `peer` and nobody else.
pub fn config(own: u8, peer: u8) -> Config {
    Config::new(identity(own), Pinned::new([peer_id(peer)]))
}

/// The classical suite, without padding: the shortest handshake there is, 474 bytes.
pub fn short(config: Config) -> Config {
    config.suites([Suite::X25519ChaCha20Poly1305Sha256]).auth_padding(0)
}

pub fn trusting_all(own: u8) -> Config {
    Config::new(identity(own), from_fn(|_| Decision::accept()))
}

/// The value of a future that is ready.
pub fn now<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("the future is not ready"),
    }
}

/// One end of a handshake.
pub struct End {
    pub config: Config,
    pub step: Option<Step>,
    pub input: BytesMut,
    pub output: BytesMut,
    pub session: Option<Box<Session>>,
    pub failure: Option<Failure>,
    pub asked: Vec<Request>,
}

impl End {
    pub fn initiator(config: &Config, target: Target, rng: &mut impl TryCryptoRng) -> Self {
        let mut output = BytesMut::new();
        let step = initiate(config, target, rng, &mut output);
        Self::new(config, step, output)
    }

    pub fn responder(config: &Config, rng: &mut impl TryCryptoRng) -> Self {
        Self::new(config, respond(config, rng), BytesMut::new())
    }

    fn new(config: &Config, step: Result<Step, Failure>, output: BytesMut) -> Self {
        let (step, failure) = match step {
            Ok(step) => (Some(step), None),
            Err(failure) => (None, Some(failure)),
        };
        let (input, session, asked) = (BytesMut::new(), None, Vec::new());
        End { config: config.clone(), step, input, output, session, failure, asked }
    }

    /// Appends to the input and goes as far as it can.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        while let Some(step) = self.step.take() {
            let before = (self.input.len(), step.to_string());
            let next = match step {
                Step::NeedInput(need) => need.feed(&mut self.input, &mut self.output),
                Step::VerifyPeer(verify) => {
                    let request = verify.request(None);
                    let decision = now(self.config.trust().decide(&request));
                    self.asked.push(request);
                    verify.decide(decision, &mut self.output)
                }
                Step::Sign(sign) => {
                    let signature = now(self.config.signer().sign(sign.input()));
                    sign.signed(signature, &mut self.output)
                }
                Step::Complete(session) => {
                    self.session = Some(session);
                    return;
                }
            };
            match next {
                Ok(step @ Step::NeedInput(_)) if before == (self.input.len(), step.to_string()) => {
                    self.step = Some(step);
                    return;
                }
                Ok(step) => self.step = Some(step),
                Err(failure) => self.failure = Some(failure),
            }
        }
    }

    pub fn take_output(&mut self) -> Vec<u8> {
        self.output.split().to_vec()
    }

    pub fn is_complete(&self) -> bool {
        self.session.is_some()
    }
}

/// Runs both ends until neither has more to say.
pub fn run(initiator: &mut End, responder: &mut End) {
    loop {
        let (there, back) = (initiator.take_output(), responder.take_output());
        if there.is_empty() && back.is_empty() {
            return;
        }
        responder.feed(&there);
        initiator.feed(&back);
    }
}

/// The messages of an honest handshake: HELLO, then HELLO_REPLY and AUTH_R, AUTH_I, VERDICT; and both sessions.
pub struct Honest {
    pub flights: [Vec<u8>; 4],
    pub initiator: Box<Session>,
    pub responder: Box<Session>,
}

pub fn honest(initiator: &Config, responder: &Config, seed: u64) -> Honest {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut i = End::initiator(initiator, Target::default(), &mut rng);
    let mut r = End::responder(responder, &mut rng);
    let hello = i.take_output();
    r.feed(&hello);
    let reply = r.take_output();
    i.feed(&reply);
    let auth_i = i.take_output();
    r.feed(&auth_i);
    let verdict = r.take_output();
    i.feed(&verdict);
    let flights = [hello, reply, auth_i, verdict];
    Honest { flights, initiator: i.session.expect("initiator"), responder: r.session.expect("responder") }
}

/// The data that is delivered, and whether END came, or the error. Errors are checked to stay.
pub fn deliver(opener: &mut Opener, wire: &[u8]) -> (Vec<Vec<u8>>, Result<bool, Error>) {
    let mut input = BytesMut::from(wire);
    let mut delivered = Vec::new();
    loop {
        match opener.open(&mut input) {
            Ok(Progress::Record { consumed, event }) => {
                if let Event::Data(range) = event {
                    delivered.push(input[range].to_vec());
                }
                input.advance(consumed);
            }
            Ok(Progress::Need(_)) => return (delivered, Ok(opener.is_ended())),
            Err(error) => {
                assert_eq!(opener.open(&mut [0; 64]), Err(error.clone()));
                assert_eq!(opener.check(), Err(error.clone()));
                return (delivered, Err(error));
            }
        }
    }
}

/// Cuts a run of bytes into its frames.
pub fn frames(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let len = 4 + usize::from(bytes[1]) * 65_536 + usize::from(bytes[2]) * 256 + usize::from(bytes[3]);
        let (frame, rest) = bytes.split_at(len);
        frames.push(frame.to_vec());
        bytes = rest;
    }
    frames
}

pub fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).expect("hex")).collect()
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
