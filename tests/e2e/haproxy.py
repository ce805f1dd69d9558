"""HAProxy in TCP mode in front of two tunnel servers, one of which is killed, and one of which is asked to leave, under load."""
import pathlib
import signal
import time

import lab as common

HAPROXY_ADDRESS = "127.0.0.9"  # where its own connections come from: not what the log should say
CONFIG = """
global
    maxconn 1000
    stats socket {dir}/haproxy.sock mode 600 level admin
defaults
    mode tcp
    timeout connect 2s
    timeout client 1m
    timeout server 1m
    retries 3
    option redispatch
frontend in
    bind 127.0.0.1:{front}
    default_backend tunnels
backend tunnels
    balance roundrobin
    default-server check inter 200ms fall 2 rise 1 send-proxy-v2 source {source}
    server a 127.0.0.1:{a}
    server b 127.0.0.1:{b}
frontend told
    mode http
    bind 127.0.0.1:{told} accept-proxy
    http-request return status 200 content-type text/plain lf-string "%[src]:%[src_port] %[fc_pp_authority] %[fc_pp_unique_id,hex]"
"""
PROXIED = ["--proxy-in", "127.0.0.0/8"]


class Pool:
    def __init__(self, lab):
        self.lab, self.front, self.told, self.ports, self.admins, self.echos = lab, lab.port(), lab.port(), {}, {}, {}
        lab.trust("peers", "alice")
        for name in "ab":
            self.ports[name], self.admins[name], self.echos[name] = lab.port(), lab.port(), common.echo(lab, name)
        self.servers = {name: self.server(name) for name in "ab"}
        config = lab.dir / "haproxy.cfg"
        config.write_text(CONFIG.format(dir=lab.dir, front=self.front, told=self.told, source=HAPROXY_ADDRESS, **self.ports))
        lab.start("haproxy", [common.program_path("haproxy"), "-db", "-f", config]).wait_port(self.front)
        self.port = lab.port()
        self.client = lab.tunnel("tunnel-client", ["client", "--listen", f"{common.HOST}:{self.port}", "--identity", lab.key("alice"), "--peer", lab.public("bob"),
                                                   "--target", f"{common.HOST}:{self.front}", "--service", "echo", "--log", "json"])
        self.wait_up("ab")

    def server(self, name):
        lab = self.lab
        return lab.tunnel(f"tunnel-{name}", ["server", "--listen", f"{common.HOST}:{self.ports[name]}", "--identity", lab.key("bob"), "--trust", lab.dir / "peers",
                                             "--route", f"echo={common.HOST}:{self.echos[name]}", "--log", "json", "--drain", "20",
                                             "--admin", f"{common.HOST}:{self.admins[name]}", *PROXIED])

    def up(self):
        """The servers that HAProxy gives new connections."""
        with common.socket.socket(common.socket.AF_UNIX) as control:
            control.connect(str(self.lab.dir / "haproxy.sock"))
            control.sendall(b"show stat -1 4 -1\n")
            text = b""
            while more := control.recv(65536):
                text += more
        lines = [line.split(",") for line in text.decode().splitlines() if line]
        status = lines[0].index("status")
        return "".join(sorted(line[1] for line in lines[1:] if line[status].startswith("UP")))

    def wait_up(self, names):
        self.lab.wait(f"HAProxy to have servers {names}", lambda: self.up() == names)

    def client_ports(self):
        """Of the connections from the tunnel client to HAProxy."""
        inodes = {link.readlink().name for link in pathlib.Path(f"/proc/{self.client.pid}/fd").iterdir() if link.is_symlink()}
        found = set()
        for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]:
            words = line.split()
            if int(words[2].split(":")[1], 16) == self.front and f"socket:[{words[9]}]" in inodes:
                found.add(int(words[1].split(":")[1], 16))
        return found


def addresses(lab, pool):
    """While nothing comes or goes, what the servers say of their sessions."""
    users = common.Users(pool.port, long=6).settled(lab)
    real = {f"{common.HOST}:{port}" for port in pool.client_ports()}
    said = {s["from"] for name in "ab" for s in common.sessions(pool.admins[name])}
    lab.check("both servers have sessions", set(users.where.values()) == {"a", "b"})
    lab.check("the servers know the addresses of the clients behind HAProxy", len(said) == 6 and said == real, sorted(said) if said == real else f"{said} {real}")
    users.stop()
    lab.check("no session is lost", not users.lost, users.lost or "")
    logged = lambda: {e["from"] for name in "ab" for e in common.events(pool.servers[name], "closed")}
    lab.wait("the log to have them", lambda: logged() >= said)
    lab.check("the log has them", not any(address.startswith(HAPROXY_ADDRESS) for address in logged()))


def killed(lab, pool):
    users = common.Users(pool.port, long=8, brief=3).settled(lab)
    users.go_on(lab)
    lab.check("before anything happens none fails", not users.lost and not users.brief_lost, users.lost or users.brief_lost or "")
    on_a = {n for n, name in users.where.items() if name == "a"}
    pool.servers["a"].kill()
    at = time.monotonic()
    lab.wait("the sessions of the killed server to end", lambda: set(users.lost) >= on_a, 5)
    late = max(when for when, _ in users.lost.values()) - at
    lab.check("SIGKILL of a server ends its sessions at once", late < 2, f"{len(on_a)} of {users.long}, the last after {late:.2f} s")
    pool.wait_up("b")
    noticed = time.monotonic()
    users.go_on(lab)
    time.sleep(1)
    lab.check("no other session ends", set(users.lost) == on_a, users.lost if set(users.lost) != on_a else "")
    late = [(when - noticed, why) for when, why in users.brief_lost if when > noticed + 0.5]
    lab.check("once HAProxy knows, all new connections go to the other", not late and all(name == "b" for when, name in users.brief_ok if when > noticed + 0.5),
              late or f"{len(users.brief_lost)} failed before")
    users.stop()
    lab.check("the others end well", set(users.lost) == on_a)
    pool.servers["a"] = pool.server("a")
    pool.wait_up("ab")


def drained(lab, pool):
    users = common.Users(pool.port, long=8, brief=3).settled(lab)
    users.go_on(lab)
    on_a = [n for n, name in users.where.items() if name == "a"]
    pool.servers["a"].signal(signal.SIGTERM)
    lab.wait("/healthz to say that it drains", lambda: common.get(pool.admins["a"], "/healthz") == (503, "draining\n"))
    pool.wait_up("b")
    for _ in range(3):
        users.go_on(lab)
        time.sleep(0.5)
    lab.check("SIGTERM: the sessions of a server that drains go on", on_a and not users.lost and pool.servers["a"].alive(), users.lost or f"{len(on_a)} of {users.long}")
    lab.check("every new connection meanwhile succeeds", not users.brief_lost, users.brief_lost or f"{len(users.brief_ok)}")
    users.stop()
    lab.check("none is lost at the end", not users.lost, users.lost or "")
    lab.check("with the last session the server leaves with code 0", pool.servers["a"].ended(10) == 0)
    bad = [e for e in common.events(pool.servers["a"], "closed") if e["reason"] != "ok"]
    lab.check("its log has no session that ended otherwise", not bad, bad or "")


def told(lab, pool):
    """HAProxy as the service: what the PROXY header of the tunnel says besides the address."""
    pair = lab.pair(f"{common.HOST}:{pool.told}", "billing", server=["--proxy-out", "v2"])
    address, service, session = lab.run(["curl", "-sS", "--max-time", "10", f"http://{common.HOST}:{pair.port}/"]).decode().split()
    end = lab.wait("the log", lambda: common.events(pair.server, "closed"))[0]
    lab.check("HAProxy as a service knows address, service and session from --proxy-out v2", (address, service, session.lower()) == (end["from"], "billing", end["session"]),
              f"{address} {service} {session}")
    for process in pair.processes():
        process.kill()


def run(lab):
    pool = Pool(lab)
    told(lab, pool)
    addresses(lab, pool)
    killed(lab, pool)
    drained(lab, pool)
    lab.check("the client still runs", pool.client.alive())
