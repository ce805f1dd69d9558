//! One side of a handshake without sockets, driven as a program drives it; nothing here costs more than the program
//! would pay. Randomness is seeded: the same handshake comes again and again, so that one side can be run alone against
//! what the other said before.
#![allow(dead_code)]

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;
use countersign::crypto::suite::Suite;
use countersign::handshake::{Step, Target, initiate, respond};
use countersign::identity::PeerId;
use countersign::role::Role;
use countersign::session::Session;
use countersign::trust::Pinned;
use countersign::{Config, Identity};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// One side, with buffers of its own.
pub struct Side<'a> {
    config: &'a Config,
    step: Option<Step>,
    pub input: BytesMut,
    pub output: BytesMut,
}

/// Two that trust each other, and what they say: HELLO; HELLO_REPLY and AUTH_R; AUTH_I; VERDICT.
pub struct Pair {
    pub configs: [Config; 2],
    pub flights: [Vec<u8>; 4],
}

impl<'a> Side<'a> {
    pub fn new(role: Role, config: &'a Config) -> Self {
        let (mut rng, mut output) = (rng(role), BytesMut::new());
        let step = match role {
            Role::Initiator => initiate(config, Target::default(), &mut rng, &mut output).expect("initiate"),
            Role::Responder => respond(config, &mut rng).expect("respond"),
        };
        Side { config, step: Some(step), input: BytesMut::new(), output }
    }

    /// Takes what came, in pieces as they would be read, and goes on until more is needed.
    pub fn advance<'b>(&mut self, mut pieces: impl Iterator<Item = &'b [u8]>) {
        let Side { config, step, input, output } = self;
        let mut now = step.take().expect("a step");
        loop {
            now = match now {
                Step::NeedInput(need) => {
                    let before = (input.len(), need.stage());
                    match need.feed(input, output).expect("fed") {
                        Step::NeedInput(need) if before == (input.len(), need.stage()) => {
                            let Some(piece) = pieces.next() else { break *step = Some(Step::NeedInput(need)) };
                            input.extend_from_slice(piece);
                            Step::NeedInput(need)
                        }
                        step => step,
                    }
                }
                Step::VerifyPeer(verify) => {
                    let request = verify.request(None);
                    let decision = ready(config.trust().decide(&request));
                    verify.decide(decision, output).expect("accepted")
                }
                Step::Sign(sign) => {
                    let signature = ready(config.signer().sign(sign.input()));
                    sign.signed(signature, output).expect("signed")
                }
                complete => break *step = Some(complete),
            }
        }
    }

    /// What the handshake gave.
    pub fn session(&mut self) -> Box<Session> {
        let Some(Step::Complete(session)) = self.step.take() else { panic!("not complete") };
        session
    }
}

impl Pair {
    pub fn new(suite: Suite) -> Self {
        let configs = [Role::Initiator, Role::Responder].map(|role| config(role).suites([suite]));
        let mut pair = Pair { configs, flights: Default::default() };
        pair.flights = pair.both().0;
        pair
    }

    pub fn config(&self, role: Role) -> &Config {
        let [initiator, responder] = &self.configs;
        if role == Role::Initiator { initiator } else { responder }
    }

    /// One side alone, against what the other said.
    pub fn alone(&self, role: Role) -> Box<Session> {
        let mut side = Side::new(role, self.config(role));
        let [hello, reply, proof, verdict] = &self.flights;
        let heard = if role == Role::Initiator { [reply, verdict] } else { [hello, proof] };
        heard.into_iter().for_each(|flight| side.advance([flight.as_slice()].into_iter()));
        side.session()
    }

    /// Both sides, and what they said.
    pub fn both(&self) -> ([Vec<u8>; 4], [Box<Session>; 2]) {
        let [mut near, mut far] = [Role::Initiator, Role::Responder].map(|role| Side::new(role, self.config(role)));
        let flights = converse(
            &mut near,
            &mut far,
            |side, said| side.advance([said].into_iter()),
            |side| side.output.split().to_vec(),
        );
        (flights, [near.session(), far.session()])
    }

    pub fn sessions(&self) -> [Box<Session>; 2] {
        self.both().1
    }
}

/// The four flights of a handshake between whatever hears and says.
pub fn converse<S>(
    near: &mut S,
    far: &mut S,
    hear: impl Fn(&mut S, &[u8]),
    say: impl Fn(&mut S) -> Vec<u8>,
) -> [Vec<u8>; 4] {
    let hello = say(near);
    hear(far, &hello);
    let reply = say(far);
    hear(near, &reply);
    let proof = say(near);
    hear(far, &proof);
    let verdict = say(far);
    hear(near, &verdict);
    [hello, reply, proof, verdict]
}

/// Who trusts the other role's identity and nobody else.
pub fn config(role: Role) -> Config {
    let peer = PeerId::Key(identity(role.peer()).public_key());
    Config::new(identity(role), Pinned::new([peer]))
}

/// The value of a future that is ready.
pub fn ready<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("not ready"),
    }
}

fn rng(role: Role) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(if role == Role::Initiator { 1 } else { 2 })
}

fn identity(role: Role) -> Identity {
    Identity::generate_with(&mut rng(role)).expect("an identity")
}
