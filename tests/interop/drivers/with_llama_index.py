"""llama-index: FunctionAgent, which streams unless told otherwise."""

import asyncio

from driver import ASKED, serve
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.llms.openai_like import OpenAILike


async def say(task):
    def weather(city: str) -> str:
        """The weather in a city."""
        return task.weather(city)

    llm = OpenAILike(
        model=task.model,
        api_base=task.base_url,
        api_key="key-of-the-caller",
        is_chat_model=True,
        is_function_calling_model=True,
        timeout=task.timeout,
        additional_kwargs={"extra_body": {"mcp": task.mcp}},
    )
    agent = FunctionAgent(tools=[weather], llm=llm, streaming=task.stream)
    return str(await agent.run(user_msg=ASKED))


serve(run=lambda task: asyncio.run(say(task)))
