"""semantic-kernel: a chat completion agent with a plugin, whose function the model knows as `skills-weather`."""

import asyncio

from driver import ASKED, serve
from openai import AsyncOpenAI
from semantic_kernel.agents import ChatCompletionAgent
from semantic_kernel.connectors.ai.open_ai import OpenAIChatCompletion, OpenAIChatPromptExecutionSettings
from semantic_kernel.functions import KernelArguments, kernel_function


async def say(task):
    class Skills:
        @kernel_function
        def weather(self, city: str) -> str:
            """The weather in a city."""
            return task.weather(city)

    async with AsyncOpenAI(base_url=task.base_url, api_key="key-of-the-caller", timeout=task.timeout) as client:
        settings = OpenAIChatPromptExecutionSettings(extra_body={"mcp": task.mcp})
        agent = ChatCompletionAgent(
            name="desk",
            service=OpenAIChatCompletion(task.model, async_client=client),
            plugins=[Skills()],
            arguments=KernelArguments(settings),
        )
        if not task.stream:
            return str((await agent.get_response(messages=ASKED)).message)
        return "".join([str(chunk.message) async for chunk in agent.invoke_stream(messages=ASKED)])


serve(run=lambda task: asyncio.run(say(task)))
