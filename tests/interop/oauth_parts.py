"""What the OAuth tests stand on: authorization servers, and MCP servers that want their tokens."""

import sys
from collections import namedtuple
from pathlib import Path

import pytest

from conftest import MCP_SERVER, MODULES, Part, free_port, node_module
from github import GitHub
from oauth_direct import send

# Short enough to wait for, long enough for a call.
TOKEN_SECONDS = 3

HERE = Path(__file__).parent


class Oidc(Part):
    """npm `oidc-provider`, for one MCP server; `options` as in `oidc.mjs`, and `path` of its issuer."""

    def __init__(self, resource, name, host="127.0.0.1", options=(), path=""):
        self.issuer = f"http://{host}:{free_port()}{path}"
        # Where it lies, Node.js looks for the packages that it imports.
        script = MODULES.parent / "oidc.mjs"
        for file in (script.name, "oidc_machines.mjs", "oidc_shapes.mjs"):
            script.with_name(file).write_text((HERE / file).read_text())
        super().__init__(name, ["node", script, self.issuer, resource, TOKEN_SECONDS, *options])

    def ready(self):
        super().ready(lambda: send(f"{self.issuer}/control/log").status == 200)

    def machines(self):
        """The secret of the client `machine-secret`, and the key of `machine-key`."""
        return send(f"{self.issuer}/control/machines").json()

    def person(self, sub, aud="gateway"):
        """A token that says who somebody is."""
        return send(f"{self.issuer}/control/person?sub={sub}&aud={aud}").body.decode()

    def seen(self, route, **params):
        """What one of its endpoints got and answered, with these parameters."""
        log = send(f"{self.issuer}/control/log").json()
        return [e for e in log if e["route"] == route and params.items() <= e.get("params", {}).items()]


Protected = namedtuple("Protected", "url provider")


@pytest.fixture(scope="session")
def protected():
    """The Python SDK's server as a resource server, with oidc-provider as its authorization server."""
    yield from protected_from("protected")


@pytest.fixture(scope="session")
def protected_elsewhere():
    """The same with a provider on another site than everything else, as in production: `localhost`."""
    yield from protected_from("protected-elsewhere", host="localhost")


@pytest.fixture(scope="session")
def asking():
    """Likewise, with somebody who has to click."""
    yield from protected_from("asking", host="localhost", options=["ask"])


def protected_from(name, **provider):
    port = free_port()
    url = f"http://127.0.0.1:{port}/mcp"
    provider = Oidc(url, f"{name}-oidc", **provider)
    server = Part(name, [sys.executable, MCP_SERVER, port, provider.issuer])
    try:
        provider.ready()
        server.ready(lambda: send(url, {}).status == 401)
        yield Protected(url, provider)
    finally:
        server.stop()
        provider.stop()


@pytest.fixture(scope="session")
def typescript_sdk():
    """The TypeScript SDK's example server, strict about the resource of a token."""
    port, auth_port = free_port(), free_port()
    script = node_module("@modelcontextprotocol/sdk/dist/esm/examples/server/simpleStreamableHttp.js")
    env = {"MCP_PORT": str(port), "MCP_AUTH_PORT": str(auth_port)}
    # By this name only: it is in the server's metadata.
    url = f"http://localhost:{port}/mcp"
    server = Part("typescript-sdk", ["node", script, "--oauth", "--oauth-strict"], env)
    try:
        metadata = f"http://localhost:{auth_port}/.well-known/oauth-authorization-server"
        server.ready(lambda: send(metadata).status == 200 and send(url, {}).status == 401)
        yield url
    finally:
        server.stop()


@pytest.fixture
def github():
    github = GitHub()
    yield github
    github.close()
