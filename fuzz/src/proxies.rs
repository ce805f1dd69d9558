//! PROXY headers: what stands in front of a handshake behind a balancer, where anybody may write anything.

use std::io::ErrorKind;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use countersign::net::{proxy_header_v1, proxy_header_v2, read_proxy_header};

/// Reads one from memory, which never waits: what it says, and how many bytes it took.
fn read(data: &[u8]) -> (std::io::Result<Option<std::net::SocketAddr>>, usize) {
    let mut rest = data;
    let result = {
        let mut reading = pin!(read_proxy_header(&mut rest));
        match reading.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => result,
            Poll::Pending => panic!("it waits for memory"),
        }
    };
    (result, data.len() - rest.len())
}

/// Not a byte behind the header is taken, whatever it is; nothing shorter is a header; and what is understood can be written so that it is understood again.
pub fn proxy_header(data: &[u8]) {
    let (result, taken) = read(data);
    assert!(taken <= 2_064, "{taken} bytes were taken");
    let Ok(source) = result else { return };
    let header = &data[..taken];
    let mut longer = header.to_vec();
    longer.extend_from_slice(b"\r\nmore");
    let (again, taken_again) = read(&longer);
    assert_eq!((again.expect("the same header"), taken_again), (source, taken));
    for end in 0..taken {
        let (cut, _) = read(&header[..end]);
        assert_eq!(cut.expect_err("a header that is cut").kind(), ErrorKind::UnexpectedEof);
    }
    if let Some(source) = source {
        for written in
            [proxy_header_v1(source, source), proxy_header_v2(source, source, &[(0xe0, header)]).expect("it fits")]
        {
            let (read, taken) = read(&written);
            let read = read.expect("our own header").expect("an address");
            assert_eq!((read.ip(), read.port(), taken), (source.ip(), source.port(), written.len()));
        }
    }
}
