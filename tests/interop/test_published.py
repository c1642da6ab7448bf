"""Proves that published servers work as their users run them: listed, portable, called, and again after a restart."""

import json
import time

import pytest

import catalogue
import portable
from conftest import Proxy, config
from upstream import Answer, call, completion

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    yield from catalogue.started(tmp_path_factory.mktemp("published"))


@pytest.fixture(scope="module")
def own_proxy(model_server, running):
    """One proxy with all of them, which is never restarted."""
    servers = {name: (server.url, server.transport) for name, server in running.items()}
    proxy = Proxy("published", config(model_server.url, servers))
    yield proxy
    proxy.stop()


@pytest.fixture
def ask(own_proxy, upstream, model):
    """One request for one server, whose model makes the given turns: the receipt, and the texts of the tools."""

    def request(name, *turns):
        model.answers(*turns, completion("done"))
        mcp = {"enabled": True, "servers": [name], "auto_execute_tools": True}
        status, answer = own_proxy.chat({"model": model.name, "messages": [], "mcp": mcp})
        assert status == 200, answer
        messages = model.received[-1].json["messages"]
        return answer["mcp"], [message["content"] for message in messages if message["role"] == "tool"]

    return request


def the_call(server, id):
    """One call of a server as its row says."""
    row = server.row
    filled = {k: v.format(folder=server.folder) if isinstance(v, str) else v for k, v in row.arguments.items()}
    return completion(calls=[call(id, f"{row.name}__{row.tool}", filled)])


def after(action, answer):
    """The answer, given when `action` is done."""
    return Answer(json.dumps(answer).encode(), before=action)


@pytest.mark.parametrize("name", [row.name for row in catalogue.ROWS])
def test_a_published_server_is_offered_called_and_called_again_after_each_restart(name, running, ask, model):
    server = running[name]
    row = server.row
    assert server.late is None

    def check(answered, count):
        receipt, texts = answered
        assert [(c["tool"], c["is_error"]) for c in receipt["calls"]] == [(row.tool, row.is_error)] * count, texts
        assert all(row.says in text for text in texts), texts

    # The server goes away while the model thinks about its second turn, and while nobody asks.
    turns = [the_call(server, "call_1"), after(server.restart, the_call(server, "call_2"))]
    check(ask(name, *turns), 2)
    offered = model.received[0].json["tools"]
    assert portable.faults(offered) == []
    assert {tool["function"]["name"] for tool in offered} == {f"{name}__{tool}" for tool in server.listed()}

    server.restart()
    began = time.monotonic()
    check(ask(name, the_call(server, "call_1")), 1)
    assert time.monotonic() - began < 30
