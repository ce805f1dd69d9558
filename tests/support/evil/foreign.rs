//! What the same Ed25519 key signs in other protocols, with as much of it chosen by an attacker as these let him
//! choose.

use sha2::{Digest, Sha512};

fn ssh_string(data: &[u8]) -> Vec<u8> {
    [&u32::try_from(data.len()).expect("short").to_be_bytes()[..], data].concat()
}

/// SSHSIG (PROTOCOL.sshsig of OpenSSH): the namespace and the message are the attacker's.
pub fn sshsig(namespace: &[u8], message: &[u8]) -> Vec<u8> {
    let digest = Sha512::digest(message);
    let fields = [ssh_string(namespace), ssh_string(b""), ssh_string(b"sha512"), ssh_string(&digest)];
    [b"SSHSIG".to_vec(), fields.concat()].concat()
}

/// An SSH user authentication (RFC 4252, section 7). Session id, user and service are taken to be the attacker's,
/// though the first is a hash.
pub fn ssh_userauth(session_id: &[u8], user: &[u8], service: &[u8], key: &[u8; 32]) -> Vec<u8> {
    let blob = [ssh_string(b"ssh-ed25519"), ssh_string(key)].concat();
    let fields = [ssh_string(user), ssh_string(service), ssh_string(b"publickey"), vec![1]];
    [ssh_string(session_id), vec![50], fields.concat(), ssh_string(b"ssh-ed25519"), ssh_string(&blob)].concat()
}

/// TLS 1.3, CertificateVerify (RFC 8446, section 4.4.3): the transcript hash is taken to be the attacker's.
pub fn tls(side: &str, hash: &[u8]) -> Vec<u8> {
    [&[0x20; 64], format!("TLS 1.3, {side} CertificateVerify\0").as_bytes(), hash].concat()
}

/// A JWS in compact form (RFC 7515): header and payload in base64url.
pub fn jws(payload: &[u8]) -> Vec<u8> {
    format!("{}.{}", base64url(br#"{"alg":"EdDSA"}"#), base64url(payload)).into_bytes()
}

/// What a certificate authority signs begins as a DER sequence.
pub fn tbs_certificate(content: &[u8]) -> Vec<u8> {
    let len = u16::try_from(content.len()).expect("short").to_be_bytes();
    [&[0x30, 0x82], &len[..], content].concat()
}

/// All of them around bytes of the attacker's choice.
pub fn all(chosen: &[u8], key: &[u8; 32]) -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("SSHSIG, chosen message", sshsig(b"file", chosen)),
        ("SSHSIG, chosen namespace", sshsig(chosen, b"")),
        ("SSH user, chosen session id", ssh_userauth(chosen, b"user", b"ssh-connection", key)),
        ("SSH user, chosen names", ssh_userauth(&[0x20; 64], chosen, chosen, key)),
        ("TLS server", tls("server", &chosen[chosen.len() - 32..])),
        ("TLS client", tls("client", &chosen[chosen.len() - 32..])),
        ("TLS server, SHA-384", tls("server", &chosen[chosen.len() - 48..])),
        ("JWS", jws(chosen)),
        ("certificate", tbs_certificate(chosen)),
    ]
}

fn base64url(data: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for three in data.chunks(3) {
        let bits = (0..3).fold(0_u32, |bits, i| bits << 8 | u32::from(three.get(i).copied().unwrap_or_default()));
        for i in 0..=three.len() {
            text.push(char::from(ALPHABET[(bits >> (18 - 6 * i) & 63) as usize]));
        }
    }
    text
}

/// The bytes of an armoured SSH signature.
pub fn unarmour(armoured: &str) -> Vec<u8> {
    let text: String = armoured.lines().filter(|line| !line.starts_with('-')).collect();
    let value = |c: u8| match c {
        b'A'..=b'Z' => u32::from(c - b'A'),
        b'a'..=b'z' => u32::from(c - b'a') + 26,
        b'0'..=b'9' => u32::from(c - b'0') + 52,
        b'+' => 62,
        _ => 63,
    };
    let mut bytes = Vec::new();
    for four in text.trim_end_matches('=').as_bytes().chunks(4) {
        let bits = (0..4).fold(0, |bits, i| bits << 6 | four.get(i).map_or(0, |c| value(*c)));
        bytes.extend_from_slice(&bits.to_be_bytes()[1..four.len()]);
    }
    bytes
}

/// An armoured SSH signature of these bytes.
pub fn armour(bytes: &[u8]) -> String {
    let mut text = base64url(bytes).replace('-', "+").replace('_', "/");
    while !text.len().is_multiple_of(4) {
        text.push('=');
    }
    let lines: Vec<&str> = text.as_bytes().chunks(70).map(|line| std::str::from_utf8(line).expect("ASCII")).collect();
    format!("-----BEGIN SSH SIGNATURE-----\n{}\n-----END SSH SIGNATURE-----\n", lines.join("\n"))
}
