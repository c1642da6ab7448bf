"""A server of PyPI `fastmcp`, in the forms in which it is run: fastmcp_server.py PORT http|stateless|json|sse."""

import asyncio
import sys

from fastmcp import Context, FastMCP

FORMS = {
    "http": {"transport": "http"},
    "stateless": {"transport": "http", "stateless_http": True},
    "json": {"transport": "http", "json_response": True},
    "sse": {"transport": "sse"},
}

server = FastMCP("fastmcp")


@server.tool
def add(a: int, b: int) -> str:
    """Adds two numbers."""
    return f"{a} and {b} make {a + b}"


@server.tool
async def work(seconds: float, steps: int, context: Context) -> str:
    """Works for so long, and reports its progress after each step."""
    for step in range(1, steps + 1):
        await asyncio.sleep(seconds / steps)
        await context.report_progress(step, steps, f"step {step}")
    return f"worked for {seconds:g} seconds"


if __name__ == "__main__":
    server.run(port=int(sys.argv[1]), host="127.0.0.1", show_banner=False, **FORMS[sys.argv[2]])
