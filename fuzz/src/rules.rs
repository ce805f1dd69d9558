//! What the specification says of an input, written a second time and as plainly as possible, to compare the library with.

use countersign::error::Alert;
use countersign::wire::frame::FrameType;

/// What is at the front of some bytes (specification, section 6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Front {
    /// Not enough to say more.
    Incomplete,
    /// To be refused, at this many bytes of input.
    Bad { alert: Alert, at: usize },
    /// A whole frame of so many bytes, header included.
    Whole(FrameType, usize),
}

pub fn front(bytes: &[u8], legal: &[FrameType]) -> Front {
    let Some(&code) = bytes.first() else { return Front::Incomplete };
    let (frame, min, max) = match code {
        0xC1 => (FrameType::Hello, 42, 2_048),
        0xC2 => (FrameType::HelloReply, 37, 2_048),
        0xC3 => (FrameType::AuthR, 116, 17_408),
        0xC4 => (FrameType::AuthI, 117, 17_408),
        0xC5 => (FrameType::Record, 17, 65_555),
        0xC6 => (FrameType::Alert, 1, 1),
        _ => return Front::Bad { alert: Alert::Malformed, at: 1 },
    };
    if !legal.contains(&frame) {
        return Front::Bad { alert: Alert::UnexpectedMessage, at: 1 };
    }
    if bytes.len() < 4 {
        return Front::Incomplete;
    }
    let len = usize::from(bytes[1]) * 65_536 + usize::from(bytes[2]) * 256 + usize::from(bytes[3]);
    if len < min || len > max {
        Front::Bad { alert: Alert::Malformed, at: 4 }
    } else if bytes.len() < 4 + len {
        Front::Incomplete
    } else {
        Front::Whole(frame, 4 + len)
    }
}

/// The parts of a HELLO body: suites, shares with their kinds, and the tag of the network key.
pub type Offer<'a> = (Vec<u16>, Vec<(u8, &'a [u8])>, Option<&'a [u8]>);

/// Section 6.2 and [HS-2], [HS-3], as far as they need no list of known suites.
pub fn hello(body: &[u8]) -> Result<Offer<'_>, Alert> {
    if body.get(..2).ok_or(Alert::Malformed)? != [0, 1] {
        return Err(Alert::UnsupportedVersion);
    }
    parts_of_hello(body).ok_or(Alert::Malformed)
}

fn parts_of_hello(body: &[u8]) -> Option<Offer<'_>> {
    let n = usize::from(*body.get(34)?);
    let suites: Vec<u16> =
        body.get(35..35 + 2 * n)?.chunks(2).map(|pair| u16::from(pair[0]) << 8 | u16::from(pair[1])).collect();
    let m = usize::from(*body.get(35 + 2 * n)?);
    let mut at = 36 + 2 * n;
    let mut shares = Vec::new();
    for _ in 0..m {
        let (kind, len) = (*body.get(at)?, body.get(at + 1..at + 3)?);
        let len = usize::from(len[0]) << 8 | usize::from(len[1]);
        shares.push((kind, body.get(at + 3..at + 3 + len)?));
        at += 3 + len;
    }
    let distinct = suites.iter().enumerate().all(|(i, suite)| !suites[..i].contains(suite));
    let ascending = shares.windows(2).all(|two| two[0].0 < two[1].0);
    let filled = shares.iter().all(|(_, share)| !share.is_empty());
    let counts = (1..=16).contains(&n) && (1..=8).contains(&m);
    let tag = Some(&body[at..]).filter(|tag| !tag.is_empty());
    let whole = tag.is_none_or(|tag| tag.len() == 32);
    (whole && distinct && ascending && filled && counts).then_some((suites, shares, tag))
}

/// Section 6.4, for the plaintext of AUTH_R and for that of AUTH_I after its service: the length without padding.
pub fn auth(plaintext: &[u8]) -> Option<usize> {
    let len = usize::from(*plaintext.get(1)?) << 8 | usize::from(*plaintext.get(2)?);
    let whole = 3 + len + 64 + 32;
    let padding = plaintext.get(whole..)?;
    ((1..=16_384).contains(&len) && padding.iter().all(|byte| *byte == 0)).then_some(whole)
}

/// Section 6.4, for AUTH_I: the length of the service.
pub fn service(plaintext: &[u8]) -> Option<usize> {
    let len = usize::from(*plaintext.first()?);
    let service = plaintext.get(1..1 + len)?;
    service.iter().all(|byte| (0x21..=0x7E).contains(byte)).then_some(len)
}

/// The code and text of section 6.5.
pub fn code_text(content: &[u8]) -> Option<(u8, &str)> {
    let (&code, text) = content.split_first()?;
    let text = std::str::from_utf8(text).ok()?;
    let control = |c: char| matches!(u32::from(c), 0..=0x1F | 0x7F..=0x9F);
    (text.len() <= 255 && !text.chars().any(control)).then_some((code, text))
}

/// What a record says once it is open (section 6.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Says {
    Data(Vec<u8>),
    End,
    Alert(u8, String),
    Verdict(u8, String),
    /// Numbers of the receiver's share and of the sender's, and the share.
    Rekey(u32, u32, [u8; 32]),
    KeepAlive,
    /// To be refused.
    Bad(Alert),
}

/// Section 11, [RE-3], [RE-4], [RE-5], in the order of judgement. `verdict` tells whether the VERDICT is awaited.
pub fn record(plaintext: &[u8], verdict: bool) -> Says {
    let Some((&kind, rest)) = plaintext.split_first() else { return Says::Bad(Alert::Malformed) };
    let name = kind & 0x7F;
    if ![1, 2, 3, 4, 6, 7].contains(&name) {
        return Says::Bad(Alert::Malformed);
    }
    if verdict != (name == 4) {
        return Says::Bad(Alert::UnexpectedMessage);
    }
    let content = if kind >= 0x80 { unpadded(rest) } else { Some(rest).filter(|rest| rest.len() <= 65_536) };
    let Some(content) = content else { return Says::Bad(Alert::Malformed) };
    let says = match name {
        1 => (!content.is_empty()).then(|| Says::Data(content.to_vec())),
        2 => content.is_empty().then_some(Says::End),
        3 => code_text(content).map(|(code, text)| Says::Alert(code, text.into())),
        4 => code_text(content)
            .filter(|(code, text)| *code != 0 || text.is_empty())
            .map(|(code, text)| Says::Verdict(code, text.into())),
        6 => rekey(content),
        _ => content.is_empty().then_some(Says::KeepAlive),
    };
    says.unwrap_or(Says::Bad(Alert::Malformed))
}

fn rekey(content: &[u8]) -> Option<Says> {
    let (numbers, share) = content.split_at_checked(8)?;
    let number = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte));
    Some(Says::Rekey(number(&numbers[..4]), number(&numbers[4..]), share.try_into().ok()?))
}

fn unpadded(rest: &[u8]) -> Option<&[u8]> {
    let at = rest.len().checked_sub(2)?;
    let padding = usize::from(rest[at]) << 8 | usize::from(rest[at + 1]);
    let content = at.checked_sub(padding)?;
    (at <= 65_536 && rest[content..at].iter().all(|byte| *byte == 0)).then_some(&rest[..content])
}
