"""Proves that the official Python SDK works with the proxy as it is: `extra_body` in, `mcp` on the answer."""

import json

import openai
import pytest

from upstream import call, completion, stream

MCP = {"enabled": True, "servers": ["everything"], "auto_execute_tools": True}
ASKED = [{"role": "user", "content": "Greet me and tell me the time."}]
OWN_TOOL = {"type": "function", "function": {"name": "own_clock", "parameters": {"type": "object", "properties": {}}}}
ECHO = call("call_1", "everything__echo", {"message": "hello"})


@pytest.fixture
def client(proxy):
    with openai.OpenAI(base_url=proxy.url, api_key="key-of-the-caller", timeout=20) as client:
        yield client


def test_the_answer_and_its_receipt_are_in_the_sdks_object(client, model):
    model.answers(completion(calls=[ECHO]), completion("It said hello."))
    answer = client.chat.completions.create(model=model.name, messages=ASKED, extra_body={"mcp": MCP})
    assert answer.choices[0].message.content == "It said hello."
    assert answer.usage.total_tokens == 30
    assert (answer.mcp["rounds"], answer.mcp["stopped_by"]) == (1, "final")
    assert [(c["server"], c["tool"]) for c in answer.mcp["calls"]] == [("everything", "echo")]
    assert model.received[1].header("authorization") == "Bearer key-of-the-caller"


def test_without_auto_execution_the_tool_calls_come_back(client, model):
    model.answers(completion(calls=[ECHO]))
    mcp = {"enabled": True, "servers": ["everything"]}
    answer = client.chat.completions.create(model=model.name, messages=ASKED, extra_body={"mcp": mcp})
    assert answer.choices[0].finish_reason == "tool_calls"
    [tool_call] = answer.choices[0].message.tool_calls
    assert (tool_call.function.name, json.loads(tool_call.function.arguments)) == (
        "everything__echo",
        {"message": "hello"},
    )
    assert "everything__echo" in [tool["function"]["name"] for tool in model.received[0].json["tools"]]


def test_a_stream_with_auto_execution_ends_with_the_assembled_tool_calls(client, model):
    function = {"name": "everything__echo", "arguments": ""}
    model.answers(
        stream(
            {"role": "assistant", "content": "Let me see."},
            {"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": function}]},
            {"tool_calls": [{"index": 0, "function": {"arguments": '{"message": '}}]},
            {"tool_calls": [{"index": 0, "function": {"arguments": '"hello"}'}}]},
            finish_reason="tool_calls",
        )
    )
    with client.chat.completions.stream(model=model.name, messages=ASKED, extra_body={"mcp": MCP}) as events:
        answer = events.get_final_completion()
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("Let me see.", "tool_calls")
    [tool_call] = answer.choices[0].message.tool_calls
    assert (tool_call.id, tool_call.function.name) == ("call_1", "everything__echo")
    assert json.loads(tool_call.function.arguments) == {"message": "hello"}
    [received] = model.received
    assert received.json["stream"] is True and "mcp" not in received.json


def converse(client, model, messages, run_own):
    """The documented way to mix own tools with those of the servers."""
    while True:
        answer = client.chat.completions.create(
            model=model, messages=messages, tools=[OWN_TOOL], extra_body={"mcp": MCP}
        )
        turn = answer.choices[0].message
        if answer.choices[0].finish_reason != "tool_calls":
            return answer
        messages.append(turn.to_dict())
        messages += [{"role": "tool", "tool_call_id": c.id, "content": run_own(c)} for c in turn.tool_calls]


def test_of_a_turn_of_both_the_caller_gets_its_own_call_and_the_model_all_results(client, model):
    mixed = [
        call("call_2", "everything__get-sum", {"a": 2, "b": 3}),
        call("call_3", "own_clock", {}),
        call("call_4", "everything__echo", {"message": "bye"}),
    ]
    model.answers(
        completion(calls=[ECHO]),
        completion("One moment.", mixed, reasoning_details=[{"sig": "abc"}]),
        completion("Hello, it is noon."),
    )
    ran = []
    answer = converse(client, model.name, list(ASKED), lambda c: ran.append(c.function.name) or "noon")
    assert answer.choices[0].message.content == "Hello, it is noon."
    assert ran == ["own_clock"]
    assert [(c["round"], c["id"]) for c in answer.mcp["calls"]] == [(1, "call_2"), (1, "call_4")]

    first, second, third = [received.json["messages"] for received in model.received]
    assert (first, second[:1], third[: len(second)]) == (ASKED, ASKED, second)
    assert [(m.get("tool_call_id"), m["content"]) for m in second[1:]] == [(None, None), ("call_1", "Echo: hello")]
    turn, *results = third[len(second) :]
    assert (turn["content"], turn["tool_calls"], turn["reasoning_details"]) == ("One moment.", mixed, [{"sig": "abc"}])
    assert [(m["role"], m["tool_call_id"], m["content"]) for m in results] == [
        ("tool", "call_2", "The sum of 2 and 3 is 5."),
        ("tool", "call_3", "noon"),
        ("tool", "call_4", "Echo: bye"),
    ]


def test_calls_in_a_history_are_not_run_without_the_flag(client, model):
    model.answers(completion("as you like"))
    history = [*ASKED, {"role": "assistant", "content": None, "tool_calls": [ECHO]}]
    answer = client.chat.completions.create(model=model.name, messages=history, extra_body={"mcp": MCP})
    assert (answer.mcp["rounds"], answer.mcp["calls"]) == (0, [])
    assert model.received[0].json["messages"] == history


@pytest.mark.parametrize(
    ("change", "error", "code", "param"),
    [
        ({"servers": ["everything", "nobody"]}, openai.NotFoundError, "mcp_server_not_found", "mcp.servers[1]"),
        ({"max_tool_rounds": 0}, openai.BadRequestError, "invalid_mcp_options", "mcp.max_tool_rounds"),
        ({"auto_execute": True}, openai.BadRequestError, "invalid_mcp_options", "mcp.auto_execute"),
    ],
)
def test_a_wrong_request_is_the_sdks_own_error_and_reaches_no_model(change, error, code, param, client, model):
    with pytest.raises(error) as raised:
        client.chat.completions.create(model=model.name, messages=ASKED, extra_body={"mcp": MCP | change})
    assert (raised.value.code, raised.value.param) == (code, param)
    assert raised.value.body["message"]
    assert model.received == []
