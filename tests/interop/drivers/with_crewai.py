"""crewai: a crew of one agent with one task and a tool of its own."""

import os

os.environ |= {"CREWAI_DISABLE_TELEMETRY": "true", "CREWAI_TRACING_ENABLED": "false", "OTEL_SDK_DISABLED": "true"}

from crewai import LLM, Agent, Crew
from crewai import Task as Job
from crewai.tools import tool
from driver import ASKED, serve


def run(task):
    @tool("weather")
    def weather(city: str) -> str:
        """The weather in a city."""
        return task.weather(city)

    llm = LLM(
        model=f"openai/{task.model}",
        base_url=task.base_url,
        api_key="key-of-the-caller",
        timeout=task.timeout,
        stream=task.stream,
        additional_params={"extra_body": {"mcp": task.mcp}},
    )
    agent = Agent(role="desk", goal="answer", backstory="a desk", tools=[weather], llm=llm)
    job = Job(description=ASKED, expected_output="a report", agent=agent)
    return Crew(agents=[agent], tasks=[job], verbose=False).kickoff().raw


serve(run=run)
