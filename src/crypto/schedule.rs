//! The key schedule (specification, section 10). Each stage is a type that offers only what may be derived there.

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::crypto::aead::{KEY_LEN, MATERIAL_LEN, OpeningKey, SealingKey};
use crate::crypto::agreement::SharedSecret;
use crate::crypto::network::NetworkKey;
use crate::crypto::suite::Aead;
use crate::error::{Error, Misuse, Untrusted};
use crate::limits::{
    CONFIRM_LEN, MAX_EXPORT_CONTEXT_LEN, MAX_EXPORT_LEN, NETWORK_KEY_LEN, PROTOCOL, REKEY_LEN, SESSION_ID_LEN,
};
use crate::role::Role;
use crate::secret::{Secret, wipe_shallow_stack};

/// A transcript hash.
pub type TranscriptHash = [u8; 32];

/// `early_secret`: holds the network key, or zeros where there is none.
#[derive(Debug)]
pub struct EarlySecret(Secret<32>);

/// `network_tag_key`: proves knowledge of the network key.
#[derive(Debug)]
pub struct NetworkTagKey(Secret<32>);

/// `handshake_secret`: gives the keys of the AUTH messages, then the master secret.
#[derive(Debug)]
pub struct HandshakeSecret(Secret<32>);

/// `master_secret`: gives the keys of the session.
#[derive(Debug)]
pub struct MasterSecret(Secret<32>);

/// A secret from which the key and iv of one direction come, and the secret after it.
#[derive(Debug)]
pub struct TrafficSecret(Secret<32>);

/// A confirmation key of one direction.
#[derive(Debug)]
pub struct ConfirmKey(Secret<32>);

/// `exporter_secret`: keying material for the application.
#[derive(Debug)]
pub struct Exporter(Secret<32>);

impl EarlySecret {
    /// `Extract(zeros, network_key)`.
    ///
    /// # Errors
    /// [`Error::Internal`], as everywhere here: a backend failed at what can't fail.
    pub fn new(network_key: Option<&NetworkKey>) -> Result<Self, Error> {
        extract(&[0; 32], network_key.map_or(&[0; NETWORK_KEY_LEN], |key| key.expose())).map(EarlySecret)
    }

    /// `ExpandLabel(early_secret, "network tag", "", 32)`.
    ///
    /// # Errors
    /// [`Error::Internal`].
    pub fn network_tag_key(&self) -> Result<NetworkTagKey, Error> {
        expand_label(&self.0, "network tag", None, &[]).map(NetworkTagKey)
    }

    /// `Extract(ExpandLabel(early_secret, "derived", "", 32), shared)`.
    ///
    /// # Errors
    /// [`Error::Internal`].
    pub fn into_handshake(self, shared: &SharedSecret) -> Result<HandshakeSecret, Error> {
        extract(derived(&self.0)?.expose(), shared.expose()).map(HandshakeSecret)
    }
}

impl NetworkTagKey {
    /// The tag of a HELLO, given in parts without its tag.
    ///
    /// # Errors
    /// [`Error::Internal`].
    pub fn compute(&self, hello: &[&[u8]]) -> Result<[u8; NETWORK_KEY_LEN], Error> {
        hmac(self.0.expose(), hello)
    }

    /// Compares a received tag in constant time.
    ///
    /// # Errors
    /// [`Untrusted::NetworkKey`].
    pub fn check(&self, hello: &[&[u8]], received: &[u8; NETWORK_KEY_LEN]) -> Result<(), Error> {
        // [NK-2]
        let equal = self.compute(hello)?.ct_eq(received);
        if bool::from(equal) { Ok(()) } else { Err(Error::Untrusted(Untrusted::NetworkKey)) }
    }
}

impl HandshakeSecret {
    /// `ExpandLabel(handshake_secret, "handshake " role, TH_hello, 32)`.
    ///
    /// # Errors
    /// [`Error::Internal`].
    pub fn traffic(&self, role: Role, th_hello: &TranscriptHash) -> Result<TrafficSecret, Error> {
        expand_label(&self.0, "handshake", Some(role), th_hello).map(TrafficSecret)
    }

    /// `ExpandLabel(handshake_secret, "confirm " role, TH_hello, 32)`.
    ///
    /// # Errors
    /// [`Error::Internal`].
    pub fn confirm(&self, role: Role, th_hello: &TranscriptHash) -> Result<ConfirmKey, Error> {
        expand_label(&self.0, "confirm", Some(role), th_hello).map(ConfirmKey)
    }

    /// `Extract(ExpandLabel(handshake_secret, "derived", "", 32), zeros)`.
    ///
    /// # Errors
    /// [`Error::Internal`].
    pub fn into_master(self) -> Result<MasterSecret, Error> {
        extract(derived(&self.0)?.expose(), &[0; 32]).map(MasterSecret)
    }
}

impl MasterSecret {
    /// `ExpandLabel(master_secret, "traffic " role, TH_final, 32)`.
    ///
    /// # Errors
    /// [`Error::Internal`].
    pub fn traffic(&self, role: Role, th_final: &TranscriptHash) -> Result<TrafficSecret, Error> {
        expand_label(&self.0, "traffic", Some(role), th_final).map(TrafficSecret)
    }

    /// `ExpandLabel(master_secret, "exporter", TH_final, 32)`.
    ///
    /// # Errors
    /// [`Error::Internal`].
    pub fn exporter(&self, th_final: &TranscriptHash) -> Result<Exporter, Error> {
        expand_label(&self.0, "exporter", None, th_final).map(Exporter)
    }

    /// `ExpandLabel(master_secret, "channel binding", TH_final, 32)`. Public.
    ///
    /// # Errors
    /// [`Error::Internal`].
    pub fn channel_binding(&self, th_final: &TranscriptHash) -> Result<[u8; 32], Error> {
        expand_label(&self.0, "channel binding", None, th_final).map(|value| *value.expose())
    }

    /// `ExpandLabel(master_secret, "session id", TH_final, 16)`. Public.
    ///
    /// # Errors
    /// [`Error::Internal`].
    pub fn session_id(&self, th_final: &TranscriptHash) -> Result<[u8; SESSION_ID_LEN], Error> {
        expand_label(&self.0, "session id", None, th_final).map(|id| *id.expose())
    }
}

impl TrafficSecret {
    /// A secret given in bytes, for test vectors and tools that read key logs.
    pub fn take(bytes: &mut [u8; 32]) -> Self {
        TrafficSecret(Secret::take(bytes))
    }

    /// The bytes, for a key log.
    pub fn expose(&self) -> &[u8; 32] {
        self.0.expose()
    }

    /// The key that seals this direction.
    ///
    /// # Errors
    /// [`Error::Internal`].
    pub fn sealing_key(&self, aead: Aead) -> Result<SealingKey, Error> {
        Ok(SealingKey::from_material(aead, self.material()?, 0))
    }

    /// The key that opens this direction.
    ///
    /// # Errors
    /// [`Error::Internal`].
    pub fn opening_key(&self, aead: Aead) -> Result<OpeningKey, Error> {
        Ok(OpeningKey::from_material(aead, self.material()?, 0))
    }

    /// As [`TrafficSecret::sealing_key`], with a counter that is elsewhere, for tests.
    ///
    /// # Errors
    /// [`Error::Internal`].
    pub fn dangerous_sealing_key_at(&self, aead: Aead, counter: u64) -> Result<SealingKey, Error> {
        Ok(SealingKey::from_material(aead, self.material()?, counter))
    }

    /// As [`TrafficSecret::opening_key`], with a counter that is elsewhere, for tests.
    ///
    /// # Errors
    /// [`Error::Internal`].
    pub fn dangerous_opening_key_at(&self, aead: Aead, counter: u64) -> Result<OpeningKey, Error> {
        Ok(OpeningKey::from_material(aead, self.material()?, counter))
    }

    /// The secret after a REKEY record: `Extract(ExpandLabel(s, "rekey", content, 32), dh)`, with zeros where nothing was agreed.
    ///
    /// # Errors
    /// [`Error::Internal`].
    pub fn next(&self, content: &[u8; REKEY_LEN], dh: Option<&Secret<32>>) -> Result<Self, Error> {
        // [RK-1]
        let salt: Secret<32> = expand_label(&self.0, "rekey", None, content)?;
        extract(salt.expose(), dh.map_or(&[0; 32], |dh| dh.expose())).map(TrafficSecret)
    }

    /// Key and iv.
    fn material(&self) -> Result<Secret<MATERIAL_LEN>, Error> {
        Secret::fill(|material| {
            let (key, iv) = material.split_at_mut(KEY_LEN);
            expand_label_into(&self.0, "key", None, &[], key)?;
            expand_label_into(&self.0, "iv", None, &[], iv)
        })
    }
}

impl Exporter {
    /// Fills `out` with keying material for a label and a context, as in RFC 5705: equal on both sides, different for every
    /// session, label, context and length.
    ///
    /// # Errors
    /// [`Misuse::Export`] unless the label has 1 to 255 bytes, the context at most 65,535, and `out` 1 to 8,160.
    pub fn export(&self, label: &[u8], context: &[u8], out: &mut [u8]) -> Result<(), Error> {
        // [KS-2]
        let bad = Err(Error::Misuse(Misuse::Export));
        let fits = (1..=255).contains(&label.len()) && context.len() <= MAX_EXPORT_CONTEXT_LEN;
        if !fits || out.is_empty() || out.len() > MAX_EXPORT_LEN {
            return bad;
        }
        let mut hash = Sha256::new();
        for part in [label, context] {
            hash.update(u32::try_from(part.len()).map_err(|_| Error::Misuse(Misuse::Export))?.to_be_bytes());
            hash.update(part);
        }
        let digest: [u8; 32] = hash.finalize().into();
        expand_label_into(&self.0, "export", None, &digest, out)
    }
}

impl ConfirmKey {
    /// A key given in bytes, for tools that read key logs.
    pub fn take(bytes: &mut [u8; 32]) -> Self {
        ConfirmKey(Secret::take(bytes))
    }

    /// The bytes, for a key log.
    pub fn expose(&self) -> &[u8; 32] {
        self.0.expose()
    }

    /// The confirmation of a transcript hash.
    ///
    /// # Errors
    /// [`Error::Internal`].
    pub fn compute(&self, transcript_hash: &TranscriptHash) -> Result<[u8; CONFIRM_LEN], Error> {
        hmac(self.0.expose(), &[transcript_hash])
    }

    /// Compares a received confirmation in constant time.
    ///
    /// # Errors
    /// [`Untrusted::Confirmation`].
    pub fn check(&self, transcript_hash: &TranscriptHash, received: &[u8; CONFIRM_LEN]) -> Result<(), Error> {
        // [HS-13] [HS-18]
        let equal = self.compute(transcript_hash)?.ct_eq(received);
        if bool::from(equal) { Ok(()) } else { Err(Error::Untrusted(Untrusted::Confirmation)) }
    }
}

fn derived(secret: &Secret<32>) -> Result<Secret<32>, Error> {
    expand_label(secret, "derived", None, &[])
}

/// HKDF-Extract (RFC 5869, section 2.2).
pub(super) fn extract(salt: &[u8; 32], ikm: &[u8]) -> Result<Secret<32>, Error> {
    let extracted = extract_and_leave(salt, ikm);
    wipe_shallow_stack();
    extracted
}

/// Not inlined: the blocks that hkdf leaves on the stack are to be below the caller.
#[inline(never)]
fn extract_and_leave(salt: &[u8; 32], ikm: &[u8]) -> Result<Secret<32>, Error> {
    hmac(salt, &[ikm]).map(|mut prk| Secret::take(&mut prk))
}

pub(super) fn hmac(key: &[u8; 32], parts: &[&[u8]]) -> Result<[u8; 32], Error> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).map_err(|_| Error::Internal("HMAC refused a key of 32 bytes"))?;
    parts.iter().for_each(|part| mac.update(part));
    Ok(mac.finalize().into_bytes().into())
}

fn expand_label<const L: usize>(
    secret: &Secret<32>,
    label: &str,
    role: Option<Role>,
    ctx: &[u8],
) -> Result<Secret<L>, Error> {
    Secret::fill(|out| expand_label_into(secret, label, role, ctx, out))
}

/// `Expand(secret, u16(L) || u8(len(full)) || full || u8(len(ctx)) || ctx, L)` with `full = "countersign/1 " label`.
fn expand_label_into(
    secret: &Secret<32>,
    label: &str,
    role: Option<Role>,
    ctx: &[u8],
    out: &mut [u8],
) -> Result<(), Error> {
    let failed = |_| Error::Internal("HKDF refused constants");
    let (space, role) = role.map_or(("", ""), |role| (" ", role.name()));
    let full = [PROTOCOL, " ", label, space, role].map(str::as_bytes);
    let [protocol, first, label, second, role] = full;
    let len = u16::try_from(out.len()).map_err(failed)?.to_be_bytes();
    let full_len = [u8::try_from(full.iter().map(|part| part.len()).sum::<usize>()).map_err(failed)?];
    let ctx_len = [u8::try_from(ctx.len()).map_err(failed)?];
    expand(secret, &[&len, &full_len, protocol, first, label, second, role, &ctx_len, ctx], out)
}

/// HKDF-Expand (RFC 5869, section 2.3).
pub(super) fn expand(prk: &Secret<32>, info: &[&[u8]], out: &mut [u8]) -> Result<(), Error> {
    let expanded = expand_and_leave(prk, info, out);
    wipe_shallow_stack();
    expanded
}

/// Not inlined: the blocks that hkdf leaves on the stack are to be below the caller.
#[inline(never)]
fn expand_and_leave(prk: &Secret<32>, info: &[&[u8]], out: &mut [u8]) -> Result<(), Error> {
    let hkdf = Hkdf::<Sha256>::from_prk(prk.expose()).map_err(|_| Error::Internal("HKDF refused a key"))?;
    hkdf.expand_multi_info(info, out).map_err(|_| Error::Internal("HKDF refused a length"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;
    use std::vec::Vec;

    use serde_json::Value;

    fn bytes(value: &Value) -> Vec<u8> {
        let text = value.as_str().unwrap();
        (0..text.len() / 2).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap()).collect()
    }

    fn array<const N: usize>(value: &Value) -> [u8; N] {
        bytes(value).try_into().unwrap()
    }

    fn check<const N: usize>(secrets: &Value, name: &str, got: &Secret<N>) {
        let hex: String = got.expose().iter().map(|byte| std::format!("{byte:02x}")).collect();
        assert_eq!(hex, secrets[name], "{name}");
    }

    fn check_material(secrets: &Value, key: &str, iv: &str, traffic: &TrafficSecret) {
        let material = traffic.material().unwrap();
        let (got_key, got_iv) = material.expose().split_at(KEY_LEN);
        check::<32>(secrets, key, &Secret::take(&mut got_key.try_into().unwrap()));
        check::<12>(secrets, iv, &Secret::take(&mut got_iv.try_into().unwrap()));
    }

    // What is taken is what is exposed, to the key log and to tests.
    #[test]
    fn secrets_are_kept_as_they_are() {
        let bytes = core::array::from_fn(|i| i.to_le_bytes()[0]);
        assert_eq!(TrafficSecret::take(&mut bytes.clone()).expose(), &bytes);
        assert_eq!(ConfirmKey::take(&mut bytes.clone()).expose(), &bytes);
    }

    // [KS-1] Every value of the schedule is the one that another implementation computed.
    #[test]
    fn schedule_is_that_of_the_vectors() {
        let text = std::fs::read_to_string("tests/vectors/schedule.json").unwrap();
        let vectors: Value = serde_json::from_str(&text).unwrap();
        let mut whole = 0;
        for case in vectors["cases"].as_array().unwrap() {
            match case["flags"][0].as_str().unwrap() {
                "expand_label" => expand_label_case(case),
                "export" => export_case(case),
                "rekey" => rekey_case(case),
                _ => {}
            }
            let secrets = &case["secrets"];
            if secrets.is_null() {
                continue;
            }
            let (th_hello, th_final) = (array(&case["TH_hello"]), array(&case["TH_final"]));
            let network_key = case["network_key"].as_str().map(|_| &case["network_key"]);
            let network_key = network_key.map(|key| NetworkKey::take(&mut array(key)).unwrap());
            let early = EarlySecret::new(network_key.as_ref()).unwrap();
            check(secrets, "early_secret", &early.0);
            check(secrets, "network_tag_key", &early.network_tag_key().unwrap().0);
            let shared = bytes(&case["shared"]);
            let (mlkem, x25519) = shared.split_at(shared.len() - 32);
            let mlkem: Option<[u8; 32]> = mlkem.try_into().ok();
            let mlkem = mlkem.map(|mut secret| Secret::take(&mut secret));
            let x25519 = Secret::take(&mut x25519.try_into().unwrap());
            let secret = early.into_handshake(&SharedSecret::new(mlkem, &x25519)).unwrap();
            check(secrets, "handshake_secret", &secret.0);
            for (role, short) in [(Role::Initiator, "i"), (Role::Responder, "r")] {
                let traffic = secret.traffic(role, &th_hello).unwrap();
                check(secrets, &std::format!("hs_secret_{short}"), &traffic.0);
                check_material(secrets, &std::format!("hs_key_{short}"), &std::format!("hs_iv_{short}"), &traffic);
                check(secrets, &std::format!("confirm_key_{short}"), &secret.confirm(role, &th_hello).unwrap().0);
            }
            let master = secret.into_master().unwrap();
            check(secrets, "master_secret", &master.0);
            for (role, short) in [(Role::Initiator, "i"), (Role::Responder, "r")] {
                let traffic = master.traffic(role, &th_final).unwrap();
                check(secrets, &std::format!("traffic_secret_{short}"), &traffic.0);
                check_material(
                    secrets,
                    &std::format!("traffic_key_{short}"),
                    &std::format!("traffic_iv_{short}"),
                    &traffic,
                );
            }
            check(secrets, "exporter_secret", &master.exporter(&th_final).unwrap().0);
            check(secrets, "channel_binding", &Secret::take(&mut master.channel_binding(&th_final).unwrap()));
            check(secrets, "session_id", &Secret::take(&mut master.session_id(&th_final).unwrap()));
            whole += 1;
        }
        assert!(whole >= 3);
    }

    // [KS-2]
    fn export_case(case: &Value) {
        let exporter = Exporter(Secret::take(&mut array(&case["exporter_secret"])));
        let (label, context) = (bytes(&case["label"]), bytes(&case["context"]));
        let mut out = std::vec![0; usize::try_from(case["length"].as_u64().unwrap()).unwrap()];
        exporter.export(&label, &context, &mut out).unwrap();
        assert_eq!(out, bytes(&case["output"]));
    }

    // [KS-2] What the specification does not allow is refused.
    #[test]
    fn exports_have_limits() {
        let exporter = Exporter(Secret::take(&mut [1; 32]));
        let mut out = std::vec![0; MAX_EXPORT_LEN + 1];
        let bad = Err(Error::Misuse(Misuse::Export));
        assert_eq!(exporter.export(b"", b"", &mut out[..32]), bad);
        assert_eq!(exporter.export(&[b'x'; 256], b"", &mut out[..32]), bad);
        assert_eq!(exporter.export(b"x", &std::vec![0; 65_536], &mut out[..32]), bad);
        assert_eq!(exporter.export(b"x", b"", &mut []), bad);
        assert_eq!(exporter.export(b"x", b"", &mut out), bad);
        assert_eq!(exporter.export(&[b'x'; 255], &std::vec![0; 65_535], &mut out[..MAX_EXPORT_LEN]), Ok(()));
    }

    // [RK-1]
    fn rekey_case(case: &Value) {
        let secret = TrafficSecret::take(&mut array(&case["secret"]));
        let dh = Secret::take(&mut array(&case["dh"]));
        let next = secret.next(&array(&case["content"]), Some(&dh)).unwrap();
        check(case, "secret_after", &next.0);
        check_material(case, "key", "iv", &next);
        let none = secret.next(&array(&case["content"]), None).unwrap();
        let zeros = secret.next(&array(&case["content"]), Some(&Secret::take(&mut [0; 32]))).unwrap();
        assert_eq!(none.expose(), zeros.expose());
    }

    fn expand_label_case(case: &Value) {
        let secret = Secret::take(&mut array(&case["secret"]));
        let (label, ctx) = (case["label"].as_str().unwrap(), bytes(&case["ctx"]));
        match case["length"].as_u64().unwrap() {
            12 => check::<12>(case, "output", &expand_label(&secret, label, None, &ctx).unwrap()),
            16 => check::<16>(case, "output", &expand_label(&secret, label, None, &ctx).unwrap()),
            32 => check::<32>(case, "output", &expand_label(&secret, label, None, &ctx).unwrap()),
            255 => check::<255>(case, "output", &expand_label(&secret, label, None, &ctx).unwrap()),
            8160 => check::<8160>(case, "output", &expand_label(&secret, label, None, &ctx).unwrap()),
            length => panic!("length {length}"),
        }
    }
}
