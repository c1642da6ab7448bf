"""What the tests of agent frameworks stand on: a strict model, an MCP server that counts, and programs of frameworks.

A framework runs in a program of its own (`drivers/`), with its own agent and a tool of its own, `weather`, which asks
this process. So its runs are counted too, and something can happen in the middle: the proxy may restart.
"""

import json
import secrets
import subprocess
import sys
import threading
from collections import Counter
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from alternating import Alternating
from conftest import LOGS, PROXY, Part, Proxy, config, free_port
from mcp_direct import Direct
from strict_upstream import StrictUpstream, Turn, failure

HERE = Path(__file__).parent
MCP = {"enabled": True, "servers": ["tracker"], "auto_execute_tools": True, "on_stream": "execute"}


class OwnTool:
    """What the drivers' own tool `weather` asks. `ran` counts by city; what `meanwhile` has for a city happens first."""

    def __init__(self):
        self.ran, self.meanwhile = Counter(), {}
        own = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                [city] = parse_qs(urlsplit(self.path).query)["city"]
                body = own.answer(city).encode()
                self.send_response(200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/weather"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def answer(self, city):
        self.ran[city] += 1
        self.meanwhile.pop(city, lambda: None)()
        return f"It is sunny in {city}."

    def close(self):
        self._server.shutdown()
        self._server.server_close()


class Driver:
    """A program that takes tasks and gives results, a line of JSON each."""

    def __init__(self, name, command, env=None):
        self.log = LOGS / f"driver-{name}.log"
        self._process = subprocess.Popen(
            list(map(str, command)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log.open("wb"),
            env=env,
            text=True,
        )

    def run(self, **task):
        """What the framework's program made of a task: `{"text": …}`, or `{"error": …}`."""
        self._process.stdin.write(json.dumps(task) + "\n")
        self._process.stdin.flush()
        try:
            line = self._process.stdout.readline()
        except BaseException:
            # A late answer would be taken for that of the next task.
            self._process.kill()
            self._process.wait()
            raise
        assert line, f"the driver ended; see {self.log}"
        return json.loads(line)

    def has_ended(self):
        return self._process.poll() is not None

    def stop(self):
        # It has nothing to finish, and some frameworks take seconds for that.
        self._process.kill()
        self._process.communicate()


class Restartable(Proxy):
    """A proxy that comes back on its own port and database."""

    def restart(self):
        self.stop()
        Part.__init__(self, "proxy-agents-again", [PROXY, "--config", LOGS / "proxy-agents.toml"])
        self.ready(lambda: self.get("/readyz")[0] == 200)


class Scene:
    """One conversation: a model with its script, and titles and cities that are nobody else's.

    `own_name` is the framework's tool as the model knows it; `end` makes the turn that ends the conversation.
    """

    def __init__(self, strict, tracker, own, proxy, replicas=None):
        self.strict, self.tracker, self.own, self.proxy = strict, tracker, own, proxy
        # Gives two proxies on one database, in place of `proxy`.
        self.replicas = replicas
        self.token = secrets.token_hex(4)
        # Some frameworks know models by how their names begin.
        self.model = f"gpt-4o-{self.token}"
        self.turns, self.own_name, self.end = [], "weather", Turn

    def ours(self, number=1, tool="create_issue", **arguments):
        """A call of the MCP server's."""
        return f"tracker__{tool}", {"title": f"{self.token}-issue-{number}", **arguments}

    def weather(self, number=1):
        """A call of the framework's own tool."""
        return self.own_name, {"city": f"{self.token}-city-{number}"}

    def plays(self, *turns, other=None):
        self.turns = turns
        self.strict.plays(self.model, *turns, other=other)

    def task(self, **more):
        """What a driver is told."""
        return {"base_url": self.proxy.url, "model": self.model, "own": self.own.url, "mcp": MCP, **more}

    def meanwhile(self, action, number=1):
        """Has something happen while the framework runs its own tool."""
        self.own.meanwhile[f"{self.token}-city-{number}"] = action

    def asked(self):
        """The requests that the model got."""
        return self.strict.received(self.model)

    def ran(self):
        """How often each call of this conversation ran, the framework's own beside those of the server."""
        of_server = {call: n for call, n in self.tracker.ran().items() if self.token in call}
        return of_server | {f"weather {city}": n for city, n in self.own.ran.items() if self.token in city}

    def wrong(self):
        """What the model had to refuse, and what it had said otherwise, in this conversation."""
        return [[w for w in wrong if self.token in str(w)] for wrong in (self.strict.faults, self.strict.altered)]

    def judge(self, text, never=()):
        """All calls but some ran once, the model was sent nothing wrong, and what ran before the end is in the text."""
        expected = {self._line(call): 1 for turn in self.turns for call in turn.calls if self._counts(call, never)}
        assert (self.ran(), *self.wrong()) == (expected, [], [])
        told = [call for turn in self.turns[:-1] for call in turn.calls if self._counts(call, never)]
        assert [call for call in told if self._line(call).split()[1] not in text] == [], text

    def _counts(self, call, never):
        return isinstance(call[1], dict) and call[1] and call not in never

    def _line(self, call):
        name, arguments = call
        kind = "weather" if name == self.own_name else name.removeprefix("tracker__")
        return f"{kind} {next(iter(arguments.values()))}"


class Tracker(Part):
    """The MCP server that counts."""

    def __init__(self):
        port = free_port()
        self.url = f"http://127.0.0.1:{port}/mcp"
        super().__init__("tracker", [sys.executable, HERE / "tracker_server.py", port])
        self.ready(lambda: Direct(self.url, seconds=5).server == "tracker", 60)

    def ran(self):
        lines = self.log.read_text().splitlines()
        return Counter(line.removeprefix("ran ") for line in lines if line.startswith("ran "))


@pytest.fixture(scope="session")
def tracker():
    part = Tracker()
    yield part
    part.stop()


@pytest.fixture(scope="session")
def strict_server():
    upstream = StrictUpstream()
    yield upstream
    upstream.close()


@pytest.fixture(scope="session")
def own_tool():
    tool = OwnTool()
    yield tool
    tool.close()


@pytest.fixture(scope="session")
def agent_proxy(strict_server, tracker, tmp_path_factory):
    """A proxy that keeps exchanges in SQLite."""
    folder = tmp_path_factory.mktemp("agents")
    subprocess.run([PROXY, "--generate-key", folder / "keys"], check=True, capture_output=True)
    keeping = f'database = "sqlite://{folder}/proxy.db"\nkey_file = "{folder}/keys"\n'
    proxy = Restartable("proxy-agents", keeping + config(strict_server.url, {"tracker": (tracker.url, None)}))
    yield proxy
    proxy.stop()


@pytest.fixture(scope="session")
def replicated(strict_server, tracker, tmp_path_factory):
    """Two proxies that keep exchanges in PostgreSQL."""
    replicas = Alternating(tmp_path_factory.mktemp("replicated"), strict_server.url, {"tracker": (tracker.url, None)})
    yield replicas
    replicas.close()


@pytest.fixture
def scene(strict_server, tracker, own_tool, agent_proxy, request):
    # They take seconds to start, and most scenes do without.
    replicas = partial(request.getfixturevalue, "replicated")
    return Scene(strict_server, tracker, own_tool, agent_proxy, replicas)


@pytest.fixture(scope="session")
def drivers():
    """Starts a driver once: drivers(name, command)."""
    running = {}

    def driver(name, command, env=None):
        if name not in running or running[name].has_ended():
            running[name] = Driver(name, command, env)
        return running[name]

    yield driver
    for part in running.values():
        part.stop()


# The scripts that each framework plays. Each gives a scene what happens in it, and what the driver is told beside.


def ask(scene):
    scene.plays(Turn([scene.ours()]), scene.end())


def mix(scene):
    scene.plays(Turn([scene.ours(), scene.weather()], "Let me see."), scene.end())


def seq(scene):
    scene.plays(Turn([scene.ours(1)]), Turn([scene.weather()]), Turn([scene.ours(2)]), scene.end())


def both(scene):
    """A second question after turns of all kinds."""
    first = [Turn([scene.ours(1)]), Turn([scene.weather(1)]), Turn([scene.ours(2)]), Turn(question=1)]
    scene.plays(*first, Turn([scene.ours(3), scene.weather(2)]), scene.end())


def handoff(scene):
    first = [Turn([scene.ours(1), ("transfer_to_clerk", {})]), Turn([scene.weather()])]
    scene.plays(*first, Turn([scene.ours(2)]), scene.end())


def seq_and_mix(scene):
    mixed = [scene.ours(2), scene.weather(2)]
    scene.plays(Turn([scene.ours(1)]), Turn([scene.weather(1)]), Turn(mixed), scene.end())


def restart(scene):
    """Another proxy on the same database from the first result of the framework's tool on."""
    scene.meanwhile(scene.proxy.restart)
    seq_and_mix(scene)


def replicas(scene):
    """Each request comes to another replica than the one before."""
    scene.proxy = scene.replicas()
    seq_and_mix(scene)


def failing(*failures):
    def case(scene):
        """The model's service fails once in the turn after a tool."""
        scene.plays(Turn([scene.ours()]), scene.end(fails=list(failures)))

    return case


def failing_for_long(*failures):
    def case(scene):
        """The model's service fails after a tool as often as the layer asks; the user then asks the same again."""
        return failing(*failures)(scene) or {"again": True}

    return case


def failing_mix(scene):
    """The model's service fails in the turn after tools of both, and says when to come again."""
    scene.plays(Turn([scene.weather(), scene.ours()]), scene.end(fails=[failure(429, after=1)]))


def timeout(scene):
    """The client gives up while a tool runs; it or its user asks the same again."""
    scene.plays(Turn([scene.ours(tool="slow", seconds=3)]), scene.end())
    return {"again": True, "timeout": 2}


def timeout_elsewhere(scene):
    """`timeout`, with another replica for what is asked again."""
    scene.proxy = scene.replicas()
    return timeout(scene)


def timeout_mix(scene):
    """The client gives up while a tool runs that waited for its own, and asks again by itself, another replica."""
    scene.proxy = scene.replicas()
    scene.plays(Turn([scene.ours(tool="slow", seconds=3), scene.weather()]), scene.end())
    return {"timeout": 2}


ALONE = {
    "ask": ask,
    "500": failing(failure(500)),
    "429": failing(failure(429)),
    "429-soon": failing(failure(429, after=1)),
    # Longer than the layer waits.
    "429-late": failing_for_long(failure(429, after=60)),
    "down": failing_for_long(*[failure(500)] * 3),
    "timeout": timeout,
    "timeout-elsewhere": timeout_elsewhere,
}
WITH_OWN = {"mix": mix, "seq": seq, "restart": restart, "replicas": replicas, "429-mix": failing_mix}
CASES = ALONE | WITH_OWN
