"""A scripted model that is as strict as OpenAI about what it is sent, and that goes by what it has seen.

A script is a list of turns. Which of them is due is read from the conversation that comes in: a request that is
repeated gets the same turn again, and a call that was lost on the way is made once more, as models do.
The last answer says all that tools have said, so that it shows what reached the model.
"""

import json
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

from upstream import Answer, Upstream, completion, streamed

REQUEST = set(
    "model messages stream stream_options tools tool_choice parallel_tool_calls response_format temperature top_p n "
    "stop max_tokens max_completion_tokens presence_penalty frequency_penalty logit_bias logprobs top_logprobs seed "
    "user safety_identifier prompt_cache_key metadata store service_tier reasoning_effort verbosity modalities".split()
)
MESSAGE = {
    "system": {"role", "content", "name"},
    "developer": {"role", "content", "name"},
    "user": {"role", "content", "name"},
    "assistant": {"role", "content", "name", "refusal", "tool_calls", "audio", "annotations", "function_call"},
    "tool": {"role", "content", "tool_call_id", "name"},
}
NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


@dataclass
class Turn:
    """Calls, or where there are none a text: by default one that says what all tools have said.

    `calls` are pairs of a name and arguments, which, like a text, may be made of what the tools have said by then.
    A text that is not the last answers the user's message number `question`; what stands behind waits for the next.
    `fails` are answered first, each once: see `failure`.
    """

    calls: list[tuple[str, dict | Callable[[str], dict]]] = field(default_factory=list)
    text: str | Callable[[str], str] | None = None
    question: int | None = None
    fails: list[Answer] = field(default_factory=list)

    def is_over(self, seen):
        if not self.calls:
            return self.question is not None and seen.questions > self.question
        return all(seen.answered(*call) for call in self.calls)

    def message(self, seen):
        """The text, and the calls that were not answered yet, as the model says them."""
        said = seen.said()
        calls = [call for call in self.calls if not seen.answered(*call)]
        text = self.text if calls or self.text else f"The tools said: {said}"
        return made(text, said), [(name, made(arguments, said)) for name, arguments in calls]


def made(value, said):
    return value(said) if callable(value) else value


class Seen:
    """What a request shows of the conversation so far.

    Results and summaries may be told as the words of a user: what these name counts as answered.
    """

    def __init__(self, messages):
        users = [text_of(message["content"]) for message in messages if message["role"] == "user"]
        self.questions, self.told = len(users), users
        results = {m["tool_call_id"]: text_of(m["content"]) for m in messages if m["role"] == "tool"}
        calls = [call for message in messages for call in message.get("tool_calls") or ()]
        self.results = [
            (c["function"]["name"], json.loads(c["function"]["arguments"]), results[c["id"]]) for c in calls
        ]

    def answered(self, name, arguments):
        if callable(arguments):
            return any(name == called for called, *_ in self.results)
        told = bool(arguments) and any(next(iter(arguments.values())) in text for text in self.told)
        return told or any((name, arguments) == (n, a) for n, a, _ in self.results)

    def said(self):
        return " | ".join([*(result for *_, result in self.results), *self.told])


class StrictUpstream(Upstream):
    """The model's server. What breaks a rule of OpenAI's is answered with 400 and kept in `faults`.

    `altered` has the turns with calls of the layer's that came back other than they were said, as (said, came back).
    """

    def __init__(self):
        self.altered = []
        self._turns, self._offered, self._said = {}, {}, {}
        super().__init__()

    def plays(self, model, *turns, other=None):
        """Says what `model` answers; `other` may answer a request apart from the script, with a completion."""
        with self._changed:
            self._turns[model] = (turns, other)
            self._received[model] = []

    def take(self, received):
        asked = received.json
        model = asked.get("model")
        if model not in self._turns:
            return self.fault(f"{model!r} has no script")
        if wrong := broken_rule(asked) or self._unknown_id(asked):
            return self.fault(f"{model}: {wrong}\n{json.dumps(asked['messages'])}")
        with self._changed:
            self._received[model].append(received)
            self._changed.notify_all()
            return self._answer(asked, *self._turns[model])

    def _answer(self, asked, turns, other):
        self._compare(asked["messages"])
        answer = other(asked) if other else None
        if answer is None:
            seen = Seen(asked["messages"])
            turn = next((turn for turn in turns if not turn.is_over(seen) and is_allowed(turn, asked)), None)
            if turn is None:
                return self.fault(f"{asked['model']}: no turn is due for {asked}")
            if turn.fails:
                return turn.fails.pop(0)
            text, calls = turn.message(seen)
            if text and "response_format" in asked:
                text = as_asked(asked["response_format"], text)
            offered = {tool["function"]["name"] for tool in asked.get("tools", ())}
            if missing := {name for name, _ in calls} - offered:
                return self.fault(f"{asked['model']}: the script calls {missing}, of {offered}")
            answer = completion(text, [self._call(name, arguments) for name, arguments in calls])
        return self._sent(asked, answer)

    def _call(self, name, arguments):
        function = {"name": name, "arguments": json.dumps(arguments)}
        return {"id": f"call_{secrets.token_urlsafe(18)}", "type": "function", "function": function}

    def _sent(self, asked, answer):
        answer["id"], answer["model"] = f"chatcmpl-{secrets.token_hex(8)}", asked["model"]
        [choice] = answer["choices"]
        for call in choice["message"].get("tool_calls", ()):
            self._said[call["id"]] = choice["message"]
        if not asked.get("stream"):
            choice["message"].update(refusal=None, annotations=[])
            return Answer(json.dumps(answer).encode())
        if not (asked.get("stream_options") or {}).get("include_usage"):
            answer["usage"] = None
        told = streamed(answer)
        # LangChain.js takes answers of one id for one message.
        told.chunks = [chunk.replace(b"chatcmpl-scripted", answer["id"].encode()) for chunk in told.chunks]
        return told

    def _unknown_id(self, asked):
        ids = [call["id"] for message in asked["messages"] for call in message.get("tool_calls") or ()]
        return next((f"the id {id!r} is none that the model has given" for id in ids if id not in self._said), None)

    def _compare(self, messages):
        for message in messages:
            calls = message.get("tool_calls") or ()
            if any("__" in call["function"]["name"] for call in calls):
                said = self._said[calls[0]["id"]]
                if any(message.get(name) != said.get(name) for name in ("content", "tool_calls")):
                    self.altered.append((said, message))


def failure(status, after=None):
    """An answer of a service that fails, which may say after how many seconds to come again."""
    error = {"message": f"scripted failure {status}", "type": "server_error", "param": None, "code": None}
    headers = {} if after is None else {"retry-after": str(after)}
    return Answer(json.dumps({"error": error}).encode(), status=status, headers=headers)


def is_allowed(turn, asked):
    """Whether the turn does what `tool_choice` forces."""
    choice = asked.get("tool_choice") or "auto"
    if isinstance(choice, dict):
        return [name for name, _ in turn.calls] == [choice["function"]["name"]]
    return {"none": not turn.calls, "required": bool(turn.calls)}.get(choice, True)


def as_asked(response_format, text):
    """A text in the schema that a client asks for: all of it in the first member."""
    [member, *_] = response_format["json_schema"]["schema"]["properties"]
    return json.dumps({member: text})


def text_of(content):
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


# OpenAI's rules, as far as clients and gateways break them. Each says the first thing that is wrong, if any.


def broken_rule(asked):
    if unknown := asked.keys() - REQUEST:
        return f"Unrecognized request argument supplied: {', '.join(sorted(unknown))}"
    if "stream_options" in asked and not asked.get("stream"):
        return "stream_options is only allowed when stream is enabled"
    return broken_tools(asked) or broken_messages(asked["messages"])


def broken_tools(asked):
    tools = asked.get("tools")
    if tools is None:
        used = [name for name in ("tool_choice", "parallel_tool_calls") if name in asked]
        return f"{used[0]} is only allowed when tools are specified" if used else None
    names = [tool["function"]["name"] for tool in tools]
    if not names or len(set(names)) < len(names) or not all(map(NAME.fullmatch, names)):
        return f"names of tools: {names}"
    choice = asked.get("tool_choice")
    if isinstance(choice, dict) and choice["function"]["name"] not in names:
        return f"tool_choice names none of {names}"
    return None


def broken_messages(messages):
    if not messages:
        return "messages are empty"
    waiting = []
    for at, message in enumerate(messages):
        if wrong := broken_message(message):
            return f"messages[{at}]: {wrong}"
        if message["role"] == "tool":
            if message["tool_call_id"] not in waiting:
                return f"messages[{at}]: a tool message must be a response to a preceding message with tool_calls"
            waiting.remove(message["tool_call_id"])
        elif waiting:
            return f"messages[{at}]: these tool_call_ids did not have response messages: {waiting}"
        else:
            waiting = [call["id"] for call in message.get("tool_calls") or ()]
    return f"these tool_call_ids did not have response messages: {waiting}" if waiting else None


def broken_message(message):
    role, content = message.get("role"), message.get("content")
    if role not in MESSAGE:
        return f"role {role!r}"
    if unknown := message.keys() - MESSAGE[role]:
        return f"unknown members {unknown}"
    if "tool_calls" in message:
        return broken_calls(message["tool_calls"]) or (content is not None and broken_content(content))
    return broken_content(content)


def broken_content(content):
    if isinstance(content, str):
        return None
    if not isinstance(content, list) or not content:
        return f"content {content!r}"
    kinds = {part.get("type") for part in content} - {"text", "image_url", "input_audio", "file", "refusal"}
    return f"parts of type {kinds}" if kinds else None


def broken_calls(calls):
    if not calls or len({call["id"] for call in calls}) < len(calls):
        return "tool_calls are empty, or have an id twice"
    for call in calls:
        if call.keys() != {"id", "type", "function"} or call["type"] != "function" or not 0 < len(call["id"]) <= 40:
            return f"the call {call}"
        function = call["function"]
        if function.keys() != {"name", "arguments"} or not NAME.fullmatch(function["name"]):
            return f"the function {function}"
        if not isinstance(function["arguments"], str):
            return "arguments are no text"
    return None
