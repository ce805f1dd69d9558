//! What a session keeps when nothing happens: each end has flushed and waits in a read. The heap of an end is what
//! dropping it gives back; what tokio keeps for a socket is not in it.

use std::future::poll_fn;
use std::io::{Read, Write};
use std::pin::Pin;
use std::task::Poll;
use std::{net, thread};

use countersign::session::Session;
use countersign::stream::{ReadHalf, WriteHalf};
use countersign::{Stream, blocking};
use tokio::io::{AsyncBufRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::heap::held;
use crate::sockets::{blocking_tcp, tcp};
use crate::streams::on_one_thread;

/// Prints, and says how many ends keep more than they may.
pub fn print() -> usize {
    let mut failed = 0;
    println!("\n{:<32} {:>10} {:>10}", "heap of an idle end", "initiator", "responder");
    for (name, rounds) in [("fresh", 0), ("64 KiB each way", 1), ("64 MiB each way", 1 << 10)] {
        for (kind, [near, far]) in [("stream", stream(rounds)), ("blocking", blocking(rounds))] {
            let verdict = if near.max(far) > ALLOWED { "TOO MUCH" } else { "ok" };
            failed += usize::from(near.max(far) > ALLOWED);
            println!("{:<32} {near:>10} {far:>10} {verdict}", format!("{kind}, {name}"));
        }
    }
    println!("\nthe value itself, without heap");
    for (name, size) in [
        ("Session", size_of::<Session>()),
        ("Stream<TcpStream>", size_of::<Stream<TcpStream>>()),
        ("ReadHalf<OwnedReadHalf>", size_of::<ReadHalf<OwnedReadHalf>>()),
        ("WriteHalf<OwnedWriteHalf>", size_of::<WriteHalf<OwnedWriteHalf>>()),
        ("blocking::Stream<TcpStream>", size_of::<blocking::Stream<net::TcpStream>>()),
        ("blocking::ReadHalf<TcpStream>", size_of::<blocking::ReadHalf<net::TcpStream>>()),
        ("blocking::WriteHalf<TcpStream>", size_of::<blocking::WriteHalf<net::TcpStream>>()),
        ("tokio's TcpStream in it", size_of::<TcpStream>()),
    ] {
        println!("{name:<32} {size:>10}");
    }
    failed
}

fn stream(rounds: usize) -> [usize; 2] {
    on_one_thread(async {
        let [mut near, mut far] = tcp().await;
        let (mut asked, mut answered) = (vec![7; ROUND], vec![7; ROUND]);
        for _ in 0..rounds {
            let ask = async {
                near.write_all(&asked).await?;
                near.flush().await?;
                near.read_exact(&mut asked).await
            };
            let answer = async {
                far.read_exact(&mut answered).await?;
                far.write_all(&answered).await?;
                far.flush().await
            };
            let (ask, answer) = tokio::join!(ask, answer);
            ask.and(answer).expect("echoed");
        }
        for end in [&mut near, &mut far] {
            let wait = poll_fn(|cx| Poll::Ready(Pin::new(&mut *end).poll_fill_buf(cx).is_pending()));
            assert!(wait.await, "there is something to read");
        }
        [near, far].map(freed)
    })
}

/// A thread that waits in a read can't be asked: its end is dropped after the last answer.
fn blocking(rounds: usize) -> [usize; 2] {
    let [mut near, mut far] = blocking_tcp();
    thread::scope(|scope| {
        let answering = scope.spawn(|| {
            let mut data = vec![7; ROUND];
            for _ in 0..rounds {
                far.read_exact(&mut data).expect("read");
                far.write_all(&data).and_then(|()| far.flush()).expect("written");
            }
        });
        let mut data = vec![7; ROUND];
        for _ in 0..rounds {
            near.write_all(&data).and_then(|()| near.flush()).expect("written");
            near.read_exact(&mut data).expect("read");
        }
        // The end of a scope does not wait for what a thread still gives back after its work; joining does.
        answering.join().expect("no panic");
    });
    [near, far].map(freed)
}

fn freed<T>(end: T) -> usize {
    let before = held();
    drop(end);
    before - held()
}

/// Heap of an idle end, in bytes: no buffer is among it, and no expanded key that Rust knows of.
const ALLOWED: usize = 600;
/// Bytes each way in one round.
const ROUND: usize = 64 << 10;
