"""Takes tasks from the standard input and answers each with a line: what the drivers of all frameworks share."""

import json
import os
import sys
import traceback
import urllib.parse
import urllib.request
from dataclasses import dataclass, field

ASKED = "Create the issues, and tell me the weather."


@dataclass
class Task:
    base_url: str
    model: str
    own: str
    mcp: dict
    case: str = "run"
    stream: bool = False
    again: bool = False
    timeout: float = 20
    more: dict = field(default_factory=dict)

    def weather(self, city):
        """The framework's own tool."""
        with urllib.request.urlopen(f"{self.own}?{urllib.parse.urlencode({'city': city})}") as answer:
            return answer.read().decode()


def serve(**cases):
    """Runs `cases[task.case]` for each task. What a framework prints goes to the log."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        task = Task(**json.loads(line))
        print(json.dumps(result(cases[task.case], task)), file=out, flush=True)


def result(run, task):
    for attempt in range(2 if task.again else 1):
        try:
            return {"text": run(task), "attempts": attempt + 1}
        except Exception as error:
            traceback.print_exc()
            failed = f"{type(error).__name__}: {error}"
    return {"error": failed}
