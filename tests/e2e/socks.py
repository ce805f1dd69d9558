"""SOCKS5: the host name that a client asks for is the service."""
import http.server
import threading

import lab as common


def web(lab, name):
    """A web server that says its name."""
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(f"{name} {self.path} for {self.headers['Host']}".encode())

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer((common.HOST, 0), Handler)
    lab.undo.append(server.shutdown)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


def run(lab):
    lab.trust("peers", "alice")
    outer, port = lab.port(), lab.port()
    routes = [word for name in ("billing", "search") for word in ("--route", f"{name}={common.HOST}:{web(lab, name)}")]
    closed = lab.port()
    server = lab.tunnel("tunnel-server", ["server", "--listen", f"{common.HOST}:{outer}", "--identity", lab.key("bob"), "--trust", lab.dir / "peers", *routes,
                                          "--route", f"down={common.HOST}:{closed}", "--log", "json"])
    client = lab.tunnel("tunnel-client", ["client", "--listen", f"{common.HOST}:{port}", "--identity", lab.key("alice"), "--peer", lab.public("bob"),
                                          "--target", f"{common.HOST}:{outer}", "--socks", "--log", "json"])

    def curl(url, how="--socks5-hostname"):
        done = lab.run(["curl", "-sS", "--max-time", "10", how, f"{common.HOST}:{port}", url], fails=True)
        return done.returncode, (done.stdout + done.stderr).decode().strip()

    for name in ("billing", "search"):
        code, text = curl(f"http://{name}/path")
        lab.check(f"curl asks for {name} by name", (code, text) == (0, f"{name} /path for {name}"), text)
    code, text = curl("http://search:8080/")
    lab.check("the port does not matter", code == 0 and text.startswith("search"), text)
    code, text = curl("http://nothing-here/")
    lab.check("a name that the server does not offer is refused", code == 97 and "connect" in text.lower(), f"{code}: {text}")
    code, text = curl("http://192.0.2.1/")
    lab.check("an IPv4 address is refused", code == 97, f"{code}: {text}")
    code, text = curl("http://[2001:db8::1]/")
    lab.check("an IPv6 address is refused", code == 97, f"{code}: {text}")
    code, text = curl("http://localhost/", "--socks5")
    lab.check("a name that curl resolves itself is an address too", code == 97, f"{code}: {text}")
    code, text = curl("http://down/")
    # the server has let us in before it calls the service: SOCKS has said yes by then
    lab.check("a service that is down is a reset at once", code in (97, 52, 55, 56), f"{code}: {text}")
    server.signal(common.signal.SIGTERM)
    server.ended()
    code, text = curl("http://billing/")
    lab.check("without a server curl gets an error of SOCKS", code == 97, f"{code}: {text}")
    lab.check("the client still runs", client.alive())
