//! The tunnel as its two sides see it: what goes in comes out, with its ends and its resets; who calls is known to the service; and the same session has the
//! same name in both logs.
#![allow(missing_docs)]
#![cfg(all(unix, feature = "cli"))]

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::channel;
use std::time::Duration;

mod cmd;

use cmd::tunnel::{Tunnel, body, dial, echo, exchange, get, http, round_trip, service, until, value};
use cmd::{House, PATIENCE, peak_kib, text};
use socket2::SockRef;

/// A server with one service `it` at this address, and a client for it.
fn pair(house: &House, service: &str, server: &[&str], client: &[&str]) -> (Tunnel, Tunnel, String) {
    let route = format!("it={service}");
    let mut server_args = vec!["--route", &*route];
    server_args.extend(server);
    let mut server = house.tunnel_server(&server_args);
    let target = server.address();
    let mut client_args = vec!["--service", "it"];
    client_args.extend(client);
    let mut client = house.tunnel_client(&target, &client_args);
    let address = client.address();
    (server, client, address)
}

fn is_reset(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
}

/// Breaks a connection off with a reset.
fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("linger");
}

// Bytes, the half-close, and the two lines in the logs: one session, one name, the same bytes from both sides.
#[test]
fn a_session_is_one_line_on_each_side() {
    let house = House::new();
    let (mut server, mut client, address) = pair(&house, &echo().to_string(), &[], &["--name", "to bob"]);
    let data: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let mut stream = dial(&address);
    let (from, sent) = (stream.local_addr().expect("address"), data.clone());
    let mut writing = stream.try_clone().expect("clone");
    let writer = std::thread::spawn(move || {
        writing.write_all(&sent).expect("write");
        writing.shutdown(Shutdown::Write).expect("end");
    });
    let mut back = Vec::new();
    stream.read_to_end(&mut back).expect("read");
    writer.join().expect("writer");
    assert!(back == data);

    let (ours, theirs) = (client.line("closed "), server.line("closed "));
    assert_eq!(value(&ours, "session"), value(&theirs, "session"));
    assert_eq!(value(&ours, "session").len(), 32);
    for line in [&ours, &theirs] {
        assert_eq!((value(line, "received"), value(line, "sent")), ("3000000", "3000000"));
        assert_eq!((value(line, "service"), value(line, "reason"), value(line, "cause")), ("it", "ok", "ok"));
    }
    assert_eq!(value(&ours, "from"), from.to_string());
    assert!(value(&theirs, "peer").contains("alice"), "{theirs}");
    assert_eq!(value(&ours, "tunnel"), "to bob");
}

// The same in JSON, for programs.
#[test]
fn the_log_in_json() {
    let house = House::new();
    let (mut server, mut client, address) = pair(&house, &echo().to_string(), &["--log", "json"], &["--log", "json"]);
    exchange(&mut dial(&address), b"hello").expect("echo");
    let ours: serde_json::Value = serde_json::from_str(&client.line("closed")).expect("JSON");
    let theirs: serde_json::Value = serde_json::from_str(&server.line("closed")).expect("JSON");
    assert_eq!(ours["session"], theirs["session"]);
    assert_eq!(theirs["peer"]["name"], "alice");
    assert!(theirs["peer"]["key"].as_str().expect("key").starts_with("SHA256:"));
    assert_eq!((&theirs["received"], &theirs["sent"], &theirs["reason"]), (&5.into(), &5.into(), &"ok".into()));
    assert!(theirs["seconds"].is_number() && theirs["time"].as_str().expect("time").contains('T'));
}

// Either side may end first, and go on reading; what was sent before the end all arrives.
#[test]
fn half_close_both_ways() {
    let house = House::new();
    let (ended, told) = channel();
    // Ends first, and only then reads what comes.
    let first_to_end = service(move |mut stream| {
        stream.write_all(b"I am done").expect("write");
        stream.shutdown(Shutdown::Write).expect("end");
        let mut all = Vec::new();
        stream.read_to_end(&mut all).expect("read");
        ended.send(all).expect("send");
    });
    let (mut server, mut client, address) = pair(&house, &first_to_end.to_string(), &[], &[]);
    let mut stream = dial(&address);
    let mut said = String::new();
    stream.read_to_string(&mut said).expect("an end, while we may still write");
    assert_eq!(said, "I am done");
    stream.write_all(&vec![7; 200_000]).expect("write");
    stream.shutdown(Shutdown::Write).expect("end");
    assert_eq!(told.recv_timeout(PATIENCE).expect("all"), vec![7; 200_000]);
    // What one has sent the other has received.
    let (ours, theirs) = (client.line("closed "), server.line("closed "));
    assert_eq!((value(&ours, "sent"), value(&ours, "received"), value(&ours, "reason")), ("200000", "9", "ok"));
    assert_eq!((value(&theirs, "sent"), value(&theirs, "received"), value(&theirs, "reason")), ("9", "200000", "ok"));
}

// A reset is not an end: who gets half of something must know that it is half.
#[test]
fn resets_are_carried_over_as_resets() {
    let house = House::new();
    let broken = service(|mut stream| {
        stream.write_all(b"half of").expect("write");
        let mut first = [0];
        stream.read_exact(&mut first).expect("read");
        reset(stream);
    });
    let (mut server, mut client, address) = pair(&house, &broken.to_string(), &[], &[]);
    let mut stream = dial(&address);
    let mut half = [0; 7];
    stream.read_exact(&mut half).expect("half");
    stream.write_all(b"x").expect("write");
    let ended = stream.read(&mut half);
    assert!(is_reset(ended.as_ref().expect_err("a reset, not an end")), "{ended:?}");
    assert_eq!(value(&server.line("closed "), "cause"), "reset");
    let line = client.line("closed ");
    assert_eq!(value(&line, "cause"), "peer_broke_off", "{line}");

    // And the other way round.
    let (ended, told) = channel();
    let victim = service(move |mut stream| {
        let mut all = Vec::new();
        ended.send(stream.read_to_end(&mut all).map_err(|error| error.kind())).expect("send");
    });
    let (mut server, mut client, address) = pair(&house, &victim.to_string(), &[], &[]);
    let mut stream = dial(&address);
    stream.write_all(b"half").expect("write");
    until("it has arrived", || {
        std::thread::sleep(Duration::from_millis(100));
        true
    });
    reset(stream);
    assert_eq!(told.recv_timeout(PATIENCE).expect("told"), Err(ErrorKind::ConnectionReset));
    assert_eq!(value(&client.line("closed "), "cause"), "reset");
    assert_eq!(value(&server.line("closed "), "cause"), "peer_broke_off");
}

// A tunnel end that is killed, or a network that is cut, resets both plain sides.
#[test]
fn a_killed_tunnel_is_a_reset() {
    let house = House::new();
    let (ended, told) = channel();
    let waiting = service(move |mut stream| {
        let mut all = Vec::new();
        let ended_as = stream.read_to_end(&mut all).map_err(|error| error.kind());
        let _ = ended.send(ended_as);
    });
    let (mut server, mut client, address) = pair(&house, &waiting.to_string(), &[], &[]);
    let mut stream = dial(&address);
    stream.write_all(b"x").expect("write");
    until("the session is there", || {
        std::thread::sleep(Duration::from_millis(200));
        true
    });
    server.child.kill().expect("kill");
    let ended = stream.read(&mut [0; 8]);
    assert!(is_reset(ended.as_ref().expect_err("no end")), "{ended:?}");
    let line = client.line("closed ");
    assert!(["cut", "lost"].contains(&value(&line, "cause")), "{line}");
    let _ = told.recv_timeout(PATIENCE).expect("told");
}

// A side that does not read holds the other one back, and costs no memory.
#[test]
fn back_pressure_bounds_memory() {
    let house = House::new();
    let (go, gone) = channel::<()>();
    let gone = std::sync::Mutex::new(gone);
    let (counted, count) = channel();
    let lazy = service(move |mut stream| {
        gone.lock().expect("lock").recv().expect("go");
        let mut all = 0;
        let mut scratch = vec![0; 1 << 16];
        while let Ok(len @ 1..) = stream.read(&mut scratch) {
            all += len;
        }
        counted.send(all).expect("send");
    });
    let (server, client, address) = pair(&house, &lazy.to_string(), &[], &[]);
    let before = [&server, &client].map(|tunnel| peak_kib(tunnel.child.id()).expect("memory"));
    let stream = dial(&address);
    stream.set_nonblocking(true).expect("nonblocking");
    let (block, mut sent, mut idle) = (vec![1; 1 << 16], 0, 0);
    while idle < 20 {
        match (&stream).write(&block) {
            Ok(len) => (sent, idle) = (sent + len, 0),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                idle += 1;
                std::thread::sleep(Duration::from_millis(50));
            }
            Err(error) => panic!("{error}"),
        }
        assert!(sent < 1 << 30, "nobody reads, and a gibibyte was taken");
    }
    for (tunnel, before) in [&server, &client].into_iter().zip(before) {
        let after = peak_kib(tunnel.child.id()).expect("memory");
        assert!(after < before + 8_192, "{before} KiB before, {after} after {sent} bytes");
    }
    go.send(()).expect("go");
    stream.shutdown(Shutdown::Write).expect("end");
    assert_eq!(count.recv_timeout(PATIENCE).expect("count"), sent);
}

// While one side of a session is held back for longer than the idle timeout, the session lives: keepalives go on.
#[test]
fn a_session_that_is_held_back_lives() {
    let house = House::new();
    let slow = service(|mut stream| {
        std::thread::sleep(Duration::from_secs(5));
        let mut all = Vec::new();
        stream.read_to_end(&mut all).expect("read");
        stream.write_all(&all.len().to_be_bytes()).expect("write");
    });
    let keep = ["--keepalive", "1", "--idle-timeout", "2"];
    let (_server, _client, address) = pair(&house, &slow.to_string(), &keep, &keep);
    let mut stream = dial(&address);
    let data = vec![5; 32 << 20];
    let answer = exchange(&mut stream, &data).expect("answer");
    assert_eq!(answer, data.len().to_be_bytes());
}

// PROXY headers, version 2: the service learns who calls, cryptographically and not by address alone.
#[test]
fn the_service_learns_who_calls() {
    let house = House::new();
    let (seen, header) = channel();
    let curious = service(move |mut stream| {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).expect("read");
        seen.send((all, stream.local_addr().expect("address"))).expect("send");
    });
    let (mut server, _client, address) = pair(&house, &curious.to_string(), &["--proxy-out", "v2"], &[]);
    exchange(&mut dial(&address), b"GET /").expect("exchange");
    let (all, _) = header.recv_timeout(PATIENCE).expect("header");
    assert_eq!(&all[..12], b"\r\n\r\n\0\r\nQUIT\n");
    assert_eq!(&all[12..14], [0x21, 0x11], "version 2, PROXY, TCP over IPv4");
    let len = usize::from(u16::from_be_bytes([all[14], all[15]]));
    let line = server.line("closed ");
    let from: std::net::SocketAddrV4 = value(&line, "from").parse().expect("address");
    assert_eq!(all[16..20], from.ip().octets());
    assert_eq!(all[24..26], from.port().to_be_bytes());
    let mut values = std::collections::BTreeMap::new();
    let mut rest = &all[28..16 + len];
    while let [kind, high, low, more @ ..] = rest {
        let (value, after) = more.split_at(usize::from(u16::from_be_bytes([*high, *low])));
        values.insert(*kind, value.to_vec());
        rest = after;
    }
    let public = fs::read_to_string(house.path("alice.key.pub")).expect("key");
    let key: Vec<&str> = public.split_whitespace().collect();
    assert_eq!(values[&0x02], b"it");
    assert_eq!(values[&0x05].iter().map(|byte| format!("{byte:02x}")).collect::<String>(), value(&line, "session"));
    assert!(values[&0xe0].starts_with(b"SHA256:"));
    assert_eq!(values[&0xe1], format!("{} {}", key[0], key[1]).into_bytes());
    assert_eq!(values[&0xe2], b"alice");
    assert_eq!(&all[16 + len..], b"GET /");
}

// Version 1 has the addresses only.
#[test]
fn the_older_proxy_header() {
    let house = House::new();
    let (seen, header) = channel();
    let curious = service(move |mut stream| {
        let mut all = String::new();
        stream.read_to_string(&mut all).expect("read");
        seen.send(all).expect("send");
    });
    let (mut server, _client, address) = pair(&house, &curious.to_string(), &["--proxy-out", "v1"], &[]);
    let target = server.address();
    exchange(&mut dial(&address), b"hello").expect("exchange");
    let all = header.recv_timeout(PATIENCE).expect("header");
    let line = server.line("closed ");
    let (from, port) = value(&line, "from").rsplit_once(':').expect("address");
    let to = target.rsplit_once(':').expect("address").1;
    assert_eq!(all, format!("PROXY TCP4 {from} 127.0.0.1 {port} {to}\r\nhello"));
}

// Behind a balancer the address in the log, for trust and in the header to the service is the caller's. From elsewhere nobody can claim one.
#[test]
fn addresses_behind_a_balancer() {
    let house = House::new();
    let (_server, mut client, address) =
        pair(&house, &echo().to_string(), &[], &["--proxy-in", "127.0.0.0/8", "--timeout", "5"]);
    let mut stream = dial(&address);
    stream.write_all(b"PROXY TCP4 192.0.2.7 192.0.2.1 4321 80\r\n").expect("header");
    round_trip(&mut stream, b"hello").expect("echo");
    drop(stream);
    assert_eq!(value(&client.line("closed "), "from"), "192.0.2.7:4321");
    // Without a header there is no session.
    let mut stream = dial(&address);
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("write");
    assert_eq!(stream.read(&mut [0; 8]).map_err(|error| is_reset(&error)).unwrap_or(0), 0);
    let line = client.line("failed ");
    assert_eq!(value(&line, "cause"), "proxy_header");
    assert!(line.contains("no PROXY header from 127.0.0.1"), "{line}");

    // The server: its trust file lets alice in from one address only, which only the balancer can tell.
    let key = fs::read_to_string(house.path("alice.key.pub")).expect("key");
    fs::write(house.path("trust"), format!("from=\"192.0.2.7\" {key}")).expect("trust");
    let route = format!("it={}", echo());
    let mut server = house.tunnel_server(&["--route", &route, "--proxy-in", "127.0.0.1"]);
    let target = server.address();
    let balancer = |source: &'static str| {
        let target = target.clone();
        service(move |mut near| {
            let mut far = TcpStream::connect(&target).expect("connect");
            far.write_all(format!("PROXY TCP4 {source} 127.0.0.1 4321 7000\r\n").as_bytes()).expect("header");
            let (mut near_in, mut far_in) = (near.try_clone().expect("clone"), far.try_clone().expect("clone"));
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut near_in, &mut far);
                let _ = far.shutdown(Shutdown::Write);
            });
            let _ = std::io::copy(&mut far_in, &mut near);
            let _ = near.shutdown(Shutdown::Write);
        })
    };
    let mut good = house.tunnel_client(&balancer("192.0.2.7").to_string(), &["--service", "it"]);
    let mut stream = dial(&good.address());
    round_trip(&mut stream, b"hello").expect("from the right address");
    drop(stream);
    assert_eq!(value(&server.line("closed "), "from"), "192.0.2.7:4321");
    let mut bad = house.tunnel_client(&balancer("192.0.2.8").to_string(), &["--service", "it"]);
    let mut stream = dial(&bad.address());
    assert!(round_trip(&mut stream, b"hello").is_err(), "from another address");
    let line = server.line("refused ");
    assert!(line.contains("192.0.2.8"), "{line}");

    // A balancer that nobody has named is told apart from a stranger.
    let mut server = house.tunnel_server(&["--route", &route]);
    let target = server.address();
    for header in [&b"PROXY TCP4 192.0.2.7 127.0.0.1 4321 7000\r\n"[..], b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"] {
        dial(&target).write_all(header).expect("header");
        let line = server.line("failed ");
        assert!(line.contains("name its address with --proxy-in"), "{line}");
    }
    dial(&target).write_all(b"\x16\x03\x01").expect("TLS");
    let line = server.line("failed ");
    assert!(line.contains("TLS") && !line.contains("--proxy-in"), "{line}");
}

/// The states of the processes that a tunnel has started.
fn children(tunnel: &Tunnel) -> String {
    let id = tunnel.child.id().to_string();
    let children = std::process::Command::new("ps").args(["--ppid", &id, "-o", "stat="]).output().expect("ps");
    text(&children.stdout).trim().to_string()
}

/// Waits for a reset of a connection on which the other side has ended already: nothing that can be read shows it.
fn until_reset(stream: &TcpStream) {
    until("a reset behind an end", || stream.take_error().expect("SO_ERROR").is_some());
}

// One direction has ended, and then the connection is broken off, by either side or by a limit: nobody has to write to learn of it.
#[test]
fn resets_behind_an_end() {
    let house = House::new();
    let (tell, told) = channel();
    let silent = service(move |mut stream| {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a byte");
        match byte[0] {
            b'r' => {
                stream.shutdown(Shutdown::Write).expect("end");
                std::thread::sleep(Duration::from_millis(300));
                reset(stream);
            }
            b'e' => {
                stream.shutdown(Shutdown::Write).expect("end");
                tell.send(stream).expect("told");
            }
            _ => {
                assert_eq!(stream.read(&mut byte).expect("end"), 0);
                tell.send(stream).expect("told");
            }
        }
    });
    // Without keepalives that would show it in the time of this test.
    let rare = ["--keepalive", "60", "--idle-timeout", "240"];
    let limited = [&rare[..], &["--session-lifetime", "4"]].concat();
    let (mut server, mut client, address) = pair(&house, &silent.to_string(), &limited, &rare);
    let ended = |stream: &mut TcpStream| assert_eq!(stream.read(&mut [0]).expect("end"), 0);
    // The client ends and breaks off; the service says nothing.
    let mut stream = dial(&address);
    stream.write_all(b"x").expect("write");
    stream.shutdown(Shutdown::Write).expect("end");
    let there = told.recv_timeout(PATIENCE).expect("the service has seen the end");
    reset(stream);
    until_reset(&there);
    assert_eq!(value(&client.line("closed "), "cause"), "reset");
    assert_eq!(value(&server.line("closed "), "cause"), "cut");
    // The service does; the client says nothing.
    let mut stream = dial(&address);
    stream.write_all(b"r").expect("write");
    ended(&mut stream);
    until_reset(&stream);
    assert_eq!(value(&server.line("closed "), "cause"), "reset");
    assert_eq!(value(&client.line("closed "), "cause"), "cut");
    // A limit, after the service has ended.
    let mut stream = dial(&address);
    stream.write_all(b"e").expect("write");
    ended(&mut stream);
    until_reset(&stream);
    assert_eq!(value(&server.line("closed "), "cause"), "lifetime");
    assert_eq!(value(&client.line("closed "), "cause"), "cut");
    // The peer is no longer trusted, after the service has ended.
    let (mut server, mut client, address) = pair(&house, &silent.to_string(), &rare, &rare);
    let mut stream = dial(&address);
    stream.write_all(b"e").expect("write");
    ended(&mut stream);
    let trust = fs::read_to_string(house.path("trust")).expect("trust");
    fs::write(house.path("trust"), "# nobody\n").expect("trust");
    until_reset(&stream);
    assert_eq!(value(&server.line("closed "), "cause"), "revoked");
    assert_eq!(value(&client.line("closed "), "cause"), "cut");
    fs::write(house.path("trust"), trust).expect("trust");
    // A command is killed.
    let (_server, mut client, address) = pair(&house, "exec:echo $$ >pid; exec sleep 777", &rare, &rare);
    let mut stream = dial(&address);
    stream.write_all(b"x").expect("write");
    until("it runs", || fs::read_to_string(house.path("pid")).is_ok_and(|pid| pid.ends_with('\n')));
    stream.shutdown(Shutdown::Write).expect("end");
    std::thread::sleep(Duration::from_millis(300));
    reset(stream);
    client.line("closed ");
    let pid = fs::read_to_string(house.path("pid")).expect("pid");
    let process = std::path::PathBuf::from("/proc").join(pid.trim());
    until("the command is killed", || !process.exists());
}

// Who has ended and reads slowly, with a peer that can't say that it is there: everything arrives, however long it takes.
#[test]
fn a_slow_reader_behind_an_end() {
    let house = House::new();
    let much = vec![7; 64_000_000];
    let sent = much.clone();
    let streaming = service(move |mut stream| {
        assert_eq!(stream.read(&mut [0]).expect("end"), 0);
        stream.write_all(&sent).expect("all");
    });
    let short = ["--keepalive", "1", "--idle-timeout", "2"];
    let (mut server, mut client, address) = pair(&house, &streaming.to_string(), &short, &short);
    let mut stream = dial(&address);
    stream.shutdown(Shutdown::Write).expect("end");
    std::thread::sleep(Duration::from_secs(6));
    let mut got = Vec::new();
    stream.read_to_end(&mut got).expect("all of it");
    assert!(got == much, "{} bytes", got.len());
    for line in [server.line("closed "), client.line("closed ")] {
        assert_eq!(value(&line, "cause"), "ok", "{line}");
    }
}

// Who closes a Unix socket has ended both ways, and has not broken off: what it said last arrives, on either side.
#[test]
fn unix_sockets_that_are_closed() {
    let house = House::new();
    let much = vec![9; 3_000_000];
    let listener = std::os::unix::net::UnixListener::bind(house.path("service.sock")).expect("bind");
    let (sent, (tell, told)) = (much.clone(), channel());
    std::thread::spawn(move || {
        for (n, stream) in listener.incoming().map_while(Result::ok).enumerate() {
            let mut stream = stream;
            if n == 0 {
                // Answers and closes before the client has ended.
                stream.write_all(&sent).expect("answer");
            } else {
                let mut all = Vec::new();
                stream.read_to_end(&mut all).expect("all");
                tell.send(all).expect("told");
            }
        }
    });
    let route = format!("unix:{}", house.path("service.sock").display());
    let door = format!("unix:{}", house.path("door.sock").display());
    let (mut server, mut client, _) = pair(&house, &route, &[], &["--listen", &door]);
    let mut stream = UnixStream::connect(house.path("door.sock")).expect("connect");
    stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
    std::thread::sleep(Duration::from_secs(1));
    let mut got = Vec::new();
    stream.read_to_end(&mut got).expect("answer");
    assert!(got == much, "{} bytes", got.len());
    drop(stream);
    // Says what it has to say, and is gone.
    let mut stream = UnixStream::connect(house.path("door.sock")).expect("connect");
    stream.write_all(&much).expect("request");
    drop(stream);
    assert!(told.recv_timeout(PATIENCE).expect("the service") == much);
    for tunnel in [&mut server, &mut client] {
        for _ in 0..2 {
            let line = tunnel.line("closed ");
            assert_eq!(value(&line, "cause"), "ok", "{line}");
        }
    }
}

// Whoever breaks a download off does not get it all the same, behind an end as little as before it.
#[test]
fn a_download_that_is_broken_off() {
    let house = House::new();
    let endless = service(|mut stream| while stream.write_all(&[7; 65_536]).is_ok() {});
    let (mut server, _client, address) = pair(&house, &endless.to_string(), &[], &[]);
    for ends_first in [false, true] {
        let mut stream = dial(&address);
        stream.read_exact(&mut [0; 1_000]).expect("data");
        if ends_first {
            stream.shutdown(Shutdown::Write).expect("end");
            std::thread::sleep(Duration::from_millis(300));
        }
        drop(stream);
        let line = server.line("closed ");
        let sent: u64 = value(&line, "sent").parse().expect("bytes");
        // What sockets hold on the way.
        assert!(sent < 60_000_000, "{line}");
    }
}

// A command that has exited leaves no zombie while the peer goes on; and it has the descriptors that we were given, not all that we took.
#[test]
fn commands_that_end() {
    let house = House::new();
    let (mut server, mut client, address) = pair(&house, "exec:ulimit -S -n; exit 3", &[], &[]);
    let mut stream = dial(&address);
    let mut said = String::new();
    stream.read_to_string(&mut said).expect("output");
    let own = std::process::Command::new("sh").args(["-c", "ulimit -S -n"]).output().expect("sh").stdout;
    assert_eq!(said, text(&own));
    until("the command is reaped", || children(&server).is_empty());
    drop(stream);
    let line = server.line("closed ");
    assert!(value(&line, "reason").contains("exit status: 3"), "{line}");
    assert_eq!(value(&client.line("closed "), "cause"), "ok");
    // One whose child has its output leaves no zombie meanwhile.
    let (server, _client, address) = pair(&house, "exec:sleep 3 & echo", &[], &[]);
    let mut stream = dial(&address);
    stream.read_exact(&mut [0]).expect("output");
    until("the command is reaped", || children(&server).is_empty());
    stream.read_to_end(&mut Vec::new()).expect("its child has ended");
}

// Inetd's way: a command for each session, which finds in its environment who calls.
#[test]
fn commands_as_services() {
    let house = House::new();
    let command = "exec:echo \"$COUNTERSIGN_PEER_NAME $COUNTERSIGN_SERVICE $COUNTERSIGN_SESSION $COUNTERSIGN_ADDRESS\"; cat; exit 3";
    let (mut server, mut client, address) = pair(&house, command, &[], &[]);
    let back = exchange(&mut dial(&address), b"and this").expect("exchange");
    let back = String::from_utf8(back).expect("text");
    let line = server.line("closed ");
    let ours = client.line("closed ");
    assert_eq!(back, format!("alice it {} {}\nand this", value(&line, "session"), value(&line, "from")));
    assert_eq!(value(&line, "cause"), "command");
    assert!(value(&line, "reason").contains("exit status: 3"), "{line}");
    assert_eq!(value(&ours, "cause"), "ok");

    // A session that is cut is no end of input, to nothing that the command has started.
    let (_server, mut client, address) =
        pair(&house, "exec:(cat >/dev/null; echo ended >ended); true", &["--log", "json"], &[]);
    let mut stream = dial(&address);
    stream.write_all(b"half").expect("write");
    std::thread::sleep(Duration::from_millis(500));
    client.child.kill().expect("kill");
    std::thread::sleep(Duration::from_secs(1));
    assert!(!house.path("ended").exists(), "the cut looked like an end");

    // One that does not want its input does not fail the session.
    let (mut server, _client, address) = pair(&house, "exec:exec <&-; echo no thanks", &[], &[]);
    let mut stream = dial(&address);
    let data = vec![1; 4 << 20];
    let mut writing = stream.try_clone().expect("clone");
    let writer = std::thread::spawn(move || {
        let _ = writing.write_all(&data);
        let _ = writing.shutdown(Shutdown::Write);
    });
    let mut said = String::new();
    stream.read_to_string(&mut said).expect("read");
    writer.join().expect("writer");
    assert_eq!(said, "no thanks\n");
    assert_eq!(value(&server.line("closed "), "cause"), "ok");
}

// Unix sockets on both plain sides. The client's is for our user alone, as whoever connects there acts with our key.
#[test]
fn unix_sockets() {
    use std::os::unix::fs::PermissionsExt;
    let house = House::new();
    let path = house.path("service.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).expect("bind");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut back = stream.try_clone().expect("clone");
            let _ = std::io::copy(&mut stream, &mut back);
            let _ = back.shutdown(Shutdown::Write);
        }
    });
    let service = format!("unix:{}", path.display());
    let (_server, mut client, address) = pair(&house, &service, &[], &["--listen", "unix:door.sock"]);
    assert!(address.starts_with("unix:"), "{address}");
    let door = house.path("door.sock");
    assert_eq!(fs::metadata(&door).expect("door").permissions().mode() & 0o777, 0o600);
    let mut stream = UnixStream::connect(&door).expect("connect");
    stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
    stream.write_all(b"hello").expect("write");
    stream.shutdown(Shutdown::Write).expect("end");
    let mut back = String::new();
    stream.read_to_string(&mut back).expect("read");
    assert_eq!(back, "hello");
    assert!(value(&client.line("closed "), "from").starts_with("unix:uid="));
    // A file that is no socket is somebody's: it stays.
    let output = house.run(&[
        "tunnel",
        "client",
        "--identity",
        "alice.key",
        "--peer",
        "bob.key.pub",
        "--target",
        "127.0.0.1:1",
        "--service",
        "it",
        "--listen",
        "unix:trust",
    ]);
    assert!(cmd::text(&output.stderr).contains("not a socket") && house.path("trust").exists(), "{output:?}");
    // What a process that was killed left behind is in nobody's way, and gone after a proper end.
    client.child.kill().expect("kill");
    client.wait();
    let target = "127.0.0.1:1";
    let mut again =
        house.tunnel_client(target, &["--service", "it", "--listen", "unix:door.sock", "--socket-mode", "660"]);
    assert_eq!(fs::metadata(&door).expect("door").permissions().mode() & 0o777, 0o660);
    again.signal("TERM");
    assert_eq!(again.wait(), 0);
    assert!(!door.exists());
}

/// Says hello to a SOCKS5 server, and asks.
fn socks(address: &str, request: &[u8]) -> (TcpStream, Vec<u8>) {
    let mut stream = dial(address);
    stream.write_all(&[5, 2, 0, 2]).expect("hello");
    let mut method = [0; 2];
    stream.read_exact(&mut method).expect("method");
    assert_eq!(method, [5, 0]);
    stream.write_all(request).expect("request");
    let mut reply = vec![0; 10];
    match stream.read_exact(&mut reply) {
        Ok(()) => (stream, reply),
        Err(error) => panic!("no reply: {error}"),
    }
}

fn named(command: u8, name: &str) -> Vec<u8> {
    let mut request = vec![5, command, 0, 3, u8::try_from(name.len()).expect("short")];
    request.extend(name.as_bytes());
    request.extend([0, 80]);
    request
}

// SOCKS5: the host name is the service, and the server decides who may have which.
#[test]
fn services_by_name() {
    let house = House::new();
    let routes = [format!("one={}", echo()), format!("two={}", echo()), "down=127.0.0.1:1".to_string()];
    let key = fs::read_to_string(house.path("alice.key.pub")).expect("key");
    fs::write(house.path("trust"), format!("services=\"one,down\" {key}")).expect("trust");
    let mut server = house.tunnel_server(&["--route", &routes[0], "--route", &routes[1], "--route", &routes[2]]);
    let target = server.address();
    let mut client = house.tunnel_client(&target, &["--socks"]);
    let address = client.address();
    let (mut stream, reply) = socks(&address, &named(1, "one"));
    assert_eq!(reply[..2], [5, 0]);
    round_trip(&mut stream, b"hello").expect("echo");
    drop(stream);
    assert_eq!(value(&server.line("closed "), "service"), "one");
    // Not for alice; not there; an address; not CONNECT; a name that can't be.
    for (request, code) in [
        (named(1, "two"), 4),
        (named(1, "three"), 4),
        (vec![5, 1, 0, 1, 127, 0, 0, 1, 0, 80], 8),
        (named(2, "one"), 7),
        (named(1, "o\u{7f}ne"), 4),
    ] {
        assert_eq!(socks(&address, &request).1[..2], [5, code], "{request:?}");
    }
    // Who is not trusted at all hears another reason.
    let mut stranger = house.tunnel_client(&target, &["--socks", "--identity", "eve.key"]);
    assert_eq!(socks(&stranger.address(), &named(1, "one")).1[..2], [5, 2]);
    // The service is offered and does not answer: that shows as a reset.
    let (mut stream, reply) = socks(&address, &named(1, "down"));
    assert_eq!(reply[1], 0);
    assert!(is_reset(&stream.read(&mut [0; 8]).expect_err("a reset")));
    assert_eq!(value(&server.line("cause=unreachable"), "service"), "down");
    assert_eq!(value(&client.line("cause=unreachable"), "service"), "down");
    // Other protocols, and clients that insist on a password.
    let mut stream = dial(&address);
    stream.write_all(b"GET http://one/ HTTP/1.1\r\n\r\n").expect("write");
    assert!(stream.read(&mut [0; 8]).unwrap_or(0) == 0);
    let mut stream = dial(&address);
    stream.write_all(&[5, 1, 2]).expect("hello");
    let mut method = [0; 2];
    stream.read_exact(&mut method).expect("method");
    assert_eq!(method, [5, 0xff]);
}

// Spare sessions: a new connection costs no handshake; spares that end are replaced; nobody gets one that is dead.
#[test]
fn spare_sessions() {
    let house = House::new();
    let greeting = service(|mut stream| {
        stream.write_all(b"hello\n").expect("write");
        let mut back = stream.try_clone().expect("clone");
        let _ = std::io::copy(&mut stream, &mut back);
        let _ = back.shutdown(Shutdown::Write);
    });
    let (mut server, mut client, address) =
        pair(&house, &greeting.to_string(), &[], &["--spare", "2", "--admin", "127.0.0.1:0", "--name", "c"]);
    let admin = client.address_of("side=admin");
    let spare = |count: u8| {
        body(&admin, "/metrics")
            .contains(&format!("countersign_spare_sessions{{tunnel=\"c\",side=\"client\"}} {count}\n"))
    };
    until("two are ready", || spare(2));
    let mut streams: Vec<TcpStream> = (0..2).map(|_| dial(&address)).collect();
    for stream in &mut streams {
        let mut line = [0; 6];
        stream.read_exact(&mut line).expect("what the service said first");
        assert_eq!(&line, b"hello\n");
        round_trip(stream, b"and more").expect("echo");
    }
    until("two are ready again", || spare(2));
    drop(streams);
    client.line("closed ");
    client.line("closed ");
    // The server goes away with all of them, and comes back.
    let target = server.address();
    server.child.kill().expect("kill");
    server.wait();
    until("none are ready", || spare(0));
    let route = format!("it={greeting}");
    let mut server = house.tunnel_server(&["--route", &route, "--listen", &target]);
    until("two are ready again", || spare(2));
    let mut stream = dial(&address);
    round_trip_after(&mut stream, b"hello\n");
    // At the end they are closed properly: to the server and its service nothing was cut.
    drop(stream);
    client.line("closed ");
    until("two are ready again", || spare(2));
    client.signal("TERM");
    assert_eq!(client.wait(), 0);
    for _ in 0..3 {
        let line = server.line("closed ");
        assert_eq!(value(&line, "cause"), "ok", "{line}");
    }
}

fn round_trip_after(stream: &mut TcpStream, greeting: &[u8]) {
    let mut said = vec![0; greeting.len()];
    stream.read_exact(&mut said).expect("greeting");
    assert_eq!(said, greeting);
    round_trip(stream, b"and more").expect("echo");
}

// Spares of a service that is down are no storm of handshakes.
#[test]
fn spare_sessions_of_a_service_that_is_down() {
    let house = House::new();
    let (_server, mut client, _address) =
        pair(&house, "127.0.0.1:1", &[], &["--spare", "4", "--admin", "127.0.0.1:0", "--name", "c"]);
    let admin = client.address_of("side=admin");
    client.line("a spare session has ended before anybody needed it");
    std::thread::sleep(Duration::from_secs(3));
    let metrics = body(&admin, "/metrics");
    let count = metrics
        .lines()
        .find_map(|line| line.strip_prefix("countersign_handshake_seconds_count{tunnel=\"c\",side=\"client\"} "))
        .and_then(|count| count.parse::<u64>().ok());
    assert!(count.is_some_and(|count| count < 60), "{count:?} handshakes");
}

// Spares that are too old are replaced before anybody gets them.
#[test]
fn spare_sessions_age() {
    let house = House::new();
    let (mut server, mut client, _address) = pair(
        &house,
        &echo().to_string(),
        &[],
        &["--spare", "1", "--spare-age", "1", "--admin", "127.0.0.1:0", "--name", "c"],
    );
    assert_eq!(value(&server.line("closed "), "cause"), "ok");
    let admin = client.address_of("side=admin");
    until("a third", || {
        let count = body(&admin, "/metrics");
        let count = count
            .lines()
            .find_map(|line| line.strip_prefix("countersign_handshake_seconds_count{tunnel=\"c\",side=\"client\"} "));
        count.is_some_and(|count| count.parse::<u64>().is_ok_and(|count| count >= 3))
    });
}

// The admin listener: on loopback only, read-only, and not for pages of other sites.
#[test]
fn the_admin_listener() {
    let house = House::new();
    let route = format!("it={}", echo());
    let mut server = house.tunnel_server(&["--route", &route, "--admin", "127.0.0.1:0"]);
    let admin = server.address_of("side=admin");
    assert!(get(&admin, "/healthz").ends_with("\r\n\r\nok\n"));
    let page = get(&admin, "/");
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("content-security-policy: default-src 'none'"), "{page}");
    for (path, kind) in
        [("/status.js", "text/javascript"), ("/status.css", "text/css"), ("/history", "application/json")]
    {
        let answer = get(&admin, path);
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(kind), "{answer}");
    }
    assert!(get(&admin, "/nothing").starts_with("HTTP/1.1 404"));
    assert!(
        http(&admin, "POST /sessions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .starts_with("HTTP/1.1 405")
    );
    assert!(
        http(&admin, "GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n").starts_with("HTTP/1.1 421")
    );
    assert!(!http(&admin, "nonsense\r\n\r\n").starts_with("HTTP/1.1 200"));
    // It shows a session while it is there.
    let target = server.address();
    let mut client = house.tunnel_client(&target, &["--service", "it"]);
    let mut stream = dial(&client.address());
    round_trip(&mut stream, b"hello").expect("echo");
    let shown: serde_json::Value = serde_json::from_str(&body(&admin, "/sessions")).expect("JSON");
    assert_eq!(shown["sessions"][0]["peer"]["name"], "alice");
    assert_eq!(shown["sessions"][0]["received"], 5);
    assert_eq!(shown["tunnels"][0]["sessions"], 1);
    let metrics = body(&admin, "/metrics");
    assert!(metrics.contains("outcome=\"accepted\",reason=\"ok\"} 1\n"), "{metrics}");
    // Others can't be asked to look at it.
    let refused = house.server_command(&["--route", &route, "--admin", "0.0.0.0:0"]).output().expect("run");
    assert_eq!(cmd::code(&refused), 2);
    assert!(cmd::text(&refused.stderr).contains("not a loopback address"), "{refused:?}");
}

// An open port that is nobody's: what is said, on both sides, about the mistakes that people make.
#[test]
fn mistakes() {
    let house = House::new();
    let free = TcpListener::bind("127.0.0.1:0").expect("bind").local_addr().expect("address").to_string();
    // Nobody listens at the target.
    let mut client = house.tunnel_client(&free, &["--service", "it"]);
    assert!(is_reset(&dial(&client.address()).read(&mut [0; 8]).expect_err("a reset")));
    let line = client.line("failed ");
    assert!(line.contains("refused") && value(&line, "cause") == "io", "{line}");
    // The wrong key on either side.
    let route = format!("it={}", echo());
    let mut server = house.tunnel_server(&["--route", &route]);
    let target = server.address();
    let mut stranger = house.tunnel_client(&target, &["--service", "it", "--identity", "eve.key"]);
    assert!(dial(&stranger.address()).read(&mut [0; 8]).is_err());
    let line = stranger.line("refused ");
    assert_eq!((value(&line, "cause"), value(&line, "to")), ("not_trusted", &*target));
    assert!(line.contains("have this line added to the trust file there: ssh-ed25519 "), "{line}");
    let line = server.line("refused ");
    assert!(line.contains("to let it in, add this line to the trust file: ssh-ed25519 "), "{line}");
    let mut misled = house.tunnel_client(&target, &["--service", "it", "--peer", "eve.key.pub"]);
    assert!(dial(&misled.address()).read(&mut [0; 8]).is_err());
    assert_eq!(value(&misled.line("refused "), "cause"), "not_expected");
    // Another service.
    let mut other = house.tunnel_client(&target, &["--service", "that"]);
    assert!(dial(&other.address()).read(&mut [0; 8]).is_err());
    assert_eq!(value(&other.line("refused "), "cause"), "service_unavailable");
    let line = server.line("service=\"that\"");
    assert!(value(&line, "reason").starts_with("there is no route for the service"), "{line}");
    // Something else calls.
    let mut browser = dial(&target);
    browser.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").expect("write");
    assert_eq!(value(&server.line("cause=foreign"), "fault"), "the peer, or who plays it");
    // What the command line says of what is missing.
    for (args, expected) in [
        (vec!["tunnel"], "--config"),
        (vec!["tunnel", "server", "--listen", "127.0.0.1:0", "--identity", "bob.key", "--trust", "trust"], "--route"),
        (
            vec![
                "tunnel",
                "client",
                "--listen",
                "127.0.0.1:0",
                "--identity",
                "bob.key",
                "--target",
                "127.0.0.1:1",
                "--service",
                "x",
            ],
            "--peer",
        ),
    ] {
        let output = house.run(&args);
        assert_eq!(cmd::code(&output), 2, "{args:?}");
        assert!(cmd::text(&output.stderr).contains(expected), "{}", cmd::text(&output.stderr));
    }
    for (target, expected) in
        [("it", "SERVICE=TARGET"), ("it=somewhere", "HOST:PORT"), ("it x=127.0.0.1:1", "visible ASCII")]
    {
        let args = [
            "tunnel",
            "server",
            "--listen",
            "127.0.0.1:0",
            "--identity",
            "bob.key",
            "--trust",
            "trust",
            "--route",
            target,
        ];
        let output = house.run(&args);
        assert!(
            cmd::code(&output) == 2 && cmd::text(&output.stderr).contains(expected),
            "{}",
            cmd::text(&output.stderr)
        );
    }
}
