//! Frames: a type, a 24-bit length, a body (specification, section 6.1).
//!
//! A frame is judged as early as possible: its type at the first byte, its length when the header is complete.

use bytes::{Buf, BytesMut};

use crate::error::{Error, Foreign, Malformed};
use crate::limits::{HEADER_LEN, MAX_AUTH_LEN, MAX_HELLO_LEN, MAX_RECORD_LEN, TAG_LEN};

/// The frame types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FrameType {
    /// The initiator's offer.
    Hello,
    /// The responder's choice.
    HelloReply,
    /// The responder's proof.
    AuthR,
    /// The initiator's proof.
    AuthI,
    /// A record of the session.
    Record,
    /// One byte, in clear.
    Alert,
}

/// A frame header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The type.
    pub frame: FrameType,
    /// Length of the body in bytes, within the limits of the type.
    pub len: usize,
}

/// A whole frame, taken from the input.
#[derive(Debug)]
pub struct Frame {
    /// The type.
    pub frame: FrameType,
    /// The header as it stood on the wire.
    pub header: [u8; HEADER_LEN],
    /// The body.
    pub body: BytesMut,
}

impl FrameType {
    /// All of them, in the order of the specification.
    pub const ALL: [FrameType; 6] = [
        FrameType::Hello,
        FrameType::HelloReply,
        FrameType::AuthR,
        FrameType::AuthI,
        FrameType::Record,
        FrameType::Alert,
    ];

    /// The byte on the wire.
    pub fn code(self) -> u8 {
        match self {
            FrameType::Hello => 0xC1,
            FrameType::HelloReply => 0xC2,
            FrameType::AuthR => 0xC3,
            FrameType::AuthI => 0xC4,
            FrameType::Record => 0xC5,
            FrameType::Alert => 0xC6,
        }
    }

    /// The type of a byte.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|frame| frame.code() == code)
    }

    /// The name as the specification spells it.
    pub fn name(self) -> &'static str {
        match self {
            FrameType::Hello => "HELLO",
            FrameType::HelloReply => "HELLO_REPLY",
            FrameType::AuthR => "AUTH_R",
            FrameType::AuthI => "AUTH_I",
            FrameType::Record => "RECORD",
            FrameType::Alert => "ALERT",
        }
    }

    /// Least and greatest length of the body in bytes.
    pub fn limits(self) -> (usize, usize) {
        match self {
            FrameType::Hello => (42, MAX_HELLO_LEN),
            FrameType::HelloReply => (37, MAX_HELLO_LEN),
            FrameType::AuthR => (116, MAX_AUTH_LEN),
            FrameType::AuthI => (117, MAX_AUTH_LEN),
            FrameType::Record => (1 + TAG_LEN, MAX_RECORD_LEN),
            FrameType::Alert => (1, 1),
        }
    }
}

impl Header {
    /// The four bytes on the wire.
    pub fn encode(self) -> [u8; HEADER_LEN] {
        let [.., a, b, c] = self.len.to_be_bytes();
        [self.frame.code(), a, b, c]
    }

    /// Judges what is there of a header. `legal` are the types that the state allows, and `first` says whether these are
    /// the first bytes of the connection. `None` means that the header is not complete yet.
    ///
    /// # Errors
    /// [`Error::Malformed`] for a type or length that does not exist, [`Error::Unexpected`] for one that is not legal now.
    pub fn peek(buffered: &[u8], legal: &[FrameType], first: bool) -> Result<Option<Header>, Error> {
        let Some(&code) = buffered.first() else { return Ok(None) };
        let frame = FrameType::from_code(code).ok_or(Error::Malformed(if first {
            Malformed::Foreign(foreign(code))
        } else {
            Malformed::FrameType(code)
        }))?;
        if !legal.contains(&frame) {
            let expected = legal.first().map_or("nothing more", |legal| legal.name());
            return Err(Error::Unexpected { expected, got: frame.name() });
        }
        let Some(&[_, a, b, c]) = buffered.first_chunk() else { return Ok(None) };
        let len = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        let (min, max) = frame.limits();
        if len < min || len > max {
            return Err(Error::Malformed(Malformed::FrameLen { frame: frame.name(), len }));
        }
        Ok(Some(Header { frame, len }))
    }
}

/// Takes a whole frame off the front of `input`, or nothing if it is not complete.
///
/// # Errors
/// Those of [`Header::peek`].
pub fn take(input: &mut BytesMut, legal: &[FrameType], first: bool) -> Result<Option<Frame>, Error> {
    let Some(header) = Header::peek(input, legal, first)? else { return Ok(None) };
    if input.len() < HEADER_LEN + header.len {
        return Ok(None);
    }
    input.advance(HEADER_LEN);
    Ok(Some(Frame { frame: header.frame, header: header.encode(), body: input.split_to(header.len) }))
}

/// The bytes of an ALERT frame.
pub fn alert(code: u8) -> [u8; HEADER_LEN + 1] {
    let [a, b, c, d] = Header { frame: FrameType::Alert, len: 1 }.encode();
    [a, b, c, d, code]
}

fn foreign(byte: u8) -> Foreign {
    match byte {
        0x14..=0x17 => Foreign::Tls,
        b'S' => Foreign::Ssh,
        b'A'..=b'Z' => Foreign::Http,
        byte => Foreign::Other(byte),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // [FR-1] The type is judged at the first byte, the length at the fourth, whatever follows.
    #[test]
    fn judges_as_early_as_possible() {
        let hello = &[FrameType::Hello];
        assert_eq!(Header::peek(&[], hello, true), Ok(None));
        assert_eq!(Header::peek(&[0xC1, 0, 0], hello, true), Ok(None));
        assert!(Header::peek(&[0xC2], hello, true).is_err());
        assert!(Header::peek(&[0xC1, 0xFF, 0xFF, 0xFF], hello, true).is_err());
    }

    // [FR-2] Each type has its own least and greatest length.
    #[test]
    fn lengths_outside_of_the_limits_are_refused() {
        for frame in FrameType::ALL {
            let (min, max) = frame.limits();
            for (len, good) in [(min, true), (max, true), (min - 1, false), (max + 1, false)] {
                let header = Header { frame, len }.encode();
                assert_eq!(Header::peek(&header, &[frame], false).is_ok(), good, "{frame:?} {len}");
            }
        }
    }

    // [FR-3] Unknown types are malformed, known ones at a wrong time unexpected.
    #[test]
    fn unknown_and_unexpected_types_differ() {
        let unknown = Header::peek(&[0xC0], &[FrameType::Record], false);
        assert_eq!(unknown, Err(Error::Malformed(Malformed::FrameType(0xC0))));
        let early = Header::peek(&[0xC5], &[FrameType::Hello, FrameType::Alert], false);
        assert_eq!(early, Err(Error::Unexpected { expected: "HELLO", got: "RECORD" }));
    }

    #[test]
    fn other_protocols_are_named() {
        for (byte, name) in [
            (0x16, Foreign::Tls),
            (b'G', Foreign::Http),
            (b'H', Foreign::Http),
            (b'S', Foreign::Ssh),
            (0, Foreign::Other(0)),
        ] {
            let error = Header::peek(&[byte], &[FrameType::Hello], true).unwrap_err();
            assert_eq!(error, Error::Malformed(Malformed::Foreign(name)));
        }
    }
}
