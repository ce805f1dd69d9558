"""What is behind the tunnels: redis, nginx and iperf3, each once for the whole run, and an echo for the checks."""
import contextlib
import shutil
import socket
import threading

import net
from process import Process

NGINX = """user root; daemon off; worker_processes 1; worker_rlimit_nofile 16384; pid {folder}/nginx.pid; error_log {folder}/nginx.error;
events {{ worker_connections 8192; }}
http {{ access_log off; keepalive_requests 1000000; client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
        uwsgi_temp_path {folder}; scgi_temp_path {folder};
        server {{ listen 127.0.0.1:{port} backlog=4096; location / {{ return 200 "hello\\n"; }} }} }}
"""


class Targets:
    """Ports by name; None where the program is not installed."""

    def __init__(self, folder):
        self.folder, self.running, self.missing = folder, contextlib.ExitStack(), []
        self.redis = self._start("redis-server", lambda port: ["--port", port, "--bind", "127.0.0.1", "--save", "", "--maxclients", 10000, "--dir", folder])
        self.nginx = self._start("nginx", self._nginx)
        self.iperf3 = self._start("iperf3", lambda port: ["-s", "-B", "127.0.0.1", "-p", port])
        if self.redis:
            with socket.create_connection(("127.0.0.1", self.redis)) as client:
                client.sendall(b"SET key:__rand_int__ xxx\r\n")
                client.recv(100)

    def _nginx(self, port):
        config = self.folder / "nginx.conf"
        config.write_text(NGINX.format(folder=self.folder, port=port))
        return ["-c", config, "-p", self.folder, "-e", self.folder / "nginx.error"]

    def _start(self, program, options):
        if not shutil.which(program):
            self.missing.append(program)
            return None
        port = net.free_port()
        process = Process([program, *options(port)], port, self.folder / f"{program}.log")
        self.running.callback(process.stop)
        return port

    def stop(self): self.running.close()


class Echo:
    """Sends everything back, and counts it."""

    def __init__(self):
        self.listener, self.received = socket.create_server(("127.0.0.1", 0)), 0
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=[self.listener.accept()[0]], daemon=True).start()

    def _serve(self, client):
        with client, contextlib.suppress(OSError):
            while data := client.recv(1 << 16):
                self.received += len(data)
                client.sendall(data)
            client.shutdown(socket.SHUT_WR)

    def stop(self): self.listener.close()
