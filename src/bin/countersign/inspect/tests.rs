//! A connection with rekeys, made by the core; every change of it is noticed, and no input makes it panic.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::BytesMut;
use countersign::handshake::{Step, Target, initiate, respond};
use countersign::keylog::KeyLog;
use countersign::session::Session;
use countersign::trust::{Decision, Pinned};
use countersign::{Config, Identity};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::inspect;
use super::listing::Listing;

const CONTEXT: &[u8] = b"test/1";

#[derive(Clone, Default)]
struct Log(Arc<Mutex<String>>);

impl KeyLog for Log {
    fn log(&self, line: &str) {
        let mut log = self.0.lock().unwrap();
        log.push_str(line);
        log.push('\n');
    }
}

struct Capture {
    initiator: Vec<u8>,
    responder: Vec<u8>,
    log: String,
}

/// Goes on as far as the input reaches.
fn turn(mut step: Step, who: &Identity, input: &mut BytesMut, output: &mut BytesMut) -> Step {
    loop {
        step = match step {
            Step::NeedInput(need) => {
                let before = (input.len(), need.stage());
                match need.feed(input, output).unwrap() {
                    Step::NeedInput(need) if before == (input.len(), need.stage()) => return Step::NeedInput(need),
                    step => step,
                }
            }
            Step::VerifyPeer(verify) => verify.decide(Decision::accept(), output).unwrap(),
            Step::Sign(sign) => {
                let signature = who.sign(sign.input()).unwrap();
                sign.signed(Ok(signature), output).unwrap()
            }
            complete => return complete,
        };
    }
}

/// Data, a rekey, padded data, a keepalive, END.
fn talk(session: &mut Session, rng: &mut ChaCha20Rng, output: &mut BytesMut) {
    let Session { sealer, shares, .. } = session;
    sealer.seal_data([b"first".as_slice()].into_iter(), output).unwrap();
    sealer.rekey(shares, Duration::ZERO, rng, output).unwrap();
    sealer.seal_padded([b"second".as_slice()].into_iter(), Some(50), output).unwrap();
    sealer.seal_keepalive(output).unwrap();
    sealer.seal_end(output).unwrap();
}

fn capture() -> Capture {
    let mut rng = ChaCha20Rng::seed_from_u64(7);
    let log = Log::default();
    let alice = Arc::new(Identity::generate_with(&mut rng).unwrap());
    let bob = Arc::new(Identity::generate_with(&mut rng).unwrap());
    let config =
        |who: &Arc<Identity>| Config::new(who.clone(), Pinned::new([])).context(CONTEXT).dangerous_key_log(log.clone());
    let target = Target { service: "db".to_string(), ..Target::default() };
    let (mut there, mut back) = (BytesMut::new(), BytesMut::new());
    let mut capture = Capture { initiator: Vec::new(), responder: Vec::new(), log: String::new() };
    let mut initiator = initiate(&config(&alice), target, &mut rng, &mut there).unwrap();
    let mut responder = respond(&config(&bob), &mut rng).unwrap();
    for _ in 0..2 {
        capture.initiator.extend_from_slice(&there);
        responder = turn(responder, &bob, &mut there, &mut back);
        capture.responder.extend_from_slice(&back);
        initiator = turn(initiator, &alice, &mut back, &mut there);
    }
    let (Step::Complete(mut initiator), Step::Complete(mut responder)) = (initiator, responder) else {
        panic!("not complete")
    };
    let (mut there, mut back) = (BytesMut::new(), BytesMut::new());
    talk(&mut initiator, &mut rng, &mut there);
    talk(&mut responder, &mut rng, &mut back);
    capture.initiator.extend_from_slice(&there);
    capture.responder.extend_from_slice(&back);
    capture.log = log.0.lock().unwrap().clone();
    capture
}

fn run(inputs: &[&[u8]], log: Option<&[u8]>, context: &[u8]) -> (bool, String) {
    let mut out = Vec::new();
    let inputs: Vec<(String, &[u8])> = inputs.iter().map(|bytes| ("file".to_string(), *bytes)).collect();
    let mut listing = Listing::new(&mut out, true);
    inspect(&mut listing, &inputs, log, context);
    let good = listing.summary();
    (good, String::from_utf8(out).unwrap())
}

#[test]
fn an_honest_connection_is_ok_and_no_secret_is_shown() {
    let Capture { initiator, responder, log } = capture();
    assert!(log.contains("TRAFFIC_I_1") && log.contains("TRAFFIC_R_1"));
    for inputs in [vec![&*initiator, &*responder], vec![&*responder, &*initiator], vec![&*initiator], vec![&*responder]]
    {
        let (good, shown) = run(&inputs, Some(log.as_bytes()), CONTEXT);
        assert!(good, "{shown}");
        for line in log.lines() {
            assert!(!shown.contains(line.split(' ').next_back().unwrap()), "a secret is shown");
        }
        assert_eq!(shown.contains("ok: signature_i"), inputs.len() == 2);
    }
    let (good, shown) = run(&[&initiator, &responder], None, CONTEXT);
    assert!(good && shown.contains("not checked: what is sealed"), "{shown}");
    let (good, shown) = run(&[&initiator, &responder], Some(log.as_bytes()), b"other");
    assert!(!good && shown.contains("WRONG: confirm_r") && shown.contains("WRONG: signature_r"), "{shown}");
    let (good, shown) = run(&[&initiator, &initiator], Some(log.as_bytes()), CONTEXT);
    assert!(!good && shown.contains("both files are what the initiator sent"), "{shown}");
}

#[test]
fn every_changed_byte_is_noticed() {
    let Capture { initiator, responder, log } = capture();
    for position in 0..initiator.len() + responder.len() {
        // The long ones are all alike inside.
        if position % 7 != 0 && (100..1_000).contains(&(position % initiator.len())) {
            continue;
        }
        let (mut one, mut other) = (initiator.clone(), responder.clone());
        match one.get_mut(position) {
            Some(byte) => *byte ^= 0x20,
            None => other[position - initiator.len()] ^= 0x20,
        }
        let (good, shown) = run(&[&one, &other], Some(log.as_bytes()), CONTEXT);
        assert!(!good, "byte {position}: {shown}");
    }
}

#[test]
fn every_cut_is_said() {
    let Capture { initiator, log, .. } = capture();
    for len in 0..initiator.len() {
        let (good, shown) = run(&[&initiator[..len]], Some(log.as_bytes()), CONTEXT);
        assert!(!good && shown.contains("stops at byte") || shown.contains("has no END"), "{len}: {shown}");
    }
    for (bytes, what) in
        [(&b"GET / HTTP/1.1"[..], "HTTP"), (b"SSH-2.0-x", "SSH"), (&[0x16, 3, 1], "TLS"), (b"", "no bytes")]
    {
        let (good, shown) = run(&[bytes], None, b"");
        assert!(!good && shown.contains(what), "{shown}");
    }
}

#[test]
fn nothing_makes_it_panic() {
    let mut rng = ChaCha20Rng::seed_from_u64(0x1A5_9EC7);
    let Capture { initiator, responder, log } = capture();
    for round in 0..10_000_usize {
        let mut random = |bound: usize| usize::try_from(rng.next_u64() % u64::try_from(bound.max(1)).unwrap()).unwrap();
        let mut parts = [initiator.clone(), responder.clone(), log.clone().into_bytes()];
        for _ in 0..=random(4) {
            let (from, to) = (random(3), random(3));
            let spare: Vec<u8> = parts[from].iter().copied().skip(random(4_000)).take(random(200)).collect();
            let part = &mut parts[to];
            let at = random(part.len() + 1);
            match random(5) {
                0 => part.truncate(at),
                1 => drop(part.splice(at..at, spare)),
                2 => drop(part.drain(at..(at + random(50)).min(part.len()))),
                3 => part.iter_mut().skip(at).take(1).for_each(|byte| *byte = round.to_le_bytes()[0]),
                _ => {
                    *part = (0..random(300)).map(|i| [0xC1, 0xC2, 0xC5, 0, 0, 17, 1][(i * round + i / 3) % 7]).collect()
                }
            }
        }
        let [one, other, log] = &parts;
        let inputs: &[&[u8]] = if random(2) == 0 { &[one, other] } else { &[other] };
        let _ = run(inputs, Some(log).filter(|_| random(5) > 0).map(Vec::as_slice), CONTEXT);
    }
}
