//! Our own certificate, and the CAs of others.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use countersign::identity::{CertificateChain, Certified, Signer};
use countersign::trust::{Authority, StaleCrl};

use crate::args::{CertArgs, SelfArgs, Stale};
use crate::ca::moment::Moment;
use crate::keys::quiet_identity;
use crate::log;
use crate::report::{IO, Report};
use crate::watch::{Watched, watch};

/// Reads a chain.
pub fn load_chain(path: &Path) -> Result<CertificateChain, Report> {
    let text = fs::read_to_string(path)
        .map_err(|error| Report::new(IO, format!("can't read the certificate {}: {error}", path.display()), ISSUE))?;
    CertificateChain::from_pem(&text)
        .map_err(|error| Report::new(IO, format!("can't use the certificate {}: {error}", path.display()), ISSUE))
}

/// Who signs for us and what is presented: key and certificate are loaded again when they change.
pub fn signer(own: &SelfArgs, cert: &CertArgs) -> Result<(Arc<dyn Signer>, Vec<Watched>), Report> {
    let fixed = own.settings.signer(&own.identity)?;
    if let Some(cert) = &cert.cert {
        certified(fixed.clone(), cert)?;
    }
    // A key in an agent, or one whose passphrase was typed, can't be loaded again; its certificate can.
    let passphrase = own.settings.passphrase_file.clone();
    let again = !own.in_agent() && quiet_identity(&own.identity, passphrase.as_deref()).is_ok();
    match (again, &cert.cert) {
        (false, None) => Ok((fixed, Vec::new())),
        (false, Some(cert)) => {
            let path = cert.clone();
            let load = move || Ok(still_valid(fixed.clone(), &path).map_err(|report| report.to_string())?);
            let (reload, watched) = watch("certificate", vec![cert.clone()], load)?;
            Ok((Arc::new(reload), vec![watched]))
        }
        (true, cert) => {
            let (identity, cert) = (own.identity.clone(), cert.clone());
            let files: Vec<PathBuf> = [Some(identity.clone()), cert.clone()].into_iter().flatten().collect();
            let load = move || -> Result<Arc<dyn Signer>, _> {
                let key = quiet_identity(&identity, passphrase.as_deref()).map_err(|error| error.to_string())?;
                match &cert {
                    None => Ok(Arc::new(key)),
                    Some(cert) => Ok(Arc::new(still_valid(Arc::new(key), cert).map_err(|report| report.to_string())?)),
                }
            };
            let (reload, watched) = watch("identity", files, load)?;
            Ok((Arc::new(reload), vec![watched]))
        }
    }
}

fn certified(signer: Arc<dyn Signer>, path: &Path) -> Result<Certified, Report> {
    Certified::new(signer, load_chain(path)?)
        .map_err(|error| Report::new(IO, format!("can't use the certificate {}: {error}", path.display()), ISSUE))
}

/// The same with a warning where everybody will refuse it.
fn still_valid(signer: Arc<dyn Signer>, path: &Path) -> Result<Certified, Report> {
    let certified = certified(signer, path)?;
    let end = Moment::from_seconds(certified.chain().not_after().as_secs());
    if Moment::now()? > end {
        log::line(format!("warning: the certificate {} expired at {end}, so peers will refuse it", path.display()));
    }
    Ok(certified)
}

/// The CAs and revocation lists.
pub fn authority(ca: &Path, crls: &[PathBuf], stale: Stale) -> Result<Authority, Report> {
    let stale = match stale {
        Stale::Refuse => StaleCrl::Refuse,
        Stale::Warn => StaleCrl::Warn,
    };
    let authority = Authority::open(ca, crls).map_err(|error| Report::new(IO, format!("can't use {error}"), CA))?;
    Ok(authority.stale_crl(stale))
}

const ISSUE: Option<&str> = Some(
    "a certificate file is PEM, that of our key first: `countersign ca issue DIR --for KEY.pub --out CHAIN.pem` makes one",
);
const CA: Option<&str> =
    Some("--ca is the certificate of the CA itself (ca.pem of `countersign ca init`), --crl its revocation list");
