"""Two proxies on one PostgreSQL behind a real nginx, as the guide describes them."""

import json
import subprocess
import sys
from collections import Counter
from http.client import HTTPConnection
from pathlib import Path

from conftest import PROXY, Part, free_port
from mcp_direct import Direct
from nginx import Nginx
from postgres import Postgres
from test_readme import block
from upstream import Answer, Upstream, call, completion, stream

TOKEN = "an-operators-token-of-length"
COUNTED = Path(__file__).with_name("counted_server.py")


class Working(Upstream):
    """A model that has `counted__work` called, as often as the first message says."""

    def take(self, received):
        asked = received.json
        wanted = json.loads(asked["messages"][0]["content"])
        done = sum(message["role"] == "tool" for message in asked["messages"])
        if done == wanted["rounds"]:
            text = f"{wanted['id']} is done"
            if asked.get("stream"):
                return stream({"role": "assistant"}, *({"content": word} for word in text.split()), finish_reason="stop")
            return whole(completion(text))
        arguments = {"id": f"{wanted['id']}/{done}", "seconds": wanted["seconds"]}
        ours = call(f"call_{done}", "counted__work", arguments)
        if asked.get("stream"):
            return stream({"role": "assistant", "tool_calls": [{"index": 0, **ours}]}, finish_reason="tool_calls")
        return whole(completion(calls=[ours]))


def whole(answer):
    return Answer(json.dumps(answer).encode())


class Replica:
    """One of the proxies; it comes back on its own ports."""

    def __init__(self, name, ports, file):
        self.name, self.ports, self._file, self._starts = name, ports, file, 0
        self.start()

    def start(self):
        self._starts += 1
        listen, admin = (f"127.0.0.1:{port}" for port in self.ports)
        flags = ["--config", self._file, "--listen", listen, "--admin-listen", admin]
        self.part = Part(f"{self.name}-{self._starts}", [PROXY, *flags], {"ADMIN_TOKEN": TOKEN})
        self.part.ready(lambda: ask(self.ports[0], "GET", "/readyz")[0] == 200)

    def stop(self, seconds):
        """Ends it as a supervisor does, and waits for what it has to finish; the exit code."""
        self.part.terminate()
        return self.part.wait(seconds)


class Replicas:
    """All of it. `port` is where callers come, `operators` where operators do."""

    def __init__(self, folder):
        self.parts, self.replicas = [], []
        try:
            self._start(folder)
        except BaseException:
            self.close()
            raise

    def _start(self, folder):
        self.model = Working()
        self.postgres = self._part(Postgres())
        counted, self.port, self.operators = (free_port() for _ in range(3))
        command = [sys.executable, COUNTED, counted]
        self.counted = self._part(Part("counted", command))
        self.counted.ready(lambda: Direct(f"http://127.0.0.1:{counted}/mcp", seconds=5).server == "counted")
        keys, file = folder / "keys", folder / "replicas.toml"
        subprocess.run([PROXY, "--generate-key", keys], check=True, capture_output=True)
        file.write_text(
            f"""
            upstream = "{self.model.url}"
            database = "{self.postgres.url}"
            key_file = "{keys}"
            streaming = "execute"
            allow_egress = ["127.0.0.0/8", "localhost"]
            admin_token_env = "ADMIN_TOKEN"
            public_url = "http://127.0.0.1:{self.operators}"
            [limits]
            grace = 200         # a loop that runs may end
            [[servers]]
            name = "counted"
            url = "http://127.0.0.1:{counted}/mcp"
            """
        )
        ports = [(free_port(), free_port()) for _ in range(2)]
        for name, ports_of in zip("ab", ports):
            self.replicas.append(Replica(f"replica-{name}", ports_of, file))
        (a, admin_a), (b, admin_b) = ports
        written = block("nginx", "upstream replicas")
        for port, meant in {8001: a, 8002: b, 8801: admin_a, 8802: admin_b}.items():
            assert f"127.0.0.1:{port}" in written
            written = written.replace(f"127.0.0.1:{port}", f"127.0.0.1:{meant}")
        for listen, meant in {"listen 80;": self.port, "listen 8788;": self.operators}.items():
            assert listen in written
            written = written.replace(listen, f"listen 127.0.0.1:{meant};")
        self.nginx = self._part(Nginx("nginx", folder, written, self.port))

    def _part(self, part):
        self.parts.append(part)
        return part

    def chat(self, id, rounds=1, seconds=0.0, streamed=False):
        """The answer's text and the receipt of a loop that runs so many calls, each for so long."""
        wanted = json.dumps({"id": id, "rounds": rounds, "seconds": seconds})
        mcp = {"enabled": True, "servers": ["counted"], "auto_execute_tools": True}
        body = {"model": "working", "messages": [{"role": "user", "content": wanted}], "mcp": mcp}
        if streamed:
            body["stream"] = True
        status, raw = ask(self.port, "POST", "/v1/chat/completions", body, seconds=300)
        assert status == 200, (status, raw)
        if not streamed:
            answer = json.loads(raw)
            return answer["choices"][0]["message"]["content"], answer["mcp"]
        *events, end = [line.removeprefix(b"data: ") for line in raw.split(b"\n") if line.startswith(b"data: ")]
        assert end == b"[DONE]", raw
        chunks = [json.loads(event) for event in events]
        deltas = (choice["delta"] for chunk in chunks for choice in chunk["choices"])
        words = [delta["content"] for delta in deltas if delta.get("content")]
        return " ".join(words), chunks[-1]["mcp"]

    def ran(self):
        """How often each call was run."""
        lines = self.counted.log.read_text().splitlines()
        return Counter(line.removeprefix("ran ") for line in lines if line.startswith("ran "))

    def close(self):
        for part in [*(replica.part for replica in self.replicas), *reversed(self.parts)]:
            part.stop()
        self.model.close()


def ask(port, method, path, body=None, headers=(), seconds=20):
    """Status and body of one request over a connection of its own."""
    connection = HTTPConnection("127.0.0.1", port, timeout=seconds)
    try:
        sent = None if body is None else json.dumps(body)
        connection.request(method, path, sent, {"content-type": "application/json", **dict(headers)})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()
