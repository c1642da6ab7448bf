"""Proves the revision without sessions, 2026-07-28, with the server of the official Python SDK."""

from conftest import LOGS
from upstream import call, completion


def test_the_python_sdks_server_is_listed_and_called_without_a_session(proxy, model):
    before = len(requests())
    model.answers(
        completion(
            calls=[
                call("call_1", "python-sdk__add", {"a": 2, "b": 3}),
                call("call_2", "python-sdk__refuse", {"reason": "not on a Sunday"}),
            ]
        ),
        completion("5, and a refusal"),
    )
    mcp = {"enabled": True, "servers": ["python-sdk"], "auto_execute_tools": True}
    status, answer = proxy.chat({"model": model.name, "messages": [], "mcp": mcp})
    assert (status, answer["choices"][0]["message"]["content"]) == (200, "5, and a refusal"), answer
    assert [(c["tool"], c["is_error"]) for c in answer["mcp"]["calls"]] == [("add", False), ("refuse", True)]

    offered = {tool["function"]["name"]: tool["function"] for tool in model.received[0].json["tools"]}
    assert offered.keys() == {"python-sdk__add", "python-sdk__refuse"}
    assert offered["python-sdk__add"]["description"] == "Adds two numbers."
    sum, refusal = [m["content"] for m in model.received[1].json["messages"] if m["role"] == "tool"]
    assert "2 and 3 make 5" in sum
    assert "not on a Sunday" in refusal

    # What the server saw: one revision in every request, and the older handshake in none.
    seen = requests()[before:]
    assert {version for _, version, *_ in seen} == {"2026-07-28"}, seen
    assert {("tools/call", "add"), ("tools/call", "refuse")} <= {(method, name) for *_, method, name in seen}
    # It tells changes of its tools, so it is listened to.
    methods = {"server/discover", "tools/list", "tools/call", "subscriptions/listen"}
    assert {method for *_, method, _ in seen} <= methods


def requests():
    """What the server's log has of each request: HTTP method, revision, MCP method, and the tool."""
    lines = map(str.split, (LOGS / "python-sdk.log").read_text().splitlines())
    # Between them is what the SDK has to say.
    return [(words[0], *words[2:]) for words in lines if words[1:2] == ["/mcp"]]
