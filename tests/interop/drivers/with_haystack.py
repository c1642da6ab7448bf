"""haystack: its Agent over OpenAIChatGenerator, with a tool of its own."""

from driver import ASKED, serve
from haystack.components.agents import Agent
from haystack.components.generators.chat import OpenAIChatGenerator
from haystack.dataclasses import ChatMessage
from haystack.tools import tool
from haystack.utils import Secret


def run(task):
    @tool
    def weather(city: str) -> str:
        """The weather in a city."""
        return task.weather(city)

    generator = OpenAIChatGenerator(
        model=task.model,
        api_base_url=task.base_url,
        api_key=Secret.from_token("key-of-the-caller"),
        timeout=task.timeout,
        generation_kwargs={"extra_body": {"mcp": task.mcp}},
    )
    more = {"streaming_callback": lambda chunk: None} if task.stream else {}
    agent = Agent(chat_generator=generator, tools=[weather], **more)
    return agent.run([ChatMessage.from_user(ASKED)])["last_message"].text


serve(run=run)
