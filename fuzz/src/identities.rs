//! What a peer presents as its identity, and the text forms of keys (specification, section 7).

use bytes::{BufMut, BytesMut};
use countersign::crypto::agreement::{self, SharedSecret, X25519Share};
use countersign::crypto::schedule::{ConfirmKey, EarlySecret, HandshakeSecret};
use countersign::error::{Alert, Error, Reason, Sealed, Untrusted};
use countersign::identity::{Fingerprint, Identity, ParseKeyError, PeerId, PublicKey, parse_line};
use countersign::role::Role;
use countersign::secret::Secret;
use countersign::transcript::{Item, Transcript};
use countersign::trust::{Decision, Direction, Request, Trust, TrustFile};
use countersign::wire::frame::{FrameType, Header};
use countersign::wire::message::{Auth, Hello, HelloReply, Share};

use super::parties::{self, AEAD, Machine, SERVICE, now, split};
use super::reader::Reader;
use super::rules;

/// Input: a byte of choices, then what they need: see [`Claim`].
///
/// Someone who shakes hands by the rules, and so can seal, presents any plaintext as AUTH_R or AUTH_I. It is judged as the
/// specification says and in its order ([HS-12] to [HS-15], [HS-17] to [HS-26], [ID-1] to [ID-3]); trust is asked only about a key
/// that has signed; and only the trusted peer gets anywhere.
pub fn identity_presented(data: &[u8]) {
    let mut reader = Reader::new(data);
    let victim = if reader.u8() & 1 == 1 { Role::Responder } else { Role::Initiator };
    let claim = Claim::read(victim.peer(), &mut reader);
    let mut machine = Machine::new(victim, data, 1, false);
    let expected = match victim {
        Role::Initiator => present_to_initiator(&mut machine, &claim),
        Role::Responder => present_to_responder(&mut machine, &claim),
    };
    expected.check(&machine, victim);
    // Any 32 bytes: a key is canonical, and never of small order.
    if let Some(bytes) = data.last_chunk::<32>()
        && let Ok(key) = PublicKey::from_bytes(bytes)
    {
        assert_eq!(key.as_bytes(), bytes);
        assert!(is_canonical(bytes), "[ID-2]");
    }
}

/// What is presented, and by whom.
struct Claim<'a> {
    role: Role,
    signer: Identity,
    /// The plaintext as it stands, instead of what follows.
    raw: Option<&'a [u8]>,
    service: &'a [u8],
    kind: u8,
    data: Vec<u8>,
    padding: &'a [u8],
    spoil_confirm: bool,
    spoil_signature: bool,
    other_role: bool,
}

impl<'a> Claim<'a> {
    fn read(role: Role, reader: &mut Reader<'a>) -> Self {
        let choice = reader.u8();
        let signer = if choice & 1 == 1 { parties::stranger() } else { parties::identity(role) };
        if choice & 2 == 2 {
            let padding = &[][..];
            let raw = reader.take(17_408 - 16);
            return Claim { raw: Some(raw), ..Claim::honest(role, signer, padding) };
        }
        let mut claim = Claim::honest(role, signer, &[]);
        claim.spoil_confirm = choice & 4 == 4;
        claim.spoil_signature = choice & 8 == 8;
        claim.other_role = choice & 16 == 16;
        match choice >> 5 {
            0 | 1 => {}
            2 => claim.data = parties::key(role).as_bytes().to_vec(),
            3 => claim.data = parties::key(role.peer()).as_bytes().to_vec(),
            4 => claim.data = reader.take(32).to_vec(),
            5 => {
                claim.kind = reader.u8();
                claim.data = match claim.kind {
                    #[cfg(feature = "x509")]
                    2 => super::chains::presented(&claim.signer.public_key(), reader),
                    _ => reader.short().to_vec(),
                };
            }
            6 => claim.service = reader.short(),
            _ => claim.padding = reader.short(),
        }
        claim
    }

    fn honest(role: Role, signer: Identity, padding: &'a [u8]) -> Self {
        let data = signer.public_key().as_bytes().to_vec();
        Claim {
            role,
            signer,
            raw: None,
            service: SERVICE.as_bytes(),
            kind: 1,
            data,
            padding,
            spoil_confirm: false,
            spoil_signature: false,
            other_role: false,
        }
    }

    /// The plaintext, with a transcript that has everything before our AUTH, and our confirmation key. What the transcript
    /// has afterwards does not matter to a victim of the first kind, nor to one that refuses.
    fn plaintext(&self, transcript: &mut Transcript, confirm: &ConfirmKey) -> BytesMut {
        let mut out = BytesMut::new();
        if let Some(raw) = self.raw {
            out.put_slice(raw);
            return out;
        }
        let mut block = BytesMut::new();
        block.put_u8(self.kind);
        block.put_u16(self.data.len().try_into().expect("a short credential"));
        block.put_slice(&self.data);
        let (frame, service_len) = match self.role {
            Role::Responder => (FrameType::AuthR, 0),
            Role::Initiator => (FrameType::AuthI, 1 + self.service.len()),
        };
        let len = service_len + block.len() + 64 + 32 + self.padding.len() + 16;
        transcript.add(Item::Header, &[&Header { frame, len }.encode()]).expect("short");
        if self.role == Role::Initiator {
            transcript.add(Item::Service, &[self.service]).expect("short");
            out.put_u8(self.service.len().try_into().expect("a short service"));
            out.put_slice(self.service);
        }
        transcript.add(Item::Credential, &[&block]).expect("short");
        let signed_as = if self.other_role { self.role.peer() } else { self.role };
        let mut signature = self.signer.sign(&transcript.signature_input(signed_as)).expect("a signature");
        signature[7] ^= u8::from(self.spoil_signature);
        transcript.add(Item::Signature, &[&signature]).expect("short");
        let mut confirm = confirm.compute(&transcript.hash()).expect("a confirmation");
        confirm[31] ^= u8::from(self.spoil_confirm);
        out.put_slice(&block);
        out.put_slice(&signature);
        out.put_slice(&confirm);
        out.put_slice(self.padding);
        out
    }

    /// The specification's judgement, in its order.
    fn judge(&self, plaintext: &[u8]) -> Expected {
        let auth = match self.role {
            Role::Responder => plaintext,
            Role::Initiator => match rules::service(plaintext) {
                Some(len) => &plaintext[1 + len..],
                None => return Expected::Fails(Alert::Malformed),
            },
        };
        let Some(len) = rules::auth(auth) else { return Expected::Fails(Alert::Malformed) };
        let credential = &auth[3..len - 96];
        let key = match auth[0] {
            1 => <[u8; 32]>::try_from(credential).map_err(|_| Alert::Malformed),
            #[cfg(feature = "x509")]
            2 => super::chains::certified_key(credential),
            _ => Err(Alert::Malformed),
        };
        let bytes = match key {
            Ok(bytes) if PublicKey::from_bytes(&bytes).is_ok() => bytes,
            Ok(_) => return Expected::Fails(Alert::Refused),
            Err(alert) => return Expected::Fails(alert),
        };
        // The confirmation first, and over whatever stands there as a signature.
        if self.raw.is_some() || self.spoil_confirm {
            return Expected::Fails(Alert::BadRecord);
        }
        if self.spoil_signature || self.other_role || bytes != *self.signer.public_key().as_bytes() {
            return Expected::Fails(Alert::Refused);
        }
        let trusted = bytes == *parties::key(self.role).as_bytes();
        match self.role {
            // [ID-3] can't be met here: a party's own key signs for nobody else.
            Role::Responder if trusted => Expected::Trusted,
            Role::Responder => Expected::Stranger(Error::Untrusted(Untrusted::NotExpected {
                expected: parties::key(self.role).fingerprint().to_string().into(),
                got: self.signer.public_key().fingerprint().to_string().into(),
            })),
            Role::Initiator if !trusted => Expected::Denied(Reason::NotTrusted),
            Role::Initiator if self.service != SERVICE.as_bytes() => Expected::Denied(Reason::ServiceUnavailable),
            Role::Initiator => Expected::Trusted,
        }
    }
}

enum Expected {
    Fails(Alert),
    Stranger(Error),
    Denied(Reason),
    Trusted,
}

impl Expected {
    fn check(&self, machine: &Machine, victim: Role) {
        let sent = split(&machine.output);
        let sent: Vec<&[u8]> = sent.iter().map(|frame| &frame[..]).collect();
        let alert = |code: Alert| [0xC6, 0, 0, 1, code.code()];
        match self {
            Expected::Fails(code) => {
                assert_eq!(machine.error.as_ref().and_then(Error::alert), Some(*code), "{:?}", machine.error);
                assert_eq!(machine.asked, None, "trust was asked about a key that has not signed");
                assert_eq!(sent, [alert(*code)]);
            }
            Expected::Stranger(error) => {
                assert_eq!(machine.error.as_ref(), Some(error));
                assert_eq!(sent, [alert(Alert::Refused)]);
            }
            Expected::Denied(reason) => {
                let Some(Error::Denied(refusal)) = &machine.error else { panic!("{:?}", machine.error) };
                assert_eq!(refusal.reason, *reason);
                assert!(sent.len() == 1 && sent[0][0] == 0xC5 && sent[0].len() == 4 + 1 + 1 + 16, "a VERDICT");
            }
            Expected::Trusted => {
                assert_eq!(machine.error, None);
                assert_eq!(machine.asked, Some(parties::key(victim.peer())));
                assert_eq!(machine.accepted, victim == Role::Responder);
                let expected = if victim == Role::Responder { 0xC5 } else { 0xC4 };
                assert!(sent.len() == 1 && sent[0][0] == expected);
            }
        }
    }
}

fn present_to_initiator(victim: &mut Machine, claim: &Claim<'_>) -> Expected {
    let mut rng = parties::rng(b"rogue", 1);
    let hello = victim.output.split();
    let ephemeral = X25519Share::generate(&mut rng).expect("randomness");
    let mut body = BytesMut::new();
    let nonce = agreement::nonce(&mut rng).expect("randomness");
    HelloReply { suite: 1, nonce, shares: ephemeral.share() }.encode(&mut body);
    let reply = frame(FrameType::HelloReply, &body);
    let share = &Hello::decode(&hello[4..]).expect("an honest HELLO").shares[0].data;
    let shared = ephemeral.agree(share[..].try_into().expect("32 bytes")).expect("an honest share");
    let mut transcript = Transcript::new(b"fuzz").expect("short");
    transcript.add(Item::Frame, &[&hello]).expect("short");
    transcript.add(Item::Frame, &[&reply]).expect("short");
    let th_hello = transcript.hash();
    let secret = agreed(&shared);
    let confirm = secret.confirm(Role::Responder, &th_hello).expect("keys");
    let mut sealing = secret.traffic(Role::Responder, &th_hello).and_then(|s| s.sealing_key(AEAD)).expect("keys");

    let mut plaintext = claim.plaintext(&mut transcript, &confirm);
    let expected = claim.judge(&plaintext);
    let header = Header { frame: FrameType::AuthR, len: plaintext.len() + 16 }.encode();
    let tag = sealing.seal(&header, &mut plaintext).expect("room");
    victim.feed(&[&reply[..], &header, &plaintext, &tag].concat());
    expected
}

fn present_to_responder(victim: &mut Machine, claim: &Claim<'_>) -> Expected {
    let mut rng = parties::rng(b"rogue", 2);
    let ephemeral = X25519Share::generate(&mut rng).expect("randomness");
    let mut body = BytesMut::new();
    let nonce = agreement::nonce(&mut rng).expect("randomness");
    let share = Share { kind: 1, data: ephemeral.share().to_vec() };
    Hello { nonce, suites: vec![1], shares: vec![share], network_tag: None }.encode(&mut body).expect("short");
    let hello = frame(FrameType::Hello, &body);
    victim.feed(&hello);
    let answer = split(&victim.output.split());
    let [reply, auth_r] = &answer[..] else { panic!("an honest HELLO is answered with {} frames", answer.len()) };
    let share = HelloReply::decode(&reply[4..]).expect("an honest HELLO_REPLY").shares;
    let shared = ephemeral.agree(share.try_into().expect("32 bytes")).expect("an honest share");
    let mut transcript = Transcript::new(b"fuzz").expect("short");
    transcript.add(Item::Frame, &[&hello]).expect("short");
    transcript.add(Item::Frame, &[reply]).expect("short");
    let th_hello = transcript.hash();
    let secret = agreed(&shared);
    let confirm = secret.confirm(Role::Initiator, &th_hello).expect("keys");
    let mut sealing = secret.traffic(Role::Initiator, &th_hello).and_then(|s| s.sealing_key(AEAD)).expect("keys");
    let mut opening = secret.traffic(Role::Responder, &th_hello).and_then(|s| s.opening_key(AEAD)).expect("keys");

    let (header, sealed) = auth_r.split_at(4);
    let mut opened = sealed.to_vec();
    let opened = opening.open(header, &mut opened, Sealed::AuthR).expect("an honest AUTH_R");
    let auth = Auth::decode(opened).expect("an honest AUTH_R");
    let mut block = BytesMut::new();
    auth.credential.encode(&mut block).expect("short");
    let items = [
        (Item::Header, header),
        (Item::Credential, &block),
        (Item::Signature, &auth.signature),
        (Item::Sealed, sealed),
    ];
    items.iter().for_each(|(item, data)| transcript.add(*item, &[data]).expect("short"));

    let mut plaintext = claim.plaintext(&mut transcript, &confirm);
    let expected = claim.judge(&plaintext);
    let header = Header { frame: FrameType::AuthI, len: plaintext.len() + 16 }.encode();
    let tag = sealing.seal(&header, &mut plaintext).expect("room");
    victim.feed(&[&header[..], &plaintext, &tag].concat());
    expected
}

fn agreed(dh: &Secret<32>) -> HandshakeSecret {
    let early = EarlySecret::new(None).expect("keys");
    early.into_handshake(&SharedSecret::new(None, dh)).expect("keys")
}

fn frame(frame: FrameType, body: &[u8]) -> Vec<u8> {
    [&Header { frame, len: body.len() }.encode()[..], body].concat()
}

/// [ID-2]: below 2^255 - 19 without its top bit.
fn is_canonical(bytes: &[u8; 32]) -> bool {
    !(bytes[31] & 0x7F == 0x7F && bytes[1..31].iter().all(|byte| *byte == 0xFF) && bytes[0] >= 0xED)
}

/// Input: the text of a public key line, a fingerprint, a trust file or a private key file; or a byte 0 and the binary inside of an
/// OpenSSH private key file; or a byte 1 and that of a PKCS#8 file.
///
/// Nothing panics, and whatever is accepted prints to a text that is accepted as the same and prints the same again.
pub fn key_text(data: &[u8]) {
    match data.split_first() {
        Some((0, inside)) => private_key(&armour("OPENSSH PRIVATE KEY", inside, 70)),
        Some((1, inside)) => private_key(&armour("PRIVATE KEY", inside, 64)),
        _ => {
            let text = String::from_utf8_lossy(data);
            public_key(&text);
            fingerprint(&text);
            trust_file(&text);
            private_key(&text);
        }
    }
}

fn public_key(text: &str) {
    let parsed = parse_line(text);
    assert_eq!(text.parse::<PublicKey>(), parsed.map(|(key, _)| key));
    let Ok((key, comment)) = parsed else { return };
    let printed = key.to_string();
    assert_eq!(text.split_whitespace().take(2).collect::<Vec<_>>().join(" "), printed, "two texts for one key");
    assert_eq!(parse_line(&printed), Ok((key, "")));
    assert_eq!(parse_line(&format!("{printed} {comment}")), Ok((key, comment)));
    assert_eq!(PublicKey::from_bytes(key.as_bytes()).as_ref(), Ok(&key));
    fingerprint(&key.fingerprint().to_string());
    assert!(PeerId::Fingerprint(key.fingerprint()).matches(&key));
    assert_eq!(text.parse::<PeerId>(), Ok(PeerId::Key(key)));
    let art = key.randomart();
    assert!(art.lines().count() == 11 && art.lines().all(|line| line.chars().count() == 19), "{art}");
}

fn fingerprint(text: &str) {
    if let Ok(fingerprint) = text.parse::<Fingerprint>() {
        let printed = fingerprint.to_string();
        assert_eq!(printed, text.trim(), "two texts for one fingerprint");
        assert_eq!(printed.parse(), Ok(fingerprint));
        assert_eq!(printed.parse::<PeerId>(), Ok(PeerId::Fingerprint(fingerprint)));
    }
}

/// A trust file has no text form of its own: it is printed here from its lines.
fn trust_file(text: &str) {
    let lines: Vec<&str> = text.trim_start_matches('\u{feff}').lines().collect();
    let mut printed = String::new();
    let mut keys: Vec<(PublicKey, &str)> = Vec::new();
    let parsed = TrustFile::parse(text);
    for (index, line) in lines.iter().enumerate().filter(|(_, line)| !is_passed_over(line)) {
        if is_unfit(line) {
            let failure = parsed.expect_err("a line that is too long, or may look like another");
            return assert_eq!(failure.line(), index + 1);
        }
        match (parse_line(line), &parsed) {
            (Ok((key, name)), _) => {
                if keys.iter().all(|(other, _)| *other != key) {
                    keys.push((key, name));
                }
                printed.push_str(&format!("{key} {name}\n"));
            }
            // Perhaps a line with options, which are not modelled here: a decision by such a file is made all the same.
            (Err(ParseKeyError::NotEd25519), Ok(trust)) => {
                decide(trust, &parties::stranger().public_key());
                return;
            }
            (Err(ParseKeyError::NotEd25519), Err(failure)) => return assert!(failure.line() > index),
            (Err(_), Err(failure)) => return assert_eq!(failure.line(), index + 1),
            (Err(error), Ok(_)) => panic!("line {} is {error:?}, and the file is accepted", index + 1),
        }
    }
    let trust = parsed.expect("every line is good");
    let again = TrustFile::parse(&printed).expect("a printed trust file");
    for trust in [&trust, &again] {
        assert_eq!((trust.len(), trust.is_empty()), (keys.len(), keys.is_empty()));
        for (key, name) in &keys {
            let name = Some(*name).filter(|name| !name.is_empty()).map(str::to_owned);
            assert!(matches!(decide(trust, key), Decision::Accept(grant) if grant.name == name));
        }
    }
    let other = parties::stranger().public_key();
    assert!(keys.iter().any(|(key, _)| *key == other) || !decide(&trust, &other).is_accept());
}

/// No line of a trust file has a control character but a tab, or more than 8,192 bytes.
fn is_unfit(line: &str) -> bool {
    let line = line.trim();
    line.len() > 8_192 || line.chars().any(|c| c.is_control() && c != '\t')
}

fn is_passed_over(line: &str) -> bool {
    line.trim().is_empty() || line.trim().starts_with('#')
}

fn decide(trust: &TrustFile, key: &PublicKey) -> Decision {
    let credential = countersign::identity::Credential::RawKey(*key);
    now(trust.decide(&Request::new(credential, String::new(), None, Direction::Inbound)))
}

/// Without a passphrase: with one the file says how long its derivation takes.
fn private_key(text: &str) {
    let Ok(identity) = Identity::from_pem(text, None) else { return };
    let printed = identity.to_openssh(None).expect("what was read can be written");
    let again = Identity::from_pem(&printed, None).expect("what was written can be read");
    assert_eq!(again.public_key(), identity.public_key());
    assert_eq!(again.comment(), identity.comment());
    assert_eq!(again.to_openssh(None).expect("written before"), printed, "two texts for one identity");
}

pub(super) fn armour(label: &str, inside: &[u8], width: usize) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = format!("-----BEGIN {label}-----\n");
    let mut column = 0;
    for three in inside.chunks(3) {
        let bits = (0..3).fold(0_u32, |bits, i| bits << 8 | u32::from(three.get(i).copied().unwrap_or_default()));
        for i in 0..4_u32 {
            if column == width {
                text.push('\n');
                column = 0;
            }
            let index = usize::try_from(bits >> (18 - 6 * i) & 63).expect("six bits");
            text.push(if usize::try_from(i).is_ok_and(|i| i <= three.len()) {
                char::from(ALPHABET[index])
            } else {
                '='
            });
            column += 1;
        }
    }
    text + &format!("\n-----END {label}-----\n")
}
