//! Pairs of streams, and what goes over them.
#![allow(dead_code)]

use std::future::poll_fn;
use std::io::{BufRead, Write};
use std::pin::Pin;
use std::task::Poll;
use std::{net, thread};

use countersign::blocking;
use countersign::handshake::Target;
use countersign::role::Role;
use countersign::{Config, Stream};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::net::{TcpListener, TcpStream};

use crate::side::config;

/// Over a pipe in memory, which holds 256 KiB.
pub async fn duplex() -> [Stream<DuplexStream>; 2] {
    let (left, right) = tokio::io::duplex(256 << 10);
    let (near, far) = (config(Role::Initiator), config(Role::Responder));
    let (near, far) = tokio::join!(near.connect_over(left).into_future(), far.accept_over(right, None));
    [near.expect("initiator"), far.expect("responder")]
}

/// Over loopback TCP, as the default configuration does it.
pub async fn tcp() -> [Stream<TcpStream>; 2] {
    tcp_between(&config(Role::Initiator), &config(Role::Responder)).await
}

pub async fn tcp_between(near: &Config, far: &Config) -> [Stream<TcpStream>; 2] {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("listener");
    let address = listener.local_addr().expect("address");
    let answer = async {
        let (io, from) = listener.accept().await.expect("accepted");
        io.set_nodelay(true).expect("no delay");
        far.accept_over(io, Some(from)).await
    };
    let (near, far) = tokio::join!(near.connect(address).into_future(), answer);
    [near.expect("initiator"), far.expect("responder")]
}

/// The blocking API over loopback TCP.
pub fn blocking_tcp() -> [blocking::Stream<net::TcpStream>; 2] {
    let listener = net::TcpListener::bind("127.0.0.1:0").expect("listener");
    let address = listener.local_addr().expect("address");
    thread::scope(|scope| {
        let far = scope.spawn(|| blocking::accept(&config(Role::Responder), listener.accept().expect("accepted").0));
        let near = blocking::connect(&config(Role::Initiator), address, Target::default());
        [near.expect("initiator"), far.join().expect("no panic").expect("responder")]
    })
}

/// So many writes of `data`.
pub async fn send(to: &mut (impl AsyncWrite + Unpin), data: &[u8], writes: usize) {
    for _ in 0..writes {
        to.write_all(data).await.expect("written");
    }
    to.flush().await.expect("flushed");
}

/// So many bytes, as they come.
pub async fn receive(from: &mut (impl AsyncBufRead + Unpin), mut left: usize) {
    while left > 0 {
        let len = from.fill_buf().await.expect("read").len();
        assert!(len > 0, "the peer has ended");
        from.consume(len);
        left -= len;
    }
}

/// Both at once on one stream, in one task.
pub async fn exchange<T>(stream: &mut Stream<T>, data: &[u8], writes: usize)
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let (mut unsent, mut expected) = (data.len() * writes, data.len() * writes);
    poll_fn(|cx| {
        while unsent > 0 {
            let rest = &data[(data.len() - unsent % data.len()) % data.len()..];
            let Poll::Ready(written) = Pin::new(&mut *stream).poll_write(cx, rest) else { break };
            unsent -= written.expect("written");
        }
        while expected > 0 {
            let Poll::Ready(read) = Pin::new(&mut *stream).poll_fill_buf(cx) else { break };
            let len = read.expect("read").len();
            assert!(len > 0, "the peer has ended");
            Pin::new(&mut *stream).consume(len);
            expected -= len;
        }
        if unsent + expected == 0 { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    stream.flush().await.expect("flushed");
}

/// As [`send`].
pub fn send_blocking(to: &mut impl Write, data: &[u8], writes: usize) {
    for _ in 0..writes {
        to.write_all(data).expect("written");
    }
    to.flush().expect("flushed");
}

/// As [`receive`].
pub fn receive_blocking(from: &mut impl BufRead, mut left: usize) {
    while left > 0 {
        let len = from.fill_buf().expect("read").len();
        assert!(len > 0, "the peer has ended");
        from.consume(len);
        left -= len;
    }
}
