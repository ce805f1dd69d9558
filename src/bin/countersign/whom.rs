//! Whom we trust: a trust file, CAs, or both; all watched.

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use countersign::trust::{Conditions, DecisionFuture, PatternList, Request, Trust, TrustExt, Watcher, any_of};
use countersign::{Reload, TrustFile};

use crate::args::CaFiles;
use crate::certificates;
use crate::log;
use crate::report::{IO, Report};
use crate::watch::{Watched, watch};

/// What the command line says about trust.
pub struct Whom<'a> {
    pub trust: Option<&'a Path>,
    pub cas: &'a CaFiles,
    pub names: &'a [String],
}

impl Whom<'_> {
    /// Loads everything and watches it. Who is in the trust file or has a certificate is trusted.
    pub fn open(&self) -> Result<(Arc<dyn Trust>, Vec<Watched>), Report> {
        let mut all: Vec<Box<dyn Trust>> = Vec::new();
        let mut watched = Vec::new();
        if let Some(path) = self.trust {
            let (trust, files) = trust_file(path)?;
            all.push(Box::new(trust));
            watched.push(files);
        }
        if let Some((authority, files)) = watched_authority(self.cas)? {
            watched.push(files);
            all.push(match self.names {
                [] => Box::new(authority),
                names => {
                    let bad = |error| Report::usage(format!("--peer-name: {error}"));
                    let names = PatternList::parse(&names.join(",")).map_err(bad)?;
                    let conditions = Conditions::new().names(names);
                    Box::new(authority.when(conditions))
                }
            });
        }
        let trust: Arc<dyn Trust> = match <[Box<dyn Trust>; 1]>::try_from(all) {
            Ok([only]) => Arc::new(only),
            Err(all) => Arc::new(any_of(all)),
        };
        Ok((trust, watched))
    }
}

/// Opens the trust file; warns if nobody is in it.
pub fn open_trust(path: &Path) -> Result<TrustFile, Report> {
    let trust = TrustFile::open(path).map_err(|error| {
        Report::new(
            IO,
            error,
            Some("a trust file has a line `ssh-ed25519 AAAA... name` for each peer; a .pub file will do"),
        )
    })?;
    warn_if_empty(&trust, path);
    Ok(trust)
}

fn warn_if_empty(trust: &TrustFile, path: &Path) {
    if trust.is_empty() {
        log::line(format!("warning: {} trusts nobody, so everybody will be refused", path.display()));
    }
}

fn trust_file(path: &Path) -> Result<(Reload<TrustFile>, Watched), Report> {
    open_trust(path)?;
    let (file, again) = (path.to_path_buf(), AtomicBool::new(false));
    watch("trust file", vec![path.to_path_buf()], move || {
        let trust = TrustFile::open(&file)?;
        // The first time it has been said.
        if again.swap(true, Ordering::Relaxed) {
            warn_if_empty(&trust, &file);
        }
        Ok(trust)
    })
}

/// Says on standard error what a decision warns of, the same thing once.
struct Warning<T> {
    inner: T,
    said: Mutex<HashSet<String>>,
}

impl<T: Trust> Trust for Warning<T> {
    fn decide<'a>(&'a self, request: &'a Request) -> DecisionFuture<'a> {
        Box::pin(async move {
            let decision = self.inner.decide(request).await;
            if let (true, Some((_, warning))) = (decision.is_accept(), decision.rule().split_once("WARNING: ")) {
                let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
                if said.insert(warning.to_string()) {
                    log::line(format!("warning: {}", warning.escape_debug()));
                }
            }
            decision
        })
    }

    fn watch(&self, watcher: &Weak<dyn Watcher>) -> bool {
        self.inner.watch(watcher)
    }
}

/// CAs and revocation lists, if any are given, loaded again together when one of the files changes.
pub fn watched_authority(cas: &CaFiles) -> Result<Option<(impl Trust + use<>, Watched)>, Report> {
    let Some(ca) = cas.ca.clone() else { return Ok(None) };
    let (crls, stale) = (cas.crls.clone(), cas.stale_crl);
    certificates::authority(&ca, &crls, stale)?;
    let files = std::iter::once(ca.clone()).chain(crls.iter().cloned()).collect();
    let load = move || Ok(certificates::authority(&ca, &crls, stale).map_err(|report| report.to_string())?);
    let (authority, watched) = watch("CA", files, load)?;
    Ok(Some((Warning { inner: authority, said: Mutex::default() }, watched)))
}
