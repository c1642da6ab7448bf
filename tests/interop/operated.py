"""`examples/proxy` with its operator's side open, as an operator has it."""

import http.client
import json

from conftest import PROXY, LOGS, Part, free_port

TOKEN = "an-operators-token-of-length"


class Operated(Part):
    """A proxy and its operator's side, both ready; `public` is the operator's address, its own unless told otherwise."""

    def __init__(self, name, upstream_url, more="", public=None):
        self.port, self.admin_port = free_port(), free_port()
        self.public = public or f"http://127.0.0.1:{self.admin_port}"
        file = LOGS / f"{name}.toml"
        file.write_text(
            f"""
            listen = "127.0.0.1:{self.port}"
            upstream = "{upstream_url}"
            allow_egress = ["127.0.0.0/8", "localhost"]
            admin_listen = "127.0.0.1:{self.admin_port}"
            admin_token_env = "ADMIN_TOKEN"
            public_url = "{self.public}"
            {more}
            """
        )
        super().__init__(name, [PROXY, "--config", file], {"ADMIN_TOKEN": TOKEN})
        self.ready(lambda: self.ask(self.port, "GET", "/readyz")[0] == 200)

    def ask(self, port, method, path, body=None, headers=()):
        """Status, headers and text of one request to the public name, over a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        try:
            sent = None if body is None else json.dumps(body)
            kind = {} if body is None else {"content-type": "application/json"}
            host = self.public.removeprefix("http://")
            connection.request(method, path, sent, {"host": host, **kind, **dict(headers)})
            response = connection.getresponse()
            return response.status, response.headers, response.read().decode()
        finally:
            connection.close()

    def operate(self, method, path, body=None):
        """Status and JSON of a call of REST."""
        headers = {"authorization": f"Bearer {TOKEN}"}
        status, _, text = self.ask(self.admin_port, method, path, body, headers)
        return status, json.loads(text) if text else None

    def visit(self, path, cookie=None):
        """Status, headers and text of a page, for a browser that comes from elsewhere."""
        return self.ask(self.admin_port, "GET", path, headers={"cookie": cookie} if cookie else {})

    def chat(self, body):
        status, _, text = self.ask(self.port, "POST", "/v1/chat/completions", body)
        return status, json.loads(text)
