"""usage: lossy.py NAMESPACE ADDRESS NAMESPACE ADDRESS DELAY_MS JITTER_MS LOSS_PERCENT: a link between two network namespaces for kernels without netem.

Two TUN devices and what is between them; a packet may overtake another, as with netem.
"""
import ctypes
import fcntl
import heapq
import os
import random
import select
import struct
import subprocess
import sys
import time

TUNSETIFF, IFF_TUN, IFF_NO_PI, CLONE_NEWNET = 0x400454CA, 1, 0x1000, 0x40000000
MTU = 9000


def device(namespace, address):
    with open(f"/run/netns/{namespace}") as file:
        if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH", b"lossy", IFF_TUN | IFF_NO_PI))
    for words in (["address", "add", address, "dev", "lossy"], ["link", "set", "lossy", "mtu", str(MTU), "up"]):
        subprocess.run(["ip", *words], check=True)
    return fd


def main():
    delay, jitter, loss = (float(word) for word in sys.argv[5:8])
    a, b = device(*sys.argv[1:3]), device(*sys.argv[3:5])
    other, late, number = {a: b, b: a}, [], 0
    passed = lost = 0
    print("up", flush=True)
    while True:
        now = time.monotonic()
        while late and late[0][0] <= now:
            _, _, to, packet = heapq.heappop(late)
            try:
                os.write(to, packet)
            except OSError:
                lost += 1  # its queue is full, as a router's may be
        ready, _, _ = select.select([a, b], [], [], max(late[0][0] - time.monotonic(), 0) if late else None)
        for fd in ready:
            for _ in range(64):
                try:
                    packet = os.read(fd, MTU + 100)
                except BlockingIOError:
                    break
                if random.random() * 100 < loss:
                    lost += 1
                    continue
                passed += 1
                if passed % 1000 == 0:
                    print(f"passed {passed}, lost {lost}", flush=True)
                heapq.heappush(late, (time.monotonic() + (delay + random.uniform(-jitter, jitter)) / 1000, number, other[fd], packet))
                number += 1


main()
