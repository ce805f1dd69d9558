//! Revocation lists (RFC 5280, section 5).

use core::time::Duration;
use std::string::{String, ToString};
use std::vec::Vec;

use rustls_pki_types::CertificateRevocationListDer;
use rustls_pki_types::pem::PemObject;
use webpki::{CertRevocationList, OwnedCertRevocationList};
use x509_cert::crl::CertificateList;
use x509_cert::der::asn1::{AnyRef, BitStringRef};
use x509_cert::der::{Decode, Encode, Reader, SliceReader};

use crate::identity::Facts;
use crate::trust::x509::algorithms;
use crate::trust::x509::anchor::Anchor;

/// A list, and what webpki does not tell of it.
#[derive(Debug)]
pub(super) struct Crl {
    pub(super) list: CertRevocationList<'static>,
    pub(super) issuer: String,
    /// Its name in DER.
    pub(super) issuer_der: Vec<u8>,
    /// The CAs that we know, by their numbers, that have its name and have signed it.
    signers: Vec<usize>,
    /// All of it, to be checked with the key of a CA between.
    der: Vec<u8>,
    pub(super) next_update: Duration,
    pub(super) revoked: usize,
}

/// Who issued a certificate on a path.
#[derive(Clone, Copy, Debug)]
pub(super) enum Issuer<'a> {
    /// A CA that we know, by its number.
    Known(usize),
    /// The one that this certificate is of.
    Between(&'a Facts),
}

/// Why a file is not a revocation list of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NoCrl {
    /// There is none in it.
    Missing,
    Damaged(String),
    /// It has the name of a CA of ours and not its signature.
    Forged(String),
}

impl Crl {
    /// The lists in PEM or DER.
    pub(super) fn parse(bytes: &[u8], anchors: &[Anchor]) -> Result<Vec<Self>, NoCrl> {
        let lists = if bytes.first() == Some(&0x30) {
            Vec::from([CertificateRevocationListDer::from(bytes)])
        } else {
            let pem: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(bytes).collect();
            pem.map_err(|error| NoCrl::Damaged(error.to_string()))?
        };
        if lists.is_empty() {
            return Err(NoCrl::Missing);
        }
        lists.iter().map(|der| Self::new(der, anchors)).collect()
    }

    /// Whether it says which certificates of this issuer are revoked: it has his name, given in DER, and his signature.
    pub(super) fn is_by(&self, name: &[u8], issuer: Issuer<'_>) -> bool {
        self.issuer_der == name
            && match issuer {
                Issuer::Known(number) => self.signers.contains(&number),
                Issuer::Between(facts) => {
                    let key_info = AnyRef::try_from(facts.key_info.as_slice());
                    facts.may_revoke && key_info.is_ok_and(|key_info| is_signed_by(&self.der, key_info.value()))
                }
            }
    }

    fn new(der: &[u8], anchors: &[Anchor]) -> Result<Self, NoCrl> {
        let list: CertRevocationList<'static> =
            OwnedCertRevocationList::from_der(der).map_err(|error| NoCrl::Damaged(explain(&error, der)))?.into();
        let damaged = |_| NoCrl::Damaged("it can't be parsed".into());
        let parsed = CertificateList::<x509_cert::certificate::Rfc5280>::from_der(der).map_err(damaged)?;
        let tbs = &parsed.tbs_cert_list;
        let issuer = tbs.issuer.to_string();
        let issuer_der = tbs.issuer.to_der().map_err(damaged)?;
        let name = AnyRef::try_from(issuer_der.as_slice()).map_err(damaged)?;
        let mut ours =
            anchors.iter().enumerate().filter(|(_, anchor)| *anchor.anchor.subject == *name.value()).peekable();
        let is_ours = ours.peek().is_some();
        let is_signer =
            |anchor: &Anchor| anchor.signs_lists && is_signed_by(der, &anchor.anchor.subject_public_key_info);
        let signers: Vec<usize> = ours.filter(|(_, anchor)| is_signer(anchor)).map(|(index, _)| index).collect();
        if is_ours && signers.is_empty() {
            return Err(NoCrl::Forged(issuer));
        }
        if list.issuing_distribution_point().is_some() {
            return Err(NoCrl::Damaged("it is about a part of the certificates only: give the whole one".into()));
        }
        Ok(Crl {
            list,
            issuer,
            issuer_der,
            signers,
            der: der.to_vec(),
            next_update: tbs.next_update.as_ref().map_or(Duration::MAX, |time| time.to_unix_duration()),
            revoked: tbs.revoked_certificates.as_ref().map_or(0, Vec::len),
        })
    }
}

/// Whether a list is signed by the key of a subject public key info, of which this is the content.
fn is_signed_by(der: &[u8], key_info: &[u8]) -> bool {
    let parts = || -> x509_cert::der::Result<bool> {
        let whole = AnyRef::from_der(der)?;
        let mut reader = SliceReader::new(whole.value())?;
        let signed = reader.tlv_bytes()?;
        let algorithm = AnyRef::decode(&mut reader)?;
        let signature = BitStringRef::decode(&mut reader)?;
        Ok(algorithms::verify(key_info, algorithm.value(), signed, signature.as_bytes().unwrap_or_default()))
    };
    parts().unwrap_or(false)
}

/// A list of version 1 does not say so: it begins with the algorithm where others have their version.
fn is_version_1(der: &[u8]) -> bool {
    let signed = |whole: AnyRef<'_>| -> x509_cert::der::Result<bool> {
        let mut reader = SliceReader::new(whole.value())?;
        Ok(AnyRef::decode(&mut reader)?.value().first() == Some(&SEQUENCE))
    };
    AnyRef::from_der(der).and_then(signed).unwrap_or(false)
}

fn explain(error: &webpki::Error, der: &[u8]) -> String {
    match error {
        error if is_version_1(der) || *error == webpki::Error::UnsupportedCrlVersion => {
            "it is of version 1: have its CA write version 2, with a CRL number (openssl: `crl_extensions`)".into()
        }
        webpki::Error::UnsupportedDeltaCrl => "delta lists are not supported: give the whole one".into(),
        webpki::Error::UnsupportedIndirectCrl => "indirect lists are not supported".into(),
        webpki::Error::BadDer => "it is damaged".into(),
        error => std::format!("{error}"),
    }
}

const SEQUENCE: u8 = 0x30;
