//! The wire is frozen by vectors that another implementation made (`tests/vectors/generate.py`): whatever it says we
//! produce it, accept it, or refuse it with the same alert, at the same layer. See `tests/vectors/README.md`.
#![allow(missing_docs)]

mod support;

use std::sync::Arc;

use bytes::{Buf, BytesMut};
use countersign::config::Config;
use countersign::crypto::agreement::X25519Share;
use countersign::crypto::network::NetworkKey;
use countersign::crypto::schedule::TrafficSecret;
use countersign::crypto::suite::{Aead, Suite};
use countersign::error::{Error, Malformed, Untrusted};
use countersign::handshake::Target;
use countersign::identity::{Identity, PeerId, PublicKey, Signer};
use countersign::role::Role;
use countersign::secret::Secret;
use countersign::session::{Event, Opener, Progress, Sealer, Session, Shares};
use countersign::transcript::{Item, Transcript};
use countersign::trust::{Decision, from_fn};
use serde_json::Value;
use support::{End, ReplayRng, hex, unhex};

fn load(name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(format!("tests/vectors/{name}.json")).expect("vectors");
    let value: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(value["spec_version"], 1);
    value["cases"].as_array().expect("cases").clone()
}

fn bytes(value: &Value) -> Vec<u8> {
    unhex(value.as_str().expect("a string"))
}

fn array<const N: usize>(value: &Value) -> [u8; N] {
    bytes(value).try_into().expect("length")
}

fn flag(case: &Value, name: &str) -> bool {
    case["flags"].as_array().expect("flags").iter().any(|flag| flag == name)
}

fn public(value: &Value) -> PublicKey {
    PublicKey::from_bytes(&array(value)).expect("a key")
}

/// What a side draws, and zeros for what it draws but does not use.
fn rng(side: &Value) -> ReplayRng {
    ReplayRng(side.as_array().expect("randomness").iter().flat_map(bytes).chain([0; 64]).collect())
}

fn suite(value: &Value) -> Suite {
    Suite::from_code(value.as_u64().expect("a number") as u16).expect("a suite")
}

/// The suites that are known here; the vectors offer others as well.
fn suites(value: &Value) -> Vec<Suite> {
    let codes = value.as_array().expect("suites").iter().map(|code| code.as_u64().expect("a number") as u16);
    codes.filter_map(Suite::from_code).collect()
}

fn aead(case: &Value) -> Aead {
    suite(&case["suite"]).aead()
}

fn secret(value: &Value) -> TrafficSecret {
    TrafficSecret::take(&mut array(value))
}

fn with_network_key(config: Config, case: &Value) -> Config {
    match case["network_key"].is_null() {
        true => config,
        false => config.network_key(NetworkKey::take(&mut array(&case["network_key"])).expect("a key")),
    }
}

/// The certificates of a credential of kind 2.
#[cfg(feature = "x509")]
fn certificates(data: &[u8]) -> Vec<Vec<u8>> {
    let (mut rest, mut found) = (data, Vec::new());
    while let [a, b, more @ ..] = rest {
        let (certificate, after) = more.split_at(usize::from(*a) * 256 + usize::from(*b));
        found.push(certificate.to_vec());
        rest = after;
    }
    found
}

/// What the side signs with, and presents.
fn signer(side: &Value) -> Arc<dyn Signer> {
    let identity = Identity::from_seed(&mut array(&side["seed"])).expect("an identity");
    assert_eq!(identity.public_key(), public(&side["public_key"]));
    match side["credential"]["kind"].as_u64() {
        #[cfg(feature = "x509")]
        Some(2) => {
            let chain = x509::chain(certificates(&bytes(&side["credential"]["data"])));
            Arc::new(countersign::identity::Certified::new(identity, chain).expect("one key"))
        }
        kind => {
            assert_eq!(kind, Some(1));
            Arc::new(identity)
        }
    }
}

fn side(case: &Value, name: &str, trusted: Vec<PublicKey>, text: &str) -> Config {
    let identity = signer(&case[name]);
    let refusal = countersign::error::Refusal::new(countersign::error::Reason::NotTrusted, text);
    let trust = from_fn(move |request| match trusted.contains(request.public_key()) {
        true => Decision::accept(),
        false => Decision::refuse(refusal.reason, &refusal.text),
    });
    // A block of exactly the length of the padded plaintext.
    let block = bytes(&case[format!("auth_{}_plaintext", &name[..1])]).len();
    let config = Config::new(identity, trust).context(bytes(&case["context"])).auth_padding(block);
    with_network_key(config.suites(suites(&case[name]["suites"])), case)
}

/// Both roles reproduce every byte of every positive handshake, and read every record after it.
#[test]
fn handshakes_are_reproduced() {
    let cases = load("handshake");
    assert!(cases.len() >= 37);
    let certified = cases.iter().filter(|case| flag(case, "x509")).count();
    assert_eq!(certified, 10);
    for case in &cases {
        if flag(case, "x509") && cfg!(not(feature = "x509")) {
            continue;
        }
        let comment = &case["comment"];
        let wire = &case["wire"];
        let trusted = if case["expect"] == "valid" { vec![public(&case["initiator"]["public_key"])] } else { vec![] };
        let verdict = bytes(&case["verdict_plaintext"]);
        let text = std::str::from_utf8(&verdict[2..]).expect("text");
        let i_config = side(case, "initiator", vec![public(&case["responder"]["public_key"])], "");
        let r_config = side(case, "responder", trusted, text);
        let service = case["service"].as_str().expect("service");
        let target = Target { service: service.into(), ..Target::default() };
        let mut i = End::initiator(&i_config, target, &mut rng(&case["initiator"]["randomness"]));
        let mut r = End::responder(&r_config, &mut rng(&case["responder"]["randomness"]));

        let hello = i.take_output();
        let own_offer = !flag(case, "unknown_offer");
        assert_eq!(hello == bytes(&wire["hello"]), own_offer, "{comment}");
        r.feed(&bytes(&wire["hello"]));
        let reply = r.take_output();
        let expected = [bytes(&wire["hello_reply"]), bytes(&wire["auth_r"])].concat();
        assert_eq!(hex(&reply), hex(&expected), "{comment}");
        if own_offer {
            i.feed(&reply);
            assert_eq!(hex(&i.take_output()), hex(&bytes(&wire["auth_i"])), "{comment}");
        }
        r.feed(&bytes(&wire["auth_i"]));
        assert_eq!(hex(&r.take_output()), hex(&bytes(&wire["verdict"])), "{comment}");
        assert_eq!(r.asked[0].service, service);
        #[cfg(feature = "x509")]
        for (end, peer) in [(&i, "responder"), (&r, "initiator")] {
            if let Some(request) = end.asked.first() {
                assert_eq!(x509::names(&request.credential), case[peer]["names"], "{comment}");
            }
        }
        if own_offer {
            i.feed(&bytes(&wire["verdict"]));
        }
        if case["expect"] == "refused" {
            assert_eq!(name(&r.failure.expect("refused").error), "verdict:1");
            assert_eq!(name(&i.failure.expect("refused").error), "peer_verdict:1");
            continue;
        }
        let mut ends = vec![("initiator", r.session.expect("responder"))];
        if own_offer {
            ends.push(("responder", i.session.expect("initiator")));
        }
        for (sender, session) in &mut ends {
            assert_eq!(hex(session.info.session_id.as_bytes()), case["secrets"]["session_id"]);
            assert_eq!(hex(&session.info.channel_binding), case["secrets"]["channel_binding"]);
            assert_eq!(session.info.suite, suite(&case["suite"]));
            exports(case, session);
            records(case, sender, &mut session.opener);
        }
        for (receiver, session) in &mut ends {
            let own = if *receiver == "initiator" { "responder" } else { "initiator" };
            reseal(case, own, &mut session.sealer);
        }
    }
}

/// [KS-2] Keying material for the application.
fn exports(case: &Value, session: &Session) {
    for export in case["exports"].as_array().expect("exports") {
        let mut out = vec![0; export["length"].as_u64().expect("length") as usize];
        session.exporter.export(&bytes(&export["label"]), &bytes(&export["context"]), &mut out).expect("export");
        assert_eq!(hex(&out), export["output"]);
    }
}

/// Opens the records that `sender` sent.
fn records(case: &Value, sender: &str, opener: &mut Opener) {
    for record in case["records"].as_array().expect("records").iter().filter(|record| record["from"] == sender) {
        let mut frame = bytes(&record["frame"]);
        let content = bytes(&record["content"]);
        match (record["kind"].as_str().expect("kind"), opener.open(&mut frame)) {
            ("data", Ok(Progress::Record { event: Event::Data(range), .. })) => assert_eq!(frame[range], content),
            ("end", Ok(Progress::Record { event: Event::End, .. })) => assert!(content.is_empty()),
            ("keepalive", Ok(Progress::Record { event: Event::KeepAlive, .. })) => assert!(content.is_empty()),
            ("rekey", Ok(Progress::Record { event: Event::Rekey, .. })) => assert_eq!(content.len(), 40),
            ("alert", Err(Error::AlertReceived(alert))) => {
                assert_eq!([&[alert.alert.code()], alert.text.as_bytes()].concat(), content);
                assert!(alert.authenticated);
            }
            (kind, got) => panic!("{kind}: {got:?}"),
        }
    }
}

/// Seals what `sender` sent, and gets the same frames.
fn reseal(case: &Value, sender: &str, sealer: &mut Sealer) {
    for record in case["records"].as_array().expect("records").iter().filter(|record| record["from"] == sender) {
        let (frame, content) = (bytes(&record["frame"]), bytes(&record["content"]));
        let padding = padding(record);
        let mut output = BytesMut::new();
        match record["kind"].as_str().expect("kind") {
            "data" => assert_eq!(
                sealer.seal_padded([content.as_slice()].into_iter(), padding, &mut output),
                Ok(content.len())
            ),
            // The API pads data only to a length; the rest is checked by opening it, rekeys by their own vectors.
            "rekey" => return,
            _ if padding.is_some() => return,
            "keepalive" => sealer.seal_keepalive(&mut output).expect("KEEPALIVE"),
            "end" => sealer.seal_end(&mut output).expect("END"),
            _ => {
                let text = std::str::from_utf8(&content[1..]).expect("text");
                let alert = countersign::error::Alert::from_code(content[0]);
                sealer.seal_alert(alert, text, &mut output).expect("ALERT");
            }
        }
        assert_eq!(hex(&output), hex(&frame));
    }
}

/// Whether the padding flag is set, and how much padding there is.
fn padding(record: &Value) -> Option<u16> {
    let flagged = bytes(&record["plaintext"])[0] & 0x80 != 0;
    flagged.then(|| record["padding"].as_u64().expect("padding") as u16)
}

/// The transcript hashes and the shared secret of every positive handshake, recomputed from the bytes on the wire.
#[test]
fn transcripts_are_reproduced() {
    for case in load("handshake") {
        let (wire, th) = (&case["wire"], &case["transcript"]);
        let frames: Vec<Vec<u8>> =
            ["hello", "hello_reply", "auth_r", "auth_i"].iter().map(|name| bytes(&wire[*name])).collect();
        let mut transcript = Transcript::new(&bytes(&case["context"])).expect("transcript");
        transcript.add(Item::Frame, &[&frames[0]]).expect("item");
        transcript.add(Item::Frame, &[&frames[1]]).expect("item");
        assert_eq!(hex(&transcript.hash()), th["TH_hello"]);
        for (role, short, frame) in [(Role::Responder, "r", &frames[2]), (Role::Initiator, "i", &frames[3])] {
            transcript.add(Item::Header, &[&frame[..4]]).expect("item");
            if role == Role::Initiator {
                transcript.add(Item::Service, &[case["service"].as_str().expect("service").as_bytes()]).expect("item");
            }
            let credential = &case[role.name()]["credential"];
            let (kind, data) = (credential["kind"].as_u64().expect("kind") as u8, bytes(&credential["data"]));
            let len = (data.len() as u16).to_be_bytes();
            transcript.add(Item::Credential, &[&[kind], &len, &data]).expect("item");
            assert_eq!(hex(&transcript.hash()), th[format!("TH_sign_{short}")]);
            let input = transcript.signature_input(role);
            assert_eq!(hex(input.as_bytes()), case[format!("signature_input_{short}")]);
            transcript.add(Item::Signature, &[&bytes(&case[format!("signature_{short}")])]).expect("item");
            assert_eq!(hex(&transcript.hash()), th[format!("TH_confirm_{short}")]);
            transcript.add(Item::Sealed, &[&frame[4..]]).expect("item");
        }
        assert_eq!(hex(&transcript.hash()), th["TH_final"]);
        let drawn = Secret::take(&mut array(&case["initiator"]["randomness"][1]));
        let private = X25519Share::from_secret(&drawn).expect("a share");
        let share_r = frames[1][40..72].try_into().expect("share");
        let dh = hex(private.agree(share_r).expect("agreement").expose());
        assert!(case["secrets"]["shared"].as_str().expect("shared").ends_with(&dh));
    }
}

/// Records at chosen counters: sealed to the same bytes, and opened.
#[test]
fn records_are_reproduced() {
    for case in load("records") {
        let (aead, counter) = (aead(&case), case["counter"].as_u64().expect("counter"));
        let opener = Opener::dangerous_at(secret(&case["secret"]), aead, counter).expect("opener");
        let mut wrapped = serde_json::json!({ "records": [case.clone()] });
        wrapped["records"][0]["from"] = "x".into();
        if case["kind"] == "verdict" {
            let opened = opener.awaiting_verdict().open(&mut bytes(&case["frame"]));
            let accepted = matches!(opened, Ok(Progress::Record { event: Event::Accepted, .. }));
            assert_eq!(accepted, bytes(&case["content"])[0] == 0, "{}", case["comment"]);
            continue;
        }
        records(&wrapped, "x", &mut { opener });
        // [RE-2] The last number is for END and alerts.
        if case["kind"] == "data" && counter == aead.max_records() - 1 {
            continue;
        }
        reseal(&wrapped, "x", &mut Sealer::dangerous_at(secret(&case["secret"]), aead, counter).expect("sealer"));
    }
}

/// One side of a script.
struct Scripted {
    sealer: Sealer,
    opener: Opener,
    shares: Shares,
}

impl Scripted {
    fn new(case: &Value, own: &str, peer: &str) -> Self {
        let (aead, at) = (aead(case), |short: &str| u64::from(short == "r"));
        let secret = |short: &str| secret(&case[format!("traffic_secret_{short}")]);
        Scripted {
            sealer: Sealer::dangerous_at(secret(own), aead, at(own)).expect("sealer"),
            opener: Opener::dangerous_at(secret(peer), aead, at(peer)).expect("opener"),
            shares: Shares::new(),
        }
    }

    fn send(&mut self, step: &Value) -> Result<Vec<u8>, Error> {
        let mut output = BytesMut::new();
        let content = bytes(&step["content"]);
        let padding = step["padding"].as_u64().map(|padding| padding as u16);
        // What is not data is padded by a policy that gives just this padding.
        let policy = match padding.map(|padding| content.len() + usize::from(padding)) {
            None => "none".to_string(),
            Some(len) if len > 65_535 => "pow2".to_string(),
            Some(len) => format!("block:{}", len.max(1)),
        };
        self.sealer.set_padding(policy.parse().expect("a policy"));
        match step["kind"].as_str().expect("kind") {
            "data" => self.sealer.seal_padded([content.as_slice()].into_iter(), padding, &mut output).map(|_| ())?,
            "end" => self.sealer.seal_end(&mut output)?,
            "keepalive" => self.sealer.seal_keepalive(&mut output)?,
            "rekey" => {
                let mut rng = ReplayRng(bytes(&step["randomness"]));
                self.sealer.rekey(&mut self.shares, Default::default(), &mut rng, &mut output)?;
            }
            kind => panic!("{kind}"),
        }
        assert!(self.shares.kept() <= 2);
        Ok(output.to_vec())
    }

    /// Opens a frame whose content is `content`, if it is data.
    fn receive(&mut self, frame: &[u8], content: &[u8]) -> Result<(), Error> {
        let mut frame = frame.to_vec();
        let Progress::Record { consumed, event } = self.opener.open(&mut frame)? else { panic!("not a whole frame") };
        assert_eq!(consumed, frame.len());
        match event {
            Event::Data(range) => assert_eq!(&frame[range], content),
            Event::Rekey => self.opener.rekey(&mut self.shares)?,
            _ => {}
        }
        assert!(self.shares.kept() <= 2);
        Ok(())
    }
}

/// Plays a script; returns the error of its last step, and the alert that the one who noticed it sends.
fn play(case: &Value) -> Option<(Error, Vec<u8>)> {
    let (mut initiator, mut responder) = (Scripted::new(case, "i", "r"), Scripted::new(case, "r", "i"));
    let steps = case["steps"].as_array().expect("steps");
    for (index, step) in steps.iter().enumerate() {
        let what = format!("{}, step {index}", case["comment"]);
        let sent = match step["op"].as_str().expect("op") {
            "send" => step,
            _ => &steps[step["step"].as_u64().expect("step") as usize],
        };
        let (from, to) = match sent["from"] == "initiator" {
            true => (&mut initiator, &mut responder),
            false => (&mut responder, &mut initiator),
        };
        let (result, actor) = if step["op"] != "send" {
            (to.receive(&bytes(&sent["frame"]), &bytes(&sent["content"])), to)
        } else if step["forged"] == true {
            (Ok(()), from)
        } else {
            // No policy pads what is not data to 65,536 bytes; the rest of such a step is compared by what follows.
            let expressible =
                step["content"].as_str().map_or(0, str::len) / 2 + step["padding"].as_u64().unwrap_or(0) as usize;
            let same = |frame: Vec<u8>| assert!(expressible > 65_535 || hex(&frame) == step["frame"], "{what}");
            (from.send(step).map(same), from)
        };
        if let Err(error) = result {
            assert_eq!(index, steps.len() - 1, "{what}: {error:?}");
            let mut alert = BytesMut::new();
            if let Some(code) = error.alert().filter(|_| actor.sealer.check().is_ok()) {
                actor.sealer.set_padding("none".parse().expect("a policy"));
                actor.sealer.seal_alert(code, "", &mut alert).expect("alert");
            }
            return Some((error, alert.to_vec()));
        }
    }
    None
}

/// Two sides rekey as the vectors say, to the byte. [RK-1] [RK-2] [RK-3] [RK-4]
#[test]
fn rekeys_are_reproduced() {
    let cases = load("rekey");
    assert!(cases.len() >= 20);
    for case in &cases {
        assert_eq!(play(case), None, "{}", case["comment"]);
    }
}

/// Each fault of a rekey is noticed, and the peer is told what the specification says. [RK-2] [RK-3] [RK-4] [RK-5] [RK-6] [RE-1] [RE-3]
#[test]
fn negative_rekeys_are_refused() {
    let cases = load("negative/rekey");
    assert!(cases.len() >= 42);
    for case in &cases {
        let (error, alert) = play(case).unwrap_or_else(|| panic!("{}: accepted", case["comment"]));
        assert_eq!(name(&error), case["expect"], "{}: {error:?}", case["comment"]);
        let in_session = match error {
            Error::Untrusted(Untrusted::ZeroSecret) => "rekey",
            ref error => layer(error),
        };
        assert_eq!(in_session, case["layer"], "{}: {error:?}", case["comment"]);
        if case["tag"] != "RK-6" {
            assert_eq!(hex(&alert), case["alert_frame"].as_str().unwrap_or_default(), "{}", case["comment"]);
        }
    }
}

/// Every negative handshake is refused, by the expected layer, and the peer is told exactly what the specification says.
/// The vectors name the rule: [FR-2] [FR-3] [FR-6] [FR-7] [FR-8] [FR-9] [ID-1] [ID-2] [ID-3] [ID-4] [ID-5] [ID-6] [ID-7] [HS-2] [HS-3] [HS-4] [HS-5] [HS-6] [HS-7] [HS-8]
/// [HS-9] [HS-10] [HS-11] [HS-12] [HS-13] [HS-14] [HS-15] [HS-16] [HS-17] [HS-18] [HS-19] [HS-20] [HS-21] [HS-22] [HS-23]
/// [HS-26] [HS-27] [NK-1] [NK-2] [NK-3] [NK-5] [AL-2] [AL-4] [RE-1] [RE-3] [RE-5] [RE-9] [TR-2]
#[test]
fn negative_handshakes_are_refused() {
    let cases = load("negative/handshake");
    assert!(cases.len() >= 539);
    assert_eq!(cases.iter().filter(|case| flag(case, "x509")).count(), 165);
    for case in &cases {
        // Without the feature the kind is unknown, and refused as what is wrong with a chain is; what comes later can't be reached.
        let decoded = case["layer"] != "credential" || case["expect"] != "malformed";
        if flag(case, "x509") && cfg!(not(feature = "x509")) && decoded {
            continue;
        }
        for piecewise in [false, true] {
            negative_handshake(case, piecewise);
        }
    }
}

fn negative_handshake(case: &Value, piecewise: bool) {
    let comment = &case["comment"];
    let trusted: Vec<Vec<u8>> = case["trusted"].as_array().expect("trusted").iter().map(bytes).collect();
    let trust = from_fn(move |request| match trusted.iter().any(|key| key == request.public_key().as_bytes()) {
        true => Decision::accept(),
        false => Decision::not_trusted(),
    });
    let identity = Identity::from_seed(&mut array(&case["seed"])).expect("an identity");
    let config = Config::new(identity, trust).context(bytes(&case["context"])).auth_padding(0);
    let mut config = with_network_key(config.suites(suites(&case["suites"])), case);
    if let Some(services) = case["services"].as_array() {
        config = config.services(services.iter().map(|service| service.as_str().expect("service")));
    }
    let mut end = if case["victim"] == "initiator" {
        // Some cases expect a weak key, which can't even be named here: then any peer may answer.
        let expected = case["expected_peer"].as_str().map(|key| unhex(key).try_into().expect("32 bytes"));
        let peer = expected.and_then(|key| PublicKey::from_bytes(&key).ok()).map(PeerId::Key);
        let target = Target { peer, service: case["service"].as_str().unwrap_or("").into(), ..Target::default() };
        End::initiator(&config, target, &mut rng(&case["randomness"]))
    } else {
        End::responder(&config, &mut rng(&case["randomness"]))
    };
    let mut sent = end.take_output();
    let mut error = None;
    for frame in case["feed"].as_array().expect("feed").iter().map(bytes) {
        assert_eq!(error, None, "{comment}: failed before the fault");
        let chunk = if piecewise { 1 } else { frame.len().max(1) };
        for piece in frame.chunks(chunk) {
            if error.is_some() {
                break;
            }
            match &mut end.session {
                None => end.feed(piece),
                Some(session) => {
                    // Records after the handshake.
                    end.input.extend_from_slice(piece);
                    error = drain(session, &mut end.input).err();
                    if let Some(alert) = error.as_ref().and_then(Error::alert) {
                        session.sealer.seal_alert(alert, "", &mut end.output).expect("alert");
                    }
                }
            }
            error = error.or(end.failure.as_ref().map(|failure| failure.error.clone()));
        }
    }
    sent.extend(end.take_output());
    let error = error.unwrap_or_else(|| panic!("{comment}: accepted"));
    if case["expect"] == "silent" {
        // [NK-3] The cause is for us alone.
        assert_eq!(hex(&sent), "", "{comment}");
        return;
    }
    assert_eq!(name(&error), case["expect"], "{comment}: {error:?}");
    assert_eq!(layer(&error), case["layer"], "{comment}: {error:?}");
    let mut expected: Vec<u8> = case["victim_sends"].as_array().expect("sends").iter().flat_map(bytes).collect();
    expected.extend(case["alert_frame"].as_str().map(unhex).unwrap_or_default());
    assert_eq!(hex(&sent), hex(&expected), "{comment}");
}

/// Every negative record is refused at the expected layer, after what came before it was delivered; and again when asked again.
/// [RE-1] [RE-3] [RE-4] [RE-5] [RE-6] [RE-9] [RE-10] [FR-9] [AL-2] [AL-4]
#[test]
fn negative_records_are_refused() {
    for case in load("negative/records") {
        let comment = &case["comment"];
        let counter = case["counter"].as_u64().expect("counter");
        let opener = Opener::dangerous_at(secret(&case["secret"]), aead(&case), counter).expect("opener");
        let mut opener = if case["state"] == "established" { opener } else { opener.awaiting_verdict() };
        let mut shares = Shares::new();
        let mut input: BytesMut =
            case["frames"].as_array().expect("frames").iter().flat_map(bytes).collect::<Vec<u8>>().as_slice().into();
        let mut delivered = Vec::new();
        let error = loop {
            match opener.open(&mut input) {
                Ok(Progress::Record { consumed, event }) => {
                    match event {
                        Event::Data(range) => delivered.push(hex(&input[range])),
                        Event::Rekey => {
                            if let Err(error) = opener.rekey(&mut shares) {
                                break error;
                            }
                        }
                        _ => {}
                    }
                    input.advance(consumed);
                }
                Ok(Progress::Need(_)) => panic!("{comment}: accepted"),
                Err(error) => break error,
            }
        };
        assert_eq!(name(&error), case["expect"], "{comment}: {error:?}");
        assert_eq!(layer(&error), case["layer"], "{comment}: {error:?}");
        let expected: Vec<&str> =
            case["delivered"].as_array().expect("delivered").iter().map(|data| data.as_str().expect("hex")).collect();
        assert_eq!(delivered, expected, "{comment}");
        assert_eq!(opener.open(&mut [0xC5]), Err(error), "{comment}: the error is latched");
    }
}

/// Certificates, and who believes them.
#[cfg(feature = "x509")]
mod x509 {
    use std::time::Duration;

    use countersign::identity::{CertificateChain, Credential, Name};
    use countersign::trust::{Authority, Direction, Pinned, Request, StaleCrl, Trust};

    use super::*;

    pub fn chain(certificates: Vec<Vec<u8>>) -> CertificateChain {
        CertificateChain::from_der(certificates).expect("a chain")
    }

    /// The names of a peer, as the vectors write them.
    pub fn names(credential: &Credential) -> Value {
        match credential {
            Credential::X509(chain) => chain.names().iter().map(text).collect(),
            _ => Value::Array(Vec::new()),
        }
    }

    fn text(name: &Name) -> String {
        match name {
            Name::Dns(name) => format!("dns:{name}"),
            Name::Ip(address) => format!("ip:{address}"),
            Name::Uri(name) => format!("uri:{name}"),
            name => panic!("{name:?}"),
        }
    }

    fn name(text: &str) -> Name {
        match text.split_once(':').expect("a kind") {
            ("dns", name) => Name::Dns(name.into()),
            ("ip", address) => Name::Ip(address.parse().expect("an address")),
            (_, name) => Name::Uri(name.into()),
        }
    }

    fn list(value: &Value) -> Vec<Vec<u8>> {
        value.as_array().expect("a list").iter().map(bytes).collect()
    }

    fn pem(certificates: &[Vec<u8>]) -> String {
        const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let block = |der: &[u8]| -> String {
            let mut text = String::new();
            for group in der.chunks(3) {
                let value =
                    group.iter().fold(0u32, |value, byte| value << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
                text.extend((0..=group.len()).map(|k| char::from(DIGITS[(value >> (18 - 6 * k) & 63) as usize])));
                text.extend((group.len()..3).map(|_| '='));
            }
            let lines: Vec<&str> =
                text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).expect("text")).collect();
            format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
        };
        certificates.iter().map(|der| block(der)).collect()
    }

    /// Whoever refuses a CA or a list when it is loaded trusts nobody by it.
    fn authority(case: &Value) -> Option<Authority> {
        let stale = if case["stale_crl"] == true { StaleCrl::Warn } else { StaleCrl::Refuse };
        let authority = Authority::from_pem(&pem(&list(&case["cas"]))).ok()?.stale_crl(stale);
        list(&case["crls"]).iter().try_fold(authority, |authority, list| authority.with_crl(list).ok())
    }

    /// CAs and predecessors decide as the vectors say. [ID-8] [ID-9] [ID-10] [ID-11] [ID-12]
    #[test]
    fn chains_are_decided() {
        let cases = load("x509");
        assert!(cases.len() >= 289);
        let mut wrong = Vec::new();
        for case in &cases {
            let comment = case["comment"].as_str().expect("comment");
            let direction = if case["role"] == "initiator" { Direction::Inbound } else { Direction::Outbound };
            let mut fault = |what: String| wrong.push(format!("{} {comment}: {what}", case["id"]));
            let credential = match CertificateChain::from_der(list(&case["chain"])) {
                Ok(chain) => Credential::X509(chain),
                Err(error) => {
                    fault(format!("no chain: {error}"));
                    continue;
                }
            };
            if names(&credential) != case["names"] {
                fault(format!("names {}", names(&credential)));
            }
            for (wanted, right) in case["wanted"].as_object().expect("wanted") {
                let Credential::X509(chain) = &credential else { panic!("no chain") };
                let found = chain.names().iter().any(|own| own.covers(&name(wanted)));
                if found != *right {
                    fault(format!("{wanted}: {found}"));
                }
            }
            let time = Duration::from_secs(case["time"].as_u64().expect("time"));
            let request = Request::new(credential, String::new(), None, direction).at(time);
            let decision = if case["by"] == "pinned" {
                let keys = list(&case["pinned"]).into_iter().map(|key| key.try_into().expect("32 bytes"));
                let keys = keys.map(|key| PeerId::Key(PublicKey::from_bytes(&key).expect("a key")));
                Some(support::now(Pinned::new(keys).decide(&request)))
            } else {
                authority(case).map(|authority| support::now(authority.decide(&request)))
            };
            let accepted = decision.as_ref().is_some_and(Decision::is_accept);
            if accepted != (case["expect"] == "accept") {
                fault(format!("{}: {decision:?}", case["reason"]));
            }
        }
        assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    }
}

fn drain(session: &mut Session, input: &mut BytesMut) -> Result<(), Error> {
    while let Progress::Record { consumed, .. } = session.open(input)? {
        input.advance(consumed);
    }
    Ok(())
}

/// The name that the vectors give an error.
fn name(error: &Error) -> String {
    match error {
        Error::AlertReceived(alert) => format!("peer_alert:{}", alert.alert.code()),
        Error::Refused(refusal) => format!("peer_verdict:{}", refusal.reason.code()),
        Error::Denied(refusal) => format!("verdict:{}", refusal.reason.code()),
        Error::Exhausted => "limit".into(),
        error => error.alert().map_or("none", |alert| alert.name()).into(),
    }
}

/// The layer that noticed it, as the vectors name them.
fn layer(error: &Error) -> &'static str {
    match error {
        Error::Malformed(Malformed::Foreign(_) | Malformed::FrameType(_) | Malformed::FrameLen { .. }) => "frame",
        Error::Malformed(Malformed::Field("credential_kind" | "credential_data")) => "credential",
        Error::Malformed(Malformed::Field("ML-KEM-768 encapsulation key")) => "agreement",
        Error::Malformed(Malformed::Field("peer_number" | "number")) => "rekey",
        Error::Malformed(_) | Error::UnsupportedVersion(_) => "message",
        Error::Unexpected { expected: "fewer REKEY records", .. } => "rekey",
        Error::Exhausted => "session",
        Error::Untrusted(Untrusted::NetworkKey | Untrusted::NetworkKeyUnexpected) => "network",
        Error::Unexpected { .. } | Error::AlertReceived(_) => "session",
        Error::Tampered(_) => "aead",
        Error::NoCommonSuite | Error::Untrusted(Untrusted::ZeroSecret | Untrusted::Echo) => "agreement",
        Error::Untrusted(Untrusted::Signature) => "signature",
        Error::Untrusted(Untrusted::Confirmation) => "confirmation",
        Error::Untrusted(Untrusted::WeakKey) => "credential",
        Error::Untrusted(_) | Error::Denied(_) | Error::Refused(_) => "policy",
        _ => "none",
    }
}
