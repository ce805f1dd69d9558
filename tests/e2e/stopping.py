"""SIGTERM loses nobody who is connected, also not who has not been accepted yet; a second one waits for nobody."""
import signal
import socket
import time

import lab as common


def greeted(connections):
    """How many get the service's first words, and what the others get."""
    served, others = 0, set()
    for connection in connections:
        connection.settimeout(10)
        try:
            got = connection.recv(100)
        except OSError as error:
            got = repr(error)
        if got == b"echo\n":
            served += 1
        else:
            others.add(got)
    return served, others


def in_the_queue(lab, target, side, count=20):
    """The kernel has connected them; the program, which was busy, has not seen them. For a balancer they are connections already, with which it won't go elsewhere."""
    pair = lab.pair(target, "echo")
    process = {"server": pair.server, "client": pair.client}[side]
    process.signal(signal.SIGSTOP)
    lab.wait(f"{side} to stand still", lambda: f"\nState:\tT" in open(f"/proc/{process.pid}/status").read())
    connections = [socket.create_connection((common.HOST, pair.port), 5) for _ in range(count)]
    time.sleep(0.3)  # the client's calls have to reach the server's queue
    process.signal(signal.SIGTERM)
    process.signal(signal.SIGCONT)
    served, others = greeted(connections)
    lab.check(f"SIGTERM of the {side}: who waited to be accepted is served", served == count, f"{served} of {count} {others or ''}")
    lab.check(f"the {side} does not leave before them", process.alive())
    for connection in connections:
        connection.close()
    lab.check(f"then the {side} leaves with code 0", process.ended() == 0)
    for other in pair.processes():
        other.kill()


def patience(lab, target):
    """--drain is the end of it, and a second signal as well."""
    for what, options, signals, code in (("after --drain", ["--drain", "1"], 1, 0), ("at a second signal", ["--drain", "60"], 2, 0)):
        pair = lab.pair(target, "echo", server=options, client=options)
        with socket.create_connection((common.HOST, pair.port), 5) as connection:
            lab.check("a session", greeted([connection])[0] == 1)
            start = time.monotonic()
            for _ in range(signals):
                pair.client.signal(signal.SIGTERM)
                time.sleep(0.2)
            try:
                cut = connection.recv(100) == b""
            except ConnectionResetError:
                cut = True
            lab.check(f"{what} a session is broken off", cut, f"{time.monotonic() - start:.1f} s")
        ended = pair.client.ended(10)
        lab.check("and the process leaves", ended == code, ended)
        [end] = lab.wait("the server's line", lambda: common.events(pair.server, "closed"), 5)
        lab.check("the other side knows that it stopped, not that the network failed", "stop" in end["reason"] or "shut" in end["reason"], end["reason"])
        for process in pair.processes():
            process.kill()


def run(lab):
    target = f"{common.HOST}:{common.echo(lab, 'echo')}"
    patience(lab, target)
    for side in ("server", "client"):
        in_the_queue(lab, target, side)
