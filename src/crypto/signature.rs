//! Ed25519 (RFC 8032), with strict verification, over nothing but a [`SignatureInput`].

use core::fmt;

use ed25519_dalek::{Signature, SigningKey, VerifyingKey};
use rand_core::TryCryptoRng;

use crate::crypto::backend::Signing;
use crate::error::{Error, Untrusted};
use crate::limits::{PROTOCOL, PUBLIC_KEY_LEN, SIGNATURE_LEN};
use crate::role::Role;
use crate::secret::Secret;

/// Length of a signature input in bytes.
pub const SIGNATURE_INPUT_LEN: usize = PREFIX_LEN + DOMAIN_LEN + 1 + 32;

/// The only thing that a long-term key signs: 64 spaces, a domain string, a zero byte, a transcript hash
/// (specification, section 9). Only a transcript makes one.
#[derive(Clone, PartialEq, Eq)]
pub struct SignatureInput([u8; SIGNATURE_INPUT_LEN]);

/// A public key that passed the checks of [ID-2]: canonical, on the curve, not of small order.
#[derive(Clone, Copy)]
pub struct PublicKey([u8; PUBLIC_KEY_LEN]);

/// A public key with its point decoded, which is what a verification needs first. A session keeps the 32 bytes only.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Verifier(VerifyingKey);

/// A private key.
pub struct PrivateKey {
    seed: Secret<32>,
    signing: Signing,
    public: PublicKey,
}

impl SignatureInput {
    pub(crate) fn new(role: Role, transcript_hash: &[u8; 32]) -> Self {
        let mut bytes = [0; SIGNATURE_INPUT_LEN];
        let parts: [&[u8]; 7] = [
            &[b' '; PREFIX_LEN],
            PROTOCOL.as_bytes(),
            b" ",
            role.name().as_bytes(),
            b" signature",
            &[0],
            transcript_hash,
        ];
        let bytes_of_parts = parts.iter().flat_map(|part| part.iter());
        bytes.iter_mut().zip(bytes_of_parts).for_each(|(to, from)| *to = *from);
        SignatureInput(bytes)
    }

    /// The bytes to be signed, for a signer outside of this process.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SignatureInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SignatureInput")
    }
}

impl PublicKey {
    /// Checks a public key.
    ///
    /// # Errors
    /// [`Untrusted::WeakKey`].
    pub fn from_bytes(bytes: &[u8; PUBLIC_KEY_LEN]) -> Result<Self, Error> {
        Verifier::from_bytes(bytes).map(|verifier| verifier.public_key())
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; PUBLIC_KEY_LEN] {
        &self.0
    }

    /// Verifies strictly (specification, section 8.4).
    ///
    /// # Errors
    /// [`Untrusted::Signature`].
    pub fn verify(&self, input: &SignatureInput, signature: &[u8; SIGNATURE_LEN]) -> Result<(), Error> {
        Verifier::from_bytes(&self.0)?.verify(input, signature)
    }
}

impl Verifier {
    /// Checks and decodes a public key.
    pub(crate) fn from_bytes(bytes: &[u8; PUBLIC_KEY_LEN]) -> Result<Self, Error> {
        // [ID-2]
        let weak = Error::Untrusted(Untrusted::WeakKey);
        if !is_canonical(bytes) {
            return Err(weak);
        }
        match VerifyingKey::from_bytes(bytes) {
            Ok(key) if !key.is_weak() => Ok(Verifier(key)),
            _ => Err(weak),
        }
    }

    /// What it verifies for.
    pub(crate) fn public_key(&self) -> PublicKey {
        PublicKey(self.0.to_bytes())
    }

    /// Verifies strictly (specification, section 8.4).
    pub(crate) fn verify(&self, input: &SignatureInput, signature: &[u8; SIGNATURE_LEN]) -> Result<(), Error> {
        self.verify_bytes(input.as_bytes(), signature)
    }

    /// For certificates, and for test vectors, which have their own messages.
    pub(crate) fn verify_bytes(&self, message: &[u8], signature: &[u8; SIGNATURE_LEN]) -> Result<(), Error> {
        // [HS-19]
        let signature = Signature::from_bytes(signature);
        self.0.verify_strict(message, &signature).map_err(|_| Error::Untrusted(Untrusted::Signature))
    }
}

impl PrivateKey {
    /// Draws 32 bytes.
    ///
    /// # Errors
    /// [`Error::Entropy`].
    pub fn generate(rng: &mut impl TryCryptoRng) -> Result<Self, Error> {
        Self::from_seed(Secret::fill(|bytes| rng.try_fill_bytes(bytes)).map_err(|_| Error::Entropy)?)
    }

    /// The key of a 32-byte seed (RFC 8032, section 5.1.5).
    ///
    /// # Errors
    /// [`Error::Internal`] if the backend fails.
    pub fn from_seed(seed: Secret<32>) -> Result<Self, Error> {
        let public = PublicKey(SigningKey::from_bytes(seed.expose()).verifying_key().to_bytes());
        Ok(PrivateKey { signing: Signing::new(&seed)?, seed, public })
    }

    /// The seed, for writing a key file.
    pub fn seed(&self) -> &Secret<32> {
        &self.seed
    }

    /// The public half, computed from the seed.
    pub fn public_key(&self) -> PublicKey {
        self.public
    }

    /// Signs.
    ///
    /// # Errors
    /// [`Error::Internal`] if the backend fails.
    pub fn sign(&self, input: &SignatureInput) -> Result<[u8; SIGNATURE_LEN], Error> {
        self.signing.sign(input.as_bytes())
    }

    /// Signs something else, which its caller has made sure is no signature input.
    #[cfg(feature = "x509")]
    pub(crate) fn sign_bytes(&self, message: &[u8]) -> Result<[u8; SIGNATURE_LEN], Error> {
        self.signing.sign(message)
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey")
    }
}

/// Whether `y`, the encoding without its top bit, is below 2^255 - 19. Public data: time may vary.
fn is_canonical(bytes: &[u8; PUBLIC_KEY_LEN]) -> bool {
    let [low, middle @ .., high] = bytes;
    high & 0x7F != 0x7F || middle.iter().any(|byte| *byte != 0xFF) || *low < 0xED
}

const PREFIX_LEN: usize = 64;
/// `"countersign/1 initiator signature"`; both roles have nine letters.
const DOMAIN_LEN: usize = 33;

#[cfg(test)]
mod tests {
    use super::*;

    // [TR-1] The input is 64 spaces, the domain string with the role, a zero byte and the hash, 130 bytes.
    #[test]
    fn input_has_the_form_of_the_specification() {
        for role in [Role::Initiator, Role::Responder] {
            let input = SignatureInput::new(role, &[0xAB; 32]);
            let domain = std::format!("{}countersign/1 {} signature\0", " ".repeat(64), role.name());
            assert_eq!(input.as_bytes().len(), 130);
            assert_eq!(input.as_bytes(), [domain.as_bytes(), &[0xAB; 32]].concat());
        }
    }

    // [ID-2] Non-canonical encodings and points of small order are not keys.
    #[test]
    fn weak_keys_are_refused() {
        let mut encodings = std::vec::Vec::new();
        // y = 0, 1, p-1, p, p+1, and the two of order 8, with and without the sign bit.
        let order_8 = [
            "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
            "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        ];
        for hex in order_8 {
            let bytes: std::vec::Vec<u8> =
                (0..32).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap()).collect();
            encodings.push(<[u8; 32]>::try_from(bytes).unwrap());
        }
        for low in [0, 1] {
            let mut bytes = [0; 32];
            bytes[0] = low;
            encodings.push(bytes);
        }
        for low in 0xEC..=0xFF {
            let mut bytes = [0xFF; 32];
            bytes[0] = low;
            bytes[31] = 0x7F;
            encodings.push(bytes);
        }
        for mut bytes in encodings {
            for sign in [0, 0x80] {
                bytes[31] = bytes[31] & 0x7F | sign;
                assert!(PublicKey::from_bytes(&bytes).is_err(), "{bytes:02x?}");
            }
        }
    }

    // [ID-2] Canonical is what is below 2^255 - 19: judged here by comparing the numbers; near the border every such point is a key.
    #[test]
    fn canonical_is_below_the_prime() {
        let mut prime = [0xFF; 32];
        (prime[0], prime[31]) = (0xED, 0x7F);
        let (mut keys, mut refused) = (0, 0);
        for (high, middle) in [(0x7F, 0xFF), (0x7F, 0xFE), (0x7E, 0xFF), (0xFF, 0xFF), (0xFF, 0xFE), (0x12, 0x34)] {
            for low in 0..=0xFF {
                let mut bytes = [middle; 32];
                (bytes[0], bytes[31]) = (low, high);
                let mut number = bytes;
                number[31] &= 0x7F;
                let canonical = number.iter().rev().lt(prime.iter().rev());
                let strong = VerifyingKey::from_bytes(&bytes).is_ok_and(|key| !key.is_weak());
                assert_eq!(is_canonical(&bytes), canonical, "{bytes:02x?}");
                assert_eq!(PublicKey::from_bytes(&bytes).is_ok(), canonical && strong, "{bytes:02x?}");
                keys += usize::from(canonical && strong);
                refused += usize::from(!canonical && strong);
            }
        }
        assert!(keys > 500 && refused > 5, "{keys} keys, {refused} strong points in another encoding");
    }

    // [HS-19] A signature with S + L, which a lax verifier accepts, is refused; so is one by another role.
    #[test]
    fn verification_is_strict() {
        let key = PrivateKey::from_seed(Secret::take(&mut [3; 32])).unwrap();
        let input = SignatureInput::new(Role::Initiator, &[1; 32]);
        let mut signature = key.sign(&input).unwrap();
        assert!(key.public_key().verify(&input, &signature).is_ok());
        assert!(key.public_key().verify(&SignatureInput::new(Role::Responder, &[1; 32]), &signature).is_err());
        let order: [u8; 32] = [
            0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0,
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
        ];
        let mut carry = 0_u16;
        for (byte, add) in signature[32..].iter_mut().zip(order) {
            carry += u16::from(*byte) + u16::from(add);
            *byte = carry.to_le_bytes()[0];
            carry >>= 8;
        }
        assert!(key.public_key().verify(&input, &signature).is_err());
    }
}
