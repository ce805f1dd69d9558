"""A network of our own: the loopback of a fresh namespace, where nobody else listens and nothing is paced."""
import ctypes
import fcntl
import os
import pathlib
import socket
import struct

NEW_NETWORK, GET_FLAGS, SET_FLAGS, UP = 0x40000000, 0x8913, 0x8914, 1
CONGESTION = pathlib.Path("/proc/sys/net/ipv4/tcp_congestion_control")


def private():
    """Moves this process into a namespace whose sockets use `reno`, as far as it may. BBR would measure its timers on a loopback."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(NEW_NETWORK) != 0:
        return f"the machine's own loopback, {congestion()} ({os.strerror(ctypes.get_errno())})"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        flags = struct.unpack("16sh14x", fcntl.ioctl(any_socket, GET_FLAGS, struct.pack("16sh14x", b"lo", 0)))[1]
        fcntl.ioctl(any_socket, SET_FLAGS, struct.pack("16sh14x", b"lo", flags | UP))
    CONGESTION.write_text("reno")
    return f"loopback of a namespace of its own, {congestion()}"


def congestion(): return CONGESTION.read_text().strip()


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def listening(port):
    """Whether somebody listens there; looks it up, because to connect would make a session."""
    wanted = f":{port:04X}"
    lines = pathlib.Path("/proc/self/net/tcp").read_text().splitlines()[1:]
    return any(words[1].endswith(wanted) and words[3] == "0A" for words in map(str.split, lines))
