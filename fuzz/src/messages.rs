//! Messages of section 6 of the specification.

use bytes::{BufMut, BytesMut};
use countersign::error::Error;
use countersign::wire::message::{Auth, CodeText, Hello, HelloReply};

use super::rules;

/// A decoder accepts exactly what the specification calls well-formed, and what it accepts encodes to the same bytes. Tried
/// with HELLO, HELLO_REPLY, the plaintexts of AUTH_R and AUTH_I with their credential blocks, and code with text.
pub fn cursor_message(data: &[u8]) {
    hello(data);
    hello_reply(data);
    auth(data);
    auth_with_service(data);
    code_text(data);
}

fn hello(body: &[u8]) {
    match (Hello::decode(body), rules::hello(body)) {
        (Ok(hello), Ok((suites, shares, tag))) => {
            let mut encoded = BytesMut::new();
            hello.encode(&mut encoded).expect("what was decoded fits");
            assert_eq!(encoded, body, "HELLO is not canonical");
            assert_eq!(hello.suites, suites);
            assert_eq!(hello.network_tag.as_ref().map(|tag| &tag[..]), tag);
            assert!(hello.shares.iter().map(|share| (share.kind, &share.data[..])).eq(shares));
        }
        (Err(error), Err(alert)) => assert_eq!(error.alert(), Some(alert), "{error:?}"),
        (got, expected) => panic!("HELLO: {got:?}, but the specification says {expected:?}"),
    }
}

fn hello_reply(body: &[u8]) {
    match HelloReply::decode(body) {
        Ok(reply) => {
            assert!(body.len() >= 36 && body[..2] == [0, 1]);
            let mut encoded = BytesMut::new();
            reply.encode(&mut encoded);
            assert_eq!(encoded, body, "HELLO_REPLY is not canonical");
        }
        Err(Error::UnsupportedVersion(_)) => assert!(body[..2] != [0, 1]),
        Err(error) => {
            only_malformed(&error);
            assert!(body.len() < 36);
        }
    }
}

fn auth(plaintext: &[u8]) {
    let decoded = Auth::decode(plaintext);
    let Some(len) = rules::auth(plaintext) else { return only_malformed(&decoded.expect_err("ill-formed AUTH")) };
    let encoded = encode_auth(&decoded.expect("well-formed AUTH"), plaintext.len());
    assert!(encoded.len() >= len);
    assert_eq!(encoded, plaintext, "AUTH is not canonical");
}

fn auth_with_service(plaintext: &[u8]) {
    let decoded = Auth::decode_with_service(plaintext);
    let well_formed = rules::service(plaintext).filter(|len| rules::auth(&plaintext[1 + len..]).is_some());
    let Some(len) = well_formed else { return only_malformed(&decoded.expect_err("ill-formed AUTH_I")) };
    let (service, auth) = decoded.expect("well-formed AUTH_I");
    assert_eq!(service.as_bytes(), &plaintext[1..1 + len]);
    assert_eq!(encode_auth(&auth, plaintext.len() - 1 - len), plaintext[1 + len..], "AUTH_I is not canonical");
}

fn code_text(content: &[u8]) {
    match (CodeText::decode(content), rules::code_text(content)) {
        (Ok(decoded), Some((code, text))) => {
            assert_eq!((decoded.code, decoded.text), (code, text));
            assert_eq!([&[decoded.code], decoded.text.as_bytes()].concat(), content);
        }
        (Err(error), None) => only_malformed(&error),
        (got, expected) => panic!("code and text: {got:?}, but the specification says {expected:?}"),
    }
}

/// The library writes AUTH messages only whole and sealed, so the order of the fields is repeated here.
fn encode_auth(auth: &Auth<'_>, padded_len: usize) -> BytesMut {
    let mut encoded = BytesMut::new();
    auth.credential.encode(&mut encoded).expect("what was decoded fits");
    encoded.put_slice(&auth.signature);
    encoded.put_slice(&auth.confirm);
    encoded.resize(padded_len, 0);
    encoded
}

fn only_malformed(error: &Error) {
    assert!(matches!(error, Error::Malformed(_)), "{error:?}");
}
