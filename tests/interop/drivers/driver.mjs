// Takes tasks from the standard input and answers each with a line: what the drivers of all frameworks share.

import { createInterface } from "node:readline";
import { z } from "zod";

export const ASKED = "Create the issues, and tell me the weather.";

// The framework's own tool.
export const weather = {
  name: "weather",
  description: "The weather in a city.",
  schema: z.object({ city: z.string() }),
};

// What a test asks for: `base_url`, `model`, `mcp`, whether to `stream`; `own`, where the own tool asks; `timeout` in
// seconds; whether the user asks `again` after a failure; and the `questions` of one conversation.
class Task {
  stream = false;
  again = false;
  timeout = 20;
  questions = [ASKED];

  constructor(given) {
    Object.assign(this, given);
  }

  get key() {
    return "key-of-the-caller";
  }

  async weather({ city }) {
    const answer = await fetch(`${this.own}?${new URLSearchParams({ city })}`);
    return answer.text();
  }

  // Asks one question after the other in one conversation, which `ask` remembers; gives the last answer.
  async converse(ask) {
    let text;
    for (const question of this.questions) text = await ask(question);
    return text;
  }
}

// Runs `cases[task.case]` for each task. What a framework prints goes to the log.
export async function serve(cases) {
  console.log = console.info = console.debug = console.error;
  for await (const line of createInterface({ input: process.stdin })) {
    const task = new Task(JSON.parse(line));
    process.stdout.write(`${JSON.stringify(await result(cases[task.case], task))}\n`);
  }
  // Connections that a framework keeps open need not hold the process.
  process.exit();
}

async function result(run, task) {
  let failed;
  for (let attempt = 1; attempt <= (task.again ? 2 : 1); attempt++) {
    try {
      return { text: await run(task), attempts: attempt };
    } catch (error) {
      console.error(error);
      failed = `${error.name}: ${error.message}`;
    }
  }
  return { error: failed };
}
