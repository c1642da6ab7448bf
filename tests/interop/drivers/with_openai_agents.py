"""openai-agents over its model for chat completions, with a tool of its own and a handoff."""

import asyncio

from agents import Agent, ModelSettings, OpenAIChatCompletionsModel, Runner, function_tool, set_tracing_disabled
from driver import ASKED, serve
from openai import AsyncOpenAI

set_tracing_disabled(True)


async def say(task, handoff):
    @function_tool
    def weather(city: str) -> str:
        """The weather in a city."""
        return task.weather(city)

    async with AsyncOpenAI(base_url=task.base_url, api_key="key-of-the-caller", timeout=task.timeout) as client:

        def agent(name, **more):
            model = OpenAIChatCompletionsModel(task.model, client)
            settings = ModelSettings(extra_body={"mcp": task.mcp})
            return Agent(name=name, model=model, model_settings=settings, tools=[weather], **more)

        first = agent("desk", handoffs=[agent("clerk")]) if handoff else agent("desk")
        if not task.stream:
            return (await Runner.run(first, ASKED)).final_output
        running = Runner.run_streamed(first, ASKED)
        async for _ in running.stream_events():
            pass
        return running.final_output


serve(run=lambda task: asyncio.run(say(task, False)), handoff=lambda task: asyncio.run(say(task, True)))
