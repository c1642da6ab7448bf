"""Proves with published servers that a call may take as long as there is progress, and that tasks run."""

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product

import pytest

from catalogue import FASTMCP
from conftest import Proxy, config, published
from upstream import call, completion

# Five servers begin, and all calls wait together, before the first test looks at one.
pytestmark = pytest.mark.timeout(120)

# The longest silence of a call, in seconds.
SILENCE = 2


def fastmcp(form, path):
    command = lambda port: [sys.executable, FASTMCP, port, form]  # noqa: E731
    yield from published(f"long-fastmcp-{form}", command, path, "fastmcp")


@pytest.fixture(scope="module")
def fastmcp_http():
    yield from fastmcp("http", "/mcp")


@pytest.fixture(scope="module")
def fastmcp_stateless():
    yield from fastmcp("stateless", "/mcp")


@pytest.fixture(scope="module")
def fastmcp_sse():
    yield from fastmcp("sse", "/sse")


@pytest.fixture(scope="module")
def own_proxy(model_server, everything_http, everything_sse, fastmcp_http, fastmcp_stateless, fastmcp_sse):
    servers = {
        "everything": (everything_http, None),
        "everything-sse": (everything_sse, "sse"),
        "fastmcp": (fastmcp_http, None),
        "fastmcp-stateless": (fastmcp_stateless, None),
        "fastmcp-sse": (fastmcp_sse, "sse"),
    }
    limits = f"\n[limits]\ncall = {SILENCE}\n"
    proxy = Proxy("long-calls", config(model_server.url, servers) + limits)
    yield proxy
    proxy.stop()


@dataclass
class Ended:
    """One request whose model makes one call: whether that failed, what the model was told, and the seconds."""

    is_error: bool
    told: str
    seconds: float
    offered: set


LONG = {
    "everything": ("trigger-long-running-operation", {"duration": 5}, "operation completed"),
    "everything-sse": ("trigger-long-running-operation", {"duration": 5}, "operation completed"),
    "fastmcp": ("work", {"seconds": 5}, "worked for 5"),
    "fastmcp-stateless": ("work", {"seconds": 5}, "worked for 5"),
    "fastmcp-sse": ("work", {"seconds": 5}, "worked for 5"),
}
WITH_TASKS = ["everything", "everything-sse"]


def rows():
    """Each call by its name: the server, the tool, the arguments."""
    for server, (tool, arguments, _) in LONG.items():
        yield f"{server} with progress", (server, tool, {**arguments, "steps": 10})
        yield f"{server} without", (server, tool, {**arguments, "steps": 1})
    for server, ambiguous in product(WITH_TASKS, [False, True]):
        yield f"{server} as a task {ambiguous}", (server, "simulate-research-query", {"topic": "tea", "ambiguous": ambiguous})


@pytest.fixture(scope="module")
def ended(own_proxy, model_server):
    """What became of each call. They wait, all together, and not one after the other."""
    model_server.faults.clear()

    def request(name, server, tool, arguments):
        model_server.script(name, completion(calls=[call("call_1", f"{server}__{tool}", arguments)]), completion("done"))
        mcp = {"enabled": True, "servers": [server], "auto_execute_tools": True}
        began = time.monotonic()
        status, answer = own_proxy.chat({"model": name, "messages": [], "mcp": mcp})
        seconds = time.monotonic() - began
        assert status == 200, answer
        [receipt] = answer["mcp"]["calls"]
        first, last = (received.json for received in model_server.received(name))
        [told] = [m["content"] for m in last["messages"] if m["role"] == "tool"]
        return Ended(receipt["is_error"], told, seconds, {tool["function"]["name"] for tool in first["tools"]})

    with ThreadPoolExecutor(max_workers=32) as threads:
        running = {name: threads.submit(request, name, *row) for name, row in rows()}
        yield lambda name: running[name].result()
    assert model_server.faults == []


@pytest.mark.parametrize("server", LONG)
def test_a_call_with_progress_takes_longer_than_a_silence_may(server, ended):
    ran = ended(f"{server} with progress")
    assert not ran.is_error and LONG[server][2] in ran.told, ran
    assert ran.seconds > 2 * SILENCE


@pytest.mark.parametrize("server", LONG)
def test_one_without_is_cut_and_the_model_is_told(server, ended):
    ran = ended(f"{server} without")
    assert ran.is_error and f"within {SILENCE}s" in ran.told, ran
    # Before the tool would have ended; how soon, tests with a clock of their own tell.
    assert SILENCE <= ran.seconds < 5


@pytest.mark.parametrize("server", WITH_TASKS)
@pytest.mark.parametrize("ambiguous", [False, True])
def test_a_tool_that_can_only_be_called_as_a_task_is_offered_and_runs(server, ambiguous, ended):
    ran = ended(f"{server} as a task {ambiguous}")
    assert not ran.is_error and "# Research Report: tea" in ran.told, ran
    # Four stages of a second each.
    assert ran.seconds > 2 * SILENCE - 0.5
    assert f"{server}__simulate-research-query" in ran.offered
