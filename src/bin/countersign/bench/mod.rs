//! `bench`: handshakes, throughput and latency between two ends, with a display while it measures.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::as_conversions)]

mod alone;
mod call;
mod cpu;
mod listen;
mod live;
mod measure;
mod protocol;
mod summary;
mod times;

use std::sync::Arc;
use std::time::Duration;

use countersign::Config;
use countersign::trust::Pinned;

use crate::args::BenchArgs;
use crate::connect::{check_address, interrupt};
use crate::keys::{parse_who, print};
use crate::report::{INTERRUPTED, Report};
use crate::serve;
use call::Target;
use live::Mode;
use measure::{Measure, Plan};
use summary::Summary;

/// Measures, or answers the measures of others.
pub async fn run(args: BenchArgs) -> Result<u8, Report> {
    let BenchArgs { identity, trust, listen, peer, address, .. } = &args;
    match (identity, trust, listen, peer, address) {
        (None, None, None, None, None) => alone::run(&args).await,
        (Some(identity), Some(trust), Some(listen), None, None) => {
            let signer = args.settings.signer(identity)?;
            let config =
                args.settings.config(signer, crate::whom::open_trust(trust)?, &[protocol::SERVICE.to_string()])?;
            let stop = serve::stop_signal()?;
            let listener = serve::listen(listen, caps(config)).await?;
            let patience = Duration::from_secs(args.settings.timeout);
            tokio::select! {
                error = listen::answer_all(listener, patience, true) => Err(Report::io("can't accept", &error)),
                () = stop => Ok(0),
            }
        }
        (Some(identity), None, None, Some(peer), Some(address)) => {
            check_address(address)?;
            let peer = parse_who("--peer", peer)?;
            let config = args.settings.config(args.settings.signer(identity)?, Pinned::new([peer]), &[])?;
            interruptible(&args, Target::new(config, address.clone(), peer, &args.settings), false).await
        }
        _ => Err(Report::usage(COMBINATION)),
    }
}

/// One peer may have as many handshakes in flight as it may ask for, and those that are ending.
fn caps(config: Config) -> Config {
    config.max_handshakes_per_address(2 * protocol::MAX_PARALLEL)
}

async fn interruptible(args: &BenchArgs, target: Target, both_ends: bool) -> Result<u8, Report> {
    tokio::select! {
        result = measure_all(args, Arc::new(target), both_ends) => result,
        () = interrupt() => Ok(INTERRUPTED),
    }
}

/// A first session that shows whether there is anything to measure, then one measure after the other.
async fn measure_all(args: &BenchArgs, target: Arc<Target>, both_ends: bool) -> Result<u8, Report> {
    let info = target.probe().await?;
    let plan = Plan { time: Duration::from_secs(args.seconds), parallel: usize::from(args.parallel), size: args.size };
    let mode = Mode::new(args.quiet, args.json);
    let mut measured = Vec::new();
    for measure in Measure::ALL {
        measured.push(measure::run(measure, &target, plan, mode).await?);
    }
    let summary = Summary { address: target.address(), info: &info, plan, both_ends, measured: &measured };
    print(&if args.json { summary.json() } else { summary.table() })
}

const COMBINATION: &str =
    "bench is used alone, with --identity, --trust and --listen ADDR, or with --identity, --peer and ADDR";
