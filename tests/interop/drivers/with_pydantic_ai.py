"""pydantic-ai: an agent with a tool of its own, with text or an `output_type` as its end."""

import asyncio

from driver import ASKED, serve
from openai import AsyncOpenAI
from pydantic import BaseModel
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider


class Report(BaseModel):
    """The end of the conversation."""

    report: str


async def watch(_, events):
    async for _ in events:
        pass


async def say(task, **more):
    async with AsyncOpenAI(base_url=task.base_url, api_key="key-of-the-caller", timeout=task.timeout) as client:
        model = OpenAIChatModel(task.model, provider=OpenAIProvider(openai_client=client))
        agent = Agent(model, model_settings={"extra_body": {"mcp": task.mcp}}, **more)

        @agent.tool_plain
        def weather(city: str) -> str:
            """The weather in a city."""
            return task.weather(city)

        # `run_stream` would end with the first text, also that of a turn with calls.
        return (await agent.run(ASKED, event_stream_handler=watch if task.stream else None)).output


def run(task):
    return asyncio.run(say(task))


def reported(end_strategy):
    def run(task):
        return asyncio.run(say(task, output_type=Report, end_strategy=end_strategy)).report

    return run


serve(run=run, early=reported("early"), exhaustive=reported("exhaustive"))
