"""A server of PyPI `fastmcp`, in the forms in which it is run: fastmcp_server.py PORT http|stateless|json|sse."""

import asyncio
import struct
import sys
import zlib

from fastmcp import Context, FastMCP
from fastmcp.utilities.types import Audio, Image

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


def png(side):
    """A red square."""
    chunk = lambda name, data: struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))  # noqa: E731
    rows = (b"\0" + b"\xff\0\0" * side) * side
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def wave(samples):
    """Silence."""
    data = b"\0\0" * samples
    form = struct.pack("<HHIIHH", 1, 1, 8000, 16000, 2, 16)
    parts = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(parts)) + parts


@server.tool
def picture(side: int) -> Image:
    """Draws a red square."""
    return Image(data=png(side), format="png")


@server.tool
def sound(samples: int) -> Audio:
    """Says nothing."""
    return Audio(data=wave(samples), format="wav")


@server.tool
def both(side: int) -> list:
    """Draws a red square, and says so."""
    return [f"a square of {side}", Image(data=png(side), format="png")]


if __name__ == "__main__":
    server.run(port=int(sys.argv[1]), host="127.0.0.1", show_banner=False, **FORMS[sys.argv[2]])
