"""Proves that the official TypeScript SDK works with the proxy as it is: `mcp` among the params, and on the answer."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from conftest import NODE
from upstream import call, completion, stream

ECHO = call("call_1", "everything__echo", {"message": "hello"})


@pytest.fixture
def client(proxy, model):
    """Runs a scenario of `client.mjs` beside the installed SDK, and returns what it prints."""
    script = shutil.copy(Path(__file__).with_name("client.mjs"), NODE)

    def run(scenario):
        command = ["node", script, scenario, model.name]
        env = {**os.environ, "BASE_URL": proxy.url}
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=40)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def test_the_answer_and_its_receipt_are_in_the_sdks_object(client, model):
    model.answers(completion(calls=[ECHO]), completion("It said hello."))
    answer = client("answer")
    assert (answer["content"], answer["usage"]["total_tokens"]) == ("It said hello.", 30)
    assert (answer["mcp"]["rounds"], answer["mcp"]["stopped_by"]) == (1, "final")
    assert [(c["server"], c["tool"]) for c in answer["mcp"]["calls"]] == [("everything", "echo")]
    assert "mcp" not in model.received[0].json


def test_without_auto_execution_the_tool_calls_come_back(client, model):
    model.answers(completion(calls=[ECHO]))
    assert client("offer") == [ECHO]
    assert "everything__echo" in [tool["function"]["name"] for tool in model.received[0].json["tools"]]


def test_a_stream_with_auto_execution_ends_with_the_assembled_tool_calls(client, model):
    function = {"name": "everything__echo", "arguments": '{"message": '}
    model.answers(
        stream(
            {
                "role": "assistant",
                "tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": function}],
            },
            {"tool_calls": [{"index": 0, "function": {"arguments": '"hello"}'}}]},
            finish_reason="tool_calls",
        )
    )
    [tool_call] = client("stream")
    assert (tool_call["id"], tool_call["function"]["name"]) == ("call_1", "everything__echo")
    assert json.loads(tool_call["function"]["arguments"]) == {"message": "hello"}


def test_a_turn_with_the_callers_own_tool_is_handed_back_and_resumed(client, model):
    mixed = [
        call("call_1", "own_clock", {}),
        call("call_2", "everything__echo", {"message": "hello"}),
        call("call_3", "own_clock", {}),
    ]
    model.answers(
        completion("One moment.", mixed, reasoning_details=[{"sig": "abc"}]), completion("Hello, it is noon.")
    )
    answer = client("resume")
    assert answer["content"] == "Hello, it is noon."
    assert [(c["round"], c["id"]) for c in answer["mcp"]["calls"]] == [(1, "call_2")]
    asked, turn, *results = model.received[1].json["messages"]
    assert asked == model.received[0].json["messages"][0]
    assert (turn["content"], turn["tool_calls"], turn["reasoning_details"]) == ("One moment.", mixed, [{"sig": "abc"}])
    assert [(m["tool_call_id"], m["content"]) for m in results] == [
        ("call_1", "noon"),
        ("call_2", "Echo: hello"),
        ("call_3", "noon"),
    ]


def test_a_wrong_request_is_the_sdks_own_error_and_reaches_no_model(client, model):
    assert client("errors") == "both refused"
    assert model.received == []
