//! Handshakes by several accept loops, which share a port by `SO_REUSEPORT`, and by one loop in a runtime of several threads.

use std::future::IntoFuture;
use std::net::SocketAddr;
use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use countersign::trust::Pinned;
use countersign::{Config, Identity, Listener};
use rustix::thread::{CpuSet, sched_setaffinity};
use tokio::net::TcpSocket;
use tokio::runtime::Builder;
use tokio::sync::watch;

/// Calls that a caller has under way.
const AT_ONCE: usize = 32;

/// Core n has a caller, and a loop that accepts on the port that all loops share. Gives handshakes a second.
pub fn loops(loops: usize, count: usize) -> f64 {
    let first = listen(None);
    let address = first.local_addr().expect("address");
    let mut sockets = vec![first];
    sockets.extend((1..loops).map(|_| listen(Some(address))));
    let (stop, stopped) = watch::channel(());
    let listening = &Barrier::new(loops + 1);
    thread::scope(|scope| {
        for (core, socket) in sockets.into_iter().enumerate() {
            let mut stopped = stopped.clone();
            scope.spawn(move || {
                on_core(core, async {
                    let socket = socket.listen(1_024).expect("listening");
                    let listener = Listener::from_tcp(socket, config(2, 1), |_| {}).expect("listener");
                    listening.wait();
                    tokio::select! {
                        () = serve(&listener) => {}
                        _ = stopped.changed() => {}
                    }
                });
            });
        }
        listening.wait();
        let started = Instant::now();
        let callers: Vec<_> =
            (0..loops).map(|core| scope.spawn(move || on_core(core, call(address, count / loops)))).collect();
        callers.into_iter().for_each(|caller| caller.join().expect("caller"));
        let took = started.elapsed();
        drop(stop);
        (count / loops * loops) as f64 / took.as_secs_f64()
    })
}

/// One loop, and as many callers as threads, all in one runtime of so many threads.
pub fn one_loop(threads: usize, count: usize) -> f64 {
    let runtime = Builder::new_multi_thread().worker_threads(threads).enable_all().build().expect("runtime");
    runtime.block_on(async {
        let listener = Listener::bind("127.0.0.1:0", config(2, 1)).await.expect("listener");
        let address = listener.local_addr();
        let started = Instant::now();
        tokio::select! {
            () = serve(&listener) => {}
            () = async {
                let callers: Vec<_> = (0..threads).map(|_| tokio::spawn(call(address, count / threads))).collect();
                for caller in callers {
                    caller.await.expect("caller");
                }
            } => {}
        }
        (count / threads * threads) as f64 / started.elapsed().as_secs_f64()
    })
}

fn listen(address: Option<SocketAddr>) -> TcpSocket {
    let socket = TcpSocket::new_v4().expect("socket");
    socket.set_reuseport(true).expect("SO_REUSEPORT");
    socket.bind(address.unwrap_or_else(|| ([127, 0, 0, 1], 0).into())).expect("bound");
    socket
}

async fn serve(listener: &Listener) {
    loop {
        drop(listener.accept().await.expect("accepted"));
    }
}

/// Makes so many handshakes.
async fn call(address: SocketAddr, count: usize) {
    let config = config(1, 2);
    let mut calls = Vec::new();
    for first in 0..AT_ONCE {
        let config = config.clone();
        calls.push(tokio::spawn(async move {
            for _ in (first..count).step_by(AT_ONCE) {
                config.connect(address).into_future().await.expect("connected");
            }
        }));
    }
    for call in calls {
        call.await.expect("call");
    }
}

fn on_core(core: usize, work: impl Future<Output = ()>) {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).expect("pinned");
    Builder::new_current_thread().enable_all().build().expect("runtime").block_on(work);
}

fn config(own: u8, peer: u8) -> Config {
    let identity = |n| Identity::from_seed(&mut [n; 32]).expect("identity");
    Config::new(identity(own), Pinned::new([identity(peer).public_key().into()])).max_handshakes_per_address(4_096)
}
