"""Proves that a tool which a server learns while it runs is offered at the next request, and its instructions given."""

import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from conftest import Proxy, config, published
from upstream import call, completion

SERVER = Path(__file__).with_name("growing_server.py")


@pytest.fixture(params=["fastmcp", "python-sdk"])
def growing(request, model_server):
    """A proxy before a server that learns."""
    name = f"growing-{request.param}"
    command = lambda port: [sys.executable, SERVER, port, request.param]  # noqa: E731
    with contextmanager(published)(name, command, "/mcp", "growing") as url:
        with Proxy(f"proxy-{name}", config(model_server.url, {"growing": (url, None)}) + "instructions = true\n") as proxy:
            yield proxy


def ask(proxy, model):
    mcp = {"enabled": True, "servers": ["growing"], "auto_execute_tools": True}
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]
    status, answer = proxy.chat({"model": model.name, "messages": messages, "mcp": mcp})
    assert status == 200, answer


def offered(request):
    return {tool["function"]["name"] for tool in request.json["tools"]}


def test_a_tool_that_is_learnt_is_offered_at_the_next_request(growing, model):
    learns = completion(calls=[call("call_1", "growing__learn", {"name": "juggle"})])
    model.answers(completion("hello"), learns, completion("learnt"), completion("hello again"))
    ask(growing, model)
    assert offered(model.received[0]) == {"growing__learn"}
    own, ours = model.received[0].json["messages"][:2]
    assert own["content"] == "Be brief."
    assert ours["role"] == "system" and ours["content"].endswith("Learn before you ask.")
    # Whoever listens does so by now.
    time.sleep(0.5)

    ask(growing, model)
    time.sleep(0.2)
    ask(growing, model)
    assert [offered(request) for request in model.received[1:]] == [
        {"growing__learn"},
        {"growing__learn"},
        {"growing__learn", "growing__juggle"},
    ]
    assert {request.json["messages"][1]["content"] for request in model.received} == {ours["content"]}
