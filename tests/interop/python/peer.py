"""A TCP peer over countersign.py: `connect` sends and checks an echo, `serve` echoes. See --help."""
import argparse
import os
import select
import socket
import sys
import threading
import time

import authority
import chains
import countersign as cs

DEADLINE, LINGER, CLIENTS, BACKLOG, CHUNK = 10.0, 1.0, 64, 1 << 20, 16384
OK, OTHER, NOT_TRUSTED, REFUSED = 0, 1, 3, 4


def log(*words): print(*words, file=sys.stderr, flush=True)


class Sender:
    """What every record of one endpoint goes through: padding to a block, and a REKEY before each n-th record."""

    def __init__(self, end, args):
        self.end, self.block, self.every = end, args.padding, args.rekey_every
        self.count, self.mixed = 0, None  # mixed: the peer's number in the last rekey of the own schedule

    def padding(self, size):
        return min(-size % self.block, cs.MAX_CONTENT_LEN - size) if self.block else None

    def __call__(self, kind, data=b""):
        self.count += 1
        due = self.every and self.count % self.every == 0
        again = self.mixed is not None and self.end.peer_number > self.mixed  # the second rekey of section 11.2
        if (due or again) and self.end.tx.may_rekey():
            self.end.rekey(self.padding(40))
            self.mixed = self.end.peer_number if due else None
        self.end.send(kind, data, self.padding(len(data)))


def pump(sock, end, send, on_event, source=None, *, deadline=DEADLINE, eager=False, keepalive=None):
    """Drive one endpoint until both directions have ended; the Fail that ends it otherwise is raised.
    source(): the next bytes to send, b"" at the end; it is asked once the session is established, or once AUTH_I is sent (eager)."""
    sock.setblocking(False)
    pending, limit, failure = bytearray(), time.monotonic() + deadline, None
    eof, shut, discarded, sent = False, False, 0, time.monotonic()
    while True:
        now = time.monotonic()
        try:
            events, end.events = end.events, []
            for item in events:
                on_event(*item)
            if keepalive and end.established and end.tx and not end.sent_end and now >= sent + keepalive:
                send(cs.REC_KEEPALIVE)
        except cs.Fail as e:
            failure, limit = failure or e, now + LINGER
        if end.out:
            sent = now
        pending += b"".join(end.out)
        end.out.clear()
        if failure and failure.alert == "silent":  # discard until the peer closes or the deadline of the handshake [NK-4]
            if eof or now >= limit:
                raise failure
        elif failure:  # send what is left, then discard what arrives for a short while [HS-24]
            if not pending and not shut:
                shut = True
                try:
                    sock.shutdown(socket.SHUT_WR)
                except OSError:  # gone already
                    raise failure from None
            if now >= limit or eof and not pending:
                raise failure
        elif end.finished() and not pending:
            return
        elif not end.established and now >= limit:
            failure, limit = cs.Fail("timeout", "session", "the handshake took too long"), now + LINGER
            if end.silent:
                raise failure
            end.abort("timeout", "")
            continue
        sending = (source and (end.established or eager and end.state == "AwaitVerdict") and not failure and not end.sent_end
                   and len(pending) < CHUNK)
        full = len(pending) > BACKLOG or discarded > BACKLOG
        reads = [] if eof or full and (not failure or failure.alert == "silent") else [sock]
        if sending and source.fd is not None:
            reads.append(source.fd)
        wait = None if end.established and not failure else limit - now
        if keepalive and end.established and not failure and not end.sent_end:
            wait = max(0, sent + keepalive - now)
        wait = 0 if sending and source.fd is None else wait
        ready, writable, _ = select.select(reads, [sock] if pending else [], [], wait)
        try:
            if writable:
                del pending[:sock.send(pending[:BACKLOG])]
            if sending and (source.fd is None or source.fd in ready):
                data = source()
                send(*(cs.REC_DATA, data) if data else (cs.REC_END,))
            if sock in ready:
                data = sock.recv(BACKLOG)
                eof = not data
                discarded += len(data) if failure else 0
                end.feed(data) if data else end.end_of_transport()
        except cs.Fail as e:
            failure = e
            if e.alert != "silent":
                limit = time.monotonic() + LINGER
        except (BrokenPipeError, ConnectionResetError):
            raise failure or cs.Fail("truncated", "session", "the connection was reset") from None


class Pattern:
    """N deterministic bytes; repeats every 65,521 bytes."""
    fd, unit = None, bytes((i * i * 31 + i * 7 + 3) >> 3 & 0xFF for i in range(65521))

    def __init__(self, total): self.total, self.at = total, 0

    def __call__(self):
        data = self.part(self.at, min(CHUNK, self.total - self.at))
        self.at += len(data)
        return data

    def part(self, at, n):
        start = at % len(self.unit)
        return (self.unit * (2 + n // len(self.unit)))[start:start + n]


def certificates(file):
    with open(file, encoding="ascii") as f:
        found = chains.from_pem(f.read())
    if not found:
        sys.exit(f"{file}: no certificate")
    return found


def common(args, peer_role):
    """Options of both roles."""
    ca = authority.Authority(certificates(args.ca)) if args.ca else None

    def believes(chain):
        reason = ca.refusal(chain, peer_role, int(time.time()))
        if reason:
            log("not believed:", reason)
        return reason is None
    names = {name: number for number, name in cs.SUITE_NAMES.items()}
    return {"chain": certificates(args.cert) if args.cert else None, "believes": ca and believes, "context": bytes.fromhex(args.context), "network_key": bytes.fromhex(args.network_key) if args.network_key else None,
            "suites": [names[name] for name in args.suite] if args.suite else cs.DEFAULT_SUITES}


class Stdin:
    fd = 0
    def __call__(self): return os.read(0, CHUNK)


def connect(args):
    host, _, port = args.address.rpartition(":")
    expected = bytes.fromhex(args.expect) if args.expect else None
    end = cs.Initiator(bytes.fromhex(args.seed), os.urandom, expected=expected, trusted=[expected] if expected else [],
                       expected_name=args.peer_name and chains.name_of(args.peer_name), service=args.service.encode("ascii"),
                       **common(args, "responder"))
    source = Stdin() if args.send_bytes is None else Pattern(args.send_bytes)
    got = [0, True]

    def on_event(kind, data):
        if kind == "established":
            log("session", end.session_id.hex(), "suite", cs.SUITE_NAMES[end.suite])
        elif kind == "data" and args.send_bytes is None:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        elif kind == "data":
            got[1] &= data == source.part(got[0], len(data))
            got[0] += len(data)

    try:
        with socket.create_connection((host.strip("[]"), int(port)), DEADLINE) as sock:
            end.start()
            pump(sock, end, Sender(end, args), on_event, source, deadline=args.timeout, eager=args.eager, keepalive=args.keepalive)
    except OSError as e:
        log("failed:", e)
        return OTHER
    except cs.Fail as e:
        log("failed:", ascii(str(e)))
        return (NOT_TRUSTED if (e.alert, e.layer) == ("refused", "policy") else
                REFUSED if e.alert.startswith("peer_verdict:") else OTHER)
    if args.send_bytes is not None and got != [args.send_bytes, True]:
        log("failed: the echo differs")
        return OTHER
    log("ok, rekeys sent %d, received %d" % (end.tx.rekeys, end.rx.rekeys))
    return OK


def serve(args):
    services = [s.encode("ascii") for s in args.service or [""]]
    options = common(args, "initiator")
    slots = threading.BoundedSemaphore(CLIENTS)

    def client(sock, address):
        end = cs.Responder(bytes.fromhex(args.seed), os.urandom, trusted=map(bytes.fromhex, args.allow or ()),
                           services=services, **options)
        send = Sender(end, args)

        def on_event(kind, data):
            if kind == "established":
                log(address, "session", end.session_id.hex(), "peer", end.peer.hex(), *map(ascii, end.peer_names), "service", ascii(end.service),
                    "suite", cs.SUITE_NAMES[end.suite])
            elif end.tx:  # not failed meanwhile
                send(cs.REC_DATA if kind == "data" else cs.REC_END, data)

        try:
            with sock:
                pump(sock, end, send, on_event, deadline=args.timeout, keepalive=args.keepalive)
            log(address, "ok")
        except (cs.Fail, OSError) as e:
            log(address, "failed:", ascii(str(e)))
        finally:
            slots.release()

    with socket.create_server((args.host, args.port)) as listener:
        print("listening on %s:%d" % listener.getsockname()[:2], flush=True)
        while True:
            sock, address = listener.accept()
            if slots.acquire(blocking=False):
                threading.Thread(target=client, args=(sock, address), daemon=True).start()
            elif args.network_key:  # [NK-3]
                sock.close()
            else:
                with sock:
                    sock.settimeout(1)
                    sock.send(cs.frame(cs.ALERT, cs.u8(cs.ALERTS["busy"])))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    c, s = commands.add_parser("connect"), commands.add_parser("serve")
    for p in (c, s):
        p.add_argument("--seed", required=True, help="32-byte Ed25519 seed, hex")
        p.add_argument("--cert", metavar="CHAIN.pem", help="present these certificates, that of the key first")
        p.add_argument("--ca", metavar="CA.pem", help="believe the chains of these CAs")
        p.add_argument("--context", default="", help="application context, hex")
        p.add_argument("--suite", action="append", choices=cs.SUITE_NAMES.values(), metavar="NAME", help="repeatable; the most preferred first")
        p.add_argument("--network-key", help="32 bytes, hex")
        p.add_argument("--rekey-every", type=int, default=0, metavar="N", help="a REKEY before each N-th record, as far as [RK-2] allows")
        p.add_argument("--padding", type=int, default=0, metavar="N", help="records are padded to a multiple of N bytes")
        p.add_argument("--keepalive", type=float, metavar="SECONDS", help="a KEEPALIVE after so long without a record")
        p.add_argument("--timeout", type=float, default=DEADLINE, metavar="SECONDS", help="for the whole handshake")
    c.add_argument("--expect", help="public key of the responder, hex")
    c.add_argument("--peer-name", metavar="NAME", help="a name that the responder's certificate has to have")
    c.add_argument("--service", default="")
    c.add_argument("--send-bytes", type=int)
    c.add_argument("--eager", action="store_true", help="send before the VERDICT")
    c.add_argument("address", help="ADDR:PORT")
    s.add_argument("--allow", nargs="+", action="extend", help="public keys of initiators, hex")
    s.add_argument("--service", nargs="+", action="extend", help="names offered; the empty name if not given")
    s.add_argument("--host", default="127.0.0.1")
    s.add_argument("--port", type=int, required=True)
    args = parser.parse_args()
    if not (args.ca or (args.expect if args.command == "connect" else args.allow)):
        parser.error("whom to believe: a key, or --ca")
    try:
        return connect(args) if args.command == "connect" else serve(args)
    except KeyboardInterrupt:
        return OTHER


if __name__ == "__main__":
    sys.exit(main())
