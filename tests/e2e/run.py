#!/usr/bin/env python3
"""`countersign tunnel` between real programs: clients, two tunnel processes and servers, on 127.0.0.1 or between network namespaces.

usage: run.py PROGRAM [--only NAME]... [--quick]     PROGRAM is a build of `countersign`, or `direct`: no tunnel, to try the loads themselves
Prints a line for each check. Stops at the first that fails, with the logs of all processes. `packages` names what has to be installed.
"""
import argparse
import importlib
import pathlib
import signal
import subprocess
import sys
import time

sys.dont_write_bytecode = True
import lab

SCENARIOS = ["redis", "postgres", "nginx", "iperf3", "haproxy", "namespaces", "upgrade", "socks", "systemd", "stopping"]
WITHOUT_TUNNEL = {"redis", "postgres", "nginx", "iperf3"}
BUDGET = 290


def too_late(*_):
    raise lab.Failure(f"the whole run took more than {BUDGET} s")


def stopped(*_):
    raise KeyboardInterrupt


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--only", action="append", choices=SCENARIOS, metavar="NAME", help=", ".join(SCENARIOS))
    parser.add_argument("--quick", action="store_true", help="smaller loads")
    wanted = parser.parse_args()
    missing = subprocess.run([lab.HERE / "packages"], check=True, capture_output=True, text=True).stdout.split()
    if missing:
        print(f"missing packages: {' '.join(missing)}", file=sys.stderr)
        return 2
    program = wanted.program if wanted.program == "direct" else str(pathlib.Path(wanted.program).resolve())
    names = wanted.only or [name for name in SCENARIOS if program != "direct" or name in WITHOUT_TUNNEL]
    signal.signal(signal.SIGALRM, too_late)
    signal.signal(signal.SIGTERM, stopped)
    signal.alarm(BUDGET)
    began, checks, skipped = time.monotonic(), 0, []
    for name in names:
        scenario, start = importlib.import_module(name), time.monotonic()
        place = lab.Lab(name, program, wanted.quick)
        try:
            with place:
                scenario.run(place)
        except lab.Skip as why:
            place.skip("all of it", why)
        except lab.Failure as failure:
            print(f"FAIL {name}: {failure}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return 130
        checks, skipped = checks + place.checks, skipped + place.skipped
        place.note(f"{time.monotonic() - start:.1f} s")
    print(f"{checks} checks, {time.monotonic() - began:.0f} s, {len(skipped)} skipped")
    for line in skipped:
        print(f"SKIPPED {line}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
