//! Both ends in this process, over 127.0.0.1. The responder has threads of its own, as another process would.

use std::sync::Arc;
use std::time::Duration;

use countersign::Listener;
use countersign::identity::Identity;
use countersign::trust::Pinned;
use tokio::runtime::{Builder, Handle, Runtime};

use crate::args::BenchArgs;
use crate::bench::call::Target;
use crate::bench::{caps, interruptible, listen};
use crate::report::{IO, Report};

/// Makes two identities that are thrown away, and measures.
pub async fn run(args: &BenchArgs) -> Result<u8, Report> {
    let make = || Identity::generate().map(Arc::new).map_err(|error| Report::new(IO, error, None));
    let (initiator, responder) = (make()?, make()?);
    let (here, there) = (initiator.public_key(), responder.public_key());
    let answering = args.settings.config(responder, Pinned::new([here.into()]), &[])?;
    let calling = args.settings.config(initiator, Pinned::new([there.into()]), &[])?;
    let threads = Threads::start()?;
    let listener = threads.handle()?.spawn(Listener::bind("127.0.0.1:0", caps(answering))).await;
    let listener = listener.map_err(std::io::Error::other).and_then(|listener| listener);
    let listener = listener.map_err(|error| Report::io("can't listen on 127.0.0.1", &error))?;
    let address = listener.local_addr().to_string();
    threads.handle()?.spawn(listen::answer_all(listener, Duration::from_secs(args.settings.timeout), false));
    interruptible(args, Target::new(calling, address, there.into(), &args.settings), true).await
}

/// Threads that end without being waited for.
struct Threads(Option<Runtime>);

impl Threads {
    fn start() -> Result<Self, Report> {
        let runtime = Builder::new_multi_thread().enable_all().build();
        runtime.map(|runtime| Threads(Some(runtime))).map_err(|error| Report::io("can't start", &error))
    }

    fn handle(&self) -> Result<&Handle, Report> {
        self.0.as_ref().map(Runtime::handle).ok_or_else(|| Report::new(IO, "the responder's threads have ended", None))
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
