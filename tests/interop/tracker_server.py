"""A server of PyPI `fastmcp` whose tools say each time that they run, as a line `ran TOOL TITLE`: tracker_server.py PORT.

That line is the side effect which must happen once.
"""

import asyncio
import os
import sys

from fastmcp import FastMCP

server = FastMCP("tracker")


def ran(tool, title):
    # In one piece: tools run in several threads, whose prints would mix.
    os.write(sys.stdout.fileno(), f"ran {tool} {title}\n".encode())


@server.tool
def create_issue(title: str) -> str:
    """Creates an issue in the tracker."""
    ran("create_issue", title)
    return f"Created the issue {title}."


@server.tool
async def slow(title: str, seconds: float) -> str:
    """Imports an issue into the tracker, which takes so many seconds."""
    ran("slow", title)
    await asyncio.sleep(seconds)
    return f"Imported the issue {title}."


@server.tool(annotations={"readOnlyHint": True})
def look(title: str) -> str:
    """Reads an issue of the tracker."""
    ran("look", title)
    return f"The issue {title} is open."


if __name__ == "__main__":
    server.run(transport="http", host="127.0.0.1", port=int(sys.argv[1]), show_banner=False)
