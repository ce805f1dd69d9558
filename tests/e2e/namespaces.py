"""Client and server on two machines, as far as namespaces make them: a link that delays and loses, and a cable that is cut."""
import concurrent.futures
import hashlib
import os
import re
import shutil
import sys
import time

import lab as common

DELAY, JITTER, LOSS = 40, 10, 2
MTU = 9000  # with 1500, such a link lets a TCP connection have 0.2 MB/s
IMPATIENT = ["--keepalive", "1", "--idle-timeout", "3"]
REDIS, PLAIN, OUTER = 6379, 7001, 7000  # nobody else is in there


class Two:
    """Namespaces: `a` with the client, `b` with the server."""

    def __init__(self, lab):
        self.lab = lab
        self.names = {side: f"e2e-{os.getpid()}-{side}" for side in "ab"}
        if not shutil.which("ip", path=os.environ["PATH"] + ":/usr/sbin:/sbin"):
            raise common.Skip("there is no `ip`")
        for name in self.names.values():
            self.must(["ip", "netns", "add", name], "network namespaces")
            lab.undo.append(lambda name=name: lab.run(["ip", "netns", "del", name]))
            self.must(["ip", "-n", name, "link", "set", "lo", "up"], "network namespaces")
        self.must(["ip", "link", "add", "cable", "netns", self.names["a"], "type", "veth", "peer", "name", "cable", "netns", self.names["b"]], "veth devices")
        for side, address in (("a", "10.77.0.1/24"), ("b", "10.77.0.2/24")):
            self.ip(side, "address", "add", address, "dev", "cable")
            self.ip(side, "link", "set", "cable", "mtu", MTU, "up")

    def must(self, argv, what):
        done = self.lab.run(argv, fails=True)
        if done.returncode:
            raise common.Skip(f"no {what} here: {done.stderr.decode().strip()}")

    def ip(self, side, *words):
        self.lab.run(["ip", "-n", self.names[side], *words])

    def inside(self, side, *argv):
        return ["ip", "netns", "exec", self.names[side], *argv]

    def cli(self, side, *words):
        return self.inside(side, "redis-cli", "-h", common.HOST, "-p", REDIS if side == "b" else PLAIN, *words)

    def netem(self):
        """None if the kernel delays and loses packets, otherwise why it does not."""
        for side in "ab":
            done = self.lab.run(["tc", "-n", self.names[side], "qdisc", "add", "dev", "cable", "root", "netem", "delay", f"{DELAY}ms", f"{JITTER}ms", "loss", f"{LOSS}%", "limit", 10_000],
                                fails=True)
            if done.returncode:
                return done.stderr.decode().strip().splitlines()[0]

    def without_netem(self):
        for side in "ab":
            self.lab.run(["tc", "-n", self.names[side], "qdisc", "del", "dev", "cable", "root"], fails=True)

    def pair(self, address, tag, extra=()):
        lab = self.lab
        lab.trust("peers", "alice")
        server = lab.tunnel(f"tunnel-server-{tag}", ["server", "--listen", f"{address}:{OUTER}", "--identity", lab.key("bob"), "--trust", lab.dir / "peers",
                                                     "--route", f"redis={common.HOST}:{REDIS}", "--log", "json", *extra], wrap=self.inside("b"))
        client = lab.tunnel(f"tunnel-client-{tag}", ["client", "--listen", f"{common.HOST}:{PLAIN}", "--identity", lab.key("alice"), "--peer", lab.public("bob"),
                                                     "--target", f"{address}:{OUTER}", "--service", "redis", "--log", "json", *extra], wrap=self.inside("a"))
        return server, client


def transfer(lab, two, how):
    """20 MB either way, over four sessions at once."""
    megabytes = 1 if lab.quick else 5
    values = [os.urandom(megabytes << 20) for _ in range(4)]

    def there_and_back(n):
        lab.run(two.cli("a", "-x", "SET", f"value{n}"), 100, stdin=values[n])
        back = lab.run(two.cli("a", "--raw", "GET", f"value{n}"), 100)
        return hashlib.sha256(back.removesuffix(b"\n")).digest() == hashlib.sha256(values[n]).digest()

    start = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        same = list(pool.map(there_and_back, range(4)))
    lab.check(f"{4 * megabytes} MB over {how} come back as they went", all(same), f"{time.monotonic() - start:.1f} s")
    done = lab.run(two.inside("a", "redis-benchmark", "-h", common.HOST, "-p", PLAIN, "-q", "-c", 10, "-n", 200, "-t", "ping,set"), 60, fails=True)
    text = (done.stdout + done.stderr).decode()
    lab.check(f"redis-benchmark over {how}", done.returncode == 0 and "requests per second" in text and not re.search("error|closed|reset", text, re.I),
              ", ".join(re.findall(r"[0-9.]+ requests per second", text)) or text)


def bad_link(lab, two):
    why = two.netem()
    if why is None:
        address, how = "10.77.0.2", f"a link of {DELAY}±{JITTER} ms that loses {LOSS} %"
    elif os.path.exists("/dev/net/tun"):
        lab.note(f"this kernel has no netem ({why}): a program that forwards packets is the link")
        link = lab.start("lossy", [sys.executable, common.HERE / "lossy.py", two.names["a"], "10.78.0.1/24", two.names["b"], "10.78.0.2/24", DELAY, JITTER, LOSS])
        link.wait_for("its devices", "^up$")
        address, how = "10.78.0.2", f"a link of {DELAY}±{JITTER} ms that loses {LOSS} %, of our own"
    else:
        return lab.skip("a link that delays and loses", f"no netem ({why}), no /dev/net/tun")
    tunnels = two.pair(address, "lossy")
    transfer(lab, two, how)
    bad = [e for t in tunnels for e in common.events(t) if e.get("event") in ("failed", "refused") or e.get("reason", "ok") != "ok"]
    lab.check("no session ended badly", not bad, bad or "")
    for tunnel in tunnels:
        tunnel.kill()
    two.without_netem()


def cut(lab, two):
    server, client = two.pair("10.77.0.2", "cable", IMPATIENT)
    lab.check("over the cable", lab.run(two.cli("a", "PING")).strip() == b"PONG")
    subscriber = lab.start("subscriber", two.cli("a", "SUBSCRIBE", "news"))
    subscriber.wait_for("to have subscribed", r"^1$")
    time.sleep(4)
    lab.check("an idle session outlives the idle timeout", subscriber.alive() and len(common.events(server, "closed")) == len(common.events(client, "closed")) == 1)
    two.ip("a", "link", "set", "cable", "down")
    start = time.monotonic()
    ends = [lab.wait(f"{p.name} to end the session", lambda p=p: common.events(p, "closed")[1:], 15)[0] for p in (server, client)]
    lab.check("the cable is cut: both sides end the session, and say why", all(re.search("nothing|silen|idle", e["reason"]) for e in ends) and ends[0]["session"] == ends[1]["session"],
              f"{time.monotonic() - start:.1f} s: {ends[0]['reason']}; {ends[1]['reason']}")
    subscriber.ended(5)
    lab.check("so does the client of the service")
    clients = lambda: lab.run(two.cli("b", "CLIENT", "LIST", "TYPE", "pubsub")).strip()
    lab.wait("the service to see its client leave", lambda: not clients(), 5)
    lab.check("and the service")
    start = time.monotonic()
    done = lab.run(two.cli("a", "PING"), 20, fails=True)
    lab.check("meanwhile a new connection fails in time", b"PONG" not in done.stdout, f"{time.monotonic() - start:.1f} s: {(done.stdout + done.stderr).decode().strip()}")
    two.ip("a", "link", "set", "cable", "up")
    lab.wait("a new session over the mended cable", lambda: b"PONG" in lab.run(two.cli("a", "PING"), 20, fails=True).stdout, 20)
    lab.check("the cable is mended: new sessions work")
    lab.check("both still run", server.alive() and client.alive())


def run(lab):
    if os.getuid():
        raise common.Skip("network namespaces need root")
    two = Two(lab)
    lab.start("redis-server", two.inside("b", "redis-server", "--port", REDIS, "--bind", common.HOST, "--save", "", "--dir", lab.dir))
    lab.wait("redis-server", lambda: b"PONG" in lab.run(two.cli("b", "PING"), fails=True).stdout)
    bad_link(lab, two)
    cut(lab, two)
