"""Proves the documented requests as typed by hand, with curl."""

import json
import subprocess
import time
from itertools import pairwise

import pytest
from upstream import call, completion, stream


def curl(*arguments):
    return ["curl", "-sS", "--max-time", "20", *arguments]


@pytest.mark.parametrize("version", ["--http1.1", "--http2-prior-knowledge"])
def test_the_documented_request_runs_a_tool_and_shows_the_receipt(proxy, model, version):
    model.answers(
        completion(calls=[call("call_1", "everything__echo", {"message": "hello"})]), completion("It said hello.")
    )
    body = {
        "model": model.name,
        "messages": [{"role": "user", "content": "Say hello to the echo tool."}],
        "mcp": {"enabled": True, "servers": ["everything"], "auto_execute_tools": True, "max_tool_rounds": 5},
    }
    command = curl(
        version,
        "-w",
        "\n%{http_code}",
        f"{proxy.url}/chat/completions",
        "-H",
        "content-type: application/json",
        "-d",
        json.dumps(body),
    )
    answer, status = subprocess.run(command, check=True, capture_output=True, text=True).stdout.rsplit("\n", 1)
    assert status == "200", answer
    answer = json.loads(answer)
    assert answer["choices"][0]["message"]["content"] == "It said hello."
    assert [(c["server"], c["tool"]) for c in answer["mcp"]["calls"]] == [("everything", "echo")]


def test_mcp_sent_as_a_form_is_refused(proxy, model):
    body = json.dumps({"model": model.name, "messages": [], "mcp": {"enabled": True, "servers": ["everything"]}})
    command = curl("-o", "-", "-w", "\n%{http_code}", f"{proxy.url}/chat/completions", "-d", body)
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert output.endswith("\n415"), output
    assert model.received == []


def test_a_stream_arrives_chunk_by_chunk(proxy, model):
    model.answers(stream({"role": "assistant", "content": "one"}, {"content": " two"}, finish_reason="stop", pause=0.4))
    body = json.dumps({"model": model.name, "stream": True, "messages": []})
    command = curl("-N", f"{proxy.url}/chat/completions", "-H", "content-type: application/json", "-d", body)
    came = []
    with subprocess.Popen(command, stdout=subprocess.PIPE) as running:
        for line in running.stdout:
            if line.startswith(b"data:"):
                came.append((time.monotonic(), line))
    assert running.returncode == 0
    assert came[-1][1] == b"data: [DONE]\n"
    gaps = [later - earlier for (earlier, _), (later, _) in pairwise(came)]
    assert len(gaps) == 3 and min(gaps) > 0.15, gaps


def test_the_list_of_servers_names_them(proxy):
    command = curl(f"{proxy.url}/mcp/servers")
    listed = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert "everything" in [server["name"] for server in listed["servers"]]
