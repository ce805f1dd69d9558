//! Why a chain is not accepted, for people: the peer, which has proved its key, hears the short form.

use std::fmt;

use webpki::Error;

use crate::identity::CertificateChain;
use crate::trust::x509::anchor::Anchor;
use crate::trust::x509::path::NO_CLOCK;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Algorithm,
    CrlExpired,
    CrlSignature,
    Damaged,
    Expired,
    KeyUsage,
    Names,
    NoClock,
    NotValidYet,
    PathLen,
    Purpose,
    Revoked,
    Signature,
    TooMuch,
    UnknownCritical,
    UnknownIssuer,
    UnknownStatus,
}

impl Fault {
    /// The fault that says more: that of a CA whose name is in the chain, over one of a CA that has nothing to do with it.
    pub(super) fn or(self, other: Fault, chain: &CertificateChain, anchor: &Anchor) -> Fault {
        let subject: &[u8] = &anchor.anchor.subject;
        let named = chain.facts().iter().any(|facts| facts.issuer.ends_with(subject));
        if named && other != Fault::UnknownIssuer { other } else { self }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        match error {
            Error::CertExpired { .. } => Fault::Expired,
            Error::CertNotValidYet { .. } => Fault::NotValidYet,
            Error::CertRevoked => Fault::Revoked,
            Error::CrlExpired { .. } => Fault::CrlExpired,
            Error::InvalidCrlSignatureForPublicKey
            | Error::IssuerNotCrlSigner
            | Error::UnsupportedCrlSignatureAlgorithmContext(_) => Fault::CrlSignature,
            Error::InvalidSignatureForPublicKey => Fault::Signature,
            Error::MaximumNameConstraintComparisonsExceeded
            | Error::MaximumPathBuildCallsExceeded
            | Error::MaximumPathDepthExceeded
            | Error::MaximumSignatureChecksExceeded => Fault::TooMuch,
            Error::NameConstraintViolation | Error::MalformedNameConstraint => Fault::Names,
            Error::PathLenConstraintViolated => Fault::PathLen,
            Error::CaUsedAsEndEntity | Error::EndEntityUsedAsCa => Fault::KeyUsage,
            Error::RequiredEkuNotFoundContext(_) | Error::EmptyEkuExtension => Fault::Purpose,
            Error::UnknownIssuer => Fault::UnknownIssuer,
            Error::UnknownRevocationStatus => Fault::UnknownStatus,
            Error::UnsupportedCriticalExtension => Fault::UnknownCritical,
            Error::UnsupportedSignatureAlgorithmContext(_)
            | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_)
            | Error::SignatureAlgorithmMismatch => Fault::Algorithm,
            _ => Fault::Damaged,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fault::Algorithm => "a signature of a kind that is not accepted",
            Fault::CrlExpired => "the revocation list of its issuer is out of date",
            Fault::CrlSignature => "the revocation list with the name of its issuer is not signed by it",
            Fault::Damaged => "certificate damaged",
            Fault::Expired => "certificate expired",
            Fault::KeyUsage => "a certificate is not for this use: key usage, or a CA in the place of a peer",
            Fault::Names => "a name that its issuer may not give",
            Fault::NoClock => NO_CLOCK,
            Fault::NotValidYet => "certificate not valid yet",
            Fault::PathLen => "more CAs in between than allowed",
            Fault::Purpose => "extended key usage: not for clients (if it called) or servers (if we did)",
            Fault::Revoked => "certificate revoked",
            Fault::Signature => "a signature that does not verify",
            Fault::TooMuch => "too costly to check",
            Fault::UnknownCritical => "a critical extension that is not known here",
            Fault::UnknownIssuer => "not issued by a CA that is trusted here",
            Fault::UnknownStatus => "no revocation list of its issuer is there",
        })
    }
}
