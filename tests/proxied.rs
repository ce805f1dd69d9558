//! A listener behind proxies: whose address counts, what a header may be, and who is believed.
#![allow(missing_docs)]

#[path = "support/io.rs"]
mod scripted;
mod support;

use std::future::IntoFuture;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use countersign::net::{HandshakeStats, proxy_header_v1, proxy_header_v2};
use countersign::trust::{Decision, Request, from_fn};
use countersign::{Config, Listener};
use scripted::bounded;
use support::{config, honest, identity};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::time::sleep;

const PROXY: &str = "127.0.0.2";
const BUSY: [u8; 5] = [0xC6, 0, 0, 1, 8];

fn source(last: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, last], 4_660))
}

fn header(last: u8) -> Vec<u8> {
    proxy_header_v1(source(last), source(200))
}

fn hello() -> Vec<u8> {
    honest(&config(1, 2), &config(2, 1), 3).flights[0].clone()
}

/// Address and text of each failure.
type Failures = mpsc::UnboundedReceiver<(SocketAddr, String)>;

/// A listener that takes 127.0.0.2 for a proxy.
async fn listen(config: Config) -> (Listener, Failures) {
    let (failures, failed) = mpsc::unbounded_channel();
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = config.behind_proxy(|address| address == PROXY.parse::<IpAddr>().unwrap());
    let listener = Listener::from_tcp(tcp, config, move |failure| {
        let _ = failures.send((failure.address, failure.error.to_string()));
    });
    (listener.unwrap(), failed)
}

async fn from(address: &str, listener: &Listener) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(address.parse().unwrap(), 0)).unwrap();
    let io = socket.connect(listener.local_addr()).await.unwrap();
    io.set_nodelay(true).unwrap();
    io
}

/// A connection of the proxy that has begun with some bytes.
async fn proxied(listener: &Listener, bytes: &[u8]) -> TcpStream {
    let mut io = from(PROXY, listener).await;
    io.write_all(bytes).await.unwrap();
    io
}

/// All that comes until the connection is closed, or reset where bytes of ours were not read.
async fn rest(io: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = bounded(io.read_to_end(&mut bytes)).await;
    bytes
}

async fn until(listener: &Listener, done: impl Fn(&HandshakeStats) -> bool) -> HandshakeStats {
    for _ in 0..4_000 {
        let stats = listener.stats();
        if done(&stats) {
            return stats;
        }
        sleep(Duration::from_millis(5)).await;
    }
    panic!("{:?}", listener.stats());
}

/// The source in the header is the peer's address to our trust and in the arrival, in both versions; without one it is the proxy's.
#[tokio::test]
async fn the_source_is_the_peer() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let asking = asked.clone();
    let trust = from_fn(move |request: &Request| {
        asking.lock().unwrap().extend(request.address);
        Decision::accept()
    });
    let (listener, _failed) = listen(Config::new(identity(2), trust)).await;
    let v6: SocketAddr = "[2001:db8::1]:7".parse().unwrap();
    let cases = [
        (header(7), Some(source(7))),
        (proxy_header_v2(source(8), source(200), &[]).unwrap(), Some(source(8))),
        (proxy_header_v2(v6, source(200), &[(0xE0, b"whatever")]).unwrap(), Some(v6)),
        (b"PROXY UNKNOWN\r\n".to_vec(), None),
        (b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0".to_vec(), None),
    ];
    for (header, source) in cases {
        let io = proxied(&listener, &header).await;
        let expected = source.unwrap_or(io.local_addr().unwrap());
        let stream = bounded(config(1, 2).connect_over(io).into_future()).await.unwrap();
        let arrival = bounded(listener.arrival()).await.unwrap();
        assert_eq!(arrival.stream.session_id(), stream.session_id());
        assert_eq!(arrival.address, expected);
        assert_eq!(std::mem::take(&mut *asked.lock().unwrap()), [expected]);
    }
    // From elsewhere nothing changes.
    let stream = bounded(config(1, 2).connect(listener.local_addr()).into_future()).await.unwrap();
    assert_eq!(bounded(listener.arrival()).await.unwrap().address, stream.get_ref().local_addr().unwrap());
}

/// However header and HELLO are cut, together in one segment or byte by byte, the handshake goes on; a failure has the source's address.
#[tokio::test]
async fn however_it_is_cut() {
    let (listener, mut failed) = listen(config(2, 1)).await;
    let longest = proxy_header_v2(source(7), source(200), &[(0xE0, &[7; 2_048 - 15])]).unwrap();
    assert_eq!(longest.len(), 16 + 2_048);
    for header in [header(7), proxy_header_v2(source(7), source(200), &[]).unwrap(), longest] {
        let both = [header, hello()].concat();
        let mut at_once = proxied(&listener, &both).await;
        assert_eq!(bounded(at_once.read_u8()).await.unwrap(), 0xC2);
        let mut slow = from(PROXY, &listener).await;
        for byte in both {
            slow.write_all(&[byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        assert_eq!(bounded(slow.read_u8()).await.unwrap(), 0xC2);
        drop((at_once, slow));
        for _ in 0..2 {
            assert_eq!(bounded(failed.recv()).await.unwrap().0, source(7));
        }
    }
}

/// A proxy that sends no header, or none that we take, is closed without an answer, which its address and the report say.
#[tokio::test]
async fn no_header() {
    let (listener, mut failed) = listen(config(2, 1)).await;
    let too_long = proxy_header_v2(source(7), source(200), &[(0xE0, &[7; 2_049 - 15])]).unwrap();
    let mut endless = b"PROXY TCP4 ".to_vec();
    endless.resize(5_000, b'1');
    let cases: [(&[u8], &str); 5] = [
        (&hello(), "what came is neither version 1 nor 2 of it"),
        (b"GET / HTTP/1.1\r\n\r\n", "what came is neither version 1 nor 2 of it"),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 0 x\r\n", "it is malformed"),
        (&too_long, "the header of version 2 has more than the 2,048 bytes that are taken"),
        (&endless, "the line of version 1 does not end"),
    ];
    for (number, (bytes, why)) in (1..).zip(cases) {
        let mut io = proxied(&listener, bytes).await;
        assert!(rest(&mut io).await.is_empty());
        let (address, error) = bounded(failed.recv()).await.unwrap();
        assert_eq!(address, io.local_addr().unwrap());
        assert!(error.ends_with(&format!("no PROXY header from {PROXY}: {why}")), "{error}");
        assert_eq!((listener.stats().failed, listener.stats().started), (number, number));
    }
    // One that ends in the middle.
    let mut io = proxied(&listener, &header(7)[..20]).await;
    io.shutdown().await.unwrap();
    assert!(rest(&mut io).await.is_empty());
    assert!(bounded(failed.recv()).await.unwrap().1.contains("no PROXY header from"));
}

/// A header from an address that is no proxy is bytes of another protocol, and nobody believes it.
#[tokio::test]
async fn a_spoofed_header() {
    let (listener, mut failed) = listen(config(2, 1)).await;
    for header in [header(7), proxy_header_v2(source(7), source(200), &[]).unwrap()] {
        let mut io = from("127.0.0.3", &listener).await;
        io.write_all(&[header, hello()].concat()).await.unwrap();
        assert_eq!(rest(&mut io).await, [0xC6, 0, 0, 1, 1]);
        assert_eq!(bounded(failed.recv()).await.unwrap().0, io.local_addr().unwrap());
    }
    // A second header after that of the proxy is no header either.
    let mut io = proxied(&listener, &[header(7), header(8)].concat()).await;
    assert_eq!(rest(&mut io).await, [0xC6, 0, 0, 1, 1]);
    assert_eq!(bounded(failed.recv()).await.unwrap().0, source(7));
    assert_eq!((listener.stats().failed, listener.stats().accepted), (3, 0));
}

/// [AP-1] Half a header, or nothing, runs into the deadline and is not answered; a header and silence is a handshake that does.
#[tokio::test]
async fn silence() {
    let (listener, mut failed) = listen(config(2, 1).handshake_timeout(Duration::from_millis(200))).await;
    let begun = header(7);
    for (bytes, answer, address) in
        [(&begun[..0], &[][..], None), (&begun[..30], &[], None), (&begun, &[0xC6, 0, 0, 1, 7], Some(source(7)))]
    {
        let mut io = proxied(&listener, bytes).await;
        assert_eq!(rest(&mut io).await, answer);
        let (failed, error) = bounded(failed.recv()).await.unwrap();
        assert_eq!(failed, address.unwrap_or(io.local_addr().unwrap()));
        assert!(error.contains("took too long"), "{error}");
    }
    assert_eq!(listener.stats().timed_out, 3);
}

/// [AP-1] The bound on handshakes per address is that of the sources: the proxy may have as many as there are places in all, and who waits with the
/// header in one of these gives way like anybody else.
#[tokio::test]
async fn bounds_are_those_of_the_sources() {
    let (listener, mut failed) = listen(config(2, 1).max_handshakes(5).max_handshakes_per_address(2)).await;
    let mut first = proxied(&listener, &header(7)).await;
    until(&listener, |stats| stats.started == 1).await;
    let mut all = Vec::new();
    for (number, last) in (2..).zip([None, Some(8), Some(7), None]) {
        all.push(proxied(&listener, &last.map(header).unwrap_or_default()).await);
        until(&listener, |stats| stats.started == number).await;
    }
    assert_eq!((listener.stats().in_flight, listener.stats().gave_way), (5, 0));
    // One of those that wait says that it is of the source that has two: the oldest of these goes.
    all[0].write_all(&header(7)).await.unwrap();
    assert_eq!(rest(&mut first).await, BUSY);
    assert_eq!(bounded(failed.recv()).await.unwrap().0, source(7));
    assert_eq!(listener.stats().in_flight, 4);
    // Two more than there are places: those go that have been there longest, first one without a header.
    all.push(proxied(&listener, &[]).await);
    until(&listener, |stats| stats.started == 6).await;
    all.push(proxied(&listener, &header(9)).await);
    assert_eq!(rest(&mut all[0]).await, BUSY);
    let stats = until(&listener, |stats| stats.started == 7 && stats.gave_way == 2).await;
    assert_eq!((stats.in_flight, stats.failed), (5, 0));
    // A waiting one that has to go is told, and reported as what it is known to be.
    let mut silent = all.remove(3);
    for last in 20..30 {
        all.push(proxied(&listener, &header(last)).await);
    }
    assert_eq!(rest(&mut silent).await, BUSY);
}

/// [AP-1] The rate is that of the sources, too. The clock stands still.
#[tokio::test]
async fn the_rate_is_that_of_the_sources() {
    tokio::time::pause();
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    // A blocking task keeps the paused clock from going on by itself.
    let standing = tokio::task::spawn_blocking(move || stopped.recv());
    let (listener, mut failed) = listen(config(2, 1).max_handshake_rate(2)).await;
    for (last, admitted) in [(7, true), (8, true), (7, true), (7, false), (8, true), (8, false), (9, true)] {
        let mut io = proxied(&listener, &[header(last), hello()].concat()).await;
        let first = io.read_u8().await.unwrap();
        assert_eq!(first, if admitted { 0xC2 } else { 0xC6 }, "{last}");
        if !admitted {
            let (address, error) = failed.recv().await.unwrap();
            assert_eq!(address, source(last));
            assert!(error.contains("too many handshakes in a second"), "{error}");
        }
        drop(io);
        if admitted {
            assert_eq!(failed.recv().await.unwrap().0, source(last));
        }
    }
    assert_eq!(listener.stats().over_rate, 2);
    stop.send(()).unwrap();
    standing.await.unwrap().unwrap();
}

/// A listener that is stopped goes on with those whose header is still to come.
#[tokio::test]
async fn stopping_before_the_header() {
    let (listener, _failed) = listen(config(2, 1)).await;
    let mut io = proxied(&listener, &header(7)[..5]).await;
    until(&listener, |stats| stats.started == 1).await;
    listener.stop();
    io.write_all(&header(7)[5..]).await.unwrap();
    let stream = bounded(config(1, 2).connect_over(io).into_future()).await.unwrap();
    let arrival = bounded(listener.arrival()).await.unwrap();
    assert_eq!((arrival.stream.session_id(), arrival.address), (stream.session_id(), source(7)));
    bounded(listener.arrival()).await.unwrap_err();
}

/// A panic in the application's word on proxies ends one connection, and not the listener.
#[tokio::test]
async fn a_panic_ends_one_connection() {
    let config_of = config(2, 1).behind_proxy(|address| {
        assert_ne!(address, PROXY.parse::<IpAddr>().unwrap(), "as the test wants");
        false
    });
    let listener = Listener::bind("127.0.0.1:0", config_of).await.unwrap();
    let mut io = from(PROXY, &listener).await;
    assert!(rest(&mut io).await.is_empty());
    assert_eq!((listener.stats().failed, listener.stats().in_flight), (1, 0));
    bounded(config(1, 2).connect(listener.local_addr()).into_future()).await.unwrap();
    bounded(listener.accept()).await.unwrap();
}
