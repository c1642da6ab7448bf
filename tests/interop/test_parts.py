"""Proves the suite's own parts, without the proxy: where one of these fails, look no further."""

import sys

import openai
import pytest

from conftest import Part
from mcp_direct import Direct
from upstream import call, completion, stream
from wire import elements, members


@pytest.mark.parametrize("server", ["everything_http", "everything_sse"])
def test_server_everything_has_the_tools_that_the_scripts_call(server, request):
    session = Direct(request.getfixturevalue(server))
    assert {"echo", "get-sum"} <= session.tools().keys()
    assert session.call("echo", {"message": "hello"}) == "Echo: hello"
    assert session.call("get-sum", {"a": 2, "b": 3}) == "The sum of 2 and 3 is 5."
    session.close()


@pytest.mark.parametrize("server", ["memory_sse", "memory_http"])
def test_server_memory_has_the_tools_that_the_scripts_call(server, request):
    session = Direct(request.getfixturevalue(server))
    assert {"create_entities", "read_graph"} <= session.tools().keys()
    session.close()


def test_the_scripted_model_answers_the_official_sdk(upstream, model):
    model.answers(
        completion("hello"),
        stream(
            {"role": "assistant", "tool_calls": [{"index": 0, **call("call_1", "echo", {})}]},
            finish_reason="tool_calls",
        ),
    )
    client = openai.OpenAI(base_url=upstream.url, api_key="key-of-the-caller")
    asked = {"model": model.name, "messages": [{"role": "user", "content": "hi"}]}
    assert client.chat.completions.create(**asked).choices[0].message.content == "hello"
    with client.chat.completions.stream(**asked) as events:
        answer = events.get_final_completion()
    assert answer.choices[0].message.tool_calls[0].function.name == "echo"
    assert [received.json["model"] for received in model.received] == [model.name] * 2
    assert model.received[0].header("authorization") == "Bearer key-of-the-caller"


@pytest.mark.parametrize("fault", [lambda: False, lambda: 1 / 0], ids=["late", "broken"])
def test_a_part_that_does_not_get_ready_leaves_no_process(fault):
    part = Part("never-ready", [sys.executable, "-c", "import time; time.sleep(60)"])
    with pytest.raises((AssertionError, ZeroDivisionError)):
        part.ready(fault, 0.2)
    assert part.wait(0) is not None


def test_the_wire_reader_finds_the_bytes_of_a_member():
    raw = b' {"a" : [1.0 , {"b":"]}"}],\n"c":{} }'
    assert members(raw) == {"a": b'[1.0 , {"b":"]}"}]', "c": b"{}"}
    assert elements(members(raw)["a"]) == [b"1.0", b'{"b":"]}"}']
    assert (members(b"{ }"), elements(b"[]")) == ({}, [])
