//! A program without the standard library that shakes hands with itself: it has a panic handler and an allocator of its
//! own, so it does not link (`duplicate lang item panic_impl`) if anything that the core depends on brings std.
//!
//! The C library gives no more than a start and an end. Exit code 0: everything went as it should; 1 to 9: what did
//! not.
#![no_std]
#![no_main]

extern crate alloc;

mod arena;

use alloc::boxed::Box;
use core::convert::Infallible;
use core::ffi::c_int;
use core::future::Future;
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;

use bytes::BytesMut;
use countersign::crypto::suite::Suite;
use countersign::handshake::{Step, Target, initiate, respond};
use countersign::identity::PeerId;
use countersign::session::{Event, Progress, Session};
use countersign::trust::Pinned;
use countersign::{Config, Identity};
use rand_core::{TryCryptoRng, TryRng};

#[unsafe(no_mangle)]
extern "C" fn main(_: c_int, _: *const *const u8) -> c_int {
    for suite in Suite::ALL {
        if let Err(code) = run(suite) {
            return code;
        }
    }
    0
}

/// A handshake, some records either way, a rekey, an end and an export.
fn run(suite: Suite) -> Result<(), c_int> {
    let mut rng = Counting(1);
    let (alice, bob) = (identity(&mut rng)?, identity(&mut rng)?);
    let trust = |identity: &Identity| Pinned::new([PeerId::Key(identity.public_key())]);
    let (of_alice, of_bob) = (trust(&bob), trust(&alice));
    let (alice, bob) = (Config::new(alice, of_alice).suites([suite]), Config::new(bob, of_bob).suites([suite]));
    let (mut near, mut far) = shake(&alice, &bob, &mut rng)?;
    for _ in 0..3 {
        say(&mut near, &mut far)?;
        say(&mut far, &mut near)?;
    }
    let mut wire = BytesMut::new();
    let Session { sealer, shares, .. } = &mut *near;
    sealer.rekey(shares, Duration::from_secs(1), &mut rng, &mut wire).map_err(|_| 5)?;
    match far.open(&mut wire) {
        Ok(Progress::Record { event: Event::Rekey, .. }) => {}
        _ => return Err(5),
    }
    say(&mut near, &mut far)?;
    let (mut ours, mut theirs) = ([0; 32], [0; 32]);
    near.exporter.export(b"label", b"", &mut ours).map_err(|_| 6)?;
    far.exporter.export(b"label", b"", &mut theirs).map_err(|_| 6)?;
    wire.clear();
    near.sealer.seal_end(&mut wire).map_err(|_| 7)?;
    far.open(&mut wire).map_err(|_| 7)?;
    if ours == theirs && near.info.session_id == far.info.session_id && far.opener.is_ended() { Ok(()) } else { Err(8) }
}

fn shake(alice: &Config, bob: &Config, rng: &mut Counting) -> Result<(Box<Session>, Box<Session>), c_int> {
    let (mut to_near, mut to_far) = (BytesMut::new(), BytesMut::new());
    let mut near = initiate(alice, Target::default(), rng, &mut to_far).map_err(|_| 1)?;
    let mut far = respond(bob, rng).map_err(|_| 1)?;
    loop {
        far = advance(bob, far, &mut to_far, &mut to_near)?;
        near = advance(alice, near, &mut to_near, &mut to_far)?;
        match (near, far) {
            (Step::Complete(near), Step::Complete(far)) => return Ok((near, far)),
            (next_near, next_far) => (near, far) = (next_near, next_far),
        }
    }
}

fn advance(config: &Config, mut step: Step, input: &mut BytesMut, output: &mut BytesMut) -> Result<Step, c_int> {
    loop {
        step = match step {
            Step::NeedInput(need) if input.is_empty() => return Ok(Step::NeedInput(need)),
            Step::NeedInput(need) => need.feed(input, output).map_err(|_| 2)?,
            Step::VerifyPeer(verify) => {
                let request = verify.request(None);
                let decision = now(config.trust().decide(&request)).ok_or(3)?;
                if !decision.is_accept() {
                    return Err(3);
                }
                verify.decide(decision, output).map_err(|_| 3)?
            }
            Step::Sign(sign) => {
                let signature = now(config.signer().sign(sign.input())).ok_or(4)?;
                sign.signed(signature, output).map_err(|_| 4)?
            }
            complete => return Ok(complete),
        };
    }
}

fn say(from: &mut Session, to: &mut Session) -> Result<(), c_int> {
    let (data, mut wire) = ([7; 1_000], BytesMut::new());
    from.sealer.seal_data(core::iter::once(&data[..]), &mut wire).map_err(|_| 5)?;
    match to.open(&mut wire) {
        Ok(Progress::Record { event: Event::Data(range), .. }) if wire.get(range.clone()) == Some(&data[..]) => Ok(()),
        _ => Err(5),
    }
}

fn identity(rng: &mut Counting) -> Result<Identity, c_int> {
    Identity::generate_with(rng).map_err(|_| 1)
}

/// The value of a future that is ready.
fn now<F: Future>(future: F) -> Option<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

/// Stands for the randomness of the machine. It is none.
struct Counting(u64);

impl TryRng for Counting {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        self.try_next_u64().map(|value| (value >> 32) as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.0 = self.0.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
        Ok(self.0)
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        for byte in out {
            *byte = (self.try_next_u64()? >> 56) as u8;
        }
        Ok(())
    }
}

impl TryCryptoRng for Counting {}
