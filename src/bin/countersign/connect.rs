//! `connect`: call a peer.

use std::time::Duration;

use countersign::Config;
use countersign::trust::Pinned;

use crate::args::ConnectArgs;
use crate::keys::{load_identity, parse_peer};
use crate::report::{INTERRUPTED, Report};
use crate::session;

/// Runs until both sides are done.
pub async fn run(args: ConnectArgs) -> Result<u8, Report> {
    if args.address.rsplit_once(':').is_none_or(|(host, port)| host.is_empty() || port.parse::<u16>().is_err()) {
        return Err(Report::usage(format!("{:?} is not HOST:PORT", args.address)));
    }
    let peer = parse_peer(&args.peer)?;
    let identity = load_identity(&args.own.identity, args.own.passphrase_file.as_deref())?;
    let config = Config::new(identity, Pinned::new([peer]))
        .context(&args.own.context)
        .handshake_timeout(Duration::from_secs(args.own.timeout));
    let call = config.connect(args.address.clone()).peer(peer).service(&args.service);
    let stream = tokio::select! {
        result = call => result.map_err(|error| Report::connect(&args.address, &error))?,
        () = interrupt() => return Ok(INTERRUPTED),
    };
    session::on_stdio(stream, interrupt()).await
}

/// Returns at the first interrupt.
pub async fn interrupt() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
