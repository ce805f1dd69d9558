"""Redis: benchmark, a large value, and a subscriber that hears nothing for hours."""
import glob
import hashlib
import os
import re
import signal
import subprocess
import time

import lab as common

SPEED = 600
IDLE_TIMEOUT = 1200  # 2 s of ours: two busy cores may stop a process for longer than the default of 60 s, 0.1 s of ours
ACCELERATED = ["--timeout", "3600", "--keepalive", "60", "--idle-timeout", str(IDLE_TIMEOUT)]


def server(lab):
    port = lab.port()
    lab.start("redis-server", ["redis-server", "--port", port, "--bind", common.HOST, "--save", "", "--appendonly", "no", "--dir", lab.dir, "--unixsocket", lab.dir / "redis.sock"]).wait_port(port)
    return port


def cli(port, *words):
    return ["redis-cli", "-h", common.HOST, "-p", port, *words]


def benchmark(lab, port, what, *options, seconds=60):
    done = lab.run(["redis-benchmark", "-h", common.HOST, "-p", port, "-q", *options], seconds, fails=True)
    text = (done.stdout + done.stderr).decode(errors="replace")
    rates = re.findall(r"([A-Z_0-9]+)[^:\r]*: ([0-9.]+) requests per second", text)
    lab.check(f"redis-benchmark {what}", done.returncode == 0 and rates and not re.search(r"error|closed|reset|refused", text, re.I),
              ", ".join(f"{command} {float(rate):.0f}/s" for command, rate in rates) or text)


def large_value(lab, port, megabytes=10):
    value = os.urandom(megabytes << 20)
    lab.run(cli(port, "-x", "SET", "large"), stdin=value)
    back = lab.run(cli(port, "--raw", "GET", "large"))
    lab.check(f"{megabytes} MB come back as they went", hashlib.sha256(back.removesuffix(b"\n")).digest() == hashlib.sha256(value).digest())


def unix_sockets(lab, path):
    """Both plain ends are files."""
    pair = lab.pair(f"unix:{path}", "redis", client=["--socket-mode", "660"], listen=f"unix:{lab.dir}/plain.sock")
    lab.check("its mode is what was asked for", (lab.dir / "plain.sock").stat().st_mode & 0o777 == 0o660)
    answer = lab.run(["redis-cli", "-s", lab.dir / "plain.sock", "ECHO", "hello"])
    lab.check("between Unix sockets", answer == b"hello\n", answer.decode().strip())
    lab.run(["redis-benchmark", "-s", lab.dir / "plain.sock", "-q", "-c", 20, "-n", 5000, "-t", "ping,set,get"])
    lab.check("redis-benchmark between Unix sockets", not pair.bad_ends(), pair.bad_ends() or "")
    for process in pair.processes():
        process.signal(signal.SIGTERM)
        lab.check(f"{process.name} leaves with code 0", process.ended() == 0)
    lab.check("the socket file is gone with it", not (lab.dir / "plain.sock").exists())


def ready_sessions(lab, port):
    """New connections do not wait for handshakes; the service speaks second, so nothing may be lost or said too early."""
    pair = lab.pair(f"{common.HOST}:{port}", "redis", client=["--spare", "4", "--spare-age", "1", "--eager"])
    lab.wait("spare sessions", lambda: pair.metrics("client").get("countersign_spare_sessions") == 4)
    benchmark(lab, pair.port, "new connections, spare sessions, eager", "-c", 10, "-k", 0, "-n", 500, "-t", "ping_mbulk,get")
    time.sleep(2)
    benchmark(lab, pair.port, "after the spare ones got too old", "-c", 10, "-k", 0, "-n", 100, "-t", "ping_mbulk")
    lab.check("no session ended badly", not pair.bad_ends(), pair.bad_ends() or "")
    for process in reversed(pair.processes()):
        process.signal(signal.SIGTERM)
        lab.check(f"{process.name} leaves with code 0", process.ended() == 0)


def hours(lab, port):
    library = glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")[0]
    pair = lab.pair(f"{common.HOST}:{port}", "redis", ACCELERATED, ACCELERATED, ["env", f"LD_PRELOAD={library}", f"FAKETIME=+0 x{SPEED}"])
    hours_ = 1 if lab.quick else 4
    subscriber = lab.start("subscriber", cli(pair.port, "SUBSCRIBE", "news"), stdin=subprocess.PIPE)
    subscriber.wait_for("to have subscribed", r"^1$|\(integer\) 1")
    time.sleep(hours_ * 3600 / SPEED)
    lab.check(f"a subscriber sits idle for {hours_} hours of the tunnel's time", subscriber.alive())
    lab.run(cli(port, "PUBLISH", "news", "at-last"))
    subscriber.wait_for("the news", "at-last", 5)
    lab.check("PUBLISH reaches it")
    lab.run(cli(pair.port, "PING"))
    rekeys = {side: pair.metrics(side).get("countersign_rekeys_total", 0) for side in ("server", "client")}
    lab.check("what is sent after hours is sent with a new key", all(rekeys.values()), rekeys)
    subscriber.kill()
    ends = [lab.wait(f"the {p.name}'s line about the session", lambda p=p: [e for e in common.events(p, "closed") if e["seconds"] > 600], 5)[0] for p in pair.processes()]
    lab.check("the log says how long it was", all(hours_ * 3600 * 0.95 < e["seconds"] < hours_ * 3600 * 2 for e in ends), [round(e["seconds"]) for e in ends])

    subscriber = lab.start("subscriber-2", cli(pair.port, "SUBSCRIBE", "news"), stdin=subprocess.PIPE)
    subscriber.wait_for("to have subscribed", r"^1$|\(integer\) 1")
    os.killpg(pair.server.pid, signal.SIGSTOP)
    lab.wait("the idle timeout of the client's side", lambda: [e for e in common.events(pair.client, "closed") if e["reason"] != "ok" and e["session"] != ends[1]["session"]], 15)
    os.killpg(pair.server.pid, signal.SIGCONT)
    last = common.events(pair.client, "closed")[-1]
    lab.check("a peer that is silent for longer than the idle timeout is given up", IDLE_TIMEOUT * 0.9 < last["seconds"] < 6 * IDLE_TIMEOUT,
              f"{last['reason']} after {last['seconds']:.0f} s")


def run(lab):
    port = server(lab)
    pair = lab.pair(f"{common.HOST}:{port}", "redis")
    few = 1 if lab.quick else 4
    benchmark(lab, pair.port, "-c 50", "-c", 50, "-n", few * 2000, "-t", "ping,set,get,incr,lpush,lrange_100,mset")
    benchmark(lab, pair.port, "-c 50 -P 16", "-c", 50, "-P", 16, "-n", few * 10_000, "-t", "set,get,incr")
    benchmark(lab, pair.port, "new connections", "-c", 20, "-k", 0, "-n", few * 100, "-t", "ping_mbulk,get")
    large_value(lab, pair.port)
    lab.check("no session ended badly", not pair.bad_ends(), pair.bad_ends() or "")
    if lab.program == "direct":
        return
    for process in pair.processes():
        process.signal(signal.SIGTERM)
        lab.check(f"{process.name} leaves with code 0", process.ended() == 0)
    unix_sockets(lab, lab.dir / "redis.sock")
    ready_sessions(lab, port)
    hours(lab, port)
