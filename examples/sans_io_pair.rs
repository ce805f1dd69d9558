//! Both ends of a handshake in one thread, without a socket, a clock or a runtime: how to drive the core yourself.
//!
//! `cargo run --no-default-features --example sans_io_pair`

use std::sync::Arc;

use bytes::BytesMut;
use countersign::config::Config;
use countersign::error::Failure;
use countersign::handshake::{Step, Target, initiate, respond};
use countersign::identity::{Identity, SignerError};
use countersign::session::{Event, Progress, Session};
use countersign::trust::{Decision, from_fn};

/// Goes on until the handshake needs more input. What it appends to `output` is for the peer.
fn advance(identity: &Identity, mut step: Step, input: &mut BytesMut, output: &mut BytesMut) -> Result<Step, Failure> {
    loop {
        step = match step {
            Step::NeedInput(need) if input.is_empty() => return Ok(Step::NeedInput(need)),
            Step::NeedInput(need) => need.feed(input, output)?,
            // Here a program looks at `verify.credential()` and `verify.service()`.
            Step::VerifyPeer(verify) => verify.decide(Decision::accept(), output)?,
            Step::Sign(sign) => {
                // Or ask whoever holds the key; nothing is in a hurry here.
                let signature = identity.sign(sign.input()).map_err(SignerError::new);
                sign.signed(signature, output)?
            }
            Step::Complete(session) => return Ok(Step::Complete(session)),
        };
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Randomness is an argument; tests give a seeded generator.
    let mut rng = getrandom::SysRng;
    let key = || Identity::generate_with(&mut getrandom::SysRng).map(Arc::new);
    let (alice_key, bob_key) = (key()?, key()?);
    let side = |key: &Arc<Identity>| Config::new(key.clone(), from_fn(|_| Decision::accept()));
    let (alice, bob) = (side(&alice_key), side(&bob_key));
    let (mut to_alice, mut to_bob) = (BytesMut::new(), BytesMut::new());
    let mut a = initiate(&alice, Target::default(), &mut rng, &mut to_bob)?;
    let mut b = respond(&bob, &mut rng)?;
    let (mut a, mut b): (Box<Session>, Box<Session>) = loop {
        println!("alice: {a:<24} bob: {b:<24} on the way: {} and {} bytes", to_bob.len(), to_alice.len());
        b = advance(&bob_key, b, &mut to_bob, &mut to_alice)?;
        a = advance(&alice_key, a, &mut to_alice, &mut to_bob)?;
        match (a, b) {
            (Step::Complete(a), Step::Complete(b)) => break (a, b),
            (next_a, next_b) => (a, b) = (next_a, next_b),
        }
    };
    println!("session {} on both sides: {}", a.info.session_id, a.info.session_id == b.info.session_id);

    let mut wire = BytesMut::new();
    a.sealer.seal_data([b"hello".as_slice()].into_iter(), &mut wire)?;
    println!("a record of {} bytes", wire.len());
    if let Progress::Record { event: Event::Data(range), .. } = b.opener.open(&mut wire)? {
        println!("bob reads: {}", String::from_utf8_lossy(wire.get(range).unwrap_or_default()));
    }
    Ok(())
}
