//! The files of an [`Authority`], and what can be wrong with them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::string::String;

use crate::trust::load::{Unreadable, read_guarded};
use crate::trust::x509::anchor::NoAnchor;
use crate::trust::x509::authority::Authority;
use crate::trust::x509::crl::{Crl, NoCrl};

/// Why there is no [`Authority`].
#[derive(Debug)]
pub struct AuthorityError {
    pub(super) path: Option<PathBuf>,
    pub(super) cause: Cause,
}

#[derive(Debug)]
pub(super) enum Cause {
    File(Unreadable),
    Empty,
    Certificate(usize, NoAnchor),
    Pem(String),
    Crl(NoCrl),
}

impl Authority {
    /// Loads the certificates of CAs from a PEM file, and revocation lists from others (PEM or DER).
    ///
    /// # Errors
    /// [`AuthorityError`]; also for a file that everybody can write, and for a list with the name of one of the CAs but not its signature.
    pub fn open<P: AsRef<Path>>(
        ca: impl AsRef<Path>,
        crls: impl IntoIterator<Item = P>,
    ) -> Result<Self, AuthorityError> {
        let with = |path: &Path, cause| AuthorityError { path: Some(path.into()), cause };
        let path = ca.as_ref();
        let bytes = read_guarded(path).map_err(|cause| with(path, Cause::File(cause)))?;
        let mut authority = Self::parse(&bytes).map_err(|cause| with(path, cause))?;
        for path in crls {
            let path = path.as_ref();
            let bytes = read_guarded(path).map_err(|cause| with(path, Cause::File(cause)))?;
            let lists = Crl::parse(&bytes, &authority.anchors).map_err(|fault| with(path, Cause::Crl(fault)))?;
            authority.crls.extend(lists);
        }
        Ok(authority)
    }
}

impl std::error::Error for AuthorityError {}

impl fmt::Display for AuthorityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(path) = &self.path {
            write!(f, "{}: ", path.display())?;
        }
        match &self.cause {
            Cause::File(Unreadable::Io(error)) => error.fmt(f),
            Cause::Empty => {
                f.write_str("expected the certificate of a CA (`-----BEGIN CERTIFICATE-----`), and there is none")
            }
            Cause::Certificate(number, NoAnchor::Damaged) => write!(f, "certificate {number} is damaged"),
            Cause::Certificate(number, NoAnchor::NotACa) => {
                write!(f, "certificate {number} is not that of a CA: give the certificate that issued it")
            }
            Cause::Pem(error) => write!(f, "damaged PEM: {error}"),
            Cause::Crl(NoCrl::Missing) => {
                f.write_str("expected a revocation list (`-----BEGIN X509 CRL-----`, or DER), and there is none")
            }
            Cause::Crl(NoCrl::Damaged(why)) => write!(f, "not a usable revocation list: {why}"),
            Cause::Crl(NoCrl::Forged(issuer)) => {
                write!(f, "this revocation list has the name of the CA {issuer}, but that CA's key did not sign it")
            }
            Cause::File(Unreadable::Writable(mode)) => {
                write!(f, "anyone can write this file (permissions {mode:04o}): run `chmod o-w` on it")
            }
        }
    }
}
