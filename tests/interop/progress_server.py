"""A server whose tools take their time and say how far they are: progress_server.py PORT."""

import asyncio
import sys
from pathlib import Path

from fastmcp import Context, FastMCP
from fastmcp.exceptions import ToolError

server = FastMCP("progress")


STEPS = 500


@server.tool(title="Search issues")
async def search_issues(context: Context, query: str, until: str) -> str:
    """Searches issues, step by step, until there is this file."""
    for step in range(STEPS):
        await context.report_progress(step, STEPS, f"page {step}")
        await asyncio.sleep(0.1)
        if Path(until).exists():
            break
    return f"Found for {query}: <b>one</b>."


@server.tool
async def wait_for_nothing(context: Context, pause: float = 0.1) -> str:
    """Says that it goes on, and nothing of an end."""
    for step in range(10_000):
        await context.report_progress(step)
        await asyncio.sleep(pause)
    return "never"


@server.tool
async def break_down() -> str:
    """Fails."""
    raise ToolError("it broke down")


if __name__ == "__main__":
    server.run(transport="http", port=int(sys.argv[1]), host="127.0.0.1", show_banner=False)
