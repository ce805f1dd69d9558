//! Frames of section 6.1 of the specification.

use bytes::BytesMut;
use countersign::error::{Error, Foreign, Malformed};
use countersign::wire::frame::{self, Frame, FrameType};

use super::reader::Reader;
use super::rules::{self, Front};

/// Input: a byte whose low six bits are the legal types and whose high bit says that the connection has just begun, a byte
/// with the number of pieces, their lengths, then the stream.
///
/// However the stream is cut, the same frames and the same error come out, those of the specification; an error comes
/// at the first byte that proves it ([FR-1], [FR-2], [FR-3], [FR-5]); taking frames allocates nothing ([FR-4]).
pub fn frame_chunks(data: &[u8]) {
    let mut reader = Reader::new(data);
    let choice = reader.u8();
    let bits = FrameType::ALL.into_iter().enumerate();
    let legal: Vec<FrameType> = bits.filter(|(bit, _)| choice >> bit & 1 == 1).map(|(_, frame)| frame).collect();
    let first = choice & 0x80 != 0;
    let pieces: Vec<usize> = reader.short().iter().map(|len| usize::from(*len)).collect();
    let stream = reader.rest();

    let whole = run(&legal, first, &[stream]);
    assert_eq!(whole, expected(&legal, stream), "not what the specification says");
    let mut cut = Vec::new();
    let mut rest = stream;
    for len in pieces {
        let (piece, after) = rest.split_at(len.min(rest.len()));
        cut.push(piece);
        rest = after;
    }
    cut.push(rest);
    assert_eq!(run(&legal, first, &cut), whole, "the result depends on how the stream is cut");
    if stream.len() <= 4_096 {
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(run(&legal, first, &bytes), whole, "the result depends on how the stream is cut");
    }
}

/// Where each frame starts and ends, what it is, and the alert that ends the stream, with the number of bytes that it took.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    frames: Vec<(FrameType, Vec<u8>)>,
    /// The alert, and how many bytes of the stream stand before the frame at fault.
    error: Option<(countersign::error::Alert, usize)>,
}

fn expected(legal: &[FrameType], stream: &[u8]) -> Outcome {
    let (mut frames, mut at) = (Vec::new(), 0);
    loop {
        match rules::front(&stream[at..], legal) {
            Front::Incomplete => return Outcome { frames, error: None },
            Front::Bad { alert, .. } => return Outcome { frames, error: Some((alert, at)) },
            Front::Whole(frame, len) => {
                frames.push((frame, stream[at..at + len].to_vec()));
                at += len;
            }
        }
    }
}

fn run(legal: &[FrameType], first: bool, pieces: &[&[u8]]) -> Outcome {
    let mut outcome = Outcome { frames: Vec::new(), error: None };
    let mut buffer = BytesMut::new();
    let mut taken = 0;
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            let (capacity, len) = (buffer.capacity(), buffer.len());
            let front = rules::front(&buffer, legal);
            let result = frame::take(&mut buffer, legal, first && taken == 0);
            assert!(buffer.capacity() <= capacity, "taking a frame allocated");
            match result {
                Ok(Some(frame)) => {
                    let bytes = bytes_of(&frame);
                    taken += bytes.len();
                    assert_eq!(buffer.len() + bytes.len(), len);
                    outcome.frames.push((frame.frame, bytes));
                }
                Ok(None) => {
                    assert_eq!(front, Front::Incomplete, "a frame or its error is held back");
                    assert_eq!(buffer.len(), len, "bytes were lost");
                    break;
                }
                Err(error) => {
                    check_foreign(&error, first && taken == 0, &buffer);
                    let alert = error.alert().expect("the peer's fault has an alert");
                    outcome.error = Some((alert, taken));
                    return outcome;
                }
            }
        }
        // [FR-4] What waits is an incomplete frame, never more than the largest legal one.
        let max = legal.iter().map(|frame| 4 + frame.limits().1).max().unwrap_or_default();
        assert!(buffer.is_empty() || buffer.len() < max.max(4));
    }
    outcome
}

fn bytes_of(frame: &Frame) -> Vec<u8> {
    assert_eq!(frame.header[0], frame.frame.code());
    [&frame.header[..], &frame.body].concat()
}

/// Another protocol is named at the first byte of a connection only.
fn check_foreign(error: &Error, first: bool, buffer: &[u8]) {
    let code = buffer[0];
    let foreign = match code {
        0x14..=0x17 => Foreign::Tls,
        b'S' => Foreign::Ssh,
        b'A'..=b'Z' => Foreign::Http,
        code => Foreign::Other(code),
    };
    match error {
        Error::Malformed(Malformed::Foreign(named)) => assert!(first && *named == foreign),
        Error::Malformed(Malformed::FrameType(named)) => assert!(!first && *named == code),
        Error::Malformed(Malformed::FrameLen { .. }) | Error::Unexpected { .. } => {
            assert!(FrameType::from_code(code).is_some());
        }
        other => panic!("not an error of a frame: {other:?}"),
    }
}
