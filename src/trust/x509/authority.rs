//! Trust in whom CAs vouch for.

use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use webpki::{CertRevocationList, ExpirationPolicy};

use crate::error::Reason;
use crate::identity::{CertificateChain, Credential};
use crate::trust::decision::{Decision, DecisionFuture, Grant, Request, Trust};
use crate::trust::x509::anchor::Anchor;
use crate::trust::x509::crl::Crl;
use crate::trust::x509::fault::Fault;
use crate::trust::x509::load::{AuthorityError, Cause};
use crate::trust::x509::path::{Check, NO_CLOCK, usage};

/// Trusts whoever presents a certificate that leads to one of its CAs, is valid now, is for this use, and is not revoked; for every
/// service, in both directions. Narrow it with [`TrustExt::when`](crate::trust::TrustExt::when).
///
/// With revocation lists, every certificate of a chain needs a list of its issuer, as in other servers.
#[derive(Debug)]
pub struct Authority {
    pub(super) anchors: Vec<Anchor>,
    pub(super) crls: Vec<Crl>,
    stale: StaleCrl,
}

/// What becomes of peers when the revocation list of their issuer is past its next update.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StaleCrl {
    /// Nobody is accepted before there is a new one.
    #[default]
    Refuse,
    /// It is used all the same; the rule of each decision says that it is out of date.
    Warn,
}

impl Authority {
    /// Trusts the CAs whose certificates are in `pem`, without revocation lists.
    ///
    /// # Errors
    /// [`AuthorityError`] for one that is damaged or not that of a CA, or if there is none.
    pub fn from_pem(pem: &str) -> Result<Self, AuthorityError> {
        Self::parse(pem.as_bytes()).map_err(|cause| AuthorityError { path: None, cause })
    }

    /// The same with revocation lists, in PEM or DER.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub fn with_crl(mut self, bytes: &[u8]) -> Result<Self, AuthorityError> {
        let lists = Crl::parse(bytes, &self.anchors);
        self.crls.extend(lists.map_err(|fault| AuthorityError { path: None, cause: Cause::Crl(fault) })?);
        Ok(self)
    }

    /// Says what a revocation list is worth after its next update.
    #[must_use]
    pub fn stale_crl(mut self, stale: StaleCrl) -> Self {
        self.stale = stale;
        self
    }

    /// How many CAs it knows.
    pub fn len(&self) -> usize {
        self.anchors.len()
    }

    /// Whether it knows none; never.
    pub fn is_empty(&self) -> bool {
        self.anchors.is_empty()
    }

    /// How many certificates its lists revoke.
    pub fn revoked(&self) -> usize {
        self.crls.iter().map(|crl| crl.revoked).sum()
    }

    pub(super) fn parse(pem: &[u8]) -> Result<Self, Cause> {
        let mut anchors = Vec::new();
        for (index, certificate) in CertificateDer::pem_slice_iter(pem).enumerate() {
            let certificate = certificate.map_err(|error| Cause::Pem(error.to_string()))?;
            anchors.push(Anchor::new(&certificate).map_err(|fault| Cause::Certificate(index + 1, fault))?);
        }
        if anchors.is_empty() {
            return Err(Cause::Empty);
        }
        Ok(Authority { anchors, crls: Vec::new(), stale: StaleCrl::default() })
    }

    fn check(&self, chain: &CertificateChain, request: &Request) -> Result<Grant, (Fault, String)> {
        let time = request.time.ok_or_else(|| (Fault::NotValidYet, String::from(NO_CLOCK)))?;
        let crls: Vec<&CertRevocationList<'_>> = self.crls.iter().map(|crl| &crl.list).collect();
        let stale_crls = match self.stale {
            StaleCrl::Refuse => ExpirationPolicy::Enforce,
            StaleCrl::Warn => ExpirationPolicy::Ignore,
        };
        let check = Check { anchors: &self.anchors, crls: &crls, stale_crls, usage: usage(request.direction), time };
        let verified = check.run(chain).map_err(|fault| (fault, String::new()))?;
        let mut rule = format!("certificate {} by the CA {}", chain.serial(), verified.ca);
        let mut grant = Grant { names: chain.names().to_vec(), until: Some(verified.until), ..Grant::default() };
        for crl in &self.crls {
            match self.stale {
                StaleCrl::Refuse => grant.limit(crl.next_update),
                StaleCrl::Warn if crl.next_update < time => {
                    rule.push_str(&format!("; WARNING: the revocation list of {} is out of date", crl.issuer));
                }
                StaleCrl::Warn => {}
            }
        }
        grant.rule = rule;
        Ok(grant)
    }
}

impl Trust for Authority {
    fn decide<'a>(&'a self, request: &'a Request) -> DecisionFuture<'a> {
        let Credential::X509(chain) = &request.credential else {
            return Decision::not_trusted().because("it presents no certificate").ready();
        };
        match self.check(chain, request) {
            Ok(grant) => Decision::Accept(grant).ready(),
            Err((fault, more)) => {
                let issuer = chain.facts().last().map_or("", |facts| facts.issuer_name.as_str());
                let rule = format!("certificate {} issued by {issuer}: {fault}{more}", chain.serial());
                Decision::refuse(Reason::NotTrusted, &fault.to_string()).because(rule).ready()
            }
        }
    }
}
