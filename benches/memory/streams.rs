//! Streams over TCP on one thread, whole and in halves.

use std::future::Future;
use std::sync::Arc;

use countersign::Stream;
use countersign::stream::{ReadHalf, WriteHalf};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::runtime::Builder;
use tokio::sync::Semaphore;

use crate::heap::Tally;
use crate::phases::{PHASES, Phases};
use crate::sockets::{exchange, receive, send, tcp};

/// One asks, the other gives the same back; both flush what they wrote, or neither.
pub fn echo(size: usize, rounds: usize, flush: bool) -> Tally {
    on_one_thread(async {
        let [mut near, mut far] = tcp().await;
        let answering = tokio::spawn(async move {
            let mut data = vec![7; size];
            for _ in 0..PHASES * rounds {
                far.read_exact(&mut data).await.expect("read");
                say(&mut far, &data, flush).await;
            }
            far
        });
        let (mut data, mut phases) = (vec![7; size], Phases::new());
        for _ in 0..PHASES {
            let begun = phases.begin();
            for _ in 0..rounds {
                say(&mut near, &data, flush).await;
                near.read_exact(&mut data).await.expect("read");
            }
            phases.end(begun);
        }
        answering.await.expect("no panic");
        phases.least()
    })
}

/// As [`echo`], each end in halves; flushed.
pub fn halves_echo(size: usize, rounds: usize) -> Tally {
    on_one_thread(async {
        let [near, far] = tcp().await.map(Stream::into_split);
        let ((mut near_read, mut near_write), (mut far_read, mut far_write)) = (near, far);
        let answering = tokio::spawn(async move {
            let mut data = vec![7; size];
            for _ in 0..PHASES * rounds {
                far_read.read_exact(&mut data).await.expect("read");
                say(&mut far_write, &data, true).await;
            }
            far_write
        });
        let (mut data, mut phases) = (vec![7; size], Phases::new());
        for _ in 0..PHASES {
            let begun = phases.begin();
            for _ in 0..rounds {
                say(&mut near_write, &data, true).await;
                near_read.read_exact(&mut data).await.expect("read");
            }
            phases.end(begun);
        }
        answering.await.expect("no panic");
        phases.least()
    })
}

pub fn one_way(size: usize, writes: usize) -> Tally {
    on_one_thread(async {
        let ([mut near, mut far], data, mut phases) = (tcp().await, vec![7; size], Phases::new());
        for _ in 0..PHASES {
            let begun = phases.begin();
            tokio::join!(send(&mut near, &data, writes), receive(&mut far, size * writes));
            phases.end(begun);
        }
        phases.least()
    })
}

/// Each end one task.
pub fn both_ways(size: usize, writes: usize) -> Tally {
    on_one_thread(async {
        let (mut ends, mut phases) = (tcp().await, Phases::new());
        for _ in 0..PHASES {
            ends = whole(ends, size, writes, &mut phases).await;
        }
        phases.least()
    })
}

/// Each end two tasks.
pub fn halves_both_ways(size: usize, writes: usize) -> Tally {
    on_one_thread(async {
        let (mut ends, mut phases) = (tcp().await.map(Stream::into_split), Phases::new());
        for _ in 0..PHASES {
            ends = halves(ends, size, writes, &mut phases).await;
        }
        phases.least()
    })
}

async fn say(to: &mut (impl AsyncWrite + Unpin), data: &[u8], flush: bool) {
    to.write_all(data).await.expect("written");
    if flush {
        to.flush().await.expect("flushed");
    }
}

/// One phase, which begins when the tasks are there.
async fn whole(ends: [Whole; 2], size: usize, writes: usize, phases: &mut Phases) -> [Whole; 2] {
    let gate = Arc::new(Semaphore::new(0));
    let [near, far] = ends.map(|mut end| {
        let (gate, data) = (gate.clone(), vec![7; size]);
        tokio::spawn(async move {
            gate.acquire().await.expect("open").forget();
            exchange(&mut end, &data, writes).await;
            end
        })
    });
    let begun = phases.begin();
    gate.add_permits(2);
    let ends = [near.await.expect("no panic"), far.await.expect("no panic")];
    phases.end(begun);
    ends
}

/// As [`whole`].
async fn halves(ends: [Halves; 2], size: usize, writes: usize, phases: &mut Phases) -> [Halves; 2] {
    let gate = Arc::new(Semaphore::new(0));
    let [near, far] = ends.map(|(mut read, mut write)| {
        let (read_gate, write_gate, data) = (gate.clone(), gate.clone(), vec![7; size]);
        let reading = tokio::spawn(async move {
            read_gate.acquire().await.expect("open").forget();
            receive(&mut read, size * writes).await;
            read
        });
        let writing = tokio::spawn(async move {
            write_gate.acquire().await.expect("open").forget();
            send(&mut write, &data, writes).await;
            write
        });
        (reading, writing)
    });
    let begun = phases.begin();
    gate.add_permits(4);
    let near = (near.0.await.expect("no panic"), near.1.await.expect("no panic"));
    let far = (far.0.await.expect("no panic"), far.1.await.expect("no panic"));
    phases.end(begun);
    [near, far]
}

type Whole = Stream<TcpStream>;
type Halves = (ReadHalf<OwnedReadHalf>, WriteHalf<OwnedWriteHalf>);

/// Runs it on a runtime of this thread alone, which has room for all tasks that may give way at once: there are at most
/// four.
pub fn on_one_thread<F: Future>(future: F) -> F::Output {
    Builder::new_current_thread().enable_all().build().expect("runtime").block_on(async {
        for task in [(); 8].map(|()| tokio::spawn(tokio::task::yield_now())) {
            task.await.expect("no panic");
        }
        future.await
    })
}
