//! Trust in whom CAs vouch for.

use core::time::Duration;

use std::format;
use std::string::ToString;
use std::vec::Vec;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use webpki::ExpirationPolicy;

use crate::error::Reason;
use crate::identity::{CertificateChain, Credential};
use crate::trust::decision::{Decision, DecisionFuture, Grant, Request, Trust};
use crate::trust::x509::anchor::Anchor;
use crate::trust::x509::crl::Crl;
use crate::trust::x509::fault::Fault;
use crate::trust::x509::load::{AuthorityError, Cause};
use crate::trust::x509::path::{Check, Issuers, Verified, usage};

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

impl StaleCrl {
    fn policy(self) -> ExpirationPolicy {
        match self {
            StaleCrl::Refuse => ExpirationPolicy::Enforce,
            StaleCrl::Warn => ExpirationPolicy::Ignore,
        }
    }
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

    /// The grant by the first CA that a path leads to; or what is wrong with the path that came furthest.
    fn check(&self, chain: &CertificateChain, request: &Request) -> Result<Grant, Fault> {
        let time = request.time.ok_or(Fault::NoClock)?;
        let mut fault = Fault::UnknownIssuer;
        for (index, anchor) in self.anchors.iter().enumerate() {
            let mut crls: Vec<&Crl> = self.crls.iter().filter(|crl| crl.is_for(index)).collect();
            // Of several by one issuer webpki takes the first.
            crls.sort_by_key(|crl| core::cmp::Reverse(crl.next_update));
            let (stale_crls, usage) = (self.stale.policy(), usage(request.direction));
            // A side that has lists wants one of each CA, also of one that has none.
            if crls.is_empty() && !self.crls.is_empty() {
                fault = fault.or(Fault::UnknownStatus, chain, anchor);
                continue;
            }
            match (Check { anchor, crls: &crls, stale_crls, usage, time }).run(chain, Issuers::Certify) {
                Ok(verified) => return Ok(self.grant(chain, anchor, &verified, &crls, time)),
                Err(other) => fault = fault.or(other, chain, anchor),
            }
        }
        Err(fault)
    }

    fn grant(
        &self,
        chain: &CertificateChain,
        anchor: &Anchor,
        verified: &Verified,
        crls: &[&Crl],
        time: Duration,
    ) -> Grant {
        let mut rule = format!("certificate {} by the CA {}", chain.serial(), anchor.subject);
        let mut grant = Grant { names: chain.names().to_vec(), until: Some(verified.until), ..Grant::default() };
        // The newest list of each issuer on the path.
        for facts in chain.facts().iter().take(verified.used) {
            let Some(crl) = crls.iter().find(|crl| crl.issuer_der == facts.issuer) else { continue };
            if crl.next_update > time {
                grant.limit(crl.next_update);
            } else {
                rule.push_str(&format!("; WARNING: the revocation list of {} is out of date", crl.issuer));
            }
        }
        grant.rule = rule;
        grant
    }
}

impl Trust for Authority {
    fn decide<'a>(&'a self, request: &'a Request) -> DecisionFuture<'a> {
        let Credential::X509(chain) = &request.credential else {
            return Decision::not_trusted().because("it presents no certificate").ready();
        };
        match self.check(chain, request) {
            Ok(grant) => Decision::Accept(grant).ready(),
            Err(fault) => {
                let rule = format!("certificate {} issued by {}: {fault}", chain.serial(), chain.last_issuer());
                Decision::refuse(Reason::NotTrusted, &fault.to_string()).because(rule).ready()
            }
        }
    }
}
