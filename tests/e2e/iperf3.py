"""iperf3 through the tunnel. Speed is reported, not judged."""
import json

import lab as common


def once(lab, port, seconds, *options):
    """One run: its exit code and error, and what arrived in each direction."""
    done = lab.run(["iperf3", "-c", common.HOST, "-p", port, "-J", "-t", seconds, *options], seconds + 20, fails=True)
    try:
        result = json.loads(done.stdout)
    except ValueError:
        result = {"error": (done.stdout + done.stderr).decode(errors="replace")}
    error = result.get("error") or (f"exit code {done.returncode}" if done.returncode else None)
    return error, [value for key, value in result.get("end", {}).items() if key in ("sum_received", "sum_received_bidir_reverse")]


def measure(lab, port, what, seconds, *options):
    for _ in range(ATTEMPTS if "--bidir" in options else 1):
        error, sums = once(lab, port, seconds, *options)
        # Of two connections the server takes the first that comes for the one that sends, and handshakes that run side by side may come in either order: then
        # both ends of one send, and both ends of the other wait.
        if error or any(s["bytes"] > 0 for s in sums):
            break
    lab.check(f"iperf3 {what}", not error and sums and all(s["bytes"] > 0 for s in sums),
              error or " + ".join(f"{s['bits_per_second'] / 1e9:.2f} Gbit/s" for s in sums))


def run(lab):
    port = lab.port()
    lab.start("iperf3-server", ["iperf3", "-s", "--forceflush", "-B", common.HOST, "-p", port]).wait_for("to listen", "Server listening")
    pair = lab.pair(f"{common.HOST}:{port}", "iperf3")
    seconds = 1 if lab.quick else 3
    for what, options in (("up", []), ("down", ["-R"]), ("4 in parallel", ["-P", "4"]), ("4 in parallel, down", ["-P", "4", "-R"]), ("both ways", ["--bidir"])):
        measure(lab, pair.port, what, seconds, *options)
    pair.healthy()


# One in three goes that way.
ATTEMPTS = 10
