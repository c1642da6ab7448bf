"""A scripted, OpenAI-compatible model.

Each test writes a script: the answers that the model gives, in order, to the requests with one `model` name.
The model records every request as it came over the wire, so that a test can say what the proxy sent,
byte for byte. A request that no script expects, or whose `content-length` is not exact, is answered
with an error and kept in `faults`, which fails the test.
"""

import json
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MODELS = b'{"object": "list",  "data": [{"id": "scripted", "object": "model"}]}'


@dataclass
class Answer:
    """One prepared answer: a body, or `chunks` that are sent one by one with a `pause` between them.

    `before` is done before any of it is sent.
    """

    body: bytes = b""
    chunks: list[bytes] = field(default_factory=list)
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    pause: float = 0.0
    before: Callable[[], None] | None = None


@dataclass
class Received:
    """One request as it arrived. Header names are in lower case; a repeated header keeps both values."""

    path: str
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)

    def header(self, name):
        return ", ".join(value for key, value in self.headers if key == name) or None


class Upstream:
    """The model's HTTP server, on a free port of the loopback address."""

    def __init__(self):
        self.faults = []
        self.hung_up = []
        self._scripts = {}
        self._received = {}
        self._changed = threading.Condition()
        handler = type("Handler", (_Handler,), {"upstream": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    def script(self, model, *answers):
        """Says what `model` answers. A plain object is a whole JSON answer with status 200."""
        as_answer = [a if isinstance(a, Answer) else Answer(json.dumps(a).encode()) for a in answers]
        with self._changed:
            self._scripts[model] = as_answer
            self._received[model] = []

    def received(self, model):
        """The requests that `model` got so far."""
        with self._changed:
            return list(self._received[model])

    def unused(self, model):
        with self._changed:
            return len(self._scripts[model])

    def wait_for(self, model, count=1, seconds=10):
        """Returns when `model` has got `count` requests; their answers may still be under way."""
        with self._changed:
            done = self._changed.wait_for(lambda: len(self._received[model]) >= count, seconds)
        assert done, f"{model} got no request number {count} in {seconds} s"

    def take(self, received):
        """Records a request and returns the answer that the script has for it."""
        model = received.json.get("model")
        with self._changed:
            if not self._scripts.get(model):
                return self.fault(f"the script of {model!r} has no more answers")
            self._received[model].append(received)
            self._changed.notify_all()
            return self._scripts[model].pop(0)

    def fault(self, message):
        self.faults.append(message)
        return Answer(json.dumps({"error": {"message": message, "type": "scripted"}}).encode(), status=400)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # As many as a test opens at once.
    request_queue_size = 256

    def handle_error(self, request, client_address):
        # A proxy that stops drops its idle connections: no fault, and nothing to print.
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    upstream: Upstream
    protocol_version = "HTTP/1.1"
    # A small answer must not wait for the peer's acknowledgement of its headers.
    disable_nagle_algorithm = True

    def do_GET(self):
        if self.path.partition("?")[0] == "/v1/models":
            self._send(Answer(MODELS))
        else:
            self._send(self.upstream.fault(f"GET {self.path} is not scripted"))

    def do_POST(self):
        length = self.headers["content-length"]
        if length is None or self.headers["transfer-encoding"] is not None:
            self.close_connection = True
            return self._send(self.upstream.fault("a request came without an exact content-length"))
        body = self.rfile.read(int(length))
        headers = [(name.lower(), value) for name, value in self.headers.items()]
        try:
            json.loads(body)
        except ValueError as error:
            return self._send(self.upstream.fault(f"content-length {length} holds no JSON: {error}"))
        if self.path != "/v1/chat/completions":
            return self._send(self.upstream.fault(f"POST {self.path} is not scripted"))
        self._send(self.upstream.take(Received(self.path, headers, body)))

    def _send(self, answer):
        time.sleep(answer.delay)
        if answer.before is not None:
            answer.before()
        self.send_response(answer.status)
        for name, value in {"x-request-id": "scripted-1", **answer.headers}.items():
            self.send_header(name, value)
        if answer.chunks:
            self.send_header("content-type", "text/event-stream")
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            try:
                for chunk in answer.chunks:
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
                    time.sleep(answer.pause)
                self.wfile.write(b"0\r\n\r\n")
            except ConnectionError:
                self.upstream.hung_up.append(time.monotonic())
                raise
        else:
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

    def send_error(self, code, message=None, explain=None):
        # The server's own complaint: what came is not HTTP, as after a content-length that is too small.
        self.upstream.fault(f"not a request: {code} {message}")
        super().send_error(code, message, explain)

    def log_message(self, *_):
        pass


# What a script is made of.


def call(id, name, arguments):
    """A tool call as the model writes it."""
    return {"id": id, "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}


def usage(prompt, completion, cached, reasoning):
    """Usage with the nested members that OpenAI sends."""
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached},
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }


def completion(content=None, calls=(), used=None, **message):
    """A whole answer: text, or tool calls; further members go into the assistant message."""
    message = {"role": "assistant", "content": content, **({"tool_calls": list(calls)} if calls else {}), **message}
    return {
        "id": "chatcmpl-scripted",
        "object": "chat.completion",
        "created": 1700000000,
        "model": "scripted",
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls" if calls else "stop"}],
        "usage": used or usage(10, 5, 0, 0),
    }


def stream(*deltas, finish_reason, pause=0.0, used=None):
    """A streamed answer, one event a chunk: the deltas, the finish reason, the usage if any, and `[DONE]`."""
    choices = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    choices.append({"index": 0, "delta": {}, "finish_reason": finish_reason})
    head = {"id": "chatcmpl-scripted", "object": "chat.completion.chunk", "created": 1700000000, "model": "scripted"}
    chunks = [{**head, "choices": [choice]} for choice in choices]
    chunks += [{**head, "choices": [], "usage": used}] if used else []
    events = [json.dumps(chunk) for chunk in chunks] + ["[DONE]"]
    return Answer(chunks=[f"data: {event}\n\n".encode() for event in events], pause=pause)


def streamed(answer, pause=0.0):
    """What `completion` gives, as the stream that says the same in pieces of a few characters."""
    [choice] = answer["choices"]
    message = dict(choice["message"])
    calls = message.pop("tool_calls", [])
    texts = {name: value for name, value in message.items() if name != "role" and isinstance(value, str)}
    deltas = [{"role": "assistant", "content": message["content"] and ""}]
    deltas += [{name: piece} for name, text in texts.items() for piece in pieces(text)]
    for index, whole in enumerate(calls):
        function = whole["function"]
        deltas.append({"tool_calls": [{**whole, "index": index, "function": {**function, "arguments": ""}}]})
        for piece in pieces(function["arguments"]):
            deltas.append({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
    return stream(*deltas, finish_reason=choice["finish_reason"], pause=pause, used=answer["usage"])


def pieces(text, size=3):
    return [text[start : start + size] for start in range(0, len(text), size)]
