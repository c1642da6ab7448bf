"""The tool loop as one writes it with the official SDKs: openai for the model, mcp for the server.

    python sdk_loop.py UPSTREAM SERVER

It serves chat completions on a free port, which it prints; the session with the server is opened once.
"""

import asyncio
import json
import socket
import sys
from contextlib import asynccontextmanager

import uvicorn
from mcp import Client
from openai import AsyncOpenAI
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

UPSTREAM, SERVER = sys.argv[1:]


@asynccontextmanager
async def lifespan(app):
    async with Client(SERVER) as server, AsyncOpenAI(base_url=UPSTREAM, api_key="none") as model:
        app.state.server, app.state.model = server, model
        app.state.tools = [
            {
                "type": "function",
                "function": {"name": tool.name, "description": tool.description, "parameters": tool.input_schema},
            }
            for tool in (await server.list_tools()).tools
        ]
        yield


async def chat(request):
    state, asked = request.app.state, await request.json()
    messages = asked["messages"]
    while True:
        answer = await state.model.chat.completions.create(model=asked["model"], messages=messages, tools=state.tools)
        message = answer.choices[0].message
        if not message.tool_calls:
            return JSONResponse(answer.model_dump(exclude_none=True))
        messages.append(message.model_dump(exclude_none=True))
        messages += await asyncio.gather(*(run(state.server, call) for call in message.tool_calls))


async def run(server, call):
    result = await server.call_tool(call.function.name, json.loads(call.function.arguments))
    text = "".join(part.text for part in result.content if part.type == "text")
    return {"role": "tool", "tool_call_id": call.id, "content": text}


app = Starlette(routes=[Route("/v1/chat/completions", chat, methods=["POST"])], lifespan=lifespan)
listener = socket.create_server(("127.0.0.1", 0))
print("http://%s:%s" % listener.getsockname(), flush=True)
uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])
