"""Two implementations over real sockets: the Rust program and the Python peer, each as initiator and as responder.

usage: run.py PROGRAM      (a built `countersign`; needs the package `cryptography`)
"""
import pathlib
import subprocess
import sys
import tempfile

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

PEER = [sys.executable, str(pathlib.Path(__file__).parent / "python" / "peer.py")]
PATIENCE = 60


def key(folder, name, byte):
    """Files of an identity that openssl could have made; returns its seed and public key in hexadecimal."""
    seed = bytes([byte]) * 32
    private = Ed25519PrivateKey.from_private_bytes(seed)
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path = folder / f"{name}.key"
    path.touch(0o600)
    path.write_bytes(pem)
    line = private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH) + b" " + name.encode() + b"\n"
    (folder / f"{name}.pub").write_bytes(line)
    return seed.hex(), private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()


def start(command, stream):
    """Starts a responder and waits until it listens; returns it and its address."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    line = getattr(process, stream).readline()
    assert line.startswith("listening on "), line
    return process, line.split()[-1]


def main():
    program, passed = sys.argv[1], 0
    data = bytes(i * 7 % 256 for i in range(3_000_001))
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        keys = {who: key(folder, who, byte) for who, byte in [("alice", 1), ("bob", 2), ("eve", 3)]}
        path = lambda file: str(folder / file)
        rust_serve = [program, "serve", "--identity", path("bob.key"), "--trust", path("alice.pub"), "--listen", "127.0.0.1:0",
                      "--echo", "--service", "db", "--context", "interop"]
        python_serve = PEER + ["serve", "--seed", keys["bob"][0], "--allow", keys["alice"][1], "--port", "0", "--service", "db",
                               "--context", b"interop".hex()]

        def rust_connect(address, who="alice", peer="bob", service="db", context="interop"):
            return [program, "connect", "--identity", path(f"{who}.key"), "--peer", path(f"{peer}.pub"), address, "--service", service,
                    "--context", context]

        def python_connect(address, who="alice", peer="bob", service="db", context="interop"):
            return PEER + ["connect", "--seed", keys[who][0], "--expect", keys[peer][1], address, "--service", service,
                           "--context", context.encode().hex()]

        cases = [({}, 0), ({"who": "eve"}, 4), ({"peer": "eve"}, 3), ({"service": "web"}, 4), ({"context": "other"}, 1)]
        for serve_name, serve, stream in [("Rust", rust_serve, "stderr"), ("Python", python_serve, "stdout")]:
            server, address = start(serve, stream)
            try:
                for connect_name, connect in [("Rust", rust_connect), ("Python", python_connect)]:
                    for change, code in cases:
                        done = subprocess.run(connect(address, **change), input=data, capture_output=True, timeout=PATIENCE)
                        what = f"{connect_name} to {serve_name}, {change or 'honest'}"
                        assert done.returncode == code, f"{what}: exit {done.returncode}, not {code}: {done.stderr.decode()}"
                        assert code != 0 or done.stdout == data, f"{what}: the echo differs"
                        print(f"ok: {what}: exit {code}")
                        passed += 1
            finally:
                server.kill()
                server.wait()
    print(f"interop: {passed} passed, 0 failed")


main()
