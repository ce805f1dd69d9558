//! The signatures that a CA's key may make: the same in every build. Ed25519 is verified as strictly as everywhere else here.

use rustls_pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id};
use webpki::ring as by_ring;

use crate::crypto::signature::Verifier;

/// Ed25519, ECDSA with P-256 and P-384, RSA with 2,048 to 8,192 bits.
pub(super) const ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] = &[
    &StrictEd25519,
    by_ring::ECDSA_P256_SHA256,
    by_ring::ECDSA_P256_SHA384,
    by_ring::ECDSA_P384_SHA256,
    by_ring::ECDSA_P384_SHA384,
    by_ring::RSA_PKCS1_2048_8192_SHA256,
    by_ring::RSA_PKCS1_2048_8192_SHA384,
    by_ring::RSA_PKCS1_2048_8192_SHA512,
    by_ring::RSA_PKCS1_2048_8192_SHA256_ABSENT_PARAMS,
    by_ring::RSA_PKCS1_2048_8192_SHA384_ABSENT_PARAMS,
    by_ring::RSA_PKCS1_2048_8192_SHA512_ABSENT_PARAMS,
    by_ring::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
    by_ring::RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
    by_ring::RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
];

#[derive(Debug)]
struct StrictEd25519;

impl SignatureVerificationAlgorithm for StrictEd25519 {
    fn verify_signature(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        let (Ok(key), Ok(signature)) = (key.try_into(), signature.try_into()) else { return Err(InvalidSignature) };
        let verifier = Verifier::from_bytes(key).map_err(|_| InvalidSignature)?;
        verifier.verify_bytes(message, signature).map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ED25519
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ED25519
    }
}

/// Whether `signature` over `message` is by the key of a subject public key info (its content, without the outer tag).
pub(super) fn verify(key_info: &[u8], algorithm: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let Some((key_algorithm, key)) = split_key(key_info) else { return false };
    let fitting = ALGORITHMS
        .iter()
        .filter(|known| *known.signature_alg_id() == *algorithm && *known.public_key_alg_id() == *key_algorithm);
    fitting.into_iter().any(|known| known.verify_signature(key, message, signature).is_ok())
}

/// Algorithm and key bits of a subject public key info.
fn split_key(key_info: &[u8]) -> Option<(&[u8], &[u8])> {
    use x509_cert::der::asn1::{AnyRef, BitStringRef};
    use x509_cert::der::{Decode, Reader, SliceReader};
    let mut reader = SliceReader::new(key_info).ok()?;
    let algorithm = AnyRef::decode(&mut reader).ok()?;
    let key = BitStringRef::decode(&mut reader).ok()?;
    reader.finish().ok()?;
    Some((algorithm.value(), key.as_bytes()?))
}
