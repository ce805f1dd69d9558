"""nginx: many short requests, large files both ways, and readers that take their time."""
import os
import re
import subprocess
import threading
import time

import lab as common

BOUND = 64 << 20  # for 64 busy sessions of 2 buffers of 64 KiB in either direction, with room
SLOW_BOUND = 8 << 20

CONFIG = """
daemon off; master_process on; worker_processes 2; error_log stderr warn; pid {dir}/nginx.pid; {user}
events {{ worker_connections 2048; }}
http {{
    access_log off; sendfile on; keepalive_requests 1000000; client_max_body_size 1g; default_type application/octet-stream;
    client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/f; uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        location / {{ root {dir}/www; }}
        location /up/ {{ root {dir}/www; dav_methods PUT; create_full_put_path on; }}
        location /through/ {{ proxy_pass http://127.0.0.1:{port}/; proxy_buffering off; }}
    }}
    server {{ listen 127.0.0.1:{proxied} proxy_protocol; location / {{ return 200 "$proxy_protocol_addr:$proxy_protocol_port"; }} }}
}}
"""


def server(lab, megabytes):
    www, port, proxied = lab.dir / "www", lab.port(), lab.port()
    www.mkdir()
    (www / "small").write_text("small\n" * 100)
    common.random_file(www / "large", megabytes)
    config = lab.dir / "nginx.conf"
    config.write_text(CONFIG.format(dir=lab.dir, port=port, proxied=proxied, user="user root;" if os.getuid() == 0 else ""))
    lab.start("nginx", [common.program_path("nginx"), "-e", "stderr", "-p", lab.dir, "-c", config]).wait_port(port)
    return port, proxied


def proxy_header(lab, port):
    """nginx is told where the session comes from."""
    for version in ("v1", "v2"):
        pair = lab.pair(f"{common.HOST}:{port}", "web", server=["--proxy-out", version])
        said = lab.run(["curl", "-sS", "--max-time", "10", f"http://{common.HOST}:{pair.port}/"]).decode()
        real = lab.wait("the log", lambda: common.events(pair.server, "closed"))[0]["from"]
        lab.check(f"--proxy-out {version} tells nginx the address", said == real, f"{said}, {real}")
        for process in pair.processes():
            process.kill()


def wrk(lab, url, what, *options, seconds):
    text = lab.run(["wrk", "-t2", "-c64", f"-d{seconds}s", "--timeout", "10s", *options, url], seconds + 20).decode()
    count = int(re.search(r"(\d+) requests in", text)[1])
    lab.check(f"wrk -c64 {what}", count > 0 and "Socket errors" not in text and "Non-2xx" not in text, f"{count / seconds:.0f} requests/s" if count else text)


class Highest:
    """The largest resident set of each process while it runs."""

    def __init__(self, processes):
        self.processes, self.stop, self.bytes = processes, threading.Event(), {p.name: p.rss() for p in processes}
        self.start = dict(self.bytes)
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self):
        while not self.stop.wait(0.05):
            for process in self.processes:
                self.bytes[process.name] = max(self.bytes[process.name], process.rss())

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()

    def text(self):
        return ", ".join(f"{name} {size / (1 << 20):.1f} MiB" for name, size in self.bytes.items())


def run(lab):
    megabytes, seconds = (30, 2) if lab.quick else (300, 5)
    port, proxied = server(lab, megabytes)
    pair = lab.pair(f"{common.HOST}:{port}", "web")
    url, large = f"http://{common.HOST}:{pair.port}", lab.dir / "www" / "large"
    curl = ["curl", "-sS", "--fail", "--max-time", "60"]

    with Highest(pair.processes()) as memory:
        slow = subprocess.Popen([*curl, "--max-time", "4", "--limit-rate", "1M", "-o", lab.dir / "part", f"{url}/large"], stderr=subprocess.PIPE, preexec_fn=common.die_with_parent)
        error = slow.communicate(timeout=20)[1]
        size = (lab.dir / "part").stat().st_size
    lab.check("a slow reader of a large file gets its first bytes", slow.returncode == 28 and 1 << 20 < size < 20 << 20, f"{size >> 20} MiB, {error.decode().strip()}")
    lab.check(f"it makes the tunnel grow by less than {SLOW_BOUND >> 20} MiB", all(memory.bytes[n] - memory.start[n] < SLOW_BOUND for n in memory.bytes), memory.text())

    wrk(lab, f"{url}/small", "keep-alive", seconds=seconds)
    wrk(lab, f"{url}/small", "Connection: close", "-H", "Connection: close", seconds=seconds)
    lab.run([*curl, "-o", lab.dir / "got", f"{url}/large"], 60)
    lab.check(f"{megabytes} MiB downloaded are the same", common.sha256(lab.dir / "got") == common.sha256(large))
    lab.run([*curl, "-r", "1000003-2000004", "-o", lab.dir / "range", f"{url}/large"], 60)
    with large.open("rb") as file:
        file.seek(1000003)
        lab.check("a range is that range", (lab.dir / "range").read_bytes() == file.read(1000002))
    lab.run([*curl, "-T", large, f"{url}/up/large"], 60)
    lab.check(f"{megabytes} MiB uploaded are the same", common.sha256(lab.dir / "www" / "up" / "large") == common.sha256(large))

    with Highest(pair.processes()) as memory:
        slow = [subprocess.Popen([*curl, "--limit-rate", "2M", "-o", "/dev/null", f"{url}/{where}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                 preexec_fn=common.die_with_parent) for where in ("large", "through/large") * 4]
        time.sleep(0.5)
        wrk(lab, f"{url}/small", "beside eight slow readers", seconds=seconds)
        lab.check("the slow readers still read", all(reader.poll() is None for reader in slow) or lab.quick)
        for reader in slow:
            reader.kill()
            reader.wait()
    lab.check(f"the tunnel stays below {BOUND >> 20} MiB", all(size < BOUND for size in memory.bytes.values()), memory.text())
    lab.run([*curl, "-o", "/dev/null", f"{url}/small"])
    pair.healthy()
    if lab.program != "direct":
        proxy_header(lab, proxied)
