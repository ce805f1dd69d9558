//! Messages to bytes and back, and the frames around them: those of a hybrid handshake, padded as by default.
#![allow(dead_code)]

use std::hint::black_box;

use bytes::{BufMut, BytesMut};
use countersign::limits::{CONFIRM_LEN, HEADER_LEN, MLKEM_CIPHERTEXT_LEN, MLKEM_KEY_LEN, SIGNATURE_LEN, X25519_LEN};
use countersign::wire::frame::{self, FrameType, Header};
use countersign::wire::message::{Auth, CodeText, CredentialBlock, Hello, HelloReply, Rekey, Share};

use crate::operation::Operation;

pub fn operations() -> Vec<Operation> {
    [messages(), headers(), frames()].into_iter().flatten().collect()
}

/// An operation whose size is the length of a body.
fn sized<W: FnMut() + 'static>(name: &str, size: usize, prepare: impl Fn() -> W + 'static) -> Operation {
    Operation::new(format!("codec/{name}/{size}"), prepare)
}

fn messages() -> Vec<Operation> {
    let (hello, reply, auth, rekey) = (encoded(|out| hello().encode(out).expect("fits")), reply(), auth(), rekey());
    let with_service = [&[8][..], b"greeting", &auth].concat();
    let lens = [hello.len(), reply.len(), auth.len(), with_service.len(), rekey.encode().len()];
    let [hello_len, reply_len, auth_len, with_service_len, rekey_len] = lens;
    vec![
        sized("hello_encode", hello_len, || {
            let (hello, mut out) = (self::hello(), BytesMut::with_capacity(2_048));
            move || {
                out.clear();
                black_box(&hello).encode(&mut out).expect("encoded");
            }
        }),
        sized("hello_decode", hello_len, move || {
            let body = hello.clone();
            move || drop(black_box(Hello::decode(black_box(&body))))
        }),
        sized("hello_reply_encode", reply_len, || {
            let (body, mut out) = (self::reply(), BytesMut::with_capacity(2_048));
            move || {
                out.clear();
                let (suite, nonce) = (4, [2; 32]);
                HelloReply { suite, nonce, shares: black_box(&body[36..]) }.encode(&mut out);
            }
        }),
        sized("hello_reply_decode", reply_len, move || {
            let body = reply.clone();
            move || drop(black_box(HelloReply::decode(black_box(&body))))
        }),
        sized("credential_encode", 3 + 32, || {
            let mut out = BytesMut::with_capacity(64);
            move || {
                out.clear();
                CredentialBlock { kind: 1, data: black_box(&[3; 32]) }.encode(&mut out).expect("encoded");
            }
        }),
        sized("auth_r_decode", auth_len, move || {
            let body = auth.clone();
            move || drop(black_box(Auth::decode(black_box(&body))))
        }),
        sized("auth_i_decode", with_service_len, move || {
            let body = with_service.clone();
            move || drop(black_box(Auth::decode_with_service(black_box(&body))))
        }),
        sized("rekey_encode", rekey_len, move || {
            move || {
                black_box(black_box(&rekey).encode());
            }
        }),
        sized("rekey_decode", rekey_len, move || {
            let content = rekey.encode();
            move || drop(black_box(Rekey::decode(black_box(&content))))
        }),
        sized("verdict_decode", 23, || || drop(black_box(CodeText::decode(black_box(b"\x02no such service for you"))))),
    ]
}

/// The header of a record.
fn headers() -> Vec<Operation> {
    let header = Header { frame: FrameType::Record, len: 1_041 };
    vec![
        sized("header_encode", HEADER_LEN, move || {
            move || {
                black_box(black_box(header).encode());
            }
        }),
        sized("header_peek", HEADER_LEN, move || {
            let encoded = header.encode();
            move || {
                let found = Header::peek(black_box(&encoded), &[FrameType::Record], false);
                assert!(black_box(found).is_ok_and(|found| found.is_some()));
            }
        }),
    ]
}

/// A frame is taken off the front of what was received, which is copied there first, as reading does.
fn frames() -> Vec<Operation> {
    let operation = |len: usize| {
        sized("frame_take", len, move || {
            let mut bytes = BytesMut::from(&Header { frame: FrameType::Record, len }.encode()[..]);
            bytes.put_bytes(7, len);
            let mut input = BytesMut::with_capacity(2 * (HEADER_LEN + len));
            move || {
                input.extend_from_slice(&bytes);
                let taken = frame::take(&mut input, &[FrameType::Record, FrameType::Alert], false);
                assert!(taken.is_ok_and(|frame| frame.is_some_and(|frame| frame.body.len() == len)));
                input.reserve(HEADER_LEN + len);
            }
        })
    };
    vec![operation(81), operation(1_041)]
}

fn hello() -> Hello {
    let share = |kind, len| Share { kind, data: vec![kind; len] };
    let shares = vec![share(1, X25519_LEN), share(2, MLKEM_KEY_LEN)];
    Hello { nonce: [1; 32], suites: vec![4, 2, 3, 1], shares, network_tag: Some([5; 32]) }
}

fn reply() -> Vec<u8> {
    let shares = [7; X25519_LEN + MLKEM_CIPHERTEXT_LEN];
    encoded(|out| HelloReply { suite: 4, nonce: [2; 32], shares: &shares }.encode(out))
}

/// Padded as by default.
fn auth() -> Vec<u8> {
    encoded(|out| {
        CredentialBlock { kind: 1, data: &[3; 32] }.encode(out).expect("fits");
        out.put_bytes(4, SIGNATURE_LEN + CONFIRM_LEN);
        out.put_bytes(0, 1_024 - out.len());
    })
}

fn rekey() -> Rekey {
    Rekey { peer_number: 3, number: 4, share: [6; 32] }
}

fn encoded(encode: impl FnOnce(&mut BytesMut)) -> Vec<u8> {
    let mut out = BytesMut::new();
    encode(&mut out);
    out.to_vec()
}
