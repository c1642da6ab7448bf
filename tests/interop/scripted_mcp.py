"""A scripted MCP server: a test says what it lists, calls itself and answers, also what no decent server would.

Every path below its root is a server of its own.
"""

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def tool(name, description="Does something.", **more):
    return {"name": name, "description": description, "inputSchema": {"type": "object"}, **more}


@dataclass
class Script:
    """What one server says. `call` gets a tool's name and arguments, and answers a result or raises `Refused`."""

    tools: list[dict] = field(default_factory=list)
    call: object = None
    instructions: str = "Use the tools."
    info: dict = field(default_factory=lambda: {"name": "scripted", "version": "1"})
    # Instead of the list of tools.
    listing_fails: str | None = None


class Refused(Exception):
    """An error of JSON-RPC."""


class ScriptedServers:
    def __init__(self):
        self.scripts = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"scripts": self.scripts}))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def add(self, path, script):
        """The URL of the server that does what `script` says; the script may be changed later."""
        self.scripts[f"/{path}"] = script
        return f"{self.url}/{path}"

    def close(self):
        self._server.shutdown()
        self._server.server_close()


def text(said, **more):
    """A tool's result."""
    return {"content": [{"type": "text", "text": said}], **more}


def answer(script, message):
    params = message.get("params", {})
    match message["method"]:
        case "initialize":
            return {
                "protocolVersion": "2025-06-18",
                "capabilities": {"tools": {}},
                "serverInfo": script.info,
                "instructions": script.instructions,
            }
        case "tools/list":
            if script.listing_fails is not None:
                raise Refused(script.listing_fails)
            return {"tools": script.tools}
        case "tools/call":
            return script.call(params["name"], params.get("arguments", {}))
    raise Refused("Method not found")


class _Handler(BaseHTTPRequestHandler):
    scripts: dict
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self):
        message = json.loads(self.rfile.read(int(self.headers["content-length"])))
        script = self.scripts.get(self.path)
        if script is None:
            self._send(404)
        elif "id" not in message:
            self._send(202)
        else:
            try:
                outcome = {"result": answer(script, message)}
            except Refused as error:
                outcome = {"error": {"code": -32000, "message": str(error)}}
            self._send(200, json.dumps({"jsonrpc": "2.0", "id": message["id"], **outcome}).encode())

    def do_GET(self):
        self._send(405)

    def do_DELETE(self):
        self._send(405)

    def _send(self, status, body=b""):
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass
