//! A new process takes the place of the one that runs: no connection is refused or broken, and whatever goes wrong, one of the two serves.
#![allow(missing_docs)]
#![cfg(all(unix, feature = "cli"))]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

mod cmd;

use cmd::tunnel::{body, dial, echo, round_trip, until, value};
use cmd::{House, PATIENCE, code};

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("bind").local_addr().expect("address").port()
}

// A new process takes over under load: not one connection is refused or broken.
#[test]
fn a_new_process_takes_over() {
    let house = House::new();
    let route = format!("it={}", echo());
    let port = free_port();
    let listen = format!("127.0.0.1:{port}");
    let args = [
        "--route",
        &*route,
        "--listen",
        &*listen,
        "--takeover",
        "take.sock",
        "--admin",
        "unix:admin.sock",
        "--name",
        "s",
    ];
    let mut old = house.tunnel_server(&args);
    let mut client = house.tunnel_client(&listen, &["--service", "it"]);
    let address = client.address();
    let mut long = dial(&address);
    round_trip(&mut long, b"x").expect("session");
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let load: Vec<_> = (0..4)
        .map(|_| {
            let (address, stop, done) = (address.clone(), stop.clone(), done.clone());
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    round_trip(&mut dial(&address), b"not lost").expect("a connection while a process takes over");
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let some_more = || {
        let before = done.load(Ordering::Relaxed);
        until("the load goes on", || done.load(Ordering::Relaxed) > before + 20);
    };
    some_more();
    let mut new = house.tunnel_server(&args);
    let line = old.line("draining ");
    assert_eq!(value(&line, "handed_over"), "true");
    some_more();
    round_trip(&mut long, b"still").expect("the session of the old process");
    // And a third, while the first still drains.
    let mut third = house.tunnel_server(&args);
    new.line("draining ");
    some_more();
    drop(long);
    assert_eq!((old.wait(), new.wait()), (0, 0));
    some_more();
    // The files of the sockets belong to the new one.
    assert!(house.path("take.sock").exists() && house.path("admin.sock").exists());
    stop.store(true, Ordering::Relaxed);
    load.into_iter().for_each(|thread| thread.join().expect("load"));
    third.signal("TERM");
    assert_eq!(third.wait(), 0);
    assert!(!house.path("take.sock").exists() && !house.path("admin.sock").exists());

    // One that drains gives nothing away, and is in nobody's way.
    let without_admin = [&args[..6], &args[8..]].concat();
    let mut draining = house.tunnel_server(&without_admin);
    let mut held = dial(&address);
    round_trip(&mut held, b"x").expect("session");
    draining.signal("TERM");
    draining.line("draining ");
    let mut beside = house.tunnel_server(&without_admin);
    round_trip(&mut held, b"still").expect("the session of the old one");
    round_trip(&mut dial(&address), b"x").expect("the new one serves");
    drop((held, draining));
    beside.signal("TERM");
    assert_eq!(beside.wait(), 0);

    // One that wants to take over and fails leaves the old one as it is.
    let mut old = house.tunnel_server(&args);
    let broken = house
        .server_command(&["--listen", "systemd", "--route", &route, "--takeover", "take.sock"])
        .output()
        .expect("run");
    assert_ne!(code(&broken), 0);
    old.line("this one goes on");
    round_trip(&mut dial(&address), b"x").expect("the old one serves");
}

// Whoever asks for the sockets and then says nothing holds nobody up.
#[test]
fn a_silent_successor() {
    let house = House::new();
    let route = format!("it={}", echo());
    let mut server = house.tunnel_server(&["--route", &route, "--takeover", "take.sock"]);
    let target = server.address();
    let silent = UnixStream::connect(house.path("take.sock")).expect("connect");
    let mut client = house.tunnel_client(&target, &["--service", "it"]);
    round_trip(&mut dial(&client.address()), b"x").expect("it serves");
    client.line("closed ");
    server.line("closed ");
    server.signal("HUP");
    server.line("reloaded identity");
    server.signal("TERM");
    assert_eq!(server.wait(), 0);
    drop(silent);
    // One that goes away is said, and changes nothing.
    let mut server = house.tunnel_server(&["--route", &route, "--takeover", "take.sock"]);
    let mut leaves = UnixStream::connect(house.path("take.sock")).expect("connect");
    leaves.write_all(b"take\n").expect("ask");
    drop(leaves);
    server.line("this one goes on");
}

// The signal that is meant for a process that has been replaced finds it draining already: it breaks nothing off. The next one does.
#[test]
fn a_signal_to_the_old_one_breaks_nothing_off() {
    let house = House::new();
    let route = format!("it={}", echo());
    let listen = format!("127.0.0.1:{}", free_port());
    let args = ["--route", &*route, "--listen", &*listen, "--takeover", "take.sock"];
    let mut old = house.tunnel_server(&args);
    let mut client = house.tunnel_client(&listen, &["--service", "it"]);
    let mut held = dial(&client.address());
    round_trip(&mut held, b"x").expect("session");
    let _new = house.tunnel_server(&args);
    old.line("draining ");
    old.signal("TERM");
    thread::sleep(std::time::Duration::from_millis(500));
    round_trip(&mut held, b"still").expect("the session of the old one");
    assert!(!old.has_ended());
    old.signal("TERM");
    assert!(held.read(&mut [0; 8]).is_err(), "a reset");
    assert_eq!(value(&old.line("closed "), "cause"), "stopped");
    assert_eq!(old.wait(), 0);
}

// One that is told to stop while its successor gets ready leaves it the sockets at once, and their files.
#[test]
fn told_to_stop_while_another_gets_ready() {
    let house = House::new();
    let route = format!("it={}", echo());
    for asked in [true, false] {
        let args = ["--route", &*route, "--takeover", "take.sock", "--admin", "unix:admin.sock"];
        let mut old = house.tunnel_server(&args);
        let target = old.address();
        let mut successor = UnixStream::connect(house.path("take.sock")).expect("connect");
        successor.set_read_timeout(Some(PATIENCE)).expect("timeout");
        successor.write_all(b"take\n").expect("ask");
        let mut read_names = || {
            // The sockets themselves are dropped.
            let mut names = [0; 512];
            let len = successor.read(&mut names).expect("names");
            let names = String::from_utf8_lossy(&names[..len]);
            assert_eq!(names, "127.0.0.1:0#1\nadmin unix:admin.sock\n\n");
        };
        if asked {
            read_names();
            old.signal("TERM");
        } else {
            // Both at once.
            old.signal("TERM");
            read_names();
        }
        let mut word = [0; 3];
        successor.read_exact(&mut word).expect("go");
        assert_eq!(&word, b"go\n");
        assert_eq!(value(&old.line("draining "), "handed_over"), "true");
        assert_eq!(old.wait(), 0);
        assert!(house.path("take.sock").exists() && house.path("admin.sock").exists());
        drop(target);
    }
}

// What is new in the configuration counts, also for the admin listener; what it no longer names goes.
#[test]
fn the_new_configuration_counts() {
    let house = House::new();
    let route = format!("it={}", echo());
    let listen = format!("127.0.0.1:{}", free_port());
    let (before, after) = (
        format!("unix:{}", house.path("before.sock").display()),
        format!("unix:{}", house.path("after.sock").display()),
    );
    let server = |admin: &str| {
        let args = ["--route", &*route, "--listen", &*listen, "--takeover", "take.sock", "--admin", admin];
        house.tunnel_server(&args)
    };
    let mut old = server(&before);
    let mut new = server(&after);
    assert_eq!(new.address_of("side=admin"), after);
    old.line("draining ");
    assert!(UnixStream::connect(house.path("after.sock")).is_ok());
    assert!(!house.path("before.sock").exists());
    let mut third = server("127.0.0.1:0");
    let admin = third.address_of("side=admin");
    assert_eq!(body(&admin, "/healthz"), "ok\n");
    assert!(!house.path("after.sock").exists());
}

// There is no way back once the other one has gone: what is not needed to serve is done without.
#[test]
fn a_successor_goes_on_without_what_it_can_do_without() {
    let house = House::new();
    let route = format!("it={}", echo());
    let listen = format!("127.0.0.1:{}", free_port());
    let args = ["--route", &*route, "--listen", &*listen, "--takeover", "take.sock"];
    let mut old = house.tunnel_server(&args);
    // It leads to the old one, and can't be removed as a socket.
    std::fs::rename(house.path("take.sock"), house.path("moved.sock")).expect("rename");
    std::os::unix::fs::symlink(house.path("moved.sock"), house.path("take.sock")).expect("link");
    let mut new = house.tunnel_server(&args);
    let line = new.line("warning: ");
    assert!(line.contains("take.sock") && line.contains("goes on without"), "{line}");
    old.line("draining ");
    let mut client = house.tunnel_client(&listen, &["--service", "it"]);
    round_trip(&mut dial(&client.address()), b"x").expect("it serves");
}

// Whoever asks, and hangs or never meant it, is in nobody's way.
#[test]
fn who_asks_and_hangs() {
    let house = House::new();
    let route = format!("it={}", echo());
    let listen = format!("127.0.0.1:{}", free_port());
    let args = ["--route", &*route, "--listen", &*listen, "--takeover", "take.sock"];
    let mut old = house.tunnel_server(&args);
    for says in [&b""[..], b"take\n"] {
        let mut hangs = UnixStream::connect(house.path("take.sock")).expect("connect");
        hangs.write_all(says).expect("ask");
        thread::sleep(std::time::Duration::from_millis(300));
        let mut new = house.tunnel_server(&args);
        assert_eq!(value(&old.line("draining "), "handed_over"), "true");
        if !says.is_empty() {
            old.line("another one asks");
        }
        assert_eq!(old.wait(), 0);
        std::mem::swap(&mut old, &mut new);
    }
    // One that has not asked is given nothing.
    let silent = UnixStream::connect(house.path("take.sock")).expect("connect");
    thread::sleep(std::time::Duration::from_millis(300));
    old.signal("TERM");
    assert_eq!(value(&old.line("draining "), "handed_over"), "false");
    assert_eq!(old.wait(), 0);
    drop(silent);
}
