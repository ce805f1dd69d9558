//! `connect`: call a peer.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use countersign::error::{Error, Reason};
use countersign::identity::Name;
use countersign::stream::ConnectError;
use countersign::trust::{DecisionFuture, Pinned, Request, Trust, all_of};
use countersign::{Config, PeerId, Reload, Stream};
use tokio::net::TcpStream;

use crate::args::{CaFiles, ConnectArgs};
use crate::certificates;
use crate::explain::Explainer;
use crate::keys::{parse_who, who_file};
use crate::known::Place;
use crate::log;
use crate::report::{INTERRUPTED, OWN_CERTIFICATE, Report};
use crate::session;
use crate::watch::{Watched, watch};
use crate::whom::watched_authority;

/// Runs until both sides are done.
pub async fn run(args: ConnectArgs) -> Result<u8, Report> {
    check_address(&args.address)?;
    let peer = callee(&args).peer()?;
    let name = callee(&args).name()?;
    let (signer, _own) = certificates::signer(&args.own, &args.cert)?;
    let place = Place::new(&args.address);
    let mut settled = false;
    loop {
        let (trust, _watched) = trust(&args, peer, &place)?;
        let config = args.own.settings.config(signer.clone(), trust, &[])?;
        let result = tokio::select! {
            result = call(&args, &config, peer, name.clone()) => result,
            () = interrupt() => return Ok(INTERRUPTED),
        };
        let error = match result {
            Ok(stream) => {
                args.known_peers.iter().for_each(|file| place.remember(file));
                return session::on_stdio(stream, interrupt()).await;
            }
            Err(error) => error,
        };
        if let (Some(file), false) = (&args.known_peers, settled)
            && place.settle(&args, file)?
        {
            settled = true;
            continue;
        }
        let report = Report::connect(&args.address, &error);
        return Err(if refuses_certificate(&args, &error) { report.with_hint(OWN_CERTIFICATE) } else { report });
    }
}

/// A line in the trust file is not what helps who presents a certificate.
fn refuses_certificate(args: &ConnectArgs, error: &ConnectError) -> bool {
    let ConnectError::Protocol(failure) = error else { return false };
    let refused = matches!(&failure.error, Error::Refused(refusal) if refusal.reason == Reason::NotTrusted);
    refused && args.cert.cert.is_some()
}

async fn call(
    args: &ConnectArgs,
    config: &Config,
    peer: Option<PeerId>,
    name: Option<Name>,
) -> Result<Stream<TcpStream>, ConnectError> {
    let mut call = config.connect(args.address.clone()).service(&args.service);
    if let Some(peer) = peer {
        call = call.peer(peer);
    }
    if let Some(name) = name {
        call = call.peer_name(name);
    }
    if args.eager {
        call = call.eager();
    }
    let explainer = args.explain.then(|| Explainer::start(args, config.offered_suites()));
    if let Some(explainer) = explainer.clone() {
        call = call.observe(move |milestone| explainer.tell(milestone));
    }
    let result = call.await;
    if let Some(explainer) = explainer {
        explainer.end(&result);
    }
    result
}

/// Whom we trust: who was there the first time, or as [`Callee`] says.
fn trust(args: &ConnectArgs, peer: Option<PeerId>, place: &Place) -> Result<(Arc<dyn Trust>, Vec<Watched>), Report> {
    match &args.known_peers {
        Some(file) => {
            let (trust, watched) = place.trust(file)?;
            Ok((Arc::new(trust), vec![watched]))
        }
        None => callee(args).trust(&Who::Fixed(peer)),
    }
}

fn callee(args: &ConnectArgs) -> Callee<'_> {
    Callee { peer: args.peer.as_deref(), cas: &args.cert.cas, name: args.peer_name.as_deref(), address: &args.address }
}

/// Who has to answer.
#[derive(Clone, Debug)]
pub enum Who {
    Fixed(Option<PeerId>),
    /// Sessions with somebody else end when it changes.
    File(Reload<One>),
}

impl Who {
    pub fn now(&self) -> Option<PeerId> {
        match self {
            Who::Fixed(peer) => *peer,
            Who::File(reload) => Some(reload.current().peer),
        }
    }
}

/// One peer.
#[derive(Debug)]
pub struct One {
    peer: PeerId,
    trust: Pinned,
}

impl Trust for One {
    fn decide<'a>(&'a self, request: &'a Request) -> DecisionFuture<'a> {
        self.trust.decide(request)
    }
}

/// Who has to answer, as the command line says it.
pub struct Callee<'a> {
    pub peer: Option<&'a str>,
    pub cas: &'a CaFiles,
    pub name: Option<&'a str>,
    pub address: &'a str,
}

impl Callee<'_> {
    /// The one peer that may answer, if it is given.
    pub fn peer(&self) -> Result<Option<PeerId>, Report> {
        self.peer.map(|who| parse_who("--peer", who)).transpose()
    }

    /// The same; if a file says it, what that says at the time.
    pub fn watched_peer(&self) -> Result<(Who, Vec<Watched>), Report> {
        let fixed = self.peer()?;
        let Some(file) = self.peer.and_then(who_file) else { return Ok((Who::Fixed(fixed), Vec::new())) };
        let who = file.to_string();
        let load = move || match parse_who("--peer", &who) {
            Ok(peer) => Ok(One { peer, trust: Pinned::new([peer]) }),
            Err(report) => Err(report.to_string().into()),
        };
        let (reload, watched) = watch("peer", vec![file.into()], load)?;
        Ok((Who::File(reload), vec![watched]))
    }

    /// With a CA, who has a certificate by it; otherwise the one peer.
    pub fn trust(&self, who: &Who) -> Result<(Arc<dyn Trust>, Vec<Watched>), Report> {
        if let Some((authority, watched)) = watched_authority(self.cas)? {
            let trust: Arc<dyn Trust> = match who {
                Who::Fixed(_) => Arc::new(authority),
                // So that sessions with somebody else end when it changes.
                Who::File(reload) => {
                    Arc::new(all_of([Box::new(authority) as Box<dyn Trust>, Box::new(reload.clone())]))
                }
            };
            return Ok((trust, vec![watched]));
        }
        let trust: Arc<dyn Trust> = match who {
            Who::Fixed(peer) => Arc::new(Pinned::new(*peer)),
            Who::File(reload) => Arc::new(reload.clone()),
        };
        Ok((trust, Vec::new()))
    }

    /// The name that the peer's certificate must have.
    pub fn name(&self) -> Result<Option<Name>, Report> {
        if let Some(name) = self.name {
            return name.parse().map(Some).map_err(|error| Report::usage(format!("--peer-name {name:?}: {error}")));
        }
        let Some(ca) = self.cas.ca.as_deref().filter(|_| self.peer.is_none()) else { return Ok(None) };
        match default_name(self.address) {
            Some(name) => Ok(Some(name)),
            None => {
                warn_anybody(ca);
                Ok(None)
            }
        }
    }
}

/// The host, if it is a name that a certificate can have.
fn default_name(address: &str) -> Option<Name> {
    let (host, _) = address.rsplit_once(':')?;
    let is_address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok();
    if is_address || host == "localhost" { None } else { host.parse().ok() }
}

fn warn_anybody(ca: &Path) {
    log::line(format!(
        "warning: anyone with a certificate by {} may answer; --peer-name says who has to",
        ca.display()
    ));
}

/// Refuses what can't be an address before anything is asked of the network.
pub fn check_address(address: &str) -> Result<(), Report> {
    match address.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok(()),
        _ => Err(Report::usage(format!("{address:?} is not HOST:PORT"))),
    }
}

/// Returns at the first interrupt.
pub async fn interrupt() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
