"""A new process takes over from the old one, and keys and trust change, under load that never stops."""
import re
import shutil
import signal
import threading
import time

import lab as common


class Benchmarks:
    """redis-benchmark, one after the other: with new connections for each command, and with lasting ones."""

    def __init__(self, lab, port):
        self.lab, self.port, self.done, self.failed, self.stop_ = lab, port, 0, [], threading.Event()
        self.thread = threading.Thread(target=self._loop, daemon=True)
        self.thread.start()

    def _loop(self):
        while not self.stop_.is_set():
            keep = self.done % 2
            try:
                done = self.lab.run(["redis-benchmark", "-h", common.HOST, "-p", self.port, "-q", "-t", "ping_mbulk", "-c", 4, "-k", keep, "-n", 4000 if keep else 100], 60, fails=True)
            except common.Failure as failure:
                self.failed.append(str(failure))
                return
            text = (done.stdout + done.stderr).decode(errors="replace")
            if done.returncode or re.search("error|closed|reset|refused", text, re.I) or "per second" not in text:
                self.failed.append(f"{done.returncode}: {text}")
            self.done += 1

    def go_on(self):
        now = self.done
        self.lab.wait("redis-benchmark to go on", lambda: self.done > now + 1 or self.failed)

    def stop(self):
        self.stop_.set()
        self.thread.join(60)


class Place:
    def __init__(self, lab):
        self.lab = lab
        self.redis, self.echo = lab.port(), common.echo(lab, "echo")
        lab.start("redis-server", ["redis-server", "--port", self.redis, "--bind", common.HOST, "--save", "", "--dir", lab.dir]).wait_port(self.redis)
        self.outer = lab.port()
        self.ports = {who: {"redis": lab.port(), "echo": lab.port()} for who in ("alice", "carol")}
        self.admin = {who: lab.port() for who in ("bob", "alice", "carol")}
        self.running, self.generation = {}, {}
        for who in self.admin:
            self.identity(who, who)
        lab.trust("peers", "alice", "carol")
        self.write("bob", f"""
[[server]]
name = "main"
listen = "{common.HOST}:{self.outer}"
identity = "identity-bob"
trust = "peers"
route = {{ redis = "{common.HOST}:{self.redis}", echo = "{common.HOST}:{self.echo}" }}
""")
        for who, ports in self.ports.items():
            self.write(who, "".join(f"""
[[client]]
name = "{service}"
listen = "{common.HOST}:{port}"
identity = "identity-{who}"
peer = "{lab.public('bob')}"
target = "{common.HOST}:{self.outer}"
service = "{service}"
""" for service, port in ports.items()))
        for who in self.admin:
            self.start(who)

    def write(self, who, tunnels):
        (self.lab.dir / f"{who}.toml").write_text(f'admin = "{common.HOST}:{self.admin[who]}"\nlog = "json"\ndrain = 60\ntakeover = "takeover-{who}"\n{tunnels}')

    def identity(self, who, key):
        """Puts a key where `who` has its identity, at once."""
        fresh = self.lab.dir / f".identity-{who}"
        shutil.copy(self.lab.key(key), fresh)
        fresh.replace(self.lab.dir / f"identity-{who}")

    def start(self, who):
        number = self.generation[who] = self.generation.get(who, 0) + 1
        self.running[who] = self.lab.tunnel(f"tunnel-{who}-{number}", ["--config", f"{who}.toml"], 1 if who == "bob" else 2)
        return self.running[who]

    def keys(self):
        """Fingerprints of the peers that have sessions."""
        return {s["peer"]["key"] for s in common.sessions(self.admin["bob"])}


def unharmed(lab, what, users, benchmarks=None):
    lost = [bad for u in users for bad in [*u.lost.values(), *u.brief_lost]] + (benchmarks.failed if benchmarks else [])
    lab.check(what, not lost, lost or f"{sum(len(u.brief_ok) for u in users)} new ones so far")


def takeovers(lab, place):
    benchmarks = Benchmarks(lab, place.ports["alice"]["redis"])
    users = common.Users(place.ports["alice"]["echo"], long=6, brief=3).settled(lab)
    users.go_on(lab)
    unharmed(lab, "before anything happens no connection fails", [users], benchmarks)
    old, everybody = [], [users]
    for who in ("bob", "alice", "bob"):
        before = place.running[who]
        old.append(before)
        after = place.start(who)
        side = "server" if who == "bob" else "client"
        for _ in range(2):
            for group in everybody:
                group.go_on(lab)
            benchmarks.go_on()
        unharmed(lab, f"{after.name} takes over from {before.name} ({side}): no connection fails, no session is lost", everybody, benchmarks)
        lab.check("the old one keeps its sessions until they end", before.alive())
        lab.wait("the new one to have sessions", lambda: common.sessions(place.admin[who]))
        lab.check("the new one answers at the admin address", common.get(place.admin[who], "/healthz") == (200, "ok\n"))
        everybody.append(common.Users(place.ports["alice"]["echo"], long=3).settled(lab))
    for group in everybody:
        group.stop()
    benchmarks.stop()
    unharmed(lab, "all end well", everybody, benchmarks)
    lab.note(f"{benchmarks.done} runs of redis-benchmark")
    for process in old:
        lab.check(f"{process.name} leaves with code 0", process.ended(10) == 0)
        bad = [e for e in common.events(process, "closed") if e["reason"] != "ok"]
        lab.check("its log has no session that ended otherwise", not bad, bad or "")


def fingerprint(lab, name):
    return lab.run(["ssh-keygen", "-lf", lab.public(name)]).decode().split()[1]


def reloads(lab, place):
    benchmarks = Benchmarks(lab, place.ports["carol"]["redis"])
    old = common.Users(place.ports["alice"]["echo"], long=4, brief=2).settled(lab)
    others = common.Users(place.ports["carol"]["echo"], long=4, brief=2).settled(lab)
    everybody = [old, others]

    for _ in range(5):
        for process in place.running.values():
            process.signal(signal.SIGHUP)
        time.sleep(0.1)
    for users in everybody:
        users.go_on(lab)
    unharmed(lab, "SIGHUP, again and again: none is lost", everybody, benchmarks)

    lab.trust("peers", "alice", "alice-next", "carol")
    place.running["bob"].signal(signal.SIGHUP)
    time.sleep(0.5)
    place.identity("alice", "alice-next")
    place.running["alice"].signal(signal.SIGHUP)
    now, next_ = fingerprint(lab, "alice"), fingerprint(lab, "alice-next")
    lab.wait("sessions with the next key", lambda: next_ in place.keys())
    time.sleep(0.5)
    new = common.Users(place.ports["alice"]["echo"], long=4).settled(lab)
    everybody.append(new)
    for users in everybody:
        users.go_on(lab)
    lab.check("after the key file is replaced new sessions have the next key, old ones keep theirs", {now, next_} <= place.keys())
    unharmed(lab, "no session is lost by it", everybody, benchmarks)

    lab.trust("peers", "alice-next", "carol")
    at = time.monotonic()
    lab.wait("the sessions of a key that is no longer trusted to end", lambda: len(old.lost) == old.long, 5)
    lab.check("without its line in the trust file a key's sessions end", True, f"the last after {max(when for when, _ in old.lost.values()) - at:.2f} s")
    others.go_on(lab)
    new.go_on(lab)
    time.sleep(1)
    benchmarks.go_on()
    unharmed(lab, "no others do", [others, new], benchmarks)
    lab.check("nor do connections with the next key fail", not old.brief_lost, old.brief_lost or "")
    reasons = {e["reason"] for e in common.events(place.running["bob"], "closed") if e["peer"]["key"] == now} - {"ok"}
    lab.check("the log says why", len(reasons) == 1, reasons)
    for users in everybody:
        users.stop()
    benchmarks.stop()
    unharmed(lab, "the others end well", [others, new], benchmarks)


def reconfigured(lab, place):
    """Tunnels come, change and go with the file; sessions stay. What is broken changes nothing, in this process or a new one."""
    users = common.Users(place.ports["alice"]["echo"], long=4, brief=2).settled(lab)
    process, file, more = place.running["alice"], lab.dir / "alice.toml", lab.port()
    before = file.read_text()

    def write(text):
        (lab.dir / ".alice.toml").write_text(text)
        (lab.dir / ".alice.toml").replace(file)
        process.signal(signal.SIGHUP)

    added = before + f"""
[[client]]
name = "more"
listen = "{common.HOST}:{more}"
identity = "identity-alice"
peer = "{lab.public('bob')}"
target = "{common.HOST}:{place.outer}"
service = "redis"
"""
    write(added)
    lab.wait("the new tunnel", lambda: lab.run(["redis-cli", "-h", common.HOST, "-p", more, "PING"], fails=True).stdout == b"PONG\n")
    lab.check("a tunnel that is added works")
    write(added.replace('service = "echo"', 'service = "echo"\nsession-lifetime = 3000\nmax-sessions = 500'))
    users.go_on(lab)
    time.sleep(0.5)
    users.go_on(lab)
    unharmed(lab, "a tunnel that is changed loses nobody", [users])
    write(before)
    lab.wait("the tunnel that is gone to be gone", lambda: lab.run(["redis-cli", "-h", common.HOST, "-p", more, "PING"], fails=True).stdout != b"PONG\n")
    lab.check("a tunnel that is removed listens no more")
    write("[[client]]\nlisten = 7\n")
    process.wait_for("a word about the broken file", "not reloaded", 5)
    broken = lab.start("broken", [lab.program, "tunnel", "--config", "alice.toml"])
    lab.check("a broken file: a new process refuses it", broken.ended(10) == 2, broken.text().strip().splitlines()[0])
    (lab.dir / "bad-key.toml").write_text(before.replace("identity-alice", "identity-nobody"))
    broken = lab.start("keyless", [lab.program, "tunnel", "--config", "bad-key.toml"])
    lab.check("one that fails at its keys leaves the sockets with the old one", broken.ended(10) in (1, 2), broken.text().strip().splitlines()[0])
    users.go_on(lab)
    write(before)
    users.go_on(lab)
    users.stop()
    unharmed(lab, "all that loses nobody", [users])
    place.start("alice")
    lab.check("after that a new process still takes over", process.ended(10) == 0)
    lab.check("and answers", lab.run(["redis-cli", "-h", common.HOST, "-p", place.ports["alice"]["redis"], "PING"]) == b"PONG\n")


def run(lab):
    place = Place(lab)
    reconfigured(lab, place)
    takeovers(lab, place)
    reloads(lab, place)
    for process in place.running.values():
        process.signal(signal.SIGTERM)
        lab.check(f"{process.name} leaves with code 0", process.ended() == 0)
