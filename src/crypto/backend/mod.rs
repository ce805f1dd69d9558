//! The primitives, by one of two backends that give the same bytes: aws-lc-rs, or dalek and RustCrypto. Verification of signatures is
//! dalek's in every build, and ML-KEM is libcrux's, so neither is here.

#[cfg(feature = "aws-lc-rs")]
pub(super) mod aws;
#[cfg(any(test, not(feature = "aws-lc-rs")))]
pub(super) mod pure;

#[cfg(feature = "aws-lc-rs")]
pub(crate) use aws::{Agreement, Cipher, Signing};
#[cfg(not(feature = "aws-lc-rs"))]
pub(crate) use pure::{Agreement, Cipher, Signing};

/// The name of the backend of this build.
pub const NAME: &str = if cfg!(feature = "aws-lc-rs") { "aws-lc-rs" } else { "dalek and RustCrypto" };

/// Whether this machine has instructions for AES-256-GCM.
pub fn has_aes() -> bool {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    {
        cpufeatures::new!(aes_gcm, "aes", "pclmulqdq");
        aes_gcm::get()
    }
    #[cfg(target_arch = "aarch64")]
    {
        cpufeatures::new!(aes_gcm, "aes");
        aes_gcm::get()
    }
    #[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
    false
}

#[cfg(all(test, feature = "aws-lc-rs"))]
mod tests {
    use super::{aws, pure};
    use crate::crypto::suite::Aead;
    use crate::secret::Secret;

    fn secret(n: u8) -> Secret<32> {
        Secret::take(&mut core::array::from_fn(|i| n.wrapping_mul(31).wrapping_add(i.to_le_bytes()[0])))
    }

    // Both backends give the same shares, secrets, signatures and ciphertexts, and open each other's.
    #[test]
    fn backends_agree() {
        for n in 0..32 {
            let (fast, slow) = (aws::Agreement::new(&secret(n)).unwrap(), pure::Agreement::new(&secret(n)).unwrap());
            assert_eq!(fast.share(), slow.share());
            let other = pure::Agreement::new(&secret(n + 1)).unwrap();
            let mut high = *other.share();
            high[31] |= 0x80;
            for share in [other.share(), &high] {
                let (a, b) = (fast.agree(share).unwrap().unwrap(), slow.agree(share).unwrap().unwrap());
                assert_eq!(a.expose(), b.expose());
            }
            let message = std::vec![n; 130];
            let (a, b) = (aws::Signing::new(&secret(n)).unwrap(), pure::Signing::new(&secret(n)).unwrap());
            assert_eq!(a.sign(&message).unwrap(), b.sign(&message).unwrap());
            for aead in [Aead::ChaCha20Poly1305, Aead::Aes256Gcm] {
                let (a, b) = (
                    aws::Cipher::new(aead, secret(n).expose()).unwrap(),
                    pure::Cipher::new(aead, secret(n).expose()).unwrap(),
                );
                let (mut x, mut y) = (std::vec![n; 100 + usize::from(n)], std::vec![n; 100 + usize::from(n)]);
                let (s, t) = (a.seal([n; 12], b"ad", &mut x).unwrap(), b.seal([n; 12], b"ad", &mut y).unwrap());
                assert_eq!((&x, s), (&y, t));
                x.extend_from_slice(&s);
                y.extend_from_slice(&t);
                assert!(a.open([n; 12], b"ad", &mut y) && b.open([n; 12], b"ad", &mut x));
                assert_eq!(x[..100], std::vec![n; 100]);
                assert!(!a.open([n; 12], b"ad", &mut y) && !b.open([n; 12], b"ad", &mut x));
            }
        }
    }

    // [HS-6] [HS-10] A secret of zero is told, in every encoding of the points of small order.
    #[test]
    fn backends_refuse_zero_secrets() {
        let hex = [
            "0000000000000000000000000000000000000000000000000000000000000000",
            "0100000000000000000000000000000000000000000000000000000000000000",
            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
            "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        ];
        for hex in hex {
            let bytes: [u8; 32] = core::array::from_fn(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap());
            for high in [0, 0x80] {
                let mut bytes = bytes;
                bytes[31] |= high;
                assert!(aws::Agreement::new(&secret(1)).unwrap().agree(&bytes).unwrap().is_none());
                assert!(pure::Agreement::new(&secret(1)).unwrap().agree(&bytes).unwrap().is_none());
            }
        }
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod detection {
    // The preference for AES depends on what the machine has, by the standard library's own look at it.
    #[test]
    fn aes_instructions() {
        let has = std::is_x86_feature_detected!("aes") && std::is_x86_feature_detected!("pclmulqdq");
        assert_eq!(super::has_aes(), has);
    }
}
