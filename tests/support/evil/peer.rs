//! The evil peer, without sockets: bytes in, bytes out. It follows the protocol where its script does not say
//! otherwise, and goes on whatever it hears.

use super::crypto::{Aead, hmac, is_hybrid, mlkem_decaps, mlkem_encaps, mlkem_keys, sha256, x25519, x25519_base};
use super::keys::{Direction, Handshake, INITIATOR, RESPONDER, index, network_tag_key};
use super::script::{CONTEXT, Confirming, HONEST, Lock, Party, Script, TRUSTED, other};
use super::signing::{ToSign, signature_input};
use super::wire::{self, Auth, Hello, Reply, Share, Transcript, frame, header, take_frames};
use crate::support::{Honest, config, honest, short};

/// What the honest side said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// A frame of the handshake that is not sealed, or that was opened.
    Message(u8),
    /// An ALERT frame.
    Alert(u8),
    /// A record that opened.
    Record(Vec<u8>),
    /// Something sealed that this peer can't open.
    Closed(u8),
}

pub struct Peer {
    pub role: &'static str,
    pub script: Script,
    pub party: Party,
    pub transcript: Transcript,
    pub handshake: Option<Handshake>,
    /// The directions of the session, once both AUTH messages are there.
    pub out: Option<Direction>,
    pub inn: Option<Direction>,
    /// Every frame of the honest side, and what it was.
    pub frames: Vec<Vec<u8>>,
    pub said: Vec<Said>,
    /// How much of it came before this peer ended its direction; noted by `duel`.
    pub said_while_open: usize,
    /// The newest numbered share of the honest side.
    pub share: Option<(u32, [u8; 32])>,
    /// The HELLO that was sent or came.
    pub hello: Option<Hello>,
    /// It has no more to say, and closes.
    pub done: bool,
    shared: Vec<u8>,
    aead: Aead,
    mlkem: Option<Vec<u8>>,
    data_heard: usize,
    inbox: Vec<u8>,
}

impl Peer {
    pub fn new(role: &'static str, script: &Script, suite: u16) -> Self {
        let mut party = Party::trusted(role, suite);
        (script.party)(&mut party);
        Peer {
            role,
            script: *script,
            transcript: Transcript::new(&party.context),
            party,
            handshake: None,
            out: None,
            inn: None,
            frames: Vec::new(),
            said: Vec::new(),
            said_while_open: 0,
            share: None,
            hello: None,
            done: false,
            shared: Vec::new(),
            aead: Aead::ChaCha,
            mlkem: None,
            data_heard: 0,
            inbox: Vec::new(),
        }
    }

    /// What an initiator sends unasked.
    pub fn start(&mut self) -> Vec<u8> {
        if self.role == RESPONDER {
            return Vec::new();
        }
        let mut shares = vec![Share { kind: 1, len: None, data: x25519_base(&self.fresh("x")).to_vec() }];
        if self.party.suites.iter().any(|suite| is_hybrid(*suite)) {
            let (private, key) = self.mlkem_pair();
            self.mlkem = Some(private);
            shares.push(Share { kind: 2, len: None, data: key });
        }
        let mut hello = Hello {
            version: 1,
            nonce: self.fresh("nonce"),
            suite_count: None,
            suites: self.party.suites.clone(),
            share_count: None,
            shares,
            trailing: Vec::new(),
        };
        (self.script.hello)(&mut hello);
        let mut body = hello.encode();
        self.hello = Some(hello);
        if let Some(key) = self.party.network_key {
            let head = header(wire::HELLO, body.len() + 32);
            let tag = hmac(&network_tag_key(Some(&key)), &[&head[..], &body].concat());
            body.extend_from_slice(&tag);
        }
        (self.script.body)(&mut body);
        let hello = frame(wire::HELLO, &body);
        self.transcript.add(wire::FRAME_ITEM, &hello);
        self.flight(self.script.first, vec![hello])
    }

    /// What it answers to these bytes.
    pub fn hear(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.inbox.extend_from_slice(bytes);
        let mut answer = Vec::new();
        for frame in take_frames(&mut self.inbox) {
            self.frames.push(frame.clone());
            let (said, flight) = match (frame[0], self.role) {
                (wire::ALERT, _) => (Said::Alert(frame[4]), Vec::new()),
                (wire::HELLO, RESPONDER) => (Said::Message(frame[0]), self.reply(&frame)),
                (wire::HELLO_REPLY, INITIATOR) => {
                    self.take_reply(&frame);
                    (Said::Message(frame[0]), Vec::new())
                }
                (wire::AUTH_R, INITIATOR) | (wire::AUTH_I, RESPONDER) => self.take_auth(&frame),
                (wire::RECORD, _) => self.take_record(&frame),
                (kind, _) => (Said::Closed(kind), Vec::new()),
            };
            self.said.push(said);
            answer.extend_from_slice(&flight);
        }
        answer
    }

    /// HELLO_REPLY and AUTH_R.
    fn reply(&mut self, hello_frame: &[u8]) -> Vec<u8> {
        let hello = Hello::decode(&hello_frame[4..]);
        let suite = self.party.suite;
        let y = self.fresh("x");
        let dh = x25519(&y, hello.share(1).and_then(|share| share.try_into().ok()).expect("an honest share"));
        let hybrid = is_hybrid(suite) && !self.party.forgets_mlkem;
        let (mlkem, secret) = match hello.share(2).filter(|_| is_hybrid(suite)) {
            Some(key) => mlkem_encaps(key, self.fresh("m")),
            None => (Vec::new(), [0; 32]),
        };
        self.shared = if hybrid { [secret, dh].concat() } else { dh.to_vec() };
        let x25519 = x25519_base(&y).to_vec();
        let mut reply = Reply { version: 1, suite, nonce: self.fresh("nonce"), x25519, mlkem, trailing: Vec::new() };
        (self.script.reply)(&mut reply, &hello);
        let mut body = reply.encode();
        (self.script.body)(&mut body);
        let reply_frame = frame(wire::HELLO_REPLY, &body);
        let seen = match &self.party.offer_seen {
            Some(suites) => frame(wire::HELLO, &Hello { suites: suites.clone(), ..hello.clone() }.encode()),
            None => hello_frame.to_vec(),
        };
        self.transcript.add(wire::FRAME_ITEM, &seen);
        self.transcript.add(wire::FRAME_ITEM, &reply_frame);
        self.hello = Some(hello);
        self.agree(suite);
        let auth = self.auth();
        self.flight(self.script.first, vec![reply_frame, auth])
    }

    fn take_reply(&mut self, reply: &[u8]) {
        let suite = u16::from_be_bytes([reply[6], reply[7]]);
        let dh = x25519(&self.fresh("x"), reply[40..72].try_into().expect("32 bytes"));
        self.shared = match &self.mlkem {
            Some(private) if is_hybrid(suite) && !self.party.forgets_mlkem => {
                [mlkem_decaps(private, &reply[72..]), dh].concat()
            }
            _ => dh.to_vec(),
        };
        self.transcript.add(wire::FRAME_ITEM, reply);
        self.agree(suite);
    }

    fn agree(&mut self, suite: u16) {
        self.aead = self.party.aead.unwrap_or(Aead::of_suite(suite));
        let network_key = self.party.network_key.filter(|_| !self.party.forgets_network_key);
        let keys = Handshake::new(network_key.as_ref(), &self.shared, &self.transcript.hash(), self.aead);
        self.handshake = Some(keys);
    }

    /// Our AUTH message, as the script has it.
    fn auth(&mut self) -> Vec<u8> {
        let keys = self.handshake.clone().expect("agreed");
        let own = index(self.role);
        let kind = if self.role == INITIATOR { wire::AUTH_I } else { wire::AUTH_R };
        let mut auth = Auth {
            service: (self.role == INITIATOR).then(|| self.party.service.clone()),
            service_len: None,
            kind: 1,
            len: None,
            credential: self.party.credential.clone(),
            padding: Vec::new(),
        };
        (self.script.auth)(&mut auth);
        let len = auth.encode(&[0; 64], &[0; 32]).len() + 16;
        self.transcript.add(wire::HEADER_ITEM, &header(kind, len));
        if let Some(service) = &auth.service {
            self.transcript.add(wire::SERVICE_ITEM, service);
        }
        self.transcript.add(wire::CREDENTIAL_ITEM, &auth.block());
        let mut signed = self.transcript.clone();
        (self.script.signed)(&mut signed);
        let input = signature_input(self.party.signs_as, &signed.hash());
        let signature = (self.script.signature)(&ToSign { key: self.party.key.clone(), input });
        self.transcript.add(wire::SIGNATURE_ITEM, &signature);
        let confirming = Confirming { keys: &keys.confirm, own, transcript: self.transcript.clone() };
        let mut plaintext = auth.encode(&signature, &(self.script.confirm)(confirming));
        (self.script.plaintext)(&mut plaintext);
        let head = header(kind, plaintext.len() + 16);
        let mut lock = Lock { direction: keys.directions[own].clone(), ad: head.to_vec() };
        (self.script.lock)(&mut lock, &keys);
        let sealed = lock.direction.seal(&lock.ad, &plaintext);
        self.transcript.add(wire::SEALED_ITEM, &sealed);
        [&head[..], &sealed].concat()
    }

    /// The honest side's AUTH message, which is believed. Answered with ours, or with a VERDICT.
    fn take_auth(&mut self, frame: &[u8]) -> (Said, Vec<u8>) {
        let Some(mut keys) = self.handshake.clone() else { return (Said::Closed(frame[0]), Vec::new()) };
        let opened = keys.directions[index(other(self.role))].open(frame);
        self.transcript.add(wire::HEADER_ITEM, &frame[..4]);
        if let Some(plaintext) = &opened {
            let service = if self.role == RESPONDER { 1 + usize::from(plaintext[0]) } else { 0 };
            if service > 0 {
                self.transcript.add(wire::SERVICE_ITEM, &plaintext[1..service]);
            }
            let rest = &plaintext[service..];
            self.transcript.add(wire::CREDENTIAL_ITEM, &rest[..35]);
            self.transcript.add(wire::SIGNATURE_ITEM, &rest[35..99]);
        }
        self.transcript.add(wire::SEALED_ITEM, &frame[4..]);
        let said = if opened.is_some() { Said::Message(frame[0]) } else { Said::Closed(frame[0]) };
        let own = if self.role == INITIATOR { Some(self.auth()) } else { None };
        let [i, r] = keys.session(&self.transcript.hash(), self.aead);
        let (out, inn) = if self.role == INITIATOR { (i, r) } else { (r, i) };
        (self.out, self.inn) = (Some(out), Some(inn));
        let own = own.unwrap_or_else(|| self.seal(wire::VERDICT, &[0]));
        (said, self.flight(self.script.second, vec![own]))
    }

    fn take_record(&mut self, frame: &[u8]) -> (Said, Vec<u8>) {
        let Some(plaintext) = self.inn.as_mut().and_then(|inn| inn.open(frame)) else {
            return (Said::Closed(frame[0]), Vec::new());
        };
        if plaintext[0] == wire::REKEY {
            // Its share is mixed with none of ours: we have named none.
            let content = &plaintext[1..];
            self.inn.iter_mut().for_each(|inn| inn.advance(content, &[0; 32]));
            let number = u32::from_be_bytes(content[4..8].try_into().expect("4 bytes"));
            if number > 0 {
                self.share = Some((number, content[8..].try_into().expect("32 bytes")));
            }
        }
        self.data_heard += usize::from(plaintext[0] == wire::DATA);
        let speaks = plaintext[0] == wire::DATA && self.data_heard == 2;
        let flight = if speaks {
            let data = self.seal(wire::DATA, b"data of the evil peer");
            self.done = true;
            self.flight(self.script.session, vec![data])
        } else {
            Vec::new()
        };
        (Said::Record(plaintext), flight)
    }

    fn flight(&mut self, edit: fn(&mut Peer, &mut Vec<Vec<u8>>), mut frames: Vec<Vec<u8>>) -> Vec<u8> {
        edit(self, &mut frames);
        // Who leaves everything out waits for nothing.
        self.done |= frames.is_empty();
        frames.concat()
    }

    pub fn seal(&mut self, kind: u8, content: &[u8]) -> Vec<u8> {
        self.out.as_mut().expect("a session").record(kind, content)
    }

    /// Our sending direction.
    pub fn keys(&mut self) -> &mut Direction {
        self.out.as_mut().expect("a session")
    }

    /// Another session of the same two parties: what somebody on the path may have recorded.
    pub fn recorded(&self) -> Honest {
        let of = |own, peer| short(config(own, peer)).context(CONTEXT);
        let (honest_side, ours) = (of(HONEST, TRUSTED), of(TRUSTED, HONEST));
        if self.role == INITIATOR { honest(&ours, &honest_side, 77) } else { honest(&honest_side, &ours, 77) }
    }

    /// 32 bytes that replay.
    pub fn fresh(&self, what: &str) -> [u8; 32] {
        sha256(format!("{} {what}", self.role).as_bytes())
    }

    fn mlkem_pair(&self) -> (Vec<u8>, Vec<u8>) {
        mlkem_keys([self.fresh("d"), self.fresh("z")].concat().try_into().expect("64 bytes"))
    }

    /// What an honest side must not learn from nor tell: every secret that this peer has.
    pub fn secrets(&self) -> Vec<Vec<u8>> {
        let keys = self.handshake.iter().flat_map(|keys| {
            let directions = keys.directions.iter().flat_map(|direction| [direction.secret, direction.key]);
            [keys.secret].into_iter().chain(keys.confirm).chain(directions).map(Vec::from)
        });
        let session = self.out.iter().chain(&self.inn).flat_map(|direction| [direction.secret, direction.key]);
        keys.chain(session.map(Vec::from)).chain([self.shared.clone()]).filter(|secret| !secret.is_empty()).collect()
    }
}
