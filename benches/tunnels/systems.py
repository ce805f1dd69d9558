"""Who is compared: how each is started as a client and a server, with its strongest mutual authentication."""
import contextlib
import os
import pathlib
import shutil
import subprocess
import types

import net
from process import Process


class System:
    """`link` gives a tunnel to a port: somewhere to connect, and the two processes. `strange` replaces one side's secrets by a stranger's."""
    program, note, sides = None, "", ("client", "server")

    def __init__(self, name, folder):
        self.name, self.folder = name, pathlib.Path(folder) / name
        self.folder.mkdir(parents=True, exist_ok=True)

    def missing(self): return None if shutil.which(str(self.program)) else "not installed"
    def prepare(self): """Makes keys and certificates."""
    def version(self): return "unknown"

    @contextlib.contextmanager
    def link(self, target, strange=None):
        between, entry = net.free_port(), net.free_port()
        with contextlib.ExitStack() as running:
            server = self._start(running, "server", between, target, strange == "server")
            client = self._start(running, "client", entry, between, strange == "client")
            yield types.SimpleNamespace(port=entry, client=client, server=server)

    def _start(self, running, side, listen, target, strange):
        process = Process(self.command(side, listen, target, "stranger" if strange else side), listen, self.folder / f"{side}.log")
        running.callback(process.kill)
        return process

    def run(self, *command): subprocess.run([str(word) for word in command], check=True, capture_output=True, timeout=60)


class Direct(System):
    note, sides = "no tunnel at all", ()

    def missing(self): return None
    def version(self): return "Linux " + os.uname().release

    @contextlib.contextmanager
    def link(self, target, strange=None): yield types.SimpleNamespace(port=target, client=None, server=None)


class Countersign(System):
    def __init__(self, name, folder, program, options=(), note="", client_options=()):
        super().__init__(name, folder)
        self.program, self.options, self.client_options, self.note = program, options, client_options, note

    def version(self): return _said([self.program, "--version"])

    def prepare(self):
        for who in ("client", "server", "stranger"):
            key = self.folder / f"{who}.key"
            key.unlink(missing_ok=True)
            key.with_suffix(".key.pub").unlink(missing_ok=True)
            self.run(self.program, "keygen", "--out", key)
        shutil.copy(self.folder / "client.key.pub", self.folder / "trusted")

    def command(self, side, listen, target, who):
        command = [self.program, "tunnel", side, "--listen", f"127.0.0.1:{listen}", "--identity", self.folder / f"{who}.key", *self.options]
        if side == "server":
            return [*command, "--trust", self.folder / "trusted", "--route", f"bench=127.0.0.1:{target}"]
        return [*command, "--peer", self.folder / "server.key.pub", "--target", f"127.0.0.1:{target}", "--service", "bench", *self.client_options]


class Certified(System):
    """A system that is given certificates: P-256, which OpenSSL does faster than Ed25519, self-signed and pinned."""

    def prepare(self):
        for who in ("client", "server", "stranger"):
            self.run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30", "-subj", f"/CN={who}",
                     "-addext", f"subjectAltName=DNS:{who}", "-keyout", self.folder / f"{who}.key", "-out", self.folder / f"{who}.pem")

    def files(self, side, who):
        peer = "client" if side == "server" else "server"
        return self.folder / f"{who}.pem", self.folder / f"{who}.key", self.folder / f"{peer}.pem"


class Stunnel(Certified):
    program = "stunnel"

    def __init__(self, name, folder, resume, note):
        super().__init__(name, folder)
        self.resume, self.note = resume, note

    def version(self): return " ".join(_said([self.program, "-version"], "stunnel").split()[:2]) + ", " + " ".join(_said(["openssl", "version"]).split()[:2])

    def command(self, side, listen, target, who):
        cert, key, peer = self.files(side, who)
        lines = ["foreground = yes", "pid =", "debug = warning", "socket = l:TCP_NODELAY=1", "socket = r:TCP_NODELAY=1", "[bench]",
                 f"client = {'yes' if side == 'client' else 'no'}", f"accept = 127.0.0.1:{listen}", f"connect = 127.0.0.1:{target}",
                 "sslVersion = TLSv1.3", f"cert = {cert}", f"key = {key}", f"CAfile = {peer}", "verifyPeer = yes", f"sessionResume = {self.resume}"]
        config = self.folder / f"{side}.conf"
        config.write_text("\n".join(lines) + "\n")
        return [self.program, config]


class Spiped(System):
    program, note = "spiped", "one symmetric key on both sides: no identities, nobody to revoke; with forward secrecy"

    def version(self): return _said([self.program, "-v"])

    def prepare(self):
        for who in ("client", "server", "stranger"):
            (self.folder / f"{who}.key").write_bytes(os.urandom(32))
        shutil.copy(self.folder / "client.key", self.folder / "server.key")

    def command(self, side, listen, target, who):
        return [self.program, "-d" if side == "server" else "-e", "-s", f"[127.0.0.1]:{listen}", "-t", f"[127.0.0.1]:{target}",
                "-k", self.folder / f"{who}.key", "-F", "-g", "-n", 0, "-p", self.folder / f"{side}.pid"]


class Ghostunnel(Certified):
    """Written from its manual; it was not there to be tried."""
    program = "ghostunnel"

    def missing(self): return None if shutil.which(self.program) else "not in Debian 12"
    def version(self): return "ghostunnel " + _said([self.program, "--version"])

    def command(self, side, listen, target, who):
        cert, key, peer = self.files(side, who)
        names = ["--allow-cn", "client"] if side == "server" else ["--override-server-name", "server"]
        return [self.program, side, "--listen", f"127.0.0.1:{listen}", "--target", f"127.0.0.1:{target}", "--cert", cert, "--key", key, "--cacert", peer, *names]


def all_of(program, folder):
    classical = ["--suite", "X25519_AES256GCM_SHA256"]
    return [Direct("direct", folder),
            Countersign("countersign", folder, program, note="as it comes: X25519 with ML-KEM-768, AES-256-GCM, raw Ed25519 keys"),
            Countersign("countersign-classical", folder, program, classical, "without ML-KEM, which none of the peers has"),
            Countersign("countersign-spare", folder, program, note="`--spare 16`: sessions are ready before they are asked for", client_options=["--spare", "16"]),
            Stunnel("stunnel", folder, "yes", "as it comes: TLS 1.3, P-256 certificates pinned on both sides; sessions are resumed, certificates are not verified again"),
            Stunnel("stunnel-full", folder, "no", "`sessionResume = no`: a full handshake for each connection, as with Countersign"),
            Spiped("spiped", folder), Ghostunnel("ghostunnel", folder)]


def _said(command, start=""):
    """The first line that a program says and that begins so."""
    both = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=20)
    return next((line.strip() for line in (both.stdout + both.stderr).splitlines() if line.startswith(start)), "unknown")
