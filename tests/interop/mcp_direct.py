"""The smallest MCP client that can ask a server who it is, list its tools and call one.

It goes straight to the published servers, past the proxy: to know that they are ready, and what they really answer.
"""

import http.client
import itertools
import json
from urllib.parse import urlsplit

HEADERS = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
HELLO = {
    "protocolVersion": "2025-06-18",
    "capabilities": {},
    "clientInfo": {"name": "interop", "version": "1"},
}


class Direct:
    """One session with the server at `url`, over the transport that its path names (`/mcp` or `/sse`)."""

    def __init__(self, url, seconds=10, token=None):
        self._url, self._seconds = urlsplit(url), seconds
        self._headers = {**HEADERS, **({"authorization": f"Bearer {token}"} if token else {})}
        self._ids = (f"direct-{n}" for n in itertools.count(1))
        self._session, self._events = {}, None
        self._post_to = self._url.path
        if self._url.path.endswith("/sse"):
            self._open_stream()
        self.server = self.request("initialize", HELLO)["serverInfo"]["name"]
        self._post({"jsonrpc": "2.0", "method": "notifications/initialized"}).read()

    def tools(self):
        return {tool["name"]: tool for tool in self.request("tools/list", {})["tools"]}

    def call(self, name, arguments):
        """The text of a tool's answer."""
        return "".join(part["text"] for part in self.content(name, arguments))

    def content(self, name, arguments):
        """The blocks of a tool's answer."""
        return self.request("tools/call", {"name": name, "arguments": arguments})["content"]

    def request(self, method, params):
        id = next(self._ids)
        response = self._post({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
        assert response.status in (200, 202), f"{method}: HTTP {response.status}"
        if session := response.headers["mcp-session-id"]:
            self._session = {"mcp-session-id": session}
        if self._events is not None:
            response.read()
            messages = (json.loads(data) for event, data in self._events if event == "message")
        elif response.headers.get_content_type() == "text/event-stream":
            messages = (json.loads(data) for _, data in _events(response) if data.strip())
        else:
            messages = iter([json.load(response)])
        return next(m for m in messages if m.get("id") == id)["result"]

    def close(self):
        if self._events is not None:
            self._stream.close()

    def _connect(self):
        return http.client.HTTPConnection(self._url.hostname, self._url.port, timeout=self._seconds)

    def _post(self, message):
        connection = self._connect()
        connection.request("POST", self._post_to, json.dumps(message), {**self._headers, **self._session})
        return connection.getresponse()

    def _open_stream(self):
        connection = self._connect()
        connection.request("GET", self._url.path, headers={"accept": "text/event-stream"})
        self._stream = connection.getresponse()
        self._events = _events(self._stream)
        event, self._post_to = next(self._events)
        assert event == "endpoint", event


def _events(lines):
    """The `(event, data)` pairs of an event stream."""
    event, data = "message", []
    for line in lines:
        name, _, value = line.decode().rstrip("\r\n").partition(":")
        if name == "event":
            event = value.strip()
        elif name == "data":
            data.append(value.removeprefix(" "))
        elif not name and data:
            yield event, "\n".join(data)
            event, data = "message", []
