#!/usr/bin/env python3
"""`countersign tunnel` beside spiped, stunnel and ghostunnel: the same work through each, in turns, on one machine. README.md says how."""
import argparse
import collections
import datetime
import json
import os
import pathlib
import shlex
import signal
import sys
import tempfile

import measures
import net
import process
import report
import systems
from checks import check
from targets import Targets

MEASURES = [measures.throughput, measures.latency, measures.requests, measures.connections, measures.opening, measures.memory]
SPARE = {measures.connections, measures.opening, measures.memory}


def main():
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that nothing is left running
    sizes, rounds = (measures.QUICK, options.rounds or 1) if options.quick else (measures.FULL, options.rounds or 5)
    with tempfile.TemporaryDirectory(prefix="tunnels-") as folder:
        folder = pathlib.Path(folder)
        about = {"command": command(), "date": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC",
                 "machine": machine(), "network": net.private(), "files": process.many_files(), "quick": options.quick, "rounds": 0, "load": [load()]}
        targets = Targets(folder)
        try:
            bench = Bench(systems.all_of(pathlib.Path(options.program).resolve(), folder), targets, sizes, options)
            bench.prepare()
            for number in range(rounds):
                bench.round(number)
                about |= {"rounds": number + 1, "load": [*about["load"], load()]}
                write(options.out, about, bench)
            bench.hold()
        finally:
            targets.stop()
    print(write(options.out, about, bench), end="")
    return 1 if bench.failures else 0


def write(folder, about, bench):
    """After each round, so that a run that is ended early has measured something."""
    about |= {"versions": bench.versions, "notes": {system.name: system.note for system in bench.ready}}
    text = "".join(page(about, bench))
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
        whole = about | {"missing": bench.missing, "failures": bench.failures, "samples": bench.samples, "held": bench.held}
        (folder / "results.json").write_text(json.dumps(whole, indent=1) + "\n")
        (folder / "results.md").write_text(text)
    return text


class Bench:
    def __init__(self, everybody, targets, sizes, options):
        chosen = lambda names, name: not names or name in names
        self.systems = [system for system in everybody if chosen(options.only, system.name)]
        self.measures = [measure for measure in MEASURES if chosen(options.measure, measure.__name__)]
        self.targets, self.sizes = targets, sizes
        self.ready, self.versions, self.missing, self.failures, self.held = [], {}, {}, [], {}
        self.samples = collections.defaultdict(lambda: collections.defaultdict(list))

    def prepare(self):
        for measure in list(self.measures):
            if lacking := measures.lacking(measure):
                self.measures.remove(measure)
                self.missing[measure.__name__] = f"not measured without {' and '.join(lacking)}"
        for system in self.systems:
            if why := system.missing():
                self.missing[system.name] = why
            elif self._tried(system, "check", 0, lambda: (system.prepare(), check(system), {})[-1]) is not None:
                self.versions[system.name] = system.version()
                self.ready.append(system)

    def round(self, number):
        """Everybody's turn at each measure, from another beginning in each round."""
        for measure in self.measures:
            for system in turned(self.ready, number):
                if system.name != "countersign-spare" or measure in SPARE:
                    say(f"round {number + 1} {measure.__name__} {system.name}")
                    found = self._tried(system, measure.__name__, number, lambda: measure(system, self.targets, self.sizes))
                    self._keep(system.name, number, found or {})

    def hold(self):
        """Many idle sessions of ours."""
        ours = next((system for system in self.ready if system.name == report.OURS), None)
        if ours and measures.memory in self.measures:
            for count in self.sizes.many:
                say(f"{count} idle sessions")
                found = self._tried(ours, "memory", count, lambda: measures.memory(ours, self.targets, self.sizes, count))
                self.held |= {count: found} if found else {}

    def _keep(self, name, number, found):
        for key, value in found.items():
            values = self.samples[name][key]
            values += [None] * (number - len(values)) + [value]

    def _tried(self, system, what, number, work):
        try:
            return work()
        except Exception as error:  # whatever it was, the others have their turn
            self.failures.append(f"{system.name}: {what} {number + 1}: {error!r}")
            say(self.failures[-1])
            return None


def turned(some, number):
    at = number % max(len(some), 1)
    return some[at:] + some[:at]


def page(about, bench):
    machine_, kind = about["machine"], "A quick run, only to see that it works. " if about["quick"] else ""
    yield f"# Results\n\n{kind}{machine_['cpu']}, {machine_['cores']} cores, {machine_['system']}. {about['date']}, load average {about['load'][0]} before and {about['load'][-1]} after. "
    yield f"`{about['command']}`; {about['network']}.\n\n"
    yield f"Medians of {about['rounds']} round{'s' * (about['rounds'] > 1)}, ± half the distance between the quartiles; in parentheses the ratio to `{report.OURS}`, formed within a round. "
    yield "Empty: not measured there.\n\n"
    yield from report.tables(bench.samples, [system.name for system in bench.systems], bench.missing)
    if any(system.name == report.OURS for system in bench.ready):
        yield from report.capacity(bench.samples, bench.held)
    yield "### Who\n\n| system | version | how |\n|---|---|---|\n"
    for name, note in about["notes"].items():
        yield f"| {name} | {about['versions'][name]} | {note} |\n"
    for name, why in bench.missing.items():
        yield f"| {name} | | {why} |\n"
    for failure in bench.failures:
        yield f"\n**Failed:** {failure}\n"


def command():
    """How we were called, without anybody's folders."""
    return shlex.join(["run.py", *(pathlib.Path(word).name if "/" in word else word for word in sys.argv[1:])])


def machine():
    cpu = next((line.partition(":")[2].strip() for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "unknown CPU")
    return {"cpu": cpu, "cores": os.cpu_count(), "system": f"{os.uname().sysname} {os.uname().release}"}


def load(): return " ".join(f"{value:.2f}" for value in os.getloadavg())
def say(text): print(text, file=sys.stderr, flush=True)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program", help="the `countersign` that is measured")
    parser.add_argument("--quick", action="store_true", help="a little of everything, to see that it works")
    parser.add_argument("--rounds", type=int, help="5, with --quick 1")
    parser.add_argument("--out", type=pathlib.Path, metavar="DIR", help="writes results.json and results.md there")
    parser.add_argument("--only", action="append", metavar="SYSTEM", help="may be repeated")
    parser.add_argument("--measure", action="append", metavar="NAME", help="may be repeated: " + ", ".join(measure.__name__ for measure in MEASURES))
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
