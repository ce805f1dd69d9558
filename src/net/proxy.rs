//! The PROXY protocol, versions 1 and 2 (haproxy's proxy-protocol.txt): whom a proxy speaks for. Nothing in it is authenticated, so it is believed
//! only from addresses that are known to be proxies.

use std::io;
use std::net::{IpAddr, SocketAddr};

use proxy_header::{ParseConfig, Protocol, ProxiedAddress, ProxyHeader, Tlv};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Reads a PROXY header, and not a byte of what follows: the source that it names, or `None` if it names none (LOCAL, UNKNOWN, or no TCP over IP). A
/// source that is an IPv4-mapped IPv6 address is given as IPv4. At most 107 bytes are read in version 1, and 2,064 in version 2. Not cancel-safe; a deadline is the caller's.
///
/// # Errors
/// [`io::ErrorKind::InvalidData`] for anything else; else those of reading.
pub async fn read_proxy_header(io: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<SocketAddr>> {
    let mut header = Vec::new();
    read_more(io, &mut header, SIGNATURE.len()).await?;
    if header == SIGNATURE {
        read_more(io, &mut header, 4).await?;
        let len = header.last_chunk().map_or(0, |len| usize::from(u16::from_be_bytes(*len)));
        if len > MAX_V2_LEN {
            return Err(invalid("the header of version 2 has more than the 2,048 bytes that are taken"));
        }
        read_more(io, &mut header, len).await?;
        if header.get(SIGNATURE.len()) == Some(&LOCAL) {
            // What follows then is of no meaning.
            return Ok(None);
        }
    } else if header.starts_with(b"PROXY ") {
        while !header.ends_with(b"\r\n") {
            let left = if header.ends_with(b"\r") { 1 } else { 2 };
            if header.len() + left > MAX_V1_LEN {
                return Err(invalid("the line of version 1 does not end"));
            }
            read_more(io, &mut header, left).await?;
        }
        if !is_strict_v1(&header) {
            return Err(invalid("it is malformed"));
        }
    } else {
        return Err(invalid("what came is neither version 1 nor 2 of it"));
    }
    let config = ParseConfig { include_tlvs: false, ..ParseConfig::default() };
    match ProxyHeader::parse(&header, config) {
        Ok((parsed, len)) if len == header.len() => {
            let tcp = parsed.proxied_address().filter(|address| address.protocol == Protocol::Stream);
            // An IPv4 address by whichever name it comes.
            Ok(tcp.map(|address| SocketAddr::new(address.source.ip().to_canonical(), address.source.port())))
        }
        _ => Err(invalid("it is malformed")),
    }
}

/// Whether ports are written as they have to be in version 1, and nothing is behind UNKNOWN but a blank or the end.
fn is_strict_v1(line: &[u8]) -> bool {
    let mut fields = line.trim_ascii_end().split(|byte| *byte == b' ').skip(1);
    let is_port = |port: &[u8]| port.iter().all(u8::is_ascii_digit) && (port == b"0" || !port.starts_with(b"0"));
    match fields.next() {
        Some(b"UNKNOWN") => true,
        Some(b"TCP4" | b"TCP6") => fields.skip(2).all(is_port),
        _ => false,
    }
}

/// A PROXY header of version 1 for a connection; addresses of two families are both written as IPv6.
pub fn proxy_header_v1(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let mut header = Vec::new();
    match ProxyHeader::with_address(addresses(source, destination)).encode_v1(&mut header) {
        Ok(()) => header,
        Err(_) => b"PROXY UNKNOWN\r\n".to_vec(),
    }
}

/// A PROXY header of version 2 for a connection, with fields of a type and a value; addresses of two families are both written as IPv6.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`] if it is longer than the 65,535 bytes that the header has room for.
pub fn proxy_header_v2(source: SocketAddr, destination: SocketAddr, tlvs: &[(u8, &[u8])]) -> io::Result<Vec<u8>> {
    let too_long = || io::Error::new(io::ErrorKind::InvalidInput, "the fields do not fit into a PROXY header");
    if tlvs.iter().any(|(_, value)| u16::try_from(value.len()).is_err()) {
        return Err(too_long());
    }
    let tlvs = tlvs.iter().map(|(kind, value)| Tlv::Custom(*kind, (*value).into()));
    let mut header = Vec::new();
    let encoded = ProxyHeader::with_tlvs(Some(addresses(source, destination)), tlvs).encode_v2(&mut header);
    encoded.map(|()| header).map_err(|_| too_long())
}

async fn read_more(io: &mut (impl AsyncRead + Unpin), header: &mut Vec<u8>, count: usize) -> io::Result<()> {
    let start = header.len();
    header.resize(start + count, 0);
    io.read_exact(header.get_mut(start..).unwrap_or_default()).await.map(|_| ())
}

fn invalid(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// Both of one family.
fn addresses(source: SocketAddr, destination: SocketAddr) -> ProxiedAddress {
    let [source, destination] = [source, destination].map(|one| SocketAddr::new(one.ip().to_canonical(), one.port()));
    if source.is_ipv4() == destination.is_ipv4() {
        return ProxiedAddress::stream(source, destination);
    }
    let mapped = |one: SocketAddr| match one.ip() {
        IpAddr::V4(address) => SocketAddr::new(address.to_ipv6_mapped().into(), one.port()),
        IpAddr::V6(_) => one,
    };
    ProxiedAddress::stream(mapped(source), mapped(destination))
}

/// How version 2 begins. No header of version 1 is shorter.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, of a connection that the proxy made for itself.
const LOCAL: u8 = 0x20;
/// The longest line of version 1.
const MAX_V1_LEN: usize = 107;
/// The most that we take after the first 16 bytes of version 2.
const MAX_V2_LEN: usize = 2_048;

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    /// What is read of some bytes, and what is left of them.
    async fn read(bytes: &[u8]) -> (io::Result<Option<SocketAddr>>, usize) {
        let mut left = bytes;
        let read = read_proxy_header(&mut left).await;
        (read, left.len())
    }

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let len = u16::try_from(body.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &len, body].concat()
    }

    const MAPPED: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 192, 0, 2, 1];
    const V4: [u8; 12] = [192, 0, 2, 1, 192, 0, 2, 2, 0x12, 0x34, 0, 80];

    fn accepted() -> Vec<(Vec<u8>, Option<&'static str>)> {
        let v6 = [[0x20, 1, 0xD, 0xB8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]; 2].concat();
        let longest = format!("PROXY UNKNOWN {}\r\n", "f".repeat(107 - 16));
        assert_eq!(longest.len(), 107);
        vec![
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 4660 80\r\n".to_vec(), Some("192.0.2.1:4660")),
            (b"PROXY TCP6 2001:db8::1 ::1 1 2\r\n".to_vec(), Some("[2001:db8::1]:1")),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (longest.into_bytes(), None),
            (v2(0x21, 0x11, &V4), Some("192.0.2.1:4660")),
            (v2(0x21, 0x21, &[&v6[..], &[0, 1, 0, 2]].concat()), Some("[2001:db8::1]:1")),
            // An IPv4 address in IPv6's clothes.
            (v2(0x21, 0x21, &[&MAPPED[..], &v6[..16], &[0, 1, 0, 2]].concat()), Some("192.0.2.1:1")),
            // With fields, as many as there may be.
            (v2(0x21, 0x11, &[&V4[..], &[4; 2_036]].concat()), Some("192.0.2.1:4660")),
            // LOCAL, whatever else it says; a family that is not given; datagrams; paths.
            (v2(0x20, 0, &[]), None),
            (v2(0x20, 0x11, &V4), None),
            (v2(0x20, 0x77, &[1, 2, 3]), None),
            (v2(0x21, 0, &[]), None),
            (v2(0x21, 0x12, &V4), None),
            (v2(0x21, 0x31, &[0; 216]), None),
        ]
    }

    fn refused() -> Vec<Vec<u8>> {
        let mut cases: Vec<Vec<u8>> = [
            "GET / HTTP/1.1\r\n\r\n",
            "PROXY\tTCP4 192.0.2.1 192.0.2.2 1 2\r\n",
            "proxy TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
            "PROXY TCP5 192.0.2.1 192.0.2.2 1 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n",
            "PROXY TCP4 192.0.2.256 192.0.2.2 1 2\r\n",
            "PROXY TCP4 192.0.2.1  192.0.2.2 1 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 0111\r\n",
            "PROXY UNKNOWNx\r\n",
            "PROXY TCP4 ::1 ::1 1 2\r\n",
            "PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\rX\r\n",
            "PROXY TCP4 \r\n",
            "PROXY \r\n\r\n\r\n\r\n",
        ]
        .map(|line| line.as_bytes().to_vec())
        .to_vec();
        cases.push(format!("PROXY UNKNOWN {}\r\n", "f".repeat(108 - 16)).into_bytes());
        cases.push(vec![b'\n'; 200]);
        cases.push([&b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n"[..], &[b'x'; 100]].concat());
        cases.extend([v2(0x11, 0x11, &V4), v2(0x22, 0x11, &V4), v2(0x21, 0x13, &V4), v2(0x21, 0x41, &V4)]);
        cases.extend([v2(0x21, 0x11, &V4[..11]), v2(0x21, 0x11, &[]), v2(0x21, 0x21, &V4), v2(0x21, 0x31, &V4)]);
        cases.push(v2(0x21, 0x11, &[&V4[..], &[4; 2_037]].concat()));
        cases.push(v2(0x20, 0, &[0; 2_049]));
        cases
    }

    /// Every header says what it says, whatever follows stays unread, and no part of one is a header.
    #[tokio::test]
    async fn headers() {
        for (header, source) in accepted() {
            let shown = String::from_utf8_lossy(&header).into_owned();
            let source = source.map(|source| source.parse().unwrap());
            let (read_source, left) = read(&[&header[..], b"\xC1HELLO"].concat()).await;
            assert_eq!((read_source.expect(&shown), left), (source, 6), "{shown}");
            for len in 0..header.len() {
                let error = read(&header[..len]).await.0.unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{shown} {len}");
            }
        }
    }

    /// What is malformed is refused, within the bound.
    #[tokio::test]
    async fn malformed_headers() {
        for header in refused() {
            let shown = String::from_utf8_lossy(&header).into_owned();
            let long = [&header[..], &[b'x'; 70_000]].concat();
            let (error, left) = read(&long).await;
            assert_eq!(error.expect_err(&shown).kind(), io::ErrorKind::InvalidData, "{shown}");
            assert!(long.len() - left <= 16 + 2_048 && (long.len() - left <= 107 || header.starts_with(SIGNATURE)));
        }
    }

    /// A header that comes byte by byte is read as one that comes at once.
    #[tokio::test]
    async fn byte_by_byte() {
        for (header, source) in accepted() {
            let (mut near, mut far) = tokio::io::duplex(1);
            let sending = tokio::spawn(async move {
                near.write_all(&header).await.unwrap();
                near.write_all(b"!").await.unwrap();
            });
            assert_eq!(read_proxy_header(&mut far).await.unwrap(), source.map(|source| source.parse().unwrap()));
            assert_eq!(far.read_u8().await.unwrap(), b'!');
            sending.await.unwrap();
        }
    }

    /// What we write is read as what it was, in both versions and over both families; what does not fit is refused.
    #[tokio::test]
    async fn what_we_write() {
        let v4: SocketAddr = "192.0.2.1:4660".parse().unwrap();
        let v6: SocketAddr = "[2001:db8::1]:1".parse().unwrap();
        let mapped: SocketAddr = "[::ffff:192.0.2.1]:4660".parse().unwrap();
        for (source, destination, expected) in
            [(v4, v4, v4), (v6, v6, v6), (v4, v6, v4), (v6, v4, v6), (mapped, v4, v4), (mapped, mapped, v4)]
        {
            let fields: &[(u8, &[u8])] = &[(0xE0, b"SHA256:key"), (4, b""), (0xE1, &[7; 300])];
            for header in [proxy_header_v1(source, destination), proxy_header_v2(source, destination, fields).unwrap()]
            {
                let (read_source, left) = read(&header).await;
                assert_eq!((read_source.unwrap(), left), (Some(expected), 0), "{source} {destination}");
            }
        }
        assert_eq!(proxy_header_v1(v4, v4), b"PROXY TCP4 192.0.2.1 192.0.2.1 4660 4660\r\n");
        let header = proxy_header_v2(v4, v4, &[(0xE0, b"key")]).unwrap();
        assert_eq!(header[12..16], [0x21, 0x11, 0, 18]);
        assert_eq!(header[28..], *b"\xE0\0\x03key");
        // 12 bytes of addresses and 3 of each field.
        assert_eq!(proxy_header_v2(v4, v4, &[(1, &[0; 65_520])]).unwrap().len(), 16 + 65_535);
        for fields in [&[(1, &[0; 65_521][..])][..], &[(1, &[0; 70_000][..])], &[(1, &[0; 40_000][..]); 2]] {
            assert_eq!(proxy_header_v2(v4, v4, fields).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
    }
}
