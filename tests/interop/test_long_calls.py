"""Proves with published servers that a call may take as long as there is progress, and that tasks run."""

import sys
import time

import pytest

from catalogue import FASTMCP
from conftest import Proxy, config, published
from upstream import call, completion

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


@pytest.fixture
def ask(own_proxy, model):
    """One request whose model makes one call: whether it failed, what the model was told, and the seconds."""

    def request(server, tool, arguments):
        model.answers(completion(calls=[call("call_1", f"{server}__{tool}", arguments)]), completion("done"))
        mcp = {"enabled": True, "servers": [server], "auto_execute_tools": True}
        began = time.monotonic()
        status, answer = own_proxy.chat({"model": model.name, "messages": [], "mcp": mcp})
        assert status == 200, answer
        [receipt] = answer["mcp"]["calls"]
        [told] = [m["content"] for m in model.received[-1].json["messages"] if m["role"] == "tool"]
        return receipt["is_error"], told, time.monotonic() - began

    return request


LONG = [
    ("everything", "trigger-long-running-operation", {"duration": 5, "steps": 10}, "operation completed"),
    ("everything-sse", "trigger-long-running-operation", {"duration": 5, "steps": 10}, "operation completed"),
    ("fastmcp", "work", {"seconds": 5, "steps": 10}, "worked for 5"),
    ("fastmcp-stateless", "work", {"seconds": 5, "steps": 10}, "worked for 5"),
    ("fastmcp-sse", "work", {"seconds": 5, "steps": 10}, "worked for 5"),
]


@pytest.mark.parametrize(("server", "tool", "arguments", "says"), LONG, ids=[row[0] for row in LONG])
def test_a_call_with_progress_takes_longer_than_a_silence_may(server, tool, arguments, says, ask):
    is_error, told, seconds = ask(server, tool, arguments)
    assert not is_error and says in told, told
    assert seconds > 2 * SILENCE


@pytest.mark.parametrize(("server", "tool", "arguments", "says"), LONG, ids=[row[0] for row in LONG])
def test_one_without_is_cut_and_the_model_is_told(server, tool, arguments, says, ask):
    is_error, told, seconds = ask(server, tool, {**arguments, "steps": 1})
    assert is_error and f"within {SILENCE}s" in told, told
    assert SILENCE <= seconds < SILENCE + 1


@pytest.mark.parametrize("server", ["everything", "everything-sse"])
@pytest.mark.parametrize("ambiguous", [False, True])
def test_a_tool_that_can_only_be_called_as_a_task_is_offered_and_runs(server, ambiguous, ask, model):
    arguments = {"topic": "tea", "ambiguous": ambiguous}
    is_error, told, seconds = ask(server, "simulate-research-query", arguments)
    assert not is_error and "# Research Report: tea" in told, told
    # Four stages of a second each.
    assert seconds > 2 * SILENCE - 0.5
    offered = {tool["function"]["name"] for tool in model.received[0].json["tools"]}
    assert f"{server}__simulate-research-query" in offered
