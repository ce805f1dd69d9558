//! What is printed: `Debug` of everything that holds a secret names the type and shows no byte of it, in every state of a handshake and
//! after it; what has no secret prints what it is.
#![allow(missing_docs)]

mod support;

use std::fmt::Debug;

use countersign::crypto::agreement::{MlKemShare, SharedSecret, X25519Share};
use countersign::crypto::network::NetworkKey;
use countersign::crypto::suite::{Suite, UnknownSuite};
use countersign::handshake::{Step, Target};
use countersign::identity::Identity;
use countersign::secret::Secret;
use countersign::transcript::Transcript;
use support::{End, ReplayRng, config, hex, identity, now};

/// All secrets of these tests are made of this byte, which appears nowhere else.
const SECRET: u8 = 0xA7;

fn shown(what: &impl Debug) -> String {
    let text = format!("{what:?} {what:#?}");
    for form in ["167, 167", "a7a7", "A7A7", "0xa7", "\\xa7", "167,\n"] {
        assert!(!text.contains(form), "{form} in {text}");
    }
    text
}

/// Draws of nothing but that byte.
fn draws() -> ReplayRng {
    ReplayRng(vec![SECRET; 4096])
}

#[test]
fn every_state_of_a_handshake() {
    let key = || NetworkKey::take(&mut [SECRET; 32]).expect("a key");
    let own = Identity::from_seed(&mut [SECRET; 32]).expect("an identity");
    assert_eq!(shown(&key()).split(' ').next(), Some("NetworkKey"));
    assert!(shown(&own).contains("Identity"));
    let responder = config(2, 1).network_key(key());
    // Another nonce and share than the initiator's, else it would be an echo.
    let mut peer = End::responder(&responder, &mut ReplayRng(vec![5; 4096]));
    let initiator = config(1, 2).network_key(key());
    let mut own = End::initiator(&initiator, Target::default(), &mut draws());
    let (mut seen, mut input) = (Vec::new(), own.take_output());
    assert!(shown(own.step.as_ref().expect("a step")).contains("AwaitHelloReply"));
    assert!(shown(&initiator).contains("Config"));
    peer.feed(&input);
    input = peer.take_output();
    own.input.extend_from_slice(&input);
    // The initiator, step by step.
    let mut step = own.step.take().expect("a step");
    let mut session = loop {
        shown(&step);
        seen.push(step.to_string());
        step = match step {
            Step::NeedInput(need) => {
                if own.input.is_empty() {
                    let auth = own.take_output();
                    peer.feed(&auth);
                    own.input.extend_from_slice(&peer.take_output());
                }
                need.feed(&mut own.input, &mut own.output).expect("fed")
            }
            Step::VerifyPeer(verify) => {
                let request = verify.request(None);
                shown(&request);
                let decision = now(initiator.trust().decide(&request));
                verify.decide(decision, &mut own.output).expect("decided")
            }
            Step::Sign(sign) => {
                assert_eq!(shown(sign.input()).split(' ').next(), Some("SignatureInput"));
                let signature = now(initiator.signer().sign(sign.input()));
                sign.signed(signature, &mut own.output).expect("signed")
            }
            Step::Complete(session) => break session,
        };
    };
    let expected = [
        "waiting for HELLO_REPLY",
        "waiting for AUTH_R",
        "deciding about the peer",
        "signing",
        "waiting for VERDICT",
        "complete",
    ];
    assert_eq!(seen, expected);

    // The session, with its keys, after a rekey too.
    let text = shown(&session);
    assert!(text.contains("SealingKey(counter: 0)") && text.contains("OpeningKey(counter: 1)"), "{text}");
    assert!(text.contains(&format!("{}", session.info.session_id)));
    assert_eq!(format!("{:?}", session.info.session_id), hex(session.info.session_id.as_bytes()));
    let mut output = bytes::BytesMut::new();
    session.sealer.rekey(&mut session.shares, Default::default(), &mut draws(), &mut output).expect("a rekey");
    assert!(shown(&session).contains("X25519Share"));
}

#[test]
fn primitives() {
    assert_eq!(shown(&Secret::take(&mut [SECRET; 32])), "Secret Secret");
    let x25519 = X25519Share::generate(&mut draws()).expect("a share");
    assert_eq!(shown(&x25519), "X25519Share X25519Share");
    assert_eq!(shown(&MlKemShare::generate(&mut draws()).expect("a share")), "MlKemShare MlKemShare");
    let shared = SharedSecret::new(Some(Secret::take(&mut [SECRET; 32])), &Secret::take(&mut [SECRET; 32]));
    assert_eq!(shown(&shared), "SharedSecret SharedSecret");
    let key = countersign::crypto::signature::PrivateKey::from_seed(Secret::take(&mut [SECRET; 32])).expect("a key");
    assert_eq!(shown(&key), "PrivateKey PrivateKey");
    assert_eq!(shown(&Transcript::new(b"context").expect("a transcript")), "Transcript Transcript");
    assert!(shown(&identity(1)).contains("Identity"));
}

#[test]
fn suites_and_paddings() {
    let unknown = "nonsense".parse::<countersign::session::Padding>().expect_err("not a padding");
    assert!(unknown.to_string().contains("block:"), "{unknown}");
    let names: Vec<String> = Suite::ALL.iter().map(Suite::to_string).collect();
    for (suite, name) in Suite::ALL.into_iter().zip(&names) {
        assert_eq!(name.parse::<Suite>(), Ok(suite));
        assert_eq!(name, suite.name());
    }
    assert_eq!(UnknownSuite.to_string(), format!("not a suite; the suites are {}", names.join(" ")));
}
