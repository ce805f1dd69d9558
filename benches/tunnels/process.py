"""Processes that are measured: how they start, what CPU time and memory they and their children take, how they end."""
import os
import pathlib
import resource
import subprocess
import time

import net

PATIENCE = 20
TICK = os.sysconf("SC_CLK_TCK")


def many_files():
    """As many open files as the system allows, for us and everything that we start."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


class Process:
    """A program in the foreground, ready when it listens; what it says goes to a file."""

    def __init__(self, command, port, log):
        self.command, self.log = [str(word) for word in command], pathlib.Path(log)
        with open(log, "wb") as out:
            self.child = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        self._wait_for(port)

    def _wait_for(self, port):
        until = time.monotonic() + PATIENCE
        while not net.listening(port):
            if self.child.poll() is not None or time.monotonic() > until:
                self.kill()
                raise RuntimeError(f"{pathlib.Path(self.command[0]).name} does not listen: {self.said()}")
            time.sleep(0.01)

    def said(self): return " ".join(self.log.read_text(errors="replace").split())[-300:]

    def family(self):
        """Our process and all below it."""
        found = [self.child.pid]
        for pid in found:
            for children in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
                found += [int(word) for word in _read(children).split()]
        return found

    def cpu(self):
        """Seconds so far, of all threads, of children, and of those that have ended."""
        return sum(sum(int(ticks) for ticks in _stat(pid)[11:15]) for pid in self.family()) / TICK

    def threads(self): return sum(int(_stat(pid)[17]) for pid in self.family())

    def memory(self):
        """KiB: resident, with what is shared divided among those that share it."""
        lines = "".join(_read(f"/proc/{pid}/smaps_rollup") for pid in self.family()).splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))

    def kill(self):
        """At once: nothing that is worth a drain goes through a tunnel by then."""
        self.child.kill()
        self.child.wait()

    def stop(self):
        self.child.terminate()
        try:
            self.child.wait(2)
        except subprocess.TimeoutExpired:
            self.kill()


def _read(path):
    try:
        return pathlib.Path(path).read_text()
    except OSError:
        return ""


def _stat(pid):
    """The fields of /proc/PID/stat from the third on."""
    return _read(f"/proc/{pid}/stat").rpartition(")")[2].split() or ["0"] * 50
