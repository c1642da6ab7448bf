"""Proves the loop with published servers: what the caller gets, what the model gets, over every transport."""

import json

import pytest

from mcp_direct import Direct
from upstream import MODELS, Answer, call, completion, usage
from wire import elements, members

EVERYTHING = ["everything", "everything-sse", "everything-fallback"]

# The caller's own members, with a spelling that no serializer would choose.
CALLERS_MESSAGE = b'{"role":"user",  "content":"Greet me \\u0026 add.", "x_seen": 1.10}'
CALLERS_MEMBER = b'{"tier" : "g\\u00f6ld", "weight":1.50e0, "none":null}'


def request(model, server, mcp=b""):
    return (
        b'{"model": "%s", "x_vendor": %s,\n "mcp": {"enabled": true, "servers": ["%s"], "auto_execute_tools": true%s},'
        b' "messages": [%s], "temperature": 0.70}'
    ) % (model.encode(), CALLERS_MEMBER, server.encode(), mcp, CALLERS_MESSAGE)


def turn(calls, used):
    """An answer whose assistant message has members and a spelling that we do not know."""
    raw = json.dumps(completion(None, calls, used), indent=1).encode()
    return raw.replace(b'"role"', b'"reasoning_details": [{"score": 1.0e3,  "sig": "\\u00e9/=="}],  "role"', 1)


def two_rounds(server):
    """Two rounds with two tools each, then an answer."""
    first = [
        call("call_1", f"{server}__echo", {"message": "hello"}),
        call("call_2", f"{server}__get-sum", {"a": 2, "b": 3}),
    ]
    second = [
        call("call_3", f"{server}__get-sum", {"a": 5, "b": 7}),
        call("call_4", f"{server}__echo", {"message": "bye"}),
    ]
    return [
        turn(first, usage(100, 20, 64, 8)),
        turn(second, usage(150, 30, 96, 0)),
        json.dumps(completion("hello, 5, 12, bye", used=usage(200, 10, 128, 4))).encode(),
    ]


@pytest.mark.parametrize("server", EVERYTHING)
def test_two_rounds_with_two_tools_each_end_in_an_answer_with_a_receipt(server, proxy, model):
    model.answers(*map(Answer, two_rounds(server)))
    status, answer = proxy.chat(request(model.name, server))
    assert (status, answer["choices"][0]["message"]["content"]) == (200, "hello, 5, 12, bye"), answer
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["usage"] == usage(450, 60, 288, 12)

    receipt = answer["mcp"]
    assert (receipt["rounds"], receipt["max_tool_rounds"], receipt["stopped_by"]) == (2, 5, "final")
    assert [(c["round"], c["id"], c["server"], c["tool"], c["is_error"]) for c in receipt["calls"]] == [
        (1, "call_1", server, "echo", False),
        (1, "call_2", server, "get-sum", False),
        (2, "call_3", server, "get-sum", False),
        (2, "call_4", server, "echo", False),
    ]
    assert [(c["result_bytes"], c["truncated"]) for c in receipt["calls"]][0] == (len("Echo: hello"), False)
    assert all(0 <= c["duration_ms"] < 10_000 for c in receipt["calls"])
    assert receipt["usage_by_round"] == [usage(100, 20, 64, 8), usage(150, 30, 96, 0), usage(200, 10, 128, 4)]
    assert "messages" not in receipt and "withheld" not in receipt


def test_the_model_gets_each_turn_verbatim_and_what_the_tools_really_said(proxy, model, everything_http):
    turns = two_rounds("everything")
    model.answers(*map(Answer, turns))
    status, answer = proxy.chat(request(model.name, "everything"))
    assert status == 200, answer

    direct = Direct(everything_http)
    said = [
        ("call_1", direct.call("echo", {"message": "hello"})),
        ("call_2", direct.call("get-sum", {"a": 2, "b": 3})),
        ("call_3", direct.call("get-sum", {"a": 5, "b": 7})),
        ("call_4", direct.call("echo", {"message": "bye"})),
    ]
    first, second, third = [elements(members(received.body)["messages"]) for received in model.received]
    assert first == [CALLERS_MESSAGE]
    assert second[:2] == first + [assistant_message(turns[0])]
    assert third[:5] == second + [assistant_message(turns[1])]
    results = [json.loads(message) for message in second[2:] + third[5:]]
    assert [(m["role"], m["tool_call_id"], m["content"]) for m in results] == [("tool", *pair) for pair in said]


def test_every_turn_has_the_callers_members_and_the_same_tools(proxy, model, tools):
    model.answers(*map(Answer, two_rounds("everything")))
    own = b'{"type": "function",  "function": {"name": "own_tool", "parameters": {"type":"object"}}}'
    body = request(model.name, "everything").replace(b'"temperature"', b'"tools": [%s], "temperature"' % own)
    headers = {
        "x-mcp-auth-everything": "Bearer for-nobody-else",
        "x-team": "blue",
        "authorization": "Bearer callers-key",
    }
    status, answer = proxy.chat(body, headers)
    assert status == 200, answer

    assert len(model.received) == 3
    for received in model.received:
        sent = members(received.body)
        assert sent.keys() == {"model", "x_vendor", "messages", "temperature", "tools"}
        assert (sent["x_vendor"], sent["temperature"]) == (CALLERS_MEMBER, b"0.70")
        assert not [name for name, _ in received.headers if name.startswith("x-mcp-auth-")]
        assert (received.header("x-team"), received.header("authorization")) == ("blue", "Bearer callers-key")
        assert b"for-nobody-else" not in received.body
    assert len({members(received.body)["tools"] for received in model.received}) == 1

    first, *ours = elements(members(model.received[0].body)["tools"])
    assert first == own
    functions = {function["name"]: function for function in (json.loads(tool)["function"] for tool in ours)}
    assert list(functions) == sorted(functions)
    for name, tool in tools.items():
        function = functions[f"everything__{name}"]
        assert function["description"] == tool["description"]
        assert function["parameters"]["properties"] == tool["inputSchema"].get("properties", {})


def test_a_tool_that_fails_is_data_and_the_loop_goes_on(proxy, model):
    model.answers(
        completion(
            calls=[
                call("call_1", "everything__get-resource-reference", {"resourceType": "Text", "resourceId": -1}),
                call("call_2", "everything__echo", {"text": "not what the schema asks for"}),
                call("call_3", "everything__no-such-tool", {}),
                call("call_4", "everything__echo", {"message": "still here"}),
            ]
        ),
        completion("one of four"),
    )
    status, answer = proxy.chat(request(model.name, "everything"))
    assert (status, answer["choices"][0]["message"]["content"]) == (200, "one of four"), answer
    results = [m["content"] for m in model.received[1].json["messages"] if m["role"] == "tool"]
    assert len(results) == 4
    assert "finite positive integer" in results[0]
    assert "message" in results[1]
    assert results[3] == "Echo: still here"


def test_the_cap_on_rounds_hands_the_turn_back(proxy, model):
    model.answers(*map(Answer, two_rounds("everything")[:2]))
    status, answer = proxy.chat(request(model.name, "everything", b', "max_tool_rounds": 1, "on_max_rounds": "return"'))
    assert status == 200, answer
    assert answer["choices"][0]["finish_reason"] == "tool_calls"
    assert [c["id"] for c in answer["choices"][0]["message"]["tool_calls"]] == ["call_3", "call_4"]
    assert (answer["mcp"]["rounds"], answer["mcp"]["stopped_by"]) == (1, "max_rounds")
    assert [m["role"] for m in answer["mcp"]["messages"]] == ["assistant", "tool", "tool"]


def test_two_servers_of_different_transports_share_a_round(proxy, model):
    model.answers(
        completion(
            calls=[
                call("call_1", "everything-sse__echo", {"message": "over SSE"}),
                call("call_2", "everything__echo", {"message": "over HTTP"}),
            ]
        ),
        completion("both"),
    )
    body = request(model.name, "everything").replace(b'"servers": [', b'"servers": ["everything-sse", ')
    status, answer = proxy.chat(body)
    assert status == 200, answer
    assert [c["server"] for c in answer["mcp"]["calls"]] == ["everything-sse", "everything"]
    results = [m["content"] for m in model.received[1].json["messages"] if m["role"] == "tool"]
    assert results == ["Echo: over SSE", "Echo: over HTTP"]


@pytest.mark.parametrize("server", ["memory-sse", "memory-http"])
def test_what_supergateways_memory_was_told_it_gives_back(server, proxy, model, memory_files):
    ada = {"name": "Ada", "entityType": "person", "observations": ["wrote the first program"]}
    model.answers(
        completion(calls=[call("call_1", f"{server}__create_entities", {"entities": [ada]})]),
        completion(calls=[call("call_2", f"{server}__read_graph", {})]),
        completion("Ada wrote the first program."),
    )
    status, answer = proxy.chat(request(model.name, server))
    assert status == 200, answer
    assert [(c["tool"], c["is_error"]) for c in answer["mcp"]["calls"]] == [
        ("create_entities", False),
        ("read_graph", False),
    ]
    graph = model.received[2].json["messages"][-1]["content"]
    assert "Ada" in graph and "wrote the first program" in graph
    assert "Ada" in memory_files[server].read_text()


def test_other_paths_of_the_model_pass_through(proxy):
    response = proxy.request("GET", "/v1/models?limit=1")
    assert (response.status, response.read()) == (200, MODELS)


def assistant_message(answer):
    """The bytes of the assistant message in an answer."""
    [choice] = elements(members(answer)["choices"])
    return members(choice)["message"]
