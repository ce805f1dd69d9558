//! The life of a tunnel process: configuration, reload, limits and the drain. Nothing that was accepted is lost on the way.
#![allow(missing_docs)]
#![cfg(all(unix, feature = "cli"))]

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

mod cmd;

use cmd::tunnel::{Tunnel, body, dial, echo, get, round_trip, until, value};
use cmd::{House, PATIENCE, code, text};

/// A `tunnel --config`.
fn configured(house: &House, file: &str) -> Tunnel {
    fs::write(house.path("tunnel.toml"), file).expect("configuration");
    Tunnel::start(house.command(&["tunnel", "--config", "tunnel.toml"]))
}

fn checked(house: &House, file: &str) -> (i32, String) {
    fs::write(house.path("check.toml"), file).expect("configuration");
    let output = house.run(&["tunnel", "--config", "check.toml", "--check"]);
    (code(&output), text(&output.stderr))
}

/// The long flags in a help text, and whether each takes a value.
fn flags(help: &str) -> Vec<(String, bool)> {
    // What is indented further is about them.
    let lines = help.lines().filter(|line| line.starts_with("      --")).map(str::trim_start);
    let flag = |line: &str| {
        let mut words = line.split_whitespace();
        let name = words.next().expect("flag").trim_start_matches("--").to_string();
        (name, words.next().is_some_and(|word| word.starts_with('<')))
    };
    lines.map(flag).filter(|(name, _)| name != "help").collect()
}

// Every flag has its key, with the same meaning: the help texts are what is compared with.
#[test]
fn every_flag_is_a_key() {
    let house = House::new();
    let needs = |flag: &str| match flag {
        "identity" => "\"bob.key\"",
        "trust" => "\"trust\"",
        "listen" => "\"127.0.0.1:0\"",
        "route" => "{ it = \"127.0.0.1:1\", cat = \"exec:cat\" }",
        "peer" => "\"alice.key.pub\"",
        "target" => "\"127.0.0.1:1\"",
        "service" => "\"it\"",
        "admin" => "\"127.0.0.1:0\"",
        "log" => "\"json\"",
        "takeover" => "\"take.sock\"",
        "name" | "context" => "\"a name\"",
        "suite" => "[\"X25519_ChaCha20Poly1305_SHA256\"]",
        "padding" => "\"block:64\"",
        "buffer" => "\"16K\"",
        "rekey-bytes" => "\"1G\"",
        "proxy-in" => "[\"10.0.0.0/8\", \"::1\"]",
        "proxy-out" => "\"v2\"",
        "socket-mode" => "\"660\"",
        "network-key" => "\"net.key\"",
        "passphrase-file" => "\"phrase\"",
        "max-sessions"
        | "keepalive"
        | "idle-timeout"
        | "timeout"
        | "drain"
        | "session-idle"
        | "session-lifetime"
        | "spare"
        | "spare-age"
        | "rekey-seconds"
        | "max-sessions-per-peer"
        | "max-handshakes"
        | "max-handshakes-per-address"
        | "max-handshake-rate" => "60",
        "eager" => "true",
        // What stands against others, or needs a CA: below.
        "socks" | "cert" | "ca" | "crl" | "stale-crl" | "peer-name" => "",
        flag => panic!("a flag that is new here: {flag}"),
    };
    let made = house.run(&["keygen", "--network", "--out", "net.key"]);
    assert!(made.status.success());
    fs::write(house.path("phrase"), "nothing\n").expect("phrase");
    for end in ["server", "client"] {
        let help = house.run(&["tunnel", end, "--help"]);
        let all = flags(&text(&help.stdout));
        assert!(all.len() > 25, "{all:?}");
        let (mut top, mut table) = (String::new(), format!("[[{end}]]\n"));
        for (flag, takes_value) in &all {
            let value = needs(flag);
            assert!(value.is_empty() || (value != "true") == *takes_value, "{flag}");
            let place = if ["admin", "log", "takeover", "drain"].contains(&&**flag) { &mut top } else { &mut table };
            if !value.is_empty() {
                place.push_str(&format!("{flag} = {value}\n"));
            }
        }
        let (code, said) = checked(&house, &format!("{top}{table}"));
        assert_eq!((code, said.contains("ok, 1 tunnel")), (0, true), "{said}");
    }
    // With a CA, and SOCKS.
    assert!(house.run(&["ca", "init", "ca", "--name", "test"]).status.success());
    for (file, expected) in [
        (
            "[[server]]\nlisten='127.0.0.1:0'\nidentity='bob.key'\nca='ca/ca.pem'\ncrl=['ca/ca.crl']\nstale-crl='warn'\npeer-name=['a.example']\nroute=['it=127.0.0.1:1']\n",
            "ok",
        ),
        (
            "[[client]]\nlisten='127.0.0.1:0'\nidentity='bob.key'\npeer='alice.key.pub'\nsocks=true\ntarget='127.0.0.1:1'\n",
            "ok",
        ),
        (
            "[[client]]\nlisten='127.0.0.1:0'\nidentity='bob.key'\npeer='alice.key.pub'\ntarget='127.0.0.1:1'\nservice='x'\ncert='ca/ca.pem'\n",
            "certificate",
        ),
    ] {
        let crl = house.path("ca/ca.crl");
        let file =
            if crl.exists() { file.to_string() } else { file.replace("crl=['ca/ca.crl']\nstale-crl='warn'\n", "") };
        let (_, said) = checked(&house, &file);
        assert!(said.contains(expected), "{file}: {said}");
    }
}

// What is wrong with a configuration is said with its place, and nothing is started.
#[test]
fn broken_configurations() {
    let house = House::new();
    let server = "[[server]]\nlisten='127.0.0.1:0'\nidentity='bob.key'\ntrust='trust'\nroute={it='127.0.0.1:1'}\n";
    let client =
        "[[client]]\nlisten='unix:x'\nidentity='bob.key'\npeer='alice.key.pub'\ntarget='127.0.0.1:1'\nservice='x'\n";
    for (file, place, expected) in [
        ("[[server]\n".to_string(), "check.toml", "TOML"),
        (String::new(), "check.toml", "no tunnel in it"),
        (format!("{server}rout='x'\n"), "[[server]] number 1", "'rout'"),
        (format!("admn='x'\n{server}"), "at the top", "'admn'"),
        (server.replace("'bob.key'", "'nobody.key'"), "nobody.key", "No such file"),
        (server.replace("trust='trust'\n", ""), "[[server]] number 1", "--trust"),
        (format!("{server}{server}").replacen("it=", "other=", 1), "two server tunnels", "another `name`"),
        (format!("{server}max-sessions='many'\n"), "[[server]] number 1", "invalid"),
        (format!("{server}name=1.5\n"), "name", "neither text nor a whole number"),
        ("server='x'\n".to_string(), "check.toml", "[[server]]"),
        (server.replace("it='127.0.0.1:1'", "it='nowhere'"), "[[server]] number 1", "HOST:PORT"),
        (server.replace("'127.0.0.1:0'", "'7000'"), "7000", "HOST:PORT"),
        (format!("admin='0.0.0.0:1'\n{server}"), "0.0.0.0:1", "not a loopback address"),
        (
            format!("{}{}", server.replace(":0'", ":7'"), server.replace(":0'", ":7'\nname='b'")),
            "127.0.0.1:7",
            "two tunnels can't listen there",
        ),
        (format!("{client}socket-mode=0o660\n"), "[[client]] number 1", "is a text"),
        (client.replace("service='x'", "service='we b'"), "[[client]] number 1", "visible ASCII"),
        (client.replace("'127.0.0.1:1'", "'there'"), "client tunnel \"unix:x\"", "--target"),
        (server.replace("'127.0.0.1:0'", "7000"), "server tunnel \"7000\"", "--listen"),
        (format!("{server}drain=5\n"), "[[server]] number 1", "write it at the top"),
        (server.replace("[[server]]", "[[servers]]"), "check.toml", "only [[server]] and [[client]]"),
    ] {
        let (code, said) = checked(&house, &file);
        assert!(code != 0 && said.contains(place) && (said.contains(expected) || expected == "TOML"), "{file}\n{said}");
        assert!(said.starts_with("error: "), "{said}");
    }
    let missing = house.run(&["tunnel", "--config", "nowhere.toml"]);
    assert!(code(&missing) == 1 && text(&missing.stderr).contains("nowhere.toml"), "{missing:?}");
    // What a message says must not be a command line's usage, which this is not.
    let (_, said) = checked(&house, &format!("{server}rout='x'\n"));
    assert!(!said.contains("Usage:"), "{said}");
}

/// Two servers and a client in one file, and what is changed in it.
fn toml(house: &House, service: &str, ports: &[u16]) -> String {
    let _ = house;
    let servers = ports.iter().enumerate().map(|(n, port)| {
        format!("[[server]]\nname='s{n}'\nlisten='127.0.0.1:{port}'\nidentity='bob.key'\ntrust='trust'\nroute={{it='{service}'}}\n")
    });
    servers.collect()
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("bind").local_addr().expect("address").port()
}

// By signal and by change of the file: tunnels come, go and change; sessions stay; what is broken changes nothing.
#[test]
fn reload_loses_no_session() {
    let house = House::new();
    let ports = [free_port(), free_port(), free_port()];
    let service = echo().to_string();
    let admin = "admin='127.0.0.1:0'\n";
    let mut server = configured(&house, &format!("{admin}{}", toml(&house, &service, &ports[..2])));
    let admin_address = server.address_of("side=admin");
    let connect = |port: u16| {
        let mut client = house.tunnel_client(&format!("127.0.0.1:{port}"), &["--service", "it"]);
        let stream = dial(&client.address());
        (client, stream)
    };
    let (_c0, mut first) = connect(ports[0]);
    let (_c1, mut second) = connect(ports[1]);
    round_trip(&mut first, b"one").expect("first");
    round_trip(&mut second, b"two").expect("second");

    // The second goes, a third comes, the first stays; noticed without a signal.
    fs::write(
        house.path("tunnel.toml"),
        format!("{admin}{}", toml(&house, &service, &[ports[0], ports[2]]).replace("name='s1'", "name='s2'")),
    )
    .expect("write");
    server.line("reloaded configuration");
    round_trip(&mut first, b"still").expect("first");
    round_trip(&mut second, b"still").expect("the session of a tunnel that is gone");
    let (_c2, mut third) = connect(ports[2]);
    round_trip(&mut third, b"new").expect("third");
    until("the second does not listen", || TcpStream::connect(("127.0.0.1", ports[1])).is_err());

    // Broken: said once, shown in the metrics, and nothing changes.
    fs::write(house.path("tunnel.toml"), "nonsense = [").expect("write");
    let line = server.line("configuration not reloaded");
    assert!(line.contains("the old stays in use"), "{line}");
    assert!(
        body(&admin_address, "/metrics")
            .contains("countersign_reload_failing{tunnel=\"\",files=\"configuration\"} 1\n")
    );
    round_trip(&mut first, b"still").expect("first");
    let (_c3, mut fourth) = connect(ports[0]);
    round_trip(&mut fourth, b"new").expect("fourth");
    // A tunnel that can't listen is as broken: of the good ones beside it none changes.
    let taken = TcpListener::bind("127.0.0.1:0").expect("bind");
    let file = toml(&house, &service, &[ports[0], ports[2], taken.local_addr().expect("address").port()]);
    fs::write(house.path("tunnel.toml"), format!("{admin}{file}")).expect("write");
    let line = server.line("configuration not reloaded");
    assert!(line.contains("can't listen on"), "{line}");
    round_trip(&mut third, b"still").expect("third");

    // Changed: the first has another route now; the old session goes on with the old one.
    let mut file = toml(&house, "127.0.0.1:1", &ports[..1]);
    file.push_str(&toml(&house, &service, &ports[2..]).replace("name='s0'", "name='s2'"));
    fs::write(house.path("tunnel.toml"), format!("{admin}{file}")).expect("write");
    server.signal("HUP");
    server.line("reloaded configuration");
    until("the new route is in use", || {
        let (_client, mut stream) = connect(ports[0]);
        round_trip(&mut stream, b"x").is_err()
    });
    round_trip(&mut first, b"still").expect("first");
    round_trip(&mut fourth, b"still").expect("fourth");
    assert!(
        body(&admin_address, "/metrics")
            .contains("countersign_reload_failing{tunnel=\"\",files=\"configuration\"} 0\n")
    );
    assert!(!server.has_ended());
}

// Who is taken out of the trust file loses the session, by the signal as well; nobody else does.
#[test]
fn trust_that_changes_under_sessions() {
    let house = House::new();
    let eve = fs::read_to_string(house.path("eve.key.pub")).expect("key");
    let alice = fs::read_to_string(house.path("alice.key.pub")).expect("key");
    fs::write(house.path("trust"), format!("{alice}{eve}")).expect("trust");
    let route = format!("it={}", echo());
    let mut server = house.tunnel_server(&["--route", &route]);
    let target = server.address();
    let mut alices = house.tunnel_client(&target, &["--service", "it"]);
    let mut eves = house.tunnel_client(&target, &["--service", "it", "--identity", "eve.key"]);
    let (mut hers, mut evil) = (dial(&alices.address()), dial(&eves.address()));
    round_trip(&mut hers, b"x").expect("alice");
    round_trip(&mut evil, b"x").expect("eve");
    fs::write(house.path("trust"), alice).expect("trust");
    server.signal("HUP");
    assert!(evil.read(&mut [0; 8]).is_err(), "a reset, not an end");
    assert_eq!(value(&server.line("closed "), "cause"), "revoked");
    assert_eq!(value(&eves.line("closed "), "cause"), "revoked_by_peer");
    round_trip(&mut hers, b"still").expect("alice");
}

// The file that says who must answer is watched as well: sessions with somebody else end, and new ones are with the new one. So for a tunnel by flags.
#[test]
fn the_peer_changes() {
    let house = House::new();
    let key = |name: &str| fs::read_to_string(house.path(&format!("{name}.key.pub"))).expect("key");
    fs::write(house.path("who"), key("bob")).expect("write");
    let route = format!("it={}", echo());
    let mut server = house.tunnel_server(&["--route", &route]);
    let mut client = house.tunnel_client(&server.address(), &["--service", "it", "--peer", "who"]);
    let address = client.address();
    let mut held = dial(&address);
    round_trip(&mut held, b"x").expect("bob");
    fs::write(house.path("who"), key("eve")).expect("write");
    client.line("reloaded peer");
    assert!(held.read(&mut [0; 8]).is_err(), "a reset, not an end");
    assert_eq!(value(&client.line("closed "), "cause"), "revoked");
    assert!(round_trip(&mut dial(&address), b"x").is_err(), "bob is not eve");
    assert_eq!(value(&client.line("failed "), "cause"), "not_expected");
    fs::write(house.path("who"), "nobody\n").expect("write");
    client.line("error: peer not reloaded");
    fs::write(house.path("who"), key("bob")).expect("write");
    client.line("reloaded peer");
    round_trip(&mut dial(&address), b"x").expect("bob again");
}

// Another identity: sessions that were made before anybody needed them are not handed out under the old one.
#[test]
fn spares_are_who_we_are() {
    let house = House::new();
    let key = |name: &str| fs::read_to_string(house.path(&format!("{name}.key.pub"))).expect("key");
    fs::write(house.path("trust"), format!("{}{}", key("alice"), key("eve"))).expect("write");
    let house = &house;
    let copy = |name: &str| {
        fs::copy(house.path(name), house.path("new.key")).expect("copy");
        fs::rename(house.path("new.key"), house.path("own.key")).expect("rename");
    };
    copy("alice.key");
    let route = format!("it={}", echo());
    let mut server = house.tunnel_server(&["--route", &route]);
    let spare = ["--service", "it", "--spare", "3", "--identity", "own.key", "--admin", "127.0.0.1:0"];
    let mut client = house.tunnel_client(&server.address(), &spare);
    let admin = client.address_of("side=admin");
    until("there are spares", || body(&admin, "/metrics").contains("side=\"client\"} 3\n"));
    copy("eve.key");
    client.line("reloaded identity");
    let address = client.address_of("side=client");
    round_trip(&mut dial(&address), b"x").expect("session");
    let used = loop {
        let line = server.line("closed ");
        if value(&line, "received") == "1" {
            break line;
        }
    };
    assert!(used.contains("eve"), "{used}");
}

// Another network key: tunnels begin anew with it, sessions stay. By flags and by a configuration, by change and by signal.
#[test]
fn the_network_key_changes() {
    let house = House::new();
    for name in ["one", "two", "net"] {
        assert!(house.run(&["keygen", "--network", "--out", name]).status.success());
    }
    let copy = |name: &str| fs::copy(house.path(name), house.path("net")).expect("copy");
    copy("one");
    let route = format!("it={}", echo());
    let port = free_port();
    let listen = format!("127.0.0.1:{port}");
    let mut server = house.tunnel_server(&[
        "--route",
        &route,
        "--listen",
        &listen,
        "--network-key",
        "net",
        "--admin",
        "127.0.0.1:0",
    ]);
    let admin = server.address_of("side=admin");
    let mut client = configured(
        &house,
        &format!(
            "[[client]]\nlisten='127.0.0.1:0'\nidentity='alice.key'\npeer='bob.key.pub'\ntarget='{listen}'\nservice='it'\nnetwork-key='net'\n"
        ),
    );
    let address = client.address();
    let mut held = dial(&address);
    round_trip(&mut held, b"x").expect("with the first");
    let mut late = house.tunnel_client(&listen, &["--service", "it", "--network-key", "one"]);
    round_trip(&mut dial(&late.address()), b"x").expect("with the first");
    copy("two");
    server.line("reloaded network key");
    client.line("reloaded network key");
    client.line("reloaded configuration");
    until("the new key is in use on both sides", || round_trip(&mut dial(&address), b"x").is_ok());
    until("the old one is not", || round_trip(&mut dial(&late.address()), b"x").is_err());
    round_trip(&mut held, b"still").expect("the old session");
    let counted = body(&admin, "/metrics");
    assert!(
        counted.contains(&format!("countersign_reloads_total{{tunnel=\"{listen}\",files=\"network key\"}} 1\n")),
        "{counted}"
    );
    // What is broken is said, and changes nothing.
    fs::write(house.path("net"), "junk").expect("write");
    server.signal("HUP");
    server.line("error: network key not reloaded");
    round_trip(&mut dial(&address), b"x").expect("with the second");
}

// Bounds on sessions: above them `busy` is said at once, with a verdict; who is there is not touched.
#[test]
fn limits_say_busy() {
    let house = House::new();
    let eve = fs::read_to_string(house.path("eve.key.pub")).expect("key");
    let alice = fs::read_to_string(house.path("alice.key.pub")).expect("key");
    fs::write(house.path("trust"), format!("{alice}{eve}")).expect("trust");
    let route = format!("it={}", echo());
    let mut server = house.tunnel_server(&["--route", &route, "--max-sessions", "3", "--max-sessions-per-peer", "2"]);
    let target = server.address();
    let mut alices = house.tunnel_client(&target, &["--service", "it"]);
    let mut eves = house.tunnel_client(&target, &["--service", "it", "--identity", "eve.key"]);
    let (hers, theirs) = (alices.address(), eves.address());
    let mut first: Vec<TcpStream> = (0..2).map(|_| dial(&hers)).collect();
    first.iter_mut().for_each(|stream| round_trip(stream, b"x").expect("within the bound"));
    assert!(dial(&hers).read(&mut [0; 8]).is_err());
    let line = alices.line("cause=busy");
    assert!(line.contains("--max-sessions-per-peer allows, 2"), "{line}");
    assert!(line.starts_with("refused "), "{line}");
    let mut one = dial(&theirs);
    round_trip(&mut one, b"x").expect("within the bound");
    assert!(dial(&theirs).read(&mut [0; 8]).is_err());
    let line = eves.line("cause=busy");
    assert!(line.contains("--max-sessions allows, 3"), "{line}");
    // Trust is decided about again; those that are there have their place, at the bound as well.
    fs::write(house.path("trust"), format!("{eve}{alice}# changed\n")).expect("trust");
    server.line("reloaded trust file");
    thread::sleep(Duration::from_secs(1));
    first
        .iter_mut()
        .chain([&mut one])
        .for_each(|stream| round_trip(stream, b"still").expect("a session that was there"));
    // A place that is given back is there for others.
    drop(first.pop());
    server.line("closed ");
    let mut another = dial(&hers);
    round_trip(&mut another, b"x").expect("within the bound again");

    // The client's own bound.
    let mut narrow = house.tunnel_client(&target, &["--service", "it", "--max-sessions", "1", "--identity", "eve.key"]);
    drop(one);
    server.line("closed ");
    let address = narrow.address();
    let mut only = dial(&address);
    round_trip(&mut only, b"x").expect("one");
    assert!(dial(&address).read(&mut [0; 8]).is_err());
    assert_eq!(value(&narrow.line("failed "), "cause"), "busy");
}

// Many at once: never more than the bound, and everybody gets an answer.
#[test]
fn limits_hold_in_a_rush() {
    let house = House::new();
    let route = format!("it={}", echo());
    let mut server = house.tunnel_server(&["--route", &route, "--max-sessions", "5", "--admin", "127.0.0.1:0"]);
    let target = server.address();
    let mut client = house.tunnel_client(&target, &["--service", "it"]);
    let address = client.address();
    let threads: Vec<_> = (0..40)
        .map(|_| {
            let address = address.clone();
            thread::spawn(move || {
                let mut stream = dial(&address);
                let went = round_trip(&mut stream, b"x").is_ok();
                (went, stream)
            })
        })
        .collect();
    let ended: Vec<_> = threads.into_iter().map(|thread| thread.join().expect("thread")).collect();
    assert_eq!(ended.iter().filter(|(went, _)| *went).count(), 5);
}

// So many handshakes a second from one address: those above wait for their turn, told `busy`, and all get in.
#[test]
fn the_rate_of_handshakes() {
    let house = House::new();
    let route = format!("it={}", echo());
    let mut server =
        house.tunnel_server(&["--route", &route, "--max-handshake-rate", "2", "--admin", "127.0.0.1:0", "--name", "s"]);
    let admin = server.address_of("side=admin");
    let target = server.address();
    let mut client = house.tunnel_client(&target, &["--service", "it"]);
    let address = client.address();
    let threads: Vec<_> = (0..6)
        .map(|_| {
            let address = address.clone();
            thread::spawn(move || round_trip(&mut dial(&address), b"x"))
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().expect("thread").expect("all get in"));
    let metrics = body(&admin, "/metrics");
    assert!(metrics.contains("outcome=\"gave_way\",reason=\"over_rate\"}"), "{metrics}");
}

// Sessions without data, or too old, end on both sides with the reason.
#[test]
fn idle_and_old_sessions_end() {
    let house = House::new();
    let route = format!("it={}", echo());
    for (flag, cause, text) in
        [("--session-idle", "idle", "no data for 2 s"), ("--session-lifetime", "lifetime", "its age of 2 s")]
    {
        let mut server = house.tunnel_server(&["--route", &route, flag, "2"]);
        let target = server.address();
        let mut client = house.tunnel_client(&target, &["--service", "it", "--keepalive", "1"]);
        let mut stream = dial(&client.address());
        // Data keeps it from being idle, and does not keep it from growing old.
        let mut trips = 0;
        let mut ended = Ok(());
        while trips < 30 && ended.is_ok() {
            ended = round_trip(&mut stream, b"x");
            trips += 1;
            thread::sleep(Duration::from_millis(100));
        }
        assert_eq!(ended.is_ok(), cause == "idle");
        let ended = ended.and_then(|()| stream.read(&mut [0; 8]).map(drop));
        assert_eq!(
            ended.map_err(|error| error.kind()),
            Err(std::io::ErrorKind::ConnectionReset),
            "a reset, not an end"
        );
        let (theirs, ours) = (server.line("closed "), client.line("closed "));
        assert_eq!(value(&theirs, "cause"), cause);
        assert!(value(&theirs, "reason").contains(text), "{theirs}");
        assert!(ours.contains(text) && value(&ours, "cause") == cause, "{ours}");
    }
}

// SIGTERM: nothing new is taken, what is there may end by itself, and what does not is broken off at the deadline.
#[test]
fn the_drain() {
    let house = House::new();
    let route = format!("it={}", echo());
    let mut server = house.tunnel_server(&["--route", &route, "--drain", "600", "--admin", "127.0.0.1:0"]);
    let (admin, target) = (server.address_of("side=admin"), server.address());
    let mut client = house.tunnel_client(&target, &["--service", "it"]);
    let address = client.address();
    let (mut first, mut second) = (dial(&address), dial(&address));
    round_trip(&mut first, b"x").expect("first");
    round_trip(&mut second, b"x").expect("second");
    server.signal("TERM");
    let line = server.line("draining ");
    assert_eq!(value(&line, "sessions"), "2");
    until("it does not listen", || TcpStream::connect(&target).is_err());
    assert!(get(&admin, "/healthz").starts_with("HTTP/1.1 503"));
    round_trip(&mut first, b"still").expect("first");
    round_trip(&mut second, b"still").expect("second");
    drop(first);
    assert_eq!(value(&server.line("closed "), "cause"), "ok");
    assert!(!server.has_ended());
    // A second signal does not wait.
    server.signal("TERM");
    assert!(second.read(&mut [0; 8]).is_err());
    assert_eq!(server.wait(), 0);
    assert!(server.rest().iter().any(|line| line.contains("cause=stopped")));
    client.line("cause=ok");
    assert_eq!(value(&client.line("closed "), "cause"), "peer_stopped");

    // The deadline, on the client's side, and one that has nothing to wait for.
    let mut server = house.tunnel_server(&["--route", &route]);
    let target = server.address();
    let mut client = house.tunnel_client(&target, &["--service", "it", "--drain", "1"]);
    let mut stream = dial(&client.address());
    round_trip(&mut stream, b"x").expect("session");
    client.signal("INT");
    assert!(stream.read(&mut [0; 8]).is_err());
    assert_eq!(client.wait(), 0);
    assert_eq!(value(&server.line("closed "), "cause"), "peer_stopped");
    server.signal("TERM");
    assert_eq!(server.wait(), 0);
}

// Until the end it can be asked how it is, on a Unix socket as well.
#[test]
fn the_admin_socket_while_draining() {
    use std::os::unix::net::UnixStream;
    let house = House::new();
    let route = format!("it={}", echo());
    let mut server = house.tunnel_server(&["--route", &route, "--admin", "unix:admin.sock"]);
    let target = server.address();
    let mut client = house.tunnel_client(&target, &["--service", "it"]);
    let mut held = dial(&client.address());
    round_trip(&mut held, b"x").expect("session");
    server.signal("TERM");
    server.line("draining ");
    let mut admin = UnixStream::connect(house.path("admin.sock")).expect("still there");
    admin.write_all(b"GET /healthz HTTP/1.1\r\nHost: any.name\r\nConnection: close\r\n\r\n").expect("request");
    let mut answer = String::new();
    admin.read_to_string(&mut answer).expect("answer");
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    drop(held);
    assert_eq!(server.wait(), 0);
    assert!(!house.path("admin.sock").exists());
}

// Whoever has connected when the signal comes is not lost, though nobody has taken the connection yet.
#[test]
fn a_drain_loses_nobody_who_is_there() {
    let house = House::new();
    let route = format!("it={}", echo());
    for stopped_end in ["server", "client"] {
        let mut server = house.tunnel_server(&["--route", &route]);
        let target = server.address();
        let mut client = house.tunnel_client(&target, &["--service", "it"]);
        let address = client.address();
        let stopping = if stopped_end == "server" { &mut server } else { &mut client };
        stopping.signal("STOP");
        let streams: Vec<TcpStream> = (0..20).map(|_| dial(&address)).collect();
        // Until all of them are in the queue of the end that stops: the other end has called for them.
        thread::sleep(Duration::from_millis(500));
        stopping.signal("TERM");
        stopping.signal("CONT");
        for mut stream in streams {
            round_trip(&mut stream, b"x").unwrap_or_else(|error| panic!("{stopped_end}: {error}"));
        }
        assert_eq!(stopping.wait(), 0);
    }
}

// Who only looks whether somebody listens, as a balancer does, is counted apart and not logged.
#[test]
fn looking_is_no_failure() {
    let house = House::new();
    let route = format!("it={}", echo());
    let proxied = ["--route", &*route, "--admin", "127.0.0.1:0", "--proxy-in", "127.0.0.1"];
    for args in [&proxied[..4], &proxied] {
        let mut server = house.tunnel_server(args);
        let (admin, target) = (server.address_of("side=admin"), server.address());
        drop(dial(&target));
        // HAProxy's look with send-proxy-v2: LOCAL.
        let mut stream = dial(&target);
        if args.len() > 4 {
            stream.write_all(b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0").expect("header");
        }
        drop(stream);
        until("both are counted", || body(&admin, "/metrics").contains("outcome=\"failed\",reason=\"empty\"} 2\n"));
        server.signal("TERM");
        let lines = server.rest();
        assert!(!lines.iter().any(|line| line.starts_with("failed ")), "{lines:#?}");
    }
}

// Whoever reads the log and stalls stops nothing.
#[test]
fn a_log_that_nobody_reads() {
    let house = House::new();
    let route = format!("it={}", echo());
    let port = free_port();
    let target = format!("127.0.0.1:{port}");
    let mut command = house.server_command(&["--listen", &target, "--route", &route]);
    let mut server = command.stderr(Stdio::piped()).spawn().expect("server");
    until("it listens", || TcpStream::connect(&target).is_ok());
    let mut client = house.tunnel_client(&target, &["--service", "it"]);
    let address = client.address();
    // More lines than a pipe holds.
    for _ in 0..600 {
        round_trip(&mut dial(&address), b"x").expect("it serves");
    }
    let status = Command::new("kill").arg(server.id().to_string()).status();
    assert!(status.expect("kill").success());
    until("it ends", || server.try_wait().expect("wait").is_some());
}

// What could not be used is tried again; and a bound stays one over changes.
#[test]
fn reload_tries_again_and_forgets_no_bound() {
    let house = House::new();
    let route = format!("it={}", echo());
    let mut server = house.tunnel_server(&["--route", &route]);
    let target = server.address();
    let client = |more: &str| {
        format!(
            "[[client]]\nname='c'\nlisten='unix:door.sock'\nidentity='alice.key'\npeer='bob.key.pub'\ntarget='{target}'\nservice='it'\nmax-sessions=2\n{more}"
        )
    };
    let mut tunnel = configured(&house, &client(""));
    let connect = || std::os::unix::net::UnixStream::connect(house.path("door.sock")).expect("connect");
    let works = |stream: &mut std::os::unix::net::UnixStream| {
        stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
        let mut back = [0];
        stream.write_all(b"x").is_ok() && matches!(stream.read(&mut back), Ok(1))
    };
    let mut held = [connect(), connect()];
    assert!(held.iter_mut().all(&works));
    fs::write(house.path("tunnel.toml"), client("spare-age=31\n")).expect("write");
    tunnel.line("reloaded configuration");
    assert!(!works(&mut connect()), "a third, where two are allowed");
    assert!(held.iter_mut().all(&works));
    // The identity that it names comes later.
    fs::write(house.path("tunnel.toml"), client("").replace("alice.key", "late.key")).expect("write");
    let line = tunnel.line("configuration not reloaded");
    assert!(line.contains("late.key") && line.contains("client tunnel \"c\""), "{line}");
    fs::rename(house.path("alice.key"), house.path("late.key")).expect("rename");
    tunnel.line("reloaded configuration");
}

// What a socket lets in is what the configuration says now, and not what it said at the start.
#[test]
fn the_mode_of_a_socket_follows() {
    let house = House::new();
    let client = |mode: &str| {
        format!(
            "[[client]]\nlisten='unix:door.sock'\nidentity='alice.key'\npeer='bob.key.pub'\ntarget='127.0.0.1:1'\nservice='it'\nsocket-mode='{mode}'\n"
        )
    };
    let mode = || fs::metadata(house.path("door.sock")).expect("socket").permissions().mode() & 0o777;
    let mut tunnel = configured(&house, &client("666"));
    assert_eq!(mode(), 0o666);
    fs::write(house.path("tunnel.toml"), client("600")).expect("write");
    tunnel.line("reloaded configuration");
    assert_eq!(mode(), 0o600);
}

// What did not come to run leaves nothing behind where others look.
#[test]
fn a_reload_that_fails_leaves_no_trace() {
    let house = House::new();
    let admin = "admin='127.0.0.1:0'\n";
    let file = |listen: &str| {
        format!(
            "{admin}[[server]]\nname='s'\nlisten='{listen}'\nidentity='bob.key'\ntrust='trust'\nroute={{it='127.0.0.1:1'}}\n"
        )
    };
    let mut server = configured(&house, &file("127.0.0.1:0"));
    let (admin_address, target) = (server.address_of("side=admin"), server.address_of("side=server"));
    let taken = TcpListener::bind("127.0.0.1:0").expect("bind").local_addr().expect("address");
    let held = TcpListener::bind(taken).expect("bind");
    let other = file("127.0.0.1:0").replace(admin, "").replace("'s'", "'other'");
    fs::write(house.path("tunnel.toml"), format!("{}{other}", file(&taken.to_string()))).expect("write");
    server.line("configuration not reloaded");
    let sessions: serde_json::Value = serde_json::from_str(&body(&admin_address, "/sessions")).expect("JSON");
    assert_eq!(sessions["tunnels"].as_array().map(Vec::len), Some(1), "{sessions}");
    assert_eq!(sessions["tunnels"][0]["listen"], *target, "{sessions}");
    assert!(!body(&admin_address, "/metrics").contains("other"));
    drop(held);
}

// A running process asks for no passphrase, though it has a terminal: it would hear of nothing else meanwhile.
#[test]
fn a_reload_asks_for_no_passphrase() {
    let house = House::new();
    fs::write(house.path("pass"), "secret\n").expect("write");
    let made = house.run(&["keygen", "--out", "locked.key", "--passphrase-file", "pass"]);
    assert!(made.status.success(), "{made:?}");
    let file = |key: &str| {
        let file =
            format!("[[server]]\nname='s'\nlisten='127.0.0.1:0'\n{key}trust='trust'\nroute={{it='127.0.0.1:1'}}\n");
        fs::write(house.path("tunnel.toml"), file).expect("write");
    };
    file("identity='bob.key'\n");
    let program = env!("CARGO_BIN_EXE_countersign");
    let command = format!("echo $$ >pid; exec '{program}' tunnel --config tunnel.toml 2>log");
    let terminal = Command::new("script")
        .args(["-qec", &command, "/dev/null"])
        .current_dir(&house.folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn();
    let mut terminal = terminal.expect("script, of util-linux");
    let log = || fs::read_to_string(house.path("log")).unwrap_or_default();
    until("it listens", || log().contains("listening"));
    file("identity='locked.key'\n");
    until("it says why not", || log().contains("configuration not reloaded"));
    assert!(log().contains("passphrase"), "{}", log());
    file("identity='locked.key'\npassphrase-file='pass'\n");
    until("it reloads", || log().contains("reloaded configuration"));
    let pid = fs::read_to_string(house.path("pid")).expect("pid");
    assert!(Command::new("kill").arg(pid.trim()).status().expect("kill").success());
    assert!(terminal.wait().expect("wait").success());
}

// The admin listener is for this machine alone, whoever has opened its socket.
#[test]
fn no_admin_for_other_machines() {
    let house = House::new();
    for (listen, good) in [("0.0.0.0:0", false), ("127.0.0.1:0", true)] {
        let listener = TcpListener::bind(listen).expect("bind");
        let mut command = house.server_command(&["--route", "it=127.0.0.1:1", "--admin", "systemd"]);
        command.env("LISTEN_FDS", "1").env("LISTEN_FDS_FIRST_FD", "0");
        command.stdin(Stdio::from(OwnedFd::from(listener)));
        if good {
            let mut server = Tunnel::start(command);
            let admin = server.address_of("side=admin");
            assert_eq!(body(&admin, "/healthz"), "ok\n");
        } else {
            let mut child = command.stderr(Stdio::piped()).spawn().expect("run");
            until("it refuses", || child.try_wait().expect("wait").is_some());
            let refused = child.wait_with_output().expect("output");
            let said = text(&refused.stderr);
            assert!(code(&refused) == 2 && said.contains("can be reached from other machines"), "{said}");
        }
    }
    let named =
        house.server_command(&["--route", "it=127.0.0.1:1", "--admin", "systemd-x.invalid:7"]).output().expect("run");
    assert!(code(&named) == 2 && text(&named.stderr).contains("systemd-x.invalid"), "{named:?}");
}

// Sockets that systemd has opened, and what it is told.
#[test]
fn systemd() {
    let house = House::new();
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("address").to_string();
    let notified = UnixDatagram::bind(house.path("notify.sock")).expect("bind");
    notified.set_read_timeout(Some(PATIENCE)).expect("timeout");
    let route = format!("it={}", echo());
    let mut command = house.server_command(&["--listen", "systemd:front", "--route", &route, "--name", "s"]);
    // Our standard input is the descriptor that is passed, as listenfd allows.
    command
        .env("LISTEN_FDS", "1")
        .env("LISTEN_FDNAMES", "front")
        .env("LISTEN_FDS_FIRST_FD", "0")
        .env("NOTIFY_SOCKET", house.path("notify.sock"))
        .env("WATCHDOG_USEC", "200000")
        .stdin(Stdio::from(OwnedFd::from(listener.try_clone().expect("clone"))));
    let mut server = Tunnel::start(command);
    let mut heard = Vec::new();
    let mut wait_for = |what: &str| {
        while !heard.iter().any(|said: &String| said.contains(what)) {
            let mut message = [0; 512];
            let len = notified.recv(&mut message).unwrap_or_else(|error| panic!("no {what}: {error}, but {heard:?}"));
            heard.push(text(&message[..len]));
        }
        heard.retain(|said| !said.contains(what));
    };
    wait_for("READY=1");
    wait_for("WATCHDOG=1");
    let mut client = house.tunnel_client(&address, &["--service", "it"]);
    round_trip(&mut dial(&client.address()), b"x").expect("over the socket that was passed");
    server.signal("HUP");
    wait_for("RELOADING=1");
    wait_for("READY=1");
    server.signal("TERM");
    wait_for("STOPPING=1");
    assert_eq!(server.wait(), 0);
    // One that was not passed.
    let missing = house.server_command(&["--listen", "systemd:front", "--route", &route]).output().expect("run");
    assert!(code(&missing) == 2 && text(&missing.stderr).contains("LISTEN_FDNAMES"), "{missing:?}");
}

// A flood of strangers does not fill the disk with lines.
#[test]
fn failures_are_logged_within_reason() {
    let house = House::new();
    let route = format!("it={}", echo());
    let mut server = house.tunnel_server(&["--route", &route, "--admin", "127.0.0.1:0"]);
    let (admin, target) = (server.address_of("side=admin"), server.address());
    for _ in 0..400 {
        let mut stream = dial(&target);
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("write");
    }
    let counted = || {
        let metrics = body(&admin, "/metrics");
        let lines = metrics.lines().filter(|line| {
            line.contains("reason=\"foreign\"") || line.contains("gave_way") || line.contains("reason=\"io\"")
        });
        lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum::<u64>()
    };
    until("all are counted", || counted() >= 400);
    thread::sleep(Duration::from_millis(1_100));
    dial(&target).write_all(b"GET / HTTP/1.1\r\n\r\n").expect("write");
    let line = server.line("more failures than are logged");
    assert!(value(&line, "more").parse::<u64>().expect("count") > 100, "{line}");
    server.signal("TERM");
    let lines = server.rest();
    assert!(lines.iter().filter(|line| line.starts_with("failed ")).count() < 390, "{}", lines.len());
}
