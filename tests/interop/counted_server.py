"""An MCP server over PyPI `mcp` whose only tool takes its time and says which call it ran: `ran ID`, once for each."""

import sys

import anyio
import uvicorn
from mcp.server import MCPServer

server = MCPServer("counted")


@server.tool()
async def work(id: str, seconds: float) -> str:
    """Works for so many seconds."""
    print("ran", id, flush=True)
    await anyio.sleep(seconds)
    return f"{id} took {seconds} s"


if __name__ == "__main__":
    uvicorn.run(server.streamable_http_app(), port=int(sys.argv[1]), log_level="warning")
