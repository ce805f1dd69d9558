//! What is sealed, opened with the secrets of a key log (specification, sections 6.4, 6.5 and 11).

use countersign::error::{Error, Reason, Sealed};
use countersign::identity::PublicKey;
use countersign::limits::{
    CONFIRM_LEN, HEADER_LEN, REKEY_BURST, REKEY_LEN, REKEY_SPACING, SIGNATURE_LEN, TAG_LEN, X25519_LEN,
};
use countersign::role::Role;
use countersign::session::{Event, Opener, Progress};
use countersign::wire::frame::FrameType;
use countersign::wire::message::{Auth, Rekey};

use crate::inspect::frames::RawFrame;
use crate::inspect::keys::Keys;
use crate::inspect::listing::{Fields, Listing, alert_name, number, plain};

/// Opens AUTH_R or AUTH_I and lists its fields.
pub fn open_auth(listing: &mut Listing<'_>, frame: &RawFrame<'_>, keys: &Keys) -> Option<Vec<u8>> {
    let (label, what) = if frame.kind == FrameType::AuthR { ("HS_R", Sealed::AuthR) } else { ("HS_I", Sealed::AuthI) };
    let name = frame.kind.name();
    let Some(secret) = keys.traffic(label) else {
        listing.wrong(format!("{name} stays sealed: the key log has no line {label} for this connection"));
        return None;
    };
    let mut body = frame.body.to_vec();
    let opened = secret.opening_key(keys.suite.aead()).and_then(|mut key| {
        let plaintext = key.open(frame.header, &mut body, what)?;
        Ok(plaintext.to_vec())
    });
    let plaintext = match opened {
        Ok(plaintext) => plaintext,
        Err(_) => {
            listing.wrong(format!("{name} does not open under {label}: it was altered, or is from another connection"));
            return None;
        }
    };
    listing.ok(format!("{name} opens under {label}"));
    let _ = auth_fields(&mut Fields::new(listing, &plaintext, frame.offset + HEADER_LEN), frame.kind);
    let decoded = match frame.kind {
        FrameType::AuthR => Auth::decode(&plaintext).map(|_| ()),
        _ => Auth::decode_with_service(&plaintext).map(|_| ()),
    };
    match decoded {
        Ok(()) => listing.ok(format!("{name} decodes, and its padding is zero")),
        Err(error) => listing.wrong(format!("{name}: {error}")),
    }
    Some(plaintext)
}

fn auth_fields(fields: &mut Fields<'_, '_, '_>, kind: FrameType) -> Option<()> {
    let (signature, confirm) =
        if kind == FrameType::AuthR { ("signature_r", "confirm_r") } else { ("signature_i", "confirm_i") };
    if kind == FrameType::AuthI {
        let len = fields.number("service_len", 1)?;
        fields.take("service", len, text)?;
    }
    fields.take("credential_kind", 1, |kind| if kind == [1] { "raw key".into() } else { "unknown".into() })?;
    let len = fields.number("credential_len", 2)?;
    fields.take("credential_data", len, fingerprint)?;
    fields.take(signature, SIGNATURE_LEN, plain)?;
    fields.take(confirm, CONFIRM_LEN, plain)?;
    if !fields.is_empty() {
        fields.rest("padding", "");
    }
    Some(())
}

/// The records of one direction.
pub struct Records<'k> {
    keys: &'k Keys,
    role: Role,
    opener: Option<Opener>,
    /// REKEY records so far, and others.
    rekeys: u64,
    others: u64,
    /// The numbers of the last REKEY [RK-3] [RK-4].
    peer_number: u32,
    number: u32,
    data: u64,
    opened: u64,
    /// Why nothing more is opened.
    over: Option<&'static str>,
    started: bool,
}

impl<'k> Records<'k> {
    pub fn new(keys: &'k Keys, role: Role) -> Self {
        Records {
            keys,
            role,
            opener: None,
            rekeys: 0,
            others: 0,
            peer_number: 0,
            number: 0,
            data: 0,
            opened: 0,
            over: None,
            started: false,
        }
    }

    /// Opens the next record and lists its fields.
    pub fn open(&mut self, listing: &mut Listing<'_>, frame: &RawFrame<'_>) {
        if !self.started {
            self.started = true;
            self.next_opener(listing);
        }
        if let Some(over) = self.over {
            listing.wrong(format!("a record after {over}"));
        }
        let Some(opener) = &mut self.opener else { return listing.sealed(frame) };
        let mut bytes = frame.whole.to_vec();
        let result = opener.open(&mut bytes);
        if matches!(result, Err(Error::Tampered(_) | Error::Exhausted)) {
            listing.wrong(format!("the record does not open under {}", self.label()));
            self.opener = None;
            self.over = Some("one that does not open");
            return listing.sealed(frame);
        }
        self.opened += 1;
        let plaintext = bytes.get(HEADER_LEN..bytes.len() - TAG_LEN).unwrap_or_default();
        let kind = plaintext.first().copied().unwrap_or_default();
        let content = content(plaintext);
        let mut fields = Fields::new(listing, plaintext, frame.offset + HEADER_LEN);
        let _ = record_fields(&mut fields, kind, content.map(<[u8]>::len));
        self.judge(listing, kind, content, result);
    }

    fn judge(&mut self, listing: &mut Listing<'_>, kind: u8, content: Option<&[u8]>, result: Result<Progress, Error>) {
        let name = kind_name(kind);
        let label = self.label();
        if kind & !PADDED != REKEY {
            self.others += 1;
        }
        let over = match result {
            Ok(Progress::Record { event: Event::Data(range), .. }) => {
                self.data += u64::try_from(range.len()).unwrap_or(u64::MAX);
                None
            }
            Ok(Progress::Record { event: Event::End, .. }) => Some("END"),
            Ok(Progress::Record { event: Event::Rekey, .. }) => {
                listing.ok(format!("{name} opens under {label}"));
                return self.rekey(listing, content);
            }
            Ok(_) => None,
            Err(Error::AlertReceived(_)) => Some("an ALERT"),
            Err(Error::Refused(_)) => Some("a refusal"),
            Err(error) => {
                listing.wrong(format!("the record opens under {label}, but: {error}"));
                self.opener = None;
                self.over = Some("one that is wrong");
                return;
            }
        };
        listing.ok(format!("{name} opens under {label}"));
        if over.is_some() {
            self.opener = None;
            self.over = over;
        }
    }

    fn rekey(&mut self, listing: &mut Listing<'_>, content: Option<&[u8]>) {
        self.rekeys += 1;
        // [RK-2]
        if self.rekeys > REKEY_BURST + self.others / REKEY_SPACING {
            listing.wrong("more REKEY records than are allowed");
        }
        if let Some(Ok(rekey)) = content.map(Rekey::decode) {
            let number_is_right = rekey.number == 0 || Some(rekey.number) == self.number.checked_add(1);
            if rekey.peer_number < self.peer_number || !number_is_right {
                listing.wrong("REKEY: peer_number or number does not follow from the REKEY before");
            }
            self.peer_number = rekey.peer_number;
            self.number = self.number.max(rekey.number);
        }
        self.next_opener(listing);
    }

    /// The key that comes next.
    fn next_opener(&mut self, listing: &mut Listing<'_>) {
        let label = self.label();
        self.opener = None;
        let Some(secret) = self.keys.traffic(&label) else {
            return listing.wrong(format!(
                "the records from here on stay sealed: the key log has no line {label} for this connection"
            ));
        };
        match Opener::new(secret, self.keys.suite.aead()) {
            // [HS-21]
            Ok(opener) if self.role == Role::Responder && self.rekeys == 0 => {
                self.opener = Some(opener.awaiting_verdict());
            }
            Ok(opener) => self.opener = Some(opener),
            Err(error) => listing.wrong(error),
        }
    }

    fn label(&self) -> String {
        let side = if self.role == Role::Initiator { 'I' } else { 'R' };
        format!("TRAFFIC_{side}_{}", self.rekeys)
    }

    /// What came of it all.
    pub fn finish(self, listing: &mut Listing<'_>) {
        let Records { role, opened, data, rekeys, over, .. } = self;
        listing
            .line(format!("{opened} records of the {role} were opened: {data} bytes of data, {rekeys} changes of key"));
        if over.is_none() {
            listing.line("note: this direction has no END: it was cut, or was still open");
        }
    }
}

fn record_fields(fields: &mut Fields<'_, '_, '_>, kind: u8, content_len: Option<usize>) -> Option<()> {
    fields.take("kind", 1, |_| kind_name(kind))?;
    let Some(len) = content_len else {
        fields.rest("content", "with padding that is longer than what is there");
        return None;
    };
    match kind & !PADDED {
        VERDICT if len > 0 => {
            fields.take("code", 1, verdict_name)?;
            fields.take("text", len - 1, text)?;
        }
        ALERT if len > 0 => {
            fields.take("code", 1, alert_name)?;
            fields.take("text", len - 1, text)?;
        }
        REKEY if len == REKEY_LEN => {
            fields.number("peer_number", 4)?;
            fields.number("number", 4)?;
            fields.take("share", X25519_LEN, plain)?;
        }
        _ => {
            fields.take("content", len, plain)?;
        }
    }
    if kind & PADDED != 0 {
        let padding = fields.left().checked_sub(2)?;
        fields.take("padding", padding, plain)?;
        fields.number("pad_len", 2)?;
    }
    Some(())
}

/// The content of a plaintext without its padding, if that is possible.
fn content(plaintext: &[u8]) -> Option<&[u8]> {
    let (kind, rest) = plaintext.split_first()?;
    if kind & PADDED == 0 {
        return Some(rest);
    }
    let (rest, pad_len) = rest.split_last_chunk::<2>()?;
    rest.get(..rest.len().checked_sub(number(pad_len))?)
}

fn kind_name(kind: u8) -> String {
    let name = match kind & !PADDED {
        0x01 => "DATA",
        0x02 => "END",
        ALERT => "ALERT",
        VERDICT => "VERDICT",
        REKEY => "REKEY",
        0x07 => "KEEPALIVE",
        _ => "unknown",
    };
    format!("{name}{}", if kind & PADDED != 0 { ", padded" } else { "" })
}

fn verdict_name(code: &[u8]) -> String {
    match code {
        [0] | [] => "accept".to_string(),
        [code, ..] => match Reason::from_code(*code) {
            Reason::NotTrusted => "not_trusted",
            Reason::ServiceUnavailable => "service_unavailable",
            Reason::Busy => "busy",
            Reason::OwnIdentity => "own_identity",
            Reason::Denied => "denied",
            _ => "a refusal that is unknown",
        }
        .to_string(),
    }
}

fn fingerprint(data: &[u8]) -> String {
    match data.try_into().map(PublicKey::from_bytes) {
        Ok(Ok(key)) => key.fingerprint().to_string(),
        _ => "not a valid Ed25519 key".to_string(),
    }
}

fn text(bytes: &[u8]) -> String {
    format!("\"{}\"", String::from_utf8_lossy(bytes).escape_debug())
}

const ALERT: u8 = 0x03;
const VERDICT: u8 = 0x04;
const REKEY: u8 = 0x06;
const PADDED: u8 = 0x80;
