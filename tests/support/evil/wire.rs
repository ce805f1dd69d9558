//! Messages whose every field can be set to anything, and the transcript as a list of its items.

use super::crypto::sha256;

/// The frame types of section 6.1.
pub const HELLO: u8 = 0xC1;
pub const HELLO_REPLY: u8 = 0xC2;
pub const AUTH_R: u8 = 0xC3;
pub const AUTH_I: u8 = 0xC4;
pub const RECORD: u8 = 0xC5;
pub const ALERT: u8 = 0xC6;

/// The record kinds of section 6.5.
pub const DATA: u8 = 1;
pub const END: u8 = 2;
pub const ALERT_RECORD: u8 = 3;
pub const VERDICT: u8 = 4;
pub const REKEY: u8 = 6;
pub const KEEPALIVE: u8 = 7;
pub const PADDED: u8 = 0x80;

pub fn header(kind: u8, len: usize) -> [u8; 4] {
    let [.., a, b, c] = len.to_be_bytes();
    [kind, a, b, c]
}

pub fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    [&header(kind, body.len())[..], body].concat()
}

/// Takes the whole frames off the front.
pub fn take_frames(bytes: &mut Vec<u8>) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    while let Some(&[_, a, b, c]) = bytes.first_chunk() {
        let len = 4 + usize::from(a) * 65_536 + usize::from(b) * 256 + usize::from(c);
        if bytes.len() < len {
            break;
        }
        frames.push(bytes.drain(..len).collect());
    }
    frames
}

#[derive(Clone, Debug)]
pub struct Share {
    pub kind: u8,
    /// Another length than that of the data.
    pub len: Option<u16>,
    pub data: Vec<u8>,
}

#[derive(Clone, Debug)]
pub struct Hello {
    pub version: u16,
    pub nonce: [u8; 32],
    pub suite_count: Option<u8>,
    pub suites: Vec<u16>,
    pub share_count: Option<u8>,
    pub shares: Vec<Share>,
    pub trailing: Vec<u8>,
}

impl Hello {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = [&self.version.to_be_bytes()[..], &self.nonce].concat();
        out.push(self.suite_count.unwrap_or(self.suites.len() as u8));
        self.suites.iter().for_each(|suite| out.extend_from_slice(&suite.to_be_bytes()));
        out.push(self.share_count.unwrap_or(self.shares.len() as u8));
        for share in &self.shares {
            out.push(share.kind);
            out.extend_from_slice(&share.len.unwrap_or(share.data.len() as u16).to_be_bytes());
            out.extend_from_slice(&share.data);
        }
        out.extend_from_slice(&self.trailing);
        out
    }

    pub fn share(&self, kind: u8) -> Option<&[u8]> {
        self.shares.iter().find(|share| share.kind == kind).map(|share| &share.data[..])
    }

    /// Of an honest initiator, so without a tag in what is returned.
    pub fn decode(body: &[u8]) -> Self {
        let word = |at: usize| u16::from_be_bytes([body[at], body[at + 1]]);
        let count = usize::from(body[34]);
        let suites = (0..count).map(|n| word(35 + 2 * n)).collect();
        let mut at = 36 + 2 * count;
        let mut shares = Vec::new();
        for _ in 0..body[at - 1] {
            let len = usize::from(word(at + 1));
            shares.push(Share { kind: body[at], len: None, data: body[at + 3..at + 3 + len].to_vec() });
            at += 3 + len;
        }
        let nonce = body[2..34].try_into().expect("32 bytes");
        let (suite_count, share_count, trailing) = (None, None, Vec::new());
        Hello { version: word(0), nonce, suite_count, suites, share_count, shares, trailing }
    }
}

#[derive(Clone, Debug)]
pub struct Reply {
    pub version: u16,
    pub suite: u16,
    pub nonce: [u8; 32],
    pub x25519: Vec<u8>,
    /// Empty in a classical suite.
    pub mlkem: Vec<u8>,
    pub trailing: Vec<u8>,
}

impl Reply {
    pub fn encode(&self) -> Vec<u8> {
        let (version, suite) = (self.version.to_be_bytes(), self.suite.to_be_bytes());
        [&version[..], &suite, &self.nonce, &self.x25519, &self.mlkem, &self.trailing].concat()
    }
}

/// The plaintext of AUTH_R and AUTH_I.
#[derive(Clone, Debug)]
pub struct Auth {
    /// AUTH_I only.
    pub service: Option<Vec<u8>>,
    pub service_len: Option<u8>,
    pub kind: u8,
    pub len: Option<u16>,
    pub credential: Vec<u8>,
    pub padding: Vec<u8>,
}

impl Auth {
    /// The credential block.
    pub fn block(&self) -> Vec<u8> {
        let len = self.len.unwrap_or(self.credential.len() as u16).to_be_bytes();
        [&[self.kind], &len[..], &self.credential].concat()
    }

    pub fn encode(&self, signature: &[u8], confirm: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        if let Some(service) = &self.service {
            out.push(self.service_len.unwrap_or(service.len() as u8));
            out.extend_from_slice(service);
        }
        [&out[..], &self.block(), signature, confirm, &self.padding].concat()
    }
}

/// The items of section 9 by their tags.
pub const PROTOCOL_ITEM: u8 = 0;
pub const CONTEXT_ITEM: u8 = 1;
pub const FRAME_ITEM: u8 = 2;
pub const HEADER_ITEM: u8 = 3;
pub const SERVICE_ITEM: u8 = 4;
pub const CREDENTIAL_ITEM: u8 = 5;
pub const SIGNATURE_ITEM: u8 = 6;
pub const SEALED_ITEM: u8 = 7;

/// All items so far.
#[derive(Clone, Debug)]
pub struct Transcript(pub Vec<(u8, Vec<u8>)>);

impl Transcript {
    pub fn new(context: &[u8]) -> Self {
        Transcript(vec![(PROTOCOL_ITEM, b"countersign/1".to_vec()), (CONTEXT_ITEM, context.to_vec())])
    }

    pub fn add(&mut self, tag: u8, data: &[u8]) {
        self.0.push((tag, data.to_vec()));
    }

    pub fn hash(&self) -> [u8; 32] {
        let encoded = self.0.iter().flat_map(|(tag, data)| {
            let len = u32::try_from(data.len()).expect("short").to_be_bytes();
            [&[*tag], &len[..], data].concat()
        });
        sha256(&encoded.collect::<Vec<u8>>())
    }
}
