"""The measures. Each takes a system, the targets and the sizes, and gives numbers by name."""
import contextlib
import csv
import io
import json
import re
import shutil
import socket
import statistics
import subprocess
import time
import types

FULL = types.SimpleNamespace(seconds=2, wrk_seconds=3, echoes=15_000, requests=60_000, opened=150, idle=500, many=(1000, 5000))
QUICK = types.SimpleNamespace(seconds=1, wrk_seconds=1, echoes=1_000, requests=10_000, opened=20, idle=50, many=(100,))
CONNECTIONS, CONCURRENCY, PING, PONG = 50, 32, b"PING\r\n", b"+PONG\r\n"


class Cpu:
    """CPU seconds of both processes of a link while a block runs."""

    def __init__(self, link): self.link = link
    def _now(self): return [process.cpu() if process else 0.0 for process in (self.link.client, self.link.server)]

    def __enter__(self):
        self.before = self._now()
        return self

    def __exit__(self, *_): self.client, self.server = (after - before for after, before in zip(self._now(), self.before))

    def per(self, count, scale, unit):
        """Both sides, and each; nothing for a connection without a tunnel."""
        if self.link.client is None:
            return {}
        return {f"both_{unit}": (self.client + self.server) / count * scale, f"client_{unit}": self.client / count * scale, f"server_{unit}": self.server / count * scale}


def throughput(system, targets, sizes):
    """One stream of iperf3 in each direction."""
    found = {}
    for name, reverse in (("up", []), ("down", ["-R"])):
        with system.link(targets.iperf3) as link, Cpu(link) as cpu:
            report = json.loads(_run("iperf3", "-c", "127.0.0.1", "-p", link.port, "-t", sizes.seconds, "-J", *reverse))
        end = report["end"]["sum_received"]
        found |= {f"{name}_gbit": end["bits_per_second"] / 1e9} | cpu.per(end["bytes"] / 1e9, 1, f"{name}_s_gb")
    return found


def latency(system, targets, sizes):
    """One connection, one request at a time."""
    with system.link(targets.redis) as link:
        row = _redis(link.port, 1, sizes.echoes)
    return {"p50_us": float(row["p50_latency_ms"]) * 1000, "p99_us": float(row["p99_latency_ms"]) * 1000}


def requests(system, targets, sizes):
    with system.link(targets.redis) as link, Cpu(link) as cpu:
        row = _redis(link.port, CONNECTIONS, sizes.requests)
    return {"requests_s": float(row["rps"]), "requests_p99_ms": float(row["p99_latency_ms"])} | cpu.per(sizes.requests, 1e6, "request_us")


def connections(system, targets, sizes):
    """A new connection for each request."""
    with system.link(targets.nginx) as link, Cpu(link) as cpu:
        said = _run("wrk", "-t", 1, "-c", CONCURRENCY, "-d", f"{sizes.wrk_seconds}s", "--latency", "-H", "Connection: close", f"http://127.0.0.1:{link.port}/")
    count = int(re.search(r"(\d+) requests in", said)[1])
    failed = sum(int(number) for number in re.findall(r"\d+", (re.search(r"Socket errors: (.*)", said) or [0, ""])[1]))
    failed += int((re.search(r"Non-2xx or 3xx responses: (\d+)", said) or [0, 0])[1])
    return {"connections_s": float(re.search(r"Requests/sec:\s*([\d.]+)", said)[1]), "connections_failed": failed} | cpu.per(max(count, 1), 1000, "connection_ms")


def opening(system, targets, sizes):
    """From `connect` to the first byte of an answer, for a new connection while nothing else happens."""
    times = []
    with system.link(targets.redis) as link:
        time.sleep(0.3)
        for _ in range(sizes.opened):
            begin = time.perf_counter()
            with _pinged(link.port):
                times.append((time.perf_counter() - begin) * 1e6)
            time.sleep(0.005)
    return {"open_p50_us": statistics.median(times), "open_p99_us": sorted(times)[int(len(times) * 0.99) - 1]}


def memory(system, targets, sizes, count=None):
    """Idle sessions, each after one small request; what the processes hold then, beyond what they held before."""
    count = count or sizes.idle
    with system.link(targets.redis) as link, contextlib.ExitStack() as sessions:
        if link.client is None:
            return {}
        sessions.enter_context(_pinged(link.port))
        time.sleep(0.3)
        before = {side: getattr(link, side).memory() for side in ("client", "server")}
        for _ in range(count):
            sessions.enter_context(_pinged(link.port))
        time.sleep(0.7)
        found = {f"{side}_idle_kib": (getattr(link, side).memory() - before[side]) / count for side in before}
        found |= {f"{side}_bare_kib": kib for side, kib in before.items()}
        return found | {"threads": link.server.threads(), "both_idle_kib": found["client_idle_kib"] + found["server_idle_kib"]}


NEEDS = {throughput: ["iperf3"], latency: ["redis-server", "redis-benchmark"], requests: ["redis-server", "redis-benchmark"],
         connections: ["nginx", "wrk"], opening: ["redis-server"], memory: ["redis-server"]}


def lacking(measure): return [program for program in NEEDS[measure] if not shutil.which(program)]


@contextlib.contextmanager
def _pinged(port):
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.sendall(PING)
        answer = client.recv(100)
        if answer != PONG:
            raise RuntimeError(f"redis answers {answer!r}")
        yield client


def _redis(port, clients, count):
    said = _run("redis-benchmark", "-h", "127.0.0.1", "-p", port, "-c", clients, "-n", count, "-t", "get", "--csv")
    return next(csv.DictReader(io.StringIO(said[said.index('"test"'):])))


def _run(*command):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=90)
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]}: {(done.stderr or done.stdout)[-300:].strip()}")
    return done.stdout
