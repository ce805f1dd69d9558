//! The systems, each behind [`Peer`](crate::conn::Peer).

#[cfg(feature = "peers")]
mod certificates;
#[cfg(feature = "peers")]
mod commonware;
mod countersign;
#[cfg(feature = "peers")]
mod libp2p;
#[cfg(feature = "peers")]
mod rustls;
#[cfg(feature = "peers")]
mod snow;
mod tcp;
#[cfg(feature = "peers")]
mod tls;

use anyhow::{Result, bail};

pub use tcp::Tcp;

use crate::conn::{BufWritten, Copied, Peer, Streaming};
use crate::id::{Family, Id, Variant};
use crate::measures::{Figures, Task, measure, measure_transfer};

/// Measures one of them in this process.
pub fn run(id: &Id, task: Task) -> Result<Figures> {
    match id.family {
        Family::Tcp => stream(Tcp, id, task),
        Family::Countersign if cfg!(feature = "peers") => stream(countersign::Countersign::new(id)?, id, task),
        Family::CountersignPure if cfg!(not(feature = "peers")) => stream(countersign::Countersign::new(id)?, id, task),
        #[cfg(feature = "peers")]
        Family::RustlsAws | Family::RustlsRing => stream(rustls::Rustls::new(id)?, id, task),
        #[cfg(feature = "peers")]
        Family::SnowDefault | Family::SnowRing => measure(snow::Snow::new(id)?, task),
        #[cfg(feature = "peers")]
        Family::Libp2pNoise => stream(libp2p::Libp2p::new()?, id, task),
        #[cfg(feature = "peers")]
        Family::Commonware => measure(commonware::Commonware::new(), task),
        _ => bail!("{id} is not in this program"),
    }
}

/// One that is a stream, and can be used in more than one way.
fn stream<P: Peer<Conn: Streaming>>(peer: P, id: &Id, task: Task) -> Result<Figures> {
    match id.variant {
        Variant::BufWriter => measure_transfer(&BufWritten(peer), task),
        Variant::Copying => measure_transfer(&Copied(peer), task),
        _ => measure(peer, task),
    }
}
