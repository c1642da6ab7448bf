"""The tools of real servers as the layer offers them, to llama.cpp: it must take every one.

It turns schemas into grammars and refuses a request with a schema that it cannot read (some kill it), so one tool would take
all others along. `serve` in check.py has told where both listen; nothing is generated here: llama.cpp only applies its template.
"""

import http.client
import json
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

TOOLS = Path(__file__).parents[1] / "it" / "real_tools" / "tools.jsonl"
ANSWER = {
    "id": "c", "object": "chat.completion", "created": 1, "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "done"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}  # fmt: skip


def real_tools():
    """Lists of tools, by a slug of their server."""
    lists = defaultdict(list)
    for line in TOOLS.read_text().splitlines():
        known = json.loads(line)
        slug = "-".join("".join(c if c.isalnum() else " " for c in known["server"]).split()).lower()
        lists[slug[-40:].strip("-")].append(known["tool"])
    return lists


class Double(BaseHTTPRequestHandler):
    """An MCP server for each list on `/SLUG`, and a model that keeps what it is offered and says `done`."""

    protocol_version = "HTTP/1.1"
    lists, offered = {}, []

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.path.endswith("/chat/completions"):
            self.offered.extend(body.get("tools", []))
            return self.answer(200, ANSWER)
        if "id" not in body:
            return self.answer(202, None)
        results = {
            "initialize": {
                "protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "real", "version": "1"},
            },
            "tools/list": {"tools": self.lists[self.path.strip("/")]},
            "tools/call": {"content": [{"type": "text", "text": "done"}]},
        }  # fmt: skip
        found = results.get(body["method"])
        said = {"result": found} if found else {"error": {"code": -32601, "message": "Method not found"}}
        self.answer(200, {"jsonrpc": "2.0", "id": body["id"], **said})

    def do_GET(self):
        self.answer(405, None)

    do_DELETE = do_GET

    def answer(self, status, body):
        raw = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_):
        pass


def double():
    """The double, serving; its port."""
    Double.lists = real_tools()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Double)
    Thread(target=server.serve_forever, daemon=True).start()
    return server.server_port


def config(listen, port, upstream=None):
    """A proxy before the double, or before another upstream, with all lists."""
    lines = [f'listen = "127.0.0.1:{listen}"', f'upstream = "http://127.0.0.1:{upstream or port}/v1"']
    lines += ['admin_listen = "off"', 'allow_egress = ["127.0.0.0/8"]']
    for slug in Double.lists:
        lines += ["", "[[servers]]", f'name = "{slug}"', f'url = "http://127.0.0.1:{port}/{slug}"']
    return "\n".join(lines) + "\n"


def offered(post, proxy):
    """What the proxy at this port offers of every list."""
    for slug in Double.lists:
        mcp = {"enabled": True, "servers": [slug], "auto_execute_tools": True}
        response = post(proxy, {"model": "m", "messages": [], "mcp": mcp})
        text = response.read()
        assert response.status == 200, (slug, text)
    return Double.offered


def refused(tool, model):
    """What llama.cpp at this port says against a tool, or nothing."""
    body = {"messages": [{"role": "user", "content": "hi"}], "tools": [tool], "tool_choice": "required"}
    connection = http.client.HTTPConnection("127.0.0.1", model, timeout=60)
    try:
        connection.request("POST", "/apply-template", json.dumps(body), {"content-type": "application/json"})
        response = connection.getresponse()
        text = response.read().decode()
        return None if response.status == 200 else text
    except (OSError, http.client.HTTPException) as error:
        return f"it ended: {error!r}"
