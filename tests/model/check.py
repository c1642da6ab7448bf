"""A real model through examples/proxy: the tool loop, streamed and not, must come to the same, with each way of writing calls.

The model is made to call a tool in its first turn (`tool_choice: "required"`), which is all that one of this size
can be asked for; the proxy makes `auto` of it afterwards, and the model says something. Sampling is greedy.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import tools
from ports import free_port, post, ready

SERVE = Path(__file__).with_name("serve.py")
# How calls are written into the prompt and read from what the model says: the plain one, Hermes' and Qwen's, Mistral's.
TEMPLATES = ["template.jinja", "hermes.jinja", "mistral.jinja"]

TEXT = "the quick brown fox jumps over the lazy dog"
REQUEST = {
    "model": "smollm2",
    "messages": [{"role": "user", "content": f"How many words has this text? {TEXT}"}],
    "tool_choice": "required",
    "temperature": 0,
    "seed": 1,
    "max_tokens": 160,
    # What was computed before is computed again, or rounding makes other tokens of the same prompt.
    "cache_prompt": False,
    "parallel_tool_calls": False,
    "mcp": {"enabled": True, "servers": ["demo"], "auto_execute_tools": True, "tools": ["demo__word_count"]},
}


def whole(port):
    response = post(port, REQUEST)
    answer = json.loads(response.read())
    assert response.status == 200, answer
    message = answer["choices"][0]["message"]
    return message["content"], answer["choices"][0]["finish_reason"], answer["usage"], answer["mcp"]


def streamed(port):
    began, first = time.monotonic(), None
    response = post(port, REQUEST | {"stream": True, "stream_options": {"include_usage": True}})
    assert response.status == 200, response.read()
    text, reasons, chunks, ends = "", [], [], 0
    for line in response:
        if not line.startswith(b"data: "):
            continue
        if line == b"data: [DONE]\n":
            ends += 1
            continue
        chunk = json.loads(line[6:])
        assert "error" not in chunk, chunk
        chunks.append(chunk)
        for choice in chunk["choices"]:
            assert not choice["delta"].get("tool_calls"), "held, and run"
            text += choice["delta"].get("content") or ""
            reasons += [choice["finish_reason"]] if choice["finish_reason"] else []
        if text and first is None:
            first = time.monotonic() - began
    took = time.monotonic() - began
    assert ends == 1 and len(reasons) == 1 and len({chunk["id"] for chunk in chunks}) == 1
    print(f"streamed: {len(chunks)} chunks in {took:.1f} s, the first text after {first:.1f} s")
    return text, reasons[0], chunks[-1]["usage"], chunks[-1]["mcp"]


def compare(port):
    text, reason, usage, receipt = whole(port)
    print(f"answer: {text!r}")
    print(f"receipt: {json.dumps(receipt)}")
    print(f"usage: {json.dumps(usage)}")
    assert (receipt["rounds"], receipt["stopped_by"]) == (1, "final")
    assert [(call["tool"], call["is_error"]) for call in receipt["calls"]] == [("word_count", False)]
    turns = receipt["usage_by_round"]
    assert len(turns) == 2 and all(turn["completion_tokens"] > 0 for turn in turns)
    assert usage["total_tokens"] == sum(turn["total_tokens"] for turn in turns)
    told = streamed(port)
    assert told[:2] == (text, reason), told
    for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
        assert told[2][name] == usage[name], (name, told[2], usage)
    assert [call["result_bytes"] for call in told[3]["calls"]] == [call["result_bytes"] for call in receipt["calls"]]
    print("streamed and not: the same text, end, calls and usage")


def odd(model):
    """What llama.cpp itself says to requests that are a little off: a change here is one of its own."""
    calls = [{"id": "c", "type": "function", "function": {"name": "a", "arguments": "{}"}}]
    result = {"role": "tool", "tool_call_id": "c", "content": "2"}
    turns = lambda call: [{"role": "user", "content": "hi"}, {"role": "assistant", "content": None, "tool_calls": [call]}, result]  # noqa: E731
    few = {"model": "smollm2", "max_tokens": 2, "messages": [{"role": "user", "content": "hi"}]}
    tools = [{"type": "function", "function": {"name": "a", "parameters": {"type": "object", "properties": {}}}}]
    cases = [
        ("tool_choice of Mistral", {"tools": tools, "tool_choice": "any"}, 400, "Invalid tool_choice"),
        ("stream_options without a stream", {"stream_options": {"include_usage": True}}, 200, ""),
        ("a tool message with a name", {"messages": [*turns(calls[0])[:2], result | {"name": "a"}]}, 200, ""),
        ("a call without its type", {"messages": turns({**calls[0], "type": None})}, 500, "type"),
        ("arguments that are no JSON", {"messages": turns({**calls[0], "function": {"name": "a", "arguments": "{"}})}, 500, "JSON"),
        ("an image", {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]}]}, 500, "not supported"),
    ]  # fmt: skip
    for name, more, status, text in cases:
        response = post(model, few | more)
        said = response.read().decode()
        print(f"llama.cpp to {name}: {response.status} {said[:160] if response.status != 200 else ''}")
        assert response.status == status and text in said, (name, said)


def portable(start):
    """All real tools as they are offered, against llama.cpp's own converter."""
    proxy = free_port()
    logs = Path(os.environ["MODEL_PARTS"])
    (logs / "tools.toml").write_text(tools.config(proxy, tools.double()))
    start("tools", [os.environ["MODEL_PROXY"], "--config", logs / "tools.toml"], proxy, "/v1/mcp/servers")
    offered = tools.offered(post, proxy)
    model, faults = None, []
    for tool in offered:
        if model is None:
            start("converter", [sys.executable, SERVE, str(model := free_port())], model, "/health")
        if fault := tools.refused(tool, model):
            faults.append((tool["function"]["name"], fault))
            model = None if fault.startswith("it ended") else model
    print(f"{len(offered)} real tools as they are offered: llama.cpp refuses {len(faults)}")
    assert not faults, faults


def main():
    logs = Path(os.environ["MODEL_PARTS"])
    running = []

    def start(name, command, at, path):
        with (logs / f"{name}.log").open("wb") as log:
            running.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log))
        ready(at, path, running[-1])

    try:
        for template in TEMPLATES:
            print(f"== {template}")
            model, port = free_port(), free_port()
            start(template, [sys.executable, SERVE, str(model), template], model, "/health")
            proxy = [os.environ["MODEL_PROXY"], "--upstream", f"http://127.0.0.1:{model}/v1", "--streaming", "execute"]
            proxy += ["--listen", f"127.0.0.1:{port}", "--admin-listen", "off"]
            start(f"proxy-{template}", proxy, port, "/v1/mcp/servers")
            compare(port)
            # Two runtimes of the model at once would only slow each other down.
            if template != TEMPLATES[-1]:
                running[-2].kill()
        odd(model)
        portable(start)
    finally:
        for process in running:
            process.kill()
            process.wait()


main()
