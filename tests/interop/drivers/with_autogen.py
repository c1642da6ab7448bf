"""autogen: an assistant that uses a tool of its own as often as the model wants."""

import asyncio

from autogen_agentchat.agents import AssistantAgent
from autogen_agentchat.base import TaskResult
from autogen_ext.models.openai import OpenAIChatCompletionClient
from driver import ASKED, serve

MODEL_INFO = {
    "vision": False,
    "function_calling": True,
    "json_output": True,
    "family": "gpt-4o",
    "structured_output": True,
    "multiple_system_messages": True,
}


async def say(task):
    def weather(city: str) -> str:
        """The weather in a city."""
        return task.weather(city)

    client = OpenAIChatCompletionClient(
        model=task.model,
        base_url=task.base_url,
        api_key="key-of-the-caller",
        timeout=task.timeout,
        model_info=MODEL_INFO,
        extra_body={"mcp": task.mcp},
    )
    agent = AssistantAgent("desk", client, tools=[weather], max_tool_iterations=5, model_client_stream=task.stream)
    if not task.stream:
        return (await agent.run(task=ASKED)).messages[-1].content
    results = [event async for event in agent.run_stream(task=ASKED) if isinstance(event, TaskResult)]
    return results[-1].messages[-1].content


serve(run=lambda task: asyncio.run(say(task)))
