"""instructor: an answer of a type, by a schema or by a tool that the model is forced to call."""

import instructor
from driver import ASKED, serve
from openai import OpenAI
from pydantic import BaseModel


class Report(BaseModel):
    report: str


def reported(mode):
    def run(task):
        openai = OpenAI(base_url=task.base_url, api_key="key-of-the-caller", timeout=task.timeout)
        client = instructor.from_openai(openai, mode=mode)
        asked = {
            "model": task.model,
            "messages": [{"role": "user", "content": ASKED}],
            "extra_body": {"mcp": task.mcp},
        }
        if not task.stream:
            return client.chat.completions.create(response_model=Report, **asked).report
        return [part.report for part in client.chat.completions.create_partial(response_model=Report, **asked)][-1]

    return run


serve(run=reported(instructor.Mode.JSON_SCHEMA), tool=reported(instructor.Mode.TOOLS))
