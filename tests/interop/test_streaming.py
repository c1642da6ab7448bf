"""Proves that the streamed loop (`--streaming execute`) is one completion for the clients that people use."""

import contextlib
import json
import os
import shutil
import subprocess
import threading
import time
from itertools import pairwise
from pathlib import Path

import openai
import pytest

from conftest import NODE, Proxy, config
from upstream import call, completion, stream, streamed, usage

MCP = {"enabled": True, "servers": ["everything"], "auto_execute_tools": True}
ASKED = [{"role": "user", "content": "Greet me and add two and three."}]
ECHO = call("call_1", "everything__echo", {"message": "hello"})
SUM = call("call_2", "everything__get-sum", {"a": 2, "b": 3})
# Two rounds, and an answer in several bytes a character.
SCRIPT = [
    completion(calls=[ECHO, SUM], used=usage(10, 5, 1, 2)),
    completion(calls=[call("call_3", "everything__echo", {"message": "Grüße"})], used=usage(20, 5, 3, 4)),
    completion("Hello, the sum is 5. Grüße, 世界 👋🏽", used=usage(30, 7, 5, 6)),
]
STREAMED = [streamed(answer) for answer in SCRIPT]
OPTIONS = {"stream": True, "stream_options": {"include_usage": True}}


@pytest.fixture(scope="module")
def own_proxy(model_server, everything_http):
    text = 'streaming = "execute"\n' + config(model_server.url, {"everything": (everything_http, None)})
    proxy = Proxy("streaming", text)
    yield proxy
    proxy.stop()


@pytest.fixture
def client(own_proxy, upstream):
    with openai.OpenAI(base_url=own_proxy.url, api_key="key-of-the-caller", timeout=20) as client:
        yield client


def said(message):
    """The members that say something: helpers add empty ones of their own."""
    return {name: value for name, value in message.items() if value not in (None, [])}


def read(events):
    """What the helper puts together, the receipt, which is on the last chunk alone, and the text as it came."""
    text = receipt = ""
    for event in events:
        text += event.delta if event.type == "content.delta" else ""
        receipt = getattr(event.chunk, "mcp", receipt) if event.type == "chunk" else receipt
    return events.get_final_completion(), receipt, text


def timeless(receipt):
    return {**receipt, "calls": [{**call, "duration_ms": 0} for call in receipt["calls"]]}


def test_the_python_helper_puts_together_what_comes_without_a_stream(client, model):
    asked = {"model": model.name, "messages": ASKED, "extra_body": {"mcp": MCP}}
    model.answers(*SCRIPT)
    whole = client.chat.completions.create(**asked)
    turns = [received.json["messages"] for received in model.received]
    model.answers(*STREAMED)
    with client.chat.completions.stream(**asked, stream_options={"include_usage": True}) as events:
        answer, receipt, text = read(events)
    assert said(answer.choices[0].message.to_dict()) == said(whole.choices[0].message.to_dict())
    assert text == whole.choices[0].message.content
    assert answer.choices[0].finish_reason == whole.choices[0].finish_reason == "stop"
    assert answer.usage.to_dict() == whole.usage.to_dict()
    assert timeless(receipt) == timeless(whole.mcp)
    assert [received.json["messages"] for received in model.received] == turns


def test_the_typescript_helper_puts_together_what_comes_without_a_stream(client, own_proxy, model):
    model.answers(*SCRIPT)
    whole = client.chat.completions.create(model=model.name, messages=ASKED, extra_body={"mcp": MCP})
    model.answers(*STREAMED)
    script = shutil.copy(Path(__file__).with_name("client.mjs"), NODE)
    env = {**os.environ, "BASE_URL": own_proxy.url}
    done = subprocess.run(["node", script, "loop", model.name], env=env, capture_output=True, text=True, timeout=40)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert said(answer["message"]) == said(whole.choices[0].message.to_dict())
    assert (answer["finish_reason"], answer["usage"]) == ("stop", whole.usage.to_dict())


def test_a_turn_of_the_callers_own_tool_is_released_and_resumed_in_a_stream(client, model):
    own = {"type": "function", "function": {"name": "own_clock", "parameters": {"type": "object", "properties": {}}}}
    mixed = completion("One moment. ", [call("call_4", "own_clock", {}), ECHO])
    model.answers(streamed(mixed), streamed(completion("It is noon.")))
    asked = {"model": model.name, "tools": [own]}
    whole = MCP | {"own_tools": "whole"}
    with client.chat.completions.stream(messages=ASKED, extra_body={"mcp": whole}, **asked) as events:
        answer = events.get_final_completion()
    turn = answer.choices[0].message
    assert (answer.choices[0].finish_reason, turn.content) == ("tool_calls", "One moment. ")
    assert [(c.id, c.function.name) for c in turn.tool_calls] == [
        ("call_4", "own_clock"),
        ("call_1", "everything__echo"),
    ]
    calls = [{"id": c.id, "type": "function", "function": c.function.to_dict()} for c in turn.tool_calls]
    for function in (c["function"] for c in calls):
        function.pop("parsed_arguments", None)
    messages = [*ASKED, {"role": "assistant", "content": turn.content, "tool_calls": calls}]
    messages.append({"role": "tool", "tool_call_id": "call_4", "content": "noon"})
    mcp = whole | {"resume_tool_calls": True}
    with client.chat.completions.stream(messages=messages, extra_body={"mcp": mcp}, **asked) as events:
        answer, receipt, _ = read(events)
    assert answer.choices[0].message.content == "It is noon."
    assert [c["id"] for c in receipt["calls"]] == ["call_1"]
    assert [m["content"] for m in model.received[1].json["messages"][-2:]] == ["noon", "Echo: hello"]


def test_an_upstream_that_breaks_off_is_an_error_of_the_sdk(client, model):
    broken = stream({"role": "assistant", "content": "Hel"}, finish_reason="stop")
    broken.chunks = broken.chunks[:1]
    model.answers(STREAMED[0], broken)
    text = ""
    with pytest.raises(openai.APIError) as raised:
        for chunk in client.chat.completions.create(
            model=model.name, messages=ASKED, stream=True, extra_body={"mcp": MCP}
        ):
            text += "".join(choice.delta.content or "" for choice in chunk.choices)
    assert text == "Hel"
    assert raised.value.code == "upstream_error"


def test_curl_sees_text_as_it_comes_and_the_end_once(own_proxy, upstream, model):
    model.answers(STREAMED[0], streamed(completion("one two three"), pause=0.2))
    body = json.dumps({"model": model.name, "messages": ASKED, "mcp": MCP, **OPTIONS})
    command = ["curl", "-sS", "-N", "-i", "--max-time", "20", f"{own_proxy.url}/chat/completions"]
    command += ["-H", "content-type: application/json", "-d", body]
    came, headers = [], {}
    with subprocess.Popen(command, stdout=subprocess.PIPE) as running:
        for line in running.stdout:
            if line.startswith(b"data: "):
                came.append((time.monotonic(), line[6:].strip()))
            elif not came and b": " in line:
                name, value = line.decode().strip().split(": ", 1)
                headers[name.lower()] = value
    assert running.returncode == 0
    assert (headers["content-type"], headers["x-accel-buffering"]) == ("text/event-stream", "no")
    assert [line for _, line in came].count(b"[DONE]") == 1 and came[-1][1] == b"[DONE]"
    chunks = [json.loads(line) for _, line in came[:-1]]
    assert len({chunk["id"] for chunk in chunks}) == 1
    deltas = [chunk["choices"][0]["delta"] if chunk["choices"] else {} for chunk in chunks]
    texts = [at for (at, _), delta in zip(came, deltas) if delta.get("content")]
    assert min(later - earlier for earlier, later in pairwise(texts)) > 0.05
    assert chunks[-1]["mcp"]["stopped_by"] == "final" and chunks[-1]["usage"]["total_tokens"] == 30


def test_a_caller_who_hangs_up_ends_the_models_turn(own_proxy, upstream, model):
    took = []
    for _ in range(3):
        upstream.hung_up.clear()
        model.answers(stream(*[{"content": "word "}] * 2000, finish_reason="stop", pause=0.005))
        body = json.dumps({"model": model.name, "messages": ASKED, "mcp": MCP, **OPTIONS})
        response = own_proxy.request("POST", "/v1/chat/completions", body, {"content-type": "application/json"})
        response.readline()
        response.close()
        gone, end = time.monotonic(), time.monotonic() + 10
        while not upstream.hung_up and time.monotonic() < end:
            time.sleep(0.005)
        took.append(upstream.hung_up[0] - gone)
    # The model notices with its second write after that; the machine may be busy for some of them.
    assert min(took) < 0.1, took


def rss(part, name):
    status = Path(f"/proc/{part._process.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(name + ":"))


def test_two_hundred_streams_at_once_are_all_complete(own_proxy, upstream, model, capsys):
    count, text = 200, "word " * 30
    turns = [streamed(SCRIPT[0]), streamed(completion(text, used=usage(1, 2, 0, 0)), pause=0.04)]
    names = [f"{model.name}-{number}" for number in range(count)]
    for name in names:
        upstream.script(name, *turns)
    before = rss(own_proxy, "VmRSS")
    # The peak begins anew; of another than the superuser a proxy hides this, and it is the whole one.
    with contextlib.suppress(PermissionError):
        Path(f"/proc/{own_proxy._process.pid}/clear_refs").write_text("5")
    answers = {}

    def read(name):
        body = json.dumps({"model": name, "messages": ASKED, "mcp": MCP, **OPTIONS})
        headers = {"content-type": "application/json"}
        answers[name] = own_proxy.request("POST", "/v1/chat/completions", body, headers, seconds=50).read()

    readers = [threading.Thread(target=read, args=(name,)) for name in names]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    each = (rss(own_proxy, "VmHWM") - before) / count
    with capsys.disabled():
        print(f"\n{count} streams at once: {each:.0f} KiB each in the proxy")

    for name in names:
        lines = [line[6:] for line in answers[name].decode().split("\n\n") if line.startswith("data: ")]
        chunks = [json.loads(line) for line in lines[:-1]]
        assert lines[-1] == "[DONE]", name
        choices = [choice for chunk in chunks for choice in chunk["choices"]]
        assert "".join(choice["delta"].get("content") or "" for choice in choices) == text, name
        assert [choice["finish_reason"] for choice in choices if choice["finish_reason"]] == ["stop"], name
        assert chunks[-1]["usage"]["total_tokens"] == 18, name
        assert [call["is_error"] for call in chunks[-1]["mcp"]["calls"]] == [False, False], name
        assert upstream.unused(name) == 0, name
    assert each < 256, "more than a stream may take"
