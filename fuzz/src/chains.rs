//! Certificate chains, CAs and revocation lists (specification, section 7.1): those of `tests/vectors/x509.json`, edited, and arbitrary bytes.

use std::collections::HashSet;
use std::sync::LazyLock;
use std::time::Duration;

use countersign::error::Alert;
use countersign::identity::{CertificateChain, ChainError, Credential, Name, PublicKey};
use countersign::trust::{Authority, Decision, Direction, Pinned, Request, StaleCrl, Trust, TrustFile};
use serde_json::Value;

use super::parties::{self, now};
use super::reader::Reader;

/// Input: a byte of choices, the number of a case of the vectors, then edits of its chain and of its lists (see [`edit`]); or arbitrary bytes as
/// credential data, as PEM, or as a list.
///
/// A chain consists of the bytes that it was made of, in DER and in PEM, and its names print as what they are parsed from. Nobody but the CA that
/// has signed can make an authority accept: neither one with the same name and another key, nor a key in a trust file, nor a pinned key; and whatever is
/// accepted begins with a certificate of the vectors, byte by byte. Revocation lists only take away.
pub fn certificate_chain(data: &[u8]) {
    let mut reader = Reader::new(data);
    let choice = reader.u8();
    let case = &CASES[usize::from(reader.u16()) % CASES.len()];
    match choice & 7 {
        0 => chain_data(case, reader.rest(), choice),
        1 => pem(&String::from_utf8_lossy(reader.rest())),
        2 => with_list(case, &[reader.rest().to_vec()]),
        3 => {
            let mut lists = case.lists.clone();
            lists.iter_mut().for_each(|list| edit(list, &mut reader));
            with_list(case, &lists);
        }
        4 => {
            let mut cas = case.cas.clone();
            cas.iter_mut().for_each(|ca| edit(ca, &mut reader));
            pem(&cas.iter().map(|ca| armour("CERTIFICATE", ca)).collect::<String>());
        }
        _ => {
            let mut chain = case.chain.clone();
            // The order first: certificates of this case and of another, as often as is wanted.
            if choice & 8 != 0 {
                let other = &CASES[usize::from(reader.u16()) % CASES.len()];
                let all: Vec<&Vec<u8>> = case.chain.iter().chain(&case.cas).chain(&other.chain).collect();
                let len = usize::from(reader.u8() % 12);
                chain = (0..len).map(|_| all[usize::from(reader.u8()) % all.len()].clone()).collect();
            }
            chain.iter_mut().for_each(|certificate| edit(certificate, &mut reader));
            let mut data = framed(&chain);
            if choice & 16 != 0 {
                edit(&mut data, &mut reader);
            }
            chain_data(case, &data, choice);
        }
    }
}

/// A case of the vectors.
struct Case {
    chain: Vec<Vec<u8>>,
    cas: Vec<Vec<u8>>,
    lists: Vec<Vec<u8>>,
    time: Duration,
    stale: StaleCrl,
}

static CASES: LazyLock<Vec<Case>> = LazyLock::new(|| {
    let vectors: Value = serde_json::from_str(include_str!("../../tests/vectors/x509.json")).expect("JSON");
    let ders = |value: &Value| -> Vec<Vec<u8>> {
        value.as_array().into_iter().flatten().map(|hex| unhex(hex.as_str().expect("hexadecimal"))).collect()
    };
    let case = |case: &Value| Case {
        chain: ders(&case["chain"]),
        cas: ders(&case["cas"]),
        lists: ders(&case["crls"]),
        time: Duration::from_secs(case["time"].as_u64().expect("seconds")),
        stale: if case["stale_crl"] == Value::Bool(true) { StaleCrl::Warn } else { StaleCrl::Refuse },
    };
    vectors["cases"].as_array().expect("cases").iter().map(case).collect()
});

/// Every certificate and every list that somebody has signed.
static SIGNED: LazyLock<HashSet<&'static [u8]>> = LazyLock::new(|| {
    let all = CASES.iter().flat_map(|case| case.chain.iter().chain(&case.cas).chain(&case.lists));
    all.map(Vec::as_slice).collect()
});

fn unhex(text: &str) -> Vec<u8> {
    let pair = |pair: &[u8]| std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok());
    text.as_bytes().chunks(2).map(|bytes| pair(bytes).expect("hexadecimal")).collect()
}

/// How many edits, then each: what, where, and with what.
fn edit(bytes: &mut Vec<u8>, reader: &mut Reader<'_>) {
    for _ in 0..reader.u8() % 8 {
        let (what, place, with) = (reader.u8(), usize::from(reader.u16()), reader.u8());
        let place = place % (bytes.len() + 1);
        match what % 5 {
            0 if place < bytes.len() => bytes[place] ^= with,
            1 if place < bytes.len() => bytes[place] = with,
            2 => bytes.insert(place, with),
            3 => drop(bytes.drain(place..bytes.len().min(place + usize::from(with)))),
            _ => bytes.extend_from_slice(reader.take(usize::from(with))),
        }
    }
}

fn framed(certificates: &[Vec<u8>]) -> Vec<u8> {
    certificates.iter().fold(Vec::new(), |mut data, certificate| {
        data.extend(u16::try_from(certificate.len()).unwrap_or(u16::MAX).to_be_bytes());
        data.extend_from_slice(certificate);
        data
    })
}

/// Section 7.1: lengths of two bytes, each with a certificate behind it.
fn unframed(mut data: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut certificates = Vec::new();
    while !data.is_empty() {
        let (len, rest) = data.split_at_checked(2)?;
        let (certificate, rest) = rest.split_at_checked(usize::from(len[0]) << 8 | usize::from(len[1]))?;
        certificates.push(certificate.to_vec());
        data = rest;
    }
    Some(certificates)
}

/// Whatever bytes are a chain for, and what is thought of it.
fn chain_data(case: &Case, data: &[u8], choice: u8) {
    let Some(certificates) = unframed(data) else { return };
    let Ok(chain) = CertificateChain::from_der(certificates.clone()) else { return };
    assert!((1..=8).contains(&certificates.len()) && data.len() <= 16_384, "[ID-5]");
    assert!(chain.certificates().eq(certificates.iter().map(Vec::as_slice)));
    let text: String = certificates.iter().map(|certificate| armour("CERTIFICATE", certificate)).collect();
    assert_eq!(CertificateChain::from_pem(&text).as_ref(), Ok(&chain));
    assert_eq!(PublicKey::from_bytes(chain.public_key().as_bytes()).as_ref(), Ok(chain.public_key()));
    for name in chain.names() {
        assert_eq!(name.to_string().parse().as_ref(), Ok(name));
        assert!(matches!(name, Name::Ip(_)) || name.to_string().bytes().all(|byte| byte.is_ascii_graphic()), "{name}");
    }
    assert!(format!("{chain:?}").len() < 200 + 2 * data.len());

    let direction = if choice & 32 == 0 { Direction::Inbound } else { Direction::Outbound };
    let request = Request::new(Credential::X509(chain), "echo".into(), None, direction);
    let stranger = parties::stranger().public_key();
    let foreign = case.cas.iter().filter_map(|ca| of_stranger(ca, &stranger));
    let foreign: Vec<Authority> = foreign.filter_map(|pem| Authority::from_pem(&pem).ok()).collect();
    let line = TrustFile::parse(&format!("cert-authority {stranger}\n{stranger}")).expect("a trust file");
    let pinned = Pinned::new([stranger.into()]);
    let text: String = case.cas.iter().map(|ca| armour("CERTIFICATE", ca)).collect();
    let own = Authority::from_pem(&text).map(|own| own.stale_crl(case.stale)).ok();
    let ends = request.clone();
    let Credential::X509(chain) = &ends.credential else { return };
    let end = chain.not_after();
    for time in [Some(case.time), None, Some(end), Some(end + Duration::from_secs(1)), Some(Duration::ZERO)] {
        let request = time.map_or(request.clone(), |time| request.clone().at(time));
        for foreign in &foreign {
            assert!(!ask(foreign, &request).is_accept(), "a CA that has not signed");
        }
        assert!(!ask(&line, &request).is_accept(), "a key in a trust file that has not signed");
        assert!(!ask(&pinned, &request).is_accept(), "a pinned key that has not signed");
        let Some(Decision::Accept(grant)) = own.as_ref().map(|own| ask(own, &request)) else { continue };
        let time = time.expect("nothing is valid without a clock");
        assert!(SIGNED.contains(&*certificates[0]), "nobody has signed this");
        assert_eq!(grant.names, chain.names());
        assert!(grant.until.is_some_and(|until| until > time), "{grant:?} at {time:?}");
        assert!(grant.predecessor.is_none() && grant.rule.contains(chain.serial()));
    }
}

/// The certificate of a CA with another key in it: an authority takes name and key of it, and asks for no signature.
fn of_stranger(ca: &[u8], stranger: &PublicKey) -> Option<String> {
    with_key(ca, stranger).map(|ca| armour("CERTIFICATE", &ca))
}

/// A certificate with another Ed25519 key in the place of its own.
fn with_key(certificate: &[u8], key: &PublicKey) -> Option<Vec<u8>> {
    let start = [0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    let place = certificate.windows(start.len()).position(|bytes| bytes == start)? + start.len();
    let mut patched = certificate.to_vec();
    patched.get_mut(place..place + 32)?.copy_from_slice(key.as_bytes());
    Some(patched)
}

/// What somebody with this key presents: a chain of the vectors whose first certificate has the key in it, edited. Whether a CA has signed it is for
/// trust to say, and not for the handshake.
pub(super) fn presented(key: &PublicKey, reader: &mut Reader<'_>) -> Vec<u8> {
    let mut chain = CASES[usize::from(reader.u8()) % CASES.len()].chain.clone();
    let patched = chain.first().and_then(|leaf| with_key(leaf, key));
    patched.into_iter().for_each(|leaf| chain[0] = leaf);
    chain.iter_mut().for_each(|certificate| edit(certificate, reader));
    let mut data = framed(&chain);
    edit(&mut data, reader);
    data
}

/// The key that credential data of certificates is for, or the alert that it deserves ([ID-4] to [ID-7]).
pub(super) fn certified_key(data: &[u8]) -> Result<[u8; 32], Alert> {
    let certificates = unframed(data).ok_or(Alert::Malformed)?;
    match CertificateChain::from_der(certificates) {
        Ok(chain) => Ok(*chain.public_key().as_bytes()),
        Err(ChainError::Weak) => Err(Alert::Refused),
        Err(_) => Err(Alert::Malformed),
    }
}

fn pem(text: &str) {
    let begun = text.matches("BEGIN CERTIFICATE").count();
    if let Ok(chain) = CertificateChain::from_pem(text) {
        assert!((1..=begun).contains(&chain.certificates().count()));
        let printed: String = chain.certificates().map(|one| armour("CERTIFICATE", one)).collect();
        assert_eq!(CertificateChain::from_pem(&printed), Ok(chain));
    }
    let Ok(authority) = Authority::from_pem(text) else { return };
    assert!((1..=begun).contains(&authority.len()) && !authority.is_empty() && authority.revoked() == 0);
    let key = Credential::RawKey(parties::stranger().public_key());
    let request = Request::new(key, String::new(), None, Direction::Inbound).at(Duration::from_secs(1_800_000_000));
    assert!(!ask(&authority, &request).is_accept(), "a raw key");
}

/// An authority with lists accepts nobody whom it refuses without them; and takes no list in the name of a CA of its own that it has not signed.
fn with_list(case: &Case, lists: &[Vec<u8>]) {
    let text: String = case.cas.iter().map(|ca| armour("CERTIFICATE", ca)).collect();
    let authority = || Authority::from_pem(&text).map(|authority| authority.stale_crl(case.stale));
    let (Ok(without), Ok(mut with)) = (authority(), authority()) else { return };
    for list in lists {
        let Ok(more) = authority().and_then(|authority| authority.with_crl(list)) else { continue };
        let revoked = more.revoked();
        if list.first() == Some(&0x30) {
            let armoured = authority().and_then(|authority| authority.with_crl(armour("X509 CRL", list).as_bytes()));
            assert_eq!(armoured.expect("the same list").revoked(), revoked);
            let is_signed = SIGNED.contains(list.as_slice());
            assert!(is_signed || !has_name_of(list, &case.cas), "a list that its CA has not signed");
        }
        with = with.with_crl(list).expect("it was taken before");
    }
    let Ok(chain) = CertificateChain::from_der(case.chain.clone()) else { return };
    for direction in [Direction::Inbound, Direction::Outbound] {
        let request = Request::new(Credential::X509(chain.clone()), String::new(), None, direction).at(case.time);
        let decision = ask(&with, &request);
        assert!(!decision.is_accept() || ask(&without, &request).is_accept(), "{decision:?}");
    }
}

/// Whether the issuer of a list is the subject of one of these: the first name behind the algorithm, and any name in the CA.
fn has_name_of(list: &[u8], cas: &[Vec<u8>]) -> bool {
    let issuer = || {
        let tbs = inside(inside(list)?.0)?.0;
        let mut rest = tbs;
        // A version stands before the algorithm.
        if rest.first() == Some(&0x02) {
            rest = inside(rest)?.1;
        }
        rest = inside(rest)?.1;
        let after = inside(rest)?.1;
        rest.get(..rest.len() - after.len())
    };
    let Some(issuer) = issuer() else { return false };
    let subject = |ca: &[u8]| -> Option<bool> {
        let mut rest = inside(inside(ca)?.0)?.0;
        let skipped = if rest.first() == Some(&0xA0) { 5 } else { 4 };
        for _ in 0..skipped {
            rest = inside(rest)?.1;
        }
        Some(rest.starts_with(issuer))
    };
    cas.iter().any(|ca| subject(ca) == Some(true))
}

/// The content of the first element, and what follows it.
fn inside(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = der.get(1..)?.split_first()?;
    let (len, rest) = match first {
        0..=0x7F => (usize::from(first), rest),
        0x81..=0x83 => {
            let (len, rest) = rest.split_at_checked(usize::from(first & 3))?;
            (len.iter().fold(0, |len, byte| len << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(len)
}

fn ask(trust: &dyn Trust, request: &Request) -> Decision {
    now(trust.decide(request))
}

fn armour(label: &str, inside: &[u8]) -> String {
    super::identities::armour(label, inside, 64)
}
