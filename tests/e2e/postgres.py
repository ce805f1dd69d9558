"""PostgreSQL: pgbench, COPY, a query that is cancelled by a second connection, a server that is killed."""
import glob
import os
import pathlib
import re
import signal
import subprocess
import time

import lab as common

BIN = pathlib.Path(max(glob.glob("/usr/lib/postgresql/*/bin"), default="/usr/bin"))
USER = "postgres" if os.getuid() == 0 else None  # it refuses root
SETTINGS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_wal_size": "4GB", "shared_buffers": "128MB", "autovacuum": "off",
            "max_connections": "60", "dynamic_shared_memory_type": "mmap", "unix_socket_directories": "", "listen_addresses": common.HOST, "log_min_messages": "warning"}


def server(lab):
    """The process and its port. It is killed, so the segment that it leaves behind is removed here."""
    data, port = lab.dir / "data", lab.port()
    data.mkdir(mode=0o700)
    if USER:
        common.shutil.chown(data, USER, USER)
    initdb = lab.start("initdb", [BIN / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-N", "--no-instructions"], user=USER, cwd=data)
    if initdb.ended(60):
        raise common.Failure("initdb failed")
    process = lab.start("postgres", [BIN / "postgres", "-D", data, "-p", port, *(f"--{k}={v}" for k, v in SETTINGS.items())], user=USER, cwd=data)
    process.wait_port(port)

    def remove_segment():
        lines = (data / "postmaster.pid").read_text().splitlines()
        subprocess.run(["ipcrm", "-m", lines[6].split()[1]], check=False, capture_output=True, timeout=5)
    lab.undo.append(remove_segment)
    lab.wait("postgres to answer", lambda: lab.run([BIN / "pg_isready", "-h", common.HOST, "-p", port, "-U", "postgres"], fails=True).returncode == 0)
    return process, port


def psql(port, *words):
    return [BIN / "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", f"host={common.HOST} port={port} user=postgres dbname=postgres sslmode=disable", *words]


def pgbench(lab, port, what, *options):
    done = lab.run([BIN / "pgbench", "-h", common.HOST, "-p", port, "-U", "postgres", "-n", *options, "postgres"], 60, fails=True)
    text = (done.stdout + done.stderr).decode()
    count, failed = (re.search(pattern, text) for pattern in (r"actually processed: (\d+)", r"failed transactions: (\d+)"))
    lab.check(f"pgbench {what}", done.returncode == 0 and count and int(count[1]) > 0 and failed and failed[1] == "0" and "aborted" not in text,
              f"{count[1]} transactions" if count else text)


def copy(lab, port, megabytes):
    rows = megabytes * 1000
    lab.run(psql(port, "-c", f"CREATE UNLOGGED TABLE a AS SELECT i, repeat(md5(i::text), 32) AS t FROM generate_series(1, {rows}) i",
                 "-c", "CREATE UNLOGGED TABLE b (LIKE a)"), 60)
    lab.run(psql(port, "-c", r"\copy a TO 'out'"), 60)
    lab.run(psql(port, "-c", r"\copy b FROM 'out'"), 60)
    lab.run(psql(port, "-c", r"\copy b TO 'again'"), 60)
    size = (lab.dir / "out").stat().st_size
    lab.check(f"COPY of {megabytes} MB out, in, and out again is the same", size >= megabytes * 10**6 and common.sha256(lab.dir / "out") == common.sha256(lab.dir / "again"),
              f"{size} bytes")


def cancelled(lab, port):
    query = lab.start("cancelled", psql(port, "-c", "SELECT pg_sleep(100)"))
    lab.wait("the query to run", lambda: lab.run(psql(port, "-At", "-c", "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(1%' AND state = 'active'")).strip() == b"1")
    query.signal(signal.SIGINT)
    query.ended(10)
    lab.check("Ctrl-C cancels a query", "canceling statement due to user request" in query.text())


def killed(lab, process, port):
    query = lab.start("orphan", psql(port, "-c", "SELECT pg_sleep(101)"))
    lab.wait("the query to run", lambda: lab.run(psql(port, "-At", "-c", "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(101%' AND state = 'active'")).strip() == b"1")
    copying = subprocess.Popen([str(word) for word in psql(port, "-c", "COPY (SELECT repeat('x', 900) FROM generate_series(1, 100000000)) TO STDOUT")],
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, preexec_fn=common.die_with_parent)
    time.sleep(0.5)
    process.kill()
    start = time.monotonic()
    query.ended(5)
    text = query.text()
    lab.check("who waits for an answer of a killed server learns of it", re.search("closed the connection unexpectedly|Connection reset|could not receive", text),
              f"{time.monotonic() - start:.2f} s")
    try:
        error = copying.communicate(timeout=5)[1].decode()
    except subprocess.TimeoutExpired:
        raise common.Failure("COPY from a killed server hangs") from None
    finally:
        copying.kill()
    lab.check("who reads from it learns of it", copying.returncode and error, error.strip().splitlines()[0] if error else "")
    start = time.monotonic()
    done = lab.run(psql(port, "-c", "SELECT 1"), 5, fails=True)
    lab.check("a new connection fails at once", done.returncode == 2, f"{time.monotonic() - start:.2f} s")


def run(lab):
    process, port = server(lab)
    pair = lab.pair(f"{common.HOST}:{port}", "postgres")
    seconds = 2 if lab.quick else 5
    lab.run([BIN / "pgbench", "-h", common.HOST, "-p", pair.port, "-U", "postgres", "-i", "-q", "-s", 2, "postgres"], 60)
    pgbench(lab, pair.port, "TPC-B -c 8 -j 2", "-c", 8, "-j", 2, "-T", seconds)
    pgbench(lab, pair.port, "-C: a connection for each transaction", "-c", 8, "-j", 2, "-C", "-T", seconds - 1)
    pgbench(lab, pair.port, "-S -M prepared", "-c", 8, "-j", 2, "-S", "-M", "prepared", "-T", seconds - 1)
    copy(lab, pair.port, 20 if lab.quick else 200)
    cancelled(lab, pair.port)
    lab.check("no session ended badly", not pair.bad_ends(), pair.bad_ends() or "")
    killed(lab, process, pair.port)
    pair.healthy()
