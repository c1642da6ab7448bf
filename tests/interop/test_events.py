"""Proves that a stream with events (`mcp.events`) is one completion for the clients that people use, also where events come first."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import openai
import pytest

from conftest import NODE, Proxy, config
from upstream import call, completion, streamed, usage

MCP = {"enabled": True, "servers": ["everything"], "auto_execute_tools": True, "on_stream": "execute", "events": True}
ASKED = [{"role": "user", "content": "Greet me and add two and three."}]
ECHO = call("call_1", "everything__echo", {"message": "hello"})
SUM = call("call_2", "everything__get-sum", {"a": 2, "b": 3})
# Adds at once, and greets when somebody approves.
SUMS = streamed(completion("Adding. ", [SUM], used=usage(10, 5, 0, 0)))
GREETS = streamed(completion("May I? ", [ECHO], used=usage(20, 5, 0, 0)))
DONE = streamed(completion("Hello, it is 5.", used=usage(30, 7, 0, 0)))
TOOLS = 'tools = ["get-sum", { name = "echo", policy = "ask_first" }]\n'


@pytest.fixture(scope="module")
def own_proxy(model_server, everything_http):
    proxy = Proxy("events", config(model_server.url, {"everything": (everything_http, None)}) + TOOLS)
    yield proxy
    proxy.stop()


@pytest.fixture
def client(own_proxy, upstream):
    with openai.OpenAI(base_url=own_proxy.url, api_key="key-of-the-caller", timeout=20) as client:
        yield client


def python(client, model, messages, **more):
    """What the helper puts together, and the events."""
    asked = {"model": model.name, "messages": messages, "extra_body": {"mcp": MCP | more}}
    told = []
    with client.chat.completions.stream(**asked, stream_options={"include_usage": True}) as events:
        for event in events:
            told += [event.chunk.mcp] if event.type == "chunk" and getattr(event.chunk, "mcp", None) else []
        answer = events.get_final_completion().to_dict()
    [choice] = answer["choices"]
    told = [event for event in told if "event" in event]
    return {"message": choice["message"], "finish_reason": choice["finish_reason"], "usage": answer["usage"], "events": told}


def node(proxy, model, messages, **more):
    script = shutil.copy(Path(__file__).with_name("client.mjs"), NODE)
    env = {**os.environ, "BASE_URL": proxy.url, "ASKED": json.dumps({"messages": messages, "mcp": more})}
    done = subprocess.run(["node", script, "events", model.name], env=env, capture_output=True, text=True, timeout=40)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def told(answer):
    return [(event["event"], event["round"], event["tool"]) for event in answer["events"]]


@pytest.mark.parametrize("sdk", ["python", "node"])
def test_the_helpers_of_both_sdks_read_over_events_before_and_between_turns(client, own_proxy, model, sdk):
    ask = (lambda *args, **more: python(client, *args, **more)) if sdk == "python" else lambda *args, **more: node(own_proxy, *args, **more)
    model.answers(SUMS, GREETS, DONE)
    first = ask(model, ASKED)
    assert (first["message"]["content"], first["finish_reason"]) == ("Adding. May I? ", "tool_calls")
    assert first["usage"]["total_tokens"] == 40
    assert told(first) == [("call_started", 1, "get-sum"), ("call_finished", 1, "get-sum")]
    [asks] = first["message"]["tool_calls"]
    function = {name: asks["function"][name] for name in ("name", "arguments")}
    turn = {"role": "assistant", "content": first["message"]["content"], "tool_calls": [{"id": asks["id"], "type": "function", "function": function}]}
    second = ask(model, [*ASKED, turn], resume_tool_calls=True)
    assert (second["message"]["content"], second["finish_reason"]) == ("Hello, it is 5.", "stop")
    assert second["message"]["role"] == "assistant"
    assert second["usage"]["total_tokens"] == 37
    assert told(second) == [("call_started", 1, "echo"), ("call_finished", 1, "echo")]


def test_a_loop_that_reads_the_first_choice_of_each_chunk_finds_one(client, model):
    model.answers(SUMS, DONE)
    stream = client.chat.completions.create(model=model.name, messages=ASKED, stream=True, extra_body={"mcp": MCP})
    chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Adding. Hello, it is 5."
    assert len({(chunk.id, chunk.created, chunk.model) for chunk in chunks}) == 1
    events = [chunk.mcp for chunk in chunks if "event" in (getattr(chunk, "mcp", None) or {})]
    assert [event["event"] for event in events] == ["call_started", "call_finished"]
