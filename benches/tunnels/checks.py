"""Before anything is measured: what goes in comes out, and strangers are refused by either side."""
import hashlib
import os
import socket
import threading

from targets import Echo

LENGTH = 3_000_001


def check(system):
    """Raises AssertionError where a tunnel does not do its work."""
    echo = Echo()
    try:
        with system.link(echo.port) as link:
            _intact(link.port)
        for side in system.sides:
            echo.received = 0
            with system.link(echo.port, strange=side) as link:
                answer = _refused(link.port)
            assert not answer and not echo.received, f"a stranger as {side} is let in: {answer!r} back, {echo.received} bytes through"
    finally:
        echo.stop()


def _intact(port):
    sent = os.urandom(LENGTH)
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        sender = threading.Thread(target=lambda: (client.sendall(sent), client.shutdown(socket.SHUT_WR)), daemon=True)
        sender.start()
        digest, length = hashlib.sha256(), 0
        while data := client.recv(1 << 16):
            digest.update(data)
            length += len(data)
        sender.join()
    assert length == LENGTH and digest.digest() == hashlib.sha256(sent).digest(), f"{length} bytes of {LENGTH} came back, or others"


def _refused(port):
    """What comes back when we say something; nothing, when the tunnel ends the connection or keeps quiet."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as client:
            client.sendall(b"let me in")
            return client.recv(100)
    except OSError:
        return b""
