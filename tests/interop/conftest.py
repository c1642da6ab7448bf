"""What the interop tests stand on: the scripted model, the published MCP servers, and proxies between them.

Each process gets a free port, is waited for with a request whose answer identifies it, and ends with its fixture.
What it prints is in target/interop/logs, and the proxies' last lines are shown with a failure.
`run` says where the installed parts and the built examples are.
"""

import http.client
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mcp_direct import Direct
from upstream import Upstream

PARTS = Path(os.environ["INTEROP_PARTS"])
EXAMPLES = Path(os.environ["INTEROP_EXAMPLES"])
PROXY = EXAMPLES / "proxy"
NODE = PARTS / "node"
MODULES = NODE / "node_modules"
# A folder each, where several processes share the tests.
LOGS = PARTS / "logs" / os.environ.get("PYTEST_XDIST_WORKER", "")
LOGS.mkdir(parents=True, exist_ok=True)
pytest_plugins = ["oauth_parts", "dashboard_parts", "agent_parts", "client_parts"]
MCP_SERVER = Path(__file__).with_name("mcp_server.py")


class Part:
    """One running process; in a `with` it ends with the block."""

    def __init__(self, name, command, env=None):
        self.name, self.log = name, LOGS / f"{name}.log"
        self._process = subprocess.Popen(
            list(map(str, command)),
            # Kept open: supergateway ends when its input does.
            stdin=subprocess.PIPE,
            stdout=self.log.open("wb"),
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
        )

    def ready(self, probe, seconds=20):
        """Repeats `probe` until it answers with something true; a part that does not get there is stopped."""
        try:
            self._wait_for(probe, seconds)
        except BaseException:
            # Nobody has it yet who would.
            self.stop()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def _wait_for(self, probe, seconds):
        end, last = time.monotonic() + seconds, None
        while time.monotonic() < end:
            if self._process.poll() is not None:
                raise AssertionError(f"{self.name} ended with {self._process.returncode}:\n{self.tail()}")
            try:
                if probe():
                    return
            except (OSError, http.client.HTTPException, AssertionError, KeyError, ValueError, StopIteration) as error:
                last = error
            time.sleep(0.05)
        raise AssertionError(f"{self.name} was not ready in {seconds} s ({last!r}):\n{self.tail()}")

    def terminate(self):
        self._process.send_signal(signal.SIGTERM)

    def wait(self, seconds=10):
        """The exit code."""
        return self._process.wait(seconds)

    def stop(self, seconds=10):
        if self._process.poll() is None:
            self.terminate()
        try:
            self.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self.wait()
        self._process.stdin.close()

    def tail(self, lines=20):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def node_module(path):
    return MODULES / path


class Proxy(Part):
    """`examples/proxy --config`, ready when it lists our servers."""

    def __init__(self, name, config):
        self.port = free_port()
        file = LOGS / f"{name}.toml"
        file.write_text(f'listen = "127.0.0.1:{self.port}"\n' + config)
        self.url = f"http://127.0.0.1:{self.port}/v1"
        super().__init__(name, [PROXY, "--config", file])
        expected = config.count("[[servers]]")
        self.ready(lambda: len(self.get("/v1/mcp/servers")[1]["servers"]) == expected)

    def request(self, method, path, body=None, headers=(), seconds=20):
        """One request over its own connection: the response, still to be read."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)
        connection.request(method, path, body, dict(headers))
        return connection.getresponse()

    def get(self, path):
        """Status and JSON of a GET; the JSON is none where the body is not JSON."""
        response = self.request("GET", path)
        body = response.read()
        is_json = response.headers.get_content_type() == "application/json"
        return response.status, json.loads(body) if is_json else None

    def chat(self, body, headers=()):
        """Status and JSON of a chat completion."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"content-type": "application/json", **dict(headers)}
        response = self.request("POST", "/v1/chat/completions", raw, headers)
        return response.status, json.loads(response.read())


def config(upstream_url, servers):
    """The proxy's TOML, after `listen`, for servers given as name: (url, transport or none)."""
    lines = [f'upstream = "{upstream_url}"', 'allow_egress = ["127.0.0.0/8"]', 'admin_listen = "off"']
    for name, (url, transport) in servers.items():
        lines += ["", "[[servers]]", f'name = "{name}"', f'url = "{url}"']
        lines += [f'transport = "{transport}"'] if transport else []
    return "\n".join(lines) + "\n"


def published(name, command, path, identity, env=lambda port: {}):
    """Starts a published server and waits until it says who it is; yields its URL."""
    port = free_port()
    part = Part(name, command(port), env(port))
    url = f"http://127.0.0.1:{port}{path}"

    def identified():
        session = Direct(url, seconds=5)
        session.close()
        return session.server == identity

    try:
        part.ready(identified)
        yield url
    finally:
        part.stop()


def everything(mode, path):
    script = node_module("@modelcontextprotocol/server-everything/dist/index.js")
    yield from published(
        f"everything-{mode}",
        lambda port: ["node", script, mode],
        path,
        "mcp-servers/everything",
        lambda port: {"PORT": str(port)},
    )


def memory(name, path, file, *options):
    gateway = node_module("supergateway/dist/index.js")
    server = f"node {shlex.quote(str(node_module('@modelcontextprotocol/server-memory/dist/index.js')))}"
    yield from published(
        name,
        lambda port: ["node", gateway, "--stdio", server, "--port", port, *options],
        path,
        "memory-server",
        lambda port: {"MEMORY_FILE_PATH": str(file)},
    )


@pytest.fixture(scope="session")
def everything_http():
    yield from everything("streamableHttp", "/mcp")


@pytest.fixture(scope="session")
def everything_sse():
    yield from everything("sse", "/sse")


@pytest.fixture(scope="session")
def memory_files(tmp_path_factory):
    """Where the two memory servers keep what they were told, by the server's name in the proxy."""
    folder = tmp_path_factory.mktemp("memory")
    return {"memory-sse": folder / "sse.jsonl", "memory-http": folder / "http.jsonl"}


@pytest.fixture(scope="session")
def memory_sse(memory_files):
    yield from memory("memory-sse", "/sse", memory_files["memory-sse"])


@pytest.fixture(scope="session")
def memory_http(memory_files):
    yield from memory("memory-http", "/mcp", memory_files["memory-http"], "--outputTransport", "streamableHttp")


@pytest.fixture(scope="session")
def python_sdk():
    yield from published("python-sdk", lambda port: [sys.executable, MCP_SERVER, port], "/mcp", "python-sdk")


@pytest.fixture(scope="session")
def servers(everything_http, everything_sse, memory_sse, memory_http, python_sdk):
    """All servers as the proxy's configuration names them."""
    return {
        "everything": (everything_http, None),
        "everything-sse": (everything_sse, "sse"),
        "everything-fallback": (everything_sse, "streamable_http"),
        "memory-sse": (memory_sse, "sse"),
        "memory-http": (memory_http, "streamable_http"),
        "python-sdk": (python_sdk, None),
    }


@pytest.fixture(scope="session")
def tools(everything_http):
    """What server-everything itself says it has: tool by name."""
    return Direct(everything_http).tools()


@pytest.fixture(scope="session")
def model_server():
    upstream = Upstream()
    yield upstream
    upstream.close()


@pytest.fixture(scope="session")
def shared_proxy(model_server, servers):
    proxy = Proxy("proxy", config(model_server.url, servers))
    yield proxy
    proxy.stop()


@pytest.fixture
def proxy(shared_proxy, upstream):
    """The proxy in front of the scripted model, with every server."""
    return shared_proxy


@pytest.fixture
def upstream(model_server):
    """The scripted model. What it had to refuse fails the test, also where the client did not notice."""
    model_server.faults.clear()
    yield model_server
    assert model_server.faults == []


@pytest.fixture
def model(request, upstream):
    """A model name of this test's own, with its script; an answer that nobody fetched fails the test."""

    class Model:
        name = request.node.name

        def answers(self, *answers):
            upstream.script(self.name, *answers)

        @property
        def received(self):
            return upstream.received(self.name)

    model = Model()
    model.answers()
    yield model
    assert upstream.unused(model.name) == 0, "the script has answers left"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.failed:
        for name in ("shared_proxy", "own_proxy", "shared_dashboard"):
            if isinstance(part := item.funcargs.get(name), Part):
                report.sections.append((f"end of {part.log.name}", part.tail()))
    return report
