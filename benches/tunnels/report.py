"""Tables in Markdown from the numbers of all rounds."""
import statistics

OURS = "countersign"
TABLES = [
    ("Throughput", "One stream of iperf3. CPU is that of both tunnel processes together, for 10⁹ bytes.",
     [("up_gbit", "up, Gbit/s", 2), ("both_up_s_gb", "CPU s/GB", 2), ("down_gbit", "down, Gbit/s", 2), ("both_down_s_gb", "CPU s/GB", 2)]),
    ("Requests", "redis-benchmark GET: one connection with one request at a time, then 50 connections.",
     [("p50_us", "round trip p50, us", 0), ("p99_us", "p99, us", 0), ("requests_s", "50 connections, requests/s", 0), ("requests_p99_ms", "p99, ms", 2),
      ("both_request_us", "CPU us/request", 1)]),
    ("New connections", "wrk to nginx with `Connection: close`, 32 at a time: each request is a session with its handshake. "
     "`alone` is one connection at a time, from connect to the first byte of an answer.",
     [("connections_s", "connections/s", 0), ("client_connection_ms", "client CPU ms", 3), ("server_connection_ms", "server CPU ms", 3),
      ("connections_failed", "failed", 0), ("open_p50_us", "alone p50, us", 0), ("open_p99_us", "p99, us", 0)]),
    ("Memory", "Idle sessions, each after one small request: resident KiB a session beyond the bare process. What the kernel holds for sockets is not in it.",
     [("client_idle_kib", "client KiB/session", 2), ("server_idle_kib", "server KiB/session", 2), ("client_bare_kib", "bare client KiB", 0),
      ("server_bare_kib", "bare server KiB", 0), ("threads", "server threads", 0)]),
]


def tables(samples, systems, missing):
    """`samples`: {system: {number: [one of each round, or None]}}; `missing`: {system: why}."""
    for title, text, columns in TABLES:
        if not any(key in numbers for numbers in samples.values() for key, _, _ in columns):
            continue
        yield f"### {title}\n\n{text}\n\n| system | {' | '.join(label for _, label, _ in columns)} |\n|{'---|' * (len(columns) + 1)}\n"
        for name in systems:
            cells = [_cell(samples, name, key, digits) for key, _, digits in columns]
            if name in missing:
                cells = [missing[name]] + [""] * (len(columns) - 1)
            if name in missing or any(cells):
                yield f"| {name} | {' | '.join(cells)} |\n"
        yield "\n"


def _cell(samples, name, key, digits):
    values = [value for value in samples.get(name, {}).get(key, []) if value is not None]
    if not values:
        return ""
    middle, spread = statistics.median(values), _spread(values)
    ratios = [value / ours for value, ours in zip(samples[name][key], samples.get(OURS, {}).get(key, [])) if value is not None and ours]
    ratio = f" ({statistics.median(ratios):.2f})" if ratios and name != OURS else ""
    return f"{middle:,.{digits}f}{spread}{ratio}"


def _spread(values):
    """Half the distance between the quartiles, as a part of the median."""
    if len(values) < 3 or not statistics.median(values):
        return ""
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return f" ±{abs((high - low) / 2 / statistics.median(values)):.0%}"


def capacity(samples, held):
    """What one core of our server does; for planning."""
    ours = {key: statistics.median(value for value in values if value is not None) for key, values in samples.get(OURS, {}).items() if any(values)}
    yield "### One core of our server\n\n| what | measured |\n|---|---|\n"
    for key, text, scale in (("server_connection_ms", "sessions a second, handshake and connection to the target included", 1000),
                             ("server_up_s_gb", "MB a second from clients", 1000), ("server_down_s_gb", "MB a second to clients", 1000),
                             ("server_request_us", "small requests a second, of 50 connections", 1e6)):
        if ours.get(key):
            yield f"| {text} | {scale / ours[key]:,.0f} |\n"
    for count, found in held.items():
        yield f"| KiB a session with {count:,} idle: server, client | {found['server_idle_kib']:.2f}, {found['client_idle_kib']:.2f} |\n"
    yield "\n"
