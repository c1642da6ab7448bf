"""smolagents: a ToolCallingAgent, which forces a tool in each turn, at last its own `final_answer`."""

from driver import ASKED, serve
from smolagents import OpenAIModel, ToolCallingAgent, tool


def run(task):
    @tool
    def weather(city: str) -> str:
        """The weather in a city.

        Args:
            city: Its name.
        """
        return task.weather(city)

    model = OpenAIModel(
        model_id=task.model,
        api_base=task.base_url,
        api_key="key-of-the-caller",
        client_kwargs={"timeout": task.timeout},
        extra_body={"mcp": task.mcp},
    )
    return ToolCallingAgent(tools=[weather], model=model, stream_outputs=task.stream).run(ASKED)


serve(run=run)
