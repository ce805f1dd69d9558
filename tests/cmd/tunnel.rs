//! How the tests run tunnels: the processes, what they say, and plain services and clients on both sides.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::{House, PATIENCE};

/// A `countersign tunnel` that runs.
pub struct Tunnel {
    pub child: Child,
    log: Receiver<String>,
    seen: Vec<String>,
}

impl House {
    /// `tunnel server` with bob's key and trust file, on a free port unless something else is said.
    pub fn server_command(&self, more: &[&str]) -> Command {
        let mut args = vec!["tunnel", "server", "--identity", "bob.key", "--trust", "trust"];
        if !more.contains(&"--listen") {
            args.extend(["--listen", "127.0.0.1:0"]);
        }
        args.extend(more);
        self.command(&args)
    }

    /// Starts it.
    pub fn tunnel_server(&self, more: &[&str]) -> Tunnel {
        Tunnel::start(self.server_command(more))
    }

    /// Starts `tunnel client` with alice's key, which calls bob, on a free port.
    pub fn tunnel_client(&self, target: &str, more: &[&str]) -> Tunnel {
        let mut args = vec!["tunnel", "client", "--target", target];
        if !more.contains(&"--identity") {
            args.extend(["--identity", "alice.key"]);
        }
        if !more.contains(&"--peer") {
            args.extend(["--peer", "bob.key.pub"]);
        }
        if !more.contains(&"--listen") {
            args.extend(["--listen", "127.0.0.1:0"]);
        }
        args.extend(more);
        Tunnel::start(self.command(&args))
    }
}

impl Tunnel {
    /// Starts a process, and waits until it says that it listens, or that it can't.
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("tunnel");
        let stderr = BufReader::new(child.stderr.take().expect("stderr"));
        let (lines, log) = channel();
        thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| lines.send(line)));
        let mut tunnel = Tunnel { child, log, seen: Vec::new() };
        tunnel.line("listening");
        tunnel
    }

    /// The next line, new or not asked for yet, that has this in it.
    pub fn line(&mut self, wanted: &str) -> String {
        if let Some(n) = self.seen.iter().position(|line| line.contains(wanted)) {
            return if wanted == "listening" { self.seen[n].clone() } else { self.seen.remove(n) };
        }
        loop {
            match self.log.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(wanted) => {
                    if wanted == "listening" {
                        self.seen.push(line.clone());
                    }
                    return line;
                }
                Ok(line) => self.seen.push(line),
                Err(RecvTimeoutError::Timeout) => panic!("no line with {wanted:?}, but {:#?}", self.seen),
                Err(RecvTimeoutError::Disconnected) => panic!("it ended without {wanted:?}: {:#?}", self.seen),
            }
        }
    }

    /// Everything that it says until it ends.
    pub fn rest(&mut self) -> Vec<String> {
        while let Ok(line) = self.log.recv_timeout(PATIENCE) {
            self.seen.push(line);
        }
        std::mem::take(&mut self.seen)
    }

    /// Where a tunnel listens, by something in its line.
    pub fn address_of(&mut self, what: &str) -> String {
        let is_it = |line: &String| line.contains("listening") && line.contains(what);
        let line = match self.seen.iter().find(|line| is_it(line)) {
            Some(line) => line.clone(),
            None => loop {
                let line = self.log.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("nothing listens as {what}"));
                self.seen.push(line.clone());
                if is_it(&line) {
                    break line;
                }
            },
        };
        match serde_json::from_str::<serde_json::Value>(&line) {
            Ok(object) => object["address"].as_str().expect("address").to_string(),
            Err(_) => line.split(' ').nth(2).expect("address").to_string(),
        }
    }

    /// Where its first tunnel listens.
    pub fn address(&mut self) -> String {
        self.address_of("")
    }

    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(status.expect("kill").success());
    }

    pub fn wait(&mut self) -> i32 {
        self.child.wait().expect("wait").code().unwrap_or(-1)
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("wait").is_some()
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Connects, with an end to all waiting.
pub fn dial(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).expect("connect");
    stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
    stream.set_write_timeout(Some(PATIENCE)).expect("timeout");
    stream
}

/// A service: each connection is given to `serve`, in a thread of its own.
pub fn service(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("address");
    let serve = std::sync::Arc::new(serve);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let serve = serve.clone();
            stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
            thread::spawn(move || serve(stream));
        }
    });
    address
}

/// Sends everything back, and then its end.
pub fn echo() -> SocketAddr {
    service(|mut stream| {
        let mut back = stream.try_clone().expect("clone");
        let _ = std::io::copy(&mut stream, &mut back);
        let _ = back.shutdown(Shutdown::Write);
    })
}

/// Sends, and reads as much back.
pub fn round_trip(stream: &mut TcpStream, data: &[u8]) -> std::io::Result<()> {
    stream.write_all(data)?;
    let mut back = vec![0; data.len()];
    stream.read_exact(&mut back)?;
    assert!(back == data, "other bytes came back");
    Ok(())
}

/// Sends all, ends, and reads all.
pub fn exchange(stream: &mut TcpStream, data: &[u8]) -> std::io::Result<Vec<u8>> {
    stream.write_all(data)?;
    stream.shutdown(Shutdown::Write)?;
    let mut back = Vec::new();
    stream.read_to_end(&mut back)?;
    Ok(back)
}

/// The value of `name=` in a line of the log.
pub fn value<'a>(line: &'a str, name: &str) -> &'a str {
    let start = line.find(&format!(" {name}=")).unwrap_or_else(|| panic!("no {name} in {line}")) + name.len() + 2;
    let rest = &line[start..];
    match rest.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next().expect("value"),
        None => rest.split(' ').next().expect("value"),
    }
}

/// Asks the admin listener.
pub fn http(address: &str, request: &str) -> String {
    let mut stream = dial(address);
    stream.write_all(request.as_bytes()).expect("request");
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer
}

pub fn get(address: &str, path: &str) -> String {
    http(address, &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"))
}

/// The body of what the admin listener says.
pub fn body(address: &str, path: &str) -> String {
    get(address, path).split_once("\r\n\r\n").map(|(_, body)| body.to_string()).unwrap_or_default()
}

/// Waits until something is so.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}
