"""An MCP server of the official Python SDK: 2026-07-28 and the revisions before it, on `/mcp` of a port.

    python mcp_server.py PORT [ISSUER]

With an issuer it is an OAuth resource server: it wants access tokens with the scope `tools` that this authorization
server has signed for it. Prints a line for each request, with what its headers say of MCP.
"""

import sys

import jwt
import uvicorn
from mcp.server import MCPServer
from mcp.server.auth.provider import AccessToken
from mcp.server.auth.settings import AuthSettings
from mcp.server.mcpserver.exceptions import ToolError


class SignedTokens:
    """Accepts what `issuer` has signed for `resource`; the scope is looked at by the SDK."""

    def __init__(self, issuer, resource):
        self._issuer, self._resource = issuer, resource
        self._keys = jwt.PyJWKClient(f"{issuer}/jwks")

    async def verify_token(self, token):
        try:
            key = self._keys.get_signing_key_from_jwt(token)
            claims = jwt.decode(token, key, ["RS256"], issuer=self._issuer, audience=self._resource)
        except jwt.PyJWTError as error:
            print(f"token refused: {error}", flush=True)
            return None
        return AccessToken(token=token, client_id=claims["client_id"], scopes=claims.get("scope", "").split())


def protection(port, issuer):
    resource = f"http://127.0.0.1:{port}/mcp"
    return {
        "token_verifier": SignedTokens(issuer, resource),
        "auth": AuthSettings(
            issuer_url=issuer,
            resource_server_url=resource,
            required_scopes=["tools"],
            # The verifier has looked at the audience.
            validate_token_resource=False,
        ),
    }


def build(port, issuer=None):
    server = MCPServer("python-sdk", **(protection(port, issuer) if issuer else {}))

    @server.tool()
    def add(a: int, b: int) -> str:
        """Adds two numbers."""
        return f"{a} and {b} make {a + b}"

    @server.tool()
    def refuse(reason: str) -> str:
        """Fails, with the reason that it is given."""
        raise ToolError(reason)

    return server.streamable_http_app()


def logged(app):
    async def log(scope, receive, send):
        if scope["type"] == "http":
            headers = {name.decode(): value.decode() for name, value in scope["headers"]}
            said = [headers.get(name, "-") for name in ("mcp-protocol-version", "mcp-method", "mcp-name")]
            print(scope["method"], scope["path"], *said, flush=True)
        await app(scope, receive, send)

    return log


if __name__ == "__main__":
    port = int(sys.argv[1])
    # It would wait for those who listen.
    uvicorn.run(logged(build(port, *sys.argv[2:])), port=port, log_level="warning", timeout_graceful_shutdown=1)
