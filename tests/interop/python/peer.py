"""A TCP peer over countersign.py: `connect` sends and checks an echo, `serve` echoes. See --help."""
import argparse
import os
import select
import socket
import sys
import threading
import time

import countersign as cs

DEADLINE, LINGER, CLIENTS, BACKLOG, CHUNK = 10.0, 1.0, 64, 1 << 20, 16384
OK, OTHER, NOT_TRUSTED, REFUSED = 0, 1, 3, 4


def log(*words): print(*words, file=sys.stderr, flush=True)


def pump(sock, end, on_event, source=None):
    """Drive one endpoint until both directions have ended; the Fail that ends it otherwise is raised.
    source(): the next bytes to send, b"" at the end; it is asked once the session is established."""
    sock.setblocking(False)
    pending, limit, failure = bytearray(), time.monotonic() + DEADLINE, None
    eof = shut = False
    while True:
        for item in end.events:
            on_event(*item)
        end.events.clear()
        pending += b"".join(end.out)
        end.out.clear()
        now = time.monotonic()
        if failure:  # send what is left, then discard what arrives for a short while [HS-24]
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
            end.abort("timeout", "")
            failure, limit = cs.Fail("timeout", "session", "the handshake took too long"), now + LINGER
            continue
        sending = source and end.established and not failure and not end.sent_end and len(pending) < CHUNK
        reads = [] if eof or not failure and len(pending) > BACKLOG else [sock]
        if sending and source.fd is not None:
            reads.append(source.fd)
        wait = None if end.established and not failure else limit - now
        wait = 0 if sending and source.fd is None else wait
        ready, writable, _ = select.select(reads, [sock] if pending else [], [], wait)
        try:
            if writable:
                del pending[:sock.send(pending[:BACKLOG])]
            if sending and (source.fd is None or source.fd in ready):
                data = source()
                end.send(*(cs.REC_DATA, data) if data else (cs.REC_END,))
            if sock in ready:
                data = sock.recv(BACKLOG)
                eof = not data
                end.feed(data) if data else end.end_of_transport()
        except cs.Fail as e:
            failure, limit = e, time.monotonic() + LINGER
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


class Stdin:
    fd = 0
    def __call__(self): return os.read(0, CHUNK)


def connect(args):
    host, _, port = args.address.rpartition(":")
    expected = bytes.fromhex(args.expect)
    end = cs.Initiator(bytes.fromhex(args.seed), os.urandom, expected=expected, trusted=[expected],
                       service=args.service.encode("ascii"), context=bytes.fromhex(args.context))
    source = Stdin() if args.send_bytes is None else Pattern(args.send_bytes)
    got = [0, True]

    def on_event(kind, data):
        if kind == "established":
            log("session", end.session_id.hex())
        elif kind == "data" and args.send_bytes is None:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        elif kind == "data":
            got[1] &= data == source.part(got[0], len(data))
            got[0] += len(data)

    try:
        with socket.create_connection((host.strip("[]"), int(port)), DEADLINE) as sock:
            end.start()
            pump(sock, end, on_event, source)
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
    log("ok")
    return OK


def serve(args):
    services = [s.encode("ascii") for s in args.service or [""]]
    slots = threading.BoundedSemaphore(CLIENTS)

    def client(sock, address):
        end = cs.Responder(bytes.fromhex(args.seed), os.urandom, trusted=map(bytes.fromhex, args.allow),
                           services=services, context=bytes.fromhex(args.context))

        def on_event(kind, data):
            if kind == "established":
                log(address, "session", end.session_id.hex(), "peer", end.peer.hex(), "service", ascii(end.service))
            elif end.tx:  # not failed meanwhile
                end.send(cs.REC_DATA if kind == "data" else cs.REC_END, data)

        try:
            with sock:
                pump(sock, end, on_event)
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
        p.add_argument("--context", default="", help="application context, hex")
    c.add_argument("--expect", required=True, help="public key of the responder, hex")
    c.add_argument("--service", default="")
    c.add_argument("--send-bytes", type=int)
    c.add_argument("address", help="ADDR:PORT")
    s.add_argument("--allow", required=True, nargs="+", action="extend", help="public keys of initiators, hex")
    s.add_argument("--service", nargs="+", action="extend", help="names offered; the empty name if not given")
    s.add_argument("--host", default="127.0.0.1")
    s.add_argument("--port", type=int, required=True)
    args = parser.parse_args()
    try:
        return connect(args) if args.command == "connect" else serve(args)
    except KeyboardInterrupt:
        return OTHER


if __name__ == "__main__":
    sys.exit(main())
