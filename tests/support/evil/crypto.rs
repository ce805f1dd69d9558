//! The primitives of section 2 and the labels of section 10, a second time.

use aes_gcm::Aes256Gcm;
use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, KeyInit};
use hmac::{Hmac, Mac};
use libcrux_ml_kem::mlkem768::{self, MlKem768Ciphertext, MlKem768PrivateKey, MlKem768PublicKey};
use sha2::{Digest, Sha256};

pub fn sha256(data: &[u8]) -> [u8; 32] {
    Sha256::digest(data).into()
}

pub fn hmac(key: &[u8], data: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any length");
    mac.update(data);
    mac.finalize().into_bytes().into()
}

/// HKDF-Extract is HMAC with the salt as its key.
pub fn extract(salt: &[u8], ikm: &[u8]) -> [u8; 32] {
    hmac(salt, ikm)
}

pub fn expand_label(secret: &[u8], label: &str, ctx: &[u8], len: usize) -> Vec<u8> {
    let full = format!("countersign/1 {label}");
    let mut info = u16::try_from(len).expect("short").to_be_bytes().to_vec();
    info.push(u8::try_from(full.len()).expect("short"));
    info.extend_from_slice(full.as_bytes());
    info.push(u8::try_from(ctx.len()).expect("short"));
    info.extend_from_slice(ctx);
    let (mut out, mut block) = (Vec::new(), Vec::new());
    for counter in 1_u8.. {
        if out.len() >= len {
            break;
        }
        block = hmac(secret, &[&block[..], &info, &[counter]].concat()).to_vec();
        out.extend_from_slice(&block);
    }
    out.truncate(len);
    out
}

pub fn expand32(secret: &[u8], label: &str, ctx: &[u8]) -> [u8; 32] {
    expand_label(secret, label, ctx, 32).try_into().expect("32 bytes")
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aead {
    ChaCha,
    Aes,
}

impl Aead {
    pub fn of_suite(suite: u16) -> Self {
        if suite == 3 || suite == 4 { Aead::Aes } else { Aead::ChaCha }
    }
}

pub fn seal(aead: Aead, key: &[u8; 32], nonce: &[u8; 12], ad: &[u8], plaintext: &[u8]) -> Vec<u8> {
    let (mut text, nonce) = (plaintext.to_vec(), &(*nonce).into());
    let tag = match aead {
        Aead::ChaCha => ChaCha20Poly1305::new(key.into()).encrypt_inout_detached(nonce, ad, text.as_mut_slice().into()),
        Aead::Aes => Aes256Gcm::new(key.into()).encrypt_inout_detached(nonce, ad, text.as_mut_slice().into()),
    };
    text.extend_from_slice(&tag.expect("within its limits"));
    text
}

pub fn open(aead: Aead, key: &[u8; 32], nonce: &[u8; 12], ad: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let (text, tag) = sealed.split_last_chunk::<16>()?;
    let (mut text, nonce, tag) = (text.to_vec(), &(*nonce).into(), &(*tag).into());
    let opened = match aead {
        Aead::ChaCha => {
            ChaCha20Poly1305::new(key.into()).decrypt_inout_detached(nonce, ad, text.as_mut_slice().into(), tag)
        }
        Aead::Aes => Aes256Gcm::new(key.into()).decrypt_inout_detached(nonce, ad, text.as_mut_slice().into(), tag),
    };
    opened.ok().map(|()| text)
}

pub fn x25519(private: &[u8; 32], share: &[u8; 32]) -> [u8; 32] {
    x25519_dalek::x25519(*private, *share)
}

pub fn x25519_base(private: &[u8; 32]) -> [u8; 32] {
    let mut nine = [0; 32];
    nine[0] = 9;
    x25519(private, &nine)
}

/// The points of small order in every encoding that X25519 takes, by name; the top bit is ignored by X25519 as well.
pub const SMALL_ORDER_SHARES: [(&str, &str); 7] = [
    ("0", "0000000000000000000000000000000000000000000000000000000000000000"),
    ("1", "0100000000000000000000000000000000000000000000000000000000000000"),
    ("p - 1", "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    ("p", "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    ("p + 1", "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    ("of order 8", "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    ("of order 8, the other", "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
];

pub fn is_hybrid(suite: u16) -> bool {
    suite == 2 || suite == 4
}

/// Decapsulation key and encapsulation key.
pub fn mlkem_keys(seed: [u8; 64]) -> (Vec<u8>, Vec<u8>) {
    let (private, public) = mlkem768::generate_key_pair(seed).into_parts();
    (<[u8; 2_400]>::from(private).to_vec(), public.as_slice().to_vec())
}

/// Ciphertext and secret.
pub fn mlkem_encaps(key: &[u8], m: [u8; 32]) -> (Vec<u8>, [u8; 32]) {
    let key: [u8; 1_184] = key.try_into().expect("an encapsulation key");
    let (ciphertext, secret) = mlkem768::encapsulate(&MlKem768PublicKey::from(&key), m);
    (<[u8; 1_088]>::from(ciphertext).to_vec(), secret)
}

pub fn mlkem_decaps(private: &[u8], ciphertext: &[u8]) -> [u8; 32] {
    let private: [u8; 2_400] = private.try_into().expect("a decapsulation key");
    let ciphertext: [u8; 1_088] = ciphertext.try_into().expect("a ciphertext");
    mlkem768::decapsulate(&MlKem768PrivateKey::from(&private), &MlKem768Ciphertext::from(&ciphertext))
}
