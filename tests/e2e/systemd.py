"""As systemd starts it: with sockets, by name, and with somebody who waits to hear that it is ready."""
import shutil
import signal
import socket
import sys

import lab as common


class Notified:
    """The socket at NOTIFY_SOCKET."""

    def __init__(self, lab):
        self.lab, self.path, self.got = lab, lab.dir / "notify", []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(self.path))
        self.socket.setblocking(False)
        lab.undo.append(self.socket.close)

    def read(self):
        try:
            while True:
                self.got += self.socket.recv(4096).decode().splitlines()
        except BlockingIOError:
            return self.got

    def wait(self, line, seconds=10):
        self.lab.wait(f"{line} at NOTIFY_SOCKET, not only {self.got}", lambda: line in self.read(), seconds)

    def forget(self):
        self.read()
        self.got = []


def listener(lab, path=None):
    made = socket.socket(socket.AF_UNIX if path else socket.AF_INET)
    made.bind(str(path) if path else (common.HOST, 0))
    made.listen(128)
    lab.undo.append(made.close)
    return made


LAUNCHER = """
import os, sys
names, fds, argv = sys.argv[1], [int(n) for n in sys.argv[2].split(",")], sys.argv[3:]
high = [os.dup(fd) for fd in fds]
high = [os.dup2(fd, 100 + n) for n, fd in enumerate(high)]
for n, fd in enumerate(high):
    os.dup2(fd, 3 + n, inheritable=True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(fds)), LISTEN_FDNAMES=names)
os.execv(argv[0], argv)
"""


def launched(lab, name, sockets, argv, ready, **options):
    """What systemd does between fork and exec."""
    fds = [s.fileno() for s in sockets.values()]
    return lab.tunnel(name, argv, ready, wrap=[sys.executable, "-c", LAUNCHER, ":".join(sockets), ",".join(map(str, fds))], pass_fds=fds, **options)


def talk(lab, what, port, path=None):
    made = socket.socket(socket.AF_UNIX if path else socket.AF_INET)
    with made as connection:
        connection.settimeout(10)
        connection.connect(str(path) if path else (common.HOST, port))
        connection.sendall(b"ping")
        connection.shutdown(socket.SHUT_WR)
        got = b""
        while more := connection.recv(100):
            got += more
    lab.check(what, got == b"echo\nping", got if got != b"echo\nping" else "")


def named(lab, target):
    """Both tunnels of a file, on three sockets of which systemd has given names."""
    outer, inner, path = listener(lab), listener(lab), lab.dir / "unix"
    sockets = {"outer": outer, "plain": inner, "local": listener(lab, path)}
    ports = {name: s.getsockname()[1] for name, s in sockets.items() if name != "local"}
    config = lab.dir / "tunnel.toml"
    config.write_text(f"""
log = "json"
drain = 5

[[server]]
listen = "systemd:outer"
identity = "{lab.key('bob')}"
trust = "{lab.trust('peers', 'alice')}"
route = {{ echo = "{common.HOST}:{target}" }}
""" + "".join(f"""
[[client]]
name = "{name}"
listen = "systemd:{name}"
identity = "{lab.key('alice')}"
peer = "{lab.public('bob')}"
target = "{common.HOST}:{ports['outer']}"
service = "echo"
""" for name in ("plain", "local")))
    lab.run([lab.program, "tunnel", "--config", config, "--check"])
    lab.check("--check finds nothing wrong with a file that names systemd's sockets")
    # a service manager connects before it starts us: the connection waits in the socket's queue
    early = socket.create_connection((common.HOST, ports["plain"]), 5)
    notified = Notified(lab)
    process = launched(lab, "named", sockets, ["--config", config], 3, env={"NOTIFY_SOCKET": str(notified.path)})
    notified.wait("READY=1")
    lab.check("READY=1 comes once it listens", len(common.events(process, "listening")) == 3)
    early.settimeout(10)
    early.sendall(b"ping")
    early.shutdown(socket.SHUT_WR)
    got = b""
    while more := early.recv(100):
        got += more
    early.close()
    lab.check("who connected before that is served", got == b"echo\nping", got if got != b"echo\nping" else "")
    talk(lab, "a TCP socket by name", ports["plain"])
    talk(lab, "a Unix socket by name", None, path)

    notified.forget()
    process.signal(signal.SIGHUP)
    notified.wait("READY=1")
    got = notified.got
    lab.check("SIGHUP: RELOADING=1 with the time, then READY=1", "RELOADING=1" in got and got.index("RELOADING=1") < got.index("READY=1")
              and any(line.startswith("MONOTONIC_USEC=") for line in got), got)
    talk(lab, "it still works", ports["plain"])
    notified.forget()
    process.signal(signal.SIGTERM)
    notified.wait("STOPPING=1")
    lab.check("SIGTERM: STOPPING=1")
    lab.check("it leaves with code 0", process.ended() == 0)
    again = launched(lab, "named-again", sockets, ["--config", config], 3)
    talk(lab, "the sockets live on, for the next process", ports["plain"])
    again.kill()


def activated(lab, target):
    """A client that systemd-socket-activate starts at the first connection."""
    outer, port, notified = lab.port(), lab.port(), None
    lab.tunnel("tunnel-server", ["server", "--listen", f"{common.HOST}:{outer}", "--identity", lab.key("bob"), "--trust", lab.dir / "peers",
                                 "--route", f"echo={common.HOST}:{target}", "--log", "json"])
    if not shutil.which("systemd-socket-activate"):
        return lab.skip("systemd-socket-activate", "this machine does not have it")
    client = lab.start("activated", ["systemd-socket-activate", "-l", f"{common.HOST}:{port}", lab.program, "tunnel", "client", "--listen", "systemd", "--identity", lab.key("alice"),
                                     "--peer", lab.public("bob"), "--target", f"{common.HOST}:{outer}", "--service", "echo", "--log", "json"])
    client.wait_for("to listen", "Listening on")
    talk(lab, "systemd-socket-activate starts a client", port)
    talk(lab, "which goes on", port)
    client.signal(signal.SIGTERM)
    lab.check("and leaves with code 0", client.ended() == 0)


def run(lab):
    target = common.echo(lab, "echo")
    named(lab, target)
    activated(lab, target)
    done = lab.run([lab.program, "tunnel", "server", "--listen", "systemd:absent", "--identity", lab.key("bob"), "--trust", lab.dir / "peers", "--route", f"echo={common.HOST}:{target}"],
                   10, fails=True)
    lab.check("without such a socket it says so", done.returncode in (1, 2) and b"LISTEN_FD" in done.stderr, done.stderr.decode().strip())
