//! Trust in whom CAs vouch for.

use core::time::Duration;

use std::format;
use std::string::ToString;
use std::vec::Vec;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::error::Reason;
use crate::identity::{CertificateChain, Credential};
use crate::trust::decision::{Decision, DecisionFuture, Direction, Grant, Request, Trust};
use crate::trust::x509::anchor::Anchor;
use crate::trust::x509::cache::{Cache, Path};
use crate::trust::x509::crl::{Crl, Issuer};
use crate::trust::x509::fault::Fault;
use crate::trust::x509::load::{AuthorityError, Cause};
use crate::trust::x509::path::{Check, Issuers, usage};

/// Trusts whoever presents a certificate that leads to one of its CAs, is valid now, is for this use, and is not revoked; for every
/// service, in both directions. Narrow it with [`TrustExt::when`](crate::trust::TrustExt::when).
///
/// Paths that were found are remembered, some thousands of them: a peer that comes again, or is asked about again, costs no signature. With revocation lists, every certificate of a chain needs a list of its issuer, as in other servers.
#[derive(Debug)]
pub struct Authority {
    pub(super) anchors: Vec<Anchor>,
    pub(super) crls: Vec<Crl>,
    stale: StaleCrl,
    cache: Cache,
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
        self.cache = Cache::default();
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
        Ok(Authority { anchors, crls: Vec::new(), stale: StaleCrl::default(), cache: Cache::default() })
    }

    /// The grant by the first CA that a path leads to with nothing revoked; or what is wrong with the path that came furthest.
    fn check(&self, chain: &CertificateChain, request: &Request) -> Result<Grant, Fault> {
        let time = request.time.ok_or(Fault::NoClock)?;
        let paths = match self.cache.find(chain, request.direction, time) {
            Some(paths) => paths,
            None => self.cache.keep(chain, request.direction, self.find_paths(chain, request.direction, time)?),
        };
        let mut fault = None;
        for path in paths.iter() {
            let subject = self.anchors.get(path.anchor).map_or("", |anchor| &*anchor.subject);
            let rule = format!("certificate {} by the CA {subject}", chain.serial());
            let (names, until) = (chain.names().to_vec(), Some(path.verified.until));
            let mut grant = Grant { names, until, rule, ..Grant::default() };
            match self.check_revocation(chain, path, time, &mut grant) {
                Ok(()) => return Ok(grant),
                Err(other) => fault = fault.or(Some(other)),
            }
        }
        Err(fault.unwrap_or(Fault::UnknownIssuer))
    }

    /// One path to each of the CAs that there is one to.
    fn find_paths(&self, chain: &CertificateChain, direction: Direction, time: Duration) -> Result<Vec<Path>, Fault> {
        let mut fault = Fault::UnknownIssuer;
        let mut paths = Vec::new();
        for (number, anchor) in self.anchors.iter().enumerate() {
            match (Check { anchor, usage: usage(direction), time }).run(chain, Issuers::Certify) {
                Ok(verified) => {
                    let lists = self.lists(chain, number, verified.serials.len());
                    paths.push(Path { anchor: number, verified, lists });
                }
                Err(other) => fault = fault.or(other, chain, anchor),
            }
        }
        if paths.is_empty() { Err(fault) } else { Ok(paths) }
    }

    /// For each certificate of a path, the numbers of the lists by its issuer.
    fn lists(&self, chain: &CertificateChain, anchor: usize, len: usize) -> Vec<Vec<usize>> {
        let facts = chain.facts();
        let of = |index: usize| {
            let between = facts.get(index + 1).filter(|_| index + 1 < len);
            let issuer = between.map_or(Issuer::Known(anchor), Issuer::Between);
            let name = facts.get(index).map(|facts| facts.issuer.as_slice()).unwrap_or_default();
            let lists = self.crls.iter().enumerate().filter(|(_, crl)| crl.is_by(name, issuer));
            lists.map(|(index, _)| index).collect()
        };
        (0..len).map(of).collect()
    }

    /// Where there are lists, each certificate needs one of its issuer that is up to date, and is on none.
    fn check_revocation(
        &self,
        chain: &CertificateChain,
        path: &Path,
        time: Duration,
        grant: &mut Grant,
    ) -> Result<(), Fault> {
        if self.crls.is_empty() {
            return Ok(());
        }
        let mut stale = None;
        for ((serial, lists), facts) in path.verified.serials.iter().zip(&path.lists).zip(chain.facts()) {
            let lists = || lists.iter().filter_map(|index| self.crls.get(*index));
            for crl in lists() {
                if crl.list.find_serial(serial).map_err(Fault::from)?.is_some() {
                    return Err(Fault::Revoked);
                }
            }
            let named = self.crls.iter().any(|crl| crl.issuer_der == facts.issuer);
            let missing = if named { Fault::CrlSignature } else { Fault::UnknownStatus };
            let newest = lists().max_by_key(|crl| crl.next_update).ok_or(missing)?;
            if newest.next_update > time {
                grant.limit(newest.next_update);
            } else {
                stale = stale.or(Some(newest));
            }
        }
        match (stale, self.stale) {
            (None, _) => Ok(()),
            (Some(_), StaleCrl::Refuse) => Err(Fault::CrlExpired),
            (Some(crl), StaleCrl::Warn) => {
                let warning = format!("; WARNING: the revocation list of {} is out of date", crl.issuer);
                grant.rule.push_str(&warning);
                Ok(())
            }
        }
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
