"""An MCP server behind OAuth as GitHub has it, on one port, with a log of all that came.

GitHub's habits: no metadata at all, so that endpoints are typed by hand; a token answer that is a form unless JSON is
asked for, without `expires_in` and without a refresh token; scopes with commas; errors with HTTP 200; no `iss`.
"""

import json
import secrets
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlencode, urlsplit

CLIENT_ID = "Iv1.interop"
SECRET = "secret-of-the-oauth-app/+="

TOOL = {
    "name": "whoami",
    "description": "Says who you are.",
    "inputSchema": {"type": "object", "properties": {}},
}


@dataclass
class Received:
    """One request as it came."""

    method: str
    path: str
    params: dict[str, list[str]]
    everything: str


class GitHub:
    def __init__(self):
        self.log = []
        self.codes, self.tokens = {}, set()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"github": self}))
        self._server.daemon_threads = True
        base = f"http://127.0.0.1:{self._server.server_port}"
        self.mcp_url = f"{base}/mcp"
        self.authorization_url = f"{base}/login/oauth/authorize"
        self.token_url = f"{base}/login/oauth/access_token"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    def received(self, path):
        return [request for request in self.log if request.path == path]

    def authorize(self, params):
        """Where the browser is sent."""
        code = secrets.token_hex(10)
        self.codes[code] = params.get("redirect_uri")
        return f"{params['redirect_uri']}?{urlencode({'code': code, 'state': params['state']})}"

    def token(self, params):
        if (params.get("client_id"), params.get("client_secret")) != (CLIENT_ID, SECRET):
            return error("incorrect_client_credentials", "The client_id and/or client_secret passed are incorrect.")
        if params.get("redirect_uri") != self.codes.pop(params.get("code"), "no such code"):
            return error("bad_verification_code", "The code passed is incorrect or expired.")
        token = "gho_" + secrets.token_hex(18)
        self.tokens.add(token)
        return {"access_token": token, "token_type": "bearer", "scope": "read:user,repo"}

    def rpc(self, message):
        match message["method"]:
            case "initialize":
                return {
                    "protocolVersion": "2025-06-18",
                    "capabilities": {"tools": {}},
                    "serverInfo": {"name": "github", "version": "1"},
                }
            case "tools/list":
                return {"tools": [TOOL]}
            case "tools/call":
                return {"content": [{"type": "text", "text": "octocat"}]}


def error(code, description):
    return {"error": code, "error_description": description, "error_uri": "https://docs.github.com/apps"}


class _Handler(BaseHTTPRequestHandler):
    github: GitHub
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        path, params = self._note("")
        if path == "/login/oauth/authorize":
            self._answer(302, headers={"location": self.github.authorize(params)})
        else:
            self._answer(405 if path == "/mcp" else 404)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        path, params = self._note(body)
        if path == "/login/oauth/access_token":
            answer = self.github.token(params)
            if "application/json" in self.headers.get("accept", ""):
                self._answer(200, json.dumps(answer), "application/json; charset=utf-8")
            else:
                self._answer(200, urlencode(answer), "application/x-www-form-urlencoded; charset=utf-8")
        elif path == "/mcp":
            self._mcp(json.loads(body))
        else:
            self._answer(404)

    def do_DELETE(self):
        self._note("")
        self._answer(405)

    def _mcp(self, message):
        if self.headers.get("authorization", "").removeprefix("Bearer ") not in self.github.tokens:
            self._answer(401, headers={"www-authenticate": 'Bearer error="invalid_token"'})
        elif "id" not in message:
            self._answer(202)
        else:
            result = self.github.rpc(message)
            answer = {"result": result} if result else {"error": {"code": -32601, "message": "Method not found"}}
            self._answer(200, json.dumps({"jsonrpc": "2.0", "id": message["id"], **answer}), "application/json")

    def _note(self, body):
        """Keeps the request; its path and its parameters, whether they came in the URL or as a form."""
        url = urlsplit(self.path)
        is_form = self.headers.get("content-type", "").startswith("application/x-www-form-urlencoded")
        params = parse_qs(body if is_form else url.query, keep_blank_values=True)
        everything = f"{self.requestline}\n{self.headers}\n{body}"
        self.github.log.append(Received(self.command, url.path, params, everything))
        return url.path, {name: values[0] for name, values in params.items()}

    def _answer(self, status, body="", kind="text/plain", headers=()):
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body.encode())))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_):
        pass
