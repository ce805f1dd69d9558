//! `connect`: call a peer.

use countersign::trust::Pinned;

use crate::args::ConnectArgs;
use crate::explain::Explainer;
use crate::keys::parse_who;
use crate::report::{INTERRUPTED, Report};
use crate::session;

/// Runs until both sides are done.
pub async fn run(args: ConnectArgs) -> Result<u8, Report> {
    check_address(&args.address)?;
    let peer = parse_who("--peer", &args.peer)?;
    let config = args.own.config(Pinned::new([peer]), &[])?;
    let mut call = config.connect(args.address.clone()).peer(peer).service(&args.service);
    if args.eager {
        call = call.eager();
    }
    let explainer = args.explain.then(|| Explainer::start(&args, config.offered_suites()));
    if let Some(explainer) = explainer.clone() {
        call = call.observe(move |milestone| explainer.tell(milestone));
    }
    let result = tokio::select! {
        result = call => result,
        () = interrupt() => return Ok(INTERRUPTED),
    };
    if let Some(explainer) = explainer {
        explainer.end(&result);
    }
    let stream = result.map_err(|error| Report::connect(&args.address, &error))?;
    session::on_stdio(stream, interrupt()).await
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
