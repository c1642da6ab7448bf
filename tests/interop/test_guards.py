"""Proves that a guard with presidio-analyzer masks what a published server says, and that nothing passes without it."""

import json
import os
import urllib.request
from pathlib import Path

import pytest

from conftest import Part, Proxy, config, free_port
from upstream import call, completion

SERVERS = os.environ.get("INTEROP_SERVERS")
pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.skipif(not SERVERS, reason="presidio-analyzer is installed with --all"),
]
SECRET = "a secret of the guard and the gateway"
CARD = "4111 1111 1111 1111"
SAID = f"Please charge the card {CARD} of Barack Obama for order 4711."


@pytest.fixture(scope="module")
def guard():
    port = free_port()
    command = [Path(SERVERS) / "venv-guards/bin/python", Path(__file__).parent / "servers/guard_server.py", port]
    url = f"http://127.0.0.1:{port}/"
    with Part("guard", command, {"GUARD_SECRET": SECRET}) as part:
        part.ready(lambda: json.load(urllib.request.urlopen(url))["masks"] == ["CREDIT_CARD", "PERSON"], 60)
        yield url


def guarded(name, model_server, everything_http, url, secret, monkeypatch):
    monkeypatch.setenv("GUARD_SECRET_HERE", secret)
    guards = f"""
[[guards]]
name = "presidio"
url = "{url}"
tools = ["everything__*"]
before = false
after = true
timeout_ms = 10000
secret_env = "GUARD_SECRET_HERE"
"""
    return Proxy(name, config(model_server.url, {"everything": (everything_http, None)}) + guards)


def told(proxy, model, message):
    """What the model is told by the tool `echo`."""
    model.answers(
        completion(calls=[call("call_0", "everything__echo", {"message": message})]), completion("done")
    )
    mcp = {"enabled": True, "servers": ["everything"], "auto_execute_tools": True}
    messages = [{"role": "user", "content": "look"}]
    status, answer = proxy.chat({"model": model.name, "messages": messages, "mcp": mcp})
    assert status == 200, answer
    [result] = [said for said in model.received[-1].json["messages"] if said["role"] == "tool"]
    return result["content"]


def test_a_name_and_a_card_number_are_masked(guard, model_server, everything_http, model, monkeypatch):
    with guarded("guarded", model_server, everything_http, guard, SECRET, monkeypatch) as proxy:
        masked = "Please charge the card <CREDIT_CARD> of <PERSON> for order 4711."
        assert told(proxy, model, SAID) == f"Echo: {masked}"
        assert told(proxy, model, "nobody is named here") == "Echo: nobody is named here"


@pytest.mark.parametrize("fault", ["another secret", "nobody listens"])
def test_nothing_passes_without_the_guard(fault, guard, model_server, everything_http, model, monkeypatch):
    url = f"http://127.0.0.1:{free_port()}/" if fault == "nobody listens" else guard
    secret = "another" if fault == "another secret" else SECRET
    with guarded("unguarded", model_server, everything_http, url, secret, monkeypatch) as proxy:
        said = told(proxy, model, SAID)
        assert CARD not in said and "Obama" not in said
        assert said.startswith("Error: the tool has run, but its result is withheld")
        logged = proxy.log.read_text()
        assert "a guard has failed" in logged and SECRET not in logged and CARD not in logged
