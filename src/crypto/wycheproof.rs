//! Project Wycheproof's vectors through our wrappers, under every backend of this build. Each test says how many cases it ran, so that none
//! is left out unseen; what is left out is what our types cannot express (other lengths of keys, nonces and tags).

use std::vec::Vec;

use wycheproof::{TestResult, aead, eddsa, hkdf, mac, mlkem, xdh};

use super::aead::{OpeningKey, SealingKey};
#[cfg(feature = "aws-lc-rs")]
use super::backend::aws;
use super::backend::pure;
use super::suite::Aead;
use super::{agreement, schedule, signature};
use crate::error::{Error, Malformed, Sealed, Untrusted};
use crate::secret::Secret;

fn secret<const N: usize>(bytes: &[u8]) -> Secret<N> {
    Secret::take(&mut bytes.try_into().expect("length"))
}

/// Both AEADs, sealed and opened, by the keys that records use and by each backend's cipher. RFC 8439, SP 800-38D.
#[test]
fn aeads() {
    let sets = [
        (aead::TestName::ChaCha20Poly1305, Aead::ChaCha20Poly1305, 316),
        (aead::TestName::AesGcm, Aead::Aes256Gcm, 66),
    ];
    for (name, aead, expected) in sets {
        let mut ran = 0;
        for group in aead::TestSet::load(name).expect("vectors").test_groups {
            if (group.key_size, group.nonce_size, group.tag_size) != (256, 96, 128) {
                continue;
            }
            for test in group.tests {
                ran += 1;
                let (key, valid) = (secret(&test.key), test.result == TestResult::Valid);
                let nonce: [u8; 12] = test.nonce.as_slice().try_into().expect("12 bytes");
                let sealed = [test.ct.as_slice(), test.tag.as_slice()].concat();

                let mut opening = OpeningKey::new(aead, &key, secret(&test.nonce)).expect("a key");
                let mut record = sealed.clone();
                let opened = opening.open(&test.aad, &mut record, Sealed::Record).map(|text| text.to_vec());
                let wanted = if valid { Ok(test.pt.to_vec()) } else { Err(Error::Tampered(Sealed::Record)) };
                assert_eq!(opened, wanted, "{name:?} {}", test.tc_id);

                let mut sealing = SealingKey::new(aead, &key, secret(&test.nonce)).expect("a key");
                let mut text = test.pt.to_vec();
                let tag = sealing.seal(&test.aad, &mut text).expect("sealed");
                assert_eq!([&text[..], &tag].concat() == sealed, valid, "{name:?} {}", test.tc_id);

                let cipher = pure::Cipher::new(aead, key.expose()).expect("a key");
                assert_eq!(cipher.open(nonce, &test.aad, &mut sealed.clone()), valid, "pure {name:?} {}", test.tc_id);
                #[cfg(feature = "aws-lc-rs")]
                {
                    let cipher = aws::Cipher::new(aead, key.expose()).expect("a key");
                    assert_eq!(
                        cipher.open(nonce, &test.aad, &mut sealed.clone()),
                        valid,
                        "aws {name:?} {}",
                        test.tc_id
                    );
                }
            }
        }
        assert_eq!(ran, expected, "{name:?}");
    }
}

/// X25519 (RFC 7748): non-canonical, twisted, special points; a zero secret is refused, all others are computed. [HS-6] [HS-10]
#[test]
fn x25519() {
    let (mut ran, mut zero) = (0, 0);
    for group in xdh::TestSet::load(xdh::TestName::X25519).expect("vectors").test_groups {
        for test in group.tests {
            ran += 1;
            let public: [u8; 32] = test.public_key.as_slice().try_into().expect("32 bytes");
            let private = secret(&test.private_key);
            let shared = agreement::X25519Share::from_secret(&private).expect("a share").agree(&public);
            if test.flags.contains(&xdh::TestFlag::ZeroSharedSecret) {
                zero += 1;
                assert!(matches!(shared, Err(Error::Untrusted(Untrusted::ZeroSecret))), "{}", test.tc_id);
            } else {
                assert_ne!(test.result, TestResult::Invalid);
                assert_eq!(shared.expect("shared").expose(), test.shared_secret.as_slice(), "{}", test.tc_id);
            }
            let plain = |result: Option<Secret<32>>| result.map(|secret| *secret.expose());
            let by_pure = plain(pure::Agreement::new(&private).expect("a key").agree(&public).expect("a result"));
            #[cfg(feature = "aws-lc-rs")]
            assert_eq!(plain(aws::Agreement::new(&private).expect("a key").agree(&public).expect("a result")), by_pure);
            let expected = (!test.flags.contains(&xdh::TestFlag::ZeroSharedSecret)).then_some(&test.shared_secret[..]);
            assert_eq!(by_pure.as_ref().map(|secret| &secret[..]), expected, "{}", test.tc_id);
        }
    }
    assert_eq!((ran, zero), (518, 31));
}

/// Ed25519 (RFC 8032): malleated, truncated, wrongly encoded signatures are refused, and deterministic ones reproduced. [HS-19]
#[test]
fn ed25519() {
    let mut ran = 0;
    for group in eddsa::TestSet::load(eddsa::TestName::Ed25519).expect("vectors").test_groups {
        let key = signature::Verifier::from_bytes(&group.key.pk[..].try_into().expect("32 bytes")).expect("a key");
        for test in group.tests {
            ran += 1;
            // A signature of another length cannot be expressed, let alone sent.
            let verified =
                <[u8; 64]>::try_from(&test.sig[..]).is_ok_and(|sig| key.verify_bytes(&test.msg, &sig).is_ok());
            assert_eq!(verified, test.result == TestResult::Valid, "{} {}", test.tc_id, test.comment);
        }
    }
    assert_eq!(ran, 151);
}

/// HKDF with SHA-256 (RFC 5869), extraction and expansion. A salt of up to 32 bytes is one of 32 bytes, by the padding of HMAC.
#[test]
fn hkdf_sha256() {
    let mut ran = 0;
    for group in hkdf::TestSet::load(hkdf::TestName::HkdfSha256).expect("vectors").test_groups {
        for test in group.tests {
            let Some(salt) = padded(&test.salt) else { continue };
            ran += 1;
            let prk = schedule::extract(&salt, &test.ikm).expect("extracted");
            // More than a label can ask for: the limit is HKDF's.
            let mut out = std::vec![0; test.size];
            let expanded = schedule::expand(&prk, &[&test.info], &mut out);
            assert_eq!(expanded.is_ok(), test.result == TestResult::Valid, "{}", test.tc_id);
            assert!(expanded.is_err() || out == test.okm[..], "{}", test.tc_id);
        }
    }
    assert_eq!(ran, 75);
}

/// HMAC with SHA-256 (RFC 2104), as confirmations and network tags use it, which compare all 32 bytes.
#[test]
fn hmac_sha256() {
    let mut ran = 0;
    for group in mac::TestSet::load(mac::TestName::HmacSha256).expect("vectors").test_groups {
        for test in group.tests {
            let (Some(key), 256) = (padded(&test.key), group.tag_size) else { continue };
            ran += 1;
            let tag = schedule::hmac(&key, &[&test.msg]).expect("a tag");
            assert_eq!(tag == test.tag[..], test.result == TestResult::Valid, "{}", test.tc_id);
        }
    }
    assert_eq!(ran, 84);
}

fn padded(key: &[u8]) -> Option<[u8; 32]> {
    let mut padded = [0; 32];
    padded.get_mut(..key.len())?.copy_from_slice(key);
    Some(padded)
}

/// Key generation and decapsulation of ML-KEM-768 (FIPS 203) from the seed; implicit rejection of wrong ciphertexts.
#[test]
fn mlkem_768() {
    let mut ran = 0;
    for name in [mlkem::TestName::MlKem768, mlkem::TestName::MlKem768KeyGenSeed] {
        for group in mlkem::TestSet::load(name).expect("vectors").test_groups {
            for test in group.tests {
                // Seeds and ciphertexts of other lengths cannot be expressed.
                let seed: Option<[u8; 64]> = test.seed.as_ref().and_then(|seed| seed[..].try_into().ok());
                let Some(seed) = seed else {
                    assert_eq!(test.result, TestResult::Invalid);
                    continue;
                };
                let share = agreement::MlKemShare::generate(&mut Replay(seed.to_vec())).expect("a share");
                assert_eq!(share.share(), &test.encaps_key.expect("a key")[..], "{name:?} {}", test.tc_id);
                ran += 1;
                let Some(ciphertext) = test.ct.as_ref().and_then(|ct| ct[..].try_into().ok()) else {
                    assert!(test.ct.is_none() || test.result == TestResult::Invalid);
                    continue;
                };
                assert_eq!(test.result, TestResult::Valid);
                let shared = share.decapsulate(&ciphertext);
                assert_eq!(shared.expose(), &test.shared_secret.expect("a secret")[..], "{name:?} {}", test.tc_id);
            }
        }
    }
    assert_eq!(ran, 281);
}

/// Encapsulation: keys with coefficients above the modulus are refused, others give the ciphertext and secret of FIPS 203. [HS-27]
#[test]
fn mlkem_768_encapsulation() {
    let (mut ran, mut refused) = (0, 0);
    for group in mlkem::TestSet::load(mlkem::TestName::MlKem768Encaps).expect("vectors").test_groups {
        for test in group.tests {
            let Ok(key) = test.encaps_key.expect("a key")[..].try_into() else {
                assert_eq!(test.result, TestResult::Invalid);
                continue;
            };
            ran += 1;
            match agreement::encapsulate(&key, &secret(&test.msg.expect("a message"))) {
                Ok((ciphertext, shared)) => {
                    assert_eq!(test.result, TestResult::Valid, "{}", test.tc_id);
                    assert_eq!(&ciphertext[..], &test.ct.expect("a ciphertext")[..], "{}", test.tc_id);
                    assert_eq!(shared.expose(), &test.shared_secret.expect("a secret")[..], "{}", test.tc_id);
                }
                Err(error) => {
                    refused += 1;
                    assert_eq!(error, Error::Malformed(Malformed::Field("ML-KEM-768 encapsulation key")));
                    assert_eq!(test.result, TestResult::Invalid, "{}", test.tc_id);
                }
            }
        }
    }
    assert_eq!((ran, refused), (245, 112));
}

/// Draws that were made before.
struct Replay(Vec<u8>);

impl rand_core::TryRng for Replay {
    type Error = core::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        unreachable!("only bytes are drawn")
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        unreachable!("only bytes are drawn")
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Self::Error> {
        out.copy_from_slice(&self.0[..out.len()]);
        self.0.drain(..out.len());
        Ok(())
    }
}

impl rand_core::TryCryptoRng for Replay {}
