"""Proves that what is not ours passes through: byte for byte, and chunk by chunk as it comes."""

import json
import time
from itertools import pairwise

import pytest

from upstream import Answer, completion, stream

JSON = {"content-type": "application/json"}

# Spelt as no serializer would: spaces, escapes, a member twice, and "mcp" where it is not a member of ours.
STRANGE = b' {"model":"%s" ,"x":1.0e+2,  "x":"\\u006dcp", "nested": {"mcp": {"enabled": true}},\r\n\t"messages":[]}\n'


def test_a_request_without_mcp_reaches_the_model_byte_for_byte(proxy, model):
    answer = b'{"choices" : [ ],\n "x": 1.10}'
    model.answers(Answer(answer))
    body = STRANGE % model.name.encode()
    response = proxy.request("POST", "/v1/chat/completions", body, {**JSON, "x-team": "blue"})
    assert (response.status, response.read()) == (200, answer)
    assert response.headers["x-request-id"] == "scripted-1"
    [received] = model.received
    assert received.body == body
    assert received.header("x-team") == "blue"


def test_mcp_that_is_not_enabled_is_the_only_thing_removed(proxy, model):
    model.answers(completion("hello"))
    plain = json.dumps({"model": model.name, "messages": [], "x": 1.0}).encode()
    status, answer = proxy.chat(plain.replace(b'"messages"', b'"mcp": {"enabled": false}, "messages"'))
    assert (status, "mcp" in answer) == (200, False)
    assert b"mcp" not in model.received[0].body.replace(model.name.encode(), b"")
    assert model.received[0].json == json.loads(plain)


@pytest.mark.parametrize("status", [401, 429, 500])
def test_the_models_own_error_passes_through(status, proxy, model):
    error = b'{"error":  {"message": "from the model", "code": "own_code"}}'
    model.answers(Answer(error, status=status))
    response = proxy.request("POST", "/v1/chat/completions", json.dumps({"model": model.name}).encode(), JSON)
    assert (response.status, response.read()) == (status, error)


def test_a_stream_is_not_buffered(proxy, model):
    deltas = [{"role": "assistant", "content": "one"}, {"content": " two"}, {"content": " three"}]
    scripted = stream(*deltas, finish_reason="stop", pause=0.3)
    model.answers(scripted)
    body = json.dumps({"model": model.name, "stream": True, "messages": []}).encode()
    response = proxy.request("POST", "/v1/chat/completions", body, JSON)
    assert response.headers.get_content_type() == "text/event-stream"
    came, raw = [], b""
    for line in response:
        raw += line
        if line.startswith(b"data:"):
            came.append(time.monotonic())
    assert raw == b"".join(scripted.chunks)
    gaps = [later - earlier for earlier, later in pairwise(came)]
    assert len(gaps) == 4 and min(gaps) > 0.1, gaps
