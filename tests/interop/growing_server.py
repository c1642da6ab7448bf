"""A server that learns tools while it runs, and says so: growing_server.py PORT fastmcp|python-sdk.

PyPI `fastmcp` says it with the answer to the call that changed its tools, the official SDK to those who listen
(`subscriptions/listen`).
"""

import sys

import uvicorn
from fastmcp import Context, FastMCP
from mcp.server import MCPServer
from mcp.server.mcpserver import Context as SdkContext
from mcp_types import ToolListChangedNotification


def fast(port):
    server = FastMCP("growing", instructions="Learn before you ask.")

    @server.tool
    async def learn(name: str, ctx: Context) -> str:
        """Learns a tool of this name."""
        server.tool(lambda: "learnt", name=name)
        await ctx.send_notification(ToolListChangedNotification())
        return "done"

    server.run(transport="http", port=port, host="127.0.0.1", show_banner=False)


def official(port):
    server = MCPServer("growing", instructions="Learn before you ask.")

    @server.tool()
    async def learn(name: str, ctx: SdkContext) -> str:
        """Learns a tool of this name."""
        server.add_tool(lambda: "learnt", name=name)
        await ctx.notify_tools_changed()
        return "done"

    uvicorn.run(server.streamable_http_app(), host="127.0.0.1", port=port, log_level="warning")


if __name__ == "__main__":
    {"fastmcp": fast, "python-sdk": official}[sys.argv[2]](int(sys.argv[1]))
