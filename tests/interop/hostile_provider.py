"""An authorization server that answers everything with payloads, the next one each time."""

import itertools
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlencode, urlsplit


class HostileProvider:
    def __init__(self, payloads):
        self._payloads, self._lock = itertools.cycle(payloads), threading.Lock()
        handler = type("Handler", (_Handler,), {"provider": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.origin = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    def auth(self, kind):
        """For a server: the provider `refuses` at its own page, or grants there and `fails` afterwards."""
        return {
            "type": "oauth2",
            "client_id": "a-client",
            "authorization_url": f"{self.origin}/{kind}",
            "token_url": f"{self.origin}/token",
        }

    def fault(self):
        with self._lock:
            said = next(self._payloads)
        return {"error": said, "error_description": said, "error_uri": said}


class _Handler(BaseHTTPRequestHandler):
    provider: HostileProvider
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        url = urlsplit(self.path)
        asked = {name: values[0] for name, values in parse_qs(url.query).items()}
        said = self.provider.fault() if url.path == "/refuses" else {"code": "a-code"}
        back = f"{asked['redirect_uri']}?{urlencode({**said, 'state': asked['state']})}"
        self._send(302, headers={"location": back})

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self._send(400, json.dumps(self.provider.fault()).encode())

    def _send(self, status, body=b"", headers=()):
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass
