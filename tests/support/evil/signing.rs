//! Ed25519 (RFC 8032), and the signatures that a lax verifier takes for good ones.

use ed25519_dalek::{Signer, SigningKey};
use sha2::{Digest, Sha512};

/// A private key.
#[derive(Clone)]
pub struct Key(SigningKey);

/// What is signed, and by whom: what a [`Script`](super::script::Script) makes a signature from.
pub struct ToSign {
    pub key: Key,
    /// The 130 bytes.
    pub input: Vec<u8>,
}

/// 64 spaces, the domain string, a zero byte, the hash.
pub fn signature_input(role: &str, hash: &[u8; 32]) -> Vec<u8> {
    [&[0x20; 64], format!("countersign/1 {role} signature\0").as_bytes(), hash].concat()
}

impl Key {
    /// The same keys as `support::identity`.
    pub fn of(byte: u8) -> Self {
        Key(SigningKey::from_bytes(&[byte; 32]))
    }

    pub fn public(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }

    /// `S = r + k a` for any encodings of `R` and `A`, and whether `k` is even. `r` is the scalar of `nonce`, or zero.
    pub fn sign_by_hand(&self, nonce: Option<&Key>, r: &[u8; 32], a: &[u8; 32], message: &[u8]) -> ([u8; 64], bool) {
        let hash: [u8; 64] = Sha512::digest([r, a, message].concat()).into();
        let key = self.0.to_scalar();
        let limb = |value: u64| like(&key, value);
        // The scalar type has no name here; Horner's rule needs none.
        let base = limb(1 << 32) * limb(1 << 32);
        let k = hash
            .chunks(8)
            .rev()
            .fold(limb(0), |k, bytes| k * base + limb(u64::from_le_bytes(bytes.try_into().expect("eight bytes"))));
        let s = nonce.map_or(limb(0), |nonce| nonce.0.to_scalar()) + k * key;
        ([r, &s.to_bytes()[..]].concat().try_into().expect("64 bytes"), k.to_bytes()[0] & 1 == 0)
    }
}

fn like<T: From<u64>>(_: &T, value: u64) -> T {
    value.into()
}

/// The same signature with `S + L`: a verifier that does not ask for `S < L` accepts it.
pub fn plus_order(mut signature: [u8; 64]) -> [u8; 64] {
    const L: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut carry = 0_u16;
    for (byte, add) in signature[32..].iter_mut().zip(L) {
        carry += u16::from(*byte) + u16::from(add);
        *byte = carry.to_le_bytes()[0];
        carry >>= 8;
    }
    signature
}

/// The point plus the one of order 2: (x, y) becomes (-x, -y). A verifier with the cofactor does not see the
/// difference.
pub fn plus_torsion(point: [u8; 32]) -> [u8; 32] {
    let mut p = [0xFF_u8; 32];
    (p[0], p[31]) = (0xED, 0x7F);
    let mut y = point;
    y[31] &= 0x7F;
    let (mut out, mut borrow) = ([0_u8; 32], 0_i16);
    for i in 0..32 {
        let difference = i16::from(p[i]) - i16::from(y[i]) - borrow;
        borrow = i16::from(difference < 0);
        out[i] = difference.to_le_bytes()[0];
    }
    out[31] |= !point[31] & 0x80;
    out
}

/// `R` is the neutral element, so that `S = k a`.
pub fn with_small_r(to_sign: &ToSign) -> [u8; 64] {
    let mut one = [0; 32];
    one[0] = 1;
    to_sign.key.sign_by_hand(None, &one, &to_sign.key.public(), &to_sign.input).0
}

/// `R` has a part of order 2: valid with the cofactor only.
pub fn with_mixed_r(to_sign: &ToSign) -> [u8; 64] {
    let nonce = Key::of(0x77);
    let r = plus_torsion(nonce.public());
    to_sign.key.sign_by_hand(Some(&nonce), &r, &to_sign.key.public(), &to_sign.input).0
}

/// The public key has a part of order 2, and the challenge is odd: valid with the cofactor only.
pub fn under_mixed_key(to_sign: &ToSign) -> [u8; 64] {
    let a = plus_torsion(to_sign.key.public());
    let odd = (0..=255).find_map(|n| {
        let nonce = Key::of(n);
        let (signature, even) = to_sign.key.sign_by_hand(Some(&nonce), &nonce.public(), &a, &to_sign.input);
        (!even).then_some(signature)
    });
    odd.expect("half of all challenges are odd")
}
