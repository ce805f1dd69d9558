"""Several implementations over real sockets: builds of the Rust program, the Python and the JavaScript peer, each as initiator and as
responder against each.

usage: run.py PROGRAM [PROGRAM...]      (builds of `countersign`; needs the packages `cryptography` and `kyber-py`, and `npm ci` in `js`)
       run.py --scripted                (the Python and the JavaScript peer only)
"""
import base64
import datetime
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import time

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "vectors"))
import certs

PEER = [sys.executable, str(pathlib.Path(__file__).parent / "python" / "peer.py")]
JS_PEER = ["node", str(pathlib.Path(__file__).parent / "js" / "peer.js")]
PATIENCE = 60
SUITES = ["X25519_ChaCha20Poly1305_SHA256", "X25519MLKEM768_ChaCha20Poly1305_SHA256", "X25519_AES256GCM_SHA256",
          "X25519MLKEM768_AES256GCM_SHA256"]
SMALL, LARGE = (bytes(i * 7 % 256 for i in range(n)) for n in (100_001, 3_000_001))


class Keys:
    """Files of identities that openssl could have made, with their seeds and public keys in hexadecimal, of certificates, and of network keys."""

    def __init__(self, folder, program):
        self.folder, self.seeds, self.public, self.network = folder, {}, {}, {}
        for byte, name in enumerate(("alice", "bob", "eve"), 1):
            seed = bytes([byte]) * 32
            private = Ed25519PrivateKey.from_private_bytes(seed)
            self._write(f"{name}.key", private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
            self._write(f"{name}.pub", private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH) + b" " + name.encode() + b"\n")
            self.seeds[name] = seed.hex()
            self.public[name] = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()
        self._certificates()
        if program:
            subprocess.run([program, "keygen", "--network", "--out", self.path("ours.net")], check=True, capture_output=True, timeout=PATIENCE)
        else:
            self._write("ours.net", b"countersign-network-key " + base64.b64encode(bytes([8]) * 32) + b"\n")
        self._write("theirs.net", b"countersign-network-key " + base64.b64encode(bytes([9]) * 32) + b"\n")
        for name in ("ours", "theirs"):
            word, text = (self.folder / f"{name}.net").read_text().split()
            assert word == "countersign-network-key" and (self.folder / f"{name}.net").stat().st_mode & 0o777 == 0o600
            self.network[name] = base64.b64decode(text, validate=True).hex()
            assert len(self.network[name]) == 64

    def _certificates(self):
        root, other, rsa = certs.Party("Root", certs.Ed25519("Root")), certs.Party("Other", certs.Ed25519("Other")), certs.Party("RSA", certs.Rsa("RSA root"))
        between, foreign = certs.Party("Between", certs.Ed25519("Between"), root), certs.Party("ECDSA", certs.Ecdsa("ECDSA between"), rsa)
        usage, client, server = certs.key_usage(certs.DIGITAL_SIGNATURE), certs.extended(certs.CLIENT_AUTH), certs.extended(certs.SERVER_AUTH)

        def leaf(who, issuer, purpose, *names, **options):
            return certs.Party(who, certs.Seeded(bytes.fromhex(self.seeds[who])), issuer, extensions=(usage, purpose, certs.alt_names(*names)), **options)
        names = ("dns:db.example.org", "dns:*.cluster.example.org", "ip:192.0.2.7", "ip:2001:db8::7", "uri:spiffe://example.org/db")
        alice = "uri:spiffe://example.org/alice"
        chains = {
            "ca": [root, rsa], "other-ca": [other], "bob": [leaf("bob", between, server, *names), between],
            "bob-ecdsa": [leaf("bob", foreign, server, *names), foreign, rsa], "alice": [leaf("alice", between, client, alice), between],
            "alice-root": [leaf("alice", between, client, alice), between, root], "alice-ecdsa": [leaf("alice", foreign, client, alice), foreign],
            "alice-server": [leaf("alice", between, server, alice), between], "alice-other": [leaf("alice", other, client, alice)],
            "alice-expired": [leaf("alice", between, client, alice, valid=(certs.FROM, certs.FROM + datetime.timedelta(days=1))), between],
            "alice-unsigned": [leaf("alice", between, client, alice, signer=other), between]}
        for name, parties in chains.items():
            text = "".join(f"-----BEGIN CERTIFICATE-----\n{base64.encodebytes(p.der).decode()}-----END CERTIFICATE-----\n" for p in parties)
            self._write(name + ".pem", text.encode())

    def certified(self, cert=None, ca=None, name=None):
        """Options of all programs."""
        return ((["--cert", self.path(cert + ".pem")] if cert else []) + (["--ca", self.path(ca + ".pem")] if ca else [])
                + (["--peer-name", name] if name else []))

    def path(self, file): return str(self.folder / file)

    def _write(self, file, data):
        (self.folder / file).touch(0o600)
        (self.folder / file).write_bytes(data)


class Rust:
    stream = "stderr"

    def __init__(self, name, program, keys): self.name, self.program, self.keys = name, program, keys

    def options(self, suites=(), network=None, rekey=False, padding=None, **certified):
        return (self.keys.certified(**certified) + [x for s in suites for x in ("--suite", s)] + (["--network-key", self.keys.path(network + ".net")] if network else [])
                + (["--rekey-bytes", "20000"] if rekey else []) + (["--padding", f"block:{padding}"] if padding else []))

    def serve(self, **common):
        k = self.keys
        trust = [] if "ca" in common else ["--trust", k.path("alice.pub")]
        return [self.program, "serve", "--identity", k.path("bob.key"), *trust, "--listen", "127.0.0.1:0", "--echo",
                "--service", "db", "--context", "interop", *self.options(**common)]

    def connect(self, address, who="alice", peer="bob", service="db", context="interop", eager=False, timeout=None, **common):
        k = self.keys
        peer = [] if "ca" in common else ["--peer", k.path(f"{peer}.pub")]
        return [self.program, "connect", "--identity", k.path(f"{who}.key"), *peer, address, "--service", service,
                "--context", context, *(["--eager"] if eager else []), *(["--timeout", str(timeout)] if timeout else []),
                *self.options(**common)]


class Scripted:
    """The Python and the JavaScript peer: one command line."""
    stream = "stdout"

    def __init__(self, name, peer, keys): self.name, self.peer, self.keys = name, peer, keys

    def options(self, suites=(), network=None, rekey=False, padding=None, **certified):
        return (self.keys.certified(**certified) + [x for s in suites for x in ("--suite", s)] + (["--network-key", self.keys.network[network]] if network else [])
                + (["--rekey-every", "2"] if rekey else []) + (["--padding", str(padding)] if padding else []))

    def serve(self, **common):
        k = self.keys
        allow = [] if "ca" in common else ["--allow", k.public["alice"]]
        return self.peer + ["serve", "--seed", k.seeds["bob"], *allow, "--port", "0", "--service", "db", "--context",
                       b"interop".hex(), *self.options(**common)]

    def connect(self, address, who="alice", peer="bob", service="db", context="interop", eager=False, timeout=None, **common):
        k = self.keys
        expect = [] if "ca" in common else ["--expect", k.public[peer]]
        return self.peer + ["connect", "--seed", k.seeds[who], *expect, address, "--service", service, "--context",
                       context.encode().hex(), *(["--eager"] if eager else []), *(["--timeout", str(timeout)] if timeout else []),
                       *self.options(**common)]


# Options of the responder, and for each what initiators do: what it is, their options, the exit code (None: any failure), the suite.
ALICE = {"cert": "alice", "ca": "ca", "name": "db.example.org"}
BOTH = {"rekey": True, "padding": 512}
PLAN = [
    ({}, [("honest, 3 MB", {}, 0, None), *((name, {"suites": [name]}, 0, name) for name in SUITES),
          ("another suite is preferred", {"suites": [SUITES[2], SUITES[0]]}, 0, None), ("eager", {"eager": True}, 0, None),
          ("padding of the initiator", {"padding": 1000}, 0, None), ("rekeys of the initiator only, 3 MB", {"rekey": True}, 0, None),
          ("not trusted", {"who": "eve"}, 4, None), ("another peer is expected", {"peer": "eve"}, 3, None),
          ("a service that is not there", {"service": "web"}, 4, None), ("another context", {"context": "other"}, 1, None),
          ("a network key of the initiator only", {"network": "ours"}, None, None)]),
    ({"suites": SUITES[:1]}, [("the responder has suite 1 only", {}, 0, SUITES[0]), ("no suite in common", {"suites": SUITES[1:]}, None, None)]),
    ({"network": "ours"}, [("network key", {"network": "ours"}, 0, None),
                           ("network key, classical suite", {"network": "ours", "suites": SUITES[2:3]}, 0, SUITES[2]),
                           ("network key, not trusted", {"network": "ours", "who": "eve"}, 4, None),
                           ("a network key of the responder only", {"timeout": 1}, None, None),
                           ("different network keys", {"network": "theirs", "timeout": 1}, None, None)]),
    (BOTH, [("both rekey and pad, 3 MB", BOTH, 0, None), ("both rekey and pad, eager, 3 MB", BOTH | {"eager": True, "suites": SUITES[2:3]}, 0, SUITES[2]),
            ("rekeys of the responder only, 3 MB", {}, 0, None)]),
    ({"cert": "bob", "ca": "ca"}, [
        ("X.509 both ways, 3 MB", ALICE, 0, None), ("X.509, classical suite", ALICE | {"suites": SUITES[2:3]}, 0, SUITES[2]),
        ("X.509, eager", ALICE | {"eager": True}, 0, None), ("X.509, any name", ALICE | {"name": None}, 0, None),
        ("X.509, the root is in the chain", ALICE | {"cert": "alice-root"}, 0, None), ("X.509, ECDSA and RSA", ALICE | {"cert": "alice-ecdsa"}, 0, None),
        *((f"X.509, the name {name}", ALICE | {"name": name}, 0, None)
          for name in ("DB.Example.Org", "a.cluster.example.org", "192.0.2.7", "2001:db8::7", "spiffe://example.org/db")),
        *((f"X.509, not the name {name}", ALICE | {"name": name}, 3, None)
          for name in ("web.example.org", "a.b.cluster.example.org", "192.0.2.8", "spiffe://example.org/web", "bob")),
        ("X.509, the initiator knows another CA", ALICE | {"ca": "other-ca"}, 3, None),
        *((f"X.509, {what}", ALICE | {"cert": cert}, 4, None)
          for what, cert in (("the initiator has expired", "alice-expired"), ("the initiator is certified as a server", "alice-server"),
                             ("the initiator is of another CA", "alice-other"), ("the initiator's certificate is signed by another key", "alice-unsigned"),
                             ("the initiator has a raw key", None)))]),
    ({"cert": "bob-ecdsa", "ca": "ca", "network": "ours"}, [("X.509 of the responder under ECDSA and RSA, network key", ALICE | {"network": "ours"}, 0, None)]),
    ({"ca": "ca"}, [("X.509, only the initiator has a certificate", {"cert": "alice"}, 0, None), ("X.509, the responder has a raw key", ALICE, 3, None)]),
    ({"cert": "bob"}, [("X.509, only the responder has a certificate", {"ca": "ca", "name": "db.example.org"}, 0, None)]),
]


def start(responder, options):
    """Starts a responder and waits until it listens; returns it and its address."""
    process = subprocess.Popen(responder.serve(**options), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    line = getattr(process, responder.stream).readline()
    assert line.startswith("listening on "), line + process.stderr.read()
    return process, line.split()[-1]


def attempt(initiator, address, what, options, code, suite):
    data = LARGE if "3 MB" in what else SMALL
    began = time.monotonic()
    done = subprocess.run(initiator.connect(address, **options), input=data, capture_output=True, timeout=PATIENCE)
    took, text = time.monotonic() - began, done.stderr.decode()
    assert done.returncode == code or code is None and done.returncode > 0, f"exit {done.returncode}, not {code}: {text}"
    assert done.stdout == (data if code == 0 else b""), "the echo differs"
    if isinstance(initiator, Scripted) and code == 0:
        assert suite is None or f"suite {suite}\n" in text, text
        sent, received = map(int, re.search(r"rekeys sent (\d+), received (\d+)", text).groups())
        assert (sent > 0, received > 0) == ("both rekey" in what or "of the initiator only" in what,
                                            "both rekey" in what or "of the responder only" in what), text
    if "timeout" in options:
        assert 0.9 <= took < 5, f"nothing may come back, but it took {took:.1f} s: {text}"
    elif code != 0:
        assert took < 5, f"it took {took:.1f} s to be refused: {text}"
    return done.returncode


def silence(address):
    """A responder with a network key does not answer, nor close, whatever comes."""
    host, port = address.rsplit(":", 1)
    probes = [b"GET / HTTP/1.1\r\n\r\n", b"\xc1\x00\x00\x05", bytes.fromhex("c1000064") + b"\2" * 100, b"\xc6\0\0\1\5"]
    socks = []
    for probe in probes:
        sock = socket.create_connection((host, int(port)), PATIENCE)
        sock.sendall(probe)
        socks.append(sock)
    time.sleep(0.4)
    for sock in socks:
        sock.settimeout(0.05)
        try:
            assert False, f"not silent: {sock.recv(100)!r}"
        except TimeoutError:
            sock.close()


def main():
    programs, passed, failed = sys.argv[1:], 0, 0
    if not programs:
        sys.exit(__doc__)
    programs = [] if programs == ["--scripted"] else programs
    with tempfile.TemporaryDirectory() as name:
        keys = Keys(pathlib.Path(name), programs[0] if programs else None)
        sides = [Rust("Rust" if len(programs) == 1 else f"Rust {n}", program, keys) for n, program in enumerate(programs, 1)] + [
            Scripted("Python", PEER, keys), Scripted("JavaScript", JS_PEER, keys)]
        for responder in sides:
            for options, cases in PLAN:
                server, address = start(responder, options)
                jobs = [(f"{i.name} to {responder.name}, {case[0]}", attempt, (i, address, *case)) for i in sides for case in cases]
                if "network" in options:
                    jobs.append((f"strangers to {responder.name}, silence", silence, (address,)))
                try:
                    for what, job, values in jobs:
                        try:
                            code = job(*values)
                            print(f"ok: {what}" + (f": exit {code}" if code is not None else ""), flush=True)
                            passed += 1
                        except (AssertionError, subprocess.TimeoutExpired) as e:
                            print(f"FAILED: {what}: {e}", flush=True)
                            failed += 1
                finally:
                    server.kill()
                    server.wait()
    print(f"interop: {passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
