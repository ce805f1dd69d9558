"""What the scenarios share: a temporary folder, processes that never outlive the run, waits with deadlines, keys, and tunnels in pairs."""
import contextlib
import ctypes
import hashlib
import http.client
import json
import os
import pathlib
import pwd
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).parent
HOST = "127.0.0.1"
PATIENCE = 20
PDEATHSIG = 1
LOG_TAIL = 6_000


class Failure(Exception):
    """A check that failed, or a wait that was in vain."""


class Skip(Exception):
    """What this machine does not allow."""


def die_with_parent():
    ctypes.CDLL(None).prctl(PDEATHSIG, signal.SIGKILL)


def children(pid):
    try:
        direct = [int(p) for p in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
    return direct + [below for child in direct for below in children(child)]


class Process:
    def __init__(self, lab, name, argv, env=None, user=None, cwd=None, stdin=subprocess.DEVNULL, pass_fds=(), preexec=None):
        self.lab, self.name, self.argv = lab, name, [str(a) for a in argv]
        self.path = lab.dir / f"{len(lab.processes)}-{name}.log"
        self.log = self.path.open("wb")
        who = pwd.getpwnam(user) if user else None
        ids = {"user": who.pw_uid, "group": who.pw_gid, "extra_groups": []} if who else {}

        def prepare():
            die_with_parent()
            if preexec:
                preexec()

        self.popen = subprocess.Popen(self.argv, stdin=stdin, stdout=self.log, stderr=self.log, env={**os.environ, **(env or {})}, cwd=cwd or lab.dir,
                                      start_new_session=True, pass_fds=pass_fds, preexec_fn=prepare, **ids)
        self.pid = self.popen.pid
        lab.processes.append(self)

    def text(self):
        return self.path.read_text(errors="replace")

    def alive(self):
        return self.popen.poll() is None

    def wait_for(self, what, pattern, seconds=PATIENCE):
        def found():
            match = re.search(pattern, self.text(), re.M)
            if not match and not self.alive():
                raise Failure(f"{self.name} ended with code {self.popen.returncode} before {what}")
            return match
        return self.lab.wait(f"{self.name}: {what}", found, seconds)

    def wait_port(self, port, seconds=PATIENCE):
        def open_():
            if not self.alive():
                raise Failure(f"{self.name} ended with code {self.popen.returncode} before port {port} was open")
            with contextlib.suppress(OSError), socket.create_connection((HOST, port), 1):
                return True
        self.lab.wait(f"{self.name} to listen on {port}", open_, seconds)
        return self

    def signal(self, number):
        self.popen.send_signal(number)

    def ended(self, seconds=PATIENCE):
        """Waits for its end; the exit code."""
        self.lab.wait(f"{self.name} to end", lambda: not self.alive(), seconds)
        return self.popen.returncode

    def kill(self):
        """All of it at once: also what it started, and what of this left the process group."""
        for pid in [self.pid, *children(self.pid)] if self.alive() else []:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self.popen.wait()
        self.log.close()

    def rss(self):
        return int(pathlib.Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Lab:
    """Of one scenario."""

    given = set()  # ports, of all scenarios

    def __init__(self, name, program, quick):
        self.name, self.program, self.quick = name, program, quick
        self.processes, self.undo, self.checks, self.skipped = [], [], 0, []

    def __enter__(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix=f"e2e-{self.name}-"))
        self.dir.chmod(0o755)  # servers that give up root have their files below it
        return self

    def __exit__(self, kind, error, trace):
        if kind and not issubclass(kind, Skip):
            self.show_logs()
        for process in reversed(self.processes):
            with contextlib.suppress(Exception):
                process.kill()
        for action in reversed(self.undo):
            with contextlib.suppress(Exception):
                action()
        shutil.rmtree(self.dir, ignore_errors=True)

    def show_logs(self):
        sys.stdout.flush()
        for process in self.processes:
            end = "alive" if process.alive() else f"ended with {process.popen.returncode}"
            text = process.text()
            cut = "" if len(text) <= LOG_TAIL else f"[{len(text) - LOG_TAIL} characters before]\n"
            print(f"---- {process.name} ({end}): {' '.join(process.argv)}\n{cut}{text[-LOG_TAIL:]}", file=sys.stderr)

    def check(self, what, holds=True, detail=""):
        self.checks += 1
        print(f"{'ok  ' if holds else 'FAIL'} {self.name}: {what}{f' ({detail})' if detail != '' else ''}", flush=True)
        if not holds:
            raise Failure(f"{self.name}: {what}")

    def skip(self, what, why):
        self.skipped.append(f"{self.name}: {what}: {why}")
        print(f"SKIP {self.name}: {what}: {why}", flush=True)

    def note(self, text):
        print(f"     {self.name}: {text}", flush=True)

    def wait(self, what, condition, seconds=PATIENCE):
        deadline = time.monotonic() + seconds
        while True:
            got = condition()
            if got:
                return got
            if time.monotonic() > deadline:
                raise Failure(f"waited {seconds} s for {what}")
            time.sleep(0.02)

    def port(self):
        """A free one below the ephemeral range, so that no outgoing connection takes it before its server does."""
        while True:
            port = random.randrange(15_000, 32_000)
            with contextlib.suppress(OSError), socket.socket() as probe:
                probe.bind(("0.0.0.0", port))
                if port not in self.given:
                    self.given.add(port)
                    return port

    def start(self, name, argv, **options):
        return Process(self, name, argv, **options)

    def run(self, argv, seconds=PATIENCE, stdin=None, fails=False, **options):
        """A program that ends by itself: its output. `fails`: a failure is an answer, the whole result is returned."""
        argv = [str(a) for a in argv]
        try:
            done = subprocess.run(argv, input=stdin, stdin=subprocess.DEVNULL if stdin is None else None, capture_output=True, timeout=seconds, cwd=self.dir,
                                  start_new_session=True, preexec_fn=die_with_parent, **options)
        except subprocess.TimeoutExpired as late:
            raise Failure(f"after {seconds} s still running: {' '.join(argv)}\n{late.stdout}\n{late.stderr}") from None
        if fails:
            return done
        if done.returncode:
            raise Failure(f"code {done.returncode}: {' '.join(argv)}\n{done.stdout.decode(errors='replace')}\n{done.stderr.decode(errors='replace')}")
        return done.stdout

    def key(self, name):
        """Made with ssh-keygen: the private file."""
        path = self.dir / f"{name}.key"
        if not path.exists():
            self.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", path])
        return path

    def public(self, name):
        return self.key(name).with_suffix(".key.pub")

    def trust(self, file, *names):
        """Written as editors should: the whole file at once."""
        path, fresh = self.dir / file, self.dir / f".{file}.new"
        fresh.write_text("".join(self.public(name).read_text() for name in names))
        fresh.replace(path)
        return path

    def tunnel(self, name, argv, ready=1, wrap=(), **options):
        """Starts `countersign tunnel`, and returns once `ready` of its tunnels listen. The log is JSON."""
        process = self.start(name, [*wrap, self.program, "tunnel", *argv], **options)
        def listening():
            if not process.alive():
                raise Failure(f"{name} ended with code {process.popen.returncode} before it listened\n{process.text()}")
            return len([e for e in events(process, "listening") if e["side"] != "admin"]) >= ready
        self.wait(f"{name} to listen", listening)
        return process

    def pair(self, target, service, server=(), client=(), wrap=(), listen=None):
        """A server and a client of it, started; or, for the program `direct`, the service itself."""
        return Pair(self, target, service, listen).start(server, client, wrap)


def events(process, kind=None, **fields):
    """The JSON lines of a log."""
    found = []
    for line in process.text().splitlines():
        if line.startswith("{"):
            with contextlib.suppress(ValueError):  # the last one may be half written
                found.append(json.loads(line))
    return [e for e in found if (kind is None or e.get("event") == kind) and all(e.get(k) == v for k, v in fields.items())]


class Pair:
    def __init__(self, lab, target, service, listen):
        self.lab, self.target, self.service = lab, target, service
        self.server = self.client = None
        self.port, self.outer = lab.port(), lab.port()
        self.listen = listen or f"{HOST}:{self.port}"
        self.admin = {"server": lab.port(), "client": lab.port()}

    def start(self, server, client, wrap):
        lab = self.lab
        if lab.program == "direct":
            self.port = int(self.target.rsplit(":", 1)[1])
            return self
        lab.trust("peers", "alice")
        common = lambda side: ["--log", "json", "--admin", f"{HOST}:{self.admin[side]}"]
        self.server = lab.tunnel("tunnel-server", ["server", "--listen", f"{HOST}:{self.outer}", "--identity", lab.key("bob"), "--trust", lab.dir / "peers",
                                                   "--route", f"{self.service}={self.target}", *common("server"), *server], wrap=wrap)
        self.client = lab.tunnel("tunnel-client", ["client", "--listen", self.listen, "--identity", lab.key("alice"), "--peer", lab.public("bob"),
                                                   "--target", f"{HOST}:{self.outer}", "--service", self.service, *common("client"), *client], wrap=wrap)
        return self

    def processes(self):
        return [p for p in (self.server, self.client) if p]

    def metrics(self, side):
        return metrics(self.admin[side])

    def healthy(self):
        for process in self.processes():
            self.lab.check(f"{process.name} still runs", process.alive())

    def bad_ends(self):
        """Reasons of sessions that did not end well, and what failed, by side."""
        return [(p.name, e.get("reason"), e.get("error")) for p in self.processes() for e in events(p)
                if e.get("event") in ("failed", "refused") or e.get("event") == "closed" and e.get("reason") != "ok"]


def get(port, path, host=HOST):
    connection = http.client.HTTPConnection(host, port, timeout=5)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def metrics(port):
    """Sums over all labels but the name."""
    found = {}
    for line in get(port, "/metrics")[1].splitlines():
        match = re.match(r"([a-z_]+)(\{.*\})? ([0-9.e+-]+)$", line)
        if match:
            found[match[1]] = found.get(match[1], 0) + float(match[3])
    return found


def sessions(port):
    return json.loads(get(port, "/sessions")[1])["sessions"]


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def random_file(path, megabytes):
    """Of which no megabyte is like another."""
    block = random.Random(7).randbytes(1 << 20)
    with open(path, "wb") as file:
        for n in range(megabytes):
            file.write(n.to_bytes(4, "big") + block[4:])
    return path


def echo(lab, name):
    """A server that says its name and sends back what comes."""
    port = lab.port()
    lab.start(f"echo-{name}", [sys.executable, HERE / "echo.py", port, name]).wait_port(port)
    return port


class Users:
    """Threads that use an echo server: `long` keep one session each, `brief` make a new one all the time. Every byte is compared."""

    BLOCK = random.Random(9).randbytes(64 << 10)

    def __init__(self, port, long=0, brief=0, pause=0.01):
        self.port, self.pause, self.stop_ = port, pause, threading.Event()
        self.where, self.rounds, self.lost, self.brief_ok, self.brief_lost = {}, [0] * long, {}, [], []
        self.threads = [threading.Thread(target=self._long, args=(n,), daemon=True) for n in range(long)]
        self.threads += [threading.Thread(target=self._brief, args=(n,), daemon=True) for n in range(brief)]
        self.long = long
        for thread in self.threads:
            thread.start()

    def _open(self):
        connection = socket.create_connection((HOST, self.port), 10)
        connection.settimeout(10)
        name = b""
        while not name.endswith(b"\n"):
            got = connection.recv(1)
            if not got:
                raise ConnectionError("closed before the greeting")
            name += got
        return connection, name.decode().strip()

    def _exchange(self, connection, number):
        at = random.randrange(len(self.BLOCK) - 1)
        block = number.to_bytes(8, "big") + self.BLOCK[at:at + random.randrange(1, 16 << 10)]
        connection.sendall(block)
        got = bytearray()
        while len(got) < len(block):
            more = connection.recv(64 << 10)
            if not more:
                raise ConnectionError(f"closed in round {number}")
            got += more
        if got != block:
            raise AssertionError(f"other bytes came back in round {number}")

    def _long(self, n):
        try:
            connection, self.where[n] = self._open()
            with connection:
                while not self.stop_.is_set():
                    self._exchange(connection, self.rounds[n])
                    self.rounds[n] += 1
                    time.sleep(self.pause)
                connection.shutdown(socket.SHUT_WR)
                if connection.recv(1):
                    raise AssertionError("bytes after the end")
        except (OSError, AssertionError) as error:
            self.lost[n] = (time.monotonic(), repr(error))

    def _brief(self, n):
        while not self.stop_.is_set():
            try:
                connection, name = self._open()
                with connection:
                    self._exchange(connection, n)
                    connection.shutdown(socket.SHUT_WR)
                    if connection.recv(1):
                        raise AssertionError("bytes after the end")
                self.brief_ok.append((time.monotonic(), name))
            except (OSError, AssertionError) as error:
                self.brief_lost.append((time.monotonic(), repr(error)))
            time.sleep(self.pause)

    def settled(self, lab):
        lab.wait("all long sessions to have begun", lambda: len(self.where) + len(self.lost) == self.long and all(r > 2 or n in self.lost for n, r in enumerate(self.rounds)))
        return self

    def go_on(self, lab, seconds=PATIENCE):
        """Until each session that is not lost has made more rounds, and new ones have been made."""
        before, brief = list(self.rounds), len(self.brief_ok)
        wants_brief = len(self.threads) > self.long
        lab.wait("sessions to go on", lambda: all(n in self.lost or now > then + 2 for n, (then, now) in enumerate(zip(before, self.rounds)))
                 and (not wants_brief or len(self.brief_ok) > brief + 2), seconds)

    def stop(self):
        self.stop_.set()
        for thread in self.threads:
            thread.join(12)
        return not any(thread.is_alive() for thread in self.threads)


def program_path(name):
    """Also where Debian puts what only root calls."""
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
