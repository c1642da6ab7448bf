"""langchain-openai and langgraph: the prebuilt agent with an own tool; a checkpointer, an interrupt, a summary."""

import warnings
from uuid import uuid4

import httpx
from driver import ASKED, serve
from langchain.agents import create_agent
from langchain.agents.middleware import SummarizationMiddleware
from langchain_core.messages import AIMessageChunk
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.prebuilt import create_react_agent
from langgraph.types import Command, interrupt
from openai import APIError

warnings.filterwarnings("ignore", category=DeprecationWarning)


def model(task):
    return ChatOpenAI(
        model=task.model,
        base_url=task.base_url,
        api_key="key-of-the-caller",
        timeout=task.timeout,
        extra_body={"mcp": task.mcp},
    )


def tool(task):
    def weather(city: str) -> str:
        """The weather in a city."""
        return task.weather(city)

    return weather


def says(task, agent, asked, config=None):
    """The agent's last text, whole or put together from its stream."""
    if not task.stream:
        return agent.invoke(asked, config)["messages"][-1].content
    text, last = "", None
    for chunk, _ in agent.stream(asked, config, stream_mode="messages"):
        if isinstance(chunk, AIMessageChunk):
            text = (text if chunk.id == last else "") + chunk.content
            last = chunk.id
    return text


def question(text=ASKED):
    return {"messages": [("user", text)]}


def run(task):
    return says(task, create_react_agent(model(task), [tool(task)]), question())


def remembering(task):
    """Two questions on one thread of a checkpointer."""
    agent = create_react_agent(model(task), [tool(task)], checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": str(uuid4())}}
    says(task, agent, question(), config)
    return says(task, agent, question("And what else?"), config)


def resumed(task):
    """A thread that goes on where it failed."""
    agent = create_react_agent(model(task), [tool(task)], checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": str(uuid4())}}
    try:
        says(task, agent, question(), config)
    except (APIError, httpx.TimeoutException):
        return says(task, agent, None, config)
    raise AssertionError("it did not fail")


def interrupted(task):
    """A tool that a person has to let go on."""

    def weather(city: str) -> str:
        """The weather in a city."""
        return task.weather(city) if interrupt("May I look?") == "yes" else "You may not."

    agent = create_react_agent(model(task), [weather], checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": str(uuid4())}}
    waiting = agent.invoke(question(), config)
    assert waiting["__interrupt__"][0].value == "May I look?", waiting
    while agent.get_state(config).interrupts:
        text = says(task, agent, Command(resume="yes"), config)
    return text


def summarised(task):
    """Two questions, with all but the last messages summarised between them."""
    middleware = SummarizationMiddleware(model=model(task), trigger=("messages", 6), keep=("messages", 3))
    agent = create_agent(model(task), [tool(task)], middleware=[middleware], checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": str(uuid4())}}
    says(task, agent, question(), config)
    return says(task, agent, question("And what else?"), config)


serve(run=run, remembering=remembering, resumed=resumed, interrupted=interrupted, summarised=summarised)
