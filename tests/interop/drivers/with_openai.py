"""openai for Python: the loop over tool calls that everybody writes, whole and over a stream."""

import json

from driver import ASKED, serve
from openai import OpenAI
from pydantic import BaseModel

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city.",
        # `parse` takes no other.
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}


class Report(BaseModel):
    report: str


def whole(client, request):
    return client.chat.completions.create(**request).choices[0].message.to_dict()


def tutorial(client, request):
    """As tutorials read a stream: the first choice of every chunk."""
    content, calls = "", {}
    for chunk in client.chat.completions.create(**request, stream=True):
        delta = chunk.choices[0].delta
        content += delta.content or ""
        for piece in delta.tool_calls or ():
            call = calls.setdefault(piece.index, {"id": piece.id, "name": piece.function.name, "arguments": ""})
            call["arguments"] += piece.function.arguments or ""
    functions = [(c["id"], {"name": c["name"], "arguments": c["arguments"]}) for c in calls.values()]
    return assistant(content, functions)


def accumulated(client, request):
    """The SDK's own way to read a stream."""
    with client.chat.completions.stream(**request) as events:
        return as_said(events.get_final_completion().choices[0].message)


def parsed(client, request):
    """The SDK's own way to read an answer of a type."""
    message = client.chat.completions.parse(**request, response_format=Report).choices[0].message
    assert message.tool_calls or message.parsed.report
    return as_said(message)


def as_said(message):
    """A message without what the SDK has added."""
    functions = [(c.id, {"name": c.function.name, "arguments": c.function.arguments}) for c in message.tool_calls or ()]
    return assistant(message.content, functions)


def assistant(content, functions):
    message = {"role": "assistant", "content": content}
    if functions:
        message["tool_calls"] = [{"id": id, "type": "function", "function": function} for id, function in functions]
    return message


def connected(task):
    return OpenAI(base_url=task.base_url, api_key="key-of-the-caller", timeout=task.timeout)


def parse(task):
    asked = [{"role": "user", "content": ASKED}]
    more = {"extra_body": {"mcp": task.mcp}, "response_format": Report}
    answer = connected(task).chat.completions.parse(model=task.model, messages=asked, **more)
    return answer.choices[0].message.parsed.report


def converse(turn):
    def run(task):
        client = connected(task)
        messages = [{"role": "user", "content": ASKED}]
        request = {"model": task.model, "messages": messages, "tools": [WEATHER], "extra_body": {"mcp": task.mcp}}
        while True:
            message = turn(client, request)
            messages.append(message)
            if not message.get("tool_calls"):
                return message["content"]
            for call in message["tool_calls"]:
                assert call["function"]["name"] == "weather", call
                result = task.weather(**json.loads(call["function"]["arguments"]))
                messages.append({"role": "tool", "tool_call_id": call["id"], "content": result})

    return run


serve(
    run=lambda task: converse(tutorial if task.stream else whole)(task),
    stream=converse(accumulated),
    parse=parse,
    parse_with_tools=converse(parsed),
)
