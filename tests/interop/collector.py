"""An OTLP/HTTP collector: decodes with PyPI `opentelemetry-proto` what it is sent, and refuses what does not parse."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Span:
    """A span with its attributes as a dictionary, and ids in hex."""

    def __init__(self, span, resource):
        self.name, self.kind, self.status = span.name, span.kind, span.status.code
        self.trace, self.id, self.parent = (id.hex() for id in (span.trace_id, span.span_id, span.parent_span_id))
        self.start, self.end = span.start_time_unix_nano, span.end_time_unix_nano
        self.attributes, self.resource = attributes(span.attributes), resource


def attributes(pairs):
    def plain(value):
        kind = value.WhichOneof("value")
        held = getattr(value, kind)
        return [plain(value) for value in held.values] if kind == "array_value" else held

    return {pair.key: plain(pair.value) for pair in pairs}


class Collector:
    """`url` is what `--otlp` takes; `spans` are those of all exports."""

    def __init__(self):
        self.spans, self.faults = [], []
        self._changed = threading.Condition()
        handler = type("Handler", (_Handler,), {"collector": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    def take(self, path, headers, body):
        """The status of the answer."""
        if (path, headers["content-type"]) != ("/v1/traces", "application/x-protobuf"):
            return self._refuse(f"{headers['content-type']} to {path}")
        try:
            request = ExportTraceServiceRequest.FromString(body)
        except DecodeError as error:
            return self._refuse(f"no request: {error}")
        with self._changed:
            for exported in request.resource_spans:
                resource = attributes(exported.resource.attributes)
                self.spans += [Span(span, resource) for scope in exported.scope_spans for span in scope.spans]
            self._changed.notify_all()
        return 200

    def wait_for(self, name, seconds=15):
        """The first span of this name, once it is there."""
        find = lambda: next((span for span in self.spans if span.name == name), None)
        with self._changed:
            found = self._changed.wait_for(find, seconds)
        assert found, f"no span {name!r} among {[span.name for span in self.spans]}"
        return found

    def _refuse(self, fault):
        self.faults.append(fault)
        return 400


class _Handler(BaseHTTPRequestHandler):
    collector: Collector
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.send_response(self.collector.take(self.path, self.headers, body))
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass
