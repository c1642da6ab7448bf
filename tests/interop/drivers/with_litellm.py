"""litellm: its `completion` with `num_retries`, and its Router."""

import json

import litellm
from driver import ASKED, serve

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def converse(task, completion):
    messages = [{"role": "user", "content": ASKED}]
    while True:
        answer = completion(messages=messages, tools=[WEATHER], extra_body={"mcp": task.mcp}, stream=task.stream)
        if task.stream:
            answer = litellm.stream_chunk_builder(list(answer), messages=messages)
        message = answer.choices[0].message
        messages.append(message)
        if not message.tool_calls:
            return message.content
        for call in message.tool_calls:
            assert call.function.name == "weather", call
            result = task.weather(**json.loads(call.function.arguments))
            messages.append({"role": "tool", "tool_call_id": call.id, "content": result})


def place(task):
    return {
        "model": f"openai/{task.model}",
        "api_base": task.base_url,
        "api_key": "key-of-the-caller",
        "timeout": task.timeout,
    }


def run(task):
    return converse(task, lambda **asked: litellm.completion(**place(task), num_retries=2, **asked))


def routed(task):
    models = [{"model_name": "any", "litellm_params": place(task)} for _ in range(2)]
    router = litellm.Router(model_list=models, num_retries=3, retry_after=0)
    return converse(task, lambda **asked: router.completion(model="any", **asked))


serve(run=run, routed=routed)
